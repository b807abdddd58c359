//! The documents that say what an image is made of: index, manifest, configuration.
//!
//! ```text
//! index ──platform──▶ manifest ──┬─ config ──▶ ImageConfig (diff IDs, command, environment …)
//! (manifest list)                └─ layers[] ─▶ blobs
//! ```
//!
//! OCI's and Docker's forms differ in media types only, so one set of types reads both. What ketch
//! does not use stays in the bytes, which are kept as they came. Fields that a registry may choose
//! freely are checked here: digests are [`Digest`]s, lengths are not negative, a document is either
//! an index or a manifest and not both.
//!
//! # Source
//!
//! OCI image-spec (manifest.md, image-index.md, config.md); Docker's "Image Manifest V 2, Schema 2"
//! and "Image Specification v1.2".

mod config;

use serde::{Deserialize, Deserializer, Serialize};

use crate::base::digest::Digest;
use crate::base::platform::Platform;

pub(crate) use config::{ContainerDefaults, Healthcheck, History, ImageConfig};

/// Most layers that one overlay mount can have below it (the kernel's OVL_MAX_STACK).
pub(crate) const MAX_LAYERS: usize = 500;

/// Why a document from a registry or an archive cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ManifestError {
    /// Not JSON, or not of the form it must have.
    #[error("{what} is malformed: {reason}")]
    Malformed { what: &'static str, reason: String },
    /// A document that can be read as either.
    #[error("the document is index and manifest at once")]
    TwoFaced,
    /// Docker's first format, which nothing writes any more.
    #[error("the image is in Docker's schema 1 format, which is not supported")]
    Schema1,
    /// Some other kind of document.
    #[error("{0:?} is neither an image manifest nor an index")]
    OtherKind(String),
    /// An artifact that is no container image.
    #[error("not a container image but an artifact of type {0:?}")]
    Artifact(String),
    /// More layers than can be mounted.
    #[error("the image has {0} layers, at most {MAX_LAYERS} can be mounted")]
    TooManyLayers(usize),
    /// Configuration and manifest contradict each other.
    #[error("the configuration names {diff_ids} layers, the manifest {layers}")]
    LayerCount { diff_ids: usize, layers: usize },
}

/// A pointer to a blob.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    /// Length in bytes.
    pub(crate) size: u64,
}

/// One image of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    pub(crate) descriptor: Descriptor,
    /// What it is for; `None` if the index does not say.
    pub(crate) platform: Option<Platform>,
}

impl IndexEntry {
    /// The one of an index's entries to take on `platform`.
    pub(crate) fn choose<'a>(entries: &'a [Self], platform: &Platform) -> Option<&'a Self> {
        let platforms: Vec<_> = entries.iter().map(|entry| entry.platform.clone()).collect();
        platform.choose(&platforms).map(|best| &entries[best])
    }
}

/// A manifest: the parts of one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// The manifest's own media type.
    pub(crate) media_type: String,
    pub(crate) config: Descriptor,
    /// The lowest first.
    pub(crate) layers: Vec<Descriptor>,
}

/// A document from the manifests of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Document {
    /// One image per platform.
    Index { media_type: String, entries: Vec<IndexEntry> },
    /// One image.
    Manifest(Manifest),
}

/// The two forms in which images are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Form {
    /// OCI image-spec.
    #[default]
    Oci,
    /// Docker's "Image Manifest V 2, Schema 2".
    Docker,
}

impl Form {
    /// The media type of a manifest.
    pub(crate) fn manifest(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.manifest.v1+json",
            Self::Docker => "application/vnd.docker.distribution.manifest.v2+json",
        }
    }

    /// The media type of an index.
    pub(crate) fn index(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.index.v1+json",
            Self::Docker => "application/vnd.docker.distribution.manifest.list.v2+json",
        }
    }

    /// The media type of a configuration.
    pub(crate) fn config(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.config.v1+json",
            Self::Docker => "application/vnd.docker.container.image.v1+json",
        }
    }

    /// The form that the media type of a manifest or an index belongs to.
    pub(crate) fn of(media_type: &str) -> Self {
        if media_type.starts_with("application/vnd.docker.") { Self::Docker } else { Self::Oci }
    }
}

