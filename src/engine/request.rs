//! What somebody wants of a new container: the defaults are still open.
//!
//! CLI, and later the API, compose and kube, all make one of these; [`resolve`](crate::engine::resolve)
//! turns it into the [`ContainerSpec`](crate::base::spec::ContainerSpec).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::base::bytes::Bytes;
use crate::base::device::DeviceRule;
use crate::base::etc::{HostsBase, SecretUse};
use crate::base::id::ContainerId;
use crate::base::limits::Cgroup;
use crate::base::mount_syntax::MountRequest;
use crate::base::pod::{InitKind, Membership};
use crate::base::spec::{Device, Hook, Personality, RestartPolicy, Rlimit};
use crate::engine::resolve::ImageFacts;

/// What somebody has said no to (`--privileged=false`), whatever the configuration says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Denied {
    pub(crate) privileged: bool,
    pub(crate) init: bool,
    pub(crate) env_host: bool,
    pub(crate) no_hosts: bool,
    pub(crate) read_only: bool,
}

/// A container that somebody wants. `None` and empty mean: as the image, the configuration or ketch
/// decides.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ContainerRequest {
    /// Image name or ID; or the directory, with `rootfs`.
    pub(crate) image: String,
    /// What the user has typed for it, if that led to `image`.
    pub(crate) typed_image: String,
    /// What `image` would say: a RUN of a build has an image that is no image yet.
    pub(crate) base: Option<Box<ImageFacts>>,
    /// `--rootfs`: `image` is unused, this directory is the root; the flag is `:O`.
    pub(crate) rootfs: Option<(PathBuf, bool)>,
    /// The command and its arguments.
    pub(crate) command: Vec<Bytes>,
    /// Replaces the image's entrypoint; `Some` of nothing removes it.
    pub(crate) entrypoint: Option<Vec<Bytes>>,
    /// The image's command counts although its entrypoint is replaced.
    pub(crate) keep_command: bool,
    pub(crate) name: Option<String>,
    /// Remove the container that has this name.
    pub(crate) replace: bool,
    /// `KEY=value`, in order: later ones win.
    pub(crate) env: Vec<Bytes>,
    /// Names that the container shall not have from the image.
    pub(crate) unset_env: Vec<String>,
    pub(crate) unset_all_env: bool,
    /// `KEY=value` of the configuration: the image's win over them.
    pub(crate) default_env: Vec<Bytes>,
    /// `--http-proxy` was given, so the configuration has no say.
    pub(crate) http_proxy_asked: bool,
    /// Capabilities of the configuration in place of ketch's usual ones.
    pub(crate) base_capabilities: Option<Vec<String>>,
    /// `--env-merge`: `NAME=VALUE` with `${NAME}` for what the image has.
    pub(crate) env_merge: Vec<String>,
    pub(crate) personality: Option<Personality>,
    /// `--init-path`.
    pub(crate) init_program: Option<PathBuf>,
    pub(crate) systemd: Systemd,
    /// `--shm-size-systemd`: the size of the tmpfs that systemd gets.
    pub(crate) systemd_size_bytes: Option<u64>,
    pub(crate) accounts: AccountsRequest,
    /// `--uidmap`, `--gidmap`, each as typed.
    pub(crate) uid_maps: Vec<String>,
    pub(crate) gid_maps: Vec<String>,
    /// `--subuidname`, `--subgidname`.
    pub(crate) subuid_name: Option<String>,
    pub(crate) subgid_name: Option<String>,
    /// `--hosts-file`.
    pub(crate) hosts_base: HostsBase,
    pub(crate) no_hostname: bool,
    pub(crate) chroot_dirs: Vec<String>,
    /// `--tz`: the name of a time zone, or `local`.
    pub(crate) timezone: Option<String>,
    /// `--secret`, each as typed.
    pub(crate) secrets: Vec<String>,
    /// Files of the host of which the container gets a copy, owned and moded as is said beside it.
    pub(crate) copies: Vec<(PathBuf, SecretUse)>,
    /// Names of CDI devices (`--device vendor.com/class=name`, `--gpus`).
    pub(crate) cdi_devices: Vec<String>,
    /// `--seccomp-policy image`: the profile in the image's label counts.
    pub(crate) seccomp_of_image: bool,
    /// `--timeout`.
    pub(crate) run_limit_s: Option<u32>,
    /// `--requires`.
    pub(crate) requires: Vec<String>,
    /// `--pod`: the pod that it is to be of, by name or ID.
    pub(crate) pod: Option<String>,
    /// `--init-ctr`: it runs before the others of its pod.
    pub(crate) init_container: Option<InitKind>,
    /// Its place in a pod, which [`pod`](Self::pod) is turned into.
    pub(crate) membership: Option<Membership>,
    /// Its volumes are this container's as well, with less say than its own.
    pub(crate) inherits_from: Option<ContainerId>,
    pub(crate) monitor_pid_file: Option<PathBuf>,
    pub(crate) user: Option<String>,
    pub(crate) groups: Vec<String>,
    pub(crate) workdir: Option<Bytes>,
    /// Make `workdir` if the image has it not.
    pub(crate) make_workdir: bool,
    /// Whoever asks for their own number and binds files of their own keeps that number (`resolve::keeps_caller`).
    pub(crate) keeps_caller: bool,
    pub(crate) hostname: Option<String>,
    pub(crate) domainname: Option<String>,
    pub(crate) terminal: bool,
    /// The terminal's size at first, in rows and columns.
    pub(crate) console_size: Option<(u16, u16)>,
    pub(crate) interactive: bool,
    /// The command that creates it starts it, too (`run`): if that is killed in between, the container is
    /// nobody's.
    pub(crate) to_be_started: bool,
    /// The streams of `create --attach`, in small letters: only shown.
    pub(crate) attach: Vec<String>,
    /// A client will be attached from the start.
    pub(crate) attached: bool,
    pub(crate) auto_remove: bool,
    pub(crate) init: bool,
    pub(crate) read_only: bool,
    pub(crate) denied: Denied,
    /// With `read_only`: writable tmpfs on /run, /tmp and /var/tmp.
    pub(crate) read_only_tmpfs: bool,
    /// With `read_only`: /dev and /dev/shm stay writable without that, as with docker.
    pub(crate) writable_dev: bool,
    pub(crate) privileged: bool,
    pub(crate) cap_add: Vec<String>,
    pub(crate) cap_drop: Vec<String>,
    /// `--security-opt` values; a seccomp profile's file is in `seccomp_profile` already.
    pub(crate) security_options: Vec<String>,
    /// The text of the profile that `--security-opt seccomp=FILE` names.
    pub(crate) seccomp_profile: Option<String>,
    pub(crate) mounts: Vec<MountRequest>,
    /// Named volumes that are made for this container, or for its pod, and go with the last one that has them.
    pub(crate) passing_volumes: BTreeSet<String>,
    /// `-v` values as typed, for `inspect`.
    pub(crate) binds: Vec<String>,
    /// Options of `--tmpfs` as typed, by target, for `inspect`.
    pub(crate) tmpfs: BTreeMap<String, String>,
    /// Containers whose volumes are mounted here as well, with `ro`, `rw`, `z` options.
    pub(crate) volumes_from: Vec<String>,
    pub(crate) image_volumes: Option<ImageVolumes>,
    pub(crate) devices: Vec<Device>,
    /// `--device-cgroup-rule`.
    pub(crate) device_rules: Vec<DeviceRule>,
    pub(crate) ulimits: Vec<Rlimit>,
    /// The cgroup and its limits, as far as they are asked for.
    pub(crate) cgroup: Cgroup,
    pub(crate) sysctls: BTreeMap<String, String>,
    pub(crate) shm_size_bytes: Option<u64>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
    /// `--network`, each as typed; none is the default network.
    pub(crate) networks: Vec<String>,
    /// `--ip`, `--ip6`, `--mac-address`: for a single network.
    pub(crate) ip: Option<String>,
    pub(crate) ip6: Option<String>,
    pub(crate) mac: Option<String>,
    /// `--link-local-ip`, each as typed: for a single network.
    pub(crate) link_local_ips: Vec<String>,
    /// Names on all its networks.
    pub(crate) network_aliases: Vec<String>,
    /// `--link NAME[:ALIAS]`.
    pub(crate) links: Vec<String>,
    /// `--publish`, each as typed.
    pub(crate) publish: Vec<String>,
    /// Publish what is exposed, on any ports.
    pub(crate) publish_all: bool,
    /// `--userns` … as typed; empty is the default.
    pub(crate) userns: String,
    pub(crate) pid: String,
    pub(crate) ipc: String,
    pub(crate) uts: String,
    pub(crate) cgroupns: String,
    pub(crate) add_hosts: Vec<String>,
    pub(crate) dns: Vec<String>,
    pub(crate) dns_search: Vec<String>,
    pub(crate) dns_options: Vec<String>,
    pub(crate) no_hosts: bool,
    /// No name for the host in /etc/hosts.
    pub(crate) nameless_host: bool,
    pub(crate) expose: Vec<String>,
    pub(crate) health: HealthRequest,
    /// `--sdnotify`, as typed.
    pub(crate) sdnotify: Option<String>,
    pub(crate) stop_signal: Option<i32>,
    pub(crate) stop_timeout_s: Option<u32>,
    /// That is the configuration's, and nobody's wish.
    pub(crate) stop_timeout_configured: bool,
    pub(crate) restart: Option<RestartPolicy>,
    pub(crate) log_driver: Option<String>,
    pub(crate) log_options: Vec<String>,
    /// Programs that devices want to be run (CDI).
    pub(crate) hooks: Vec<Hook>,
    /// Where the log lies, in a directory named by the container's ID, unless an option says where.
    pub(crate) log_directory: Option<PathBuf>,
    pub(crate) oom_score_adj: Option<i32>,
    pub(crate) umask: Option<u32>,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) cid_file: Option<PathBuf>,
    /// The caller's proxies, without credentials (`--http-proxy`).
    pub(crate) proxies: Vec<Bytes>,
    /// A variable for the built-in image `hello`, and for no other.
    pub(crate) hello: Option<Bytes>,
    /// The command line that asked.
    pub(crate) create_command: Vec<Bytes>,
}

