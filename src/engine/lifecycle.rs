//! Ending containers and waiting for their end: stop, kill, wait.
//!
//! ```text
//! stop   mark "stop requested" ─▶ stop signal ─▶ …grace… ─▶ SIGKILL ─▶ the monitor says Exit
//! ```
//!
//! Signals go through the monitor's socket, and its last packet is the end: no looking again and again.
//! A container whose monitor is gone is signalled and awaited by a pidfd.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::attach::client;
use crate::attach::packet::Hello;
use crate::base::id::ContainerId;
use crate::base::image_ref::NameRule;
use crate::base::signal::Signal;
pub(crate) use crate::engine::condition::Condition;
use crate::engine::events::Event;
use crate::engine::health;
use crate::engine::state::{self, Phase, Status};
use crate::engine::{Engine, Error, Kind, Result};
use crate::logs::watch::Watch;
use crate::runtime::monitor::record::{RESTART_REQUESTED, STOP_REQUESTED};
use crate::runtime::send_signal;
use crate::sys::fs::{self, OFlags};
use crate::sys::poll::{Interest, PollSet};

/// How long a container may take to die of SIGKILL, and a monitor to start or to go away.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause between two looks at what nothing reports.
const LOOK: Duration = Duration::from_millis(2);

/// How a stop went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// There was nothing to stop.
    Idle,
    /// The stop signal was enough.
    Gently,
    /// It took SIGKILL, after this signal and this grace.
    Killed { signal: Option<Signal>, grace: Duration },
}

/// What to stop, and for how long to be gentle.
#[derive(Clone, Debug)]
pub(crate) struct StopOrder {
    pub(crate) id: ContainerId,
    /// Before SIGKILL; `None` for the container's own setting.
    pub(crate) grace: Option<Grace>,
    /// Instead of the container's own stop signal.
    pub(crate) signal: Option<Signal>,
}

/// How long to wait before SIGKILL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grace {
    For(Duration),
    Endless,
}

impl Grace {
    /// From `--time`: negative numbers wait for ever.
    pub(crate) fn from_seconds(seconds: i64) -> Self {
        u64::try_from(seconds).map_or(Self::Endless, |seconds| Self::For(Duration::from_secs(seconds)))
    }

    fn deadline(self) -> Option<Instant> {
        match self {
            Self::For(time) => Instant::now().checked_add(time),
            Self::Endless => None,
        }
    }
}

/// A container that runs, as those hold it who want its end.
enum Held {
    /// Connected to its monitor, which was greeted.
    Monitor(OwnedFd),
    /// Its process 1, which has no monitor.
    Process(OwnedFd),
}

impl Held {
    /// Becomes readable at the end.
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Monitor(fd) | Self::Process(fd) => fd.as_fd(),
        }
    }
}

/// A stop under way.
struct Stopping {
    held: Held,
    status: Status,
    /// What it was sent first.
    asked: i32,
    /// What it was sent last.
    signal: i32,
    grace: Grace,
    deadline: Option<Instant>,
    killed: bool,
    /// It is to be removed at its end: by its monitor, or if it has lost that, by whoever stops it.
    remove: bool,
    /// What is noted when it has stopped.
    event: Option<Event>,
}

impl Engine {
    /// Stops containers, all at once: each gets its stop signal now, and its own grace. The answers are
    /// in the order of the orders.
    pub(crate) fn stop(&self, orders: &[StopOrder]) -> Vec<Result<Stopped>> {
        let mut answers: Vec<Option<Result<Stopped>>> = Vec::new();
        let mut under_way = Vec::new();
        for (index, order) in orders.iter().enumerate() {
            match self.begin_stop(order) {
                Ok(Some(stopping)) => {
                    under_way.push((index, stopping));
                    answers.push(None);
                }
                Ok(None) => answers.push(Some(Ok(Stopped::Idle))),
                Err(err) => answers.push(Some(Err(err))),
            }
        }
        let mut set = PollSet::default();
        while !under_way.is_empty() {
            set.clear();
            for (_, stopping) in &under_way {
                set.add(Some(stopping.held.as_fd()), Interest::READ);
            }
            let next = under_way.iter().filter_map(|(_, stopping)| stopping.deadline).min();
            let pause = next.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let waited = set.wait(pause);
            let mut place = 0;
            under_way.retain_mut(|(index, stopping)| {
                let ready = set.ready(place).read;
                place += 1;
                let answer = match &waited {
                    Err(err) => Some(Err(Error::system("wait for containers", err.to_string()))),
                    Ok(_) => self.advance_stop(&orders[*index].id, stopping, ready).transpose(),
                };
                let goes_on = answer.is_none();
                if answer.is_some() {
                    answers[*index] = answer;
                }
                goes_on
            });
        }
        answers.into_iter().flatten().collect()
    }

