//! netd: the one process per user that carries the containers' traffic.
//!
//! ```text
//! main thread (host's namespace): one epoll loop over everything
//!   sessions ─▶ attach ─▶ worker (thread in G) ─▶ site: netlink, nf_tables
//!   outbound ─▶ relay      held SYNs, then connected pairs
//!   publish  ─▶ relay, flows
//!   flows, echo, dns; moves ─▶ those of them that lead out by a way that is no more
//! pool (thread in G): ready sockets of G
//! ```
//!
//! The main thread never leaves the host's namespace, to which there is no way back. What other
//! threads make in G are descriptors, and those it may use.
//!
//! netd keeps no state on disk. Its life: started by the first container, gone a while after the
//! last. If it dies, monitors start another with G's namespace, which they hold, and attach again.

mod attach;
mod confine;
mod core;
mod count;
mod dns;
mod echo;
mod flows;
mod moves;
mod outbound;
mod pace;
mod parts;
mod pool;
mod publish;
mod reactor;
mod relay;
mod sessions;
mod site;
mod slab;
mod spare;
#[cfg(test)]
mod tests;
mod worker;
mod world;

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;

pub(crate) use self::confine::Confinement;
use self::core::Core;
use self::dns::Dns;
use self::echo::Echoes;
use self::flows::Flows;
use self::moves::Moves;
use self::outbound::Outbound;
use self::pace::Pace;
use self::pool::Pool;
use self::publish::Publisher;
use self::reactor::{Event, Interest, Reactor, Source, Token};
use self::relay::Relays;
use self::sessions::Sessions;
use self::site::Site;
pub(crate) use self::site::SiteError;
use self::spare::Spare;
use self::worker::Worker;
use self::world::World;
use crate::net::control::{self, Refusal, RefusalKind, Reply};
use crate::sys::namespace::{self, Identity};
use crate::sys::{netns, socket};

/// Name of netd's socket in its directory.
pub(crate) const SOCKET_NAME: &str = "netd.sock";
/// Name of the file a live netd holds locked.
pub(crate) const LOCK_NAME: &str = "netd.lock";
/// How long the links of a crashed netd's containers wait for their monitors.
const RETURN: Duration = Duration::from_secs(20);
/// How often idle things are looked for while there are any.
const TICK: Duration = Duration::from_secs(2);

/// What netd is started with.
pub(crate) struct Start {
    /// Directory of its socket and lock, mode 0700.
    pub(crate) directory: OwnedFd,
    /// The connection of whoever started it.
    pub(crate) first: Option<OwnedFd>,
    /// G of an earlier netd.
    pub(crate) gateway: Option<OwnedFd>,
    /// How long it stays without containers.
    pub(crate) linger: Duration,
    /// The host's resolv.conf.
    pub(crate) resolv_conf: std::path::PathBuf,
    /// What is left of its rights once G is built.
    pub(crate) confinement: Option<Confine>,
}

/// Makes what netd shall be confined to.
pub(crate) type Confine = Box<dyn FnOnce() -> std::io::Result<Confinement>>;

/// Why netd could not start or go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetdError {
    #[error(transparent)]
    Site(#[from] SiteError),
    #[error("{action}")]
    System { action: &'static str, source: std::io::Error },
}

fn failed<E: Into<std::io::Error>>(action: &'static str) -> impl FnOnce(E) -> NetdError {
    move |source| NetdError::System { action, source: source.into() }
}

/// Runs netd until it is no longer needed.
///
/// The calling process must have no other threads that create sockets, be in the host's network
/// namespace, and have the capabilities of a user namespace's root.
pub(crate) fn netd_main(start: Start) -> Result<(), NetdError> {
    let first = start.first.as_ref().map(OwnedFd::try_clone).transpose().map_err(failed("duplicate"))?;
    let outcome = serve(start);
    if let (Some(first), Err(error)) = (first, &outcome) {
        // Whoever started it waits for an answer to its first request.
        let message = describe(error);
        let refusal = Refusal { kind: RefusalKind::System, message };
        control::send(&first, &Reply::Refused(refusal), &[]).ok();
    }
    outcome
}

fn serve(mut start: Start) -> Result<(), NetdError> {
    let Some(_lock) = lock(&start.directory)? else {
        if let Some(first) = start.first {
            control::send(&first, &Reply::Elsewhere, &[]).map_err(failed("answer"))?;
        }
        return Ok(());
    };
    // splice(2) to a closed socket has no flag against the signal.
    crate::sys::signal::set_ignored(libc::SIGPIPE).map_err(failed("ignore SIGPIPE"))?;
    raise_descriptor_limit();
    let first = start.first.take();
    let directory = start.directory.try_clone().map_err(failed("duplicate directory"))?;
    let mut netd = Netd::start(start)?;
    if let Some(first) = first {
        netd.sessions.add_first(&netd.core, first).map_err(failed("serve first connection"))?;
    }
    let outcome = netd.run();
    rustix::fs::unlinkat(&directory, SOCKET_NAME, rustix::fs::AtFlags::empty()).ok();
    netd.core.pool.close();
    outcome
}

/// An error with all its causes on one line.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// Takes the lock that only one netd can hold; `None` if another has it.
fn lock(directory: &OwnedFd) -> Result<Option<OwnedFd>, NetdError> {
    use rustix::fs::{FlockOperation, Mode, OFlags};
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::openat(directory, LOCK_NAME, flags, Mode::RUSR | Mode::WUSR)
        .map_err(failed("open netd.lock"))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::AGAIN) => Ok(None),
        Err(error) => Err(failed("lock netd.lock")(error)),
    }
}

