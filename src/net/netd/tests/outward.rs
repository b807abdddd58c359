//! What a container sees of the outside: the table of semantics, both families.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::ops::Range;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, sockopt};

use crate::net::control::Protocol;
use crate::net::testing::{
    BLACKHOLE, BLACKHOLE6, Container, HOST, HOST6, Internet, NOBODY, NOBODY6, OUTSIDE, OUTSIDE6, PATIENCE,
    both_families, endpoint, in_namespaces, network, wait_until,
};
use crate::sys::netns;

fn address(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}

fn world(test: impl FnOnce(&Internet, &Container)) {
    let internet = Internet::new();
    let container = Container::new(&internet, "one", vec![endpoint(&both_families())]);
    test(&internet, &container);
}

fn connect(container: &Container, to: SocketAddr) -> std::io::Result<TcpStream> {
    container.run(|| TcpStream::connect_timeout(&to, PATIENCE))
}

#[test]
fn tcp_reaches_the_outside() {
    in_namespaces("net::netd::tests::outward::tcp_reaches_the_outside", || {
        world(|internet, container| {
            for ip in [OUTSIDE, OUTSIDE6] {
                let listener = internet.outside(|| TcpListener::bind(address(ip, 80)).unwrap());
                let mut client = connect(container, address(ip, 80)).unwrap();
                let (mut server, peer) = listener.accept().unwrap();
                assert_ne!(peer.ip(), container.ip(0, peer.is_ipv6()), "dialled by the host");
                // 3 MB, then the end of one way, then an answer on the other.
                let sender = std::thread::spawn(move || {
                    client.write_all(&vec![7; 3_000_000]).unwrap();
                    client.shutdown(Shutdown::Write).unwrap();
                    let mut answer = Vec::new();
                    client.read_to_end(&mut answer).unwrap();
                    answer
                });
                let mut got = Vec::new();
                server.read_to_end(&mut got).unwrap();
                assert_eq!(got.len(), 3_000_000);
                server.write_all(b"thanks").unwrap();
                drop(server);
                assert_eq!(sender.join().unwrap(), b"thanks", "{ip}");
            }
        });
    });
}

#[test]
fn failures_are_those_of_the_network() {
    in_namespaces("net::netd::tests::outward::failures_are_those_of_the_network", || {
        world(|_internet, container| {
            for (to, want, at_least, at_most) in [
                (address(OUTSIDE, 81), libc::ECONNREFUSED, 0, 500),
                (address(OUTSIDE6, 81), libc::ECONNREFUSED, 0, 500),
                (address("203.0.113.1", 80), libc::ENETUNREACH, 0, 500),
                (address("2001:db8:99::1", 80), libc::ENETUNREACH, 0, 500),
                // As long as the host's own neighbour discovery takes.
                (address(NOBODY, 80), libc::EHOSTUNREACH, 500, 5000),
                (address(NOBODY6, 80), libc::EHOSTUNREACH, 500, 5000),
            ] {
                // Once at least, on a machine that does much else: the first repetition comes after a second.
                wait_until("in time", || {
                    let start = Instant::now();
                    let error = connect(container, to).unwrap_err();
                    let took = start.elapsed().as_millis();
                    assert_eq!(error.raw_os_error(), Some(want), "{to}: {error}");
                    assert!(took >= at_least, "{to} after {took} ms");
                    took < at_most
                });
            }
        });
    });
}

/// Connects and gives up after one more attempt, as the kernel does it: how that ended, and after how long.
fn try_twice(to: SocketAddr) -> (Option<i32>, Duration) {
    let family = if to.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = rustix::net::socket(family, SocketType::STREAM, None).unwrap();
    crate::sys::inet::set_option(&socket, libc::IPPROTO_TCP, libc::TCP_SYNCNT, 1).unwrap();
    let start = Instant::now();
    let outcome = rustix::net::connect(&socket, &to);
    (outcome.err().map(rustix::io::Errno::raw_os_error), start.elapsed())
}

