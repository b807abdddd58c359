//! What is added to a manifest list: images of the store and of registries, artifacts, statements about images. All of
//! it is got before the list is locked.

use serde_json::{Value, json};

use super::{EntryWishes, Events, NewList, apply, local_part, manifest_of, platform_document, put};
use crate::base::digest::Digest;
use crate::base::image_ref::Purpose;
use crate::base::manifest::{Document, Form, ManifestError};
use crate::base::platform::Platform;
use crate::engine::artifact::{self, NewArtifact, pinned};
use crate::engine::pull::{self, PullPolicy, PullRequest};
use crate::engine::register::MAX_DOCUMENT;
use crate::engine::{Engine, Error, Kind, Result};
use crate::store::images::{ImageRecord, StoredManifest};
use crate::store::staging;

/// What is to be added to a list: entries, and every blob that they need.
#[derive(Debug, Default)]
pub(super) struct Additions {
    entries: Vec<Value>,
    blobs: Vec<Digest>,
}

impl Additions {
    /// Adds them to an index, and to the blobs that its list keeps.
    pub(super) fn add_to(self, index: &mut Value, blobs: &mut Vec<Digest>) {
        self.entries.into_iter().for_each(|entry| put(index, entry));
        blobs.extend(self.blobs);
    }
}

impl Engine {
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
        self.manifest_list(typed, Purpose::Act)?;
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

    /// What images add to a list. What is not here is pulled.
    pub(super) fn additions(
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
            && let Ok(other) = self.manifest_list(typed, Purpose::Read)
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
            if !self.store().blobs().has(&digest)? {
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
    pub(super) fn blobs_of(&self, manifest: &Digest) -> Result<Vec<Digest>> {
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
                let blobs = artifact::blobs_of(&text)?.into_iter().map(|blob| blob.digest);
                Ok(blobs.chain([*manifest]).collect())
            }
            Err(err) => Err(Error::system(format!("read manifest {manifest}"), err)),
        }
    }
}
