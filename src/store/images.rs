//! What is known of each image, in one small file, so that listing reads one file per image.
//!
//! `images/<hex of the image ID>`: the image exists if and only if this file does. The image ID is the
//! digest of the configuration; several manifests (gzip and zstd variants, manifests of different
//! registries) can describe the same image.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::base::digest::Digest;
use crate::base::image_ref::ImageRef;
use crate::base::platform::Platform;
use crate::store::Store;
use crate::store::error::{Result, io_error};
use crate::store::lock::Exclusive;
use crate::store::record::{self, Listing};
use crate::sys::fs;

/// The version of image records that this program writes.
pub(crate) const IMAGE_VERSION: u32 = 1;

/// How many former names of an image are kept: a loop that tags and untags must not fill its record.
const MAX_FORMER: usize = 64;

/// One image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ImageRecord {
    /// [`IMAGE_VERSION`] of the writer.
    pub(crate) version: u32,
    /// Digest of the configuration.
    pub(crate) id: Digest,
    /// When the image was built, as its configuration says.
    pub(crate) created: Option<Timestamp>,
    /// When it came into this store.
    pub(crate) stored: Timestamp,
    /// What it was built for.
    pub(crate) platform: Platform,
    /// Labels of the configuration.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, String>,
    /// How many entries its history has.
    pub(crate) history: usize,
    /// Its layers, the lowest first.
    pub(crate) layers: Vec<ImageLayer>,
    /// Bytes of all files of its layers, unpacked: what listings show.
    pub(crate) size_bytes: u64,
    /// Every manifest that was seen to describe it, the first one first. Never empty for a pulled image.
    pub(crate) manifests: Vec<StoredManifest>,
    /// `registry/repository@digest` under which it was pulled or pushed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) repo_digests: Vec<ImageRef>,
    /// The image that it was made from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parent: Option<Digest>,
    /// Names that it had once, the one lost last first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) former: Vec<ImageRef>,
    /// Fields of newer versions.
    #[serde(flatten)]
    pub(crate) rest: serde_json::Map<String, serde_json::Value>,
}

/// One layer of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImageLayer {
    /// Names the unpacked layer in `layers/`.
    pub(crate) chain_id: Digest,
    /// Digest of the uncompressed archive.
    pub(crate) diff_id: Digest,
}

/// A manifest that describes the image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredManifest {
    /// Its own digest: a blob.
    pub(crate) digest: Digest,
    pub(crate) media_type: String,
    pub(crate) size_bytes: u64,
    /// The index it was found through, a blob too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) index: Option<Digest>,
    /// The compressed layers, the lowest first: blobs, if they were kept.
    pub(crate) layers: Vec<Digest>,
}

impl ImageRecord {
    /// The chain IDs of its layers, the lowest first.
    pub(crate) fn chain_ids(&self) -> Vec<Digest> {
        self.layers.iter().map(|layer| layer.chain_id).collect()
    }

    /// Every blob that the image needs: configuration, manifests, indexes, layers.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = Digest> + '_ {
        let of_manifests = self.manifests.iter().flat_map(|manifest| {
            [manifest.digest].into_iter().chain(manifest.index).chain(manifest.layers.iter().copied())
        });
        of_manifests.chain([self.id])
    }

    /// The manifest to show and to push: the first one.
    pub(crate) fn manifest(&self) -> Option<&StoredManifest> {
        self.manifests.first()
    }

    /// Adds what another record of the same image knows.
    fn merge(&mut self, other: &Self) {
        for manifest in &other.manifests {
            match self.manifests.iter_mut().find(|known| known.digest == manifest.digest) {
                Some(known) => known.index = known.index.or(manifest.index),
                None => self.manifests.push(manifest.clone()),
            }
        }
        self.parent = other.parent.or(self.parent);
        for name in &other.repo_digests {
            if !self.repo_digests.contains(name) {
                self.repo_digests.push(name.clone());
            }
        }
    }
}

/// The chain IDs of layers with these diff IDs, the lowest first.
///
/// # Source
///
/// OCI image-spec, config.md, "Layer ChainID": the first is the diff ID itself, each further one the
/// digest of `<chain ID below> <diff ID>`.
pub(crate) fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        chain.push(match chain.last() {
            None => *diff_id,
            Some(below) => Digest::of(format!("{below} {diff_id}").as_bytes()),
        });
    }
    chain
}

/// The images of a store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Images<'a> {
    store: &'a Store,
}

impl Store {
    /// The images.
    pub(crate) fn images(&self) -> Images<'_> {
        Images { store: self }
    }
}

