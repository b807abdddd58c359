//! Networks as the document about a container shows them, in podman's names.

use serde_json::{Map, Value, json};

use crate::base::network::{NetworkAttachment, PortMapping, mac_text};
use crate::base::spec::{ContainerSpec, NetworkMode};
use crate::engine::Engine;
use crate::engine::inspect::ContainerDetails;
use crate::net::control::Endpoint;
use crate::net::network::DEFAULT_NETWORK;

/// `--network` in one word.
pub(super) fn network_mode(spec: &ContainerSpec) -> String {
    match &spec.network.mode {
        NetworkMode::None => "none".to_owned(),
        NetworkMode::Host => "host".to_owned(),
        NetworkMode::Container(id) => format!("container:{id}"),
        NetworkMode::Path(path) => format!("ns:{}", path.display()),
        // As podman has it, whatever the networks are called.
        NetworkMode::Bridge(_) => "bridge".to_owned(),
        NetworkMode::Private(network) => network.word.clone(),
    }
}

/// One network that a container is on.
pub(super) struct Joined {
    pub(super) attachment: NetworkAttachment,
    /// 64 hex digits.
    pub(super) network_id: String,
    /// What it has there, while it runs.
    pub(super) endpoint: Option<Endpoint>,
}

/// The networks that a container is on, in the order in which it joined them.
pub(super) fn joined(engine: &Engine, details: &ContainerDetails) -> Vec<Joined> {
    let id = &details.spec.id;
    let running = (details.status.pid() != 0).then(|| engine.network_state(id)).flatten();
    let on = |attachment: NetworkAttachment| {
        let endpoints = running.as_ref().map_or(&[][..], |state| &state.endpoints);
        let endpoint = endpoints.iter().find(|endpoint| endpoint.network == attachment.name).cloned();
        let network_id =
            engine.network(&attachment.name).map_or_else(|_| attachment.name.clone(), |network| network.id);
        Joined { attachment, network_id, endpoint }
    };
    let attachments = match &details.spec.network.mode {
        NetworkMode::Bridge(created) => engine.changed_attachments(id).unwrap_or_else(|| created.clone()),
        _ => Vec::new(),
    };
    attachments.into_iter().map(on).collect()
}

/// `NetworkSettings`: the addresses, and the networks that it is on.
pub(super) fn network_settings(engine: &Engine, details: &ContainerDetails) -> Value {
    let spec = &details.spec;
    if let NetworkMode::Container(other) = &spec.network.mode
        && let Ok(other) = engine.inspect_container(other, other.as_str())
    {
        // What the one has whose network it shares.
        return network_settings(engine, &other);
    }
    let mut settings = addresses();
    let mut ports: Map<String, Value> =
        spec.exposed_ports.iter().map(|port| (port.clone(), Value::Null)).collect();
    ports.extend(port_bindings(spec, "0.0.0.0"));
    ports.sort_keys();
    let mut networks = Map::new();
    if matches!(spec.network.mode, NetworkMode::None | NetworkMode::Host) {
        let name = network_mode(spec);
        let network = with_id(addresses(), &name);
        networks.insert(name, Value::Object(network));
    }
    if matches!(spec.network.mode, NetworkMode::Private(_)) {
        let running = (details.status.pid() != 0).then(|| engine.network_state(&spec.id)).flatten();
        let endpoint = running.as_ref().and_then(|state| state.endpoints.first());
        settings.extend(endpoint.map_or_else(addresses, endpoint_addresses));
    }
    let joined = joined(engine, details);
    for Joined { attachment, network_id, endpoint } in &joined {
        let mut network = endpoint.as_ref().map_or_else(addresses, endpoint_addresses);
        // The default network's are repeated at the top, those of others never were.
        if joined.len() == 1 && attachment.name == DEFAULT_NETWORK {
            settings.extend(network.clone());
        }
        network = with_id(network, network_id);
        network.insert("IPAMConfig".to_owned(), asked_for(attachment));
        let mut aliases = attachment.aliases.clone();
        aliases.push(spec.id.short().to_owned());
        network.insert("Aliases".to_owned(), aliases.into());
        networks.insert(attachment.name.clone(), Value::Object(network));
    }
    let rest = json!({
        "Bridge": "",
        "SandboxID": "",
        "HairpinMode": false,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "Ports": ports,
        "SandboxKey": match details.status.pid() { 0 => String::new(), pid => format!("/proc/{pid}/ns/net") },
        "Networks": networks,
    });
    settings.extend(rest.as_object().cloned().unwrap_or_default());
    Value::Object(settings)
}

/// `{"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}`, sorted by the container's port as a text. `every` is what is said
/// for every address of the host.
pub(crate) fn port_bindings(spec: &ContainerSpec, every: &str) -> Map<String, Value> {
    let host_ip = |port: PortMapping| port.host_ip.map_or_else(|| every.to_owned(), |ip| ip.to_string());
    let mut bindings = std::collections::BTreeMap::new();
    for port in spec.network.ports.iter().flat_map(|port| port.each()) {
        let host = json!({"HostIp": host_ip(port), "HostPort": port.host_port.to_string()});
        let inside = format!("{}/{}", port.container_port, port.protocol);
        if let Value::Array(of) = bindings.entry(inside).or_insert_with(|| json!([])) {
            of.push(host);
        }
    }
    bindings.into_iter().collect()
}

/// What a running container has on one network.
pub(super) fn endpoint_addresses(endpoint: &Endpoint) -> Map<String, Value> {
    let mut fields = addresses();
    for ip in &endpoint.ips {
        let keys = match ip.ip.is_ipv6() {
            false => ["IPAddress", "IPPrefixLen", "Gateway"],
            true => ["GlobalIPv6Address", "GlobalIPv6PrefixLen", "IPv6Gateway"],
        };
        let [address, prefix, gateway] = keys.map(str::to_owned);
        fields.insert(address, ip.ip.to_string().into());
        fields.insert(prefix, ip.prefix.into());
        fields.insert(gateway, ip.gateway.to_string().into());
    }
    fields.insert("MacAddress".to_owned(), mac_text(&endpoint.mac).into());
    fields
}

/// The addresses that were asked for, as docker shows them.
pub(super) fn asked_for(attachment: &NetworkAttachment) -> Value {
    let mut fields = Map::new();
    for ip in &attachment.ips {
        let key = if ip.is_ipv6() { "IPv6Address" } else { "IPv4Address" };
        fields.insert(key.to_owned(), ip.to_string().into());
    }
    if !attachment.link_local.is_empty() {
        let ips: Vec<String> = attachment.link_local.iter().map(ToString::to_string).collect();
        fields.insert("LinkLocalIPs".to_owned(), ips.into());
    }
    if fields.is_empty() { Value::Null } else { Value::Object(fields) }
}

/// The addresses on a network, and which network it is.
fn with_id(mut network: Map<String, Value>, id: &str) -> Map<String, Value> {
    network.insert("NetworkID".to_owned(), id.into());
    for key in ["DriverOpts", "IPAMConfig", "Links"] {
        network.insert(key.to_owned(), Value::Null);
    }
    network
}

/// What every network has and the default one repeats at the top.
pub(super) fn addresses() -> Map<String, Value> {
    let fields = json!({
        "EndpointID": "",
        "Gateway": "",
        "IPAddress": "",
        "IPPrefixLen": 0,
        "SecondaryIPAddresses": Value::Null,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "SecondaryIPv6Addresses": Value::Null,
        "MacAddress": "",
        "AdditionalMacAddresses": Value::Null,
    });
    fields.as_object().cloned().unwrap_or_default()
}
