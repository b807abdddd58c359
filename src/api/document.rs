//! Documents that clients send, as Go reads them: fields have their names in any case, `null` is what a missing field is, and
//! unknown fields are passed over.
//!
//! # Source
//!
//! pkg.go.dev/encoding/json, "Unmarshal": "preferring an exact match but also accepting a case-insensitive match".

use std::collections::BTreeMap;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Deserializer, Expected, IntoDeserializer, Unexpected, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};
use serde_json::{Map, Value};

use crate::base::order;

/// Reads a document.
///
/// # Errors
///
/// For what is no JSON, or of another form.
pub(crate) fn read<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<T> {
    of_value(serde_json::from_slice(text)?)
}

/// The same of a value.
///
/// # Errors
///
/// For what is of another form.
pub(crate) fn of_value<T: DeserializeOwned>(value: Value) -> serde_json::Result<T> {
    T::deserialize(AsGo(value))
}

/// A value of which the fields of structs may be written in any case, and be `null`, at any depth. Keys of maps stay as they
/// are: they are the user's.
struct AsGo(Value);

/// What JSON's own reader does with these.
macro_rules! as_json {
    ($($kind:ident)*) => {$(
        fn $kind<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
            self.0.$kind(visitor)
        }
    )*};
}

/// Each kind is read by itself, not all by `deserialize_any`: that would be a copy of everything for every field's type.
impl<'de> Deserializer<'de> for AsGo {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self.0 {
            Value::Array(_) => self.deserialize_seq(visitor),
            Value::Object(_) => self.deserialize_map(visitor),
            other => other.deserialize_any(visitor),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        let Value::Array(values) = self.0 else { return Err(wrong(&self.0, &visitor)) };
        let mut values = SeqDeserializer::new(values.into_iter().map(AsGo));
        let read = visitor.visit_seq(&mut values)?;
        values.end()?;
        Ok(read)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Self::Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        let Value::Object(fields) = self.0 else { return Err(wrong(&self.0, &visitor)) };
        visitor.visit_map(MapDeserializer::new(fields.into_iter().map(|(key, value)| (key, AsGo(value)))))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let Value::Object(fields) = self.0 else { return Err(wrong(&self.0, &visitor)) };
        Self(named(fields, known).into()).deserialize_map(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    as_json! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16
        deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64 deserialize_str deserialize_string
    }

    forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple_struct identifier ignored_any
    }
}

/// The fields of a struct under the names that it knows, without those that are `null`. Of several that are the same the last
/// one counts.
fn named(fields: Map<String, Value>, known: &'static [&'static str]) -> Map<String, Value> {
    let mut named = Map::new();
    for (key, value) in fields.into_iter().filter(|(_, value)| !value.is_null()) {
        let name = known.iter().find(|name| name.eq_ignore_ascii_case(&key));
        named.insert(name.map_or(key, |name| (*name).to_owned()), value);
    }
    named
}

/// That something else was expected.
fn wrong(value: &Value, expected: &dyn Expected) -> serde_json::Error {
    let found = match value {
        Value::Null => Unexpected::Unit,
        Value::Bool(value) => Unexpected::Bool(*value),
        Value::Number(_) => Unexpected::Other("number"),
        Value::String(text) => Unexpected::Str(text),
        Value::Array(_) => Unexpected::Seq,
        Value::Object(_) => Unexpected::Map,
    };
    serde::de::Error::invalid_type(found, expected)
}

impl IntoDeserializer<'_, serde_json::Error> for AsGo {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Structs of which each field may be missing, and, read by [`read`], `null`.
macro_rules! documents {
    ($($(#[$about:meta])* $name:ident { $($(#[$with:meta])* $field:ident: $kind:ty,)* })*) => {$(
        $(#[$about])*
        #[derive(Clone, Debug, Default, ::serde::Deserialize)]
        #[serde(default, rename_all = "PascalCase")]
        pub(crate) struct $name {
            $($(#[$with])* pub(crate) $field: $kind,)*
        }
    )*};
}
pub(crate) use documents;

/// Names of which only the keys count (`{"80/tcp": {}}`).
pub(crate) type Set = BTreeMap<String, serde::de::IgnoredAny>;
/// Texts by name; Go reads a `null` among them as an empty one.
pub(crate) type Texts = BTreeMap<String, Option<String>>;

/// Texts by name, without what JSON adds to them.
pub(crate) fn texts(from: &Texts) -> BTreeMap<String, String> {
    order::map(from.iter().map(|(key, value)| (key.clone(), value.clone().unwrap_or_default())))
}

/// A command: a list of words, or one word.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
pub(crate) enum Words {
    Word(String),
    List(Vec<String>),
}

impl Words {
    pub(crate) fn into_list(self) -> Vec<String> {
        match self {
            Self::Word(word) => vec![word],
            Self::List(words) => words,
        }
    }
}

documents! {
    /// How a container is on one network.
    Endpoint {
        #[serde(rename = "IPAMConfig")]
        ipam_config: IpamConfig,
        links: Vec<String>,
        aliases: Vec<String>,
        mac_address: String,
        driver_opts: Texts,
        gw_priority: i64,
    }

    IpamConfig {
        #[serde(rename = "IPv4Address")]
        ipv4_address: String,
        #[serde(rename = "IPv6Address")]
        ipv6_address: String,
        #[serde(rename = "LinkLocalIPs")]
        link_local_ips: Vec<String>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    documents! {
        Whole {
            image: String,
            size: [u16; 2],
            labels: Texts,
            part: Option<Part>,
            parts: BTreeMap<String, Vec<Part>>,
        }

        Part {
            #[serde(rename = "IPv4")]
            address: String,
        }
    }

    #[test]
    fn fields_have_any_case_and_keys_of_users_their_own() {
        let text = r#"{"IMAGE": "a", "size": [1, 2], "Labels": {"image": "x", "Image": "y"}, "part": {"ipv4": "1"},
            "parts": {"Part": [{"Ipv4": "2"}], "other": []}, "unknown": {"a": 1}}"#;
        let whole: Whole = read(text.as_bytes()).unwrap();
        assert_eq!((whole.image.as_str(), whole.size), ("a", [1, 2]));
        assert_eq!(whole.labels.keys().collect::<Vec<_>>(), ["Image", "image"]);
        assert_eq!(whole.part.unwrap().address, "1");
        assert_eq!(whole.parts["Part"][0].address, "2");
        let twice: Whole = read(br#"{"Image": "a", "image": "b", "Part": null}"#).unwrap();
        assert_eq!((twice.image.as_str(), twice.part.is_none()), ("b", true));
        for bad in ["[]", "{", "7", r#"{"image": 1}"#, r#"{"Size": [1, 2, 3]}"#, r#"{"part": []}"#] {
            assert!(read::<Whole>(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
