//! The root directory that a copy works in.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sched::CloneFlags;
use rustix::fs::{Mode, OFlags};

use crate::base::bytes::Bytes;
use crate::base::idmap::IdMap;
use crate::base::spec::{ContainerSpec, MountKind};
use crate::base::volume_options::{VolumeKind, VolumeOptions};
use crate::runtime::copy::{Place, Result, unpack::Owning};
use crate::runtime::failure::{Failure, FailureKind};
use crate::runtime::init;
use crate::runtime::plan::{self, Places};
use crate::runtime::rootfs::{self, RootDir};
use crate::runtime::step::RootPlan;
use crate::store::Store;
use crate::sys::{mount, namespace};

const O_DIR: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The host's own root.
pub(super) fn host() -> Result<RootDir> {
    open_directory(Path::new("/")).map(RootDir::new)
}

/// Opens the root of `place`; `first` is the pidfd of a running container's process 1. `alone` leaves out what is mounted
/// into it, so that what lies below such a mount is seen.
pub(super) fn open(place: Place, first: Option<OwnedFd>, alone: bool) -> Result<RootDir> {
    match place {
        Place::Directory(path) => open_directory(&path).map(RootDir::new),
        Place::Running { pid } => {
            let first = first.ok_or_else(|| Failure::new(FailureKind::System, "no process 1 given"))?;
            join(pid, &first)?;
            let tree = alone.then(|| mount::clone_tree(rustix::fs::CWD, Path::new("/"), false));
            match tree {
                Some(Ok(tree)) => of_mount(tree),
                // There may be mounts that this user namespace must not take off.
                None | Some(Err(_)) => host(),
            }
        }
        Place::Stopped { spec, container, store, .. } => {
            let root = root_of(&spec, container, &store)?;
            if !alone {
                mount_all(&spec, &root, &store)?;
            }
            Ok(root)
        }
    }
}

/// Joins the user and the mount namespace of process 1; not the PID namespace, so that nothing in the
/// container sees this process.
fn join(pid: i32, first: &OwnedFd) -> Result<()> {
    let mut flags = CloneFlags::CLONE_NEWNS;
    if !namespace::is_shared(pid, "user").unwrap_or(false) {
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    nix::sched::setns(first, flags).map_err(|errno| Failure::errno("join the container", errno))?;
    init::become_root()
}

/// Mounts a stopped container's root, in the mount namespace of this stage alone.
fn root_of(spec: &ContainerSpec, container: PathBuf, store: &Path) -> Result<RootDir> {
    let places = Places { container, layers: store.join("layers"), volumes: store.join("volumes") };
    let root = match plan::root(spec, &places, false) {
        RootPlan::Overlay(overlay) => {
            let over = open_directory(&overlay.over)?;
            let mounted = init::mounts::mount_at_rest(overlay)?;
            mount::attach(mounted.as_fd(), over.as_fd(), "the container's directory")?;
            mounted
        }
        RootPlan::Directory(path) => open_directory(&path)?,
    };
    of_mount(root)
}

fn of_mount(root: OwnedFd) -> Result<RootDir> {
    RootDir::of_mount(root).map_err(|err| Failure::errno("open the root", err))
}

/// Mounts a stopped container's volumes and binds into its root.
fn mount_all(spec: &ContainerSpec, root: &RootDir, store: &Path) -> Result<()> {
    for mounted in &spec.mounts {
        let (source, below, copy_up) = match &mounted.kind {
            MountKind::Bind { source, within, .. } => match within {
                None => (source.clone(), None, false),
                Some(base) => {
                    (base.clone(), Some(Bytes::from(source.strip_prefix(base).unwrap_or(source))), false)
                }
            },
            MountKind::Volume { name, subpath, copy_up, .. } => match volume(store, name) {
                Some((path, may_fill)) => (path, subpath.clone(), *copy_up && may_fill),
                None => continue,
            },
            _ => continue,
        };
        let what = rootfs::shown(mounted.target.as_bytes());
        // A source may have gone. What was never started has no mount points yet, and its volumes are still empty: both
        // become what the start would make of them, or a copy would end where nobody finds it.
        let tree = match below {
            None => mount::clone_tree(rustix::fs::CWD, &source, true),
            Some(below) => {
                match open_directory(&source).map(RootDir::new)?.open(below.as_bytes(), OFlags::PATH) {
                    Ok(below) => {
                        let recursive = matches!(mounted.kind, MountKind::Bind { .. });
                        mount::clone_tree(below.as_fd(), Path::new(""), recursive)
                    }
                    Err(_) => continue,
                }
            }
        };
        let Ok(tree) = tree else { continue };
        let Ok(shape) = rootfs::shape_of(tree.as_fd()) else { continue };
        let copy_up = copy_up && root.open(mounted.target.as_bytes(), OFlags::PATH).is_ok();
        let Ok(target) = root.target(mounted.target.as_bytes(), shape, false) else { continue };
        if copy_up {
            init::copyup::fill(target.as_fd(), tree.as_fd(), false)
                .map_err(|err| Failure::errno(format!("copy the image's {what} into the volume"), err))?;
        }
        // Into an overlay's own place nothing is copied, and never into what lies below it.
        if mounted.read_only || mounted.overlay.is_some() {
            mount::set_attributes(tree.as_fd(), true, mount::attr::RDONLY, 0, 0)?;
        }
        mount::attach(tree.as_fd(), target.as_fd(), &what)?;
    }
    Ok(())
}

/// Where the files of a volume are, and whether the image's files may fill it; a tmpfs has none while nobody uses it.
fn volume(store: &Path, name: &str) -> Option<(PathBuf, bool)> {
    let store = Store::open(store).ok()?;
    let options = store.volumes().get(name).ok().map(|volume| volume.options).unwrap_or_default();
    let Ok(options) = VolumeOptions::parse(&options) else {
        return Some((store.volumes().data_path(name), false));
    };
    match options.kind {
        VolumeKind::Bind { source, .. } => Some((source, false)),
        VolumeKind::Tmpfs(_) => None,
        VolumeKind::Directory => Some((store.volumes().data_path(name), !options.no_copy)),
    }
}

/// The container's user, as files are given to.
pub(super) fn identity(root: &RootDir, user: &str, id_maps: Option<&(IdMap, IdMap)>) -> Result<Owning> {
    let found = init::identity_of(root, user, &[])?;
    let outside = |map: Option<&IdMap>, id| map.map_or(Some(id), |map| map.to_outside(id));
    let uid = outside(id_maps.map(|(uids, _)| uids), found.uid);
    let gid = outside(id_maps.map(|(_, gids)| gids), found.gid);
    match (uid, gid) {
        (Some(uid), Some(gid)) => Ok(Owning::Is { uid, gid }),
        _ => Err(Failure::new(FailureKind::Invalid, format!("the container's user {user} is not mapped"))),
    }
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    rustix::fs::open(path, O_DIR, Mode::empty())
        .map_err(|errno| Failure::errno(format!("open {}", path.display()), errno))
}
