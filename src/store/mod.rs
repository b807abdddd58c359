//! Row 3: what ketch keeps on disk. Files, no database; ARCHITECTURE.md section 2 draws the tree.
//!
//! Each kind of object has its module and is reached through the [`Store`]:
//!
//! ```text
//! store.blobs()  store.images()  store.refs()  store.layers()  store.names()  store.containers()  store.volumes()
//!        ╰──────────────┴──── write = staging → (fsync) → rename → fsync of the directory ────┴──────╯
//! ```
//!
//! Rules that hold for all of them:
//!
//! - Reading needs no lock and no write access. Writing to shared objects happens under
//!   [`Store::lock`]; one container's files are guarded by its own lock (`containers/<id>/lock`).
//! - A damaged file affects its own object: lists come as [`record::Listing`], with the damage beside the
//!   items. Unreadable is never empty.
//! - What a dead process left is under `staging/` and is swept by the next writer.

pub(crate) mod blobs;
pub(crate) mod build_cache;
pub(crate) mod builtin;
pub(crate) mod compress;
pub(crate) mod containers;
pub(crate) mod error;
pub(crate) mod gc;
pub(crate) mod images;
pub(crate) mod layers;
pub(crate) mod lock;
pub(crate) mod names;
pub(crate) mod owner;
pub(crate) mod pods;
pub(crate) mod record;
pub(crate) mod refs;
pub(crate) mod resolve;
pub(crate) mod secrets;
pub(crate) mod shelf;
pub(crate) mod staging;
pub(crate) mod unpack;
mod uploads;
pub(crate) mod volumes;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::base::image_ref::NameRule;
use crate::store::error::io_error;
pub(crate) use crate::store::error::{Result, StoreError};
use crate::sys::fs;

/// The format that this program writes and reads.
const FORMAT: u32 = 1;

/// Directories of a store. By the first one, a store that is not complete is known.
const DIRECTORIES: [&str; 10] = [
    "refs",
    "blobs",
    "blobs/sha256",
    "blobs/partial",
    "images",
    "layers",
    "names",
    "containers",
    "volumes",
    "staging",
];

/// The file whose blocks `rm` and `prune` give back when the disk is full, and its size.
const RESERVE: &str = "reserve";
const RESERVE_BYTES: u64 = 1 << 20;

/// An open store.
#[derive(Debug)]
pub(crate) struct Store {
    root: PathBuf,
    dir: OwnedFd,
    name_rule: NameRule,
}

