//! The monitor: one small process per container, from its start to its exit record.
//!
//! ```text
//! order ─▶ lock · spec.json · announce ─▶ clone3 ─▶ ID maps ─▶ "go" ─▶ init's steps ─▶ execve
//!                                          │                              │ end of file
//!                                          └──── failure ◀────────────────┤
//!          record.json ◀── Started{pid} ──────────────────────────────────┘
//!          serve: log, clients, reaping ─▶ record.json ─▶ Exit to clients ─▶ (restart | remove | end)
//! ```
//!
//! A monitor that was killed is replaced: its successor adopts the running process 1 (`adopt`).
//!
//! It lives in U and in a mount namespace of its own; the container's own namespaces are children.

mod adopt;
pub(crate) mod birth;
pub(crate) mod cgroups;
mod company;
mod etcfiles;
mod expected;
pub(crate) mod health;
mod hold;
mod input;
mod join;
mod links;
mod log;
pub(crate) mod notify;
mod outside;
mod pace;
pub(crate) mod pod;
pub(crate) mod ports;
pub(crate) mod prepare;
pub(crate) mod record;
mod restart;
pub(crate) mod serve;
mod shared_shm;
mod source;
mod tell;
mod volumes;
pub(crate) mod wiring;

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};

use crate::attach::server::Server;
use crate::base::spec::{ContainerSpec, HookStage};
use crate::events::Event;
use crate::runtime::clean;
use crate::runtime::failure::{Failure, FailureKind};
use crate::runtime::hooks::HookPlan;
use crate::runtime::init::{self, kept};
use crate::runtime::launch::{LaunchOrder, LaunchReport};
use crate::runtime::monitor::birth::Living;
use crate::runtime::monitor::cgroups::Cgroups;
use crate::runtime::monitor::company::Company;
use crate::runtime::monitor::health::Checker;
use crate::runtime::monitor::log::Log;
use crate::runtime::monitor::notify::Notifier;
use crate::runtime::monitor::pod::EndsWithLast;
use crate::runtime::monitor::serve::{Life, Outcome, Output};
use crate::runtime::monitor::tell::Teller;
use crate::runtime::monitor::wiring::Wiring;
pub(crate) use crate::runtime::plan::secret_file;
use crate::runtime::still::Still;
use crate::runtime::updates::Updates;
use crate::stage::{holders, spawn, wire};
use crate::store::Store;
use crate::store::staging::Staged;
use crate::sys::signal::SignalFd;
use crate::sys::{clone, fs, pidfd, process, socket};

/// The monitor's own state, for one container.
struct Monitor {
    order: LaunchOrder,
    /// `containers/<id>`.
    directory: PathBuf,
    spec: ContainerSpec,
    teller: Teller,
    /// The command's standard streams, if the container has them (`--log-driver=passthrough`).
    stdio: Option<[OwnedFd; 3]>,
    /// Descriptors that the command gets, with the numbers it finds them under.
    kept: Vec<(OwnedFd, i32)>,
    /// Held for the monitor's whole life: this is what "running" means.
    lock: OwnedFd,
}

