//! The mounting steps. Every source is opened, checked and only then attached to a descriptor of
//! its target.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};

use crate::base::bytes::Bytes;
use crate::runtime::failure::Failure;
use crate::runtime::rootfs::{self, RootDir, Shape};
use crate::runtime::step::{MountPlan, MountSource, OverlayPlan, RootPlan};
use crate::sys::mount::{self, FileSystem, MountError, attr};

use super::{Init, Result, copyup, identity_of, invalid, optional};

/// How long the directories of an overlay may still be in use by the one before.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two looks at that.
const LOOK: Duration = Duration::from_millis(5);

const O_DIR: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Init {
    /// Mounts the root and enters it.
    pub(super) fn mount_root(&mut self, plan: &RootPlan) -> Result<()> {
        let root = match plan {
            RootPlan::Overlay(overlay) => {
                let mounted = mount_overlay(overlay)?;
                let over = open_directory(&overlay.over)?;
                mount::attach(mounted.as_fd(), over.as_fd(), "the container's directory")?;
                mounted
            }
            RootPlan::Directory(path) => {
                let directory = open_directory(path)?;
                let tree = mount::clone_tree(directory.as_fd(), Path::new(""), true)?;
                mount::attach(tree.as_fd(), directory.as_fd(), "the root directory")?;
                tree
            }
        };
        self.root = Some(RootDir::of_mount(root).map_err(|err| Failure::errno("open the root", err))?);
        Ok(())
    }

    /// Makes one mount below the root.
    pub(super) fn mount(&mut self, plan: &MountPlan) -> Result<()> {
        let what = rootfs::shown(plan.target.as_bytes());
        // What is filled or given away first is made read-only when that is done.
        let is_prepared = plan.copy_up || plan.adopt || plan.chown || plan.owner.is_some();
        let early = if is_prepared { plan.attributes & !attr::RDONLY } else { plan.attributes };
        let opened = match open_source(self.root(), &plan.source, early, &what) {
            Err(_) if plan.optional => return Ok(()),
            opened => opened?,
        };
        let Some(source) = optional(opened, plan.optional)? else { return Ok(()) };
        if !matches!(plan.source, MountSource::FileSystem { .. }) {
            let set =
                mount::set_attributes(source.as_fd(), plan.recursive, early, plan.clear, plan.propagation);
            if optional(set, plan.optional)?.is_none() {
                return Ok(());
            }
        }
        let shape = rootfs::shape_of(source.as_fd()).map_err(|err| Failure::errno(&what, err))?;
        // A mount point that is made here has nothing to give, its mode included.
        let covered = match plan.copy_up || plan.adopt {
            true => self.in_image(plan.target.as_bytes())?,
            false => None,
        };
        let target = match self.target(&plan.target, shape, plan.no_symlinks) {
            Err(_) if plan.optional => return Ok(()),
            target => target?,
        };
        let given = covered.as_ref().filter(|_| plan.copy_up);
        if let Some(given) = given {
            self.copy_up(given.as_fd(), source.as_fd(), plan.source.mode_is_given(), &what)?;
        }
        if plan.adopt && given.is_none() {
            let resembles =
                covered.map_or(Ok(false), |covered| copyup::resemble(covered.as_fd(), source.as_fd()));
            let failed = |err| Failure::errno(format!("give {what} its owner"), err);
            if !resembles.map_err(failed)? {
                let identity = identity_of(self.root(), &self.owner, &[])?;
                copyup::give(source.as_fd(), identity.uid, identity.gid).map_err(failed)?;
            }
        }
        if let Some((uid, gid)) = plan.owner {
            copyup::give_some(source.as_fd(), uid, gid)
                .map_err(|err| Failure::errno(format!("give {what} its owner"), err))?;
        }
        if plan.chown {
            let identity = identity_of(self.root(), &self.owner, &[])?;
            give(source.as_fd(), (identity.uid, identity.gid), &what)?;
        }
        if early != plan.attributes {
            mount::set_attributes(source.as_fd(), plan.recursive, attr::RDONLY, 0, 0)?;
        }
        let attached = mount::attach(source.as_fd(), target.as_fd(), &what);
        if attached.is_err() && rootfs::shape_of(target.as_fd()).is_ok_and(|there| there != shape) {
            let why = "a directory cannot be mounted over a file, nor a file over a directory";
            return Err(Failure::errno(format!("mount on {what}: {why}"), Errno::ENOTDIR));
        }
        if optional(attached, plan.optional)?.is_none() {
            return Ok(());
        }
        match plan.target.as_bytes() {
            b"/dev" if self.dev.is_none() => {
                self.dev = Some(reopen(&source)?);
                // What the user has there is walked with care.
                self.dev_covered = !matches!(plan.source, MountSource::FileSystem { .. });
            }
            b"/dev" => self.dev_covered = true,
            // Whoever made it: nobody else can mount anything there.
            b"/proc" if matches!(plan.source, MountSource::FileSystem { .. } | MountSource::Detached(_)) => {
                self.proc = Some(reopen(&source)?);
            }
            _ => {}
        }
        Ok(())
    }

    /// What the image has at `path`, whatever is mounted there or above it.
    fn in_image(&self, path: &[u8]) -> Result<Option<OwnedFd>> {
        // A directory of the host may have mounts below it that this user namespace must not take off.
        let alone = mount::clone_tree(self.root().as_fd(), Path::new(""), false).ok().map(RootDir::of_mount);
        let alone = alone.transpose().map_err(|err| Failure::errno("open the root alone", err))?;
        Ok(alone.as_ref().unwrap_or(self.root()).open(path, OFlags::PATH).ok())
    }

    /// Fills an empty new mount with what the image has there; `keep_mode` leaves it its own mode.
    fn copy_up(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, keep_mode: bool, what: &str) -> Result<()> {
        copyup::fill(from, to, keep_mode)
            .map_err(|err| Failure::errno(format!("copy the image's {what} into the volume"), err))
    }

    /// A descriptor of a mount target; /dev is not walked again once it is known to be ketch's own.
    fn target(&self, path: &Bytes, shape: Shape, no_symlinks: bool) -> Result<OwnedFd> {
        if let (Some(_), false, Some(name)) =
            (&self.dev, self.dev_covered, path.as_bytes().strip_prefix(b"/dev/"))
            && let Ok(name) = std::str::from_utf8(name)
            && !name.contains('/')
            && !name.is_empty()
        {
            return self.target_in_dev(name, shape);
        }
        let target = self.root().target(path.as_bytes(), shape, no_symlinks).map_err(|err| {
            let what = rootfs::shown(path.as_bytes());
            if err.raw_os_error() == Some(libc::ELOOP) {
                return invalid(format!("mount on {what}: the image has a symbolic link there"));
            }
            Failure::errno(format!("make the mount point {what}"), err)
        })?;
        if !no_symlinks && !MOUNTABLE_IN_PROC.contains(&path.as_bytes()) {
            refuse_proc(&target, path)?;
        }
        Ok(target)
    }

    /// Makes a mount point in /dev, or takes the one that the host's has.
    pub(super) fn target_in_dev(&self, name: &str, shape: Shape) -> Result<OwnedFd> {
        let failed = |errno| Failure::errno(format!("make /dev/{name}"), std::io::Error::from(errno));
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if self.dev_covered
            && let Ok(there) = rustix::fs::openat(self.dev(), name, flags, Mode::empty())
        {
            return Ok(there);
        }
        let made = match shape {
            Shape::Directory => rustix::fs::mkdirat(self.dev(), name, Mode::from_raw_mode(0o755)),
            Shape::File => {
                let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                rustix::fs::openat(self.dev(), name, flags, Mode::from_raw_mode(0o644)).map(drop)
            }
        };
        match made {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => return Err(failed(errno)),
        }
        rustix::fs::openat(self.dev(), name, flags, Mode::empty()).map_err(failed)
    }

    /// Binds a device of the host.
    pub(super) fn device(&self, source: &Path, target: &Bytes) -> Result<()> {
        let shown = source.display().to_string();
        let device = mount::clone_tree(rustix::fs::CWD, source, false)?;
        let stat = rustix::fs::fstat(&device).map_err(|errno| Failure::errno(&shown, errno))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if !matches!(kind, FileType::CharacterDevice | FileType::BlockDevice) {
            return Err(invalid(format!("{shown} is not a device")));
        }
        mount::set_attributes(device.as_fd(), false, attr::NOSUID | attr::NOEXEC, 0, 0).ok();
        let target_fd = self.target(target, Shape::File, false)?;
        mount::attach(device.as_fd(), target_fd.as_fd(), &rootfs::shown(target.as_bytes()))?;
        Ok(())
    }

    /// Binds what the host has in /dev, as far as it may.
    pub(super) fn host_devices(&self) -> Result<()> {
        let entries = std::fs::read_dir("/dev").map_err(|err| Failure::errno("read /dev", err))?;
        for entry in entries.flatten() {
            use std::os::unix::fs::FileTypeExt;
            let is_device =
                entry.file_type().is_ok_and(|kind| kind.is_char_device() || kind.is_block_device());
            let name = entry.file_name();
            let known = rustix::fs::statat(self.dev(), &name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).is_ok();
            if is_device && !known && name != "console" {
                let target = Path::new("/dev").join(&name);
                // A device the user may not even name is not theirs to pass on.
                self.device(&target, &target.as_path().into()).ok();
            }
        }
        Ok(())
    }

    /// Hides paths. What does not exist needs no hiding.
    pub(super) fn mask(&self, paths: &[Bytes]) -> Result<()> {
        // Before Linux 6.15 only what is attached can be cloned: the host's own, and an empty directory that
        // covers something already.
        let null = rustix::fs::open("/dev/null", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| Failure::errno("open /dev/null", errno))?;
        let stat = rustix::fs::fstat(&null).map_err(|errno| Failure::errno("stat /dev/null", errno))?;
        let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
            && stat.st_rdev == rustix::fs::makedev(1, 3);
        if !is_null {
            return Err(invalid("the host's /dev/null is not the null device"));
        }
        let mut empty: Option<OwnedFd> = None;
        for path in paths {
            let Some(target) = self.existing(path)? else { continue };
            let shape = rootfs::shape_of(target.as_fd()).map_err(|err| Failure::errno("mask", err))?;
            let cover = match shape {
                Shape::File => mount::clone_tree(null.as_fd(), Path::new(""), false)?,
                Shape::Directory => match &empty {
                    Some(empty) => mount::clone_tree(empty.as_fd(), Path::new(""), false)?,
                    None => empty_directory()?,
                },
            };
            mount::attach(cover.as_fd(), target.as_fd(), &rootfs::shown(path.as_bytes()))?;
            if shape == Shape::Directory && empty.is_none() {
                empty = Some(cover);
            }
        }
        Ok(())
    }

    /// Makes paths read-only by covering each with a read-only clone of itself.
    pub(super) fn make_read_only(&self, paths: &[Bytes]) -> Result<()> {
        for path in paths {
            let Some(target) = self.existing(path)? else { continue };
            let clone = mount::clone_tree(target.as_fd(), Path::new(""), true)?;
            let attributes = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC;
            mount::set_attributes(clone.as_fd(), true, attributes, 0, 0)?;
            mount::attach(clone.as_fd(), target.as_fd(), &rootfs::shown(path.as_bytes()))?;
        }
        Ok(())
    }

    /// A descriptor of `path` if it exists.
    fn existing(&self, path: &Bytes) -> Result<Option<OwnedFd>> {
        match self.root().open(path.as_bytes(), OFlags::PATH | OFlags::NOFOLLOW) {
            Ok(fd) => Ok(Some(fd)),
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(None),
            // The parent may not be searched, even by container root: then neither can it be read.
            Err(err) if err.raw_os_error() == Some(libc::EACCES) => Ok(None),
            Err(err) => Err(Failure::errno(format!("open {}", rootfs::shown(path.as_bytes())), err)),
        }
    }
}

