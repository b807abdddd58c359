//! How results are shown: tables, JSON, and Go templates over JSON documents.
//!
//! ```text
//! --format TEXT ─▶ Format ─▶ json            json.rs
//!                        └─▶ Template        lex ▶ parse ▶ ast ▶ eval (funcs, print, gotime)
//!                                └─ table …  header row, then table.rs aligns the columns
//! ```
//!
//! Scripts depend on the templates of podman and docker, which are Go's text/template over Go
//! structs. Here the data is `serde_json::Value`, and a [`Shape`] says what the JSON does not:
//! what the type is called in errors and what its columns are called in headers.

mod ast;
pub(crate) mod docker;
mod eval;
mod funcs;
mod gotime;
pub(crate) mod json;
mod lex;
mod parse;
mod print;
pub(crate) mod table;
mod value;
pub(crate) mod yaml;

use std::io::Write;

use serde_json::Value;

use crate::cli::session::Session;

pub(crate) use value::TEXT_TIMES;

/// What templates need to know of a command's documents beyond their JSON.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// The template's name in errors (`ps`).
    pub(crate) command: &'static str,
    /// podman's name of the Go type, for errors about unknown fields.
    pub(crate) type_name: &'static str,
    /// Headings that differ from the field's name split into words.
    pub(crate) headers: &'static [(&'static str, &'static str)],
    /// Fields that JSON leaves out when they are empty, and templates still know.
    pub(crate) omit: &'static [&'static str],
    /// Show a heading over `table …`.
    pub(crate) heading: bool,
}

/// A template that cannot be read or does not fit the data, in Go's words.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub(crate) struct FormatError(pub(crate) String);

/// What `--format` asks for.
#[derive(Debug)]
pub(crate) enum Format {
    /// `json`.
    Json,
    /// A template; in columns if it began with `table`.
    Template { template: parse::Template, table: bool },
}

impl Format {
    /// Reads the value of `--format`.
    ///
    /// # Errors
    ///
    /// If it is a template with a mistake.
    pub(crate) fn parse(text: &str, shape: &Shape) -> Result<Self, FormatError> {
        Self::read(text, shape, true)
    }

    /// The same; in a table blanks separate columns with `blanks`, and tabs only without, as docker has it.
    pub(crate) fn read(text: &str, shape: &Shape, blanks: bool) -> Result<Self, FormatError> {
        let trimmed = text.trim();
        if trimmed == "json" {
            return Ok(Self::Json);
        }
        let (text, table) = match text.strip_prefix("table ") {
            Some(columns) if blanks => (separate_by_tabs(&unescape(columns.trim())), true),
            Some(columns) => (unescape(columns.trim()), true),
            None => (unescape(text), false),
        };
        let text = if text.ends_with('\n') { text } else { text + "\n" };
        Ok(Self::Template { template: parse::Template::parse(&text, shape.command)?, table })
    }

    /// True if a template mentions the field `name`, so that it is worth computing.
    pub(crate) fn mentions(&self, name: &str) -> bool {
        self.source().contains(&format!(".{name}"))
    }

    /// True if all of a document is asked for as JSON: `json`, which to docker is the same as `{{json .}}`.
    pub(crate) fn is_whole(&self) -> bool {
        match self {
            Self::Json => true,
            Self::Template { template, table } => {
                let inside =
                    template.source.trim().strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
                !table && inside.is_some_and(|action| action.split_whitespace().eq(["json", "."]))
            }
        }
    }

    /// The text of a template.
    pub(crate) fn source(&self) -> &str {
        match self {
            Self::Json => "",
            Self::Template { template, .. } => &template.source,
        }
    }
}

/// One row by a template, for output that comes bit by bit. Empty for [`Format::Json`].
///
/// # Errors
///
/// If the template does not fit the data.
pub(crate) fn render_row(
    format: &Format,
    row: &Value,
    shape: &Shape,
    escape: bool,
) -> Result<String, FormatError> {
    let mut text = String::new();
    if let Format::Template { template, .. } = format {
        eval::render(template, row, shape, escape, &mut text)?;
    }
    Ok(text)
}

/// Prints each row by a template (not for [`Format::Json`], whose layout differs per command).
///
/// # Errors
///
/// If the template does not fit the data. The rows before are printed.
pub(crate) fn print_rows(
    session: &mut Session<'_>,
    shape: &Shape,
    format: &Format,
    rows: &[Value],
) -> anyhow::Result<()> {
    let Format::Template { template, table } = format else {
        json::print_list(session, rows, shape.omit, "    ")?;
        return Ok(());
    };
    let mut text = String::new();
    let is_over_all = shape.heading && ranges_over_rows(&template.source);
    if *table && shape.heading && !is_over_all {
        template.render_header(shape.headers, &mut text);
    }
    let mut render = |row| eval::render(template, row, shape, session.out_is_tty, &mut text);
    let result =
        if is_over_all { render(&Value::Array(rows.to_vec())) } else { rows.iter().try_for_each(render) };
    if *table {
        text = table::align(&text, session.globals.called);
    }
    session.out.write_all(text.as_bytes())?;
    Ok(result?)
}

/// Does a template of a listing go through the rows by itself, as podman's manual has it: `{{range .}}…{{end}}`?
fn ranges_over_rows(template: &str) -> bool {
    let inside = template.strip_prefix("{{").and_then(|rest| rest.split_once("}}"));
    inside.is_some_and(|(action, _)| action.trim_matches(['-', ' ']).split_whitespace().eq(["range", "."]))
}

