//! The tree of a Compose file ([`crate::base::yaml::node`]), and the names of the files it came from.

pub(crate) use crate::base::yaml::node::{Kind, Map, Node, Place, Tag};
use crate::base::yaml::read::{self, Fault};
use crate::engine::{Error, Result};

/// The names of the files that were read, for messages.
#[derive(Clone, Debug, Default)]
pub(crate) struct Files(Vec<String>);

impl Files {
    /// Adds a file; returns its index.
    pub(crate) fn add(&mut self, name: String) -> u32 {
        self.0.push(name);
        u32::try_from(self.0.len() - 1).unwrap_or(u32::MAX)
    }

    /// `file:line:column`, as much as is known.
    pub(crate) fn show(&self, at: Place) -> String {
        let file = self.0.get(at.file as usize).map_or("compose file", String::as_str);
        match (at.line, at.column) {
            (0, _) => file.to_owned(),
            (line, column) => format!("{file}:{line}:{column}"),
        }
    }

    /// An error about the place `at`.
    pub(crate) fn error(&self, at: Place, message: impl std::fmt::Display) -> Error {
        Error::invalid(format!("{}: {message}", self.show(at)))
    }

    /// Every document of a file's text; `file` is its index.
    ///
    /// # Errors
    ///
    /// Those of [`read::documents`], with the name of the file.
    pub(crate) fn documents(&self, text: &str, file: u32) -> Result<Vec<Node>> {
        read::documents(text, file).map_err(|Fault { at, message }| self.error(at, message))
    }
}
