//! The directories of a layer while its entries are written.
//!
//! Entries of one directory come together, so the directories used last stay open ([`OPEN_MAX`]).
//! Writing into a directory changes its modification time, and its final mode may forbid writing; so
//! what it is to be in the end is kept beside the descriptor and set when it is closed. A directory
//! that is opened a second time gets back the time it had. Memory does not grow with the archive.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use crate::store::unpack::extract::{Trouble, doing};
use crate::store::unpack::settle::{IMPLICIT_TIME, Implicit};
use crate::store::unpack::xattrs::set_xattr;
use crate::sys::fs::{self, FileType, OFlags, Timespec, Within};

/// Directories kept open.
const OPEN_MAX: usize = 32;

/// Longest path that is given to the kernel at once; PATH_MAX is 4096.
const PATH_MAX: usize = 4000;

/// The attribute with the access control list of what is made in a directory.
const DEFAULT_ACL: &str = "system.posix_acl_default";

/// Bytes of paths that [`Dirs::implicit`] may hold.
const IMPLICIT_MAX: usize = 8 << 20;

/// What a directory is to be when it is closed.
#[derive(Clone, Debug)]
pub(super) struct DirMeta {
    pub(super) owner: Option<(u32, u32)>,
    pub(super) mode: u32,
    pub(super) mtime: Timespec,
    /// Names and values as they are to be set.
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Debug)]
enum OnClose {
    /// It was there before: its time must be as it was, and its mode and default access control list if those were
    /// changed.
    Restore(Timespec, Option<u32>, Option<Vec<u8>>),
    Set(DirMeta),
}

#[derive(Debug)]
struct OpenDir {
    /// Device and inode: a directory that several paths lead to is open once.
    id: (u64, u64),
    paths: Vec<Vec<u8>>,
    fd: Rc<OwnedFd>,
    on_close: OnClose,
    used: u64,
}

/// The open directories.
#[derive(Debug)]
pub(super) struct Dirs {
    root: OwnedFd,
    open: Vec<OpenDir>,
    clock: u64,
    /// Directories that had to be made without an entry of their own.
    pub(super) implicit: Vec<Implicit>,
    implicit_bytes: usize,
    pub(super) skipped_xattrs: u64,
    /// Some directory has got a default access control list.
    has_default_acl: bool,
}

type Result<T> = std::result::Result<T, Trouble>;

const DIR: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

impl Dirs {
    pub(super) fn new(root: OwnedFd) -> Self {
        let implicit = Vec::new();
        Self {
            root,
            open: Vec::new(),
            clock: 0,
            implicit,
            implicit_bytes: 0,
            skipped_xattrs: 0,
            has_default_acl: false,
        }
    }

    /// Notes that no entry has described the directory `path` and `levels - 1` above it yet.
    pub(super) fn note_implicit(&mut self, path: &[u8], levels: usize) -> Result<()> {
        self.implicit_bytes += path.len() + 40;
        if self.implicit_bytes > IMPLICIT_MAX {
            return Err(Trouble::Problem("too many directories without entries of their own".into()));
        }
        self.implicit.push(Implicit { path: path.to_vec(), levels });
        Ok(())
    }

