//! One client's socket.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::head::{Head, Malformed};
use crate::sys::{inet, waiting};

/// Read at once, in bytes.
const READ: usize = 16 << 10;

/// A client's socket, and what was read from it before anybody wanted it.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: UnixStream,
    early: Vec<u8>,
}

/// Why there is no further request.
#[derive(Debug)]
pub(crate) enum NoRequest {
    /// The client has closed the connection, or it broke.
    Over,
    Malformed(Malformed),
}

impl Connection {
    /// Reads and writes of `socket` wait from now on.
    ///
    /// # Errors
    ///
    /// None in practice.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        let socket = UnixStream::from(socket);
        socket.set_nonblocking(false)?;
        Ok(Self { socket, early: Vec::new() })
    }

    /// Waits for the next request.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub(crate) fn next(&mut self) -> Result<Head, NoRequest> {
        loop {
            if let Some((head, length)) = Head::parse(&self.early).map_err(NoRequest::Malformed)? {
                self.early.drain(..length);
                return Ok(head);
            }
            let mut more = [0; READ];
            match self.socket.read(&mut more) {
                Ok(0) | Err(_) => return Err(NoRequest::Over),
                Ok(count) => self.early.extend_from_slice(&more[..count]),
            }
        }
    }

    /// Sends all of `bytes`.
    ///
    /// # Errors
    ///
    /// EPIPE if the client has gone.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)
    }

    /// Waits for the client to have read what was sent, but not for long.
    fn await_read(&self) {
        const PATIENCE: Duration = Duration::from_secs(5);
        const PAUSE: Duration = Duration::from_micros(200);
        let is_read = || inet::unacknowledged(&self.socket).map(|left| (left == 0).then_some(()));
        // Where it cannot be told, nobody waits.
        waiting::until(PATIENCE, PAUSE, is_read).ok();
    }

    /// The socket itself, and what was read of it already: for what is HTTP no more. The client has read the answer's head
    /// by then: docker-py takes what comes together with it for a part of that, and loses it.
    ///
    /// # Errors
    ///
    /// EMFILE.
    pub(crate) fn take(&mut self) -> io::Result<(OwnedFd, Vec<u8>)> {
        self.await_read();
        Ok((self.socket.try_clone()?.into(), std::mem::take(&mut self.early)))
    }

    /// Says that nothing more will be sent, and waits a little for the client to have read it: closing at once would
    /// take away what it has not read while it still sends.
    pub(crate) fn close(mut self) {
        const PATIENCE: Duration = Duration::from_secs(2);
        // It may have gone.
        self.socket.shutdown(Shutdown::Write).ok();
        self.socket.set_read_timeout(Some(PATIENCE)).ok();
        let (mut waste, end) = ([0; READ], Instant::now() + PATIENCE);
        while Instant::now() < end && matches!(self.socket.read(&mut waste), Ok(count) if count > 0) {}
    }
}

impl Read for Connection {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.early.is_empty() {
            if into.len() >= READ {
                return self.socket.read(into);
            }
            let mut more = [0; READ];
            let count = self.socket.read(&mut more)?;
            self.early.extend_from_slice(&more[..count]);
        }
        let count = self.early.len().min(into.len());
        into[..count].copy_from_slice(&self.early[..count]);
        self.early.drain(..count);
        Ok(count)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
