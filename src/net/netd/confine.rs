//! What netd gives up once G is built: it talks to strangers from then on.
//!
//! ```text
//! no_new_privs · Landlock: its own directories, and where name servers are written down
//!              · seccomp: the calls that moving bytes takes
//! ```

use std::os::fd::{AsFd, OwnedFd};

use crate::sys::landlock;
use crate::sys::seccomp::{self, BpfInsn};

/// What stays allowed.
#[derive(Debug)]
pub(crate) struct Confinement {
    /// The compiled filter of system calls.
    pub(crate) filter: Vec<BpfInsn>,
    /// Directories below which it may read and write.
    pub(crate) writable: Vec<OwnedFd>,
    /// Directories below which it may read.
    pub(crate) readable: Vec<OwnedFd>,
}

impl Confinement {
    /// Confines the calling thread and those it starts from here on, for ever. A kernel without Landlock
    /// leaves the rest.
    pub(super) fn apply(&self) -> std::io::Result<()> {
        rustix::thread::set_no_new_privs(true)?;
        let writable: Vec<_> = self.writable.iter().map(AsFd::as_fd).collect();
        let readable: Vec<_> = self.readable.iter().map(AsFd::as_fd).collect();
        landlock::restrict_files(&writable, &readable)?;
        seccomp::load(&self.filter).map_err(std::io::Error::from)
    }
}
