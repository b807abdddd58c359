//! Health checks: the monitor runs them by its own clock.
//!
//! ```text
//! start ─▶ probe ─▶ conclude ─▶ health.json ─▶ interval ─▶ probe …
//!            │ too slow: killed, a failure         ▲
//!            └ `healthcheck run` asks for one ─────┘
//! ```
//!
//! A probe is a copy of the monitor that joins the container, runs the command and serves its output as
//! `exec` does; the monitor is its client and never waits for it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::attach::client;
use crate::attach::packet::FromMonitor;
use crate::base::health::{
    Check, Checked, Destination, HEALTH_FILE, Health, HealthPlan, HealthState, OnFailure, Startup,
};
use crate::base::spec::{ContainerSpec, Process, Record};
use crate::cgroup::admission::AdmissionOrder;
use crate::events::Event;
use crate::runtime::enter::{EnterOrder, Probe};
use crate::runtime::failure::FailureKind;
use crate::runtime::updates::Updates;
use crate::sys::pidfd;
use crate::sys::poll::{Interest, PollSet};

use super::prepare::secret_variables;
use super::record::{self, PAUSED, STOP_REQUESTED};
use super::tell::Teller;
use super::wiring::NetworkState;

/// Output of a check beyond this is not even looked at, whatever is to be kept of it.
const MAX_OUTPUT: usize = 64 << 10;
/// What a killed check may take to end before its process is killed as well.
const PATIENCE: Duration = Duration::from_secs(5);
/// Answers a client who asks for a check of a container that has none.
pub(super) const NO_CHECK: i32 = 125;
/// The exit code of a check that took too long.
const TOO_SLOW: i32 = -1;

/// What is to become of the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    None,
    /// SIGKILL.
    Kill,
    /// The stop signal, then SIGKILL.
    Stop,
}

/// The health checks of one container, through all its lives.
#[derive(Debug)]
pub(crate) struct Checker {
    /// `None` if its health is not checked.
    checks: Option<Checks>,
    directory: PathBuf,
    store: PathBuf,
    teller: Teller,
    state: HealthState,
    life: Option<Watched>,
    /// It is to be started again when it has ended.
    restart_due: bool,
    /// It has been healthy in this life, and nobody has asked yet ([`Checker::take_news`]).
    news: Option<Health>,
}

/// What is checked, and how its commands run.
#[derive(Debug)]
struct Checks {
    spec: ContainerSpec,
    plan: HealthPlan,
}

impl Checks {
    fn of(spec: &ContainerSpec) -> Option<Self> {
        Some(Self { plan: spec.health.clone()?, spec: spec.clone() })
    }
}

/// The present life.
#[derive(Debug)]
struct Watched {
    pid: i32,
    /// What the file [`PAUSED`] says while this life is paused.
    pause_mark: String,
    /// Where its commands run.
    cgroup: Option<AdmissionOrder>,
    process: OwnedFd,
    started: Instant,
    /// Counts of the start-up check; `None` once it is over.
    startup: Option<Counts>,
    /// When to check again.
    next: Option<Instant>,
    probing: Option<Probing>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    successes: u32,
    failures: u32,
}

/// A check under way.
#[derive(Debug)]
struct Probing {
    probe: Probe,
    began: Timestamp,
    /// When it is killed; then, when its process is.
    deadline: Instant,
    killed: bool,
    output: Vec<u8>,
}

impl Checker {
    /// The health checks of the container of `spec`, if it has any.
    pub(super) fn new(spec: &ContainerSpec, directory: &Path, store: &Path, teller: &Teller) -> Self {
        Self {
            checks: Checks::of(spec),
            directory: directory.to_owned(),
            store: store.to_owned(),
            teller: teller.clone(),
            state: HealthState::default(),
            life: None,
            restart_due: false,
            news: None,
        }
    }

    /// Takes what `update` has written: it holds from now on, and what has changed is checked at once.
    pub(super) fn reload(&mut self) {
        let updates = Updates::read(&self.directory);
        if updates.health.is_none() && !updates.no_health {
            return;
        }
        let Some(mut spec) = record::spec(&self.directory) else { return };
        updates.apply(&mut spec);
        let is_new = self.checks.is_none();
        if self.checks.as_ref().map(|checks| &checks.plan) == spec.health.as_ref() {
            return;
        }
        self.checks = Checks::of(&spec);
        let Some(life) = &mut self.life else { return };
        let Some(checks) = &self.checks else {
            life.next = None;
            life.startup = None;
            if let Some(probing) = life.probing.take() {
                probing.abandon();
            }
            return;
        };
        if checks.plan.startup.is_none() {
            life.startup = None;
        }
        let is_due = check_of(&checks.plan, life).interval_ns > 0;
        life.next = (is_due && life.probing.is_none()).then(Instant::now);
        if is_new {
            self.state = HealthState::default();
            self.write();
        }
    }

