//! Everything that is built with netlink: G itself, bridges, and the links into containers.
//!
//! ```text
//! G: lo up · sysctls · rule mark 1 → table 100 → local · nf_tables · bridge per network
//!      bridge ── v<container>.<n> ═══ ethN in the container, with address and default route
//! ```
//!
//! The alias of each host-side link says whose it is and with which addresses. So what is assigned
//! is known as long as, and only as long as, the link exists; a netd that comes after a crash reads
//! it there.

mod left;

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{SocketType, sockopt};

use crate::net::control::Endpoint;
use crate::net::ipam::HOST_ALIAS;
use crate::net::netlink::{self, Address, Batch, Change, ConfigError, End};
use crate::net::network::{METRIC as DEFAULT_METRIC, Network};
use crate::net::{capture, firewall};
use crate::sys::netlink::{Netlink, Protocol};
use crate::sys::{inet, netns, packet};

/// The congestion control between G and containers: the one that every kernel has.
const CONGESTION: &str = "reno";
/// Index of `lo` in every namespace.
const LOOPBACK: u32 = 1;
/// The kernel looks at changed links once a second at the latest.
const UP_WITHIN: std::time::Duration = std::time::Duration::from_millis(1100);
const ALIAS_PREFIX: &str = "ketch ";

/// Why a network could not be built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SiteError {
    #[error("{action} network namespace")]
    Namespace { action: &'static str, source: std::io::Error },
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("open {what} socket")]
    Socket { what: &'static str, source: Errno },
    #[error("set {name} to {value:?}")]
    Sysctl { name: String, value: &'static str, source: std::io::Error },
    #[error("link {0} did not appear")]
    Missing(String),
}

/// Sockets in G that serve all networks. IPv4 and IPv6, or IPv4 alone on a host without the latter.
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) tcp: Vec<OwnedFd>,
    pub(super) udp: Vec<OwnedFd>,
    /// Send packets as they are.
    pub(super) raw: Vec<OwnedFd>,
    /// Send packets that G takes for its own.
    pub(super) inject: Vec<OwnedFd>,
}

/// Sockets of one bridge.
#[derive(Debug, Default)]
pub(super) struct BridgeSockets {
    pub(super) index: u32,
    pub(super) captures: Vec<OwnedFd>,
    pub(super) dns_udp: Vec<OwnedFd>,
    pub(super) dns_tcp: Vec<OwnedFd>,
}

/// G, and what was built in it.
#[derive(Debug)]
pub(crate) struct Site {
    namespace: OwnedFd,
    route: Netlink,
    /// Closing it waits, for ten milliseconds and more, until the kernel has forgotten the rules that were replaced.
    _filter: Netlink,
    bridges: HashMap<String, u32>,
    /// Those of them that an earlier netd has made, and that nobody has asked for since.
    left: HashSet<String>,
}

/// A link that an earlier netd made.
#[derive(Debug)]
struct OldLink {
    index: u32,
    container: String,
    ips: Vec<IpAddr>,
}

impl Site {
    /// Moves the calling thread into `namespace`, or into a new one, and makes it G.
    ///
    /// Returns also the sockets, and who has which address from an earlier netd.
    pub(super) fn open(
        namespace: Option<OwnedFd>,
    ) -> Result<(Self, Sockets, HashMap<IpAddr, String>), SiteError> {
        let failed = |action| move |source| SiteError::Namespace { action, source };
        match &namespace {
            Some(old) => netns::enter(old.as_fd()).map_err(Into::into).map_err(failed("enter"))?,
            None => netns::unshare().map_err(Into::into).map_err(failed("create"))?,
        }
        let namespace = namespace.map_or_else(netns::current, Ok).map_err(failed("open"))?;
        let v6 = std::path::Path::new("/proc/sys/net/ipv6").exists();
        set_sysctls(v6)?;
        let mut route = open_netlink(Protocol::Route)?;
        let mut bridges: HashMap<String, u32> = HashMap::new();
        let mut leases = HashMap::new();
        for link in netlink::links(&mut route)? {
            if let Some(old) = OldLink::read(&link) {
                leases.extend(old.ips.into_iter().map(|ip| (ip, old.container.clone())));
            } else if link.name != "lo" {
                bridges.insert(link.name, link.index);
            }
        }
        set_routing(&mut route, v6)?;
        let mut filter = open_netlink(Protocol::Netfilter)?;
        firewall::install(&mut filter)?;
        let sockets = Sockets::open(v6)?;
        let left = bridges.keys().cloned().collect();
        let mut site = Self { namespace, route, _filter: filter, bridges, left };
        site.remove_left()?;
        Ok((site, sockets, leases))
    }

