//! WebSockets, by which programs in a browser's manner attach to containers: plain bytes in binary messages, both ways.
//!
//! ```text
//! relay ◀── plain bytes ──▶ a process of its own ◀── frames ──▶ client
//! ```
//!
//! # Source
//!
//! RFC 6455; Docker Engine API, "Attach to a container via a websocket".

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::sys::poll::{Interest, PollSet};
use crate::sys::socket;

/// What a server adds to a client's key, to show that it speaks this protocol.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The longest payload of a frame that says something about the connection, in bytes.
const MAX_CONTROL: u64 = 125;
/// Read at once, in bytes.
const READ: usize = 32 << 10;
/// How long each side may take for what is left when the other one has gone.
const PATIENCE: Duration = Duration::from_secs(10);

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Codes of the end of a connection.
const NORMAL: u16 = 1000;
const PROTOCOL_ERROR: u16 = 1002;

/// What answers a client's `Sec-WebSocket-Key`.
pub(super) fn accept(key: &str) -> String {
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes()))
}

/// A frame as a server sends it, whole and not masked.
fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | kind];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ 0..=125), _) => frame.push(length),
        (_, Ok(length)) => {
            frame.push(126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

/// A client that breaks the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Broken;

/// What a client says about the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Control {
    Ping(Vec<u8>),
    /// With its code, if it has sent one.
    Close(Vec<u8>),
}

/// Takes what a client sends apart.
#[derive(Debug, Default)]
struct Decoder {
    /// The beginning of a frame's head.
    head: Vec<u8>,
    frame: Option<Frame>,
    /// The payload of a control frame so far.
    control: Vec<u8>,
}

/// A frame of which the head has been read.
#[derive(Debug)]
struct Frame {
    kind: u8,
    left: u64,
    mask: [u8; 4],
    /// How much of the payload has been read.
    at: usize,
}

impl Decoder {
    /// Takes `bytes`; what they hold of messages goes to `data`, whatever messages it is of.
    fn feed(&mut self, mut bytes: &[u8], data: &mut Vec<u8>) -> Result<Vec<Control>, Broken> {
        let mut said = Vec::new();
        loop {
            let Some(frame) = &mut self.frame else {
                let Some((first, rest)) = bytes.split_first() else { return Ok(said) };
                bytes = rest;
                self.head.push(*first);
                self.frame = head(&self.head)?;
                if self.frame.is_some() {
                    self.head.clear();
                }
                continue;
            };
            let count = usize::try_from(frame.left).unwrap_or(usize::MAX).min(bytes.len());
            let (payload, rest) = bytes.split_at(count);
            bytes = rest;
            let out = if frame.kind >= CLOSE { &mut self.control } else { &mut *data };
            out.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ frame.mask[(frame.at + i) % 4]));
            frame.at = (frame.at + count) % 4;
            frame.left -= count as u64;
            if frame.left > 0 {
                return Ok(said);
            }
            let kind = frame.kind;
            self.frame = None;
            match (kind, std::mem::take(&mut self.control)) {
                (PING, payload) => said.push(Control::Ping(payload)),
                (CLOSE, payload) => said.push(Control::Close(payload)),
                _ => {}
            }
        }
    }
}

/// Reads a frame's head; `None` if more of it is to come.
fn head(bytes: &[u8]) -> Result<Option<Frame>, Broken> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    let (kind, masked, length) = (first & 0x0f, second & 0x80 != 0, second & 0x7f);
    // Nothing was agreed on that the other bits could mean, and clients mask what they send.
    if first & 0x70 != 0 || !masked || !matches!(kind, CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG) {
        return Err(Broken);
    }
    let wide = match length {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let Some((mask, [])) = rest.get(wide..).and_then(|rest| rest.split_first_chunk::<4>()) else {
        return Ok(None);
    };
    let left = match wide {
        0 => u64::from(length),
        _ => rest[..wide].iter().fold(0, |number, byte| number << 8 | u64::from(*byte)),
    };
    let is_whole = first & 0x80 != 0;
    if left > i64::MAX as u64 || kind >= CLOSE && (left > MAX_CONTROL || !is_whole) {
        return Err(Broken);
    }
    Ok(Some(Frame { kind, left, mask: *mask, at: 0 }))
}