    /// A life is about to begin: who sees that it runs does not take the health of the life before for its. What `update`
    /// has written holds.
    pub(super) fn forget(&mut self) {
        self.reload();
        self.state = HealthState::default();
        self.write();
    }

    /// A life has begun.
    pub(super) fn begin(&mut self, record: &Record, process: BorrowedFd<'_>) -> io::Result<()> {
        self.forget();
        let startup = self.checks.as_ref().and_then(|checks| checks.plan.startup.as_ref());
        let startup = startup.map(|_| Counts::default());
        let mut life = Watched {
            pid: record.pid,
            pause_mark: record::pause_mark(record),
            cgroup: record.cgroup.as_ref().map(|leaf| AdmissionOrder {
                leaf: leaf.clone(),
                pid: record.pid,
                systemd: None,
                is_limited: self.checks.as_ref().is_some_and(|checks| checks.spec.needs_its_cgroup()),
            }),
            process: process.try_clone_to_owned()?,
            started: Instant::now(),
            startup,
            next: None,
            probing: None,
        };
        let is_due = |checks: &Checks| check_of(&checks.plan, &life).interval_ns > 0;
        life.next = self.checks.as_ref().is_some_and(is_due).then(Instant::now);
        self.life = Some(life);
        Ok(())
    }

    /// A life has ended, and with it what is under way.
    pub(super) fn end(&mut self) {
        if let Some(probing) = self.life.take().and_then(|life| life.probing) {
            probing.abandon();
        }
    }

    /// True if the container was stopped to be started again; asking forgets it.
    pub(super) fn take_restart(&mut self) -> bool {
        std::mem::take(&mut self.restart_due)
    }

    /// What the last check has found, once.
    pub(super) fn take_news(&mut self) -> Option<Health> {
        self.news.take()
    }

