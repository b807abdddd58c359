//! What the volumes of a container consist of when it starts: a directory of the store, one of the host, or a tmpfs.
//!
//! A tmpfs has no place of its own: it lives in the mount namespaces of the containers that use it. The first one makes it,
//! another one gets a copy of the first one's mount, and with the last one it is gone, as with podman.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::base::bytes::Bytes;
use crate::base::spec::MountKind;
use crate::base::volume_options::{VolumeKind, VolumeOptions};
use crate::runtime::failure::{Failure, FailureKind};
use crate::runtime::foreign_mount::{self, Wanted};
use crate::runtime::plan::{self, VolumePlan};
use crate::runtime::step::MountSource;
use crate::store::Store;
use crate::store::volumes::VolumeRecord;

use super::{Monitor, record};

/// The volumes of a container, and what is held of them while it starts.
#[derive(Debug, Default)]
pub(super) struct Volumes {
    pub(super) plans: BTreeMap<String, VolumePlan>,
    /// Of each tmpfs: nobody else makes it now. And the copies of those that there are.
    _held: Vec<OwnedFd>,
}

impl Volumes {
    /// Looks at the volumes of `monitor`'s container.
    ///
    /// # Errors
    ///
    /// For options that mean nothing; if the tmpfs of another container cannot be shared.
    pub(super) fn of(monitor: &Monitor) -> Result<Self, Failure> {
        let mut found = Self::default();
        // Each once, and by name: two containers that start at the same time lock what they share in the same order.
        let mut names = BTreeMap::new();
        for mount in &monitor.spec.mounts {
            if let MountKind::Volume { name, subpath, .. } = &mount.kind {
                let known: &mut Option<&Bytes> = names.entry(name).or_default();
                *known = known.or(subpath.as_ref());
            }
        }
        if names.is_empty() {
            return Ok(found);
        }
        // What cannot be read is a directory, and not new.
        let Ok(store) = Store::open(&monitor.order.root) else { return Ok(found) };
        for (name, subpath) in names {
            let Ok(volume) = store.volumes().get(name) else { continue };
            found.add(monitor, &store, &volume, subpath)?;
        }
        Ok(found)
    }

    /// The names of those that no container has used yet.
    pub(super) fn new_ones(&self) -> Vec<String> {
        self.plans.iter().filter(|(_, plan)| plan.is_new).map(|(name, _)| name.clone()).collect()
    }

    fn add(
        &mut self,
        monitor: &Monitor,
        store: &Store,
        volume: &VolumeRecord,
        subpath: Option<&Bytes>,
    ) -> Result<(), Failure> {
        let name = &volume.name;
        let invalid =
            |text: String| Failure::new(FailureKind::Invalid, format!("mount volume {name}: {text}"));
        let options = VolumeOptions::parse(&volume.options).map_err(|err| invalid(err.to_string()))?;
        let owner = (options.uid.is_some() || options.gid.is_some()).then_some((options.uid, options.gid));
        let source = match options.kind {
            VolumeKind::Directory => None,
            VolumeKind::Bind { source, recursive } if source.is_dir() => {
                Some(MountSource::Host { path: source, recursive })
            }
            VolumeKind::Bind { source, .. } => {
                return Err(invalid(format!("{} does not exist", source.display())));
            }
            VolumeKind::Tmpfs(_) if subpath.is_some() => {
                return Err(invalid("a tmpfs is empty and has no subpath".to_owned()));
            }
            VolumeKind::Tmpfs(data) => Some(self.tmpfs(monitor, store, name, &data)?),
        };
        let is_directory = matches!(source, None | Some(MountSource::Host { .. }));
        let plan = VolumePlan {
            source,
            flags: options.flags,
            is_new: volume.needs_copy_up,
            no_copy: options.no_copy,
            // A tmpfs has it among its own options.
            owner: owner.filter(|_| is_directory && volume.needs_copy_up),
        };
        self.plans.insert(name.clone(), plan);
        Ok(())
    }

    fn tmpfs(
        &mut self,
        monitor: &Monitor,
        store: &Store,
        name: &str,
        data: &[String],
    ) -> Result<MountSource, Failure> {
        let directory = store.root().join("volumes").join(name);
        self._held.push(lock(&directory)?);
        let users = store.containers().uses().map(|uses| uses.items).unwrap_or_default();
        let others = users
            .into_iter()
            .filter(|user| user.container != monitor.spec.id && user.volumes.iter().any(|used| used == name));
        for other in others {
            let directory = store.containers().path(&other.container);
            let Some((pid, target)) = mounted_by(&directory, name) else { continue };
            let what = "share the tmpfs of a volume";
            let wanted = Wanted { path: target.as_path(), only_tmpfs: true, what };
            // It may have ended since.
            if let Ok(copy) = foreign_mount::copy_of(pid, wanted) {
                let source = MountSource::Detached(copy.as_raw_fd());
                self._held.push(copy);
                return Ok(source);
            }
        }
        Ok(plan::file_system("tmpfs", &plan::key_values(data)))
    }
}

/// Process 1 of the container in `directory`, and where it has the volume, if it runs.
fn mounted_by(directory: &Path, volume: &str) -> Option<(i32, Bytes)> {
    let record = record::of_running(directory)?;
    let mount = record::spec(directory)?
        .mounts
        .into_iter()
        .find(|mount| matches!(&mount.kind, MountKind::Volume { name, .. } if name == volume))?;
    Some((record.pid, mount.target))
}

/// Keeps others from making the same tmpfs, until this start is recorded.
fn lock(directory: &Path) -> Result<OwnedFd, Failure> {
    let failed = |errno| Failure::errno(format!("lock {}", directory.display()), errno);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let file = rustix::fs::open(directory, flags, Mode::empty()).map_err(failed)?;
    rustix::fs::flock(&file, FlockOperation::LockExclusive).map_err(failed)?;
    Ok(file)
}
