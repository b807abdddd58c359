//! Files and directories by descriptor.
//!
//! A path is text that can change its meaning between two system calls; a descriptor cannot. So
//! everything here starts at a directory descriptor, and what lies in a tree that others may have
//! made (a root file system, a layer, a volume) is opened through [`open_within`] only:
//!
//! ```text
//! Within::Root      "/", ".." and symbolic links are resolved as if the directory were the root
//! Within::Beneath   no symbolic link at all, no way out: EXDEV or ELOOP
//! ```
//!
//! Errors are the kernel's, as [`io::Error`]; the rows above add which object and which action.

use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{
    self as rfs, AtFlags, CWD, FallocateFlags, FlockOperation, Gid, Mode, RawDir, RenameFlags, ResolveFlags,
    Timestamps, Uid,
};
use rustix::path::Arg;

use crate::sys::waiting;

pub(crate) use rustix::fs::{FileType, OFlags, Stat, Timespec};

pub(crate) mod tree;

/// How a path is kept within a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Within {
    /// The directory is the root: absolute paths, `..` and symbolic links stay inside it.
    Root,
    /// No symbolic link in any component, and no way out.
    Beneath,
}

/// Opens `path` below `dir` by openat2(2), never leaving it and never through a magic link.
///
/// # Errors
///
/// The kernel's: ELOOP for a symbolic link or EXDEV for a way out with [`Within::Beneath`].
pub(crate) fn open_within(
    dir: impl AsFd,
    path: impl Arg + Copy,
    how: Within,
    flags: OFlags,
    mode: u32,
) -> io::Result<OwnedFd> {
    let resolve = match how {
        Within::Root => ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        Within::Beneath => ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    };
    loop {
        // EAGAIN: something was renamed meanwhile, so the kernel could not tell that ".." stays inside.
        match rfs::openat2(&dir, path, flags | OFlags::CLOEXEC, Mode::from_raw_mode(mode), resolve) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Opens the directory at an absolute or relative `path` of the host, as a base for other calls (O_PATH).
pub(crate) fn open_base(path: &Path) -> io::Result<OwnedFd> {
    Ok(rfs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Opens the directory `name` in `dir` for reading; a symbolic link is refused.
pub(crate) fn open_dir(dir: impl AsFd, name: impl Arg) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rfs::openat(dir, name, flags, Mode::empty())?)
}

/// Has ext4 spread the directories that are made in `dir` over the disk, as it does with home
/// directories (`FS_TOPDIR_FL`, `chattr +T`). Other file systems have no such thing.
///
/// # Errors
///
/// ENOTTY, EOPNOTSUPP.
pub(crate) fn spread_directories(dir: impl AsFd) -> io::Result<()> {
    let flags = rfs::ioctl_getflags(&dir)?;
    Ok(rfs::ioctl_setflags(&dir, flags | rfs::IFlags::TOPDIR)?)
}

/// Opens `name` in `dir`; the last component may not be a symbolic link.
pub(crate) fn open_at(dir: impl AsFd, name: impl Arg, flags: OFlags, mode: u32) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rfs::openat(dir, name, flags, Mode::from_raw_mode(mode))?)
}

/// How much of a file is asked for at first, in bytes: more than nearly every record has.
const FIRST_READ: usize = 8 << 10;

/// Reads the whole file `name` in `dir`, if it has at most `max_bytes`.
///
/// # Errors
///
/// `FileTooLarge` beyond `max_bytes`; the kernel's otherwise.
pub(crate) fn read_at(dir: impl AsFd, name: impl Arg, max_bytes: usize) -> io::Result<Vec<u8>> {
    // A FIFO in its place holds nobody up: it is read as an empty file.
    let file = open_at(dir, name, OFlags::RDONLY | OFlags::NONBLOCK, 0)?;
    // Most records fit: asking for the size first would be a call more for each object of a listing.
    let mut content = vec![0; FIRST_READ.min(max_bytes + 1)];
    let mut length = 0;
    loop {
        let free = &mut content[length..];
        let wanted = free.len();
        let got = rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut *free))?;
        length += got;
        // Less than asked for is the end of a regular file: listings spare a call per object so.
        if got < wanted {
            content.truncate(length);
            return Ok(content);
        }
        if length > max_bytes {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        content.resize((2 * length).min(max_bytes) + 1, 0);
    }
}

