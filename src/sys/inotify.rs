//! Noticing which files of directories change (inotify(7)), and waiting for several things as for one.

use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::event::epoll;
use rustix::fs::inotify::{self, ReadFlags, WatchFlags};
use rustix::io::Errno;

/// What is awaited of a directory: its entries appear, are written, and go.
const AWAITED: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::ONLYDIR);

/// Directories that are watched. The descriptor is readable when something has changed.
#[derive(Debug)]
pub(crate) struct Inotify(OwnedFd);

/// Something has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// An entry of a directory has appeared, was written, or is gone.
    Entry { watch: i32, name: OsString },
    /// A directory is gone, and with it its watch.
    Gone { watch: i32 },
    /// There was too much to tell: anything may have changed.
    Overflow,
}

impl Inotify {
    /// A watch on nothing.
    ///
    /// # Errors
    ///
    /// EMFILE when the user has too many (`fs.inotify.max_user_instances`).
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?))
    }

    /// Watches the entries of a directory, and not of those below it. Answers the number of the watch; the
    /// same for a directory that is watched already.
    ///
    /// # Errors
    ///
    /// ENOSPC when the user watches too much (`fs.inotify.max_user_watches`); ENOTDIR, ENOENT, EACCES.
    pub(crate) fn add(&self, directory: &Path) -> io::Result<i32> {
        Ok(inotify::add_watch(&self.0, directory, AWAITED)?)
    }

    /// What has happened since it was last asked; nothing is waited for.
    ///
    /// # Errors
    ///
    /// None beyond those of a broken descriptor.
    pub(crate) fn read(&self) -> io::Result<Vec<Change>> {
        let mut buffer = [MaybeUninit::uninit(); 8192];
        let mut reader = inotify::Reader::new(&self.0, &mut buffer);
        let mut changes = Vec::new();
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::AGAIN) => return Ok(changes),
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            let watch = event.wd();
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                changes.push(Change::Overflow);
            } else if event.events().contains(ReadFlags::IGNORED) {
                changes.push(Change::Gone { watch });
            } else if let Some(name) = event.file_name() {
                changes.push(Change::Entry { watch, name: OsStr::from_bytes(name.to_bytes()).to_owned() });
            }
        }
    }
}

impl AsFd for Inotify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A descriptor that is readable while one of several is (epoll(7)).
#[derive(Debug)]
pub(crate) struct AnyOf(OwnedFd);

impl AnyOf {
    /// Of these; they must stay open as long as this is used.
    ///
    /// # Errors
    ///
    /// EMFILE; EPERM for what cannot be waited for.
    pub(crate) fn new(all: &[BorrowedFd<'_>]) -> io::Result<Self> {
        let any = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (place, fd) in (0..).zip(all) {
            epoll::add(&any, fd, epoll::EventData::new_u64(place), epoll::EventFlags::IN)?;
        }
        Ok(Self(any))
    }
}

impl AsFd for AnyOf {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::poll::{Interest, PollSet};
    use std::time::Duration;

    #[test]
    fn changes_are_told_and_wake_who_waits_for_any() {
        let dir = tempfile::tempdir().unwrap();
        let watch = Inotify::new().unwrap();
        let number = watch.add(dir.path()).unwrap();
        assert_eq!(watch.add(dir.path()).unwrap(), number);
        let (pipe, _write) = rustix::pipe::pipe().unwrap();
        let any = AnyOf::new(&[pipe.as_fd(), watch.as_fd()]).unwrap();
        let ready = || {
            let mut set = PollSet::default();
            set.add(Some(any.as_fd()), Interest::READ);
            set.wait(Some(Duration::ZERO)).unwrap()
        };
        assert!(!ready());
        assert_eq!(watch.read().unwrap(), []);
        std::fs::create_dir(dir.path().join("a")).unwrap();
        assert!(ready());
        let entry = Change::Entry { watch: number, name: "a".into() };
        assert_eq!(watch.read().unwrap(), std::slice::from_ref(&entry));
        assert!(!ready());
        std::fs::remove_dir(dir.path().join("a")).unwrap();
        assert_eq!(watch.read().unwrap(), [entry]);
        std::fs::remove_dir(dir.path()).unwrap();
        assert_eq!(watch.read().unwrap(), [Change::Gone { watch: number }]);
    }
}
