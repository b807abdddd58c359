//! Unpacked layers: lower directories for overlay mounts.
//!
//! ```text
//! staging/…/fs ──unpack──▶ staging/…/{fs,layer.json} ──rename──▶ layers/<hex of chain ID>/{fs,layer.json}
//! ```
//!
//! A layer is whole or absent: all its files are on the disk (one syncfs for all layers of a pull)
//! before the rename. Layers with equal chain IDs are equal, so that whoever comes second just drops
//! their own.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::base::digest::Digest;
use crate::store::Store;
use crate::store::error::{Result, StoreError, io_error};
use crate::store::owner;
use crate::store::record::{self, Listing};
use crate::store::staging::{self, Staged};
use crate::sys::fs;

/// A field of a layer's record while its files may not be on the disk: the boot in which it was written.
/// A build makes many layers and syncs once, at its end; after a crash of the machine those count as
/// absent.
const UNSYNCED: &str = "unsynced";

/// The directory of a layer that overlay mounts.
const FS: &str = "fs";

/// What is known of an unpacked layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    pub(crate) version: u32,
    /// Its name.
    pub(crate) chain_id: Digest,
    /// The layer below.
    pub(crate) parent: Option<Digest>,
    /// Digest of the uncompressed archive.
    pub(crate) diff_id: Digest,
    /// The blob it was unpacked from.
    pub(crate) blob: Digest,
    /// Length of that blob.
    pub(crate) blob_bytes: u64,
    /// Length of the uncompressed archive; 0 if nobody has measured it.
    #[serde(default)]
    pub(crate) archive_bytes: u64,
    /// Bytes of all its files: what listings add up.
    pub(crate) size_bytes: u64,
    /// How many entries its archive has.
    pub(crate) entries: u64,
    /// Device nodes that its archive has and this unpacking could not make.
    #[serde(default)]
    pub(crate) skipped_devices: Vec<String>,
    /// Fields of newer versions.
    #[serde(flatten)]
    pub(crate) rest: serde_json::Map<String, serde_json::Value>,
}

/// A layer that is being unpacked.
#[derive(Debug)]
pub(crate) struct StagedLayer {
    staged: Staged,
}

/// The layers of a store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layers<'a> {
    store: &'a Store,
}

impl Store {
    /// The unpacked layers.
    pub(crate) fn layers(&self) -> Layers<'_> {
        Layers { store: self }
    }
}

impl StagedLayer {
    /// Opens the directory to unpack into.
    pub(crate) fn open_fs(&self) -> Result<OwnedFd> {
        let path = self.staged.path().join(FS);
        fs::open_dir(fs::here(), &path).map_err(io_error("open", path))
    }

    /// The directory to unpack into; absolute.
    pub(crate) fn fs_path(&self) -> PathBuf {
        self.staged.path().join(FS)
    }

    /// Gives it up.
    pub(crate) fn discard(self) -> Result<staging::Removal> {
        self.staged.remove()
    }

    /// The staging directory, which also takes pins.
    pub(crate) fn staged(&self) -> &Staged {
        &self.staged
    }
}

