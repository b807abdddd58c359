//! Errors without backtraces: the release binary has no tables to make them from (see build.rs), and the
//! unwinder, asked for one, aborts the program.

use std::backtrace::Backtrace;
use std::ffi::OsStr;

/// What the standard library asks before it captures a backtrace; once, for the whole life of the process.
pub(crate) const SWITCH: &str = "RUST_LIB_BACKTRACE";

/// Makes sure that no error of this process ever captures a backtrace, whatever the environment asks for
/// (`asked` is what [`SWITCH`] is set to). The environment, which containers may be given, is left as it was.
///
/// To be called before the process has a second thread.
pub(crate) fn never_capture(asked: Option<&OsStr>) {
    // SAFETY: there is one thread, so nobody reads the environment meanwhile.
    unsafe { std::env::set_var(SWITCH, "0") };
    // The answer is kept; nothing is captured.
    drop(Backtrace::capture());
    match asked {
        // SAFETY: as above.
        Some(value) => unsafe { std::env::set_var(SWITCH, value) },
        // SAFETY: as above.
        None => unsafe { std::env::remove_var(SWITCH) },
    }
}
