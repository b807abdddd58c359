//! What all parts of netd use: the reactor, who is who, sockets in G, the time.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use rustix::net::SendFlags;

use super::pool::Pool;
use super::reactor::Reactor;
use super::site::Sockets;
use super::slab::Key;
use super::world::{World, is_host_alias};
use crate::net::packet::{self, Flow, Unreachable};

/// Shared by the parts of netd, each of which borrows it while it works.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) reactor: Reactor,
    pub(super) world: World,
    pub(super) pool: Arc<Pool>,
    pub(super) sockets: Sockets,
    /// Read once per turn of the loop.
    pub(super) now: Instant,
}

impl Core {
    /// Refuses a connection or datagram of a container as a router on the way would.
    pub(super) fn refuse(&self, flow: Flow, why: Unreachable, original: &[u8]) {
        let inside = flow.inside.ip();
        let Some(router) = self.gateway_of(inside) else { return };
        self.send_raw(&packet::unreachable(why, router, inside, original), inside);
    }

    /// Sends a forged packet to a container.
    pub(super) fn send_raw(&self, bytes: &[u8], to: IpAddr) {
        if let Some(socket) = self.sockets.raw.get(usize::from(to.is_ipv6())) {
            // Lost like any packet if it cannot be sent.
            rustix::net::sendto(socket, bytes, SendFlags::empty(), &SocketAddr::new(to, 0)).ok();
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
        let owner = self.world.owner(inside)?;
        self.world.bridges.get(owner.bridge)?.record.gateway(inside.is_ipv6())
    }

    /// The container with this address.
    pub(super) fn member_of(&self, inside: IpAddr) -> Option<Key> {
        self.world.owner(inside).map(|owner| owner.member)
    }
}

/// The host's own address, if `destination` is one by which containers mean the host; of that family if it has one.
pub(super) fn host_behind(destination: IpAddr) -> Option<IpAddr> {
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
        return local_address(&socket);
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

fn local_address(socket: &OwnedFd) -> Option<IpAddr> {
    let name = rustix::net::getsockname(socket).ok()?;
    SocketAddr::try_from(name).ok().map(|address| address.ip())
}
