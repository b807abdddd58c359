//! Looks for damage in the store, and takes damaged objects away so that they can be made again.

use std::collections::HashSet;
use std::io::Read as _;

use jiff::SignedDuration;
use sha2::{Digest as _, Sha256};

use crate::base::digest::Digest;
use crate::base::id::ContainerId;
use crate::base::pod::PodId;
use crate::engine::remove::Removing;
use crate::engine::{Engine, Error, Kind, Result};
use crate::runtime::monitor::wiring;
use crate::store::StoreError;
use crate::store::images::ImageRecord;

/// What is wrong with one object.
#[derive(Debug)]
pub(crate) struct Damage {
    /// A sentence for a person.
    pub(crate) text: String,
    /// What makes it right.
    pub(crate) remedy: Remedy,
}

/// How damage is taken away. Images and layers come back by pulling; a container does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Remove the image's record, by the hex of its ID.
    Image(String),
    /// Remove the layer.
    Layer(Digest),
    /// Remove the blob.
    Blob(Digest),
    /// Remove the container, with all that it has changed.
    Container(ContainerId),
    /// Forget what was noted of the container's networks since it was created.
    Attachments(ContainerId),
    /// Remove the name of an image, by its file.
    Name(String),
    /// Make the volume's record anew; its data stays.
    Volume(String),
    /// Remove the record of the network.
    Network(String),
    /// Remove the secret, with its value.
    Secret(String),
    /// Remove the pod, with its containers.
    Pod(PodId),
    /// Only a person can decide.
    Nothing,
}

impl From<StoreError> for Damage {
    fn from(err: StoreError) -> Self {
        let remedy = match &err {
            StoreError::Damaged { what: "volume", name, .. } => Remedy::Volume(name.clone()),
            StoreError::Damaged { what: "secret", name, .. } => Remedy::Secret(name.clone()),
            StoreError::Damaged { what: "pod", name, .. } => {
                name.parse().map_or(Remedy::Nothing, Remedy::Pod)
            }
            StoreError::Damaged { what: "image name", name, .. } => Remedy::Name(name.clone()),
            _ => Remedy::Nothing,
        };
        Self { text: err.to_string(), remedy }
    }
}

impl Engine {
    /// Looks at every object; with `thorough`, reads every blob again.
    ///
    /// # Errors
    ///
    /// If the store cannot be read at all.
    pub(crate) fn check(&self, thorough: bool) -> Result<Vec<Damage>> {
        let mut found = Vec::new();
        let bad_layers = self.check_layers(&mut found)?;
        let bad_blobs = if thorough { self.check_blobs(&mut found)? } else { HashSet::new() };
        self.check_images(&mut found, &bad_layers, &bad_blobs)?;
        self.check_containers(&mut found, &bad_layers)?;
        found.extend(self.store().volumes().list()?.damaged.into_iter().map(Damage::from));
        found.extend(self.store().secrets().list()?.damaged.into_iter().map(Damage::from));
        found.extend(self.store().pods().list()?.damaged.into_iter().map(Damage::from));
        for name in self.damaged_networks()? {
            found.push(Damage { text: format!("network {name} is damaged"), remedy: Remedy::Network(name) });
        }
        Ok(found)
    }

    /// Layers without record or files.
    fn check_layers(&self, found: &mut Vec<Damage>) -> Result<HashSet<Digest>> {
        let mut bad = HashSet::new();
        for layer in self.store().layers().ids()? {
            if !self.store().layers().has(&layer) && self.store().layers().exists(&layer) {
                let text = format!("layer {layer} is incomplete");
                found.push(Damage { text, remedy: Remedy::Layer(layer) });
                bad.insert(layer);
            }
        }
        Ok(bad)
    }

