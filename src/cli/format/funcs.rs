//! The functions a template can call: Go's own, and those that docker and podman add.

use std::borrow::Cow;

use super::eval::Context;
use super::print;
use super::value::{Val, default_network, sorted};

/// Names of all functions.
const NAMES: &[&str] = &[
    "and", "eq", "ge", "gt", "html", "index", "join", "js", "json", "le", "len", "lower", "lt", "ne", "not",
    "or", "pad", "print", "printf", "println", "slice", "split", "title", "truncate", "upper", "urlquery",
];

/// True if there is a function of this name.
pub(crate) fn is_known(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Calls a function (not `and` and `or`, which the evaluation itself does: they look at no more
/// arguments than they need).
///
/// # Errors
///
/// Go's sentence, without its position.
pub(crate) fn call<'v>(name: &str, args: &[Val<'v>], context: &Context<'_>) -> Result<Val<'v>, String> {
    let escape = context.escape;
    match (name, args) {
        ("json", [value]) => {
            // The JSON of a row is that of the struct it is made around.
            let value = match value {
                Val::Struct(row, "") if let Some(inner) = row.get("ListContainer") => inner.clone(),
                other => other.to_json(),
            };
            let key = if let Val::Struct(_, key) | Val::List(_, key) = &args[0] { key } else { "" };
            let json = super::json::compact_under(key, &value, context.shape.omit);
            Ok(Val::Text(if escape { super::json::escape(&json) } else { json }))
        }
        ("print", _) => Ok(Val::Text(print::sprint(args, false, escape))),
        ("println", _) => Ok(Val::Text(print::sprint(args, true, escape))),
        ("printf", [format, rest @ ..]) => {
            Ok(Val::Text(print::sprintf(&text(format, name, context)?, rest, escape)))
        }
        ("not", [value]) => Ok(Val::Bool(!value.is_true())),
        ("eq", [first, rest @ ..]) if !rest.is_empty() => {
            rest.iter().try_fold(false, |any, other| Ok(any || equal(first, other)?)).map(Val::Bool)
        }
        ("ne", [a, b]) => Ok(Val::Bool(!equal(a, b)?)),
        ("lt", [a, b]) => less(a, b).map(Val::Bool),
        ("le", [a, b]) => Ok(Val::Bool(less(a, b)? || equal(a, b)?)),
        ("gt", [a, b]) => Ok(Val::Bool(!less(a, b)? && !equal(a, b)?)),
        ("ge", [a, b]) => less(a, b).map(|less| Val::Bool(!less)),
        ("len", [value]) => length(value),
        ("index", [value, keys @ ..]) => keys.iter().try_fold(value.clone(), |value, key| index(&value, key)),
        ("slice", [value, bounds @ ..]) if bounds.len() <= 3 => slice(value, bounds, context),
        ("upper", [value]) => Ok(Val::Text(text(value, name, context)?.to_uppercase())),
        ("lower", [value]) => Ok(Val::Text(text(value, name, context)?.to_lowercase())),
        ("title", [value]) => Ok(Val::Text(title(&text(value, name, context)?))),
        ("split", [value, separator]) => {
            let (value, separator) = (text(value, name, context)?, text(separator, name, context)?);
            let parts = value.split(separator.as_ref()).map(|part| Val::Text(part.to_owned()));
            // Rust yields an empty text before and after where there is no separator; Go does not.
            Ok(Val::Made(match separator.is_empty() {
                true => value.chars().map(|c| Val::Text(c.to_string())).collect(),
                false => parts.collect(),
            }))
        }
        ("join", [list, separator]) => {
            let items = list.as_list().ok_or_else(|| wrong(list, "[]string"))?;
            let items: Vec<_> = items.iter().map(|item| print::text(item, escape)).collect();
            Ok(Val::Text(items.join(&text(separator, name, context)?)))
        }
        ("pad", [value, before, after]) => {
            let value = text(value, name, context)?;
            let blanks = |count: &Val<'_>| Ok::<_, String>(" ".repeat(whole(count)?.min(10_000)));
            match value.is_empty() {
                true => Ok(Val::Text(String::new())),
                false => Ok(Val::Text(format!("{}{value}{}", blanks(before)?, blanks(after)?))),
            }
        }
        ("truncate", [value, length]) => {
            Ok(Val::Text(text(value, name, context)?.chars().take(whole(length)?).collect()))
        }
        ("html" | "js" | "urlquery", _) => Ok(Val::Text(markup(name, &print::sprint(args, false, escape)))),
        _ => Err(format!("wrong number of args for {name}: got {}", args.len())),
    }
}

/// A text argument. What comes from the document leaves it here, so it is made safe here.
fn text<'a>(value: &'a Val<'_>, name: &str, context: &Context<'_>) -> Result<Cow<'a, str>, String> {
    match value {
        Val::Foreign(_) if context.escape => Ok(Cow::Owned(print::text(value, true))),
        // docker's functions take any kind of text type; a number or list they refuse.
        _ => value.as_text().ok_or_else(|| match name {
            "printf" => wrong(value, "string"),
            _ => wrong(value, "string"),
        }),
    }
}

