//! Flags of `run` and `create`: networks, ports and names.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;

use crate::base::etc::HostsBase;
use crate::cli::verbs::truth_value;
use crate::engine::request::ContainerRequest;
use crate::engine::{Error, Result};

/// Networks, ports and names.
#[derive(Args, Debug)]
#[command(next_help_heading = "Network")]
pub(crate) struct NetworkFlags {
    /// Add a custom host-to-IP mapping (NAME:IP; can be repeated)
    #[arg(long, value_name = "NAME:IP", value_delimiter = ',')]
    add_host: Vec<String>,

    /// Use this name server instead of the host's (can be repeated)
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    dns: Vec<String>,

    /// Set a resolver option (can be repeated)
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION", value_delimiter = ',')]
    dns_option: Vec<String>,

    /// Set a search domain; `.` for none (can be repeated)
    #[arg(long, value_name = "DOMAIN", value_delimiter = ',')]
    dns_search: Vec<String>,

    /// Declare a port, or a range of them (can be repeated)
    #[arg(long, value_name = "PORT[/PROTOCOL]", value_delimiter = ',')]
    expose: Vec<String>,

    /// What /etc/hosts begins with: a file of the host, image or none
    #[arg(long, value_name = "FILE")]
    hosts_file: Option<PathBuf>,

    /// IPv4 address on the network
    #[arg(long, value_name = "IP")]
    ip: Option<String>,

    /// IPv6 address on the network
    #[arg(long, value_name = "IP")]
    ip6: Option<String>,

    /// Know another container by a name of its own (NAME[:ALIAS]; can be repeated)
    #[arg(long, value_name = "CONTAINER")]
    link: Vec<String>,

    /// A further address, of the link alone: of 169.254.0.0/16 or fe80::/10 (can be repeated)
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    link_local_ip: Vec<String>,

    /// Hardware address on the network
    #[arg(long, value_name = "MAC")]
    mac_address: Option<String>,

    /// Network: a name, none, host, container:NAME or ns:PATH (names can be repeated)
    ///
    /// A name may bring options: NAME:ip=IP,ip6=IP,mac=MAC,alias=NAME,interface_name=NAME,link-local-ip=IP.
    #[arg(long, visible_alias = "net", value_name = "NETWORK")]
    network: Vec<String>,

    /// A further name on the container's networks (can be repeated)
    #[arg(long, visible_alias = "net-alias", value_name = "NAME", value_delimiter = ',')]
    network_alias: Vec<String>,

    /// Leave /etc/hosts to the image
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = truth_value)]
    no_hosts: Option<bool>,

    /// Publish a port: [[IP:]HOST-PORT:]CONTAINER-PORT[/tcp|udp], ports may be ranges (can be repeated)
    ///
    /// Also as docker's published=8080,target=80,protocol=tcp.
    #[arg(short, long, value_name = "PORT")]
    publish: Vec<String>,

    /// Publish every exposed port on some port of the host
    #[arg(short = 'P', long)]
    publish_all: bool,
}

impl NetworkFlags {
    /// Puts these flags' part into a request.
    ///
    /// # Errors
    ///
    /// Values that mean nothing; files that cannot be read.
    pub(super) fn fill(&self, request: &mut ContainerRequest) -> Result<()> {
        request.networks.clone_from(&self.network);
        request.ip.clone_from(&self.ip);
        request.ip6.clone_from(&self.ip6);
        request.mac.clone_from(&self.mac_address);
        request.link_local_ips.clone_from(&self.link_local_ip);
        request.network_aliases.clone_from(&self.network_alias);
        request.links.clone_from(&self.link);
        for text in &self.publish {
            request.publish.extend(published(text)?);
        }
        request.publish_all = self.publish_all;
        request.add_hosts.clone_from(&self.add_host);
        if let Some(bad) = self.dns.iter().find(|text| *text != "none" && text.parse::<IpAddr>().is_err()) {
            return Err(Error::invalid(format!("{bad} is not an ip address")));
        }
        check_dns_none(self)?;
        request.dns.clone_from(&self.dns);
        request.dns_search.clone_from(&self.dns_search);
        request.dns_options.clone_from(&self.dns_option);
        request.no_hosts = self.no_hosts == Some(true);
        request.denied.no_hosts = self.no_hosts == Some(false);
        request.expose.clone_from(&self.expose);
        request.hosts_base = match self.hosts_file.as_deref().map(|path| (path, path.to_str())) {
            None => HostsBase::Usual,
            Some((_, Some("none"))) => HostsBase::None,
            Some((_, Some("image"))) => HostsBase::Image,
            Some((path, _)) => HostsBase::File(path.to_owned()),
        };
        Ok(())
    }
}

/// The ports of one `--publish`: several between commas, or one in docker's long form.
fn published(text: &str) -> Result<Vec<String>> {
    if !text.contains('=') {
        return Ok(text.split(',').map(str::to_owned).collect());
    }
    let (mut host, mut container, mut protocol) = ("", "", "tcp");
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("published", port)) => host = port,
            Some(("target", port)) => container = port,
            Some(("protocol", name)) => protocol = name,
            // Of swarms, where it says who answers.
            Some(("mode", "host" | "ingress")) => {}
            _ => {
                let message = format!("invalid publish opts format (should be name=value but got '{field}')");
                return Err(Error::invalid(message));
            }
        }
    }
    Ok(vec![format!("{host}:{container}/{protocol}")])
}

/// `--dns none` leaves /etc/resolv.conf to the image, which other flags would write.
fn check_dns_none(flags: &NetworkFlags) -> Result<()> {
    if !flags.dns.iter().any(|server| server == "none") {
        return Ok(());
    }
    let clash = |what| {
        format!("invalid config provided: UseImageResolvConf and {what} are mutually exclusive options")
    };
    if flags.dns.len() > 1 {
        return Err(Error::invalid("none is not allowed to be specified with other DNS ip addresses"));
    }
    if !flags.dns_search.is_empty() {
        return Err(Error::invalid(clash("DNSSearch")));
    }
    match flags.dns_option.is_empty() {
        true => Ok(()),
        false => Err(Error::invalid(clash("DNSOption"))),
    }
}
