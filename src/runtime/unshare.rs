//! Runs a command of the user inside U: what `unshare` does.
//!
//! The command keeps the caller's terminal, environment and directory; it sees itself as root, and
//! files of the subordinate range as those of other users. It may be put into G as well, where the
//! containers' networks are:
//!
//! ```text
//! child: U ─▶ netd, started if need be ─Hold─▶ G ─▶ connection to the parent ─▶ execve
//! parent: keeps the connection, and so netd and G, until the command has ended
//! ```

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use crate::cgroup::unit::Surroundings;
use crate::net::client;
use crate::runtime::failure::Failure;
use crate::runtime::launch::{Caller, stage_failure};
use crate::runtime::monitor::wiring;
use crate::runtime::netd;
use crate::stage::maps::{self, Maps};
use crate::stage::spawn::{self, StageError, UserNamespace};
use crate::stage::wire;
use crate::sys::clone::{self, Cloned};
use crate::sys::{netns, pidfd, process, signal};

/// What to run.
#[derive(Debug)]
pub(crate) struct Command {
    /// The program's path.
    pub(crate) program: CString,
    /// Its arguments, its name first.
    pub(crate) args: Vec<CString>,
    /// Its environment.
    pub(crate) env: Vec<CString>,
}

/// How to come into G: what netd is started with, if it does not run.
#[derive(Debug)]
pub(crate) struct IntoGateway {
    /// How long netd stays without containers.
    pub(crate) linger: Duration,
    pub(crate) cgroups: Surroundings,
}

/// Runs `command` in U and a mount namespace of its own, with `gateway` in G, and returns its exit code
/// as a shell has it.
///
/// # Errors
///
/// If the namespaces cannot be made. The exit code is 126 if the program cannot be executed.
pub(crate) fn run(
    caller: &Caller,
    root: &Path,
    command: &Command,
    gateway: Option<&IntoGateway>,
) -> Result<i32, Failure> {
    let namespace = caller.namespace(root);
    let failed = |err: StageError| stage_failure(&err);
    let (ours, theirs) = wire::pair().map_err(|err| failed(err.into()))?;
    let (closed, gate) = maps::gate().map_err(|err| failed(err.into()))?;
    let flags = match &namespace {
        UserNamespace::Create(_) => clone::flags::USER,
        _ => 0,
    };
    // Keys of the terminal are for the command; this process only waits for it.
    for number in [libc::SIGINT, libc::SIGQUIT] {
        signal::set_ignored(number).ok();
    }
    match clone::clone3(flags).map_err(|source| failed(StageError::Namespace { source }))? {
        Cloned::Child => {
            drop((ours, gate));
            for number in [libc::SIGINT, libc::SIGQUIT, libc::SIGPIPE] {
                signal::set_default(number).ok();
            }
            if spawn::enter_namespaces_of(&namespace, &closed).is_err() {
                process::exit_now(125);
            }
            if let Some(how) = gateway {
                enter_gateway(root, &caller.fingerprint(), how, &theirs);
            }
            let args: Vec<_> = command.args.iter().map(CString::as_c_str).collect();
            let env: Vec<_> = command.env.iter().map(CString::as_c_str).collect();
            process::execve(&command.program, &args, &env);
            process::exit_now(126)
        }
        Cloned::Parent { pid, pidfd } => {
            drop(theirs);
            if let UserNamespace::Create(mapping) = &namespace {
                Maps::begin(pid, mapping, gate).and_then(Maps::finish).map_err(failed)?;
            }
            // Closed when the command has ended: netd may go then.
            let _held = gateway.map(|_| held(&ours)).transpose()?;
            let end = pidfd::wait(pidfd.as_fd());
            end.map(|end| end.shell_code()).map_err(|err| Failure::errno("wait for the command", err))
        }
    }
}

/// The child's way into G; the connection that keeps netd goes to the parent. A process that cannot get
/// there tells the parent why, and ends.
fn enter_gateway(root: &Path, fingerprint: &str, how: &IntoGateway, parent: &OwnedFd) {
    let start = |first: OwnedFd, gateway: Option<std::os::fd::BorrowedFd<'_>>| {
        netd::start(root, (how.linger, fingerprint, &how.cgroups), first, gateway)
    };
    let outcome = netd::directory(root)
        .map_err(|err| Failure::errno("make the network helper's directory", err))
        .and_then(|directory| {
            client::hold(directory.as_fd(), &start).map_err(|error| wiring::failure(error, root))
        })
        .and_then(|(gateway, session)| match netns::enter(gateway.as_fd()) {
            Ok(()) => Ok(session),
            Err(errno) => Err(Failure::errno("enter the containers' network namespace", errno)),
        });
    let told = match &outcome {
        Ok(session) => wire::send(parent.as_fd(), &None::<Failure>, &[session.as_fd()]),
        Err(failure) => wire::send(parent.as_fd(), &Some(failure), &[]),
    };
    if outcome.is_err() || told.is_err() {
        process::exit_now(125);
    }
}

/// The connection that keeps netd, from the child.
fn held(child: &OwnedFd) -> Result<Vec<OwnedFd>, Failure> {
    match wire::receive::<Option<Failure>>(child.as_fd()) {
        Ok((None, session)) => Ok(session),
        Ok((Some(failure), _)) => Err(failure),
        Err(err) => Err(Failure::system("enter the user namespace", &err)),
    }
}
