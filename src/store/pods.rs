//! Pods: what is known of each but its containers, which say themselves that they are of it.
//!
//! ```text
//! pods/<id>/pod.json   made whole under staging/, renamed here under the store's lock: that is when the name is looked at
//! ```
//!
//! As with podman, a pod may have the name of a container.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::base::bytes::Bytes;
use crate::base::limits::{CgroupGroup, Limits};
use crate::base::pod::{ExitPolicy, PodId, Share};
use crate::base::spec::RestartPolicy;
use crate::store::Store;
use crate::store::error::{Result, StoreError};
use crate::store::lock::Exclusive;
use crate::store::record::{self, Listing, is_name};
use crate::store::staging::{self, Staged};

/// The directory of all pods, in the store.
const DIRECTORY: &str = "pods";

/// What is known of a pod. It never changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PodRecord {
    pub(crate) version: u32,
    pub(crate) id: PodId,
    pub(crate) name: String,
    pub(crate) created: Timestamp,
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    /// The namespaces that its containers have in common.
    #[serde(default)]
    pub(crate) share: Vec<Share>,
    /// `--hostname`, or empty.
    #[serde(default)]
    pub(crate) hostname: String,
    /// It was made with an infra container.
    pub(crate) infra: bool,
    #[serde(default)]
    pub(crate) exit_policy: ExitPolicy,
    /// What containers have that ask for no other.
    #[serde(default)]
    pub(crate) restart: Option<RestartPolicy>,
    /// The cgroup that theirs are below; empty for the usual one.
    #[serde(default)]
    pub(crate) cgroup_parent: String,
    /// The containers are below that cgroup, and not the infra container alone.
    #[serde(default)]
    pub(crate) share_parent: bool,
    /// The size of the tmpfs that systemd gets, in bytes, in containers that ask for no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) systemd_size_bytes: Option<u64>,
    /// What all of them may use together.
    #[serde(default)]
    pub(crate) limits: Limits,
    /// The command line that created it.
    #[serde(default)]
    pub(crate) create_command: Vec<Bytes>,
    /// Fields of newer versions.
    #[serde(flatten)]
    pub(crate) rest: serde_json::Map<String, serde_json::Value>,
}

impl PodRecord {
    /// The cgroup of its containers, if they are limited together.
    pub(crate) fn cgroup_group(&self) -> Option<CgroupGroup> {
        let group = || CgroupGroup { name: self.id.to_string(), limits: self.limits.clone() };
        (!self.limits.is_empty()).then(group)
    }
}

/// The pods of a store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pods<'a> {
    store: &'a Store,
}

impl Store {
    /// The pods.
    pub(crate) fn pods(&self) -> Pods<'_> {
        Pods { store: self }
    }
}

impl Pods<'_> {
    fn relative(id: &PodId) -> PathBuf {
        PathBuf::from(DIRECTORY).join(id.as_str())
    }

    /// Makes a pod, durably.
    ///
    /// # Errors
    ///
    /// [`StoreError::InvalidName`]; [`StoreError::Exists`] if there is one of that name.
    pub(crate) fn create(&self, pod: &PodRecord, _lock: &Exclusive) -> Result<()> {
        let taken = || StoreError::Exists { what: "pod", name: pod.name.clone() };
        if !is_name(&pod.name) {
            return Err(StoreError::InvalidName { what: "pod", name: pod.name.clone() });
        }
        if self.list()?.items.iter().any(|other| other.name == pod.name) {
            return Err(taken());
        }
        let mut staged = staging::dir(self.store)?;
        staged.write("pod.json", &record::to_text(pod), true)?;
        self.store.make_directory(DIRECTORY)?;
        if staged.publish(self.store, &Self::relative(&pod.id), true)? { Ok(()) } else { Err(taken()) }
    }

    /// The record of a pod.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`], [`StoreError::Damaged`].
    pub(crate) fn get(&self, id: &PodId) -> Result<PodRecord> {
        record::read(self.store, &Self::relative(id).join("pod.json"), "pod", id.as_str())
    }

    /// The IDs of all pods, readable or not, sorted.
    pub(crate) fn ids(&self) -> Result<Vec<PodId>> {
        let names = match record::names(self.store, DIRECTORY) {
            // The directory is made with the first one.
            Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            other => other?,
        };
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// All pods, in the order of their IDs.
    pub(crate) fn list(&self) -> Result<Listing<PodRecord>> {
        let mut listing = Listing::default();
        self.ids()?.iter().for_each(|id| listing.add(self.get(id)));
        Ok(listing)
    }

    /// The pod that `typed` means: a name, an ID, or the beginning of one ID.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`], [`StoreError::Ambiguous`].
    pub(crate) fn find(&self, typed: &str) -> Result<PodId> {
        if let Some(named) = self.list()?.items.into_iter().find(|pod| pod.name == typed) {
            return Ok(named.id);
        }
        let is_id = !typed.is_empty() && typed.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let mut matching = if is_id { self.ids()? } else { Vec::new() };
        matching.retain(|id| id.as_str().starts_with(typed));
        match matching.len() {
            0 => Err(StoreError::NotFound { what: "pod", name: typed.to_owned() }),
            1 => Ok(matching.remove(0)),
            _ => Err(StoreError::Ambiguous {
                what: "pods",
                name: typed.to_owned(),
                candidates: matching.iter().map(|id| id.short().to_owned()).collect(),
            }),
        }
    }

    /// Takes a pod away; `None` if it is gone already. Its containers are the caller's business.
    pub(crate) fn take(&self, id: &PodId, _lock: &Exclusive) -> Result<Option<Staged>> {
        match staging::take(self.store, &Self::relative(id)) {
            Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_made_found_and_taken() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let lock = store.lock(&mut |_, _| {}).unwrap();
        let pods = store.pods();
        assert!(pods.list().unwrap().items.is_empty(), "before there is a directory");
        let pod = |n: u8, name: &str| -> PodRecord {
            let id = PodId::from_random([n; 32]);
            let record = serde_json::json!({
                "version": 1, "id": id, "name": name, "created": "2026-11-22T18:00:00Z", "infra": true,
            });
            serde_json::from_value(record).unwrap()
        };
        let (one, two) = (pod(0x11, "one"), pod(0x12, "two"));
        pods.create(&one, &lock).unwrap();
        pods.create(&two, &lock).unwrap();
        assert!(matches!(pods.create(&pod(3, "two"), &lock), Err(StoreError::Exists { .. })));
        assert!(matches!(pods.create(&pod(3, "a/b"), &lock), Err(StoreError::InvalidName { .. })));
        for typed in ["one", one.id.as_str(), "1111"] {
            assert_eq!(pods.find(typed).unwrap(), one.id, "{typed}");
        }
        assert!(matches!(pods.find("1"), Err(StoreError::Ambiguous { .. })));
        assert!(pods.find("").unwrap_err().is_not_found());
        assert_eq!(pods.get(&one.id).unwrap(), one);

        // Damage of one is no damage of others.
        let file = store.root().join("pods").join(one.id.as_str()).join("pod.json");
        std::fs::write(file, "").unwrap();
        let listing = pods.list().unwrap();
        assert_eq!((listing.items, listing.damaged.len()), (vec![two], 1));
        pods.take(&one.id, &lock).unwrap().unwrap().remove().unwrap();
        assert!(pods.take(&one.id, &lock).unwrap().is_none());
    }
}
