//! `ketch network …`: networks, and who is on them.

use std::io::Write;
use std::net::IpAddr;

use clap::Args;
use serde_json::{Value, json};

use crate::base::network::{NetworkAttachment, mac_text, parse_mac};
use crate::cli::error::FAILED;
use crate::cli::format::{self, Format, Shape, docker, json, table::Table};
use crate::cli::labels::labels;
use crate::cli::session::{Exit, Session};
use crate::engine::filter::Filters;
use crate::engine::lifecycle::Grace;
use crate::engine::network::{FILTERS, NetworkRequest};
use crate::engine::{Engine, Error, Kind};
use crate::net::network::Network;

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

    /// Name of the bridge
    #[arg(long, value_name = "NAME")]
    interface_name: Option<String>,

    /// Let nothing in or out
    #[arg(long)]
    internal: bool,

    /// Who gives addresses: host-local, or none for no addresses at all
    #[arg(long, value_name = "DRIVER", default_value = "host-local")]
    ipam_driver: String,

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
    /// containers do not reach each other), and isolate=true, which always holds.
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
        dns: args.dns,
        routes: args.route,
        labels: labels(&args.label),
        options: labels(&args.opt),
        interface_name: args.interface_name,
        ignore_existing: args.ignore,
    };
    let network = session.engine()?.create_network(&request)?;
    Ok(writeln!(session.out, "{}", network.name)?)
}

/// List networks
#[derive(Args, Debug)]
pub(crate) struct LsArgs {
    /// List only networks for which this holds (can be repeated)
    ///
    /// Keys: driver, id, label, label!, name, until, dangling, dns_enabled.
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
    let format = args.format.as_deref().map(|text| Format::parse(text, &SHAPE)).transpose()?;
    let filters = Filters::parse(&args.filter, FILTERS)?;
    let networks = session.engine()?.filtered_networks(&filters)?;
    if let Some(Format::Json) = format {
        let documents = networks.iter().map(record).collect::<Result<Vec<Value>, _>>()?;
        return json::print_list(session, &documents, &[], "     ");
    }
    if args.quiet {
        for network in &networks {
            writeln!(session.out, "{}", network.name)?;
        }
        return Ok(());
    }
    let id = |network: &Network| match args.no_trunc {
        true => network.id.clone(),
        false => network.id.chars().take(12).collect(),
    };
    if let Some(template) = format {
        let shape = Shape { heading: !args.noheading, ..SHAPE };
        let row = |network: &Network| -> anyhow::Result<Value> {
            let mut row = json!({
                "ID": id(network),
                "Name": network.name,
                "Driver": network.driver,
                "NetworkInterface": network.network_interface,
                "Created": network.created.to_string(),
                "Subnets": network.subnets.iter().map(|subnet| subnet.subnet.to_string()).collect::<Vec<_>>(),
                "IPv6Enabled": network.ipv6_enabled,
                "Internal": network.internal,
                "DNSEnabled": network.dns_enabled,
                "Options": network.options,
                "IPAMOptions": network.ipam_options,
            });
            let labels: Vec<_> = network.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            row["Labels"] = labels.join(",").into();
            row["Routes"] =
                network.routes.iter().map(|route| serde_json::to_value(route).unwrap_or_default()).collect();
            row["NetworkDNSServers"] = serde_json::to_value(&network.network_dns_servers).unwrap_or_default();
            docker::network(&mut row);
            Ok(row)
        };
        let rows: Vec<Value> = networks.iter().map(row).collect::<Result<_, _>>()?;
        return format::print_rows(session, &shape, &template, &rows);
    }
    let heading = ["NETWORK ID", "NAME", "DRIVER"];
    let mut table = Table::new(session, if args.noheading { &[] } else { &heading });
    for network in &networks {
        table.push([id(network), network.name.clone(), network.driver.clone()]);
    }
    table.print(session)
}

fn record(network: &Network) -> Result<Value, Error> {
    serde_json::to_value(network).map_err(|err| Error::system("write down a network", err))
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
}

const INSPECT_SHAPE: Shape =
    Shape { command: "network inspect", type_name: "types.Network", headers: &[], omit: &[], heading: false };

/// `network inspect`.
pub(crate) fn inspect(session: &mut Session<'_>, args: InspectArgs) -> anyhow::Result<()> {
    let format = Format::parse(&args.format, &INSPECT_SHAPE)?;
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for name in &args.networks {
        let engine = session.engine()?;
        match document(engine, name) {
            Ok(network) => found.push(network),
            Err(err) => missing.push(err),
        }
    }
    match format {
        Format::Json => json::print(session, &json::pretty(&Value::Array(found), &[], "     "))?,
        _ => {
            let rows: Vec<Value> = found.iter().map(template_row).collect();
            format::print_rows(session, &INSPECT_SHAPE, &format, &rows)?;
        }
    }
    let code = if missing.is_empty() { 0 } else { FAILED };
    missing.into_iter().for_each(|err| session.report(err));
    session.outcome(code)
}

