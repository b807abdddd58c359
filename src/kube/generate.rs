//! Manifests from what there is: podman's form, so that either program takes the other's.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::base::bytes::Bytes;
use crate::base::limits::{CPU_PERIOD_US, Limits};
use crate::base::manifest::ContainerDefaults;
use crate::base::network::{PortMapping, Protocol};
use crate::base::order;
use crate::base::spec::{ContainerSpec, MountKind, Namespace, NetworkMode, RestartPolicy};
use crate::base::volume_options::{VolumeKind, VolumeOptions};
use crate::base::yaml::node::{self, Node};
use crate::base::yaml::write::{self, Lists};
use crate::engine::{Error, Result};
use crate::runtime::defaults::NETWORK_SYSCTLS;

/// The kinds that `--type` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Pod,
    Deployment { replicas: i32 },
    DaemonSet,
    Job,
}

/// A container, and what its image says of it.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) spec: ContainerSpec,
    pub(crate) image: ContainerDefaults,
    /// It runs to its end before the others.
    pub(crate) init: bool,
}

/// What is to be described: a pod, or containers that are to be one.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    /// The container that has networks, ports and the rest in common; that of no pod has its own.
    pub(crate) infra: Option<ContainerSpec>,
    pub(crate) members: Vec<Member>,
    pub(crate) restart: Option<RestartPolicy>,
    pub(crate) share_pid: bool,
}

/// How it is described.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How<'a> {
    pub(crate) form: Form,
    /// A Service for the ports, at these ports of the node where those of the host are none for it.
    pub(crate) service: Option<&'a dyn NodePorts>,
    /// With annotations that only podman and ketch know.
    pub(crate) podman_only: bool,
    pub(crate) now: Timestamp,
    /// What a path of the host is: `Directory`, `File` ….
    pub(crate) host_kind: &'a dyn HostKinds,
}

/// Chooses ports of nodes, from 30000 to 32767.
pub(crate) trait NodePorts: std::fmt::Debug {
    fn next(&self) -> u16;
}

/// Tells what a path of the host is, in the words of `hostPath`, and what volumes are.
pub(crate) trait HostKinds: std::fmt::Debug {
    fn of(&self, path: &std::path::Path) -> Option<&'static str>;
    /// The options of a volume; none for one that is not there.
    fn volume_options(&self, name: &str) -> BTreeMap<String, String>;
}

/// Documents as one text, with podman's head.
pub(crate) fn text(documents: &[Value], version: &str) -> String {
    let head = format!(
        "# Save the output of this file and use kubectl create -f to import\n# it into Kubernetes.\n#\n# Created with ketch-{version}\n"
    );
    let bodies: Vec<String> =
        documents.iter().map(|value| write::document(&node(value), Lists::Flush)).collect();
    head + &bodies.join("---\n")
}

/// As a tree for the writer, with its keys in order.
fn node(value: &Value) -> Node {
    let at = node::Place::default();
    match value {
        Value::Null => Node::null(at),
        Value::Bool(value) => Node::bool(*value, at),
        Value::Number(number) => Node::int(number.as_i64().unwrap_or_default(), at),
        Value::String(text) => Node::text(text.clone(), at),
        Value::Array(list) => Node::list(list.iter().map(node).collect(), at),
        Value::Object(map) => {
            let sorted = order::map(map);
            Node::map(sorted.into_iter().map(|(key, value)| (key.clone(), node(value))).collect(), at)
        }
    }
}

/// Adds what is not empty.
fn put(map: &mut Map<String, Value>, key: &str, value: Value) {
    let is_empty = match &value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    if !is_empty {
        map.insert(key.to_owned(), value);
    }
}

fn stamp(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A volume as a claim.
pub(crate) fn claim(
    name: &str,
    labels: &BTreeMap<String, String>,
    options: &BTreeMap<String, String>,
    now: Timestamp,
) -> Value {
    let mut annotations = Map::from_iter([("volume.podman.io/driver".to_owned(), json!("local"))]);
    for (key, value) in options {
        let key = match key.as_str() {
            "o" => "mount-options".to_owned(),
            key => key.to_lowercase(),
        };
        annotations.insert(format!("volume.podman.io/{key}"), json!(value));
    }
    let mut metadata = Map::new();
    put(&mut metadata, "annotations", annotations.into());
    put(&mut metadata, "creationTimestamp", json!(stamp(now)));
    put(&mut metadata, "labels", json!(labels));
    put(&mut metadata, "name", json!(name));
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata,
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}, "status": {},
    })
}

