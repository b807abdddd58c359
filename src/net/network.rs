//! The record of a network, `networks/<name>.json`, in the shape of podman's `network inspect`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ipam::{LeaseRange, Pool, Subnet};
use crate::base::order;
use crate::base::truth;

/// Name of the network that containers join unless told otherwise.
pub(crate) const DEFAULT_NETWORK: &str = "ketch";
/// What podman and docker call theirs: scripts name it so, and mean ours where there is no network of that name.
pub(crate) const DEFAULT_ELSEWHERE: [&str; 2] = ["podman", "bridge"];
/// The driver of a network that is made for one container and never written down.
pub(crate) const PRIVATE_DRIVER: &str = "private";
/// Docker's word for the driver of a network that only holds what others are made from.
pub(crate) const NO_DRIVER: &str = "null";
/// Option: the host's address at which ports are published that name none.
pub(crate) const HOST_BINDING: &str = "host_binding_ipv4";
/// Option: what interfaces inside are called, before their number.
pub(crate) const INTERFACE_PREFIX: &str = "container_iface_prefix";
/// Options: the host's address from which connections of its containers leave, IPv4 and IPv6.
pub(crate) const SOURCES: [&str; 2] = ["host_ipv4", "host_ipv6"];
/// Option: whether what containers send leaves under the host's address. Under theirs no answer would find the way back,
/// so that without it they reach the host alone.
pub(crate) const MASQUERADE: &str = "enable_ip_masquerade";
/// Options: how containers and the world beyond the bridge reach each other, IPv4 and IPv6.
pub(crate) const GATEWAY_MODES: [&str; 2] = ["gateway_mode_ipv4", "gateway_mode_ipv6"];
/// The metric podman gives default routes.
pub(crate) const METRIC: u32 = 100;
/// MTU of links in G: the largest that still leaves room in a 64 KiB packet. The far ends of all
/// connections are the kernel's own, so no smaller link behind G is ever met.
pub(crate) const MTU: u32 = 65_520;

/// A network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Network {
    pub(crate) name: String,
    /// 64 hex digits.
    pub(crate) id: String,
    /// `bridge`, the only driver there is without root.
    pub(crate) driver: String,
    /// Name of the bridge in G.
    pub(crate) network_interface: String,
    pub(crate) created: Timestamp,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) subnets: Vec<NetworkSubnet>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) routes: Vec<Route>,
    pub(crate) ipv6_enabled: bool,
    /// No way out.
    pub(crate) internal: bool,
    pub(crate) dns_enabled: bool,
    /// Where names unknown to ketch are asked for, instead of the host's servers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) network_dns_servers: Vec<IpAddr>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, String>,
    /// `mtu`, `isolate` …
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) options: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) ipam_options: BTreeMap<String, String>,
    /// Addresses that no container gets, by what has them (`--aux-address`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) aux_addresses: BTreeMap<String, IpAddr>,
    /// Docker's word for a network that containers may be connected to by hand, as they always may.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) attachable: bool,
    /// It only holds what others are made from.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) config_only: bool,
    /// Name of the network that it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) config_from: Option<String>,
}

// serde hands over a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(value: &bool) -> bool {
    !value
}

/// A subnet of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NetworkSubnet {
    pub(crate) subnet: Subnet,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) gateway: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lease_range: Option<LeaseRange>,
}

/// A route that every container of the network gets (`--route`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Route {
    pub(crate) destination: Subnet,
    pub(crate) gateway: IpAddr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) metric: Option<u32>,
}

/// What is said of a container that is to be connected to a network it is on.
pub(crate) fn connected_already(network: &str) -> String {
    format!("is already connected to network {network}: network is already connected")
}

/// Why a network cannot be as its record says.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum NetworkError {
    #[error("network option mtu={0}: expected a number from 68 to {MTU}")]
    Mtu(String),
    #[error("network option {key}={value}: expected {expected}")]
    Option { key: &'static str, value: String, expected: &'static str },
    #[error("gateway {0} not in subnet {1}")]
    Gateway(IpAddr, Subnet),
    #[error("it has no subnet for address {0}")]
    NoSubnet(IpAddr),
    #[error("requested static ip {0} not in any subnet: {1}")]
    Outside(IpAddr, Subnet),
    #[error("addresses {0} and {1} are both of {2}, of which a container has one")]
    Twice(IpAddr, IpAddr, Subnet),
    #[error("auxiliary address {0} is in no subnet of the network")]
    Auxiliary(IpAddr),
    #[error("network option {0}=isolated: gateway mode 'isolated' can only be used for an internal network")]
    Isolated(&'static str),
}