    /// Opens the directory `path`, making what is missing of it.
    ///
    /// Symbolic links on the way are followed as if the layer were the root file system.
    pub(super) fn get(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>> {
        match self.cached(path) {
            Some(fd) => Ok(fd),
            None => match self.open_quickly(path) {
                Some(fd) => self.register(path, fd),
                None => self.descend(path, true),
            },
        }
    }

    /// Opens the directory `path` if it is there.
    pub(super) fn get_existing(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>> {
        match self.cached(path) {
            Some(fd) => Ok(fd),
            None => match self.open_quickly(path) {
                Some(fd) => self.register(path, fd),
                None => self.descend(path, false),
            },
        }
    }

    /// Says what the directory `path`, which exists, is to be in the end.
    pub(super) fn set(&mut self, path: &[u8], meta: DirMeta) -> Result<()> {
        let fd = self.get(path)?;
        self.set_open(&fd, meta);
        Ok(())
    }

    fn set_open(&mut self, fd: &Rc<OwnedFd>, meta: DirMeta) {
        if let Some(open) = self.open.iter_mut().find(|open| Rc::ptr_eq(&open.fd, fd)) {
            open.on_close = OnClose::Set(meta);
        }
    }

    /// Closes all directories, with what is to be set on them.
    pub(super) fn flush(&mut self) -> Result<()> {
        for open in std::mem::take(&mut self.open) {
            self.close(&open)?;
        }
        Ok(())
    }

    pub(super) fn into_root(self) -> OwnedFd {
        self.root
    }

    fn cached(&mut self, path: &[u8]) -> Option<Rc<OwnedFd>> {
        self.clock += 1;
        let clock = self.clock;
        let open = self.open.iter_mut().rev().find(|open| open.paths.iter().any(|known| known == path))?;
        open.used = clock;
        Some(open.fd.clone())
    }

    /// The open directory nearest above `path`, and what of `path` is below it.
    fn nearest<'p>(&self, path: &'p [u8]) -> (Option<Rc<OwnedFd>>, &'p [u8]) {
        let below = |known: &[u8]| match path.strip_prefix(known) {
            Some(rest) if known.is_empty() => Some(rest),
            Some([b'/', rest @ ..]) => Some(rest),
            _ => None,
        };
        let all = self.open.iter().flat_map(|open| open.paths.iter().map(move |known| (open, known)));
        let best =
            all.filter_map(|(open, known)| Some((open, below(known)?))).min_by_key(|(_, rest)| rest.len());
        match best {
            Some((open, rest)) => (Some(open.fd.clone()), rest),
            None => (None, path),
        }
    }

    /// One system call for the usual case: everything is there and the way is short.
    fn open_quickly(&self, path: &[u8]) -> Option<OwnedFd> {
        if path.is_empty() {
            return fs::open_dir(&self.root, ".").ok();
        }
        let (from, rest) = self.nearest(path);
        let below = from.filter(|_| rest.len() < PATH_MAX);
        let below = below.and_then(|from| fs::open_within(&*from, rest, Within::Beneath, DIR, 0).ok());
        below.or_else(|| {
            (path.len() < PATH_MAX).then(|| fs::open_within(&self.root, path, Within::Root, DIR, 0).ok())?
        })
    }

    /// Goes down component by component.
    fn descend(&mut self, path: &[u8], make: bool) -> Result<Rc<OwnedFd>> {
        let (from, rest) = self.nearest(path);
        let mut at = match from {
            Some(from) => from,
            None => {
                let root = fs::open_dir(&self.root, ".").map_err(doing("open"))?;
                self.register(b"", root)?
            }
        };
        let mut made = 0;
        let mut length = path.len() - rest.len();
        for name in rest.split(|&b| b == b'/') {
            length += name.len() + usize::from(length > 0 && path.get(length) == Some(&b'/'));
            let prefix = &path[..length];
            let (opened, is_new) = self.step(&at, name, prefix, make)?;
            at = self.register(prefix, opened)?;
            if is_new {
                made += 1;
                self.set_open(
                    &at,
                    DirMeta { owner: None, mode: 0o755, mtime: IMPLICIT_TIME, xattrs: vec![] },
                );
            }
        }
        if made > 0 {
            self.note_implicit(path, made)?;
        }
        Ok(at)
    }

    /// Opens the directory `name` in `at`, whose whole path is `prefix`; true if it had to be made.
    fn step(&self, at: &OwnedFd, name: &[u8], prefix: &[u8], make: bool) -> Result<(OwnedFd, bool)> {
        match fs::open_within(at, name, Within::Beneath, DIR, 0) {
            Ok(opened) => Ok((opened, false)),
            Err(err) if is(&err, libc::ENOENT) && make => Ok((make_implicit(at, name)?, true)),
            Err(err) if is(&err, libc::ENOTDIR) && make && is_whiteout(at, name) => {
                fs::unlink(at, name).map_err(doing("remove a whiteout"))?;
                let opened = make_implicit(at, name)?;
                set_opaque(&opened)?;
                Ok((opened, true))
            }
            Err(err) if is(&err, libc::ELOOP) => Ok((self.through_link(prefix)?, false)),
            Err(err) => Err(parent_problem(prefix, &err)),
        }
    }

    /// Opens `prefix`, whose last component is a symbolic link.
    fn through_link(&self, prefix: &[u8]) -> Result<OwnedFd> {
        if prefix.len() >= PATH_MAX {
            return Err(Trouble::Problem("its path is too long to go through a symbolic link".into()));
        }
        fs::open_within(&self.root, prefix, Within::Root, DIR, 0).map_err(|err| match err.raw_os_error() {
            Some(libc::ENOENT) => Trouble::Problem(format!(
                "its parent {:?} is a symbolic link to nowhere in this layer",
                shown(prefix)
            )),
            _ => parent_problem(prefix, &err),
        })
    }

    /// Takes an open directory in, and closes the one that was not used for longest if there are too many.
    fn register(&mut self, path: &[u8], fd: OwnedFd) -> Result<Rc<OwnedFd>> {
        self.clock += 1;
        let stat = fs::stat(&fd).map_err(doing("inspect its parent"))?;
        let id = (stat.st_dev, stat.st_ino);
        if let Some(known) = self.open.iter_mut().find(|open| open.id == id) {
            known.used = self.clock;
            if known.paths.len() >= 4 {
                known.paths.remove(0);
            }
            known.paths.push(path.to_vec());
            return Ok(known.fd.clone());
        }
        if self.open.len() >= OPEN_MAX {
            let oldest = (0..self.open.len()).min_by_key(|&i| self.open[i].used).unwrap_or(0);
            let oldest = self.open.swap_remove(oldest);
            self.close(&oldest)?;
        }
        let time =
            Timespec { tv_sec: stat.st_mtime, tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap_or(0) };
        // Files made in a set-group-ID directory would get its group.
        let hands_down = stat.st_mode & 0o2000 != 0;
        if hands_down {
            fs::chmod(&fd, stat.st_mode & 0o5777).map_err(doing("set the mode"))?;
        }
        // And in one with a default access control list that.
        let acl = if self.has_default_acl { take_default_acl(&fd)? } else { None };
        let fd = Rc::new(fd);
        let on_close = OnClose::Restore(time, hands_down.then_some(stat.st_mode), acl);
        let paths = vec![path.to_vec()];
        self.open.push(OpenDir { id, paths, fd: fd.clone(), on_close, used: self.clock });
        Ok(fd)
    }

    fn close(&mut self, open: &OpenDir) -> Result<()> {
        let fd = &*open.fd;
        match &open.on_close {
            OnClose::Restore(time, mode, acl) => {
                if let Some(mode) = mode {
                    fs::chmod(fd, *mode).map_err(doing("set the mode"))?;
                }
                if let Some(acl) = acl {
                    fs::set_xattr(fd, DEFAULT_ACL, acl).map_err(doing("set the access control list"))?;
                }
                fs::set_mtime(fd, *time).map_err(doing("set the time"))
            }
            OnClose::Set(meta) => {
                if let Some((uid, gid)) = meta.owner {
                    fs::chown(fd, uid, gid).map_err(doing("set the owner"))?;
                }
                fs::chmod(fd, meta.mode).map_err(doing("set the mode"))?;
                for (name, value) in &meta.xattrs {
                    self.has_default_acl |= name == DEFAULT_ACL.as_bytes();
                    self.skipped_xattrs += u64::from(!set_xattr(fd, name, value)?);
                }
                fs::set_mtime(fd, meta.mtime).map_err(doing("set the time"))
            }
        }
    }
}

/// Takes the default access control list away that files made in the directory would get a part of.
fn take_default_acl(dir: &OwnedFd) -> Result<Option<Vec<u8>>> {
    let acl = fs::xattr(dir, DEFAULT_ACL).map_err(doing("read the access control list"))?;
    if acl.is_some() {
        fs::remove_xattr(dir, DEFAULT_ACL).map_err(doing("set the access control list"))?;
    }
    Ok(acl)
}

fn make_implicit(parent: &OwnedFd, name: &[u8]) -> Result<OwnedFd> {
    fs::mkdir(parent, name, 0o755).map_err(doing("create its parent"))?;
    fs::open_dir(parent, name).map_err(doing("open its parent"))
}

/// True if `name` is overlay's mark for "not there".
pub(super) fn is_whiteout(parent: &OwnedFd, name: &[u8]) -> bool {
    fs::stat_at(parent, name)
        .is_ok_and(|stat| fs::kind(&stat) == FileType::CharacterDevice && stat.st_rdev == 0)
}

/// Hides what the layers below have in directory `dir`.
pub(super) fn set_opaque(dir: &OwnedFd) -> Result<()> {
    fs::set_xattr(dir, "user.overlay.opaque", b"y").map_err(doing("mark as opaque"))
}

fn is(err: &io::Error, errno: i32) -> bool {
    err.raw_os_error() == Some(errno)
}

fn parent_problem(prefix: &[u8], err: &io::Error) -> Trouble {
    if is(err, libc::ENOTDIR) {
        Trouble::Problem(format!("its parent {:?} is not a directory", shown(prefix)))
    } else if is(err, libc::ENOSPC) || is(err, libc::EDQUOT) {
        Trouble::Full
    } else {
        Trouble::Problem(format!("open its parent {:?}: {err}", shown(prefix)))
    }
}

/// As much of a path as a message should hold.
pub(super) fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(&path[..path.len().min(200)]).into_owned()
}
