//! `ketch kill`: sends a signal to containers.

use clap::Args;

use crate::base::signal::Signal;
use crate::cli::session::Session;
use crate::cli::targets::{self, Many, Selection};

/// Send a signal to one or more running containers
///
/// The signal goes to the container's first process. SIGKILL ends the container, and the command
/// returns when it has ended.
#[derive(Args, Debug)]
pub(crate) struct KillArgs {
    /// Containers to signal, by name or ID (can be repeated)
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,

    #[command(flatten)]
    many: Many,

    /// Signal to send, by name or number
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    signal: Signal,
}

/// Runs the verb.
pub(crate) fn run(session: &mut Session<'_>, args: KillArgs) -> anyhow::Result<()> {
    let selection = Selection { running: true, ..Selection::of_many(&args.containers, &args.many) };
    let targets = selection.targets(session)?;
    targets::for_each(session, targets, |engine, id| engine.kill(id, args.signal))
}
