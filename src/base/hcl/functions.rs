//! HCL's functions, as far as build files use them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value, json};

use super::value::{operate, text, truth};
use crate::base::digest::Digest;
use crate::base::order::InOrder as _;

type Result<T, E = String> = std::result::Result<T, E>;

fn items(value: &Value) -> Result<&Vec<Value>> {
    value.as_array().ok_or_else(|| format!("{value} is no list"))
}

fn map(value: &Value) -> Result<&Map<String, Value>> {
    value.as_object().ok_or_else(|| format!("{value} is no map"))
}

fn whole(value: &Value) -> Result<i64> {
    let number = value.as_i64().or_else(|| value.as_str()?.parse().ok());
    number.ok_or_else(|| format!("{value} is no whole number"))
}

/// A place in something that is `length` long.
fn place(value: &Value, length: usize) -> Result<usize> {
    let place = usize::try_from(whole(value)?).ok().filter(|place| *place <= length);
    place.ok_or_else(|| format!("{value} is not within a length of {length}"))
}

/// Calls the built-in function `name`.
pub(super) fn call(name: &str, args: &[Value]) -> Result<Value> {
    for group in [logic, numbers, texts, lists, maps] {
        if let Some(value) = group(name, args)? {
            return Ok(value);
        }
    }
    const KNOWN: &[&str] = &[
        "equal",
        "notequal",
        "not",
        "and",
        "or",
        "lower",
        "upper",
        "title",
        "trimspace",
        "trimprefix",
        "trimsuffix",
        "trim",
        "chomp",
        "replace",
        "split",
        "join",
        "length",
        "strlen",
        "contains",
        "tostring",
        "add",
        "subtract",
        "multiply",
        "divide",
        "modulo",
        "negate",
        "greaterthan",
        "lessthan",
        "floor",
        "ceil",
        "int",
        "parseint",
        "substr",
        "indent",
        "sanitize",
        "basename",
        "dirname",
        "base64encode",
        "base64decode",
        "sha256",
        "jsonencode",
        "jsondecode",
        "urlencode",
        "flatten",
        "distinct",
        "compact",
        "sort",
        "reverse",
        "element",
        "index",
        "slice",
        "chunklist",
        "keys",
        "values",
        "lookup",
        "zipmap",
        "hasindex",
    ];
    Err(match KNOWN.contains(&name) {
        true => format!("{name} does not take these {} arguments", args.len()),
        false => format!("the function {name} is not supported"),
    })
}

fn logic(name: &str, args: &[Value]) -> Result<Option<Value>> {
    Ok(Some(match (name, args) {
        ("equal", [a, b]) => (a == b).into(),
        ("notequal", [a, b]) => (a != b).into(),
        ("not", [a]) => (!truth(a)?).into(),
        ("and", [a, b]) => (truth(a)? && truth(b)?).into(),
        ("or", [a, b]) => (truth(a)? || truth(b)?).into(),
        ("coalesce", values) => {
            let is_there = |value: &&Value| !value.is_null() && value.as_str() != Some("");
            let found = values.iter().find(is_there).cloned();
            found.ok_or_else(|| "coalesce: none of its arguments is there".to_owned())?
        }
        ("coalescelist", values) => {
            let found = values.iter().find(|value| value.as_array().is_some_and(|list| !list.is_empty()));
            found.cloned().ok_or_else(|| "coalescelist: all of its arguments are empty".to_owned())?
        }
        ("jsonencode", [a]) => a.to_string().into(),
        ("jsondecode", [a]) => serde_json::from_str(&text(a)?).map_err(|err| format!("jsondecode: {err}"))?,
        _ => return Ok(None),
    }))
}

