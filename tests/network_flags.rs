//! The flags of networks and ports, each with its effect, as an ordinary user.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::time::Duration;

use common::{Sandbox, free_port, ketch_binary, wait_for};
use serde_json::Value;

/// The variable that makes a test of this binary a server: what to serve.
const SERVE: &str = "KETCH_TEST_SERVE";

/// Not a test by itself: what runs inside containers, where this binary is mounted.
#[test]
fn serve_inside() {
    let Ok(what) = std::env::var(SERVE) else { return };
    let (protocol, port) = what.split_once(':').unwrap();
    let port: u16 = port.parse().unwrap();
    match protocol {
        // Answers each datagram with the client's address and the datagram.
        "udp" => {
            let socket = UdpSocket::bind(("0.0.0.0", port)).unwrap();
            let mut buffer = vec![0; 65_536];
            loop {
                let (got, from) = socket.recv_from(&mut buffer).unwrap();
                let answer = [format!("{from} ").as_bytes(), &buffer[..got]].concat();
                socket.send_to(&answer[..answer.len().min(65_000)], from).unwrap();
            }
        }
        // Tells each client its address.
        _ => {
            let listener = TcpListener::bind(("::", port)).unwrap();
            for client in listener.incoming() {
                let mut client = client.unwrap();
                let peer = client.peer_addr().unwrap();
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                client.write_all(peer.to_string().as_bytes()).ok();
            }
        }
    }
}

/// Starts a container that serves `what` (`udp:9`, `tcp:80`).
#[track_caller]
fn serve(sandbox: &Sandbox, name: &str, what: &str, options: &[&str]) {
    let own = std::env::current_exe().unwrap();
    let (name, mount) = (format!("--name={name}"), format!("-v={}:/serve:ro", own.display()));
    let what = format!("-e={SERVE}={what}");
    let fixed = ["run", "-d", &name, &mount, &what];
    let command = ["bb", "/serve", "--exact", "serve_inside", "--nocapture"];
    sandbox.ok([&fixed[..], options, &command].concat());
}

/// Runs a script in a new container with further `options` of `run`, which has to succeed.
#[track_caller]
fn sh(sandbox: &Sandbox, options: &[&str], script: &str) -> String {
    sandbox.ok([&["run", "--rm"], options, &["bb", "sh", "-c", script]].concat())
}

/// Starts a web server that answers with the container's host name.
#[track_caller]
fn web(sandbox: &Sandbox, name: &str, options: &[&str]) {
    let (name_option, hostname) = (format!("--name={name}"), format!("--hostname={name}"));
    let fixed = ["run", "-d", &name_option, &hostname];
    sandbox.ok([&fixed[..], options, &["bb", "httpd", "-f", "-p", "80", "-h", "/etc"]].concat());
    let listens = "until wget -qO /dev/null http://127.0.0.1/hostname 2> /dev/null; do sleep 0.05; done";
    sandbox.ok(["exec", name, "sh", "-c", listens]);
}

/// What the server at `address` says until it closes.
fn hear(address: SocketAddr) -> Result<String, String> {
    let mut stream =
        TcpStream::connect_timeout(&address, common::deadline()).map_err(|err| err.to_string())?;
    stream.set_read_timeout(Some(common::deadline())).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).map_err(|err| err.to_string())?;
    if said.is_empty() { Err("nothing was said".into()) } else { Ok(said) }
}

/// What a UDP server answers to `datagram`, which is repeated until it does.
fn ask(to: SocketAddr, datagram: &[u8]) -> (SocketAddr, Vec<u8>) {
    let socket = UdpSocket::bind(if to.is_ipv6() { "[::1]:0" } else { "127.0.0.1:0" }).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    socket.connect(to).unwrap();
    let answer = wait_for("an answer", || {
        let mut buffer = vec![0; 65_536];
        socket.send(datagram).map_err(|err| err.to_string())?;
        let got = socket.recv(&mut buffer).map_err(|err| err.to_string())?;
        Ok(buffer[..got].to_vec())
    });
    (socket.local_addr().unwrap(), answer)
}

