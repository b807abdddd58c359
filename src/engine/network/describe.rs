//! The record of a new network: what was asked for, read and checked.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;

use crate::engine::network::NetworkRequest;
use crate::engine::{Error, Kind, Result};
use crate::net::ipam::{self, LeaseRange, Subnet};
use crate::net::network::{Network, NetworkSubnet, Route};

/// The record of a new network.
pub(super) fn describe(
    request: &NetworkRequest,
    name: String,
    id: String,
    others: &[Network],
    (taken, pools): (&[Subnet], &[ipam::SubnetSource]),
) -> Result<Network> {
    let invalid = |err: &dyn std::fmt::Display| Error::invalid(err.to_string());
    if !matches!(request.driver.as_str(), "" | "bridge") {
        return Err(match request.driver.as_str() {
            "macvlan" | "ipvlan" => Error::new(
                Kind::Unsupported,
                format!("network driver {} needs the host's interfaces, which only root has", request.driver),
            ),
            other => Error::invalid(format!("unsupported network driver {other:?}")),
        }
        .hint("use the driver bridge"));
    }
    let wanted: Vec<Subnet> = request
        .subnets
        .iter()
        .map(|text| text.parse().map_err(|err: ipam::IpamError| invalid(&err)))
        .collect::<Result<_>>()?;
    ipam::check_free(&wanted, taken).map_err(|err| invalid(&err))?;
    let mut subnets = wanted;
    let has_v4 = subnets.iter().any(|subnet| !subnet.is_ipv6());
    if request.no_ipv4 && (has_v4 || !request.ipv6) {
        return Err(Error::invalid(if has_v4 {
            "--ipv4=false is at odds with an IPv4 --subnet"
        } else {
            "--ipv4=false without --ipv6 leaves no addresses"
        }));
    }
    if !has_v4 && !request.no_ipv4 {
        subnets.push(ipam::free_subnet(taken, pools).map_err(|err| invalid(&err))?);
    }
    if request.ipv6 && !subnets.iter().any(|subnet| subnet.is_ipv6()) {
        let random = || {
            let mut bytes = [0; 7];
            // Without random numbers the first try is a collision at worst, and found out.
            getrandom::fill(&mut bytes).ok();
            bytes
        };
        subnets.push(ipam::free_subnet_v6(taken, random).map_err(|err| invalid(&err))?);
    }
    let n = (1..).find(|n| others.iter().all(|other| other.network_interface != Network::interface_name(*n)));
    let interface = match &request.interface_name {
        Some(name) if others.iter().any(|other| other.network_interface == *name) => {
            return Err(Error::new(Kind::Conflict, format!("bridge name {name} already in use")));
        }
        Some(name) => interface_name(name.clone())?,
        None => Network::interface_name(n.unwrap_or_default()),
    };
    if (!request.gateways.is_empty() || !request.ranges.is_empty()) && request.subnets.is_empty() {
        return Err(Error::invalid("--gateway and --ip-range need a --subnet that they lie in"));
    }
    let mut network = Network::bridge(&name, id, interface, Timestamp::now(), &subnets);
    place(&mut network.subnets, &request.gateways, "gateway", |subnet, gateway| {
        subnet.gateway = Some(gateway);
    })?;
    for text in &request.ranges {
        let range = lease_range(text)?;
        let fits = |subnet: &&mut NetworkSubnet| {
            subnet.subnet.contains(range.start_ip) && subnet.subnet.contains(range.end_ip)
        };
        let subnet = network.subnets.iter_mut().find(fits);
        subnet
            .ok_or_else(|| Error::invalid(format!("range {text} is in no subnet of the network")))?
            .lease_range = Some(range);
    }
    network.routes = request.routes.iter().map(|text| route(text)).collect::<Result<_>>()?;
    network.internal = request.internal;
    network.dns_enabled = !request.disable_dns;
    network.network_dns_servers.clone_from(&request.dns);
    network.labels.clone_from(&request.labels);
    network.aux_addresses = request.aux_addresses.iter().map(auxiliary).collect::<Result<_>>()?;
    network.options = options(&request.options)?;
    if let Some(name) = network.options.remove(BRIDGE_NAME) {
        network.network_interface = interface_name(name)?;
    }
    match request.ipam_driver.as_str() {
        "" | "host-local" | "default" => {}
        "none" if request.subnets.is_empty() && !request.ipv6 => {
            network.subnets.clear();
            network.dns_enabled = false;
            network.ipam_options.insert("driver".into(), "none".into());
        }
        "none" => {
            return Err(Error::invalid("--ipam-driver none gives no addresses, so leave out the subnets"));
        }
        "dhcp" => {
            return Err(Error::new(Kind::Unsupported, "the IPAM driver dhcp needs the host's network")
                .hint("use host-local, or none"));
        }
        other => return Err(Error::invalid(format!("unsupported IPAM driver {other:?}"))),
    }
    network.check().map_err(|err| invalid(&err))?;
    Ok(network)
}

