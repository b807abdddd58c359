//! Networks. The default one is called `bridge` there, and `host` and `none` are networks, too.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;
use serde_json::{Value, json};

use super::fault::Fault;
use super::http::exchange::{Answer, Exchange};
use crate::base::network::{NetworkAttachment, parse_link_local, parse_mac};
use crate::documents::network as document;
use crate::engine::network::{FAMILIES, FILTERS, NetworkRequest};
use crate::engine::{Error, Kind, filter};
use crate::net::network::DEFAULT_NETWORK;

/// The body of `POST /networks/create`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Create {
    name: String,
    driver: String,
    scope: String,
    internal: bool,
    attachable: bool,
    ingress: bool,
    config_only: bool,
    config_from: Option<ConfigFrom>,
    #[serde(rename = "IPAM")]
    ipam: Option<Ipam>,
    #[serde(rename = "EnableIPv4")]
    enable_ipv4: Option<bool>,
    #[serde(rename = "EnableIPv6")]
    enable_ipv6: Option<bool>,
    options: Option<BTreeMap<String, String>>,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ConfigFrom {
    network: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Ipam {
    driver: String,
    options: Option<BTreeMap<String, String>>,
    config: Option<Vec<Pool>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Pool {
    subnet: String,
    #[serde(rename = "IPRange")]
    ip_range: String,
    gateway: String,
    auxiliary_addresses: Option<BTreeMap<String, String>>,
}

/// How a container is to be on a network (`EndpointSettings`). What it is told of an endpoint that exists means nothing here.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct EndpointSettings {
    #[serde(rename = "IPAMConfig")]
    pub(crate) ipam: Option<EndpointIpam>,
    #[serde(rename = "Links")]
    pub(crate) links: Option<Vec<String>>,
    #[serde(rename = "Aliases")]
    pub(crate) aliases: Option<Vec<String>>,
    #[serde(rename = "MacAddress")]
    pub(crate) mac_address: String,
    #[serde(rename = "DriverOpts")]
    pub(crate) driver_opts: Option<BTreeMap<String, String>>,
    #[serde(rename = "GwPriority")]
    pub(crate) gw_priority: i32,
}

/// The addresses that are asked for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct EndpointIpam {
    #[serde(rename = "IPv4Address")]
    pub(crate) ipv4: String,
    #[serde(rename = "IPv6Address")]
    pub(crate) ipv6: String,
    #[serde(rename = "LinkLocalIPs")]
    pub(crate) link_local: Option<Vec<String>>,
}

impl EndpointSettings {
    /// What it asks of the network `name`, without its links.
    ///
    /// # Errors
    ///
    /// For addresses and options that mean nothing.
    pub(crate) fn attachment(&self, name: &str) -> Result<NetworkAttachment, Error> {
        let invalid = |text: &str| Error::invalid(format!("invalid address: {text}"));
        let mut wanted = NetworkAttachment {
            name: name.to_owned(),
            interface: None,
            ips: Vec::new(),
            mac: None,
            link_local: Vec::new(),
            aliases: self.aliases.clone().unwrap_or_default(),
            gw_priority: self.gw_priority,
            links: Vec::new(),
        };
        if let Some(ipam) = &self.ipam {
            for text in [&ipam.ipv4, &ipam.ipv6].into_iter().filter(|text| !text.is_empty()) {
                wanted.ips.push(text.parse::<IpAddr>().map_err(|_| invalid(text))?);
            }
            for text in ipam.link_local.iter().flatten() {
                wanted
                    .link_local
                    .push(parse_link_local(text).map_err(|err| Error::invalid(err.to_string()))?);
            }
        }
        if !self.mac_address.is_empty() {
            let mac = parse_mac(&self.mac_address).map_err(|err| Error::invalid(err.to_string()))?;
            wanted.mac = Some(mac);
        }
        for (key, value) in self.driver_opts.iter().flatten() {
            let option = format!("{key}={value}");
            wanted.driver_option(&option).map_err(|err| Error::invalid(err.to_string()))?;
        }
        Ok(wanted)
    }
}

