//! Manifest lists: one name for the images of several platforms, put together here and pushed as one.
//!
//! ```text
//! images of the store ──add──▶ entry (descriptor, platform, annotations) ─▶ index, a blob
//!                                 list record: name, ID, index, every blob of its images   (store::shelf)
//! ```
//!
//! A list keeps the blobs of its images alive, whatever becomes of the images. Commands that change one list at once
//! lose nothing of each other: what is added is got first, and the list is read and written under one lock.

mod additions;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use self::additions::Additions;
use crate::base::digest::Digest;
use crate::base::image_ref::{ImageRef, NameRule, Purpose};
use crate::base::manifest::Form;
use crate::base::order::InOrder as _;
use crate::base::platform::Platform;
use crate::engine::pull::PullEvent;
use crate::engine::register::MAX_DOCUMENT;
use crate::engine::remote::RemoteOptions;
use crate::engine::{Engine, Error, Kind, Result};
use crate::store::images::{ImageRecord, StoredManifest};
use crate::store::lock::Exclusive;
use crate::store::shelf::{Item, Shelf};

/// What to say of an entry beside its digest. Empty fields leave it as it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct EntryWishes {
    pub(crate) annotations: Vec<(String, String)>,
    pub(crate) arch: Option<String>,
    pub(crate) os: Option<String>,
    pub(crate) variant: Option<String>,
    pub(crate) os_version: Option<String>,
    pub(crate) features: Vec<String>,
    pub(crate) os_features: Vec<String>,
}

/// How a list is made.
#[derive(Clone, Debug, Default)]
pub(crate) struct NewList {
    /// Add all images of an index, and not only this machine's.
    pub(crate) all: bool,
    /// Go on with a list that exists.
    pub(crate) amend: bool,
    /// Take the name from an image that has it.
    pub(crate) replace: bool,
    pub(crate) annotations: Vec<(String, String)>,
    pub(crate) remote: RemoteOptions,
}

