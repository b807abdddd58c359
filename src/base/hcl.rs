//! HCL, as far as docker-bake.hcl files are written in it: blocks, attributes, and expressions of variables. Pure.
//!
//! ```text
//! text ─read─▶ Vec<Block{kind, labels, attributes: Expr}> ─value(lookup)─▶ serde_json::Value
//! ```
//!
//! Left out, each with an error that says so: `for` expressions, functions that a file defines, and those of HCL's
//! many functions that build files have no use for.

use serde_json::{Map, Number, Value};

/// How deep expressions may lie in each other.
const MAX_DEPTH: usize = 64;

/// A mistake, with the line it is in.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line}: {message}")]
pub(crate) struct HclError {
    pub(crate) line: usize,
    pub(crate) message: String,
}

type Result<T, E = HclError> = std::result::Result<T, E>;

/// `kind "label" { name = value }`; the file itself is one without a kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Block {
    pub(crate) kind: String,
    pub(crate) labels: Vec<String>,
    pub(crate) attributes: Vec<(String, Expr)>,
    pub(crate) blocks: Vec<Block>,
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expr {
    Value(Value),
    /// Text with expressions in it.
    Template(Vec<Expr>),
    /// A variable.
    Name(String),
    List(Vec<Expr>),
    Map(Vec<(Expr, Expr)>),
    /// `a.b` and `a[b]`.
    Of(Box<(Expr, Expr)>),
    Call(String, Vec<Expr>),
    /// `a ? b : c`.
    If(Box<(Expr, Expr, Expr)>),
    Not(Box<Expr>),
    Two(&'static str, Box<(Expr, Expr)>),
}

/// Operators of two sides, those that bind least first.
const OPERATORS: [&[&str]; 6] =
    [&["||"], &["&&"], &["==", "!="], &["<=", ">=", "<", ">"], &["+", "-"], &["*", "/", "%"]];

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
}

/// Reads a file.
///
/// # Errors
///
/// The first mistake.
pub(crate) fn read(text: &str) -> Result<Block> {
    let mut reader = Reader { text: text.as_bytes(), at: 0, depth: 0 };
    let mut file = Block::default();
    reader.body(&mut file)?;
    match reader.peek() {
        None => Ok(file),
        Some(_) => Err(reader.wrong("a block or an attribute is expected")),
    }
}

