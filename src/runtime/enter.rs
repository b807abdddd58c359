//! Joining a running container: `exec`.
//!
//! ```text
//! command ──stage──▶ enter (in U, read-only clone of ketch)
//!                      └─ setns(pidfd of process 1) ─ clone3 ─▶ child in the container ─ execve
//!                         serves the streams as a monitor does, without a log
//! ```
//!
//! The stage's parent half lives in the container's namespaces but its PID namespace, is not dumpable,
//! and its memory belongs to U, so nothing in the container can look into it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::sched::CloneFlags;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use serde::{Deserialize, Serialize};

use crate::attach::client;
use crate::attach::packet::Hello;
use crate::attach::server::Server;
use crate::base::spec::{Process, Record, Security};
use crate::cgroup::admission::{Admission, AdmissionOrder};
use crate::runtime::failure::{Failure, FailureKind};
use crate::runtime::hooks::HookPlan;
use crate::runtime::init::kept;
use crate::runtime::init::run::become_command;
use crate::runtime::launch::{self, Caller};
use crate::runtime::monitor::birth::{StreamPairs, Streams};
use crate::runtime::monitor::cgroups;
use crate::runtime::monitor::serve::{self, Life, Output};
use crate::runtime::seccomp;
use crate::runtime::step::{RunPlan, Stays};
use crate::stage::spawn::{self, Stage, StageError, UserNamespace};
use crate::stage::wire::{self, WireError};
use crate::sys::clone::{self, Cloned};
use crate::sys::poll::{Interest, PollSet};
use crate::sys::signal::SignalFd;
use crate::sys::socket::{self, Kind};
use crate::sys::{namespace, pidfd, process, tty, userns};

/// What to run, and where. Descriptors: the pidfd of process 1, then the socket where clients may connect, then that of
/// the first client unless detached, then that to the monitor, then what the command gets.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EnterOrder {
    /// Process 1 of the container, in the host's numbers.
    pub(crate) pid: i32,
    pub(crate) process: Process,
    pub(crate) security: Security,
    /// Rows and columns of the client's terminal.
    pub(crate) window: Option<(u16, u16)>,
    pub(crate) detached: bool,
    /// There is a socket where further clients may connect.
    #[serde(default)]
    pub(crate) listens: bool,
    /// There is a connection to the monitor, which is to hear of the end of a detached command.
    #[serde(default)]
    pub(crate) tells: bool,
    /// The container's cgroup, if it has one.
    pub(crate) cgroup: Option<AdmissionOrder>,
    /// Numbers under which the command is to find the descriptors that come along last.
    #[serde(default)]
    pub(crate) keep: Vec<i32>,
}

/// The stage's one report; the exit code goes to the client.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum EnterReport {
    /// The command runs as this process of the host.
    Started {
        pid: i32,
    },
    Failed(Failure),
}

/// A command that runs in a container beside process 1.
#[derive(Debug)]
pub(crate) struct Entered {
    /// In the host's numbers.
    pub(crate) pid: i32,
    /// The stage ends the command when this process dies, unless it is told not to.
    leash: OwnedFd,
}

impl Entered {
    /// Lets the command live on after this process. One that has ended already does not mind.
    pub(crate) fn release(&self) -> io::Result<()> {
        match socket::send(self.leash.as_fd(), b"r") {
            Err(err) if !matches!(err.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
                Err(err)
            }
            _ => Ok(()),
        }
    }

    /// The connection to the stage.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.leash.as_fd()
    }
}

