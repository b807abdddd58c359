//! `ketch compose watch`, and `up --watch`: containers follow the files they are made from.

use std::collections::BTreeSet;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::compose::open::{self, Shown};
use crate::cli::session::{Exit, Session};
use crate::compose::apply::UpOptions;
use crate::compose::project::Project;
use crate::compose::tree::Tree;
use crate::compose::watch::{self, Trigger};
use crate::engine::Error;
use crate::sys::poll::{Interest, PollSet};
use crate::sys::signal::{SignalFd, SignalSet};

/// Changes that come closer together than this are one: an editor writes a file in several steps.
const QUIET: Duration = Duration::from_millis(100);

/// Rebuild or refresh the containers of services when their files change
///
/// What is watched, and what happens, stands in develop.watch of each service.
#[derive(Args, Debug)]
pub(crate) struct WatchArgs {
    /// Do not build and start the services before
    #[arg(long)]
    no_up: bool,

    /// Do not show how images are built
    #[arg(long)]
    quiet: bool,

    /// Services; all if none is named
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

pub(crate) fn watch(session: &mut Session<'_>, args: WatchArgs) -> anyhow::Result<Exit> {
    let project = open::project(session, &args.services)?;
    let triggers = triggers(&project, &args.services)?;
    if !args.no_up {
        let options = UpOptions { services: args.services, build: true, ..UpOptions::default() };
        open::with_shown(session, &project, shown(args.quiet), |compose| Ok(compose.up(&options)?))?;
    }
    let mut tree = Tree::new(&triggers)?;
    let signals = SignalFd::new(&SignalSet::of(&[libc::SIGINT, libc::SIGTERM, libc::SIGHUP]))?;
    begin(session, &project, &mut tree, &triggers, args.quiet)?;
    let mut set = PollSet::default();
    loop {
        set.clear();
        let interrupted = set.add(Some(signals.as_fd()), Interest::READ);
        set.add(Some(tree.as_fd()), Interest::READ);
        set.wait(None)?;
        if set.ready(interrupted).read && signals.read()?.is_some() {
            return Ok(Exit(130));
        }
        follow_changes(session, &project, &mut tree, &triggers, args.quiet)?;
    }
}

fn shown(quiet_build: bool) -> Shown {
    Shown { quiet_build, ..Shown::default() }
}

/// The triggers of the services, or of all.
///
/// # Errors
///
/// If there are none, or one means nothing.
pub(super) fn triggers(project: &Project, services: &[String]) -> Result<Vec<Trigger>, Error> {
    watch::triggers(project, &project.select(services, services.is_empty())?)
}

/// Says that changes are watched from now on, and copies what is to be copied at the beginning.
///
/// # Errors
///
/// If files cannot be watched.
pub(super) fn begin(
    session: &Session<'_>,
    project: &Project,
    tree: &mut Tree<'_>,
    triggers: &[Trigger],
    quiet: bool,
) -> anyhow::Result<()> {
    let initial: Vec<Trigger> = triggers.iter().filter(|trigger| trigger.initial).cloned().collect();
    if !initial.is_empty() {
        let all = tree.everything()?;
        carry_out(session, project, &initial, &all, quiet)?;
    }
    let paths: BTreeSet<String> = triggers.iter().map(|trigger| format!("{:?}", trigger.path)).collect();
    session.note(format!("watching {}", paths.into_iter().collect::<Vec<_>>().join(", ")));
    Ok(())
}

/// Waits until a burst of changes is over, and does what it asks for. What fails is told; the next change
/// may mend it.
///
/// # Errors
///
/// If files cannot be watched any more.
pub(super) fn follow_changes(
    session: &Session<'_>,
    project: &Project,
    tree: &mut Tree<'_>,
    triggers: &[Trigger],
    quiet: bool,
) -> anyhow::Result<()> {
    let mut changed = tree.changes()?;
    let mut set = PollSet::default();
    loop {
        set.clear();
        set.add(Some(tree.as_fd()), Interest::READ);
        if !set.wait(Some(QUIET))? {
            break;
        }
        changed.extend(tree.changes()?);
    }
    carry_out(session, project, triggers, &changed, quiet)
}

fn carry_out(
    session: &Session<'_>,
    project: &Project,
    triggers: &[Trigger],
    changed: &BTreeSet<PathBuf>,
    quiet: bool,
) -> anyhow::Result<()> {
    for (service, job) in watch::jobs(triggers, changed) {
        let doing = match (job.rebuild, job.files.is_empty()) {
            (true, _) => "Rebuilding",
            (false, true) => "Restarting",
            (false, false) => "Syncing",
        };
        session.note(format!("{doing} service {service:?} after {} changes were detected", job.changes));
        let done =
            open::with_shown(session, project, shown(quiet), |compose| Ok(compose.refresh(&service, &job)?));
        match done {
            Ok(()) => session.note(format!("service {service:?} is up to date")),
            Err(err) => session.warn(format!("service {service}: {err:#}")),
        }
    }
    Ok(())
}
