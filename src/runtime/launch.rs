//! Starting a container: from a command to a monitor, and one report back.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::bytes::Bytes;
use crate::base::id::ContainerId;
use crate::cgroup::unit::Surroundings;
use crate::events::Backend;
use crate::runtime::failure::{Failure, FailureKind};
use crate::runtime::monitor::notify;
use crate::stage::idranges::Mapping;
use crate::stage::spawn::{self, Child, Stage, StageError, Starting, UserNamespace};
use crate::stage::wire::WireError;
use crate::stage::{holders, idranges, wire};
use crate::sys::{namespace, socket, userns};

/// What a command tells the monitor that it starts. The sockets of the first clients may come along.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LaunchOrder {
    /// The store.
    #[serde(with = "crate::base::bytes::path")]
    pub(crate) root: PathBuf,
    /// The container's directory, if it is not `containers/<id>`: a RUN of a build lives in staging.
    #[serde(default, with = "crate::base::bytes::optional_path")]
    pub(crate) directory: Option<PathBuf>,
    pub(crate) id: ContainerId,
    /// Fingerprint of U's maps, for those who want to join.
    pub(crate) fingerprint: String,
    /// The monitor of a container whose namespaces this one shares.
    pub(crate) near: Option<i32>,
    /// Rows and columns of the first client's terminal.
    pub(crate) window: Option<(u16, u16)>,
    /// One of the first clients is the command's own, and it is to be told that it is attached.
    #[serde(default)]
    pub(crate) tell_attached: bool,
    /// The container runs and has lost its monitor: take it over instead of starting it.
    pub(crate) adopt: bool,
    /// How often the restart policy has started it already.
    pub(crate) restarts: u32,
    /// How cgroups are come by.
    #[serde(default)]
    pub(crate) cgroups: Surroundings,
    /// How long netd, if this container is the one to start it, stays without containers.
    pub(crate) network_linger_ms: u64,
    /// NOTIFY_SOCKET of the command: a service manager that wants to know when the container is ready.
    pub(crate) notify_socket: Option<Bytes>,
    /// How many sockets come along behind the first clients', to serve published ports.
    #[serde(default)]
    pub(crate) passed_sockets: usize,
    /// The command's standard streams come along, last: they become the container's.
    pub(crate) stdio: bool,
    /// Numbers under which the command is to find the descriptors that come along behind all others.
    #[serde(default)]
    pub(crate) keep: Vec<i32>,
    /// Make everything ready, and wait for somebody who starts it.
    #[serde(default)]
    pub(crate) hold: bool,
    /// Where the system's journal listens.
    #[serde(with = "crate::base::bytes::path")]
    pub(crate) journal: PathBuf,
    /// The container's name, for events.
    pub(crate) name: String,
    /// Where events go.
    pub(crate) events: Backend,
}

/// What starts a container that is held ready: to [`START_SOCKET`], with the sockets of the first clients if
/// there are some. The answer is a [`LaunchReport`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StartOrder {
    /// Rows and columns of the first client's terminal.
    pub(crate) window: Option<(u16, u16)>,
    /// As [`LaunchOrder::tell_attached`].
    #[serde(default)]
    pub(crate) tell_attached: bool,
}

/// Where a monitor that holds its container ready waits for a [`StartOrder`].
pub(crate) const START_SOCKET: &str = "start.sock";

/// The monitor's one report.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LaunchReport {
    /// The command runs as process `pid` of the host.
    Started {
        pid: i32,
        /// What the service manager is to hear: with `NotifyAccess=main` it listens to the command alone.
        #[serde(default)]
        notice: Option<String>,
    },
    Failed(Failure),
}

/// The user's side of user namespaces: who they are and what they may map.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) uid: u32,
    /// What U maps; `None` for root, who needs no U.
    pub(crate) mapping: Option<Mapping>,
    /// Files in layers whose owners are not mapped belong to nobody instead of being an error.
    pub(crate) squash_ids: bool,
}

impl Caller {
    /// Looks at the calling process. `path` is its PATH.
    pub(crate) fn current(path: Option<&std::ffi::OsStr>) -> Self {
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        let mapping = (!may_administer()).then(|| idranges::of_user(uid, gid, path));
        Self { uid, mapping, squash_ids: false }
    }

    /// How a stage comes into U: joins it where a process holds it, else creates it.
    pub(crate) fn namespace(&self, root: &Path) -> UserNamespace {
        match &self.mapping {
            None => UserNamespace::None,
            Some(mapping) => match holders::find(root, &mapping.fingerprint()) {
                Some(held) => UserNamespace::Join(held),
                None => UserNamespace::Create(mapping.clone()),
            },
        }
    }

