//! Containers, networks and netd itself come and go.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::net::control::{self, Protocol, RefusalKind, Reply, Request};
use crate::net::netd::{self, Start};
use crate::net::netlink;
use crate::net::testing::{
    Container, HOST, Internet, OUTSIDE, PATIENCE, attach, both_families, endpoint, in_namespaces, network,
    new_namespace, wait_until,
};
use crate::sys::netlink::{Netlink, Protocol as NetlinkProtocol};
use crate::sys::{netns, socket};

fn reaches(from: &Container, to: SocketAddr) -> bool {
    from.run(|| TcpStream::connect_timeout(&to, PATIENCE).is_ok())
}

fn links_in(namespace: &OwnedFd) -> Vec<String> {
    netns::within(namespace, || {
        let mut socket = Netlink::open(NetlinkProtocol::Route).unwrap();
        netlink::links(&mut socket).unwrap().into_iter().map(|link| link.name).collect()
    })
    .unwrap()
}

#[test]
fn addresses_are_given_in_order_and_on_request() {
    in_namespaces("net::netd::tests::lifecycle::addresses_are_given_in_order_and_on_request", || {
        let internet = Internet::new();
        let net = both_families();
        let one = Container::new(&internet, "one", vec![endpoint(&net)]);
        assert_eq!(one.ip(0, false).to_string(), "10.88.0.2");
        assert_eq!(one.endpoints[0].interface, "eth0");
        let mut wanted = endpoint(&net);
        wanted.ips = vec!["10.88.7.7".parse().unwrap()];
        wanted.mac = Some([2, 1, 2, 3, 4, 5]);
        wanted.interface = Some("lan".into());
        let two = Container::new(&internet, "two", vec![wanted.clone()]);
        assert_eq!(two.ip(0, false).to_string(), "10.88.7.7");
        let links = two.run(|| {
            let mut socket = Netlink::open(NetlinkProtocol::Route).unwrap();
            netlink::links(&mut socket).unwrap()
        });
        let lan = links.iter().find(|link| link.name == "lan").unwrap();
        assert_eq!((lan.mac, lan.mtu), (Some([2, 1, 2, 3, 4, 5]), 65_520));
        let refused = |name: &str, endpoints| {
            let refusal = Container::attach(internet.session(), new_namespace(), attach(name, endpoints));
            refusal.err().map(|refusal| (refusal.kind, refusal.message)).unwrap()
        };
        let (kind, message) = refused("three", vec![wanted.clone()]);
        assert_eq!(kind, RefusalKind::Conflict);
        assert_eq!(
            message,
            "network ketch: requested ip address 10.88.7.7 is already allocated to another container"
        );
        wanted.ips = vec!["10.99.0.1".parse().unwrap()];
        assert_eq!(refused("three", vec![wanted]).0, RefusalKind::Invalid);
        let overlapping = network("other", &["10.88.4.0/24"]);
        let (kind, message) = refused("three", vec![endpoint(&overlapping)]);
        assert_eq!(kind, RefusalKind::Conflict);
        assert_eq!(message, "network other: subnet 10.88.4.0/24 overlaps 10.88.0.0/16 of ketch");
        // What failed has left nothing.
        let three = Container::new(&internet, "three", vec![endpoint(&net)]);
        assert_eq!(three.ip(0, false).to_string(), "10.88.0.3");
        let _listener = one.run(|| TcpListener::bind("0.0.0.0:80").unwrap());
        assert!(reaches(&three, "10.88.0.2:80".parse().unwrap()));
    });
}

#[test]
fn a_network_of_two_subnets_gives_an_address_of_each() {
    in_namespaces("net::netd::tests::lifecycle::a_network_of_two_subnets_gives_an_address_of_each", || {
        let internet = Internet::new();
        let net = network("two", &["10.96.1.0/24", "10.96.2.0/24"]);
        let ips = |container: &Container| {
            container.endpoints[0].ips.iter().map(|ip| ip.ip.to_string()).collect::<Vec<_>>()
        };
        let one = Container::new(&internet, "one", vec![endpoint(&net)]);
        assert_eq!(ips(&one), ["10.96.1.2", "10.96.2.2"]);
        let mut wanted = endpoint(&net);
        wanted.ips = vec!["10.96.2.9".parse().unwrap()];
        let two = Container::new(&internet, "two", vec![wanted]);
        assert_eq!(ips(&two), ["10.96.1.3", "10.96.2.9"]);
        let _listener = two.run(|| TcpListener::bind("0.0.0.0:80").unwrap());
        let _far = internet.outside(|| TcpListener::bind((OUTSIDE, 80)).unwrap());
        for to in ["10.96.1.3:80", "10.96.2.9:80", &format!("{OUTSIDE}:80")] {
            assert!(reaches(&one, to.parse().unwrap()), "{to}");
        }
    });
}