impl Network {
    /// A bridge network with these subnets and no options.
    pub(crate) fn bridge(
        name: &str,
        id: String,
        network_interface: String,
        created: Timestamp,
        subnets: &[Subnet],
    ) -> Self {
        let with_gateway = |subnet: &Subnet| NetworkSubnet {
            subnet: *subnet,
            gateway: Some(subnet.gateway()),
            lease_range: None,
        };
        Self {
            name: name.into(),
            id,
            driver: "bridge".into(),
            network_interface,
            created,
            subnets: subnets.iter().map(with_gateway).collect(),
            routes: Vec::new(),
            ipv6_enabled: subnets.iter().any(|subnet| subnet.is_ipv6()),
            internal: false,
            dns_enabled: true,
            network_dns_servers: Vec::new(),
            labels: BTreeMap::new(),
            options: BTreeMap::new(),
            ipam_options: order::map([("driver".into(), "host-local".into())]),
            aux_addresses: BTreeMap::new(),
            attachable: false,
            config_only: false,
            config_from: None,
        }
    }

    /// Checks what the types cannot: gateways lie in their subnets, options are readable.
    pub(crate) fn check(&self) -> Result<(), NetworkError> {
        self.mtu()?;
        self.metric()?;
        self.has_default_route()?;
        self.is_isolating()?;
        self.host_binding()?;
        self.interface_prefix()?;
        self.reaches_only_host()?;
        self.source(false)?;
        self.source(true)?;
        self.check_gateway_modes()?;
        for subnet in &self.subnets {
            let is_wrong =
                |gateway: &IpAddr| !subnet.subnet.contains(*gateway) || subnet.subnet.is_edge(*gateway);
            if let Some(gateway) = subnet.gateway.filter(is_wrong) {
                return Err(NetworkError::Gateway(gateway, subnet.subnet));
            }
        }
        let is_outside = |ip: &&IpAddr| !self.subnets.iter().any(|subnet| subnet.subnet.contains(**ip));
        self.aux_addresses.values().find(is_outside).map_or(Ok(()), |ip| Err(NetworkError::Auxiliary(*ip)))
    }

    /// The MTU of the network's links.
    pub(crate) fn mtu(&self) -> Result<u32, NetworkError> {
        let Some(text) = self.options.get("mtu") else { return Ok(MTU) };
        if text.is_empty() {
            return Ok(MTU);
        }
        let mtu = text.parse().ok().filter(|mtu| *mtu == 0 || (68..=MTU).contains(mtu));
        let mtu = mtu.ok_or_else(|| NetworkError::Mtu(text.clone()))?;
        Ok(if mtu == 0 { MTU } else { mtu })
    }

    /// The metric of the default route through this network.
    pub(crate) fn metric(&self) -> Result<u32, NetworkError> {
        let Some(value) = self.options.get("metric") else { return Ok(METRIC) };
        value.parse().map_err(|_| NetworkError::Option {
            key: "metric",
            value: value.clone(),
            expected: "a number",
        })
    }

    /// Whether a container's way out may lead through this network.
    pub(crate) fn has_default_route(&self) -> Result<bool, NetworkError> {
        Ok(!self.internal && !self.boolean("no_default_route", false)?)
    }

    /// Whether its containers reach only the gateway and not each other (`enable_icc=false`).
    pub(crate) fn is_isolating(&self) -> Result<bool, NetworkError> {
        Ok(!self.boolean("enable_icc", true)?)
    }

    /// The host's address at which ports of its containers are published that name none.
    pub(crate) fn host_binding(&self) -> Result<Option<IpAddr>, NetworkError> {
        let Some(value) = self.options.get(HOST_BINDING) else { return Ok(None) };
        let address: Option<Ipv4Addr> = value.parse().ok();
        address.map(|address| Some(address.into())).ok_or_else(|| NetworkError::Option {
            key: HOST_BINDING,
            value: value.clone(),
            expected: "an IPv4 address",
        })
    }