/// Runs a command in the container whose present life is `record`.
///
/// `client` is the stage's end of a greeted socket; `listener`, where further clients may connect, is there if the
/// order says so.
///
/// # Errors
///
/// CommandNotFound, NotExecutable, Invalid; Conflict if process 1 has ended.
pub(crate) fn enter(
    caller: &Caller,
    record: &Record,
    order: &EnterOrder,
    sockets: [&Option<OwnedFd>; 3],
    kept: &[OwnedFd],
) -> Result<Entered, Failure> {
    let gone = || Failure::new(FailureKind::Conflict, "the container is not running");
    let first = pidfd::open_verified(record.pid, record.pid_start_ticks, &record.boot_id)
        .map_err(|err| Failure::errno("find process 1", err))?
        .ok_or_else(gone)?;
    let namespace = user_namespace(caller, record)?;
    let stage = Stage { name: c"enter", args: &[], detached: order.detached };
    let child = spawn::spawn(&stage, &namespace).map_err(|err| launch::stage_failure(&err))?;
    let mut descriptors = vec![first.as_fd()];
    descriptors.extend(sockets.into_iter().flatten().chain(kept).map(AsFd::as_fd));
    let report = child
        .send(order, &descriptors)
        .map_err(StageError::from)
        .and_then(|()| child.receive::<EnterReport>())
        .map_err(|err| launch::stage_failure(&err))?;
    match report.0 {
        EnterReport::Started { pid } => Ok(Entered { pid, leash: child.socket }),
        EnterReport::Failed(failure) => Err(failure),
    }
}

/// The user namespace that the stage starts in: that of the container's monitor.
pub(super) fn user_namespace(caller: &Caller, record: &Record) -> Result<UserNamespace, Failure> {
    if caller.mapping.is_none() {
        return Ok(UserNamespace::None);
    }
    // A dead monitor's U is gone from view; the container's own namespace will do, whose owner we are.
    namespace::open(record.monitor_pid, "user")
        .or_else(|_| namespace::open(record.pid, "user"))
        .map(|found| UserNamespace::Join(highest(found)))
        .map_err(|errno| Failure::errno("open the container's user namespace", errno))
}

/// U, for a namespace that is U or below it: a monitor whose container shares another's is in that one's own, where it
/// has no right over what was started in U (the process 1 of `--init`).
fn highest(mut found: OwnedFd) -> OwnedFd {
    let Ok(own) = namespace::open_own("user").and_then(namespace::identity) else { return found };
    while let Ok(parent) = userns::parent_of(found.as_fd())
        && namespace::identity(&parent) != Ok(own)
    {
        found = parent;
    }
    found
}

/// The stage `enter`.
pub(crate) fn main() -> ! {
    let Ok(command) = spawn::begin() else { process::exit_now(125) };
    let Ok((order, descriptors)) = wire::receive::<EnterOrder>(command.as_fd()) else {
        process::exit_now(125)
    };
    if let Err(failure) = carry_out(order, descriptors, &command) {
        wire::send(command.as_fd(), &EnterReport::Failed(failure), &[]).ok();
    }
    process::exit_now(0)
}

/// A command that a monitor runs in its own container, to look how it is.
#[derive(Debug)]
pub(super) struct Probe {
    /// The process beside the container: SIGTERM kills the command.
    pub(super) pidfd: OwnedFd,
    /// A client's connection to it: output, then the end.
    pub(super) socket: OwnedFd,
    report: OwnedFd,
}

impl Probe {
    /// Starts a command as `order` says, beside process 1. Never waits for it: a container may be too busy to
    /// start a command for long.
    ///
    /// The caller has one thread, and is where the stage `enter` would be.
    pub(super) fn start(first: BorrowedFd<'_>, order: EnterOrder) -> io::Result<Self> {
        let (socket, theirs) = socket::pair(Kind::Packet)?;
        client::greet(
            socket.as_fd(),
            Hello { stdout: true, stderr: true, stdin: false, ..Hello::default() },
        )?;
        socket::set_nonblocking(socket.as_fd(), true)?;
        socket::set_nonblocking(theirs.as_fd(), true)?;
        let (report, command) = wire::pair().map_err(io::Error::other)?;
        let first = first.try_clone_to_owned()?;
        match clone::clone3(0).map_err(io::Error::from)? {
            Cloned::Child => {
                // Its parent's sockets, lock and files are not its business.
                process::close_all_but(&[first.as_fd(), theirs.as_fd(), command.as_fd()]);
                if let Err(failure) = carry_out(order, vec![first, theirs], &command) {
                    wire::send(command.as_fd(), &EnterReport::Failed(failure), &[]).ok();
                }
                process::exit_now(0)
            }
            Cloned::Parent { pidfd, .. } => Ok(Self { pidfd, socket, report }),
        }
    }