/// The stage `monitor`.
pub(crate) fn main() -> ! {
    let Ok(command) = spawn::begin() else { process::exit_now(125) };
    let Ok((order, descriptors)) = wire::receive::<LaunchOrder>(command.as_fd()) else {
        process::exit_now(125)
    };
    if order.notify_socket.is_some() && clone::become_orphan().is_err() {
        process::exit_now(125)
    }
    let own_pid = std::process::id().cast_signed();
    let root = order.root.clone();
    // The first clients, if there are some, then the passed sockets, then the streams of a container that has
    // those of the command, then what its command is to have besides.
    let mut descriptors = descriptors;
    let kept = descriptors.split_off(descriptors.len().saturating_sub(order.keep.len()));
    let stdio =
        if order.stdio { descriptors.split_off(descriptors.len().saturating_sub(3)) } else { Vec::new() };
    let passed = descriptors.split_off(descriptors.len().saturating_sub(order.passed_sockets));
    let mut place = None;
    let outcome = Monitor::new(order, stdio, kept).and_then(|monitor| {
        place.clone_from(&monitor.spec.pod);
        monitor.run(&command, descriptors, passed, own_pid)
    });
    let code = outcome.unwrap_or_else(|failure| {
        let ends = EndsWithLast::of(&root, place.as_ref());
        // Once the start was reported nobody reads this any more; the record has it.
        wire::send(command.as_fd(), &LaunchReport::Failed(failure), &[]).ok();
        // Who waits for the start does this when they have let go of the pod.
        if let Some(infra) = ends {
            infra.end(&root, Duration::ZERO);
        }
        125
    });
    holders::withdraw(&root, own_pid);
    // The monitor is the main process of a systemd service: the container's code decides on Restart=on-failure.
    process::exit_now(code)
}

impl Monitor {
    fn new(order: LaunchOrder, stdio: Vec<OwnedFd>, kept: Vec<OwnedFd>) -> Result<Self, Failure> {
        let directory =
            order.directory.clone().unwrap_or_else(|| order.root.join("containers").join(order.id.as_str()));
        let what = || format!("read the spec of container {}", order.id);
        // Whoever removes a container holds its lock until it is gone: the spec is read behind that.
        let lock = lock(&directory)?;
        let text = std::fs::read(directory.join("spec.json")).map_err(|err| match err.kind() {
            std::io::ErrorKind::NotFound => gone(),
            _ => Failure::errno(what(), err),
        })?;
        let mut spec: ContainerSpec =
            serde_json::from_slice(&text).map_err(|err| Failure::system(what(), &err))?;
        Updates::read(&directory).apply(&mut spec);
        if spec.tied {
            nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
                .map_err(|errno| Failure::errno("watch the command", errno))?;
        }
        let teller = Teller::new(&order, &spec);
        let stdio = <[OwnedFd; 3]>::try_from(stdio).ok();
        let kept = kept::take(kept, &order.keep)?;
        Ok(Self { order, directory, spec, teller, stdio, kept, lock })
    }

