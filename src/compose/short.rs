//! Short forms of single values, made into the long ones. Errors are plain sentences: the caller adds
//! the place and the key.

use std::net::IpAddr;

use crate::compose::images::Policy;
use crate::compose::node::{Kind, Map, Node};

type Result<T> = std::result::Result<T, String>;

fn map<const N: usize>(like: &Node, fields: [(&str, Node); N]) -> Node {
    let fields = fields.into_iter().map(|(key, value)| (key.to_owned(), value));
    Node { kind: Kind::Map(Map::from_iter(fields)), at: like.at, tag: like.tag }
}

fn text(like: &Node, value: &str) -> Node {
    Node::text(value, like.at)
}

/// `include: other.yaml`.
pub(crate) fn include(node: Node) -> Result<Node> {
    Ok(match node.as_str() {
        Some(path) => map(&node, [("path", text(&node, path))]),
        None => node,
    })
}

/// `external: {name: x}` becomes `name: x, external: true`.
pub(crate) fn external(mut node: Node) -> Result<Node> {
    let at = node.at;
    if let Some(fields) = node.as_map_mut()
        && let Some(inner) = fields.get("external").filter(|inner| inner.as_map().is_some()).cloned()
    {
        if let Some(name) = inner.get("name")
            && !fields.contains_key("name")
        {
            fields.insert("name".to_owned(), name.clone());
        }
        fields.insert("external".to_owned(), Node::bool(true, at));
    }
    Ok(node)
}

/// `build: ./dir`.
pub(crate) fn build(node: Node) -> Result<Node> {
    Ok(match node.as_str() {
        Some(context) => map(&node, [("context", text(&node, context))]),
        None => node,
    })
}

/// `pull_policy`, which has to be one that there is.
pub(crate) fn pull_policy(node: Node) -> Result<Node> {
    node.as_str().map_or(Ok(()), |text| Policy::parse(text).map(drop))?;
    Ok(node)
}

/// `extends: service`.
pub(crate) fn extends(node: Node) -> Result<Node> {
    Ok(match node.as_str() {
        Some(service) => map(&node, [("service", text(&node, service))]),
        None => node,
    })
}

/// A list of services, each of which has to be started.
pub(crate) fn depends_on(node: Node) -> Result<Node> {
    let mut services = Map::new();
    match &node.kind {
        Kind::List(list) => {
            for item in list {
                let name = item.as_str().ok_or("must be a list of services")?;
                let fields =
                    [("condition", text(item, "service_started")), ("required", Node::bool(true, item.at))];
                services.insert(name.to_owned(), map(item, fields));
            }
        }
        Kind::Map(found) => {
            for (name, fields) in found {
                let mut fields = fields.clone();
                let at = fields.at;
                if let Some(fields) = fields.as_map_mut() {
                    fields.entry("required".to_owned()).or_insert_with(|| Node::bool(true, at));
                }
                services.insert(name.clone(), fields);
            }
        }
        _ => return Err("must be a list or a mapping".to_owned()),
    }
    Ok(Node { kind: Kind::Map(services), ..node })
}

/// A list of names becomes names without fields.
pub(crate) fn names(node: Node) -> Result<Node> {
    let Kind::List(list) = &node.kind else { return Ok(node) };
    let mut names = Map::new();
    for item in list {
        let name = item.as_str().ok_or("must be a list of names")?;
        names.insert(name.to_owned(), Node::null(item.at));
    }
    Ok(Node { kind: Kind::Map(names), ..node })
}

/// A list of `name=value` becomes a mapping.
pub(crate) fn pairs(node: Node) -> Result<Node> {
    let Kind::List(list) = &node.kind else { return Ok(node) };
    let mut found = Map::new();
    for item in list {
        let (name, value) =
            item.as_str().and_then(|text| text.split_once('=')).ok_or("must be a list of NAME=VALUE")?;
        found.insert(name.to_owned(), text(item, value));
    }
    Ok(Node { kind: Kind::Map(found), ..node })
}

