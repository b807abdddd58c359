//! Artifacts: files under one name and digest, kept and exchanged like images, and never run.
//!
//! A manifest with an empty configuration and one blob for each file (OCI image-spec, "Guidelines for
//! Artifact Usage"). They are in the store beside the images, under the same garbage collection.

pub(crate) mod documents;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::base::digest::Digest;
use crate::base::image_ref::{DOCKER_HUB, ImageName, ImageRef};
use crate::base::manifest::Form;
use crate::engine::pull::PullEvent;
use crate::engine::register::MAX_DOCUMENT;
use crate::engine::remote::{Remote, RemoteOptions, Trouble};
use crate::engine::trust::Trust;
use crate::engine::{Engine, Error, Kind, Result};
use crate::registry::blob::{Blob, Opened, Sink};
use crate::registry::client::{Client, Fetched, Notice};
use crate::store::Store;
use crate::store::blobs::BlobWriter;
use crate::store::shelf::{Item, Shelf};
use crate::store::staging::{self, Staged};

/// The configuration of an artifact that has none, and its media type.
pub(crate) const EMPTY: &[u8] = b"{}";
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";

/// The annotation that holds a file's name.
const TITLE: &str = "org.opencontainers.image.title";

/// How many files are fetched at once.
const LANES: usize = 4;

/// An artifact to make.
#[derive(Clone, Debug, Default)]
pub(crate) struct NewArtifact {
    pub(crate) files: Vec<PathBuf>,
    /// `artifactType` of its manifest.
    pub(crate) kind: Option<String>,
    /// Annotations of each file.
    pub(crate) annotations: Vec<(String, String)>,
    /// A configuration, instead of the empty one.
    pub(crate) config: Option<PathBuf>,
    pub(crate) config_type: Option<String>,
    /// Media type of the files, instead of what they look like.
    pub(crate) layer_type: Option<String>,
    /// The local image that it is about.
    pub(crate) subject: Option<String>,
    /// Leave the names of the files out.
    pub(crate) no_titles: bool,
}

/// One artifact as listings show it.
#[derive(Clone, Debug)]
pub(crate) struct Artifact {
    pub(crate) name: String,
    pub(crate) digest: Digest,
    /// Bytes of its files.
    pub(crate) size_bytes: u64,
    pub(crate) manifest: Value,
}

impl Engine {
    /// Makes an artifact of files, and returns the digest of its manifest.
    ///
    /// # Errors
    ///
    /// [`Kind::Conflict`] if the name is in use; if a file cannot be read.
    pub(crate) fn add_artifact(&self, name: &str, new: &NewArtifact) -> Result<Digest> {
        check_name(name)?;
        if self.artifact_item(name).is_ok() {
            return Err(Error::new(Kind::Conflict, format!("artifact {name} already exists")));
        }
        let pins = staging::dir(self.store())?;
        let (text, blobs) = self.artifact_manifest(new, &pins)?;
        self.save_artifact(name, &text, blobs, &pins)
    }

