//! The name server of each network, at the gateway's address: UDP, TCP, and queries passed on.
//!
//! ```text
//! container ─▶ gateway:53 (G) ─▶ net::dns::answer ─┬─▶ reply
//!                                                  └─▶ socket in the host's namespace ─▶ server
//!                                                        1 s each, the next, twice around
//! ```
//!
//! A container that asks a server that was named for it (`--dns`) is answered in that server's place, so that it finds
//! the other containers all the same.
//!
//! A query over UDP is passed on over UDP, one over TCP over TCP; a truncated answer is passed back,
//! and the container's resolver asks again over TCP.

mod view;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, SocketType};

use self::view::View;
use super::core::Core;
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
/// How often each server is asked.
const ROUNDS: usize = 2;
const MAX_PENDING: usize = 512;
const MAX_STREAMS: usize = 256;
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
    query: Vec<u8>,
    servers: Vec<SocketAddr>,
    /// Which of `servers`, counted on through the rounds.
    attempt: usize,
    socket: Option<OwnedFd>,
    /// Of a TCP query: what came back so far.
    received: Vec<u8>,
    /// Of a TCP query: whether it is written.
    written: bool,
    deadline: Instant,
}

/// A TCP connection of a container.
#[derive(Debug)]
struct Stream {
    socket: OwnedFd,
    bridge: Key,
    peer: IpAddr,
    received: Vec<u8>,
    last: Instant,
    /// A query of it is under way; the next one waits.
    busy: bool,
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
            self.streams.remove(key);
        }
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

    /// Queries wait at a UDP socket.
    pub(super) fn on_datagram(&mut self, core: &Core, server: Key) {
        for _ in 0..QUERIES_PER_TURN {
            let Some(of) = self.servers.get_mut(server) else { return };
            if let Some((_, last)) = &mut of.stands_in {
                *last = core.now;
            }
            let bridge = of.bridge;
            let Ok((got, _, from)) =
                rustix::net::recvfrom(&of.socket, &mut self.buffer[..], RecvFlags::empty())
            else {
                return;
            };
            let Some(address) = from.and_then(|from| SocketAddr::try_from(from).ok()) else { continue };
            let query = self.buffer[..got].to_vec();
            self.on_query(core, bridge, address.ip(), query, Client::Datagram { server, address });
        }
    }

    /// A container connects.
    pub(super) fn on_client(&mut self, core: &Core, listener: Key) {
        let Some(of) = self.listeners.get(listener) else { return };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        while let Ok((socket, peer)) = rustix::net::acceptfrom_with(&of.socket, flags) {
            let Some(peer) = peer.and_then(|peer| SocketAddr::try_from(peer).ok()) else { continue };
            if self.streams.len() >= MAX_STREAMS {
                continue;
            }
            let stream = Stream {
                socket,
                bridge: of.bridge,
                peer: peer.ip(),
                received: Vec::new(),
                last: core.now,
                busy: false,
            };
            let key = self.streams.insert(stream);
            let socket = &self.streams.get(key).expect("just inserted").socket;
            if core.reactor.add(socket, Interest::Read, Token::new(Source::DnsTcp, key)).is_err() {
                self.streams.remove(key);
            }
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
            // The end, an error, or far more than it should send at once.
            _ => {
                self.streams.remove(key);
                return;
            }
        }
        self.next_query(core, key);
    }

    /// Takes up the next query of a connection, unless one is under way.
    fn next_query(&mut self, core: &Core, key: Key) {
        while let Some(stream) = self.streams.get_mut(key).filter(|stream| !stream.busy) {
            let Some(query) = take_message(&mut stream.received) else { return };
            stream.busy = true;
            let (bridge, peer) = (stream.bridge, stream.peer);
            self.on_query(core, bridge, peer, query, Client::Stream(key));
        }
    }

    fn on_query(&mut self, core: &Core, bridge: Key, from: IpAddr, query: Vec<u8>, client: Client) {
        let Some(view) = View::of(&core.world, bridge, from) else { return };
        let stream = matches!(client, Client::Stream(_));
        match dns::answer(&query, &view, view.may_forward, stream) {
            Answer::Reply(reply) => self.reply(client, &reply),
            Answer::Drop => {}
            Answer::Forward => {
                let servers = match view.servers() {
                    own if !own.is_empty() => own,
                    _ => self.host.servers().to_vec(),
                };
                self.forward(core, client, query, servers);
            }
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
                    self.streams.remove(key);
                }
            }
        }
    }

    fn forward(&mut self, core: &Core, client: Client, query: Vec<u8>, servers: Vec<SocketAddr>) {
        if self.pending.len() >= MAX_PENDING {
            return self.fail(client, &query);
        }
        let key = self.pending.insert(Pending {
            client,
            query,
            servers,
            attempt: 0,
            socket: None,
            received: Vec::new(),
            written: false,
            deadline: core.now + PATIENCE,
        });
        self.ask(core, key);
    }

    /// Asks the server whose turn it is, or the next one that can be asked at all.
    fn ask(&mut self, core: &Core, key: Key) {
        while let Some(pending) = self.pending.get_mut(key) {
            if pending.attempt >= pending.servers.len() * ROUNDS {
                if let Some(pending) = self.pending.remove(key) {
                    self.fail(pending.client, &pending.query);
                }
                return;
            }
            pending.deadline = core.now + PATIENCE;
            if pending.connect(core, key).is_ok() {
                return;
            }
            pending.attempt += 1;
        }
    }

    fn fail(&mut self, client: Client, query: &[u8]) {
        if let Some(reply) = dns::server_failure(query) {
            self.reply(client, &reply);
        }
    }

    /// A server has answered, or cannot be reached.
    pub(super) fn on_upstream(&mut self, core: &Core, key: Key, event: Event) {
        let Some(pending) = self.pending.get_mut(key) else { return };
        match pending.receive(event, &mut self.buffer) {
            Ok(None) => return,
            Ok(Some(response)) => {
                let last = pending.attempt + 1 >= pending.servers.len() * ROUNDS;
                if !dns::is_failure(&response) || last {
                    let client = pending.client;
                    self.pending.remove(key);
                    self.reply(client, &response);
                    if let Client::Stream(stream) = client {
                        self.next_query(core, stream);
                    }
                    return;
                }
            }
            Err(_) => {}
        }
        pending.attempt += 1;
        self.ask(core, key);
    }

    /// Turns to the next server where one has not answered, and closes idle connections.
    pub(super) fn expire(&mut self, core: &Core) {
        for key in self.pending.keys_where(|pending| pending.deadline <= core.now) {
            if let Some(pending) = self.pending.get_mut(key) {
                pending.attempt += 1;
            }
            self.ask(core, key);
        }
        let unasked =
            |of: &Server| of.stands_in.is_some_and(|(_, last)| core.now.duration_since(last) > STAND_IN);
        for key in self.servers.keys_where(unasked) {
            self.remove_server(key);
        }
        let idle = |stream: &Stream| !stream.busy && core.now.duration_since(stream.last) > STREAM_IDLE;
        for key in self.streams.keys_where(idle) {
            self.streams.remove(key);
        }
    }
}

