//! `ketch generate spec`: what a container was made from, in the form in which podman's API takes new ones.

mod systemd;

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};

use crate::base::bytes::Bytes;
use crate::base::limits::{DeviceRate, Limits};
use crate::base::spec::{ContainerSpec, Mount, MountKind, NetworkMode, RestartPolicy, Root};
use crate::cli::format::json as json_format;
use crate::cli::session::Session;
use crate::engine::Error;

pub(crate) use self::systemd::{SystemdArgs, run as systemd};

/// Print a container's specification as JSON
///
/// The form is that of podman's API for new containers (`specgen`).
#[derive(Args, Debug)]
pub(crate) struct SpecArgs {
    /// Print it on one line
    #[arg(short, long)]
    compact: bool,

    /// Write it to a file, and print the file's name
    #[arg(short, long, value_name = "FILE")]
    filename: Option<PathBuf>,

    /// Give it a new name, NAME-clone, rather than that of the container
    #[arg(short, long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    name: bool,

    /// The container, by name or ID
    #[arg(value_name = "CONTAINER")]
    container: String,
}

/// `generate spec`.
pub(crate) fn spec(session: &mut Session<'_>, args: SpecArgs) -> anyhow::Result<()> {
    let engine = session.engine()?;
    let id = engine.container(&args.container)?;
    let name = engine.container_name(&id)?;
    let name = if args.name { format!("{name}-clone") } else { name };
    let document = document(&engine.container_spec(&id)?, &name);
    let text = match args.compact {
        true => json_format::compact(&document, OMIT),
        false => json_format::pretty(&document, OMIT, " "),
    };
    let Some(file) = args.filename else { return json_format::print(session, &text) };
    fs::write(&file, text).map_err(|err| Error::system(format!("write {}", file.display()), err))?;
    writeln!(session.out, "{}", file.display())?;
    Ok(())
}

/// Fields that are left out when they are empty.
const OMIT: &[&str] = &[
    "add_hosts",
    "annotations",
    "apparmor_profile",
    "blockIO",
    "cap_add",
    "cap_drop",
    "cgroup_parent",
    "command",
    "conmon_pid_file",
    "cpu",
    "devices",
    "dns_option",
    "dns_search",
    "dns_server",
    "entrypoint",
    "env",
    "expose",
    "groups",
    "health_check_on_failure_action",
    "healthconfig",
    "hostname",
    "init",
    "labels",
    "log_configuration",
    "memory",
    "mounts",
    "no_new_privileges",
    "oom_score_adj",
    "pids",
    "portmappings",
    "r_limits",
    "read_only_filesystem",
    "remove",
    "restart_policy",
    "restart_tries",
    "rootfs",
    "secret_env",
    "secrets",
    "startupHealthConfig",
    "stdin",
    "stop_signal",
    "stop_timeout",
    "sysctl",
    "terminal",
    "timeout",
    "unified",
    "user",
    "volumes",
    "work_dir",
    "image",
    "image_volumes",
    "systemd",
    "Networks",
    "seccomp_profile",
    "value",
];

fn texts(list: &[Bytes]) -> Value {
    list.iter().map(|text| text.to_string_lossy()).collect::<Vec<_>>().into()
}

/// `KEY=value` as an object.
fn environment(env: &[Bytes]) -> Value {
    let pair = |entry: &Bytes| {
        let text = entry.to_string_lossy().into_owned();
        let (key, value) = text.split_once('=').unwrap_or((&text, ""));
        (key.to_owned(), Value::from(value))
    };
    Value::Object(env.iter().map(pair).collect())
}

/// A namespace as it was asked for: `MODE` or `MODE:VALUE`.
fn namespace(typed: &str, default: &str) -> Value {
    match typed.split_once(':') {
        Some((mode @ ("container" | "ns" | "keep-id" | "auto"), value)) => {
            let mode = if mode == "ns" { "path" } else { mode };
            json!({"nsmode": mode, "value": value})
        }
        _ if typed.is_empty() => json!({"nsmode": default}),
        _ => json!({"nsmode": typed}),
    }
}

fn network(spec: &ContainerSpec) -> (Value, Value) {
    let mode = |word: &str| json!({"nsmode": word});
    match &spec.network.mode {
        NetworkMode::None => (mode("none"), Value::Null),
        NetworkMode::Host => (mode("host"), Value::Null),
        NetworkMode::Private(_) => (mode("private"), Value::Null),
        NetworkMode::Container(id) => (json!({"nsmode": "container", "value": id.to_string()}), Value::Null),
        NetworkMode::Path(path) => {
            (json!({"nsmode": "path", "value": path.display().to_string()}), Value::Null)
        }
        NetworkMode::Bridge(attachments) => {
            let networks = attachments.iter().map(|attachment| {
                let ips: Vec<_> = attachment.ips.iter().map(ToString::to_string).collect();
                let one = json!({
                    "static_ips": ips,
                    "aliases": attachment.aliases,
                    "interface_name": attachment.interface.clone().unwrap_or_default(),
                });
                (attachment.name.clone(), one)
            });
            (mode("bridge"), Value::Object(networks.collect()))
        }
    }
}