/// Prints as Docker lists things: an object per line, or a template for each.
///
/// # Errors
///
/// If the template cannot be read or does not fit the data.
pub(crate) fn print_lines(
    session: &mut Session<'_>,
    shape: &Shape,
    format: &str,
    rows: &[Value],
) -> anyhow::Result<()> {
    match Format::parse(format, shape)? {
        Format::Json => rows.iter().try_for_each(|row| Ok(writeln!(session.out, "{row}")?)),
        template => print_rows(session, shape, &template, rows),
    }
}

/// Turns the two-character sequences `\n` and `\t`, as they arrive from a shell's single quotes, into
/// what they stand for.
///
/// Not within the quotes of an action, whose strings have escapes of their own.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let (mut in_action, mut quote) = (false, None);
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let next = rest.clone().next();
        match (quote, c, next) {
            (None, '\\', Some('n' | 't')) => {
                plain.push(if rest.next() == Some('n') { '\n' } else { '\t' });
                continue;
            }
            (None, '{', Some('{')) => in_action = true,
            (None, '}', Some('}')) => in_action = false,
            (None, '"' | '`' | '\'', _) if in_action => quote = Some(c),
            // What is escaped does not end the string.
            (Some('"' | '\''), '\\', Some(escaped)) => {
                plain.extend([c, escaped]);
                rest.next();
                continue;
            }
            (Some(open), _, _) if open == c => quote = None,
            _ => {}
        }
        plain.push(c);
    }
    plain
}

/// Makes the blanks between actions column separators: `{{.ID}} {{.Names}}` has two columns.
fn separate_by_tabs(text: &str) -> String {
    let mut separated = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("{{") {
        let end = rest[start..].find("}}").map_or(rest.len(), |end| start + end + 2);
        push_separated(&mut separated, &rest[..start]);
        separated.push_str(&rest[start..end]);
        rest = &rest[end..];
    }
    push_separated(&mut separated, rest);
    separated
}

fn push_separated(target: &mut String, text: &str) {
    let mut blanks = text.split(' ').filter(|word| !word.is_empty());
    let starts_blank = text.starts_with(' ');
    if !text.contains(' ') {
        target.push_str(text);
    } else if let Some(first) = blanks.next() {
        if starts_blank && !first.starts_with('\t') {
            target.push('\t');
        }
        target.push_str(first);
        blanks.for_each(|word| {
            if !target.ends_with('\t') && !word.starts_with('\t') {
                target.push('\t');
            }
            target.push_str(word);
        });
        if text.ends_with(' ') && !target.ends_with('\t') {
            target.push('\t');
        }
    } else {
        target.push('\t');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_between_actions_separate_columns() {
        for (text, want) in [
            ("{{.A}} {{.B}}", "{{.A}}\t{{.B}}"),
            ("{{.A}}  {{.B}}", "{{.A}}\t{{.B}}"),
            ("{{.A}}\t{{.B}}", "{{.A}}\t{{.B}}"),
            ("{{.A}} \t {{.B}}", "{{.A}}\t{{.B}}"),
            ("{{join .A \" \"}} x {{.B}}", "{{join .A \" \"}}\tx\t{{.B}}"),
            ("{{.A}}:{{.B}}", "{{.A}}:{{.B}}"),
        ] {
            assert_eq!(separate_by_tabs(text), want, "{text}");
        }
    }

    #[test]
    fn what_asks_for_all_as_json() {
        let shape = Shape { command: "ps", type_name: "", headers: &[], omit: &[], heading: true };
        for (text, is) in [
            ("json", true),
            ("{{json .}}", true),
            ("{{ json . }}\\n", true),
            ("{{json .ID}}", false),
            ("{{json .}}{{json .}}", false),
            ("table {{json .}}", false),
            ("x {{json .}}", false),
        ] {
            assert_eq!(Format::parse(text, &shape).expect("it can be read").is_whole(), is, "{text}");
        }
    }

    #[test]
    fn templates_that_range_over_all_rows() {
        for (text, is) in [
            ("{{range .}}{{.ID}}{{end}}", true),
            ("{{ range . -}}{{.ID}}{{end}}", true),
            ("{{range .Labels}}x{{end}}", false),
            ("{{range $k, $v := .Labels}}x{{end}}", false),
            ("{{.ID}}{{range .}}{{end}}", false),
            ("range .", false),
        ] {
            assert_eq!(ranges_over_rows(text), is, "{text}");
        }
    }

    #[test]
    fn escapes_of_the_shell_are_not_those_of_strings() {
        for (text, want) in [
            (r"{{.A}}\t{{.B}}\n", "{{.A}}\t{{.B}}\n"),
            (r#"{{.A}}{{"\n"}}x"#, r#"{{.A}}{{"\n"}}x"#),
            (r#""\n" {{join .A "\"\t"}}\n"#, "\"\n\" {{join .A \"\\\"\\t\"}}\n"),
            (r"{{printf `\n` '\t'}}\t", "{{printf `\\n` '\\t'}}\t"),
            (r"a\b\", r"a\b\"),
        ] {
            assert_eq!(unescape(text), want, "{text}");
        }
    }
}
