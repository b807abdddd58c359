//! Cuts a template into text and actions, and actions into tokens.

use super::FormatError;

/// A piece of a template.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Piece {
    Text(String),
    /// The tokens between `{{` and `}}`, and where the closing braces are.
    Action(Vec<Token>, usize),
}

/// A word of an action.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    /// Offset in the template.
    pub(crate) at: usize,
    /// Offset behind it.
    pub(crate) end: usize,
    /// White space stands before it.
    pub(crate) spaced: bool,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Dot,
    /// `.Name`.
    Field(String),
    /// `$name`; `$` is empty.
    Variable(String),
    /// A function or keyword.
    Word(String),
    Int(i64),
    Float(f64),
    Text(String),
    Pipe,
    Comma,
    Declare,
    Assign,
    Open,
    Close,
}

/// Makes an error of Go's form, at the line of `offset`.
pub(crate) fn error(name: &str, source: &str, offset: usize, message: &str) -> FormatError {
    let line = 1 + source.as_bytes()[..offset.min(source.len())].iter().filter(|b| **b == b'\n').count();
    FormatError(format!("template: {name}:{line}: {message}"))
}

/// Cuts `source` into pieces.
pub(crate) fn pieces(name: &str, source: &str) -> Result<Vec<Piece>, FormatError> {
    let mut pieces = Vec::new();
    let mut at = 0;
    let mut trim_next = false;
    while at < source.len() {
        let open = source[at..].find("{{").map_or(source.len(), |found| at + found);
        let mut text = &source[at..open];
        if trim_next {
            text = text.trim_start();
        }
        // `{{- ` takes away the white space before it.
        let trims = source[open..].starts_with("{{-") && is_space(source.as_bytes().get(open + 3));
        if trims {
            text = text.trim_end();
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text.to_owned()));
        }
        if open == source.len() {
            break;
        }
        let start = open + if trims { 4 } else { 2 };
        let mut lexer = Lexer { name, source, at: start };
        let (tokens, end, trims_after) = lexer.action()?;
        if let Some(tokens) = tokens {
            pieces.push(Piece::Action(tokens, end));
        }
        trim_next = trims_after;
        at = end;
    }
    Ok(pieces)
}

fn is_space(byte: Option<&u8>) -> bool {
    matches!(byte, Some(b' ' | b'\t' | b'\r' | b'\n'))
}

struct Lexer<'a> {
    name: &'a str,
    source: &'a str,
    at: usize,
}