/// Reads text that may have `${…}` in it.
///
/// # Errors
///
/// The first mistake.
pub(crate) fn template(text: &str) -> Result<Expr> {
    let mut reader = Reader { text: text.as_bytes(), at: 0, depth: 0 };
    reader.parts(None, false)
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

impl<'a> Reader<'a> {
    fn wrong(&self, message: impl Into<String>) -> HclError {
        let line = self.text[..self.at.min(self.text.len())].iter().filter(|&&b| b == b'\n').count() + 1;
        HclError { line, message: message.into() }
    }

    fn rest(&self) -> &'a [u8] {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<u8> {
        self.rest().first().copied()
    }

    /// Skips blanks and comments; line ends too, if they mean nothing here.
    fn skip(&mut self, lines: bool) {
        loop {
            let rest = self.rest();
            self.at += match rest.first() {
                Some(b' ' | b'\t' | b'\r') => 1,
                Some(b'\n') if lines => 1,
                Some(b'#') => line_length(rest),
                Some(b'/') if rest.starts_with(b"//") => line_length(rest),
                Some(b'/') if rest.starts_with(b"/*") => {
                    rest.windows(2).position(|two| two == b"*/").map_or(rest.len(), |end| end + 2)
                }
                _ => return,
            };
        }
    }

    /// Takes `word`, if it comes next.
    fn take(&mut self, word: &str) -> bool {
        let is_next = self.rest().starts_with(word.as_bytes());
        if is_next {
            self.at += word.len();
        }
        is_next
    }

    fn expect(&mut self, word: &str) -> Result<()> {
        if self.take(word) { Ok(()) } else { Err(self.wrong(format!("{word:?} is expected"))) }
    }

    fn name(&mut self) -> Option<String> {
        let length = self.rest().iter().take_while(|&&b| is_name(b)).count();
        let name = String::from_utf8_lossy(&self.rest()[..length]).into_owned();
        self.at += length;
        (length > 0).then_some(name)
    }

    /// Attributes and blocks, up to the end or a closing brace.
    fn body(&mut self, block: &mut Block) -> Result<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.wrong("blocks lie too deep in each other"));
        }
        loop {
            self.skip(true);
            if matches!(self.peek(), None | Some(b'}')) {
                self.depth -= 1;
                return Ok(());
            }
            let name = match self.peek() {
                Some(b'"') => self.label()?,
                _ => self.name().ok_or_else(|| self.wrong("a name is expected"))?,
            };
            self.skip(false);
            if self.peek() == Some(b'=') && !self.rest().starts_with(b"==") {
                self.at += 1;
                self.skip(false);
                let value = self.expression(false)?;
                block.attributes.push((name, value));
                self.skip(false);
                if !matches!(self.peek(), None | Some(b'\n' | b'}')) {
                    return Err(self.wrong("the end of the line is expected"));
                }
                continue;
            }
            let mut inner = Block { kind: name, ..Block::default() };
            while self.peek() == Some(b'"') {
                inner.labels.push(self.label()?);
                self.skip(false);
            }
            self.expect("{")?;
            self.body(&mut inner)?;
            self.expect("}")?;
            block.blocks.push(inner);
        }
    }

    /// A text without variables in it.
    fn label(&mut self) -> Result<String> {
        match self.quoted()? {
            Expr::Value(Value::String(text)) => Ok(text),
            _ => Err(self.wrong("a name cannot have variables in it")),
        }
    }

    fn quoted(&mut self) -> Result<Expr> {
        self.expect("\"")?;
        let text = self.parts(Some("\""), true)?;
        self.expect("\"")?;
        Ok(text)
    }

    /// Text with `${…}` in it, up to `end`.
    fn parts(&mut self, end: Option<&str>, escapes: bool) -> Result<Expr> {
        let mut parts = Vec::new();
        let mut text: Vec<u8> = Vec::new();
        let finish = |text: &mut Vec<u8>| {
            Expr::Value(Value::String(String::from_utf8_lossy(&std::mem::take(text)).into_owned()))
        };
        loop {
            let rest = self.rest();
            match (rest.first(), end) {
                (None, None) => break,
                (None, Some(_)) => return Err(self.wrong("text is not ended")),
                (Some(_), Some(end)) if rest.starts_with(end.as_bytes()) => break,
                (Some(b'$'), _) if rest.starts_with(b"$${") => {
                    text.extend(b"${");
                    self.at += 3;
                }
                (Some(b'%'), _) if rest.starts_with(b"%{") => {
                    return Err(self.wrong("%{…} in text is not supported: write a condition ? a : b"));
                }
                (Some(b'$'), _) if rest.starts_with(b"${") => {
                    if !text.is_empty() {
                        parts.push(finish(&mut text));
                    }
                    self.at += 2;
                    self.skip(true);
                    parts.push(self.expression(true)?);
                    self.skip(true);
                    self.expect("}")?;
                }
                (Some(b'\\'), _) if escapes => {
                    self.at += 1;
                    let escaped = self.escape()?;
                    text.extend(escaped.to_string().as_bytes());
                }
                (Some(&byte), _) => {
                    text.push(byte);
                    self.at += 1;
                }
            }
        }
        if parts.is_empty() {
            return Ok(finish(&mut text));
        }
        if !text.is_empty() {
            parts.push(finish(&mut text));
        }
        Ok(Expr::Template(parts))
    }

    fn escape(&mut self) -> Result<char> {
        let Some(kind) = self.peek() else { return Err(self.wrong("text is not ended")) };
        self.at += 1;
        let digits = match kind {
            b'n' => return Ok('\n'),
            b'r' => return Ok('\r'),
            b't' => return Ok('\t'),
            b'"' | b'\\' => return Ok(char::from(kind)),
            b'u' => 4,
            b'U' => 8,
            _ => return Err(self.wrong(format!("\\{} is no escape", char::from(kind)))),
        };
        let hex = self.rest().get(..digits).and_then(|hex| std::str::from_utf8(hex).ok());
        let character = hex.and_then(|hex| u32::from_str_radix(hex, 16).ok()).and_then(char::from_u32);
        self.at += digits.min(self.rest().len());
        character.ok_or_else(|| self.wrong("\\u takes the number of a character"))
    }

    /// `<<NAME` and `<<-NAME`.
    fn heredoc(&mut self) -> Result<Expr> {
        let indented = self.take("-");
        let name = self.name().ok_or_else(|| self.wrong("a document needs a name"))?;
        self.at += line_length(self.rest()).min(self.rest().len());
        self.expect("\n")?;
        let rest = String::from_utf8_lossy(self.rest()).into_owned();
        let mut lines = Vec::new();
        let mut length = 0;
        for line in rest.split_inclusive('\n') {
            if line.trim() == name {
                let least = |lines: &[&str]| {
                    let blanks = |line: &&str| line.len() - line.trim_start_matches([' ', '\t']).len();
                    lines.iter().filter(|line| !line.trim().is_empty()).map(blanks).min().unwrap_or(0)
                };
                let cut = if indented { least(&lines) } else { 0 };
                let text: String = lines.iter().map(|line| line.get(cut..).unwrap_or("\n")).collect();
                let value = template(&text).map_err(|err| self.wrong(err.message))?;
                self.at += length + line.trim_end_matches(['\n', '\r']).len();
                return Ok(value);
            }
            length += line.len();
            lines.push(line);
        }
        Err(self.wrong(format!("the document {name} is not ended")))
    }

    /// An expression; `lines`: it lies in brackets, so that line ends do not end it.
    fn expression(&mut self, lines: bool) -> Result<Expr> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.wrong("expressions lie too deep in each other"));
        }
        let condition = self.two_sided(0, lines)?;
        self.skip(lines);
        let value = if self.take("?") {
            self.skip(true);
            let yes = self.expression(lines)?;
            self.skip(true);
            self.expect(":")?;
            self.skip(true);
            let no = self.expression(lines)?;
            Expr::If(Box::new((condition, yes, no)))
        } else {
            condition
        };
        self.depth -= 1;
        Ok(value)
    }

    fn two_sided(&mut self, level: usize, lines: bool) -> Result<Expr> {
        let Some(operators) = OPERATORS.get(level) else { return self.unary(lines) };
        let mut left = self.two_sided(level + 1, lines)?;
        let mut count = 0;
        loop {
            count += 1;
            if count > MAX_DEPTH {
                return Err(self.wrong("there are too many operators"));
            }
            self.skip(lines);
            let Some(operator) = operators.iter().copied().find(|operator| self.take(operator)) else {
                return Ok(left);
            };
            self.skip(true);
            let right = self.two_sided(level + 1, lines)?;
            left = Expr::Two(operator, Box::new((left, right)));
        }
    }

    fn unary(&mut self, lines: bool) -> Result<Expr> {
        let mut negated = false;
        let mut is_truth = false;
        while self.peek() == Some(b'!') && !self.rest().starts_with(b"!=") {
            (negated, is_truth) = (!negated, true);
            self.at += 1;
            self.skip(lines);
        }
        let value = self.member()?;
        Ok(match (is_truth, negated) {
            (false, _) => value,
            (true, true) => Expr::Not(Box::new(value)),
            (true, false) => Expr::Not(Box::new(Expr::Not(Box::new(value)))),
        })
    }

    /// A value, or a part of one.
    fn member(&mut self) -> Result<Expr> {
        let mut value = self.primary()?;
        let mut parts = 0;
        loop {
            parts += 1;
            if parts > MAX_DEPTH {
                return Err(self.wrong("parts of parts go too deep"));
            }
            if self.take("[") {
                self.skip(true);
                let key = self.expression(true)?;
                self.skip(true);
                self.expect("]")?;
                value = Expr::Of(Box::new((value, key)));
            } else if self.peek() == Some(b'.') {
                self.at += 1;
                let key = self.name().ok_or_else(|| self.wrong("a name is expected"))?;
                value = Expr::Of(Box::new((value, Expr::Value(key.into()))));
            } else {
                return Ok(value);
            }
        }
    }

    fn primary(&mut self) -> Result<Expr> {
        match self.peek() {
            Some(b'"') => self.quoted(),
            Some(b'[') => self.list(),
            Some(b'{') => self.map(),
            Some(b'(') => {
                self.at += 1;
                self.skip(true);
                let value = self.expression(true)?;
                self.skip(true);
                self.expect(")")?;
                Ok(value)
            }
            Some(b'<') if self.take("<<") => self.heredoc(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.named(),
        }
    }

    fn number(&mut self) -> Result<Expr> {
        let length = self.rest().iter().take_while(|&&b| b.is_ascii_digit() || b"-.eE+".contains(&b)).count();
        let text = String::from_utf8_lossy(&self.rest()[..length]).into_owned();
        let number = text.parse::<Number>().map_err(|_| self.wrong(format!("{text:?} is no number")))?;
        self.at += length;
        Ok(Expr::Value(Value::Number(number)))
    }

    /// A variable, a constant or a call.
    fn named(&mut self) -> Result<Expr> {
        let name = self.name().ok_or_else(|| self.wrong("a value is expected"))?;
        if self.take("(") {
            let args = self.items(")")?;
            return Ok(Expr::Call(name, args));
        }
        Ok(match name.as_str() {
            "true" => Expr::Value(true.into()),
            "false" => Expr::Value(false.into()),
            "null" => Expr::Value(Value::Null),
            _ => Expr::Name(name),
        })
    }

    fn items(&mut self, end: &str) -> Result<Vec<Expr>> {
        let mut items = Vec::new();
        loop {
            self.skip(true);
            if self.take(end) {
                return Ok(items);
            }
            if self.rest().starts_with(b"for ") {
                return Err(self.wrong("for expressions are not supported"));
            }
            items.push(self.expression(true)?);
            self.skip(true);
            if !self.take(",") && !self.rest().starts_with(end.as_bytes()) {
                return Err(self.wrong(format!("a comma or {end:?} is expected")));
            }
        }
    }

    fn list(&mut self) -> Result<Expr> {
        self.expect("[")?;
        self.items("]").map(Expr::List)
    }

    fn map(&mut self) -> Result<Expr> {
        self.expect("{")?;
        let mut entries = Vec::new();
        loop {
            self.skip(true);
            if self.take("}") {
                return Ok(Expr::Map(entries));
            }
            if self.rest().starts_with(b"for ") {
                return Err(self.wrong("for expressions are not supported"));
            }
            // A bare word is a name of its own, and no variable.
            let key = match self.peek() {
                Some(b'"') => self.quoted()?,
                Some(b'(') => self.primary()?,
                _ => Expr::Value(self.name().ok_or_else(|| self.wrong("a name is expected"))?.into()),
            };
            self.skip(false);
            if !self.take("=") {
                self.expect(":")?;
            }
            self.skip(true);
            entries.push((key, self.expression(false)?));
            self.skip(false);
            self.take(",");
        }
    }
}

