//! One name, images for several platforms: `--platform` of verbs about local images, and `images --tree`.
//!
//! A name stands for one image. Where it was pulled by an index, or is a manifest list, the images of other
//! platforms that are here can be told from the index:
//!
//! ```text
//! name ─▶ image ─▶ manifest ─▶ index ─┬─ linux/amd64 ─▶ the same image
//!                                      ├─ linux/arm64 ─▶ another one that is here, or none
//! ```

use crate::base::digest::Digest;
use crate::base::image_ref::Purpose;
use crate::base::manifest::{Document, IndexEntry};
use crate::base::order::InOrder as _;
use crate::base::platform::Platform;
use crate::engine::image::Image;
use crate::engine::register::MAX_DOCUMENT;
use crate::engine::{Engine, Error, Result};
use crate::store::images::ImageRecord;

/// One platform of an image or a manifest list.
#[derive(Clone, Debug)]
pub(crate) struct Variant {
    /// What it is for; `None` if the index does not say.
    pub(crate) platform: Option<Platform>,
    /// The image, if it is here.
    pub(crate) image: Option<ImageRecord>,
    /// Digest of its manifest.
    pub(crate) manifest: Digest,
}

impl Engine {
    /// What means the image for `wanted` among those that `typed` stands for: `typed` itself, or an image ID.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`](crate::engine::Kind::NotFound) without such an image here.
    pub(crate) fn on_platform(
        &self,
        typed: &str,
        wanted: Option<&Platform>,
        purpose: Purpose,
    ) -> Result<String> {
        let Some(wanted) = wanted else { return Ok(typed.to_owned()) };
        let index = match self.store().find_list(typed, purpose)? {
            Some(list) => Some(list.document),
            None => {
                let found = self.image_for(typed, purpose)?;
                if wanted.runs(&found.image.platform) {
                    return Ok(typed.to_owned());
                }
                index_of(&found.image, found.manifest.as_ref())
            }
        };
        let missing = || {
            Error::not_found(format!(
                "image {typed} was found but does not provide the specified platform ({wanted})"
            ))
            .hint(format!("get it by pull --platform {wanted} {typed}"))
        };
        let entries = self.entries(&index.ok_or_else(missing)?)?;
        let entry = IndexEntry::choose(&entries, wanted).ok_or_else(missing)?;
        let images = self.store().images().list()?.items;
        let image = with_manifest(&images, &entry.descriptor.digest).ok_or_else(missing)?;
        Ok(image.id.to_string())
    }

    /// The full name by which `typed` means a local image or list, to push it.
    ///
    /// # Errors
    ///
    /// [`Kind::Invalid`](crate::engine::Kind::Invalid) if it was found by its ID.
    pub(crate) fn full_name(&self, typed: &str) -> Result<String> {
        if let Some(list) = self.store().find_list(typed, Purpose::Act)? {
            return Ok(list.name);
        }
        let nameless = || Error::invalid(format!("{typed}: it was not found by a name, so say where to"));
        self.image_for(typed, Purpose::Act)?.name.map(|name| name.to_string()).ok_or_else(nameless)
    }

    /// The platforms of an image or a list, `all` being the images that are here. An image that was pulled by no
    /// index is its own only one.
    ///
    /// # Errors
    ///
    /// If its index is damaged.
    pub(crate) fn variants(&self, image: &Image, all: &[Image]) -> Result<Vec<Variant>> {
        let index = match image.is_list {
            true => image.record.manifest().map(|manifest| manifest.digest),
            false => index_of(&image.record, None),
        };
        let Some(index) = index else {
            let Some(manifest) = image.record.manifest() else { return Ok(Vec::new()) };
            return Ok(vec![Variant {
                platform: Some(image.record.platform.clone()),
                image: Some(image.record.clone()),
                manifest: manifest.digest,
            }]);
        };
        let images: Vec<_> = all.iter().filter(|image| !image.is_list).map(|image| &image.record).collect();
        let variant = |entry: IndexEntry| Variant {
            image: with_manifest(images.iter().copied(), &entry.descriptor.digest).cloned(),
            platform: entry.platform,
            manifest: entry.descriptor.digest,
        };
        Ok(self.entries(&index)?.into_iter().map(variant).collect())
    }

    /// What an index lists.
    fn entries(&self, index: &Digest) -> Result<Vec<IndexEntry>> {
        let text = self.store().blobs().read_small(index, MAX_DOCUMENT)?;
        match Document::parse(&text, "") {
            Ok(Document::Index { entries, .. }) => Ok(entries),
            Ok(Document::Manifest(_)) => Err(Error::invalid(format!("{index} is no index"))),
            Err(err) => Err(Error::system(format!("read index {index}"), err)),
        }
    }

    /// How many bytes of blobs an image keeps: configuration, manifests and compressed layers.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub(crate) fn content_bytes(&self, record: &ImageRecord) -> Result<u64> {
        let mut blobs: Vec<Digest> = record.blobs().collect();
        blobs.order();
        blobs.dedup();
        blobs.iter().try_fold(0, |sum, blob| Ok(sum + self.store().blobs().length(blob)?.unwrap_or(0)))
    }
}

/// The index that an image was found through: by the manifest that its name stands for, or by any.
fn index_of(record: &ImageRecord, manifest: Option<&Digest>) -> Option<Digest> {
    let named = record.manifests.iter().find(|known| Some(&known.digest) == manifest);
    named.and_then(|known| known.index).or_else(|| record.manifests.iter().find_map(|known| known.index))
}

fn with_manifest<'a>(
    images: impl IntoIterator<Item = &'a ImageRecord>,
    digest: &Digest,
) -> Option<&'a ImageRecord> {
    images.into_iter().find(|image| image.manifests.iter().any(|known| known.digest == *digest))
}
