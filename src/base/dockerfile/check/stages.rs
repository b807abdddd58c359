//! The instructions of each stage, with the variables that it has there.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::dockerfile::check::bases::expand;
use crate::base::dockerfile::check::{Around, Remarks, Stage, rules, word_at};
use crate::base::dockerfile::error::nearest;
use crate::base::dockerfile::ignore::Ignore;
use crate::base::dockerfile::instruction::{Command, Instruction, Line, Source, Transfer, Word};

/// Words that make a variable's name look like that of a secret, and those that say it is none.
const SECRETS: [&str; 10] =
    ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];
const NO_SECRETS: [&str; 3] = ["public", "file", "version"];

/// What a stage has at a line.
#[derive(Clone, Default)]
struct State {
    env: BTreeMap<String, String>,
    /// ARGs, with or without a value.
    args: BTreeSet<String>,
    /// Nobody knows what the base image has.
    open: bool,
    has_shell: bool,
    has_directory: bool,
}

/// What all stages share.
struct Walk<'a, 'r, 'o> {
    raw: &'a [&'a str],
    escape: char,
    globals: &'a BTreeMap<String, String>,
    around: &'a Around<'a>,
    ignore: Ignore,
    remarks: &'r mut Remarks<'o>,
}

/// Looks at the stages, each after the one that it goes on from.
pub(super) fn check(
    stages: &[Stage<'_>],
    raw: &[&str],
    escape: char,
    globals: &BTreeMap<String, String>,
    around: &Around<'_>,
    remarks: &mut Remarks<'_>,
) {
    let ignore = Ignore::parse(around.ignore).unwrap_or_default();
    let mut walk = Walk { raw, escape, globals, around, ignore, remarks };
    let mut done: Vec<(Option<&str>, State)> = Vec::new();
    for (number, stage) in stages.iter().enumerate() {
        let image = expand(&stage.from.image, escape, &|name| globals.get(name).cloned());
        let image = image.map(|expanded| expanded.text).unwrap_or_default();
        let lower = image.to_ascii_lowercase();
        let parent = done.iter().rev().find(|(name, _)| *name == Some(lower.as_str()));
        let mut state = match parent {
            Some((_, state)) => state.clone(),
            None => of_image(&image, around),
        };
        if around.needed.is_none_or(|needed| needed.contains(&number)) {
            walk.stage(stage, &mut state);
        }
        done.push((stage.from.name.as_deref(), state));
    }
}

fn of_image(image: &str, around: &Around<'_>) -> State {
    let facts = if image == "scratch" { Some(super::BaseFacts::default()) } else { (around.base)(image) };
    let mut state = State { open: facts.is_none(), ..State::default() };
    let facts = facts.unwrap_or_default();
    state.has_shell = facts.has_shell;
    state.env.insert("PATH".to_owned(), String::new());
    for entry in facts.env {
        let (name, value) = entry.split_once('=').unwrap_or((&entry, ""));
        state.env.insert(name.to_owned(), value.to_owned());
    }
    state
}

impl Walk<'_, '_, '_> {
    fn stage(&mut self, stage: &Stage<'_>, state: &mut State) {
        // Where the last CMD, ENTRYPOINT and HEALTHCHECK are.
        let mut once: [Option<&Line>; 3] = [None; 3];
        for &line in &stage.lines {
            for word in words(&line.instruction) {
                self.word(line, word, state);
            }
            let typed = word_at(self.raw, line.at);
            let place = match &line.instruction {
                Instruction::Cmd(_) => Some(0),
                Instruction::Entrypoint(_) => Some(1),
                Instruction::Healthcheck(_) => Some(2),
                _ => None,
            };
            if let Some(place) = place
                && let Some(former) = once[place].replace(line)
            {
                let message = format!(
                    "Multiple {typed} instructions should not be used in the same stage because only the last one will be used"
                );
                self.remarks.add(&rules::MULTIPLE_INSTRUCTIONS_DISALLOWED, former.lines, message);
            }
            self.instruction(line, typed, state);
        }
    }

    /// Variables of a word that nobody has set.
    fn word(&mut self, line: &Line, word: &Word, state: &State) {
        let Some(expanded) = expand(word, self.escape, &|name| state.env.get(name).cloned()) else { return };
        if state.open {
            return;
        }
        let names: Vec<&str> = state.env.keys().map(String::as_str).collect();
        for name in expanded.unset.iter().filter(|name| !state.args.contains(*name)) {
            let meant =
                nearest(name, &names).map(|near| format!(" (did you mean ${near}?)")).unwrap_or_default();
            let message = format!("Usage of undefined variable '${name}'{meant}");
            self.remarks.add(&rules::UNDEFINED_VAR, line.lines, message);
        }
    }

    fn value(&self, word: &Word, state: &State) -> Option<String> {
        expand(word, self.escape, &|name| state.env.get(name).cloned()).map(|expanded| expanded.text)
    }

    fn instruction(&mut self, line: &Line, typed: &str, state: &mut State) {
        match &line.instruction {
            Instruction::Env(pairs) => {
                self.legacy_form(line, typed, pairs);
                let values: Vec<_> = pairs
                    .iter()
                    .map(|(key, value)| (self.value(key, state), self.value(value, state)))
                    .collect();
                for (key, value) in values {
                    let key = key.unwrap_or_default();
                    self.secret(line, "ENV", &key);
                    state.env.insert(key, value.unwrap_or_default());
                }
            }
            Instruction::Label(pairs) => self.legacy_form(line, typed, pairs),
            Instruction::Arg(args) => {
                for (name, default) in args {
                    self.secret(line, "ARG", name);
                    self.declare(line, name, default.as_ref(), state);
                }
            }
            Instruction::Workdir(path) => {
                let path = self.value(path, state).unwrap_or_else(|| "/".to_owned());
                if !state.has_directory && !path.starts_with('/') {
                    let message = format!(
                        "Relative workdir {path:?} can have unexpected results if the base image changes"
                    );
                    self.remarks.add(&rules::WORKDIR_RELATIVE_PATH, line.lines, message);
                }
                state.has_directory = true;
            }
            Instruction::Shell(_) => state.has_shell = true,
            Instruction::Cmd(Command::Shell(_)) | Instruction::Entrypoint(Command::Shell(_))
                if !state.has_shell =>
            {
                let message = format!(
                    "JSON arguments recommended for {typed} to prevent unintended behavior related to OS signals"
                );
                self.remarks.add(&rules::JSON_ARGS_RECOMMENDED, line.lines, message);
            }
            Instruction::Expose(ports) => ports.iter().for_each(|port| self.port(line, port, state)),
            Instruction::Transfer(transfer) if transfer.flags.from.is_none() => {
                self.ignored(line, transfer, state);
            }
            _ => {}
        }
    }

    fn declare(&mut self, line: &Line, name: &str, default: Option<&Word>, state: &mut State) {
        let value = match (self.around.args.get(name), default) {
            (Some(given), _) => Some(given.clone()),
            (None, Some(word)) => {
                self.word(line, word, state);
                self.value(word, state)
            }
            (None, None) => self.globals.get(name).cloned(),
        };
        if let Some(value) = value {
            state.env.insert(name.to_owned(), value);
        }
        state.args.insert(name.to_owned());
    }

    /// `ENV name value`.
    fn legacy_form(&mut self, line: &Line, typed: &str, pairs: &[(Word, Word)]) {
        // A key in quotes may hold blanks.
        let rest = line.shown.split_once(char::is_whitespace).map_or("", |(_, rest)| rest.trim_start());
        let key = pairs.first().map_or("", |(key, _)| key.text.as_str());
        if rest.strip_prefix(key).is_some_and(|rest| !rest.starts_with('=')) {
            let message = format!(
                "\"{typed} key=value\" should be used instead of legacy \"{typed} key value\" format"
            );
            self.remarks.add(&rules::LEGACY_KEY_VALUE_FORMAT, line.lines, message);
        }
    }

    fn secret(&mut self, line: &Line, keyword: &str, name: &str) {
        if looks_secret(name) {
            let message =
                format!("Do not use ARG or ENV instructions for sensitive data ({keyword} {name:?})");
            self.remarks.add(&rules::SECRETS_USED_IN_ARG_OR_ENV, line.lines, message);
        }
    }

    fn port(&mut self, line: &Line, port: &Word, state: &State) {
        for port in self.value(port, state).unwrap_or_default().split_whitespace() {
            if port.contains(':') {
                let message = format!(
                    "EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'"
                );
                self.remarks.add(&rules::EXPOSE_INVALID_FORMAT, line.lines, message);
            }
            let protocol = port.split_once('/').map(|(_, protocol)| protocol).unwrap_or_default();
            if protocol.contains(|c: char| c.is_ascii_uppercase()) {
                let message = format!("Defined protocol '{port}' in EXPOSE instruction should be lowercase");
                self.remarks.add(&rules::EXPOSE_PROTO_CASING, line.lines, message);
            }
        }
    }

    /// Sources that the ignore file leaves out. Where it takes something back, nobody can say from names alone.
    fn ignored(&mut self, line: &Line, transfer: &Transfer, state: &State) {
        if self.ignore.is_empty() || self.ignore.takes_back() {
            return;
        }
        let verb = if transfer.add.is_some() { "Add" } else { "Copy" };
        for source in &transfer.sources {
            let Source::Path(word) = source else { continue };
            let path = self.value(word, state).unwrap_or_default();
            let path = path.trim_start_matches("./").trim_matches('/');
            if !path.is_empty()
                && path != "."
                && !path.contains("://")
                && self.ignore.excludes(path.as_bytes())
            {
                let message = format!("Attempting to {verb} file {path:?} that is excluded by .dockerignore");
                self.remarks.add(&rules::COPY_IGNORED_FILE, line.lines, message);
            }
        }
    }
}

