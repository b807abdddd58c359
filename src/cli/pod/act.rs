//! `pod start`, `stop`, `kill` and `rm`: what is done with all containers of pods.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;

use crate::base::pod::PodId;
use crate::base::signal::Signal;
use crate::cli::error::FAILED;
use crate::cli::pod::{LatestPod, PodSelection};
use crate::cli::session::Session;
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

    /// Start all pods
    #[arg(short, long)]
    all: bool,

    #[command(flatten)]
    latest: LatestPod,

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

    /// Stop all pods
    #[arg(short, long)]
    all: bool,

    /// A missing pod is no failure
    #[arg(short, long)]
    ignore: bool,

    #[command(flatten)]
    latest: LatestPod,

    /// Read the ID of a pod from this file (can be repeated)
    #[arg(long, value_name = "FILE")]
    pod_id_file: Vec<PathBuf>,

    /// Seconds to wait before SIGKILL; -1 waits for ever [default: each container's own]
    #[arg(short, long, allow_negative_numbers = true, value_name = "SECONDS")]
    time: Option<i64>,
}

/// Send a signal to all running containers of one or more pods
#[derive(Args, Debug)]
pub(crate) struct KillArgs {
    /// Pods to signal, by name or ID (can be repeated)
    #[arg(value_name = "POD")]
    pods: Vec<String>,

    /// Signal all pods
    #[arg(short, long)]
    all: bool,

    #[command(flatten)]
    latest: LatestPod,

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

    /// Remove all pods
    #[arg(short, long)]
    all: bool,

    /// Stop running containers first; a missing pod is no failure
    #[arg(short, long)]
    force: bool,

    /// A missing pod is no failure
    #[arg(short, long)]
    ignore: bool,

    #[command(flatten)]
    latest: LatestPod,

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
    mut action: impl FnMut(&Engine, &PodId) -> engine::Result<Vec<Error>>,
) -> anyhow::Result<()> {
    let targets = selection.targets(session.engine()?)?;
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
    let StartArgs { pods: names, all, latest, pod_id_file } = &args;
    let selection = PodSelection { names, all: *all, latest: latest.latest, id_files: pod_id_file };
    let manner = Manner { shown: Shown::AsNamed, missing_is_fine: false, missing: FAILED };
    for_each(session, selection, manner, Engine::start_pod)
}

/// `pod stop`.
pub(crate) fn stop(session: &mut Session<'_>, args: StopArgs) -> anyhow::Result<()> {
    let StopArgs { pods: names, all, latest, pod_id_file, .. } = &args;
    let selection = PodSelection { names, all: *all, latest: latest.latest, id_files: pod_id_file };
    let manner = Manner { shown: Shown::AsNamed, missing_is_fine: args.ignore, missing: FAILED };
    let grace = args.time.map(Grace::from_seconds);
    for_each(session, selection, manner, |engine, id| engine.stop_pod(id, grace))
}

/// `pod kill`.
pub(crate) fn kill(session: &mut Session<'_>, args: KillArgs) -> anyhow::Result<()> {
    let selection =
        PodSelection { names: &args.pods, all: args.all, latest: args.latest.latest, id_files: &[] };
    let manner = Manner { shown: Shown::Id, missing_is_fine: false, missing: FAILED };
    for_each(session, selection, manner, |engine, id| engine.kill_pod(id, args.signal))
}

/// `pod rm`.
pub(crate) fn rm(session: &mut Session<'_>, args: RmArgs) -> anyhow::Result<()> {
    let RmArgs { pods: names, all, latest, pod_id_file, .. } = &args;
    let selection = PodSelection { names, all: *all, latest: latest.latest, id_files: pod_id_file };
    let manner = Manner { shown: Shown::Id, missing_is_fine: args.ignore || args.force, missing: 1 };
    let grace = args.time.map(Grace::from_seconds);
    let how = Removing { force: args.force, grace, ..Removing::default() };
    for_each(session, selection, manner, |engine, id| engine.remove_pod(id, &how))
}
