//! Options of Internet sockets that neither rustix nor std offers, each with a name of its own.

// Lengths and constants of the kernel's structures, which are far smaller than their fields.
#![allow(clippy::cast_possible_truncation)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use libc::{c_int, c_void, socklen_t};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// Size of `struct sockaddr_in6`, the larger of the two Internet addresses.
pub(crate) const ADDRESS_BYTES: usize = 28;

/// Sets an option that takes a number.
pub(crate) fn set_option(socket: impl AsFd, level: c_int, name: c_int, value: c_int) -> Result<(), Errno> {
    let length = size_of::<c_int>() as socklen_t;
    // SAFETY: the kernel reads one c_int from the address of `value`, which lives until the call
    // returns; the descriptor is borrowed and open.
    let ret = unsafe {
        libc::setsockopt(socket.as_fd().as_raw_fd(), level, name, (&raw const value).cast::<c_void>(), length)
    };
    if ret == 0 { Ok(()) } else { Err(last_error()) }
}

/// Bytes that were sent on a TCP socket and that its peer has not acknowledged yet (tcp(7), `SIOCOUTQ`); on a Unix socket
/// 0 once the peer has read everything.
pub(crate) fn unacknowledged(socket: impl AsFd) -> Result<usize, Errno> {
    let mut bytes: c_int = 0;
    // SAFETY: the kernel writes one c_int to the address of `bytes`, which lives until the call returns; the descriptor
    // is borrowed and open.
    let ret = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if ret == 0 { Ok(usize::try_from(bytes).unwrap_or_default()) } else { Err(last_error()) }
}

/// The error of the system call that has just failed on this thread.
pub(crate) fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// A new Internet socket, non-blocking and close-on-exec.
pub(crate) fn socket(v6: bool, kind: SocketType) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    rustix::net::socket_with(family(v6), kind, flags, None)
}

/// The address family of IPv6 or IPv4.
pub(crate) fn family(v6: bool) -> AddressFamily {
    if v6 { AddressFamily::INET6 } else { AddressFamily::INET }
}

/// Lets a socket bind to addresses of others and take what is sent to them
/// (`IP_TRANSPARENT`, ip(7); needs CAP_NET_ADMIN or CAP_NET_RAW over the namespace).
pub(crate) fn set_transparent(socket: impl AsFd, v6: bool) -> Result<(), Errno> {
    if v6 {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_TRANSPARENT, 1)
    } else {
        set_option(socket, libc::IPPROTO_IP, libc::IP_TRANSPARENT, 1)
    }
}

/// Each datagram brings the address it was sent to (`IP_RECVORIGDSTADDR`).
pub(crate) fn set_receive_destination(socket: impl AsFd, v6: bool) -> Result<(), Errno> {
    if v6 {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVORIGDSTADDR, 1)
    } else {
        set_option(socket, libc::IPPROTO_IP, libc::IP_RECVORIGDSTADDR, 1)
    }
}

/// Each datagram brings the local address it arrived at (`IP_PKTINFO`).
pub(crate) fn set_packet_info(socket: impl AsFd, v6: bool) -> Result<(), Errno> {
    if v6 {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)
    } else {
        set_option(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)
    }
}

/// The kernel may hand over several datagrams of a flow as one, with their size (`UDP_GRO`, udp(7)).
pub(crate) fn set_udp_gro(socket: impl AsFd, joined: bool) -> Result<(), Errno> {
    set_option(socket, libc::SOL_UDP, libc::UDP_GRO, joined.into())
}

/// A socket that connects does not acknowledge the answer to its SYN by itself, but with its first data or when
/// `TCP_QUICKACK` is set: one packet less (`TCP_DEFER_ACCEPT` on the connecting side, which tcp(7) does not tell; Linux
/// `net/ipv4/tcp_input.c`, `tcp_rcv_synsent_state_process`).
pub(crate) fn hold_last_acknowledgement(socket: impl AsFd) -> Result<(), Errno> {
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, 1)
}

