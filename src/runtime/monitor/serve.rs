//! The loop of a monitor: one life of a container, from its first byte of output to its exit status.
//!
//! ```text
//!  process 1                         monitor (one thread, one poll)
//!  stdout, stderr or pty ──read──▶ log, then every client      stop reading while a client owes
//!  stdin ◀──write── input of clients                            stop listening while it is full
//!  pidfd ──▶ the end: what is left in the pipes is taken, not waited for; then process 1 is reaped
//! ```
//!
//! The buffers are given back when nothing has happened for a while, so that an idle monitor is as
//! small as it can be; pipes grow only under load, because the kernel counts their size against the
//! user.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::attach::packet::{self, MAX_DATA, MAX_PACKET, output_kind};
use crate::attach::server::{Request, Server};
use crate::base::health::Health;
use crate::base::stream::Stream;
use crate::runtime::monitor::company::Company;
use crate::runtime::monitor::health::{Action, NO_CHECK};
use crate::runtime::monitor::input::Input;
use crate::runtime::monitor::log::Log;
use crate::runtime::monitor::pace::Pace;
use crate::runtime::monitor::source::Source;
use crate::sys::memory::Scratch;
use crate::sys::pidfd::{self, ExitStatus};
use crate::sys::poll::{Interest, PollSet};
use crate::sys::signal::{SignalFd, SignalSet};
use crate::sys::{process, socket, tty};

/// With nothing to do for this long, memory is given back.
const PAUSE: Duration = Duration::from_millis(250);
/// Most that is read of a large pipe at once. It and its entries in the log have to fit a processor's second cache:
/// with half a megabyte everything took a fifth longer.
const LARGE_READ: usize = 128 << 10;
/// At the end, no more than this is taken from each stream: a process that outlives process 1 (with
/// the host's pid namespace) may go on writing for ever.
const MAX_LEFTOVER: usize = 4 << 20;

/// Where a container's output comes from.
#[derive(Debug)]
pub(crate) enum Output {
    /// The reading ends of two pipes.
    Pipes { stdout: OwnedFd, stderr: OwnedFd },
    /// The master of its terminal.
    Terminal(OwnedFd),
    /// The container has streams of somebody else.
    Passed,
}

/// One life of a container, and what its monitor holds of it.
#[derive(Debug)]
pub(crate) struct Life {
    /// Process 1: a child of this process, unless it was adopted.
    pub(crate) pidfd: OwnedFd,
    pub(crate) output: Output,
    /// The writing end of its standard input, if it has one; not with a terminal.
    pub(crate) stdin: Option<OwnedFd>,
    /// With a terminal: clients may type.
    pub(crate) interactive: bool,
    /// Close standard input when a client's is at its end.
    pub(crate) stdin_once: bool,
    /// What process 1 is sent when the monitor is asked to end.
    pub(crate) stop_signal: i32,
    /// A byte that waits on this socket says that process 1 is to live on even so.
    pub(crate) release: Option<OwnedFd>,
}

/// How a life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) status: ExitStatus,
    pub(crate) at: Timestamp,
    /// The monitor was told to end it: no further life follows.
    pub(crate) told_to_end: bool,
}

/// Blocks the signals that a monitor reads instead of dying of them. Process 1 must be given a clean
/// mask again (`signal::reset_all`).
///
/// # Errors
///
/// EMFILE.
pub(crate) fn signals() -> io::Result<SignalFd> {
    SignalFd::new(&SignalSet::of(&[libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGALRM]))
}

/// Reads all signals that wait. True if one of them asks for the end: SIGHUP tells of a terminal that is gone, SIGALRM of a
/// container's time that is over, which is for the loop that serves it.
///
/// # Errors
///
/// Reading.
pub(crate) fn are_told_to_end(signals: &SignalFd) -> io::Result<bool> {
    let mut told_to_end = false;
    while let Some(signal) = signals.read()? {
        told_to_end |= !matches!(signal, libc::SIGHUP | libc::SIGALRM);
    }
    Ok(told_to_end)
}

/// Serves a container until process 1 has ended, and reaps it. All output that was written before is
/// then in the log and with the clients, or in their backlogs; they are still to be told
/// ([`Server::announce`]).
///
/// # Errors
///
/// Only what leaves no way to go on: no memory, a descriptor that is none. A log that cannot be
/// written is no reason; [`Log::lost_bytes`] tells.
pub(crate) fn serve(
    life: Life,
    server: &mut Server,
    log: Option<&mut Log>,
    signals: &SignalFd,
) -> io::Result<Outcome> {
    serve_in_company(life, server, log, signals, &mut Company::default())
}

