//! The complete description of one container, and the record of what became of it.
//!
//! ```text
//! ContainerRequest ──(engine::resolve)──▶ ContainerSpec ──(runtime::plan)──▶ Vec<Step>
//!                                          spec.json, written once
//! ```
//!
//! A [`ContainerSpec`] holds decisions, not wishes: no field means "default", so reading one needs
//! no configuration file. Only what the root file system of the image decides is left open (the
//! user by name, the search of the command in PATH, HOME); init settles those inside.
//! A [`Record`] is what happened; only the container's monitor writes it.

mod hooks;
mod mount;
mod record;

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::base::bytes::Bytes;
use crate::base::device::DeviceRule;
use crate::base::digest::Digest;
use crate::base::etc::{EtcFiles, SecretUse};
use crate::base::health::HealthPlan;
use crate::base::id::ContainerId;
use crate::base::idmap::IdMap;
use crate::base::limits::Cgroup;
use crate::base::network::{NetworkAttachment, PortMapping, PrivateNetwork};
use crate::base::passwd::Accounts;
use crate::base::pod::Membership;
pub(crate) use crate::base::spec::hooks::{Hook, HookStage};
pub(crate) use crate::base::spec::mount::{Mount, MountKind, MountOverlay};
pub(crate) use crate::base::spec::record::{Ended, Record};

/// The version of `spec.json` and `record.json` that this program writes.
pub(crate) const SPEC_VERSION: u32 = 1;

