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
use crate::base::network::Protocol;
pub(crate) use crate::net::ports::{PortChooser, listen};
use crate::sys::poll::{Interest, PollSet};
use crate::sys::socket;

/// How long netd may take to be there.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often netd is started before that is given up.
const STARTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(2);
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
        Self { session: control::send(&session, request, &[namespace]).is_ok().then_some(session) }
    }
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
        let (session, endpoints, gateway) = converse(asked, directory, start, None, &request, &[namespace])?;
        let link = Self { session, gateway, attach, endpoints, linked: Vec::new() };
        link.publish(listeners)?;
        Ok(link)
    }

    /// As [`ask`](Self::ask), after netd has gone or the container has started anew. It keeps its
    /// addresses.
    pub(crate) fn ask_again(
        &mut self,
        directory: BorrowedFd<'_>,
        start: Starter<'_>,
        namespace: BorrowedFd<'_>,
    ) -> Result<Asked, ClientError> {
        self.want_what_it_has();
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
            converse(asked, directory, start, gateway, &request, &[namespace])?;
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
            Ok(Some((Reply::Changed { wanted, endpoints, linked, name }, _))) => {
                self.linked = linked;
                self.attach.endpoints = wanted;
                self.attach.name = name;
                self.endpoints = endpoints;
                true
            }
            Ok(Some(_)) => true,
            Ok(None) | Err(_) => false,
        }
    }

    fn publish(&self, listeners: &Listeners) -> Result<(), ClientError> {
        for some in listeners.chunks(control::MAX_PORTS.min(MAX_PER_PACKET)) {
            let ports = some.iter().map(|(port, _)| *port).collect();
            let sockets: Vec<_> = some.iter().map(|(_, socket)| socket.as_fd()).collect();
            control::send(&self.session, &Request::Publish { ports }, &sockets).map_err(ClientError::Talk)?;
            match control::receive::<Reply>(&self.session).map_err(ClientError::Talk)? {
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

/// Waits for the answer to what was `asked`, and asks again until a netd answers.
fn converse(
    asked: Asked,
    directory: BorrowedFd<'_>,
    start: Starter<'_>,
    gateway: Option<BorrowedFd<'_>>,
    request: &Request,
    descriptors: &[BorrowedFd<'_>],
) -> Result<(OwnedFd, Vec<Endpoint>, OwnedFd), ClientError> {
    let begun = Instant::now();
    let mut starts = 0;
    let mut expected = false;
    let mut asked = asked.session;
    while begun.elapsed() < PATIENCE {
        let session = if let Some(session) = asked.take() {
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
            if control::send(&session, request, descriptors).is_err() {
                continue;
            }
            session
        };
        match control::receive::<Reply>(&session) {
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
            Err(error) => return Err(ClientError::Talk(error)),
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
    let (session, _none, gateway) = converse(asked, directory, start, None, &Request::Hold, &[])?;
    Ok((gateway, session))
}

/// Whether a netd listens.
pub(crate) fn is_there(directory: BorrowedFd<'_>) -> bool {
    connect(directory).is_ok()
}

/// Asks a running netd something; `None` if there is none.
pub(crate) fn ask(directory: BorrowedFd<'_>, request: &Request) -> io::Result<Option<Reply>> {
    let Ok(session) = connect(directory) else { return Ok(None) };
    control::send(&session, request, &[])?;
    Ok(control::receive::<Reply>(&session)?.map(|(reply, _)| reply))
}
