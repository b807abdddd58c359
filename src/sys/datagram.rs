//! Many UDP datagrams per system call: `recvmmsg`, `sendmmsg`, GRO and GSO.
//!
//! ```text
//! socket A ──recvmmsg──▶ │slot 0│slot 1│ … │slot 15│ ──sendmmsg──▶ socket B
//!                          64 KiB each, addresses and segment size beside it
//! ```
//!
//! A slot holds one datagram, or a run of equally long ones that the kernel joined (GRO); such a
//! run goes out again as one (GSO) where the way out allows it.

// Lengths and constants of the kernel's structures, which are far smaller than their fields.
#![allow(clippy::cast_possible_truncation)]

use std::mem::{MaybeUninit, zeroed};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use libc::{c_int, c_void};
use rustix::io::Errno;

use super::inet::{ADDRESS_BYTES, decode_address, encode_address, last_error};

/// Datagrams per system call.
pub(crate) const SLOTS: usize = 16;
const SLOT_BYTES: usize = 65_536;
const CONTROL_BYTES: usize = 128;

/// Room for control messages, aligned as the kernel wants it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// What came with a datagram.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    length: usize,
    source: Option<SocketAddr>,
    destination: Option<SocketAddr>,
    interface: u32,
    /// Length of each joined datagram; 0 if there is just one.
    segment: u16,
}

/// One datagram, or several joined ones of the same flow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Datagram<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) source: Option<SocketAddr>,
    /// The address it was sent to, if the socket asks for that; port 0 where only the IP is known.
    pub(crate) destination: Option<SocketAddr>,
    /// Index of the link it came in by, if the socket asks for that; else 0.
    pub(crate) interface: u32,
    /// Length of each joined one; 0 if there is just one.
    segment: u16,
}

impl<'a> Datagram<'a> {
    /// The datagrams one by one.
    pub(crate) fn parts(&self) -> Vec<&'a [u8]> {
        match usize::from(self.segment) {
            0 => vec![self.bytes],
            size => self.bytes.chunks(size).collect(),
        }
    }
}

