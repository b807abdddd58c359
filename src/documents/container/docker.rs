//! The document about a container in docker's shape, out of podman's: what has another name, type or meaning there, and none of
//! what docker does not have.
//!
//! # Source
//!
//! docs.docker.com, "Docker Engine API", ContainerInspect.

mod host_config;
mod network;

use serde_json::{Map, Value, json};

use crate::base::image_ref::NameRule;
use crate::base::spec::{ContainerSpec, Mount, MountKind, Root};
use crate::documents::{DRIVER, add, null_if_empty, pick, prefix};
use crate::engine::Engine;
use crate::engine::inspect::ContainerDetails;
use crate::engine::list::will_restart;
use crate::engine::state::Phase;

/// Fields that JSON leaves out when they are empty. The sizes stand first, for [`OMIT_BUT_SIZES`].
pub(crate) const OMIT: &[&str] = &[
    "SizeRw",
    "SizeRootFs",
    "State.Health",
    "Config.ExposedPorts",
    "Config.Healthcheck",
    "Config.StopTimeout?",
    "Healthcheck.StartPeriod",
    "Healthcheck.StartInterval",
    "Healthcheck.Interval",
    "Healthcheck.Timeout",
    "Healthcheck.Retries",
    "Annotations",
    "Tmpfs",
    "Sysctls",
    "Init",
    "HostConfig.Mounts",
    "Mounts.Name",
    "Mounts.Driver",
    "ReadOnly",
];

/// As [`OMIT`] for who has asked for the sizes, and is told of none.
pub(crate) const OMIT_BUT_SIZES: &[&str] = OMIT.split_at(2).1;

const FIELDS: &[&str] = &[
    "Id",
    "Created",
    "Path",
    "Args",
    "State",
    "Image",
    "ResolvConfPath",
    "HostnamePath",
    "HostsPath",
    "LogPath",
    "Name",
    "RestartCount",
    "Driver",
    "Platform",
    "MountLabel",
    "ProcessLabel",
    "AppArmorProfile",
    "ExecIDs",
    "HostConfig",
    "GraphDriver",
    "SizeRw",
    "SizeRootFs",
    "Mounts",
    "Config",
    "NetworkSettings",
];

const STATE: &[&str] = &[
    "Status",
    "Running",
    "Paused",
    "Restarting",
    "OOMKilled",
    "Dead",
    "Pid",
    "ExitCode",
    "Error",
    "StartedAt",
    "FinishedAt",
    "Health",
];

const CONFIG: &[&str] = &[
    "Hostname",
    "Domainname",
    "User",
    "AttachStdin",
    "AttachStdout",
    "AttachStderr",
    "ExposedPorts",
    "Tty",
    "OpenStdin",
    "StdinOnce",
    "Env",
    "Cmd",
    "Healthcheck",
    "Image",
    "Volumes",
    "WorkingDir",
    "Entrypoint",
    "OnBuild",
    "Labels",
    "StopSignal",
    "StopTimeout",
];

const MOUNT: &[&str] = &["Type", "Name", "Source", "Destination", "Driver", "Mode", "RW", "Propagation"];

/// Makes podman's document about a container docker's.
pub(super) fn of_podman(engine: &Engine, details: &ContainerDetails, mut document: Value) -> Value {
    let spec = &details.spec;
    null_if_empty(&mut document["ExecIDs"]);
    prefix(&mut document["Name"], "/");
    prefix(&mut document["Image"], "sha256:");
    document["Platform"] = "linux".into();
    document["Driver"] = DRIVER.into();
    document["GraphDriver"]["Name"] = DRIVER.into();
    if let Some(merged) = merged(details) {
        document["GraphDriver"]["Data"]["MergedDir"] = merged;
    }
    document["LogPath"] = document["HostConfig"]["LogConfig"]["Path"].clone();
    document["State"] = state(&document["State"], details);
    document["Config"] = config(&document["Config"], spec);
    document["HostConfig"] = host_config::of_podman(document["HostConfig"].take(), spec);
    document["Mounts"] = mounts(engine, spec);
    document["NetworkSettings"] = network::settings(engine, details);
    pick(&document, FIELDS)
}

/// What a listing tells of a container besides what it has anyway, in the shape of the whole document.
pub(super) fn listed(engine: &Engine, details: &ContainerDetails) -> Value {
    json!({
        "HostConfig": {"NetworkMode": host_config::network_mode(&details.spec)},
        "NetworkSettings": {"Networks": network::networks(engine, details).0},
        "Mounts": mounts(engine, &details.spec),
    })
}

