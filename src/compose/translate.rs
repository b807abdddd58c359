//! From what a file says of a service to the request for its container. Pure: secrets and configs have
//! their files already.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::base::bytes::Bytes;
use crate::base::limits::{CPU_PERIOD_US, Cgroup, DeviceRate, Limits};
use crate::base::network;
use crate::base::order;
use crate::base::order::InOrder as _;
use crate::base::signal::Signal;
use crate::base::spec::{Device, RestartPolicy, Rlimit};
use crate::compose::mounts::mounts;
use crate::compose::node::{Kind, Map, Node};
use crate::compose::project::Project;
use crate::compose::scalars::duration_ns;
use crate::engine::request::{ContainerRequest, HealthRequest};
use crate::engine::{Error, Result, cdi};

/// Files that secrets and configs are mounted from, by section and name.
pub(crate) type Files = BTreeMap<(&'static str, String), PathBuf>;

/// The request for a service's container, with `aliases` under the service's names on its networks.
///
/// # Errors
///
/// Values that ketch understands differently than the file's author.
pub(crate) fn request(
    project: &Project,
    name: &str,
    service: &Node,
    number: u32,
    files: &Files,
    aliases: bool,
) -> Result<ContainerRequest> {
    let mut labels = pairs(service.get("labels"));
    labels.extend(project.labels(name, number));
    let mut request = ContainerRequest {
        image: project.image(name),
        name: Some(project.container_name(name, number)),
        labels,
        annotations: pairs(service.get("annotations")),
        command: words(service.get("command")),
        entrypoint: service.get("entrypoint").map(|node| words(Some(node))),
        env: environment(service.get("environment")),
        user: text(service, "user"),
        groups: texts(service, "group_add"),
        workdir: text(service, "working_dir").map(Bytes::from),
        hostname: text(service, "hostname"),
        domainname: text(service, "domainname"),
        terminal: service.flag("tty"),
        interactive: service.flag("stdin_open"),
        init: service.flag("init"),
        read_only: service.flag("read_only"),
        writable_dev: true,
        privileged: service.flag("privileged"),
        cap_add: texts(service, "cap_add"),
        cap_drop: texts(service, "cap_drop"),
        security_options: texts(service, "security_opt"),
        sysctls: pairs(service.get("sysctls")),
        shm_size_bytes: text(service, "shm_size").and_then(|size| size.parse().ok()),
        userns: text(service, "userns_mode").unwrap_or_default(),
        uts: text(service, "uts").unwrap_or_default(),
        cgroupns: text(service, "cgroup").unwrap_or_default(),
        pid: namespace(project, service, "pid"),
        ipc: namespace(project, service, "ipc"),
        dns: texts(service, "dns"),
        dns_search: texts(service, "dns_search"),
        dns_options: texts(service, "dns_opt"),
        expose: texts(service, "expose"),
        add_hosts: texts(service, "extra_hosts").iter().map(|host| host.replacen('=', ":", 1)).collect(),
        devices: devices(service),
        device_rules: texts(service, "device_cgroup_rules")
            .iter()
            .map(|rule| rule.parse().map_err(Error::invalid))
            .collect::<Result<_>>()?,
        cdi_devices: gpus(name, service)?,
        ulimits: ulimits(service),
        oom_score_adj: int(service.get("oom_score_adj")).and_then(|score| i32::try_from(score).ok()),
        volumes_from: volumes_from(project, service),
        publish: list(service, "ports").iter().map(port).collect(),
        health: health(service.get("healthcheck"))?,
        log_driver: service.get("logging").and_then(|logging| text(logging, "driver")),
        log_options: options(service.get("logging").and_then(|logging| logging.get("options"))),
        restart: restart(name, service)?,
        stop_signal: stop_signal(name, service)?,
        stop_timeout_s: text(service, "stop_grace_period").and_then(|period| seconds(&period)),
        ..ContainerRequest::default()
    };
    request.take_as_docker();
    networks(project, name, service, aliases, &mut request);
    request.cgroup = cgroup(service);
    mounts(project, service, files, &mut request)?;
    Ok(request)
}

pub(super) fn text(node: &Node, key: &str) -> Option<String> {
    node.str_at(key).map(str::to_owned)
}

pub(crate) fn list<'a>(node: &'a Node, key: &str) -> &'a [Node] {
    node.get(key).and_then(Node::as_list).unwrap_or_default()
}

