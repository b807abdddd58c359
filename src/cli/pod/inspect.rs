//! `pod inspect`: prints everything about pods.

use clap::Args;
use serde_json::{Map, Value, json};

use crate::base::bytes::Bytes;
use crate::base::network::mac_text;
use crate::base::spec::{ContainerSpec, NetworkMode, RestartPolicy, UserNamespace};
use crate::cli::format::{self, Format, Shape, json};
use crate::cli::pod::LatestPod;
use crate::cli::session::Session;
use crate::cli::usage::UsageError;
use crate::documents::container::{port_bindings, shown_mount};
use crate::documents::pruned::prune;
use crate::engine::pod::Pod;
use crate::engine::{Engine, Error, Kind, Result};
use crate::net::network::DEFAULT_NETWORK;

/// Print everything about pods
#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// Pods, by name or ID (can be repeated)
    #[arg(value_name = "POD")]
    pods: Vec<String>,

    /// Print in this form: json, or a Go template
    #[arg(short, long, default_value = "json", value_name = "FORMAT")]
    format: String,

    #[command(flatten)]
    latest: LatestPod,
}

/// podman's name of the type of a pod's document.
pub(crate) const POD: &str = "*define.InspectPodData";

const SHAPE: Shape = Shape { command: "inspect", type_name: POD, headers: &[], omit: OMIT, heading: false };

/// Fields that JSON leaves out when they are empty.
pub(crate) const OMIT: &[&str] = &[
    "Namespace",
    "Labels",
    "CgroupParent",
    "CgroupPath",
    "InfraContainerID",
    "InfraConfig",
    "SharedNamespaces",
    "Containers",
    "cpu_period",
    "cpu_quota",
    "cpu_shares",
    "cpuset_cpus",
    "cpuset_mems",
    "mounts",
    "devices",
    "device_read_bps",
    "device_write_bps",
    "volumes_from",
    "security_opt",
    "memory_limit",
    "memory_swap",
    "blkio_weight",
    "blkio_weight_device",
    "RestartPolicy",
];

/// The names of Go's fields whose JSON is called otherwise.
const GO_NAMES: [(&str, &str); 15] = [
    ("ID", "Id"),
    ("CPUPeriod", "cpu_period"),
    ("CPUQuota", "cpu_quota"),
    ("CPUShares", "cpu_shares"),
    ("CPUSetCPUs", "cpuset_cpus"),
    ("CPUSetMems", "cpuset_mems"),
    ("Mounts", "mounts"),
    ("Devices", "devices"),
    ("BlkioDeviceReadBps", "device_read_bps"),
    ("BlkioDeviceWriteBps", "device_write_bps"),
    ("VolumesFrom", "volumes_from"),
    ("SecurityOpts", "security_opt"),
    ("MemoryLimit", "memory_limit"),
    ("MemorySwap", "memory_swap"),
    ("BlkioWeight", "blkio_weight"),
];

/// `pod inspect`.
pub(crate) fn inspect(session: &mut Session<'_>, args: InspectArgs) -> anyhow::Result<()> {
    let InspectArgs { mut pods, format, latest } = args;
    if latest.latest {
        if !pods.is_empty() {
            return Err(UsageError::new("--latest and pods cannot be used together").into());
        }
        pods.push(session.engine()?.latest_pod()?.to_string());
    }
    if pods.is_empty() {
        return Err(UsageError::new("no names or ids specified").into());
    }
    let format = Format::parse(if format.is_empty() { "json" } else { &format }, &SHAPE)?;
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for name in &pods {
        match document(session.engine()?, name) {
            Ok(document) => found.push(document),
            Err(err) => missing.push(err),
        }
    }
    if let Format::Json = format {
        let pruned = found.iter().map(|document| prune(document, OMIT)).collect();
        json::print(session, &json::pretty(&Value::Array(pruned), &[], "     "))?;
    } else {
        let rows: Vec<Value> = found.iter().map(template_row).collect();
        format::print_rows(session, &SHAPE, &format, &rows)?;
    }
    session.outcome_of(missing)
}

/// The names of the Go fields, which templates use, beside those of JSON.
pub(crate) fn template_row(document: &Value) -> Value {
    let mut row = document.clone();
    for (go, own) in GO_NAMES {
        row[go] = document.get(own).cloned().unwrap_or(Value::Null);
    }
    row["BlkioWeightDevice"] = document["blkio_weight_device"].clone();
    if let Some(infra) = row["InfraConfig"].as_object_mut() {
        for (go, own) in [("PidNS", "pid_ns"), ("UserNS", "userns"), ("UtsNS", "uts_ns")] {
            infra.insert(go.to_owned(), document["InfraConfig"][own].clone());
        }
        // JSON has them with the pod alone.
        for (go, own) in
            [("CPUPeriod", "cpu_period"), ("CPUQuota", "cpu_quota"), ("CPUSetCPUs", "cpuset_cpus")]
        {
            infra.insert(go.to_owned(), document[own].clone());
        }
    }
    row
}

