//! What the kinds of Quadlet's files have in common: names, the command line of a service, dependencies.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::base::path::clean;
use crate::quadlet::file::UnitFile;
use crate::quadlet::keys;
use crate::quadlet::words;

/// A kind of file, by its ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    // In the order in which they are converted: each needs only those before it.
    Image,
    Volume,
    Network,
    Build,
    Container,
    Kube,
    Pod,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 7] =
        [Self::Image, Self::Volume, Self::Network, Self::Build, Self::Container, Self::Kube, Self::Pod];

    /// The ending of its files' names.
    pub(crate) fn ending(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Volume => "volume",
            Self::Network => "network",
            Self::Build => "build",
            Self::Container => "container",
            Self::Kube => "kube",
            Self::Pod => "pod",
        }
    }

    /// Its own section.
    pub(crate) fn section(self) -> &'static str {
        match self {
            Self::Image => "Image",
            Self::Volume => "Volume",
            Self::Network => "Network",
            Self::Build => "Build",
            Self::Container => "Container",
            Self::Kube => "Kube",
            Self::Pod => "Pod",
        }
    }

    /// What the section is called in the service, where systemd passes it by.
    fn hidden(self) -> String {
        format!("X-{}", self.section())
    }

    /// What the name of its services has behind that of the file.
    fn suffix(self) -> &'static str {
        match self {
            Self::Container | Self::Kube => "",
            Self::Image => "-image",
            Self::Volume => "-volume",
            Self::Network => "-network",
            Self::Build => "-build",
            Self::Pod => "-pod",
        }
    }

    /// The kind of the file of that name.
    pub(crate) fn of(name: &str) -> Option<Self> {
        let (_, ending) = name.rsplit_once('.')?;
        Self::ALL.into_iter().find(|kind| kind.ending() == ending)
    }
}

/// The order in which kinds that do not need each other stand; volumes and networks are equals.
pub(crate) fn rank(kind: Kind) -> u8 {
    match kind {
        Kind::Image => 1,
        Kind::Volume | Kind::Network => 2,
        Kind::Build => 3,
        Kind::Container | Kind::Kube => 4,
        Kind::Pod => 5,
    }
}

/// A file of a user.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) kind: Kind,
    /// The file's name, `web.container`.
    pub(crate) name: String,
    /// Where it was found.
    pub(crate) path: PathBuf,
    /// Its content with that of its drop-ins.
    pub(crate) file: UnitFile,
}

impl Source {
    /// The name without its ending.
    pub(crate) fn stem(&self) -> &str {
        self.name.rsplit_once('.').map(|(stem, _)| stem).filter(|stem| !stem.is_empty()).unwrap_or(&self.name)
    }

    /// The last value of a key of its own section.
    pub(crate) fn value(&self, key: &str) -> Option<&str> {
        self.file.filled(self.kind.section(), key)
    }

    /// A path relative to the file; one that begins with a specifier is left alone.
    pub(crate) fn absolute(&self, path: &str) -> String {
        if path.starts_with(['/', '%']) {
            return path.to_owned();
        }
        let parent = self.path.parent().unwrap_or(Path::new("/"));
        clean(&parent.join(path)).to_string_lossy().into_owned()
    }

    /// The image that a container or a volume names, where it is none that another file makes: a warning,
    /// if that is a short name.
    pub(crate) fn warning(&self) -> Option<String> {
        if !matches!(self.kind, Kind::Container | Kind::Volume | Kind::Image) {
            return None;
        }
        let image = self.file.value(self.kind.section(), "Image")?;
        if image.ends_with(".image") || image.ends_with(".build") || is_unambiguous(image) {
            return None;
        }
        Some(format!(
            "Warning: {} specifies the image \"{image}\" which not a fully qualified image name. This is not ideal for \
             performance and security reasons. See the podman-pull manpage discussion of short-name-aliases.conf for details.",
            self.name
        ))
    }
}

