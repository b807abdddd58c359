//! The root directory that a copy works in.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sched::CloneFlags;
use rustix::fs::{Mode, OFlags};

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

/// Opens the root of `place`; `first` is the pidfd of a running container's process 1.
pub(super) fn open(place: Place, first: Option<OwnedFd>) -> Result<RootDir> {
    match place {
        Place::Directory(path) => open_directory(&path).map(RootDir::new),
        Place::Running { pid } => {
            let first = first.ok_or_else(|| Failure::new(FailureKind::System, "no process 1 given"))?;
            join(pid, &first)?;
            host()
        }
        Place::Stopped { spec, container, store, .. } => mounted(&spec, container, &store),
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

/// Mounts a stopped container's root and volumes, in the mount namespace of this stage alone.
fn mounted(spec: &ContainerSpec, container: PathBuf, store: &Path) -> Result<RootDir> {
    let places = Places { container, layers: store.join("layers"), volumes: store.join("volumes") };
    let root = match plan::root(spec, &places) {
        RootPlan::Overlay(mut overlay) => {
            // A volatile overlay that was mounted twice counts as damaged.
            overlay.volatile = false;
            let mounted = init::mounts::mount_overlay(&overlay)?;
            let over = open_directory(&overlay.over)?;
            mount::attach(mounted.as_fd(), over.as_fd(), "the container's directory")?;
            mounted
        }
        RootPlan::Directory(path) => open_directory(&path)?,
    };
    rustix::process::fchdir(&root).map_err(|errno| Failure::errno("enter the root", errno))?;
    // A mount that fsmount made must be opened again to be walked from.
    let root = RootDir::new(open_directory(Path::new("."))?);
    for mounted in &spec.mounts {
        let source = match &mounted.kind {
            MountKind::Bind { source, .. } => source.clone(),
            MountKind::Volume { name, subpath: None, .. } => match volume(store, name) {
                Some(path) => path,
                None => continue,
            },
            _ => continue,
        };
        // What was never started has no mount points yet, and a source may have gone.
        let Ok(target) = root.open(mounted.target.as_bytes(), OFlags::PATH) else { continue };
        let Ok(tree) = mount::clone_tree(rustix::fs::CWD, &source, true) else { continue };
        if mounted.read_only {
            mount::set_attributes(tree.as_fd(), true, mount::attr::RDONLY, 0, 0)?;
        }
        mount::attach(tree.as_fd(), target.as_fd(), &rootfs::shown(mounted.target.as_bytes()))?;
    }
    Ok(root)
}

/// Where the files of a volume are; a tmpfs has none while nobody uses it.
fn volume(store: &Path, name: &str) -> Option<PathBuf> {
    let store = Store::open(store).ok()?;
    let options = store.volumes().get(name).ok().map(|volume| volume.options).unwrap_or_default();
    match VolumeOptions::parse(&options).map(|options| options.kind) {
        Ok(VolumeKind::Bind { source, .. }) => Some(source),
        Ok(VolumeKind::Tmpfs(_)) => None,
        _ => Some(store.volumes().data_path(name)),
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
