//! Blocking netlink sockets: what `ip` and `nft` talk to the kernel through.
//!
//! ```text
//! buffer of messages ──send──▶ kernel ──▶ one acknowledgement per message that asked for one
//!  header│payload│header│…             ◀── error number + text (extended acknowledgement)
//! ```
//!
//! This file knows headers, sequence numbers and acknowledgements; what the payloads mean is
//! `net::netlink` and `net::firewall`. A socket belongs for ever to the network namespace of the
//! thread that opened it.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

use super::inet;

/// Length of `struct nlmsghdr`.
pub(crate) const HEADER_BYTES: usize = 16;

/// `NLM_F_ACK`: the sender wants an acknowledgement.
const FLAG_ACK: u16 = 0x4;
/// `NLM_F_DUMP_INTR`: the table changed while it was being listed.
const FLAG_DUMP_INTERRUPTED: u16 = 0x10;
/// `NLM_F_CAPPED`: an error carries only the header of the message it answers.
const FLAG_CAPPED: u16 = 0x100;
/// `NLM_F_ACK_TLVS`: an error carries attributes.
const FLAG_ACK_ATTRIBUTES: u16 = 0x200;

const TYPE_NOOP: u16 = 1;
const TYPE_ERROR: u16 = 2;
const TYPE_DONE: u16 = 3;
const ERROR_ATTRIBUTE_TEXT: u16 = 1;

const SOL_NETLINK: i32 = 270;
const NETLINK_CAP_ACK: i32 = 10;
const NETLINK_EXT_ACK: i32 = 11;
const NETLINK_GET_STRICT_CHK: i32 = 12;

/// Which part of the kernel a socket talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Links, addresses, routes, rules.
    Route,
    /// nf_tables.
    Netfilter,
}

/// Why the kernel did not do as asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetlinkError {
    /// The socket itself failed.
    #[error("{action} netlink socket")]
    Socket { action: &'static str, source: Errno },
    /// The kernel refused a message.
    #[error("{}", if text.is_empty() { "the kernel refuses" } else { text })]
    Refused {
        /// Position of the message in its batch, counted from 0.
        index: usize,
        /// The kernel's reason in words, often empty.
        text: String,
        source: Errno,
    },
    /// A listing changed while it was read; ask again.
    #[error("kernel table changed while it was listed")]
    Interrupted,
    /// An answer that does not hold to the format.
    #[error("malformed netlink answer")]
    Malformed,
}

/// A netlink socket.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

/// `RTMGRP_LINK`, and of IPv4 and IPv6 `_IFADDR`, `_ROUTE` and `_RULE`: one bit for each.
const ROUTE_GROUPS: u32 = 1 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 1 << 18;

/// A socket that becomes readable when links, addresses, routes or rules of the calling thread's network namespace change.
pub(crate) fn watch_routes() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    rustix::net::bind(&socket, &netlink::SocketAddrNetlink::new(0, ROUTE_GROUPS))?;
    Ok(socket)
}

