//! The files that `env_file` and `label_file` of services name, laid under what stands in the services.

use std::path::Path;

use crate::base::order::InOrder as _;
use crate::compose::dotenv;
use crate::compose::locate::read_text;
use crate::compose::node::{Files, Kind, Map, Node};
use crate::engine::Result;

/// Where the files are that services name.
pub(super) struct Lookup<'a> {
    pub(super) files: &'a Files,
    /// The value of a variable that an env file uses.
    pub(super) find: &'a dyn Fn(&str) -> Option<String>,
    /// The project's directory, and the one that has what was published with the project.
    pub(super) published: Option<(&'a Path, &'a Path)>,
}

impl Lookup<'_> {
    fn read(&self, path: &str) -> std::io::Result<String> {
        let beside = self.published.and_then(|(directory, published)| {
            let inside = Path::new(path).strip_prefix(directory).ok()?;
            Some(published.join(inside)).filter(|path| path.is_file())
        });
        read_text(beside.as_deref().unwrap_or(Path::new(path)))
    }
}

/// Lays the variables of `env_file` under those of `environment`.
pub(super) fn env_files_of_services(tree: &mut Node, lookup: &Lookup<'_>) -> Result<()> {
    let services = tree.as_map_mut().and_then(|top| top.get_mut("services")).and_then(Node::as_map_mut);
    for service in services.into_iter().flat_map(Map::values_mut) {
        let Some(fields) = service.as_map_mut() else { continue };
        read_pairs(fields, "env_file", "environment", lookup)?;
        read_pairs(fields, "label_file", "labels", lookup)?;
    }
    Ok(())
}

fn read_pairs(fields: &mut Map, file_key: &str, key: &str, lookup: &Lookup<'_>) -> Result<()> {
    let Lookup { files, find, .. } = lookup;
    let Some(Kind::List(list)) = fields.shift_remove(file_key).map(|node| node.kind) else { return Ok(()) };
    let mut pairs = Map::new();
    for item in list {
        let Some(path) = item.as_str().or_else(|| item.str_at("path")) else { continue };
        let required = item.as_str().is_some() || item.flag("required");
        let text = match lookup.read(path) {
            Ok(text) => text,
            Err(err) if err.kind() == std::io::ErrorKind::NotFound && !required => continue,
            Err(err) => return Err(files.error(item.at, format!("env file {path} not found")).because(err)),
        };
        let seen = |name: &str| {
            find(name).or_else(|| pairs.get(name).and_then(|node: &Node| node.as_str()).map(str::to_owned))
        };
        let parsed = match item.str_at("format") {
            Some("raw") => dotenv::raw(&text, find),
            _ => dotenv::parse(&text, &seen),
        };
        let parsed = parsed.map_err(|fault| {
            files.error(item.at, format!("failed to read {path}: line {}: {}", fault.line, fault.message))
        })?;
        pairs.extend(parsed.into_iter().map(|(name, value)| (name, Node::text(value, item.at))));
    }
    let at = pairs.first().map(|(_, node)| node.at).unwrap_or_default();
    let own = fields.entry(key.to_owned()).or_insert_with(|| Node::map(Map::new(), at));
    if let Some(own) = own.as_map_mut() {
        for (name, value) in pairs {
            own.entry(name).or_insert(value);
        }
        own.order();
    }
    Ok(())
}
