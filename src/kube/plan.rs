//! A pod of a manifest as requests to the engine.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use crate::base::bytes::Bytes;
use crate::base::device;
use crate::base::limits::{CPU_PERIOD_US, Cgroup, Limits};
use crate::base::pod::{ExitPolicy, InitKind, Share};
use crate::base::rlimit::{self, Ulimit};
use crate::base::signal::Signal;
use crate::base::spec::{RestartPolicy, Rlimit};
use crate::engine::pod::PodRequest;
use crate::engine::request::ContainerRequest;
use crate::engine::{Error, Result};
use crate::kube::types::{Container, Data, Pod, Restart, Seccomp};
use crate::kube::volumes::Had;
use crate::kube::{ports, probes, variables, volumes};

/// The network of pods for which nothing else is said: podman's, on which they know each other by name.
pub(crate) const NETWORK: &str = "podman-default-kube-network";

/// Annotations that say something; most have the name of a container behind a slash.
mod annotation {
    pub(super) const USERNS: &str = "io.podman.annotations.userns";
    pub(super) const INFRA_NAME: &str = "io.podman.annotations.infra.name";
    pub(super) const AUTOREMOVE: &str = "io.podman.annotations.autoremove";
    pub(super) const INIT: &str = "io.podman.annotations.init";
    pub(super) const LABEL: &str = "io.podman.annotations.label";
    pub(super) const PIDS_LIMIT: &str = "io.podman.annotations.pids-limit";
    pub(super) const ULIMIT: &str = "io.podman.annotations.ulimit";
    pub(super) const VOLUMES_FROM: &str = "io.podman.annotations.volumes-from";
    pub(super) const INIT_TYPE: &str = "io.podman.annotations.init.container.type";
    pub(super) const KEEP_GROUPS: &str = "run.oci.keep_original_groups";
    pub(super) const SANDBOX: &str = "io.kubernetes.cri-o.SandboxID";
    pub(super) const SDNOTIFY: &str = "io.containers.sdnotify";
    /// A label of the containers, under the same name.
    pub(super) const AUTO_UPDATE: &str = "io.containers.autoupdate";
    pub(super) const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
    pub(super) const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io";
}

/// What the command line says for all pods of a manifest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) networks: Vec<String>,
    pub(crate) publish: Vec<String>,
    pub(crate) publish_all: bool,
    pub(crate) userns: Option<String>,
    pub(crate) no_hosts: bool,
    pub(crate) no_hostname: bool,
    pub(crate) log_driver: Option<String>,
    pub(crate) log_options: Vec<String>,
    pub(crate) seccomp_root: PathBuf,
    /// The label with the unit of systemd that the pods belong to.
    pub(crate) unit: Option<(String, String)>,
    /// The command line.
    pub(crate) create_command: Vec<Bytes>,
}

/// What a plan has to know beside the manifest.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) config_maps: &'a BTreeMap<String, Data>,
    /// A secret of the store.
    pub(crate) secret: &'a dyn Fn(&str) -> Option<Data>,
    /// What the machine has.
    pub(crate) cpus: i128,
    pub(crate) memory_bytes: i128,
    /// The pod's ID, and that of its infra container, once there are such.
    pub(crate) pod_id: &'a str,
    pub(crate) infra_id: &'a str,
    /// The names of the volumes that `emptyDir`s are.
    pub(crate) passing: &'a BTreeMap<String, String>,
    /// The pods before this one in the manifest.
    pub(crate) earlier: &'a [&'a Pod],
}

