//! Manifest lists: one name for the images of several platforms, put together here and pushed as one.
//!
//! ```text
//! images of the store ──add──▶ entry (descriptor, platform, annotations) ─▶ index, a blob
//!                                 list record: name, ID, index, every blob of its images   (store::shelf)
//! ```
//!
//! A list keeps the blobs of its images alive, whatever becomes of the images. Commands that change one list at once
//! lose nothing of each other: what is added is got first, and the list is read and written under one lock.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::base::digest::Digest;
use crate::base::image_ref::ImageRef;
use crate::base::manifest::{Document, Form, ManifestError};
use crate::base::platform::Platform;
use crate::engine::artifact::{NewArtifact, pinned};
use crate::engine::pull::{self, PullEvent, PullPolicy, PullRequest};
use crate::engine::register::MAX_DOCUMENT;
use crate::engine::remote::RemoteOptions;
use crate::engine::{Engine, Error, Kind, Result};
use crate::store::images::{ImageRecord, StoredManifest};
use crate::store::lock::Exclusive;
use crate::store::shelf::{Item, Shelf};
use crate::store::staging;

/// What to say of an entry beside its digest. Empty fields leave it as it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct EntryWishes {
    pub(crate) annotations: Vec<(String, String)>,
    pub(crate) arch: Option<String>,
    pub(crate) os: Option<String>,
    pub(crate) variant: Option<String>,
    pub(crate) os_version: Option<String>,
    pub(crate) features: Vec<String>,
    pub(crate) os_features: Vec<String>,
}

/// How a list is made.
#[derive(Clone, Debug, Default)]
pub(crate) struct NewList {
    /// Add all images of an index, and not only this machine's.
    pub(crate) all: bool,
    /// Go on with a list that exists.
    pub(crate) amend: bool,
    /// Take the name from an image that has it.
    pub(crate) replace: bool,
    pub(crate) annotations: Vec<(String, String)>,
    pub(crate) remote: RemoteOptions,
}

