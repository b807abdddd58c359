//! `ketch pause` and `ketch unpause`.

use clap::Args;

use crate::cli::session::Session;
use crate::cli::targets::{self, Many, Selection, Target};

/// Pause all processes of one or more containers
///
/// A container with a cgroup of its own is frozen by the kernel. Without cgroup v2 its processes are stopped
/// by SIGSTOP, which a process that waits for its stopped children can notice.
#[derive(Args, Debug)]
pub(crate) struct PauseArgs {
    /// Containers to pause, by name or ID (can be repeated)
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,

    #[command(flatten)]
    many: Many,

    /// Pause the containers that match this condition (can be repeated)
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
}

/// Let paused containers go on
#[derive(Args, Debug)]
pub(crate) struct UnpauseArgs {
    /// Containers to let go on, by name or ID (can be repeated)
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,

    #[command(flatten)]
    many: Many,

    /// Let the containers go on that match this condition (can be repeated)
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
}

/// `pause`.
pub(crate) fn pause(session: &mut Session<'_>, args: PauseArgs) -> anyhow::Result<()> {
    let targets = select(session, &args.containers, &args.many, &args.filter, false)?;
    targets::for_each(session, targets, |engine, id| engine.pause(id))
}

/// `unpause`.
pub(crate) fn unpause(session: &mut Session<'_>, args: UnpauseArgs) -> anyhow::Result<()> {
    let targets = select(session, &args.containers, &args.many, &args.filter, true)?;
    targets::for_each(session, targets, |engine, id| engine.unpause(id))
}

/// The containers meant: of those that were not named, only the ones that are `paused` or not.
fn select(
    session: &Session<'_>,
    names: &[String],
    many: &Many,
    filters: &[String],
    paused: bool,
) -> anyhow::Result<Vec<Target>> {
    let selection = Selection { filters, running: true, ..Selection::of_many(names, many) };
    let mut targets = selection.targets(session)?;
    if many.all || !filters.is_empty() {
        let engine = session.engine()?;
        let fits = |target: &Target| match &target.id {
            Ok(id) => names.contains(&target.shown) || engine.is_paused(id).is_ok_and(|is| is == paused),
            Err(_) => true,
        };
        targets.retain(fits);
    }
    Ok(targets)
}
