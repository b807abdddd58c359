//! The document about an image.

use serde_json::{Map, Value, json};

use super::pruned::prune;
use super::{DRIVER, pick, prefix};
use crate::base::image_ref::ImageRef;
use crate::base::time::go_zero;
use crate::engine::inspect::ImageDetails;
use crate::engine::{Engine, Result};

/// Fields that JSON leaves out when they are empty.
pub(crate) const OMIT: &[&str] = &[
    "Config.User",
    "Config.Labels",
    "Config.Healthcheck",
    "ExposedPorts",
    "Env",
    "Entrypoint",
    "Cmd",
    "Volumes",
    "WorkingDir",
    "StopSignal",
    "ArgsEscaped",
    "OnBuild",
    "Shell",
    "HealthCheck",
    "HealthCheck.Test",
    "HealthCheck.StartPeriod",
    "HealthCheck.StartInterval",
    "HealthCheck.Interval",
    "HealthCheck.Timeout",
    "HealthCheck.Retries",
    "LowerDir",
    "author",
    "comment",
    "empty_layer",
    "created_by",
];

/// Docker's fields.
const DOCKERS: &[&str] = &[
    "Id",
    "RepoTags",
    "RepoDigests",
    "Parent",
    "Comment",
    "Created",
    "DockerVersion",
    "Author",
    "Architecture",
    "Variant",
    "Os",
    "OsVersion",
    "Size",
    "GraphDriver",
    "RootFS",
    "Metadata",
    "Config",
];

/// Those that docker's JSON leaves out when they are empty. Clients look for lists and texts of `Config` without asking whether
/// they are there.
pub(crate) const DOCKERS_OMIT: &[&str] = &[
    "Variant",
    "OsVersion",
    "Config.ExposedPorts",
    "Config.Healthcheck",
    "Config.StopSignal",
    "Config.ArgsEscaped",
    "Config.Shell",
    "LowerDir",
];

/// Docker's document about the image that `typed` means.
///
/// # Errors
///
/// [`Kind::NotFound`](crate::engine::Kind::NotFound); if its configuration is missing or damaged.
pub(crate) fn docker(engine: &Engine, typed: &str) -> Result<Value> {
    Ok(prune(&whole_docker(engine, &engine.inspect_image(typed)?), DOCKERS_OMIT))
}

/// The same, with the fields that JSON leaves out when they are empty.
pub(crate) fn whole_docker(engine: &Engine, details: &ImageDetails) -> Value {
    let mut document = document(engine, details);
    prefix(&mut document["Id"], "sha256:");
    prefix(&mut document["Parent"], "sha256:");
    document["DockerVersion"] = document["Version"].clone();
    document["Metadata"] = json!({"LastTagTime": go_zero().to_string()});
    document["GraphDriver"]["Name"] = DRIVER.into();
    for (key, own) in [("Variant", "variant"), ("OsVersion", "os.version")] {
        document[key] = details.config_json.get(own).cloned().unwrap_or_else(|| "".into());
    }
    pick(&document, DOCKERS)
}

/// Makes the document, in podman's field names.
pub(crate) fn document(engine: &Engine, details: &ImageDetails) -> Value {
    let ImageDetails { image, config, config_json, manifest_json } = details;
    let record = &image.record;
    let rule = engine.name_rule();
    let shown = |names: &[ImageRef]| names.iter().map(|name| rule.shown(name)).collect::<Vec<_>>();
    let names = shown(&image.names);
    let labels = match record.labels.is_empty() {
        true => Value::Null,
        false => json!(record.labels),
    };
    let last = config.history.last();
    let mut document = json!({
        "Id": record.id.hex(),
        "Digest": record.manifest().map_or(String::new(), |manifest| manifest.digest.to_string()),
        "RepoTags": names,
        "RepoDigests": shown(&image.repo_digests(rule)),
        "Parent": image.parent.map_or(String::new(), |parent| parent.hex()),
        "Comment": last.map_or("", |step| step.comment.as_str()),
        "Created": image.created().to_string(),
        "Config": config_of(config_json),
        "Version": config_json.get("docker_version").cloned().unwrap_or_else(|| "".into()),
        "Author": config.author,
        "Architecture": config.architecture,
        "Os": config.os,
        "Size": record.size_bytes,
        "VirtualSize": record.size_bytes,
        "GraphDriver": graph_driver(engine, details),
        "RootFS": {
            "Type": "layers",
            "Layers": record.layers.iter().map(|layer| layer.diff_id.to_string()).collect::<Vec<_>>(),
        },
        "Labels": labels,
        "Annotations": manifest_json.get("annotations").cloned().unwrap_or_else(|| json!({})),
        "ManifestType": record.manifest().map_or("", |manifest| manifest.media_type.as_str()),
        "User": config.config.user,
        "History": history(config_json),
        "NamesHistory": shown(&image.names_history()),
    });
    document["HealthCheck"] = health_check(config_json);
    document
}

/// The image's check, with every field that templates know; null if it has none.
fn health_check(config_json: &Value) -> Value {
    let Some(check) = config_json.pointer("/config/Healthcheck").and_then(Value::as_object) else {
        return Value::Null;
    };
    let mut check = check.clone();
    for key in ["StartPeriod", "StartInterval", "Interval", "Timeout", "Retries"] {
        check.entry(key).or_insert_with(|| 0.into());
    }
    check.entry("Test").or_insert(Value::Null);
    Value::Object(check)
}

/// The steps by which the image came about, with every field that templates know.
fn history(config_json: &Value) -> Value {
    let Some(steps) = config_json.get("history").and_then(Value::as_array) else { return Value::Null };
    let defaults = [
        ("created_by", json!("")),
        ("author", json!("")),
        ("comment", json!("")),
        ("empty_layer", json!(false)),
    ];
    let whole = |step: &Value| {
        let mut step = step.as_object().cloned().unwrap_or_default();
        for (key, default) in &defaults {
            step.entry(*key).or_insert_with(|| default.clone());
        }
        Value::Object(step)
    };
    steps.iter().map(whole).collect()
}

/// The `config` of an image's configuration, with every field that templates know.
fn config_of(config_json: &Value) -> Value {
    let empty = Map::new();
    let config = config_json.get("config").and_then(Value::as_object).unwrap_or(&empty);
    let mut shown = Map::new();
    let defaults = [
        ("User", "".into()),
        ("ExposedPorts", Value::Null),
        ("Env", Value::Null),
        ("Entrypoint", Value::Null),
        ("Cmd", Value::Null),
        ("Volumes", Value::Null),
        ("WorkingDir", "".into()),
        ("Labels", Value::Null),
        ("StopSignal", "".into()),
        ("ArgsEscaped", false.into()),
        ("OnBuild", Value::Null),
        ("Shell", Value::Null),
        // Docker's place of it.
        ("Healthcheck", Value::Null),
    ];
    for (key, default) in defaults {
        shown.insert(key.to_owned(), config.get(key).cloned().unwrap_or(default));
    }
    Value::Object(shown)
}

/// Where the layers are.
fn graph_driver(engine: &Engine, details: &ImageDetails) -> Value {
    let path = |layer: &_| engine.store().layers().fs_path(layer).display().to_string();
    let chain = details.image.record.chain_ids();
    let (top, lower) = match chain.split_last() {
        Some((top, lower)) => (path(top), lower.iter().rev().map(path).collect::<Vec<_>>().join(":")),
        None => (String::new(), String::new()),
    };
    json!({"Name": "overlay", "Data": {"LowerDir": lower, "UpperDir": top}})
}
