//! An image's files at a path, read-only, or a container's, for whoever is root of the mount namespace: in `unshare`, or as root.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::mount::UnmountFlags;

use crate::base::spec::ContainerSpec;
use crate::base::volume_options::{VolumeKind, VolumeOptions};
use crate::runtime::failure::Failure;
use crate::runtime::foreign_mount::{self, Wanted};
use crate::runtime::init::mounts::{mount_at_rest, mount_overlay};
use crate::runtime::plan::{self, Places};
use crate::runtime::step::{OverlayPlan, RootPlan};
use crate::sys::mount::{self, FileSystem};

/// Mounts the directories `lowers`, the topmost first, on `at`.
///
/// # Errors
///
/// What the kernel says.
pub(crate) fn mount_image(lowers: Vec<PathBuf>, at: &Path) -> Result<(), Failure> {
    let plan = OverlayPlan { over: at.to_owned(), lowers, upper: None, volatile: false, device_nodes: false };
    let mounted = mount_overlay(&plan)?;
    mount::set_attributes(mounted.as_fd(), true, mount::attr::RDONLY, 0, 0)?;
    attach_at(mounted.as_fd(), at)
}

/// Mounts the root of a container on `at`: that of its process `pid`, or, if it does not run, what `spec` says of
/// the container whose places these are.
///
/// # Errors
///
/// What the kernel says; a container that runs in a user namespace that the caller has no power over.
pub(crate) fn mount_container(
    spec: &ContainerSpec,
    places: &Places,
    pid: Option<i32>,
    at: &Path,
) -> Result<(), Failure> {
    let what = "mount the container's root";
    let mounted = match (pid, plan::root(spec, places, spec.security.privileged)) {
        (Some(pid), _) => {
            foreign_mount::copy_of(pid, Wanted { path: Path::new("/"), only_tmpfs: false, what })?
        }
        (None, RootPlan::Overlay(overlay)) => mount_at_rest(overlay)?,
        (None, RootPlan::Directory(path)) => mount::clone_tree(rustix::fs::CWD, &path, false)?,
    };
    attach_at(mounted.as_fd(), at)
}

/// Mounts on `at` what a volume that is no directory of the store consists of.
///
/// # Errors
///
/// What the kernel says.
pub(crate) fn mount_volume(options: &VolumeOptions, at: &Path) -> Result<(), Failure> {
    let mounted = match &options.kind {
        VolumeKind::Directory => return Ok(()),
        VolumeKind::Bind { source, recursive } => mount::clone_tree(rustix::fs::CWD, source, *recursive)?,
        VolumeKind::Tmpfs(data) => {
            let tmpfs = FileSystem::open("tmpfs")?;
            for option in data {
                match option.split_once('=') {
                    Some((key, value)) => tmpfs.set(key, value)?,
                    None => tmpfs.flag(option)?,
                }
            }
            tmpfs.mount(mount::attr::NOSUID | mount::attr::NODEV)?
        }
    };
    if options.flags.iter().any(|flag| flag == "ro") {
        mount::set_attributes(mounted.as_fd(), true, mount::attr::RDONLY, 0, 0)?;
    }
    attach_at(mounted.as_fd(), at)
}

/// Attaches a detached mount to the directory `at`.
fn attach_at(mounted: BorrowedFd<'_>, at: &Path) -> Result<(), Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let over = rustix::fs::open(at, flags, Mode::empty())
        .map_err(|errno| Failure::errno(format!("open {}", at.display()), errno))?;
    Ok(mount::attach(mounted, over.as_fd(), &at.display().to_string())?)
}

/// Takes the mount on `at` away; `force` even if it is in use.
///
/// # Errors
///
/// EBUSY without `force`.
pub(crate) fn unmount(at: &Path, force: bool) -> Result<(), Failure> {
    let flags = if force { UnmountFlags::DETACH } else { UnmountFlags::empty() };
    rustix::mount::unmount(at, flags)
        .map_err(|errno| Failure::errno(format!("unmount {}", at.display()), errno))
}

/// The mount points of this mount namespace below `directory`.
///
/// # Errors
///
/// If /proc cannot be read.
pub(crate) fn mounted_below(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let text = std::fs::read_to_string("/proc/self/mountinfo")?;
    let points = text.lines().filter_map(|line| line.split(' ').nth(4));
    // Blanks in paths are octal there; the store's own path may have some.
    let path = |text: &str| PathBuf::from(text.replace("\\040", " ").replace("\\134", "\\"));
    Ok(points.map(path).filter(|point| point.starts_with(directory) && point != directory).collect())
}
