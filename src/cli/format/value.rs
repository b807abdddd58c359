//! The values a template works with, and what Go would think they are.
//!
//! JSON knows objects; Go knows structs, where an unknown field is an error, and maps, where an
//! unknown key is `<no value>`. The name under which an object stands decides ([`MAPS`]).

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::base::order::InOrder as _;
use crate::net::network::{DEFAULT_ELSEWHERE, DEFAULT_NETWORK};

/// Keys under which an object is a map and not a struct.
const MAPS: &[&str] = &[
    "Attributes",
    "Labels",
    "Annotations",
    "Volumes",
    "ExposedPorts",
    "Ports",
    "PortBindings",
    "Networks",
    "Tmpfs",
    "Data",
    "DriverOpts",
    "Options",
    "LogOptions",
    "GraphOptions",
    "GraphStatus",
    "Runtimes",
    "Registries",
    "Sysctls",
    "CgroupConf",
    "IPAMOptions",
    "Containers",
    "containers",
    "AuxAddress",
    "AuxiliaryAddresses",
    "Interfaces",
    "interfaces",
];

/// Keys under which `null` is an empty list and not a pointer.
const LISTS: &[&str] = &[
    "Cmd",
    "Entrypoint",
    "Env",
    "Binds",
    "Links",
    "VolumesFrom",
    "RepoTags",
    "RepoDigests",
    "History",
    "Tags",
    "Mounts",
    "Names",
    "NamesHistory",
    "Ulimits",
    "Devices",
    "Layers",
    "Authorization",
    "Secrets",
    "SecondaryIPAddresses",
    "SecondaryIPv6Addresses",
    "AdditionalMacAddresses",
    "ChrootDirs",
    "BlkioWeightDevice",
    "BlkioDeviceReadBps",
    "BlkioDeviceWriteBps",
    "BlkioDeviceReadIOps",
    "BlkioDeviceWriteIOps",
    PORT,
];

/// Stands for the key of a port (`80/tcp`), whose bindings are a list.
const PORT: &str = "80/tcp";

/// Keys under which an RFC 3339 text is a `time.Time`.
const TIMES: &[&str] = &[
    "Created",
    "CreatedAt",
    "CreatedTime",
    "UpdatedAt",
    "StartedAt",
    "FinishedAt",
    "CheckpointedAt",
    "RestoredAt",
    "created",
];

/// Documents in which such a text is a text: docker's of containers and images, whose times scripts give to `date -d`.
pub(crate) const TEXT_TIMES: [&str; 2] = ["container.InspectResponse", "image.InspectResponse"];

/// Names of embedded structs, whose fields their parent has too.
const EMBEDDED: &[&str] = &[
    "ListContainer",
    "ImageSummary",
    "ImageHistoryLayer",
    "InspectBasicNetworkConfig",
    "InspectVolumeData",
    "Network",
    "VolumeConfigResponse",
    "InspectPodData",
    "ListPodsReport",
];

/// Fields whose name in podman's structs is another one than in its JSON.
const RENAMED: &[(&str, &str)] = &[
    ("HealthMaxLogCount", "HealthcheckMaxLogCount"),
    ("HealthMaxLogSize", "HealthcheckMaxLogSize"),
    // Of a container's state; its configuration has a field of this name.
    ("Healthcheck", "Health"),
    ("CgroupsVersion", "cgroupVersion"),
    ("AuxAddress", "AuxiliaryAddresses"),
    ("CreatedBy", "created_by"),
    ("EmptyLayer", "empty_layer"),
    // `history` has a text where others have a time.
    ("CreatedAt", "CreatedAtText"),
];

/// Fields of health checks that are a `time.Duration`, in nanoseconds.
const DURATIONS: &[&str] = &["Interval", "Timeout", "StartPeriod", "StartInterval"];

/// podman's names of nested types, for errors.
const TYPES: &[(&str, &str)] = &[
    ("State", "*define.InspectContainerState"),
    ("Config", "*define.InspectContainerConfig"),
    ("HostConfig", "*define.InspectContainerHostConfig"),
    ("NetworkSettings", "*define.InspectNetworkSettings"),
    ("Networks", "map[string]*define.InspectAdditionalNetwork"),
    ("Health", "*define.HealthCheckResults"),
    ("Healthcheck", "*manifest.Schema2HealthConfig"),
    ("GraphDriver", "*define.DriverData"),
    ("RestartPolicy", "*define.InspectRestartPolicy"),
    ("LogConfig", "*define.InspectLogConfig"),
    ("IDMappings", "*define.InspectIDMappings"),
    ("Namespaces", "entities.ListContainerNamespaces"),
    ("Host", "*define.HostInfo"),
    ("Store", "*define.StoreInfo"),
    ("Client", "*define.Version"),
    ("Server", "*define.Version"),
    ("Version", "define.Version"),
    ("RootFS", "*inspect.RootFS"),
    ("InfraConfig", "*define.InspectPodInfraConfig"),
];

