//! Row 5: the use cases, independent of who asks.
//!
//! No function here prints, reads the command line or knows a Docker JSON type.

pub(crate) mod config;
pub(crate) mod error;

use std::path::{Path, PathBuf};

use crate::engine::config::Config;
pub(crate) use crate::engine::error::{Error, Kind, Result};

/// One user's store and all that can be done with it.
#[derive(Debug)]
pub(crate) struct Engine {
    root: PathBuf,
}

impl Engine {
    /// Opens the store that `config` names.
    ///
    /// # Errors
    ///
    /// If no home directory is known, so that there is no place for a store.
    pub(crate) fn open(config: &Config) -> Result<Self> {
        Ok(Self { root: config.data_root()? })
    }

    /// The directory that holds all state.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }
}
