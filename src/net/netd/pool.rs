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

/// Below this many, a shelf is filled up.
const LOW: usize = 16;
/// This many are made at once.
const BATCH: usize = 48;
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
    inet::set_udp_gro(&socket).ok();
}

#[derive(Debug, Default)]
struct Shelves {
    ready: [Vec<OwnedFd>; 4],
    /// Kinds that were ever asked for: only those are kept.
    wanted: [bool; 4],
    /// Why the last attempt to make some failed.
    failure: Option<Errno>,
    closed: bool,
}

/// Ready sockets, shared by the main loop and the factory thread.
#[derive(Debug, Default)]
pub(super) struct Pool {
    shelves: Mutex<Shelves>,
    changed: Condvar,
}

impl Pool {
    /// Starts the factory in the namespace `gateway`. It ends when the pool is closed.
    pub(super) fn start(gateway: OwnedFd) -> std::io::Result<Arc<Self>> {
        let pool = Arc::new(Self::default());
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
        let shelf = kind.shelf();
        let mut shelves = self.lock();
        shelves.wanted[shelf] = true;
        shelves.failure = None;
        loop {
            if let Some(socket) = shelves.ready[shelf].pop() {
                // The factory rests only while there are at least that many: it is woken once.
                if shelves.ready[shelf].len() == LOW - 1 {
                    self.changed.notify_all();
                }
                return Ok(socket);
            }
            if let Some(error) = shelves.failure {
                return Err(error);
            }
            self.changed.notify_all();
            shelves = self.changed.wait(shelves).unwrap_or_else(PoisonError::into_inner);
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
            let low = |kind: &Kind| {
                shelves.wanted[kind.shelf()]
                    && shelves.ready[kind.shelf()].len() < LOW
                    && shelves.failure.is_none()
            };
            let Some(kind) = Kind::ALL.into_iter().find(low) else {
                shelves = self.changed.wait(shelves).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(shelves);
            let made: Result<Vec<OwnedFd>, Errno> = (0..BATCH).map(|_| kind.make()).collect();
            shelves = self.lock();
            match made {
                Ok(made) => shelves.ready[kind.shelf()].extend(made),
                Err(error) => shelves.failure = Some(error),
            }
            self.changed.notify_all();
        }
        shelves.ready = Default::default();
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
