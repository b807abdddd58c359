//! Where a container's output is read from: a pipe, which grows while much comes through it, or a terminal.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::io::Errno;

use crate::attach::server::LARGE_PIPE;
use crate::base::stream::Stream;
use crate::sys::socket;

/// Size of any other pipe: what the kernel gives.
const USUAL_PIPE: usize = 64 << 10;

/// One output stream.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) fd: OwnedFd,
    pub(super) stream: Stream,
    pub(super) is_pipe: bool,
    pub(super) grown: bool,
    pub(super) is_open: bool,
    /// A terminal that nobody has open at the moment; somebody may again.
    pub(super) hung: bool,
}

impl Source {
    /// The reading end of a pipe, or the master of a terminal.
    pub(super) fn new(fd: OwnedFd, stream: Stream, is_pipe: bool) -> io::Result<Self> {
        socket::set_nonblocking(fd.as_fd(), true)?;
        Ok(Self { fd, stream, is_pipe, grown: false, is_open: true, hung: false })
    }

    /// Reads a chunk; `None` if there is nothing at the moment or any more.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match rustix::io::retry_on_intr(|| rustix::io::read(&self.fd, &mut *buffer)) {
            Ok(0) => {
                self.is_open = false;
                Ok(None)
            }
            Ok(length) => {
                if length == buffer.len() {
                    self.grow();
                }
                Ok(Some(length))
            }
            Err(Errno::AGAIN) => Ok(None),
            Err(Errno::IO) if !self.is_pipe => {
                self.hung = true;
                Ok(None)
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// Lets a pipe hold more, when its writer is faster than this loop.
    fn grow(&mut self) {
        if self.is_pipe && !self.grown {
            self.grown = true;
            // Refused when the user's pipes are many; then it stays as it is.
            rustix::pipe::fcntl_setpipe_size(&self.fd, LARGE_PIPE).ok();
        }
    }

    /// Gives back what it was grown by.
    pub(super) fn shrink(&mut self) {
        if std::mem::take(&mut self.grown) {
            rustix::pipe::fcntl_setpipe_size(&self.fd, USUAL_PIPE).ok();
        }
    }
}
