//! An attached `up`: shows the output of what was started until it ends, or the user wants to stop it.
//!
//! ```text
//! output ──▶ all have ended ─▶ done          one has ended ─▶ note; abort? ─▶ stop all
//!        ──▶ ctrl-C ─▶ stop signals, grace ──▶ ctrl-C ─▶ SIGKILL
//! ```

use std::collections::BTreeSet;
use std::io::Write;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::base::id::ContainerId;
use crate::base::signal::Signal;
use crate::cli::compose::attend::{Attendance, Begun};
use crate::cli::compose::down::end_group;
use crate::cli::compose::logs::{self, Followed, Following, ShownUntil};
use crate::cli::compose::open::{self, Shown};
use crate::cli::compose::watch::{self, Watching};
use crate::cli::session::{Exit, Session};
use crate::compose::apply::{Compose, UpOptions};
use crate::compose::observe;
use crate::compose::plan::Actual;
use crate::compose::project::Project;
use crate::engine::Kind;
use crate::engine::lifecycle::Grace;
use crate::sys::signal::SignalFd;

/// Whose end stops all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Abort {
    Never,
    OnExit,
    /// Only with another exit code than 0.
    OnFailure,
}

impl Abort {
    fn is_meant(self, code: i32) -> bool {
        self == Self::OnExit || self == Self::OnFailure && code != 0
    }
}

/// What is shown of what is started, and when it ends.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "docker compose's flags")]
pub(super) struct Attached {
    pub(super) no_color: bool,
    pub(super) no_log_prefix: bool,
    pub(super) timestamps: bool,
    /// What is shown of how images are got.
    pub(super) making: Shown,
    pub(super) watch: bool,
    pub(super) abort: Abort,
    pub(super) exit_code_from: Option<String>,
    /// The services whose output is shown.
    pub(super) shown: Vec<String>,
    /// All services that are started.
    pub(super) order: Vec<String>,
}

impl Attached {
    /// The services that are followed: where nothing is shown, the end of all is waited for.
    fn followed(&self) -> &[String] {
        if self.shown.is_empty() { &self.order } else { &self.shown }
    }

    fn style(&self, session: &Session<'_>) -> logs::Style {
        logs::Style {
            colour: session.out_is_tty && !self.no_color && !session.globals.project.no_colour,
            prefix: !self.no_log_prefix,
            timestamps: self.timestamps,
            silent: self.shown.is_empty(),
            split: true,
            width: 0,
        }
    }
}

/// Makes and starts what `options` say, and follows it to its end.
///
/// # Errors
///
/// What cannot be made or started; reading, and writing to standard output; what cannot be stopped.
pub(super) fn up(
    session: &mut Session<'_>,
    project: &Project,
    how: &Attached,
    options: &UpOptions,
) -> anyhow::Result<Exit> {
    session.out.flush()?;
    let shown = Shown { hooks: true, ..how.making };
    let attendance = Attendance::new(session, project, how.followed(), how.style(session));
    let pause = |time| attendance.pause(time);
    let made = open::with_pause(session, project, shown, &pause, |compose| Ok(compose.up(options)?));
    let mut begun = attendance.end()?;
    let signals = begun.signals()?;
    let following = Follow { session, project, how, signals, grace: options.grace };
    match made {
        Err(_) if begun.interrupted => {
            following.stop_all(INTERRUPTED)?;
            following.show_rest(&begun)?;
            Ok(Exit(130))
        }
        Err(err) => {
            // Why it has failed may stand in what a container has written.
            following.show_rest(&begun)?;
            Err(err)
        }
        Ok(_) => following.run(begun, &options.services),
    }
}

const INTERRUPTED: &str = "Gracefully stopping... (press Ctrl+C again to force)";
const ABORTED: &str = "Aborting on container exit...";

/// What is followed.
struct Follow<'a, 's> {
    session: &'a Session<'s>,
    project: &'a Project,
    how: &'a Attached,
    signals: SignalFd,
    grace: Option<Grace>,
}

impl Follow<'_, '_> {
    fn run(&self, begun: Begun, named: &[String]) -> anyhow::Result<Exit> {
        // One that ended before all had started counts as well.
        let exit = match begun.over.values().copied().find(|code| self.how.abort.is_meant(*code)) {
            Some(code) => {
                self.stop_all(ABORTED)?;
                self.show_rest(&begun)?;
                exit_of(code)
            }
            None => self.show(begun, named)?,
        };
        let Some(service) = &self.how.exit_code_from else { return Ok(exit) };
        let container = open::container(self.session, self.project, service, None)?;
        let found = self.session.engine()?.container_summary(&container.id)?;
        Ok(exit_of(found.status.exit_code()))
    }

