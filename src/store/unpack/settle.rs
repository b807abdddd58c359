//! What a layer needs of the layers below it.
//!
//! Many builders list files without the directories they are in. In the merged tree such a directory
//! must look as it did before, but overlay shows the topmost one: so it takes owner, mode, time and
//! attributes from below. Until then [`IMPLICIT_TIME`] marks it on disk, and a later entry of the layer
//! that does describe it simply replaces the mark.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use crate::store::unpack::Failure;
use crate::store::unpack::dirs::{is_whiteout, shown};
use crate::sys::fs::{self, FileType, OFlags, Stat, Timespec, Within};

/// The modification time of a directory that no entry has described.
pub(super) const IMPLICIT_TIME: Timespec = Timespec { tv_sec: 1, tv_nsec: 271_828_182 };

/// The deepest of some directories that were made for an entry that needed them.
#[derive(Debug)]
pub(super) struct Implicit {
    pub(super) path: Vec<u8>,
    /// How many of them there are, this one and those above it.
    pub(super) levels: usize,
}

const DIR: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

/// Longest path that is given to the kernel at once.
const PATH_MAX: usize = 4000;

/// Gives implicit directories what they have in the layers below, the topmost of `lowers` first.
pub(super) fn implicit(root: &OwnedFd, all: &[Implicit], lowers: &[OwnedFd]) -> Result<(), Failure> {
    for one in all {
        let adopted = adopt_all(root, one, lowers);
        adopted.map_err(Failure::system(&format!("adopt {:?}", shown(&one.path))))?;
    }
    Ok(())
}

/// Goes down through the directories of one record, each opened once however deep they are.
fn adopt_all(root: &OwnedFd, one: &Implicit, lowers: &[OwnedFd]) -> io::Result<()> {
    // Where the names end that lead to the directories, the first one last.
    let slashes = one.path.iter().enumerate().rev().filter(|&(_, &b)| b == b'/').map(|(at, _)| at);
    let mut ends: Vec<usize> = [one.path.len()].into_iter().chain(slashes).take(one.levels).collect();
    let Some(first) = ends.pop() else { return Ok(()) };
    let mut dir = match open_beneath(root, &one.path[..first]) {
        Ok(dir) => dir,
        Err(err) if is_elsewhere(&err) => return Ok(()),
        Err(err) => return Err(err),
    };
    let (mut path, mut is_below) = (&one.path[..first], true);
    loop {
        // Before this one's mode may forbid it.
        let next = ends.pop().map(|end| (end, fs::open_dir(&dir, &one.path[path.len() + 1..end])));
        is_below = adopt(&dir, path, if is_below { lowers } else { &[] })?;
        match next {
            None => return Ok(()),
            Some((end, Ok(deeper))) => (dir, path) = (deeper, &one.path[..end]),
            Some((_, Err(err))) if is_elsewhere(&err) => return Ok(()),
            Some((_, Err(err))) => return Err(err),
        }
    }
}

/// A later entry replaced it, or the way to it leads through a link.
fn is_elsewhere(err: &io::Error) -> bool {
    matches!(err.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP))
}

/// Settles one directory, unless an entry has described it; false if the layers below have no such one.
fn adopt(dir: &OwnedFd, path: &[u8], lowers: &[OwnedFd]) -> io::Result<bool> {
    let found = lookup(path, lowers)?;
    let is_below = found.is_some();
    let stat = fs::stat(dir)?;
    let is_marked = stat.st_mtime == IMPLICIT_TIME.tv_sec
        && i64::try_from(stat.st_mtime_nsec).is_ok_and(|nsec| nsec == IMPLICIT_TIME.tv_nsec);
    if !is_marked {
        return Ok(is_below);
    }
    let Some((below, of)) = found else {
        fs::set_mtime(dir, Timespec { tv_sec: 0, tv_nsec: 0 })?;
        return Ok(false);
    };
    if (of.st_uid, of.st_gid) != (stat.st_uid, stat.st_gid) {
        fs::chown(dir, of.st_uid, of.st_gid)?;
    }
    fs::chmod(dir, of.st_mode)?;
    for name in fs::xattr_names(&below)? {
        // Whether a directory below hides what is below it says nothing about this one.
        if !name.starts_with(b"user.overlay.")
            && !name.starts_with(b"trusted.")
            && let Some(value) = fs::xattr(&below, &name[..])?
        {
            fs::set_xattr(dir, &name[..], &value)?;
        }
    }
    let nsec = i64::try_from(of.st_mtime_nsec).unwrap_or(0);
    fs::set_mtime(dir, Timespec { tv_sec: of.st_mtime, tv_nsec: nsec })?;
    Ok(true)
}