type Events<'a> = &'a dyn Fn(&PullEvent<'_>);

impl Engine {
    /// The list that `typed` means, to read it or to do something with it.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`].
    pub(crate) fn manifest_list(&self, typed: &str, purpose: Purpose) -> Result<Item> {
        let name = typed.strip_prefix("containers-storage:").unwrap_or(typed);
        let found = self.store().find_list(name, purpose)?;
        found.ok_or_else(|| Error::not_found(format!("{typed}: image not known")))
    }

    /// The index of a list, byte for byte.
    ///
    /// # Errors
    ///
    /// If it is damaged.
    pub(crate) fn list_document(&self, list: &Item) -> Result<Vec<u8>> {
        Ok(self.store().blobs().read_small(&list.document, MAX_DOCUMENT)?)
    }

    /// Makes a list of images and returns its ID.
    ///
    /// # Errors
    ///
    /// [`Kind::Conflict`] if the name is in use; as [`add_to_list`](Self::add_to_list).
    pub(crate) fn create_list(
        &self,
        typed: &str,
        images: &[String],
        new: &NewList,
        events: Events<'_>,
    ) -> Result<Digest> {
        let name = list_name(typed, self.name_rule())?;
        // Before anything is pulled for it.
        self.list_to_amend(&name, new)?;
        let added = self.additions(images, new, &EntryWishes::default(), events)?;
        let lock = self.lock()?;
        let known = self.list_to_amend(&name, new)?;
        if known.is_none() && new.replace {
            self.store().refs().remove(&name, &lock)?;
        }
        let mut index = match &known {
            Some(known) => self.read_index(known)?,
            None => json!({"schemaVersion": 2, "mediaType": Form::Oci.index(), "manifests": []}),
        };
        annotate(&mut index, &new.annotations);
        let mut blobs = known.as_ref().map(|known| known.blobs.clone()).unwrap_or_default();
        added.add_to(&mut index, &mut blobs);
        let (id, created) = match &known {
            Some(known) => (known.id, known.created),
            None => {
                let now = Timestamp::now();
                (Digest::of(format!("{name} {now}").as_bytes()), now)
            }
        };
        self.save_list(&name.to_string(), id, created, &index, blobs, &lock)?;
        Ok(id)
    }

    /// The list of this name that is to be gone on with; `None` if a new one is to be made.
    fn list_to_amend(&self, name: &ImageRef, new: &NewList) -> Result<Option<Item>> {
        let taken = |id: &Digest| {
            let message = format!("image name \"{name}\" is already associated with image {:?}", id.hex());
            Error::new(Kind::Conflict, format!("{message}: that name is already in use"))
        };
        match self.manifest_list(&name.to_string(), Purpose::Act) {
            Ok(known) if new.amend => Ok(Some(known)),
            Ok(known) => Err(taken(&known.id).hint("use --amend to go on with it")),
            Err(err) if err.kind == Kind::NotFound => match self.store().refs().get(name) {
                Ok(image) if !new.replace => Err(taken(&image.image)),
                _ => Ok(None),
            },
            Err(err) => Err(err),
        }
    }

    /// Adds images to a list, and returns its ID. What is not here is pulled.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`] for the list or an image.
    pub(crate) fn add_to_list(
        &self,
        typed: &str,
        images: &[String],
        new: &NewList,
        wishes: &EntryWishes,
        events: Events<'_>,
    ) -> Result<Digest> {
        // Before anything is pulled for it.
        self.manifest_list(typed, Purpose::Act)?;
        let added = self.additions(images, new, wishes, events)?;
        self.put_into_list(typed, added)
    }

    /// Changes what a list says of one of its images, or with `image` absent of itself. Returns its ID.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`] for the list, or if it has no such image.
    pub(crate) fn annotate_list(
        &self,
        typed: &str,
        image: Option<&str>,
        wishes: &EntryWishes,
        subject: Option<&str>,
    ) -> Result<Digest> {
        self.change_list(typed, |index, _| {
            if let Some(subject) = subject {
                let record = self.image(subject)?.image;
                let stored = manifest_of(&record)?;
                index["subject"] = json!({
                    "mediaType": stored.media_type, "digest": stored.digest.to_string(), "size": stored.size_bytes,
                });
            }
            match image {
                None => annotate(index, &wishes.annotations),
                Some(image) => {
                    let digest = self.entry_digest(image)?;
                    let entry = entry_of(index, &digest)
                        .ok_or_else(|| Error::not_found(format!("{typed}: no image {image} in it")))?;
                    apply(entry, wishes);
                }
            }
            Ok(())
        })
    }

    /// Takes an image out of a list, and returns the list's ID.
    ///
    /// # Errors
    ///
    /// As [`annotate_list`](Self::annotate_list).
    pub(crate) fn remove_from_list(&self, typed: &str, image: &str) -> Result<Digest> {
        self.change_list(typed, |index, blobs| {
            let digest = self.entry_digest(image)?.to_string();
            let Some(entries) = index["manifests"].as_array_mut() else {
                return Err(Error::not_found(format!("{typed}: it is empty")));
            };
            let before = entries.len();
            entries.retain(|entry| entry["digest"].as_str() != Some(&digest));
            if entries.len() == before {
                return Err(Error::not_found(format!("{typed}: no image {image} in it")));
            }
            blobs.clear();
            for left in entries.iter().filter_map(|entry| entry["digest"].as_str()?.parse().ok()) {
                blobs.extend(self.blobs_of(&left)?);
            }
            Ok(())
        })
    }

    fn put_into_list(&self, typed: &str, added: Additions) -> Result<Digest> {
        self.change_list(typed, |index, blobs| {
            added.add_to(index, blobs);
            Ok(())
        })
    }

    /// Changes the index of a list and the blobs that it needs, with nobody else changing it meanwhile.
    fn change_list(
        &self,
        typed: &str,
        change: impl FnOnce(&mut Value, &mut Vec<Digest>) -> Result<()>,
    ) -> Result<Digest> {
        let lock = self.lock()?;
        let list = self.manifest_list(typed, Purpose::Act)?;
        let (mut index, mut blobs) = (self.read_index(&list)?, list.blobs.clone());
        change(&mut index, &mut blobs)?;
        self.save_list(&list.name, list.id, list.created, &index, blobs, &lock)?;
        Ok(list.id)
    }

    fn read_index(&self, list: &Item) -> Result<Value> {
        serde_json::from_slice(&self.list_document(list)?)
            .map_err(|err| Error::system(format!("read the manifest list {}", list.name), err))
    }

    fn save_list(
        &self,
        name: &str,
        id: Digest,
        created: Timestamp,
        index: &Value,
        mut blobs: Vec<Digest>,
        lock: &Exclusive,
    ) -> Result<()> {
        let text = serde_json::to_vec(index).map_err(|err| Error::system("write down the list", err))?;
        blobs.order();
        blobs.dedup();
        // Nothing collects garbage under the lock.
        let document = self.store().blobs().put(&text)?;
        let lists = self.store().shelf(Shelf::Lists);
        // It may have been given further names.
        let mut names: Vec<String> =
            lists.list()?.items.into_iter().filter(|item| item.id == id).map(|item| item.name).collect();
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
        for name in names {
            let (blobs, rest) = (blobs.clone(), Map::new());
            lists.set(&Item { version: 1, name, id, document, blobs, created, rest }, lock)?;
        }
        Ok(())
    }

    /// The digest that names an entry: typed, or that of a local image.
    fn entry_digest(&self, typed: &str) -> Result<Digest> {
        match typed.parse::<Digest>() {
            Ok(digest) => Ok(digest),
            Err(_) => Ok(manifest_of(&self.image(local_part(typed).0)?.image)?.digest),
        }
    }
}

/// The full name of a list.
fn list_name(typed: &str, rule: NameRule) -> Result<ImageRef> {
    crate::engine::image::new_name(typed.strip_prefix("containers-storage:").unwrap_or(typed), rule)
}

/// A name without its transport, and whether that insists on a registry.
pub(in crate::engine) fn local_part(typed: &str) -> (&str, bool) {
    match (typed.strip_prefix("docker://"), typed.strip_prefix("containers-storage:")) {
        (Some(name), _) => (name, true),
        (_, Some(name)) => (name, false),
        _ => (typed, false),
    }
}

pub(in crate::engine) fn manifest_of(record: &ImageRecord) -> Result<&StoredManifest> {
    record
        .manifest()
        .ok_or_else(|| Error::not_found(format!("image {}: its manifest is not kept", record.id.hex())))
}

/// A platform as the entries of an index have it.
pub(in crate::engine) fn platform_document(platform: &Platform) -> Value {
    let mut document = json!({"architecture": platform.arch, "os": platform.os});
    if !platform.variant.is_empty() {
        document["variant"] = platform.variant.clone().into();
    }
    document
}

/// Sets annotations of an index or an entry.
fn annotate(document: &mut Value, annotations: &[(String, String)]) {
    for (key, value) in annotations {
        document["annotations"][key.as_str()] = value.clone().into();
    }
}

fn entry_of<'a>(index: &'a mut Value, digest: &Digest) -> Option<&'a mut Value> {
    let digest = digest.to_string();
    index["manifests"].as_array_mut()?.iter_mut().find(|entry| entry["digest"].as_str() == Some(&digest))
}

