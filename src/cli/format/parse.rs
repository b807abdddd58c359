//! Tokens to tree, with the checks Go makes before a template runs.

use super::FormatError;
use super::ast::{Branch, Command, Node, Operand, OperandKind, Pipe};
use super::funcs;
use super::lex::{self, Kind, Piece, Token};

/// A parsed template.
#[derive(Debug)]
pub(crate) struct Template {
    /// Its name in errors.
    pub(crate) name: &'static str,
    /// Its text.
    pub(crate) source: String,
    /// Its body.
    pub(crate) body: Vec<Node>,
}

impl Template {
    /// Parses `source`; errors call it `name`.
    pub(crate) fn parse(source: &str, name: &'static str) -> Result<Self, FormatError> {
        let pieces = lex::pieces(name, source)?;
        let mut parser =
            Parser { name, source, pieces: pieces.into_iter().peekable(), vars: Vec::new(), loops: 0 };
        let (body, end) = parser.body()?;
        match end {
            End::Eof => Ok(Self { name, source: source.to_owned(), body }),
            End::Closed(at) => Err(lex::error(name, source, at, "unexpected {{end}}")),
            End::Else(tokens, at) => {
                drop(tokens);
                Err(lex::error(name, source, at, "unexpected {{else}}"))
            }
        }
    }

    /// Writes the header row: each pipeline becomes the heading of the first field in it.
    pub(crate) fn render_header(&self, headers: &[(&str, &str)], out: &mut String) {
        for node in &self.body {
            match node {
                Node::Text(text) => out.push_str(text),
                Node::Action(pipe) if !pipe.vars.is_empty() => {}
                Node::Action(pipe) | Node::If(Branch { pipe, .. }) | Node::With(Branch { pipe, .. }) => {
                    let label = dockers_label(pipe, headers);
                    out.push_str(
                        &label.or_else(|| Some(heading(first_field(pipe)?, headers))).unwrap_or_default(),
                    );
                }
                Node::Range(Branch { pipe, .. }) => {
                    out.push_str(&first_field(pipe).map_or(String::new(), |field| heading(field, headers)));
                }
                Node::Break | Node::Continue => {}
            }
        }
    }
}

/// The last name of the first chain of fields in `pipe`.
fn first_field(pipe: &Pipe) -> Option<&str> {
    pipe.commands.iter().flat_map(|command| &command.operands).find_map(|operand| match &operand.kind {
        OperandKind::Parenthesis(inner) => first_field(inner),
        _ => operand.fields.last().map(String::as_str),
    })
}

/// The heading over `{{.Label "com.example.some-key"}}` where docker's are asked for (they have none of that name):
/// `some key`.
fn dockers_label(pipe: &Pipe, headers: &[(&str, &str)]) -> Option<String> {
    let [call, key] = &pipe.commands.first()?.operands[..] else { return None };
    let is_label = headers.contains(&("Label", "")) && call.fields.last().is_some_and(|name| name == "Label");
    let OperandKind::Text(key) = &key.kind else { return None };
    is_label.then(|| key.rsplit('.').next().unwrap_or_default().replace(['-', '_'], " "))
}

/// The heading of a column: from `headers`, else the name in capitals, split into words.
fn heading(field: &str, headers: &[(&str, &str)]) -> String {
    if let Some((_, heading)) = headers.iter().find(|(name, _)| *name == field) {
        return (*heading).to_owned();
    }
    let mut heading = String::new();
    let mut before = 'A';
    for c in field.chars() {
        if c.is_uppercase() && before.is_lowercase() {
            heading.push(' ');
        }
        heading.extend(c.to_uppercase());
        before = c;
    }
    heading
}

/// What ended a body.
enum End {
    Eof,
    Closed(usize),
    /// `{{else}}` with the tokens after the word.
    Else(Vec<Token>, usize),
}

struct Parser<'a> {
    name: &'static str,
    source: &'a str,
    pieces: std::iter::Peekable<std::vec::IntoIter<Piece>>,
    /// Names of the variables in scope.
    vars: Vec<String>,
    /// How many `{{range}}` are open.
    loops: usize,
}

