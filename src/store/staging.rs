//! Where every write begins, and where everything that is removed ends.
//!
//! ```text
//! staging/<boot id>-<pid>-<start ticks>-<n>        a file or a directory of that process
//!                                  …-<n>/pins/     names of blobs (b-<hex>) and layers (l-<hex>) that gc spares
//! ```
//!
//! An entry whose owner is dead is garbage for anyone: [`sweep`] removes it. So a process that is
//! killed at any point leaves nothing that stays.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::digest::Digest;
use crate::store::Store;
use crate::store::error::{Result, StoreError, io_error};
use crate::store::owner::Owner;
use crate::sys::failpoint;
use crate::sys::fs::{self, tree};

/// Counts the entries of this process.
static SERIAL: AtomicU64 = AtomicU64::new(0);

/// A directory under `staging/` that this process owns. Dropping it removes it, as far as this
/// process may.
#[derive(Debug)]
pub(crate) struct Staged {
    /// Absolute.
    path: PathBuf,
    /// It still is where it was made.
    here: bool,
}

/// What became of a tree that was to be removed.
#[derive(Debug)]
pub(crate) enum Removal {
    Done,
    /// Files of IDs that only a process of the user namespace may remove are left in it.
    Foreign(Staged),
}

/// A fresh name of this process, relative to the store.
fn fresh() -> Result<PathBuf> {
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    Ok(Path::new("staging").join(Owner::current()?.entry(serial)))
}

/// Writes a file under `staging/`, and returns its path relative to the store.
pub(crate) fn file(store: &Store, content: &[u8], durable: bool) -> Result<PathBuf> {
    let path = fresh()?;
    failpoint::reach("staging.write")
        .and_then(|()| fs::write_new(store.dir(), &path, content, 0o600, durable))
        .map_err(io_error("write", store.root().join(&path)))?;
    Ok(path)
}

/// Makes an empty directory under `staging/`.
pub(crate) fn dir(store: &Store) -> Result<Staged> {
    let path = fresh()?;
    let full = store.root().join(&path);
    failpoint::reach("staging.create")
        .and_then(|()| fs::mkdir(store.dir(), &path, 0o700))
        .map_err(io_error("create", &full))?;
    Ok(Staged { path: full, here: true })
}

/// Takes the directory `path` (relative to the store) away to `staging/`, from where it no longer
/// counts; `None` if it is not there.
pub(crate) fn take(store: &Store, path: &Path) -> Result<Option<Staged>> {
    let staged = fresh()?;
    let full = store.root().join(&staged);
    Ok(move_away(store, path, &staged)?.then_some(Staged { path: full, here: true }))
}

/// Renames `path` (relative to the store) to an entry of the process `owner`, which will remove it. A missing
/// one is a success.
pub(crate) fn leave_to(store: &Store, path: &Path, owner: &Owner) -> Result<()> {
    let staged = Path::new("staging").join(owner.entry(SERIAL.fetch_add(1, Ordering::Relaxed)));
    move_away(store, path, &staged).map(drop)
}

/// Renames within the store; false if there is nothing to rename.
fn move_away(store: &Store, path: &Path, staged: &Path) -> Result<bool> {
    let moved =
        failpoint::reach("staging.take").and_then(|()| fs::rename(store.dir(), path, store.dir(), staged));
    match moved {
        Ok(()) => Ok(true),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(err) => Err(io_error("move away", store.root().join(path))(err)),
    }
}

/// The names of what was left to the process `owner`, in `staging/`.
pub(crate) fn left_to(store: &Store, owner: &Owner) -> Result<Vec<std::ffi::OsString>> {
    let root = store.root().join("staging");
    let mut names = fs::names(store.dir(), "staging").map_err(io_error("list", &root))?;
    names.retain(|name| name.to_str().and_then(Owner::parse).as_ref() == Some(owner));
    Ok(names)
}

impl Staged {
    /// Where it is; absolute.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the directory `name` in it and opens that.
    pub(crate) fn subdir(&self, name: &str) -> Result<OwnedFd> {
        let path = self.path.join(name);
        fs::mkdir(fs::here(), &path, 0o700).map_err(io_error("create", &path))?;
        fs::open_dir(fs::here(), &path).map_err(io_error("open", &path))
    }

    /// Writes the file `name` in it.
    pub(crate) fn write(&self, name: &str, content: &[u8], durable: bool) -> Result<()> {
        let path = self.path.join(name);
        fs::write_new(fs::here(), &path, content, 0o600, durable).map_err(io_error("write", &path))
    }

