//! `ketch rm`: removes containers.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use crate::base::image_ref::NameRule;
use crate::cli::error::shown;
use crate::cli::session::Session;
use crate::cli::targets::{Selection, id_file};
use crate::cli::usage::UsageError;
use crate::engine::filter::{self, Filters};
use crate::engine::lifecycle::{Grace, StopOrder};
use crate::engine::list::Query;
use crate::engine::remove::Removing;
use crate::engine::{Engine, Kind};

/// Remove one or more containers
///
/// Removes containers that do not run, with all that they have changed; with --force, running ones
/// too. Images and named volumes stay. Exit code 1 means that a container is not there, 2 that one runs.
#[derive(Args, Debug)]
pub(crate) struct RmArgs {
    /// Containers to remove, by name or ID (can be repeated)
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,

    /// Remove all containers
    #[arg(short, long)]
    all: bool,

    /// Read the ID of a container to remove from this file (can be repeated)
    #[arg(long, value_name = "FILE")]
    cidfile: Vec<PathBuf>,

    /// Remove the containers that use the namespaces of these too
    #[arg(long)]
    depend: bool,

    /// Remove containers for which this holds, as for ps (can be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,

    /// Stop running containers first; a missing container is no failure
    #[arg(short, long)]
    force: bool,

    /// A missing container is no failure
    #[arg(short, long)]
    ignore: bool,

    /// Remove the container that was created last
    #[arg(short, long)]
    latest: bool,

    /// Remove links (`run --link`), written as CONTAINER/ALIAS, and no containers; a running container knows them until its next start
    #[arg(long, conflicts_with_all = ["all", "cidfile", "depend", "filter", "force", "latest", "volumes"])]
    link: bool,

    /// Seconds to wait before SIGKILL; -1 waits for ever [default: the container's own]
    #[arg(short, long, allow_negative_numbers = true, value_name = "SECONDS")]
    time: Option<i64>,

    /// Remove anonymous volumes of the containers too
    #[arg(short, long)]
    volumes: bool,
}

/// Runs the verb.
pub(crate) fn run(session: &mut Session<'_>, args: RmArgs) -> anyhow::Result<()> {
    if args.time.is_some() && !args.force {
        return Err(UsageError::new("--force option must be specified to use the --time option").into());
    }
    if !args.link {
        check(&args)?;
    }
    let targets = targets(session.engine()?, &args)?;
    if args.link {
        return session.for_each_removal(&targets, |engine, link| engine.remove_link(link).map(|()| true));
    }
    let targets = ordered(session.engine()?, targets)?;
    let how = Removing {
        force: args.force,
        grace: args.time.map(Grace::from_seconds),
        volumes: args.volumes,
        depend: args.depend,
        with_pods: args.all,
    };
    if args.force && targets.len() > 1 && session.name_rule() != NameRule::Docker {
        stop_together(session.engine()?, &targets, how.grace);
    }
    let is_docker = session.globals.called.is_docker();
    let missing_is_fine = args.force || args.ignore || args.all;
    let mut is_missing = false;
    let mut dependents = Vec::new();
    let removed = session.for_each_removal(&targets, |engine, target| {
        let removed = engine.container(target).and_then(|id| engine.remove_with_dependents(&id, &how));
        match removed {
            Ok(others) => {
                dependents.extend(others);
                Ok(true)
            }
            Err(err) if err.kind == Kind::NotFound && missing_is_fine => {
                if is_docker && args.force {
                    say!("Error response from daemon: No such container: {}", shown(target));
                }
                Ok(false)
            }
            Err(mut err) if err.kind == Kind::Conflict && is_docker => {
                let id = engine.container(target)?;
                let name = engine.container_name(&id)?;
                let state = if engine.is_paused(&id).unwrap_or(false) { "paused" } else { "running" };
                err.message = format!(
                    "cannot remove container \"/{name}\": container is {state}: stop the container before removing or force \
                     remove"
                );
                err.hint = None;
                Err(err)
            }
            Err(mut err) if err.kind == Kind::NotFound => {
                is_missing = true;
                err.message = format!("no container with ID or name {target:?} found: no such container");
                Err(err)
            }
            Err(err) => Err(err),
        }
    });
    for id in dependents {
        writeln!(session.out, "{id}")?;
    }
    // Whatever else is in the way: scripts tell by 1 that something was not there.
    if is_missing { session.outcome(1) } else { removed }
}

/// Whether it is said in one way which containers are meant.
fn check(args: &RmArgs) -> Result<(), UsageError> {
    let selection = Selection {
        names: &args.containers,
        all: args.all,
        latest: args.latest,
        cidfiles: &args.cidfile,
        filters: &args.filter,
        ..Selection::default()
    };
    selection.check()
}

/// The targets, each behind those that depend on it; those that are not there come first.
fn ordered(engine: &Engine, targets: Vec<String>) -> anyhow::Result<Vec<String>> {
    if targets.len() < 2 {
        return Ok(targets);
    }
    let (mut missing, mut found) = (Vec::new(), Vec::new());
    for target in targets {
        match engine.container(&target) {
            // Named twice, it is removed once.
            Ok(id) if found.iter().any(|(known, _)| *known == id) => {}
            Ok(id) => found.push((id, target)),
            Err(_) => missing.push(target),
        }
    }
    missing.extend(engine.dependents_first(found)?.into_iter().map(|(_, target)| target));
    Ok(missing)
}

/// Stops all targets at once, so that their graces run side by side. Failures show up in the removal.
fn stop_together(engine: &Engine, targets: &[String], grace: Option<Grace>) {
    let ids = targets.iter().filter_map(|target| engine.container(target).ok());
    let orders: Vec<_> = ids.map(|id| StopOrder { id, grace, signal: None }).collect();
    drop(engine.stop(&orders));
}

/// The containers that are meant, as the user named them.
fn targets(engine: &Engine, args: &RmArgs) -> anyhow::Result<Vec<String>> {
    let mut targets = args.containers.clone();
    for file in &args.cidfile {
        match id_file(file) {
            Ok(id) => targets.push(id),
            Err(err) if err.kind() == std::io::ErrorKind::NotFound && (args.ignore || args.force) => {}
            Err(err) => return Err(err).with_context(|| format!("reading CIDFile: open {}", file.display())),
        }
    }
    if args.latest {
        targets.push(engine.latest_container()?.to_string());
    }
    if args.all || !args.filter.is_empty() {
        let filters = Filters::parse(&args.filter, filter::CONTAINER)?;
        let found = engine.containers(&Query { all: true, filters, ..Query::default() })?;
        let damaged = found.damaged.into_iter().filter(|_| args.all && args.filter.is_empty());
        targets.extend(found.items.into_iter().map(|container| container.id.to_string()));
        targets.extend(damaged.map(|(id, ..)| id.to_string()));
    }
    Ok(targets)
}
