//! Signing what was pushed: a signature lies beside the image, under a tag that names the manifest's digest.
//!
//! ```text
//! manifest ─payload─▶ key ─▶ signature ─▶ manifest sha256-<hex> .sig     those of others stay in it
//! ```

use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;

use serde_json::Value;

use crate::base::digest::Digest;
use crate::base::image_ref::ImageRef;
use crate::base::manifest::Form;
use crate::engine::config::registries as files;
use crate::engine::push::{Cargo, Pusher};
use crate::engine::remote::error::from_registry;
use crate::engine::{Error, Kind, Result};
use crate::registry::attachments::Attachments;
use crate::registry::blob::Blob;
use crate::registry::client::Client;
use crate::registry::error::Error as RegistryError;
use crate::registry::sigstore::{self, PrivateKey};
use crate::registry::upload::Upload;
use crate::store::staging::{self, Staged};

/// Refuses to sign where registries.d says that there are no signatures.
///
/// # Errors
///
/// [`Kind::Invalid`].
pub(super) fn allowed(image: &ImageRef) -> Result<()> {
    let attachments = Attachments::load(&files::attachments())
        .map_err(|err| Error::new(Kind::Invalid, "read registries.d").because(err))?;
    if attachments.are_used(image) {
        return Ok(());
    }
    Err(Error::invalid(format!("push {image}: registries.d forbids to write signatures beside images"))
        .hint("set use-sigstore-attachments: true for it"))
}

/// Signs all manifests of what was pushed, and the index over them.
pub(super) fn sign(
    pusher: &Pusher<'_>,
    client: &Client<'_>,
    image: &ImageRef,
    cargo: &Cargo,
    key: &PrivateKey,
) -> Result<()> {
    let staged = staging::dir(pusher.engine.store())?;
    let manifests = cargo.images.iter().map(|image| image.manifest.digest);
    for (number, digest) in manifests.chain(cargo.index.iter().map(|index| index.digest)).enumerate() {
        let signer = Signer { client, image, key, staged: &staged, number };
        signer.sign(&digest)?;
    }
    Ok(())
}

/// Signs one manifest.
struct Signer<'a> {
    client: &'a Client<'a>,
    image: &'a ImageRef,
    key: &'a PrivateKey,
    staged: &'a Staged,
    number: usize,
}

impl Signer<'_> {
    fn sign(&self, digest: &Digest) -> Result<()> {
        let failed = |err| from_registry("sign", self.image, err);
        let tag = sigstore::tag(digest);
        let (config, manifest) = self.known(&tag).map_err(failed)?;
        let payload = sigstore::payload(self.image, digest);
        if self.is_signed(&manifest, &payload) {
            return Ok(());
        }
        let signature = self.key.sign(&payload).map_err(|why| Error::system("sign", why))?;
        let (config, manifest) = sigstore::attach(config, manifest, &payload, &signature);
        let jobs = vec![self.upload("payload", &payload)?, self.upload("config", &config)?];
        self.client.upload(jobs, 2, &|_, _| {}).map_err(failed)?;
        self.client.put_manifest(&tag, Form::Oci.manifest(), &manifest).map_err(failed)
    }

    /// The configuration and the manifest of the signatures that are there; null without any.
    fn known(&self, tag: &str) -> std::result::Result<(Value, Value), RegistryError> {
        let fetched = match self.client.manifest(tag) {
            Err(RegistryError::NotFound { .. }) => return Ok((Value::Null, Value::Null)),
            other => other?,
        };
        // What is no such document holds no signatures: it is written anew.
        let manifest: Value = serde_json::from_slice(&fetched.bytes).unwrap_or_default();
        let digest = manifest["config"]["digest"].as_str().and_then(|text| text.parse().ok());
        let (Some(digest), Some(size)) = (digest, manifest["config"]["size"].as_u64()) else {
            return Ok((Value::Null, Value::Null));
        };
        let config = self.client.small_blob(Blob { digest, size })?;
        Ok((serde_json::from_slice(&config).unwrap_or_default(), manifest))
    }

    /// Whether this key has signed this already.
    fn is_signed(&self, manifest: &Value, payload: &[u8]) -> bool {
        let digest = Digest::of(payload).to_string();
        let mut layers = manifest["layers"].as_array().into_iter().flatten();
        layers.any(|layer| {
            let signature = layer["annotations"][sigstore::SIGNATURE].as_str();
            layer["digest"].as_str() == Some(&digest)
                && signature.is_some_and(|signature| self.key.has_signed(payload, signature))
        })
    }

    fn upload(&self, name: &str, bytes: &[u8]) -> Result<Upload> {
        let path = self.staged.path().join(format!("{name}-{}", self.number));
        let written = File::options().read(true).write(true).create_new(true).open(&path);
        let written = written.and_then(|mut file| file.write_all(bytes).map(|()| file));
        let file = written.map_err(|err| Error::system("write a signature", err))?;
        let blob = Blob { digest: Digest::of(bytes), size: bytes.len() as u64 };
        Ok(Upload { blob, file: Arc::new(file), mount_from: vec![], resume: None })
    }
}