#[test]
fn an_address_that_swallows_packets_is_a_timeout() {
    in_namespaces("net::netd::tests::outward::an_address_that_swallows_packets_is_a_timeout", || {
        world(|internet, container| {
            internet.lose_packets();
            for ip in [BLACKHOLE, BLACKHOLE6] {
                let to = address(ip, 80);
                let (without, took_without) = try_twice(to);
                let (with, took_with) = container.run(|| try_twice(to));
                assert_eq!(without, Some(libc::ETIMEDOUT), "{ip} from the host");
                assert_eq!(with, without, "{ip} from the container");
                assert!(took_with > took_without / 2, "{ip}: {took_with:?}, from the host {took_without:?}");
            }
            // What is still being dialled for it hinders nothing else.
            let _listener = internet.outside(|| TcpListener::bind(address(OUTSIDE, 80)).unwrap());
            assert!(connect(container, address(OUTSIDE, 80)).is_ok());
        });
    });
}

#[test]
fn the_hosts_loopback_is_out_of_reach() {
    in_namespaces("net::netd::tests::outward::the_hosts_loopback_is_out_of_reach", || {
        world(|internet, container| {
            let _listener = TcpListener::bind("127.0.0.1:82").unwrap();
            let _everywhere = TcpListener::bind("0.0.0.0:83").unwrap();
            // Through the default route, as a hostile container with its own idea of loopback would.
            assert!(connect(container, address("127.0.0.1", 82)).is_err());
            assert!(connect(container, address("10.88.0.1", 83)).is_err(), "the gateway is G, not the host");
            assert!(connect(container, address(HOST, 83)).is_ok(), "the host by its address");
            assert!(connect(container, address("169.254.1.2", 83)).is_ok(), "the host by its alias");
            let _of_six = TcpListener::bind(address(HOST6, 84)).unwrap();
            assert!(connect(container, address("64:ff9b:1::a9fe:102", 84)).is_ok(), "and by that of IPv6");
            let _ = &internet;
        });
    });
}

#[test]
fn a_reset_is_seen_as_a_reset() {
    in_namespaces("net::netd::tests::outward::a_reset_is_seen_as_a_reset", || {
        world(|internet, container| {
            for ip in [OUTSIDE, OUTSIDE6] {
                let listener = internet.outside(|| TcpListener::bind(address(ip, 80)).unwrap());
                let mut client = connect(container, address(ip, 80)).unwrap();
                let (server, _) = listener.accept().unwrap();
                sockopt::set_socket_linger(server.as_fd(), Some(Duration::ZERO)).unwrap();
                drop(server);
                assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset, "{ip}");
                let client = connect(container, address(ip, 80)).unwrap();
                let (mut server, _) = listener.accept().unwrap();
                sockopt::set_socket_linger(client.as_fd(), Some(Duration::ZERO)).unwrap();
                drop(client);
                assert_eq!(server.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset, "{ip}");
            }
        });
    });
}

#[test]
fn a_server_that_speaks_first_and_ends_first() {
    in_namespaces("net::netd::tests::outward::a_server_that_speaks_first_and_ends_first", || {
        world(|internet, container| {
            for ip in [OUTSIDE, OUTSIDE6] {
                let listener = internet.outside(|| TcpListener::bind(address(ip, 80)).unwrap());
                let server = std::thread::spawn(move || {
                    for _ in 0..50 {
                        let (mut server, _) = listener.accept().unwrap();
                        server.write_all(b"220 hello\r\n").unwrap();
                    }
                });
                // The data and the end are there before the container's side is accepted.
                for _ in 0..50 {
                    let mut client = connect(container, address(ip, 80)).unwrap();
                    let mut greeting = String::new();
                    client.read_to_string(&mut greeting).unwrap();
                    assert_eq!(greeting, "220 hello\r\n", "{ip}");
                }
                server.join().unwrap();
            }
        });
    });
}