    /// Starts a stage that stays in U for a while and announces itself. Whoever comes next joins the same U, if the
    /// turn ends when it is announced.
    ///
    /// # Errors
    ///
    /// As [`spawn::spawn`].
    pub(crate) fn spawn_holder(&self, root: &Path, stage: &Stage<'_>) -> Result<(Child, Turn), StageError> {
        let (starting, turn) = self.begin_holder(root, stage)?;
        Ok((starting.finish()?, turn))
    }

    /// The same without waiting for it.
    fn begin_holder(&self, root: &Path, stage: &Stage<'_>) -> Result<(Starting, Turn), StageError> {
        if self.mapping.is_none() {
            return Ok((self.begin_spawn(root, stage)?, Turn(None)));
        }
        // Where there can be no turns, a U too many is better than no container.
        let turn = holders::turn(root, false).ok();
        if let Some(joined) = self.join(root, stage) {
            return Ok((joined, Turn(turn)));
        }
        drop(turn);
        let turn = holders::turn(root, true).ok();
        Ok((self.begin_spawn(root, stage)?, Turn(turn)))
    }

    /// Starts a stage in U: joins it where a process holds it, else creates it.
    ///
    /// # Errors
    ///
    /// As [`spawn::spawn`].
    pub(crate) fn spawn(&self, root: &Path, stage: &Stage<'_>) -> Result<Child, StageError> {
        self.begin_spawn(root, stage)?.finish()
    }

    fn begin_spawn(&self, root: &Path, stage: &Stage<'_>) -> Result<Starting, StageError> {
        match (&self.mapping, self.join(root, stage)) {
            (_, Some(joined)) => Ok(joined),
            (Some(mapping), None) => spawn::begin_spawn(stage, &UserNamespace::Create(mapping.clone())),
            (None, None) => spawn::begin_spawn(stage, &UserNamespace::None),
        }
    }

    /// Starts a stage in the U that a process holds; `None` if there is none, or it ends between finding and joining it.
    fn join(&self, root: &Path, stage: &Stage<'_>) -> Option<Starting> {
        let held = holders::find(root, &self.mapping.as_ref()?.fingerprint())?;
        spawn::begin_spawn(stage, &UserNamespace::Join(held)).ok()
    }

    /// The U that process `pid` lives in: a container that shares namespaces of another must be born in
    /// the same U, and there may be several with the same maps.
    fn namespace_of(&self, pid: i32) -> Option<UserNamespace> {
        self.mapping.as_ref()?;
        namespace::open(pid, "user").ok().map(UserNamespace::Join)
    }

    /// The U that a running process 1 lives in or right below. Only there is anybody root over it.
    fn namespace_around(&self, pid: i32) -> Option<UserNamespace> {
        if self.mapping.is_none() {
            return Some(UserNamespace::None);
        }
        let ours = namespace::open_own("user").and_then(namespace::identity).ok()?;
        let inner = namespace::open(pid, "user").ok()?;
        let outer = userns::parent_of(inner.as_fd()).ok()?;
        // With --userns=host the container has none of its own: U is a child of ours.
        let around = if namespace::identity(&outer).ok()? == ours { inner } else { outer };
        Some(UserNamespace::Join(around))
    }

    /// The fingerprint of U's maps.
    pub(crate) fn fingerprint(&self) -> String {
        self.mapping.as_ref().map(Mapping::fingerprint).unwrap_or_default()
    }
}

/// Root with CAP_SYS_ADMIN, which can do without a user namespace.
fn may_administer() -> bool {
    const CAP_SYS_ADMIN: u64 = 1 << 21;
    rustix::process::geteuid().is_root()
        && std::fs::read_to_string("/proc/self/status").is_ok_and(|status| {
            status
                .lines()
                .find_map(|line| line.strip_prefix("CapEff:"))
                .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
                .is_some_and(|caps| caps & CAP_SYS_ADMIN != 0)
        })
}

/// A turn among those that start processes in U (see [`holders::turn`]).
#[derive(Debug)]
pub(crate) struct Turn(Option<OwnedFd>);

impl Turn {
    /// Ends when the stage has announced itself. It has its orders.
    pub(crate) fn end(self, root: &Path, child: &Child) {
        if self.0.is_some() {
            holders::await_announced(root, child.pid, child.socket.as_fd());
        }
    }
}

/// A monitor that has its order and has not reported yet.
#[derive(Debug)]
pub(crate) struct Launching {
    child: Child,
    notify_socket: Option<Bytes>,
}

/// The process that is to be a container's monitor, while the container is still being written down: a process in U takes
/// about as long to come up as that takes. Dropped, it ends without having done anything.
#[derive(Debug)]
pub(crate) struct Forerunner {
    id: ContainerId,
    /// Until it has its order.
    coming: Option<(Starting, Turn)>,
}

