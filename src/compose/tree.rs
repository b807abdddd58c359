//! Directories that are watched with all that is below them, as far as some trigger wants to know.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use crate::compose::watch::Trigger;
use crate::engine::{Error, Result};
use crate::sys::inotify::{Change, Inotify};

/// The watched directories. The descriptor is readable when something in them has changed.
#[derive(Debug)]
pub(crate) struct Tree<'a> {
    inotify: Inotify,
    triggers: &'a [Trigger],
    directories: HashMap<i32, PathBuf>,
}

impl<'a> Tree<'a> {
    /// Watches what the triggers name.
    ///
    /// # Errors
    ///
    /// If it is not there; if the user watches too much.
    pub(crate) fn new(triggers: &'a [Trigger]) -> Result<Self> {
        let failed = |path: &Path, err: io::Error| {
            let full = err.raw_os_error() == Some(libc::ENOSPC);
            let err = Error::system(format!("watch {}", path.display()), err);
            if full { err.hint("raise it: sysctl fs.inotify.max_user_watches=524288") } else { err }
        };
        let inotify = Inotify::new().map_err(|err| Error::system("watch files", err))?;
        let mut tree = Self { inotify, triggers, directories: HashMap::new() };
        for trigger in triggers {
            let path = &trigger.path;
            let meta = std::fs::metadata(path).map_err(|err| failed(path, err))?;
            let watched = if meta.is_dir() {
                tree.add(path, &mut BTreeSet::new())
            } else {
                // A file is replaced by others that get its name: its directory tells of them.
                tree.add_one(path.parent().unwrap_or(path))
            };
            watched.map_err(|err| failed(path, err))?;
        }
        Ok(tree)
    }

    fn add_one(&mut self, directory: &Path) -> io::Result<()> {
        let watch = self.inotify.add(directory)?;
        self.directories.insert(watch, directory.to_owned());
        Ok(())
    }

    /// Watches a directory and those below it, and puts their files into `seen`. What vanishes meanwhile is
    /// no failure.
    fn add(&mut self, directory: &Path, seen: &mut BTreeSet<PathBuf>) -> io::Result<()> {
        let mut open = vec![directory.to_owned()];
        while let Some(directory) = open.pop() {
            if !self.triggers.iter().any(|trigger| trigger.looks_into(&directory)) {
                continue;
            }
            match self.add_one(&directory) {
                Err(err) if matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                    continue;
                }
                other => other?,
            }
            let Ok(entries) = std::fs::read_dir(&directory) else { continue };
            for entry in entries.flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => open.push(entry.path()),
                    _ => drop(seen.insert(entry.path())),
                }
            }
        }
        Ok(())
    }

    /// The paths that have changed, appeared or gone since it was last asked.
    ///
    /// # Errors
    ///
    /// Reading; if the user watches too much.
    pub(crate) fn changes(&mut self) -> io::Result<BTreeSet<PathBuf>> {
        let mut changed = BTreeSet::new();
        for change in self.inotify.read()? {
            match change {
                Change::Entry { watch, name } => {
                    let Some(path) = self.directories.get(&watch).map(|dir| dir.join(name)) else { continue };
                    if std::fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir()) {
                        self.add(&path, &mut changed)?;
                    } else {
                        changed.insert(path);
                    }
                }
                Change::Gone { watch } => drop(self.directories.remove(&watch)),
                Change::Overflow => changed.extend(self.everything()?),
            }
        }
        Ok(changed)
    }

    /// All files there are.
    ///
    /// # Errors
    ///
    /// If the user watches too much.
    pub(crate) fn everything(&mut self) -> io::Result<BTreeSet<PathBuf>> {
        let mut all = BTreeSet::new();
        for trigger in self.triggers {
            if trigger.path.is_dir() {
                self.add(&trigger.path, &mut all)?;
            } else {
                all.insert(trigger.path.clone());
            }
        }
        Ok(all)
    }
}

impl AsFd for Tree<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}
