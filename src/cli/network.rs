//! `ketch network …`: networks, and who is on them.

mod running;

use std::io::Write;
use std::net::IpAddr;

use clap::Args;
use serde_json::Value;

use crate::cli::format::{self, Format, Shape, docker, json, table::Table};
use crate::cli::labels::labels;
use crate::cli::session::{Exit, Session};
use crate::cli::system::print_pruned;
use crate::cli::usage::UsageError;
use crate::documents::network;
use crate::engine::filter::Filters;
use crate::engine::lifecycle::Grace;
use crate::engine::network::{FILTERS, NetworkRequest};
use crate::engine::{Error, Kind};
use crate::net::network::Network;

pub(crate) use running::{
    CheckArgs, ConnectArgs, DisconnectArgs, ReloadArgs, UpdateArgs, check, connect, disconnect, reload,
    update,
};

/// Make a network
///
/// Containers on a network reach each other, by name too; those on different networks do not.
/// Without a name and a subnet both are chosen. Prints the name.
#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    /// Let containers be attached by hand, as they always may
    #[arg(long)]
    attachable: bool,

    /// Give no container this address, which something else has (NAME=IP; can be repeated)
    #[arg(long, value_name = "NAME=IP")]
    aux_address: Vec<String>,

    /// Take subnets, options and labels from a network made with --config-only
    #[arg(long, value_name = "NETWORK")]
    config_from: Option<String>,

    /// Make no network, but a configuration that others are made from
    #[arg(long)]
    config_only: bool,

    /// Leave names of containers unanswered
    #[arg(long)]
    disable_dns: bool,

    /// Ask this server for names unknown to ketch, instead of the host's (can be repeated)
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    dns: Vec<IpAddr>,

    /// What links the containers: bridge is all that works without root
    #[arg(short, long, value_name = "DRIVER", default_value = "bridge")]
    driver: String,

    /// Address of the gateway, within a subnet (can be repeated)
    #[arg(long, value_name = "IP")]
    gateway: Vec<String>,

    /// Do not fail if there is a network of that name
    #[arg(long)]
    ignore: bool,

    /// Refused: a network that carries the published ports of a swarm
    #[arg(long)]
    ingress: bool,

    /// Name of the bridge
    #[arg(long, value_name = "NAME")]
    interface_name: Option<String>,

    /// Let nothing in or out
    #[arg(long)]
    internal: bool,

    /// Who gives addresses: host-local, or none for no addresses at all
    #[arg(long, value_name = "DRIVER", default_value = "host-local")]
    ipam_driver: String,

    /// Note an option of the IPAM driver, which has none of its own (KEY=VALUE; can be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    ipam_opt: Vec<String>,

    /// Addresses that containers get unless they ask for one: ADDRESS/PREFIX or FIRST-LAST (can be repeated)
    #[arg(long, value_name = "RANGE")]
    ip_range: Vec<String>,

    /// Give containers an IPv4 address; --ipv4=false, with --ipv6, gives them none
    #[arg(
        long,
        value_name = "BOOL",
        action = clap::ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_value = "true",
        default_missing_value = "true"
    )]
    ipv4: bool,

    /// Give containers an IPv6 address too
    #[arg(long)]
    ipv6: bool,

    /// Set a label (KEY=VALUE; can be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,

    /// Set an option (can be repeated)
    ///
    /// Known are mtu=BYTES, metric=NUMBER of the default route, no_default_route=BOOL, enable_icc=false (its
    /// containers do not reach each other), host_binding_ipv4=IP (where ports are published that name no address),
    /// host_ipv4=IP and host_ipv6=IP (the host's address from which its containers' connections leave),
    /// enable_ip_masquerade=false (its containers reach the host and nothing beyond),
    /// container_iface_prefix=NAME (of interfaces inside), gateway_mode_ipv4 and gateway_mode_ipv6 (nat, or isolated with
    /// --internal), and isolate=true, which always holds. Docker's long names of them are known as well.
    #[arg(short, long, value_name = "KEY=VALUE")]
    opt: Vec<String>,

    /// Give every container a route: DESTINATION,GATEWAY[,METRIC] (can be repeated)
    #[arg(long, value_name = "ROUTE")]
    route: Vec<String>,

    /// How far the network reaches: local, this machine, is all there is
    #[arg(long, value_name = "SCOPE", default_value = "local", value_parser = ["local"])]
    scope: String,

    /// Addresses of the network, like 10.90.0.0/24 (can be repeated)
    #[arg(long, value_name = "SUBNET")]
    subnet: Vec<String>,

    /// Its name
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

