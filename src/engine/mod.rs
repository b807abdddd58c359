//! Row 5: the use cases, independent of who asks.
//!
//! No function here prints, reads the command line or knows a Docker JSON type.

pub(crate) mod config;
pub(crate) mod error;
pub(crate) mod state;

use crate::engine::config::Config;
pub(crate) use crate::engine::error::{Error, Kind, Result};
use crate::store::Store;

/// One user's store and all that can be done with it.
#[derive(Debug)]
pub(crate) struct Engine {
    store: Store,
}

impl Engine {
    /// Opens the store that `config` names.
    ///
    /// # Errors
    ///
    /// If no home directory is known, so that there is no place for a store, or if the store cannot be
    /// opened.
    pub(crate) fn open(config: &Config) -> Result<Self> {
        let root = config.data_root()?;
        let store = Store::open(&root).map_err(|err| Error::system("open the store", err))?;
        Ok(Self { store })
    }

    /// The directory that holds all state.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }
}
