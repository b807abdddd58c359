//! The cgroups of one container, made by its monitor: one leaf for each of the two, and both removed at the end.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::base::limits::{Cgroup, CgroupMode, Limits};
use crate::cgroup::systemd::{Manager, Scope, Sockets};
use crate::cgroup::tree::{self, Place};
use crate::cgroup::{CgroupError, Result, control, settings, slice};
use crate::sys::waiting;

/// Whom to ask for a cgroup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ManagerChoice {
    /// systemd if it answers, else the tree itself.
    #[default]
    Systemd,
    /// The tree itself, as far as it was delegated to the caller.
    Cgroupfs,
}

/// What the monitor is told about cgroups by the one who starts it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Surroundings {
    pub(crate) choice: ManagerChoice,
    /// Where systemd may be reached; `None` where that was not to be found out.
    pub(crate) systemd: Option<Sockets>,
    /// The caller is root of the machine, and not of U.
    pub(crate) rootful: bool,
    /// The caller is how a service starts that the monitor is to be the main process of
    /// ([`crate::cgroup::service`]): it stays in the service's cgroup.
    #[serde(default)]
    pub(crate) in_service: bool,
}

impl Surroundings {
    /// Who makes cgroups here: `systemd` if it is wanted and has a socket, else `cgroupfs`.
    pub(crate) fn manager_name(&self) -> &'static str {
        let answers = |sockets: &Sockets| {
            sockets.private.exists() || sockets.bus.as_ref().is_some_and(|bus| bus.exists())
        };
        let systemd = self.choice == ManagerChoice::Systemd && self.systemd.as_ref().is_some_and(answers);
        if systemd { "systemd" } else { "cgroupfs" }
    }

    /// The slice that scopes are put into where no other is named.
    fn slice(&self) -> &'static str {
        if self.rootful { "machine.slice" } else { "user.slice" }
    }
}

/// An open cgroup that processes can be put into, whatever namespaces we join meanwhile.
#[derive(Debug)]
pub(crate) struct Nest {
    /// For clone3(2).
    pub(crate) directory: OwnedFd,
    processes: OwnedFd,
}

impl Nest {
    /// Opens the cgroup at `leaf`.
    ///
    /// # Errors
    ///
    /// If it is gone, or not the caller's.
    pub(crate) fn open(leaf: &Path) -> Result<Self> {
        let open = |path: &Path, flags| {
            rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())
                .map_err(|errno| super::io_error("open the cgroup", path)(errno.into()))
        };
        let directory = open(leaf, OFlags::RDONLY | OFlags::DIRECTORY)?;
        Ok(Self { directory, processes: open(&leaf.join("cgroup.procs"), OFlags::WRONLY)? })
    }

    /// Moves process `pid` in.
    pub(crate) fn admit(&self, pid: i32) -> std::io::Result<()> {
        rustix::io::write(&self.processes, pid.to_string().as_bytes())?;
        Ok(())
    }
}

/// What is wanted for one container.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish<'a> {
    /// The container's ID.
    pub(crate) id: &'a str,
    pub(crate) cgroup: &'a Cgroup,
    pub(crate) surroundings: &'a Surroundings,
    /// How long it may take to stop, in seconds.
    pub(crate) stop_seconds: u64,
}

/// The cgroups of a container.
#[derive(Debug)]
pub(crate) struct Unit {
    /// What holds both leaves.
    directory: PathBuf,
    /// Where the container is.
    leaf: PathBuf,
    /// Where this process came from, and goes back to so that all can be removed.
    home: Option<PathBuf>,
    /// systemd removes the directory when it is empty.
    is_scope: bool,
}

/// What directories of groups begin with.
const GROUP: &str = "ketchpod_";
/// How long to make a group's directory that its last container takes away at the same time, and how often to try.
const GROUP_PATIENCE: Duration = Duration::from_secs(5);
const GROUP_PAUSE: Duration = Duration::from_millis(1);
/// The names of the leaves.
const CONTAINER: &str = "container";
const MONITOR: &str = "monitor";
/// The monitor's and everybody else's with `--cgroups=split`, as podman calls it.
const RUNTIME: &str = "runtime";