fn wrong(value: &Val<'_>, wanted: &str) -> String {
    format!("wrong type for value; expected {wanted}; got {}", value.type_name("struct"))
}

fn whole(value: &Val<'_>) -> Result<usize, String> {
    match value {
        Val::Int(number) => usize::try_from(*number).map_err(|_| format!("index out of range: {number}")),
        _ => Err(wrong(value, "int")),
    }
}

/// `eq`: same kind and same value.
fn equal(a: &Val<'_>, b: &Val<'_>) -> Result<bool, String> {
    let is_nothing = |val: &Val<'_>| matches!(val, Val::Missing | Val::Null(_));
    match (a, b) {
        (Val::Bool(a), Val::Bool(b)) => Ok(a == b),
        (Val::Int(a), Val::Int(b)) => Ok(a == b),
        (Val::Float(a), Val::Float(b)) => Ok(a == b),
        (Val::Time(a), Val::Time(b)) => Ok(a == b),
        _ if is_nothing(a) || is_nothing(b) => Ok(is_nothing(a) && is_nothing(b)),
        _ => match (a.as_text(), b.as_text()) {
            (Some(a), Some(b)) => Ok(a == b),
            _ if matches!(a, Val::List(..) | Val::Made(_) | Val::Map(_) | Val::Struct(..)) => {
                Err(format!("non-comparable type {}", a.type_name("struct")))
            }
            _ => Err("incompatible types for comparison".to_owned()),
        },
    }
}

/// `lt`.
fn less(a: &Val<'_>, b: &Val<'_>) -> Result<bool, String> {
    match (a, b) {
        (Val::Int(a), Val::Int(b)) => Ok(a < b),
        (Val::Float(a), Val::Float(b)) => Ok(a < b),
        _ => match (a.as_text(), b.as_text()) {
            (Some(a), Some(b)) => Ok(a < b),
            (None, None) if std::mem::discriminant(a) == std::mem::discriminant(b) => {
                Err("invalid type for comparison".to_owned())
            }
            _ => Err("incompatible types for comparison".to_owned()),
        },
    }
}

fn length<'v>(value: &Val<'v>) -> Result<Val<'v>, String> {
    let length = match value {
        Val::Foreign(text) => text.len(),
        Val::Text(text) => text.len(),
        Val::Map(map) => map.len(),
        Val::List(items, _) => items.len(),
        Val::Made(items) => items.len(),
        Val::Null(_) => 0,
        Val::Missing => return Err("len of nil pointer".to_owned()),
        _ => return Err(format!("len of type {}", value.type_name("struct"))),
    };
    Ok(Val::Int(i64::try_from(length).unwrap_or(i64::MAX)))
}

