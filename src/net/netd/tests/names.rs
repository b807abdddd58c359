//! The name server as a container sees it.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::net::testing::{
    Container, Internet, OUTSIDE, PATIENCE, attach, both_families, endpoint, in_namespaces, network,
    new_namespace, wait_until,
};
use crate::sys::inet::set_option;

fn query(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(77, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message.to_vec().unwrap()
}

fn read(bytes: &[u8]) -> String {
    let message = Message::from_vec(bytes).unwrap();
    let mut data: Vec<String> = message.answers.iter().map(|record| record.data.to_string()).collect();
    data.sort();
    let truncated = if message.metadata.truncation { " truncated" } else { "" };
    format!("{:?} {}{truncated}", message.metadata.response_code, data.join(" ")).trim().to_owned()
}

/// Asks over UDP.
fn ask(container: &Container, server: IpAddr, name: &str, kind: RecordType) -> String {
    container.run(|| {
        let any = if server.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
        let socket = UdpSocket::bind(any).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.connect(SocketAddr::new(server, 53)).unwrap();
        socket.send(&query(name, kind)).unwrap();
        let mut buffer = [0; 4096];
        socket.recv(&mut buffer).map_or_else(|error| error.to_string(), |got| read(&buffer[..got]))
    })
}

/// Asks for several names over one TCP connection.
fn ask_stream(container: &Container, server: IpAddr, names: &[&str]) -> Vec<String> {
    container.run(|| {
        let mut stream = TcpStream::connect(SocketAddr::new(server, 53)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        for name in names {
            let query = query(name, RecordType::A);
            stream.write_all(&u16::try_from(query.len()).unwrap().to_be_bytes()).unwrap();
            stream.write_all(&query).unwrap();
        }
        let next = |stream: &mut TcpStream| {
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut message = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut message).unwrap();
            read(&message)
        };
        names.iter().map(|_| next(&mut stream)).collect()
    })
}

/// A server outside that answers every question with one address, and counts.
fn server_outside(internet: &Internet, bind: &str, answer: [u8; 4]) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let (socket, listener) =
        internet.outside(|| (UdpSocket::bind(bind).unwrap(), TcpListener::bind(bind).unwrap()));
    let respond = move |bytes: &[u8], stream: bool| {
        let query = Message::from_vec(bytes).unwrap();
        let mut message = Message::response(query.metadata.id, OpCode::Query);
        message.add_queries(query.queries.iter().cloned());
        let name = query.queries[0].name().clone();
        if name.to_ascii().starts_with("long.") && !stream {
            message.metadata.truncation = true;
        } else {
            message.add_answer(Record::from_rdata(name, 60, RData::A(A(answer.into()))));
        }
        message.to_vec().unwrap()
    };
    let counter = Arc::clone(&count);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((got, from)) = socket.recv_from(&mut buffer) {
            counter.fetch_add(1, Ordering::SeqCst);
            socket.send_to(&respond(&buffer[..got], false), from).unwrap();
        }
    });
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut length = [0; 2];
            while stream.read_exact(&mut length).is_ok() {
                let mut message = vec![0; u16::from_be_bytes(length).into()];
                stream.read_exact(&mut message).unwrap();
                let answer = respond(&message, true);
                stream.write_all(&u16::try_from(answer.len()).unwrap().to_be_bytes()).unwrap();
                stream.write_all(&answer).unwrap();
            }
        }
    });
    count
}

#[test]
fn containers_find_each_other() {
    in_namespaces("net::netd::tests::names::containers_find_each_other", || {
        let internet = Internet::new();
        let net = both_families();
        let mut with_alias = endpoint(&net);
        with_alias.aliases = vec!["db".into()];
        let one = Container::new(&internet, "one", vec![endpoint(&net)]);
        let two = Container::new(&internet, "two", vec![with_alias.clone()]);
        let three = Container::new(&internet, "three", vec![with_alias]);
        let gateway: IpAddr = "10.88.0.1".parse().unwrap();
        let (second, third) = (two.ip(0, false), three.ip(0, false));
        for (name, kind, want) in [
            ("two.", RecordType::A, format!("NoError {second}")),
            ("TWO.dns.podman.", RecordType::A, format!("NoError {second}")),
            ("two.ketch.", RecordType::A, format!("NoError {second}")),
            ("two-host.", RecordType::A, format!("NoError {second}")),
            ("two.", RecordType::AAAA, format!("NoError {}", two.ip(0, true))),
            (&format!("{}.", &two.id[..12]), RecordType::A, format!("NoError {second}")),
            ("db.", RecordType::A, format!("NoError {second} {third}")),
            ("nobody.", RecordType::A, "NXDomain".into()),
            (
                "3.0.88.10.in-addr.arpa.",
                RecordType::PTR,
                format!("NoError {}. db. two-host. two.", &two.id[..12]),
            ),
        ] {
            assert_eq!(ask(&one, gateway, name, kind), want, "{name} {kind}");
        }
        let gateway6: IpAddr = "fd00:88::1".parse().unwrap();
        assert_eq!(ask(&one, gateway6, "two.", RecordType::A), format!("NoError {second}"), "over IPv6");
        assert_eq!(
            ask_stream(&one, gateway, &["two.", "nobody.", "three."]),
            [format!("NoError {second}"), "NXDomain".into(), format!("NoError {third}")]
        );
        drop(two);
        wait_until("a container that is gone has no name", || {
            ask(&one, gateway, "two.", RecordType::A) == "NXDomain"
        });
    });
}

