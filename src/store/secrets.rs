//! Secrets: small values that containers get as files or variables and that no image holds.
//!
//! ```text
//! secrets/<name>/   made whole under staging/, renamed here: the name is taken by that one call
//!   secret.json     what `secret inspect` shows
//!   data            the value, 0600
//! ```

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{CWD, OFlags};
use serde::{Deserialize, Serialize};

use crate::store::Store;
use crate::store::error::{Result, StoreError, io_error};
use crate::store::record::{self, Listing, is_name};
use crate::store::staging::{self, Staged};
use crate::sys::fs;

/// The largest secret, as with podman.
pub(crate) const MAX_BYTES: usize = 512_000;

/// What is known of a secret but its value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SecretRecord {
    pub(crate) version: u32,
    /// 25 hexadecimal digits.
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
    /// `file`.
    pub(crate) driver: String,
    #[serde(default)]
    pub(crate) driver_options: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    /// Fields of newer versions.
    #[serde(flatten)]
    pub(crate) rest: serde_json::Map<String, serde_json::Value>,
}

/// The secrets of a store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Secrets<'a> {
    store: &'a Store,
}

impl Store {
    /// The secrets.
    pub(crate) fn secrets(&self) -> Secrets<'_> {
        Secrets { store: self }
    }
}

/// Reads the value of a secret of the store `root`.
///
/// # Errors
///
/// NotFound, also for a name that no secret can have: names come from manifests, too, and are no paths there;
/// FileTooLarge; what is no regular file.
pub(crate) fn read_data(root: &Path, name: &str) -> io::Result<Vec<u8>> {
    if !is_name(name) {
        return Err(io::ErrorKind::NotFound.into());
    }
    // A FIFO in its place holds nobody up.
    let file = fs::open_at(CWD, data_path(root, name), OFlags::RDONLY | OFlags::NONBLOCK, 0)?;
    let file = File::from(file);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut data = Vec::new();
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut data)?;
    if data.len() > MAX_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(data)
}

fn data_path(root: &Path, name: &str) -> PathBuf {
    root.join(Secrets::relative(name)).join("data")
}

