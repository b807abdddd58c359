//! Help, completion and "did you mean": all that needs the whole tree of verbs.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::process::ExitCode;

use clap::{Arg, ArgAction, Command};
use clap_complete::CompletionCandidate;
use clap_complete::engine::{ArgValueCompleter, PathCompleter, ValueCompleter};

use crate::cli::error::FAILED;
use crate::cli::globals::{self, Globals};
use crate::cli::session::{Exit, Session};
use crate::cli::usage::UsageError;
use crate::cli::verbs::{self, GROUPS, VERBS};
use crate::cli::{NAME, version};
use crate::engine::Engine;
use crate::engine::config::Config;

/// The environment variable by which a shell asks for completions.
const COMPLETE: &str = "_KETCH_COMPLETE";

/// The definition of the whole command line.
pub(crate) fn tree() -> Command {
    let groups = GROUPS.iter().filter(|(group, _)| verbs::is_group(group)).map(|(group, about)| {
        let members = VERBS.iter().filter(|verb| verb.group() == *group);
        Command::new(*group)
            .about(*about)
            .subcommand_required(true)
            .subcommands(members.map(verbs::Verb::definition))
    });
    let top = VERBS.iter().filter(|verb| verb.group().is_empty()).map(verbs::Verb::definition);
    let mut all: Vec<Command> = top.chain(groups).collect();
    all.sort_by(|a, b| a.get_name().cmp(b.get_name()));
    Command::new(NAME)
        .bin_name(NAME)
        .about("Run containers from images, without a daemon and without root")
        .version(version::VERSION)
        .disable_version_flag(true)
        .arg(
            Arg::new("version")
                .short('v')
                .long("version")
                .action(ArgAction::Version)
                .help("Print the version"),
        )
        .args(globals::definitions())
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommands(all)
}

/// Prints the help page of the command that `path` names; of ketch itself if it is empty.
pub(crate) fn print(globals: &Globals, path: &[String]) -> anyhow::Result<Exit> {
    let mut tree = tree();
    tree.build();
    let mut command = &mut tree;
    let mut group = String::new();
    for word in path {
        let Some(next) = command.find_subcommand_mut(word) else {
            return Err(unknown_command(&group, word).into());
        };
        command = next;
        group.push_str(word);
    }
    let text = command.render_long_help().to_string();
    print_text(globals, &text)
}

/// Prints a page.
pub(crate) fn print_text(globals: &Globals, text: &str) -> anyhow::Result<Exit> {
    let mut session = Session::new(globals, true);
    session.out.write_all(text.as_bytes())?;
    session.finish()?;
    Ok(Exit::OK)
}

/// The answer to `ketch` or `ketch container` alone: the help page, and a failure.
pub(crate) fn missing_command(globals: &Globals, group: &str) -> anyhow::Result<Exit> {
    let path: Vec<String> = if group.is_empty() { vec![] } else { vec![group.to_owned()] };
    print(globals, &path)?;
    let called = [NAME, group, "COMMAND"].into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>();
    Err(UsageError::new(format!("missing command '{}'", called.join(" "))).into())
}

/// The answer to a word that is no command, with those it may have been meant to be.
pub(crate) fn unknown_command(group: &str, word: &str) -> UsageError {
    let prefix = if group.is_empty() { String::new() } else { format!("{group} ") };
    let mut error = UsageError::new(format!("unrecognized command `{NAME} {prefix}{word}`"));
    let similar = similar(group, word);
    if !similar.is_empty() {
        error = error.line("").line("Did you mean this?");
        error = similar.iter().fold(error, |error, name| error.line(format!("\t{name}"))).line("");
    }
    error.line(format!("Try '{NAME} {prefix}--help' for more information"))
}

/// Names in `group` that `word` begins or is at most two edits away from.
fn similar(group: &str, word: &str) -> Vec<&'static str> {
    let members = VERBS.iter().filter(|verb| verb.group() == group).map(verbs::Verb::name);
    let groups =
        GROUPS.iter().map(|(name, _)| *name).filter(|name| group.is_empty() && verbs::is_group(name));
    let mut names: Vec<_> =
        members.chain(groups).filter(|name| name.starts_with(word) || edits(name, word) <= 2).collect();
    names.sort_unstable_by_key(|name| (edits(name, word), *name));
    names
}

/// How many insertions, deletions and substitutions turn one word into the other (Levenshtein).
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// Answers a shell that asks for completions; `None` if none does.
pub(crate) fn complete(args: &[OsString]) -> Option<ExitCode> {
    std::env::var_os(COMPLETE)?;
    let engine = clap_complete::CompleteEnv::with_factory(completing_tree).var(COMPLETE).bin(NAME);
    match engine.try_complete(args, None) {
        Ok(true) => Some(ExitCode::SUCCESS),
        Ok(false) => None,
        Err(err) => {
            err.print().ok();
            Some(ExitCode::from(FAILED))
        }
    }
}

/// The tree with what knows the names in the store.
fn completing_tree() -> Command {
    fn with_names(command: Command) -> Command {
        command.mut_args(knows_names).mut_subcommands(with_names)
    }
    with_names(tree())
}