fn numbers(name: &str, args: &[Value]) -> Result<Option<Value>> {
    let number = |value: &Value| value.as_f64().ok_or_else(|| format!("{value} is no number"));
    let made = |value: f64| {
        let whole = format!("{value:.0}").parse::<i64>().ok().filter(|_| value.fract() == 0.0);
        whole.map(Value::from).or_else(|| Number::from_f64(value).map(Value::Number)).unwrap_or_default()
    };
    Ok(Some(match (name, args) {
        ("add", [a, b]) => operate("+", a, b)?,
        ("subtract", [a, b]) => operate("-", a, b)?,
        ("multiply", [a, b]) => operate("*", a, b)?,
        ("divide", [a, b]) => operate("/", a, b)?,
        ("modulo", [a, b]) => operate("%", a, b)?,
        ("greaterthan", [a, b]) => operate(">", a, b)?,
        ("lessthan", [a, b]) => operate("<", a, b)?,
        ("negate", [a]) => made(-number(a)?),
        ("abs" | "absolute", [a]) => made(number(a)?.abs()),
        ("floor", [a]) => made(number(a)?.floor()),
        ("ceil", [a]) => made(number(a)?.ceil()),
        ("int", [a]) => made(number(a)?.trunc()),
        ("max" | "min", [_, ..]) => {
            let all = args.iter().map(number).collect::<Result<Vec<f64>>>()?;
            let pick = if name == "max" { f64::max } else { f64::min };
            made(all.into_iter().reduce(pick).unwrap_or_default())
        }
        ("parseint", [a, base]) => {
            let base = u32::try_from(whole(base)?).ok().filter(|base| (2..=36).contains(base));
            let base = base.ok_or("parseint takes a base from 2 to 36")?;
            i64::from_str_radix(&text(a)?, base).map_err(|err| format!("parseint: {err}"))?.into()
        }
        ("range", [_] | [_, _] | [_, _, _]) => {
            let all = args.iter().map(whole).collect::<Result<Vec<i64>>>()?;
            let (from, to) = if all.len() == 1 { (0, all[0]) } else { (all[0], all[1]) };
            let step = all.get(2).copied().unwrap_or(if to < from { -1 } else { 1 });
            if step == 0 || to.abs_diff(from) / step.unsigned_abs() > 1024 {
                return Err("range makes at most 1024 numbers".to_owned());
            }
            let is_within = |number: &i64| if step > 0 { *number < to } else { *number > to };
            (0..).map(|place| from + place * step).take_while(is_within).map(Value::from).collect()
        }
        _ => return Ok(None),
    }))
}

fn texts(name: &str, args: &[Value]) -> Result<Option<Value>> {
    let words = || args.iter().map(text).collect::<Result<Vec<String>>>();
    Ok(Some(match (name, args) {
        ("lower", [a]) => text(a)?.to_lowercase().into(),
        ("upper", [a]) => text(a)?.to_uppercase().into(),
        ("title", [a]) => title(&text(a)?).into(),
        ("trimspace", [a]) => text(a)?.trim().into(),
        ("chomp", [a]) => text(a)?.trim_end_matches(['\r', '\n']).into(),
        ("trim", [a, b]) => {
            let cut = text(b)?;
            text(a)?.trim_matches(|c| cut.contains(c)).into()
        }
        ("trimprefix", [_, _]) => {
            let words = words()?;
            words[0].strip_prefix(&words[1]).unwrap_or(&words[0]).into()
        }
        ("trimsuffix", [_, _]) => {
            let words = words()?;
            words[0].strip_suffix(&words[1]).unwrap_or(&words[0]).into()
        }
        ("replace", [_, _, _]) => {
            let words = words()?;
            words[0].replace(&words[1], &words[2]).into()
        }
        ("split", [_, _]) => {
            let words = words()?;
            words[1].split(words[0].as_str()).map(Value::from).collect()
        }
        ("join", [between, lists @ ..]) if !lists.is_empty() => {
            let mut all = Vec::new();
            for list in lists {
                all.extend(items(list)?.iter().map(text).collect::<Result<Vec<_>>>()?);
            }
            all.join(&text(between)?).into()
        }
        ("strlen", [a]) => text(a)?.chars().count().into(),
        ("substr", [a, from, count]) => {
            let characters: Vec<char> = text(a)?.chars().collect();
            let from = place(from, characters.len())?;
            let rest = &characters[from..];
            let count = usize::try_from(whole(count)?).map_or(rest.len(), |count| count.min(rest.len()));
            rest[..count].iter().collect::<String>().into()
        }
        ("indent", [count, a]) => {
            let blanks = " ".repeat(usize::try_from(whole(count)?).unwrap_or_default().min(1024));
            text(a)?.replace('\n', &format!("\n{blanks}")).into()
        }
        ("sanitize", [a]) => {
            let known = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' };
            text(a)?.chars().map(known).collect::<String>().into()
        }
        ("basename", [a]) => {
            let path = text(a)?;
            let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
            if name.is_empty() { if path.is_empty() { "." } else { "/" }.into() } else { name.into() }
        }
        ("dirname", [a]) => match text(a)?.rsplit_once('/') {
            Some(("", _)) => "/".into(),
            Some((directory, _)) => directory.into(),
            None => ".".into(),
        },
        ("base64encode", [a]) => STANDARD.encode(text(a)?).into(),
        ("base64decode", [a]) => {
            let bytes = STANDARD.decode(text(a)?).map_err(|err| format!("base64decode: {err}"))?;
            String::from_utf8(bytes).map_err(|_| "base64decode: it is no text".to_owned())?.into()
        }
        ("sha256", [a]) => Digest::of(text(a)?.as_bytes()).hex().into(),
        ("urlencode", [a]) => {
            let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
            let one =
                |byte: u8| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
            text(a)?.bytes().map(one).collect::<String>().into()
        }
        ("format", [form, values @ ..]) => formatted(&text(form)?, values)?.into(),
        ("tostring", [a]) => text(a)?.into(),
        _ => return Ok(None),
    }))
}

