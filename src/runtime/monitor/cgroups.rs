//! The monitor's care for the container's cgroups, from before its birth to after its death.
//!
//! ```text
//! prepare ─▶ [ nest ─▶ clone3 ─▶ settle ─▶ "go" … end ─▶ leave ] ─▶ remove
//!            once for each life
//! ```

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::FileType;

use crate::base::device::{Access, DeviceKind, DeviceRule};
use crate::base::limits::Cgroup;
use crate::base::spec::{ContainerSpec, Device};
use crate::cgroup::unit::{Nest, Surroundings, Unit, Wish};
use crate::cgroup::{CgroupError, devices, stat};
use crate::runtime::failure::{Failure, FailureKind};
use crate::sys::clone::{self, Cloned};

/// What the monitor holds of cgroups.
#[derive(Debug)]
pub(super) struct Cgroups {
    id: String,
    surroundings: Surroundings,
    stop_seconds: u64,
    unit: Option<Unit>,
    /// It was made by a monitor that is no more, and may not outlast the container.
    is_adopted: bool,
    /// The kernel asks for each device that its processes open.
    is_guarded: bool,
}

impl Cgroups {
    /// For the container `id`; nothing is made yet.
    pub(super) fn new(id: &str, surroundings: Surroundings, stop_seconds: u64) -> Self {
        Self {
            id: id.to_owned(),
            surroundings,
            stop_seconds,
            unit: None,
            is_adopted: false,
            is_guarded: false,
        }
    }

    /// Takes over the cgroup `leaf` of a container that runs, and goes to where its monitor was.
    pub(super) fn adopt(&mut self, leaf: Option<&Path>) {
        self.unit = leaf.map(Unit::of_leaf);
        if let Some(unit) = &mut self.unit {
            unit.succeed(&self.surroundings);
        }
        self.is_adopted = true;
    }

    fn wish<'a>(&'a self, cgroup: &'a Cgroup) -> Wish<'a> {
        Wish { id: &self.id, cgroup, surroundings: &self.surroundings, stop_seconds: self.stop_seconds }
    }

    /// Makes the cgroups, unless that takes the container's process.
    pub(super) fn prepare(&mut self, cgroup: &Cgroup) -> Result<(), Failure> {
        let wish = self.wish(cgroup);
        if wish.is_made_after_birth() {
            return Ok(());
        }
        self.unit = wish.make(std::process::id().cast_signed()).map_err(failure)?;
        Ok(())
    }

    /// A fresh cgroup for one life, to be born into. Before namespaces are joined: from within another
    /// cgroup namespace the kernel would not let us, and from within another user namespace have no say in devices.
    pub(super) fn nest(&mut self, spec: &ContainerSpec) -> Result<Option<Nest>, Failure> {
        if std::mem::take(&mut self.is_adopted) {
            self.remove();
            self.prepare(&spec.cgroup)?;
        }
        // A scope that was made for one process (`--cgroups=no-conmon` with systemd) went away with it.
        if self.wish(&spec.cgroup).is_made_after_birth() {
            return Ok(None);
        }
        let nest = self.unit.as_ref().map(Unit::renew).transpose().map_err(failure)?;
        self.guard_devices(spec)?;
        Ok(nest)
    }

    /// Gives the newborn `pid` its limits; its root is `owner` out here.
    pub(super) fn settle(
        &mut self,
        spec: &ContainerSpec,
        pid: i32,
        owner: Option<(u32, u32)>,
    ) -> Result<(), Failure> {
        let wish = self.wish(&spec.cgroup);
        if wish.is_made_after_birth() {
            self.unit = wish.make(pid).map_err(failure)?;
            self.guard_devices(spec)?;
        }
        if let Some(unit) = &self.unit {
            unit.limit(&spec.cgroup.limits).map_err(failure)?;
            if let Some((uid, gid)) = owner {
                unit.hand_over(uid, gid);
            }
        }
        Ok(())
    }

