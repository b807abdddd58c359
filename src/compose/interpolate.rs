//! `$NAME`, `${NAME}` and the forms with defaults, errors and replacements, in the values of a file.

use std::collections::BTreeSet;

use crate::compose::node::{Files, Kind, Node, Place};
use crate::engine::Result;

/// Where variables come from, and which were missed.
pub(crate) struct Variables<'a> {
    /// Finds a variable's value.
    pub(crate) find: &'a dyn Fn(&str) -> Option<String>,
    /// Those asked for without a default and not found, for one warning each.
    pub(crate) missed: BTreeSet<String>,
}

/// A text in which something is wrong with a `$`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `${` followed by something that is no name.
    Format,
    /// `${NAME:?message}` of a variable that is missing.
    Required { name: String, message: String },
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Format => {
                f.write_str("invalid interpolation format; you may need to escape any $ with another $")
            }
            Fault::Required { name, message } if message.is_empty() => {
                write!(f, "required variable {name} is missing a value")
            }
            Fault::Required { name, message } => {
                write!(f, "required variable {name} is missing a value: {message}")
            }
        }
    }
}

/// Replaces the variables in every text below `node`; keys stay as they are.
///
/// # Errors
///
/// A [`Fault`], with its place and the path of its key.
pub(crate) fn tree(node: &mut Node, variables: &mut Variables<'_>, files: &Files) -> Result<()> {
    below(node, variables, &mut Vec::new()).map_err(|(at, text, path, fault)| {
        let path = path.join(".");
        match fault {
            Fault::Format => {
                let advice = "You may need to escape any $ with another $.";
                files.error(at, format!("invalid interpolation format for {path}.\n{advice}\n{text}"))
            }
            Fault::Required { .. } => files.error(at, format!("error while interpolating {path}: {fault}")),
        }
    })
}

fn below(
    node: &mut Node,
    variables: &mut Variables<'_>,
    path: &mut Vec<String>,
) -> std::result::Result<(), (Place, String, Vec<String>, Fault)> {
    match &mut node.kind {
        Kind::Text(value) if value.contains('$') => match text(value, variables) {
            Ok(replaced) => *value = replaced,
            Err(fault) => return Err((node.at, value.clone(), path.clone(), fault)),
        },
        Kind::List(list) => {
            for item in list {
                path.push("[]".to_owned());
                below(item, variables, path)?;
                path.pop();
            }
        }
        Kind::Map(map) => {
            for (key, value) in map {
                path.push(key.clone());
                below(value, variables, path)?;
                path.pop();
            }
        }
        _ => {}
    }
    Ok(())
}

/// Replaces the variables in one text.
///
/// # Errors
///
/// A [`Fault`].
pub(crate) fn text(template: &str, variables: &mut Variables<'_>) -> std::result::Result<String, Fault> {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(dollar) = rest.find('$') {
        out.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        match rest.as_bytes().first() {
            Some(b'$') => {
                out.push('$');
                rest = &rest[1..];
            }
            Some(b'{') => {
                let end = closing(rest).ok_or(Fault::Format)?;
                out.push_str(&braced(&rest[1..end], variables)?);
                rest = &rest[end + 1..];
            }
            _ => {
                // A `$` before anything but a name is itself.
                let end = name_length(rest);
                out.push_str(&if end == 0 { "$".to_owned() } else { plain(&rest[..end], variables) });
                rest = &rest[end..];
            }
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// A variable that a text uses, and what stands in for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) name: String,
    /// Without a value the file is refused.
    pub(crate) required: bool,
    /// What is taken if it is not set.
    pub(crate) default: String,
    /// What is taken in its place if it is set.
    pub(crate) alternate: String,
}

/// The variables that a text uses, those of their defaults included; nothing of what is no variable.
pub(crate) fn used(template: &str) -> Vec<Used> {
    let mut found = Vec::new();
    let mut rest = template;
    while let Some(dollar) = rest.find('$') {
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            rest = after;
            continue;
        }
        let Some(end) = (if rest.starts_with('{') { closing(rest) } else { Some(name_length(rest)) }) else {
            return found;
        };
        let inside = rest[..end].trim_start_matches('{');
        let (name, operator) = inside.split_at(name_length(inside));
        rest = &rest[end..];
        if name.is_empty() {
            continue;
        }
        let operator = operator.strip_prefix(':').unwrap_or(operator);
        let mut one = Used {
            name: name.to_owned(),
            required: operator.starts_with('?'),
            default: String::new(),
            alternate: String::new(),
        };
        if let Some(word) = operator.strip_prefix('-') {
            one.default = word.to_owned();
        } else if let Some(word) = operator.strip_prefix('+') {
            one.alternate = word.to_owned();
        }
        let inner = used(&one.default);
        found.push(one);
        found.extend(inner);
    }
    found
}

