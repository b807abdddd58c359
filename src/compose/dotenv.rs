//! `.env` and `env_file`: lines of `NAME=value`, as docker compose reads them.

use std::collections::BTreeSet;

use crate::compose::interpolate::{self, Variables};

/// A line that means nothing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Counts from 1.
    pub(crate) line: usize,
    pub(crate) message: String,
}

/// The variables of a file, in order. A name alone takes its value from `find`, and is left out if that
/// has none. `find` and earlier lines replace `$NAME` in values that are not in single quotes.
///
/// # Errors
///
/// The first line that means nothing.
pub(crate) fn parse(
    text: &str,
    find: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<(String, String)>, Fault> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    let mut found: Vec<(String, String)> = Vec::new();
    let mut rest = text.as_str();
    let mut line = 1;
    while !rest.is_empty() {
        let (consumed, variable) = statement(rest, line)?;
        if let Some((name, value)) = variable {
            let value = match value {
                None => find(&name),
                Some(Value::Literal(value)) => Some(value),
                Some(Value::Template(template)) => Some(expand(&template, &found, find, line)?),
            };
            if let Some(value) = value {
                found.retain(|(known, _)| *known != name);
                found.push((name, value));
            }
        }
        line += rest[..consumed].matches('\n').count();
        rest = &rest[consumed..];
    }
    Ok(found)
}

/// Lines of `NAME=value` without any quoting or variables (`format: raw`), as `run --env-file` reads them: a name
/// alone takes its value from `find`, and is left out if that has none.
///
/// # Errors
///
/// The first line that has no name, or one with a blank in it.
pub(crate) fn raw(text: &str, find: &dyn Fn(&str) -> Option<String>) -> Result<Vec<(String, String)>, Fault> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut found = Vec::new();
    for (place, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (line, find(line)),
        };
        let fault = |message: String| Fault { line: place + 1, message };
        if name.is_empty() {
            return Err(fault(format!("no variable name in {line:?}")));
        }
        if name.contains([' ', '\t']) {
            return Err(fault(format!("variable {name:?} contains whitespaces")));
        }
        found.extend(value.map(|value| (name.to_owned(), value)));
    }
    Ok(found)
}

enum Value {
    Literal(String),
    Template(String),
}

fn expand(
    template: &str,
    earlier: &[(String, String)],
    find: &dyn Fn(&str) -> Option<String>,
    line: usize,
) -> Result<String, Fault> {
    let look_up = |name: &str| {
        find(name).or_else(|| earlier.iter().rev().find(|(known, _)| known == name).map(|(_, v)| v.clone()))
    };
    let mut variables = Variables { find: &look_up, missed: BTreeSet::new() };
    interpolate::text(template, &mut variables).map_err(|fault| Fault { line, message: fault.to_string() })
}

/// One statement at the start of `text`: its length, and what it sets.
#[allow(clippy::type_complexity, reason = "a name, and perhaps a value")]
fn statement(text: &str, line: usize) -> Result<(usize, Option<(String, Option<Value>)>), Fault> {
    let end = text.find('\n').map_or(text.len(), |place| place + 1);
    let first = text[..end].trim();
    if first.is_empty() || first.starts_with('#') {
        return Ok((end, None));
    }
    let start = text.len() - text.trim_start().len();
    let body = &text[start..];
    let body = body.strip_prefix("export ").map_or(body, str::trim_start);
    let offset = text.len() - body.len();
    let name_end = body.find(['=', ':', '\n', '#']).unwrap_or(body.len());
    let name = body[..name_end].trim();
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '[' | ']');
    if name.is_empty() || !name.chars().all(is_name) {
        return Err(Fault { line, message: format!("unexpected character in variable name near {first:?}") });
    }
    if !body[name_end..].starts_with(['=', ':']) {
        return Ok((end, Some((name.to_owned(), None))));
    }
    let after = &body[name_end + 1..];
    let value = after.trim_start_matches([' ', '\t']);
    let value_at = offset + name_end + 1 + (after.len() - value.len());
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
    let Some(quote) = quote else {
        let until = value.find('\n').unwrap_or(value.len());
        let consumed = (value_at + until + 1).min(text.len());
        return Ok((consumed, Some((name.to_owned(), Some(Value::Template(unquoted(&value[..until])))))));
    };
    let close = closing(&value[1..], quote)
        .ok_or_else(|| Fault { line, message: format!("unterminated quoted value {first}") })?;
    let inside = &value[1..=close];
    let after_close = value_at + close + 2;
    let consumed = text[after_close..].find('\n').map_or(text.len(), |place| after_close + place + 1);
    let behind = text[after_close..consumed].trim();
    if !behind.is_empty() && !behind.starts_with('#') {
        let message = format!(
            "unexpected character {:?} behind the quoted value of {name}",
            behind.chars().next().unwrap_or_default()
        );
        return Err(Fault { line, message });
    }
    let parsed = if quote == '\'' {
        Value::Literal(inside.replace("\\'", "'"))
    } else {
        Value::Template(unescaped(inside))
    };
    Ok((consumed, Some((name.to_owned(), Some(parsed)))))
}

