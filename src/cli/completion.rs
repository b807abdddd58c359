//! `ketch completion`: prints the script that gives a shell completions; and the answers to what that script asks.

mod names;
mod words;

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Arg, Args, Command};
use clap_complete::CompletionCandidate;
use clap_complete::engine::{ArgValueCompleter, PathCompleter, ValueCompleter};

use crate::cli::completion::names::KnownNames;
use crate::cli::error::FAILED;
use crate::cli::session::Session;
use crate::cli::usage::UsageError;
use crate::cli::{NAME, help};

/// The environment variable by which a shell asks for completions, and the one for completions without a word about them.
const COMPLETE: &str = "_KETCH_COMPLETE";
const COMPLETE_BARE: &str = "_KETCH_COMPLETE_BARE";

/// Print the completion script for a shell
///
/// The script makes the shell ask ketch itself at each press of the key, so it never goes stale. It is for the name that ketch
/// was called by: a link named docker or podman prints the script for that.
/// For bash: `source <(ketch completion bash)`.
#[derive(Args, Debug)]
pub(crate) struct CompletionArgs {
    /// The shell: bash, elvish, fish, powershell or zsh
    #[arg(value_name = "SHELL")]
    shell: String,

    /// Write the script into this file
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Have the shell show words alone, without what they mean
    #[arg(long)]
    no_desc: bool,
}

/// Runs the verb.
pub(crate) fn run(session: &mut Session<'_>, args: CompletionArgs) -> anyhow::Result<()> {
    let script = registration(&args.shell, session.globals.called.name(), !args.no_desc)?;
    match args.file {
        Some(path) => {
            std::fs::write(&path, script).with_context(|| format!("write {}", path.display()))?;
        }
        None => session.out.write_all(&script)?,
    }
    Ok(())
}

/// Answers a shell that asks for completions; `None` if none does.
pub(crate) fn complete(args: &[OsString]) -> Option<ExitCode> {
    let variable = [COMPLETE, COMPLETE_BARE].into_iter().find(|name| std::env::var_os(name).is_some())?;
    let tree: fn() -> Command = if variable == COMPLETE { knowing_tree } else { bare_tree };
    let engine = clap_complete::CompleteEnv::with_factory(tree).var(variable).bin(NAME);
    match engine.try_complete(args, None) {
        Ok(true) => Some(ExitCode::SUCCESS),
        Ok(false) => None,
        Err(err) => {
            err.print().ok();
            Some(ExitCode::from(FAILED))
        }
    }
}

/// The tree with what knows the values of arguments.
fn knowing_tree() -> Command {
    fn with_values(command: Command, verb: &str) -> Command {
        let below = |command: Command| {
            let verb = format!("{verb} {}", command.get_name()).trim_start().to_owned();
            with_values(command, &verb)
        };
        command.mut_args(|arg| knows_values(verb, arg)).mut_subcommands(below)
    }
    with_values(help::tree(), "")
}

/// The same, where nothing is said about anything.
fn bare_tree() -> Command {
    fn bare(command: Command) -> Command {
        const NOTHING: Option<&str> = None;
        command.about(NOTHING).mut_args(|arg| arg.help(NOTHING).long_help(NOTHING)).mut_subcommands(bare)
    }
    bare(knowing_tree())
}

