//! The record of a new network: what was asked for, read and checked.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;

use crate::base::order;
use crate::engine::network::NetworkRequest;
use crate::engine::{Error, Kind, Result};
use crate::net::ipam::{self, LeaseRange, Subnet, Taken};
use crate::net::network::{
    GATEWAY_MODES, HOST_BINDING, INTERFACE_PREFIX, MASQUERADE, NO_DRIVER, Network, NetworkSubnet, Route,
    SOURCES,
};

/// The record of a new network.
pub(super) fn describe(
    request: &NetworkRequest,
    name: String,
    id: String,
    others: &[Network],
    free: (&Taken, &[ipam::SubnetSource]),
) -> Result<Network> {
    if request.ingress {
        return Err(Error::new(Kind::Unsupported, "Ingress network can only be global scope network")
            .hint("there are no swarms; publish the ports of each container (-p)"));
    }
    check_driver(&request.driver)?;
    let subnets = subnets(request, free)?;
    let interface = bridge_name(request, others)?;
    let mut network = Network::bridge(&name, id, interface, Timestamp::now(), &subnets);
    fill(&mut network, request)?;
    network.internal = request.internal;
    if network.internal && !network.dns_enabled && request.gateways.is_empty() {
        // Nothing leads there, and nobody answers.
        network.subnets.iter_mut().for_each(|subnet| subnet.gateway = None);
    }
    network.attachable = request.attachable;
    network.config_from.clone_from(&request.config_from);
    if let Some(name) = network.options.remove(BRIDGE_NAME) {
        network.network_interface = interface_name(name)?;
    }
    check(&network)?;
    Ok(network)
}

/// The record of what other networks are made from (`--config-only`): as much of one as was asked for.
pub(super) fn configuration(request: &NetworkRequest, name: String, id: String) -> Result<Network> {
    if request.internal || request.attachable || request.ingress {
        return Err(Error::invalid(
            "configuration network can only contain network specific fields. Network operator fields like \
             [ ingress | internal | attachable | scope ] are not supported",
        ));
    }
    check_driver(&request.driver)?;
    let mut network = Network::bridge(&name, id, String::new(), Timestamp::now(), &wanted(request)?);
    network.driver = NO_DRIVER.into();
    network.config_only = true;
    network.ipv6_enabled |= request.ipv6;
    // A gateway that nobody named is chosen for each network made of it.
    network.subnets.iter_mut().for_each(|subnet| subnet.gateway = None);
    fill(&mut network, request)?;
    check(&network)?;
    Ok(network)
}

/// What to make of a configuration: its part of `request`, which must not say the same things itself.
pub(super) fn configured(request: &NetworkRequest, from: Option<&Network>) -> Result<NetworkRequest> {
    let name = request.config_from.clone().unwrap_or_default();
    if request.config_only {
        return Err(Error::invalid("a configuration network cannot depend on another configuration network"));
    }
    let from = from.ok_or_else(|| Error::not_found(format!("configuration network {name:?} not found")))?;
    let fixed = request.ipv6
        || request.no_ipv4
        || [&request.subnets, &request.gateways, &request.ranges, &request.routes]
            .iter()
            .any(|of| !of.is_empty())
        || [&request.labels, &request.ipam_options, &request.aux_addresses].iter().any(|of| !of.is_empty())
        || !matches!(request.ipam_driver.as_str(), "" | "default" | "host-local");
    if fixed {
        return Err(Error::invalid(
            "user specified configurations are not supported if the network depends on a configuration network",
        ));
    }
    if !request.options.is_empty() {
        return Err(Error::invalid(
            "network driver options are not supported if the network depends on a configuration network",
        ));
    }
    let texts = |of: &dyn Fn(&NetworkSubnet) -> Option<String>| from.subnets.iter().filter_map(of).collect();
    let range = |range: LeaseRange| format!("{}-{}", range.start_ip, range.end_ip);
    let route = |route: &Route| match route.metric {
        Some(metric) => format!("{},{},{metric}", route.destination, route.gateway),
        None => format!("{},{}", route.destination, route.gateway),
    };
    let mut ipam_options = from.ipam_options.clone();
    Ok(NetworkRequest {
        subnets: texts(&|of| Some(of.subnet.to_string())),
        gateways: texts(&|of| of.gateway.map(|ip| ip.to_string())),
        ranges: texts(&|of| of.lease_range.map(range)),
        routes: from.routes.iter().map(route).collect(),
        ipv6: from.ipv6_enabled,
        no_ipv4: from.ipv6_enabled
            && from.subnets.iter().all(|of| of.subnet.is_ipv6())
            && !from.subnets.is_empty(),
        aux_addresses: order::map(from.aux_addresses.iter().map(|(name, ip)| (name.clone(), ip.to_string()))),
        ipam_driver: ipam_options.remove(IPAM_DRIVER).unwrap_or_default(),
        ipam_options,
        labels: from.labels.clone(),
        options: from.options.clone(),
        ..request.clone()
    })
}

