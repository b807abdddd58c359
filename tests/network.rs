//! Networks from the command line, as an ordinary user: names, ports, several networks, coming and going.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::process::private_dirty;
use common::{Sandbox, free_port};
use serde_json::Value;

/// A sandbox whose network helper ends soon after its last container.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.ok(["network", "ls"]);
    sandbox
}

/// Runs a script in a new container with further `options` of `run`, which has to succeed.
#[track_caller]
fn sh(sandbox: &Sandbox, options: &[&str], script: &str) -> String {
    let mut args = vec!["run", "--rm"];
    args.extend(options);
    args.extend(["bb", "sh", "-c", script]);
    sandbox.command(args).run().ok().to_owned()
}

/// Waits, inside, until the web server listens.
const LISTENS: &str = "until wget -qO /dev/null http://127.0.0.1/hostname 2> /dev/null; do sleep 0.05; done";

/// Starts a web server that answers with the container's host name.
#[track_caller]
fn server(sandbox: &Sandbox, name: &str, options: &[&str]) {
    let name = format!("--name={name}");
    let mut args = vec!["run", "-d", &name, "--hostname", &name[7..]];
    args.extend(options);
    args.extend(["bb", "httpd", "-f", "-p", "80", "-h", "/etc"]);
    sandbox.command(args).run().ok();
    sandbox.ok(["exec", &name[7..], "sh", "-c", LISTENS]);
}

