//! The document about a container, in podman's field names: what scripts and editors read.

use std::path::Path;

use super::limits;
use super::network::{network_mode, network_settings, port_bindings};
use serde_json::{Map, Value, json};

use crate::base::bytes::Bytes;
use crate::base::caps;
use crate::base::etc::SecretUse;
use crate::base::health::{Check, Destination};
use crate::base::id::ContainerId;
use crate::base::idmap::IdMap;
use crate::base::order::InOrder as _;
use crate::base::rlimit::UNLIMITED;
use crate::base::signal::Signal;
use crate::base::size;
use crate::base::spec::{
    ContainerSpec, Mount, MountKind, Namespace, NetworkMode, Record, RestartPolicy, Rlimit, Root,
    UserNamespace,
};
use crate::base::time::go_zero;
use crate::engine::inspect::ContainerDetails;
use crate::engine::state::Phase;
use crate::engine::{Engine, Result};

/// Fields that JSON leaves out when they are empty. The sizes stand first, for [`OMIT_BUT_SIZES`].
pub(crate) const OMIT: &[&str] = &[
    "SizeRw",
    "SizeRootFs",
    "ConmonPid",
    "Health",
    "Healthcheck",
    "CgroupPath",
    "Checkpointed",
    "CheckpointLog",
    "CheckpointPath",
    "RestoreLog",
    "Restored",
    "StoppedByUser",
    "OCIConfigPath",
    "StartupHealthCheck",
    "Healthcheck.StartPeriod",
    "Healthcheck.StartInterval",
    "Healthcheck.Interval",
    "Healthcheck.Timeout",
    "Healthcheck.Retries",
    "StartupHealthCheck.StartPeriod",
    "StartupHealthCheck.StartInterval",
    "StartupHealthCheck.Interval",
    "StartupHealthCheck.Timeout",
    "StartupHealthCheck.Retries",
    "StartupHealthCheck.Successes",
    "Timezone",
    "SystemdMode",
    "Secrets",
    "ChrootDirs",
    "sdNotifySocket",
    "IDMappings",
    "Init",
    "IntelRdtClosID",
    "SecondaryIPAddresses",
    "SecondaryIPv6Addresses",
    "AdditionalMacAddresses",
    "LowerDir",
    "UpperDir",
    "WorkDir",
    "Name",
    "SubPath",
];

/// As [`OMIT`] for who has asked for the sizes, and is told of none.
pub(crate) const OMIT_BUT_SIZES: &[&str] = OMIT.split_at(2).1;

/// An object with these fields, in this order. (`json!` recurses per token, too deep for these.)
macro_rules! object {
    ($($key:literal: $value:expr),* $(,)?) => {{
        let mut fields = Map::new();
        $(fields.insert($key.to_owned(), json!($value));)*
        Value::Object(fields)
    }};
}

/// Bytes that a container has changed, and of all its files.
pub(crate) fn sizes(engine: &Engine, details: &ContainerDetails) -> Result<(u64, u64)> {
    let changed = engine.container_size(&details.id)?;
    let image = details.spec.image.as_ref().and_then(|image| engine.store().images().get(&image.id).ok());
    Ok((changed, changed + image.map_or(0, |image| image.size_bytes)))
}

