//! Carrying out a COPY: Docker's rules of where things land.
//!
//! | source | target | lands as |
//! |---|---|---|
//! | directory | any | its content in the target, which is made |
//! | file | ends in `/`, is a directory, or there are several sources | an entry of the target |
//! | file | else | the target, which is replaced |
//! | archive, with `unpack` | any | its content in the target |
//!
//! A link in the place where the target should be is followed within the root; one in the place of an
//! entry is replaced, but never by a directory.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use rustix::fs::{Mode, OFlags};

use crate::base::dockerfile::mode;
use crate::base::order::InOrder as _;
use crate::runtime::assemble::select::{self, MAX_DEPTH, Sieve, Top};
use crate::runtime::assemble::{CopyTask, Result, digest, identity};
use crate::runtime::copy;
use crate::runtime::failure::{Failure, FailureKind};
use crate::runtime::rootfs::{RootDir, shown};
use crate::runtime::sparse;
use crate::store::unpack::decoder;
use crate::sys::fs::{self, FileType, Stat};

const O_DIR: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const O_ENTRY: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// One COPY under way.
struct Copier<'a> {
    task: &'a CopyTask,
    sieve: Sieve,
    mode: Option<mode::Mode>,
    /// Whom everything belongs to, unless owners are kept.
    owner: Option<(u32, u32)>,
    single: bool,
    /// Files with several names: where the first one went.
    linked: HashMap<(u64, u64), (OwnedFd, OsString)>,
    buffer: Vec<u8>,
}

/// What is to be copied: something that was chosen, or lies below it.
struct Entry<'a> {
    fd: &'a OwnedFd,
    stat: &'a Stat,
    /// In the source, and below what was chosen: the two that decide what is left out.
    path: &'a [u8],
    inside: &'a [u8],
    /// The number of directories between it and what was chosen.
    depth: usize,
}

impl<'a> Entry<'a> {
    fn of(top: &'a Top) -> Self {
        Self { fd: &top.fd, stat: &top.stat, path: &top.path, inside: b"", depth: 0 }
    }

    /// The two paths of what is called `name` in this directory.
    fn paths_of(&self, name: &OsStr) -> (Vec<u8>, Vec<u8>) {
        let join = |to: &[u8]| match to {
            b"" => name.as_bytes().to_vec(),
            to => [to, b"/", name.as_bytes()].concat(),
        };
        (join(self.path), join(self.inside))
    }
}

/// Copies what `task` chooses from `source` into `target`.
pub(super) fn copy(source: &RootDir, target: &RootDir, task: &CopyTask, single: bool) -> Result<()> {
    let sieve = Sieve::new(&task.choice)?;
    let tops = select::select(source, &task.choice, &sieve)?;
    let owner = match &task.owner {
        Some(owner) => Some(identity(target, owner)?),
        None if task.keep_owner => None,
        None => Some((0, 0)),
    };
    let mode = match &task.mode {
        None => None,
        Some(text) => Some(mode::Mode::parse(text).ok_or_else(|| {
            Failure::new(
                FailureKind::Invalid,
                format!("invalid chmod parameter {text:?}: write 755 or u=rwX,go=rX"),
            )
        })?),
    };
    let mut copier =
        Copier { task, sieve, mode, owner, single, linked: HashMap::new(), buffer: vec![0; 256 << 10] };
    let several = task.several || tops.len() > 1;
    for top in tops {
        copier.top(target, &top, several)?;
    }
    Ok(())
}

fn failed(path: &[u8]) -> impl Fn(io::Error) -> Failure + '_ {
    move |err| Failure::errno(format!("copy {:?}", shown(path)), err)
}

