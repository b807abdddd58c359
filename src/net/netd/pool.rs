//! Sockets in G for a process whose main thread is not there.
//!
//! ```text
//! main loop ──take──▶ shelf of ready sockets ◀──fill── factory thread (in G)
//! ```
//!
//! A socket belongs to the namespace of the thread that made it. A thread of its own keeps a few of
//! each kind ready, so that a connection does not wait for one to be made.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SocketType, sockopt};

use crate::sys::{inet, netns};

/// So many of a kind are kept ready at first, and at most where the loop has had to wait for one: on a busy machine the
/// factory does not get a processor at once, and meanwhile no byte of any connection moves.
const FEW: usize = 48;
const MANY: usize = 512;
/// This many are made between two looks at the shelves.
const BATCH: usize = 16;
/// Room for datagrams that wait while the loop does something else.
const DATAGRAM_BUFFER_BYTES: usize = 1 << 20;

/// A kind of socket: transparent, non-blocking, not bound to an address yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) v6: bool,
    pub(super) udp: bool,
}

impl Kind {
    fn shelf(self) -> usize {
        usize::from(self.v6) * 2 + usize::from(self.udp)
    }

    const ALL: [Self; 4] = [
        Self { v6: false, udp: false },
        Self { v6: false, udp: true },
        Self { v6: true, udp: false },
        Self { v6: true, udp: true },
    ];

    fn make(self) -> Result<OwnedFd, Errno> {
        let socket = inet::socket(self.v6, if self.udp { SocketType::DGRAM } else { SocketType::STREAM })?;
        inet::set_transparent(&socket, self.v6)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        if self.udp {
            prepare_datagrams(&socket);
        } else {
            prepare_inward(&socket)?;
        }
        Ok(socket)
    }
}

/// Options of a TCP socket that connects to a container. Its end is always noticed, and that of the handshake waits
/// for the first bytes (`relay` sends it on if there are none).
fn prepare_inward(socket: impl AsFd) -> Result<(), Errno> {
    sockopt::set_tcp_nodelay(&socket, true)?;
    inet::hold_last_acknowledgement(&socket)?;
    sockopt::set_socket_linger(&socket, Some(Duration::ZERO))
}

/// Options of every TCP socket of netd: small writes go at once, dead peers are noticed, and should
/// netd die, the peer sees a reset and not the end of a stream that looks complete.
pub(super) fn prepare_stream(socket: impl AsFd) -> Result<(), Errno> {
    sockopt::set_tcp_nodelay(&socket, true)?;
    sockopt::set_socket_keepalive(&socket, true)?;
    sockopt::set_socket_linger(&socket, Some(Duration::ZERO))
}

/// Options of every UDP socket of netd. All of them help only.
pub(super) fn prepare_datagrams(socket: impl AsFd) {
    sockopt::set_socket_recv_buffer_size(&socket, DATAGRAM_BUFFER_BYTES).ok();
    inet::set_udp_gro(&socket, true).ok();
}

/// Ready sockets of one kind.
#[derive(Debug, Default)]
struct Shelf {
    ready: Vec<OwnedFd>,
    /// How many there shall be. None until the first is asked for.
    goal: usize,
    /// The factory has begun to fill it up and goes on until that is done.
    filling: bool,
}

impl Shelf {
    /// Takes a socket; says whether the factory must be woken. Where there is none, twice as many are made, up to `most`.
    fn take(&mut self, most: usize) -> (Option<OwnedFd>, bool) {
        let Some(socket) = self.ready.pop() else {
            self.goal = (self.goal * 2).clamp(FEW.min(most), most);
            self.filling = true;
            return (None, true);
        };
        // The factory rests only while every shelf is half full: it is woken once.
        let wakes = !self.filling && self.ready.len() < self.goal / 2;
        self.filling |= wakes;
        (Some(socket), wakes)
    }

    /// Adds new sockets.
    fn put(&mut self, made: Vec<OwnedFd>) {
        self.ready.extend(made);
        self.filling = self.ready.len() < self.goal;
    }
}

#[derive(Debug, Default)]
struct Shelves {
    shelves: [Shelf; 4],
    /// Why the last attempt to make some failed.
    failure: Option<Errno>,
    closed: bool,
}

