//! The document about a network.

pub(crate) mod names;

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::pruned::prune;
use super::{add, pick};
use crate::base::digest::Digest;
use crate::base::network::mac_text;
use crate::engine::network;
use crate::engine::{Engine, Error, Kind, Result};
use crate::net::ipam::{LeaseRange, Subnet};
use crate::net::network::Network;

/// `docker network inspect`: its fields.
const DOCKERS: &[&str] = &[
    "Name",
    "Id",
    "Created",
    "Scope",
    "Driver",
    "EnableIPv4",
    "EnableIPv6",
    "IPAM",
    "Internal",
    "Attachable",
    "Ingress",
    "ConfigFrom",
    "ConfigOnly",
    "Containers",
    "Options",
    "Labels",
];

/// What `docker network inspect` says of each subnet.
const POOL: &[&str] = &["Subnet", "IPRange", "Gateway", "AuxiliaryAddresses"];

/// What `docker network inspect` says of each container.
const ENDPOINT: &[&str] = &["Name", "EndpointID", "MacAddress", "IPv4Address", "IPv6Address"];

/// Fields of docker's document that JSON leaves out when they are empty.
pub(crate) const DOCKERS_OMIT: &[&str] = &["IPRange", "Gateway", "AuxiliaryAddresses"];

/// Docker's document about the network that `typed` means, `host` and `none` among them; with `verbose` the containers that
/// do not run are in it, too.
///
/// # Errors
///
/// [`Kind::NotFound`]; if the store cannot be read.
pub(crate) fn docker(engine: &Engine, typed: &str, verbose: bool) -> Result<Value> {
    Ok(prune(&whole_docker(engine, typed, verbose)?, DOCKERS_OMIT))
}

/// Docker's document about a network as lists have it: without its containers.
///
/// # Errors
///
/// None that is known.
pub(crate) fn docker_listed(network: &Network) -> Result<Value> {
    Ok(prune(&docker_document(&template_row(&record(network)?)), DOCKERS_OMIT))
}

/// As [`docker`], with the fields that JSON leaves out when they are empty.
///
/// # Errors
///
/// As [`docker`].
pub(crate) fn whole_docker(engine: &Engine, typed: &str, verbose: bool) -> Result<Value> {
    let document = match document(engine, typed, verbose) {
        Err(err) if err.kind == Kind::NotFound => match names::mode(typed) {
            Some(mode) => record(&mode)?,
            None => return Err(err),
        },
        other => other?,
    };
    Ok(docker_document(&template_row(&document)))
}

/// The record in JSON, which is podman's form.
pub(crate) fn record(network: &Network) -> Result<Value> {
    serde_json::to_value(network).map_err(|err| Error::system("write down a network", err))
}

/// podman's `network inspect`: the record and the running containers; with `verbose` the others, too, which have no
/// interfaces.
pub(crate) fn document(engine: &Engine, name: &str, verbose: bool) -> Result<Value> {
    let network = engine.network(name)?;
    let mut containers = serde_json::Map::new();
    for (id, name, endpoint) in engine.endpoints_on(&network.name)? {
        let subnets: Vec<Value> = endpoint
            .ips
            .iter()
            .map(|ip| json!({"ipnet": format!("{}/{}", ip.ip, ip.prefix), "gateway": ip.gateway}))
            .collect();
        let interface = json!({"subnets": subnets, "mac_address": mac_text(&endpoint.mac)});
        let interfaces = json!({endpoint.interface: interface});
        containers.insert(id.to_string(), json!({"name": name, "interfaces": interfaces}));
    }
    for id in if verbose { engine.containers_on(&network.name)? } else { Vec::new() } {
        let name = engine.store().names().of(&id)?.into_iter().next().unwrap_or_default();
        containers.entry(id.to_string()).or_insert_with(|| json!({"name": name, "interfaces": {}}));
    }
    let mut document = record(&network)?;
    document["containers"] = Value::Object(containers);
    Ok(document)
}

