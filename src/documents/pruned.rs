//! Leaves out fields that are empty, as Go's `omitempty`.

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::Value;

/// A document without the fields that are left out when they are empty: `Key` wherever it stands, or
/// `Parent.Key`; `Parent.Key?` when it is null, as pointers of Go are.
pub(crate) struct Pruned<'a> {
    value: &'a Value,
    /// The key it stands under.
    key: &'a str,
    omit: &'a [&'static str],
}

impl<'a> Pruned<'a> {
    pub(crate) fn new(value: &'a Value, omit: &'a [&'static str]) -> Self {
        Self::under("", value, omit)
    }

    /// A part of a document, which stands there under `key`.
    pub(crate) fn under(key: &'a str, value: &'a Value, omit: &'a [&'static str]) -> Self {
        Self { value, key, omit }
    }

    fn leaves_out(&self, key: &str, value: &Value) -> bool {
        is_empty(value)
            && self.omit.iter().any(|omitted| match omitted.split_once('.') {
                Some((parent, child)) => {
                    let (child, is_left) =
                        child.strip_suffix('?').map_or((child, true), |child| (child, value.is_null()));
                    is_left && parent == self.key && child == key
                }
                None => *omitted == key,
            })
    }
}

impl Serialize for Pruned<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.value {
            Value::Array(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|value| list.serialize_element(&Pruned { value, ..*self }))?;
                list.end()
            }
            Value::Object(object) => {
                let mut map = serializer.serialize_map(None)?;
                for (key, value) in object.iter().filter(|(key, value)| !self.leaves_out(key, value)) {
                    map.serialize_entry(key, &Pruned { value, key, omit: self.omit })?;
                }
                map.end()
            }
            value => value.serialize(serializer),
        }
    }
}

/// Go's `omitempty`.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(object) => object.is_empty(),
    }
}

/// A copy of a document without the fields that are left out when they are empty.
pub(crate) fn prune(document: &Value, omit: &[&'static str]) -> Value {
    serde_json::to_value(Pruned::new(document, omit)).expect("a Value has text keys")
}