/// Passes plain bytes of `plain` on as messages to `client`, and its messages as plain bytes, until one of them ends. `early` was
/// received from the client already.
///
/// # Errors
///
/// If a side breaks.
pub(super) fn translate(client: &OwnedFd, plain: &OwnedFd, early: &[u8]) -> io::Result<()> {
    socket::set_nonblocking(client.as_fd(), true)?;
    socket::set_nonblocking(plain.as_fd(), true)?;
    let mut between = Translator {
        client: client.as_fd(),
        plain: plain.as_fd(),
        decoder: Decoder::default(),
        to_client: Vec::new(),
        to_plain: Vec::new(),
        ends_at: None,
    };
    between.hear(early);
    while !between.is_over() {
        between.turn()?;
    }
    Ok(())
}

struct Translator<'a> {
    client: BorrowedFd<'a>,
    plain: BorrowedFd<'a>,
    decoder: Decoder,
    /// Frames that the client has not taken.
    to_client: Vec<u8>,
    /// Bytes that the other side has not taken.
    to_plain: Vec<u8>,
    /// One side has said its last: what is left goes out until then.
    ends_at: Option<Instant>,
}

impl Translator<'_> {
    fn is_over(&self) -> bool {
        let is_empty = self.to_client.is_empty() && self.to_plain.is_empty();
        self.ends_at.is_some_and(|end| is_empty || end <= Instant::now())
    }

    fn end(&mut self) {
        self.ends_at = self.ends_at.or(Instant::now().checked_add(PATIENCE));
    }

    /// Waits once, and does what can be done. A side is read from when the other one has taken everything.
    fn turn(&mut self) -> io::Result<()> {
        let goes_on = self.ends_at.is_none();
        let mut set = PollSet::default();
        let mut add = |fd, read, write: &Vec<u8>| {
            let interest = Interest { read, write: !write.is_empty() };
            match interest == Interest::default() && goes_on {
                true => set.add_for_hang_up(Some(fd)),
                false => set.add(Some(fd), interest),
            }
        };
        let client = add(self.client, goes_on && self.to_plain.is_empty(), &self.to_client);
        let plain = add(self.plain, goes_on && self.to_client.is_empty(), &self.to_plain);
        set.wait(self.ends_at.map(|end| end.saturating_duration_since(Instant::now())))?;
        let (client, plain) = (set.ready(client), set.ready(plain));
        if client.write {
            write_some(self.client, &mut self.to_client)?;
        }
        if plain.write {
            write_some(self.plain, &mut self.to_plain)?;
        }
        let mut buffer = [0; READ];
        if goes_on && (client.read || client.hung_up) && self.to_plain.is_empty() {
            match receive(self.client, &mut buffer)? {
                Some(0) => self.end(),
                Some(count) => self.hear(&buffer[..count]),
                None => {}
            }
        } else if client.hung_up {
            // Nobody takes anything more there; what was sent before still counts.
            self.to_client.clear();
            self.end();
        }
        if goes_on && (plain.read || plain.hung_up) && self.to_client.is_empty() {
            match receive(self.plain, &mut buffer)? {
                Some(0) => self.close(&NORMAL.to_be_bytes()),
                Some(count) => self.to_client.extend(frame(BINARY, &buffer[..count])),
                None => {}
            }
        }
        Ok(())
    }

    /// Takes what the client has sent.
    fn hear(&mut self, bytes: &[u8]) {
        let Ok(said) = self.decoder.feed(bytes, &mut self.to_plain) else {
            return self.close(&PROTOCOL_ERROR.to_be_bytes());
        };
        for control in said {
            match control {
                Control::Ping(payload) => self.to_client.extend(frame(PONG, &payload)),
                Control::Close(payload) => return self.close(&payload),
            }
        }
    }

    /// Says that this is the end.
    fn close(&mut self, payload: &[u8]) {
        self.to_client.extend(frame(CLOSE, payload));
        self.end();
    }
}

