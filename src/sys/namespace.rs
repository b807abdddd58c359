//! Namespaces as files below /proc/PID/ns: open one, tell one from another.
//!
//! Two of these files name the same namespace where device and inode are the same (namespaces(7), ioctl_ns(2)).

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// What tells a namespace from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

impl From<rustix::fs::Stat> for Identity {
    fn from(stat: rustix::fs::Stat) -> Self {
        Self { device: stat.st_dev, inode: stat.st_ino }
    }
}

/// Opens the namespace of a kind (`user`, `pid`, …) that a process is in.
pub(crate) fn open(pid: i32, kind: &str) -> Result<OwnedFd, Errno> {
    rustix::fs::open(format!("/proc/{pid}/ns/{kind}"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// Opens the calling process's own.
pub(crate) fn open_own(kind: &str) -> Result<OwnedFd, Errno> {
    rustix::fs::open(format!("/proc/self/ns/{kind}"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// Which namespace an open one is.
pub(crate) fn identity(namespace: impl AsFd) -> Result<Identity, Errno> {
    rustix::fs::fstat(namespace).map(Identity::from)
}

/// Whether a process is in the caller's own namespace of a kind.
pub(crate) fn is_shared(pid: i32, kind: &str) -> Result<bool, Errno> {
    let identity = |process: &str| rustix::fs::stat(format!("/proc/{process}/ns/{kind}")).map(Identity::from);
    Ok(identity("self")? == identity(&pid.to_string())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_told_from_another() {
        let pid = i32::try_from(std::process::id()).unwrap();
        assert_eq!(is_shared(pid, "user"), Ok(true));
        assert_eq!(identity(open(pid, "net").unwrap()), identity(open_own("net").unwrap()));
        assert_ne!(identity(open_own("net").unwrap()), identity(open_own("mnt").unwrap()));
        assert_eq!(is_shared(0, "user"), Err(Errno::NOENT));
    }
}
