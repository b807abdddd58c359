//! Small verbs about containers: exists, prune, rename, port.

use std::io::Write;

use clap::Args;

use crate::base::id::ContainerId;
use crate::cli::session::{Exit, Session};
use crate::cli::system::print_pruned;
use crate::cli::usage::UsageError;
use crate::documents::ports as dockers_ports;
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

    /// Accepted for podman's sake: nobody but ketch puts containers into the store
    #[arg(long)]
    external: bool,
}

/// `container exists`.
pub(crate) fn exists(session: &mut Session<'_>, args: ExistsArgs) -> anyhow::Result<Exit> {
    Exit::of_existence(session.engine()?.container(&args.container))
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
    let removed = pruned.removed.iter().map(ToString::to_string);
    print_pruned(session, "Deleted Containers", removed, Some(pruned.bytes))?;
    session.outcome_of(pruned.failed)
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
    let engine = session.engine()?;
    if session.globals.called.is_docker() {
        let same = engine.container_name(&engine.container(&args.container)?)?;
        if same == args.name.trim_start_matches('/') {
            let message = "Renaming a container with the same name as its current name";
            return Err(Error::new(Kind::Conflict, message).into());
        }
    }
    Ok(engine.rename_container(&args.container, &args.name)?)
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

/// `port`.
pub(crate) fn port(session: &mut Session<'_>, args: PortArgs) -> anyhow::Result<()> {
    if let Some(port) = &args.port {
        check_port(port)?;
    }
    let is_docker = session.globals.called.is_docker();
    let engine = session.engine()?;
    let all = (args.container.is_none() && !args.latest)
        .then(|| engine.containers(&Query::default()))
        .transpose()?;
    let ids: Vec<ContainerId> = match (&args.container, all) {
        (Some(typed), _) => vec![engine.container(typed)?],
        (None, Some(running)) => running.items.into_iter().map(|container| container.id).collect(),
        (None, None) => vec![engine.latest_container()?],
    };
    let mut lines = Vec::new();
    let mut has_ports = false;
    for id in &ids {
        // Nothing is published for a container that does not run.
        if !engine.runs(id)? {
            continue;
        }
        let prefix = if args.all { format!("{}\t", id.short()) } else { String::new() };
        for port in engine.published_ports(id)?.iter().flat_map(|port| port.each()) {
            has_ports = true;
            let inside = format!("{}/{}", port.container_port, port.protocol);
            let addresses =
                if is_docker { dockers_ports::addresses(&port) } else { vec![port.host_ip_text()] };
            for ip in addresses {
                let ip = if is_docker && ip.contains(':') { format!("[{ip}]") } else { ip };
                let host = format!("{ip}:{}", port.host_port);
                match &args.port {
                    Some(wanted) if *wanted == inside || format!("{wanted}/tcp") == inside => {
                        lines.push(host);
                    }
                    Some(_) => {}
                    None => lines.push(format!("{prefix}{inside} -> {host}")),
                }
            }
        }
    }
    if let (Some(wanted), true) = (&args.port, lines.is_empty() && is_docker) {
        let name = args.container.as_deref().unwrap_or_default();
        return Err(Error::invalid(format!("Error: No public port '{wanted}' published for {name}")).into());
    }
    if let (Some(wanted), true, true) = (&args.port, lines.is_empty(), has_ports) {
        return Err(Error::invalid(format!("failed to find published port {wanted:?}")).into());
    }
    for line in lines {
        writeln!(session.out, "{line}")?;
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