/// The tokens of one action (none for a comment), where it ends, whether it trims what follows.
type Action = (Option<Vec<Token>>, usize, bool);

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.source[self.at..]
    }

    fn fail<T>(&self, message: &str) -> Result<T, FormatError> {
        Err(error(self.name, self.source, self.at, message))
    }

    /// Skips white space; true if there was any.
    fn skip_space(&mut self) -> bool {
        let before = self.at;
        while is_space(self.source.as_bytes().get(self.at)) {
            self.at += 1;
        }
        self.at > before
    }

    fn action(&mut self) -> Result<Action, FormatError> {
        if self.rest().starts_with("/*") {
            let Some(end) = self.rest().find("*/") else { return self.fail("unclosed comment") };
            self.at += end + 2;
            let spaced = self.skip_space();
            return match (self.rest().starts_with("}}"), spaced && self.rest().starts_with("-}}")) {
                (true, _) => Ok((None, self.at + 2, false)),
                (_, true) => Ok((None, self.at + 3, true)),
                _ => self.fail("comment ends before closing delimiter"),
            };
        }
        let mut tokens = Vec::new();
        loop {
            let spaced = self.skip_space();
            if self.rest().starts_with("}}") {
                return Ok((Some(tokens), self.at + 2, false));
            }
            if spaced && self.rest().starts_with("-}}") {
                return Ok((Some(tokens), self.at + 3, true));
            }
            if self.rest().is_empty() {
                return self.fail("unclosed action");
            }
            let at = self.at;
            let kind = self.token()?;
            tokens.push(Token { kind, at, end: self.at, spaced });
        }
    }

    fn token(&mut self) -> Result<Kind, FormatError> {
        let rest = self.rest();
        let mut chars = rest.chars();
        let (first, second) = (chars.next().unwrap_or(' '), chars.next().unwrap_or(' '));
        let kind = match first {
            '|' => Kind::Pipe,
            ',' => Kind::Comma,
            '(' => Kind::Open,
            ')' => Kind::Close,
            '=' => Kind::Assign,
            ':' if second == '=' => {
                self.at += 1;
                Kind::Declare
            }
            '.' if !is_word(second) => Kind::Dot,
            '.' if !second.is_ascii_digit() => {
                self.at += 1;
                return Ok(Kind::Field(self.word()));
            }
            '$' => {
                self.at += 1;
                return Ok(Kind::Variable(self.word()));
            }
            '"' => return self.quoted(),
            '`' => return self.raw(),
            '\'' => return self.character(),
            _ if first.is_ascii_digit() || matches!(first, '+' | '-' | '.') => return self.number(),
            _ if is_word(first) => return Ok(Kind::Word(self.word())),
            _ => return self.fail(&format!("bad character U+{:04X} '{first}'", u32::from(first))),
        };
        self.at += first.len_utf8();
        Ok(kind)
    }

    fn word(&mut self) -> String {
        let rest = self.rest();
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let word = rest[..end].to_owned();
        self.at += end;
        word
    }

    fn number(&mut self) -> Result<Kind, FormatError> {
        let rest = self.rest();
        let part_of_number = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '+' | '-');
        let end = rest.find(|c| !part_of_number(c)).unwrap_or(rest.len());
        let text = rest[..end].replace('_', "");
        let unsigned = text.trim_start_matches(['+', '-']);
        let hex = unsigned.strip_prefix("0x").and_then(|digits| i64::from_str_radix(digits, 16).ok());
        let kind = match (hex, text.parse::<i64>(), text.parse::<f64>()) {
            (Some(value), ..) => Kind::Int(if text.starts_with('-') { -value } else { value }),
            (_, Ok(value), _) => Kind::Int(value),
            (_, _, Ok(value)) if value.is_finite() => Kind::Float(value),
            _ => return self.fail(&format!("bad number syntax: {text:?}")),
        };
        self.at += end;
        Ok(kind)
    }

    fn raw(&mut self) -> Result<Kind, FormatError> {
        let Some(end) = self.rest()[1..].find('`') else {
            return self.fail("unterminated raw quoted string");
        };
        let text = self.rest()[1..=end].to_owned();
        self.at += end + 2;
        Ok(Kind::Text(text))
    }

    fn quoted(&mut self) -> Result<Kind, FormatError> {
        self.at += 1;
        let mut text = String::new();
        loop {
            match self.rest().chars().next() {
                None | Some('\n') => return self.fail("unterminated quoted string"),
                Some('"') => {
                    self.at += 1;
                    return Ok(Kind::Text(text));
                }
                Some('\\') => text.push(self.escape()?),
                Some(c) => {
                    text.push(c);
                    self.at += c.len_utf8();
                }
            }
        }
    }

    fn character(&mut self) -> Result<Kind, FormatError> {
        self.at += 1;
        let value = match self.rest().chars().next() {
            Some('\\') => self.escape()?,
            Some(c) if c != '\'' && c != '\n' => {
                self.at += c.len_utf8();
                c
            }
            _ => return self.fail("unterminated character constant"),
        };
        if !self.rest().starts_with('\'') {
            return self.fail("unterminated character constant");
        }
        self.at += 1;
        Ok(Kind::Int(i64::from(u32::from(value))))
    }

    /// A backslash and what it introduces.
    fn escape(&mut self) -> Result<char, FormatError> {
        let rest = &self.rest()[1..];
        let code = rest.chars().next().unwrap_or('\n');
        let digits = match code {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        let value = match code {
            'n' => Some('\n'),
            't' => Some('\t'),
            'r' => Some('\r'),
            'a' => Some('\x07'),
            'b' => Some('\x08'),
            'f' => Some('\x0c'),
            'v' => Some('\x0b'),
            '\\' | '"' | '\'' => Some(code),
            'x' | 'u' | 'U' => rest
                .get(1..=digits)
                .and_then(|hex| u32::from_str_radix(hex, 16).ok())
                .and_then(char::from_u32),
            _ => None,
        };
        let Some(value) = value else { return self.fail("invalid syntax") };
        self.at += 1 + code.len_utf8() + digits;
        Ok(value)
    }
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(source: &str) -> Vec<Kind> {
        match pieces("t", source).unwrap().pop() {
            Some(Piece::Action(tokens, _)) => tokens.into_iter().map(|token| token.kind).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn trim_markers_and_comments() {
        for (source, want) in [
            ("a {{- 1 -}} b", vec!["a", "b"]),
            ("a {{1}} b", vec!["a ", " b"]),
            ("a {{-1}} b", vec!["a ", " b"]),
            ("a{{/* no */}}b", vec!["a", "b"]),
            ("a {{- /* no */ -}} b", vec!["a", "b"]),
            ("plain", vec!["plain"]),
            ("", vec![]),
        ] {
            let texts: Vec<String> = pieces("t", source)
                .unwrap()
                .into_iter()
                .filter_map(|piece| match piece {
                    Piece::Text(text) => Some(text),
                    Piece::Action(..) => None,
                })
                .collect();
            assert_eq!(texts, want, "{source}");
        }
    }

    #[test]
    fn tokens() {
        assert_eq!(
            kinds(r#"{{$x := printf "%s\t\u00e9" .A.B | f (1) -2.5 0x10 'a' `r\n`}}"#),
            [
                Kind::Variable("x".into()),
                Kind::Declare,
                Kind::Word("printf".into()),
                Kind::Text("%s\té".into()),
                Kind::Field("A".into()),
                Kind::Field("B".into()),
                Kind::Pipe,
                Kind::Word("f".into()),
                Kind::Open,
                Kind::Int(1),
                Kind::Close,
                Kind::Float(-2.5),
                Kind::Int(16),
                Kind::Int(97),
                Kind::Text("r\\n".into()),
            ]
        );
        assert_eq!(kinds("{{.}}"), [Kind::Dot]);
        for (bad, message) in [
            ("{{", "template: t:1: unclosed action"),
            ("\n{{.A", "template: t:2: unclosed action"),
            ("{{\"a}}", "template: t:1: unterminated quoted string"),
            ("{{`a}}", "template: t:1: unterminated raw quoted string"),
            ("{{/* }}", "template: t:1: unclosed comment"),
            ("{{#}}", "template: t:1: bad character U+0023 '#'"),
            ("{{1x}}", "template: t:1: bad number syntax: \"1x\""),
        ] {
            assert_eq!(pieces("t", bad), Err(FormatError(message.into())), "{bad}");
        }
    }
}