/// Ready sockets, shared by the main loop and the factory thread.
#[derive(Debug, Default)]
pub(super) struct Pool {
    shelves: Mutex<Shelves>,
    changed: Condvar,
    /// The largest goal of a shelf.
    most: usize,
}

impl Pool {
    /// Starts the factory in the namespace `gateway`. It ends when the pool is closed.
    pub(super) fn start(gateway: OwnedFd) -> std::io::Result<Arc<Self>> {
        // Connections need descriptors, too.
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let share = limit.map_or(MANY, |limit| usize::try_from(limit / 16).unwrap_or(MANY));
        let pool = Arc::new(Self { most: share.clamp(1, MANY), ..Self::default() });
        let shared = Arc::clone(&pool);
        std::thread::Builder::new().name("sockets".into()).stack_size(128 * 1024).spawn(move || {
            match netns::enter(gateway.as_fd()) {
                Ok(()) => shared.serve(),
                Err(error) => shared.fail(error),
            }
        })?;
        Ok(pool)
    }

    fn lock(&self) -> MutexGuard<'_, Shelves> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A socket of this kind, in G. Waits only if none is ready.
    pub(super) fn take(&self, kind: Kind) -> Result<OwnedFd, Errno> {
        let mut shelves = self.lock();
        shelves.failure = None;
        let (socket, wakes) = shelves.shelves[kind.shelf()].take(self.most);
        if wakes {
            self.changed.notify_all();
        }
        if let Some(socket) = socket {
            return Ok(socket);
        }
        loop {
            shelves = self.changed.wait(shelves).unwrap_or_else(PoisonError::into_inner);
            if let Some(socket) = shelves.shelves[kind.shelf()].ready.pop() {
                return Ok(socket);
            }
            if let Some(error) = shelves.failure {
                return Err(error);
            }
        }
    }

    /// Ends the factory.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn serve(&self) {
        let mut shelves = self.lock();
        while !shelves.closed {
            let low = |kind: &Kind| shelves.shelves[kind.shelf()].filling && shelves.failure.is_none();
            let Some(kind) = Kind::ALL.into_iter().find(low) else {
                shelves = self.changed.wait(shelves).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(shelves);
            let (mut made, mut failure) = (Vec::with_capacity(BATCH), None);
            while made.len() < BATCH && failure.is_none() {
                match kind.make() {
                    Ok(socket) => made.push(socket),
                    Err(error) => failure = Some(error),
                }
            }
            shelves = self.lock();
            shelves.shelves[kind.shelf()].put(made);
            shelves.failure = failure;
            self.changed.notify_all();
        }
        shelves.shelves = Default::default();
    }

    fn fail(&self, error: Errno) {
        // Set anew as often as somebody asks.
        let mut shelves = self.lock();
        while !shelves.closed {
            shelves.failure = Some(error);
            self.changed.notify_all();
            shelves = self.changed.wait(shelves).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sockets(count: usize) -> Vec<OwnedFd> {
        (0..count).map(|_| inet::socket(false, SocketType::DGRAM).unwrap()).collect()
    }

    #[test]
    fn a_shelf_that_ran_empty_is_made_larger() {
        let mut shelf = Shelf::default();
        for (most, goal) in [(200, FEW), (200, 2 * FEW), (200, 192), (200, 200), (50, 50)] {
            let (none, wakes) = shelf.take(most);
            assert!(none.is_none() && wakes && shelf.filling, "who waits wakes the factory, always");
            assert_eq!(shelf.goal, goal);
        }
    }

    #[test]
    fn the_factory_is_woken_once_and_fills_up_to_the_goal() {
        let mut shelf = Shelf::default();
        shelf.take(MANY);
        shelf.put(sockets(FEW - 1));
        assert!(shelf.filling, "not full yet");
        shelf.put(sockets(1));
        assert!(!shelf.filling);
        let woken = (0..FEW).filter(|_| shelf.take(MANY).1).count();
        assert_eq!(woken, 1);
        assert_eq!((shelf.ready.len(), shelf.goal), (0, FEW), "that was in time: no reason for more");
    }
}
