//! `container mount`: a container's files at a path.

use std::ffi::OsStr;
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use crate::base::id::ContainerId;
use crate::engine::state;
use crate::engine::{Engine, Error, Result};
use crate::runtime::image_mount::{mount_container, mounted_below, unmount};
use crate::runtime::plan::Places;

/// The mount point in a container's directory.
const MERGED: &str = "merged";

impl Engine {
    fn mount_point(&self, id: &ContainerId) -> PathBuf {
        self.store().containers().path(id).join(MERGED)
    }

    /// Mounts the root of a container, and returns where. One that is mounted already is a success.
    ///
    /// # Errors
    ///
    /// [`Kind::Unsupported`](crate::engine::Kind::Unsupported) outside of `unshare`.
    pub(crate) fn mount_container(&self, id: &ContainerId) -> Result<PathBuf> {
        self.assert_may_mount("mount")?;
        let at = self.mount_point(id);
        if self.mounted_containers()?.contains(id) {
            return Ok(at);
        }
        let dir = self.store().containers().open(id)?;
        let spec = state::read_spec(dir.as_fd(), id)?;
        let status = self.status_with_monitor(dir.as_fd(), id)?;
        std::fs::create_dir_all(&at).map_err(|err| Error::system(format!("create {}", at.display()), err))?;
        let root = self.store().root();
        let places = Places {
            container: self.store().containers().path(id),
            layers: root.join("layers"),
            volumes: root.join("volumes"),
        };
        let pid = Some(status.pid()).filter(|pid| *pid != 0);
        mount_container(&spec, &places, pid, &at)
            .map_err(|err| Error::system(format!("mount container {}", id.short()), err))?;
        self.record(self.event_of("mount", &spec));
        Ok(at)
    }

    /// The containers that are mounted in this mount namespace.
    ///
    /// # Errors
    ///
    /// If /proc cannot be read.
    pub(crate) fn mounted_containers(&self) -> Result<Vec<ContainerId>> {
        let points = mounted_below(&self.store().root().join("containers"))
            .map_err(|err| Error::system("read /proc/self/mountinfo", err))?;
        let of_container = |path: PathBuf| {
            let directory = path.parent().filter(|_| path.file_name() == Some(OsStr::new(MERGED)))?;
            directory.file_name()?.to_str()?.parse().ok()
        };
        Ok(points.into_iter().filter_map(of_container).collect())
    }

    /// What `mount` without a container lists: those that are mounted, and where.
    ///
    /// # Errors
    ///
    /// As [`Engine::mount_container`].
    pub(crate) fn list_container_mounts(&self) -> Result<Vec<(ContainerId, PathBuf)>> {
        self.assert_may_mount("mount")?;
        Ok(self.mounted_containers()?.into_iter().map(|id| (id.clone(), self.mount_point(&id))).collect())
    }

    /// Takes the mount of a container away. One that is not mounted is a success.
    ///
    /// # Errors
    ///
    /// If it is in use and not `force`.
    pub(crate) fn unmount_container(&self, id: &ContainerId, force: bool) -> Result<()> {
        if !self.mounted_containers()?.contains(id) {
            return Ok(());
        }
        let at = self.mount_point(id);
        unmount(&at, force).map_err(|err| Error::system(format!("unmount container {}", id.short()), err))?;
        // An empty directory that stays is used again.
        std::fs::remove_dir(&at).ok();
        self.record_container("unmount", id);
        Ok(())
    }
}
