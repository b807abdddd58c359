//! A client's side whose user is at the other end of a stream of bytes: Docker's form of being attached.
//!
//! ```text
//! stream ──detach keys──▶ Stdin …     its end ─▶ StdinEof, or leaving
//! stream ◀── frames ───── Stdout, Stderr … Exit
//! ```
//!
//! # Source
//!
//! Docker Engine API, "Attach to a container": the stream format.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::attach::client;
use crate::attach::detach::{DetachKeys, Matcher};
use crate::attach::packet::{self, FromMonitor, MAX_DATA, MAX_PACKET};
use crate::base::stream::Stream;
use crate::sys::poll::{Interest, PollSet};
use crate::sys::socket;

/// Bytes before the data of a frame: the stream's number, three zeros, the length in big-endian.
pub(crate) const HEADER: usize = 8;

/// How long the container may take for the input of one who has left.
const LAST_INPUT: Duration = Duration::from_secs(10);

/// The other end.
#[derive(Debug)]
pub(crate) struct Remote {
    pub(crate) stream: OwnedFd,
    /// Input that was received already.
    pub(crate) early: Vec<u8>,
    /// Output is sent in frames that say which stream it is of.
    pub(crate) framed: bool,
    /// What comes from there is input.
    pub(crate) stdin: bool,
    /// The end of the input is passed on; else who sends no more leaves.
    pub(crate) passes_end: bool,
    /// What detaches, when it is sent.
    pub(crate) detach_keys: Option<DetachKeys>,
}

/// Why there is nothing more to carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// The container ended with this code.
    Exited(i32),
    Detached,
    /// The monitor went away without a word.
    Lost,
    /// The other end did.
    Gone,
}

/// What stands before the data of a frame.
pub(crate) fn frame_header(stream: Stream, length: usize) -> [u8; HEADER] {
    let number = match stream {
        Stream::Stdout => 1,
        Stream::Stderr => 2,
    };
    let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [number, 0, 0, 0, a, b, c, d]
}

/// Carries bytes both ways until the container ends or the other end leaves. `monitor` was greeted.
///
/// # Errors
///
/// A packet that breaks the protocol; ENOMEM.
pub(crate) fn relay(monitor: BorrowedFd<'_>, remote: Remote) -> io::Result<Left> {
    socket::set_nonblocking(monitor, true)?;
    socket::set_nonblocking(remote.stream.as_fd(), true)?;
    let Remote { stream, early, framed, stdin, passes_end, detach_keys } = remote;
    let mut relay = Relay {
        monitor,
        stream,
        framed,
        input: Input {
            open: stdin,
            passes_end,
            matcher: detach_keys.map(Matcher::new),
            early: if stdin { early } else { Vec::new() },
            unsent: None,
        },
        output: vec![0; HEADER - 1 + MAX_PACKET],
        unwritten: 0..0,
        leaves_at: None,
    };
    let mut set = PollSet::default();
    let left = loop {
        match relay.turn(&mut set) {
            Ok(None) => {}
            Ok(Some(left)) => break Ok(left),
            Err(err) if is_gone(&err) => {
                relay.end_input();
                break Ok(Left::Gone);
            }
            Err(err) => break Err(err),
        }
    };
    // Others have the open file, too.
    socket::set_nonblocking(relay.stream.as_fd(), false)?;
    left
}

struct Relay<'a> {
    monitor: BorrowedFd<'a>,
    stream: OwnedFd,
    framed: bool,
    input: Input,
    /// A packet, from its kind on, behind room for all but the last byte of a frame's header.
    output: Vec<u8>,
    /// What of `output` the stream has not taken.
    unwritten: Range<usize>,
    /// The other end has gone, and left input that the container does not take: until when that is waited for.
    leaves_at: Option<Instant>,
}

struct Input {
    open: bool,
    passes_end: bool,
    matcher: Option<Matcher>,
    early: Vec<u8>,
    /// A packet that the monitor has not taken.
    unsent: Option<Vec<u8>>,
}

