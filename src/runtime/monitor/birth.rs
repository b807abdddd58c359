//! From the spec to a running process 1.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{Mode, OFlags};
use rustix::pipe::PipeFlags;

use crate::base::etc::HostsBase;
use crate::base::idmap::IdMap;
use crate::base::spec::{
    ContainerSpec, HookStage, MountKind, Namespace, Record, SPEC_VERSION, UserNamespace,
};
use crate::runtime::failure::{Failure, FailureKind};
use crate::runtime::init::{self, InitReport};
use crate::runtime::plan::{self, OfTheHost, Places};
use crate::runtime::rootfs::RootDir;
use crate::runtime::{hooks, identity, idmaps};
use crate::stage::wire::{self, WireError};
use crate::store::Store;
use crate::sys::clone::flags;
use crate::sys::{namespace, pidfd};

use super::cgroups::Cgroups;
use super::expected::{Born, Expected};
use super::volumes::Volumes;
use super::wiring::Wiring;
use super::{Monitor, etcfiles, join, outside, pod, prepare, record, shared_shm};

/// A container that has just started, and everything its monitor holds of it.
#[derive(Debug)]
pub(super) struct Living {
    pub(super) pidfd: OwnedFd,
    pub(super) streams: Streams,
    /// What `record.json` says now.
    pub(super) record: Record,
    /// The socket of an init that waits to become the command.
    pub(super) held: Option<OwnedFd>,
}

/// The monitor's ends of the container's standard streams.
#[derive(Debug)]
pub(crate) enum Streams {
    Terminal(OwnedFd),
    Pipes {
        /// `None` if the container reads from /dev/null.
        stdin: Option<OwnedFd>,
        stdout: OwnedFd,
        stderr: OwnedFd,
    },
    /// The container has those of the command that started it.
    Passed,
}

impl Streams {
    /// The pipes' inode numbers, which both ends have in common.
    fn inodes(&self) -> [u64; 3] {
        let inode = |fd: &OwnedFd| rustix::fs::fstat(fd).map_or(0, |stat| stat.st_ino);
        match self {
            Self::Terminal(_) | Self::Passed => [0; 3],
            Self::Pipes { stdin, stdout, stderr } => {
                [stdin.as_ref().map_or(0, inode), inode(stdout), inode(stderr)]
            }
        }
    }
}