#[test]
fn other_names_are_asked_for_outside_and_only_those() {
    in_namespaces("net::netd::tests::names::other_names_are_asked_for_outside_and_only_those", || {
        let internet = Internet::new();
        let count = server_outside(&internet, &format!("{OUTSIDE}:53"), [192, 0, 2, 80]);
        // The first server is not there: refused at once, so the second answers without delay.
        std::fs::write(internet.resolv_conf(), format!("nameserver {OUTSIDE}1\nnameserver {OUTSIDE}\n"))
            .unwrap();
        let one = Container::new(&internet, "one", vec![endpoint(&both_families())]);
        let gateway: IpAddr = "10.88.0.1".parse().unwrap();
        assert_eq!(ask(&one, gateway, "example.com.", RecordType::A), "NoError 192.0.2.80");
        assert_eq!(ask(&one, gateway, "long.example.com.", RecordType::A), "NoError  truncated");
        assert_eq!(
            ask_stream(&one, gateway, &["long.example.com.", "one.", "example.org."]),
            [
                "NoError 192.0.2.80".to_owned(),
                format!("NoError {}", one.ip(0, false)),
                "NoError 192.0.2.80".into()
            ]
        );
        let before = count.load(Ordering::SeqCst);
        assert!(before >= 2);
        assert_eq!(ask(&one, gateway, "secret.", RecordType::A), "NXDomain");
        assert_eq!(ask(&one, gateway, "secret.dns.podman.", RecordType::A), "NXDomain");
        assert_eq!(ask(&one, gateway, "9.0.88.10.in-addr.arpa.", RecordType::PTR), "NXDomain");
        assert_eq!(count.load(Ordering::SeqCst), before, "nothing of that left");
        // Another network, another server: no restart of anything.
        server_outside(&internet, &format!("{OUTSIDE}:5300"), [192, 0, 2, 81]);
        std::fs::write(internet.resolv_conf(), "nameserver 198.18.0.1\n").unwrap();
        wait_until("refused, so no waiting, if the machine has the time", || {
            let start = Instant::now();
            let answer = ask(&one, gateway, "example.com.", RecordType::A);
            assert_eq!(answer, "ServFail", "nobody listens there");
            start.elapsed() < Duration::from_secs(1)
        });
        std::fs::write(internet.resolv_conf(), format!("nameserver {OUTSIDE}\n")).unwrap();
        assert_eq!(ask(&one, gateway, "example.com.", RecordType::A), "NoError 192.0.2.80");
    });
}

#[test]
fn a_silent_server_costs_a_second() {
    in_namespaces("net::netd::tests::names::a_silent_server_costs_a_second", || {
        let internet = Internet::new();
        let _silent = internet.outside(|| UdpSocket::bind("[2001:db8:1::2]:53").unwrap());
        server_outside(&internet, &format!("{OUTSIDE}:53"), [192, 0, 2, 80]);
        let conf = format!("nameserver 2001:db8:1::2\nnameserver {OUTSIDE}\n");
        std::fs::write(internet.resolv_conf(), conf).unwrap();
        let one = Container::new(&internet, "one", vec![endpoint(&both_families())]);
        // On a machine that does much else, one attempt may take longer; not each of them.
        let attempt = || {
            let start = Instant::now();
            let answer = ask(&one, "10.88.0.1".parse().unwrap(), "example.com.", RecordType::A);
            assert_eq!(answer, "NoError 192.0.2.80");
            start.elapsed().as_millis()
        };
        wait_until("a second, and not much more", || {
            let took = attempt();
            assert!(took >= 900, "{took} ms");
            took < 2500
        });
    });
}

#[test]
fn names_stay_within_their_networks() {
    in_namespaces("net::netd::tests::names::names_stay_within_their_networks", || {
        let internet = Internet::new();
        let (a, mut b) = (network("a", &["10.91.0.0/24"]), network("b", &["10.92.0.0/24"]));
        b.internal = true;
        let one = Container::new(&internet, "one", vec![endpoint(&a)]);
        let two = Container::new(&internet, "two", vec![endpoint(&b)]);
        let both = Container::new(&internet, "both", vec![endpoint(&a), endpoint(&b)]);
        let (at_a, at_b): (IpAddr, IpAddr) = ("10.91.0.1".parse().unwrap(), "10.92.0.1".parse().unwrap());
        assert_eq!(ask(&one, at_a, "two.", RecordType::A), "NXDomain");
        assert_eq!(ask(&one, at_a, "both.", RecordType::A), format!("NoError {}", both.ip(0, false)));
        assert_eq!(ask(&both, at_a, "two.", RecordType::A), format!("NoError {}", two.ip(0, false)));
        assert_eq!(ask(&two, at_b, "example.com.", RecordType::A), "NXDomain", "internal: asks nobody");
    });
}

