//! Volumes: directories that outlive containers.
//!
//! `volumes/<name>/{volume.json,data/}`. The data is the user's: only `volume rm` and `prune` remove it.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::store::Store;
use crate::store::error::{Result, StoreError, io_error};
use crate::store::record::{self, Listing, is_name};
use crate::store::staging::{self, Staged};
use crate::sys::fs;

/// What is known of a volume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct VolumeRecord {
    pub(crate) version: u32,
    pub(crate) name: String,
    pub(crate) created: Timestamp,
    /// `local`.
    pub(crate) driver: String,
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    /// `--opt` pairs of `volume create`.
    #[serde(default)]
    pub(crate) options: BTreeMap<String, String>,
    /// Made for one container, with a random name; removed with it by `--rm` and `rm -v`.
    #[serde(default)]
    pub(crate) anonymous: bool,
    /// Nothing has been copied into it from an image yet, so that its first use does.
    #[serde(default)]
    pub(crate) needs_copy_up: bool,
    /// Fields of newer versions.
    #[serde(flatten)]
    pub(crate) rest: serde_json::Map<String, serde_json::Value>,
}

impl VolumeRecord {
    /// A new local volume without labels and options.
    pub(crate) fn new(name: &str, anonymous: bool) -> Self {
        Self {
            version: 1,
            name: name.to_owned(),
            created: Timestamp::now(),
            driver: "local".to_owned(),
            labels: BTreeMap::new(),
            options: BTreeMap::new(),
            anonymous,
            needs_copy_up: true,
            rest: serde_json::Map::new(),
        }
    }
}

/// The volumes of a store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Volumes<'a> {
    store: &'a Store,
}

impl Store {
    /// The volumes.
    pub(crate) fn volumes(&self) -> Volumes<'_> {
        Volumes { store: self }
    }
}

impl Volumes<'_> {
    fn relative(name: &str) -> PathBuf {
        PathBuf::from("volumes").join(name)
    }

    /// The directory that containers see, there or not; absolute. `name` is that of a volume.
    pub(crate) fn data_path(&self, name: &str) -> PathBuf {
        self.store.root().join(Self::relative(name)).join("data")
    }

    /// The record of a volume.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`], [`StoreError::Damaged`].
    pub(crate) fn get(&self, name: &str) -> Result<VolumeRecord> {
        if !is_name(name) {
            return Err(StoreError::NotFound { what: "volume", name: name.to_owned() });
        }
        let path = Self::relative(name);
        record::read(self.store, &path.join("volume.json"), "volume", name).map_err(|err| match err {
            StoreError::NotFound { what, name } if fs::stat_at(self.store.dir(), &path).is_ok() => {
                StoreError::Damaged {
                    what,
                    name,
                    path: self.store.root().join(path),
                    reason: "volume.json is missing; its data is untouched".to_owned(),
                }
            }
            other => other,
        })
    }

    /// Makes a volume, durably.
    ///
    /// # Errors
    ///
    /// [`StoreError::Exists`]; [`StoreError::InvalidName`].
    pub(crate) fn create(&self, volume: &VolumeRecord) -> Result<()> {
        let name = &volume.name;
        if !is_name(name) {
            return Err(StoreError::InvalidName { what: "volume", name: name.clone() });
        }
        let mut staged = staging::dir(self.store)?;
        let data = staged.subdir("data")?;
        fs::chmod(&data, 0o755).map_err(io_error("set the mode of", self.data_path(name)))?;
        staged.write("volume.json", &record::to_text(volume), true)?;
        if staged.publish(self.store, &Self::relative(name), true)? {
            Ok(())
        } else {
            Err(StoreError::Exists { what: "volume", name: name.clone() })
        }
    }

    /// Notes that a container uses the volume, so that it is no longer new.
    pub(crate) fn note_first_use(&self, name: &str) -> Result<()> {
        let mut volume = self.get(name)?;
        volume.needs_copy_up = false;
        // Not durably: after a power cut an unused volume is as good as one used once.
        let staged = staging::file(self.store, &record::to_text(&volume), false)?;
        let path = Self::relative(name).join("volume.json");
        fs::rename(self.store.dir(), &staged, self.store.dir(), &path)
            .map_err(io_error("rename to", self.store.root().join(path)))
    }

    /// Makes the record of a volume anew whose own cannot be read; that one stays beside it as
    /// `volume.json.damaged`. Its data is untouched; its labels and options are lost.
    pub(crate) fn renew_record(&self, name: &str) -> Result<()> {
        let path = Self::relative(name).join("volume.json");
        let aside = Self::relative(name).join("volume.json.damaged");
        match fs::rename(self.store.dir(), &path, self.store.dir(), &aside) {
            Err(err) if err.kind() != std::io::ErrorKind::NotFound => {
                return Err(io_error("rename", self.store.root().join(path))(err));
            }
            _ => {}
        }
        record::write(self.store, &path, &VolumeRecord::new(name, false))
    }

    /// The record of a volume, which is made from `new` if there is none of that name.
    pub(crate) fn get_or_create(&self, new: &VolumeRecord) -> Result<VolumeRecord> {
        match self.get(&new.name) {
            Err(err) if err.is_not_found() => {}
            other => return other,
        }
        match self.create(new) {
            Ok(()) => Ok(new.clone()),
            // Another process was first.
            Err(StoreError::Exists { .. }) => self.get(&new.name),
            Err(err) => Err(err),
        }
    }

    /// All volumes, by name.
    pub(crate) fn list(&self) -> Result<Listing<VolumeRecord>> {
        let mut listing = Listing::default();
        for name in record::names(self.store, "volumes")? {
            listing.add(self.get(&name));
        }
        Ok(listing)
    }

    /// Whether there is a volume of this very name, damaged or not.
    pub(crate) fn exists(&self, name: &str) -> bool {
        is_name(name) && fs::stat_at(self.store.dir(), Self::relative(name)).is_ok()
    }

    /// Finds the volume that `typed` means: its name, or the beginning of one volume's name.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`], [`StoreError::Ambiguous`].
    pub(crate) fn find(&self, typed: &str) -> Result<String> {
        let missing = || StoreError::NotFound { what: "volume", name: typed.to_owned() };
        if !is_name(typed) {
            return Err(missing());
        }
        if self.exists(typed) {
            return Ok(typed.to_owned());
        }
        let mut matching = record::names(self.store, "volumes")?;
        matching.retain(|name| name.starts_with(typed));
        match matching.len() {
            0 => Err(missing()),
            1 => Ok(matching.remove(0)),
            _ => Err(StoreError::Ambiguous { what: "volumes", name: typed.to_owned(), candidates: matching }),
        }
    }

    /// Takes a volume away; `None` if there is none. The caller then [removes](Staged::remove) it.
    ///
    /// The caller has made sure that no container uses it.
    pub(crate) fn take(&self, name: &str) -> Result<Option<Staged>> {
        if !is_name(name) {
            return Ok(None);
        }
        match staging::take(self.store, &Self::relative(name)) {
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other,
        }
    }
}

