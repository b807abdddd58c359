//! Network namespaces, which belong to threads: enter one, make one, do something in one.
//!
//! A socket keeps the namespace of the thread that created it, a descriptor can be used by every
//! thread. So a process may have sockets in many namespaces with one short visit to each. A thread
//! that has left the first namespace cannot come back without privilege there: visits are made by
//! threads of their own.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// The calling thread's network namespace, as a descriptor that keeps it alive.
pub(crate) fn current() -> std::io::Result<OwnedFd> {
    File::open("/proc/thread-self/ns/net").map(OwnedFd::from)
}

/// Moves the calling thread into `namespace`; its other threads stay where they are.
///
/// Needs CAP_SYS_ADMIN in the user namespace that owns `namespace` and in the caller's own.
pub(crate) fn enter(namespace: BorrowedFd<'_>) -> Result<(), Errno> {
    move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))
}

/// Moves the calling thread into a new network namespace, owned by its user namespace.
pub(crate) fn unshare() -> Result<(), Errno> {
    // SAFETY: only the network namespace is unshared; CLONE_FILES, the flag that could make a
    // descriptor vanish from another thread's view, is not given.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }
}

/// Runs `work` on a short-lived thread inside `namespace`.
pub(crate) fn within<T: Send>(namespace: impl AsFd, work: impl FnOnce() -> T + Send) -> std::io::Result<T> {
    let namespace = namespace.as_fd();
    std::thread::scope(|scope| {
        let visit = std::thread::Builder::new().name("netns".into()).stack_size(256 * 1024).spawn_scoped(
            scope,
            move || {
                enter(namespace)?;
                Ok(work())
            },
        )?;
        visit.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