/// Like [`serve`], for a container that has more than its streams.
///
/// # Errors
///
/// As [`serve`].
pub(super) fn serve_in_company(
    life: Life,
    server: &mut Server,
    log: Option<&mut Log>,
    signals: &SignalFd,
    company: &mut Company<'_>,
) -> io::Result<Outcome> {
    let mut serving = Serving::new(life, server, log, signals, company)?;
    while !serving.turn()? {}
    serving.drain()?;
    let status = pidfd::wait_or_ask(serving.pidfd.as_fd())?;
    Ok(Outcome { status, at: Timestamp::now(), told_to_end: serving.told_to_end })
}

/// True if a byte waits on the socket.
fn is_released(socket: &OwnedFd) -> bool {
    let flags = rustix::net::RecvFlags::DONTWAIT | rustix::net::RecvFlags::PEEK;
    rustix::net::recv(socket, &mut [0_u8], flags).is_ok_and(|(_, length)| length > 0)
}

/// Where in the poll set things are.
struct Places {
    ended: usize,
    signalled: usize,
    input: usize,
    netd: usize,
    health: usize,
    notify: usize,
    first_source: usize,
}

/// Output on its way to the clients, as ranges of the output buffer.
struct Offered {
    stream: Stream,
    /// The packet that some have not taken.
    packet: Range<usize>,
    /// What comes behind it.
    rest: Range<usize>,
}

struct Serving<'a, 'b> {
    pidfd: OwnedFd,
    sources: Vec<Source>,
    input: Input,
    stop_signal: i32,
    release: Option<OwnedFd>,
    server: &'a mut Server,
    log: Option<&'a mut Log>,
    signals: &'a SignalFd,
    set: PollSet,
    /// Output just read, from its second byte on: room for the first byte of a packet.
    output_buffer: Scratch,
    /// What some clients still owe to take.
    offered: Option<Offered>,
    client_buffer: Scratch,
    /// Something has happened since the last pause.
    active: bool,
    company: &'a mut Company<'b>,
    /// When a container that was asked to end is made to.
    kill_at: Option<Instant>,
    told_to_end: bool,
    pace: Pace,
}

impl<'a, 'b> Serving<'a, 'b> {
    fn new(
        life: Life,
        server: &'a mut Server,
        log: Option<&'a mut Log>,
        signals: &'a SignalFd,
        company: &'a mut Company<'b>,
    ) -> io::Result<Self> {
        let Life { pidfd, output, stdin, interactive, stdin_once, stop_signal, release } = life;
        let (sources, stdin, is_pipe) = match output {
            Output::Passed => (Vec::new(), None, true),
            Output::Pipes { stdout, stderr } => (
                vec![Source::new(stdout, Stream::Stdout, true)?, Source::new(stderr, Stream::Stderr, true)?],
                stdin,
                true,
            ),
            Output::Terminal(master) => {
                let stdin = if interactive { Some(master.try_clone()?) } else { None };
                (vec![Source::new(master, Stream::Stdout, false)?], stdin, false)
            }
        };
        if let Some(stdin) = &stdin {
            socket::set_nonblocking(stdin.as_fd(), true)?;
        }
        Ok(Self {
            pidfd,
            sources,
            input: Input::new(stdin, is_pipe, stdin_once),
            stop_signal,
            release,
            server,
            log,
            signals,
            set: PollSet::default(),
            output_buffer: Scratch::new(1 + LARGE_READ)?,
            offered: None,
            client_buffer: Scratch::new(MAX_PACKET)?,
            active: true,
            company,
            kill_at: None,
            told_to_end: false,
            pace: Pace::new(),
        })
    }

    /// Waits once and deals with what has happened. True when process 1 has ended.
    fn turn(&mut self) -> io::Result<bool> {
        let Places { ended, signalled, input, netd, health, notify, first_source } = self.register();
        self.pace.settle();
        if !self.set.wait(self.timeout())? {
            self.pause();
            self.tend(false);
            return Ok(false);
        }
        if self.set.ready(signalled).read {
            self.obey()?;
        }
        if self.set.ready(netd).read
            && let Some(wiring) = &mut self.company.wiring
        {
            wiring.on_ready();
            self.tell_of_network();
        }
        if self.set.ready(notify).read
            && let Some(notifier) = &mut self.company.notifier
        {
            notifier.on_ready();
        }
        self.tend(self.set.ready(health).read);
        for index in 0..self.server.len() {
            let ready = self.server.ready(&self.set, index);
            if ready.read || ready.hung_up {
                self.hear(index);
            }
        }
        self.offer_again();
        for index in 0..self.sources.len() {
            if self.offered.is_none() && self.set.ready(first_source + index).read {
                self.pump(index)?;
            }
        }
        self.sources.retain(|source| source.is_open);
        if self.set.ready(input).write {
            self.input.write_backlog();
        }
        self.server.accept(&self.set);
        self.server.sweep();
        Ok(self.set.ready(ended).read)
    }

