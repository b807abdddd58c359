//! What a Kubernetes manifest may say, as far as there is something to do about it here; the rest is ignored, as
//! podman does.

use std::collections::BTreeMap;

use crate::kube::quantity::Quantity;

/// One document.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Object {
    Pod(Box<Pod>),
    ConfigMap(ConfigMap),
    Secret(Secret),
    Claim(Claim),
}

/// `metadata`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) name: String,
    pub(crate) namespace: Option<String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
}

/// Keys and what is in them, as bytes.
pub(crate) type Data = BTreeMap<String, Vec<u8>>;

/// A ConfigMap: `data` and `binaryData`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConfigMap {
    pub(crate) name: String,
    pub(crate) data: Data,
}

/// A Secret: `data`, decoded, and `stringData`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Secret {
    pub(crate) name: String,
    pub(crate) data: Data,
}

/// A PersistentVolumeClaim: a named volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) meta: Meta,
}

/// A pod, or what a Deployment, a DaemonSet or a Job makes pods of.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Pod {
    /// Its name is the pod's own: a Deployment `web` has the pod `web-pod`.
    pub(crate) meta: Meta,
    /// How many a Deployment wants; one is made.
    pub(crate) replicas: i64,
    pub(crate) hostname: Option<String>,
    pub(crate) host_network: bool,
    pub(crate) host_pid: bool,
    pub(crate) host_ipc: bool,
    /// `false` asks for IDs of its own.
    pub(crate) host_users: Option<bool>,
    pub(crate) share_pid: bool,
    /// Address and names.
    pub(crate) host_aliases: Vec<(String, Vec<String>)>,
    pub(crate) dns: Dns,
    pub(crate) restart: Restart,
    pub(crate) grace_s: Option<u32>,
    pub(crate) security: Security,
    pub(crate) supplemental_groups: Vec<u32>,
    pub(crate) sysctls: BTreeMap<String, String>,
    pub(crate) volumes: Vec<Volume>,
    pub(crate) init_containers: Vec<Container>,
    pub(crate) containers: Vec<Container>,
}

/// `dnsConfig`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dns {
    pub(crate) servers: Vec<String>,
    pub(crate) searches: Vec<String>,
    /// `name` or `name:value`.
    pub(crate) options: Vec<String>,
}

/// `restartPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Restart {
    #[default]
    Always,
    OnFailure,
    Never,
}

/// One container of a pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Container {
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) pull: Option<Pull>,
    pub(crate) command: Vec<String>,
    pub(crate) args: Vec<String>,
    pub(crate) workdir: Option<String>,
    pub(crate) env: Vec<EnvVar>,
    pub(crate) env_from: Vec<EnvFrom>,
    pub(crate) ports: Vec<Port>,
    pub(crate) mounts: Vec<VolumeMount>,
    pub(crate) limits: BTreeMap<String, Quantity>,
    pub(crate) requests: BTreeMap<String, Quantity>,
    pub(crate) security: Security,
    pub(crate) liveness: Option<Probe>,
    pub(crate) startup: Option<Probe>,
    pub(crate) stop_signal: Option<String>,
    pub(crate) stdin: bool,
    pub(crate) tty: bool,
}

/// `imagePullPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pull {
    Always,
    IfNotPresent,
    Never,
}

/// One entry of `env`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EnvVar {
    pub(crate) name: String,
    pub(crate) value: EnvValue,
}

/// Where the value of a variable comes from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum EnvValue {
    Text(String),
    ConfigMap(KeyRef),
    Secret(KeyRef),
    /// A field of the pod, like `metadata.name`.
    Field(String),
    Resource {
        resource: String,
        divisor: Quantity,
    },
}

/// A key of a ConfigMap or Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyRef {
    pub(crate) name: String,
    pub(crate) key: String,
    pub(crate) optional: bool,
}

/// One entry of `envFrom`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EnvFrom {
    pub(crate) source: Source,
    pub(crate) prefix: String,
    pub(crate) optional: bool,
}

/// A ConfigMap or a Secret, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    ConfigMap(String),
    Secret(String),
}

/// One entry of `ports`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) container: u16,
    pub(crate) host: u16,
    pub(crate) host_ip: String,
    /// `tcp`, `udp`, `sctp`.
    pub(crate) protocol: String,
}

/// One entry of `volumeMounts`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct VolumeMount {
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) read_only: bool,
    pub(crate) sub_path: String,
    /// The sub-path has `$(VAR)` in it.
    pub(crate) expand: bool,
    /// As mount(8) says it.
    pub(crate) propagation: Option<&'static str>,
}

/// `securityContext`, of a pod or a container; the container's fields win.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Security {
    pub(crate) user: Option<u32>,
    pub(crate) group: Option<u32>,
    pub(crate) privileged: Option<bool>,
    pub(crate) escalation: Option<bool>,
    pub(crate) read_only_root: Option<bool>,
    pub(crate) cap_add: Vec<String>,
    pub(crate) cap_drop: Vec<String>,
    /// `user:`, `role:`, `type:` and `level:` of SELinux, with their values.
    pub(crate) selinux: Vec<String>,
    pub(crate) unmasked: bool,
    pub(crate) seccomp: Option<Seccomp>,
}

/// `seccompProfile`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seccomp {
    RuntimeDefault,
    Unconfined,
    /// A file below the root of profiles.
    Localhost(String),
}

/// A probe of a container's health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) handler: Handler,
    pub(crate) delay_s: i64,
    pub(crate) period_s: i64,
    pub(crate) timeout_s: i64,
    pub(crate) failures: i64,
    pub(crate) successes: i64,
}

/// What a probe does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Handler {
    Exec(Vec<String>),
    Http { scheme: String, host: String, port: PortRef, path: String },
    Tcp { host: String, port: PortRef },
}

/// A port, or the name of one of the container's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PortRef {
    Number(u16),
    Name(String),
}

/// One entry of `volumes`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Volume {
    pub(crate) name: String,
    pub(crate) source: VolumeSource,
}

/// Where a volume's files are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum VolumeSource {
    HostPath {
        path: String,
        kind: HostKind,
    },
    EmptyDir {
        memory: bool,
        limit: Option<Quantity>,
    },
    ConfigMap(Files),
    Secret(Files),
    Claim {
        name: String,
        read_only: bool,
    },
    Image {
        reference: String,
        pull: Option<Pull>,
    },
    /// Of a kind that nothing can be done about here: its key.
    Other(String),
}

/// The files of a ConfigMap or Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Files {
    pub(crate) name: String,
    /// Key, path, and a mode of its own; none means all keys.
    pub(crate) items: Vec<(String, String, Option<u32>)>,
    pub(crate) mode: Option<u32>,
    pub(crate) optional: bool,
}

/// What a `hostPath` must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum HostKind {
    /// Anything that is there.
    #[default]
    Any,
    Directory,
    DirectoryOrCreate,
    File,
    FileOrCreate,
    Socket,
    CharDevice,
    BlockDevice,
}
