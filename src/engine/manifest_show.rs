//! `manifest inspect`: what a list, an index or a manifest says, of this store or of a registry.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::base::digest::Digest;
use crate::base::image_ref::{DOCKER_HUB, ImageName, ImageRef, Purpose};
use crate::base::manifest::{Descriptor, Document, Form, ImageConfig};
use crate::base::platform::Platform;
use crate::engine::manifest_list::{local_part, manifest_of, platform_document};
use crate::engine::register::MAX_DOCUMENT;
use crate::engine::remote::{Remote, RemoteOptions, Trouble};
use crate::engine::{Engine, Error, Kind, Result};
use crate::registry::blob::Blob;

/// What a reader can fail with is the server's, or the image's.
type Tried<T> = std::result::Result<T, Trouble>;

/// Reads a document by its digest, and its length if that is known, from wherever the first one came.
type Read<'a> = &'a dyn Fn(&Digest, Option<u64>) -> Tried<Vec<u8>>;

/// What a name means on its registry.
#[derive(Clone, Debug)]
pub(crate) struct Offered {
    /// Of the index, or of the manifest.
    pub(crate) descriptor: Descriptor,
    pub(crate) platforms: Vec<Platform>,
}

impl Engine {
    /// A list, or the index or manifest of an image: of this store, else of its registry; byte for byte.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`]; what can go wrong with a registry.
    pub(crate) fn inspect_list(&self, typed: &str, options: &RemoteOptions) -> Result<Vec<u8>> {
        match self.local_document(typed)? {
            Some((_, text)) => Ok(text),
            None => self.remote_document(typed, options, |_, text, _| Ok(text)),
        }
    }

    /// Every manifest that [`inspect_list`](Self::inspect_list) leads to, each with its descriptor and its
    /// bytes, in the form of `docker manifest inspect --verbose`: a list of them, or the single one.
    ///
    /// # Errors
    ///
    /// As `inspect_list`; for what is no image.
    pub(crate) fn inspect_list_fully(&self, typed: &str, options: &RemoteOptions) -> Result<Value> {
        let stored = |digest: &Digest, _: Option<u64>| -> Tried<Vec<u8>> {
            Ok(self.store().blobs().read_small(digest, MAX_DOCUMENT).map_err(Error::from)?)
        };
        match self.local_document(typed)? {
            Some((name, text)) => described(&name, &text, &stored).map_err(|trouble| match trouble {
                Trouble::Image(err) => err,
                Trouble::Server(err) => Error::system(format!("inspect {typed}"), err),
            }),
            None => self.remote_document(typed, options, |name, text, read| described(name, &text, read)),
        }
    }

    /// What a registry has under a name now, and for which platforms. Nothing is stored.
    ///
    /// # Errors
    ///
    /// What can go wrong with a registry; for what is no image.
    pub(crate) fn offered(&self, typed: &str, options: &RemoteOptions) -> Result<Offered> {
        let parsed: ImageName = typed.parse().map_err(|err| Error::invalid(format!("{err}")))?;
        let image = parsed.on(DOCKER_HUB).with_default_tag();
        let remote = Remote::new(options, self.conf())?;
        remote.reading("inspect", &image, &|_| {}, &|_| {}, |client| {
            let top = client.manifest(&client.image().manifest_reference())?;
            let malformed = |err: &dyn std::fmt::Display| Error::invalid(format!("{image}: {err}"));
            let size = top.bytes.len() as u64;
            let (media_type, platforms) =
                match Document::parse(&top.bytes, &top.media_type).map_err(|err| malformed(&err))? {
                    Document::Manifest(manifest) => {
                        let Descriptor { digest, size, .. } = manifest.config;
                        let config = client.small_blob(Blob { digest, size })?;
                        let config = ImageConfig::parse(&config).map_err(|err| malformed(&err))?;
                        (manifest.media_type, vec![config.platform()])
                    }
                    Document::Index { entries, media_type } => {
                        let platforms = entries.into_iter().filter_map(|entry| entry.platform);
                        (media_type, platforms.collect())
                    }
                };
            Ok(Offered { descriptor: Descriptor { media_type, digest: top.digest, size }, platforms })
        })
    }