    /// Why there was no end of a command: to be asked when the connection has ended without one.
    pub(super) fn failure(&self) -> Failure {
        loop {
            match wire::receive::<EnterReport>(self.report.as_fd()) {
                Ok((EnterReport::Failed(failure), _)) => return failure,
                Ok((EnterReport::Started { .. }, _)) => {}
                Err(_) => return Failure::new(FailureKind::System, "the check was killed"),
            }
        }
    }
}

/// Carries an order out; returns when the command has ended and its client, if there is one, knows.
fn carry_out(order: EnterOrder, mut descriptors: Vec<OwnedFd>, command: &OwnedFd) -> Result<(), Failure> {
    let kept = descriptors.split_off(descriptors.len().saturating_sub(order.keep.len()));
    let kept = kept::take(kept, &order.keep)?;
    let mut descriptors = descriptors.into_iter();
    let first = descriptors.next().ok_or_else(|| Failure::new(FailureKind::System, "no process 1 given"))?;
    let signals = serve::signals().map_err(|err| Failure::errno("read signals", err))?;
    if !order.detached {
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM)
            .map_err(|errno| Failure::errno("watch the command", errno))?;
        // It may have ended before that.
        if is_hung_up(command.as_fd()) {
            return Err(Failure::new(FailureKind::System, "nobody waits for the command any more"));
        }
    }
    // While the host's files and cgroups are to be seen.
    let mut admission = Admission::prepare(order.cgroup.as_ref());
    let cgroup_namespace = cgroup_namespace(order.pid)?;
    join(order.pid, &first)?;
    let filter = seccomp::compile(&order.security.seccomp, order.security.capabilities)
        .map_err(|err| Failure::new(FailureKind::Invalid, err.to_string()))?;
    let plan = RunPlan {
        first_of: None,
        tied: false,
        seccomp: (!filter.is_empty()).then_some(filter),
        process: order.process,
        security: order.security,
        stays: Stays::No,
        hooks: HookPlan::default(),
        kept: kept::plan(&kept),
    };
    let terminal = plan.process.terminal.then(|| open_terminal(order.window)).transpose()?;
    let pairs = match &terminal {
        Some(_) => None,
        None => Some(StreamPairs::new(plan.process.open_stdin && !order.detached)?),
    };
    let (report, theirs) = wire::pair().map_err(|err| Failure::errno("make a socket", err))?;
    let (pid, pidfd) = match admission.clone().map_err(|errno| Failure::errno("start a process", errno))? {
        Cloned::Child => {
            drop(report);
            if rustix::io::read(&theirs, &mut [0]) != Ok(1) {
                process::exit_now(125) // the parent knows why
            }
            let Ok(theirs) = kept::out_of_the_way(theirs, &plan.kept) else { process::exit_now(125) };
            let joined = cgroup_namespace.as_ref().map_or(Ok(()), join_cgroup_namespace);
            let failed =
                joined.map_or_else(|failure| failure, |()| child(&plan, terminal, pairs, order.detached));
            wire::send(theirs.as_fd(), &failed, &[]).ok();
            process::exit_now(125)
        }
        Cloned::Parent { pid, pidfd } => (pid, pidfd),
    };
    drop((theirs, kept));
    let admitted = admission.admit(pid).map_err(cgroups::failure).and_then(|()| {
        rustix::io::write(&report, b"g").map_err(|errno| Failure::errno("start the command", errno))
    });
    if let Err(failure) = admitted {
        drop(report);
        pidfd::wait(pidfd.as_fd()).ok();
        return Err(failure);
    }
    if let Err(failure) = await_command(report.as_fd(), &signals) {
        pidfd::end(pidfd.as_fd());
        return Err(failure);
    }
    match wire::receive::<Failure>(report.as_fd()) {
        Err(WireError::Closed) => {}
        Ok((failure, _)) => {
            // Left alone it would be a zombie of the container's process 1.
            pidfd::wait(pidfd.as_fd()).ok();
            return Err(failure);
        }
        Err(err) => return Err(Failure::system("hear from the new process", &err)),
    }
    wire::send(command.as_fd(), &EnterReport::Started { pid }, &[])
        .map_err(|err| Failure::system("report the start", &err))?;
    let teller = if order.tells { descriptors.next_back() } else { None };
    if order.detached && terminal.is_none() {
        drop((report, pairs));
        return outlast(pidfd.as_fd(), &signals, teller.as_ref());
    }
    // With a terminal, somebody has to be at its other end: without, the command would be sent SIGHUP.
    let listener = if order.listens { descriptors.next() } else { None };
    let client = descriptors.next();
    let (output, stdin) = match (terminal, pairs) {
        (Some(terminal), _) => (Output::Terminal(terminal.master), None),
        (None, Some(StreamPairs { ours: Streams::Pipes { stdin, stdout, stderr }, .. })) => {
            (Output::Pipes { stdout, stderr }, stdin)
        }
        (None, _) => return Err(Failure::new(FailureKind::System, "the command has no streams")),
    };
    let failed = |err| Failure::errno("serve the command", err);
    let mut server = Server::new(listener, client).map_err(failed)?;
    let life = Life {
        pidfd,
        output,
        stdin,
        interactive: plan.process.open_stdin,
        stdin_once: true,
        stop_signal: libc::SIGKILL,
        release: if order.detached { None } else { Some(command.try_clone().map_err(failed)?) },
    };
    let outcome = serve::serve(life, &mut server, None, &signals).map_err(failed)?;
    tell(teller.as_ref(), outcome.status.shell_code());
    server.announce(outcome.status.shell_code());
    server.finish().map_err(failed)
}

