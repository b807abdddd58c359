//! Connected pairs of TCP sockets, and the bytes between them.
//!
//! ```text
//! inside (G) ──recv/send, or splice through a pipe──▶ outside (host)
//!            ◀────────────────────────────────────
//! ```
//!
//! Each way starts with copying: one `recv`, one `send`, no pipe. A read that fills the buffer, or many large ones that
//! nothing answers, switch it to `splice`, which moves pages, until little comes again. Pipes are taken from a shared
//! stock only while bytes are under way: a user may have few of them, connections are many.
//!
//! The end of one way is passed on as such (half-close). An error of either socket resets both, but not before the other
//! has what was said until then: a server's early answer, the last words of a container that is gone (`parting`).

mod pipes;
#[cfg(test)]
mod tests;

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, sockopt};
use rustix::pipe::SpliceFlags;

use self::pipes::{PIPE_BYTES, Pipe, Pipes};
use super::count::Count;
use super::reactor::{Event, Interest, Reactor, Source, Token};
use super::slab::{Key, Slab};
use super::world::Owner;
use crate::sys::inet;

const BUFFER_BYTES: usize = 64 * 1024;
/// Less than this at a time is copied: two calls either way, and no pipe.
const SMALL_BYTES: usize = 16 * 1024;
/// So many larger reads, with nothing from the other side in between, are a stream as well: who reads each packet as it
/// comes (of at most 64 kB with its headers) never sees a full buffer.
const STREAM_READS: u8 = 16;
/// Reads per turn, so that one fast connection does not starve the others.
const ROUNDS: u32 = 32;
/// How long one side of a broken connection may take to accept what the other has said before.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How long the far side may take to accept what a container that is gone has sent before.
const LEGACY: Duration = Duration::from_secs(60);
/// At least so many connections each container may have.
const FEW_RELAYS: usize = 64;
/// So many descriptors one container alone does not use up.
const KEPT_FOR_OTHERS: u64 = 256;

/// Bytes from one socket of a pair to the other.
#[derive(Debug, Default)]
struct Way {
    /// Read, but not taken by the other side yet.
    rest: Vec<u8>,
    pipe: Option<Pipe>,
    /// Bytes in the pipe.
    piped: usize,
    /// Use splice.
    bulk: bool,
    /// How many reads in a row were no small ones.
    large_reads: u8,
    /// Something was read since this was last looked at.
    moved: bool,
    /// There may be something to read.
    readable: bool,
    /// The reading side has ended; a short read is not the last one.
    ending: bool,
    /// The other side takes no more for now.
    blocked: bool,
    /// Something was passed on.
    sent: bool,
    /// What was passed on last waits in the socket for the end, which is expected to follow: one packet for both.
    corked: bool,
    /// The end was read.
    ended: bool,
    /// The end was passed on.
    shut: bool,
}

/// How a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Nothing to do until the next event.
    Wait,
    /// There is more.
    Again,
    /// The connection is broken: this failed.
    Broken(Doing),
}

/// What was done with a socket when it turned out to be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Reading,
    Writing,
}

/// How a connection ends one of whose sides is gone: the bytes of one way still arrive.
#[derive(Clone, Copy, Debug)]
struct Parting {
    /// The way.
    side: usize,
    /// The stream is complete, and ends as such; else with a reset.
    complete: bool,
    until: Instant,
}

#[derive(Debug)]
struct Relay {
    /// Inside and outside.
    sockets: [OwnedFd; 2],
    /// `ways[d]` leads from `sockets[d]` to the other.
    ways: [Way; 2],
    /// Whether the inside is connected is not known yet.
    connecting: bool,
    parting: Option<Parting>,
    owner: Owner,
}

impl Relay {
    fn new(inside: OwnedFd, outside: OwnedFd, owner: Owner) -> Self {
        let ways = Default::default();
        Self { sockets: [inside, outside], ways, connecting: false, parting: None, owner }
    }