    /// Sends the stop signal; `None` if there is nothing to stop.
    fn begin_stop(&self, order: &StopOrder) -> Result<Option<Stopping>> {
        let dir = self.store().containers().open(&order.id)?;
        let status = self.status_with_monitor(dir.as_fd(), &order.id)?;
        if status.paused && !self.resumes() {
            let message = format!(
                "can only stop created or running containers. {} is in state paused: container state improper",
                order.id
            );
            return Err(Error::new(Kind::Conflict, message).hint("let it go on first: unpause"));
        }
        if matches!(status.phase, Phase::Created | Phase::Exited(_)) {
            self.end_pod_after(dir.as_fd(), &order.id, &status);
            return Ok(None);
        }
        mark(dir.as_fd(), STOP_REQUESTED, &order.id)?;
        let Some((held, status)) = self.hold(dir.as_fd(), &order.id)? else { return Ok(None) };
        let spec = state::read_spec(dir.as_fd(), &order.id)?;
        let grace = order.grace.unwrap_or(match spec.stop.timeout_s {
            u32::MAX => Grace::Endless,
            seconds => Grace::For(Duration::from_secs(seconds.into())),
        });
        let signal = match status.phase {
            // It waits for its start, and for nothing else.
            Phase::Initialized => Signal::KILL.number(),
            _ => order.signal.map_or(spec.stop.signal, Signal::number),
        };
        let remove = spec.auto_remove && fs::stat_at(&dir, RESTART_REQUESTED).is_err();
        let event = Some(self.event_of("stop", &spec));
        let mut stopping = Stopping {
            held,
            status,
            asked: signal,
            signal,
            grace,
            deadline: grace.deadline(),
            killed: false,
            remove,
            event,
        };
        self.record(sent(self.event_of("kill", &spec), signal).dockers_alone());
        self.deliver(&order.id, &stopping.held, &stopping.status, signal)?;
        if stopping.status.paused {
            self.resume(&order.id);
        }
        if grace == Grace::For(Duration::ZERO) {
            stopping.kill(self, &order.id)?;
        }
        Ok(Some(stopping))
    }

