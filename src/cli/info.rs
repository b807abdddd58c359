//! `ketch info`: what the machine is like and what the store holds, in podman's field names.

use std::io::Write;

use clap::Args;
use serde_json::{Value, json};

use crate::base::caps;
use crate::base::escape::Escaped;
use crate::base::idmap::IdMap;
use crate::base::platform::Platform;
use crate::base::size;
use crate::base::version::VERSION;
use crate::cli::called::Called;
use crate::cli::format::{self, Format, Shape, docker, json, yaml};
use crate::cli::session::Session;
use crate::cli::version;
use crate::documents;
use crate::engine::info::{Host, StoreInfo};
use crate::engine::{Engine, config};

/// Print what the machine is like and what the store holds
#[derive(Args, Debug)]
pub(crate) struct InfoArgs {
    /// Print in this form: json, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

const SHAPE: Shape = Shape {
    command: "info",
    type_name: "*define.Info",
    headers: &[],
    omit: &["runtimeInfo"],
    heading: false,
};

/// What docker prints where it is asked for no format: people and scripts look for its lines.
const DOCKERS_TEXT: &str = include_str!("info/docker.txt");

/// Runs the verb.
pub(crate) fn run(session: &mut Session<'_>, args: InfoArgs) -> anyhow::Result<()> {
    let format = args.format.as_deref().map(|text| Format::parse(text, &SHAPE)).transpose()?;
    let called = session.globals.called;
    let engine = session.engine()?;
    let mut document = document(engine, &engine.host_info(), &engine.store_info()?, called);
    match format {
        Some(format) if called.is_docker() && format.is_whole() => {
            json::print(session, &json::compact(&dockers(&document, engine), &[]))
        }
        Some(Format::Json) => json::print(session, &json::pretty(&document, SHAPE.omit, "  ")),
        Some(template) => {
            let fields = dockers(&document, engine);
            documents::add(&mut document, fields);
            format::print_rows(session, &SHAPE, &template, &[document])
        }
        None if called.is_docker() => {
            let mut fields = dockers(&document, engine);
            fields["TotalMemory"] = size::binary(fields["MemTotal"].as_u64().unwrap_or(0)).into();
            let template = Format::parse(DOCKERS_TEXT.trim_end(), &SHAPE)?;
            format::print_rows(session, &SHAPE, &template, &[fields])
        }
        None => {
            let text = yaml::print(&document);
            for line in text.lines() {
                match session.out_is_tty {
                    true => writeln!(session.out, "{}", Escaped(line))?,
                    false => writeln!(session.out, "{line}")?,
                }
            }
            Ok(())
        }
    }
}

/// `docker info`'s fields.
fn dockers(document: &Value, engine: &Engine) -> Value {
    let mut fields = docker::info(document, &rustix::system::uname().machine().to_string_lossy());
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

fn document(engine: &Engine, host: &Host, store: &StoreInfo, called: Called) -> Value {
    let event_logger = engine.events_backend_name();
    let log_driver = engine.conf().containers.log_driver.as_deref().filter(|driver| !driver.is_empty());
    let log_driver = log_driver.unwrap_or("k8s-file");
    let path = host.program.display().to_string();
    let own_version = format!("ketch version {}", VERSION);
    let part = json!({"package": "", "path": path, "version": own_version});
    let absent = json!({"executable": "", "package": "", "version": ""});
    let mut runtime = part.clone();
    runtime["name"] = "ketch".into();
    let registries = match host.search_registries.as_slice() {
        [] => json!({}),
        search => json!({"search": search}),
    };
    json!({
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
            "logDriver": log_driver,
            "memFree": host.mem_free_bytes,
            "memTotal": host.mem_total_bytes,
            "networkBackend": "ketch",
            "networkBackendInfo": {"backend": "ketch", "version": own_version, "path": path, "dns": {}},
            "ociRuntime": runtime,
            "os": "linux",
            "remoteSocket": {"exists": false, "path": ""},
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
        "version": version::document(called),
    })
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
