//! `ketch init`: makes everything ready for a container's start.

use clap::Args;

use crate::cli::session::Session;
use crate::cli::targets::{self, Latest, Selection};
use crate::engine::Kind;

/// Make everything ready for the start of one or more containers
///
/// Mounts, networks and namespaces are there afterwards, and process 1 waits: `start` lets it run the command.
/// The container can be looked into meanwhile.
#[derive(Args, Debug)]
pub(crate) struct InitArgs {
    /// All containers that neither run nor are ready
    #[arg(short, long)]
    all: bool,

    #[command(flatten)]
    latest: Latest,

    /// Containers to make ready, by name or ID (can be repeated)
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Runs the verb.
pub(crate) fn run(session: &mut Session<'_>, args: InitArgs) -> anyhow::Result<()> {
    let selection = Selection { all: args.all, ..Selection::of_names(&args.containers, &args.latest) };
    let targets = selection.targets(session)?;
    let all = args.all;
    targets::for_each(session, targets, |engine, id| match engine.init_container(id) {
        Err(err) if all && err.kind == Kind::Conflict => Ok(()),
        other => other,
    })
}
