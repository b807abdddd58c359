//! The stage `netcheck`: `ketch network check`, a container's network tried from both sides.
//!
//! ```text
//! kernel: links, packet sockets, each kind of nf_tables rule, in a namespace of its own
//! netd:   an endpoint of the default network in another namespace, and a published port
//! then:   names · connections and datagrams out · a refusal · a connection in
//! ```
//!
//! Nothing leaves the host: what is dialled is its loopback.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::network::{PortMapping, Protocol};
use crate::cgroup::unit::Surroundings;
use crate::net::client::{self, Link};
use crate::net::control::{Attach, EndpointRequest};
use crate::net::netlink::{self, Batch, End};
use crate::net::network::Network;
use crate::net::{capture, firewall};
use crate::runtime::failure::Failure;
use crate::runtime::launch::{Caller, stage_failure};
use crate::runtime::netd;
use crate::stage::spawn::{self, Stage};
use crate::stage::{holders, wire};
use crate::sys::netlink::{Netlink, Protocol as Family};
use crate::sys::{inet, netns, packet, process};

/// How long each attempt may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The host, as netd's containers know it.
const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 1, 2));
const SERVED: u16 = 80;
const GREETING: &[u8] = b"ketch";
/// The name under which the endpoint can be found.
const NAME: &str = "ketch-network-check";

/// What to check.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CheckOrder {
    #[serde(with = "crate::base::bytes::path")]
    pub(crate) root: PathBuf,
    pub(crate) linger_ms: u64,
    pub(crate) fingerprint: String,
    /// Where netd's cgroup goes, if this starts it.
    pub(crate) cgroups: Surroundings,
    /// The network to try.
    pub(crate) network: Network,
}

/// One thing that was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Finding {
    pub(crate) what: String,
    pub(crate) works: bool,
    /// What was seen; of a failure, why and what helps.
    pub(crate) detail: String,
}

/// Runs the check in U.
///
/// # Errors
///
/// If the stage cannot be started. What does not work is a finding.
pub(crate) fn check(caller: &Caller, order: &CheckOrder) -> Result<Vec<Finding>, Failure> {
    let stage = Stage { name: c"netcheck", args: &[], detached: false };
    let (child, turn) = caller.spawn_holder(&order.root, &stage).map_err(|err| stage_failure(&err))?;
    child.send(order, &[]).map_err(|err| stage_failure(&err.into()))?;
    turn.end(&order.root, &child);
    let (findings, _) = child.receive::<Vec<Finding>>().map_err(|err| stage_failure(&err))?;
    child.wait().ok();
    Ok(findings)
}

/// The stage.
pub(crate) fn main() -> ! {
    run().ok();
    process::exit_now(0)
}

fn run() -> io::Result<()> {
    let command = spawn::begin()?;
    let (order, _) = wire::receive::<CheckOrder>(command.as_fd()).map_err(io::Error::other)?;
    let own_pid = std::process::id().cast_signed();
    // netd, if it is started here, lives in this U: others must find it.
    holders::announce(&order.root, own_pid, &order.fingerprint).ok();
    let mut findings = kernel();
    if findings.iter().all(|finding| finding.works) {
        match endpoint(&order) {
            Ok(tried) => findings.extend(tried),
            Err(why) => findings.push(failed("link a container", why)),
        }
    }
    holders::withdraw(&order.root, own_pid);
    wire::send(command.as_fd(), &findings, &[]).map_err(io::Error::other)
}

fn works(what: &str, detail: impl ToString) -> Finding {
    Finding { what: what.into(), works: true, detail: detail.to_string() }
}

fn failed(what: &str, detail: impl ToString) -> Finding {
    Finding { what: what.into(), works: false, detail: detail.to_string() }
}

fn finding(what: &str, outcome: Result<String, String>) -> Finding {
    match outcome {
        Ok(detail) => works(what, detail),
        Err(why) => failed(what, why),
    }
}

/// Runs `work` on a thread of its own in a new network namespace.
fn in_new_namespace<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            netns::unshare()?;
            Ok(work())
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// What the kernel has of what networks need.
fn kernel() -> Vec<Finding> {
    in_new_namespace(|| {
        let mut findings = vec![works("network namespace", "can be made")];
        let mut parts = vec![
            ("veth", "CONFIG_VETH", probe_link(false)),
            ("bridge", "CONFIG_BRIDGE", probe_link(true)),
            ("packet sockets", "CONFIG_PACKET", probe_packet()),
            ("transparent sockets", "CONFIG_NETFILTER", probe_transparent()),
        ];
        match Netlink::open(Family::Netfilter) {
            Ok(mut socket) => {
                let missing = firewall::missing(&mut socket);
                for (module, error) in &missing {
                    parts.push((module, "CONFIG_NFT_*", Err(error.to_string())));
                }
                if missing.is_empty() {
                    parts.push(("nf_tables", "", Ok(())));
                }
            }
            Err(error) => parts.push(("nf_tables", "CONFIG_NF_TABLES", Err(error.to_string()))),
        }
        findings.extend(parts.into_iter().map(|(what, option, outcome)| match outcome {
            Ok(()) => works(&format!("kernel: {what}"), "there"),
            Err(why) => failed(
                &format!("kernel: {what}"),
                format!("{why}; the kernel must have {option} (modprobe the module of that name as root)"),
            ),
        }));
        findings
    })
    .unwrap_or_else(|err| vec![failed("network namespace", err)])
}

