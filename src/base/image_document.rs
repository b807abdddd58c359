//! Writing the documents that say what an image is made of: the other direction of
//! [`manifest`](crate::base::manifest).
//!
//! ```text
//! configuration of the base ──▶ ConfigDocument ──change──▶ bytes ──▶ image ID
//!                                 config: typed; what ketch does not know stays as it was
//! ```
//!
//! # Source
//!
//! OCI image-spec, config.md and manifest.md.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::base::digest::Digest;
use crate::base::manifest::{Compression, ContainerDefaults, Descriptor, Form, ImageConfig, ManifestError};
use crate::base::platform::Platform;

/// Fields of Docker's old configurations that describe the container an image was committed from.
const OF_A_CONTAINER: [&str; 5] = ["container", "container_config", "docker_version", "id", "parent"];

/// A configuration that is being written.
#[derive(Clone, Debug)]
pub(crate) struct ConfigDocument {
    json: Map<String, Value>,
    /// Defaults for containers.
    pub(crate) config: ContainerDefaults,
}

/// One more step of how an image was made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Step {
    pub(crate) created: Option<Timestamp>,
    pub(crate) created_by: String,
    pub(crate) author: String,
    pub(crate) comment: String,
    /// It made no layer.
    pub(crate) empty_layer: bool,
}

impl ConfigDocument {
    /// The configuration of an image that is made from nothing.
    pub(crate) fn new(platform: &Platform) -> Self {
        let mut json = Map::new();
        json.insert("created".into(), Value::Null);
        json.insert("architecture".into(), platform.arch.clone().into());
        if !platform.variant.is_empty() {
            json.insert("variant".into(), platform.variant.clone().into());
        }
        json.insert("os".into(), platform.os.clone().into());
        json.insert("config".into(), json!({}));
        json.insert("rootfs".into(), json!({"type": "layers", "diff_ids": []}));
        json.insert("history".into(), json!([]));
        Self { json, config: ContainerDefaults::default() }
    }

    /// Goes on from the configuration of a base image.
    ///
    /// # Errors
    ///
    /// [`ManifestError::Malformed`].
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let config = ImageConfig::parse(bytes)?.config;
        let malformed = |reason: String| ManifestError::Malformed { what: "image configuration", reason };
        let mut json: Map<String, Value> =
            serde_json::from_slice(bytes).map_err(|err| malformed(err.to_string()))?;
        json.retain(|key, _| !OF_A_CONTAINER.contains(&key.as_str()));
        Ok(Self { json, config })
    }

    /// Sets when it was made.
    pub(crate) fn set_created(&mut self, created: Timestamp) {
        self.set("created", created.to_string());
    }

    /// Sets who made it; nobody if it is empty.
    pub(crate) fn set_author(&mut self, author: &str) {
        if author.is_empty() {
            self.json.remove("author");
        } else {
            self.set("author", author);
        }
    }

    /// Sets what it is for.
    pub(crate) fn set_platform(&mut self, platform: &Platform) {
        self.set("architecture", platform.arch.as_str());
        self.set("os", platform.os.as_str());
        if platform.variant.is_empty() {
            self.json.remove("variant");
        } else {
            self.set("variant", platform.variant.as_str());
        }
    }

    /// Sets a field of the document itself.
    pub(crate) fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.json.insert(key.to_owned(), value.into());
    }

    /// Puts a layer on top.
    pub(crate) fn push_layer(&mut self, diff_id: &Digest) {
        let rootfs = self.json.entry("rootfs").or_insert(Value::Null);
        if !rootfs.is_object() {
            *rootfs = json!({"type": "layers"});
        }
        let list = &mut rootfs["diff_ids"];
        match list {
            Value::Array(list) => list.push(diff_id.to_string().into()),
            other => *other = json!([diff_id.to_string()]),
        }
    }

    /// Takes all layers and all history away: the image is one layer from now on.
    pub(crate) fn clear_layers(&mut self) {
        self.set("rootfs", json!({"type": "layers", "diff_ids": []}));
        self.set("history", json!([]));
    }

    /// Adds a step to the history.
    pub(crate) fn push_history(&mut self, step: &Step) {
        let mut entry = Map::new();
        if let Some(created) = step.created {
            entry.insert("created".into(), created.to_string().into());
        }
        for (key, text) in
            [("created_by", &step.created_by), ("author", &step.author), ("comment", &step.comment)]
        {
            if !text.is_empty() {
                entry.insert(key.into(), text.clone().into());
            }
        }
        if step.empty_layer {
            entry.insert("empty_layer".into(), true.into());
        }
        match self.json.entry("history").or_insert(Value::Null) {
            Value::Array(list) => list.push(entry.into()),
            other => *other = json!([entry]),
        }
    }

    /// The document as bytes: what the image ID is the digest of.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut json = self.json.clone();
        let mut config = match json.get("config") {
            Some(Value::Object(config)) => config.clone(),
            _ => Map::new(),
        };
        write_defaults(&self.config, &mut config);
        json.insert("config".into(), config.into());
        serde_json::to_vec(&json).expect("a JSON value is written to memory")
    }
}

