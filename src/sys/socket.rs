//! Unix sockets: pairs, sockets with a name below a directory descriptor, and descriptors as cargo.
//!
//! A name is always one component below an open directory and is reached through
//! `/proc/self/fd/N/NAME`: `sun_path` holds 108 bytes, and a store may lie deeper than that.

use std::ffi::OsStr;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

/// Most descriptors that one message carries: the kernel's own limit (`SCM_MAX_FD`).
pub(crate) const MAX_FDS: usize = 253;

/// Whether a socket keeps the borders of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `SOCK_STREAM`: bytes.
    Stream,
    /// `SOCK_SEQPACKET`: whole packets, in order, with an end of file.
    Packet,
}

impl Kind {
    fn socket_type(self) -> SocketType {
        match self {
            Self::Stream => SocketType::STREAM,
            Self::Packet => SocketType::SEQPACKET,
        }
    }
}

/// Who is at the other end of a connected socket, as it was when it connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Process ID, in the numbers of the reader's namespace.
    pub(crate) pid: i32,
    /// User ID, in the reader's user namespace.
    pub(crate) uid: u32,
}

/// Makes two connected sockets; both close on exec.
///
/// # Errors
///
/// EMFILE or ENFILE.
pub(crate) fn pair(kind: Kind) -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, kind.socket_type(), SocketFlags::CLOEXEC, None)?)
}

/// What a socket connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Internet,
    Unix,
}

/// Copies of the first `count` descriptors from 3 on that are sockets of this family; all of them close on exec
/// from here on.
///
/// To be called by a process to which these numbers were passed open (sd_listen_fds(3)).
pub(crate) fn passed(count: u32, family: Family) -> Vec<OwnedFd> {
    /// systemd's `SD_LISTEN_FDS_START`.
    const FIRST: i32 = 3;
    let last = FIRST.saturating_add(i32::try_from(count).unwrap_or(i32::MAX)).min(1 << 20);
    let mut sockets = Vec::new();
    for number in FIRST..last {
        // SAFETY: the descriptor is only used for the two calls below, which fail if it is not open.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        let Ok(copy) = rustix::io::fcntl_dupfd_cloexec(descriptor, FIRST) else { break };
        rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::CLOEXEC).ok();
        let found = rustix::net::getsockname(&copy).ok().and_then(|name| match name.address_family() {
            AddressFamily::INET | AddressFamily::INET6 => Some(Family::Internet),
            AddressFamily::UNIX => Some(Family::Unix),
            _ => None,
        });
        if found == Some(family) {
            sockets.push(copy);
        }
    }
    sockets
}

/// Binds a socket to `name` in `dir`, with mode 0600, and listens on it. It closes on
/// exec and does not block, so that [`accept`] can say that nobody waits.
///
/// # Errors
///
/// EADDRINUSE if the name is taken; remove a stale one first.
pub(crate) fn listen_at(dir: BorrowedFd<'_>, name: &OsStr, kind: Kind) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind.socket_type(), flags, None)?;
    // The mode of a bound socket is the mode of the socket's own inode, less the umask: set before
    // bind(2), there is no moment in which others could connect.
    rustix::fs::fchmod(&socket, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?;
    rustix::net::bind(&socket, &address(dir, name)?)?;
    rustix::net::listen(&socket, 64)?;
    Ok(socket)
}

/// Connects to the socket `name` in `dir`.
///
/// # Errors
///
/// ENOENT if there is none, ECONNREFUSED if nobody listens on it any more.
pub(crate) fn connect_at(dir: BorrowedFd<'_>, name: &OsStr, kind: Kind) -> io::Result<OwnedFd> {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, kind.socket_type(), SocketFlags::CLOEXEC, None)?;
    rustix::net::connect(&socket, &address(dir, name)?)?;
    Ok(socket)
}

/// Takes the next connection, non-blocking and close-on-exec; `None` if none is waiting.
///
/// # Errors
///
/// What accept4(2) answers beyond "try again": EMFILE, ENFILE, ENOMEM.
pub(crate) fn accept(listener: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    use rustix::io::Errno;
    match rustix::net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
        Ok(socket) => Ok(Some(socket)),
        Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Who connected (`SO_PEERCRED`).
///
/// # Errors
///
/// ENOTCONN.
pub(crate) fn peer(socket: BorrowedFd<'_>) -> io::Result<Peer> {
    let found = rustix::net::sockopt::socket_peercred(socket)?;
    Ok(Peer { pid: found.pid.as_raw_nonzero().get(), uid: found.uid.as_raw() })
}

/// Asks for room for `bytes` of packets under way. The kernel grants what `net.core.wmem_max` allows.
///
/// # Errors
///
/// Only for something that is not a socket.
pub(crate) fn set_send_buffer(socket: BorrowedFd<'_>, bytes: usize) -> io::Result<()> {
    Ok(rustix::net::sockopt::set_socket_send_buffer_size(socket, bytes)?)
}

/// Ends the peer's sending for good: from now on it is answered EPIPE. What it sent before can still be
/// received.
///
/// # Errors
///
/// ENOTCONN.
pub(crate) fn refuse_input(socket: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::net::shutdown(socket, rustix::net::Shutdown::Read)?)
}

/// Makes later reads and writes on `fd` answer "would block" instead of waiting, or undoes that.
///
/// This is a property of the open file description: never set it on one that another process shares.
///
/// # Errors
///
/// EBADF.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    Ok(rustix::io::ioctl_fionbio(fd, on)?)
}