    /// Readable when [`Checker::on_ready`] has something to do.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.life.as_ref()?.probing.as_ref().map(|probing| probing.probe.socket.as_fd())
    }

    /// When [`Checker::on_time`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let life = self.life.as_ref()?;
        match &life.probing {
            Some(probing) => Some(probing.deadline),
            None => life.next,
        }
    }

    /// Begins a check that is due, or kills one that takes too long. Answers the exit code of a check that
    /// is over, and what it means for the container.
    pub(super) fn on_time(&mut self) -> Option<(i32, Action)> {
        let now = Instant::now();
        if self.deadline().is_some_and(|deadline| deadline <= now) && self.is_paused() {
            self.put_off();
            return None;
        }
        let life = self.life.as_mut()?;
        match &mut life.probing {
            None if life.next.is_some_and(|next| next <= now) => self.probe(),
            Some(probing) if probing.deadline <= now && !probing.killed => {
                probing.killed = true;
                probing.deadline = now + PATIENCE;
                pidfd::send_signal(probing.probe.pidfd.as_fd(), libc::SIGTERM).ok();
                None
            }
            Some(probing) if probing.deadline <= now => {
                pidfd::send_signal(probing.probe.pidfd.as_fd(), libc::SIGKILL).ok();
                self.conclude(TOO_SLOW)
            }
            _ => None,
        }
    }

    /// Checks now, unless a check is under way already. As [`Checker::on_time`].
    pub(super) fn check_now(&mut self) -> Option<(i32, Action)> {
        if self.checks.is_none() {
            return Some((NO_CHECK, Action::None));
        }
        match self.life.as_ref()?.probing {
            Some(_) => None,
            // It cannot answer; who asks is told as much before (`Engine::check_health`).
            None if self.is_paused() => Some((NO_CHECK, Action::None)),
            None => self.probe(),
        }
    }

    /// Is this life held still? Then no check would end, which says nothing about how the container is.
    fn is_paused(&self) -> bool {
        let mark = std::fs::read(self.directory.join(PAUSED)).ok();
        let of_life = |life: &Watched| mark.is_some_and(|mark| mark == life.pause_mark.as_bytes());
        self.life.as_ref().is_some_and(of_life)
    }

    /// Looks again after an interval; a check that the pause has caught gets its whole time anew.
    fn put_off(&mut self) {
        let (Some(life), Some(checks)) = (&mut self.life, &self.checks) else { return };
        let now = Instant::now();
        let timeout = Duration::from_nanos(check_of(&checks.plan, life).timeout_ns);
        let interval = interval_of(&checks.plan, life, self.state.status);
        match &mut life.probing {
            Some(probing) => probing.deadline = now + timeout,
            None => life.next = (interval > 0).then(|| now + Duration::from_nanos(interval)),
        }
    }

    fn probe(&mut self) -> Option<(i32, Action)> {
        let (life, checks) = (self.life.as_mut()?, self.checks.as_ref()?);
        let check = check_of(&checks.plan, life);
        let mut order = order(&checks.spec, check, life.pid)?;
        // What process 1 has beside its configuration. A secret that cannot be read is missed by the check itself.
        if !checks.spec.network.links.is_empty()
            && let Some(state) = NetworkState::read(&self.directory)
        {
            order.process.env.splice(..0, state.link_environment);
        }
        let secrets = secret_variables(&checks.spec, &self.directory, &self.store);
        order.process.env.extend(secrets.unwrap_or_default());
        order.cgroup.clone_from(&life.cgroup);
        let deadline = Instant::now() + Duration::from_nanos(check.timeout_ns);
        let began = Timestamp::now();
        life.next = None;
        match Probe::start(life.process.as_fd(), order) {
            Ok(probe) => {
                life.probing = Some(Probing { probe, began, deadline, killed: false, output: Vec::new() });
                None
            }
            Err(err) => {
                let text = format!("start the check: {err}");
                Some((125, self.settle(began, 125, text)))
            }
        }
    }

    /// Takes what a check says. As [`Checker::on_time`].
    pub(super) fn on_ready(&mut self) -> Option<(i32, Action)> {
        let mut buffer = [0; 4096];
        loop {
            let probing = self.life.as_mut()?.probing.as_mut()?;
            match client::receive(probing.probe.socket.as_fd(), &mut buffer) {
                Ok(Some(FromMonitor::Output(_, data))) => {
                    let room = MAX_OUTPUT.saturating_sub(probing.output.len());
                    probing.output.extend_from_slice(&data[..data.len().min(room)]);
                }
                Ok(Some(FromMonitor::Exit(code))) => return self.conclude(code),
                Ok(Some(_)) => {}
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => return None,
                Ok(None) | Err(_) => {
                    let failure = probing.probe.failure();
                    probing.output.extend_from_slice(failure.message.as_bytes());
                    let code = match failure.kind {
                        FailureKind::CommandNotFound => 127,
                        FailureKind::NotExecutable => 126,
                        _ => 125,
                    };
                    return self.conclude(code);
                }
            }
        }
    }

    /// A check has ended with `code`.
    fn conclude(&mut self, code: i32) -> Option<(i32, Action)> {
        let life = self.life.as_mut()?;
        let probing = life.probing.take()?;
        let plan = &self.checks.as_ref()?.plan;
        pidfd::wait(probing.probe.pidfd.as_fd()).ok();
        let mut output = String::from_utf8_lossy(&probing.output).into_owned();
        let code = if probing.killed {
            let seconds = Duration::from_nanos(check_of(plan, life).timeout_ns).as_secs_f64();
            output = format!("Error: healthcheck command exceeded timeout of {seconds}s");
            TOO_SLOW
        } else {
            code
        };
        Some((code, self.settle(probing.began, code, output)))
    }

    /// Notes a check and decides what it means.
    fn settle(&mut self, start: Timestamp, exit_code: i32, output: String) -> Action {
        let checked = Checked { start, end: Timestamp::now(), exit_code, output };
        let mut said = String::new();
        match self.checks.as_ref().map(|checks| &checks.plan.log) {
            Some(log) if log.destination != Destination::Events => self.state.note(checked, log),
            _ => said.clone_from(&checked.output),
        }
        let action = self.judge(exit_code == 0);
        if self.checks.as_ref().is_some_and(|checks| checks.plan.silent) {
            return action;
        }
        self.teller.look_for_name();
        self.teller.tell(&[Event {
            health_status: self.state.status.word().to_owned(),
            health_failing_streak: Some(self.state.failing_streak),
            health_log: said,
            ..self.teller.event("health_status")
        }]);
        action
    }

    /// Decides what a check means, and when the next one is due.
    fn judge(&mut self, well: bool) -> Action {
        let (Some(life), Some(checks)) = (&mut self.life, &self.checks) else { return Action::None };
        let plan = &checks.plan;
        let mut at_once = false;
        let mut restart = false;
        match (&mut life.startup, &plan.startup) {
            (Some(counts), Some(Startup { check, successes })) => {
                if well {
                    counts.successes += 1;
                    at_once = counts.successes >= (*successes).max(1);
                } else {
                    counts.failures += 1;
                    restart = check.retries > 0 && counts.failures >= check.retries;
                }
            }
            _ => {
                let counts = !(is_early(plan, life) && self.state.status == Health::Starting);
                advance(&mut self.state, well, counts, plan.check.retries);
                self.news = Some(self.state.status);
            }
        }
        if at_once {
            life.startup = None;
        }
        let interval = interval_of(plan, life, self.state.status);
        life.next = match at_once {
            // It is being stopped: no further check is to say so again.
            _ if restart => None,
            true => Some(Instant::now()),
            false => (interval > 0).then(|| Instant::now() + Duration::from_nanos(interval)),
        };
        self.write();
        if restart {
            self.restart_due = true;
            return Action::Stop;
        }
        if self.state.status == Health::Unhealthy { self.punish() } else { Action::None }
    }

    /// What an unhealthy container is in for.
    fn punish(&mut self) -> Action {
        let on_failure = self.checks.as_ref().map_or(OnFailure::None, |checks| checks.plan.on_failure);
        match on_failure {
            OnFailure::None => return Action::None,
            OnFailure::Kill => {}
            OnFailure::Restart => self.restart_due = true,
            // As if the user had stopped it: no restart policy brings it back.
            OnFailure::Stop => drop(std::fs::File::create(self.directory.join(STOP_REQUESTED))),
        }
        if let Some(life) = &mut self.life {
            life.next = None;
        }
        if on_failure == OnFailure::Kill { Action::Kill } else { Action::Stop }
    }

    /// Writes the state down. A full disk must not end a container; the next check tries again.
    fn write(&self) {
        let Some(checks) = &self.checks else { return };
        let Ok(text) = serde_json::to_vec(&self.state) else { return };
        replace(&self.directory, HEALTH_FILE, &text).ok();
        if let Destination::Directory(directory) = &checks.plan.log.destination {
            let log = serde_json::json!({
                "Status": self.state.status.word(),
                "FailingStreak": self.state.failing_streak,
                "Log": self.state.log,
            });
            let name = format!("{}-healthcheck.log", checks.spec.id);
            replace(directory, &name, log.to_string().as_bytes()).ok();
        }
    }
}