/// Makes the document.
pub(crate) fn document(engine: &Engine, details: &ContainerDetails, sizes: Option<(u64, u64)>) -> Value {
    let ContainerDetails { id, name, spec, status, dir, .. } = details;
    let record = status.record.as_ref();
    let (path, args) = match spec.process.args.split_first() {
        Some((path, args)) => (path.to_string_lossy().into_owned(), texts(args)),
        None => (String::new(), json!([])),
    };
    // Written at each start, so absent before the first.
    let file = |name: &str| {
        let path = dir.join(name);
        if path.exists() { path.display().to_string() } else { String::new() }
    };
    let is_root = matches!(spec.process.user.split(':').next(), Some("" | "0" | "root"));
    let effective = if is_root { spec.security.capabilities } else { spec.security.ambient };
    object! {
        "Id": id.as_str(),
        "Created": spec.created.to_string(),
        "Path": path,
        "Args": args,
        "State": state(details),
        "Image": spec.image.as_ref().map_or(String::new(), |image| image.id.hex()),
        "ImageDigest": spec.image.as_ref().map_or(String::new(), |image| image.manifest.to_string()),
        "ImageName": spec.image.as_ref().map_or("", |image| image.name.as_str()),
        "Rootfs": match &spec.root {
            Root::Layers(_) => String::new(),
            Root::Directory(path) | Root::DirectoryOverlay(path) => path.display().to_string(),
        },
        "Pod": spec.pod.as_ref().map_or("", |pod| pod.id.as_str()),
        "ResolvConfPath": file("resolv.conf"),
        "HostnamePath": file("hostname"),
        "HostsPath": file("hosts"),
        "StaticDir": dir.display().to_string(),
        "OCIConfigPath": dir.join("spec.json").display().to_string(),
        "OCIRuntime": "ketch",
        "ConmonPidFile": path_text(spec.monitor_pid_file.as_deref()),
        "PidFile": path_text(spec.pid_file.as_deref()),
        "Name": name,
        "RestartCount": record.map_or(0, |record| record.restarts),
        "Driver": "overlay",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "EffectiveCaps": capabilities(effective),
        "BoundingCaps": capabilities(spec.security.capabilities),
        "ExecIDs": details.exec_ids,
        "GraphDriver": graph_driver(engine, details),
        "SizeRw": sizes.map(|(changed, _)| changed),
        "SizeRootFs": sizes.map(|(_, all)| all),
        "Mounts": spec.mounts.iter().filter_map(|mount| shown_mount(engine, spec, mount)).collect::<Vec<_>>(),
        "Dependencies": dependencies(spec),
        "NetworkSettings": network_settings(engine, details),
        "Namespace": "",
        "IsInfra": spec.pod.as_ref().is_some_and(|pod| pod.infra),
        "IsService": false,
        "KubeExitCodePropagation": "invalid",
        "lockNumber": 0,
        "Config": config(spec),
        "HostConfig": host_config(engine, details),
        "UseImageHosts": spec.network.no_hosts,
        "UseImageHostname": false,
    }
}

fn texts(words: &[Bytes]) -> Value {
    words.iter().map(|word| Value::from(word.to_string_lossy())).collect()
}

/// A list, or null where Go has a nil slice.
fn texts_or_null(words: &[Bytes]) -> Value {
    if words.is_empty() { Value::Null } else { texts(words) }
}

fn path_text(path: Option<&Path>) -> String {
    path.map_or(String::new(), |path| path.display().to_string())
}

fn capabilities(set: u64) -> Vec<String> {
    let prefixed = |name: String| if name.starts_with("CAP_") { name } else { format!("CAP_{name}") };
    let mut names: Vec<_> = caps::names(set).into_iter().map(prefixed).collect();
    names.order();
    names
}

fn state(details: &ContainerDetails) -> Value {
    let ContainerDetails { status, .. } = details;
    let record = status.record.as_ref();
    let ended = record.and_then(|record| record.ended.as_ref());
    let is_up = status.pid() != 0;
    let never = go_zero().to_string();
    json!({
        "OciVersion": "1.2.0",
        "Status": status.word(),
        // What `init` has made is there, and waits for `start`.
        "Running": is_up && status.phase != Phase::Initialized,
        "Paused": status.paused,
        "Restarting": false,
        "OOMKilled": ended.is_some_and(|end| end.oom_killed),
        "Dead": false,
        "Pid": status.pid(),
        "ConmonPid": if is_up { record.map_or(0, |record| record.monitor_pid) } else { 0 },
        "ExitCode": status.exit_code(),
        "Error": status.error(),
        "StartedAt": record.map_or_else(|| never.clone(), |record| record.started.to_string()),
        "FinishedAt": record.and_then(Record::last_end).map_or_else(|| never.clone(), |at| at.to_string()),
        "Health": health(details),
        "Checkpointed": false,
        "CgroupPath": limits::path(details),
        "CheckpointedAt": never,
        "RestoredAt": never,
        "CheckpointLog": "",
        "CheckpointPath": "",
        "RestoreLog": "",
        "Restored": false,
        "StoppedByUser": ended.is_some_and(|end| end.stopped_by_user),
    })
}

fn graph_driver(engine: &Engine, details: &ContainerDetails) -> Value {
    let own = |name: &str| details.dir.join(name).display().to_string();
    let lower = match &details.spec.root {
        Root::Directory(_) => return json!({"Name": "", "Data": {}}),
        Root::DirectoryOverlay(path) => path.display().to_string(),
        Root::Layers(chain) => {
            let path = |layer| engine.store().layers().fs_path(layer).display().to_string();
            chain.iter().rev().map(path).collect::<Vec<_>>().join(":")
        }
    };
    json!({"Name": "overlay", "Data": {"LowerDir": lower, "UpperDir": own("upper"), "WorkDir": own("work")}})
}