impl Netlink {
    /// Opens a socket into the calling thread's network namespace.
    pub(crate) fn open(protocol: Protocol) -> Result<Self, NetlinkError> {
        let failed = |action| move |source| NetlinkError::Socket { action, source };
        let number = match protocol {
            Protocol::Route => None,
            Protocol::Netfilter => Some(netlink::NETFILTER),
        };
        let socket =
            rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, number)
                .map_err(failed("open"))?;
        // Comfort only (texts, short answers, filtered listings): older kernels do without.
        for option in [NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK] {
            inet::set_option(&socket, SOL_NETLINK, option, 1).ok();
        }
        Ok(Self { socket, sequence: 1 })
    }

    /// Sends complete messages in one call and waits until each that asked for it is acknowledged.
    ///
    /// Numbers the messages in place. The kernel goes on after a refused message (nf_tables undoes
    /// the whole batch); the first refusal is returned.
    pub(crate) fn transact(&mut self, messages: &mut [u8]) -> Result<(), NetlinkError> {
        let first = self.sequence;
        let mut awaited = 0;
        let mut last_acknowledged = 0;
        let mut at = 0;
        while let Some(length) = message_length(&messages[at..]) {
            let index = self.sequence - first;
            messages[at + 8..at + 12].copy_from_slice(&self.sequence.to_ne_bytes());
            if u16::from_ne_bytes([messages[at + 6], messages[at + 7]]) & FLAG_ACK != 0 {
                awaited += 1;
                last_acknowledged = index;
            }
            self.sequence += 1;
            at += align(length).min(messages.len() - at);
        }
        self.send(messages)?;
        self.acknowledgements(first, awaited, last_acknowledged)
    }

    fn acknowledgements(&self, first: u32, mut awaited: u32, last: u32) -> Result<(), NetlinkError> {
        let mut refused = None;
        let mut buffer = vec![0; 32 * 1024];
        while awaited > 0 {
            let got = self.receive(&mut buffer)?;
            let mut at = 0;
            while let Some(length) = message_length(&buffer[at..got]) {
                let message = &buffer[at..at + length];
                at += align(length);
                if read_u16(message, 4)? != TYPE_ERROR {
                    continue;
                }
                let index = read_u32(message, 8)?.wrapping_sub(first);
                let outcome = acknowledgement(message, index as usize);
                // A refused batch begin answers for the whole batch; nothing else will come.
                let fatal = outcome.is_err() && index > last;
                if refused.is_none() {
                    refused = outcome.err();
                }
                awaited = if fatal { 0 } else { awaited.saturating_sub(1) };
            }
        }
        refused.map_or(Ok(()), Err)
    }

    /// Sends one request for a listing and calls `visit` with the type and payload of each entry.
    pub(crate) fn dump(
        &mut self,
        request: &mut [u8],
        mut visit: impl FnMut(u16, &[u8]),
    ) -> Result<(), NetlinkError> {
        let sequence = self.sequence;
        self.sequence += 1;
        request[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.send(request)?;
        let mut buffer = vec![0; 64 * 1024];
        let mut interrupted = false;
        loop {
            let got = self.receive(&mut buffer)?;
            let mut at = 0;
            while let Some(length) = message_length(&buffer[at..got]) {
                let message = &buffer[at..at + length];
                at += align(length);
                if read_u32(message, 8)? != sequence {
                    continue;
                }
                interrupted |= read_u16(message, 6)? & FLAG_DUMP_INTERRUPTED != 0;
                match read_u16(message, 4)? {
                    TYPE_DONE if interrupted => return Err(NetlinkError::Interrupted),
                    TYPE_DONE => return Ok(()),
                    TYPE_ERROR => return acknowledgement(message, 0),
                    TYPE_NOOP => {}
                    kind => visit(kind, &message[HEADER_BYTES..]),
                }
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> Result<(), NetlinkError> {
        rustix::net::send(&self.socket, bytes, SendFlags::empty())
            .map(|_all| ())
            .map_err(|source| NetlinkError::Socket { action: "send to", source })
    }

    fn receive(&self, buffer: &mut [u8]) -> Result<usize, NetlinkError> {
        loop {
            match rustix::net::recv(self.socket.as_fd(), &mut *buffer, RecvFlags::empty()) {
                Ok((got, _whole)) => return Ok(got),
                Err(Errno::INTR) => {}
                Err(source) => return Err(NetlinkError::Socket { action: "receive from", source }),
            }
        }
    }
}

/// Messages and attributes begin at multiples of four bytes.
pub(crate) fn align(length: usize) -> usize {
    (length + 3) & !3
}

/// Length of the message at the start of `bytes`, if a whole one is there.
fn message_length(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    (length >= HEADER_BYTES && length <= bytes.len()).then_some(length)
}

/// What an `NLMSG_ERROR` says: errno 0 is success.
fn acknowledgement(message: &[u8], index: usize) -> Result<(), NetlinkError> {
    let code = i32::from_ne_bytes(read_u32(message, HEADER_BYTES)?.to_ne_bytes());
    if code == 0 {
        return Ok(());
    }
    let flags = read_u16(message, 6)?;
    let quoted = read_u32(message, HEADER_BYTES + 4)? as usize;
    let attributes_at =
        HEADER_BYTES + 4 + if flags & FLAG_CAPPED != 0 { HEADER_BYTES } else { align(quoted) };
    let text = match message.get(attributes_at..) {
        Some(attributes) if flags & FLAG_ACK_ATTRIBUTES != 0 => error_text(attributes),
        _ => String::new(),
    };
    Err(NetlinkError::Refused { index, text, source: Errno::from_raw_os_error(-code) })
}

fn error_text(mut attributes: &[u8]) -> String {
    while attributes.len() >= 4 {
        let length = usize::from(u16::from_ne_bytes([attributes[0], attributes[1]]));
        let kind = u16::from_ne_bytes([attributes[2], attributes[3]]);
        let Some(value) = attributes.get(4..length) else { break };
        if kind == ERROR_ATTRIBUTE_TEXT {
            let text = value.split(|byte| *byte == 0).next().unwrap_or_default();
            return String::from_utf8_lossy(text).into_owned();
        }
        attributes = attributes.get(align(length)..).unwrap_or_default();
    }
    String::new()
}

fn read_u16(bytes: &[u8], at: usize) -> Result<u16, NetlinkError> {
    let field = bytes.get(at..at + 2).ok_or(NetlinkError::Malformed)?;
    Ok(u16::from_ne_bytes([field[0], field[1]]))
}

fn read_u32(bytes: &[u8], at: usize) -> Result<u32, NetlinkError> {
    let field = bytes.get(at..at + 4).ok_or(NetlinkError::Malformed)?;
    Ok(u32::from_ne_bytes([field[0], field[1], field[2], field[3]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error as the kernel sends it: capped, with a text attribute.
    fn refusal(code: i32, text: &str) -> Vec<u8> {
        let mut message = vec![0; HEADER_BYTES];
        message[4..6].copy_from_slice(&TYPE_ERROR.to_ne_bytes());
        message[6..8].copy_from_slice(&(FLAG_CAPPED | FLAG_ACK_ATTRIBUTES).to_ne_bytes());
        message.extend(code.to_ne_bytes());
        message.extend([0; HEADER_BYTES]);
        message.extend((u16::try_from(text.len()).unwrap() + 5).to_ne_bytes());
        message.extend(ERROR_ATTRIBUTE_TEXT.to_ne_bytes());
        message.extend(text.as_bytes());
        message.push(0);
        message
    }

    #[test]
    fn refusals_carry_the_kernels_words() {
        let error = acknowledgement(&refusal(-17, "File taken"), 3).unwrap_err();
        assert_eq!(error.to_string(), "File taken");
        assert!(matches!(error, NetlinkError::Refused { index: 3, .. }));
        assert!(acknowledgement(&refusal(0, ""), 0).is_ok());
    }

    #[test]
    fn truncated_answers_are_refused_not_read_past() {
        let whole = refusal(-1, "text");
        for length in 0..whole.len() {
            // No panic; below 20 bytes there is no code to read.
            let outcome = acknowledgement(&whole[..length], 0);
            assert!(outcome.is_err(), "{length}");
        }
        assert_eq!(message_length(&[200, 0, 0, 0, 1]), None);
        assert_eq!(message_length(&[]), None);
    }

    #[test]
    fn the_kernel_answers_a_bad_request_with_a_reason() {
        let mut socket = Netlink::open(Protocol::Route).unwrap();
        // RTM_NEWLINK for an interface index that does not exist.
        let mut message = vec![0; HEADER_BYTES + 16];
        message[0..4].copy_from_slice(&32_u32.to_ne_bytes());
        message[4..6].copy_from_slice(&16_u16.to_ne_bytes());
        message[6..8].copy_from_slice(&5_u16.to_ne_bytes());
        message[20..24].copy_from_slice(&i32::MAX.to_ne_bytes());
        assert!(matches!(socket.transact(&mut message), Err(NetlinkError::Refused { index: 0, .. })));
    }
}