#[test]
fn a_private_network_leads_out_and_nobody_is_on_it() {
    let sandbox = Sandbox::new();
    let port = free_port();
    web(&sandbox, "shared", &[]);
    web(&sandbox, "alone", &["--network=private", &format!("-p={port}:80")]);
    for word in ["pasta", "slirp4netns:enable_ipv6=false,mtu=1400"] {
        let name = word.split(':').next().unwrap();
        sandbox.ok(["run", "-d", "--name", name, "--network", word, "bb", "sleep", "1000"]);
    }

    let ip = |name: &str| sandbox.inspect(name, ".NetworkSettings.IPAddress");
    let (shared, alone) = (ip("shared"), ip("alone"));
    assert!(alone.starts_with("10.87."), "{alone}");
    assert_ne!(alone, ip("pasta"));
    assert_eq!(sandbox.inspect("alone", ".HostConfig.NetworkMode"), "private");
    assert_eq!(sandbox.inspect("slirp4netns", ".HostConfig.NetworkMode"), "slirp4netns");
    let link = sandbox.ok(["exec", "slirp4netns", "ip", "addr", "show", "eth0"]);
    assert!(link.contains("mtu 1400") && !link.contains("inet6 fd"), "{link}");
    assert!(sandbox.ok(["exec", "alone", "ip", "addr", "show", "eth0"]).contains("inet6 fd"));
    for (from, to) in [("alone", shared.as_str()), ("pasta", alone.as_str()), ("shared", alone.as_str())] {
        let reached = sandbox.ketch(["exec", from, "wget", "-qO-", &format!("http://{to}/hostname")]);
        assert_ne!(reached.code, 0, "{from} reaches {to}: {}", reached.stdout);
    }
    let known = sandbox.ketch(["exec", "alone", "wget", "-qO-", "http://shared/hostname"]);
    assert_ne!(known.code, 0, "no name of another network: {}", known.stdout);
    assert!(sandbox.ok(["exec", "alone", "ip", "route"]).contains("default via 10.87."));
    let mut page = TcpStream::connect(("127.0.0.1", port)).unwrap();
    page.write_all(b"GET /hostname HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    page.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("alone\n"), "{answer}");

    assert_eq!(sandbox.ok(["network", "ls", "-q"]), "ketch", "it is nobody else's to see");
    let connect = sandbox.ketch(["network", "connect", "ketch", "alone"]);
    assert!(connect.fails(125).contains("private network"), "{}", connect.stderr);
    let bad = sandbox.ketch(["run", "--rm", "--network=pasta:-T,80", "bb", "true"]);
    assert!(bad.fails(125).contains("\"-T\""), "{}", bad.stderr);
    sandbox.ok(["stop", "-t0", "alone"]);
    sandbox.ok(["start", "alone"]);
    assert_eq!(ip("alone"), alone, "it has the same address again");
}

#[test]
fn the_hosts_loopback_is_given_to_who_asks_for_it() {
    let sandbox = Sandbox::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            client.unwrap().write_all(b"the host\n").ok();
        }
    });
    let nc = format!("nc -w 5 host.containers.internal {port} < /dev/null");
    // The last one has IPv6 alone, and another address for the same.
    for given in ["pasta:--map-gw", "slirp4netns:allow_host_loopback=true", "pasta:-6,--map-gw"] {
        assert_eq!(sh(&sandbox, &["--network", given], &nc), "the host", "{given}");
    }
    let other = sandbox.ketch(["run", "--rm", "--network=private", "bb", "sh", "-c", &nc]);
    assert_eq!(other.stdout, "", "{other:?}");
}

