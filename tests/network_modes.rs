//! `ketch run --network`: none, host, another container's, a namespace by its path.

mod common;

use std::io::{Read, Write};
use std::net::TcpListener;

use common::Sandbox;

/// Names of all interfaces, one a line.
const INTERFACES: &str = "ls /sys/class/net";

#[test]
fn none_has_loopback_and_nothing_else() {
    let sandbox = Sandbox::new();
    for option in ["--network=none", "--net=none"] {
        let output = sandbox.ketch(["run", "--rm", option, "bb", "sh", "-c", &format!("{INTERFACES}; ip -o -4 addr show lo | grep -c 127.0.0.1; ip link show lo | grep -o LOOPBACK,UP")]);
        assert_eq!(output.ok(), "lo\n1\nLOOPBACK,UP");
    }
}

#[test]
fn host_is_the_network_of_the_caller() {
    let sandbox = Sandbox::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let port = listener.local_addr().expect("an address").port();
    let server = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("accept");
        client.write_all(b"from the host\n").expect("answer");
    });
    let output = sandbox.ketch(["run", "--rm", "--network=host", "bb", "nc", "127.0.0.1", &port.to_string()]);
    assert_eq!(output.ok(), "from the host");
    server.join().expect("the server");
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("the host's name");
    assert_eq!(
        sandbox
            .ok(["run", "--rm", "--network=host", "bb", "sh", "-c", "cat /etc/resolv.conf | wc -l; hostname"])
            .lines()
            .last(),
        Some(hostname.trim())
    );
}

#[test]
fn commands_and_checks_join_containers_with_namespaces_of_the_host() {
    let sandbox = Sandbox::new();
    let own = |kind: &str| std::fs::read_link(format!("/proc/self/ns/{kind}")).expect("a namespace of ours");
    for (option, kind) in [
        ("--network=host", "net"),
        ("--ipc=host", "ipc"),
        ("--uts=host", "uts"),
        ("--pid=host", "pid"),
        ("--cgroupns=host", "cgroup"),
    ] {
        sandbox.start("c", &[option, "--health-cmd=true", "--health-interval=disable"], "exec sleep 1000");
        let link = sandbox.ok(["exec", "c", "readlink", &format!("/proc/self/ns/{kind}")]);
        assert_eq!(Some(link.as_str()), own(kind).to_str(), "{option}");
        let others = sandbox.ok(["exec", "c", "readlink", "/proc/self/ns/mnt"]);
        assert_ne!(Some(others.as_str()), own("mnt").to_str(), "{option}: all else is the container's");
        assert_eq!(sandbox.ketch(["healthcheck", "run", "c"]).code, 0, "{option}");
        sandbox.ok(["rm", "-f", "-t0", "c"]);
    }
}

#[test]
fn containers_can_share_one_network() {
    let sandbox = Sandbox::new();
    sandbox.start("server", &[], "echo hello | nc -l -p 8080; exec sleep 100");
    let output = sandbox.ketch([
        "run",
        "--rm",
        "--network=container:server",
        "bb",
        "sh",
        "-c",
        "until nc 127.0.0.1 8080; do sleep 0.05; done",
    ]);
    assert_eq!(output.ok(), "hello");

    let process = sandbox.inspect("server", ".State.Pid");
    let path = format!("--network=ns:/proc/{process}/ns/net");
    let own = std::fs::read_link(format!("/proc/{process}/ns/net")).expect("its namespace");
    let joined = sandbox.ok(["run", "--rm", &path, "bb", "readlink", "/proc/self/ns/net"]);
    assert_eq!(joined, own.to_string_lossy());
}

#[test]
fn a_network_that_is_not_there_is_named() {
    let sandbox = Sandbox::new();
    sandbox.ok(["create", "--name=stopped", "--net=none", "bb", "true"]);
    for (mode, said) in [
        ("container:nosuch", "nosuch"),
        ("container:stopped", "not running"),
        ("ns:/nosuch", "/nosuch"),
        ("ns:/etc/passwd", "/etc/passwd"),
        ("bogus", "bogus"),
    ] {
        let output = sandbox.ketch(["run", "--rm", "--network", mode, "bb", "true"]);
        assert!(output.fails(125).contains(said), "{mode}: {}", output.stderr);
    }
    assert_eq!(sandbox.names(), ["stopped"]);
}

/// The server in a container is not reachable from outside it, and the caller's servers not from inside.
#[test]
fn the_networks_of_two_containers_are_apart() {
    let sandbox = Sandbox::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let port = listener.local_addr().expect("an address").port();
    let output = sandbox.sh(&[], &format!("nc -w 2 127.0.0.1 {port} < /dev/null"));
    assert_eq!(output.code, 1, "{output:?}");
    listener.set_nonblocking(true).expect("non-blocking");
    let nobody = listener.accept().map(|(mut client, _)| client.read(&mut [0]).is_ok());
    assert!(nobody.is_err(), "nothing has reached the host");
}

#[test]
fn a_container_finds_itself_in_its_hosts_file() {
    let sandbox = Sandbox::new();
    sandbox.start("other", &["--hostname=theirs", "--add-host=known:10.1.1.1"], "exec sleep 100");
    let namespace = format!("--network=ns:/proc/{}/ns/net", sandbox.inspect("other", ".State.Pid"));
    let script = "for n in box web; do grep -qw $n /etc/hosts && echo $n; done; grep -w -o -e theirs -e known /etc/hosts; hostname";
    for (mode, more) in [
        ("--network=none", ""),
        ("--network=private", ""),
        ("--network=container:other", "known\ntheirs\n"),
        (namespace.as_str(), ""),
    ] {
        let output = sandbox.sh(&["--name=web", "--hostname=box", mode], script);
        assert_eq!(output.stdout, format!("box\nweb\n{more}box\n"), "{mode}: {}", output.stderr);
    }
}

#[test]
fn every_group_of_a_container_may_ping_in_its_own_network() {
    let sandbox = Sandbox::new();
    let gid = rustix::process::getgid().as_raw();
    for (options, want) in [
        (&[][..], "0\t65536".to_owned()),
        (&["--userns=nomap"], "0\t65535".to_owned()),
        (&["--userns=keep-id"], format!("{gid}\t65536")),
        (&["--sysctl=net.ipv4.ping_group_range=1 5"], "1\t5".to_owned()),
    ] {
        // The kernel takes only groups that are mapped, and shows what it took.
        let output = sandbox.sh(options, "cat /proc/sys/net/ipv4/ping_group_range");
        assert_eq!(output.ok(), want, "{options:?}");
    }
}
