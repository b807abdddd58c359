//! From the name of an image to its manifest and configuration.
//!
//! ```text
//! tag ─GET─▶ index ──platform──▶ manifest ──▶ configuration
//!        ╰────────────────────────▶╯            small blobs that the store has are not fetched again
//! ```

use crate::base::digest::Digest;
use crate::base::image_ref::ImageRef;
use crate::base::manifest::{Descriptor, Document, ImageConfig, IndexEntry, Manifest};
use crate::base::order::InOrder as _;
use crate::base::platform::Platform;
use crate::engine::error::{Error, Kind};
use crate::engine::pull::PullEvent;
use crate::engine::remote::Trouble;
use crate::engine::remote::error::from_manifest;
use crate::registry::blob::Blob;
use crate::registry::client::{Client, MAX_MANIFEST};
use crate::registry::error::Error as RegistryError;
use crate::store::Store;

/// What is known of an image before its layers come.
#[derive(Debug)]
pub(super) struct Found {
    /// Digest of what the tag stands for: the index, or the manifest.
    pub(super) top: Digest,
    pub(super) index: Option<Digest>,
    pub(super) manifest: Manifest,
    pub(super) manifest_digest: Digest,
    pub(super) manifest_bytes: u64,
    pub(super) config: ImageConfig,
    /// Index, manifest and configuration as they came; stored once the layers are there too.
    pub(super) documents: Vec<Vec<u8>>,
}

impl Found {
    /// The image ID.
    pub(super) fn id(&self) -> Digest {
        self.manifest.config.digest
    }
}

/// Fetches what describes `image` for `wanted`, or for this machine. Nothing is stored yet.
pub(super) fn fetch(
    store: &Store,
    client: &Client<'_>,
    image: &ImageRef,
    wanted: Option<&Platform>,
    events: &dyn Fn(&PullEvent<'_>),
) -> Result<Found, Trouble> {
    let top = client.manifest(&client.image().manifest_reference())?;
    let bad = |err| Trouble::Image(from_manifest(image, err));
    let top_bytes = top.bytes.len() as u64;
    let document = Document::parse(&top.bytes, &top.media_type).map_err(bad)?;
    let mut documents = vec![top.bytes];
    let (index, manifest, manifest_digest, manifest_bytes) = match document {
        Document::Manifest(manifest) => (None, manifest, top.digest, top_bytes),
        Document::Index { entries, .. } => {
            let entry = choose(image, &entries, wanted)?;
            let bytes = manifest_of(store, client, entry)?;
            let document = Document::parse(&bytes, &entry.media_type).map_err(bad)?;
            documents.push(bytes);
            match document {
                Document::Manifest(manifest) => (Some(top.digest), manifest, entry.digest, entry.size),
                Document::Index { .. } => {
                    let message = format!("pull {image}: the index points to another index");
                    return Err(Error::new(Kind::Unsupported, message).into());
                }
            }
        }
    };
    let config_bytes = small(store, client, &manifest.config)?;
    let config = ImageConfig::parse(&config_bytes).map_err(bad)?;
    documents.push(config_bytes);
    let found =
        Found { top: top.digest, index, manifest, manifest_digest, manifest_bytes, config, documents };
    check(image, &found, wanted, events)?;
    Ok(found)
}

/// Picks the entry of an index.
fn choose<'a>(
    image: &ImageRef,
    entries: &'a [IndexEntry],
    wanted: Option<&Platform>,
) -> Result<&'a Descriptor, Error> {
    let host = Platform::host();
    let wanted = wanted.unwrap_or(&host);
    let platforms: Vec<Option<Platform>> = entries.iter().map(|entry| entry.platform.clone()).collect();
    if let Some(at) = wanted.choose(&platforms) {
        return Ok(&entries[at].descriptor);
    }
    let mut have: Vec<String> = platforms
        .iter()
        .flatten()
        .map(ToString::to_string)
        .filter(|name| !name.starts_with("unknown") && name != "/")
        .collect();
    have.order();
    have.dedup();
    let what = format!(
        "no image found in image index for architecture {:?}, variant {:?}, OS {:?}",
        wanted.arch, wanted.variant, wanted.os
    );
    let error = Error::new(Kind::NotFound, format!("pull {image}: {what}"));
    Err(match have.first() {
        Some(first) => {
            error.hint(format!("there are images for {}; try --platform {first}", have.join(", ")))
        }
        None => error,
    })
}

/// The manifest an index entry points to: from the store, or from the registry.
fn manifest_of(store: &Store, client: &Client<'_>, entry: &Descriptor) -> Result<Vec<u8>, RegistryError> {
    if let Some(bytes) = stored(store, entry) {
        return Ok(bytes);
    }
    let fetched = client.manifest(&entry.digest.to_string())?;
    let got = fetched.bytes.len() as u64;
    if got == entry.size {
        Ok(fetched.bytes)
    } else {
        Err(RegistryError::Size { digest: entry.digest, want: entry.size, got })
    }
}

/// A small blob: from the store, or from the registry.
fn small(store: &Store, client: &Client<'_>, descriptor: &Descriptor) -> Result<Vec<u8>, RegistryError> {
    match stored(store, descriptor) {
        Some(bytes) => Ok(bytes),
        None => client.small_blob(Blob { digest: descriptor.digest, size: descriptor.size }),
    }
}

/// A small blob that the store has, unharmed and of the right length.
fn stored(store: &Store, descriptor: &Descriptor) -> Option<Vec<u8>> {
    let max = usize::try_from(MAX_MANIFEST).unwrap_or(usize::MAX);
    let bytes = store.blobs().read_small(&descriptor.digest, max).ok()?;
    (bytes.len() as u64 == descriptor.size).then_some(bytes)
}

/// Holds manifest, configuration and wish together.
fn check(
    image: &ImageRef,
    found: &Found,
    wanted: Option<&Platform>,
    events: &dyn Fn(&PullEvent<'_>),
) -> Result<(), Error> {
    found.config.diff_ids(&found.manifest).map_err(|err| from_manifest(image, err))?;
    let (is, host) = (found.config.platform(), Platform::host());
    let expected = wanted.unwrap_or(&host);
    if expected.runs(&is) {
        return Ok(());
    }
    // Many images say the wrong thing of themselves; those of other tools are taken with a word, too.
    let warning = match wanted {
        Some(_) => format!("image platform ({is}) does not match the expected platform ({expected})"),
        None => format!("{image} is for {is}, this machine is {expected}: its programs may not run"),
    };
    events(&PullEvent::Warning(&warning));
    Ok(())
}