pub(crate) fn texts(node: &Node, key: &str) -> Vec<String> {
    list(node, key).iter().filter_map(Node::scalar_text).collect()
}

pub(super) fn words(node: Option<&Node>) -> Vec<Bytes> {
    let words = node.and_then(Node::as_list).unwrap_or_default();
    words.iter().filter_map(Node::scalar_text).map(Bytes::from).collect()
}

pub(crate) fn int(node: Option<&Node>) -> Option<i64> {
    match node.map(|node| &node.kind) {
        Some(Kind::Int(value)) => Some(*value),
        _ => None,
    }
}

pub(crate) fn pairs(node: Option<&Node>) -> BTreeMap<String, String> {
    let map = node.and_then(Node::as_map);
    order::map(
        map.into_iter().flatten().map(|(key, value)| (key.clone(), value.scalar_text().unwrap_or_default())),
    )
}

fn options(node: Option<&Node>) -> Vec<String> {
    pairs(node).into_iter().map(|(key, value)| format!("{key}={value}")).collect()
}

/// `NAME=value`; a name that has no value anywhere is left out.
pub(super) fn environment(node: Option<&Node>) -> Vec<Bytes> {
    let map = node.and_then(Node::as_map);
    let set = map.into_iter().flatten().filter_map(|(name, value)| Some((name, value.scalar_text()?)));
    set.map(|(name, value)| Bytes::from(format!("{name}={value}"))).collect()
}

/// `service:NAME` is that service's first container.
fn namespace(project: &Project, service: &Node, key: &str) -> String {
    let mode = text(service, key).unwrap_or_default();
    match mode.strip_prefix("service:") {
        Some(other) => format!("container:{}", project.container_name(other, 1)),
        None => mode,
    }
}

fn volumes_from(project: &Project, service: &Node) -> Vec<String> {
    texts(service, "volumes_from")
        .iter()
        .map(|from| match from.strip_prefix("container:") {
            Some(container) => container.to_owned(),
            None => {
                let (other, mode) = from.split_once(':').map_or((from.as_str(), None), |(s, m)| (s, Some(m)));
                let container = project.container_name(other, 1);
                mode.map_or(container.clone(), |mode| format!("{container}:{mode}"))
            }
        })
        .collect()
}

/// The name that the interface of a network must have, if it matters; takes its kernel parameters.
fn interface(node: &Node, place: usize, sysctls: &mut BTreeMap<String, String>) -> Option<String> {
    let mut options = pairs(node.get("driver_opts"));
    network::interface_of(&mut options, text(node, "interface_name"), place, sysctls)
}

fn networks(project: &Project, name: &str, service: &Node, aliases: bool, request: &mut ContainerRequest) {
    if service.get("network_mode").is_some() {
        request.networks = vec![namespace(project, service, "network_mode")];
        return;
    }
    let empty = Map::new();
    let map = service.get("networks").and_then(Node::as_map).unwrap_or(&empty);
    let mut networks: Vec<(&String, &Node)> = map.iter().collect();
    // The one with the highest priority comes first, and has the default route.
    networks.order_by_key(|(key, node)| (-int(node.get("priority")).unwrap_or(0), (*key).clone()));
    for (place, (key, node)) in networks.into_iter().enumerate() {
        let mut options = Vec::new();
        if aliases {
            let own = request.name.iter().map(String::as_str);
            options.extend(own.chain([name]).map(|alias| format!("alias={alias}")));
            options.extend(texts(node, "aliases").iter().map(|alias| format!("alias={alias}")));
        }
        options.extend(text(node, "ipv4_address").map(|ip| format!("ip={ip}")));
        options.extend(text(node, "ipv6_address").map(|ip| format!("ip6={ip}")));
        options.extend(texts(node, "link_local_ips").iter().map(|ip| format!("link-local-ip={ip}")));
        options.extend(
            text(node, "mac_address")
                .or_else(|| text(service, "mac_address"))
                .map(|mac| format!("mac={mac}")),
        );
        options.extend(int(node.get("gw_priority")).map(|priority| format!("gw-priority={priority}")));
        options.extend(
            interface(node, place, &mut request.sysctls).map(|name| format!("interface_name={name}")),
        );
        let network = project.full_name("networks", key);
        request.networks.push(match options.is_empty() {
            true => network,
            false => format!("{network}:{}", options.join(",")),
        });
    }
    for link in texts(service, "links") {
        // Without an alias the service's own name is known on the network anyway.
        if let Some((other, alias)) = link.split_once(':').filter(|(other, alias)| other != alias) {
            request.links.push(format!("{}:{alias}", project.container_name(other, 1)));
        }
    }
    request.links.extend(texts(service, "external_links"));
}

