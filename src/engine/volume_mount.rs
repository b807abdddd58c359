//! `volume mount`: where a volume's files are, for whoever is in the mount namespace of `unshare`.

use std::path::PathBuf;

use crate::base::volume_options::{VolumeKind, VolumeOptions};
use crate::engine::volume::missing;
use crate::engine::{Engine, Error, Result};
use crate::runtime::image_mount::{mount_volume, mounted_below, unmount};
use crate::store::volumes::VolumeRecord;

impl Engine {
    /// The volume that `typed` means.
    pub(super) fn volume(&self, typed: &str) -> Result<VolumeRecord> {
        let volumes = self.store().volumes();
        let found = volumes.find(typed).and_then(|name| volumes.get(&name));
        found.map_err(|err| missing(typed, err))
    }

    /// Where the files of a volume are, on the host: its own directory, or the one of the host that it is.
    pub(super) fn volume_directory(&self, volume: &VolumeRecord) -> PathBuf {
        match VolumeOptions::parse(&volume.options).map(|options| options.kind) {
            Ok(VolumeKind::Bind { source, .. }) => source,
            _ => self.store().volumes().data_path(&volume.name),
        }
    }

    fn is_volume_mounted(&self, volume: &VolumeRecord) -> Result<bool> {
        let at = self.store().volumes().data_path(&volume.name);
        let points = mounted_below(&self.store().root().join("volumes"))
            .map_err(|err| Error::system("read /proc/self/mountinfo", err))?;
        Ok(points.contains(&at))
    }

    /// Mounts a volume, if it is one that is mounted, and returns where its files are. A tmpfs is a new one: those of
    /// containers are seen by containers only.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`](crate::engine::Kind::NotFound); Unsupported outside of `unshare`.
    pub(crate) fn mount_volume(&self, typed: &str) -> Result<PathBuf> {
        self.assert_may_mount("volume mount")?;
        let volume = self.volume(typed)?;
        let at = self.store().volumes().data_path(&volume.name);
        let options = VolumeOptions::parse(&volume.options).map_err(|err| Error::invalid(err.to_string()))?;
        if options.kind != VolumeKind::Directory && !self.is_volume_mounted(&volume)? {
            mount_volume(&options, &at)
                .map_err(|err| Error::system(format!("mount volume {}", volume.name), err))?;
        }
        Ok(at)
    }

    /// Takes the mount of a volume away, if there is one.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`](crate::engine::Kind::NotFound); if it is in use.
    pub(crate) fn unmount_volume(&self, typed: &str) -> Result<String> {
        let volume = self.volume(typed)?;
        if self.is_volume_mounted(&volume)? {
            let at = self.store().volumes().data_path(&volume.name);
            unmount(&at, false)
                .map_err(|err| Error::system(format!("unmount volume {}", volume.name), err))?;
        }
        Ok(volume.name)
    }
}