#[test]
fn a_link_brings_variables_a_hosts_line_and_the_name() {
    let sandbox = Sandbox::new();
    web(&sandbox, "wpdb", &["--expose=80", "--expose=53/udp", "-e=PASSWORD=secret"]);
    let ip = sandbox.inspect("wpdb", ".NetworkSettings.IPAddress");

    let script = "env; cat /etc/hosts; wget -qO- http://my-sql/hostname";
    let seen = sh(&sandbox, &["--name=app", "--link=wpdb:my-sql", "-e=MY_SQL_NAME=own"], script);
    for line in [
        format!("MY_SQL_PORT_80_TCP=tcp://{ip}:80"),
        format!("MY_SQL_PORT_80_TCP_ADDR={ip}"),
        "MY_SQL_PORT_80_TCP_PORT=80".into(),
        "MY_SQL_PORT_80_TCP_PROTO=tcp".into(),
        format!("MY_SQL_PORT_53_UDP=udp://{ip}:53"),
        format!("MY_SQL_PORT=udp://{ip}:53"),
        "MY_SQL_ENV_PASSWORD=secret".into(),
        "MY_SQL_NAME=own".into(),
        format!("{ip}\tmy-sql wpdb"),
        "wpdb".into(),
    ] {
        assert!(seen.lines().any(|seen| seen == line), "{line} in {seen}");
    }
    sandbox.ok(["run", "-d", "--name=app", "--link=wpdb", "bb", "sleep", "1000"]);
    let env = sandbox.ok(["exec", "app", "env"]);
    assert!(env.contains("\nWPDB_NAME=/app/wpdb\n"), "exec has them too: {env}");
    assert_eq!(sandbox.inspect("app", ".HostConfig.Links"), "[/wpdb:/app/wpdb]");

    sandbox.ok(["stop", "-t0", "wpdb"]);
    let stopped = sandbox.ketch(["run", "--rm", "--link=wpdb", "bb", "true"]);
    assert!(stopped.fails(125).contains("does not run"), "{}", stopped.stderr);
}

#[test]
fn a_link_follows_its_container_to_another_address() {
    let sandbox = Sandbox::new();
    sandbox.ok(["network", "create", "--subnet=10.93.77.0/24", "linked"]);
    web(&sandbox, "db", &["--network=linked", "--ip=10.93.77.11"]);
    sandbox.ok(["run", "-d", "--name=app", "--link=db:sql", "--network=linked", "bb", "sleep", "1000"]);
    let line_of = |container: &str, name: &str| {
        let hosts = sandbox.ok(["exec", container, "cat", "/etc/hosts"]);
        hosts.lines().find(|line| line.contains(name)).map(str::to_owned).unwrap_or_default()
    };
    assert_eq!(line_of("app", "sql"), "10.93.77.11\tsql db");
    let becomes = |wanted: &str| {
        wait_for(wanted, || match line_of("app", "sql") {
            line if line == wanted => Ok(()),
            line => Err(line),
        });
    };
    // The same container comes back elsewhere; the other one never stops.
    sandbox.ok(["network", "disconnect", "linked", "db"]);
    sandbox.ok(["network", "connect", "--ip=10.93.77.12", "linked", "db"]);
    becomes("10.93.77.12\tsql db");
    assert_eq!(sandbox.ok(["exec", "app", "wget", "-qO-", "http://sql/hostname"]), "db");
    sandbox.ok(["network", "disconnect", "linked", "db"]);
    sandbox.ok(["network", "connect", "--ip=10.93.77.13", "linked", "db"]);
    sandbox.ok(["restart", "-t0", "db"]);
    becomes("10.93.77.13\tsql db");
    assert_eq!(line_of("db", "10.93.77."), "10.93.77.13\tdb", "its own line is the new one, too");
}

