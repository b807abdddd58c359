//! The one place where a failure is printed and an exit code is chosen.

pub(crate) mod dockers;
mod use_lines;

use std::io::{self, IsTerminal, Write};

use crate::base::escape::Escaped;
use crate::cli::globals::{Globals, LogLevel};
use crate::cli::usage::UsageError;
use crate::engine::{self, Kind};

/// The exit code for "ketch itself failed", as opposed to the container's command.
pub(crate) const FAILED: u8 = 125;

/// A failure that its command has told the user about already.
#[derive(Debug, thiserror::Error)]
#[error("already reported")]
pub(crate) struct AlreadyReported {
    /// The exit code.
    pub(crate) code: u8,
}

/// A failure of the engine with an exit code of its own.
#[derive(Debug)]
pub(crate) struct Coded {
    pub(crate) code: u8,
    pub(crate) error: engine::Error,
}

impl std::fmt::Display for Coded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Coded {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

/// The engine's error that a failure is, if it is one.
pub(crate) fn of_engine<'a>(err: &'a (dyn std::error::Error + 'static)) -> Option<&'a engine::Error> {
    err.downcast_ref::<engine::Error>().or_else(|| Some(&err.downcast_ref::<Coded>()?.error))
}

/// The engine's error that is anywhere among the causes.
fn of_engine_anywhere(err: &anyhow::Error) -> Option<&engine::Error> {
    err.chain().find_map(of_engine)
}

/// Tells the user about a failure; returns the exit code for it.
pub(crate) fn report(err: &anyhow::Error, globals: &Globals) -> u8 {
    if let Some(reported) = err.downcast_ref::<AlreadyReported>() {
        return reported.code;
    }
    if lost_reader(err) {
        // 128 + SIGPIPE: what the shell would have shown.
        return 141;
    }
    let message = plain(&format!("{err:#}"));
    let is_dockers = crate::cli::called_docker(globals);
    let usage = err.downcast_ref::<UsageError>();
    let number = usage.filter(|_| is_dockers).and_then(|usage| dockers::number(globals.verb, usage));
    let message = match is_dockers {
        true if number.is_some() => number.clone().unwrap_or_default(),
        true => {
            let (worded, is_reworded) = dockers::worded(globals.verb, &message);
            let err = of_engine_anywhere(err);
            format!("{}{worded}", dockers::beginning(globals.verb, err, &worded, is_reworded))
        }
        false if globals.called.is_docker() => match dockers::worded(globals.verb, &message) {
            (worded, true) if usage.is_none() => format!("Error response from daemon: {worded}"),
            _ => message,
        },
        false => format!("Error: {message}"),
    };
    let named = |text: &str| shown(&globals.called.in_its_name(text));
    let mut text = format!("{}\n", named(&message));
    if globals.log_level >= LogLevel::Debug {
        for cause in err.chain() {
            text.push_str(&format!("debug: {}\n", shown(&cause.to_string())));
        }
    }
    if let Some(hint) = err.chain().find_map(|e| of_engine(e)?.hint.as_deref()) {
        text.push_str(&format!("hint: {}\n", named(hint)));
    }
    if is_dockers && usage.is_none() {
        if dockers::is_of_flags(&message) {
            text.push_str(&named(&dockers::usage(globals.verb, &message)));
        } else if message.starts_with("docker: ") {
            let verb = globals.verb.trim_start_matches("container ");
            text.push_str(&format!("\nRun '{} {verb} --help' for more information\n", globals.called.name()));
        }
    }
    if let Some(message) = &number {
        text.push_str(&named(&dockers::usage(globals.verb, message)));
    }
    if let Some(usage) = usage.filter(|_| !message.contains("Error response from daemon: ")) {
        for line in usage.advice() {
            let page = line.strip_prefix("See ").or_else(|| line.strip_prefix("Try "));
            let line = match page.filter(|_| is_dockers) {
                Some(_) if number.is_some() => continue,
                // Of the verb, or of the program.
                Some(page) if globals.verb.is_empty() || !page.contains(globals.verb) => {
                    format!("\nRun {} for more information\n", page.trim_end_matches(" for more information"))
                }
                Some(_) => dockers::usage(globals.verb, &message),
                None => format!("{line}\n"),
            };
            text.push_str(&named(&line));
        }
    }
    // With standard error closed there is nobody left to tell.
    io::stderr().write_all(text.as_bytes()).ok();
    exit_code(err)
}

/// A message with the system's errors as podman and docker word them, which is what scripts look for:
/// `no such file or directory`, not `No such file or directory (os error 2)`.
fn plain(message: &str) -> String {
    const NUMBER: &str = " (os error ";
    let mut text = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(at) = rest.find(NUMBER) {
        let (before, after) = rest.split_at(at);
        let digits = after[NUMBER.len()..].find(|c: char| !c.is_ascii_digit()).map(|end| NUMBER.len() + end);
        let Some(end) = digits.filter(|end| after[*end..].starts_with(')')) else { break };
        let start = before.rfind(": ").map_or(0, |colon| colon + 2);
        let (context, words) = before.split_at(start);
        text.push_str(context);
        let mut letters = words.chars();
        // Not of what is written in capitals, as in "RPC struct is bad".
        let is_word = words.chars().nth(1).is_some_and(|c| c.is_lowercase() || c == ' ');
        match letters.next() {
            Some(first) if is_word => text.extend(first.to_lowercase()),
            first => text.extend(first),
        }
        text.push_str(letters.as_str());
        rest = &after[end + 1..];
    }
    text + rest
}

/// Maps a failure to Docker's exit codes: 125 ketch failed, 126 and 127 the command could not run.
pub(crate) fn exit_code(err: &anyhow::Error) -> u8 {
    if let Some(coded) = err.downcast_ref::<Coded>() {
        return coded.code;
    }
    match err.downcast_ref::<engine::Error>().map(|e| e.kind) {
        Some(Kind::NotExecutable) => 126,
        Some(Kind::CommandNotFound) => 127,
        // As podman, which ends before it knows what is to be done.
        Some(Kind::Misconfigured) => 1,
        _ => FAILED,
    }
}

/// The exit code of `rm`, `rmi` and their like: 1 for what is not there, 2 for what is in use.
pub(crate) fn removal_exit_code(err: &engine::Error) -> u8 {
    match err.kind {
        Kind::NotFound => 1,
        Kind::Conflict => 2,
        _ => FAILED,
    }
}

/// A text for standard error: escaped if that is a terminal.
pub(crate) fn shown(text: &str) -> String {
    if io::stderr().is_terminal() { Escaped(text).to_string() } else { text.to_owned() }
}

/// What an engine's use case has failed with that prints as it goes: that its reader left is no failure of the engine.
pub(crate) fn of_printing(err: engine::Error) -> anyhow::Error {
    let cause = err.source.as_deref().and_then(|source| source.downcast_ref::<io::Error>());
    match cause.map(io::Error::kind) {
        Some(kind @ io::ErrorKind::BrokenPipe) => io::Error::from(kind).into(),
        _ => err.into(),
    }
}

/// True if standard output was closed by its reader. (Only printing yields a bare `io::Error`.)
fn lost_reader(err: &anyhow::Error) -> bool {
    err.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_system_read_as_elsewhere() {
        for (message, want) in [
            ("open /x: No such file or directory (os error 2)", "open /x: no such file or directory"),
            ("Is a directory (os error 21)", "is a directory"),
            ("a: File exists (os error 17): b", "a: file exists: b"),
            ("a: RPC struct is bad (os error 72)", "a: RPC struct is bad"),
            ("a: one (os error 1): B two (os error 2)", "a: one: b two"),
            ("named (os error x)", "named (os error x)"),
            ("named (os error 5", "named (os error 5"),
        ] {
            assert_eq!(plain(message), want);
        }
    }
}