/// The longest file that a flag or a configuration may name, in bytes.
const MAX_NAMED: usize = 16 << 20;

/// Reads what a caller has named: a file or a pipe of at most 16 MiB.
///
/// # Errors
///
/// FileTooLarge beyond that, also for what has no end; the kernel's otherwise.
pub(crate) fn read_named(path: &std::path::Path) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let file = std::fs::File::open(path)?;
    // Every command reads containers.conf: one call, and not one for each doubling.
    let expected = file.metadata().map_or(0, |metadata| usize::try_from(metadata.len()).unwrap_or(0));
    let mut content = Vec::with_capacity(expected.min(MAX_NAMED) + 1);
    file.take(MAX_NAMED as u64 + 1).read_to_end(&mut content)?;
    if content.len() > MAX_NAMED {
        let most = format!("it has more than {} MiB", MAX_NAMED >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, most));
    }
    Ok(content)
}

/// As [`read_named`], for text.
///
/// # Errors
///
/// As there; InvalidData for what is not UTF-8.
pub(crate) fn read_named_text(path: &std::path::Path) -> io::Result<String> {
    String::from_utf8(read_named(path)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

/// Removes the file at `path`, unless it is something else than a regular file: a device or a FIFO that was
/// written to is not ours to remove. That it is gone already is a success.
pub(crate) fn remove_regular(path: &std::path::Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(found) if found.is_file() => std::fs::remove_file(path),
        Ok(_) => Ok(()),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(err) => Err(err),
    }
}

/// Writes a new file `name` in `dir` with `content`, and makes it durable if `durable`.
///
/// # Errors
///
/// EEXIST if there is one; after any other failure nothing is left.
pub(crate) fn write_new(
    dir: impl AsFd,
    name: impl Arg + Copy,
    content: &[u8],
    mode: u32,
    durable: bool,
) -> io::Result<()> {
    use std::io::Write as _;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let mut file = std::fs::File::from(open_at(&dir, name, flags, mode)?);
    let written = file.write_all(content).and_then(|()| if durable { file.sync_data() } else { Ok(()) });
    written.inspect_err(|_| {
        // The first failure is the one to report.
        unlink(&dir, name).ok();
    })
}

/// Replaces the file `name` in `dir` by one with `content`: readers see the old or the new one, whole.
///
/// For files with one writer: the new content is first written to `.NAME.new`, which a crash leaves
/// and the next call overwrites. With `durable` the new content also survives a power cut once this
/// returns.
pub(crate) fn replace(
    dir: impl AsFd,
    name: &str,
    content: &[u8],
    mode: u32,
    durable: bool,
) -> io::Result<()> {
    let staged = format!(".{name}.new");
    match unlink(&dir, staged.as_str()) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
        _ => {}
    }
    write_new(&dir, staged.as_str(), content, mode, durable)?;
    rename(&dir, staged.as_str(), &dir, name)?;
    if durable { sync(&dir) } else { Ok(()) }
}