/// The documents that describe a group: a Service if one is wanted, and the pod or what makes pods.
///
/// # Errors
///
/// Restart policies that a Deployment, a DaemonSet or a Job cannot have; a pod without containers.
pub(crate) fn documents(group: &Group, how: How<'_>) -> Result<Vec<Value>> {
    let restart = restart(group, how.form)?;
    let ports = ports(group);
    let mut spec = Map::new();
    let mut annotations = BTreeMap::new();
    let mut volumes = BTreeMap::new();
    let (mut init, mut rest) = (Vec::new(), Vec::new());
    let first = group.members.iter().position(|member| !member.init);
    for (place, member) in group.members.iter().enumerate() {
        let mut described = container(member, &mut volumes, how);
        if Some(place) == first {
            put(&mut described, "ports", container_ports(&ports, how.service.is_none()));
        }
        notes(member, &mut annotations, how.podman_only);
        if member.init { &mut init } else { &mut rest }.push(Value::from(described));
    }
    spec.insert("containers".to_owned(), rest.into());
    put(&mut spec, "initContainers", init.into());
    put(&mut spec, "restartPolicy", json!(restart));
    put(&mut spec, "shareProcessNamespace", json!(group.share_pid));
    put(&mut spec, "volumes", volumes.into_values().collect::<Vec<_>>().into());
    if let Some(shared) = group.infra.as_ref().or_else(|| group.members.first().map(|member| &member.spec)) {
        in_common(shared, &group.name, &mut spec);
    }
    let grace =
        group.members.iter().map(|member| member.spec.stop.timeout_s).find(|seconds| *seconds != GRACE_S);
    put(
        &mut spec,
        "terminationGracePeriodSeconds",
        grace.filter(|s| *s != u32::MAX).map_or(Value::Null, Value::from),
    );

    let mut labels = group.labels.clone();
    labels.insert("app".to_owned(), group.name.clone());
    let metadata = |name: &str, annotations: &BTreeMap<String, String>| {
        let mut metadata = Map::new();
        put(&mut metadata, "annotations", json!(annotations));
        put(&mut metadata, "creationTimestamp", json!(stamp(how.now)));
        put(&mut metadata, "labels", json!(labels));
        put(&mut metadata, "name", json!(name));
        Value::from(metadata)
    };
    let mut documents = Vec::new();
    if let Some(node_ports) = how.service {
        documents.push(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": metadata(&group.name, &BTreeMap::new()),
            "spec": {"ports": service_ports(&ports, node_ports), "selector": {"app": group.name}, "type": "NodePort"},
        }));
    }
    let inner = metadata(&group.name, &annotations);
    let outer = |suffix: &str| metadata(&format!("{}-{suffix}", group.name), &BTreeMap::new());
    let template = json!({"metadata": inner, "spec": spec});
    let selector = json!({"matchLabels": {"app": group.name}});
    documents.push(match how.form {
        Form::Pod => json!({"apiVersion": "v1", "kind": "Pod", "metadata": inner, "spec": spec}),
        Form::Deployment { replicas } => json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": outer("deployment"),
            "spec": {"replicas": replicas, "selector": selector, "template": template},
        }),
        Form::DaemonSet => json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": outer("daemonset"),
            "spec": {"selector": selector, "template": template},
        }),
        Form::Job => json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": outer("job"), "spec": {"template": template},
        }),
    });
    Ok(documents)
}

/// The stop timeout of containers that were given no other.
const GRACE_S: u32 = 10;

