//! ping: echo requests of containers, asked again by the host's own ping sockets.
//!
//! Whether the host lets its users ping decides `net.ipv4.ping_group_range`; if not, a container
//! learns that it is prohibited.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::core::{Core, reason};
use super::count::Count;
use super::reactor::{Interest, Source, Token};
use super::slab::{Key, Slab};
use super::world::{Owner, Verdict};
use crate::net::packet::{self, Flow, Unreachable};
use crate::sys::inet;

/// Conversations of one container; then the one that was idle longest goes.
const OWN_ECHOES: usize = 512;
const IDLE: Duration = Duration::from_secs(15);
const MSG_ERRQUEUE: u32 = 0x2000;

type Conversation = (IpAddr, IpAddr, u16);

#[derive(Debug)]
struct Echo {
    conversation: Conversation,
    socket: OwnedFd,
    target: SocketAddr,
    last: Instant,
    /// The latest request, as far as an error quotes it.
    request: [u8; 8],
    owner: Owner,
}

/// Who is pinging whom.
#[derive(Debug)]
pub(super) struct Echoes {
    slab: Slab<Echo>,
    by_conversation: HashMap<Conversation, Key>,
    own: Count,
    buffer: Vec<u8>,
}

impl Echoes {
    pub(super) fn new() -> Self {
        let (slab, by_conversation, own) = (Slab::new(), HashMap::new(), Count::default());
        Self { slab, by_conversation, own, buffer: vec![0; 65_536] }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// A container asks for an echo; `message` is the ICMP message.
    pub(super) fn on_request(
        &mut self,
        core: &mut Core,
        bridge: Key,
        (source, destination): (IpAddr, IpAddr),
        identifier: u16,
        message: &[u8],
    ) {
        let flow = Flow { inside: SocketAddr::new(source, 0), outside: SocketAddr::new(destination, 0) };
        let quote = || {
            let mut start = message[..8].to_vec();
            packet::icmp_packet(source, destination, &mut start)
        };
        let target = match core.verdict(Some(bridge), source, flow.outside) {
            Verdict::Ignore => return,
            Verdict::Refuse(why) => return core.refuse(flow, why, &quote()),
            // An echo of one family is not one of the other.
            Verdict::Dial(target) if target.is_ipv6() != destination.is_ipv6() => {
                return core.refuse(flow, Unreachable::Network, &quote());
            }
            Verdict::Dial(target) => target,
        };
        let conversation = (source, destination, identifier);
        match self.conversation(core, conversation, target) {
            Ok(key) => {
                let Some(echo) = self.slab.get_mut(key) else { return };
                echo.last = core.now;
                echo.request.copy_from_slice(&message[..8]);
                // An earlier error is reported instead of sending; its own event deals with it.
                if rustix::net::send(&echo.socket, message, SendFlags::empty()).is_err() {
                    rustix::net::send(&echo.socket, message, SendFlags::empty()).ok();
                }
            }
            Err(error) => {
                if let Some(why) = reason(error) {
                    core.refuse(flow, why, &quote());
                }
            }
        }
    }

    fn conversation(
        &mut self,
        core: &Core,
        conversation: Conversation,
        target: SocketAddr,
    ) -> Result<Key, Errno> {
        if let Some(key) = self.by_conversation.get(&conversation) {
            return Ok(*key);
        }
        let owner = core.owner_of(conversation.0).ok_or(Errno::HOSTUNREACH)?;
        if self.own.of(owner.member) >= OWN_ECHOES {
            self.remove_idlest(owner.member);
        }
        let v6 = target.is_ipv6();
        let socket = inet::ping_socket(v6)?;
        inet::set_receive_errors(&socket, v6)?;
        core.connect_outward(&socket, conversation.0, target)?;
        let echo = Echo { conversation, socket, target, last: core.now, request: [0; 8], owner };
        let key = self.slab.insert(echo);
        self.by_conversation.insert(conversation, key);
        self.own.more(owner.member);
        let socket = &self.slab.get(key).expect("just inserted").socket;
        let watched = core.reactor.add(socket, Interest::Read, Token::new(Source::Echo, key));
        watched.map(|()| key).inspect_err(|_| self.remove(key))
    }

    /// An echo came back, or an error.
    pub(super) fn on_reply(&mut self, core: &Core, key: Key) {
        let Some(echo) = self.slab.get_mut(key) else { return };
        let (inside, outside, identifier) = echo.conversation;
        loop {
            match rustix::net::recv(&echo.socket, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((got, _)) if got >= 8 => {
                    let message = &mut self.buffer[..got];
                    message[4..6].copy_from_slice(&identifier.to_be_bytes());
                    core.send_raw(packet::icmp_packet(outside, inside, message), inside);
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(error) => {
                    // The error's details wait in a queue of their own and count as "readable".
                    let queue = RecvFlags::from_bits_retain(MSG_ERRQUEUE);
                    while rustix::net::recv(&echo.socket, &mut self.buffer[..], queue).is_ok() {}
                    if let Some(why) = reason(error) {
                        let quote = packet::icmp_packet(inside, outside, &mut echo.request.clone());
                        let flow =
                            Flow { inside: SocketAddr::new(inside, 0), outside: SocketAddr::new(outside, 0) };
                        core.refuse(flow, why, &quote);
                    }
                    return;
                }
            }
        }
    }

    /// Forgets the conversation of a container that was idle for longest.
    fn remove_idlest(&mut self, container: Key) {
        let own = self.slab.iter().filter(|(_, echo)| echo.owner.member == container);
        if let Some((key, _)) = own.min_by_key(|(_, echo)| echo.last) {
            self.remove(key);
        }
    }

    /// Forgets conversations whose way out has changed with the host's network: the next request takes that of now.
    pub(super) fn drop_moved(&mut self, core: &Core) {
        let has_moved = |echo: &Echo| core.has_moved(&echo.socket, echo.conversation.0, echo.target);
        for key in self.slab.keys_where(has_moved) {
            self.remove(key);
        }
    }

    /// Forgets conversations that have ended.
    pub(super) fn expire(&mut self, now: Instant) {
        for key in self.slab.keys_where(|echo| now.duration_since(echo.last) > IDLE) {
            self.remove(key);
        }
    }

    /// Forgets the conversations of a container that is gone, or that has left the network of `bridge`.
    pub(super) fn drop_owner(&mut self, member: Key, bridge: Option<Key>) {
        for key in self.slab.keys_where(|echo| echo.owner.is(member, bridge)) {
            self.remove(key);
        }
    }

    fn remove(&mut self, key: Key) {
        if let Some(echo) = self.slab.remove(key) {
            self.by_conversation.remove(&echo.conversation);
            self.own.less(echo.owner.member);
        }
    }
}