/// `GET /networks`: without the containers on them.
pub(crate) fn list(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let engine = exchange.engine()?;
    let all = document::names::all(&engine)?;
    let found = engine.filtered_among(&exchange.filters_of(FILTERS)?, all)?;
    let documents: Vec<_> = found.iter().map(document::docker_listed).collect::<Result<_, _>>()?;
    Ok(Answer::ok(documents))
}

/// `GET /networks/NAME`.
pub(crate) fn inspect(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let typed = exchange.param(0);
    if let Some(scope) = exchange.query("scope").filter(|scope| !matches!(*scope, "" | "local")) {
        return Err(Fault::new(404, format!("network {typed} not found in scope {scope}")));
    }
    let found = document::docker(&*exchange.engine()?, typed, exchange.flag("verbose"));
    Ok(Answer::ok(found.map_err(|err| missing(typed, err))?))
}

/// `POST /networks/create`.
pub(crate) fn create(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let request = exchange.json::<Create>()?.request()?;
    let engine = exchange.engine()?;
    match engine.create_network(&request) {
        Ok(network) => Ok(Answer::Json(201, json!({"Id": network.id, "Warning": ""}))),
        Err(err) if err.kind == Kind::Conflict && engine.network(&request.name).is_ok() => {
            Err(Fault::new(409, format!("network with name {} already exists", request.name)))
        }
        Err(err) => Err(err.into()),
    }
}

impl Create {
    fn request(self) -> Result<NetworkRequest, Fault> {
        if self.name.is_empty() {
            return Err(Fault::new(400, "a network needs a name"));
        }
        if !matches!(self.scope.as_str(), "" | "local") {
            return Err(Fault::new(403, "This node is not a swarm manager."));
        }
        let mut request = NetworkRequest {
            name: self.name,
            driver: if self.driver.is_empty() { "bridge".to_owned() } else { self.driver },
            internal: self.internal,
            attachable: self.attachable,
            ingress: self.ingress,
            config_only: self.config_only,
            config_from: self.config_from.map(|from| from.network).filter(|name| !name.is_empty()),
            ipv6: self.enable_ipv6.unwrap_or(false),
            no_ipv4: self.enable_ipv4 == Some(false),
            labels: self.labels.unwrap_or_default(),
            options: self.options.unwrap_or_default(),
            ..NetworkRequest::default()
        };
        // Compose sends both; the fields win.
        request.options.retain(|key, _| !FAMILIES.contains(&key.as_str()));
        let ipam = self.ipam.unwrap_or_default();
        request.ipam_driver = match ipam.driver.as_str() {
            "" | "default" => String::new(),
            other => other.to_owned(),
        };
        request.ipam_options = ipam.options.unwrap_or_default();
        for pool in ipam.config.into_iter().flatten() {
            let given = |text: String| Some(text).filter(|text| !text.is_empty());
            request.subnets.extend(given(pool.subnet));
            request.gateways.extend(given(pool.gateway));
            request.ranges.extend(given(pool.ip_range));
            request.aux_addresses.extend(pool.auxiliary_addresses.into_iter().flatten());
        }
        Ok(request)
    }
}

/// `DELETE /networks/NAME`.
pub(crate) fn remove(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let typed = exchange.param(0);
    if typed == "bridge" || typed == DEFAULT_NETWORK || document::names::mode(typed).is_some() {
        return Err(Fault::new(403, format!("{typed} is a pre-defined network and cannot be removed")));
    }
    exchange.engine()?.remove_network(typed, false, None).map_err(|err| match err.kind {
        Kind::Conflict => Fault::new(403, format!("error while removing network: {}", err.whole())),
        _ => missing(typed, err),
    })?;
    Ok(Answer::Empty(204))
}

/// `POST /networks/prune`.
pub(crate) fn prune(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let removed = exchange.engine()?.prune_networks(&exchange.filters_of(filter::PRUNE)?)?;
    let removed = if removed.is_empty() { Value::Null } else { removed.into() };
    Ok(Answer::ok(json!({"NetworksDeleted": removed})))
}

/// The body of `POST /networks/NAME/connect`, and of `disconnect`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Connection {
    container: String,
    endpoint_config: Option<EndpointSettings>,
    force: bool,
}