fn probe_link(bridge: bool) -> Result<(), String> {
    let mut socket = Netlink::open(Family::Route).map_err(|err| err.to_string())?;
    let mut batch = Batch::new();
    let other = in_new_namespace(netns::current).and_then(|made| made).map_err(say)?;
    if bridge {
        netlink::bridge(&mut batch, "br0", 1500, None);
    } else {
        let ends = (End { name: "a", mac: None }, End { name: "b", mac: None });
        netlink::veth(&mut batch, &ends.0, (&ends.1, other.as_fd()), 1500, None, "");
    }
    netlink::commit(&mut socket, batch).map_err(|err| {
        let cause =
            std::error::Error::source(&err.source).map_or_else(String::new, |cause| format!(": {cause}"));
        format!("{err}{cause}")
    })
}

fn probe_packet() -> Result<(), String> {
    packet::capture(1, capture::ETHER_IPV4, &capture::IPV4).map(drop).map_err(|err| err.to_string())
}

fn probe_transparent() -> Result<(), String> {
    inet::socket(false, rustix::net::SocketType::STREAM)
        .and_then(|socket| inet::set_transparent(&socket, false))
        .map_err(|err| err.to_string())
}

/// Links a namespace to the default network, and tries everything.
fn endpoint(order: &CheckOrder) -> Result<Vec<Finding>, String> {
    let text = |err: &dyn std::error::Error| err.to_string();
    let namespace = in_new_namespace(netns::current).and_then(|made| made).map_err(|err| text(&err))?;
    let directory = netd::directory(&order.root).map_err(|err| text(&err))?;
    let settings = (Duration::from_millis(order.linger_ms), order.fingerprint.as_str(), &order.cgroups);
    let start =
        |first: OwnedFd, gateway: Option<BorrowedFd<'_>>| netd::start(&order.root, settings, first, gateway);
    let port = PortMapping {
        host_ip: Some(Ipv4Addr::LOCALHOST.into()),
        host_port: 0,
        container_port: SERVED,
        range: 1,
        protocol: Protocol::Tcp,
    };
    let listeners = client::listen(&[port], Vec::new()).map_err(|err| text(&err))?;
    let published = rustix::net::getsockname(&listeners[0].1).map_err(|err| text(&err))?;
    let published = SocketAddr::try_from(published).map_err(|err| text(&err))?;
    let attach = attach(order);
    let called = client::call(directory.as_fd(), &start).map_err(|err| text(&err))?;
    let asked = Link::ask(called, &attach, namespace.as_fd()).map_err(|err| text(&err))?;
    let link = Link::linked(asked, directory.as_fd(), &start, attach, namespace.as_fd(), &listeners)
        .map_err(|err| text(&err))?;
    let ips = link.endpoints().iter().flat_map(|endpoint| &endpoint.ips);
    let own: Vec<String> = ips.clone().map(|ip| ip.ip.to_string()).collect();
    let (ip, gateway) = ips
        .clone()
        .find(|ip| ip.ip.is_ipv4())
        .map(|ip| (ip.ip, ip.gateway))
        .ok_or("the network has no IPv4 subnet")?;
    let mut findings =
        vec![works("link a container", format!("{} on {}", own.join(", "), order.network.name))];
    let inside = |work: &(dyn Fn() -> Result<String, String> + Sync)| {
        netns::within(&namespace, work).map_err(|err| err.to_string()).and_then(|outcome| outcome)
    };
    if order.network.dns_enabled {
        findings.push(finding("resolve the container's name", inside(&|| resolve(ip, gateway))));
    }
    findings.push(finding("connect to the host", connect_out(&inside)));
    findings.push(finding("send datagrams to the host", datagram_out(&inside)));
    findings.push(finding("be refused", inside(&refused)));
    findings.push(finding("reach a published port", connect_in(&namespace, published)));
    findings.push(servers());
    Ok(findings)
}

fn attach(order: &CheckOrder) -> Attach {
    let endpoint = EndpointRequest::on(order.network.clone());
    Attach {
        // No container has this ID: it has 63 zeros.
        container: format!("{:064x}", std::process::id()),
        name: NAME.into(),
        hostname: NAME.into(),
        endpoints: vec![endpoint],
        dns: Vec::new(),
        links: Vec::new(),
        again: false,
        host_loopback: true,
        avoid: Vec::new(),
    }
}

