//! A tree as YAML text, quoted and laid out as Go's libraries do with an indent of two: what docker compose and podman
//! print, byte for byte.

use crate::base::yaml::node::{Kind, Map, Node, float_text};
use crate::base::yaml::scalar;

/// Where the lists of a mapping stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lists {
    /// Further in than their key: yaml.v3, docker compose.
    Indented,
    /// Below their key: yaml.v2, Kubernetes.
    Flush,
}

/// The document, with a line feed at its end.
pub(crate) fn document(node: &Node, lists: Lists) -> String {
    let mut out = String::new();
    match &node.kind {
        Kind::Map(map) if !map.is_empty() => mapping(&mut out, map, 0, lists),
        Kind::List(list) if !list.is_empty() => sequence(&mut out, list, 0, lists),
        _ => {
            inline(&mut out, node, 0);
            out.push('\n');
        }
    }
    out
}

fn indent(out: &mut String, depth: usize) {
    out.extend(std::iter::repeat_n("  ", depth));
}

fn mapping(out: &mut String, map: &Map, depth: usize, lists: Lists) {
    for (place, (key, value)) in map.iter().enumerate() {
        if place > 0 || !out.ends_with("- ") {
            indent(out, depth);
        }
        out.push_str(&scalar_text(key, true));
        out.push(':');
        below(out, value, depth + 1, lists);
    }
}

fn sequence(out: &mut String, list: &[Node], depth: usize, lists: Lists) {
    for (place, item) in list.iter().enumerate() {
        if place > 0 || !out.ends_with("- ") {
            indent(out, depth);
        }
        out.push_str("- ");
        match &item.kind {
            Kind::Map(map) if !map.is_empty() => mapping(out, map, depth + 1, lists),
            Kind::List(list) if !list.is_empty() => sequence(out, list, depth + 1, lists),
            _ => {
                inline(out, item, depth + 1);
                out.push('\n');
            }
        }
    }
}

/// What follows `key:`.
fn below(out: &mut String, value: &Node, depth: usize, lists: Lists) {
    match &value.kind {
        Kind::Map(map) if !map.is_empty() => {
            out.push('\n');
            mapping(out, map, depth, lists);
        }
        Kind::List(list) if !list.is_empty() => {
            out.push('\n');
            sequence(out, list, if lists == Lists::Flush { depth - 1 } else { depth }, lists);
        }
        _ => {
            out.push(' ');
            inline(out, value, depth);
            out.push('\n');
        }
    }
}

/// A scalar or an empty collection.
fn inline(out: &mut String, node: &Node, depth: usize) {
    match &node.kind {
        Kind::Null => out.push_str("null"),
        Kind::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Kind::Int(value) => out.push_str(&value.to_string()),
        Kind::Float(value) => out.push_str(&float_text(*value)),
        Kind::List(_) => out.push_str("[]"),
        Kind::Map(_) => out.push_str("{}"),
        Kind::Text(text) if text.contains('\n') && is_printable(text) => literal(out, text, depth),
        Kind::Text(text) => out.push_str(&scalar_text(text, false)),
    }
}

/// `|`, with the indicators that keep leading spaces and the line feeds at the end.
fn literal(out: &mut String, text: &str, depth: usize) {
    out.push('|');
    if text.starts_with([' ', '\n']) {
        out.push('2');
    }
    let body = text.strip_suffix('\n');
    match body {
        None => out.push('-'),
        Some(body) if body.ends_with('\n') || body.is_empty() => out.push('+'),
        Some(_) => {}
    }
    for line in body.unwrap_or(text).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            indent(out, depth.max(1));
            out.push_str(line);
        }
    }
}

fn is_printable(text: &str) -> bool {
    text.chars().all(|c| {
        matches!(c, '\n' | '\t' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}')
            && !matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}')
    })
}

/// A word plain where that means the same text, else quoted.
fn scalar_text(text: &str, is_key: bool) -> String {
    if text.is_empty() || means_something_else(text) || (is_key && text.contains('\n')) {
        return double_quoted(text);
    }
    if !is_printable(text) || text.contains(['\t', '\n']) {
        return double_quoted(text);
    }
    if may_be_plain(text) { text.to_owned() } else { format!("'{}'", text.replace('\'', "''")) }
}

/// Words that would not be read back as text, in YAML 1.1 either.
fn means_something_else(text: &str) -> bool {
    const OLD_BOOLEANS: [&str; 22] = [
        "y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "n", "N", "no", "No", "NO", "off", "Off", "OFF",
        "true", "True", "TRUE", "false", "False", "FALSE",
    ];
    !matches!(scalar::resolve(text), Kind::Text(_))
        || text.bytes().all(|b| b.is_ascii_digit())
        || OLD_BOOLEANS.contains(&text)
        || text == "<<"
        || is_base_60(text)
        || is_timestamp(text)
}

