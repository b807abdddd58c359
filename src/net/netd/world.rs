//! Who is who: networks, containers, their addresses, and where a container may connect to.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use super::slab::{Key, Slab};
use crate::base::order::InOrder as _;
use crate::net::control::{Attach, Endpoint, EndpointRequest};
use crate::net::ipam::{HOST_ALIAS, HOST_ALIAS6};
use crate::net::network::Network;
use crate::net::packet::Unreachable;

/// Whether containers mean the host by this address.
pub(super) fn is_host_alias(ip: IpAddr) -> bool {
    ip == HOST_ALIAS || ip == HOST_ALIAS6
}

/// A network that has containers, or is about to.
#[derive(Debug)]
pub(super) struct Bridge {
    pub(super) record: Network,
    /// Index of its link in G; 0 while that is being made.
    pub(super) index: u32,
    /// Packet sockets, IPv4 and IPv6; none on an internal network.
    pub(super) captures: Vec<OwnedFd>,
    /// Endpoints, those being made included. The bridge goes with the last one.
    pub(super) endpoints: usize,
    /// The address given last, IPv4 and IPv6.
    pub(super) last: [Option<IpAddr>; 2],
}

/// One container on one network.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) bridge: Key,
    pub(super) endpoint: Endpoint,
    pub(super) request: EndpointRequest,
    /// Name of the host-side link in G.
    pub(super) link: String,
}

/// A container.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) attach: Attach,
    pub(super) namespace: OwnedFd,
    pub(super) session: Key,
    pub(super) joined: Vec<Joined>,
    /// UDP flows it has.
    pub(super) flows: u32,
    /// Connections being dialled for it.
    pub(super) dials: u32,
    /// Its links are there, and its monitor has been told so.
    pub(super) ready: bool,
    /// Something has changed that its monitor could not be told of before that.
    pub(super) changed: bool,
}

impl Member {
    /// Names that only this container knows others by: alias, and container ID.
    pub(super) fn links(&self) -> impl Iterator<Item = &(String, String)> {
        self.attach.links.iter().chain(self.joined.iter().flat_map(|joined| &joined.request.links))
    }
}

/// What to do about something that a container sends somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Dial this address from the host.
    Dial(SocketAddr),
    /// Not ours to answer.
    Ignore,
    Refuse(Unreachable),
}

/// All networks and containers.
#[derive(Debug)]
pub(super) struct World {
    pub(super) bridges: Slab<Bridge>,
    pub(super) members: Slab<Member>,
    /// Each address: whose, on which bridge. Reserved before the link is made.
    by_ip: HashMap<IpAddr, Owner>,
    /// Addresses of links that an earlier netd left, until their containers come back: container ID.
    leases: HashMap<IpAddr, String>,
}

/// Whose an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) member: Key,
    pub(super) bridge: Key,
}

impl Owner {
    /// Whether that is container `member`, on the network of `bridge` if one is named.
    pub(super) fn is(self, member: Key, bridge: Option<Key>) -> bool {
        self.member == member && bridge.is_none_or(|bridge| self.bridge == bridge)
    }
}

impl World {
    pub(super) fn new(leases: HashMap<IpAddr, String>) -> Self {
        Self { bridges: Slab::new(), members: Slab::new(), by_ip: HashMap::new(), leases }
    }

    pub(super) fn owner(&self, ip: IpAddr) -> Option<Owner> {
        self.by_ip.get(&ip).copied()
    }

    /// The container with this ID.
    pub(super) fn find(&self, container: &str) -> Option<Key> {
        self.members.iter().find(|(_, member)| member.attach.container == container).map(|(key, _)| key)
    }

    /// The bridge of the network with this name.
    pub(super) fn bridge(&self, network: &str) -> Option<Key> {
        self.bridges.iter().find(|(_, bridge)| bridge.record.name == network).map(|(key, _)| key)
    }

    /// The bridge whose link in G has this index.
    pub(super) fn bridge_of_link(&self, index: u32) -> Option<Key> {
        self.bridges.iter().find(|(_, bridge)| bridge.index == index).map(|(key, _)| key)
    }

    /// Whether `ip` is given to somebody other than `container`.
    pub(super) fn is_taken(&self, ip: IpAddr, container: &str) -> bool {
        self.by_ip.contains_key(&ip) || self.leases.get(&ip).is_some_and(|of| of != container)
    }

    pub(super) fn reserve(&mut self, ip: IpAddr, owner: Owner) {
        self.leases.remove(&ip);
        self.by_ip.insert(ip, owner);
    }