/// Makes an argument complete to what its value may be: what there is of the kind that its value is called by
/// (`CONTAINER`, `CONTAINER|IMAGE`, `CONTAINER COMMAND`, `[CONTAINER:]SOURCE`), and the words that a flag takes.
fn knows_values(verb: &str, arg: Arg) -> Arg {
    let says = arg.get_value_names().unwrap_or_default().iter().map(ToString::to_string);
    let says = says.collect::<Vec<_>>().join("|");
    let called: Vec<&str> = says.split(['|', ' ']).collect();
    let flag = arg.get_long().unwrap_or_default().to_owned();
    let takes_modes =
        matches!(verb, "run" | "create" | "container run" | "container create" | "container clone" | "build");
    let is = |word: &str| called.contains(&word);
    let is_copied = is("[CONTAINER:]SOURCE") || is("[CONTAINER:]TARGET");
    let is_mounted = flag == "volume";
    let shares = matches!(flag.as_str(), "ipc" | "pid" | "userns" | "cgroupns" | "uts");
    let kinds: Vec<KnownNames> = [
        (is("CONTAINER") || is("OBJECT"), names::container_names as KnownNames),
        (is_copied, names::container_roots),
        (is("IMAGE") || is("OBJECT"), names::image_names),
        (is("VOLUME") && !is_mounted, names::volume_names),
        (is_mounted, names::volume_roots),
        (is("NETWORK") && !(takes_modes && flag == "network"), names::network_names),
        (takes_modes && flag == "network", names::networks_and_modes),
        (takes_modes && shares, names::of_container),
        (is("SECRET"), names::secret_names),
        (is("POD"), names::pod_names),
    ]
    .into_iter()
    .filter_map(|(is_meant, names)| is_meant.then_some(names))
    .collect();
    let takes_value = arg.get_action().takes_values();
    let words = if takes_value && !flag.is_empty() { words::of_flag(verb, &flag) } else { Vec::new() };
    if kinds.is_empty() && words.is_empty() {
        return arg;
    }
    let is_filter = flag == "filter";
    arg.add(ArgValueCompleter::new(Values {
        kinds,
        words,
        is_filter,
        is_path: is_copied || is_mounted,
        first_only: says.contains(' '),
    }))
}

/// Completes a value.
struct Values {
    kinds: Vec<KnownNames>,
    words: Vec<String>,
    /// `KEY=VALUE`.
    is_filter: bool,
    /// Files are meant, too.
    is_path: bool,
    /// What follows the first value is something else.
    first_only: bool,
}

impl Values {
    /// All that is known, as far as it depends on what was typed.
    fn known(&self, typed: &str) -> Vec<String> {
        if let Some((key, value)) = typed.split_once('=').filter(|_| self.is_filter) {
            let names: KnownNames = match key {
                "ancestor" | "before" | "reference" | "since" | "image" => names::image_names,
                "container" | "name" => names::container_names,
                "network" => names::network_names,
                "volume" => names::volume_names,
                _ => |_| Vec::new(),
            };
            let words = words::of_filter(key).iter().map(|word| (*word).to_owned());
            return words.chain(names(value)).map(|value| format!("{key}={value}")).collect();
        }
        self.words.iter().cloned().chain(self.kinds.iter().flat_map(|names| names(typed))).collect()
    }
}

impl ValueCompleter for Values {
    fn complete(&self, current: &OsStr) -> Vec<CompletionCandidate> {
        let typed = current.to_string_lossy();
        let begins = |word: &String| word.starts_with(&*typed);
        let mut found: Vec<_> =
            self.known(&typed).into_iter().filter(begins).map(CompletionCandidate::new).collect();
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

/// The script that makes `shell` ask [`complete`] what may follow `name`, with a word about each or without.
///
/// # Errors
///
/// If there is no such shell among those known.
pub(crate) fn registration(shell: &str, name: &str, describes: bool) -> anyhow::Result<Vec<u8>> {
    let shells = clap_complete::env::Shells::builtins();
    let completer = shells.completer(shell).ok_or_else(|| {
        let known: Vec<_> = shells.names().collect();
        UsageError::new(format!("shell {shell:?} is not known; choose from: {}", known.join(", ")))
    })?;
    let variable = if describes { COMPLETE } else { COMPLETE_BARE };
    if completer.name() == "bash" {
        let script = include_str!("completion/ketch.bash");
        return Ok(script.replace("NAME", name).replace("VARIABLE", variable).into_bytes());
    }
    let mut script = Vec::new();
    completer.write_registration(variable, name, name, name, &mut script)?;
    Ok(script)
}
