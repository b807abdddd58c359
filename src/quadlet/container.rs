//! `.container`: `run`.

use crate::quadlet::mount;
use crate::quadlet::unit::{Command, Refused, Service, Source, World, container_name};

/// Flags with one value.
const SINGLE: &[(&str, &str)] = &[
    ("Timezone", "--tz"),
    ("PidsLimit", "--pids-limit"),
    ("ShmSize", "--shm-size"),
    ("Entrypoint", "--entrypoint"),
    ("WorkingDir", "--workdir"),
    ("IP", "--ip"),
    ("IP6", "--ip6"),
    ("HostName", "--hostname"),
    ("StopSignal", "--stop-signal"),
    ("StopTimeout", "--stop-timeout"),
    ("Pull", "--pull"),
];

/// Flags with as many values as there are lines.
const REPEATED: &[(&str, &str)] = &[
    ("NetworkAlias", "--network-alias"),
    ("Ulimit", "--ulimit"),
    ("DNS", "--dns"),
    ("DNSOption", "--dns-option"),
    ("DNSSearch", "--dns-search"),
    ("GroupAdd", "--group-add"),
    ("AddHost", "--add-host"),
    ("Tmpfs", "--tmpfs"),
];

const BOOLEANS: &[(&str, &str)] =
    &[("RunInit", "--init"), ("EnvironmentHost", "--env-host"), ("ReadOnlyTmpfs", "--read-only-tmpfs")];

const HEALTH: &[(&str, &str)] = &[
    ("HealthCmd", "--health-cmd"),
    ("HealthInterval", "--health-interval"),
    ("HealthOnFailure", "--health-on-failure"),
    ("HealthLogDestination", "--health-log-destination"),
    ("HealthMaxLogCount", "--health-max-log-count"),
    ("HealthMaxLogSize", "--health-max-log-size"),
    ("HealthRetries", "--health-retries"),
    ("HealthStartPeriod", "--health-start-period"),
    ("HealthTimeout", "--health-timeout"),
    ("HealthStartupCmd", "--health-startup-cmd"),
    ("HealthStartupInterval", "--health-startup-interval"),
    ("HealthStartupRetries", "--health-startup-retries"),
    ("HealthStartupSuccess", "--health-startup-success"),
    ("HealthStartupTimeout", "--health-startup-timeout"),
];

/// `--security-opt` with one value.
const LABELS: &[(&str, &str)] = &[
    ("SecurityLabelType", "label=type:"),
    ("SecurityLabelFileType", "label=filetype:"),
    ("SecurityLabelLevel", "label=level:"),
];

/// The service of a container.
///
/// # Errors
///
/// What the file says and cannot be.
pub(crate) fn convert<'a>(source: &'a Source, world: &mut World<'_>) -> Result<Service<'a>, Refused> {
    let mut service = Service::begin(source, world)?;
    let (image, root) = match (source.value("Image"), source.value("Rootfs")) {
        (None, None) => return Err(Refused::new("no Image or Rootfs key specified")),
        (Some(_), Some(_)) => {
            return Err(Refused::new("the Image And Rootfs keys conflict can not be specified together"));
        }
        (Some(image), None) => (Some(service.image(image, world)?), None),
        (None, root) => (None, root),
    };
    service.service("Environment", "PODMAN_SYSTEMD_UNIT=%n");
    service.kill_mode()?;
    service.needs_store();
    let mut stop = Command::begin(source, world, &["rm", "-v", "-f", "-i", "--cidfile=%t/%N.cid"]);
    service.command("ExecStop", &stop);
    // The monitor may have been killed: then ExecStop= is not run.
    stop.0[0].insert(0, '-');
    service.command("ExecStopPost", &stop);
    service.service("Delegate", "yes");

    let mut run = Command::begin(source, world, &["run", "--name", &container_name(source)]);
    run.add(["--cidfile=%t/%N.cid", "--replace", "--rm"]);
    run.logs(source);
    match source.value("CgroupsMode") {
        Some(mode) => run.add(["--cgroups", mode]),
        None => run.add(["--cgroups=split"]),
    }
    run.one_of_each(source, SINGLE);
    run.all_of_each(source, REPEATED);
    run.booleans(source, BOOLEANS);
    run.networks(&mut service, world)?;
    readiness(&mut run, &mut service)?;
    security(&mut run, source, world)?;
    run.user_namespace(source, true)?;
    run.volumes(&mut service, world)?;
    let update = source.value("AutoUpdate").map(|how| format!("io.containers.autoupdate={how}"));
    run.each("--label", update);
    ports(&mut run, source)?;
    contents(&mut run, &mut service, world)?;
    run.one_of_each(source, HEALTH);
    pod(&mut run, &mut service, world)?;
    run.add(source.file.arguments("Container", "PodmanArgs"));
    match root {
        Some(root) => run.add(["--rootfs", root]),
        None => run.add(image),
    }
    run.add(source.file.last_arguments("Container", "Exec"));
    service.command("ExecStart", &run);
    Ok(service)
}