/// A value during the run of a template. Borrowed parts come from the document.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Val<'v> {
    /// An unknown key of a map: `<no value>`.
    Missing,
    /// `null`, and the name of the field that holds it.
    Null(&'v str),
    Bool(bool),
    Int(i64),
    Float(f64),
    /// Text of the document: made by who knows whom.
    Foreign(&'v str),
    /// Text of the template itself, or made by its functions.
    Text(String),
    Time(Timestamp),
    /// In nanoseconds.
    Duration(i64),
    /// A list of the document, and its key in its parent.
    List(&'v [Value], &'v str),
    /// A list that a function made.
    Made(Vec<Val<'v>>),
    Map(&'v Map<String, Value>),
    /// An object with fixed fields, and its key in its parent.
    Struct(&'v Map<String, Value>, &'v str),
}

impl<'v> Val<'v> {
    /// The value of the field or element `key` of the document.
    pub(crate) fn of(value: &'v Value, key: &'v str) -> Self {
        match value {
            Value::Null => Self::Null(key),
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(value), _) => Self::Int(value),
                (None, Some(value)) => Self::Float(value),
                (None, None) => Self::Missing,
            },
            Value::String(text) => match TIMES.contains(&key).then(|| text.parse()) {
                Some(Ok(time)) => Self::Time(time),
                _ => Self::Foreign(text),
            },
            Value::Array(items) => Self::List(items, key),
            Value::Object(object) if is_map(key) => Self::Map(object),
            Value::Object(object) => Self::Struct(object, key),
        }
    }

    /// The field `key` of an object that stands under `parent`.
    pub(crate) fn member(parent: &str, key: &'v str, value: &'v Value) -> Self {
        let is_duration = matches!(parent, "Healthcheck" | "StartupHealthCheck") && DURATIONS.contains(&key);
        match value.as_i64() {
            Some(ns) if is_duration => Self::Duration(ns),
            _ => Self::of(value, key),
        }
    }

    /// An element of the list that stands under `key`.
    fn element(key: &'v str, item: &'v Value) -> Self {
        match item {
            Value::Object(object) if !key.is_empty() => Self::Struct(object, key),
            _ => Self::of(item, "[]"),
        }
    }

    /// The field `name`.
    ///
    /// # Errors
    ///
    /// Go's sentence if there is none; `root_type` names the type of the whole document.
    pub(crate) fn field(&self, name: &str, root_type: &str) -> Result<Self, String> {
        let found = match self {
            Self::Map(map) => {
                let found = map.get(name).or_else(|| default_network(map, name));
                Some(found.map_or(Self::Missing, |value| Self::of(value, "")))
            }
            Self::Struct(object, _) if EMBEDDED.contains(&name) && !object.contains_key(name) => {
                Some(self.clone())
            }
            Self::Struct(object, parent) => {
                find(object, name).map(|(key, value)| match (Self::member(parent, key, value), value) {
                    (Self::Time(_), Value::String(text)) if TEXT_TIMES.contains(&root_type) => {
                        Self::Foreign(text)
                    }
                    (found, _) => found,
                })
            }
            Self::Null(key) => {
                return Err(format!(
                    "nil pointer evaluating {}.{name}",
                    type_of(key).unwrap_or("interface {}")
                ));
            }
            Self::Missing => return Err(format!("nil pointer evaluating interface {{}}.{name}")),
            _ => None,
        };
        found.ok_or_else(|| format!("can't evaluate field {name} in type {}", self.type_name(root_type)))
    }

    /// What Go calls the type.
    pub(crate) fn type_name(&self, root_type: &str) -> String {
        match self {
            Self::Missing | Self::Null(_) => "<nil>".to_owned(),
            Self::Bool(_) => "bool".to_owned(),
            Self::Int(_) => "int".to_owned(),
            Self::Float(_) => "float64".to_owned(),
            Self::Foreign(_) | Self::Text(_) => "string".to_owned(),
            Self::Time(_) => "time.Time".to_owned(),
            Self::Duration(_) => "time.Duration".to_owned(),
            Self::List(items, _) if items.iter().any(|item| !item.is_string()) => "[]interface {}".to_owned(),
            Self::List(..) | Self::Made(_) => "[]string".to_owned(),
            Self::Map(map) if map.values().any(|item| !item.is_string()) => {
                "map[string]interface {}".to_owned()
            }
            Self::Map(_) => "map[string]string".to_owned(),
            Self::Struct(_, "") => root_type.to_owned(),
            Self::Struct(_, key) => type_of(key).map_or_else(|| format!("*define.{key}"), str::to_owned),
        }
    }

    /// Go's idea of true: not zero and not empty.
    pub(crate) fn is_true(&self) -> bool {
        match self {
            Self::Missing | Self::Null(_) => false,
            Self::Bool(value) => *value,
            Self::Int(value) | Self::Duration(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Foreign(text) => !text.is_empty(),
            Self::Text(text) => !text.is_empty(),
            Self::List(items, _) => !items.is_empty(),
            Self::Made(items) => !items.is_empty(),
            Self::Map(map) => !map.is_empty(),
            Self::Time(_) | Self::Struct(..) => true,
        }
    }

    /// The text of a text.
    pub(crate) fn as_text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Foreign(text) => Some(Cow::Borrowed(text)),
            Self::Text(text) => Some(Cow::Borrowed(text)),
            _ => None,
        }
    }

    /// The elements of a list.
    pub(crate) fn as_list(&self) -> Option<Vec<Self>> {
        match self {
            Self::List(items, key) => Some(items.iter().map(|item| Self::element(key, item)).collect()),
            Self::Made(items) => Some(items.clone()),
            Self::Null(key) if is_list(key) => Some(Vec::new()),
            _ => None,
        }
    }

    /// The JSON of the value.
    pub(crate) fn to_json(&self) -> Value {
        match self {
            Self::Missing | Self::Null(_) => Value::Null,
            Self::Bool(value) => Value::from(*value),
            Self::Int(value) | Self::Duration(value) => Value::from(*value),
            Self::Float(value) => Value::from(*value),
            Self::Foreign(text) => Value::from(*text),
            Self::Text(text) => Value::from(text.as_str()),
            Self::Time(time) => Value::from(time.to_string()),
            Self::List(items, _) => Value::from(items.to_vec()),
            Self::Made(items) => Value::from(items.iter().map(Self::to_json).collect::<Vec<_>>()),
            Self::Map(map) | Self::Struct(map, _) => Value::Object((*map).clone()),
        }
    }
}

