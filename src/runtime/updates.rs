//! What `update` has changed since a container was created: `updated.json` beside `spec.json`, which itself
//! never changes. Written by the command; the monitor looks at it before each life and at each end.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::base::health::HealthPlan;
use crate::base::limits::Limits;
use crate::base::spec::{ContainerSpec, RestartPolicy};
use crate::sys::fs;

/// The file's name.
pub(crate) const FILE: &str = "updated.json";

/// The file that whoever changes this or the networks of a container holds locked.
const LOCK_FILE: &str = "changes.lock";

/// Waits until nobody else changes the container in `directory`, and keeps others from it until it is dropped: from
/// reading what holds to writing what shall hold.
///
/// # Errors
///
/// If the directory takes no file.
pub(crate) fn lock(directory: &Path) -> io::Result<OwnedFd> {
    let flags = fs::OFlags::RDWR | fs::OFlags::CREATE;
    let file = fs::open_at(rustix::fs::CWD, directory.join(LOCK_FILE), flags, 0o600)?;
    fs::lock(&file, fs::Share::Exclusive)?;
    Ok(file)
}

/// The changes, all of them since the beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Updates {
    /// All limits that hold now.
    pub(crate) limits: Option<Limits>,
    pub(crate) restart: Option<RestartPolicy>,
    /// How its health is checked now.
    #[serde(default)]
    pub(crate) health: Option<HealthPlan>,
    /// It is not checked any more.
    #[serde(default)]
    pub(crate) no_health: bool,
    /// Links by which it does not know others any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) unlinked: Vec<String>,
}

impl Updates {
    /// Those of the container in `directory`; none if there is no such file or it is damaged.
    pub(crate) fn read(directory: &Path) -> Self {
        let path = directory.join(FILE);
        let text = fs::read_at(rustix::fs::CWD, path, 16 << 20).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Puts them into a spec.
    pub(crate) fn apply(self, spec: &mut ContainerSpec) {
        if let Some(limits) = self.limits {
            spec.cgroup.limits = limits;
        }
        if let Some(restart) = self.restart {
            spec.restart = restart;
        }
        spec.network.links.retain(|(alias, _)| !self.unlinked.contains(alias));
        if self.no_health || self.health.is_some() {
            spec.health_none = self.no_health;
            spec.health = self.health;
        }
    }

    /// Is the health of a container checked, if its spec says so or not?
    pub(crate) fn checks_health(&self, by_spec: bool) -> bool {
        self.health.is_some() || by_spec && !self.no_health
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_updated_decides_over_health_checks() {
        let unchecked = Updates { no_health: true, ..Updates::default() };
        for by_spec in [true, false] {
            assert_eq!(Updates::default().checks_health(by_spec), by_spec);
            assert!(!unchecked.checks_health(by_spec));
        }
    }
}