/// `network create`.
pub(crate) fn create(session: &mut Session<'_>, args: CreateArgs) -> anyhow::Result<()> {
    if args.name.is_none() && session.globals.called.is_docker() {
        return Err(UsageError::new("no names or ids specified").into());
    }
    let request = NetworkRequest {
        name: args.name.unwrap_or_default(),
        driver: args.driver,
        subnets: args.subnet,
        gateways: args.gateway,
        ranges: args.ip_range,
        ipv6: args.ipv6,
        no_ipv4: !args.ipv4,
        aux_addresses: labels(&args.aux_address),
        internal: args.internal,
        disable_dns: args.disable_dns,
        ipam_driver: args.ipam_driver,
        ipam_options: labels(&args.ipam_opt),
        attachable: args.attachable,
        ingress: args.ingress,
        config_only: args.config_only,
        config_from: args.config_from,
        dns: args.dns,
        routes: args.route,
        labels: labels(&args.label),
        options: labels(&args.opt),
        interface_name: args.interface_name,
        ignore_existing: args.ignore,
    };
    let network = session.engine()?.create_network(&request)?;
    let created = if session.globals.called.is_docker() { &network.id } else { &network.name };
    Ok(writeln!(session.out, "{created}")?)
}

/// List networks
#[derive(Args, Debug)]
pub(crate) struct LsArgs {
    /// List only networks for which this holds (can be repeated)
    ///
    /// Keys: driver, id, label, label!, name, until, dangling, dns_enabled, scope (local), type (builtin or custom).
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,

    /// Print in this form: json, or a Go template, after the word "table" with headings
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,

    /// Do not shorten IDs
    #[arg(long)]
    no_trunc: bool,

    /// Leave out the headings
    #[arg(short, long)]
    noheading: bool,

    /// Print only names
    #[arg(short, long)]
    quiet: bool,
}

const SHAPE: Shape = Shape {
    command: "network ls",
    type_name: "networks.ListPrintReports",
    headers: &[("ID", "NETWORK ID"), ("Name", "NAME"), ("Driver", "DRIVER"), ("Labels", "LABELS")],
    omit: &[],
    heading: true,
};

/// `network ls`.
pub(crate) fn ls(session: &mut Session<'_>, args: LsArgs) -> anyhow::Result<()> {
    let format = session.format(args.format.as_deref(), &SHAPE)?;
    let filters = Filters::parse(&args.filter, FILTERS)?;
    let is_docker = session.globals.called.is_docker();
    let engine = session.engine()?;
    let networks = match is_docker {
        true => engine.filtered_among(&filters, network::names::all(engine)?)?,
        false => engine.filtered_networks(&filters)?,
    };
    let id = |network: &Network| -> String {
        match args.no_trunc {
            true => network.id.clone(),
            false => network.id.chars().take(12).collect(),
        }
    };
    if args.quiet && !matches!(format, Some(Format::Json)) {
        for network in &networks {
            writeln!(session.out, "{}", if is_docker { id(network) } else { network.name.clone() })?;
        }
        return Ok(());
    }
    if let Some(format) = format {
        let shape = Shape { heading: !args.noheading, ..SHAPE };
        let row = |network: &Network| -> anyhow::Result<Value> {
            let mut row = network::template_row(&network::record(network)?);
            row["ID"] = id(network).into();
            let labels: Vec<_> = network.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            row["Labels"] = labels.join(",").into();
            Ok(row)
        };
        let rows: Vec<Value> = networks.iter().map(row).collect::<Result<_, _>>()?;
        if session.lists_as_docker(Some(&format))? {
            return json::print_dockers_lines(session, rows, docker::NETWORK);
        }
        if let Format::Json = format {
            let documents = networks.iter().map(network::record).collect::<Result<Vec<Value>, _>>()?;
            return json::print_list(session, &documents, &[], "     ");
        }
        return format::print_rows(session, &shape, &format, &rows);
    }
    let heading = ["NETWORK ID", "NAME", "DRIVER", "SCOPE"];
    let columns = if is_docker { 4 } else { 3 };
    let mut table = Table::new(session, if args.noheading { &[] } else { &heading[..columns] });
    for network in &networks {
        let cells = [id(network), network.name.clone(), network.driver.clone(), "local".to_owned()];
        table.push(cells.into_iter().take(columns));
    }
    table.print(session)
}

