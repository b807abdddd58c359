//! The /dev/shm of another container: who shares its IPC namespace shares its POSIX shared memory.
//!
//! A mount can be copied only by a process of its own mount namespace. So a child goes there, makes a
//! detached copy, hands it back and ends; the monitor itself stays where it is.
//!
//! ```text
//! monitor ──clone3──▶ child: setns(mount namespace of process 1) ─ open_tree(/dev/shm)
//!    ▲                         │
//!    └──── descriptor ─────────┘
//! ```

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::sched::CloneFlags;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use serde::{Deserialize, Serialize};

use crate::runtime::failure::{Failure, FailureKind};
use crate::stage::wire;
use crate::sys::clone::{self, Cloned};
use crate::sys::{mount, pidfd, process};

/// The child's one message; the descriptor comes along.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Copied,
    Failed(Failure),
}

/// A detached copy of the /dev/shm of the container whose process 1 is `pid`.
///
/// # Errors
///
/// If that container has put something else there, or has ended.
pub(super) fn of_container(pid: i32) -> Result<OwnedFd, Failure> {
    let what = "share /dev/shm of the other container";
    let path = format!("/proc/{pid}/ns/mnt");
    let namespace = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Failure::errno(what, errno))?;
    let (ours, theirs) = wire::pair().map_err(|err| Failure::errno("make a socket", err))?;
    match clone::clone3(0).map_err(|errno| Failure::errno("start a process", errno))? {
        Cloned::Child => {
            let sent = match copy(&namespace) {
                Ok(shm) => wire::send(theirs.as_fd(), &Answer::Copied, &[shm.as_fd()]),
                Err(failure) => wire::send(theirs.as_fd(), &Answer::Failed(failure), &[]),
            };
            process::exit_now(i32::from(sent.is_err()))
        }
        Cloned::Parent { pidfd, .. } => {
            drop(theirs);
            let answer = wire::receive::<Answer>(ours.as_fd()).map_err(|err| Failure::system(what, &err));
            pidfd::wait(pidfd.as_fd()).ok();
            match answer? {
                (Answer::Copied, descriptors) => {
                    let [shm] = wire::take(descriptors).map_err(|err| Failure::system(what, &err))?;
                    Ok(shm)
                }
                (Answer::Failed(failure), _) => Err(failure),
            }
        }
    }
}

/// In the child: enters the mount namespace and copies what is mounted there.
fn copy(namespace: &OwnedFd) -> Result<OwnedFd, Failure> {
    let failed = |errno: rustix::io::Errno| Failure::errno("open /dev/shm of the other container", errno);
    nix::sched::setns(namespace, CloneFlags::CLONE_NEWNS)
        .map_err(|errno| Failure::errno("join the mount namespace of the other container", errno))?;
    // What lies there is the other container's to choose: no link leads anywhere else.
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let shm =
        rustix::fs::openat2(rustix::fs::CWD, "/dev/shm", flags, Mode::empty(), resolve).map_err(failed)?;
    if rustix::fs::fstatfs(&shm).map_err(failed)?.f_type != TMPFS_MAGIC {
        let message = "/dev/shm of the other container is no tmpfs, so it cannot be shared";
        return Err(Failure::new(FailureKind::Invalid, message));
    }
    Ok(mount::clone_tree(shm.as_fd(), Path::new(""), false)?)
}

/// statfs(2).
const TMPFS_MAGIC: i64 = 0x0102_1994;
