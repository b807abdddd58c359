//! Runs a command of the user inside U: what `unshare` does.
//!
//! The command keeps the caller's terminal, environment and directory; it sees itself as root, and
//! files of the subordinate range as those of other users.

use std::ffi::CString;
use std::io;
use std::os::fd::AsFd;

use crate::runtime::launch::Caller;
use crate::stage::spawn::{self, StageError, UserNamespace};
use crate::stage::wire;
use crate::sys::clone::{self, Cloned};
use crate::sys::{pidfd, process, signal};

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

/// Runs `command` in U and a mount namespace of its own, and returns its exit code as a shell has it.
///
/// # Errors
///
/// If the namespaces cannot be made. The exit code is 126 if the program cannot be executed.
pub(crate) fn run(caller: &Caller, root: &std::path::Path, command: &Command) -> Result<i32, StageError> {
    let namespace = caller.namespace(root);
    let (ours, theirs) = wire::pair()?;
    let flags = match &namespace {
        UserNamespace::Create(_) => clone::flags::USER,
        _ => 0,
    };
    // Keys of the terminal are for the command; this process only waits for it.
    for number in [libc::SIGINT, libc::SIGQUIT] {
        signal::set_ignored(number).ok();
    }
    match clone::clone3(flags).map_err(|source| StageError::Namespace { source })? {
        Cloned::Child => {
            drop(ours);
            for number in [libc::SIGINT, libc::SIGQUIT, libc::SIGPIPE] {
                signal::set_default(number).ok();
            }
            if spawn::enter_namespaces_of(&namespace, &theirs).is_err() {
                process::exit_now(125);
            }
            let args: Vec<_> = command.args.iter().map(CString::as_c_str).collect();
            let env: Vec<_> = command.env.iter().map(CString::as_c_str).collect();
            process::execve(&command.program, &args, &env);
            process::exit_now(126)
        }
        Cloned::Parent { pid, pidfd } => {
            drop(theirs);
            if let UserNamespace::Create(mapping) = &namespace {
                spawn::write_maps(pid, mapping)?;
                rustix::io::write(&ours, b"m").map_err(io::Error::from)?;
            }
            Ok(pidfd::wait(pidfd.as_fd())?.shell_code())
        }
    }
}
