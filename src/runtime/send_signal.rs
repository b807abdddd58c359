//! Signalling a process 1 that has no monitor.
//!
//! The user may signal processes of their own ID. A container with a user of its own runs under an ID
//! of the subordinate range: then a stage inside U does it, where the user is root.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::base::spec::Record;
use crate::runtime::errand;
use crate::runtime::launch::Caller;
use crate::sys::pidfd;

/// Which process, and which signal.
#[derive(Debug, Serialize, Deserialize)]
struct SignalOrder {
    pid: i32,
    start_ticks: u64,
    boot_id: String,
    signal: i32,
}

impl SignalOrder {
    /// Signals the process, if it is still the one.
    fn carry_out(&self) -> io::Result<()> {
        match pidfd::open_verified(self.pid, self.start_ticks, &self.boot_id)? {
            Some(pidfd) => pidfd::send_signal(pidfd.as_fd(), self.signal),
            None => Err(io::Error::from_raw_os_error(libc::ESRCH)),
        }
    }
}

/// Sends `signal` to process 1 of the life that `record` tells of.
///
/// # Errors
///
/// ESRCH if it is gone; EPERM if even root of U may not.
pub(crate) fn send(caller: &Caller, root: &Path, record: &Record, signal: i32) -> io::Result<()> {
    let order = SignalOrder {
        pid: record.pid,
        start_ticks: record.pid_start_ticks,
        boot_id: record.boot_id.clone(),
        signal,
    };
    match order.carry_out() {
        Err(err) if err.raw_os_error() == Some(libc::EPERM) && caller.mapping.is_some() => {
            errand::run(c"signal", &caller.namespace(root), &order)
        }
        other => other,
    }
}

/// The stage `signal`: one order, and the errno for it.
pub(crate) fn main() -> ! {
    errand::main(SignalOrder::carry_out)
}