impl Layers<'_> {
    /// Where a layer lies, relative to the store.
    pub(in crate::store) fn relative(chain_id: &Digest) -> PathBuf {
        PathBuf::from("layers").join(chain_id.hex())
    }

    /// The directory that overlay takes as a lower one, there or not; absolute.
    pub(crate) fn fs_path(&self, chain_id: &Digest) -> PathBuf {
        self.store.root().join(Self::relative(chain_id)).join(FS)
    }

    /// Opens the lower directory of a layer.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`]: pulling the image again brings it back.
    pub(crate) fn open_fs(&self, chain_id: &Digest) -> Result<OwnedFd> {
        let path = Self::relative(chain_id).join(FS);
        match fs::open_at(self.store.dir(), &path, fs::OFlags::RDONLY | fs::OFlags::DIRECTORY, 0) {
            Ok(dir) => Ok(dir),
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => {
                Err(StoreError::NotFound { what: "layer", name: chain_id.hex() })
            }
            Err(err) => Err(io_error("open", self.store.root().join(path))(err)),
        }
    }

    /// True if the layer is there: its directory and a readable record.
    pub(crate) fn has(&self, chain_id: &Digest) -> bool {
        let whole = |record: &LayerRecord| match record.rest.get(UNSYNCED) {
            None => true,
            Some(boot) => owner::boot_id().is_ok_and(|now| boot.as_str() == Some(now)),
        };
        self.get(chain_id).is_ok_and(|record| whole(&record))
            && fs::stat_at(self.store.dir(), Self::relative(chain_id).join(FS)).is_ok()
    }

    /// True if there is anything of a layer, whole or not.
    pub(crate) fn exists(&self, chain_id: &Digest) -> bool {
        fs::stat_at(self.store.dir(), Self::relative(chain_id)).is_ok()
    }

    /// The record of a layer.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`], [`StoreError::Damaged`].
    pub(crate) fn get(&self, chain_id: &Digest) -> Result<LayerRecord> {
        let hex = chain_id.hex();
        record::read(self.store, &Self::relative(chain_id).join("layer.json"), "layer", &hex)
    }

    /// All layers.
    pub(crate) fn list(&self) -> Result<Listing<LayerRecord>> {
        let mut listing = Listing::default();
        for chain_id in self.ids()? {
            // A layer without a record is damaged, not absent.
            listing.add(self.get(&chain_id).map_err(|err| match err {
                StoreError::NotFound { what, name } => StoreError::Damaged {
                    what,
                    name,
                    path: self.store.root().join(Self::relative(&chain_id)),
                    reason: "layer.json is missing".to_owned(),
                },
                other => other,
            }));
        }
        Ok(listing)
    }

    /// The chain IDs of all layers, of damaged ones too.
    pub(crate) fn ids(&self) -> Result<Vec<Digest>> {
        let names = record::names(self.store, "layers")?;
        Ok(names.iter().filter_map(|name| Digest::from_hex(name).ok()).collect())
    }

    /// Makes a place to unpack a layer in.
    pub(crate) fn stage(&self) -> Result<StagedLayer> {
        let staged = staging::dir(self.store)?;
        drop(staged.subdir(FS)?);
        Ok(StagedLayer { staged })
    }

    /// Gives unpacked layers their places, the lowest first.
    ///
    /// Everything is on the disk before the first one is seen. A layer that another process has put
    /// there meanwhile stays as it is; a damaged one is replaced. What remains in staging is removed
    /// as far as this process may and otherwise left to [`staging::sweep`].
    pub(crate) fn publish(&self, layers: Vec<(StagedLayer, LayerRecord)>) -> Result<()> {
        for (layer, record) in &layers {
            layer.staged.write("layer.json", &record::to_text(record), false)?;
        }
        if !layers.is_empty() {
            let all = fs::sync_filesystem(self.store.dir());
            all.map_err(io_error("sync the file system of", self.store.root()))?;
        }
        layers.into_iter().try_for_each(|(layer, record)| self.place(layer, &record.chain_id, true))
    }

    /// Gives a layer its place, unless a whole one is there.
    fn place(&self, mut layer: StagedLayer, chain_id: &Digest, durable: bool) -> Result<()> {
        let place = Self::relative(chain_id);
        if !layer.staged.publish(self.store, &place, durable)? && !self.has(chain_id) {
            drop(staging::take(self.store, &place)?);
            layer.staged.publish(self.store, &place, durable)?;
        }
        Ok(())
    }

    /// Gives one new layer its place before it is on the disk; [`Layers::settle`] follows.
    pub(crate) fn publish_unsynced(&self, layer: StagedLayer, mut record: LayerRecord) -> Result<()> {
        record.rest.insert(UNSYNCED.to_owned(), owner::boot_id()?.into());
        layer.staged.write("layer.json", &record::to_text(&record), false)?;
        self.place(layer, &record.chain_id, false)
    }

    /// Puts layers on the disk that are not there yet for certain: one sync for all of them.
    pub(crate) fn settle(&self, layers: &[Digest]) -> Result<()> {
        let mut records: Vec<LayerRecord> = layers.iter().filter_map(|layer| self.get(layer).ok()).collect();
        records.retain(|record| record.rest.contains_key(UNSYNCED));
        if records.is_empty() {
            return Ok(());
        }
        fs::sync_filesystem(self.store.dir())
            .map_err(io_error("sync the file system of", self.store.root()))?;
        for mut record in records {
            record.rest.remove(UNSYNCED);
            record::write(self.store, &Self::relative(&record.chain_id).join("layer.json"), &record)?;
        }
        Ok(())
    }

    /// Takes a layer away; `None` if there is none. The caller then [removes](Staged::remove) it.
    pub(crate) fn take(&self, chain_id: &Digest) -> Result<Option<Staged>> {
        staging::take(self.store, &Self::relative(chain_id))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A record for a layer whose IDs are those of `seed`'s image in `store::images::tests`.
    pub(crate) fn layer(seed: &str) -> LayerRecord {
        let image = crate::store::images::tests::image(seed);
        LayerRecord {
            version: 1,
            chain_id: image.layers[0].chain_id,
            parent: None,
            diff_id: image.layers[0].diff_id,
            blob: image.manifests[0].layers[0],
            blob_bytes: 10,
            archive_bytes: 0,
            size_bytes: 20,
            entries: 1,
            skipped_devices: vec![],
            rest: serde_json::Map::new(),
        }
    }

    #[test]
    fn a_layer_is_whole_or_absent() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let record = layer("x");
        let id = record.chain_id;
        let stage = |content: &str| {
            let staged = store.layers().stage().unwrap();
            std::fs::write(staged.staged().path().join("fs/file"), content).unwrap();
            staged
        };
        assert!(!store.layers().has(&id));
        let content = || std::fs::read_to_string(store.layers().fs_path(&id).join("file")).unwrap();
        store.layers().publish(vec![(stage("1"), record.clone())]).unwrap();
        store.layers().publish(vec![(stage("2"), record.clone())]).unwrap();
        assert_eq!(content(), "1", "the first one stays");
        assert_eq!(store.layers().get(&id).unwrap(), record);

        std::fs::write(store.root().join("layers").join(id.hex()).join("layer.json"), "").unwrap();
        assert!(!store.layers().has(&id));
        assert_eq!(store.layers().list().unwrap().damaged.len(), 1);
        store.layers().publish(vec![(stage("3"), record)]).unwrap();
        assert!(store.layers().has(&id));
        assert_eq!(content(), "3", "a damaged one is replaced");
        assert_eq!(fs::names(store.dir(), "staging").unwrap().len(), 0);

        // One that a build has not synced counts until the machine crashes.
        store.layers().take(&id).unwrap().unwrap().remove().unwrap();
        store.layers().publish_unsynced(stage("4"), layer("x")).unwrap();
        assert!(store.layers().has(&id));
        let record_path = store.root().join("layers").join(id.hex()).join("layer.json");
        let text = std::fs::read_to_string(&record_path).unwrap();
        let crashed = text.replace(owner::boot_id().unwrap(), "another boot");
        assert_ne!(crashed, text);
        std::fs::write(&record_path, crashed).unwrap();
        assert!(!store.layers().has(&id));
        store.layers().publish_unsynced(stage("5"), layer("x")).unwrap();
        assert_eq!(content(), "5");
        store.layers().settle(&[id]).unwrap();
        assert!(!std::fs::read_to_string(&record_path).unwrap().contains(UNSYNCED));

        store.layers().take(&id).unwrap().unwrap().remove().unwrap();
        assert!(store.layers().open_fs(&id).unwrap_err().is_not_found());
    }
}
