//! `.image`, `.network`, `.volume`, `.build`: what makes something and is done.

use crate::quadlet::unit::{Command, Refused, Service, Source, World, number};

/// The service that pulls an image.
///
/// # Errors
///
/// What the file says and cannot be.
pub(crate) fn image<'a>(source: &'a Source, world: &World<'_>) -> Result<Service<'a>, Refused> {
    let mut service = Service::begin(source, world)?;
    let image = source.value("Image").ok_or_else(|| Refused::new("no Image key specified"))?;
    service.needs_store();
    let mut pull = Command::begin(source, world, &["image", "pull"]);
    pull.one_of_each(
        source,
        &[
            ("Arch", "--arch"),
            ("AuthFile", "--authfile"),
            ("CertDir", "--cert-dir"),
            ("Creds", "--creds"),
            ("DecryptionKey", "--decryption-key"),
            ("OS", "--os"),
            ("Variant", "--variant"),
        ],
    );
    pull.booleans(source, &[("AllTags", "--all-tags"), ("TLSVerify", "--tls-verify")]);
    pull.add(source.file.arguments("Image", "PodmanArgs"));
    pull.add([image]);
    service.one_shot(&pull, true);
    Ok(service)
}

/// The service that makes a network.
///
/// # Errors
///
/// What the file says and cannot be.
pub(crate) fn network<'a>(source: &'a Source, world: &World<'_>) -> Result<Service<'a>, Refused> {
    let mut service = Service::begin(source, world)?;
    let file = &source.file;
    service.needs_store();
    let mut create = Command::begin(source, world, &["network", "create", "--ignore"]);
    create
        .booleans(source, &[("DisableDNS", "--disable-dns"), ("Internal", "--internal"), ("IPv6", "--ipv6")]);
    create.one_of_each(source, &[("Driver", "--driver"), ("IPAMDriver", "--ipam-driver")]);
    create.all_of_each(source, &[("DNS", "--dns")]);
    let (subnets, gateways) = (file.all("Network", "Subnet"), file.all("Network", "Gateway"));
    let ranges = file.all("Network", "IPRange");
    if subnets.is_empty() && !(gateways.is_empty() && ranges.is_empty()) {
        return Err(Refused::new("cannot set gateway or range without subnet"));
    }
    if gateways.len() > subnets.len() {
        return Err(Refused::new("cannot set more gateways than subnets"));
    }
    if ranges.len() > subnets.len() {
        return Err(Refused::new("cannot set more ranges than subnets"));
    }
    for (number, subnet) in subnets.into_iter().enumerate() {
        create.add(["--subnet", subnet]);
        create.each("--gateway", gateways.get(number).copied());
        create.each("--ip-range", ranges.get(number).copied());
    }
    create.each("--opt", file.pairs("Network", "Options"));
    create.each("--label", file.pairs("Network", "Label"));
    create.add(file.arguments("Network", "PodmanArgs"));
    create.add([resource(source, world)]);
    service.one_shot(&create, true);
    Ok(service)
}

/// The service that makes a volume.
///
/// # Errors
///
/// What the file says and cannot be.
pub(crate) fn volume<'a>(source: &'a Source, world: &World<'_>) -> Result<Service<'a>, Refused> {
    let mut service = Service::begin(source, world)?;
    let file = &source.file;
    service.needs_store();
    let mut create = Command::begin(source, world, &["volume", "create", "--ignore"]);
    create.one_of_each(source, &[("Driver", "--driver")]);
    if source.value("Driver") == Some("image") {
        let image = source.value("Image");
        let image =
            image.ok_or_else(|| Refused::new("the key Image is mandatory when using the image driver"))?;
        let image = service.image(image, world)?;
        create.add(["--opt".to_owned(), format!("image={image}")]);
    } else {
        local(&mut create, source, world)?;
    }
    create.each("--label", file.pairs("Volume", "Label"));
    create.add(file.arguments("Volume", "PodmanArgs"));
    create.add([resource(source, world)]);
    service.one_shot(&create, true);
    Ok(service)
}

/// The options of a volume that is mounted here.
fn local(create: &mut Command, source: &Source, world: &World<'_>) -> Result<(), Refused> {
    let file = &source.file;
    let mut options = Vec::new();
    for (key, option, known) in [("User", "uid", world.users), ("Group", "gid", world.groups)] {
        let Some(name) = source.value(key) else { continue };
        let id = number(name).or_else(|| id_of(name, known));
        let id = id.ok_or_else(|| Refused::new(format!("{key} '{name}' is not known here")))?;
        options.push(format!("{option}={id}"));
    }
    if let Some(copy) = file.boolean("Volume", "Copy") {
        create.add(["--opt", if copy { "copy" } else { "nocopy" }]);
    }
    let device = source.value("Device");
    create.each("--opt", device.map(|device| format!("device={device}")));
    for key in ["Type", "Options"] {
        if device.is_none() && source.value(key).is_some() {
            return Err(Refused::new(format!("key {key} can't be used without Device")));
        }
    }
    create.each("--opt", source.value("Type").map(|kind| format!("type={kind}")));
    options.extend(source.value("Options").map(str::to_owned));
    if !options.is_empty() {
        create.add(["--opt".to_owned(), format!("o={}", options.join(","))]);
    }
    Ok(())
}