    /// Moves the calling thread into G.
    pub(super) fn enter(&mut self) -> Result<(), Errno> {
        netns::enter(self.namespace.as_fd())
    }

    /// G's namespace.
    pub(super) fn namespace(&self) -> std::io::Result<OwnedFd> {
        self.namespace.try_clone()
    }

    /// Makes sure that the bridge of `network` is there; opens its sockets. Called in G.
    pub(super) fn open_bridge(&mut self, network: &Network, mtu: u32) -> Result<BridgeSockets, SiteError> {
        let name = &network.network_interface;
        let index = match self.bridges.get(name).copied() {
            Some(index) => {
                if self.left.remove(name) {
                    self.renew_bridge(network, mtu, index)?;
                }
                index
            }
            None => self.make_bridge(network, mtu)?,
        };
        let mut sockets = BridgeSockets { index, ..BridgeSockets::default() };
        for v6 in [false, true] {
            let Some(gateway) = network.gateway(v6) else { continue };
            if !network.internal {
                let (kind, filter) = if v6 {
                    (capture::ETHER_IPV6, &capture::IPV6[..])
                } else {
                    (capture::ETHER_IPV4, &capture::IPV4[..])
                };
                let socket = packet::capture(index, kind, filter);
                sockets.captures.push(socket.map_err(|source| SiteError::Socket { what: "packet", source })?);
            }
            if network.dns_enabled {
                let (udp, tcp) = dns_sockets(gateway)
                    .map_err(|source| SiteError::Socket { what: "name server", source })?;
                sockets.dns_udp.push(udp);
                sockets.dns_tcp.push(tcp);
            }
        }
        Ok(sockets)
    }

    fn make_bridge(&mut self, network: &Network, mtu: u32) -> Result<u32, SiteError> {
        let name = &network.network_interface;
        let mut batch = Batch::new();
        netlink::bridge(&mut batch, name, mtu, bridge_mac(network));
        netlink::commit(&mut self.route, batch)?;
        let index = self.index_of(name)?;
        let mut batch = Batch::new();
        for address in gateways(network) {
            address.add(&mut batch, index);
        }
        netlink::commit(&mut self.route, batch)?;
        self.bridges.insert(name.clone(), index);
        Ok(index)
    }

    fn index_of(&mut self, name: &str) -> Result<u32, SiteError> {
        let found = netlink::link_named(&mut self.route, name)?;
        found.map(|link| link.index).ok_or_else(|| SiteError::Missing(name.into()))
    }

    /// Removes the bridge of a network that nobody uses any more.
    pub(super) fn close_bridge(&mut self, interface: &str) -> Result<(), SiteError> {
        self.left.remove(interface);
        let Some(index) = self.bridges.remove(interface) else { return Ok(()) };
        let mut batch = Batch::new();
        netlink::delete_link(&mut batch, index);
        Ok(netlink::commit(&mut self.route, batch)?)
    }

    /// Links a container to a bridge: interface, addresses, routes. Called in G, visits the
    /// container's `namespace`. The same link left by an earlier netd is kept as it is.
    pub(super) fn join(&mut self, join: &Join<'_>) -> Result<(), SiteError> {
        if let Some(old) = netlink::link_named(&mut self.route, join.link)? {
            if old.alias == join.alias() && old.master == self.bridges.get(join.bridge).copied() {
                return Ok(());
            }
            let mut batch = Batch::new();
            netlink::delete_link(&mut batch, old.index);
            netlink::commit(&mut self.route, batch)?;
        }
        match self.make_link(join) {
            // The other end is in a G that is no more ours.
            Err(SiteError::Config(error)) if join.again && error.errno() == Some(Errno::EXIST) => {
                self.remove_inside(join)?;
                self.make_link(join)?;
            }
            made => made?,
        }
        let outcome = self.visit(join).and_then(|()| {
            await_up(&mut self.route, join.link, std::iter::empty())?;
            await_up(&mut self.route, join.bridge, join.endpoint.ips.iter().map(|ip| ip.gateway))?;
            self.introduce(join)
        });
        if outcome.is_err() {
            self.leave(join.link).ok();
        }
        outcome
    }

