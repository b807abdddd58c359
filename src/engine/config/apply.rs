//! containers.conf and the environment, as defaults of what a request leaves open.

use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt as _;

use crate::base::device;
use crate::base::etc::HostsBase;
use crate::base::limits::{self, Cgroup, CgroupMode};
use crate::base::mount_syntax;
use crate::base::rlimit::{self, Ulimit};
use crate::base::size;
use crate::engine::config::containers_conf::{Containers, ContainersConf};
use crate::engine::config::{environment_of_caller, mounts_conf, variable};
use crate::engine::error::{Error, Result};
use crate::engine::request::{ContainerRequest, ImageVolumes};

/// Fills in what `request` leaves open.
///
/// # Errors
///
/// Values of the configuration that mean nothing, files that it names and that cannot be read.
pub(crate) fn apply(request: &mut ContainerRequest, conf: &ContainersConf) -> Result<()> {
    let containers = &conf.containers;
    process(request, containers)?;
    namespaces(request, conf)?;
    network(request, containers)?;
    cgroup(request, containers)?;
    security(request, containers)?;
    mounts(request, conf)?;
    if request.log_driver.is_none() {
        request.log_driver.clone_from(&containers.log_driver);
    }
    let has = |options: &[String], key: &str| options.iter().any(|option| option.starts_with(key));
    // The others have no files that could grow, or no tags.
    let driver = request.log_driver.as_deref().unwrap_or("k8s-file");
    let (in_files, tagged) = (
        !matches!(driver, "none" | "journald") && !driver.starts_with("passthrough"),
        matches!(driver, "journald" | "json-file"),
    );
    if let Some(bytes) = containers.log_size_max.filter(|bytes| *bytes > 0 && in_files)
        && !has(&request.log_options, "max-size=")
    {
        request.log_options.push(format!("max-size={bytes}"));
    }
    if let Some(tag) = containers.log_tag.as_ref().filter(|tag| !tag.is_empty() && tagged)
        && !has(&request.log_options, "tag=")
    {
        request.log_options.push(format!("tag={tag}"));
    }
    request.log_directory =
        containers.log_path.clone().filter(|path| !path.as_os_str().is_empty() && in_files);
    request.stop_timeout_configured = request.stop_timeout_s.is_none();
    request.stop_timeout_s = request.stop_timeout_s.or(conf.engine.stop_timeout);
    request.copies.extend(mounts_conf::copies(conf.mounts_file.as_deref())?);
    request.health.silent |= conf.engine.healthcheck_events == Some(false);
    Ok(())
}

/// `text` of the key `key` as something, or an error that names both.
fn read<T>(key: &str, text: &str, value: Option<T>) -> Result<T> {
    value.ok_or_else(|| Error::invalid(format!("containers.conf: {key}: {text:?} means nothing")))
}

fn process(request: &mut ContainerRequest, conf: &Containers) -> Result<()> {
    if conf.env_host && !request.denied.env_host {
        request.default_env = environment_of_caller();
    }
    // A name alone stands for what the caller has, if anything.
    request.default_env.extend(conf.env.iter().filter_map(|entry| {
        match entry.contains('=') {
            true => Some(entry.as_str().into()),
            false => variable(entry)
                .map(|value| [entry.as_bytes(), b"=", value.as_os_str().as_bytes()].concat().into()),
        }
    }));
    if conf.http_proxy == Some(false) && !request.http_proxy_asked {
        request.proxies.clear();
    }
    request.init |= conf.init && !request.denied.init;
    let program = request.init_program.take().or_else(|| conf.init_path.clone());
    request.init_program = program.filter(|_| request.init);
    request.oom_score_adj = request.oom_score_adj.or(conf.oom_score_adj);
    if let (None, Some(text)) = (request.umask, &conf.umask) {
        request.umask =
            Some(read("umask", text, u32::from_str_radix(text, 8).ok().filter(|mask| *mask <= 0o777))?);
    }
    if request.timezone.is_none() {
        request.timezone = conf.tz.clone().filter(|zone| !zone.is_empty());
    }
    for text in &conf.default_ulimits {
        let Ulimit::Limit(limit) = read("default_ulimits", text, rlimit::parse(text).ok())? else { continue };
        if !request.ulimits.iter().any(|known| known.name == limit.name) {
            request.ulimits.push(limit);
        }
    }
    for text in &conf.annotations {
        let (key, value) = read("annotations", text, text.split_once('='))?;
        request.annotations.entry(key.to_owned()).or_insert_with(|| value.to_owned());
    }
    if let (None, Some(name), true) = (&request.hostname, &request.name, conf.container_name_as_hostname) {
        let fits = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
        request.hostname = Some(name.chars().filter(fits).collect());
    }
    Ok(())
}