/// The number of a user or a group in the text of passwd or group.
fn id_of(name: &str, known: &str) -> Option<u32> {
    known.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

/// The service that builds an image.
///
/// # Errors
///
/// What the file says and cannot be.
pub(crate) fn build<'a>(source: &'a Source, world: &World<'_>) -> Result<Service<'a>, Refused> {
    let mut service = Service::begin(source, world)?;
    let file = &source.file;
    let mut build = Command::begin(source, world, &["build"]);
    build.add(source.value("Pull").map(|policy| format!("--pull={policy}")));
    build.one_of_each(
        source,
        &[("Arch", "--arch"), ("AuthFile", "--authfile"), ("Target", "--target"), ("Variant", "--variant")],
    );
    build.booleans(source, &[("TLSVerify", "--tls-verify"), ("ForceRM", "--force-rm")]);
    build.all_of_each(
        source,
        &[
            ("DNS", "--dns"),
            ("DNSOption", "--dns-option"),
            ("DNSSearch", "--dns-search"),
            ("GroupAdd", "--group-add"),
            ("ImageTag", "--tag"),
        ],
    );
    for (key, flag) in [("Annotation", "--annotation"), ("Environment", "--env"), ("Label", "--label")] {
        build.each(flag, file.pairs("Build", key));
    }
    build.networks(&mut service, world)?;
    build.each("--secret", file.arguments("Build", "Secret"));
    build.volumes(&mut service, world)?;
    if file.all("Build", "ImageTag").is_empty() {
        return Err(Refused::new("no ImageTag key specified"));
    }
    build.add(context(&mut service)?);
    service.one_shot(&build, false);
    Ok(service)
}

/// The last words of a build: its file and its context. A special word for the context, or a relative one,
/// gives the service the directory that it is seen from.
fn context(service: &mut Service<'_>) -> Result<Vec<String>, Refused> {
    let source = service.source;
    let file = source.value("File");
    let wanted = source.value("SetWorkingDirectory");
    let beside = |path: &str| path.rsplit_once('/').map_or_else(String::new, |(parent, _)| parent.to_owned());
    let unit = || beside(&source.path.to_string_lossy());
    let is_absolute = |path: &str| path.starts_with('/') || is_remote(path);
    // The directory, and the context if it is said by that.
    let (directory, context) = match wanted.map(str::to_lowercase).as_deref() {
        None => (None, service.unit.filled("Service", "WorkingDirectory").map(str::to_owned)),
        Some("file") => {
            let file = file.ok_or_else(|| Refused::new("no File key specified"))?;
            (Some(beside(&source.absolute(file))), None)
        }
        Some("unit") => (Some(unit()), None),
        Some(_) => {
            let context = wanted.unwrap_or_default();
            ((!is_absolute(context)).then(unit), Some(context.to_owned()))
        }
    };
    let said = context.is_some() && wanted.is_some();
    let own = service.unit.filled("Service", "WorkingDirectory").map(str::to_owned);
    let context = match (directory, own) {
        (None, _) => context,
        (Some(_), Some(own)) => Some(own),
        (Some(directory), None) => {
            service.service("WorkingDirectory", directory.as_str());
            if said { context } else { Some(directory) }
        }
    };
    if context.is_none() && file.is_none() {
        return Err(Refused::new("neither SetWorkingDirectory, nor File key specified"));
    }
    if context.is_none() && file.is_some_and(|file| !is_absolute(file)) {
        return Err(Refused::new("relative path in File key requires SetWorkingDirectory key to be set"));
    }
    let mut words = Vec::new();
    if let Some(file) = file {
        words.extend(["--file".to_owned(), file.to_owned()]);
    }
    words.extend(source.file.arguments("Build", "PodmanArgs"));
    // An absolute file's directory is the service's own: the build finds its context there.
    let own = !said && file.is_some_and(is_absolute);
    words.extend(context.filter(|_| !own));
    Ok(words)
}

/// Whether a context is fetched: by a URL, or from a place that git knows.
fn is_remote(context: &str) -> bool {
    ["http://", "https://", "git://", "github.com/"].iter().any(|prefix| context.starts_with(prefix))
}

/// The name of what a file makes.
fn resource(source: &Source, world: &World<'_>) -> String {
    world.infos.get(&source.name).map(|info| info.resource.clone()).unwrap_or_default()
}