    /// Looks at one stop: `ready` says that its end is there to be read.
    fn advance_stop(
        &self,
        id: &ContainerId,
        stopping: &mut Stopping,
        ready: bool,
    ) -> Result<Option<Stopped>> {
        if ready && stopping.has_ended(self, id)? {
            self.await_release(id)?;
            if let Some(event) = stopping.event.take() {
                self.record(Event { time: jiff::Timestamp::now(), ..event });
            }
            if stopping.remove && matches!(stopping.held, Held::Process(_)) {
                self.discard_container(id);
            }
            return Ok(Some(match (stopping.killed, stopping.grace) {
                (true, Grace::For(grace)) if !grace.is_zero() => {
                    Stopped::Killed { signal: Signal::from_number(stopping.asked), grace }
                }
                _ => Stopped::Gently,
            }));
        }
        if stopping.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            if stopping.killed {
                return Err(Error::new(
                    Kind::System,
                    format!("stop container {}: {}", id.short(), why_undead(&stopping.status)),
                ));
            }
            stopping.kill(self, id)?;
        }
        Ok(None)
    }

    /// Sends `signal` to process 1 of a running container.
    ///
    /// # Errors
    ///
    /// [`Kind::Conflict`] if it does not run.
    pub(crate) fn kill(&self, id: &ContainerId, signal: Signal) -> Result<()> {
        let dir = self.store().containers().open(id)?;
        let status = self.status_with_monitor(dir.as_fd(), id)?;
        let not_running = |phase: Phase| {
            let state = phase.word();
            let message = format!(
                "can only kill running containers. {id} is in state {state}: container state improper"
            );
            Error::new(Kind::Conflict, message)
        };
        if !status.phase.is_running() || status.phase == Phase::Initialized {
            return Err(not_running(status.phase));
        }
        let spec = state::read_spec(dir.as_fd(), id)?;
        // A signal that ends it by the user's wish is a stop; any other is the container's own affair.
        let ends = signal == Signal::KILL || signal.number() == spec.stop.signal;
        if ends {
            mark(dir.as_fd(), STOP_REQUESTED, id)?;
        }
        let Some((held, status)) = self.hold(dir.as_fd(), id)? else {
            return Err(not_running(state::examine(dir.as_fd(), id)?.phase));
        };
        // Its end comes after that.
        self.record(sent(self.event_of("kill", &spec), signal.number()));
        self.deliver(id, &held, &status, signal.number())?;
        if ends && signal != Signal::KILL && status.paused && self.resumes() {
            self.resume(id);
        }
        if signal == Signal::KILL {
            Stopping::killed(held, status).await_end(self, id)?;
            self.await_release(id)?;
        }
        Ok(())
    }

    /// Whether who is to end goes on for that where it is paused, as docker has it: podman refuses.
    pub(super) fn resumes(&self) -> bool {
        self.name_rule() == NameRule::Docker
    }

    /// Lets one go on that was told to end. What cannot go on is killed after its grace.
    fn resume(&self, id: &ContainerId) {
        self.unpause(id).ok();
    }

    /// Kills a container of which something cannot be read, so that it can be removed: by its monitor, which
    /// needs none of its files for that, else by its record.
    pub(super) fn kill_damaged(&self, dir: BorrowedFd<'_>, id: &ContainerId) -> Result<()> {
        mark(dir, STOP_REQUESTED, id)?;
        let (held, status) = match connect(dir) {
            Ok(socket) => (Held::Monitor(socket), Status::of(Phase::Up)),
            Err(_) => match self.hold(dir, id) {
                Ok(Some(found)) => found,
                // It does not run, or nobody can say what of it runs.
                _ => return Ok(()),
            },
        };
        self.deliver(id, &held, &status, Signal::KILL.number())?;
        Stopping::killed(held, status).await_end(self, id)
    }

    /// Gets hold of a running container; `None` if it has ended meanwhile.
    fn hold(&self, dir: BorrowedFd<'_>, id: &ContainerId) -> Result<Option<(Held, Status)>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = state::examine(dir, id)?;
            match status.phase {
                Phase::Created | Phase::Exited(_) => return Ok(None),
                Phase::Unmonitored => {
                    let process = status.process().map_err(|err| failed("find process 1", id, err))?;
                    return Ok(process.map(|process| (Held::Process(process), status)));
                }
                Phase::Starting | Phase::Initialized | Phase::Up | Phase::Ending(_) => match connect(dir) {
                    Ok(socket) => return Ok(Some((Held::Monitor(socket), status))),
                    // Not there yet, or not any more: look again.
                    Err(err) if is_absent(&err) && Instant::now() < deadline => std::thread::sleep(LOOK),
                    Err(err) => return Err(failed("connect to the monitor", id, err)),
                },
            }
        }
    }

    /// Gets hold of a container whose monitor has gone without a word; `None` if it has ended, too, or nobody can
    /// say what of it runs.
    fn hold_orphan(&self, id: &ContainerId) -> Result<Option<(Held, Status)>> {
        let Ok(dir) = self.store().containers().open(id) else { return Ok(None) };
        match state::examine(dir.as_fd(), id) {
            Ok(status) if status.phase.is_running() => self.hold(dir.as_fd(), id),
            _ => Ok(None),
        }
    }

    /// Sends a signal to what is held. That it has just ended is no failure.
    fn deliver(&self, id: &ContainerId, held: &Held, status: &Status, signal: i32) -> Result<()> {
        let directly = |record| send_signal::send(&self.caller(), self.store().root(), record, signal);
        let sent = match (held, &status.record) {
            (Held::Monitor(socket), record) => match (client::send_signal(socket.as_fd(), signal), record) {
                // Its monitor is held up.
                (Err(err), Some(record)) if err.kind() == std::io::ErrorKind::WouldBlock => directly(record),
                (sent, _) => sent,
            },
            (Held::Process(_), Some(record)) => directly(record),
            (Held::Process(_), None) => Ok(()),
        };
        match sent {
            Err(err) if err.raw_os_error() != Some(libc::ESRCH) => {
                Err(failed("send a signal to process 1", id, err))
            }
            _ => Ok(()),
        }
    }

    /// Waits until the monitor of a container that has ended lets go of it, so that it can be started
    /// or removed at once.
    fn await_release(&self, id: &ContainerId) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let Ok(dir) = self.store().containers().open(id) else { return Ok(()) };
        while matches!(state::examine(dir.as_fd(), id)?.phase, Phase::Ending(_)) && Instant::now() < deadline
        {
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Waits until a container is in one of the states `conditions`. Answers its exit code if it has
    /// ended, else -1. `interval` is how often to look where nothing reports changes.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`] if it was removed before it came so far.
    pub(crate) fn wait(&self, id: &ContainerId, conditions: &[Condition], interval: Duration) -> Result<i32> {
        let containers = self.store().containers();
        let dir = containers.open(id)?;
        let for_end = conditions.contains(&Condition::Stopped);
        let watch = Watch::new().and_then(|watch| watch.add(dir.as_fd()).map(|()| watch)).ok();
        loop {
            let examined = self.status_with_monitor(dir.as_fd(), id);
            // In this order: what is left of one that is being removed looks as if it had never run.
            if !containers.exists(id) {
                return match examined.map(|status| status.phase) {
                    _ if conditions.contains(&Condition::Removing) => Ok(-1),
                    // It was removed at its end, and its record not yet.
                    Ok(Phase::Exited(code) | Phase::Ending(code)) if for_end => Ok(code),
                    _ => for_end
                        .then(|| self.recent_exit_code(id.as_str()))
                        .flatten()
                        .ok_or_else(|| state::gone(id)),
                };
            }
            let status = examined?;
            if let Some(code) = conditions.iter().find_map(|condition| condition.met_by(&status)) {
                return Ok(code);
            }
            if self.has_health(dir.as_fd(), id, &status, conditions)? {
                return Ok(-1);
            }
            match status.phase {
                Phase::Up | Phase::Starting | Phase::Initialized if for_end && conditions.len() == 1 => {
                    if let Some(code) = wait_for_exit(dir.as_fd(), id)? {
                        return Ok(code);
                    }
                    std::thread::sleep(LOOK);
                }
                _ => pause(watch.as_ref(), &status, interval).map_err(|err| failed("wait for", id, err))?,
            }
        }
    }
}