fn check(network: &Network) -> Result<()> {
    network.check().map_err(|err| Error::invalid(err.to_string()))
}

fn check_driver(driver: &str) -> Result<()> {
    let refused = match driver {
        "" | "bridge" => return Ok(()),
        "macvlan" | "ipvlan" => Error::new(
            Kind::Unsupported,
            format!("network driver {driver} needs the host's interfaces, which only root has"),
        ),
        other => Error::invalid(format!("failed to find driver or plugin {other:?}")),
    };
    Err(refused.hint("use the driver bridge"))
}

/// The subnets that were asked for.
fn wanted(request: &NetworkRequest) -> Result<Vec<Subnet>> {
    let parse = |text: &String| text.parse().map_err(|err: ipam::IpamError| Error::invalid(err.to_string()));
    request.subnets.iter().map(parse).collect()
}

/// The subnets that were asked for, and those that are chosen for a family without one.
fn subnets(request: &NetworkRequest, (taken, pools): (&Taken, &[ipam::SubnetSource])) -> Result<Vec<Subnet>> {
    let invalid = |err: ipam::IpamError| Error::invalid(err.to_string());
    let mut subnets = wanted(request)?;
    if let Some(subnet) = subnets.iter().find(|subnet| subnet.is_special()) {
        return Err(Error::invalid(format!(
            "subnet {subnet} is already used on the host or by another config: its addresses are no machines'"
        )));
    }
    ipam::check_free(&subnets, &taken.certain()).map_err(|err| match err {
        ipam::IpamError::Overlap(subnet, other) => Error::invalid(format!(
            "subnet {subnet} is already used on the host or by another config: it overlaps {other}"
        )),
        other => invalid(other),
    })?;
    let has_v4 = subnets.iter().any(|subnet| !subnet.is_ipv6());
    if request.no_ipv4 && (has_v4 || !request.ipv6) {
        return Err(Error::invalid(if has_v4 {
            "--ipv4=false is at odds with an IPv4 --subnet"
        } else {
            "--ipv4=false without --ipv6 leaves no addresses"
        }));
    }
    if (!request.gateways.is_empty() || !request.ranges.is_empty()) && subnets.is_empty() {
        return Err(Error::invalid(
            "cannot set gateway or range without subnet: they need a --subnet that they lie in",
        ));
    }
    if request.gateways.len() > request.subnets.len() {
        return Err(Error::invalid("cannot set more gateways than subnets"));
    }
    if request.ranges.len() > request.subnets.len() {
        return Err(Error::invalid("cannot set more ranges than subnets"));
    }
    // Somebody who names an IPv6 subnet alone wants no other family, unless --ipv6 asks for both.
    if !has_v4 && !request.no_ipv4 && (subnets.is_empty() || request.ipv6) {
        subnets.push(taken.choose(|taken| ipam::free_subnet(taken, pools)).map_err(invalid)?);
    }
    if request.ipv6 && !subnets.iter().any(|subnet| subnet.is_ipv6()) {
        let random = || {
            let mut bytes = [0; 7];
            // Without random numbers the first try is a collision at worst, and found out.
            getrandom::fill(&mut bytes).ok();
            bytes
        };
        subnets.push(taken.choose(|taken| ipam::free_subnet_v6(taken, random)).map_err(invalid)?);
    }
    Ok(subnets)
}

