//! Joining the namespaces that other containers, or files, share with a container, before its process 1 is born.
//!
//! ```text
//! monitor, root of U: opens all ──clone3──▶ child: joins the user namespace, then the others
//!    ▲                                        └──clone3, CLONE_PARENT──▶ process 1, a child of the monitor
//!    └──────────── its number ────────────────┘
//! ```
//!
//! The monitor stays where it is: the next life may have other namespaces to join.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use nix::sched::CloneFlags;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::base::id::ContainerId;
use crate::base::spec::{Namespace, NetworkMode, UserNamespace};
use crate::runtime::failure::{Failure, FailureKind};
use crate::runtime::monitor::expected::Born;
use crate::runtime::monitor::{Monitor, record};
use crate::runtime::plan;
use crate::stage::wire;
use crate::sys::clone::{self, Cloned};
use crate::sys::{pidfd, process};

/// Opens what other containers, or files, share with this one, the user namespace first. All before the first is joined: in the other's user
/// namespace nobody may look into an init that is not dumpable.
pub(super) fn shared_namespaces(monitor: &Monitor) -> Result<Vec<Shared>, Failure> {
    let spec = &monitor.spec;
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
    Ok(shared)
}

/// What the child that joins namespaces tells the monitor; the pidfd of process 1 comes along.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Born { pid: i32 },
    Failed(Failure),
}

/// Has a child of the monitor, which has one thread, join `shared` and `bear` process 1 as its sibling. Process 1 inherits what was joined.
///
/// # Errors
///
/// If a namespace cannot be joined; those of `bear`.
pub(super) fn beside(
    shared: Vec<Shared>,
    bear: impl FnOnce() -> Result<Born, Failure>,
) -> Result<Born, Failure> {
    let (ours, theirs) = wire::pair().map_err(|err| Failure::errno("make a socket", err))?;
    match clone::clone3(0).map_err(|errno| Failure::errno("start a process", errno))? {
        Cloned::Child => {
            drop(ours);
            let sent = match shared.into_iter().try_for_each(Shared::join).and_then(|()| bear()) {
                Ok(Born::Outside { pid, pidfd }) => {
                    wire::send(theirs.as_fd(), &Answer::Born { pid }, &[pidfd.as_fd()])
                }
                Ok(inside) => return Ok(inside),
                Err(failure) => wire::send(theirs.as_fd(), &Answer::Failed(failure), &[]),
            };
            process::exit_now(i32::from(sent.is_err()))
        }
        Cloned::Parent { pidfd: child, .. } => {
            drop(theirs);
            let failed = |err| Failure::system("join the namespaces of another container", &err);
            let answer = wire::receive::<Answer>(ours.as_fd()).map_err(failed);
            pidfd::wait(child.as_fd()).ok();
            match answer? {
                (Answer::Born { pid }, descriptors) => {
                    let [pidfd] = wire::take(descriptors).map_err(failed)?;
                    Ok(Born::Outside { pid, pidfd })
                }
                (Answer::Failed(failure), _) => Err(failure),
            }
        }
    }
}

/// A namespace that is there already, open.
pub(super) struct Shared {
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
            // The one that we are in, of a container with --userns=host, cannot be joined.
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