impl Forerunner {
    /// Sends one ahead for container `id` of the store at `root`, which shares no other container's namespaces.
    ///
    /// # Errors
    ///
    /// A [`Failure`] that says what to tell the user.
    pub(crate) fn send(caller: &Caller, root: &Path, id: &ContainerId) -> Result<Self, Failure> {
        let name = CString::new(id.as_str()).unwrap_or_default();
        let begun = caller.begin_holder(root, &monitor_stage(&[name]));
        Ok(Self { id: id.clone(), coming: Some(begun.map_err(|err| stage_failure(&err))?) })
    }

    /// Whose monitor it is to be.
    pub(crate) fn id(&self) -> &ContainerId {
        &self.id
    }

    fn arrive(mut self) -> Option<Result<(Child, Turn), StageError>> {
        let (starting, turn) = self.coming.take()?;
        Some(starting.finish().map(|child| (child, turn)))
    }
}

impl Drop for Forerunner {
    fn drop(&mut self) {
        if let Some((starting, _)) = self.coming.take() {
            starting.abandon();
        }
    }
}

fn monitor_stage(args: &[CString]) -> Stage<'_> {
    Stage { name: c"monitor", args, detached: true }
}

/// Starts the monitor of container `id`, which starts the container; that is what was sent ahead, if there is such a process.
///
/// `clients` are the sockets of the first clients, whose other ends they keep; `passed` are sockets for
/// published ports.
///
/// # Errors
///
/// A [`Failure`] that says what to tell the user; nothing is left running then.
pub(crate) fn begin(
    caller: &Caller,
    order: &LaunchOrder,
    clients: &[OwnedFd],
    passed: &[OwnedFd],
    ahead: Option<Forerunner>,
) -> Result<Launching, Failure> {
    let args = [CString::new(order.id.as_str()).unwrap_or_default()];
    let stage = monitor_stage(&args);
    let spawned =
        match (ahead.and_then(Forerunner::arrive), order.near.and_then(|pid| caller.namespace_of(pid))) {
            (Some(arrived), _) => arrived,
            (None, Some(shared)) => spawn::spawn(&stage, &shared).map(|child| (child, Turn(None))),
            (None, None) => caller.spawn_holder(&order.root, &stage),
        };
    let (child, turn) = spawned.map_err(|err| stage_failure(&err))?;
    let descriptors: Vec<_> = clients.iter().chain(passed).map(AsFd::as_fd).collect();
    give_order(&child, order, &descriptors)?;
    turn.end(&order.root, &child);
    Ok(Launching { child, notify_socket: order.notify_socket.clone() })
}

impl Launching {
    /// Waits for the monitor's report; returns process 1 in the host's numbers.
    ///
    /// # Errors
    ///
    /// A [`Failure`] that says what to tell the user; nothing is left running then.
    pub(crate) fn finish(self) -> Result<i32, Failure> {
        match reported(&self.child)? {
            LaunchReport::Started { pid, notice } => {
                if let (Some(manager), Some(notice)) = (&self.notify_socket, notice) {
                    notify::tell(manager, &notice);
                }
                Ok(pid)
            }
            LaunchReport::Failed(failure) => {
                // Its last acts, like removing a container that was to be removed, happen before we return.
                self.child.wait().ok();
                Err(failure)
            }
        }
    }
}

/// Starts the monitor of container `id`, which starts the container, and waits for its report.
///
/// Returns process 1 in the host's numbers.
///
/// # Errors
///
/// Those of [`begin`] and [`Launching::finish`].
pub(crate) fn launch(
    caller: &Caller,
    order: &LaunchOrder,
    client: Option<OwnedFd>,
    passed: &[OwnedFd],
) -> Result<i32, Failure> {
    begin(caller, order, client.as_slice(), passed, None)?.finish()
}

/// Starts the container that is held ready in the directory `dir`; returns its process 1.
///
/// # Errors
///
/// Conflict if nobody holds it ready any more; what a start can fail with.
pub(crate) fn start_held(
    dir: BorrowedFd<'_>,
    order: &StartOrder,
    clients: &[OwnedFd],
) -> Result<i32, Failure> {
    let connected =
        socket::connect_at(dir, OsStr::new(START_SOCKET), socket::Kind::Stream).map_err(|err| {
            Failure::new(FailureKind::Conflict, format!("it is not initialized any more: {err}"))
        })?;
    let clients: Vec<_> = clients.iter().map(AsFd::as_fd).collect();
    let answer = wire::send(connected.as_fd(), order, &clients)
        .and_then(|()| wire::receive::<LaunchReport>(connected.as_fd()))
        .map_err(|err| Failure::system("hear from the container's monitor", &err))?;
    match answer.0 {
        LaunchReport::Started { pid, .. } => Ok(pid),
        LaunchReport::Failed(failure) => Err(failure),
    }
}