/// Sends `bytes`, as one packet where the socket has packets. No SIGPIPE is raised.
///
/// # Errors
///
/// `WouldBlock` on a full non-blocking socket; `BrokenPipe` when the peer is gone.
pub(crate) fn send(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::io::retry_on_intr(|| rustix::net::send(socket, bytes, SendFlags::NOSIGNAL))?)
}

/// Receives bytes or one packet into `buffer`; 0 means that the peer has closed.
///
/// # Errors
///
/// `WouldBlock` on an empty non-blocking socket; `Interrupted` is retried.
pub(crate) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    let (read, _) =
        rustix::io::retry_on_intr(|| rustix::net::recv(socket, &mut *buffer, RecvFlags::empty()))?;
    Ok(read)
}

/// Sends `bytes` with `fds` attached to the first of them. At least one byte is needed.
///
/// Returns how many bytes went; on a blocking packet socket that is all of them.
///
/// # Errors
///
/// As [`send`]; EINVAL for more than [`MAX_FDS`] descriptors.
pub(crate) fn send_with_fds(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    if fds.is_empty() {
        return send(socket, bytes);
    }
    if fds.len() > MAX_FDS {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(fds.len()))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(rustix::io::retry_on_intr(|| {
        rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)
    })?)
}

/// Receives bytes or one packet into `buffer` and appends descriptors that came along to `fds`
/// (close-on-exec). 0 means that the peer has closed.
///
/// # Errors
///
/// `InvalidData` if descriptors were lost because there were more than [`MAX_FDS`] or because this
/// process may open no more.
pub(crate) fn receive_with_fds(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    fds: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    for cargo in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = cargo {
            fds.extend(received);
        }
    }
    if message.flags.contains(rustix::net::ReturnFlags::CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "descriptors of a message were lost"));
    }
    Ok(message.bytes)
}

/// The address of `name` in `dir`.
fn address(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<SocketAddrUnix> {
    let mut path = format!("/proc/self/fd/{}/", dir.as_fd().as_raw_fd()).into_bytes();
    path.extend_from_slice(name.as_bytes());
    Ok(SocketAddrUnix::new(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_travel_with_their_packet() {
        let (left, right) = pair(Kind::Packet).unwrap();
        let (read, write) = rustix::pipe::pipe().unwrap();

        send_with_fds(left.as_fd(), b"here", &[write.as_fd()]).unwrap();
        drop(write);
        let (mut buffer, mut fds) = ([0; 16], Vec::new());
        let got = receive_with_fds(right.as_fd(), &mut buffer, &mut fds).unwrap();

        assert_eq!((&buffer[..got], fds.len()), (&b"here"[..], 1));
        rustix::io::write(&fds[0], b"x").unwrap();
        let mut one = [0; 1];
        assert_eq!((rustix::io::read(&read, &mut one).unwrap(), &one), (1, b"x"));
    }

    #[test]
    fn a_socket_deeper_than_sun_path_is_reached() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("d".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let dir = std::fs::File::open(&deep).unwrap();
        let name = OsStr::new("attach.sock");

        let missing = connect_at(dir.as_fd(), name, Kind::Packet).unwrap_err();
        let listener = listen_at(dir.as_fd(), name, Kind::Packet).unwrap();
        let _client = connect_at(dir.as_fd(), name, Kind::Packet).unwrap();
        let server = accept(listener.as_fd()).unwrap().expect("a client waits");

        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        assert!(accept(listener.as_fd()).unwrap().is_none());
        assert_eq!(peer(server.as_fd()).unwrap().pid, i32::try_from(std::process::id()).unwrap());
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(deep.join("attach.sock")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