/// What there is to be read, if there is something; nothing at the end.
fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    match socket::receive(fd, buffer) {
        Err(err) if err.kind() == io::ErrorKind::WouldBlock => Ok(None),
        other => other.map(Some),
    }
}

fn write_some(fd: BorrowedFd<'_>, bytes: &mut Vec<u8>) -> io::Result<()> {
    match socket::send(fd, bytes) {
        Ok(count) => drop(bytes.drain(..count)),
        Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
        Err(err) => return Err(err),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame as clients send it.
    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = frame(first & 0x0f, payload);
        let head = frame.len() - payload.len();
        (frame[0], frame[1]) = (first, frame[1] | 0x80);
        let mask = [1, 2, 3, 4];
        frame.iter_mut().skip(head).enumerate().for_each(|(i, byte)| *byte ^= mask[i % 4]);
        frame.splice(head..head, mask);
        frame
    }

    fn decoded(bytes: &[u8], piece: usize) -> Result<(Vec<u8>, Vec<Control>), Broken> {
        let (mut decoder, mut data, mut said) = (Decoder::default(), Vec::new(), Vec::new());
        for part in bytes.chunks(piece) {
            said.extend(decoder.feed(part, &mut data)?);
        }
        Ok((data, said))
    }

    #[test]
    fn the_key_of_the_rfc() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn frames_of_all_lengths_come_in_pieces() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let payload: Vec<u8> = (0..length).map(|i| u8::try_from(i % 251).unwrap()).collect();
            let bytes = masked(0x80 | BINARY, &payload);
            for piece in [1, 7, 1 << 20] {
                assert_eq!(decoded(&bytes, piece), Ok((payload.clone(), vec![])), "{length} {piece}");
            }
            assert!(frame(BINARY, &payload).ends_with(&payload));
        }
        assert_eq!(frame(TEXT, b"ab"), [0x81, 2, b'a', b'b']);
    }

    #[test]
    fn a_message_in_parts_with_questions_in_between() {
        let bytes = [
            masked(TEXT, b"one "),
            masked(0x80 | PING, b"there?"),
            masked(0x80, b"two"),
            masked(0x80 | PONG, b""),
            masked(0x80 | CLOSE, &[3, 232]),
        ]
        .concat();
        let said = vec![Control::Ping(b"there?".to_vec()), Control::Close(vec![3, 232])];
        assert_eq!(decoded(&bytes, 3), Ok((b"one two".to_vec(), said)));
    }

    #[test]
    fn what_breaks_the_protocol() {
        for bytes in [
            frame(TEXT, b"not masked"),
            masked(0xc0 | TEXT, b"x"),
            masked(0x80 | 3, b"x"),
            masked(PING, b"in parts"),
            masked(0x80 | PING, &[0; 126]),
            [&[0x82, 0xff][..], &[0xff; 12]].concat(),
        ] {
            assert_eq!(decoded(&bytes, 1 << 20).unwrap_err(), Broken, "{bytes:?}");
        }
    }

    #[test]
    fn bytes_go_both_ways_until_one_side_ends() {
        let (client, user) = socket::pair(socket::Kind::Stream).unwrap();
        let (plain, relay) = socket::pair(socket::Kind::Stream).unwrap();
        let early = masked(0x80 | TEXT, b"a");
        let thread = std::thread::spawn(move || translate(&client, &plain, &early));
        let read = |fd: &OwnedFd| {
            let mut buffer = [0; 64];
            let count = socket::receive(fd.as_fd(), &mut buffer).unwrap();
            buffer[..count].to_vec()
        };
        assert_eq!(read(&relay), b"a");
        socket::send(user.as_fd(), &masked(0x80 | PING, b"p")).unwrap();
        assert_eq!(read(&user), frame(PONG, b"p"));
        socket::send(relay.as_fd(), b"out").unwrap();
        assert_eq!(read(&user), frame(BINARY, b"out"));
        drop(relay);
        assert_eq!(read(&user), frame(CLOSE, &NORMAL.to_be_bytes()));
        thread.join().unwrap().unwrap();
    }
}
