//! `ketch container cleanup`: takes away what a dead container has left.

use clap::Args;

use crate::cli::session::Session;
use crate::cli::targets::{self, Latest, Selection};
use crate::cli::usage::UsageError;
use crate::engine::Kind;
use crate::engine::remove::Removing;

/// Take away what containers have left that do not run
///
/// Containers clean up themselves. This is for what a monitor that was killed has left: its cgroup, sockets and
/// marks. A container that runs is left alone.
#[derive(Args, Debug)]
pub(crate) struct CleanupArgs {
    /// All containers
    #[arg(short, long)]
    all: bool,

    /// Forget this exec session of the container, which has ended, and nothing else
    #[arg(long, value_name = "SESSION", conflicts_with_all = ["all", "rmi"])]
    exec: Option<String>,

    #[command(flatten)]
    latest: Latest,

    /// Remove the container, too, and its anonymous volumes
    #[arg(long)]
    rm: bool,

    /// Remove the container's image, too, unless others use it; implies --rm
    #[arg(long)]
    rmi: bool,

    /// Containers, by name or ID (can be repeated)
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Runs the verb.
pub(crate) fn run(session: &mut Session<'_>, args: CleanupArgs) -> anyhow::Result<()> {
    // As podman: what is gone needs no cleaning.
    let selection = Selection {
        all: args.all,
        ignore: args.exec.is_none(),
        ..Selection::of_names(&args.containers, &args.latest)
    };
    let targets = selection.targets(session)?;
    if let Some(exec) = &args.exec {
        if targets.len() != 1 {
            return Err(UsageError::new("--exec needs exactly one container").into());
        }
        return targets::for_each(session, targets, |engine, id| engine.cleanup_exec(id, exec));
    }
    targets::for_each(session, targets, |engine, id| {
        engine.cleanup_container(id)?;
        if !args.rm && !args.rmi {
            return Ok(());
        }
        let image = engine.container_spec(id)?.image;
        engine.remove_container(id, &Removing { volumes: true, ..Removing::default() })?;
        let Some(image) = image.filter(|_| args.rmi) else { return Ok(()) };
        match engine.remove_image(&image.name, false) {
            // Others use it, or have removed it.
            Err(err) if matches!(err.kind, Kind::Conflict | Kind::NotFound) => Ok(()),
            other => other.map(drop),
        }
    })
}