#[test]
fn udp_reaches_the_outside() {
    in_namespaces("net::netd::tests::outward::udp_reaches_the_outside", || {
        world(|internet, container| {
            for (ip, any, large) in [(OUTSIDE, "0.0.0.0:0", 60_000), (OUTSIDE6, "[::]:0", 60_000)] {
                let server = internet.outside(|| UdpSocket::bind(address(ip, 9)).unwrap());
                std::thread::spawn(move || {
                    let mut buffer = vec![0; 65_536];
                    while let Ok((got, from)) = server.recv_from(&mut buffer) {
                        server.send_to(&buffer[..got], from).unwrap();
                    }
                });
                let client = container.run(|| UdpSocket::bind(any).unwrap());
                client.set_read_timeout(Some(PATIENCE)).unwrap();
                client.connect(address(ip, 9)).unwrap();
                let mut buffer = vec![0; 65_536];
                for size in [1, 1400, large, 0, 3000] {
                    client.send(&vec![5; size]).unwrap();
                    assert_eq!(client.recv(&mut buffer).unwrap(), size, "{ip} {size} bytes");
                }
                // A closed port is reported, as it is without a proxy.
                client.connect(address(ip, 10)).unwrap();
                client.send(b"x").unwrap();
                let error = client.recv(&mut buffer).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{ip}");
            }
        });
    });
}

#[test]
fn many_datagrams_at_once_keep_their_bounds() {
    in_namespaces("net::netd::tests::outward::many_datagrams_at_once_keep_their_bounds", || {
        world(|internet, container| {
            for (ip, any) in [(OUTSIDE, "0.0.0.0:0"), (OUTSIDE6, "[::]:0")] {
                let server = internet.outside(|| UdpSocket::bind(address(ip, 9)).unwrap());
                server.set_read_timeout(Some(PATIENCE)).unwrap();
                sockopt::set_socket_recv_buffer_size(server.as_fd(), 4 << 20).ok();
                let client = container.run(|| UdpSocket::bind(any).unwrap());
                client.connect(address(ip, 9)).unwrap();
                let mut buffer = [0; 2000];
                client.send(b"first").unwrap();
                assert_eq!(server.recv(&mut buffer).unwrap(), 5);
                // Joined by the sender (GSO), parted by the time they arrive.
                crate::sys::inet::set_option(&client, libc::SOL_UDP, libc::UDP_SEGMENT, 1000).unwrap();
                client.send(&vec![1; 30_500]).unwrap();
                let lengths: Vec<usize> = (0..31).map(|_| server.recv(&mut buffer).unwrap()).collect();
                assert_eq!(lengths[..30], [1000; 30], "{ip}");
                assert_eq!(lengths[30], 500, "{ip}");
            }
        });
    });
}

#[test]
fn ping_reaches_the_outside() {
    in_namespaces("net::netd::tests::outward::ping_reaches_the_outside", || {
        world(|_internet, container| {
            for (ip, kind) in [(OUTSIDE, 8_u8), (OUTSIDE6, 128)] {
                let target = address(ip, 0);
                let socket = container.run(|| crate::sys::inet::ping_socket(target.is_ipv6()).unwrap());
                rustix::io::ioctl_fionbio(&socket, false).unwrap();
                let timeout = sockopt::Timeout::Recv;
                sockopt::set_socket_timeout(&socket, timeout, Some(PATIENCE)).unwrap();
                rustix::net::connect(&socket, &target).unwrap();
                for sequence in 1..4 {
                    let request = [kind, 0, 0, 0, 0, 0, 0, sequence, b'h', b'i'];
                    rustix::net::send(&socket, &request, rustix::net::SendFlags::empty()).unwrap();
                    let mut reply = [0; 64];
                    let (got, _) =
                        rustix::net::recv(&socket, &mut reply[..], rustix::net::RecvFlags::empty()).unwrap();
                    assert_eq!(&reply[6..got], [0, sequence, b'h', b'i'], "{ip}");
                    assert_ne!(reply[0], kind, "a reply, not the request");
                }
            }
        });
    });
}

