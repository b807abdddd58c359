//! Sending entries to the system's journal.
//!
//! An entry is one datagram: `KEY=value` lines, or for values with newlines the key, a length and the
//! bytes. One too long for a datagram travels as a sealed file in memory whose descriptor is sent.
//!
//! # Source
//!
//! systemd, "Native Journal Protocol".

use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, SealFlags};

use crate::sys::poll::{Interest, PollSet};

/// Where journald listens.
pub(crate) const SOCKET: &str = "/run/systemd/journal/socket";

/// A way to the journal.
#[derive(Debug)]
pub(crate) struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
    /// The entry that is being put together.
    entry: Vec<u8>,
    /// It took nothing for [`PATIENCE`]: until it takes something again, it is not waited for.
    stuck: bool,
}

/// How long a journal that takes nothing is waited for. Whoever writes to it may have other things to do.
const PATIENCE: Duration = Duration::from_secs(1);

impl Journal {
    /// Opens the way to the journal that listens on `path`.
    ///
    /// # Errors
    ///
    /// NotFound or ConnectionRefused if there is no journal.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, path: path.to_owned(), entry: Vec::new(), stuck: false })
    }

    /// Adds a field to the entry. `key` is upper case.
    pub(crate) fn field(&mut self, key: &str, value: &[u8]) {
        self.entry.extend_from_slice(key.as_bytes());
        if value.contains(&b'\n') {
            self.entry.push(b'\n');
            self.entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            self.entry.push(b'=');
        }
        self.entry.extend_from_slice(value);
        self.entry.push(b'\n');
    }

    /// Sends the entry, and begins another. A journal that was restarted is found again.
    ///
    /// # Errors
    ///
    /// If the journal is gone, or takes no more.
    pub(crate) fn send(&mut self) -> io::Result<()> {
        let mut sent = self.try_send();
        if !self.stuck && is_full(&sent) {
            let deadline = Instant::now() + PATIENCE;
            while let Some(left) = deadline.checked_duration_since(Instant::now())
                && is_full(&sent)
            {
                let mut set = PollSet::default();
                set.add(Some(self.socket.as_fd()), Interest::WRITE);
                set.wait(Some(left))?;
                sent = self.try_send();
            }
        }
        self.stuck = is_full(&sent);
        self.entry.clear();
        if self.entry.capacity() > 64 << 10 {
            self.entry.shrink_to(4 << 10);
        }
        sent
    }

    /// Sends the entry if the journal takes it now.
    fn try_send(&self) -> io::Result<()> {
        let sent = match self.socket.send(&self.entry) {
            Err(err) if is_gone(&err) => {
                self.socket.connect(&self.path).and_then(|()| self.socket.send(&self.entry))
            }
            other => other,
        };
        match sent {
            Err(err) if matches!(err.raw_os_error(), Some(libc::EMSGSIZE | libc::ENOBUFS)) => {
                self.send_as_file()
            }
            other => other.map(drop),
        }
    }

    fn send_as_file(&self) -> io::Result<()> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let memory: OwnedFd = rustix::fs::memfd_create("journal-entry", flags)?;
        let mut file = std::fs::File::from(memory);
        file.write_all(&self.entry)?;
        rustix::fs::fcntl_add_seals(
            &file,
            SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL,
        )?;
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
        let fds = [file.as_fd()];
        control.push(rustix::net::SendAncillaryMessage::ScmRights(&fds));
        rustix::net::sendmsg(&self.socket, &[], &mut control, rustix::net::SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

fn is_full(sent: &io::Result<()>) -> bool {
    sent.as_ref().is_err_and(|err| err.kind() == io::ErrorKind::WouldBlock)
}

fn is_gone(err: &io::Error) -> bool {
    matches!(
        err.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotConnected | io::ErrorKind::NotFound
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::socket;
    use std::os::unix::fs::FileExt as _;

    #[test]
    fn entries_are_in_the_journal_s_own_form() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let journald = UnixDatagram::bind(&path).unwrap();
        let mut journal = Journal::open(&path).unwrap();
        journal.field("MESSAGE", b"one");
        journal.field("OTHER", b"a\nb");
        journal.send().unwrap();
        let mut buffer = [0; 100];
        let length = journald.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"MESSAGE=one\nOTHER\n\x03\0\0\0\0\0\0\0a\nb\n");

        let big = vec![b'x'; 4 << 20];
        journal.field("MESSAGE", &big);
        journal.send().unwrap();
        let mut fds = Vec::new();
        let length = socket::receive_with_fds(journald.as_fd(), &mut buffer, &mut fds).unwrap();
        assert_eq!((length, fds.len()), (0, 1));
        let file = std::fs::File::from(fds.remove(0));
        let mut start = [0; 9];
        file.read_exact_at(&mut start, 0).unwrap();
        assert_eq!((&start, file.metadata().unwrap().len()), (b"MESSAGE=x", (4 << 20) + 9));
    }

    #[test]
    fn a_journal_that_takes_nothing_holds_nobody_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let journald = UnixDatagram::bind(&path).unwrap();
        let mut journal = Journal::open(&path).unwrap();
        let mut entry = |text: &[u8]| {
            journal.field("MESSAGE", text);
            journal.send()
        };
        let mut refused = 0;
        // Far more than its queue holds: it is waited for once.
        for _ in 0..100_000 {
            refused += u32::from(is_full(&entry(b"one")));
        }
        assert!(refused > 90_000, "{refused}");
        journald.recv(&mut [0; 100]).unwrap();
        entry(b"again").unwrap();
    }

    #[test]
    fn a_journal_that_comes_back_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let first = UnixDatagram::bind(&path).unwrap();
        let mut journal = Journal::open(&path).unwrap();
        drop(first);
        std::fs::remove_file(&path).unwrap();
        let second = UnixDatagram::bind(&path).unwrap();
        journal.field("MESSAGE", b"again");
        journal.send().unwrap();
        let mut buffer = [0; 100];
        let length = second.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"MESSAGE=again\n");
    }
}
