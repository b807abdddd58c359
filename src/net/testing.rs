//! A small Internet for tests, in namespaces of its own.
//!
//! ```text
//! container(s) ─── G ─── netd (a thread) ─── "host" ═══ veth ═══ "outside"
//!                                            198.18.0.1          198.18.0.2
//!                                            2001:db8:1::1       2001:db8:1::2
//! ```
//!
//! Each test runs again as a process of its own, as an unprivileged user would: root of a user
//! namespace made with unshare(1), nothing more. The namespace it starts in is the "host".

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use super::control::{
    self, Attach, Endpoint, EndpointRequest, Protocol, PublishedPort, Refusal, Reply, Request,
};
use super::ipam::Subnet;
use super::netd::{self, Start};
use super::netlink::{self, Address, Batch, Change, End};
use super::network::Network;
use crate::sys::netlink::{Netlink, Protocol as NetlinkProtocol};
use crate::sys::{netns, socket};

const INSIDE: &str = "KETCH_TEST_INSIDE";
pub(crate) const HOST: &str = "198.18.0.1";
pub(crate) const OUTSIDE: &str = "198.18.0.2";
pub(crate) const HOST6: &str = "2001:db8:1::1";
pub(crate) const OUTSIDE6: &str = "2001:db8:1::2";
/// An address of the outside's network that nobody has.
pub(crate) const NOBODY: &str = "198.18.0.99";
pub(crate) const NOBODY6: &str = "2001:db8:1::99";
/// Addresses of the outside's network to which packets are sent, and lost.
pub(crate) const BLACKHOLE: &str = "198.18.0.98";
pub(crate) const BLACKHOLE6: &str = "2001:db8:1::98";

/// How long to wait for what must come: long enough for a machine that does much else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something is so; `what` says what.
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs `test` inside new user, network and mount namespaces.
///
/// `name` is the full path of the calling test, by which the test binary is started again.
pub(crate) fn in_namespaces(name: &str, test: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return test();
    }
    let own = std::env::current_exe().unwrap();
    let output = Command::new("timeout")
        .args(["300", "unshare", "--user", "--map-root-user", "--net", "--mount", "--"])
        .arg(own)
        .args(["--exact", name, "--test-threads=1", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare of util-linux");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} inside:\n{text}\n{errors}");
    assert!(text.contains("1 passed"), "{name} is not the test's name:\n{text}");
}

/// A new network namespace with loopback up.
pub(crate) fn new_namespace() -> OwnedFd {
    std::thread::spawn(|| {
        netns::unshare().unwrap();
        configure(|batch| netlink::set_link(batch, 1, &[Change::Up]));
        // Anybody may ping, as systemd sets it up.
        std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0").unwrap();
        netns::current().unwrap()
    })
    .join()
    .unwrap()
}

fn configure(fill: impl FnOnce(&mut Batch)) {
    let mut socket = Netlink::open(NetlinkProtocol::Route).unwrap();
    let mut batch = Batch::new();
    fill(&mut batch);
    netlink::commit(&mut socket, batch).unwrap();
}

fn configure_link(name: &str, ips: &[(&str, u8)]) {
    let mut socket = Netlink::open(NetlinkProtocol::Route).unwrap();
    let links = netlink::links(&mut socket).unwrap();
    let index = links.iter().find(|link| link.name == name).unwrap().index;
    let mut batch = Batch::new();
    for (ip, prefix) in ips {
        Address { ip: ip.parse().unwrap(), prefix: *prefix }.add(&mut batch, index);
    }
    netlink::set_link(&mut batch, index, &[Change::Up]);
    netlink::commit(&mut socket, batch).unwrap();
}