/// podman's `network inspect`: the record and the running containers.
pub(crate) fn document(engine: &Engine, name: &str) -> Result<Value, Error> {
    let network = engine.network(name)?;
    let mut containers = serde_json::Map::new();
    for (id, name, endpoint) in engine.endpoints_on(&network.name)? {
        let subnets: Vec<Value> = endpoint
            .ips
            .iter()
            .map(|ip| json!({"ipnet": format!("{}/{}", ip.ip, ip.prefix), "gateway": ip.gateway}))
            .collect();
        let interface = json!({"subnets": subnets, "mac_address": mac_text(&endpoint.mac)});
        let interfaces = json!({endpoint.interface: interface});
        containers.insert(id.to_string(), json!({"name": name, "interfaces": interfaces}));
    }
    let mut document = record(&network)?;
    document["containers"] = Value::Object(containers);
    Ok(document)
}

/// The names of the Go fields, which templates use.
fn template_row(document: &Value) -> Value {
    let mut row = document.clone();
    for (go, own) in [
        ("Name", "name"),
        ("ID", "id"),
        ("Driver", "driver"),
        ("NetworkInterface", "network_interface"),
        ("Created", "created"),
        ("IPv6Enabled", "ipv6_enabled"),
        ("Internal", "internal"),
        ("DNSEnabled", "dns_enabled"),
        ("Labels", "labels"),
        ("Options", "options"),
        ("IPAMOptions", "ipam_options"),
        ("Containers", "containers"),
        ("NetworkDNSServers", "network_dns_servers"),
    ] {
        row[go] = document.get(own).cloned().unwrap_or(Value::Null);
    }
    for map in ["Labels", "Options"] {
        if row[map].is_null() {
            row[map] = json!({});
        }
    }
    let subnets = document["subnets"].as_array().cloned().unwrap_or_default();
    let range = |range: &Value| match range {
        Value::Null => Value::Null,
        range => json!({"StartIP": range["start_ip"], "EndIP": range["end_ip"]}),
    };
    let subnet = |subnet: &Value| json!({"Subnet": subnet["subnet"], "Gateway": subnet["gateway"], "LeaseRange": range(&subnet["lease_range"])});
    row["Subnets"] = subnets.iter().map(subnet).collect();
    row["Routes"] = document.get("routes").cloned().unwrap_or_else(|| json!([]));
    docker::network(&mut row);
    row
}

/// Remove networks
#[derive(Args, Debug)]
pub(crate) struct RmArgs {
    /// Networks, by name or ID (can be repeated)
    #[arg(required = true, value_name = "NETWORK")]
    networks: Vec<String>,

    /// Remove the containers on them too
    #[arg(short, long)]
    force: bool,

    /// Seconds that the containers have to end; -1 for ever (with --force)
    #[arg(short, long, value_name = "SECONDS", allow_negative_numbers = true)]
    time: Option<i64>,
}

