//! Goes through an upper directory and tells what it changes of the directories below.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{Mode, OFlags};

use crate::base::bytes::Bytes;
use crate::base::order::InOrder as _;
use crate::runtime::failure::Failure;
use crate::runtime::layer::{Result, unreadable};
use crate::runtime::rootfs::MOUNT_TABLE;
use crate::sys::fs::{self, FileType, Stat};

/// The attribute that makes a directory hide the one below, and its value. Newer kernels also write
/// `x`, which means something else.
const OPAQUE: (&str, &[u8]) = ("user.overlay.opaque", b"y");

/// Something that is there.
#[derive(Debug)]
pub(super) struct Found<'a> {
    /// Relative to the root; empty for the root itself.
    pub(super) path: &'a [u8],
    pub(super) stat: &'a Stat,
    /// A directory or regular file, open for reading.
    pub(super) file: Option<&'a OwnedFd>,
    /// What a symbolic link says.
    pub(super) link: &'a [u8],
    /// Nothing was there before.
    pub(super) is_new: bool,
}

/// Takes what the walk finds: each directory before what is in it, names in the order of their bytes.
pub(super) trait Sink {
    /// Something is new or was changed.
    fn found(&mut self, found: &Found<'_>) -> Result<()>;

    /// Something of the layers below is gone.
    fn deleted(&mut self, path: &[u8]) -> Result<()>;

    /// A directory, found just now, shows nothing of the one below; `hidden` are the names that
    /// are gone thereby and not there anew.
    fn opaque(&mut self, path: &[u8], hidden: &[OsString]) -> Result<()>;
}

/// A directory that is told only if something in it is.
struct Pending {
    path: Vec<u8>,
    dir: OwnedFd,
    stat: Stat,
    is_new: bool,
}

struct Walk<'s, S> {
    sink: &'s mut S,
    placeholders: Vec<Bytes>,
    /// The directories on the way down that were not told yet.
    pending: Vec<Pending>,
    /// What does not count: placeholders and sockets.
    left_out: Vec<Vec<u8>>,
}

enum Trouble {
    /// It was removed or replaced meanwhile.
    Gone,
    Failed(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

fn trouble(path: &[u8], err: impl Into<std::io::Error>) -> Trouble {
    let err = err.into();
    match err.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::ENXIO) => Trouble::Gone,
        _ => Trouble::Failed(unreadable(path, err)),
    }
}

/// Walks; returns the paths that were left out, parents first.
pub(super) fn walk(
    upper: OwnedFd,
    lower: Option<OwnedFd>,
    placeholders: Vec<Bytes>,
    sink: &mut impl Sink,
) -> Result<Vec<Vec<u8>>> {
    let mut walk = Walk { sink, placeholders, pending: Vec::new(), left_out: Vec::new() };
    walk.root(&upper, lower.as_ref())?;
    match walk.content(b"", &upper, lower.as_ref()) {
        Ok(()) | Err(Trouble::Gone) => Ok(walk.left_out),
        Err(Trouble::Failed(failure)) => Err(failure),
    }
}