/// Adds an entry, or replaces the one of the same digest.
fn put(index: &mut Value, entry: Value) {
    if let Some(entries) = index["manifests"].as_array_mut() {
        entries.retain(|known| known["digest"] != entry["digest"]);
        entries.push(entry);
    }
}

/// Says of an entry what was wished.
fn apply(entry: &mut Value, wishes: &EntryWishes) {
    annotate(entry, &wishes.annotations);
    let texts = [
        ("architecture", &wishes.arch),
        ("os", &wishes.os),
        ("os.version", &wishes.os_version),
        ("variant", &wishes.variant),
    ];
    for (key, text) in texts {
        if let Some(text) = text {
            entry["platform"][key] = text.clone().into();
        }
    }
    for (key, list) in [("os.features", &wishes.os_features), ("features", &wishes.features)] {
        if !list.is_empty() {
            entry["platform"][key] = json!(list);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_put_once_and_changed() {
        let digest = Digest::of(b"m");
        let mut index = json!({"manifests": []});
        let entry =
            |size: u64| json!({"digest": digest.to_string(), "size": size, "platform": {"os": "linux"}});
        put(&mut index, entry(1));
        put(&mut index, entry(2));
        assert_eq!(index["manifests"].as_array().map(Vec::len), Some(1));
        let wishes = EntryWishes {
            annotations: vec![("a".into(), "b".into())],
            arch: Some("arm64".into()),
            os_features: vec!["x".into()],
            ..EntryWishes::default()
        };
        apply(entry_of(&mut index, &digest).unwrap(), &wishes);
        let entry = &index["manifests"][0];
        assert_eq!(entry["platform"], json!({"os": "linux", "architecture": "arm64", "os.features": ["x"]}));
        assert_eq!((entry["size"].as_u64(), entry["annotations"]["a"].as_str()), (Some(2), Some("b")));
        assert!(entry_of(&mut index, &Digest::of(b"other")).is_none());
    }

    #[test]
    fn transports() {
        assert_eq!(local_part("docker://r.io/a"), ("r.io/a", true));
        assert_eq!(local_part("containers-storage:a"), ("a", false));
        assert_eq!(local_part("a:1"), ("a:1", false));
    }
}