    /// Says what is awaited.
    fn register(&mut self) -> Places {
        let set = &mut self.set;
        set.clear();
        let ended = set.add(Some(self.pidfd.as_fd()), Interest::READ);
        let signalled = set.add(Some(self.signals.as_fd()), Interest::READ);
        let input = set.add(
            self.input.fd.as_ref().filter(|_| !self.input.backlog.is_empty()).map(AsFd::as_fd),
            Interest::WRITE,
        );
        let company = &self.company;
        let netd = set.add(company.wiring.as_ref().and_then(|wiring| wiring.session()), Interest::READ);
        let health = set.add(company.health.as_ref().and_then(|health| health.descriptor()), Interest::READ);
        let notify =
            set.add(company.notifier.as_ref().and_then(|notifier| notifier.descriptor()), Interest::READ);
        let first_source = notify + 1;
        let reading = self.offered.is_none() && !self.server.awaits_first();
        for source in &self.sources {
            set.add(Some(source.fd.as_fd()).filter(|_| reading && !source.hung), Interest::READ);
        }
        self.server.register(set, self.input.backlog.is_empty());
        Places { ended, signalled, input, netd, health, notify, first_source }
    }

    fn timeout(&self) -> Option<Duration> {
        let hung = self.sources.iter().any(|source| source.hung);
        let lost = self.company.wiring.as_ref().is_some_and(|wiring| wiring.is_lost());
        let pause = (self.active || hung || lost || self.server.is_exhausted()).then_some(PAUSE);
        let check = self.company.health.as_ref().and_then(|health| health.deadline());
        let deadline = check.into_iter().chain(self.kill_at).min();
        let until = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        pause.into_iter().chain(until).min()
    }

    /// Does what the clock, or a check of the container's health, asks for.
    fn tend(&mut self, checked: bool) {
        if self.kill_at.is_some_and(|deadline| deadline <= Instant::now()) {
            self.kill_at = None;
            pidfd::send_signal(self.pidfd.as_fd(), libc::SIGKILL).ok();
        }
        let Some(health) = &mut self.company.health else { return };
        let over = if checked { health.on_ready() } else { None };
        if let Some(outcome) = over.or_else(|| health.on_time()) {
            self.conclude(outcome);
        }
    }

    /// A check of the container's health is over.
    fn conclude(&mut self, (code, action): (i32, Action)) {
        self.active = true;
        self.server.tell_checked(code);
        let news = self.company.health.as_mut().and_then(|health| health.take_news());
        if let (Some(Health::Healthy), Some(notifier)) = (news, &mut self.company.notifier) {
            notifier.healthy();
        }
        let signal = match action {
            Action::None => return,
            Action::Kill => libc::SIGKILL,
            Action::Stop => self.stop_signal,
        };
        self.end_with(signal);
    }

    /// Asks process 1 to end with `signal`, and makes it end after the grace period.
    fn end_with(&mut self, signal: i32) {
        // Refused only if process 1 has just ended, which is what was wanted.
        pidfd::send_signal(self.pidfd.as_fd(), signal).ok();
        let end = || self.company.grace.and_then(|grace| Instant::now().checked_add(grace));
        self.kill_at = self.kill_at.or_else(end);
    }

    /// Notes that the network helper was gone, and whether it is back (REL-08).
    fn tell_of_network(&mut self) {
        let news = self.company.wiring.as_mut().and_then(|wiring| wiring.take_news());
        if let (Some(news), Some(teller)) = (news, self.company.teller) {
            teller.tell(&[teller.event(news)]);
        }
    }

    /// A client wants the container's health checked now.
    fn check_health(&mut self) {
        let outcome = match &mut self.company.health {
            Some(health) => health.check_now(),
            None => Some((NO_CHECK, Action::None)),
        };
        if let Some(outcome) = outcome {
            self.conclude(outcome);
        }
    }

    /// Nothing has happened for a while.
    fn pause(&mut self) {
        self.server.retry_accept();
        self.sources.iter_mut().for_each(|source| source.hung = false);
        if let Some(wiring) = self.company.wiring.as_mut().filter(|wiring| wiring.is_lost()) {
            wiring.bring_back();
            self.tell_of_network();
        }
        if !std::mem::take(&mut self.active) {
            return;
        }
        if self.offered.is_none() {
            self.output_buffer.release();
        }
        self.client_buffer.release();
        if let Some(log) = &mut self.log {
            log.release();
        }
        self.sources.iter_mut().for_each(Source::shrink);
        if self.input.backlog.is_empty() {
            self.input.backlog = Vec::new();
        }
        process::trim_heap();
    }

