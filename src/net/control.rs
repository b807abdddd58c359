//! The protocol between a monitor (or a command) and netd: SEQPACKET, one JSON value per packet.
//!
//! ```text
//! monitor ──Attach + the container's netns──────────▶ netd
//!         ◀─Attached{addresses} + G's netns (to pin) ─
//!         ──Publish{ports} + listening sockets ─────▶   0…n times
//!         ◀─Published
//!         ──Connect / Disconnect ───────────────────▶   while the container runs
//!         ◀─Connected / Disconnected
//!         ── end of file ───────────────────────────▶   the container is gone
//!
//! command ──Query / Connect / Disconnect{container}─▶ netd ──Changed{endpoints}──▶ its monitor
//! ```
//!
//! Listening sockets are made by the monitor and only lent to netd: they, and with them the
//! connections that wait in them, outlive it. After netd's death each monitor attaches again, to
//! the same G, asking for the addresses it has.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};

use super::ipam::Subnet;
use super::network::Network;
pub(crate) use crate::base::network::Protocol;
use crate::sys::socket;

/// Largest packet. The kernel's limit for one is about 200 KiB by default.
pub(crate) const MAX_PACKET_BYTES: usize = 128 * 1024;
/// So much of a list goes into one packet; the rest is asked for anew.
pub(crate) const PAGE_BYTES: usize = MAX_PACKET_BYTES / 2;
/// Listening sockets per `Publish`.
pub(crate) const MAX_PORTS: usize = socket::MAX_FDS;

/// What is asked of netd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Request {
    /// A container starts; descriptor 0 is its network namespace, descriptor 1 that of whoever attaches it. This
    /// connection is its life.
    Attach(Attach),
    /// More published ports of this connection's container; one descriptor per port.
    Publish { ports: Vec<PublishedPort> },
    /// Joins a running container to one more network. Without `container`: this connection's.
    Connect { container: Option<String>, endpoint: EndpointRequest },
    /// Takes a running container off a network.
    Disconnect { container: Option<String>, network: String },
    /// Takes up what changed in a network's record.
    Update { network: Network },
    /// A container has another name now.
    Rename { container: String, name: String },
    /// Builds a container's links anew: its monitor attaches it again.
    Reload { container: String },
    /// Who is where?
    Query,
    /// The same, of those whose IDs come after this one: an answer said that there are more.
    QueryAfter { container: String },
    /// Keeps G, and netd with it, for as long as this connection is open; descriptor 0 is the network namespace of
    /// whoever holds it. The answer is `Attached` with no endpoints.
    Hold,
}

/// A container and the networks it wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attach {
    /// 64 hex digits.
    pub(crate) container: String,
    pub(crate) name: String,
    pub(crate) hostname: String,
    /// In the order of their interfaces; the first one that is not internal is the way out.
    pub(crate) endpoints: Vec<EndpointRequest>,
    /// Name servers for this container instead of the host's (`--dns`).
    pub(crate) dns: Vec<IpAddr>,
    /// Names that only this container knows others by (`--link`): alias, and container ID.
    pub(crate) links: Vec<(String, String)>,
    /// It was attached before: an interface that it still has may be one of ours and go.
    #[serde(default)]
    pub(crate) again: bool,
    /// `host.containers.internal` is the host's loopback for it.
    #[serde(default)]
    pub(crate) host_loopback: bool,
    /// Subnets that a private network must not get.
    #[serde(default)]
    pub(crate) avoid: Vec<Subnet>,
}

impl Attach {
    /// The first 12 digits of its ID, by which others know it as well.
    pub(crate) fn short_id(&self) -> &str {
        self.container.get(..12).unwrap_or(&self.container)
    }

    /// Whether a name (in any case) is the container's: its name, its host name, or the first
    /// 12 or more digits of its ID.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        let is_id = name.len() >= 12
            && self.container.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
        is_id || self.name.eq_ignore_ascii_case(name) || self.hostname.eq_ignore_ascii_case(name)
    }
}

/// One network that a container wants to join, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EndpointRequest {
    pub(crate) network: Network,
    /// Name of the interface inside; `eth0`, `eth1` … if not given.
    pub(crate) interface: Option<String>,
    /// Wanted addresses, at most one per family.
    pub(crate) ips: Vec<IpAddr>,
    /// Further addresses, of the link alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) link_local: Vec<IpAddr>,
    pub(crate) mac: Option<[u8; 6]>,
    /// Further names on this network.
    pub(crate) aliases: Vec<String>,
    /// Addresses it had before, and gets again if they are free.
    #[serde(default)]
    pub(crate) prefer: Vec<IpAddr>,
    /// The container's way out is its network with the largest; the first of several.
    #[serde(default)]
    pub(crate) gw_priority: i32,
    /// Names that only this container knows others by (`network connect --link`): alias, and container ID.
    #[serde(default)]
    pub(crate) links: Vec<(String, String)>,
}

