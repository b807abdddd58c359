//! `ketch compose …`: several containers as one project.

mod attend;
mod bake;
pub(crate) mod build;
pub(crate) mod config;
pub(crate) mod down;
mod follow;
mod getter;
pub(crate) mod lifecycle;
pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod look;
mod open;
pub(crate) mod project;
pub(crate) mod publish;
pub(crate) mod take;
pub(crate) mod up;
pub(crate) mod version;
pub(crate) mod volumes;
pub(crate) mod watch;
pub(crate) mod within;

use std::ffi::OsString;

use crate::cli::error::{self, AlreadyReported};
use crate::cli::globals::Globals;
use crate::cli::session::Exit;
use crate::cli::usage::UsageError;
use crate::cli::verbs::{self, Found};
use crate::cli::{help, run_verb};
use crate::compose::images::PullFailed;
use crate::sys::signal;

/// The name of links to ketch by which it is docker compose: the program, and the docker command's plugin.
const NAME: &str = "docker-compose";

/// The command line as if it had begun with `ketch compose`, if the program was called by that name. The
/// docker command calls its plugin with the plugin's name, and first asks what it is.
pub(crate) fn called_by_name(mut args: Vec<OsString>) -> Vec<OsString> {
    let program = args.first().and_then(|path| std::path::Path::new(path).file_name());
    if program.is_none_or(|name| name != NAME) {
        return args;
    }
    match args.get(1).and_then(|word| word.to_str()) {
        Some("--stage" | "compose") => {}
        Some("docker-cli-plugin-metadata") => {
            args.splice(1..2, ["compose".into(), "version".into(), "--plugin".into()]).for_each(drop);
        }
        _ => args.insert(1, "compose".into()),
    }
    args
}

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
    // Until a verb takes its signals itself: docker compose's exit code for what was cancelled.
    signal::end_when_cancelled().ok();
    let done = match verbs::find(&all) {
        Found::Verb { verb, called, rest } => run_verb(verb, &called, rest, globals),
        Found::Help(path) => help::print(globals, &path),
        Found::Missing(_) if words.is_empty() => help::print(globals, &["compose".to_owned()]),
        Found::Missing(group) => help::missing_command(globals, &group),
        Found::Unknown { group, word } => Err(help::unknown_command(&group, &word).into()),
    };
    done.map_err(|err| AlreadyReported { code: exit_code(&err, globals) }.into())
}

/// Tells of a failure of `compose`, and answers docker compose's exit code for it.
pub(crate) fn exit_code(err: &anyhow::Error, globals: &Globals) -> u8 {
    let is_unknown = err.downcast_ref::<UsageError>().is_some_and(UsageError::is_unknown_word);
    if err.chain().any(|cause| cause.is::<build::BuildFailed>()) {
        return project::BUILD_FAILED;
    }
    let is_pull = err.chain().any(|cause| cause.is::<PullFailed>());
    let is_commands_own = globals.verb == "compose run" || globals.verb == "compose exec";
    match error::report(err, globals) {
        _ if is_pull => project::PULL_FAILED,
        126 | 127 if !is_commands_own => project::GENERAL,
        _ if is_unknown => project::UNKNOWN_WORD,
        error::FAILED => project::GENERAL,
        code => code,
    }
}
