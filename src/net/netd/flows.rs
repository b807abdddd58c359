//! UDP: datagrams grouped into flows, each with a socket on both sides.
//!
//! ```text
//! out: container ─first datagram─▶ G's UDP listener ─▶ flow: inside (G, bound to the far address,
//!      connected to the container) ⇄ outside (host, connected to the far address)
//! in:  client ─▶ published socket (shared) ⇄ inside (G, bound to the client's address)
//! ```
//!
//! The packet filter gives a datagram to a connected socket alone. But it looks for the socket first, through all that
//! are bound to the far address, and then whether that is connected: one that is connected in between gets what another
//! container has sent there. With many flows to one address, and new ones at the same time, that is no rarity: 14 of 1200
//! datagrams in a test. Such strays go the way that they would have gone.
//!
//! A flow ends when nothing was sent for a while, like conntrack's: 30 s before the first answer,
//! 180 s after it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{SendFlags, SocketType};

use super::core::{Core, reason};
use super::dns::Dns;
use super::pool::{Kind, prepare_datagrams};
use super::reactor::{Interest, Source, Token};
use super::slab::{Key, Slab};
use super::world::{Owner, Verdict};
use crate::base::order::InOrder as _;
use crate::net::packet::{self, Flow};
use crate::sys::datagram::Batch;
use crate::sys::inet;

const UNANSWERED: Duration = Duration::from_secs(30);
const ANSWERED: Duration = Duration::from_secs(180);
/// A name is asked for and answered once per flow.
const NAME_QUERY: Duration = Duration::from_secs(10);
/// Flows of one container; then the quarter that was idle longest goes.
const MAX_FLOWS: u32 = 1024;

/// A published UDP port, as a flow sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Inward {
    pub(super) listener: Key,
    pub(super) client: SocketAddr,
    /// The host's address that the client sent to.
    pub(super) local: Option<IpAddr>,
}

#[derive(Debug)]
enum Outside {
    Own { socket: OwnedFd, flow: Flow, target: SocketAddr },
    Shared { socket: std::rc::Rc<OwnedFd>, inward: Inward },
}

#[derive(Debug)]
struct UdpFlow {
    inside: OwnedFd,
    /// The container's address, which `inside` is connected to.
    peer: SocketAddr,
    outside: Outside,
    owner: Owner,
    last: Instant,
    answered: bool,
}

impl UdpFlow {
    fn lifetime(&self) -> Duration {
        match &self.outside {
            Outside::Own { flow, .. } if flow.outside.port() == 53 => NAME_QUERY,
            _ if self.answered => ANSWERED,
            _ => UNANSWERED,
        }
    }

    /// Sends on what the container has sent.
    fn send_out(&mut self, core: &Core, batch: &Batch, slots: Range<usize>) {
        self.last = core.now;
        match &self.outside {
            Outside::Own { socket, flow, .. } => {
                if let Some(error) = batch.forward(socket, slots, None, None) {
                    refuse(core, *flow, error);
                }
            }
            Outside::Shared { socket, inward } => {
                self.answered = true;
                batch.forward(&**socket, slots, Some(inward.client), inward.local);
            }
        }
    }
}

/// What has come to a socket that is connected to `peer` from others: whose it is, and where to.
fn strays(batch: &Batch, count: usize, socket: &OwnedFd, peer: SocketAddr) -> Vec<(Flow, Vec<u8>)> {
    let Some(outside) = super::core::local_address(socket) else { return Vec::new() };
    let others = (0..count).map(|i| batch.get(i)).filter_map(|got| Some((got.source?, got)));
    let others = others.filter(|(source, _)| *source != peer);
    let parts = others.flat_map(|(source, got)| got.parts().into_iter().map(move |part| (source, part)));
    parts.map(|(inside, part)| (Flow { inside, outside }, part.to_vec())).collect()
}

/// All flows.
#[derive(Debug)]
pub(super) struct Flows {
    slab: Slab<UdpFlow>,
    outward: HashMap<Flow, Key>,
    inward: HashMap<Inward, Key>,
    batch: Batch,
}

