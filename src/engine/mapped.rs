//! An image's layers for a container whose IDs are not those of U (`--userns=keep-id`, `nomap`).
//!
//! overlayfs cannot be idmapped and rootless users may not idmap the host's file systems, so such a
//! container needs lower directories whose files belong to other IDs. They are unpacked again from the
//! kept blobs, once for each map, and shared by all containers with that map; nothing is ever copied up or
//! changed file by file. Their names are digests like those of other layers:
//! `sha256("<chain ID>@<map>")`, so the store, its garbage collection and the overlay treat them alike.

use crate::base::digest::Digest;
use crate::base::idmap::IdMap;
use crate::base::spec::UserNamespace;
use crate::engine::{Engine, Error, Result};
use crate::runtime::idmaps;
use crate::runtime::worker::{self, Unpacker};
use crate::store::images::ImageRecord;
use crate::store::layers::{LayerRecord, StagedLayer};
use crate::store::unpack::{Ids, Report};

/// One layer that is to be unpacked for a map.
struct Missing {
    index: usize,
    name: Digest,
    diff_id: Digest,
    blob: Digest,
    staged: StagedLayer,
}

impl Engine {
    /// The layers of `image` for a container with the user namespace `userns`, the lowest first; unpacks
    /// what is not there yet.
    ///
    /// # Errors
    ///
    /// If the image's blobs are not kept any more or cannot be unpacked for this map.
    pub(crate) fn layers_for(&self, image: &ImageRecord, userns: &UserNamespace) -> Result<Vec<Digest>> {
        let Some((uids, gids)) = self.foreign_maps(userns) else { return Ok(image.chain_ids()) };
        let map = format!("{};{}", uids.to_kernel(), gids.to_kernel());
        let names: Vec<Digest> = image
            .chain_ids()
            .iter()
            .map(|chain_id| Digest::of(format!("{chain_id}@{map}").as_bytes()))
            .collect();
        if names.iter().any(|name| !self.store().layers().has(name)) {
            self.tell("unpacking the image's layers for this user mapping; this happens once");
            self.unpack_for(image, &names, &Ids::Translated { uids, gids })?;
        }
        Ok(names)
    }

    /// The maps, unless they are those that layers are unpacked with anyway.
    fn foreign_maps(&self, userns: &UserNamespace) -> Option<(IdMap, IdMap)> {
        if matches!(userns, UserNamespace::Default | UserNamespace::Host) {
            return None;
        }
        let caller = self.caller();
        // Root of the machine has no U; its containers' maps start from the machine's IDs.
        let mapping = caller.mapping.as_ref().filter(|mapping| mapping.single.is_none())?;
        let of_u = |map: &IdMap| {
            let inside =
                |e: &crate::base::idmap::IdExtent| crate::base::idmap::IdExtent { outside: e.inside, ..*e };
            IdMap(map.0.iter().map(inside).collect())
        };
        idmaps::of_container(userns, &of_u(&mapping.uids), &of_u(&mapping.gids), (0, 0))
    }

    fn unpack_for(&self, image: &ImageRecord, names: &[Digest], ids: &Ids) -> Result<()> {
        let (store, caller) = (self.store(), self.caller());
        let blobs = image.manifest().map(|manifest| manifest.layers.clone()).unwrap_or_default();
        if blobs.len() != names.len() {
            return Err(Error::not_found(
                "the image's compressed layers are not kept, so it cannot be unpacked again",
            )
            .hint("pull it again"));
        }
        let failed = |err: crate::runtime::failure::Failure| Error::system("unpack a layer", err);
        let unpacker = Unpacker::start(&caller, store, names.len()).map_err(failed)?;
        let mut missing: Vec<Missing> = Vec::new();
        for (index, name) in names.iter().enumerate() {
            if store.layers().has(name) {
                unpacker.below(index, store.layers().open_fs(name)?).map_err(failed)?;
                continue;
            }
            let staged = store.layers().stage()?;
            let diff_id = image.layers[index].diff_id;
            let mut order = Unpacker::order(&caller, store, diff_id).map_err(failed)?;
            order.ids = ids.clone();
            let blob = store.blobs().open(&blobs[index])?;
            unpacker.unpack(index, order, staged.open_fs()?, &blob, None).map_err(failed)?;
            missing.push(Missing { index, name: *name, diff_id, blob: blobs[index], staged });
        }
        let reports = (0..missing.len()).map(|_| {
            let (index, result) = unpacker.report().map_err(failed)?;
            let unpacked = result.map_err(|err| {
                let hint = worker::hint(&err, &caller);
                let error = Error::system(format!("unpack layer {}", blobs[index]), err);
                hint.into_iter().fold(error, Error::hint)
            });
            Ok((index, unpacked?))
        });
        let reports = reports.collect::<Result<Vec<_>>>();
        drop(unpacker);
        let mut records = match reports {
            Ok(records) => records,
            Err(err) => {
                worker::discard(&caller, store, missing.into_iter().map(|layer| layer.staged));
                return Err(err);
            }
        };
        records.sort_by_key(|(index, _)| *index);
        let layers = missing.into_iter().zip(records).map(|(layer, (_, report))| {
            let record = self.record(&layer, names, &report);
            (layer.staged, record)
        });
        Ok(store.layers().publish(layers.collect())?)
    }

    fn record(&self, layer: &Missing, names: &[Digest], report: &Report) -> LayerRecord {
        LayerRecord {
            version: 1,
            chain_id: layer.name,
            parent: layer.index.checked_sub(1).map(|below| names[below]),
            diff_id: layer.diff_id,
            blob: layer.blob,
            blob_bytes: self.store().blobs().length(&layer.blob).ok().flatten().unwrap_or_default(),
            size_bytes: report.size_bytes,
            entries: report.entries,
            skipped_devices: report
                .device_names
                .iter()
                .map(|name| name.to_string_lossy().into_owned())
                .collect(),
            rest: serde_json::Map::new(),
        }
    }
}
