//! The process that carries the containers' traffic is killed, or names are asked for meanwhile: connections are lost, nothing else.
//! And the namespace it works in, as the user sees it.

mod common;

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};

use common::{Sandbox, free_port, wait_for};
use rustix::process::{Pid, Signal};

/// Two containers of one network: `web`, which answers with its name, and `other`; the port of the host that leads to `web`.
fn two(sandbox: &Sandbox) -> u16 {
    let port = free_port();
    sandbox.ok(["network", "create", "n"]);
    let publish = format!("-p=127.0.0.1:{port}:80");
    let serve = ["bb", "httpd", "-f", "-p", "80", "-h", "/etc"];
    let web = ["run", "-d", "--name=web", "--hostname=web", "--network=n", &publish];
    sandbox.ok([&web[..], &serve[..]].concat());
    sandbox.ok(["run", "-d", "--name=other", "--network=n", "bb", "sleep", "1000"]);
    wait_for("the server", || if fetch(port) == "web" { Ok(()) } else { Err(fetch(port)) });
    port
}

/// What the server behind a port of the host answers; nothing if it cannot be reached.
fn fetch(port: u16) -> String {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return String::new() };
    let mut answer = String::new();
    let asked = stream
        .set_read_timeout(Some(common::deadline()))
        .and_then(|()| stream.write_all(b"GET /hostname HTTP/1.0\r\n\r\n"))
        .and_then(|()| stream.read_to_string(&mut answer));
    asked.map_or_else(
        |_| String::new(),
        |_| answer.rsplit("\r\n\r\n").next().unwrap_or_default().trim().to_owned(),
    )
}

