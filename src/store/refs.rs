//! Names of images: one small file each, so that a tag moves by one rename.
//!
//! `refs/<escaped name>`; the name is in the file too. `/` becomes `%2F`, `:` stays: the file of
//! `localhost:5000/a/b:1` is `localhost:5000%2Fa%2Fb:1`. A name too long for a file name is hashed.

use std::collections::HashMap;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::base::digest::Digest;
use crate::base::image_ref::ImageRef;
use crate::base::order::InOrder as _;
use crate::store::Store;
use crate::store::error::{Result, io_error};
use crate::store::lock::Exclusive;
use crate::store::record::{self, Listing};
use crate::sys::fs;

/// Longest escaped name that is used as it is.
const ESCAPED_MAX: usize = 200;

/// One name of an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RefRecord {
    pub(crate) version: u32,
    /// The full name with a tag, `docker.io/library/nginx:latest`.
    pub(crate) name: ImageRef,
    /// The image it means.
    pub(crate) image: Digest,
    /// The manifest it was given with, a blob; `None` for an image without one.
    pub(crate) manifest: Option<Digest>,
    /// When it was given to the image; older versions did not write it down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) given: Option<Timestamp>,
    /// Fields of newer versions.
    #[serde(flatten)]
    pub(crate) rest: serde_json::Map<String, serde_json::Value>,
}

/// The names of a store's images.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refs<'a> {
    store: &'a Store,
}

impl Store {
    /// The names of images.
    pub(crate) fn refs(&self) -> Refs<'_> {
        Refs { store: self }
    }
}

/// The file name for the name of an image.
fn file_name(name: &str) -> String {
    let escaped = name.replace('%', "%25").replace('/', "%2F");
    if escaped.len() <= ESCAPED_MAX { escaped } else { format!("~{}", Digest::of(name.as_bytes()).hex()) }
}

fn path(name: &ImageRef) -> PathBuf {
    PathBuf::from("refs").join(file_name(&name.to_string()))
}

impl Refs<'_> {
    /// What a full name means.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::store::StoreError::NotFound), [`Damaged`](crate::store::StoreError::Damaged).
    pub(crate) fn get(&self, name: &ImageRef) -> Result<RefRecord> {
        record::read(self.store, &path(name), "image", &name.to_string())
    }

    /// All names, sorted.
    pub(crate) fn list(&self) -> Result<Listing<RefRecord>> {
        let mut listing = Listing::default();
        for file in record::names(self.store, "refs")? {
            let path = PathBuf::from("refs").join(&file);
            listing.add(record::read::<RefRecord>(self.store, &path, "image name", &file));
        }
        listing.items.order_by(|a, b| a.name.cmp(&b.name));
        Ok(listing)
    }

    /// Of each image its names, the one that was given last first, as podman has them.
    pub(crate) fn by_image(mut records: Vec<RefRecord>) -> HashMap<Digest, Vec<ImageRef>> {
        records.order_by(|a, b| (b.given, &a.name).cmp(&(a.given, &b.name)));
        let mut names: HashMap<Digest, Vec<ImageRef>> = HashMap::new();
        for known in records {
            names.entry(known.image).or_default().push(known.name);
        }
        names
    }

    /// Makes `name` mean an image. An image that it meant before remembers that.
    pub(crate) fn set(
        &self,
        name: &ImageRef,
        image: &Digest,
        manifest: Option<Digest>,
        lock: &Exclusive,
    ) -> Result<()> {
        if let Ok(before) = self.get(name)
            && before.image != *image
        {
            self.store.images().remember_name(&before.image, name, lock)?;
        }
        let (given, rest) = (Some(Timestamp::now()), serde_json::Map::new());
        let record = RefRecord { version: 1, name: name.clone(), image: *image, manifest, given, rest };
        record::write(self.store, &path(name), &record)
    }

    /// Removes a name; false if there is none.
    pub(crate) fn remove(&self, name: &ImageRef, _lock: &Exclusive) -> Result<bool> {
        let path = path(name);
        match fs::unlink(self.store.dir(), &path) {
            Ok(()) => record::sync_parent(self.store, &path).map(|()| true),
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(err) => Err(io_error("remove", self.store.root().join(path))(err)),
        }
    }

    /// Removes a name whose record cannot be read, by its file as [`list`](Self::list) tells it.
    pub(crate) fn remove_damaged(&self, file: &str, _lock: &Exclusive) -> Result<()> {
        let path = PathBuf::from("refs").join(file);
        match crate::store::staging::take(self.store, &path)? {
            Some(taken) => taken.remove().map(drop),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_file_names() {
        let long = format!("r.io/{}:t", "a/".repeat(120) + "b");
        for (name, file) in [
            ("docker.io/library/a:1", "docker.io%2Flibrary%2Fa:1"),
            ("localhost:5000/a:b", "localhost:5000%2Fa:b"),
            ("a%2Fb", "a%252Fb"),
        ] {
            assert_eq!(file_name(name), file);
        }
        assert_eq!(file_name(&long).len(), 65);
    }

    #[test]
    fn a_tag_moves() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let lock = store.lock(&mut |_, _| {}).unwrap();
        let long: ImageRef = format!("[::1]:5000/{}b:{}", "a/".repeat(120), "t".repeat(128)).parse().unwrap();
        for name in [&"a".parse::<ImageRef>().unwrap().with_default_tag(), &long] {
            assert!(store.refs().get(name).unwrap_err().is_not_found());
            for image in [Digest::of(b"1"), Digest::of(b"2")] {
                store.refs().set(name, &image, None, &lock).unwrap();
                assert_eq!(store.refs().get(name).unwrap().image, image);
            }
        }
        assert_eq!(store.refs().list().unwrap().items.len(), 2);
        // The one that was given last comes first; records of older versions come last.
        let mut records = store.refs().list().unwrap().items;
        let names =
            |records: &[RefRecord]| Refs::by_image(records.to_vec()).remove(&Digest::of(b"2")).unwrap();
        assert_eq!(names(&records), [long.clone(), records[1].name.clone()]);
        records[0].given = None;
        assert_eq!(names(&records)[1], records[0].name);
        assert!(store.refs().remove(&long, &lock).unwrap());
        assert!(!store.refs().remove(&long, &lock).unwrap());
    }
}