/// How the bytes of a layer blob hold its archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// The media type of a layer that is so compressed.
    pub(crate) fn layer_media_type(self, form: Form) -> &'static str {
        match (form, self) {
            (Form::Oci, Self::None) => "application/vnd.oci.image.layer.v1.tar",
            (Form::Oci, Self::Gzip) => "application/vnd.oci.image.layer.v1.tar+gzip",
            (Form::Oci, Self::Zstd) => "application/vnd.oci.image.layer.v1.tar+zstd",
            (Form::Docker, Self::None) => "application/vnd.docker.image.rootfs.diff.tar",
            (Form::Docker, Self::Gzip) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
            (Form::Docker, Self::Zstd) => "application/vnd.docker.image.rootfs.diff.tar.zstd",
        }
    }

    /// What the media type of a layer says; `None` for a blob that is no file system layer.
    pub(crate) fn of_layer(media_type: &str) -> Option<Self> {
        let kind = media_type
            .strip_prefix("application/vnd.oci.image.layer.v1.tar")
            .or_else(|| media_type.strip_prefix("application/vnd.oci.image.layer.nondistributable.v1.tar"))
            .or_else(|| media_type.strip_prefix("application/vnd.docker.image.rootfs.diff.tar"))
            .or_else(|| media_type.strip_prefix("application/vnd.docker.image.rootfs.foreign.diff.tar"))?;
        match kind {
            "" => Some(Self::None),
            "+gzip" | ".gzip" => Some(Self::Gzip),
            "+zstd" | ".zstd" => Some(Self::Zstd),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    media_type: Option<String>,
    manifests: Option<Vec<RawEntry>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    artifact_type: Option<String>,
    fs_layers: Option<serde::de::IgnoredAny>,
}

/// An entry of an index. One of a kind that ketch does not know (another hash) must not spoil the
/// others, so its digest is read later.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawEntry {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: i64,
    platform: Option<RawPlatform>,
}

#[derive(Default, Deserialize)]
struct RawPlatform {
    #[serde(default, deserialize_with = "or_default")]
    architecture: String,
    #[serde(default, deserialize_with = "or_default")]
    os: String,
    #[serde(default, deserialize_with = "or_default")]
    variant: String,
}

/// What a document is, before it is read as that.
#[derive(PartialEq, Eq)]
enum Kind {
    Index,
    Manifest,
}

fn kind_of(media_type: &str) -> Option<Kind> {
    match media_type {
        "application/vnd.oci.image.index.v1+json"
        | "application/vnd.docker.distribution.manifest.list.v2+json" => Some(Kind::Index),
        "application/vnd.oci.image.manifest.v1+json"
        | "application/vnd.docker.distribution.manifest.v2+json" => Some(Kind::Manifest),
        _ => None,
    }
}

impl Document {
    /// Reads a document that came with `content_type` (which may be empty or wrong).
    ///
    /// # Errors
    ///
    /// [`ManifestError`].
    pub(crate) fn parse(bytes: &[u8], content_type: &str) -> Result<Self, ManifestError> {
        let raw: Raw = parse("manifest", bytes)?;
        if raw.fs_layers.is_some() || content_type.contains("manifest.v1") && content_type.contains("docker")
        {
            return Err(ManifestError::Schema1);
        }
        if raw.manifests.is_some() && (raw.config.is_some() || raw.layers.is_some()) {
            return Err(ManifestError::TwoFaced);
        }
        let media_type = raw.media_type.as_deref().unwrap_or(content_type);
        let shape = if raw.manifests.is_some() { Kind::Index } else { Kind::Manifest };
        // Registries serve manifests under all sorts of content types; a wrong word inside is a lie.
        let said = raw.media_type.as_deref().map(|inside| kind_of(inside).ok_or(inside));
        match said {
            Some(Ok(kind)) if kind != shape => return Err(ManifestError::TwoFaced),
            Some(Err(other)) => return Err(ManifestError::OtherKind(other.to_owned())),
            _ => {}
        }
        match (raw.manifests, raw.config, raw.layers) {
            (Some(list), ..) => Ok(Self::Index {
                media_type: media_type_or(media_type, "application/vnd.oci.image.index.v1+json"),
                entries: list.into_iter().filter_map(RawEntry::known).collect::<Result<_, _>>()?,
            }),
            (None, Some(config), Some(layers)) => {
                let media_type = media_type_or(media_type, "application/vnd.oci.image.manifest.v1+json");
                Manifest { media_type, config, layers }.checked(raw.artifact_type).map(Self::Manifest)
            }
            _ => Err(ManifestError::OtherKind(media_type.to_owned())),
        }
    }
}

