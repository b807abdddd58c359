//! Which containers a verb acts on: names, or all, the latest, those of ID files or filters.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::base::id::ContainerId;
use crate::cli::error::{AlreadyReported, FAILED};
use crate::cli::session::Session;
use crate::cli::usage::UsageError;
use crate::engine::filter::{self, Filters};
use crate::engine::list::Query;
use crate::engine::{self, Engine, Error, Kind};

/// One container to act on.
#[derive(Debug)]
pub(crate) struct Target {
    /// As the user named it; its ID if they did not.
    pub(crate) shown: String,
    pub(crate) id: engine::Result<ContainerId>,
}

/// `--latest`.
#[derive(Args, Debug)]
pub(crate) struct Latest {
    /// Act on the container that was created last
    #[arg(short, long)]
    pub(crate) latest: bool,
}

/// `--all`, `--cidfile`, `--latest`.
#[derive(Args, Debug)]
pub(crate) struct Many {
    /// Act on all containers that the verb makes sense for
    #[arg(short, long)]
    pub(crate) all: bool,

    /// Read the container's ID from a file (can be repeated)
    #[arg(long, value_name = "FILE")]
    pub(crate) cidfile: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) latest: Latest,
}

/// What was given on the command line.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Selection<'a> {
    pub(crate) names: &'a [String],
    pub(crate) all: bool,
    pub(crate) latest: bool,
    pub(crate) cidfiles: &'a [PathBuf],
    pub(crate) filters: &'a [String],
    /// Of the containers that are named, those that pass `filters` are meant.
    pub(crate) narrows: bool,
    /// What is missing is left out.
    pub(crate) ignore: bool,
    /// `all` and `filters` mean those that run.
    pub(crate) running: bool,
}

impl<'a> Selection<'a> {
    /// Names, or else the latest.
    pub(crate) fn of_names(names: &'a [String], latest: &Latest) -> Self {
        Self { names, latest: latest.latest, ..Self::default() }
    }

    /// Names and the flags for many.
    pub(crate) fn of_many(names: &'a [String], many: &'a Many) -> Self {
        Self { names, all: many.all, latest: many.latest.latest, cidfiles: &many.cidfile, ..Self::default() }
    }

    /// Finds the containers. One that is missing is a target with an error.
    ///
    /// # Errors
    ///
    /// If the selection makes no sense, or listing fails.
    pub(crate) fn targets(&self, session: &Session<'_>) -> anyhow::Result<Vec<Target>> {
        self.check()?;
        let engine = session.engine()?;
        let mut targets = Vec::new();
        let filters = Filters::parse(self.filters, filter::CONTAINER)?;
        let query = Query { all: !self.running, filters, ..Query::default() };
        let by_name = !self.names.is_empty();
        if self.all || !self.filters.is_empty() && !by_name {
            let listed = engine.containers(&query)?;
            targets.extend(listed.items.into_iter().map(|container| Target::of(container.id)));
            // Damaged ones are not acted on, and that is told.
            targets.extend(
                listed.damaged.into_iter().map(|(id, _, err)| Target { shown: id.to_string(), id: Err(err) }),
            );
        }
        if self.latest {
            targets.push(Target::of(engine.latest_container()?));
        }
        for file in self.cidfiles {
            if self.ignore && matches!(file.try_exists(), Ok(false)) {
                continue;
            }
            let typed = id_in(file)?;
            targets.push(Target { id: engine.container(&typed), shown: typed });
        }
        for name in self.names {
            targets.push(Target { id: engine.container(name), shown: name.clone() });
        }
        if by_name && !self.filters.is_empty() {
            let passing = engine.containers(&query)?.items;
            let passes = |id: &ContainerId| passing.iter().any(|container| container.id == *id);
            targets.retain(|target| target.id.as_ref().map_or(true, passes));
        }
        let missing = |target: &Target| matches!(&target.id, Err(err) if err.kind == Kind::NotFound);
        targets.retain(|target| !(self.ignore && missing(target)));
        Ok(targets)
    }

    /// Whether it is said in one way which containers are meant.
    ///
    /// # Errors
    ///
    /// If it is said in several that exclude each other, or in none.
    pub(crate) fn check(&self) -> Result<(), UsageError> {
        let by_name = !self.names.is_empty();
        let refuse = |message: &str| Err(UsageError::new(message));
        if !self.cidfiles.is_empty() && (self.all || self.latest) {
            return refuse("--all, --latest, and --cidfile cannot be used together");
        }
        if self.all && self.latest {
            return refuse("--all and --latest cannot be used together");
        }
        if self.all && by_name {
            return refuse("no arguments are needed with --all");
        }
        if self.latest && by_name {
            return refuse("--latest and containers cannot be used together");
        }
        let otherwise = by_name && !self.narrows || self.latest || !self.cidfiles.is_empty();
        if !self.filters.is_empty() && otherwise {
            return refuse("--filter takes no arguments");
        }
        let nothing = !by_name && !self.all && !self.latest;
        if nothing && self.cidfiles.is_empty() && self.filters.is_empty() {
            return refuse("you must provide at least one name or id");
        }
        Ok(())
    }
}

impl Target {
    fn of(id: ContainerId) -> Self {
        Self { shown: id.to_string(), id: Ok(id) }
    }
}

/// The ID that a file holds in its first line (`--cidfile`).
///
/// # Errors
///
/// If it cannot be read.
pub(crate) fn id_in(file: &Path) -> engine::Result<String> {
    id_file(file).map_err(|err| Error::system(format!("reading CIDFile: open {}", file.display()), err))
}

/// As [`id_in`], with the bare error.
pub(crate) fn id_file(file: &Path) -> std::io::Result<String> {
    let text = crate::sys::fs::read_named(file)?;
    Ok(String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_owned())
}

/// Does `action` to each target and prints those that went well, in order: one failure does not spare
/// the others, each is reported at once, and the command as a whole then fails.
///
/// # Errors
///
/// [`AlreadyReported`] if any target failed; if standard output cannot be used.
pub(crate) fn for_each(
    session: &mut Session<'_>,
    targets: Vec<Target>,
    mut action: impl FnMut(&Engine, &ContainerId) -> engine::Result<()>,
) -> anyhow::Result<()> {
    let mut all_well = true;
    for Target { shown, id } in targets {
        match id.and_then(|id| action(session.engine()?, &id)) {
            Ok(()) => writeln!(session.out, "{shown}")?,
            Err(err) => {
                all_well = false;
                session.report(err);
            }
        }
    }
    if all_well { Ok(()) } else { Err(AlreadyReported { code: FAILED }.into()) }
}

/// The one container of a verb that takes one: by name, or the latest.
///
/// # Errors
///
/// If there is no such container.
pub(crate) fn one(
    session: &Session<'_>,
    name: Option<&String>,
    latest: &Latest,
) -> anyhow::Result<ContainerId> {
    let names = name.map(std::slice::from_ref).unwrap_or_default();
    let target = Selection::of_names(names, latest).targets(session)?.pop();
    Ok(target.ok_or_else(|| UsageError::new("you must provide at least one name or id"))?.id?)
}