impl Pending {
    fn is_stream(&self) -> bool {
        matches!(self.client, Client::Stream(_))
    }

    fn connect(&mut self, core: &Core, key: Key) -> Result<(), Errno> {
        let server = self.servers[self.attempt % self.servers.len()];
        let kind = if self.is_stream() { SocketType::STREAM } else { SocketType::DGRAM };
        let socket = inet::socket(server.is_ipv6(), kind)?;
        self.received.clear();
        self.written = false;
        let token = Token::new(Source::DnsUpstream, key);
        match rustix::net::connect(&socket, &server) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error),
        }
        if self.is_stream() {
            core.reactor.add(&socket, Interest::Edges, token)?;
        } else {
            // The kernel chooses a port of its own at random for each query.
            rustix::net::send(&socket, &self.query, SendFlags::NOSIGNAL)?;
            core.reactor.add(&socket, Interest::Read, token)?;
        }
        self.socket = Some(socket);
        Ok(())
    }

    /// The answer, if it is there.
    fn receive(&mut self, event: Event, buffer: &mut [u8]) -> Result<Option<Vec<u8>>, Errno> {
        let Some(socket) = &self.socket else { return Ok(None) };
        if self.is_stream() && event.writable() && !self.written {
            let message = with_length(&self.query);
            let sent = rustix::net::send(socket, &message, SendFlags::NOSIGNAL)?;
            if sent < message.len() {
                return Err(Errno::MSGSIZE);
            }
            self.written = true;
        }
        if !event.readable() {
            return Ok(None);
        }
        loop {
            let got = match rustix::net::recv(socket, &mut *buffer, RecvFlags::empty()) {
                Ok((0, _)) if self.is_stream() => return Err(Errno::CONNRESET),
                Ok((got, _)) => got,
                Err(Errno::AGAIN) => return Ok(None),
                Err(error) => return Err(error),
            };
            let message = if self.is_stream() {
                self.received.extend_from_slice(&buffer[..got]);
                take_message(&mut self.received)
            } else {
                Some(buffer[..got].to_vec())
            };
            // Something else than the answer is somebody's attempt to be taken for it.
            if let Some(message) = message.filter(|message| dns::answers(message, &self.query)) {
                return Ok(Some(message));
            }
        }
    }
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
