//! From a container's spec to the list of init's steps: pure, and therefore tested as a table.
//!
//! The order is the order of dependencies: the root before what is mounted below it, the mount
//! points before the root becomes read-only, /proc before what is written through it, everything
//! before the pivot that lets go of the host.

mod user_mounts;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::base::bytes::Bytes;
use crate::base::digest::Digest;
use crate::base::spec::{
    ContainerSpec, HookStage, Mount, MountKind, Namespace, NetworkMode, Process, Root, UserNamespace,
};
use crate::runtime::hooks::HookPlan;
use crate::runtime::step::{
    AccountsPlan, MountPlan, MountSource, OverlayPlan, RootPlan, RunPlan, Stays, Step,
};
use crate::sys::mount::attr;
use crate::sys::seccomp::BpfInsn;
use crate::sys::tty::WindowSize;

pub(crate) use user_mounts::{OfTheHost, of_the_host};
use user_mounts::{shared_among_themselves, user_mount};

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
    /// `KEY=value` of the secrets that are variables.
    pub(crate) secret_env: Vec<Bytes>,
    /// The compiled system call filter.
    pub(crate) seccomp: Option<Vec<BpfInsn>>,
    /// The /dev/shm of the container whose IPC namespace this one shares: the number of a descriptor.
    pub(crate) shared_shm: Option<i32>,
    /// /proc and /dev/mqueue of namespaces that are [foreign](is_foreign): numbers of descriptors.
    pub(crate) foreign_proc: Option<i32>,
    pub(crate) foreign_mqueue: Option<i32>,
    /// Mounts that are made already, by their number in the spec: the numbers of descriptors.
    pub(crate) prepared: BTreeMap<usize, i32>,
    /// The groups of the container, from the first to the last, as `ping_group_range` wants them.
    pub(crate) groups: Option<(u32, u32)>,
    /// The container is on netd's networks, and the host's congestion control is one that sends by a timer.
    pub(crate) paces: bool,
    /// It may open device nodes that it has made itself, or that its image has: the kernel asks for each device by number, or
    /// nobody does.
    pub(crate) own_nodes: bool,
    /// The container's directory, as others know it.
    pub(crate) directory: PathBuf,
    /// What its volumes consist of, by name.
    pub(crate) volumes: BTreeMap<String, VolumePlan>,
    /// Descriptors of the monitor that the command gets, and under which numbers.
    pub(crate) kept: Vec<(i32, i32)>,
    /// The size of the terminal of the one who starts it.
    pub(crate) window: Option<WindowSize>,
}

/// What a volume consists of at this start.
#[derive(Clone, Debug)]
pub(crate) struct VolumePlan {
    /// `None` for its directory in the store.
    pub(crate) source: Option<MountSource>,
    /// Mount flags that its own options ask for.
    pub(crate) flags: Vec<String>,
    /// No container has used it yet.
    pub(crate) is_new: bool,
    /// It is not filled from the image.
    pub(crate) no_copy: bool,
    /// Whom it belongs to, if its options say so and it is new.
    pub(crate) owner: Option<(Option<u32>, Option<u32>)>,
}

/// Files that the monitor generates in the container's directory, and where they appear inside.
pub(crate) const GENERATED_FILES: [(&str, &str); 4] = [
    ("resolv.conf", "/etc/resolv.conf"),
    ("hosts", "/etc/hosts"),
    ("hostname", "/etc/hostname"),
    ("containerenv", "/run/.containerenv"),
];

/// The file with the rules of the container's time zone, and where it appears inside.
pub(crate) const ZONE_FILE: (&str, &str) = ("localtime", "/etc/localtime");

/// Where a program that runs the command as process 1 (`--init-path`) appears inside.
const INIT_PROGRAM: &str = "/run/podman-init";

/// The file of the container's directory that holds its secret number `index`.
pub(crate) fn secret_file(index: usize) -> String {
    format!("secret-{index}")
}

