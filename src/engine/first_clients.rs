//! Clients that are there before their container starts, and so miss nothing of it.
//!
//! ```text
//! who waits                                       who starts, whatever command that is
//! containers/<id>/waiting/<n>   ◀──connects─────  to each that listens there
//!   one end of a socket pair    ───SCM_RIGHTS──▶  goes to the monitor with the order
//!   the other end               ◀──the container's output, input, end─▶
//! ```
//!
//! Who listens no more is passed over, and where nobody ever has, that costs one failed call.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::fs::OFlags;
use rustix::net::sockopt::{self, Timeout};

use crate::attach::client;
use crate::attach::packet::Hello;
use crate::base::id::ContainerId;
use crate::engine::state::{self, Phase, Status};
use crate::engine::{Engine, Error, Result};
use crate::logs::watch::Watch;
use crate::sys::fs::Share;
use crate::sys::poll::{Interest, PollSet};
use crate::sys::{fs, socket};

const DIRECTORY: &str = "waiting";
/// Most clients that are handed to a monitor at once; others connect when the container runs.
const MOST: usize = 64;
/// How long those who wait may take to hand their sockets over, all together: a start waits for them.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long who is told of an end waits for the output, as docker does.
const OUTPUT_PATIENCE: Duration = Duration::from_secs(2);
/// How often to look whether a container is still there: that its directory has gone is not reported.
const LOOK: Duration = Duration::from_millis(200);

/// A client that waits for a container's start.
#[derive(Debug)]
pub(crate) struct Waiting {
    id: ContainerId,
    dir: OwnedFd,
    /// Of the socket, in `dir`.
    name: PathBuf,
    listener: OwnedFd,
    ours: OwnedFd,
    theirs: OwnedFd,
    watch: Option<Watch>,
    /// When the container's last life began.
    last_life: Option<Timestamp>,
    /// How the container had ended when it was last looked at.
    last_code: i32,
}

/// What became of waiting.
#[derive(Debug)]
pub(crate) enum Begun {
    /// The container is being started, and this is a greeted connection to its monitor.
    Started(OwnedFd),
    /// It has a life that began too early for this client: it may run.
    Missed,
    /// It was removed; how it had ended last, 0 if it never ran.
    Removed(i32),
    /// Nobody is interested any more.
    Left,
}

/// The sockets of those who wait for the start of the container whose directory is `dir`.
pub(super) fn take(dir: BorrowedFd<'_>) -> Vec<OwnedFd> {
    let names = fs::names(dir, DIRECTORY).unwrap_or_default();
    // All are told before the first one is waited for.
    let connected: Vec<_> = names
        .iter()
        .take(MOST)
        .filter_map(|name| connect(dir, &Path::new(DIRECTORY).join(name)).ok())
        .collect();
    let deadline = Instant::now() + PATIENCE;
    connected.iter().filter_map(|socket| receive(socket, deadline).ok()).collect()
}

fn connect(dir: BorrowedFd<'_>, name: &Path) -> io::Result<OwnedFd> {
    socket::connect_at(dir, name.as_os_str(), socket::Kind::Packet).inspect_err(|err| {
        if err.kind() == io::ErrorKind::ConnectionRefused {
            // Of one that was killed.
            fs::unlink(dir, name).ok();
        }
    })
}

