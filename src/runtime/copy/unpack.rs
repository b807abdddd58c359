//! A tar archive as a tree, below a directory that may be hostile: no link is followed, but for those of an image by ADD,
//! within its root.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufReader, Read, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::base::idmap::IdMap;
use crate::runtime::copy::{Result, land::Landing};
use crate::runtime::failure::{Failure, FailureKind};
use crate::runtime::rootfs::{self, RootDir, Shape};
use crate::store::unpack::archive::{Archive, Entry, Kind};
use crate::sys::fs;

const O_DIR: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Whom the files are given to, in this process's IDs.
#[derive(Debug)]
pub(super) enum Owning {
    /// Whom the archive names, by these maps from IDs inside a container.
    Archive(Option<(IdMap, IdMap)>),
    /// This process. Set-ID bits, which another had in mind for somebody else, are dropped.
    Caller,
    Is {
        uid: u32,
        gid: u32,
    },
}

/// Unpacks `archive` at `landing`.
pub(super) fn unpack(archive: impl Read, landing: Landing, owner: Owning, overwrite: bool) -> Result<()> {
    let unpacker =
        Unpacker { landing, top: None, owner, overwrite, within: None, directories: Vec::new(), last: None };
    unpacker.run(archive)
}

/// Unpacks `archive` in `dir`, which is `path` of `root`: a path that goes through a link goes on where it leads within
/// the root, as with Docker. An entry whose own name is a link's takes its place.
pub(super) fn unpack_within(
    archive: impl Read,
    dir: OwnedFd,
    owner: Owning,
    root: &RootDir,
    path: &[u8],
) -> Result<()> {
    let landing = Landing { dir, name: None };
    let within = Some((root, path));
    let unpacker =
        Unpacker { landing, top: None, owner, overwrite: true, within, directories: vec![], last: None };
    unpacker.run(archive)
}

struct Unpacker<'a> {
    landing: Landing,
    /// The directory that the archive's `.` became.
    top: Option<OwnedFd>,
    owner: Owning,
    overwrite: bool,
    /// Where links are followed: the root, and the path in it at which the archive lands.
    within: Option<(&'a RootDir, &'a [u8])>,
    /// Directories by path, whose mode and time are set when nothing more comes into them.
    directories: Vec<(Vec<OsString>, u32, fs::Timespec)>,
    /// The directory of the last entry.
    last: Option<(Vec<OsString>, OwnedFd)>,
}

