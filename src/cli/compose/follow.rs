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
use crate::cli::compose::down::end_group;
use crate::cli::compose::logs::{self, Followed, Following, ShownUntil};
use crate::cli::compose::open;
use crate::cli::compose::watch::{self, Watching};
use crate::cli::session::{Exit, Session};
use crate::compose::apply::Compose;
use crate::compose::plan::Actual;
use crate::compose::project::Project;
use crate::engine::Kind;
use crate::engine::lifecycle::Grace;
use crate::sys::signal::{SignalFd, SignalSet};

/// Whose end stops all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Abort {
    Never,
    OnExit,
    /// Only with another exit code than 0.
    OnFailure,
}

/// How `up` goes on when everything is started.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "docker compose's flags")]
pub(super) struct Attached {
    pub(super) no_color: bool,
    pub(super) no_log_prefix: bool,
    pub(super) timestamps: bool,
    pub(super) watch: bool,
    pub(super) abort: Abort,
    pub(super) exit_code_from: Option<String>,
    pub(super) grace: Option<Grace>,
}

/// Shows the output of the services `shown`. `named` are those of the command line, `order` all that were
/// started.
///
/// # Errors
///
/// Reading, and writing to standard output; what cannot be stopped.
pub(super) fn follow(
    session: &mut Session<'_>,
    project: &Project,
    how: &Attached,
    named: &[String],
    shown: &[String],
    order: &[String],
) -> anyhow::Result<Exit> {
    // From here on an interrupt is this command's to answer, also between two looks.
    let signals = SignalFd::new(&SignalSet::of(&[libc::SIGINT, libc::SIGTERM, libc::SIGHUP]))?;
    // Where nothing is shown, the end of all is waited for.
    let (followed, silent) = if shown.is_empty() { (order, true) } else { (shown, false) };
    let mut containers = open::containers(session, project, followed, false)?;
    let names: Vec<&str> =
        containers.iter().filter(|_| !silent).map(|c| logs::short_name(&c.name, &project.name)).collect();
    eprintln!("Attaching to {}", names.join(", "));
    let style = logs::Style {
        colour: session.out_is_tty && !how.no_color && !session.globals.project.no_colour,
        prefix: !how.no_log_prefix,
        timestamps: how.timestamps,
        silent,
    };
    session.out.flush()?;
    let triggers = if how.watch { watch::triggers(project, named)? } else { Vec::new() };
    let mut watching = how.watch.then(|| Watching::new(project, &triggers, false)).transpose()?;
    if let Some(watching) = &mut watching {
        watching.begin(session)?;
    }
    let mut shown_until = ShownUntil::new();
    let mut over: BTreeSet<ContainerId> = BTreeSet::new();
    let mut exit = Exit::OK;
    'lists: loop {
        let beside = watching.as_ref().map(|watching| watching.as_fd());
        let mut following = Following::new(session, project, &containers, style, &shown_until)?;
        loop {
            match following.follow(&signals, beside)? {
                Followed::All => break 'lists,
                Followed::Awaited => break,
                Followed::Ended(id, code) => {
                    over.insert(id);
                    if how.abort == Abort::OnExit || how.abort == Abort::OnFailure && code != 0 {
                        exit = Exit(u8::try_from(code).unwrap_or(1));
                        eprintln!("Aborting on container exit...");
                        stop_all(session, project, order, how.grace, &signals)?;
                        following.rest(session)?;
                        break 'lists;
                    }
                }
                Followed::Interrupted => {
                    eprintln!("Gracefully stopping... (press Ctrl+C again to force)");
                    stop_all(session, project, order, how.grace, &signals)?;
                    following.rest(session)?;
                    exit = Exit(130);
                    break 'lists;
                }
            }
        }
        following.note_places(&mut shown_until);
        drop(following);
        if let Some(watching) = &mut watching {
            watching.follow_changes(session)?;
        }
        containers = open::containers(session, project, followed, false)?;
        containers.retain(|container| container.running || !over.contains(&container.id));
    }
    if let Some(service) = &how.exit_code_from {
        let container = open::container(session, project, service, None)?;
        let code = session.engine()?.container_summary(&container.id)?.status.phase.exit_code();
        exit = Exit(u8::try_from(code).unwrap_or(1));
    }
    Ok(exit)
}

/// Stops the containers of the services; a signal meanwhile kills them.
fn stop_all(
    session: &Session<'_>,
    project: &Project,
    order: &[String],
    grace: Option<Grace>,
    signals: &SignalFd,
) -> anyhow::Result<()> {
    let containers = open::containers(session, project, order, false)?;
    let mut grace = grace;
    open::with(session, project, false, |compose| {
        for group in compose.stop_groups(containers) {
            if grace != Some(NOW) && ask_to_end(compose, &group, grace, signals)? {
                grace = Some(NOW);
            }
            end_group(compose, &group, grace)?;
        }
        Ok(())
    })
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
            now.is_ok_and(|now| crate::compose::observe::is_running(&now))
        });
        if !running {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(false)
}
