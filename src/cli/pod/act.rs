//! `pod start`, `stop`, `restart`, `pause`, `unpause`, `kill` and `rm`: what is done with all containers of pods.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;

use crate::base::pod::PodId;
use crate::base::signal::Signal;
use crate::cli::error::FAILED;
use crate::cli::pod::{ManyPods, PodSelection};
use crate::cli::session::Session;
use crate::engine::filter::Filters;
use crate::engine::lifecycle::Grace;
use crate::engine::remove::Removing;
use crate::engine::{self, Engine, Error, Kind};

/// Start one or more pods
///
/// Starts the infra container, then init containers one after the other to their ends, then the others.
#[derive(Args, Debug)]
pub(crate) struct StartArgs {
    /// Pods to start, by name or ID (can be repeated)
    #[arg(value_name = "POD")]
    pods: Vec<String>,

    #[command(flatten)]
    many: ManyPods,

    /// Read the ID of a pod from this file (can be repeated)
    #[arg(long, value_name = "FILE")]
    pod_id_file: Vec<PathBuf>,
}

/// Stop one or more pods
///
/// Stops all containers of a pod at once, and then its infra container.
#[derive(Args, Debug)]
pub(crate) struct StopArgs {
    /// Pods to stop, by name or ID (can be repeated)
    #[arg(value_name = "POD")]
    pods: Vec<String>,

    /// A missing pod is no failure
    #[arg(short, long)]
    ignore: bool,

    #[command(flatten)]
    many: ManyPods,

    /// Read the ID of a pod from this file (can be repeated)
    #[arg(long, value_name = "FILE")]
    pod_id_file: Vec<PathBuf>,

    /// Seconds to wait before SIGKILL; -1 waits for ever [default: each container's own]
    #[arg(short, long, allow_negative_numbers = true, value_name = "SECONDS")]
    time: Option<i64>,
}

/// Restart one or more pods
///
/// Stops the containers of a pod that run, each with its own grace, and starts them all as `pod start` does.
#[derive(Args, Debug)]
pub(crate) struct RestartArgs {
    /// Pods to restart, by name or ID (can be repeated)
    #[arg(value_name = "POD")]
    pods: Vec<String>,

    #[command(flatten)]
    many: ManyPods,
}

/// Pause all running containers of one or more pods
#[derive(Args, Debug)]
pub(crate) struct PauseArgs {
    /// Pods to pause, by name or ID (can be repeated)
    #[arg(value_name = "POD")]
    pods: Vec<String>,

    #[command(flatten)]
    many: ManyPods,
}

/// Let the paused containers of one or more pods go on
#[derive(Args, Debug)]
pub(crate) struct UnpauseArgs {
    /// Pods to let go on, by name or ID (can be repeated)
    #[arg(value_name = "POD")]
    pods: Vec<String>,

    #[command(flatten)]
    many: ManyPods,
}

/// Remove all pods none of whose containers runs
///
/// With these containers, and their anonymous volumes. A pod that was never started stays. Prints the IDs.
#[derive(Args, Debug)]
pub(crate) struct PruneArgs {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// Send a signal to all running containers of one or more pods
#[derive(Args, Debug)]
pub(crate) struct KillArgs {
    /// Pods to signal, by name or ID (can be repeated)
    #[arg(value_name = "POD")]
    pods: Vec<String>,

    #[command(flatten)]
    many: ManyPods,

    /// Signal to send, by name or number
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    signal: Signal,
}

/// Remove one or more pods with their containers
///
/// Removes pods none of whose containers runs, with these and their anonymous volumes; with --force, others too.
/// Exit code 1 means that a pod is not there.
#[derive(Args, Debug)]
pub(crate) struct RmArgs {
    /// Pods to remove, by name or ID (can be repeated)
    #[arg(value_name = "POD")]
    pods: Vec<String>,

    /// Stop running containers first; a missing pod is no failure
    #[arg(short, long)]
    force: bool,

    /// A missing pod is no failure
    #[arg(short, long)]
    ignore: bool,

    #[command(flatten)]
    many: ManyPods,

    /// Read the ID of a pod from this file (can be repeated)
    #[arg(long, value_name = "FILE")]
    pod_id_file: Vec<PathBuf>,

    /// Seconds to wait before SIGKILL; -1 waits for ever [default: each container's own]
    #[arg(short, long, allow_negative_numbers = true, value_name = "SECONDS")]
    time: Option<i64>,
}

/// What is printed of a pod when all went well.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// What the user typed.
    AsNamed,
    Id,
}

/// How a verb takes what is not there, and what it prints.
#[derive(Clone, Copy)]
pub(crate) struct Manner {
    pub(crate) shown: Shown,
    pub(crate) missing_is_fine: bool,
    /// The exit code for a pod that is missing.
    pub(crate) missing: u8,
}

/// Does `action` to each pod and prints those that went well: one failure does not spare the others.
///
/// # Errors
///
/// That there was any, which is told by then.
pub(crate) fn for_each(
    session: &mut Session<'_>,
    selection: PodSelection<'_>,
    manner: Manner,
    action: impl FnMut(&Engine, &PodId) -> engine::Result<Vec<Error>>,
) -> anyhow::Result<()> {
    let targets = selection.targets(session.engine()?)?;
    act(session, targets, manner, action)
}