impl Wish<'_> {
    fn wants_limits(&self) -> Option<&'static str> {
        let of_group = self.cgroup.group.as_ref().map(|group| &group.limits);
        first_flag(&self.cgroup.limits).or_else(|| of_group.and_then(first_flag))
    }

    /// The monitor stays where it is, and only the container gets a cgroup.
    fn leaves_monitor(&self) -> bool {
        match self.cgroup.mode {
            CgroupMode::NoMonitor => true,
            CgroupMode::Enabled => self.surroundings.in_service,
            CgroupMode::Disabled | CgroupMode::Split => false,
        }
    }

    /// Must the container's own process be there before its scope can be made?
    pub(crate) fn is_made_after_birth(&self) -> bool {
        self.leaves_monitor() && self.surroundings.choice != ManagerChoice::Cgroupfs
    }

    /// Makes the cgroups of the container and moves `pid` into the scope, if it is systemd that makes it:
    /// the monitor, or with `--cgroups=no-conmon` the container's process.
    ///
    /// `None` if there is no way to one and nothing was asked for that needs it.
    ///
    /// # Errors
    ///
    /// If something was asked for that needs one.
    pub(crate) fn make(&self, pid: i32) -> Result<Option<Unit>> {
        let made = match self.cgroup.mode {
            CgroupMode::Disabled => return self.without("--cgroups=disabled"),
            CgroupMode::Split if self.cgroup.group.is_some() => {
                let message =
                    "--cgroups=split keeps the container out of the cgroup of its pod, which has limits";
                return Err(CgroupError::Invalid(message.to_owned()));
            }
            CgroupMode::Split => return self.split().map(Some),
            CgroupMode::Enabled | CgroupMode::NoMonitor => self.scope(pid).and_then(|scope| match scope {
                Some(scope) => Ok(Some(scope)),
                None => self.in_own_tree(pid),
            }),
        };
        match made {
            Ok(Some(unit)) => Ok(Some(unit)),
            Ok(None) => self.without("no cgroup of version 2 is delegated to you"),
            // Whatever is wrong: who asked for nothing gets the container all the same.
            Err(_) if self.wants_limits().is_none() && self.cgroup.parent.is_empty() => Ok(None),
            Err(err) => Err(err),
        }
    }

    fn without(&self, why: &'static str) -> Result<Option<Unit>> {
        match self.wants_limits() {
            Some(flag) => Err(CgroupError::NoCgroup { flag, why }),
            None if !self.cgroup.parent.is_empty() => {
                Err(CgroupError::NoCgroup { flag: "--cgroup-parent", why })
            }
            None => Ok(None),
        }
    }

    /// A scope of systemd; `None` where none answers.
    fn scope(&self, pid: i32) -> Result<Option<Unit>> {
        let Surroundings { choice, systemd: Some(sockets), .. } = self.surroundings else {
            return Ok(None);
        };
        if *choice == ManagerChoice::Cgroupfs || tree::mount_point().is_none() {
            return Ok(None);
        }
        let Some(mut manager) = Manager::connect(sockets) else { return Ok(None) };
        let slice = slice_of(self.surroundings, self.cgroup)?;
        if let Some(group) = &self.cgroup.group {
            manager.start_slice(&slice, &slice::properties(&group.limits)?)?;
        }
        let slice = slice.as_str();
        let description = format!("ketch container {}", self.id.get(..12).unwrap_or(self.id));
        // The scope of an earlier life may just be going away; it does not matter what ours is called.
        let names = [format!("ketch-{}.scope", self.id), format!("ketch-{}-{pid}.scope", self.id)];
        let started = names.iter().try_fold(false, |started, name| {
            let scope =
                Scope { name, slice, description: &description, pid, stop_seconds: self.stop_seconds + 5 };
            Ok(started || manager.start_scope(&scope)?)
        })?;
        if !started {
            return Err(CgroupError::Systemd(format!("there is a {} already", names[1])));
        }
        let directory = tree::place_of(&pid.to_string())
            .map(|place| place.directory())
            .ok_or_else(|| CgroupError::Systemd("the new scope is not to be seen".into()))?;
        let unit = Unit { leaf: directory.join(CONTAINER), directory, home: None, is_scope: true };
        if self.leaves_monitor() {
            tree::make(&unit.leaf)?;
            unit.admit(pid)?;
        } else {
            unit.step_aside(MONITOR)?;
        }
        tree::enable_controllers(&unit.directory);
        Ok(Some(unit))
    }

    /// Directories in the tree that was delegated to the caller; `None` where there is none.
    fn in_own_tree(&self, pid: i32) -> Result<Option<Unit>> {
        let Some(place) = tree::place_of("self") else { return Ok(None) };
        let Some(top) = place.own_tree() else { return Ok(None) };
        self.empty(&top)?;
        tree::enable_controllers(&top);
        let mut directory = top.clone();
        for part in parent_below(self.cgroup, &place, &top)?.iter() {
            directory.push(part);
            tree::make(&directory)?;
            tree::enable_controllers(&directory);
        }
        let directory = self.make_directory(&directory)?;
        let mut unit = Unit { leaf: directory.join(CONTAINER), directory, home: None, is_scope: false };
        if !self.leaves_monitor() {
            // Where the caller was may be an inner directory by now.
            unit.home = tree::place_of("self").map(|place| place.directory());
            unit.step_aside(MONITOR)?;
        }
        if self.is_made_after_birth() {
            tree::make(&unit.leaf)?;
            unit.admit(pid)?;
        }
        tree::enable_controllers(&unit.directory);
        Ok(Some(unit))
    }

    /// Makes the container's directory below `above`, in that of its group if it has one: the last one to leave a group takes
    /// it along, and does not know of those who come.
    fn make_directory(&self, above: &Path) -> Result<PathBuf> {
        let own = own_directory(self.id);
        let Some(group) = &self.cgroup.group else {
            let directory = above.join(own);
            return tree::make(&directory).map(|()| directory);
        };
        let together = above.join(group_directory(&group.name));
        let directory = together.join(own);
        let make = || {
            tree::make(&together)?;
            match tree::make(&directory) {
                Err(CgroupError::Io { source, .. }) if is_gone(&source) => Ok(None),
                made => made.map(Some),
            }
        };
        // The last error is as good as any.
        waiting::until(GROUP_PATIENCE, GROUP_PAUSE, make)?.map_or_else(|| tree::make(&directory), Ok)?;
        // From here on it stays.
        settings::apply(&together, &group.limits).inspect_err(|_| remove_directory(&directory))?;
        tree::enable_controllers(&together);
        Ok(directory)
    }

    /// A cgroup that hands controllers on has no processes of its own, the root excepted: if limits are
    /// wanted, those of `top` move into a leaf.
    fn empty(&self, top: &Path) -> Result<()> {
        let is_root = || !top.join("cgroup.events").exists();
        if self.wants_limits().is_none() || is_root() {
            return Ok(());
        }
        let processes = tree::processes(top);
        if processes.is_empty() {
            return Ok(());
        }
        let leaf = top.join("init");
        tree::make(&leaf)?;
        for pid in processes {
            // One that has just ended is not there to be moved.
            tree::move_into(&leaf, pid).ok();
        }
        Ok(())
    }

    /// Both below the cgroup that the caller is in.
    fn split(&self) -> Result<Unit> {
        let own = tree::place_of("self").map(|place| place.directory()).map(|directory| {
            let is_ours = directory.ends_with(RUNTIME);
            directory.parent().filter(|_| is_ours).unwrap_or(&directory).to_owned()
        });
        let Some(directory) = own.filter(|directory| tree::is_own(directory)) else {
            let why =
                "the cgroup of the caller is not delegated to you (a systemd service needs Delegate=yes)";
            return Err(CgroupError::NoCgroup { flag: "--cgroups=split", why });
        };
        let runtime = directory.join(RUNTIME);
        tree::make(&runtime)?;
        for pid in tree::processes(&directory) {
            tree::move_into(&runtime, pid).ok();
        }
        tree::enable_controllers(&directory);
        let leaf = directory.join(format!("ketch-payload-{}", self.id));
        Ok(Unit { directory, leaf, home: None, is_scope: true })
    }
}

