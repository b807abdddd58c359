//! From logical lines to instructions.

use crate::base::dockerfile::Dockerfile;
use crate::base::dockerfile::error::{DockerfileError, Position, nearest};
use crate::base::dockerfile::expand::unquoted;
use crate::base::dockerfile::flags::{AddFlags, CopyFlags, Flag, Flags, HealthFlags, RunFlags, RunMount};
use crate::base::dockerfile::instruction::{
    Command, From, Health, Heredoc, Instruction, Line, Run, Source, Transfer, Word,
};
use crate::base::dockerfile::lex::{Logical, lex, split_words};
use crate::base::time;

type Result<T> = std::result::Result<T, DockerfileError>;

/// Every instruction there is.
const INSTRUCTIONS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Reads a Dockerfile.
///
/// # Errors
///
/// The first mistake in it, with its place.
pub(crate) fn parse(text: &str) -> Result<Dockerfile> {
    let (directives, logical) = lex(text)?;
    let mut lines = Vec::with_capacity(logical.len());
    let mut staged = false;
    for logical in &logical {
        let line = instruction(logical, directives.escape)?;
        match line.instruction {
            Instruction::From(_) => staged = true,
            Instruction::Arg(_) => {}
            _ if !staged => {
                let word = line.shown.split(' ').next().unwrap_or_default().to_owned();
                return Err(DockerfileError::new(
                    line.at,
                    format!("no build stage in current context: {word} before FROM"),
                )
                .hint("a Dockerfile begins with FROM (only ARG may stand before it)"));
            }
            _ => {}
        }
        lines.push(line);
    }
    if !staged {
        let at = lines.last().map_or(Position { line: 1, column: 1 }, |line| line.at);
        let message = if lines.is_empty() { "file with no instructions" } else { "no FROM instruction" };
        return Err(DockerfileError::new(at, message).hint("a Dockerfile begins with FROM"));
    }
    Ok(Dockerfile { directives, lines })
}

/// Reads the instruction that an ONBUILD of a base image holds.
///
/// # Errors
///
/// If it is none.
pub(crate) fn parse_trigger(text: &str) -> Result<Line> {
    let (directives, logical) = lex(text)?;
    let [logical] = &logical[..] else {
        return Err(DockerfileError::new(Position { line: 1, column: 1 }, "a trigger is one instruction"));
    };
    let line = instruction(logical, directives.escape)?;
    refuse_in_onbuild(&line)?;
    Ok(line)
}

fn refuse_in_onbuild(line: &Line) -> Result<()> {
    let word = match line.instruction {
        Instruction::Onbuild(_) => "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
        Instruction::From(_) => "FROM isn't allowed as an ONBUILD trigger",
        Instruction::Maintainer(_) => "MAINTAINER isn't allowed as an ONBUILD trigger",
        _ => return Ok(()),
    };
    Err(DockerfileError::new(line.at, word))
}

/// What follows the keyword, while it is read.
struct Rest<'a> {
    logical: &'a Logical,
    escape: char,
    keyword: &'static str,
    /// Where the rest begins in the logical line.
    offset: usize,
}

fn instruction(logical: &Logical, escape: char) -> Result<Line> {
    let text = &logical.text;
    let start = text.len() - text.trim_start().len();
    let end = text[start..].find(char::is_whitespace).map_or(text.len(), |at| start + at);
    let at = logical.position(start);
    let typed = &text[start..end];
    let upper = typed.to_ascii_uppercase();
    let Some(keyword) = INSTRUCTIONS.iter().find(|known| **known == upper) else {
        let near = nearest(typed, &INSTRUCTIONS).map(|near| format!(" (did you mean {near}?)"));
        let message = format!("unknown instruction: {typed}{}", near.unwrap_or_default());
        return Err(DockerfileError::new(at, message));
    };
    let rest = Rest { logical, escape, keyword, offset: end };
    let body = text[end..].trim();
    let shown = if body.is_empty() { upper } else { format!("{upper} {body}") };
    let lines = (logical.first_line, logical.last_line);
    Ok(Line { instruction: rest.read()?, shown, at, lines })
}

