//! Published ports: connections from outside, handed to a container under the client's own address.
//!
//! ```text
//! client ──▶ listening socket (host; the monitor's, lent) ─▶ socket in G, bound to the client's
//!            address and port, connected to the container ─▶ relay, or flow
//! ```
//!
//! A client that the container could not answer under its own address (loopback, an address of a
//! ketch network, the other family) appears as the gateway.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::io::Errno;
use rustix::net::SocketFlags;

use super::core::Core;
use super::flows::Flows;
use super::pool::{Kind, prepare_stream};
use super::reactor::{Interest, Source, Token};
use super::relay::Relays;
use super::slab::{Key, Slab};
use super::world::Owner;
use crate::net::control::{Protocol, PublishedPort};

const ACCEPTS_PER_TURN: usize = 64;

#[derive(Debug)]
struct Listener {
    socket: Rc<OwnedFd>,
    owner: Key,
    port: PublishedPort,
}

/// All published ports.
#[derive(Debug)]
pub(super) struct Publisher {
    listeners: Slab<Listener>,
}

impl Publisher {
    pub(super) fn new() -> Self {
        Self { listeners: Slab::new() }
    }

    /// Serves a listening (TCP) or bound (UDP) socket for a port of container `owner`.
    pub(super) fn add(
        &mut self,
        core: &Core,
        owner: Key,
        port: PublishedPort,
        socket: OwnedFd,
    ) -> Result<(), Errno> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let source = match port.protocol {
            Protocol::Tcp => {
                // Accepted sockets inherit these: dropping one resets the connection.
                prepare_stream(&socket)?;
                Source::PublishTcp
            }
            Protocol::Udp => {
                for v6 in [false, true] {
                    // A socket that takes both families wants both options, one of one family its own.
                    crate::sys::inet::set_packet_info(&socket, v6).ok();
                }
                super::pool::prepare_datagrams(&socket);
                Source::PublishUdp
            }
        };
        let key = self.listeners.insert(Listener { socket: Rc::new(socket), owner, port });
        let socket = &self.listeners.get(key).expect("just inserted").socket;
        core.reactor.add(&**socket, Interest::Read, Token::new(source, key)).inspect_err(|_| {
            self.listeners.remove(key);
        })
    }

    /// Stops serving the ports of a container. Their sockets live on where they came from.
    pub(super) fn drop_owner(&mut self, core: &mut Core, flows: &mut Flows, owner: Key) {
        for key in self.listeners.keys_where(|listener| listener.owner == owner) {
            if let Some(listener) = self.listeners.remove(key) {
                core.reactor.remove(&*listener.socket);
                flows.drop_listener(core, key);
            }
        }
    }

    /// Clients wait at a TCP port.
    pub(super) fn on_clients(&mut self, core: &Core, relays: &mut Relays, key: Key) {
        let Some(listener) = self.listeners.get(key) else { return };
        for _ in 0..ACCEPTS_PER_TURN {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let (outside, peer) = match rustix::net::acceptfrom_with(&*listener.socket, flags) {
                Ok(accepted) => accepted,
                Err(error) if core.spare.turns_away(&*listener.socket, error) => continue,
                Err(_) => return,
            };
            let Some(client) = peer.and_then(|peer| SocketAddr::try_from(peer).ok()) else { continue };
            let port = listener.port.container_port;
            if !relays.has_room(listener.owner) {
                // Dropping it resets it.
                continue;
            }
            if let Ok((inside, owner)) = dial_inside(core, listener.owner, port, client, false) {
                relays.open_inward(&core.reactor, inside, outside, owner);
            }
        }
    }

    /// Datagrams wait at a UDP port.
    pub(super) fn on_datagrams(&mut self, core: &mut Core, flows: &mut Flows, key: Key) {
        if let Some(listener) = self.listeners.get(key) {
            flows.on_published(core, key, &listener.socket, (listener.owner, listener.port.container_port));
        }
    }
}

/// A socket in G that connects, or is connected, to a container's port, under the address of
/// `client` if the container can answer to that; and on which of its networks that is.
pub(super) fn dial_inside(
    core: &Core,
    member: Key,
    port: u16,
    client: SocketAddr,
    udp: bool,
) -> Result<(OwnedFd, Owner), Errno> {
    let client = SocketAddr::new(client.ip().to_canonical(), client.port());
    let (ip, has_way_out) =
        core.world.published_address(member, client.is_ipv6()).ok_or(Errno::HOSTUNREACH)?;
    let owner = core.owner_of(ip).ok_or(Errno::HOSTUNREACH)?;
    let target = SocketAddr::new(ip, port);
    let kind = Kind { v6: target.is_ipv6(), udp };
    if has_way_out && is_answerable(core, client.ip(), target.ip()) {
        // A client that uses one port for two published ports of the same container port comes
        // from another port the second time, as with NAT.
        for source in [client, SocketAddr::new(client.ip(), 0)] {
            let socket = core.pool.take(kind)?;
            if rustix::net::bind(&socket, &source).is_ok() && connect(&socket, target).is_ok() {
                return Ok((socket, owner));
            }
        }
    }
    let socket = core.pool.take(kind)?;
    connect(&socket, target)?;
    Ok((socket, owner))
}

/// Whether an answer to `client` would come to G.
fn is_answerable(core: &Core, client: IpAddr, target: IpAddr) -> bool {
    let link_local = matches!(client, IpAddr::V6(ip) if ip.is_unicast_link_local());
    client.is_ipv4() == target.is_ipv4()
        && !client.is_loopback()
        && !client.is_unspecified()
        && !link_local
        && !core.world.is_inside(client)
}

fn connect(socket: &OwnedFd, target: SocketAddr) -> Result<(), Errno> {
    match rustix::net::connect(socket, &target) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(()),
        Err(error) => Err(error),
    }
}
