//! Artifacts of documents that are no files here: sent to a registry and read from it, and kept under no name.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::base::digest::Digest;
use crate::base::image_ref::DOCKER_HUB;
use crate::base::manifest::Form;
use crate::engine::artifact::{EMPTY, EMPTY_TYPE, check_name, pinned};
use crate::engine::pull::PullEvent;
use crate::engine::push::{PushRequest, Pushed, others};
use crate::engine::register::MAX_DOCUMENT;
use crate::engine::remote::RemoteOptions;
use crate::engine::{Engine, Error, Result};
use crate::registry::client::Fetched;
use crate::store::staging;

/// One document of an artifact.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Document {
    pub(crate) media_type: String,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) content: Vec<u8>,
}

/// What an artifact of documents is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DocumentsKind {
    /// OCI 1.1: `artifactType` of the manifest.
    Artifact(String),
    /// OCI 1.0: the media type of its empty configuration.
    Configuration(String),
}

/// An artifact as it was read.
#[derive(Clone, Debug)]
pub(crate) struct Documents {
    /// Of the manifest.
    pub(crate) digest: Digest,
    /// What the manifest says that it is: `artifactType`, or else the media type of its configuration.
    pub(crate) kind: String,
    pub(crate) documents: Vec<Document>,
}

impl Engine {
    /// Sends documents to a registry as one artifact, under the name that `request` has.
    ///
    /// # Errors
    ///
    /// As [`others::push_artifact`].
    pub(crate) fn push_documents(
        &self,
        kind: &DocumentsKind,
        documents: &[Document],
        request: &PushRequest,
        events: &dyn Fn(&PullEvent<'_>),
    ) -> Result<Pushed> {
        // Keeps the blobs until they are sent.
        let pins = staging::dir(self.store())?;
        let mut layers = Vec::new();
        for document in documents {
            let digest = pinned(self.store(), &pins, &document.content)?;
            layers.push(json!({
                "mediaType": document.media_type,
                "digest": digest.to_string(),
                "size": document.content.len(),
                "annotations": document.annotations,
            }));
        }
        let config_type = match kind {
            DocumentsKind::Artifact(_) => EMPTY_TYPE,
            DocumentsKind::Configuration(media_type) => media_type,
        };
        let config = pinned(self.store(), &pins, EMPTY)?;
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": Form::Oci.manifest(),
            "config": {"mediaType": config_type, "digest": config.to_string(), "size": EMPTY.len(), "data": "e30="},
            "layers": layers,
            "annotations": {"org.opencontainers.image.created": Timestamp::now().to_string()},
        });
        if let DocumentsKind::Artifact(kind) = kind {
            manifest["artifactType"] = kind.as_str().into();
        }
        let text =
            serde_json::to_vec(&manifest).map_err(|err| Error::system("write down the manifest", err))?;
        let digest = pinned(self.store(), &pins, &text)?;
        others::push_artifact(self, &request.image, &digest, request, events)
    }

    /// Reads an artifact of documents from a registry.
    ///
    /// # Errors
    ///
    /// As [`Engine::pull_artifact`]; if a document is larger than a manifest may be.
    pub(crate) fn fetch_documents(
        &self,
        typed: &str,
        options: &RemoteOptions,
        events: &dyn Fn(&PullEvent<'_>),
    ) -> Result<Documents> {
        let image = check_name(typed)?.on(DOCKER_HUB).with_default_tag();
        // Keeps the blobs until they are read.
        let pins = staging::dir(self.store())?;
        let Fetched { digest, bytes, .. } = self.fetch_artifact(&image, options, &pins, events)?;
        let malformed = |err: &dyn std::fmt::Display| Error::invalid(format!("{typed}: {err}"));
        let json: Value = serde_json::from_slice(&bytes).map_err(|err| malformed(&err))?;
        let mut documents = Vec::new();
        for layer in json["layers"].as_array().into_iter().flatten() {
            let blob = layer["digest"].as_str().unwrap_or_default();
            let blob: Digest = blob.parse().map_err(|_| malformed(&"a layer has no digest"))?;
            let annotations = layer["annotations"].as_object().into_iter().flatten();
            documents.push(Document {
                media_type: layer["mediaType"].as_str().unwrap_or_default().to_owned(),
                annotations: annotations
                    .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                    .collect(),
                content: self.store().blobs().read_small(&blob, MAX_DOCUMENT)?,
            });
        }
        let kind = json["artifactType"].as_str().filter(|kind| !kind.is_empty());
        let kind = kind.or_else(|| json["config"]["mediaType"].as_str()).unwrap_or_default().to_owned();
        Ok(Documents { digest, kind, documents })
    }
}