impl<S: Sink> Walk<'_, S> {
    /// The root directory counts if its mode was changed. ketch makes it as its own, so an owner that
    /// differs says nothing unless it is another one.
    fn root(&mut self, upper: &OwnedFd, lower: Option<&OwnedFd>) -> Result<()> {
        let read = |dir: &OwnedFd| fs::stat(dir).map_err(|err| unreadable(b"", err));
        let stat = read(upper)?;
        let changed = match lower {
            None => false,
            Some(lower) => {
                let below = read(lower)?;
                let given = (stat.st_uid, stat.st_gid) != (0, 0);
                below.st_mode != stat.st_mode
                    || given && (below.st_uid, below.st_gid) != (stat.st_uid, stat.st_gid)
            }
        };
        if changed {
            let found = Found { path: b"", stat: &stat, file: Some(upper), link: b"", is_new: false };
            self.sink.found(&found)?;
        }
        Ok(())
    }

    /// What is in a directory.
    fn content(&mut self, path: &[u8], dir: &OwnedFd, lower: Option<&OwnedFd>) -> Result<(), Trouble> {
        let mut names = fs::names(dir, ".").map_err(|err| trouble(path, err))?;
        names.order();
        for name in names {
            let child = if path.is_empty() {
                name.as_bytes().to_vec()
            } else {
                [path, b"/", name.as_bytes()].concat()
            };
            match self.child(dir, lower, &name, &child) {
                Err(Trouble::Gone) | Ok(()) => {}
                failed => return failed,
            }
        }
        Ok(())
    }

    fn child(
        &mut self,
        dir: &OwnedFd,
        lower: Option<&OwnedFd>,
        name: &OsStr,
        path: &[u8],
    ) -> Result<(), Trouble> {
        let stat = fs::stat_at(dir, name).map_err(|err| trouble(path, err))?;
        let before = match lower.map(|lower| fs::stat_at(lower, name)) {
            None => None,
            Some(Ok(stat)) => Some(stat),
            Some(Err(err)) if matches!(err.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => None,
            Some(Err(err)) => return Err(unreadable(path, err).into()),
        };
        match fs::kind(&stat) {
            FileType::CharacterDevice if stat.st_rdev == 0 => {
                if before.is_some() {
                    self.tell_pending()?;
                    self.sink.deleted(path)?;
                }
                Ok(())
            }
            FileType::Directory => self.directory(dir, lower, name, path, before.as_ref()),
            FileType::Socket => {
                self.left_out.push(path.to_vec());
                Ok(())
            }
            _ if before.is_none() && self.is_placeholder((dir, name), path, &stat) => {
                self.left_out.push(path.to_vec());
                Ok(())
            }
            kind => self.file(dir, name, path, kind, &stat, before.is_none()),
        }
    }

    /// True for what ketch itself makes: an empty file, a directory, or the link to the mount table.
    fn is_placeholder(&self, (dir, name): (&OwnedFd, &OsStr), path: &[u8], stat: &Stat) -> bool {
        let is_link = path == MOUNT_TABLE.0.as_bytes();
        let is_as_made = match fs::kind(stat) {
            FileType::RegularFile => stat.st_size == 0 && !is_link,
            FileType::Directory => !is_link,
            FileType::Symlink => {
                is_link
                    && fs::readlink(dir, name)
                        .is_ok_and(|target| target.as_bytes() == MOUNT_TABLE.1.as_bytes())
            }
            _ => false,
        };
        is_as_made && self.placeholders.iter().any(|known| known.as_bytes() == path)
    }

    fn file(
        &mut self,
        dir: &OwnedFd,
        name: &OsStr,
        path: &[u8],
        kind: FileType,
        stat: &Stat,
        is_new: bool,
    ) -> Result<(), Trouble> {
        let mut found = Found { path, stat, file: None, link: b"", is_new };
        if kind == FileType::RegularFile {
            // Not waiting: it may have become a FIFO meanwhile.
            let flags =
                OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            let file =
                rustix::fs::openat(dir, name, flags, Mode::empty()).map_err(|errno| trouble(path, errno))?;
            let stat = fs::stat(&file).map_err(|err| trouble(path, err))?;
            if fs::kind(&stat) != FileType::RegularFile {
                return Err(Trouble::Gone);
            }
            self.tell_pending()?;
            return Ok(self.sink.found(&Found { file: Some(&file), stat: &stat, ..found })?);
        }
        let link;
        if kind == FileType::Symlink {
            link = fs::readlink(dir, name).map_err(|err| match err.raw_os_error() {
                // No link any more.
                Some(libc::EINVAL) => Trouble::Gone,
                _ => trouble(path, err),
            })?;
            found.link = link.as_bytes();
        }
        self.tell_pending()?;
        Ok(self.sink.found(&found)?)
    }

    fn directory(
        &mut self,
        dir: &OwnedFd,
        lower: Option<&OwnedFd>,
        name: &OsStr,
        path: &[u8],
        before: Option<&Stat>,
    ) -> Result<(), Trouble> {
        let opened = fs::open_dir(dir, name).map_err(|err| trouble(path, err))?;
        let stat = fs::stat(&opened).map_err(|err| trouble(path, err))?;
        let below = match (before.map(fs::kind), lower) {
            (Some(FileType::Directory), Some(lower)) => {
                Some(fs::open_dir(lower, name).map_err(|err| unreadable(path, err))?)
            }
            _ => None,
        };
        let opaque = fs::xattr(&opened, OPAQUE.0).map_err(|err| unreadable(path, err))?;
        let opaque = opaque.as_deref() == Some(OPAQUE.1);
        let is_new = before.is_none();
        let untouched = match &below {
            Some(below) => !opaque && is_same(&opened, &stat, below).map_err(|err| unreadable(path, err))?,
            None => is_new && self.is_placeholder((dir, name), path, &stat),
        };
        let (depth, left_out) = (self.pending.len(), self.left_out.len());
        if untouched {
            // Whoever removes these goes backwards.
            self.left_out.push(path.to_vec());
        }
        self.pending.push(Pending {
            path: path.to_vec(),
            dir: opened.try_clone().map_err(|err| unreadable(path, err))?,
            stat,
            is_new,
        });
        if !untouched {
            self.tell_pending()?;
        }
        if opaque && let Some(below) = &below {
            let hidden = hidden(&opened, below).map_err(|err| unreadable(path, err))?;
            self.sink.opaque(path, &hidden)?;
        }
        let deeper = if opaque { None } else { below.as_ref() };
        let walked = self.content(path, &opened, deeper);
        if self.pending.len() <= depth {
            // It was told after all, so it stays.
            self.left_out.retain(|left| left != path);
            return walked;
        }
        let placeholders = self.left_out.len() > left_out;
        if !placeholders {
            // Nothing in it explains why it is here: its time was changed.
            self.tell_pending()?;
        }
        self.pending.truncate(depth);
        walked
    }

    /// Tells of the directories on the way down, now that something in them is told.
    fn tell_pending(&mut self) -> Result<()> {
        for Pending { path, dir, stat, is_new } in std::mem::take(&mut self.pending) {
            self.sink.found(&Found { path: &path, stat: &stat, file: Some(&dir), link: b"", is_new })?;
        }
        Ok(())
    }
}

