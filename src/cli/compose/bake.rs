//! What `ketch compose build --print` prints: the builds of a project as a bake file.

use serde_json::{Map, Value, json};

use crate::base::order;
use crate::compose::canonical::is_remote;
use crate::compose::node::Node;
use crate::compose::project::Project;
use crate::compose::translate::{list, pairs, texts};

/// Keys of `build` whose names and values are the same in a bake file, and those that have another name there.
const SAME: [(&str, &str); 12] = [
    ("args", "args"),
    ("labels", "labels"),
    ("cache_from", "cache-from"),
    ("cache_to", "cache-to"),
    ("target", "target"),
    ("dockerfile_inline", "dockerfile-inline"),
    ("platforms", "platforms"),
    ("network", "network"),
    ("no_cache", "no-cache"),
    ("pull", "pull"),
    ("entitlements", "entitlements"),
    ("shm_size", "shm-size"),
];

/// A bake file that builds the services.
pub(super) fn file(project: &Project, services: &[String]) -> Value {
    let built = |name: &String| {
        Some((name.clone(), target(project, name, project.service(name).ok()?.get("build")?)))
    };
    let targets: Map<String, Value> = services.iter().filter_map(built).collect();
    let names: Vec<&String> = targets.keys().collect();
    json!({ "group": { "default": { "targets": names } }, "target": targets })
}

fn target(project: &Project, service: &str, build: &Node) -> Value {
    let context = build.str_at("context").unwrap_or(".");
    let mut target = Map::from_iter([("context".to_owned(), json!(context))]);
    let mut add = |key: &str, value: Value| {
        let is_empty = match &value {
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            other => other.is_null(),
        };
        if !is_empty {
            target.insert(key.to_owned(), value);
        }
    };
    let contexts = pairs(build.get("additional_contexts")).into_iter().map(|(name, value)| {
        let value = value.strip_prefix("service:").map_or(value.clone(), |other| format!("target:{other}"));
        (name, value)
    });
    add("contexts", json!(order::map(contexts)));
    if let Some(dockerfile) = build.str_at("dockerfile") {
        let is_whole = dockerfile.starts_with('/') || is_remote(context);
        add(
            "dockerfile",
            json!(if is_whole { dockerfile.to_owned() } else { format!("{context}/{dockerfile}") }),
        );
    }
    for (key, name) in SAME {
        add(name, build.get(key).map_or(Value::Null, Node::to_json));
    }
    let own = std::iter::once(project.image(service));
    add("tags", json!(own.chain(texts(build, "tags")).collect::<Vec<_>>()));
    add("ssh", json!(texts(build, "ssh")));
    let hosts = texts(build, "extra_hosts");
    let hosts = hosts.iter().filter_map(|host| host.split_once('='));
    add(
        "extra-hosts",
        Value::Object(hosts.map(|(name, address)| (name.to_owned(), json!(address))).collect()),
    );
    let secrets = list(build, "secrets").iter().filter_map(|secret| {
        let source = secret.str_at("source")?;
        let id = secret.str_at("target").filter(|target| !target.starts_with('/')).unwrap_or(source);
        let resource = project.resource("secrets", source)?;
        Some(match (resource.str_at("file"), resource.str_at("environment")) {
            (Some(file), _) => format!("id={id},type=file,src={file}"),
            (None, variable) => format!("id={id},type=env,env={}", variable?),
        })
    });
    add("secret", json!(secrets.collect::<Vec<_>>()));
    add("output", json!(["type=docker"]));
    Value::Object(target)
}
