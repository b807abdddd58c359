//! Prints a document as YAML, as `podman info` does: keys in alphabetical order.

use serde_json::Value;

use crate::base::order::InOrder as _;

/// The document as YAML.
pub(crate) fn print(document: &Value) -> String {
    let mut out = String::new();
    block(&mut out, document, 0);
    out
}

/// Writes a value whose lines begin at `indent`.
fn block(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(object) => {
            let mut keys: Vec<_> = object.keys().collect();
            keys.order();
            for (at, key) in keys.into_iter().enumerate() {
                // The first key of a list's item stands behind its dash.
                if at > 0 || !out.ends_with("- ") {
                    out.extend(std::iter::repeat_n(' ', indent));
                }
                out.push_str(&scalar(key));
                out.push(':');
                field(out, &object[key], indent);
            }
        }
        Value::Array(items) => {
            for item in items {
                out.extend(std::iter::repeat_n(' ', indent));
                out.push_str("- ");
                match item {
                    Value::Object(object) if !object.is_empty() => block(out, item, indent + 2),
                    _ => {
                        inline(out, item, indent + 2);
                        out.push('\n');
                    }
                }
            }
        }
        _ => {
            inline(out, value, indent);
            out.push('\n');
        }
    }
}

/// Writes what follows `key:`.
fn field(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(object) if !object.is_empty() => {
            out.push('\n');
            block(out, value, indent + 2);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            block(out, value, indent);
        }
        _ => {
            out.push(' ');
            inline(out, value, indent + 2);
            out.push('\n');
        }
    }
}

/// Writes a value without children.
fn inline(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::String(text)
            if text.contains('\n') && !text.contains(|c: char| c.is_control() && c != '\n') =>
        {
            out.push_str(if text.ends_with('\n') { "|" } else { "|-" });
            for line in text.trim_end_matches('\n').lines() {
                out.push('\n');
                out.extend(std::iter::repeat_n(' ', indent));
                out.push_str(line);
            }
        }
        Value::String(text) => out.push_str(&scalar(text)),
        Value::Object(_) => out.push_str("{}"),
        Value::Array(_) => out.push_str("[]"),
        other => out.push_str(&other.to_string()),
    }
}

/// A text, in quotes if it would mean something else without.
fn scalar(text: &str) -> String {
    const WORDS: [&str; 11] = ["true", "false", "yes", "no", "on", "off", "null", "~", "y", "n", ""];
    let is_word = WORDS.contains(&text.to_ascii_lowercase().as_str());
    let is_number = text.parse::<f64>().is_ok();
    let starts_badly = text.starts_with(|c: char| "-?:,[]{}#&*!|>'\"%@`".contains(c) || c.is_whitespace());
    if text.contains(|c: char| c.is_control()) {
        return serde_json::to_string(text).unwrap_or_default();
    }
    if is_word || is_number {
        return format!("\"{text}\"");
    }
    if starts_badly
        || text.ends_with(' ')
        || text.ends_with(':')
        || text.contains(": ")
        || text.contains(" #")
    {
        return format!("'{}'", text.replace('\'', "''"));
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn looks_like_podman_info() {
        let document = json!({
            "b": {"list": ["x", 1], "empty": [], "none": null, "map": {}, "version": "13"},
            "a": "conmon version 2.1.12, commit: unknown",
            "maps": [{"container_id": 0, "size": 1}, {"size": 2}],
            "lines": "one\ntwo",
            "yes": true,
        });
        let want = "a: 'conmon version 2.1.12, commit: unknown'\nb:\n  empty: []\n  list:\n  - x\n  - 1\n  map: {}\n  none: null\n  version: \"13\"\nlines: |-\n  one\n  two\nmaps:\n- container_id: 0\n  size: 1\n- size: 2\n\"yes\": true\n";
        assert_eq!(print(&document), want);
    }
}