/// Kills the network helper and waits until another one serves.
fn kill_helper(sandbox: &Sandbox) {
    let helper = sandbox.netd();
    let pid = Pid::from_raw(helper).expect("a process ID");
    rustix::process::kill_process(pid, Signal::KILL).expect("kill a process of this test");
    wait_for("another helper", || {
        // Between the two nobody holds the lock.
        match std::panic::catch_unwind(|| sandbox.netd()) {
            Ok(now) if now != helper => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

/// What container `other` has on its network, and whether `web` can be reached from there by name.
fn seen_from_inside(sandbox: &Sandbox) -> (String, String) {
    let addresses =
        "ip -o addr show dev eth0 | sed 's/valid_lft.*//; s/ tentative//'; ip route; cat /etc/resolv.conf";
    let reached = sandbox.ketch(["exec", "other", "wget", "-qO-", "http://web/hostname"]);
    (sandbox.ok(["exec", "other", "sh", "-c", addresses]), reached.stdout)
}

/// REL-08: the same interface, addresses, routes and names as before, and an event that tells of it.
#[test]
fn rel_08_a_killed_helper_is_back_with_what_the_containers_had() {
    let sandbox = Sandbox::new();
    two(&sandbox);
    let before = seen_from_inside(&sandbox);
    assert_eq!(before.1, "web\n", "{before:?}");
    for _ in 0..2 {
        kill_helper(&sandbox);
        wait_for("the network as it was", || {
            let now = seen_from_inside(&sandbox);
            if now == before { Ok(()) } else { Err(format!("{now:?}, and before {before:?}")) }
        });
    }
    wait_for("an event of each container", || {
        let events =
            sandbox.ok(["events", "--stream=false", "--filter=event=network_restored", "--format={{.Name}}"]);
        if ["web", "other"].iter().all(|name| events.contains(name)) { Ok(()) } else { Err(events) }
    });
    let listed = sandbox.ketch(["ps", "--format={{.Names}}"]);
    assert_eq!((listed.ok().lines().count(), listed.stderr.as_str()), (2, ""), "and nothing to warn of");
}

/// REL-08: where it cannot be started again, `ps` says so and goes on listing; it is back as soon as it can be.
#[test]
fn rel_08_a_helper_that_cannot_come_back_is_said_to_be_missing() {
    let sandbox = Sandbox::new();
    let port = two(&sandbox);
    // The monitors are held still: nobody starts it.
    let monitors: Vec<Pid> = ["web", "other"]
        .map(|name| {
            sandbox
                .inspect(name, ".State.ConmonPid")
                .parse()
                .ok()
                .and_then(Pid::from_raw)
                .expect("a process ID")
        })
        .into();
    let to_all = |signal| {
        monitors
            .iter()
            .for_each(|pid| rustix::process::kill_process(*pid, signal).expect("signal a monitor"));
    };
    to_all(Signal::STOP);
    let helper = Pid::from_raw(sandbox.netd()).expect("a process ID");
    rustix::process::kill_process(helper, Signal::KILL).expect("kill a process of this test");
    wait_for("a warning", || {
        let listed = sandbox.ketch(["ps", "--format={{.Names}}"]);
        let warned = listed.stderr.contains("network helper does not run");
        if warned && listed.ok().lines().count() == 2 { Ok(()) } else { Err(format!("{listed:?}")) }
    });
    to_all(Signal::CONT);
    wait_for("the port to answer", || if fetch(port) == "web" { Ok(()) } else { Err(String::new()) });
    assert_eq!(sandbox.ketch(["ps", "-q"]).stderr, "");
}

/// REL-09: the listening sockets stay where they are, so that whoever connects meanwhile waits and is served.
#[test]
fn rel_09_published_ports_outlive_what_serves_them() {
    let sandbox = Sandbox::new();
    let port = two(&sandbox);
    for _ in 0..3 {
        let helper = Pid::from_raw(sandbox.netd()).expect("a process ID");
        rustix::process::kill_process(helper, Signal::KILL).expect("kill a process of this test");
        // Never refused, not even at once.
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the port still listens");
        drop(stream);
        assert!(sandbox.ok(["port", "web"]).contains(&port.to_string()));
        wait_for("an answer", || if fetch(port) == "web" { Ok(()) } else { Err(String::new()) });
    }
}

/// REL-10: names are served by the same process, from the same address, and what is new is known at once.
#[test]
fn rel_10_names_are_known_after_the_helper_was_killed() {
    let sandbox = Sandbox::new();
    two(&sandbox);
    kill_helper(&sandbox);
    sandbox.start("late", &["--hostname=late", "--network=n"], "exec httpd -f -p 80 -h /etc");
    for name in ["web", "late"] {
        wait_for(name, || {
            let url = format!("http://{name}/hostname");
            let output = sandbox.ketch(["exec", "other", "wget", "-qO-", &url]);
            if output.stdout.trim() == name { Ok(()) } else { Err(format!("{output:?}")) }
        });
    }
    sandbox.ok(["rm", "-f", "-t0", "late"]);
    // The helper learns of the end a moment later.
    wait_for("the name to go", || {
        let gone = sandbox.ketch(["exec", "other", "nslookup", "late"]);
        if gone.code != 0 { Ok(()) } else { Err(gone.stdout) }
    });
}

/// podman's `unshare --rootless-netns`: where the containers' networks are, and only there.
#[test]
fn unshare_joins_the_namespace_of_the_networks() {
    let sandbox = Sandbox::new();
    two(&sandbox);
    let address =
        sandbox.ok(["inspect", "--format={{(index .NetworkSettings.Networks \"n\").IPAddress}}", "web"]);
    let script = format!(
        "busybox wget -qO- http://{address}/hostname; id -u; busybox ip link | grep -c ': ketch\\|: veth\\|: k'"
    );
    let seen = sandbox.ketch(["unshare", "--rootless-netns", "sh", "-c", &script]);
    let lines: Vec<&str> = seen.ok().lines().collect();
    assert_eq!(lines[..2], ["web", "0"], "{seen:?}");
    assert!(lines[2].parse::<u32>().is_ok_and(|links| links > 0), "{seen:?}");
    // It is a namespace of its own: the host's sockets are not there, and without the option nothing changes.
    let links = |options: &[&str]| {
        let command = ["readlink", "/proc/self/ns/net"];
        sandbox.ok([&["unshare"][..], options, &command].concat())
    };
    let host = std::fs::read_link("/proc/self/ns/net").expect("read a link").display().to_string();
    assert_eq!(links(&[]), host);
    assert_ne!(links(&["--rootless-netns"]), host);
    assert_eq!(sandbox.ketch(["unshare", "--rootless-netns", "sh", "-c", "exit 7"]).code, 7);
}

/// Without any container it is made for the command, stays as long as it runs, and is the one that containers then use.
#[test]
fn unshare_keeps_the_namespace_while_its_command_runs() {
    let sandbox = Sandbox::new();
    let mut held = sandbox
        .command([
            "unshare",
            "--rootless-netns",
            "sh",
            "-c",
            "readlink /proc/self/ns/net; read line; busybox ip -o addr",
        ])
        .spawn();
    let first = held.expect("net:[").trim().to_owned();
    let again = sandbox.ok(["unshare", "--rootless-netns", "readlink", "/proc/self/ns/net"]);
    assert_eq!(again, first, "one namespace for all");
    sandbox.ok(["run", "-d", "--name=c", "bb", "sleep", "1000"]);
    let gateway = sandbox.inspect("c", ".NetworkSettings.Gateway");
    held.send("\n");
    let seen = held.wait();
    assert!(
        seen.ok().contains(&gateway),
        "the bridge of a container that came later: {gateway}: {}",
        seen.stdout
    );
    sandbox.ok(["rm", "-f", "-t0", "c"]);
    let lock = sandbox.path("store/net/netd.lock");
    wait_for("the helper to end", || {
        let file = std::fs::File::open(&lock).expect("open the lock");
        file.try_lock().map_err(|_| "it is held".to_owned())
    });
}

/// A process that is held still until this is dropped.
struct Still(Pid);

impl Still {
    fn hold(pid: i32) -> Self {
        let pid = Pid::from_raw(pid).expect("a process ID");
        rustix::process::kill_process(pid, Signal::STOP).expect("stop a process of this test");
        Self(pid)
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        rustix::process::kill_process(self.0, Signal::CONT).ok();
    }
}

/// A helper that does not answer holds up no command that can do without, nor all that wait for the store's lock.
#[test]
fn a_helper_that_is_held_still_holds_up_nobody_else() {
    let sandbox = Sandbox::new();
    sandbox.ok(["run", "-d", "--name=c", "bb", "sleep", "1000"]);
    let still = Still::hold(sandbox.netd());
    sandbox.ok(["network", "create", "n"]);
    assert!(sandbox.ok(["network", "ls", "--format={{.Name}}"]).lines().any(|name| name == "n"));
    drop(still);
    sandbox.ok(["rm", "-f", "-t0", "c"]);
}

/// Who looks at a container that has just been connected finds it so, however busy its monitor is.
#[test]
fn a_connection_is_told_of_when_it_can_be_seen() {
    let sandbox = Sandbox::new();
    sandbox.ok(["network", "create", "n"]);
    let id = sandbox.ok(["run", "-d", "--name=c", "bb", "sleep", "1000"]);
    let monitor = sandbox.inspect("c", ".State.ConmonPid").parse().expect("a process ID");
    let attached = "index .NetworkSettings.Networks \"n\").IPAddress";
    for (verb, is_on) in [("connect", true), ("disconnect", false)] {
        let still = Still::hold(monitor);
        let command = sandbox.command(["network", verb, "n", "c"]).spawn();
        let noted = format!("store/containers/{id}/networks.json");
        wait_for("the change to be written down", || {
            let text = std::fs::read_to_string(sandbox.path(&noted)).unwrap_or_default();
            if text.contains("\"n\"") == is_on { Ok(()) } else { Err(text) }
        });
        assert!(common::process::lives(command.pid().cast_signed()), "{verb}: it waits for the monitor");
        drop(still);
        command.wait().ok();
        let shown = sandbox.ketch(["inspect", &format!("--format={{{{({attached}}}}}"), "c"]);
        assert_eq!(shown.stdout.starts_with("10."), is_on, "{verb}: {shown:?}");
    }
}

/// Whoever connects a container to a network does not lose the one that another command connects it to meanwhile.
#[test]
fn networks_that_are_connected_at_the_same_time_are_all_noted() {
    let sandbox = Sandbox::new();
    let networks = ["n1", "n2", "n3", "n4", "n5", "n6"];
    for network in networks {
        sandbox.ok(["network", "create", network]);
    }
    sandbox.ok(["create", "--name=c", "bb", "true"]);
    let commands = networks.map(|network| sandbox.command(["network", "connect", network, "c"]).spawn());
    for command in commands {
        command.wait().ok();
    }
    let file = format!("store/containers/{}/networks.json", sandbox.inspect("c", ".Id"));
    let noted = std::fs::read_to_string(sandbox.path(&file)).expect("read what was noted");
    for network in networks {
        assert!(noted.contains(&format!("\"{network}\"")), "{network}: {noted}");
    }
    sandbox.ok(["rm", "c"]);
}

/// The variable that makes a test of this binary a name server.
const SERVE_NAMES: &str = "KETCH_TEST_SERVE_NAMES";

/// Not a test by itself: a name server inside a container, where this binary is mounted. Every name is at 7.7.7.7.
#[test]
fn serve_names_inside() {
    if std::env::var_os(SERVE_NAMES).is_none() {
        return;
    }
    const A: u8 = 1;
    let socket = UdpSocket::bind("0.0.0.0:53").expect("bind");
    let mut buffer = [0; 512];
    loop {
        let (got, from) = socket.recv_from(&mut buffer).expect("receive");
        let mut answer = buffer[..got].to_vec();
        answer[2] |= 0x80;
        if answer[got - 3] == A {
            answer[7] = 1;
            answer.extend([0xc0, 12, 0, A, 0, 1, 0, 0, 0, 60, 0, 4, 7, 7, 7, 7]);
        }
        socket.send_to(&answer, from).expect("send");
    }
}

/// A name server that is a container is asked over the network that it shares with who asks, and `network update`
/// outlives what carries it out.
#[test]
fn a_name_server_may_be_a_container() {
    let sandbox = Sandbox::new();
    let own = std::env::current_exe().expect("the path of this test");
    let mount = format!("-v={}:/serve:ro", own.display());
    let variable = format!("-e={SERVE_NAMES}=1");
    sandbox.ok(["network", "create", "--subnet=10.93.81.0/24", "named"]);
    sandbox.ok(["network", "create", "--internal", "--subnet=10.93.82.0/24", "shut"]);
    sandbox.ok(["network", "create", "--subnet=10.93.83.0/24", "other"]);
    let server = ["--network=named:ip=10.93.81.53", "--network=shut:ip=10.93.82.53", "bb", "/serve"];
    let fixed = ["run", "-d", "--name=names", &mount, &variable];
    sandbox.ok([&fixed[..], &server[..], &["--exact", "serve_names_inside", "--nocapture"]].concat());
    let finds = |args: &[&str]| {
        let looked = sandbox.ketch([args, &["nslookup", "www.example.org"]].concat());
        looked.stdout.contains("7.7.7.7")
    };
    let ask = |network: &str, dns: &str| {
        finds(&["run", "--rm", &format!("--network={network}"), &format!("--dns={dns}"), "bb"])
    };
    wait_for("an answer", || if ask("named", "10.93.81.53") { Ok(()) } else { Err(String::new()) });
    assert!(ask("shut", "10.93.82.53"), "on an internal network, too");
    assert!(!ask("other", "10.93.81.53"), "not from a network that the two do not share");

    sandbox.ok(["run", "-d", "--name=c", "--network=named", "bb", "sleep", "1000"]);
    assert!(!finds(&["exec", "c"]));
    sandbox.ok(["network", "update", "--dns-add=10.93.81.53", "named"]);
    assert!(finds(&["exec", "c"]));
    sandbox.ok(["rm", "-f", "-t0", "names"]);
    sandbox.ok([&fixed[..], &server[..], &["--exact", "serve_names_inside", "--nocapture"]].concat());
    kill_helper(&sandbox);
    wait_for("an answer after the helper has come back", || {
        if finds(&["exec", "c"]) { Ok(()) } else { Err(String::new()) }
    });
    assert!(!finds(&["exec", "names"]), "a server that was named for its own network does not ask itself");
}

/// What processes of a container have written into its files stays when networks come and go.
#[test]
fn what_a_container_has_written_into_its_files_stays() {
    let sandbox = Sandbox::new();
    sandbox.ok(["network", "create", "--subnet=10.93.84.0/24", "n1"]);
    sandbox.ok(["network", "create", "--subnet=10.93.85.0/24", "n2"]);
    sandbox.ok(["run", "-d", "--name=c", "--network=n1:ip=10.93.84.7", "bb", "sleep", "1000"]);
    let write = "echo 1.2.3.4 mine >> /etc/hosts; echo options ndots:3 >> /etc/resolv.conf";
    sandbox.ok(["exec", "c", "sh", "-c", write]);
    let files = || sandbox.ok(["exec", "c", "cat", "/etc/hosts", "/etc/resolv.conf"]);
    let becomes = |what: &str, is_so: &dyn Fn(&str) -> bool| {
        wait_for(what, || match files() {
            now if is_so(&now) => Ok(()),
            now => Err(now),
        });
        let now = files();
        assert!(now.contains("1.2.3.4 mine\n") && now.contains("\noptions ndots:3"), "{what}: {now}");
        assert!(now.contains("10.93.84.7\t"), "{what}: {now}");
    };
    let before = files();
    sandbox.ok(["network", "connect", "--ip=10.93.85.7", "n2", "c"]);
    let on_both = |now: &str| now.contains("10.93.85.7\t") && now.contains("nameserver 10.93.85.1");
    becomes("connected", &on_both);
    kill_helper(&sandbox);
    becomes("the helper killed", &on_both);
    sandbox.ok(["network", "disconnect", "n2", "c"]);
    becomes("disconnected", &|now| now == before);
    sandbox.ok(["rename", "c", "d"]);
    sandbox.ok(["rename", "d", "c"]);
    sandbox.ok(["restart", "-t0", "c"]);
    let anew = files();
    assert!(!anew.contains("mine") && !anew.contains("ndots:3"), "a start writes them anew: {anew}");
}