fn restart(group: &Group, form: Form) -> Result<Option<&'static str>> {
    let policy = group.restart.or_else(|| {
        let own = group.members.iter().find(|member| !member.init).map(|member| member.spec.restart);
        own.filter(|policy| *policy != RestartPolicy::No)
    });
    let word = policy.map(|policy| match policy {
        RestartPolicy::No => "Never",
        RestartPolicy::Always | RestartPolicy::UnlessStopped => "Always",
        RestartPolicy::OnFailure { .. } => "OnFailure",
    });
    let refuse = |what: &str| Err(Error::invalid(what.to_owned()));
    match (form, word) {
        (Form::Deployment { .. }, Some("Never" | "OnFailure")) => {
            refuse("k8s Deployments can only have restartPolicy set to Always")
        }
        (Form::DaemonSet, Some("Never" | "OnFailure")) => {
            refuse("k8s DaemonSets can only have restartPolicy set to Always")
        }
        (Form::Job, Some("Always")) => refuse(
            "k8s Jobs can not have restartPolicy set to Always; only Never and OnFailure policies allowed",
        ),
        // A Job must have one.
        (Form::Job, None) => Ok(Some("Never")),
        (_, word) => Ok(word),
    }
}

fn ports(group: &Group) -> Vec<PortMapping> {
    let of = |spec: &ContainerSpec| {
        spec.network.ports.iter().copied().flat_map(PortMapping::each).collect::<Vec<_>>()
    };
    match &group.infra {
        Some(infra) => of(infra),
        None => group.members.iter().flat_map(|member| of(&member.spec)).collect(),
    }
}

fn container_ports(ports: &[PortMapping], with_host: bool) -> Value {
    let port = |port: &PortMapping| {
        let mut map = Map::from_iter([("containerPort".to_owned(), json!(port.container_port))]);
        put(&mut map, "hostIP", json!(port.host_ip.map(|ip| ip.to_string())));
        if with_host && port.host_port != 0 {
            put(&mut map, "hostPort", json!(port.host_port));
        }
        put(&mut map, "protocol", json!((port.protocol == Protocol::Udp).then_some("UDP")));
        Value::from(map)
    };
    ports.iter().map(port).collect()
}

fn service_ports(ports: &[PortMapping], node_ports: &dyn NodePorts) -> Value {
    const NODE_PORTS: std::ops::RangeInclusive<u16> = 30000..=32767;
    let port = |port: &PortMapping| {
        let host = if NODE_PORTS.contains(&port.host_port) { port.host_port } else { node_ports.next() };
        let mut map = Map::new();
        put(&mut map, "name", json!(port.container_port.to_string()));
        put(&mut map, "nodePort", json!(host));
        put(&mut map, "port", json!(port.container_port));
        put(&mut map, "protocol", json!((port.protocol == Protocol::Udp).then_some("UDP")));
        put(&mut map, "targetPort", json!(port.container_port));
        Value::from(map)
    };
    ports.iter().map(port).collect()
}

/// What the containers of a pod have in common.
fn in_common(shared: &ContainerSpec, name: &str, spec: &mut Map<String, Value>) {
    let network = &shared.network;
    let options = network.dns_options.iter().map(|option| match option.split_once(':') {
        Some((name, value)) => json!({"name": name, "value": value}),
        None => json!({"name": option}),
    });
    let mut dns = Map::new();
    put(&mut dns, "nameservers", json!(network.dns));
    put(&mut dns, "options", options.collect());
    put(&mut dns, "searches", json!(network.dns_search));
    put(spec, "dnsConfig", dns.into());
    let aliases = network
        .add_hosts
        .iter()
        .map(|(ip, names)| json!({"hostnames": names.split_whitespace().collect::<Vec<_>>(), "ip": ip}));
    put(spec, "hostAliases", aliases.collect());
    put(spec, "hostNetwork", json!(network.mode == NetworkMode::Host));
    put(spec, "hostPID", json!(shared.namespaces.pid == Namespace::Host));
    put(spec, "hostIPC", json!(shared.namespaces.ipc == Namespace::Host));
    if !matches!(shared.as_typed.userns.as_str(), "" | "host" | "private") {
        spec.insert("hostUsers".to_owned(), json!(false));
    }
    // The first digits of the ID, or the pod's name, are what it gets anyway.
    if shared.hostname != name && shared.hostname != shared.id.short() {
        put(spec, "hostname", json!(shared.hostname));
    }
    let usual = |entry: &(&String, &String)| NETWORK_SYSCTLS.contains(&(entry.0.as_str(), entry.1.as_str()));
    let asked = shared.sysctls.iter().filter(|entry| !usual(entry));
    let mut context = Map::new();
    put(&mut context, "sysctls", asked.map(|(name, value)| json!({"name": name, "value": value})).collect());
    put(spec, "securityContext", context.into());
}

