//! Checks a tree against the [`schema`](crate::compose::schema) and brings every value to its long form.
//!
//! Done for each file before it is merged, because relative paths start at that file's directory.

use std::path::Path;

use crate::base::order::InOrder as _;
use crate::base::path::clean;
use crate::compose::merge;
use crate::compose::node::{Files, Kind, Map, Node, Place, Tag};
use crate::compose::schema::{FILE, Key, Record, Shape};
use crate::engine::{Error, Result};

/// What the long forms of one file depend on.
pub(crate) struct Context<'a> {
    pub(crate) files: &'a Files,
    /// Relative paths start here.
    pub(crate) directory: &'a Path,
    /// `~`.
    pub(crate) home: Option<&'a Path>,
    /// Leave paths as they are, but for this in front of them (`config --no-path-resolution`): where the
    /// file that a service extends lies.
    pub(crate) keep_paths: Option<&'a Path>,
    /// Leave values as they are written that may hold variables (`config --no-interpolate`).
    pub(crate) keep_variables: bool,
}

impl Context<'_> {
    /// A path of the host, absolute and without `.` and `..`.
    pub(crate) fn path(&self, path: &str) -> String {
        if let Some(before) = self.keep_paths {
            let is_relative = !path.starts_with(['/', '~']) && !before.as_os_str().is_empty();
            return if is_relative {
                clean(&before.join(path)).to_string_lossy().into_owned()
            } else {
                path.to_owned()
            };
        }
        let full = match (path.strip_prefix('~'), self.home) {
            (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => {
                home.join(rest.trim_start_matches('/'))
            }
            _ => self.directory.join(path),
        };
        clean(&full).to_string_lossy().into_owned()
    }
}

/// The long form of a whole file.
///
/// # Errors
///
/// The first value that the schema does not allow, with its place.
pub(crate) fn file(node: Node, context: &Context<'_>) -> Result<Node> {
    let at = node.at;
    match node.kind {
        Kind::Null => Err(Error::invalid(format!("{}: empty compose file", context.files.show(at)))),
        Kind::Map(_) => {
            let mut done = Walk { context, path: Vec::new() }.record(node, &FILE)?;
            let volumes = done.as_map_mut().and_then(|top| top.get_mut("volumes")).and_then(Node::as_map_mut);
            volumes.into_iter().flat_map(Map::values_mut).for_each(|volume| device_path(volume, context));
            Ok(done)
        }
        _ => Err(context.files.error(at, "top-level object must be a mapping")),
    }
}

/// A walk down a tree beside its shape.
pub(super) struct Walk<'a, 'c> {
    pub(super) context: &'a Context<'c>,
    /// The keys on the way here.
    path: Vec<String>,
}

impl Walk<'_, '_> {
    /// An error about a value, with its place and the keys that lead to it.
    pub(super) fn error(&self, at: Place, message: impl std::fmt::Display) -> Error {
        let path = if self.path.is_empty() { "(root)".to_owned() } else { self.path.join(".") };
        self.context.files.error(at, format!("{path} {message}"))
    }

    /// With `--no-interpolate`: what can be read only once its variables are known stays as it is written.
    fn stays(&self, shape: &Shape) -> bool {
        let is_called = |names: &[&str]| self.path.last().is_some_and(|last| names.contains(&last.as_str()));
        self.context.keep_variables
            && match shape {
                Shape::Any
                | Shape::Text
                | Shape::Bool
                | Shape::Int
                | Shape::Float
                | Shape::Duration
                | Shape::Bytes
                | Shape::Word
                | Shape::OneOf(_)
                | Shape::Command
                | Shape::Test
                | Shape::Environment
                | Shape::Labels
                | Shape::Options
                | Shape::Hosts
                | Shape::Replaced(_) => true,
                Shape::Words(_) => is_called(&["tmpfs", "dns_opt", "dns_search"]),
                _ => false,
            }
    }

    /// Walks one step down the path.
    pub(super) fn under<T>(&mut self, part: &str, go: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.path.push(part.to_owned());
        let result = go(self);
        self.path.pop();
        result
    }

