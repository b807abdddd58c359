//! Connections that containers open: the SYN is held until the far side has answered.
//!
//! ```text
//! container ──SYN──▶ packet socket ─▶ hold it, connect() from the host
//!                                       ├─ refused      ─▶ RST
//!                                       ├─ unreachable  ─▶ ICMP
//!                                       ├─ no answer    ─▶ nothing
//!                                       └─ connected    ─▶ re-inject the SYN; G's listener accepts
//!                                                          it under the far side's address: relay
//! ```
//!
//! So a container learns of its connection what it would learn without a proxy, when it would.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SocketFlags, SocketType, sockopt};

use super::core::{Core, reason};
use super::echo::Echoes;
use super::parts::Parts;
use super::pool::prepare_stream;
use super::reactor::{Interest, Source, Token};
use super::relay::Relays;
use super::slab::{Key, Slab};
use super::world::{Owner, Verdict};
use crate::net::packet::{self, Captured, Flow};
use crate::sys::inet;

/// Packets taken from a packet socket per event.
const PACKETS_PER_TURN: usize = 64;
const ACCEPTS_PER_TURN: usize = 64;
/// Connections one container may be dialling at a time; further SYNs wait for their repetition.
const MAX_DIALS: u32 = 1024;
/// A connection that was dialled but that the container no longer wants is closed after this.
const UNCLAIMED: Duration = Duration::from_secs(20);

/// So much later than it was due, a repetition of a SYN does not come any more.
const MISSING: Duration = Duration::from_secs(4);

#[derive(Debug)]
struct Held {
    flow: Flow,
    sequence: u32,
    syn: Vec<u8>,
    dialled: OwnedFd,
    /// When the SYN was re-injected, if it was.
    injected: Option<Instant>,
    /// When the container has sent its SYN, first and last.
    first_syn: Instant,
    last_syn: Instant,
    owner: Owner,
}

/// Connections on their way out.
#[derive(Debug)]
pub(super) struct Outbound {
    held: Slab<Held>,
    by_flow: HashMap<Flow, Key>,
    parts: Parts,
    buffer: Vec<u8>,
}

impl Outbound {
    pub(super) fn new() -> Self {
        let parts = Parts::default();
        Self { held: Slab::new(), by_flow: HashMap::new(), parts, buffer: vec![0; 65_536] }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.parts.is_empty()
    }