/// The size of a container's /dev/shm with docker, where none is asked for.
const DOCKERS_SHM_BYTES: u64 = 64 << 20;

impl ContainerRequest {
    /// It is a pod's infra container without an image: it has no files, and no command.
    pub(crate) fn is_pause(&self) -> bool {
        self.image.is_empty() && self.membership.as_ref().is_some_and(|pod| pod.infra)
    }

    /// The container that it has a network, PID, IPC or UTS namespace of (`container:NAME`), the first of them.
    pub(crate) fn shares_with(&self) -> Option<&str> {
        let namespaces = [&self.pid, &self.ipc, &self.uts];
        self.networks.iter().chain(namespaces).find_map(|text| text.strip_prefix("container:"))
    }

    /// Whether ports are asked for that a network without any of its own cannot publish.
    pub(crate) fn discards_ports(&self) -> bool {
        let has_none =
            |name: &String| matches!(name.as_str(), "host" | "none") || name.starts_with("container:");
        !self.publish.is_empty() && self.networks.iter().any(has_none)
    }

    /// Whether the container gets a /dev/shm of its own, whose size can be chosen.
    pub(crate) fn has_own_shm(&self) -> bool {
        !matches!(self.ipc.as_str(), "host" | "none") && !self.ipc.starts_with("container:")
    }

