//! A container's standard input: what clients send, and what has not fitted it yet.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

/// What one types for the end of input (VEOF of a new terminal).
const CTRL_D: u8 = 4;

/// Standard input, and what has not fitted it yet.
pub(super) struct Input {
    pub(super) fd: Option<OwnedFd>,
    is_pipe: bool,
    once: bool,
    pub(super) backlog: Vec<u8>,
    /// The end comes after the backlog.
    ending: bool,
    /// The last byte that came was a newline: a terminal has no unfinished line.
    at_line_start: bool,
}

impl Input {
    /// Writes to `fd`, a pipe or a terminal; `once` closes a pipe with the end of a client's input.
    pub(super) fn new(fd: Option<OwnedFd>, is_pipe: bool, once: bool) -> Self {
        Self { fd, is_pipe, once, backlog: Vec::new(), ending: false, at_line_start: true }
    }

    /// Writes what a client sent; what does not fit is kept.
    pub(super) fn write(&mut self, data: &[u8]) {
        self.at_line_start = data.last().map_or(self.at_line_start, |&byte| byte == b'\n');
        let written = if self.backlog.is_empty() { self.write_some(data) } else { 0 };
        if self.fd.is_some() {
            self.backlog.extend_from_slice(&data[written..]);
        }
    }

    pub(super) fn write_backlog(&mut self) {
        let backlog = std::mem::take(&mut self.backlog);
        let written = self.write_some(&backlog);
        self.backlog = backlog;
        self.backlog.drain(..written);
        if self.fd.is_none() {
            self.backlog.clear();
        }
        if self.ending && self.backlog.is_empty() {
            self.fd = None;
        }
    }

    /// Writes as much as fits. A reader that is gone closes the input for good.
    fn write_some(&mut self, data: &[u8]) -> usize {
        let Some(fd) = &self.fd else { return 0 };
        match rustix::io::retry_on_intr(|| rustix::io::write(fd, data)) {
            Ok(written) => written,
            Err(Errno::AGAIN) => 0,
            Err(_) if self.is_pipe => {
                self.fd = None;
                0
            }
            // A terminal that nobody has open drops what is typed.
            Err(_) => data.len(),
        }
    }

    /// A client's input is at its end. A terminal has no end, so the end is typed: once to hand over an
    /// unfinished line, and once for the end.
    pub(super) fn end(&mut self) {
        if !self.is_pipe {
            let typed = [CTRL_D; 2];
            self.write(if self.at_line_start { &typed[..1] } else { &typed });
        } else if self.once {
            self.ending = true;
            if self.backlog.is_empty() {
                self.fd = None;
            }
        }
    }
}
