//! /etc/hosts, /etc/resolv.conf and /etc/hostname of a container, written anew at each start.

use std::io;
use std::net::IpAddr;
use std::path::Path;

use crate::base::spec::{ContainerSpec, Network, NetworkMode};
use crate::runtime::monitor::wiring::Wiring;
use crate::store::Store;

/// The address by which netd knows the host.
const HOST_ALIAS: &str = "169.254.1.2";
/// What containers call the host.
const HOST_NAMES: &str = "host.containers.internal host.docker.internal";

/// Writes the generated files into the container's directory, each in place: a running container has
/// them mounted.
pub(super) fn write(
    spec: &ContainerSpec,
    root: &Path,
    directory: &Path,
    wiring: Option<&Wiring>,
) -> io::Result<()> {
    let wired = wiring.map(Wired::of);
    // Who shares another container's network knows the hosts that it knows.
    let (shared, base) = match &spec.network.mode {
        NetworkMode::Container(id) => (true, root.join("containers").join(id.as_str())),
        _ => (false, "/etc".into()),
    };
    let base_text = |name: &str| std::fs::read_to_string(base.join(name)).unwrap_or_default();
    let (hosts_base, resolv_base) = (base_text("hosts"), base_text("resolv.conf"));
    let hostname = if spec.hostname.is_empty() {
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    } else {
        spec.hostname.clone()
    };
    let name = match &wired {
        Some(wired) => wired.name.clone(),
        None if spec.network.mode == NetworkMode::Host => hostname.clone(),
        None => own_name(root, spec).unwrap_or_else(|| hostname.clone()),
    };
    let resolv_base = match (shared, resolv_base) {
        (true, text) if spec.network.dns.is_empty() => text,
        (true, _) => std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
        (false, text) => text,
    };
    for (name, content) in [
        ("hosts", hosts(&spec.network, (&hostname, &name), &hosts_base, wired.as_ref())),
        ("resolv.conf", resolv_conf(&spec.network, &resolv_base, wired.as_ref())),
        ("hostname", format!("{hostname}\n")),
        ("containerenv", String::new()),
    ] {
        std::fs::write(directory.join(name), content)?;
    }
    Ok(())
}

/// The name of a container, which is not in its spec because it can change.
fn own_name(root: &Path, spec: &ContainerSpec) -> Option<String> {
    Store::open(root).ok()?.names().of(&spec.id).ok()?.into_iter().next()
}

/// What a container's networks put into its files.
struct Wired {
    name: String,
    ips: Vec<IpAddr>,
    name_servers: Vec<IpAddr>,
}

impl Wired {
    fn of(wiring: &Wiring) -> Self {
        let ips = wiring.endpoints().iter().flat_map(|endpoint| endpoint.ips.iter().map(|ip| ip.ip));
        Self { name: wiring.name().to_owned(), ips: ips.collect(), name_servers: wiring.name_servers() }
    }
}

/// The text of /etc/hosts: extra hosts first, as podman has them, then the loopback names.
///
/// `own` are its host name and its name; `base` is the host's file, or that of the container whose network
/// it shares.
fn hosts(network: &Network, own: (&str, &str), base: &str, wired: Option<&Wired>) -> String {
    let (hostname, name) = own;
    let names = if hostname == name { hostname.to_owned() } else { format!("{hostname} {name}") };
    let mut text = String::new();
    let host = if network.mode == NetworkMode::Host { "127.0.0.1" } else { HOST_ALIAS };
    for (address, name) in &network.add_hosts {
        let address = if address == "host-gateway" { host } else { address };
        text.push_str(&format!("{address}\t{name}\n"));
    }
    match network.mode {
        NetworkMode::Host | NetworkMode::Container(_) if !base.is_empty() => {
            text.push_str(base);
            if !text.ends_with('\n') {
                text.push('\n');
            }
            if !names_host(&text, hostname) || !names_host(&text, name) {
                text.push_str(&format!("127.0.1.1\t{names}\n"));
            }
        }
        _ => {
            text.push_str(
                "127.0.0.1\tlocalhost localhost.localdomain\n::1\tlocalhost localhost.localdomain\n",
            );
            match wired {
                Some(wired) => text.push_str(&own_lines(&names, wired)),
                None => text.push_str(&format!("127.0.1.1\t{names}\n")),
            }
        }
    }
    text
}

/// The host, and the container under each of its addresses.
fn own_lines(names: &str, wired: &Wired) -> String {
    let mut text = format!("{HOST_ALIAS}\t{HOST_NAMES}\n");
    for ip in &wired.ips {
        text.push_str(&format!("{ip}\t{names}\n"));
    }
    text
}

fn names_host(hosts: &str, name: &str) -> bool {
    hosts
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .any(|line| line.split_ascii_whitespace().skip(1).any(|known| known == name))
}