    /// Stores the files of an artifact; returns its manifest, and the blobs that this names.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, or the subject is not here.
    pub(crate) fn artifact_manifest(
        &self,
        new: &NewArtifact,
        pins: &Staged,
    ) -> Result<(Vec<u8>, Vec<Digest>)> {
        let mut layers = Vec::new();
        let mut blobs = Vec::new();
        for path in &new.files {
            let (digest, size, seen) = self.add_file(path, pins)?;
            let title = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let mut annotations = Map::new();
            annotations
                .extend(new.annotations.iter().map(|(key, value)| (key.clone(), value.clone().into())));
            if !new.no_titles {
                annotations.insert(TITLE.to_owned(), title.into());
            }
            let media_type = new.layer_type.as_deref().unwrap_or(seen);
            let mut layer = json!({"mediaType": media_type, "digest": digest.to_string(), "size": size});
            if !annotations.is_empty() {
                layer["annotations"] = annotations.into();
            }
            layers.push(layer);
            blobs.push(digest);
        }
        let config = match &new.config {
            Some(path) => {
                let (digest, size, seen) = self.add_file(path, pins)?;
                blobs.push(digest);
                let media_type = new.config_type.as_deref().unwrap_or(seen);
                json!({"mediaType": media_type, "digest": digest.to_string(), "size": size})
            }
            None => {
                let digest = pinned(self.store(), pins, EMPTY)?;
                blobs.push(digest);
                let media_type = new.config_type.as_deref().unwrap_or(EMPTY_TYPE);
                json!({"mediaType": media_type, "digest": digest.to_string(), "size": 2, "data": "e30="})
            }
        };
        let mut manifest = Map::new();
        manifest.insert("schemaVersion".into(), 2.into());
        manifest.insert("mediaType".into(), Form::Oci.manifest().into());
        if let Some(kind) = &new.kind {
            manifest.insert("artifactType".into(), kind.clone().into());
        }
        manifest.insert("config".into(), config);
        manifest.insert("layers".into(), layers.into());
        if let Some(subject) = &new.subject {
            let record = self.image(subject)?.image;
            let stored = record
                .manifest()
                .ok_or_else(|| Error::not_found(format!("image {subject}: its manifest is not kept")))?;
            let (media_type, digest) = (stored.media_type.as_str(), stored.digest.to_string());
            manifest.insert(
                "subject".into(),
                json!({"mediaType": media_type, "digest": digest, "size": stored.size_bytes}),
            );
        }
        let text =
            serde_json::to_vec(&manifest).map_err(|err| Error::system("write down the manifest", err))?;
        Ok((text, blobs))
    }

    fn save_artifact(
        &self,
        name: &str,
        manifest: &[u8],
        blobs: Vec<Digest>,
        pins: &Staged,
    ) -> Result<Digest> {
        let document = pinned(self.store(), pins, manifest)?;
        let (created, rest) = (Timestamp::now(), Map::new());
        let item = Item { version: 1, name: name.to_owned(), id: document, document, blobs, created, rest };
        let lock = self.lock()?;
        self.store().shelf(Shelf::Artifacts).set(&item, &lock)?;
        Ok(document)
    }

    /// Stores a file: digest, length and media type.
    fn add_file(&self, path: &Path, pins: &Staged) -> Result<(Digest, u64, &'static str)> {
        let system = |err| Error::system(format!("read {}", path.display()), err);
        let mut file = File::open(path).map_err(system)?;
        let mut blob = self.store().blobs().writer()?;
        let mut buffer = vec![0; 256 << 10];
        let mut media_type = None;
        loop {
            let got = file.read(&mut buffer).map_err(system)?;
            media_type.get_or_insert_with(|| media_type_of(&buffer[..got.min(512)]));
            if got == 0 {
                break;
            }
            blob.append(&buffer[..got])?;
        }
        blob.sync()?;
        let _lock = self.store().lock_shared(&mut |_, _| {})?;
        let (digest, size) = blob.finish()?;
        pins.pin_blob(&digest)?;
        Ok((digest, size, media_type.unwrap_or("application/octet-stream")))
    }

    /// All artifacts, by name.
    ///
    /// # Errors
    ///
    /// If one is damaged.
    pub(crate) fn artifacts(&self) -> Result<Vec<Artifact>> {
        let items = self.store().shelf(Shelf::Artifacts).list()?.items;
        items.iter().map(|item| self.artifact_of(item)).collect()
    }

    /// One artifact, by name or the beginning of its digest.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`].
    pub(crate) fn artifact(&self, typed: &str) -> Result<Artifact> {
        self.artifact_of(&self.artifact_item(typed)?)
    }

    fn artifact_item(&self, typed: &str) -> Result<Item> {
        let shelf = self.store().shelf(Shelf::Artifacts);
        match shelf.get(typed) {
            Err(err) if err.is_not_found() => {}
            other => return Ok(other?),
        }
        let hex = typed.strip_prefix("sha256:").unwrap_or(typed);
        let latest = format!("{typed}:latest");
        let mut all = shelf.list()?.items.into_iter();
        let found = all.find(|item| item.name == latest || hex.len() >= 8 && item.id.hex().starts_with(hex));
        found.ok_or_else(|| Error::not_found(format!("no artifact found with name or digest of {typed}")))
    }