/// Files that tell of the machine, which lxcfs and its like replace.
const MOUNTABLE_IN_PROC: [&[u8]; 8] = [
    b"/proc/cpuinfo",
    b"/proc/diskstats",
    b"/proc/loadavg",
    b"/proc/meminfo",
    b"/proc/slabinfo",
    b"/proc/stat",
    b"/proc/swaps",
    b"/proc/uptime",
];

/// Nothing else is mounted over /proc, also not by way of a link in the image: what is written and
/// asked there on the way to the command would go to the one who made the mount (security.md C4).
fn refuse_proc(target: &OwnedFd, path: &Bytes) -> Result<()> {
    let what = rootfs::shown(path.as_bytes());
    let stat = rustix::fs::fstatfs(target).map_err(|errno| Failure::errno(&what, errno))?;
    if stat.f_type == rustix::fs::PROC_SUPER_MAGIC {
        return Err(invalid(format!("mount on {what}: mounts over /proc are not allowed")));
    }
    Ok(())
}

/// Gives a mounted tree to its new owner (`:U`).
pub(in crate::runtime) fn give(tree: BorrowedFd<'_>, (uid, gid): (u32, u32), what: &str) -> Result<()> {
    copyup::give_once(tree, uid, gid)
        .map_err(|err| Failure::errno(format!("change the owner of {what}"), err))
}

