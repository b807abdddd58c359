//! `ketch attach`, and the terminal's side of every attached command.

use std::io::{self, Write as _};
use std::os::fd::AsFd as _;

use clap::{ArgAction, Args};

use crate::attach::client::{self, End, Local};
use crate::attach::detach::{self, DetachKeys};
use crate::cli::session::{Exit, Session};
use crate::cli::targets::{self, Latest};
use crate::engine::attach::Attachment;
use crate::engine::{Error, Kind};
use crate::sys::signal;

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

    #[command(flatten)]
    keys: DetachArg,

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

/// `--detach-keys`.
#[derive(Args, Debug)]
pub(crate) struct DetachArg {
    /// Keys that detach: characters or ctrl-VALUE (a-z @ [ \ ] ^ _), separated by commas; empty for none
    #[arg(long, value_name = "KEYS", default_value = detach::DEFAULT)]
    pub(crate) detach_keys: DetachKeys,
}

/// Runs the verb.
pub(crate) fn run(session: &mut Session<'_>, args: AttachArgs) -> anyhow::Result<Exit> {
    let id = targets::one(session, args.container.as_ref(), &args.latest)?;
    let attachment = session.engine()?.attach(&id, !args.no_stdin)?;
    pump(session, attachment, args.keys.detach_keys, args.sig_proxy)
}

/// Joins the terminal, or the pipes, of this command with a container until it ends or the user leaves.
/// The exit code is the container's, or 0 when the user has left.
///
/// # Errors
///
/// If the monitor goes away without a word, or standard output cannot be written.
pub(crate) fn pump(
    session: &mut Session<'_>,
    attachment: Attachment,
    detach_keys: DetachKeys,
    sig_proxy: bool,
) -> anyhow::Result<Exit> {
    session.out.flush()?;
    let Attachment { socket, terminal, stdin, signals } = attachment;
    let (input, output, errors) = (io::stdin(), io::stdout(), io::stderr());
    // A signal that cannot be delivered has nobody to be told: the terminal is the container's.
    let mut pass_on = |number| signals.send(number).unwrap_or_default();
    let local = Local {
        stdin: stdin.then(|| input.as_fd()),
        stdout: output.as_fd(),
        stderr: errors.as_fd(),
        terminal,
        detach_keys,
        on_signal: if sig_proxy { Some(&mut pass_on) } else { None },
    };
    match client::pump(socket, local)? {
        // Codes are 0 to 255 but for the -1 of an end that nobody saw.
        End::Exited(code) => Ok(Exit(u8::try_from(code).unwrap_or(u8::MAX))),
        End::Detached => Ok(Exit::OK),
        End::Signal(number) => {
            signal::set_default(number)?;
            signal::raise(number);
            Ok(Exit(u8::try_from(128 + number).unwrap_or(u8::MAX)))
        }
        End::Lost => {
            Err(Error::new(Kind::System, "the container's monitor is gone: its output is lost from here on")
                .hint("see `ps` for whether the container still runs")
                .into())
        }
    }
}