/// Bytes up to the end of the line.
fn line_length(text: &[u8]) -> usize {
    text.iter().position(|&b| b == b'\n').unwrap_or(text.len())
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn value(text: &str) -> Result<Value, String> {
        let file = read(&format!("x = {text}\n")).map_err(|err| err.to_string())?;
        let lookup = |name: &str| {
            Ok(match name {
                "TAG" => Some(json!("v1")),
                "N" => Some(json!(3)),
                "LIST" => Some(json!(["a", "b"])),
                "MAP" => Some(json!({"k": "v"})),
                _ => None,
            })
        };
        file.attributes[0].1.value(&lookup)
    }

    #[test]
    fn expressions_have_their_value() {
        for (text, want) in [
            ("\"a\"", json!("a")),
            ("\"app:${TAG}-${N}\"", json!("app:v1-3")),
            ("\"$${TAG} \\\"q\\\" \\u00e9\"", json!("${TAG} \"q\" é")),
            ("N", json!(3)),
            ("\"${LIST}\"", json!(["a", "b"])),
            ("[\"a\", TAG,\n # last\n N,]", json!(["a", "v1", 3])),
            ("{ a = 1, \"b\" : TAG\n c = null }", json!({"a": 1, "b": "v1", "c": null})),
            ("equal(TAG, \"v1\") ? \"yes\" : \"no\"", json!("yes")),
            ("TAG == \"\" || !(N > 2 && N <= 3)", json!(false)),
            ("1 + 2 * 3 - 8 / 2", json!(3)),
            ("MAP.k", json!("v")),
            ("LIST[1]", json!("b")),
            ("join(\",\", concat(LIST, [\"c\"]))", json!("a,b,c")),
            ("split(\"/\", \"a/b\")", json!(["a", "b"])),
            ("replace(upper(TAG), \"V\", \"\")", json!("1")),
            ("<<-EOT\n    one ${TAG}\n      two\n  EOT", json!("one v1\n  two\n")),
            ("coalesce(\"\", TAG)", json!("v1")),
        ] {
            assert_eq!(value(text), Ok(want), "{text}");
        }
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        for (text, want) in [
            ("\"a", "line 2: text is not ended"),
            ("[1 2]", "line 1: a comma or \"]\" is expected"),
            ("[for x in LIST: x]", "line 1: for expressions are not supported"),
            ("WRONG", "there is no variable named \"WRONG\""),
            ("regex(\"a\")", "the function regex is not supported"),
            ("lower()", "lower does not take these 0 arguments"),
            ("1 / 0", "division by zero"),
            ("\"${LIST}x\"", "[\"a\",\"b\"] is no text"),
            ("\"a\" \"b\"", "line 1: the end of the line is expected"),
        ] {
            assert_eq!(value(text), Err(want.to_owned()), "{text}");
        }
        assert!(read(&format!("x = {}", "[".repeat(100_000))).is_err(), "no stack is used up");
        assert!(read(&"a {".repeat(100_000)).is_err());
        assert!(read(&format!("x = {}1", "!".repeat(100_000))).is_ok());
        assert!(read(&format!("x = a{}", ".b".repeat(100_000))).is_err());
        assert!(read(&format!("x = 1{}", " + 1".repeat(100_000))).is_err());
    }

    #[test]
    fn files_are_blocks_and_attributes() {
        let file = read(
            "// c\nTAG = \"x\"\ngroup \"default\" { targets = [\"a\"] }\n/* d */ target \"a\" {\n  inherits = [\"b\"]\n  args = {\n    V = \"1\"\n  }\n}\n",
        )
        .unwrap();
        assert_eq!(file.attributes[0].0, "TAG");
        let kinds: Vec<_> = file.blocks.iter().map(|b| (b.kind.as_str(), b.labels[0].as_str())).collect();
        assert_eq!(kinds, [("group", "default"), ("target", "a")]);
        assert_eq!(file.blocks[1].attributes.len(), 2);
        assert_eq!(read("target \"a\" {\n x = 1\n").unwrap_err().to_string(), "line 3: \"}\" is expected");
    }
}
