//! Flags that stand before the verb and hold for all of them.
//!
//! They are read by hand, because clap is only told about one verb at a time. They may also follow
//! the verb; [`add_to`] makes clap take them there.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Arg, ArgMatches, Command};

use crate::cli::called::Called;
use crate::cli::compose::project::ProjectFlags;
use crate::cli::context;
use crate::cli::usage::UsageError;
use crate::engine::config::Config;

/// How much is reported beside results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LogLevel {
    /// Errors only.
    Error,
    /// Warnings too.
    #[default]
    Warn,
    /// And what may interest.
    Info,
    /// And every cause of an error on a line of its own.
    Debug,
}

impl LogLevel {
    /// Reads podman's names of levels.
    fn parse(text: &OsStr) -> Result<Self, UsageError> {
        match text.to_str() {
            Some("trace" | "debug") => Ok(Self::Debug),
            Some("info") => Ok(Self::Info),
            Some("warn" | "warning") => Ok(Self::Warn),
            Some("error" | "fatal" | "panic") => Ok(Self::Error),
            _ => Err(UsageError::new(format!(
                "log level {text:?} is not supported, choose from: trace, debug, info, warn, warning, error, fatal, panic"
            ))),
        }
    }
}

/// The global flags.
#[derive(Clone, Debug, Default)]
pub(crate) struct Globals {
    /// CLOCK_MONOTONIC when this command began, in nanoseconds.
    pub(crate) started_ns: u64,
    /// What the program was called as.
    pub(crate) called: Called,
    /// The verb that was called, as the table has it; empty before one is found.
    pub(crate) verb: &'static str,
    /// What the engine is opened with.
    pub(crate) config: Config,
    /// `--log-level`.
    pub(crate) log_level: LogLevel,
    /// `--out FILE`, or /dev/null for `--noout`: podman's hidden flags.
    pub(crate) out: Option<PathBuf>,
    /// `--config DIR`: what DOCKER_CONFIG is for this command, until it has been set.
    pub(crate) docker_config: Option<OsString>,
    /// The flags between `compose` and its verb.
    pub(crate) project: ProjectFlags,
}

/// What comes after the global flags.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum First<'a> {
    /// `--version`.
    Version,
    /// `--help`.
    Help,
    /// The verb and all that follows; may be empty.
    Words(&'a [OsString]),
}

impl Globals {
    /// Where the store is, if that is not the usual place (`--root`, KETCH_ROOT).
    pub(crate) fn own_root(&self) -> crate::engine::Result<Option<PathBuf>> {
        let is_usual = self.config.root.is_none() && std::env::var_os("KETCH_ROOT").is_none();
        if is_usual { Ok(None) } else { self.config.data_root().map(Some) }
    }

    /// The flags that another process of ketch needs to do its work in the same place.
    pub(crate) fn words(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = Vec::new();
        words.extend(self.config.root.iter().flat_map(|root| ["--root".into(), root.into()]));
        words.extend(self.config.modules.iter().flat_map(|module| ["--module".into(), module.clone()]));
        let backend = self.config.events_backend.iter();
        words.extend(backend.flat_map(|backend| ["--events-backend".into(), backend.into()]));
        let manager = self.config.cgroup_manager.iter();
        words.extend(manager.flat_map(|manager| ["--cgroup-manager".into(), manager.into()]));
        let registries = self.config.registries_conf.iter();
        words.extend(registries.flat_map(|file| ["--registries-conf".into(), file.into()]));
        let mounts = self.config.mounts_file.iter();
        words.extend(mounts.flat_map(|file| ["--default-mounts-file".into(), file.into()]));
        let hooks = self.config.hooks_dirs.iter();
        words.extend(hooks.flat_map(|directory| ["--hooks-dir".into(), directory.into()]));
        if self.log_level == LogLevel::Debug {
            words.push("--debug".into());
        }
        words
    }

