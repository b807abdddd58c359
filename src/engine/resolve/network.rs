//! The container's networks and published ports.

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::base::network::{
    NetworkAttachment, PortMapping, PrivateNetwork, Protocol, parse_link_local, parse_mac,
};
use crate::base::spec::{Network, NetworkMode};
use crate::engine::error::{Error, Result};
use crate::engine::request::ContainerRequest;
use crate::engine::resolve::{Facts, namespaces};
use crate::net::ipam::Subnet;
use crate::net::network::{DEFAULT_NETWORK, MTU};

/// Which networks, and what the container knows of others.
pub(super) fn network(request: &ContainerRequest, exposed: &[String], facts: &Facts<'_>) -> Result<Network> {
    let mode = mode(request, facts)?;
    let add_hosts = request.add_hosts.iter().map(|text| add_host(text)).collect::<Result<Vec<_>>>()?;
    let on_networks = mode.uses_netd();
    if let NetworkMode::Container(_) = mode
        && (request.publish_all || !request.publish.is_empty())
    {
        return Err(Error::invalid("ports cannot be published for another container's network")
            .hint("publish them when you create that container"));
    }
    if let NetworkMode::Container(_) = mode {
        reject_names_of_its_own(request)?;
    }
    request.dns.iter().try_for_each(|server| name_server(server))?;
    request.dns_search.iter().try_for_each(|domain| search_domain(domain))?;
    let publishes = on_networks && (request.publish_all || !request.publish.is_empty());
    let binding = if publishes { host_binding(&mode, facts)? } else { None };
    let asked = asked_ports(request, binding, facts)?;
    let links = request.links.iter().map(|text| link(text, facts)).collect::<Result<Vec<_>>>()?;
    Ok(Network {
        mode,
        add_hosts: add_hosts.into_iter().flatten().collect(),
        dns: request.dns.clone(),
        dns_search: request.dns_search.clone(),
        dns_options: request.dns_options.clone(),
        no_hosts: request.no_hosts,
        nameless_host: request.nameless_host,
        // Elsewhere the container's ports are the host's, or nobody's.
        ports: if on_networks { ports(request, exposed, (asked, binding), facts)? } else { Vec::new() },
        links,
    })
}

fn mode(request: &ContainerRequest, facts: &Facts<'_>) -> Result<NetworkMode> {
    let single = |text: &String| -> Result<Option<NetworkMode>> {
        Ok(match text.split_once(':') {
            None if text == "none" => Some(NetworkMode::None),
            None if text == "host" => Some(NetworkMode::Host),
            Some(("container", "")) => {
                return Err(Error::invalid(
                    "invalid config provided: namespace mode container requires a value",
                ));
            }
            Some(("container", name)) => {
                Some(NetworkMode::Container(namespaces::shared(facts, "net", name)?))
            }
            Some(("ns", path)) if path.starts_with('/') => Some(NetworkMode::Path(PathBuf::from(path))),
            _ => match PrivateNetwork::parse(text) {
                Some(private) => Some(NetworkMode::Private(private_network(private)?)),
                None => None,
            },
        })
    };
    let mut names = Vec::new();
    let mut mode = None;
    for text in &request.networks {
        match single(text)? {
            // The first one is named where there are several.
            Some(found) => mode = mode.or(Some((found, text))),
            None => names.push(text.as_str()),
        }
    }
    if let (Some((_, text)), 2..) = (&mode, request.networks.len()) {
        return Err(Error::invalid(format!(
            "cannot set multiple networks without bridge network mode, selected mode {text}: invalid argument"
        )));
    }
    let Some((mode, text)) = mode else {
        return Ok(NetworkMode::Bridge(attachments(request, &names, facts)?));
    };
    let aliases = (!request.network_aliases.is_empty()).then_some("--network-alias");
    if let Some(flag) = fixed_address(request).or(aliases) {
        let message = format!("{flag} can only be set when the network mode is bridge: invalid argument");
        return Err(Error::invalid(message).hint(format!("leave out --network {text}, or name a network")));
    }
    Ok(mode)
}

/// The networks of one `--network`: without options it may be a list, as podman has it.
fn one_by_one(text: &str) -> Vec<&str> {
    if text.contains(':') || text.starts_with("name=") { vec![text] } else { text.split(',').collect() }
}

