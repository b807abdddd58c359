//! What all parts of netd use: the reactor, who is who, sockets in G, the time.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::SendFlags;

use super::pool::Pool;
use super::reactor::Reactor;
use super::site::Sockets;
use super::slab::Key;
use super::spare::Spare;
use super::world::{Owner, Verdict, World, is_host_alias};
use crate::net::network::Network;
use crate::net::packet::{self, Flow, Unreachable};

/// Shared by the parts of netd, each of which borrows it while it works.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) reactor: Reactor,
    pub(super) world: World,
    pub(super) pool: Arc<Pool>,
    pub(super) sockets: Sockets,
    pub(super) spare: Spare,
    /// Of the packet forged last: the parts of each have one of their own.
    pub(super) number: std::cell::Cell<u32>,
    /// Read once per turn of the loop.
    pub(super) now: Instant,
}

impl Core {
    /// Refuses a connection or datagram of a container as a router on the way would; for a port, as the far side
    /// itself (RFC 1122, 3.2.2.1).
    pub(super) fn refuse(&self, flow: Flow, why: Unreachable, original: &[u8]) {
        let inside = flow.inside.ip();
        let from = if why == Unreachable::Port { Some(flow.outside.ip()) } else { self.gateway_of(inside) };
        let Some(from) = from else { return };
        self.send_raw(packet::unreachable(why, from, inside, original), inside);
    }

    /// Sends a forged packet to a container, in parts if it is too long for the network.
    pub(super) fn send_raw(&self, packet: Vec<u8>, to: IpAddr) {
        let Some(socket) = self.sockets.raw.get(usize::from(to.is_ipv6())) else { return };
        let mtu = self.network_of(to).and_then(|network| network.mtu().ok()).unwrap_or(u32::MAX);
        let number = self.number.get().wrapping_add(1);
        self.number.set(number);
        for part in packet::split(packet, mtu as usize, number) {
            // Lost like any packet if it cannot be sent.
            rustix::net::sendto(socket, &part, SendFlags::empty(), &SocketAddr::new(to, 0)).ok();
        }
    }

    /// Sends a packet from a container that G shall take for its own.
    pub(super) fn inject(&self, bytes: &[u8], to: IpAddr) {
        if let Some(socket) = self.sockets.inject.get(usize::from(to.is_ipv6())) {
            rustix::net::sendto(socket, bytes, SendFlags::empty(), &SocketAddr::new(to, 0)).ok();
        }
    }

    /// G's address on the network of `inside`.
    fn gateway_of(&self, inside: IpAddr) -> Option<IpAddr> {
        self.network_of(inside)?.gateway(inside.is_ipv6())
    }

    /// May `source`, seen on `bridge`, send to `destination`, and where is that really?
    pub(super) fn verdict(&self, bridge: Option<Key>, source: IpAddr, destination: SocketAddr) -> Verdict {
        let verdict = self.world.verdict(bridge, source, destination, host_behind(destination.ip()));
        match verdict {
            Verdict::Dial(target) if self.reaches_only_host(source) && !is_of_host(target.ip()) => {
                Verdict::Refuse(Unreachable::Network)
            }
            verdict => verdict,
        }
    }

    fn reaches_only_host(&self, source: IpAddr) -> bool {
        // Checked when the network was made.
        self.network_of(source).is_some_and(|network| network.reaches_only_host().unwrap_or(true))
    }

    /// Has `socket` connect to `target` on behalf of `source`: from the address that its network shall leave by.
    pub(super) fn connect_outward(
        &self,
        socket: &OwnedFd,
        source: IpAddr,
        target: SocketAddr,
    ) -> Result<(), Errno> {
        let of = self.network_of(source).and_then(|network| network.source(target.is_ipv6()).ok().flatten());
        if let Some(ip) = of.filter(|_| !target.ip().is_loopback()) {
            // The port is chosen for the connection, so that there are as many as without.
            crate::sys::inet::choose_port_late(socket).ok();
            rustix::net::bind(socket, &SocketAddr::new(ip, 0))?;
        }
        rustix::net::connect(socket, &target)
    }

    /// Whether a new socket would reach `target` on behalf of `inside` from another address than `socket`: the host's
    /// network has changed since that was connected.
    pub(super) fn has_moved(&self, socket: &OwnedFd, inside: IpAddr, target: SocketAddr) -> bool {
        let now = crate::sys::inet::socket(target.is_ipv6(), rustix::net::SocketType::DGRAM);
        let Some(now) = now.ok().filter(|now| self.connect_outward(now, inside, target).is_ok()) else {
            // There is no way at all: the old one may come back.
            return false;
        };
        let ip = |socket| local_address(socket).map(|address| address.ip());
        ip(&now) != ip(socket)
    }

    fn network_of(&self, inside: IpAddr) -> Option<&Network> {
        let owner = self.world.owner(inside)?;
        self.world.bridges.get(owner.bridge).map(|bridge| &bridge.record)
    }

    /// The container with this address, and where it has that.
    pub(super) fn owner_of(&self, inside: IpAddr) -> Option<Owner> {
        self.world.owner(inside)
    }
}

/// What a container is told of an error that its traffic has met outside; nothing of one that may pass.
pub(super) fn reason(error: Errno) -> Option<Unreachable> {
    match error {
        Errno::CONNREFUSED => Some(Unreachable::Port),
        Errno::NETUNREACH | Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL => Some(Unreachable::Network),
        Errno::HOSTUNREACH | Errno::HOSTDOWN => Some(Unreachable::Host),
        Errno::ACCESS | Errno::PERM => Some(Unreachable::Prohibited),
        _ => None,
    }
}

/// Whether an address is one of the host's own: only such a one can be bound to.
fn is_of_host(ip: IpAddr) -> bool {
    let socket = crate::sys::inet::socket(ip.is_ipv6(), rustix::net::SocketType::DGRAM);
    socket.is_ok_and(|socket| rustix::net::bind(&socket, &SocketAddr::new(ip, 0)).is_ok())
}

/// The host's own address, if `destination` is one by which containers mean the host; of that family if it has one.
fn host_behind(destination: IpAddr) -> Option<IpAddr> {
    let v6 = destination.is_ipv6();
    is_host_alias(destination).then(|| host_address(v6).or_else(|| host_address(!v6))).flatten()
}

/// The host's own address of one family: the one it would send from to somewhere far away.
///
/// Asks the routing table by connecting a UDP socket, which sends nothing. The two addresses are
/// reserved for documentation, so no route is special to them.
fn host_address(v6: bool) -> Option<IpAddr> {
    let far: SocketAddr = if v6 {
        SocketAddr::new(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(), 9)
    } else {
        SocketAddr::new(std::net::Ipv4Addr::new(192, 0, 2, 1).into(), 9)
    };
    let socket = crate::sys::inet::socket(v6, rustix::net::SocketType::DGRAM).ok()?;
    if rustix::net::connect(&socket, &far).is_ok() {
        return local_address(&socket).map(|address| address.ip());
    }
    // No default route: any address of a link that is up will do.
    let mut netlink = crate::sys::netlink::Netlink::open(crate::sys::netlink::Protocol::Route).ok()?;
    let addresses = crate::net::netlink::addresses(&mut netlink).ok()?;
    let usable = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !v6,
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local() && v6,
    };
    addresses.into_iter().map(|entry| entry.address.ip).find(usable)
}

/// What a socket is bound to.
pub(super) fn local_address(socket: &OwnedFd) -> Option<SocketAddr> {
    rustix::net::getsockname(socket).ok()?.try_into().ok()
}