    /// Starts the container and watches it to its end, again and again if its restart policy says so; its last exit code.
    fn run(
        mut self,
        command: &OwnedFd,
        clients: Vec<OwnedFd>,
        passed: Vec<OwnedFd>,
        own_pid: i32,
    ) -> Result<i32, Failure> {
        // Whoever wishes for the end of a container that is adopted may have said so already.
        if !self.order.adopt {
            for mark in [record::STOP_REQUESTED, record::RESTART_REQUESTED] {
                std::fs::remove_file(self.directory.join(mark)).ok();
            }
        }
        let signals = serve::signals().map_err(|err| Failure::errno("read signals", err))?;
        // Not to announce only costs others time.
        holders::announce(&self.order.root, own_pid, &self.order.fingerprint).ok();
        let mut command = Some(command);
        let mut pauses = restart::Pauses::new(&self.spec);
        let opened = self.open_server(clients).and_then(|server| Ok((server, self.first_turn(&signals)?)));
        let (mut server, mut turn) = match opened {
            Ok(opened) => opened,
            Err(failure) => {
                self.could_not_start(&failure);
                return Err(failure);
            }
        };
        let mut cgroups = self.cgroups();
        let has_cgroup = if self.order.adopt { Ok(()) } else { cgroups.prepare(&self.spec.cgroup) };
        let prepared = match has_cgroup.and_then(|()| Wiring::prepare(&self, passed)) {
            // Better without its network than without a monitor.
            Err(_) if self.order.adopt => Ok((None, None, self.open_log().unwrap_or_default())),
            wiring => wiring.and_then(|wiring| Ok((wiring, self.notifier()?, self.open_log()?))),
        };
        let (mut wiring, mut notifier, mut log) = match prepared {
            Ok(prepared) => prepared,
            Err(failure) => {
                cgroups.remove();
                self.refuse(&failure, &mut server);
                return Err(failure);
            }
        };
        let mut health = Checker::new(&self.spec, &self.directory, &self.order.root, &self.teller);
        // An adopted container has begun long ago.
        let mut beginning = if self.order.adopt { Vec::new() } else { vec!["init", "start"] };
        if self.order.tell_attached {
            beginning.push("attach");
        }
        loop {
            health.forget();
            let mut living = self.begin_life(own_pid, wiring.as_mut(), &mut cgroups, &mut server)?;
            drop(turn.take());
            let mut starter = None;
            if living.held.is_some() {
                let listener = hold::listen(&self.directory)?;
                self.teller.tell(&[self.teller.event("init")]);
                command.take().iter().for_each(|command| report_start(command, living.record.pid, None));
                starter = self
                    .await_start(&mut living, &listener, &mut server, &signals)
                    .inspect_err(|_| cgroups.remove())?;
                // One that was ended before its start has not started.
                beginning = starter.as_ref().map_or_else(Vec::new, hold::Starter::events);
            }
            if living.held.is_none() || starter.is_some() {
                self.run_late_hooks(HookStage::Poststart, living.record.pid);
            }
            self.teller.tell_beginning(&self.directory, &beginning);
            beginning = vec!["restart", "init", "start"];
            for command in command.take().into_iter().chain(starter.as_ref().map(hold::Starter::command)) {
                report_start(command, living.record.pid, notifier.as_ref().map(Notifier::at_start));
            }
            if let Some(notifier) = &mut notifier {
                notifier.started();
            }
            let started = Instant::now();
            let mounted = self.keep_mounted(living.record.pid);
            let company = Company {
                wiring: wiring.as_mut(),
                health: Some(&mut health),
                notifier: notifier.as_mut(),
                grace: self.grace(),
                teller: Some(&self.teller),
            };
            let (exit_code, told_to_end) =
                self.live(living, &mut server, &mut log, &signals, company, &cgroups)?;
            self.teller.look_for_name();
            self.teller.tell_end(&self.directory, exit_code, started.elapsed());
            let unhealthy = health.take_restart() && !self.directory.join(record::STOP_REQUESTED).exists();
            let restarts = self.order.restarts;
            let is_due = |pauses: &mut restart::Pauses| {
                unhealthy || pauses.is_due(&self.directory, exit_code, restarts, started.elapsed())
            };
            if told_to_end || !is_due(&mut pauses) {
                cgroups.remove();
                wiring.into_iter().for_each(Wiring::end);
                self.end(server, exit_code, mounted);
                return Ok(exit_code);
            }
            server.announce(exit_code);
            // The next life mounts the same directories.
            drop(mounted);
            if unhealthy || pauses.pause(&self.directory, &signals) {
                turn = restart::await_turn(&self.directory, &signals, Duration::MAX).unwrap_or_default();
            }
            if turn.is_none() {
                cgroups.remove();
                wiring.into_iter().for_each(Wiring::end);
                self.end(server, exit_code, None);
                return Ok(exit_code);
            }
            self.order.restarts += 1;
        }
    }

    /// Waits for the first life's turn, which one that is adopted has had.
    fn first_turn(&self, signals: &SignalFd) -> Result<Option<Still>, Failure> {
        if self.order.adopt {
            return Ok(None);
        }
        let turn = restart::await_turn(&self.directory, signals, LONGEST_COPY)
            .map_err(|err| Failure::errno("lock the container's directory", err))?;
        let busy = || Failure::new(FailureKind::Conflict, "its files are in use: a copy is under way");
        turn.ok_or_else(busy).map(Some)
    }

