//! Runs a template over one document.

use std::ops::Range;

use serde_json::Value;

use super::ast::{Branch, Command, Node, Operand, OperandKind, Pipe};
use super::parse::Template;
use super::value::{Val, sorted};
use super::{FormatError, Shape, funcs, gotime, print};

/// What holds for a whole run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    pub(crate) shape: &'a Shape,
    /// The output is a terminal: text of the document is made safe for it.
    pub(crate) escape: bool,
}

/// Appends what `template` makes of `document`.
///
/// # Errors
///
/// If it does not fit. What was printed up to there stays in `out`, as with Go.
pub(crate) fn render(
    template: &Template,
    document: &Value,
    shape: &Shape,
    escape: bool,
    out: &mut String,
) -> Result<(), FormatError> {
    let root = Val::of(document, "");
    let context = Context { shape, escape };
    let mut run = Run { template, context, vars: vec![("", root.clone())], out };
    run.nodes(&template.body, &root).map(drop)
}

/// How a body ended.
enum Flow {
    Next,
    Break,
    Continue,
}

struct Run<'t, 'v> {
    template: &'t Template,
    context: Context<'t>,
    vars: Vec<(&'t str, Val<'v>)>,
    out: &'t mut String,
}

type Evaluated<'v> = Result<Val<'v>, FormatError>;

impl<'t, 'v> Run<'t, 'v> {
    /// Go's error at a place in the template: `template: ps:1:2: executing "ps" at <.X>: …`.
    fn fail<T>(&self, at: usize, span: &Range<usize>, message: &str) -> Result<T, FormatError> {
        let Template { name, source, .. } = self.template;
        let line_start = source[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let line = 1 + source[..at].matches('\n').count();
        let shown = source[span.clone()].trim();
        // podman wraps the templates of listings in `{{range .}}`, and counts that.
        let wrapper = if line == 1 && self.context.shape.heading { "{{range .}}".len() } else { 0 };
        let column = at - line_start + wrapper;
        Err(FormatError(format!(
            "template: {name}:{line}:{column}: executing {name:?} at <{shown}>: {message}"
        )))
    }

    fn nodes(&mut self, nodes: &'t [Node], dot: &Val<'v>) -> Result<Flow, FormatError> {
        let scope = self.vars.len();
        for node in nodes {
            let flow = match node {
                Node::Text(text) => {
                    self.out.push_str(text);
                    Flow::Next
                }
                Node::Action(pipe) => {
                    let value = self.pipe(pipe, dot)?;
                    if pipe.vars.is_empty() {
                        print::value(self.out, &value, self.context.escape);
                    }
                    Flow::Next
                }
                Node::If(branch) => self.choose(branch, dot, false)?,
                Node::With(branch) => self.choose(branch, dot, true)?,
                Node::Range(branch) => self.range(branch, dot)?,
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
            };
            if !matches!(flow, Flow::Next) {
                self.vars.truncate(scope);
                return Ok(flow);
            }
        }
        self.vars.truncate(scope);
        Ok(Flow::Next)
    }

    /// `if` and `with`.
    fn choose(&mut self, branch: &'t Branch, dot: &Val<'v>, rebinds: bool) -> Result<Flow, FormatError> {
        let scope = self.vars.len();
        let value = self.pipe(&branch.pipe, dot)?;
        let flow = match (value.is_true(), rebinds) {
            (true, true) => self.nodes(&branch.then, &value),
            (true, false) => self.nodes(&branch.then, dot),
            (false, _) => self.nodes(&branch.otherwise, dot),
        };
        self.vars.truncate(scope);
        flow
    }

    fn range(&mut self, branch: &'t Branch, dot: &Val<'v>) -> Result<Flow, FormatError> {
        let scope = self.vars.len();
        let commands = Pipe { vars: Vec::new(), ..branch.pipe.clone() };
        let value = self.commands(&commands.commands, dot)?;
        let items = self.items(&branch.pipe, value)?;
        if items.is_empty() {
            return self.nodes(&branch.otherwise, dot);
        }
        for (key, item) in items {
            match branch.pipe.vars.as_slice() {
                [] => {}
                [element] => self.bind(element, branch.pipe.declares, item.clone()),
                [index, element, ..] => {
                    self.bind(index, branch.pipe.declares, key);
                    self.bind(element, branch.pipe.declares, item.clone());
                }
            }
            let flow = self.nodes(&branch.then, &item)?;
            self.vars.truncate(scope);
            match flow {
                Flow::Break => break,
                Flow::Next | Flow::Continue => {}
            }
        }
        Ok(Flow::Next)
    }

    /// What `range` goes through, with index or key.
    fn items(&self, pipe: &Pipe, value: Val<'v>) -> Result<Vec<(Val<'v>, Val<'v>)>, FormatError> {
        let index = |at: usize| Val::Int(i64::try_from(at).unwrap_or(i64::MAX));
        match &value {
            Val::Map(map) => {
                Ok(sorted(map).into_iter().map(|(key, item)| (Val::Foreign(key), item)).collect())
            }
            Val::Null(_) | Val::Missing => Ok(Vec::new()),
            Val::Int(count) => Ok((0..*count).map(|at| (Val::Int(at), Val::Int(at))).collect()),
            _ => match value.as_list() {
                Some(items) => {
                    Ok(items.into_iter().enumerate().map(|(at, item)| (index(at), item)).collect())
                }
                None => {
                    let span = pipe.commands.first().map_or(0..0, |command| command.span.clone());
                    let shown = print::text(&value, self.context.escape);
                    self.fail(span.start, &span, &format!("range can't iterate over {shown}"))
                }
            },
        }
    }

    /// Makes or changes a variable.
    fn bind(&mut self, name: &'t str, declares: bool, value: Val<'v>) {
        let known = self.vars.iter_mut().rev().find(|(known, _)| !declares && *known == name);
        match known {
            Some((_, slot)) => *slot = value,
            None => self.vars.push((name, value)),
        }
    }

    fn pipe(&mut self, pipe: &'t Pipe, dot: &Val<'v>) -> Evaluated<'v> {
        let value = self.commands(&pipe.commands, dot)?;
        if let Some(name) = pipe.vars.first() {
            self.bind(name, pipe.declares, value.clone());
        }
        Ok(value)
    }

