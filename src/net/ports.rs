//! The host's side of published ports: sockets that listen, and ports that nobody uses.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{SocketType, sockopt};

use super::client::{ClientError, Listeners};
use super::control::PublishedPort;
use crate::base::network::{PortMapping, Protocol};
use crate::sys::inet;

/// Connections that may wait at a port until netd takes them.
const BACKLOG: i32 = 1024;

/// Makes the listening sockets of published ports, in the calling process's network namespace. Where one
/// of `passed` is bound to the wanted address, it serves instead.
///
/// Without an address of its own a port listens on all of both families.
///
/// # Errors
///
/// [`ClientError::Bind`] for the first port that cannot be had.
pub(crate) fn listen(ports: &[PortMapping], passed: Vec<OwnedFd>) -> Result<Listeners, ClientError> {
    let mut passed: Vec<(SocketAddr, Protocol, OwnedFd)> = passed.into_iter().filter_map(described).collect();
    let mut listeners = Vec::new();
    for port in ports.iter().flat_map(|port| port.each()) {
        let published = PublishedPort { protocol: port.protocol, container_port: port.container_port };
        let taken = take_passed(&mut passed, &port);
        if taken.is_empty() {
            listeners.extend(sockets(&port)?.into_iter().map(|socket| (published, socket)));
        } else {
            listeners.extend(taken.into_iter().map(|socket| (published, socket)));
        }
    }
    Ok(listeners)
}

/// What a passed socket is bound to, if it is one that a port can be served with.
fn described(socket: OwnedFd) -> Option<(SocketAddr, Protocol, OwnedFd)> {
    let address = SocketAddr::try_from(rustix::net::getsockname(&socket).ok()?).ok()?;
    let protocol = match sockopt::socket_type(&socket).ok()? {
        SocketType::STREAM if sockopt::socket_acceptconn(&socket).is_ok_and(|listens| listens) => {
            Protocol::Tcp
        }
        SocketType::DGRAM => Protocol::Udp,
        _ => return None,
    };
    Some((address, protocol, socket))
}

/// Those of the passed sockets that are bound to this port, and to its address if it has one.
fn take_passed(passed: &mut Vec<(SocketAddr, Protocol, OwnedFd)>, port: &PortMapping) -> Vec<OwnedFd> {
    let fits = |(address, protocol, _): &mut (SocketAddr, Protocol, OwnedFd)| {
        *protocol == port.protocol
            && address.port() == port.host_port
            && port.host_ip.is_none_or(|ip| address.ip() == ip || address.ip().is_unspecified())
    };
    passed.extract_if(.., fits).map(|(_, _, socket)| socket).collect()
}

/// The sockets of one port. One for both families takes TCP; a datagram's way back is told by the
/// socket's family, so UDP has two.
fn sockets(port: &PortMapping) -> Result<Vec<OwnedFd>, ClientError> {
    let bound = |ip: IpAddr, both: bool| {
        let address = SocketAddr::new(ip, port.host_port);
        let shown = SocketAddr::new(port.host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into()), port.host_port);
        bind(address, port.protocol, both).map_err(|source| ClientError::Bind {
            address: shown,
            protocol: port.protocol,
            source,
        })
    };
    if let Some(ip) = port.host_ip {
        return Ok(vec![bound(ip, false)?]);
    }
    let without_v6 = |error: &ClientError| {
        matches!(error, ClientError::Bind { source: Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL, .. })
    };
    match bound(Ipv6Addr::UNSPECIFIED.into(), port.protocol == Protocol::Tcp) {
        Err(error) if without_v6(&error) => Ok(vec![bound(Ipv4Addr::UNSPECIFIED.into(), false)?]),
        Ok(both) if port.protocol == Protocol::Tcp => Ok(vec![both]),
        Ok(v6) => Ok(vec![bound(Ipv4Addr::UNSPECIFIED.into(), false)?, v6]),
        Err(error) => Err(error),
    }
}

