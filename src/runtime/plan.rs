//! From a container's spec to the list of init's steps: pure, and therefore tested as a table.
//!
//! The order is the order of dependencies: the root before what is mounted below it, the mount
//! points before the root becomes read-only, /proc before what is written through it, everything
//! before the pivot that lets go of the host.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::base::bytes::Bytes;
use crate::base::digest::Digest;
use crate::base::spec::{ContainerSpec, Mount, MountKind, Namespace, NetworkMode, Root, UserNamespace};
use crate::runtime::step::{MountPlan, MountSource, OverlayPlan, RootPlan, RunPlan, Step};
use crate::sys::mount::attr;
use crate::sys::seccomp::BpfInsn;
use crate::sys::tty::WindowSize;

/// The host's side of a container.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// `containers/<id>`: has `upper`, `work` and the generated files.
    pub(crate) container: PathBuf,
    /// `layers`.
    pub(crate) layers: PathBuf,
    /// `volumes`.
    pub(crate) volumes: PathBuf,
}

/// What only the running monitor knows.
#[derive(Clone, Debug)]
pub(crate) struct Situation {
    /// Directories that init opens, under these numbers, before it becomes root.
    pub(crate) reach: Vec<(PathBuf, i32)>,
    /// Group 5, to which terminals belong by custom, exists inside.
    pub(crate) group_tty_mapped: bool,
    /// The compiled system call filter.
    pub(crate) seccomp: Option<Vec<BpfInsn>>,
    /// The /dev/shm of the container whose IPC namespace this one shares: the number of a descriptor.
    pub(crate) shared_shm: Option<i32>,
    /// The groups of the container, from the first to the last, as `ping_group_range` wants them.
    pub(crate) groups: Option<(u32, u32)>,
    /// Volumes that no container has used yet.
    pub(crate) new_volumes: Vec<String>,
    /// The size of the terminal of the one who starts it.
    pub(crate) window: Option<WindowSize>,
}

/// Files that the monitor generates in the container's directory, and where they appear inside.
pub(crate) const GENERATED_FILES: [(&str, &str); 4] = [
    ("resolv.conf", "/etc/resolv.conf"),
    ("hosts", "/etc/hosts"),
    ("hostname", "/etc/hostname"),
    ("containerenv", "/run/.containerenv"),
];

/// The device nodes every container has.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// The symbolic links in every /dev.
const DEVICE_LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// The steps that start the container `spec` describes.
pub(crate) fn plan(spec: &ContainerSpec, places: &Places, situation: Situation) -> Vec<Step> {
    let mut steps = Vec::new();
    if spec.namespaces.cgroup == Namespace::Private {
        steps.push(Step::CgroupNamespace);
    }
    steps.extend([Step::BecomeRoot { reach: situation.reach.clone() }, Step::SessionKeyring]);
    if has_own_network(spec) {
        steps.push(Step::Loopback);
    }
    if spec.namespaces.uts == Namespace::Private {
        steps.push(Step::Hostname(spec.hostname.clone()));
        if !spec.domainname.is_empty() {
            steps.push(Step::Domainname(spec.domainname.clone()));
        }
    }
    steps.push(Step::Root(root(spec, places)));
    steps.extend(kernel_file_systems(spec));
    steps.extend(devices(spec, &situation));
    steps.extend(generated_files(spec, places).map(Step::Mount));
    let user_mounts = spec.mounts.iter().map(|mount| user_mount(mount, places, &situation.new_volumes));
    steps.extend(user_mounts.map(Step::Mount));
    steps.extend(
        spec.devices
            .iter()
            .map(|device| Step::Device { source: device.source.clone(), target: device.target.clone() }),
    );
    if spec.process.terminal {
        steps.push(Step::Terminal(situation.window));
    }
    let sysctls = sysctls(spec, &situation);
    if !sysctls.is_empty() {
        steps.push(Step::Sysctls(sysctls));
    }
    steps.push(Step::ReadOnly(spec.security.read_only_paths.clone()));
    steps.push(Step::Mask(spec.security.masked_paths.clone()));
    if spec.read_only {
        steps.push(Step::RootReadOnly);
    }
    if has_read_only_dev(spec) {
        steps.push(Step::DevReadOnly);
    }
    steps.push(Step::Pivot);
    steps.push(Step::Run(Box::new(RunPlan {
        process: spec.process.clone(),
        security: spec.security.clone(),
        seccomp: situation.seccomp,
        stay_as_init: spec.init,
        tied: spec.tied,
    })));
    steps
}