    fn commands(&mut self, commands: &[Command], dot: &Val<'v>) -> Evaluated<'v> {
        let mut value = None;
        for command in commands {
            value = Some(self.command(command, dot, value)?);
        }
        Ok(value.unwrap_or(Val::Missing))
    }

    /// One command; `piped` is the value from before the `|`.
    fn command(&mut self, command: &Command, dot: &Val<'v>, piped: Option<Val<'v>>) -> Evaluated<'v> {
        let Some((first, rest)) = command.operands.split_first() else { return Ok(Val::Missing) };
        if let OperandKind::Function(name) = &first.kind {
            return self.call(name, command, rest, dot, piped);
        }
        if rest.is_empty() && piped.is_none() {
            return self.operand(first, dot);
        }
        // A method with arguments.
        let mut args =
            rest.iter().map(|operand| self.operand(operand, dot)).collect::<Result<Vec<_>, _>>()?;
        args.extend(piped);
        let Some((name, before)) = first.fields.split_last() else {
            let shown = &self.template.source[first.span.clone()];
            return self.fail(
                first.span.start,
                &first.span,
                &format!("can't give argument to non-function {shown}"),
            );
        };
        let receiver = self.start(first, dot)?;
        let receiver = self.follow(receiver, before, first)?;
        match (&receiver, name.as_str(), args.as_slice()) {
            (Val::Time(time), _, _) if let Some(result) = gotime::method(*time, name, &args) => {
                result.or_else(|message| self.fail(first.last_field, &first.span, &message))
            }
            (Val::Struct(..), "Label", [key]) => {
                // Docker's rows have a text as their Labels, and the labels themselves beside it.
                let labels = match receiver.field("Label", self.context.shape.type_name) {
                    Ok(labels @ (Val::Struct(..) | Val::Map(..))) => labels,
                    _ => self.follow(receiver.clone(), &["Labels".to_owned()], first)?,
                };
                let key = key.as_text().unwrap_or_default();
                if let Val::Foreign(text) = labels {
                    return Ok(Val::Foreign(among(text, &key)));
                }
                match labels.field(&key, self.context.shape.type_name) {
                    Ok(Val::Missing) | Err(_) => Ok(Val::Text(String::new())),
                    Ok(value) => Ok(value),
                }
            }
            _ => {
                self.follow(receiver, std::slice::from_ref(name), first)?;
                let message = format!("{name} has arguments but cannot be invoked as function");
                self.fail(first.last_field, &first.span, &message)
            }
        }
    }

