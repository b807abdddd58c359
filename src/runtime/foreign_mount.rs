//! What is mounted somewhere in another process's mount namespace.
//!
//! A mount can be copied only by a process of its own mount namespace. So a child goes there, makes a
//! detached copy, hands it back and ends; the caller stays where it is.
//!
//! ```text
//! caller ──clone3──▶ child: setns(mount namespace of the process) ─ open_tree(path)
//!    ▲                        │
//!    └──── descriptor ────────┘
//! ```

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::sched::CloneFlags;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use serde::{Deserialize, Serialize};

use crate::runtime::failure::{Failure, FailureKind};
use crate::stage::wire;
use crate::sys::clone::{self, Cloned};
use crate::sys::{mount, namespace, pidfd, process};

/// statfs(2).
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// What to copy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// Absolute path in that namespace. No link is followed: what lies there may be chosen by a container.
    pub(crate) path: &'a Path,
    /// Refuse everything else.
    pub(crate) only_tmpfs: bool,
    /// What it is for, for messages.
    pub(crate) what: &'a str,
}

/// The child's one message; the descriptor comes along.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Made,
    Failed(Failure),
}

/// A detached copy of what process `pid` has mounted on a path, without what is mounted below it. The caller has
/// one thread.
///
/// # Errors
///
/// If there is something else, or the process has ended.
pub(crate) fn copy_of(pid: i32, wanted: Wanted<'_>) -> Result<OwnedFd, Failure> {
    let what = wanted.what;
    let namespace = namespace::open(pid, "mnt").map_err(|errno| Failure::errno(what, errno))?;
    made_by_child(what, || copy(&namespace, wanted))
}

/// The mount that `make` makes in a child of the caller, which has one thread. `what` is what it is for, for messages.
///
/// # Errors
///
/// Those of `make`.
pub(crate) fn made_by_child(
    what: &str,
    make: impl FnOnce() -> Result<OwnedFd, Failure>,
) -> Result<OwnedFd, Failure> {
    let (ours, theirs) = wire::pair().map_err(|err| Failure::errno("make a socket", err))?;
    match clone::clone3(0).map_err(|errno| Failure::errno("start a process", errno))? {
        Cloned::Child => {
            let sent = match make() {
                Ok(made) => wire::send(theirs.as_fd(), &Answer::Made, &[made.as_fd()]),
                Err(failure) => wire::send(theirs.as_fd(), &Answer::Failed(failure), &[]),
            };
            process::exit_now(i32::from(sent.is_err()))
        }
        Cloned::Parent { pidfd, .. } => {
            drop(theirs);
            let answer = wire::receive::<Answer>(ours.as_fd()).map_err(|err| Failure::system(what, &err));
            pidfd::wait(pidfd.as_fd()).ok();
            match answer? {
                (Answer::Made, descriptors) => {
                    let [made] = wire::take(descriptors).map_err(|err| Failure::system(what, &err))?;
                    Ok(made)
                }
                (Answer::Failed(failure), _) => Err(failure),
            }
        }
    }
}

/// In the child: enters the mount namespace and copies what is mounted there.
fn copy(namespace: &OwnedFd, wanted: Wanted<'_>) -> Result<OwnedFd, Failure> {
    let shown = wanted.path.display();
    let failed = |errno: rustix::io::Errno| {
        Failure::errno(format!("{}: open {shown} of the other container", wanted.what), errno)
    };
    nix::sched::setns(namespace, CloneFlags::CLONE_NEWNS)
        .map_err(|errno| Failure::errno("join the mount namespace of the other container", errno))?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let found =
        rustix::fs::openat2(rustix::fs::CWD, wanted.path, flags, Mode::empty(), resolve).map_err(failed)?;
    if wanted.only_tmpfs && rustix::fs::fstatfs(&found).map_err(failed)?.f_type != TMPFS_MAGIC {
        let message = format!("{shown} of the other container is no tmpfs, so it cannot be shared");
        return Err(Failure::new(FailureKind::Invalid, message));
    }
    Ok(mount::clone_tree(found.as_fd(), Path::new(""), false)?)
}
