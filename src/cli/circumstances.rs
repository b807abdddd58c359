//! What a command inherits from its caller's shell and could not work with.
//!
//! ```text
//! umask 0777    takes the owner's own rights away: those stay, what others may is the caller's business
//! ulimit -f N   a write beyond it is an error (EFBIG) that is told, and no end by SIGXFSZ in the middle of something
//! ulimit -s N   too small a stack cannot be mended from within, and would end in a crash without a reason
//! ```
//!
//! The program's own processes (monitors, stages) inherit the first two; containers get signals and umask anew.

use rustix::fs::Mode;
use rustix::process::{Resource, getrlimit, umask};

use crate::cli::usage::UsageError;
use crate::sys::signal;

/// The least stack, in bytes: half of it is what the largest help page takes, with room to spare.
const LEAST_STACK_BYTES: u64 = 512 << 10;

/// Makes the best of it.
///
/// # Errors
///
/// If the stack is too small.
pub(super) fn prepare() -> Result<(), UsageError> {
    let private = Mode::from_raw_mode(0o077);
    let before = umask(private);
    if before != private {
        umask(before & private);
    }
    // Should this fail, the kernel ends this process as it would end others.
    signal::set_ignored(libc::SIGXFSZ).ok();
    match getrlimit(Resource::Stack).current {
        Some(limit) if limit < LEAST_STACK_BYTES => Err(UsageError::new(format!(
            "the stack may have {} KiB here (ulimit -s), ketch needs {}",
            limit >> 10,
            LEAST_STACK_BYTES >> 10
        ))),
        _ => Ok(()),
    }
}
