//! Everything that is known of one object.

use std::os::fd::AsFd as _;
use std::path::PathBuf;

use crate::base::health::HealthState;
use crate::base::id::ContainerId;
use crate::base::idmap::IdMap;
use crate::base::manifest::ImageConfig;
use crate::base::spec::{ContainerSpec, UserNamespace};
use crate::engine::health;
use crate::engine::image::Image;
use crate::engine::state::{self, Status};
use crate::engine::userns::machine_ids;
use crate::engine::{Engine, Error, Result, exec_sessions};
use crate::runtime::idmaps;
use crate::store::volumes::VolumeRecord;

/// The longest configuration and manifest that are read, in bytes.
const MAX_DOCUMENT: usize = 8 << 20;

/// One container.
#[derive(Debug)]
pub(crate) struct ContainerDetails {
    pub(crate) id: ContainerId,
    pub(crate) name: String,
    pub(crate) spec: ContainerSpec,
    pub(crate) status: Status,
    /// What its monitor has found, if its health is checked and it has run.
    pub(crate) health: Option<HealthState>,
    /// Its directory.
    pub(crate) dir: PathBuf,
    /// Its maps of user and group IDs to those of U, if they are not the same.
    pub(crate) id_maps: Option<(IdMap, IdMap)>,
    /// Commands that run in its background, by session ID.
    pub(crate) exec_ids: Vec<String>,
}

/// One image.
#[derive(Debug)]
pub(crate) struct ImageDetails {
    pub(crate) image: Image,
    /// Its configuration as far as ketch uses it.
    pub(crate) config: ImageConfig,
    /// Its configuration as its author wrote it.
    pub(crate) config_json: serde_json::Value,
    /// Its manifest as its author wrote it; null if there is none.
    pub(crate) manifest_json: serde_json::Value,
}

impl Engine {
    /// Reads everything about a container, which was found by the text `typed`.
    ///
    /// # Errors
    ///
    /// If it is gone or damaged.
    pub(crate) fn inspect_container(&self, id: &ContainerId, typed: &str) -> Result<ContainerDetails> {
        let dir = self.store().containers().open(id)?;
        let spec = state::read_spec(dir.as_fd(), id)?;
        let status = state::examine(dir.as_fd(), id)?;
        let id_maps = match &spec.userns {
            UserNamespace::Default | UserNamespace::Host | UserNamespace::Path(_) => None,
            wish => {
                let u = self.caller().mapping.map(|u| (u.uids, u.gids));
                let (uids, gids) = u.unwrap_or_else(|| (machine_ids(), machine_ids()));
                idmaps::of_container(wish, &uids, &gids, (0, 0))
            }
        };
        let path = self.store().containers().path(id);
        // A name that means this container is its name: no need to look through all of them.
        let name = match self.store().names().get(typed)? {
            Some(named) if named == *id => typed.to_owned(),
            _ => self.container_name(id)?,
        };
        let exec_ids = exec_sessions::running(dir.as_fd());
        let health = if spec.health.is_some() { health::read(dir.as_fd(), id)? } else { None };
        Ok(ContainerDetails { id: id.clone(), name, spec, status, health, dir: path, id_maps, exec_ids })
    }

    /// Reads everything about a local image, its parent among it.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`](crate::engine::Kind::NotFound); if its configuration is missing or damaged.
    pub(crate) fn inspect_image(&self, typed: &str) -> Result<ImageDetails> {
        let mut details = self.read_image(typed)?;
        details.image.parent = self.parent_of(&details.image.record)?;
        Ok(details)
    }

    /// Reads everything about a local image but its parent, which others have to be read for.
    ///
    /// # Errors
    ///
    /// As [`inspect_image`](Self::inspect_image).
    pub(in crate::engine) fn read_image(&self, typed: &str) -> Result<ImageDetails> {
        let image = self.image_details(typed)?;
        let text = self.store().blobs().read_small(&image.record.id, MAX_DOCUMENT)?;
        let damaged = |err: &dyn std::fmt::Display| {
            Error::system(format!("understand the configuration of image {typed}"), err.to_string())
        };
        let config = ImageConfig::parse(&text).map_err(|err| damaged(&err))?;
        let config_json = serde_json::from_slice(&text).map_err(|err| damaged(&err))?;
        // An image shows without its manifest, which only its annotations are in.
        let manifest_json = image
            .record
            .manifest()
            .and_then(|manifest| self.store().blobs().read_small(&manifest.digest, MAX_DOCUMENT).ok())
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default();
        Ok(ImageDetails { image, config, config_json, manifest_json })
    }

    /// The record of a volume, and where its files are.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`](crate::engine::Kind::NotFound).
    pub(crate) fn inspect_volume(&self, typed: &str) -> Result<(VolumeRecord, PathBuf)> {
        let volume = self.volume(typed)?;
        let data = self.store().volumes().data_path(&volume.name);
        Ok((volume, data))
    }
}