impl Parser<'_> {
    fn fail<T>(&self, at: usize, message: &str) -> Result<T, FormatError> {
        Err(lex::error(self.name, self.source, at, message))
    }

    /// Parses up to the `{{end}}` or `{{else}}` that closes this body.
    fn body(&mut self) -> Result<(Vec<Node>, End), FormatError> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let (tokens, at) = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(tokens, at) => (tokens, at),
            };
            let keyword = match tokens.first().map(|token| &token.kind) {
                Some(Kind::Word(word)) => word.as_str(),
                _ => "",
            };
            let node = match keyword {
                "end" => return Ok((nodes, End::Closed(at))),
                "else" => return Ok((nodes, End::Else(tokens[1..].to_vec(), at))),
                "if" => Node::If(self.branch("if", &tokens[1..], at)?),
                "with" => Node::With(self.branch("with", &tokens[1..], at)?),
                "range" => Node::Range(self.branch("range", &tokens[1..], at)?),
                "break" | "continue" if self.loops == 0 => {
                    return self.fail(at, &format!("{{{{{keyword}}}}} outside {{{{range}}}}"));
                }
                "break" => Node::Break,
                "continue" => Node::Continue,
                "define" | "block" | "template" => {
                    return self.fail(at, &format!("{{{{{keyword}}}}} is not supported"));
                }
                _ => Node::Action(self.pipeline(&tokens, at, "command")?),
            };
            nodes.push(node);
        }
        Ok((nodes, End::Eof))
    }

    /// Parses `{{if …}} … {{else}} … {{end}}` after its first word.
    fn branch(&mut self, word: &str, tokens: &[Token], at: usize) -> Result<Branch, FormatError> {
        let scope = self.vars.len();
        let pipe = self.pipeline(tokens, at, word)?;
        if word == "range" {
            self.loops += 1;
        }
        let (then, end) = self.body()?;
        if word == "range" {
            self.loops -= 1;
        }
        let otherwise = match end {
            End::Eof => return self.fail(self.source.len(), "unexpected EOF"),
            End::Closed(_) => Vec::new(),
            End::Else(tokens, at) => self.otherwise(word, &tokens, at)?,
        };
        self.vars.truncate(scope);
        Ok(Branch { pipe, then, otherwise })
    }

    /// Parses what follows `{{else`, up to the `{{end}}` of the whole.
    fn otherwise(&mut self, word: &str, tokens: &[Token], at: usize) -> Result<Vec<Node>, FormatError> {
        let next = match tokens.first().map(|token| &token.kind) {
            None => {
                let (nodes, end) = self.body()?;
                return match end {
                    End::Closed(_) => Ok(nodes),
                    End::Eof => self.fail(self.source.len(), "unexpected EOF"),
                    End::Else(_, at) => self.fail(at, "expected end; found {{else}}"),
                };
            }
            Some(Kind::Word(next)) => next.clone(),
            Some(_) => String::new(),
        };
        match next.as_str() {
            "if" if word == "if" => Ok(vec![Node::If(self.branch("if", &tokens[1..], at)?)]),
            "with" if word == "with" => Ok(vec![Node::With(self.branch("with", &tokens[1..], at)?)]),
            _ => self.fail(at, &format!("unexpected {next:?} in else")),
        }
    }

    /// Parses the pipeline of an action; `context` is the word in the error about there being none.
    fn pipeline(&mut self, tokens: &[Token], at: usize, context: &str) -> Result<Pipe, FormatError> {
        let mut cursor = Cursor { tokens, next: 0, at };
        let pipe = self.pipe(&mut cursor, context)?;
        match cursor.peek() {
            None => Ok(pipe),
            Some(token) => {
                let text = &self.source[token.at..token.end];
                self.fail(token.at, &format!("unexpected {text:?} in {context}"))
            }
        }
    }

    fn pipe(&mut self, cursor: &mut Cursor<'_>, context: &str) -> Result<Pipe, FormatError> {
        let (vars, declares) = self.variables(cursor, context)?;
        let mut commands = Vec::new();
        loop {
            let command = self.command(cursor)?;
            let Some(command) = command else {
                return match commands.is_empty() {
                    true => self.fail(cursor.at, &format!("missing value for {context}")),
                    false => self.fail(cursor.at, "missing value for command"),
                };
            };
            if !commands.is_empty() && !is_executable(&command) {
                let stage = commands.len() + 1;
                return self.fail(cursor.at, &format!("non executable command in pipeline stage {stage}"));
            }
            commands.push(command);
            if cursor.take_if(&Kind::Pipe).is_none() {
                break;
            }
        }
        if declares {
            self.vars.extend(vars.iter().cloned());
        }
        Ok(Pipe { vars, declares, commands })
    }

    /// `$x :=`, `$x =` or, in a range, `$i, $x :=`.
    fn variables(
        &mut self,
        cursor: &mut Cursor<'_>,
        context: &str,
    ) -> Result<(Vec<String>, bool), FormatError> {
        let kind = |ahead: usize| cursor.tokens.get(cursor.next + ahead).map(|token| &token.kind);
        let (names, after) = match (kind(0), kind(1), kind(2), kind(3)) {
            (Some(Kind::Variable(x)), Some(op @ (Kind::Declare | Kind::Assign)), ..) => (vec![x.clone()], op),
            (
                Some(Kind::Variable(i)),
                Some(Kind::Comma),
                Some(Kind::Variable(x)),
                Some(op @ (Kind::Declare | Kind::Assign)),
            ) if context == "range" => (vec![i.clone(), x.clone()], op),
            _ => return Ok((Vec::new(), false)),
        };
        let declares = *after == Kind::Declare;
        let unknown = names.iter().find(|name| !declares && !self.knows(name));
        if let Some(name) = unknown {
            return self.fail(cursor.at, &format!("undefined variable \"${name}\""));
        }
        cursor.next += names.len() * 2;
        Ok((names, declares))
    }

    fn knows(&self, name: &str) -> bool {
        name.is_empty() || self.vars.iter().any(|var| var == name)
    }

    fn command(&mut self, cursor: &mut Cursor<'_>) -> Result<Option<Command>, FormatError> {
        let mut operands: Vec<Operand> = Vec::new();
        while let Some(operand) = self.operand(cursor)? {
            operands.push(operand);
        }
        let (Some(first), Some(last)) = (operands.first(), operands.last()) else { return Ok(None) };
        let span = first.span.start..last.span.end;
        if operands.len() > 1 && !takes_arguments(first) {
            let text = &self.source[first.span.clone()];
            return self.fail(first.span.start, &format!("can't give argument to non-function {text}"));
        }
        Ok(Some(Command { operands, span }))
    }

    fn operand(&mut self, cursor: &mut Cursor<'_>) -> Result<Option<Operand>, FormatError> {
        let Some(token) = cursor.peek().cloned() else { return Ok(None) };
        let mut fields = Vec::new();
        let mut last_field = token.at;
        let kind = match &token.kind {
            Kind::Pipe | Kind::Close => return Ok(None),
            Kind::Comma | Kind::Declare | Kind::Assign => {
                let text = &self.source[token.at..token.end];
                return self.fail(token.at, &format!("unexpected {text:?} in operand"));
            }
            Kind::Dot => OperandKind::Dot,
            Kind::Field(name) => {
                fields.push(name.clone());
                OperandKind::Dot
            }
            Kind::Variable(name) if self.knows(name) => OperandKind::Variable(name.clone()),
            Kind::Variable(name) => return self.fail(token.at, &format!("undefined variable \"${name}\"")),
            Kind::Int(value) => OperandKind::Int(*value),
            Kind::Float(value) => OperandKind::Float(*value),
            Kind::Text(text) => OperandKind::Text(text.clone()),
            Kind::Word(word) => match word.as_str() {
                "true" => OperandKind::Bool(true),
                "false" => OperandKind::Bool(false),
                "nil" => OperandKind::Nil,
                _ if funcs::is_known(word) => OperandKind::Function(word.clone()),
                _ => return self.fail(token.at, &format!("function {word:?} not defined")),
            },
            Kind::Open => {
                cursor.next += 1;
                let pipe = self.pipe(cursor, "parenthesized pipeline")?;
                if cursor.peek().is_none_or(|token| token.kind != Kind::Close) {
                    return self.fail(cursor.at, "unclosed left paren");
                }
                OperandKind::Parenthesis(Box::new(pipe))
            }
        };
        let mut end = cursor.peek().map_or(cursor.at, |token| token.end);
        cursor.next += 1;
        // Fields that touch what is before them belong to it.
        while let Some(Token { kind: Kind::Field(name), at, end: field_end, spaced: false }) = cursor.peek() {
            if !takes_fields(&kind, &token.kind) {
                let text = &self.source[*at..*field_end];
                return self.fail(*at, &format!("unexpected <{text}> after term"));
            }
            fields.push(name.clone());
            (last_field, end) = (*at, *field_end);
            cursor.next += 1;
        }
        Ok(Some(Operand { kind, fields, span: token.at..end, last_field }))
    }
}

