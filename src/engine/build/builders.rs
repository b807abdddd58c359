//! Names of builders.
//!
//! There is one builder: this program. Docker's tools make builders of their own before they build, choose
//! one and remove it afterwards, so names are kept, and each of them means this one.

use serde::{Deserialize, Serialize};

use crate::base::names;
use crate::engine::{Engine, Error, Kind, Result, create};

/// The builder that is always there.
pub(crate) const DEFAULT: &str = "default";

/// The names that were made, and the one that is used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Builders {
    /// `None`: the default one.
    #[serde(default)]
    chosen: Option<String>,
    #[serde(default)]
    made: Vec<String>,
}

impl Builders {
    /// The one that builds, unless another is named.
    pub(crate) fn current(&self) -> &str {
        self.chosen.as_deref().unwrap_or(DEFAULT)
    }

    /// All names, the default one first.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(DEFAULT).chain(self.made.iter().map(String::as_str))
    }

    /// The builder that `typed` means; nothing means the current one.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`] for a name that nobody made.
    pub(crate) fn find(&self, typed: Option<&str>) -> Result<&str> {
        match typed.filter(|name| !name.is_empty()) {
            None => Ok(self.current()),
            Some(typed) => self.names().find(|name| *name == typed).ok_or_else(|| {
                Error::new(Kind::NotFound, format!("no builder {typed:?} found"))
                    .hint(format!("make one: buildx create --name {typed}"))
            }),
        }
    }

    /// Makes a name; `again` lets it be there already.
    ///
    /// # Errors
    ///
    /// For a name that is none, or that is taken.
    pub(crate) fn make(&mut self, name: &str, again: bool) -> Result<()> {
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.+".contains(c));
        if !is_name {
            return Err(Error::invalid(format!("invalid builder name {name:?}"))
                .hint("a letter, and then letters, digits, and any of -_.+"));
        }
        if !self.names().any(|known| known == name) {
            self.made.push(name.to_owned());
        } else if !again {
            return Err(Error::invalid(format!("existing instance for {name:?} but no append mode"))
                .hint(format!("use it: buildx use {name}")));
        }
        Ok(())
    }

    /// Uses the builder that `typed` means from now on.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`] for a name that nobody made.
    pub(crate) fn choose(&mut self, typed: &str) -> Result<()> {
        let name = self.find(Some(typed))?.to_owned();
        self.chosen = (name != DEFAULT).then_some(name);
        Ok(())
    }

    /// Removes a name. Who used it uses the default one.
    ///
    /// # Errors
    ///
    /// For the default one, and for a name that nobody made.
    pub(crate) fn remove(&mut self, typed: &str) -> Result<()> {
        if typed == DEFAULT {
            return Err(Error::invalid(format!("the builder {DEFAULT} cannot be removed")));
        }
        self.find(Some(typed))?;
        self.made.retain(|name| name != typed);
        self.chosen.take_if(|name| name == typed);
        Ok(())
    }
}

/// A name for a builder that nobody named.
///
/// # Errors
///
/// If there are no random numbers.
pub(crate) fn made_up_name() -> Result<String> {
    Ok(names::from_random(u64::from_le_bytes(create::random()?), 0))
}

impl Engine {
    /// The names of builders. What cannot be read is as good as none: all of them are the same builder.
    pub(crate) fn builders(&self) -> Builders {
        serde_json::from_slice(&self.store().build_cache().builders()).unwrap_or_default()
    }

    /// Writes the names of builders down.
    ///
    /// # Errors
    ///
    /// If they cannot be written.
    pub(crate) fn keep_builders(&self, builders: &Builders) -> Result<()> {
        let text = serde_json::to_vec(builders).map_err(|err| Error::system("list the builders", err))?;
        Ok(self.store().build_cache().keep_builders(&text)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builders_are_made_used_and_removed() {
        let mut builders = Builders::default();
        assert_eq!(builders.current(), DEFAULT);
        builders.make("ci", false).unwrap();
        assert!(builders.make("ci", false).is_err() && builders.make("-x", false).is_err());
        builders.make("ci", true).unwrap();
        assert!(builders.choose("other").is_err());
        builders.choose("ci").unwrap();
        assert_eq!((builders.find(None).unwrap(), builders.find(Some("default")).unwrap()), ("ci", DEFAULT));
        assert_eq!(builders.names().collect::<Vec<_>>(), [DEFAULT, "ci"]);
        let kept: Builders = serde_json::from_slice(&serde_json::to_vec(&builders).unwrap()).unwrap();
        assert_eq!(kept, builders);
        assert!(builders.remove(DEFAULT).is_err());
        builders.remove("ci").unwrap();
        assert_eq!(builders, Builders::default());
    }
}
