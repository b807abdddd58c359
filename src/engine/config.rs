//! What the environment and configuration files decide. The only reader of `std::env` below `cli`.

use std::path::PathBuf;

use crate::engine::error::{Error, Kind, Result};

/// Choices that hold for a whole command.
#[derive(Clone, Debug, Default)]
pub(crate) struct Config {
    /// `--root`, if it was given.
    pub(crate) root: Option<PathBuf>,
}

impl Config {
    /// The directory of the store: `--root`, `KETCH_ROOT`, `$XDG_DATA_HOME/ketch`, or
    /// `~/.local/share/ketch`, the first that is set. Made absolute, so that a stage which changes
    /// its directory still finds it.
    ///
    /// # Errors
    ///
    /// If none of them is set and HOME is not either.
    pub(crate) fn data_root(&self) -> Result<PathBuf> {
        let path = match (&self.root, variable("KETCH_ROOT"), variable("XDG_DATA_HOME")) {
            (Some(root), ..) => root.clone(),
            (None, Some(root), _) => root,
            // The XDG specification: a relative path in such a variable is to be ignored.
            (None, None, Some(data)) if data.is_absolute() => data.join("ketch"),
            _ => home()?.join(".local/share/ketch"),
        };
        std::path::absolute(&path)
            .map_err(|source| Error::system(format!("find the directory of {}", path.display()), source))
    }
}

/// The home directory.
fn home() -> Result<PathBuf> {
    variable("HOME").ok_or_else(|| {
        Error::new(Kind::Invalid, "no home directory: HOME is not set")
            .hint("set HOME, or name a directory for the store with --root or KETCH_ROOT")
    })
}

/// An environment variable that is set to something.
fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