/// The pod itself; `address` and `mac` are those of its one network.
///
/// # Errors
///
/// Two containers of one name; ports that mean nothing.
pub(crate) fn pod(
    pod: &Pod,
    options: &Options,
    address: Option<IpAddr>,
    mac: Option<&str>,
) -> Result<PodRequest> {
    let mut names = BTreeSet::new();
    let all = || pod.init_containers.iter().chain(&pod.containers);
    if let Some(twice) = all().find(|container| !names.insert(container.name.as_str())) {
        return Err(Error::invalid(format!(
            "the pod {:?} is invalid; duplicate container name {:?} detected",
            pod.meta.name, twice.name
        )));
    }
    let networks = match &options.networks[..] {
        [] if pod.host_network => vec!["host".to_owned()],
        [] => vec![NETWORK.to_owned()],
        named => named.to_vec(),
    };
    let is_host = networks == ["host"];
    let is_named = |network: &String| {
        let word = network.split(':').next().unwrap_or_default();
        !matches!(word, "none" | "host" | "container" | "ns" | "private" | "pasta" | "slirp4netns")
    };
    // On the host's network a port is where it is.
    let publish =
        if is_host { Vec::new() } else { ports::published(pod, options.publish_all, &options.publish)? };
    let of_userns = options.userns.clone().or_else(|| pod.meta.annotations.get(annotation::USERNS).cloned());
    let userns = of_userns.or_else(|| (pod.host_users == Some(false)).then(|| "auto".to_owned()));
    let host = |is: bool| if is { "host".to_owned() } else { String::new() };
    let infra = ContainerRequest {
        name: pod.meta.annotations.get(annotation::INFRA_NAME).cloned(),
        network_aliases: match networks.iter().all(is_named) {
            true => pod
                .containers
                .iter()
                .map(|container| container.name.clone())
                .filter(|n| !n.is_empty())
                .collect(),
            false => Vec::new(),
        },
        networks,
        publish,
        ip: address.filter(IpAddr::is_ipv4).map(|ip| ip.to_string()),
        ip6: address.filter(IpAddr::is_ipv6).map(|ip| ip.to_string()),
        mac: mac.map(str::to_owned),
        userns: userns.unwrap_or_default(),
        pid: host(pod.host_pid),
        ipc: host(pod.host_ipc),
        add_hosts: pod
            .host_aliases
            .iter()
            .flat_map(|(ip, names)| names.iter().map(move |name| format!("{name}:{ip}")))
            .collect(),
        dns: pod.dns.servers.clone(),
        dns_search: pod.dns.searches.clone(),
        dns_options: pod.dns.options.clone(),
        sysctls: pod.sysctls.clone(),
        no_hosts: options.no_hosts,
        no_hostname: options.no_hostname,
        sdnotify: Some("ignore".to_owned()),
        create_command: options.create_command.clone(),
        ..ContainerRequest::default()
    };
    let mut share = vec![Share::Ipc, Share::Net, Share::Uts];
    if pod.share_pid || pod.host_pid {
        share.push(Share::Pid);
    }
    Ok(PodRequest {
        name: Some(pod.meta.name.clone()),
        labels: pod.meta.labels.clone(),
        share,
        hostname: pod.hostname.clone().filter(|_| !is_host),
        infra: Some(infra),
        exit_policy: Some(ExitPolicy::Stop),
        restart: Some(restart(pod.restart)),
        create_command: options.create_command.clone(),
        ..PodRequest::default()
    })
}

fn restart(policy: Restart) -> RestartPolicy {
    match policy {
        Restart::Always => RestartPolicy::Always,
        Restart::OnFailure => RestartPolicy::OnFailure { max: 0 },
        Restart::Never => RestartPolicy::No,
    }
}

/// The name of a pod's container.
pub(crate) fn container_name(pod: &Pod, container: &str) -> String {
    format!("{}-{container}", pod.meta.name)
}

