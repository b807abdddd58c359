//! From text to blocks and expressions.

use serde_json::{Number, Value};

use super::{Block, Expr, For, HclError, Result};

/// How deep expressions may lie in each other.
pub(super) const MAX_DEPTH: usize = 64;

/// Operators of two sides, those that bind least first.
const OPERATORS: [&[&str]; 6] =
    [&["||"], &["&&"], &["==", "!="], &["<=", ">=", "<", ">"], &["+", "-"], &["*", "/", "%"]];

/// How far a text was read.
pub(super) struct Reader<'a> {
    pub(super) text: &'a [u8],
    pub(super) at: usize,
    pub(super) depth: usize,
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
    pub(super) fn wrong(&self, message: impl Into<String>) -> HclError {
        let line = self.text[..self.at.min(self.text.len())].iter().filter(|&&b| b == b'\n').count() + 1;
        HclError { line, message: message.into() }
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        &self.text[self.at..]
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.rest().first().copied()
    }

    /// Skips blanks and comments; line ends too, if they mean nothing here.
    pub(super) fn skip(&mut self, lines: bool) {
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
    pub(super) fn take(&mut self, word: &str) -> bool {
        let is_next = self.rest().starts_with(word.as_bytes());
        if is_next {
            self.at += word.len();
        }
        is_next
    }

    pub(super) fn expect(&mut self, word: &str) -> Result<()> {
        if self.take(word) { Ok(()) } else { Err(self.wrong(format!("{word:?} is expected"))) }
    }

    pub(super) fn name(&mut self) -> Option<String> {
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

    /// `key, value in of :`, without the colon.
    pub(super) fn for_head(&mut self) -> Result<For> {
        let missing = |reader: &Self| reader.wrong("a name is expected");
        let mut value = self.name().ok_or_else(|| missing(self))?;
        self.skip(true);
        let mut key = None;
        if self.take(",") {
            self.skip(true);
            key = Some(std::mem::replace(&mut value, self.name().ok_or_else(|| missing(self))?));
            self.skip(true);
        }
        self.expect("in")?;
        self.skip(true);
        let of = self.expression(true)?;
        Ok(For {
            key,
            value,
            of,
            to: None,
            item: Expr::Value(Value::Null),
            grouped: false,
            condition: None,
            joined: false,
        })
    }

    /// A `for` in brackets or braces, from its first name to the closing `end`.
    fn for_expression(&mut self, end: &str) -> Result<Expr> {
        self.expect("for")?;
        self.skip(true);
        let mut made = self.for_head()?;
        self.skip(true);
        self.expect(":")?;
        self.skip(true);
        made.item = self.expression(true)?;
        self.skip(true);
        if end == "}" {
            self.expect("=>")?;
            self.skip(true);
            let value = self.expression(true)?;
            made.to = Some(std::mem::replace(&mut made.item, value));
            self.skip(true);
            made.grouped = self.take("...");
            self.skip(true);
        }
        if self.rest().starts_with(b"if") {
            self.at += 2;
            self.skip(true);
            made.condition = Some(self.expression(true)?);
            self.skip(true);
        }
        self.expect(end)?;
        Ok(Expr::For(Box::new(made)))
    }

    /// Is a `for` next, and no variable of a name like that?
    fn is_at_for(&self) -> bool {
        self.rest().strip_prefix(b"for").and_then(<[u8]>::first).is_some_and(u8::is_ascii_whitespace)
    }

    /// An expression; `lines`: it lies in brackets, so that line ends do not end it.
    pub(super) fn expression(&mut self, lines: bool) -> Result<Expr> {
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
        let value = self.primary()?;
        self.members_of(value)
    }

    /// The parts of `value` that are written behind it.
    fn members_of(&mut self, mut value: Expr) -> Result<Expr> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.wrong("parts of parts go too deep"));
        }
        let mut parts = 0;
        loop {
            parts += 1;
            if parts > MAX_DEPTH {
                return Err(self.wrong("parts of parts go too deep"));
            }
            if self.take("[*]") || self.take(".*") {
                let each = self.members_of(Expr::Name("*".to_owned()))?;
                self.depth -= 1;
                return Ok(Expr::Each(Box::new((value, each))));
            }
            if self.take("[") {
                self.skip(true);
                let key = self.expression(true)?;
                self.skip(true);
                self.expect("]")?;
                value = Expr::Of(Box::new((value, key)));
            } else if self.peek() == Some(b'.') && !self.rest().starts_with(b"...") {
                self.at += 1;
                let key = self.name().ok_or_else(|| self.wrong("a name is expected"))?;
                value = Expr::Of(Box::new((value, Expr::Value(key.into()))));
            } else {
                self.depth -= 1;
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
            Some(b'-') if !self.rest().get(1).is_some_and(u8::is_ascii_digit) => {
                self.at += 1;
                self.skip(false);
                let value = self.member()?;
                Ok(Expr::Two("-", Box::new((Expr::Value(0.into()), value))))
            }
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
            items.push(self.expression(true)?);
            self.skip(true);
            if !self.take(",") && !self.rest().starts_with(end.as_bytes()) {
                return Err(self.wrong(format!("a comma or {end:?} is expected")));
            }
        }
    }

    fn list(&mut self) -> Result<Expr> {
        self.expect("[")?;
        self.skip(true);
        if self.is_at_for() {
            return self.for_expression("]");
        }
        self.items("]").map(Expr::List)
    }

    fn map(&mut self) -> Result<Expr> {
        self.expect("{")?;
        self.skip(true);
        if self.is_at_for() {
            return self.for_expression("}");
        }
        let mut entries = Vec::new();
        loop {
            self.skip(true);
            if self.take("}") {
                return Ok(Expr::Map(entries));
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
pub(super) fn line_length(text: &[u8]) -> usize {
    text.iter().position(|&b| b == b'\n').unwrap_or(text.len())
}