/// `[IP:]HOST:CONTAINER/PROTOCOL`.
fn port(port: &Node) -> String {
    let target = port.get("target").and_then(Node::scalar_text).unwrap_or_default();
    let protocol = port.str_at("protocol").unwrap_or("tcp");
    let published = port.str_at("published").unwrap_or_default();
    match port.str_at("host_ip").filter(|ip| !ip.is_empty()) {
        Some(ip) if ip.contains(':') => format!("[{ip}]:{published}:{target}/{protocol}"),
        Some(ip) => format!("{ip}:{published}:{target}/{protocol}"),
        None if published.is_empty() => format!("{target}/{protocol}"),
        None => format!("{published}:{target}/{protocol}"),
    }
}

fn devices(service: &Node) -> Vec<Device> {
    list(service, "devices")
        .iter()
        .filter_map(|device| {
            let source = text(device, "source")?;
            let target = text(device, "target").unwrap_or_else(|| source.clone());
            let access = text(device, "permissions").unwrap_or_else(|| "rwm".to_owned());
            Some(Device { source: source.into(), target: target.into(), access })
        })
        .collect()
}

/// The CDI names of the GPUs that a service asks for, in either of the two spellings.
fn gpus(name: &str, service: &Node) -> Result<Vec<String>> {
    let deploy = service.get("deploy").and_then(|deploy| deploy.get("resources"));
    let reserved = deploy.and_then(|resources| resources.get("reservations"));
    let reserved = reserved.map(|reservations| list(reservations, "devices")).unwrap_or_default();
    let mut names = Vec::new();
    for request in list(service, "gpus").iter().chain(reserved) {
        let ids = texts(request, "device_ids");
        let capabilities = texts(request, "capabilities");
        let capabilities: Vec<&str> = capabilities.iter().map(String::as_str).collect();
        let driver = request.str_at("driver").unwrap_or_default();
        let found = cdi::names(driver, int(request.get("count")), &ids, &capabilities);
        names.extend(
            found.map_err(|err| Error { message: format!("service {name}: {}", err.message), ..err })?,
        );
    }
    Ok(names)
}

fn ulimits(service: &Node) -> Vec<Rlimit> {
    let limit = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
    let map = service.get("ulimits").and_then(Node::as_map);
    map.into_iter()
        .flatten()
        .map(|(name, value)| {
            let both = int(Some(value));
            let soft = both.or_else(|| int(value.get("soft"))).unwrap_or(-1);
            let hard = both.or_else(|| int(value.get("hard"))).unwrap_or(-1);
            Rlimit { name: name.clone(), soft: limit(soft), hard: limit(hard), is_default: false }
        })
        .collect()
}

