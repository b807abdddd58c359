//! What builds keep for later builds. Files, like everything else; gc spares what they refer to.
//!
//! ```text
//! build/steps/<hex of key>      JSON: what a step with this key made; its time of change is its last use
//! build/mounts/<hex of id>/     a cache mount: mount.json, data/, lock
//! build/files/<hex of path>     digests of the files of a context, by device, inode and times
//! ```
//!
//! A step is written when its layer is in place, so that a build that is killed leaves the steps it has
//! finished and nothing else (REL-05).

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::base::digest::Digest;
use crate::store::Store;
use crate::store::error::{Result, io_error};
use crate::store::record::{self, Listing};
use crate::store::staging::{self, Staged};
use crate::sys::fs::{self, OFlags, Share};

/// The version of records that this program writes.
const VERSION: u32 = 1;

/// What a step made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CachedStep {
    pub(crate) version: u32,
    pub(crate) key: Digest,
    pub(crate) created: Timestamp,
    /// The instruction, for people.
    pub(crate) description: String,
    /// `None`: it changed no file.
    pub(crate) layer: Option<CachedLayer>,
    /// Fields of newer versions.
    #[serde(flatten)]
    pub(crate) rest: serde_json::Map<String, serde_json::Value>,
}

/// The layer of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CachedLayer {
    pub(crate) chain_id: Digest,
    pub(crate) diff_id: Digest,
    pub(crate) blob: Digest,
    pub(crate) blob_bytes: u64,
    pub(crate) media_type: String,
    /// Bytes of its files.
    pub(crate) size_bytes: u64,
}

/// What is known of a cache mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CacheMount {
    /// `id=` of the mount, or its target.
    pub(crate) id: String,
    pub(crate) created: Timestamp,
}

/// A step or a cache mount in a listing.
#[derive(Clone, Debug)]
pub(crate) struct Cached {
    /// Hex of the key or of the mount's digest.
    pub(crate) id: String,
    pub(crate) is_mount: bool,
    pub(crate) description: String,
    pub(crate) created: Timestamp,
    pub(crate) last_used: Timestamp,
    /// The layer a step refers to.
    pub(crate) layer: Option<CachedLayer>,
}

/// The build cache of a store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BuildCache<'a> {
    store: &'a Store,
}

impl Store {
    /// What builds keep.
    pub(crate) fn build_cache(&self) -> BuildCache<'_> {
        BuildCache { store: self }
    }
}

impl CachedStep {
    pub(crate) fn new(
        key: Digest,
        created: Timestamp,
        description: String,
        layer: Option<CachedLayer>,
    ) -> Self {
        Self { version: VERSION, key, created, description, layer, rest: serde_json::Map::new() }
    }
}