/// podman's `pod inspect`.
pub(crate) fn document(engine: &Engine, name: &str) -> Result<Value> {
    let id = engine.pod(name).map_err(|err| match err.kind {
        Kind::NotFound => Error::not_found(format!("no such pod {name}")),
        _ => err,
    })?;
    let pod = engine.pod_details(&id)?;
    let infra = pod.infra().map(|infra| engine.container_spec(&infra.id)).transpose()?;
    let record = &pod.record;
    let mut document = Map::new();
    let mut put = |key: &str, value: Value| drop(document.insert(key.to_owned(), value));
    put("Id", record.id.as_str().into());
    put("Name", record.name.clone().into());
    put("Namespace", "".into());
    put("Created", record.created.to_string().into());
    put("CreateCommand", record.create_command.iter().map(Bytes::to_string_lossy).collect());
    put("ExitPolicy", record.exit_policy.word().into());
    put("State", pod.state().into());
    put("Hostname", record.hostname.clone().into());
    put("Labels", json!(record.labels));
    put("CreateCgroup", true.into());
    put("CgroupParent", record.cgroup_parent.clone().into());
    put("CgroupPath", "".into());
    put("CreateInfra", record.infra.into());
    put("InfraContainerID", pod.infra().map_or("", |infra| infra.id.as_str()).into());
    put("InfraConfig", infra.as_ref().map_or(Value::Null, infra_config));
    put("SharedNamespaces", shared(&pod, infra.as_ref()));
    put("NumContainers", pod.containers.len().into());
    let container = |one: &crate::engine::list::Container| json!({"Id": one.id.as_str(), "Name": one.name, "State": one.status.word()});
    put("Containers", pod.containers.iter().map(container).collect());
    let limits = &record.limits;
    put("cpu_period", limits.cpu_period_us.unwrap_or(0).into());
    put("cpu_quota", limits.cpu_quota_us.unwrap_or(0).into());
    put("cpu_shares", limits.cpu_shares.unwrap_or(0).into());
    put("cpuset_cpus", limits.cpuset_cpus.clone().unwrap_or_default().into());
    put("cpuset_mems", limits.cpuset_mems.clone().unwrap_or_default().into());
    let mounts =
        infra.iter().flat_map(|spec| spec.mounts.iter().filter_map(|mount| shown_mount(engine, spec, mount)));
    put("mounts", mounts.collect());
    let device = |device: &crate::base::spec::Device| {
        json!({
            "PathOnHost": device.source.display().to_string(),
            "PathInContainer": device.target.to_string_lossy(),
            "CgroupPermissions": device.access,
        })
    };
    put("devices", infra.iter().flat_map(|spec| &spec.devices).map(device).collect());
    let rates = |rates: &[crate::base::limits::DeviceRate], key: &str| -> Value {
        rates.iter().map(|one| json!({"Path": one.path.display().to_string(), key: one.rate})).collect()
    };
    put("device_read_bps", rates(&limits.device_read_bps, "Rate"));
    put("device_write_bps", rates(&limits.device_write_bps, "Rate"));
    let volumes_from = infra.as_ref().map(|spec| spec.as_typed.volumes_from.clone()).unwrap_or_default();
    put("volumes_from", volumes_from.into());
    let security = infra.as_ref().map(|spec| spec.security.options.clone()).unwrap_or_default();
    put("security_opt", security.into());
    put("memory_limit", limits.memory.unwrap_or(0).into());
    put("memory_swap", limits.memory_swap.unwrap_or(0).into());
    put("blkio_weight", limits.blkio_weight.unwrap_or(0).into());
    put("blkio_weight_device", rates(&limits.blkio_weight_device, "Weight"));
    put("RestartPolicy", record.restart.map_or("", RestartPolicy::word).into());
    put("LockNumber", 0.into());
    Ok(Value::Object(document))
}

/// What the containers have in common, their user namespace among it.
fn shared(pod: &Pod, infra: Option<&ContainerSpec>) -> Value {
    let mut words: Vec<&str> = pod.record.share.iter().map(|one| one.word()).collect();
    if infra.is_some_and(|spec| !matches!(spec.userns, UserNamespace::Default | UserNamespace::Host)) {
        words.push("user");
    }
    words.into()
}

/// What is said of the infra container.
fn infra_config(spec: &ContainerSpec) -> Value {
    let network = &spec.network;
    let list = |texts: &[String]| if texts.is_empty() { Value::Null } else { json!(texts) };
    let named = match &network.mode {
        NetworkMode::Bridge(networks) => networks.as_slice(),
        _ => &[],
    };
    let only = if let [one] = named { Some(one) } else { None };
    let names: Vec<String> =
        named.iter().map(|one| one.name.clone()).filter(|name| name != DEFAULT_NETWORK).collect();
    let hosts: Vec<String> = network.add_hosts.iter().map(|(ip, name)| format!("{name}:{ip}")).collect();
    let own = |is_own: bool| if is_own { "private" } else { "host" };
    let userns = !matches!(spec.userns, UserNamespace::Default | UserNamespace::Host);
    json!({
        "PortBindings": port_bindings(spec, "0.0.0.0"),
        "HostNetwork": network.mode == NetworkMode::Host,
        "StaticIP": only.and_then(|one| one.ips.first()).map_or(String::new(), ToString::to_string),
        "StaticMAC": only.and_then(|one| one.mac.as_ref()).map_or(String::new(), mac_text),
        "NoManageResolvConf": network.dns.iter().any(|server| server == "none"),
        "DNSServer": list(&network.dns),
        "DNSSearch": list(&network.dns_search),
        "DNSOption": list(&network.dns_options),
        "NoManageHostname": spec.etc.no_hostname,
        "NoManageHosts": network.no_hosts,
        "HostAdd": list(&hosts),
        "HostsFile": "",
        "Networks": list(&names),
        "NetworkOptions": Value::Null,
        "pid_ns": own(spec.namespaces.pid != crate::base::spec::Namespace::Host),
        "userns": own(userns),
        "uts_ns": own(spec.namespaces.uts != crate::base::spec::Namespace::Host),
    })
}
