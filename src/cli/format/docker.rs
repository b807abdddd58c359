//! Docker's placeholders, where podman has another name for the same thing: templates know both.
//!
//! They are added to what a template sees. JSON has podman's fields only, unless docker was called or the
//! configuration asks for Docker's form of listings (`[ketch] json_lines`): then [`line`] is what each line prints.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use crate::cli::build::BUILDX;
use crate::cli::network::dockers;
use crate::compose::project::COMPATIBLE;
use crate::engine::events::dockers_word;
use crate::net::ipam::{LeaseRange, Subnet};

/// `docker ps --format json`: its fields.
pub(crate) const CONTAINER: &[&str] = &[
    "Command",
    "CreatedAt",
    "ID",
    "Image",
    "Labels",
    "LocalVolumes",
    "Mounts",
    "Names",
    "Networks",
    "Ports",
    "RunningFor",
    "Size",
    "State",
    "Status",
];

/// `docker images --format json`: its fields.
pub(crate) const IMAGE: &[&str] = &[
    "Containers",
    "CreatedAt",
    "CreatedSince",
    "Digest",
    "ID",
    "Repository",
    "SharedSize",
    "Size",
    "Tag",
    "UniqueSize",
    "VirtualSize",
];

/// `docker volume ls --format json`: its fields.
pub(crate) const VOLUME: &[&str] =
    &["Availability", "Driver", "Group", "Labels", "Links", "Mountpoint", "Name", "Scope", "Size", "Status"];

/// `docker network ls --format json`: its fields.
pub(crate) const NETWORK: &[&str] =
    &["CreatedAt", "Driver", "ID", "IPv4", "IPv6", "Internal", "Labels", "Name", "Scope"];

/// `docker stats --format json`: its fields.
pub(crate) const STATS: &[&str] =
    &["BlockIO", "CPUPerc", "Container", "ID", "MemPerc", "MemUsage", "Name", "NetIO", "PIDs"];

/// `docker history --format json`: its fields.
pub(crate) const STEP: &[&str] = &["Comment", "CreatedAt", "CreatedBy", "CreatedSince", "ID", "Size"];

/// `docker system df --format json`: its fields.
pub(crate) const USAGE: &[&str] = &["Active", "Reclaimable", "Size", "TotalCount", "Type"];

/// `docker search --format json`: its fields.
pub(crate) const HIT: &[&str] = &["Description", "IsAutomated", "IsOfficial", "Name", "StarCount"];

/// `docker network inspect`: its fields.
const NETWORK_DOCUMENT: &[&str] = &[
    "Name",
    "Id",
    "Created",
    "Scope",
    "Driver",
    "EnableIPv4",
    "EnableIPv6",
    "IPAM",
    "Internal",
    "Attachable",
    "Ingress",
    "ConfigFrom",
    "ConfigOnly",
    "Containers",
    "Options",
    "Labels",
];

/// What `docker network inspect` says of each container.
const ENDPOINT: &[&str] = &["Name", "EndpointID", "MacAddress", "IPv4Address", "IPv6Address"];

/// What Docker says of what it has not measured.
const UNKNOWN: &str = "N/A";

/// What Docker prints of a row: these fields, each as a text.
pub(crate) fn line(row: &Value, fields: &[&str]) -> Value {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(flat).collect::<Vec<_>>().join(","),
        Value::Object(map) => {
            map.iter().map(|(k, v)| format!("{k}={}", flat(v))).collect::<Vec<_>>().join(",")
        }
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let fields = fields.iter().map(|field| ((*field).to_owned(), text(&row[*field]).into()));
    Value::Object(fields.collect::<Map<_, _>>())
}

/// Adds what only Docker's line about an image has.
pub(crate) fn image(row: &mut Value) {
    let size = row["Size"].clone();
    add(row, json!({"SharedSize": UNKNOWN, "UniqueSize": UNKNOWN, "VirtualSize": size}));
}

/// Adds what only Docker's line about a volume has.
pub(crate) fn volume(row: &mut Value) {
    let fields =
        ["Availability", "Group", "Links", "Size", "Status"].map(|key| (key.to_owned(), UNKNOWN.into()));
    add(row, Value::Object(Map::from_iter(fields)));
}

/// What `docker network inspect` prints, out of what a template sees.
pub(crate) fn network_document(row: &Value) -> Value {
    let pick = |from: &Value, keys: &[&str]| -> Value {
        Value::Object(keys.iter().map(|key| ((*key).to_owned(), from[key].clone())).collect())
    };
    let mut document = pick(row, NETWORK_DOCUMENT);
    document["Id"] = row["id"].clone();
    document["Name"] = dockers::name(row["Name"].as_str().unwrap_or_default()).into();
    if let Value::Object(containers) = &mut document["Containers"] {
        containers.values_mut().for_each(|container| *container = pick(container, ENDPOINT));
    } else {
        document["Containers"] = json!({});
    }
    document
}

