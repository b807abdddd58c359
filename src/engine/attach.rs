//! Attaching to a running container.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::attach::client;
use crate::attach::packet::Hello;
use crate::base::id::ContainerId;
use crate::engine::first_clients::{Begun, Waiting};
use crate::engine::lifecycle::{connect, is_absent};
use crate::engine::state::{self, Phase};
use crate::engine::{Engine, Error, Kind, Result};
use crate::sys::tty::WindowSize;

/// A connection to a container's monitor, greeted.
#[derive(Debug)]
pub(crate) struct Attachment {
    /// The socket: for [`client::pump`].
    pub(crate) socket: OwnedFd,
    /// The container has a terminal.
    pub(crate) terminal: bool,
    /// The container takes input, and this client sends it.
    pub(crate) stdin: bool,
    /// For signals.
    pub(crate) signals: SignalPath,
}

/// A way to signal the process 1 of one container while its output is being shown, without waiting
/// behind its input.
#[derive(Debug)]
pub(crate) struct SignalPath(OwnedFd);

impl SignalPath {
    /// For the container whose directory is `dir`.
    pub(crate) fn new(dir: OwnedFd) -> Self {
        Self(dir)
    }

    /// Sends signal `number` to process 1. That nobody is there any more is no failure.
    ///
    /// # Errors
    ///
    /// What the monitor was answered: EINVAL, EPERM.
    pub(crate) fn send(&self, number: i32) -> io::Result<()> {
        let sent = connect(self.0.as_fd()).and_then(|socket| client::send_signal(socket.as_fd(), number));
        match sent {
            Err(err) if is_absent(&err) || err.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            other => other,
        }
    }
}

impl Engine {
    /// Attaches to the standard streams of a running container; to its input if it has one and `stdin`
    /// is true.
    ///
    /// # Errors
    ///
    /// [`Kind::Conflict`] if it does not run.
    pub(crate) fn attach(&self, id: &ContainerId, stdin: bool) -> Result<Attachment> {
        let dir = self.store().containers().open(id)?;
        let spec = state::read_spec(dir.as_fd(), id)?;
        let stdin = stdin && spec.process.open_stdin;
        let phase = self.status_with_monitor(dir.as_fd(), id)?.phase;
        let socket = attach_to(
            dir.as_fd(),
            id,
            phase,
            Hello { stdout: true, stderr: true, stdin, ..Hello::default() },
        )?;
        self.record(self.event_of("attach", &spec));
        Ok(Attachment { socket, terminal: spec.process.terminal, stdin, signals: SignalPath::new(dir) })
    }
}

/// A client of a container that runs, or that waits for the container's start.
#[derive(Debug)]
pub(crate) enum Attaching {
    /// A greeted connection to the monitor.
    Runs(OwnedFd),
    Waits(Waiting),
}

impl Engine {
    /// Attaches to a container: at once if it runs, else from the first byte of its next life on.
    ///
    /// # Errors
    ///
    /// [`Kind::Conflict`] if it is paused, or runs without a monitor.
    pub(crate) fn attach_at_start(&self, id: &ContainerId, hello: Hello) -> Result<Attaching> {
        let dir = self.store().containers().open(id)?;
        let status = self.status_with_monitor(dir.as_fd(), id)?;
        if status.paused {
            let message = format!("container {id} is paused, unpause the container before attach");
            return Err(Error::new(Kind::Conflict, message));
        }
        match status.phase {
            Phase::Up | Phase::Unmonitored => {
                let socket = attach_to(dir.as_fd(), id, status.phase, hello)?;
                self.record_container("attach", id);
                Ok(Attaching::Runs(socket))
            }
            _ => {
                let waiting = self.wait_for_start(id, hello)?;
                self.record_container("attach", id);
                Ok(Attaching::Waits(waiting))
            }
        }
    }
}

impl Attaching {
    /// The connection, once there is one; `None` if the container is removed, or has ended already, or nobody reads
    /// `outlet` any more.
    ///
    /// # Errors
    ///
    /// Waiting; what is damaged.
    pub(crate) fn finish(
        self,
        engine: &Engine,
        id: &ContainerId,
        hello: Hello,
        outlet: BorrowedFd<'_>,
    ) -> Result<Option<OwnedFd>> {
        let waiting = match self {
            Self::Runs(socket) => return Ok(Some(socket)),
            Self::Waits(waiting) => waiting,
        };
        match waiting.finish(engine, Some(outlet))? {
            Begun::Started(socket) => Ok(Some(socket)),
            Begun::Removed(_) | Begun::Left => Ok(None),
            Begun::Missed => {
                let dir = engine.store().containers().open(id)?;
                let phase = state::examine(dir.as_fd(), id)?.phase;
                match attach_to(dir.as_fd(), id, phase, hello) {
                    Err(err) if err.kind == Kind::Conflict => Ok(None),
                    other => other.map(Some),
                }
            }
        }
    }
}

impl Engine {
    /// Gives a running container's terminal another size; one without a terminal has none.
    ///
    /// # Errors
    ///
    /// [`Kind::Conflict`] if it does not run.
    pub(crate) fn resize(&self, id: &ContainerId, size: WindowSize) -> Result<()> {
        let dir = self.store().containers().open(id)?;
        let phase = self.status_with_monitor(dir.as_fd(), id)?.phase;
        let not_running = || Error::new(Kind::Conflict, format!("container {id} is not running"));
        if phase != Phase::Up {
            return Err(not_running());
        }
        let sent = connect(dir.as_fd()).and_then(|socket| client::resize(socket.as_fd(), size));
        if sent.is_ok() {
            let size = [("height", size.rows.to_string()), ("width", size.cols.to_string())];
            self.record_for_docker("resize", id, &size);
        }
        sent.map_err(|err| match is_absent(&err) {
            true => not_running(),
            false => Error::system(format!("connect to the monitor of container {}", id.short()), err),
        })
    }
}

fn attach_to(dir: BorrowedFd<'_>, id: &ContainerId, phase: Phase, hello: Hello) -> Result<OwnedFd> {
    if phase == Phase::Unmonitored {
        let message = format!("container {} has lost its monitor, and its output with it", id.short());
        return Err(
            Error::new(Kind::Conflict, message).hint(format!("stop and start it: `restart {}`", id.short()))
        );
    }
    let not_running = || Error::new(Kind::Conflict, "you can only attach to running containers");
    if phase != Phase::Up {
        return Err(not_running());
    }
    let connected = client::connect(dir).and_then(|socket| {
        client::greet(socket.as_fd(), hello)?;
        Ok(socket)
    });
    connected.map_err(|err| match is_absent(&err) {
        true => not_running(),
        false => Error::system(format!("connect to the monitor of container {}", id.short()), err),
    })
}