fn namespaces(request: &mut ContainerRequest, conf: &ContainersConf) -> Result<()> {
    let containers = &conf.containers;
    let explicit = !request.uid_maps.is_empty()
        || !request.gid_maps.is_empty()
        || request.subuid_name.is_some()
        || request.subgid_name.is_some();
    if request.userns.is_empty() && !explicit {
        let of_environment =
            variable("PODMAN_USERNS").and_then(|text| text.into_os_string().into_string().ok());
        request.userns = of_environment.or_else(|| containers.userns.clone()).unwrap_or_default();
    }
    for (asked, default) in [
        (&mut request.pid, &containers.pidns),
        (&mut request.ipc, &containers.ipcns),
        (&mut request.uts, &containers.utsns),
        (&mut request.cgroupns, &containers.cgroupns),
    ] {
        if let (true, Some(default)) = (asked.is_empty(), default) {
            asked.clone_from(default);
        }
    }
    if request.networks.is_empty() {
        let netns = containers.netns.clone().filter(|mode| !matches!(mode.as_str(), "" | "private"));
        // The name of podman's own default network means ketch's.
        let named = conf.network.default_network.clone().filter(|name| name != "podman" && !name.is_empty());
        let helper = if netns.is_none() { helper_named(conf)? } else { None };
        request.networks.extend(netns.or(named).or(helper));
    }
    for mode in &mut request.networks {
        add_helper_options(mode, "pasta", &conf.network.pasta_options);
        add_helper_options(mode, "slirp4netns", &conf.engine.network_cmd_options);
    }
    Ok(())
}

/// The network that the configuration chooses by its helper. `pasta` is podman's own choice and chooses nothing, unless it is
/// to have options.
fn helper_named(conf: &ContainersConf) -> Result<Option<String>> {
    let helper = conf.network.default_rootless_network_cmd.as_deref().unwrap_or_default();
    let chosen = match helper {
        "slirp4netns" => true,
        "" | "pasta" => !conf.network.pasta_options.is_empty(),
        _ => return Err(Error::invalid(format!("invalid default_rootless_network_cmd option {helper:?}"))),
    };
    Ok(chosen.then(|| if helper.is_empty() { "pasta" } else { helper }.to_owned()))
}

/// Gives the mode `helper` the options of the configuration, before those that it was typed with: the last one counts.
fn add_helper_options(mode: &mut String, helper: &str, options: &[String]) {
    let Some(typed) = mode.strip_prefix(helper) else { return };
    let typed = match typed.strip_prefix(':') {
        Some(typed) => Some(typed),
        None if typed.is_empty() => None,
        None => return,
    };
    let all: Vec<&str> =
        options.iter().map(String::as_str).chain(typed).filter(|text| !text.is_empty()).collect();
    if !all.is_empty() {
        *mode = format!("{helper}:{}", all.join(","));
    }
}

fn network(request: &mut ContainerRequest, conf: &Containers) -> Result<()> {
    for (asked, default) in [
        (&mut request.dns, &conf.dns_servers),
        (&mut request.dns_search, &conf.dns_searches),
        (&mut request.dns_options, &conf.dns_options),
    ] {
        if asked.is_empty() {
            asked.clone_from(default);
        }
    }
    if request.add_hosts.is_empty() && request.hosts_base == HostsBase::Usual {
        request.no_hosts |= conf.no_hosts && !request.denied.no_hosts;
    }
    if request.hosts_base == HostsBase::Usual && !request.no_hosts {
        request.hosts_base = match conf.base_hosts_file.as_deref() {
            None | Some("") => HostsBase::Usual,
            Some("none") => HostsBase::None,
            Some("image") => HostsBase::Image,
            Some(path) => HostsBase::File(path.into()),
        };
    }
    let internal = conf.host_containers_internal_ip.as_deref().unwrap_or_default();
    request.nameless_host = internal == "none";
    if let (text, false) = (internal, request.no_hosts || request.nameless_host || internal.is_empty()) {
        let ip: IpAddr = read("host_containers_internal_ip", text, text.parse().ok())?;
        // Before the line that ketch writes, which then leaves these names out.
        let names = ["host.containers.internal", "host.docker.internal"];
        request.add_hosts.extend(names.map(|name| format!("{name}:{ip}")));
    }
    Ok(())
}

