//! /etc/hosts, /etc/resolv.conf and /etc/hostname of a container, written anew at each start.

use std::io;
use std::path::Path;

use crate::base::spec::{ContainerSpec, Network, NetworkMode};

/// Writes the generated files into the container's directory.
pub(super) fn write(spec: &ContainerSpec, directory: &Path) -> io::Result<()> {
    let hosts_base = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let resolv_base = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let hostname = if spec.hostname.is_empty() {
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    } else {
        spec.hostname.clone()
    };
    for (name, content) in [
        ("hosts", hosts(&spec.network, &hostname, &hosts_base)),
        ("resolv.conf", resolv_conf(&spec.network, &resolv_base)),
        ("hostname", format!("{hostname}\n")),
        ("containerenv", String::new()),
    ] {
        std::fs::write(directory.join(name), content)?;
    }
    Ok(())
}

/// The text of /etc/hosts: extra hosts first, as podman has them, then the loopback names.
fn hosts(network: &Network, hostname: &str, host_file: &str) -> String {
    let mut text = String::new();
    for (address, name) in &network.add_hosts {
        text.push_str(&format!("{address}\t{name}\n"));
    }
    match network.mode {
        NetworkMode::Host => {
            text.push_str(host_file);
            if !text.ends_with('\n') && !text.is_empty() {
                text.push('\n');
            }
            if !names_host(&text, hostname) {
                text.push_str(&format!("127.0.1.1\t{hostname}\n"));
            }
        }
        _ => {
            text.push_str(
                "127.0.0.1\tlocalhost localhost.localdomain\n::1\tlocalhost localhost.localdomain\n",
            );
            text.push_str(&format!("127.0.1.1\t{hostname}\n"));
        }
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
fn resolv_conf(network: &Network, host_file: &str) -> String {
    let of_host = |keyword: &'static str| {
        host_file.lines().filter_map(move |line| {
            let mut words = line.split_ascii_whitespace();
            (words.next() == Some(keyword)).then(|| words.map(str::to_owned).collect::<Vec<_>>())
        })
    };
    let mut text = String::new();
    let search: Vec<String> = if network.dns_search.is_empty() {
        of_host("search").next_back().unwrap_or_default()
    } else {
        network.dns_search.iter().filter(|domain| *domain != ".").cloned().collect()
    };
    if !search.is_empty() {
        text.push_str(&format!("search {}\n", search.join(" ")));
    }
    let in_host_network = network.mode == NetworkMode::Host;
    let servers: Vec<String> = if network.dns.is_empty() {
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
        }
    }

    #[test]
    fn hosts_name_the_container() {
        let text = hosts(&network(NetworkMode::None), "box", "1.2.3.4 host\n");
        assert!(text.starts_with("10.1.2.3\tdb\n127.0.0.1\tlocalhost"), "{text}");
        assert!(text.ends_with("127.0.1.1\tbox\n") && !text.contains("1.2.3.4"), "{text}");
        let text = hosts(&network(NetworkMode::Host), "host", "1.2.3.4 host # me\n");
        assert_eq!(text, "10.1.2.3\tdb\n1.2.3.4 host # me\n");
    }

    #[test]
    fn loopback_servers_stay_on_the_host() {
        let host = "# x\nnameserver 127.0.0.53\nnameserver 9.9.9.9\nsearch a.b c\noptions edns0 trust-ad\n";
        let mut wanted = network(NetworkMode::None);
        assert_eq!(resolv_conf(&wanted, host), "search a.b c\nnameserver 9.9.9.9\noptions edns0 trust-ad\n");
        assert!(resolv_conf(&network(NetworkMode::Host), host).contains("127.0.0.53"));
        wanted.dns = vec!["1.1.1.1".into()];
        wanted.dns_search = vec![".".into()];
        assert_eq!(resolv_conf(&wanted, host), "nameserver 1.1.1.1\noptions edns0 trust-ad\n");
    }
}
