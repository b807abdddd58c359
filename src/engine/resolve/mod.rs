//! From a request to a complete spec: pure, one function per group of flags.
//!
//! ```text
//! ContainerRequest ┐
//! image's defaults ├─▶ resolve ─▶ ContainerSpec
//! Facts            ┘   process · security · mounts · namespaces
//! ```

pub(crate) mod health;
pub(crate) mod limits;
mod log;
mod mounts;
mod namespaces;
mod network;
mod process;
mod security;

pub(crate) use crate::engine::resolve::log::{own_log_directory, rename_log};
pub(crate) use crate::engine::resolve::namespaces::{keeps_caller, userns};
pub(crate) use crate::engine::resolve::process::BUILTIN_LABEL;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::base::digest::Digest;
use crate::base::etc::{EtcFiles, HostsBase};
use crate::base::id::ContainerId;
use crate::base::manifest::ContainerDefaults;
use crate::base::network::PortMapping;
use crate::base::passwd::{Accounts, HostUser};
use crate::base::signal::Signal;
use crate::base::spec::{
    AsTyped, ContainerSpec, ImageOrigin, Mount, RestartPolicy, Root, SPEC_VERSION, Stop, UserNamespace,
};
use crate::engine::auto_update::NOT_THE_IMAGES;
use crate::engine::error::{Error, Result};
use crate::engine::request::{ContainerRequest, Systemd};

/// What decides beside the request, looked up beforehand.
pub(crate) struct Facts<'a> {
    pub(crate) id: ContainerId,
    pub(crate) now: Timestamp,
    /// The image, unless the request names a directory.
    pub(crate) image: Option<ImageFacts>,
    /// What `--userns` means; decided first, because the image's layers depend on it.
    pub(crate) userns: UserNamespace,
    /// The caller's working directory: relative sources start here.
    pub(crate) directory: PathBuf,
    /// The caller's home: `~` in sources.
    pub(crate) home: Option<PathBuf>,
    /// The caller is root of the host: only for root an idmapped mount can be.
    pub(crate) is_root: bool,
    /// The capabilities that the container can have at all.
    pub(crate) reachable_capabilities: u64,
    /// The caller as a line of passwd.
    pub(crate) caller: Option<HostUser>,
    /// Users of the host by name or number.
    pub(crate) find_host_user: &'a dyn Fn(&str) -> Result<HostUser>,
    /// The caller's hard limit of open files.
    pub(crate) nofile_hard: u64,
    /// The host's name.
    pub(crate) host_name: String,
    /// Finds a container by what a user typed.
    pub(crate) find_container: &'a dyn Fn(&str) -> Result<ContainerId>,
    /// The host's name in a container, if that is known.
    pub(crate) hostname_of: &'a dyn Fn(&ContainerId) -> Option<String>,
    /// Mounts of the containers of `--volumes-from`, in order.
    pub(crate) volumes_from: Vec<Mount>,
    /// The layers of an image that is to be mounted.
    pub(crate) find_image_layers: &'a dyn Fn(&str) -> Result<Vec<Digest>>,
    /// The network that a user typed.
    pub(crate) find_network: &'a dyn Fn(&str) -> Result<crate::net::network::Network>,
    /// A free port of the host for a mapping that takes any; that of one that names a port, if it is free.
    pub(crate) free_port: &'a dyn Fn(PortMapping) -> Result<u16>,
    /// Is there a regular file of the host?
    pub(crate) is_file: &'a dyn Fn(&Path) -> bool,
    /// Makes the name of an anonymous volume.
    pub(crate) new_volume_name: &'a dyn Fn() -> String,
}

/// What the image says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ImageFacts {
    pub(crate) origin: ImageOrigin,
    pub(crate) layers: Vec<Digest>,
    pub(crate) defaults: ContainerDefaults,
}