/// YAML 1.1's `1:20`.
fn is_base_60(text: &str) -> bool {
    let digits = text.trim_start_matches(['+', '-']);
    let mut parts = digits.split(':');
    let Some(first) = parts.next() else { return false };
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    let rest: Vec<&str> = parts.collect();
    if rest.is_empty() || !is_number(first) || !first.starts_with(|c: char| c.is_ascii_digit()) {
        return false;
    }
    rest.iter().enumerate().all(|(place, part)| {
        let part = if place + 1 == rest.len() { part.split('.').next().unwrap_or(part) } else { part };
        part.len() <= 2
            && !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_digit())
            && (part.len() < 2 || part.as_bytes()[0] < b'6')
    })
}

/// `2001-12-14`, with or without a time.
fn is_timestamp(text: &str) -> bool {
    let bytes = text.as_bytes();
    let digits = |range: std::ops::Range<usize>| {
        bytes.get(range).is_some_and(|part| part.iter().all(u8::is_ascii_digit))
    };
    digits(0..4)
        && bytes.get(4) == Some(&b'-')
        && (text.parse::<jiff::civil::Date>().is_ok() && text.len() == 10
            || text.len() > 10
                && matches!(bytes[10], b'T' | b't' | b' ')
                && (text.replacen(' ', "T", 1).parse::<jiff::civil::DateTime>().is_ok()
                    || text.parse::<jiff::Timestamp>().is_ok()))
}

/// Whether the emitter of libyaml leaves the word without quotes.
fn may_be_plain(text: &str) -> bool {
    let bytes = text.as_bytes();
    if text.starts_with("---") || text.starts_with("...") || text.starts_with(' ') || text.ends_with(' ') {
        return false;
    }
    let blank_or_end = |place: usize| bytes.get(place).is_none_or(|b| matches!(b, b' ' | b'\t' | b'\n'));
    match bytes[0] {
        b'#' | b',' | b'[' | b']' | b'{' | b'}' | b'&' | b'*' | b'!' | b'|' | b'>' | b'\'' | b'"' | b'%'
        | b'@' | b'`' => return false,
        b'?' | b':' | b'-' if blank_or_end(1) => return false,
        _ => {}
    }
    for (place, byte) in bytes.iter().enumerate().skip(1) {
        match byte {
            b':' if blank_or_end(place + 1) => return false,
            b'#' if matches!(bytes[place - 1], b' ' | b'\t') => return false,
            _ => {}
        }
    }
    true
}

fn double_quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\0' => out.push_str("\\0"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            '\u{1b}' => out.push_str("\\e"),
            '\u{85}' => out.push_str("\\N"),
            '\u{feff}' => out.push_str("\\uFEFF"),
            c if !is_printable(c.encode_utf8(&mut [0; 4])) => {
                let code = u32::from(c);
                out.push_str(&match code {
                    0..0x100 => format!("\\x{code:02X}"),
                    0x100..0x1_0000 => format!("\\u{code:04X}"),
                    _ => format!("\\U{code:08X}"),
                });
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_they_must_be() {
        for (text, written) in [
            ("plain", "plain"),
            ("", "\"\""),
            ("true", "\"true\""),
            ("yes", "\"yes\""),
            ("n", "\"n\""),
            ("3000", "\"3000\""),
            ("22:22", "\"22:22\""),
            ("8080:80", "8080:80"),
            ("1.5", "\"1.5\""),
            ("k: v", "'k: v'"),
            ("- x", "'- x'"),
            ("-x", "-x"),
            ("@x", "'@x'"),
            ("it's #1", "'it''s #1'"),
            ("x#1", "x#1"),
            ("tab\there", "\"tab\\there\""),
            ("2024-01-01", "\"2024-01-01\""),
            ("2024-01-01T10:00:00Z", "\"2024-01-01T10:00:00Z\""),
            ("2024-01-01x", "2024-01-01x"),
            ("::1", "::1"),
            ("a:", "'a:'"),
            ("*", "'*'"),
            ("null", "\"null\""),
            ("daemon off;", "daemon off;"),
        ] {
            assert_eq!(scalar_text(text, false), written, "{text:?}");
        }
    }

    #[test]
    fn lines_become_a_literal_block() {
        for (text, written) in [
            ("a\nb", "k: |-\n  a\n  b\n"),
            ("a\nb\n", "k: |\n  a\n  b\n"),
            ("a\n\nb\n\n", "k: |+\n  a\n\n  b\n\n"),
            ("  a\nb\n", "k: |2\n    a\n  b\n"),
        ] {
            let map = Map::from_iter([("k".to_owned(), Node::text(text, Default::default()))]);
            assert_eq!(document(&Node::map(map, Default::default()), Lists::Indented), written, "{text:?}");
        }
        let list = Node::list(vec![Node::text("a\nb", Default::default())], Default::default());
        let map = Map::from_iter([("k".to_owned(), list)]);
        let tree = Node::map(map, Default::default());
        assert_eq!(document(&tree, Lists::Indented), "k:\n  - |-\n    a\n    b\n");
        assert_eq!(document(&tree, Lists::Flush), "k:\n- |-\n  a\n  b\n");
    }
}
