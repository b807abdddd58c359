//! Whether the parts of a complete project fit together.

use std::collections::BTreeSet;

use crate::compose::node::{Files, Map, Node};
use crate::compose::normal::uses;
use crate::engine::{Error, Result};

/// Checks references between services, networks, volumes, secrets and configs. `known` are all services
/// of the files, those without an active profile included.
///
/// # Errors
///
/// The first contradiction, with its place.
pub(crate) fn project(file: &Node, known: &BTreeSet<String>, files: &Files) -> Result<()> {
    let empty = Map::new();
    let section = |name: &str| file.get(name).and_then(Node::as_map).unwrap_or(&empty);
    let services = section("services");
    for (name, service) in services {
        let bad = |message: String| files.error(service.at, format!("{message}: invalid compose project"));
        if ["image", "build", "provider"].iter().all(|key| service.get(key).is_none()) {
            return Err(bad(format!("service {name:?} has neither an image nor a build context specified")));
        }
        if let Some(build) = service.get("build")
            && build.get("dockerfile").is_some()
            && build.get("dockerfile_inline").is_some()
        {
            return Err(bad(format!(
                "service {name:?} declares mutualy exclusive dockerfile and dockerfile_inline"
            )));
        }
        let names_network = service.get("networks").and_then(Node::as_map).is_some_and(|n| !n.is_empty());
        if service.get("network_mode").is_some() && names_network {
            return Err(bad(format!(
                "service {name} declares mutually exclusive `network_mode` and `networks`"
            )));
        }
        let score = service
            .get("oom_score_adj")
            .and_then(Node::scalar_text)
            .and_then(|score| score.parse::<i64>().ok());
        if score.is_some_and(|score| !(-1000..=1000).contains(&score)) {
            return Err(bad(format!("services.{name}.oom_score_adj must be between -1000 and 1000")));
        }
        references(name, service, file, &bad)?;
        dependencies(name, service, services, known, &bad)?;
        limits(name, service, &bad)?;
    }
    for (name, secret) in section("secrets") {
        let sources = one_source(&format!("secrets.{name}"), secret, &["file", "environment"], files)?;
        if sources == 0 && !secret.flag("external") && secret.get("driver").is_none() {
            let message = format!("secret {name:?} must declare either `file` or `environment`");
            return Err(files.error(secret.at, format!("{message}: invalid compose project")));
        }
    }
    for (name, config) in section("configs") {
        let sources =
            one_source(&format!("configs.{name}"), config, &["file", "environment", "content"], files)?;
        if sources == 0 && !config.flag("external") {
            let message = format!("config {name:?} must declare either `file`, `environment` or `content`");
            return Err(files.error(config.at, format!("{message}: invalid compose project")));
        }
    }
    for (name, volume) in section("volumes").iter().filter(|(_, volume)| volume.flag("external")) {
        if let Some(key) = ["driver", "driver_opts", "labels"].iter().find(|key| volume.get(key).is_some()) {
            let message =
                format!("volumes.{name}: conflicting parameters \"external\" and {key:?} specified");
            return Err(files.error(volume.at, message));
        }
    }
    cycles(services, files)
}

/// How many of these keys say where the content comes from: more than one is an error.
fn one_source(path: &str, node: &Node, keys: &[&str], files: &Files) -> Result<usize> {
    let sources = keys.iter().filter(|key| node.get(key).is_some()).count();
    if sources > 1 {
        let message = format!("{path}: {} attributes are mutually exclusive", keys.join("|"));
        return Err(files.error(node.at, message));
    }
    Ok(sources)
}

fn references(name: &str, service: &Node, file: &Node, bad: &dyn Fn(String) -> Error) -> Result<()> {
    for (section, what) in [
        ("networks", "network"),
        ("volumes", "volume"),
        ("secrets", "secret"),
        ("configs", "config"),
        ("models", "model"),
    ] {
        let defined = file.get(section).and_then(Node::as_map);
        for used in uses(service, section) {
            let is_environment = section == "secrets" && defined.is_none_or(|map| !map.contains_key(&used));
            if is_environment || defined.is_none_or(|map| !map.contains_key(&used)) {
                return Err(bad(format!("service {name:?} refers to undefined {what} {used}")));
            }
        }
    }
    Ok(())
}

