//! What the image has at a mount's target, copied into the new, empty volume or tmpfs.
//!
//! Both sides are walked on descriptors and no link is followed. Owners, modes, times and extended
//! attributes come along; device nodes do not.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

const O_DIR: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Copies the content of directory `from` to directory `to` if `to` is empty.
///
/// If `from` is no directory there is nothing to copy. With `keep_mode`, `to` has a mode that someone chose.
pub(in crate::runtime) fn fill(from: BorrowedFd<'_>, to: BorrowedFd<'_>, keep_mode: bool) -> io::Result<()> {
    let stat = rustix::fs::fstat(from)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Ok(());
    }
    let from = rustix::fs::openat(from, ".", O_DIR, Mode::empty())?;
    let to = match rustix::fs::openat(to, ".", O_DIR, Mode::empty()) {
        Err(Errno::NOTDIR) => return Ok(()),
        other => other?,
    };
    if names(&to)?.next().is_some() {
        return Ok(());
    }
    copy_children(&from, &to)?;
    let own = rustix::fs::fstat(&to)?;
    take_attributes(from.as_fd(), to.as_fd(), &stat)?;
    if keep_mode {
        rustix::fs::fchmod(&to, Mode::from_raw_mode(own.st_mode))?;
    }
    Ok(())
}

/// Gives directory `to` the owner, mode and times of the directory `from` that it covers; false if `from` is none.
pub(super) fn resemble(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<bool> {
    let stat = rustix::fs::fstat(from)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Ok(false);
    }
    let from = rustix::fs::openat(from, ".", O_DIR, Mode::empty())?;
    let to = rustix::fs::openat(to, ".", O_DIR, Mode::empty())?;
    take_attributes(from.as_fd(), to.as_fd(), &stat)?;
    Ok(true)
}

/// Gives one file or directory to `uid`:`gid`.
pub(super) fn give(file: BorrowedFd<'_>, uid: u32, gid: u32) -> io::Result<()> {
    give_some(file, Some(uid), Some(gid))
}

/// Gives one directory to a user, a group, or both.
pub(super) fn give_some(file: BorrowedFd<'_>, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
    let (owner, group) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
    Ok(rustix::fs::chownat(file, c"", owner, group, AtFlags::EMPTY_PATH)?)
}

/// Gives everything in the tree at `top` to `uid`:`gid`, unless `top` is theirs already: later starts cost nothing, and
/// what the container has given to others stays theirs, as with podman's `:U`.
pub(super) fn give_once(top: BorrowedFd<'_>, uid: u32, gid: u32) -> io::Result<()> {
    let stat = rustix::fs::fstat(top)?;
    if (stat.st_uid, stat.st_gid) == (uid, gid) { Ok(()) } else { give_to(top, uid, gid) }
}

/// Gives everything in the tree at `top` to `uid`:`gid`.
fn give_to(top: BorrowedFd<'_>, uid: u32, gid: u32) -> io::Result<()> {
    let (owner, group) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    give(top, uid, gid)?;
    let dir = match rustix::fs::openat(top, ".", O_DIR, Mode::empty()) {
        Err(Errno::NOTDIR) => return Ok(()),
        other => other?,
    };
    for name in names(&dir)? {
        let name = name?;
        let stat = rustix::fs::statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let below = rustix::fs::openat(&dir, &name, O_DIR, Mode::empty())?;
            give_to(below.as_fd(), uid, gid)?;
        } else {
            rustix::fs::chownat(&dir, &name, owner, group, AtFlags::SYMLINK_NOFOLLOW)?;
        }
    }
    Ok(())
}

/// The names in a directory but `.` and `..`.
fn names(dir: &OwnedFd) -> io::Result<impl Iterator<Item = io::Result<std::ffi::CString>> + use<>> {
    Ok(Dir::read_from(dir)?
        .map(|entry| Ok(entry?.file_name().to_owned()))
        .filter(|name| !matches!(name.as_deref().map(CStr::to_bytes), Ok(b"." | b".."))))
}

fn copy_children(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    for name in names(from)? {
        copy_entry(from, to, &name?)?;
    }
    Ok(())
}

fn copy_entry(from: &OwnedFd, to: &OwnedFd, name: &CStr) -> io::Result<()> {
    let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            rustix::fs::mkdirat(to, name, Mode::from_raw_mode(0o700))?;
            let source = rustix::fs::openat(from, name, O_DIR, Mode::empty())?;
            let copy = rustix::fs::openat(to, name, O_DIR, Mode::empty())?;
            copy_children(&source, &copy)?;
            take_attributes(source.as_fd(), copy.as_fd(), &stat)
        }
        FileType::RegularFile => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let source = rustix::fs::openat(from, name, flags, Mode::empty())?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let copy = rustix::fs::openat(to, name, flags, Mode::from_raw_mode(0o600))?;
            io::copy(
                &mut std::fs::File::from(source.try_clone()?),
                &mut std::fs::File::from(copy.try_clone()?),
            )?;
            take_attributes(source.as_fd(), copy.as_fd(), &stat)
        }
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(from, name, Vec::new())?;
            rustix::fs::symlinkat(&target, to, name)?;
            take_owner(to, name, &stat)
        }
        FileType::Fifo => {
            rustix::fs::mknodat(to, name, FileType::Fifo, mode, 0)?;
            take_owner(to, name, &stat)
        }
        _ => Ok(()),
    }
}

fn times(stat: &Stat) -> Timestamps {
    let time = |seconds, nanoseconds: u64| Timespec { tv_sec: seconds, tv_nsec: nanoseconds.cast_signed() };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

fn take_owner(dir: &OwnedFd, name: &CStr, stat: &Stat) -> io::Result<()> {
    let (owner, group) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(dir, name, Some(owner), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(rustix::fs::utimensat(dir, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Owner first: changing it clears setuid bits and file capabilities.
fn take_attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>, stat: &Stat) -> io::Result<()> {
    rustix::fs::fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    copy_xattrs(from, to)?;
    Ok(rustix::fs::futimens(to, &times(stat))?)
}

/// Copies what the target's file system takes; a tmpfs, for one, has no `user.*`.
fn copy_xattrs(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let mut list = vec![0; 64 << 10];
    let length = match rustix::fs::flistxattr(from, &mut list) {
        Err(Errno::OPNOTSUPP) => return Ok(()),
        other => other?,
    };
    let mut value = vec![0; 64 << 10];
    for name in list[..length].split(|&b| b == 0).filter(|name| !name.is_empty()) {
        if name.starts_with(b"user.overlay.") || name.starts_with(b"trusted.") {
            continue;
        }
        let got = rustix::fs::fgetxattr(from, name, &mut value[..])?;
        match rustix::fs::fsetxattr(to, name, &value[..got], XattrFlags::empty()) {
            Err(Errno::OPNOTSUPP | Errno::PERM) => {}
            other => other?,
        }
    }
    Ok(())
}