/// Stays until a command that nobody watches has ended, for somebody has to reap it: its next parent would be process 1 of
/// the machine, or of the container that ketch itself runs in. Not all of those reap (`sleep infinity`), and the end of a
/// PID namespace waits for the zombies that others have in it. Whoever ends this process leaves the command to that.
fn outlast(command: BorrowedFd<'_>, signals: &SignalFd, teller: Option<&OwnedFd>) -> Result<(), Failure> {
    let failed = |err| Failure::errno("wait for the command", err);
    if is_ready_before_the_end(command, signals).map_err(failed)? {
        tell(teller, pidfd::wait(command).map_err(failed)?.shell_code());
    }
    Ok(())
}

/// Tells the monitor of the end of a detached command. One that is gone tells of nothing any more.
fn tell(teller: Option<&OwnedFd>, code: i32) {
    if let Some(socket) = teller {
        client::ended(socket.as_fd(), code).ok();
    }
}

/// Waits until the new process reports, or has become the command. The container's own processes can hold it up for as
/// long as they like: whoever ends this one ends it as well.
fn await_command(report: BorrowedFd<'_>, signals: &SignalFd) -> Result<(), Failure> {
    let failed = |err| Failure::errno("wait for the new process", err);
    if is_ready_before_the_end(report, signals).map_err(failed)? {
        return Ok(());
    }
    Err(Failure::new(FailureKind::System, "the command was ended before it began"))
}

/// Waits until something can be read, or nobody writes any more; false if this process is told to end before.
fn is_ready_before_the_end(readable: BorrowedFd<'_>, signals: &SignalFd) -> io::Result<bool> {
    let mut set = PollSet::default();
    let place = set.add(Some(readable), Interest::READ);
    set.add(Some(signals.as_fd()), Interest::READ);
    loop {
        set.wait(None)?;
        let state = set.ready(place);
        if state.read || state.hung_up {
            return Ok(true);
        }
        if serve::are_told_to_end(signals)? {
            return Ok(false);
        }
    }
}

/// True if nobody is at the other end of a socket.
fn is_hung_up(socket: BorrowedFd<'_>) -> bool {
    let mut set = PollSet::default();
    let place = set.add_for_hang_up(Some(socket));
    set.wait(Some(Duration::ZERO)).is_ok() && set.ready(place).hung_up
}

/// Joins every namespace of process 1 that is not ours already. One of the host's (`--network=host` and its like) is: the
/// kernel would let nobody join it who has no rights over the host.
fn join(pid: i32, first: &OwnedFd) -> Result<(), Failure> {
    let flags = [
        ("mnt", CloneFlags::CLONE_NEWNS),
        ("pid", CloneFlags::CLONE_NEWPID),
        ("ipc", CloneFlags::CLONE_NEWIPC),
        ("uts", CloneFlags::CLONE_NEWUTS),
        ("net", CloneFlags::CLONE_NEWNET),
        ("user", CloneFlags::CLONE_NEWUSER),
    ]
    .into_iter()
    .filter(|(name, _)| is_foreign(pid, name))
    .fold(CloneFlags::empty(), |flags, (_, flag)| flags | flag);
    nix::sched::setns(first, flags).map_err(|errno| Failure::errno("join the container", errno))?;
    // IDs stay the same numbers; which they are is set by the command's own identity later on.
    Ok(())
}