/// A read-only tmpfs with nothing in it.
fn empty_directory() -> Result<OwnedFd> {
    let tmpfs = FileSystem::open("tmpfs")?;
    tmpfs.set("size", "0")?;
    tmpfs.set("mode", "755")?;
    Ok(tmpfs.mount(attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC)?)
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    rustix::fs::open(path, O_DIR, Mode::empty())
        .map_err(|errno| Failure::errno(format!("open {}", path.display()), errno))
}

/// The root directory of a mount that is attached now, as an ordinary descriptor.
fn reopen(mount: &OwnedFd) -> Result<OwnedFd> {
    rustix::fs::openat(mount, ".", O_DIR, Mode::empty())
        .map_err(|errno| Failure::errno("open a mount", errno))
}

/// Makes the detached mount that a plan asks for. The outer result is the request's fault, the inner
/// the kernel's.
fn open_source(
    root: &RootDir,
    source: &MountSource,
    attributes: u64,
    what: &str,
) -> Result<std::result::Result<OwnedFd, MountError>> {
    match source {
        MountSource::FileSystem { kind, options } => Ok(new_file_system(kind, options, attributes)),
        MountSource::Host { .. } | MountSource::Below { .. } => copy_of_the_hosts(source, what),
        MountSource::Detached(number) => {
            let name = format!("/proc/self/fd/{number}");
            let mount = rustix::fs::open(name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                .map_err(|errno| Failure::errno(format!("open the shared {what}"), errno))?;
            Ok(Ok(mount))
        }
        MountSource::Earlier(path) => {
            let mounted = root
                .open(path.as_bytes(), OFlags::PATH)
                .map_err(|err| Failure::errno(format!("open {}", rootfs::shown(path.as_bytes())), err))?;
            Ok(mount::clone_tree(mounted.as_fd(), Path::new(""), false))
        }
        MountSource::Image { subpath, .. } => match &directories(source, what)?[..] {
            // A file, or the one directory that there is.
            [only] => Ok(mount::clone_tree(only.as_fd(), Path::new(""), false)),
            [] => Err(invalid(format!("mount on {what}: the image has no {}", shown_path(subpath.as_ref())))),
            several => Ok(overlay_of(several, None, (false, false))),
        },
        MountSource::Overlay { below, upper, work } => {
            let lowers = directories(below, what)?;
            Ok(overlay_of(&lowers, Some(&(open_directory(upper)?, open_directory(work)?)), (false, false)))
        }
        MountSource::Tree { lowers, path, scratch } => open_tree(lowers, path, scratch.as_deref(), what),
    }
}

/// A detached copy of what the host has there, for a source that [is of the host](MountSource::is_of_the_host).
pub(in crate::runtime) fn copy_of_the_hosts(
    source: &MountSource,
    what: &str,
) -> Result<std::result::Result<OwnedFd, MountError>> {
    match source {
        MountSource::Host { path, recursive } => match mount::clone_tree(rustix::fs::CWD, path, *recursive) {
            Err(err) if err.source == Errno::ENOENT => {
                Err(invalid(format!("mount on {what}: {} does not exist", path.display())))
            }
            other => Ok(other),
        },
        MountSource::Below { base, path, recursive } => {
            Ok(mount::clone_tree(open_subpath(base, path)?.as_fd(), Path::new(""), *recursive))
        }
        _ => Err(invalid(format!("mount on {what}: this is nothing of the host's"))),
    }
}

fn shown_path(path: Option<&Bytes>) -> String {
    path.map_or_else(|| "/".to_owned(), |path| path.to_string_lossy().into_owned())
}

/// A path below an open directory, resolved so that it cannot leave it.
fn open_below(base: &OwnedFd, path: &Bytes) -> std::result::Result<OwnedFd, rustix::io::Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(base, path.as_path(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// What a volume has at a path below its directory `base`.
fn open_subpath(base: &Path, path: &Bytes) -> Result<OwnedFd> {
    open_below(&open_directory(base)?, path)
        .map_err(|errno| Failure::errno(format!("open the subpath {path:?} of the volume"), errno))
}

/// What `path` is in each of the layers, the topmost first, as far down as it shows.
fn in_layers(lowers: &[PathBuf], path: &Bytes, what: &str) -> Result<Vec<OwnedFd>> {
    let mut found = Vec::new();
    for lower in lowers {
        let Seen { entry, hides } = in_layer(&open_directory(lower)?, path)
            .map_err(|errno| Failure::errno(format!("mount on {what}: look for {path:?}"), errno))?;
        match entry {
            Some((entry, FileType::Directory)) => found.push(entry),
            // A file takes the place of what lies below it, and is no part of a directory above it.
            Some((entry, _)) if found.is_empty() => found.push(entry),
            _ => {}
        }
        if hides {
            break;
        }
    }
    Ok(found)
}

/// What one layer has at a path.
struct Seen {
    entry: Option<(OwnedFd, FileType)>,
    /// Nothing of the layers below shows there.
    hides: bool,
}

/// Goes along `path` in one layer: what stands on the way hides what lies below just as what stands at its end does.
fn in_layer(layer: &OwnedFd, path: &Bytes) -> std::result::Result<Seen, rustix::io::Errno> {
    use std::os::fd::AsRawFd;
    let mut seen = Seen { entry: None, hides: false };
    let parts: Vec<&[u8]> = path.as_bytes().split(|&b| b == b'/').filter(|part| !part.is_empty()).collect();
    // The layer itself, for a path without parts.
    for end in usize::from(!parts.is_empty())..=parts.len() {
        let so_far = if end == 0 { ".".into() } else { Bytes::from(parts[..end].join(&b'/')) };
        seen.entry = None;
        let entry = match open_below(layer, &so_far) {
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => break,
            other => other?,
        };
        let stat = rustix::fs::fstat(&entry)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::Directory {
            let is_whiteout = kind == FileType::CharacterDevice && stat.st_rdev == 0;
            seen.hides = true;
            seen.entry = (end == parts.len() && !is_whiteout).then_some((entry, kind));
            break;
        }
        let name = format!("/proc/self/fd/{}", entry.as_raw_fd());
        seen.hides |= rustix::fs::getxattr(name, c"user.overlay.opaque", &mut [0_u8; 8][..]).is_ok();
        seen.entry = Some((entry, kind));
    }
    Ok(seen)
}

/// The directories that a source consists of, the topmost first; or the one file that it is.
fn directories(source: &MountSource, what: &str) -> Result<Vec<OwnedFd>> {
    match source {
        MountSource::Host { path, .. } => Ok(vec![open_directory(path)?]),
        MountSource::Below { base, path, .. } => Ok(vec![open_subpath(base, path)?]),
        MountSource::Image { lowers, subpath: None } => {
            lowers.iter().map(|path| open_directory(path)).collect()
        }
        MountSource::Image { lowers, subpath: Some(path) } => in_layers(lowers, path, what),
        MountSource::FileSystem { .. }
        | MountSource::Overlay { .. }
        | MountSource::Tree { .. }
        | MountSource::Earlier(_)
        | MountSource::Detached(_) => {
            Err(invalid(format!("mount on {what}: nothing that an overlay can lie on")))
        }
    }
}

/// What `path` names in a tree, as a detached mount.
fn open_tree(
    lowers: &[PathBuf],
    path: &Bytes,
    scratch: Option<&Path>,
    what: &str,
) -> Result<std::result::Result<OwnedFd, MountError>> {
    let root = match (lowers, scratch) {
        ([only], None) => open_directory(only)?,
        (lowers, scratch) => {
            let over = scratch.map_or_else(|| lowers[0].clone(), |dir| dir.join("over"));
            let upper = scratch.map(|dir| (dir.join("upper"), dir.join("work")));
            let (lowers, volatile) = (lowers.to_vec(), scratch.is_some());
            let plan = OverlayPlan { over, lowers, upper, volatile, device_nodes: false };
            let mounted = mount_overlay(&plan)?;
            // Only what is attached can be walked and cloned; it goes with the host's tree at the pivot.
            mount::attach(mounted.as_fd(), open_directory(&plan.over)?.as_fd(), what)?;
            reopen(&mounted)?
        }
    };
    let below =
        open_below(&root, path).map_err(|errno| invalid(format!("mount on {what}: {path:?}: {errno}")))?;
    Ok(mount::clone_tree(below.as_fd(), Path::new(""), false))
}

pub(in crate::runtime) fn new_file_system(
    kind: &'static str,
    options: &[(String, String)],
    attributes: u64,
) -> std::result::Result<OwnedFd, MountError> {
    let fs = FileSystem::open(kind)?;
    for (key, value) in options {
        if value.is_empty() {
            fs.flag(key)?;
        } else {
            fs.set(key, value)?;
        }
    }
    fs.mount(attributes)
}

/// Mounts an overlay, detached, by the names of our own descriptors (`/proc/self/fd/N`): short whatever
/// the store's path is, and all that the container's mount table then shows. Descriptors given as such
/// (Linux 6.13) would be shown as paths of the host.
pub(crate) fn mount_overlay(plan: &OverlayPlan) -> Result<OwnedFd> {
    let upper = match &plan.upper {
        Some((upper, work)) => Some((open_directory(upper)?, open_directory(work)?)),
        None => None,
    };
    let lowers = plan.lowers.iter().map(|path| open_directory(path)).collect::<Result<Vec<_>>>()?;
    if let (None, [only]) = (&upper, &lowers[..]) {
        // An overlay without an upper directory wants two layers; one needs no overlay.
        return Ok(mount::clone_tree(only.as_fd(), Path::new(""), false)?);
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        match overlay_of(&lowers, upper.as_ref(), (plan.volatile, plan.device_nodes)) {
            // Where overlays have an index (a setting of the kernel): the container's last life is still being written.
            Err(err) if err.source == Errno::EBUSY && Instant::now() < deadline => std::thread::sleep(LOOK),
            mounted => return mounted.map_err(|err| overlay_failure(&err, plan)),
        }
    }
}

/// Takes the mark away that an overlay which never syncs ("volatile") leaves in its work directory: the kernel mounts
/// such a one only once, because a machine may have crashed since. There is none before its first mount.
pub(crate) fn forget_volatile(work: &Path) {
    std::fs::remove_dir_all(work.join("work/incompat")).ok();
}

/// Mounts an overlay that nobody writes to any more so that it can be looked at, and written to, once more: as what is on
/// the disk, however it was mounted before.
///
/// # Errors
///
/// As [`mount_overlay`].
pub(crate) fn mount_at_rest(mut plan: OverlayPlan) -> Result<OwnedFd> {
    if let (true, Some((_, work))) = (plan.volatile, &plan.upper) {
        forget_volatile(work);
    }
    plan.volatile = false;
    mount_overlay(&plan)
}

/// Mounts an overlay of open directories, the topmost first; `upper` has its work directory beside it. It may be volatile,
/// and have device nodes that can be opened.
fn overlay_of(
    lowers: &[OwnedFd],
    upper: Option<&(OwnedFd, OwnedFd)>,
    (volatile, device_nodes): (bool, bool),
) -> std::result::Result<OwnedFd, MountError> {
    use std::os::fd::AsRawFd;
    let name = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
    let fs = FileSystem::open("overlay")?;
    fs.set("source", "overlay")?;
    fs.flag("userxattr")?;
    let names: Vec<String> = lowers.iter().map(name).collect();
    // One by one from Linux 6.5 on; before, a list of at most 4095 bytes.
    if names.iter().try_for_each(|lower| fs.set("lowerdir+", lower)).is_err() {
        fs.set("lowerdir", &names.join(":"))?;
    }
    if let Some((upper, work)) = upper {
        fs.set("upperdir", &name(upper))?;
        fs.set("workdir", &name(work))?;
    }
    if volatile {
        fs.flag("volatile")?;
    }
    fs.mount(if device_nodes { 0 } else { attr::NODEV })
}

fn overlay_failure(err: &MountError, plan: &OverlayPlan) -> Failure {
    let mut failure =
        Failure::errno(format!("mount the root file system of {} layers", plan.lowers.len()), err.source);
    if err.source == Errno::EINVAL && plan.lowers.len() > 500 {
        failure.hint = Some("Linux takes at most 500 layers".into());
    } else if err.source == Errno::EINVAL {
        // overlay itself, NFS, vfat and others: the kernel takes none of them for the upper directory.
        failure.hint = Some(
            "the store's file system cannot hold what overlayfs writes: \
             name a directory on ext4, xfs, btrfs or tmpfs with --root or KETCH_ROOT"
                .into(),
        );
    } else if err.source == Errno::EPERM {
        failure.hint = Some("overlayfs in a user namespace needs Linux 5.13".into());
    }
    failure
}