impl Store {
    /// Opens the store in directory `root`, and makes it if it is not there.
    ///
    /// An existing store is only read, so that this works on a read-only file system too. It is
    /// closed to other users (mode 0700) if it is not, because images hold set-user-ID programs.
    ///
    /// # Errors
    ///
    /// [`StoreError::Format`] for the store of a newer ketch; [`StoreError::Io`] otherwise.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        let root = std::path::absolute(root).map_err(io_error("find", root))?;
        let dir = match fs::open_base(&root) {
            Ok(dir) => dir,
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                use std::os::unix::fs::DirBuilderExt as _;
                let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&root);
                made.map_err(io_error("create the store", &root))?;
                fs::open_base(&root).map_err(io_error("open the store", &root))?
            }
            Err(err) => return Err(io_error("open the store", &root)(err)),
        };
        let store = Self { root, dir, name_rule: NameRule::default() };
        // Only what is a store is closed: anything else may be everybody's.
        store.check_format()?;
        store.close_to_others()?;
        Ok(store)
    }

    /// The same store, in which short names of images mean what `rule` says.
    pub(crate) fn with_name_rule(self, name_rule: NameRule) -> Self {
        Self { name_rule, ..self }
    }

    /// What short names of images mean.
    pub(crate) fn name_rule(&self) -> NameRule {
        self.name_rule
    }

    /// The directory that holds everything; absolute.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The same directory as a descriptor (O_PATH).
    pub(crate) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Bytes and files that can still be written.
    pub(crate) fn space(&self) -> Result<fs::Space> {
        fs::space(&self.dir).map_err(io_error("measure the free space of", &self.root))
    }

    /// Gives the blocks of the reserve back to the file system; true if there were any.
    ///
    /// What removes things calls this when it gets ENOSPC (or EDQUOT), and then tries again.
    pub(crate) fn release_reserve(&self) -> bool {
        fs::unlink(&self.dir, RESERVE).is_ok()
    }

    /// Takes the reserve again if it is missing and there is room for much more than it.
    ///
    /// For commands that write. A failure is no one's concern: the next command tries again.
    pub(crate) fn renew_reserve(&self) {
        if fs::stat_at(&self.dir, RESERVE).is_ok()
            || self.space().is_ok_and(|space| space.free_bytes < 16 * RESERVE_BYTES)
        {
            return;
        }
        let flags = fs::OFlags::WRONLY | fs::OFlags::CREATE | fs::OFlags::EXCL;
        if let Ok(file) = fs::open_at(&self.dir, RESERVE, flags, 0o600)
            && fs::allocate(&file, RESERVE_BYTES).is_err()
        {
            fs::unlink(&self.dir, RESERVE).ok();
        }
    }

    /// Does `work`; if the disk is full, releases the reserve and does it once more.
    ///
    /// # Errors
    ///
    /// Those of `work`.
    pub(crate) fn with_reserve<T>(&self, mut work: impl FnMut() -> Result<T>) -> Result<T> {
        match work() {
            Err(err) if err.is_disk_full() && self.release_reserve() => work(),
            other => other,
        }
    }

    fn close_to_others(&self) -> Result<()> {
        let stat = fs::stat(&self.dir).map_err(io_error("inspect", &self.root))?;
        if stat.st_mode & 0o077 == 0 {
            return Ok(());
        }
        match fs::chmod_at(&self.dir, ".", 0o700) {
            // On a read-only file system nothing can be planted either, and listing must work.
            Err(err) if err.kind() == io::ErrorKind::ReadOnlyFilesystem => Ok(()),
            other => other.map_err(io_error("close to other users", &self.root)),
        }
    }

    fn check_format(&self) -> Result<()> {
        let path = self.root.join("format");
        let text = match fs::read_at(&self.dir, "format", 64) {
            Ok(text) => text,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return self.initialise(),
            Err(err) => return Err(io_error("read", &path)(err)),
        };
        let text = String::from_utf8_lossy(&text);
        match text.trim_end().parse::<u32>() {
            Ok(FORMAT) => self.make_what_is_missing(),
            Ok(found) => Err(StoreError::Format { root: self.root.clone(), found }),
            Err(_) => Err(StoreError::Damaged {
                what: "store",
                name: self.root.display().to_string(),
                path,
                reason: format!("{text:?} is not a format number; write {FORMAT} into it to repair"),
            }),
        }
    }

    /// Makes the directories, and last the file that says that all is there. Of several commands one does it.
    fn initialise(&self) -> Result<()> {
        let alone = fs::open_dir(&self.dir, ".")
            .and_then(|dir| fs::lock(&dir, fs::Share::Exclusive).map(|()| dir))
            .map_err(io_error("lock", &self.root))?;
        if fs::stat_at(&self.dir, "format").is_ok() {
            return self.check_format();
        }
        if let Some(other) = self.foreign_entry()? {
            return Err(StoreError::Foreign { root: self.root.clone(), entry: other });
        }
        self.close_to_others()?;
        DIRECTORIES.iter().try_for_each(|name| self.make_directory(name))?;
        // Layers are made in staging/, several at once. All in one block group they would queue for its
        // inodes, and pass over those that a removal has just freed, which ext4 does not use again for
        // minutes: half of a pull's CPU time right after rmi (measured). It helps or it does not.
        fs::open_dir(&self.dir, "staging").and_then(fs::spread_directories).ok();
        self.renew_reserve();
        fs::replace(&alone, "format", format!("{FORMAT}\n").as_bytes(), 0o600, true)
            .map_err(io_error("write", self.root.join("format")))
    }

    /// Something in the directory by which it is no store, not even one that a killed command has begun to make.
    fn foreign_entry(&self) -> Result<Option<String>> {
        let names = fs::names(&self.dir, ".").map_err(io_error("read", &self.root))?;
        if names.iter().any(|name| name == DIRECTORIES[0]) {
            return Ok(None);
        }
        // New file systems have that one.
        let other = names.into_iter().find(|name| name != "lost+found");
        Ok(other.map(|name| name.display().to_string()))
    }

    /// Makes the directories again of a store that was copied without its empty ones (git, zip, rsync -m):
    /// between commands this one is.
    fn make_what_is_missing(&self) -> Result<()> {
        match fs::stat_at(&self.dir, "staging") {
            // On a read-only file system what is missing stays so, and listing may work.
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                DIRECTORIES.iter().try_for_each(|name| self.make_directory(name)).ok();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Makes a directory of the store, unless it is there. Stores of older versions lack some.
    fn make_directory(&self, name: &str) -> Result<()> {
        match fs::mkdir(&self.dir, name, 0o700) {
            Err(err) if err.kind() != io::ErrorKind::AlreadyExists => {
                Err(io_error("create", self.root.join(name))(err))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_new_store_is_closed_to_others_and_opens_again() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("a/b");
        Store::open(&root).unwrap();
        let mode = || std::fs::metadata(&root).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o700);
        assert_eq!(std::fs::read(root.join("format")).unwrap(), b"1\n");
        std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o755)).unwrap();
        Store::open(&root).unwrap();
        assert_eq!(mode(), 0o700);
    }

    #[test]
    fn empty_directories_that_a_copy_has_left_out_are_made_again() {
        let dir = tempfile::tempdir().unwrap();
        Store::open(dir.path()).unwrap();
        for name in ["staging", "names", "volumes", "blobs/partial"] {
            std::fs::remove_dir(dir.path().join(name)).unwrap();
        }
        Store::open(dir.path()).unwrap();
        assert!(DIRECTORIES.iter().all(|name| dir.path().join(name).is_dir()));
    }

    #[test]
    fn other_formats_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        Store::open(dir.path()).unwrap();
        for (text, newer) in [("2\n", true), ("", false), ("\0\0", false), ("one", false)] {
            std::fs::write(dir.path().join("format"), text).unwrap();
            let err = Store::open(dir.path()).unwrap_err();
            assert_eq!(matches!(err, StoreError::Format { .. }), newer, "{text:?}: {err}");
            assert_eq!(matches!(err, StoreError::Damaged { .. }), !newer, "{text:?}: {err}");
        }
    }

    #[test]
    fn the_reserve_is_real_and_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let blocks = || {
            use std::os::unix::fs::MetadataExt as _;
            std::fs::metadata(dir.path().join(RESERVE)).map(|m| m.blocks() * 512)
        };
        assert!(blocks().unwrap() >= RESERVE_BYTES);
        let mut tries = 0;
        let full = || StoreError::Io {
            action: "write",
            path: "x".into(),
            source: io::Error::from_raw_os_error(libc::ENOSPC),
        };
        let done = store.with_reserve(|| {
            tries += 1;
            if tries == 1 { Err(full()) } else { Ok(()) }
        });
        assert!(done.is_ok() && tries == 2 && blocks().is_err());
        assert!(store.with_reserve(|| Err::<(), _>(full())).is_err(), "no reserve left");
        store.renew_reserve();
        assert!(blocks().is_ok());
    }
}