type Inside<'a> = &'a dyn Fn(&(dyn Fn() -> Result<String, String> + Sync)) -> Result<String, String>;

fn say(err: io::Error) -> String {
    err.to_string()
}

/// Asks the network's name server for the endpoint's own name.
fn resolve(own: IpAddr, server: IpAddr) -> Result<String, String> {
    let mut query = vec![0x4b, 0x54, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    query.push(u8::try_from(NAME.len()).unwrap_or(u8::MAX));
    query.extend(NAME.as_bytes());
    // The root; type A, class IN.
    query.extend([0, 0, 1, 0, 1]);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(say)?;
    socket.set_read_timeout(Some(PATIENCE)).map_err(say)?;
    socket.send_to(&query, SocketAddr::new(server, 53)).map_err(say)?;
    let mut reply = [0; 512];
    let got = socket.recv(&mut reply).map_err(|err| format!("no answer from {server}: {err}"))?;
    let IpAddr::V4(ip) = own else { return Err("the address is not IPv4".into()) };
    if reply[..got].ends_with(&ip.octets()) {
        Ok(format!("{NAME} is {own}, says {server}"))
    } else {
        Err(format!("{server} does not know {NAME}"))
    }
}

fn connect_out(inside: Inside<'_>) -> Result<String, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(say)?;
    let port = listener.local_addr().map_err(say)?.port();
    let server =
        std::thread::spawn(move || listener.accept().and_then(|(mut client, _)| client.write_all(GREETING)));
    let outcome = inside(&|| {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::new(HOST, port), PATIENCE).map_err(say)?;
        greeted(&mut stream)?;
        Ok(format!("TCP to {HOST}, which stands for the host"))
    });
    if outcome.is_ok() {
        server.join().map_err(|_| "the server has failed".to_owned())?.map_err(say)?;
    }
    outcome.map_err(|why| format!("TCP to {HOST}: {why}"))
}

fn datagram_out(inside: Inside<'_>) -> Result<String, String> {
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(say)?;
    server.set_read_timeout(Some(PATIENCE)).map_err(say)?;
    let port = server.local_addr().map_err(say)?.port();
    let echo = std::thread::spawn(move || {
        let mut buffer = [0; 64];
        let (got, from) = server.recv_from(&mut buffer)?;
        server.send_to(&buffer[..got], from)
    });
    let outcome = inside(&|| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(say)?;
        socket.set_read_timeout(Some(PATIENCE)).map_err(say)?;
        socket.send_to(GREETING, SocketAddr::new(HOST, port)).map_err(say)?;
        let mut buffer = [0; 64];
        let got = socket.recv(&mut buffer).map_err(say)?;
        if buffer[..got] == *GREETING { Ok("an echo came back".to_owned()) } else { Err("garbled".into()) }
    });
    echo.join().ok();
    outcome
}

/// Connects to a port of the host that nobody serves.
fn refused() -> Result<String, String> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .unwrap_or(1);
    match TcpStream::connect_timeout(&SocketAddr::new(HOST, port), PATIENCE) {
        Err(err) if err.kind() == io::ErrorKind::ConnectionRefused => {
            Ok("a closed port says so at once".into())
        }
        Err(err) => Err(format!("a closed port gives: {err}")),
        Ok(_) => Err("a closed port answers".into()),
    }
}

fn connect_in(namespace: &OwnedFd, published: SocketAddr) -> Result<String, String> {
    let listener = netns::within(namespace, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, SERVED)));
    let listener = listener.and_then(|bound| bound).map_err(say)?;
    let server = std::thread::spawn(move || {
        listener.accept().and_then(|(mut client, from)| client.write_all(GREETING).map(|()| from))
    });
    let mut stream = TcpStream::connect_timeout(&published, PATIENCE).map_err(say)?;
    greeted(&mut stream)?;
    let from = server.join().map_err(|_| "the server has failed".to_owned())?.map_err(say)?;
    Ok(format!("{published} leads to the container, which sees {}", from.ip()))
}

fn greeted(stream: &mut TcpStream) -> Result<(), String> {
    stream.set_read_timeout(Some(PATIENCE)).map_err(say)?;
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).map_err(say)?;
    if heard == GREETING {
        Ok(())
    } else {
        Err(format!("{} bytes came instead of {}", heard.len(), GREETING.len()))
    }
}

/// Who answers what ketch does not know.
fn servers() -> Finding {
    let text = std::fs::read_to_string(Path::new("/etc/resolv.conf")).unwrap_or_default();
    let servers: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("nameserver")).map(str::trim).collect();
    if servers.is_empty() {
        failed("name servers of the host", "/etc/resolv.conf names none: only containers' names resolve")
    } else {
        works("name servers of the host", servers.join(", "))
    }
}