    /// Whether all has come that the container has to say: the end has been read, or waits to be.
    fn is_complete(&self) -> bool {
        if self.ways[0].ended {
            return true;
        }
        let mut polled = [PollFd::new(&self.sockets[0], PollFlags::RDHUP)];
        let found = rustix::event::poll(&mut polled, Some(&Timespec::default()));
        let events = polled[0].revents();
        found.is_ok() && events.contains(PollFlags::RDHUP) && !events.contains(PollFlags::ERR)
    }
}

/// All relayed connections.
#[derive(Debug)]
pub(super) struct Relays {
    slab: Slab<Relay>,
    pipes: Pipes,
    buffer: Box<[u8]>,
    /// Connections whose turn ended early.
    again: Vec<Key>,
    /// Some connection's pages were moved, and there were no more, since this was last asked.
    streaming: bool,
    /// Connections that are parting.
    parting: Vec<Key>,
    /// How many each container has.
    counts: Count,
    /// How many each may have.
    most: usize,
}

impl Relays {
    pub(super) fn new() -> Self {
        Self {
            slab: Slab::new(),
            pipes: Pipes::default(),
            buffer: vec![0; BUFFER_BYTES].into(),
            again: Vec::new(),
            streaming: false,
            parting: Vec::new(),
            counts: Count::default(),
            most: most_per_container(),
        }
    }

    /// Whether a container may have one more connection.
    pub(super) fn has_room(&self, member: Key) -> bool {
        self.counts.of(member) < self.most
    }

    fn insert(&mut self, relay: Relay) -> Key {
        self.counts.more(relay.owner.member);
        self.slab.insert(relay)
    }

    fn remove(&mut self, key: Key) -> Option<Relay> {
        let relay = self.slab.remove(key)?;
        self.counts.less(relay.owner.member);
        Some(relay)
    }

