//! Docker's placeholders, where podman has another name for the same thing: templates know both.
//!
//! They are added to what a template sees. JSON has podman's fields only, unless docker was called or the
//! configuration asks for Docker's form of listings (`[ketch] json_lines`): then [`line`] is what each line prints.

use serde_json::{Map, Value, json};

use crate::cli::build::BUILDX;
use crate::compose::project::COMPATIBLE;
use crate::documents::add;

/// `docker ps --format json`: its fields.
pub(crate) const CONTAINER: &[&str] = &[
    "Command",
    "CreatedAt",
    "ID",
    "Image",
    "Labels",
    "LocalVolumes",
    "Mounts",
    "Names",
    "Networks",
    "Ports",
    "RunningFor",
    "Size",
    "State",
    "Status",
];

/// `docker images --format json`: its fields.
pub(crate) const IMAGE: &[&str] = &[
    "Containers",
    "CreatedAt",
    "CreatedSince",
    "Digest",
    "ID",
    "Repository",
    "SharedSize",
    "Size",
    "Tag",
    "UniqueSize",
    "VirtualSize",
];

/// `docker volume ls --format json`: its fields.
pub(crate) const VOLUME: &[&str] =
    &["Availability", "Driver", "Group", "Labels", "Links", "Mountpoint", "Name", "Scope", "Size", "Status"];

/// `docker network ls --format json`: its fields.
pub(crate) const NETWORK: &[&str] =
    &["CreatedAt", "Driver", "ID", "IPv4", "IPv6", "Internal", "Labels", "Name", "Scope"];

/// `docker stats --format json`: its fields.
pub(crate) const STATS: &[&str] =
    &["BlockIO", "CPUPerc", "Container", "ID", "MemPerc", "MemUsage", "Name", "NetIO", "PIDs"];

/// `docker history --format json`: its fields.
pub(crate) const STEP: &[&str] = &["Comment", "CreatedAt", "CreatedBy", "CreatedSince", "ID", "Size"];

/// `docker system df --format json`: its fields.
pub(crate) const USAGE: &[&str] = &["Active", "Reclaimable", "Size", "TotalCount", "Type"];

/// `docker search --format json`: its fields.
pub(crate) const HIT: &[&str] = &["Description", "IsAutomated", "IsOfficial", "Name", "StarCount"];

/// What Docker says of what it has not measured.
const UNKNOWN: &str = "N/A";

/// What Docker prints of a row: these fields, each as a text.
pub(crate) fn line(row: &Value, fields: &[&str]) -> Value {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(flat).collect::<Vec<_>>().join(","),
        Value::Object(map) => {
            map.iter().map(|(k, v)| format!("{k}={}", flat(v))).collect::<Vec<_>>().join(",")
        }
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let fields = fields.iter().map(|field| ((*field).to_owned(), text(&row[*field]).into()));
    Value::Object(fields.collect::<Map<_, _>>())
}

/// Adds what only Docker's line about an image has.
pub(crate) fn image(row: &mut Value) {
    let size = row["Size"].clone();
    add(
        row,
        json!({"Containers": UNKNOWN, "SharedSize": UNKNOWN, "UniqueSize": UNKNOWN, "VirtualSize": size}),
    );
}

/// Adds what only Docker's line about a volume has.
pub(crate) fn volume(row: &mut Value) {
    let fields =
        ["Availability", "Group", "Links", "Size", "Status"].map(|key| (key.to_owned(), UNKNOWN.into()));
    add(row, Value::Object(Map::from_iter(fields)));
}

fn flat(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Adds `docker inspect`'s fields to the document about a container.
pub(crate) fn container(document: &mut Value) {
    if document["LogPath"].is_null() {
        document["LogPath"] = document["HostConfig"]["LogConfig"]["Path"].clone();
    }
    document["Platform"] = "linux".into();
    let name = document["Name"].as_str().unwrap_or_default().trim_start_matches('/').to_owned();
    let networks = document["NetworkSettings"]["Networks"].as_object_mut();
    // Nobody is asked for names where a container has no network of its own.
    let named = networks.into_iter().flatten().filter(|(mode, _)| !matches!(mode.as_str(), "none" | "host"));
    for (_, network) in named {
        let aliases = network["Aliases"].as_array().cloned().unwrap_or_default();
        let mut names = vec![Value::from(name.as_str())];
        names.extend(aliases.into_iter().filter(|alias| *alias != name.as_str()));
        network["DNSNames"] = names.into();
    }
}

/// What docker has as plugins of its command, which are parts of this program.
pub(crate) fn own_plugins(path: &Value) -> Value {
    let plugin = |name: &str, version: &str, about: &str| {
        json!({
            "SchemaVersion": "0.1.0", "Vendor": "ketch", "Version": format!("v{version}"), "ShortDescription": about,
            "Name": name, "Path": path,
        })
    };
    json!([
        plugin("buildx", BUILDX, "Build images"),
        plugin("compose", COMPATIBLE, "Run several containers as one project"),
    ])
}

/// Adds `docker version`'s fields to one side of the document that `version` prints. JSON spells one of them
/// otherwise than templates do.
pub(crate) fn version(side: &mut Value, oldest_api: &str, kernel: &str) {
    let arch = flat(&side["OsArch"]).rsplit('/').next().unwrap_or_default().to_owned();
    let fields = json!({
        "Arch": arch,
        "ApiVersion": side["APIVersion"],
        "MinAPIVersion": oldest_api,
        "DefaultAPIVersion": side["APIVersion"],
        "KernelVersion": kernel,
        "BuildTime": side["BuiltTime"],
        "Experimental": false,
        "Context": "default",
        "Platform": {"Name": "Ketch"},
        "Components": [{"Name": "Engine", "Version": side["Version"], "Details": {"Arch": arch, "Os": side["Os"], "KernelVersion": kernel}}],
    });
    add(side, fields);
}

/// Adds `docker search`'s fields to a hit.
pub(crate) fn hit(row: &mut Value) {
    let is_set = |value: &Value| Value::Bool(value.as_str().is_some_and(|text| !text.is_empty()));
    row["StarCount"] = row["Stars"].clone();
    row["IsOfficial"] = is_set(&row["Official"]);
    row["IsAutomated"] = is_set(&row["Automated"]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_hold_texts() {
        let row =
            json!({"ID": "1", "Labels": {"a": "b", "c": "d"}, "Mounts": ["x", "y"], "Size": null, "Pid": 7});
        let want = json!({"ID": "1", "Labels": "a=b,c=d", "Mounts": "x,y", "Size": "", "Pid": "7"});
        assert_eq!(line(&row, &["ID", "Labels", "Mounts", "Size", "Pid"]), want);
    }

    #[test]
    fn other_names_of_the_same() {
        let mut version_side = json!({"OsArch": "linux/amd64", "APIVersion": "1"});
        version(&mut version_side, "1.24", "6.12");
        assert_eq!(
            (&version_side["Arch"], &version_side["KernelVersion"]),
            (&json!("amd64"), &json!("6.12"))
        );
    }
}