/// Decides everything about a new container.
///
/// # Errors
///
/// Invalid requests: flags that contradict each other or the image, values that mean nothing.
pub(crate) fn resolve(request: &ContainerRequest, facts: &Facts<'_>) -> Result<ContainerSpec> {
    let none = ContainerDefaults::default();
    let defaults = facts.image.as_ref().map_or(&none, |image| &image.defaults);
    let namespaces = namespaces::namespaces(request, facts)?;
    let exposed_ports = exposed_ports(request, defaults)?;
    let network = network::network(request, &exposed_ports, facts)?;
    let hostname = namespaces::hostname(request, facts, &namespaces, &network);
    let userns = facts.userns.clone();
    let systemd = is_systemd(request, defaults);
    let process = process::process(request, defaults, facts, &userns, &hostname, systemd)?;
    let health = health::health(request, defaults, facts)?;
    let (entrypoint, command) = process::words(request, defaults);
    let root = match (&request.rootfs, &facts.image) {
        (Some((path, false)), _) => Root::Directory(facts.directory.join(path)),
        (Some((path, true)), _) => Root::DirectoryOverlay(facts.directory.join(path)),
        (None, Some(image)) => Root::Layers(image.layers.clone()),
        (None, None) if request.is_pause() => Root::Layers(Vec::new()),
        (None, None) => return Err(Error::invalid("neither an image nor a root directory is given")),
    };
    Ok(ContainerSpec {
        version: SPEC_VERSION,
        id: facts.id.clone(),
        created: facts.now,
        image: facts.image.as_ref().map(|image| image.origin.clone()),
        root,
        read_only: request.read_only,
        read_only_tmpfs: request.read_only_tmpfs,
        writable_dev: request.writable_dev,
        security: security::security(request, defaults, facts.reachable_capabilities)?,
        sysctls: security::sysctls(request, &namespaces, &network)?,
        mounts: mounts::mounts(request, defaults, facts, systemd)?,
        devices: request.devices.clone(),
        device_rules: request.device_rules.clone(),
        process,
        userns,
        namespaces,
        network,
        cgroup: limits::cgroup(request)?,
        hostname,
        domainname: request.domainname.clone().unwrap_or_default(),
        shm_size_bytes: shm_size_bytes(request)?,
        log: log::log(request, facts)?,
        stop: stop(request, defaults, systemd)?,
        sdnotify: health::sdnotify(request, &health)?,
        health_none: health::is_none(request, defaults),
        health,
        restart: request.restart.unwrap_or(RestartPolicy::No),
        auto_remove: request.auto_remove,
        init: request.init,
        tied: false,
        labels: labels(request, defaults),
        annotations: request.annotations.clone(),
        hooks: request.hooks.clone(),
        exposed_ports,
        pid_file: request.pid_file.as_ref().map(|path| facts.directory.join(path)),
        cid_file: request.cid_file.as_ref().map(|path| facts.directory.join(path)),
        keeps_cid_file: false,
        monitor_pid_file: request.monitor_pid_file.as_ref().map(|path| facts.directory.join(path)),
        requires: request
            .requires
            .iter()
            .map(|typed| (facts.find_container)(typed))
            .collect::<Result<_>>()?,
        pod: request.membership.clone(),
        init_program: request.init_program.as_ref().map(|path| facts.directory.join(path)),
        accounts: accounts(request, facts)?,
        etc: etc_files(request, facts)?,
        systemd,
        // Their values are put beside the spec when it is written down.
        secrets: Vec::new(),
        create_command: request.create_command.clone(),
        as_typed: AsTyped {
            entrypoint,
            command,
            binds: request.binds.clone(),
            log_options: request.log_options.clone(),
            usual_path: !process::asks_for_path(request, defaults),
            sysctls: request.sysctls.keys().map(|name| security::sysctl_name(name)).collect(),
            cap_add: request.cap_add.clone(),
            cap_drop: request.cap_drop.clone(),
            userns: request.userns.clone(),
            network: request.networks.join(","),
            pid: request.pid.clone(),
            ipc: request.ipc.clone(),
            uts: request.uts.clone(),
            cgroupns: request.cgroupns.clone(),
            attach: request.attach.clone(),
            volumes_from: request.volumes_from.clone(),
            publish: request.publish.clone(),
            publish_all: request.publish_all,
            image: match request.typed_image.as_str() {
                "" => request.image.clone(),
                typed => typed.to_owned(),
            },
            tmpfs: request.tmpfs.clone(),
            mounted_tmpfs: mounts::mounted_tmpfs(request),
            stop_timeout: request.stop_timeout_s.is_some() && !request.stop_timeout_configured,
        },
    })
}

/// podman's default: 65,536,000 bytes, `64000k` in the mount table.
const SHM_SIZE: u64 = 64_000 << 10;

fn shm_size_bytes(request: &ContainerRequest) -> Result<u64> {
    match request.shm_size_bytes {
        Some(_) if !request.has_own_shm() => {
            let message = format!("cannot set shmsize when running in the {} IPC Namespace", request.ipc);
            Err(Error::invalid(message).hint("leave out --shm-size or --ipc"))
        }
        wanted => Ok(wanted.unwrap_or(SHM_SIZE)),
    }
}

/// The image's labels and the request's, which win.
fn labels(request: &ContainerRequest, defaults: &ContainerDefaults) -> BTreeMap<String, String> {
    let mut labels = defaults.labels.clone();
    labels.retain(|key, _| !NOT_THE_IMAGES.contains(&key.as_str()));
    labels.extend(request.labels.clone());
    labels
}