/// `env_file: x`, or a list of such.
pub(crate) fn env_file(node: Node) -> Result<Node> {
    let one = |item: &Node| -> Node {
        let required = ("required", Node::bool(true, item.at));
        match (&item.kind, item.as_str()) {
            (_, Some(path)) => map(item, [("path", text(item, path)), required]),
            (Kind::Map(fields), _) => {
                let mut fields = fields.clone();
                fields.entry("required".to_owned()).or_insert(required.1);
                Node { kind: Kind::Map(fields), ..item.clone() }
            }
            _ => item.clone(),
        }
    };
    let list = match &node.kind {
        Kind::List(list) => list.iter().map(one).collect(),
        _ => vec![one(&node)],
    };
    Ok(Node { kind: Kind::List(list), ..node })
}

/// `secrets: [name]`.
pub(crate) fn file_mount(node: Node) -> Result<Node> {
    Ok(match node.as_str() {
        Some(source) => map(&node, [("source", text(&node, source))]),
        None => node,
    })
}

/// `HOST[:CONTAINER[:rwm]]`.
pub(crate) fn device(node: Node) -> Result<Node> {
    let Some(written) = node.as_str() else {
        let mut node = node;
        let at = node.at;
        if let Some(fields) = node.as_map_mut() {
            fields.entry("permissions".to_owned()).or_insert_with(|| Node::text("rwm", at));
            if let Some(source) = fields.get("source").cloned() {
                fields.entry("target".to_owned()).or_insert(source);
            }
        }
        return Ok(node);
    };
    let parts: Vec<&str> = written.split(':').collect();
    let (source, target, permissions) = match parts[..] {
        [source] => (source, source, "rwm"),
        [source, target] => (source, target, "rwm"),
        [source, target, permissions] => (source, target, permissions),
        _ => return Err(format!("confusing device mapping, please use long syntax: {written}")),
    };
    let fields = [
        ("source", text(&node, source)),
        ("target", text(&node, target)),
        ("permissions", text(&node, permissions)),
    ];
    Ok(map(&node, fields))
}

/// `gpus: all`.
pub(crate) fn gpus(node: Node) -> Result<Node> {
    if node.as_str() != Some("all") {
        return Ok(node);
    }
    let request = map(&node, [("count", Node::int(-1, node.at))]);
    Ok(Node { kind: Kind::List(vec![request]), ..node })
}

/// `all`, or a number.
pub(crate) fn device_count(node: Node) -> Result<Node> {
    match node.as_str() {
        Some("all") => Ok(Node::int(-1, node.at)),
        _ => Ok(node),
    }
}

/// A number, or `{soft, hard}`.
pub(crate) fn ulimit(node: Node) -> Result<Node> {
    let number = |node: &Node| match &node.kind {
        Kind::Int(value) => Ok(*value),
        Kind::Text(text) => text.parse().map_err(|_| format!("{text:?} is no number")),
        _ => Err("must be a number, or a mapping with soft and hard".to_owned()),
    };
    let Some(fields) = node.as_map() else {
        return Ok(Node { kind: Kind::Int(number(&node)?), ..node });
    };
    if let Some(unknown) =
        fields.keys().find(|key| !matches!(key.as_str(), "soft" | "hard") && !key.starts_with("x-"))
    {
        return Err(format!("Additional property {unknown} is not allowed"));
    }
    let (Some(soft), Some(hard)) = (fields.get("soft"), fields.get("hard")) else {
        return Err("soft and hard are required".to_owned());
    };
    let fields = [("soft", Node::int(number(soft)?, soft.at)), ("hard", Node::int(number(hard)?, hard.at))];
    Ok(map(&node, fields))
}

