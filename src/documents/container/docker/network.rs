//! `NetworkSettings` in docker's shape.

use serde_json::{Map, Value, json};

use crate::base::digest::Digest;
use crate::base::spec::NetworkMode;
use crate::documents::container::network::{Joined, addresses, asked_for, endpoint_addresses, joined};
use crate::documents::network::{endpoint_id, names};
use crate::documents::{null_if_empty, pick, ports};
use crate::engine::Engine;
use crate::engine::inspect::ContainerDetails;
use crate::net::network::DEFAULT_NETWORK;

const FIELDS: &[&str] = &[
    "Bridge",
    "SandboxID",
    "SandboxKey",
    "Ports",
    "HairpinMode",
    "LinkLocalIPv6Address",
    "LinkLocalIPv6PrefixLen",
    "SecondaryIPAddresses",
    "SecondaryIPv6Addresses",
    "EndpointID",
    "Gateway",
    "GlobalIPv6Address",
    "GlobalIPv6PrefixLen",
    "IPAddress",
    "IPPrefixLen",
    "IPv6Gateway",
    "MacAddress",
    "Networks",
];

const NETWORK: &[&str] = &[
    "IPAMConfig",
    "Links",
    "Aliases",
    "MacAddress",
    "DriverOpts",
    "GwPriority",
    "NetworkID",
    "EndpointID",
    "Gateway",
    "IPAddress",
    "IPPrefixLen",
    "IPv6Gateway",
    "GlobalIPv6Address",
    "GlobalIPv6PrefixLen",
    "DNSNames",
];

/// What a container has of the network; nothing where it shares another's.
pub(super) fn settings(engine: &Engine, details: &ContainerDetails) -> Value {
    let spec = &details.spec;
    let pid = details.status.pid();
    let mut settings = addresses();
    let (networks, usual) = networks(engine, details);
    settings.extend(usual.as_ref().and_then(Value::as_object).cloned().unwrap_or_default());
    let rest = json!({
        "Bridge": "",
        "SandboxID": "",
        "SandboxKey": "",
        "Ports": {},
        "HairpinMode": false,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "Networks": networks,
    });
    settings.extend(rest.as_object().cloned().unwrap_or_default());
    let mut settings = Value::Object(settings);
    if pid != 0 {
        settings["SandboxID"] = Digest::of(format!("sandbox {}", spec.id).as_bytes()).hex().into();
        settings["SandboxKey"] = format!("/proc/{pid}/ns/net").into();
        if !matches!(spec.network.mode, NetworkMode::Container(_) | NetworkMode::Host) {
            settings["Ports"] = ports(details).into();
        }
    }
    pick(&settings, FIELDS)
}

/// The networks that it is on by docker's names, and what it has on the usual one.
pub(super) fn networks(engine: &Engine, details: &ContainerDetails) -> (Map<String, Value>, Option<Value>) {
    let spec = &details.spec;
    let (mut networks, mut usual) = (Map::new(), None);
    let mode = match spec.network.mode {
        NetworkMode::None => Some("none"),
        NetworkMode::Host => Some("host"),
        _ => None,
    };
    if let Some(network) = mode.and_then(names::mode) {
        let mut fields = Value::Object(addresses());
        fields["NetworkID"] = network.id.as_str().into();
        if details.status.pid() != 0 {
            fields["EndpointID"] = endpoint_id(&spec.id, &network.id).into();
        }
        networks.insert(network.name, pick(&whole(fields), NETWORK));
    }
    for one in joined(engine, details) {
        let fields = network(details, &one);
        networks.insert(names::name(&one.attachment.name).to_owned(), pick(&fields, NETWORK));
        if one.attachment.name == DEFAULT_NETWORK {
            usual = Some(fields);
        }
    }
    networks.sort_keys();
    (networks, usual)
}

/// One network that it is on.
fn network(details: &ContainerDetails, joined: &Joined) -> Value {
    let Joined { attachment, network_id, endpoint } = joined;
    let id = &details.spec.id;
    let mut fields = Value::Object(endpoint.as_ref().map_or_else(addresses, endpoint_addresses));
    fields["NetworkID"] = network_id.as_str().into();
    if endpoint.is_some() {
        fields["EndpointID"] = endpoint_id(id, network_id).into();
    }
    fields["IPAMConfig"] = asked_for(attachment);
    fields["Aliases"] = attachment.aliases.clone().into();
    null_if_empty(&mut fields["Aliases"]);
    fields["GwPriority"] = attachment.gw_priority.into();
    let names = [details.name.as_str()].into_iter().chain(attachment.aliases.iter().map(String::as_str));
    let mut names: Vec<&str> = names.chain([id.short()]).collect();
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(*name));
    fields["DNSNames"] = names.into();
    whole(fields)
}

/// Adds what has not been said.
fn whole(mut fields: Value) -> Value {
    for key in ["IPAMConfig", "Links", "Aliases", "DriverOpts", "DNSNames"] {
        if fields.get(key).is_none() {
            fields[key] = Value::Null;
        }
    }
    if fields.get("GwPriority").is_none() {
        fields["GwPriority"] = 0.into();
    }
    fields
}

/// The ports, published or only exposed.
fn ports(details: &ContainerDetails) -> Map<String, Value> {
    let spec = &details.spec;
    let mut ports: Map<String, Value> = spec.all_exposed_ports().map(|port| (port, Value::Null)).collect();
    for port in spec.network.ports.iter().flat_map(|port| port.each()) {
        let inside = format!("{}/{}", port.container_port, port.protocol);
        let open = ports::addresses(&port);
        let bindings = open.iter().map(|ip| json!({"HostIp": ip, "HostPort": port.host_port.to_string()}));
        match ports.entry(inside).or_insert(Value::Null) {
            Value::Array(known) => known.extend(bindings),
            none => *none = bindings.collect(),
        }
    }
    ports.sort_keys();
    ports
}