/// Everything about a container that is decided before it first starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ContainerSpec {
    /// [`SPEC_VERSION`] of the writer.
    pub(crate) version: u32,
    /// The container's identity. Its name is not here: names can change (`store::names`).
    pub(crate) id: ContainerId,
    /// When it was created.
    pub(crate) created: Timestamp,
    /// The image it was made from; `None` with `--rootfs`.
    pub(crate) image: Option<ImageOrigin>,
    /// Where its root file system comes from.
    pub(crate) root: Root,
    /// Mount the root file system read-only.
    pub(crate) read_only: bool,
    /// With `read_only`: leave /dev and /dev/shm writable (`--read-only-tmpfs`, the default).
    #[serde(default = "yes")]
    pub(crate) read_only_tmpfs: bool,
    /// With `read_only`: leave them writable without what else that brings.
    #[serde(default)]
    pub(crate) writable_dev: bool,
    /// The first process.
    pub(crate) process: Process,
    /// The mapping of IDs.
    pub(crate) userns: UserNamespace,
    /// The other namespaces.
    pub(crate) namespaces: Namespaces,
    /// The network.
    pub(crate) network: Network,
    /// The cgroup, and the limits that hold in it.
    #[serde(default)]
    pub(crate) cgroup: Cgroup,
    /// `uname -n` inside; empty only when the UTS namespace is somebody else's, and that name is not known.
    pub(crate) hostname: String,
    /// NIS domain name, or empty.
    pub(crate) domainname: String,
    /// Mounts over the root file system, parents before children; not the standard ones, which `runtime::plan` adds.
    pub(crate) mounts: Vec<Mount>,
    /// Device nodes beyond the standard ones.
    pub(crate) devices: Vec<Device>,
    /// Devices beyond those that it may use or make by their numbers, where root's containers may not use all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) device_rules: Vec<DeviceRule>,
    /// What confines the processes.
    pub(crate) security: Security,
    /// Kernel parameters of the container's own namespaces.
    pub(crate) sysctls: BTreeMap<String, String>,
    /// Size of /dev/shm in bytes.
    pub(crate) shm_size_bytes: u64,
    /// The log.
    pub(crate) log: Log,
    /// How it is asked to end.
    pub(crate) stop: Stop,
    /// What happens when it has ended.
    pub(crate) restart: RestartPolicy,
    /// How its health is checked, if it is.
    #[serde(default)]
    pub(crate) health: Option<HealthPlan>,
    /// Somebody said that it is not checked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) health_none: bool,
    /// Who tells the service manager that it is ready.
    #[serde(default)]
    pub(crate) sdnotify: SdNotify,
    /// Remove it when it has ended.
    pub(crate) auto_remove: bool,
    /// Run ketch's small init as process 1.
    pub(crate) init: bool,
    /// It dies with the command that started it: a RUN of a build (REL-05).
    #[serde(default)]
    pub(crate) tied: bool,
    /// Labels of the image and the command line, merged.
    pub(crate) labels: BTreeMap<String, String>,
    /// Annotations (`--annotation`).
    pub(crate) annotations: BTreeMap<String, String>,
    /// Programs that are run at points of its life.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) hooks: Vec<Hook>,
    /// Ports the image or `--expose` declares, like `80/tcp`.
    pub(crate) exposed_ports: Vec<String>,
    /// Write the process ID of process 1 here at each start.
    #[serde(default, with = "crate::base::bytes::optional_path")]
    pub(crate) pid_file: Option<PathBuf>,
    /// Where `--cidfile` put the ID; removed with the container.
    #[serde(default, with = "crate::base::bytes::optional_path")]
    pub(crate) cid_file: Option<PathBuf>,
    /// Not removed with it: docker leaves that file to its user.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) keeps_cid_file: bool,
    /// Write the process ID of the monitor here at each start (`--conmon-pidfile`).
    #[serde(default, with = "crate::base::bytes::optional_path")]
    pub(crate) monitor_pid_file: Option<PathBuf>,
    /// Containers that have to run first (`--requires`).
    #[serde(default)]
    pub(crate) requires: Vec<ContainerId>,
    /// The pod that it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<Membership>,
    /// A program that is process 1 and runs the command (`--init-path`).
    #[serde(default, with = "crate::base::bytes::optional_path")]
    pub(crate) init_program: Option<PathBuf>,
    /// What the container's passwd and group get added.
    #[serde(default)]
    pub(crate) accounts: Accounts,
    /// How the generated files of its /etc come about.
    #[serde(default)]
    pub(crate) etc: EtcFiles,
    /// Its process 1 is systemd: the cgroup file system is writable.
    #[serde(default)]
    pub(crate) systemd: bool,
    /// Secrets, as files and variables.
    #[serde(default)]
    pub(crate) secrets: Vec<SecretUse>,
    /// The command line that created it, for `inspect`.
    pub(crate) create_command: Vec<Bytes>,
    /// What only `inspect` shows again: options as they were typed.
    pub(crate) as_typed: AsTyped,
}

/// What older specs mean by not saying it.
fn yes() -> bool {
    true
}

impl ContainerSpec {
    /// Whether a process outside of the container's cgroup could do more than the container may.
    pub(crate) fn needs_its_cgroup(&self) -> bool {
        !self.cgroup.limits.is_empty() || !self.device_rules.is_empty()
    }

    /// The ports that were exposed, and then those that are published: `80/tcp`.
    pub(crate) fn all_exposed_ports(&self) -> impl Iterator<Item = String> {
        let published = self.network.ports.iter().flat_map(|port| port.each());
        let published = published.map(|port| format!("{}/{}", port.container_port, port.protocol));
        self.exposed_ports.iter().cloned().chain(published)
    }

    /// Its process 1 is ketch itself, which does nothing but hold namespaces: the infra container of a pod.
    pub(crate) fn is_pause(&self) -> bool {
        self.pod.as_ref().is_some_and(|pod| pod.infra) && self.root == Root::Layers(Vec::new())
    }

    /// The volumes that were made for this container alone.
    pub(crate) fn anonymous_volumes(&self) -> impl Iterator<Item = &str> {
        self.mounts.iter().filter_map(|mount| match &mount.kind {
            MountKind::Volume { name, anonymous: true, .. } => Some(name.as_str()),
            _ => None,
        })
    }
}