fn receive(socket: &OwnedFd, deadline: Instant) -> io::Result<OwnedFd> {
    let rest = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    sockopt::set_socket_timeout(socket, Timeout::Recv, Some(rest))?;
    let mut passed = Vec::new();
    socket::receive_with_fds(socket.as_fd(), &mut [0], &mut passed)?;
    passed.pop().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// Somebody passes a container's output on: those who are told of its end hear of it after that, within reason. Docker has it so,
/// and clients that print what has come when a wait returns rely on it.
#[derive(Debug)]
pub(crate) struct OutputFirst {
    _lock: OwnedFd,
}

/// Waits until all output was passed on of the container whose directory is `dir`, which may have been removed meanwhile.
pub(super) fn await_output(dir: Option<&OwnedFd>) {
    const PAUSE: Duration = Duration::from_millis(1);
    let Some(dir) = dir else { return };
    // As docker, not for ever: a client may have stopped reading.
    fs::lock_within(dir, Share::Exclusive, OUTPUT_PATIENCE, PAUSE).ok();
}

/// What [`await_output`] needs, if anybody has ever been attached.
pub(super) fn outputs(dir: BorrowedFd<'_>) -> Option<OwnedFd> {
    fs::open_at(dir, Path::new(DIRECTORY), OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW, 0).ok()
}

fn make_directory(dir: BorrowedFd<'_>) -> io::Result<()> {
    match fs::mkdir(dir, DIRECTORY, 0o700) {
        Err(err) if err.kind() != io::ErrorKind::AlreadyExists => Err(err),
        _ => Ok(()),
    }
}

impl Engine {
    /// Has the end of a container be told after its output, until what is returned is dropped.
    ///
    /// # Errors
    ///
    /// If the container is not there.
    pub(crate) fn output_first(&self, id: &ContainerId) -> Result<OutputFirst> {
        let dir = self.store().containers().open(id)?;
        let locked = make_directory(dir.as_fd()).and_then(|()| {
            let dir = outputs(dir.as_fd()).ok_or(io::ErrorKind::NotFound)?;
            // Whoever holds it alone holds it for an instant.
            fs::lock_within(&dir, Share::Shared, PATIENCE, Duration::from_millis(1))?;
            Ok(dir)
        });
        locked
            .map(|lock| OutputFirst { _lock: lock })
            .map_err(|err| Error::system(format!("attach to container {}", id.short()), err))
    }

    /// Waits, from here on, for the next start of a container that does not run.
    ///
    /// # Errors
    ///
    /// If it is not there; if there can be no socket.
    pub(crate) fn wait_for_start(&self, id: &ContainerId, hello: Hello) -> Result<Waiting> {
        let dir = self.store().containers().open(id)?;
        let failed =
            |err: io::Error| Error::system(format!("wait for the start of container {}", id.short()), err);
        make_directory(dir.as_fd()).map_err(failed)?;
        let mut number = [0; 8];
        getrandom::fill(&mut number).map_err(|err| Error::system("make up a name", err.to_string()))?;
        let name = Path::new(DIRECTORY).join(format!("{:016x}", u64::from_le_bytes(number)));
        let watch = Watch::new().and_then(|watch| watch.add(dir.as_fd()).map(|()| watch)).ok();
        let (ours, theirs) = socket::pair(socket::Kind::Packet).map_err(failed)?;
        client::greet(ours.as_fd(), hello).map_err(failed)?;
        let listener = socket::listen_at(dir.as_fd(), name.as_os_str(), socket::Kind::Packet);
        let listener = listener.map_err(failed)?;
        let mut waiting = Waiting {
            id: id.clone(),
            dir,
            name,
            listener,
            ours,
            theirs,
            watch,
            last_life: None,
            last_code: 0,
        };
        // Looked at now, when no start can be missed any more.
        let status = state::examine(waiting.dir.as_fd(), id)?;
        (waiting.last_life, waiting.last_code) = (life(&status), status.exit_code());
        Ok(waiting)
    }
}

fn life(status: &Status) -> Option<Timestamp> {
    status.record.as_ref().map(|record| record.started)
}

impl Waiting {
    /// Waits until the container starts, or nobody reads `outlet` any more.
    ///
    /// # Errors
    ///
    /// Waiting; a record that cannot be read.
    pub(crate) fn finish(mut self, engine: &Engine, outlet: Option<BorrowedFd<'_>>) -> Result<Begun> {
        let failed = |err: io::Error| Error::system("wait for a container's start", err);
        let mut set = PollSet::default();
        loop {
            if let Some(watch) = &self.watch {
                watch.clear().map_err(failed)?;
            }
            if let Some(begun) = self.look(engine)? {
                return Ok(begun);
            }
            set.clear();
            let starter = set.add(Some(self.listener.as_fd()), Interest::READ);
            set.add(self.watch.as_ref().map(AsFd::as_fd), Interest::READ);
            let reader = set.add_for_hang_up(outlet);
            set.wait(Some(LOOK)).map_err(failed)?;
            if set.ready(starter).read && self.hand_over() {
                return Ok(Begun::Started(self.take_ours()?));
            }
            if set.ready(reader).hung_up {
                return Ok(Begun::Left);
            }
        }
    }

    /// Gives the monitor's end to whoever starts the container; true if they have got it.
    fn hand_over(&self) -> bool {
        let Ok(Some(starter)) = socket::accept(self.listener.as_fd()) else { return false };
        socket::send_with_fds(starter.as_fd(), b"c", &[self.theirs.as_fd()]).is_ok()
    }

    /// This side alone: that the other one is closed here, too, lets its end be seen.
    fn take_ours(self) -> Result<OwnedFd> {
        self.ours.try_clone().map_err(|err| Error::system("keep a connection", err))
    }

    /// Looks at the container itself: others may start it who do not ask who waits.
    fn look(&mut self, engine: &Engine) -> Result<Option<Begun>> {
        let status = state::examine(self.dir.as_fd(), &self.id);
        // In this order: of one that is being removed more and more is missing.
        if !engine.store().containers().exists(&self.id) {
            return Ok(Some(Begun::Removed(self.last_code)));
        }
        let status = status?;
        self.last_code = status.exit_code();
        if status.phase == Phase::Initialized {
            // Its record is of a life that has not begun.
            self.last_life = life(&status);
        }
        let runs = matches!(status.phase, Phase::Up | Phase::Unmonitored);
        if !runs && life(&status) == self.last_life {
            return Ok(None);
        }
        // Whoever starts it asks before that.
        let started = self.hand_over().then(|| self.ours.try_clone()).transpose();
        let started = started.map_err(|err| Error::system("keep a connection", err))?;
        Ok(Some(started.map_or(Begun::Missed, Begun::Started)))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // It may have gone with its container.
        fs::unlink(&self.dir, &self.name).ok();
    }
}