/// Whether an image's name holds its registry, a transport, or the image's ID.
fn is_unambiguous(image: &str) -> bool {
    const TRANSPORTS: [&str; 5] = ["docker://", "docker-archive:", "oci-archive:", "oci:", "dir:"];
    if TRANSPORTS.iter().any(|transport| image.starts_with(transport)) {
        return true;
    }
    let digits = image.strip_prefix("sha256:").unwrap_or(image);
    let is_id = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let registry = image.split_once('/').map(|(registry, _)| registry);
    is_id || registry.is_some_and(|registry| registry.contains(['.', ':']) || registry == "localhost")
}

/// What other files need to know of one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Info {
    /// Its service, without `.service`.
    pub(crate) service: String,
    /// What it makes: the name of the container, image, network, volume or pod.
    pub(crate) resource: String,
    /// Of a pod: services of containers that start with it.
    pub(crate) starts: Vec<String>,
}

impl Info {
    /// That of one file.
    pub(crate) fn of(source: &Source) -> Self {
        let stem = source.stem();
        let service = match source.value("ServiceName") {
            Some(name) => name.to_owned(),
            None => format!("{stem}{}", source.kind.suffix()),
        };
        let named = |key| source.value(key).map_or_else(|| format!("systemd-{stem}"), str::to_owned);
        let resource = match source.kind {
            Kind::Container => container_name_elsewhere(source, &service),
            Kind::Volume => named("VolumeName"),
            Kind::Network => named("NetworkName"),
            Kind::Pod => named("PodName"),
            Kind::Image => source.value("ImageTag").or(source.value("Image")).unwrap_or_default().to_owned(),
            Kind::Build => {
                source.file.all("Build", "ImageTag").first().map(|tag| (*tag).to_owned()).unwrap_or_default()
            }
            Kind::Kube => String::new(),
        };
        Self { service, resource, starts: Vec::new() }
    }
}

/// The name of a file's container, as its own service writes it.
pub(crate) fn container_name(source: &Source) -> String {
    match source.value("ContainerName") {
        Some(name) => name.to_owned(),
        None if source.stem().contains('@') => "systemd-%p_%i".to_owned(),
        None => "systemd-%N".to_owned(),
    }
}

/// The same for services of others, where specifiers would mean those: empty if it depends on one.
fn container_name_elsewhere(source: &Source, service: &str) -> String {
    let name = container_name(source).replace("%N", service);
    if name.contains('%') { String::new() } else { name }
}

/// All that a conversion looks at but for its own file.
pub(crate) struct World<'a> {
    /// ketch, by an absolute path, without specifiers.
    pub(crate) program: &'a str,
    /// Whether the units are a user's.
    pub(crate) user: bool,
    /// The files by their names.
    pub(crate) infos: BTreeMap<String, Info>,
    /// The text of /etc/passwd.
    pub(crate) users: &'a str,
    /// The text of /etc/group.
    pub(crate) groups: &'a str,
    /// Whether a path is there.
    pub(crate) exists: &'a dyn Fn(&str) -> bool,
}

/// Why a file becomes no service; podman's words.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub(crate) struct Refused(pub(crate) String);

impl Refused {
    /// With these words.
    pub(crate) fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }
}

/// Where podman's containers are, and what waits for that to be mounted.
const STORE: &str = "%t/containers";

/// A service in the making.
#[derive(Debug)]
pub(crate) struct Service<'a> {
    /// What it is made from.
    pub(crate) source: &'a Source,
    /// What has become of it.
    pub(crate) unit: UnitFile,
}