/// The name of the bridge: the one that was asked for, or the first that is free.
fn bridge_name(request: &NetworkRequest, others: &[Network]) -> Result<String> {
    let is_free = |name: &str| others.iter().all(|other| other.network_interface != name);
    match request.interface_name.as_ref().filter(|name| !name.is_empty()) {
        Some(name) if !is_free(name) => {
            Err(Error::new(Kind::Conflict, format!("bridge name {name} already in use")))
        }
        Some(name) => interface_name(name.clone()),
        None => Ok((1..).map(Network::interface_name).find(|name| is_free(name)).unwrap_or_default()),
    }
}

/// What networks and configurations have in common.
fn fill(network: &mut Network, request: &NetworkRequest) -> Result<()> {
    place(&mut network.subnets, &request.gateways, "gateway", |subnet, gateway| {
        subnet.gateway = Some(gateway);
    })?;
    let all = network.subnets.clone();
    for text in &request.ranges {
        let range = lease_range(text)?;
        let fits = |subnet: &&mut NetworkSubnet| {
            subnet.subnet.contains(range.start_ip) && subnet.subnet.contains(range.end_ip)
        };
        let subnet = network.subnets.iter_mut().find(fits);
        subnet.ok_or_else(|| outside("lease range", text, &all))?.lease_range = Some(range);
    }
    network.routes = request.routes.iter().map(|text| route(text)).collect::<Result<_>>()?;
    network.dns_enabled = !request.disable_dns;
    network.network_dns_servers.clone_from(&request.dns);
    network.labels.clone_from(&request.labels);
    network.aux_addresses = order::try_map(request.aux_addresses.iter().map(auxiliary))?;
    network.options = options(&request.options)?;
    if request.ipam_options.contains_key(IPAM_DRIVER) {
        return Err(Error::invalid("--ipam-opt driver: name the driver with --ipam-driver"));
    }
    network.ipam_options.extend(request.ipam_options.clone());
    ipam_driver(network, request)
}

/// The option under which a record names its IPAM driver.
const IPAM_DRIVER: &str = "driver";

fn ipam_driver(network: &mut Network, request: &NetworkRequest) -> Result<()> {
    match request.ipam_driver.as_str() {
        "" | "host-local" | "default" => Ok(()),
        "none" if request.subnets.is_empty() && !request.ipv6 => {
            network.subnets.clear();
            network.dns_enabled = false;
            network.ipam_options.insert(IPAM_DRIVER.into(), "none".into());
            Ok(())
        }
        "none" => Err(Error::invalid("--ipam-driver none gives no addresses, so leave out the subnets")),
        "dhcp" => Err(Error::new(Kind::Unsupported, "the IPAM driver dhcp needs the host's network")
            .hint("use host-local, or none")),
        other => Err(Error::invalid(format!("unsupported IPAM driver {other:?}"))),
    }
}

/// `NAME=IP` of `--aux-address`.
fn auxiliary((name, ip): (&String, &String)) -> Result<(String, IpAddr)> {
    let bad = |_| Error::invalid(format!("invalid --aux-address value \"{name}={ip}\": write NAME=IP"));
    Ok((name.clone(), ip.parse().map_err(bad)?))
}

/// Docker's option for the name of the bridge.
pub(crate) const BRIDGE_NAME: &str = "com.docker.network.bridge.name";

/// The name under which a record has an option, if it is one of ketch's.
pub(crate) fn known_option(key: &str) -> Option<&'static str> {
    Some(match key {
        "mtu" | "com.docker.network.driver.mtu" => "mtu",
        "enable_icc" | "com.docker.network.bridge.enable_icc" => "enable_icc",
        MASQUERADE | "com.docker.network.bridge.enable_ip_masquerade" => MASQUERADE,
        "host_ipv4" | "com.docker.network.host_ipv4" => SOURCES[0],
        "host_ipv6" | "com.docker.network.host_ipv6" => SOURCES[1],
        "gateway_mode_ipv4" | "com.docker.network.bridge.gateway_mode_ipv4" => GATEWAY_MODES[0],
        "gateway_mode_ipv6" | "com.docker.network.bridge.gateway_mode_ipv6" => GATEWAY_MODES[1],
        INHIBIT | "com.docker.network.bridge.inhibit_ipv4" => INHIBIT,
        HOST_BINDING | "com.docker.network.bridge.host_binding_ipv4" => HOST_BINDING,
        INTERFACE_PREFIX | "com.docker.network.container_iface_prefix" => INTERFACE_PREFIX,
        "metric" => "metric",
        "no_default_route" => "no_default_route",
        "isolate" => "isolate",
        BRIDGE_NAME => BRIDGE_NAME,
        _ => return None,
    })
}

