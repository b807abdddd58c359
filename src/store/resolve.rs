//! From what a user typed to one local image.
//!
//! In this order, and the first that fits wins:
//!
//! 1. the exact full name (`docker.io/library/app:latest` if that was typed);
//! 2. for a short name: `localhost/app`, `docker.io/library/app` ([`ImageName::local_candidates`], which depends on the
//!    [`NameRule`] and the [`Purpose`]);
//! 3. for a short name: any repository that ends in it, if that is one image (not by Docker's [`NameRule`]);
//! 4. the beginning of one image ID, `sha256:` before it or not;
//! 5. `name@digest`: a repository digest, or the manifest or index of an image with a name in that repository.
//!
//! A manifest list has a name like an image, and stands for the one of its images that is for this machine.

use crate::base::digest::Digest;
use crate::base::image_ref::{ImageName, ImageRef, NameRule, Purpose};
use crate::base::manifest::{Document, IndexEntry};
use crate::base::platform::Platform;
use crate::store::Store;
use crate::store::error::{Result, StoreError};
use crate::store::images::ImageRecord;
use crate::store::shelf::{Item, Shelf};

/// A local image and what it was found by.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Resolved {
    pub(crate) image: ImageRecord,
    /// The full name, if it was found by one.
    pub(crate) name: Option<ImageRef>,
    /// The manifest that the name stands for, or the image's first.
    pub(crate) manifest: Option<Digest>,
}

/// The longest index that is read, in bytes.
const MAX_INDEX: usize = 8 << 20;

/// The shortest beginning of a list's ID that means it.
const MIN_ID: usize = 8;

impl Store {
    /// Finds the manifest list that `typed` means: by its full name, unless an image has that, or by the
    /// beginning of its ID.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`] if it cannot be read.
    pub(crate) fn find_list(&self, typed: &str, purpose: Purpose) -> Result<Option<Item>> {
        if let Ok(name) = typed.parse::<ImageName>() {
            for full in name.local_candidates(self.name_rule(), purpose) {
                if full.digest().is_none() && self.refs().get(&full).is_ok() {
                    return Ok(None);
                }
                match self.shelf(Shelf::Lists).get(&full.to_string()) {
                    Err(err) if err.is_not_found() => {}
                    other => return other.map(Some),
                }
            }
        }
        let hex = typed.strip_prefix("sha256:").unwrap_or(typed);
        if hex.len() < MIN_ID {
            return Ok(None);
        }
        let mut lists = self.shelf(Shelf::Lists).list()?.items.into_iter();
        Ok(lists.find(|list| list.id.hex().starts_with(hex)))
    }

    /// The image of a list that is for this machine, if it is here.
    fn image_of_list(&self, list: &Item) -> Result<Option<Resolved>> {
        let text = self.blobs().read_small(&list.document, MAX_INDEX)?;
        let Ok(Document::Index { entries, .. }) = Document::parse(&text, "") else { return Ok(None) };
        let Some(best) = IndexEntry::choose(&entries, &Platform::host()) else { return Ok(None) };
        let wanted = best.descriptor.digest;
        let mut images = self.images().list()?.items.into_iter();
        let image = images.find(|image| image.manifests.iter().any(|known| known.digest == wanted));
        let name = list.name.parse().ok();
        Ok(image.map(|image| Resolved { image, name, manifest: Some(wanted) }))
    }

    /// Finds the local image that `typed` means.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`]; [`StoreError::Ambiguous`] for the beginning of several IDs or the end
    /// of several repositories; [`StoreError::Damaged`] if what it means cannot be read.
    pub(crate) fn resolve_image(&self, typed: &str, purpose: Purpose) -> Result<Resolved> {
        let missing = || StoreError::NotFound { what: "image", name: typed.to_owned() };
        let by_name = match typed.parse::<ImageName>() {
            Ok(name) => self.image_by_name(typed, &name, purpose)?,
            Err(_) => None,
        };
        if let Some(found) = by_name.map_or_else(|| self.image_by_id(typed), |found| Ok(Some(found)))? {
            return Ok(found);
        }
        let of_list = match self.find_list(typed, purpose)? {
            Some(list) => self.image_of_list(&list)?,
            None => None,
        };
        of_list.ok_or_else(missing)
    }

    fn image_by_name(&self, typed: &str, name: &ImageName, purpose: Purpose) -> Result<Option<Resolved>> {
        for full in name.local_candidates(self.name_rule(), purpose) {
            let found = match full.digest() {
                // A tag beside the digest is not looked at, as in Docker.
                Some(digest) => self.image_by_digest(digest, |known| known.name() == full.name())?,
                None => self.image_of_ref(&full)?,
            };
            if found.is_some() {
                return Ok(found);
            }
            // The end of another repository must not come before the full name of a list.
            match self.shelf(Shelf::Lists).get(&full.to_string()) {
                Ok(list) => return self.image_of_list(&list),
                Err(err) if err.is_not_found() => {}
                Err(err) => return Err(err),
            }
        }
        if !name.is_short() || self.name_rule() == NameRule::Docker {
            return Ok(None);
        }
        if let Some(digest) = name.digest() {
            return self.image_by_digest(digest, |known| name.is_repository_of(known));
        }
        let mut tails: Vec<_> =
            self.refs().list()?.items.into_iter().filter(|known| name.is_tail_of(&known.name)).collect();
        if tails.windows(2).any(|pair| pair[0].image != pair[1].image) {
            let candidates = tails.iter().map(|known| known.name.to_string()).collect();
            return Err(StoreError::Ambiguous { what: "images", name: typed.to_owned(), candidates });
        }
        match tails.pop() {
            Some(known) => self.image_of_ref(&known.name),
            None => Ok(None),
        }
    }