    /// The container's name; its short ID if it has none.
    fn name(&self) -> String {
        let names = Store::open(&self.order.root).and_then(|store| store.names().of(&self.spec.id));
        let name = names.ok().and_then(|names| names.into_iter().next());
        name.unwrap_or_else(|| self.spec.id.short().to_owned())
    }

    /// Starts the container, or takes over the one that runs.
    fn begin_life(
        &mut self,
        own_pid: i32,
        wiring: Option<&mut Wiring>,
        cgroups: &mut Cgroups,
        server: &mut Server,
    ) -> Result<Living, Failure> {
        if self.order.adopt {
            let living = adopt::adopt(self, own_pid)?;
            self.order.restarts = living.record.restarts;
            cgroups.adopt(living.record.cgroup.as_deref());
            self.order.adopt = false;
            if let Some(wiring) = wiring {
                wiring.adopt(living.record.pid);
            }
            return Ok(living);
        }
        // A machine may have crashed since its last mount. It has not while this container was restarted; and what a
        // crash leaves is not worth more than a new start.
        if self.spec.auto_remove {
            init::mounts::forget_volatile(&self.directory.join("work"));
        }
        Updates::read(&self.directory).apply(&mut self.spec);
        birth::start(self, own_pid, wiring, cgroups).inspect_err(|failure| {
            cgroups.remove();
            self.refuse(failure, server);
        })
    }