/// One of a pod's containers; `init` for one of those that run to their end before the others.
///
/// # Errors
///
/// What refers to something that is not there; values that mean nothing.
pub(crate) fn container(
    pod: &Pod,
    container: &Container,
    init: bool,
    options: &Options,
    facts: &Facts<'_>,
) -> Result<ContainerRequest> {
    let notes = Annotations { pod, container: &container.name };
    let variables = variables::of(pod, container, facts)?;
    let words = |words: &[String]| -> Vec<Bytes> {
        words.iter().map(|word| Bytes::from(variables.expand(word.as_bytes()))).collect()
    };
    let mut request = ContainerRequest {
        image: container.image.clone(),
        pod: Some(facts.pod_id.to_owned()),
        name: Some(container_name(pod, &container.name)),
        entrypoint: (!container.command.is_empty()).then(|| words(&container.command)),
        command: words(&container.args),
        env: variables.entries(),
        workdir: container.workdir.as_deref().map(Bytes::from),
        make_workdir: true,
        terminal: container.tty,
        interactive: container.stdin,
        labels: pod.meta.labels.clone(),
        annotations: pod.meta.annotations.clone(),
        cgroup: cgroup(container, &notes)?,
        pid: if pod.host_pid { "host".to_owned() } else { String::new() },
        ipc: if pod.host_ipc { "host".to_owned() } else { String::new() },
        no_hosts: options.no_hosts,
        no_hostname: options.no_hostname,
        log_driver: options.log_driver.clone(),
        log_options: options.log_options.clone(),
        stop_timeout_s: pod.grace_s,
        auto_remove: notes.flag(annotation::AUTOREMOVE)?,
        init: notes.flag(annotation::INIT)?,
        ulimits: ulimits(pod)?,
        volumes_from: notes.volumes_from(),
        // What is several containers is told of as a whole.
        sdnotify: Some(notes.of_container_or_pod(annotation::SDNOTIFY).unwrap_or("ignore").to_owned()),
        create_command: options.create_command.clone(),
        ..ContainerRequest::default()
    };
    if !facts.infra_id.is_empty() {
        request.annotations.insert(annotation::SANDBOX.to_owned(), facts.infra_id.to_owned());
    }
    let update =
        [annotation::AUTO_UPDATE.to_owned(), format!("{}/{}", annotation::AUTO_UPDATE, container.name)];
    for value in update.iter().filter_map(|key| pod.meta.annotations.get(key)) {
        request.labels.insert(annotation::AUTO_UPDATE.to_owned(), value.clone());
    }
    request.labels.extend(options.unit.clone());
    if init {
        let always = pod.meta.annotations.get(annotation::INIT_TYPE).is_some_and(|kind| kind == "always");
        request.init_container = Some(if always { InitKind::Always } else { InitKind::Once });
        request.restart = Some(RestartPolicy::No);
    } else {
        request.restart = (!request.auto_remove).then(|| restart(pod.restart));
        request.health = probes::health(container, pod.restart)?;
    }
    if let Some(signal) = container.stop_signal.as_deref().filter(|signal| !signal.is_empty()) {
        let signal: Signal = signal.parse().map_err(|err| Error::invalid(format!("stopSignal: {err}")))?;
        request.stop_signal = Some(signal.number());
    }
    devices(container, &mut request)?;
    security(pod, container, &notes, options, &mut request);
    for mount in &container.mounts {
        let sub_path = match mount.expand {
            true => variables.expand_text(&mount.sub_path),
            false => mount.sub_path.clone(),
        };
        match volumes::had(pod, mount, &sub_path, facts)? {
            None => {}
            Some(Had::Device(device)) => request.devices.push(device),
            Some(Had::Mount(mount)) => request.mounts.push(*mount),
        }
    }
    request.passing_volumes = facts.passing.values().cloned().collect();
    Ok(request)
}

/// A pod's annotations, as one container sees them.
struct Annotations<'a> {
    pod: &'a Pod,
    container: &'a str,
}

impl Annotations<'_> {
    /// The value of `key/CONTAINER`.
    fn own(&self, key: &str) -> Option<&str> {
        self.pod.meta.annotations.get(&format!("{key}/{}", self.container)).map(String::as_str)
    }

    /// The same, or the value of `key`, which is for all containers.
    fn of_container_or_pod(&self, key: &str) -> Option<&str> {
        self.own(key).or_else(|| self.pod.meta.annotations.get(key).map(String::as_str))
    }

    fn flag(&self, key: &str) -> Result<bool> {
        let Some(text) = self.own(key) else { return Ok(false) };
        crate::base::truth::parse(text).ok_or_else(|| {
            Error::invalid(format!("annotation {key}/{}: {text:?} is no truth value", self.container))
        })
    }

    /// The containers whose volumes this one has as well; those of the pod by their names in it.
    fn volumes_from(&self) -> Vec<String> {
        let Some(text) = self.own(annotation::VOLUMES_FROM) else { return Vec::new() };
        let full = |from: &str| {
            let (name, options) =
                from.split_once(':').map_or((from, None), |(name, options)| (name, Some(options)));
            let is_ours = self.pod.containers.iter().any(|container| container.name == name);
            let name = if is_ours { container_name(self.pod, name) } else { name.to_owned() };
            options.map_or(name.clone(), |options| format!("{name}:{options}"))
        };
        text.split(';').filter(|from| !from.is_empty()).map(full).collect()
    }
}

fn ulimits(pod: &Pod) -> Result<Vec<Rlimit>> {
    let Some(text) = pod.meta.annotations.get(annotation::ULIMIT) else { return Ok(Vec::new()) };
    let limit = |text: &str| match rlimit::parse(text) {
        Ok(Ulimit::Limit(limit)) => Ok(Some(limit)),
        Ok(Ulimit::Host) => Ok(None),
        Err(err) => Err(Error::invalid(format!("annotation {}: {err}", annotation::ULIMIT))),
    };
    text.split(',').filter_map(|text| limit(text).transpose()).collect()
}