impl Images<'_> {
    fn path(hex: &str) -> PathBuf {
        PathBuf::from("images").join(hex)
    }

    /// The record of an image.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::store::StoreError::NotFound), [`Damaged`](crate::store::StoreError::Damaged).
    pub(crate) fn get(&self, id: &Digest) -> Result<ImageRecord> {
        let hex = id.hex();
        record::read(self.store, &Self::path(&hex), "image", &hex)
    }

    /// All images, by ID.
    pub(crate) fn list(&self) -> Result<Listing<ImageRecord>> {
        let mut listing = Listing::default();
        for hex in self.ids()? {
            listing.add(record::read(self.store, &Self::path(&hex), "image", &hex));
        }
        Ok(listing)
    }

    /// The hex IDs of all images, of damaged ones too.
    pub(crate) fn ids(&self) -> Result<Vec<String>> {
        let mut names = record::names(self.store, "images")?;
        names.retain(|name| Digest::from_hex(name).is_ok());
        Ok(names)
    }

    /// Adds an image, or what is new of one that is known, and returns the record as it is now.
    ///
    /// Its layers and blobs must be in the store already. A damaged record is replaced: whoever
    /// registers knows everything again.
    pub(crate) fn register(&self, image: ImageRecord, _lock: &Exclusive) -> Result<ImageRecord> {
        let image = match self.get(&image.id) {
            Ok(mut known) => {
                known.merge(&image);
                known
            }
            Err(_) => image,
        };
        record::write(self.store, &Self::path(&image.id.hex()), &image)?;
        Ok(image)
    }

    /// Writes down that an image is losing a name. Nothing to do for an image that is not there.
    pub(crate) fn remember_name(&self, id: &Digest, name: &ImageRef, _lock: &Exclusive) -> Result<()> {
        let Ok(mut image) = self.get(id) else { return Ok(()) };
        image.former.retain(|known| known != name);
        image.former.insert(0, name.clone());
        image.former.truncate(MAX_FORMER);
        record::write(self.store, &Self::path(&id.hex()), &image)
    }

    /// Writes down that an image is not known by a digest of a repository any more.
    pub(crate) fn forget_digest(&self, id: &Digest, name: &ImageRef, _lock: &Exclusive) -> Result<()> {
        let mut image = self.get(id)?;
        image.repo_digests.retain(|known| known != name);
        record::write(self.store, &Self::path(&id.hex()), &image)
    }

    /// Removes the record of an image; false if there is none. Its layers and blobs are garbage then.
    pub(crate) fn remove(&self, id: &Digest, _lock: &Exclusive) -> Result<bool> {
        let path = Self::path(&id.hex());
        match fs::unlink(self.store.dir(), &path) {
            Ok(()) => record::sync_parent(self.store, &path).map(|()| true),
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(err) => Err(io_error("remove", self.store.root().join(path))(err)),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::store::StoreError;

    /// An image of one layer whose IDs derive from `seed`.
    pub(crate) fn image(seed: &str) -> ImageRecord {
        let digest = |what: &str| Digest::of(format!("{seed} {what}").as_bytes());
        ImageRecord {
            version: IMAGE_VERSION,
            id: digest("config"),
            created: Some("2024-01-02T03:04:05Z".parse().unwrap()),
            stored: "2025-01-02T03:04:05.000000006Z".parse().unwrap(),
            platform: Platform::new("linux", "amd64", ""),
            labels: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
            history: 2,
            layers: vec![ImageLayer { chain_id: digest("diff"), diff_id: digest("diff") }],
            size_bytes: 7,
            manifests: vec![StoredManifest {
                digest: digest("manifest"),
                media_type: "application/vnd.oci.image.manifest.v1+json".into(),
                size_bytes: 9,
                index: None,
                layers: vec![digest("blob")],
            }],
            repo_digests: vec![],
            parent: None,
            former: vec![],
            rest: serde_json::Map::new(),
        }
    }

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        (dir, store)
    }

    #[test]
    fn chain_ids_follow_the_specification() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        assert_eq!(chain_ids(&[]), []);
        assert_eq!(chain_ids(&[a]), [a]);
        assert_eq!(chain_ids(&[a, b]), [a, Digest::of(format!("{a} {b}").as_bytes())]);
    }

    #[test]
    fn variants_of_one_image_are_one_record() {
        let (_guard, store) = store();
        let lock = store.lock(&mut |_, _| {}).unwrap();
        let gzip = image("x");
        let mut zstd = gzip.clone();
        zstd.manifests[0].digest = Digest::of(b"zstd");
        zstd.repo_digests = vec!["r.io/a".parse::<ImageRef>().unwrap().with_digest(Digest::of(b"zstd"))];
        store.images().register(gzip.clone(), &lock).unwrap();
        store.images().register(zstd.clone(), &lock).unwrap();
        let both = store.images().register(zstd, &lock).unwrap();
        assert_eq!(both.manifests.len(), 2);
        assert_eq!(both.repo_digests.len(), 1);
        assert_eq!(store.images().get(&gzip.id).unwrap(), both);
        assert!(store.images().remove(&gzip.id, &lock).unwrap());
        assert!(!store.images().remove(&gzip.id, &lock).unwrap());
        assert!(store.images().get(&gzip.id).unwrap_err().is_not_found());
    }

    #[test]
    fn damage_stays_with_its_own_image_and_new_fields_are_kept() {
        let (_guard, store) = store();
        let lock = store.lock(&mut |_, _| {}).unwrap();
        for seed in ["good", "half", "nul", "empty"] {
            store.images().register(image(seed), &lock).unwrap();
        }
        let path = |seed: &str| store.root().join("images").join(image(seed).id.hex());
        let text = std::fs::read(path("half")).unwrap();
        std::fs::write(path("half"), &text[..text.len() / 2]).unwrap();
        std::fs::write(path("nul"), vec![0; 300]).unwrap();
        std::fs::write(path("empty"), "").unwrap();
        let listing = store.images().list().unwrap();
        assert_eq!(listing.items, [image("good")]);
        assert_eq!(listing.damaged.len(), 3);
        assert!(matches!(listing.damaged[0], StoreError::Damaged { .. }));
        // Pulling again repairs it.
        store.images().register(image("half"), &lock).unwrap();
        assert_eq!(store.images().get(&image("half").id).unwrap(), image("half"));

        let mut newer: serde_json::Value = serde_json::from_slice(&text).unwrap();
        newer["from_the_future"] = 42.into();
        std::fs::write(path("half"), newer.to_string()).unwrap();
        let again = store.images().register(image("half"), &lock).unwrap();
        assert_eq!(again.rest["from_the_future"], 42);
        assert!(std::fs::read_to_string(path("half")).unwrap().contains("from_the_future"));
    }
}