type Events<'a> = &'a dyn Fn(&PullEvent<'_>);

/// What is to be added to a list: entries, and every blob that they need.
#[derive(Debug, Default)]
struct Additions {
    entries: Vec<Value>,
    blobs: Vec<Digest>,
}

impl Additions {
    fn add_to(self, index: &mut Value, blobs: &mut Vec<Digest>) {
        self.entries.into_iter().for_each(|entry| put(index, entry));
        blobs.extend(self.blobs);
    }
}

impl Engine {
    /// The list that `typed` means.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`].
    pub(crate) fn manifest_list(&self, typed: &str) -> Result<Item> {
        let name = typed.strip_prefix("containers-storage:").unwrap_or(typed);
        let found = self.store().find_list(name)?;
        found.ok_or_else(|| Error::not_found(format!("{typed}: image not known")))
    }

    /// The index of a list, byte for byte.
    ///
    /// # Errors
    ///
    /// If it is damaged.
    pub(crate) fn list_document(&self, list: &Item) -> Result<Vec<u8>> {
        Ok(self.store().blobs().read_small(&list.document, MAX_DOCUMENT)?)
    }

    /// Makes a list of images and returns its ID.
    ///
    /// # Errors
    ///
    /// [`Kind::Conflict`] if the name is in use; as [`add_to_list`](Self::add_to_list).
    pub(crate) fn create_list(
        &self,
        typed: &str,
        images: &[String],
        new: &NewList,
        events: Events<'_>,
    ) -> Result<Digest> {
        let name = list_name(typed)?;
        // Before anything is pulled for it.
        self.list_to_amend(&name, new)?;
        let added = self.additions(images, new, &EntryWishes::default(), events)?;
        let lock = self.lock()?;
        let known = self.list_to_amend(&name, new)?;
        if known.is_none() && new.replace {
            self.store().refs().remove(&name, &lock)?;
        }
        let mut index = match &known {
            Some(known) => self.read_index(known)?,
            None => json!({"schemaVersion": 2, "mediaType": Form::Oci.index(), "manifests": []}),
        };
        annotate(&mut index, &new.annotations);
        let mut blobs = known.as_ref().map(|known| known.blobs.clone()).unwrap_or_default();
        added.add_to(&mut index, &mut blobs);
        let (id, created) = match &known {
            Some(known) => (known.id, known.created),
            None => {
                let now = Timestamp::now();
                (Digest::of(format!("{name} {now}").as_bytes()), now)
            }
        };
        self.save_list(&name.to_string(), id, created, &index, blobs, &lock)?;
        Ok(id)
    }

    /// The list of this name that is to be gone on with; `None` if a new one is to be made.
    fn list_to_amend(&self, name: &ImageRef, new: &NewList) -> Result<Option<Item>> {
        let taken = |id: &Digest| {
            let message = format!("image name \"{name}\" is already associated with image {:?}", id.hex());
            Error::new(Kind::Conflict, format!("{message}: that name is already in use"))
        };
        match self.manifest_list(&name.to_string()) {
            Ok(known) if new.amend => Ok(Some(known)),
            Ok(known) => Err(taken(&known.id).hint("use --amend to go on with it")),
            Err(err) if err.kind == Kind::NotFound => match self.store().refs().get(name) {
                Ok(image) if !new.replace => Err(taken(&image.image)),
                _ => Ok(None),
            },
            Err(err) => Err(err),
        }
    }

    /// Adds images to a list, and returns its ID. What is not here is pulled.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`] for the list or an image.
    pub(crate) fn add_to_list(
        &self,
        typed: &str,
        images: &[String],
        new: &NewList,
        wishes: &EntryWishes,
        events: Events<'_>,
    ) -> Result<Digest> {
        // Before anything is pulled for it.
        self.manifest_list(typed)?;
        let added = self.additions(images, new, wishes, events)?;
        self.put_into_list(typed, added)
    }

    /// Adds files to a list as an artifact, and returns the list's ID.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`] for the list; if a file cannot be read.
    pub(crate) fn add_artifact_to_list(
        &self,
        typed: &str,
        artifact: &NewArtifact,
        wishes: &EntryWishes,
    ) -> Result<Digest> {
        self.manifest_list(typed)?;
        let pins = staging::dir(self.store())?;
        let (text, blobs) = self.artifact_manifest(artifact, &pins)?;
        let digest = pinned(self.store(), &pins, &text)?;
        let mut entry = json!({
            "mediaType": Form::Oci.manifest(), "digest": digest.to_string(), "size": text.len(),
        });
        if let Some(kind) = &artifact.kind {
            entry["artifactType"] = kind.clone().into();
        }
        apply(&mut entry, wishes);
        let added = Additions { entries: vec![entry], blobs: blobs.into_iter().chain([digest]).collect() };
        self.put_into_list(typed, added)
    }

    /// Adds a statement about an image of a list, in a manifest of its own that refers to the image's, as BuildKit
    /// keeps attestations. `kind` is the type of its predicate.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`] for the list.
    ///
    /// # Source
    ///
    /// BuildKit, `docs/attestations/attestation-storage.md`.
    pub(crate) fn attest_in_list(
        &self,
        typed: &str,
        subject: &Digest,
        kind: &str,
        statement: &[u8],
    ) -> Result<()> {
        let pins = staging::dir(self.store())?;
        let layer = pinned(self.store(), &pins, statement)?;
        let config = json!({
            "architecture": "unknown", "os": "unknown", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [layer.to_string()]},
        });
        let config = config.to_string();
        let config_digest = pinned(self.store(), &pins, config.as_bytes())?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": Form::Oci.manifest(),
            "config": {
                "mediaType": Form::Oci.config(), "digest": config_digest.to_string(), "size": config.len(),
            },
            "layers": [{
                "mediaType": "application/vnd.in-toto+json", "digest": layer.to_string(), "size": statement.len(),
                "annotations": {"in-toto.io/predicate-type": kind},
            }],
        });
        let manifest = manifest.to_string();
        let digest = pinned(self.store(), &pins, manifest.as_bytes())?;
        let entry = json!({
            "mediaType": Form::Oci.manifest(), "digest": digest.to_string(), "size": manifest.len(),
            "annotations": {
                "vnd.docker.reference.digest": subject.to_string(),
                "vnd.docker.reference.type": "attestation-manifest",
            },
            "platform": {"architecture": "unknown", "os": "unknown"},
        });
        let added = Additions { entries: vec![entry], blobs: vec![layer, config_digest, digest] };
        self.put_into_list(typed, added)?;
        Ok(())
    }

    /// Changes what a list says of one of its images, or with `image` absent of itself. Returns its ID.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`] for the list, or if it has no such image.
    pub(crate) fn annotate_list(
        &self,
        typed: &str,
        image: Option<&str>,
        wishes: &EntryWishes,
        subject: Option<&str>,
    ) -> Result<Digest> {
        self.change_list(typed, |index, _| {
            if let Some(subject) = subject {
                let record = self.image(subject)?.image;
                let stored = manifest_of(&record)?;
                index["subject"] = json!({
                    "mediaType": stored.media_type, "digest": stored.digest.to_string(), "size": stored.size_bytes,
                });
            }
            match image {
                None => annotate(index, &wishes.annotations),
                Some(image) => {
                    let digest = self.entry_digest(image)?;
                    let entry = entry_of(index, &digest)
                        .ok_or_else(|| Error::not_found(format!("{typed}: no image {image} in it")))?;
                    apply(entry, wishes);
                }
            }
            Ok(())
        })
    }

    /// Takes an image out of a list, and returns the list's ID.
    ///
    /// # Errors
    ///
    /// As [`annotate_list`](Self::annotate_list).
    pub(crate) fn remove_from_list(&self, typed: &str, image: &str) -> Result<Digest> {
        self.change_list(typed, |index, blobs| {
            let digest = self.entry_digest(image)?.to_string();
            let Some(entries) = index["manifests"].as_array_mut() else {
                return Err(Error::not_found(format!("{typed}: it is empty")));
            };
            let before = entries.len();
            entries.retain(|entry| entry["digest"].as_str() != Some(&digest));
            if entries.len() == before {
                return Err(Error::not_found(format!("{typed}: no image {image} in it")));
            }
            blobs.clear();
            for left in entries.iter().filter_map(|entry| entry["digest"].as_str()?.parse().ok()) {
                blobs.extend(self.blobs_of(&left)?);
            }
            Ok(())
        })
    }

    fn put_into_list(&self, typed: &str, added: Additions) -> Result<Digest> {
        self.change_list(typed, |index, blobs| {
            added.add_to(index, blobs);
            Ok(())
        })
    }

    /// Changes the index of a list and the blobs that it needs, with nobody else changing it meanwhile.
    fn change_list(
        &self,
        typed: &str,
        change: impl FnOnce(&mut Value, &mut Vec<Digest>) -> Result<()>,
    ) -> Result<Digest> {
        let lock = self.lock()?;
        let list = self.manifest_list(typed)?;
        let (mut index, mut blobs) = (self.read_index(&list)?, list.blobs.clone());
        change(&mut index, &mut blobs)?;
        self.save_list(&list.name, list.id, list.created, &index, blobs, &lock)?;
        Ok(list.id)
    }

    fn read_index(&self, list: &Item) -> Result<Value> {
        serde_json::from_slice(&self.list_document(list)?)
            .map_err(|err| Error::system(format!("read the manifest list {}", list.name), err))
    }

    fn save_list(
        &self,
        name: &str,
        id: Digest,
        created: Timestamp,
        index: &Value,
        mut blobs: Vec<Digest>,
        lock: &Exclusive,
    ) -> Result<()> {
        let text = serde_json::to_vec(index).map_err(|err| Error::system("write down the list", err))?;
        blobs.sort();
        blobs.dedup();
        // Nothing collects garbage under the lock.
        let document = self.store().blobs().put(&text)?;
        let lists = self.store().shelf(Shelf::Lists);
        // It may have been given further names.
        let mut names: Vec<String> =
            lists.list()?.items.into_iter().filter(|item| item.id == id).map(|item| item.name).collect();
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
        for name in names {
            let (blobs, rest) = (blobs.clone(), Map::new());
            lists.set(&Item { version: 1, name, id, document, blobs, created, rest }, lock)?;
        }
        Ok(())
    }

    /// The digest that names an entry: typed, or that of a local image.
    fn entry_digest(&self, typed: &str) -> Result<Digest> {
        match typed.parse::<Digest>() {
            Ok(digest) => Ok(digest),
            Err(_) => Ok(manifest_of(&self.image(local_part(typed).0)?.image)?.digest),
        }
    }

    /// What images add to a list. What is not here is pulled.
    fn additions(
        &self,
        images: &[String],
        new: &NewList,
        wishes: &EntryWishes,
        events: Events<'_>,
    ) -> Result<Additions> {
        let mut added = Additions::default();
        for image in images {
            self.add_image(&mut added, image, new, wishes, events)?;
        }
        Ok(added)
    }

    /// Adds one image, or with `all` every image of the index it was pulled by.
    fn add_image(
        &self,
        to: &mut Additions,
        typed: &str,
        new: &NewList,
        wishes: &EntryWishes,
        events: Events<'_>,
    ) -> Result<()> {
        // A list of our own gives all its entries.
        if new.all
            && let Ok(other) = self.manifest_list(typed)
        {
            let entries = self.read_index(&other)?["manifests"].as_array().cloned().unwrap_or_default();
            for mut entry in entries {
                apply(&mut entry, wishes);
                to.entries.push(entry);
            }
            to.blobs.extend(other.blobs);
            return Ok(());
        }
        let record = self.image_or_pull(typed, new, events)?;
        let stored = manifest_of(&record)?.clone();
        let mut added = vec![(record.platform.clone(), stored.clone())];
        if new.all
            && let Some(of_index) = stored.index
        {
            added = self.all_of_index(typed, &of_index, new, events)?;
        }
        for (platform, stored) in added {
            let mut entry = json!({
                "mediaType": stored.media_type,
                "digest": stored.digest.to_string(),
                "size": stored.size_bytes,
                "platform": platform_document(&platform),
            });
            apply(&mut entry, wishes);
            to.entries.push(entry);
            to.blobs.extend(self.blobs_of(&stored.digest)?);
        }
        Ok(())
    }

    fn image_or_pull(&self, typed: &str, new: &NewList, events: Events<'_>) -> Result<ImageRecord> {
        let (name, remote) = local_part(typed);
        match self.image(name) {
            Ok(found) if !remote => return Ok(found.image),
            Err(err) if err.kind != Kind::NotFound => return Err(err),
            Err(err) if typed.starts_with("containers-storage:") => return Err(err),
            _ => {}
        }
        let request =
            PullRequest { policy: PullPolicy::Always, remote: new.remote.clone(), ..PullRequest::default() };
        let pulled = match pull::pull(self, name, &request, events) {
            // All of them are wanted, so any of them will do to begin with.
            Err(err) if err.kind == Kind::NotFound && new.all => {
                let Some(platform) = self.some_platform(typed, new)? else { return Err(err) };
                pull::pull(self, name, &PullRequest { platform: Some(platform), ..request }, events)?
            }
            other => other?,
        };
        Ok(self.store().images().get(&pulled.id)?)
    }

    /// A platform that the index at a registry has an image for.
    fn some_platform(&self, typed: &str, new: &NewList) -> Result<Option<Platform>> {
        let text = self.inspect_list(typed, &new.remote)?;
        let Ok(Document::Index { entries, .. }) = Document::parse(&text, "") else { return Ok(None) };
        Ok(entries.into_iter().filter_map(|entry| entry.platform).find(|platform| platform.os != "unknown"))
    }

    /// The images of an index, each pulled for its platform if it is not here.
    fn all_of_index(
        &self,
        typed: &str,
        index: &Digest,
        new: &NewList,
        events: Events<'_>,
    ) -> Result<Vec<(Platform, StoredManifest)>> {
        let text = self.store().blobs().read_small(index, MAX_DOCUMENT)?;
        let Ok(Document::Index { entries, .. }) = Document::parse(&text, "") else {
            return Err(Error::system(format!("read the index of {typed}"), "it is no index"));
        };
        let mut all = Vec::new();
        for entry in entries {
            let Some(platform) = entry.platform.filter(|platform| platform.os != "unknown") else { continue };
            let digest = entry.descriptor.digest;
            if self.store().blobs().length(&digest)?.is_none() {
                let remote = new.remote.clone();
                let request = PullRequest {
                    policy: PullPolicy::Always,
                    platform: Some(platform.clone()),
                    remote,
                    ..PullRequest::default()
                };
                pull::pull(self, local_part(typed).0, &request, events)?;
            }
            let stored = StoredManifest {
                digest,
                media_type: entry.descriptor.media_type,
                size_bytes: entry.descriptor.size,
                index: Some(*index),
                layers: vec![],
            };
            all.push((platform, stored));
        }
        Ok(all)
    }

    /// Every blob of the image with this manifest.
    fn blobs_of(&self, manifest: &Digest) -> Result<Vec<Digest>> {
        let text = self.store().blobs().read_small(manifest, MAX_DOCUMENT)?;
        match Document::parse(&text, "") {
            Ok(Document::Manifest(parts)) => Ok(parts
                .layers
                .iter()
                .map(|layer| layer.digest)
                .chain([parts.config.digest, *manifest])
                .collect()),
            Ok(Document::Index { .. }) => Err(Error::invalid("an index cannot be in a list")),
            Err(ManifestError::Artifact(_)) => {
                let blobs = crate::engine::artifact::blobs_of(&text)?.into_iter().map(|blob| blob.digest);
                Ok(blobs.chain([*manifest]).collect())
            }
            Err(err) => Err(Error::system(format!("read manifest {manifest}"), err)),
        }
    }
}

