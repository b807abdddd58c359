//! Prints documents as JSON.

use std::io::Write;

use serde::ser::Serialize as _;
use serde_json::Value;
use serde_json::ser::{Formatter, PrettyFormatter};

use super::docker;
use crate::base::escape::acts_on_terminal;
use crate::cli::session::Session;
use crate::documents::pruned::{Pruned, prune};

/// A document on one line.
pub(crate) fn compact(document: &Value, omit: &[&'static str]) -> String {
    compact_under("", document, omit)
}

/// A part of a document, which stands there under `key`, on one line.
pub(crate) fn compact_under(key: &str, part: &Value, omit: &[&'static str]) -> String {
    write(&Pruned::under(key, part, omit), serde_json::ser::CompactFormatter)
}

/// A document over several lines, each level `indent` deeper.
pub(crate) fn pretty(document: &Value, omit: &[&'static str], indent: &str) -> String {
    write(&Pruned::new(document, omit), PrettyFormatter::with_indent(indent.as_bytes()))
}

fn write(document: &Pruned<'_>, formatter: impl Formatter) -> String {
    let mut out = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    document.serialize(&mut serializer).expect("a Value has text keys, and memory takes any text");
    String::from_utf8(out).expect("JSON is UTF-8")
}

/// Prints an array of documents, indented.
///
/// # Errors
///
/// If standard output does not take it.
pub(crate) fn print_list(
    session: &mut Session<'_>,
    documents: &[Value],
    omit: &[&'static str],
    indent: &str,
) -> anyhow::Result<()> {
    if session.prints_json_lines()? {
        // As docker has it: one object per line.
        return documents.iter().try_for_each(|document| print(session, &prune(document, omit).to_string()));
    }
    let text = pretty(&Value::Array(documents.to_vec()), omit, indent);
    print(session, &text)
}

/// Prints rows as docker does: a line for each, with these fields as texts.
///
/// # Errors
///
/// If standard output does not take it.
pub(crate) fn print_dockers_lines(
    session: &mut Session<'_>,
    rows: impl IntoIterator<Item = Value>,
    fields: &[&str],
) -> anyhow::Result<()> {
    rows.into_iter().try_for_each(|row| print(session, &docker::line(&row, fields).to_string()))
}

/// Prints JSON text and ends the line.
///
/// # Errors
///
/// If standard output does not take it.
pub(crate) fn print(session: &mut Session<'_>, json: &str) -> anyhow::Result<()> {
    let escaped = session.out_is_tty.then(|| escape(json));
    session.out.write_all(escaped.as_deref().unwrap_or(json).as_bytes())?;
    session.out.write_all(b"\n")?;
    Ok(())
}

/// Writes what a terminal would act on as `\u….`: the same JSON, and harmless. (Control characters
/// below U+0020 JSON escapes by itself; those outside of texts are line ends and blanks.)
pub(crate) fn escape(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match acts_on_terminal(c) && c != '\n' {
            true => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn leaves_out_what_is_empty_and_named() {
        let document = json!({"A": "", "B": "", "C": {"A": null, "D": []}, "E": [{"A": 0}, {"A": 1}]});
        assert_eq!(compact(&document, &["A"]), r#"{"B":"","C":{"D":[]},"E":[{},{"A":1}]}"#);
        assert_eq!(compact(&document, &["C.A", "E.A"]), r#"{"A":"","B":"","C":{"D":[]},"E":[{},{"A":1}]}"#);
        assert_eq!(pretty(&json!([{"a": {}}]), &[], "     "), "[\n     {\n          \"a\": {}\n     }\n]");
    }

    #[test]
    fn escaping_does_not_change_the_document() {
        let document = json!({"a": "\u{1b}[1m \u{9b}x \u{202e} \u{7f} ä"});
        let text = pretty(&document, &[], "  ");
        let escaped = escape(&text);
        assert!(!escaped.chars().any(|c| acts_on_terminal(c) && c != '\n'), "{escaped}");
        assert_eq!(serde_json::from_str::<Value>(&escaped).unwrap(), document);
    }
}
