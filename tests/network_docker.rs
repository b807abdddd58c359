//! What Docker's command line can say about networks and podman's cannot, each with its effect.

mod common;

use common::{Sandbox, wait_for};

/// Where a running container's default route leads.
fn way_out(sandbox: &Sandbox, container: &str) -> String {
    let routes = sandbox.ok(["exec", container, "ip", "route"]);
    let default = routes.lines().find(|line| line.starts_with("default")).unwrap_or_default().to_owned();
    assert_eq!(routes.matches("default").count(), 1, "{routes}");
    default
        .split_once("dev ")
        .map_or_else(String::new, |(_, rest)| rest.split(' ').next().unwrap_or("").into())
}

#[test]
fn the_way_out_is_the_network_with_the_largest_priority() {
    let sandbox = Sandbox::new();
    for network in ["a", "b", "c"] {
        sandbox.ok(["network", "create", network]);
    }
    let named = "name=b,gw-priority=5,driver-opt=com.docker.network.endpoint.ifname=lan0";
    sandbox.ok(["run", "-d", "--name=one", "--network=a", "--network", named, "bb", "sleep", "1000"]);
    assert_eq!(way_out(&sandbox, "one"), "lan0");
    sandbox.ok(["network", "connect", "--gw-priority=-1", "c", "one"]);
    assert_eq!(way_out(&sandbox, "one"), "lan0", "a smaller one changes nothing");
    sandbox.ok(["network", "disconnect", "c", "one"]);
    let driver_option = "com.docker.network.endpoint.ifname=wan0";
    sandbox.ok(["network", "connect", "--gw-priority=9", "--driver-opt", driver_option, "c", "one"]);
    assert_eq!(way_out(&sandbox, "one"), "wan0");
    sandbox.ok(["restart", "-t0", "one"]);
    assert_eq!(way_out(&sandbox, "one"), "wan0", "a new life has the same");
    sandbox.ok(["network", "disconnect", "c", "one"]);
    wait_for("the way out is the next one", || {
        let routes = sandbox.ok(["exec", "one", "ip", "route"]);
        if routes.contains("default") && routes.contains("dev lan0") { Ok(()) } else { Err(routes) }
    });
    assert_eq!(way_out(&sandbox, "one"), "lan0");

    let refused = sandbox.ketch(["network", "connect", "--driver-opt", "x=y", "c", "one"]);
    assert!(refused.fails(125).contains("driver option \"x=y\""), "{}", refused.stderr);
}

#[test]
fn a_connected_container_knows_another_by_a_link() {
    let sandbox = Sandbox::new();
    for network in ["a", "b"] {
        sandbox.ok(["network", "create", network]);
    }
    sandbox.ok(["run", "-d", "--name=db", "bb", "httpd", "-f", "-p", "80", "-h", "/etc"]);
    sandbox.ok(["run", "-d", "--name=app", "--network=b", "bb", "sleep", "1000"]);
    sandbox.ok(["network", "connect", "a", "db"]);
    sandbox.ok(["network", "connect", "--link=db:database", "a", "app"]);
    let fetch = ["wget", "-qO-", "http://database/hostname"];
    assert!(!sandbox.ok([&["exec", "app"], &fetch[..]].concat()).is_empty());
    let hosts = wait_for("a line of the hosts file", || {
        let hosts = sandbox.ok(["exec", "app", "cat", "/etc/hosts"]);
        if hosts.contains("\tdatabase") { Ok(hosts) } else { Err(hosts) }
    });
    let ip = sandbox.ok(["inspect", "db", "--format={{.NetworkSettings.Networks.a.IPAddress}}"]);
    assert!(hosts.lines().any(|line| line.starts_with(&format!("{ip}\tdatabase"))), "{ip} in {hosts}");
    let other = sandbox.ketch([&["exec", "db"], &fetch[..]].concat());
    assert_ne!(other.code, 0, "the name is the linking container's alone");
    let missing = sandbox.ketch(["network", "connect", "--link=nobody", "a", "app"]);
    assert!(missing.fails(125).contains("nobody"), "{}", missing.stderr);
}

#[test]
fn addresses_that_something_else_has_are_not_given() {
    let sandbox = Sandbox::new();
    sandbox.ok([
        "network",
        "create",
        "--subnet=10.203.9.0/29",
        "--aux-address=router=10.203.9.2",
        "--attachable",
        "--scope=local",
        "aux",
    ]);
    let address = ["run", "--rm", "--network=aux", "bb", "ip", "-o", "-4", "addr", "show", "eth0"];
    let shown = sandbox.ok(address);
    assert!(shown.contains("10.203.9.3/29"), "{shown}");
    let taken = sandbox.ketch(["run", "--rm", "--network=aux", "--ip=10.203.9.2", "bb", "true"]);
    assert!(taken.fails(125).contains("10.203.9.2"), "{}", taken.stderr);
    let inspected = sandbox.ok(["network", "inspect", "aux"]);
    assert!(inspected.contains("\"router\": \"10.203.9.2\""), "{inspected}");

    for (options, said) in [
        (&["--subnet=10.203.10.0/24", "--aux-address=x=10.9.9.9"][..], "in no subnet"),
        (&["--subnet=10.203.10.0/24", "--aux-address=x=y"], "NAME=IP"),
        (&["--ipv4=false"], "--ipv6"),
        (&["--ipv4=false", "--ipv6", "--subnet=10.203.10.0/24"], "at odds"),
        (&["--scope=swarm"], "local"),
    ] {
        let refused = sandbox.ketch([&["network", "create"], options, &["other"]].concat());
        assert_eq!(refused.code, 125, "{options:?}");
        assert!(refused.stderr.contains(said), "{options:?}: {}", refused.stderr);
    }
}

#[test]
fn a_network_may_have_ipv6_alone() {
    let sandbox = Sandbox::new();
    sandbox.ok(["network", "create", "--ipv4=false", "--ipv6", "six"]);
    let seen = sandbox.ok(["run", "--rm", "--network=six", "bb", "ip", "-o", "addr", "show", "eth0"]);
    assert!(seen.contains("inet6 fd") && !seen.contains("inet 1"), "{seen}");
    let subnets = sandbox.ok(["network", "inspect", "six", "--format={{len .Subnets}}"]);
    assert_eq!(subnets, "1");
}