    /// Moves it to its place, `to` relative to the store, with all it holds; false if that is taken.
    /// Then it is still staged. With `durable` the new entry survives a power cut.
    pub(crate) fn publish(&mut self, store: &Store, to: &Path, durable: bool) -> Result<bool> {
        let full = store.root().join(to);
        let published = failpoint::reach("staging.publish")
            .and_then(|()| fs::rename_new(fs::here(), &self.path, store.dir(), to));
        match published {
            Ok(()) => self.here = false,
            Err(err) if matches!(err.raw_os_error(), Some(libc::EEXIST | libc::ENOTEMPTY)) => {
                return Ok(false);
            }
            Err(err) => return Err(io_error("rename to", &full)(err)),
        }
        failpoint::reach("staging.published").map_err(io_error("finish", &full))?;
        if durable {
            crate::store::record::sync_parent(store, to)?;
        }
        Ok(true)
    }

    /// Keeps garbage collection off a blob that is about to be referred to.
    pub(crate) fn pin_blob(&self, digest: &Digest) -> Result<()> {
        self.pin(&format!("b-{}", digest.hex()))
    }

    /// Keeps garbage collection off a layer that is about to be referred to.
    pub(crate) fn pin_layer(&self, chain_id: &Digest) -> Result<()> {
        self.pin(&format!("l-{}", chain_id.hex()))
    }

    fn pin(&self, name: &str) -> Result<()> {
        let pins = self.path.join("pins");
        let made = std::fs::create_dir_all(&pins).and_then(|()| std::fs::File::create(pins.join(name)));
        made.map(drop).map_err(io_error("pin", pins.join(name)))
    }

    /// Removes it with all it holds.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`]; what is left is swept later. Files of other IDs are no error, see [`Removal`].
    pub(crate) fn remove(mut self) -> Result<Removal> {
        match self.remove_now() {
            Ok(tree::Removed::All) => Ok(Removal::Done),
            Ok(tree::Removed::Partly) => Ok(Removal::Foreign(self)),
            Err(err) => Err(io_error("remove", &self.path)(err)),
        }
    }

    /// Leaves it where it is: to a process of the user namespace, or to a later [`sweep`].
    pub(crate) fn leave(mut self) -> PathBuf {
        self.here = false;
        std::mem::take(&mut self.path)
    }

    fn remove_now(&mut self) -> io::Result<tree::Removed> {
        if !self.here {
            return Ok(tree::Removed::All);
        }
        failpoint::reach("staging.remove")?;
        let mut tries = 0;
        let removed = loop {
            match tree::remove(fs::here(), self.path.as_os_str()) {
                // Another process that had opened the object before it was taken away may still make its lock in it.
                Err(err) if err.kind() == io::ErrorKind::DirectoryNotEmpty && tries < 100 => tries += 1,
                other => break other?,
            }
        };
        self.here = removed == tree::Removed::Partly;
        Ok(removed)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // What cannot be removed now is swept by a later process.
        self.remove_now().ok();
    }
}

