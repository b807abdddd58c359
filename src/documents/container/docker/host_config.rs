//! `HostConfig` in docker's shape.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{is_mounted_tmpfs, typed_options};
use crate::base::limits::UNLIMITED;
use crate::base::network::PortMapping;
use crate::base::size;
use crate::base::spec::{ContainerSpec, Mount, MountKind, NetworkMode};
use crate::documents::container::network as podmans;
use crate::documents::network::names;
use crate::documents::{RUNTIME, null_if_empty, pick};
use crate::runtime::defaults::NETWORK_SYSCTLS;

const FIELDS: &[&str] = &[
    "Binds",
    "ContainerIDFile",
    "LogConfig",
    "NetworkMode",
    "PortBindings",
    "RestartPolicy",
    "AutoRemove",
    "VolumeDriver",
    "VolumesFrom",
    "ConsoleSize",
    "Annotations",
    "CapAdd",
    "CapDrop",
    "CgroupnsMode",
    "Dns",
    "DnsOptions",
    "DnsSearch",
    "ExtraHosts",
    "GroupAdd",
    "IpcMode",
    "Cgroup",
    "Links",
    "OomScoreAdj",
    "PidMode",
    "Privileged",
    "PublishAllPorts",
    "ReadonlyRootfs",
    "SecurityOpt",
    "Tmpfs",
    "UTSMode",
    "UsernsMode",
    "ShmSize",
    "Sysctls",
    "Runtime",
    "Isolation",
    "CpuShares",
    "Memory",
    "NanoCpus",
    "CgroupParent",
    "BlkioWeight",
    "BlkioWeightDevice",
    "BlkioDeviceReadBps",
    "BlkioDeviceWriteBps",
    "BlkioDeviceReadIOps",
    "BlkioDeviceWriteIOps",
    "CpuPeriod",
    "CpuQuota",
    "CpuRealtimePeriod",
    "CpuRealtimeRuntime",
    "CpusetCpus",
    "CpusetMems",
    "Devices",
    "DeviceCgroupRules",
    "DeviceRequests",
    "MemoryReservation",
    "MemorySwap",
    "MemorySwappiness",
    "OomKillDisable",
    "PidsLimit",
    "Ulimits",
    "CpuCount",
    "CpuPercent",
    "IOMaximumIOps",
    "IOMaximumBandwidth",
    "Mounts",
    "MaskedPaths",
    "ReadonlyPaths",
    "Init",
];

/// The ports as they were asked for: one that may have any number has none, and --publish-all leaves them out.
fn port_bindings(spec: &ContainerSpec) -> Map<String, Value> {
    let typed = &spec.as_typed;
    if typed.publish.is_empty() && !typed.publish_all {
        return podmans::port_bindings(spec, "");
    }
    let mut asked: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for text in &typed.publish {
        let choices = PortMapping::choices(text);
        let ports: Vec<PortMapping> = match choices.first() {
            Some(first) => vec![*first],
            None => text.parse().into_iter().flat_map(PortMapping::each).collect(),
        };
        for port in ports {
            let host_port = match (port.host_port, choices.last()) {
                (0, _) => String::new(),
                (first, Some(last)) => format!("{first}-{}", last.host_port),
                (number, None) => number.to_string(),
            };
            let host_ip = port.host_ip.map_or_else(String::new, |ip| ip.to_string());
            asked
                .entry(format!("{}/{}", port.container_port, port.protocol))
                .or_default()
                .push(json!({"HostIp": host_ip, "HostPort": host_port}));
        }
    }
    asked.into_iter().map(|(port, bindings)| (port, bindings.into())).collect()
}

/// Makes podman's document docker's.
pub(super) fn of_podman(mut config: Value, spec: &ContainerSpec) -> Value {
    config["Binds"] = spec.mounts.iter().filter_map(|mount| bind(spec, mount)).collect();
    config["Mounts"] = spec.mounts.iter().filter_map(|mount| mount_request(spec, mount)).collect();
    config["Tmpfs"] = json!(spec.as_typed.tmpfs);
    config["PortBindings"] = port_bindings(spec).into();
    // What follows is as it was asked for: whoever makes the container again compares.
    if spec.create_command.is_empty() {
        // A command line has whole names of them, an API's client its own.
        config["CapAdd"] = json!(spec.as_typed.cap_add);
        config["CapDrop"] = json!(spec.as_typed.cap_drop);
    }
    for key in ["Binds", "CapAdd", "CapDrop", "ExtraHosts", "GroupAdd", "SecurityOpt"] {
        null_if_empty(&mut config[key]);
    }
    config["NetworkMode"] = network_mode(spec).into();
    config["CgroupnsMode"] = config["CgroupMode"].clone();
    if spec.as_typed.ipc.is_empty() && config["IpcMode"] == "shareable" {
        config["IpcMode"] = "private".into();
    }
    for key in ["PidMode", "UTSMode", "UsernsMode"] {
        if config[key] == "private" {
            config[key] = "".into();
        }
    }
    if spec.as_typed.userns == "host" {
        config["UsernsMode"] = "host".into();
    }
    config["LogConfig"] = json!({"Type": config["LogConfig"]["Type"], "Config": log_options(spec)});
    // Those that every container has are not told of, unless somebody asked.
    let is_default = |(key, value): &(&String, &String)| {
        NETWORK_SYSCTLS.iter().any(|(own, default)| own == key && default == value)
            && !spec.as_typed.sysctls.contains(key)
    };
    let own: Map<String, Value> = spec
        .sysctls
        .iter()
        .filter(|entry| !is_default(entry))
        .map(|(key, value)| (key.clone(), value.as_str().into()))
        .collect();
    config["Sysctls"] = own.into();
    config["Runtime"] = RUNTIME.into();
    config["DeviceCgroupRules"] = spec.device_rules.iter().map(ToString::to_string).collect();
    null_if_empty(&mut config["DeviceCgroupRules"]);
    config["PidsLimit"] = match spec.cgroup.limits.pids {
        Some(UNLIMITED) => json!(-1),
        limit => json!(limit),
    };
    let paths = |paths: &[crate::base::bytes::Bytes]| -> Value {
        paths.iter().map(|path| Value::from(path.to_string_lossy())).collect()
    };
    config["MaskedPaths"] = paths(&spec.security.masked_paths);
    config["ReadonlyPaths"] = paths(&spec.security.read_only_paths);
    for key in ["MaskedPaths", "ReadonlyPaths"] {
        null_if_empty(&mut config[key]);
    }
    // Not for cgroup v2, and devices come by their paths.
    for key in ["MemorySwappiness", "OomKillDisable", "DeviceRequests"] {
        config[key] = Value::Null;
    }
    ulimits(&mut config["Ulimits"], spec);
    pick(&config, FIELDS)
}

