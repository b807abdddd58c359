//! The filter of system calls: which calls a container may make, as a program for the kernel.
//!
//! ```text
//! default (a table) ─┐
//!                    ├─▶ rules ─▶ assemble ─▶ Vec<BpfInsn> ─▶ sys::seccomp::load
//! profile (JSON) ────┘
//! ```

mod assemble;
mod calls;
mod default;
#[cfg(test)]
mod interpret;
mod profile;
mod rules;

use crate::base::spec::Seccomp;
use crate::runtime::seccomp::rules::{Abi, Abis};
use crate::sys::seccomp::BpfInsn;

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SeccompError {
    #[error("read seccomp profile")]
    Json(#[from] serde_json::Error),
    #[error("seccomp profile: {what} {value:?} is not supported")]
    Unsupported { what: &'static str, value: String },
    #[error("seccomp profile: {what} is {value}, more than {max}")]
    TooLarge { what: &'static str, value: u64, max: u64 },
    #[error("seccomp profile: both \"architectures\" and \"archMap\" are given")]
    TwoArchitectureLists,
    #[error("seccomp profile becomes {len} instructions, more than the kernel takes (4096)")]
    TooLong { len: usize },
}

/// The program for `seccomp`, in a container whose bounding set is `caps`; empty for no filter.
///
/// # Errors
///
/// Only for a profile of the user: it cannot be read, asks for what ketch does not have, or is too long.
pub(crate) fn compile(seccomp: &Seccomp, caps: u64) -> Result<Vec<BpfInsn>, SeccompError> {
    let rules = match seccomp {
        Seccomp::Unconfined => return Ok(Vec::new()),
        Seccomp::Default => default::rules(machine(), caps),
        Seccomp::Profile(text) => {
            profile::parse(text, &profile::Target { abis: machine(), caps, kernel: kernel() })?
        }
    };
    assemble::assemble(&rules)
}

/// The ABIs that programs of this machine may have.
fn machine() -> Abis {
    Abis::of(if cfg!(target_arch = "aarch64") {
        &[Abi::Aarch64, Abi::Arm]
    } else {
        &[Abi::X86_64, Abi::I386, Abi::X32]
    })
}

/// Major and minor number of the running kernel; 0.0 if it does not say.
fn kernel() -> (u32, u32) {
    let release = nix::sys::utsname::uname().ok().and_then(|name| name.release().to_str().map(str::to_owned));
    release.and_then(|release| profile::version(&release)).unwrap_or((0, 0))
}

#[cfg(test)]
mod tests;