impl Rest<'_> {
    fn text(&self) -> &str {
        &self.logical.text[self.offset..]
    }

    fn at(&self) -> Position {
        let blanks = self.text().len() - self.text().trim_start().len();
        self.logical.position(self.offset + blanks)
    }

    fn fail<T>(&self, message: impl Into<String>) -> Result<T> {
        Err(DockerfileError::new(self.at(), message))
    }

    fn words(&self) -> Vec<Word> {
        let word =
            |(offset, text): (usize, String)| Word { text, at: self.logical.position(self.offset + offset) };
        split_words(self.text(), self.escape).into_iter().map(word).collect()
    }

    /// The whole rest as one word.
    fn single(&self) -> Result<Word> {
        let text = self.text().trim();
        if text.is_empty() {
            return self.fail(format!("{} requires exactly one argument", self.keyword));
        }
        Ok(Word { text: text.to_owned(), at: self.at() })
    }

    /// Takes the options off the front.
    fn flags(&mut self) -> Flags {
        let mut found = Vec::new();
        let text = self.text().to_owned();
        let mut consumed = 0;
        for (offset, word) in split_words(&text, self.escape) {
            let Some(body) = word.strip_prefix("--") else { break };
            let at = self.logical.position(self.offset + offset);
            consumed = offset + word.len();
            if body.is_empty() {
                break;
            }
            let (name, value) = match body.split_once('=') {
                Some((name, value)) => (name, Some(Word { text: value.to_owned(), at })),
                None => (body, None),
            };
            found.push(Flag { name: name.to_owned(), value, at });
        }
        self.offset += consumed;
        Flags { found }
    }

    fn no_flags(&mut self) -> Result<()> {
        let keyword = self.keyword;
        let mut probe = Rest { logical: self.logical, escape: self.escape, keyword, offset: self.offset };
        // A command may begin with dashes of its own only where it is one.
        if matches!(
            keyword,
            "CMD" | "ENTRYPOINT" | "MAINTAINER" | "ONBUILD" | "SHELL" | "ENV" | "LABEL" | "ARG"
        ) {
            return Ok(());
        }
        probe.flags().check(keyword, &[])
    }

    /// The strings of a JSON array, if the rest is one.
    fn json(&self) -> Result<Option<Vec<String>>> {
        let text = self.text().trim();
        if !text.starts_with('[') {
            return Ok(None);
        }
        let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(text) else { return Ok(None) };
        let words: Option<Vec<String>> =
            values.iter().map(|value| value.as_str().map(str::to_owned)).collect();
        match words {
            Some(words) => Ok(Some(words)),
            None => self.fail("when using JSON array syntax, arrays must be comprised of strings only"),
        }
    }

    fn command(&self) -> Result<Command> {
        Ok(match self.json()? {
            Some(words) => Command::Exec(words),
            None => Command::Shell(self.text().trim().to_owned()),
        })
    }

    fn read(mut self) -> Result<Instruction> {
        let keyword = self.keyword;
        if !matches!(keyword, "FROM" | "RUN" | "COPY" | "ADD" | "HEALTHCHECK") {
            self.no_flags()?;
        }
        let may_be_empty = matches!(keyword, "CMD" | "ENTRYPOINT");
        if self.text().trim().is_empty() && !may_be_empty {
            return self.fail(match keyword {
                "FROM" => "FROM requires either one or three arguments".to_owned(),
                "WORKDIR" | "USER" | "STOPSIGNAL" | "MAINTAINER" => {
                    format!("{keyword} requires exactly one argument")
                }
                _ => format!("{keyword} requires at least one argument"),
            });
        }
        Ok(match keyword {
            "FROM" => Instruction::From(self.from()?),
            "ARG" => Instruction::Arg(self.args()?),
            "ENV" => Instruction::Env(self.pairs()?),
            "LABEL" => Instruction::Label(self.pairs()?),
            "RUN" => Instruction::Run(self.run()?),
            "COPY" | "ADD" => Instruction::Transfer(self.transfer()?),
            "WORKDIR" => Instruction::Workdir(self.single()?),
            "USER" => Instruction::User(self.single()?),
            "CMD" => Instruction::Cmd(self.command()?),
            "ENTRYPOINT" => Instruction::Entrypoint(self.command()?),
            "SHELL" => match self.json()? {
                Some(words) if !words.is_empty() => Instruction::Shell(words),
                _ => {
                    return Err(DockerfileError::new(
                        self.at(),
                        "SHELL requires the arguments to be in JSON form",
                    )
                    .hint("for example SHELL [\"/bin/bash\", \"-c\"]"));
                }
            },
            "EXPOSE" => Instruction::Expose(self.words()),
            "VOLUME" => match self.list()? {
                paths if paths.is_empty() => {
                    return Err(DockerfileError::new(self.at(), "VOLUME requires at least one argument"));
                }
                paths => Instruction::Volume(paths),
            },
            "STOPSIGNAL" => Instruction::StopSignal(self.one_word()?),
            "HEALTHCHECK" => Instruction::Healthcheck(self.health()?),
            "ONBUILD" => Instruction::Onbuild(self.onbuild()?),
            _ => Instruction::Maintainer(self.text().trim().to_owned()),
        })
    }

    fn one_word(&self) -> Result<Word> {
        match &self.words()[..] {
            [word] => Ok(word.clone()),
            _ => self.fail(format!("{} requires exactly one argument", self.keyword)),
        }
    }

    /// A JSON array or words.
    fn list(&self) -> Result<Vec<Word>> {
        Ok(match self.json()? {
            Some(words) => {
                let at = self.at();
                // Quotes and escapes are JSON's here; what is left means itself, but for variables.
                words.into_iter().map(|text| Word { text: quoted(&text, self.escape), at }).collect()
            }
            None => self.words(),
        })
    }

    fn from(&mut self) -> Result<From> {
        let flags = self.flags();
        flags.check("FROM", &["platform"])?;
        let mut platform = None;
        for flag in flags.found {
            platform = flag.optional()?;
        }
        let words = self.words();
        match &words[..] {
            [image] => Ok(From { image: image.clone(), platform, name: None }),
            [image, keyword, name] if keyword.text.eq_ignore_ascii_case("as") => {
                let lower = name.text.to_ascii_lowercase();
                let good = lower.starts_with(|c: char| c.is_ascii_lowercase())
                    && lower
                        .chars()
                        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c));
                if !good {
                    let message = format!(
                        "invalid name for build stage: {:?}, name can't start with a number or contain symbols",
                        name.text
                    );
                    return Err(DockerfileError::new(name.at, message));
                }
                Ok(From { image: image.clone(), platform, name: Some(lower) })
            }
            [_, other, ..] => {
                Err(DockerfileError::new(other.at, "FROM requires either one or three arguments")
                    .hint("FROM image, or FROM image AS name"))
            }
            [] => self.fail("FROM requires either one or three arguments"),
        }
    }

    fn args(&self) -> Result<Vec<(String, Option<Word>)>> {
        let mut found = Vec::new();
        for word in self.words() {
            let (name, value) = match word.text.split_once('=') {
                Some((name, value)) => {
                    let column = word.at.column + name.chars().count() + 1;
                    let at = Position { column, ..word.at };
                    (name.to_owned(), Some(Word { text: value.to_owned(), at }))
                }
                None => (word.text.clone(), None),
            };
            if name.is_empty() || name.contains(['"', '\'', '$']) {
                return Err(DockerfileError::new(word.at, "ARG names can not be blank or quoted"));
            }
            found.push((name, value));
        }
        Ok(found)
    }

    /// `key=value …`, or the old form `key rest of the line`.
    fn pairs(&self) -> Result<Vec<(Word, Word)>> {
        let words = self.words();
        let Some(first) = words.first() else {
            return self.fail(format!("{} must have two arguments", self.keyword));
        };
        if !first.text.contains('=') {
            let text = self.text().trim_start();
            let value = text[first.text.len()..].trim();
            let Some(second) = words.get(1) else {
                return Err(DockerfileError::new(
                    first.at,
                    format!("{} must have two arguments", self.keyword),
                )
                .hint(format!("write {} {}=value", self.keyword, first.text)));
            };
            return Ok(vec![(first.clone(), Word { text: value.to_owned(), at: second.at })]);
        }
        let pair = |word: Word| match word.text.split_once('=') {
            Some(("", _)) => {
                Err(DockerfileError::new(word.at, format!("{} names can not be blank", self.keyword)))
            }
            Some((key, value)) => {
                let column = word.at.column + key.chars().count() + 1;
                let value = Word { text: value.to_owned(), at: Position { column, ..word.at } };
                Ok((Word { text: key.to_owned(), at: word.at }, value))
            }
            None => {
                let why = format!(
                    "Syntax error - can't find = in {:?}. Must be of the form: name=value",
                    word.text
                );
                Err(DockerfileError::new(word.at, why).hint("put a value with blanks in quotes"))
            }
        };
        words.into_iter().map(pair).collect()
    }

    fn run(&mut self) -> Result<Run> {
        let flags = self.flags();
        flags.check("RUN", &["mount", "network", "security"])?;
        let mut found = RunFlags::default();
        for flag in flags.found {
            match flag.name.as_str() {
                "mount" => {
                    let word = flag.value()?;
                    // What holds no variable can be judged now.
                    if !word.text.contains('$') {
                        RunMount::parse(&unquoted(&word.text, self.escape))
                            .map_err(|message| DockerfileError::new(word.at, message))?;
                    }
                    found.mounts.push(word);
                }
                "network" => found.network = Some(one_of(flag, &["default", "none", "host"])?),
                _ => found.security = Some(one_of(flag, &["sandbox", "insecure"])?),
            }
        }
        if self.text().trim().is_empty() {
            return self.fail("RUN requires at least one argument");
        }
        Ok(Run { command: self.command()?, heredocs: self.logical.heredocs.clone(), flags: found })
    }

    fn transfer(&mut self) -> Result<Transfer> {
        let is_add = self.keyword == "ADD";
        let flags = self.flags();
        let known: &[&str] = if is_add {
            &["from", "chown", "chmod", "link", "exclude", "checksum", "keep-git-dir", "unpack"]
        } else {
            &["from", "chown", "chmod", "link", "parents", "exclude"]
        };
        flags.check(self.keyword, known)?;
        let (mut found, mut add) = (CopyFlags::default(), AddFlags::default());
        for flag in flags.found {
            match flag.name.as_str() {
                "from" => found.from = flag.optional()?,
                "chown" => found.chown = flag.optional()?,
                "chmod" => found.chmod = flag.optional()?,
                "link" => found.link = flag.switch()?,
                "parents" => found.parents = flag.switch()?,
                "exclude" => found.exclude.push(flag.value()?),
                "checksum" => add.checksum = Some(flag.value()?),
                "keep-git-dir" => add.keep_git_dir = flag.switch()?,
                _ => add.unpack = Some(flag.switch()?),
            }
        }
        let mut words = self.list()?;
        let (Some(target), false) = (words.pop(), words.is_empty()) else {
            return self.fail(format!(
                "{} requires at least two arguments, but only one was provided. Destination could not be determined",
                self.keyword
            ));
        };
        let mut heredocs = self.logical.heredocs.iter();
        let source =
            |word: Word| match word.text.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with("<<") {
                true => {
                    heredocs.next().map_or(Source::Path(word), |doc: &Heredoc| Source::Heredoc(doc.clone()))
                }
                false => Source::Path(word),
            };
        let sources: Vec<Source> = words.into_iter().map(source).collect();
        Ok(Transfer { sources, target, flags: found, add: is_add.then_some(add) })
    }

    fn health(&mut self) -> Result<Health> {
        let flags = self.flags();
        flags.check("HEALTHCHECK", &["interval", "timeout", "start-period", "start-interval", "retries"])?;
        let mut found = HealthFlags::default();
        for flag in flags.found {
            let (name, word) = (flag.name.clone(), flag.value()?);
            let bad = |why: String| DockerfileError::new(word.at, format!("--{name}: {why}"));
            if name == "retries" {
                found.retries = word
                    .text
                    .parse()
                    .ok()
                    .filter(|n| *n >= 0)
                    .ok_or_else(|| bad(format!("{:?} is no number of retries", word.text)))?;
                continue;
            }
            let duration = time::parse_duration(&word.text).map_err(|err| bad(err.to_string()))?;
            let nanoseconds = i64::try_from(duration.as_nanos()).map_err(|_| bad("too long".to_owned()))?;
            if nanoseconds != 0 && nanoseconds < 1_000_000 {
                return Err(bad("must be at least 1ms, or 0 for the default".to_owned()));
            }
            match name.as_str() {
                "interval" => found.interval = nanoseconds,
                "timeout" => found.timeout = nanoseconds,
                "start-period" => found.start_period = nanoseconds,
                _ => found.start_interval = nanoseconds,
            }
        }
        let text = self.text();
        let start = text.len() - text.trim_start().len();
        let end = text[start..].find(char::is_whitespace).map_or(text.len(), |at| start + at);
        let (word, at) = (text[start..end].to_owned(), self.at());
        self.offset += end;
        match word.to_ascii_uppercase().as_str() {
            "NONE" if self.text().trim().is_empty() => Ok(Health::None),
            "NONE" => self.fail("HEALTHCHECK NONE takes no arguments"),
            "CMD" if self.text().trim().is_empty() => self.fail("Missing command after HEALTHCHECK CMD"),
            "CMD" => Ok(Health::Check { command: self.command()?, flags: found }),
            _ => Err(DockerfileError::new(at, format!("Unknown type {word:?} in HEALTHCHECK (try CMD)"))
                .hint("write HEALTHCHECK CMD command, or HEALTHCHECK NONE")),
        }
    }

    fn onbuild(&self) -> Result<String> {
        let mut text = self.text().trim().to_owned();
        let inner = Logical::of(&text);
        let mut check = inner;
        check.heredocs.clone_from(&self.logical.heredocs);
        let line = instruction(&check, self.escape).map_err(|err| {
            // Its places count from the trigger's own beginning.
            let at = self.logical.position(
                self.offset + (self.text().len() - self.text().trim_start().len()) + err.at.column - 1,
            );
            DockerfileError { at, ..err }
        })?;
        refuse_in_onbuild(&line).map_err(|err| DockerfileError { at: self.at(), ..err })?;
        for doc in &self.logical.heredocs {
            text.push_str(&format!("\n{}{}", doc.content, doc.name));
        }
        Ok(text)
    }
}

/// A flag's value, which must be one of `known` unless a variable decides.
fn one_of(flag: Flag, known: &[&str]) -> Result<Word> {
    let name = flag.name.clone();
    let word = flag.value()?;
    if word.text.contains('$') || known.contains(&word.text.as_str()) {
        return Ok(word);
    }
    Err(DockerfileError::new(word.at, format!("invalid value {:?} for --{name}", word.text))
        .hint(format!("choose from {}", known.join(", "))))
}

/// A text in which quotes, blanks and escapes mean themselves and variables still are variables.
fn quoted(text: &str, escape: char) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c == escape || c == '"' || c == '\'' {
            out.push(escape);
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
