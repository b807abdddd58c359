//! Help and "did you mean": what needs the whole tree of verbs.

use std::io::Write;

use clap::{Arg, ArgAction, Command};

use crate::base::order::InOrder as _;
use crate::base::version::VERSION;
use crate::cli::NAME;
use crate::cli::globals::{self, Globals};
use crate::cli::session::{Exit, Session};
use crate::cli::usage::UsageError;
use crate::cli::verbs::{self, GROUPS, VERBS};

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
    all.order_by(|a, b| a.get_name().cmp(b.get_name()));
    Command::new(NAME)
        .bin_name(NAME)
        .about("Run containers from images, without a daemon and without root")
        .version(VERSION)
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
    print_text(globals, &page(path)?)
}

fn page(path: &[String]) -> Result<String, UsageError> {
    let mut tree = tree();
    tree.build();
    let mut command = &mut tree;
    let mut group = String::new();
    for word in path {
        let Some(next) = command.find_subcommand_mut(word) else {
            return Err(unknown_command(&group, word));
        };
        command = next;
        group.push_str(word);
    }
    Ok(command.render_long_help().to_string())
}

/// Prints a page.
pub(crate) fn print_text(globals: &Globals, text: &str) -> anyhow::Result<Exit> {
    let mut session = Session::new(globals, true);
    session.out.write_all(globals.called.in_its_name(text).as_bytes())?;
    session.finish()?;
    Ok(Exit::OK)
}

/// The answer to `ketch` or `ketch container` alone: the help page, and a failure.
pub(crate) fn missing_command(globals: &Globals, group: &str) -> anyhow::Result<Exit> {
    let path: Vec<String> = if group.is_empty() { vec![] } else { vec![group.to_owned()] };
    if globals.called.is_docker() {
        say_part!("{}", globals.called.in_its_name(&page(&path)?));
        return Ok(Exit::OK);
    }
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
    names.order_by_key(|name| (edits(name, word), *name));
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
