//! A container's connection to netd, as its monitor holds it.
//!
//! ```text
//! connect to netd.sock, or start netd with one end of a socket pair ─▶ Attach ─▶ Publish…
//! end of file ─▶ the same again, with G's namespace and the addresses of before
//! ```
//!
//! Who starts netd, and how, is the caller's business.

use std::ffi::OsStr;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::control::{self, Attach, Endpoint, EndpointRequest, PublishedPort, Refusal, Reply, Request};
use super::netd::SOCKET_NAME;
use super::network::Network;
use crate::base::network::Protocol;
pub(crate) use crate::net::ports::{PortChooser, listen};
use crate::sys::poll::{Interest, PollSet};
use crate::sys::{netns, socket};

/// How long netd may take to be there.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often netd is started before that is given up.
const STARTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(2);
/// How long netd may take to answer: links are made one after the other, and many containers may start at once.
const ANSWER: Duration = Duration::from_secs(30);
/// How long it may take to say who is where, which it knows.
const KNOWN: Duration = Duration::from_secs(5);
/// How long the end of a container is held up by a netd that does not answer.
const LONGEST_FAREWELL: Duration = Duration::from_secs(2);

/// Starts netd, with a connection to it and the namespace of an earlier one's G.
pub(crate) type Starter<'a> = &'a dyn Fn(OwnedFd, Option<BorrowedFd<'_>>) -> io::Result<()>;

/// Why a container has no network.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("{0}")]
    Refused(Refusal),
    #[error("start the network helper")]
    Start(#[source] io::Error),
    #[error("talk to the network helper")]
    Talk(#[source] io::Error),
    #[error("the network helper does not answer")]
    Silent,
    #[error("publish port {}: bind {address} ({protocol})", address.port())]
    Bind { address: SocketAddr, protocol: Protocol, source: Errno },
}

/// Published ports, each with its listening socket.
pub(crate) type Listeners = Vec<(PublishedPort, OwnedFd)>;

/// A container on its networks.
#[derive(Debug)]
pub(crate) struct Link {
    session: OwnedFd,
    /// Held so that G outlives netd.
    gateway: OwnedFd,
    attach: Attach,
    endpoints: Vec<Endpoint>,
    /// Containers that it is linked to, as far as their addresses have changed since it was attached.
    linked: Vec<(String, IpAddr)>,
}

/// A connection to a netd that waits for what is wanted of it.
#[derive(Debug)]
pub(crate) struct Called {
    session: OwnedFd,
}

/// Connects to netd, which is started if need be: it can get ready while the container is made.
///
/// # Errors
///
/// If netd cannot be started.
pub(crate) fn call(directory: BorrowedFd<'_>, start: Starter<'_>) -> Result<Called, ClientError> {
    Ok(Called { session: connect_or_start(directory, start, None)? })
}

/// What was asked of netd and not answered yet.
#[derive(Debug)]
pub(crate) struct Asked {
    session: Option<OwnedFd>,
}

impl Asked {
    /// Sends `request`; what could not be sent is asked again.
    fn of(session: OwnedFd, request: &Request, namespace: BorrowedFd<'_>) -> Self {
        Self { session: send(&session, request, Some(namespace)).is_ok().then_some(session) }
    }
}

/// Sends a request that only callers of netd's own network namespace may make: the sender's comes along, behind the container's.
fn send(session: &OwnedFd, request: &Request, container: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let own = netns::current().ok();
    let descriptors: Vec<_> = container.into_iter().chain(own.as_ref().map(AsFd::as_fd)).collect();
    control::send(session, request, &descriptors)
}

impl Link {
    /// Asks the netd that was called to link the container whose network namespace is `namespace`, and does not wait
    /// for it.
    pub(crate) fn ask(
        called: Called,
        attach: &Attach,
        namespace: BorrowedFd<'_>,
    ) -> Result<Asked, ClientError> {
        Ok(Asked::of(called.session, &Request::Attach(attach.clone()), namespace))
    }

    /// Waits until the container is linked.
    ///
    /// # Errors
    ///
    /// [`ClientError::Refused`] with netd's reason; the others if there is no netd to be had.
    pub(crate) fn linked(
        asked: Asked,
        directory: BorrowedFd<'_>,
        start: Starter<'_>,
        attach: Attach,
        namespace: BorrowedFd<'_>,
        listeners: &Listeners,
    ) -> Result<Self, ClientError> {
        let request = Request::Attach(attach.clone());
        let (session, endpoints, gateway) =
            converse(asked, directory, start, None, &request, Some(namespace))?;
        let mut link = Self { session, gateway, attach, endpoints, linked: Vec::new() };
        link.publish(listeners)?;
        Ok(link)
    }

    /// As [`ask`](Self::ask), after netd has gone or the container has started anew. It keeps its addresses. Its
    /// networks are as `record` has them now, by name; as they were known where there is none.
    pub(crate) fn ask_again(
        &mut self,
        directory: BorrowedFd<'_>,
        start: Starter<'_>,
        namespace: BorrowedFd<'_>,
        record: impl Fn(&str) -> Option<Network>,
    ) -> Result<Asked, ClientError> {
        self.want_what_it_has();
        for EndpointRequest { network, .. } in &mut self.attach.endpoints {
            if let Some(now) = record(&network.name).filter(|now| now.id == network.id) {
                *network = now;
            }
        }
        let request = Request::Attach(self.attach.clone());
        let session = connect_or_start(directory, start, Some(self.gateway.as_fd()))?;
        Ok(Asked::of(session, &request, namespace))
    }

    /// As [`linked`](Self::linked), after [`ask_again`](Self::ask_again).
    pub(crate) fn linked_again(
        &mut self,
        asked: Asked,
        directory: BorrowedFd<'_>,
        start: Starter<'_>,
        namespace: BorrowedFd<'_>,
        listeners: &Listeners,
    ) -> Result<(), ClientError> {
        let request = Request::Attach(self.attach.clone());
        let gateway = Some(self.gateway.as_fd());
        let (session, endpoints, gateway) =
            converse(asked, directory, start, gateway, &request, Some(namespace))?;
        (self.session, self.endpoints, self.gateway) = (session, endpoints, gateway);
        self.linked.clear();
        self.publish(listeners)
    }

    /// Ends the container's life on its networks. Its ports and addresses are free for others then, unless netd is too
    /// busy to say so within [`LONGEST_FAREWELL`].
    pub(crate) fn leave(self) {
        if rustix::net::shutdown(&self.session, rustix::net::Shutdown::Write).is_err() {
            return;
        }
        let begun = Instant::now();
        let mut set = PollSet::default();
        while let Some(left) = LONGEST_FAREWELL.checked_sub(begun.elapsed()) {
            set.clear();
            set.add(Some(self.session.as_fd()), Interest::READ);
            let is_over = !set.wait(Some(left)).unwrap_or(false)
                || matches!(control::receive::<Reply>(&self.session), Ok(None) | Err(_));
            if is_over {
                return;
            }
        }
    }

    fn want_what_it_has(&mut self) {
        self.attach.again = true;
        for (wanted, has) in self.attach.endpoints.iter_mut().zip(&self.endpoints) {
            wanted.ips = has.ips.iter().map(|ip| ip.ip).collect();
            wanted.mac = Some(has.mac);
            wanted.interface = Some(has.interface.clone());
        }
    }

    /// Readable when netd has something to say, or is gone.
    pub(crate) fn session(&self) -> BorrowedFd<'_> {
        self.session.as_fd()
    }

    /// What it has on its networks.
    pub(crate) fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// The address of a container that this one is linked to, if netd has said that it changed.
    pub(crate) fn linked_ip(&self, container: &str) -> Option<IpAddr> {
        self.linked.iter().find(|(id, _)| id == container).map(|(_, ip)| *ip)
    }

    /// The container's name as netd knows it.
    pub(crate) fn name(&self) -> &str {
        &self.attach.name
    }

    /// What it asked for, with what commands have added since.
    pub(crate) fn wanted(&self) -> &[EndpointRequest] {
        &self.attach.endpoints
    }

    /// Takes up what netd says. False if it is gone.
    pub(crate) fn listen(&mut self) -> bool {
        match control::receive::<Reply>(&self.session) {
            Ok(Some((reply, _))) => {
                self.take_up(reply);
                true
            }
            Ok(None) | Err(_) => false,
        }
    }

    /// Takes up what has changed about the container, if that is what netd has said.
    fn take_up(&mut self, reply: Reply) {
        if let Reply::Changed { wanted, endpoints, linked, name } = reply {
            self.linked = linked;
            self.attach.endpoints = wanted;
            self.attach.name = name;
            self.endpoints = endpoints;
        }
    }

    fn publish(&mut self, listeners: &Listeners) -> Result<(), ClientError> {
        for some in listeners.chunks(control::MAX_PORTS.min(MAX_PER_PACKET)) {
            let ports = some.iter().map(|(port, _)| *port).collect();
            let sockets: Vec<_> = some.iter().map(|(_, socket)| socket.as_fd()).collect();
            control::send(&self.session, &Request::Publish { ports }, &sockets).map_err(ClientError::Talk)?;
            let mut news = None;
            let answer = answer(&self.session, Instant::now() + ANSWER, |reply| news = Some(reply));
            if let Some(news) = news {
                self.take_up(news);
            }
            match answer.map_err(unanswered)? {
                Some((Reply::Refused(refusal), _)) => return Err(ClientError::Refused(refusal)),
                Some(_) => {}
                None => return Err(ClientError::Silent),
            }
        }
        Ok(())
    }
}

/// Fewer than the kernel allows: descriptors under way count against the user's limit.
const MAX_PER_PACKET: usize = 128;

/// Connects to the netd that there is.
fn connect(directory: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    socket::connect_at(directory, OsStr::new(SOCKET_NAME), socket::Kind::Packet)
}

fn connect_or_start(
    directory: BorrowedFd<'_>,
    start: Starter<'_>,
    gateway: Option<BorrowedFd<'_>>,
) -> Result<OwnedFd, ClientError> {
    match connect(directory) {
        Ok(session) => Ok(session),
        Err(_) => start_netd(start, gateway),
    }
}

fn start_netd(start: Starter<'_>, gateway: Option<BorrowedFd<'_>>) -> Result<OwnedFd, ClientError> {
    let (own, theirs) = socket::pair(socket::Kind::Packet).map_err(ClientError::Start)?;
    start(theirs, gateway).map_err(ClientError::Start)?;
    Ok(own)
}

/// Waits until `deadline` for the next packet of netd.
fn receive_until(session: &OwnedFd, deadline: Instant) -> io::Result<Option<(Reply, Vec<OwnedFd>)>> {
    let mut set = PollSet::default();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        set.clear();
        set.add(Some(session.as_fd()), Interest::READ);
        if set.wait(Some(left))? {
            return control::receive(session);
        }
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}

/// Waits until `deadline` for netd's answer. What it says unasked meanwhile is no answer, and goes to `on_change`.
fn answer(
    session: &OwnedFd,
    deadline: Instant,
    mut on_change: impl FnMut(Reply),
) -> io::Result<Option<(Reply, Vec<OwnedFd>)>> {
    loop {
        match receive_until(session, deadline)? {
            Some((changed @ Reply::Changed { .. }, _)) => on_change(changed),
            answer => return Ok(answer),
        }
    }
}

/// Why there is no answer.
fn unanswered(error: io::Error) -> ClientError {
    match error.kind() {
        io::ErrorKind::TimedOut => ClientError::Silent,
        _ => ClientError::Talk(error),
    }
}

/// What is asked of another netd, after one that has not answered.
fn repeated(request: &Request) -> Request {
    match request {
        Request::Attach(attach) => Request::Attach(Attach { again: true, ..attach.clone() }),
        other => other.clone(),
    }
}

/// Waits for the answer to what was `asked`, and asks again until a netd answers.
fn converse(
    asked: Asked,
    directory: BorrowedFd<'_>,
    start: Starter<'_>,
    gateway: Option<BorrowedFd<'_>>,
    request: &Request,
    container: Option<BorrowedFd<'_>>,
) -> Result<(OwnedFd, Vec<Endpoint>, OwnedFd), ClientError> {
    let begun = Instant::now();
    let mut starts = 0;
    let mut expected = false;
    let mut asked = asked.session;
    let repeated = repeated(request);
    let mut request = request;
    while begun.elapsed() < PATIENCE {
        let session = if let Some(session) = asked.take() {
            // If this one does not live to answer, it may have made half of the link.
            request = &repeated;
            session
        } else {
            let session = match connect(directory) {
                Ok(session) => session,
                // Another process has started one, which is not ready yet.
                Err(_) if expected => {
                    expected = false;
                    std::thread::sleep(PAUSE);
                    continue;
                }
                Err(_) if starts < STARTS => {
                    starts += 1;
                    start_netd(start, gateway)?
                }
                Err(_) => break,
            };
            // A netd that is about to end closes the connection without an answer.
            match send(&session, request, container) {
                Ok(()) => {}
                // It is too long, and stays so.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    return Err(ClientError::Talk(error));
                }
                Err(_) => continue,
            }
            request = &repeated;
            session
        };
        // What has changed before it is attached, `Attached` tells.
        match answer(&session, Instant::now() + ANSWER, drop) {
            Ok(Some((Reply::Attached { endpoints }, descriptors))) => {
                let gateway = descriptors.into_iter().next().ok_or(ClientError::Silent)?;
                return Ok((session, endpoints, gateway));
            }
            Ok(Some((Reply::Refused(refusal), _))) => return Err(ClientError::Refused(refusal)),
            Ok(Some((Reply::Elsewhere, _))) => {
                expected = true;
                starts = starts.saturating_sub(1);
                std::thread::sleep(PAUSE);
            }
            Ok(_) => {}
            Err(error) if error.raw_os_error().is_some() => {}
            Err(error) => return Err(unanswered(error)),
        }
    }
    Err(ClientError::Silent)
}