/// The media type if it is one of a manifest or index, else the one that fits.
fn media_type_or(said: &str, fitting: &str) -> String {
    if kind_of(said).is_some() { said } else { fitting }.to_owned()
}

impl RawEntry {
    fn known(self) -> Option<Result<IndexEntry, ManifestError>> {
        let digest = match self.digest.parse::<Digest>() {
            Ok(digest) => digest,
            // Another algorithm: the entry is for others.
            Err(crate::base::digest::DigestError::Algorithm(_)) => return None,
            Err(err) => return Some(Err(malformed("index", &err))),
        };
        let Ok(size) = u64::try_from(self.size) else {
            return Some(Err(malformed("index", &format!("size mismatch: a size of {} bytes", self.size))));
        };
        let platform = self.platform.map(|raw| {
            // Unlike in an option, nothing is filled in: an empty field matches no machine.
            let full = !raw.os.is_empty() && !raw.architecture.is_empty();
            if full { Platform::new(&raw.os, &raw.architecture, &raw.variant) } else { Platform::default() }
        });
        let descriptor = Descriptor { media_type: self.media_type, digest, size };
        Some(Ok(IndexEntry { descriptor, platform }))
    }
}

impl Manifest {
    /// Refuses what is no container image.
    fn checked(self, artifact_type: Option<String>) -> Result<Self, ManifestError> {
        if self.layers.len() > MAX_LAYERS {
            return Err(ManifestError::TooManyLayers(self.layers.len()));
        }
        let is_config = match self.config.media_type.as_str() {
            "application/vnd.oci.image.config.v1+json"
            | "application/vnd.docker.container.image.v1+json"
            | "" => true,
            // What Docker 1.10 and registries of its time wrote; Docker takes these for an image, too.
            "application/octet-stream" | "application/json" | "text/html" => {
                Form::of(&self.media_type) == Form::Docker
            }
            _ => false,
        };
        if !is_config {
            return Err(ManifestError::Artifact(
                artifact_type.unwrap_or_else(|| self.config.media_type.clone()),
            ));
        }
        let strange = self.layers.iter().find(|layer| Compression::of_layer(&layer.media_type).is_none());
        match strange {
            Some(layer) => Err(ManifestError::Artifact(layer.media_type.clone())),
            None => Ok(self),
        }
    }
}

fn parse<'a, T: Deserialize<'a>>(what: &'static str, bytes: &'a [u8]) -> Result<T, ManifestError> {
    serde_json::from_slice(bytes).map_err(|err| malformed(what, &err))
}

fn malformed(what: &'static str, reason: &dyn std::fmt::Display) -> ManifestError {
    ManifestError::Malformed { what, reason: reason.to_string().chars().take(300).collect() }
}