/// The full name of a list.
fn list_name(typed: &str) -> Result<ImageRef> {
    crate::engine::image::new_name(typed.strip_prefix("containers-storage:").unwrap_or(typed))
}

/// A name without its transport, and whether that insists on a registry.
pub(in crate::engine) fn local_part(typed: &str) -> (&str, bool) {
    match (typed.strip_prefix("docker://"), typed.strip_prefix("containers-storage:")) {
        (Some(name), _) => (name, true),
        (_, Some(name)) => (name, false),
        _ => (typed, false),
    }
}

pub(in crate::engine) fn manifest_of(record: &ImageRecord) -> Result<&StoredManifest> {
    record
        .manifest()
        .ok_or_else(|| Error::not_found(format!("image {}: its manifest is not kept", record.id.hex())))
}

/// A platform as the entries of an index have it.
pub(in crate::engine) fn platform_document(platform: &Platform) -> Value {
    let mut document = json!({"architecture": platform.arch, "os": platform.os});
    if !platform.variant.is_empty() {
        document["variant"] = platform.variant.clone().into();
    }
    document
}

/// Sets annotations of an index or an entry.
fn annotate(document: &mut Value, annotations: &[(String, String)]) {
    for (key, value) in annotations {
        document["annotations"][key.as_str()] = value.clone().into();
    }
}