fn index<'v>(value: &Val<'v>, key: &Val<'v>) -> Result<Val<'v>, String> {
    match value {
        Val::Map(map) => {
            let Some(name) = key.as_text() else {
                return Err(format!("value has type {}; should be string", key.type_name("struct")));
            };
            // Indexing yields the zero value where there is no such key.
            let zero = match map.values().any(|item| !item.is_string()) {
                true => Val::Null(""),
                false => Val::Text(String::new()),
            };
            let found = sorted(map).into_iter().find(|(known, _)| *known == name).map(|(_, item)| item);
            Ok(found.or_else(|| default_network(map, &name).map(|value| Val::of(value, ""))).unwrap_or(zero))
        }
        Val::Null(_) | Val::Missing if key.as_text().is_some() => Err("index of untyped nil".to_owned()),
        Val::Foreign(_) | Val::Text(_) => {
            let (text, at) = (value.as_text().unwrap_or_default(), position(key)?);
            let byte = usize::try_from(at).ok().and_then(|at| text.as_bytes().get(at).copied());
            byte.map(|byte| Val::Int(i64::from(byte))).ok_or_else(|| format!("index out of range: {at}"))
        }
        _ => {
            let items = value
                .as_list()
                .ok_or_else(|| format!("can't index item of type {}", value.type_name("struct")))?;
            let at = position(key)?;
            let item = usize::try_from(at).ok().and_then(|at| items.into_iter().nth(at));
            item.ok_or_else(|| format!("index out of range: {at}"))
        }
    }
}

fn position(key: &Val<'_>) -> Result<i64, String> {
    match key {
        Val::Int(at) => Ok(*at),
        _ => Err(format!("cannot index slice/array with type {}", key.type_name("struct"))),
    }
}

fn slice<'v>(value: &Val<'v>, bounds: &[Val<'v>], context: &Context<'_>) -> Result<Val<'v>, String> {
    let length = match length(value)? {
        Val::Int(length) => usize::try_from(length).unwrap_or(0),
        _ => 0,
    };
    let bound = |at: usize, default: usize| bounds.get(at).map_or(Ok(default), whole);
    let (from, to) = (bound(0, 0)?, bound(1, length)?);
    if to > length {
        return Err(format!("index out of range: {to}"));
    }
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    match value.as_list() {
        Some(items) => Ok(Val::Made(items[from..to].to_vec())),
        None => {
            let whole = value.as_text().ok_or_else(|| wrong(value, "string"))?;
            let part = String::from_utf8_lossy(&whole.as_bytes()[from..to]).into_owned();
            Ok(Val::Text(if context.escape { crate::base::escape::Escaped(&part).to_string() } else { part }))
        }
    }
}

/// The first letter of each word in capitals.
fn title(text: &str) -> String {
    let mut before = ' ';
    let mut titled = String::with_capacity(text.len());
    for c in text.chars() {
        // As Go parts words: at all ASCII that is no letter, digit or underscore, and at blanks of other scripts.
        let parts = if before.is_ascii() {
            !before.is_ascii_alphanumeric() && before != '_'
        } else {
            before.is_whitespace()
        };
        match parts {
            true => titled.extend(c.to_uppercase()),
            false => titled.push(c),
        }
        before = c;
    }
    titled
}

/// Escapes for HTML, JavaScript or a query string.
fn markup(name: &str, text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match (name, c) {
            ("html", '&') => out.push_str("&amp;"),
            ("html", '<') => out.push_str("&lt;"),
            ("html", '>') => out.push_str("&gt;"),
            ("html", '"') => out.push_str("&#34;"),
            ("html", '\'') => out.push_str("&#39;"),
            ("js", '\\' | '\'' | '"') => out.extend(['\\', c]),
            ("js", '<' | '>' | '&' | '=') => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            ("js", _) if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            ("urlquery", ' ') => out.push('+'),
            ("urlquery", _) if !(c.is_ascii_alphanumeric() || "-_.~".contains(c)) => {
                let mut buffer = [0; 4];
                c.encode_utf8(&mut buffer).bytes().for_each(|byte| out.push_str(&format!("%{byte:02X}")));
            }
            _ => out.push(c),
        }
    }
    out
}