/// `POST /networks/NAME/connect`.
pub(crate) fn connect(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let asked: Connection = exchange.json()?;
    let endpoint = asked.endpoint_config.unwrap_or_default();
    let wanted = endpoint.attachment(exchange.param(0))?;
    let links = endpoint.links.unwrap_or_default();
    exchange.engine()?.connect_network(&asked.container, wanted, &links).map_err(|err| match err.kind {
        Kind::Conflict => Fault::new(403, err.whole()),
        _ => err.into(),
    })?;
    Ok(Answer::Empty(200))
}

/// `POST /networks/NAME/disconnect`. With `Force` a container that is gone, or not on it, is no fault.
pub(crate) fn disconnect(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let asked: Connection = exchange.json()?;
    match exchange.engine()?.disconnect_network(&asked.container, exchange.param(0)) {
        Err(err) if err.kind == Kind::NotFound && asked.force => {}
        other => other?,
    }
    Ok(Answer::Empty(200))
}

fn missing(typed: &str, err: Error) -> Fault {
    match err.kind {
        Kind::NotFound => Fault::new(404, format!("network {typed} not found")),
        _ => err.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_as_compose_asks_for_it() {
        let asked: Create = serde_json::from_value(json!({
            "CheckDuplicate": true, "Name": "app_default", "Driver": "bridge", "EnableIPv6": true, "EnableIPv4": null,
            "IPAM": {"Driver": "default", "Options": null, "Config": [
                {"Subnet": "10.9.0.0/24", "IPRange": "10.9.0.128/25", "Gateway": "10.9.0.1", "AuxiliaryAddresses": {"a": "10.9.0.9"}},
                {"Subnet": "fd09::/64"},
            ]},
            "Internal": true, "Attachable": false, "Ingress": false, "ConfigOnly": false, "ConfigFrom": {"Network": ""},
            "Options": {"com.docker.network.driver.mtu": "1400", "com.docker.network.enable_ipv6": "true"}, "Labels": {"a": "b"},
        }))
        .unwrap();
        let request = asked.request().unwrap();
        assert_eq!(
            (request.name.as_str(), request.driver.as_str(), request.internal),
            ("app_default", "bridge", true)
        );
        assert_eq!((request.ipv6, request.no_ipv4, request.config_from), (true, false, None));
        assert_eq!(request.subnets, ["10.9.0.0/24", "fd09::/64"]);
        assert_eq!(
            (request.gateways, request.ranges),
            (vec!["10.9.0.1".to_owned()], vec!["10.9.0.128/25".to_owned()])
        );
        assert_eq!(request.aux_addresses["a"], "10.9.0.9");
        assert_eq!(request.options.keys().collect::<Vec<_>>(), ["com.docker.network.driver.mtu"]);
        assert_eq!((request.ipam_driver.as_str(), request.labels["a"].as_str()), ("", "b"));
        assert_eq!(Create::default().request().unwrap_err().status, 400);
        let swarm = Create { name: "x".to_owned(), scope: "swarm".to_owned(), ..Create::default() };
        assert_eq!(swarm.request().unwrap_err().status, 403);
    }

    #[test]
    fn an_endpoint_as_clients_ask_for_it() {
        let settings: EndpointSettings = serde_json::from_value(json!({
            "IPAMConfig": {"IPv4Address": "10.9.0.7", "IPv6Address": ""}, "Links": null, "Aliases": ["db"],
            "MacAddress": "02:42:ac:11:00:04", "NetworkID": "", "EndpointID": "", "Gateway": "", "DriverOpts": null, "GwPriority": 3,
        }))
        .unwrap();
        let wanted = settings.attachment("net").unwrap();
        assert_eq!(
            (wanted.name.as_str(), wanted.gw_priority, wanted.aliases),
            ("net", 3, vec!["db".to_owned()])
        );
        assert_eq!(
            (wanted.ips, wanted.mac),
            (vec!["10.9.0.7".parse().unwrap()], Some([2, 0x42, 0xac, 0x11, 0, 4]))
        );
        let bad = EndpointSettings { mac_address: "x".to_owned(), ..EndpointSettings::default() };
        assert!(bad.attachment("net").is_err());
    }
}