fn texts(words: &[Bytes]) -> Value {
    words.iter().map(|word| Value::from(word.to_string_lossy())).collect()
}

fn container(member: &Member, volumes: &mut BTreeMap<String, Value>, how: How<'_>) -> Map<String, Value> {
    let (spec, image) = (&member.spec, &member.image);
    let mut map = Map::new();
    let is = |words: &[Bytes], of_image: &[String]| {
        words.len() == of_image.len()
            && words.iter().zip(of_image).all(|(word, image)| word.as_bytes() == image.as_bytes())
    };
    let (entrypoint, command) = (&spec.as_typed.entrypoint, &spec.as_typed.command);
    if !is(entrypoint, &image.entrypoint) {
        put(&mut map, "command", texts(entrypoint));
        put(&mut map, "args", texts(command));
    } else if !is(command, &image.cmd) {
        // Without an entrypoint the words are the command itself.
        put(&mut map, if entrypoint.is_empty() { "command" } else { "args" }, texts(command));
    }
    put(&mut map, "env", environment(spec, image));
    if let Some(origin) = &spec.image {
        put(&mut map, "image", json!(origin.name));
    }
    put(&mut map, "name", json!(member.name));
    put(&mut map, "livenessProbe", probe(spec));
    put(&mut map, "resources", resources(&spec.cgroup.limits));
    put(&mut map, "securityContext", security(spec, image));
    put(&mut map, "stdin", json!(spec.process.open_stdin));
    put(&mut map, "tty", json!(spec.process.terminal));
    put(&mut map, "volumeMounts", mounts(spec, volumes, how));
    let workdir = spec.process.cwd.to_string_lossy();
    if workdir != "/" && workdir != image.working_dir {
        put(&mut map, "workingDir", json!(workdir));
    }
    map
}

/// Variables that nobody has asked for.
fn environment(spec: &ContainerSpec, image: &ContainerDefaults) -> Value {
    let of_image: BTreeSet<&str> = image.env.iter().map(String::as_str).collect();
    let has_path = image.env.iter().any(|entry| entry.starts_with("PATH="));
    let is_own = |text: &&str| match text.split_once('=').unwrap_or((text, "")) {
        _ if of_image.contains(text) => false,
        ("container" | "HOME" | "HOSTNAME", _) => false,
        ("TERM", value) => !spec.process.terminal || !value.starts_with("xterm"),
        ("PATH", _) => has_path,
        _ => true,
    };
    let texts: Vec<String> =
        spec.process.env.iter().map(|entry| entry.to_string_lossy().into_owned()).collect();
    let entries = texts.iter().map(String::as_str).filter(is_own).map(|text| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        if value.is_empty() { json!({"name": name}) } else { json!({"name": name, "value": value}) }
    });
    entries.collect()
}

fn resources(limits: &Limits) -> Value {
    let (mut upper, mut lower) = (Map::new(), Map::new());
    if let Some(quota) = limits.cpu_quota_us.filter(|quota| *quota > 0) {
        let period = i64::try_from(limits.cpu_period_us.unwrap_or(CPU_PERIOD_US)).unwrap_or(1).max(1);
        let milli = quota.saturating_mul(1000) / period;
        let text = if milli % 1000 == 0 { (milli / 1000).to_string() } else { format!("{milli}m") };
        put(&mut upper, "cpu", json!(text));
    }
    put(&mut upper, "memory", json!(limits.memory.filter(|bytes| *bytes > 0).map(binary)));
    put(&mut lower, "memory", json!(limits.memory_reservation.filter(|bytes| *bytes > 0).map(binary)));
    let mut map = Map::new();
    put(&mut map, "limits", upper.into());
    put(&mut map, "requests", lower.into());
    map.into()
}

