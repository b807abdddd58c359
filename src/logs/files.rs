//! The files of one log: names, rotation, identity.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

/// More rotated files than this are not looked for.
const MAX_FILES: u32 = 1000;

/// Where one log lives: a directory and the name of the newest file in it.
#[derive(Debug)]
pub(crate) struct LogFiles {
    dir: OwnedFd,
    name: OsString,
}

impl LogFiles {
    /// The log `name` in `dir`.
    pub(crate) fn new(dir: OwnedFd, name: &OsStr) -> Self {
        Self { dir, name: name.to_owned() }
    }

    /// The directory.
    pub(crate) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// The name of the file that was rotated `age` times.
    fn name_of(&self, age: u32) -> OsString {
        let mut name = self.name.clone();
        if age > 0 {
            name.push(format!(".{age}"));
        }
        name
    }

    /// Opens a file for reading; `None` if there is none.
    pub(crate) fn open(&self, age: u32) -> io::Result<Option<File>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        match rustix::fs::openat(&self.dir, self.name_of(age), flags, Mode::empty()) {
            Ok(file) => Ok(Some(File::from(file))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Opens the newest file for appending, made if it is missing (mode 0600).
    pub(crate) fn append(&self) -> io::Result<File> {
        let flags = OFlags::RDWR
            | OFlags::APPEND
            | OFlags::CREATE
            | OFlags::CLOEXEC
            | OFlags::NOFOLLOW
            | OFlags::NONBLOCK;
        Ok(File::from(rustix::fs::openat(&self.dir, &self.name, flags, Mode::RUSR | Mode::WUSR)?))
    }

    /// Moves each file one step on, drops what exceeds `keep` files, and opens a new newest one.
    /// Readers that hold a file open keep reading it.
    ///
    /// The oldest is removed first: where a file takes the place of another, ext4 writes it to the disk at once, and
    /// whoever writes fast would wait for the disk at every rotation.
    pub(crate) fn rotate(&self, keep: u32) -> io::Result<File> {
        let keep = keep.clamp(1, MAX_FILES);
        if_there(rustix::fs::unlinkat(&self.dir, self.name_of(keep - 1), AtFlags::empty()))?;
        for age in (0..keep - 1).rev() {
            let (from, to) = (self.name_of(age), self.name_of(age + 1));
            if_there(rustix::fs::renameat(&self.dir, from, &self.dir, to))?;
        }
        self.append()
    }

    /// The files that there are, the newest first. One may be missing in between, which is being renamed.
    fn by_age(&self) -> impl Iterator<Item = io::Result<File>> {
        let mut missing = 0;
        (0..MAX_FILES)
            .map(|age| self.open(age))
            .take_while(move |opened| {
                missing = if matches!(opened, Ok(None)) { missing + 1 } else { 0 };
                missing < 2
            })
            .filter_map(Result::transpose)
    }

    /// All files that there are, the oldest first, each once, whatever rotates meanwhile.
    pub(crate) fn open_all(&self) -> io::Result<Vec<File>> {
        let mut files: Vec<(Identity, File)> = Vec::new();
        // From the newest: what is renamed meanwhile is met a second time, not missed.
        for file in self.by_age() {
            let file = file?;
            let identity = Identity::of(&file)?;
            if files.iter().all(|(known, _)| *known != identity) {
                files.push((identity, file));
            }
        }
        Ok(files.into_iter().rev().map(|(_, file)| file).collect())
    }

    /// The file that continues `current`: the same one if it is still the newest (`None`), or else the
    /// one that took its place; if that cannot be told any more, the oldest there is.
    pub(crate) fn successor(&self, current: Option<Identity>) -> io::Result<Option<File>> {
        let mut younger = None;
        for file in self.by_age() {
            let file = file?;
            if Some(Identity::of(&file)?) == current {
                break;
            }
            younger = Some(file);
        }
        Ok(younger)
    }
}

/// A file that is not there needs nothing to be done.
fn if_there(done: rustix::io::Result<()>) -> io::Result<()> {
    match done {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// What tells one file from another while both exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// The identity of an open file.
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = file.metadata()?;
        Ok(Self { device: metadata.dev(), inode: metadata.ino() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_and_a_gap_hides_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let files = LogFiles::new(File::open(dir.path()).unwrap().into(), OsStr::new("log"));
        let text_of = |file: File| std::io::read_to_string(file).unwrap();
        let all = || files.open_all().unwrap().into_iter().map(text_of).collect::<Vec<_>>();
        for n in 0..5 {
            std::fs::write(dir.path().join("log"), n.to_string()).unwrap();
            files.rotate(3).unwrap();
        }
        assert_eq!(all(), ["3", "4", ""]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);

        // Between two renames.
        std::fs::rename(dir.path().join("log.2"), dir.path().join("log.3")).unwrap();
        std::fs::rename(dir.path().join("log.1"), dir.path().join("log.2")).unwrap();
        assert_eq!(all(), ["3", "4", ""]);
        let oldest = Identity::of(&files.open(3).unwrap().unwrap()).unwrap();
        assert_eq!(text_of(files.successor(Some(oldest)).unwrap().unwrap()), "4");

        files.rotate(1).unwrap();
        assert_eq!(std::fs::read(dir.path().join("log")).unwrap(), b"");
    }
}
