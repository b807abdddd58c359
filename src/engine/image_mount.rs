//! `image mount`: an image's files at a path.

use std::path::PathBuf;

use crate::base::digest::Digest;
use crate::engine::{Engine, Error, Kind, Result};
use crate::runtime::image_mount::{mount_image, mounted_below, unmount};

/// An image that is mounted.
#[derive(Clone, Debug)]
pub(crate) struct Mounted {
    pub(crate) id: Digest,
    pub(crate) path: PathBuf,
}

impl Engine {
    fn mounts_directory(&self) -> PathBuf {
        self.store().root().join("mounts")
    }

    /// Mounting needs a mount namespace that outlives this process.
    pub(super) fn assert_may_mount(&self, command: &str) -> Result<()> {
        if self.is_rootful() {
            return Ok(());
        }
        let message = format!(
            "cannot run command \"ketch {command}\" in rootless mode, must execute `ketch unshare` first"
        );
        Err(Error::new(Kind::Unsupported, message))
    }

    /// Mounts an image read-only, and returns where. One that is mounted already is a success.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`]; [`Kind::Unsupported`] outside of `unshare`.
    pub(crate) fn mount_image(&self, typed: &str) -> Result<Mounted> {
        self.assert_may_mount("image mount")?;
        let image = self.image(typed)?.image;
        let path = self.mounts_directory().join(image.id.hex());
        let mounted = Mounted { id: image.id, path: path.clone() };
        if self.mounted_images()?.iter().any(|known| known.id == image.id) {
            return Ok(mounted);
        }
        std::fs::create_dir_all(&path)
            .map_err(|err| Error::system(format!("create {}", path.display()), err))?;
        let lowers: Vec<PathBuf> =
            image.chain_ids().iter().rev().map(|chain| self.store().layers().fs_path(chain)).collect();
        mount_image(lowers, &path).map_err(|err| Error::system(format!("mount image {typed}"), err))?;
        Ok(mounted)
    }

    /// The images that are mounted in this mount namespace.
    ///
    /// # Errors
    ///
    /// If /proc cannot be read.
    pub(crate) fn mounted_images(&self) -> Result<Vec<Mounted>> {
        self.assert_may_mount("image mount")?;
        let points = mounted_below(&self.mounts_directory())
            .map_err(|err| Error::system("read /proc/self/mountinfo", err))?;
        let image = |path: PathBuf| {
            let id = Digest::from_hex(path.file_name()?.to_str()?).ok()?;
            Some(Mounted { id, path })
        };
        Ok(points.into_iter().filter_map(image).collect())
    }

    /// Takes the mount of an image away; returns its ID, or nothing if it is not mounted.
    ///
    /// # Errors
    ///
    /// If it is in use and not `force`.
    pub(crate) fn unmount_image(&self, typed: &str, force: bool) -> Result<Option<Digest>> {
        let id = self.image(typed)?.image.id;
        self.assert_may_mount("image unmount")?;
        let Some(mounted) = self.mounted_images()?.into_iter().find(|known| known.id == id) else {
            return Ok(None);
        };
        unmount(&mounted.path, force).map_err(|err| Error::system(format!("unmount image {typed}"), err))?;
        // An empty directory that stays is used again.
        std::fs::remove_dir(&mounted.path).ok();
        Ok(Some(id))
    }
}
