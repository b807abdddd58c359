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
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{SocketType, sockopt};

use super::control::{self, Attach, Endpoint, EndpointRequest, PublishedPort, Refusal, Reply, Request};
use super::netd::SOCKET_NAME;
use crate::base::network::{PortMapping, Protocol};
use crate::sys::{inet, socket};

/// How long netd may take to be there.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often netd is started before that is given up.
const STARTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(2);

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
}

impl Link {
    /// Links the container whose network namespace is `namespace`.
    ///
    /// # Errors
    ///
    /// [`ClientError::Refused`] with netd's reason; the others if there is no netd to be had.
    pub(crate) fn open(
        directory: BorrowedFd<'_>,
        start: Starter<'_>,
        attach: Attach,
        namespace: BorrowedFd<'_>,
        listeners: &Listeners,
    ) -> Result<Self, ClientError> {
        let request = Request::Attach(attach.clone());
        let (session, endpoints, gateway) = converse(directory, start, None, &request, namespace)?;
        let link = Self { session, gateway, attach, endpoints };
        link.publish(listeners)?;
        Ok(link)
    }

    /// Links it again, after netd has gone or the container has started anew. It keeps its addresses.
    pub(crate) fn reopen(
        &mut self,
        directory: BorrowedFd<'_>,
        start: Starter<'_>,
        namespace: BorrowedFd<'_>,
        listeners: &Listeners,
    ) -> Result<(), ClientError> {
        self.want_what_it_has();
        let request = Request::Attach(self.attach.clone());
        let gateway = Some(self.gateway.as_fd());
        let (session, endpoints, gateway) = converse(directory, start, gateway, &request, namespace)?;
        (self.session, self.endpoints, self.gateway) = (session, endpoints, gateway);
        self.publish(listeners)
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

    /// What it asked for, with what commands have added since.
    pub(crate) fn wanted(&self) -> &[EndpointRequest] {
        &self.attach.endpoints
    }

    /// Takes up what netd says. False if it is gone.
    pub(crate) fn listen(&mut self) -> bool {
        match control::receive::<Reply>(&self.session) {
            Ok(Some((Reply::Changed { wanted, endpoints }, _))) => {
                self.attach.endpoints = wanted;
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

/// Sends `request` to netd, which is started if need be, until one answers it.
fn converse(
    directory: BorrowedFd<'_>,
    start: Starter<'_>,
    gateway: Option<BorrowedFd<'_>>,
    request: &Request,
    namespace: BorrowedFd<'_>,
) -> Result<(OwnedFd, Vec<Endpoint>, OwnedFd), ClientError> {
    let begun = Instant::now();
    let mut starts = 0;
    let mut expected = false;
    while begun.elapsed() < PATIENCE {
        let session = match socket::connect_at(directory, OsStr::new(SOCKET_NAME), socket::Kind::Packet) {
            Ok(session) => session,
            // Another process has started one, which is not ready yet.
            Err(_) if expected => {
                expected = false;
                std::thread::sleep(PAUSE);
                continue;
            }
            Err(_) if starts < STARTS => {
                starts += 1;
                let (own, theirs) = socket::pair(socket::Kind::Packet).map_err(ClientError::Start)?;
                start(theirs, gateway).map_err(ClientError::Start)?;
                own
            }
            Err(_) => break,
        };
        // A netd that is about to end closes the connection without an answer.
        if control::send(&session, request, &[namespace]).is_err() {
            continue;
        }
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

/// Asks a running netd something; `None` if there is none.
pub(crate) fn ask(directory: BorrowedFd<'_>, request: &Request) -> io::Result<Option<Reply>> {
    let Ok(session) = socket::connect_at(directory, OsStr::new(SOCKET_NAME), socket::Kind::Packet) else {
        return Ok(None);
    };
    control::send(&session, request, &[])?;
    Ok(control::receive::<Reply>(&session)?.map(|(reply, _)| reply))
}

/// Makes the listening sockets of published ports, in the calling process's network namespace.
///
/// Without an address of its own a port listens on all of both families.
///
/// # Errors
///
/// [`ClientError::Bind`] for the first port that cannot be had.
pub(crate) fn listen(ports: &[PortMapping]) -> Result<Listeners, ClientError> {
    let mut listeners = Vec::new();
    for port in ports.iter().flat_map(|port| port.each()) {
        let published = PublishedPort { protocol: port.protocol, container_port: port.container_port };
        let address = |ip: IpAddr| SocketAddr::new(ip, port.host_port);
        let bind = |address: SocketAddr| {
            bind(address, port.protocol).map_err(|source| ClientError::Bind {
                address,
                protocol: port.protocol,
                source,
            })
        };
        if let Some(ip) = port.host_ip {
            listeners.push((published, bind(address(ip))?));
            continue;
        }
        listeners.push((published, bind(address(Ipv4Addr::UNSPECIFIED.into()))?));
        match bind(address(Ipv6Addr::UNSPECIFIED.into())) {
            Ok(socket) => listeners.push((published, socket)),
            Err(ClientError::Bind { source: Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL, .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(listeners)
}

fn bind(address: SocketAddr, protocol: Protocol) -> Result<OwnedFd, Errno> {
    let tcp = protocol == Protocol::Tcp;
    let kind = if tcp { SocketType::STREAM } else { SocketType::DGRAM };
    let socket = inet::socket(address.is_ipv6(), kind)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if tcp {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    if tcp {
        rustix::net::listen(&socket, 1024)?;
    }
    Ok(socket)
}

/// A port of the host that is free now on every address, for a mapping that takes any.
pub(crate) fn free_port(ip: Option<IpAddr>, protocol: Protocol) -> Result<u16, ClientError> {
    let address = SocketAddr::new(ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), 0);
    let bound = |source| ClientError::Bind { address, protocol, source };
    let socket = bind(address, protocol).map_err(bound)?;
    let name = rustix::net::getsockname(&socket).map_err(bound)?;
    SocketAddr::try_from(name).map(|name| name.port()).map_err(bound)
}