/// What `docker events --format json` prints, out of what a template sees.
pub(crate) fn event_document(row: &Value) -> Value {
    json!({
        "status": row["Action"], "id": row["ID"], "from": row["From"], "Type": row["Type"], "Action": row["Action"],
        "Actor": row["Actor"], "scope": row["Scope"], "time": row["Time"], "timeNano": row["TimeNano"],
    })
}

fn flat(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Adds `docker inspect`'s fields to the document about a container.
pub(crate) fn container(document: &mut Value) {
    document["LogPath"] = document["HostConfig"]["LogConfig"]["Path"].clone();
    document["Platform"] = "linux".into();
    let name = document["Name"].as_str().unwrap_or_default().trim_start_matches('/').to_owned();
    let networks = document["NetworkSettings"]["Networks"].as_object_mut();
    // Nobody is asked for names where a container has no network of its own.
    let named = networks.into_iter().flatten().filter(|(mode, _)| !matches!(mode.as_str(), "none" | "host"));
    for (_, network) in named {
        let aliases = network["Aliases"].as_array().cloned().unwrap_or_default();
        let mut names = vec![Value::from(name.as_str())];
        names.extend(aliases.into_iter().filter(|alias| *alias != name.as_str()));
        network["DNSNames"] = names.into();
    }
}

/// Makes the document about a container name it as docker does: `/web`, and its image as a digest.
pub(crate) fn named_container(document: &mut Value) {
    prefix(&mut document["Name"], "/");
    prefix(&mut document["Image"], "sha256:");
}

/// The same for an image: its ID is a digest.
pub(crate) fn named_image(document: &mut Value) {
    prefix(&mut document["Id"], "sha256:");
    prefix(&mut document["Parent"], "sha256:");
}

/// Puts something before a text that says something.
fn prefix(value: &mut Value, before: &str) {
    if let Some(text) = value.as_str().filter(|text| !text.is_empty()) {
        *value = format!("{before}{text}").into();
    }
}

/// Adds `docker network inspect`'s and `network ls`'s fields to the document about a network.
pub(crate) fn network(document: &mut Value) {
    document["Scope"] = "local".into();
    document["EnableIPv6"] = document["IPv6Enabled"].clone();
    document["IPv6"] = document["IPv6Enabled"].clone();
    document["CreatedAt"] = document["Created"].clone();
    for key in ["Attachable", "ConfigOnly"] {
        document[key] = (document[key] == Value::Bool(true)).into();
    }
    document["ConfigFrom"] = json!({"Network": document["config_from"].as_str().unwrap_or_default()});
    // Networks of swarms only.
    document["Ingress"] = false.into();
    let subnets = document["Subnets"].as_array().cloned().unwrap_or_default();
    let others = document["aux_addresses"].clone();
    let config: Vec<Value> = subnets.iter().map(|subnet| pool(subnet, &others)).collect();
    let is_v4 = |pool: &Value| pool["Subnet"].as_str().is_some_and(|subnet| !subnet.contains(':'));
    for key in ["EnableIPv4", "IPv4"] {
        document[key] = config.iter().any(is_v4).into();
    }
    if let Value::Object(containers) = &mut document["Containers"] {
        containers.values_mut().for_each(endpoint);
    }
    let mut options = document["IPAMOptions"].as_object().cloned().unwrap_or_default();
    options.remove("driver");
    let options = if options.is_empty() { Value::Null } else { Value::Object(options) };
    document["IPAM"] = json!({"Driver": "default", "Options": options, "Config": config});
}

/// What Docker's `IPAM.Config` says of one subnet, which listings have as a text. `others` are the addresses that
/// something else has, by name.
fn pool(subnet: &Value, others: &Value) -> Value {
    let of = subnet.get("Subnet").unwrap_or(subnet);
    let parsed: Option<Subnet> = of.as_str().and_then(|text| text.parse().ok());
    let within = |ip: &Value| -> bool {
        let ip: Option<IpAddr> = ip.as_str().and_then(|text| text.parse().ok());
        parsed.zip(ip).is_some_and(|(subnet, ip)| subnet.contains(ip))
    };
    let others: Map<String, Value> = others
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, ip)| within(ip))
        .map(|(name, ip)| (name.clone(), ip.clone()))
        .collect();
    json!({
        "Subnet": of,
        "IPRange": parsed.map_or_else(String::new, |of| range(of, &subnet["LeaseRange"])),
        "Gateway": subnet["Gateway"].as_str().unwrap_or_default(),
        "AuxAddress": others,
    })
}

