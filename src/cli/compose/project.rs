//! Flags between `compose` and its verb, and the project they name.
//!
//! Like the global flags they are read by hand: `-f` means another thing after the verb (`logs -f`).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::base::order;
use crate::cli::compose::publish;
use crate::cli::error::Coded;
use crate::cli::session::Session;
use crate::cli::usage::UsageError;
use crate::compose::load::{self, Loaded, Options};
use crate::compose::locate;
use crate::engine::config;

/// docker compose's exit codes: what has no other, a file that is not there, one that means nothing, words that are
/// no command and no flag, a build and a pull that have failed.
///
/// # Source
///
/// Observed: docker compose 2.26.
pub(super) const GENERAL: u8 = 1;
const NO_FILE: u8 = 14;
const UNREADABLE: u8 = 15;
pub(super) const UNKNOWN_WORD: u8 = 16;
pub(super) const BUILD_FAILED: u8 = 17;
pub(super) const PULL_FAILED: u8 = 18;

/// What stands between `compose` and its verb.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProjectFlags {
    files: Vec<PathBuf>,
    name: Option<String>,
    directory: Option<PathBuf>,
    env_files: Vec<PathBuf>,
    profiles: Vec<String>,
    /// Show what would be done, and do nothing.
    pub(crate) dry_run: bool,
    /// `--ansi never`: no colours.
    pub(crate) no_colour: bool,
    /// `--progress quiet`.
    pub(crate) quiet: bool,
    /// `--progress`: the form in which builds are shown, if it is another than theirs.
    pub(crate) progress: Option<String>,
    /// `--parallel`: how much is done at once; `None` if nothing is said, or no limit is wanted.
    pub(crate) parallel: Option<usize>,
    /// `--version`, or no verb but `--help`.
    pub(crate) version: bool,
    /// Those of the flags `--ansi`, `--progress` and `--parallel` that were given.
    given: Vec<&'static [u8]>,
}