impl Flows {
    pub(super) fn new() -> Self {
        Self { slab: Slab::new(), outward: HashMap::new(), inward: HashMap::new(), batch: Batch::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// Datagrams to addresses elsewhere wait at G's listener.
    pub(super) fn on_listener(&mut self, core: &mut Core, dns: &mut Dns, listener: usize) {
        let Some(socket) = core.sockets.udp.get(listener) else { return };
        let Ok(count) = self.batch.receive(socket) else { return };
        for i in 0..count {
            let datagram = self.batch.get(i);
            let (Some(inside), Some(outside)) = (datagram.source, datagram.destination) else { continue };
            let bridge = core.world.bridge_of_link(datagram.interface);
            let flow = Flow { inside, outside };
            if dns.on_query_elsewhere(core, bridge, flow, datagram.bytes) {
                continue;
            }
            match self.outward_flow(core, bridge, flow) {
                Ok(Some(key)) => self.send_outward(core, key, i),
                Ok(None) => {}
                Err(error) => refuse(core, flow, error),
            }
        }
    }

    fn outward_flow(
        &mut self,
        core: &mut Core,
        bridge: Option<Key>,
        flow: Flow,
    ) -> Result<Option<Key>, Errno> {
        if let Some(key) = self.outward.get(&flow) {
            return Ok(Some(*key));
        }
        let target = match core.verdict(bridge, flow.inside.ip(), flow.outside) {
            Verdict::Dial(target) => target,
            Verdict::Ignore => return Ok(None),
            Verdict::Refuse(why) => {
                core.refuse(flow, why, &packet::udp_quote(flow));
                return Ok(None);
            }
        };
        let Some(owner) = core.owner_of(flow.inside.ip()) else { return Ok(None) };
        self.make_room(core, owner.member);
        let outside = inet::socket(target.is_ipv6(), SocketType::DGRAM)?;
        prepare_datagrams(&outside);
        core.connect_outward(&outside, flow.inside.ip(), target)?;
        let inside = core.pool.take(Kind { v6: flow.outside.is_ipv6(), udp: true })?;
        rustix::net::bind(&inside, &flow.outside)?;
        rustix::net::connect(&inside, &flow.inside)?;
        let key = self.insert(
            core,
            UdpFlow {
                inside,
                peer: flow.inside,
                outside: Outside::Own { socket: outside, flow, target },
                owner,
                last: core.now,
                answered: false,
            },
        )?;
        self.outward.insert(flow, key);
        Ok(Some(key))
    }

    fn insert(&mut self, core: &mut Core, flow: UdpFlow) -> Result<Key, Errno> {
        let owner = flow.owner.member;
        let key = self.slab.insert(flow);
        if let Some(member) = core.world.members.get_mut(owner) {
            member.flows += 1;
        }
        let flow = self.slab.get(key).expect("just inserted");
        let watched = core
            .reactor
            .add(&flow.inside, Interest::Read, Token::new(Source::FlowInside, key))
            .and_then(|()| match &flow.outside {
                Outside::Own { socket, .. } => {
                    core.reactor.add(socket, Interest::Read, Token::new(Source::FlowOutside, key))
                }
                Outside::Shared { .. } => Ok(()),
            });
        if let Err(error) = watched {
            self.remove(core, key);
            return Err(error);
        }
        Ok(key)
    }

    fn send_outward(&mut self, core: &Core, key: Key, slot: usize) {
        let Some(udp) = self.slab.get_mut(key) else { return };
        udp.last = core.now;
        if let Outside::Own { socket, flow, .. } = &udp.outside
            && let Some(error) = self.batch.forward(socket, slot..slot + 1, None, None)
        {
            refuse(core, *flow, error);
        }
    }

    /// The container has sent.
    pub(super) fn on_inside(&mut self, core: &mut Core, dns: &mut Dns, key: Key) {
        let Some(udp) = self.slab.get_mut(key) else { return };
        // An ICMP error of the container (port closed) is of no use to a far side behind a proxy.
        let Ok(count) = self.batch.receive(&udp.inside) else { return };
        let peer = Some(udp.peer);
        let is_own = |i: &usize| self.batch.get(*i).source == peer;
        if (0..count).all(|i| is_own(&i)) {
            return udp.send_out(core, &self.batch, 0..count);
        }
        (0..count).filter(is_own).for_each(|i| udp.send_out(core, &self.batch, i..i + 1));
        for (flow, datagram) in strays(&self.batch, count, &udp.inside, udp.peer) {
            self.on_stray(core, dns, flow, &datagram);
        }
    }

    /// Sends a datagram that came to the socket of another flow where it belongs.
    pub(super) fn on_stray(&mut self, core: &mut Core, dns: &mut Dns, flow: Flow, datagram: &[u8]) {
        // The packet filter has let it pass by the link of its source only.
        let bridge = core.owner_of(flow.inside.ip()).map(|owner| owner.bridge);
        if dns.on_query_elsewhere(core, bridge, flow, datagram) {
            return;
        }
        let sent = self.outward_flow(core, bridge, flow).and_then(|key| {
            let Some(udp) = key.and_then(|key| self.slab.get_mut(key)) else { return Ok(0) };
            udp.last = core.now;
            let Outside::Own { socket, .. } = &udp.outside else { return Ok(0) };
            rustix::net::send(socket, datagram, SendFlags::NOSIGNAL)
        });
        if let Err(error) = sent {
            refuse(core, flow, error);
        }
    }

    /// The far side has sent.
    pub(super) fn on_outside(&mut self, core: &Core, key: Key) {
        let Some(udp) = self.slab.get_mut(key) else { return };
        let Outside::Own { socket, flow, .. } = &udp.outside else { return };
        match self.batch.receive(socket) {
            Ok(count) => {
                udp.last = core.now;
                udp.answered = true;
                self.batch.forward(&udp.inside, 0..count, None, None);
            }
            Err(error) => refuse(core, *flow, error),
        }
    }

    /// Datagrams for a published port wait at its socket.
    pub(super) fn on_published(
        &mut self,
        core: &mut Core,
        listener: Key,
        socket: &std::rc::Rc<OwnedFd>,
        (owner, port): (Key, u16),
    ) {
        let Ok(count) = self.batch.receive(&**socket) else { return };
        for i in 0..count {
            let datagram = self.batch.get(i);
            let Some(client) = datagram.source else { continue };
            let local = datagram.destination.map(|to| to.ip());
            let inward = Inward { listener, client, local };
            let key = match self.inward.get(&inward) {
                Some(key) => Some(*key),
                None => self.inward_flow(core, inward, socket, (owner, port)),
            };
            let Some(udp) = key.and_then(|key| self.slab.get_mut(key)) else { continue };
            udp.last = core.now;
            self.batch.forward(&udp.inside, i..i + 1, None, None);
        }
    }

    fn inward_flow(
        &mut self,
        core: &mut Core,
        inward: Inward,
        socket: &std::rc::Rc<OwnedFd>,
        (member, port): (Key, u16),
    ) -> Option<Key> {
        self.make_room(core, member);
        let (inside, owner) = super::publish::dial_inside(core, member, port, inward.client, true).ok()?;
        let outside = Outside::Shared { socket: std::rc::Rc::clone(socket), inward };
        let peer = rustix::net::getpeername(&inside).ok().flatten()?.try_into().ok()?;
        let flow = UdpFlow { inside, peer, outside, owner, last: core.now, answered: false };
        let key = self.insert(core, flow).ok()?;
        self.inward.insert(inward, key);
        Some(key)
    }

    /// Ends flows whose way out has changed with the host's network: what is sent next takes that of now.
    pub(super) fn drop_moved(&mut self, core: &mut Core) {
        let has_moved = |udp: &UdpFlow| match &udp.outside {
            Outside::Own { socket, flow, target } => core.has_moved(socket, flow.inside.ip(), *target),
            Outside::Shared { .. } => false,
        };
        for key in self.slab.keys_where(has_moved) {
            self.remove(core, key);
        }
    }

    /// Ends idle flows.
    pub(super) fn expire(&mut self, core: &mut Core) {
        let now = core.now;
        for key in self.slab.keys_where(|flow| now.duration_since(flow.last) > flow.lifetime()) {
            self.remove(core, key);
        }
    }

    /// Ends the flows of a container that is gone, or that has left the network of `bridge`.
    pub(super) fn drop_owner(&mut self, core: &mut Core, member: Key, bridge: Option<Key>) {
        for key in self.slab.keys_where(|flow| flow.owner.is(member, bridge)) {
            self.remove(core, key);
        }
    }

    /// Ends the flows through a published port that is gone.
    pub(super) fn drop_listener(&mut self, core: &mut Core, listener: Key) {
        let of = |flow: &UdpFlow| matches!(&flow.outside, Outside::Shared { inward, .. } if inward.listener == listener);
        for key in self.slab.keys_where(of) {
            self.remove(core, key);
        }
    }

    /// Makes sure that a container may have one more flow.
    fn make_room(&mut self, core: &mut Core, owner: Key) {
        if core.world.members.get(owner).is_none_or(|member| member.flows < MAX_FLOWS) {
            return;
        }
        let mut own: Vec<(Instant, Key)> = self
            .slab
            .iter()
            .filter(|(_, flow)| flow.owner.member == owner)
            .map(|(key, flow)| (flow.last, key))
            .collect();
        own.order();
        let quarter = own.len() / 4 + 1;
        for (_, key) in own.into_iter().take(quarter) {
            self.remove(core, key);
        }
    }

    fn remove(&mut self, core: &mut Core, key: Key) {
        let Some(flow) = self.slab.remove(key) else { return };
        match &flow.outside {
            Outside::Own { flow, .. } => self.outward.remove(flow),
            Outside::Shared { inward, .. } => self.inward.remove(inward),
        };
        if let Some(member) = core.world.members.get_mut(flow.owner.member) {
            member.flows = member.flows.saturating_sub(1);
        }
    }
}

/// Tells the container that its datagrams do not arrive.
fn refuse(core: &Core, flow: Flow, error: Errno) {
    if let Some(why) = reason(error) {
        core.refuse(flow, why, &packet::udp_quote(flow));
    }
}