fn cgroup(container: &Container, notes: &Annotations<'_>) -> Result<Cgroup> {
    let period = i64::try_from(CPU_PERIOD_US).unwrap_or(i64::MAX);
    let cpu = container.limits.get("cpu").map(|cpu| cpu.milli()).filter(|milli| *milli > 0);
    let bytes = |of: &BTreeMap<String, crate::kube::quantity::Quantity>| {
        of.get("memory").map(|memory| memory.value()).filter(|bytes| *bytes > 0)
    };
    let pids = notes.own(annotation::PIDS_LIMIT).map(|text| {
        let count = text.parse::<i64>();
        count.map_err(|_| {
            Error::invalid(format!("annotation {}: {text:?} is no number", annotation::PIDS_LIMIT))
        })
    });
    let limits = Limits {
        memory: bytes(&container.limits),
        memory_reservation: bytes(&container.requests),
        cpu_quota_us: cpu.map(|milli| milli.saturating_mul(period) / 1000),
        cpu_period_us: cpu.map(|_| CPU_PERIOD_US),
        pids: pids.transpose()?.map(crate::base::limits::pids),
        ..Limits::default()
    };
    Ok(Cgroup { limits, ..Cgroup::default() })
}

/// Devices, which limits with an equals sign in their names are.
fn devices(container: &Container, request: &mut ContainerRequest) -> Result<()> {
    for name in container.limits.keys().filter(|name| name.contains('=')) {
        match name.strip_prefix("podman.io/device=") {
            Some(path) => request
                .devices
                .push(device::parse(path).ok_or_else(|| Error::invalid(format!("invalid device {path:?}")))?),
            None => request.cdi_devices.push(name.clone()),
        }
    }
    Ok(())
}

/// What confines a container: its own context counts more than its pod's.
fn security(
    pod: &Pod,
    container: &Container,
    notes: &Annotations<'_>,
    options: &Options,
    request: &mut ContainerRequest,
) {
    let (own, all) = (&container.security, &pod.security);
    let user = own.user.or(all.user);
    let group = own.group.or(all.group);
    request.user = match (user, group) {
        (None, None) => None,
        (Some(user), None) => Some(user.to_string()),
        (user, Some(group)) => Some(format!("{}:{group}", user.unwrap_or(0))),
    };
    request.groups = pod.supplemental_groups.iter().map(u32::to_string).collect();
    if pod.meta.annotations.get(annotation::KEEP_GROUPS).is_some_and(|text| text == "1") {
        request.groups = vec!["keep-groups".to_owned()];
    }
    request.privileged = own.privileged.unwrap_or(false);
    request.read_only = own.read_only_root.unwrap_or(false);
    // As podman has it: /run, /tmp and /var/tmp can be written to.
    request.read_only_tmpfs = true;
    request.cap_add.clone_from(&own.cap_add);
    request.cap_drop.clone_from(&own.cap_drop);
    let mut said = Vec::new();
    if own.escalation == Some(false) {
        said.push("no-new-privileges".to_owned());
    }
    if own.unmasked {
        said.push("unmask=ALL".to_owned());
    }
    let labels = if own.selinux.is_empty() { &all.selinux } else { &own.selinux };
    said.extend(labels.iter().map(|label| format!("label={label}")));
    said.extend(notes.own(annotation::LABEL).map(|label| format!("label={label}")));
    let seccomp = own.seccomp.clone();
    let seccomp = seccomp.or_else(|| notes.own(annotation::SECCOMP_CONTAINER).and_then(profile));
    let seccomp = seccomp.or_else(|| all.seccomp.clone());
    let of_pod = || pod.meta.annotations.get(annotation::SECCOMP_POD).and_then(|text| profile(text));
    match seccomp.or_else(of_pod) {
        None | Some(Seccomp::RuntimeDefault) => {}
        Some(Seccomp::Unconfined) => said.push("seccomp=unconfined".to_owned()),
        Some(Seccomp::Localhost(file)) => {
            said.push(format!("seccomp={}", options.seccomp_root.join(file).display()));
        }
    }
    request.security_options = said;
}

/// The profile that an annotation of old names.
fn profile(text: &str) -> Option<Seccomp> {
    match text {
        "unconfined" => Some(Seccomp::Unconfined),
        "runtime/default" | "docker/default" => Some(Seccomp::RuntimeDefault),
        _ => text.strip_prefix("localhost/").map(|file| Seccomp::Localhost(file.to_owned())),
    }
}

#[cfg(test)]
pub(in crate::kube) mod tests {
    use super::*;
    use crate::kube::read;
    use crate::kube::types::Object;