/// Starts a new monitor for a container whose process 1 is `pid` and whose monitor is gone.
///
/// # Errors
///
/// Conflict if the container has ended, or has a monitor again; what a start can fail with.
pub(crate) fn adopt(caller: &Caller, order: &LaunchOrder, pid: i32) -> Result<(), Failure> {
    let args = [CString::new(order.id.as_str()).unwrap_or_default()];
    let namespace = caller
        .namespace_around(pid)
        .ok_or_else(|| Failure::new(FailureKind::Conflict, "the container is not running"))?;
    let child = spawn::spawn(&monitor_stage(&args), &namespace).map_err(|err| stage_failure(&err))?;
    give_order(&child, order, &[])?;
    match reported(&child)? {
        LaunchReport::Started { .. } => Ok(()),
        LaunchReport::Failed(failure) => Err(failure),
    }
}

/// Tells a monitor what to do. One that has ended before it could be told has said why.
fn give_order(child: &Child, order: &LaunchOrder, descriptors: &[BorrowedFd<'_>]) -> Result<(), Failure> {
    let Err(err) = child.send(order, descriptors) else { return Ok(()) };
    Err(reported(child).err().unwrap_or_else(|| stage_failure(&err.into())))
}

/// A monitor's one report.
fn reported(child: &Child) -> Result<LaunchReport, Failure> {
    child.receive::<LaunchReport>().map(|(report, _)| report).map_err(|err| stage_failure(&err))
}

/// Says why a stage could not be started, and what can be done about it.
pub(crate) fn stage_failure(err: &StageError) -> Failure {
    if matches!(err, StageError::Wire(WireError::Closed)) {
        return Failure::new(FailureKind::System, "a process that worked for this command was killed");
    }
    let mut failure = Failure::system("start a process in the user namespace", err);
    let errno = match err {
        StageError::Namespace { source } | StageError::Setup { source, .. } => *source,
        StageError::Io(err) if err.raw_os_error() == Some(libc::EAGAIN) => nix::errno::Errno::EAGAIN,
        _ => return failure,
    };
    failure.kind = FailureKind::System;
    failure.hint = namespace_hint(errno);
    failure
}

/// What stands in the way of user namespaces on this machine.
fn namespace_hint(errno: nix::errno::Errno) -> Option<String> {
    use nix::errno::Errno;
    let is = |file: &str, value: &str| std::fs::read_to_string(file).is_ok_and(|text| text.trim() == value);
    if is("/proc/sys/user/max_user_namespaces", "0") {
        return Some(
            "user namespaces are switched off; as root: sysctl user.max_user_namespaces=65536".into(),
        );
    }
    if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        return Some("as root: sysctl kernel.unprivileged_userns_clone=1".into());
    }
    if matches!(errno, Errno::EPERM | Errno::EACCES)
        && is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1")
    {
        return Some(format!(
            "AppArmor keeps programs without a profile from user namespaces; as root put\n\n{}\n\
             into /etc/apparmor.d/ketch and run: apparmor_parser -r /etc/apparmor.d/ketch",
            apparmor_profile(&spawn::own_path())
        ));
    }
    match errno {
        Errno::ENOSPC | Errno::EUSERS => {
            Some("too many namespaces; as root raise the sysctl user.max_user_namespaces".into())
        }
        Errno::EAGAIN => Some("too many processes: see `ulimit -u`".into()),
        _ => None,
    }
}

/// The profile that lets the program at `path` make user namespaces, and nothing else (REL-61).
///
/// # Source
///
/// Ubuntu's profiles for bubblewrap's users; apparmor.d(5): a path with odd characters stands in quotes.
fn apparmor_profile(path: &Path) -> String {
    let path = path.display().to_string();
    let quoted = path.contains(|c: char| c.is_whitespace() || "\"[]{}*?^,#".contains(c));
    let escaped: String =
        path.chars().flat_map(|c| "\"[]{}*?^\\".contains(c).then_some('\\').into_iter().chain([c])).collect();
    let shown = if quoted { format!("\"{escaped}\"") } else { escaped };
    format!(
        "abi <abi/4.0>,\ninclude <tunables/global>\nprofile ketch {shown} flags=(unconfined) {{\n  userns,\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// REL-61: for the path that this binary actually has.
    #[test]
    fn the_apparmor_profile_names_the_path() {
        for (path, want) in [
            ("/home/ana/.local/bin/ketch", "profile ketch /home/ana/.local/bin/ketch flags=(unconfined) {"),
            ("/opt/my tools/ketch*", "profile ketch \"/opt/my tools/ketch\\*\" flags=(unconfined) {"),
        ] {
            let profile = apparmor_profile(Path::new(path));
            assert!(profile.contains(want) && profile.lines().count() == 5, "{profile}");
            assert!(profile.contains("\n  userns,\n}"), "{profile}");
        }
    }
}