/// `NAME=IP` of `--aux-address`.
fn auxiliary((name, ip): (&String, &String)) -> Result<(String, IpAddr)> {
    let bad = |_| Error::invalid(format!("invalid --aux-address value \"{name}={ip}\": write NAME=IP"));
    Ok((name.clone(), ip.parse().map_err(bad)?))
}

/// Docker's option for the name of the bridge.
const BRIDGE_NAME: &str = "com.docker.network.bridge.name";

/// The options of a network, under the names that its record has for them.
fn options(asked: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
    let mut options = BTreeMap::new();
    for (key, value) in asked {
        let known = match key.as_str() {
            "mtu" | "com.docker.network.driver.mtu" => "mtu",
            "enable_icc" | "com.docker.network.bridge.enable_icc" => "enable_icc",
            "metric" => "metric",
            "no_default_route" => "no_default_route",
            BRIDGE_NAME => BRIDGE_NAME,
            // Networks never reach each other: that is how netd is made.
            "isolate" if matches!(value.as_str(), "true" | "1" | "strict") => "isolate",
            "isolate" => {
                let message = format!("network option isolate={value}: networks are always isolated");
                return Err(Error::new(Kind::Unsupported, message)
                    .hint("connect a container to both networks instead: ketch network connect"));
            }
            _ => {
                return Err(Error::invalid(format!("unsupported network option {key}"))
                    .hint("known are mtu, metric, no_default_route, enable_icc, isolate"));
            }
        };
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

/// Puts each address into the subnet that holds it.
fn place(
    subnets: &mut [NetworkSubnet],
    addresses: &[String],
    what: &str,
    put: impl Fn(&mut NetworkSubnet, IpAddr),
) -> Result<()> {
    for text in addresses {
        let ip: IpAddr = text.parse().map_err(|_| Error::invalid(format!("invalid {what} {text:?}")))?;
        let subnet = subnets.iter_mut().find(|subnet| subnet.subnet.contains(ip));
        put(subnet.ok_or_else(|| Error::invalid(format!("{what} {ip} is in no subnet of the network")))?, ip);
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
    let bad = || Error::invalid(format!("invalid route {text:?}: write DESTINATION,GATEWAY[,METRIC]"));
    let mut parts = text.split(',');
    let mut next = || parts.next().map(str::trim).filter(|part| !part.is_empty());
    let destination = next().and_then(|part| part.parse().ok()).ok_or_else(bad)?;
    let gateway = next().and_then(|part| part.parse().ok()).ok_or_else(bad)?;
    let metric = next().map(|part| part.parse().map_err(|_| bad())).transpose()?;
    Ok(Route { destination, gateway, metric })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(subnets: &[&str]) -> NetworkRequest {
        NetworkRequest { subnets: subnets.iter().map(|s| (*s).to_owned()).collect(), ..Default::default() }
    }

    fn made(request: &NetworkRequest) -> std::result::Result<Network, String> {
        describe(request, "n".into(), "0".repeat(64), &[], (&[], &ipam::usual_pools()))
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
        assert_eq!(families(NetworkRequest { no_ipv4: true, ..six() }).unwrap(), [true]);
        assert!(families(NetworkRequest { no_ipv4: true, ..request(&[]) }).is_err());
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let gateway = NetworkRequest { gateways: vec!["10.1.1.1".into()], ..request(&["172.30.0.0/24"]) };
        assert_eq!(made(&gateway).unwrap_err(), "gateway 10.1.1.1 is in no subnet of the network");
        assert!(made(&request(&["172.30.0.0/24", "172.30.0.0/25"])).unwrap_err().contains("overlaps"));
        assert!(made(&request(&["nonsense"])).unwrap_err().contains("invalid subnet"));
        let driver = NetworkRequest { driver: "macvlan".into(), ..request(&[]) };
        assert!(made(&driver).unwrap_err().contains("needs the host's interfaces"));
        let option =
            NetworkRequest { options: BTreeMap::from([("vlan".into(), "1".into())]), ..request(&[]) };
        assert!(made(&option).is_err());
        for bad in ["10.1.0.5-10.1.0.1", "x", "10.1.0.1"] {
            assert!(lease_range(bad).is_err(), "{bad}");
        }
    }
}
