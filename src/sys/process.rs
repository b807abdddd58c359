//! What a process is and holds: descriptors, program, identity.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

use crate::base::order::InOrder as _;

/// Gives this process an environment variable; one that is set keeps its value.
///
/// For a command that has one thread still: nobody else may read the environment meanwhile.
pub(crate) fn set_default_variable(name: &OsStr, value: &OsStr) {
    put_variable(name, value, false);
}

/// Gives this process an environment variable, whatever it was before.
///
/// For a command that has one thread still, as above.
pub(crate) fn set_variable(name: &OsStr, value: &OsStr) {
    put_variable(name, value, true);
}

fn put_variable(name: &OsStr, value: &OsStr, replace: bool) {
    use std::os::unix::ffi::OsStrExt as _;
    let text = |text: &OsStr| CString::new(text.as_bytes());
    // What holds a NUL cannot be in an environment.
    let (Ok(name), Ok(value)) = (text(name), text(value)) else { return };
    // SAFETY: both are NUL-terminated, live until the call returns, and are copied by it; the callers promise
    // that no other thread reads the environment.
    unsafe { libc::setenv(name.as_ptr(), value.as_ptr(), replace.into()) };
}

/// Marks every descriptor from `first` on close-on-exec.
///
/// # Source
///
/// close_range(2), `CLOSE_RANGE_CLOEXEC`, Linux 5.11.
pub(crate) fn close_on_exec_from(first: u32) -> Result<(), Errno> {
    // SAFETY: three numbers; descriptors are only marked, none is closed now.
    let ret = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    Errno::result(ret).map(drop)
}

/// Makes `number` refer to what `fd` refers to, without close-on-exec.
///
/// The caller knows that `number` is not owned by any value of this process.
pub(crate) fn place_at(fd: BorrowedFd<'_>, number: RawFd) -> Result<(), Errno> {
    if fd.as_raw_fd() == number {
        // SAFETY: changes a flag of an open descriptor.
        let ret = unsafe { libc::fcntl(number, libc::F_SETFD, 0) };
        return Errno::result(ret).map(drop);
    }
    // SAFETY: dup2 takes two numbers. Nothing in this process owns `number`, so no owner is
    // surprised by its new meaning.
    let ret = unsafe { libc::dup2(fd.as_raw_fd(), number) };
    Errno::result(ret).map(drop)
}

/// Takes ownership of an inherited descriptor.
///
/// Only for the descriptors that a stage is started with; call it once for each.
pub(crate) fn inherited(number: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: asks for a flag only.
    let ret = unsafe { libc::fcntl(number, libc::F_GETFD) };
    Errno::result(ret)?;
    // SAFETY: the descriptor is open, as the call above shows, and was put there by our parent for
    // this stage alone, so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// A copy, closed on exec, of a descriptor that this program was started with.
///
/// # Errors
///
/// EBADF if there is none of that number, or if this program has opened it itself.
pub(crate) fn copy_inherited(number: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: asks for a flag only.
    let flags = Errno::result(unsafe { libc::fcntl(number, libc::F_GETFD) })?;
    // What this program opens is closed on exec; what it was given was not.
    if flags & libc::FD_CLOEXEC != 0 {
        return Err(Errno::EBADF);
    }
    // SAFETY: the descriptor is open, as the call above shows.
    let ret = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
    let copy = Errno::result(ret)?;
    // SAFETY: made by the call above, so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Lets others have processor and disk first. Not the very last place: who waits for a lock of the file system
/// that this process holds would wait for all others, too.
///
/// # Source
///
/// setpriority(2); sched(7), "The autogroup feature"; ioprio_set(2), best effort, level 7.
pub(crate) fn become_unimportant() {
    const NICE: i32 = 10;
    const WHO_PROCESS: i32 = 1;
    const BEST_EFFORT_LAST: i32 = 2 << 13 | 7;
    // Each helps or does not.
    rustix::process::setpriority_process(None, NICE).ok();
    std::fs::write("/proc/self/autogroup", NICE.to_string()).ok();
    // SAFETY: three numbers; only this process's own priority changes.
    unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, BEST_EFFORT_LAST) };
}

/// Ends the process at once, without running destructors or exit handlers: for children that share
/// the parent's buffers.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: ends the process; nothing of it is used afterwards.
    unsafe { libc::_exit(code) }
}

/// Replaces this process by the program at `path`.
///
/// Returns only if that fails.
pub(crate) fn execve(path: &CStr, args: &[&CStr], env: &[&CStr]) -> Errno {
    match nix::unistd::execve(path, args, env) {
        Err(errno) => errno,
        Ok(never) => match never {},
    }
}

/// Replaces this process by the program that `program` refers to (`execveat` with an empty path).
///
/// Returns only if that fails.
pub(crate) fn execve_fd(program: BorrowedFd<'_>, args: &[&CStr], env: &[&CStr]) -> Errno {
    let flags = nix::fcntl::AtFlags::AT_EMPTY_PATH;
    match nix::unistd::execveat(program, c"", args, env, flags) {
        Err(errno) => errno,
        Ok(never) => match never {},
    }
}

/// Sets all three user IDs, for this thread only (`setresuid(2)` past libc's all-threads emulation:
/// stages have one thread).
pub(crate) fn set_uid(uid: u32) -> Result<(), Errno> {
    // SAFETY: three numbers.
    let ret = unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) };
    Errno::result(ret).map(drop)
}

/// Sets all three group IDs, for this thread only.
pub(crate) fn set_gid(gid: u32) -> Result<(), Errno> {
    // SAFETY: three numbers.
    let ret = unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) };
    Errno::result(ret).map(drop)
}

/// Joins a new session keyring, so that the caller's keys are not seen (SEC-38).
///
/// # Errors
///
/// ENOSYS or EPERM where keyrings are off; the caller goes on.
pub(crate) fn new_session_keyring() -> Result<(), Errno> {
    let anonymous = std::ptr::null::<libc::c_char>();
    // SAFETY: KEYCTL_JOIN_SESSION_KEYRING takes a name or NULL for an anonymous keyring.
    let ret = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, anonymous) };
    Errno::result(ret).map(drop)
}

/// Gives unused heap pages back to the kernel: what a monitor does once before it waits for months.
pub(crate) fn trim_heap() {
    // SAFETY: takes a number and touches only free memory of the allocator.
    unsafe { libc::malloc_trim(0) };
}

/// Forgets the children that have ended.
pub(crate) fn reap_children() {
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    while !matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive) | Err(_)) {}
}

/// Closes every descriptor from `first` on.
///
/// For a process that has no use for any value that owns one of them, and forgets those values.
pub(crate) fn close_from(first: u32) {
    // SAFETY: closing numbers is always defined; that their owners are never used again is the
    // caller's promise.
    unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
}

/// Closes every descriptor but `kept`, and but 0, 1 and 2.
///
/// For a process that forgets every value that owns one of the others, as a fresh copy of its parent does.
pub(crate) fn close_all_but(kept: &[BorrowedFd<'_>]) {
    let mut numbers: Vec<u32> = kept.iter().map(|fd| fd.as_raw_fd().unsigned_abs()).collect();
    numbers.order();
    let mut first = 3;
    for number in numbers {
        if number > first {
            // SAFETY: closing numbers is always defined; that their owners are never used again is the
            // caller's promise.
            unsafe { libc::syscall(libc::SYS_close_range, first, number - 1, 0) };
        }
        first = first.max(number + 1);
    }
    close_from(first);
}
