//! ketch: a daemonless, rootless container engine in one static binary.
//!
//! The modules below are rows of a house (ARCHITECTURE.md): each uses only rows beneath its own.

use std::process::ExitCode;

mod api;
mod attach;
mod base;
mod cgroup;
mod cli;
mod compose;
mod documents;
mod engine;
mod events;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod kube;
mod logs;
mod net;
mod quadlet;
mod registry;
mod runtime;
mod stage;
mod store;
#[allow(unsafe_code)]
mod sys;

/// Runs the program: a command of the user, or one of ketch's own stages.
pub fn main() -> ExitCode {
    cli::main()
}