/// The containers whose namespaces this one uses.
fn dependencies(spec: &ContainerSpec) -> Vec<String> {
    let network = match &spec.network.mode {
        NetworkMode::Container(id) => Some(id),
        _ => None,
    };
    let namespaces =
        [&spec.namespaces.pid, &spec.namespaces.ipc, &spec.namespaces.uts, &spec.namespaces.cgroup];
    let others = namespaces.into_iter().filter_map(|namespace| match namespace {
        Namespace::Container(id) => Some(id),
        _ => None,
    });
    let mut ids: Vec<_> = network.into_iter().chain(others).map(ToString::to_string).collect();
    ids.order();
    ids.dedup();
    ids
}

/// A volume or bind mount as it is listed; others are not.
pub(crate) fn shown_mount(engine: &Engine, spec: &ContainerSpec, mount: &Mount) -> Option<Value> {
    let (kind, name, source, driver, mut options, sub_path) = match &mount.kind {
        MountKind::Bind { source, recursive, .. } => {
            let bind = if *recursive { "rbind" } else { "bind" };
            ("bind", "", source.display().to_string(), "", vec![bind.to_owned()], String::new())
        }
        MountKind::Volume { name, subpath, .. } => {
            let path = engine.store().volumes().data_path(name).display().to_string();
            let sub = subpath.as_ref().map_or(String::new(), |path| path.to_string_lossy().into_owned());
            ("volume", name.as_str(), path, "local", vec!["rbind".to_owned()], sub)
        }
        MountKind::Image { .. } | MountKind::Tree { .. } => {
            ("image", "", String::new(), "", Vec::new(), String::new())
        }
        _ => return None,
    };
    options.splice(0..0, mount.options.iter().cloned());
    Some(json!({
        "Type": kind,
        "Name": name,
        "Source": source,
        "Destination": mount.target.to_string_lossy(),
        "Driver": driver,
        "Mode": relabelled(spec, mount),
        "Options": options,
        "RW": !mount.read_only,
        "Propagation": mount.propagation.as_deref().unwrap_or("rprivate"),
        "SubPath": sub_path,
    }))
}

/// The `z` or `Z` that `-v` asked for.
fn relabelled(spec: &ContainerSpec, mount: &Mount) -> &'static str {
    let options = spec.as_typed.binds.iter().find_map(|bind| {
        let (rest, options) = bind.rsplit_once(':')?;
        let target = rest.rsplit_once(':')?.1;
        (target.as_bytes() == mount.target.as_bytes()).then_some(options)
    });
    let asked = |word| options.is_some_and(|options| options.split(',').any(|option| option == word));
    match (asked("z"), asked("Z")) {
        (_, true) => "Z",
        (true, _) => "z",
        _ => "",
    }
}

/// `source:target:options` of a volume or bind mount.
fn bind(mount: &Mount) -> Option<String> {
    let source = match &mount.kind {
        MountKind::Bind { source, .. } => source.display().to_string(),
        MountKind::Volume { name, .. } => name.clone(),
        _ => return None,
    };
    let access = if mount.read_only { "ro" } else { "rw" };
    let propagation = mount.propagation.as_deref().unwrap_or("rprivate");
    let mut options = vec![access, propagation];
    options.extend(mount.options.iter().map(String::as_str));
    options.push("rbind");
    Some(format!("{source}:{}:{}", mount.target.to_string_lossy(), options.join(",")))
}

fn hostname(spec: &ContainerSpec) -> String {
    match spec.hostname.as_str() {
        "" => std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned(),
        name => name.to_owned(),
    }
}

/// What the monitor has found, with podman's and Docker's names.
fn health(details: &ContainerDetails) -> Value {
    match (&details.spec.health, &details.health) {
        (None, _) => Value::Null,
        (Some(_), None) => json!({"Status": "starting", "FailingStreak": 0, "Log": null}),
        (Some(_), Some(state)) => json!({
            "Status": state.status.word(),
            "FailingStreak": state.failing_streak,
            "Log": if state.log.is_empty() { Value::Null } else { json!(state.log) },
        }),
    }
}

