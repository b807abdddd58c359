//! As much of the D-Bus protocol as it takes to ask systemd for one thing.
//!
//! ```text
//! connect ─▶ "\0AUTH EXTERNAL DATA BEGIN" ─▶ (Hello, Subscribe, AddMatch: only on a bus) ─▶ call ─▶ reply, signals
//! ```
//!
//! The kernel tells the other side who we are, so the authentication is empty: that holds in a user
//! namespace, too, where our own number would be another.
//!
//! # Source
//!
//! The D-Bus specification, "Message Protocol" and "Authentication Protocol".

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long the other side may keep silent.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest message that is taken.
const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// A value in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Bool(bool),
    U64(u64),
    Numbers(Vec<u32>),
}

impl Value {
    fn signature(&self) -> &'static str {
        match self {
            Self::Text(_) => "s",
            Self::Bool(_) => "b",
            Self::U64(_) => "t",
            Self::Numbers(_) => "au",
        }
    }
}

/// A message being written; alignment counts from its first byte.
#[derive(Debug, Default)]
pub(super) struct Body(Vec<u8>);

impl Body {
    fn align(&mut self, to: usize) {
        while !self.0.len().is_multiple_of(to) {
            self.0.push(0);
        }
    }

    fn u32(&mut self, number: u32) {
        self.align(4);
        self.0.extend(number.to_le_bytes());
    }

    fn length(&mut self, length: usize) {
        self.u32(u32::try_from(length).expect("messages are far below 4 GiB"));
    }

    pub(super) fn text(&mut self, text: &str) {
        self.length(text.len());
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, text: &str) {
        self.0.push(u8::try_from(text.len()).expect("our signatures are short"));
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    /// A value without its type.
    pub(super) fn value(&mut self, value: &Value) {
        match value {
            Value::Text(text) => self.text(text),
            Value::Bool(on) => self.u32(u32::from(*on)),
            Value::U64(number) => {
                self.align(8);
                self.0.extend(number.to_le_bytes());
            }
            Value::Numbers(numbers) => {
                self.length(4 * numbers.len());
                numbers.iter().for_each(|number| self.u32(*number));
            }
        }
    }

    /// An array whose elements begin at multiples of 8.
    pub(super) fn array_of_structs(&mut self, fill: impl FnOnce(&mut Self)) {
        self.u32(0);
        let length_at = self.0.len() - 4;
        self.align(8);
        let start = self.0.len();
        fill(self);
        let length = u32::try_from(self.0.len() - start).expect("messages are far below 4 GiB");
        self.0[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// An array of properties, `a(sv)`.
    pub(super) fn properties(&mut self, properties: &[(&str, Value)]) {
        self.array_of_structs(|body| {
            for (name, value) in properties {
                body.align(8);
                body.text(name);
                body.signature(value.signature());
                body.value(value);
            }
        });
    }
}

/// A method of an object.
pub(super) struct Method<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) name: &'a str,
    /// The types of the body.
    pub(super) signature: &'a str,
}

/// A message that came.
#[derive(Debug)]
pub(super) struct Message {
    kind: u8,
    reply_to: u32,
    member: String,
    error: String,
    /// The texts at the beginning of the body, as far as its types are `s`, `o` and `u`, or one of them as a variant.
    pub(super) words: Vec<String>,
}

const METHOD_CALL: u8 = 1;
const METHOD_RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

impl Message {
    /// True for the signal `name`.
    pub(super) fn is_signal(&self, name: &str) -> bool {
        self.kind == SIGNAL && self.member == name
    }
}

/// Why a call failed.
#[derive(Debug)]
pub(super) enum CallError {
    Io(io::Error),
    /// The name of an error and its text.
    Refused(String, String),
}

impl From<io::Error> for CallError {
    fn from(err: io::Error) -> Self {
        Self::Io(err)
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    serial: u32,
    /// Signals that came while a reply was awaited.
    signals: Vec<Message>,
}

impl Connection {
    /// Connects to the socket at `path` and authenticates.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        // "DATA", then "OK <guid>".
        loop {
            let line = read_line(&mut stream)?;
            if line.starts_with("OK ") {
                return Ok(Self { stream, serial: 0, signals: Vec::new() });
            }
            if line != "DATA" {
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, line));
            }
        }
    }

    /// Calls a method and waits for its answer.
    pub(super) fn call(&mut self, method: &Method<'_>, body: Body) -> Result<Message, CallError> {
        self.serial += 1;
        self.stream.write_all(&encode(self.serial, method, &body.0))?;
        loop {
            let message = self.receive()?;
            match message.kind {
                METHOD_RETURN if message.reply_to == self.serial => return Ok(message),
                ERROR if message.reply_to == self.serial => {
                    let text = message.words.into_iter().next().unwrap_or_default();
                    return Err(CallError::Refused(message.error, text));
                }
                SIGNAL => self.signals.push(message),
                _ => {}
            }
        }
    }

    /// The next signal.
    pub(super) fn signal(&mut self) -> io::Result<Message> {
        if !self.signals.is_empty() {
            return Ok(self.signals.remove(0));
        }
        loop {
            let message = self.receive()?;
            if message.kind == SIGNAL {
                return Ok(message);
            }
        }
    }

    fn receive(&mut self) -> io::Result<Message> {
        let mut head = [0; 16];
        self.stream.read_exact(&mut head)?;
        let sizes = Header::parse(&head)?;
        let mut rest = vec![0; sizes.rest()];
        self.stream.read_exact(&mut rest)?;
        decode(&head, &rest, &sizes).ok_or_else(malformed)
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a malformed D-Bus message")
}

