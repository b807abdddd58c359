//! `ketch restart`: stops containers and starts them again.

use std::io::Write as _;

use clap::Args;

use crate::base::signal::Signal;
use crate::cli::error::{AlreadyReported, FAILED};
use crate::cli::session::Session;
use crate::cli::targets::{Many, Selection, Target};
use crate::engine::Error;
use crate::engine::lifecycle::{Grace, StopOrder};

/// Restart one or more containers
///
/// Stops those that run, as `stop` does, and starts them all.
#[derive(Args, Debug)]
pub(crate) struct RestartArgs {
    /// Containers to restart, by name or ID (can be repeated)
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,

    #[command(flatten)]
    many: Many,

    /// Restart the containers that match this condition (can be repeated)
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,

    /// Restart only containers that run
    #[arg(long)]
    running: bool,

    /// Send this signal first, instead of the container's own
    #[arg(short, long, value_name = "SIGNAL")]
    signal: Option<Signal>,

    /// Seconds to wait before SIGKILL; -1 waits for ever
    #[arg(short, long, visible_alias = "timeout", allow_negative_numbers = true, value_name = "SECONDS")]
    time: Option<i64>,
}

/// Runs the verb.
pub(crate) fn run(session: &mut Session<'_>, args: RestartArgs) -> anyhow::Result<()> {
    let named = !args.containers.is_empty() || args.many.latest.latest || !args.many.cidfile.is_empty();
    let mut selection = Selection {
        filters: &args.filter,
        running: args.running,
        ..Selection::of_many(&args.containers, &args.many)
    };
    // `--running` alone means all that run.
    selection.all |= args.running && !named && args.filter.is_empty();
    let targets = selection.targets(session)?;
    let grace = args.time.map(Grace::from_seconds);
    let ids = targets.iter().filter_map(|target| target.id.as_ref().ok());
    let orders: Vec<_> = ids.map(|id| StopOrder { id: id.clone(), grace, signal: args.signal }).collect();
    let mut answers = session.engine()?.restart(&orders).into_iter();
    let mut all_well = true;
    for Target { shown, id } in targets {
        let gone = || Err(Error::not_found(format!("container {shown} has vanished")));
        match id.and_then(|_| answers.next().unwrap_or_else(gone)) {
            Ok(()) => writeln!(session.out, "{shown}")?,
            Err(err) => {
                all_well = false;
                session.report(err);
            }
        }
    }
    if all_well { Ok(()) } else { Err(AlreadyReported { code: FAILED }.into()) }
}
