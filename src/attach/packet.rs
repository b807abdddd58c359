//! The packets between a monitor and those who watch its container.
//!
//! ```text
//! client ──▶ monitor   Hello, then Stdin* StdinEof? Resize* Signal*
//! monitor ──▶ client   Stdout* Stderr* Signalled*, last Exit
//! ```
//!
//! A socket that keeps the borders of messages (`SOCK_SEQPACKET`) carries them; the first byte says
//! what a packet is, the rest is its data. Numbers are little-endian. Closing the socket is detaching.
//! Packets with data are made in place: data is read into a buffer behind its first byte, so that no
//! byte of output is copied within a process.
//!
//! With `Hello` a client may pass on the pipe or file that its output goes to. The monitor then writes there
//! itself, and sends no packets of that stream unless writing fails. `Ready` tells it that the client would pass
//! on signals by now: who sees output may send one.

use crate::base::stream::Stream;
use crate::sys::tty::WindowSize;

/// Most bytes of data in one packet. With the kind they fill 64 KiB.
pub(crate) const MAX_DATA: usize = 64 * 1024 - 1;
/// Size of a buffer that holds any packet.
pub(crate) const MAX_PACKET: usize = MAX_DATA + 1;

const HELLO: u8 = 1;
/// The first byte of a packet that carries standard input.
pub(crate) const STDIN: u8 = 2;
const STDIN_EOF: u8 = 3;
const RESIZE: u8 = 4;
const SIGNAL: u8 = 5;
const CHECK: u8 = 6;
const RELOAD: u8 = 7;
const WATCH: u8 = 8;
const READY: u8 = 9;
const ENDED: u8 = 10;
const STDOUT: u8 = 16;
const STDERR: u8 = 17;
const EXIT: u8 = 18;
const SIGNALLED: u8 = 19;
const CHECKED: u8 = 20;
const RELOADED: u8 = 21;

/// The first byte of a packet that carries output.
pub(crate) fn output_kind(stream: Stream) -> u8 {
    match stream {
        Stream::Stdout => STDOUT,
        Stream::Stderr => STDERR,
    }
}

/// The stream of a packet that carries output.
pub(crate) fn output_of(packet: &[u8]) -> Option<Stream> {
    match packet.first() {
        Some(&STDOUT) => Some(Stream::Stdout),
        Some(&STDERR) => Some(Stream::Stderr),
        _ => None,
    }
}

/// True for the packet that nothing follows.
pub(crate) fn is_exit(packet: &[u8]) -> bool {
    packet.first() == Some(&EXIT)
}

/// What a client asks for; its first packet. One that asks for nothing just waits for `Exit`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hello {
    /// Send standard output.
    pub(crate) stdout: bool,
    /// Send standard error.
    pub(crate) stderr: bool,
    /// This client will send standard input.
    pub(crate) stdin: bool,
    /// Which of standard output and standard error are written by the monitor: their descriptors come with
    /// this packet, in this order.
    pub(crate) direct: [bool; 2],
}

impl Hello {
    /// True if the client wants this stream.
    pub(crate) fn wants(self, stream: Stream) -> bool {
        match stream {
            Stream::Stdout => self.stdout,
            Stream::Stderr => self.stderr,
        }
    }
}

/// What a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FromClient<'a> {
    Hello(Hello),
    Stdin(&'a [u8]),
    /// The client's input is at its end.
    StdinEof,
    Resize(WindowSize),
    /// Send this signal to process 1; answered by `Signalled`. The monitor does it because a container
    /// with a user of its own belongs to an ID that the client may not signal.
    Signal(i32),
    /// Check the container's health now; answered by `Checked`.
    Check,
    /// This connection is that of a command beside process 1: the ID of its session.
    Watch(&'a [u8]),
    /// That command has ended with this code: tell of it.
    Ended(i32),
    /// What `update` has written is to hold from now on; answered by `Reloaded`.
    Reload,
    /// Output may be written to where it was passed on.
    Ready,
}

/// What a monitor sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FromMonitor<'a> {
    Output(Stream, &'a [u8]),
    /// What became of a `Signal`: 0, or an errno.
    Signalled(i32),
    /// How a check of the container's health went: its exit code, 0 for healthy.
    Checked(i32),
    /// What was written holds now.
    Reloaded,
    /// Process 1 has ended with this code (128 + n for a signal); nothing follows.
    Exit(i32),
}

/// A packet that breaks the protocol; its sender is not worth talking to.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("attach packet of kind {kind} and {length} bytes")]
pub(crate) struct PacketError {
    kind: u8,
    length: usize,
}

/// A packet without streamed data: at most five bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Small {
    bytes: [u8; 5],
    length: u8,
}