/// Docker's name for an option of a record, if it has one.
pub(crate) fn dockers_option(known: &str) -> Option<&'static str> {
    Some(match known {
        "mtu" => "com.docker.network.driver.mtu",
        "enable_icc" => "com.docker.network.bridge.enable_icc",
        MASQUERADE => "com.docker.network.bridge.enable_ip_masquerade",
        "host_ipv4" => "com.docker.network.host_ipv4",
        "host_ipv6" => "com.docker.network.host_ipv6",
        "gateway_mode_ipv4" => "com.docker.network.bridge.gateway_mode_ipv4",
        "gateway_mode_ipv6" => "com.docker.network.bridge.gateway_mode_ipv6",
        INHIBIT => "com.docker.network.bridge.inhibit_ipv4",
        HOST_BINDING => "com.docker.network.bridge.host_binding_ipv4",
        INTERFACE_PREFIX => "com.docker.network.container_iface_prefix",
        _ => return None,
    })
}

/// Docker's options for whether there is IPv4, and IPv6.
pub(crate) const FAMILIES: [&str; 2] = ["com.docker.network.enable_ipv4", "com.docker.network.enable_ipv6"];

/// The request with those options as what they mean.
pub(super) fn with_families(request: &NetworkRequest) -> Result<NetworkRequest> {
    let mut request = request.clone();
    for key in FAMILIES {
        let Some(text) = request.options.remove(key) else { continue };
        let wanted = match text.as_str() {
            "true" | "1" => true,
            "false" | "0" => false,
            _ => return Err(Error::invalid(format!("network option {key}={text}: expected true or false"))),
        };
        match key == FAMILIES[0] {
            true => request.no_ipv4 |= !wanted,
            false => request.ipv6 |= wanted,
        }
    }
    Ok(request)
}

/// Docker's option for a bridge without an address, whose gateway is somebody else.
const INHIBIT: &str = "inhibit_ipv4";

/// The options of a network, under the names that its record has for them.
fn options(asked: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
    let mut options = BTreeMap::new();
    for (key, value) in asked {
        let known = known_option(key).ok_or_else(|| {
            Error::invalid(format!("unsupported bridge network option {key}")).hint(
                "known are mtu, metric, no_default_route, enable_icc, enable_ip_masquerade, isolate, host_binding_ipv4, \
                 host_ipv4, host_ipv6, gateway_mode_ipv4, gateway_mode_ipv6, container_iface_prefix",
            )
        })?;
        // Networks never reach each other, and nothing leaves under a container's address: that is how netd is made.
        let refused = match (known, value.as_str()) {
            ("isolate", "true" | "1" | "strict") | (INHIBIT, "false" | "0") => None,
            ("isolate", _) => Some((
                "networks are always isolated",
                "connect a container to both networks instead: ketch network connect",
            )),
            (INHIBIT, _) => Some((
                "only the bridge's own address leads out of it",
                "make a network that leads nowhere with --internal, or without addresses with --ipam-driver none",
            )),
            (of, "routed") if GATEWAY_MODES.contains(&of) => Some((
                "nothing outside has a route to containers",
                "publish the ports that shall be reached: -p",
            )),
            _ => None,
        };
        if let Some((why, instead)) = refused {
            let message = format!("network option {known}={value}: {why}");
            return Err(Error::new(Kind::Unsupported, message).hint(instead));
        }
        options.insert(known.to_owned(), value.clone());
    }
    Ok(options)
}

fn interface_name(name: String) -> Result<String> {
    let bad = name.is_empty() || name.len() > 15 || name.bytes().any(|b| b == b'/' || b <= b' ');
    if bad || matches!(name.as_str(), "." | ".." | "lo") {
        return Err(Error::invalid(format!(
            "interface name {name:?}: 1 to 15 bytes, without blanks and slashes"
        )));
    }
    Ok(name)
}

/// What is said of something that lies in none of a network's subnets.
fn outside(what: &str, text: &str, subnets: &[NetworkSubnet]) -> Error {
    let subnets: Vec<String> = subnets.iter().map(|of| of.subnet.to_string()).collect();
    Error::invalid(format!("{what} {text} not in subnet {}", subnets.join(", ")))
}