/// Binding to an address alone chooses no port yet; connecting does (`IP_BIND_ADDRESS_NO_PORT`, ip(7)).
pub(crate) fn choose_port_late(socket: impl AsFd) -> Result<(), Errno> {
    set_option(socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)
}

/// Every packet the socket sends carries this firewall mark (`SO_MARK`).
pub(crate) fn set_mark(socket: impl AsFd, mark: c_int) -> Result<(), Errno> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_MARK, mark)
}

/// ICMP errors are reported as errors of the socket (`IP_RECVERR`).
pub(crate) fn set_receive_errors(socket: impl AsFd, v6: bool) -> Result<(), Errno> {
    if v6 {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1)
    } else {
        set_option(socket, libc::IPPROTO_IP, libc::IP_RECVERR, 1)
    }
}

/// A socket that sends IP packets exactly as they are given, header included.
pub(crate) fn raw_sender(v6: bool) -> Result<OwnedFd, Errno> {
    const IPV6_HDRINCL: c_int = 36;
    let socket = rustix::net::socket_with(
        family(v6),
        SocketType::RAW,
        SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
        Some(rustix::net::ipproto::RAW),
    )?;
    if v6 {
        set_option(&socket, libc::IPPROTO_IPV6, IPV6_HDRINCL, 1)?;
    }
    Ok(socket)
}

/// A socket for ICMP echo without privilege (`net.ipv4.ping_group_range` decides who may).
pub(crate) fn ping_socket(v6: bool) -> Result<OwnedFd, Errno> {
    let protocol = if v6 { rustix::net::ipproto::ICMPV6 } else { rustix::net::ipproto::ICMP };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    rustix::net::socket_with(family(v6), SocketType::DGRAM, flags, Some(protocol))
}

/// Writes `address` as `struct sockaddr_in` or `sockaddr_in6`; returns how many bytes that took.
pub(crate) fn encode_address(address: &SocketAddr, into: &mut [u8; ADDRESS_BYTES]) -> usize {
    *into = [0; ADDRESS_BYTES];
    into[2..4].copy_from_slice(&address.port().to_be_bytes());
    match address {
        SocketAddr::V4(v4) => {
            into[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
            into[4..8].copy_from_slice(&v4.ip().octets());
            16
        }
        SocketAddr::V6(v6) => {
            into[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
            into[8..24].copy_from_slice(&v6.ip().octets());
            into[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
            ADDRESS_BYTES
        }
    }
}

/// Reads a `struct sockaddr_in` or `sockaddr_in6`. IPv4 mapped into IPv6 becomes IPv4.
pub(crate) fn decode_address(bytes: &[u8]) -> Option<SocketAddr> {
    let family = c_int::from(u16::from_ne_bytes([*bytes.first()?, *bytes.get(1)?]));
    let port = u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]);
    match family {
        libc::AF_INET => {
            let octets: [u8; 4] = bytes.get(4..8)?.try_into().ok()?;
            Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(octets)), port))
        }
        libc::AF_INET6 => {
            let octets: [u8; 16] = bytes.get(8..24)?.try_into().ok()?;
            let scope = u32::from_ne_bytes(bytes.get(24..28)?.try_into().ok()?);
            let ip = Ipv6Addr::from(octets);
            Some(ip.to_ipv4_mapped().map_or_else(
                || SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope)),
                |v4| SocketAddr::new(IpAddr::V4(v4), port),
            ))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_kernels_form() {
        for text in ["192.0.2.1:80", "[2001:db8::1]:53", "[fe80::1%3]:9", "0.0.0.0:0"] {
            let address: SocketAddr = text.parse().unwrap();
            let mut bytes = [0; ADDRESS_BYTES];
            let length = encode_address(&address, &mut bytes);
            assert_eq!(decode_address(&bytes[..length]), Some(address), "{text}");
        }
        let mut bytes = [0; ADDRESS_BYTES];
        encode_address(&"[::ffff:192.0.2.7]:1".parse().unwrap(), &mut bytes);
        assert_eq!(decode_address(&bytes), Some("192.0.2.7:1".parse().unwrap()), "mapped");
        assert_eq!(decode_address(&[1, 0, 0]), None);
    }
}
