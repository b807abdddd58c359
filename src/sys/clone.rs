//! New processes in new namespaces: `clone3(2)`.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

/// `CLONE_*` bits of the namespaces a process can start in.
pub(crate) mod flags {
    pub(crate) const USER: u64 = libc::CLONE_NEWUSER as u64;
    pub(crate) const MOUNT: u64 = libc::CLONE_NEWNS as u64;
    pub(crate) const PID: u64 = libc::CLONE_NEWPID as u64;
    pub(crate) const IPC: u64 = libc::CLONE_NEWIPC as u64;
    pub(crate) const UTS: u64 = libc::CLONE_NEWUTS as u64;
    pub(crate) const NET: u64 = libc::CLONE_NEWNET as u64;
    /// No namespace: the child is one of the caller's parent.
    pub(crate) const SIBLING: u64 = libc::CLONE_PARENT as u64;
}

/// Who is running after [`clone3`].
#[derive(Debug)]
pub(crate) enum Cloned {
    /// The caller. `pid` is the child's number in the caller's PID namespace.
    Parent { pid: i32, pidfd: OwnedFd },
    /// The new process: a copy of the caller, as after fork(2).
    Child,
}

/// Forks into new namespaces (`namespaces`, a union of [`flags`]); the child dies with SIGCHLD.
///
/// The child has a copy of the caller's memory and must end in `execve` or `_exit`. The caller
/// should have one thread only: locks held by others stay locked in the child.
///
/// # Errors
///
/// The kernel's errno: ENOSPC and EUSERS are namespace limits (`user.max_*_namespaces`), EPERM a
/// policy against unprivileged user namespaces, EAGAIN the process limit.
///
/// # Source
///
/// clone(2); Linux 5.3, with `CLONE_PIDFD` from 5.2.
pub(crate) fn clone3(namespaces: u64) -> Result<Cloned, Errno> {
    clone3_into(namespaces, None)
}

/// Goes on in a child of the caller, which ends: the new process is one of whoever reaps orphans. A service manager
/// learns only of its own children how they ended.
///
/// # Errors
///
/// Those of [`clone3`]; the caller then goes on as it is.
pub(crate) fn become_orphan() -> Result<(), Errno> {
    let parent = nix::unistd::getpid();
    match clone3(0)? {
        Cloned::Parent { .. } => crate::sys::process::exit_now(0),
        Cloned::Child => {
            // The parent does nothing but end.
            while nix::unistd::getppid() == parent {
                std::thread::yield_now();
            }
            Ok(())
        }
    }
}

/// `CLONE_INTO_CGROUP` of linux/sched.h; libc's constant has the wrong type.
const INTO_CGROUP: u64 = 1 << 33;

/// [`clone3`] whose child is born in the cgroup that the directory `cgroup` is.
///
/// # Errors
///
/// Those of [`clone3`]; E2BIG or EINVAL if the kernel cannot do that, EACCES if it may not be done.
///
/// # Source
///
/// clone(2), `CLONE_INTO_CGROUP`, Linux 5.7.
pub(crate) fn clone3_into(namespaces: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Cloned, Errno> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: clone_args is plain data for which all zeroes is a valid value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = namespaces | libc::CLONE_PIDFD as u64;
    args.pidfd = (&raw mut pidfd) as u64;
    // A sibling has the caller's own.
    args.exit_signal = if namespaces & flags::SIBLING == 0 { libc::SIGCHLD as u64 } else { 0 };
    if let Some(cgroup) = cgroup {
        args.flags |= INTO_CGROUP;
        args.cgroup = u64::from(cgroup.as_raw_fd().cast_unsigned());
    }
    // SAFETY: without CLONE_VM and without a stack the child runs on a copy of this one, as after
    // fork; the kernel reads `args` during the call and writes only `pidfd`, which outlives it.
    let ret =
        unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, std::mem::size_of::<libc::clone_args>()) };
    match Errno::result(ret)? {
        0 => Ok(Cloned::Child),
        pid => {
            // SAFETY: on success the kernel has put a new descriptor here that nothing else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            let pid = i32::try_from(pid).expect("a pid is positive and below 2^22");
            Ok(Cloned::Parent { pid, pidfd })
        }
    }
}