fn looks_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let has = |words: &[&str]| name.split('_').any(|part| words.contains(&part));
    has(&SECRETS) && !has(&NO_SECRETS)
}

/// The words of an instruction that variables are put into (the defaults of ARG, one after the other, apart).
fn words(instruction: &Instruction) -> Vec<&Word> {
    match instruction {
        Instruction::Env(pairs) | Instruction::Label(pairs) => {
            pairs.iter().flat_map(|(key, value)| [key, value]).collect()
        }
        Instruction::Workdir(word) | Instruction::User(word) | Instruction::StopSignal(word) => vec![word],
        Instruction::Expose(words) | Instruction::Volume(words) => words.iter().collect(),
        Instruction::Run(run) => run.flags.mounts.iter().collect(),
        Instruction::Transfer(transfer) => {
            let paths = transfer.sources.iter().filter_map(|source| match source {
                Source::Path(word) => Some(word),
                Source::Heredoc(_) => None,
            });
            let flags =
                transfer.flags.chown.iter().chain(&transfer.flags.chmod).chain(&transfer.flags.exclude);
            let checksum = transfer.add.iter().flat_map(|add| &add.checksum);
            paths.chain([&transfer.target]).chain(flags).chain(checksum).collect()
        }
        _ => vec![],
    }
}