/// Makes what `file` holds durable; of a directory, its entries. Takes an O_PATH descriptor too.
pub(crate) fn sync(file: impl AsFd) -> io::Result<()> {
    match rfs::fsync(&file) {
        Err(rustix::io::Errno::BADF) => {
            Ok(rfs::fsync(rfs::openat(&file, ".", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)?)
        }
        other => Ok(other?),
    }
}

/// Makes everything written so far to the file system of directory `dir` durable.
pub(crate) fn sync_filesystem(dir: impl AsFd) -> io::Result<()> {
    let dir = rfs::openat(&dir, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(rfs::syncfs(dir)?)
}

/// Asks the kernel to start writing a range of a file to the disk, without waiting for it. A length of 0 means all behind
/// `offset`.
///
/// # Source
///
/// sync_file_range(2), `SYNC_FILE_RANGE_WRITE`. No promise of durability: that is [`sync`]'s.
pub(crate) fn start_writeback(file: &std::fs::File, offset: u64, length: u64) -> io::Result<()> {
    let number = |value: u64| i64::try_from(value).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
    let (offset, length) = (number(offset)?, number(length)?);
    // SAFETY: a descriptor that `file` keeps open, and numbers.
    let ret = unsafe { libc::sync_file_range(file.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE) };
    if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Renames; an existing file of that name is replaced atomically.
pub(crate) fn rename(from_dir: impl AsFd, from: impl Arg, to_dir: impl AsFd, to: impl Arg) -> io::Result<()> {
    Ok(rfs::renameat(from_dir, from, to_dir, to)?)
}

/// Renames unless the new name is taken: then EEXIST (or ENOTEMPTY).
pub(crate) fn rename_new(
    from_dir: impl AsFd,
    from: impl Arg,
    to_dir: impl AsFd,
    to: impl Arg,
) -> io::Result<()> {
    Ok(rfs::renameat_with(from_dir, from, to_dir, to, RenameFlags::NOREPLACE)?)
}

/// Makes a directory; its mode is `mode` less the umask.
pub(crate) fn mkdir(dir: impl AsFd, name: impl Arg, mode: u32) -> io::Result<()> {
    Ok(rfs::mkdirat(dir, name, Mode::from_raw_mode(mode))?)
}

/// Makes a symbolic link `name` in `dir` that says `target`.
pub(crate) fn symlink(target: impl Arg, dir: impl AsFd, name: impl Arg) -> io::Result<()> {
    Ok(rfs::symlinkat(target, dir, name)?)
}

/// What the symbolic link `name` in `dir` says.
pub(crate) fn readlink(dir: impl AsFd, name: impl Arg) -> io::Result<OsString> {
    use std::os::unix::ffi::OsStringExt as _;
    let target = rfs::readlinkat(dir, name, Vec::with_capacity(128))?;
    Ok(OsString::from_vec(target.into_bytes()))
}

/// Makes a further name for a file; a symbolic link as the last component is not followed.
pub(crate) fn link(from_dir: impl AsFd, from: impl Arg, to_dir: impl AsFd, to: impl Arg) -> io::Result<()> {
    Ok(rfs::linkat(from_dir, from, to_dir, to, AtFlags::empty())?)
}

/// Makes a FIFO, device or socket node; `rdev` is [`device`]'s for devices and 0 otherwise.
pub(crate) fn mknod(dir: impl AsFd, name: impl Arg, kind: FileType, mode: u32, rdev: u64) -> io::Result<()> {
    Ok(rfs::mknodat(dir, name, kind, Mode::from_raw_mode(mode), rdev)?)
}

/// The kernel's number of a device.
pub(crate) fn device(major: u32, minor: u32) -> u64 {
    rfs::makedev(major, minor)
}

/// Removes a name that is no directory.
pub(crate) fn unlink(dir: impl AsFd, name: impl Arg) -> io::Result<()> {
    Ok(rfs::unlinkat(dir, name, AtFlags::empty())?)
}

/// Removes an empty directory.
pub(crate) fn rmdir(dir: impl AsFd, name: impl Arg) -> io::Result<()> {
    Ok(rfs::unlinkat(dir, name, AtFlags::REMOVEDIR)?)
}

/// What the file behind a descriptor is.
pub(crate) fn stat(file: impl AsFd) -> io::Result<Stat> {
    Ok(rfs::fstat(file)?)
}

/// What `name` in `dir` is; a symbolic link is not followed.
pub(crate) fn stat_at(dir: impl AsFd, name: impl Arg) -> io::Result<Stat> {
    Ok(rfs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// The type bits of a stat as a [`FileType`].
pub(crate) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Sets the permission bits (set-user-ID and sticky included) of an open file.
pub(crate) fn chmod(file: impl AsFd, mode: u32) -> io::Result<()> {
    Ok(rfs::fchmod(file, Mode::from_raw_mode(mode & 0o7777))?)
}

/// Sets the permission bits of `name` in `dir`, which must not be a symbolic link (it is followed).
pub(crate) fn chmod_at(dir: impl AsFd, name: impl Arg, mode: u32) -> io::Result<()> {
    Ok(rfs::chmodat(dir, name, Mode::from_raw_mode(mode & 0o7777), AtFlags::empty())?)
}

/// Gives an open file to a user and a group.
pub(crate) fn chown(file: impl AsFd, uid: u32, gid: u32) -> io::Result<()> {
    Ok(rfs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?)
}

/// Gives `name` in `dir` to a user and a group; a symbolic link itself, not its target.
pub(crate) fn chown_at(dir: impl AsFd, name: impl Arg, uid: u32, gid: u32) -> io::Result<()> {
    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    Ok(rfs::chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Sets the time of last modification (and access) of an open file.
pub(crate) fn set_mtime(file: impl AsFd, time: Timespec) -> io::Result<()> {
    Ok(rfs::futimens(file, &Timestamps { last_access: time, last_modification: time })?)
}

/// Sets the time of last modification (and access) of `name` in `dir`, of a symbolic link itself.
pub(crate) fn set_mtime_at(dir: impl AsFd, name: impl Arg, time: Timespec) -> io::Result<()> {
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(rfs::utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Sets the length of an open file; what lies beyond its old end is a hole.
pub(crate) fn set_length(file: impl AsFd, length: u64) -> io::Result<()> {
    Ok(rfs::ftruncate(file, length)?)
}

/// Takes `length` bytes of disk for a file that starts at 0.
pub(crate) fn allocate(file: impl AsFd, length: u64) -> io::Result<()> {
    Ok(rfs::fallocate(file, FallocateFlags::empty(), 0, length)?)
}

/// Sets an extended attribute of an open file.
pub(crate) fn set_xattr(file: impl AsFd, name: impl Arg, value: &[u8]) -> io::Result<()> {
    Ok(rfs::fsetxattr(file, name, value, rfs::XattrFlags::empty())?)
}

/// Removes an extended attribute of an open file.
pub(crate) fn remove_xattr(file: impl AsFd, name: impl Arg) -> io::Result<()> {
    Ok(rfs::fremovexattr(file, name)?)
}

/// An extended attribute of an open file; `None` if it has no such one.
pub(crate) fn xattr(file: impl AsFd, name: impl Arg) -> io::Result<Option<Vec<u8>>> {
    // The kernel's limit for a value (XATTR_SIZE_MAX).
    let mut value = vec![0; 65_536];
    match rfs::fgetxattr(file, name, &mut value[..]) {
        Ok(length) => {
            value.truncate(length);
            Ok(Some(value))
        }
        Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP) => Ok(None),
        Err(err) => Err(err.into()),
    }
}

/// The names of all extended attributes of an open file.
pub(crate) fn xattr_names(file: impl AsFd) -> io::Result<Vec<Vec<u8>>> {
    let mut names = vec![0; 65_536];
    let length = match rfs::flistxattr(file, &mut names[..]) {
        Ok(length) => length,
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        Err(err) => return Err(err.into()),
    };
    Ok(names[..length].split(|&b| b == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect())
}

/// How full a file system is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Space {
    /// Bytes that this user can still write.
    pub(crate) free_bytes: u64,
    /// Bytes in all.
    pub(crate) total_bytes: u64,
    /// Files that can still be made; `u64::MAX` where the file system does not count them.
    pub(crate) free_files: u64,
    /// The magic number that names the file system's type (statfs(2)).
    pub(crate) magic: u64,
}

/// How full the file system of `file` is.
pub(crate) fn space(file: impl AsFd) -> io::Result<Space> {
    let stat = rfs::fstatfs(file)?;
    let block = u64::try_from(stat.f_bsize).unwrap_or(0);
    Ok(Space {
        free_bytes: stat.f_bavail.saturating_mul(block),
        total_bytes: stat.f_blocks.saturating_mul(block),
        free_files: if stat.f_files == 0 { u64::MAX } else { stat.f_ffree },
        magic: u64::try_from(stat.f_type).unwrap_or(0),
    })
}

/// Whether a lock keeps other readers out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    Shared,
    Exclusive,
}

/// Takes the flock(2) of an open file; false if another holds it.
pub(crate) fn try_lock(file: impl AsFd, share: Share) -> io::Result<bool> {
    let operation = match share {
        Share::Shared => FlockOperation::NonBlockingLockShared,
        Share::Exclusive => FlockOperation::NonBlockingLockExclusive,
    };
    match rfs::flock(file, operation) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(err) => Err(err.into()),
    }
}

/// Takes the flock(2) of an open file, however long that takes.
pub(crate) fn lock(file: impl AsFd, share: Share) -> io::Result<()> {
    let operation = match share {
        Share::Shared => FlockOperation::LockShared,
        Share::Exclusive => FlockOperation::LockExclusive,
    };
    Ok(rustix::io::retry_on_intr(|| rfs::flock(&file, operation))?)
}

/// Takes the flock(2) of an open file, looking again after `pause`; false if others have held it for all of `patience`.
pub(crate) fn lock_within(
    file: impl AsFd,
    share: Share,
    patience: Duration,
    pause: Duration,
) -> io::Result<bool> {
    let taken = waiting::until(patience, pause, || Ok::<_, io::Error>(try_lock(&file, share)?.then_some(())));
    Ok(taken?.is_some())
}

/// The flock(2) of a directory. Given back when this is dropped, whoever else has a copy of the descriptor.
#[derive(Debug)]
pub(crate) struct DirectoryLock(OwnedFd);

impl DirectoryLock {
    /// Takes it as [`lock_within`] does; `None` if others hold it.
    ///
    /// # Errors
    ///
    /// If the directory is gone, or its file system has no locks.
    pub(crate) fn take(
        directory: &Path,
        share: Share,
        patience: Duration,
        pause: Duration,
    ) -> io::Result<Option<Self>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rfs::open(directory, flags, Mode::empty())?;
        Ok(lock_within(&directory, share, patience, pause)?.then_some(Self(directory)))
    }
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        unlock(&self.0).ok();
    }
}

impl AsFd for DirectoryLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Gives the flock(2) of an open file back, whoever else has a copy of the descriptor.
fn unlock(file: impl AsFd) -> io::Result<()> {
    Ok(rfs::flock(file, FlockOperation::Unlock)?)
}

/// Calls `each` for the entries of a directory but `.` and `..`, in the kernel's order.
///
/// The type is `Unknown` on file systems that do not tell it.
///
/// # Errors
///
/// Reading the directory; the first error of `each`.
pub(crate) fn for_each_entry(
    dir: impl AsFd,
    mut each: impl FnMut(&OsStr, FileType) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
    let mut entries = RawDir::new(dir.as_fd(), &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            each(OsStr::from_bytes(name), entry.file_type())?;
        }
    }
    Ok(())
}

/// The names in directory `name` of `dir`, unsorted.
pub(crate) fn names(dir: impl AsFd, name: impl Arg) -> io::Result<Vec<OsString>> {
    let mut found = Vec::new();
    for_each_entry(open_dir(dir, name)?, |name, _| {
        found.push(name.to_owned());
        Ok(())
    })?;
    Ok(found)
}

/// The directory in which relative paths start, for calls that want a descriptor.
pub(crate) fn here() -> BorrowedFd<'static> {
    CWD
}