fn await_up(name: &str) {
    let mut socket = Netlink::open(NetlinkProtocol::Route).unwrap();
    while !netlink::link_named(&mut socket, name).unwrap().unwrap().operational {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The host and the outside, and a running netd.
pub(crate) struct Internet {
    pub(crate) outside: OwnedFd,
    pub(crate) directory: tempfile::TempDir,
    pub(crate) linger: Duration,
}

impl Internet {
    /// Sets up the outside; netd is started by the first container.
    pub(crate) fn new() -> Self {
        configure(|batch| netlink::set_link(batch, 1, &[Change::Up]));
        std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0").unwrap();
        let outside = new_namespace();
        configure(|batch| {
            let (here, there) = (End { name: "out0", mac: None }, End { name: "in0", mac: None });
            netlink::veth(batch, &here, (&there, outside.as_fd()), 1500, None, "");
        });
        configure_link("out0", &[(HOST, 24), (HOST6, 64)]);
        netns::within(&outside, || configure_link("in0", &[(OUTSIDE, 24), (OUTSIDE6, 64)])).unwrap();
        await_up("out0");
        netns::within(&outside, || await_up("in0")).unwrap();
        // The two know each other before anything is timed.
        for ip in [OUTSIDE, OUTSIDE6] {
            let nobody_listens = SocketAddr::new(ip.parse().unwrap(), 1);
            wait_until("the outside answers", || {
                let answer = std::net::TcpStream::connect_timeout(&nobody_listens, PATIENCE);
                answer.unwrap_err().kind() == std::io::ErrorKind::ConnectionRefused
            });
        }
        let directory = tempfile::tempdir().unwrap();
        Self { outside, directory, linger: Duration::from_millis(300) }
    }

    pub(crate) fn resolv_conf(&self) -> PathBuf {
        self.directory.path().join("resolv.conf")
    }

    /// Starts netd on a thread that serves `first`.
    pub(crate) fn start_netd(&self, first: OwnedFd, gateway: Option<OwnedFd>) {
        let directory = std::fs::File::open(self.directory.path()).unwrap().into();
        let (linger, resolv_conf) = (self.linger, self.resolv_conf());
        std::thread::Builder::new()
            .name("netd".into())
            .spawn(move || {
                let first = Some(first);
                let start = Start { directory, first, gateway, linger, resolv_conf, confinement: None };
                netd::netd_main(start).expect("netd ends well");
            })
            .unwrap();
    }

    /// A connection to netd, which is started if it is not there.
    pub(crate) fn session(&self) -> OwnedFd {
        let directory = std::fs::File::open(self.directory.path()).unwrap();
        let name = std::ffi::OsStr::new(netd::SOCKET_NAME);
        if let Ok(session) = socket::connect_at(directory.as_fd(), name, socket::Kind::Packet) {
            return session;
        }
        let (own, theirs) = socket::pair(socket::Kind::Packet).unwrap();
        self.start_netd(theirs, None);
        own
    }

    /// From here on packets to [`BLACKHOLE`] and [`BLACKHOLE6`] leave the host, for a machine that is not there.
    pub(crate) fn lose_packets(&self) {
        let mut socket = Netlink::open(NetlinkProtocol::Route).unwrap();
        let index = netlink::link_named(&mut socket, "out0").unwrap().unwrap().index;
        let mut batch = Batch::new();
        for ip in [BLACKHOLE, BLACKHOLE6] {
            netlink::neighbour(&mut batch, ip.parse().unwrap(), [2, 0, 0, 0, 0, 0x98], index);
        }
        netlink::commit(&mut socket, batch).unwrap();
    }

    /// Gives the host further addresses on its link to the outside.
    pub(crate) fn add_host_addresses(&self, ips: &[(&str, u8)]) {
        configure_link("out0", ips);
    }

    /// The host is elsewhere: its link to the outside has this address instead of another.
    pub(crate) fn move_host(&self, from: (&str, u8), to: (&str, u8)) {
        let mut socket = Netlink::open(NetlinkProtocol::Route).unwrap();
        let index = netlink::link_named(&mut socket, "out0").unwrap().unwrap().index;
        let mut batch = Batch::new();
        Address { ip: from.0.parse().unwrap(), prefix: from.1 }.remove(&mut batch, index);
        Address { ip: to.0.parse().unwrap(), prefix: to.1 }.add(&mut batch, index);
        netlink::commit(&mut socket, batch).unwrap();
    }

    /// Runs `work` in the outside.
    pub(crate) fn outside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        netns::within(&self.outside, work).unwrap()
    }
}

/// A network named `name` with these subnets.
pub(crate) fn network(name: &str, subnets: &[&str]) -> Network {
    let subnets: Vec<Subnet> = subnets.iter().map(|text| text.parse().unwrap()).collect();
    let id = format!("{:0>64x}", name.len());
    Network::bridge(name, id, format!("br-{name}"), jiff::Timestamp::UNIX_EPOCH, &subnets)
}

/// The default network of tests, with both families.
pub(crate) fn both_families() -> Network {
    network("ketch", &["10.88.0.0/16", "fd00:88::/64"])
}

pub(crate) fn endpoint(network: &Network) -> EndpointRequest {
    EndpointRequest::on(network.clone())
}

/// A container: a network namespace and its session with netd.
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) namespace: OwnedFd,
    pub(crate) session: OwnedFd,
    pub(crate) endpoints: Vec<Endpoint>,
    /// G, as a monitor would hold it.
    pub(crate) gateway: OwnedFd,
}

