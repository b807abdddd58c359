//! A document as a tree whose nodes know where they stand.
//!
//! Positions survive what is done with the tree, so an error found late still names its file, line and column.

use indexmap::IndexMap;
use serde_json::{Number, Value};

/// Keys in the order they were written.
pub(crate) type Map = IndexMap<String, Node>;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) at: Place,
    pub(crate) tag: Tag,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Map),
}

/// A position in one of the files that were read; lines and columns count from 1, 0 is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// The number of the file, as its reader counts them.
    pub(crate) file: u32,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// What a tag of the Compose Specification asks of merging.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tag {
    #[default]
    None,
    /// `!reset`: take the key away.
    Reset,
    /// `!override`: replace instead of merging.
    Override,
}

impl Node {
    /// A node without a tag.
    pub(crate) fn new(kind: Kind, at: Place) -> Self {
        Self { kind, at, tag: Tag::None }
    }

    pub(crate) fn text(text: impl Into<String>, at: Place) -> Self {
        Self::new(Kind::Text(text.into()), at)
    }

    pub(crate) fn bool(value: bool, at: Place) -> Self {
        Self::new(Kind::Bool(value), at)
    }

    pub(crate) fn int(value: i64, at: Place) -> Self {
        Self::new(Kind::Int(value), at)
    }

    pub(crate) fn null(at: Place) -> Self {
        Self::new(Kind::Null, at)
    }

    pub(crate) fn map(map: Map, at: Place) -> Self {
        Self::new(Kind::Map(map), at)
    }

    pub(crate) fn list(list: Vec<Node>, at: Place) -> Self {
        Self::new(Kind::List(list), at)
    }

    pub(crate) fn is_null(&self) -> bool {
        self.kind == Kind::Null
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn as_map(&self) -> Option<&Map> {
        match &self.kind {
            Kind::Map(map) => Some(map),
            _ => None,
        }
    }

    pub(crate) fn as_map_mut(&mut self) -> Option<&mut Map> {
        match &mut self.kind {
            Kind::Map(map) => Some(map),
            _ => None,
        }
    }

    pub(crate) fn as_list(&self) -> Option<&[Node]> {
        match &self.kind {
            Kind::List(list) => Some(list),
            _ => None,
        }
    }

    /// The value of a key, if this is a mapping that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.as_map()?.get(key)
    }

    /// The text of a key.
    pub(crate) fn str_at(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }

    /// Whether a key is true.
    pub(crate) fn flag(&self, key: &str) -> bool {
        matches!(self.get(key), Some(Node { kind: Kind::Bool(true), .. }))
    }

    /// A scalar as text: numbers as Go prints them, which is what docker compose makes of `A: 1.10`.
    pub(crate) fn scalar_text(&self) -> Option<String> {
        match &self.kind {
            Kind::Text(text) => Some(text.clone()),
            Kind::Bool(value) => Some(value.to_string()),
            Kind::Int(value) => Some(value.to_string()),
            Kind::Float(value) => Some(float_text(*value)),
            Kind::Null | Kind::List(_) | Kind::Map(_) => None,
        }
    }

    /// The tree with every `$` doubled, so that it is read back as it is.
    #[must_use]
    pub(crate) fn escaped(&self) -> Node {
        let kind = match &self.kind {
            Kind::Text(text) => Kind::Text(text.replace('$', "$$")),
            Kind::List(list) => Kind::List(list.iter().map(Node::escaped).collect()),
            Kind::Map(map) => {
                Kind::Map(map.iter().map(|(k, v)| (k.replace('$', "$$"), v.escaped())).collect())
            }
            other => other.clone(),
        };
        Node { kind, at: self.at, tag: self.tag }
    }

    /// As JSON, without the positions.
    pub(crate) fn to_json(&self) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(*value),
            Kind::Int(value) => Value::from(*value),
            // A whole number is written without a fraction, as Go does.
            #[allow(clippy::cast_possible_truncation, reason = "compared with the float right here")]
            Kind::Float(value) if (*value as i64) as f64 == *value => Value::from(*value as i64),
            Kind::Float(value) => Number::from_f64(*value).map_or(Value::Null, Value::Number),
            Kind::Text(text) => Value::String(text.clone()),
            Kind::List(list) => Value::Array(list.iter().map(Node::to_json).collect()),
            Kind::Map(map) => Value::Object(map.iter().map(|(k, v)| (k.clone(), v.to_json())).collect()),
        }
    }
}

/// A number as Go's `%v` prints it: with an exponent from a million on.
pub(crate) fn float_text(value: f64) -> String {
    let exponent = if value == 0.0 { 0.0 } else { value.abs().log10().floor() };
    if (-4.0..6.0).contains(&exponent) || !value.is_finite() {
        return format!("{value}");
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((mantissa, exponent)) => {
            let (sign, digits) = exponent.strip_prefix('-').map_or(("+", exponent), |d| ("-", d));
            format!("{mantissa}e{sign}{digits:0>2}")
        }
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        for (value, text) in [
            (1e3, "1000"),
            (100_000.0, "100000"),
            (1e6, "1e+06"),
            (123_456_789.0, "1.23456789e+08"),
            (0.0001, "0.0001"),
            (-1e-7, "-1e-07"),
            (0.5, "0.5"),
            (1e22, "1e+22"),
            (0.0, "0"),
        ] {
            assert_eq!(float_text(value), text);
        }
    }
}