/// Starts process 1 and waits until the command runs.
pub(super) fn start(
    monitor: &Monitor,
    own_pid: i32,
    mut wiring: Option<&mut Wiring>,
    cgroups: &mut Cgroups,
) -> Result<Living, Failure> {
    let spec = &monitor.spec;
    let places = places(monitor);
    let shared_shm = match &spec.namespaces.ipc {
        Namespace::Container(id) => Some(shared_shm::of_container(join::pid_of(monitor, id)?)?),
        _ => None,
    };
    let nest = cgroups.nest(spec)?;
    let wanted = maps(spec, &places)?;
    let volumes = Volumes::of(monitor)?;
    let new_volumes = volumes.new_ones();
    let root = wanted.as_ref().and_then(|(uids, gids)| root_outside(uids, gids));
    let mounts = plan::of_the_host(spec, &places, &volumes.plans);
    give_root_what_is_its_own(&places, root, &mounts, &new_volumes)?;
    let prepared = outside::prepared(&mounts, wanted.as_ref(), || user(spec, &places).ok())?;
    // Init shows them to a container with networks before they say everything.
    etcfiles::prepare(&monitor.directory, root).map_err(etc_failure)?;
    note_image_hosts(spec, &places).map_err(etc_failure)?;
    let secret_env = prepare::prepare(spec, &places.container, &monitor.order.root, wanted.as_ref())?;
    if !spec.hooks.is_empty() {
        hooks::write_bundle(spec, &monitor.directory)
            .map_err(|err| Failure::errno("write down the container for its hooks", err))?;
    }
    let (places, reach) = within_reach(spec, places, wanted.as_ref())?;
    let links = wiring.as_deref_mut().map(|wiring| wiring.link_environment(&spec.process.env)).transpose()?;
    if links.is_none() {
        let _locked = pod::lock_hosts(&monitor.order.root, &monitor.spec);
        etcfiles::texts(spec, &monitor.name(), &monitor.directory, None)
            .and_then(|texts| etcfiles::write(&monitor.directory, &texts))
            .map_err(etc_failure)?;
        pod::introduce(monitor);
    }
    let shared = join::shared_namespaces(monitor)?;
    // Those of a namespace that is joined are written already.
    let maps = wanted.filter(|_| plan::shares_user_namespace_of(spec).is_none());
    let hold = monitor.order.hold && monitor.order.restarts == 0;
    let asks_for_devices = cgroups.asks_for_devices(spec);
    let expected = Expected {
        monitor,
        places,
        reach,
        maps,
        shared_shm,
        prepared,
        secret_env,
        links,
        asks_for_devices,
        hold,
    };
    let (report, theirs) = wire::pair().map_err(|err| Failure::errno("make a socket", err))?;
    let streams = match &monitor.stdio {
        _ if spec.process.terminal => None,
        Some(passed) => Some(StreamPairs::passed(passed)?),
        None => Some(StreamPairs::new(spec.process.open_stdin)?.lasting()?),
    };

    let bear = |more| expected.bear(&volumes, more, nest.as_ref());
    let born = if shared.is_empty() { bear(0)? } else { join::beside(shared, || bear(flags::SIBLING))? };
    match born {
        Born::Inside { steps, foreign: _foreign } => {
            drop(report);
            init::main(steps, theirs, streams.map(|pairs| pairs.theirs))
        }
        Born::Outside { pid, pidfd } => {
            drop(theirs);
            let ours = streams.map(|pairs| pairs.ours);
            let maps = expected.maps.as_ref();
            let owner = maps.and_then(|(uids, gids)| root_outside(uids, gids));
            let started = write_maps_of(pid, maps).and_then(|()| {
                cgroups.settle(spec, pid, owner)?;
                wiring.as_mut().map_or(Ok(()), |wiring| wiring.begin(namespace::open(pid, "net")))?;
                let_go(&report)?;
                let Some(wiring) = wiring.as_mut() else { return Ok(()) };
                wiring.finish()?;
                wiring.write_files().map_err(etc_failure)?;
                // An init that has failed meanwhile does not read it, and says why.
                rustix::io::write(&report, b"n").ok();
                Ok(())
            });
            drop(expected);
            let started = started.and_then(|()| become_command(&report, ours)).and_then(|streams| {
                if !plan::awaits_hooks(spec) {
                    return Ok(streams);
                }
                monitor.hooks(HookStage::Prestart, pid).run()?;
                monitor.hooks(HookStage::CreateRuntime, pid).run()?;
                rustix::io::write(&report, b"h").ok();
                become_command(&report, Some(streams))
            });
            let streams = started.map_err(|failure| {
                pidfd::end(pidfd.as_fd());
                cgroups.explain(failure)
            })?;
            let record = Record {
                ended_before: record::read(&monitor.directory).and_then(|earlier| earlier.last_end()),
                cgroup: cgroups.leaf().map(Path::to_owned),
                initialized: hold,
                ..new_record(pid, own_pid, monitor.order.restarts, &streams)
            };
            note(monitor, &record, (pid, own_pid)).inspect_err(|_| pidfd::end(pidfd.as_fd()))?;
            forget_new_volumes(monitor, &new_volumes);
            drop(volumes);
            Ok(Living { pidfd, streams, record, held: hold.then_some(report) })
        }
    }
}

/// Makes the start known: from now on others find the container's process 1 and its monitor.
fn note(monitor: &Monitor, record: &Record, (pid, own_pid): (i32, i32)) -> Result<(), Failure> {
    let spec = &monitor.spec;
    let write = || record::write(&monitor.directory, record);
    let release = || Store::open(&monitor.order.root).is_ok_and(|store| store.release_reserve());
    write()
        .or_else(|err| if release() { write() } else { Err(err) })
        .map_err(|err| Failure::errno("write the container's record", err))?;
    write_pid_file(spec.pid_file.as_deref(), pid)?;
    write_pid_file(spec.monitor_pid_file.as_deref(), own_pid)
}

fn places(monitor: &Monitor) -> Places {
    let root = &monitor.order.root;
    Places {
        container: monitor.directory.clone(),
        layers: root.join("layers"),
        volumes: root.join("volumes"),
    }
}

/// The map of this process, which is in U.
pub(super) fn own_map(name: &str) -> IdMap {
    idmaps::parse_kernel(&std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default())
}

/// The container's own maps, or `None` if it gets no user namespace.
fn maps(spec: &ContainerSpec, places: &Places) -> Result<Option<(IdMap, IdMap)>, Failure> {
    if plan::shares_user_namespace_of(spec).is_some() && spec.userns == UserNamespace::Default {
        return Ok(None);
    }
    let (uids, gids) = (own_map("uid_map"), own_map("gid_map"));
    let initial = uids.size() == u64::from(u32::MAX);
    if initial && matches!(spec.userns, UserNamespace::Default) {
        // Root without a user namespace: containers have none either, as with podman and Docker.
        return Ok(None);
    }
    let user = if uids.size() == 1 { user(spec, places)? } else { (0, 0) };
    Ok(idmaps::of_container(&spec.userns, &uids, &gids, user))
}

