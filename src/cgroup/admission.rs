//! Putting one more process into the cgroup of a running container: what `exec` does.
//!
//! The kernel lets a process be moved only by who may write both cgroups and the one above them. A login
//! session and the user's own part of the tree meet in a cgroup that is root's; there systemd has to do it.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cgroup::systemd::{Manager, Sockets};
use crate::cgroup::unit::Nest;
use crate::cgroup::{CgroupError, Result, tree};
use crate::sys::clone::{self, Cloned};

/// Which cgroup, and who may help.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AdmissionOrder {
    /// The directory of the container's cgroup.
    #[serde(with = "crate::base::bytes::path")]
    pub(crate) leaf: PathBuf,
    /// Process 1 of the container, in the numbers of whoever finds the way.
    pub(crate) pid: i32,
    pub(crate) systemd: Option<Sockets>,
    /// The container has limits: outside of its cgroup nothing may run for it.
    pub(crate) is_limited: bool,
}

/// The way into a cgroup, open already, so that it stays open in other namespaces.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    nest: Option<Nest>,
    /// A manager, and what to tell it: scope or service, and cgroup in it.
    manager: Option<(Manager, String, String)>,
    /// Why there is no way, where one is needed.
    needed: Option<CgroupError>,
    is_limited: bool,
}

impl Admission {
    /// Finds the way. That there is none shows when it is needed.
    pub(crate) fn prepare(order: Option<&AdmissionOrder>) -> Self {
        let Some(order) = order else { return Self::default() };
        let own = tree::place_of("self").and_then(|place| place.own_tree());
        let place = place_in(&order.leaf, order.pid);
        if own.is_some_and(|own| order.leaf.starts_with(own)) {
            match Nest::open(&place) {
                Ok(nest) => return Self { nest: Some(nest), ..Self::default() },
                Err(err) => return Self { needed: order.is_limited.then_some(err), ..Self::default() },
            }
        }
        let manager = unit_of(&order.leaf).and_then(|(unit, name)| {
            let manager = order.systemd.as_ref().and_then(Manager::connect)?;
            let below = place.strip_prefix(&order.leaf).ok()?.to_str()?;
            Some((manager, unit.to_owned(), format!("/{name}/{below}").trim_end_matches('/').to_owned()))
        });
        let needed = (manager.is_none() && order.is_limited).then(|| {
            let why = "a command for a container with limits cannot be put into its cgroup";
            CgroupError::Invalid(format!("{why} {}", order.leaf.display()))
        });
        Self { nest: None, manager, needed, is_limited: order.is_limited }
    }

    /// Clones; the child is in the cgroup, or waits for [`Admission::admit`].
    ///
    /// # Errors
    ///
    /// Those of clone3(2).
    pub(crate) fn clone(&mut self) -> std::result::Result<Cloned, nix::errno::Errno> {
        if let Some(nest) = &self.nest
            && let Ok(cloned) = clone::clone3_into(0, Some(nest.directory.as_fd()))
        {
            // Born there: a move would cost milliseconds, for the kernel stops all forks meanwhile.
            self.nest = None;
            return Ok(cloned);
        }
        clone::clone3(0)
    }

    /// Sees to it that `pid` is in the cgroup.
    ///
    /// # Errors
    ///
    /// If the container has limits and the process cannot be put under them.
    pub(crate) fn admit(self, pid: i32) -> Result<()> {
        if let Some(err) = self.needed {
            return Err(err);
        }
        match (self.nest, self.manager) {
            (Some(nest), _) => {
                nest.admit(pid).map_err(super::io_error("move into the cgroup of", "the container"))
            }
            (None, Some((mut manager, scope, name))) => manager
                .attach(&scope, &name, pid)
                .or_else(|err| if self.is_limited { Err(err) } else { Ok(()) }),
            (None, None) => Ok(()),
        }
    }
}

/// Where a process can be put into the cgroup `leaf` of a container whose process 1 is `pid`: one that hands
/// controllers on takes no processes (cgroup-v2, "No Internal Process Constraint"); a systemd or a container
/// engine inside has then moved itself further down.
fn place_in(leaf: &Path, pid: i32) -> PathBuf {
    let own = || tree::place_of(&pid.to_string()).map(|place| place.directory());
    match tree::words(&leaf.join("cgroup.subtree_control")).is_empty() {
        true => leaf.to_owned(),
        false => own().filter(|place| place.starts_with(leaf)).unwrap_or_else(|| leaf.to_owned()),
    }
}

/// The scope that `leaf` is in, or with `--cgroups=split` the service, and the leaf's own name.
fn unit_of(leaf: &Path) -> Option<(&str, &str)> {
    let is_unit = |name: &&str| name.ends_with(".scope") || name.ends_with(".service");
    let unit = leaf.parent()?.file_name()?.to_str().filter(is_unit)?;
    Some((unit, leaf.file_name()?.to_str()?))
}