#[test]
fn echoes_of_any_length_come_back_whole() {
    in_namespaces("net::netd::tests::outward::echoes_of_any_length_come_back_whole", || {
        let internet = Internet::new();
        let mut small = network("small", &["10.91.0.0/24", "fd00:91::/64"]);
        small.options.insert("mtu".into(), "1500".into());
        for net in [both_families(), small] {
            let container = Container::new(&internet, &net.name, vec![endpoint(&net)]);
            for (ip, kind) in [(OUTSIDE, 8_u8), (OUTSIDE6, 128)] {
                let socket = ping_socket(&container, address(ip, 0));
                for length in [1400, 4000, 65_515] {
                    let mut request: Vec<u8> = (0_u8..250).cycle().take(length).collect();
                    request[..8].copy_from_slice(&[kind, 0, 0, 0, 0, 0, 0, 1]);
                    let mut reply = vec![0; 65_536];
                    wait_until("the whole echo", || {
                        rustix::net::send(&socket, &request, rustix::net::SendFlags::empty()).unwrap();
                        std::thread::sleep(Duration::from_millis(100));
                        let got = rustix::net::recv(&socket, &mut reply[..], rustix::net::RecvFlags::empty());
                        got.is_ok_and(|(got, _)| got == length)
                    });
                    assert!(reply[8..length] == request[8..], "{ip} {length}");
                }
            }
        }
    });
}

#[test]
fn networks_are_isolated_from_each_other() {
    in_namespaces("net::netd::tests::outward::networks_are_isolated_from_each_other", || {
        let internet = Internet::new();
        let (a, b) = (network("a", &["10.91.0.0/24"]), network("b", &["10.92.0.0/24"]));
        let mut shut = network("shut", &["10.93.0.0/24"]);
        shut.internal = true;
        let one = Container::new(&internet, "one", vec![endpoint(&a)]);
        let two = Container::new(&internet, "two", vec![endpoint(&b)]);
        let three = Container::new(&internet, "three", vec![endpoint(&a), endpoint(&shut)]);
        let four = Container::new(&internet, "four", vec![endpoint(&shut)]);
        let listen = |container: &Container| container.run(|| TcpListener::bind("0.0.0.0:80").unwrap());
        let _listeners = [listen(&one), listen(&two), listen(&three), listen(&four)];
        let _far = internet.outside(|| TcpListener::bind(address(OUTSIDE, 80)).unwrap());
        let reach = |from: &Container, ip: IpAddr| {
            let to = SocketAddr::new(ip, 80);
            from.run(|| TcpStream::connect_timeout(&to, PATIENCE)).map_err(|e| e.raw_os_error().unwrap_or(0))
        };
        let outside: IpAddr = OUTSIDE.parse().unwrap();
        assert!(reach(&one, three.ip(0, false)).is_ok(), "the same network");
        assert!(reach(&three, four.ip(0, false)).is_ok(), "a shared internal network");
        assert_eq!(reach(&one, two.ip(0, false)).unwrap_err(), libc::EHOSTUNREACH, "another network");
        assert!(reach(&one, four.ip(0, false)).is_err(), "an internal network from elsewhere");
        assert_eq!(reach(&four, outside).unwrap_err(), libc::ENETUNREACH, "out of an internal network");
        assert!(reach(&three, outside).is_ok(), "the other network is the way out");
        let udp = two.run(|| UdpSocket::bind("0.0.0.0:9").unwrap());
        udp.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        one.run(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.send_to(b"x", SocketAddr::new(two.ip(0, false), 9)).unwrap();
        });
        assert!(udp.recv(&mut [0]).is_err(), "UDP does not cross either");
    });
}

/// netd's sockets of the flows to these ports: connected ones in the namespaces of the host and of G.
///
/// Not every socket of the process: ready ones are made at any time.
fn flow_sockets(container: &Container, to: Range<u16>) -> usize {
    let of_this_namespace = || {
        let table = std::fs::read_to_string("/proc/thread-self/net/udp").unwrap();
        let is_of_flow = |line: &&str| {
            let ends = line.split_whitespace().skip(1).take(2);
            let port = |end: &str| u16::from_str_radix(end.rsplit(':').next().unwrap(), 16).unwrap();
            let ports: Vec<u16> = ends.map(port).collect();
            ports.iter().any(|port| to.contains(port)) && !ports.contains(&0)
        };
        table.lines().skip(1).filter(is_of_flow).count()
    };
    of_this_namespace() + netns::within(&container.gateway, of_this_namespace).unwrap()
}