fn entry_of<'a>(index: &'a mut Value, digest: &Digest) -> Option<&'a mut Value> {
    let digest = digest.to_string();
    index["manifests"].as_array_mut()?.iter_mut().find(|entry| entry["digest"].as_str() == Some(&digest))
}

/// Adds an entry, or replaces the one of the same digest.
fn put(index: &mut Value, entry: Value) {
    if let Some(entries) = index["manifests"].as_array_mut() {
        entries.retain(|known| known["digest"] != entry["digest"]);
        entries.push(entry);
    }
}

/// Says of an entry what was wished.
fn apply(entry: &mut Value, wishes: &EntryWishes) {
    annotate(entry, &wishes.annotations);
    let texts = [
        ("architecture", &wishes.arch),
        ("os", &wishes.os),
        ("os.version", &wishes.os_version),
        ("variant", &wishes.variant),
    ];
    for (key, text) in texts {
        if let Some(text) = text {
            entry["platform"][key] = text.clone().into();
        }
    }
    for (key, list) in [("os.features", &wishes.os_features), ("features", &wishes.features)] {
        if !list.is_empty() {
            entry["platform"][key] = json!(list);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_put_once_and_changed() {
        let digest = Digest::of(b"m");
        let mut index = json!({"manifests": []});
        let entry =
            |size: u64| json!({"digest": digest.to_string(), "size": size, "platform": {"os": "linux"}});
        put(&mut index, entry(1));
        put(&mut index, entry(2));
        assert_eq!(index["manifests"].as_array().map(Vec::len), Some(1));
        let wishes = EntryWishes {
            annotations: vec![("a".into(), "b".into())],
            arch: Some("arm64".into()),
            os_features: vec!["x".into()],
            ..EntryWishes::default()
        };
        apply(entry_of(&mut index, &digest).unwrap(), &wishes);
        let entry = &index["manifests"][0];
        assert_eq!(entry["platform"], json!({"os": "linux", "architecture": "arm64", "os.features": ["x"]}));
        assert_eq!((entry["size"].as_u64(), entry["annotations"]["a"].as_str()), (Some(2), Some("b")));
        assert!(entry_of(&mut index, &Digest::of(b"other")).is_none());
    }

    #[test]
    fn transports() {
        assert_eq!(local_part("docker://r.io/a"), ("r.io/a", true));
        assert_eq!(local_part("containers-storage:a"), ("a", false));
        assert_eq!(local_part("a:1"), ("a:1", false));
    }
}
