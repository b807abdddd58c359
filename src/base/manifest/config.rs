//! The configuration of an image.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Manifest, ManifestError, or_default, parse};
use crate::base::digest::Digest;
use crate::base::platform::Platform;

/// The configuration of an image: what runs in it and how it was made.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub(crate) struct ImageConfig {
    #[serde(default, deserialize_with = "lenient_time")]
    pub(crate) created: Option<Timestamp>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) author: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) architecture: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) os: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) variant: String,
    /// Defaults for containers.
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) config: ContainerDefaults,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) rootfs: RootFs,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) history: Vec<History>,
}

/// What an image says about containers made from it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ContainerDefaults {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) user: String,
    /// `80/tcp` …
    #[serde(default, deserialize_with = "keys")]
    pub(crate) exposed_ports: BTreeSet<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) env: Vec<String>,
    #[serde(default, deserialize_with = "words")]
    pub(crate) entrypoint: Vec<String>,
    #[serde(default, deserialize_with = "words")]
    pub(crate) cmd: Vec<String>,
    #[serde(default, deserialize_with = "keys")]
    pub(crate) volumes: BTreeSet<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) working_dir: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) labels: BTreeMap<String, String>,
    /// `SIGTERM`, `15`, or empty.
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) stop_signal: String,
    #[serde(default, deserialize_with = "words")]
    pub(crate) shell: Vec<String>,
    #[serde(default)]
    pub(crate) healthcheck: Option<Healthcheck>,
    #[serde(default, deserialize_with = "words")]
    pub(crate) on_build: Vec<String>,
}

/// Docker's health check; times in nanoseconds, 0 for the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Healthcheck {
    #[serde(default, deserialize_with = "words")]
    pub(crate) test: Vec<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) interval: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) timeout: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) start_period: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) start_interval: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) retries: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// The layers as archives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct RootFs {
    /// Digests of the uncompressed archives, the lowest first.
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) diff_ids: Vec<Digest>,
}

/// One step of how an image was made.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub(crate) struct History {
    #[serde(default, deserialize_with = "lenient_time")]
    pub(crate) created: Option<Timestamp>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) created_by: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) comment: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) author: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) empty_layer: bool,
}

impl ImageConfig {
    /// Reads a configuration.
    ///
    /// # Errors
    ///
    /// [`ManifestError::Malformed`].
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        parse("image configuration", bytes)
    }

    /// The platform the image was built for; what it does not say is this machine's.
    pub(crate) fn platform(&self) -> Platform {
        Platform::new(&self.os, &self.architecture, &self.variant)
    }

    /// The diff IDs, if there is one for each layer of `manifest`.
    ///
    /// # Errors
    ///
    /// [`ManifestError::LayerCount`].
    pub(crate) fn diff_ids(&self, manifest: &Manifest) -> Result<&[Digest], ManifestError> {
        let (diff_ids, layers) = (self.rootfs.diff_ids.len(), manifest.layers.len());
        if diff_ids == layers {
            Ok(&self.rootfs.diff_ids)
        } else {
            Err(ManifestError::LayerCount { diff_ids, layers })
        }
    }
}

/// A set written as a map with empty values.
fn keys<'de, D: Deserializer<'de>>(input: D) -> Result<BTreeSet<String>, D::Error> {
    let map: Option<BTreeMap<String, serde::de::IgnoredAny>> = Option::deserialize(input)?;
    Ok(map.unwrap_or_default().into_keys().collect())
}

/// A list of words; old images have a single string.
fn words<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Option::<Words>::deserialize(input)? {
        None => Vec::new(),
        Some(Words::One(word)) => vec![word],
        Some(Words::Many(words)) => words,
    })
}

/// A time that is only shown, so that a strange one is no reason to refuse an image.
fn lenient_time<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Timestamp>, D::Error> {
    let text: Option<String> = Option::deserialize(input)?;
    Ok(text.and_then(|text| text.parse().ok()))
}