    fn make_link(&mut self, join: &Join<'_>) -> Result<(), SiteError> {
        let endpoint = join.endpoint;
        let here = End { name: join.link, mac: None };
        let there = End { name: &endpoint.interface, mac: Some(endpoint.mac) };
        let master = self.bridges.get(join.bridge).copied();
        let master = master.ok_or_else(|| SiteError::Missing(join.bridge.into()))?;
        let mut batch = Batch::new();
        let namespace = join.namespace.as_fd();
        netlink::veth(&mut batch, &here, (&there, namespace), join.mtu, Some(master), &join.alias());
        netlink::commit(&mut self.route, batch)?;
        if join.network.is_isolating().unwrap_or(false) {
            let index = self.index_of(join.link)?;
            let mut batch = Batch::new();
            netlink::set_link(&mut batch, index, &[Change::Isolated]);
            netlink::commit(&mut self.route, batch)?;
        }
        Ok(())
    }

    /// Removes the interface that a container has from an earlier G.
    fn remove_inside(&mut self, join: &Join<'_>) -> Result<(), SiteError> {
        let failed = |action| move |source: Errno| SiteError::Namespace { action, source: source.into() };
        netns::enter(join.namespace.as_fd()).map_err(failed("enter container's"))?;
        let outcome = (|| {
            let mut socket = open_netlink(Protocol::Route)?;
            let Some(link) = netlink::link_named(&mut socket, &join.endpoint.interface)? else {
                return Ok(());
            };
            let mut batch = Batch::new();
            netlink::delete_link(&mut batch, link.index);
            Ok(netlink::commit(&mut socket, batch)?)
        })();
        self.enter().map_err(failed("return to gateway's"))?;
        outcome
    }

    /// Tells G where the container's addresses are, so that the first packet need not ask.
    fn introduce(&mut self, join: &Join<'_>) -> Result<(), SiteError> {
        let Some(index) = self.bridges.get(join.bridge).copied() else { return Ok(()) };
        let mut batch = Batch::new();
        for ip in &join.endpoint.ips {
            netlink::neighbour(&mut batch, ip.ip, join.endpoint.mac, index);
        }
        Ok(netlink::commit(&mut self.route, batch)?)
    }

    /// Sets up the container's end from inside.
    fn visit(&mut self, join: &Join<'_>) -> Result<(), SiteError> {
        let failed = |action| move |source: Errno| SiteError::Namespace { action, source: source.into() };
        netns::enter(join.namespace.as_fd()).map_err(failed("enter container's"))?;
        let outcome = configure_inside(join);
        self.enter().map_err(failed("return to gateway's"))?;
        outcome
    }

    /// Gives a container that has lost an endpoint a default route through the first of `ways`, of which each is the
    /// endpoint on a network that leads out, and the metric of that.
    pub(super) fn reroute(&mut self, namespace: &OwnedFd, ways: &[(Endpoint, u32)]) -> Result<(), SiteError> {
        let failed = |action| move |source: Errno| SiteError::Namespace { action, source: source.into() };
        netns::enter(namespace.as_fd()).map_err(failed("enter container's"))?;
        let outcome = reroute_inside(ways);
        self.enter().map_err(failed("return to gateway's"))?;
        outcome
    }

