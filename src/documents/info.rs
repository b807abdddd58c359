//! The document about the machine and the store: what `info` shows.

mod docker;

use serde_json::{Value, json};

use super::RUNTIME;
use crate::base::caps;
use crate::base::idmap::IdMap;
use crate::base::platform::Platform;
use crate::base::version::VERSION;
use crate::engine::config;
use crate::engine::info::{Host, StoreInfo};
use crate::engine::{Engine, Result};

pub(crate) use docker::{docker, of_podman};

/// Makes the document, in podman's field names; `version` is what is said of this program.
///
/// # Errors
///
/// If the store cannot be read.
pub(crate) fn document(engine: &Engine, version: &Value) -> Result<Value> {
    let (host, store) = (&engine.host_info(), &engine.store_info()?);

    let socket = config::service_socket();
    let event_logger = engine.events_backend_name();
    let path = host.program.display().to_string();
    let own_version = format!("ketch version {VERSION}");
    let part = json!({"package": "", "path": path, "version": own_version});
    let absent = json!({"executable": "", "package": "", "version": ""});
    let mut runtime = part.clone();
    runtime["name"] = RUNTIME.into();
    let registries = match host.search_registries.as_slice() {
        [] => json!({}),
        search => json!({"search": search}),
    };
    Ok(json!({
        "host": {
            "arch": Platform::host().arch,
            "buildahVersion": "",
            "cgroupManager": host.cgroup_manager,
            "cgroupVersion": if host.cgroup_v2 { "v2" } else { "v1" },
            "cgroupControllers": host.cgroup_controllers,
            "conmon": part,
            "cpus": host.cpus,
            "cpuUtilization": utilization(host),
            "databaseBackend": "files",
            "distribution": distribution(host),
            "eventLogger": event_logger,
            "freeLocks": 0,
            "hostname": host.hostname,
            "idMappings": id_mappings(host),
            "kernel": host.kernel,
            "logDriver": engine.default_log_driver(),
            "memFree": host.mem_free_bytes,
            "memTotal": host.mem_total_bytes,
            "networkBackend": "ketch",
            "networkBackendInfo": {"backend": "ketch", "version": own_version, "path": path, "dns": {}},
            "ociRuntime": runtime,
            "os": "linux",
            "remoteSocket": {"exists": socket.exists(), "path": socket.display().to_string()},
            "rootlessNetworkCmd": "",
            "runtimeInfo": {},
            "serviceIsRemote": false,
            "security": security(host),
            "slirp4netns": absent,
            "pasta": absent,
            "swapFree": host.swap_free_bytes,
            "swapTotal": host.swap_total_bytes,
            "uptime": uptime(host.uptime_s),
            "variant": Platform::host().variant,
            "linkmode": "static",
        },
        "store": store_document(store),
        "registries": registries,
        "plugins": {
            "volume": ["local"],
            "network": ["bridge"],
            "log": ["k8s-file", "json-file", "journald", "none", "passthrough", "passthrough-tty"],
            "authorization": Value::Null,
        },
        "version": version,
    }))
}

fn utilization(host: &Host) -> Value {
    let [user, system, idle] = host.cpu_percent.map(|percent| (percent * 100.0).round() / 100.0);
    json!({"userPercent": user, "systemPercent": system, "idlePercent": idle})
}

fn distribution(host: &Host) -> Value {
    json!({"distribution": host.distribution, "version": host.distribution_version, "codename": host.codename})
}

fn security(host: &Host) -> Value {
    json!({
        "apparmorEnabled": host.apparmor,
        "capabilities": caps::names(caps::DEFAULT).join(","),
        "rootless": host.rootless,
        "seccompEnabled": host.seccomp,
        "seccompProfilePath": "default",
        "selinuxEnabled": host.selinux,
    })
}

fn id_mappings(host: &Host) -> Value {
    let extents = |map: &IdMap| -> Value {
        let extent = |e: &crate::base::idmap::IdExtent| json!({"container_id": e.inside, "host_id": e.outside, "size": e.len});
        map.0.iter().map(extent).collect()
    };
    match &host.maps {
        Some((uids, gids)) => json!({"gidmap": extents(gids), "uidmap": extents(uids)}),
        None => json!({"gidmap": Value::Null, "uidmap": Value::Null}),
    }
}

fn store_document(store: &StoreInfo) -> Value {
    let root = store.root.display().to_string();
    json!({
        "configFile": "",
        "containerStore": {
            "number": store.containers,
            "paused": store.paused,
            "running": store.running,
            "stopped": store.containers - store.running - store.paused,
        },
        "graphDriverName": "overlay",
        "graphOptions": {},
        "graphRoot": root,
        "graphRootAllocated": store.total_bytes,
        "graphRootUsed": store.used_bytes,
        "graphStatus": {
            "Backing Filesystem": store.file_system,
            "Native Overlay Diff": "true",
            "Supports d_type": "true",
            "Supports shifting": "false",
            "Supports volatile": "true",
            "Using metacopy": "false",
        },
        "imageCopyTmpDir": store.root.join("staging").display().to_string(),
        "imageStore": {"number": store.images},
        "runRoot": root,
        "volumePath": store.root.join("volumes").display().to_string(),
        "transientStore": false,
    })
}

/// `0h 33m 4.00s`, and how many days that is.
fn uptime(seconds: f64) -> String {
    let hours = (seconds / 3600.0).floor();
    let minutes = ((seconds - hours * 3600.0) / 60.0).floor();
    let rest = seconds - hours * 3600.0 - minutes * 60.0;
    let text = format!("{hours}h {minutes}m {rest:.2}s");
    if hours < 24.0 { text } else { format!("{text} (Approximately {:.2} days)", hours / 24.0) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn uptime_in_words() {
        assert_eq!(super::uptime(1984.0), "0h 33m 4.00s");
        assert_eq!(super::uptime(180_000.0), "50h 0m 0.00s (Approximately 2.08 days)");
    }
}