/// Every word with a capital letter.
fn title(text: &str) -> String {
    let mut starts = true;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if starts {
            out.extend(c.to_uppercase());
        } else {
            out.push(c);
        }
        starts = c.is_whitespace();
    }
    out
}

/// `format`: `%s`, `%d`, `%f`, `%q`, `%v` and `%%`, with a width and flags.
fn formatted(form: &str, values: &[Value]) -> Result<String> {
    let mut values = values.iter();
    let mut out = String::new();
    let mut rest = form;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let end = after.find(|c: char| !(c.is_ascii_digit() || "-+ #.".contains(c)));
        let end = end.ok_or_else(|| format!("format: {form:?} ends within a verb"))?;
        let (flags, verb) = (&after[..end], after[end..].chars().next().unwrap_or('%'));
        rest = &after[end + verb.len_utf8()..];
        if verb == '%' {
            out.push('%');
            continue;
        }
        let value = values.next().ok_or_else(|| format!("format: there is no value for %{verb}"))?;
        let (width, precision) = flags.split_once('.').unwrap_or((flags, ""));
        let number = || value.as_f64().ok_or_else(|| format!("{value} is no number"));
        let mut shown = match verb {
            's' => text(value)?,
            'd' => format!("{:.0}", number()?.trunc()),
            'f' => format!("{:.*}", precision.parse().unwrap_or(6_usize).min(64), number()?),
            'q' => value.to_string(),
            'v' => text(value).unwrap_or_else(|_| value.to_string()),
            verb => return Err(format!("format: %{verb} is not supported")),
        };
        if width.contains('+') && !shown.starts_with('-') && verb != 's' {
            shown.insert(0, '+');
        }
        let digits = width.trim_start_matches(['-', '+', ' ', '#']);
        let wide = digits.parse::<usize>().unwrap_or_default().min(1024);
        let missing = wide.saturating_sub(shown.chars().count());
        if width.starts_with('-') {
            shown.push_str(&" ".repeat(missing));
        } else if digits.starts_with('0') && verb != 's' {
            let at = usize::from(shown.starts_with(['-', '+']));
            shown.insert_str(at, &"0".repeat(missing));
        } else {
            shown.insert_str(0, &" ".repeat(missing));
        }
        out.push_str(&shown);
    }
    out.push_str(rest);
    Ok(out)
}