/// Puts each address into the subnet that holds it.
fn place(
    subnets: &mut [NetworkSubnet],
    addresses: &[String],
    what: &str,
    put: impl Fn(&mut NetworkSubnet, IpAddr),
) -> Result<()> {
    for text in addresses {
        let ip: IpAddr = text.parse().map_err(|_| Error::invalid(format!("invalid {what} {text:?}")))?;
        let Some(at) = subnets.iter().position(|subnet| subnet.subnet.contains(ip)) else {
            return Err(outside(what, text, subnets));
        };
        put(&mut subnets[at], ip);
    }
    Ok(())
}

/// `10.89.0.128/25`, or `10.89.0.10-10.89.0.20`.
fn lease_range(text: &str) -> Result<LeaseRange> {
    let bad = || Error::invalid(format!("invalid range {text:?}: write ADDRESS/PREFIX or FIRST-LAST"));
    match text.split_once('-') {
        Some((first, last)) => {
            let (start_ip, end_ip) = (first.parse().map_err(|_| bad())?, last.parse().map_err(|_| bad())?);
            if start_ip > end_ip { Err(bad()) } else { Ok(LeaseRange { start_ip, end_ip }) }
        }
        None => Ok(LeaseRange::of(text.parse().map_err(|_| bad())?)),
    }
}

