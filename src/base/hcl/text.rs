//! Text between quotes and in documents: escapes, `${…}`, and the directives `%{if}` and `%{for}`.

use serde_json::Value;

use super::read::{MAX_DEPTH, Reader, line_length, template};
use super::{Expr, Result};

/// What ends a part of text: its end, or a directive `%{ word }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    End,
    Word(&'static str),
}

impl Reader<'_> {
    /// A text without variables in it.
    pub(super) fn label(&mut self) -> Result<String> {
        match self.quoted()? {
            Expr::Value(Value::String(text)) => Ok(text),
            _ => Err(self.wrong("a name cannot have variables in it")),
        }
    }

    pub(super) fn quoted(&mut self) -> Result<Expr> {
        self.expect("\"")?;
        let text = self.parts(Some("\""), true)?;
        self.expect("\"")?;
        Ok(text)
    }

    /// Text with `${…}` and `%{…}` in it, up to `end`.
    pub(super) fn parts(&mut self, end: Option<&str>, escapes: bool) -> Result<Expr> {
        match self.parts_until(end, escapes)? {
            (text, Stop::End) => Ok(text),
            (_, Stop::Word(word)) => Err(self.wrong(format!("%{{ {word} }} has no beginning"))),
        }
    }

    /// A directive, whose `%{` was read: a part of text, or what ends the text of another one.
    fn directive(&mut self, end: Option<&str>, escapes: bool) -> Result<Result<Expr, Stop>> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.wrong("directives lie too deep in each other"));
        }
        self.skip(true);
        let word = self.name().unwrap_or_default();
        self.skip(true);
        let made = match word.as_str() {
            "if" => {
                let condition = self.expression(true)?;
                self.end_of_directive()?;
                let (yes, mut stop) = self.parts_until(end, escapes)?;
                let mut no = Expr::Value("".into());
                if stop == Stop::Word("else") {
                    (no, stop) = self.parts_until(end, escapes)?;
                }
                self.expect_stop(stop, "endif")?;
                Ok(Expr::If(Box::new((condition, yes, no))))
            }
            "for" => {
                let mut made = self.for_head()?;
                self.end_of_directive()?;
                let (item, stop) = self.parts_until(end, escapes)?;
                self.expect_stop(stop, "endfor")?;
                (made.item, made.joined) = (item, true);
                Ok(Expr::For(Box::new(made)))
            }
            word => match ["else", "endif", "endfor"].into_iter().find(|known| *known == word) {
                Some(known) => {
                    self.end_of_directive()?;
                    Err(Stop::Word(known))
                }
                None => return Err(self.wrong(format!("%{{ {word} }} is no directive"))),
            },
        };
        self.depth -= 1;
        Ok(made)
    }

    fn expect_stop(&self, stop: Stop, word: &'static str) -> Result<()> {
        match stop == Stop::Word(word) {
            true => Ok(()),
            false => Err(self.wrong(format!("%{{ {word} }} is expected"))),
        }
    }

    /// The `}` of a directive or an expression in text; `~}` takes away the blanks behind it.
    fn end_of_directive(&mut self) -> Result<()> {
        self.skip(true);
        let trims = self.take("~");
        self.expect("}")?;
        while trims && self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
        Ok(())
    }

    fn parts_until(&mut self, end: Option<&str>, escapes: bool) -> Result<(Expr, Stop)> {
        let mut stop = Stop::End;
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
                (Some(b'%'), _) if rest.starts_with(b"%%{") => {
                    text.extend(b"%{");
                    self.at += 3;
                }
                (Some(b'%'), _) if rest.starts_with(b"%{") => {
                    self.at += 2;
                    if self.take("~") {
                        text.truncate(text.trim_ascii_end().len());
                    }
                    if !text.is_empty() {
                        parts.push(finish(&mut text));
                    }
                    match self.directive(end, escapes)? {
                        Ok(part) => parts.push(part),
                        Err(word) => {
                            stop = word;
                            break;
                        }
                    }
                }
                (Some(b'$'), _) if rest.starts_with(b"${") => {
                    self.at += 2;
                    if self.take("~") {
                        text.truncate(text.trim_ascii_end().len());
                    }
                    if !text.is_empty() {
                        parts.push(finish(&mut text));
                    }
                    self.skip(true);
                    parts.push(self.expression(true)?);
                    self.end_of_directive()?;
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
            return Ok((finish(&mut text), stop));
        }
        if !text.is_empty() {
            parts.push(finish(&mut text));
        }
        Ok((Expr::Template(parts), stop))
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
    pub(super) fn heredoc(&mut self) -> Result<Expr> {
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
}
