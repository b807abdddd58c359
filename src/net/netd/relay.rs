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
//! The end of one way is passed on as such (half-close). An error of either socket resets both.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, sockopt};
use rustix::pipe::{PipeFlags, SpliceFlags};

use super::reactor::{Event, Interest, Reactor, Source, Token};
use super::slab::{Key, Slab};

const BUFFER_BYTES: usize = 64 * 1024;
const PIPE_BYTES: usize = 1 << 20;
/// Less than this at a time is copied: two calls either way, and no pipe.
const SMALL_BYTES: usize = 16 * 1024;
/// So many larger reads, with nothing from the other side in between, are a stream as well: who reads each packet as it
/// comes (of at most 64 kB with its headers) never sees a full buffer.
const STREAM_READS: u8 = 16;
/// All pipes together stay below what an unprivileged user may have (16384 pages).
const MAX_PIPES: usize = 32;
/// Reads per turn, so that one fast connection does not starve the others.
const ROUNDS: u32 = 32;

#[derive(Debug)]
struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
}

/// Empty pipes, ready for use.
#[derive(Debug, Default)]
struct Pipes {
    idle: Vec<Pipe>,
    made: usize,
}

impl Pipes {
    fn take(&mut self) -> Option<Pipe> {
        if let Some(pipe) = self.idle.pop() {
            return Some(pipe);
        }
        if self.made >= MAX_PIPES {
            return None;
        }
        let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        // A smaller pipe works too.
        rustix::pipe::fcntl_setpipe_size(&writer, PIPE_BYTES).ok();
        self.made += 1;
        Some(Pipe { reader, writer })
    }

    fn give_back(&mut self, pipe: Pipe, empty: bool) {
        if empty {
            self.idle.push(pipe);
        } else {
            self.made -= 1;
        }
    }
}

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
    /// The connection is broken.
    Broken,
}

#[derive(Debug)]
struct Relay {
    /// Inside and outside.
    sockets: [OwnedFd; 2],
    /// `ways[d]` leads from `sockets[d]` to the other.
    ways: [Way; 2],
    /// Whether the inside is connected is not known yet.
    connecting: bool,
    owner: Key,
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
}

