//! A manifest's tree, read value by value: what is not there has its default, what is of another type is an error
//! that names the field and its place.

use std::collections::BTreeMap;

use crate::base::order;
use crate::base::yaml::node::{Kind, Node, Place};
use crate::base::yaml::read::Fault;

pub(super) type Result<T> = std::result::Result<T, Fault>;

/// A value and the way to it; `null` is as good as nothing.
#[derive(Clone, Debug)]
pub(super) struct Field<'a> {
    node: Option<&'a Node>,
    at: Place,
    path: String,
}

impl<'a> Field<'a> {
    /// A whole document.
    pub(super) fn document(node: &'a Node) -> Self {
        Self { node: Some(node).filter(|node| !node.is_null()), at: node.at, path: String::new() }
    }

    /// The value of a key; nothing if this is no mapping, which [`object`](Self::object) tells of.
    pub(super) fn get(&self, key: &str) -> Self {
        let found = self.node.and_then(|node| node.get(key)).filter(|node| !node.is_null());
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        Self { node: found, at: found.map_or(self.at, |node| node.at), path }
    }

    /// The field itself, if it is there.
    ///
    /// # Errors
    ///
    /// If it is no mapping.
    pub(super) fn object(self) -> Result<Option<Self>> {
        match self.node.map(|node| &node.kind) {
            None => Ok(None),
            Some(Kind::Map(_)) => Ok(Some(self)),
            Some(_) => Err(self.wrong("a mapping")),
        }
    }

    /// What is wrong with this field.
    pub(super) fn fault(&self, message: impl std::fmt::Display) -> Fault {
        let message = match self.path.as_str() {
            "" => message.to_string(),
            path => format!("{path}: {message}"),
        };
        Fault { at: self.at, message }
    }

    fn wrong(&self, wanted: &str) -> Fault {
        let found = match self.node.map(|node| &node.kind) {
            None | Some(Kind::Null) => "nothing",
            Some(Kind::Bool(_)) => "a truth value",
            Some(Kind::Int(_) | Kind::Float(_)) => "a number",
            Some(Kind::Text(_)) => "text",
            Some(Kind::List(_)) => "a list",
            Some(Kind::Map(_)) => "a mapping",
        };
        self.fault(format_args!("must be {wanted}, not {found}"))
    }

    /// Text; numbers and truth values are text where text is expected, as with podman.
    pub(super) fn text(&self) -> Result<Option<String>> {
        match self.node {
            None => Ok(None),
            Some(node) => node.scalar_text().map(Some).ok_or_else(|| self.wrong("text")),
        }
    }

    /// The same, empty if it is not there.
    pub(super) fn string(&self) -> Result<String> {
        Ok(self.text()?.unwrap_or_default())
    }

    pub(super) fn flag(&self) -> Result<Option<bool>> {
        match self.node.map(|node| &node.kind) {
            None => Ok(None),
            Some(Kind::Bool(value)) => Ok(Some(*value)),
            Some(_) => Err(self.wrong("true or false")),
        }
    }

    /// Whether it is there and true.
    pub(super) fn is_true(&self) -> Result<bool> {
        Ok(self.flag()?.unwrap_or(false))
    }

    pub(super) fn int(&self) -> Result<Option<i64>> {
        match self.node.map(|node| &node.kind) {
            None => Ok(None),
            Some(Kind::Int(value)) => Ok(Some(*value)),
            Some(_) => Err(self.wrong("a whole number")),
        }
    }

    /// A whole number that `T` can hold.
    pub(super) fn number<T: TryFrom<i64>>(&self) -> Result<Option<T>> {
        let Some(value) = self.int()? else { return Ok(None) };
        T::try_from(value).map(Some).map_err(|_| self.fault(format_args!("{value} is out of range")))
    }

    /// The entries of a list, none if it is not there.
    pub(super) fn items(&self) -> Result<Vec<Field<'a>>> {
        match self.node.map(|node| &node.kind) {
            None => Ok(Vec::new()),
            Some(Kind::List(list)) => Ok(list
                .iter()
                .enumerate()
                .map(|(place, node)| Field {
                    node: Some(node).filter(|node| !node.is_null()),
                    at: node.at,
                    path: format!("{}[{place}]", self.path),
                })
                .collect()),
            Some(_) => Err(self.wrong("a list")),
        }
    }

    /// The entries of a list of mappings, read by `read`.
    pub(super) fn each<T>(&self, read: impl Fn(&Field<'a>) -> Result<T>) -> Result<Vec<T>> {
        let entries = self.items()?.into_iter().filter_map(|item| item.object().transpose());
        entries.map(|item| read(&item?)).collect()
    }

    pub(super) fn texts(&self) -> Result<Vec<String>> {
        self.items()?.iter().map(Field::string).collect()
    }

    /// The entries of a mapping, in their order.
    pub(super) fn entries(&self) -> Result<Vec<(&'a str, Field<'a>)>> {
        match self.node.map(|node| &node.kind) {
            None => Ok(Vec::new()),
            Some(Kind::Map(map)) => Ok(map.keys().map(|key| (key.as_str(), self.get(key))).collect()),
            Some(_) => Err(self.wrong("a mapping")),
        }
    }

    pub(super) fn text_map(&self) -> Result<BTreeMap<String, String>> {
        order::try_map(self.entries()?.into_iter().map(|(key, field)| Ok((key.to_owned(), field.string()?))))
    }

    /// One of the words of `known`; `None` if it is not there or empty.
    pub(super) fn word<T: Copy>(&self, known: &[(&str, T)]) -> Result<Option<T>> {
        let Some(text) = self.text()?.filter(|text| !text.is_empty()) else { return Ok(None) };
        let found = known.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        found.map(Some).ok_or_else(|| {
            let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
            self.fault(format_args!("{text:?} is none of {}", words.join(", ")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::yaml::read;

    #[test]
    fn what_is_of_another_type_is_named_with_its_place() {
        let text = "a:\n  b: [1, {c: x}]\n  d: 5\n  e: null\n";
        let documents = read::documents(text, 0).unwrap();
        let top = Field::document(&documents[0]);
        let a = top.get("a");
        assert_eq!(a.get("d").string().unwrap(), "5");
        assert_eq!(a.get("e").text().unwrap(), None);
        assert_eq!(a.get("b").get("x").text().unwrap(), None);
        let fault = a.get("b").each(|item| item.get("c").int()).unwrap_err();
        assert_eq!((fault.message.as_str(), fault.at.line), ("a.b[0]: must be a mapping, not a number", 2));
        let fault = a.get("b").items().unwrap()[1].get("c").int().unwrap_err();
        assert_eq!(fault.message, "a.b[1].c: must be a whole number, not text");
        let fault = a.get("d").word(&[("x", 1), ("y", 2)]).unwrap_err();
        assert_eq!(
            (fault.message.as_str(), fault.at.line, fault.at.column),
            ("a.d: \"5\" is none of x, y", 3, 6)
        );
    }
}