#[test]
fn networks_are_joined_and_left_while_running() {
    in_namespaces("net::netd::tests::lifecycle::networks_are_joined_and_left_while_running", || {
        let internet = Internet::new();
        let (a, b) = (network("a", &["10.91.0.0/24"]), network("b", &["10.92.0.0/24"]));
        let one = Container::new(&internet, "one", vec![endpoint(&a)]);
        let two = Container::new(&internet, "two", vec![endpoint(&b)]);
        let _listener = two.run(|| TcpListener::bind("0.0.0.0:80").unwrap());
        let _far = internet.outside(|| TcpListener::bind((OUTSIDE, 80)).unwrap());
        let far: SocketAddr = format!("{OUTSIDE}:80").parse().unwrap();
        let target = SocketAddr::new(two.ip(0, false), 80);
        assert!(!reaches(&one, target));
        // By a command, not by the monitor.
        let command = internet.session();
        let connect = Request::Connect { container: Some(one.id.clone()), endpoint: endpoint(&b) };
        control::send(&command, &connect, &[]).unwrap();
        let (reply, _) = control::receive::<Reply>(&command).unwrap().unwrap();
        assert!(matches!(&reply, Reply::Connected { endpoint } if endpoint.interface == "eth1"), "{reply:?}");
        let (changed, _) = control::receive::<Reply>(&one.session).unwrap().unwrap();
        assert!(matches!(&changed, Reply::Changed { endpoints, .. } if endpoints.len() == 2), "{changed:?}");
        assert!(reaches(&one, target));
        assert!(
            matches!(one.request(&connect), Reply::Refused(refusal) if refusal.kind == RefusalKind::Conflict)
        );
        // Leaving the network with the default route: the other one takes over.
        let leave = Request::Disconnect { container: None, network: "a".into() };
        assert_eq!(one.request(&leave), Reply::Disconnected);
        assert_eq!(links_in(&one.namespace), ["lo", "eth1"], "the link is gone when that is told");
        assert!(reaches(&one, far), "the default route has moved");
        assert!(
            matches!(one.request(&leave), Reply::Refused(refusal) if refusal.kind == RefusalKind::NotFound)
        );
        control::send(&command, &Request::Query, &[]).unwrap();
        let (Reply::State { containers, more: false }, _) =
            control::receive::<Reply>(&command).unwrap().unwrap()
        else {
            panic!("no state")
        };
        let names: Vec<_> = containers.iter().map(|c| (c.name.as_str(), c.endpoints.len())).collect();
        assert_eq!(names, [("one", 1), ("two", 1)]);
    });
}

#[test]
fn nothing_is_left_behind() {
    in_namespaces("net::netd::tests::lifecycle::nothing_is_left_behind", || {
        let internet = Internet::new();
        let stay = Container::new(&internet, "stay", vec![endpoint(&network("s", &["10.90.0.0/24"]))]);
        let before = std::fs::read_dir("/proc/self/fd").unwrap().count();
        for round in 0..30 {
            let net = both_families();
            let one = Container::new(&internet, "one", vec![endpoint(&net)]);
            assert_eq!(one.ip(0, false).to_string(), "10.88.0.2", "round {round}: the bridge was made anew");
            drop(one);
            wait_until("bridge and link go", || links_in(&stay.gateway).len() == 3);
        }
        wait_until("descriptors go", || std::fs::read_dir("/proc/self/fd").unwrap().count() <= before);
        // And netd itself, a while after the last container.
        drop(stay);
        wait_until("netd ends", || !internet.directory.path().join(netd::SOCKET_NAME).exists());
        // The lock is the last that it gives up: until then another one would leave the place to it.
        let lock = std::fs::File::open(internet.directory.path().join("netd.lock")).unwrap();
        wait_until("its lock is free", || lock.try_lock().is_ok());
        drop(lock);
        Container::new(&internet, "again", vec![endpoint(&both_families())]);
    });
}

#[test]
fn fifty_containers_on_one_network() {
    in_namespaces("net::netd::tests::lifecycle::fifty_containers_on_one_network", || {
        let internet = Internet::new();
        let net = both_families();
        let containers: Vec<Container> =
            (0..50).map(|n| Container::new(&internet, &format!("c{n}"), vec![endpoint(&net)])).collect();
        let listeners: Vec<TcpListener> =
            containers.iter().map(|c| c.run(|| TcpListener::bind("0.0.0.0:80").unwrap())).collect();
        let ips: Vec<IpAddr> = containers.iter().map(|c| c.ip(0, false)).collect();
        for (i, container) in containers.iter().enumerate() {
            assert!(reaches(container, SocketAddr::new(ips[(i + 1) % 50], 80)));
        }
        drop(listeners);
    });
}