/// True if a directory of the upper one still has mode, owner and attributes of the one below.
fn is_same(dir: &OwnedFd, stat: &Stat, below: &OwnedFd) -> std::io::Result<bool> {
    let before = fs::stat(below)?;
    let meta = |stat: &Stat| (stat.st_mode, stat.st_uid, stat.st_gid);
    Ok(meta(stat) == meta(&before) && attributes(dir)? == attributes(below)?)
}

/// The attributes that belong to the file and not to overlay, sorted.
///
/// Overlay's own are left out, and those that it has escaped for a container get their names back
/// (Linux 6.7, "Nesting overlayfs mounts"). Labels of security modules belong to this machine.
pub(super) fn attributes(file: &OwnedFd) -> std::io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut found = Vec::new();
    for name in fs::xattr_names(file)? {
        let shown = if let Some(inner) = name.strip_prefix(b"user.overlay.") {
            match inner.strip_prefix(b"overlay.") {
                Some(rest) => [b"user.overlay.", rest].concat(),
                None => continue,
            }
        } else if name.starts_with(b"user.")
            || matches!(
                &name[..],
                b"security.capability" | b"system.posix_acl_access" | b"system.posix_acl_default"
            )
        {
            name.clone()
        } else {
            continue;
        };
        if let Some(value) = fs::xattr(file, &name[..])? {
            found.push((shown, value));
        }
    }
    found.order();
    Ok(found)
}

/// The names of `below` that are not in `dir`; whiteouts are not there.
fn hidden(dir: &OwnedFd, below: &OwnedFd) -> std::io::Result<Vec<OsString>> {
    let mut names = fs::names(below, ".")?;
    names.retain(|name| {
        fs::stat_at(dir, name)
            .map_or(true, |stat| fs::kind(&stat) == FileType::CharacterDevice && stat.st_rdev == 0)
    });
    names.order();
    Ok(names)
}