/// A health check as images write it.
fn check(check: &Check) -> Value {
    let mut document = json!({"Test": texts(&check.test)});
    // As Docker and podman have it, JSON leaves out what is 0; templates know it.
    for (key, value) in [
        ("StartPeriod", check.start_period_ns),
        // Docker's; podman knows no such pause.
        ("StartInterval", check.start_interval_ns),
        ("Interval", check.interval_ns),
        ("Timeout", check.timeout_ns),
        ("Retries", check.retries.into()),
    ] {
        document[key] = value.into();
    }
    document
}

fn config(spec: &ContainerSpec) -> Value {
    let plan = spec.health.as_ref();
    let stop_signal = Signal::from_number(spec.stop.signal)
        .map_or_else(|| spec.stop.signal.to_string(), |signal| signal.to_string());
    let mut exposed: Map<String, Value> = spec.all_exposed_ports().map(|port| (port, json!({}))).collect();
    exposed.sort_keys();
    object! {
        "Hostname": hostname(spec),
        "Domainname": spec.domainname,
        "User": spec.process.user,
        "AttachStdin": spec.as_typed.attach.iter().any(|stream| stream == "stdin"),
        "AttachStdout": spec.as_typed.attach.iter().any(|stream| stream == "stdout"),
        "AttachStderr": spec.as_typed.attach.iter().any(|stream| stream == "stderr"),
        "Tty": spec.process.terminal,
        "OpenStdin": spec.process.open_stdin,
        "StdinOnce": spec.process.stdin_once,
        "Env": texts(&spec.process.env),
        "Cmd": texts_or_null(&spec.as_typed.command),
        "Image": spec.image.as_ref().map_or("", |image| image.name.as_str()),
        "Volumes": Value::Null,
        "WorkingDir": spec.process.cwd.to_string_lossy(),
        "Entrypoint": texts_or_null(&spec.as_typed.entrypoint),
        "OnBuild": Value::Null,
        "Labels": spec.labels,
        "Annotations": annotations(spec),
        "StopSignal": stop_signal,
        "StartupHealthCheck": plan.and_then(|plan| plan.startup.as_ref()).map(|startup| {
            let mut document = check(&startup.check);
            document["Successes"] = json!(startup.successes);
            document
        }),
        "Healthcheck": match plan {
            Some(plan) => check(&plan.check),
            None if spec.health_none => json!({"Test": ["NONE"]}),
            None => Value::Null,
        },
        "HealthcheckOnFailureAction": plan.map_or("none", |plan| plan.on_failure.word()),
        "HealthLogDestination": plan.map_or("local".to_owned(), |plan| match &plan.log.destination {
            Destination::Local => "local".to_owned(),
            Destination::Events => "events_logger".to_owned(),
            Destination::Directory(path) => path.display().to_string(),
        }),
        "HealthcheckMaxLogCount": plan.map_or(5, |plan| plan.log.max_count),
        "HealthcheckMaxLogSize": plan.map_or(500, |plan| plan.log.max_size),
        "CreateCommand": texts_or_null(&spec.create_command),
        "Timezone": timezone(spec),
        "SystemdMode": spec.systemd,
        "Umask": format!("{:04o}", spec.process.umask),
        // Those that are files, as with podman.
        "Secrets": spec
            .secrets
            .iter()
            .filter(|used| used.variable.is_none() && !used.id.is_empty())
            .map(secret)
            .collect::<Vec<_>>(),
        "Timeout": spec.stop.run_limit_s,
        "StopTimeout": match spec.stop.timeout_s {
            u32::MAX => json!(-1),
            seconds => json!(seconds),
        },
        "Passwd": !spec.accounts.untouched,
        "ChrootDirs": texts_or_null(&spec.etc.chroot_dirs),
        "sdNotifyMode": spec.sdnotify.word(),
        "sdNotifySocket": "",
        "ExposedPorts": if exposed.is_empty() { Value::Null } else { Value::Object(exposed) },
    }
}

fn annotations(spec: &ContainerSpec) -> Value {
    if spec.annotations.is_empty() { Value::Null } else { json!(spec.annotations) }
}

/// A namespace as `--pid` and its like name it.
fn namespace_mode(namespace: &Namespace, private: &str) -> String {
    match namespace {
        Namespace::Private => private.to_owned(),
        Namespace::Host => "host".to_owned(),
        Namespace::Container(id) => format!("container:{id}"),
        Namespace::Path(path) => format!("ns:{}", path.display()),
    }
}