/// What the server at `address` answers to GET /hostname; nothing if it cannot be reached.
fn fetch(address: &str) -> String {
    let address: SocketAddr = address.parse().unwrap();
    let Ok(mut stream) = TcpStream::connect_timeout(&address, common::deadline()) else {
        return String::new();
    };
    stream.set_read_timeout(Some(common::deadline())).unwrap();
    let mut answer = String::new();
    if stream.write_all(b"GET /hostname HTTP/1.0\r\n\r\n").is_err()
        || stream.read_to_string(&mut answer).is_err()
    {
        return String::new();
    }
    answer.rsplit("\r\n\r\n").next().unwrap_or_default().trim().to_owned()
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + common::deadline();
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn containers_of_the_default_network_talk_by_name() {
    let sandbox = sandbox();
    server(&sandbox, "web", &[]);

    let seen = sh(&sandbox, &[], "wget -qO- http://web/hostname; cat /etc/hosts /etc/resolv.conf; ip route");

    assert!(seen.starts_with("web\n"), "{seen}");
    assert!(seen.contains("169.254.1.2\thost.containers.internal host.docker.internal\n"), "{seen}");
    assert!(seen.contains("search dns.podman"), "{seen}");
    assert!(seen.contains("nameserver 10."), "{seen}");
    assert!(seen.contains("default via 10."), "{seen}");
    let ip = sandbox.ok(["inspect", "web", "--format", "{{.NetworkSettings.IPAddress}}"]);
    assert!(seen.contains(&ip.rsplit_once('.').unwrap().0[..5].to_owned()), "{ip} {seen}");
    let inspected: Value = serde_json::from_str(&sandbox.ok(["network", "inspect", "ketch"])).unwrap();
    assert_eq!(inspected[0]["containers"].as_object().unwrap().len(), 1, "{inspected}");
}

#[test]
fn published_ports_reach_the_container_and_are_listed() {
    let sandbox = sandbox();
    let (fixed, local) = (free_port(), free_port());
    let publish = [format!("-p={fixed}:80"), format!("-p=127.0.0.1:{local}:80"), "-p=81".to_owned()];
    let options: Vec<&str> = publish.iter().map(String::as_str).collect();
    server(&sandbox, "web", &options);

    wait_until("the server listens", || fetch(&format!("127.0.0.1:{fixed}")) == "web");
    assert_eq!(fetch(&format!("[::1]:{fixed}")), "web", "IPv6 clients reach an IPv4 container");
    assert_eq!(fetch(&format!("127.0.0.1:{local}")), "web");

    let ports = sandbox.ok(["port", "web"]);
    assert!(ports.contains(&format!("80/tcp -> 0.0.0.0:{fixed}")), "{ports}");
    assert!(ports.contains(&format!("80/tcp -> 127.0.0.1:{local}")), "{ports}");
    assert_eq!(ports.lines().count(), 3, "{ports}");
    let shown = sandbox.ok(["ps", "--format", "{{.Ports}}"]);
    assert!(shown.contains(&format!("0.0.0.0:{fixed}->80/tcp")), "{shown}");
    let bound = sandbox.ok(["inspect", "web", "--format", "{{json .NetworkSettings.Ports}}"]);
    assert!(bound.contains(&format!("\"HostPort\":\"{fixed}\"")), "{bound}");

    let taken = sandbox.ketch(["run", "--rm", "-p", &format!("{fixed}:80"), "bb", "true"]);
    assert_eq!(taken.code, 125, "{}", taken.stderr);
    assert!(taken.stderr.contains(&format!("publish port {fixed}/tcp")), "{}", taken.stderr);
    assert!(taken.stderr.contains("publishes it already"), "{}", taken.stderr);

    sandbox.ok(["stop", "-t0", "web"]);
    wait_until("the port is free again", || std::net::TcpListener::bind(("0.0.0.0", fixed)).is_ok());
    sandbox.ok(["start", "web"]);
    wait_until("it is published again", || fetch(&format!("127.0.0.1:{fixed}")) == "web");
}

#[test]
fn networks_of_ones_own() {
    let sandbox = sandbox();
    assert_eq!(sandbox.ok(["network", "create", "--subnet", "10.201.7.0/24", "mine"]), "mine");
    assert_eq!(sandbox.ok(["network", "create", "--internal", "shut"]), "shut");
    let again = sandbox.ketch(["network", "create", "mine"]);
    assert_eq!(again.code, 125, "{}", again.stderr);
    assert!(again.stderr.contains("network name mine already used"), "{}", again.stderr);
    server(&sandbox, "web", &["--network", "mine:ip=10.201.7.9,alias=www", "--network", "shut"]);

    assert_eq!(sh(&sandbox, &["--network=mine"], "wget -qO- http://www/hostname"), "web");
    assert_eq!(sh(&sandbox, &["--network=mine"], "wget -qO- http://10.201.7.9/hostname"), "web");
    assert_eq!(sh(&sandbox, &["--network=shut"], "wget -qO- http://web/hostname"), "web");
    let other = sandbox.ketch(["run", "--rm", "bb", "wget", "-qO-", "http://10.201.7.9/hostname"]);
    assert_eq!(other.code, 1, "another network: {}", other.stdout);
    let route = sh(&sandbox, &["--network=shut"], "ip route");
    assert!(!route.contains("default"), "{route}");

    let used = sandbox.ketch(["network", "rm", "mine"]);
    assert_eq!(used.code, 2, "{}", used.stderr);
    assert_eq!(sandbox.ok(["network", "rm", "-f", "mine"]), "mine");
    assert!(!sandbox.ok(["ps", "-a"]).contains("web"));
    assert_eq!(sandbox.ketch(["network", "rm", "mine"]).code, 1);
    assert_eq!(sandbox.ketch(["network", "exists", "mine"]).code, 1);
    assert_eq!(sandbox.ketch(["network", "exists", "ketch"]).code, 0);
    assert_eq!(sandbox.ok(["network", "prune", "-f"]), "shut");
    assert_eq!(sandbox.ok(["network", "ls", "-q"]), "ketch");
    assert_eq!(sandbox.ketch(["network", "rm", "ketch"]).code, 125, "the default one stays");
}

#[test]
fn a_running_container_is_connected_and_taken_off() {
    let sandbox = sandbox();
    for network in ["a", "b"] {
        sandbox.ok(["network", "create", network]);
    }
    server(&sandbox, "web", &["--network=a"]);
    let reach = || {
        let fetch = ["run", "--rm", "--network=b", "bb", "wget", "-qO-", "http://www/hostname"];
        sandbox.ketch(fetch).stdout
    };
    assert_eq!(reach(), "");
    sandbox.ok(["network", "connect", "--alias=www", "b", "web"]);
    assert_eq!(reach(), "web\n");
    wait_until("its hosts file knows", || {
        sandbox.ok(["exec", "web", "cat", "/etc/hosts"]).matches("\tweb").count() == 2
    });
    assert_eq!(sandbox.ketch(["network", "connect", "b", "web"]).code, 125, "twice");
    sandbox.ok(["restart", "-t0", "web"]);
    wait_until("it is still on both", || reach() == "web\n");
    sandbox.ok(["network", "disconnect", "b", "web"]);
    assert_eq!(reach(), "");
    assert_eq!(sandbox.ok(["ps", "--filter", "network=a", "-q"]).lines().count(), 1);
}

#[test]
fn the_helper_comes_back_and_goes_away() {
    let sandbox = sandbox();
    let port = free_port();
    server(&sandbox, "web", &[&format!("-p={port}:80")]);
    wait_until("the server listens", || fetch(&format!("127.0.0.1:{port}")) == "web");
    let held = || {
        let file = std::fs::File::open(sandbox.path("store/net/netd.lock")).unwrap();
        matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock))
    };
    assert!(held());
    let netd = sandbox.netd();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(netd), nix::sys::signal::Signal::SIGKILL).unwrap();
    wait_until("the port answers again", || fetch(&format!("127.0.0.1:{port}")) == "web");
    assert_ne!(sandbox.netd(), netd, "another process");
    sandbox.ok(["rm", "-f", "-t0", "web"]);
    wait_until("the helper ends", || !held());
}