/// The image a container was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImageOrigin {
    /// Digest of the image's configuration: the image ID.
    pub(crate) id: Digest,
    /// Digest of the manifest.
    pub(crate) manifest: Digest,
    /// The name it was found by, normalised (`docker.io/library/nginx:latest`), or the ID.
    pub(crate) name: String,
}

/// Where a root file system comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Root {
    /// Lower directories of the store, by chain ID, the lowest first; the upper is the container's.
    Layers(Vec<Digest>),
    /// A directory of the user (`--rootfs PATH`), used as it is.
    Directory(#[serde(with = "crate::base::bytes::path")] PathBuf),
    /// A directory of the user below an upper directory of the container (`--rootfs PATH:O`).
    DirectoryOverlay(#[serde(with = "crate::base::bytes::path")] PathBuf),
}

/// The first process of a container, or one that `exec` adds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    /// Entrypoint and command, joined. Never empty.
    pub(crate) args: Vec<Bytes>,
    /// `KEY=value`, complete but for HOME, which init adds from the image's passwd.
    pub(crate) env: Vec<Bytes>,
    /// Absolute working directory inside.
    pub(crate) cwd: Bytes,
    /// Make `cwd` if it is missing (an image's WORKDIR), rather than fail.
    pub(crate) create_cwd: bool,
    /// `user[:group]`, names or numbers, looked up inside; empty means 0:0.
    pub(crate) user: String,
    /// Further groups, names or numbers (`--group-add`).
    pub(crate) groups: Vec<String>,
    /// Keep the caller's supplementary groups (`--group-add keep-groups`).
    pub(crate) keep_groups: bool,
    /// The execution domain (`--personality`).
    #[serde(default)]
    pub(crate) personality: Option<Personality>,
    /// Give it a terminal.
    pub(crate) terminal: bool,
    /// The terminal's size at first, in rows and columns, until a client says another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) console_size: Option<(u16, u16)>,
    /// Keep standard input open while no client is attached.
    pub(crate) open_stdin: bool,
    /// Close standard input when the first attached client leaves.
    pub(crate) stdin_once: bool,
    /// Resource limits (`--ulimit`), beside those inherited.
    pub(crate) rlimits: Vec<Rlimit>,
    /// File mode creation mask.
    pub(crate) umask: u32,
    /// `/proc/self/oom_score_adj`, if it is to be changed.
    pub(crate) oom_score_adj: Option<i32>,
}

/// What the kernel says of itself to a process (personality(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Personality {
    /// As it is.
    Linux,
    /// As a 32-bit kernel would.
    Linux32,
}

/// One resource limit; `u64::MAX` is unlimited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rlimit {
    /// Lower-case name without the prefix: `nofile`, `core` …
    pub(crate) name: String,
    /// Soft limit.
    pub(crate) soft: u64,
    /// Hard limit.
    pub(crate) hard: u64,
    /// Nobody asked for it: who starts the container may have less, and then it has that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_default: bool,
}

/// How the IDs inside relate to those of U, the user's one user namespace (0 = the user, 1… = the subordinate range).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UserNamespace {
    /// A child of U with the same IDs.
    Default,
    /// U itself (`--userns=host`).
    Host,
    /// The caller keeps their own numbers inside (`--userns=keep-id[:uid=,gid=]`).
    KeepId {
        uid: u32,
        gid: u32,
        /// How many IDs there are in all; 0 for as many as there can be.
        #[serde(default)]
        size: u32,
    },
    /// The caller's own IDs are not mapped at all (`--userns=nomap`).
    NoMap,
    /// These maps, from IDs inside to IDs of U.
    Maps { uids: IdMap, gids: IdMap },
    /// That of another container, which has these IDs.
    Container { id: ContainerId, ids: Box<UserNamespace> },
    /// The one a file names; its IDs are taken for those of U.
    Path(#[serde(with = "crate::base::bytes::path")] PathBuf),
}