/// Whether process 1 is in another namespace of a kind than this process, as far as that is to be seen.
fn is_foreign(pid: i32, kind: &str) -> bool {
    !namespace::is_shared(pid, kind).unwrap_or(false)
}

/// The cgroup namespace of process 1, if it is not ours. It is opened while this process still has U's capabilities: the kernel
/// lets nobody else look into a process that is not dumpable, as `--init`'s is. That the process was the right
/// one shows when it is joined by its pidfd afterwards.
fn cgroup_namespace(pid: i32) -> Result<Option<OwnedFd>, Failure> {
    if !is_foreign(pid, "cgroup") {
        return Ok(None);
    }
    namespace::open(pid, "cgroup")
        .map(Some)
        .map_err(|errno| Failure::errno("open the container's cgroup namespace", errno))
}

/// The child's part of joining: in the container's cgroup namespace the stage itself would be outside of the
/// tree, and could put nobody into it.
fn join_cgroup_namespace(namespace: &OwnedFd) -> Result<(), Failure> {
    nix::sched::setns(namespace, CloneFlags::CLONE_NEWCGROUP)
        .map_err(|errno| Failure::errno("join the container's cgroup namespace", errno))
}

/// A terminal pair of the container's devpts.
struct Terminal {
    master: OwnedFd,
    slave: OwnedFd,
}

/// Opens a terminal from what is /dev/pts in the container, which may have been tampered with: it must
/// be a devpts and its ptmx the real device.
fn open_terminal(window: Option<(u16, u16)>) -> Result<Terminal, Failure> {
    const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;
    let failed = |errno| Failure::errno("open a terminal in the container", std::io::Error::from(errno));
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let pts =
        rustix::fs::openat2(rustix::fs::CWD, "/dev/pts", flags, Mode::empty(), resolve).map_err(failed)?;
    let kind = rustix::fs::fstatfs(&pts).map_err(failed)?.f_type;
    if kind != DEVPTS_SUPER_MAGIC {
        return Err(Failure::new(FailureKind::Invalid, "/dev/pts of the container is no devpts"));
    }
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let master = rustix::fs::openat(&pts, "ptmx", flags, Mode::empty()).map_err(failed)?;
    let slave = tty::open_peer(master.as_fd())
        .map_err(|err| Failure::errno("open a terminal in the container", err))?;
    if let Some((rows, cols)) = window {
        tty::set_window_size(master.as_fd(), tty::WindowSize { rows, cols }).ok();
    }
    Ok(Terminal { master, slave })
}

/// The new process, on its way to the command. Returns only what went wrong.
fn child(plan: &RunPlan, terminal: Option<Terminal>, pairs: Option<StreamPairs>, detached: bool) -> Failure {
    let prepared =
        rustix::process::setsid().map_err(|errno| Failure::errno("start a session", errno)).and_then(|_| {
            // The caller's keys are not the container's.
            process::new_session_keyring().ok();
            match (&terminal, &pairs) {
                (Some(terminal), _) => {
                    tty::take_as_controlling(terminal.slave.as_fd())
                        .map_err(|err| Failure::errno("take the terminal", err))?;
                    place([&terminal.slave, &terminal.slave, &terminal.slave])
                }
                (None, Some(_)) if detached => Ok(()),
                (None, Some(pairs)) => place(pairs.theirs.each_ref()),
                (None, None) => Ok(()),
            }
        });
    match prepared.and_then(|()| become_command(plan, 3)) {
        Ok(failure) | Err(failure) => failure,
    }
}

fn place(streams: [&OwnedFd; 3]) -> Result<(), Failure> {
    for (stream, number) in streams.into_iter().zip(0..) {
        process::place_at(stream.as_fd(), number)
            .map_err(|errno| Failure::errno("redirect standard streams", errno))?;
    }
    Ok(())
}
