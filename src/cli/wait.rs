//! `ketch wait`: blocks until containers are in a state, and prints exit codes.

use std::io::Write as _;
use std::time::Duration;

use clap::Args;

use crate::base::time::parse_duration;
use crate::cli::error::{AlreadyReported, FAILED};
use crate::cli::session::Session;
use crate::cli::targets::{Latest, Selection};
use crate::engine::Kind;
use crate::engine::lifecycle::Condition;

/// Wait until containers have ended, and print their exit codes
///
/// A container that is removed when it ends (`--rm`) is waited for as well. For other conditions than
/// the end, -1 is printed.
#[derive(Args, Debug)]
pub(crate) struct WaitArgs {
    /// Containers to wait for, by name or ID (can be repeated)
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,

    /// State to wait for: created, initialized, running, healthy, unhealthy, stopping, stopped, exited, removing (can be repeated)
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    condition: Vec<String>,

    /// Print -1 for a container that does not exist
    #[arg(long)]
    ignore: bool,

    /// How often to look at a state that nothing reports; a number without a unit is milliseconds
    #[arg(short, long, value_name = "DURATION", default_value = "250ms")]
    interval: String,

    #[command(flatten)]
    latest: Latest,
}

/// Runs the verb.
pub(crate) fn run(session: &mut Session<'_>, args: WaitArgs) -> anyhow::Result<()> {
    let interval = interval(&args.interval)?;
    let mut conditions: Vec<Condition> =
        args.condition.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
    if conditions.is_empty() {
        conditions.push(Condition::Stopped);
    }
    conditions.dedup();
    let mut all_well = true;
    for target in Selection::of_names(&args.containers, &args.latest).targets(session)? {
        let answer = target.id.and_then(|id| session.engine()?.wait(&id, &conditions, interval));
        match answer {
            Ok(code) => writeln!(session.out, "{code}")?,
            Err(err) if args.ignore && err.kind == Kind::NotFound => writeln!(session.out, "-1")?,
            Err(err) => {
                all_well = false;
                session.report(err);
            }
        }
        // Whoever reads this from a pipe waits for it.
        session.out.flush()?;
    }
    if all_well { Ok(()) } else { Err(AlreadyReported { code: FAILED }.into()) }
}

/// Reads `--interval`.
fn interval(text: &str) -> anyhow::Result<Duration> {
    if let Ok(milliseconds) = text.parse() {
        return Ok(Duration::from_millis(milliseconds));
    }
    Ok(Duration::try_from(parse_duration(text)?)?)
}
