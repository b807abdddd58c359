//! Which image is made from which.
//!
//! ```text
//! base ◀──parent── build ◀──parent── commit      what was made here says so in its record, if the layers bear it out
//!   [a]             [a b]             [a b c]     what came from elsewhere: one step more in an otherwise same history
//! ```
//!
//! An image without a name that others are made from is *intermediate*: listings hide it, `prune` leaves it, and it goes
//! with the last of those. Without any it is *dangling*. What has children is reported as untagged when it goes, not as
//! deleted: most of its bytes stay.

use std::collections::{HashMap, HashSet};

use crate::base::digest::Digest;
use crate::base::manifest::{History, ImageConfig};
use crate::engine::register::MAX_DOCUMENT;
use crate::engine::{Engine, Result};
use crate::store::Store;
use crate::store::images::ImageRecord;

/// The relations of all images of a store.
#[derive(Debug, Default)]
pub(crate) struct Lineage {
    /// Child → parent.
    parents: HashMap<Digest, Digest>,
    with_children: HashSet<Digest>,
}

impl Lineage {
    /// Finds out who is made from whom among `images`. What cannot be read has no relatives.
    pub(crate) fn of<'a>(store: &Store, images: impl IntoIterator<Item = &'a ImageRecord>) -> Self {
        let images: Vec<&ImageRecord> = images.into_iter().collect();
        let mut search = Search::new(store, &images);
        let parents: HashMap<Digest, Digest> =
            images.iter().filter_map(|image| Some((image.id, search.parent(image)?))).collect();
        let with_children = parents.values().copied().collect();
        Self { parents, with_children }
    }

    /// The image that `id` is made from.
    pub(crate) fn parent(&self, id: &Digest) -> Option<&Digest> {
        self.parents.get(id)
    }

    /// True if another image is made from `id`.
    pub(crate) fn has_children(&self, id: &Digest) -> bool {
        self.with_children.contains(id)
    }
}

/// The search for parents among the images of a store.
struct Search<'a> {
    store: &'a Store,
    by_id: HashMap<Digest, &'a ImageRecord>,
    /// By top layer and number of steps.
    by_shape: HashMap<(Option<Digest>, usize), Vec<&'a ImageRecord>>,
    /// What was read already; `None` if it cannot be read.
    histories: HashMap<Digest, Option<Vec<History>>>,
}

impl<'a> Search<'a> {
    fn new(store: &'a Store, images: &[&'a ImageRecord]) -> Self {
        let mut by_shape: HashMap<_, Vec<_>> = HashMap::new();
        for image in images {
            let top = image.layers.last().map(|layer| layer.chain_id);
            by_shape.entry((top, image.history)).or_default().push(*image);
        }
        let by_id = images.iter().map(|image| (image.id, *image)).collect();
        Self { store, by_id, by_shape, histories: HashMap::new() }
    }

    /// The parent of `child`: the one that its record names, or else podman's rule.
    fn parent(&mut self, child: &ImageRecord) -> Option<Digest> {
        let recorded = child.parent.and_then(|parent| self.by_id.get(&parent));
        if let Some(parent) =
            recorded.filter(|parent| parent.id != child.id && child.layers.starts_with(&parent.layers))
        {
            return Some(parent.id);
        }
        // The same layers, or all but the top one.
        let tops = match child.layers.as_slice() {
            [] => vec![None],
            [only] => vec![Some(only.chain_id)],
            [.., below, top] => vec![Some(top.chain_id), Some(below.chain_id)],
        };
        let steps = child.history.checked_sub(1)?;
        let candidates: Vec<&ImageRecord> =
            tops.iter().filter_map(|top| self.by_shape.get(&(*top, steps))).flatten().copied().collect();
        let fitting = candidates.into_iter().find(|other| other.id != child.id && self.goes_on(other, child));
        fitting.map(|parent| parent.id)
    }

    /// True if the history of `child` is that of `parent` and one step more.
    fn goes_on(&mut self, parent: &ImageRecord, child: &ImageRecord) -> bool {
        for image in [parent, child] {
            self.histories.entry(image.id).or_insert_with(|| history(self.store, image));
        }
        match (&self.histories[&parent.id], &self.histories[&child.id]) {
            (Some(before), Some(after)) => after.len() == before.len() + 1 && after.starts_with(before),
            _ => false,
        }
    }
}