impl Unit {
    /// The cgroups of a running container whose own is `leaf`.
    pub(crate) fn of_leaf(leaf: &Path) -> Self {
        let directory = leaf.parent().unwrap_or(leaf).to_owned();
        Self { is_scope: is_scope(&directory), directory, leaf: leaf.to_owned(), home: None }
    }

    /// Moves this process to where the monitor was whose place it takes: whoever has started it may be a service, which
    /// would take it along when it is stopped. Where that cannot be done it stays where it is.
    pub(crate) fn succeed(&mut self, surroundings: &Surroundings) {
        let Some(name) = [MONITOR, RUNTIME].into_iter().find(|name| self.directory.join(name).is_dir())
        else {
            return;
        };
        let home = tree::place_of("self").map(|place| place.directory());
        if tree::move_into(&self.directory.join(name), 0).is_ok() {
            self.home = home;
            return;
        }
        // From a login session into the user's own part of the tree: systemd's right alone.
        let unit = self.directory.file_name().and_then(|unit| unit.to_str());
        let manager = surroundings.systemd.as_ref().and_then(Manager::connect);
        if let (Some(unit), Some(mut manager)) = (unit, manager) {
            manager.attach(unit, &format!("/{name}"), std::process::id().cast_signed()).ok();
        }
    }