    /// Blobs whose content is not what their name says.
    fn check_blobs(&self, found: &mut Vec<Damage>) -> Result<HashSet<Digest>> {
        let mut bad = HashSet::new();
        for (blob, _) in self.store().blobs().list()? {
            let digest = match self.digest_of_blob(&blob) {
                // Removed meanwhile.
                Err(err) if err.kind == Kind::NotFound => continue,
                other => other?,
            };
            if digest != blob {
                let text = format!("blob {blob} has digest {digest}");
                found.push(Damage { text, remedy: Remedy::Blob(blob) });
                bad.insert(blob);
            }
        }
        Ok(bad)
    }

    fn digest_of_blob(&self, blob: &Digest) -> Result<Digest> {
        let failed = |err| Error::system(format!("read blob {blob}"), err);
        let mut file = self.store().blobs().open(blob)?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 256 << 10];
        loop {
            match file.read(&mut buffer).map_err(failed)? {
                0 => return Ok(Digest::from_hash(hash)),
                got => hash.update(&buffer[..got]),
            }
        }
    }

    fn check_images(
        &self,
        found: &mut Vec<Damage>,
        bad_layers: &HashSet<Digest>,
        bad_blobs: &HashSet<Digest>,
    ) -> Result<()> {
        for hex in self.store().images().ids()? {
            let Ok(id) = Digest::from_hex(&hex) else { continue };
            let damage = match self.store().images().get(&id) {
                Err(err) if err.is_not_found() => continue,
                Err(err) => Some(Damage { text: err.to_string(), remedy: Remedy::Image(hex) }),
                Ok(image) => match self.missing_part(&image, bad_layers, bad_blobs)? {
                    Some(text) => Some(Damage { text, remedy: Remedy::Image(hex) }),
                    None => self.missing_layer_blob(&image)?,
                },
            };
            // What belongs to an image that is removed meanwhile may be gone before it.
            let is_gone = || self.store().images().get(&id).is_err_and(|err| err.is_not_found());
            if let Some(damage) = damage
                && !is_gone()
            {
                found.push(damage);
            }
        }
        found.extend(self.store().refs().list()?.damaged.into_iter().map(Damage::from));
        Ok(())
    }

    /// What an image lacks, as a sentence.
    fn missing_part(
        &self,
        image: &ImageRecord,
        bad_layers: &HashSet<Digest>,
        bad_blobs: &HashSet<Digest>,
    ) -> Result<Option<String>> {
        let id = image.id.hex();
        for layer in image.chain_ids() {
            if bad_layers.contains(&layer) || !self.store().layers().has(&layer) {
                return Ok(Some(format!("image {id}: layer {layer} is missing or incomplete")));
            }
        }
        // Without the blobs of its layers it still runs; without configuration and manifests it does not.
        let documents = image.manifests.iter().map(|manifest| manifest.digest).chain([image.id]);
        for blob in documents {
            if bad_blobs.contains(&blob) || !self.store().blobs().has(&blob)? {
                return Ok(Some(format!("image {id}: blob {blob} is missing or damaged")));
            }
        }
        Ok(None)
    }

    /// That an image cannot leave the machine, because the blob of a layer is not there.
    fn missing_layer_blob(&self, image: &ImageRecord) -> Result<Option<Damage>> {
        for blob in image.manifests.iter().flat_map(|manifest| &manifest.layers) {
            if !self.store().blobs().has(blob)? {
                let id = image.id.hex();
                let text = format!(
                    "image {id}: the blob {blob} of a layer is missing: it runs, but cannot be saved or pushed; pull it again"
                );
                return Ok(Some(Damage { text, remedy: Remedy::Nothing }));
            }
        }
        Ok(None)
    }

    fn check_containers(&self, found: &mut Vec<Damage>, bad_layers: &HashSet<Digest>) -> Result<()> {
        for id in self.store().containers().list()? {
            let text = match self.inspect_container(&id, "") {
                Err(_) if !self.store().containers().exists(&id) => continue,
                Err(err) => match &err.source {
                    Some(source) => format!("container {id}: {err}: {source}"),
                    None => format!("container {id}: {err}"),
                },
                Ok(_) => continue,
            };
            found.push(Damage { text, remedy: Remedy::Container(id) });
        }
        for id in self.store().containers().list()? {
            if let Err(err) = wiring::changed_attachments(&self.store().containers().path(&id)) {
                let text = format!("container {id}: what was noted of its networks is damaged: {err}");
                found.push(Damage { text, remedy: Remedy::Attachments(id) });
            }
        }
        for uses in self.store().containers().uses()?.items {
            let lacks = |layer: &&Digest| bad_layers.contains(layer) || !self.store().layers().has(layer);
            if let Some(layer) = uses.layers.iter().find(lacks) {
                let text = format!("container {}: layer {layer} is missing or incomplete", uses.container);
                found.push(Damage { text, remedy: Remedy::Container(uses.container) });
            }
        }
        Ok(())
    }

    /// Takes damage away and says how; `None` if it is not of a kind that this may do.
    ///
    /// Containers and secrets only go with `all`: what only they hold goes with them.
    ///
    /// # Errors
    ///
    /// If the store cannot be changed.
    pub(crate) fn repair(&self, damage: &Damage, all: bool) -> Result<Option<&'static str>> {
        match &damage.remedy {
            Remedy::Nothing => return Ok(None),
            Remedy::Container(_) | Remedy::Secret(_) | Remedy::Pod(_) if !all => return Ok(None),
            Remedy::Volume(name) => {
                self.store().volumes().renew_record(name)?;
                return Ok(Some("mended, without labels and options"));
            }
            Remedy::Attachments(id) => {
                wiring::forget_attachments(&self.store().containers().path(id))
                    .map_err(|err| Error::system("forget what was noted of the networks", err))?;
                return Ok(Some("mended, it is on the networks it was created with"));
            }
            Remedy::Network(name) => drop(self.remove_damaged_network(name)?),
            Remedy::Secret(name) => drop(self.remove_secret(name)?),
            Remedy::Pod(id) => {
                let how = Removing { force: true, ..Removing::default() };
                self.remove_pod(id, &how)?.into_iter().next().map_or(Ok(()), Err)?;
            }
            Remedy::Name(file) => {
                let lock = self.lock()?;
                self.store().refs().remove_damaged(file, &lock)?;
            }
            Remedy::Container(id) => {
                self.remove_container(id, &Removing { force: true, depend: true, ..Removing::default() })?;
            }
            Remedy::Image(hex) => {
                let lock = self.lock()?;
                let Ok(id) = Digest::from_hex(hex) else { return Ok(None) };
                for name in self.names_of_image(&id)? {
                    self.store().refs().remove(&name, &lock)?;
                }
                self.store().images().remove(&id, &lock)?;
            }
            Remedy::Layer(layer) => {
                let taken = {
                    let _lock = self.lock()?;
                    // A pull may have made it anew meanwhile.
                    match self.store().layers().has(layer) {
                        true => None,
                        false => self.store().layers().take(layer)?,
                    }
                };
                self.discard(taken.into_iter().collect())?;
            }
            Remedy::Blob(blob) => {
                let _lock = self.lock()?;
                self.store().blobs().remove(blob)?;
            }
        }
        Ok(Some("removed"))
    }

    /// Removes layers that nothing refers to and that were made longer ago than `age`.
    ///
    /// # Errors
    ///
    /// If the store cannot be read or changed.
    pub(crate) fn remove_unused_layers(&self, age: SignedDuration) -> Result<()> {
        let mut leftovers = Vec::new();
        {
            let _lock = self.lock()?;
            let reachable = self.store().reachable()?;
            if !reachable.damaged.is_empty() {
                // What cannot be read may refer to any of them.
                return Ok(());
            }
            for layer in self.store().layers().ids()? {
                let made = std::fs::metadata(self.store().layers().fs_path(&layer).join("../layer.json"));
                let made = made.and_then(|file| file.modified()).ok().and_then(|time| time.elapsed().ok());
                let is_old = made.is_none_or(|made| made.as_secs_f64() >= age.as_secs_f64());
                if is_old && !reachable.layers.contains(&layer) {
                    leftovers.extend(self.store().layers().take(&layer)?);
                }
            }
        }
        self.discard(leftovers)
    }
}