    fn value(&mut self, node: Node, shape: &'static Shape) -> Result<Node> {
        if node.tag == Tag::Reset || node.is_null() {
            return Ok(Node { kind: Kind::Null, ..node });
        }
        if self.stays(shape) {
            return Ok(sorted(node));
        }
        let (at, tag) = (node.at, node.tag);
        let done = match shape {
            Shape::Any => sorted(node),
            Shape::Text => match node.kind {
                Kind::Text(_) => node,
                _ => return Err(self.error(at, "must be a string")),
            },
            Shape::Word => {
                let text =
                    node.scalar_text().ok_or_else(|| self.error(at, "must be a string or a number"))?;
                Node::text(text, at)
            }
            Shape::Bool => self.bool(&node)?,
            Shape::Int => self.int(&node)?,
            Shape::Float => self.float(&node)?,
            Shape::Duration => self.duration(&node)?,
            Shape::Bytes => self.bytes(&node)?,
            Shape::Path => {
                let path = node.as_str().ok_or_else(|| self.error(at, "must be a string"))?;
                Node::text(self.context.path(path), at)
            }
            Shape::Context => {
                let text = node.as_str().ok_or_else(|| self.error(at, "must be a string"))?;
                Node::text(if is_remote(text) { text.to_owned() } else { self.context.path(text) }, at)
            }
            Shape::OneOf(words) => match node.as_str() {
                Some(word) if words.contains(&word) => node,
                _ => {
                    let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
                    let words = words.join(", ");
                    return Err(self.error(at, format!("must be one of the following: {words}")));
                }
            },
            Shape::List(item) => self.list(node, item)?,
            Shape::Set(item, key) => unique(self.list(node, item)?, *key),
            Shape::Words(key) => unique(self.words(node)?, *key),
            Shape::Command => self.command(node)?,
            Shape::Test => self.test(node)?,
            Shape::Environment => self.pairs(node, true)?,
            Shape::Labels => self.pairs(node, false)?,
            Shape::Options => {
                let mut values = node.as_map().into_iter().flatten();
                if let Some((name, value)) = values.find(|(_, value)| matches!(value.kind, Kind::Bool(_))) {
                    let at = value.at;
                    return self.under(name, |walk| Err(walk.error(at, "must be a string, number or null")));
                }
                self.pairs(node, false)?
            }
            Shape::Hosts => self.hosts(node)?,
            Shape::Named(item) | Shape::Replaced(item) => self.named(node, item)?,
            Shape::Record(record) => self.record(node, record)?,
            Shape::Short(long, shape) => match long(node.clone()) {
                Ok(node) => self.value(node, shape)?,
                Err(_) if self.context.keep_variables => node,
                Err(message) => return Err(self.error(at, message)),
            },
            Shape::Mount(record) => self.mount(node, record)?,
            Shape::Ssh => self.ssh(&node)?,
            Shape::Done => node,
            Shape::Several(..) => return Err(self.error(at, "must be a list")),
        };
        Ok(Node { tag, ..done })
    }

    fn list(&mut self, node: Node, item: &'static Shape) -> Result<Node> {
        // Of ports with variables none is made longer than it is written.
        if let (Shape::Several(expand, _), Kind::List(list)) = (item, &node.kind)
            && self.context.keep_variables
            && list.iter().any(|item| expand(item.clone()).is_err())
        {
            return Ok(node);
        }
        let Kind::List(list) = node.kind else { return Err(self.error(node.at, "must be a list")) };
        let mut items = Vec::with_capacity(list.len());
        for (place, node) in list.into_iter().enumerate() {
            self.under(&place.to_string(), |walk| {
                if let Shape::Several(expand, shape) = item {
                    let at = node.at;
                    for node in expand(node).map_err(|message| walk.error(at, message))? {
                        items.push(walk.value(node, shape)?);
                    }
                } else {
                    items.push(walk.value(node, item)?);
                }
                Ok(())
            })?;
        }
        Ok(Node::list(items, node.at))
    }

    fn words(&mut self, node: Node) -> Result<Node> {
        let at = node.at;
        match node.kind {
            Kind::List(_) => self.list(node, &Shape::Word),
            _ => match node.scalar_text() {
                Some(text) => Ok(Node::list(vec![Node::text(text, at)], at)),
                None => Err(self.error(at, "must be a string or a list")),
            },
        }
    }

    fn command(&mut self, node: Node) -> Result<Node> {
        let at = node.at;
        match &node.kind {
            Kind::Text(text) => {
                let words =
                    shlex::split(text).ok_or_else(|| self.error(at, "holds a quote that is not closed"))?;
                Ok(Node::list(words.into_iter().map(|word| Node::text(word, at)).collect(), at))
            }
            Kind::List(_) => self.list(node, &Shape::Text),
            _ => Err(self.error(at, "must be a string or a list")),
        }
    }