    /// As docker has it: a wished size says nothing of another's /dev/shm, a working directory that is missing is made
    /// (podman refuses both), and `--user` with one's own number may write into one's own directories.
    pub(crate) fn take_as_docker(&mut self) {
        if !self.has_own_shm() {
            self.shm_size_bytes = None;
        } else if self.shm_size_bytes.unwrap_or(0) == 0 {
            self.shm_size_bytes = Some(DOCKERS_SHM_BYTES);
        }
        self.make_workdir = true;
        self.keeps_caller = true;
    }
}

/// What the container's passwd and group get added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AccountsRequest {
    /// `--passwd=false`.
    pub(crate) untouched: bool,
    pub(crate) passwd_entry: Option<String>,
    pub(crate) group_entry: Option<String>,
    /// `--hostuser`: names or numbers.
    pub(crate) host_users: Vec<String>,
}

/// Whether process 1 is systemd, which needs some mounts and another stop signal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Systemd {
    /// If its name says so.
    #[default]
    Auto,
    Always,
    Never,
}

/// What becomes of the volumes that an image declares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ImageVolumes {
    /// Anonymous volumes.
    #[default]
    Anonymous,
    Tmpfs,
    Ignore,
}

impl ImageVolumes {
    /// The word of `--image-volume`; `bind` is podman's older one for `anonymous`.
    pub(crate) fn named(text: &str) -> Option<Self> {
        match text {
            "anonymous" | "bind" => Some(Self::Anonymous),
            "tmpfs" => Some(Self::Tmpfs),
            "ignore" => Some(Self::Ignore),
            _ => None,
        }
    }
}

/// `--health-*`, as typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HealthRequest {
    pub(crate) cmd: Option<String>,
    /// The words of the check, where they are known apart, in place of `cmd`: a program and its arguments.
    pub(crate) program: Vec<String>,
    pub(crate) interval: Option<String>,
    pub(crate) log_destination: Option<String>,
    pub(crate) max_log_count: Option<u32>,
    pub(crate) max_log_size: Option<u32>,
    pub(crate) on_failure: Option<String>,
    pub(crate) retries: Option<i64>,
    pub(crate) start_interval: Option<String>,
    pub(crate) start_period: Option<String>,
    pub(crate) startup_cmd: Option<String>,
    pub(crate) startup_interval: Option<String>,
    pub(crate) startup_retries: Option<i64>,
    pub(crate) startup_success: Option<i64>,
    pub(crate) startup_timeout: Option<String>,
    pub(crate) timeout: Option<String>,
    /// No check, whatever the image says.
    pub(crate) disabled: bool,
    /// Checks are no events.
    pub(crate) silent: bool,
}
