//! Whole directory trees by descriptors: removing and measuring.
//!
//! Trees come from images and containers: they can be 10,000 levels deep, hold directories of mode
//! 000 and files of IDs that the caller may not touch. Removing needs a fixed number of descriptors
//! however deep the tree is: what lies too deep is first moved up to the top.
//!
//! ```text
//! top/a/b/c/…(64 levels)…/deep/…     ──rename──▶    top/.ketch-rm-0/…     (removed in a later round)
//! ```

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{self as rfs, Mode, OFlags, ResolveFlags};

use crate::sys::fs::{
    FileType, chmod, chmod_at, for_each_entry, kind, open_dir, rename, rmdir, stat, stat_at, unlink,
};

/// Directories held open at a time.
const DEPTH_MAX: usize = 64;

/// How directories below the top are opened.
const BELOW: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_XDEV);

/// What is left of a tree after [`remove`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removed {
    /// Nothing.
    All,
    /// What belongs to IDs that this process may not act for. A process of the user namespace that
    /// made them can finish the work with the same call.
    Partly,
}

/// Removes `name` in `dir` with everything below it. A missing one is a success.
///
/// Goes on past what this process may not remove. Never crosses into another file system.
///
/// # Errors
///
/// Anything but EACCES and EPERM: a mount point inside (EXDEV, EBUSY), I/O errors.
pub(crate) fn remove(dir: impl AsFd, name: &OsStr) -> io::Result<Removed> {
    let missing = |err: &io::Error| err.kind() == io::ErrorKind::NotFound;
    match unlink(&dir, name) {
        Ok(()) => return Ok(Removed::All),
        Err(err) if missing(&err) => return Ok(Removed::All),
        Err(err) if err.raw_os_error() == Some(libc::EISDIR) => {}
        Err(err) if is_denied(&err) && stat_at(&dir, name).is_ok_and(|s| kind(&s) == FileType::Directory) => {
        }
        Err(err) if is_denied(&err) => return Ok(Removed::Partly),
        Err(err) => return Err(err),
    }
    // The tree itself may be named by any path; only what is below it is held to stay below it.
    let top = match open_for_removal(&dir, name, ResolveFlags::NO_MAGICLINKS) {
        Ok(Some(top)) => top,
        Ok(None) => return Ok(Removed::Partly),
        // Another process removes it, too.
        Err(err) if missing(&err) => return Ok(Removed::All),
        Err(err) => return Err(err),
    };
    let mut removal = Removal { top, moved_up: 0, denied: false };
    while removal.round()? {}
    drop(removal.top);
    match rmdir(&dir, name) {
        Ok(()) => Ok(Removed::All),
        Err(err) if missing(&err) => Ok(Removed::All),
        Err(err) if is_denied(&err) => Ok(Removed::Partly),
        Err(err) if removal.denied && err.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(Removed::Partly),
        Err(err) => Err(err),
    }
}

/// One tree in the course of being removed.
struct Removal {
    top: OwnedFd,
    /// How many deep directories were moved to the top so far.
    moved_up: u64,
    /// Something could not be removed for want of rights.
    denied: bool,
}

/// A directory on the way down.
struct Level {
    dir: OwnedFd,
    /// Its name in the level above.
    name: OsString,
    /// Its subdirectories that are still to be removed.
    pending: Vec<OsString>,
}

impl Removal {
    /// Walks the tree once; true if directories were moved to the top, so that another round is due.
    fn round(&mut self) -> io::Result<bool> {
        let before = self.moved_up;
        let top = self.top.try_clone()?;
        let pending = self.remove_files(&top)?;
        let mut levels = vec![Level { dir: top, name: OsString::new(), pending }];
        while let Some(level) = levels.last_mut() {
            match level.pending.pop() {
                Some(name) => self.descend(&mut levels, name)?,
                None => self.leave(&mut levels)?,
            }
        }
        Ok(self.moved_up > before)
    }