/// Mounts of everything but volumes, and those of volumes.
fn mounts(spec: &ContainerSpec) -> (Vec<Value>, Vec<Value>) {
    let (mut mounts, mut volumes) = (Vec::new(), Vec::new());
    for mount in &spec.mounts {
        let target = mount.target.to_string_lossy();
        let (kind, source, mut options) = match &mount.kind {
            MountKind::Volume { name, anonymous, subpath, .. } => {
                volumes.push(json!({
                    "Name": name,
                    "Dest": target,
                    "Options": options(mount),
                    "IsAnonymous": anonymous,
                    "SubPath": subpath.as_ref().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default(),
                }));
                continue;
            }
            MountKind::Bind { source, recursive, .. } => {
                let bind = if *recursive { "rbind" } else { "bind" };
                ("bind", source.display().to_string(), vec![bind.to_owned()])
            }
            MountKind::Tmpfs { data, .. } => ("tmpfs", "tmpfs".to_owned(), data.clone()),
            MountKind::Devpts { data } => ("devpts", "devpts".to_owned(), data.clone()),
            MountKind::Mqueue => ("mqueue", "mqueue".to_owned(), Vec::new()),
            MountKind::Image { reference, .. } => ("image", reference.clone(), Vec::new()),
            // Only builds have these.
            MountKind::Tree { .. } => continue,
        };
        options.extend(self::options(mount));
        mounts.push(json!({"destination": target, "type": kind, "source": source, "options": options}));
    }
    (mounts, volumes)
}

fn options(mount: &Mount) -> Vec<String> {
    let mut options = vec![if mount.read_only { "ro" } else { "rw" }.to_owned()];
    options.extend(mount.propagation.clone());
    options.extend(mount.options.iter().cloned());
    options
}

fn resources(limits: &Limits) -> Value {
    let rates = |list: &[DeviceRate]| -> Value {
        let one = |rate: &DeviceRate| (rate.path.display().to_string(), json!({"rate": rate.rate}));
        Value::Object(list.iter().map(one).collect())
    };
    let mut all = Map::new();
    let mut put = |group: &str, key: &str, value: Value| {
        let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
        if !empty {
            all.entry(group).or_insert_with(|| json!({}))[key] = value;
        }
    };
    put("memory", "limit", json!(limits.memory));
    put("memory", "reservation", json!(limits.memory_reservation));
    put("memory", "swap", json!(limits.memory_swap));
    put("cpu", "shares", json!(limits.cpu_shares));
    put("cpu", "quota", json!(limits.cpu_quota_us));
    put("cpu", "period", json!(limits.cpu_period_us));
    put("cpu", "cpus", json!(limits.cpuset_cpus));
    put("cpu", "mems", json!(limits.cpuset_mems));
    put("pids", "limit", json!(limits.pids));
    put("blockIO", "weight", json!(limits.blkio_weight));
    put("blockIO", "weight_device", rates(&limits.blkio_weight_device));
    put("blockIO", "throttle_read_bps_device", rates(&limits.device_read_bps));
    put("blockIO", "throttle_write_bps_device", rates(&limits.device_write_bps));
    put("blockIO", "throttle_read_iops_device", rates(&limits.device_read_iops));
    put("blockIO", "throttle_write_iops_device", rates(&limits.device_write_iops));
    if !limits.unified.is_empty() {
        all.insert("unified".to_owned(), json!(limits.unified));
    }
    Value::Object(all)
}

fn restart(policy: RestartPolicy) -> (&'static str, u32) {
    match policy {
        RestartPolicy::No => ("", 0),
        RestartPolicy::Always => ("always", 0),
        RestartPolicy::UnlessStopped => ("unless-stopped", 0),
        RestartPolicy::OnFailure { max } => ("on-failure", max),
    }
}

fn ports(spec: &ContainerSpec) -> Vec<Value> {
    let port = |port: &crate::base::network::PortMapping| {
        json!({
            "host_ip": port.host_ip.map(|ip| ip.to_string()).unwrap_or_default(),
            "container_port": port.container_port,
            "host_port": port.host_port,
            "range": port.range,
            "protocol": port.protocol.to_string(),
        })
    };
    spec.network.ports.iter().map(port).collect()
}

fn health(spec: &ContainerSpec) -> Value {
    let Some(plan) = &spec.health else { return Value::Null };
    json!({
        "Test": texts(&plan.check.test),
        "Interval": plan.check.interval_ns,
        "Timeout": plan.check.timeout_ns,
        "StartPeriod": plan.check.start_period_ns,
        "Retries": plan.check.retries,
    })
}

