//! Mistakes on the command line, in the words podman uses for them.

use std::fmt;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::cli::NAME;

/// A command line that cannot be carried out. Exit code 125.
#[derive(Debug)]
pub(crate) struct UsageError {
    message: String,
    /// Further lines below `Error: …`.
    advice: Vec<String>,
}

impl UsageError {
    /// A mistake that the help would not explain better.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), advice: Vec::new() }
    }

    /// A flag that there is not.
    pub(crate) fn unknown_flag(typed: &str) -> Self {
        match (typed.strip_prefix("--"), typed.chars().nth(1)) {
            (None, Some(letter)) => Self::new(format!("unknown shorthand flag: '{letter}' in {typed}")),
            _ => Self::new(format!("unknown flag: {typed}")),
        }
    }

    /// Points to the help of `command` (empty: of the program).
    #[must_use]
    pub(crate) fn see(self, command: &str) -> Self {
        let called = if command.is_empty() { NAME.to_owned() } else { format!("{NAME} {command}") };
        self.line(format!("See '{called} --help'"))
    }

    /// Adds a line below the message.
    #[must_use]
    pub(crate) fn line(mut self, line: impl Into<String>) -> Self {
        self.advice.push(line.into());
        self
    }

    /// Is it a flag or a command that there is not?
    pub(crate) fn is_unknown_word(&self) -> bool {
        let unknown = ["unknown flag", "unknown shorthand flag", "unknown command", "unrecognized command"];
        unknown.iter().any(|beginning| self.message.starts_with(beginning))
    }

    /// The lines below `Error: …`.
    pub(crate) fn advice(&self) -> &[String] {
        &self.advice
    }

    /// Puts what clap found wrong into podman's words.
    pub(crate) fn from_clap(err: &clap::Error, command: &str) -> Self {
        let text = |kind| match err.get(kind) {
            Some(ContextValue::String(text)) => text.as_str(),
            Some(ContextValue::Strings(texts)) => texts.first().map_or("", String::as_str),
            _ => "",
        };
        let argument = text(ContextKind::InvalidArg);
        // `--name <NAME>` → `--name`, `--all[=<ALL>]` → `--all`
        let flag = argument.split(" <").next().unwrap_or(argument);
        let flag = flag.split("[=").next().unwrap_or(flag);
        let message = match err.kind() {
            ErrorKind::UnknownArgument if argument.starts_with("--") => format!("unknown flag: {flag}"),
            ErrorKind::UnknownArgument if argument.starts_with('-') => {
                format!("unknown shorthand flag: '{}' in {flag}", flag.trim_start_matches('-'))
            }
            ErrorKind::UnknownArgument | ErrorKind::TooManyValues => {
                format!("`{NAME} {command}` does not take the argument {argument:?}")
            }
            ErrorKind::MissingRequiredArgument => format!("missing argument: {}", missing(err)),
            ErrorKind::InvalidValue | ErrorKind::WrongNumberOfValues
                if text(ContextKind::InvalidValue).is_empty() =>
            {
                format!("flag needs an argument: {flag}")
            }
            ErrorKind::InvalidValue | ErrorKind::ValueValidation => invalid_value(err, flag),
            ErrorKind::ArgumentConflict => {
                let other = text(ContextKind::PriorArg);
                // Not what else a switch may be given as a value.
                let other = other.split_once("[=").map_or(other, |(name, _)| name);
                format!("{flag} and {other} cannot be used together")
            }
            _ => first_paragraph(err),
        };
        let error = match text(ContextKind::SuggestedArg) {
            "" => Self::new(message),
            suggested => Self::new(message).line(format!("hint: did you mean {suggested}?")),
        };
        error.see(command)
    }
}

/// The names of the arguments that must be there and are not.
fn missing(err: &clap::Error) -> String {
    match err.get(ContextKind::InvalidArg) {
        Some(ContextValue::Strings(names)) => {
            names.iter().map(|name| name.trim_matches(['<', '>', '.'])).collect::<Vec<_>>().join(" ")
        }
        _ => first_paragraph(err),
    }
}

/// `invalid argument "x" for "--last" flag: why`.
fn invalid_value(err: &clap::Error, flag: &str) -> String {
    let value = match err.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => value.as_str(),
        _ => "",
    };
    let why = match (std::error::Error::source(err), err.get(ContextKind::ValidValue)) {
        (Some(source), _) => source.to_string(),
        (None, Some(ContextValue::Strings(choices))) => format!("choose from: {}", choices.join(", ")),
        _ => "not a value that it takes".to_owned(),
    };
    let (flag, kind) = match flag.strip_prefix('<') {
        Some(name) => (name.trim_end_matches(['>', '.']), "argument"),
        None => (flag, "flag"),
    };
    match kind {
        "flag" => format!("invalid argument {value:?} for {flag:?} flag: {why}"),
        _ => format!("invalid {flag} {value:?}: {why}"),
    }
}

/// clap's own sentence, without its prefix.
fn first_paragraph(err: &clap::Error) -> String {
    let text = err.render().to_string();
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    paragraph.trim_start_matches("error: ").replace('\n', " ")
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for UsageError {}