/// A published port: `[[IP:]HOST:]CONTAINER[/PROTOCOL]`, with ranges, or its long form.
pub(crate) fn ports(node: Node) -> Result<Vec<Node>> {
    let written = match &node.kind {
        Kind::Int(port) => port.to_string(),
        Kind::Text(text) => text.clone(),
        Kind::Map(_) => {
            let mut node = node;
            let at = node.at;
            if let Some(fields) = node.as_map_mut() {
                fields.entry("mode".to_owned()).or_insert_with(|| Node::text("ingress", at));
                fields.entry("protocol".to_owned()).or_insert_with(|| Node::text("tcp", at));
            }
            return Ok(vec![node]);
        }
        _ => return Err("must be a number, a string or a mapping".to_owned()),
    };
    let (addresses, protocol) = written.split_once('/').unwrap_or((&written, "tcp"));
    if !matches!(protocol.to_ascii_lowercase().as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("Invalid proto: {protocol}"));
    }
    let (host_ip, host, container) = port_parts(addresses)?;
    let targets = range(container, "containerPort")?;
    let published = match host {
        "" => None,
        host => Some(range(host, "hostPort")?),
    };
    // As many on each side, or several of the host for one of the container.
    if let Some(published) = &published
        && published.len() != targets.len()
        && targets.len() != 1
    {
        return Err(format!("Invalid ranges specified for container and host Ports: {container} and {host}"));
    }
    let targets_and_published: Vec<(u16, Option<String>)> = match published {
        None => targets.into_iter().map(|target| (target, None)).collect(),
        Some(list) if list.len() == targets.len() => {
            targets.into_iter().zip(list).map(|(target, port)| (target, Some(port.to_string()))).collect()
        }
        Some(_) => vec![(targets[0], Some(host.to_owned()))],
    };
    Ok(targets_and_published
        .into_iter()
        .map(|(target, published)| {
            let mut fields = Map::from_iter([("mode".to_owned(), text(&node, "ingress"))]);
            if !host_ip.is_empty() {
                fields.insert("host_ip".to_owned(), text(&node, host_ip));
            }
            fields.insert("target".to_owned(), Node::int(i64::from(target), node.at));
            if let Some(published) = published {
                fields.insert("published".to_owned(), text(&node, &published));
            }
            fields.insert("protocol".to_owned(), text(&node, &protocol.to_ascii_lowercase()));
            Node { kind: Kind::Map(fields), at: node.at, tag: node.tag }
        })
        .collect())
}

/// Address, ports of the host, ports of the container.
fn port_parts(text: &str) -> Result<(&str, &str, &str)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once("]:").ok_or_else(|| format!("Invalid ip address: {text}"))?;
        let (host, container) = rest.split_once(':').ok_or_else(|| format!("No port specified: {text}"))?;
        address.parse::<IpAddr>().map_err(|_| format!("Invalid ip address: {address}"))?;
        return Ok((address, host, container));
    }
    let mut parts = text.rsplitn(3, ':');
    let container =
        parts.next().filter(|port| !port.is_empty()).ok_or_else(|| format!("No port specified: {text}"))?;
    let host = parts.next().unwrap_or("");
    let address = parts.next().unwrap_or("");
    if !address.is_empty() && address.parse::<IpAddr>().is_err() {
        return Err(format!("Invalid ip address: {address}"));
    }
    Ok((address, host, container))
}

fn range(text: &str, what: &str) -> Result<Vec<u16>> {
    let bad = || format!("invalid {what}: {text}");
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u16, u16) = (first.parse().map_err(|_| bad())?, last.parse().map_err(|_| bad())?);
    if last < first {
        Err(format!("invalid range specified for port: {text}"))
    } else {
        Ok((first..=last).collect())
    }
}

