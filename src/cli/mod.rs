//! Row 8: the command line. One file per verb: clap struct → engine call → printing.
//!
//! ```text
//! argv ──▶ --stage NAME ──────────────────────────▶ stages   (ketch called by itself)
//!      └─▶ globals ─▶ verbs::find ─▶ clap for that one verb ─▶ Verb::run(session, args)
//!                          └─ help, unknown words: the whole tree (help.rs)
//! ```
//!
//! clap builds a verb's definition in tens of microseconds and the whole tree in milliseconds, so the
//! tree is only built for help, completion and the manual.

// Doc comments of arguments are help texts, in which brackets mean options and not links.
#![allow(rustdoc::broken_intra_doc_links, rustdoc::invalid_html_tags)]

#[macro_use]
mod say;

mod artifact;
mod attach;
mod auto_update;
mod autostart;
mod build;
mod called;
mod circumstances;
mod cleanup;
mod clone;
mod commit;
mod completion;
mod compose;
mod container;
mod container_flags;
mod container_mount;
mod context;
mod cp;
mod diff;
mod error;
mod events;
mod exec;
pub(crate) mod format;
mod generate;
#[cfg(test)]
mod generated;
mod globals;
mod healthcheck;
mod hello;
mod help;
mod history;
mod image;
mod image_mount;
mod images;
mod images_tree;
mod info;
mod init;
mod inspect;
mod kill;
mod kube;
mod labels;
mod load;
mod login;
mod logs;
mod manifest;
mod network;
mod pause;
mod pod;
mod ports;
mod progress;
mod ps;
mod pull;
mod push;
mod quadlet;
mod resource_flags;
mod restart;
mod rm;
mod run;
mod runlabel;
mod save;
mod search;
mod secret;
mod service;
mod session;
mod signing;
mod stages;
mod stats;
mod stop;
mod swarm;
mod system;
mod tail;
mod targets;
mod together;
mod top;
mod trust;
mod unit_text;
mod unshare;
mod update;
mod usage;
mod verbs;
mod version;
mod volume;
mod wait;

use std::ffi::OsString;
use std::process::ExitCode;

use crate::cli::called::Called;
use crate::cli::globals::{First, Globals};
use crate::cli::session::{Exit, Session};
use crate::cli::usage::UsageError;
use crate::cli::verbs::{Found, Verb};
use crate::sys::backtrace;

/// What the program is called in its messages, whatever file it was started from.
pub(crate) const NAME: &str = "ketch";

/// Runs the program: one of its stages, or a command of the user.
pub(crate) fn main() -> ExitCode {
    let started_ns = hello::monotonic_ns();
    let switch = std::env::var_os(backtrace::SWITCH);
    if switch.is_some() || std::env::var_os("RUST_BACKTRACE").is_some() {
        backtrace::never_capture(switch.as_deref());
    }
    let args: Vec<OsString> = compose::called_by_name(std::env::args_os().collect());
    if let Some(done) = quadlet::called_by_name(&args) {
        return done;
    }
    let called = Called::of(args.first().map(OsString::as_os_str));
    if args.get(1).is_some_and(|first| first == "--stage") {
        return stages::run(&args[2..]);
    }
    #[cfg(feature = "failpoints")]
    if let Ok(text) = std::env::var("KETCH_FAILPOINTS") {
        crate::sys::failpoint::arm(&text);
    }
    // A lost reader (`ketch ps | head -1`) ends this process without a word, as it ends others.
    // Should this fail, `error::report` sees the lost reader.
    crate::sys::signal::set_default(libc::SIGPIPE).ok();
    if let Some(done) = completion::complete(&args) {
        return done;
    }
    let mut globals = Globals { started_ns, called, ..Globals::default() };
    globals.config.name_rule = called.name_rule();
    let prepared = circumstances::prepare().map_err(anyhow::Error::from);
    let result = prepared.and_then(|()| dispatch(args.get(1..).unwrap_or_default(), &mut globals));
    ExitCode::from(result.map_or_else(|err| failed(&err, &globals), |exit| exit.0))
}

/// Tells of a failure; answers the exit code for it of who was called.
fn failed(err: &anyhow::Error, globals: &Globals) -> u8 {
    let code = match error::report(err, globals) {
        // The user of a container's command is looked up by docker itself, and not by what starts it.
        126 if called_docker(globals)
            && error::dockers::is_run(globals.verb)
            && err.to_string().contains("no matching entries in ") =>
        {
            error::FAILED
        }
        code => code,
    };
    match called_docker(globals) {
        true => error::dockers::code(globals.verb, err, code),
        false => code,
    }
}

/// Docker itself was called: Compose has messages and codes of its own.
fn called_docker(globals: &Globals) -> bool {
    globals.called.is_docker() && !globals.verb.starts_with("compose")
}

/// Finds out what is asked for, and does it.
fn dispatch(args: &[OsString], globals: &mut Globals) -> anyhow::Result<Exit> {
    let first = globals.read(args)?;
    globals.set_docker_config();
    globals.redirect()?;
    match first {
        First::Version => version::print_flag(globals),
        First::Help => help::print(globals, &[]),
        First::Words([first, rest @ ..]) if first == "compose" => match globals.project.read(rest) {
            Ok(rest) => compose::dispatch(rest, globals),
            Err(err) => Ok(Exit(compose::exit_code(&err.into(), globals))),
        },
        First::Words(words) => {
            match verbs::find(verbs::builder_behind_verb(words).as_deref().unwrap_or(words)) {
                Found::Verb { verb, called, rest } => run_verb(verb, &called, rest, globals),
                Found::Help(path) => help::print(globals, &path),
                Found::Missing(group) => help::missing_command(globals, &group),
                Found::Unknown { group, word } => match swarm::refusal(&group, &word) {
                    Some(refusal) if globals.called.is_docker() => Err(refusal.into()),
                    _ => Err(help::unknown_command(&group, &word).into()),
                },
            }
        }
    }
}

/// Parses the arguments of one verb with a command that knows nothing else, and runs it.
fn run_verb(verb: &Verb, called: &str, rest: &[OsString], globals: &mut Globals) -> anyhow::Result<Exit> {
    globals.verb = verb.path;
    let command = verb.command(called);
    let rest = match verb.path {
        "logs" | "container logs" => logs::split_tail(rest, globals.called.is_docker()),
        _ => tail::mark(&command, rest),
    };
    let named: Vec<_> = command.get_positionals().map(|arg| arg.get_id().clone()).collect();
    let mut matches = match command.try_get_matches_from(rest) {
        Ok(matches) => matches,
        Err(err) if err.kind() == clap::error::ErrorKind::DisplayHelp => {
            return help::print_text(globals, &verb.help(called));
        }
        Err(err) => return Err(UsageError::from_clap(&err, called).into()),
    };
    if globals.called.is_docker() && !error::dockers::takes(verb.path, &named, &matches) {
        return Err(UsageError::new("missing argument: ").into());
    }
    globals.merge(&mut matches)?;
    let mut session = Session::new(globals, verb.only_looks());
    let result = (verb.run)(&mut session, &mut matches).map_err(|err| match err.downcast::<clap::Error>() {
        Ok(err) => UsageError::from_clap(&err, called).into(),
        Err(err) => err,
    });
    // What was written before a failure is shown before the message about it.
    let flushed = session.finish();
    result.and_then(|exit| flushed.map(|()| exit))
}