/// A range of addresses as Docker takes it, `ADDRESS/PREFIX`; one that is none as `FIRST-LAST`.
fn range(of: Subnet, range: &Value) -> String {
    let address = |key: &str| -> Option<IpAddr> { range[key].as_str()?.parse().ok() };
    let Some((start_ip, end_ip)) = address("StartIP").zip(address("EndIP")) else { return String::new() };
    let range = LeaseRange { start_ip, end_ip };
    let bits = if start_ip.is_ipv6() { 128 } else { 32 };
    let parts = (of.prefix()..=bits).filter_map(|prefix| Subnet::new(start_ip, prefix));
    let part = parts.into_iter().find(|part| LeaseRange::of(*part) == range);
    part.map_or_else(|| format!("{start_ip}-{end_ip}"), |part| part.to_string())
}

/// Adds Docker's fields to a container of a network: its addresses at one level.
fn endpoint(container: &mut Value) {
    let interfaces = container["interfaces"].as_object().cloned().unwrap_or_default();
    let interface = interfaces.values().next().cloned().unwrap_or_default();
    let of_family = |v6: bool| {
        let ips = interface["subnets"].as_array().into_iter().flatten();
        let mut ips = ips.filter_map(|of| of["ipnet"].as_str());
        ips.find(|ip| ip.contains(':') == v6).unwrap_or_default().to_owned()
    };
    let fields = json!({
        "Name": container["name"],
        "EndpointID": "",
        "MacAddress": interface["mac_address"].as_str().unwrap_or_default(),
        "IPv4Address": of_family(false),
        "IPv6Address": of_family(true),
    });
    add(container, fields);
}

/// `docker info`'s fields, from the document that `info` prints.
pub(crate) fn info(document: &Value, machine: &str) -> Value {
    let (host, store) = (document["host"].clone(), document["store"].clone());
    let distribution = &host["distribution"];
    let system = format!("{} {}", flat(&distribution["distribution"]), flat(&distribution["version"]));
    let mut security = Vec::new();
    for (option, holds) in [
        ("name=apparmor", &host["security"]["apparmorEnabled"]),
        ("name=seccomp,profile=default", &host["security"]["seccompEnabled"]),
        ("name=selinux", &host["security"]["selinuxEnabled"]),
        ("name=rootless", &host["security"]["rootless"]),
    ] {
        if holds == &Value::Bool(true) {
            security.push(option);
        }
    }
    let version = document["version"]["Version"].clone();
    let plugins = &document["plugins"];
    let mut fields = json!({
        "Containers": store["containerStore"]["number"],
        "ContainersRunning": store["containerStore"]["running"],
        "ContainersPaused": store["containerStore"]["paused"],
        "ContainersStopped": store["containerStore"]["stopped"],
        "Images": store["imageStore"]["number"],
        "Driver": store["graphDriverName"],
        "DriverStatus": pairs(&store["graphStatus"]),
        "DockerRootDir": store["graphRoot"],
        "Plugins": {
            "Volume": plugins["volume"], "Network": plugins["network"], "Authorization": Value::Null, "Log": plugins["log"],
        },
        "ServerVersion": version,
        "OperatingSystem": system.trim(),
        "OSVersion": distribution["version"],
        "OSType": host["os"],
        "Architecture": machine,
        "NCPU": host["cpus"],
        "MemTotal": host["memTotal"],
        "Name": host["hostname"],
        "KernelVersion": host["kernel"],
        "CgroupDriver": host["cgroupManager"],
        "CgroupVersion": flat(&host["cgroupVersion"]).trim_start_matches('v'),
        "LoggingDriver": host["logDriver"],
        "SecurityOptions": security,
        "DefaultRuntime": host["ociRuntime"]["name"],
        "Runtimes": {flat(&host["ociRuntime"]["name"]): {"path": host["ociRuntime"]["path"]}},
        "InitBinary": host["ociRuntime"]["name"],
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": {
            "InsecureRegistryCIDRs": [], "Mirrors": [],
            "IndexConfigs": {"docker.io": {"Name": "docker.io", "Mirrors": [], "Secure": true, "Official": true}},
        },
        "Labels": [],
        "Warnings": Value::Null,
        "Debug": false,
        "ExperimentalBuild": false,
        // Containers run on whatever becomes of the program that started them.
        "LiveRestoreEnabled": true,
        "ServerErrors": [],
        "ClientInfo": {"Version": version, "Context": "default", "Debug": false, "Plugins": own_plugins(&host["ociRuntime"]["path"]), "Warnings": Value::Null},
        "Swarm": {
            "NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": false, "Error": "",
            "RemoteManagers": Value::Null,
        },
    });
    add(&mut fields, controllers(&host["cgroupControllers"]));
    fields
}