/// The directory of the container that holds what is changed above its mount number `index`.
pub(crate) fn overlay_directory(index: usize) -> String {
    format!("overlay-{index}")
}

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
    steps.push(Step::Root(root(spec, places, situation.own_nodes)));
    steps.extend(accounts(spec).map(|plan| Step::Accounts(Box::new(plan))));
    let user_mount = |index: usize| user_mount(&spec.mounts[index], index, places, &situation.volumes);
    let prepared = |index: usize, mount: MountPlan| {
        let made = situation.prepared.get(&index).map(|number| MountSource::Detached(*number));
        MountPlan { source: made.unwrap_or(mount.source), ..mount }
    };
    let in_place_of = |target: &str| {
        let found = spec.mounts.iter().position(|mount| mount.target.as_bytes() == target.as_bytes());
        found.map(|index| (index, prepared(index, user_mount(index))))
    };
    let (sys, dev) = (in_place_of("/sys"), in_place_of("/dev"));
    let taken = [&sys, &dev].map(|place| place.as_ref().map(|(index, _)| *index));
    steps.extend(kernel_file_systems(spec, &situation, sys.map(|(_, mount)| mount)));
    steps.extend(devices(spec, &situation, dev.map(|(_, mount)| mount)));
    // What lies below a tmpfs of the user's would be covered by it, so it comes after.
    let (below, beside): (Vec<_>, Vec<_>) =
        generated_files(spec, places).into_iter().partition(|plan| is_below_tmpfs(&plan.target, spec));
    steps.extend(beside.into_iter().map(Step::Mount));
    // Before the user's mounts, one of which may be /etc.
    steps.push(Step::MountTable);
    let others: Vec<usize> = (0..spec.mounts.len()).filter(|index| !taken.contains(&Some(*index))).collect();
    let mounts = others.iter().map(|&index| (&spec.mounts[index], user_mount(index)));
    let mounts = others.iter().zip(shared_among_themselves(mounts));
    steps.extend(mounts.map(|(&index, mount)| Step::Mount(prepared(index, mount))));
    steps.extend(below.into_iter().map(Step::Mount));
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
    if has_read_only_dev(spec) && taken[1].is_none() {
        steps.push(Step::DevReadOnly);
    }
    if awaits_hooks(spec) {
        steps.push(Step::AwaitHooks);
    }
    let hooks = |stage| HookPlan::new(spec, stage, 0, &situation.directory);
    let inside = hooks(HookStage::CreateContainer);
    if !inside.hooks.is_empty() {
        steps.push(Step::Hooks(inside));
    }
    let hooks = hooks(HookStage::StartContainer);
    steps.push(Step::Pivot);
    steps.push(Step::Run(Box::new(RunPlan {
        first_of: Some(spec.id.clone()),
        process: process(spec, situation.secret_env),
        security: spec.security.clone(),
        seccomp: situation.seccomp,
        stays: match spec.init && spec.init_program.is_none() {
            _ if spec.is_pause() => Stays::Alone,
            true => Stays::WithCommand,
            false => Stays::No,
        },
        tied: spec.tied,
        hooks,
        kept: situation.kept,
    })));
    steps
}

/// `--read-only --read-only-tmpfs=false`: nothing at all can be written to, as with podman.
fn has_read_only_dev(spec: &ContainerSpec) -> bool {
    spec.read_only && !spec.read_only_tmpfs && !spec.writable_dev
}

/// Whether the monitor has hooks to run before the container may go on.
pub(crate) fn awaits_hooks(spec: &ContainerSpec) -> bool {
    spec.hooks.iter().any(|hook| matches!(hook.stage, HookStage::Prestart | HookStage::CreateRuntime))
}

/// The kernel parameters of the spec; and every group may ping, where the network is the container's own, whose
/// packets do not wait for a timer.
fn sysctls(spec: &ContainerSpec, situation: &Situation) -> BTreeMap<String, String> {
    const PING: &str = "net.ipv4.ping_group_range";
    const CONGESTION: &str = "net.ipv4.tcp_congestion_control";
    let mut sysctls = spec.sysctls.clone();
    if situation.paces && spec.namespaces.pid == Namespace::Private {
        // netd ends its connections next door, where nothing is lost; outside the host's own choice holds.
        sysctls.entry(CONGESTION.to_owned()).or_insert_with(|| "reno".to_owned());
    }
    if let Some((first, last)) = situation.groups
        && has_own_network(spec)
        && spec.namespaces.pid == Namespace::Private
    {
        sysctls.entry(PING.to_owned()).or_insert_with(|| format!("{first} {last}"));
    }
    sysctls
}

