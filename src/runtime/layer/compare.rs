//! What differs between two whole trees: images that need not be made of one another.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;

use crate::base::order;
use crate::runtime::layer::walk::{Found, Sink};
use crate::runtime::layer::{Result, unreadable};
use crate::sys::fs::{self, FileType, Stat};

/// Tells `sink` what of `new` differs from `old`. Files count as equal if owner, mode, length and time are.
pub(super) fn compare(new: &OwnedFd, old: &OwnedFd, sink: &mut impl Sink) -> Result<()> {
    directory(b"", new, Some(old), sink, &mut Vec::new())
}

/// A directory that is told only if something in it differs.
type Pending = Vec<(Vec<u8>, Stat)>;

fn directory(
    path: &[u8],
    new: &OwnedFd,
    old: Option<&OwnedFd>,
    sink: &mut impl Sink,
    pending: &mut Pending,
) -> Result<()> {
    let names_of = |dir: &OwnedFd| fs::names(dir, ".").map_err(|err| unreadable(path, err));
    let mut names = order::set(names_of(new)?);
    if let Some(old) = old {
        names.extend(names_of(old)?);
    }
    for name in names {
        let child = match path {
            b"" => name.as_bytes().to_vec(),
            _ => [path, b"/", name.as_bytes()].concat(),
        };
        let there = fs::stat_at(new, &*name).ok();
        let before = old.and_then(|old| fs::stat_at(old, &*name).ok());
        let Some(there) = there else {
            tell_pending(pending, sink)?;
            sink.deleted(&child)?;
            continue;
        };
        let changed = match &before {
            None => true,
            Some(before) => differs(&there, before, new, old, &name),
        };
        if changed {
            tell_pending(pending, sink)?;
            found(&child, &there, before.is_none(), sink)?;
        }
        if fs::kind(&there) != FileType::Directory {
            continue;
        }
        let open = |dir: &OwnedFd| fs::open_dir(dir, &*name).map_err(|err| unreadable(&child, err));
        let below = match (&before, old) {
            (Some(before), Some(old)) if fs::kind(before) == FileType::Directory => Some(open(old)?),
            _ => None,
        };
        let depth = pending.len();
        if !changed {
            pending.push((child.clone(), there));
        }
        directory(&child, &open(new)?, below.as_ref(), sink, pending)?;
        pending.truncate(depth);
    }
    Ok(())
}

fn tell_pending(pending: &mut Pending, sink: &mut impl Sink) -> Result<()> {
    std::mem::take(pending).iter().try_for_each(|(path, stat)| found(path, stat, false, sink))
}

fn found(path: &[u8], stat: &Stat, is_new: bool, sink: &mut impl Sink) -> Result<()> {
    sink.found(&Found { path, stat, file: None, link: b"", is_new })
}

fn differs(new: &Stat, old: &Stat, new_dir: &OwnedFd, old_dir: Option<&OwnedFd>, name: &OsString) -> bool {
    let owned = |stat: &Stat| (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_rdev);
    if owned(new) != owned(old) {
        return true;
    }
    match fs::kind(new) {
        FileType::Directory => false,
        FileType::Symlink => {
            let link = |dir: &OwnedFd| fs::readlink(dir, name.as_os_str()).ok();
            link(new_dir) != old_dir.and_then(link)
        }
        _ => {
            let content = |stat: &Stat| (stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
            content(new) != content(old)
        }
    }
}
