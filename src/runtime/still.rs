//! Keeping a container from its next life while its files are used from outside.
//!
//! A flock of the container's directory: whoever reads or writes the files of a container that does not run holds it,
//! and so does its monitor from before a life begins until that is noted. So the pause of a restart policy hinders no
//! copy, and a life that is due begins when the copy is done. The lock `lock` says that a monitor is there, and is not
//! for this.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::sys::fs::{DirectoryLock, Share};

/// Held by whoever uses the files of a container that does not run, or has it begin a life. (A process 1 that waits for its
/// start has a copy of the descriptor.)
#[derive(Debug)]
pub(crate) struct Still(#[allow(dead_code, reason = "held")] DirectoryLock);

impl Still {
    /// Takes it for the container in `directory`; `None` while somebody else has it.
    ///
    /// # Errors
    ///
    /// If the directory is gone, or its file system has no locks.
    pub(crate) fn try_take(directory: &Path) -> io::Result<Option<Self>> {
        let lock = DirectoryLock::take(directory, Share::Exclusive, Duration::ZERO, Duration::ZERO)?;
        Ok(lock.map(Self))
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn one_at_a_time_holds_a_container_still() {
        let dir = tempfile::tempdir().unwrap();
        let held = Still::try_take(dir.path()).unwrap();
        let copy = held.as_ref().unwrap().0.as_fd().try_clone_to_owned().unwrap();
        assert!(Still::try_take(dir.path()).unwrap().is_none());
        drop(held);
        assert!(Still::try_take(dir.path()).unwrap().is_some());
        drop(copy);
        assert!(Still::try_take(&dir.path().join("gone")).is_err());
    }
}
