//! Where a build's files come from, and what of them it does not see.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::base::bytes::Bytes;
use crate::base::digest::Digest;
use crate::engine::{Error, Result};
use crate::runtime::assemble::{Choice, digest};
use crate::runtime::rootfs::RootDir;
use crate::store::Store;
use crate::store::staging::Staged;
use crate::sys::fs::{self, OFlags, Stat};

/// Largest Dockerfile and ignore file, in bytes.
pub(super) const MAX_FILE: usize = 16 << 20;

/// A directory of the host that COPY and RUN may read.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) root: PathBuf,
    /// Text of its ignore file.
    pub(super) ignore: Bytes,
    /// It was unpacked or checked out for this build.
    staged: Option<Staged>,
    digests: RefCell<FileDigests>,
}

/// Digests of files that have not changed since they were taken.
#[derive(Debug, Default)]
struct FileDigests {
    loaded: bool,
    changed: bool,
    known: HashMap<Identity, Digest>,
}

/// What changes when a file does: device, inode, length, times of modification and change.
type Identity = [u64; 5];

/// Bytes of one entry in the file that keeps them.
const ENTRY: usize = 5 * 8 + 32;

/// A file that was changed so recently could change again at the same time, as the file system counts it.
const TOO_FRESH_MS: i128 = 1500;

impl Context {
    pub(super) fn new(root: PathBuf, staged: Option<Staged>) -> Self {
        Self { root, ignore: Bytes::default(), staged, digests: RefCell::default() }
    }

    fn open(&self) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        fs::open_at(fs::here(), &self.root, flags, 0).map_err(|err| {
            Error::invalid(format!("context must be a directory: {}", self.root.display())).because(err)
        })
    }

    /// Reads a file of it, as if it were the root; `None` if there is none.
    pub(super) fn read(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = match fs::open_within(self.open()?, path, fs::Within::Root, flags, 0) {
            Ok(file) => file,
            Err(err) if matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(err) => return Err(Error::invalid(format!("open {}", path.display())).because(err)),
        };
        read_file(std::fs::File::from(file), path).map(Some)
    }

    /// The digest of what `choice` means in it.
    pub(super) fn digest(&self, store: &Store, choice: &Choice) -> Result<String> {
        let root = RootDir::new(self.open()?);
        let mut digests = self.digests.borrow_mut();
        if self.staged.is_none() {
            digests.load(store, &self.root);
        }
        let now = Timestamp::now().as_nanosecond();
        let mut file = |fd: &OwnedFd, stat: &Stat| digests.of(fd, stat, now);
        digest::of_choice(&root, choice, false, &mut file).map_err(|err| Error::invalid(err.message))
    }

    /// Writes down what was learned, for the next build.
    pub(super) fn keep_digests(&self, store: &Store) {
        let digests = self.digests.borrow();
        if self.staged.is_none() && digests.changed {
            // A cache: without it the files are read again.
            store
                .build_cache()
                .keep_file_digests(Bytes::from(self.root.as_path()).as_bytes(), &digests.to_bytes())
                .ok();
        }
    }
}

impl FileDigests {
    fn load(&mut self, store: &Store, root: &Path) {
        if std::mem::replace(&mut self.loaded, true) {
            return;
        }
        let bytes = store.build_cache().file_digests(Bytes::from(root).as_bytes());
        self.known.reserve(bytes.len() / ENTRY);
        for entry in bytes.chunks_exact(ENTRY) {
            let (numbers, digest) = entry.split_at(5 * 8);
            let mut identity = Identity::default();
            for (number, bytes) in identity.iter_mut().zip(numbers.chunks_exact(8)) {
                *number = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
            }
            if let Ok(digest) = digest.try_into() {
                self.known.insert(identity, Digest::from_bytes(digest));
            }
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.known.len() * ENTRY);
        for (identity, digest) in &self.known {
            identity.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
            bytes.extend(digest.as_bytes());
        }
        bytes
    }

    fn of(&mut self, fd: &OwnedFd, stat: &Stat, now: i128) -> io::Result<Digest> {
        let ns =
            |seconds: i64, nanoseconds: u64| i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
        let changed = ns(stat.st_ctime, stat.st_ctime_nsec);
        let low = |number: i128| u64::from_le_bytes(number.to_le_bytes()[..8].try_into().unwrap_or_default());
        let modified = low(ns(stat.st_mtime, stat.st_mtime_nsec));
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let identity = [stat.st_dev, stat.st_ino, size, modified, low(changed)];
        if let Some(known) = self.known.get(&identity) {
            return Ok(*known);
        }
        let digest = digest::hash_file(fd, stat)?;
        if changed < now - TOO_FRESH_MS * 1_000_000 {
            self.known.insert(identity, digest);
            self.changed = true;
        }
        Ok(digest)
    }
}

/// Reads a file of sane size.
pub(super) fn read_file(file: std::fs::File, path: &Path) -> Result<Vec<u8>> {
    use std::io::Read as _;
    let mut content = Vec::new();
    let failed = |err| Error::invalid(format!("read {}", path.display())).because(err);
    file.take(MAX_FILE as u64 + 1).read_to_end(&mut content).map_err(failed)?;
    if content.len() > MAX_FILE {
        return Err(Error::invalid(format!("{} is larger than {MAX_FILE} bytes", path.display())));
    }
    Ok(content)
}

/// The ignore file that counts for a Dockerfile called `dockerfile`: its own before the context's.
pub(super) fn find_ignore(context: &Context, dockerfile: Option<&Path>) -> Result<Bytes> {
    if let Some(dockerfile) = dockerfile {
        for ending in [".containerignore", ".dockerignore"] {
            let mut path = dockerfile.as_os_str().to_owned();
            path.push(ending);
            if let Ok(file) = std::fs::File::open(&path) {
                return read_file(file, Path::new(&path)).map(Bytes::from);
            }
        }
    }
    for name in [".containerignore", ".dockerignore"] {
        if let Some(text) = context.read(Path::new(name))? {
            return Ok(text.into());
        }
    }
    Ok(Bytes::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_kept_and_believed_until_a_file_changes() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let root = dir.path().join("context");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join("a"), "1").unwrap();
        let choice = Choice { patterns: vec![".".into()], ..Choice::default() };
        let take = || {
            let context = Context::new(root.clone(), None);
            let digest = context.digest(&store, &choice).unwrap();
            context.keep_digests(&store);
            (digest, context.digests.borrow().known.len())
        };
        let (first, kept) = take();
        assert_eq!(kept, 0, "too fresh to be believed");
        std::thread::sleep(std::time::Duration::from_millis(1600));
        assert_eq!(take(), (first.clone(), 1));
        assert_eq!(take(), (first.clone(), 1), "read from the file");
        std::fs::write(root.join("a"), "2").unwrap();
        assert_ne!(take().0, first);
        std::fs::write(root.join("a"), "1").unwrap();
        assert_eq!(take().0, first, "times do not count");
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(root.join("a"), std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_ne!(take().0, first, "modes do");
    }

    #[test]
    fn nothing_outside_a_context_is_read() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("secret"), "x").unwrap();
        let root = dir.path().join("context");
        std::fs::create_dir(&root).unwrap();
        std::os::unix::fs::symlink("../secret", root.join(".dockerignore")).unwrap();
        let context = Context::new(root, None);
        assert_eq!(context.read(Path::new("../secret")).unwrap(), None);
        assert_eq!(find_ignore(&context, None).unwrap(), Bytes::default());
    }
}