#[test]
fn a_linked_container_is_known_by_its_alias() {
    let sandbox = sandbox();
    server(&sandbox, "wpdb", &[]);
    assert_eq!(sh(&sandbox, &["--link=wpdb:mysql"], "wget -qO- http://mysql/hostname"), "wpdb");
    let unlinked = sandbox.ketch(["run", "--rm", "bb", "wget", "-qO-", "http://mysql/hostname"]);
    assert_eq!(unlinked.code, 1, "{}", unlinked.stdout);
}

#[test]
fn the_helper_has_given_up_what_it_does_not_need() {
    let sandbox = sandbox();
    server(&sandbox, "web", &[]);
    let status = std::fs::read_to_string(format!("/proc/{}/status", sandbox.netd())).unwrap();
    for (field, want) in [("NoNewPrivs:", "1"), ("Seccomp:", "2")] {
        let line = status.lines().find(|line| line.starts_with(field)).unwrap_or_default();
        assert_eq!(line.split_whitespace().nth(1), Some(want), "{line}");
    }
    // Its threads, which are in other namespaces, are confined as it is.
    let tasks = std::fs::read_dir(format!("/proc/{}/task", sandbox.netd())).unwrap();
    let confined = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("status")).unwrap());
    let confined: Vec<bool> = confined.map(|status| status.contains("Seccomp:\t2")).collect();
    assert!(confined.len() >= 3 && confined.iter().all(|yes| *yes), "{confined:?}");
}

#[test]
fn a_self_test_says_what_works() {
    let sandbox = sandbox();
    let check = sandbox.ketch(["network", "check"]);
    assert_eq!(check.code, 0, "{}{}", check.stdout, check.stderr);
    for what in
        ["kernel: nf_tables", "resolve", "connect to the host", "datagrams", "refused", "published port"]
    {
        assert!(check.stdout.contains(what), "{what}: {}", check.stdout);
    }
    assert!(!check.stdout.contains("FAILED"), "{}", check.stdout);
    let findings: Value = serde_json::from_str(&sandbox.ok(["network", "check", "--format=json"])).unwrap();
    assert!(findings.as_array().unwrap().iter().all(|finding| finding["works"] == true), "{findings}");
}