    /// Removes a host-side link, and with it the container's end.
    pub(super) fn leave(&mut self, link: &str) -> Result<(), SiteError> {
        // It goes by itself with the container's namespace.
        let Some(found) = netlink::link_named(&mut self.route, link)? else { return Ok(()) };
        let mut batch = Batch::new();
        netlink::delete_link(&mut batch, found.index);
        match netlink::commit(&mut self.route, batch) {
            Err(error) if error.errno() != Some(Errno::NODEV) => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// One endpoint to make.
#[derive(Debug)]
pub(super) struct Join<'a> {
    pub(super) container: &'a str,
    pub(super) namespace: &'a OwnedFd,
    /// Name of the bridge.
    pub(super) bridge: &'a str,
    /// Name of the link in G.
    pub(super) link: &'a str,
    pub(super) endpoint: &'a Endpoint,
    /// Further addresses, of the link alone.
    pub(super) link_local: &'a [IpAddr],
    pub(super) network: &'a Network,
    pub(super) mtu: u32,
    /// Whether the container's default route of IPv4 and IPv6 leads here.
    pub(super) default_route: [bool; 2],
    /// The container was attached before.
    pub(super) again: bool,
}

impl Join<'_> {
    fn alias(&self) -> String {
        let ips: Vec<String> = self.endpoint.ips.iter().map(|ip| ip.ip.to_string()).collect();
        format!("{ALIAS_PREFIX}{} {}", self.container, ips.join(","))
    }
}

impl OldLink {
    fn read(link: &netlink::LinkEntry) -> Option<Self> {
        let (container, ips) = link.alias.strip_prefix(ALIAS_PREFIX)?.split_once(' ')?;
        let ips = ips.split(',').filter_map(|ip| ip.parse().ok()).collect();
        Some(Self { index: link.index, container: container.into(), ips })
    }
}

/// The name of the host-side link of a container's `n`-th endpoint: at most 15 bytes.
pub(super) fn link_name(container: &str, n: usize) -> String {
    format!("v{}.{n}", container.get(..10).unwrap_or(container))
}

/// G's addresses on a network.
fn gateways(network: &Network) -> Vec<Address> {
    let pools = network.pools();
    pools.filter_map(|pool| Some(Address { ip: pool.gateway?, prefix: pool.subnet.prefix() })).collect()
}

/// The hardware address of a network's bridge.
fn bridge_mac(network: &Network) -> Option<[u8; 6]> {
    network.gateway(false).or_else(|| network.gateway(true)).map(crate::net::ipam::mac_of)
}

fn configure_inside(join: &Join<'_>) -> Result<(), SiteError> {
    // Checked before it came here.
    let metric = join.network.metric().unwrap_or_default();
    let mut socket = open_netlink(Protocol::Route)?;
    let name = &join.endpoint.interface;
    let found = netlink::link_named(&mut socket, name)?;
    let index = found.ok_or_else(|| SiteError::Missing(name.clone()))?.index;
    let mut batch = Batch::new();
    netlink::set_link(&mut batch, LOOPBACK, &[Change::Up]);
    for ip in &join.endpoint.ips {
        Address { ip: ip.ip, prefix: ip.prefix }.add(&mut batch, index);
    }
    netlink::set_link(&mut batch, index, &[Change::Up]);
    for v6 in [false, true] {
        let first = join.endpoint.ips.iter().find(|ip| ip.ip.is_ipv6() == v6);
        if let Some(ip) = first.filter(|_| join.default_route[usize::from(v6)]) {
            netlink::default_route(&mut batch, ip.gateway, index, metric);
        }
    }
    for ip in &join.endpoint.ips {
        if let Some(mac) = bridge_mac(join.network) {
            netlink::neighbour(&mut batch, ip.gateway, mac, index);
        }
    }
    for route in &join.network.routes {
        let destination = Address { ip: route.destination.first(), prefix: route.destination.prefix() };
        netlink::route(&mut batch, destination, route.gateway, index, route.metric.unwrap_or(metric));
    }
    add_link_local(&mut batch, join, index);
    netlink::commit(&mut socket, batch)?;
    await_up(&mut socket, name, join.endpoint.ips.iter().map(|ip| ip.ip))
}

/// Adds the addresses of the link alone. The host's alias is one of their kind, but not on the link.
fn add_link_local(batch: &mut Batch, join: &Join<'_>, index: u32) {
    for ip in join.link_local {
        Address { ip: *ip, prefix: if ip.is_ipv6() { 64 } else { 16 } }.add(batch, index);
    }
    let way_out = join.endpoint.ips.iter().find(|ip| !ip.ip.is_ipv6() && !join.network.internal);
    if let Some(way_out) = way_out.filter(|_| join.link_local.iter().any(|ip| !ip.is_ipv6())) {
        let host = Address { ip: HOST_ALIAS.into(), prefix: 32 };
        netlink::route(batch, host, way_out.gateway, index, DEFAULT_METRIC);
    }
}

/// Waits until a link passes packets and its addresses are taken for the namespace's own. The
/// kernel gets to that a moment after both ends are up; a packet lost until then would come again
/// only after a second.
fn await_up(socket: &mut Netlink, link: &str, ips: impl Iterator<Item = IpAddr>) -> Result<(), SiteError> {
    let start = std::time::Instant::now();
    // Slow is not lost: packets will pass once the kernel gets to it.
    let wait = || {
        std::thread::sleep(std::time::Duration::from_micros(200));
        start.elapsed() < UP_WITHIN
    };
    let missing = || SiteError::Missing(link.into());
    while !netlink::link_named(socket, link)?.ok_or_else(missing)?.operational && wait() {}
    for ip in ips {
        while !netlink::is_delivered(socket, ip)? && wait() {}
    }
    Ok(())
}

fn reroute_inside(ways: &[(Endpoint, u32)]) -> Result<(), SiteError> {
    let mut socket = open_netlink(Protocol::Route)?;
    let links = netlink::links(&mut socket)?;
    for v6 in [false, true] {
        let mut all = ways.iter().flat_map(|way| way.0.ips.iter().map(move |ip| (way, ip)));
        let Some(((endpoint, metric), ip)) = all.find(|(_, ip)| ip.ip.is_ipv6() == v6) else { continue };
        let Some(link) = links.iter().find(|link| link.name == endpoint.interface) else { continue };
        let mut batch = Batch::new();
        netlink::default_route(&mut batch, ip.gateway, link.index, *metric);
        netlink::commit(&mut socket, batch)?;
    }
    Ok(())
}

fn open_netlink(protocol: Protocol) -> Result<Netlink, SiteError> {
    Netlink::open(protocol)
        .map_err(|source| ConfigError { what: "talk to the kernel's network".into(), source }.into())
}

fn set_routing(route: &mut Netlink, v6: bool) -> Result<(), SiteError> {
    let families = if v6 { &[false, true][..] } else { &[false] };
    let mut batch = Batch::new();
    netlink::set_link(&mut batch, LOOPBACK, &[Change::Up]);
    for v6 in families {
        netlink::local_table_route(&mut batch, *v6, LOOPBACK, firewall::TABLE);
    }
    netlink::commit(route, batch)?;
    for v6 in families {
        let mut batch = Batch::new();
        netlink::mark_rule(&mut batch, *v6, firewall::MARK, firewall::TABLE);
        match netlink::commit(route, batch) {
            // Left by an earlier netd.
            Err(error) if error.errno() == Some(Errno::EXIST) => {}
            outcome => outcome?,
        }
    }
    Ok(())
}

/// Kernel parameters of G. Each that is not right lets traffic vanish in its own way:
/// bridged packets go through the IP hooks and packet sockets see nothing; a SYN is answered with
/// "network unreachable" at once; packets from elsewhere are taken for forged.
fn set_sysctls(v6: bool) -> Result<(), SiteError> {
    let bridge = std::path::Path::new("/proc/sys/net/bridge").exists();
    let always = [
        ("net/ipv4/ip_forward", "0"),
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/default/rp_filter", "0"),
        ("net/ipv4/conf/lo/rp_filter", "0"),
        ("net/ipv4/conf/all/accept_redirects", "0"),
        ("net/ipv4/conf/default/accept_redirects", "0"),
        // A client that connects again from the same port keeps its address.
        ("net/ipv4/tcp_tw_reuse", "1"),
        // Nothing is lost between G and a container. What the host uses outwards may send by a timer (bbr), which costs
        // several times as much here.
        ("net/ipv4/tcp_congestion_control", CONGESTION),
    ];
    let for_v6 = [
        ("net/ipv6/conf/all/forwarding", "0"),
        // A container is no router of G's.
        ("net/ipv6/conf/all/accept_ra", "0"),
        ("net/ipv6/conf/default/accept_ra", "0"),
        ("net/ipv6/conf/all/accept_redirects", "0"),
        ("net/ipv6/conf/default/accept_redirects", "0"),
        ("net/ipv6/conf/default/accept_dad", "0"),
        ("net/ipv6/conf/all/disable_ipv6", "0"),
        ("net/ipv6/conf/default/disable_ipv6", "0"),
    ];
    let for_bridges = [
        ("net/bridge/bridge-nf-call-iptables", "0"),
        ("net/bridge/bridge-nf-call-ip6tables", "0"),
        ("net/bridge/bridge-nf-call-arptables", "0"),
    ];
    let wanted =
        always.iter().chain(for_v6.iter().filter(|_| v6)).chain(for_bridges.iter().filter(|_| bridge));
    for (name, value) in wanted {
        set_sysctl(name, value)?;
    }
    Ok(())
}

/// Sets a parameter of the calling thread's namespace, unless it is right already.
fn set_sysctl(name: &str, value: &'static str) -> Result<(), SiteError> {
    let path = format!("/proc/sys/{name}");
    if std::fs::read_to_string(&path).is_ok_and(|now| now.trim_end() == value) {
        return Ok(());
    }
    std::fs::write(&path, value).map_err(|source| SiteError::Sysctl {
        name: name.replace('/', "."),
        value,
        source,
    })
}

fn dns_sockets(gateway: IpAddr) -> Result<(OwnedFd, OwnedFd), Errno> {
    let address = SocketAddr::new(gateway, 53);
    let udp = inet::socket(gateway.is_ipv6(), SocketType::DGRAM)?;
    rustix::net::bind(&udp, &address)?;
    let tcp = inet::socket(gateway.is_ipv6(), SocketType::STREAM)?;
    sockopt::set_socket_reuseaddr(&tcp, true)?;
    rustix::net::bind(&tcp, &address)?;
    rustix::net::listen(&tcp, 64)?;
    Ok((udp, tcp))
}

impl Sockets {
    fn open(v6: bool) -> Result<Self, SiteError> {
        let mut sockets = Self { tcp: vec![], udp: vec![], raw: vec![], inject: vec![] };
        for v6 in if v6 { &[false, true][..] } else { &[false] } {
            sockets.add_family(*v6)?;
        }
        Ok(sockets)
    }