impl Unpacker<'_> {
    fn run(mut self, archive: impl Read) -> Result<()> {
        let mut archive = Archive::new(BufReader::with_capacity(64 << 10, archive));
        let broken = |err: crate::store::unpack::Failure| {
            Failure::new(FailureKind::Invalid, format!("the archive is broken: {err}"))
        };
        while let Some(entry) = archive.next().map_err(broken)? {
            self.entry(&entry, &mut archive)?;
        }
        // The padding behind the end, so that its writer does not find a broken pipe.
        io::copy(&mut archive.into_inner(), &mut io::sink())
            .map_err(|err| Failure::errno("read the archive", err))?;
        self.finish()
    }

    fn entry<R: io::BufRead>(&mut self, entry: &Entry, archive: &mut Archive<R>) -> Result<()> {
        let path = clean(&entry.path)?;
        let name = self.landing.name.clone();
        let failed = failed_to_write(entry, name.as_deref());
        let (dir, name) = match path.split_last() {
            Some((name, parents)) => (self.directory(parents).map_err(failed)?, name.clone()),
            None => match &self.landing.name {
                Some(name) => (self.landing.dir.try_clone().map_err(failed)?, name.clone()),
                None if entry.kind == Kind::Directory => {
                    self.give(self.landing.dir.as_fd(), entry)?;
                    // As of layers: everybody may enter the root of an image.
                    let is_root =
                        self.within.is_some_and(|(_, path)| path.iter().all(|&b| b == b'/' || b == b'.'));
                    let mode = self.mode(entry) | if is_root { 0o555 } else { 0 };
                    self.directories.push((path, mode, entry.mtime));
                    return Ok(());
                }
                None => return Err(Failure::new(FailureKind::Invalid, "the archive's root is no directory")),
            },
        };
        match entry.kind {
            Kind::Directory => self.make_directory(&dir, &name, entry, path),
            Kind::Regular => self.regular(&dir, &name, entry, archive),
            Kind::Symlink => {
                self.clear(&dir, &name, false).map_err(failed)?;
                fs::symlink(entry.link.as_slice(), &dir, name.as_os_str()).map_err(failed)?;
                self.give_name(&dir, &name, entry)
            }
            Kind::Hardlink => {
                let target = clean(&entry.link)?;
                let Some((from, parents)) = target.split_last() else {
                    return Err(Failure::new(FailureKind::Invalid, "a link to the archive's root"));
                };
                let parent = self.directory(parents).map_err(failed)?;
                self.clear(&dir, &name, false).map_err(failed)?;
                fs::link(&parent, from.as_os_str(), &dir, name.as_os_str()).map_err(failed)
            }
            Kind::Fifo => {
                self.clear(&dir, &name, false).map_err(failed)?;
                fs::mknod(&dir, name.as_os_str(), FileType::Fifo, self.mode(entry), 0).map_err(failed)?;
                self.give_name(&dir, &name, entry)
            }
            // No user namespace may make them. Among other files they are left out; asked for alone, one is missed.
            Kind::Character | Kind::Block if self.directories.is_empty() && self.landing.name.is_some() => {
                let why = "a device cannot be copied: only root of the host can make one";
                Err(Failure::new(FailureKind::Invalid, why))
            }
            Kind::Character | Kind::Block => Ok(()),
        }
    }

    /// The directory with this path below the landing; what is missing is made.
    fn directory(&mut self, path: &[OsString]) -> io::Result<OwnedFd> {
        if let Some((known, fd)) = &self.last
            && known == path
        {
            return fd.try_clone();
        }
        let mut at = match (&self.top, &self.landing.name) {
            (Some(top), _) => top.try_clone()?,
            (None, None) => self.landing.dir.try_clone()?,
            (None, Some(name)) => step(&self.landing.dir, name)?,
        };
        for name in path {
            at = match (step(&at, name), self.within) {
                (Err(err), Some((root, landing))) if err.raw_os_error() == Some(libc::ENOTDIR) => {
                    at = follow(root, landing, path)?;
                    break;
                }
                (stepped, _) => stepped?,
            };
        }
        self.last = Some((path.to_vec(), at.try_clone()?));
        Ok(at)
    }

    fn make_directory(
        &mut self,
        dir: &OwnedFd,
        name: &OsStr,
        entry: &Entry,
        path: Vec<OsString>,
    ) -> Result<()> {
        let failed = |err: io::Error| Failure::errno(format!("make {}", rootfs::shown(&entry.path)), err);
        self.clear(dir, name, true).map_err(failed)?;
        let made = step(dir, name).map_err(failed)?;
        self.give(made.as_fd(), entry)?;
        if path.is_empty() {
            self.top = Some(made);
        }
        self.directories.push((path, self.mode(entry), entry.mtime));
        Ok(())
    }

    fn regular<R: io::BufRead>(
        &mut self,
        dir: &OwnedFd,
        name: &OsStr,
        entry: &Entry,
        archive: &mut Archive<R>,
    ) -> Result<()> {
        let failed = failed_to_write(entry, Some(name));
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match self.clear(dir, name, false) {
            Ok(()) => rustix::fs::openat(
                dir,
                name,
                flags | OFlags::CREATE | OFlags::EXCL,
                Mode::from_raw_mode(0o600),
            ),
            // A mount point, like /etc/hosts, is written in place.
            Err(err) if err.raw_os_error() == Some(libc::EBUSY) => {
                let flags = flags | OFlags::TRUNC | OFlags::NONBLOCK | OFlags::NOCTTY;
                rustix::fs::openat(dir, name, flags, Mode::empty())
            }
            Err(err) => return Err(failed(err)),
        };
        let file = file.map_err(|errno| failed(errno.into()))?;
        let kind = fs::kind(&fs::stat(&file).map_err(failed)?);
        if kind != FileType::RegularFile {
            return Err(failed(Errno::EXIST.into()));
        }
        let mut file = File::from(file);
        write_data(&mut file, entry, archive, &failed)?;
        self.give(file.as_fd(), entry)?;
        fs::chmod(&file, self.mode(entry)).map_err(failed)?;
        for (name, value) in &entry.xattrs {
            // Not every file system takes every attribute.
            fs::set_xattr(&file, name.as_slice(), value).ok();
        }
        fs::set_mtime(&file, entry.mtime).map_err(failed)
    }

    /// Makes room for an entry. A directory stays where a directory comes.
    fn clear(&self, dir: &OwnedFd, name: &OsStr, for_directory: bool) -> io::Result<()> {
        let stat = match fs::stat_at(dir, name) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        let is_directory = fs::kind(&stat) == FileType::Directory;
        match (is_directory, for_directory) {
            (true, true) => Ok(()),
            (true, false) if !self.overwrite => Err(Errno::ISDIR.into()),
            (false, true) if !self.overwrite => Err(Errno::NOTDIR.into()),
            (true, false) => match fs::tree::remove(dir, name)? {
                fs::tree::Removed::All => Ok(()),
                fs::tree::Removed::Partly => Err(Errno::ACCESS.into()),
            },
            (false, _) => fs::unlink(dir, name),
        }
    }

    /// The owner of an entry; `None` leaves it.
    fn owner(&self, entry: &Entry) -> Result<Option<(u32, u32)>> {
        let (uid, gid) = match &self.owner {
            Owning::Caller => return Ok(None),
            Owning::Is { uid, gid } => return Ok(Some((*uid, *gid))),
            Owning::Archive(maps) => {
                let outside = |id: u64, map: Option<&IdMap>| {
                    let id = u32::try_from(id).ok()?;
                    map.map_or(Some(id), |map| map.to_outside(id))
                };
                let maps = maps.as_ref();
                (outside(entry.uid, maps.map(|m| &m.0)), outside(entry.gid, maps.map(|m| &m.1)))
            }
        };
        match (uid, gid) {
            (Some(uid), Some(gid)) => Ok(Some((uid, gid))),
            _ => Err(Failure::new(
                FailureKind::Invalid,
                format!(
                    "{} belongs to {}:{}, which is not mapped",
                    rootfs::shown(&entry.path),
                    entry.uid,
                    entry.gid
                ),
            )),
        }
    }

    fn give(&self, file: impl AsFd, entry: &Entry) -> Result<()> {
        let Some((uid, gid)) = self.owner(entry)? else { return Ok(()) };
        let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
        rustix::fs::chownat(file, "", Some(uid), Some(gid), rustix::fs::AtFlags::EMPTY_PATH).map_err(
            |errno| Failure::errno(format!("change the owner of {}", rootfs::shown(&entry.path)), errno),
        )
    }

    fn give_name(&self, dir: &OwnedFd, name: &OsStr, entry: &Entry) -> Result<()> {
        if let Some((uid, gid)) = self.owner(entry)? {
            fs::chown_at(dir, name, uid, gid).map_err(|err| {
                Failure::errno(format!("change the owner of {}", rootfs::shown(&entry.path)), err)
            })?;
        }
        fs::set_mtime_at(dir, name, entry.mtime)
            .map_err(|err| Failure::errno(format!("set the time of {}", rootfs::shown(&entry.path)), err))
    }

    fn mode(&self, entry: &Entry) -> u32 {
        let mask = if matches!(self.owner, Owning::Caller) { 0o1777 } else { 0o7777 };
        entry.mode & mask
    }

    /// The directory that an entry has made; none if links are followed and one has taken its place since: what that
    /// leads to is not the archive's.
    fn made(&mut self, path: &[OsString]) -> io::Result<Option<OwnedFd>> {
        let (Some(_), Some((name, parents))) = (self.within, path.split_last()) else {
            return self.directory(path).map(Some);
        };
        let parent = self.directory(parents)?;
        match rustix::fs::openat(&parent, name, O_DIR, Mode::empty()) {
            Err(Errno::NOTDIR | Errno::NOENT) => Ok(None),
            opened => Ok(Some(opened?)),
        }
    }

    /// Sets what could not be set before the directories were full.
    fn finish(mut self) -> Result<()> {
        for (path, mode, mtime) in std::mem::take(&mut self.directories).into_iter().rev() {
            let failed = |err| Failure::errno("set the mode of a directory", err);
            let Some(dir) = self.made(&path).map_err(failed)? else { continue };
            let dir = rustix::fs::openat(&dir, ".", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|errno| failed(errno.into()))?;
            fs::chmod(&dir, mode).map_err(failed)?;
            fs::set_mtime(&dir, mtime).map_err(failed)?;
            self.last = None;
        }
        Ok(())
    }
}