#[test]
fn fifty_containers_know_each_other() {
    let sandbox = sandbox();
    sandbox.ok(["network", "create", "many"]);
    let names: Vec<String> = (0..50).map(|n| format!("c{n}")).collect();
    for name in &names {
        sandbox.ok(["run", "-d", "--name", name, "--network=many", "bb", "sleep", "1000"]);
    }
    let listed: Value = serde_json::from_str(&sandbox.ok(["network", "inspect", "many"])).unwrap();
    assert_eq!(listed[0]["containers"].as_object().unwrap().len(), 50);
    // Each asks for all others, in one go.
    let script = "for n in $(seq 0 49); do nslookup c$n | grep -q 'Address: 10.89.' || echo lost c$n; done";
    for name in names.iter().step_by(7) {
        assert_eq!(sandbox.ok(["exec", name, "sh", "-c", script]), "", "{name}");
    }
    let kib = private_dirty(sandbox.netd());
    assert!(kib < 8 * 1024, "{kib} KiB for 50 containers; 4 MiB are the limit for 20 of a release build");
}

#[test]
fn the_helper_dies_under_traffic_and_connections_are_reset() {
    let sandbox = sandbox();
    let port = free_port();
    // A page far larger than what can be under way.
    let script = "mkdir /w; dd if=/dev/zero of=/w/big bs=1M count=200 2>/dev/null; echo up > /w/small; httpd -f -p 80 -h /w";
    sandbox.ok(["run", "-d", "--name=web", &format!("-p={port}:80"), "bb", "sh", "-c", script]);
    let ask = |page: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.write_all(format!("GET /{page} HTTP/1.0\r\n\r\n").as_bytes())?;
        std::io::Result::Ok(stream)
    };
    let answers = || {
        let mut answer = String::new();
        ask("small")
            .and_then(|mut stream| stream.read_to_string(&mut answer))
            .is_ok_and(|_| answer.ends_with("up\n"))
    };
    wait_until("the server is up", answers);
    for _round in 0..3 {
        let mut stream = ask("big").unwrap();
        stream.read_exact(&mut [0; 100_000]).unwrap();
        let netd = sandbox.netd();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(netd), nix::sys::signal::Signal::SIGKILL).unwrap();
        let end = std::io::copy(&mut stream, &mut std::io::sink());
        assert!(end.is_err(), "a cut-off page must not look complete: {end:?}");
        wait_until("the port answers again", answers);
    }
    assert_eq!(sandbox.ok(["exec", "web", "cat", "/w/small"]), "up", "the container runs on");
}

/// Who is told of the end of a container finds its ports and its address free, however busy the machine is.
#[test]
fn ports_and_addresses_are_free_at_the_end() {
    let sandbox = Sandbox::new();
    let port = free_port();
    let [tcp, udp] = [format!("-p={port}:80"), format!("-p={port}:80/udp")];
    let args = ["run", "-d", "--name=c", &tcp, &udp, "bb", "sleep", "1000"];
    sandbox.ok(args);
    let ip = sandbox.inspect("c", ".NetworkSettings.IPAddress");
    let done = Arc::new(AtomicBool::new(false));
    let busy: Vec<_> = (0..2)
        .map(|_| {
            let done = Arc::clone(&done);
            std::thread::spawn(move || while !done.load(Ordering::Relaxed) {})
        })
        .collect();
    for _ in 0..10 {
        sandbox.ok(["stop", "-t0", "c"]);
        sandbox.ok(["start", "c"]);
        assert_eq!(sandbox.inspect("c", ".NetworkSettings.IPAddress"), ip);
    }
    for _ in 0..5 {
        sandbox.ok(["rm", "-f", "-t0", "c"]);
        sandbox.ok(args);
    }
    let address = format!("--ip={ip}");
    for _ in 0..5 {
        sandbox.ok(["rm", "-f", "-t0", "c"]);
        sandbox.ok(["run", "-d", "--name=c", &address, "bb", "sleep", "1000"]);
    }
    done.store(true, Ordering::Relaxed);
    busy.into_iter().for_each(|thread| thread.join().unwrap());
}
