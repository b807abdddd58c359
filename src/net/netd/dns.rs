//! The name server of each network, at the gateway's address: UDP, TCP, and queries passed on.
//!
//! ```text
//! container ─▶ gateway:53 (G) ─▶ net::dns::answer ─┬─▶ reply
//!                                                  └─▶ socket in the host's namespace ─▶ server
//!                                                      (in G, to one that is a container)
//!                                                        the next after 1 s, twice around; the answer
//!                                                        of any, for 5 s after the last was asked
//! ```
//!
//! A container that asks a server that was named for it (`--dns`) is answered in that server's place, so that it finds
//! the other containers all the same.
//!
//! A query over UDP is passed on over UDP, one over TCP over TCP; a truncated answer is passed back,
//! and the container's resolver asks again over TCP.

mod upstream;
mod view;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags};

use self::upstream::{Target, Upstream};
use self::view::View;
use super::core::Core;
use super::count::Count;
use super::pool::Kind;
use super::reactor::{Event, Interest, Source, Token};
use super::slab::{Key, Slab};
use super::world::World;
use crate::net::dns::resolv_conf::Watched;
use crate::net::dns::{self, Answer};
use crate::net::network::DEFAULT_NETWORK;
use crate::net::packet::Flow;
use crate::sys::inet;

/// How exactly timeouts are kept.
pub(super) const TICK: Duration = Duration::from_millis(200);
/// How long a server has before the next one is asked.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long the answer of any of them is waited for once all were asked.
const LAST_PATIENCE: Duration = Duration::from_secs(5);
/// How often each server is asked.
const ROUNDS: usize = 2;
/// Queries under way and connections, of one container and of all.
const OWN_PENDING: usize = 256;
const MAX_PENDING: usize = 4096;
const OWN_STREAMS: usize = 32;
const MAX_STREAMS: usize = 1024;
const STREAM_IDLE: Duration = Duration::from_secs(10);
const QUERIES_PER_TURN: usize = 32;
/// How long a socket stands in for a server elsewhere after a query, and how many may.
const STAND_IN: Duration = Duration::from_secs(10);
const MAX_STAND_INS: usize = 256;
const UDP_BYTES: usize = 65_535;

#[derive(Debug)]
struct Server {
    socket: OwnedFd,
    bridge: Key,
    /// Of one that stands in for a server elsewhere: for whom, and when it was asked last.
    stands_in: Option<(Flow, Instant)>,
}

/// Who asked.
#[derive(Clone, Copy, Debug)]
enum Client {
    Datagram { server: Key, address: SocketAddr },
    Stream(Key),
}

/// A query that was passed on.
#[derive(Debug)]
struct Pending {
    client: Client,
    /// The container.
    asker: Key,
    query: Vec<u8>,
    servers: Vec<Target>,
    /// Which of `servers`, counted on through the rounds.
    attempt: usize,
    /// The servers asked so far that may answer yet, the latest last.
    asked: Vec<Upstream>,
    /// What a server has said that did not know, for want of better.
    failure: Option<Vec<u8>>,
    begun: Instant,
    /// When the next one is asked; after the last, when all is given up.
    deadline: Instant,
}

/// A TCP connection of a container.
#[derive(Debug)]
struct Stream {
    socket: OwnedFd,
    bridge: Key,
    /// The container.
    asker: Key,
    peer: IpAddr,
    received: Vec<u8>,
    last: Instant,
    /// A query of it is under way; the next one waits.
    busy: bool,
    /// No more queries come: it goes with the answer to the last.
    ended: bool,
}

/// All name servers.
#[derive(Debug)]
pub(super) struct Dns {
    servers: Slab<Server>,
    /// Those of `servers` that stand in for one elsewhere.
    stand_ins: HashMap<Flow, Key>,
    listeners: Slab<Server>,
    streams: Slab<Stream>,
    pending: Slab<Pending>,
    /// Connections whose query has failed: the next one of each can be taken up.
    freed: Vec<Key>,
    /// How much of `pending` and `streams` belongs to whom.
    own_pending: Count,
    own_streams: Count,
    host: Watched,
    buffer: Vec<u8>,
}