fn route(text: &str) -> Result<Route> {
    let bad = || Error::invalid(format!("invalid route: {text}: write DESTINATION,GATEWAY[,METRIC]"));
    let mut parts = text.split(',');
    let mut next = || parts.next().map(str::trim).filter(|part| !part.is_empty());
    let destination = next().and_then(|part| part.parse().ok()).ok_or_else(bad)?;
    let gateway = next().and_then(|part| part.parse().ok()).ok_or_else(bad)?;
    let metric = next().map(|part| part.parse().map_err(|_| bad())).transpose()?;
    if parts.next().is_some() {
        return Err(bad());
    }
    Ok(Route { destination, gateway, metric })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(subnets: &[&str]) -> NetworkRequest {
        NetworkRequest { subnets: subnets.iter().map(|s| (*s).to_owned()).collect(), ..Default::default() }
    }

    fn made(request: &NetworkRequest) -> std::result::Result<Network, String> {
        describe(request, "n".into(), "0".repeat(64), &[], (&Taken::default(), &ipam::usual_pools()))
            .map_err(|err| err.message)
    }

    #[test]
    fn what_is_asked_for_is_written_down() {
        let mut wanted = request(&["172.30.5.0/24", "fd12::/64"]);
        wanted.gateways = vec!["172.30.5.254".into()];
        wanted.ranges = vec!["172.30.5.128/25".into()];
        wanted.routes = vec!["10.20.0.0/16,172.30.5.9,50".into()];
        wanted.options = BTreeMap::from([("mtu".into(), "1400".into())]);
        let network = made(&wanted).unwrap();
        assert_eq!(network.subnets[0].gateway.unwrap().to_string(), "172.30.5.254");
        assert_eq!(network.subnets[0].lease_range.unwrap().start_ip.to_string(), "172.30.5.128");
        assert!(network.ipv6_enabled && network.mtu() == Ok(1400));
        assert_eq!(network.routes[0].metric, Some(50));
    }

    #[test]
    fn families() {
        let families = |wanted: NetworkRequest| {
            let network = made(&wanted)?;
            Ok::<_, String>(network.subnets.iter().map(|of| of.subnet.is_ipv6()).collect::<Vec<_>>())
        };
        let six = || NetworkRequest { ipv6: true, ..request(&["fd12::/64"]) };
        assert_eq!(families(request(&[])).unwrap(), [false]);
        assert_eq!(families(six()).unwrap(), [true, false], "IPv4 unless it is switched off");
        assert_eq!(families(request(&["fd12::/64"])).unwrap(), [true], "what was named, and no more");
        assert_eq!(families(NetworkRequest { no_ipv4: true, ..six() }).unwrap(), [true]);
        assert!(families(NetworkRequest { no_ipv4: true, ..request(&[]) }).is_err());
    }

    #[test]
    fn networks_are_made_from_configurations() {
        let mut wanted = NetworkRequest { config_only: true, ..request(&["172.30.5.0/24"]) };
        wanted.ranges = vec!["172.30.5.128/25".into()];
        wanted.labels = BTreeMap::from([("a".into(), "b".into())]);
        wanted.options = BTreeMap::from([("mtu".into(), "1400".into())]);
        wanted.ipam_options = BTreeMap::from([("foo".into(), "bar".into())]);
        let config = configuration(&wanted, "c".into(), "1".repeat(64)).unwrap();
        assert_eq!((config.driver.as_str(), config.network_interface.as_str()), ("null", ""));
        assert_eq!(config.subnets[0].gateway, None, "chosen by who uses it");
        let use_it = NetworkRequest { config_from: Some("c".into()), internal: true, ..request(&[]) };
        let network = made(&configured(&use_it, Some(&config)).unwrap()).unwrap();
        assert_eq!(network.subnets[0].gateway.unwrap().to_string(), "172.30.5.1");
        assert_eq!(network.subnets[0].lease_range, config.subnets[0].lease_range);
        assert_eq!((&network.labels, &network.ipam_options), (&config.labels, &config.ipam_options));
        assert!(network.internal && !network.config_only && network.mtu() == Ok(1400));
        assert_eq!(network.config_from.as_deref(), Some("c"));
    }

    #[test]
    fn what_a_configuration_cannot_be() {
        let from = || NetworkRequest { config_from: Some("c".into()), ..request(&[]) };
        let only = || NetworkRequest { config_only: true, ..request(&[]) };
        let config = configuration(&only(), "c".into(), "1".repeat(64)).unwrap();
        let refused = |request: NetworkRequest| configured(&request, Some(&config)).unwrap_err().message;
        assert!(refused(NetworkRequest { config_only: true, ..from() }).contains("cannot depend on another"));
        assert!(
            refused(NetworkRequest { subnets: vec!["10.1.0.0/24".into()], ..from() })
                .contains("user specified")
        );
        let options = BTreeMap::from([("mtu".into(), "1".into())]);
        assert!(refused(NetworkRequest { options, ..from() }).contains("network driver options"));
        assert_eq!(configured(&from(), None).unwrap_err().message, "configuration network \"c\" not found");
        for bad in [
            NetworkRequest { internal: true, ..only() },
            NetworkRequest { attachable: true, ..only() },
            NetworkRequest { ingress: true, ..only() },
        ] {
            let error = configuration(&bad, "c".into(), "1".repeat(64)).unwrap_err();
            assert!(error.message.contains("network specific fields"), "{}", error.message);
        }
        let ingress = NetworkRequest { ingress: true, ..request(&[]) };
        assert_eq!(made(&ingress).unwrap_err(), "Ingress network can only be global scope network");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let gateway = NetworkRequest { gateways: vec!["10.1.1.1".into()], ..request(&["172.30.0.0/24"]) };
        assert_eq!(made(&gateway).unwrap_err(), "gateway 10.1.1.1 not in subnet 172.30.0.0/24");
        assert!(made(&request(&["172.30.0.0/24", "172.30.0.0/25"])).unwrap_err().contains("overlaps"));
        assert!(made(&request(&["nonsense"])).unwrap_err().contains("invalid CIDR address: nonsense"));
        let driver = NetworkRequest { driver: "macvlan".into(), ..request(&[]) };
        assert!(made(&driver).unwrap_err().contains("needs the host's interfaces"));
        let option =
            NetworkRequest { options: BTreeMap::from([("vlan".into(), "1".into())]), ..request(&[]) };
        assert!(made(&option).is_err());
        assert!(made(&request(&["127.5.0.0/16"])).unwrap_err().contains("already used on the host"));
        let both = vec!["172.30.0.1".into(), "172.30.0.2".into()];
        let gateways = NetworkRequest { gateways: both, ..request(&["172.30.0.0/24"]) };
        assert_eq!(made(&gateways).unwrap_err(), "cannot set more gateways than subnets");
        assert!(route("10.1.0.0/16,10.2.0.1,5,6").is_err() && route("10.1.0.0/16,10.2.0.1,5").is_ok());
        for bad in ["10.1.0.5-10.1.0.1", "x", "10.1.0.1"] {
            assert!(lease_range(bad).is_err(), "{bad}");
        }
    }
}
