//! A later file over an earlier one, a service over the one it extends: by the rules of the Compose
//! Specification, which the [`schema`](crate::compose::schema) names for each value.
//!
//! Both trees are in their long form. `!reset` takes a value away, `!override` replaces it.

use crate::base::order::InOrder as _;
use crate::compose::node::{Kind, Map, Node, Tag};
use crate::compose::schema::{Key, Record, Shape};

/// Lays `over` upon `base`.
pub(crate) fn records(base: Node, over: Node, record: &'static Record) -> Node {
    let at = over.at;
    let (Kind::Map(mut base), Kind::Map(over)) = (base.kind, over.kind) else { return Node::null(at) };
    for (key, value) in over {
        let shape = record.field(&key).unwrap_or(&Shape::Any);
        put(&mut base, key, value, shape);
    }
    // A key that only the later file has is put in its place among the fields.
    let place = |key: &str| record.fields.iter().position(|(name, _)| *name == key).unwrap_or(usize::MAX);
    base.order_by(|a, b| {
        place(a)
            .cmp(&place(b))
            .then_with(|| if place(a) == usize::MAX { a.cmp(b) } else { std::cmp::Ordering::Equal })
    });
    Node::map(base, at)
}

fn put(base: &mut Map, key: String, value: Node, shape: &'static Shape) {
    match (value.tag, base.get_mut(&key)) {
        (Tag::Reset, _) => {
            base.shift_remove(&key);
        }
        (Tag::Override, _) | (_, None) => {
            base.insert(key, Node { tag: Tag::None, ..value });
        }
        (Tag::None, Some(before)) => {
            let taken = std::mem::replace(before, Node::null(value.at));
            *before = values(taken, value, shape);
        }
    }
}

/// Lays one value upon another.
fn values(base: Node, over: Node, shape: &'static Shape) -> Node {
    if over.is_null() {
        return match shape {
            // A name alone asks for the caller's value, whatever the earlier file said.
            Shape::Environment | Shape::Command => over,
            _ => base,
        };
    }
    if base.is_null() {
        return over;
    }
    match shape {
        Shape::Record(record) if is_replaced_logging(&base, &over) && record.field("driver").is_some() => {
            over
        }
        Shape::Record(record) | Shape::Mount(record) => records(base, over, record),
        Shape::Named(item) => named(base, over, item),
        Shape::Environment | Shape::Labels | Shape::Options => pairs(base, over),
        Shape::Replaced(_) => pairs(base, over),
        Shape::List(_) => lists(base, over, Key::None),
        Shape::Set(_, key) | Shape::Words(key) => lists(base, over, *key),
        Shape::Hosts => lists(base, over, Key::Whole),
        Shape::Short(_, shape) | Shape::Several(_, shape) => values(base, over, shape),
        _ => over,
    }
}

/// A log with another driver shares no options with the earlier one.
fn is_replaced_logging(base: &Node, over: &Node) -> bool {
    let is_logging = |node: &Node| {
        node.as_map().is_some_and(|map| map.keys().all(|key| matches!(key.as_str(), "driver" | "options")))
    };
    is_logging(base)
        && is_logging(over)
        && matches!((base.str_at("driver"), over.str_at("driver")), (Some(a), Some(b)) if a != b)
}

fn named(base: Node, over: Node, item: &'static Shape) -> Node {
    let at = over.at;
    let (Kind::Map(mut base), Kind::Map(over)) = (base.kind, over.kind) else { return Node::null(at) };
    for (key, value) in over {
        put(&mut base, key, value, item);
    }
    base.order();
    Node::map(base, at)
}

fn pairs(base: Node, over: Node) -> Node {
    let at = over.at;
    if base.as_list().is_some() || over.as_list().is_some() {
        return written_pairs(base, over);
    }
    let (Kind::Map(mut base), Kind::Map(over)) = (base.kind, over.kind) else { return Node::null(at) };
    for (key, value) in over {
        if value.tag == Tag::Reset {
            base.shift_remove(&key);
        } else {
            base.insert(key, Node { tag: Tag::None, ..value });
        }
    }
    base.order();
    Node::map(base, at)
}

/// Pairs that were left as they are written (`--no-interpolate`), one of both as a list: a list of them all.
fn written_pairs(base: Node, over: Node) -> Node {
    let at = over.at;
    let mut all: Vec<Node> = [base, over].into_iter().flat_map(items).collect();
    all = unique(all, Key::Name);
    all.order_by(|a, b| a.as_str().cmp(&b.as_str()));
    Node::list(all, at)
}

/// The items of a list; of a mapping as `key=value`, and of one value that value.
fn items(node: Node) -> Vec<Node> {
    let at = node.at;
    match node.kind {
        Kind::List(list) => list,
        Kind::Map(map) => map
            .iter()
            .map(|(key, value)| match value.scalar_text() {
                Some(text) => Node::text(format!("{key}={text}"), at),
                None => Node::text(key.as_str(), at),
            })
            .collect(),
        Kind::Null => vec![],
        kind => vec![Node { kind, at, tag: node.tag }],
    }
}

fn lists(base: Node, over: Node, key: Key) -> Node {
    let at = over.at;
    let mut base = items(base);
    base.extend(items(over).into_iter().filter(|item| item.tag != Tag::Reset));
    Node::list(unique(base, key), at)
}

/// The items without those that a later one with the same key replaces, each at its first place.
pub(crate) fn unique(items: Vec<Node>, key: Key) -> Vec<Node> {
    let mut found = indexmap::IndexMap::<String, Node>::new();
    for (place, item) in items.into_iter().enumerate() {
        let key = identity(&item, key).unwrap_or_else(|| format!("\0{place}"));
        found.insert(key, item);
    }
    found.into_values().collect()
}

fn identity(item: &Node, key: Key) -> Option<String> {
    match key {
        // What was left as it is written has no fields yet.
        Key::Field(_) | Key::Port if item.as_map().is_none() => item.scalar_text(),
        Key::None => None,
        Key::Whole => item.scalar_text(),
        Key::Name => item.as_str().map(|text| text.split(['=', ':']).next().unwrap_or(text).to_owned()),
        Key::Field("target") => item
            .str_at("target")
            .map(str::to_owned)
            // A secret without a target is found under its own name.
            .or_else(|| item.str_at("source").map(|source| format!("/run/secrets/{source}"))),
        Key::Field(field) => item.str_at(field).map(str::to_owned),
        Key::Port => {
            let part = |name: &str| item.get(name).and_then(Node::scalar_text).unwrap_or_default();
            Some(format!("{}:{}:{}/{}", part("host_ip"), part("published"), part("target"), part("protocol")))
        }
    }
}
