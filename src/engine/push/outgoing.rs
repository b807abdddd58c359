//! An image on its way out: its documents, and its blobs as open files.

use std::sync::Arc;

use crate::base::digest::Digest;
use crate::base::manifest::{Descriptor, Document, Manifest};
use crate::engine::push::SharedFile;
use crate::engine::{Error, Kind, Result};
use crate::registry::client::MAX_MANIFEST;
use crate::store::staging::Staged;
use crate::store::{Store, StoreError};

/// A manifest or an index.
#[derive(Clone, Debug)]
pub(super) struct OutManifest {
    pub(super) digest: Digest,
    pub(super) media_type: String,
    pub(super) bytes: Vec<u8>,
}

/// A configuration or a layer.
#[derive(Clone, Debug)]
pub(super) struct OutBlob {
    pub(super) descriptor: Descriptor,
    pub(super) file: SharedFile,
}

/// One image.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) manifest: OutManifest,
    pub(super) config: OutBlob,
    /// The lowest first.
    pub(super) layers: Vec<OutBlob>,
    /// Where blobs lie that were made for this journey.
    pub(super) _staged: Vec<Staged>,
}

/// Reads a manifest or an index of the store.
///
/// # Errors
///
/// If it is not here, or not what its name says.
pub(super) fn read_manifest(store: &Store, digest: &Digest) -> Result<OutManifest> {
    let max = usize::try_from(MAX_MANIFEST).unwrap_or(usize::MAX);
    let bytes = store.blobs().read_small(digest, max).map_err(absent)?;
    let document = Document::parse(&bytes, "").map_err(|err| unusable(digest, &err))?;
    let media_type = match document {
        Document::Index { media_type, .. } | Document::Manifest(Manifest { media_type, .. }) => media_type,
    };
    Ok(OutManifest { digest: *digest, media_type, bytes })
}

/// Opens everything that an image consists of.
///
/// # Errors
///
/// If a part of it is not here, or is not as long as the manifest says.
pub(super) fn gather(store: &Store, digest: &Digest) -> Result<Outgoing> {
    let manifest = read_manifest(store, digest)?;
    let document = Document::parse(&manifest.bytes, &manifest.media_type);
    let parts = match document.map_err(|err| unusable(digest, &err))? {
        Document::Manifest(parts) => parts,
        Document::Index { .. } => return Err(Error::new(Kind::System, format!("{digest} is an index"))),
    };
    let config = open(store, parts.config)?;
    let layers = parts.layers.into_iter().map(|layer| open(store, layer)).collect::<Result<_>>()?;
    Ok(Outgoing { manifest, config, layers, _staged: Vec::new() })
}

fn open(store: &Store, descriptor: Descriptor) -> Result<OutBlob> {
    let file = store.blobs().open(&descriptor.digest).map_err(absent)?;
    let length = store.blobs().length(&descriptor.digest)?.unwrap_or(0);
    if length != descriptor.size {
        let message = format!("blob {} is {length} bytes long, not {}", descriptor.digest, descriptor.size);
        return Err(Error::new(Kind::System, message).hint("pull the image again"));
    }
    Ok(OutBlob { descriptor, file: Arc::new(file) })
}

/// A part that is not here.
fn absent(err: StoreError) -> Error {
    let gone = err.is_not_found();
    let error = Error::from(err);
    if gone { error.hint("pull the image again to have all of it here") } else { error }
}

fn unusable(digest: &Digest, err: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Unsupported, format!("manifest {digest}: {err}"))
}