/// `[SOURCE:]TARGET[:OPTIONS]`, or the long form.
pub(crate) fn volume(node: Node) -> Result<Node> {
    let Some(written) = node.as_str() else { return Ok(node) };
    if written.is_empty() {
        return Err("invalid empty volume spec".to_owned());
    }
    let parts: Vec<&str> = written.split(':').collect();
    let (source, target, options) = match parts[..] {
        [target] => ("", target, ""),
        [source, target] => (source, target, ""),
        [source, target, options] => (source, target, options),
        _ => return Err(format!("invalid spec: {written}: too many colons")),
    };
    if target.is_empty() {
        return Err(format!("invalid spec: {written}: empty section between colons"));
    }
    let is_path = source.starts_with(['/', '.', '~']);
    let mut fields = Map::new();
    let mut add = |key: &str, value: Node| fields.insert(key.to_owned(), value);
    add("type", text(&node, if is_path { "bind" } else { "volume" }));
    if !source.is_empty() {
        add("source", text(&node, source));
    }
    let target = if target.len() > 1 { target.trim_end_matches('/') } else { target };
    add("target", text(&node, target));
    let mut bind = Map::new();
    let mut volume = Map::new();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => {
                add("read_only", Node::bool(true, node.at));
            }
            "z" | "Z" => {
                bind.insert("selinux".to_owned(), text(&node, option));
            }
            "nocopy" => {
                volume.insert("nocopy".to_owned(), Node::bool(true, node.at));
            }
            "rprivate" | "private" | "rshared" | "shared" | "rslave" | "slave" => {
                bind.insert("propagation".to_owned(), text(&node, option));
            }
            // `rw` is what it is anyway; unknown words are skipped, as docker compose does.
            _ => {}
        }
    }
    if is_path {
        bind.insert("create_host_path".to_owned(), Node::bool(true, node.at));
    } else if written.len() > 2 {
        // As docker compose: what is that short gets nothing beside its target.
        add("volume", Node::map(volume, node.at));
    }
    if !bind.is_empty() {
        add("bind", Node::map(bind, node.at));
    }
    Ok(Node { kind: Kind::Map(fields), at: node.at, tag: node.tag })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(value: &str) -> Node {
        Node::text(value, Default::default())
    }

    #[test]
    fn ports_have_short_forms() {
        for (written, expected) in [
            ("80", json!([[null, 80, null, "tcp"]])),
            ("8080:80", json!([[null, 80, "8080", "tcp"]])),
            ("127.0.0.1:8080:80/udp", json!([["127.0.0.1", 80, "8080", "udp"]])),
            ("127.0.0.1::80", json!([["127.0.0.1", 80, null, "tcp"]])),
            ("[::1]:1-2:3-4", json!([["::1", 3, "1", "tcp"], ["::1", 4, "2", "tcp"]])),
            ("8000-9000:80", json!([[null, 80, "8000-9000", "tcp"]])),
        ] {
            let ports = ports(of(written)).unwrap();
            let got: Vec<_> = ports
                .iter()
                .map(|port| {
                    let port = port.to_json();
                    json!([port["host_ip"], port["target"], port["published"], port["protocol"]])
                })
                .collect();
            assert_eq!(json!(got), expected, "{written}");
        }
        for bad in ["", "a", "1:", "1:2:3", "70000", "3-1", "1-2:3-5", "80/x", "x:1:2"] {
            assert!(ports(of(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn volumes_have_short_forms() {
        for (written, expected) in [
            ("/data", json!({"type": "volume", "target": "/data", "volume": {}})),
            ("/d", json!({"type": "volume", "target": "/d"})),
            ("v:/data", json!({"type": "volume", "source": "v", "target": "/data", "volume": {}})),
            (
                "./a:/b/:ro,Z",
                json!({"type": "bind", "source": "./a", "target": "/b", "read_only": true,
                       "bind": {"selinux": "Z", "create_host_path": true}}),
            ),
            (
                "v:/d:nocopy",
                json!({"type": "volume", "source": "v", "target": "/d", "volume": {"nocopy": true}}),
            ),
        ] {
            assert_eq!(volume(of(written)).unwrap().to_json(), expected, "{written}");
        }
        assert!(volume(of("a:b:c:d")).is_err());
        assert!(volume(of("")).is_err());
    }
}