    /// Whether some connection has yet to deliver what was said before its end.
    pub(super) fn are_parting(&self) -> bool {
        !self.parting.is_empty()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    /// Whether some connection waits for another turn.
    pub(super) fn is_busy(&self) -> bool {
        !self.again.is_empty()
    }

    /// Whether, since this was last asked, some connection brought much and was emptied: more is about to come.
    pub(super) fn take_streaming(&mut self) -> bool {
        std::mem::take(&mut self.streaming)
    }

    /// Begins to relay between an accepted connection and the one dialled for it, which the reactor
    /// watches already.
    pub(super) fn open(&mut self, reactor: &Reactor, inside: OwnedFd, outside: OwnedFd, owner: Owner) {
        if !self.has_room(owner.member) {
            // Dropping them resets both.
            return;
        }
        let key = self.insert(Relay::new(inside, outside, owner));
        let sockets = &self.slab.get(key).expect("just inserted").sockets;
        let watched =
            reactor.add(&sockets[0], Interest::Edges, Token::new(Source::RelayInside, key)).and_then(|()| {
                reactor.change(&sockets[1], Interest::Edges, Token::new(Source::RelayOutside, key))
            });
        if watched.is_err() {
            self.remove(key);
        }
    }

    /// Begins to relay an accepted connection from outside to a container that is being connected to.
    ///
    /// What the client has sent already goes to the container at once, with the packet that ends the handshake: both
    /// are usually there by now, since a handshake within one machine takes no longer than the call that begins it.
    pub(super) fn open_inward(&mut self, reactor: &Reactor, inside: OwnedFd, outside: OwnedFd, owner: Owner) {
        let mut relay = Relay { connecting: true, ..Relay::new(inside, outside, owner) };
        relay.ways[1].readable = true;
        let key = self.insert(relay);
        self.turn(key);
        let Some(Relay { sockets, .. }) = self.slab.get(key) else { return };
        let watched = reactor
            .add(&sockets[0], Interest::Edges, Token::new(Source::RelayInside, key))
            .and_then(|()| reactor.add(&sockets[1], Interest::Edges, Token::new(Source::RelayOutside, key)));
        if watched.is_err() {
            self.remove(key);
        }
    }

    /// Something happened to one side of a connection.
    pub(super) fn on_event(&mut self, key: Key, event: Event) {
        let Some(relay) = self.slab.get_mut(key) else { return };
        let side = usize::from(event.token.source == Source::RelayOutside);
        if event.readable() {
            relay.ways[side].readable = true;
            relay.ways[side].ending |= event.ended();
        }
        if event.writable() {
            relay.ways[1 - side].blocked = false;
        }
        if !relay.connecting || side == 1 || !event.writable() {
            return self.turn(key);
        }
        if event.failed() && !matches!(sockopt::socket_error(&relay.sockets[0]), Ok(Ok(()))) {
            return self.reset(key);
        }
        relay.connecting = false;
        self.turn(key);
        if let Some(relay) = self.slab.get(key).filter(|relay| !relay.ways[1].sent) {
            // A container that speaks first waits for the end of the handshake, which was held back.
            sockopt::set_tcp_quickack(&relay.sockets[0], true).ok();
        }
    }

    /// Gives the connections that had more to do another turn.
    pub(super) fn continue_busy(&mut self) {
        for key in std::mem::take(&mut self.again) {
            self.turn(key);
        }
    }

    /// Ends the connections of a container that is gone, or has left the network of `bridge`. What it has sent and ended
    /// still arrives; the others are reset.
    pub(super) fn drop_owner(&mut self, member: Key, bridge: Option<Key>) {
        for key in self.slab.keys_where(|relay| relay.owner.is(member, bridge) && relay.parting.is_none()) {
            // Takes what has come already, which makes room for the rest and the end behind it.
            self.turn(key);
            match self.slab.get(key) {
                Some(relay) if relay.parting.is_some() => {}
                Some(relay) if relay.is_complete() => self.begin_parting(key, 0, true),
                _ => self.reset(key),
            }
        }
    }

    /// From now on only the bytes of way `side` count, and then that ends, too.
    fn begin_parting(&mut self, key: Key, side: usize, complete: bool) {
        let Some(relay) = self.slab.get_mut(key) else { return };
        let until = Instant::now() + if complete { LEGACY } else { LAST_WORDS };
        relay.parting = Some(Parting { side, complete, until });
        relay.ways[side].readable = true;
        self.parting.push(key);
        self.part(key);
    }

    /// Delivers what one side has said before it went.
    fn part(&mut self, key: Key) {
        let Some(relay) = self.slab.get_mut(key) else { return };
        let Some(Parting { side, complete, .. }) = relay.parting else { return };
        let way = &mut relay.ways[side];
        let (from, to) = (&relay.sockets[side], &relay.sockets[1 - side]);
        if !way.shut && !way.blocked && (way.readable || way.has_unsent()) {
            match way.pump(from, to, &mut self.buffer, &mut self.pipes, !complete) {
                Turn::Again => return self.again.push(key),
                Turn::Broken(Doing::Reading) if !complete => way.readable = false,
                Turn::Broken(_) => return self.reset(key),
                Turn::Wait => {}
            }
        }
        let is_read = way.ended || (!complete && !way.readable);
        if !is_read || way.has_unsent() {
            return;
        }
        if complete {
            // Until now, closing meant a reset.
            sockopt::set_socket_linger(to, None).ok();
        }
        // Closing would throw away what is not acknowledged: at a reset, and where something came that nobody reads.
        if inet::unacknowledged(to).unwrap_or_default() == 0 {
            self.reset(key);
        }
    }

    /// Ends connections whose time to part is over, and looks which have delivered everything.
    pub(super) fn expire(&mut self, now: Instant) {
        for key in std::mem::take(&mut self.parting) {
            let Some(parting) = self.slab.get(key).and_then(|relay| relay.parting) else { continue };
            if parting.until <= now {
                self.reset(key);
                continue;
            }
            self.part(key);
            if self.slab.get(key).is_some() {
                self.parting.push(key);
            }
        }
    }

    fn turn(&mut self, key: Key) {
        let Some(relay) = self.slab.get_mut(key) else { return };
        if relay.parting.is_some() {
            return self.part(key);
        }
        let mut more = false;
        for side in [0, 1] {
            // The other way's end is passed on by closing, one call instead of two.
            let last = relay.ways[1 - side].shut;
            let way = &mut relay.ways[side];
            let (from, to) = (&relay.sockets[side], &relay.sockets[1 - side]);
            if way.shut || way.blocked || !(way.readable || way.has_unsent()) {
                continue;
            }
            match way.pump(from, to, &mut self.buffer, &mut self.pipes, last) {
                Turn::Wait => self.streaming |= way.bulk,
                Turn::Again => more = true,
                Turn::Broken(doing) => {
                    // Whoever is broken may have said something before: it goes this way, or the other.
                    let last_words = if doing == Doing::Reading { side } else { 1 - side };
                    return self.begin_parting(key, last_words, false);
                }
            }
            if std::mem::take(&mut way.moved) {
                // Question and answer are no stream.
                relay.ways[1 - side].large_reads = 0;
            }
        }
        if relay.ways.iter().all(|way| way.shut) {
            self.close(key);
        } else if more {
            self.again.push(key);
        }
    }

    /// Ends a connection both of whose ways have ended well.
    fn close(&mut self, key: Key) {
        let Some(relay) = self.remove(key) else { return };
        for socket in &relay.sockets {
            // Until now, closing meant a reset.
            sockopt::set_socket_linger(socket, None).ok();
        }
        self.return_pipes(relay);
    }

    /// Ends a connection with a reset on both sides, which the sockets' linger option makes of closing.
    fn reset(&mut self, key: Key) {
        if let Some(relay) = self.remove(key) {
            self.return_pipes(relay);
        }
    }

    fn return_pipes(&mut self, relay: Relay) {
        for way in relay.ways {
            if let Some(pipe) = way.pipe {
                self.pipes.give_back(pipe, way.piped == 0);
            }
        }
    }
}

impl Way {
    fn has_unsent(&self) -> bool {
        self.piped > 0 || !self.rest.is_empty()
    }

