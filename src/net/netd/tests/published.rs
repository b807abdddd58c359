//! Published ports: who the container takes the client for.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

use crate::net::control::Protocol;
use crate::net::testing::{
    Container, HOST, HOST6, Internet, OUTSIDE, OUTSIDE6, PATIENCE, both_families, endpoint, in_namespaces,
    network,
};

/// A server that tells each client what it takes it for.
fn who_am_i(container: &Container, bind: &str) {
    let (listener, socket) =
        container.run(|| (TcpListener::bind(bind).unwrap(), UdpSocket::bind(bind).unwrap()));
    std::thread::spawn(move || {
        while let Ok((mut client, peer)) = listener.accept() {
            write!(client, "{peer}").unwrap();
        }
    });
    std::thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
            socket.send_to(peer.to_string().as_bytes(), peer).unwrap();
        }
    });
}

fn ask_tcp(server: &str) -> (SocketAddr, SocketAddr) {
    let mut client = TcpStream::connect_timeout(&server.parse().unwrap(), PATIENCE).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut seen = String::new();
    client.read_to_string(&mut seen).unwrap();
    (client.local_addr().unwrap(), seen.parse().unwrap())
}

fn ask_udp(server: &str) -> (SocketAddr, SocketAddr) {
    let server: SocketAddr = server.parse().unwrap();
    let client = UdpSocket::bind(if server.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" }).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.connect(server).unwrap();
    let mut buffer = [0; 100];
    for _ in 0..3 {
        client.send(b"who am I").unwrap();
        client.recv(&mut buffer).unwrap();
    }
    let got = client.send(b"?").and_then(|_| client.recv(&mut buffer)).unwrap();
    let seen = std::str::from_utf8(&buffer[..got]).unwrap().parse().unwrap();
    (client.local_addr().unwrap(), seen)
}

#[test]
fn the_container_sees_the_real_client() {
    in_namespaces("net::netd::tests::published::the_container_sees_the_real_client", || {
        let internet = Internet::new();
        let container = Container::new(&internet, "web", vec![endpoint(&both_families())]);
        who_am_i(&container, "[::]:80");
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            container.publish(protocol, "0.0.0.0:8080".parse().unwrap(), 80);
            container.publish(protocol, format!("[{HOST6}]:8080").parse().unwrap(), 80);
            container.publish(protocol, "[::1]:8081".parse().unwrap(), 80);
        }
        let mapped = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        for ask in [ask_tcp, ask_udp] {
            for (server, client) in [(format!("{HOST}:8080"), OUTSIDE), (format!("[{HOST6}]:8080"), OUTSIDE6)]
            {
                let (local, seen) = internet.outside(|| ask(&server));
                assert_eq!(mapped(seen), local, "from outside to {server}");
                assert_eq!(local.ip().to_string(), client);
            }
            for (server, host) in [(format!("{HOST}:8080"), HOST), (format!("[{HOST6}]:8080"), HOST6)] {
                let (local, seen) = ask(&server);
                assert_eq!(mapped(seen), local, "from the host by its own address {server}");
                let (_, seen) = container.run(|| ask(&server));
                assert_eq!(mapped(seen).ip().to_string(), host, "from the container itself: the host");
            }
            for (server, v6) in [("127.0.0.1:8080", false), ("[::1]:8081", true)] {
                let (_, seen) = ask(server);
                let gateway = both_families().gateway(v6).unwrap();
                assert_eq!(mapped(seen).ip(), gateway, "from the host's loopback: the gateway");
            }
        }
    });
}

#[test]
fn a_network_of_one_family_serves_clients_of_the_other() {
    in_namespaces("net::netd::tests::published::a_network_of_one_family_serves_clients_of_the_other", || {
        let internet = Internet::new();
        let container = Container::new(&internet, "web", vec![endpoint(&network("four", &["10.95.0.0/24"]))]);
        who_am_i(&container, "0.0.0.0:80");
        container.publish(Protocol::Tcp, format!("[{HOST6}]:8080").parse().unwrap(), 80);
        let (_, seen) = internet.outside(|| ask_tcp(&format!("[{HOST6}]:8080")));
        assert_eq!(seen.ip().to_string(), "10.95.0.1", "as the gateway");
    });
}

