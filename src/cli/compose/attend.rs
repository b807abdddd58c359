//! What an attached `up` does while containers wait until others are ready: it shows the output of those that run
//! already, and listens for interrupts.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use jiff::Timestamp;

use crate::base::id::ContainerId;
use crate::cli::compose::logs::{self, Following, ShownUntil, Style};
use crate::cli::compose::open;
use crate::cli::session::Session;
use crate::compose::plan::Actual;
use crate::compose::project::Project;
use crate::engine::{self, Engine, Error, Kind};
use crate::sys::signal::{SignalFd, SignalSet};

/// How far the output was shown when everything had started.
#[derive(Debug)]
pub(super) struct Begun {
    /// When it began.
    since: Timestamp,
    signals: Option<SignalFd>,
    pub(super) shown_until: ShownUntil,
    /// The exit codes of those that have ended.
    pub(super) over: BTreeMap<ContainerId, i32>,
    /// The user wants it to end.
    pub(super) interrupted: bool,
}

impl Begun {
    fn now() -> Self {
        Self {
            since: Timestamp::now(),
            signals: None,
            shown_until: ShownUntil::new(),
            over: BTreeMap::new(),
            interrupted: false,
        }
    }

    /// Whether a container was started since it began.
    pub(super) fn has_started(&self, engine: &Engine, container: &Actual) -> bool {
        let record = engine.container_summary(&container.id).ok().and_then(|found| found.status.record);
        record.is_some_and(|record| record.started >= self.since)
    }

    /// The signals that interrupt: from the first start on they are this command's to answer.
    ///
    /// # Errors
    ///
    /// If no more descriptors can be opened.
    pub(super) fn signals(&mut self) -> std::io::Result<SignalFd> {
        match self.signals.take() {
            Some(signals) => Ok(signals),
            None => interrupts(),
        }
    }
}

/// What interrupts a command that follows containers.
///
/// # Errors
///
/// If no more descriptors can be opened.
pub(super) fn interrupts() -> std::io::Result<SignalFd> {
    SignalFd::new(&SignalSet::of(&[libc::SIGINT, libc::SIGTERM, libc::SIGHUP]))
}

/// See the module.
pub(super) struct Attendance<'a, 's> {
    session: &'a Session<'s>,
    project: &'a Project,
    /// The services whose output is shown.
    services: &'a [String],
    style: Style,
    state: RefCell<State<'a>>,
}

struct State<'a> {
    begun: Begun,
    /// What is followed now.
    following: Option<(Vec<ContainerId>, Following<'a>)>,
}

impl<'a, 's> Attendance<'a, 's> {
    pub(super) fn new(
        session: &'a Session<'s>,
        project: &'a Project,
        services: &'a [String],
        style: Style,
    ) -> Self {
        let state = RefCell::new(State { begun: Begun::now(), following: None });
        Self { session, project, services, style, state }
    }

    /// Attends for so long; no time at all is the moment before the first start.
    ///
    /// # Errors
    ///
    /// If the user interrupts; reading, and writing to standard output.
    pub(super) fn pause(&self, time: Duration) -> engine::Result<()> {
        self.attend(time).map_err(|err| match err.downcast::<Error>() {
            Ok(err) => err,
            Err(err) => Error::system("show the output of containers", format!("{err:#}")),
        })
    }

    fn attend(&self, time: Duration) -> anyhow::Result<()> {
        let state = &mut *self.state.borrow_mut();
        if time.is_zero() {
            state.begun.signals = Some(interrupts()?);
            return self.announce();
        }
        if let Some(signals) = &state.begun.signals
            && signals.read()?.is_some()
        {
            state.begun.interrupted = true;
            return Err(Error::new(Kind::Conflict, "interrupted").into());
        }
        self.renew(state)?;
        match &mut state.following {
            Some((_, following)) => state.begun.over.extend(following.glance(time)?),
            None => std::thread::sleep(time),
        }
        Ok(())
    }

    /// Says whose output is shown.
    fn announce(&self) -> anyhow::Result<()> {
        let containers = open::containers(self.session, self.project, self.services, false)?;
        let names = containers.iter().map(|c| logs::short_name(&c.name, &self.project.name));
        let names: Vec<&str> = names.filter(|_| !self.style.silent).collect();
        if !names.is_empty() {
            writeln!(std::io::stdout(), "Attaching to {}", names.join(", "))?;
        }
        Ok(())
    }

    /// Follows those that run now, or have ended since this began.
    fn renew(&self, state: &mut State<'a>) -> anyhow::Result<()> {
        let engine = self.session.engine()?;
        let mut containers = open::containers(self.session, self.project, self.services, false)?;
        let style = self.style.wide_enough(&containers, &self.project.name);
        containers.retain(|c| {
            !state.begun.over.contains_key(&c.id) && (c.running || state.begun.has_started(engine, c))
        });
        let ids: Vec<ContainerId> = containers.iter().map(|container| container.id.clone()).collect();
        if state.following.as_ref().is_some_and(|(known, _)| *known == ids) {
            return Ok(());
        }
        if let Some((_, following)) = state.following.take() {
            following.close(&mut state.begun.shown_until)?;
        }
        if !ids.is_empty() {
            let shown = &state.begun.shown_until;
            let following = Following::new(self.session, self.project, &containers, style, shown, None)?;
            state.following = Some((ids, following));
        }
        Ok(())
    }

    /// Ends it, and says how far it has come.
    ///
    /// # Errors
    ///
    /// Writing to standard output.
    pub(super) fn end(self) -> anyhow::Result<Begun> {
        let State { mut begun, following } = self.state.into_inner();
        if let Some((_, following)) = following {
            following.close(&mut begun.shown_until)?;
        }
        Ok(begun)
    }
}