impl<'a> Service<'a> {
    /// The file itself with what every service has.
    ///
    /// # Errors
    ///
    /// A key that its section has not.
    pub(crate) fn begin(source: &'a Source, world: &World<'_>) -> Result<Self, Refused> {
        let kind = source.kind;
        for (section, known) in [(kind.section(), keys::of(kind)), ("Quadlet", keys::QUADLET)] {
            if let Some(key) = source.file.keys(section).find(|key| !known.contains(key)) {
                return Err(Refused::new(format!(
                    "unsupported key '{key}' in group '{section}' in {}",
                    source.path.display()
                )));
            }
        }
        let mut unit = source.file.clone();
        if unit.boolean("Quadlet", "DefaultDependencies").unwrap_or(true) {
            let network = match world.user {
                true => "podman-user-wait-network-online.service",
                false => "network-online.target",
            };
            unit.prepend("Unit", "After", network);
            unit.prepend("Unit", "Wants", network);
        }
        if kind == Kind::Build {
            unit.add("Unit", "RequiresMountsFor", STORE);
        }
        unit.add("Unit", "SourcePath", source.path.to_string_lossy());
        unit.rename(kind.section(), &kind.hidden());
        unit.rename("Quadlet", "X-Quadlet");
        Ok(Self { source, unit })
    }

    /// The container's store must be mounted.
    pub(crate) fn needs_store(&mut self) {
        self.unit.add("Unit", "RequiresMountsFor", STORE);
    }

    /// A line of `[Service]`.
    pub(crate) fn service(&mut self, key: &str, value: impl Into<String>) {
        self.unit.add("Service", key, value);
    }

    /// A line of `[Service]`, in place of the file's own.
    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.unit.set("Service", key, value);
    }

    /// A line of `[Service]`, unless the file has that key.
    pub(crate) fn default(&mut self, key: &str, value: &str) {
        if !self.unit.has("Service", key) {
            self.service(key, value);
        }
    }

    /// A command line of `[Service]`.
    pub(crate) fn command(&mut self, key: &str, command: &Command) {
        self.service(key, words::command_line(&command.0));
    }

    /// The service comes after another one, and only with it.
    pub(crate) fn requires(&mut self, info: &Info) {
        self.unit.add("Unit", "Requires", format!("{}.service", info.service));
        self.unit.add("Unit", "After", format!("{}.service", info.service));
    }

    /// The end of a service that makes something and is done.
    pub(crate) fn one_shot(&mut self, command: &Command, stays: bool) {
        self.command("ExecStart", command);
        self.default("SyslogIdentifier", "%N");
        self.default("Type", "oneshot");
        if stays {
            self.default("RemainAfterExit", "yes");
        }
    }

    /// `KillMode=`: only two of them leave the monitor the time to clean up.
    ///
    /// # Errors
    ///
    /// Any other.
    pub(crate) fn kill_mode(&mut self) -> Result<(), Refused> {
        match self.unit.value("Service", "KillMode") {
            None => self.service("KillMode", "mixed"),
            Some("mixed" | "control-group") => {}
            Some(mode) => return Err(Refused::new(format!("invalid KillMode '{mode}'"))),
        }
        Ok(())
    }

    /// Whether the service is one that ends by itself.
    ///
    /// # Errors
    ///
    /// A `Type=` that containers cannot be.
    pub(crate) fn is_one_shot(&self) -> Result<bool, Refused> {
        match self.unit.value("Service", "Type") {
            None | Some("notify") => Ok(false),
            Some("oneshot") => Ok(true),
            Some(other) => Err(Refused::new(format!("invalid service Type '{other}'"))),
        }
    }

    /// An image's name, and what makes it.
    ///
    /// # Errors
    ///
    /// A file that is not there.
    pub(crate) fn image(&mut self, name: &str, world: &World<'_>) -> Result<String, Refused> {
        if !name.ends_with(".image") && !name.ends_with(".build") {
            return Ok(name.to_owned());
        }
        let info = world.infos.get(name);
        let info =
            info.ok_or_else(|| Refused::new(format!("requested Quadlet image {name} was not found")))?;
        self.requires(info);
        Ok(info.resource.clone())
    }

    /// The source of a mount, and what makes it.
    ///
    /// # Errors
    ///
    /// A file that is not there.
    pub(crate) fn mount_source(
        &mut self,
        source: &str,
        images: bool,
        world: &World<'_>,
    ) -> Result<String, Refused> {
        let source = match source.starts_with('.') {
            true => self.source.absolute(source),
            false => source.to_owned(),
        };
        if source.starts_with('/') {
            self.unit.add("Unit", "RequiresMountsFor", source.as_str());
        } else if source.ends_with(".volume") || (images && source.ends_with(".image")) {
            let info = world.infos.get(&source);
            let info =
                info.ok_or_else(|| Refused::new(format!("requested Quadlet source {source} was not found")))?;
            self.requires(info);
            return Ok(info.resource.clone());
        }
        Ok(source)
    }
}

