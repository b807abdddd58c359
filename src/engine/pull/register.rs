//! The last step of a pull: the image and its name, and what keeps garbage collection away until then.

use jiff::Timestamp;

use crate::base::image_ref::ImageRef;
use crate::base::manifest::Descriptor;
use crate::engine::Engine;
use crate::engine::pull::fetch::Found;
use crate::engine::remote::error::from_store;
use crate::store::images::{IMAGE_VERSION, ImageLayer, ImageRecord, StoredManifest, chain_ids};
use crate::store::staging::{self, Staged};
use crate::store::{Result, Store};

/// Keeps garbage collection off everything the image will refer to, as long as it lives.
pub(super) fn pin(store: &Store, found: &Found) -> Result<Staged> {
    // Without the lock, a collection could look for pins just before they are set.
    let _lock = store.lock_shared(&mut |_, _| {})?;
    let pins = staging::dir(store)?;
    for blob in record(found, &[], 0).blobs() {
        pins.pin_blob(&blob)?;
    }
    for chain_id in chain_ids(&found.config.rootfs.diff_ids) {
        pins.pin_layer(&chain_id)?;
    }
    Ok(pins)
}

/// True if name, record and all layers with their blobs are here already.
pub(super) fn already_here(store: &Store, image: &ImageRef, found: &Found) -> bool {
    let Ok(record) = store.images().get(&found.id()) else {
        return false;
    };
    let known = record.manifests.iter().any(|manifest| manifest.digest == found.manifest_digest);
    let whole = record.layers.iter().all(|layer| store.layers().has(&layer.chain_id));
    let has_blob = |layer: &Descriptor| store.blobs().has(&layer.digest).unwrap_or(false);
    let whole = whole && found.manifest.layers.iter().all(has_blob);
    let named = match image.tag() {
        Some(_) if image.digest().is_none() => store
            .refs()
            .get(image)
            .is_ok_and(|named| named.image == record.id && named.manifest == Some(found.manifest_digest)),
        _ => true,
    };
    known && whole && named && record.repo_digests.contains(&image.with_digest(found.top))
}

/// Makes the image exist and gives it its name. Its blobs and layers are here.
///
/// # Errors
///
/// If the store cannot be written.
pub(super) fn register(engine: &Engine, image: &ImageRef, found: &Found) -> crate::engine::Result<()> {
    let store = engine.store();
    let failed = |err| from_store("pull", image, err);
    for document in &found.documents {
        store.blobs().put(document).map_err(failed)?;
    }
    let mut size_bytes = 0;
    for chain_id in chain_ids(&found.config.rootfs.diff_ids) {
        size_bytes += store.layers().get(&chain_id).map_err(failed)?.size_bytes;
    }
    let mut names = vec![image.with_digest(found.top)];
    if found.top != found.manifest_digest {
        names.push(image.with_digest(found.manifest_digest));
    }
    let record = record(found, &names, size_bytes);
    // A build that goes on just now may have made some of its layers, and not have synced them yet.
    store.layers().settle(&record.chain_ids()).map_err(failed)?;
    let lock = engine.lock()?;
    store.with_reserve(|| store.images().register(record.clone(), &lock)).map_err(failed)?;
    // A name with a digest is not moved: it means those bytes for ever, and no tag was asked for.
    if image.tag().is_some() && image.digest().is_none() {
        store.refs().set(image, &found.id(), Some(found.manifest_digest), &lock).map_err(failed)?;
    }
    store.renew_reserve();
    Ok(())
}

/// What is known of the image.
fn record(found: &Found, repo_digests: &[ImageRef], size_bytes: u64) -> ImageRecord {
    let diff_ids = &found.config.rootfs.diff_ids;
    let layers = chain_ids(diff_ids)
        .into_iter()
        .zip(diff_ids)
        .map(|(chain_id, &diff_id)| ImageLayer { chain_id, diff_id })
        .collect();
    ImageRecord {
        version: IMAGE_VERSION,
        id: found.id(),
        created: found.config.created,
        stored: Timestamp::now(),
        platform: found.config.platform(),
        labels: found.config.config.labels.clone(),
        history: found.config.history.len(),
        layers,
        size_bytes,
        manifests: vec![StoredManifest {
            digest: found.manifest_digest,
            media_type: found.manifest.media_type.clone(),
            size_bytes: found.manifest_bytes,
            index: found.index,
            layers: found.manifest.layers.iter().map(|layer| layer.digest).collect(),
        }],
        repo_digests: repo_digests.to_vec(),
        parent: None,
        former: vec![],
        rest: serde_json::Map::new(),
    }
}