/// `network rm`.
pub(crate) fn rm(session: &mut Session<'_>, args: RmArgs) -> anyhow::Result<()> {
    let grace = args.time.map(Grace::from_seconds);
    let force = args.force;
    session.for_each_removal(&args.networks, |engine, name| match engine.remove_network(name, force, grace) {
        Err(err) if force && err.kind == Kind::NotFound => Ok(false),
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
    for name in session.engine()?.prune_networks(&filters)? {
        writeln!(session.out, "{name}")?;
    }
    Ok(())
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

/// Connect a container to a network, running or not
#[derive(Args, Debug)]
pub(crate) struct ConnectArgs {
    /// A further name of the container on this network (can be repeated)
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,

    /// Set an option of the link: com.docker.network.endpoint.ifname=NAME (can be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    driver_opt: Vec<String>,

    /// The container's way out is its network with the largest number
    #[arg(long, value_name = "NUMBER", default_value_t = 0, allow_negative_numbers = true)]
    gw_priority: i32,

    /// IPv4 address on the network
    #[arg(long, value_name = "IP")]
    ip: Option<IpAddr>,

    /// IPv6 address on the network
    #[arg(long, visible_alias = "ipv6", value_name = "IP")]
    ip6: Option<IpAddr>,

    /// Know another container by a name of its own (NAME[:ALIAS]; can be repeated)
    #[arg(long, value_name = "CONTAINER")]
    link: Vec<String>,

    /// Hardware address on the network
    #[arg(long, value_name = "MAC")]
    mac_address: Option<String>,

    /// The network, by name or ID
    #[arg(value_name = "NETWORK")]
    network: String,

    /// The container, by name or ID
    #[arg(value_name = "CONTAINER")]
    container: String,
}

/// `network connect`.
pub(crate) fn connect(session: &mut Session<'_>, args: ConnectArgs) -> anyhow::Result<()> {
    let mac = args.mac_address.as_deref().map(parse_mac).transpose();
    let mut wanted = NetworkAttachment {
        name: args.network,
        interface: None,
        ips: args.ip.into_iter().chain(args.ip6).collect(),
        mac: mac.map_err(|err| Error::invalid(err.to_string()))?,
        aliases: args.alias,
        gw_priority: args.gw_priority,
        links: Vec::new(),
    };
    for option in &args.driver_opt {
        wanted.driver_option(option).map_err(|err| Error::invalid(err.to_string()))?;
    }
    Ok(session.engine()?.connect_network(&args.container, wanted, &args.link)?)
}

/// Take a container off a network, running or not
#[derive(Args, Debug)]
pub(crate) struct DisconnectArgs {
    /// Accepted for compatibility: nothing can be in the way
    #[arg(short, long)]
    force: bool,

    /// The network, by name or ID
    #[arg(value_name = "NETWORK")]
    network: String,

    /// The container, by name or ID
    #[arg(value_name = "CONTAINER")]
    container: String,
}

/// `network disconnect`.
pub(crate) fn disconnect(session: &mut Session<'_>, args: DisconnectArgs) -> anyhow::Result<()> {
    match session.engine()?.disconnect_network(&args.container, &args.network) {
        Err(err) if args.force && err.kind == Kind::NotFound => Ok(()),
        other => Ok(other?),
    }
}

/// Try out networks on this machine
///
/// Says what the kernel has and lacks, then links a namespace to the default network and has it resolve a
/// name, connect to the host, send datagrams, be refused, and be reached through a published port. Nothing
/// leaves the host. Exit code 0 means that everything works, 1 that something does not.
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// Print in this form: json
    #[arg(long, value_name = "FORMAT", value_parser = ["json"])]
    format: Option<String>,
}

/// `network check`.
pub(crate) fn check(session: &mut Session<'_>, args: CheckArgs) -> anyhow::Result<Exit> {
    let findings = session.engine()?.check_network()?;
    let all_work = findings.iter().all(|finding| finding.works);
    if args.format.is_some() {
        json::print(session, &json::pretty(&serde_json::to_value(&findings)?, &[], "     "))?;
    } else {
        for finding in &findings {
            let verdict = if finding.works { "ok    " } else { "FAILED" };
            writeln!(session.out, "{verdict}  {}: {}", finding.what, finding.detail)?;
        }
    }
    Ok(if all_work { Exit::OK } else { Exit(1) })
}

/// Build the network links of running containers anew
///
/// Connections through them are reset. Prints the IDs.
#[derive(Args, Debug)]
pub(crate) struct ReloadArgs {
    /// All running containers
    #[arg(short, long, conflicts_with = "containers")]
    all: bool,

    /// The container that was created last
    #[arg(short, long, conflicts_with_all = ["all", "containers"])]
    latest: bool,

    /// Containers, by name or ID (can be repeated)
    #[arg(required_unless_present_any = ["all", "latest"], value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// `network reload`.
pub(crate) fn reload(session: &mut Session<'_>, args: ReloadArgs) -> anyhow::Result<()> {
    let engine = session.engine()?;
    let containers = match (args.all, args.latest) {
        (true, _) => engine.containers_on_networks()?,
        (_, true) => vec![engine.latest_container()?.to_string()],
        _ => args.containers,
    };
    let mut code = 0;
    for typed in &containers {
        // Whatever was typed, the ID is printed, as podman does.
        match session.engine()?.reload_network(typed) {
            Ok(id) => writeln!(session.out, "{id}")?,
            Err(err) => {
                code = FAILED;
                session.report(err);
            }
        }
    }
    session.outcome(code)
}

/// Change the name servers of a network
#[derive(Args, Debug)]
pub(crate) struct UpdateArgs {
    /// Ask this server for names unknown to ketch (can be repeated)
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    dns_add: Vec<IpAddr>,

    /// Do not ask this server any more (can be repeated)
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    dns_drop: Vec<IpAddr>,

    /// The network, by name or ID
    #[arg(value_name = "NETWORK")]
    network: String,
}

/// `network update`.
pub(crate) fn update(session: &mut Session<'_>, args: UpdateArgs) -> anyhow::Result<()> {
    session.engine()?.update_network(&args.network, &args.dns_add, &args.dns_drop)?;
    Ok(writeln!(session.out, "{}", args.network)?)
}