    fn call(
        &mut self,
        name: &str,
        command: &Command,
        operands: &[Operand],
        dot: &Val<'v>,
        piped: Option<Val<'v>>,
    ) -> Evaluated<'v> {
        let stops_at = match name {
            "and" => Some(false),
            "or" => Some(true),
            _ => None,
        };
        let mut args = Vec::with_capacity(operands.len() + 1);
        for operand in operands {
            let value = self.operand(operand, dot)?;
            if stops_at == Some(value.is_true()) {
                return Ok(value);
            }
            args.push(value);
        }
        args.extend(piped);
        if stops_at.is_some() {
            let first_decisive = args.iter().find(|value| stops_at == Some(value.is_true())).cloned();
            return match first_decisive.or_else(|| args.pop()) {
                Some(value) => Ok(value),
                None => {
                    let message = format!("wrong number of args for {name}: want at least 1 got 0");
                    self.fail(command.span.start, &command.span, &message)
                }
            };
        }
        funcs::call(name, &args, &self.context).or_else(|message| {
            let message = match message.starts_with("wrong number of args") {
                true => message,
                false => format!("error calling {name}: {message}"),
            };
            self.fail(command.span.start, &command.span, &message)
        })
    }

    fn operand(&mut self, operand: &Operand, dot: &Val<'v>) -> Evaluated<'v> {
        let start = self.start(operand, dot)?;
        self.follow(start, &operand.fields, operand)
    }

    /// What an operand is before its fields.
    fn start(&mut self, operand: &Operand, dot: &Val<'v>) -> Evaluated<'v> {
        Ok(match &operand.kind {
            OperandKind::Dot => dot.clone(),
            OperandKind::Nil => Val::Null(""),
            OperandKind::Bool(value) => Val::Bool(*value),
            OperandKind::Int(value) => Val::Int(*value),
            OperandKind::Float(value) => Val::Float(*value),
            OperandKind::Text(text) => Val::Text(text.clone()),
            OperandKind::Variable(name) => {
                let found = self.vars.iter().rev().find(|(known, _)| known == name);
                found.map_or(Val::Missing, |(_, value)| value.clone())
            }
            OperandKind::Parenthesis(pipe) => self.commands(&pipe.commands, dot)?,
            OperandKind::Function(name) => funcs::call(name, &[], &self.context)
                .or_else(|message| self.fail(operand.span.start, &operand.span, &message))?,
        })
    }

    /// Takes fields one after the other.
    fn follow(&self, start: Val<'v>, fields: &[String], operand: &Operand) -> Evaluated<'v> {
        let mut value = start;
        for name in fields {
            if let Val::Time(time) = value
                && let Some(result) = gotime::method(time, name, &[])
            {
                value = result.or_else(|message| self.fail(operand.last_field, &operand.span, &message))?;
                continue;
            }
            value = value
                .field(name, self.context.shape.type_name)
                .or_else(|message| self.fail(operand.last_field, &operand.span, &message))?;
        }
        Ok(value)
    }
}

/// The value of a key among labels in one text: `a=b,c=d`. What has no `=` belongs to the value before it.
fn among<'t>(labels: &'t str, key: &str) -> &'t str {
    let pieces = labels.split(',');
    let starts = pieces.map(|piece| (piece.as_ptr().addr() - labels.as_ptr().addr(), piece));
    let starts: Vec<(usize, &str)> = starts.filter(|(at, piece)| *at == 0 || piece.contains('=')).collect();
    let ends = starts.iter().skip(1).map(|(at, _)| at - 1).chain([labels.len()]);
    let mut whole = starts.iter().zip(ends).map(|((at, _), end)| &labels[*at..end]);
    whole.find_map(|label| label.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SHAPE: Shape =
        Shape { command: "ps", type_name: "main.psReporter", headers: &[], omit: &["Gone"], heading: false };

    fn run(source: &str, escape: bool) -> Result<String, String> {
        let document = json!({
            "ID": "a33d184c37bf", "Names": "one", "Empty": "", "ExitCode": 3, "Size": null, "Cmd": null, "Ratio": 0.5,
            "Running": true, "List": ["a", "b", "c"], "Labels": {"l1": "v1", "a": "b"}, "Gone": null,
            "State": {"Status": "up", "StartedAt": "2026-11-21T05:42:00.5Z", "Health": null},
            "Mounts": [{"Source": "/s", "RW": true}, {"Source": "/t", "RW": false}],
            "Ports": {"80/tcp": [{"HostPort": "8080"}]}, "Evil": "\u{1b}[31m",
        });
        let template = Template::parse(source, "ps").map_err(|err| err.0)?;
        let mut out = String::new();
        render(&template, &document, &SHAPE, escape, &mut out).map_err(|err| err.0)?;
        Ok(out)
    }

    #[test]
    fn prints_what_go_prints() {
        for (source, want) in [
            ("{{.ID}}|{{.Id}}|{{.Names}}", "a33d184c37bf|a33d184c37bf|one"),
            (
                "{{.List}} {{.Labels}} {{.Size}} {{.Cmd}} {{.Running}} {{.Ratio}}",
                "[a b c] map[a:b l1:v1] <nil> [] true 0.5",
            ),
            (
                "{{.Labels.l1}} {{.Labels.nope}} {{index .Labels \"l1\"}}.{{index .Labels \"nope\"}}",
                "v1 <no value> v1.",
            ),
            (
                "{{.State.Status}} {{.State.StartedAt.Unix}} {{.State.StartedAt.Format \"2006\"}}",
                "up 1795239720 2026",
            ),
            ("{{.Mounts}} {{(index .Mounts 1).Source}}", "[{/s true} {/t false}] /t"),
            ("{{.Label \"l1\"}}{{.Label \"x\"}}", "v1"),
            ("{{.ListContainer.Names}}", "one"),
            ("{{if eq .Names \"one\"}}yes{{else}}no{{end}}", "yes"),
            ("{{if .Empty}}a{{else if .Running}}b{{else}}c{{end}}", "b"),
            (
                "{{with .State}}{{.Status}} {{$.ID}}{{else}}x{{end}}{{with .Empty}}x{{else}}none{{end}}",
                "up a33d184c37bfnone",
            ),
            ("{{range .List}}{{.}};{{end}}{{range .Cmd}}x{{else}}none{{end}}", "a;b;c;none"),
            ("{{range $i, $e := .List}}{{$i}}={{$e}} {{end}}", "0=a 1=b 2=c "),
            ("{{range $k, $v := .Labels}}{{$k}}:{{$v}},{{end}}", "a:b,l1:v1,"),
            ("{{range .List}}{{if eq . \"b\"}}{{continue}}{{end}}{{.}}{{end}}", "ac"),
            ("{{range .List}}{{if eq . \"b\"}}{{break}}{{end}}{{.}}{{end}}", "a"),
            ("{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}", "2"),
            ("{{range $p, $b := .Ports}}{{$p}}->{{(index $b 0).HostPort}}{{end}}", "80/tcp->8080"),
            ("{{len .Names}} {{len .List}} {{len .Labels}} {{len .Cmd}}", "3 3 2 0"),
            ("{{slice .ID 0 3}} {{slice .List 1}}", "a33 [b c]"),
            (
                "{{eq .ExitCode 1 2 3}} {{ne 1 2}} {{lt 1 2}} {{le 2 2}} {{gt 1 2}} {{ge \"b\" \"a\"}}",
                "true true true true false true",
            ),
            (
                "{{and .Running .Names}} {{or .Empty \"d\"}} {{not .Empty}} {{and .Empty .Nope}}",
                "one d true ",
            ),
            (
                "{{json .List}} {{json .State.StartedAt}} {{json .Names}}",
                "[\"a\",\"b\",\"c\"] \"2026-11-21T05:42:00.5Z\" \"one\"",
            ),
            ("{{json .Mounts}}", "[{\"Source\":\"/s\",\"RW\":true},{\"Source\":\"/t\",\"RW\":false}]"),
            ("{{upper .Names}} {{title .Names}} {{.Names | upper | lower}}", "ONE One one"),
            ("{{title \"localhost/a_b:x-y 2z é\"}}", "Localhost/A_b:X-Y 2z É"),
            (
                "{{join .List \",\"}} {{join (split \"x-y\" \"-\") \"+\"}} {{truncate .ID 4}} [{{pad .Names 1 2}}]",
                "a,b,c x+y a33d [ one  ]",
            ),
            ("{{printf \"%-5s|%d\" .Names .ExitCode}} {{print 1 2}} {{println .Names}}", "one  |3 1 2 one\n"),
            ("{{.ExitCode | printf \"%03d\"}}", "003"),
            ("a {{- /* no */ -}} b", "ab"),
            ("{{true}} {{nil | print}} {{1.5}} {{'a'}}", "true <nil> 1.5 97"),
        ] {
            assert_eq!(run(source, false).as_deref(), Ok(want), "{source}");
        }
    }

    #[test]
    fn mistakes_in_the_words_of_go() {
        for (source, message) in [
            (
                "{{.Nope}}",
                "template: ps:1:2: executing \"ps\" at <.Nope>: can't evaluate field Nope in type main.psReporter",
            ),
            (
                "{{.Names.Foo}}",
                "template: ps:1:8: executing \"ps\" at <.Names.Foo>: can't evaluate field Foo in type string",
            ),
            (
                "{{.State.Foo}}",
                "template: ps:1:8: executing \"ps\" at <.State.Foo>: can't evaluate field Foo in type *define.InspectContainerState",
            ),
            (
                "{{.State.Health.Status}}",
                "template: ps:1:15: executing \"ps\" at <.State.Health.Status>: nil pointer evaluating *define.HealthCheckResults.Status",
            ),
            (
                "{{index .Labels 3}}",
                "template: ps:1:2: executing \"ps\" at <index .Labels 3>: error calling index: value has type int; should be string",
            ),
            (
                "{{index .List 9}}",
                "template: ps:1:2: executing \"ps\" at <index .List 9>: error calling index: index out of range: 9",
            ),
            (
                "\n{{len 3}}",
                "template: ps:2:2: executing \"ps\" at <len 3>: error calling len: len of type int",
            ),
            (
                "{{eq .ExitCode \"a\"}}",
                "template: ps:1:2: executing \"ps\" at <eq .ExitCode \"a\">: error calling eq: incompatible types for comparison",
            ),
            (
                "{{range .Names}}{{end}}",
                "template: ps:1:8: executing \"ps\" at <.Names>: range can't iterate over one",
            ),
            (
                "{{upper 3}}",
                "template: ps:1:2: executing \"ps\" at <upper 3>: error calling upper: wrong type for value; expected string; got int",
            ),
            (
                "{{.Names 3}}",
                "template: ps:1:2: executing \"ps\" at <.Names>: Names has arguments but cannot be invoked as function",
            ),
        ] {
            assert_eq!(run(source, false), Err(message.to_owned()), "{source}");
        }
    }

    #[test]
    fn terminals_get_no_control_characters_from_documents() {
        for (source, want) in [
            ("{{.Evil}}\n", "\\x1b[31m\n"),
            ("{{upper .Evil}}{{printf \"%s\" .Evil}}", "\\X1B[31M\\x1b[31m"),
            ("{{slice .Evil 0 1}}{{print .Evil}}", "\\x1b\\x1b[31m"),
            ("{{range split .Evil \"[\"}}{{.}} {{end}}", "\\x1b 31m "),
        ] {
            let shown = run(source, true).unwrap();
            assert_eq!(shown, want, "{source}");
        }
        assert_eq!(run("{{.Evil}}", false).unwrap(), "\u{1b}[31m");
    }
}
