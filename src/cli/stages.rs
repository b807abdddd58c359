//! ketch called by itself: `ketch --stage NAME …`, never typed by a user.
//!
//! SIGPIPE is still ignored here, as Rust starts a process; a stage that executes a foreign program
//! sets it back.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::cli::NAME;

/// One stage: gets the arguments after its name, returns the exit code of the process.
type Stage = fn(&[OsString]) -> ExitCode;

/// Every stage there is.
const STAGES: &[(&str, Stage)] = &[
    ("hello", |_| crate::cli::hello::main()),
    ("monitor", |_| crate::runtime::monitor::main()),
    ("assemble", |_| crate::runtime::assemble::main()),
    ("clean", |_| crate::runtime::clean::main()),
    ("copy", |_| crate::runtime::copy::main()),
    ("enter", |_| crate::runtime::enter::main()),
    ("layer", |_| crate::runtime::layer::main()),
    ("netcheck", |_| crate::runtime::netcheck::main()),
    ("netd", |_| crate::runtime::netd::main()),
    ("signal", |_| crate::runtime::send_signal::main()),
    ("suspend", |_| crate::runtime::suspend::main()),
    ("sweep", |_| crate::runtime::clean::sweep()),
    ("unpack", |_| crate::runtime::worker::main()),
];

/// Runs the stage that `args` name.
pub(crate) fn run(args: &[OsString]) -> ExitCode {
    let known = args.first().and_then(|name| STAGES.iter().find(|(known, _)| name == known));
    match known {
        Some((_, stage)) => stage(&args[1..]),
        None => {
            say!("Error: {NAME} --stage is for {NAME} itself");
            ExitCode::from(125)
        }
    }
}