/// The flag that asks for an address, which only one network can have.
fn fixed_address(request: &ContainerRequest) -> Option<&'static str> {
    let given = [
        ("--ip", request.ip.is_some()),
        ("--ip6", request.ip6.is_some()),
        ("--link-local-ip", !request.link_local_ips.is_empty()),
        ("--mac-address", request.mac.is_some()),
    ];
    given.into_iter().find(|(_, is_given)| *is_given).map(|(flag, _)| flag)
}

/// Whoever shares another container's network knows the servers and hosts that that one knows.
fn reject_names_of_its_own(request: &ContainerRequest) -> Result<()> {
    let given = |lists: &[&Vec<String>]| lists.iter().any(|list| !list.is_empty());
    if given(&[&request.dns, &request.dns_search, &request.dns_options]) {
        return Err(Error::invalid("conflicting options: dns and the network mode: container"));
    }
    if given(&[&request.add_hosts]) {
        return Err(Error::invalid(
            "invalid config provided: cannot set extra host entries when the container is joined to another \
             containers network namespace: invalid configuration",
        ));
    }
    Ok(())
}

/// Checks what only the network's own types can.
fn private_network(
    parsed: std::result::Result<PrivateNetwork, crate::base::network::NetworkSyntaxError>,
) -> Result<PrivateNetwork> {
    let private = parsed.map_err(|err| Error::invalid(err.to_string()))?;
    if let Some(subnet) = &private.subnet {
        let parsed = subnet.parse::<Subnet>().map_err(|err| Error::invalid(err.to_string()))?;
        if parsed.is_ipv6() || parsed.prefix() > 30 {
            return Err(Error::invalid(format!("subnet {subnet}: an IPv4 one with room for a container")));
        }
    }
    if private.mtu.is_some_and(|mtu| mtu != 0 && !(68..=MTU).contains(&mtu)) {
        return Err(Error::invalid(format!("MTU of --network {}: a number from 68 to {MTU}", private.word)));
    }
    if !private.ipv4 && !private.ipv6 {
        return Err(Error::invalid(format!("--network {}: both families are switched off", private.word)));
    }
    Ok(private)
}

fn attachments(
    request: &ContainerRequest,
    names: &[&str],
    facts: &Facts<'_>,
) -> Result<Vec<NetworkAttachment>> {
    let invalid = |err: crate::base::network::NetworkSyntaxError| Error::invalid(err.to_string());
    let mut attachments = Vec::new();
    for text in names.iter().flat_map(|text| one_by_one(text)) {
        let mut attachment: NetworkAttachment = text.parse().map_err(invalid)?;
        // The words of other engines for the usual network.
        if matches!(attachment.name.as_str(), "" | "default" | "bridge") {
            attachment.name = DEFAULT_NETWORK.into();
        }
        attachment.name = (facts.find_network)(&attachment.name)?.name;
        // Named again, it is what was said last.
        match attachments.iter_mut().find(|other: &&mut NetworkAttachment| other.name == attachment.name) {
            Some(other) => *other = attachment,
            None => attachments.push(attachment),
        }
    }
    if attachments.is_empty() {
        let name = (facts.find_network)(DEFAULT_NETWORK)?.name;
        attachments.push(NetworkAttachment { name, ..NetworkAttachment::default() });
    }
    if let Some(flag) = fixed_address(request).filter(|_| attachments.len() > 1) {
        return Err(Error::invalid(format!("{flag} can only be set for a single network: invalid argument"))
            .hint("write --network NAME:ip=…,mac=… instead"));
    }
    for attachment in &mut attachments {
        for ip in request.ip.iter().chain(&request.ip6) {
            let ip = ip.parse().map_err(|_| Error::invalid(format!("{ip:?} is not an ip address")))?;
            attachment.ips.push(ip);
        }
        for ip in &request.link_local_ips {
            attachment.link_local.push(parse_link_local(ip).map_err(invalid)?);
        }
        if let Some(mac) = &request.mac {
            attachment.mac = Some(parse_mac(mac).map_err(invalid)?);
        }
        attachment.aliases.extend(request.network_aliases.iter().cloned());
    }
    Ok(attachments)
}