impl Dns {
    pub(super) fn new(resolv_conf: PathBuf) -> Self {
        Self {
            servers: Slab::new(),
            stand_ins: HashMap::new(),
            listeners: Slab::new(),
            streams: Slab::new(),
            pending: Slab::new(),
            freed: Vec::new(),
            own_pending: Count::default(),
            own_streams: Count::default(),
            host: Watched::new(resolv_conf),
            buffer: vec![0; UDP_BYTES],
        }
    }

    /// Whether nothing is under way that time could end.
    pub(super) fn is_quiet(&self) -> bool {
        self.pending.is_empty() && self.streams.is_empty()
    }

    /// Whether there are sockets that stand in for servers elsewhere, until nobody asks them.
    pub(super) fn stands_in(&self) -> bool {
        !self.stand_ins.is_empty()
    }

    /// Serves a new bridge.
    pub(super) fn open(&mut self, core: &Core, bridge: Key, udp: Vec<OwnedFd>, tcp: Vec<OwnedFd>) {
        let tables =
            [(udp, &mut self.servers, Source::DnsUdp), (tcp, &mut self.listeners, Source::DnsListener)];
        for (sockets, table, source) in tables {
            for socket in sockets {
                let key = table.insert(Server { socket, bridge, stands_in: None });
                let socket = &table.get(key).expect("just inserted").socket;
                if core.reactor.add(socket, Interest::Read, Token::new(source, key)).is_err() {
                    table.remove(key);
                }
            }
        }
    }

    /// Stops serving a bridge.
    pub(super) fn close(&mut self, bridge: Key) {
        for key in self.servers.keys_where(|server| server.bridge == bridge) {
            self.remove_server(key);
        }
        for key in self.listeners.keys_where(|server| server.bridge == bridge) {
            self.listeners.remove(key);
        }
        for key in self.streams.keys_where(|stream| stream.bridge == bridge) {
            self.remove_stream(key);
        }
    }

    fn remove_stream(&mut self, key: Key) {
        if let Some(stream) = self.streams.remove(key) {
            self.own_streams.less(stream.asker);
        }
    }

    fn remove_pending(&mut self, key: Key) -> Option<Pending> {
        let pending = self.pending.remove(key)?;
        self.own_pending.less(pending.asker);
        Some(pending)
    }

    fn remove_server(&mut self, key: Key) {
        if let Some((flow, _)) = self.servers.remove(key).and_then(|server| server.stands_in) {
            self.stand_ins.remove(&flow);
        }
    }

    /// Answers a datagram of a container to a server elsewhere if that was named for it; says whether it was.
    pub(super) fn on_query_elsewhere(
        &mut self,
        core: &Core,
        bridge: Option<Key>,
        flow: Flow,
        query: &[u8],
    ) -> bool {
        let Some(bridge) = bridge.filter(|bridge| is_named_server(&core.world, *bridge, flow)) else {
            return false;
        };
        let server = match self.stand_ins.get(&flow) {
            Some(key) => *key,
            None => match self.stand_in(core, bridge, flow) {
                Some(key) => key,
                // It is asked itself, like any other.
                None => return false,
            },
        };
        let client = Client::Datagram { server, address: flow.inside };
        self.on_query(core, bridge, flow.inside.ip(), query.to_vec(), client);
        true
    }

    /// A socket under the address of a server elsewhere, for one port of one container.
    fn stand_in(&mut self, core: &Core, bridge: Key, flow: Flow) -> Option<Key> {
        if self.stand_ins.len() >= MAX_STAND_INS {
            return None;
        }
        let socket = core.pool.take(Kind { v6: flow.outside.is_ipv6(), udp: true }).ok()?;
        // Each query by itself.
        inet::set_udp_gro(&socket, false).ok()?;
        rustix::net::bind(&socket, &flow.outside).ok()?;
        rustix::net::connect(&socket, &flow.inside).ok()?;
        let key = self.servers.insert(Server { socket, bridge, stands_in: Some((flow, core.now)) });
        self.stand_ins.insert(flow, key);
        let socket = &self.servers.get(key).expect("just inserted").socket;
        if core.reactor.add(socket, Interest::Read, Token::new(Source::DnsUdp, key)).is_err() {
            self.remove_server(key);
            return None;
        }
        Some(key)
    }