/// Where the user is not mapped (`--userns=nomap`, `auto`), the container's root is nobody to the user's directories; where a group is not, to
/// that group's. Init opens those it needs before it becomes root, and root may pass through what lies directly in them; the store as a whole stays
/// closed. The answer: the places, and what init opens, under the numbers of descriptors that are here so that nothing else has these numbers.
fn within_reach(
    spec: &ContainerSpec,
    places: Places,
    maps: Option<&(IdMap, IdMap)>,
) -> Result<(Places, Vec<(PathBuf, OwnedFd)>), Failure> {
    let ways = [&places.container, &places.layers, &places.volumes];
    // Where root is the user, the user's rights will do.
    let can_pass = |(uids, gids): &(IdMap, IdMap)| {
        root_outside(uids, gids).is_none() || ways.iter().all(|path| is_passable(path, uids, gids))
    };
    if maps.is_none_or(can_pass) {
        return Ok((places, Vec::new()));
    }
    let_root_pass(spec, &places)?;
    let mut reach = Vec::new();
    let mut by_number = |path: PathBuf| {
        let kept = rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| Failure::errno(format!("open {}", path.display()), errno))?;
        let shown = PathBuf::from(format!("/proc/self/fd/{}", kept.as_raw_fd()));
        reach.push((path, kept));
        Ok::<_, Failure>(shown)
    };
    let places = Places {
        container: by_number(places.container)?,
        layers: by_number(places.layers)?,
        volumes: by_number(places.volumes)?,
    };
    Ok((places, reach))
}

/// Opens the directories that a container needs to a root who is neither their owner nor of their group.
fn let_root_pass(spec: &ContainerSpec, places: &Places) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt;
    let pass = |path: &Path| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o711))
            .map_err(|err| Failure::errno(format!("open {} to the container's root", path.display()), err))
    };
    [&places.container, &places.layers, &places.volumes].into_iter().try_for_each(|path| pass(path))?;
    for mount in &spec.mounts {
        if let MountKind::Volume { name, .. } = &mount.kind {
            pass(&places.volumes.join(name))?;
        }
    }
    if let crate::base::spec::Root::Layers(layers) = &spec.root {
        layers.iter().try_for_each(|chain| pass(&places.layers.join(chain.hex())))?;
    }
    Ok(())
}

/// Can the root of a container with these maps go through every directory down to `path`? Its power over a closed one needs
/// that owner and group are mapped: capabilities(7), "Interaction of capabilities and user namespaces".
pub(super) fn is_passable(path: &Path, uids: &IdMap, gids: &IdMap) -> bool {
    // What nobody maps into U is shown as this ID; that this may be one of U's as well does no harm.
    const NOBODY: u32 = 65_534;
    let has = |map: &IdMap, id: u32| id != NOBODY && map.to_inside(id).is_some();
    let is_root = |map: &IdMap, id: u32| map.to_outside(0) == Some(id);
    path.ancestors().all(|directory| {
        let Ok(stat) = rustix::fs::stat(directory) else { return false };
        let by_right = match (is_root(uids, stat.st_uid), is_root(gids, stat.st_gid)) {
            (true, _) => stat.st_mode & 0o100,
            (false, true) => stat.st_mode & 0o010,
            (false, false) => stat.st_mode & 0o001,
        };
        by_right != 0 || has(uids, stat.st_uid) && has(gids, stat.st_gid)
    })
}

fn etc_failure(err: std::io::Error) -> Failure {
    Failure::errno("write the files of the container's /etc", err)
}

/// The IDs out here of the container's root, if it is not the user.
pub(super) fn root_outside(uids: &IdMap, gids: &IdMap) -> Option<(u32, u32)> {
    Some((uids.to_outside(0)?, gids.to_outside(0)?)).filter(|ids| *ids != (0, 0))
}

