//! Completes a merged tree: names, defaults, the implicit network and dependencies, the environment.

use std::collections::BTreeSet;
use std::path::Path;

use crate::base::order::InOrder as _;
use crate::compose::node::{Kind, Map, Node};
use crate::compose::schema::{FILE, KEPT, SERVICE_FIELDS, Shape};

/// What completion depends on.
pub(crate) struct Context<'a> {
    /// The project's name.
    pub(crate) project: &'a str,
    /// The project's directory.
    pub(crate) directory: &'a Path,
    /// The project's variables, for `environment: [NAME]`.
    pub(crate) find: &'a dyn Fn(&str) -> Option<String>,
}

/// Gives the file the project's name, in place of what is of no further use.
pub(crate) fn name(file: &mut Node, project: &str) {
    let Some(top) = file.as_map_mut() else { return };
    top.shift_remove("version");
    top.shift_remove("include");
    let at = top.first().map(|(_, node)| node.at).unwrap_or_default();
    top.shift_insert(0, "name".to_owned(), Node::text(project, at));
}

/// Gives variables of services without a value the one of the project.
pub(crate) fn resolve_environments(file: &mut Node, context: &Context<'_>) {
    let services = file.as_map_mut().and_then(|top| top.get_mut("services")).and_then(Node::as_map_mut);
    for service in services.into_iter().flat_map(Map::values_mut).filter_map(Node::as_map_mut) {
        if let Some(environment) = service.get_mut("environment").and_then(Node::as_map_mut) {
            resolve(environment, context, false);
        }
    }
}

/// Completes the whole file, which has its name.
pub(crate) fn complete(file: &mut Node, context: &Context<'_>) {
    let Some(top) = file.as_map_mut() else { return };
    let at = top.first().map(|(_, node)| node.at).unwrap_or_default();
    let mut uses_default = false;
    if let Some(services) = top.get_mut("services").and_then(Node::as_map_mut) {
        for service in services.values_mut() {
            if let Some(service) = service.as_map_mut() {
                complete_service(service, context);
                uses_default |= service
                    .get("networks")
                    .and_then(Node::as_map)
                    .is_some_and(|networks| networks.contains_key("default"));
            }
        }
    }
    if uses_default {
        let networks = top.entry("networks".to_owned()).or_insert_with(|| Node::map(Map::new(), at));
        if let Some(networks) = networks.as_map_mut() {
            networks.entry("default".to_owned()).or_insert_with(|| Node::map(Map::new(), at));
            networks.order();
        }
    }
    for section in ["networks", "volumes", "secrets", "configs"] {
        if let Some(resources) = top.get_mut(section).and_then(Node::as_map_mut) {
            for (key, resource) in resources {
                complete_resource(key, resource, context);
            }
        }
    }
    let order = ["name", "services", "networks", "volumes", "secrets", "configs"];
    let place = |key: &str| order.iter().position(|name| *name == key).unwrap_or(usize::MAX);
    top.order_by(|a, b| place(a).cmp(&place(b)).then_with(|| a.cmp(b)));
}

/// A name for what has none: `project_key`, or the key itself if it is not the project's own.
fn complete_resource(key: &str, resource: &mut Node, context: &Context<'_>) {
    if resource.is_null() {
        resource.kind = Kind::Map(Map::new());
    }
    let (at, external) = (resource.at, resource.flag("external"));
    if let Some(fields) = resource.as_map_mut()
        && !fields.contains_key("name")
    {
        let name = if external { key.to_owned() } else { format!("{}_{key}", context.project) };
        fields.shift_insert(0, "name".to_owned(), Node::text(name, at));
    }
    if let Some(fields) = resource.as_map_mut() {
        let is_false =
            |fields: &Map, key: &str| matches!(fields.get(key), Some(Node { kind: Kind::Bool(false), .. }));
        for key in ["external", "internal", "attachable"] {
            if is_false(fields, key) {
                fields.shift_remove(key);
            }
        }
    }
}