    /// Queries wait at a UDP socket. Returns what has come from others to one that stands in, as to those of flows.
    pub(super) fn on_datagram(&mut self, core: &Core, server: Key) -> Vec<(Flow, Vec<u8>)> {
        let mut strays = Vec::new();
        for _ in 0..QUERIES_PER_TURN {
            let Some(of) = self.servers.get_mut(server) else { break };
            let received = rustix::net::recvfrom(&of.socket, &mut self.buffer[..], RecvFlags::empty());
            let Ok((got, _, from)) = received else { break };
            let Some(address) = from.and_then(|from| SocketAddr::try_from(from).ok()) else { continue };
            let (bridge, query) = (of.bridge, self.buffer[..got].to_vec());
            if let Some((flow, last)) = &mut of.stands_in {
                if flow.inside != address {
                    strays.push((Flow { inside: address, ..*flow }, query));
                    continue;
                }
                *last = core.now;
            }
            self.on_query(core, bridge, address.ip(), query, Client::Datagram { server, address });
        }
        strays
    }

    /// A container connects.
    pub(super) fn on_client(&mut self, core: &Core, listener: Key) {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        while let Some(of) = self.listeners.get(listener) {
            let (bridge, accepted) = (of.bridge, rustix::net::acceptfrom_with(&of.socket, flags));
            let (socket, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) if core.spare.turns_away(&of.socket, error) => continue,
                Err(_) => return,
            };
            let Some(peer) = peer.and_then(|peer| SocketAddr::try_from(peer).ok()) else { continue };
            // A container's own connections make room for its next, and nobody else's.
            let Some(asker) = asker(core, bridge, peer.ip()) else { continue };
            if self.own_streams.of(asker) >= OWN_STREAMS {
                self.close_idlest(asker);
            }
            if self.streams.len() >= MAX_STREAMS {
                continue;
            }
            let stream = Stream {
                socket,
                bridge,
                asker,
                peer: peer.ip(),
                received: Vec::new(),
                last: core.now,
                busy: false,
                ended: false,
            };
            let key = self.streams.insert(stream);
            self.own_streams.more(asker);
            let socket = &self.streams.get(key).expect("just inserted").socket;
            if core.reactor.add(socket, Interest::Read, Token::new(Source::DnsTcp, key)).is_err() {
                self.remove_stream(key);
            }
        }
    }

    /// Closes the connection of a container that has been idle for longest.
    fn close_idlest(&mut self, asker: Key) {
        let own = self.streams.iter().filter(|(_, stream)| stream.asker == asker);
        if let Some((key, _)) = own.min_by_key(|(_, stream)| (stream.busy, stream.last)) {
            self.remove_stream(key);
        }
    }

    /// A container's connection has something to read.
    pub(super) fn on_stream(&mut self, core: &Core, key: Key, _event: Event) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        match rustix::net::recv(&stream.socket, &mut self.buffer[..], RecvFlags::empty()) {
            Ok((got, _)) if got > 0 && stream.received.len() < 2 * UDP_BYTES => {
                stream.received.extend_from_slice(&self.buffer[..got]);
                stream.last = core.now;
            }
            Err(Errno::AGAIN | Errno::INTR) => return,
            Ok((0, _)) => {
                // What it has asked for is answered still. The end would be reported again and again.
                stream.ended = true;
                core.reactor.remove(&stream.socket);
            }
            // An error, or far more than it should send at once.
            _ => return self.remove_stream(key),
        }
        self.next_query(core, key);
    }

    /// Takes up the next query of a connection, unless one is under way.
    fn next_query(&mut self, core: &Core, key: Key) {
        while let Some(stream) = self.streams.get_mut(key).filter(|stream| !stream.busy) {
            let Some(query) = take_message(&mut stream.received) else {
                if stream.ended {
                    self.remove_stream(key);
                }
                return;
            };
            stream.busy = true;
            let (bridge, peer) = (stream.bridge, stream.peer);
            self.on_query(core, bridge, peer, query, Client::Stream(key));
        }
    }

    fn on_query(&mut self, core: &Core, bridge: Key, from: IpAddr, query: Vec<u8>, client: Client) {
        let (Some(view), Some(asker)) = (View::of(&core.world, bridge, from), asker(core, bridge, from))
        else {
            return self.release(client);
        };
        let stream = matches!(client, Client::Stream(_));
        let mut servers = Vec::new();
        let may_forward = || {
            servers = view.servers(self.host.servers());
            view.may_forward || !servers.is_empty()
        };
        match dns::answer(&query, &view, may_forward, stream) {
            Answer::Reply(reply) => self.reply(client, &reply),
            Answer::Drop => self.release(client),
            Answer::Forward => self.forward(core, (client, asker), query, servers),
        }
    }

    /// There is nothing to say to a client: what it asks next can be taken up.
    fn release(&mut self, client: Client) {
        if let Client::Stream(key) = client
            && let Some(stream) = self.streams.get_mut(key)
        {
            stream.busy = false;
        }
    }

    fn reply(&mut self, client: Client, reply: &[u8]) {
        match client {
            Client::Datagram { server, address } => {
                if let Some(server) = self.servers.get(server) {
                    // Lost like any datagram if it cannot be sent now.
                    rustix::net::sendto(&server.socket, reply, SendFlags::NOSIGNAL, &address).ok();
                }
            }
            Client::Stream(key) => {
                let Some(stream) = self.streams.get_mut(key) else { return };
                stream.busy = false;
                let message = with_length(reply);
                let sent = rustix::net::send(&stream.socket, &message, SendFlags::NOSIGNAL);
                // A resolver that does not read its answers is not waited for.
                if sent != Ok(message.len()) {
                    self.remove_stream(key);
                }
            }
        }
    }

    fn forward(&mut self, core: &Core, (client, asker): (Client, Key), query: Vec<u8>, servers: Vec<Target>) {
        if self.own_pending.of(asker) >= OWN_PENDING {
            self.fail_oldest(asker);
        }
        if self.pending.len() >= MAX_PENDING {
            return self.fail(client, &query, None);
        }
        let key = self.pending.insert(Pending {
            client,
            asker,
            query,
            servers,
            attempt: 0,
            asked: Vec::new(),
            failure: None,
            begun: core.now,
            deadline: core.now + PATIENCE,
        });
        self.own_pending.more(asker);
        self.ask(core, key);
    }

    /// Gives up the query of a container that has waited for longest: nobody else's makes room for its next.
    fn fail_oldest(&mut self, asker: Key) {
        let own = self.pending.iter().filter(|(_, pending)| pending.asker == asker);
        let oldest = own.min_by_key(|(_, pending)| pending.begun).map(|(key, _)| key);
        if let Some(pending) = oldest.and_then(|key| self.remove_pending(key)) {
            self.fail(pending.client, &pending.query, pending.failure);
        }
    }

    /// Asks the server whose turn it is, or the next one that can be asked at all. Once all were asked, those that have
    /// not answered are waited for.
    fn ask(&mut self, core: &Core, key: Key) {
        let Some(pending) = self.pending.get_mut(key) else { return };
        let tried = pending.attempt;
        while pending.attempt < pending.servers.len() * ROUNDS {
            let server = pending.servers[pending.attempt % pending.servers.len()];
            let stream = matches!(pending.client, Client::Stream(_));
            let token = Token::new(Source::DnsUpstream, key);
            pending.attempt += 1;
            if let Ok(asked) = Upstream::ask(core, server, stream, &pending.query, token) {
                pending.asked.push(asked);
                let is_last = pending.attempt == pending.servers.len() * ROUNDS;
                pending.deadline = core.now + if is_last { LAST_PATIENCE } else { PATIENCE };
                return;
            }
        }
        if pending.asked.is_empty() {
            self.give_up(key);
        } else if pending.attempt > tried {
            // The last could not be asked: the others have the time that it would have had.
            pending.deadline = core.now + LAST_PATIENCE;
        }
    }

    fn give_up(&mut self, key: Key) {
        if let Some(pending) = self.remove_pending(key) {
            self.fail(pending.client, &pending.query, pending.failure);
        }
    }

    /// Tells a client that there is no answer, with the `words` of a server if there are any.
    fn fail(&mut self, client: Client, query: &[u8], words: Option<Vec<u8>>) {
        match words.or_else(|| dns::server_failure(query)) {
            Some(reply) => self.reply(client, &reply),
            None => self.release(client),
        }
        if let Client::Stream(key) = client {
            self.freed.push(key);
        }
    }

    /// Takes up what waits behind queries that have failed.
    fn take_up_freed(&mut self, core: &Core) {
        while let Some(key) = self.freed.pop() {
            self.next_query(core, key);
        }
    }

    /// A server has answered, or cannot be reached.
    pub(super) fn on_upstream(&mut self, core: &Core, key: Key, _event: Event) {
        let Some(pending) = self.pending.get_mut(key) else { return };
        let latest = pending.asked.len();
        let mut answer = None;
        let mut is_waiting = false;
        for (i, mut asked) in std::mem::take(&mut pending.asked).into_iter().enumerate() {
            match asked.receive(&pending.query, &mut self.buffer) {
                Ok(None) => {
                    is_waiting |= i + 1 == latest;
                    pending.asked.push(asked);
                }
                Ok(Some(response)) if dns::is_failure(&response) => pending.failure = Some(response),
                Ok(Some(response)) => answer = Some(response),
                Err(_) => {}
            }
        }
        if let Some(answer) = answer {
            let client = pending.client;
            self.remove_pending(key);
            self.reply(client, &answer);
            if let Client::Stream(stream) = client {
                self.next_query(core, stream);
            }
        } else if !is_waiting {
            self.ask(core, key);
        }
        self.take_up_freed(core);
    }

    /// Turns to the next server where one has not answered, and closes idle connections.
    pub(super) fn expire(&mut self, core: &Core) {
        for key in self.pending.keys_where(|pending| pending.deadline <= core.now) {
            let Some(pending) = self.pending.get(key) else { continue };
            if pending.attempt < pending.servers.len() * ROUNDS {
                self.ask(core, key);
            } else {
                self.give_up(key);
            }
        }
        self.take_up_freed(core);
        let unasked =
            |of: &Server| of.stands_in.is_some_and(|(_, last)| core.now.duration_since(last) > STAND_IN);
        for key in self.servers.keys_where(unasked) {
            self.remove_server(key);
        }
        let idle = |stream: &Stream| !stream.busy && core.now.duration_since(stream.last) > STREAM_IDLE;
        for key in self.streams.keys_where(idle) {
            self.remove_stream(key);
        }
    }
}

