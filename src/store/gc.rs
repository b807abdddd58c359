//! What nothing refers to any more.
//!
//! ```text
//! images, lists, artifacts ──▶ blobs, layers        containers ──▶ layers        pins of running pulls ──▶ both
//! ```
//!
//! Whatever is in no arrow's reach goes. A record that cannot be read could point anywhere, so while
//! there is one, only what certainly is not meant goes: no blob, and no layer, until it is removed or
//! pulled again.

use std::collections::HashSet;
use std::path::PathBuf;

use crate::base::digest::Digest;
use crate::store::Store;
use crate::store::error::{Result, StoreError};
use crate::store::lock::Exclusive;
use crate::store::shelf::Shelf;
use crate::store::staging::{self, Removal};

/// What a garbage collection did.
#[derive(Debug, Default)]
pub(crate) struct Freed {
    /// Removed blobs.
    pub(crate) blobs: Vec<Digest>,
    /// Removed layers.
    pub(crate) layers: Vec<Digest>,
    /// Bytes that the removed things had.
    pub(crate) bytes: u64,
    /// Directories that only a process of the user namespace can remove.
    pub(crate) foreign: Vec<PathBuf>,
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

    /// Removes blobs and layers that nothing refers to, and what dead processes left in staging.
    ///
    /// Works on a full disk. Under the lock things are only renamed away and unlinked; call
    /// [`Removal`]-style clean-up for [`Freed::foreign`] after freeing the lock.
    pub(crate) fn collect_garbage(&self, _lock: &Exclusive) -> Result<Freed> {
        let mut freed = Freed { foreign: staging::sweep(self)?, ..Freed::default() };
        let reachable = self.reachable()?;
        freed.damaged = reachable.damaged;
        if !freed.damaged.is_empty() {
            return Ok(freed);
        }
        for (digest, _) in self.blobs().list()? {
            if !reachable.blobs.contains(&digest) {
                freed.bytes += self.blobs().remove(&digest)?;
                freed.blobs.push(digest);
            }
        }
        for chain_id in self.layers().ids()? {
            if reachable.layers.contains(&chain_id) {
                continue;
            }
            let size = self.layers().get(&chain_id).map_or(0, |layer| layer.size_bytes);
            if let Some(taken) = self.layers().take(&chain_id)? {
                if let Removal::Foreign(left) = taken.remove()? {
                    freed.foreign.push(left.leave());
                }
                freed.bytes += size;
                freed.layers.push(chain_id);
            }
        }
        Ok(freed)
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
        let freed = store.collect_garbage(&lock).unwrap();
        assert_eq!((freed.blobs, freed.layers, freed.bytes), (vec![free], vec![layers[3]], 4 + 20));
        assert!(freed.foreign.is_empty() && freed.damaged.is_empty());

        // While something cannot be read, nothing it could mean goes.
        let path = store.root().join("images").join(record.id.hex());
        let text = std::fs::read(&path).unwrap();
        std::fs::write(&path, "{").unwrap();
        drop(pins);
        let freed = store.collect_garbage(&lock).unwrap();
        assert_eq!((freed.blobs.len(), freed.layers.len(), freed.damaged.len()), (0, 0, 1));
        std::fs::write(&path, text).unwrap();
        let freed = store.collect_garbage(&lock).unwrap();
        assert_eq!((freed.blobs, freed.layers), (vec![pinned], vec![layers[2]]));
        assert_eq!(store.layers().ids().unwrap().len(), 2);
    }
}