    /// Goes one level down, or moves the directory up if that would be too deep.
    fn descend(&mut self, levels: &mut Vec<Level>, name: OsString) -> io::Result<()> {
        let depth = levels.len();
        let Some(level) = levels.last() else { return Ok(()) };
        let dir = match open_for_removal(&level.dir, &name, BELOW) {
            Ok(Some(dir)) => dir,
            Ok(None) => {
                self.denied = true;
                return Ok(());
            }
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(err) => return Err(err),
        };
        if depth < DEPTH_MAX {
            let pending = self.remove_files(&dir)?;
            levels.push(Level { dir, name, pending });
            return Ok(());
        }
        let staged = OsString::from(format!(".ketch-rm-{}", self.moved_up));
        match rename(&level.dir, &name, &self.top, &staged) {
            Ok(()) => self.moved_up += 1,
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            Err(err) if is_denied(&err) => self.denied = true,
            Err(err) => return Err(err),
        }
        Ok(())
    }

    /// Removes the directory at the end of `levels`, which is empty but for what was denied.
    fn leave(&mut self, levels: &mut Vec<Level>) -> io::Result<()> {
        let Some(done) = levels.pop() else { return Ok(()) };
        let Some(above) = levels.last() else { return Ok(()) };
        match rmdir(&above.dir, &done.name) {
            Ok(()) => Ok(()),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(err) if is_denied(&err) || err.kind() == io::ErrorKind::DirectoryNotEmpty => {
                self.denied = true;
                Ok(())
            }
            Err(err) => Err(err),
        }
    }

    /// Removes all of `dir` that is no directory, and returns the names of its directories.
    fn remove_files(&mut self, dir: &OwnedFd) -> io::Result<Vec<OsString>> {
        let mut files = Vec::new();
        let mut dirs = Vec::new();
        rfs::seek(dir, rfs::SeekFrom::Start(0))?;
        let listed = for_each_entry(dir, |name, kind| {
            let list = if kind == FileType::Directory { &mut dirs } else { &mut files };
            list.push(name.to_owned());
            Ok(())
        });
        // Another process has removed the directory meanwhile.
        listed.or_else(|err| if err.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(err) })?;
        for name in files {
            match unlink(dir, &name) {
                Ok(()) => {}
                Err(err) if err.kind() == io::ErrorKind::NotFound => {}
                // The file system does not tell types.
                Err(err) if err.raw_os_error() == Some(libc::EISDIR) => dirs.push(name),
                Err(err) if is_denied(&err) => self.denied = true,
                Err(err) => return Err(err),
            }
        }
        Ok(dirs)
    }
}

/// Opens directory `name` so that its entries can be listed and removed, giving its owner the rights
/// first if need be; `None` if this process may not.
fn open_for_removal(dir: impl AsFd, name: &OsStr, resolve: ResolveFlags) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || rfs::openat2(&dir, name, flags, Mode::empty(), resolve);
    let opened = match open() {
        Err(rustix::io::Errno::ACCESS) => {
            if chmod_at(&dir, name, 0o700).is_err() {
                return Ok(None);
            }
            open()
        }
        other => other,
    };
    match opened {
        Ok(opened) => {
            if stat(&opened)?.st_mode & 0o700 != 0o700 {
                // Where this is refused, removing will be too, and be counted there.
                chmod(&opened, 0o700).ok();
            }
            Ok(Some(opened))
        }
        Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => Ok(None),
        Err(err) => Err(err.into()),
    }
}

fn is_denied(err: &io::Error) -> bool {
    err.kind() == io::ErrorKind::PermissionDenied
}

/// What a tree takes on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Sum of the lengths of all files, a file with several names counted once.
    pub(crate) bytes: u64,
    /// Sum of the blocks that are allocated.
    pub(crate) allocated_bytes: u64,
    /// How many names.
    pub(crate) entries: u64,
    /// Directories that could not be read, for want of rights.
    pub(crate) unreadable: u64,
}

/// Measures the tree below directory `name` of `dir`.
///
/// # Errors
///
/// The kernel's, for `name` itself; below it what cannot be read is counted and passed over.
pub(crate) fn usage(dir: impl AsFd, name: &OsStr) -> io::Result<Usage> {
    let mut usage = Usage::default();
    let mut linked = std::collections::HashSet::new();
    let mut levels = vec![(open_dir(dir, name)?, None::<Vec<OsString>>)];
    while let Some((dir, pending)) = levels.last_mut() {
        let pending = match pending {
            Some(pending) => pending,
            None => pending.insert(measure_level(dir, &mut usage, &mut linked)?),
        };
        let Some(name) = pending.pop() else {
            levels.pop();
            continue;
        };
        match open_dir(&*dir, &name) {
            Ok(below) => levels.push((below, None)),
            Err(_) => usage.unreadable += 1,
        }
    }
    Ok(usage)
}

