//! The client's side: a terminal or pipes at one end, the monitor's socket at the other.
//!
//! ```text
//! stdin ──detach keys──▶ Stdin      signals ─▶ `on_signal`    SIGWINCH ─▶ Resize
//! stdout, stderr ◀────── Stdout, Stderr                       … Exit ─▶ End::Exited
//! ```
//!
//! Output that cannot be written yet holds back the next packet, and so the container. Signals and
//! input are served meanwhile, as far as the output can be opened anew for non-blocking writes:
//! the open file itself is shared with other programs and is left as it is.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::sockopt;

use crate::attach::detach::{DetachKeys, Matcher};
use crate::attach::packet::{self, FromMonitor, Hello, MAX_PACKET, Small};
use crate::base::stream::Stream;
use crate::sys::poll::{Interest, PollSet};
use crate::sys::signal::{self, SignalFd, SignalSet};
use crate::sys::socket::{self, Kind};
use crate::sys::tty::{self, RawMode, WindowSize};

/// The name of the socket in a container's directory.
pub(crate) const SOCKET_NAME: &str = "attach.sock";

/// Signals that are not passed on: those about this process's own children, pipes, sockets, window
/// and job control, and those that say that it has crashed.
const OWN_SIGNALS: [i32; 15] = [
    libc::SIGKILL,
    libc::SIGSTOP,
    libc::SIGCHLD,
    libc::SIGPIPE,
    libc::SIGURG,
    libc::SIGWINCH,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGCONT,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGTRAP,
];

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The container ended with this code.
    Exited(i32),
    /// The user typed the detach keys.
    Detached,
    /// The monitor went away without a word.
    Lost,
    /// This signal came, and signals are not passed on: the caller is to die of it.
    Signal(i32),
}

/// The local side of a connection.
pub(crate) struct Local<'a> {
    /// Where input comes from, if it is wanted.
    pub(crate) stdin: Option<BorrowedFd<'a>>,
    pub(crate) stdout: BorrowedFd<'a>,
    pub(crate) stderr: BorrowedFd<'a>,
    /// The container has a terminal: a local one is put into raw mode and its size passed on.
    pub(crate) terminal: bool,
    /// What detaches, when typed at a local terminal.
    pub(crate) detach_keys: DetachKeys,
    /// Passes a signal on to the container, or answers false: then the monitor is asked to, by a packet
    /// behind those of the input. `None` to be ended by signals.
    pub(crate) on_signal: Option<&'a mut dyn FnMut(i32) -> bool>,
}

impl std::fmt::Debug for Local<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Local").field("terminal", &self.terminal).finish_non_exhaustive()
    }
}

/// Connects to the monitor of the container whose directory is `dir`.
///
/// # Errors
///
/// NotFound or ConnectionRefused if it has no monitor at this moment.
pub(crate) fn connect(dir: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    socket::connect_at(dir, OsStr::new(SOCKET_NAME), Kind::Packet)
}

/// Opens the conversation. A command that starts a container does this before the container exists,
/// so that no byte of it is missed.
///
/// # Errors
///
/// BrokenPipe if the monitor is gone.
pub(crate) fn greet(socket: BorrowedFd<'_>, hello: Hello) -> io::Result<()> {
    socket::send(socket, packet::hello(hello).as_bytes())?;
    Ok(())
}