    /// The full name and the document of what is here.
    fn local_document(&self, typed: &str) -> Result<Option<(String, Vec<u8>)>> {
        let (name, insists) = local_part(typed);
        if insists {
            return Ok(None);
        }
        match self.manifest_list(name, Purpose::Read) {
            Ok(list) => return Ok(Some((list.name.clone(), self.list_document(&list)?))),
            Err(err) if err.kind != Kind::NotFound => return Err(err),
            Err(_) => {}
        }
        let Ok(found) = self.image(name) else { return Ok(None) };
        let stored = manifest_of(&found.image)?;
        let document = stored.index.unwrap_or(stored.digest);
        let full = found.name.map_or_else(|| found.image.id.to_string(), |name| name.to_string());
        Ok(Some((full, self.store().blobs().read_small(&document, MAX_DOCUMENT)?)))
    }

    fn remote_document<T>(
        &self,
        typed: &str,
        options: &RemoteOptions,
        work: impl Fn(&str, Vec<u8>, Read<'_>) -> Tried<T>,
    ) -> Result<T> {
        let parsed: ImageName =
            local_part(typed).0.parse().map_err(|err| Error::invalid(format!("{err}")))?;
        let image = parsed.on(DOCKER_HUB).with_default_tag();
        let remote = Remote::new(options, self.conf())?;
        remote.reading("inspect", &image, &|_| {}, &|_| {}, |client| {
            let top = client.manifest(&client.image().manifest_reference())?;
            let read = |digest: &Digest, size: Option<u64>| match size {
                None => Ok(client.manifest(&digest.to_string())?.bytes),
                Some(size) => Ok(client.small_blob(Blob { digest: *digest, size })?),
            };
            work(&image.to_string(), top.bytes, &read)
        })
    }
}

/// Each manifest that `text` leads to.
fn described(name: &str, text: &[u8], read: Read<'_>) -> Tried<Value> {
    let malformed = |err: &dyn std::fmt::Display| Error::invalid(format!("{name}: {err}"));
    let json: Value = serde_json::from_slice(text).map_err(|err| malformed(&err))?;
    match Document::parse(text, "").map_err(|err| malformed(&err))? {
        Document::Manifest(manifest) => {
            let config = read(&manifest.config.digest, Some(manifest.config.size))?;
            let platform = ImageConfig::parse(&config).map_err(|err| malformed(&err))?.platform();
            let descriptor = json!({
                "mediaType": manifest.media_type,
                "digest": Digest::of(text).to_string(),
                "size": text.len(),
                "platform": platform_document(&platform),
            });
            Ok(one(name, descriptor, text, json))
        }
        Document::Index { entries, .. } => {
            let raw = json["manifests"].as_array().cloned().unwrap_or_default();
            let mut all = Vec::with_capacity(entries.len());
            let repository: ImageRef = name.parse().map_err(|err| malformed(&err))?;
            let repository = repository.without_reference();
            for (entry, raw) in entries.iter().zip(raw) {
                let digest = entry.descriptor.digest;
                let text = read(&digest, None)?;
                let manifest = serde_json::from_slice(&text).map_err(|err| malformed(&err))?;
                let mut descriptor = json!({});
                for key in ["mediaType", "digest", "size", "platform", "annotations"] {
                    if let Some(value) = raw.get(key) {
                        descriptor[key] = value.clone();
                    }
                }
                all.push(one(&repository.with_digest(digest).to_string(), descriptor, &text, manifest));
            }
            Ok(Value::Array(all))
        }
    }
}

/// One manifest, under the key that docker has for its form.
fn one(reference: &str, descriptor: Value, text: &[u8], manifest: Value) -> Value {
    let is_docker = manifest["mediaType"].as_str().is_some_and(|kind| Form::of(kind) == Form::Docker);
    let key = if is_docker { "SchemaV2Manifest" } else { "OCIManifest" };
    let mut one = json!({"Ref": reference, "Descriptor": descriptor, "Raw": STANDARD.encode(text)});
    one[key] = manifest;
    one
}
