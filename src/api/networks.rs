//! Networks. The default one is called `bridge` there, and `host` and `none` are networks, too.

use serde_json::{Value, json};

use super::document::{Endpoint, Texts, documents, texts};
use super::endpoint;
use super::fault::Fault;
use super::http::exchange::{Answer, Exchange};
use crate::documents::network as document;
use crate::engine::network::{FAMILIES, FILTERS, NetworkRequest};
use crate::engine::{Error, Kind, filter};

documents! {
    /// The body of `POST /networks/create`.
    Create {
        name: String,
        driver: String,
        scope: String,
        internal: bool,
        attachable: bool,
        ingress: bool,
        config_only: bool,
        config_from: ConfigFrom,
        #[serde(rename = "IPAM")]
        ipam: Ipam,
        #[serde(rename = "EnableIPv4")]
        enable_ipv4: Option<bool>,
        #[serde(rename = "EnableIPv6")]
        enable_ipv6: bool,
        options: Texts,
        labels: Texts,
    }

    ConfigFrom {
        network: String,
    }

    Ipam {
        driver: String,
        options: Texts,
        config: Vec<Pool>,
    }

    Pool {
        subnet: String,
        #[serde(rename = "IPRange")]
        ip_range: String,
        gateway: String,
        auxiliary_addresses: Texts,
    }

    /// The body of `POST /networks/NAME/connect`, and of `disconnect`.
    Connection {
        container: String,
        endpoint_config: Endpoint,
        force: bool,
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
            config_from: Some(self.config_from.network).filter(|name| !name.is_empty()),
            ipv6: self.enable_ipv6,
            no_ipv4: self.enable_ipv4 == Some(false),
            labels: texts(&self.labels),
            options: texts(&self.options),
            ..NetworkRequest::default()
        };
        // Compose sends both; the fields win.
        request.options.retain(|key, _| !FAMILIES.contains(&key.as_str()));
        let ipam = self.ipam;
        request.ipam_driver = match ipam.driver.as_str() {
            "" | "default" => String::new(),
            other => other.to_owned(),
        };
        request.ipam_options = texts(&ipam.options);
        for pool in ipam.config {
            let given = |text: String| Some(text).filter(|text| !text.is_empty());
            request.subnets.extend(given(pool.subnet));
            request.gateways.extend(given(pool.gateway));
            request.ranges.extend(given(pool.ip_range));
            request.aux_addresses.extend(texts(&pool.auxiliary_addresses));
        }
        Ok(request)
    }
}

/// `DELETE /networks/NAME`.
pub(crate) fn remove(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let typed = exchange.param(0);
    let engine = exchange.engine()?;
    let name =
        document::names::mode(typed).or_else(|| engine.network(typed).ok()).map(|network| network.name);
    let name = name.as_deref().map_or(typed, document::names::name);
    if matches!(name, "bridge" | "host" | "none") {
        return Err(Fault::new(403, format!("{name} is a pre-defined network and cannot be removed")));
    }
    engine.remove_network(typed, false, None).map_err(|err| match err.kind {
        Kind::Conflict => Fault { status: 403, ..Fault::from(err) },
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

/// `POST /networks/NAME/connect`.
pub(crate) fn connect(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let asked: Connection = exchange.json()?;
    let endpoint = asked.endpoint_config;
    let wanted = endpoint::attachment(exchange.param(0), &endpoint)?;
    exchange.engine()?.connect_network(&asked.container, wanted, &endpoint.links).map_err(|err| match err
        .kind
    {
        Kind::Conflict => Fault { status: 403, ..Fault::from(err) },
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
    use crate::api::document;

    #[test]
    fn a_network_as_compose_asks_for_it() {
        let asked: Create = document::of_value(json!({
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
        let nulls: Create = document::of_value(json!({
            "Name": "a", "Driver": null, "Scope": null, "Internal": null, "ConfigFrom": null, "Options": {"o": null}, "Labels": {"l": null},
            "IPAM": {"Driver": null, "Options": null, "Config": [
                {"Subnet": "10.9.0.0/24", "IPRange": null, "Gateway": null, "AuxiliaryAddresses": null},
            ]},
        }))
        .unwrap();
        let request = nulls.request().unwrap();
        assert_eq!((request.labels["l"].as_str(), request.options["o"].as_str()), ("", ""));
        assert_eq!((request.subnets.len(), request.gateways.len(), request.ranges.len()), (1, 0, 0));
        assert_eq!(Create::default().request().unwrap_err().status, 400);
        let swarm = Create { name: "x".to_owned(), scope: "swarm".to_owned(), ..Create::default() };
        assert_eq!(swarm.request().unwrap_err().status, 403);
    }
}