/// The place of the `}` that closes the `{` at the start of `text`.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let bytes = text.as_bytes();
    let mut place = 0;
    while place < bytes.len() {
        match bytes[place] {
            b'{' if place == 0 || bytes[place - 1] == b'$' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(place);
                }
            }
            _ => {}
        }
        place += 1;
    }
    None
}

/// The length of the name at the start of `text`.
fn name_length(text: &str) -> usize {
    match text.as_bytes().first() {
        Some(b) if b.is_ascii_alphabetic() || *b == b'_' => {
            text.bytes().position(|b| !b.is_ascii_alphanumeric() && b != b'_').unwrap_or(text.len())
        }
        _ => 0,
    }
}

fn plain(name: &str, variables: &mut Variables<'_>) -> String {
    (variables.find)(name).unwrap_or_else(|| {
        variables.missed.insert(name.to_owned());
        String::new()
    })
}

/// What stands between the braces.
fn braced(inside: &str, variables: &mut Variables<'_>) -> std::result::Result<String, Fault> {
    let (name, rest) = inside.split_at(name_length(inside));
    if name.is_empty() {
        return Err(Fault::Format);
    }
    let value = (variables.find)(name);
    let filled = value.clone().filter(|value| !value.is_empty());
    let (value, operator, word) = match rest.as_bytes() {
        [] => return Ok(plain(name, variables)),
        [b':', operator @ (b'-' | b'?' | b'+'), ..] => (filled, *operator, &rest[2..]),
        [operator @ (b'-' | b'?' | b'+'), ..] => (value, *operator, &rest[1..]),
        _ => return Err(Fault::Format),
    };
    match (operator, value) {
        (b'+', Some(_)) => text(word, variables),
        (b'+', None) => Ok(String::new()),
        (_, Some(value)) => Ok(value),
        (b'-', None) => text(word, variables),
        (_, None) => Err(Fault::Required { name: name.to_owned(), message: text(word, variables)? }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_found_with_their_defaults() {
        let row =
            |used: &Used| format!("{} {} {:?} {:?}", used.name, used.required, used.default, used.alternate);
        for (template, want) in [
            ("x:$A", vec!["A false \"\" \"\""]),
            ("${A:-b}${B?no}", vec!["A false \"b\" \"\"", "B true \"\" \"\""]),
            ("${A:+x}", vec!["A false \"\" \"x\""]),
            ("${A:-${B-c}}", vec!["A false \"${B-c}\" \"\"", "B false \"c\" \"\""]),
            ("$$A ${ $", vec![]),
        ] {
            assert_eq!(used(template).iter().map(row).collect::<Vec<_>>(), want, "{template}");
        }
    }

    #[test]
    fn every_form_is_replaced() {
        let find = |name: &str| match name {
            "A" => Some("a".to_owned()),
            "E" => Some(String::new()),
            _ => None,
        };
        let mut variables = Variables { find: &find, missed: BTreeSet::new() };
        for (template, expected) in [
            ("$A", Ok("a")),
            ("${A}b$$c", Ok("ab$c")),
            ("x-$A-${A}", Ok("x-a-a")),
            ("${B:-d}", Ok("d")),
            ("${B-d}", Ok("d")),
            ("${E:-d}", Ok("d")),
            ("${E-d}", Ok("")),
            ("${A:-d}", Ok("a")),
            ("${B:-${A}}", Ok("a")),
            ("${B:-${C:-x}y}z", Ok("xyz")),
            ("${A:+r}", Ok("r")),
            ("${E:+r}", Ok("")),
            ("${E+r}", Ok("r")),
            ("${B:-{}}", Ok("{}")),
            ("${B}", Ok("")),
            ("$", Ok("$")),
            ("$1", Ok("$1")),
            ("${", Err(Fault::Format)),
            ("${A", Err(Fault::Format)),
            ("${}", Err(Fault::Format)),
            ("${A!x}", Err(Fault::Format)),
            ("${B:?no B}", Err(Fault::Required { name: "B".into(), message: "no B".into() })),
            ("${E?}", Ok("")),
        ] {
            assert_eq!(text(template, &mut variables), expected.map(str::to_owned), "{template}");
        }
        assert_eq!(variables.missed.into_iter().collect::<Vec<_>>(), ["B"]);
    }
}