    /// Reads the flags at the start of `args` (without the program's name).
    pub(crate) fn read<'a>(&mut self, args: &'a [OsString]) -> Result<First<'a>, UsageError> {
        let mut rest = args;
        while let Some((word, after)) = rest.split_first() {
            rest = after;
            let (flag, value) = split(word);
            let mut value = || match (value, rest.split_first()) {
                (Some(value), _) => Ok(value.to_owned()),
                (None, Some((value, after))) => {
                    rest = after;
                    Ok(value.clone())
                }
                (None, None) => {
                    Err(UsageError::new(format!("flag needs an argument: {}", word.display())).see(""))
                }
            };
            match flag {
                b"--root" => self.config.root = Some(PathBuf::from(value()?)),
                b"--events-backend" => {
                    self.config.events_backend = Some(utf8(&value()?, "--events-backend")?);
                }
                b"--cgroup-manager" => {
                    self.config.cgroup_manager = Some(utf8(&value()?, "--cgroup-manager")?);
                }
                b"--out" => self.out = Some(PathBuf::from(value()?)),
                b"--noout" => self.out = Some("/dev/null".into()),
                b"--module" => self.config.modules.push(value()?),
                b"--registries-conf" => self.config.registries_conf = Some(PathBuf::from(value()?)),
                b"--default-mounts-file" => self.config.mounts_file = Some(PathBuf::from(value()?)),
                b"--hooks-dir" => self.config.hooks_dirs.push(PathBuf::from(value()?)),
                b"--debug" | b"-D" => self.log_level = LogLevel::Debug,
                b"--log-level" | b"-l" => self.log_level = LogLevel::parse(&value()?)?,
                b"--config" => self.docker_config = Some(value()?),
                b"--context" | b"-c" => context::find(&utf8(&value()?, "--context")?)
                    .map_err(|err| UsageError::new(err.to_string()))?,
                b"--host" | b"-H" => context::is_here(&utf8(&value()?, "--host")?)
                    .map_err(|err| UsageError::new(err.to_string()))?,
                b"--version" | b"-v" => return Ok(First::Version),
                b"--help" | b"-h" => return Ok(First::Help),
                other if let Some(why) = refused(other) => {
                    let flag = OsStr::from_bytes(other).display();
                    return Err(UsageError::new(format!("flag {flag} cannot work here: {why}")));
                }
                [b'-', _, ..] => {
                    return Err(UsageError::new(format!(
                        "unknown flag: {}",
                        OsStr::from_bytes(flag).display()
                    ))
                    .see(""));
                }
                _ => return Ok(First::Words(&args[args.len() - rest.len() - 1..])),
            }
        }
        Ok(First::Words(&[]))
    }

    /// Makes `--config` the DOCKER_CONFIG of this process and those that it starts, as podman does.
    pub(crate) fn set_docker_config(&mut self) {
        if let Some(directory) = self.docker_config.take() {
            crate::sys::process::set_variable("DOCKER_CONFIG".as_ref(), &directory);
        }
    }

    /// Sends standard output to where `--out` says.
    ///
    /// # Errors
    ///
    /// If that file cannot be written.
    pub(crate) fn redirect(&self) -> anyhow::Result<()> {
        let Some(path) = &self.out else { return Ok(()) };
        let file = std::fs::File::create(path).with_context(|| format!("open {}", path.display()))?;
        Ok(nix::unistd::dup2_stdout(file)?)
    }

    /// Takes over the global flags that followed the verb.
    pub(crate) fn merge(&mut self, matches: &mut ArgMatches) -> Result<(), UsageError> {
        self.project.merge(matches);
        if let Some(root) = matches.remove_one::<OsString>("global-root") {
            self.config.root = Some(root.into());
        }
        self.config.modules.extend(matches.remove_many::<OsString>("global-module").into_iter().flatten());
        if let Some(backend) = matches.remove_one::<OsString>("global-events-backend") {
            self.config.events_backend = Some(utf8(&backend, "--events-backend")?);
        }
        if let Some(manager) = matches.remove_one::<OsString>("global-cgroup-manager") {
            self.config.cgroup_manager = Some(utf8(&manager, "--cgroup-manager")?);
        }
        if let Some(file) = matches.remove_one::<OsString>("global-registries-conf") {
            self.config.registries_conf = Some(file.into());
        }
        if let Some(file) = matches.remove_one::<OsString>("global-default-mounts-file") {
            self.config.mounts_file = Some(file.into());
        }
        // `build` has one of its own.
        let hooks = matches.try_remove_many::<OsString>("global-hooks-dir").ok().flatten();
        self.config.hooks_dirs.extend(hooks.into_iter().flatten().map(PathBuf::from));
        if let Some(level) = matches.remove_one::<OsString>("global-log-level") {
            self.log_level = LogLevel::parse(&level)?;
        }
        Ok(())
    }
}