/// What docker has for the place of a container on a network: 64 hex digits.
pub(crate) fn endpoint_id(container: impl std::fmt::Display, network_id: &str) -> String {
    Digest::of(format!("endpoint {container} {network_id}").as_bytes()).hex()
}

/// The names of the Go fields, which templates use.
pub(crate) fn template_row(document: &Value) -> Value {
    let mut row = document.clone();
    for (go, own) in [
        ("Name", "name"),
        ("ID", "id"),
        ("Driver", "driver"),
        ("NetworkInterface", "network_interface"),
        ("Created", "created"),
        ("IPv6Enabled", "ipv6_enabled"),
        ("Internal", "internal"),
        ("DNSEnabled", "dns_enabled"),
        ("Labels", "labels"),
        ("Options", "options"),
        ("IPAMOptions", "ipam_options"),
        ("Containers", "containers"),
        ("NetworkDNSServers", "network_dns_servers"),
        ("Attachable", "attachable"),
        ("ConfigOnly", "config_only"),
    ] {
        row[go] = document.get(own).cloned().unwrap_or(Value::Null);
    }
    for map in ["Labels", "Options"] {
        if row[map].is_null() {
            row[map] = json!({});
        }
    }
    let subnets = document["subnets"].as_array().cloned().unwrap_or_default();
    let range = |range: &Value| match range {
        Value::Null => Value::Null,
        range => json!({"StartIP": range["start_ip"], "EndIP": range["end_ip"]}),
    };
    let subnet = |subnet: &Value| json!({"Subnet": subnet["subnet"], "Gateway": subnet["gateway"], "LeaseRange": range(&subnet["lease_range"])});
    row["Subnets"] = match subnets.is_empty() {
        true => Value::Null,
        false => subnets.iter().map(subnet).collect(),
    };
    row["Routes"] = document.get("routes").cloned().unwrap_or_else(|| json!([]));
    add_docker(&mut row);
    row
}

/// What `docker network inspect` prints, out of what a template sees.
fn docker_document(row: &Value) -> Value {
    let mut document = pick(row, DOCKERS);
    document["Id"] = row["id"].clone();
    document["Name"] = names::name(row["Name"].as_str().unwrap_or_default()).into();
    document["Options"] = docker_options(row).into();
    for pool in document["IPAM"]["Config"].as_array_mut().into_iter().flatten() {
        // Its name in JSON.
        pool["AuxiliaryAddresses"] = pool["AuxAddress"].clone();
        *pool = pick(pool, POOL);
    }
    if let Value::Object(containers) = &mut document["Containers"] {
        let network_id = row["id"].as_str().unwrap_or_default();
        for (id, container) in containers {
            *container = pick(container, ENDPOINT);
            container["EndpointID"] = endpoint_id(id, network_id).into();
        }
    } else {
        document["Containers"] = json!({});
    }
    document
}

/// The options under docker's names: whoever makes the network again compares them.
fn docker_options(row: &Value) -> Map<String, Value> {
    let known = row["Options"].as_object().into_iter().flatten();
    let named = |(key, value): (&String, &Value)| {
        (network::dockers_option(key).unwrap_or(key).to_owned(), value.clone())
    };
    let mut options: Map<String, Value> = known.map(named).collect();
    let bridge = row["NetworkInterface"].as_str().unwrap_or_default();
    let is_chosen = bridge.strip_prefix("ketch").is_some_and(|number| number.parse::<usize>().is_ok());
    if !bridge.is_empty() && !is_chosen {
        options.insert(network::BRIDGE_NAME.to_owned(), bridge.into());
    }
    options
}

