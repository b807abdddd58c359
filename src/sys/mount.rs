//! The mount API of Linux 5.2 and later: file systems and mounts as descriptors.
//!
//! A mount is made or copied detached, gets its attributes there, and is then attached to a
//! *descriptor* of its target, so no path is looked up twice and none can be swapped meanwhile.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags};

/// Attributes of a mount, for [`FileSystem::mount`] and [`set_attributes`].
pub(crate) mod attr {
    pub(crate) const RDONLY: u64 = libc::MOUNT_ATTR_RDONLY;
    pub(crate) const NOSUID: u64 = libc::MOUNT_ATTR_NOSUID;
    pub(crate) const NODEV: u64 = libc::MOUNT_ATTR_NODEV;
    pub(crate) const NOEXEC: u64 = libc::MOUNT_ATTR_NOEXEC;
    pub(crate) const NOATIME: u64 = libc::MOUNT_ATTR_NOATIME;
    pub(crate) const STRICTATIME: u64 = libc::MOUNT_ATTR_STRICTATIME;
    pub(crate) const NODIRATIME: u64 = libc::MOUNT_ATTR_NODIRATIME;
    /// The field that the three access time attributes share.
    pub(crate) const ATIME_MASK: u64 = libc::MOUNT_ATTR__ATIME;
}

/// One failed step of mounting.
#[derive(Debug, thiserror::Error)]
#[error("{call} {what}")]
pub(crate) struct MountError {
    /// The system call.
    pub(crate) call: &'static str,
    /// Its object: a file system type, an option, a path.
    pub(crate) what: String,
    pub(crate) source: Errno,
}

impl MountError {
    fn of(call: &'static str, what: impl Into<String>) -> impl FnOnce(rustix::io::Errno) -> Self {
        let what = what.into();
        move |errno| Self { call, what, source: Errno::from_raw(errno.raw_os_error()) }
    }
}

type Result<T> = std::result::Result<T, MountError>;

/// A file system that is being configured, before it exists (`fsopen(2)`).
#[derive(Debug)]
pub(crate) struct FileSystem {
    context: OwnedFd,
    kind: &'static str,
}

impl FileSystem {
    /// Begins a file system of type `kind`, as `/proc/filesystems` names it.
    pub(crate) fn open(kind: &'static str) -> Result<Self> {
        let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)
            .map_err(MountError::of("fsopen", kind))?;
        Ok(Self { context, kind })
    }

    /// Sets an option that has no value.
    pub(crate) fn flag(&self, key: &str) -> Result<()> {
        rustix::mount::fsconfig_set_flag(self.context.as_fd(), key)
            .map_err(MountError::of("fsconfig", format!("{} {key}", self.kind)))
    }

    /// Sets an option to a text.
    pub(crate) fn set(&self, key: &str, value: &str) -> Result<()> {
        rustix::mount::fsconfig_set_string(self.context.as_fd(), key, value)
            .map_err(MountError::of("fsconfig", format!("{} {key}={value}", self.kind)))
    }

    /// Makes the file system and mounts it, attached nowhere.
    pub(crate) fn mount(self, attributes: u64) -> Result<OwnedFd> {
        rustix::mount::fsconfig_create(self.context.as_fd()).map_err(MountError::of("mount", self.kind))?;
        let attributes = u32::try_from(attributes).expect("mount attributes of fsmount fit 32 bits");
        rustix::mount::fsmount(
            self.context.as_fd(),
            FsMountFlags::FSMOUNT_CLOEXEC,
            MountAttrFlags::from_bits_retain(attributes),
        )
        .map_err(MountError::of("fsmount", self.kind))
    }
}

/// Copies the mount at `path` (relative to `dir`), or the whole tree of mounts below it, and
/// returns it, attached nowhere.
///
/// Needs CAP_SYS_ADMIN in the user namespace that owns the caller's mount namespace. A plain copy
/// (not `recursive`) of a directory with locked mounts below it is refused with EINVAL.
///
/// # Source
///
/// open_tree(2), Linux 5.2.
pub(crate) fn clone_tree(dir: BorrowedFd<'_>, path: &Path, recursive: bool) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    if path.as_os_str().is_empty() {
        flags |= OpenTreeFlags::AT_EMPTY_PATH;
    }
    rustix::mount::open_tree(dir, path, flags)
        .map_err(MountError::of("open_tree", path.display().to_string()))
}

/// Attaches the detached mount `mount` over the file or directory that `target` refers to.
///
/// `what` names the target in the error.
pub(crate) fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>, what: &str) -> Result<()> {
    rustix::mount::move_mount(
        mount,
        "",
        target,
        "",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
    )
    .map_err(MountError::of("mount on", what))
}

/// Sets and clears attributes of the mount whose root `mount` is, and of all below it if
/// `recursive`. `propagation` is an `MS_*` propagation flag or 0.
///
/// # Source
///
/// mount_setattr(2), Linux 5.12.
pub(crate) fn set_attributes(
    mount: BorrowedFd<'_>,
    recursive: bool,
    set: u64,
    clear: u64,
    propagation: u64,
) -> Result<()> {
    let attributes = libc::mount_attr { attr_set: set, attr_clr: clear, propagation, userns_fd: 0 };
    mount_setattr(mount, recursive, &attributes).map_err(|source| MountError {
        call: "mount_setattr",
        what: format!("{set:#x} {clear:#x} {propagation:#x}"),
        source,
    })
}

/// Lets a detached mount show files of ID n, as they are on the disk, as those of ID n of `user_namespace`, and new ones the other way.
///
/// # Errors
///
/// EINVAL where the file system cannot do that, EPERM for all but root of the user namespace that it was mounted in.
///
/// # Source
///
/// mount_setattr(2), "ID-mapped mounts", Linux 5.12.
pub(crate) fn map_ids(
    mount: BorrowedFd<'_>,
    user_namespace: BorrowedFd<'_>,
) -> std::result::Result<(), Errno> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::from(user_namespace.as_raw_fd().cast_unsigned()),
    };
    mount_setattr(mount, false, &attributes)
}

fn mount_setattr(
    mount: BorrowedFd<'_>,
    recursive: bool,
    attributes: &libc::mount_attr,
) -> std::result::Result<(), Errno> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a NUL-terminated literal, `attributes` lives until the call returns, and
    // the size given is its own; the kernel keeps no pointer to either.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            std::mem::size_of::<libc::mount_attr>(),
        )
    };
    Errno::result(ret).map(drop)
}

/// Changes the propagation of every mount in the caller's namespace; `flag` is `MS_SLAVE` or
/// `MS_PRIVATE`.
pub(crate) fn set_propagation_of_all(flag: libc::c_ulong) -> Result<()> {
    let flags = nix::mount::MsFlags::from_bits_retain(flag | libc::MS_REC);
    nix::mount::mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).map_err(|source| MountError {
        call: "change propagation of",
        what: "/".into(),
        source,
    })
}

/// Makes the working directory, which must be the root of a mount, the root of the caller's mount
/// namespace, and lets go of everything that was mounted before.
///
/// # Source
///
/// pivot_root(2), "pivot_root(".", ".")".
pub(crate) fn pivot_to_working_directory() -> Result<()> {
    rustix::process::pivot_root(".", ".").map_err(MountError::of("pivot_root", "."))?;
    rustix::mount::unmount(".", rustix::mount::UnmountFlags::DETACH)
        .map_err(MountError::of("unmount", "old root"))?;
    rustix::process::chdir("/").map_err(MountError::of("chdir", "/"))
}
