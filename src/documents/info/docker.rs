//! The document about the machine and the store in docker's shape.
//!
//! # Source
//!
//! docs.docker.com, "Docker Engine API", SystemInfo.

use serde_json::{Value, json};

use crate::base::version::DOCKER;
use crate::documents::{DRIVER, add};
use crate::engine::info::operating_system;
use crate::engine::{Engine, Result, config};

/// Docker's document about the machine and the store.
///
/// # Errors
///
/// If the store cannot be read.
pub(crate) fn docker(engine: &Engine) -> Result<Value> {
    Ok(of_podman(engine, &super::document(engine, &json!({"Version": DOCKER}))?))
}

/// Docker's document, out of podman's.
pub(crate) fn of_podman(engine: &Engine, document: &Value) -> Value {
    let mut fields = fields(document, &rustix::system::uname().machine().to_string_lossy());
    fields["ID"] = engine.installation_id().into();
    fields["SystemTime"] = jiff::Timestamp::now().to_string().into();
    for (field, name) in
        [("HttpProxy", "http_proxy="), ("HttpsProxy", "https_proxy="), ("NoProxy", "no_proxy=")]
    {
        let proxies = config::proxies();
        let mut values = proxies.iter().map(|entry| entry.to_string_lossy());
        let value = values.find_map(|entry| {
            entry.to_ascii_lowercase().starts_with(name).then(|| entry[name.len()..].to_owned())
        });
        fields[field] = value.unwrap_or_default().into();
    }
    fields
}

fn fields(document: &Value, machine: &str) -> Value {
    let (host, store) = (document["host"].clone(), document["store"].clone());
    let distribution = &host["distribution"];
    let mut security = Vec::new();
    for (option, holds) in [
        ("name=apparmor", &host["security"]["apparmorEnabled"]),
        ("name=seccomp,profile=builtin", &host["security"]["seccompEnabled"]),
        ("name=selinux", &host["security"]["selinuxEnabled"]),
        ("name=rootless", &host["security"]["rootless"]),
    ] {
        if holds == &Value::Bool(true) {
            security.push(option);
        }
    }
    let cgroup_version = flat(&host["cgroupVersion"]).trim_start_matches('v').to_owned();
    if cgroup_version == "2" {
        security.push("name=cgroupns");
    }
    let plugins = &document["plugins"];
    let mut fields = json!({
        "Containers": store["containerStore"]["number"],
        "ContainersRunning": store["containerStore"]["running"],
        "ContainersPaused": store["containerStore"]["paused"],
        "ContainersStopped": store["containerStore"]["stopped"],
        "Images": store["imageStore"]["number"],
        "Driver": DRIVER,
        "DriverStatus": pairs(&store["graphStatus"]),
        "DockerRootDir": store["graphRoot"],
        "Plugins": {
            "Volume": plugins["volume"], "Network": ["bridge", "host", "null"], "Authorization": Value::Null, "Log": plugins["log"],
        },
        "ServerVersion": document["version"]["Version"],
        "OperatingSystem": operating_system(),
        "OSVersion": distribution["version"],
        "OSType": host["os"],
        "Architecture": machine,
        "NCPU": host["cpus"],
        "MemTotal": host["memTotal"],
        "Name": host["hostname"],
        "KernelVersion": host["kernel"],
        "CgroupDriver": host["cgroupManager"],
        "CgroupVersion": cgroup_version,
        "LoggingDriver": host["logDriver"],
        "SecurityOptions": security,
        "DefaultRuntime": host["ociRuntime"]["name"],
        "Runtimes": {flat(&host["ociRuntime"]["name"]): {"path": host["ociRuntime"]["path"]}},
        "InitBinary": host["ociRuntime"]["name"],
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": {
            "InsecureRegistryCIDRs": [], "Mirrors": [],
            "IndexConfigs": {"docker.io": {"Name": "docker.io", "Mirrors": [], "Secure": true, "Official": true}},
        },
        "Labels": [],
        "Warnings": Value::Null,
        "Debug": false,
        "ExperimentalBuild": false,
        // Containers run on whatever becomes of the program that started them.
        "LiveRestoreEnabled": true,
        "Swarm": {
            "NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": false, "Error": "",
            "RemoteManagers": Value::Null,
        },
    });
    add(&mut fields, controllers(&host["cgroupControllers"]));
    // What only a daemon has, and what takes no privilege here; clients warn where it is missing.
    let commit = json!({"ID": "", "Expected": ""});
    let rest = json!({
        "NFd": 0,
        "NGoroutines": 0,
        "NEventsListener": 0,
        "IPv4Forwarding": true,
        "BridgeNfIptables": true,
        "BridgeNfIp6tables": true,
        "GenericResources": Value::Null,
        "Isolation": "",
        "ContainerdCommit": commit,
        "RuncCommit": commit,
        "InitCommit": commit,
        "CDISpecDirs": ["/etc/cdi", "/var/run/cdi"],
    });
    add(&mut fields, rest);
    fields
}

/// Docker's words for what can be limited, by the controllers of cgroup v2 that are there.
fn controllers(names: &Value) -> Value {
    let has = |name: &str| names.as_array().is_some_and(|names| names.iter().any(|have| have == name));
    let (memory, cpu) = (has("memory"), has("cpu"));
    json!({
        "MemoryLimit": memory, "SwapLimit": memory, "CpuCfsPeriod": cpu, "CpuCfsQuota": cpu, "CPUShares": cpu,
        "CPUSet": has("cpuset"), "PidsLimit": has("pids"), "OomKillDisable": false,
    })
}

/// A map as the list of pairs that Docker has in its place.
fn pairs(map: &Value) -> Value {
    map.as_object().into_iter().flatten().map(|(key, value)| json!([key, value])).collect()
}

fn flat(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
