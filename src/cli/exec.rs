//! `ketch exec`: runs a command in a running container.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::attach::packet::Hello;
use crate::base::bytes::Bytes;
use crate::cli::attach::Route;
use crate::cli::container_flags::{KeptFds, environment};
use crate::cli::error::{AlreadyReported, FAILED};
use crate::cli::run::{Attachment, attached_to, detach_keys};
use crate::cli::session::{Exit, Session};
use crate::cli::targets;
use crate::cli::usage::UsageError;
use crate::engine::exec::ExecRequest;
use crate::engine::{self, Kind};
use crate::sys::{pidfd, tty};

/// Run a command in a running container
///
/// The exit code is the command's; 125 means that ketch failed, 126 that the command could not be
/// executed, 127 that it was not found. If this process dies the command is killed, unless it was
/// detached from.
#[derive(Args, Debug)]
pub(crate) struct ExecArgs {
    /// Leave it running in the background, and print the ID of the session
    #[arg(short, long)]
    detach: bool,

    /// Keys that detach; empty for none
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,

    /// Set a variable: NAME=VALUE, NAME to take it from here (can be repeated)
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<OsString>,

    /// Read variables from a file of NAME=VALUE lines (can be repeated)
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,

    /// Pass standard input on
    #[arg(short, long)]
    interactive: bool,

    /// Use the container that was created last
    #[arg(short, long)]
    latest: bool,

    /// Use the container whose ID is in this file
    #[arg(long, value_name = "FILE", conflicts_with = "latest")]
    cidfile: Option<PathBuf>,

    #[command(flatten)]
    kept: KeptFds,

    /// Give the command every capability, and no system call filter
    #[arg(long)]
    privileged: bool,

    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,

    /// User and group of the process, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,

    /// Working directory
    #[arg(short, long, value_name = "DIRECTORY")]
    workdir: Option<OsString>,

    /// Container, command and arguments; without the container with --latest and --cidfile
    #[arg(required = true, trailing_var_arg = true, value_name = "CONTAINER COMMAND")]
    words: Vec<OsString>,
}

/// What podman ends with if the container does not run; 125 is for all else that goes wrong before the command.
const NOT_RUNNING: u8 = 255;

pub(crate) fn run(session: &mut Session<'_>, args: ExecArgs) -> anyhow::Result<Exit> {
    let typed = args.words[0].to_string_lossy().into_owned();
    match exec(session, args).map_err(anyhow::Error::downcast) {
        Err(Ok(mut err)) if matches!(err, engine::Error { kind: Kind::Conflict, .. }) => {
            let is_docker = session.globals.called.is_docker();
            if is_docker && let Ok(id) = session.engine()?.container(&typed) {
                let is_paused = session.engine()?.is_paused(&id).unwrap_or(false);
                let state =
                    if is_paused { "paused, unpause the container before exec" } else { "not running" };
                err.message = format!("container {id} is {state}");
            }
            session.report(err);
            Err(AlreadyReported { code: if is_docker { 1 } else { NOT_RUNNING } }.into())
        }
        Err(Ok(err)) => Err(err.into()),
        Err(Err(err)) => Err(err),
        Ok(exit) => Ok(exit),
    }
}

fn exec(session: &mut Session<'_>, args: ExecArgs) -> anyhow::Result<Exit> {
    let engine = session.engine()?;
    let keys = detach_keys(engine, args.detach_keys.as_deref())?;
    let (id, command) = if let Some(file) = &args.cidfile {
        (engine.container(&targets::id_in(file)?)?, &args.words[..])
    } else if args.latest {
        (engine.latest_container()?, &args.words[..])
    } else {
        let typed = args.words[0].to_string_lossy();
        if typed.starts_with('-') {
            return Err(UsageError::unknown_flag(&typed).see("exec").into());
        }
        (engine.container(&typed)?, &args.words[1..])
    };
    if command.is_empty() {
        if session.globals.called.is_docker() {
            return Err(UsageError::new("missing argument: COMMAND").see("exec").into());
        }
        return Err(engine::Error::invalid(
            "must provide a non-empty command to start an exec session: invalid argument",
        )
        .into());
    }
    let request = ExecRequest {
        command: command.iter().map(|word| Bytes::from(word.as_os_str())).collect(),
        env: environment(false, &args.env_file, &args.env)?,
        user: args.user,
        workdir: args.workdir.filter(|path| !path.is_empty()).map(Bytes::from),
        terminal: args.tty,
        interactive: args.interactive,
        privileged: args.privileged,
        detached: args.detach,
        keep: args.kept.numbers()?,
    };
    if args.detach {
        let exec_id = match engine.exec_detached(&id, &request) {
            // Nobody waits for the command, so that its code is no answer: 125, as podman has it.
            Err(err) if matches!(err.kind, Kind::CommandNotFound | Kind::NotExecutable) => {
                session.report(err);
                return Err(AlreadyReported { code: FAILED }.into());
            }
            other => other?,
        };
        if !session.globals.called.is_docker() {
            writeln!(session.out, "{exec_id}")?;
        }
        return Ok(Exit::OK);
    }
    if args.tty && args.interactive && !tty::is_terminal(std::io::stdin()) {
        session.lacks_terminal()?;
    }
    let hello = Hello { stdout: true, stderr: true, stdin: args.interactive, ..Hello::default() };
    let attachment = Attachment { hello, terminal: args.tty, sig_proxy: true };
    let mut entered = None;
    let exit = attached_to(attachment, keys, |start| {
        let command = engine.exec(&id, &request, start)?;
        let process = pidfd::open(command.entered.pid);
        entered = Some(command);
        Ok(process.map_or(Route::Socket, Route::Process))
    })?;
    match (exit, &entered) {
        (Some(Exit(code)), Some(command)) => engine.exec_ended(&id, &command.session, code.into()),
        (None, Some(command)) => command.entered.release()?,
        (_, None) => {}
    }
    Ok(exit.unwrap_or(Exit::OK))
}