    fn artifact_of(&self, item: &Item) -> Result<Artifact> {
        let text = self.store().blobs().read_small(&item.document, MAX_DOCUMENT)?;
        let manifest: Value = serde_json::from_slice(&text)
            .map_err(|err| Error::system(format!("read artifact {}", item.name), err))?;
        let layers = manifest["layers"].as_array().into_iter().flatten();
        let size_bytes = layers.filter_map(|layer| layer["size"].as_u64()).sum();
        Ok(Artifact { name: item.name.clone(), digest: item.document, size_bytes, manifest })
    }

    /// Removes an artifact, and returns its digest; its blobs go with the next garbage collection.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`].
    pub(crate) fn remove_artifact(&self, typed: &str) -> Result<Digest> {
        let digest = {
            let lock = self.lock()?;
            let item = self.artifact_item(typed)?;
            self.store().shelf(Shelf::Artifacts).remove(&item.name, &lock)?;
            item.document
        };
        self.collect_garbage()?;
        Ok(digest)
    }

    /// Gets an artifact from a registry, and returns its digest.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`], [`Kind::Unauthorized`], [`Kind::System`] for network and disk.
    pub(crate) fn pull_artifact(
        &self,
        typed: &str,
        options: &RemoteOptions,
        events: &dyn Fn(&PullEvent<'_>),
    ) -> Result<Digest> {
        let image = check_name(typed)?.on(DOCKER_HUB).with_default_tag();
        let pins = staging::dir(self.store())?;
        let manifest = self.fetch_artifact(&image, options, &pins, events)?.bytes;
        let blobs = blobs_of(&manifest)?.iter().map(|blob| blob.digest).collect();
        self.save_artifact(&image.to_string(), &manifest, blobs, &pins)
    }

    /// Fetches an artifact's manifest, and those of its blobs that are not here, which `pins` then keeps.
    fn fetch_artifact(
        &self,
        image: &ImageRef,
        options: &RemoteOptions,
        pins: &Staged,
        events: &dyn Fn(&PullEvent<'_>),
    ) -> Result<Fetched> {
        let (remote, trust) = (Remote::new(options, self.conf())?, Trust::load()?);
        let notices = |notice: &Notice<'_>| events(&PullEvent::from(notice));
        let trying = |image: &ImageRef| events(&PullEvent::Trying(image));
        remote.reading("pull", image, &notices, &trying, |client| {
            let fetched = client.manifest(&client.image().manifest_reference())?;
            trust.check(client, image, &[fetched.digest])?;
            self.fetch_files(client, &fetched.bytes, pins, events)?;
            Ok(fetched)
        })
    }

    /// Fetches those blobs of a manifest that are not here.
    fn fetch_files(
        &self,
        client: &Client<'_>,
        manifest: &[u8],
        pins: &Staged,
        events: &dyn Fn(&PullEvent<'_>),
    ) -> std::result::Result<(), Trouble> {
        let wanted = blobs_of(manifest)?;
        events(&PullEvent::Layers { count: wanted.len() });
        let store = self.store();
        {
            let _lock = store.lock_shared(&mut |_, _| {}).map_err(Error::from)?;
            wanted.iter().try_for_each(|blob| pins.pin_blob(&blob.digest)).map_err(Error::from)?;
        }
        let mut jobs = Vec::new();
        for blob in &wanted {
            let present = store.blobs().length(&blob.digest).map_err(Error::from)? == Some(blob.size);
            events(&PullEvent::Layer { digest: &blob.digest, size: blob.size, present });
            if !present {
                jobs.push((*blob, Fetching::new(store, blob.digest, events)));
            }
        }
        Ok(client.blobs(jobs, LANES)?)
    }
}

/// The blobs that a manifest names.
pub(crate) fn blobs_of(manifest: &[u8]) -> Result<Vec<Blob>> {
    let malformed = |why: &str| Error::invalid(format!("the manifest of the artifact is malformed: {why}"));
    let json: Value = serde_json::from_slice(manifest).map_err(|err| malformed(&err.to_string()))?;
    let layers = json["layers"].as_array().ok_or_else(|| malformed("no layers"))?;
    let mut blobs: Vec<Blob> = Vec::new();
    for entry in layers.iter().chain([&json["config"]]) {
        let digest = entry["digest"].as_str().and_then(|digest| digest.parse().ok());
        let digest = digest.ok_or_else(|| malformed("a descriptor without a sha256 digest"))?;
        let size = entry["size"].as_u64().ok_or_else(|| malformed("a descriptor without a size"))?;
        if !blobs.iter().any(|known| known.digest == digest) {
            blobs.push(Blob { digest, size });
        }
    }
    Ok(blobs)
}

/// Takes the bytes of one blob to the store.
pub(in crate::engine) struct Fetching<'a> {
    store: &'a Store,
    digest: Digest,
    bytes: u64,
    blob: Option<BlobWriter>,
    events: &'a dyn Fn(&PullEvent<'_>),
}

impl<'a> Fetching<'a> {
    /// Nothing has come yet.
    pub(in crate::engine) fn new(
        store: &'a Store,
        digest: Digest,
        events: &'a dyn Fn(&PullEvent<'_>),
    ) -> Self {
        Self { store, digest, bytes: 0, blob: None, events }
    }
}