#[allow(clippy::too_many_lines)] // a table of podman's fields
fn host_config(engine: &Engine, details: &ContainerDetails) -> Value {
    let spec = &details.spec;
    let limits = &spec.cgroup.limits;
    let (restart, retries) = match spec.restart {
        RestartPolicy::No => ("no", 0),
        RestartPolicy::Always => ("always", 0),
        RestartPolicy::UnlessStopped => ("unless-stopped", 0),
        RestartPolicy::OnFailure { max } => ("on-failure", max),
    };
    let of_read_only = |mount: &Mount| {
        let added =
            ["/run", "/tmp", "/var/tmp"].iter().any(|target| mount.target.as_bytes() == target.as_bytes());
        spec.read_only && spec.read_only_tmpfs && added
    };
    let tmpfs: Map<String, Value> =
        spec.mounts.iter().filter(|mount| !of_read_only(mount)).filter_map(tmpfs).collect();
    let hosts: Vec<_> =
        spec.network.add_hosts.iter().map(|(address, name)| format!("{name}:{address}")).collect();
    let log_path = spec.log.path.clone().unwrap_or_else(|| details.dir.join("log"));
    let added: Vec<_> = spec.as_typed.cap_add.iter().map(|name| caps::whole_name(name)).collect();
    let dropped: Vec<_> = spec.as_typed.cap_drop.iter().map(|name| caps::whole_name(name)).collect();
    object! {
        "Binds": spec.mounts.iter().filter_map(bind).collect::<Vec<_>>(),
        "CgroupManager": limits::manager(details),
        "CgroupMode": namespace_mode(&spec.namespaces.cgroup, "private"),
        "ContainerIDFile": path_text(spec.cid_file.as_deref()),
        "LogConfig": json!({
            "Type": spec.log.driver,
            "Config": Value::Null,
            "Path": log_path.display().to_string(),
            "Tag": spec.log.options.get("tag").map_or("", String::as_str),
            "Size": size::human(spec.log.max_size_bytes, 4),
        }),
        "NetworkMode": network_mode(spec),
        "PortBindings": port_bindings(spec, "0.0.0.0"),
        "RestartPolicy": json!({"Name": restart, "MaximumRetryCount": retries}),
        "AutoRemove": spec.auto_remove,
        "AutoRemoveImage": false,
        "Annotations": annotations(spec),
        "VolumeDriver": "",
        "VolumesFrom": if spec.as_typed.volumes_from.is_empty() { Value::Null } else { json!(spec.as_typed.volumes_from) },
        "CapAdd": added,
        "CapDrop": dropped,
        "Dns": spec.network.dns,
        "DnsOptions": spec.network.dns_options,
        "DnsSearch": spec.network.dns_search,
        "ExtraHosts": hosts,
        "HostsFile": "",
        "GroupAdd": spec.process.groups,
        "IpcMode": namespace_mode(&spec.namespaces.ipc, match spec.as_typed.ipc.as_str() {
            known @ ("private" | "none") => known,
            _ => "shareable",
        }),
        "Cgroup": "",
        "Cgroups": limits::mode(spec.cgroup.mode),
        "Links": links(engine, details),
        "OomScoreAdj": spec.process.oom_score_adj.unwrap_or(0),
        "PidMode": namespace_mode(&spec.namespaces.pid, "private"),
        "Privileged": spec.security.privileged,
        "PublishAllPorts": spec.as_typed.publish_all,
        "ReadonlyRootfs": spec.read_only,
        "SecurityOpt": spec.security.options,
        "Tmpfs": tmpfs,
        "UTSMode": namespace_mode(&spec.namespaces.uts, "private"),
        "UsernsMode": match &spec.userns {
            UserNamespace::Default => String::new(),
            UserNamespace::Host => "host".to_owned(),
            // That of a container of which it shares something else is not its own wish.
            UserNamespace::Container { .. } if spec.as_typed.userns.is_empty() => String::new(),
            UserNamespace::Container { id, .. } => format!("container:{id}"),
            UserNamespace::Path(path) => format!("ns:{}", path.display()),
            _ => "private".to_owned(),
        },
        "IDMappings": details.id_maps.as_ref().map(|(uids, gids)| {
            json!({"UidMap": extents(uids), "GidMap": extents(gids)})
        }),
        "ShmSize": spec.shm_size_bytes,
        "Runtime": "oci",
        "ConsoleSize": spec.process.console_size.unwrap_or_default(),
        "Isolation": "",
        "CpuShares": limits.cpu_shares.unwrap_or(0),
        "Memory": limits::bytes(limits.memory),
        "NanoCpus": limits::nano_cpus(limits),
        "CgroupParent": spec.cgroup.parent,
        "BlkioWeight": limits.blkio_weight.unwrap_or(0),
        "BlkioWeightDevice": limits::devices(&limits.blkio_weight_device, "Weight"),
        "BlkioDeviceReadBps": limits::devices(&limits.device_read_bps, "Rate"),
        "BlkioDeviceWriteBps": limits::devices(&limits.device_write_bps, "Rate"),
        "BlkioDeviceReadIOps": limits::devices(&limits.device_read_iops, "Rate"),
        "BlkioDeviceWriteIOps": limits::devices(&limits.device_write_iops, "Rate"),
        "CpuPeriod": limits.cpu_period_us.unwrap_or(0),
        "CpuQuota": limits.cpu_quota_us.unwrap_or(0),
        "CpuRealtimePeriod": 0,
        "CpuRealtimeRuntime": 0,
        "CpusetCpus": limits.cpuset_cpus.as_deref().unwrap_or_default(),
        "CpusetMems": limits.cpuset_mems.as_deref().unwrap_or_default(),
        "Devices": spec.devices.iter().map(|device| json!({
            "PathOnHost": device.source.display().to_string(),
            "PathInContainer": device.target.to_string_lossy(),
            "CgroupPermissions": device.access,
        })).collect::<Vec<_>>(),
        "DiskQuota": 0,
        "KernelMemory": 0,
        "MemoryReservation": limits::bytes(limits.memory_reservation),
        "MemorySwap": limits.memory_swap.unwrap_or(0),
        "MemorySwappiness": 0,
        "OomKillDisable": false,
        "Init": spec.init,
        "PidsLimit": limits::pids(&spec.cgroup),
        "Ulimits": spec.process.rlimits.iter().map(ulimit).collect::<Vec<_>>(),
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
        "CgroupConf": limits::unified(limits),
        "IntelRdtClosID": "",
    }
}

