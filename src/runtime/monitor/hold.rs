//! A container that is initialized (`container init`): its namespaces, mounts and networks are there, and its
//! process 1 waits to become the command.
//!
//! ```text
//! init ──Ready──▶ monitor ──Started──▶ `container init`
//!                    │ waits: start.sock, clients of attach.sock, the end of init
//! `start` ──StartOrder──▶ monitor ──"s"──▶ init ──execve──▶ the command
//!    ▲──────────Started────────┘
//! ```

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use crate::attach::packet::{self, MAX_PACKET};
use crate::attach::server::{Request, Server};
use crate::runtime::failure::Failure;
use crate::runtime::init::InitReport;
use crate::runtime::launch::{LaunchReport, START_SOCKET, StartOrder};
use crate::runtime::monitor::serve;
use crate::stage::wire::{self, WireError};
use crate::sys::fs;
use crate::sys::poll::{Interest, PollSet};
use crate::sys::signal::SignalFd;
use crate::sys::{pidfd, socket, tty};

use super::birth::{Living, Streams};
use super::{Monitor, record};

/// What ends the waiting.
enum Event {
    /// A command wants the container to start, with clients that come along.
    Start { command: OwnedFd, order: StartOrder, clients: Vec<OwnedFd> },
    /// Process 1 has ended.
    Ended,
}

/// Who has started the container.
#[derive(Debug)]
pub(super) struct Starter {
    /// A connection to the command, to be told of the start.
    command: OwnedFd,
    /// As [`StartOrder::tell_attached`].
    tell_attached: bool,
}

impl Starter {
    pub(super) fn command(&self) -> &OwnedFd {
        &self.command
    }

    /// What is told of the start.
    pub(super) fn events(&self) -> Vec<&'static str> {
        if self.tell_attached { vec!["start", "attach"] } else { vec!["start"] }
    }
}

impl Monitor {
    /// Waits until somebody starts the container, and answers who that is;
    /// `None` if process 1 has ended instead.
    ///
    /// # Errors
    ///
    /// Why the command cannot run; who started it has been told.
    pub(super) fn await_start(
        &self,
        living: &mut Living,
        listener: &OwnedFd,
        server: &mut Server,
        signals: &SignalFd,
    ) -> Result<Option<Starter>, Failure> {
        let Some(report) = living.held.take() else { return Ok(None) };
        let failed = |err| Failure::errno("wait for the start", err);
        let event = wait(living, listener, server, signals).map_err(failed)?;
        forget(&self.directory);
        let Event::Start { command, order, clients } = event else { return Ok(None) };
        clients.into_iter().try_for_each(|client| server.admit_first(client)).map_err(failed)?;
        if let (Some((rows, cols)), Streams::Terminal(master)) = (order.window, &living.streams) {
            tty::set_window_size(master.as_fd(), tty::WindowSize { rows, cols }).ok();
        }
        match go(&report, living, &self.directory) {
            Ok(()) => Ok(Some(Starter { command, tell_attached: order.tell_attached })),
            Err(failure) => {
                pidfd::send_signal(living.pidfd.as_fd(), libc::SIGKILL).ok();
                pidfd::wait(living.pidfd.as_fd()).ok();
                self.refuse(&failure, server);
                wire::send(command.as_fd(), &LaunchReport::Failed(failure.clone()), &[]).ok();
                Err(failure)
            }
        }
    }
}

/// Lets init become the command, and notes that it has.
fn go(report: &OwnedFd, living: &mut Living, directory: &Path) -> Result<(), Failure> {
    rustix::io::write(report, b"s").map_err(|errno| Failure::errno("start the command", errno))?;
    match wire::receive::<InitReport>(report.as_fd()) {
        Err(WireError::Closed) => {}
        Ok((InitReport::Failed(failure), _)) => return Err(failure),
        Ok(_) => return Err(Failure::new(crate::runtime::failure::FailureKind::System, "init is confused")),
        Err(err) => return Err(Failure::system("hear from init", &err)),
    }
    living.record.initialized = false;
    living.record.started = Timestamp::now();
    record::write(directory, &living.record)
        .map_err(|err| Failure::errno("write the container's record", err))
}

/// Opens the socket where the start is ordered.
pub(super) fn listen(directory: &Path) -> Result<OwnedFd, Failure> {
    forget(directory);
    let listening = || {
        let directory = fs::open_base(directory)?;
        socket::listen_at(directory.as_fd(), OsStr::new(START_SOCKET), socket::Kind::Stream)
    };
    listening().map_err(|err| Failure::errno("open the socket for the start", err))
}

/// How long whoever connects may take to say what is to happen. Nobody else is heard meanwhile.
const SILENCE: Duration = Duration::from_secs(2);

fn forget(directory: &Path) {
    // Not there before the first time.
    std::fs::remove_file(directory.join(START_SOCKET)).ok();
}

/// Serves those who connect until one of them starts the container, or its process 1 has ended.
fn wait(living: &Living, listener: &OwnedFd, server: &mut Server, signals: &SignalFd) -> io::Result<Event> {
    let mut set = PollSet::default();
    let mut buffer = vec![0; MAX_PACKET];
    loop {
        set.clear();
        let ended = set.add(Some(living.pidfd.as_fd()), Interest::READ);
        let signalled = set.add(Some(signals.as_fd()), Interest::READ);
        let starter = set.add(Some(listener.as_fd()), Interest::READ);
        // Nothing takes input yet.
        server.register(&mut set, false);
        set.wait(None)?;
        if set.ready(ended).read {
            return Ok(Event::Ended);
        }
        if set.ready(signalled).read && serve::are_told_to_end(signals)? {
            // Process 1 obeys nothing else yet.
            pidfd::send_signal(living.pidfd.as_fd(), libc::SIGKILL).ok();
        }
        if set.ready(starter).read
            && let Some(event) = take_order(listener)?
        {
            return Ok(event);
        }
        for index in 0..server.len() {
            let ready = server.ready(&set, index);
            if ready.read || ready.hung_up {
                hear(living, server, index, &mut buffer);
            }
        }
        server.offer_again(&[]);
        server.accept(&set);
        server.sweep();
    }
}

/// Takes the order of whoever connects, if it is one of the same user.
fn take_order(listener: &OwnedFd) -> io::Result<Option<Event>> {
    let Some(command) = socket::accept(listener.as_fd())? else { return Ok(None) };
    let own = rustix::process::geteuid().as_raw();
    if !socket::peer(command.as_fd()).is_ok_and(|peer| peer.uid == own) {
        return Ok(None);
    }
    socket::set_nonblocking(command.as_fd(), false)?;
    // One that connects and says nothing sensible is not waited for again; nor is one that says nothing.
    rustix::net::sockopt::set_socket_timeout(&command, rustix::net::sockopt::Timeout::Recv, Some(SILENCE))?;
    let Ok((order, clients)) = wire::receive::<StartOrder>(command.as_fd()) else { return Ok(None) };
    Ok(Some(Event::Start { command, order, clients }))
}

/// Takes one packet of a client.
fn hear(living: &Living, server: &mut Server, index: usize, buffer: &mut [u8]) {
    match server.receive(index, buffer) {
        Some(Request::Signal(number)) => {
            let sent = pidfd::send_signal(living.pidfd.as_fd(), number);
            let errno = sent.err().map_or(0, |err| err.raw_os_error().unwrap_or(libc::EIO));
            server.answer(index, packet::signalled(errno));
        }
        // It is looked at when the container starts.
        Some(Request::Reload) => server.answer(index, packet::reloaded()),
        _ => {}
    }
}