fn read_line(stream: &mut UnixStream) -> io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\r\n") && line.len() < 512 {
        stream.read_exact(&mut byte)?;
        line.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

/// The bytes of a method call.
fn encode(serial: u32, method: &Method<'_>, body: &[u8]) -> Vec<u8> {
    let mut message = Body(vec![b'l', METHOD_CALL, 0, 1]);
    message.length(body.len());
    message.u32(serial);
    message.array_of_structs(|head| {
        for (field, kind, text) in [
            (1, "o", method.path),
            (2, "s", method.interface),
            (3, "s", method.name),
            (6, "s", method.destination),
            (8, "g", method.signature),
        ] {
            if text.is_empty() {
                continue;
            }
            head.align(8);
            head.0.push(field);
            head.signature(kind);
            if kind == "g" { head.signature(text) } else { head.text(text) }
        }
    });
    message.align(8);
    message.0.extend(body);
    message.0
}

/// The fixed part of a message.
struct Header {
    body: usize,
    fields: usize,
}

impl Header {
    fn parse(head: &[u8; 16]) -> io::Result<Self> {
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let too_long = |_| malformed();
        let body = usize::try_from(number(4)).map_err(too_long)?;
        let fields = usize::try_from(number(12)).map_err(too_long)?;
        if head[0] != b'l' || body > MAX_MESSAGE_BYTES || fields > MAX_MESSAGE_BYTES {
            return Err(malformed());
        }
        Ok(Self { body, fields })
    }

    /// What follows the first 16 bytes.
    fn rest(&self) -> usize {
        self.fields.next_multiple_of(8) + self.body
    }
}

/// Takes a message apart; `None` if it is malformed.
fn decode(head: &[u8; 16], rest: &[u8], sizes: &Header) -> Option<Message> {
    let mut message = Message {
        kind: head[1],
        reply_to: 0,
        member: String::new(),
        error: String::new(),
        words: Vec::new(),
    };
    let mut types = String::new();
    let mut fields = Reader { bytes: rest.get(..sizes.fields)?, at: 0 };
    while fields.at < fields.bytes.len() {
        fields.align(8);
        let field = fields.byte()?;
        match (field, fields.signature()?.as_str()) {
            (5, "u") => message.reply_to = fields.u32()?,
            (3, "s") => message.member = fields.text()?,
            (4, "s") => message.error = fields.text()?,
            (8, "g") => types = fields.signature()?,
            (_, "s" | "o") => drop(fields.text()?),
            (_, "g") => drop(fields.signature()?),
            (_, "u") => drop(fields.u32()?),
            _ => return None,
        }
    }
    let mut body = Reader { bytes: rest.get(sizes.fields.next_multiple_of(8)..)?, at: 0 };
    for kind in types.chars() {
        message.words.push(match kind {
            's' | 'o' => body.text()?,
            'u' => body.u32()?.to_string(),
            'v' if matches!(body.signature()?.as_str(), "s" | "o") => body.text()?,
            _ => break,
        });
    }
    Some(message)
}

/// Reads what [`Body`] writes.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, count: usize) -> Option<&[u8]> {
        let found = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(found)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u32(&mut self) -> Option<u32> {
        self.align(4);
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.u32()?).ok()?;
        self.terminated(length)
    }

    fn signature(&mut self) -> Option<String> {
        let length = usize::from(self.byte()?);
        self.terminated(length)
    }

    fn terminated(&mut self, length: usize) -> Option<String> {
        let text = self.take(length)?.to_vec();
        self.byte()?;
        String::from_utf8(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> Option<Message> {
        let head: [u8; 16] = bytes[..16].try_into().unwrap();
        let sizes = Header::parse(&head).ok()?;
        assert_eq!(bytes.len(), 16 + sizes.rest());
        decode(&head, &bytes[16..], &sizes)
    }

    const METHOD: Method<'_> =
        Method { destination: "org.x", path: "/org/x", interface: "org.x.I", name: "Do", signature: "ss" };

    #[test]
    fn a_message_comes_back_as_it_went() {
        let mut body = Body::default();
        body.text("one");
        body.text("");
        let message = parse(&encode(7, &METHOD, &body.0)).unwrap();
        assert_eq!((message.kind, message.member.as_str()), (METHOD_CALL, "Do"));
        assert_eq!(message.words, ["one", ""]);
    }

    #[test]
    fn properties_are_aligned() {
        let mut body = Body::default();
        body.properties(&[("Delegate", Value::Bool(true)), ("PIDs", Value::Numbers(vec![5]))]);
        let want: &[u8] = b"\x30\0\0\0\0\0\0\0\
            \x08\0\0\0Delegate\0\x01b\0\x01\0\0\0\0\0\0\0\
            \x04\0\0\0PIDs\0\x02au\0\0\0\0\x04\0\0\0\x05\0\0\0";
        assert_eq!(body.0, want);
    }

    #[test]
    fn broken_messages_are_refused() {
        let mut body = Body::default();
        body.text("one");
        body.text("two");
        let whole = encode(1, &METHOD, &body.0);
        for at in 0..whole.len() {
            let mut broken = whole.clone();
            broken[at] = 0xff;
            let head: [u8; 16] = broken[..16].try_into().unwrap();
            // Whatever it is taken for: no panic, and nothing read beyond the end.
            if let Ok(sizes) = Header::parse(&head) {
                decode(&head, &broken[16..], &sizes);
            }
        }
    }
}
