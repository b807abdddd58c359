//! What nothing refers to any more.
//!
//! ```text
//! images, lists, artifacts ──▶ blobs, layers        containers ──▶ layers        pins of running pulls ──▶ both
//! ```
//!
//! Whatever is in no arrow's reach goes, much of it by a process of its own (`runtime::clean`): unlinking
//! what was written a moment ago waits for the disk. A record that cannot be read could point anywhere, so while
//! there is one, only what certainly is not meant goes: no blob, and no layer, until it is removed or
//! pulled again.

use std::collections::HashSet;
use std::os::fd::OwnedFd;

use crate::base::digest::Digest;
use crate::store::Store;
use crate::store::blobs::Blobs;
use crate::store::error::{Result, StoreError, io_error};
use crate::store::layers::Layers;
use crate::store::lock::Exclusive;
use crate::store::owner::Owner;
use crate::store::shelf::Shelf;
use crate::store::staging::{self, Staged};
use crate::sys::fs;

/// A file whose flock those hold who remove what others have left to them.
const SWEEPING: &str = "sweeping";

/// So many bytes or files take long enough to remove that nobody should wait for it.
const LARGE_BYTES: u64 = 32 << 20;
const LARGE_FILES: u64 = 2000;

/// What nothing refers to.
#[derive(Debug, Default)]
pub(crate) struct Garbage {
    blobs: Vec<Digest>,
    layers: Vec<Digest>,
    /// Bytes of all of it.
    pub(crate) bytes: u64,
    /// How many files it has, about.
    files: u64,
    /// Why it is less than everything.
    damaged: Vec<StoreError>,
}

impl Garbage {
    /// True if removing it takes long.
    pub(crate) fn is_large(&self) -> bool {
        self.bytes >= LARGE_BYTES || self.files >= LARGE_FILES
    }
}

/// What a garbage collection did.
#[derive(Debug, Default)]
pub(crate) struct Freed {
    /// Removed blobs.
    pub(crate) blobs: Vec<Digest>,
    /// Removed layers.
    pub(crate) layers: Vec<Digest>,
    /// Bytes that the removed things had.
    pub(crate) bytes: u64,
    /// Trees that were taken away and are to be [removed](Staged::remove) without the lock.
    pub(crate) taken: Vec<Staged>,
    /// Why less than everything was removed.
    pub(crate) damaged: Vec<StoreError>,
}

/// What is referred to.
#[derive(Debug, Default)]
pub(crate) struct Reachable {
    pub(crate) blobs: HashSet<Digest>,
    pub(crate) layers: HashSet<Digest>,
    /// Records that could not be read.
    pub(crate) damaged: Vec<StoreError>,
}

impl Store {
    /// What images, containers and running pulls refer to.
    pub(crate) fn reachable(&self) -> Result<Reachable> {
        let pins = staging::pins(self)?;
        let mut reachable = Reachable { blobs: pins.blobs, layers: pins.layers, damaged: vec![] };
        let images = self.images().list()?;
        for image in &images.items {
            reachable.blobs.extend(image.blobs());
            reachable.layers.extend(image.chain_ids());
        }
        reachable.damaged.extend(images.damaged);
        for shelf in [Shelf::Lists, Shelf::Artifacts] {
            let items = self.shelf(shelf).list()?;
            for item in items.items {
                reachable.blobs.extend(item.blobs.into_iter().chain([item.document]));
            }
            reachable.damaged.extend(items.damaged);
        }
        let steps = self.build_cache().steps()?;
        for layer in steps.items.into_iter().filter_map(|step| step.layer) {
            reachable.blobs.insert(layer.blob);
            reachable.layers.insert(layer.chain_id);
        }
        // A damaged step is done again; what it meant may go.
        let uses = self.containers().uses()?;
        reachable.layers.extend(uses.items.into_iter().flat_map(|container| container.layers));
        reachable.damaged.extend(uses.damaged);
        Ok(reachable)
    }

    /// Finds the blobs and layers that nothing refers to.
    pub(crate) fn garbage(&self, _lock: &Exclusive) -> Result<Garbage> {
        let reachable = self.reachable()?;
        let mut garbage = Garbage { damaged: reachable.damaged, ..Garbage::default() };
        if !garbage.damaged.is_empty() {
            return Ok(garbage);
        }
        for (digest, length) in self.blobs().list()? {
            if !reachable.blobs.contains(&digest) {
                garbage.bytes += length;
                garbage.files += 1;
                garbage.blobs.push(digest);
            }
        }
        for chain_id in self.layers().ids()? {
            if !reachable.layers.contains(&chain_id) {
                let (bytes, entries) =
                    self.layers().get(&chain_id).map_or((0, 0), |layer| (layer.size_bytes, layer.entries));
                garbage.bytes += bytes;
                garbage.files += entries;
                garbage.layers.push(chain_id);
            }
        }
        Ok(garbage)
    }

