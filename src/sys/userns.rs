//! Where a user namespace stands in the tree of them.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `NS_GET_PARENT` of ioctl_nsfs(2): `_IO(0xb7, 0x2)`.
const NS_GET_PARENT: libc::Ioctl = 0xb702;

/// The user namespace that `namespace` was made in.
///
/// # Errors
///
/// EPERM if it is not the caller's own or below it.
pub(crate) fn parent_of(namespace: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: the request takes no argument; the descriptor is open for the whole call.
    let parent = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_PARENT) };
    if parent < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened this descriptor for us and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(parent) })
}
