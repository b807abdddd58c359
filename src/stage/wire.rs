//! Messages between a command and its stages: a `u32` length, then JSON; descriptors ride on the
//! first byte (SCM_RIGHTS).
//!
//! The socket is a SOCK_STREAM pair, so a message may be of any size: an environment of megabytes
//! fits, and the end of the other side is an end of file.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::sys::socket;

/// Most descriptors that one message carries.
pub(crate) const MAX_DESCRIPTORS: usize = 200;

/// Longest message taken, in bytes: far above any real order, far below what hurts.
const MAX_LENGTH: usize = 256 << 20;

/// Why a message could not be exchanged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    /// The other side closed its end between two messages.
    #[error("the other side is gone")]
    Closed,
    /// The other side closed its end within a message, or sent nonsense.
    #[error("a message is broken: {0}")]
    Broken(String),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Sends `message` and copies of `descriptors`.
pub(crate) fn send<T: Serialize>(
    socket: BorrowedFd<'_>,
    message: &T,
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), WireError> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message).map_err(|err| WireError::Broken(err.to_string()))?;
    let length = u32::try_from(bytes.len() - 4).map_err(|_| WireError::Broken("too long".into()))?;
    bytes[..4].copy_from_slice(&length.to_le_bytes());

    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(WireError::Broken(format!("{} descriptors in one message", descriptors.len())));
    }
    let mut sent =
        retry(|| rustix::net::sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL))?;
    while sent < bytes.len() {
        sent += retry(|| rustix::net::send(socket, &bytes[sent..], SendFlags::NOSIGNAL))?;
    }
    Ok(())
}

/// Receives one message and the descriptors that came with it (close-on-exec).
pub(crate) fn receive<T: DeserializeOwned>(socket: BorrowedFd<'_>) -> Result<(T, Vec<OwnedFd>), WireError> {
    let mut descriptors = Vec::new();
    let mut length = [0; 4];
    if fill(socket, &mut length, &mut descriptors)? == 0 {
        return Err(WireError::Closed);
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_LENGTH {
        return Err(WireError::Broken(format!("{length} bytes announced")));
    }
    let mut bytes = vec![0; length];
    fill(socket, &mut bytes, &mut descriptors)?;
    let message = serde_json::from_slice(&bytes).map_err(|err| WireError::Broken(err.to_string()))?;
    Ok((message, descriptors))
}

/// Reads until `bytes` is full; 0 if the other side had closed before the first byte.
fn fill(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> Result<usize, WireError> {
    let mut filled = 0;
    while filled < bytes.len() {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut bytes[filled..])];
        let got = retry(|| {
            rustix::net::recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC).map(|r| r.bytes)
        })?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                descriptors.extend(fds);
            }
        }
        match got {
            0 if filled == 0 => return Ok(0),
            0 => return Err(WireError::Broken("cut off".into())),
            got => filled += got,
        }
    }
    Ok(filled)
}

/// Repeats a call that a signal interrupted.
fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> Result<T, WireError> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::CONNRESET | rustix::io::Errno::PIPE) => return Err(WireError::Closed),
            other => return other.map_err(|errno| WireError::Io(errno.into())),
        }
    }
}

/// A connected pair of sockets for [`send`] and [`receive`].
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    socket::pair(socket::Kind::Stream)
}

/// The first descriptors of a message, in the order they were sent.
pub(crate) fn take<const N: usize>(descriptors: Vec<OwnedFd>) -> Result<[OwnedFd; N], WireError> {
    let got = descriptors.len();
    descriptors
        .try_into()
        .map_err(|_| WireError::Broken(format!("{got} descriptors came where {N} were due")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_large_message_and_its_descriptors_arrive() {
        let (here, there) = pair().unwrap();
        let text = "x".repeat(3 << 20);
        let sender = {
            let text = text.clone();
            std::thread::spawn(move || {
                let file = tempfile::tempfile().unwrap();
                send(here.as_fd(), &text, &[file.as_fd(), file.as_fd()]).unwrap();
            })
        };
        let (got, fds) = receive::<String>(there.as_fd()).unwrap();
        sender.join().unwrap();
        assert!(got == text, "the text differs");
        assert_eq!(fds.len(), 2);
        assert!(matches!(receive::<String>(there.as_fd()), Err(WireError::Closed)));
    }
}