/// The text of /etc/resolv.conf: the host's, but for what the command line replaces. A name server
/// on the host's loopback is of use only to a container in the host's network.
fn resolv_conf(network: &Network, host_file: &str, wired: Option<&Wired>) -> String {
    let own = wired.map_or(&[][..], |wired| &wired.name_servers);
    let of_host = |keyword: &'static str| {
        host_file.lines().filter_map(move |line| {
            let mut words = line.split_ascii_whitespace();
            (words.next() == Some(keyword)).then(|| words.map(str::to_owned).collect::<Vec<_>>())
        })
    };
    let mut text = String::new();
    let search: Vec<String> = if network.dns_search.is_empty() {
        let own_domain = own.first().map(|_| "dns.podman".to_owned());
        own_domain.into_iter().chain(of_host("search").next_back().unwrap_or_default()).collect()
    } else {
        network.dns_search.iter().filter(|domain| *domain != ".").cloned().collect()
    };
    if !search.is_empty() {
        text.push_str(&format!("search {}\n", search.join(" ")));
    }
    // What another container has was chosen for its network.
    let in_host_network = matches!(network.mode, NetworkMode::Host | NetworkMode::Container(_));
    // netd asks the servers of the command line, or the host's, for names that it does not know.
    let servers: Vec<String> = if !own.is_empty() {
        own.iter().map(ToString::to_string).collect()
    } else if network.dns.is_empty() {
        of_host("nameserver").flatten().filter(|server| in_host_network || !is_loopback(server)).collect()
    } else {
        network.dns.clone()
    };
    for server in servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    let options: Vec<String> = if network.dns_options.is_empty() {
        of_host("options").flatten().collect()
    } else {
        network.dns_options.clone()
    };
    if !options.is_empty() {
        text.push_str(&format!("options {}\n", options.join(" ")));
    }
    text
}

fn is_loopback(server: &str) -> bool {
    server.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(mode: NetworkMode) -> Network {
        Network {
            mode,
            add_hosts: vec![("10.1.2.3".into(), "db".into())],
            dns: Vec::new(),
            dns_search: Vec::new(),
            dns_options: Vec::new(),
            no_hosts: false,
            ports: Vec::new(),
            links: Vec::new(),
        }
    }

    #[test]
    fn hosts_name_the_container() {
        let text = hosts(&network(NetworkMode::None), ("box", "web"), "1.2.3.4 host\n", None);
        assert!(text.starts_with("10.1.2.3\tdb\n127.0.0.1\tlocalhost"), "{text}");
        assert!(text.ends_with("127.0.1.1\tbox web\n") && !text.contains("1.2.3.4"), "{text}");
        let text = hosts(&network(NetworkMode::Host), ("host", "host"), "1.2.3.4 host # me\n", None);
        assert_eq!(text, "10.1.2.3\tdb\n1.2.3.4 host # me\n");
        let shared = NetworkMode::Container(crate::base::id::ContainerId::from_random([1; 32]));
        let text = hosts(&network(shared), ("box", "web"), "10.88.0.2 other\n", None);
        assert_eq!(text, "10.1.2.3\tdb\n10.88.0.2 other\n127.0.1.1\tbox web\n");
    }

    #[test]
    fn a_container_on_networks_knows_itself_the_host_and_netd() {
        let wired = Wired {
            name: "web".into(),
            ips: vec!["10.88.0.2".parse().unwrap(), "fd00::2".parse().unwrap()],
            name_servers: vec!["10.88.0.1".parse().unwrap()],
        };
        let mut wanted = network(NetworkMode::Bridge(Vec::new()));
        wanted.add_hosts = vec![("host-gateway".into(), "me".into())];
        let text = hosts(&wanted, ("box", "web"), "", Some(&wired));
        assert!(text.starts_with("169.254.1.2\tme\n"), "{text}");
        let end = "169.254.1.2\thost.containers.internal host.docker.internal\n10.88.0.2\tbox web\nfd00::2\tbox web\n";
        assert!(text.ends_with(end), "{text}");
        let host = "nameserver 127.0.0.53\nsearch a.b\n";
        assert_eq!(resolv_conf(&wanted, host, Some(&wired)), "search dns.podman a.b\nnameserver 10.88.0.1\n");
        wanted.dns = vec!["1.1.1.1".into()];
        assert!(
            resolv_conf(&wanted, host, Some(&wired)).contains("nameserver 10.88.0.1\n"),
            "netd asks 1.1.1.1"
        );
    }

    #[test]
    fn loopback_servers_stay_on_the_host() {
        let host = "# x\nnameserver 127.0.0.53\nnameserver 9.9.9.9\nsearch a.b c\noptions edns0 trust-ad\n";
        let mut wanted = network(NetworkMode::None);
        assert_eq!(
            resolv_conf(&wanted, host, None),
            "search a.b c\nnameserver 9.9.9.9\noptions edns0 trust-ad\n"
        );
        assert!(resolv_conf(&network(NetworkMode::Host), host, None).contains("127.0.0.53"));
        wanted.dns = vec!["1.1.1.1".into()];
        wanted.dns_search = vec![".".into()];
        assert_eq!(resolv_conf(&wanted, host, None), "nameserver 1.1.1.1\noptions edns0 trust-ad\n");
    }
}
