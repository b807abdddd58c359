//! Network devices by ioctl, where netlink would be a detour.

use std::ffi::CStr;
use std::os::fd::RawFd;

use nix::errno::Errno;

/// Sets the device `name` up (`IFF_UP`), through any socket of the namespace.
///
/// # Source
///
/// netdevice(7), SIOCSIFFLAGS.
pub(crate) fn set_up(socket: RawFd, name: &CStr) -> Result<(), Errno> {
    // SAFETY: ifreq is plain data for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(name.to_bytes()) {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_UP).expect("IFF_UP is 1");
    // SAFETY: SIOCSIFFLAGS reads one ifreq through the pointer, which lives until the call returns.
    let ret = unsafe { libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw const request) };
    Errno::result(ret).map(drop)
}
