//! How an image was made, step by step.

use jiff::Timestamp;

use crate::base::digest::Digest;
use crate::engine::{Engine, Result};
use crate::store::refs::Refs;

/// One step, the last one first.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// The image, for its last step; for the others an image that is here and ends with that step.
    pub(crate) id: Option<Digest>,
    pub(crate) created: Option<Timestamp>,
    pub(crate) created_by: String,
    /// Bytes of the layer that it made; 0 if it made none.
    pub(crate) bytes: u64,
    pub(crate) comment: String,
    /// The names of that image.
    pub(crate) tags: Vec<String>,
}

impl Engine {
    /// The history of an image, the last step first.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`](crate::engine::Kind::NotFound); if its configuration cannot be read.
    pub(crate) fn image_history(&self, typed: &str) -> Result<Vec<Step>> {
        let details = self.read_image(typed)?;
        let record = &details.image.record;
        let all = self.store().images().list()?.items;
        let names = Refs::by_image(self.store().refs().list()?.items);
        let rule = self.name_rule();
        let tags = |id: &Digest| names.get(id).into_iter().flatten().map(|name| rule.shown(name)).collect();
        let chain = record.chain_ids();
        let mut layers = chain.iter().copied();
        let mut steps: Vec<Step> = Vec::new();
        for made in &details.config.history {
            let layer = if made.empty_layer { None } else { layers.next() };
            let below = &record.layers[..record.layers.len() - layers.len()];
            let bytes =
                layer.and_then(|layer| self.store().layers().get(&layer).ok()).map_or(0, |l| l.size_bytes);
            // The image as it was then may be here too.
            let then = all.iter().find(|other| other.history == steps.len() + 1 && other.layers == below);
            steps.push(Step {
                tags: then.map(|image| tags(&image.id)).unwrap_or_default(),
                id: then.map(|image| image.id),
                created: made.created,
                created_by: made.created_by.clone(),
                bytes,
                comment: made.comment.clone(),
            });
        }
        // An image without a history has its layers all the same.
        for layer in layers {
            let bytes = self.store().layers().get(&layer).map_or(0, |l| l.size_bytes);
            let created_by = String::new();
            let comment = String::new();
            steps.push(Step {
                id: None,
                created: record.created,
                created_by,
                bytes,
                comment,
                tags: Vec::new(),
            });
        }
        if let Some(last) = steps.last_mut() {
            last.id = Some(record.id);
            last.tags = tags(&record.id);
        }
        steps.reverse();
        Ok(steps)
    }
}