    /// Whether what its containers send ends at the host (`enable_ip_masquerade=false`).
    pub(crate) fn reaches_only_host(&self) -> Result<bool, NetworkError> {
        Ok(!self.boolean(MASQUERADE, true)?)
    }

    /// The host's address from which connections of its containers leave; the one that routing chooses if `None`.
    pub(crate) fn source(&self, v6: bool) -> Result<Option<IpAddr>, NetworkError> {
        let key = SOURCES[usize::from(v6)];
        let Some(value) = self.options.get(key) else { return Ok(None) };
        let address = value.parse().ok().filter(|ip: &IpAddr| ip.is_ipv6() == v6 && !ip.is_unspecified());
        let expected = if v6 { "an IPv6 address" } else { "an IPv4 address" };
        address.map(Some).ok_or_else(|| NetworkError::Option { key, value: value.clone(), expected })
    }

    /// `isolated` is what an internal network is; only `nat` is what another one can be.
    fn check_gateway_modes(&self) -> Result<(), NetworkError> {
        for key in GATEWAY_MODES {
            match self.options.get(key).map(String::as_str) {
                // Unprotected are ports that nobody outside has a route to.
                None | Some("" | "nat" | "nat-unprotected") => {}
                Some("isolated") if self.internal => {}
                Some("isolated") => return Err(NetworkError::Isolated(key)),
                Some(value) => {
                    let expected = "nat, or isolated for an internal network";
                    return Err(NetworkError::Option { key, value: value.into(), expected });
                }
            }
        }
        Ok(())
    }

    /// What interfaces inside are called, before their number.
    pub(crate) fn interface_prefix(&self) -> Result<&str, NetworkError> {
        let Some(value) = self.options.get(INTERFACE_PREFIX) else { return Ok("eth") };
        let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        // Four bytes stay for the number.
        let is_usable = (1..=11).contains(&value.len()) && value.bytes().all(is_name);
        if is_usable {
            Ok(value)
        } else {
            Err(NetworkError::Option {
                key: INTERFACE_PREFIX,
                value: value.clone(),
                expected: "1 to 11 letters, digits, '-' or '_'",
            })
        }
    }

    fn boolean(&self, key: &'static str, default: bool) -> Result<bool, NetworkError> {
        let Some(value) = self.options.get(key) else { return Ok(default) };
        let no_truth = || NetworkError::Option { key, value: value.clone(), expected: "true or false" };
        truth::parse(value).ok_or_else(no_truth)
    }

    /// Whether it was made for one container and goes with it.
    pub(crate) fn is_private(&self) -> bool {
        self.driver == PRIVATE_DRIVER
    }

    /// Where addresses come from: every container has one of each, IPv4 first.
    pub(crate) fn pools(&self) -> impl Iterator<Item = Pool> {
        let of_family = |v6: bool| self.subnets.iter().filter(move |subnet| subnet.subnet.is_ipv6() == v6);
        of_family(false).chain(of_family(true)).map(|subnet| Pool {
            subnet: subnet.subnet,
            gateway: Some(subnet.gateway.unwrap_or_else(|| subnet.subnet.gateway())),
            range: subnet.lease_range,
        })
    }

    /// Where the first address of one family comes from, if the network has that family.
    pub(crate) fn pool(&self, v6: bool) -> Option<Pool> {
        self.pools().find(|pool| pool.subnet.is_ipv6() == v6)
    }

    /// Checks the addresses that a container asks for: one for each subnet at most.
    pub(crate) fn check_addresses(&self, ips: &[IpAddr]) -> Result<(), NetworkError> {
        for (n, ip) in ips.iter().enumerate() {
            let Some(first) = self.pool(ip.is_ipv6()) else { return Err(NetworkError::NoSubnet(*ip)) };
            let of = self.pools().find(|pool| pool.subnet.contains(*ip));
            let of = of.ok_or(NetworkError::Outside(*ip, first.subnet))?.subnet;
            if let Some(other) = ips[..n].iter().find(|other| of.contains(**other)) {
                return Err(NetworkError::Twice(*other, *ip, of));
            }
        }
        Ok(())
    }

    /// The address of G on this network.
    pub(crate) fn gateway(&self, v6: bool) -> Option<IpAddr> {
        self.pool(v6).and_then(|pool| pool.gateway)
    }