impl Relays {
    pub(super) fn new() -> Self {
        Self {
            slab: Slab::new(),
            pipes: Pipes::default(),
            buffer: vec![0; BUFFER_BYTES].into(),
            again: Vec::new(),
            streaming: false,
        }
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
    pub(super) fn open(&mut self, reactor: &Reactor, inside: OwnedFd, outside: OwnedFd, owner: Key) {
        let relay = Relay { sockets: [inside, outside], ways: Default::default(), connecting: false, owner };
        let key = self.slab.insert(relay);
        let sockets = &self.slab.get(key).expect("just inserted").sockets;
        let watched =
            reactor.add(&sockets[0], Interest::Edges, Token::new(Source::RelayInside, key)).and_then(|()| {
                reactor.change(&sockets[1], Interest::Edges, Token::new(Source::RelayOutside, key))
            });
        if watched.is_err() {
            self.slab.remove(key);
        }
    }

    /// Begins to relay an accepted connection from outside to a container that is being connected to.
    ///
    /// What the client has sent already goes to the container at once, with the packet that ends the handshake: both
    /// are usually there by now, since a handshake within one machine takes no longer than the call that begins it.
    pub(super) fn open_inward(&mut self, reactor: &Reactor, inside: OwnedFd, outside: OwnedFd, owner: Key) {
        let mut ways: [Way; 2] = Default::default();
        ways[1].readable = true;
        let key = self.slab.insert(Relay { sockets: [inside, outside], ways, connecting: true, owner });
        self.turn(key);
        let Some(Relay { sockets, .. }) = self.slab.get(key) else { return };
        let watched = reactor
            .add(&sockets[0], Interest::Edges, Token::new(Source::RelayInside, key))
            .and_then(|()| reactor.add(&sockets[1], Interest::Edges, Token::new(Source::RelayOutside, key)));
        if watched.is_err() {
            self.slab.remove(key);
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
        relay.ways[1].readable = true;
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

    /// Resets all connections of a container that is gone.
    pub(super) fn drop_owner(&mut self, owner: Key) {
        for key in self.slab.keys_where(|relay| relay.owner == owner) {
            self.reset(key);
        }
    }

    fn turn(&mut self, key: Key) {
        let Some(relay) = self.slab.get_mut(key) else { return };
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
                Turn::Broken => return self.reset(key),
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
        let Some(relay) = self.slab.remove(key) else { return };
        for socket in &relay.sockets {
            // Until now, closing meant a reset.
            sockopt::set_socket_linger(socket, None).ok();
        }
        self.return_pipes(relay);
    }

    /// Ends a connection with a reset on both sides, which the sockets' linger option makes of closing.
    fn reset(&mut self, key: Key) {
        if let Some(relay) = self.slab.remove(key) {
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
                Err(_) => return Turn::Broken,
            }
        }
        Turn::Again
    }

    /// Passes the end on, once everything before it is gone.
    fn finish(&mut self, to: &OwnedFd, last: bool) -> Turn {
        if self.ended && !self.has_unsent() && !self.shut {
            self.shut = true;
            if !last && rustix::net::shutdown(to, Shutdown::Write).is_err() {
                return Turn::Broken;
            }
        }
        Turn::Wait
    }

    /// One `recv` and one `send`. Returns whether there may be more to do at once.
    fn copy(&mut self, from: &OwnedFd, to: &OwnedFd, buffer: &mut [u8]) -> Result<bool, Errno> {
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
                    sockopt::set_tcp_nodelay(to, true)?;
                }
                return Ok(false);
            }
            Err(Errno::INTR) => return Ok(true),
            Err(error) => return Err(error),
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

    fn write(&mut self, to: &OwnedFd, bytes: Option<&[u8]>, flags: SendFlags) -> Result<usize, Errno> {
        match rustix::net::send(to, bytes.unwrap_or(&self.rest), SendFlags::NOSIGNAL | flags) {
            Ok(sent) => {
                self.sent = true;
                Ok(sent)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Fills the pipe and empties it. Returns whether there may be more to do at once.
    fn splice(&mut self, from: &OwnedFd, to: &OwnedFd, pipes: &mut Pipes) -> Result<bool, Errno> {
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
                Err(error) => return Err(error),
            }
        }
        while self.piped > 0 {
            match splice(&pipe.reader, to, self.piped) {
                Ok(0) => return Err(Errno::PIPE),
                Ok(sent) => self.piped -= sent,
                Err(Errno::AGAIN) => {
                    self.blocked = true;
                    return Ok(false);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
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

fn splice(from: impl AsFd, to: impl AsFd, bytes: usize) -> Result<usize, Errno> {
    rustix::pipe::splice(from, None, to, None, bytes, SpliceFlags::MOVE | SpliceFlags::NONBLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    fn pair() -> (TcpStream, OwnedFd) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        server.set_nonblocking(true).unwrap();
        super::super::pool::prepare_stream(&server).unwrap();
        (client, server.into())
    }

    /// Runs the relay between two connections on a thread until both are done with it.
    fn relay() -> (TcpStream, TcpStream, std::thread::JoinHandle<()>) {
        let ((left, inside), (right, outside)) = (pair(), pair());
        let thread = std::thread::spawn(move || {
            let mut reactor = Reactor::new().unwrap();
            let mut relays = Relays::new();
            let owner = Key { index: 0, generation: 0 };
            reactor.add(&outside, Interest::Edges, Token::new(Source::Dial, owner)).unwrap();
            relays.open(&reactor, inside, outside, owner);
            while relays.len() > 0 {
                let mut events = Vec::new();
                let timeout = if relays.is_busy() { Duration::ZERO } else { Duration::from_secs(60) };
                reactor.wait(Some(timeout), &mut events).unwrap();
                assert!(relays.is_busy() || !events.is_empty(), "stuck");
                relays.continue_busy();
                for event in events {
                    relays.on_event(event.token.key, event);
                }
            }
        });
        (left, right, thread)
    }

    #[test]
    fn bytes_cross_and_ends_are_passed_on() {
        let (mut left, mut right, thread) = relay();
        // Far more than the sockets hold: the sender is blocked until the reader begins.
        let sent: Vec<u8> = (0..30_000_000_u32).map(|i| (i / 3) as u8).collect();
        let expected = sent.clone();
        let writer = std::thread::spawn(move || {
            left.write_all(&sent).unwrap();
            left.shutdown(std::net::Shutdown::Write).unwrap();
            let mut answer = String::new();
            left.read_to_string(&mut answer).unwrap();
            answer
        });
        std::thread::sleep(Duration::from_millis(50));
        let mut got = Vec::new();
        right.read_to_end(&mut got).unwrap();
        assert!(got == expected, "{} bytes", got.len());
        right.write_all(b"after the half-close").unwrap();
        drop(right);
        assert_eq!(writer.join().unwrap(), "after the half-close");
        thread.join().unwrap();
    }

    #[test]
    fn questions_and_answers_take_turns() {
        let (mut left, mut right, thread) = relay();
        let mut buffer = [0; 100_000];
        for size in [1, 10, 65_535, 65_536, 65_537, 100_000, 3] {
            left.write_all(&vec![1; size]).unwrap();
            right.read_exact(&mut buffer[..size]).unwrap();
            right.write_all(&vec![2; size]).unwrap();
            left.read_exact(&mut buffer[..size]).unwrap();
            assert!(buffer[..size].iter().all(|byte| *byte == 2));
        }
        drop((left, right));
        thread.join().unwrap();
    }

    /// Has the relay take what is written, write by write; whether it then moves pages.
    fn is_streaming(writes: &[(usize, usize)]) -> bool {
        let ((left, inside), (right, outside)) = (pair(), pair());
        let mut clients = [left, right];
        let mut relays = Relays::new();
        let owner = Key { index: 0, generation: 0 };
        let relay = Relay { sockets: [inside, outside], ways: Default::default(), connecting: false, owner };
        let key = relays.slab.insert(relay);
        let mut buffer = vec![0; 100_000];
        for &(side, size) in writes {
            clients[side].write_all(&vec![1; size]).unwrap();
            clients[1 - side].set_nonblocking(true).unwrap();
            let mut missing = size;
            while missing > 0 {
                relays.slab.get_mut(key).unwrap().ways[side].readable = true;
                relays.turn(key);
                missing -= clients[1 - side].read(&mut buffer[..missing]).unwrap_or_default();
            }
        }
        relays.slab.get(key).unwrap().ways.iter().any(|way| way.bulk)
    }

    #[test]
    fn many_large_writes_are_a_stream_unless_they_are_answers() {
        let large = (0, SMALL_BYTES);
        for (what, writes, want) in [
            ("one", vec![large], false),
            ("many", vec![large; usize::from(STREAM_READS)], true),
            ("many and a small one", [vec![large; 20], vec![(0, 1)]].concat(), false),
            ("answers", [(1, 100), large].repeat(20), false),
            ("small ones", vec![(0, 1000); 50], false),
        ] {
            assert_eq!(is_streaming(&writes), want, "{what}");
        }
    }

    #[test]
    fn a_reset_is_passed_on_as_one() {
        let (left, mut right, thread) = relay();
        sockopt::set_socket_linger(&left, Some(Duration::ZERO)).unwrap();
        drop(left);
        let error = right.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        thread.join().unwrap();
    }
}
