//! Named documents over blobs that are no images: manifest lists and artifacts.
//!
//! `lists/<hex>` and `artifacts/<hex>`, where hex is the SHA-256 of the name. Each is one small record: the
//! document it stands for, which is a blob, and every blob that this one needs to be whole.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::base::digest::Digest;
use crate::base::order::InOrder as _;
use crate::store::Store;
use crate::store::error::{Result, io_error};
use crate::store::lock::Exclusive;
use crate::store::record::{self, Listing};
use crate::sys::fs;

/// The kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shelf {
    /// Manifest lists that are being put together.
    Lists,
    Artifacts,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Item {
    pub(crate) version: u32,
    /// Its full name.
    pub(crate) name: String,
    /// What it is called in listings; it stays when the document changes.
    pub(crate) id: Digest,
    /// The document.
    pub(crate) document: Digest,
    /// All blobs that it needs.
    pub(crate) blobs: Vec<Digest>,
    pub(crate) created: Timestamp,
    /// Fields of newer versions.
    #[serde(flatten)]
    pub(crate) rest: serde_json::Map<String, serde_json::Value>,
}

impl Shelf {
    fn directory(self) -> &'static str {
        match self {
            Self::Lists => "lists",
            Self::Artifacts => "artifacts",
        }
    }

    /// What one of them is, for messages.
    fn what(self) -> &'static str {
        match self {
            Self::Lists => "manifest list",
            Self::Artifacts => "artifact",
        }
    }

    fn path(self, name: &str) -> PathBuf {
        PathBuf::from(self.directory()).join(Digest::of(name.as_bytes()).hex())
    }
}

/// The documents of one kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Items<'a> {
    store: &'a Store,
    shelf: Shelf,
}

impl Store {
    /// Manifest lists, or artifacts.
    pub(crate) fn shelf(&self, shelf: Shelf) -> Items<'_> {
        Items { store: self, shelf }
    }
}

impl Items<'_> {
    /// The one of this name.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::store::StoreError::NotFound), [`Damaged`](crate::store::StoreError::Damaged).
    pub(crate) fn get(&self, name: &str) -> Result<Item> {
        record::read(self.store, &self.shelf.path(name), self.shelf.what(), name)
    }

    /// All, by name.
    pub(crate) fn list(&self) -> Result<Listing<Item>> {
        let mut listing = Listing::default();
        let directory = PathBuf::from(self.shelf.directory());
        // Stores of older versions have no such directory.
        if fs::stat_at(self.store.dir(), &directory).is_err() {
            return Ok(listing);
        }
        for file in record::names(self.store, self.shelf.directory())? {
            listing.add(record::read(self.store, &directory.join(&file), self.shelf.what(), &file));
        }
        listing.items.order_by(|a: &Item, b: &Item| a.name.cmp(&b.name));
        Ok(listing)
    }

    /// Adds or replaces one. Its blobs are in the store.
    pub(crate) fn set(&self, item: &Item, _lock: &Exclusive) -> Result<()> {
        self.store.make_directory(self.shelf.directory())?;
        record::write(self.store, &self.shelf.path(&item.name), item)
    }

    /// Removes one; false if there is none. Its blobs are garbage then.
    pub(crate) fn remove(&self, name: &str, _lock: &Exclusive) -> Result<bool> {
        let path = self.shelf.path(name);
        match fs::unlink(self.store.dir(), &path) {
            Ok(()) => record::sync_parent(self.store, &path).map(|()| true),
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(err) => Err(io_error("remove", self.store.root().join(path))(err)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_and_go_and_keep_their_blobs() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (kept, lost) = (store.blobs().put(b"kept").unwrap(), store.blobs().put(b"lost").unwrap());
        let item = |name: &str| Item {
            version: 1,
            name: name.to_owned(),
            id: Digest::of(b"id"),
            document: kept,
            blobs: vec![kept],
            created: Timestamp::UNIX_EPOCH,
            rest: serde_json::Map::new(),
        };
        assert!(store.shelf(Shelf::Lists).list().unwrap().items.is_empty());
        let lock = store.lock(&mut |_, _| {}).unwrap();
        store.shelf(Shelf::Lists).set(&item("b"), &lock).unwrap();
        store.shelf(Shelf::Lists).set(&item("a/../../x"), &lock).unwrap();
        let names: Vec<_> =
            store.shelf(Shelf::Lists).list().unwrap().items.into_iter().map(|i| i.name).collect();
        assert_eq!(names, ["a/../../x", "b"]);
        assert!(store.shelf(Shelf::Artifacts).get("b").unwrap_err().is_not_found());
        let collect = || store.take_garbage(store.garbage(&lock).unwrap(), None, &lock).unwrap().blobs;
        assert_eq!(collect(), [lost]);
        assert!(store.shelf(Shelf::Lists).remove("b", &lock).unwrap());
        assert!(!store.shelf(Shelf::Lists).remove("b", &lock).unwrap());
        store.shelf(Shelf::Lists).remove("a/../../x", &lock).unwrap();
        assert_eq!(collect(), [kept]);
    }
}