    /// Packets wait at a packet socket of a bridge.
    pub(super) fn on_capture(&mut self, core: &mut Core, echoes: &mut Echoes, bridge: Key) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let sockets = core.world.bridges.get(bridge).map_or(0, |bridge| bridge.captures.len());
        for socket in 0..sockets {
            for _ in 0..PACKETS_PER_TURN {
                let Some(of) = core.world.bridges.get(bridge) else { break };
                let Ok((got, _)) =
                    rustix::net::recv(&of.captures[socket], &mut buffer[..], RecvFlags::empty())
                else {
                    break;
                };
                match packet::parse(&buffer[..got]) {
                    Some(Captured::Syn { flow, sequence }) => {
                        self.on_syn(core, bridge, flow, sequence, &buffer[..got]);
                    }
                    Some(Captured::Echo { source, destination, identifier, message }) => {
                        echoes.on_request(core, bridge, (source, destination), identifier, message);
                    }
                    Some(Captured::Part { source, destination, place, bytes }) => {
                        let owner = core.owner_of(source).filter(|owner| owner.bridge == bridge);
                        let Some(owner) = owner else { continue };
                        let ends = (source, destination);
                        let whole = self.parts.add(owner.member, ends, place, bytes, core.now);
                        let whole = whole.unwrap_or_default();
                        if let Some(identifier) = packet::echo_identifier(source.is_ipv6(), &whole) {
                            echoes.on_request(core, bridge, ends, identifier, &whole);
                        }
                    }
                    None => {}
                }
            }
        }
        self.buffer = buffer;
    }

    fn on_syn(&mut self, core: &mut Core, bridge: Key, flow: Flow, sequence: u32, packet: &[u8]) {
        if let Some(key) = self.by_flow.get(&flow).copied() {
            match self.held.get_mut(key) {
                // Dialling still; or the re-injected SYN was lost on the way.
                Some(held) if held.sequence == sequence => {
                    held.last_syn = core.now;
                    if held.injected.is_some() {
                        core.inject(&held.syn, flow.outside.ip());
                    }
                    return;
                }
                // The container gave up and begins anew from the same port.
                _ => self.forget(core, key),
            }
        }
        match core.verdict(Some(bridge), flow.inside.ip(), flow.outside) {
            Verdict::Ignore => {}
            Verdict::Refuse(why) => core.refuse(flow, why, packet),
            Verdict::Dial(target) => {
                if let Err(error) = self.dial(core, flow, sequence, packet, target) {
                    give_up(core, flow, sequence, packet, error);
                }
            }
        }
    }

    fn dial(
        &mut self,
        core: &mut Core,
        flow: Flow,
        sequence: u32,
        packet: &[u8],
        target: SocketAddr,
    ) -> Result<(), Errno> {
        let Some(owner) = core.owner_of(flow.inside.ip()) else { return Ok(()) };
        if core.world.members.get(owner.member).is_none_or(|member| member.dials >= MAX_DIALS) {
            return Ok(());
        }
        let socket = inet::socket(target.is_ipv6(), SocketType::STREAM)?;
        prepare_stream(&socket)?;
        match core.connect_outward(&socket, flow.inside.ip(), target) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error),
        }
        if let Some(member) = core.world.members.get_mut(owner.member) {
            member.dials += 1;
        }
        let mut syn = packet.to_vec();
        packet::complete_checksum(&mut syn);
        let (first_syn, last_syn) = (core.now, core.now);
        let held = Held { flow, sequence, syn, dialled: socket, injected: None, first_syn, last_syn, owner };
        let key = self.held.insert(held);
        self.by_flow.insert(flow, key);
        let socket = &self.held.get(key).expect("just inserted").dialled;
        core.reactor.add(socket, Interest::Edges, Token::new(Source::Dial, key))
    }

    /// A dialled connection was made, or not.
    pub(super) fn on_dial(&mut self, core: &mut Core, key: Key) {
        let now = core.now;
        let Some(held) = self.held.get_mut(key) else { return };
        if held.injected.is_some() {
            // Data, or the end, has come before the container's side was accepted: it will keep.
            return;
        }
        match sockopt::socket_error(&held.dialled) {
            Ok(Ok(())) => {
                held.injected = Some(now);
                core.inject(&held.syn, held.flow.outside.ip());
            }
            Ok(Err(error)) | Err(error) => {
                let Some(held) = self.take(core, key) else { return };
                give_up(core, held.flow, held.sequence, &held.syn, error);
            }
        }
    }

    /// Re-injected SYNs have become connections.
    pub(super) fn on_accept(&mut self, core: &mut Core, relays: &mut Relays, listener: usize) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(socket) = core.sockets.tcp.get(listener) else { return };
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let accepted = match rustix::net::acceptfrom_with(socket, flags) {
                Ok((accepted, Some(peer))) => Some(accepted).zip(SocketAddr::try_from(peer).ok()),
                Ok(_) => None,
                Err(error) if core.spare.turns_away(socket, error) => None,
                Err(_) => return,
            };
            let Some((inside, peer)) = accepted else { continue };
            let local = super::core::local_address(&inside);
            let Some(flow) = local.map(|local| Flow { inside: plain(peer), outside: plain(local) }) else {
                continue;
            };
            let Some(key) = self.by_flow.get(&flow).copied() else { continue };
            if let Some(held) = self.take(core, key) {
                relays.open(&core.reactor, inside, held.dialled, held.owner);
            }
        }
    }

    /// Closes connections that nobody took, and those that nobody waits for any more.
    pub(super) fn expire(&mut self, core: &mut Core) {
        let old = |held: &Held| match held.injected {
            Some(at) => core.now.duration_since(at) > UNCLAIMED,
            None => is_given_up(held.last_syn - held.first_syn, core.now - held.last_syn),
        };
        for key in self.held.keys_where(old) {
            self.forget(core, key);
        }
        self.parts.expire(core.now);
    }

    /// Closes what a container that is gone, or has left the network of `bridge`, was dialling.
    pub(super) fn drop_owner(&mut self, core: &mut Core, member: Key, bridge: Option<Key>) {
        for key in self.held.keys_where(|held| held.owner.is(member, bridge)) {
            self.forget(core, key);
        }
    }

    fn take(&mut self, core: &mut Core, key: Key) -> Option<Held> {
        let held = self.held.remove(key)?;
        self.by_flow.remove(&held.flow);
        if let Some(member) = core.world.members.get_mut(held.owner.member) {
            member.dials -= 1;
        }
        Some(held)
    }

    fn forget(&mut self, core: &mut Core, key: Key) {
        drop(self.take(core, key));
    }
}

/// Whether a container that has repeated its SYN for `repeated` and been silent for `silent` since does not wait any more:
/// after 1, 3, 7 … seconds comes the next one, each time about twice as late.
fn is_given_up(repeated: Duration, silent: Duration) -> bool {
    silent > repeated * 2 + MISSING
}

/// Without flow label and scope, which the captured packet did not bring.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port())
}

/// Tells the container why there is no connection, as the network would have.
fn give_up(core: &Core, flow: Flow, sequence: u32, original: &[u8], error: Errno) {
    match error {
        Errno::CONNREFUSED | Errno::CONNRESET => {
            core.send_raw(packet::reset(flow, sequence), flow.inside.ip());
        }
        // Of others nothing is told: nobody answered (ETIMEDOUT), or netd is out of descriptors. The container tries again.
        other => {
            if let Some(why) = reason(other) {
                core.refuse(flow, why, original);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_still_repeats_its_syn_is_waited_for() {
        // As Linux does it: doubled from the start, or after four seconds of one each.
        let doubled = [0, 1, 3, 7, 15, 31, 63, 127];
        let linear = [0, 1, 2, 3, 4, 5, 7, 11, 19, 35, 67];
        for times in [&doubled[..], &linear] {
            for pair in times.windows(2) {
                let (repeated, next) = (Duration::from_secs(pair[0]), Duration::from_secs(pair[1]));
                assert!(!is_given_up(repeated, next - repeated), "{pair:?}");
            }
        }
        assert!(is_given_up(Duration::ZERO, Duration::from_secs(5)), "a connect that was given up at once");
        assert!(is_given_up(Duration::from_secs(3), Duration::from_secs(11)));
    }
}