/// `/OTHER:/NAME/ALIAS`, as docker writes links; null if there are none.
fn links(engine: &Engine, details: &ContainerDetails) -> Value {
    let link = |(alias, id): &(String, ContainerId)| {
        let other = engine.container_name(id).unwrap_or_else(|_| id.to_string());
        Value::from(format!("/{other}:/{}/{alias}", details.name))
    };
    match &details.spec.network.links[..] {
        [] => Value::Null,
        links => links.iter().map(link).collect(),
    }
}

/// The name of the time zone, as `--tz` takes it.
fn timezone(spec: &ContainerSpec) -> String {
    let name = |file: &std::path::PathBuf| match file.strip_prefix("/usr/share/zoneinfo") {
        Ok(zone) => zone.display().to_string(),
        Err(_) => "local".to_owned(),
    };
    spec.etc.zone_file.as_ref().map_or_else(String::new, name)
}

fn secret(secret: &SecretUse) -> Value {
    json!({
        "Name": secret.name,
        "ID": secret.id,
        "UID": secret.uid,
        "GID": secret.gid,
        "Mode": secret.mode,
    })
}

/// `net_admin` → `CAP_NET_ADMIN`.
fn tmpfs(mount: &Mount) -> Option<(String, Value)> {
    let MountKind::Tmpfs { data, copy_up, .. } = &mount.kind else { return None };
    let mut options = vec![if mount.read_only { "ro" } else { "rw" }, "rprivate", "nosuid", "nodev"];
    options.extend(mount.options.iter().map(String::as_str).filter(|o| !matches!(*o, "nosuid" | "nodev")));
    options.extend(data.iter().map(String::as_str));
    if *copy_up {
        options.push("tmpcopyup");
    }
    Some((mount.target.to_string_lossy().into_owned(), options.join(",").into()))
}

fn extents(map: &IdMap) -> Vec<String> {
    map.0.iter().map(|extent| format!("{}:{}:{}", extent.inside, extent.outside, extent.len)).collect()
}

fn ulimit(limit: &Rlimit) -> Value {
    let number = |value: u64| if value == UNLIMITED { json!(-1) } else { json!(value) };
    json!({
        "Name": format!("RLIMIT_{}", limit.name.to_ascii_uppercase()),
        "Soft": number(limit.soft),
        "Hard": number(limit.hard),
    })
}