/// Sets the known fields of a `config` object, and takes those away that are empty.
fn write_defaults(defaults: &ContainerDefaults, config: &mut Map<String, Value>) {
    let set = |keys: &std::collections::BTreeSet<String>| {
        Value::Object(keys.iter().map(|key| (key.clone(), json!({}))).collect())
    };
    let fields: [(&str, bool, Value); 12] = [
        ("User", defaults.user.is_empty(), json!(defaults.user)),
        ("ExposedPorts", defaults.exposed_ports.is_empty(), set(&defaults.exposed_ports)),
        ("Env", defaults.env.is_empty(), json!(defaults.env)),
        ("Entrypoint", defaults.entrypoint.is_empty(), json!(defaults.entrypoint)),
        ("Cmd", defaults.cmd.is_empty(), json!(defaults.cmd)),
        ("Volumes", defaults.volumes.is_empty(), set(&defaults.volumes)),
        ("WorkingDir", defaults.working_dir.is_empty(), json!(defaults.working_dir)),
        ("Labels", defaults.labels.is_empty(), json!(defaults.labels)),
        ("StopSignal", defaults.stop_signal.is_empty(), json!(defaults.stop_signal)),
        ("Healthcheck", defaults.healthcheck.is_none(), json!(defaults.healthcheck)),
        ("OnBuild", defaults.on_build.is_empty(), json!(defaults.on_build)),
        ("Shell", defaults.shell.is_empty(), json!(defaults.shell)),
    ];
    for (key, is_empty, value) in fields {
        if is_empty {
            config.remove(key);
        } else {
            config.insert(key.to_owned(), value);
        }
    }
}

/// A descriptor as JSON.
pub(crate) fn descriptor(descriptor: &Descriptor) -> Value {
    json!({
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest.to_string(),
        "size": descriptor.size,
    })
}

/// A descriptor with its fields in the order of `form`.
fn described(form: Form, descriptor: &Descriptor) -> Value {
    match form {
        Form::Oci => self::descriptor(descriptor),
        Form::Docker => json!({
            "mediaType": descriptor.media_type,
            "size": descriptor.size,
            "digest": descriptor.digest.to_string(),
        }),
    }
}

/// Writes a manifest. The media types of layers become those of `form`. The fields are in the order in
/// which podman and skopeo write them, so that the same image has the same digest there.
pub(crate) fn manifest(
    form: Form,
    config: &Descriptor,
    layers: &[Descriptor],
    annotations: &BTreeMap<String, String>,
) -> Vec<u8> {
    let of_form = |layer: &Descriptor| {
        let media_type = match Compression::of_layer(&layer.media_type) {
            Some(compression) => compression.layer_media_type(form).to_owned(),
            None => layer.media_type.clone(),
        };
        described(form, &Descriptor { media_type, ..layer.clone() })
    };
    let config = Descriptor { media_type: form.config().to_owned(), ..config.clone() };
    let mut json = json!({
        "schemaVersion": 2,
        "mediaType": form.manifest(),
        "config": described(form, &config),
        "layers": layers.iter().map(of_form).collect::<Vec<_>>(),
    });
    if !annotations.is_empty() && form == Form::Oci {
        json["annotations"] = json!(annotations);
    }
    serde_json::to_vec(&json).expect("a JSON value is written to memory")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::manifest::Document;

    #[test]
    fn what_is_not_known_stays() {
        let base = br#"{"os":"linux","architecture":"arm64","x":[1],"container":"gone","created":"2020-01-01T00:00:00Z",
            "config":{"Cmd":["a"],"ArgsEscaped":true,"Labels":{"l":"1"}},
            "rootfs":{"type":"layers","diff_ids":[]},"history":null}"#;
        let mut document = ConfigDocument::parse(base).unwrap();
        document.config.cmd.clear();
        document.config.env.push("A=b".into());
        document.config.volumes.insert("/data".into());
        let id = Digest::of(b"layer");
        document.push_layer(&id);
        document.push_history(&Step { created_by: "me".into(), empty_layer: true, ..Step::default() });
        let bytes = document.to_bytes();
        let json: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!((json["x"][0].as_i64(), json["config"]["ArgsEscaped"].as_bool()), (Some(1), Some(true)));
        assert!(json.get("container").is_none() && json["config"].get("Cmd").is_none());
        assert_eq!(json["config"]["Volumes"], json!({"/data": {}}));
        let read = ImageConfig::parse(&bytes).unwrap();
        assert_eq!(read.rootfs.diff_ids, [id]);
        assert!(read.history[0].empty_layer && read.history[0].created_by == "me");
        assert_eq!((read.config.env, read.config.labels["l"].as_str()), (vec!["A=b".into()], "1"));
    }

    #[test]
    fn an_image_from_nothing() {
        let mut document = ConfigDocument::new(&Platform::new("linux", "arm", "v7"));
        document.set_created("2024-01-02T03:04:05Z".parse().unwrap());
        document.set_author("me");
        let read = ImageConfig::parse(&document.to_bytes()).unwrap();
        assert_eq!((read.platform().to_string().as_str(), read.author.as_str()), ("linux/arm/v7", "me"));
        assert!(read.created.is_some() && read.rootfs.diff_ids.is_empty());
    }

    #[test]
    fn manifests_of_both_forms() {
        let of = |media_type: &str| Descriptor {
            media_type: media_type.to_owned(),
            digest: Digest::of(media_type.as_bytes()),
            size: 7,
        };
        let layers = [
            of("application/vnd.docker.image.rootfs.diff.tar.gzip"),
            of("application/vnd.oci.image.layer.v1.tar+zstd"),
        ];
        for form in [Form::Oci, Form::Docker] {
            let bytes = manifest(form, &of("x"), &layers, &BTreeMap::from([("a".into(), "b".into())]));
            let Ok(Document::Manifest(read)) = Document::parse(&bytes, "") else { panic!("{form:?}") };
            assert_eq!(read.media_type, form.manifest());
            assert!(read.layers.iter().all(|layer| Form::of(&layer.media_type) == form), "{read:?}");
            assert_eq!(String::from_utf8_lossy(&bytes).contains("annotations"), form == Form::Oci);
        }
    }
}