fn lists(name: &str, args: &[Value]) -> Result<Option<Value>> {
    Ok(Some(match (name, args) {
        ("concat", lists) => {
            let mut all = Vec::new();
            for list in lists {
                all.extend(items(list)?.iter().cloned());
            }
            all.into()
        }
        ("length", [Value::Array(list)]) => list.len().into(),
        ("length", [Value::Object(map)]) => map.len().into(),
        ("length", [a]) => text(a)?.chars().count().into(),
        ("contains", [list, item]) => items(list)?.contains(item).into(),
        ("flatten", [list]) => {
            let mut all = Vec::new();
            flatten(items(list)?, &mut all);
            all.into()
        }
        ("distinct", [list]) => {
            let mut all: Vec<Value> = Vec::new();
            items(list)?.iter().for_each(|item| {
                if !all.contains(item) {
                    all.push(item.clone());
                }
            });
            all.into()
        }
        ("compact", [list]) => {
            items(list)?.iter().filter(|item| !item.is_null() && item.as_str() != Some("")).cloned().collect()
        }
        ("sort", [list]) => {
            let mut all = items(list)?.iter().map(text).collect::<Result<Vec<_>>>()?;
            all.order();
            all.into()
        }
        ("reverse", [Value::String(text)]) => text.chars().rev().collect::<String>().into(),
        ("reverse" | "reverselist", [list]) => items(list)?.iter().rev().cloned().collect(),
        ("element", [list, at]) => {
            let list = items(list)?;
            let length = i64::try_from(list.len()).unwrap_or_default();
            if length == 0 {
                return Err("element: the list is empty".to_owned());
            }
            let at = usize::try_from(whole(at)?.rem_euclid(length)).unwrap_or_default();
            list[at].clone()
        }
        ("index", [of, key]) => match of {
            Value::Array(list) => {
                let at = place(key, list.len())?;
                list.get(at).cloned().ok_or_else(|| format!("there is no {key} in {of}"))?
            }
            of => map(of)?.get(&text(key)?).cloned().ok_or_else(|| format!("there is no {key} in {of}"))?,
        },
        ("slice", [list, from] | [list, from, _]) => {
            let list = items(list)?;
            let to = args.get(2).map_or(Ok(list.len()), |to| place(to, list.len()))?;
            list[place(from, to)?..to].to_vec().into()
        }
        ("chunklist", [list, size]) => {
            let size = place(size, 1 << 20)?.max(1);
            items(list)?.chunks(size).map(|chunk| Value::from(chunk.to_vec())).collect()
        }
        ("setproduct", lists) => {
            let mut all: Vec<Vec<Value>> = vec![vec![]];
            for list in lists {
                let list = items(list)?;
                if all.len() * list.len() > 10_000 {
                    return Err("setproduct: that is too much".to_owned());
                }
                let with = |start: &Vec<Value>| {
                    let start = start.clone();
                    list.iter().map(move |item| [start.clone(), vec![item.clone()]].concat())
                };
                all = all.iter().flat_map(with).collect();
            }
            all.into()
        }
        _ => return Ok(None),
    }))
}

fn flatten(list: &[Value], all: &mut Vec<Value>) {
    for item in list {
        match item {
            Value::Array(inner) => flatten(inner, all),
            other => all.push(other.clone()),
        }
    }
}

fn maps(name: &str, args: &[Value]) -> Result<Option<Value>> {
    Ok(Some(match (name, args) {
        ("merge", maps) => {
            let mut all = Map::new();
            for one in maps.iter().filter(|one| !one.is_null()) {
                all.extend(map(one)?.clone());
            }
            all.into()
        }
        ("keys", [of]) => map(of)?.keys().cloned().collect(),
        ("values", [of]) => map(of)?.values().cloned().collect(),
        ("lookup", [of, key] | [of, key, _]) => match (map(of)?.get(&text(key)?), args.get(2)) {
            (Some(found), _) => found.clone(),
            (None, Some(default)) => default.clone(),
            (None, None) => return Err(format!("there is no {key} in {of}")),
        },
        ("hasindex", [of, key]) => match of {
            Value::Array(list) => place(key, list.len()).is_ok_and(|at| at < list.len()).into(),
            Value::Object(map) => map.contains_key(&text(key)?).into(),
            _ => json!(false),
        },
        ("zipmap", [keys, values]) => {
            let keys = items(keys)?.iter().map(text).collect::<Result<Vec<_>>>()?;
            let values = items(values)?;
            if keys.len() != values.len() {
                return Err(format!("zipmap: {} keys for {} values", keys.len(), values.len()));
            }
            Value::Object(keys.into_iter().zip(values.iter().cloned()).collect())
        }
        _ => return Ok(None),
    }))
}