#[test]
fn flows_end_when_nothing_is_sent_any_more() {
    in_namespaces("net::netd::tests::outward::flows_end_when_nothing_is_sent_any_more", || {
        world(|internet, container| {
            // A name is asked for once: such a flow is over after ten seconds.
            let server = internet.outside(|| UdpSocket::bind(address(OUTSIDE, 53)).unwrap());
            let client = container.run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
            client.connect(address(OUTSIDE, 53)).unwrap();
            let mut buffer = [0; 16];
            let mut ask = || {
                client.send(b"?").unwrap();
                let (_, from) = server.recv_from(&mut buffer).unwrap();
                from
            };
            let first = ask();
            let begun = Instant::now();
            assert_eq!(ask(), first, "one flow");
            assert_eq!(flow_sockets(container, 53..54), 2);
            wait_until("its two sockets are closed", || flow_sockets(container, 53..54) == 0);
            assert!(begun.elapsed() >= Duration::from_secs(8), "not before: {:?}", begun.elapsed());
            ask();
        });
    });
}

#[test]
fn a_container_has_so_many_flows_and_no_more() {
    in_namespaces("net::netd::tests::outward::a_container_has_so_many_flows_and_no_more", || {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
        if limit.is_some_and(|limit| limit < 8192) {
            let skipped = format!("SKIPPED: needs more than {limit:?} descriptors\n");
            return std::io::stderr().write_all(skipped.as_bytes()).unwrap();
        }
        world(|internet, container| {
            let client = container.run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            let server = internet.outside(|| UdpSocket::bind(address(OUTSIDE, 21_600)).unwrap());
            internet.lose_packets();
            // Two sockets for each; after a quarter was ended there are three quarters. Datagrams that come faster than netd
            // gets a processor are lost: again, then.
            let flows = || flow_sockets(container, 20_000..21_600) / 2;
            wait_until("many flows", || {
                for port in 20_000..21_600 {
                    client.send_to(b"x", address(BLACKHOLE, port)).unwrap();
                }
                assert!(flows() <= 1024, "{} flows", flows());
                flows() >= 700
            });
            // The youngest is served, whoever had to go for it.
            let mut buffer = [0; 16];
            server.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            wait_until("the youngest is served", || {
                client.send_to(b"last", address(OUTSIDE, 21_600)).ok();
                server.recv_from(&mut buffer).is_ok()
            });
            assert!((700..=1024).contains(&flows()), "{} flows", flows());
        });
    });
}

#[test]
fn a_network_without_masquerade_reaches_the_host_alone() {
    in_namespaces("net::netd::tests::outward::a_network_without_masquerade_reaches_the_host_alone", || {
        let internet = Internet::new();
        let mut net = both_families();
        net.options.insert("enable_ip_masquerade".into(), "false".into());
        let container = Container::new(&internet, "one", vec![endpoint(&net)]);
        let _here = [HOST, HOST6].map(|ip| TcpListener::bind(address(ip, 80)).unwrap());
        let _far =
            internet.outside(|| [OUTSIDE, OUTSIDE6].map(|ip| TcpListener::bind(address(ip, 80)).unwrap()));
        for ip in [HOST, HOST6, "169.254.1.2"] {
            assert!(connect(&container, address(ip, 80)).is_ok(), "{ip} is the host");
        }
        for ip in [OUTSIDE, OUTSIDE6] {
            let error = connect(&container, address(ip, 80)).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ENETUNREACH), "{ip}");
        }
        let server = internet.outside(|| UdpSocket::bind(address(OUTSIDE, 9)).unwrap());
        server.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        container.run(|| UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"x", address(OUTSIDE, 9)).unwrap());
        assert!(server.recv(&mut [0]).is_err(), "nor datagrams");
        // Who comes from there is answered.
        let inside = container.run(|| TcpListener::bind("0.0.0.0:80").unwrap());
        container.publish(Protocol::Tcp, "0.0.0.0:8080".parse().unwrap(), 80);
        let client = internet.outside(|| TcpStream::connect(address(HOST, 8080)).unwrap());
        assert_eq!(inside.accept().unwrap().1, client.local_addr().unwrap());
    });
}