fn complete_service(service: &mut Map, context: &Context<'_>) {
    let at = service.first().map(|(_, node)| node.at).unwrap_or_default();
    service.shift_remove("extends");
    if !service.contains_key("network_mode") {
        let networks = service.entry("networks".to_owned()).or_insert_with(|| Node::map(Map::new(), at));
        if let Some(networks) = networks.as_map_mut()
            && networks.is_empty()
        {
            networks.insert("default".to_owned(), Node::null(at));
        }
    }
    if let Some(build) = service.get_mut("build").and_then(Node::as_map_mut) {
        complete_build(build, context);
    }
    if service.get("pull_policy").and_then(Node::as_str) == Some("if_not_present") {
        service.insert("pull_policy".to_owned(), Node::text("missing", at));
    }
    if let Some(secrets) = service.get_mut("secrets") {
        complete_secrets(secrets);
    }
    implicit_dependencies(service);
    let fields = SERVICE_FIELDS.fields;
    let place = |key: &str| fields.iter().position(|(name, _)| *name == key).unwrap_or(usize::MAX);
    service.order_by(|a, b| place(a).cmp(&place(b)));
}

fn complete_secrets(secrets: &mut Node) {
    let Kind::List(list) = &mut secrets.kind else { return };
    for secret in list {
        let (at, source) = (secret.at, secret.str_at("source").unwrap_or_default().to_owned());
        if let Some(fields) = secret.as_map_mut()
            && !fields.contains_key("target")
        {
            fields.shift_insert(1, "target".to_owned(), Node::text(format!("/run/secrets/{source}"), at));
        }
    }
}

fn complete_build(build: &mut Map, context: &Context<'_>) {
    let at = build.first().map(|(_, node)| node.at).unwrap_or_default();
    if !build.contains_key("context") {
        build.shift_insert(0, "context".to_owned(), Node::text(context.directory.to_string_lossy(), at));
    }
    if !build.contains_key("dockerfile") && !build.contains_key("dockerfile_inline") {
        build.insert("dockerfile".to_owned(), Node::text("Dockerfile", at));
        let fields = ["context", "dockerfile"];
        let place = |key: &str| fields.iter().position(|name| *name == key).unwrap_or(usize::MAX);
        build.order_by(|a, b| place(a).cmp(&place(b)));
    }
    if let Some(args) = build.get_mut("args").and_then(Node::as_map_mut) {
        resolve(args, context, true);
    }
}

/// Gives names without a value the one of the project's variables.
fn resolve(pairs: &mut Map, context: &Context<'_>, drop_missing: bool) {
    for (name, value) in pairs.iter_mut() {
        if value.is_null()
            && let Some(found) = (context.find)(name)
        {
            value.kind = Kind::Text(found);
        }
    }
    if drop_missing {
        pairs.retain(|_, value| !value.is_null());
    }
}

/// A service needs those whose namespaces, volumes or links it uses.
fn implicit_dependencies(service: &mut Map) {
    let at = service.first().map(|(_, node)| node.at).unwrap_or_default();
    let mut needed: Vec<(String, bool)> = Vec::new();
    for key in ["network_mode", "ipc", "pid", "uts", "cgroup"] {
        if let Some(name) =
            service.get(key).and_then(Node::as_str).and_then(|mode| mode.strip_prefix("service:"))
        {
            needed.push((name.to_owned(), true));
        }
    }
    let items = |key: &str| -> Vec<String> {
        let list = service.get(key).and_then(Node::as_list).unwrap_or_default();
        list.iter().filter_map(Node::as_str).map(str::to_owned).collect()
    };
    for link in items("links") {
        needed.push((link.split(':').next().unwrap_or_default().to_owned(), true));
    }
    for from in items("volumes_from") {
        if !from.starts_with("container:") {
            needed.push((from.split(':').next().unwrap_or_default().to_owned(), false));
        }
    }
    if needed.is_empty() {
        return;
    }
    let depends = service.entry("depends_on".to_owned()).or_insert_with(|| Node::map(Map::new(), at));
    let Some(depends) = depends.as_map_mut() else { return };
    for (name, restart) in needed {
        depends.entry(name).or_insert_with(|| {
            let mut fields = Map::from_iter([("condition".to_owned(), Node::text("service_started", at))]);
            if restart {
                fields.insert("restart".to_owned(), Node::bool(true, at));
            }
            fields.insert("required".to_owned(), Node::bool(true, at));
            Node::map(fields, at)
        });
    }
    depends.order();
}