#[test]
fn names_servers_and_hosts_are_what_the_flags_say() {
    let sandbox = Sandbox::new();
    let files = "cat /etc/hosts; echo ==; cat /etc/resolv.conf";
    let options = [
        "--add-host=me:host-gateway",
        "--add-host=db:10.1.2.3",
        "--dns=192.0.2.53",
        "--dns-search=a.test,b.test",
        "--dns-option=ndots:2",
        "--name=box",
        "--hostname=inside",
    ];
    let seen = sh(&sandbox, &options, files);
    let (hosts, resolv) = seen.split_once("==\n").unwrap();
    assert!(hosts.starts_with("169.254.1.2\tme\n10.1.2.3\tdb\n"), "{hosts}");
    assert!(
        hosts.contains("\n169.254.1.2\thost.containers.internal host.docker.internal\n10.88."),
        "{hosts}"
    );
    assert!(hosts.ends_with("\tinside box\n"), "{hosts}");
    assert!(resolv.starts_with("search a.test b.test\nnameserver 192.0.2.53\n"), "{resolv}");
    assert!(resolv.ends_with("options ndots:2"), "{resolv}");
    // As with podman and docker, on a network that somebody made the network's own server is asked.
    sandbox.ok(["network", "create", "--subnet=10.93.78.0/24", "made"]);
    let made = sh(&sandbox, &["--network=made", "--dns=192.0.2.53"], "cat /etc/resolv.conf");
    assert!(made.contains("nameserver 10.93.78.1") && !made.contains("192.0.2.53"), "{made}");
    for private in ["pasta", "slirp4netns", "private"] {
        let seen =
            sh(&sandbox, &["--network", private, "--dns=192.0.2.53"], "grep nameserver /etc/resolv.conf");
        assert_eq!(seen, "nameserver 192.0.2.53", "{private}");
    }
    let of_image = sh(&sandbox, &["--dns=none"], "cat /etc/resolv.conf 2>&1; true");
    assert!(!of_image.contains("nameserver"), "the image's own, which has none: {of_image}");
    let none = sh(&sandbox, &["--no-hosts", "--dns-search=."], "cat /etc/hosts; cat /etc/resolv.conf");
    assert!(!none.contains("inside") && !none.contains("search"), "{none}");
}

#[test]
fn a_new_name_is_known_at_once() {
    let sandbox = Sandbox::new();
    web(&sandbox, "old", &[]);
    sandbox.ok(["run", "-d", "--name=client", "bb", "sleep", "1000"]);
    let fetch =
        |name: &str| sandbox.ketch(["exec", "client", "wget", "-qO-", &format!("http://{name}/hostname")]);
    sandbox.ok(["rename", "client", "c"]);
    sandbox.ok(["rename", "c", "client"]);
    sandbox.ok(["exec", "old", "true"]);
    sandbox.ok(["rename", "old", "new"]);
    assert_eq!(fetch("new").ok(), "old", "its host name stays");
    wait_for("its own hosts file", || {
        let hosts = sandbox.ok(["exec", "new", "cat", "/etc/hosts"]);
        if hosts.ends_with("\told new") { Ok(()) } else { Err(hosts) }
    });
    sandbox.ok(["network", "reload", "new"]);
    assert_eq!(fetch("new").ok(), "old", "its monitor remembers");
}

#[test]
fn links_are_built_anew() {
    let sandbox = Sandbox::new();
    let port = free_port();
    web(&sandbox, "web", &[&format!("-p={port}:80")]);
    let before = sandbox.inspect("web", ".NetworkSettings.IPAddress");
    let id = sandbox.inspect("web", ".Id");
    for args in
        [&["network", "reload", "web"][..], &["network", "reload", "--all"], &["network", "reload", "-l"]]
    {
        wait_for("a reload", || {
            // A container of the last turn may be on its way out still.
            let reloaded = sandbox.ketch(args);
            if reloaded.stdout.lines().any(|line| line == id) { Ok(()) } else { Err(reloaded.stderr) }
        });
        assert_eq!(sh(&sandbox, &[], "wget -qO- http://web/hostname"), "web");
    }
    assert_eq!(sandbox.inspect("web", ".NetworkSettings.IPAddress"), before);
    wait_for("its port", || {
        TcpStream::connect(("127.0.0.1", port))
            .and_then(|mut page| {
                page.write_all(b"GET /hostname HTTP/1.0\r\n\r\n")?;
                let mut answer = String::new();
                page.read_to_string(&mut answer).map(|_| answer)
            })
            .map_err(|err| err.to_string())
            .and_then(|answer| if answer.ends_with("web\n") { Ok(()) } else { Err(answer) })
    });
    sandbox.ok(["stop", "-t0", "web"]);
    assert!(sandbox.ketch(["network", "reload", "web"]).fails(125).contains("does not run"));
    assert_eq!(sandbox.ketch(["network", "reload", "nobody"]).code, 125);
}

