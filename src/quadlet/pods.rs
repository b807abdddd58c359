//! `.pod` and `.kube`: several containers at once.

use crate::quadlet::unit::{Command, Refused, Service, Source, World};

/// The service of a pod.
///
/// # Errors
///
/// What the file says and cannot be.
pub(crate) fn pod<'a>(source: &'a Source, world: &World<'_>) -> Result<Service<'a>, Refused> {
    let mut service = Service::begin(source, world)?;
    let info = world.infos.get(&source.name).cloned().unwrap_or_default();
    service.needs_store();
    for container in &info.starts {
        service.unit.add("Unit", "Wants", container.as_str());
        service.unit.add("Unit", "Before", container.as_str());
    }
    service.default("SyslogIdentifier", "%N");
    for (key, words) in [
        ("ExecStart", &["pod", "start", "--pod-id-file=%t/%N.pod-id"][..]),
        ("ExecStop", &["pod", "stop", "--pod-id-file=%t/%N.pod-id", "--ignore", "--time=10"]),
        ("ExecStopPost", &["pod", "rm", "--pod-id-file=%t/%N.pod-id", "--ignore", "--force"]),
    ] {
        let command = Command::begin(source, world, words);
        service.command(key, &command);
    }
    let mut create = Command::begin(source, world, &["pod", "create"]);
    create.add(["--infra-conmon-pidfile=%t/%N.pid", "--pod-id-file=%t/%N.pod-id"]);
    create.add(["--exit-policy=stop", "--replace"]);
    create.user_namespace(source, true)?;
    create.all_of_each(source, &[("PublishPort", "--publish")]);
    create.networks(&mut service, world)?;
    create.all_of_each(
        source,
        &[
            ("NetworkAlias", "--network-alias"),
            ("DNS", "--dns"),
            ("DNSOption", "--dns-option"),
            ("DNSSearch", "--dns-search"),
            ("AddHost", "--add-host"),
        ],
    );
    create.one_of_each(source, &[("IP", "--ip"), ("IP6", "--ip6"), ("ShmSize", "--shm-size")]);
    create.volumes(&mut service, world)?;
    create.add(["--infra-name".to_owned(), format!("{}-infra", info.resource)]);
    create.add(["--name".to_owned(), info.resource]);
    create.add(source.file.arguments("Pod", "PodmanArgs"));
    service.command("ExecStartPre", &create);
    service.service("Environment", "PODMAN_SYSTEMD_UNIT=%n");
    service.set("Type", "forking");
    service.set("Restart", "on-failure");
    service.set("PIDFile", "%t/%N.pid");
    Ok(service)
}

/// The service of a Kubernetes file.
///
/// # Errors
///
/// What the file says and cannot be.
pub(crate) fn kube<'a>(source: &'a Source, world: &World<'_>) -> Result<Service<'a>, Refused> {
    let mut service = Service::begin(source, world)?;
    let file = &source.file;
    let yaml = source.value("Yaml").ok_or_else(|| Refused::new("no Yaml key specified"))?;
    let yaml = source.absolute(yaml);
    service.kill_mode()?;
    service.service("Environment", "PODMAN_SYSTEMD_UNIT=%n");
    service.needs_store();
    if !service.is_one_shot()? {
        service.set("Type", "notify");
        service.set("NotifyAccess", "all");
    }
    service.default("SyslogIdentifier", "%N");

    let mut play = Command::begin(source, world, &["kube", "play", "--replace", "--service-container=true"]);
    play.add(source.value("ExitCodePropagation").map(|how| format!("--service-exit-code-propagation={how}")));
    play.logs(source);
    play.user_namespace(source, false)?;
    play.networks(&mut service, world)?;
    for update in file.arguments("Kube", "AutoUpdate") {
        let key = "--annotation=io.containers.autoupdate";
        play.add([match update.split_once('/') {
            Some((container, how)) => format!("{key}/{container}={how}"),
            None => format!("{key}={update}"),
        }]);
    }
    let maps = file.arguments("Kube", "ConfigMap");
    play.each("--configmap", maps.iter().map(|path| source.absolute(path)));
    play.all_of_each(source, &[("PublishPort", "--publish")]);
    play.add(file.arguments("Kube", "PodmanArgs"));
    play.add([yaml.as_str()]);
    service.command("ExecStart", &play);
    let mut down = Command::begin(source, world, &["kube", "down"]);
    down.booleans(source, &[("KubeDownForce", "--force")]);
    down.add([yaml.as_str()]);
    service.command("ExecStopPost", &down);
    working_directory(&mut service, &yaml)?;
    Ok(service)
}

/// `SetWorkingDirectory=`, unless the service has one.
fn working_directory(service: &mut Service<'_>, yaml: &str) -> Result<(), Refused> {
    let source = service.source;
    let of = match source.value("SetWorkingDirectory").map(str::to_lowercase).as_deref() {
        None => return Ok(()),
        Some("yaml") => yaml.to_owned(),
        Some("unit") => source.path.to_string_lossy().into_owned(),
        Some(_) => {
            let value = source.value("SetWorkingDirectory").unwrap_or_default();
            return Err(Refused::new(format!("unsupported value for WorkingDirectory: {value} ")));
        }
    };
    let own = service.unit.filled("Service", "WorkingDirectory").is_some();
    if let Some((directory, _)) = of.rsplit_once('/').filter(|_| !own) {
        service.service("WorkingDirectory", directory);
    }
    Ok(())
}
