//! The store's lock, and waiting that says on whom.
//!
//! Locks are flock(2) locks: the kernel frees them at any death. Who holds one is read from
//! `/proc/locks`, which needs nothing written and cannot be out of date.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::base::order::InOrder as _;
use crate::store::Store;
use crate::store::error::{Result, io_error};
use crate::sys::fs;
pub(crate) use crate::sys::fs::Share;

/// After this long a wait is told to the user.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whom a wait is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) pid: u32,
    /// Its command line, for showing; empty if it is not known.
    pub(crate) command: String,
}

/// A held lock; dropping it frees it.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: OwnedFd,
}

/// Proof that the store's lock is held exclusively.
#[derive(Debug)]
pub(crate) struct Exclusive {
    _lock: Lock,
}

/// Called once when a wait has lasted 5 s, with what is waited for and the processes that hold it (none
/// where /proc does not tell).
pub(crate) type OnWait<'a> = &'a mut dyn FnMut(&Path, &[Holder]);

impl Store {
    /// Takes the store's lock alone: while images are registered or removed, containers created or
    /// removed, garbage collected. Held for milliseconds.
    pub(crate) fn lock(&self, on_wait: OnWait<'_>) -> Result<Exclusive> {
        Ok(Exclusive { _lock: self.take_lock(Share::Exclusive, on_wait)? })
    }

    /// Takes the store's lock beside others who only add pins, so that no garbage collection runs.
    pub(crate) fn lock_shared(&self, on_wait: OnWait<'_>) -> Result<Lock> {
        self.take_lock(Share::Shared, on_wait)
    }

    fn take_lock(&self, share: Share, on_wait: OnWait<'_>) -> Result<Lock> {
        let path = self.root().join("lock");
        let flags = fs::OFlags::RDWR | fs::OFlags::CREATE;
        let file = fs::open_at(self.dir(), "lock", flags, 0o600).map_err(io_error("open", &path))?;
        wait(&file, share, &path, on_wait)?;
        Ok(Lock { _file: file })
    }
}

/// Takes the flock of `file`, whose `path` is for messages.
pub(crate) fn wait(file: &OwnedFd, share: Share, path: &Path, on_wait: OnWait<'_>) -> Result<()> {
    let started = Instant::now();
    let mut pause = Duration::from_micros(200);
    let lock_error = |err| io_error("lock", path)(err);
    while !fs::try_lock(file, share).map_err(lock_error)? {
        if started.elapsed() >= PATIENCE {
            on_wait(path, &holders(file).unwrap_or_default());
            return fs::lock(file, share).map_err(lock_error);
        }
        // Locks are held for milliseconds, so that the pause is what a waiter can lose.
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
    Ok(())
}

/// The processes that hold a flock on `file`.
pub(crate) fn holders(file: impl AsFd) -> io::Result<Vec<Holder>> {
    let stat = fs::stat(file)?;
    let table = std::fs::read_to_string("/proc/locks")?;
    let mut pids: Vec<u32> = flock_holders(&table, stat.st_dev, stat.st_ino);
    pids.order();
    pids.dedup();
    Ok(pids.into_iter().map(|pid| Holder { pid, command: command_of(pid) }).collect())
}

/// The processes that the text of `/proc/locks` names as holders of a flock on one file.
///
/// # Source
///
/// proc_locks(5): `1: FLOCK  ADVISORY  WRITE 4711 fd:01:12345 0 EOF`; waiters have `->` behind the number.
fn flock_holders(table: &str, dev: u64, ino: u64) -> Vec<u32> {
    let (major, minor) = (rustix::fs::major(dev), rustix::fs::minor(dev));
    let file = format!("{major:02x}:{minor:02x}:{ino}");
    table
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            match fields[..] {
                [_, "FLOCK", _, _, pid, found, ..] if found == file => pid.parse().ok(),
                _ => None,
            }
        })
        .collect()
}

fn command_of(pid: u32) -> String {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> = line.split(|&b| b == 0).map(String::from_utf8_lossy).collect();
    words.join(" ").trim_end().chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_proc_locks() {
        let table = "1: POSIX  ADVISORY  WRITE 10 fd:01:77 0 EOF\n\
                     2: FLOCK  ADVISORY  READ 11 fd:01:77 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 12 fd:01:77 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 13 fd:01:78 0 EOF\n\
                     4: FLOCK  ADVISORY  READ 14 fd:01:77 0 EOF\n";
        assert_eq!(flock_holders(table, rustix::fs::makedev(0xfd, 1), 77), [11, 14]);
    }

    #[test]
    fn one_holder_at_a_time_and_it_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let held = store.lock(&mut |_, _| panic!("nobody holds it")).unwrap();
        let file = std::fs::File::open(dir.path().join("lock")).unwrap();
        assert!(!fs::try_lock(&file, Share::Shared).unwrap());
        let holders = holders(&file).unwrap();
        assert_eq!(holders.iter().map(|h| h.pid).collect::<Vec<_>>(), [std::process::id()]);
        assert!(!holders[0].command.is_empty());
        drop(held);
        let _one = store.lock_shared(&mut |_, _| {}).unwrap();
        let _two = store.lock_shared(&mut |_, _| {}).unwrap();
    }
}