/// Who tells systemd when the container is ready.
fn readiness(run: &mut Command, service: &mut Service<'_>) -> Result<(), Refused> {
    let source = service.source;
    if !service.is_one_shot()? {
        service.set("Type", "notify");
        service.set("NotifyAccess", "all");
        let notify = source.file.value("Container", "Notify").unwrap_or_default();
        let from = match source.file.boolean("Container", "Notify") {
            _ if notify.eq_ignore_ascii_case("healthy") => "healthy",
            Some(true) => "container",
            _ => "conmon",
        };
        run.add([format!("--sdnotify={from}"), "-d".to_owned()]);
    }
    service.default("SyslogIdentifier", "%N");
    Ok(())
}

fn security(run: &mut Command, source: &Source, world: &World<'_>) -> Result<(), Refused> {
    let file = &source.file;
    let is = |key| file.boolean("Container", key).unwrap_or(false);
    if is("NoNewPrivileges") {
        run.add(["--security-opt=no-new-privileges"]);
    }
    for (key, option) in [("SecurityLabelDisable", "label=disable"), ("SecurityLabelNested", "label=nested")]
    {
        if is(key) {
            run.add(["--security-opt", option]);
        }
    }
    for (key, option) in LABELS {
        run.each("--security-opt", source.value(key).map(|value| format!("{option}{value}")));
    }
    for device in file.strings("Container", "AddDevice") {
        let path = device.strip_prefix('-');
        let there = |path: &str| (world.exists)(path.split(':').next().unwrap_or_default());
        if path.is_none_or(there) {
            run.add(["--device", path.unwrap_or(&device)]);
        }
    }
    run.each("--security-opt", source.value("SeccompProfile").map(|profile| format!("seccomp={profile}")));
    for (key, flag) in [("DropCapability", "--cap-drop"), ("AddCapability", "--cap-add")] {
        run.each(flag, file.strings("Container", key).iter().map(|name| name.to_lowercase()));
    }
    run.each("--sysctl", file.strings("Container", "Sysctl"));
    run.booleans(source, &[("ReadOnly", "--read-only")]);
    if is("VolatileTmp") && !is("ReadOnly") {
        run.add(["--tmpfs", "/tmp:rw,size=512M,mode=1777"]);
    }
    match (source.value("User"), source.value("Group")) {
        (None, None) => {}
        (None, Some(_)) => return Err(Refused::new("invalid Group set without User")),
        (Some(user), None) => run.add(["--user", user]),
        (Some(user), Some(group)) => run.add(["--user".to_owned(), format!("{user}:{group}")]),
    }
    Ok(())
}

fn ports(run: &mut Command, source: &Source) -> Result<(), Refused> {
    for port in source.file.all("Container", "ExposeHostPort") {
        let port = port.trim();
        if !is_port_range(port) {
            return Err(Refused::new(format!("invalid port format '{port}'")));
        }
        run.add(["--expose", port]);
    }
    Ok(())
}

/// `80`, `80-90`, with a protocol or without.
fn is_port_range(text: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    number(first) && number(last) && matches!(protocol, "tcp" | "udp" | "sctp")
}

fn contents(run: &mut Command, service: &mut Service<'_>, world: &World<'_>) -> Result<(), Refused> {
    let source = service.source;
    let file = &source.file;
    run.all_of_each(source, &[("PublishPort", "--publish")]);
    for (key, flag) in [("Environment", "--env"), ("Label", "--label"), ("Annotation", "--annotation")] {
        run.each(flag, file.pairs("Container", key));
    }
    for (key, option) in [("Mask", "mask="), ("Unmask", "unmask=")] {
        let paths = file.arguments("Container", key);
        run.each("--security-opt", paths.iter().map(|path| format!("{option}{path}")));
    }
    let files = file.arguments("Container", "EnvironmentFile");
    run.each("--env-file", files.iter().map(|path| source.absolute(path)));
    run.each("--secret", file.arguments("Container", "Secret"));
    for mount in file.arguments("Container", "Mount") {
        run.add(["--mount".to_owned(), mount::resolved(&mount, service, world)?]);
    }
    Ok(())
}

/// `Pod=`: the container is in it, and its service with that of the pod.
fn pod(run: &mut Command, service: &mut Service<'_>, world: &mut World<'_>) -> Result<(), Refused> {
    let source = service.source;
    let Some(pod) = source.value("Pod") else { return Ok(()) };
    if !pod.ends_with(".pod") {
        return Err(Refused::new(format!("pod {pod} is not Quadlet based")));
    }
    let own = world.infos.get(&source.name).map(|info| format!("{}.service", info.service));
    let info = world.infos.get_mut(pod);
    let info = info.ok_or_else(|| Refused::new(format!("quadlet pod unit {pod} does not exist")))?;
    run.add(["--pod-id-file".to_owned(), format!("%t/{}.pod-id", info.service)]);
    service.unit.add("Unit", "BindsTo", format!("{}.service", info.service));
    service.unit.add("Unit", "After", format!("{}.service", info.service));
    if source.file.boolean("Container", "StartWithPod").unwrap_or(true) {
        info.starts.extend(own);
    }
    Ok(())
}