/// Two descriptors per connection: as many as the system lets this user have.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).ok();
}

/// The running netd.
#[derive(Debug)]
pub(crate) struct Netd {
    core: Core,
    outbound: Outbound,
    relays: Relays,
    flows: Flows,
    echoes: Echoes,
    publisher: Publisher,
    dns: Dns,
    sessions: Sessions,
    worker: Worker,
    moves: Moves,
    /// G's namespace.
    gateway: OwnedFd,
    /// The network namespace that it connects from, as far as that can be told.
    host: Option<Identity>,
    linger: Duration,
    /// Since when there are no containers.
    idle_since: Option<Instant>,
    started: Instant,
    last_tick: Instant,
    pace: Pace,
}

impl Netd {
    fn start(start: Start) -> Result<Self, NetdError> {
        // Later it may not look there.
        let host = netns::current().ok().and_then(|own| namespace::identity(own).ok());
        let gateway = start.gateway;
        // A thread of its own, since the main thread must not leave the host's namespace.
        let opening = std::thread::spawn(move || Site::open(gateway));
        let confinement = start.confinement.map(|make| make()).transpose();
        let confinement = confinement.map_err(failed("prepare to give up rights"))?;
        rustix::fs::unlinkat(&start.directory, SOCKET_NAME, rustix::fs::AtFlags::empty()).ok();
        let listener =
            socket::listen_at(start.directory.as_fd(), OsStr::new(SOCKET_NAME), socket::Kind::Packet)
                .map_err(failed("listen on netd.sock"))?;
        let (site, sockets, leases) =
            opening.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        // Before there are other threads: they inherit it.
        confinement.map_or(Ok(()), |rest| rest.apply()).map_err(failed("give up rights"))?;
        let gateway = site.namespace().map_err(failed("duplicate namespace"))?;
        let pool: Arc<Pool> = Pool::start(gateway.try_clone().map_err(failed("duplicate namespace"))?)
            .map_err(failed("start thread"))?;
        let worker = Worker::start(site).map_err(failed("start thread"))?;
        let reactor = Reactor::new().map_err(failed("create epoll instance"))?;
        let watch =
            |fd: &dyn AsFdDyn, token| reactor.add(fd.fd(), Interest::Read, token).map_err(failed("watch"));
        watch(&worker.wake(), Token::fixed(Source::Worker, 0))?;
        for (sockets, source) in [(&sockets.tcp, Source::TcpListener), (&sockets.udp, Source::UdpListener)] {
            for (i, socket) in (0..).zip(sockets) {
                watch(&socket, Token::fixed(source, i))?;
            }
        }
        let now = Instant::now();
        let (world, spare) = (World::new(leases), Spare::new());
        let core = Core { reactor, world, pool, sockets, spare, number: 0.into(), now };
        let moves = Moves::open(&core.reactor);
        let sessions = Sessions::new(&core, listener).map_err(failed("watch netd.sock"))?;
        Ok(Self {
            core,
            outbound: Outbound::new(),
            relays: Relays::new(),
            flows: Flows::new(),
            echoes: Echoes::new(),
            publisher: Publisher::new(),
            dns: Dns::new(start.resolv_conf),
            sessions,
            worker,
            moves,
            gateway,
            host,
            linger: start.linger,
            idle_since: Some(now),
            started: now,
            last_tick: now,
            pace: Pace::new(),
        })
    }