/// `port[/protocol]` and ranges of it, each port by itself.
fn exposed_ports(request: &ContainerRequest, defaults: &ContainerDefaults) -> Result<Vec<String>> {
    let mut ports = std::collections::BTreeSet::new();
    for text in defaults.exposed_ports.iter().chain(&request.expose) {
        let bad = || Error::invalid(format!("invalid range format for --expose: {text}"));
        let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        if !["tcp", "udp", "sctp"].contains(&protocol) {
            return Err(bad());
        }
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u16, u16) = (first.parse().map_err(|_| bad())?, last.parse().map_err(|_| bad())?);
        if first == 0 || last < first {
            return Err(bad());
        }
        ports.extend((first..=last).map(|port| format!("{port}/{protocol}")));
    }
    Ok(ports.into_iter().collect())
}

/// SIGRTMIN+3: systemd halts.
const HALT_SYSTEMD: i32 = 37;

/// Is process 1 systemd? podman's test: its name, or that of a system's init.
fn is_systemd(request: &ContainerRequest, defaults: &ContainerDefaults) -> bool {
    let (mut words, command) = process::words(request, defaults);
    words.extend(command);
    let first = words.first().map_or(&b""[..], |word| word.as_bytes());
    match request.systemd {
        Systemd::Always => true,
        Systemd::Never => false,
        Systemd::Auto => {
            matches!(first, b"/sbin/init" | b"/usr/sbin/init" | b"/usr/local/sbin/init")
                || first.rsplit(|&b| b == b'/').next() == Some(b"systemd")
        }
    }
}

/// What the container's passwd and group get added.
fn accounts(request: &ContainerRequest, facts: &Facts<'_>) -> Result<Accounts> {
    let wanted = &request.accounts;
    let kept = facts.userns.kept_ids(request.membership.is_some());
    let caller = kept.and_then(|(uid, gid)| Some(HostUser { uid, gid, ..facts.caller.clone()? }));
    Ok(Accounts {
        untouched: wanted.untouched,
        passwd_entry: wanted.passwd_entry.clone(),
        group_entry: wanted.group_entry.clone(),
        caller,
        host_users: wanted
            .host_users
            .iter()
            .map(|typed| (facts.find_host_user)(typed))
            .collect::<Result<_>>()?,
    })
}

/// How the generated files come about.
fn etc_files(request: &ContainerRequest, facts: &Facts<'_>) -> Result<EtcFiles> {
    if request.no_hosts && !request.add_hosts.is_empty() {
        return Err(Error::invalid("--no-hosts and --add-host cannot be set together"));
    }
    if request.no_hosts && request.hosts_base != HostsBase::Usual {
        return Err(Error::invalid("--no-hosts and --hosts-file cannot be set together"));
    }
    let zone_file = match request.timezone.as_deref() {
        None => None,
        Some("local") => Some(PathBuf::from("/etc/localtime")),
        Some(zone) => {
            let is_clean =
                !zone.starts_with('/') && zone.split('/').all(|part| part != ".." && !part.is_empty());
            let file = Path::new("/usr/share/zoneinfo").join(zone);
            let known = is_clean && (facts.is_file)(&file);
            Some(known.then_some(file).ok_or_else(|| {
                Error::invalid(format!(
                    "running container create option: finding timezone: unknown time zone {zone}"
                ))
            })?)
        }
    };
    if let Some(bad) = request.chroot_dirs.iter().find(|dir| !dir.starts_with('/')) {
        return Err(Error::invalid(format!("--chrootdirs {bad:?}: the path must be absolute")));
    }
    Ok(EtcFiles {
        hosts_base: match &request.hosts_base {
            HostsBase::File(path) => HostsBase::File(facts.directory.join(path)),
            other => other.clone(),
        },
        no_hostname: request.no_hostname,
        zone_file,
        chroot_dirs: request.chroot_dirs.iter().map(|dir| dir.as_str().into()).collect(),
    })
}

fn stop(request: &ContainerRequest, defaults: &ContainerDefaults, systemd: bool) -> Result<Stop> {
    let signal = match request.stop_signal {
        Some(signal) => signal,
        None if defaults.stop_signal.is_empty() && systemd => HALT_SYSTEMD,
        None if defaults.stop_signal.is_empty() => Signal::TERM.number(),
        None => defaults
            .stop_signal
            .parse::<Signal>()
            .map_err(|err| Error::invalid(format!("the image's stop signal: {err}")))?
            .number(),
    };
    Ok(Stop {
        signal,
        timeout_s: request.stop_timeout_s.unwrap_or(10),
        run_limit_s: request.run_limit_s.unwrap_or(0),
    })
}