    /// The container's cgroup.
    pub(crate) fn leaf(&self) -> &Path {
        &self.leaf
    }

    /// Moves this process into the leaf `name`, so that the directory may hand controllers on.
    fn step_aside(&self, name: &str) -> Result<()> {
        let leaf = self.directory.join(name);
        tree::make(&leaf)?;
        tree::move_into(&leaf, 0).map_err(super::io_error("move to the cgroup", leaf))
    }

    /// Makes the container's leaf anew, with counters at zero, and opens it to be born into.
    ///
    /// # Errors
    ///
    /// If one of an earlier life cannot be removed.
    pub(crate) fn renew(&self) -> Result<Nest> {
        control::remove(&self.leaf)?;
        tree::make(&self.leaf)?;
        Nest::open(&self.leaf)
    }

    /// Moves the container's process into its leaf.
    pub(crate) fn admit(&self, pid: i32) -> Result<()> {
        tree::move_into(&self.leaf, pid).map_err(super::io_error("move to the cgroup", &self.leaf))
    }

    /// Applies limits to the leaf, before the container runs.
    ///
    /// # Errors
    ///
    /// The first limit that cannot be applied.
    pub(crate) fn limit(&self, limits: &Limits) -> Result<()> {
        if limits.pids.is_none() {
            settings::apply_default_pids(&self.leaf);
        }
        settings::apply(&self.leaf, limits)
    }

    /// Gives the leaf to the container's root, who may make cgroups of its own in it.
    pub(crate) fn hand_over(&self, uid: u32, gid: u32) {
        let delegated = std::fs::read_to_string("/sys/kernel/cgroup/delegate").unwrap_or_default();
        std::os::unix::fs::chown(&self.leaf, Some(uid), Some(gid)).ok();
        for file in delegated.lines().filter(|file| file.starts_with("cgroup.")) {
            std::os::unix::fs::chown(self.leaf.join(file), Some(uid), Some(gid)).ok();
        }
    }

    /// Kills what is left in the leaf, and removes it.
    pub(crate) fn clear(&self) {
        // What cannot be killed now is the next start's affair.
        control::remove(&self.leaf).ok();
    }

    /// The last life is over: removes everything, as far as this process is not in it.
    pub(crate) fn remove(self) {
        self.clear();
        if self.is_scope {
            return;
        }
        if let Some(home) = &self.home
            && tree::move_into(home, 0).is_ok()
        {
            std::fs::remove_dir(self.directory.join(MONITOR)).ok();
        }
        remove_directory(&self.directory);
    }
}