#[test]
fn an_internal_network_answers_through_the_gateway() {
    in_namespaces("net::netd::tests::published::an_internal_network_answers_through_the_gateway", || {
        let internet = Internet::new();
        let mut shut = network("shut", &["10.93.0.0/24"]);
        shut.internal = true;
        let container = Container::new(&internet, "web", vec![endpoint(&shut)]);
        who_am_i(&container, "0.0.0.0:80");
        container.publish(Protocol::Tcp, "0.0.0.0:8080".parse().unwrap(), 80);
        let (_, seen) = internet.outside(|| ask_tcp(&format!("{HOST}:8080")));
        assert_eq!(seen.ip().to_string(), "10.93.0.1");
    });
}

#[test]
fn a_closed_port_resets_and_the_same_client_port_may_come_back() {
    in_namespaces(
        "net::netd::tests::published::a_closed_port_resets_and_the_same_client_port_may_come_back",
        || {
            let internet = Internet::new();
            let container = Container::new(&internet, "web", vec![endpoint(&both_families())]);
            for server in [format!("{HOST}:8080"), format!("[{HOST6}]:8080")] {
                container.publish(Protocol::Tcp, server.parse().unwrap(), 80);
                let refused = internet.outside(|| {
                    let mut client = TcpStream::connect(&server).unwrap();
                    client.set_read_timeout(Some(PATIENCE)).unwrap();
                    client.read(&mut [0]).unwrap_err()
                });
                assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionReset, "{server}: {refused}");
            }
            who_am_i(&container, "[::]:80");
            for server in [format!("{HOST}:8080"), format!("[{HOST6}]:8080")] {
                for _ in 0..20 {
                    internet.outside(|| ask_tcp(&server));
                }
            }
        },
    );
}

#[test]
fn many_ports_and_many_clients() {
    in_namespaces("net::netd::tests::published::many_ports_and_many_clients", || {
        let internet = Internet::new();
        let container = Container::new(&internet, "web", vec![endpoint(&both_families())]);
        who_am_i(&container, "0.0.0.0:80");
        for port in 20_000..20_400 {
            container.publish(Protocol::Tcp, SocketAddr::new([0, 0, 0, 0].into(), port), 80);
        }
        internet.outside(|| {
            std::thread::scope(|scope| {
                for thread in 0..8 {
                    scope.spawn(move || {
                        for n in 0..50 {
                            let (local, seen) = ask_tcp(&format!("{HOST}:{}", 20_000 + thread * 50 + n));
                            assert_eq!(seen.ip(), local.ip());
                        }
                    });
                }
            });
        });
    });
}

#[test]
fn much_data_a_half_close_and_large_datagrams_come_in() {
    in_namespaces("net::netd::tests::published::much_data_a_half_close_and_large_datagrams_come_in", || {
        let internet = Internet::new();
        let container = Container::new(&internet, "sink", vec![endpoint(&both_families())]);
        let (listener, socket) =
            container.run(|| (TcpListener::bind("[::]:80").unwrap(), UdpSocket::bind("[::]:80").unwrap()));
        std::thread::spawn(move || {
            while let Ok((mut client, _)) = listener.accept() {
                let mut got = Vec::new();
                client.read_to_end(&mut got).unwrap();
                // The client has ended its way, and waits for the answer on the other.
                write!(client, "{} bytes", got.len()).unwrap();
            }
        });
        std::thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while let Ok((got, peer)) = socket.recv_from(&mut buffer) {
                socket.send_to(&buffer[..got], peer).unwrap();
            }
        });
        for (server, any) in [(format!("{HOST}:8080"), "0.0.0.0:0"), (format!("[{HOST6}]:8080"), "[::]:0")] {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                container.publish(protocol, server.parse().unwrap(), 80);
            }
            internet.outside(|| {
                let mut client = TcpStream::connect(&server).unwrap();
                client.write_all(&vec![7; 3_000_000]).unwrap();
                client.shutdown(std::net::Shutdown::Write).unwrap();
                let mut answer = String::new();
                client.read_to_string(&mut answer).unwrap();
                assert_eq!(answer, "3000000 bytes", "{server}");
                let client = UdpSocket::bind(any).unwrap();
                client.set_read_timeout(Some(PATIENCE)).unwrap();
                client.connect(&server).unwrap();
                let mut buffer = vec![0; 65_536];
                for size in [1, 60_000, 1400] {
                    client.send(&vec![5; size]).unwrap();
                    assert_eq!(client.recv(&mut buffer).unwrap(), size, "{server}: {size} bytes");
                }
            });
        }
    });
}
