//! Waiting for several descriptors at once.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// Descriptors to wait for, in the order in which they were added. Keeps its memory from one wait to
/// the next. It remembers numbers only: wait while the descriptors that were added are open.
#[derive(Default)]
pub(crate) struct PollSet(Vec<libc::pollfd>);

/// What a descriptor is awaited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interest {
    /// It can be read, or is at its end.
    pub(crate) read: bool,
    /// It can be written.
    pub(crate) write: bool,
}

impl Interest {
    /// Reading.
    pub(crate) const READ: Self = Self { read: true, write: false };
    /// Writing.
    pub(crate) const WRITE: Self = Self { read: false, write: true };
}

/// What has happened to a descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ready {
    pub(crate) read: bool,
    pub(crate) write: bool,
    /// The other end is gone; reported whatever one was interested in.
    pub(crate) hung_up: bool,
}

impl std::fmt::Debug for PollSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|entry| entry.fd)).finish()
    }
}

impl PollSet {
    /// Forgets all descriptors.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds a descriptor and answers its place. No descriptor, or no interest, takes a place where
    /// nothing ever happens, not even a hang-up.
    pub(crate) fn add(&mut self, fd: Option<BorrowedFd<'_>>, interest: Interest) -> usize {
        let fd = match fd {
            Some(fd) if interest != Interest::default() => fd.as_raw_fd(),
            _ => -1,
        };
        let read = if interest.read { libc::POLLIN } else { 0 };
        let write = if interest.write { libc::POLLOUT } else { 0 };
        self.0.push(libc::pollfd { fd, events: read | write, revents: 0 });
        self.0.len() - 1
    }

    /// Adds a descriptor that only its hang-up matters of, as when nobody reads a pipe any more; answers its place.
    pub(crate) fn add_for_hang_up(&mut self, fd: Option<BorrowedFd<'_>>) -> usize {
        let fd = fd.map_or(-1, |fd| fd.as_raw_fd());
        self.0.push(libc::pollfd { fd, events: 0, revents: 0 });
        self.0.len() - 1
    }

    /// Waits until something happens or the time is over; `None` waits for ever. True if something has
    /// happened. A signal that is handled ends the wait early, with nothing ready.
    ///
    /// # Errors
    ///
    /// ENOMEM; EINVAL for more descriptors than may be open.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        let millis = match timeout {
            None => -1,
            // Rounded up: waking too early would turn the rest into a busy loop.
            Some(time) => i32::try_from(time.as_micros().div_ceil(1000)).unwrap_or(i32::MAX),
        };
        let count = libc::nfds_t::try_from(self.0.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: the pointer and count describe the vector's initialised entries, which the kernel only
        // changes in `revents`.
        let ready = unsafe { libc::poll(self.0.as_mut_ptr(), count, millis) };
        if ready >= 0 {
            return Ok(ready > 0);
        }
        let err = io::Error::last_os_error();
        if err.kind() != io::ErrorKind::Interrupted {
            return Err(err);
        }
        self.0.iter_mut().for_each(|entry| entry.revents = 0);
        Ok(false)
    }

    /// What happened at a place.
    pub(crate) fn ready(&self, place: usize) -> Ready {
        let events = self.0.get(place).map_or(0, |entry| entry.revents);
        Ready {
            read: events & (libc::POLLIN | libc::POLLHUP | libc::POLLERR) != 0,
            write: events & (libc::POLLOUT | libc::POLLERR) != 0,
            hung_up: events & (libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;

    #[test]
    fn a_pipe_is_ready_when_it_should_be() {
        let (read, write) = rustix::pipe::pipe().unwrap();
        let mut set = PollSet::default();
        let mut look = |interest_in_read| {
            set.clear();
            let absent = set.add(None, Interest::READ);
            let reader = set.add(Some(read.as_fd()), Interest { read: interest_in_read, write: false });
            set.wait(Some(Duration::ZERO)).unwrap();
            assert_eq!(set.ready(absent), Ready::default());
            set.ready(reader)
        };
        assert_eq!(look(true), Ready::default());
        rustix::io::write(&write, b"x").unwrap();
        assert_eq!(look(true), Ready { read: true, write: false, hung_up: false });
        assert_eq!(look(false), Ready::default());
        drop(write);
        assert_eq!(look(true), Ready { read: true, write: false, hung_up: true });
    }

    #[test]
    fn a_writer_learns_that_nobody_reads() {
        let (read, write) = rustix::pipe::pipe().unwrap();
        let mut set = PollSet::default();
        let place = set.add_for_hang_up(Some(write.as_fd()));
        assert!(!set.wait(Some(Duration::ZERO)).unwrap() && !set.ready(place).hung_up);
        drop(read);
        assert!(set.wait(Some(Duration::ZERO)).unwrap() && set.ready(place).hung_up);
        set.clear();
        let place = set.add_for_hang_up(None);
        assert!(!set.wait(Some(Duration::ZERO)).unwrap() && !set.ready(place).hung_up);
    }
}
