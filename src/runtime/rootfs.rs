//! Paths below a container's root, while the root is hostile.
//!
//! A volume may be shared with a running container that swaps directories for links as fast as it
//! can, so a path is never looked up twice: [`RootDir::target`] walks it component by component on
//! descriptors, follows links by itself without ever leaving the root, creates what is missing,
//! and answers with a descriptor that the mount is then attached to (security.md C3).

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// How many symbolic links one path may go through, as in path_resolution(7).
const MAX_LINKS: u32 = 40;

/// Largest passwd or group file that is read.
const MAX_SMALL_FILE: u64 = 1 << 20;

/// What a target should be if it has to be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Directory,
    File,
}

/// Where programs look for what is mounted, below the root, and the link that leads them to it.
pub(crate) const MOUNT_TABLE: (&str, &str) = ("etc/mtab", "/proc/mounts");

/// The root directory of a container.
#[derive(Debug)]
pub(crate) struct RootDir(OwnedFd);

const O_WALK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl RootDir {
    /// Takes a descriptor of the root.
    pub(crate) fn new(root: OwnedFd) -> Self {
        Self(root)
    }

    /// The root directory of a mount, attached or not. What fsmount(2) and open_tree(2) give must be opened once more to
    /// be walked from.
    ///
    /// # Errors
    ///
    /// ENOTDIR for the mount of a file.
    pub(crate) fn of_mount(mount: impl AsFd) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::openat(mount, ".", flags, Mode::empty())?))
    }

    /// The descriptor.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Opens an existing `path` with the root as `/`.
    ///
    /// # Errors
    ///
    /// ENOENT and the like; EXDEV or ELOOP for links out of the root or through /proc.
    pub(crate) fn open(&self, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        loop {
            // EAGAIN: something was renamed meanwhile and the kernel cannot tell where we are.
            match rustix::fs::openat2(&self.0, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
    }

    /// The content of a small regular file, or `None` if there is none of that kind.
    ///
    /// A FIFO, a device, a directory or a giant in its place is as good as no file (SEC-17).
    pub(crate) fn read_small(&self, path: &[u8]) -> Option<Vec<u8>> {
        use std::io::Read;
        let file = self.open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY).ok()?;
        let stat = rustix::fs::fstat(&file).ok()?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return None;
        }
        let mut content = Vec::new();
        std::fs::File::from(file).take(MAX_SMALL_FILE + 1).read_to_end(&mut content).ok()?;
        (content.len() as u64 <= MAX_SMALL_FILE).then_some(content)
    }

    /// A descriptor (O_PATH) of `path`, which is created as `shape` if it is missing, together with
    /// the directories above it.
    ///
    /// # Errors
    ///
    /// ELOOP for a link where `no_symlinks` forbids one, or for too many; ENOTDIR for a file in the
    /// middle.
    pub(crate) fn target(&self, path: &[u8], shape: Shape, no_symlinks: bool) -> io::Result<OwnedFd> {
        self.walk(path, Some(shape), no_symlinks)
    }

    /// Walks to `path`; creates what is missing if `create` says as what.
    fn walk(&self, path: &[u8], create: Option<Shape>, no_symlinks: bool) -> io::Result<OwnedFd> {
        let mut ahead: VecDeque<OsString> = components(path).collect();
        let mut above: Vec<OwnedFd> = Vec::new();
        let mut links = 0;
        while let Some(name) = ahead.pop_front() {
            if name == ".." {
                above.pop();
                continue;
            }
            let here = above.last().unwrap_or(&self.0);
            let found = match rustix::fs::openat(here, &name, O_WALK, Mode::empty()) {
                Err(Errno::NOENT) => {
                    let shape = create.ok_or(Errno::NOENT)?;
                    let shape = if ahead.is_empty() { shape } else { Shape::Directory };
                    create_at(here, &name, shape)?;
                    rustix::fs::openat(here, &name, O_WALK, Mode::empty())?
                }
                other => other?,
            };
            let kind = FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode);
            if kind != FileType::Symlink {
                above.push(found);
                continue;
            }
            links += 1;
            if no_symlinks || links > MAX_LINKS {
                return Err(Errno::LOOP.into());
            }
            let link = rustix::fs::readlinkat(&found, c"", Vec::new())?.into_bytes();
            if link.first() == Some(&b'/') {
                above.clear();
            }
            for component in components(&link).rev() {
                ahead.push_front(component);
            }
        }
        match above.pop() {
            Some(fd) => Ok(fd),
            None => Ok(self.0.try_clone()?),
        }
    }
}