impl Secrets<'_> {
    fn relative(name: &str) -> PathBuf {
        PathBuf::from("secrets").join(name)
    }

    /// Where the values are; absolute.
    pub(crate) fn directory(&self) -> PathBuf {
        self.store.root().join("secrets")
    }

    /// Makes a secret, durably.
    ///
    /// # Errors
    ///
    /// [`StoreError::Exists`]; [`StoreError::InvalidName`].
    pub(crate) fn create(&self, secret: &SecretRecord, data: &[u8]) -> Result<()> {
        let name = &secret.name;
        if !is_name(name) {
            return Err(StoreError::InvalidName { what: "secret", name: name.clone() });
        }
        let mut staged = staging::dir(self.store)?;
        staged.write("data", data, true)?;
        staged.write("secret.json", &record::to_text(secret), true)?;
        self.store.make_directory("secrets")?;
        if staged.publish(self.store, &Self::relative(name), true)? {
            Ok(())
        } else {
            Err(StoreError::Exists { what: "secret", name: name.clone() })
        }
    }

    /// The record of the secret with this very name.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`], [`StoreError::Damaged`].
    pub(crate) fn get(&self, name: &str) -> Result<SecretRecord> {
        if !is_name(name) {
            return Err(StoreError::NotFound { what: "secret", name: name.to_owned() });
        }
        record::read(self.store, &Self::relative(name).join("secret.json"), "secret", name)
    }

    /// The secret that `typed` means: a name, an ID, or the beginning of one secret's ID.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`], [`StoreError::Ambiguous`].
    pub(crate) fn find(&self, typed: &str) -> Result<SecretRecord> {
        match self.get(typed) {
            Err(err) if err.is_not_found() => {}
            other => return other,
        }
        let missing = || StoreError::NotFound { what: "secret", name: typed.to_owned() };
        let looks_like_id = !typed.is_empty() && typed.bytes().all(|b| b.is_ascii_hexdigit());
        let mut matching = if looks_like_id { self.list()?.items } else { return Err(missing()) };
        matching.retain(|secret| secret.id.starts_with(typed));
        match matching.len() {
            0 => Err(missing()),
            1 => Ok(matching.remove(0)),
            _ => Err(StoreError::Ambiguous {
                what: "secrets",
                name: typed.to_owned(),
                candidates: matching.into_iter().map(|secret| secret.id).collect(),
            }),
        }
    }

    /// The value of a secret.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`], [`StoreError::Io`].
    pub(crate) fn data(&self, name: &str) -> Result<Vec<u8>> {
        let root = self.store.root();
        read_data(root, name).map_err(|err| match err.kind() {
            io::ErrorKind::NotFound => StoreError::NotFound { what: "secret", name: name.to_owned() },
            _ => io_error("read", data_path(root, name))(err),
        })
    }

    /// All secrets, by name.
    pub(crate) fn list(&self) -> Result<Listing<SecretRecord>> {
        let mut listing = Listing::default();
        if !self.directory().exists() {
            return Ok(listing);
        }
        for name in record::names(self.store, "secrets")? {
            listing.add(self.get(&name));
        }
        Ok(listing)
    }

    /// Takes a secret away; `None` if there is none. The caller then [removes](Staged::remove) it.
    pub(crate) fn take(&self, name: &str) -> Result<Option<Staged>> {
        if is_name(name) { staging::take(self.store, &Self::relative(name)) } else { Ok(None) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(name: &str, id: &str) -> SecretRecord {
        SecretRecord {
            version: 1,
            id: id.to_owned(),
            name: name.to_owned(),
            created: Timestamp::UNIX_EPOCH,
            updated: Timestamp::UNIX_EPOCH,
            driver: "file".into(),
            driver_options: BTreeMap::new(),
            labels: BTreeMap::new(),
            rest: serde_json::Map::new(),
        }
    }

    #[test]
    fn is_made_once_found_by_name_and_id_and_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let secrets = store.secrets();
        assert!(secrets.list().unwrap().items.is_empty());
        let (one, two) = (secret("one", "aaaa1111"), secret("two", "aaaa2222"));
        secrets.create(&one, b"value").unwrap();
        secrets.create(&two, b"").unwrap();
        assert!(matches!(secrets.create(&one, b"x"), Err(StoreError::Exists { .. })));
        assert!(matches!(secrets.create(&secret("../x", "1"), b"x"), Err(StoreError::InvalidName { .. })));
        assert_eq!(secrets.find("one").unwrap(), one);
        assert_eq!(secrets.find("aaaa2").unwrap(), two);
        assert!(matches!(secrets.find("aaaa"), Err(StoreError::Ambiguous { .. })));
        assert!(secrets.find("zz").unwrap_err().is_not_found());
        assert_eq!(secrets.data("one").unwrap(), b"value");
        let mode = std::fs::metadata(secrets.directory().join("one/data")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        secrets.take("one").unwrap().unwrap().remove().unwrap();
        assert!(secrets.take("one").unwrap().is_none());
        assert_eq!(secrets.list().unwrap().items, [two]);
    }

    #[test]
    fn a_value_is_a_bounded_file_of_the_store() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let secrets = store.secrets();
        secrets.create(&secret("one", "aaaa1111"), b"value").unwrap();
        let outside = dir.path().join("evil");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("data"), "stolen").unwrap();
        for name in ["../../evil", "one/../../../evil", outside.to_str().unwrap(), "", ".", ".."] {
            assert!(secrets.data(name).unwrap_err().is_not_found(), "{name:?}");
        }
        let data = secrets.directory().join("one/data");
        std::fs::write(&data, vec![b'x'; MAX_BYTES]).unwrap();
        assert_eq!(secrets.data("one").unwrap().len(), MAX_BYTES);
        std::fs::write(&data, vec![b'x'; MAX_BYTES + 1]).unwrap();
        assert!(secrets.data("one").is_err());
        std::fs::remove_file(&data).unwrap();
        std::os::unix::fs::symlink(outside.join("data"), &data).unwrap();
        assert!(secrets.data("one").is_err());
        std::fs::remove_file(&data).unwrap();
        rustix::fs::mknodat(CWD, &data, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(secrets.data("one").is_err());
    }
}
