//! An image's layers for a container whose IDs are not those of U (`--userns=keep-id`, `nomap`).
//!
//! overlayfs cannot be idmapped and rootless users may not idmap the host's file systems, so such a
//! container needs lower directories whose files belong to other IDs. They are unpacked again from the
//! kept blobs, once for each map, and shared by all containers with that map; nothing is ever copied up or
//! changed file by file. Their names are digests like those of other layers:
//! `sha256("<chain ID>@<map>")`, so the store, its garbage collection and the overlay treat them alike.

use crate::base::digest::Digest;
use crate::base::idmap::{IdExtent, IdMap};
use crate::base::spec::UserNamespace;
use crate::engine::unpack::Wanted;
use crate::engine::userns::machine_ids;
use crate::engine::{Engine, Error, Result};
use crate::runtime::idmaps;
use crate::store::images::ImageRecord;
use crate::store::unpack::{Ids, NOBODY};

/// An image that takes so long to unpack that whoever waits is told.
const SLOW_BYTES: u64 = 100 << 20;

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
            if image.size_bytes > SLOW_BYTES {
                self.tell("unpacking the image's layers for this user mapping; this happens once");
            }
            let nobody = self.has_nobody().then_some(NOBODY);
            self.unpack_for(image, &names, &Ids::Translated { uids, gids, nobody })?;
        }
        Ok(names)
    }

    /// Whether U has a nobody to give files to that have no place in a container's map.
    fn has_nobody(&self) -> bool {
        let has = |map: &IdMap| map.to_outside(NOBODY).is_some();
        self.caller().mapping.as_ref().is_none_or(|mapping| has(&mapping.uids) && has(&mapping.gids))
    }

    /// The maps, unless they are those that layers are unpacked with anyway.
    fn foreign_maps(&self, userns: &UserNamespace) -> Option<(IdMap, IdMap)> {
        let userns = match userns {
            UserNamespace::Container { ids, .. } => ids,
            own => own,
        };
        if matches!(userns, UserNamespace::Default | UserNamespace::Host) {
            return None;
        }
        let caller = self.caller();
        let Some(mapping) = &caller.mapping else {
            // Root of the machine has no U; its containers' maps start from the machine's IDs.
            let machine = machine_ids();
            let is_own = |map: &IdMap| map.0.iter().all(|extent| extent.inside == extent.outside);
            return idmaps::of_container(userns, &machine, &machine, (0, 0))
                .filter(|(uids, gids)| !(is_own(uids) && is_own(gids)));
        };
        if mapping.single.is_some() {
            return None;
        }
        let of_u = |map: &IdMap| {
            let inside = |e: &IdExtent| IdExtent { outside: e.inside, ..*e };
            IdMap(map.0.iter().map(inside).collect())
        };
        idmaps::of_container(userns, &of_u(&mapping.uids), &of_u(&mapping.gids), (0, 0))
    }

    fn unpack_for(&self, image: &ImageRecord, names: &[Digest], ids: &Ids) -> Result<()> {
        let blobs = image.manifest().map(|manifest| manifest.layers.clone()).unwrap_or_default();
        if blobs.len() != names.len() {
            return Err(Error::not_found(
                "the image's compressed layers are not kept, so it cannot be unpacked again",
            )
            .hint("pull it again"));
        }
        let layers = names.iter().zip(&image.layers).zip(blobs);
        let layers: Vec<Wanted> =
            layers.map(|((&name, layer), blob)| Wanted { name, diff_id: layer.diff_id, blob }).collect();
        self.unpack(&layers, Some(ids))
    }
}