/// The cgroup, where the command line says nothing of one.
fn cgroup(request: &mut ContainerRequest, conf: &Containers) -> Result<()> {
    let asked = &mut request.cgroup;
    if let (Some(text), true) = (&conf.cgroups, *asked == Cgroup::default()) {
        let mode = match text.as_str() {
            "" | "enabled" => Some(CgroupMode::Enabled),
            "disabled" => Some(CgroupMode::Disabled),
            "no-conmon" => Some(CgroupMode::NoMonitor),
            "split" => Some(CgroupMode::Split),
            _ => None,
        };
        asked.mode = read("cgroups", text, mode)?;
    }
    let files = if asked.mode == CgroupMode::Disabled { &[][..] } else { &conf.cgroup_conf };
    for text in files {
        let (file, value) = read("cgroup_conf", text, limits::cgroup_conf(text).ok())?;
        asked.limits.unified.entry(file).or_insert(value);
    }
    if let (Some(count), None, false) =
        (conf.pids_limit, asked.limits.pids, asked.mode == CgroupMode::Disabled)
    {
        asked.limits.pids = Some(limits::pids(count));
    }
    Ok(())
}

/// What distributions ship lets group 0 ping. ketch lets every group of the container, as far as it has them.
const AS_SHIPPED: (&str, &str) = ("net.ipv4.ping_group_range", "0 0");

fn security(request: &mut ContainerRequest, conf: &Containers) -> Result<()> {
    request.privileged |= conf.privileged && !request.denied.privileged;
    request.read_only |= conf.read_only && !request.denied.read_only;
    request.base_capabilities.clone_from(&conf.default_capabilities);
    for text in &conf.default_sysctls {
        let (key, value) = read("default_sysctls", text, text.split_once('='))?;
        // One of a namespace that this container shares with others is not for it; and they are written through
        // the container's own /proc.
        let in_vain = key.starts_with("net.")
            && request.networks.iter().any(|mode| mode == "host" || mode.contains(':'))
            || !matches!(request.pid.as_str(), "" | "private");
        if !in_vain && (key, value) != AS_SHIPPED {
            request.sysctls.entry(key.to_owned()).or_insert_with(|| value.to_owned());
        }
    }
    if conf.label == Some(false) {
        request.security_options.push("label=disable".to_owned());
    }
    let asked = request.security_options.iter().any(|option| option.starts_with("seccomp"));
    if let (Some(path), false, false) = (&conf.seccomp_profile, asked, request.privileged) {
        let failed = |err| Error::system(format!("read the seccomp profile {}", path.display()), err);
        request.seccomp_profile = Some(crate::sys::fs::read_named_text(path).map_err(failed)?);
        request.security_options.push(format!("seccomp={}", path.display()));
    }
    Ok(())
}

