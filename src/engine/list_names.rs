//! Manifest lists where images are listed, named and removed: they look like images there.
//!
//! A list with several names is several records with one ID (`store::shelf`); whatever changes the list
//! changes all of them.

use crate::base::image_ref::{ImageRef, Purpose};
use crate::base::manifest::Form;
use crate::base::platform::Platform;
use crate::engine::filter::Filters;
use crate::engine::image::{Image, Images, Removed, find_name, new_name, several_names};
use crate::engine::{Engine, Error, Result};
use crate::store::images::{IMAGE_VERSION, ImageRecord, StoredManifest};
use crate::store::shelf::{Item, Shelf};

impl Engine {
    /// Images and manifest lists that pass `filters`, the newest first; else as [`Engine::images`].
    ///
    /// # Errors
    ///
    /// For a filter that means nothing.
    pub(crate) fn images_and_lists(&self, filters: &Filters, count: bool) -> Result<Images> {
        let lists = self.lists()?;
        self.images_among(filters, count, lists)
    }

    /// All manifest lists, each once.
    fn lists(&self) -> Result<Vec<Image>> {
        let mut lists: Vec<Image> = Vec::new();
        for item in self.store().shelf(Shelf::Lists).list()?.items {
            let Ok(name) = item.name.parse::<ImageRef>() else { continue };
            match lists.iter_mut().find(|list| list.record.id == item.id) {
                Some(list) => list.names.push(name),
                None => {
                    let size_bytes = self.store().blobs().length(&item.document)?.unwrap_or(0);
                    let list = Image::new(record(&item, size_bytes), vec![name]);
                    lists.push(Image { containers: Some(0), is_list: true, ..list });
                }
            }
        }
        Ok(lists)
    }

    /// The names of a list, sorted.
    fn names_of_list(&self, list: &Item) -> Result<Vec<ImageRef>> {
        let all = self.store().shelf(Shelf::Lists).list()?.items.into_iter();
        Ok(all.filter(|item| item.id == list.id).filter_map(|item| item.name.parse().ok()).collect())
    }

    /// Gives a list a further name, if `typed` means one.
    pub(in crate::engine) fn tag_list(&self, typed: &str, target: &str) -> Result<Option<ImageRef>> {
        let Some(list) = self.store().find_list(typed, Purpose::Read)? else { return Ok(None) };
        let name = new_name(target, self.name_rule())?;
        let lock = self.lock()?;
        // The name moves here from an image that has it.
        self.store().refs().remove(&name, &lock)?;
        let id = list.id.hex();
        self.store().shelf(Shelf::Lists).set(&Item { name: name.to_string(), ..list }, &lock)?;
        self.record_image("tag", &id, &name.to_string());
        Ok(Some(name))
    }

    /// Takes names off a list, if `typed` means one; its last name is the list itself, which stays.
    pub(in crate::engine) fn untag_list(&self, typed: &str, names: &[String]) -> Result<bool> {
        let Some(list) = self.store().find_list(typed, Purpose::Act)? else { return Ok(false) };
        let lock = self.lock()?;
        let known = self.names_of_list(&list)?;
        let going = match names {
            [] => known.clone(),
            names => names
                .iter()
                .map(|name| find_name(&known, name, self.name_rule()))
                .collect::<Result<Vec<_>>>()?,
        };
        if known.iter().all(|name| going.contains(name)) {
            return Err(Error::invalid(format!("{typed}: a manifest list cannot be without a name"))
                .hint("remove it with `rmi` or `manifest rm`"));
        }
        for name in going {
            self.store().shelf(Shelf::Lists).remove(&name.to_string(), &lock)?;
            self.record_image("untag", &list.id.hex(), &name.to_string());
        }
        Ok(true)
    }

    /// Removes a name of a list, and with its last name the list, if `typed` means one; its images stay.
    ///
    /// # Errors
    ///
    /// If it has several names and was given by its ID, without `force`.
    pub(crate) fn remove_list(&self, typed: &str, force: bool) -> Result<Option<Removed>> {
        let typed = typed.strip_prefix("containers-storage:").unwrap_or(typed);
        let Some(list) = self.store().find_list(typed, Purpose::Act)? else { return Ok(None) };
        let lock = self.lock()?;
        let names = self.names_of_list(&list)?;
        let by_name = find_name(&names, typed, self.name_rule()).ok();
        let going = match (&by_name, names.len()) {
            (Some(name), 2..) => vec![name.clone()],
            (None, 2..) if !force => return Err(several_names(&list.id, &names)),
            _ => names.clone(),
        };
        let is_gone = going.len() == names.len();
        for name in &going {
            self.store().shelf(Shelf::Lists).remove(&name.to_string(), &lock)?;
            self.record_image("untag", &list.id.hex(), &name.to_string());
        }
        if is_gone {
            self.record_image("remove", &list.id.hex(), &list.name);
        }
        let deleted = if is_gone { vec![list.id] } else { vec![] };
        Ok(Some(Removed { untagged: going, deleted }))
    }
}

/// A list as listings show it.
fn record(item: &Item, size_bytes: u64) -> ImageRecord {
    ImageRecord {
        version: IMAGE_VERSION,
        id: item.id,
        created: Some(item.created),
        stored: item.created,
        platform: Platform { os: String::new(), arch: String::new(), variant: String::new() },
        labels: std::collections::BTreeMap::new(),
        history: 0,
        layers: Vec::new(),
        size_bytes,
        manifests: vec![StoredManifest {
            digest: item.document,
            media_type: Form::Oci.index().to_owned(),
            size_bytes,
            index: None,
            layers: Vec::new(),
        }],
        repo_digests: Vec::new(),
        parent: None,
        former: vec![],
        rest: serde_json::Map::new(),
    }
}