/// Print everything about networks
#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// Networks, by name or ID (can be repeated)
    #[arg(required = true, value_name = "NETWORK")]
    networks: Vec<String>,

    /// Print in this form: json, or a Go template
    #[arg(short, long, default_value = "json", value_name = "FORMAT")]
    format: String,

    /// List the containers that do not run, too
    #[arg(short, long)]
    verbose: bool,
}

const INSPECT_SHAPE: Shape =
    Shape { command: "network inspect", type_name: "types.Network", headers: &[], omit: &[], heading: false };

/// `network inspect`.
pub(crate) fn inspect(session: &mut Session<'_>, args: InspectArgs) -> anyhow::Result<()> {
    // As with podman and docker, none is the usual one.
    let format = if args.format.is_empty() { "json" } else { &args.format };
    let format = Format::parse(format, &INSPECT_SHAPE)?;
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    let is_docker = session.globals.called.is_docker();
    for name in &args.networks {
        let engine = session.engine()?;
        let network = match is_docker {
            true => network::whole_docker(engine, name, args.verbose),
            false => network::document(engine, name, args.verbose),
        };
        match network {
            Ok(network) => found.push(network),
            Err(err) => missing.push(err),
        }
    }
    let omit = if is_docker { network::DOCKERS_OMIT } else { &[] };
    match format {
        Format::Json => {
            let indent = if is_docker { "    " } else { "     " };
            json::print(session, &json::pretty(&Value::Array(found), omit, indent))?;
        }
        _ if format.is_whole() && is_docker => {
            for network in &found {
                json::print(session, &json::compact(network, omit))?;
            }
        }
        _ if is_docker => format::print_rows(session, &INSPECT_SHAPE, &format, &found)?,
        _ => {
            let rows: Vec<Value> = found.iter().map(network::template_row).collect();
            format::print_rows(session, &INSPECT_SHAPE, &format, &rows)?;
        }
    }
    session.outcome_of(missing)
}

/// Remove networks
#[derive(Args, Debug)]
pub(crate) struct RmArgs {
    /// Networks, by name or ID (can be repeated)
    #[arg(required = true, value_name = "NETWORK")]
    networks: Vec<String>,

    /// Remove the containers on them too (but through a link named docker); a missing network is no failure
    #[arg(short, long)]
    force: bool,

    /// Seconds that the containers have to end; -1 for ever (with --force)
    #[arg(short, long, value_name = "SECONDS", allow_negative_numbers = true)]
    time: Option<i64>,
}

/// `network rm`.
pub(crate) fn rm(session: &mut Session<'_>, args: RmArgs) -> anyhow::Result<()> {
    if args.time.is_some() && !args.force {
        return Err(Error::invalid("--force option must be specified to use the --time option").into());
    }
    let grace = args.time.map(Grace::from_seconds);
    let missing_is_fine = args.force;
    let is_docker = session.globals.called.is_docker();
    let force = args.force && !is_docker;
    session.for_each_removal(&args.networks, |engine, name| match engine.remove_network(name, force, grace) {
        Err(err) if missing_is_fine && err.kind == Kind::NotFound => Ok(false),
        Err(err) if missing_is_fine && is_docker && err.kind == Kind::Conflict => {
            let message =
                format!("network {name:?} has associated containers with it: network is being used");
            Err(Error::new(Kind::Conflict, message).hint("remove these containers first"))
        }
        other => other.map(|_name| true),
    })
}

/// Remove all networks that no container is on
#[derive(Args, Debug)]
pub(crate) struct PruneArgs {
    /// Remove only networks for which this holds (can be repeated)
    ///
    /// Keys: label, label!, until.
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,

    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// `network prune`.
pub(crate) fn prune(session: &mut Session<'_>, args: PruneArgs) -> anyhow::Result<()> {
    let filters = Filters::parse(&args.filter, crate::engine::filter::PRUNE)?;
    if !args.force
        && !session.confirm("WARNING! This will remove all networks not used by at least one container.")?
    {
        return Ok(());
    }
    let removed = session.engine()?.prune_networks(&filters)?;
    print_pruned(session, "Deleted Networks", removed.into_iter(), None)
}

/// Check whether a network exists
///
/// Prints nothing; exit code 0 means yes, 1 no, 125 that it cannot be told.
#[derive(Args, Debug)]
pub(crate) struct ExistsArgs {
    /// The network, by name or ID
    #[arg(value_name = "NETWORK")]
    network: String,
}

/// `network exists`.
pub(crate) fn exists(session: &mut Session<'_>, args: ExistsArgs) -> anyhow::Result<Exit> {
    Exit::of_existence(session.engine()?.network(&args.network))
}