impl Container {
    /// Attaches a new container, which must work. A netd that is about to end is asked in vain, as by any client.
    pub(crate) fn new(internet: &Internet, name: &str, endpoints: Vec<EndpointRequest>) -> Self {
        let namespace = new_namespace();
        let request = Request::Attach(attach(name, endpoints));
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "no netd serves");
            let session = internet.session();
            if control::send(&session, &request, &[namespace.as_fd()]).is_err() {
                continue;
            }
            match control::receive::<Reply>(&session) {
                Ok(Some((Reply::Elsewhere, _))) | Ok(None) | Err(_) => {}
                Ok(Some((reply, descriptors))) => {
                    let Request::Attach(attach) = request else { unreachable!("made above") };
                    return Self::attached(session, namespace, attach.container, reply, descriptors).unwrap();
                }
            }
        }
    }

    pub(crate) fn attach(session: OwnedFd, namespace: OwnedFd, attach: Attach) -> Result<Self, Refusal> {
        let id = attach.container.clone();
        control::send(&session, &Request::Attach(attach), &[namespace.as_fd()]).unwrap();
        let (reply, descriptors) = control::receive::<Reply>(&session).unwrap().unwrap();
        Self::attached(session, namespace, id, reply, descriptors)
    }

    fn attached(
        session: OwnedFd,
        namespace: OwnedFd,
        id: String,
        reply: Reply,
        mut descriptors: Vec<OwnedFd>,
    ) -> Result<Self, Refusal> {
        match reply {
            Reply::Attached { endpoints } => {
                let gateway = descriptors.remove(0);
                Ok(Self { id, namespace, session, endpoints, gateway })
            }
            Reply::Refused(refusal) => Err(refusal),
            other => panic!("unexpected answer {other:?}"),
        }
    }

    /// Its address of one family on its `n`-th network.
    pub(crate) fn ip(&self, n: usize, v6: bool) -> IpAddr {
        self.endpoints[n].ips.iter().find(|ip| ip.ip.is_ipv6() == v6).unwrap().ip
    }

    /// Runs `work` inside.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        netns::within(&self.namespace, work).unwrap()
    }

    pub(crate) fn request(&self, request: &Request) -> Reply {
        control::send(&self.session, request, &[]).unwrap();
        control::receive::<Reply>(&self.session).unwrap().unwrap().0
    }

    /// Publishes a port with a socket made in the host's namespace.
    pub(crate) fn publish(&self, protocol: Protocol, listen: SocketAddr, container_port: u16) {
        let socket: OwnedFd = match protocol {
            Protocol::Tcp => std::net::TcpListener::bind(listen).unwrap().into(),
            Protocol::Udp => std::net::UdpSocket::bind(listen).unwrap().into(),
        };
        let request = Request::Publish { ports: vec![PublishedPort { protocol, container_port }] };
        control::send(&self.session, &request, &[socket.as_fd()]).unwrap();
        assert_eq!(control::receive::<Reply>(&self.session).unwrap().unwrap().0, Reply::Published);
        // The container's monitor keeps it as long as the container lives.
        std::mem::forget(socket);
    }
}

/// What a monitor would send for a container called `name`.
pub(crate) fn attach(name: &str, endpoints: Vec<EndpointRequest>) -> Attach {
    let container: String = name.bytes().cycle().take(32).map(|byte| format!("{byte:02x}")).collect();
    let hostname = format!("{name}-host");
    Attach {
        container,
        name: name.into(),
        hostname,
        endpoints,
        dns: vec![],
        links: vec![],
        again: false,
        host_loopback: false,
        avoid: vec![],
    }
}
