//! Packets with descriptors over Unix SOCK_SEQPACKET sockets: kept boundaries, ordered, and end
//! of file when the other side is gone.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

/// The most descriptors that the kernel passes with one packet (`SCM_MAX_FD`).
pub(crate) const MAX_DESCRIPTORS: usize = 253;

/// Two connected sockets, close-on-exec and blocking.
pub(crate) fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// A socket of this kind, close-on-exec and blocking.
pub(crate) fn socket() -> Result<OwnedFd, Errno> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// Sends one packet. Never raises SIGPIPE.
pub(crate) fn send(socket: impl AsFd, packet: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::TOOBIG);
    }
    let data = [IoSlice::new(packet)];
    rustix::net::sendmsg(socket, &data, &mut ancillary, SendFlags::NOSIGNAL).map(|_all| ())
}

/// Receives one packet into `buffer`: its length (0 is end of file) and the descriptors it brought,
/// close-on-exec.
///
/// A packet longer than `buffer` is EMSGSIZE, with the packet lost.
pub(crate) fn receive(socket: impl AsFd, buffer: &mut [u8]) -> Result<(usize, Vec<OwnedFd>), Errno> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut data = [IoSliceMut::new(buffer)];
    let got = rustix::net::recvmsg(socket, &mut data, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = message {
            descriptors.extend(passed);
        }
    }
    if got.flags.contains(rustix::net::ReturnFlags::TRUNC) {
        return Err(Errno::MSGSIZE);
    }
    Ok((got.bytes, descriptors))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_keep_their_bounds_and_descriptors() {
        let (left, right) = pair().unwrap();
        let pipe = rustix::pipe::pipe().unwrap();
        send(&left, b"one", &[pipe.1.as_fd()]).unwrap();
        send(&left, b"twotwo", &[]).unwrap();
        let mut buffer = [0; 5];
        let (got, descriptors) = receive(&right, &mut buffer).unwrap();
        assert_eq!((&buffer[..got], descriptors.len()), (&b"one"[..], 1));
        rustix::io::write(&descriptors[0], b"x").unwrap();
        assert_eq!(rustix::io::read(&pipe.0, &mut buffer).unwrap(), 1);
        assert_eq!(receive(&right, &mut buffer).unwrap_err(), Errno::MSGSIZE);
        drop(left);
        assert_eq!(receive(&right, &mut buffer).unwrap().0, 0, "end of file");
    }
}