/// What docker has as plugins of its command, which are parts of this program.
fn own_plugins(path: &Value) -> Value {
    let plugin = |name: &str, version: &str, about: &str| {
        json!({
            "SchemaVersion": "0.1.0", "Vendor": "ketch", "Version": format!("v{version}"), "ShortDescription": about,
            "Name": name, "Path": path,
        })
    };
    json!([
        plugin("buildx", BUILDX, "Build images"),
        plugin("compose", COMPATIBLE, "Run several containers as one project"),
    ])
}

/// Docker's words for what can be limited, by the controllers of cgroup v2 that are there.
fn controllers(names: &Value) -> Value {
    let has = |name: &str| names.as_array().is_some_and(|names| names.iter().any(|have| have == name));
    let (memory, cpu) = (has("memory"), has("cpu"));
    json!({
        "MemoryLimit": memory, "SwapLimit": memory, "CpuCfsPeriod": cpu, "CpuCfsQuota": cpu, "CPUShares": cpu,
        "CPUSet": has("cpuset"), "PidsLimit": has("pids"), "OomKillDisable": false,
    })
}

/// A map as the list of pairs that Docker has in its place.
fn pairs(map: &Value) -> Value {
    map.as_object().into_iter().flatten().map(|(key, value)| json!([key, value])).collect()
}

/// Adds `docker version`'s fields to one side of the document that `version` prints. JSON spells one of them
/// otherwise than templates do.
pub(crate) fn version(side: &mut Value, oldest_api: &str, kernel: &str) {
    let arch = flat(&side["OsArch"]).rsplit('/').next().unwrap_or_default().to_owned();
    let fields = json!({
        "Arch": arch,
        "ApiVersion": side["APIVersion"],
        "MinAPIVersion": oldest_api,
        "DefaultAPIVersion": side["APIVersion"],
        "KernelVersion": kernel,
        "BuildTime": side["BuiltTime"],
        "Experimental": false,
        "Context": "default",
        "Platform": {"Name": "Ketch"},
        "Components": [{"Name": "Engine", "Version": side["Version"], "Details": {"Arch": arch, "Os": side["Os"], "KernelVersion": kernel}}],
    });
    add(side, fields);
}

/// Adds `docker search`'s fields to a hit.
pub(crate) fn hit(row: &mut Value) {
    let is_set = |value: &Value| Value::Bool(value.as_str().is_some_and(|text| !text.is_empty()));
    row["StarCount"] = row["Stars"].clone();
    row["IsOfficial"] = is_set(&row["Official"]);
    row["IsAutomated"] = is_set(&row["Automated"]);
}

/// Adds `docker events`' fields to an event.
pub(crate) fn event(row: &mut Value) {
    let text = |field: &str| row[field].as_str().unwrap_or_default();
    let action = dockers_word(text("Type"), text("Status"));
    let mut attributes = row["Attributes"].as_object().cloned().unwrap_or_default();
    for (key, field) in [("name", "Name"), ("image", "Image")] {
        if row[field].as_str().is_some_and(|text| !text.is_empty()) {
            attributes.insert(key.to_owned(), row[field].clone());
        }
    }
    if let Some(code) = row["ContainerExitCode"].as_i64() {
        attributes.insert("exitCode".to_owned(), code.to_string().into());
    }
    let health =
        row["HealthStatus"].as_str().filter(|health| !health.is_empty() && action == "health_status");
    let action = health.map_or_else(|| action.to_owned(), |health| format!("{action}: {health}"));
    let actor = json!({"ID": row["ID"], "Attributes": attributes});
    add(row, json!({"Action": action, "Actor": actor, "From": row["Image"], "Scope": "local"}));
}

/// Adds fields to a document.
pub(crate) fn add(document: &mut Value, fields: Value) {
    if let (Some(document), Value::Object(fields)) = (document.as_object_mut(), fields) {
        document.extend(fields);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_hold_texts() {
        let row =
            json!({"ID": "1", "Labels": {"a": "b", "c": "d"}, "Mounts": ["x", "y"], "Size": null, "Pid": 7});
        let want = json!({"ID": "1", "Labels": "a=b,c=d", "Mounts": "x,y", "Size": "", "Pid": "7"});
        assert_eq!(line(&row, &["ID", "Labels", "Mounts", "Size", "Pid"]), want);
    }

    #[test]
    fn other_names_of_the_same() {
        let mut version_side = json!({"OsArch": "linux/amd64", "APIVersion": "1"});
        version(&mut version_side, "1.24", "6.12");
        assert_eq!(
            (&version_side["Arch"], &version_side["KernelVersion"]),
            (&json!("amd64"), &json!("6.12"))
        );
        let mut network_row =
            json!({"Subnets": [{"Subnet": "10.0.0.0/8", "Gateway": "10.0.0.1"}], "IPv6Enabled": true});
        network(&mut network_row);
        assert_eq!(network_row["IPAM"]["Config"][0]["Gateway"], "10.0.0.1");
        assert_eq!(network_row["EnableIPv6"], true);
    }
}