/// `null` is what Go writes for an empty list or map.
pub(crate) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    input: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(input)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
    const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

    fn descriptor(media_type: &str) -> String {
        format!(r#"{{"mediaType":"{media_type}","digest":"{HEX}","size":7}}"#)
    }

    fn manifest(layers: &[&str]) -> String {
        let layers: Vec<_> = layers.iter().map(|layer| descriptor(layer)).collect();
        let config = descriptor("application/vnd.oci.image.config.v1+json");
        format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{}]}}"#, layers.join(","))
    }

    #[test]
    fn manifests_of_both_kinds() {
        for layer in [
            "application/vnd.oci.image.layer.v1.tar",
            "application/vnd.oci.image.layer.v1.tar+zstd",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        ] {
            let Ok(Document::Manifest(read)) = Document::parse(manifest(&[layer]).as_bytes(), OCI) else {
                panic!("{layer}");
            };
            assert_eq!((read.layers.len(), read.layers[0].size), (1, 7));
            assert_eq!(read.media_type, OCI);
        }
        let empty = Document::parse(manifest(&[]).as_bytes(), "text/plain").unwrap();
        assert!(matches!(empty, Document::Manifest(m) if m.layers.is_empty() && m.media_type == OCI));
    }

    #[test]
    fn indexes() {
        let text = format!(
            r#"{{"mediaType":"{OCI_INDEX}","manifests":[
                {{"digest":"{HEX}","size":1,"platform":{{"os":"linux","architecture":"arm64","variant":"v8"}}}},
                {{"digest":"sha512:00","size":1,"platform":{{"os":"linux","architecture":"amd64"}}}},
                {{"digest":"{HEX}","size":2,"platform":{{"os":"","architecture":""}}}},
                {{"digest":"{HEX}","size":3}}]}}"#
        );
        let Ok(Document::Index { entries, .. }) = Document::parse(text.as_bytes(), "") else {
            panic!("no index");
        };
        let platforms: Vec<_> =
            entries.iter().map(|e| e.platform.as_ref().map(ToString::to_string)).collect();
        assert_eq!(platforms, [Some("linux/arm64/v8".to_owned()), Some("/".to_owned()), None]);
    }

    /// What an independent implementation of the specification writes is read as it was meant.
    #[test]
    fn agrees_with_oci_spec() {
        use oci_spec::image as oci;
        let digest: oci::Digest = HEX.parse().unwrap();
        let layer = |media_type, size| oci::Descriptor::new(media_type, size, digest.clone());
        let layers = vec![layer(oci::MediaType::ImageLayerGzip, 3), layer(oci::MediaType::ImageLayerZstd, 4)];
        let manifest = oci::ImageManifestBuilder::default()
            .schema_version(oci::SCHEMA_VERSION)
            .media_type(oci::MediaType::ImageManifest)
            .config(layer(oci::MediaType::ImageConfig, 7))
            .layers(layers)
            .build()
            .unwrap();
        let text = manifest.to_string().unwrap();
        let content_type = oci::MediaType::ImageManifest.to_string();
        let Document::Manifest(read) = Document::parse(text.as_bytes(), &content_type).unwrap() else {
            panic!("{text}")
        };
        assert_eq!(read.config.size, 7);
        assert_eq!(read.layers.iter().map(|layer| layer.size).collect::<Vec<_>>(), [3, 4]);
        assert!(read.layers.iter().all(|layer| layer.digest.to_string() == HEX));

        let process = oci::ConfigBuilder::default()
            .user("app".to_owned())
            .env(vec!["A=b".to_owned()])
            .entrypoint(vec!["/run".to_owned()])
            .working_dir("/srv".to_owned())
            .build()
            .unwrap();
        let rootfs = oci::RootFsBuilder::default()
            .typ("layers".to_owned())
            .diff_ids(vec![HEX.to_owned()])
            .build()
            .unwrap();
        let config = oci::ImageConfigurationBuilder::default()
            .architecture(oci::Arch::ARM64)
            .os(oci::Os::Linux)
            .config(process)
            .rootfs(rootfs)
            .build()
            .unwrap();
        let read = ImageConfig::parse(config.to_string().unwrap().as_bytes()).unwrap();
        assert_eq!(read.platform().to_string(), "linux/arm64");
        assert_eq!((read.config.user.as_str(), read.config.working_dir.as_str()), ("app", "/srv"));
        assert_eq!(
            (&read.config.env[..], &read.config.entrypoint[..]),
            (&["A=b".to_owned()][..], &["/run".to_owned()][..])
        );
        assert_eq!(read.rootfs.diff_ids.iter().map(ToString::to_string).collect::<Vec<_>>(), [HEX]);
    }

    #[test]
    fn refuses_documents_that_are_none() {
        use ManifestError as E;
        let config = descriptor("application/vnd.oci.image.config.v1+json");
        let both = format!(r#"{{"manifests":[],"config":{config},"layers":[]}}"#);
        let lie = format!(r#"{{"mediaType":"{OCI_INDEX}","config":{config},"layers":[]}}"#);
        let negative = format!(r#"{{"manifests":[{{"digest":"{HEX}","size":-1}}]}}"#);
        let path = r#"{"manifests":[{"digest":"sha256:../../x","size":1}]}"#;
        let minus = manifest(&["application/vnd.oci.image.layer.v1.tar"]).replace(":7", ":-1");
        let wasm = manifest(&["application/wasm"]);
        let helm =
            format!(r#"{{"config":{},"layers":[]}}"#, descriptor("application/vnd.cncf.helm.config.v1+json"));
        let deep = "[".repeat(100_000);
        let twice = format!(r#"{{"config":{config},"config":{config},"layers":[]}}"#);
        let many = manifest(&vec!["application/vnd.oci.image.layer.v1.tar"; 501]);
        type Is = fn(&ManifestError) -> bool;
        let cases: [(&str, Is); 16] = [
            ("", |e| matches!(e, E::Malformed { .. })),
            ("{}", |e| matches!(e, E::OtherKind(_))),
            ("[]", |e| matches!(e, E::Malformed { .. } | E::OtherKind(_))),
            (&both, |e| matches!(e, E::TwoFaced)),
            (&lie, |e| matches!(e, E::TwoFaced)),
            (&negative, |e| e.to_string().contains("size mismatch")),
            (path, |e| matches!(e, E::Malformed { .. })),
            (&minus, |e| matches!(e, E::Malformed { .. })),
            (&wasm, |e| matches!(e, E::Artifact(_))),
            (&helm, |e| matches!(e, E::Artifact(_))),
            (&deep, |e| matches!(e, E::Malformed { .. })),
            (&twice, |e| matches!(e, E::Malformed { .. })),
            (&many, |e| matches!(e, E::TooManyLayers(501))),
            (r#"{"fsLayers":[]}"#, |e| matches!(e, E::Schema1)),
            (r#"{"mediaType":"application/x"}"#, |e| matches!(e, E::OtherKind(_))),
            ("{\"config\":\"\\ud800\"}", |e| matches!(e, E::Malformed { .. })),
        ];
        for (text, is) in cases {
            let err = Document::parse(text.as_bytes(), "").expect_err("refused");
            assert!(is(&err), "{}: {err:?}", text.chars().take(80).collect::<String>());
        }
    }

    #[test]
    fn configurations_as_go_and_old_docker_write_them() {
        let text = format!(
            r#"{{"created":"2024-01-02T03:04:05Z","architecture":"amd64","os":"linux",
            "config":{{"Env":null,"Cmd":["a","b"],"Entrypoint":"one","Volumes":{{"/data":{{}}}},"Labels":null,
                "ExposedPorts":null,"Healthcheck":null,"OnBuild":null,"StopSignal":"SIGINT"}},
            "rootfs":{{"type":"layers","diff_ids":["{HEX}"]}},
            "history":[{{"created":"not a time","created_by":"x"}},{{"empty_layer":true}}]}}"#
        );
        let config = ImageConfig::parse(text.as_bytes()).unwrap();
        assert_eq!(config.config.entrypoint, ["one"]);
        assert_eq!(config.config.cmd, ["a", "b"]);
        assert!(config.config.volumes.contains("/data") && config.config.env.is_empty());
        assert_eq!(config.history.len(), 2);
        assert_eq!(config.platform().to_string(), "linux/amd64");
        let nothing = ImageConfig::parse(b"{\"config\":null,\"rootfs\":null,\"history\":null}").unwrap();
        assert_eq!(nothing, ImageConfig::default());
        let Ok(Document::Manifest(none)) = Document::parse(manifest(&[]).as_bytes(), OCI) else {
            panic!("no manifest");
        };
        assert!(matches!(config.diff_ids(&none), Err(ManifestError::LayerCount { diff_ids: 1, layers: 0 })));
        assert!(ImageConfig::parse(br#"{"rootfs":{"diff_ids":["sha256:x"]}}"#).is_err());
    }
}