/// `--read-only --read-only-tmpfs=false`: nothing at all can be written to, as with podman.
fn has_read_only_dev(spec: &ContainerSpec) -> bool {
    spec.read_only && !spec.read_only_tmpfs
}

/// The kernel parameters of the spec; and every group may ping, where the network is the container's own.
fn sysctls(spec: &ContainerSpec, situation: &Situation) -> BTreeMap<String, String> {
    const PING: &str = "net.ipv4.ping_group_range";
    let mut sysctls = spec.sysctls.clone();
    if let Some((first, last)) = situation.groups
        && has_own_network(spec)
        && spec.namespaces.pid == Namespace::Private
    {
        sysctls.entry(PING.to_owned()).or_insert_with(|| format!("{first} {last}"));
    }
    sysctls
}

/// Has init wait for the network: as late as it can, while netd works, but before parameters of links
/// that are not there yet are set. `links` are further variables of the command.
pub(crate) fn await_network(steps: &mut Vec<Step>, spec: &ContainerSpec, links: Vec<Bytes>) {
    let defaults = crate::runtime::defaults::NETWORK_SYSCTLS;
    let is_default = |name: &str| defaults.iter().any(|(known, _)| *known == name);
    let sets_links = spec.sysctls.keys().any(|name| name.starts_with("net.") && !is_default(name));
    let run = steps.len().saturating_sub(1);
    if let Some(Step::Run(plan)) = steps.last_mut() {
        plan.process.env.extend(links);
    }
    steps.insert(if sets_links { 0 } else { run }, Step::AwaitNetwork);
}

/// Does the container have a network namespace made for it?
pub(crate) fn has_own_network(spec: &ContainerSpec) -> bool {
    !matches!(spec.network.mode, NetworkMode::Host | NetworkMode::Container(_) | NetworkMode::Path(_))
}

/// A container that shares a namespace of another shares its user namespace too: only there does
/// its root have any power over what it shares.
pub(crate) fn shares_user_namespace_of(spec: &ContainerSpec) -> Option<&crate::base::id::ContainerId> {
    if spec.userns != UserNamespace::Default {
        return None;
    }
    if let NetworkMode::Container(id) = &spec.network.mode {
        return Some(id);
    }
    let namespaces = &spec.namespaces;
    [&namespaces.pid, &namespaces.ipc, &namespaces.uts].into_iter().find_map(|ns| match ns {
        Namespace::Container(id) => Some(id),
        _ => None,
    })
}

fn layer_paths(layers: &[Digest], places: &Places) -> Vec<PathBuf> {
    let path = |chain: &Digest| places.layers.join(chain.hex()).join("fs");
    layers.iter().rev().map(path).collect()
}

/// The root file system.
pub(super) fn root(spec: &ContainerSpec, places: &Places) -> RootPlan {
    let lowers = match &spec.root {
        Root::Directory(path) => return RootPlan::Directory(path.clone()),
        Root::DirectoryOverlay(path) => vec![path.clone()],
        Root::Layers(layers) => layer_paths(layers, places),
    };
    RootPlan::Overlay(OverlayPlan {
        over: places.container.join("work"),
        lowers,
        upper: Some((places.container.join("upper"), places.container.join("work"))),
        volatile: spec.auto_remove,
    })
}

/// A mount that ketch itself decides on.
fn standard(target: &str, source: MountSource, attributes: u64) -> MountPlan {
    MountPlan {
        target: target.into(),
        source,
        attributes,
        clear: 0,
        propagation: 0,
        recursive: false,
        no_symlinks: true,
        optional: false,
        copy_up: false,
        chown: false,
        adopt: false,
    }
}