impl UserNamespace {
    /// The caller's numbers inside, if they keep them: in a namespace of its own, or in that of a pod.
    pub(crate) fn kept_ids(&self, in_pod: bool) -> Option<(u32, u32)> {
        match self {
            Self::KeepId { uid, gid, .. } => Some((*uid, *gid)),
            Self::Container { ids, .. } if in_pod => ids.kept_ids(false),
            _ => None,
        }
    }
}

/// Where a namespace comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Namespace {
    /// A new one.
    Private,
    /// The host's.
    Host,
    /// That of another container.
    Container(ContainerId),
    /// The one a file names (`ns:/proc/…`).
    Path(#[serde(with = "crate::base::bytes::path")] PathBuf),
}

/// All namespaces but user, mount and network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Namespaces {
    pub(crate) pid: Namespace,
    pub(crate) ipc: Namespace,
    pub(crate) uts: Namespace,
    pub(crate) cgroup: Namespace,
}

/// The network of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Network {
    pub(crate) mode: NetworkMode,
    /// Extra lines of /etc/hosts: address and names (`--add-host`).
    pub(crate) add_hosts: Vec<(String, String)>,
    /// Name servers for /etc/resolv.conf instead of the host's (`--dns`).
    pub(crate) dns: Vec<String>,
    /// Search domains (`--dns-search`).
    pub(crate) dns_search: Vec<String>,
    /// Resolver options (`--dns-option`).
    pub(crate) dns_options: Vec<String>,
    /// Leave the image's /etc/hosts as it is (`--no-hosts`).
    pub(crate) no_hosts: bool,
    /// No `host.containers.internal` in it.
    #[serde(default)]
    pub(crate) nameless_host: bool,
    /// Ports of the host that lead here.
    #[serde(default)]
    pub(crate) ports: Vec<PortMapping>,
    /// Names that only this container knows others by (`--link`): alias, and the other's ID.
    #[serde(default)]
    pub(crate) links: Vec<(String, ContainerId)>,
}

/// Where packets go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NetworkMode {
    /// A namespace with nothing but loopback.
    None,
    /// The host's network.
    Host,
    /// Another container's network.
    Container(ContainerId),
    /// The network namespace a file names.
    Path(#[serde(with = "crate::base::bytes::path")] PathBuf),
    /// One of its own, linked to these networks in this order.
    Bridge(Vec<NetworkAttachment>),
    /// One of its own, linked to a network that is made for it and goes with it.
    Private(PrivateNetwork),
}

impl NetworkMode {
    /// True if netd carries the container's traffic.
    pub(crate) fn uses_netd(&self) -> bool {
        matches!(self, Self::Bridge(_) | Self::Private(_))
    }
}

/// A device node of the host, seen inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Device {
    #[serde(with = "crate::base::bytes::path")]
    pub(crate) source: PathBuf,
    pub(crate) target: Bytes,
    /// Subset of `rwm`.
    pub(crate) access: String,
}

/// What confines the processes of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Security {
    /// Capabilities as a bit set: bounding set of all processes, and permitted and effective set of root.
    pub(crate) capabilities: u64,
    /// Capabilities in the ambient set of a process that is not root (explicit `--cap-add` with `--user`).
    pub(crate) ambient: u64,
    pub(crate) no_new_privileges: bool,
    pub(crate) seccomp: Seccomp,
    /// Paths hidden from the container.
    pub(crate) masked_paths: Vec<Bytes>,
    /// Paths it may not write to.
    pub(crate) read_only_paths: Vec<Bytes>,
    /// `--privileged`: every device of the host, /sys writable.
    pub(crate) privileged: bool,
    /// Options of the container's /proc (`proc-opts`).
    #[serde(default)]
    pub(crate) proc_options: Vec<String>,
    /// `--security-opt` as typed, for `inspect`.
    pub(crate) options: Vec<String>,
}

/// Which system calls a container may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Seccomp {
    /// ketch's own table.
    Default,
    /// No filter.
    Unconfined,
    /// A profile in Docker's JSON format, as text.
    Profile(String),
}

