//! What expressions are worth.

use serde_json::{Map, Number, Value};

use super::Expr;

/// What a variable is worth.
pub(crate) type Lookup<'a> = dyn Fn(&str) -> Result<Option<Value>, String> + 'a;

impl Expr {
    /// What the expression is worth.
    ///
    /// # Errors
    ///
    /// For a variable or function that is not known, and for operands that do not fit.
    pub(crate) fn value(&self, lookup: &Lookup<'_>) -> Result<Value, String> {
        let of = |expr: &Self| expr.value(lookup);
        Ok(match self {
            Self::Value(value) => value.clone(),
            Self::Template(parts) => match &parts[..] {
                // A lone variable keeps its type.
                [one] => of(one)?,
                parts => {
                    let texts = parts.iter().map(|part| text(&of(part)?));
                    texts.collect::<Result<String, String>>()?.into()
                }
            },
            Self::Name(name) => {
                lookup(name)?.ok_or_else(|| format!("there is no variable named {name:?}"))?
            }
            Self::List(items) => Value::Array(items.iter().map(of).collect::<Result<_, _>>()?),
            Self::Map(entries) => {
                let entry = |(key, value): &(Self, Self)| Ok((text(&of(key)?)?, of(value)?));
                Value::Object(entries.iter().map(entry).collect::<Result<Map<_, _>, String>>()?)
            }
            Self::Of(pair) => member(&of(&pair.0)?, &of(&pair.1)?)?,
            Self::Call(name, args) => {
                let args = args.iter().map(of).collect::<Result<Vec<_>, _>>()?;
                call(name, &args)?
            }
            Self::If(parts) => of(if truth(&of(&parts.0)?)? { &parts.1 } else { &parts.2 })?,
            Self::Not(value) => (!truth(&of(value)?)?).into(),
            Self::Two("&&", sides) => (truth(&of(&sides.0)?)? && truth(&of(&sides.1)?)?).into(),
            Self::Two("||", sides) => (truth(&of(&sides.0)?)? || truth(&of(&sides.1)?)?).into(),
            Self::Two(operator, sides) => operate(operator, &of(&sides.0)?, &of(&sides.1)?)?,
        })
    }
}

fn member(of: &Value, key: &Value) -> Result<Value, String> {
    let found = match (of, key) {
        (Value::Array(items), Value::Number(at)) => {
            at.as_u64().and_then(|at| items.get(usize::try_from(at).ok()?))
        }
        (Value::Object(entries), key) => entries.get(&text(key)?),
        _ => None,
    };
    found.cloned().ok_or_else(|| format!("there is no {key} in {of}"))
}

fn operate(operator: &str, left: &Value, right: &Value) -> Result<Value, String> {
    match operator {
        "==" => return Ok((left == right).into()),
        "!=" => return Ok((left != right).into()),
        _ => {}
    }
    let (Some(l), Some(r)) = (left.as_f64(), right.as_f64()) else {
        return Err(format!("{operator} takes numbers, not {left} and {right}"));
    };
    let number = |value: f64| {
        #[allow(clippy::cast_possible_truncation, reason = "a whole number of this size fits")]
        let whole = (value.fract() == 0.0 && value.abs() < 9e15).then_some(value as i64);
        whole.map(Value::from).or_else(|| Number::from_f64(value).map(Value::Number))
    };
    Ok(match operator {
        "<" => (l < r).into(),
        ">" => (l > r).into(),
        "<=" => (l <= r).into(),
        ">=" => (l >= r).into(),
        "+" => number(l + r).unwrap_or_default(),
        "-" => number(l - r).unwrap_or_default(),
        "*" => number(l * r).unwrap_or_default(),
        "/" if r != 0.0 => number(l / r).unwrap_or_default(),
        "%" if r != 0.0 => number(l % r).unwrap_or_default(),
        _ => return Err("division by zero".to_owned()),
    })
}

/// A value as text, as templates put it in.
///
/// # Errors
///
/// For lists, maps and null.
pub(crate) fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(truth) => Ok(truth.to_string()),
        other => Err(format!("{other} is no text")),
    }
}

fn truth(value: &Value) -> Result<bool, String> {
    match value {
        Value::Bool(truth) => Ok(*truth),
        Value::String(text) if text == "true" || text == "1" => Ok(true),
        Value::String(text) if text == "false" || text == "0" => Ok(false),
        other => Err(format!("{other} is neither true nor false")),
    }
}

fn items(value: &Value) -> Result<&Vec<Value>, String> {
    value.as_array().ok_or_else(|| format!("{value} is no list"))
}

fn call(name: &str, args: &[Value]) -> Result<Value, String> {
    let wrong = || format!("{name} does not take these {} arguments", args.len());
    let texts = || args.iter().map(text).collect::<Result<Vec<String>, String>>();
    Ok(match (name, args) {
        ("equal", [a, b]) => (a == b).into(),
        ("notequal", [a, b]) => (a != b).into(),
        ("not", [a]) => (!truth(a)?).into(),
        ("and", [a, b]) => (truth(a)? && truth(b)?).into(),
        ("or", [a, b]) => (truth(a)? || truth(b)?).into(),
        ("lower", [a]) => text(a)?.to_lowercase().into(),
        ("upper", [a]) => text(a)?.to_uppercase().into(),
        ("trimspace", [a]) => text(a)?.trim().into(),
        ("trimprefix", [_, _]) => {
            let words = texts()?;
            words[0].strip_prefix(&words[1]).unwrap_or(&words[0]).into()
        }
        ("trimsuffix", [_, _]) => {
            let words = texts()?;
            words[0].strip_suffix(&words[1]).unwrap_or(&words[0]).into()
        }
        ("replace", [_, _, _]) => {
            let words = texts()?;
            words[0].replace(&words[1], &words[2]).into()
        }
        ("split", [_, _]) => {
            let words = texts()?;
            words[1].split(words[0].as_str()).map(Value::from).collect()
        }
        ("join", [between, list]) => {
            let words = items(list)?.iter().map(text).collect::<Result<Vec<_>, _>>()?;
            words.join(&text(between)?).into()
        }
        ("concat", lists) => {
            let mut all = Vec::new();
            for list in lists {
                all.extend(items(list)?.iter().cloned());
            }
            all.into()
        }
        ("merge", maps) => {
            let mut all = Map::new();
            for map in maps {
                all.extend(map.as_object().ok_or_else(wrong)?.clone());
            }
            all.into()
        }
        ("length", [Value::Array(list)]) => list.len().into(),
        ("length", [Value::Object(map)]) => map.len().into(),
        ("length", [a]) => text(a)?.chars().count().into(),
        ("contains", [list, item]) => items(list)?.contains(item).into(),
        ("coalesce", values) => {
            let is_there = |value: &&Value| !value.is_null() && value.as_str() != Some("");
            values.iter().find(is_there).cloned().ok_or_else(wrong)?
        }
        ("tostring", [a]) => text(a)?.into(),
        (
            "equal" | "notequal" | "not" | "and" | "or" | "lower" | "upper" | "trimspace" | "trimprefix"
            | "trimsuffix" | "replace" | "split" | "join" | "length" | "contains" | "tostring",
            _,
        ) => return Err(wrong()),
        _ => return Err(format!("the function {name} is not supported")),
    })
}