/// A command line of ketch.
#[derive(Clone, Debug)]
pub(crate) struct Command(pub(crate) Vec<String>);

impl Command {
    /// The program with the global flags of a file.
    pub(crate) fn begin(source: &Source, world: &World<'_>, words: &[&str]) -> Self {
        let section = source.kind.section();
        let mut command = Self(vec![world.program.to_owned()]);
        for module in source.file.all(section, "ContainersConfModule") {
            command.add([format!("--module={module}")]);
        }
        command.add(source.file.arguments(section, "GlobalArgs"));
        command.add(words.iter().copied());
        command
    }

    /// Appends words.
    pub(crate) fn add<W: Into<String>>(&mut self, words: impl IntoIterator<Item = W>) {
        self.0.extend(words.into_iter().map(Into::into));
    }

    /// `FLAG VALUE` for each value.
    pub(crate) fn each<W: Into<String>>(&mut self, flag: &str, values: impl IntoIterator<Item = W>) {
        for value in values {
            self.add([flag.to_owned(), value.into()]);
        }
    }

    /// `FLAG VALUE` for each of these keys that is set.
    pub(crate) fn one_of_each(&mut self, source: &Source, keys: &[(&str, &str)]) {
        for (key, flag) in keys {
            self.each(flag, source.value(key));
        }
    }

    /// `FLAG VALUE` for each value of these keys.
    pub(crate) fn all_of_each(&mut self, source: &Source, keys: &[(&str, &str)]) {
        for (key, flag) in keys {
            self.each(flag, source.file.all(source.kind.section(), key));
        }
    }

    /// `FLAG`, or `FLAG=false`, for each of these keys that stands there.
    pub(crate) fn booleans(&mut self, source: &Source, keys: &[(&str, &str)]) {
        for (key, flag) in keys {
            match source.file.boolean(source.kind.section(), key) {
                None => {}
                Some(true) => self.add([*flag]),
                Some(false) => self.add([format!("{flag}=false")]),
            }
        }
    }

    /// `LogDriver=` and `LogOpt=`.
    pub(crate) fn logs(&mut self, source: &Source) {
        self.each("--log-driver", source.value("LogDriver"));
        self.each("--log-opt", source.file.strings(source.kind.section(), "LogOpt"));
    }

    /// `Network=`, and what makes the networks.
    ///
    /// # Errors
    ///
    /// A file that is not there; options where another container's network is joined.
    pub(crate) fn networks(&mut self, service: &mut Service<'_>, world: &World<'_>) -> Result<(), Refused> {
        let source = service.source;
        for network in source.file.all(source.kind.section(), "Network") {
            let (name, options) = match network.split_once(':') {
                Some((name, options)) => (name, Some(options)),
                None => (network, None),
            };
            let container = name.ends_with(".container");
            if !container && !name.ends_with(".network") {
                self.add(["--network", network]);
                continue;
            }
            let info = world.infos.get(name);
            let info =
                info.ok_or_else(|| Refused::new(format!("requested Quadlet unit {name} was not found")))?;
            service.requires(info);
            let value = match (container, options) {
                (true, Some(_)) => {
                    return Err(Refused::new(
                        "extra options are not supported when joining another container's network",
                    ));
                }
                (true, None) if info.resource.is_empty() => {
                    return Err(Refused::new(format!("cannot get the resource name of {name}")));
                }
                (true, None) => format!("container:{}", info.resource),
                (false, Some(options)) => format!("{}:{options}", info.resource),
                (false, None) => info.resource.clone(),
            };
            self.add(["--network".to_owned(), value]);
        }
        Ok(())
    }