/// The components of a path that mean something; `..` stays.
fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = OsString> + '_ {
    path.split(|&b| b == b'/').filter(|c| !c.is_empty() && *c != b".").map(|c| OsString::from_vec(c.to_vec()))
}

fn create_at(dir: &OwnedFd, name: &OsStr, shape: Shape) -> io::Result<()> {
    let made = match shape {
        Shape::Directory => rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o755)),
        Shape::File => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o644)).map(drop)
        }
    };
    match made {
        Err(Errno::EXIST) => Ok(()),
        other => Ok(other?),
    }
}

/// The shape a mount of `source` needs its target to have.
pub(crate) fn shape_of(source: BorrowedFd<'_>) -> io::Result<Shape> {
    let kind = FileType::from_raw_mode(rustix::fs::fstat(source)?.st_mode);
    Ok(if kind == FileType::Directory { Shape::Directory } else { Shape::File })
}

/// Device and inode: tells whether two descriptors mean one file.
#[cfg(test)]
fn identity(fd: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::statat(fd, c"", rustix::fs::AtFlags::EMPTY_PATH)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// A path made of the bytes of `text`, for messages.
pub(crate) fn shown(text: &[u8]) -> String {
    OsStr::from_bytes(text).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn root() -> (tempfile::TempDir, RootDir) {
        let dir = tempfile::tempdir().unwrap();
        let fd = rustix::fs::open(dir.path(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        (dir, RootDir::new(fd))
    }

    #[test]
    fn links_never_leave_the_root() {
        let (dir, root) = root();
        std::fs::create_dir_all(dir.path().join("real/deep")).unwrap();
        for (name, link) in [
            ("abs", "/real"),
            ("rel", "real/deep"),
            ("up", "../../../../real"),
            ("dangling", "/var/run/x"),
            ("proc", "/proc/self/root"),
        ] {
            symlink(link, dir.path().join(name)).unwrap();
        }
        for (path, lands) in [
            ("/abs/deep", "real/deep"),
            ("/rel", "real/deep"),
            ("/up/deep", "real/deep"),
            ("/../../real", "real"),
            ("/dangling/made", "var/run/x/made"),
            ("/proc/etc", "proc/self/root/etc"),
        ] {
            if path == "/proc/etc" {
                std::fs::remove_file(dir.path().join("proc")).unwrap();
                symlink("/proc2/self/root", dir.path().join("proc")).unwrap();
            }
            let lands = lands.replace("proc/self", "proc2/self");
            let fd = root.target(path.as_bytes(), Shape::Directory, false).unwrap();
            let want = rustix::fs::stat(dir.path().join(lands)).unwrap();
            assert_eq!(identity(fd.as_fd()).unwrap(), (want.st_dev, want.st_ino), "{path}");
        }
    }

    #[test]
    fn loops_and_forbidden_links_are_refused() {
        let (dir, root) = root();
        symlink("loop", dir.path().join("loop")).unwrap();
        symlink("/", dir.path().join("dev")).unwrap();
        let errno = |path: &str, strict| {
            root.target(path.as_bytes(), Shape::Directory, strict).map(drop).unwrap_err().raw_os_error()
        };
        assert_eq!(errno("/loop", false), Some(libc::ELOOP));
        assert_eq!(errno("/dev/pts", true), Some(libc::ELOOP));
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert_eq!(errno("/file/below", false), Some(libc::ENOTDIR));
    }

    #[test]
    fn only_regular_files_of_sane_size_are_read() {
        let (dir, root) = root();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        assert_eq!(root.read_small(b"/etc"), None);
        rustix::fs::mknodat(
            rustix::fs::CWD,
            dir.path().join("etc/passwd"),
            FileType::Fifo,
            Mode::from_raw_mode(0o644),
            0,
        )
        .unwrap();
        assert_eq!(root.read_small(b"/etc/passwd"), None);
        std::fs::write(dir.path().join("etc/group"), "a:x:1:\n").unwrap();
        symlink("/etc/group", dir.path().join("g")).unwrap();
        assert_eq!(root.read_small(b"/g").as_deref(), Some(&b"a:x:1:\n"[..]));
        std::fs::File::create(dir.path().join("big")).unwrap().set_len(2 << 20).unwrap();
        assert_eq!(root.read_small(b"/big"), None);
    }
}
