//! Networks, ports and names.

use std::collections::BTreeMap;

use crate::api::containers::create::document::{HostConfig, PortBinding, Wanted};
use crate::api::document::Endpoint;
use crate::api::endpoint;
use crate::engine::request::ContainerRequest;
use crate::engine::{Error, Result};

/// Puts this part into a request.
///
/// # Errors
///
/// Values that mean nothing, and those that contradict each other.
pub(super) fn fill(wanted: &Wanted, host: &HostConfig, request: &mut ContainerRequest) -> Result<()> {
    networks(wanted, host, request)?;
    request.links.extend(host.links.iter().map(|text| link(text)));
    request.expose = wanted.exposed_ports.keys().cloned().collect();
    for (port, bindings) in &host.port_bindings {
        // Clients take ranges apart.
        let number = port.split('/').next().unwrap_or_default();
        if number.parse::<u16>().is_err() {
            return Err(Error::invalid(format!("invalid port specification: {number:?}")));
        }
        let bindings = bindings.as_deref().unwrap_or_default();
        request.publish.extend(bindings.iter().map(|binding| publish(port, binding)));
    }
    request.publish_all = host.publish_all_ports;
    request.dns.clone_from(&host.dns);
    request.dns_search.clone_from(&host.dns_search);
    request.dns_options.clone_from(&host.dns_options);
    request.add_hosts.clone_from(&host.extra_hosts);
    Ok(())
}

/// Docker's words for the usual network.
const USUAL: [&str; 3] = ["", "default", "bridge"];

fn networks(wanted: &Wanted, host: &HostConfig, request: &mut ContainerRequest) -> Result<()> {
    let mut endpoints = wanted.networking_config.endpoints_config.clone();
    let mode = if wanted.network_disabled { "none" } else { host.network_mode.as_str() };
    if matches!(mode, "host" | "none") || mode.contains(':') {
        if let Some(other) = endpoints.keys().find(|name| *name != mode) {
            return Err(Error::invalid(format!(
                "conflicting options: a container of network mode {mode} cannot be on the network {other}"
            )));
        }
        request.networks = vec![mode.to_owned()];
        return Ok(());
    }
    // Who names networks only there is on them alone.
    let is_usual = USUAL.contains(&mode);
    let key = match is_usual {
        false => Some(mode),
        true => USUAL.into_iter().find(|word| endpoints.contains_key(*word)),
    };
    let first = key.and_then(|key| endpoints.remove(key)).flatten();
    let mut all = Vec::new();
    if !is_usual || key.is_some() || endpoints.is_empty() {
        // Nothing at all leaves it to the configuration.
        if !(is_usual && mode != "bridge" && key.is_none()) {
            all.push((if is_usual { "bridge" } else { mode }.to_owned(), first.unwrap_or_default()));
        }
    }
    all.extend(endpoints.into_iter().map(|(name, endpoint)| (name, endpoint.unwrap_or_default())));
    match all.first_mut() {
        Some((_, first)) if first.mac_address.is_empty() => first.mac_address.clone_from(&wanted.mac_address),
        Some(_) => {}
        None => request.mac = Some(wanted.mac_address.clone()).filter(|mac| !mac.is_empty()),
    }
    for (place, (name, endpoint)) in all.into_iter().enumerate() {
        request.links.extend(endpoint.links.iter().map(|text| link(text)));
        request.networks.push(attachment(&name, &endpoint, place, &mut request.sysctls)?);
    }
    Ok(())
}

/// `NAME:OPTION,…`, as `--network` takes it.
fn attachment(
    name: &str,
    endpoint: &Endpoint,
    place: usize,
    sysctls: &mut BTreeMap<String, String>,
) -> Result<String> {
    let options = endpoint::options(name, endpoint, place, sysctls)?;
    Ok(if options.is_empty() { name.to_owned() } else { format!("{name}:{options}") })
}

/// `NAME:ALIAS`; `inspect` has it as `/NAME:/CONTAINER/ALIAS`.
fn link(text: &str) -> String {
    let (name, alias) = text.split_once(':').unwrap_or((text, text));
    let alias = alias.rsplit('/').next().unwrap_or(alias);
    format!("{}:{alias}", name.trim_start_matches('/'))
}