/// Up to [`SLOTS`] received datagrams. One MiB, of which only the used pages are ever touched.
pub(crate) struct Batch {
    bytes: Box<[u8]>,
    slots: [Slot; SLOTS],
    filled: usize,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Batch({} datagrams)", self.filled)
    }
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; SLOTS * SLOT_BYTES].into(), slots: [Slot::default(); SLOTS], filled: 0 }
    }

    /// Takes what waits at `socket`, without blocking: how many slots are now filled.
    pub(crate) fn receive(&mut self, socket: impl AsFd) -> Result<usize, Errno> {
        self.filled = 0;
        let mut addresses = [[0_u8; ADDRESS_BYTES]; SLOTS];
        let mut controls = [Control([0; CONTROL_BYTES]); SLOTS];
        let mut vectors = [MaybeUninit::<libc::iovec>::uninit(); SLOTS];
        // SAFETY: mmsghdr is plain data of the C library; all zero is a valid value of it.
        let mut headers: [libc::mmsghdr; SLOTS] = unsafe { zeroed() };
        for (i, chunk) in self.bytes.chunks_exact_mut(SLOT_BYTES).enumerate() {
            let vector = vectors[i]
                .write(libc::iovec { iov_base: chunk.as_mut_ptr().cast::<c_void>(), iov_len: SLOT_BYTES });
            let header = &mut headers[i].msg_hdr;
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            header.msg_name = addresses[i].as_mut_ptr().cast();
            header.msg_namelen = ADDRESS_BYTES as u32;
            header.msg_control = controls[i].0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL_BYTES;
        }
        let fd = socket.as_fd().as_raw_fd();
        let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
        // SAFETY: every pointer in the headers was set above to a live array of the stated length,
        // and nothing else touches those arrays during the call.
        let got =
            unsafe { libc::recvmmsg(fd, headers.as_mut_ptr(), SLOTS as u32, flags, std::ptr::null_mut()) };
        let got = usize::try_from(got).map_err(|_| last_error())?;
        for i in 0..got {
            let length = headers[i].msg_len as usize;
            let source = decode_address(&addresses[i][..headers[i].msg_hdr.msg_namelen as usize]);
            self.slots[i] = Slot { length, source, ..Slot::default() };
            let used = headers[i].msg_hdr.msg_controllen.min(CONTROL_BYTES);
            read_controls(&controls[i].0[..used], &mut self.slots[i]);
        }
        self.filled = got;
        Ok(got)
    }

    /// The datagram in slot `index`, which [`Batch::receive`] filled.
    pub(crate) fn get(&self, index: usize) -> Datagram<'_> {
        let slot = &self.slots[index];
        let start = index * SLOT_BYTES;
        Datagram {
            bytes: &self.bytes[start..start + slot.length],
            source: slot.source,
            destination: slot.destination,
            interface: slot.interface,
            segment: slot.segment,
        }
    }

    /// Sends the filled slots `range` through a connected `socket`, or to `to`, from the local address `from`.
    ///
    /// What does not fit the socket's buffer is dropped, as a network would. Returns the error that
    /// an earlier datagram provoked (ECONNREFUSED and such), once, if there was one.
    pub(crate) fn forward(
        &self,
        socket: impl AsFd,
        range: std::ops::Range<usize>,
        to: Option<SocketAddr>,
        from: Option<IpAddr>,
    ) -> Option<Errno> {
        let socket = socket.as_fd();
        let mut earlier = None;
        let mut at = range.start;
        while at < range.end {
            match self.send_some(socket, at..range.end, to, from) {
                Ok(sent) => at += sent.max(1),
                Err(Errno::AGAIN | Errno::NOBUFS) => return earlier,
                Err(Errno::INTR) => {}
                Err(Errno::IO | Errno::INVAL | Errno::MSGSIZE) if self.slots[at].segment > 0 => {
                    self.send_pieces(socket, at, to);
                    at += 1;
                }
                Err(error) => {
                    // A pending error is reported instead of sending: try that datagram once more.
                    if earlier.is_some() {
                        at += 1;
                    }
                    earlier = Some(error);
                }
            }
        }
        earlier
    }

    fn send_some(
        &self,
        socket: BorrowedFd<'_>,
        range: std::ops::Range<usize>,
        to: Option<SocketAddr>,
        from: Option<IpAddr>,
    ) -> Result<usize, Errno> {
        let mut address = [0_u8; ADDRESS_BYTES];
        let address_length = to.map_or(0, |to| encode_address(&to, &mut address));
        let mut controls = [Control([0; CONTROL_BYTES]); SLOTS];
        let mut vectors = [MaybeUninit::<libc::iovec>::uninit(); SLOTS];
        // SAFETY: mmsghdr is plain data of the C library; all zero is a valid value of it.
        let mut headers: [libc::mmsghdr; SLOTS] = unsafe { zeroed() };
        let count = range.len();
        for (i, index) in range.enumerate() {
            let slot = &self.slots[index];
            let datagram = self.get(index).bytes;
            // The kernel only reads through this pointer, whatever its type says.
            let base = datagram.as_ptr().cast_mut().cast::<c_void>();
            let vector = vectors[i].write(libc::iovec { iov_base: base, iov_len: slot.length });
            let header = &mut headers[i].msg_hdr;
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            if address_length > 0 {
                header.msg_name = address.as_mut_ptr().cast();
                header.msg_namelen = address_length as u32;
            }
            let used = write_controls(&mut controls[i].0, slot, from);
            if used > 0 {
                header.msg_control = controls[i].0.as_mut_ptr().cast();
                header.msg_controllen = used;
            }
        }
        let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
        // SAFETY: the first `count` headers were set above to point to live arrays of the stated
        // lengths, which the kernel reads only.
        let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count as u32, flags) };
        usize::try_from(sent).map_err(|_| last_error())
    }

    /// Sends the joined datagrams of a slot one by one, where the way out knows no segmentation.
    fn send_pieces(&self, socket: BorrowedFd<'_>, index: usize, to: Option<SocketAddr>) {
        for piece in self.get(index).parts() {
            let flags = rustix::net::SendFlags::NOSIGNAL | rustix::net::SendFlags::DONTWAIT;
            // Lost like any datagram if it cannot be sent now.
            match to {
                Some(to) => rustix::net::sendto(socket, piece, flags, &to).ok(),
                None => rustix::net::send(socket, piece, flags).ok(),
            };
        }
    }
}

const CONTROL_HEADER_BYTES: usize = 16;

/// Reads `struct cmsghdr`s: `size_t` length, level, type, data; each aligned to 8 bytes.
fn read_controls(mut bytes: &[u8], slot: &mut Slot) {
    let number = |bytes: &[u8], at: usize| -> Option<c_int> {
        Some(c_int::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
    };
    while let (Some(length), Some(level), Some(kind)) =
        (number(bytes, 0), number(bytes, 8), number(bytes, 12))
    {
        let length = usize::try_from(length).unwrap_or(0);
        let Some(data) = bytes.get(CONTROL_HEADER_BYTES..length) else { return };
        match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_ORIGDSTADDR) | (libc::IPPROTO_IPV6, libc::IPV6_ORIGDSTADDR) => {
                slot.destination = decode_address(data);
            }
            // struct in_pktinfo: interface, chosen local address, address in the header.
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // The chosen one is the host's own also where the datagram went to everybody on its network.
                let octets = data.get(4..8).and_then(|d| <[u8; 4]>::try_from(d).ok());
                let local = octets.map(|octets| SocketAddr::new(IpAddr::from(octets), 0));
                slot.destination = slot.destination.or(local);
                slot.interface = number(data, 0).and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
            }
            // struct in6_pktinfo: address, interface.
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                let octets = data.get(..16).and_then(|d| <[u8; 16]>::try_from(d).ok());
                let local = octets.map(|octets| SocketAddr::new(IpAddr::from(octets).to_canonical(), 0));
                slot.destination = slot.destination.or(local);
                slot.interface = number(data, 16).and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
            }
            (libc::SOL_UDP, libc::UDP_GRO) => {
                let size = number(data, 0).and_then(|size| u16::try_from(size).ok()).unwrap_or(0);
                slot.segment = if usize::from(size) < slot.length { size } else { 0 };
            }
            _ => {}
        }
        let next = (length.max(CONTROL_HEADER_BYTES) + 7) & !7;
        bytes = bytes.get(next..).unwrap_or_default();
    }
}