/// Bytes with the largest unit that leaves a whole number.
fn binary(bytes: i64) -> String {
    let units = [("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];
    let fits = units.iter().find(|(_, shift)| bytes % (1_i64 << shift) == 0);
    fits.map_or_else(|| bytes.to_string(), |(unit, shift)| format!("{}{unit}", bytes >> shift))
}

fn security(spec: &ContainerSpec, image: &ContainerDefaults) -> Value {
    let mut map = Map::new();
    if spec.security.no_new_privileges {
        map.insert("allowPrivilegeEscalation".to_owned(), json!(false));
    }
    let prefixed = |names: &[String]| -> Vec<String> {
        names
            .iter()
            .map(|name| name.to_uppercase())
            .map(|name| match name.as_str() {
                "ALL" => name,
                known if known.starts_with("CAP_") => name,
                known => format!("CAP_{known}"),
            })
            .collect()
    };
    let mut capabilities = Map::new();
    put(&mut capabilities, "add", json!(prefixed(&spec.as_typed.cap_add)));
    put(&mut capabilities, "drop", json!(prefixed(&spec.as_typed.cap_drop)));
    put(&mut map, "capabilities", capabilities.into());
    put(&mut map, "privileged", json!(spec.security.privileged));
    if !spec.security.privileged && spec.security.masked_paths.is_empty() {
        put(&mut map, "procMount", json!("Unmasked"));
    }
    put(&mut map, "readOnlyRootFilesystem", json!(spec.read_only));
    if spec.process.user != image.user {
        // Names mean nothing to Kubernetes.
        let (user, group) = spec.process.user.split_once(':').unwrap_or((&spec.process.user, ""));
        put(&mut map, "runAsUser", json!(user.parse::<u32>().ok()));
        put(&mut map, "runAsGroup", json!(group.parse::<u32>().ok()));
    }
    let selinux = spec.security.options.iter().find(|option| *option == "label=disable");
    put(&mut map, "seLinuxOptions", selinux.map_or(Value::Null, |_| json!({"type": "spc_t"})));
    map.into()
}

/// A health check as a probe.
fn probe(spec: &ContainerSpec) -> Value {
    let Some(plan) = &spec.health else { return Value::Null };
    let Some(words) = plan.check.words() else { return Value::Null };
    let seconds = |ns: u64| ns.div_ceil(1_000_000_000);
    let mut map = Map::from_iter([("exec".to_owned(), json!({"command": texts(&words)}))]);
    if plan.check.start_period_ns > 0 {
        put(&mut map, "initialDelaySeconds", json!(seconds(plan.check.start_period_ns)));
    }
    if plan.check.interval_ns > 0 {
        put(&mut map, "periodSeconds", json!(seconds(plan.check.interval_ns)));
    }
    put(&mut map, "timeoutSeconds", json!(seconds(plan.check.timeout_ns)));
    put(&mut map, "failureThreshold", json!(plan.check.retries));
    map.into()
}

/// The `emptyDir` of a tmpfs with these options.
fn in_memory(options: &[String]) -> Map<String, Value> {
    let mut dir = Map::from_iter([("medium".to_owned(), json!("Memory"))]);
    let size = options.iter().find_map(|option| option.strip_prefix("size="));
    let bytes = size.and_then(|size| crate::base::size::parse(size).ok());
    put(&mut dir, "sizeLimit", json!(bytes.and_then(|bytes| i64::try_from(bytes).ok()).map(binary)));
    dir
}

/// The mounts of a container; the volumes that they need come to `volumes`.
fn mounts(spec: &ContainerSpec, volumes: &mut BTreeMap<String, Value>, how: How<'_>) -> Value {
    let mut found = Vec::new();
    for mount in &spec.mounts {
        // Their names are the pod's: no two containers may have the same one for different volumes.
        let place = volumes.len();
        let mut entry = Map::from_iter([("mountPath".to_owned(), json!(mount.target.to_string_lossy()))]);
        let (name, volume) = match &mount.kind {
            MountKind::Bind { source, within, .. } => {
                let below = within.as_ref().and_then(|within| source.strip_prefix(within).ok());
                let source = within.as_ref().filter(|_| below.is_some()).unwrap_or(source);
                put(&mut entry, "subPath", json!(below.map(|below| below.to_string_lossy())));
                let path = source.to_string_lossy();
                let plain = match path.trim_matches('/') {
                    "" => "root".to_owned(),
                    path => path.replace(['/', '_', '.'], "-").to_lowercase(),
                };
                let name = format!("{plain}-host-{place}");
                let mut host = Map::from_iter([("path".to_owned(), json!(path))]);
                put(&mut host, "type", json!(how.host_kind.of(source)));
                (name.clone(), json!({"hostPath": host, "name": name}))
            }
            MountKind::Volume { name: of, anonymous: true, subpath, .. } => {
                put(&mut entry, "subPath", json!(subpath.as_ref().map(Bytes::to_string_lossy)));
                let name = of.chars().take(12).collect::<String>();
                let dir = match VolumeOptions::parse(&how.host_kind.volume_options(of)).map(|of| of.kind) {
                    Ok(VolumeKind::Tmpfs(options)) => in_memory(&options),
                    _ => Map::new(),
                };
                (name.clone(), json!({"emptyDir": dir, "name": name}))
            }
            MountKind::Volume { name: of, subpath, .. } => {
                put(&mut entry, "subPath", json!(subpath.as_ref().map(Bytes::to_string_lossy)));
                let name = format!("{of}-pvc");
                (name.clone(), json!({"name": name, "persistentVolumeClaim": {"claimName": of}}))
            }
            // These come with a read-only root.
            MountKind::Tmpfs { data, .. }
                if spec.read_only
                    && data.is_empty()
                    && matches!(mount.target.as_bytes(), b"/run" | b"/tmp" | b"/var/tmp") =>
            {
                continue;
            }
            MountKind::Tmpfs { data, .. } => {
                let name = format!("tmp-{place}");
                (name.clone(), json!({"emptyDir": in_memory(data), "name": name}))
            }
            MountKind::Image { reference, subpath, .. } => {
                put(&mut entry, "subPath", json!(subpath.as_ref().map(Bytes::to_string_lossy)));
                let name = format!("image-{place}");
                (name.clone(), json!({"image": {"reference": reference}, "name": name}))
            }
            _ => continue,
        };
        put(&mut entry, "name", json!(name));
        put(&mut entry, "readOnly", json!(mount.read_only));
        let propagation = match mount.propagation.as_deref() {
            Some("rshared" | "shared") => Some("Bidirectional"),
            Some("rslave" | "slave") => Some("HostToContainer"),
            _ => None,
        };
        put(&mut entry, "mountPropagation", json!(propagation));
        volumes.insert(name, volume);
        found.push(Value::from(entry));
    }
    found.into()
}

/// Annotations of a container, under its name.
fn notes(member: &Member, notes: &mut BTreeMap<String, String>, podman_only: bool) {
    let (name, spec) = (&member.name, &member.spec);
    for (key, value) in spec.annotations.iter().filter(|(key, _)| *key != "io.kubernetes.cri-o.SandboxID") {
        let suffix = format!("/{name}");
        let key = if key.ends_with(&suffix) { key.clone() } else { format!("{key}{suffix}") };
        notes.insert(key, value.clone());
    }
    let asked: Vec<String> = spec
        .process
        .rlimits
        .iter()
        .filter(|limit| !limit.is_default)
        .map(|limit| format!("{}={}:{}", limit.name, limit.soft, limit.hard))
        .collect();
    if !asked.is_empty() {
        notes.insert("io.podman.annotations.ulimit".to_owned(), asked.join(","));
    }
    if !matches!(spec.as_typed.userns.as_str(), "" | "host" | "private")
        && !spec.as_typed.userns.starts_with("container:")
    {
        notes.insert("io.podman.annotations.userns".to_owned(), spec.as_typed.userns.clone());
    }
    if !podman_only {
        return;
    }
    let mut own = |key: &str, value: &str| {
        notes.insert(format!("io.podman.annotations.{key}/{name}"), value.to_owned());
    };
    if spec.auto_remove {
        own("autoremove", "TRUE");
    }
    if spec.init {
        own("init", "TRUE");
    }
    if let Some(pids) =
        spec.cgroup.limits.pids.filter(|pids| *pids > 0 && *pids != crate::base::limits::DEFAULT_PIDS)
    {
        own("pids-limit", &pids.to_string());
    }
    for label in spec.security.options.iter().filter_map(|option| option.strip_prefix("label=")) {
        own("label", label);
    }
    if !spec.as_typed.volumes_from.is_empty() {
        own("volumes-from", &spec.as_typed.volumes_from.join(";"));
    }
}
