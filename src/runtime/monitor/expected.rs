//! Everything is ready: init's steps are made, and process 1 is cloned.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use crate::base::bytes::Bytes;
use crate::base::idmap::IdMap;
use crate::base::spec::{ContainerSpec, Namespace};
use crate::cgroup::unit::Nest;
use crate::runtime::failure::{Failure, FailureKind};
use crate::runtime::init::kept;
use crate::runtime::plan::{self, Places, Situation};
use crate::runtime::step::Step;
use crate::runtime::{idmaps, seccomp};
use crate::sys::clone::{Cloned, flags};

use super::birth::own_map;
use super::volumes::Volumes;
use super::{Monitor, cgroups, outside, wiring};

/// What is ready when process 1 is about to be born.
pub(super) struct Expected<'a> {
    pub(super) monitor: &'a Monitor,
    pub(super) places: Places,
    /// What init opens in place of these, under their numbers.
    pub(super) reach: Vec<(PathBuf, OwnedFd)>,
    /// Those of a user namespace of its own.
    pub(super) maps: Option<(IdMap, IdMap)>,
    pub(super) shared_shm: Option<OwnedFd>,
    pub(super) prepared: BTreeMap<usize, OwnedFd>,
    pub(super) secret_env: Vec<Bytes>,
    /// Variables of linked containers, if there is a network to wait for.
    pub(super) links: Option<Vec<Bytes>>,
    /// The kernel asks for each device.
    pub(super) asks_for_devices: bool,
    /// Wait for somebody who starts it.
    pub(super) hold: bool,
}

/// Who goes on after the birth of process 1.
pub(super) enum Born {
    /// Process 1 itself, with what its steps name by number.
    Inside { steps: Vec<Step>, foreign: outside::Foreign },
    /// Whoever waits for it.
    Outside { pid: i32, pidfd: OwnedFd },
}

impl Expected<'_> {
    /// Clones process 1, from a process that has joined what is shared; with these flags beside its own.
    pub(super) fn bear(&self, volumes: &Volumes, more: u64, nest: Option<&Nest>) -> Result<Born, Failure> {
        let foreign = outside::Foreign::of(&self.monitor.spec)?;
        let steps = self.steps(volumes, &foreign)?;
        let flags = clone_flags(&self.monitor.spec, self.maps.is_some()) | more;
        match cgroups::clone_into(flags, nest).map_err(clone_failure)? {
            Cloned::Child => Ok(Born::Inside { steps, foreign }),
            Cloned::Parent { pid, pidfd } => Ok(Born::Outside { pid, pidfd }),
        }
    }

    fn steps(&self, volumes: &Volumes, foreign: &outside::Foreign) -> Result<Vec<Step>, Failure> {
        let spec = &self.monitor.spec;
        let own_gids = own_map("gid_map");
        let situation = Situation {
            reach: self.reach.iter().map(|(path, kept)| (path.clone(), kept.as_raw_fd())).collect(),
            secret_env: self.secret_env.clone(),
            group_tty_mapped: self.maps.as_ref().is_none_or(|(_, gids)| gids.to_outside(5).is_some())
                && own_gids.to_outside(5).is_some(),
            seccomp: seccomp::compile(&spec.security.seccomp, spec.security.capabilities)
                .map(|filter| (!filter.is_empty()).then_some(filter))
                .map_err(|err| Failure::new(FailureKind::Invalid, err.to_string()))?,
            shared_shm: self.shared_shm.as_ref().map(AsRawFd::as_raw_fd),
            foreign_proc: foreign.proc.as_ref().map(AsRawFd::as_raw_fd),
            foreign_mqueue: foreign.mqueue.as_ref().map(AsRawFd::as_raw_fd),
            prepared: self.prepared.iter().map(|(index, mount)| (*index, mount.as_raw_fd())).collect(),
            groups: match &self.maps {
                Some((_, gids)) => idmaps::group_range(gids, &own_gids),
                None => idmaps::group_range(&idmaps::identity_of(&own_gids), &own_gids),
            },
            paces: self.links.is_some() && wiring::host_paces(),
            own_nodes: spec.security.privileged || self.asks_for_devices,
            directory: self.monitor.directory.clone(),
            volumes: volumes.plans.clone(),
            kept: kept::plan(&self.monitor.kept),
            window: self.monitor.order.window.map(|(rows, cols)| crate::sys::tty::WindowSize { rows, cols }),
        };
        let mut steps = plan::plan(spec, &self.places, situation);
        if let Some(links) = &self.links {
            plan::await_network(&mut steps, spec, links.clone());
        }
        if self.hold {
            steps.insert(steps.len().saturating_sub(1), Step::AwaitStart);
        }
        Ok(steps)
    }
}

/// The namespaces that process 1 is born in.
fn clone_flags(spec: &ContainerSpec, own_user: bool) -> u64 {
    let private = |namespace: &Namespace, flag| if *namespace == Namespace::Private { flag } else { 0 };
    let namespaces = &spec.namespaces;
    flags::MOUNT
        | if own_user { flags::USER } else { 0 }
        | if plan::has_own_network(spec) { flags::NET } else { 0 }
        | private(&namespaces.pid, flags::PID)
        | private(&namespaces.ipc, flags::IPC)
        | private(&namespaces.uts, flags::UTS)
}

fn clone_failure(errno: nix::errno::Errno) -> Failure {
    let mut failure = Failure::errno("create the container's namespaces", errno);
    failure.hint = match errno {
        nix::errno::Errno::ENOSPC | nix::errno::Errno::EUSERS => {
            Some("too many namespaces; as root raise the sysctls user.max_*_namespaces".into())
        }
        nix::errno::Errno::EAGAIN => Some("too many processes: see `ulimit -u`".into()),
        _ => None,
    };
    failure
}
