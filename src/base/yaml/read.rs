//! YAML text to a tree: anchors, aliases and `<<` merges resolved, tags kept, positions noted.

use std::collections::HashMap;
use std::ops::Add;

use granit_parser::{Event, Marker, Parser, ScalarStyle, Span};

use crate::base::yaml::node::{Kind, Map, Node, Place, Tag};
use crate::base::yaml::scalar;

/// What is wrong with a text, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) at: Place,
    pub(crate) message: String,
}

/// What reading gives.
pub(crate) type Result<T> = std::result::Result<T, Fault>;

fn fault<T>(at: Place, message: impl Into<String>) -> Result<T> {
    Err(Fault { at, message: message.into() })
}

/// Nodes that one text may have, with those that aliases repeat: far more than any real file, far fewer than a bomb.
const MAX_NODES: usize = 2_000_000;

/// Bytes of text that anchors and aliases may repeat.
const MAX_REPEATED: usize = 64 << 20;

/// Reads every document of `text`; an empty one is a null.
///
/// # Errors
///
/// Text that is no YAML, keys that are no scalars or stand twice, aliases of nothing, alias bombs.
pub(crate) fn documents(text: &str, file: u32) -> Result<Vec<Node>> {
    let mut reader = Reader { file, anchors: HashMap::new(), nodes: 0, repeated: 0 };
    let mut parser = Parser::new_from_str(text);
    let mut documents = Vec::new();
    loop {
        let (event, span) = reader.next(&mut parser)?;
        match event {
            Event::StreamEnd => return Ok(documents),
            Event::StreamStart | Event::DocumentEnd => {}
            Event::DocumentStart(..) => {
                reader.anchors.clear();
                let (event, span) = reader.next(&mut parser)?;
                documents.push(reader.node(&mut parser, event, span)?);
            }
            _ => return fault(reader.place(&span.start), "a document is expected here"),
        }
    }
}

struct Reader {
    file: u32,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    /// Bytes of text that were copied.
    repeated: usize,
}

type Source<'i> = Parser<'i, granit_parser::StrInput<'i>>;

impl Reader {
    fn place(&self, at: &Marker) -> Place {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Place { file: self.file, line: number(at.line()), column: number(at.col() + 1) }
    }

    /// The next event that is no comment.
    fn next<'i>(&self, parser: &mut Source<'i>) -> Result<(Event<'i>, Span)> {
        loop {
            match parser.next() {
                Some(Ok((Event::Comment(..), _))) => {}
                Some(Ok(event)) => return Ok(event),
                Some(Err(err)) => return fault(self.place(err.marker()), err.info()),
                None => return Ok((Event::StreamEnd, Span::default())),
            }
        }
    }

    /// The node that begins with `event`.
    fn node<'i>(&mut self, parser: &mut Source<'i>, event: Event<'i>, span: Span) -> Result<Node> {
        let at = self.place(&span.start);
        self.nodes += 1;
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_text = tag.as_ref().is_some_and(|tag| tag.suffix() == "str");
                let kind = if style == ScalarStyle::Plain && !is_text {
                    scalar::resolve(&text)
                } else {
                    Kind::Text(text.into_owned())
                };
                (Node { kind, at, tag: meaning(tag.as_deref()) }, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                let mut items = Vec::new();
                loop {
                    let (event, span) = self.next(parser)?;
                    if event == Event::SequenceEnd {
                        break;
                    }
                    items.push(self.node(parser, event, span)?);
                }
                (Node { kind: Kind::List(items), at, tag: meaning(tag.as_deref()) }, anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                let map = self.mapping(parser)?;
                (Node { kind: Kind::Map(map), at, tag: meaning(tag.as_deref()) }, anchor)
            }
            Event::Alias(id) => {
                let Some(node) = self.anchors.get(&id) else {
                    return fault(at, "this alias stands inside its own anchor");
                };
                let size = size(node);
                self.repeats(size, at)?;
                // The anchor was there, and still is.
                (self.anchors.get(&id).cloned().unwrap_or_else(|| Node::null(at)), 0)
            }
            _ => return fault(at, "a value is expected here"),
        };
        if anchor != 0 {
            self.repeats(size(&node), at)?;
            self.anchors.insert(anchor, node.clone());
        }
        self.repeats(Size::default(), at)?;
        Ok(node)
    }

    /// Counts what is about to be copied.
    fn repeats(&mut self, size: Size, at: Place) -> Result<()> {
        self.nodes += size.nodes;
        self.repeated += size.bytes;
        if self.nodes > MAX_NODES {
            return fault(at, "aliases make this document too large");
        }
        if self.repeated > MAX_REPEATED {
            let most = MAX_REPEATED >> 20;
            return fault(
                at,
                format!("this document is too large: aliases repeat more than {most} MiB of text"),
            );
        }
        Ok(())
    }

    /// The keys and values up to the end of a mapping; `<<` adds what is not there.
    fn mapping(&mut self, parser: &mut Source<'_>) -> Result<Map> {
        let mut map = Map::new();
        let mut merges = Vec::new();
        loop {
            let (event, span) = self.next(parser)?;
            if event == Event::MappingEnd {
                break;
            }
            let is_merge = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, ..) if text == "<<");
            // A key is text, whatever a plain scalar would mean: `80: x`, `on: x`.
            let written = match &event {
                Event::Scalar(text, ..) => Some(text.to_string()),
                _ => None,
            };
            let at = self.place(&span.start);
            let key_node = self.node(parser, event, span)?;
            let Some(key) = written.or_else(|| key_node.scalar_text()) else {
                return fault(at, "a key must be a word");
            };
            let (event, span) = self.next(parser)?;
            let value = self.node(parser, event, span)?;
            if is_merge {
                merges.push(value);
            } else if let Some(before) = map.insert(key.clone(), value) {
                let line = before.at.line;
                return fault(at, format!("mapping key {key:?} already defined at line {line}"));
            }
        }
        for from in merges {
            merge(&mut map, from)?;
        }
        Ok(map)
    }
}