/// Limits, in either of their spellings.
fn cgroup(service: &Node) -> Cgroup {
    let part = |part: &str, key: &str| service.get("deploy")?.get("resources")?.get(part)?.get(key);
    let number =
        |node: Option<&Node>| node.and_then(Node::scalar_text).and_then(|text| text.parse::<i64>().ok());
    // No bytes is no limit, as in podman and Docker.
    let bytes = |node: Option<&Node>| number(node).filter(|bytes| *bytes != 0);
    let count = |key: &str| number(service.get(key)).and_then(|value| u64::try_from(value).ok());
    let cpus = service.get("cpus").or_else(|| part("limits", "cpus")).and_then(Node::scalar_text);
    let quota = cpus.and_then(|text| text.parse::<f64>().ok()).filter(|cpus| *cpus > 0.0);
    let period = count("cpu_period");
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "µs of a few processors")]
    let quota = quota.map(|cpus| (cpus * period.unwrap_or(CPU_PERIOD_US) as f64) as i64);
    let rates = |key: &str, field: &str| -> Vec<DeviceRate> {
        let list = service.get("blkio_config").and_then(|config| config.get(key)).and_then(Node::as_list);
        let rate = |entry: &Node| {
            let rate = number(entry.get(field)).and_then(|rate| u64::try_from(rate).ok())?;
            Some(DeviceRate { path: entry.str_at("path")?.into(), rate })
        };
        list.unwrap_or_default().iter().filter_map(rate).collect()
    };
    let limits = Limits {
        memory: bytes(service.get("mem_limit").or_else(|| part("limits", "memory"))),
        memory_reservation: bytes(service.get("mem_reservation").or_else(|| part("reservations", "memory"))),
        memory_swap: bytes(service.get("memswap_limit")),
        cpu_shares: count("cpu_shares"),
        cpu_quota_us: quota.or_else(|| number(service.get("cpu_quota"))),
        // As of `--cpus`: where both are known, `inspect` can say how many processors that is.
        cpu_period_us: period.or(quota.map(|_| CPU_PERIOD_US)),
        cpuset_cpus: text(service, "cpuset"),
        pids: number(service.get("pids_limit").or_else(|| part("limits", "pids"))),
        blkio_weight: number(service.get("blkio_config").and_then(|config| config.get("weight")))
            .and_then(|weight| u64::try_from(weight).ok()),
        blkio_weight_device: rates("weight_device", "weight"),
        device_read_bps: rates("device_read_bps", "rate"),
        device_write_bps: rates("device_write_bps", "rate"),
        device_read_iops: rates("device_read_iops", "rate"),
        device_write_iops: rates("device_write_iops", "rate"),
        ..Limits::default()
    };
    Cgroup { parent: text(service, "cgroup_parent").unwrap_or_default(), limits, ..Cgroup::default() }
}

fn health(node: Option<&Node>) -> Result<HealthRequest> {
    let Some(node) = node else { return Ok(HealthRequest::default()) };
    let test = texts(node, "test");
    if node.flag("disable") || test.first().is_some_and(|first| first == "NONE") {
        return Ok(HealthRequest { disabled: true, ..HealthRequest::default() });
    }
    let mut program = Vec::new();
    let cmd = match test.split_first() {
        None => None,
        Some((first, [shell])) if first == "CMD-SHELL" => Some(shell.clone()),
        Some((first, words)) if first == "CMD" => {
            program = words.to_vec();
            None
        }
        Some(_) => {
            return Err(Error::invalid(
                "healthcheck.test must start either by \"CMD\", \"CMD-SHELL\" or \"NONE\"",
            ));
        }
    };
    Ok(HealthRequest {
        cmd,
        program,
        interval: text(node, "interval"),
        timeout: text(node, "timeout"),
        start_interval: text(node, "start_interval"),
        start_period: text(node, "start_period"),
        retries: int(node.get("retries")),
        ..HealthRequest::default()
    })
}

fn restart(name: &str, service: &Node) -> Result<Option<RestartPolicy>> {
    let bad = |text: &str| Error::invalid(format!("service {name}: invalid restart policy {text:?}"));
    if let Some(policy) = service.str_at("restart") {
        return match policy {
            "none" => Ok(Some(RestartPolicy::No)),
            policy => RestartPolicy::parse(policy).map(Some).ok_or_else(|| bad(policy)),
        };
    }
    let Some(policy) = service.get("deploy").and_then(|deploy| deploy.get("restart_policy")) else {
        return Ok(None);
    };
    let max = int(policy.get("max_attempts")).and_then(|max| u32::try_from(max).ok()).unwrap_or(0);
    Ok(Some(match policy.str_at("condition").unwrap_or("any") {
        "none" => RestartPolicy::No,
        "on-failure" => RestartPolicy::OnFailure { max },
        "any" if max > 0 => RestartPolicy::OnFailure { max },
        "any" => RestartPolicy::Always,
        other => return Err(bad(other)),
    }))
}

fn stop_signal(name: &str, service: &Node) -> Result<Option<i32>> {
    let signal = service.str_at("stop_signal").map(|text| {
        text.parse::<Signal>()
            .map(Signal::number)
            .map_err(|err| Error::invalid(format!("service {name}: stop_signal: {err}")))
    });
    signal.transpose()
}

/// Whole seconds, rounded up.
fn seconds(period: &str) -> Option<u32> {
    let ns = u64::try_from(duration_ns(period)?).ok()?;
    u32::try_from(ns.div_ceil(1_000_000_000)).ok()
}
