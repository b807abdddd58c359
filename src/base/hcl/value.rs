//! What expressions are worth.

use std::cell::Cell;
use std::collections::BTreeMap;

use serde_json::{Map, Number, Value};

use super::functions::call;
use super::{Expr, For};

/// What a variable is worth.
pub(crate) type Lookup<'a> = dyn Fn(&str) -> Result<Option<Value>, String> + 'a;

/// How many expressions one value may need: functions can call themselves.
const MAX_STEPS: u32 = 200_000;
/// How deep functions may call each other.
const MAX_CALLS: usize = 64;

/// A function that a file defines.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Function {
    pub(crate) params: Vec<String>,
    /// The name of the list that holds further arguments.
    pub(crate) rest: Option<String>,
    pub(crate) result: Expr,
}

pub(crate) type Functions = BTreeMap<String, Function>;

/// What the names in an expression mean.
pub(crate) struct Names<'a> {
    lookup: &'a Lookup<'a>,
    functions: &'a Functions,
    steps: Cell<u32>,
    calls: Cell<usize>,
}

impl<'a> Names<'a> {
    pub(crate) fn new(lookup: &'a Lookup<'a>, functions: &'a Functions) -> Self {
        Self { lookup, functions, steps: Cell::new(0), calls: Cell::new(0) }
    }

    /// Does `work` with names of its own before these.
    fn with<T>(
        &self,
        own: &[(&str, &Value)],
        work: impl FnOnce(&Names<'_>) -> Result<T, String>,
    ) -> Result<T, String> {
        let lookup = |asked: &str| match own.iter().find(|(name, _)| *name == asked) {
            Some((_, value)) => Ok(Some((*value).clone())),
            None => (self.lookup)(asked),
        };
        let inner = Names {
            lookup: &lookup,
            functions: self.functions,
            steps: Cell::new(self.steps.get()),
            calls: Cell::new(self.calls.get()),
        };
        let done = work(&inner);
        self.steps.set(inner.steps.get());
        done
    }

    /// Calls a function: one of the file's, or a built-in one.
    fn call(&self, name: &str, args: &[Value]) -> Result<Value, String> {
        let Some(function) = self.functions.get(name) else { return call(name, args) };
        let count = function.params.len();
        if args.len() < count || args.len() > count && function.rest.is_none() {
            return Err(format!("{name} takes {count} arguments, not {}", args.len()));
        }
        if self.calls.get() >= MAX_CALLS {
            return Err("expressions need too many steps".to_owned());
        }
        let more = Value::Array(args[count..].to_vec());
        let mut own: Vec<(&str, &Value)> = function.params.iter().map(String::as_str).zip(args).collect();
        own.extend(function.rest.as_deref().map(|rest| (rest, &more)));
        self.with(&own, |names| {
            names.calls.set(self.calls.get() + 1);
            function.result.value(names)
        })
    }
}

impl Expr {
    /// What the expression is worth.
    ///
    /// # Errors
    ///
    /// For a variable or function that is not known, and for operands that do not fit.
    pub(crate) fn value(&self, names: &Names<'_>) -> Result<Value, String> {
        names.steps.set(names.steps.get() + 1);
        if names.steps.get() > MAX_STEPS {
            return Err("expressions need too many steps".to_owned());
        }
        let of = |expr: &Self| expr.value(names);
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
                (names.lookup)(name)?.ok_or_else(|| format!("there is no variable named {name:?}"))?
            }
            Self::List(items) => Value::Array(items.iter().map(of).collect::<Result<_, _>>()?),
            Self::Map(entries) => {
                let entry = |(key, value): &(Self, Self)| Ok((text(&of(key)?)?, of(value)?));
                Value::Object(entries.iter().map(entry).collect::<Result<Map<_, _>, String>>()?)
            }
            Self::Of(pair) => member(&of(&pair.0)?, &of(&pair.1)?)?,
            Self::Call(name, args) => {
                let args = args.iter().map(of).collect::<Result<Vec<_>, _>>()?;
                names.call(name, &args)?
            }
            Self::If(parts) => of(if truth(&of(&parts.0)?)? { &parts.1 } else { &parts.2 })?,
            Self::Not(value) => (!truth(&of(value)?)?).into(),
            Self::Two("&&", sides) => (truth(&of(&sides.0)?)? && truth(&of(&sides.1)?)?).into(),
            Self::Two("||", sides) => (truth(&of(&sides.0)?)? || truth(&of(&sides.1)?)?).into(),
            Self::Two(operator, sides) => operate(operator, &of(&sides.0)?, &of(&sides.1)?)?,
            Self::For(each) => each.value(names)?,
            Self::Each(parts) => match of(&parts.0)? {
                Value::Array(items) => {
                    let one = |item: &Value| names.with(&[("*", item)], |names| parts.1.value(names));
                    Value::Array(items.iter().map(one).collect::<Result<_, _>>()?)
                }
                Value::Null => Value::Array(vec![]),
                other => {
                    names.with(&[("*", &other)], |names| Ok(Value::Array(vec![parts.1.value(names)?])))?
                }
            },
        })
    }
}

impl For {
    fn value(&self, names: &Names<'_>) -> Result<Value, String> {
        let entries: Vec<(Value, Value)> = match self.of.value(names)? {
            Value::Array(items) => (0_usize..).map(Value::from).zip(items).collect(),
            Value::Object(map) => map.into_iter().map(|(key, value)| (key.into(), value)).collect(),
            other => return Err(format!("for takes a list or a map, not {other}")),
        };
        let (mut list, mut map) = (Vec::new(), Map::new());
        for (key, value) in &entries {
            let mut own = vec![(self.value.as_str(), value)];
            own.extend(self.key.as_deref().map(|name| (name, key)));
            names.with(&own, |names| {
                if let Some(condition) = &self.condition
                    && !truth(&condition.value(names)?)?
                {
                    return Ok(());
                }
                let item = self.item.value(names)?;
                let Some(to) = &self.to else {
                    list.push(item);
                    return Ok(());
                };
                let to = text(&to.value(names)?)?;
                match (self.grouped, map.get_mut(&to)) {
                    (true, Some(Value::Array(known))) => known.push(item),
                    (true, _) => drop(map.insert(to, Value::Array(vec![item]))),
                    (false, None) => drop(map.insert(to, item)),
                    (false, Some(_)) => {
                        return Err(format!(
                            "two values for the key {to:?}: write ... behind the value to have both"
                        ));
                    }
                }
                Ok(())
            })?;
        }
        Ok(match (&self.to, self.joined) {
            (Some(_), _) => Value::Object(map),
            (None, false) => Value::Array(list),
            (None, true) => list.iter().map(text).collect::<Result<String, String>>()?.into(),
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

pub(super) fn operate(operator: &str, left: &Value, right: &Value) -> Result<Value, String> {
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

pub(super) fn truth(value: &Value) -> Result<bool, String> {
    match value {
        Value::Bool(truth) => Ok(*truth),
        Value::String(text) if text == "true" || text == "1" => Ok(true),
        Value::String(text) if text == "false" || text == "0" => Ok(false),
        other => Err(format!("{other} is neither true nor false")),
    }
}
