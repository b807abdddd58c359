//! `ketch network …` for what runs: who is connected, how links are, what name servers are asked.

use std::io::Write;
use std::net::IpAddr;

use clap::Args;

use crate::base::network::{NetworkAttachment, parse_link_local, parse_mac};
use crate::cli::error::FAILED;
use crate::cli::format::json;
use crate::cli::session::{Exit, Session};
use crate::engine::Error;

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

    /// A further address, of the link alone: of 169.254.0.0/16 or fe80::/10 (can be repeated)
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    link_local_ip: Vec<String>,

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
        link_local: Vec::new(),
        aliases: args.alias,
        gw_priority: args.gw_priority,
        links: Vec::new(),
    };
    for ip in &args.link_local_ip {
        wanted.link_local.push(parse_link_local(ip).map_err(|err| Error::invalid(err.to_string()))?);
    }
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
    Ok(session.engine()?.disconnect_network(&args.container, &args.network)?)
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
