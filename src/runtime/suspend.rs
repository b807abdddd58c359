//! Stopping all processes of a container where there is no freezer: SIGSTOP, and SIGCONT again.
//!
//! ```text
//! command ─stage─▶ suspend (in U) ─ SIGSTOP to process 1, by its pidfd
//!                     └─ joins user and PID namespace ─ clone3 ─▶ child: kill(-1, SIGSTOP)
//! ```
//!
//! Process 1 first, from outside: inside it is immune. `kill(-1)` holds the list of processes still while it
//! walks it, so no child of a process that is just forking gets away.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sched::CloneFlags;
use serde::{Deserialize, Serialize};

use crate::base::spec::Record;
use crate::runtime::launch::Caller;
use crate::runtime::{enter, errand};
use crate::sys::clone::{self, Cloned};
use crate::sys::{namespace, pidfd, process};

/// Whose processes, and whether they stop or go on.
#[derive(Debug, Serialize, Deserialize)]
struct SuspendOrder {
    pid: i32,
    start_ticks: u64,
    boot_id: String,
    stop: bool,
}

/// Stops every process of the container whose present life is `record`, or lets them go on.
///
/// # Errors
///
/// ESRCH if it has ended; what the system refuses.
pub(crate) fn suspend(caller: &Caller, record: &Record, stop: bool) -> io::Result<()> {
    let order = SuspendOrder {
        pid: record.pid,
        start_ticks: record.pid_start_ticks,
        boot_id: record.boot_id.clone(),
        stop,
    };
    let namespace = enter::user_namespace(caller, record).map_err(io::Error::other)?;
    errand::run(c"suspend", &namespace, &order)
}

/// The stage `suspend`: one order, and the errno for it.
pub(crate) fn main() -> ! {
    errand::main(SuspendOrder::carry_out)
}

impl SuspendOrder {
    fn carry_out(&self) -> io::Result<()> {
        let first = pidfd::open_verified(self.pid, self.start_ticks, &self.boot_id)?
            .ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))?;
        // Its others would be everybody's (`--pid=host`).
        if namespace::is_shared(self.pid, "pid")? {
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
        let signal = if self.stop { libc::SIGSTOP } else { libc::SIGCONT };
        pidfd::send_signal(first.as_fd(), signal)?;
        self.signal_others(&first, signal)
    }

    /// Signals all but process 1 of its PID namespace.
    fn signal_others(&self, first: &OwnedFd, signal: i32) -> io::Result<()> {
        let mut flags = CloneFlags::CLONE_NEWPID;
        if !namespace::is_shared(self.pid, "user")? {
            flags |= CloneFlags::CLONE_NEWUSER;
        }
        nix::sched::setns(first, flags)?;
        match clone::clone3(0)? {
            Cloned::Child => {
                let sent = nix::sys::signal::kill(nix::unistd::Pid::from_raw(-1), signal_of(signal));
                // That there is nobody else is no failure.
                let failed = sent.is_err_and(|errno| errno != nix::errno::Errno::ESRCH);
                process::exit_now(i32::from(failed))
            }
            Cloned::Parent { pidfd, .. } => match pidfd::wait(pidfd.as_fd())?.shell_code() {
                0 => Ok(()),
                _ => Err(io::Error::from_raw_os_error(libc::EPERM)),
            },
        }
    }
}

fn signal_of(number: i32) -> Option<nix::sys::signal::Signal> {
    nix::sys::signal::Signal::try_from(number).ok()
}