/// Moves this process, which serves several containers, out of the cgroup of whoever started it: the container whose
/// monitor that was, or a service of systemd that would take it along when it is stopped.
///
/// # Errors
///
/// If that is not possible: it then lives in that cgroup, which stays as long as it does.
pub(crate) fn stand_alone(name: &str, surroundings: &Surroundings) -> Result<()> {
    let Some(place) = tree::place_of("self") else { return Ok(()) };
    let asked = scope_of_its_own(name, surroundings);
    // …/ketch/ketch-<id>/monitor, where no systemd is asked
    let directory = place.directory();
    let unit = directory.parent().filter(|_| directory.ends_with(MONITOR));
    let above = unit.and_then(Path::parent);
    // The limits of a pod are none of its own.
    let above = above.and_then(|above| if is_group(above) { above.parent() } else { Some(above) });
    match (asked, above) {
        (Ok(false) | Err(_), Some(above)) if !unit.is_some_and(is_scope) => {
            let leaf = above.join(name);
            tree::make(&leaf)?;
            tree::move_into(&leaf, 0).map_err(super::io_error("move to the cgroup", leaf))
        }
        (asked, _) => asked.map(drop),
    }
}

/// Has systemd move this process into a scope of its own. False where systemd is not to be asked, or does not answer.
fn scope_of_its_own(name: &str, surroundings: &Surroundings) -> Result<bool> {
    let sockets = surroundings.systemd.as_ref().filter(|_| surroundings.choice == ManagerChoice::Systemd);
    let Some(mut manager) = sockets.and_then(Manager::connect) else { return Ok(false) };
    let pid = std::process::id().cast_signed();
    let (unit, description) = (format!("ketch-{name}-{pid}.scope"), format!("ketch {name}"));
    let slice = surroundings.slice();
    manager.start_scope(&Scope { name: &unit, slice, description: &description, pid, stop_seconds: 5 })
}

/// The path of `--cgroup-parent` below `top`, the highest cgroup of the caller, who is at `place`.
fn parent_below(cgroup: &Cgroup, place: &Place, top: &Path) -> Result<PathBuf> {
    if cgroup.parent.is_empty() {
        return Ok(PathBuf::from("ketch"));
    }
    let parent = Path::new(&cgroup.parent);
    let absolute = tree::below(&place.mount, parent);
    let within = absolute.strip_prefix(top).unwrap_or_else(|_| parent.strip_prefix("/").unwrap_or(parent));
    if within.iter().any(|part| part == "..") {
        return Err(CgroupError::Invalid(format!("--cgroup-parent {parent:?} leads out of your cgroups")));
    }
    Ok(within.to_owned())
}

/// The directory of a group of containers in the caller's own tree, within that of their parent.
fn group_directory(name: &str) -> String {
    format!("{GROUP}{name}")
}

/// The directory of container `id` there, within that of its group.
fn own_directory(id: &str) -> String {
    format!("ketch-{id}")
}

/// Removes what a monitor left behind that was killed before it could note where its container is: what it would have
/// made had it been in the caller's place. (systemd removes its scopes itself.)
pub(crate) fn sweep_unnoted(id: &str, cgroup: &Cgroup) {
    let Some(place) = tree::place_of("self") else { return };
    let Some(top) = place.own_tree() else { return };
    let Ok(parent) = parent_below(cgroup, &place, &top) else { return };
    let group = cgroup.group.as_ref().map(|group| group_directory(&group.name));
    let directory = top.join(parent).join(group.unwrap_or_default()).join(own_directory(id));
    if directory.is_dir() {
        sweep(&directory.join(CONTAINER), id);
    }
}

/// Removes what a monitor that was killed left behind: `leaf` as the record has it.
pub(crate) fn sweep(leaf: &Path, id: &str) {
    // A record is only a file: nothing that does not look like ours is touched.
    let is_ours =
        |part: &std::ffi::OsStr| part.to_str().is_some_and(|p| p.starts_with("ketch-") && p.contains(id));
    if !leaf.iter().any(is_ours) || !tree::MOUNTS.iter().any(|mount| leaf.starts_with(mount)) {
        return;
    }
    control::remove(leaf).ok();
    let is_mine = |directory: &&Path| directory.file_name().is_some_and(is_ours) && !is_scope(directory);
    if let Some(directory) = leaf.parent().filter(is_mine) {
        std::fs::remove_dir(directory.join(MONITOR)).ok();
        remove_directory(directory);
    }
}

