//! Control groups, version 2: where a container's processes are counted, limited, frozen and killed together.
//!
//! A user may use a part of the tree only if it was handed over ("delegated"): systemd does so for each
//! user manager, anybody else by chown. Two ways lead to a cgroup of one's own, tried in this order:
//!
//! ```text
//! systemd   $XDG_RUNTIME_DIR/systemd/private answers: a transient scope with Delegate=yes
//!           …/user@1000.service/user.slice/ketch-<id>.scope/
//! cgroupfs  the highest delegated cgroup above this process ("own tree")
//!           …/<own tree>/ketch/ketch-<id>/
//!                                  ├─ monitor/     the monitor
//!                                  └─ container/   the container: limits, freezer, counters; its cgroup namespace begins here
//! ```
//!
//! Processes and controllers may not meet in one inner directory, hence the two leaves. Where neither way
//! is open the container simply runs where its starter ran; only a limit is then an error.

pub(crate) mod admission;
pub(crate) mod control;
mod dbus;
pub(crate) mod devices;
pub(crate) mod service;
pub(crate) mod settings;
mod slice;
pub(crate) mod stat;
pub(crate) mod systemd;
pub(crate) mod tree;
pub(crate) mod unit;

use std::io;
use std::path::PathBuf;

/// Why a cgroup could not be made or used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CgroupError {
    /// There is no cgroup of one's own, so nothing can be limited.
    #[error("{flag} cannot be applied: {why}")]
    NoCgroup { flag: &'static str, why: &'static str },
    /// There is one, without this controller.
    #[error("{flag} cannot be applied: the cgroup controller {controller:?} is not delegated here")]
    NoController { flag: &'static str, controller: String },
    /// The kernel has no such file: built without it, or a device that cannot do it.
    #[error("{flag} cannot be applied: this kernel has no {file}")]
    NoFile { flag: &'static str, file: String },
    /// A block device that is none.
    #[error("{flag}: {path:?} is no block device")]
    NoDevice { flag: &'static str, path: PathBuf },
    #[error("{flag}: the kernel refuses {value:?} for {file}")]
    Refused { flag: &'static str, file: String, value: String, source: io::Error },
    #[error("{action} {path:?}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// The kernel does not ask us about devices.
    #[error("--device-cgroup-rule cannot be applied: {why}")]
    Devices { why: String },
    #[error("ask systemd for a scope: {0}")]
    Systemd(String),
    #[error("{0}")]
    Invalid(String),
}

pub(crate) type Result<T> = std::result::Result<T, CgroupError>;

/// An [`CgroupError::Io`] for `action` on `path`.
fn io_error(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> CgroupError {
    let path = path.into();
    move |source| CgroupError::Io { action, path, source }
}

impl CgroupError {
    /// What the user can do about it.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoCgroup { .. } | Self::NoController { .. } => Some(HOW_TO_DELEGATE),
            _ => None,
        }
    }
}

/// How limits become possible (REL-64).
pub(crate) const HOW_TO_DELEGATE: &str = "limits need cgroup v2 and the right to use it. With systemd, as root:\n\
     \n  mkdir -p /etc/systemd/system/user@.service.d\n  \
     printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' > /etc/systemd/system/user@.service.d/delegate.conf\n  \
     systemctl daemon-reload\n\n\
     and log in again (a host with cgroup v1 has to be booted with systemd.unified_cgroup_hierarchy=1). Without \
     systemd, as root give yourself a cgroup (chown a directory below /sys/fs/cgroup and its cgroup.procs, \
     cgroup.subtree_control, cgroup.threads to you) and start a shell in it.";
