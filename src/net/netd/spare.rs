//! What to do without descriptors: a connection that cannot be accepted would wait for ever, and wake the loop again
//! and again.
//!
//! ```text
//! accept: EMFILE ─▶ close the spare one, accept, close that (a reset), open the spare one again
//! ```

use std::cell::RefCell;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::EventfdFlags;
use rustix::io::Errno;
use rustix::net::SocketFlags;

/// A descriptor that is kept for the day when there are no others.
#[derive(Debug)]
pub(super) struct Spare(RefCell<Option<OwnedFd>>);

impl Spare {
    pub(super) fn new() -> Self {
        Self(RefCell::new(make()))
    }

    /// After `error` of an accept(2): if that was for want of descriptors, turns away whoever is first in `listener`'s
    /// queue, and says so. False if there is nothing to accept for now.
    pub(super) fn turns_away(&self, listener: impl AsFd, error: Errno) -> bool {
        if !matches!(error, Errno::MFILE | Errno::NFILE) {
            return false;
        }
        let mut spare = self.0.borrow_mut();
        drop(spare.take());
        let accepted = rustix::net::accept_with(listener, SocketFlags::CLOEXEC).is_ok();
        *spare = make();
        accepted
    }
}

fn make() -> Option<OwnedFd> {
    rustix::event::eventfd(0, EventfdFlags::CLOEXEC).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn whoever_cannot_be_taken_is_turned_away() {
        let spare = Spare::new();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(!spare.turns_away(&listener, Errno::AGAIN), "that is not why");
        assert!(spare.turns_away(&listener, Errno::MFILE));
        assert_eq!(client.read(&mut [0]).unwrap_or(0), 0);
        assert!(!spare.turns_away(&listener, Errno::MFILE), "nobody is left");
        assert!(spare.0.borrow().is_some(), "there is one for the next time");
    }
}
