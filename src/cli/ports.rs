//! Published and exposed ports as listings show them.

use serde_json::{Value, json};

use crate::base::network::PortMapping;
use crate::engine::list::Container;

/// Published ports, with exposed ones that are not: `0.0.0.0:8080->80/tcp, 443/tcp`.
pub(super) fn text(container: &Container) -> String {
    let published = &container.summary.network.ports;
    let mut texts: Vec<String> = published
        .iter()
        .map(|port| {
            let range = |first: u16| match port.range {
                0 | 1 => first.to_string(),
                more => format!("{first}-{}", u32::from(first) + u32::from(more) - 1),
            };
            let (host, inside) = (range(port.host_port), range(port.container_port));
            format!("{}:{host}->{inside}/{}", port.host_ip_text(), port.protocol)
        })
        .collect();
    let is_published = |text: &String| {
        published
            .iter()
            .flat_map(|port| port.each())
            .any(|port| *text == format!("{}/{}", port.container_port, port.protocol))
    };
    texts.extend(container.summary.exposed_ports.iter().filter(|text| !is_published(text)).cloned());
    texts.join(", ")
}

/// What `ps --format json` says of published ports.
pub(super) fn document(container: &Container) -> Value {
    let ports = &container.summary.network.ports;
    if ports.is_empty() {
        return Value::Null;
    }
    let port = |port: &PortMapping| {
        json!({
            "host_ip": port.host_ip.map_or_else(String::new, |ip| ip.to_string()),
            "container_port": port.container_port,
            "host_port": port.host_port,
            "range": port.range.max(1),
            "protocol": port.protocol,
        })
    };
    ports.iter().map(port).collect()
}
