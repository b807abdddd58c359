//! What init does between its birth and `execve`, as plain data.
//!
//! [`plan`](crate::runtime::plan) decides, [`init`](crate::runtime::init) carries out. A step says
//! *what*; how it is done safely (descriptors, openat2) is the business of init.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::base::bytes::Bytes;
use crate::base::id::ContainerId;
use crate::base::passwd::Accounts;
use crate::base::spec::{Process, Security};
use crate::runtime::hooks::HookPlan;
use crate::sys::seccomp::BpfInsn;
use crate::sys::tty::WindowSize;

/// One operation of init. Steps are carried out in order; the first failure ends init.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// Become root of the container, where there is one; open what root could not reach before.
    BecomeRoot {
        reach: Vec<(PathBuf, i32)>,
    },
    /// See the cgroup that it is in as the root of the tree. Not at birth: the kernel would take the monitor's.
    CgroupNamespace,
    /// Leave the caller's session keyring.
    SessionKeyring,
    /// Bring up `lo`.
    Loopback,
    /// Tell the monitor that all is mounted, and wait until it has run hooks.
    AwaitHooks,
    /// Run hooks in here.
    Hooks(HookPlan),
    /// Wait until the monitor says that the container is linked to its networks.
    AwaitNetwork,
    /// Tell the monitor that all is ready, and wait until somebody starts the container.
    AwaitStart,
    Hostname(String),
    Domainname(String),
    /// Mount the root file system and make it the working directory.
    Root(RootPlan),
    /// Add users and groups to the image's files.
    Accounts(Box<AccountsPlan>),
    /// Mount something below the root.
    Mount(MountPlan),
    /// Make the link /etc/mtab, where getmntent(3) looks for the mounts, unless the image has something there.
    MountTable,
    /// Bind a device of the host to a path below the root.
    Device {
        source: PathBuf,
        target: Bytes,
    },
    /// Bind every device node of the host's /dev that is not there yet (`--privileged`).
    HostDevices,
    /// Make a symbolic link in /dev.
    DevLink {
        name: &'static str,
        target: &'static str,
    },
    /// Open a terminal from the container's devpts, give its master to the monitor, show its slave
    /// as /dev/console and make it the standard streams.
    Terminal(Option<WindowSize>),
    /// Hide files behind the null device and directories behind an empty tmpfs.
    Mask(Vec<Bytes>),
    /// Make paths read-only.
    ReadOnly(Vec<Bytes>),
    /// Kernel parameters, written through the container's own /proc.
    Sysctls(BTreeMap<String, String>),
    /// Make the root file system read-only, now that every mount point exists.
    RootReadOnly,
    /// Make /dev read-only, now that it is complete.
    DevReadOnly,
    /// Make the working directory `/`.
    Pivot,
    /// Take on the identity of the container's user and run the command. Always last.
    Run(Box<RunPlan>),
}

/// Where the root comes from, in paths of the host.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RootPlan {
    Overlay(OverlayPlan),
    /// A directory as it is.
    Directory(PathBuf),
}

/// An overlay mount.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OverlayPlan {
    /// The directory that the mount covers while it is being built; never seen inside.
    pub(crate) over: PathBuf,
    /// Lower directories, the topmost first.
    pub(crate) lowers: Vec<PathBuf>,
    /// Upper and work directory; `None` makes a read-only overlay.
    pub(crate) upper: Option<(PathBuf, PathBuf)>,
    /// Skip syncing: the upper directory does not outlive the container.
    pub(crate) volatile: bool,
    /// Device nodes in it may be opened.
    pub(crate) device_nodes: bool,
}

/// A mount below the root.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MountPlan {
    /// Absolute path inside.
    pub(crate) target: Bytes,
    pub(crate) source: MountSource,
    /// `attr::*` to set.
    pub(crate) attributes: u64,
    /// `attr::*` to clear.
    pub(crate) clear: u64,
    /// `MS_*` propagation, or 0.
    pub(crate) propagation: u64,
    /// Attributes apply to everything below, too.
    pub(crate) recursive: bool,
    /// The target must not be reached through symbolic links (/proc, /sys, /dev).
    pub(crate) no_symlinks: bool,
    /// If the kernel refuses, go on without it.
    pub(crate) optional: bool,
    /// Fill an empty new mount with what the image has at the target.
    pub(crate) copy_up: bool,
    /// Give the mounted tree to the container's user (`:U`).
    pub(crate) chown: bool,
    /// A new volume: its top belongs to the container's user, if the image has nothing at the target.
    pub(crate) adopt: bool,
    /// Whom the top belongs to in any case: user, group.
    pub(crate) owner: Option<(Option<u32>, Option<u32>)>,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum MountSource {
    /// A new file system with these options (an empty value is a flag).
    FileSystem { kind: &'static str, options: Vec<(String, String)> },
    /// A detached mount that this process holds as the descriptor of this number.
    Detached(i32),
    /// What an earlier mount has put on a path of the container: one file system at two places.
    Earlier(Bytes),
    /// A file or directory of the host.
    Host { path: PathBuf, recursive: bool },
    /// A file or directory below `base`, resolved so that it cannot leave it (a volume's subpath).
    Below { base: PathBuf, path: Bytes, recursive: bool },
    /// Lower directories, the topmost first, read-only; what lies below a path of them.
    Image { lowers: Vec<PathBuf>, subpath: Option<Bytes> },
    /// What `path` names in lower directories, the topmost first; `scratch` has `upper`, `work` and
    /// `over`, which it may be mounted on meanwhile.
    Tree { lowers: Vec<PathBuf>, path: Bytes, scratch: Option<PathBuf> },
    /// What another source has, with changes going to a directory of their own.
    Overlay { below: Box<MountSource>, upper: PathBuf, work: PathBuf },
}

/// What the container's passwd and group are to have.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AccountsPlan {
    pub(crate) accounts: Accounts,
    /// The container's user, as `user[:group]`.
    pub(crate) user: String,
    /// The working directory.
    pub(crate) directory: String,
    /// Paths of the host that are mounted at the same place inside: homes among them are homes inside.
    pub(crate) mounted: Vec<String>,
}

impl MountSource {
    /// Is it a file or directory of the host as it is?
    pub(crate) fn is_of_the_host(&self) -> bool {
        matches!(self, MountSource::Host { .. } | MountSource::Below { .. })
    }

    /// Was the mode of its root chosen by an option?
    pub(crate) fn mode_is_given(&self) -> bool {
        matches!(self, MountSource::FileSystem { options, .. } if options.iter().any(|(key, _)| key == "mode"))
    }
}

/// Whether init stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stays {
    /// It becomes the command.
    No,
    /// As process 1 that forwards signals and reaps; the command is process 2.
    WithCommand,
    /// As process 1 without any command, until a signal ends it.
    Alone,
}

/// The last step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RunPlan {
    /// Whose process 1 this is; `None` for a further command.
    pub(crate) first_of: Option<ContainerId>,
    pub(crate) process: Process,
    pub(crate) security: Security,
    /// The compiled filter, if there is one.
    pub(crate) seccomp: Option<Vec<BpfInsn>>,
    pub(crate) stays: Stays,
    /// Die with the monitor.
    pub(crate) tied: bool,
    /// Hooks that are run before the command, as its user.
    pub(crate) hooks: HookPlan,
    /// Descriptors of this process that the command gets, and under which numbers.
    pub(crate) kept: Vec<(i32, i32)>,
}
