//! The command lines that have made containers and pods, as units take them up.

use std::ffi::OsString;

use crate::cli::globals::{First, Globals};
use crate::cli::unit_text::quoted;
use crate::cli::verbs::{self, Found};

/// A command line that has made something, taken apart.
pub(super) struct Maker<'a> {
    /// The global flags, as they stand in a unit.
    pub(super) globals: Vec<String>,
    /// The verb as it was typed.
    pub(super) called: String,
    pub(super) command: clap::Command,
    /// What follows the verb.
    pub(super) rest: &'a [OsString],
}

impl<'a> Maker<'a> {
    /// Reads a whole command line. `None` if it is not of one of these verbs, or cannot stand in a unit.
    pub(super) fn of(words: &'a [OsString], paths: &[&str]) -> Option<Self> {
        let args = words.get(1..)?;
        let First::Words(behind) = Globals::default().read(args).ok()? else { return None };
        let Found::Verb { verb, called, rest } = verbs::find(behind) else { return None };
        if !paths.contains(&verb.path) {
            return None;
        }
        let globals = escaped(args.get(..args.len() - behind.len())?)?;
        let command = verb.command(&called);
        Some(Self { globals, called, command, rest })
    }
}

/// The words as they stand in a unit, if all of them can.
pub(super) fn escaped(words: &[OsString]) -> Option<Vec<String>> {
    words.iter().map(|word| quoted(word).ok()).collect()
}
