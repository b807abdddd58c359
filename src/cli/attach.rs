//! `ketch attach`, and the terminal's side of every attached command.

use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::Context as _;
use clap::{ArgAction, Args};

use crate::attach::client::{self, End, Local};
use crate::attach::detach::DetachKeys;
use crate::base::id::ContainerId;
use crate::cli::run;
use crate::cli::session::{Exit, Session};
use crate::cli::targets::{self, Latest};
use crate::engine::attach::{Attachment, SignalPath};
use crate::engine::{Engine, Error, Kind};
use crate::sys::{pidfd, signal};

/// Attach to a running container
///
/// Shows what the container prints from now on, and sends it what is typed, if it was made with
/// `--interactive`. The command ends with the container and with its exit code, or when the detach
/// keys are typed.
#[derive(Args, Debug)]
pub(crate) struct AttachArgs {
    /// Container to attach to, by name or ID
    #[arg(value_name = "CONTAINER")]
    container: Option<String>,

    /// Keys that detach: characters or ctrl-VALUE (a-z @ [ \ ] ^ _), separated by commas; empty for none
    ///
    /// Without it those of containers.conf, else ctrl-p,ctrl-q.
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,

    /// Do not send standard input
    #[arg(long)]
    no_stdin: bool,

    /// Pass signals on to the container
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set,
        num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    sig_proxy: bool,

    #[command(flatten)]
    latest: Latest,
}

/// Runs the verb.
pub(crate) fn run(session: &mut Session<'_>, args: AttachArgs) -> anyhow::Result<Exit> {
    let id = targets::one(session, args.container.as_ref(), &args.latest)?;
    let keys = run::detach_keys(session.engine()?, args.detach_keys.as_deref())?;
    let engine = session.engine()?;
    if session.globals.called.is_docker() && !engine.runs(&id)? {
        return Err(Error::invalid("You cannot attach to a stopped container, start it first").into());
    }
    to_running(engine, &id, !args.no_stdin, keys, args.sig_proxy)
}

/// Attaches to a running container, to its input only with `stdin`, and stays until it ends or the user leaves.
///
/// # Errors
///
/// Conflict if it does not run; as [`pump`].
pub(crate) fn to_running(
    engine: &Engine,
    id: &ContainerId,
    stdin: bool,
    detach_keys: DetachKeys,
    sig_proxy: bool,
) -> anyhow::Result<Exit> {
    let Attachment { socket, terminal, stdin, signals } = engine.attach(id, stdin)?;
    let route = sig_proxy.then_some(Route::Monitor(signals));
    Ok(pump(socket, terminal, stdin, detach_keys, route)?.unwrap_or(Exit::OK))
}

/// How signals reach a process that a command is attached to.
#[derive(Debug)]
pub(crate) enum Route {
    /// Through the monitor of its container, by a connection of their own.
    Monitor(SignalPath),
    /// To the process itself; where that is not allowed, as [`Route::Socket`].
    Process(OwnedFd),
    /// Behind its input.
    Socket,
}

impl Route {
    /// Sends a signal; false if it is to go behind the input. That a signal cannot be delivered has
    /// nobody to be told: the terminal is the container's.
    fn send(&self, number: i32) -> bool {
        match self {
            Self::Monitor(path) => path.send(number).is_ok(),
            Self::Process(process) => pidfd::send_signal(process.as_fd(), number).is_ok(),
            Self::Socket => false,
        }
    }
}

/// Joins the terminal, or the pipes, of this command with a process until it ends or the user leaves.
/// The exit code is that of the process; `None` when the user has left. `terminal` and `stdin` say
/// whether the process has a terminal, and whether it takes input. Without `route`, signals end this
/// command.
///
/// # Errors
///
/// If the monitor goes away without a word, or standard output cannot be written.
pub(crate) fn pump(
    socket: OwnedFd,
    terminal: bool,
    stdin: bool,
    detach_keys: DetachKeys,
    route: Option<Route>,
) -> anyhow::Result<Option<Exit>> {
    let (input, output, errors) = (io::stdin(), io::stdout(), io::stderr());
    let mut pass_on = route.map(|route| move |number| route.send(number));
    let local = Local {
        stdin: stdin.then(|| input.as_fd()),
        stdout: output.as_fd(),
        stderr: errors.as_fd(),
        terminal,
        detach_keys,
        on_signal: pass_on.as_mut().map(|pass_on| pass_on as &mut dyn FnMut(i32) -> bool),
    };
    match client::pump(socket, local).context("write the container's output")? {
        // Codes are 0 to 255 but for the -1 of an end that nobody saw.
        End::Exited(code) => Ok(Some(Exit(u8::try_from(code).unwrap_or(u8::MAX)))),
        End::Detached => {
            // As docker says it, behind the container's prompt; for the shell's own begins a new line.
            if io::stderr().is_terminal() {
                io::stderr().write_all(b"read escape sequence\n").ok();
            }
            Ok(None)
        }
        End::Signal(number) => {
            signal::set_default(number)?;
            signal::raise(number);
            Ok(Some(Exit(u8::try_from(128 + number).unwrap_or(u8::MAX))))
        }
        End::Lost => {
            let message = "the container's monitor is gone: its output is lost from here on";
            Err(Error::new(Kind::System, message)
                .hint("see `ketch ps` for whether the container still runs")
                .into())
        }
    }
}