impl Engine {
    /// True if a container's health is one of `conditions`.
    ///
    /// # Errors
    ///
    /// If it never will be, and nothing else is waited for: it has no check, or has ended.
    fn has_health(
        &self,
        dir: BorrowedFd<'_>,
        id: &ContainerId,
        status: &Status,
        conditions: &[Condition],
    ) -> Result<bool> {
        let is_health = |condition: &Condition| matches!(condition, Condition::Health(_));
        if !conditions.iter().any(is_health) {
            return Ok(false);
        }
        if conditions.iter().all(is_health) {
            if let (Some(Condition::Health(wanted)), None) =
                (conditions.first(), state::read_spec(dir, id)?.health.as_ref())
            {
                let wanted = wanted.word();
                return Err(Error::invalid(format!(
                    "cannot use condition {wanted:?}: container {id} has no healthcheck"
                )));
            }
            if let Phase::Exited(_) = status.phase {
                return Err(Error::new(Kind::Conflict, format!("container {id} is not running")));
            }
        }
        // Of an earlier life, as long as this one has not begun.
        let health = if status.phase == Phase::Up { health::read(dir, id)? } else { None };
        Ok(health.is_some_and(|state| conditions.contains(&Condition::Health(state.status))))
    }
}

impl Stopping {
    /// Of a container that was sent SIGKILL: nothing is left but to wait for it.
    fn killed(held: Held, status: Status) -> Self {
        Self {
            held,
            status,
            asked: Signal::KILL.number(),
            signal: Signal::KILL.number(),
            grace: Grace::Endless,
            deadline: None,
            killed: true,
            remove: false,
            event: None,
        }
    }