/// Up to a comment, which needs a space before it.
fn unquoted(text: &str) -> String {
    let end = text.find(" #").or_else(|| text.starts_with('#').then_some(0)).unwrap_or(text.len());
    text[..end].trim_end().to_owned()
}

/// The place of the quote that ends a value.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (place, c) in text.char_indices() {
        if c == quote && !escaped {
            return Some(place);
        }
        escaped = c == '\\' && !escaped;
    }
    None
}

/// `\n`, `\t`, `\"`, `\\` and `\$` between double quotes.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('$') => out.push_str("$$"),
            Some(c @ ('"' | '\\')) => out.push(c),
            Some(c) => out.extend(['\\', c]),
            None => out.push('\\'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_docker_compose_does() {
        let text = "# comment\n\nA=1\nexport B = two words # c\nC='$A # x'\nD=\"$A\\n${B}\"\nE=\nF\nG: yaml\nH=a#b\nI=\"multi\nline\"\nJ=\\$A\nHOST_ONLY\n";
        let find = |name: &str| (name == "F").then(|| "host".to_owned());
        let parsed = parse(text, &find).unwrap();
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "$A # x"),
            ("D", "1\ntwo words"),
            ("E", ""),
            ("F", "host"),
            ("G", "yaml"),
            ("H", "a#b"),
            ("I", "multi\nline"),
            ("J", "\\1"),
        ];
        let expected: Vec<_> = expected.map(|(a, b)| (a.to_owned(), b.to_owned())).into();
        assert_eq!(parsed, expected);
    }

    #[test]
    fn raw_lines_are_taken_as_they_are() {
        let find = |name: &str| (name == "F").then(|| "host".to_owned());
        let text = "\u{feff}# comment\n#A=1\n\n  B=\"two\" # $C \r\nC=\nF\nHOST_ONLY\nD=a=b\n";
        let parsed = raw(text, &find).unwrap();
        let expected = [("B", "\"two\" # $C "), ("C", ""), ("F", "host"), ("D", "a=b")];
        assert_eq!(parsed, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
        assert_eq!(raw("A=1\n=x\n", &find).unwrap_err().line, 2);
        assert_eq!(raw("A B=x\n", &find).unwrap_err().line, 1);
    }

    #[test]
    fn faults_name_their_line() {
        let none = |_: &str| None;
        assert_eq!(parse("A=1\n=x\n", &none).unwrap_err().line, 2);
        assert_eq!(parse("A=1\nB='x\n", &none).unwrap_err().line, 2);
        assert_eq!(parse("A B=1\n", &none).unwrap_err().line, 1);
        assert_eq!(parse("A='x''y'\n", &none).unwrap_err().line, 1);
        assert_eq!(parse("A='x' # y\n", &none).unwrap().len(), 1);
    }
}