/// Like [`greet`], and passes on where the output goes, if that is a pipe or a file: the monitor then writes
/// there itself, which saves two copies of every byte. A pipe is opened anew for that, because how the open
/// file is used, blocking or not, is shared with other programs.
///
/// # Errors
///
/// As [`greet`].
pub(crate) fn greet_with_outputs(
    socket: BorrowedFd<'_>,
    hello: Hello,
    outputs: [BorrowedFd<'_>; 2],
) -> io::Result<()> {
    let passed = |wanted: bool, fd| if wanted { passable(fd) } else { None };
    let passed = [passed(hello.stdout, outputs[0]), passed(hello.stderr, outputs[1])];
    let hello = Hello { direct: [passed[0].is_some(), passed[1].is_some()], ..hello };
    let fds: Vec<BorrowedFd<'_>> = passed.iter().flatten().map(AsFd::as_fd).collect();
    socket::send_with_fds(socket, packet::hello(hello).as_bytes(), &fds)?;
    Ok(())
}

/// An output as somebody else can write it without waiting; `None` where it stays with this process.
fn passable(output: BorrowedFd<'_>) -> Option<OwnedFd> {
    match FileType::from_raw_mode(rustix::fs::fstat(output).ok()?.st_mode) {
        FileType::Fifo => reopen(output),
        FileType::RegularFile => output.try_clone_to_owned().ok(),
        _ => None,
    }
}

/// Waits for the container's end and answers its exit code; `None` if the monitor went away without
/// telling. For a connection that asked for no streams.
///
/// # Errors
///
/// A packet that breaks the protocol.
pub(crate) fn wait_for_exit(socket: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    let mut buffer = [0; 64];
    loop {
        match receive(socket, &mut buffer)? {
            None => return Ok(None),
            Some(FromMonitor::Exit(code)) => return Ok(Some(code)),
            Some(_) => {}
        }
    }
}

/// Nobody reads any more, whether what was sent before was read or not.
fn is_gone(err: &io::Error) -> bool {
    matches!(err.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// Asks the monitor to signal process 1, and waits for its answer; the error is the one that the
/// monitor got. For a connection that asked for no streams.
///
/// # Errors
///
/// ESRCH if process 1 or the monitor is gone; EINVAL for no signal; WouldBlock if the monitor does not answer for two
/// seconds: then whether it has sent the signal is not known.
pub(crate) fn send_signal(socket: BorrowedFd<'_>, number: i32) -> io::Result<()> {
    let gone = || io::Error::from(Errno::SRCH);
    match socket::send(socket, packet::signal(number).as_bytes()) {
        Err(err) if is_gone(&err) => return Err(gone()),
        other => other?,
    };
    let await_answer = |limit| sockopt::set_socket_timeout(socket, sockopt::Timeout::Recv, limit);
    await_answer(Some(ANSWER))?;
    let mut buffer = [0; 64];
    let outcome = loop {
        match receive(socket, &mut buffer) {
            Ok(None | Some(FromMonitor::Exit(_))) => break Err(gone()),
            Ok(Some(FromMonitor::Signalled(0))) => break Ok(()),
            Ok(Some(FromMonitor::Signalled(errno))) => break Err(io::Error::from_raw_os_error(errno)),
            Ok(Some(FromMonitor::Output(..) | FromMonitor::Checked(_) | FromMonitor::Reloaded)) => {}
            Err(err) => break Err(err),
        }
    };
    await_answer(None)?;
    outcome
}

/// How long a monitor may take to pass a signal on. It does nothing that takes long, unless a device, a file server or
/// somebody else holds it up.
const ANSWER: Duration = Duration::from_secs(2);

/// Asks the monitor to check the container's health, and waits for the exit code of the check; `None` if
/// the container has ended meanwhile. For a connection that asked for no streams.
///
/// # Errors
///
/// A packet that breaks the protocol.
pub(crate) fn check_health(socket: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    match socket::send(socket, packet::check().as_bytes()) {
        Err(err) if is_gone(&err) => return Ok(None),
        other => other?,
    };
    let mut buffer = [0; 64];
    loop {
        match receive(socket, &mut buffer)? {
            None | Some(FromMonitor::Exit(_)) => return Ok(None),
            Some(FromMonitor::Checked(code)) => return Ok(Some(code)),
            Some(_) => {}
        }
    }
}

/// Tells the monitor that something about the container was changed, and waits until that holds. For a connection
/// that asked for no streams.
///
/// # Errors
///
/// BrokenPipe if the container has ended meanwhile.
pub(crate) fn reload(socket: BorrowedFd<'_>) -> io::Result<()> {
    socket::send(socket, packet::reload().as_bytes())?;
    let mut buffer = [0; 64];
    loop {
        match receive(socket, &mut buffer)? {
            None | Some(FromMonitor::Exit(_)) => return Err(io::ErrorKind::BrokenPipe.into()),
            Some(FromMonitor::Reloaded) => return Ok(()),
            Some(_) => {}
        }
    }
}

/// Says whose end this connection will tell of: that of a command beside process 1, by the ID of its session. For a
/// connection that asked for no streams.
///
/// # Errors
///
/// BrokenPipe if the monitor is gone.
pub(crate) fn watch(socket: BorrowedFd<'_>, session: &str) -> io::Result<()> {
    socket::send(socket, &packet::watch(session))?;
    Ok(())
}

/// Tells the monitor that this command has ended.
///
/// # Errors
///
/// BrokenPipe if the monitor is gone.
pub(crate) fn ended(socket: BorrowedFd<'_>, code: i32) -> io::Result<()> {
    socket::send(socket, packet::ended(code).as_bytes())?;
    Ok(())
}

/// Tells the monitor the size that the container's terminal is to have.
///
/// # Errors
///
/// BrokenPipe if the monitor is gone.
pub(crate) fn resize(socket: BorrowedFd<'_>, size: WindowSize) -> io::Result<()> {
    socket::send(socket, packet::resize(size).as_bytes())?;
    Ok(())
}

/// The next packet; `None` at the end of the connection.
pub(crate) fn receive<'b>(
    socket: BorrowedFd<'_>,
    buffer: &'b mut [u8],
) -> io::Result<Option<FromMonitor<'b>>> {
    let length = match socket::receive(socket, buffer) {
        // The other end was closed with input of ours unread. What it sent before can still be received.
        Err(err) if err.kind() == io::ErrorKind::ConnectionReset => socket::receive(socket, buffer)?,
        other => other?,
    };
    if length == 0 {
        return Ok(None);
    }
    FromMonitor::decode(&buffer[..length])
        .map(Some)
        .map_err(|err| io::Error::new(io::ErrorKind::InvalidData, err))
}

/// Carries bytes both ways until the container ends or the user leaves. `socket` was greeted.
///
/// # Errors
///
/// Reading or writing the local side; BrokenPipe when nobody reads the output any more.
pub(crate) fn pump(socket: OwnedFd, local: Local<'_>) -> io::Result<End> {
    let before = signal::block(&SignalSet::empty())?;
    let mut pump = Pump::new(socket, local)?;
    let end = pump.run();
    // Signals that came too late to be passed on are dropped: what they were meant for is over.
    while pump.signals.read()?.is_some() {}
    drop(pump);
    signal::set_mask(&before)?;
    end
}

struct Pump<'a> {
    socket: OwnedFd,
    local: Local<'a>,
    signals: SignalFd,
    raw: Option<RawMode<'a>>,
    set: PollSet,
    outputs: [Sink<'a>; 2],
    /// Output that could not be written yet: which stream, and which part of `received`.
    unwritten: Option<(Stream, std::ops::Range<usize>)>,
    received: Vec<u8>,
    typed: Typed,
}

/// Input on its way to the monitor.
struct Typed {
    open: bool,
    matcher: Option<Matcher>,
    buffer: Vec<u8>,
    /// A packet that did not fit the socket yet.
    unsent: Vec<u8>,
}

impl<'a> Pump<'a> {
    fn new(socket: OwnedFd, local: Local<'a>) -> io::Result<Self> {
        socket::set_nonblocking(socket.as_fd(), true)?;
        let signals = SignalFd::new(&watched_signals())?;
        let typed_at = local.stdin.filter(|stdin| tty::is_terminal(stdin));
        let raw = match typed_at {
            Some(terminal) if local.terminal => Some(RawMode::enter(terminal)?),
            _ => None,
        };
        let matcher = typed_at.map(|_| Matcher::new(local.detach_keys.clone()));
        let mut pump = Self {
            socket,
            signals,
            raw,
            set: PollSet::default(),
            outputs: [Sink::new(local.stdout), Sink::new(local.stderr)],
            unwritten: None,
            received: vec![0; MAX_PACKET],
            typed: Typed { open: local.stdin.is_some(), matcher, buffer: Vec::new(), unsent: Vec::new() },
            local,
        };
        // Signals are passed on from now on.
        pump.tell(packet::ready())?;
        pump.send_size()?;
        Ok(pump)
    }

    fn run(&mut self) -> io::Result<End> {
        loop {
            if let Some(end) = self.turn()? {
                return Ok(end);
            }
        }
    }

    /// Waits once and deals with what has happened.
    fn turn(&mut self) -> io::Result<Option<End>> {
        let set = &mut self.set;
        set.clear();
        let signalled = set.add(Some(self.signals.as_fd()), Interest::READ);
        let interest = Interest { read: self.unwritten.is_none(), write: !self.typed.unsent.is_empty() };
        let socket = set.add(Some(self.socket.as_fd()), interest);
        let stdin = self.local.stdin.filter(|_| self.typed.open && self.typed.unsent.is_empty());
        let stdin = set.add(stdin, Interest::READ);
        let waiting = self.unwritten.as_ref().map(|(stream, _)| self.outputs[*stream as usize].as_fd());
        let output = set.add(waiting, Interest::WRITE);
        set.wait(None)?;

        if set.ready(signalled).read
            && let Some(end) = self.take_signals()?
        {
            return Ok(Some(end));
        }
        if self.set.ready(output).write {
            self.write_on()?;
        }
        if self.set.ready(socket).write {
            let packet = std::mem::take(&mut self.typed.unsent);
            self.send(packet)?;
        }
        if self.set.ready(stdin).read && self.read_input()? {
            return Ok(Some(End::Detached));
        }
        if self.set.ready(socket).read && self.unwritten.is_none() {
            return self.take_packets();
        }
        Ok(None)
    }

    /// Receives packets while there are some and the output takes them.
    fn take_packets(&mut self) -> io::Result<Option<End>> {
        // Bounded, so that signals and input are looked at now and then.
        for _ in 0..16 {
            let (stream, length) = match receive(self.socket.as_fd(), &mut self.received) {
                Ok(None) => return Ok(Some(End::Lost)),
                Ok(Some(FromMonitor::Exit(code))) => return Ok(Some(End::Exited(code))),
                Ok(Some(FromMonitor::Signalled(_) | FromMonitor::Checked(_) | FromMonitor::Reloaded)) => {
                    continue;
                }
                Ok(Some(FromMonitor::Output(stream, data))) => (stream, data.len()),
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(err) => return Err(err),
            };
            self.unwritten = Some((stream, 1..length + 1));
            self.write_on()?;
            if self.unwritten.is_some() {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// Writes what was received and not written yet, as far as that goes without waiting.
    fn write_on(&mut self) -> io::Result<()> {
        let Some((stream, mut range)) = self.unwritten.take() else { return Ok(()) };
        let sink = self.outputs[stream as usize].as_fd();
        while !range.is_empty() {
            match rustix::io::write(sink, &self.received[range.clone()]) {
                Ok(written) => range.start += written,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.unwritten = Some((stream, range));
                    return Ok(());
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Reads input once and sends it on. True if the detach keys were typed.
    fn read_input(&mut self) -> io::Result<bool> {
        let Some(stdin) = self.local.stdin else { return Ok(false) };
        let typed = &mut self.typed;
        typed.buffer.resize(MAX_PACKET, 0);
        typed.buffer[0] = packet::STDIN;
        let length = match rustix::io::retry_on_intr(|| rustix::io::read(stdin, &mut typed.buffer[1..])) {
            Ok(length) => length,
            Err(Errno::AGAIN) => return Ok(false),
            // The terminal is gone, which is not the end of what somebody wanted to type.
            Err(Errno::IO) => {
                typed.open = false;
                return Ok(false);
            }
            Err(errno) => return Err(errno.into()),
        };
        if length == 0 {
            typed.open = false;
            self.send(packet::stdin_eof().as_bytes().to_vec())?;
            return Ok(false);
        }
        let mut packet = std::mem::take(&mut typed.buffer);
        packet.truncate(length + 1);
        let mut detached = false;
        if let Some(matcher) = &mut typed.matcher {
            let mut passed = vec![packet::STDIN];
            detached = matcher.feed(&packet[1..], &mut passed);
            packet = passed;
        }
        if packet.len() > 1 {
            self.send(packet)?;
        }
        Ok(detached)
    }

    /// Sends a packet, or keeps it until the socket has room. A monitor that takes no more input ends
    /// the input, not the output.
    fn send(&mut self, packet: Vec<u8>) -> io::Result<()> {
        match socket::send(self.socket.as_fd(), &packet) {
            Ok(_) => self.typed.buffer = packet,
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => self.typed.unsent = packet,
            Err(err) if is_gone(&err) => self.typed.open = false,
            Err(err) => return Err(err),
        }
        Ok(())
    }

    fn take_signals(&mut self) -> io::Result<Option<End>> {
        while let Some(number) = self.signals.read()? {
            match (number, &mut self.local.on_signal) {
                (libc::SIGPIPE, _) => {}
                (libc::SIGWINCH, _) => self.send_size()?,
                (libc::SIGCONT, _) => {
                    // A shell that took the terminal back meanwhile has set its own mode.
                    if let Some(raw) = &self.raw {
                        raw.renew()?;
                    }
                    self.send_size()?;
                }
                (number, Some(pass_on)) => {
                    if !pass_on(number) {
                        self.tell(packet::signal(number))?;
                    }
                }
                (number, None) => return Ok(Some(End::Signal(number))),
            }
        }
        Ok(None)
    }

    /// Tells the monitor something that need not reach it.
    fn tell(&self, packet: Small) -> io::Result<()> {
        match socket::send(self.socket.as_fd(), packet.as_bytes()) {
            Err(err) if !is_harmless(&err) => Err(err),
            _ => Ok(()),
        }
    }

    /// Tells the monitor the size of the local terminal.
    fn send_size(&mut self) -> io::Result<()> {
        if !self.local.terminal {
            return Ok(());
        }
        let terminal =
            [self.local.stdin, Some(self.local.stdout)].into_iter().flatten().find(|fd| tty::is_terminal(fd));
        if let Some(size) = terminal.and_then(|terminal| tty::window_size(terminal).ok()) {
            // If the socket is full, the size is not the user's problem.
            self.tell(packet::resize(size))?;
        }
        Ok(())
    }
}

/// True for what the reading side will notice as well.
fn is_harmless(err: &io::Error) -> bool {
    is_gone(err) || err.kind() == io::ErrorKind::WouldBlock
}

/// Every signal that is passed on, the two about the terminal, and SIGPIPE: dying of that would leave
/// the terminal in raw mode.
fn watched_signals() -> SignalSet {
    let passed_on = (1..=libc::SIGRTMAX()).filter(|number| !OWN_SIGNALS.contains(number));
    let numbers: Vec<i32> = passed_on.chain([libc::SIGWINCH, libc::SIGCONT, libc::SIGPIPE]).collect();
    SignalSet::of(&numbers)
}

/// A local output.
struct Sink<'a> {
    given: BorrowedFd<'a>,
    /// The same pipe or terminal opened anew, where that is possible.
    own: Option<OwnedFd>,
}

impl<'a> Sink<'a> {
    fn new(given: BorrowedFd<'a>) -> Self {
        Self { given, own: reopen(given) }
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.own.as_ref().map_or(self.given, AsFd::as_fd)
    }
}

/// Opens a pipe or terminal once more, non-blocking. Everything else is written as it is: files do
/// not block, and a second open file would have a second position.
fn reopen(fd: BorrowedFd<'_>) -> Option<OwnedFd> {
    let kind = FileType::from_raw_mode(rustix::fs::fstat(fd).ok()?.st_mode);
    if kind != FileType::Fifo && !tty::is_terminal(fd) {
        return None;
    }
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(format!("/proc/self/fd/{}", fd.as_raw_fd()), flags, Mode::empty()).ok()
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
