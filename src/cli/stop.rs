//! `ketch stop`: asks containers to end, then insists.

use std::io::Write as _;

use clap::Args;

use crate::base::signal::Signal;
use crate::cli::error::{AlreadyReported, FAILED};
use crate::cli::session::Session;
use crate::cli::targets::{Many, Selection, Target};
use crate::engine::lifecycle::{Grace, StopOrder, Stopped};

/// Stop one or more containers
///
/// Sends the container's stop signal (SIGTERM unless the image or `--stop-signal` says otherwise),
/// waits, then sends SIGKILL. All containers are stopped at once. Stopping a container that does not
/// run is a success.
#[derive(Args, Debug)]
pub(crate) struct StopArgs {
    /// Containers to stop, by name or ID (can be repeated)
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,

    #[command(flatten)]
    many: Many,

    /// Stop the containers that match this condition (can be repeated)
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,

    /// Say nothing about containers that do not exist
    #[arg(short, long)]
    ignore: bool,

    /// Send this signal first, instead of the container's own
    #[arg(short, long, value_name = "SIGNAL")]
    signal: Option<Signal>,

    /// Seconds to wait before SIGKILL; -1 waits for ever
    #[arg(short, long, visible_alias = "timeout", allow_negative_numbers = true, value_name = "SECONDS")]
    time: Option<i64>,
}

/// Runs the verb.
pub(crate) fn run(session: &mut Session<'_>, args: StopArgs) -> anyhow::Result<()> {
    let selection = Selection {
        filters: &args.filter,
        ignore: args.ignore,
        // Of those that a filter finds each is named, as one that is named and does not run.
        running: args.filter.is_empty(),
        ..Selection::of_many(&args.containers, &args.many)
    };
    let targets = selection.targets(session)?;
    let grace = args.time.map(Grace::from_seconds);
    stop(session, targets, grace, args.signal)
}

/// Stops the targets and prints them in their order.
fn stop(
    session: &mut Session<'_>,
    targets: Vec<Target>,
    grace: Option<Grace>,
    signal: Option<Signal>,
) -> anyhow::Result<()> {
    let ids = targets.iter().filter_map(|target| target.id.as_ref().ok());
    let orders: Vec<_> = ids.map(|id| StopOrder { id: id.clone(), grace, signal }).collect();
    let mut answers = session.engine()?.stop(&orders).into_iter();
    let mut all_well = true;
    for Target { shown, id } in targets {
        match id.and_then(|_| answers.next().unwrap_or(Ok(Stopped::Idle))) {
            Ok(stopped) => {
                if let Stopped::Killed { signal, grace } = stopped
                    && !session.globals.called.is_docker()
                {
                    let signal = signal.map(|signal| signal.to_string()).unwrap_or_default();
                    session.warn(format!(
                        "StopSignal {signal} failed to stop container {shown} in {} seconds, resorting to SIGKILL",
                        grace.as_secs()
                    ));
                }
                writeln!(session.out, "{shown}")?;
            }
            Err(err) => {
                all_well = false;
                session.report(err);
            }
        }
    }
    if all_well { Ok(()) } else { Err(AlreadyReported { code: FAILED }.into()) }
}