/// Copies an entry's data to their places.
fn write_data<R: io::BufRead>(
    file: &mut File,
    entry: &Entry,
    archive: &mut Archive<R>,
    failed: &impl Fn(io::Error) -> Failure,
) -> Result<()> {
    let whole = [(0, entry.size)];
    let broken = |err: crate::store::unpack::Failure| {
        Failure::new(FailureKind::Invalid, format!("the archive is broken: {err}"))
    };
    for (offset, length) in entry.pieces.as_deref().unwrap_or(&whole) {
        io::Seek::seek(file, io::SeekFrom::Start(*offset)).map_err(failed)?;
        let mut left = *length;
        while left > 0 {
            let piece = archive.data().map_err(broken)?;
            let take = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if take == 0 {
                return Err(Failure::new(
                    FailureKind::Invalid,
                    "the archive is broken: an entry is too short",
                ));
            }
            file.write_all(&piece[..take]).map_err(failed)?;
            archive.consume(take);
            left -= take as u64;
        }
    }
    file.set_len(entry.size).map_err(failed)
}

/// Opens directory `name`, which is made if it is missing. A link is no directory.
fn step(dir: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    match rustix::fs::openat(dir, name, O_DIR, Mode::empty()) {
        Err(Errno::NOENT) => {
            fs::mkdir(dir, name, 0o755)?;
            Ok(rustix::fs::openat(dir, name, O_DIR, Mode::empty())?)
        }
        other => Ok(other?),
    }
}