    /// Shows the output to the end.
    fn show(&self, begun: Begun, named: &[String]) -> anyhow::Result<Exit> {
        let Begun { mut shown_until, over, .. } = begun;
        let mut over: BTreeSet<ContainerId> = over.into_keys().collect();
        let triggers = if self.how.watch { watch::triggers(self.project, named)? } else { Vec::new() };
        let mut watching =
            self.how.watch.then(|| Watching::new(self.project, &triggers, false, true)).transpose()?;
        if let Some(watching) = &mut watching {
            watching.begin(self.session)?;
        }
        loop {
            let beside = watching.as_ref().map(|watching| watching.as_fd());
            let is_wanted = |container: &Actual| container.running || !over.contains(&container.id);
            let mut following = self.following(is_wanted, &shown_until)?;
            loop {
                match following.follow(Some(&self.signals), beside)? {
                    Followed::All => return Ok(Exit::OK),
                    Followed::Awaited => break,
                    Followed::Ended(_, code) | Followed::Restarts(code) if self.how.abort.is_meant(code) => {
                        self.stop_all(ABORTED)?;
                        following.rest()?;
                        return Ok(exit_of(code));
                    }
                    Followed::Restarts(_) => {}
                    Followed::Ended(id, _) => {
                        over.insert(id);
                    }
                    Followed::Interrupted => {
                        self.stop_all(INTERRUPTED)?;
                        following.rest()?;
                        return Ok(Exit(130));
                    }
                }
            }
            following.close(&mut shown_until)?;
            if let Some(watching) = &mut watching {
                watching.follow_changes(self.session)?;
            }
        }
    }

    /// The output of the containers as they are now, of those that `are_wanted`.
    fn following(
        &self,
        are_wanted: impl Fn(&Actual) -> bool,
        shown_until: &ShownUntil,
    ) -> anyhow::Result<Following<'_>> {
        let mut containers = open::containers(self.session, self.project, self.how.followed(), false)?;
        let style = self.how.style(self.session).wide_enough(&containers, &self.project.name);
        containers.retain(are_wanted);
        Following::new(self.session, self.project, &containers, style, shown_until, None)
    }

    /// Shows what containers have still written that were started, and have ended.
    fn show_rest(&self, begun: &Begun) -> anyhow::Result<()> {
        let engine = self.session.engine()?;
        // One that is about to end is waited for.
        open::with(self.session, self.project, false, |compose| Ok(compose.containers().map(drop)?))?;
        let is_wanted = |container: &Actual| {
            !container.running
                && !begun.over.contains_key(&container.id)
                && begun.has_started(engine, container)
        };
        self.following(is_wanted, &begun.shown_until)?.rest()
    }

    /// Stops the containers of all services; a signal meanwhile kills them.
    fn stop_all(&self, why: &str) -> anyhow::Result<()> {
        say!("{why}");
        let containers = open::containers(self.session, self.project, &self.how.order, false)?;
        let mut grace = self.grace;
        open::with(self.session, self.project, false, |compose| {
            for group in compose.stop_groups(containers) {
                if grace != Some(NOW) && ask_to_end(compose, &group, grace, &self.signals)? {
                    grace = Some(NOW);
                }
                end_group(compose, &group, grace)?;
            }
            Ok(())
        })
    }
}

/// The exit code of a container as this command's own.
pub(super) fn exit_of(code: i32) -> Exit {
    Exit(u8::try_from(code).unwrap_or(1))
}

/// No waiting: SIGKILL at once.
const NOW: Grace = Grace::For(Duration::ZERO);

/// Sends the stop signals and waits for the ends; true if the user interrupts that.
fn ask_to_end(
    compose: &Compose<'_>,
    group: &[Actual],
    grace: Option<Grace>,
    signals: &SignalFd,
) -> anyhow::Result<bool> {
    let mut limit = Duration::ZERO;
    for container in group.iter().filter(|container| container.running) {
        let now = compose.engine.container_summary(&container.id);
        if now.is_ok_and(|now| now.will_restart()) {
            // There is nobody to be asked between two lives, and no further one is wanted.
            compose.end(&[container], grace)?;
            continue;
        }
        compose.before_stop(container)?;
        let stop = compose.engine.container_spec(&container.id)?.stop;
        let own = Grace::from_seconds(if stop.timeout_s == u32::MAX { -1 } else { stop.timeout_s.into() });
        limit = limit.max(match grace.unwrap_or(own) {
            Grace::For(time) => time,
            Grace::Endless => Duration::MAX,
        });
        match Signal::from_number(stop.signal).map(|signal| compose.engine.kill(&container.id, signal)) {
            // It has ended by itself meanwhile.
            Some(Err(err)) if !matches!(err.kind, Kind::Conflict | Kind::NotFound) => return Err(err.into()),
            _ => {}
        }
    }
    let started = Instant::now();
    while started.elapsed() < limit {
        if signals.read()?.is_some() {
            return Ok(true);
        }
        let running = group.iter().any(|container| {
            let now = compose.engine.container_summary(&container.id);
            now.is_ok_and(|now| observe::is_running(&now))
        });
        if !running {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(false)
}
