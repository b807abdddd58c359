//! `ketch compose …`: several containers as one project.

pub(crate) mod config;
pub(crate) mod lifecycle;
pub(crate) mod list;
pub(crate) mod logs;
mod open;
pub(crate) mod project;
pub(crate) mod up;
pub(crate) mod version;
pub(crate) mod within;

use std::ffi::OsString;

use crate::cli::globals::Globals;
use crate::cli::session::Exit;
use crate::cli::verbs::{self, Found};
use crate::cli::{help, run_verb};

/// Carries out what follows `compose` and the flags of the project.
///
/// # Errors
///
/// Those of the verb; words that name none.
pub(crate) fn dispatch(words: &[OsString], globals: &mut Globals) -> anyhow::Result<Exit> {
    let mut all = vec![OsString::from("compose")];
    if globals.project.version {
        all.push("version".into());
    } else {
        all.extend_from_slice(words);
    }
    match verbs::find(&all) {
        Found::Verb { verb, called, rest } => run_verb(verb, &called, rest, globals),
        Found::Help(path) => help::print(globals, &path),
        Found::Missing(group) => help::missing_command(globals, &group),
        Found::Unknown { group, word } => Err(help::unknown_command(&group, &word).into()),
    }
}