#[test]
fn options_of_networks_have_their_effect() {
    let sandbox = Sandbox::new();
    let create = |name: &str, options: &[&str]| {
        sandbox.ok([&["network", "create"], options, &[name]].concat());
    };
    create(
        "small",
        &["-o", "mtu=1400", "--opt", "metric=77", "--opt", "isolate=true", "--interface-name=small0"],
    );
    create("quiet", &["--disable-dns", "--ipv6"]);
    create("apart", &["-o", "com.docker.network.bridge.enable_icc=false"]);
    create("bare", &["--ipam-driver=none"]);
    create(
        "two",
        &[
            "--subnet=10.201.8.0/24",
            "--subnet=fd12:8::/64",
            "--gateway=10.201.8.254",
            "--ip-range=10.201.8.128/25",
            "--route=10.99.0.0/16,10.201.8.7,50",
            "--label=a=b",
        ],
    );
    create("side", &["-o", "no_default_route=true", "--dns=192.0.2.53"]);

    let seen = sh(&sandbox, &["--network=small"], "ip link show eth0; ip route");
    assert!(seen.contains("mtu 1400") && seen.contains("metric 77"), "{seen}");
    let seen = sh(&sandbox, &["--network=quiet"], "cat /etc/resolv.conf; ip addr show eth0");
    assert!(!seen.contains("nameserver 10.89.") && seen.contains("inet6 fd"), "{seen}");
    web(&sandbox, "one", &["--network=apart"]);
    let ip = sandbox.ok(["inspect", "one", "--format={{.NetworkSettings.Networks.apart.IPAddress}}"]);
    let other = ["run", "--rm", "--network=apart", "bb", "wget", "-qO-", &format!("http://{ip}/hostname")];
    assert_ne!(sandbox.ketch(other).code, 0, "its containers do not reach each other");
    assert_eq!(sh(&sandbox, &["--network=bare"], "ip -o addr show eth0 | grep -c 'inet '; true"), "0");
    let seen = sh(&sandbox, &["--network=two"], "ip addr show eth0; ip route");
    assert!(seen.contains("inet 10.201.8.128/24") || seen.contains("inet 10.201.8.129/24"), "{seen}");
    assert!(seen.contains("inet6 fd12:8::2/64") && seen.contains("default via 10.201.8.254"), "{seen}");
    assert!(seen.contains("10.99.0.0/16 via 10.201.8.7 dev eth0  metric 50"), "{seen}");
    let seen = sh(&sandbox, &["--network=side", "--network=small"], "ip route");
    assert!(seen.contains("dev eth1") && seen.matches("default").count() == 1, "{seen}");

    for (options, said) in [
        (&["-o", "isolate=false"][..], "always isolated"),
        (&["-o", "vlan=3"], "unsupported bridge network option vlan"),
        (&["-o", "mtu=9"], "mtu=9"),
        (&["-d", "macvlan"], "only root"),
        (&["-d", "ipvlan", "-o", "parent=eth0"], "only root"),
        (&["--ipam-driver=dhcp"], "dhcp"),
        (&["--gateway=10.1.1.1"], "need a --subnet"),
        (&["--interface-name=far-too-long-a-name"], "interface name"),
    ] {
        let refused = sandbox.ketch([&["network", "create"], options, &["no"]].concat());
        assert!(refused.fails(125).contains(said), "{options:?}: {}", refused.stderr);
    }

    let names = |filter: &str| sandbox.ok(["network", "ls", "-q", "--filter", filter]);
    assert_eq!(names("label=a=b"), "two");
    assert_eq!(names("name=mal"), "small");
    assert_eq!(names("driver=bridge").lines().count(), 7);
    assert_eq!(names("dangling=false"), "apart\nketch", "the default one is never dangling");
    assert_eq!(names("dns_enabled=false"), "bare\nquiet");
    assert_eq!(names("until=1h"), "", "all are younger");
    let shown =
        sandbox.ok(["network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Labels}}", "--filter=name=two"]);
    assert_eq!(shown, "two bridge a=b");
    let inspected: Value = serde_json::from_str(&sandbox.ok(["network", "inspect", "two", "apart"])).unwrap();
    assert_eq!(inspected[0]["subnets"][0]["gateway"], "10.201.8.254");
    assert_eq!(inspected[0]["routes"][0]["metric"], 50);
    let containers = inspected[1]["containers"].as_object().unwrap();
    let one = containers.values().next().unwrap();
    assert_eq!(one["name"], "one");
    assert_eq!(one["interfaces"]["eth0"]["subnets"][0]["ipnet"], format!("{ip}/24"));
    assert_eq!(
        sandbox.ok(["network", "inspect", "-f", "{{range .Subnets}}{{.Subnet}} {{end}}", "two"]),
        "10.201.8.0/24 fd12:8::/64 "
    );
    let pruned = sandbox.ok(["network", "prune", "-f", "--filter=label!=a"]);
    assert!(!pruned.contains("two") && pruned.contains("side"), "{pruned}");
}