    /// Moves bytes until there are none, the other side is full, or it is the others' turn.
    ///
    /// `last` says that the other way has ended already.
    fn pump(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        buffer: &mut [u8],
        pipes: &mut Pipes,
        last: bool,
    ) -> Turn {
        for _round in 0..ROUNDS {
            let moved = if self.bulk || self.piped > 0 {
                self.splice(from, to, pipes)
            } else {
                self.copy(from, to, buffer)
            };
            match moved {
                Ok(true) => {}
                Ok(false) => return self.finish(to, last),
                Err(doing) => return Turn::Broken(doing),
            }
        }
        Turn::Again
    }

    /// Passes the end on, once everything before it is gone.
    fn finish(&mut self, to: &OwnedFd, last: bool) -> Turn {
        if self.ended && !self.has_unsent() && !self.shut {
            self.shut = true;
            if !last && rustix::net::shutdown(to, Shutdown::Write).is_err() {
                return Turn::Broken(Doing::Writing);
            }
        }
        Turn::Wait
    }

    /// One `recv` and one `send`. Returns whether there may be more to do at once.
    fn copy(&mut self, from: &OwnedFd, to: &OwnedFd, buffer: &mut [u8]) -> Result<bool, Doing> {
        if !self.rest.is_empty() {
            let sent = self.write(to, None, SendFlags::empty())?;
            self.rest.drain(..sent);
            if !self.rest.is_empty() {
                self.blocked = true;
                return Ok(false);
            }
            self.rest = Vec::new();
        }
        if self.ended || !self.readable {
            return Ok(false);
        }
        let got = match rustix::net::recv(from, &mut *buffer, RecvFlags::empty()) {
            Ok((got, _)) => got,
            Err(Errno::AGAIN) => {
                self.readable = false;
                if std::mem::take(&mut self.corked) {
                    // Sets nothing new, but sends what waits.
                    sockopt::set_tcp_nodelay(to, true).map_err(|_| Doing::Writing)?;
                }
                return Ok(false);
            }
            Err(Errno::INTR) => return Ok(true),
            Err(_) => return Err(Doing::Reading),
        };
        if got == 0 {
            self.ended = true;
            return Ok(false);
        }
        // The end has come, and this is less than there was room for: it is what comes before the end.
        self.corked = self.ending && got < buffer.len();
        let flags = if self.corked { SendFlags::MORE } else { SendFlags::empty() };
        let sent = self.write(to, Some(&buffer[..got]), flags)?;
        if sent < got {
            self.rest.extend_from_slice(&buffer[sent..got]);
            self.blocked = true;
            return Ok(false);
        }
        let full = got == buffer.len();
        self.moved = true;
        self.large_reads = if got < SMALL_BYTES { 0 } else { self.large_reads.saturating_add(1) };
        self.bulk = full || self.large_reads >= STREAM_READS;
        // A short read has emptied the socket; a change since then is an event of its own.
        self.readable = full || self.ending;
        Ok(self.readable)
    }