    fn kill(&mut self, engine: &Engine, id: &ContainerId) -> Result<()> {
        (self.killed, self.signal) = (true, Signal::KILL.number());
        self.deadline = Some(Instant::now() + PATIENCE);
        if let Some(event) = &self.event {
            let event = Event { time: jiff::Timestamp::now(), status: "kill".to_owned(), ..event.clone() };
            engine.record(sent(event, self.signal).dockers_alone());
        }
        engine.deliver(id, &self.held, &self.status, self.signal)
    }

    /// Reads what there is to be read: true if it is the end. A monitor that went away without a word was killed
    /// itself, and its container may live on: then that is held, and told once more.
    fn has_ended(&mut self, engine: &Engine, id: &ContainerId) -> Result<bool> {
        let Held::Monitor(socket) = &self.held else { return Ok(true) };
        if client::wait_for_exit(socket.as_fd()).map_err(|err| failed("wait for", id, err))?.is_some() {
            return Ok(true);
        }
        let Some((held, status)) = engine.hold_orphan(id)? else { return Ok(true) };
        (self.held, self.status) = (held, status);
        engine.deliver(id, &self.held, &self.status, self.signal)?;
        Ok(false)
    }

    /// Waits for the end.
    fn await_end(&mut self, engine: &Engine, id: &ContainerId) -> Result<()> {
        let mut set = PollSet::default();
        loop {
            set.clear();
            set.add(Some(self.held.as_fd()), Interest::READ);
            if !set.wait(Some(PATIENCE)).map_err(|err| failed("wait for", id, err))? {
                let message = format!("kill container {}: {}", id.short(), why_undead(&self.status));
                return Err(Error::new(Kind::System, message));
            }
            if self.has_ended(engine, id)? {
                return Ok(());
            }
        }
    }
}

/// The event of a signal.
fn sent(event: Event, signal: i32) -> Event {
    event.with("signal", signal)
}

/// Why nobody tells of a container's end that was sent SIGKILL.
fn why_undead(status: &Status) -> String {
    match (&status.record, status.process()) {
        (Some(record), Ok(None)) => {
            format!("it has ended, but its monitor, process {}, does not answer", record.monitor_pid)
        }
        _ => "its processes do not die of SIGKILL: the kernel is waiting for a device or a file system"
            .to_owned(),
    }
}

/// Waits for the end of a container that has a monitor; `None` if the monitor has gone without telling.
fn wait_for_exit(dir: BorrowedFd<'_>, id: &ContainerId) -> Result<Option<i32>> {
    match connect(dir) {
        Ok(socket) => client::wait_for_exit(socket.as_fd()).map_err(|err| failed("wait for", id, err)),
        Err(err) if is_absent(&err) => Ok(None),
        Err(err) => Err(failed("connect to the monitor", id, err)),
    }
}

/// Waits for a change in the container's directory, for the end of a process without a monitor, or
/// for `interval`.
fn pause(watch: Option<&Watch>, status: &Status, interval: Duration) -> io::Result<()> {
    let process = match status.phase {
        Phase::Unmonitored => status.process()?,
        _ => None,
    };
    let mut set = PollSet::default();
    set.add(watch.map(AsFd::as_fd), Interest::READ);
    set.add(process.as_ref().map(AsFd::as_fd), Interest::READ);
    set.wait(Some(interval))?;
    watch.map_or(Ok(()), Watch::clear)
}

/// Connects to a monitor and asks for no streams.
pub(crate) fn connect(dir: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let socket = client::connect(dir)?;
    client::greet(socket.as_fd(), Hello::default())?;
    Ok(socket)
}

/// True if nobody listens, or not any more.
pub(crate) fn is_absent(err: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotFound};
    matches!(err.kind(), NotFound | ConnectionRefused | ConnectionReset | BrokenPipe)
}

/// Tells a monitor what the user wishes, by a file that it looks for when the container ends.
pub(super) fn mark(dir: BorrowedFd<'_>, wish: &str, id: &ContainerId) -> Result<()> {
    match fs::open_at(dir, wish, OFlags::WRONLY | OFlags::CREATE, 0o600) {
        // Whatever has the name says as much: only its presence is looked at.
        Err(err) if err.kind() == io::ErrorKind::IsADirectory => Ok(()),
        opened => opened.map(drop).map_err(|err| failed("leave a mark for the monitor", id, err)),
    }
}

fn failed(
    action: &str,
    id: &ContainerId,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::system(format!("{action}: container {}", id.short()), source)
}
