//! Quadlet's generator: ketch through a link among systemd's generators, and `system quadlet`.
//!
//! ```text
//! /etc/systemd/user-generators/ketch-user-generator NORMAL EARLY LATE
//! ```
//!
//! Flags and messages are those of podman's program `quadlet`. A generator is run early and must be quick: it
//! neither opens nor makes a store. Its messages go to the kernel's log where it may write there (the journal
//! shows them), else to standard error.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use crate::cli::error::AlreadyReported;
use crate::cli::session::Session;
use crate::quadlet::search::{self, Places};
use crate::quadlet::{self, Here, Outcome, install};

/// The podman whose generator this is.
const VERSION: &str = "5.4.2";

/// The flags, as Go's package prints them.
const USAGE: &str = "  -dryrun\n    \tRun in dryrun mode printing debug information\n  -no-kmsg-log\n    \t\
    Don't log to kmsg\n  -user\n    \tRun as systemd user\n  -v\tPrint debug information\n  -version\n    \t\
    Print version information and exit\n";

/// Show the services that Quadlet's files become
///
/// Quadlet's files (`web.container`, and `.volume`, `.network`, `.image`, `.build`, `.pod`, `.kube`) are those of
/// podman 5.4.2: podman-systemd.unit(5). A user's are in ~/.config/containers/systemd and
/// /etc/containers/systemd/users, root's in /etc/containers/systemd, or all in QUADLET_UNIT_DIRS.
///
/// systemd makes services of them by itself, once ketch is among its generators. As root, for all users and for
/// root: `ln -s "$(command -v ketch)" /etc/systemd/user-generators/ketch-user-generator` and
/// `ln -s "$(command -v ketch)" /etc/systemd/system-generators/ketch-system-generator` (make the directories
/// first). Then, after each change: `systemctl --user daemon-reload; systemctl --user start web`.
#[derive(Args, Debug)]
pub(crate) struct QuadletArgs {
    /// The files of a user, as root
    #[arg(long)]
    user: bool,
}

/// `system quadlet`.
pub(crate) fn run(session: &mut Session<'_>, args: QuadletArgs) -> anyhow::Result<()> {
    let uid = rustix::process::getuid().as_raw();
    let flags = Flags { dry_run: true, user: args.user || uid != 0, ..Flags::default() };
    let log = Log { kernel: None, debug: false };
    match generate(&flags, "ketch system quadlet", &mut session.out, &log)? {
        true => Ok(()),
        false => Err(AlreadyReported { code: 1 }.into()),
    }
}

/// What a generator was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Flags {
    dry_run: bool,
    user: bool,
    verbose: bool,
    no_kernel_log: bool,
    version: bool,
    /// Where services go; systemd gives two more directories, which are not used.
    output: Option<PathBuf>,
}

/// What is wrong with the flags; nothing, where help was asked for.
type Wrong = Option<String>;

impl Flags {
    /// Reads them as Go's flag package does: one dash or two, and none after the first other word.
    fn read(program: &str, args: &[OsString]) -> Result<Self, Wrong> {
        let mut flags = Self { user: program.contains("user"), ..Self::default() };
        let mut args = args.iter();
        while let Some(word) = args.next() {
            let text = word.to_string_lossy();
            let Some(flag) = text.strip_prefix('-').filter(|flag| !flag.is_empty()) else {
                flags.output = Some(word.into());
                break;
            };
            if flag == "-" {
                flags.output = args.next().map(PathBuf::from);
                break;
            }
            let flag = flag.strip_prefix('-').unwrap_or(flag);
            let (name, value) =
                flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value)));
            if name.is_empty() || name.starts_with('-') {
                return Err(Some(format!("bad flag syntax: {text}")));
            }
            let field = match name {
                "dryrun" => &mut flags.dry_run,
                "user" => &mut flags.user,
                "v" => &mut flags.verbose,
                "no-kmsg-log" => &mut flags.no_kernel_log,
                "version" => &mut flags.version,
                "h" | "help" => return Err(None),
                _ => return Err(Some(format!("flag provided but not defined: -{name}"))),
            };
            *field = match value.unwrap_or("true") {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
                "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
                other => {
                    return Err(Some(format!("invalid boolean value \"{other}\" for -{name}: parse error")));
                }
            };
        }
        Ok(flags)
    }
}