fn file_system(kind: &'static str, options: &[(&str, &str)]) -> MountSource {
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    MountSource::FileSystem { kind, options: options.iter().map(own).collect() }
}

fn host(path: &str) -> MountSource {
    MountSource::Host { path: path.into(), recursive: true }
}

const SAFE: u64 = attr::NOSUID | attr::NODEV | attr::NOEXEC;

/// /proc, /sys and the cgroup file system. Where a namespace is the host's, so is the file system
/// that shows it: the kernel does not let us mount one for namespaces that are not ours.
fn kernel_file_systems(spec: &ContainerSpec) -> Vec<Step> {
    let read_only = if spec.security.privileged { 0 } else { attr::RDONLY };
    let proc = match spec.namespaces.pid {
        Namespace::Host => MountPlan { recursive: true, ..standard("/proc", host("/proc"), SAFE) },
        _ => standard("/proc", file_system("proc", &[]), SAFE),
    };
    let own_network = has_own_network(spec) || shares_user_namespace_of(spec).is_some();
    let sys = if own_network {
        standard("/sys", file_system("sysfs", &[]), SAFE | read_only)
    } else {
        MountPlan { recursive: true, ..standard("/sys", host("/sys"), SAFE | read_only) }
    };
    let mut mounts = vec![proc, sys];
    if own_network && spec.namespaces.cgroup == Namespace::Private {
        let cgroup = standard("/sys/fs/cgroup", file_system("cgroup2", &[]), SAFE | read_only);
        mounts.push(MountPlan { optional: true, ..cgroup });
    }
    mounts.into_iter().map(Step::Mount).collect()
}

fn devices(spec: &ContainerSpec, situation: &Situation) -> Vec<Step> {
    let tmpfs = file_system("tmpfs", &[("mode", "755"), ("size", "65536k")]);
    let mut pts = vec![("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620")];
    if situation.group_tty_mapped {
        pts.push(("gid", "5"));
    }
    let mut steps = vec![
        Step::Mount(standard("/dev", tmpfs, attr::NOSUID | attr::NOEXEC)),
        Step::Mount(standard("/dev/pts", file_system("devpts", &pts), attr::NOSUID | attr::NOEXEC)),
    ];
    let private_ipc = spec.namespaces.ipc != Namespace::Host;
    let size = spec.shm_size_bytes.to_string();
    let (shm, mqueue) = if private_ipc {
        let options = [("mode", "1777"), ("size", size.as_str())];
        (file_system("tmpfs", &options), file_system("mqueue", &[]))
    } else {
        (host("/dev/shm"), host("/dev/mqueue"))
    };
    let shm = situation.shared_shm.map_or(shm, MountSource::Detached);
    let shm_attributes = SAFE | if has_read_only_dev(spec) { attr::RDONLY } else { 0 };
    steps.push(Step::Mount(standard("/dev/shm", shm, shm_attributes)));
    steps.push(Step::Mount(MountPlan { optional: !private_ipc, ..standard("/dev/mqueue", mqueue, SAFE) }));
    steps.extend(DEVICES.iter().map(|name| Step::Device {
        source: Path::new("/dev").join(name),
        target: format!("/dev/{name}").into(),
    }));
    steps.extend(DEVICE_LINKS.iter().map(|&(name, target)| Step::DevLink { name, target }));
    if spec.security.privileged {
        steps.push(Step::HostDevices);
    }
    steps
}

/// Generated files, unless the user mounts something of their own there.
fn generated_files<'a>(spec: &'a ContainerSpec, places: &'a Places) -> impl Iterator<Item = MountPlan> + 'a {
    GENERATED_FILES
        .iter()
        .filter(|(file, _)| *file != "hosts" || !spec.network.no_hosts)
        .filter(|(_, target)| !spec.mounts.iter().any(|m| m.target.as_bytes() == target.as_bytes()))
        .map(|(file, target)| {
            let source = MountSource::Host { path: places.container.join(file), recursive: false };
            let attributes = attr::NOSUID | attr::NODEV | attr::NOEXEC;
            MountPlan { no_symlinks: false, ..standard(target, source, attributes) }
        })
}

