//! Pods: containers that share namespaces, which their infra container holds.
//!
//! ```text
//! create_pod ─▶ pods/<id>/pod.json ─▶ the infra container, an ordinary one whose spec says that it is that
//! --pod      ─▶ join_pod: container:<infra> for what the pod shares, and --requires: it starts first
//! state      ◀─ what its containers do; nothing of it is stored
//! ```
//!
//! A container says itself of which pod it is: there is no list that could say otherwise.

mod again;
mod clone;
mod create;
mod join;
mod lifecycle;
mod list;

use std::collections::BTreeMap;

use crate::base::bytes::Bytes;
use crate::base::id::ContainerId;
use crate::base::limits::Limits;
use crate::base::pod::{ExitPolicy, PodId, Share};
use crate::base::spec::RestartPolicy;
use crate::engine::list::Container;
use crate::engine::request::ContainerRequest;
use crate::engine::{Engine, Error, Kind, Result};
use crate::store::pods::PodRecord;

pub(crate) use crate::engine::pod::clone::PodCloneRequest;
pub(crate) use crate::engine::pod::list::FILTERS;

/// A pod that somebody wants.
#[derive(Clone, Debug, Default)]
pub(crate) struct PodRequest {
    /// `None` for one that is chosen.
    pub(crate) name: Option<String>,
    /// Remove the pod that has this name.
    pub(crate) replace: bool,
    pub(crate) labels: BTreeMap<String, String>,
    /// What its containers have in common.
    pub(crate) share: Vec<Share>,
    /// That of the infra container, whose own counts more; else the pod's name.
    pub(crate) hostname: Option<String>,
    /// The infra container: networks, ports, what concerns namespaces; the others have its volumes, devices and security
    /// options as well. Without an image it is ketch's own, and has no
    /// files; without a name it gets its own. `None` for a pod without one, which shares nothing.
    pub(crate) infra: Option<ContainerRequest>,
    /// `None`: as containers.conf says, or [`ExitPolicy::Continue`].
    pub(crate) exit_policy: Option<ExitPolicy>,
    /// What containers have that ask for no other.
    pub(crate) restart: Option<RestartPolicy>,
    /// The cgroup that theirs are below; empty for the usual one.
    pub(crate) cgroup_parent: String,
    /// The containers are below that cgroup, and not the infra container alone.
    pub(crate) share_parent: bool,
    /// What all of them may use together.
    pub(crate) limits: Limits,
    /// The size of the tmpfs that systemd gets, in bytes, in containers that ask for no other.
    pub(crate) systemd_size_bytes: Option<u64>,
    /// The command line that asked.
    pub(crate) create_command: Vec<Bytes>,
}

/// A pod and its containers, the oldest first.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) record: PodRecord,
    pub(crate) containers: Vec<Container>,
}

impl Pod {
    /// Its infra container, if it has one.
    pub(crate) fn infra(&self) -> Option<&Container> {
        self.containers.iter().find(|container| container.is_infra())
    }

    /// Its containers, the infra container last.
    pub(crate) fn members_first(&self) -> Vec<ContainerId> {
        let (infra, others): (Vec<_>, Vec<_>) = self.containers.iter().partition(|one| one.is_infra());
        others.into_iter().chain(infra).map(|one| one.id.clone()).collect()
    }

    /// podman's word for what its containers do.
    pub(crate) fn state(&self) -> &'static str {
        state(self.containers.iter().map(|container| container.status.word()))
    }
}

impl Container {
    /// True if it holds the namespaces of a pod.
    pub(crate) fn is_infra(&self) -> bool {
        self.summary.pod.as_ref().is_some_and(|pod| pod.infra)
    }
}

/// The state of a pod whose containers are in these states.
fn state<'a>(containers: impl Iterator<Item = &'a str>) -> &'static str {
    let (mut all, mut running, mut paused, mut ended) = (0, 0, 0, 0);
    for word in containers {
        all += 1;
        match word {
            "running" => running += 1,
            "paused" => paused += 1,
            "exited" => ended += 1,
            _ => {}
        }
    }
    match all {
        0 => "Created",
        all if running == all => "Running",
        _ if running > 0 => "Degraded",
        all if paused == all => "Paused",
        all if ended == all => "Exited",
        _ if ended > 0 => "Stopped",
        _ => "Created",
    }
}

impl Engine {
    /// Finds a pod by name, ID or the beginning of its ID.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`]; [`Kind::Invalid`] if several IDs begin so.
    pub(crate) fn pod(&self, typed: &str) -> Result<PodId> {
        self.store().pods().find(typed).map_err(|err| match Error::from(err) {
            err if err.kind == Kind::NotFound => {
                Error::not_found(format!("no pod with name or ID {typed} found: no such pod"))
            }
            err => err,
        })
    }

    /// The pod of this very name, not one whose ID begins so.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub(crate) fn pod_named(&self, name: &str) -> Result<Option<PodId>> {
        let pods = self.store().pods().list()?.items;
        Ok(pods.into_iter().find(|pod| pod.name == name).map(|pod| pod.id))
    }

    /// A pod with its containers.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`]; if its record is damaged, or containers cannot be read.
    pub(crate) fn pod_details(&self, id: &PodId) -> Result<Pod> {
        let record = self.store().pods().get(id)?;
        let containers = self.pod_containers(id)?;
        Ok(Pod { record, containers })
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn states() {
        for (containers, want) in [
            (&[][..], "Created"),
            (&["created", "created"], "Created"),
            (&["initialized"], "Created"),
            (&["running", "running"], "Running"),
            (&["running", "exited"], "Degraded"),
            (&["running", "created"], "Degraded"),
            (&["running", "paused"], "Degraded"),
            (&["paused", "paused"], "Paused"),
            (&["exited", "exited"], "Exited"),
            (&["exited", "created"], "Stopped"),
        ] {
            assert_eq!(super::state(containers.iter().copied()), want, "{containers:?}");
        }
    }
}