/// Adds the entries of one directory and returns the names of its directories.
fn measure_level(
    dir: &OwnedFd,
    usage: &mut Usage,
    linked: &mut std::collections::HashSet<(u64, u64)>,
) -> io::Result<Vec<OsString>> {
    let mut below = Vec::new();
    for_each_entry(dir, |name, _| {
        usage.entries += 1;
        let Ok(found) = stat_at(dir, name) else { return Ok(()) };
        let is_dir = kind(&found) == FileType::Directory;
        if is_dir {
            below.push(name.to_owned());
        } else if found.st_nlink < 2 || linked.insert((found.st_dev, found.st_ino)) {
            usage.bytes += u64::try_from(found.st_size).unwrap_or(0);
        } else {
            return Ok(());
        }
        usage.allocated_bytes += u64::try_from(found.st_blocks).unwrap_or(0) * 512;
        Ok(())
    })?;
    Ok(below)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fs::{here, mkdir, open_at, open_base};

    #[test]
    fn removes_deep_and_closed_trees() {
        let dir = tempfile::tempdir().unwrap();
        let base = open_base(dir.path()).unwrap();
        mkdir(&base, "t", 0o700).unwrap();
        let mut at = open_dir(&base, "t").unwrap();
        for level in 0..3000 {
            mkdir(&at, "d", 0o700).unwrap();
            if level % 1000 == 0 {
                drop(open_at(&at, "f", OFlags::CREATE | OFlags::WRONLY, 0o600).unwrap());
            }
            at = open_dir(&at, "d").unwrap();
        }
        mkdir(&at, "closed", 0o000).unwrap();
        mkdir(&base, "t/closed", 0o000).unwrap();
        assert_eq!(remove(&base, OsStr::new("t")).unwrap(), Removed::All);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(remove(&base, OsStr::new("t")).unwrap(), Removed::All, "a second time");
    }

    #[test]
    fn several_may_remove_one_tree() {
        for _ in 0..20 {
            let dir = tempfile::tempdir().unwrap();
            for n in 0..100 {
                std::fs::create_dir_all(dir.path().join(format!("t/{n}/a/b"))).unwrap();
                std::fs::write(dir.path().join(format!("t/{n}/a/file")), "x").unwrap();
            }
            let remove_it = || {
                let base = open_base(dir.path()).unwrap();
                // What the others are about to take away is none of this one's denials.
                remove(&base, OsStr::new("t")).map(drop).map_err(|err| err.kind())
            };
            std::thread::scope(|scope| {
                let removers: Vec<_> = (0..4).map(|_| scope.spawn(remove_it)).collect();
                for remover in removers {
                    let removed = remover.join().unwrap();
                    assert!(matches!(removed, Ok(()) | Err(io::ErrorKind::DirectoryNotEmpty)), "{removed:?}");
                }
            });
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn does_not_follow_symbolic_links() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("keep")).unwrap();
        std::fs::write(dir.path().join("keep/file"), "x").unwrap();
        std::fs::create_dir(dir.path().join("t")).unwrap();
        std::os::unix::fs::symlink("../keep", dir.path().join("t/link")).unwrap();
        let base = open_base(dir.path()).unwrap();
        remove(&base, OsStr::new("t")).unwrap();
        assert!(dir.path().join("keep/file").exists());
    }

    #[test]
    fn measures_a_file_with_two_names_once() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        std::fs::write(dir.path().join("d/a"), vec![1; 5000]).unwrap();
        std::fs::hard_link(dir.path().join("d/a"), dir.path().join("b")).unwrap();
        let usage = usage(here(), dir.path().as_os_str()).unwrap();
        assert_eq!((usage.bytes, usage.entries, usage.unreadable), (5000, 3, 0));
    }
}