impl Copier<'_> {
    fn top(&mut self, target: &RootDir, top: &Top, several: bool) -> Result<()> {
        let path = self.task.target.as_bytes();
        let wants_directory =
            path.ends_with(b"/") || path.ends_with(b"/.") || several || self.task.choice.parents;
        let kind = fs::kind(&top.stat);
        if self.task.choice.parents {
            let kept = &top.path[top.pivot..];
            let mut at = self.directory(target, path)?;
            let parents = kept.rsplitn(2, |&b| b == b'/').nth(1).unwrap_or_default();
            for part in parents.split(|&b| b == b'/').filter(|part| !part.is_empty()) {
                at = self.step(&at, OsStr::from_bytes(part), &top.path)?;
            }
            if kept.is_empty() {
                return self.content(&Entry::of(top), &at);
            }
            return self.entry(&Entry::of(top), &at, &select::base_name(kept));
        }
        if kind == FileType::Directory {
            // What is copied is the content: the directory it goes to is like any that is missing.
            let at = self.directory(target, path)?;
            return self.content(&Entry::of(top), &at);
        }
        if self.task.unpack && kind == FileType::RegularFile && self.unpack(target, top)? {
            return Ok(());
        }
        let is_directory = target.open(path, OFlags::PATH | OFlags::DIRECTORY).is_ok();
        let (dir, name) = if wants_directory || is_directory {
            (self.directory(target, path)?, select::base_name(&top.path))
        } else {
            let trimmed = path.iter().rposition(|&b| b == b'/').unwrap_or(0);
            let name = OsString::from_vec(path[trimmed..].iter().copied().filter(|&b| b != b'/').collect());
            (self.directory(target, &path[..trimmed])?, name)
        };
        self.entry(&Entry::of(top), &dir, &name)
    }

    /// The directory `path` of the target; those that are missing are made.
    fn directory(&self, target: &RootDir, path: &[u8]) -> Result<OwnedFd> {
        let opened = target.open(if path.is_empty() { b"/" } else { path }, OFlags::PATH | OFlags::DIRECTORY);
        match opened {
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            Err(err) => {
                let what = format!("copy to {:?}", shown(path));
                return Err(Failure { kind: FailureKind::Invalid, ..Failure::errno(what, err) });
            }
            opened => return opened.map_err(failed(path)),
        }
        // The part that exists may go through links; what is made does not.
        let trimmed = path.iter().rposition(|&b| b != b'/').map_or(0, |last| last + 1);
        let slash = path[..trimmed].iter().rposition(|&b| b == b'/').unwrap_or(0);
        let (parent, name) =
            (&path[..slash], path[slash..trimmed].strip_prefix(b"/").unwrap_or(&path[slash..trimmed]));
        let parent = self.directory(target, parent)?;
        match name {
            b"." | b"" => return Ok(parent),
            b".." => return target.open(path, OFlags::PATH | OFlags::DIRECTORY).map_err(failed(path)),
            _ => {}
        }
        let name = OsStr::from_bytes(name);
        if let Ok(link) = fs::readlink(&parent, name) {
            // A link to what is not there yet.
            let made = target.target(path, crate::runtime::rootfs::Shape::Directory, false);
            return made
                .map_err(|err| Failure::errno(format!("make {:?}, a link to {link:?}", shown(path)), err));
        }
        self.step(&parent, name, path)
    }

    /// Directory `name` in `dir`, made as a parent if it is missing.
    fn step(&self, dir: &OwnedFd, name: &OsStr, path: &[u8]) -> Result<OwnedFd> {
        match rustix::fs::openat(dir, name, O_DIR, Mode::empty()) {
            Err(rustix::io::Errno::NOENT) => {
                fs::mkdir(dir, name, 0o755).map_err(failed(path))?;
                let made = rustix::fs::openat(dir, name, O_DIR, Mode::empty());
                let made = made.map_err(|errno| failed(path)(errno.into()))?;
                if let Some((uid, gid)) = self.owner {
                    self.give(made.as_fd(), uid, gid, path)?;
                }
                Ok(made)
            }
            other => other.map_err(|errno| failed(path)(errno.into())),
        }
    }

    /// Copies what is in a directory.
    fn content(&mut self, from: &Entry<'_>, to: &OwnedFd) -> Result<()> {
        if from.depth > MAX_DEPTH {
            return Err(Failure::new(
                FailureKind::Invalid,
                format!("{:?} is more than {MAX_DEPTH} directories deep", shown(from.path)),
            ));
        }
        let dir = select::open_directory(from.fd).map_err(failed(from.path))?;
        let mut names = fs::names(&dir, ".").map_err(failed(from.path))?;
        names.order();
        for name in names {
            let (path, inside) = from.paths_of(&name);
            // Removed meanwhile: it is not there to be copied.
            let Ok(child) = rustix::fs::openat(&dir, &name, O_ENTRY, Mode::empty()) else { continue };
            let stat = fs::stat(&child).map_err(failed(&path))?;
            let entry =
                Entry { fd: &child, stat: &stat, path: &path, inside: &inside, depth: from.depth + 1 };
            match self.sieve.passes(&path, &inside, fs::kind(&stat) == FileType::Directory) {
                Some(false) => {}
                Some(true) => self.entry(&entry, to, &name)?,
                // An ignored directory of which something may be wanted: made only if there is.
                None if self.has_wanted(&entry)? => self.entry(&entry, to, &name)?,
                None => {}
            }
        }
        Ok(())
    }

    /// Whether something in an ignored directory is wanted all the same.
    fn has_wanted(&self, ignored: &Entry<'_>) -> Result<bool> {
        if ignored.depth > MAX_DEPTH {
            return Ok(false);
        }
        let dir = select::open_directory(ignored.fd).map_err(failed(ignored.path))?;
        for name in fs::names(&dir, ".").map_err(failed(ignored.path))? {
            let (path, inside) = ignored.paths_of(&name);
            let Ok(child) = rustix::fs::openat(&dir, &name, O_ENTRY, Mode::empty()) else { continue };
            let Ok(stat) = fs::stat(&child) else { continue };
            let entry =
                Entry { fd: &child, stat: &stat, path: &path, inside: &inside, depth: ignored.depth + 1 };
            match self.sieve.passes(&path, &inside, fs::kind(&stat) == FileType::Directory) {
                Some(true) => return Ok(true),
                None if self.has_wanted(&entry)? => return Ok(true),
                _ => {}
            }
        }
        Ok(false)
    }

    /// Copies one entry to `name` in `dir`.
    fn entry(&mut self, entry: &Entry<'_>, dir: &OwnedFd, name: &OsStr) -> Result<()> {
        let Entry { fd, stat, path, inside, .. } = *entry;
        match fs::kind(stat) {
            FileType::Directory => {
                let is_new = self.make_directory(dir, name, path)?;
                let to = rustix::fs::openat(dir, name, O_DIR, Mode::empty())
                    .map_err(|errno| failed(path)(errno.into()))?;
                self.content(entry, &to)?;
                if is_new || self.mode.is_some() || self.task.owner.is_some() || inside != b"" {
                    self.attributes_of_directory(fd, to.as_fd(), stat, path)?;
                }
                Ok(())
            }
            FileType::RegularFile => self.regular(fd, stat, dir, name, path),
            FileType::Symlink => {
                let link =
                    rustix::fs::readlinkat(fd, "", Vec::new()).map_err(|errno| failed(path)(errno.into()))?;
                self.clear(dir, name, path)?;
                fs::symlink(link.as_bytes(), dir, name).map_err(failed(path))?;
                let (uid, gid) = self.owner_of(stat);
                if !self.single {
                    fs::chown_at(dir, name, uid, gid).map_err(failed(path))?;
                }
                fs::set_mtime_at(dir, name, mtime(stat)).map_err(failed(path))
            }
            FileType::Fifo => {
                self.clear(dir, name, path)?;
                fs::mknod(dir, name, FileType::Fifo, self.mode_of(stat), 0).map_err(failed(path))?;
                let (uid, gid) = self.owner_of(stat);
                if self.single { Ok(()) } else { fs::chown_at(dir, name, uid, gid).map_err(failed(path)) }
            }
            // Sockets mean nothing in an image; device nodes no user may make.
            _ => Ok(()),
        }
    }

    /// Makes a directory; false if one is there.
    fn make_directory(&self, dir: &OwnedFd, name: &OsStr, path: &[u8]) -> Result<bool> {
        match fs::mkdir(dir, name, 0o755) {
            Ok(()) => Ok(true),
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {
                let stat = fs::stat_at(dir, name).map_err(failed(path))?;
                if fs::kind(&stat) == FileType::Directory {
                    return Ok(false);
                }
                Err(Failure::new(
                    FailureKind::Invalid,
                    format!("cannot copy the directory {:?} to a non-directory", shown(path)),
                ))
            }
            Err(err) => Err(failed(path)(err)),
        }
    }

    /// Makes room for what is no directory.
    fn clear(&self, dir: &OwnedFd, name: &OsStr, path: &[u8]) -> Result<()> {
        match fs::unlink(dir, name) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(err) if matches!(err.raw_os_error(), Some(libc::EISDIR | libc::EPERM)) => Err(Failure::new(
                FailureKind::Invalid,
                format!("cannot copy {:?} to a directory of that name", shown(path)),
            )),
            other => other.map_err(failed(path)),
        }
    }

    fn regular(&mut self, fd: &OwnedFd, stat: &Stat, dir: &OwnedFd, name: &OsStr, path: &[u8]) -> Result<()> {
        let identity = (stat.st_dev, stat.st_ino);
        if stat.st_nlink > 1
            && let Some((first_dir, first_name)) = self.linked.get(&identity)
        {
            self.clear(dir, name, path)?;
            return fs::link(first_dir, first_name.as_os_str(), dir, name).map_err(failed(path));
        }
        let source = File::from(select::open_file(fd).map_err(failed(path))?);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let make = || rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o600));
        let file = match make() {
            Err(rustix::io::Errno::EXIST) => {
                self.clear(dir, name, path)?;
                make()
            }
            other => other,
        };
        let mut file = File::from(file.map_err(|errno| failed(path)(errno.into()))?);
        self.data(source, stat, &mut file).map_err(failed(path))?;
        let (uid, gid) = self.owner_of(stat);
        if (uid, gid) != (0, 0) {
            self.give(file.as_fd(), uid, gid, path)?;
        }
        fs::chmod(&file, self.mode_of(stat)).map_err(failed(path))?;
        for (name, value) in digest::attributes_of_path(fd) {
            // Not every file system takes every attribute.
            fs::set_xattr(&file, name.as_str(), &value).ok();
        }
        fs::set_mtime(&file, mtime(stat)).map_err(failed(path))?;
        if stat.st_nlink > 1 {
            let dir = dir.try_clone().map_err(failed(path))?;
            self.linked.insert(identity, (dir, name.to_owned()));
        }
        Ok(())
    }

    /// Copies content: shared blocks where the file system can, else through a buffer; holes stay holes.
    fn data(&mut self, mut from: File, stat: &Stat, to: &mut File) -> io::Result<()> {
        if rustix::fs::ioctl_ficlone(&*to, &from).is_ok() {
            return Ok(());
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        if let Some(pieces) = sparse::pieces(&from, stat, size)? {
            for (start, length) in pieces {
                from.seek(io::SeekFrom::Start(start))?;
                to.seek(io::SeekFrom::Start(start))?;
                io::copy(&mut (&from).take(length), to)?;
            }
            return to.set_len(size);
        }
        let mut length = 0_u64;
        let mut hole = false;
        loop {
            let got = match from.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(got) => got,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
                Err(err) => return Err(err),
            };
            let piece = &self.buffer[..got];
            hole = got == self.buffer.len() && piece.iter().all(|&b| b == 0);
            if hole {
                to.seek(io::SeekFrom::Current(got as i64))?;
            } else {
                to.write_all(piece)?;
            }
            length += got as u64;
        }
        if hole { to.set_len(length) } else { Ok(()) }
    }

    fn attributes_of_directory(
        &self,
        from: &OwnedFd,
        dir: BorrowedFd<'_>,
        stat: &Stat,
        path: &[u8],
    ) -> Result<()> {
        let (uid, gid) = self.owner_of(stat);
        self.give(dir, uid, gid, path)?;
        let attributes = digest::attributes_of_path(from);
        if !attributes.is_empty() {
            let opened = fs::open_dir(dir, c".").map_err(failed(path))?;
            for (name, value) in attributes {
                // Not every file system takes every attribute.
                fs::set_xattr(&opened, name.as_str(), &value).ok();
            }
        }
        let mode = match &self.mode {
            Some(mode) => mode.apply(stat.st_mode & 0o7777, true),
            None => stat.st_mode & 0o7777,
        };
        fs::chmod_at(dir, ".", mode).map_err(failed(path))?;
        fs::set_mtime_at(dir, ".", mtime(stat)).map_err(failed(path))
    }

    fn owner_of(&self, stat: &Stat) -> (u32, u32) {
        self.owner.unwrap_or((stat.st_uid, stat.st_gid))
    }

    fn mode_of(&self, stat: &Stat) -> u32 {
        let mode = stat.st_mode & 0o7777;
        self.mode.as_ref().map_or(mode, |wanted| wanted.apply(mode, false))
    }

    fn give(&self, fd: BorrowedFd<'_>, uid: u32, gid: u32, path: &[u8]) -> Result<()> {
        if self.single {
            return Ok(());
        }
        let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
        rustix::fs::chownat(fd, "", Some(uid), Some(gid), rustix::fs::AtFlags::EMPTY_PATH).map_err(|errno| {
            Failure::errno(
                format!("change the owner of {:?} to {}:{}", shown(path), uid.as_raw(), gid.as_raw()),
                errno,
            )
        })
    }

    /// Unpacks a source that is an archive into the target; false if it is none.
    fn unpack(&self, target: &RootDir, top: &Top) -> Result<bool> {
        let open = || select::open_file(&top.fd).map(File::from).map_err(failed(&top.path));
        if !copy::is_archive(open()?) {
            return Ok(false);
        }
        let dir = self.directory(target, self.task.target.as_bytes())?;
        let archive = decoder(open()?).map_err(failed(&top.path))?;
        // Whose the files are says the archive, even with --chown: so it is with Docker and podman.
        copy::unpack_within(archive, dir, (target, self.task.target.as_bytes()), self.single)?;
        Ok(true)
    }
}

fn mtime(stat: &Stat) -> fs::Timespec {
    fs::Timespec { tv_sec: stat.st_mtime, tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap_or(0) }
}