/// Counts a check: `counts` is false for a failure that is too early to count.
fn advance(state: &mut HealthState, well: bool, counts: bool, retries: u32) {
    if well {
        (state.status, state.failing_streak) = (Health::Healthy, 0);
    } else if counts {
        state.failing_streak += 1;
        if state.failing_streak >= retries {
            state.status = Health::Unhealthy;
        }
    }
}

/// True while failures do not count.
fn is_early(plan: &HealthPlan, life: &Watched) -> bool {
    life.started.elapsed() < Duration::from_nanos(plan.check.start_period_ns)
}

/// The pause before the next check, in nanoseconds; 0 for no other.
fn interval_of(plan: &HealthPlan, life: &Watched, status: Health) -> u64 {
    let check = check_of(plan, life);
    let has_early = check.start_interval_ns > 0 && check.interval_ns > 0;
    if has_early && status == Health::Starting && is_early(plan, life) {
        check.start_interval_ns
    } else {
        check.interval_ns
    }
}

/// The check that is due in this part of a life.
fn check_of<'a>(plan: &'a HealthPlan, life: &Watched) -> &'a Check {
    match (&plan.startup, life.startup) {
        (Some(startup), Some(_)) => &startup.check,
        _ => &plan.check,
    }
}

/// How the command of a check runs: as the container's own, without input.
fn order(spec: &ContainerSpec, check: &Check, pid: i32) -> Option<EnterOrder> {
    let process = Process {
        args: check.words()?,
        create_cwd: false,
        terminal: false,
        open_stdin: false,
        ..spec.process.clone()
    };
    Some(EnterOrder {
        pid,
        process,
        security: spec.security.clone(),
        window: None,
        detached: false,
        listens: false,
        tells: false,
        cgroup: None,
        keep: Vec::new(),
    })
}

fn replace(directory: &Path, name: &str, text: &[u8]) -> io::Result<()> {
    let new = directory.join(format!("{name}.new"));
    std::fs::write(&new, text)?;
    std::fs::rename(&new, directory.join(name))
}

impl Probing {
    /// Ends a check whose container has ended: its command has died with it, or does now.
    fn abandon(self) {
        pidfd::send_signal(self.probe.pidfd.as_fd(), libc::SIGTERM).ok();
        let mut set = PollSet::default();
        set.add(Some(self.probe.pidfd.as_fd()), Interest::READ);
        if !set.wait(Some(PATIENCE)).unwrap_or(false) {
            pidfd::send_signal(self.probe.pidfd.as_fd(), libc::SIGKILL).ok();
        }
        pidfd::wait(self.probe.pidfd.as_fd()).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_count() {
        use Health::{Healthy, Starting, Unhealthy};
        let mut state = HealthState::default();
        for (well, counts, want) in [
            (false, false, (Starting, 0)),
            (false, true, (Starting, 1)),
            (true, true, (Healthy, 0)),
            (false, true, (Healthy, 1)),
            (false, true, (Unhealthy, 2)),
            (false, true, (Unhealthy, 3)),
            (true, true, (Healthy, 0)),
        ] {
            advance(&mut state, well, counts, 2);
            assert_eq!((state.status, state.failing_streak), want);
        }
    }
}