/// The host's address at which ports are published that name none: an option of the network that is the way out.
fn host_binding(mode: &NetworkMode, facts: &Facts<'_>) -> Result<Option<IpAddr>> {
    let NetworkMode::Bridge(attachments) = mode else { return Ok(None) };
    let way_out = attachments.iter().min_by_key(|attachment| std::cmp::Reverse(attachment.gw_priority));
    let Some(way_out) = way_out else { return Ok(None) };
    let network = (facts.find_network)(&way_out.name)?;
    network.host_binding().map_err(|err| Error::invalid(err.to_string()))
}

/// `--publish`. Ports that name no address of the host are published at `binding`.
fn asked_ports(
    request: &ContainerRequest,
    binding: Option<IpAddr>,
    facts: &Facts<'_>,
) -> Result<Vec<PortMapping>> {
    let mut ports: Vec<PortMapping> = Vec::new();
    for text in &request.publish {
        let choices = PortMapping::choices(text);
        if !choices.is_empty() {
            ports.push(first_free(choices, binding, &ports, facts)?);
            continue;
        }
        let mut port: PortMapping = text
            .parse()
            .map_err(|err: crate::base::network::NetworkSyntaxError| Error::invalid(err.to_string()))?;
        port.host_ip = port.host_ip.or(binding);
        // The very same twice is once, but each one that may have any port gets one.
        if port.host_port == 0 || !ports.contains(&port) {
            ports.push(port);
        }
    }
    Ok(ports)
}

/// The first of several ports that neither the host nor another flag uses; as docker has it, not kept free until the start.
fn first_free(
    choices: Vec<PortMapping>,
    binding: Option<IpAddr>,
    taken: &[PortMapping],
    facts: &Facts<'_>,
) -> Result<PortMapping> {
    let mut last = None;
    for port in choices {
        let port = PortMapping { host_ip: port.host_ip.or(binding), ..port };
        let is_taken =
            |other: &PortMapping| (other.host_port, other.protocol) == (port.host_port, port.protocol);
        if taken.iter().any(is_taken) {
            continue;
        }
        match (facts.free_port)(port) {
            Ok(_) => return Ok(port),
            Err(err) => last = Some(err),
        }
    }
    Err(last.unwrap_or_else(|| Error::invalid("each port of a range is published already")))
}

/// The ports that were asked for, and with `--publish-all` what is exposed beyond that, at `binding`.
fn ports(
    request: &ContainerRequest,
    exposed: &[String],
    (mut ports, binding): (Vec<PortMapping>, Option<IpAddr>),
    facts: &Facts<'_>,
) -> Result<Vec<PortMapping>> {
    if request.publish_all {
        let published: HashSet<(u16, Protocol)> = ports
            .iter()
            .flat_map(|port| port.each())
            .map(|port| (port.container_port, port.protocol))
            .collect();
        for text in exposed {
            let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
            let (Ok(container_port), Ok(protocol)) = (number.parse::<u16>(), protocol.parse::<Protocol>())
            else {
                continue;
            };
            if !published.contains(&(container_port, protocol)) {
                ports.push(PortMapping {
                    host_ip: binding,
                    host_port: 0,
                    container_port,
                    range: 1,
                    protocol,
                });
            }
        }
    }
    let chosen = ports.into_iter().flat_map(|port| {
        // Ports of any number need not be in a row.
        if port.host_port == 0 { port.each().collect() } else { vec![port] }
    });
    let chosen: Vec<PortMapping> = chosen
        .map(|port| match port.host_port {
            0 => (facts.free_port)(port).map(|host_port| PortMapping { host_port, ..port }),
            _ => Ok(port),
        })
        .collect::<Result<_>>()?;
    let chosen = joined(chosen);
    reject_twice(&chosen)?;
    Ok(chosen)
}

/// Ports that follow each other on both sides, as ranges: an image may expose thousands.
fn joined(ports: Vec<PortMapping>) -> Vec<PortMapping> {
    let mut joined: Vec<PortMapping> = Vec::new();
    for port in ports {
        let follows = |last: &&mut PortMapping| {
            let next = |first: u16| u32::from(first) + u32::from(last.range);
            (last.host_ip, last.protocol) == (port.host_ip, port.protocol)
                && next(last.host_port) == u32::from(port.host_port)
                && next(last.container_port) == u32::from(port.container_port)
        };
        match joined.last_mut().filter(follows) {
            Some(last) => last.range += port.range,
            None => joined.push(port),
        }
    }
    joined
}

