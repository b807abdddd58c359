//! The one thing a namespace without any network needs.

use std::os::fd::{AsRawFd, OwnedFd};

use crate::runtime::failure::Failure;
use crate::sys::netdev;

use super::Result;

/// Sets `lo` up; the kernel gives it its addresses.
pub(super) fn bring_up_loopback() -> Result<()> {
    let failed = |errno| Failure::errno("bring up lo", std::io::Error::from(errno));
    let socket: OwnedFd = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )
    .map_err(failed)?;
    netdev::set_up(socket.as_raw_fd(), c"lo").map_err(|errno| Failure::errno("bring up lo", errno))
}