/// As `--publish` takes it.
fn publish(port: &str, binding: &PortBinding) -> String {
    let PortBinding { host_ip, host_port } = binding;
    match (host_ip.as_str(), host_port.as_str()) {
        ("", "") => port.to_owned(),
        ("", host_port) => format!("{host_port}:{port}"),
        (ip, host_port) if ip.contains(':') && !ip.starts_with('[') => format!("[{ip}]:{host_port}:{port}"),
        (ip, host_port) => format!("{ip}:{host_port}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::document;

    fn filled(document: Value) -> Result<ContainerRequest> {
        let wanted: Wanted = document::of_value(document).unwrap();
        let mut request = ContainerRequest::default();
        fill(&wanted, &wanted.host_config.own, &mut request)?;
        Ok(request)
    }

    #[test]
    fn which_networks() {
        let asked = |mode: &str, endpoints: Value| {
            let document = json!({
                "HostConfig": {"NetworkMode": mode}, "NetworkingConfig": {"EndpointsConfig": endpoints},
            });
            filled(document).map(|request| request.networks)
        };
        for (mode, endpoints, want) in [
            ("", json!(null), &[][..]),
            ("default", json!({}), &[]),
            ("bridge", json!({}), &["bridge"]),
            ("default", json!({"default": {"Aliases": ["a"]}}), &["bridge:alias=a"]),
            ("bridge", json!({"bridge": null}), &["bridge"]),
            ("default", json!({"own": null}), &["own"]),
            ("own", json!(null), &["own"]),
            ("own", json!({"own": {"IPAMConfig": null, "Aliases": null}}), &["own"]),
            (
                "own",
                json!({"also": {"GwPriority": 1}, "own": {
                    "IPAMConfig": {"IPv4Address": "10.0.0.2", "IPv6Address": "fd::2"},
                    "MacAddress": "02:00:00:00:00:01", "Aliases": ["a", "b"],
                    "DriverOpts": {"com.docker.network.endpoint.ifname": "lan0"},
                }}),
                &[
                    "own:ip=10.0.0.2,ip6=fd::2,mac=02:00:00:00:00:01,alias=a,alias=b,interface_name=lan0",
                    "also:gw-priority=1",
                ],
            ),
            ("host", json!({"host": {}}), &["host"]),
            ("none", json!(null), &["none"]),
            ("container:x", json!(null), &["container:x"]),
        ] {
            assert_eq!(asked(mode, endpoints.clone()).unwrap(), want, "{mode} {endpoints}");
        }
        for (mode, endpoints) in [
            ("host", json!({"own": {}})),
            ("own", json!({"own": {"Aliases": ["a,ip=1.2.3.4"]}})),
            ("own", json!({"own": {"DriverOpts": {"huh": "1"}}})),
        ] {
            assert!(asked(mode, endpoints.clone()).is_err(), "{mode} {endpoints}");
        }
        assert_eq!(filled(json!({"NetworkDisabled": true})).unwrap().networks, ["none"]);
    }

    #[test]
    fn addresses_of_the_container() {
        let document = json!({"MacAddress": "02:00:00:00:00:01"});
        assert_eq!(filled(document).unwrap().mac.as_deref(), Some("02:00:00:00:00:01"));
        let document = json!({"MacAddress": "02:00:00:00:00:01", "HostConfig": {"NetworkMode": "own"}});
        assert_eq!(filled(document).unwrap().networks, ["own:mac=02:00:00:00:00:01"]);
    }

    #[test]
    fn ports() {
        let request = filled(json!({
            "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
            "HostConfig": {"PublishAllPorts": true, "PortBindings": {
                "80/tcp": [{"HostIp": "", "HostPort": "8080"}, {"HostIp": "127.0.0.1", "HostPort": ""}],
                "53/udp": [{"HostIp": "::1", "HostPort": "53"}, {}],
                "90/tcp": null,
            }},
        }))
        .unwrap();
        assert_eq!(request.publish, ["[::1]:53:53/udp", "53/udp", "8080:80/tcp", "127.0.0.1::80/tcp"]);
        assert_eq!(request.expose, ["53/udp", "80/tcp"]);
        assert!(request.publish_all);
        for port in ["1-65535/tcp", "x", ""] {
            assert!(filled(json!({"HostConfig": {"PortBindings": {port: [{}]}}})).is_err(), "{port}");
        }
    }

    #[test]
    fn links() {
        for (text, want) in [("a:b", "a:b"), ("a", "a:a"), ("/db:/web/data", "db:data")] {
            assert_eq!(link(text), want);
        }
    }
}