/// The directory that the layers below show at `path`.
fn lookup(path: &[u8], lowers: &[OwnedFd]) -> io::Result<Option<(OwnedFd, Stat)>> {
    for lower in lowers {
        match open_beneath(lower, path) {
            Ok(dir) => {
                let stat = fs::stat(&dir)?;
                return Ok(Some((dir, stat)));
            }
            Err(err) if err.raw_os_error() == Some(libc::ENOENT) => {
                if hides(lower, path)? {
                    return Ok(None);
                }
            }
            // A file, a link or a whiteout there hides whatever is below.
            Err(err) if matches!(err.raw_os_error(), Some(libc::ENOTDIR | libc::ELOOP)) => return Ok(None),
            Err(err) => return Err(err),
        }
    }
    Ok(None)
}

/// True if a directory above `path` is opaque in this layer, so that the layers below do not count.
fn hides(lower: &OwnedFd, path: &[u8]) -> io::Result<bool> {
    let ends = path.iter().enumerate().filter(|&(_, &b)| b == b'/').map(|(at, _)| at);
    for end in ends {
        match open_beneath(lower, &path[..end]) {
            Ok(dir) => {
                if fs::xattr(&dir, "user.overlay.opaque")?.is_some() {
                    return Ok(true);
                }
            }
            Err(_) => return Ok(false),
        }
    }
    Ok(false)
}

/// Opens the directory `path` without following any link, however long the path is.
fn open_beneath(root: &OwnedFd, mut path: &[u8]) -> io::Result<OwnedFd> {
    let mut at = fs::open_dir(root, ".")?;
    while !path.is_empty() {
        let end = if path.len() < PATH_MAX {
            path.len()
        } else {
            path[..PATH_MAX].iter().rposition(|&b| b == b'/').unwrap_or(path.len())
        };
        at = fs::open_within(&at, &path[..end], Within::Beneath, DIR, 0)?;
        path = path.get(end + 1..).unwrap_or_default();
    }
    Ok(at)
}

/// Hides everything that the layers below have, name by name: overlay does not look whether the root
/// of a layer is opaque.
pub(super) fn hide_all(root: &OwnedFd, lowers: &[OwnedFd]) -> Result<(), Failure> {
    hide_names(root, lowers).map_err(Failure::system("hide the layers below"))
}

fn hide_names(root: &OwnedFd, lowers: &[OwnedFd]) -> io::Result<()> {
    let time = fs::stat(root)?;
    let mut below: HashSet<OsString> = HashSet::new();
    for lower in lowers {
        below.extend(fs::names(lower, ".")?);
    }
    for name in below {
        let name = name.as_bytes();
        match fs::mknod(root, name, FileType::CharacterDevice, 0o600, 0) {
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {
                if !is_whiteout(root, name)
                    && let Ok(dir) = fs::open_dir(root, name)
                {
                    fs::set_xattr(&dir, "user.overlay.opaque", b"y")?;
                }
            }
            other => other?,
        }
    }
    let nsec = i64::try_from(time.st_mtime_nsec).unwrap_or(0);
    fs::set_mtime(root, Timespec { tv_sec: time.st_mtime, tv_nsec: nsec })
}