/// Makes an argument that names a container, an image, a volume, a network or a secret complete to those that there are.
/// The name of its value says which: `CONTAINER`, `CONTAINER|IMAGE`, `CONTAINER COMMAND`, `[CONTAINER:]SOURCE`.
fn knows_names(arg: Arg) -> Arg {
    let says = arg.get_value_names().unwrap_or_default().iter().map(ToString::to_string);
    let says = says.collect::<Vec<_>>().join("|");
    let words: Vec<&str> = says.split(['|', ' ']).collect();
    let is = |word: &str| words.contains(&word);
    let is_path = is("[CONTAINER:]SOURCE") || is("[CONTAINER:]TARGET");
    let kinds: Vec<KnownNames> = [
        (is("CONTAINER") || is("OBJECT"), container_names as KnownNames),
        (is_path, container_roots),
        (is("IMAGE") || is("OBJECT"), image_names),
        (is("VOLUME"), volume_names),
        (is("NETWORK"), network_names),
        (is("SECRET"), secret_names),
    ]
    .into_iter()
    .filter_map(|(is_meant, names)| is_meant.then_some(names))
    .collect();
    match kinds.is_empty() {
        true => arg,
        false => arg.add(ArgValueCompleter::new(Names { kinds, is_path, first_only: says.contains(' ') })),
    }
}

/// The names of one kind that begin as what was typed.
type KnownNames = fn(&str) -> Vec<String>;

/// Completes to names of the store.
struct Names {
    kinds: Vec<KnownNames>,
    /// Files are meant, too.
    is_path: bool,
    /// What follows the first value is something else.
    first_only: bool,
}

impl ValueCompleter for Names {
    fn complete(&self, current: &OsStr) -> Vec<CompletionCandidate> {
        let typed = current.to_string_lossy();
        let names = self.kinds.iter().flat_map(|names| names(&typed));
        let mut found: Vec<_> =
            names.filter(|name| name.starts_with(&*typed)).map(CompletionCandidate::new).collect();
        if self.is_path {
            found.extend(PathCompleter::any().complete(current));
        }
        found
    }

    fn complete_at(&self, index: usize, current: &OsStr) -> Vec<CompletionCandidate> {
        match self.first_only && index > 0 {
            true => PathCompleter::any().complete(current),
            false => self.complete(current),
        }
    }
}

/// The store, unless there is none: a press of a key must not make one.
fn present_store() -> Option<Engine> {
    let config = Config::default();
    config.data_root().ok().filter(|root| root.join("format").exists())?;
    Engine::open(&config, |_| {}).ok()
}

fn container_names(_: &str) -> Vec<String> {
    let names = present_store().and_then(|engine| engine.store().names().list().ok()).unwrap_or_default();
    names.into_iter().map(|(name, _)| name).collect()
}

fn container_roots(typed: &str) -> Vec<String> {
    container_names(typed).into_iter().map(|name| name + ":").collect()
}

/// Images by their whole names, or from behind the part that was left out: `bb:latest`.
fn image_names(typed: &str) -> Vec<String> {
    let refs = present_store().and_then(|engine| engine.store().refs().list().ok()).unwrap_or_default();
    let as_typed = |name: String| {
        let ends = name.match_indices('/').map(|(at, _)| at + 1);
        let found = std::iter::once(0).chain(ends).find(|start| name[*start..].starts_with(typed));
        found.map(|start| name[start..].to_owned())
    };
    refs.items.into_iter().filter_map(|known| as_typed(known.name.to_string())).collect()
}

fn volume_names(_: &str) -> Vec<String> {
    let volumes = present_store().and_then(|engine| engine.store().volumes().list().ok()).unwrap_or_default();
    volumes.items.into_iter().map(|volume| volume.name).collect()
}

fn network_names(_: &str) -> Vec<String> {
    let root = present_store().map(|engine| engine.store().root().join("networks"));
    let files = root.and_then(|root| std::fs::read_dir(root).ok()).into_iter().flatten().flatten();
    let name = |file: std::fs::DirEntry| Some(file.file_name().to_str()?.strip_suffix(".json")?.to_owned());
    files.filter_map(name).collect()
}

fn secret_names(_: &str) -> Vec<String> {
    let found = present_store().and_then(|engine| engine.store().secrets().list().ok()).unwrap_or_default();
    found.items.into_iter().map(|secret| secret.name).collect()
}

/// The script that makes `shell` ask [`complete`].
///
/// # Errors
///
/// If there is no such shell among those known.
pub(crate) fn registration(shell: &str) -> anyhow::Result<Vec<u8>> {
    let shells = clap_complete::env::Shells::builtins();
    let completer = shells.completer(shell).ok_or_else(|| {
        let known: Vec<_> = shells.names().collect();
        UsageError::new(format!("shell {shell:?} is not known; choose from: {}", known.join(", ")))
    })?;
    let mut script = Vec::new();
    completer.write_registration(COMPLETE, NAME, NAME, NAME, &mut script)?;
    Ok(script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_between_words() {
        for (a, b, want) in
            [("", "", 0), ("run", "rnu", 2), ("run", "run", 0), ("ps", "pull", 3), ("a", "", 1)]
        {
            assert_eq!(edits(a, b), want, "{a} {b}");
        }
    }

    #[test]
    fn tree_is_sound() {
        tree().debug_assert();
    }
}