    /// Takes garbage away. Works on a full disk: blobs are unlinked, layers only renamed to staging. With a
    /// `sweeper`, which is a process that removes what it finds there under its name, everything is.
    pub(crate) fn take_garbage(
        &self,
        garbage: Garbage,
        sweeper: Option<&Owner>,
        _lock: &Exclusive,
    ) -> Result<Freed> {
        let mut freed = Freed {
            bytes: garbage.bytes,
            damaged: garbage.damaged,
            blobs: garbage.blobs,
            layers: garbage.layers,
            taken: Vec::new(),
        };
        for digest in &freed.blobs {
            match sweeper {
                Some(sweeper) => staging::leave_to(self, &Blobs::relative(digest), sweeper)?,
                None => drop(self.blobs().remove(digest)?),
            }
        }
        for chain_id in &freed.layers {
            match sweeper {
                Some(sweeper) => staging::leave_to(self, &Layers::relative(chain_id), sweeper)?,
                None => freed.taken.extend(self.layers().take(chain_id)?),
            }
        }
        Ok(freed)
    }

    /// Waits until no process removes what others have left to it.
    pub(crate) fn wait_for_sweepers(&self) {
        // Without the file there has never been one.
        if let Ok(file) = fs::open_at(self.dir(), SWEEPING, fs::OFlags::RDONLY, 0) {
            fs::lock(&file, fs::Share::Exclusive).ok();
        }
    }

    /// Opens the file of [`wait_for_sweepers`](Self::wait_for_sweepers), and takes its lock for a sweeper.
    pub(crate) fn lock_for_sweeper(&self) -> Result<OwnedFd> {
        let path = self.root().join(SWEEPING);
        let flags = fs::OFlags::RDWR | fs::OFlags::CREATE;
        let file = fs::open_at(self.dir(), SWEEPING, flags, 0o600).map_err(io_error("open", &path))?;
        fs::lock(&file, fs::Share::Shared).map_err(io_error("lock", &path))?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::ContainerId;
    use crate::store::containers::tests::create;
    use crate::store::images::tests::image;
    use crate::store::layers::tests::layer;

    fn put_layer(store: &Store, seed: &str) -> Digest {
        let staged = store.layers().stage().unwrap();
        store.layers().publish(vec![(staged, layer(seed))]).unwrap();
        layer(seed).chain_id
    }

    #[test]
    fn removes_what_nothing_refers_to() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let layers: Vec<Digest> =
            ["image", "container", "pinned", "free"].iter().map(|seed| put_layer(&store, seed)).collect();
        let config = store.blobs().put(b"config").unwrap();
        let pinned = store.blobs().put(b"pinned").unwrap();
        let free = store.blobs().put(b"free").unwrap();
        let spec = serde_json::json!({"image": null, "root": {"layers": [layers[1]]}, "mounts": []});
        create(&store, &ContainerId::from_random([1; 32]), "c", &spec).unwrap();
        let pins = staging::dir(&store).unwrap();
        pins.pin_blob(&pinned).unwrap();
        pins.pin_layer(&layers[2]).unwrap();

        let lock = store.lock(&mut |_, _| {}).unwrap();
        let mut record = image("image");
        record.manifests[0].layers = vec![config];
        store.images().register(record.clone(), &lock).unwrap();
        let freed = collect(&store, &lock);
        assert_eq!((freed.blobs, freed.layers, freed.bytes), (vec![free], vec![layers[3]], 4 + 20));
        assert!(freed.damaged.is_empty());

        // While something cannot be read, nothing it could mean goes.
        let path = store.root().join("images").join(record.id.hex());
        let text = std::fs::read(&path).unwrap();
        std::fs::write(&path, "{").unwrap();
        drop(pins);
        let freed = collect(&store, &lock);
        assert_eq!((freed.blobs.len(), freed.layers.len(), freed.damaged.len()), (0, 0, 1));
        std::fs::write(&path, text).unwrap();
        let freed = collect(&store, &lock);
        assert_eq!((freed.blobs, freed.layers), (vec![pinned], vec![layers[2]]));
        assert_eq!(store.layers().ids().unwrap().len(), 2);
    }

    #[test]
    fn what_is_left_to_a_sweeper_is_out_of_the_way_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let chain = put_layer(&store, "x");
        let blob = store.blobs().put(b"blob").unwrap();
        let lock = store.lock(&mut |_, _| {}).unwrap();
        let garbage = store.garbage(&lock).unwrap();
        assert!(!garbage.is_large() && Garbage { bytes: LARGE_BYTES, ..Garbage::default() }.is_large());
        let sweeper = Owner::current().unwrap();
        let freed = store.take_garbage(garbage, Some(&sweeper), &lock).unwrap();
        assert_eq!((freed.blobs, freed.layers, freed.taken.len()), (vec![blob], vec![chain], 0));
        assert!(!store.layers().has(&chain) && store.blobs().length(&blob).unwrap().is_none());
        // Alive, it is nobody else's to remove; then it does its work, and nothing of others.
        let other = staging::dir(&store).unwrap();
        assert_eq!((staging::sweep(&store, |_| ()).unwrap().len(), entries(&store)), (0, 3));
        assert!(staging::left_to(&store, &sweeper).unwrap().len() >= 2);
        drop(other);
    }

    fn entries(store: &Store) -> usize {
        fs::names(store.dir(), "staging").unwrap().len()
    }

    fn collect(store: &Store, lock: &Exclusive) -> Freed {
        store.take_garbage(store.garbage(lock).unwrap(), None, lock).unwrap()
    }
}