    pub(super) fn release(&mut self, ip: IpAddr) {
        self.by_ip.remove(&ip);
    }

    /// Forgets addresses whose containers did not come back, and returns those containers' IDs.
    pub(super) fn forget_leases(&mut self) -> Vec<String> {
        let mut gone: Vec<String> = self.leases.drain().map(|(_ip, container)| container).collect();
        gone.order();
        gone.dedup();
        gone.retain(|container| self.find(container).is_none());
        gone
    }

    pub(super) fn has_leases(&self) -> bool {
        !self.leases.is_empty()
    }

    /// Whether an address belongs to any network that has containers.
    pub(super) fn is_inside(&self, ip: IpAddr) -> bool {
        self.bridge_around(ip).is_some()
    }

    /// The network that an address belongs to, of those that have containers.
    pub(super) fn bridge_around(&self, ip: IpAddr) -> Option<Key> {
        let around = |bridge: &Bridge| bridge.record.subnets.iter().any(|subnet| subnet.subnet.contains(ip));
        self.bridges.iter().find(|(_, bridge)| around(bridge)).map(|(key, _)| key)
    }

    /// May `source`, seen on `bridge`, send to `destination`, and where is that really?
    ///
    /// The host's loopback is dialled only for who was given it, another network never: what only the kernel's routing
    /// would keep apart is kept apart here, since netd dials from the host.
    pub(super) fn verdict(
        &self,
        bridge: Option<Key>,
        source: IpAddr,
        destination: SocketAddr,
        host: Option<IpAddr>,
    ) -> Verdict {
        let Some(owner) = self.owner(source) else { return Verdict::Ignore };
        if bridge.is_some_and(|bridge| owner.bridge != bridge) || !is_dialable(destination.ip()) {
            return Verdict::Ignore;
        }
        let Some(own) = self.bridges.get(owner.bridge) else { return Verdict::Ignore };
        if own.record.internal {
            return Verdict::Refuse(Unreachable::Network);
        }
        if is_host_alias(destination.ip()) {
            let loopback = self.members.get(owner.member).is_some_and(|member| member.attach.host_loopback);
            let host = if loopback { Some(Ipv4Addr::LOCALHOST.into()) } else { host };
            let target = host.map(|host| SocketAddr::new(host, destination.port()));
            return target.map_or(Verdict::Refuse(Unreachable::Network), Verdict::Dial);
        }
        if own.record.subnets.iter().any(|subnet| subnet.subnet.contains(destination.ip())) {
            return Verdict::Ignore;
        }
        if self.is_inside(destination.ip()) {
            return Verdict::Refuse(Unreachable::Prohibited);
        }
        Verdict::Dial(destination)
    }

    /// Where published ports of a container lead: its address on the network that is its way out,
    /// of the wanted family if it has one, and whether that network has a way out at all.
    pub(super) fn published_address(&self, member: Key, v6: bool) -> Option<(IpAddr, bool)> {
        let member = self.members.get(member)?;
        let outward = |joined: &&Joined| {
            let bridge = self.bridges.get(joined.bridge);
            bridge.is_some_and(|bridge| bridge.record.has_default_route().unwrap_or(!bridge.record.internal))
        };
        // The first of those with the largest priority: where the container's default route leads, and so its answers.
        let outward = member.joined.iter().filter(outward);
        let joined = outward.min_by_key(|joined| std::cmp::Reverse(joined.request.gw_priority));
        let has_way_out = joined.is_some();
        let ips = &joined.or_else(|| member.joined.first())?.endpoint.ips;
        let ip = ips.iter().find(|ip| ip.ip.is_ipv6() == v6).or_else(|| ips.first())?;
        Some((ip.ip, has_way_out))
    }
}