fn history(store: &Store, image: &ImageRecord) -> Option<Vec<History>> {
    let text = store.blobs().read_small(&image.id, MAX_DOCUMENT).ok()?;
    Some(ImageConfig::parse(&text).ok()?.history)
}

impl Engine {
    /// The image that `image` is made from.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub(crate) fn parent_of(&self, image: &ImageRecord) -> Result<Option<Digest>> {
        let records = self.store().images().list()?.items;
        Ok(Search::new(self.store(), &records.iter().collect::<Vec<_>>()).parent(image))
    }

    /// The relations of all images.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub(crate) fn lineage(&self) -> Result<Lineage> {
        let records = self.store().images().list()?.items;
        Ok(Lineage::of(self.store(), &records))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::images::tests::image;
    use crate::store::images::{ImageLayer, chain_ids};

    /// An image with these layers and this history, whose configuration is in the store.
    fn put(store: &Store, layers: &[&str], history: &[&str]) -> ImageRecord {
        let steps: Vec<_> = history.iter().map(|step| serde_json::json!({"created_by": step})).collect();
        let diff_ids: Vec<Digest> = layers.iter().map(|layer| Digest::of(layer.as_bytes())).collect();
        let config = serde_json::json!({"rootfs": {"diff_ids": diff_ids}, "history": steps});
        let id = store.blobs().put(config.to_string().as_bytes()).unwrap();
        let layers = chain_ids(&diff_ids).into_iter().zip(diff_ids);
        let layers = layers.map(|(chain_id, diff_id)| ImageLayer { chain_id, diff_id }).collect();
        ImageRecord { id, layers, history: history.len(), ..image("x") }
    }

    #[test]
    fn parents() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let base = put(&store, &["a"], &["add a"]);
        let with_label = put(&store, &["a"], &["add a", "label"]);
        let more = put(&store, &["a", "b"], &["add a", "label", "add b"]);
        let other = put(&store, &["a", "b"], &["add a", "other", "add b"]);
        let two_steps = put(&store, &["a", "b", "c"], &["add a", "label", "add b", "x", "add c"]);
        let built =
            ImageRecord { parent: Some(base.id), ..put(&store, &["a", "z"], &["add a", "1", "2", "3"]) };
        let squashed = ImageRecord { parent: Some(base.id), ..put(&store, &["y"], &["all"]) };
        let empty = put(&store, &[], &["one"]);
        let emptier = put(&store, &[], &["one", "two"]);
        let gone =
            ImageRecord { parent: Some(Digest::of(b"gone")), ..put(&store, &["a"], &["add a", "env"]) };
        let all = [&base, &with_label, &more, &other, &two_steps, &built, &squashed, &empty, &emptier, &gone];
        let lineage = Lineage::of(&store, all);
        for (name, child, parent) in [
            ("base", &base, None),
            ("with_label", &with_label, Some(&base)),
            ("more", &more, Some(&with_label)),
            ("other", &other, None),
            ("two_steps", &two_steps, None),
            ("built", &built, Some(&base)),
            ("squashed", &squashed, None),
            ("empty", &empty, None),
            ("emptier", &emptier, Some(&empty)),
            ("gone", &gone, Some(&base)),
        ] {
            assert_eq!(lineage.parent(&child.id), parent.map(|parent| &parent.id), "{name}");
        }
        let parents = [&base, &with_label, &empty].map(|image| image.id);
        for image in all {
            assert_eq!(lineage.has_children(&image.id), parents.contains(&image.id), "{:?}", image.id);
        }
    }
}