/// Why a global flag of podman or docker cannot work; `None` for other words.
fn refused(flag: &[u8]) -> Option<&'static str> {
    const NO_SERVICE: &str = "ketch has no daemon and connects to no service";
    const NO_RUNTIME: &str = "ketch starts containers itself and uses no other program";
    const OWN_STORE: &str = "ketch has one kind of store; --root says where it is";
    match flag {
        b"--url" | b"--remote" | b"-r" | b"--connection" | b"--identity" | b"--ssh" | b"--tls"
        | b"--tlsverify" | b"--tlscacert" | b"--tlscert" | b"--tlskey" => Some(NO_SERVICE),
        b"--conmon" | b"--runtime" | b"--runtime-flag" | b"--network-cmd-path" => Some(NO_RUNTIME),
        b"--runroot"
        | b"--storage-driver"
        | b"--storage-opt"
        | b"--imagestore"
        | b"--pull-option"
        | b"--tmpdir"
        | b"--transient-store"
        | b"--volumepath"
        | b"--network-config-dir" => Some(OWN_STORE),
        b"--syslog" => Some("messages go to standard error only"),
        _ => None,
    }
}

fn utf8(value: &OsStr, flag: &str) -> Result<String, UsageError> {
    value
        .to_str()
        .map(str::to_owned)
        .ok_or_else(|| UsageError::new(format!("invalid value {value:?} for {flag}")))
}

/// `--flag=value` → `--flag`, `value`.
fn split(word: &OsStr) -> (&[u8], Option<&OsStr>) {
    let bytes = word.as_bytes();
    match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) if bytes.starts_with(b"--") => (&bytes[..at], Some(OsStr::from_bytes(&bytes[at + 1..]))),
        _ => (bytes, None),
    }
}

/// Makes clap take the global flags after the verb too, but for those that mean something of the verb's there. Hidden;
/// `ketch --help` lists them.
pub(crate) fn add_to(command: Command) -> Command {
    let own: Vec<String> = command.get_arguments().filter_map(Arg::get_long).map(str::to_owned).collect();
    let others =
        definitions().into_iter().filter(|arg| !own.iter().any(|long| Some(long.as_str()) == arg.get_long()));
    command.args(others.map(|arg| {
        let id = format!("global-{}", arg.get_id());
        arg.id(id).hide(true)
    }))
}

/// The flags for help and the manual.
pub(crate) fn definitions() -> [Arg; 8] {
    let flag = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help).value_parser(clap::value_parser!(OsString))
    };
    [
        flag("root", "DIR", "Keep all state below this directory instead of ~/.local/share/ketch"),
        flag(
            "cgroup-manager",
            "MANAGER",
            "Have cgroups made by systemd where it answers, or by ketch itself: cgroupfs",
        ),
        flag("events-backend", "BACKEND", "Note events in this place: file, journald or none"),
        flag("module", "FILE", "Read this containers.conf module, too (can be repeated)")
            .action(clap::ArgAction::Append),
        flag("registries-conf", "FILE", "Read this file instead of registries.conf and its directories"),
        flag("default-mounts-file", "FILE", "Read this file instead of mounts.conf, wherever there is one"),
        flag(
            "hooks-dir",
            "DIR",
            "Run the OCI hooks that files of this directory describe, as oci-hooks(5) says (can be repeated)",
        )
        .action(clap::ArgAction::Append),
        flag("log-level", "LEVEL", "Report this much: error, warn, info or debug"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn global_flags_end_at_the_verb() {
        for (line, root, level, rest) in [
            ("ps --root x", None, LogLevel::Warn, "ps --root x"),
            ("--root /x ps -a", Some("/x"), LogLevel::Warn, "ps -a"),
            ("--root=/x --log-level=debug ps", Some("/x"), LogLevel::Debug, "ps"),
            ("--context default ps", None, LogLevel::Warn, "ps"),
            ("--host unix:///var/run/docker.sock ps", None, LogLevel::Warn, "ps"),
            ("-H unix:///run/docker.sock ps", None, LogLevel::Warn, "ps"),
            ("--config /x -l debug ps", None, LogLevel::Debug, "ps"),
        ] {
            let (mut globals, args, rest) = (Globals::default(), words(line), words(rest));
            assert_eq!(globals.read(&args).unwrap(), First::Words(&rest), "{line}");
            assert_eq!((globals.config.root, globals.log_level), (root.map(PathBuf::from), level), "{line}");
        }
        assert_eq!(Globals::default().read(&words("-v ")).unwrap(), First::Version);
        assert_eq!(Globals::default().read(&words("--root / --help ps")).unwrap(), First::Help);
        for bad in [
            "--url=x ps",
            "--host tcp://far:2375 ps",
            "--context=far ps",
            "--runroot /x ps",
            "--bogus ps",
            "--root",
            "--log-level=loud ps",
            "-x",
        ] {
            assert!(Globals::default().read(&words(bad)).is_err(), "{bad}");
        }
    }
}
