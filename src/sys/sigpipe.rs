//! Dispositions of signals.

use nix::errno::Errno;
use nix::sys::signal::{SigHandler, Signal, signal};

/// Makes a write to a pipe without reader end the process, as it ends other programs.
///
/// Rust starts every process with SIGPIPE ignored. A command line tool whose reader has gone
/// (`ketch ps | head -1`) should end without a word; long-lived processes keep it ignored.
pub(crate) fn default_sigpipe() -> Result<(), Errno> {
    // SAFETY: the default disposition runs no code of ours, so there is no handler that could be
    // called at a bad moment.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }.map(drop)
}