/// Has init wait for the network: as late as it can, while netd works, but before parameters of links
/// that are not there yet are set, and before hooks. `links` are further variables of the command.
pub(crate) fn await_network(steps: &mut Vec<Step>, spec: &ContainerSpec, links: Vec<Bytes>) {
    let defaults = crate::runtime::defaults::NETWORK_SYSCTLS;
    let is_default = |name: &str| defaults.iter().any(|(known, _)| *known == name);
    let sets_links = spec.sysctls.keys().any(|name| name.starts_with("net.") && !is_default(name));
    let hooks = steps.iter().position(|step| matches!(step, Step::AwaitHooks));
    let late = hooks.unwrap_or(steps.len().saturating_sub(1));
    if let Some(Step::Run(plan)) = steps.last_mut() {
        plan.process.env.extend(links);
    }
    steps.insert(if sets_links { 0 } else { late }, Step::AwaitNetwork);
}

/// The first process: below a program of the user's if there is one, and with the secrets that are variables.
fn process(spec: &ContainerSpec, secret_env: Vec<Bytes>) -> Process {
    let mut process = spec.process.clone();
    if spec.init_program.is_some() {
        process.args.splice(0..0, [INIT_PROGRAM.into(), "--".into()]);
    }
    process.env.extend(secret_env);
    if let Some((_, gid)) = spec.userns.kept_ids(spec.pod.is_some()) {
        // Whoever runs inside, what belongs to the caller's group outside is their group's inside, as with podman.
        process.groups.push(gid.to_string());
    }
    process
}

/// Users and groups that may have to be added: where the image's files are ours to change, and there is a
/// user whom the image may not know.
pub(crate) fn accounts(spec: &ContainerSpec) -> Option<AccountsPlan> {
    let accounts = &spec.accounts;
    let user = spec.process.user.split(':').next().unwrap_or_default();
    let by_number = user.parse::<u32>().is_ok_and(|uid| uid != 0);
    let any = by_number || accounts.caller.is_some() || !accounts.host_users.is_empty();
    if accounts.untouched || !any || matches!(spec.root, Root::Directory(_)) {
        return None;
    }
    let same_place = |mount: &Mount| match &mount.kind {
        MountKind::Bind { source, .. } if source.as_path() == mount.target.as_path() => {
            Some(source.to_string_lossy().into_owned())
        }
        _ => None,
    };
    Some(AccountsPlan {
        accounts: accounts.clone(),
        user: spec.process.user.clone(),
        directory: spec.process.cwd.to_string_lossy().into_owned(),
        mounted: spec.mounts.iter().filter_map(same_place).collect(),
    })
}

/// Does the user mount a tmpfs above this path?
fn is_below_tmpfs(path: &Bytes, spec: &ContainerSpec) -> bool {
    spec.mounts.iter().any(|mount| {
        matches!(mount.kind, MountKind::Tmpfs { .. }) && path.as_path().starts_with(mount.target.as_path())
    })
}

/// Does the container have a network namespace made for it?
pub(crate) fn has_own_network(spec: &ContainerSpec) -> bool {
    !matches!(spec.network.mode, NetworkMode::Host | NetworkMode::Container(_) | NetworkMode::Path(_))
}