fn mounts(request: &mut ContainerRequest, conf: &ContainersConf) -> Result<()> {
    if let (None, Some(text)) = (request.image_volumes, &conf.engine.image_volume_mode) {
        request.image_volumes = Some(read("image_volume_mode", text, ImageVolumes::named(text))?);
    }
    let conf = &conf.containers;
    let size = conf.shm_size.as_ref().filter(|text| !text.is_empty() && request.has_own_shm());
    if let (None, Some(text)) = (request.shm_size_bytes, size) {
        request.shm_size_bytes = Some(read("shm_size", text, size::parse(text).ok())?);
    }
    let volumes =
        conf.volumes.iter().map(|text| ("volumes", text, mount_syntax::parse_volume(text.as_ref())));
    let mounts = conf.mounts.iter().map(|text| ("mounts", text, mount_syntax::parse_mount(text)));
    for (key, text, mount) in volumes.chain(mounts) {
        let mount = read(key, text, mount.ok())?;
        if !request.mounts.iter().any(|known| known.target.as_bytes() == mount.target.as_bytes()) {
            request.mounts.push(mount);
        }
    }
    for text in &conf.devices {
        if device::is_cdi_name(text) {
            request.cdi_devices.push(text.clone());
        } else {
            request.devices.push(read("devices", text, device::parse(text))?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(text: &str) -> ContainersConf {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn defaults_fill_gaps_and_give_way() {
        let text = "[containers]\nenv=['A=1']\ninit=true\nshm_size='1m'\nuserns='keep-id'\ndns_servers=['9.9.9.9']\n\
                    default_ulimits=['nofile=10:20','nproc=5']\nvolumes=['/a:/b']\nlog_driver='json-file'\nlog_size_max=5\nlog_tag='t'\n\
                    default_sysctls=['net.ipv4.x=1']\numask='0077'\npids_limit=9\n[engine]\nstop_timeout=3\nimage_volume_mode='ignore'\n[network]\ndefault_network='n'\n";
        let conf = conf(text);
        let mut open = ContainerRequest::default();
        apply(&mut open, &conf).unwrap();
        assert!(open.init && open.userns == "keep-id" && open.dns == ["9.9.9.9"]);
        assert_eq!(
            (open.shm_size_bytes, open.umask, open.stop_timeout_s),
            (Some(1 << 20), Some(0o77), Some(3))
        );
        assert_eq!((open.cgroup.limits.pids, open.image_volumes), (Some(9), Some(ImageVolumes::Ignore)));
        assert_eq!(open.networks, ["n"]);
        assert_eq!(open.log_options, ["max-size=5", "tag=t"]);
        assert_eq!((open.mounts.len(), open.ulimits.len(), open.default_env.len()), (1, 2, 1));

        let mut asked = ContainerRequest {
            userns: "host".into(),
            networks: vec!["none".into()],
            shm_size_bytes: Some(1),
            stop_timeout_s: Some(0),
            ..ContainerRequest::default()
        };
        apply(&mut asked, &conf).unwrap();
        assert_eq!((asked.userns.as_str(), asked.networks.len(), asked.shm_size_bytes), ("host", 1, Some(1)));
        assert_eq!(asked.stop_timeout_s, Some(0));
        // What a driver has no use for does not reach it.
        for (driver, want) in [("none", &[][..]), ("journald", &["tag=t"]), ("k8s-file", &["max-size=5"])] {
            let mut asked =
                ContainerRequest { log_driver: Some(driver.into()), ..ContainerRequest::default() };
            apply(&mut asked, &conf).unwrap();
            assert_eq!(asked.log_options, want, "{driver}");
        }
    }

    #[test]
    fn options_of_network_helpers_go_before_what_was_typed() {
        let conf = conf(
            "[network]\npasta_options=['-m','1400']\n[engine]\nnetwork_cmd_options=['enable_ipv6=false']\n",
        );
        for (typed, want) in [
            (&[][..], "pasta:-m,1400"),
            (&["pasta"], "pasta:-m,1400"),
            (&["pasta:-4"], "pasta:-m,1400,-4"),
            (&["slirp4netns:mtu=9000"], "slirp4netns:enable_ipv6=false,mtu=9000"),
            (&["pastas"], "pastas"),
            (&["host"], "host"),
        ] {
            let networks = typed.iter().map(|mode| (*mode).to_owned()).collect();
            let mut request = ContainerRequest { networks, ..ContainerRequest::default() };
            apply(&mut request, &conf).unwrap();
            assert_eq!(request.networks, [want], "{typed:?}");
        }
        let slirp = self::conf("[network]\ndefault_rootless_network_cmd='slirp4netns'\n");
        let mut request = ContainerRequest::default();
        apply(&mut request, &slirp).unwrap();
        assert_eq!(request.networks, ["slirp4netns"]);
        let pasta = self::conf("[network]\ndefault_rootless_network_cmd='pasta'\n");
        let mut request = ContainerRequest::default();
        apply(&mut request, &pasta).unwrap();
        assert!(request.networks.is_empty());
    }

    #[test]
    fn nonsense_is_named() {
        for (text, said) in [
            ("[containers]\numask='abc'\n", "umask"),
            ("[containers]\nvolumes=['x:y:z:a']\n", "volumes"),
            ("[containers]\nmounts=['type=nonsense,dst=/x']\n", ": mounts: "),
            ("[containers]\nannotations=['x']\n", "annotations"),
            ("[containers]\nhost_containers_internal_ip='x'\n", "host_containers_internal_ip"),
            ("[containers]\ncgroups='perhaps'\n", "cgroups"),
            ("[engine]\nimage_volume_mode='x'\n", "image_volume_mode"),
        ] {
            let err = apply(&mut ContainerRequest::default(), &conf(text)).unwrap_err();
            assert!(err.message.contains(said), "{}", err.message);
        }
    }
}