/// True if an object under `key` is a map.
pub(crate) fn is_map(key: &str) -> bool {
    MAPS.iter().any(|map| map.eq_ignore_ascii_case(key))
}

/// True if `null` under `key` is an empty list.
pub(crate) fn is_list(key: &str) -> bool {
    LISTS.contains(&key)
}

/// The entries of a map in the order of their keys, as Go goes through them.
pub(crate) fn sorted<'v>(map: &'v Map<String, Value>) -> Vec<(&'v str, Val<'v>)> {
    let kind =
        |key: &str| if ["/tcp", "/udp", "/sctp"].iter().any(|end| key.ends_with(end)) { PORT } else { "" };
    let mut entries: Vec<_> =
        map.iter().map(|(key, value)| (key.as_str(), Val::of(value, kind(key)))).collect();
    entries.order_by_key(|(key, _)| *key);
    entries
}

/// The default network in a map of networks, by what others call theirs: `.NetworkSettings.Networks.bridge.IPAddress`.
pub(crate) fn default_network<'v>(map: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    map.get(DEFAULT_NETWORK).filter(|value| DEFAULT_ELSEWHERE.contains(&name) && value.is_object())
}

/// A field by its name; `.Id` finds `ID` and the other way round, as docker's and podman's spelling differ.
fn find<'v>(object: &'v Map<String, Value>, name: &str) -> Option<(&'v str, &'v Value)> {
    let renamed = || RENAMED.iter().find(|(known, _)| *known == name);
    let exact = object.get_key_value(name).or_else(|| object.get_key_value(renamed()?.1));
    let found = exact.or_else(|| object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)));
    found.map(|(key, value)| (key.as_str(), value))
}

fn type_of(key: &str) -> Option<&'static str> {
    TYPES.iter().find(|(known, _)| known.eq_ignore_ascii_case(key)).map(|(_, name)| *name)
}