    fn write(&mut self, to: &OwnedFd, bytes: Option<&[u8]>, flags: SendFlags) -> Result<usize, Doing> {
        match rustix::net::send(to, bytes.unwrap_or(&self.rest), SendFlags::NOSIGNAL | flags) {
            Ok(sent) => {
                self.sent = true;
                Ok(sent)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(_) => Err(Doing::Writing),
        }
    }

    /// Fills the pipe and empties it. Returns whether there may be more to do at once.
    fn splice(&mut self, from: &OwnedFd, to: &OwnedFd, pipes: &mut Pipes) -> Result<bool, Doing> {
        if self.pipe.is_none() {
            self.pipe = pipes.take();
        }
        let Some(pipe) = &self.pipe else {
            // No pipe left: copy, as slow as that may be.
            self.bulk = false;
            return Ok(true);
        };
        if self.piped == 0 && !self.ended && self.readable {
            match splice(from, &pipe.writer, PIPE_BYTES) {
                Ok(0) => self.ended = true,
                Ok(got) => {
                    self.piped = got;
                    self.bulk = got >= SMALL_BYTES;
                }
                Err(Errno::AGAIN) => self.readable = false,
                Err(Errno::INTR) => return Ok(true),
                Err(_) => return Err(Doing::Reading),
            }
        }
        while self.piped > 0 {
            match splice(&pipe.reader, to, self.piped) {
                Ok(0) => return Err(Doing::Writing),
                Ok(sent) => self.piped -= sent,
                Err(Errno::AGAIN) => {
                    self.blocked = true;
                    return Ok(false);
                }
                Err(Errno::INTR) => {}
                Err(_) => return Err(Doing::Writing),
            }
        }
        let more = self.readable && !self.ended;
        if (!more || !self.bulk)
            && let Some(pipe) = self.pipe.take()
        {
            pipes.give_back(pipe, true);
        }
        Ok(more)
    }
}

/// All but a few of the descriptors that netd may have, two for each connection: however many one container has, others
/// have some.
fn most_per_container() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let most = limit.map_or(u64::MAX, |limit| (limit - (limit / 4).min(KEPT_FOR_OTHERS)) / 2);
    usize::try_from(most).unwrap_or(usize::MAX).max(FEW_RELAYS)
}

fn splice(from: impl AsFd, to: impl AsFd, bytes: usize) -> Result<usize, Errno> {
    rustix::pipe::splice(from, None, to, None, bytes, SpliceFlags::MOVE | SpliceFlags::NONBLOCK)
}