fn write_controls(into: &mut [u8; CONTROL_BYTES], slot: &Slot, from: Option<IpAddr>) -> usize {
    let mut used = 0;
    let mut push = |level: c_int, kind: c_int, data: &[u8]| {
        let length = CONTROL_HEADER_BYTES + data.len();
        into[used..used + 8].copy_from_slice(&length.to_ne_bytes());
        into[used + 8..used + 12].copy_from_slice(&level.to_ne_bytes());
        into[used + 12..used + 16].copy_from_slice(&kind.to_ne_bytes());
        into[used + 16..used + length].copy_from_slice(data);
        used += (length + 7) & !7;
    };
    if slot.segment > 0 {
        push(libc::SOL_UDP, libc::UDP_SEGMENT, &slot.segment.to_ne_bytes());
    }
    match from {
        Some(IpAddr::V4(ip)) => {
            let mut info = [0_u8; 12];
            info[4..8].copy_from_slice(&ip.octets());
            push(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
        }
        Some(IpAddr::V6(ip)) => {
            let mut info = [0_u8; 20];
            info[..16].copy_from_slice(&ip.octets());
            push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
        }
        None => {}
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    fn loopback() -> (UdpSocket, SocketAddr) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    #[test]
    fn datagrams_keep_their_bounds_and_addresses() {
        let ((client, client_address), (middle, middle_address), (server, server_address)) =
            (loopback(), loopback(), loopback());
        crate::sys::inet::set_packet_info(&middle, false).unwrap();
        client.send_to(b"one", middle_address).unwrap();
        client.send_to(&vec![7; 60_000], middle_address).unwrap();
        client.send_to(b"", middle_address).unwrap();
        let mut batch = Batch::new();
        assert_eq!(batch.receive(&middle).unwrap(), 3);
        assert_eq!(batch.get(0).bytes, b"one");
        assert_eq!(batch.get(0).source, Some(client_address));
        assert_eq!(batch.get(0).destination, Some(SocketAddr::new(middle_address.ip(), 0)));
        assert_eq!(batch.forward(&middle, 0..3, Some(server_address), Some(middle_address.ip())), None);
        let mut buffer = vec![0; 65_536];
        assert_eq!(server.recv_from(&mut buffer).unwrap(), (3, middle_address));
        assert_eq!(server.recv(&mut buffer).unwrap(), 60_000);
        assert_eq!(server.recv(&mut buffer).unwrap(), 0, "empty datagrams pass too");
        assert_eq!(batch.receive(&middle).unwrap_err(), Errno::AGAIN);
    }

    #[test]
    fn joined_datagrams_are_parted_again() {
        let ((client, _), (middle, middle_address), (server, server_address)) =
            (loopback(), loopback(), loopback());
        crate::sys::inet::set_udp_gro(&middle, true).unwrap();
        crate::sys::inet::set_option(&client, libc::SOL_UDP, libc::UDP_SEGMENT, 100).unwrap();
        client.send_to(&vec![1; 350], middle_address).unwrap();
        middle.connect(server_address).unwrap();
        let mut batch = Batch::new();
        // A connected socket refuses others' datagrams, but these came before.
        let slots = batch.receive(&middle).unwrap();
        let total: usize = (0..slots).map(|i| batch.get(i).bytes.len()).sum();
        assert_eq!(total, 350);
        let lengths: Vec<usize> = (0..slots).flat_map(|i| batch.get(i).parts()).map(<[u8]>::len).collect();
        assert_eq!(lengths, [100, 100, 100, 50]);
        assert_eq!(batch.forward(&middle, 0..slots, None, None), None);
        let mut buffer = [0; 1000];
        let lengths: Vec<usize> = (0..4).map(|_| server.recv(&mut buffer).unwrap()).collect();
        assert_eq!(lengths, [100, 100, 100, 50]);
    }

    #[test]
    fn an_unanswered_port_is_reported() {
        let ((client, _), (server, server_address)) = (loopback(), loopback());
        drop(server);
        client.connect(server_address).unwrap();
        client.send(b"x").unwrap();
        let mut batch = Batch::new();
        assert_eq!(batch.receive(&client).unwrap_err(), Errno::CONNREFUSED);
    }
}
