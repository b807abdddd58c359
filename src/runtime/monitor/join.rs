//! Joining the namespaces that other containers, or files, share with a container, before its process 1 is born.
//!
//! ```text
//! open all, as root of U ─▶ join the user namespace, then the others ─▶ make the network namespace, if it has its own
//! ```

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use nix::sched::CloneFlags;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::base::id::ContainerId;
use crate::base::spec::{ContainerSpec, Namespace, NetworkMode, UserNamespace};
use crate::runtime::failure::{Failure, FailureKind};
use crate::runtime::monitor::{Monitor, record};
use crate::runtime::plan;
use crate::sys::namespace;

/// Joins what other containers, or files, share with this one. Process 1 inherits it.
pub(super) fn shared_namespaces(monitor: &Monitor) -> Result<(), Failure> {
    let spec = &monitor.spec;
    // Opened all before the first is joined: in the other's user namespace nobody may look into an init that is not
    // dumpable.
    let mut shared = Vec::new();
    if let Some(id) = plan::shares_user_namespace_of(spec) {
        shared.push(Shared::of(monitor, id, "user", CloneFlags::CLONE_NEWUSER)?);
    }
    if let UserNamespace::Path(path) = &spec.userns {
        shared.push(Shared::open(path.clone(), CloneFlags::CLONE_NEWUSER)?);
    }
    match &spec.network.mode {
        NetworkMode::Container(id) => {
            shared.push(Shared::of(monitor, id, "net", CloneFlags::CLONE_NEWNET)?);
        }
        NetworkMode::Path(path) => shared.push(Shared::open(path.clone(), CloneFlags::CLONE_NEWNET)?),
        NetworkMode::None | NetworkMode::Host | NetworkMode::Bridge(_) | NetworkMode::Private(_) => {}
    }
    let namespaces = &spec.namespaces;
    for (namespace, name, flag) in [
        (&namespaces.ipc, "ipc", CloneFlags::CLONE_NEWIPC),
        (&namespaces.uts, "uts", CloneFlags::CLONE_NEWUTS),
        (&namespaces.pid, "pid", CloneFlags::CLONE_NEWPID),
        (&namespaces.cgroup, "cgroup", CloneFlags::CLONE_NEWCGROUP),
    ] {
        match namespace {
            Namespace::Container(id) => shared.push(Shared::of(monitor, id, name, flag)?),
            Namespace::Path(path) => shared.push(Shared::open(path.clone(), flag)?),
            Namespace::Private | Namespace::Host => {}
        }
    }
    shared.into_iter().try_for_each(Shared::join)?;
    if makes_network(spec) {
        nix::sched::unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|errno| Failure::errno("make the container's network namespace", errno))?;
    }
    Ok(())
}

/// Whether the monitor makes the network namespace, and process 1 inherits it: from within another container's user
/// namespace it could not open that of process 1, which is not dumpable.
pub(super) fn makes_network(spec: &ContainerSpec) -> bool {
    plan::joins_user_namespace(spec)
        && matches!(spec.network.mode, NetworkMode::Bridge(_) | NetworkMode::Private(_))
}

/// A namespace that is there already, open.
struct Shared {
    path: PathBuf,
    file: OwnedFd,
    flag: CloneFlags,
}

impl Shared {
    /// That of another container, which must be running.
    fn of(monitor: &Monitor, id: &ContainerId, name: &str, flag: CloneFlags) -> Result<Self, Failure> {
        let pid = pid_of(monitor, id)?;
        let opened = Self::open(format!("/proc/{pid}/ns/{name}"), flag);
        // Its number may have become another process's meanwhile.
        if pid_of(monitor, id)? == pid { opened } else { Self::of(monitor, id, name, flag) }
    }

    fn open(path: impl Into<PathBuf>, flag: CloneFlags) -> Result<Self, Failure> {
        let path = path.into();
        let file = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| Failure::errno(format!("join the namespace {}", path.display()), errno))?;
        Ok(Self { path, file, flag })
    }

    fn join(self) -> Result<(), Failure> {
        match nix::sched::setns(self.file, self.flag) {
            // A user namespace cannot be joined twice: we are in it since the last start.
            Err(nix::errno::Errno::EINVAL) if self.flag == CloneFlags::CLONE_NEWUSER => Ok(()),
            other => other.map_err(|errno| {
                Failure::errno(format!("join the namespace {}", self.path.display()), errno)
            }),
        }
    }
}

/// Process 1 of another container, which must be running.
pub(super) fn pid_of(monitor: &Monitor, id: &ContainerId) -> Result<i32, Failure> {
    let directory = monitor.order.root.join("containers").join(id.as_str());
    record::of_running(&directory).map(|record| record.pid).ok_or_else(|| {
        let message = format!("container {} is not running, so its namespaces cannot be joined", id.short());
        Failure::new(FailureKind::Conflict, message)
    })
}

/// The network namespace of a container whose process 1 is `pid`.
pub(super) fn network_of(spec: &ContainerSpec, pid: i32) -> Result<OwnedFd, Errno> {
    if makes_network(spec) { namespace::open_own("net") } else { namespace::open(pid, "net") }
}