/// The directory that `path` below `landing` leads to within `root`; what is missing is made.
fn follow(root: &RootDir, landing: &[u8], path: &[OsString]) -> io::Result<OwnedFd> {
    let mut whole = landing.to_vec();
    for name in path {
        whole.push(b'/');
        whole.extend_from_slice(name.as_bytes());
    }
    root.target(&whole, Shape::Directory, false)
}

/// What went wrong with an entry. The archive's root has the name under which it lands.
fn failed_to_write<'a>(
    entry: &'a Entry,
    name: Option<&'a OsStr>,
) -> impl Fn(io::Error) -> Failure + Copy + use<'a> {
    move |err| {
        let path = match (clean(&entry.path), name) {
            (Ok(path), Some(name)) if path.is_empty() => name.to_string_lossy().into_owned(),
            _ => rootfs::shown(&entry.path),
        };
        Failure::errno(format!("write {path}"), err)
    }
}

/// The components of an entry's name; none for `.` and `/`.
fn clean(path: &[u8]) -> Result<Vec<OsString>> {
    let parts = path.split(|&b| b == b'/').filter(|part| !part.is_empty() && *part != b".");
    parts
        .map(|part| match part {
            b".." => Err(Failure::new(
                FailureKind::Invalid,
                format!("the archive's entry {} leads out of it", rootfs::shown(path)),
            )),
            part => Ok(OsString::from_vec(part.to_vec())),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside() {
        for (path, want) in [("./a//b/", Some("a b")), ("/a", Some("a")), (".", Some("")), ("a/../b", None)] {
            let got = clean(path.as_bytes()).ok().map(|parts| {
                parts
                    .iter()
                    .map(|part| String::from_utf8_lossy(part.as_bytes()).into_owned())
                    .collect::<Vec<_>>()
                    .join(" ")
            });
            assert_eq!(got.as_deref(), want, "{path}");
        }
    }
}
