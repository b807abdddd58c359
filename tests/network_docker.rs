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

/// Waits, inside, until the web server listens.
const LISTENS: &str = "until wget -qO /dev/null http://127.0.0.1/hostname 2> /dev/null; do sleep 0.05; done";

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
fn the_way_out_that_is_left_keeps_its_metric() {
    let sandbox = Sandbox::new();
    sandbox.ok(["network", "create", "--subnet=10.93.86.0/24", "--opt=metric=50", "left"]);
    sandbox.ok(["network", "create", "--subnet=10.93.87.0/24", "gone"]);
    let networks = ["--network=gone", "--network=left"];
    sandbox.ok([&["run", "-d", "--name=c"], &networks[..], &["bb", "sleep", "1000"]].concat());
    sandbox.ok(["network", "disconnect", "gone", "c"]);
    wait_for("the other way", || match sandbox.ok(["exec", "c", "ip", "route"]) {
        ways if ways.contains("default via 10.93.86.1 dev eth1  metric 50") => Ok(()),
        ways => Err(ways),
    });
}

#[test]
fn a_connected_container_knows_another_by_a_link() {
    let sandbox = Sandbox::new();
    for network in ["a", "b"] {
        sandbox.ok(["network", "create", network]);
    }
    sandbox.ok(["run", "-d", "--name=db", "bb", "httpd", "-f", "-p", "80", "-h", "/etc"]);
    sandbox.ok(["exec", "db", "sh", "-c", LISTENS]);
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

#[test]
fn addresses_of_the_link_alone() {
    let sandbox = Sandbox::new();
    let (one, two) = ("--link-local-ip=169.254.7.1", "--network=ketch:link-local-ip=169.254.7.2");
    let web = ["bb", "httpd", "-f", "-p", "80", "-h", "/etc"];
    let options = ["run", "-d", "--name=one", "--hostname=one", one, "--link-local-ip=fe80::71"];
    sandbox.ok([&options[..], &web].concat());
    sandbox.ok(["exec", "one", "sh", "-c", LISTENS]);
    sandbox.ok(["run", "-d", "--name=two", two, "bb", "sleep", "1000"]);
    let address = sandbox.ok(["exec", "one", "ip", "-o", "addr", "show", "eth0"]);
    assert!(address.contains("169.254.7.1/16") && address.contains("fe80::71/64"), "{address}");
    assert_eq!(sandbox.ok(["exec", "two", "wget", "-qO-", "http://169.254.7.1/hostname"]), "one");
    let host = sandbox.ok(["exec", "one", "ip", "route", "get", "169.254.1.2"]);
    assert!(host.contains("via 10.88.0.1"), "the host has an address of the same kind elsewhere: {host}");
    let asked = sandbox.inspect("one", ".NetworkSettings.Networks.ketch.IPAMConfig.LinkLocalIPs");
    assert_eq!(asked, "[169.254.7.1 fe80::71]");

    sandbox.ok(["network", "create", "other"]);
    sandbox.ok(["network", "connect", "--link-local-ip=169.254.7.3", "other", "one"]);
    let connected = sandbox.ok(["exec", "one", "ip", "-o", "addr", "show", "eth1"]);
    assert!(connected.contains("169.254.7.3/16"), "{connected}");
    sandbox.ok(["restart", "-t0", "one"]);
    let again = sandbox.ok(["exec", "one", "ip", "-o", "addr"]);
    assert!(again.contains("169.254.7.1/16") && again.contains("169.254.7.3/16"), "{again}");
    for bad in ["--link-local-ip=10.0.0.1", "--link-local-ip=x", "--network=ketch:link-local-ip=fd00::1"] {
        let refused = sandbox.ketch(["run", "--rm", bad, "bb", "true"]);
        assert!(refused.fails(125).contains("link-local"), "{bad}: {}", refused.stderr);
    }
    let where_to = ["run", "--rm", one, "--network=ketch", "--network=other", "bb", "true"];
    assert!(sandbox.ketch(where_to).fails(125).contains("single network"));
}

#[test]
fn a_configuration_is_what_networks_are_made_from() {
    let sandbox = Sandbox::new();
    let subnet = ["--subnet=10.203.12.0/24", "--label=a=b", "--ipam-opt=k=v"];
    sandbox.ok([&["network", "create", "--config-only"], &subnet[..], &["conf"]].concat());
    assert_eq!(
        sandbox.ok(["network", "ls", "--filter=name=conf", "--format={{.Name}} {{.Driver}}"]),
        "conf null"
    );
    // It has no addresses itself.
    sandbox.ok(["network", "create", "--config-from=conf", "--attachable", "made"]);
    let seen = sandbox.ok(["run", "--rm", "--network=made", "bb", "ip", "-o", "-4", "addr", "show", "eth0"]);
    assert!(seen.contains("10.203.12.2/24"), "{seen}");
    let docker = "{{.ConfigFrom.Network}} {{.ConfigOnly}} {{.Attachable}} {{.IPAM.Options.k}} {{.Labels.a}}";
    assert_eq!(sandbox.ok(["network", "inspect", "made", "--format", docker]), "conf false true v b");
    assert_eq!(sandbox.ok(["network", "inspect", "conf", "--format={{.ConfigOnly}}"]), "true");

    sandbox.ok(["run", "-d", "--name=one", "bb", "sleep", "1000"]);
    for args in [&["run", "--rm", "--network=conf", "bb", "true"][..], &["network", "connect", "conf", "one"]]
    {
        let refused = sandbox.ketch(args);
        let said = refused.fails(125);
        assert!(said.contains("cannot create endpoint on configuration-only network"), "{said}");
    }
    let used = sandbox.ketch(["network", "rm", "conf"]);
    assert!(used.stderr.contains("configuration network \"conf\" is in use"), "{}", used.stderr);
    for (options, said) in [
        (&["--config-from=nobody"][..], "configuration network \"nobody\" not found"),
        (&["--config-from=made"], "configuration network \"made\" not found"),
        (
            &["--config-from=conf", "--subnet=10.203.13.0/24"],
            "user specified configurations are not supported",
        ),
        (&["--config-only", "--internal"], "Network operator fields"),
        (&["--ingress"], "Ingress network can only be global scope network"),
    ] {
        let refused = sandbox.ketch([&["network", "create"], options, &["other"]].concat());
        assert!(refused.fails(125).contains(said), "{options:?}: {}", refused.stderr);
    }
    sandbox.ok(["network", "rm", "made"]);
    sandbox.ok(["network", "prune", "-f"]);
    sandbox.ok(["network", "inspect", "conf"]);
    sandbox.ok(["network", "rm", "conf"]);
}

#[test]
fn inspect_lists_who_does_not_run_if_asked() {
    let sandbox = Sandbox::new();
    sandbox.ok(["network", "create", "net"]);
    sandbox.ok(["run", "-d", "--name=up", "--network=net", "bb", "sleep", "1000"]);
    sandbox.ok(["create", "--name=down", "--network=net", "bb", "true"]);
    let names = |options: &[&str]| {
        let format = "--format={{range .Containers}}{{.name}}:{{len .interfaces}} {{end}}";
        let mut names: Vec<String> = sandbox
            .ok([&["network", "inspect", format], options, &["net"]].concat())
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(&[]), ["up:1"]);
    assert_eq!(names(&["--verbose"]), ["down:0", "up:1"]);
}

#[test]
fn an_address_has_all_the_names_of_its_container() {
    let sandbox = Sandbox::new();
    sandbox.ok(["network", "create", "net"]);
    let aliases = "--network=net:alias=first,alias=second";
    sandbox.ok(["run", "-d", "--name=web", "--hostname=page", aliases, "bb", "sleep", "1000"]);
    let id = sandbox.inspect("web", ".Id");
    let ip = sandbox.inspect("web", ".NetworkSettings.Networks.net.IPAddress");
    let answer = sandbox.ok(["run", "--rm", "--network=net", "bb", "nslookup", &ip]);
    let names: Vec<&str> =
        answer.lines().filter_map(|line| line.split_once("name = ")).map(|(_, n)| n).collect();
    assert_eq!(names, ["web", "first", "second", "page", &id[..12]], "{answer}");
}

#[test]
fn dockers_fields_and_filters() {
    let sandbox = Sandbox::new();
    let subnets = ["--subnet=10.203.14.0/24", "--ip-range=10.203.14.128/25", "--aux-address=x=10.203.14.9"];
    sandbox.ok([&["network", "create", "--ipv6"], &subnets[..], &["--subnet=fd77:9::/64", "net"]].concat());
    sandbox.ok(["run", "-d", "--name=up", "--network=net:mac=02:00:00:00:00:07", "bb", "sleep", "1000"]);
    let shown = |format: &str| sandbox.ok(["network", "inspect", "net", "--format", format]);
    let container = "{{range .Containers}}{{.Name}} {{.IPv4Address}} {{.IPv6Address}} {{.MacAddress}}{{end}}";
    assert_eq!(shown(container), "up 10.203.14.128/24 fd77:9::2/64 02:00:00:00:00:07");
    let pools = "{{range .IPAM.Config}}{{.Subnet}} {{.IPRange}} {{.Gateway}} {{.AuxAddress.x}};{{end}}";
    assert_eq!(
        shown(pools),
        "10.203.14.0/24 10.203.14.128/25 10.203.14.1 10.203.14.9;fd77:9::/64  fd77:9::1 <no value>;"
    );
    assert_eq!(shown("{{.EnableIPv4}} {{.EnableIPv6}} {{.Scope}} {{.Ingress}}"), "true true local false");
    let listed = sandbox.ok(["network", "ls", "--format={{.Name}} {{.IPv4}} {{.IPv6}}"]);
    assert_eq!(listed, "ketch true false\nnet true true");
    for (filter, names) in [
        ("type=custom", "net"),
        ("type=builtin", "ketch"),
        ("scope=local", "ketch\nnet"),
        ("scope=swarm", ""),
    ] {
        assert_eq!(sandbox.ok(["network", "ls", "-q", "--filter", filter]), names, "{filter}");
    }
    assert_eq!(sandbox.ketch(["network", "ls", "--filter=type=other"]).code, 125);
}

#[test]
fn several_networks_in_one_word() {
    let sandbox = Sandbox::new();
    for network in ["a", "b"] {
        sandbox.ok(["network", "create", network]);
    }
    sandbox.ok(["run", "-d", "--name=both", "--network=a,b", "bb", "sleep", "1000"]);
    let networks = "--format={{range $name, $n := .NetworkSettings.Networks}}{{$name}} {{end}}";
    assert_eq!(sandbox.ok(["inspect", "both", networks]).trim(), "a b");
    // What stands at the top is the default network's, with podman and docker.
    assert_eq!(sandbox.inspect("both", ".NetworkSettings.IPAddress"), "");
    sandbox.ok(["run", "-d", "--name=usual", "bb", "sleep", "1000"]);
    assert!(sandbox.inspect("usual", ".NetworkSettings.IPAddress").starts_with("10."));

    let missing = sandbox.ketch(["run", "--rm", "--network=a,nosuch", "bb", "true"]);
    assert!(missing.fails(125).contains("nosuch: network not found"), "{}", missing.stderr);
    for (option, said) in [
        ("--dns=192.0.2.1", "conflicting options: dns and the network mode: container"),
        ("--dns-search=a.b", "conflicting options: dns and the network mode: container"),
        ("--add-host=a:1.2.3.4", "cannot set extra host entries"),
    ] {
        let refused = sandbox.ketch(["run", "--rm", "--network=container:both", option, "bb", "true"]);
        assert!(refused.fails(125).contains(said), "{option}: {}", refused.stderr);
    }
    sandbox.ok(["network", "disconnect", "b", "both"]);
    for options in [&["b", "both"][..], &["-f", "b", "both"], &["-f", "b", "nosuch"]] {
        assert_eq!(sandbox.ketch([&["network", "disconnect"], options].concat()).code, 125, "{options:?}");
    }
}

#[test]
fn dockers_options_of_bridges() {
    let sandbox = Sandbox::new();
    let options = [
        "-o=com.docker.network.bridge.host_binding_ipv4=127.0.0.2",
        "-o=com.docker.network.container_iface_prefix=lan",
        "-o=com.docker.network.bridge.enable_ip_masquerade=true",
    ];
    sandbox.ok([&["network", "create"], &options[..], &["net"]].concat());
    sandbox.ok(["network", "create", "plain"]);
    let ports = ["-p=80", "-p=127.0.0.1::81", "--expose=82", "-P"];
    let networks = ["--network=net", "--network=plain"];
    sandbox.ok([&["run", "-d", "--name=one"], &networks[..], &ports, &["bb", "sleep", "1000"]].concat());
    let shown = sandbox.ok(["port", "one"]);
    let bound = |inside: &str, address: &str| {
        shown.lines().any(|line| line.starts_with(&format!("{inside}/tcp -> {address}:")))
    };
    assert!(bound("80", "127.0.0.2") && bound("81", "127.0.0.1") && bound("82", "127.0.0.2"), "{shown}");
    let links = sandbox.ok(["exec", "one", "ip", "-o", "link"]);
    assert!(links.contains(": lan0@") && links.contains(": eth1@"), "{links}");
    for (option, said) in [
        ("-o=com.docker.network.bridge.host_binding_ipv4=x", "expected an IPv4 address"),
        ("-o=com.docker.network.container_iface_prefix=much/toolong", "expected 1 to 11"),
        ("-o=com.docker.network.bridge.enable_ip_masquerade=maybe", "expected true or false"),
        ("-o=com.docker.network.bridge.inhibit_ipv4=true", "only the bridge's own address leads out of it"),
        ("-o=com.docker.network.bridge.gateway_mode_ipv4=routed", "nothing outside has a route"),
        (
            "-o=com.docker.network.bridge.gateway_mode_ipv6=isolated",
            "can only be used for an internal network",
        ),
        ("-o=com.docker.network.host_ipv4=::1", "expected an IPv4 address"),
        ("-o=com.docker.network.bridge.trusted_host_interfaces=eth0", "unsupported bridge network option"),
    ] {
        let refused = sandbox.ketch(["network", "create", option, "other"]);
        assert!(refused.fails(125).contains(said), "{option}: {}", refused.stderr);
    }
}

#[test]
fn the_default_network_is_known_by_what_others_call_theirs() {
    let sandbox = Sandbox::new();
    sandbox.ok(["network", "create", "--subnet=10.93.79.0/24", "made"]);
    sandbox.ok(["run", "-d", "--name=one", "--network=made", "--network-alias=uno", "bb", "sleep", "1000"]);
    for typed in ["ketch", "podman", "bridge"] {
        assert_eq!(sandbox.ok(["network", "inspect", "--format={{.Name}}", typed]), "ketch");
        sandbox.ok(["network", "exists", typed]);
        sandbox.ok(["run", "--rm", "--network", typed, "bb", "grep", "-q", "eth0", "/proc/net/dev"]);
        sandbox.ok(["network", "connect", typed, "one"]);
        let field = format!("--format={{{{.NetworkSettings.Networks.{typed}.IPAddress}}}}");
        let address = sandbox.ok(["inspect", &field, "one"]);
        assert!(address.starts_with("10.88."), "{typed}: {address}");
        let indexed = format!("--format={{{{(index .NetworkSettings.Networks \"{typed}\").IPAddress}}}}");
        assert_eq!(sandbox.ok(["inspect", &indexed, "one"]), address);
        let filter = format!("--filter=network={typed}");
        assert_eq!(sandbox.ok(["ps", &filter, "--format={{.Names}}"]), "one");
        sandbox.ok(["network", "disconnect", typed, "one"]);
        let kept = sandbox.ketch(["network", "rm", typed]);
        assert!(
            kept.fails(125).contains(&format!("default network {typed} cannot be removed")),
            "{}",
            kept.stderr
        );
    }
    let names = "--format={{json .NetworkSettings.Networks.made.DNSNames}}";
    let names = sandbox.ok(["inspect", names, "one"]);
    assert!(names.starts_with("[\"one\",\"uno\",\""), "{names}");
    let again = sandbox.ketch(["network", "create", "podman"]);
    assert!(again.fails(125).contains("network name podman already used"), "{}", again.stderr);
    assert_eq!(sandbox.ok(["network", "create", "--ignore", "podman"]), "ketch");
}

#[test]
fn families_and_gateway_modes_are_options_too() {
    let sandbox = Sandbox::new();
    let ipv6 = "-o=com.docker.network.enable_ipv6=true";
    sandbox.ok(["network", "create", ipv6, "both"]);
    sandbox.ok(["network", "create", ipv6, "-o=com.docker.network.enable_ipv4=false", "six"]);
    for (network, families) in [("both", "true true"), ("six", "false true")] {
        let format = "--format={{.EnableIPv4}} {{.EnableIPv6}}";
        assert_eq!(sandbox.ok(["network", "inspect", format, network]), families, "{network}");
    }
    let wrong = sandbox.ketch(["network", "create", "-o=com.docker.network.enable_ipv6=perhaps", "x"]);
    assert!(wrong.fails(125).contains("expected true or false"), "{}", wrong.stderr);
    sandbox.ok([
        "network",
        "create",
        "-o=com.docker.network.bridge.gateway_mode_ipv4=nat-unprotected",
        "open",
    ]);
    sandbox.ok(["run", "--rm", "--network=open", "bb", "true"]);
}

#[test]
fn a_network_is_the_domain_of_its_containers() {
    let sandbox = Sandbox::new();
    sandbox.ok(["network", "create", "back"]);
    sandbox.ok(["network", "create", "front"]);
    let server = ["run", "-d", "--name=db", "--network=back", "--network-alias=pg", "bb"];
    sandbox.ok([&server[..], &["httpd", "-f", "-p", "80", "-h", "/etc"]].concat());
    sandbox.ok(["exec", "db", "sh", "-c", LISTENS]);
    for name in ["db.back", "pg.back", "DB.Back"] {
        sandbox.ok([
            "run",
            "--rm",
            "--network=back",
            "bb",
            "wget",
            "-qO-",
            &format!("http://{name}/hostname"),
        ]);
    }
    let elsewhere = sandbox.ketch(["run", "--rm", "--network=front", "bb", "nslookup", "db.back"]);
    assert_ne!(elsewhere.code, 0, "{}", elsewhere.stdout);
}
