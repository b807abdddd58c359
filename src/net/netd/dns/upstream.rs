//! One server that was asked, and may answer yet.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketType};

use super::{take_message, with_length};
use crate::net::dns;
use crate::net::netd::core::Core;
use crate::net::netd::pool::Kind;
use crate::net::netd::reactor::{Interest, Token};
use crate::sys::inet;

/// A server to ask, and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Wherever the host's routes lead.
    Outside(SocketAddr),
    /// A container, which only G reaches.
    Inside(SocketAddr),
}

impl Target {
    fn address(self) -> SocketAddr {
        match self {
            Self::Outside(address) | Self::Inside(address) => address,
        }
    }

    /// A socket from which it can be reached.
    fn socket(self, core: &Core, stream: bool) -> Result<OwnedFd, Errno> {
        match self {
            Self::Outside(address) => {
                inet::socket(address.is_ipv6(), if stream { SocketType::STREAM } else { SocketType::DGRAM })
            }
            Self::Inside(address) => core.pool.take(Kind { v6: address.is_ipv6(), udp: !stream }),
        }
    }
}

/// A socket that leads to the server.
#[derive(Debug)]
pub(super) struct Upstream {
    socket: OwnedFd,
    stream: bool,
    /// Of a TCP query: what came back so far.
    received: Vec<u8>,
    /// Of a TCP query: whether it is written.
    written: bool,
}

impl Upstream {
    /// Asks a server, over TCP or UDP. The reactor reports under `token` when there may be an answer.
    pub(super) fn ask(
        core: &Core,
        server: Target,
        stream: bool,
        query: &[u8],
        token: Token,
    ) -> Result<Self, Errno> {
        let socket = server.socket(core, stream)?;
        match rustix::net::connect(&socket, &server.address()) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error),
        }
        if stream {
            core.reactor.add(&socket, Interest::Edges, token)?;
        } else {
            // The kernel chooses a port of its own at random for each query.
            rustix::net::send(&socket, query, SendFlags::NOSIGNAL)?;
            core.reactor.add(&socket, Interest::Read, token)?;
        }
        Ok(Self { socket, stream, received: Vec::new(), written: false })
    }

    /// The answer to `query`, if it is there.
    ///
    /// # Errors
    ///
    /// The server cannot be reached, or has closed the connection without one.
    pub(super) fn receive(&mut self, query: &[u8], buffer: &mut [u8]) -> Result<Option<Vec<u8>>, Errno> {
        if self.stream && !self.written {
            let message = with_length(query);
            match rustix::net::send(&self.socket, &message, SendFlags::NOSIGNAL) {
                Ok(sent) if sent == message.len() => self.written = true,
                Ok(_) => return Err(Errno::MSGSIZE),
                // It is being connected to still.
                Err(Errno::AGAIN | Errno::NOTCONN) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        loop {
            let got = match rustix::net::recv(&self.socket, &mut *buffer, RecvFlags::empty()) {
                Ok((0, _)) if self.stream => return Err(Errno::CONNRESET),
                Ok((got, _)) => got,
                Err(Errno::AGAIN) => return Ok(None),
                Err(error) => return Err(error),
            };
            let message = if self.stream {
                self.received.extend_from_slice(&buffer[..got]);
                take_message(&mut self.received)
            } else {
                Some(buffer[..got].to_vec())
            };
            // Something else than the answer is somebody's attempt to be taken for it.
            if let Some(message) = message.filter(|message| dns::answers(message, query)) {
                return Ok(Some(message));
            }
        }
    }
}
