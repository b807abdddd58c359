//! Secrets as the user handles them, and as containers get them.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::base::bytes::Bytes;
use crate::base::etc::SecretUse;
use crate::base::id::ContainerId;
use crate::engine::create::random;
use crate::engine::filter::{Filters, has_label};
use crate::engine::{Engine, Error, Kind, Result};
use crate::store::StoreError;
use crate::store::secrets::{MAX_BYTES, SecretRecord};

/// Keys of `secret ls --filter`.
pub(crate) const FILTERS: &[&str] = &["id", "label", "label!", "name"];

/// What somebody wants of a new secret.
#[derive(Debug, Default)]
pub(crate) struct SecretRequest {
    pub(crate) name: String,
    pub(crate) data: Vec<u8>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) driver_options: BTreeMap<String, String>,
    /// Take the place of one that has the name.
    pub(crate) replace: bool,
    /// One that is there already will do, unchanged.
    pub(crate) ignore: bool,
}

/// How often a replacement gives way to others that replace the same secret.
const REPLACEMENTS: usize = 100;

/// One `--secret NAME[,key=value…]`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SecretWish {
    name: String,
    variable: bool,
    target: Option<String>,
    mode: u32,
    uid: u32,
    gid: u32,
}

impl Engine {
    /// Makes a secret and returns its ID.
    ///
    /// # Errors
    ///
    /// Conflict if the name is taken; Invalid for a bad name, no data or too much.
    pub(crate) fn create_secret(&self, request: SecretRequest) -> Result<String> {
        let name = &request.name;
        let is_clean = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if name.is_empty() || name.len() > 253 || !name.chars().all(is_clean) {
            return Err(Error::invalid(format!(
                "secret name {name:?} can not include '=', '/', ',', or the '\\0' (NULL) and be between 1 and 253 characters: invalid secret name"
            )));
        }
        if request.data.is_empty() || request.data.len() >= MAX_BYTES {
            return Err(Error::invalid(format!(
                "secret data must be larger than 0 and less than {MAX_BYTES} bytes"
            )));
        }
        let now = Timestamp::now();
        let mut record = SecretRecord {
            version: 1,
            id: ContainerId::from_random(random()?).as_str()[..25].to_owned(),
            name: name.clone(),
            created: now,
            updated: now,
            driver: "file".to_owned(),
            driver_options: request.driver_options,
            labels: request.labels,
            rest: serde_json::Map::new(),
        };
        let secrets = self.store().secrets();
        if request.ignore
            && let Ok(known) = secrets.get(name)
        {
            return Ok(known.id);
        }
        for _ in 0..REPLACEMENTS {
            if request.replace
                && let Ok(known) = secrets.get(name)
            {
                record.created = known.created;
                match self.remove_secret_named(name) {
                    Err(err) if err.kind == Kind::NotFound => {}
                    other => drop(other?),
                }
            }
            match secrets.create(&record, &request.data) {
                // Another command has made or replaced it meanwhile.
                Err(StoreError::Exists { .. }) if request.replace => {}
                Err(StoreError::Exists { .. }) => break,
                other => return Ok(other.map(|()| record.id)?),
            }
        }
        Err(Error::new(Kind::Conflict, format!("{name}: secret name in use")))
    }

    /// The secret that `typed` means.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`].
    pub(crate) fn secret(&self, typed: &str) -> Result<SecretRecord> {
        self.store().secrets().find(typed).map_err(|err| missing(typed, err))
    }

