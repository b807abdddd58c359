//! Ports of a container as docker and docker compose list them.
//!
//! ```text
//! 3000/tcp, 0.0.0.0:9100-9102->9100-9102/tcp, 0.0.0.0:8080->80/tcp
//! exposed   published at the same number      published at another one
//! ```

use std::path::Path;
use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::base::network::PortMapping;
use crate::base::order::InOrder as _;
use crate::engine::list::Container;

/// One port of a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Port {
    /// Inside.
    pub(crate) private: u16,
    /// The host's address; empty if it is not published.
    pub(crate) ip: String,
    /// The host's port; 0 if it is not published.
    pub(crate) public: u16,
    pub(crate) protocol: String,
}

impl Port {
    /// `0.0.0.0:8080`, `[::]:8080`.
    pub(crate) fn address(&self) -> String {
        if self.ip.contains(':') {
            format!("[{}]:{}", self.ip, self.public)
        } else {
            format!("{}:{}", self.ip, self.public)
        }
    }
}

/// The machine speaks IPv6.
static HAS_IPV6: LazyLock<bool> = LazyLock::new(|| Path::new("/proc/net/if_inet6").exists());

/// The host's addresses that a port is open on: without one of its own those of both families, if the machine has both.
pub(crate) fn addresses(port: &PortMapping) -> Vec<String> {
    match port.host_ip {
        Some(ip) => vec![ip.to_string()],
        None if *HAS_IPV6 => vec!["0.0.0.0".to_owned(), "::".to_owned()],
        None => vec!["0.0.0.0".to_owned()],
    }
}

/// The ports of a container, those inside in their order. One that does not run has none.
pub(crate) fn of(container: &Container) -> Vec<Port> {
    if !container.status.phase.is_running() {
        return Vec::new();
    }
    let published = container.summary.network.ports.iter();
    let mut ports: Vec<Port> = published
        .flat_map(|port| {
            let each = |ip: String| port.each().map(move |each| (ip.clone(), each));
            addresses(port).into_iter().flat_map(each)
        })
        .map(|(ip, port)| Port {
            private: port.container_port,
            ip,
            public: port.host_port,
            protocol: port.protocol.to_string(),
        })
        .collect();
    for text in &container.summary.exposed_ports {
        let Some((private, protocol)) = text.split_once('/') else { continue };
        let Ok(private) = private.parse() else { continue };
        if !ports.iter().any(|port| port.private == private && port.protocol == protocol) {
            ports.push(Port { private, ip: String::new(), public: 0, protocol: protocol.to_owned() });
        }
    }
    ports.order();
    ports
}

/// The ports in one line. Rows of them are one: of those that are only exposed, and of those that have the same number
/// outside; the others stand for themselves, at the end.
pub(crate) fn text(ports: &[Port]) -> String {
    let mut rows: Vec<(&Port, u16)> = Vec::new();
    let mut open: Vec<(&Port, u16)> = Vec::new();
    let mut single: Vec<String> = Vec::new();
    for port in ports {
        if port.public > 0 && port.public != port.private {
            single.push(format!("{}->{}/{}", port.address(), port.private, port.protocol));
            continue;
        }
        let is_like = |first: &Port| first.ip == port.ip && first.protocol == port.protocol;
        match open.iter_mut().find(|(first, _)| is_like(first)) {
            None => open.push((port, port.private)),
            Some((_, last)) if u32::from(*last) + 1 == u32::from(port.private) => *last = port.private,
            Some(row) => rows.push(std::mem::replace(row, (port, port.private))),
        }
    }
    let row = |(first, last): (&Port, u16)| {
        let numbers = match first.private == last {
            true => last.to_string(),
            false => format!("{}-{last}", first.private),
        };
        match first.ip.as_str() {
            "" => format!("{numbers}/{}", first.protocol),
            ip => format!("{ip}:{numbers}->{numbers}/{}", first.protocol),
        }
    };
    rows.into_iter().chain(open).map(row).chain(single).collect::<Vec<_>>().join(", ")
}

/// Each port by itself, as JSON; null if there are none.
pub(crate) fn document(ports: &[Port]) -> Value {
    let port = |port: &Port| {
        json!({
            "URL": port.ip,
            "TargetPort": port.private,
            "PublishedPort": port.public,
            "Protocol": port.protocol,
        })
    };
    if ports.is_empty() { Value::Null } else { ports.iter().map(port).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_ports_are_one() {
        let port = |private, ip: &str, public| Port {
            private,
            ip: ip.to_owned(),
            public,
            protocol: "tcp".to_owned(),
        };
        for (ports, want) in [
            (vec![], ""),
            (vec![port(80, "", 0), port(443, "", 0)], "80/tcp, 443/tcp"),
            (vec![port(80, "", 0), port(81, "", 0), port(82, "", 0)], "80-82/tcp"),
            (vec![port(80, "0.0.0.0", 8080), port(443, "", 0)], "443/tcp, 0.0.0.0:8080->80/tcp"),
            (vec![port(80, "::", 8080)], "[::]:8080->80/tcp"),
            (
                vec![port(90, "1.2.3.4", 90), port(91, "1.2.3.4", 91), port(95, "1.2.3.4", 95)],
                "1.2.3.4:90-91->90-91/tcp, 1.2.3.4:95->95/tcp",
            ),
        ] {
            assert_eq!(text(&ports), want);
        }
    }
}