#[test]
fn networks_are_found_as_podman_finds_them() {
    let sandbox = Sandbox::new();
    for (name, subnet) in [("neta", "10.201.20.0/24"), ("netb", "10.201.21.0/24")] {
        sandbox.ok(["network", "create", "--subnet", subnet, name]);
    }
    for (pattern, want) in
        [("name=^net", "neta\nnetb"), ("name=a$", "neta"), ("name=^a", ""), ("name=e.b", "netb")]
    {
        assert_eq!(sandbox.ok(["network", "ls", "-q", "--filter", pattern]), want, "{pattern}");
    }
    let subnets = "--format={{range .Subnets}}{{.Subnet}} {{.Gateway}}{{end}}";
    let listed = sandbox.ok(["network", "ls", "--filter=name=neta", subnets]);
    assert_eq!(listed, "10.201.20.0/24 10.201.20.1");
    let id = sandbox.ok(["network", "inspect", "neta", "--format={{.ID}}"]);
    sandbox.ok(["create", "--name=one", "--network=neta", "bb", "true"]);
    let by_id = format!("--filter=network={id}");
    assert_eq!(sandbox.ok(["ps", "-a", &by_id, "--format={{.Names}}"]), "one");
}

#[test]
fn mistakes_are_told_and_not_passed_over() {
    let sandbox = Sandbox::new();
    for (options, said) in [
        (&["--network=none", "-p=1:2:3:4:5"][..], "invalid port"),
        (&["--network=ketch:alias="], "alias cannot be empty"),
        (&["--network=ketch:interface_name=lo"], "invalid interface name"),
        (&["--network=ketch:ip=10.88.0.8,ip=10.88.0.9"], "of which a container has one"),
        (&["--dns=none", "--dns=192.0.2.1"], "none is not allowed"),
        (&["--dns=none", "--dns-search=a.b"], "UseImageResolvConf and DNSSearch"),
        (&["--dns=none", "--dns-option=ndots:1"], "UseImageResolvConf and DNSOption"),
    ] {
        let refused = sandbox.ketch([&["run", "--rm"], options, &["bb", "true"]].concat());
        assert!(refused.fails(125).contains(said), "{options:?}: {}", refused.stderr);
    }
}

#[test]
fn a_container_has_an_address_of_every_subnet() {
    let sandbox = Sandbox::new();
    sandbox.ok(["network", "create", "--subnet=10.201.22.0/24", "--subnet=10.201.23.0/24", "n"]);
    let given = "ip -o -4 addr show eth0 | grep -o '10[.0-9]*/24'; ip route | grep -c default";
    // The bridge stays, and with it what was given last.
    sandbox.ok(["run", "-d", "--name=hold", "--network=n", "bb", "sleep", "1000"]);
    assert_eq!(sh(&sandbox, &["--network=n"], given), "10.201.22.3/24\n10.201.23.3/24\n1");
    assert_eq!(sh(&sandbox, &["--network=n:ip=10.201.23.9"], given), "10.201.22.4/24\n10.201.23.9/24\n1");
}