impl BuildCache<'_> {
    fn step_path(hex: &str) -> PathBuf {
        PathBuf::from("build/steps").join(hex)
    }

    fn make(&self, name: &str) -> Result<()> {
        ["build", name].iter().try_for_each(|directory| self.store.make_directory(directory))
    }

    /// What a step with this key made, if one did. A damaged record is as good as none: the step is done
    /// again.
    pub(crate) fn step(&self, key: &Digest) -> Option<CachedStep> {
        let hex = key.hex();
        let step: CachedStep = record::read(self.store, &Self::step_path(&hex), "build step", &hex).ok()?;
        (step.key == *key).then_some(step)
    }

    /// Notes that a step is of use still.
    pub(crate) fn touch(&self, key: &Digest) {
        let now = fs::Timespec { tv_sec: Timestamp::now().as_second(), tv_nsec: 0 };
        // A read-only store is used all the same.
        fs::set_mtime_at(self.store.dir(), Self::step_path(&key.hex()), now).ok();
    }

    /// Keeps what a step made. Its layer is in place.
    pub(crate) fn keep(&self, step: &CachedStep) -> Result<()> {
        self.make("build/steps")?;
        let staged = staging::file(self.store, &record::to_text(step), false)?;
        let to = Self::step_path(&step.key.hex());
        fs::rename(self.store.dir(), &staged, self.store.dir(), &to)
            .map_err(io_error("rename to", self.store.root().join(to)))
    }

    /// All steps; damaged ones beside them.
    pub(crate) fn steps(&self) -> Result<Listing<CachedStep>> {
        let mut listing = Listing::default();
        for hex in self.names("build/steps")? {
            listing.add(record::read(self.store, &Self::step_path(&hex), "build step", &hex));
        }
        Ok(listing)
    }

    fn names(&self, dir: &str) -> Result<Vec<String>> {
        if fs::stat_at(self.store.dir(), dir).is_err() {
            return Ok(vec![]);
        }
        let mut names = record::names(self.store, dir)?;
        names.retain(|name| Digest::from_hex(name).is_ok());
        Ok(names)
    }

    /// Everything that is kept, as listings show it. What is damaged shows up without a description.
    pub(crate) fn list(&self) -> Result<Vec<Cached>> {
        let mut found = Vec::new();
        for hex in self.names("build/steps")? {
            let path = Self::step_path(&hex);
            let step = record::read::<CachedStep>(self.store, &path, "build step", &hex).ok();
            found.push(Cached {
                is_mount: false,
                description: step.as_ref().map(|step| step.description.clone()).unwrap_or_default(),
                created: step.as_ref().map(|step| step.created).unwrap_or_default(),
                last_used: self.changed(&path),
                layer: step.and_then(|step| step.layer),
                id: hex,
            });
        }
        for hex in self.names("build/mounts")? {
            let path = Self::mount_path(&hex).join("mount.json");
            let mount = record::read::<CacheMount>(self.store, &path, "cache mount", &hex).ok();
            found.push(Cached {
                is_mount: true,
                description: mount.as_ref().map(|mount| mount.id.clone()).unwrap_or_default(),
                created: mount.map(|mount| mount.created).unwrap_or_default(),
                last_used: self.changed(&Self::mount_path(&hex).join("lock")),
                layer: None,
                id: hex,
            });
        }
        Ok(found)
    }

    fn changed(&self, path: &std::path::Path) -> Timestamp {
        let stat = fs::stat_at(self.store.dir(), path);
        stat.ok().and_then(|stat| Timestamp::from_second(stat.st_mtime).ok()).unwrap_or_default()
    }

    /// Forgets a step; its layer is garbage then, if nothing else refers to it.
    pub(crate) fn forget(&self, hex: &str) -> Result<()> {
        let path = Self::step_path(hex);
        match fs::unlink(self.store.dir(), &path) {
            Err(err) if err.kind() != std::io::ErrorKind::NotFound => {
                Err(io_error("remove", self.store.root().join(path))(err))
            }
            _ => Ok(()),
        }
    }

    fn mount_path(hex: &str) -> PathBuf {
        PathBuf::from("build/mounts").join(hex)
    }

    /// The directory of the cache mount `id`, made if it is missing, and its lock file. A name that holds
    /// slashes and dots is a name all the same (SEC-15).
    pub(crate) fn mount(&self, id: &str) -> Result<(PathBuf, OwnedFd)> {
        let hex = Digest::of(id.as_bytes()).hex();
        self.make("build/mounts")?;
        let path = Self::mount_path(&hex);
        if fs::stat_at(self.store.dir(), &path).is_err() {
            let mut staged = staging::dir(self.store)?;
            let mount = CacheMount { id: id.to_owned(), created: Timestamp::now() };
            staged.write("mount.json", &record::to_text(&mount), false)?;
            staged.write("lock", b"", false)?;
            drop(staged.subdir("data")?);
            // Whoever comes second takes the first one's.
            staged.publish(self.store, &path, false)?;
        }
        let lock = path.join("lock");
        let opened = fs::open_at(self.store.dir(), &lock, OFlags::RDWR | OFlags::CREATE, 0o600);
        let opened = opened.map_err(io_error("open", self.store.root().join(&lock)))?;
        let now = fs::Timespec { tv_sec: Timestamp::now().as_second(), tv_nsec: 0 };
        fs::set_mtime_at(self.store.dir(), &lock, now).ok();
        Ok((self.store.root().join(path).join("data"), opened))
    }

    /// Where the data of a listed mount is.
    pub(crate) fn mount_data(&self, hex: &str) -> PathBuf {
        self.store.root().join(Self::mount_path(hex)).join("data")
    }

    /// Takes a cache mount away; `None` if it is in use or gone.
    pub(crate) fn take_mount(&self, hex: &str) -> Result<Option<Staged>> {
        let path = Self::mount_path(hex);
        let lock =
            match fs::open_at(self.store.dir(), path.join("lock"), OFlags::RDWR | OFlags::CREATE, 0o600) {
                Ok(lock) => lock,
                Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                Err(err) => return Err(io_error("open the lock of", self.store.root().join(path))(err)),
            };
        if !fs::try_lock(&lock, Share::Exclusive).map_err(io_error("lock", self.store.root().join(&path)))? {
            return Ok(None);
        }
        staging::take(self.store, &path)
    }

    /// The known digests of a context's files, as they were written.
    pub(crate) fn file_digests(&self, context: &[u8]) -> Vec<u8> {
        let path = PathBuf::from("build/files").join(Digest::of(context).hex());
        fs::read_at(self.store.dir(), &path, 256 << 20).unwrap_or_default()
    }

    /// Keeps the digests of a context's files.
    pub(crate) fn keep_file_digests(&self, context: &[u8], content: &[u8]) -> Result<()> {
        self.make("build/files")?;
        let staged = staging::file(self.store, content, false)?;
        let to = PathBuf::from("build/files").join(Digest::of(context).hex());
        fs::rename(self.store.dir(), &staged, self.store.dir(), &to)
            .map_err(io_error("rename to", self.store.root().join(to)))
    }

    /// The names of builders, as they were written.
    pub(crate) fn builders(&self) -> Vec<u8> {
        fs::read_at(self.store.dir(), Path::new("build/builders"), 1 << 20).unwrap_or_default()
    }

    /// Keeps the names of builders.
    pub(crate) fn keep_builders(&self, content: &[u8]) -> Result<()> {
        self.make("build/steps")?;
        let staged = staging::file(self.store, content, false)?;
        let to = Path::new("build/builders");
        fs::rename(self.store.dir(), &staged, self.store.dir(), to)
            .map_err(io_error("rename to", self.store.root().join(to)))
    }

    /// Forgets the digests of all contexts.
    pub(crate) fn forget_file_digests(&self) -> Result<()> {
        for name in self.names("build/files")? {
            let path = PathBuf::from("build/files").join(name);
            fs::unlink(self.store.dir(), &path).map_err(io_error("remove", self.store.root().join(path)))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_kept_found_and_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let cache = store.build_cache();
        assert!(cache.list().unwrap().is_empty());
        let key = Digest::of(b"key");
        let step = CachedStep::new(key, Timestamp::now(), "RUN x".into(), None);
        cache.keep(&step).unwrap();
        assert_eq!(cache.step(&key), Some(step));
        assert_eq!(cache.step(&Digest::of(b"other")), None);
        // A torn record means that the step is done again.
        std::fs::write(dir.path().join("build/steps").join(key.hex()), "{").unwrap();
        assert_eq!(cache.step(&key), None);
        assert_eq!(cache.steps().unwrap().damaged.len(), 1);
        assert_eq!(cache.list().unwrap().len(), 1);
        cache.forget(&key.hex()).unwrap();
        assert!(cache.list().unwrap().is_empty());
    }

    #[test]
    fn cache_mounts_stay_in_their_directory_and_are_not_taken_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let cache = store.build_cache();
        let (path, lock) = cache.mount("../../../../home").unwrap();
        assert!(path.starts_with(dir.path().join("build/mounts")) && path.is_dir());
        let hex = Digest::of(b"../../../../home").hex();
        fs::try_lock(&lock, Share::Shared).unwrap();
        assert!(cache.take_mount(&hex).unwrap().is_none(), "in use");
        // A process that another test is just starting may have a copy of the descriptor.
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::Unlock).unwrap();
        assert_eq!(cache.list().unwrap()[0].description, "../../../../home");
        cache.take_mount(&hex).unwrap().unwrap().remove().unwrap();
        assert!(cache.take_mount(&hex).unwrap().is_none());
    }
}