/// Where messages go.
#[derive(Debug)]
struct Log {
    /// The kernel's log.
    kernel: Option<File>,
    debug: bool,
}

impl Log {
    fn say(&self, words: &str) {
        let line = format!("quadlet-generator[{}]: {words}\n", std::process::id());
        // The kernel takes a line with each write.
        let told = self.kernel.as_ref().is_some_and(|mut kernel| {
            line.split_inclusive('\n').all(|line| kernel.write_all(line.as_bytes()).is_ok())
        });
        if !told {
            say_part!("{line}");
        }
    }

    fn debug(&self, words: &str) {
        if self.debug {
            self.say(words);
        }
    }
}

/// Whether a program of that name is a generator of systemd, or podman's program for it.
fn is_generator(name: &str) -> bool {
    name == "quadlet" || name.ends_with("-user-generator") || name.ends_with("-system-generator")
}

/// The generator, if ketch was called as that.
pub(crate) fn called_by_name(args: &[OsString]) -> Option<ExitCode> {
    let program = args.first()?.to_string_lossy();
    let name = Path::new(program.as_ref()).file_name().and_then(OsStr::to_str)?;
    if !is_generator(name) {
        return None;
    }
    let flags = match Flags::read(name, &args[1..]) {
        Ok(flags) => flags,
        Err(wrong) => {
            if let Some(words) = &wrong {
                say!("{words}");
            }
            say_part!("Usage of {program}:\n{USAGE}");
            return Some(ExitCode::from(if wrong.is_some() { 2 } else { 0 }));
        }
    };
    if flags.version {
        let said = writeln!(std::io::stdout(), "{VERSION}");
        return Some(if said.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let kernel = match flags.no_kernel_log || flags.dry_run {
        true => None,
        false => OpenOptions::new().write(true).open("/dev/kmsg").ok(),
    };
    let log = Log { kernel, debug: flags.verbose || flags.dry_run };
    let done = generate(&flags, &program, &mut std::io::stdout().lock(), &log);
    let fine = done.unwrap_or_else(|err| {
        log.say(&format!("{err:#}"));
        false
    });
    Some(ExitCode::from(if fine { 0 } else { 1 }))
}

/// Does it: whether all went well.
fn generate(flags: &Flags, called: &str, out: &mut dyn Write, log: &Log) -> anyhow::Result<bool> {
    let output = match (&flags.output, flags.dry_run) {
        (None, false) => {
            log.say("missing output directory argument");
            return Ok(false);
        }
        (output, dry) => output.as_deref().filter(|_| !dry),
    };
    if let Some(output) = output {
        log.debug(&format!("Starting quadlet-generator, output to: {}", output.display()));
    }
    let mut failed = Vec::new();
    let directories = search::directories(&places(), flags.user, &mut |words| log.say(&words));
    let sources = search::sources(&directories, &mut |words| log.debug(&words), &mut failed);
    if sources.is_empty() {
        let shown: Vec<_> = directories.iter().map(|path| path.display().to_string()).collect();
        log.debug(&format!("No files parsed from [{}]", shown.join(" ")));
    }
    let program = std::env::current_exe().context("find this program")?;
    let program = of_units(&program)?;
    let read = |path| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
    let outcome = quadlet::convert(
        sources,
        &Here {
            program,
            user: flags.user,
            users: &read("/etc/passwd"),
            groups: &read("/etc/group"),
            exists: &|path| Path::new(path).exists(),
        },
    );
    for warning in &outcome.warnings {
        log.say(warning);
    }
    match output {
        None => show(&outcome, out)?,
        Some(output) => failed.extend(write(&outcome, output, called, log)),
    }
    failed.extend(outcome.failed);
    if !failed.is_empty() {
        log.say(&failed.join("\n"));
    }
    Ok(failed.is_empty())
}

/// The program as units name it. By a generator's name it would be a generator in each of them.
fn of_units(program: &Path) -> anyhow::Result<&str> {
    if program.file_name().and_then(OsStr::to_str).is_some_and(is_generator) {
        anyhow::bail!("{} is a copy of ketch: make a symbolic link to ketch in its place", program.display());
    }
    program.to_str().context("the path of this program cannot stand in a unit")
}

/// What the environment says of places.
fn places() -> Places {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let config = set("XDG_CONFIG_HOME").map(PathBuf::from);
    let home = || set("HOME").map(|home| Path::new(&home).join(".config"));
    let only = set("QUADLET_UNIT_DIRS");
    Places {
        only: only
            .iter()
            .flat_map(std::env::split_paths)
            .filter(|path| !path.as_os_str().is_empty())
            .collect(),
        runtime: set("XDG_RUNTIME_DIR").map(PathBuf::from),
        config: config.or_else(home),
        uid: rustix::process::getuid().as_raw(),
    }
}

fn show(outcome: &Outcome, out: &mut dyn Write) -> anyhow::Result<()> {
    for made in &outcome.made {
        writeln!(out, "---{}---\n{}", made.name, made.unit)?;
    }
    Ok(out.flush()?)
}

/// Writes services and links; what could not be written.
fn write(outcome: &Outcome, output: &Path, called: &str, log: &Log) -> Vec<String> {
    if let Err(err) = std::fs::create_dir_all(output) {
        return vec![format!("mkdir {}: {}", output.display(), search::reason(&err))];
    }
    let mut failed = Vec::new();
    let mut written = Vec::new();
    for made in &outcome.made {
        log.debug(&format!("writing \"{}\"", output.join(&made.name).display()));
        let text = format!("# Automatically generated by {called}\n# \n{}", made.unit);
        match install::write(output, &made.name, &text) {
            Ok(()) => written.push(made),
            Err(words) => failed.push(words),
        }
    }
    // All services come first: no link is made in the place of one.
    for made in written {
        let (links, refused) = install::links(&made.name, &made.unit);
        let unmade = links.iter().filter_map(|link| install::link(output, link).err());
        for words in refused.into_iter().chain(unmade) {
            log.say(&words);
        }
    }
    failed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_generators() {
        for (name, is) in [
            ("ketch-user-generator", true),
            ("podman-system-generator", true),
            ("quadlet", true),
            ("ketch", false),
            ("user-generator", false),
            ("quadlets", false),
        ] {
            assert_eq!(is_generator(name), is, "{name}");
        }
    }

    #[test]
    fn programs_of_units() {
        assert_eq!(of_units(Path::new("/usr/bin/ketch")).unwrap(), "/usr/bin/ketch");
        for name in ["quadlet", "ketch-user-generator", "podman-system-generator"] {
            let words = of_units(&Path::new("/etc/systemd").join(name)).unwrap_err().to_string();
            assert!(words.contains("make a symbolic link"), "{words}");
        }
    }

    #[test]
    fn flags_as_go_reads_them() {
        let read = |program: &str, words: &[&str]| {
            Flags::read(program, &words.iter().map(OsString::from).collect::<Vec<_>>())
        };
        let flags = read("quadlet", &["-dryrun", "--user=true", "-v=0", "out", "-version"]).unwrap();
        let wanted = Flags { dry_run: true, user: true, output: Some("out".into()), ..Flags::default() };
        assert_eq!(flags, wanted);
        assert!(read("ketch-user-generator", &["a", "b", "c"]).unwrap().user);
        assert!(!read("ketch-user-generator", &["-user=false"]).unwrap().user);
        assert_eq!(read("quadlet", &["--", "-v"]).unwrap().output, Some("-v".into()));
        assert_eq!(read("quadlet", &["-h"]), Err(None));
        assert_eq!(read("quadlet", &["-x"]), Err(Some("flag provided but not defined: -x".into())));
        assert!(read("quadlet", &["-v=maybe"]).unwrap_err().unwrap().starts_with("invalid boolean value"));
    }
}
