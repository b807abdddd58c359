//! The document about a volume.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::null_if_empty;
use crate::engine::Engine;
use crate::store::volumes::VolumeRecord;

/// Fields of a volume that its JSON leaves out when they are empty.
pub(crate) const OMIT: &[&str] = &["Anonymous", "Status", "UID", "GID", "NeedsChown", "Timeout", "StorageID"];

/// Docker's fields.
const DOCKERS: [&str; 7] = ["CreatedAt", "Driver", "Labels", "Mountpoint", "Name", "Options", "Scope"];

/// Docker's document about a volume.
pub(crate) fn docker(engine: &Engine, volume: &VolumeRecord) -> Value {
    let document = document(engine, volume);
    let fields = DOCKERS.iter().map(|field| ((*field).to_owned(), document[*field].clone()));
    let mut shown = Value::Object(fields.collect());
    // Whole seconds.
    let created = Timestamp::from_second(volume.created.as_second()).unwrap_or(volume.created);
    shown["CreatedAt"] = created.to_string().into();
    // Those that podman shows beside what was typed.
    if let Some(options) = shown["Options"].as_object_mut() {
        options.retain(|key, _| !["UID", "GID"].contains(&key.as_str()));
    }
    for key in ["Labels", "Options"] {
        null_if_empty(&mut shown[key]);
    }
    shown
}

/// Makes the document, in podman's field names.
pub(crate) fn document(engine: &Engine, volume: &VolumeRecord) -> Value {
    let owner = |key: &str| volume.options.get(key).and_then(|id| id.parse::<u32>().ok()).unwrap_or(0);
    json!({
        "Name": volume.name,
        "Driver": volume.driver,
        "Mountpoint": engine.store().volumes().data_path(&volume.name).display().to_string(),
        "CreatedAt": volume.created.to_string(),
        "Labels": volume.labels,
        "Scope": "local",
        "Options": volume.options,
        "UID": owner("UID"),
        "GID": owner("GID"),
        "Anonymous": volume.anonymous,
        "MountCount": 0,
        "NeedsCopyUp": volume.needs_copy_up,
        // As podman: until the first container has used it, whose directory's owner it then gets.
        "NeedsChown": volume.needs_copy_up,
        "Status": {},
        "StorageID": "",
        "Timeout": 0,
        "LockNumber": 0,
    })
}