/// netd as a process of its own, which can be killed.
struct Process {
    child: Child,
}

const PROCESS: &str = "KETCH_TEST_NETD";

impl Process {
    fn start(internet: &Internet, gateway: Option<&OwnedFd>) -> (Self, OwnedFd) {
        let (own, theirs) = socket::pair(socket::Kind::Packet).unwrap();
        let gateway = gateway.map(|gateway| gateway.try_clone().unwrap());
        // Standard input and output carry the descriptors over.
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "net::netd::tests::lifecycle::a_killed_netd_comes_back", "--nocapture"])
            .env(PROCESS, internet.directory.path())
            .stdin(Stdio::from(theirs))
            .stdout(gateway.map_or_else(Stdio::null, Stdio::from))
            .spawn()
            .unwrap();
        (Self { child }, own)
    }

    /// Is netd.
    fn run(directory: &std::ffi::OsStr) {
        let directory: std::path::PathBuf = directory.into();
        let resolv_conf = directory.join("resolv.conf");
        let gateway = std::io::stdout().as_fd().try_clone_to_owned().unwrap();
        let is_namespace =
            std::fs::read_link("/proc/self/fd/1").unwrap().to_string_lossy().starts_with("net:");
        let start = Start {
            directory: std::fs::File::open(directory).unwrap().into(),
            first: Some(std::io::stdin().as_fd().try_clone_to_owned().unwrap()),
            gateway: is_namespace.then_some(gateway),
            linger: Duration::from_secs(5),
            resolv_conf,
            confinement: None,
        };
        netd::netd_main(start).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn a_killed_netd_comes_back() {
    if let Some(directory) = std::env::var_os(PROCESS) {
        return Process::run(&directory);
    }
    in_namespaces("net::netd::tests::lifecycle::a_killed_netd_comes_back", || {
        let internet = Internet::new();
        let net = both_families();
        let (mut process, session) = Process::start(&internet, None);
        let one = Container::attach(session, new_namespace(), attach("one", vec![endpoint(&net)])).unwrap();
        let two = Container::new(&internet, "two", vec![endpoint(&net)]);
        let listener = internet.outside(|| TcpListener::bind((OUTSIDE, 80)).unwrap());
        let far: SocketAddr = format!("{OUTSIDE}:80").parse().unwrap();
        let published = TcpListener::bind("0.0.0.0:8080").unwrap();
        let publish = |container: &Container| {
            let port = control::PublishedPort { protocol: Protocol::Tcp, container_port: 80 };
            let request = Request::Publish { ports: vec![port] };
            control::send(&container.session, &request, &[published.as_fd()]).unwrap();
            assert_eq!(control::receive::<Reply>(&container.session).unwrap().unwrap().0, Reply::Published);
        };
        publish(&one);
        let mut client = one.run(|| TcpStream::connect(far).unwrap());
        let (mut server, _) = listener.accept().unwrap();
        server.write_all(b"half of a download").unwrap();
        client.read_exact(&mut [0; 18]).unwrap();

        process.child.kill().unwrap();
        process.child.wait().unwrap();

        // Not the clean end of a download that looks complete.
        assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(server.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert!(
            control::receive::<Reply>(&one.session).map_or(true, |reply| reply.is_none()),
            "its monitor notices"
        );
        // Neighbours still talk, without netd.
        let inside = two.run(|| TcpListener::bind("0.0.0.0:80").unwrap());
        assert!(reaches(&one, SocketAddr::new(two.ip(0, false), 80)));
        drop(inside);
        // A client that comes meanwhile waits in the listener's queue.
        let waiting = std::thread::spawn(|| {
            let mut client = TcpStream::connect(format!("{HOST}:8080")).unwrap();
            let mut greeting = String::new();
            client.read_to_string(&mut greeting).unwrap();
            greeting
        });

        let again = |name: &str, container: &Container, session: OwnedFd| {
            let mut request = endpoint(&net);
            request.ips = container.endpoints[0].ips.iter().map(|ip| ip.ip).collect();
            request.interface = Some("eth0".into());
            request.mac = Some(container.endpoints[0].mac);
            let namespace = container.namespace.try_clone().unwrap();
            Container::attach(session, namespace, attach(name, vec![request])).unwrap()
        };
        let (_second, session) = Process::start(&internet, Some(&one.gateway));
        // A new container comes before the old ones are back: their addresses are not given away.
        let three =
            Container::attach(session, new_namespace(), attach("three", vec![endpoint(&net)])).unwrap();
        assert_eq!(three.ip(0, false).to_string(), "10.88.0.4");
        let one = again("one", &one, internet.session());
        let two = again("two", &two, internet.session());
        let server_inside = one.run(|| TcpListener::bind("0.0.0.0:80").unwrap());
        publish(&one);
        let (mut stream, _) = server_inside.accept().unwrap();
        stream.write_all(b"welcome back").unwrap();
        drop(stream);
        assert_eq!(waiting.join().unwrap(), "welcome back");
        for container in [&one, &two, &three] {
            assert!(reaches(container, far));
        }
    });
}

#[test]
fn a_bridge_left_by_a_killed_netd_is_made_what_its_network_is_now() {
    let name = "net::netd::tests::lifecycle::a_bridge_left_by_a_killed_netd_is_made_what_its_network_is_now";
    in_namespaces(name, || {
        let internet = Internet::new();
        let (mut process, session) = Process::start(&internet, None);
        let before = vec![endpoint(&network("n", &["10.94.0.0/24"]))];
        let one = Container::attach(session, new_namespace(), attach("one", before)).unwrap();
        process.child.kill().unwrap();
        process.child.wait().unwrap();
        let Container { gateway, .. } = one;
        let (_second, session) = Process::start(&internet, Some(&gateway));
        let after = vec![endpoint(&network("n", &["10.97.0.0/24"]))];
        let _two = Container::attach(session, new_namespace(), attach("two", after)).unwrap();
        let addresses = netns::within(&gateway, || {
            let mut socket = Netlink::open(NetlinkProtocol::Route).unwrap();
            netlink::addresses(&mut socket).unwrap()
        });
        let has = |ip: &str| addresses.as_ref().unwrap().iter().any(|of| of.address.ip.to_string() == ip);
        assert!(has("10.97.0.1") && !has("10.94.0.1"), "{addresses:?}");
    });
}

#[test]
fn whoever_is_in_another_network_namespace_is_refused() {
    in_namespaces("net::netd::tests::lifecycle::whoever_is_in_another_network_namespace_is_refused", || {
        let internet = Internet::new();
        let _one = Container::new(&internet, "one", vec![endpoint(&both_families())]);
        let (own, elsewhere) = (netns::current().unwrap(), new_namespace());
        let ask = |caller: &OwnedFd| {
            let session = internet.session();
            let request = Request::Attach(attach("two", vec![endpoint(&both_families())]));
            let namespace = new_namespace();
            control::send(&session, &request, &[namespace.as_fd(), caller.as_fd()]).unwrap();
            control::receive::<Reply>(&session).unwrap().unwrap().0
        };
        assert!(matches!(ask(&own), Reply::Attached { .. }));
        let refused = ask(&elsewhere);
        assert!(matches!(&refused, Reply::Refused(of) if of.kind == RefusalKind::Conflict), "{refused:?}");
    });
}

#[test]
fn a_connection_outlives_that_another_network_is_left() {
    in_namespaces("net::netd::tests::lifecycle::a_connection_outlives_that_another_network_is_left", || {
        let internet = Internet::new();
        let (a, b) = (network("a", &["10.91.0.0/24"]), network("b", &["10.92.0.0/24"]));
        let one = Container::new(&internet, "one", vec![endpoint(&a), endpoint(&b)]);
        let far = internet.outside(|| TcpListener::bind((OUTSIDE, 80)).unwrap());
        let to: SocketAddr = format!("{OUTSIDE}:80").parse().unwrap();
        let mut client = one.run(|| TcpStream::connect(to).unwrap());
        let (mut server, _) = far.accept().unwrap();
        let leave = |network: &str| Request::Disconnect { container: None, network: network.into() };
        assert_eq!(one.request(&leave("b")), Reply::Disconnected);
        server.write_all(b"still there").unwrap();
        client.read_exact(&mut [0; 11]).unwrap();
        assert_eq!(one.request(&leave("a")), Reply::Disconnected);
        assert_eq!(server.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn there_is_only_one_netd() {
    in_namespaces("net::netd::tests::lifecycle::there_is_only_one_netd", || {
        let internet = Internet::new();
        let _one = Container::new(&internet, "one", vec![endpoint(&both_families())]);
        let (own, theirs) = socket::pair(socket::Kind::Packet).unwrap();
        internet.start_netd(theirs, None);
        assert_eq!(control::receive::<Reply>(&own).unwrap().unwrap().0, Reply::Elsewhere);
    });
}