impl EndpointRequest {
    /// Any free place on `network`, and nothing beyond.
    pub(crate) fn on(network: Network) -> Self {
        Self {
            network,
            interface: None,
            ips: Vec::new(),
            link_local: Vec::new(),
            mac: None,
            aliases: Vec::new(),
            prefer: Vec::new(),
            gw_priority: 0,
            links: Vec::new(),
        }
    }

    /// Whether the container's way out may lead through this network.
    pub(crate) fn leads_out(&self) -> bool {
        // A record with options that cannot be read was refused before it came here.
        self.network.has_default_route().unwrap_or(false)
    }
}

/// One published port, for which a listening (TCP) or bound (UDP) socket comes along.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PublishedPort {
    pub(crate) protocol: Protocol,
    /// The port inside.
    pub(crate) container_port: u16,
}

/// What netd answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// Descriptor 0 is G's network namespace, to be kept for a restart of netd.
    Attached {
        endpoints: Vec<Endpoint>,
    },
    Published,
    Connected {
        endpoint: Endpoint,
    },
    Disconnected,
    Updated,
    Renamed,
    Reloaded,
    /// Unasked, to a monitor: what its container has from now on, as it would ask for it again.
    Changed {
        wanted: Vec<EndpointRequest>,
        endpoints: Vec<Endpoint>,
        /// Where those are that it is linked to: container ID and address, of those that are on one of its networks.
        linked: Vec<(String, IpAddr)>,
        name: String,
    },
    /// In the order of the containers' IDs.
    State {
        containers: Vec<ContainerState>,
        /// There are others after these, more than one packet takes.
        #[serde(default)]
        more: bool,
    },
    /// Not done, for this reason.
    Refused(Refusal),
    /// Another netd serves this user already; ask that one.
    Elsewhere,
}

/// Why netd did not do as asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refusal {
    pub(crate) kind: RefusalKind,
    /// Lower case, verb and object first.
    pub(crate) message: String,
}

/// Kinds of refusals that callers tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RefusalKind {
    /// The request makes no sense, or asks for what cannot be.
    Invalid,
    /// An address is taken, the container is connected already.
    Conflict,
    /// No such container or network.
    NotFound,
    /// The kernel refused; the message says what, and which module that needs.
    System,
}

/// What a container got on one network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Endpoint {
    pub(crate) network: String,
    pub(crate) interface: String,
    pub(crate) ips: Vec<AssignedIp>,
    pub(crate) mac: [u8; 6],
}

/// An address with its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AssignedIp {
    pub(crate) ip: IpAddr,
    pub(crate) prefix: u8,
    pub(crate) gateway: IpAddr,
}

/// A container as netd sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ContainerState {
    pub(crate) container: String,
    pub(crate) name: String,
    pub(crate) endpoints: Vec<Endpoint>,
}

/// Sends one value with descriptors. A peer that does not read makes a blocking socket wait.
pub(crate) fn send(to: impl AsFd, value: &impl Serialize, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let packet = serde_json::to_vec(value)?;
    if packet.len() > MAX_PACKET_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "message to netd is too long"));
    }
    socket::send_with_fds(to.as_fd(), &packet, descriptors).map(|_all| ())
}

/// Receives one value and what came with it; `None` at end of file.
pub(crate) fn receive<T: for<'de> Deserialize<'de>>(
    from: impl AsFd,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut buffer = vec![0; MAX_PACKET_BYTES];
    let mut descriptors = Vec::new();
    let got = socket::receive_with_fds(from.as_fd(), &mut buffer, &mut descriptors)?;
    if got == 0 {
        return Ok(None);
    }
    Ok(Some((serde_json::from_slice(&buffer[..got])?, descriptors)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_descriptors_arrive_together() {
        let (monitor, netd) = socket::pair(socket::Kind::Packet).unwrap();
        let ports = vec![PublishedPort { protocol: Protocol::Udp, container_port: 53 }; 200];
        let request = Request::Publish { ports };
        send(&monitor, &request, &[monitor.as_fd(), monitor.as_fd()]).unwrap();
        let (got, descriptors) = receive::<Request>(&netd).unwrap().unwrap();
        assert_eq!((got, descriptors.len()), (request, 2));
        drop((monitor, descriptors));
        assert!(receive::<Request>(&netd).unwrap().is_none());
    }

    #[test]
    fn rubbish_is_an_error_not_a_panic() {
        let (monitor, netd) = socket::pair(socket::Kind::Packet).unwrap();
        for packet in [&b"{"[..], b"null", b"{\"Attach\":{}}", &[0xff; 100]] {
            socket::send(monitor.as_fd(), packet).unwrap();
            assert!(receive::<Request>(&netd).is_err(), "{packet:?}");
        }
    }
}
