//! What takes how much space.

use std::collections::{HashMap, HashSet};

use crate::base::digest::Digest;
use crate::engine::build::prune::KeptBuild;
use crate::engine::filter::Filters;
use crate::engine::image::Image;
use crate::engine::list::{Container, Query};
use crate::engine::{Engine, Result};
use crate::store::images;
use crate::store::layers::LayerRecord;
use crate::store::volumes::VolumeRecord;

/// The space that everything takes, object by object.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    pub(crate) images: Vec<ImageUsage>,
    /// Bytes of all layers, each counted once in each form.
    pub(crate) layers_bytes: u64,
    /// Bytes of forms of layers for other IDs that no container uses, of images that containers use.
    pub(crate) loose_bytes: u64,
    pub(crate) containers: Vec<ContainerUsage>,
    pub(crate) volumes: Vec<VolumeUsage>,
    /// What builds have kept.
    pub(crate) builds: Vec<KeptBuild>,
}

/// One image. Its layers count in every form in which they are there: for U, and for other IDs (`engine::mapped`).
#[derive(Debug)]
pub(crate) struct ImageUsage {
    pub(crate) image: Image,
    /// Bytes of layers that other images have too.
    pub(crate) shared_bytes: u64,
    /// Bytes of layers that only this image has.
    pub(crate) unique_bytes: u64,
}

/// One container.
#[derive(Debug)]
pub(crate) struct ContainerUsage {
    pub(crate) container: Container,
    /// Bytes it has changed or made.
    pub(crate) bytes: u64,
    /// How many volumes it uses.
    pub(crate) volumes: usize,
}

/// One volume.
#[derive(Debug)]
pub(crate) struct VolumeUsage {
    pub(crate) volume: VolumeRecord,
    pub(crate) bytes: u64,
    /// How many containers use it.
    pub(crate) links: usize,
}

impl Engine {
    /// Measures everything in the store.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub(crate) fn disk_usage(&self) -> Result<Usage> {
        let mut usage = Usage { builds: self.kept_builds()?, ..Usage::default() };
        let layers = self.store().layers().list()?.items;
        let forms = forms(&layers);
        let mut sizes: HashMap<Digest, u64> = HashMap::new();
        for layer in &layers {
            let chain_id = forms.get(&layer.chain_id).unwrap_or(&layer.chain_id);
            *sizes.entry(*chain_id).or_default() += layer.size_bytes;
        }
        let images = self.images(&Filters::default(), true)?.items;
        let mut owners: HashMap<Digest, usize> = HashMap::new();
        for layer in images.iter().flat_map(|image| image.record.chain_ids()) {
            *owners.entry(layer).or_default() += 1;
        }
        usage.layers_bytes = owners.keys().filter_map(|layer| sizes.get(layer)).sum();
        for image in images {
            let bytes_where = |shared: bool| -> u64 {
                let layers = image.record.chain_ids().into_iter();
                let wanted = layers.filter(|layer| (owners.get(layer).is_some_and(|n| *n > 1)) == shared);
                wanted.filter_map(|layer| sizes.get(&layer)).sum()
            };
            let (shared_bytes, unique_bytes) = (bytes_where(true), bytes_where(false));
            usage.images.push(ImageUsage { image, shared_bytes, unique_bytes });
        }
        let uses = self.store().containers().uses()?.items;
        let used: HashSet<Digest> = uses.iter().flat_map(|user| user.layers.iter().copied()).collect();
        // Those of other images are reclaimed with them.
        let of_used_images: HashSet<Digest> = usage
            .images
            .iter()
            .filter(|used| used.image.containers != Some(0))
            .flat_map(|used| used.image.record.chain_ids())
            .collect();
        let is_loose = |layer: &&LayerRecord| {
            !used.contains(&layer.chain_id)
                && forms.get(&layer.chain_id).is_some_and(|of| of_used_images.contains(of))
        };
        usage.loose_bytes = layers.iter().filter(is_loose).map(|layer| layer.size_bytes).sum();
        for container in self.containers(&Query { all: true, ..Query::default() })?.items {
            let bytes = self.container_size(&container.id).unwrap_or(0);
            let volumes =
                uses.iter().find(|uses| uses.container == container.id).map_or(0, |u| u.volumes.len());
            usage.containers.push(ContainerUsage { container, bytes, volumes });
        }
        for volume in self.store().volumes().list()?.items {
            let links = uses.iter().filter(|uses| uses.volumes.contains(&volume.name)).count();
            usage.volumes.push(VolumeUsage { bytes: self.volume_size(&volume.name), links, volume });
        }
        Ok(usage)
    }
}

/// Which layers are others unpacked once more for other IDs, and of which ones: their names, to chain IDs.
fn forms(layers: &[LayerRecord]) -> HashMap<Digest, Digest> {
    let records: HashMap<Digest, &LayerRecord> = layers.iter().map(|layer| (layer.chain_id, layer)).collect();
    let form = |layer: &LayerRecord| {
        let mut diff_ids = vec![layer.diff_id];
        let mut parent = layer.parent;
        // A chain is no longer than there are layers, whatever damaged records say.
        while let Some(below) = parent.filter(|_| diff_ids.len() < layers.len()) {
            let record = records.get(&below)?;
            diff_ids.push(record.diff_id);
            parent = record.parent;
        }
        diff_ids.reverse();
        let chain_id = images::chain_ids(&diff_ids).pop()?;
        (chain_id != layer.chain_id).then_some((layer.chain_id, chain_id))
    };
    layers.iter().filter_map(form).collect()
}