/// `/` and new volumes belong to the container's root, who is not the user with every map. Init, which is
/// root of the container, then gives a volume to whom it is for.
fn give_root_what_is_its_own(
    places: &Places,
    root: Option<(u32, u32)>,
    mounts: &[OfTheHost],
    new_volumes: &[String],
) -> Result<(), Failure> {
    let Some((uid, gid)) = root else { return Ok(()) };
    let own = ["upper", "work"].iter().map(|name| places.container.join(name));
    let is_idmapped = |name: &&String| mounts.iter().any(|m| m.idmap && m.volume.as_ref() == Some(*name));
    let volumes = new_volumes.iter().filter(|name| !is_idmapped(name));
    let volumes = volumes.map(|name| places.volumes.join(name).join("data"));
    own.chain(volumes).try_for_each(|path| {
        std::os::unix::fs::chown(&path, Some(uid), Some(gid))
            .map_err(|err| Failure::errno(format!("give {} to the container's root", path.display()), err))
    })
}

/// From now on they have been used. If that cannot be noted, the next container finds them new once more,
/// and filled.
fn forget_new_volumes(monitor: &Monitor, names: &[String]) {
    if names.is_empty() {
        return;
    }
    let Ok(store) = Store::open(&monitor.order.root) else { return };
    for name in names {
        store.volumes().note_first_use(name).ok();
    }
}

/// What the container's root is made of below its own layer, the topmost first.
fn image_directories(spec: &ContainerSpec, places: &Places) -> Vec<PathBuf> {
    match &spec.root {
        crate::base::spec::Root::Layers(layers) => {
            layers.iter().rev().map(|chain| places.layers.join(chain.hex()).join("fs")).collect()
        }
        crate::base::spec::Root::Directory(path) | crate::base::spec::Root::DirectoryOverlay(path) => {
            vec![path.clone()]
        }
    }
}

/// Keeps the image's /etc/hosts for a container that starts with it.
fn note_image_hosts(spec: &ContainerSpec, places: &Places) -> std::io::Result<()> {
    if spec.etc.hosts_base != HostsBase::Image {
        return Ok(());
    }
    let text = image_directories(spec, places).iter().find_map(|top| read_below(top, b"etc/hosts"));
    etcfiles::note_image_hosts(&places.container, &text.unwrap_or_default())
}

fn read_below(top: &Path, file: &[u8]) -> Option<Vec<u8>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    RootDir::new(rustix::fs::open(top, flags, Mode::empty()).ok()?).read_small(file)
}

/// The numbers of the container's user, who may be named in the image only, or be one of those that init adds there.
fn user(spec: &ContainerSpec, places: &Places) -> Result<(u32, u32), Failure> {
    let read = |file: &[u8]| {
        let own = read_below(&places.container.join("upper"), file);
        own.or_else(|| image_directories(spec, places).iter().find_map(|top| read_below(top, file)))
    };
    let (mut passwd, mut group) =
        (read(b"etc/passwd").unwrap_or_default(), read(b"etc/group").unwrap_or_default());
    if let Some(plan) = plan::accounts(spec) {
        let added =
            init::additions(&plan, &String::from_utf8_lossy(&passwd), &String::from_utf8_lossy(&group));
        for (text, lines) in [(&mut passwd, added.0), (&mut group, added.1)] {
            text.extend_from_slice(b"\n");
            text.extend_from_slice(lines.as_bytes());
        }
    }
    let found = identity::resolve(&spec.process.user, &[], &passwd, &group)
        .map_err(|err| Failure::new(FailureKind::NotExecutable, err.to_string()))?;
    Ok((found.uid, found.gid))
}

/// Both ends of the standard streams of a container without a terminal.
pub(crate) struct StreamPairs {
    pub(crate) ours: Streams,
    pub(crate) theirs: init::Streams,
}

impl StreamPairs {
    /// Copies of the command's own streams.
    fn passed([stdin, stdout, stderr]: &[OwnedFd; 3]) -> Result<Self, Failure> {
        let copy = |fd: &OwnedFd| fd.try_clone().map_err(|err| Failure::errno("pass a stream on", err));
        Ok(Self { ours: Streams::Passed, theirs: [copy(stdin)?, copy(stdout)?, copy(stderr)?] })
    }

    /// Pipes; standard input is /dev/null if it is not `open_stdin`.
    pub(crate) fn new(open_stdin: bool) -> Result<Self, Failure> {
        let failed = |errno| Failure::errno("make a pipe", std::io::Error::from(errno));
        let pipe = || rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(failed);
        let (our_stdin, their_stdin) = if open_stdin {
            let (read, write) = pipe()?;
            (Some(write), read)
        } else {
            let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
            (None, null.map_err(failed)?)
        };
        let ((our_stdout, their_stdout), (our_stderr, their_stderr)) = (pipe()?, pipe()?);
        // Fewer and larger reads: the default of 64 KiB halves the throughput.
        rustix::pipe::fcntl_setpipe_size(&our_stdout, 1 << 20).ok();
        Ok(Self {
            ours: Streams::Pipes { stdin: our_stdin, stdout: our_stdout, stderr: our_stderr },
            theirs: [their_stdin, their_stdout, their_stderr],
        })
    }