#[test]
fn connections_leave_from_the_address_of_their_network() {
    in_namespaces("net::netd::tests::outward::connections_leave_from_the_address_of_their_network", || {
        let internet = Internet::new();
        let mut net = both_families();
        let sources = ["198.18.0.7", "2001:db8:1::7"];
        internet.add_host_addresses(&[(sources[0], 24), (sources[1], 64)]);
        for (key, source) in crate::net::network::SOURCES.into_iter().zip(sources) {
            net.options.insert(key.into(), source.into());
        }
        let container = Container::new(&internet, "one", vec![endpoint(&net)]);
        for (ip, source, any) in [(OUTSIDE, sources[0], "0.0.0.0:0"), (OUTSIDE6, sources[1], "[::]:0")] {
            let listener = internet.outside(|| TcpListener::bind(address(ip, 80)).unwrap());
            let _client = connect(&container, address(ip, 80)).unwrap();
            assert_eq!(listener.accept().unwrap().1.ip().to_string(), source);
            let server = internet.outside(|| UdpSocket::bind(address(ip, 9)).unwrap());
            let client = container.run(|| UdpSocket::bind(any).unwrap());
            client.send_to(b"x", address(ip, 9)).unwrap();
            assert_eq!(server.recv_from(&mut [0]).unwrap().1.ip().to_string(), source);
        }
    });
}

#[test]
fn a_port_is_refused_by_the_far_side_itself() {
    in_namespaces("net::netd::tests::outward::a_port_is_refused_by_the_far_side_itself", || {
        world(|_internet, container| {
            let errors = container.run(|| {
                let icmp = Some(rustix::net::ipproto::ICMP);
                rustix::net::socket(AddressFamily::INET, SocketType::RAW, icmp).unwrap()
            });
            sockopt::set_socket_timeout(&errors, sockopt::Timeout::Recv, Some(PATIENCE)).unwrap();
            let client = container.run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
            let sender = |to: &str| {
                client.send_to(b"x", address(to, 10)).unwrap();
                let mut packet = [0; 128];
                rustix::net::recv(&errors, &mut packet[..], rustix::net::RecvFlags::empty()).unwrap();
                // The sender of the error, its type and code.
                let from: [u8; 4] = packet[12..16].try_into().unwrap();
                (std::net::Ipv4Addr::from(from).to_string(), packet[20], packet[21])
            };
            assert_eq!(sender(OUTSIDE), (OUTSIDE.to_owned(), 3, 3), "the port");
            assert_eq!(sender("203.0.113.1"), ("10.88.0.1".to_owned(), 3, 0), "the network, by the router");
        });
    });
}

/// A socket that asks `to` for echoes.
fn ping_socket(container: &Container, to: SocketAddr) -> std::os::fd::OwnedFd {
    let socket = container.run(|| crate::sys::inet::ping_socket(to.is_ipv6()).unwrap());
    rustix::net::connect(&socket, &to).unwrap();
    socket
}

/// Whether an echo comes back within a tenth of a second.
fn is_echoed(socket: &impl AsFd) -> bool {
    rustix::net::send(socket, &[8, 0, 0, 0, 0, 0, 0, 1], rustix::net::SendFlags::empty()).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    rustix::net::recv(socket, &mut [0; 64][..], rustix::net::RecvFlags::empty()).is_ok()
}