#[test]
fn addresses_that_were_asked_for() {
    let sandbox = Sandbox::new();
    sandbox.ok(["network", "create", "--subnet=10.201.9.0/24", "--subnet=fd12:9::/64", "n"]);
    let options = ["--network=n", "--ip=10.201.9.77", "--ip6=fd12:9::77", "--mac-address=02:00:00:00:00:77"];
    sandbox.ok([&["run", "-d", "--name=a"], &options[..], &["bb", "sleep", "1000"]].concat());
    let settings = sandbox.inspect("a", "json .NetworkSettings.Networks.n");
    let settings: Value = serde_json::from_str(&settings).unwrap();
    for (key, want) in [
        ("IPAddress", "10.201.9.77"),
        ("GlobalIPv6Address", "fd12:9::77"),
        ("MacAddress", "02:00:00:00:00:77"),
        ("Gateway", "10.201.9.1"),
        ("IPv6Gateway", "fd12:9::1"),
    ] {
        assert_eq!(settings[key], want, "{settings}");
    }
    let taken = sandbox.ketch(["run", "--rm", "--network=n:ip=10.201.9.77", "bb", "true"]);
    assert!(taken.fails(125).contains("is already allocated to another container"), "{}", taken.stderr);
    let outside = sandbox.ketch(["run", "--rm", "--network=n", "--ip=10.9.9.9", "bb", "true"]);
    assert!(outside.fails(125).contains("not in any subnet"), "{}", outside.stderr);
    let named = sh(&sandbox, &["--network=n:interface_name=lan0,mac=02:00:00:00:00:01"], "ip addr show lan0");
    assert!(named.contains("02:00:00:00:00:01"), "{named}");
}

#[test]
fn datagrams_reach_a_published_port_of_both_families() {
    let sandbox = Sandbox::new();
    let port = free_port();
    serve(&sandbox, "echo", "udp:9", &[&format!("-p={port}:9/udp")]);
    for ip in ["127.0.0.1", "::1"] {
        let (_, answer) = ask(SocketAddr::new(ip.parse().unwrap(), port), b"hello");
        // A client on the host's loopback is the gateway to the container.
        assert!(answer.starts_with(b"10.88.0.1:") && answer.ends_with(b" hello"), "{ip}: {answer:?}");
    }
    let large = vec![b'x'; 50_000];
    let (_, answer) = ask(SocketAddr::new("127.0.0.1".parse().unwrap(), port), &large);
    assert!(answer.ends_with(&large), "{} bytes", answer.len());
    let listed = sandbox.ok(["port", "echo"]);
    assert_eq!(listed, format!("9/udp -> 0.0.0.0:{port}"));
}

#[test]
fn a_client_is_seen_under_its_own_address() {
    let sandbox = Sandbox::new();
    let port = free_port();
    serve(&sandbox, "who", "tcp:80", &[&format!("-p={port}:80"), "--network=private"]);
    let seen = |ip: &str| {
        let to = SocketAddr::new(ip.parse().unwrap(), port);
        wait_for("the server", || hear(to))
    };
    assert!(seen("127.0.0.1").starts_with("10.87."), "loopback clients are the gateway");
    assert!(seen("::1").contains(':'));
    // From another address of the host to the same one: what a client elsewhere would be.
    let Some(own) = host_address() else { return };
    let said = seen(&own);
    assert!(said.starts_with(&format!("{own}:")), "{said} from {own}");
}

/// An address of this host that is not loopback, if it has one.
fn host_address() -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then(|| ip.to_string())
}