impl Sink for Fetching<'_> {
    fn open(&mut self) -> io::Result<Opened> {
        self.restart()?;
        Ok(Opened::At(0))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(blob) = &mut self.blob {
            blob.append(bytes).map_err(io::Error::other)?;
        }
        self.bytes += bytes.len() as u64;
        (self.events)(&PullEvent::Progress { digest: &self.digest, bytes: self.bytes });
        Ok(())
    }

    fn digest(&self) -> Digest {
        self.blob.as_ref().map_or_else(|| Digest::of(b""), BlobWriter::content_digest)
    }

    fn restart(&mut self) -> io::Result<()> {
        self.bytes = 0;
        self.blob = Some(self.store.blobs().writer().map_err(io::Error::other)?);
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        if let Some(blob) = self.blob.take() {
            blob.finish().map_err(io::Error::other)?;
        }
        (self.events)(&PullEvent::Unpacked { digest: &self.digest });
        Ok(())
    }
}

/// Stores a document, safe from garbage collection.
pub(crate) fn pinned(store: &Store, pins: &Staged, content: &[u8]) -> Result<Digest> {
    let _lock = store.lock_shared(&mut |_, _| {})?;
    pins.pin_blob(&Digest::of(content))?;
    Ok(store.blobs().put(content)?)
}

fn check_name(typed: &str) -> Result<ImageName> {
    typed.parse().map_err(|err| Error::invalid(format!("{err}")))
}

/// The media type of a file by its first bytes, as Go's `http.DetectContentType` tells the common ones.
fn media_type_of(start: &[u8]) -> &'static str {
    const KNOWN: [(&[u8], &str); 9] = [
        (b"%PDF-", "application/pdf"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"GIF8", "image/gif"),
        (b"PK\x03\x04", "application/zip"),
        (b"\x1f\x8b\x08", "application/x-gzip"),
        (b"\0asm", "application/wasm"),
        (b"<?xml", "text/xml; charset=utf-8"),
        (b"%!PS-Adobe-", "application/postscript"),
    ];
    if let Some((_, media_type)) = KNOWN.iter().find(|(magic, _)| start.starts_with(magic)) {
        return media_type;
    }
    let binary = |b: &u8| matches!(b, 0..=8 | 0x0b | 0x0e..=0x1a | 0x1c..=0x1f);
    if start.iter().any(binary) { "application/octet-stream" } else { "text/plain; charset=utf-8" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types() {
        for (start, want) in [
            (&b"hello"[..], "text/plain; charset=utf-8"),
            (b"", "text/plain; charset=utf-8"),
            (b"a\0b", "application/octet-stream"),
            (b"\x1f\x8b\x08x", "application/x-gzip"),
            (b"%PDF-1.7", "application/pdf"),
        ] {
            assert_eq!(media_type_of(start), want, "{start:?}");
        }
    }

    #[test]
    fn blobs_are_named_once() {
        let digest = Digest::of(EMPTY).to_string();
        let entry = json!({"digest": digest, "size": 2});
        let text = json!({"config": entry, "layers": [entry, entry]}).to_string();
        assert_eq!(blobs_of(text.as_bytes()).unwrap().len(), 1);
        for bad in ["{}", "[]", r#"{"layers":[{"digest":"md5:x","size":1}],"config":{}}"#, "no"] {
            assert!(blobs_of(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