impl Store {
    /// Takes away those of `volumes` that no container uses. The caller then [removes](Staged::remove) them.
    ///
    /// # Errors
    ///
    /// If the containers cannot be read; then all stay.
    pub(crate) fn take_unused_volumes<'a>(
        &self,
        volumes: impl Iterator<Item = &'a str>,
    ) -> Result<Vec<(&'a str, Staged)>> {
        let mut volumes = volumes.peekable();
        if volumes.peek().is_none() {
            return Ok(Vec::new());
        }
        let uses = self.containers().uses()?.items;
        let is_used = |volume: &str| uses.iter().any(|user| user.volumes.iter().any(|used| used == volume));
        let mut taken = Vec::new();
        for volume in volumes.filter(|volume| !is_used(volume)) {
            taken.extend(self.volumes().take(volume)?.map(|staged| (volume, staged)));
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_made_once_listed_and_taken() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let volumes = store.volumes();
        let new = VolumeRecord::new("data", false);
        volumes.create(&new).unwrap();
        assert!(matches!(volumes.create(&new), Err(StoreError::Exists { .. })));
        let again = VolumeRecord { anonymous: true, ..new.clone() };
        assert_eq!(volumes.get_or_create(&again).unwrap(), new, "the first one stays");
        assert!(matches!(
            volumes.create(&VolumeRecord::new("../x", false)),
            Err(StoreError::InvalidName { .. })
        ));
        volumes.create(&VolumeRecord::new("other", true)).unwrap();
        assert_eq!(volumes.find("dat").unwrap(), "data");
        assert!(volumes.exists("data") && !volumes.exists("dat") && !volumes.exists("../volumes/data"));
        std::fs::write(volumes.data_path("data").join("file"), "x").unwrap();

        // A damaged record takes nothing else with it, and is not taken for an absent volume.
        std::fs::write(store.root().join("volumes/data/volume.json"), "").unwrap();
        let listing = volumes.list().unwrap();
        assert_eq!((listing.items.len(), listing.damaged.len()), (1, 1));
        assert!(matches!(volumes.get_or_create(&new), Err(StoreError::Damaged { .. })));
        assert!(volumes.data_path("data").join("file").exists());

        volumes.take("data").unwrap().unwrap().remove().unwrap();
        assert!(volumes.take("data").unwrap().is_none());
        assert!(volumes.get("data").unwrap_err().is_not_found());
    }
}