    fn add_family(&mut self, v6: bool) -> Result<(), SiteError> {
        let failed = |what| move |source| SiteError::Socket { what, source };
        let mark = i32::try_from(firewall::MARK).unwrap_or(1);
        self.tcp.push(transparent_listener(v6).map_err(failed("transparent TCP"))?);
        self.udp.push(transparent_receiver(v6).map_err(failed("transparent UDP"))?);
        self.raw.push(inet::raw_sender(v6).map_err(failed("raw"))?);
        let inject = inet::raw_sender(v6).map_err(failed("raw"))?;
        inet::set_mark(&inject, mark).map_err(failed("marked raw"))?;
        self.inject.push(inject);
        Ok(())
    }
}

fn loopback(v6: bool, port: u16) -> SocketAddr {
    let ip: IpAddr =
        if v6 { std::net::Ipv6Addr::LOCALHOST.into() } else { std::net::Ipv4Addr::LOCALHOST.into() };
    SocketAddr::new(ip, port)
}

fn transparent_listener(v6: bool) -> Result<OwnedFd, Errno> {
    let socket = inet::socket(v6, SocketType::STREAM)?;
    inet::set_transparent(&socket, v6)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    // Accepted sockets inherit these.
    super::pool::prepare_stream(&socket)?;
    rustix::net::bind(&socket, &loopback(v6, firewall::TCP_PORT))?;
    rustix::net::listen(&socket, 4096)?;
    Ok(socket)
}

fn transparent_receiver(v6: bool) -> Result<OwnedFd, Errno> {
    let socket = inet::socket(v6, SocketType::DGRAM)?;
    inet::set_transparent(&socket, v6)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    inet::set_receive_destination(&socket, v6)?;
    inet::set_packet_info(&socket, v6)?;
    sockopt::set_socket_recv_buffer_size(&socket, 1 << 20).ok();
    rustix::net::bind(&socket, &loopback(v6, firewall::UDP_PORT))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_names_fit_the_kernel() {
        assert_eq!(link_name(&"ab".repeat(32), 0), "vababababab.0");
        assert!(link_name(&"ab".repeat(32), 99).len() <= 15);
    }

    #[test]
    fn aliases_bring_addresses_back() {
        let link = netlink::LinkEntry { alias: "ketch abc 10.88.0.2,fd00::2".into(), ..Default::default() };
        let old = OldLink::read(&link).unwrap();
        assert_eq!(old.container, "abc");
        assert_eq!(old.ips, ["10.88.0.2".parse::<IpAddr>().unwrap(), "fd00::2".parse().unwrap()]);
        assert!(OldLink::read(&netlink::LinkEntry { alias: "other".into(), ..Default::default() }).is_none());
    }
}