/// Removes a container's directory, and that of its group with the last one.
fn remove_directory(directory: &Path) {
    std::fs::remove_dir(directory).ok();
    if let Some(group) = directory.parent().filter(|above| is_group(above)) {
        std::fs::remove_dir(group).ok();
    }
}

/// Whether something could not be made for want of the cgroup above it, which has been removed, or is about to be.
fn is_gone(err: &std::io::Error) -> bool {
    err.kind() == std::io::ErrorKind::NotFound || err.raw_os_error() == Some(libc::ENODEV)
}

/// Whether a directory is that of a group of containers.
fn is_group(directory: &Path) -> bool {
    directory.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(GROUP))
}

/// The slice that the scope of a container is put into: that of its group, if it has one.
fn slice_of(surroundings: &Surroundings, cgroup: &Cgroup) -> Result<String> {
    let above = match cgroup.parent.as_str() {
        "" => surroundings.slice(),
        parent if parent.ends_with(".slice") && !parent.contains('/') => parent,
        parent => {
            let message = format!("--cgroup-parent {parent:?}: with systemd it is the name of a slice");
            return Err(CgroupError::Invalid(message));
        }
    };
    Ok(cgroup.group.as_ref().map_or_else(|| above.to_owned(), |group| slice_within(above, &group.name)))
}

/// Ends the slice of a group none of whose containers is left. A directory of one's own tree goes with the last of them.
///
/// # Errors
///
/// What systemd says.
pub(crate) fn end_group(surroundings: &Surroundings, cgroup: &Cgroup) -> Result<()> {
    let Surroundings { choice, systemd: Some(sockets), .. } = surroundings else { return Ok(()) };
    if *choice == ManagerChoice::Cgroupfs || cgroup.group.is_none() {
        return Ok(());
    }
    let Some(mut manager) = Manager::connect(sockets) else { return Ok(()) };
    manager.stop_slice(&slice_of(surroundings, cgroup)?)
}

/// The slice `name` within the slice `above`: systemd takes a dash for a step down.
fn slice_within(above: &str, name: &str) -> String {
    match above.strip_suffix(".slice").unwrap_or(above) {
        "-" => format!("{GROUP}{name}.slice"),
        above => format!("{above}-{GROUP}{name}.slice"),
    }
}

/// True for a scope of systemd, which removes it when it is empty. It learns of that from the directory: where that is
/// gone before, the scope counts as running for ever.
fn is_scope(directory: &Path) -> bool {
    directory.extension().is_some_and(|extension| extension == "scope")
}

/// The flag of the first limit that was asked for.
fn first_flag(limits: &Limits) -> Option<&'static str> {
    if limits.is_empty() {
        return None;
    }
    // Devices are looked at later: here any number will do.
    let settings = settings::settings(limits, &|_| Some((0, 0))).ok()?;
    settings.iter().find(|setting| !setting.limits_nothing()).map(|setting| setting.flag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::CgroupGroup;

    #[test]
    fn a_group_may_be_left_while_another_comes() {
        let above = tempfile::tempdir().unwrap();
        let group = CgroupGroup { name: "pod".to_owned(), limits: Limits::default() };
        let cgroup = Cgroup { group: Some(group), ..Cgroup::default() };
        let come_and_go = |id: &str| {
            let surroundings = Surroundings::default();
            let wish = Wish { id, cgroup: &cgroup, surroundings: &surroundings, stop_seconds: 1 };
            for _ in 0..2000 {
                let directory = wish.make_directory(above.path()).unwrap();
                assert!(directory.is_dir());
                remove_directory(&directory);
            }
        };
        std::thread::scope(|scope| {
            for id in ["a", "b", "c"] {
                scope.spawn(move || come_and_go(id));
            }
        });
        assert_eq!(std::fs::read_dir(above.path()).unwrap().count(), 0);
    }
}