    /// The name of a bridge for the `n`-th network.
    pub(crate) fn interface_name(n: usize) -> String {
        format!("ketch{n}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Network {
        let subnets = ["10.89.0.0/24".parse().unwrap(), "fd00:1::/64".parse().unwrap()];
        Network::bridge("n", "ab".repeat(32), "ketch1".into(), Timestamp::UNIX_EPOCH, &subnets)
    }

    #[test]
    fn the_record_is_podmans() {
        let mut network = example();
        let keys = |value: &serde_json::Value| -> Vec<String> {
            value.as_object().unwrap().keys().cloned().collect()
        };
        let bare = keys(&serde_json::to_value(&network).unwrap());
        assert!(!bare.iter().any(|key| key == "labels" || key == "options"), "left out if empty: {bare:?}");
        network.labels.insert("a".into(), "b".into());
        network.options.insert("mtu".into(), "1400".into());
        let text = serde_json::to_string_pretty(&network).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            keys(&value),
            [
                "name",
                "id",
                "driver",
                "network_interface",
                "created",
                "subnets",
                "ipv6_enabled",
                "internal",
                "dns_enabled",
                "labels",
                "options",
                "ipam_options"
            ]
        );
        assert_eq!(value["subnets"][0]["gateway"], "10.89.0.1");
        assert_eq!(value["ipv6_enabled"], true);
        assert_eq!(serde_json::from_str::<Network>(&text).unwrap(), network);
    }

    #[test]
    fn a_container_asks_for_one_address_of_each_subnet() {
        let mut network = example();
        let more =
            NetworkSubnet { subnet: "10.90.0.0/24".parse().unwrap(), gateway: None, lease_range: None };
        network.subnets.push(more);
        for (ips, want) in [
            (&["10.90.0.7", "10.89.0.7", "fd00:1::7"][..], Ok(())),
            (&["10.91.0.7"], Err("requested static ip 10.91.0.7 not in any subnet: 10.89.0.0/24")),
            (
                &["10.89.0.7", "10.89.0.8"],
                Err(
                    "addresses 10.89.0.7 and 10.89.0.8 are both of 10.89.0.0/24, of which a container has one",
                ),
            ),
        ] {
            let ips: Vec<IpAddr> = ips.iter().map(|ip| ip.parse().unwrap()).collect();
            let got = network.check_addresses(&ips).map_err(|error| error.to_string());
            assert_eq!(got, want.map_err(str::to_owned), "{ips:?}");
        }
        let families: Vec<bool> = network.pools().map(|pool| pool.subnet.is_ipv6()).collect();
        assert_eq!(families, [false, false, true]);
    }

    #[test]
    fn options_are_checked() {
        for (mtu, want) in [
            ("1500", Ok(1500)),
            ("0", Ok(MTU)),
            ("", Ok(MTU)),
            ("67", Err(())),
            ("x", Err(())),
            ("65521", Err(())),
        ] {
            let mut network = example();
            network.options.insert("mtu".into(), mtu.into());
            assert_eq!(network.mtu().map_err(|_| ()), want, "{mtu}");
            assert_eq!(network.check().is_ok(), want.is_ok());
        }
        for (key, value, internal, holds) in [
            ("enable_ip_masquerade", "false", false, true),
            ("enable_ip_masquerade", "maybe", false, false),
            ("host_ipv4", "192.0.2.1", false, true),
            ("host_ipv4", "fd00::1", false, false),
            ("host_ipv6", "fd00::1", false, true),
            ("host_ipv6", "::", false, false),
            ("gateway_mode_ipv4", "nat", false, true),
            ("gateway_mode_ipv4", "nat-unprotected", false, true),
            ("gateway_mode_ipv4", "isolated", false, false),
            ("gateway_mode_ipv6", "isolated", true, true),
            ("gateway_mode_ipv6", "routed", true, false),
        ] {
            let mut network = example();
            network.internal = internal;
            network.options.insert(key.into(), value.into());
            assert_eq!(network.check().is_ok(), holds, "{key}={value}");
        }
        let mut network = example();
        network.subnets[0].gateway = Some("10.90.0.1".parse().unwrap());
        assert_eq!(network.check().unwrap_err().to_string(), "gateway 10.90.0.1 not in subnet 10.89.0.0/24");
    }
}