    fn image_of_ref(&self, full: &ImageRef) -> Result<Option<Resolved>> {
        let known = match self.refs().get(full) {
            Ok(known) => known,
            Err(err) if err.is_not_found() => return Ok(None),
            Err(err) => return Err(err),
        };
        let image = match self.images().get(&known.image) {
            Ok(image) => image,
            // A name without its image is as good as no name: pulling makes it right.
            Err(err) if err.is_not_found() => return Ok(None),
            Err(err) => return Err(err),
        };
        let manifest = known.manifest.or_else(|| image.manifest().map(|m| m.digest));
        Ok(Some(Resolved { image, name: Some(full.clone()), manifest }))
    }

    /// An image that has a name which `fits`, and `digest` as the one of its manifest or of the index it came by.
    fn image_by_digest(&self, digest: &Digest, fits: impl Fn(&ImageRef) -> bool) -> Result<Option<Resolved>> {
        let refs = self.refs().list()?.items;
        for image in self.images().list()?.items {
            let manifest = image.manifests.iter().find(|m| m.digest == *digest || m.index == Some(*digest));
            let manifest = manifest.map(|m| m.digest);
            let elsewhere =
                image.repo_digests.iter().find(|name| name.digest() == Some(digest) && fits(name));
            let here = || {
                let mut names = refs.iter().filter(|known| known.image == image.id && manifest.is_some());
                names.find(|known| fits(&known.name)).map(|known| &known.name)
            };
            if let Some(name) = elsewhere.or_else(here) {
                let name = Some(name.with_digest(*digest));
                let manifest = manifest.or_else(|| image.manifest().map(|m| m.digest));
                return Ok(Some(Resolved { image, name, manifest }));
            }
        }
        Ok(None)
    }

    fn image_by_id(&self, typed: &str) -> Result<Option<Resolved>> {
        let hex = typed.strip_prefix("sha256:").unwrap_or(typed);
        if hex.is_empty() || hex.len() > 64 || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Ok(None);
        }
        let matching: Vec<String> =
            self.images().ids()?.into_iter().filter(|id| id.starts_with(hex)).collect();
        match &matching[..] {
            [] => Ok(None),
            [one] => {
                let Ok(id) = Digest::from_hex(one) else { return Ok(None) };
                let image = self.images().get(&id)?;
                let manifest = image.manifest().map(|m| m.digest);
                Ok(Some(Resolved { image, name: None, manifest }))
            }
            _ => Err(StoreError::Ambiguous { what: "images", name: typed.to_owned(), candidates: matching }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::images::tests::image;

    fn store(names: &[(&str, &str)]) -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let lock = store.lock(&mut |_, _| {}).unwrap();
        for (name, seed) in names {
            let full: ImageRef = name.parse().unwrap();
            let mut record = image(seed);
            record.repo_digests.push(full.with_digest(record.manifests[0].digest));
            store.images().register(record, &lock).unwrap();
            store.refs().set(&full, &image(seed).id, None, &lock).unwrap();
        }
        (dir, store)
    }

    #[test]
    fn finds_in_the_documented_order() {
        let (_guard, store) = store(&[
            ("docker.io/library/app:latest", "hub"),
            ("localhost/app:latest", "local"),
            ("docker.io/library/only:1", "only"),
            ("quay.io/team/tail:latest", "tail"),
            ("quay.io/a/two:latest", "a"),
            ("quay.io/b/two:latest", "b"),
            ("localhost:5000/x/y:v1", "port"),
        ]);
        let digest = image("tail").manifests[0].digest;
        // What was made here was never on a registry.
        let lock = store.lock(&mut |_, _| {}).unwrap();
        store.images().register(image("mine"), &lock).unwrap();
        store.refs().set(&"localhost/mine:1".parse().unwrap(), &image("mine").id, None, &lock).unwrap();
        drop(lock);
        let of_mine = image("mine").manifests[0].digest;
        let id = image("port").id.hex();
        for (typed, seed) in [
            ("app", Some("local")),
            ("docker.io/app", Some("hub")),
            ("docker.io/library/app:latest", Some("hub")),
            ("only:1", Some("only")),
            ("only", None),
            ("tail", Some("tail")),
            ("team/tail:latest", Some("tail")),
            ("ail", None),
            ("localhost:5000/x/y:v1", Some("port")),
            (&id, Some("port")),
            (&id[..12], Some("port")),
            (&format!("sha256:{id}"), Some("port")),
            (&format!("quay.io/team/tail@{digest}"), Some("tail")),
            (&format!("quay.io/team/other@{digest}"), None),
            (&format!("tail:9@{digest}"), Some("tail")),
            (&format!("ail@{digest}"), None),
            (&format!("localhost/mine@{of_mine}"), Some("mine")),
            (&format!("mine@{of_mine}"), Some("mine")),
            (&format!("localhost/mine@{digest}"), None),
            (&format!("localhost/app@{of_mine}"), None),
            ("sha256:../../x", None),
            ("", None),
            ("UPPER", None),
        ] {
            match (store.resolve_image(typed, Purpose::Read), seed) {
                (Ok(found), Some(seed)) => assert_eq!(found.image.id, image(seed).id, "{typed}"),
                (Err(err), None) => assert!(err.is_not_found(), "{typed}: {err}"),
                (found, seed) => panic!("{typed}: {found:?}, not {seed:?}"),
            }
        }
        assert!(matches!(store.resolve_image("two", Purpose::Read), Err(StoreError::Ambiguous { .. })));
    }
}
