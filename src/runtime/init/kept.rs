//! Descriptors of the caller that a container's command gets (`--preserve-fds`).
//!
//! ```text
//! caller's 3, 4 … ──SCM_RIGHTS──▶ monitor or enter: 200, 201 …   ──dup2, as the last thing──▶ the command's 3, 4 …
//! ```
//!
//! Their numbers are taken by other descriptors until then, so they wait above them.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use crate::runtime::failure::Failure;
use crate::sys::process;

/// The lowest number under which descriptors wait.
const WAITING: i32 = 200;

/// A descriptor under a number above all of `numbers`.
fn above(descriptor: OwnedFd, numbers: impl Iterator<Item = i32>) -> Result<OwnedFd, Failure> {
    let first = numbers.max().map_or(WAITING, |highest| highest.saturating_add(1).max(WAITING));
    rustix::io::fcntl_dupfd_cloexec(&descriptor, first)
        .map_err(|errno| Failure::errno("move a descriptor out of the way", errno))
}

/// Moves a descriptor that this process needs to the end, if the command gets some of its own.
pub(crate) fn out_of_the_way(descriptor: OwnedFd, kept: &[(i32, i32)]) -> Result<OwnedFd, Failure> {
    if kept.is_empty() {
        return Ok(descriptor);
    }
    above(descriptor, kept.iter().map(|(_, number)| *number))
}

/// Gives this process's descriptors the numbers that the command is to find them under. What else in its memory
/// means them is not used any more: the next thing is the command.
pub(super) fn place(kept: &[(i32, i32)]) -> Result<(), Failure> {
    for (own, number) in kept {
        process::inherited(*own)
            .and_then(|descriptor| process::place_at(descriptor.as_fd(), *number))
            .map_err(|errno| Failure::errno(format!("pass descriptor {number} on"), errno))?;
    }
    Ok(())
}

/// As [`RunPlan::kept`](crate::runtime::step::RunPlan::kept) wants them.
pub(crate) fn plan(kept: &[(OwnedFd, i32)]) -> Vec<(i32, i32)> {
    kept.iter().map(|(descriptor, number)| (descriptor.as_raw_fd(), *number)).collect()
}

/// Takes the descriptors that came for `numbers`, and moves them out of the way.
pub(crate) fn take(
    descriptors: impl IntoIterator<Item = OwnedFd>,
    numbers: &[i32],
) -> Result<Vec<(OwnedFd, i32)>, Failure> {
    let kept = descriptors.into_iter().zip(numbers);
    kept.map(|(descriptor, number)| Ok((above(descriptor, numbers.iter().copied())?, *number))).collect()
}