fn merge(map: &mut Map, from: Node) -> Result<()> {
    match from.kind {
        Kind::Map(other) => {
            for (key, value) in other {
                map.entry(key).or_insert(value);
            }
            Ok(())
        }
        Kind::List(list) => list.into_iter().try_for_each(|node| merge(map, node)),
        _ => fault(from.at, "map merge requires map or sequence of maps as the value"),
    }
}

/// What a tree has.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    nodes: usize,
    /// Of all texts and keys.
    bytes: usize,
}

impl Add for Size {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { nodes: self.nodes + other.nodes, bytes: self.bytes + other.bytes }
    }
}

fn size(node: &Node) -> Size {
    let leaf = |bytes| Size { nodes: 1, bytes };
    match &node.kind {
        Kind::Text(text) => leaf(text.len()),
        Kind::List(list) => list.iter().map(size).fold(leaf(0), Size::add),
        Kind::Map(map) => {
            let entry = |(key, value): (&String, &Node)| size(value) + Size { nodes: 0, bytes: key.len() };
            map.iter().map(entry).fold(leaf(0), Size::add)
        }
        _ => leaf(0),
    }
}

fn meaning(tag: Option<&granit_parser::Tag>) -> Tag {
    match tag.map(|tag| (tag.handle(), tag.suffix())) {
        Some(("!", "reset")) => Tag::Reset,
        Some(("!", "override")) => Tag::Override,
        _ => Tag::None,
    }
}

/// Reads the first document of `text` as `T`.
///
/// # Errors
///
/// What is wrong with it, and where.
pub(crate) fn value_of<T: serde::de::DeserializeOwned>(text: &str) -> std::result::Result<T, String> {
    let documents = documents(text, 0)
        .map_err(|fault| format!("{}:{}: {}", fault.at.line, fault.at.column, fault.message))?;
    let document = documents.first().ok_or("it is empty")?;
    serde_json::from_value(document.to_json()).map_err(|err| err.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(text: &str) -> Result<Vec<Node>> {
        documents(text, 0)
    }

    #[test]
    fn anchors_and_merges_are_resolved() {
        let text = "a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\nc:\n  <<: [*a, {z: 9, x: 8}]\nd: *a\n";
        let json = read(text).unwrap()[0].to_json();
        assert_eq!(
            json,
            json!({"a": {"x": 1, "y": 2}, "b": {"y": 3, "x": 1}, "c": {"x": 1, "y": 2, "z": 9}, "d": {"x": 1, "y": 2}})
        );
    }

    #[test]
    fn places_and_tags_are_kept() {
        let documents = read("a:\n  b: !reset null\n  c: !override [1]\n---\nx: 'y'\n").unwrap();
        let a = documents[0].get("a").unwrap();
        assert_eq!(a.get("b").unwrap().tag, Tag::Reset);
        assert_eq!(a.get("c").unwrap().tag, Tag::Override);
        assert_eq!((a.get("b").unwrap().at.line, a.get("b").unwrap().at.column), (2, 13));
        assert_eq!(documents[1].str_at("x"), Some("y"));
    }

    #[test]
    fn bad_text_names_its_place() {
        for (text, message) in [
            ("a: 1\na: 2\n", "2:1: mapping key \"a\" already defined at line 1"),
            ("a: *b\n", "1:4: "),
            ("a: [1\n", ": "),
            ("? [1]\n: 2\n", "1:3: a key must be a word"),
        ] {
            let fault = read(text).unwrap_err();
            let shown = format!("{}:{}: {}", fault.at.line, fault.at.column, fault.message);
            assert!(shown.contains(message), "{text:?}: {shown}");
        }
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for level in 1..9 {
            let items = vec![format!("*a{}", level - 1); 10].join(",");
            text.push_str(&format!("a{level}: &a{level} [{items}]\n"));
        }
        assert!(read(&text).unwrap_err().message.contains("too large"));
    }

    #[test]
    fn text_is_repeated_up_to_a_limit() {
        let long = "x".repeat(2 << 20);
        let aliases = |count: usize| vec!["*a"; count].join(",");
        let anchors = |depth: usize| {
            let open: String = (0..depth).map(|level| format!("&a{level} [")).collect();
            format!("{open}{long}{}\n", "]".repeat(depth))
        };
        let keys =
            |count: usize| format!("a: &a\n  ? {}\n  : 1\nb: [{}]\n", "k".repeat(512 << 10), aliases(count));
        for (text, place) in [
            // The anchor counts as one.
            (format!("a: &a {long}\nb: [{}]\n", aliases(31)), None),
            (format!("a: &a {long}\nb: [{}]\n", aliases(32)), Some((2, 98))),
            (format!("a: &a {long}\nb: [{}]\n", aliases(2000)), Some((2, 98))),
            (format!("a: &a {long}\nb: [{}]\n---\nc: &a {long}\n", aliases(31)), Some((4, 7))),
            (anchors(32), None),
            (anchors(33), Some((1, 5))),
            (keys(127), None),
            (keys(128), Some((4, 386))),
        ] {
            let place_of = |fault: Fault| {
                assert!(fault.message.contains("repeat more than 64 MiB of text"), "{}", fault.message);
                (fault.at.line, fault.at.column)
            };
            assert_eq!(read(&text).err().map(place_of), place, "{}", text.len());
        }
    }
}