/// The same port of the same address cannot lead to two places.
fn reject_twice(ports: &[PortMapping]) -> Result<()> {
    let end = |port: &PortMapping| u32::from(port.host_port) + u32::from(port.range);
    for (i, port) in ports.iter().enumerate() {
        let clash = ports[..i].iter().any(|other| {
            other.protocol == port.protocol
                && (other.host_ip == port.host_ip || other.host_ip.is_none() || port.host_ip.is_none())
                && u32::from(other.host_port) < end(port)
                && u32::from(port.host_port) < end(other)
        });
        if clash {
            return Err(Error::invalid(format!(
                "port {}/{} is published twice",
                port.host_port, port.protocol
            )));
        }
    }
    Ok(())
}

/// `--link NAME[:ALIAS]`.
fn link(text: &str, facts: &Facts<'_>) -> Result<(String, crate::base::id::ContainerId)> {
    let (name, alias) = text.split_once(':').unwrap_or((text, text));
    if name.is_empty() || alias.is_empty() {
        return Err(Error::invalid(format!("invalid --link value {text:?}: write NAME[:ALIAS]")));
    }
    Ok((alias.to_owned(), (facts.find_container)(name)?))
}

/// `--dns`: an address, or `none`.
fn name_server(text: &str) -> Result<()> {
    match text == "none" || text.parse::<std::net::IpAddr>().is_ok() {
        true => Ok(()),
        false => Err(Error::invalid(format!("--dns: {text} is not an ip address"))),
    }
}

/// `--dns-search`: a domain, or `.` for none.
fn search_domain(text: &str) -> Result<()> {
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    match text == "." || text.strip_suffix('.').unwrap_or(text).split('.').all(is_label) {
        true => Ok(()),
        false => Err(Error::invalid(format!("--dns-search: {text} is not a valid domain"))),
    }
}

/// `name[;name…]:address`, as lines of /etc/hosts.
fn add_host(text: &str) -> Result<Vec<(String, String)>> {
    let bad = || Error::invalid(format!("bad format for add-host: {text:?}: write NAME:IP"));
    let (names, address) =
        text.split_once([':', '=']).filter(|(names, _)| !names.is_empty()).ok_or_else(bad)?;
    let address = address.trim_matches(['[', ']']);
    if address != "host-gateway" && address.parse::<std::net::IpAddr>().is_err() {
        return Err(Error::invalid(format!("invalid IP address in add-host: {address:?}")));
    }
    Ok(names.split(';').map(|name| (address.to_owned(), name.to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_hosts() {
        assert_eq!(add_host("db:10.0.0.1").unwrap(), [("10.0.0.1".to_owned(), "db".to_owned())]);
        assert_eq!(add_host("a;b:::1").unwrap().len(), 2);
        assert_eq!(add_host("h:host-gateway").unwrap()[0].0, "host-gateway");
        for bad in ["db", "db:x", ":10.0.0.1"] {
            assert!(add_host(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn servers_and_domains() {
        for (text, is_server, is_domain) in [
            ("192.0.2.1", true, true),
            ("fd00::1", true, false),
            ("none", true, true),
            (".", false, true),
            ("corp.example.", false, true),
            ("_tcp.x-y", false, true),
            ("bad domain", false, false),
            ("a..b", false, false),
            ("", false, false),
        ] {
            assert_eq!(
                (name_server(text).is_ok(), search_domain(text).is_ok()),
                (is_server, is_domain),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_port_is_published_once() {
        let ports =
            |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<PortMapping>>();
        for (texts, good) in [
            (&["80:80", "81:80"][..], true),
            (&["80:80", "80:80/udp"], true),
            (&["127.0.0.1:80:80", "127.0.0.2:80:80"], true),
            (&["80:80", "80:81"], false),
            (&["80-90:80-90", "85:1"], false),
            (&["127.0.0.1:80:80", "80:80"], false),
        ] {
            assert_eq!(reject_twice(&ports(texts)).is_ok(), good, "{texts:?}");
        }
    }
}
