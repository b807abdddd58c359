//! The /dev/shm of another container: who shares its IPC namespace shares its POSIX shared memory.

use std::os::fd::OwnedFd;
use std::path::Path;

use crate::runtime::failure::Failure;
use crate::runtime::foreign_mount::{self, Wanted};

/// A detached copy of the /dev/shm of the container whose process 1 is `pid`.
///
/// # Errors
///
/// If that container has put something else there, or has ended.
pub(super) fn of_container(pid: i32) -> Result<OwnedFd, Failure> {
    let what = "share /dev/shm of the other container";
    foreign_mount::copy_of(pid, Wanted { path: Path::new("/dev/shm"), only_tmpfs: true, what })
}