#[test]
fn who_pings_without_end_leaves_others_their_echoes() {
    in_namespaces("net::netd::tests::outward::who_pings_without_end_leaves_others_their_echoes", || {
        let internet = Internet::new();
        let one = Container::new(&internet, "one", vec![endpoint(&both_families())]);
        let two = Container::new(&internet, "two", vec![endpoint(&both_families())]);
        let to = address(OUTSIDE, 0);
        let many: Vec<_> = (0..600).map(|_| ping_socket(&one, to)).collect();
        let request = [8, 0, 0, 0, 0, 0, 0, 1];
        for socket in &many {
            rustix::net::send(socket, &request, rustix::net::SendFlags::empty()).unwrap();
        }
        let of_other = ping_socket(&two, to);
        wait_until("another's echo", || is_echoed(&of_other));
        wait_until("its own youngest", || is_echoed(&many[599]));
    });
}

#[test]
fn what_goes_on_sending_follows_the_host_to_another_address() {
    in_namespaces(
        "net::netd::tests::outward::what_goes_on_sending_follows_the_host_to_another_address",
        || {
            world(|internet, container| {
                for (ip, any, from, to) in [
                    (OUTSIDE, "0.0.0.0:0", (HOST, 24), ("198.18.0.9", 24)),
                    (OUTSIDE6, "[::]:0", (HOST6, 64), ("2001:db8:1::9", 64)),
                ] {
                    let server = internet.outside(|| UdpSocket::bind(address(ip, 9)).unwrap());
                    server.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
                    let client = container.run(|| UdpSocket::bind(any).unwrap());
                    let heard_from = || {
                        client.send_to(b"x", address(ip, 9)).unwrap();
                        server.recv_from(&mut [0; 8]).ok().map(|(_, from)| from.ip().to_string())
                    };
                    wait_until("a datagram", || heard_from().as_deref() == Some(from.0));
                    internet.move_host(from, to);
                    wait_until("a datagram from elsewhere", || heard_from().as_deref() == Some(to.0));
                }
                let ping = ping_socket(container, address(OUTSIDE, 0));
                wait_until("an echo", || is_echoed(&ping));
                internet.move_host(("198.18.0.9", 24), (HOST, 24));
                wait_until("an echo elsewhere", || is_echoed(&ping));
            });
        },
    );
}

#[test]
fn datagrams_of_many_to_one_address_do_not_cross() {
    in_namespaces("net::netd::tests::outward::datagrams_of_many_to_one_address_do_not_cross", || {
        let internet = Internet::new();
        let (a, b) = (network("a", &["10.91.0.0/24"]), network("b", &["10.92.0.0/24"]));
        let one = Container::new(&internet, "one", vec![endpoint(&a)]);
        let two = Container::new(&internet, "two", vec![endpoint(&b)]);
        let server = internet.outside(|| UdpSocket::bind(address(OUTSIDE, 9)).unwrap());
        sockopt::set_socket_recv_buffer_size(server.as_fd(), 4 << 20).ok();
        std::thread::spawn(move || {
            let mut buffer = [0; 128];
            while let Ok((got, from)) = server.recv_from(&mut buffer) {
                server.send_to(&buffer[..got], from).unwrap();
            }
        });
        // Each socket hears its own word again, and nothing else.
        let round = |container: &Container, round: u32| {
            let open = || (0..30).map(|_| UdpSocket::bind("0.0.0.0:0").unwrap()).collect::<Vec<_>>();
            let sockets = container.run(open);
            let word = |n: usize| format!("{} {round} {n}", container.id);
            for (n, socket) in sockets.iter().enumerate() {
                socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                socket.connect(address(OUTSIDE, 9)).unwrap();
                socket.send(word(n).as_bytes()).unwrap();
            }
            for (n, socket) in sockets.iter().enumerate() {
                let mut buffer = [0; 128];
                let got = socket.recv(&mut buffer).expect("an answer");
                assert_eq!(String::from_utf8_lossy(&buffer[..got]), word(n));
            }
        };
        for number in 0..20 {
            std::thread::scope(|scope| {
                scope.spawn(|| round(&one, number));
                round(&two, number);
            });
        }
    });
}
