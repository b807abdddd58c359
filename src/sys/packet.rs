//! Packet sockets: a copy of what arrives at one interface, chosen by a filter in the kernel.

// Lengths and constants of the kernel's structures, which are far smaller than their fields.
#![allow(clippy::cast_possible_truncation)]

use std::os::fd::{AsRawFd, OwnedFd};

use libc::{c_void, socklen_t};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::inet::last_error;

/// Room for some thousands of packets that begin a connection, each of which counts with about 800 bytes.
const BUFFER_BYTES: usize = 4 << 20;

/// One instruction of classic BPF (`struct sock_filter`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) code: u16,
    pub(crate) jump_true: u8,
    pub(crate) jump_false: u8,
    pub(crate) value: u32,
}

/// Opens a socket that gets a copy of every packet of `ether_type` arriving at interface `index`
/// for which `filter` returns more than 0. What is read starts at the network layer's header.
///
/// Needs CAP_NET_RAW over the calling thread's network namespace. The socket is non-blocking.
pub(crate) fn capture(index: u32, ether_type: u16, filter: &[Instruction]) -> Result<OwnedFd, Errno> {
    // Protocol 0 until the filter is in place: no packet slips in before it.
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::PACKET, SocketType::DGRAM, flags, None)?;
    attach_filter(&socket, filter)?;
    make_room(&socket);
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: ether_type.to_be(),
        sll_ifindex: i32::try_from(index).map_err(|_| Errno::NODEV)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = size_of::<libc::sockaddr_ll>() as socklen_t;
    // SAFETY: the kernel reads `length` bytes of a fully initialised sockaddr_ll that lives until
    // the call returns.
    let ret = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if ret == 0 { Ok(socket) } else { Err(last_error()) }
}

/// Many connections may be opened at once, and a packet that finds no room comes again only after a second.
fn make_room(socket: &OwnedFd) {
    // Only root may have more than `net.core.rmem_max`; for others that is what the second call gets.
    if sockopt::set_socket_recv_buffer_size_force(socket, BUFFER_BYTES).is_err() {
        sockopt::set_socket_recv_buffer_size(socket, BUFFER_BYTES).ok();
    }
}

fn attach_filter(socket: &OwnedFd, filter: &[Instruction]) -> Result<(), Errno> {
    let mut code: Vec<libc::sock_filter> = filter
        .iter()
        .map(|i| libc::sock_filter { code: i.code, jt: i.jump_true, jf: i.jump_false, k: i.value })
        .collect();
    let program = libc::sock_fprog {
        len: u16::try_from(code.len()).map_err(|_| Errno::TOOBIG)?,
        filter: code.as_mut_ptr(),
    };
    let length = size_of::<libc::sock_fprog>() as socklen_t;
    // SAFETY: the kernel copies `program` and the `len` instructions it points to, which `code`
    // keeps alive, before the call returns.
    let ret = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast::<c_void>(),
            length,
        )
    };
    if ret == 0 { Ok(()) } else { Err(last_error()) }
}