/// The container that asks from an address of a network.
fn asker(core: &Core, bridge: Key, from: IpAddr) -> Option<Key> {
    core.owner_of(from).filter(|owner| owner.bridge == bridge).map(|owner| owner.member)
}

/// The first whole message of a TCP stream, each of which begins with its length.
fn take_message(received: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = usize::from(u16::from_be_bytes([*received.first()?, *received.get(1)?]));
    let message = received.get(2..2 + length)?.to_vec();
    received.drain(..2 + length);
    Some(message)
}

fn with_length(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let mut bytes = Vec::with_capacity(2 + message.len());
    bytes.extend(length.to_be_bytes());
    bytes.extend(&message[..usize::from(length)]);
    bytes
}

/// Whether a container sends to a name server that was named for it. On the default network such a one stands in its
/// resolv.conf; on others the gateway does.
fn is_named_server(world: &World, bridge: Key, flow: Flow) -> bool {
    if flow.outside.port() != 53 {
        return false;
    }
    let asker = world.owner(flow.inside.ip()).filter(|owner| owner.bridge == bridge);
    let member = asker.and_then(|asker| world.members.get(asker.member));
    world.bridges.get(bridge).is_some_and(|bridge| bridge.record.name == DEFAULT_NETWORK)
        && member.is_some_and(|member| member.attach.dns.contains(&flow.outside.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_a_stream_come_one_by_one() {
        let mut received = [with_length(b"one"), with_length(b""), vec![0, 5, 1]].concat();
        assert_eq!(take_message(&mut received).as_deref(), Some(&b"one"[..]));
        assert_eq!(take_message(&mut received).as_deref(), Some(&b""[..]));
        assert_eq!(take_message(&mut received), None);
        assert_eq!(received, [0, 5, 1]);
    }
}
