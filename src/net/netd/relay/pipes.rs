//! The pipes through which pages are moved: a shared stock, for connections are many, and a user may have few pipes.

use std::os::fd::OwnedFd;

use rustix::pipe::PipeFlags;

/// How much a pipe is to hold.
pub(super) const PIPE_BYTES: usize = 1 << 20;
/// All pipes together stay below what an unprivileged user may have (16384 pages).
const MAX_PIPES: usize = 32;

#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) reader: OwnedFd,
    pub(super) writer: OwnedFd,
}

/// Empty pipes, ready for use.
#[derive(Debug, Default)]
pub(super) struct Pipes {
    idle: Vec<Pipe>,
    made: usize,
}

impl Pipes {
    /// An empty pipe; none if there are too many.
    pub(super) fn take(&mut self) -> Option<Pipe> {
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

    /// Takes a pipe back, for others if it is empty.
    pub(super) fn give_back(&mut self, pipe: Pipe, empty: bool) {
        if empty {
            self.idle.push(pipe);
        } else {
            self.made -= 1;
        }
    }
}