    fn test(&mut self, node: Node) -> Result<Node> {
        let at = node.at;
        match &node.kind {
            Kind::Text(_) => Ok(Node::list(vec![Node::text("CMD-SHELL", at), node], at)),
            Kind::List(words) => {
                let first = words.first().map(|word| word.as_str().unwrap_or_default());
                if first.is_some_and(|first| !["CMD", "CMD-SHELL", "NONE"].contains(&first)) {
                    return Err(self.error(at, r#"must start either by "CMD", "CMD-SHELL" or "NONE""#));
                }
                self.list(node, &Shape::Word)
            }
            _ => Err(self.error(at, "must be a string or a list")),
        }
    }

    fn named(&mut self, node: Node, item: &'static Shape) -> Result<Node> {
        let at = node.at;
        let Kind::Map(map) = node.kind else { return Err(self.error(at, "must be a mapping")) };
        let mut named = Map::with_capacity(map.len());
        for (name, value) in map {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
            let is_extension = name.starts_with("x-") && self.path.is_empty();
            if !is_extension && (name.is_empty() || !name.chars().all(allowed)) {
                return Err(self.error(value.at, format!("Additional property {name} is not allowed")));
            }
            let value = self.under(&name, |walk| walk.value(value, item))?;
            named.insert(name, value);
        }
        named.order();
        Ok(Node::map(named, at))
    }

    fn record(&mut self, node: Node, record: &'static Record) -> Result<Node> {
        let at = node.at;
        let Kind::Map(mut map) = node.kind else { return Err(self.error(at, "must be a mapping")) };
        let mut done = Map::with_capacity(map.len());
        for (name, shape) in record.fields {
            if let Some(value) = map.shift_remove(*name) {
                let value = self.under(name, |walk| walk.value(value, shape))?;
                // A later file's empty command takes the earlier one away.
                if !value.is_null() || value.tag == Tag::Reset || matches!(shape, Shape::Command) {
                    done.insert((*name).to_owned(), value);
                }
            }
        }
        if let Some(missing) = record.required.iter().find(|name| !done.contains_key(**name)) {
            return Err(self.error(at, format!("{missing} is required")));
        }
        let mut extensions: Vec<(String, Node)> = map.into_iter().collect();
        extensions.order_by(|(a, _), (b, _)| a.cmp(b));
        for (name, value) in extensions {
            if !name.starts_with("x-") {
                return Err(self.unknown(&name, value.at, record));
            }
            done.insert(name, sorted(value));
        }
        Ok(Node::map(done, at))
    }

    fn mount(&mut self, node: Node, record: &'static Record) -> Result<Node> {
        let mut node = self.record(node, record)?;
        let is_bind = node.str_at("type") == Some("bind");
        if let Some(source) =
            node.as_map_mut().filter(|_| is_bind).and_then(|fields| fields.get_mut("source"))
        {
            let path = source.as_str().map(|path| self.context.path(path));
            source.kind = path.map_or(Kind::Null, Kind::Text);
        }
        Ok(node)
    }

    fn unknown(&self, name: &str, at: Place, record: &Record) -> Error {
        let error = self.error(at, format!("Additional property {name} is not allowed"));
        let nearest = record
            .fields
            .iter()
            .map(|(known, _)| (strsim::damerau_levenshtein(known, name), *known))
            .min()
            .filter(|(distance, known)| *distance <= known.len().max(3) / 3);
        match nearest {
            Some((_, known)) => error.hint(format!("did you mean {known}?")),
            None => error,
        }
    }
}

/// The directory that a volume of the local driver binds is a path of the host.
fn device_path(volume: &mut Node, context: &Context<'_>) {
    let is_local = volume.str_at("driver").is_none_or(|driver| driver == "local");
    let options =
        volume.as_map_mut().and_then(|fields| fields.get_mut("driver_opts")).and_then(Node::as_map_mut);
    let Some(options) = options.filter(|options| {
        is_local
            && options
                .get("o")
                .and_then(Node::as_str)
                .is_some_and(|o| o.split(',').any(|word| word == "bind"))
    }) else {
        return;
    };
    if let Some(device) = options.get_mut("device")
        && let Some(path) = device.as_str().map(|path| context.path(path))
    {
        device.kind = Kind::Text(path);
    }
}

/// Of items with the same key the last one counts.
fn unique(node: Node, key: Key) -> Node {
    match node.kind {
        Kind::List(list) => Node { kind: Kind::List(merge::unique(list, key)), ..Node::null(node.at) },
        _ => node,
    }
}

/// Extensions are printed with their keys in order.
fn sorted(mut node: Node) -> Node {
    match &mut node.kind {
        Kind::Map(map) => {
            map.order();
            for value in map.values_mut() {
                *value = sorted(std::mem::replace(value, Node::null(value.at)));
            }
        }
        Kind::List(list) => {
            for value in list {
                *value = sorted(std::mem::replace(value, Node::null(value.at)));
            }
        }
        _ => {}
    }
    node
}

/// Whether a build context is somewhere else than on this machine.
pub(crate) fn is_remote(text: &str) -> bool {
    const SCHEMES: [&str; 9] = [
        "http://",
        "https://",
        "git://",
        "ssh://",
        "github.com/",
        "git@",
        "docker-image://",
        "oci-layout://",
        "service:",
    ];
    SCHEMES.iter().any(|scheme| text.starts_with(scheme)) || text.ends_with(".git")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned() {
        assert_eq!(clean(Path::new("/a/./b/../c//d/")), Path::new("/a/c/d"));
        assert_eq!(clean(Path::new("/../x")), Path::new("/x"));
    }
}
