//! `ketch compose watch`, and `up --watch`: containers follow the files they are made from.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::compose::attend::interrupts;
use crate::cli::compose::open::{self, Shown};
use crate::cli::session::{Exit, Session};
use crate::compose::apply::UpOptions;
use crate::compose::project::Project;
use crate::compose::tree::Tree;
use crate::compose::watch::{self, Trigger};
use crate::engine::Error;
use crate::sys::poll::{Interest, PollSet};

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

    /// Remove images that have lost their name when they were built anew
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    prune: bool,

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
    let mut watching = Watching::new(&project, &triggers, args.quiet, args.prune)?;
    let signals = interrupts()?;
    watching.begin(session)?;
    let mut set = PollSet::default();
    loop {
        set.clear();
        let interrupted = set.add(Some(signals.as_fd()), Interest::READ);
        set.add(Some(watching.as_fd()), Interest::READ);
        set.wait(None)?;
        if set.ready(interrupted).read && signals.read()?.is_some() {
            return Ok(Exit(130));
        }
        watching.follow_changes(session)?;
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

/// The files of a project that are watched; readable when some have changed.
pub(super) struct Watching<'a> {
    project: &'a Project,
    triggers: &'a [Trigger],
    tree: Tree<'a>,
    /// How images are built is not shown.
    quiet: bool,
    /// Images that have been replaced are removed.
    prune: bool,
}

impl<'a> Watching<'a> {
    /// Watches what the triggers name.
    ///
    /// # Errors
    ///
    /// If files cannot be watched.
    pub(super) fn new(
        project: &'a Project,
        triggers: &'a [Trigger],
        quiet: bool,
        prune: bool,
    ) -> Result<Self, Error> {
        Ok(Self { project, triggers, tree: Tree::new(triggers)?, quiet, prune })
    }

    /// Says that changes are watched from now on, and copies what is to be copied at the beginning.
    ///
    /// # Errors
    ///
    /// If files cannot be watched.
    pub(super) fn begin(&mut self, session: &Session<'_>) -> anyhow::Result<()> {
        let initial: Vec<Trigger> = self.triggers.iter().filter(|trigger| trigger.initial).cloned().collect();
        if !initial.is_empty() {
            let all = self.tree.everything()?;
            self.carry_out(session, &initial, &all);
        }
        let paths: BTreeSet<String> =
            self.triggers.iter().map(|trigger| format!("{:?}", trigger.path)).collect();
        session.note(format!("watching {}", paths.into_iter().collect::<Vec<_>>().join(", ")));
        Ok(())
    }

    /// Waits until a burst of changes is over, and does what it asks for. What fails is told; the next change
    /// may mend it.
    ///
    /// # Errors
    ///
    /// If files cannot be watched any more.
    pub(super) fn follow_changes(&mut self, session: &Session<'_>) -> anyhow::Result<()> {
        let mut changed = self.tree.changes()?;
        let mut set = PollSet::default();
        loop {
            set.clear();
            set.add(Some(self.tree.as_fd()), Interest::READ);
            if !set.wait(Some(QUIET))? {
                break;
            }
            changed.extend(self.tree.changes()?);
        }
        self.carry_out(session, self.triggers, &changed);
        Ok(())
    }

    fn carry_out(&self, session: &Session<'_>, triggers: &[Trigger], changed: &BTreeSet<PathBuf>) {
        for (service, job) in watch::jobs(triggers, changed) {
            let doing = match (job.rebuild, job.files.is_empty()) {
                (true, _) => "Rebuilding",
                (false, true) => "Restarting",
                (false, false) => "Syncing",
            };
            session.note(format!("{doing} service {service:?} after {} changes were detected", job.changes));
            let done = open::with_shown(session, self.project, shown(self.quiet), |compose| {
                Ok(compose.refresh(&service, &job, self.prune)?)
            });
            match done {
                Ok(()) => session.note(format!("service {service:?} is up to date")),
                Err(err) => session.warn(format!("service {service}: {err:#}")),
            }
        }
    }
}

impl AsFd for Watching<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tree.as_fd()
    }
}