impl ProjectFlags {
    /// Reads the flags at the start of `words`; returns what follows them.
    pub(crate) fn read<'a>(&mut self, words: &'a [OsString]) -> Result<&'a [OsString], UsageError> {
        let mut rest = words;
        while let Some((word, after)) = rest.split_first() {
            let bytes = word.as_bytes();
            if !bytes.starts_with(b"-") || bytes == b"--help" || bytes == b"-h" {
                self.read_environment()?;
                return Ok(rest);
            }
            rest = after;
            let (flag, mut value) = split(bytes);
            let switch = match flag {
                b"--dry-run" => Some(&mut self.dry_run),
                b"--version" | b"-v" => Some(&mut self.version),
                // Accepted by docker compose for what it does anyway.
                b"--compatibility" | b"--all-resources" | b"--verbose" => Some(&mut false),
                _ => None,
            };
            if let Some(switch) = switch {
                *switch = value.is_none_or(|value| value != b"false");
                continue;
            }
            let known: [&'static [u8]; 11] = [
                b"-f",
                b"--file",
                b"-p",
                b"--project-name",
                b"--project-directory",
                b"--workdir",
                b"--env-file",
                b"--profile",
                b"--parallel",
                b"--progress",
                b"--ansi",
            ];
            self.given.extend(known.into_iter().filter(|known| *known == flag));
            if !known.contains(&flag) {
                let flag = OsStr::from_bytes(flag).display();
                return Err(UsageError::new(format!("unknown flag: {flag}")).see("compose"));
            }
            if value.is_none() {
                let Some((next, after)) = rest.split_first() else {
                    let flag = OsStr::from_bytes(flag).display();
                    return Err(UsageError::new(format!("flag needs an argument: {flag}")).see("compose"));
                };
                value = Some(next.as_bytes());
                rest = after;
            }
            self.set(flag, OsStr::from_bytes(value.unwrap_or_default()))?;
        }
        Ok(rest)
    }

    fn set(&mut self, flag: &[u8], value: &OsStr) -> Result<(), UsageError> {
        let text = || value.to_string_lossy().into_owned();
        match flag {
            b"-f" | b"--file" => self.files.push(value.into()),
            b"-p" | b"--project-name" => self.name = Some(text()),
            b"--project-directory" | b"--workdir" => self.directory = Some(value.into()),
            b"--env-file" => self.env_files.push(value.into()),
            b"--profile" => self.profiles.push(text()),
            b"--ansi" => match text().as_str() {
                "never" => self.no_colour = true,
                "auto" | "always" => self.no_colour = false,
                other => {
                    return Err(
                        UsageError::new(format!("unknown value for --ansi: {other:?}")).see("compose")
                    );
                }
            },
            b"--progress" => match text().as_str() {
                "quiet" => self.quiet = true,
                "auto" => {}
                "tty" | "plain" => self.progress = Some(text()),
                // As docker compose calls it.
                "json" | "rawjson" => self.progress = Some("rawjson".to_owned()),
                other => {
                    return Err(
                        UsageError::new(format!("unsupported --progress value {other:?}")).see("compose")
                    );
                }
            },
            _ => {
                let number = text().parse::<i64>().map_err(|_| {
                    UsageError::new(format!("invalid number {value:?} for --parallel")).see("compose")
                })?;
                self.parallel = usize::try_from(number).ok().filter(|number| *number > 0);
            }
        }
        Ok(())
    }

    /// Takes over the flag that followed the verb.
    pub(crate) fn merge(&mut self, matches: &mut ArgMatches) {
        if let Ok(Some(true)) = matches.try_remove_one::<bool>(DRY_RUN) {
            self.dry_run = true;
        }
    }

    /// The name that `-p` or the environment gives.
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Whether a variable of compose's own, in the environment or in `.env`, means yes.
    pub(crate) fn truth(&self, name: &str) -> bool {
        let value = self.options(&[]).ok().and_then(|options| locate::own_variable(&options, name));
        let value = value.unwrap_or_default().to_ascii_lowercase();
        matches!(value.as_str(), "1" | "t" | "true" | "y" | "yes" | "on")
    }

    /// Takes from variables what no flag says.
    fn read_environment(&mut self) -> Result<(), UsageError> {
        let Ok(options) = self.options(&[]) else { return Ok(()) };
        for (name, flag) in [
            ("COMPOSE_ANSI", &b"--ansi"[..]),
            ("COMPOSE_PROGRESS", b"--progress"),
            ("COMPOSE_PARALLEL_LIMIT", b"--parallel"),
        ] {
            let value = locate::own_variable(&options, name).filter(|value| !value.is_empty());
            let Some(value) = value else { continue };
            if name == "COMPOSE_PARALLEL_LIMIT" && value.parse::<i64>().is_err() {
                let message = format!("COMPOSE_PARALLEL_LIMIT must be an integer (found: {value:?})");
                return Err(UsageError::new(message).see("compose"));
            }
            if !self.given.contains(&flag) {
                self.set(flag, OsStr::new(&value))?;
            }
        }
        // https://no-color.org, behind what was asked of compose itself.
        let is_wanted =
            self.given.contains(&&b"--ansi"[..]) || locate::own_variable(&options, "COMPOSE_ANSI").is_some();
        self.no_colour |= !is_wanted && std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Ok(())
    }

    /// How to load the project.
    ///
    /// # Errors
    ///
    /// If the working directory is gone.
    pub(crate) fn options(&self, services: &[String]) -> anyhow::Result<Options> {
        let environment = order::map(
            config::environment_of_caller()
                .iter()
                .filter_map(|entry| std::str::from_utf8(entry.as_bytes()).ok()?.split_once('='))
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        Ok(Options {
            files: self.files.clone(),
            project_directory: self.directory.clone(),
            project_name: self.name.clone(),
            env_files: self.env_files.clone(),
            profiles: self.profiles.clone(),
            environment,
            working_directory: config::directory()?,
            home: config::home().ok(),
            services: services.to_vec(),
            ..Options::default()
        })
    }

    /// Loads the project, and tells which variables were missing.
    ///
    /// # Errors
    ///
    /// Those of [`load::load`].
    pub(crate) fn load(&self, session: &Session<'_>, options: &Options) -> anyhow::Result<Loaded> {
        let options = publish::fetched(session, options)?;
        let loaded = load::load(&options).map_err(|error| {
            let is_absent = error.message.starts_with("no configuration file provided")
                || std::error::Error::source(&error)
                    .and_then(|source| source.downcast_ref::<std::io::Error>())
                    .is_some_and(|err| err.kind() == std::io::ErrorKind::NotFound);
            let of_project = ["invalid project name", "couldn't find env file"];
            let code = match is_absent {
                _ if of_project.iter().any(|beginning| error.message.starts_with(beginning)) => GENERAL,
                true => NO_FILE,
                false => UNREADABLE,
            };
            Coded { code, error }
        })?;
        loaded.obsolete.iter().for_each(|text| session.warn(text));
        for name in &loaded.missed {
            session.warn(format!("The {name:?} variable is not set. Defaulting to a blank string."));
        }
        Ok(loaded)
    }
}

/// Makes clap take `--dry-run` after the verb too, as docker compose does. Hidden there; `compose --help` lists it.
pub(crate) fn add_to(command: Command) -> Command {
    command.arg(Arg::new(DRY_RUN).long("dry-run").action(ArgAction::SetTrue).hide(true))
}

const DRY_RUN: &str = "compose-dry-run";

/// `--flag=value`, `-fvalue` and `-f=value`.
fn split(word: &[u8]) -> (&[u8], Option<&[u8]>) {
    if word.starts_with(b"--") {
        return match word.iter().position(|byte| *byte == b'=') {
            Some(at) => (&word[..at], Some(&word[at + 1..])),
            None => (word, None),
        };
    }
    match word.len() {
        0..=2 => (word, None),
        _ => (&word[..2], Some(word[2..].strip_prefix(b"=").unwrap_or(&word[2..]))),
    }
}