#[test]
fn a_server_named_for_a_container_is_answered_for() {
    in_namespaces("net::netd::tests::names::a_server_named_for_a_container_is_answered_for", || {
        let internet = Internet::new();
        let count = server_outside(&internet, &format!("{OUTSIDE}:53"), [192, 0, 2, 80]);
        let server: IpAddr = OUTSIDE.parse().unwrap();
        let other = Container::new(&internet, "other", vec![endpoint(&both_families())]);
        let mut wanted = attach("one", vec![endpoint(&both_families())]);
        wanted.dns = vec![server];
        let one = Container::attach(internet.session(), new_namespace(), wanted).unwrap();
        // Two questions from one port, as resolvers ask for both families; the answers come from the server's address.
        let both = one.run(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.connect(SocketAddr::new(server, 53)).unwrap();
            let questions =
                [("other.", RecordType::A), ("other.", RecordType::AAAA), ("other.", RecordType::A)];
            for (name, kind) in &questions {
                socket.send(&query(name, *kind)).unwrap();
            }
            let mut buffer = [0; 4096];
            let mut answer = || {
                let got = socket.recv(&mut buffer).unwrap();
                read(&buffer[..got])
            };
            let mut answers = questions.map(|_| answer());
            answers.sort();
            // The kernel keeps questions of one length together for as long as it can.
            let one = query("other.", RecordType::A);
            set_option(&socket, libc::SOL_UDP, libc::UDP_SEGMENT, i32::try_from(one.len()).unwrap()).unwrap();
            socket.send(&one.repeat(3)).unwrap();
            for _ in 0..3 {
                assert_eq!(answer(), answers[0]);
            }
            answers
        });
        let (v4, v6) = (other.ip(0, false), other.ip(0, true));
        assert_eq!(both, [format!("NoError {v4}"), format!("NoError {v4}"), format!("NoError {v6}")]);
        assert_eq!(count.load(Ordering::SeqCst), 0, "it was not asked for that");
        assert_eq!(ask(&one, server, "example.com.", RecordType::A), "NoError 192.0.2.80");
        assert_eq!(count.load(Ordering::SeqCst), 1);
        assert_eq!(ask(&other, server, "one.", RecordType::A), "NoError 192.0.2.80", "not named for it");
        assert_eq!(ask_stream(&one, server, &["example.com."]), ["NoError 192.0.2.80"]);
    });
}

#[test]
fn a_slow_answer_is_an_answer() {
    in_namespaces("net::netd::tests::names::a_slow_answer_is_an_answer", || {
        let internet = Internet::new();
        let slow = internet.outside(|| UdpSocket::bind(format!("{OUTSIDE}:53")).unwrap());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((got, from)) = slow.recv_from(&mut buffer) {
                // Longer than until it is asked again.
                std::thread::sleep(Duration::from_millis(1500));
                let asked = Message::from_vec(&buffer[..got]).unwrap();
                let mut message = Message::response(asked.metadata.id, OpCode::Query);
                message.add_queries(asked.queries.iter().cloned());
                let name = asked.queries[0].name().clone();
                message.add_answer(Record::from_rdata(name, 60, RData::A(A([192, 0, 2, 80].into()))));
                // Whoever has asked may be gone.
                slow.send_to(&message.to_vec().unwrap(), from).ok();
            }
        });
        std::fs::write(internet.resolv_conf(), format!("nameserver {OUTSIDE}\n")).unwrap();
        let one = Container::new(&internet, "one", vec![endpoint(&both_families())]);
        let gateway = "10.88.0.1".parse().unwrap();
        assert_eq!(ask(&one, gateway, "example.com.", RecordType::A), "NoError 192.0.2.80");
    });
}

#[test]
fn what_waits_behind_a_failed_query_is_answered() {
    in_namespaces("net::netd::tests::names::what_waits_behind_a_failed_query_is_answered", || {
        let internet = Internet::new();
        // Nobody listens there.
        std::fs::write(internet.resolv_conf(), "nameserver 198.18.0.1\n").unwrap();
        let one = Container::new(&internet, "one", vec![endpoint(&both_families())]);
        let gateway: IpAddr = "10.88.0.1".parse().unwrap();
        let own = format!("NoError {}", one.ip(0, false));
        let names = ["example.com.", "one.", "example.org.", "one."];
        assert_eq!(ask_stream(&one, gateway, &names), ["ServFail", &own, "ServFail", &own]);
        // And one that says with its question that there will be no other.
        let answer = one.run(|| {
            let mut stream = TcpStream::connect(SocketAddr::new(gateway, 53)).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let query = query("example.com.", RecordType::A);
            stream.write_all(&u16::try_from(query.len()).unwrap().to_be_bytes()).unwrap();
            stream.write_all(&query).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            answer
        });
        assert_eq!(answer.get(2..).map(read).as_deref(), Some("ServFail"));
    });
}