fn bind(address: SocketAddr, protocol: Protocol, both_families: bool) -> Result<OwnedFd, Errno> {
    let tcp = protocol == Protocol::Tcp;
    let kind = if tcp { SocketType::STREAM } else { SocketType::DGRAM };
    let socket = inet::socket(address.is_ipv6(), kind)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, !both_families)?;
    }
    if tcp {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    if tcp {
        rustix::net::listen(&socket, BACKLOG)?;
    }
    Ok(socket)
}

/// Chooses ports of the host that are free, for mappings that take any: the first at random, as the
/// kernel has it, and then one after the other.
#[derive(Debug, Default)]
pub(crate) struct PortChooser {
    chosen: HashSet<(Protocol, u16)>,
    last: Option<u16>,
}

impl PortChooser {
    /// A port that is free now on `ip`, or on every address.
    ///
    /// # Errors
    ///
    /// [`ClientError::Bind`] if there is none left, or `ip` is no address of this host.
    pub(crate) fn choose(&mut self, ip: Option<IpAddr>, protocol: Protocol) -> Result<u16, ClientError> {
        let ip = ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        let failed = |port: u16| {
            move |source| ClientError::Bind { address: SocketAddr::new(ip, port), protocol, source }
        };
        let first = match self.last {
            Some(last) => last.checked_add(1).unwrap_or(FIRST_ANY),
            None => {
                let socket = bind(SocketAddr::new(ip, 0), protocol, false).map_err(failed(0))?;
                port_of(&socket).map_err(failed(0))?
            }
        };
        for port in (first..=u16::MAX).chain(FIRST_ANY..first.max(FIRST_ANY)) {
            if self.chosen.contains(&(protocol, port)) {
                continue;
            }
            let mapping =
                PortMapping { host_ip: None, host_port: port, container_port: 1, range: 1, protocol };
            let mapping = PortMapping { host_ip: Some(ip).filter(|ip| !ip.is_unspecified()), ..mapping };
            match sockets(&mapping) {
                Ok(_free) => {
                    self.chosen.insert((protocol, port));
                    self.last = Some(port);
                    return Ok(port);
                }
                Err(ClientError::Bind { source: Errno::ADDRINUSE | Errno::ACCESS, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(failed(0)(Errno::ADDRINUSE))
    }
}

/// Where the search goes on behind the last port.
const FIRST_ANY: u16 = 1024;

fn port_of(socket: impl AsFd) -> Result<u16, Errno> {
    let name = rustix::net::getsockname(socket)?;
    SocketAddr::try_from(name).map(|name| name.port()).map_err(|_| Errno::AFNOSUPPORT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_are_chosen_are_free_and_differ() {
        let mut chooser = PortChooser::default();
        let mut seen = HashSet::new();
        for _ in 0..200 {
            let port = chooser.choose(None, Protocol::Tcp).unwrap();
            assert!(seen.insert(port), "{port} twice");
            std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
        }
        assert!(chooser.choose(Some("192.0.2.1".parse().unwrap()), Protocol::Udp).is_err(), "not ours");
    }

    #[test]
    fn a_passed_socket_serves_the_port_it_is_bound_to() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let own = listener.as_fd().try_clone_to_owned().unwrap();
        let mapping = format!("127.0.0.1:{port}:80").parse::<PortMapping>().unwrap();
        assert!(listen(&[mapping], vec![]).is_err(), "somebody has it");
        let listeners = listen(&[mapping], vec![udp.into(), own]).unwrap();
        assert_eq!(listeners.len(), 1);
        assert_eq!(port_of(&listeners[0].1), Ok(port));
    }

    #[test]
    fn one_socket_takes_tcp_of_both_families() {
        let port = PortChooser::default().choose(None, Protocol::Tcp).unwrap();
        let mapping = format!("{port}:80").parse::<PortMapping>().unwrap();
        let listeners = listen(&[mapping], vec![]).unwrap();
        assert_eq!(listeners.len(), 1);
        for address in ["127.0.0.1", "::1"] {
            std::net::TcpStream::connect((address, port)).unwrap();
        }
        assert!(listen(&[mapping], vec![]).is_err(), "twice");
        let udp = format!("{port}:80/udp").parse::<PortMapping>().unwrap();
        assert_eq!(listen(&[udp], vec![]).unwrap().len(), 2);
    }
}