    /// Has a container's root file system outlive its process 1, by an open descriptor. When the last user of an
    /// overlay goes, the kernel first writes to the disk all that waits for it, of the whole file system below, which
    /// may take seconds: so the end is told before that, and not after.
    fn keep_mounted(&self, pid: i32) -> Option<OwnedFd> {
        if self.spec.auto_remove {
            // Its overlay is volatile: nothing is written.
            return None;
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // Too late if it has ended: then all is written.
        rustix::fs::open(format!("/proc/{pid}/root"), flags, Mode::empty()).ok()
    }

    /// Between the stop signal and SIGKILL; `None` for ever.
    fn grace(&self) -> Option<Duration> {
        let seconds = self.spec.stop.timeout_s;
        (seconds != u32::MAX).then(|| Duration::from_secs(seconds.into()))
    }

    /// The way to the service manager that has started the command.
    fn notifier(&mut self) -> Result<Option<Notifier>, Failure> {
        Notifier::prepare(self.order.notify_socket.as_ref(), &mut self.spec, &self.directory)
            .map_err(|err| Failure::errno("prepare to notify the service manager", err))
    }

    /// The hooks of a stage, for a container whose process 1 is `pid`.
    fn hooks(&self, stage: HookStage, pid: i32) -> HookPlan {
        HookPlan::new(&self.spec, stage, pid, &self.directory)
    }

    /// Runs hooks that can stop nothing any more.
    fn run_late_hooks(&self, stage: HookStage, pid: i32) {
        self.hooks(stage, pid).run().ok();
    }

    /// What it will hold of cgroups.
    fn cgroups(&self) -> Cgroups {
        let stop_seconds = u64::from(self.spec.stop.timeout_s).min(LONGEST_STOP_SECONDS);
        Cgroups::new(self.order.id.as_str(), self.order.cgroups.clone(), stop_seconds)
    }

    /// Opens the log, for all lives.
    fn open_log(&self) -> Result<Option<Log>, Failure> {
        Log::open(&self.directory, &self.spec, self.teller.name(), &self.order.journal)
    }

    /// Opens the socket for clients; the first ones are connected already.
    fn open_server(&self, clients: Vec<OwnedFd>) -> Result<Server, Failure> {
        let listener = listen(&self.directory)?;
        Server::new(Some(listener), clients).map_err(|err| Failure::errno("serve clients", err))
    }

    /// One life: from the running command to its record. Its exit code, and whether the monitor was told to end it.
    fn live(
        &self,
        living: Living,
        server: &mut Server,
        log: &mut Option<Log>,
        signals: &SignalFd,
        mut company: Company<'_>,
        cgroups: &Cgroups,
    ) -> Result<(i32, bool), Failure> {
        let Living { pidfd, streams, record, held: _ } = living;
        if let Some(health) = &mut company.health {
            health.begin(&record, pidfd.as_fd()).map_err(|err| Failure::errno("watch the container", err))?;
        }
        let (output, stdin) = match streams {
            birth::Streams::Terminal(master) => (Output::Terminal(master), None),
            birth::Streams::Pipes { stdin, stdout, stderr } => (Output::Pipes { stdout, stderr }, stdin),
            birth::Streams::Passed => (Output::Passed, None),
        };
        let life = Life {
            pidfd,
            output,
            stdin,
            interactive: self.spec.process.open_stdin,
            stdin_once: self.spec.process.stdin_once,
            stop_signal: self.spec.stop.signal,
            release: None,
        };
        if self.spec.stop.run_limit_s > 0 {
            // Comes as SIGALRM, which `serve` obeys with SIGKILL.
            nix::unistd::alarm::set(left_of(self.spec.stop.run_limit_s, record.pid_start_ticks));
        }
        process::trim_heap();
        let Outcome { status, at, told_to_end } =
            serve::serve_in_company(life, server, log.as_mut(), signals, &mut company)
                .map_err(|err| Failure::errno("watch the container", err))?;
        let told_to_end = told_to_end | silence_alarm(signals);
        if let Some(health) = &mut company.health {
            health.end();
        }
        let exit_code = status.shell_code();
        let oom_killed = cgroups.leave();
        let error = match log.as_ref().map_or(0, Log::lost_bytes) {
            0 => String::new(),
            lost => format!("{lost} bytes of the log could not be written"),
        };
        let write_end = || record::end(&self.directory, &record, at, exit_code, oom_killed, &error);
        if write_end().is_err() && Store::open(&self.order.root).is_ok_and(|store| store.release_reserve()) {
            // The disk was full. If it still is, clients hear the code and later ones read "unknown".
            write_end().ok();
        }
        self.run_late_hooks(HookStage::Poststop, 0);
        Ok((exit_code, told_to_end))
    }

    /// The last life is over. Whoever waits sees the container in its final state, free to be started
    /// or removed, and does not wait for the cleaning up or for a slower client.
    fn end(self, mut server: Server, exit_code: i32, mounted: Option<OwnedFd>) {
        pod::take_leave(&self);
        let restarts = self.directory.join(record::RESTART_REQUESTED).exists();
        let stays = !self.spec.auto_remove || restarts;
        let leftover = if stays { None } else { take_away(&self.order.root, &self.spec) };
        if leftover.is_some() {
            let event = self.teller.event("remove");
            self.teller.tell(&[Event { container_exit_code: Some(exit_code), ..event }]);
        }
        let place = self.spec.pod.as_ref().filter(|_| !restarts);
        let ends = EndsWithLast::of(&self.order.root, place);
        drop(self.lock);
        server.announce_last(exit_code);
        server.finish().ok();
        if let Some(leftover) = leftover {
            leftover.remove().ok();
        }
        drop(mounted);
        if let Some(infra) = ends {
            infra.end(&self.order.root, pod::END_PATIENCE);
        }
    }

    /// Notes that the container could not start, and tells those who wait for it.
    fn refuse(&self, failure: &Failure, server: &mut Server) {
        self.could_not_start(failure);
        server.announce(failure.exit_code());
    }

    /// The failure goes into the record, too, unless nothing is to stay.
    fn could_not_start(&self, failure: &Failure) {
        if self.order.adopt {
            // The container runs, whatever its next monitor cannot do.
            return;
        }
        pod::take_leave(self);
        if self.spec.auto_remove {
            if let Some(taken) = take_away(&self.order.root, &self.spec) {
                taken.remove().ok();
            }
        } else {
            record::could_not_start(&self.directory, failure, failure.exit_code(), self.order.restarts);
        }
    }
}

/// What is left of `limit` seconds to a process that was started at `start_ticks`, also where another monitor began to count;
/// at least one.
fn left_of(limit: u32, start_ticks: u64) -> u32 {
    let age = pidfd::age(start_ticks).as_secs();
    limit.saturating_sub(u32::try_from(age).unwrap_or(u32::MAX)).max(1)
}

/// No alarm comes any more, nor waits to be read: it was for the life that is over. True if there was a signal that says that
/// no other is to follow.
fn silence_alarm(signals: &SignalFd) -> bool {
    nix::unistd::alarm::cancel();
    serve::are_told_to_end(signals).unwrap_or(false)
}

/// Tells the command that waits for it that process 1 is there.
fn report_start(command: &OwnedFd, pid: i32, notice: Option<String>) {
    wire::send(command.as_fd(), &LaunchReport::Started { pid, notice }, &[]).ok();
    // The command must see the end of the stream although this process lives on.
    rustix::net::shutdown(command, rustix::net::Shutdown::Both).ok();
}

fn gone() -> Failure {
    Failure::new(FailureKind::Gone, "the container was removed")
}

/// Takes the container's lock; its file is there from the first start on.
fn lock(directory: &Path) -> Result<OwnedFd, Failure> {
    let path = directory.join("lock");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
    let opened = rustix::fs::open(&path, flags, Mode::from_raw_mode(0o600));
    let file = opened.map_err(|errno| match errno {
        rustix::io::Errno::NOENT => gone(),
        _ => Failure::errno(format!("open {}", path.display()), errno),
    })?;
    // A command that looks at the state shares the lock for a moment (engine::state), which may be long on a busy machine.
    let lock = |share, patience| {
        fs::lock_within(&file, share, patience, Duration::from_millis(1))
            .map_err(|err| Failure::errno("lock the container", err))
    };
    let begun = Instant::now();
    while !lock(fs::Share::Exclusive, LOCK_PATIENCE)? {
        let is_somebodys = !lock(fs::Share::Shared, Duration::ZERO)?;
        if is_somebodys || begun.elapsed() > LOOKERS_PATIENCE {
            return Err(Failure::new(FailureKind::Conflict, "the container is already running"));
        }
    }
    Ok(file)
}

/// A container that is waited for for ever does not keep the machine from going down for longer, in seconds.
const LONGEST_STOP_SECONDS: u64 = 90;

/// How long a start waits for a copy of the container's files.
const LONGEST_COPY: Duration = Duration::from_secs(60);

/// How long another monitor, or a command that removes the container, may hold the lock.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

/// How long those may hold it who only look at the state.
const LOOKERS_PATIENCE: Duration = Duration::from_secs(30);

/// Opens `attach.sock`, in place of one that an earlier life left behind.
fn listen(directory: &Path) -> Result<OwnedFd, Failure> {
    let failed = |err: std::io::Error| Failure::errno("open the container's attach socket", err);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory =
        rustix::fs::open(directory, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
    rustix::fs::unlinkat(&directory, "attach.sock", rustix::fs::AtFlags::empty()).ok();
    socket::listen_at(directory.as_fd(), OsStr::new("attach.sock"), socket::Kind::Packet).map_err(failed)
}

/// Takes a container that is to be removed out of the store, with what belongs to it alone. From here
/// on it does not exist; what is returned still has to be deleted.
fn take_away(root: &Path, spec: &ContainerSpec) -> Option<Staged> {
    let store = Store::open(root).ok()?;
    let lock = store.lock(&mut |_, _| {}).ok()?;
    let taken = store.containers().take(&spec.id, &lock).ok()?;
    // What others use stays; so do all if that cannot be told.
    for (_, volume) in store.take_unused_volumes(spec.anonymous_volumes()).unwrap_or_default() {
        volume.remove().ok();
    }
    clean::remove_files(spec);
    taken
}