/// Removes what dead processes left under `staging/`, and returns the paths of what only a process of
/// the user namespace can remove. `before` sees each directory before it goes.
pub(crate) fn sweep(store: &Store, before: impl Fn(BorrowedFd<'_>)) -> Result<Vec<PathBuf>> {
    let root = store.root().join("staging");
    let list = |err| io_error("list", &root)(err);
    let staging = fs::open_dir(store.dir(), "staging").map_err(list)?;
    let names = fs::names(&staging, ".").map_err(|err| io_error("list", &root)(err))?;
    let mut foreign = Vec::new();
    for name in names {
        if is_owned(&name)? {
            continue;
        }
        if let Ok(directory) = fs::open_dir(&staging, &name) {
            before(directory.as_fd());
        }
        match tree::remove(&staging, &name) {
            Ok(tree::Removed::All) => {}
            Ok(tree::Removed::Partly) => foreign.push(root.join(name)),
            // Another process sweeps, too. What both leave is swept the next time.
            Err(err) if err.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            Err(err) => return Err(io_error("remove", root.join(name))(err)),
        }
    }
    Ok(foreign)
}

/// True if a live process owns the entry `name`.
fn is_owned(name: &OsStr) -> Result<bool> {
    match name.to_str().and_then(Owner::parse) {
        Some(owner) => owner.is_alive(),
        None => Ok(false),
    }
}

/// What live processes have pinned.
#[derive(Debug, Default)]
pub(crate) struct Pins {
    pub(crate) blobs: std::collections::HashSet<Digest>,
    pub(crate) layers: std::collections::HashSet<Digest>,
}

/// Reads the pins of all live processes. Call it under the exclusive lock of the store.
pub(crate) fn pins(store: &Store) -> Result<Pins> {
    let mut pins = Pins::default();
    let root = store.root().join("staging");
    for name in fs::names(store.dir(), "staging").map_err(io_error("list", &root))? {
        if !is_owned(&name)? {
            continue;
        }
        let dir = Path::new("staging").join(&name).join("pins");
        let names = match fs::names(store.dir(), &dir) {
            Ok(names) => names,
            Err(err) if matches!(err.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => continue,
            Err(err) => return Err(io_error("list", store.root().join(dir))(err)),
        };
        for pin in names.iter().filter_map(|name| name.to_str()) {
            match (pin.get(..2), pin.get(2..).and_then(|hex| Digest::from_hex(hex).ok())) {
                (Some("b-"), Some(digest)) => drop(pins.blobs.insert(digest)),
                (Some("l-"), Some(digest)) => drop(pins.layers.insert(digest)),
                _ => {}
            }
        }
    }
    Ok(pins)
}

/// The first thing in a tree that has nothing in it that can be seen: what could not be removed, most likely.
fn deepest(tree: &Path) -> PathBuf {
    let mut path = tree.to_owned();
    while let Some(Ok(entry)) = std::fs::read_dir(&path).ok().and_then(|mut entries| entries.next()) {
        path = entry.path();
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            break;
        }
    }
    path
}

/// Removes a directory tree under `staging/` by path: the second half of a [`Removal::Foreign`], for
/// a process in the user namespace.
pub(crate) fn remove_foreign(path: &Path) -> Result<()> {
    match tree::remove(fs::here(), path.as_os_str()) {
        Ok(tree::Removed::All) => Ok(()),
        Ok(tree::Removed::Partly) => Err(StoreError::Io {
            action: "remove",
            path: deepest(path),
            source: io::ErrorKind::PermissionDenied.into(),
        }),
        // Another process had it open and wrote into it meanwhile. What is left is garbage, which the next writer sweeps.
        Err(err) if err.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        Err(err) => Err(io_error("remove", path)(err)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        (dir, store)
    }

    fn entries(store: &Store) -> usize {
        fs::names(store.dir(), "staging").unwrap().len()
    }

    #[test]
    fn dropping_removes_and_publishing_keeps() {
        let (_guard, store) = store();
        let staged = dir(&store).unwrap();
        staged.write("a", b"x", false).unwrap();
        drop(staged);
        assert_eq!(entries(&store), 0);

        let to = Path::new("volumes/v");
        let mut first = dir(&store).unwrap();
        first.write("a", b"1", true).unwrap();
        assert!(first.publish(&store, to, true).unwrap());
        let mut second = dir(&store).unwrap();
        second.write("a", b"2", true).unwrap();
        assert!(!second.publish(&store, to, true).unwrap(), "the first one keeps the name");
        drop((first, second));
        assert_eq!(std::fs::read(store.root().join("volumes/v/a")).unwrap(), b"1");
        assert_eq!(entries(&store), 0);

        let taken = take(&store, to).unwrap().unwrap();
        assert!(!store.root().join(to).exists());
        assert!(matches!(taken.remove(), Ok(Removal::Done)));
        assert!(take(&store, to).unwrap().is_none());
        assert_eq!(entries(&store), 0);
    }

    #[test]
    fn sweeping_takes_only_what_the_dead_left() {
        let (_guard, store) = store();
        let mine = dir(&store).unwrap();
        let staging = store.root().join("staging");
        for dead in ["x", "0-0-0-0", "00000000-0000-0000-0000-000000000000-1-2-3"] {
            std::fs::create_dir_all(staging.join(dead).join("fs/deep")).unwrap();
        }
        std::fs::write(staging.join("boot-1-1-1"), "half a file").unwrap();
        assert_eq!(sweep(&store, |_| ()).unwrap(), Vec::<PathBuf>::new());
        assert_eq!(entries(&store), 1);
        assert!(mine.path().exists());
    }

    #[test]
    fn pins_of_the_living_count() {
        let (_guard, store) = store();
        let (blob, layer) = (Digest::of(b"blob"), Digest::of(b"layer"));
        let mine = dir(&store).unwrap();
        mine.pin_blob(&blob).unwrap();
        mine.pin_blob(&blob).unwrap();
        mine.pin_layer(&layer).unwrap();
        let dead = store.root().join("staging/boot-1-1-1/pins");
        std::fs::create_dir_all(&dead).unwrap();
        std::fs::write(dead.join(format!("b-{}", Digest::of(b"dead").hex())), "").unwrap();
        let pins = pins(&store).unwrap();
        assert!(pins.blobs.contains(&blob) && pins.blobs.len() == 1);
        assert!(pins.layers.contains(&layer) && pins.layers.len() == 1);
    }
}