/// As [`for_each`], to these.
fn act(
    session: &mut Session<'_>,
    targets: Vec<(String, engine::Result<PodId>)>,
    manner: Manner,
    mut action: impl FnMut(&Engine, &PodId) -> engine::Result<Vec<Error>>,
) -> anyhow::Result<()> {
    let mut code = 0;
    for (name, id) in targets {
        let engine = session.engine()?;
        let done = id.and_then(|id| action(engine, &id).map(|failed| (id, failed)));
        match done {
            Ok((id, failed)) if failed.is_empty() => match manner.shown {
                Shown::Id => writeln!(session.out, "{id}")?,
                Shown::AsNamed => writeln!(session.out, "{name}")?,
            },
            Ok((_, failed)) => {
                code = FAILED;
                failed.into_iter().for_each(|err| session.report(err));
            }
            Err(err) if err.kind == Kind::NotFound && manner.missing_is_fine => {}
            Err(err) => {
                code = code.max(if err.kind == Kind::NotFound { manner.missing } else { FAILED });
                session.report(err);
            }
        }
    }
    session.outcome(code)
}

/// `pod start`.
pub(crate) fn start(session: &mut Session<'_>, args: StartArgs) -> anyhow::Result<()> {
    let selection =
        PodSelection { id_files: &args.pod_id_file, ..PodSelection::of_many(&args.pods, &args.many) };
    let manner = Manner { shown: Shown::AsNamed, missing_is_fine: false, missing: FAILED };
    for_each(session, selection, manner, Engine::start_pod)
}

/// `pod stop`.
pub(crate) fn stop(session: &mut Session<'_>, args: StopArgs) -> anyhow::Result<()> {
    let selection =
        PodSelection { id_files: &args.pod_id_file, ..PodSelection::of_many(&args.pods, &args.many) };
    let manner = Manner { shown: Shown::AsNamed, missing_is_fine: args.ignore, missing: FAILED };
    let grace = args.time.map(Grace::from_seconds);
    for_each(session, selection, manner, |engine, id| engine.stop_pod(id, grace))
}

/// Whatever a verb prints the IDs of.
const BY_ID: Manner = Manner { shown: Shown::Id, missing_is_fine: false, missing: FAILED };

/// `pod restart`.
pub(crate) fn restart(session: &mut Session<'_>, args: RestartArgs) -> anyhow::Result<()> {
    let selection = PodSelection::of_many(&args.pods, &args.many);
    for_each(session, selection, BY_ID, Engine::restart_pod)
}

/// `pod pause`.
pub(crate) fn pause(session: &mut Session<'_>, args: PauseArgs) -> anyhow::Result<()> {
    let selection = PodSelection::of_many(&args.pods, &args.many);
    for_each(session, selection, BY_ID, Engine::pause_pod)
}

/// `pod unpause`.
pub(crate) fn unpause(session: &mut Session<'_>, args: UnpauseArgs) -> anyhow::Result<()> {
    let selection = PodSelection::of_many(&args.pods, &args.many);
    let mut targets = selection.targets(session.engine()?)?;
    // As podman has it, a pod of which nothing is paused is passed over.
    let engine = session.engine()?;
    targets.retain(|(_, id)| id.as_ref().map_or(true, |id| engine.is_pod_paused(id).unwrap_or(true)));
    act(session, targets, BY_ID, Engine::unpause_pod)
}

/// `pod prune`.
pub(crate) fn prune(session: &mut Session<'_>, args: PruneArgs) -> anyhow::Result<()> {
    if !args.force && !session.confirm("WARNING! This will remove all stopped/exited pods..")? {
        return Ok(());
    }
    let pruned = session.engine()?.prune_pods(&Filters::default())?;
    for id in &pruned.removed {
        writeln!(session.out, "{id}")?;
    }
    session.outcome_of(pruned.failed)
}

/// `pod kill`.
pub(crate) fn kill(session: &mut Session<'_>, args: KillArgs) -> anyhow::Result<()> {
    let selection = PodSelection::of_many(&args.pods, &args.many);
    for_each(session, selection, BY_ID, |engine, id| engine.kill_pod(id, args.signal))
}

/// `pod rm`.
pub(crate) fn rm(session: &mut Session<'_>, args: RmArgs) -> anyhow::Result<()> {
    let selection =
        PodSelection { id_files: &args.pod_id_file, ..PodSelection::of_many(&args.pods, &args.many) };
    let manner = Manner { shown: Shown::Id, missing_is_fine: args.ignore || args.force, missing: 1 };
    let grace = args.time.map(Grace::from_seconds);
    let how = Removing { force: args.force, grace, ..Removing::default() };
    for_each(session, selection, manner, |engine, id| engine.remove_pod(id, &how))?;
    // They name nothing any more.
    args.pod_id_file.iter().for_each(|file| drop(std::fs::remove_file(file)));
    Ok(())
}