/// A container that shares a namespace of another shares its user namespace too: only there does
/// its root have any power over what it shares.
pub(crate) fn shares_user_namespace_of(spec: &ContainerSpec) -> Option<&crate::base::id::ContainerId> {
    match &spec.userns {
        UserNamespace::Container { id, .. } => return Some(id),
        UserNamespace::Default => {}
        _ => return None,
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

/// Whether a namespace that the container joins is, or may be, of another user namespace than its own. There the container's
/// root has no power over it, and cannot mount the file system that shows it.
pub(crate) fn is_foreign(namespace: &Namespace, spec: &ContainerSpec) -> bool {
    match namespace {
        Namespace::Container(id) => shares_user_namespace_of(spec) != Some(id),
        Namespace::Path(_) => true,
        Namespace::Private | Namespace::Host => false,
    }
}

fn layer_paths(layers: &[Digest], places: &Places) -> Vec<PathBuf> {
    let path = |chain: &Digest| places.layers.join(chain.hex()).join("fs");
    layers.iter().rev().map(path).collect()
}

/// The root file system; with `own_nodes` device nodes that lie in it may be opened.
pub(super) fn root(spec: &ContainerSpec, places: &Places, own_nodes: bool) -> RootPlan {
    let lowers = match &spec.root {
        Root::Directory(path) => return RootPlan::Directory(path.clone()),
        Root::DirectoryOverlay(path) => vec![path.clone()],
        // Nothing below it.
        Root::Layers(layers) if layers.is_empty() => {
            return RootPlan::Directory(places.container.join("upper"));
        }
        Root::Layers(layers) => layer_paths(layers, places),
    };
    RootPlan::Overlay(OverlayPlan {
        over: places.container.join("work"),
        lowers,
        upper: Some((places.container.join("upper"), places.container.join("work"))),
        volatile: spec.auto_remove,
        device_nodes: own_nodes,
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
        owner: None,
    }
}

pub(crate) fn file_system(kind: &'static str, options: &[(&str, &str)]) -> MountSource {
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    MountSource::FileSystem { kind, options: options.iter().map(own).collect() }
}

/// Options as `key=value`, taken apart; one without a value has an empty one.
pub(crate) fn key_values(options: &[String]) -> Vec<(&str, &str)> {
    options.iter().map(|option| option.split_once('=').unwrap_or((option, ""))).collect()
}

/// The options of the file system among `--security-opt proc-opts`.
pub(crate) fn proc_options(spec: &ContainerSpec) -> Vec<(&str, &str)> {
    let mut options = key_values(&spec.security.proc_options);
    options.retain(|(key, _)| proc_flag(key).is_none());
    options
}

/// What an option of /proc that is a flag of the mount adds, and what it takes away.
fn proc_flag(option: &str) -> Option<(u64, u64)> {
    Some(match option {
        "ro" => (attr::RDONLY, 0),
        "rw" => (0, attr::RDONLY),
        "nosuid" => (attr::NOSUID, 0),
        "nodev" => (attr::NODEV, 0),
        "noexec" => (attr::NOEXEC, 0),
        "suid" => (0, attr::NOSUID),
        "dev" => (0, attr::NODEV),
        "exec" => (0, attr::NOEXEC),
        _ => return None,
    })
}

fn proc_attributes(options: &[String]) -> u64 {
    let flags = options.iter().filter_map(|option| proc_flag(option));
    flags.fold(SAFE, |attributes, (more, less)| (attributes | more) & !less)
}

fn host(path: &str) -> MountSource {
    MountSource::Host { path: path.into(), recursive: true }
}

const SAFE: u64 = attr::NOSUID | attr::NODEV | attr::NOEXEC;

/// /proc, /sys and the cgroup file system. Where a namespace is the host's, so is the file system
/// that shows it: the kernel does not let us mount one for namespaces that are not ours. The user's mount may take
/// the place of /sys.
fn kernel_file_systems(
    spec: &ContainerSpec,
    situation: &Situation,
    users_sys: Option<MountPlan>,
) -> Vec<Step> {
    let read_only = if spec.security.privileged { 0 } else { attr::RDONLY };
    let proc = match spec.namespaces.pid {
        Namespace::Host => MountPlan { recursive: true, ..standard("/proc", host("/proc"), SAFE) },
        _ => {
            let own = || file_system("proc", &proc_options(spec));
            let source = situation.foreign_proc.map_or_else(own, MountSource::Detached);
            standard("/proc", source, proc_attributes(&spec.security.proc_options))
        }
    };
    let own_network = has_own_network(spec) || shares_user_namespace_of(spec).is_some();
    let sys = if let Some(sys) = users_sys {
        sys
    } else if own_network {
        standard("/sys", file_system("sysfs", &[]), SAFE | read_only)
    } else {
        MountPlan { recursive: true, ..standard("/sys", host("/sys"), SAFE | read_only) }
    };
    let mut mounts = vec![proc, sys];
    if own_network && spec.namespaces.cgroup == Namespace::Private {
        let read_only = if spec.systemd { 0 } else { read_only };
        let cgroup = standard("/sys/fs/cgroup", file_system("cgroup2", &[]), SAFE | read_only);
        mounts.push(MountPlan { optional: true, ..cgroup });
    }
    mounts.into_iter().map(Step::Mount).collect()
}

/// /dev, and what is in it. The user's mount may take its place, as with podman: then terminals, shared memory and
/// message queues are still the container's own, and the devices are those that are there.
fn devices(spec: &ContainerSpec, situation: &Situation, users_dev: Option<MountPlan>) -> Vec<Step> {
    let tmpfs = file_system(
        "tmpfs",
        &[("source", "tmpfs"), ("mode", "755"), ("size", "65536k"), ("nr_inodes", "65536")],
    );
    let mut pts = vec![("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620")];
    if situation.group_tty_mapped {
        pts.push(("gid", "5"));
    }
    let is_own = users_dev.is_none();
    // Its devices are bound, each with flags of its own.
    let nodev = if situation.own_nodes { 0 } else { attr::NODEV };
    let dev = users_dev.unwrap_or_else(|| standard("/dev", tmpfs, attr::NOSUID | attr::NOEXEC | nodev));
    let mut steps = vec![
        Step::Mount(dev),
        Step::Mount(standard("/dev/pts", file_system("devpts", &pts), attr::NOSUID | attr::NOEXEC)),
    ];
    let private_ipc = spec.namespaces.ipc != Namespace::Host;
    let size = spec.shm_size_bytes.to_string();
    // As many as there can be files with content: empty ones cost the host memory that no size limits.
    let inodes = match spec.shm_size_bytes {
        0 => 0, // no limit is asked for
        bytes => (bytes / 4096).max(1024),
    }
    .to_string();
    let (shm, mqueue) = if private_ipc {
        let options =
            [("source", "shm"), ("mode", "1777"), ("size", size.as_str()), ("nr_inodes", inodes.as_str())];
        (file_system("tmpfs", &options), file_system("mqueue", &[]))
    } else {
        (host("/dev/shm"), host("/dev/mqueue"))
    };
    let shm = situation.shared_shm.map_or(shm, MountSource::Detached);
    let mqueue = situation.foreign_mqueue.map_or(mqueue, MountSource::Detached);
    let shm_attributes = SAFE | if has_read_only_dev(spec) { attr::RDONLY } else { 0 };
    if spec.as_typed.ipc != "none" {
        steps.push(Step::Mount(standard("/dev/shm", shm, shm_attributes)));
    }
    let may_lack = !private_ipc || !is_own;
    steps.push(Step::Mount(MountPlan { optional: may_lack, ..standard("/dev/mqueue", mqueue, SAFE) }));
    if !is_own {
        return steps;
    }
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

/// Generated files, secrets and the user's init, unless the user mounts something of their own there.
fn generated_files(spec: &ContainerSpec, places: &Places) -> Vec<MountPlan> {
    let etc = &spec.etc;
    let is_wanted = |file: &str| match file {
        "hosts" => !spec.network.no_hosts,
        // The image's own, if it has one (`--dns none`).
        "resolv.conf" => spec.network.dns != ["none"],
        "hostname" => !etc.no_hostname,
        _ => true,
    };
    let zone = etc.zone_file.iter().map(|_| ZONE_FILE);
    let files: Vec<_> = GENERATED_FILES.into_iter().filter(|(file, _)| is_wanted(file)).chain(zone).collect();
    let in_chroots = etc.chroot_dirs.iter().flat_map(|directory| {
        let below = |target: &str| directory.as_path().join(target.trim_start_matches('/'));
        files.iter().map(move |(file, target)| (PathBuf::from(*file), Bytes::from(below(target)), 0))
    });
    let secrets = spec.secrets.iter().enumerate().filter(|(_, secret)| secret.variable.is_none());
    let secrets =
        secrets.map(|(index, secret)| (secret_file(index).into(), secret.target.clone(), attr::RDONLY));
    let init = spec.init_program.iter().map(|path| (path.clone(), INIT_PROGRAM.into(), attr::RDONLY));
    let all = files.iter().map(|(file, target)| (PathBuf::from(*file), Bytes::from(*target), 0));
    all.chain(in_chroots)
        .chain(secrets)
        .chain(init)
        .filter(|(_, target, _)| !spec.mounts.iter().any(|m| m.target.as_bytes() == target.as_bytes()))
        .map(|(file, target, read_only)| {
            let source = MountSource::Host { path: places.container.join(file), recursive: false };
            let no_exec = if target.as_bytes() == INIT_PROGRAM.as_bytes() { 0 } else { attr::NOEXEC };
            let attributes = attr::NOSUID | attr::NODEV | no_exec | read_only;
            MountPlan { target, no_symlinks: false, ..standard("", source, attributes) }
        })
        .collect()
}