    /// Keeps the container from devices that are neither the usual ones nor its own. Only root of the machine can, where the
    /// kernel has cgroup v2 and lets it: elsewhere what the container may make it cannot open, unless rules ask for that.
    fn guard_devices(&mut self, spec: &ContainerSpec) -> Result<(), Failure> {
        self.is_guarded = false;
        if !self.surroundings.rootful || spec.security.privileged {
            return Ok(());
        }
        let own = spec.devices.iter().filter_map(rule_of).chain(spec.device_rules.iter().copied());
        let guarded = match self.leaf() {
            Some(leaf) => {
                devices::restrict(leaf, &own.collect::<Vec<_>>()).map_err(|err| match err.raw_os_error() {
                    Some(libc::EPERM) => "the kernel does not let this process load BPF programs".to_owned(),
                    _ => format!("load a BPF program for it: {err}"),
                })
            }
            None => Err("the container has no cgroup of version 2".to_owned()),
        };
        match guarded {
            Err(why) if !spec.device_rules.is_empty() => Err(failure(CgroupError::Devices { why })),
            guarded => {
                self.is_guarded = guarded.is_ok();
                Ok(())
            }
        }
    }

    /// Whether the kernel asks for each device that a newborn opens. Where its cgroup is made after it, only rules make sure of that.
    pub(super) fn asks_for_devices(&self, spec: &ContainerSpec) -> bool {
        self.is_guarded || !spec.device_rules.is_empty()
    }

    /// The directory of the container's cgroup.
    pub(super) fn leaf(&self) -> Option<&Path> {
        self.unit.as_ref().map(Unit::leaf)
    }

    /// Why a life did not begin: where memory ran out, that is the reason of whatever else went wrong.
    pub(super) fn explain(&self, failure: Failure) -> Failure {
        if self.leaf().is_none_or(|leaf| stat::oom_kills(leaf) == 0) {
            return failure;
        }
        let message = "start init: container init was OOM-killed (memory limit too low?)";
        Failure { hint: Some("give it more with --memory".into()), ..Failure::new(failure.kind, message) }
    }

    /// A life is over: was one of its processes killed because memory ran out? What is left of them ends now.
    pub(super) fn leave(&self) -> bool {
        let Some(unit) = &self.unit else { return false };
        let out_of_memory = stat::oom_kills(unit.leaf()) > 0;
        unit.clear();
        out_of_memory
    }

    /// The last life is over.
    pub(super) fn remove(&mut self) {
        if let Some(unit) = self.unit.take() {
            unit.remove();
        }
    }
}

/// What a device that the container is given allows. One that is not there fails later, by its name.
fn rule_of(device: &Device) -> Option<DeviceRule> {
    let stat = rustix::fs::stat(&device.source).ok()?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::BlockDevice => DeviceKind::Block,
        FileType::CharacterDevice => DeviceKind::Character,
        _ => return None,
    };
    Some(DeviceRule {
        kind,
        major: Some(rustix::fs::major(stat.st_rdev)),
        minor: Some(rustix::fs::minor(stat.st_rdev)),
        access: Access::parse(&device.access)?,
    })
}

/// Clones into `nest`, if there is one, with a detour where the kernel does not know the straight way.
pub(super) fn clone_into(namespaces: u64, nest: Option<&Nest>) -> Result<Cloned, nix::errno::Errno> {
    let Some(nest) = nest else { return clone::clone3(namespaces) };
    match clone::clone3_into(namespaces, Some(nest.directory.as_fd())) {
        // Before Linux 5.7, or a rule of the tree: the same errors come again if it was something else.
        Err(_) => {
            let cloned = clone::clone3(namespaces)?;
            if let Cloned::Parent { pid, pidfd } = &cloned {
                admit(nest, *pid, pidfd)?;
            }
            Ok(cloned)
        }
        other => other,
    }
}

fn admit(nest: &Nest, pid: i32, pidfd: &OwnedFd) -> Result<(), nix::errno::Errno> {
    nest.admit(pid).map_err(|err| {
        crate::sys::pidfd::send_signal(pidfd.as_fd(), libc::SIGKILL).ok();
        crate::sys::pidfd::wait(pidfd.as_fd()).ok();
        err.raw_os_error().map_or(nix::errno::Errno::EIO, nix::errno::Errno::from_raw)
    })
}

/// A limit that cannot be applied is the request's failure, and says how it could be.
pub(crate) fn failure(err: CgroupError) -> Failure {
    let mut failure = Failure::system("set up the container's cgroup", &err);
    if !matches!(err, CgroupError::Io { .. } | CgroupError::Systemd(_)) {
        failure.kind = FailureKind::Invalid;
    }
    failure.hint = err.hint().map(str::to_owned);
    failure
}