fn dependencies(
    name: &str,
    service: &Node,
    services: &Map,
    known: &BTreeSet<String>,
    bad: &dyn Fn(String) -> Error,
) -> Result<()> {
    let empty = Map::new();
    for (dependency, fields) in service.get("depends_on").and_then(Node::as_map).unwrap_or(&empty) {
        if services.contains_key(dependency) || !fields.flag("required") && known.contains(dependency) {
            continue;
        }
        let error = bad(format!("service {name:?} depends on undefined service {dependency:?}"));
        return Err(if known.contains(dependency) {
            error.hint(format!("{dependency:?} is there, but no active profile enables it"))
        } else {
            error
        });
    }
    Ok(())
}

/// The same limit, said twice in different words, must be the same.
fn limits(name: &str, service: &Node, bad: &dyn Fn(String) -> Error) -> Result<()> {
    let deploy = service.get("deploy");
    let resources = deploy.and_then(|deploy| deploy.get("resources"));
    let at = |part: &str, key: &str| {
        resources.and_then(|r| r.get(part)).and_then(|part| part.get(key)).and_then(Node::scalar_text)
    };
    let pairs = [
        ("mem_limit", "limits", "memory"),
        ("mem_reservation", "reservations", "memory"),
        ("cpus", "limits", "cpus"),
        ("pids_limit", "limits", "pids"),
    ];
    for (key, part, field) in pairs {
        if let (Some(own), Some(other)) = (service.get(key).and_then(Node::scalar_text), at(part, field))
            && own != other
        {
            return Err(Error::invalid(format!(
                "services.{name}: can't set distinct values on '{key}' and 'deploy.resources.{part}.{field}': invalid compose project"
            )));
        }
    }
    let replicas = deploy.and_then(|deploy| deploy.get("replicas")).and_then(Node::scalar_text);
    let scale = service.get("scale").and_then(Node::scalar_text);
    if let (Some(scale), Some(replicas)) = (&scale, &replicas)
        && scale != replicas
    {
        return Err(Error::invalid(format!(
            "services.{name}: can't set distinct values on 'scale' and 'deploy.replicas': invalid compose project"
        )));
    }
    let several = scale.or(replicas).and_then(|n| n.parse::<u32>().ok()).is_some_and(|n| n > 1);
    if several && service.get("container_name").is_some() {
        return Err(bad(format!(
            "services.{name}: can't set container_name and scale as container name must be unique"
        )));
    }
    Ok(())
}

/// Dependencies must have a beginning.
fn cycles(services: &Map, files: &Files) -> Result<()> {
    let mut done = BTreeSet::new();
    for name in services.keys() {
        visit(name, services, &mut Vec::new(), &mut done, files)?;
    }
    Ok(())
}

fn visit<'a>(
    name: &'a str,
    services: &'a Map,
    path: &mut Vec<&'a str>,
    done: &mut BTreeSet<&'a str>,
    files: &Files,
) -> Result<()> {
    if done.contains(name) {
        return Ok(());
    }
    let Some(service) = services.get(name) else { return Ok(()) };
    if let Some(start) = path.iter().position(|&part| part == name) {
        let mut cycle = path[start..].to_vec();
        cycle.push(name);
        return Err(files.error(service.at, format!("dependency cycle detected: {}", cycle.join(" -> "))));
    }
    path.push(name);
    if let Some(depends) = service.get("depends_on").and_then(Node::as_map) {
        for dependency in depends.keys() {
            visit(dependency, services, path, done, files)?;
        }
    }
    path.pop();
    done.insert(name);
    Ok(())
}