/// A mount that the user or the image asks for.
fn user_mount(mount: &Mount, places: &Places, new_volumes: &[String]) -> MountPlan {
    let (source, defaults, chown, copy_up) = match &mount.kind {
        MountKind::Bind { source, recursive, chown } => {
            let source = MountSource::Host { path: source.clone(), recursive: *recursive };
            (source, attr::NOSUID | attr::NODEV, *chown, false)
        }
        MountKind::Volume { name, copy_up, subpath, chown, .. } => {
            let base = places.volumes.join(name).join("data");
            let source = match subpath {
                Some(path) => MountSource::Below { base, path: path.clone() },
                None => MountSource::Host { path: base, recursive: false },
            };
            (source, attr::NOSUID | attr::NODEV, *chown, *copy_up)
        }
        MountKind::Tmpfs { data, copy_up } => {
            let options = data.iter().map(|option| {
                let (key, value) = option.split_once('=').unwrap_or((option, ""));
                (key.to_owned(), value.to_owned())
            });
            let source = MountSource::FileSystem { kind: "tmpfs", options: options.collect() };
            (source, attr::NOSUID | attr::NODEV, false, *copy_up)
        }
        MountKind::Devpts => {
            let options = [("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620")];
            (file_system("devpts", &options), attr::NOSUID | attr::NOEXEC, false, false)
        }
        MountKind::Mqueue => (file_system("mqueue", &[]), SAFE, false, false),
        MountKind::Image { layers } => {
            let lowers = layer_paths(layers, places);
            (MountSource::Image { lowers }, attr::NOSUID | attr::NODEV | attr::RDONLY, false, false)
        }
        MountKind::Tree { lowers, path, scratch } => {
            let lowers = lowers.iter().map(|lower| lower.as_path().to_owned()).collect();
            let (path, scratch) = (path.clone(), scratch.clone());
            (MountSource::Tree { lowers, path, scratch }, attr::NOSUID | attr::NODEV, false, false)
        }
    };
    let (set, clear) = flags(&mount.options);
    let read_only = if mount.read_only { attr::RDONLY } else { 0 };
    MountPlan {
        target: mount.target.clone(),
        recursive: matches!(mount.kind, MountKind::Bind { recursive: true, .. }),
        source,
        attributes: (defaults & !clear) | set | read_only,
        clear: clear & attr::ATIME_MASK,
        propagation: mount.propagation.as_deref().map_or(0, propagation),
        no_symlinks: false,
        optional: false,
        copy_up,
        chown,
        adopt: matches!(&mount.kind, MountKind::Volume { name, subpath: None, .. } if new_volumes.contains(name)),
    }
}

/// The attributes that mount options set, and those that they clear.
fn flags(options: &[String]) -> (u64, u64) {
    options.iter().fold((0, 0), |(set, clear), option| match option.as_str() {
        "nosuid" => (set | attr::NOSUID, clear),
        "suid" => (set, clear | attr::NOSUID),
        "nodev" => (set | attr::NODEV, clear),
        "dev" => (set, clear | attr::NODEV),
        "noexec" => (set | attr::NOEXEC, clear),
        "exec" => (set, clear | attr::NOEXEC),
        "noatime" => (set | attr::NOATIME, clear | attr::ATIME_MASK),
        "strictatime" => (set | attr::STRICTATIME, clear | attr::ATIME_MASK),
        "nodiratime" => (set | attr::NODIRATIME, clear),
        _ => (set, clear),
    })
}

/// The `MS_*` flag of a propagation by name; the `r` of a recursive one is in the mount's `recursive`.
fn propagation(name: &str) -> u64 {
    match name.trim_start_matches('r') {
        "slave" => libc::MS_SLAVE,
        "shared" => libc::MS_SHARED,
        "unbindable" => libc::MS_UNBINDABLE,
        _ => libc::MS_PRIVATE,
    }
}