/// Whether an address is one of a single machine elsewhere.
fn is_dialable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            !(ip.octets()[0] == 0 || ip.is_loopback() || ip.is_multicast() || ip.octets()[0] >= 240)
        }
        IpAddr::V6(ip) => {
            let embedded = ip.to_ipv4_mapped().is_some() || ip.segments()[..6] == [0; 6];
            !(ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_unicast_link_local()
                || embedded)
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::net::control::AssignedIp;

    /// Two networks (`a` 10.1.0.0/24, `b` internal 10.2.0.0/24) with one container each, `.2`.
    pub(in crate::net::netd) fn two_networks() -> (World, Key, Key) {
        let mut world = World::new(HashMap::new());
        let mut keys = Vec::new();
        for (name, subnet, internal) in [("a", "10.1.0.0/24", false), ("b", "10.2.0.0/24", true)] {
            let subnet: crate::net::ipam::Subnet = subnet.parse().unwrap();
            let interface = format!("ketch{name}");
            let mut record =
                Network::bridge(name, name.repeat(64), interface, jiff::Timestamp::UNIX_EPOCH, &[subnet]);
            record.internal = internal;
            let bridge = world.bridges.insert(Bridge {
                record: record.clone(),
                index: 0,
                captures: vec![],
                endpoints: 1,
                last: [None; 2],
            });
            let IpAddr::V4(first) = subnet.first() else { unreachable!() };
            let ip = IpAddr::V4(Ipv4Addr::from_bits(first.to_bits() + 2));
            let request = crate::net::testing::endpoint(&record);
            let endpoint = Endpoint {
                network: name.into(),
                interface: "eth0".into(),
                ips: vec![AssignedIp { ip, prefix: 24, gateway: subnet.gateway() }],
                mac: [2; 6],
            };
            let member = world.members.insert(Member {
                attach: Attach {
                    container: name.repeat(64),
                    name: format!("c{name}"),
                    hostname: format!("host{name}"),
                    endpoints: vec![request.clone()],
                    dns: vec![],
                    links: vec![],
                    again: false,
                    host_loopback: name == "a",
                    avoid: vec![],
                },
                namespace: std::fs::File::open("/dev/null").unwrap().into(),
                session: Key { index: 0, generation: 0 },
                joined: vec![Joined { bridge, endpoint, request, link: String::new() }],
                flows: 0,
                dials: 0,
                ready: true,
                changed: false,
            });
            world.reserve(ip, Owner { member, bridge });
            keys.push(bridge);
        }
        (world, keys[0], keys[1])
    }

    #[test]
    fn who_may_go_where() {
        let (world, a, b) = two_networks();
        let host: Option<IpAddr> = Some("192.0.2.9".parse().unwrap());
        let dial = |text: &str| Verdict::Dial(text.parse().unwrap());
        for (bridge, from, to, want) in [
            (a, "10.1.0.2", "198.51.100.1:80", dial("198.51.100.1:80")),
            (a, "10.1.0.2", "169.254.169.254:80", dial("169.254.169.254:80")),
            (a, "10.1.0.2", "169.254.1.2:80", dial("127.0.0.1:80")),
            (a, "10.1.0.2", "[64:ff9b:1::a9fe:102]:80", dial("127.0.0.1:80")),
            (a, "10.1.0.2", "10.2.0.2:80", Verdict::Refuse(Unreachable::Prohibited)),
            (a, "10.1.0.2", "10.1.0.1:80", Verdict::Ignore),
            (a, "10.1.0.2", "127.0.0.1:80", Verdict::Ignore),
            (a, "10.1.0.2", "0.0.0.0:80", Verdict::Ignore),
            (a, "10.1.0.2", "224.0.0.1:80", Verdict::Ignore),
            (a, "10.1.0.2", "255.255.255.255:80", Verdict::Ignore),
            (a, "10.1.0.2", "[::1]:80", Verdict::Ignore),
            (a, "10.1.0.2", "[::ffff:127.0.0.1]:80", Verdict::Ignore),
            (a, "10.1.0.2", "[::127.0.0.1]:80", Verdict::Ignore),
            (a, "10.1.0.2", "[fe80::1]:80", Verdict::Ignore),
            (a, "10.1.0.99", "198.51.100.1:80", Verdict::Ignore),
            (b, "10.1.0.2", "198.51.100.1:80", Verdict::Ignore),
            (b, "10.2.0.2", "198.51.100.1:80", Verdict::Refuse(Unreachable::Network)),
        ] {
            let got = world.verdict(Some(bridge), from.parse().unwrap(), to.parse().unwrap(), host);
            assert_eq!(got, want, "{from} to {to}");
        }
    }

    #[test]
    fn leases_keep_addresses_for_their_owners() {
        let ip: IpAddr = "10.1.0.7".parse().unwrap();
        let mut world = World::new(HashMap::from([(ip, "x".to_owned())]));
        assert!(world.is_taken(ip, "y") && !world.is_taken(ip, "x"));
        assert_eq!(world.forget_leases(), ["x"]);
        assert!(!world.is_taken(ip, "y"));
    }
}