/// True if `.Field` may follow without a blank.
fn takes_fields(kind: &OperandKind, token: &Kind) -> bool {
    match kind {
        OperandKind::Variable(_) | OperandKind::Parenthesis(_) => true,
        OperandKind::Dot => matches!(token, Kind::Field(_)),
        _ => false,
    }
}

/// True for what may be called with arguments: functions, and fields (methods).
fn takes_arguments(operand: &Operand) -> bool {
    matches!(operand.kind, OperandKind::Function(_)) || !operand.fields.is_empty()
}

/// True for what a value may be piped into.
fn is_executable(command: &Command) -> bool {
    command.operands.first().is_some_and(|first| {
        takes_arguments(first) || matches!(first.kind, OperandKind::Variable(_) | OperandKind::Parenthesis(_))
    })
}

/// A position in the tokens of one action.
struct Cursor<'a> {
    tokens: &'a [Token],
    next: usize,
    /// The end of the action.
    at: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    fn take_if(&mut self, kind: &Kind) -> Option<&Token> {
        let token = self.tokens.get(self.next).filter(|token| token.kind == *kind)?;
        self.next += 1;
        Some(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_in_the_words_of_go() {
        for (source, message) in [
            ("{{foo .Names}}", "function \"foo\" not defined"),
            ("{{if}}x{{end}}", "missing value for if"),
            ("{{end}}", "unexpected {{end}}"),
            ("{{else}}", "unexpected {{else}}"),
            ("{{$x}}", "undefined variable \"$x\""),
            ("{{$x = 1}}", "undefined variable \"$x\""),
            ("{{if true}}", "unexpected EOF"),
            ("{{.Names | nope}}", "function \"nope\" not defined"),
            ("{{.A | 3}}", "non executable command in pipeline stage 2"),
            ("{{}}", "missing value for command"),
            ("{{.A |}}", "missing value for command"),
            ("{{(.A}}", "unclosed left paren"),
            ("{{.A)}}", "unexpected \")\" in command"),
            ("{{break}}", "{{break}} outside {{range}}"),
            ("{{3 4}}", "can't give argument to non-function 3"),
            ("{{if .A}}{{$y := 1}}{{end}}{{$y}}", "undefined variable \"$y\""),
        ] {
            let want = FormatError(format!("template: t:1: {message}"));
            assert_eq!(Template::parse(source, "t").map(|t| t.body), Err(want), "{source}");
        }
    }

    #[test]
    fn headings() {
        for (source, want) in [
            ("{{.ID}}\t{{.Names}}\n", "CONTAINER ID\tNAMES\n"),
            ("{{.IsDangling}} {{upper .RunningFor}}", "IS DANGLING RUNNING FOR"),
            ("{{json (.CIDFile)}}{{range .Mounts}}{{.}}{{end}}", "CIDFILEMOUNTS"),
            ("{{$x := .A}}{{1}}", ""),
        ] {
            let mut header = String::new();
            Template::parse(source, "t").unwrap().render_header(&[("ID", "CONTAINER ID")], &mut header);
            assert_eq!(header, want, "{source}");
        }
    }
}
