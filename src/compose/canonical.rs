//! Checks a tree against the [`schema`](crate::compose::schema) and brings every value to its long form.
//!
//! Done for each file before it is merged, because relative paths start at that file's directory.

use std::path::{Component, Path, PathBuf};

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
    /// Leave paths as they are (`config --no-path-resolution`).
    pub(crate) keep_paths: bool,
    /// Leave values that hold a `$` as they are (`config --no-interpolate`).
    pub(crate) keep_variables: bool,
}

impl Context<'_> {
    /// A path of the host, absolute and without `.` and `..`.
    pub(crate) fn path(&self, path: &str) -> String {
        if self.keep_paths {
            return path.to_owned();
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

/// A path without `.`, `..` and doubled slashes, by its text alone.
pub(crate) fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
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

struct Walk<'a, 'c> {
    context: &'a Context<'c>,
    path: Vec<String>,
}

impl Walk<'_, '_> {
    fn error(&self, at: Place, message: impl std::fmt::Display) -> Error {
        self.context.files.error(at, format!("{} {message}", self.path.join(".")))
    }

    /// Walks one step down the path.
    fn under<T>(&mut self, part: &str, go: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.path.push(part.to_owned());
        let result = go(self);
        self.path.pop();
        result
    }

    fn value(&mut self, node: Node, shape: &'static Shape) -> Result<Node> {
        if node.tag == Tag::Reset || node.is_null() {
            return Ok(Node { kind: Kind::Null, ..node });
        }
        if self.context.keep_variables && node.as_str().is_some_and(|text| text.contains('$')) {
            return Ok(node);
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
            Shape::Hosts => self.hosts(node)?,
            Shape::Named(item) | Shape::Replaced(item) => self.named(node, item)?,
            Shape::Record(record) => self.record(node, record)?,
            Shape::Short(long, shape) => {
                let node = long(node).map_err(|message| self.error(at, message))?;
                self.value(node, shape)?
            }
            Shape::Mount(record) => self.mount(node, record)?,
            Shape::Ssh => self.ssh(&node)?,
            Shape::Done => node,
            Shape::Several(..) => return Err(self.error(at, "must be a list")),
        };
        Ok(Node { tag, ..done })
    }

    fn bool(&self, node: &Node) -> Result<Node> {
        let value = match &node.kind {
            Kind::Bool(value) => *value,
            Kind::Text(text) => match text.to_ascii_lowercase().as_str() {
                "true" | "t" | "yes" | "y" | "on" | "1" => true,
                "false" | "f" | "no" | "n" | "off" | "0" => false,
                _ => return Err(self.error(node.at, "must be a boolean")),
            },
            _ => return Err(self.error(node.at, "must be a boolean")),
        };
        Ok(Node::bool(value, node.at))
    }

    fn int(&self, node: &Node) -> Result<Node> {
        let value = match &node.kind {
            Kind::Int(value) => Some(*value),
            #[allow(clippy::cast_possible_truncation, reason = "compared with the float right here")]
            Kind::Float(value) if (*value as i64) as f64 == *value => Some(*value as i64),
            Kind::Text(text) => text.parse().ok(),
            _ => None,
        };
        value.map(|value| Node::int(value, node.at)).ok_or_else(|| self.error(node.at, "must be a integer"))
    }

    #[allow(clippy::cast_precision_loss, reason = "numbers of processors and ratios are small")]
    fn float(&self, node: &Node) -> Result<Node> {
        let value = match &node.kind {
            Kind::Int(value) => Some(*value as f64),
            Kind::Float(value) => Some(*value),
            Kind::Text(text) => text.parse().ok(),
            _ => None,
        };
        let value = value.ok_or_else(|| self.error(node.at, "must be a number"))?;
        Ok(Node::new(Kind::Float(value), node.at))
    }

    fn duration(&self, node: &Node) -> Result<Node> {
        let text = node.as_str().ok_or_else(|| self.error(node.at, "must be a string"))?;
        let ns = duration_ns(text)
            .ok_or_else(|| self.error(node.at, format!("must be a duration like 1m30s, not {text:?}")))?;
        Ok(Node::text(duration_text(ns), node.at))
    }

    fn bytes(&self, node: &Node) -> Result<Node> {
        let value = match &node.kind {
            Kind::Int(value) => Some(*value),
            Kind::Text(text) => bytes(text),
            _ => None,
        };
        let value = value.ok_or_else(|| self.error(node.at, "must be a size like 64m"))?;
        Ok(Node::text(value.to_string(), node.at))
    }

    fn list(&mut self, node: Node, item: &'static Shape) -> Result<Node> {
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
            Kind::List(_) => self.list(node, &Shape::Word),
            _ => Err(self.error(at, "must be a string or a list")),
        }
    }

    fn pairs(&mut self, node: Node, keep_null: bool) -> Result<Node> {
        let at = node.at;
        let mut pairs = Map::new();
        let missing = |at: Place| if keep_null { Node::null(at) } else { Node::text("", at) };
        match node.kind {
            Kind::Map(map) => {
                for (name, value) in map {
                    let at = value.at;
                    let value = match (&value.kind, value.scalar_text()) {
                        _ if value.tag == Tag::Reset => value,
                        (_, Some(text)) => Node { kind: Kind::Text(text), at, tag: value.tag },
                        (Kind::Null, _) => missing(at),
                        _ => {
                            return self.under(&name, |walk| {
                                Err(walk.error(at, "must be a string, number, boolean or null"))
                            });
                        }
                    };
                    pairs.insert(name, value);
                }
            }
            Kind::List(list) => {
                for item in list {
                    let text =
                        item.scalar_text().ok_or_else(|| self.error(item.at, "must be a list of words"))?;
                    match text.split_once('=') {
                        Some((name, value)) => pairs.insert(name.to_owned(), Node::text(value, item.at)),
                        None => pairs.insert(text, missing(item.at)),
                    };
                }
            }
            _ => return Err(self.error(at, "must be a mapping or a list")),
        }
        pairs.sort_unstable_keys();
        Ok(Node::map(pairs, at))
    }

    fn hosts(&mut self, node: Node) -> Result<Node> {
        let at = node.at;
        let mut hosts = Vec::new();
        let mut add = |host: &str, address: &str, at: Place| {
            let address = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
            hosts.push(Node::text(format!("{host}={address}"), at));
        };
        match &node.kind {
            Kind::Map(map) => {
                for (host, value) in map {
                    match (&value.kind, value.as_str()) {
                        (_, Some(address)) => add(host, address, value.at),
                        (Kind::List(list), _) => {
                            list.iter()
                                .filter_map(Node::as_str)
                                .for_each(|address| add(host, address, value.at));
                        }
                        _ => return Err(self.error(value.at, "must be an address or a list of them")),
                    }
                }
            }
            Kind::List(list) => {
                for item in list {
                    let text = item.as_str().ok_or_else(|| self.error(item.at, "must be a string"))?;
                    let (host, address) = text
                        .split_once('=')
                        .or_else(|| text.split_once(':'))
                        .ok_or_else(|| self.error(item.at, format!("bad host name '{text}'")))?;
                    add(host, address, item.at);
                }
            }
            _ => return Err(self.error(at, "must be a mapping or a list")),
        }
        hosts.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
        Ok(Node::list(hosts, at))
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
        named.sort_unstable_keys();
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
        extensions.sort_by(|(a, _), (b, _)| a.cmp(b));
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

    /// `id` alone, or `id: path` as docker compose prints it.
    fn ssh(&self, node: &Node) -> Result<Node> {
        let entry = |id: &str, path: Option<&str>, at: Place| match path {
            Some(path) => Node::text(format!("{id}: {}", self.context.path(path)), at),
            None => Node::text(id, at),
        };
        let list = match &node.kind {
            Kind::Text(id) => vec![entry(id, None, node.at)],
            Kind::Map(map) => map.iter().map(|(id, path)| entry(id, path.as_str(), path.at)).collect(),
            Kind::List(list) => list
                .iter()
                .map(|item| {
                    let text = item.as_str().ok_or_else(|| self.error(item.at, "must be a string"))?;
                    Ok(match text.split_once('=') {
                        Some((id, path)) => entry(id, Some(path), item.at),
                        None => entry(text, None, item.at),
                    })
                })
                .collect::<Result<_>>()?,
            _ => return Err(self.error(node.at, "must be a list or a mapping")),
        };
        Ok(Node::list(list, node.at))
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
            map.sort_unstable_keys();
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

/// Go's `time.ParseDuration`, in nanoseconds.
pub(crate) fn duration_ns(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0.0_f64;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let value: f64 = rest[..number].parse().ok()?;
        rest = &rest[number..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        total += value
            * match &rest[..unit] {
                "ns" => 1.0,
                "us" | "µs" | "μs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                "d" => 86_400e9,
                "w" => 604_800e9,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    #[allow(clippy::cast_possible_truncation, reason = "a duration beyond 292 years is clamped")]
    let ns = total.round() as i64;
    Some(if negative { -ns } else { ns })
}

/// Go's `Duration.String`.
pub(crate) fn duration_text(ns: i64) -> String {
    if ns == 0 {
        return "0s".to_owned();
    }
    let sign = if ns < 0 { "-" } else { "" };
    let ns = ns.unsigned_abs();
    let fraction = |value: u64, unit: u64| {
        let (whole, part) = (value / unit, value % unit);
        let digits = unit.ilog10() as usize;
        let part = format!("{part:0digits$}");
        let part = part.trim_end_matches('0');
        if part.is_empty() { whole.to_string() } else { format!("{whole}.{part}") }
    };
    if ns < 1_000 {
        return format!("{sign}{ns}ns");
    }
    if ns < 1_000_000 {
        return format!("{sign}{}µs", fraction(ns, 1_000));
    }
    if ns < 1_000_000_000 {
        return format!("{sign}{}ms", fraction(ns, 1_000_000));
    }
    let seconds = fraction(ns % 60_000_000_000, 1_000_000_000);
    let minutes = ns / 60_000_000_000;
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

/// A size with docker's units, all of them powers of 1024.
pub(crate) fn bytes(text: &str) -> Option<i64> {
    let text = text.trim();
    let digits =
        text.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '-' | '+')).unwrap_or(text.len());
    let number: f64 = text[..digits].parse().ok()?;
    let unit = text[digits..].trim().to_ascii_lowercase();
    let unit = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit);
    let factor: i64 = match unit {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1 << 40,
        "p" => 1 << 50,
        _ => return None,
    };
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "sizes of memory")]
    Some((number * factor as f64) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_go_both_ways() {
        for (text, expected) in [
            ("90s", "1m30s"),
            ("1m30s", "1m30s"),
            ("0", "0s"),
            ("0s", "0s"),
            ("1.5s", "1.5s"),
            ("500ms", "500ms"),
            ("1h", "1h0m0s"),
            ("100us", "100µs"),
            ("1500ns", "1.5µs"),
            ("2h3m4.005s", "2h3m4.005s"),
        ] {
            assert_eq!(duration_text(duration_ns(text).unwrap()), expected, "{text}");
        }
        for bad in ["", "1", "s", "1x", "1 s"] {
            assert_eq!(duration_ns(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_are_read() {
        for (text, expected) in [
            ("64m", 67_108_864),
            ("1gb", 1 << 30),
            ("50M", 52_428_800),
            ("12", 12),
            ("1.5k", 1536),
            ("2KiB", 2048),
        ] {
            assert_eq!(bytes(text), Some(expected), "{text}");
        }
        assert_eq!(bytes("x"), None);
        assert_eq!(bytes("1z"), None);
    }

    #[test]
    fn paths_are_cleaned() {
        assert_eq!(clean(Path::new("/a/./b/../c//d/")), Path::new("/a/c/d"));
        assert_eq!(clean(Path::new("/../x")), Path::new("/x"));
    }
}