    fn run(&mut self) -> Result<(), NetdError> {
        let mut events = Vec::new();
        loop {
            let timeout = self.timeout();
            let streaming = self.relays.take_streaming();
            self.pace
                .wait(&mut self.core.reactor, streaming, timeout, &mut events)
                .map_err(failed("wait for events"))?;
            self.core.now = Instant::now();
            self.relays.continue_busy();
            for event in events.drain(..) {
                self.dispatch(event);
            }
            if self.core.now.duration_since(self.last_tick) >= self.tick_length() {
                self.tick();
            }
            if self.is_over() {
                return Ok(());
            }
        }
    }

    fn dispatch(&mut self, event: Event) {
        let key = event.token.key;
        let index = key.index as usize;
        match event.token.source {
            Source::RelayInside | Source::RelayOutside => self.relays.on_event(key, event),
            Source::FlowInside => self.flows.on_inside(&mut self.core, &mut self.dns, key),
            Source::FlowOutside => self.flows.on_outside(&self.core, key),
            Source::Capture => self.outbound.on_capture(&mut self.core, &mut self.echoes, key),
            Source::Dial => self.outbound.on_dial(&mut self.core, key),
            Source::TcpListener => self.outbound.on_accept(&mut self.core, &mut self.relays, index),
            Source::UdpListener => self.flows.on_listener(&mut self.core, &mut self.dns, index),
            Source::Echo => self.echoes.on_reply(&self.core, key),
            Source::PublishTcp => self.publisher.on_clients(&self.core, &mut self.relays, key),
            Source::PublishUdp => self.publisher.on_datagrams(&mut self.core, &mut self.flows, key),
            Source::DnsUdp => {
                for (flow, datagram) in self.dns.on_datagram(&self.core, key) {
                    self.flows.on_stray(&mut self.core, &mut self.dns, flow, &datagram);
                }
            }
            Source::DnsListener => self.dns.on_client(&self.core, key),
            Source::DnsTcp => self.dns.on_stream(&self.core, key, event),
            Source::DnsUpstream => self.dns.on_upstream(&self.core, key, event),
            Source::Session => self.on_session(key),
            Source::SessionListener => self.sessions.on_listener(&self.core),
            Source::Worker => self.on_worker(),
            Source::Moves => self.moves.on_event(),
        }
    }

    fn on_worker(&mut self) {
        // Only makes it unreadable.
        self.worker.quiet().ok();
        while let Some(continuation) = self.worker.finished() {
            continuation(self);
        }
    }

    /// How long to wait for events at most.
    fn timeout(&self) -> Option<Duration> {
        if self.relays.is_busy() {
            return Some(Duration::ZERO);
        }
        let now = Instant::now();
        let busy = !self.outbound.is_empty()
            || !self.flows.is_empty()
            || !self.echoes.is_empty()
            || !self.dns.is_quiet()
            || self.dns.stands_in()
            || self.relays.are_parting()
            || self.core.world.has_leases();
        let tick = busy.then(|| (self.last_tick + self.tick_length()).saturating_duration_since(now));
        let end = self.idle_since.map(|since| (since + self.linger).saturating_duration_since(now));
        tick.into_iter().chain(end).min()
    }

    fn tick_length(&self) -> Duration {
        let is_calm = self.dns.is_quiet() && !self.relays.are_parting() && !self.moves.are_news();
        if is_calm { TICK } else { dns::TICK }
    }

    fn tick(&mut self) {
        self.last_tick = self.core.now;
        self.outbound.expire(&mut self.core);
        if self.moves.take_news() {
            self.flows.drop_moved(&mut self.core);
            self.echoes.drop_moved(&self.core);
        }
        self.flows.expire(&mut self.core);
        self.echoes.expire(self.core.now);
        self.relays.expire(self.core.now);
        self.dns.expire(&self.core);
        if self.core.world.has_leases() && self.core.now.duration_since(self.started) > RETURN {
            let gone = self.core.world.forget_leases();
            self.worker.submit(move |site| site.sweep(&gone), |_netd, _outcome| {});
        }
    }

    fn is_over(&mut self) -> bool {
        let waiting = !self.core.world.members.is_empty()
            || self.core.world.has_leases()
            || self.sessions.awaits_first()
            || self.sessions.are_holding()
            || self.relays.are_parting();
        self.idle_since = if waiting { None } else { self.idle_since.or(Some(self.core.now)) };
        self.idle_since.is_some_and(|since| self.core.now.duration_since(since) >= self.linger)
    }
}

/// [`AsFd`] as an object.
trait AsFdDyn {
    fn fd(&self) -> std::os::fd::BorrowedFd<'_>;
}

impl<T: AsFd> AsFdDyn for T {
    fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.as_fd()
    }
}