impl Relay<'_> {
    /// Waits once and deals with what has happened. An error of the stream says that the other end is gone.
    fn turn(&mut self, set: &mut PollSet) -> io::Result<Option<Left>> {
        while !self.input.early.is_empty() && self.input.unsent.is_none() {
            let rest = self.input.early.split_off(self.input.early.len().min(MAX_DATA));
            let data = std::mem::replace(&mut self.input.early, rest);
            if self.pass_on(&data) {
                return Ok(Some(Left::Detached));
            }
        }
        set.clear();
        let idle = self.unwritten.is_empty();
        let sends = self.input.unsent.is_some();
        let monitor = set.add(Some(self.monitor), Interest { read: idle, write: sends });
        let reads = self.input.open && !sends && self.input.early.is_empty();
        let interest = Interest { read: reads, write: !idle };
        let stream = match interest {
            // What was sent before is still to be read.
            _ if sends && idle && self.leaves_at.is_some() => set.add(None, interest),
            _ if interest == Interest::default() => set.add_for_hang_up(Some(self.stream.as_fd())),
            _ => set.add(Some(self.stream.as_fd()), interest),
        };
        let rest = self.leaves_at.filter(|_| sends).map(|end| end.saturating_duration_since(Instant::now()));
        if rest == Some(Duration::ZERO) {
            return Ok(Some(Left::Gone));
        }
        set.wait(rest)?;
        let (monitor, stream) = (set.ready(monitor), set.ready(stream));
        if monitor.write
            && let Some(packet) = self.input.unsent.take()
        {
            self.leaves_at = None;
            self.send(packet);
        }
        if stream.write {
            self.write_on()?;
        }
        if reads && stream.read {
            if let Some(left) = self.read_input()? {
                return Ok(Some(left));
            }
        } else if stream.hung_up && sends && idle {
            self.leaves_at = Instant::now().checked_add(LAST_INPUT);
        } else if stream.hung_up {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if monitor.read || monitor.hung_up { self.take_packets() } else { Ok(None) }
    }

    /// Receives packets while there are some and the stream takes them.
    fn take_packets(&mut self) -> io::Result<Option<Left>> {
        // Bounded, so that input is looked at now and then.
        for _ in 0..16 {
            if !self.unwritten.is_empty() {
                break;
            }
            let (stream, length) = match client::receive(self.monitor, &mut self.output[HEADER - 1..]) {
                Ok(None) => return Ok(Some(Left::Lost)),
                Ok(Some(FromMonitor::Exit(code))) => return Ok(Some(Left::Exited(code))),
                Ok(Some(FromMonitor::Output(stream, data))) => (stream, data.len()),
                Ok(Some(_)) => continue,
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => break,
                Err(err) if is_gone(&err) => return Ok(Some(Left::Lost)),
                Err(err) => return Err(err),
            };
            self.output[..HEADER].copy_from_slice(&frame_header(stream, length));
            self.unwritten = if self.framed { 0 } else { HEADER }..HEADER + length;
            self.write_on()?;
        }
        Ok(None)
    }

    fn write_on(&mut self) -> io::Result<()> {
        while !self.unwritten.is_empty() {
            match socket::send(self.stream.as_fd(), &self.output[self.unwritten.clone()]) {
                Ok(written) => self.unwritten.start += written,
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => break,
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }

    /// Reads input once and sends it on.
    fn read_input(&mut self) -> io::Result<Option<Left>> {
        let mut data = vec![0; MAX_DATA];
        let length = match socket::receive(self.stream.as_fd(), &mut data) {
            Ok(length) => length,
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(err) => return Err(err),
        };
        if length == 0 {
            let leaves = !self.input.passes_end;
            self.end_input();
            return Ok(leaves.then_some(Left::Gone));
        }
        Ok(self.pass_on(&data[..length]).then_some(Left::Detached))
    }

    /// Sends input to the monitor, but for the detach keys; true if these were typed.
    fn pass_on(&mut self, data: &[u8]) -> bool {
        let mut packet = vec![packet::STDIN];
        let detached = match &mut self.input.matcher {
            Some(matcher) => matcher.feed(data, &mut packet),
            None => {
                packet.extend_from_slice(data);
                false
            }
        };
        if packet.len() > 1 {
            self.send(packet);
        }
        detached
    }

    /// Nothing more is to come from the stream.
    fn end_input(&mut self) {
        if std::mem::take(&mut self.input.open) && self.input.passes_end {
            self.send(packet::stdin_eof().as_bytes().to_vec());
        }
    }

    /// Sends a packet, or keeps it until the monitor has room. One that takes no more input ends the input.
    fn send(&mut self, packet: Vec<u8>) {
        match socket::send(self.monitor, &packet) {
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => self.input.unsent = Some(packet),
            Err(_) => self.input.open = false,
            Ok(_) => {}
        }
    }
}

fn is_gone(err: &io::Error) -> bool {
    matches!(err.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attach::packet::{Hello, output_kind};
    use crate::sys::socket::{Kind, pair};

    /// A relay in a thread of its own: the monitor's end, the user's end, and its outcome.
    fn relayed(
        change: impl FnOnce(&mut Remote),
    ) -> (OwnedFd, OwnedFd, std::thread::JoinHandle<io::Result<Left>>) {
        let (client, monitor) = pair(Kind::Packet).unwrap();
        let (stream, user) = pair(Kind::Stream).unwrap();
        client::greet(client.as_fd(), Hello { stdout: true, ..Hello::default() }).unwrap();
        socket::receive(monitor.as_fd(), &mut [0; 8]).unwrap();
        let mut remote = Remote {
            stream,
            early: Vec::new(),
            framed: true,
            stdin: true,
            passes_end: true,
            detach_keys: None,
        };
        change(&mut remote);
        let thread = std::thread::spawn(move || relay(client.as_fd(), remote));
        (monitor, user, thread)
    }

    fn received(fd: &OwnedFd) -> Vec<u8> {
        let mut buffer = [0; 64];
        let length = socket::receive(fd.as_fd(), &mut buffer).unwrap();
        buffer[..length].to_vec()
    }

    #[test]
    fn output_comes_in_frames_and_input_goes_as_it_is() {
        let (monitor, user, thread) = relayed(|remote| remote.early = b"ab".to_vec());
        socket::send(monitor.as_fd(), &[output_kind(Stream::Stderr), b'x', b'y']).unwrap();
        assert_eq!(received(&user), [2, 0, 0, 0, 0, 0, 0, 2, b'x', b'y']);
        assert_eq!(received(&monitor), [packet::STDIN, b'a', b'b']);
        socket::send(user.as_fd(), b"c").unwrap();
        assert_eq!(received(&monitor), [packet::STDIN, b'c']);
        rustix::net::shutdown(&user, rustix::net::Shutdown::Write).unwrap();
        assert_eq!(received(&monitor), packet::stdin_eof().as_bytes());
        socket::send(monitor.as_fd(), packet::exit(3).as_bytes()).unwrap();
        assert_eq!(thread.join().unwrap().unwrap(), Left::Exited(3));
    }

    #[test]
    fn what_was_sent_before_leaving_arrives() {
        let (monitor, user, thread) = relayed(|_| {});
        socket::send(user.as_fd(), b"last words").unwrap();
        drop(user);
        assert_eq!(received(&monitor), [&[packet::STDIN][..], b"last words"].concat());
        assert_eq!(received(&monitor), packet::stdin_eof().as_bytes());
        assert_eq!(thread.join().unwrap().unwrap(), Left::Gone);
    }

    #[test]
    fn keys_and_the_end_of_the_input_of_a_terminal_leave() {
        let keys: DetachKeys = "a,b".parse().unwrap();
        let (monitor, user, thread) =
            relayed(|remote| (remote.detach_keys, remote.framed) = (Some(keys), false));
        socket::send(monitor.as_fd(), &[output_kind(Stream::Stdout), b'x']).unwrap();
        assert_eq!(received(&user), b"x");
        socket::send(user.as_fd(), b"1ab2").unwrap();
        assert_eq!(received(&monitor), [packet::STDIN, b'1']);
        assert_eq!(thread.join().unwrap().unwrap(), Left::Detached);

        let (_monitor, user, thread) = relayed(|remote| remote.passes_end = false);
        rustix::net::shutdown(&user, rustix::net::Shutdown::Write).unwrap();
        assert_eq!(thread.join().unwrap().unwrap(), Left::Gone);
    }

    #[test]
    fn who_only_looks_may_end_its_side_and_is_missed_when_gone() {
        let (monitor, user, thread) = relayed(|remote| remote.stdin = false);
        rustix::net::shutdown(&user, rustix::net::Shutdown::Write).unwrap();
        socket::send(monitor.as_fd(), &[output_kind(Stream::Stdout), b'x']).unwrap();
        assert_eq!(received(&user)[HEADER..], *b"x");
        drop(user);
        assert_eq!(thread.join().unwrap().unwrap(), Left::Gone);
    }
}
