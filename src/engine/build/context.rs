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
use crate::runtime::assemble::Choice;
use crate::runtime::assemble::digest::{self, Place};
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
    known: HashMap<Identity, Known>,
}

/// The digest of one file.
#[derive(Clone, Copy, Debug)]
struct Known {
    digest: Digest,
    /// This build has met the file.
    met: bool,
}

/// What changes when a file does: device, inode, length, times of modification and change.
type Identity = [u64; 5];

/// Begins the file that keeps them: another one was written by a version that meant something else.
const MAGIC: &[u8; 8] = b"ketchfd2";

/// Bytes of one entry in it.
const ENTRY: usize = 5 * 8 + 32;

/// How many entries of files that are no longer met are kept for other builds of the same context: these, or as many as it has files.
const UNMET: usize = 100_000;

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
        let mut file = |place: Place<'_>, stat: &Stat| digests.of(place, stat, now);
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
        let Some(entries) = bytes.strip_prefix(MAGIC) else { return };
        self.known.reserve(entries.len() / ENTRY);
        for entry in entries.chunks_exact(ENTRY) {
            let (numbers, digest) = entry.split_at(5 * 8);
            let mut identity = Identity::default();
            for (number, bytes) in identity.iter_mut().zip(numbers.chunks_exact(8)) {
                *number = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
            }
            if let Ok(digest) = digest.try_into() {
                let digest = Digest::from_bytes(digest);
                self.known.insert(identity, Known { digest, met: false });
            }
        }
    }

    /// What the file of them says. Of files that were not met only so many are kept that it does not grow for ever.
    fn to_bytes(&self) -> Vec<u8> {
        let met = self.known.values().filter(|known| known.met).count();
        let all = self.known.len() - met <= met.max(UNMET);
        let mut bytes = Vec::with_capacity(MAGIC.len() + self.known.len() * ENTRY);
        bytes.extend(MAGIC);
        for (identity, known) in self.known.iter().filter(|(_, known)| all || known.met) {
            identity.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
            bytes.extend(known.digest.as_bytes());
        }
        bytes
    }

    fn of(&mut self, place: Place<'_>, stat: &Stat, now: i128) -> io::Result<Digest> {
        if let Some(known) = self.known.get_mut(&identity(stat)) {
            known.met = true;
            return Ok(known.digest);
        }
        // What was read may have been put there meanwhile.
        let (digest, stat) = digest::hash_file(place)?;
        if nanoseconds(stat.st_ctime, stat.st_ctime_nsec) < now - TOO_FRESH_MS * 1_000_000 {
            self.known.insert(identity(&stat), Known { digest, met: true });
            self.changed = true;
        }
        Ok(digest)
    }
}

fn nanoseconds(seconds: i64, nanoseconds: u64) -> i128 {
    i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds)
}

fn identity(stat: &Stat) -> Identity {
    // Times before 1970 and after 2554 wrap, and still differ.
    let time = |seconds: i64, nanoseconds: u64| {
        seconds.cast_unsigned().wrapping_mul(1_000_000_000).wrapping_add(nanoseconds)
    };
    let (modified, changed) =
        (time(stat.st_mtime, stat.st_mtime_nsec), time(stat.st_ctime, stat.st_ctime_nsec));
    [stat.st_dev, stat.st_ino, stat.st_size.cast_unsigned(), modified, changed]
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
    first_of(context, [".containerignore", ".dockerignore"])
}

/// The first of these files that the context has, or nothing.
pub(super) fn first_of(context: &Context, names: [&str; 2]) -> Result<Bytes> {
    for name in names {
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