    /// Makes each output pipe a reader of itself, so that a monitor that is killed does not break it: the
    /// container waits when the pipe is full, and the next monitor goes on where the first one ended.
    fn lasting(mut self) -> Result<Self, Failure> {
        for stream in &mut self.theirs[1..] {
            let name = format!("/proc/self/fd/{}", stream.as_raw_fd());
            *stream = rustix::fs::open(name, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
                .map_err(|errno| Failure::errno("make a pipe", errno))?;
        }
        Ok(self)
    }
}

/// Maps the IDs of a newborn init.
fn write_maps_of(pid: i32, maps: Option<&(IdMap, IdMap)>) -> Result<(), Failure> {
    let Some((uids, gids)) = maps else { return Ok(()) };
    write_maps(pid, uids, gids).map_err(|err| {
        let mut failure = Failure::errno("map the container's IDs", err);
        failure.hint = Some("the map must lie within the ranges of /etc/subuid and /etc/subgid".into());
        failure
    })
}

/// Lets a newborn init go.
fn let_go(report: &OwnedFd) -> Result<(), Failure> {
    rustix::io::write(report, b"g").map(drop).map_err(|errno| Failure::errno("start init", errno))
}

/// Waits until init is the command, or is to be told when to become it.
fn become_command(report: &OwnedFd, mut streams: Option<Streams>) -> Result<Streams, Failure> {
    loop {
        match wire::receive::<InitReport>(report.as_fd()) {
            Ok((InitReport::Terminal, descriptors)) => {
                let [master] =
                    wire::take(descriptors).map_err(|err| Failure::system("take the terminal", &err))?;
                streams = Some(Streams::Terminal(master));
            }
            Ok((InitReport::Failed(failure), _)) => return Err(failure),
            Ok((InitReport::Ready, _)) | Err(WireError::Closed) => {
                return streams.ok_or_else(|| {
                    Failure::new(FailureKind::System, "init ended before it had opened the terminal")
                });
            }
            Err(err) => return Err(Failure::system("hear from init", &err)),
        }
    }
}

/// Writes the maps of a child's user namespace, which the monitor may do as root of U.
pub(super) fn write_maps(pid: i32, uids: &IdMap, gids: &IdMap) -> std::io::Result<()> {
    crate::stage::maps::write(pid, uids, gids, own_map("uid_map").size() == 1)
}

fn new_record(pid: i32, monitor_pid: i32, restarts: u32, streams: &Streams) -> Record {
    Record {
        version: SPEC_VERSION,
        pid,
        pid_start_ticks: pidfd::start_ticks(pid).ok().flatten().unwrap_or_default(),
        monitor_pid,
        boot_id: pidfd::boot_id().unwrap_or_default(),
        started: Timestamp::now(),
        ended: None,
        ended_before: None,
        restarts,
        initialized: false,
        pipes: streams.inodes(),
        cgroup: None,
    }
}

fn write_pid_file(path: Option<&Path>, pid: i32) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    // A FIFO without a reader is an error and holds nobody up.
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).custom_flags(libc::O_NONBLOCK);
    options
        .open(path)
        .and_then(|mut file| file.write_all(pid.to_string().as_bytes()))
        .map_err(|err| Failure::errno(format!("write the pid file {}", path.display()), err))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::base::idmap::IdExtent;

    #[test]
    fn a_closed_directory_is_passed_by_who_maps_owner_and_group() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("store");
        std::fs::create_dir(&directory).unwrap();
        let closed = |mode| {
            std::fs::set_permissions(parent.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let stat = rustix::fs::stat(&directory).unwrap();
        // The container's root is another one.
        let of = |own: u32, has_own: bool| {
            let others = IdExtent { inside: 0, outside: own + 1, len: 5 };
            let own = IdExtent { inside: 1000, outside: own, len: 1 };
            IdMap(if has_own { vec![others, own] } else { vec![others] })
        };
        for (mode, has_user, has_group, want) in [
            (0o700, true, true, true),
            (0o700, true, false, false),
            (0o700, false, true, false),
            (0o711, false, false, true),
            (0o710, true, false, false),
        ] {
            closed(mode);
            let (uids, gids) = (of(stat.st_uid, has_user), of(stat.st_gid, has_group));
            assert_eq!(is_passable(&directory, &uids, &gids), want, "{mode:o} {has_user} {has_group}");
        }
    }
}