    static NO_MAPS: BTreeMap<String, Data> = BTreeMap::new();
    static NO_NAMES: BTreeMap<String, String> = BTreeMap::new();

    fn secret(name: &str) -> Option<Data> {
        (name == "sec").then(|| Data::from([("sk".to_owned(), b"sv".to_vec())]))
    }

    /// A machine with two processors and 16 GiB, and one secret.
    pub(in crate::kube) fn facts() -> Facts<'static> {
        Facts {
            config_maps: &NO_MAPS,
            secret: &secret,
            cpus: 2,
            memory_bytes: 16 << 30,
            pod_id: "feed",
            infra_id: "beef",
            passing: &NO_NAMES,
            earlier: &[],
        }
    }

    /// The pod of a manifest without its first line.
    pub(in crate::kube) fn pod(text: &str) -> Pod {
        match read::objects(&format!("kind: Pod\n{text}")).unwrap().remove(0) {
            Object::Pod(pod) => *pod,
            other => panic!("{other:?}"),
        }
    }

    fn request(text: &str) -> ContainerRequest {
        let pod = pod(text);
        super::container(&pod, &pod.containers[0], false, &Options::default(), &facts()).unwrap()
    }

    #[test]
    fn a_pod() {
        let manifest = pod(
            "metadata: {name: p, labels: {l: m}, annotations: {io.podman.annotations.infra.name: inf}}\nspec:\n  hostname: h\n  \
            shareProcessNamespace: true\n  hostAliases: [{ip: 1.2.3.4, hostnames: [a, b]}]\n  dnsConfig: {nameservers: [9.9.9.9], searches: [s], options: [{name: ndots, value: 2}, {name: debug}]}\n  \
            securityContext: {sysctls: [{name: net.x, value: 80}]}\n  restartPolicy: OnFailure\n  containers: [{name: c, ports: [{containerPort: 80, hostPort: 8080}]}]\n",
        );
        let options = Options { no_hosts: true, ..Options::default() };
        let request = super::pod(&manifest, &options, Some("10.0.0.9".parse().unwrap()), None).unwrap();
        let infra = request.infra.unwrap();
        assert_eq!((request.name.as_deref(), request.hostname.as_deref()), (Some("p"), Some("h")));
        assert_eq!(request.share, [Share::Ipc, Share::Net, Share::Uts, Share::Pid]);
        assert_eq!(request.restart, Some(RestartPolicy::OnFailure { max: 0 }));
        assert_eq!(infra.networks, [NETWORK]);
        assert_eq!(
            (infra.publish, infra.network_aliases),
            (vec!["8080:80/tcp".to_owned()], vec!["c".to_owned()])
        );
        assert_eq!(infra.add_hosts, ["a:1.2.3.4", "b:1.2.3.4"]);
        assert_eq!(
            (infra.dns, infra.dns_options),
            (vec!["9.9.9.9".to_owned()], vec!["ndots:2".to_owned(), "debug".to_owned()])
        );
        assert_eq!(
            (infra.ip.as_deref(), infra.ip6, infra.name.as_deref()),
            (Some("10.0.0.9"), None, Some("inf"))
        );
        assert_eq!(infra.sysctls["net.x"], "80");
        assert!(infra.no_hosts);
    }

    #[test]
    fn a_pod_on_the_hosts_namespaces() {
        let manifest = pod(
            "metadata: {name: p}\nspec: {hostNetwork: true, hostPID: true, hostIPC: true, hostUsers: false, hostname: h, \
            containers: [{name: c, ports: [{containerPort: 80, hostPort: 80}]}]}\n",
        );
        let request = super::pod(&manifest, &Options::default(), None, None).unwrap();
        let infra = request.infra.unwrap();
        assert_eq!(infra.networks, ["host"]);
        assert_eq!((infra.pid.as_str(), infra.ipc.as_str(), infra.userns.as_str()), ("host", "host", "auto"));
        assert!(infra.publish.is_empty() && infra.network_aliases.is_empty() && request.hostname.is_none());
        let twice =
            pod("metadata: {name: p}\nspec: {containers: [{name: c}], initContainers: [{name: c}]}\n");
        let err = super::pod(&twice, &Options::default(), None, None).unwrap_err();
        assert_eq!(err.to_string(), "the pod \"p\" is invalid; duplicate container name \"c\" detected");
    }

    #[test]
    fn a_container() {
        let request = request(
            "metadata: {name: p, labels: {l: m}, annotations: {a: b, io.podman.annotations.autoremove/c: 'true', io.podman.annotations.init/c: 'TRUE', \
            io.podman.annotations.ulimit: 'nofile=1:2,nproc=3', io.podman.annotations.volumes-from/c: 'd:ro;x', io.podman.annotations.pids-limit/c: '9', io.containers.autoupdate: registry}}\n\
            spec:\n  terminationGracePeriodSeconds: 3\n  containers:\n  - name: c\n    image: i\n    command: [a, $(E)]\n    args: [$(E)x]\n    env: [{name: E, value: e}]\n    \
            workingDir: /w\n    tty: true\n    stdin: true\n    lifecycle: {stopSignal: SIGUSR1}\n    \
            resources: {limits: {cpu: 500m, memory: 100Mi, vendor.com/gpu=all: 1, podman.io/device=/dev/fuse: 1}, requests: {cpu: 1, memory: 50Mi}}\n  - name: d\n",
        );
        let text = |words: &[Bytes]| -> Vec<String> {
            words.iter().map(|w| w.to_string_lossy().into_owned()).collect()
        };
        assert_eq!(text(&request.entrypoint.unwrap()), ["a", "e"]);
        assert_eq!(
            (text(&request.command), text(&request.env)),
            (vec!["ex".to_owned()], vec!["E=e".to_owned()])
        );
        assert_eq!((request.name.as_deref(), request.pod.as_deref()), (Some("p-c"), Some("feed")));
        assert_eq!((request.stop_timeout_s, request.stop_signal), (Some(3), Some(libc::SIGUSR1)));
        assert!(request.terminal && request.interactive && request.auto_remove && request.init);
        assert_eq!(request.restart, None, "what is removed at its end is not started again");
        let limits = request.cgroup.limits;
        assert_eq!((limits.memory, limits.memory_reservation), (Some(100 << 20), Some(50 << 20)));
        assert_eq!((limits.cpu_quota_us, limits.pids), (Some(50_000), Some(9)));
        assert_eq!((request.cdi_devices, request.devices.len()), (vec!["vendor.com/gpu=all".to_owned()], 1));
        assert_eq!(request.volumes_from, ["p-d:ro", "x"]);
        assert_eq!((request.ulimits.len(), request.ulimits[0].hard), (2, 2));
        assert_eq!(request.annotations["io.kubernetes.cri-o.SandboxID"], "beef");
        assert_eq!(
            request.labels,
            BTreeMap::from([
                ("l".to_owned(), "m".to_owned()),
                ("io.containers.autoupdate".to_owned(), "registry".to_owned())
            ])
        );
    }

    #[test]
    fn security_contexts() {
        let of = |all: &str, own: &str, notes: &str| {
            request(&format!(
                "metadata: {{name: p, annotations: {{{notes}}}}}\nspec: {{securityContext: {{{all}}}, containers: [{{name: c, securityContext: {{{own}}}}}]}}\n"
            ))
        };
        let one = of(
            "runAsUser: 5, runAsGroup: 6, supplementalGroups: [77], seLinuxOptions: {level: s0}, seccompProfile: {type: Unconfined}",
            "runAsUser: 0, capabilities: {add: [NET_ADMIN], drop: [ALL]}, privileged: true, readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, procMount: Unmasked",
            "",
        );
        assert_eq!((one.user.as_deref(), one.groups), (Some("0:6"), vec!["77".to_owned()]));
        assert!(one.privileged && one.read_only);
        assert_eq!((one.cap_add, one.cap_drop), (vec!["NET_ADMIN".to_owned()], vec!["ALL".to_owned()]));
        assert_eq!(
            one.security_options,
            ["no-new-privileges", "unmask=ALL", "label=level:s0", "seccomp=unconfined"]
        );
        assert_eq!(of("runAsGroup: 6", "", "").user.as_deref(), Some("0:6"));
        assert_eq!(of("", "", "").user, None);
        let files = of("", "seccompProfile: {type: Localhost, localhostProfile: a/b.json}", "");
        assert_eq!(files.security_options, ["seccomp=a/b.json"]);
        let old = of(
            "seccompProfile: {type: RuntimeDefault}",
            "",
            "container.seccomp.security.alpha.kubernetes.io/c: localhost/x, seccomp.security.alpha.kubernetes.io/pod: unconfined",
        );
        assert_eq!(old.security_options, ["seccomp=x"]);
        assert_eq!(of("", "", "run.oci.keep_original_groups: '1'").groups, ["keep-groups"]);
    }
}
