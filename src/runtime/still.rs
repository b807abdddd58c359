//! Keeping a container from its next life while its files are used from outside.
//!
//! A flock of the container's directory: whoever reads or writes the files of a container that does not run holds it,
//! and so does its monitor from before a life begins until that is noted. So the pause of a restart policy hinders no
//! copy, and a life that is due begins when the copy is done. The lock `lock` says that a monitor is there, and is not
//! for this.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::sys::fs::{self, Share};

/// Held by whoever uses the files of a container that does not run, or has it begin a life.
#[derive(Debug)]
pub(crate) struct Still(OwnedFd);

impl Still {
    /// Takes it for the container in `directory`; `None` while somebody else has it.
    ///
    /// # Errors
    ///
    /// If the directory is gone, or its file system has no locks.
    pub(crate) fn try_take(directory: &Path) -> io::Result<Option<Self>> {
        let directory =
            rustix::fs::open(directory, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(fs::try_lock(&directory, Share::Exclusive)?.then_some(Self(directory)))
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        // A process 1 that waits for its start has a copy of the descriptor.
        fs::unlock(&self.0).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_holds_a_container_still() {
        let dir = tempfile::tempdir().unwrap();
        let held = Still::try_take(dir.path()).unwrap();
        let copy = held.as_ref().unwrap().0.try_clone().unwrap();
        assert!(Still::try_take(dir.path()).unwrap().is_none());
        drop(held);
        assert!(Still::try_take(dir.path()).unwrap().is_some());
        drop(copy);
        assert!(Still::try_take(&dir.path().join("gone")).is_err());
    }
}