/// Adds `docker network inspect`'s and `network ls`'s fields to the document about a network.
fn add_docker(document: &mut Value) {
    document["Scope"] = "local".into();
    document["EnableIPv6"] = document["IPv6Enabled"].clone();
    document["IPv6"] = document["IPv6Enabled"].clone();
    document["CreatedAt"] = document["Created"].clone();
    for key in ["Attachable", "ConfigOnly"] {
        document[key] = (document[key] == Value::Bool(true)).into();
    }
    document["ConfigFrom"] = json!({"Network": document["config_from"].as_str().unwrap_or_default()});
    // Networks of swarms only.
    document["Ingress"] = false.into();
    let subnets = document["Subnets"].as_array().cloned().unwrap_or_default();
    let others = document["aux_addresses"].clone();
    let config: Vec<Value> = subnets.iter().map(|subnet| pool(subnet, &others)).collect();
    let is_v4 = |pool: &Value| pool["Subnet"].as_str().is_some_and(|subnet| !subnet.contains(':'));
    for key in ["EnableIPv4", "IPv4"] {
        document[key] = config.iter().any(is_v4).into();
    }
    if let Value::Object(containers) = &mut document["Containers"] {
        containers.values_mut().for_each(endpoint);
    }
    let mut options = document["IPAMOptions"].as_object().cloned().unwrap_or_default();
    options.remove("driver");
    let options = if options.is_empty() { Value::Null } else { Value::Object(options) };
    document["IPAM"] = json!({"Driver": "default", "Options": options, "Config": config});
}

/// What Docker's `IPAM.Config` says of one subnet, which listings have as a text. `others` are the addresses that
/// something else has, by name.
fn pool(subnet: &Value, others: &Value) -> Value {
    let of = subnet.get("Subnet").unwrap_or(subnet);
    let parsed: Option<Subnet> = of.as_str().and_then(|text| text.parse().ok());
    let within = |ip: &Value| -> bool {
        let ip: Option<IpAddr> = ip.as_str().and_then(|text| text.parse().ok());
        parsed.zip(ip).is_some_and(|(subnet, ip)| subnet.contains(ip))
    };
    let others: Map<String, Value> = others
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, ip)| within(ip))
        .map(|(name, ip)| (name.clone(), ip.clone()))
        .collect();
    json!({
        "Subnet": of,
        "IPRange": parsed.map_or_else(String::new, |of| range(of, &subnet["LeaseRange"])),
        "Gateway": subnet["Gateway"].as_str().unwrap_or_default(),
        "AuxAddress": others,
    })
}

/// A range of addresses as Docker takes it, `ADDRESS/PREFIX`; one that is none as `FIRST-LAST`.
fn range(of: Subnet, range: &Value) -> String {
    let address = |key: &str| -> Option<IpAddr> { range[key].as_str()?.parse().ok() };
    let Some((start_ip, end_ip)) = address("StartIP").zip(address("EndIP")) else { return String::new() };
    let range = LeaseRange { start_ip, end_ip };
    let bits = if start_ip.is_ipv6() { 128 } else { 32 };
    let parts = (of.prefix()..=bits).filter_map(|prefix| Subnet::new(start_ip, prefix));
    let part = parts.into_iter().find(|part| LeaseRange::of(*part) == range);
    part.map_or_else(|| format!("{start_ip}-{end_ip}"), |part| part.to_string())
}

/// Adds Docker's fields to a container of a network: its addresses at one level.
fn endpoint(container: &mut Value) {
    let interfaces = container["interfaces"].as_object().cloned().unwrap_or_default();
    let interface = interfaces.values().next().cloned().unwrap_or_default();
    let of_family = |v6: bool| {
        let ips = interface["subnets"].as_array().into_iter().flatten();
        let mut ips = ips.filter_map(|of| of["ipnet"].as_str());
        ips.find(|ip| ip.contains(':') == v6).unwrap_or_default().to_owned()
    };
    let fields = json!({
        "Name": container["name"],
        "EndpointID": "",
        "MacAddress": interface["mac_address"].as_str().unwrap_or_default(),
        "IPv4Address": of_family(false),
        "IPv6Address": of_family(true),
    });
    add(container, fields);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_places_of_the_same() {
        let mut network_row =
            json!({"Subnets": [{"Subnet": "10.0.0.0/8", "Gateway": "10.0.0.1"}], "IPv6Enabled": true});
        add_docker(&mut network_row);
        assert_eq!(network_row["IPAM"]["Config"][0]["Gateway"], "10.0.0.1");
        assert_eq!(network_row["EnableIPv6"], true);
    }
}
