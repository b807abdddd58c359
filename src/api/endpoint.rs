//! How a container is on a network: what clients ask for when it is created, and when it is connected later.

use std::collections::BTreeMap;

use super::document::{Endpoint, texts};
use crate::base::network::{self, NetworkAttachment};
use crate::engine::{Error, Result};

/// `OPTION,…`, as `--network NAME:` takes them, but for links; what it asks of the kernel's parameters goes to `sysctls`. `place` is the
/// network's among the container's.
///
/// # Errors
///
/// For options that there are not, and values that would be several.
pub(super) fn options(
    name: &str,
    endpoint: &Endpoint,
    place: usize,
    sysctls: &mut BTreeMap<String, String>,
) -> Result<String> {
    let ipam = &endpoint.ipam_config;
    let mut driver_options = texts(&endpoint.driver_opts);
    let interface = network::interface_of(&mut driver_options, None, place, sysctls);
    if let Some(unknown) = driver_options.keys().next() {
        return Err(Error::invalid(format!("network {name}: unknown driver option {unknown:?}")));
    }
    let mut options: Vec<(&str, String)> = Vec::new();
    let mut add = |key, value: &String| {
        if !value.is_empty() {
            options.push((key, value.clone()));
        }
    };
    add("ip", &ipam.ipv4_address);
    add("ip6", &ipam.ipv6_address);
    ipam.link_local_ips.iter().for_each(|ip| add("link-local-ip", ip));
    add("mac", &endpoint.mac_address);
    endpoint.aliases.iter().for_each(|alias| add("alias", alias));
    interface.iter().for_each(|name| add("interface_name", name));
    if endpoint.gw_priority != 0 {
        add("gw-priority", &endpoint.gw_priority.to_string());
    }
    if let Some((key, value)) = options.iter().find(|(_, value)| value.contains(',')) {
        return Err(Error::invalid(format!("network {name}: invalid {key} {value:?}")));
    }
    let options: Vec<_> = options.iter().map(|(key, value)| format!("{key}={value}")).collect();
    Ok(options.join(","))
}

/// What an endpoint asks of the network `name` when a container is connected to it, without its links.
///
/// # Errors
///
/// As [`options`]; for addresses that are none; for parameters of the kernel, which are set when a container starts.
pub(super) fn attachment(name: &str, endpoint: &Endpoint) -> Result<NetworkAttachment> {
    let mut sysctls = BTreeMap::new();
    let options = options(name, endpoint, 0, &mut sysctls)?;
    if let Some(parameter) = sysctls.keys().next() {
        return Err(Error::invalid(format!(
            "network {name}: {parameter} cannot be set for a container that is there already"
        )));
    }
    let asked = format!("x:{options}").parse::<NetworkAttachment>();
    let asked = asked.map_err(|err| Error::invalid(err.to_string()))?;
    Ok(NetworkAttachment { name: name.to_owned(), ..asked })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::document;

    #[test]
    fn an_endpoint_as_clients_ask_for_it() {
        let endpoint: Endpoint = document::of_value(json!({
            "IPAMConfig": {"IPv4Address": "10.9.0.7", "IPv6Address": ""}, "Links": null, "Aliases": ["db"],
            "MacAddress": "02:42:ac:11:00:04", "NetworkID": "", "EndpointID": "", "Gateway": "", "DriverOpts": null, "GwPriority": 3,
        }))
        .unwrap();
        let wanted = attachment("net", &endpoint).unwrap();
        assert_eq!(
            (wanted.name.as_str(), wanted.gw_priority, wanted.aliases),
            ("net", 3, vec!["db".to_owned()])
        );
        assert_eq!(
            (wanted.ips, wanted.mac),
            (vec!["10.9.0.7".parse().unwrap()], Some([2, 0x42, 0xac, 0x11, 0, 4]))
        );
        let nulls = json!({"IPAMConfig": {"IPv4Address": null, "LinkLocalIPs": null}, "MacAddress": null, "GwPriority": null});
        let nulls: Endpoint = document::of_value(nulls).unwrap();
        let plain = attachment("a:ip=10.0.0.1", &nulls).unwrap();
        assert_eq!((plain.name.as_str(), plain.ips.len()), ("a:ip=10.0.0.1", 0));
        for bad in [
            json!({"MacAddress": "x"}),
            json!({"Aliases": ["a,ip=10.0.0.1"]}),
            json!({"IPAMConfig": {"IPv4Address": "10.0.0"}}),
            json!({"DriverOpts": {"huh": "1"}}),
            json!({"DriverOpts": {"com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.forwarding=1"}}),
        ] {
            let endpoint = document::of_value(bad.clone()).unwrap();
            assert!(attachment("net", &endpoint).is_err(), "{bad}");
        }
    }
}