/// G without a container: its namespace, and the connection that keeps netd there while it is open.
///
/// # Errors
///
/// As [`Link::linked`].
pub(crate) fn hold(directory: BorrowedFd<'_>, start: Starter<'_>) -> Result<(OwnedFd, OwnedFd), ClientError> {
    let asked = Asked { session: None };
    let (session, _none, gateway) = converse(asked, directory, start, None, &Request::Hold, None)?;
    Ok((gateway, session))
}

/// Whether a netd listens.
pub(crate) fn is_there(directory: BorrowedFd<'_>) -> bool {
    connect(directory).is_ok()
}

/// Asks a running netd something; `None` if there is none.
///
/// # Errors
///
/// `TimedOut` if it does not answer; those of talking to it.
pub(crate) fn ask(directory: BorrowedFd<'_>, request: &Request) -> io::Result<Option<Reply>> {
    let Ok(session) = connect(directory) else { return Ok(None) };
    let patience = if *request == Request::Query { KNOWN } else { ANSWER };
    ask_within(&session, request, Instant::now() + patience)
}

/// Asks one question, and for the rest of an answer that comes in several parts.
fn ask_within(session: &OwnedFd, request: &Request, deadline: Instant) -> io::Result<Option<Reply>> {
    let mut known = Vec::new();
    let mut request = std::borrow::Cow::Borrowed(request);
    loop {
        control::send(session, &*request, &[])?;
        match answer(session, deadline, drop)?.map(|(reply, _)| reply) {
            Some(Reply::State { containers, more }) => {
                known.extend(containers);
                let last = known.last().filter(|_| more).map(|last| last.container.clone());
                let Some(container) = last else {
                    return Ok(Some(Reply::State { containers: known, more: false }));
                };
                request = std::borrow::Cow::Owned(Request::QueryAfter { container });
            }
            other => return Ok(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::control::{ContainerState, RefusalKind};

    fn state(container: &str, more: bool) -> Reply {
        let of = ContainerState { container: container.into(), name: String::new(), endpoints: vec![] };
        Reply::State { containers: vec![of], more }
    }

    fn changed() -> Reply {
        Reply::Changed { wanted: vec![], endpoints: vec![], linked: vec![], name: "new".into() }
    }

    #[test]
    fn who_does_not_answer_is_not_waited_for_for_ever() {
        let (own, _theirs) = socket::pair(socket::Kind::Packet).unwrap();
        let error =
            ask_within(&own, &Request::Query, Instant::now() + Duration::from_millis(20)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_long_answer_is_asked_for_in_parts() {
        let (own, theirs) = socket::pair(socket::Kind::Packet).unwrap();
        control::send(&theirs, &state("a", true), &[]).unwrap();
        control::send(&theirs, &state("b", false), &[]).unwrap();
        let got = ask_within(&own, &Request::Query, Instant::now() + ANSWER).unwrap();
        let Some(Reply::State { containers, more: false }) = got else { panic!("{got:?}") };
        assert_eq!(containers.iter().map(|of| of.container.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(control::receive::<Request>(&theirs).unwrap().unwrap().0, Request::Query);
        let after = Request::QueryAfter { container: "a".into() };
        assert_eq!(control::receive::<Request>(&theirs).unwrap().unwrap().0, after);
    }

    #[test]
    fn what_a_netd_that_died_may_have_made_is_told_the_next_one() {
        let dir = tempfile::tempdir().unwrap();
        let directory = std::fs::File::open(dir.path()).unwrap();
        let listener =
            socket::listen_at(directory.as_fd(), OsStr::new(SOCKET_NAME), socket::Kind::Packet).unwrap();
        let netd = std::thread::spawn(move || {
            let await_readable = |socket: &OwnedFd| {
                let mut set = PollSet::default();
                set.add(Some(socket.as_fd()), Interest::READ);
                assert!(set.wait(Some(ANSWER)).unwrap());
            };
            let accept = || {
                await_readable(&listener);
                socket::accept(listener.as_fd()).unwrap().unwrap()
            };
            let is_again = |own: &OwnedFd| {
                await_readable(own);
                match control::receive::<Request>(own).unwrap().unwrap().0 {
                    Request::Attach(attach) => attach.again,
                    other => panic!("{other:?}"),
                }
            };
            let first = accept();
            let first_again = is_again(&first);
            drop(first);
            let second = accept();
            let second_again = is_again(&second);
            let refusal = Refusal { kind: RefusalKind::System, message: "heard".into() };
            control::send(&second, &Reply::Refused(refusal), &[]).unwrap();
            [first_again, second_again]
        });
        let attach = crate::net::testing::attach("c", vec![]);
        let request = Request::Attach(attach.clone());
        let session = connect(directory.as_fd()).unwrap();
        let asked = Asked::of(session, &request, directory.as_fd());
        let none = |_: OwnedFd, _: Option<BorrowedFd<'_>>| Err(io::ErrorKind::Unsupported.into());
        let answer = converse(asked, directory.as_fd(), &none, None, &request, Some(directory.as_fd()));
        assert!(matches!(answer, Err(ClientError::Refused(refusal)) if refusal.message == "heard"));
        assert_eq!(netd.join().unwrap(), [false, true]);
    }

    #[test]
    fn what_comes_unasked_is_no_answer() {
        let (own, theirs) = socket::pair(socket::Kind::Packet).unwrap();
        control::send(&theirs, &changed(), &[]).unwrap();
        control::send(&theirs, &Reply::Published, &[]).unwrap();
        let mut told = Vec::new();
        let got = answer(&own, Instant::now() + ANSWER, |reply| told.push(reply)).unwrap();
        assert_eq!((got.unwrap().0, told), (Reply::Published, vec![changed()]));
    }
}