/// Takes away what no service uses: `config` shows, and `up` makes, what is needed.
pub(crate) fn drop_unused(file: &mut Node) {
    let used = |section: &str| -> BTreeSet<String> {
        let services = file.get("services").and_then(Node::as_map);
        services.into_iter().flat_map(Map::values).flat_map(|service| uses(service, section)).collect()
    };
    let kept: Vec<(&str, BTreeSet<String>)> =
        ["networks", "volumes", "secrets", "configs"].map(|section| (section, used(section))).into();
    let Some(top) = file.as_map_mut() else { return };
    for (section, used) in kept {
        if let Some(resources) = top.get_mut(section).and_then(Node::as_map_mut) {
            resources.retain(|key, _| used.contains(key));
            if resources.is_empty() {
                top.shift_remove(section);
            }
        }
    }
}

/// The keys of a section that a service uses.
pub(crate) fn uses(service: &Node, section: &str) -> Vec<String> {
    let sources = |node: Option<&Node>| -> Vec<String> {
        let list = node.and_then(Node::as_list).unwrap_or_default();
        list.iter().filter_map(|item| item.str_at("source")).map(str::to_owned).collect()
    };
    match section {
        "networks" | "models" => service
            .get(section)
            .and_then(Node::as_map)
            .map(|networks| networks.keys().cloned().collect())
            .unwrap_or_default(),
        "volumes" => {
            let list = service.get("volumes").and_then(Node::as_list).unwrap_or_default();
            let volumes = list.iter().filter(|volume| volume.str_at("type") == Some("volume"));
            volumes.filter_map(|volume| volume.str_at("source")).map(str::to_owned).collect()
        }
        "secrets" => {
            let mut used = sources(service.get("secrets"));
            used.extend(sources(service.get("build").and_then(|build| build.get("secrets"))));
            used
        }
        _ => sources(service.get(section)),
    }
}

/// [`omit_empty`] for a whole file; services and networks keep their names.
pub(crate) fn omit_empty_file(file: &mut Node) {
    let Some(top) = file.as_map_mut() else { return };
    for (section, node) in top {
        if let Some(shape) = FILE.field(section) {
            omit_empty(node, shape);
        }
    }
}

/// Takes away fields that say no more than their default: false, zero, nothing.
pub(crate) fn omit_empty(node: &mut Node, shape: &'static Shape) {
    match (&mut node.kind, shape) {
        (Kind::Map(fields), Shape::Record(record) | Shape::Mount(record)) => {
            for (name, value) in fields.iter_mut() {
                if let Some(shape) = record.field(name) {
                    omit_empty(value, shape);
                }
            }
            fields.retain(|name, value| {
                let is_kept = KEPT.contains(&name.as_str()) && !value.is_null();
                name.starts_with("x-") || is_kept || !is_default(value)
            });
        }
        (Kind::Map(fields), Shape::Named(item)) => {
            fields.values_mut().for_each(|value| omit_empty(value, item));
        }
        (Kind::List(list), Shape::List(item) | Shape::Set(item, _)) => {
            list.iter_mut().for_each(|value| omit_empty(value, item));
        }
        (_, Shape::Short(_, inner) | Shape::Several(_, inner)) => omit_empty(node, inner),
        _ => {}
    }
}

fn is_default(node: &Node) -> bool {
    match &node.kind {
        Kind::Null | Kind::Bool(false) | Kind::Int(0) => true,
        Kind::Float(value) => *value == 0.0,
        Kind::Text(text) => text.is_empty(),
        Kind::List(list) => list.is_empty(),
        Kind::Map(map) => map.is_empty(),
        Kind::Bool(true) | Kind::Int(_) => false,
    }
}
