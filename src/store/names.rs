//! Names of containers: symbolic links that say an ID.
//!
//! Making the link is the reservation: one atomic call, with no state in between where the name is
//! taken but means nothing. Listing reads the links alone, so that it needs no container's files.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::base::id::ContainerId;
use crate::base::order::InOrder as _;
use crate::store::Store;
use crate::store::error::{Result, StoreError, io_error};
use crate::store::lock::Exclusive;
use crate::store::record::is_name;
use crate::sys::{failpoint, fs};

/// The names of a store's containers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names<'a> {
    store: &'a Store,
}

impl Store {
    /// The names of containers.
    pub(crate) fn names(&self) -> Names<'_> {
        Names { store: self }
    }
}

impl Names<'_> {
    fn check(name: &str) -> Result<PathBuf> {
        if is_name(name) {
            Ok(PathBuf::from("names").join(name))
        } else {
            Err(StoreError::InvalidName { what: "container", name: name.to_owned() })
        }
    }

    fn full(&self, path: &std::path::Path) -> PathBuf {
        self.store.root().join(path)
    }

    /// Reserves `name` for a container.
    ///
    /// Containers come and go under the same lock, so that a name without a container was left by a
    /// process that was killed in the middle: it is taken over.
    ///
    /// # Errors
    ///
    /// [`StoreError::NameInUse`], [`StoreError::InvalidName`].
    pub(crate) fn reserve(&self, name: &str, id: &ContainerId, _lock: &Exclusive) -> Result<()> {
        let path = Self::check(name)?;
        loop {
            let made = failpoint::reach("name.reserve")
                .and_then(|()| fs::symlink(id.as_str(), self.store.dir(), &path));
            match made {
                Ok(()) => {
                    return failpoint::reach("name.reserved").map_err(io_error("finish", self.full(&path)));
                }
                Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
                Err(err) => return Err(io_error("create", self.full(&path))(err)),
            }
            match self.get(name)? {
                Some(by) if by == *id => return Ok(()),
                Some(by) if self.store.containers().exists(&by) => {
                    return Err(StoreError::NameInUse { name: name.to_owned(), by });
                }
                Some(by) => self.release(name, &by)?,
                None => {}
            }
        }
    }

    /// The container that has `name`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`] if the link says no ID.
    pub(crate) fn get(&self, name: &str) -> Result<Option<ContainerId>> {
        if !is_name(name) {
            return Ok(None);
        }
        let path = PathBuf::from("names").join(name);
        let target = match fs::readlink(self.store.dir(), &path) {
            Ok(target) => target,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(err) => return Err(io_error("read", self.full(&path))(err)),
        };
        let id = target.to_str().and_then(|text| text.parse().ok());
        id.map(Some).ok_or_else(|| StoreError::Damaged {
            what: "container name",
            name: name.to_owned(),
            path: self.full(&path),
            reason: format!("{} is no container ID", target.display()),
        })
    }

    /// Frees `name` if it is that container's. It is no error if it is not.
    pub(crate) fn release(&self, name: &str, id: &ContainerId) -> Result<()> {
        let path = Self::check(name)?;
        if self.get(name)?.as_ref() != Some(id) {
            return Ok(());
        }
        match fs::unlink(self.store.dir(), &path) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => {
                Err(io_error("remove", self.full(&path))(err))
            }
            _ => Ok(()),
        }
    }

    /// Gives the container `id` the name `new` in place of `old`; at no moment it has none. Outlives a power cut.
    pub(crate) fn rename(&self, old: &str, new: &str, id: &ContainerId, lock: &Exclusive) -> Result<()> {
        self.reserve(new, id, lock)?;
        if old != new {
            self.release(old, id)?;
        }
        let names = fs::open_dir(self.store.dir(), "names").and_then(fs::sync);
        names.map_err(io_error("sync", self.store.root().join("names")))
    }

    /// The names that there are, to find out whose they are.
    pub(crate) fn open(&self) -> Result<NameFiles> {
        let root = || self.store.root().join("names");
        let dir = fs::open_dir(self.store.dir(), "names").map_err(|err| io_error("open", root())(err))?;
        let mut files = Vec::new();
        let listed = fs::for_each_entry(&dir, |name, _| {
            files.extend(name.to_str().map(str::to_owned));
            Ok(())
        });
        listed.map_err(io_error("list", root()))?;
        Ok(NameFiles { dir, files })
    }

    /// All names with their containers, sorted. A damaged link is left out: it names nothing.
    pub(crate) fn list(&self) -> Result<Vec<(String, ContainerId)>> {
        let names = self.open()?;
        let owned = names.files.iter().filter_map(|name| Some((name.clone(), names.owner(name)?)));
        let mut found: Vec<_> = owned.collect();
        found.order();
        Ok(found)
    }

    /// The names of one container; usually one, two in the middle of a rename.
    pub(crate) fn of(&self, id: &ContainerId) -> Result<Vec<String>> {
        let all = self.list()?.into_iter();
        Ok(all.filter(|(_, owner)| owner == id).map(|(name, _)| name).collect())
    }
}

/// The directory of names, listed.
#[derive(Debug)]
pub(crate) struct NameFiles {
    dir: OwnedFd,
    files: Vec<String>,
}

impl NameFiles {
    /// The names, in no order.
    pub(crate) fn files(&self) -> &[String] {
        &self.files
    }

    /// The container that has a name; `None` if it is free meanwhile, or its link is damaged.
    pub(crate) fn owner(&self, name: &str) -> Option<ContainerId> {
        fs::readlink(&self.dir, name).ok()?.to_str()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_owner() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let lock = store.lock(&mut |_, _| {}).unwrap();
        let id = |n| ContainerId::from_random([n; 32]);
        for n in [1, 2] {
            std::fs::create_dir(store.root().join("containers").join(id(n).as_str())).unwrap();
        }
        let names = store.names();
        names.reserve("a", &id(1), &lock).unwrap();
        names.reserve("a", &id(1), &lock).unwrap();
        let err = names.reserve("a", &id(2), &lock).unwrap_err();
        assert!(matches!(&err, StoreError::NameInUse { by, .. } if *by == id(1)), "{err}");
        names.reserve("b", &id(2), &lock).unwrap();
        assert!(names.rename("a", "b", &id(1), &lock).is_err());
        names.rename("a", "c", &id(1), &lock).unwrap();
        assert_eq!(names.list().unwrap(), [("b".to_owned(), id(2)), ("c".to_owned(), id(1))]);
        names.release("c", &id(2)).unwrap();
        assert_eq!(names.get("c").unwrap(), Some(id(1)), "another's name stays");
        names.release("c", &id(1)).unwrap();
        names.release("c", &id(1)).unwrap();
        assert_eq!(names.get("c").unwrap(), None);
        assert!(matches!(names.reserve("../x", &id(1), &lock), Err(StoreError::InvalidName { .. })));
        assert_eq!(names.get("../x").unwrap(), None);
    }

    #[test]
    fn a_name_that_a_killed_process_left_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let lock = store.lock(&mut |_, _| {}).unwrap();
        let id = |n| ContainerId::from_random([n; 32]);
        store.names().reserve("a", &id(1), &lock).unwrap();
        store.names().reserve("a", &id(2), &lock).unwrap();
        assert_eq!(store.names().get("a").unwrap(), Some(id(2)));
    }
}
