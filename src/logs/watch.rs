//! Noticing that a log grows.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::inotify;

/// Wakes a reader when a file in one of some directories changes. The descriptor is readable then.
#[derive(Debug)]
pub(crate) struct Watch(OwnedFd);

impl Watch {
    /// A watch on nothing.
    ///
    /// # Errors
    ///
    /// EMFILE when the user has too many (`fs.inotify.max_user_instances`): look now and then instead.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?))
    }

    /// Adds a directory.
    ///
    /// # Errors
    ///
    /// ENOSPC when the user watches too much (`fs.inotify.max_user_watches`).
    pub(crate) fn add(&self, dir: BorrowedFd<'_>) -> io::Result<()> {
        let flags = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
        inotify::add_watch(&self.0, format!("/proc/self/fd/{}", dir.as_raw_fd()), flags)?;
        Ok(())
    }

    /// Forgets what has happened so far. Call it before reading the files, so that nothing is missed.
    ///
    /// # Errors
    ///
    /// None beyond those of a broken descriptor.
    pub(crate) fn clear(&self) -> io::Result<()> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        loop {
            match rustix::io::read(&self.0, &mut buffer) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_and_rotation_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        std::fs::write(&log, b"a").unwrap();
        let watch = Watch::new().unwrap();
        watch.add(std::fs::File::open(dir.path()).unwrap().as_fd()).unwrap();
        let noticed = || {
            let mut fds = [rustix::event::PollFd::new(&watch, rustix::event::PollFlags::IN)];
            let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
            let ready = rustix::event::poll(&mut fds, Some(&now)).unwrap() > 0;
            watch.clear().unwrap();
            ready
        };
        assert!(!noticed());
        std::fs::write(&log, b"ab").unwrap();
        assert!(noticed());
        std::fs::rename(&log, dir.path().join("log.1")).unwrap();
        assert!(noticed());
        assert!(!noticed());
    }
}