    /// The secrets that pass `filters`, by name.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub(crate) fn secrets(&self, filters: &Filters) -> Result<Vec<SecretRecord>> {
        let tests = filters.tests(|key, value| Ok((key.to_owned(), value.to_owned())))?;
        let mut found = Vec::new();
        let listing = self.store().secrets().list()?;
        listing.damaged.iter().for_each(|err| self.tell(&err.to_string()));
        for secret in listing.items {
            let passes = |(key, value): &(String, String)| {
                Ok(match key.as_str() {
                    "name" => secret.name.contains(value.as_str()),
                    "id" => secret.id.starts_with(value.as_str()),
                    "label" => has_label(&secret.labels, value),
                    _ => !has_label(&secret.labels, value),
                })
            };
            if tests.pass(passes)? {
                found.push(secret);
            }
        }
        Ok(found)
    }

    /// Removes a secret and returns its ID. Containers that have it keep it.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`].
    pub(crate) fn remove_secret(&self, typed: &str) -> Result<String> {
        self.remove_found_secret(typed, self.store().secrets().find(typed))
    }

    /// Removes the secret of this very name, not one whose ID begins so, and returns its ID.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`].
    pub(crate) fn remove_secret_named(&self, name: &str) -> Result<String> {
        self.remove_found_secret(name, self.store().secrets().get(name))
    }

    fn remove_found_secret(
        &self,
        typed: &str,
        found: std::result::Result<SecretRecord, StoreError>,
    ) -> Result<String> {
        let (name, id) = match found {
            // Its name is all that is known of it.
            Err(StoreError::Damaged { .. } | StoreError::Io { .. }) => (typed.to_owned(), typed.to_owned()),
            found => found.map(|secret| (secret.name, secret.id)).map_err(|err| missing(typed, err))?,
        };
        let taken = self.store().secrets().take(&name)?;
        self.discard(taken.into_iter().collect())?;
        Ok(id)
    }

    /// The secrets that a container asks for, with their values.
    ///
    /// # Errors
    ///
    /// A wish that means nothing, or a secret that is not there.
    pub(crate) fn secrets_for(&self, wishes: &[String]) -> Result<Vec<(SecretUse, Vec<u8>)>> {
        wishes
            .iter()
            .map(|text| {
                let wish = SecretWish::parse(text)?;
                let record = self.secret(&wish.name)?;
                let data = self.store().secrets().data(&record.name)?;
                Ok((wish.used(&record), data))
            })
            .collect()
    }
}

/// Why the secret that `typed` means cannot be found.
fn missing(typed: &str, err: StoreError) -> Error {
    match err {
        StoreError::NotFound { .. } => {
            Error::not_found(format!("no secret with name or id {typed:?}: no such secret"))
        }
        other => other.into(),
    }
}

impl SecretWish {
    /// Reads `NAME[,type=mount|env][,target=…][,uid=N][,gid=N][,mode=OCTAL]`; the name may be written as
    /// `source=NAME`.
    fn parse(text: &str) -> Result<Self> {
        let bad = |why: &str| Error::invalid(format!("invalid --secret {text:?}: {why}"));
        let mut wish =
            Self { name: String::new(), variable: false, target: None, mode: 0o444, uid: 0, gid: 0 };
        let mut typed_mount_option = false;
        for (index, field) in text.split(',').enumerate() {
            let Some((key, value)) = field.split_once('=') else {
                if index > 0 || field.is_empty() {
                    return Err(bad("options are written KEY=VALUE"));
                }
                field.clone_into(&mut wish.name);
                continue;
            };
            let number = || value.parse::<u32>().map_err(|_| bad("IDs are numbers"));
            match key {
                "source" | "src" => value.clone_into(&mut wish.name),
                "type" if value == "mount" => wish.variable = false,
                "type" if value == "env" => wish.variable = true,
                "type" => return Err(bad("the type is mount or env")),
                "target" | "dst" | "destination" => wish.target = Some(value.to_owned()),
                "mode" => wish.mode = u32::from_str_radix(value, 8).map_err(|_| bad("the mode is octal"))?,
                "uid" | "UID" => wish.uid = number()?,
                "gid" | "GID" => wish.gid = number()?,
                _ => return Err(bad("known are source, type, target, uid, gid and mode")),
            }
            typed_mount_option |= matches!(key, "mode" | "uid" | "UID" | "gid" | "GID");
        }
        if wish.name.is_empty() {
            return Err(bad("no source was given"));
        }
        if wish.variable && typed_mount_option {
            return Err(bad("uid, gid and mode are for type=mount"));
        }
        Ok(wish)
    }

    fn used(self, record: &SecretRecord) -> SecretUse {
        let target = self.target.unwrap_or_else(|| record.name.clone());
        let path = if target.starts_with('/') { target.clone() } else { format!("/run/secrets/{target}") };
        SecretUse {
            id: record.id.clone(),
            name: record.name.clone(),
            variable: self.variable.then_some(target),
            target: Bytes::from(path),
            mode: self.mode & 0o7777,
            uid: self.uid,
            gid: self.gid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes() {
        let wish = SecretWish::parse("pw,target=/etc/pw,mode=0400,uid=3,gid=4").unwrap();
        assert_eq!((wish.mode, wish.uid, wish.gid), (0o400, 3, 4));
        assert_eq!(wish.target.as_deref(), Some("/etc/pw"));
        let wish = SecretWish::parse("source=pw,type=env,target=PW").unwrap();
        assert!(wish.variable && wish.name == "pw");
        for bad in ["", "pw,x", "pw,type=file", "pw,mode=9", "pw,uid=a", "type=env", "pw,type=env,mode=0400"]
        {
            assert!(SecretWish::parse(bad).is_err(), "{bad}");
        }
    }
}