impl Small {
    fn empty(kind: u8) -> Self {
        Self { bytes: [kind, 0, 0, 0, 0], length: 1 }
    }

    fn byte(kind: u8, data: u8) -> Self {
        Self { bytes: [kind, data, 0, 0, 0], length: 2 }
    }

    fn word(kind: u8, [a, b, c, d]: [u8; 4]) -> Self {
        Self { bytes: [kind, a, b, c, d], length: 5 }
    }

    /// The packet as it is sent.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// The opening packet of a client.
pub(crate) fn hello(hello: Hello) -> Small {
    let Hello { stdout, stderr, stdin, direct: [direct_stdout, direct_stderr] } = hello;
    let flags = [stdout, stderr, stdin, direct_stdout, direct_stderr];
    Small::byte(HELLO, flags.iter().rev().fold(0, |bits, flag| bits << 1 | u8::from(*flag)))
}

/// The packet that says that a client's input is at its end.
pub(crate) fn stdin_eof() -> Small {
    Small::empty(STDIN_EOF)
}

/// The packet that tells the size of a client's window.
pub(crate) fn resize(size: WindowSize) -> Small {
    let ([r0, r1], [c0, c1]) = (size.rows.to_le_bytes(), size.cols.to_le_bytes());
    Small::word(RESIZE, [r0, r1, c0, c1])
}

/// The packet that asks for a signal.
pub(crate) fn signal(number: i32) -> Small {
    Small::word(SIGNAL, number.to_le_bytes())
}

/// The packet that asks for a check of the container's health.
pub(crate) fn check() -> Small {
    Small::empty(CHECK)
}

/// The answer to [`check`].
pub(crate) fn checked(code: i32) -> Small {
    Small::word(CHECKED, code.to_le_bytes())
}

/// The packet that says whose end this connection is there to tell of.
pub(crate) fn watch(session: &str) -> Vec<u8> {
    [&[WATCH], session.as_bytes()].concat()
}

/// The packet that tells of that end.
pub(crate) fn ended(code: i32) -> Small {
    Small::word(ENDED, code.to_le_bytes())
}

/// The packet that says that something about the container was changed.
pub(crate) fn reload() -> Small {
    Small::empty(RELOAD)
}

/// The packet that says that output may be written directly.
pub(crate) fn ready() -> Small {
    Small::empty(READY)
}

/// The answer to [`reload`].
pub(crate) fn reloaded() -> Small {
    Small::empty(RELOADED)
}

/// The packet that ends a connection.
pub(crate) fn exit(code: i32) -> Small {
    Small::word(EXIT, code.to_le_bytes())
}

/// The answer to [`signal`].
pub(crate) fn signalled(errno: i32) -> Small {
    Small::word(SIGNALLED, errno.to_le_bytes())
}

impl<'a> FromClient<'a> {
    /// Reads a packet.
    ///
    /// # Errors
    ///
    /// An unknown kind, or a length that its kind does not have.
    pub(crate) fn decode(packet: &'a [u8]) -> Result<Self, PacketError> {
        let (&kind, data) = packet.split_first().ok_or(PacketError { kind: 0, length: 0 })?;
        match (kind, data) {
            (HELLO, &[bits @ 0..=31]) => Ok(Self::Hello(Hello {
                stdout: bits & 1 != 0,
                stderr: bits & 2 != 0,
                stdin: bits & 4 != 0,
                direct: [bits & 8 != 0, bits & 16 != 0],
            })),
            (STDIN, data) => Ok(Self::Stdin(data)),
            (STDIN_EOF, []) => Ok(Self::StdinEof),
            (RESIZE, &[r0, r1, c0, c1]) => Ok(Self::Resize(WindowSize {
                rows: u16::from_le_bytes([r0, r1]),
                cols: u16::from_le_bytes([c0, c1]),
            })),
            (SIGNAL, &[a, b, c, d]) => Ok(Self::Signal(i32::from_le_bytes([a, b, c, d]))),
            (CHECK, []) => Ok(Self::Check),
            (RELOAD, []) => Ok(Self::Reload),
            (READY, []) => Ok(Self::Ready),
            (WATCH, session) => Ok(Self::Watch(session)),
            (ENDED, &[a, b, c, d]) => Ok(Self::Ended(i32::from_le_bytes([a, b, c, d]))),
            _ => Err(PacketError { kind, length: packet.len() }),
        }
    }
}

impl<'a> FromMonitor<'a> {
    /// Reads a packet.
    ///
    /// # Errors
    ///
    /// An unknown kind, or a length that its kind does not have.
    pub(crate) fn decode(packet: &'a [u8]) -> Result<Self, PacketError> {
        let (&kind, data) = packet.split_first().ok_or(PacketError { kind: 0, length: 0 })?;
        match (kind, data) {
            (STDOUT, data) => Ok(Self::Output(Stream::Stdout, data)),
            (STDERR, data) => Ok(Self::Output(Stream::Stderr, data)),
            (SIGNALLED, &[a, b, c, d]) => Ok(Self::Signalled(i32::from_le_bytes([a, b, c, d]))),
            (CHECKED, &[a, b, c, d]) => Ok(Self::Checked(i32::from_le_bytes([a, b, c, d]))),
            (RELOADED, []) => Ok(Self::Reloaded),
            (EXIT, &[a, b, c, d]) => Ok(Self::Exit(i32::from_le_bytes([a, b, c, d]))),
            _ => Err(PacketError { kind, length: packet.len() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_sends_is_read_back() {
        let all = Hello { stdout: true, stderr: true, stdin: true, direct: [true, true] };
        let size = WindowSize { rows: 24, cols: 300 };
        for (packet, want) in [
            (hello(Hello::default()), FromClient::Hello(Hello::default())),
            (hello(all), FromClient::Hello(all)),
            (hello(Hello { stderr: false, ..all }), FromClient::Hello(Hello { stderr: false, ..all })),
            (
                hello(Hello { direct: [true, false], ..all }),
                FromClient::Hello(Hello { direct: [true, false], ..all }),
            ),
            (stdin_eof(), FromClient::StdinEof),
            (resize(size), FromClient::Resize(size)),
            (signal(15), FromClient::Signal(15)),
            (signal(-1), FromClient::Signal(-1)),
            (check(), FromClient::Check),
            (reload(), FromClient::Reload),
            (ready(), FromClient::Ready),
            (ended(7), FromClient::Ended(7)),
        ] {
            assert_eq!(FromClient::decode(packet.as_bytes()), Ok(want));
        }
        assert_eq!(FromClient::decode(&[STDIN, 0, 255]), Ok(FromClient::Stdin(&[0, 255])));
        assert_eq!(FromClient::decode(&watch("a1")), Ok(FromClient::Watch(b"a1")));
    }

    #[test]
    fn what_a_monitor_sends_is_read_back() {
        for (packet, want) in [
            (exit(137), FromMonitor::Exit(137)),
            (exit(-1), FromMonitor::Exit(-1)),
            (signalled(3), FromMonitor::Signalled(3)),
            (reloaded(), FromMonitor::Reloaded),
        ] {
            assert_eq!(FromMonitor::decode(packet.as_bytes()), Ok(want));
        }
        for stream in [Stream::Stdout, Stream::Stderr] {
            let packet = [output_kind(stream), b'x'];
            assert_eq!(FromMonitor::decode(&packet), Ok(FromMonitor::Output(stream, b"x")));
            assert_eq!((output_of(&packet), is_exit(&packet)), (Some(stream), false));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in
            [&[][..], &[0], &[99, 1], &[HELLO], &[HELLO, 32], &[HELLO, 1, 1], &[STDIN_EOF, 0], &[RESIZE, 1]]
        {
            assert!(FromClient::decode(bad).is_err(), "{bad:?}");
        }
        for bad in [&[][..], &[STDIN, 1], &[EXIT], &[EXIT, 0, 0, 0], &[EXIT, 0, 0, 0, 0, 0]] {
            assert!(FromMonitor::decode(bad).is_err(), "{bad:?}");
        }
    }
}