    /// `Volume=`, and what makes the volumes.
    ///
    /// # Errors
    ///
    /// A file that is not there.
    pub(crate) fn volumes(&mut self, service: &mut Service<'_>, world: &World<'_>) -> Result<(), Refused> {
        let source = service.source;
        for volume in source.file.all(source.kind.section(), "Volume") {
            let value = match volume.split_once(':') {
                Some((from, rest)) => format!("{}:{rest}", service.mount_source(from, false, world)?),
                None => volume.to_owned(),
            };
            self.add(["-v".to_owned(), value]);
        }
        Ok(())
    }

    /// `UserNS=`, `UIDMap=` and their kin, and the older `Remap…=`.
    ///
    /// # Errors
    ///
    /// Both at once, and what the older ones do not allow.
    pub(crate) fn user_namespace(&mut self, source: &Source, manual: bool) -> Result<(), Refused> {
        let section = source.kind.section();
        let before = self.0.len();
        self.each("--userns", source.value("UserNS"));
        self.each("--uidmap", source.file.strings(section, "UIDMap"));
        self.each("--gidmap", source.file.strings(section, "GIDMap"));
        self.each("--subuidname", source.value("SubUIDMap"));
        self.each("--subgidname", source.value("SubGIDMap"));
        let uids = source.file.strings(section, "RemapUid");
        let gids = source.file.strings(section, "RemapGid");
        let users = source.file.value(section, "RemapUsers").unwrap_or_default();
        if self.0.len() > before {
            return match uids.is_empty() && gids.is_empty() && users.is_empty() {
                true => Ok(()),
                false => Err(Refused::new("deprecated Remap keys are set along with explicit mapping keys")),
            };
        }
        let mapped = |of: &str, ids: &[String]| ids.iter().map(|id| format!("{of}={id}")).collect::<Vec<_>>();
        let mode = |mode: &str, options: Vec<String>| match options.is_empty() {
            true => mode.to_owned(),
            false => format!("{mode}:{}", options.join(",")),
        };
        match users {
            "" if !uids.is_empty() => Err(Refused::new("UidMap set without RemapUsers")),
            "" if !gids.is_empty() => Err(Refused::new("GidMap set without RemapUsers")),
            "" => Ok(()),
            "manual" if !manual => Err(Refused::new("RemapUsers=manual is not supported")),
            "manual" => {
                self.each("--uidmap", uids);
                self.each("--gidmap", gids);
                Ok(())
            }
            "auto" => {
                let mut options = [mapped("uidmapping", &uids), mapped("gidmapping", &gids)].concat();
                let size = source.file.value(section, "RemapUidSize").and_then(number).unwrap_or(0);
                options.extend((size > 0).then(|| format!("size={size}")));
                self.each("--userns", [mode("auto", options)]);
                Ok(())
            }
            "keep-id" => {
                for (ids, of) in [(&uids, "UID"), (&gids, "GID")] {
                    if ids.len() > 1 {
                        let words =
                            format!("RemapUsers=keep-id supports only a single value for {of} mapping");
                        return Err(Refused::new(words));
                    }
                }
                self.each(
                    "--userns",
                    [mode("keep-id", [mapped("uid", &uids), mapped("gid", &gids)].concat())],
                );
                Ok(())
            }
            other => Err(Refused::new(format!("unsupported RemapUsers option '{other}'"))),
        }
    }
}

/// A number as C writes it (`12`, `0x10`, `017`).
pub(crate) fn number(text: &str) -> Option<u32> {
    let text = text.trim();
    let (digits, radix) = match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (&text[1..], 8),
        None => (text, 10),
    };
    u32::from_str_radix(digits, radix).ok()
}