/// The network that it was created on, or what it has instead of one.
pub(super) fn network_mode(spec: &ContainerSpec) -> String {
    match &spec.network.mode {
        NetworkMode::Bridge(attachments) => {
            attachments.first().map_or("bridge", |first| names::name(&first.name)).to_owned()
        }
        _ => podmans::network_mode(spec),
    }
}

/// What `--log-opt` said, and what holds by configuration.
fn log_options(spec: &ContainerSpec) -> Map<String, Value> {
    let typed = spec.as_typed.log_options.iter().filter_map(|option| option.split_once('='));
    let kept = spec.log.options.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    kept.chain(typed).map(|(key, value)| (key.to_owned(), value.into())).collect()
}

/// Its own alone: those that every container has are the daemon's with docker.
fn ulimits(limits: &mut Value, spec: &ContainerSpec) {
    let mut own = spec.process.rlimits.iter().map(|limit| !limit.is_default);
    if let Value::Array(limits) = limits {
        limits.retain(|_| own.next().unwrap_or(true));
    }
    for limit in limits.as_array_mut().into_iter().flatten() {
        let name =
            limit["Name"].as_str().unwrap_or_default().trim_start_matches("RLIMIT_").to_ascii_lowercase();
        limit["Name"] = name.into();
    }
}

/// `SOURCE:TARGET[:OPTIONS]` of what `-v` asked for.
fn bind(spec: &ContainerSpec, mount: &Mount) -> Option<String> {
    let source = match &mount.kind {
        MountKind::Bind { source, .. } => source.display().to_string(),
        MountKind::Volume { name, anonymous: false, .. } => name.clone(),
        _ => return None,
    };
    let target = mount.target.to_string_lossy();
    Some(match typed_options(spec, mount)? {
        "" => format!("{source}:{target}"),
        options => format!("{source}:{target}:{options}"),
    })
}

/// What `--mount` asked for.
fn mount_request(spec: &ContainerSpec, mount: &Mount) -> Option<Value> {
    if typed_options(spec, mount).is_some() {
        return None;
    }
    let (kind, source) = match &mount.kind {
        MountKind::Bind { source, .. } => ("bind", source.display().to_string()),
        MountKind::Volume { name, anonymous: false, .. } => ("volume", name.clone()),
        MountKind::Image { reference, .. } => ("image", reference.clone()),
        MountKind::Tmpfs { .. } if is_mounted_tmpfs(spec, mount) => ("tmpfs", String::new()),
        _ => return None,
    };
    let target = mount.target.to_string_lossy();
    let mut request = json!({"Type": kind, "Source": source, "Target": target, "ReadOnly": mount.read_only});
    if source.is_empty() {
        request.as_object_mut().and_then(|fields| fields.shift_remove("Source"));
    }
    match &mount.kind {
        MountKind::Tmpfs { data, .. } => {
            let value =
                |key: &str| data.iter().rev().find_map(|entry| entry.strip_prefix(key)?.strip_prefix('='));
            if let Some(bytes) = value("size").and_then(|text| size::parse(text).ok()) {
                request["TmpfsOptions"]["SizeBytes"] = bytes.into();
            }
            if let Some(mode) = value("mode").and_then(|text| u32::from_str_radix(text, 8).ok()) {
                request["TmpfsOptions"]["Mode"] = mode.into();
            }
        }
        MountKind::Bind { recursive, .. } => {
            let propagation = mount.propagation.as_deref().unwrap_or_default();
            if !propagation.is_empty() {
                request["BindOptions"]["Propagation"] = propagation.into();
            }
            if !recursive {
                request["BindOptions"]["NonRecursive"] = true.into();
            }
        }
        MountKind::Volume { subpath: Some(path), .. } => {
            request["VolumeOptions"] = json!({"Subpath": path.to_string_lossy()});
        }
        MountKind::Image { subpath: Some(path), .. } => {
            request["ImageOptions"] = json!({"Subpath": path.to_string_lossy()});
        }
        _ => {}
    }
    Some(request)
}