#[test]
fn ports_may_be_ranges_any_or_thousands() {
    let sandbox = Sandbox::new();
    let base = free_port();
    let range = format!("-p=127.0.0.1:{base}-{}:80-82", base + 2);
    web(&sandbox, "range", &[&range, "-p=90-91", "-p=[::1]::92"]);
    let listed = sandbox.ok(["port", "range"]);
    assert_eq!(listed.lines().count(), 6, "{listed}");
    assert!(listed.contains(&format!("82/tcp -> 127.0.0.1:{}", base + 2)), "{listed}");
    assert!(listed.contains("92/tcp -> [::1]:") || listed.contains("92/tcp -> ::1:"), "{listed}");
    sandbox.ok(["rm", "-f", "-t0", "range"]);

    // One port for a range of the host's: the first that is free.
    // Should another test have it by now, it is just as taken.
    let _taken = std::net::TcpListener::bind(("127.0.0.1", base)).ok();
    let one = format!("-p=127.0.0.1:{base}-{}:80", base + 20);
    web(&sandbox, "one", &[&one]);
    let port = sandbox.ok(["port", "one", "80"]);
    let port: u16 = port.rsplit(':').next().unwrap().parse().unwrap();
    assert!((base + 1..=base + 20).contains(&port), "{port} of {base}");
    sandbox.ok(["rm", "-f", "-t0", "one"]);

    // REL-67: podman fails with "argument list too long".
    let started = std::time::Instant::now();
    web(&sandbox, "many", &["-P", "--expose=1-3000", "--expose=53/udp"]);
    assert!(started.elapsed() < common::deadline(), "{:?}", started.elapsed());
    let ports = sandbox.ok(["port", "many"]);
    assert_eq!(ports.lines().count(), 3001, "{}", &ports[..200]);
    assert_eq!(sandbox.inspect("many", ".HostConfig.PublishAllPorts"), "true");
    let port = sandbox.ok(["port", "many", "80"]);
    let port: u16 = port.rsplit(':').next().unwrap().parse().unwrap();
    let mut page = TcpStream::connect(("127.0.0.1", port)).unwrap();
    page.write_all(b"GET /hostname HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    page.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("many\n"), "{answer}");
}

#[test]
fn a_port_that_is_taken_names_its_owner() {
    let sandbox = Sandbox::new();
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let taken = sandbox.ketch(["run", "--rm", "-p", &format!("{port}:80"), "bb", "true"]);
    let message = taken.fails(125);
    assert!(message.contains(&format!("publish port {port}/tcp")), "{message}");
    assert!(message.contains(&format!("process {} (", std::process::id())), "{message}");
    let elsewhere = sandbox.ketch(["run", "--rm", "-p", "192.0.2.77:8080:80", "bb", "true"]);
    assert!(elsewhere.fails(125).contains("no address of this host"), "{}", elsewhere.stderr);
    let start = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    if start.trim() == "1024" {
        let low = sandbox.ketch(["run", "--rm", "-p", "81:80", "bb", "true"]);
        assert!(low.fails(125).contains("ip_unprivileged_port_start=81"), "{}", low.stderr);
    }
    let twice = sandbox.ketch(["create", "-p", "8080:80", "-p", "8080:81", "bb", "true"]);
    assert!(twice.fails(125).contains("published twice"), "{}", twice.stderr);
    assert!(sandbox.names().is_empty(), "nothing is left");
}

#[test]
fn a_socket_that_systemd_passed_serves_the_port() {
    let sandbox = Sandbox::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // The test's own copy stays open until the shell has one.
    rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::empty()).unwrap();
    let script = format!(
        "export LISTEN_PID=$$ LISTEN_FDS=1; exec {} run -d --name=web --hostname=web -p 127.0.0.1:{port}:80 bb httpd -f -p 80 -h /etc 3<&{}",
        ketch_binary().display(),
        listener.as_raw_fd()
    );
    let mut command = Command::new("bash");
    command.args(["-c", &script]).env("KETCH_ROOT", sandbox.store()).env("KETCH_NETWORK_LINGER", "1");
    let output = command.env("HOME", sandbox.path("home")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    drop(listener);
    let answer = wait_for("the server to listen", || {
        let fetch = || {
            let mut page = TcpStream::connect(("127.0.0.1", port))?;
            page.write_all(b"GET /hostname HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            page.read_to_string(&mut answer)?;
            Ok::<_, std::io::Error>(answer)
        };
        fetch().map_err(|err| err.to_string())
    });
    assert!(answer.ends_with("web\n"), "{answer}");
}
