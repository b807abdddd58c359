//! What a Compose file may hold: the one table behind checks, long forms, merging and printing.
//!
//! The order of the fields is the order in which `config` prints them, which is that of docker compose.
//! Source: the Compose Specification (compose-spec.json).

use crate::compose::node::Node;
use crate::compose::short;

/// A form that a value may have, and what its long form is.
#[derive(Debug)]
pub(crate) enum Shape {
    /// Anything: an extension.
    Any,
    Text,
    Bool,
    Int,
    Float,
    /// `1m30s`.
    Duration,
    /// A size: `64m`, or a number of bytes. The long form is a text of digits.
    Bytes,
    /// Text or a number; the long form is text.
    Word,
    /// A path of the host, made absolute.
    Path,
    /// A directory, or the URL of a remote context.
    Context,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Items that a later file adds to.
    List(&'static Shape),
    /// Items known by a key: a later one replaces the earlier one with the same key.
    Set(&'static Shape, Key),
    /// One word, or a list of them.
    Words(Key),
    /// A command line: a text that is split as a shell does, or a list. A later file replaces it, with nothing too.
    Command,
    /// A health check's test: a text for the shell, or a list. A later file replaces it.
    Test,
    /// `{NAME: value}` or a list of `NAME=value`. A name alone stays without a value.
    Environment,
    /// The same; a name alone has the empty value.
    Labels,
    /// The same, in which true and false are no values.
    Options,
    /// `{host: address}` or a list of `host:address`; the long form is a list of `host=address`.
    Hosts,
    /// Any names, each with a value of this shape.
    Named(&'static Shape),
    /// Any names; a later file replaces the value of a name as a whole.
    Replaced(&'static Shape),
    /// Fixed keys.
    Record(&'static Record),
    /// A short form that a function makes into the long one.
    Short(fn(Node) -> Result<Node, String>, &'static Shape),
    /// A volume of a service: the source of a bind mount is a path.
    Mount(&'static Record),
    /// Keys for ssh: `id` and `id=path`, in a list or a mapping.
    Ssh,
    /// What a short form has made already.
    Done,
    /// An item that a function makes into one or several.
    Several(fn(Node) -> Result<Vec<Node>, String>, &'static Shape),
}

/// How items of a list are told apart when files are merged.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Key {
    /// All are kept.
    None,
    /// By themselves.
    Whole,
    /// Up to the first `=` or `:`.
    Name,
    /// By this field.
    Field(&'static str),
    /// By address, port and protocol.
    Port,
}

/// A mapping with fixed keys.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) fields: &'static [(&'static str, Shape)],
    /// Fields that must be there.
    pub(crate) required: &'static [&'static str],
}

impl Record {
    /// The shape of a field.
    pub(crate) fn field(&self, key: &str) -> Option<&'static Shape> {
        self.fields.iter().find(|(name, _)| *name == key).map(|(_, shape)| shape)
    }
}

/// Fields that are printed even if they are false, zero or empty, because that is not their default.
pub(crate) const KEPT: [&str; 20] = [
    "attach",
    "init",
    "required",
    "replicas",
    "scale",
    "retries",
    "parallelism",
    "command",
    "entrypoint",
    "volume",
    "bind",
    "tmpfs",
    "mode",
    "delay",
    "timeout",
    "interval",
    "start_period",
    "start_interval",
    "stop_grace_period",
    "published",
];

const fn record(fields: &'static [(&'static str, Shape)]) -> Record {
    Record { fields, required: &[] }
}

use Shape::{
    Any, Bool, Bytes, Command, Context, Duration, Environment, Float, Hosts, Int, Labels, List, Named, OneOf,
    Options, Path, Replaced, Set, Several, Short, Test, Text, Word, Words,
};

static TEXT: Shape = Text;
static WORD: Shape = Word;
static ANY: Shape = Any;

/// A whole file.
pub(crate) static FILE: Record = record(&[
    ("version", Word),
    ("name", Text),
    ("include", List(&Shape::Short(short::include, &Shape::Record(&INCLUDE)))),
    ("services", Named(&SERVICE)),
    ("networks", Named(&Short(short::external, &Shape::Record(&NETWORK)))),
    ("volumes", Named(&Short(short::external, &Shape::Record(&VOLUME)))),
    ("secrets", Named(&Short(short::external, &Shape::Record(&SECRET)))),
    ("configs", Named(&Short(short::external, &Shape::Record(&CONFIG)))),
    ("models", Named(&Shape::Record(&MODEL))),
]);

static INCLUDE: Record =
    record(&[("path", Words(Key::None)), ("project_directory", Text), ("env_file", Words(Key::None))]);

static SERVICE: Shape = Shape::Record(&SERVICE_FIELDS);

pub(crate) static SERVICE_FIELDS: Record = record(&[
    ("profiles", Words(Key::Whole)),
    ("annotations", Labels),
    ("attach", Bool),
    ("build", Short(short::build, &Shape::Record(&BUILD))),
    ("develop", Shape::Record(&DEVELOP)),
    ("blkio_config", Shape::Record(&BLKIO)),
    ("cap_add", Set(&TEXT, Key::Whole)),
    ("cap_drop", Set(&TEXT, Key::Whole)),
    ("cgroup_parent", Text),
    ("cgroup", OneOf(&["host", "private"])),
    ("cpu_count", Int),
    ("cpu_percent", Float),
    ("cpu_period", Int),
    ("cpu_quota", Int),
    ("cpu_rt_period", Int),
    ("cpu_rt_runtime", Int),
    ("cpus", Float),
    ("cpuset", Text),
    ("cpu_shares", Int),
    ("command", Command),
    ("configs", Set(&Short(short::file_mount, &Shape::Record(&FILE_MOUNT)), Key::Field("target"))),
    ("container_name", Text),
    ("credential_spec", Shape::Record(&CREDENTIAL_SPEC)),
    ("depends_on", Short(short::depends_on, &Named(&Shape::Record(&DEPENDENCY)))),
    ("deploy", Shape::Record(&DEPLOY)),
    ("device_cgroup_rules", List(&TEXT)),
    ("devices", Set(&Short(short::device, &Shape::Record(&DEVICE)), Key::Field("target"))),
    ("dns", Words(Key::Whole)),
    ("dns_opt", Words(Key::Whole)),
    ("dns_search", Words(Key::Whole)),
    ("domainname", Text),
    ("entrypoint", Command),
    ("provider", Shape::Record(&PROVIDER)),
    ("environment", Environment),
    ("env_file", Short(short::env_file, &Set(&Shape::Record(&ENV_FILE), Key::Field("path")))),
    ("expose", Set(&WORD, Key::Whole)),
    ("extends", Short(short::extends, &Shape::Record(&EXTENDS))),
    ("external_links", Set(&TEXT, Key::Whole)),
    ("extra_hosts", Hosts),
    ("gpus", Short(short::gpus, &List(&Shape::Record(&DEVICE_REQUEST)))),
    ("group_add", Set(&WORD, Key::Whole)),
    ("hostname", Text),
    ("healthcheck", Shape::Record(&HEALTHCHECK)),
    ("image", Text),
    ("init", Bool),
    ("ipc", Text),
    ("isolation", Text),
    ("labels", Labels),
    ("label_file", Words(Key::Whole)),
    ("links", Set(&TEXT, Key::Whole)),
    ("logging", Shape::Record(&LOGGING)),
    ("mem_limit", Bytes),
    ("mem_reservation", Bytes),
    ("memswap_limit", Bytes),
    ("mem_swappiness", Bytes),
    ("mac_address", Text),
    ("models", Short(short::names, &Named(&Shape::Record(&SERVICE_MODEL)))),
    ("network_mode", Text),
    ("networks", Short(short::names, &Named(&Shape::Record(&SERVICE_NETWORK)))),
    ("oom_kill_disable", Bool),
    ("oom_score_adj", Int),
    ("pid", Text),
    ("pids_limit", Int),
    ("platform", Text),
    ("ports", Set(&Several(short::ports, &Shape::Record(&PORT)), Key::Port)),
    ("privileged", Bool),
    ("pull_policy", Short(short::pull_policy, &TEXT)),
    ("read_only", Bool),
    ("restart", Text),
    ("runtime", Text),
    ("scale", Int),
    ("secrets", Set(&Short(short::file_mount, &Shape::Record(&FILE_MOUNT)), Key::Field("target"))),
    ("security_opt", Set(&TEXT, Key::Whole)),
    ("shm_size", Bytes),
    ("stdin_open", Bool),
    ("stop_grace_period", Duration),
    ("stop_signal", Text),
    ("storage_opt", Labels),
    ("sysctls", Labels),
    ("tmpfs", Words(Key::Name)),
    ("tty", Bool),
    ("ulimits", Replaced(&Short(short::ulimit, &Shape::Done))),
    ("use_api_socket", Bool),
    ("user", Word),
    ("userns_mode", Text),
    ("uts", Text),
    ("volumes", Set(&Short(short::volume, &Shape::Mount(&SERVICE_VOLUME)), Key::Field("target"))),
    ("volumes_from", Set(&TEXT, Key::Whole)),
    ("working_dir", Text),
    ("post_start", List(&Shape::Record(&HOOK))),
    ("pre_stop", List(&Shape::Record(&HOOK))),
]);

static PROVIDER: Record =
    Record { fields: &[("type", Text), ("options", Named(&Words(Key::None)))], required: &["type"] };
static SERVICE_MODEL: Record = record(&[("endpoint_var", Text), ("model_var", Text)]);
static MODEL: Record = Record {
    fields: &[("name", Text), ("model", Text), ("context_size", Int), ("runtime_flags", List(&TEXT))],
    required: &["model"],
};

static BUILD: Record = record(&[
    ("context", Context),
    ("dockerfile", Text),
    ("dockerfile_inline", Text),
    ("entitlements", List(&TEXT)),
    ("args", Environment),
    ("ssh", Shape::Ssh),
    ("labels", Labels),
    ("cache_from", Set(&TEXT, Key::Whole)),
    ("cache_to", Set(&TEXT, Key::Whole)),
    ("no_cache", Bool),
    ("additional_contexts", Short(short::pairs, &Named(&Context))),
    ("pull", Bool),
    ("extra_hosts", Hosts),
    ("isolation", Text),
    ("network", Text),
    ("target", Text),
    ("secrets", Set(&Short(short::file_mount, &Shape::Record(&FILE_MOUNT)), Key::Field("target"))),
    ("shm_size", Bytes),
    ("tags", Set(&TEXT, Key::Whole)),
    ("ulimits", Replaced(&Short(short::ulimit, &Shape::Done))),
    ("platforms", Set(&TEXT, Key::Whole)),
    ("privileged", Bool),
    ("provenance", Word),
    ("sbom", Word),
]);

static DEVELOP: Record = record(&[("watch", List(&Shape::Record(&WATCH)))]);

pub(crate) static WATCH: Record = Record {
    fields: &[
        ("path", Path),
        ("action", OneOf(&["rebuild", "sync", "sync+restart", "restart", "sync+exec"])),
        ("target", Text),
        ("exec", Shape::Record(&HOOK)),
        ("ignore", List(&TEXT)),
        ("include", List(&TEXT)),
        ("initial_sync", Bool),
    ],
    required: &["path", "action"],
};

static HOOK: Record = record(&[
    ("command", Command),
    ("user", Text),
    ("privileged", Bool),
    ("working_dir", Text),
    ("environment", Environment),
]);

static BLKIO: Record = record(&[
    ("weight", Int),
    ("weight_device", List(&Shape::Record(&WEIGHT_DEVICE))),
    ("device_read_bps", List(&Shape::Record(&RATE_DEVICE))),
    ("device_read_iops", List(&Shape::Record(&RATE_DEVICE))),
    ("device_write_bps", List(&Shape::Record(&RATE_DEVICE))),
    ("device_write_iops", List(&Shape::Record(&RATE_DEVICE))),
]);
static WEIGHT_DEVICE: Record = record(&[("path", Text), ("weight", Int)]);
static RATE_DEVICE: Record = record(&[("path", Text), ("rate", Bytes)]);

static FILE_MOUNT: Record =
    record(&[("source", Text), ("target", Text), ("uid", Text), ("gid", Text), ("mode", Int)]);
static CREDENTIAL_SPEC: Record = record(&[("config", Text), ("file", Text), ("registry", Text)]);
static DEPENDENCY: Record = Record {
    fields: &[
        ("condition", OneOf(&["service_started", "service_healthy", "service_completed_successfully"])),
        ("restart", Bool),
        ("required", Bool),
    ],
    required: &["condition"],
};
static DEVICE: Record = record(&[("source", Text), ("target", Text), ("permissions", Text)]);
static ENV_FILE: Record =
    Record { fields: &[("path", Path), ("required", Bool), ("format", Text)], required: &["path"] };
static EXTENDS: Record = Record { fields: &[("file", Text), ("service", Text)], required: &["service"] };
static LOGGING: Record = record(&[("driver", Text), ("options", Options)]);
static SERVICE_NETWORK: Record = record(&[
    ("priority", Int),
    ("gw_priority", Int),
    ("interface_name", Text),
    ("aliases", Set(&TEXT, Key::Whole)),
    ("ipv4_address", Text),
    ("ipv6_address", Text),
    ("link_local_ips", List(&TEXT)),
    ("mac_address", Text),
    ("driver_opts", Labels),
]);
static PORT: Record = record(&[
    ("name", Text),
    ("mode", Text),
    ("host_ip", Text),
    ("target", Int),
    ("published", Word),
    ("protocol", Text),
    ("app_protocol", Text),
]);
static SERVICE_VOLUME: Record = Record {
    fields: &[
        ("type", OneOf(&["bind", "volume", "tmpfs", "image", "cluster", "npipe"])),
        ("source", Text),
        ("target", Text),
        ("read_only", Bool),
        ("consistency", Text),
        (
            "bind",
            Shape::Record(&record(&[
                ("selinux", OneOf(&["z", "Z"])),
                ("propagation", Text),
                ("create_host_path", Bool),
                ("recursive", Text),
            ])),
        ),
        ("volume", Shape::Record(&record(&[("labels", Labels), ("nocopy", Bool), ("subpath", Text)]))),
        ("tmpfs", Shape::Record(&record(&[("size", Bytes), ("mode", Int)]))),
        ("image", Shape::Record(&record(&[("subpath", Text)]))),
    ],
    required: &["type"],
};
static HEALTHCHECK: Record = record(&[
    ("test", Test),
    ("timeout", Duration),
    ("interval", Duration),
    ("retries", Int),
    ("start_period", Duration),
    ("start_interval", Duration),
    ("disable", Bool),
]);

pub(crate) static DEPLOY: Record = record(&[
    ("mode", Text),
    ("replicas", Int),
    ("labels", Labels),
    ("update_config", Shape::Record(&UPDATE)),
    ("rollback_config", Shape::Record(&UPDATE)),
    (
        "resources",
        Shape::Record(&record(&[
            ("limits", Shape::Record(&RESOURCES)),
            ("reservations", Shape::Record(&RESOURCES)),
        ])),
    ),
    (
        "restart_policy",
        Shape::Record(&record(&[
            ("condition", Text),
            ("delay", Duration),
            ("max_attempts", Int),
            ("window", Duration),
        ])),
    ),
    (
        "placement",
        Shape::Record(&record(&[
            ("constraints", List(&TEXT)),
            ("preferences", List(&Shape::Record(&record(&[("spread", Text)])))),
            ("max_replicas_per_node", Int),
        ])),
    ),
    ("endpoint_mode", Text),
]);
static UPDATE: Record = record(&[
    ("parallelism", Int),
    ("delay", Duration),
    ("failure_action", Text),
    ("monitor", Duration),
    ("max_failure_ratio", Float),
    ("order", OneOf(&["start-first", "stop-first"])),
]);
static RESOURCES: Record = record(&[
    ("cpus", Float),
    ("memory", Bytes),
    ("pids", Int),
    ("devices", List(&Shape::Record(&DEVICE_REQUEST))),
    ("generic_resources", List(&ANY)),
]);
static DEVICE_REQUEST: Record = record(&[
    ("capabilities", List(&TEXT)),
    ("driver", Text),
    ("count", Short(short::device_count, &Int)),
    ("device_ids", List(&TEXT)),
    ("options", Labels),
]);

pub(crate) static NETWORK: Record = record(&[
    ("name", Text),
    ("driver", Text),
    ("driver_opts", Labels),
    (
        "ipam",
        Shape::Record(&record(&[
            ("driver", Text),
            ("config", Set(&Shape::Record(&IPAM_CONFIG), Key::Field("subnet"))),
            ("options", Labels),
        ])),
    ),
    ("external", Bool),
    ("internal", Bool),
    ("attachable", Bool),
    ("labels", Labels),
    ("enable_ipv4", Bool),
    ("enable_ipv6", Bool),
]);
static IPAM_CONFIG: Record =
    record(&[("subnet", Text), ("gateway", Text), ("ip_range", Text), ("aux_addresses", Labels)]);
static VOLUME: Record = record(&[
    ("name", Text),
    ("driver", Text),
    ("driver_opts", Labels),
    ("external", Bool),
    ("labels", Labels),
]);
static SECRET: Record = record(&[
    ("name", Text),
    ("file", Path),
    ("environment", Text),
    ("external", Bool),
    ("labels", Labels),
    ("driver", Text),
    ("driver_opts", Labels),
    ("template_driver", Text),
]);
static CONFIG: Record = record(&[
    ("name", Text),
    ("file", Path),
    ("environment", Text),
    ("content", Text),
    ("external", Bool),
    ("labels", Labels),
    ("template_driver", Text),
]);