fn state(state: &Value, details: &ContainerDetails) -> Value {
    let mut state = pick(state, STATE);
    if state["Status"] == "initialized" {
        state["Status"] = "created".into();
    }
    if state["Paused"] == true {
        state["Running"] = true.into();
    }
    if will_restart(&details.status, details.spec.restart) {
        state["Status"] = "restarting".into();
        state["Running"] = true.into();
        state["Restarting"] = true.into();
    }
    // Nobody saw the end: docker's number for that.
    if details.status.phase == Phase::Exited(-1) {
        state["ExitCode"] = 255.into();
    }
    if state["Health"]["Log"].is_null() && state["Health"].is_object() {
        state["Health"]["Log"] = json!([]);
    }
    state
}

fn config(config: &Value, spec: &ContainerSpec) -> Value {
    let mut config = pick(config, CONFIG);
    let named = spec.image.as_ref().map_or("", |image| image.name.as_str());
    config["Image"] = match spec.as_typed.image.as_str() {
        "" => NameRule::Docker.shown_text(named),
        typed => typed.to_owned(),
    }
    .into();
    config["Env"] = environment(spec).collect();
    let own: Map<String, Value> = spec
        .mounts
        .iter()
        .filter(|mount| matches!(mount.kind, MountKind::Volume { anonymous: true, .. }))
        .map(|mount| (mount.target.to_string_lossy().into_owned(), json!({})))
        .collect();
    config["Volumes"] = own.into();
    null_if_empty(&mut config["Volumes"]);
    // What holds without a choice is not said.
    if !spec.as_typed.stop_timeout {
        config["StopTimeout"] = Value::Null;
    }
    config
}

/// The variables that somebody has asked for: a container made like this one gets the others by itself.
fn environment(spec: &ContainerSpec) -> impl Iterator<Item = Value> {
    let hostname = format!("HOSTNAME={}", spec.hostname);
    let is_own = move |entry: &str| {
        entry == "container=podman"
            || entry == hostname
            || spec.process.terminal && entry == "TERM=xterm"
            || spec.as_typed.usual_path && entry.starts_with("PATH=")
    };
    spec.process
        .env
        .iter()
        .map(|entry| entry.to_string_lossy())
        .filter(move |entry| !is_own(entry))
        .map(Value::from)
}

/// Where the files of a running container are seen: what is mounted there is so in its own namespace.
fn merged(details: &ContainerDetails) -> Option<Value> {
    let has_layers = !matches!(details.spec.root, Root::Directory(_));
    let pid = Some(details.status.pid()).filter(|pid| *pid != 0 && has_layers)?;
    Some(format!("/proc/{pid}/root").into())
}

/// Whether `--mount` asked for this tmpfs.
fn is_mounted_tmpfs(spec: &ContainerSpec, mount: &Mount) -> bool {
    matches!(mount.kind, MountKind::Tmpfs { .. }) && spec.as_typed.mounted_tmpfs.contains(&mount.target)
}

/// The volumes, places of the host, images inside and tmpfs of `--mount`.
fn mounts(engine: &Engine, spec: &ContainerSpec) -> Value {
    let shown = |mount: &Mount| {
        if is_mounted_tmpfs(spec, mount) {
            let target = mount.target.to_string_lossy();
            let rest = json!({"Mode": "", "RW": !mount.read_only, "Propagation": ""});
            let mut shown = json!({"Type": "tmpfs", "Source": "", "Destination": target});
            add(&mut shown, rest);
            return Some(shown);
        }
        let mut shown = super::shown_mount(engine, spec, mount)?;
        let mode = typed_options(spec, mount);
        match mount.kind {
            MountKind::Volume { .. } => {
                // Docker shares volumes between SELinux's labels unless it is told otherwise.
                shown["Mode"] = mode.filter(|mode| !mode.is_empty()).unwrap_or("z").into();
                shown["Propagation"] = "".into();
            }
            _ => shown["Mode"] = mode.unwrap_or_default().into(),
        }
        Some(pick(&shown, MOUNT))
    };
    spec.mounts.iter().filter_map(shown).collect()
}

/// The options with which `-v` asked for this mount; `None` if it did not.
fn typed_options<'a>(spec: &'a ContainerSpec, mount: &Mount) -> Option<&'a str> {
    let is_target = |text: &str| text.as_bytes() == mount.target.as_bytes();
    spec.as_typed.binds.iter().find_map(|bind| {
        let (rest, last) = bind.rsplit_once(':')?;
        if is_target(last) {
            return Some("");
        }
        rest.rsplit_once(':').filter(|(_, target)| is_target(target)).map(|_| last)
    })
}
