//! The document about a container in docker's shape, out of podman's: what has another name, type or meaning there.

use serde_json::{Map, Value, json};

use crate::base::image_ref::NameRule;
use crate::base::spec::{ContainerSpec, NetworkMode};
use crate::documents::network::names as networks;
use crate::documents::{null_if_empty, prefix};
use crate::engine::inspect::ContainerDetails;

/// Makes podman's document about a container docker's.
pub(super) fn change(document: &mut Value, details: &ContainerDetails) {
    let spec = &details.spec;
    let state = &mut document["State"];
    if state["Status"] == "initialized" {
        state["Status"] = "created".into();
    }
    null_if_empty(&mut document["ExecIDs"]);
    prefix(&mut document["Name"], "/");
    prefix(&mut document["Image"], "sha256:");
    document["Platform"] = "linux".into();
    document["LogPath"] = document["HostConfig"]["LogConfig"]["Path"].clone();
    config(&mut document["Config"], spec);
    host_config(&mut document["HostConfig"], spec);
    if let Value::Array(mounts) = &mut document["Mounts"] {
        mounts.iter_mut().for_each(mount);
    }
    if let Value::Object(found) = &mut document["NetworkSettings"]["Networks"] {
        let renamed = std::mem::take(found).into_iter();
        *found = renamed.map(|(name, network)| (networks::name(&name).to_owned(), network)).collect();
    }
}

fn config(config: &mut Value, spec: &ContainerSpec) {
    let named = spec.image.as_ref().map_or("", |image| image.name.as_str());
    config["Image"] = match spec.as_typed.image.as_str() {
        "" => NameRule::Docker.shown_text(named),
        typed => typed.to_owned(),
    }
    .into();
}

fn host_config(config: &mut Value, spec: &ContainerSpec) {
    config["Binds"] = match &spec.as_typed.binds[..] {
        [] => Value::Null,
        binds => json!(binds),
    };
    for key in ["CapAdd", "CapDrop", "ExtraHosts", "GroupAdd", "SecurityOpt"] {
        null_if_empty(&mut config[key]);
    }
    config["NetworkMode"] = match &spec.network.mode {
        NetworkMode::Bridge(attachments) => {
            attachments.first().map_or("bridge", |first| networks::name(&first.name)).to_owned()
        }
        _ => config["NetworkMode"].as_str().unwrap_or_default().to_owned(),
    }
    .into();
    config["CgroupnsMode"] = config["CgroupMode"].clone();
    if spec.as_typed.ipc.is_empty() && config["IpcMode"] == "shareable" {
        config["IpcMode"] = "private".into();
    }
    for key in ["PidMode", "UTSMode"] {
        if config[key] == "private" {
            config[key] = "".into();
        }
    }
    config["LogConfig"] = json!({"Type": config["LogConfig"]["Type"], "Config": options(spec)});
    if config["Tmpfs"].as_object().is_some_and(Map::is_empty)
        && let Some(config) = config.as_object_mut()
    {
        config.remove("Tmpfs");
    }
    // Its own alone: those that every container has are the daemon's there.
    let mut own = spec.process.rlimits.iter().map(|limit| !limit.is_default);
    if let Value::Array(limits) = &mut config["Ulimits"] {
        limits.retain(|_| own.next().unwrap_or(true));
    }
    for limit in config["Ulimits"].as_array_mut().into_iter().flatten() {
        let name =
            limit["Name"].as_str().unwrap_or_default().trim_start_matches("RLIMIT_").to_ascii_lowercase();
        limit["Name"] = name.into();
    }
}

/// `--log-opt`.
fn options(spec: &ContainerSpec) -> Value {
    json!(spec.log.options)
}

fn mount(mount: &mut Value) {
    let Some(fields) = mount.as_object_mut() else { return };
    fields.remove("Options");
    if fields.get("SubPath").is_some_and(|path| path == "") {
        fields.remove("SubPath");
    }
    if fields["Type"] == "bind" {
        fields.remove("Name");
        fields.remove("Driver");
    } else {
        fields.insert("Propagation".to_owned(), "".into());
    }
}
