//! Small verbs about containers: exists, prune, rename, port.

use std::io::Write;

use clap::Args;

use crate::cli::session::{Exit, Session};
use crate::cli::usage::UsageError;
use crate::engine::filter::{self, Filters};
use crate::engine::list::Query;
use crate::engine::{Error, Kind};

/// Check whether a container exists
///
/// Prints nothing; exit code 0 means yes, 1 no, 125 that it cannot be told.
#[derive(Args, Debug)]
pub(crate) struct ExistsArgs {
    /// The container, by name or ID
    #[arg(value_name = "CONTAINER")]
    container: String,

    /// Look for containers of other programs in the store too; there are never any
    #[arg(long)]
    external: bool,
}

/// `container exists`.
pub(crate) fn exists(session: &mut Session<'_>, args: ExistsArgs) -> anyhow::Result<Exit> {
    match session.engine()?.container(&args.container) {
        Ok(_) => Ok(Exit::OK),
        Err(err) if err.kind == Kind::NotFound => Ok(Exit(1)),
        Err(err) => Err(err.into()),
    }
}

/// Remove all containers that do not run
#[derive(Args, Debug)]
pub(crate) struct PruneArgs {
    /// Remove only containers for which this holds (can be repeated)
    ///
    /// Keys: label, label!, until.
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,

    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// `container prune`.
pub(crate) fn prune(session: &mut Session<'_>, args: PruneArgs) -> anyhow::Result<()> {
    let filters = Filters::parse(&args.filter, filter::PRUNE)?;
    if !args.force && !session.confirm("WARNING! This will remove all non running containers.")? {
        return Ok(());
    }
    let pruned = session.engine()?.prune_containers(&filters)?;
    for id in &pruned.removed {
        writeln!(session.out, "{id}")?;
    }
    let code = if pruned.failed.is_empty() { 0 } else { crate::cli::error::FAILED };
    pruned.failed.into_iter().for_each(|err| session.report(err));
    session.outcome(code)
}

/// Rename a container
#[derive(Args, Debug)]
pub(crate) struct RenameArgs {
    /// The container, by name or ID
    #[arg(value_name = "CONTAINER")]
    container: String,

    /// Its new name
    #[arg(value_name = "NAME")]
    name: String,
}

/// `rename`.
pub(crate) fn rename(session: &mut Session<'_>, args: RenameArgs) -> anyhow::Result<()> {
    Ok(session.engine()?.rename_container(&args.container, &args.name)?)
}

/// List the published ports of a container
#[derive(Args, Debug)]
pub(crate) struct PortArgs {
    /// The container, by name or ID
    #[arg(value_name = "CONTAINER", required_unless_present_any = ["all", "latest"])]
    container: Option<String>,

    /// Show only this port of the container, like 80 or 53/udp
    #[arg(value_name = "PORT")]
    port: Option<String>,

    /// Show the ports of all running containers
    #[arg(short, long, conflicts_with_all = ["container", "latest"])]
    all: bool,

    /// Show the ports of the container that was created last
    #[arg(short, long, conflicts_with = "container")]
    latest: bool,
}

/// `port`. No container can publish a port yet, so that every list is empty.
pub(crate) fn port(session: &mut Session<'_>, args: PortArgs) -> anyhow::Result<()> {
    if let Some(port) = &args.port {
        check_port(port)?;
    }
    let engine = session.engine()?;
    match (&args.container, args.latest) {
        (Some(typed), _) => drop(engine.container(typed)?),
        (None, true) => drop(engine.latest_container()?),
        (None, false) => drop(engine.containers(&Query::default())?),
    }
    Ok(())
}

/// `80`, `80/tcp`, `53/udp`, `5000/sctp`.
fn check_port(text: &str) -> anyhow::Result<()> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    match (number.parse::<u16>(), protocol) {
        (Ok(1..), "tcp" | "udp" | "sctp") => Ok(()),
        (Ok(1..), _) => {
            Err(UsageError::new(format!("unknown protocol {protocol:?} in port {text:?}")).into())
        }
        _ => Err(Error::invalid(format!("invalid port number {number:?}")).into()),
    }
}