/// Where output goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Log {
    /// `k8s-file`, `json-file`, `journald`, `passthrough`, `none`.
    pub(crate) driver: String,
    /// The file, if not the container's own `log`.
    #[serde(default, with = "crate::base::bytes::optional_path")]
    pub(crate) path: Option<PathBuf>,
    /// Rotate at this many bytes; 0 means never.
    pub(crate) max_size_bytes: u64,
    /// Keep this many files, the current one included.
    pub(crate) max_files: u32,
    /// Further `--log-opt` pairs.
    pub(crate) options: BTreeMap<String, String>,
}

/// How a container is asked to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stop {
    /// Signal number.
    pub(crate) signal: i32,
    /// Seconds before SIGKILL; `u32::MAX` waits for ever.
    pub(crate) timeout_s: u32,
    /// Kill it when it has run for this many seconds; 0 lets it (`--timeout`).
    #[serde(default)]
    pub(crate) run_limit_s: u32,
}

/// Who tells the service manager that started a container (NOTIFY_SOCKET) that it is ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SdNotify {
    /// The container: it gets a socket of its own.
    #[default]
    Container,
    /// The monitor, when process 1 runs.
    Conmon,
    /// The monitor, when the container is healthy.
    Healthy,
    /// Nobody.
    Ignore,
}

impl SdNotify {
    /// The word of `--sdnotify`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Conmon => "conmon",
            Self::Healthy => "healthy",
            Self::Ignore => "ignore",
        }
    }
}

/// What the monitor does when the container has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RestartPolicy {
    No,
    Always,
    UnlessStopped,
    /// At most `max` times in a row; 0 means without limit.
    OnFailure {
        max: u32,
    },
}

impl RestartPolicy {
    /// Its word, without a number.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
            Self::OnFailure { .. } => "on-failure",
        }
    }

    /// Reads `no` or nothing, `always`, `unless-stopped`, `on-failure` and `on-failure:TIMES`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "no" | "" => Self::No,
            "always" => Self::Always,
            "unless-stopped" => Self::UnlessStopped,
            "on-failure" => Self::OnFailure { max: 0 },
            other => Self::OnFailure { max: other.strip_prefix("on-failure:")?.parse().ok()? },
        })
    }
}

/// Options as they were typed, which only `inspect` needs again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AsTyped {
    /// `--entrypoint`, or the image's.
    pub(crate) entrypoint: Vec<Bytes>,
    /// The command after the image, or the image's.
    pub(crate) command: Vec<Bytes>,
    /// `-v` values, normalised `source:target:options`.
    pub(crate) binds: Vec<String>,
    /// `--log-opt` values, `key=value`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) log_options: Vec<String>,
    /// Nobody asked for a `PATH`: the container has the usual one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) usual_path: bool,
    /// The names of `--sysctl`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) sysctls: Vec<String>,
    pub(crate) cap_add: Vec<String>,
    pub(crate) cap_drop: Vec<String>,
    pub(crate) userns: String,
    pub(crate) network: String,
    pub(crate) pid: String,
    pub(crate) ipc: String,
    pub(crate) uts: String,
    pub(crate) cgroupns: String,
    /// The streams of `create --attach`, in small letters.
    #[serde(default)]
    pub(crate) attach: Vec<String>,
    /// `--volumes-from` values.
    #[serde(default)]
    pub(crate) volumes_from: Vec<String>,
    /// `--publish` values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) publish: Vec<String>,
    /// `--publish-all`.
    #[serde(default)]
    pub(crate) publish_all: bool,
    /// The image.
    #[serde(default)]
    pub(crate) image: String,
    /// Options of `--tmpfs`, by target.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) tmpfs: BTreeMap<String, String>,
    /// Targets of `--mount type=tmpfs`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) mounted_tmpfs: Vec<Bytes>,
    /// `--stop-timeout` was given.
    #[serde(default)]
    pub(crate) stop_timeout: bool,
}