    /// The monitor itself was sent a signal: its container is to end, and to stay so. systemd stops services and machines so.
    fn obey(&mut self) -> io::Result<()> {
        while let Some(signal) = self.signals.read()? {
            let released = self.release.as_ref().is_some_and(is_released);
            match signal {
                libc::SIGHUP => {}
                _ if released => {}
                // Its time is over.
                libc::SIGALRM => self.end_with(libc::SIGKILL),
                _ => {
                    self.told_to_end = true;
                    self.end_with(self.stop_signal);
                }
            }
        }
        Ok(())
    }

    /// Takes one packet of a client.
    fn hear(&mut self, index: usize) {
        self.active = true;
        match self.server.receive(index, &mut self.client_buffer) {
            None => {}
            Some(Request::Stdin(data)) => self.input.write(data),
            Some(Request::StdinEof) => self.input.end(),
            Some(Request::Check) => self.check_health(),
            Some(Request::Ended(code)) => {
                if let Some(teller) = self.company.teller {
                    teller.tell(&[teller.event("exec_died").of_session(self.server.session(index), code)]);
                }
            }
            Some(Request::Reload) => {
                if let Some(health) = &mut self.company.health {
                    health.reload();
                }
                self.server.answer(index, packet::reloaded());
            }
            Some(Request::Resize(size)) => {
                if let Some(terminal) = self.sources.iter().find(|source| !source.is_pipe) {
                    // A terminal that is gone has no size.
                    tty::set_window_size(terminal.fd.as_fd(), size).ok();
                }
            }
            Some(Request::Signal(number)) => {
                let sent = pidfd::send_signal(self.pidfd.as_fd(), number);
                let errno = sent.err().map_or(0, |err| err.raw_os_error().unwrap_or(libc::EIO));
                self.server.answer(index, packet::signalled(errno));
            }
        }
    }

    /// Takes one chunk of output to the log and the clients. Answers its length, if there was one.
    fn pump(&mut self, index: usize) -> io::Result<Option<usize>> {
        let source = &mut self.sources[index];
        let room = if source.grown { LARGE_READ } else { MAX_DATA };
        let Some(length) = source.read(&mut self.output_buffer[1..=room])? else { return Ok(None) };
        self.active = true;
        if source.is_pipe {
            self.pace.note(length, room);
        }
        let stream = source.stream;
        if let Some(log) = &mut self.log {
            // A full disk must not stop the container; the writer counts what is missing.
            log.write(stream, &self.output_buffer[1..=length], Timestamp::now()).ok();
        }
        self.offer(stream, 1..length + 1);
        Ok(Some(length))
    }

    /// Offers output to the clients, packet by packet, until one of them owes.
    fn offer(&mut self, stream: Stream, mut rest: Range<usize>) {
        while !rest.is_empty() {
            // The first byte of a packet takes the place of the last one of the packet before.
            let packet = rest.start - 1..rest.end.min(rest.start + MAX_DATA);
            rest.start = packet.end;
            self.output_buffer[packet.start] = output_kind(stream);
            if !self.server.offer(stream, &self.output_buffer[packet.clone()]) {
                self.offered = Some(Offered { stream, packet, rest });
                return;
            }
        }
    }

    /// Serves the clients that the last wait found writable.
    fn offer_again(&mut self) {
        let packet = self.offered.as_ref().map_or(0..0, |offered| offered.packet.clone());
        if self.server.offer_again(&self.output_buffer[packet])
            && let Some(Offered { stream, rest, .. }) = self.offered.take()
        {
            self.offer(stream, rest);
        }
    }

    /// Lets the clients have later what they have not taken yet.
    fn set_aside(&mut self) {
        while let Some(Offered { stream, packet, rest }) = self.offered.take() {
            self.server.set_aside(&self.output_buffer[packet]);
            self.offer(stream, rest);
        }
    }

    /// Takes what process 1 has left behind.
    fn drain(&mut self) -> io::Result<()> {
        self.set_aside();
        for index in 0..self.sources.len() {
            let mut taken = 0;
            while taken < MAX_LEFTOVER {
                let Some(length) = self.pump(index)? else { break };
                // Tiny chunks count for more: their number is bounded as well.
                taken += length.max(1024);
                self.set_aside();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "serve_tests.rs"]
mod tests;
