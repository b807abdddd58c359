//! `ketch healthcheck run`: checks a container's health now.

use std::io::Write as _;

use clap::Args;

use crate::base::health::Health;
use crate::cli::session::{Exit, Session};

/// Check the health of a container now
///
/// Runs the container's health check (HEALTHCHECK of the image, or --health-cmd), beside those that its
/// monitor runs by itself. The exit code is 0 if the container is healthy, 1 if it is not, and 125 if it
/// does not run or has no health check.
#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// Container to check, by name or ID
    #[arg(required = true, value_name = "CONTAINER")]
    container: String,
}

pub(crate) fn run(session: &mut Session<'_>, args: RunArgs) -> anyhow::Result<Exit> {
    let engine = session.engine()?;
    let health = engine.check_health(&engine.container(&args.container)?)?;
    if health == Health::Healthy {
        return Ok(Exit::OK);
    }
    writeln!(session.out, "{}", health.word())?;
    Ok(Exit(1))
}
