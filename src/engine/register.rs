//! The last step of making an image: its documents, its record and its names.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::base::digest::Digest;
use crate::base::image_document;
use crate::base::image_ref::ImageRef;
use crate::base::manifest::{Descriptor, Document, Form, ImageConfig, Manifest};
use crate::engine::{Engine, Error, Kind, Result};
use crate::store::images::{IMAGE_VERSION, ImageLayer, ImageRecord, StoredManifest, chain_ids};
use crate::store::staging;

/// The longest configuration and manifest that are read, in bytes.
pub(crate) const MAX_DOCUMENT: usize = 8 << 20;

/// An image whose layers are all in the store, unpacked and as blobs.
#[derive(Clone, Debug)]
pub(crate) struct NewImage {
    /// The configuration, byte for byte: its digest is the image ID.
    pub(crate) config: Vec<u8>,
    /// The manifest, byte for byte.
    pub(crate) manifest: Vec<u8>,
    /// Other documents to keep, by which it was found: an index.
    pub(crate) index: Option<Vec<u8>>,
    /// Names to give it.
    pub(crate) names: Vec<ImageRef>,
    /// `repository@digest` by which it is known elsewhere.
    pub(crate) repo_digests: Vec<ImageRef>,
    /// The image that it is made from.
    pub(crate) parent: Option<Digest>,
}

impl NewImage {
    /// An image that is made here: writes its manifest for `layers`, the lowest first.
    pub(crate) fn of(
        config: Vec<u8>,
        layers: &[Descriptor],
        form: Form,
        annotations: &BTreeMap<String, String>,
    ) -> Self {
        let descriptor = Descriptor {
            media_type: form.config().to_owned(),
            digest: Digest::of(&config),
            size: config.len() as u64,
        };
        let manifest = image_document::manifest(form, &descriptor, layers, annotations);
        Self { config, manifest, index: None, names: vec![], repo_digests: vec![], parent: None }
    }
}

impl Engine {
    /// Makes an image exist, all at once, and gives it its names; returns its ID. A name that another
    /// image had moves to this one.
    ///
    /// The caller keeps pins on its blobs and layers until this returns.
    ///
    /// # Errors
    ///
    /// If the documents contradict each other, or the store cannot be written.
    pub(crate) fn register_image(&self, image: &NewImage) -> Result<Digest> {
        let malformed = |err: crate::base::manifest::ManifestError| Error::invalid(err.to_string());
        let config = ImageConfig::parse(&image.config).map_err(malformed)?;
        let Document::Manifest(manifest) = Document::parse(&image.manifest, "").map_err(malformed)? else {
            return Err(Error::invalid("an index is no image"));
        };
        let diff_ids = config.diff_ids(&manifest).map_err(malformed)?;
        let store = self.store();
        let documents: Vec<&Vec<u8>> =
            [&image.config, &image.manifest].into_iter().chain(&image.index).collect();
        let pins = {
            // Without the lock, a collection could look for pins just before they are set.
            let _lock = store.lock_shared(&mut |_, _| {})?;
            let pins = staging::dir(store)?;
            documents.iter().try_for_each(|document| pins.pin_blob(&Digest::of(document)))?;
            pins
        };
        for document in documents {
            store.blobs().put(document)?;
        }
        let record = self.image_record(image, &config, &manifest, diff_ids)?;
        // A build that goes on just now may have made some of its layers, and not have synced them yet.
        store.layers().settle(&record.chain_ids())?;
        let lock = self.lock()?;
        // What it is made from may have been removed since that was looked at; from here on nothing goes.
        let missing = record.chain_ids().into_iter().find(|layer| !store.layers().exists(layer));
        let missing =
            missing.or_else(|| record.blobs().find(|blob| matches!(store.blobs().has(blob), Ok(false))));
        if let Some(missing) = missing {
            let message = format!("what the image is made from is not all there any more: {missing}");
            return Err(
                Error::new(Kind::Conflict, message).hint("try again, or look for damage: system check")
            );
        }
        store.with_reserve(|| store.images().register(record.clone(), &lock))?;
        for name in &image.names {
            store.refs().set(name, &record.id, Some(Digest::of(&image.manifest)), &lock)?;
        }
        store.renew_reserve();
        drop((lock, pins));
        Ok(record.id)
    }

    fn image_record(
        &self,
        image: &NewImage,
        config: &ImageConfig,
        manifest: &Manifest,
        diff_ids: &[Digest],
    ) -> Result<ImageRecord> {
        let layers: Vec<ImageLayer> = chain_ids(diff_ids)
            .into_iter()
            .zip(diff_ids)
            .map(|(chain_id, &diff_id)| ImageLayer { chain_id, diff_id })
            .collect();
        let mut size_bytes = 0;
        for layer in &layers {
            size_bytes += self.store().layers().get(&layer.chain_id)?.size_bytes;
        }
        Ok(ImageRecord {
            version: IMAGE_VERSION,
            id: Digest::of(&image.config),
            created: config.created,
            stored: Timestamp::now(),
            platform: config.platform(),
            labels: config.config.labels.clone(),
            history: config.history.len(),
            layers,
            size_bytes,
            manifests: vec![StoredManifest {
                digest: Digest::of(&image.manifest),
                media_type: manifest.media_type.clone(),
                size_bytes: image.manifest.len() as u64,
                index: image.index.as_ref().map(|index| Digest::of(index)),
                layers: manifest.layers.iter().map(|layer| layer.digest).collect(),
            }],
            repo_digests: image.repo_digests.clone(),
            parent: image.parent,
            former: vec![],
            rest: serde_json::Map::new(),
        })
    }

    /// The manifest of a local image.
    ///
    /// # Errors
    ///
    /// If it is not kept, or damaged.
    pub(crate) fn read_manifest(&self, image: &ImageRecord) -> Result<Manifest> {
        let Some(stored) = image.manifest() else {
            return Err(Error::not_found(format!("image {}: its manifest is not kept", image.id.hex())));
        };
        let text = self.store().blobs().read_small(&stored.digest, MAX_DOCUMENT)?;
        match Document::parse(&text, &stored.media_type) {
            Ok(Document::Manifest(manifest)) => Ok(manifest),
            Ok(Document::Index { .. }) => Err(Error::invalid("an index is no image")),
            Err(err) => Err(Error::system(format!("read the manifest of image {}", image.id.hex()), err)),
        }
    }
}