/// Secrets that are files, and by variable those that are in the environment.
fn secrets(spec: &ContainerSpec) -> (Value, Value) {
    let files = spec.secrets.iter().filter(|secret| secret.variable.is_none()).map(|secret| {
        json!({"Source": secret.name, "Target": secret.target.to_string_lossy(), "UID": secret.uid,
            "GID": secret.gid, "Mode": secret.mode})
    });
    let variables = spec.secrets.iter().filter_map(|secret| {
        secret.variable.as_ref().map(|variable| (variable.to_string(), Value::from(secret.name.as_str())))
    });
    (files.collect(), Value::Object(variables.collect()))
}

/// The whole document, in podman's order.
fn document(spec: &ContainerSpec, name: &str) -> Value {
    let (mounts, volumes) = mounts(spec);
    let (netns, networks) = network(spec);
    let (restart_policy, restart_tries) = restart(spec.restart);
    let process = &spec.process;
    let image = spec.image.as_ref().map(|image| image.id.hex()).unwrap_or_default();
    let rootfs = match &spec.root {
        Root::Layers(_) => String::new(),
        Root::Directory(path) | Root::DirectoryOverlay(path) => path.display().to_string(),
    };
    let devices: Vec<_> = spec
        .devices
        .iter()
        .map(|device| {
            let path =
                format!("{}:{}:{}", device.source.display(), device.target.to_string_lossy(), device.access);
            json!({"path": path, "type": "", "major": 0, "minor": 0})
        })
        .collect();
    let limits: Vec<_> = process
        .rlimits
        .iter()
        .map(|limit| json!({"type": limit.name, "hard": limit.hard, "soft": limit.soft}))
        .collect();
    let hosts: Vec<_> = spec.network.add_hosts.iter().map(|(ip, names)| format!("{names}:{ip}")).collect();
    let (secrets, secret_env) = secrets(spec);
    let options = &spec.log.options;
    let first = json!({
        "name": name,
        "entrypoint": texts(&spec.as_typed.entrypoint),
        "command": texts(&spec.as_typed.command),
        "env": environment(&process.env),
        "terminal": process.terminal,
        "stdin": process.open_stdin,
        "labels": spec.labels,
        "annotations": spec.annotations,
        "stop_signal": spec.stop.signal,
        "stop_timeout": spec.stop.timeout_s,
        "timeout": spec.stop.run_limit_s,
        "log_configuration": {"driver": spec.log.driver, "path": spec.log.path.as_ref().map(|path| path.display().to_string()).unwrap_or_default(), "options": options},
        "restart_policy": restart_policy,
        "restart_tries": restart_tries,
        "oom_score_adj": process.oom_score_adj,
        "remove": spec.auto_remove,
        "sdnotifyMode": spec.sdnotify.word(),
    });
    let second = json!({
        "pidns": namespace(&spec.as_typed.pid, "default"),
        "utsns": namespace(&spec.as_typed.uts, "private"),
        "hostname": spec.hostname,
        "sysctl": spec.sysctls,
        "containerCreateCommand": texts(&spec.create_command),
        "init_container_type": "",
        "image": image,
        "rootfs": rootfs,
        "mounts": mounts,
        "volumes": volumes,
        "host_device_list": devices,
        "ipcns": namespace(&spec.as_typed.ipc, "default"),
        "shm_size": spec.shm_size_bytes,
        "shm_size_systemd": 0,
    });
    let third = json!({
        "work_dir": process.cwd.to_string_lossy(),
        "init": spec.init,
        "secrets": secrets,
        "privileged": spec.security.privileged,
        "user": process.user,
        "groups": process.groups,
        "cap_add": spec.as_typed.cap_add,
        "cap_drop": spec.as_typed.cap_drop,
        "no_new_privileges": spec.security.no_new_privileges,
        "userns": namespace(&spec.as_typed.userns, "default"),
        "umask": format!("{:04o}", process.umask),
        "read_only_filesystem": spec.read_only,
        "cgroupns": namespace(&spec.as_typed.cgroupns, "default"),
        "cgroup_parent": spec.cgroup.parent,
        "netns": netns,
        "portmappings": ports(spec),
        "expose": spec.exposed_ports,
        "Networks": networks,
        "hostadd": hosts,
        "dns_server": spec.network.dns,
        "dns_search": spec.network.dns_search,
        "dns_option": spec.network.dns_options,
        "use_image_hosts": spec.network.no_hosts,
        "resource_limits": resources(&spec.cgroup.limits),
        "r_limits": limits,
        "secret_env": secret_env,
        "healthconfig": health(spec),
        "health_check_on_failure_action": spec.health.as_ref().map(|plan| plan.on_failure.word()),
    });
    let parts = [first, second, third].into_iter().filter_map(|part| match part {
        Value::Object(part) => Some(part),
        _ => None,
    });
    Value::Object(parts.flatten().collect())
}
