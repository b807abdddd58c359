//! The flags of `run` and `create`, and the request they make.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::base::bytes::Bytes;
use crate::base::rlimit::{self, Ulimit};
use crate::base::signal::Signal;
use crate::base::spec::{Device, RestartPolicy, Rlimit};
use crate::base::{mount_syntax, size};
use crate::cli::progress::Progress;
use crate::cli::pull::{PlatformArgs, RegistryArgs, parse_policy};
use crate::engine::pull::{self, PullPolicy};
use crate::engine::request::{ContainerRequest, ImageVolumes};
use crate::engine::{Engine, Error, Result, config};

/// Flags that describe a container.
#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
pub(crate) struct ContainerFlags {
    /// Print help
    #[arg(long, action = clap::ArgAction::HelpLong)]
    help: Option<bool>,

    /// Add a custom host-to-IP mapping (NAME:IP; can be repeated)
    #[arg(long, value_name = "NAME:IP")]
    add_host: Vec<String>,

    /// Add an annotation (KEY=VALUE; can be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    annotation: Vec<String>,

    /// Add a capability (can be repeated)
    #[arg(long, value_name = "CAPABILITY", value_delimiter = ',')]
    cap_add: Vec<String>,

    /// Drop a capability (can be repeated)
    #[arg(long, value_name = "CAPABILITY", value_delimiter = ',')]
    cap_drop: Vec<String>,

    /// Cgroup namespace: private, host, container:NAME or ns:PATH
    #[arg(long, value_name = "MODE")]
    cgroupns: Option<String>,

    /// Write the container's ID to this file, which must not exist
    #[arg(long, value_name = "FILE")]
    pub(crate) cidfile: Option<PathBuf>,

    /// Give the container a device of the host (HOST[:CONTAINER][:rwm]; can be repeated)
    #[arg(long, value_name = "DEVICE")]
    device: Vec<String>,

    /// Use this name server instead of the host's (can be repeated)
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    dns: Vec<String>,

    /// Set a resolver option (can be repeated)
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION")]
    dns_option: Vec<String>,

    /// Set a search domain; `.` for none (can be repeated)
    #[arg(long, value_name = "DOMAIN", value_delimiter = ',')]
    dns_search: Vec<String>,

    /// NIS domain name
    #[arg(long, value_name = "NAME")]
    domainname: Option<String>,

    /// Replace the image's entrypoint: a program, or a JSON list
    #[arg(long, value_name = "COMMAND", allow_hyphen_values = true)]
    entrypoint: Option<OsString>,

    /// Set a variable: NAME=VALUE, NAME to take it from here, NAME* for all that begin so (can be repeated)
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<OsString>,

    /// Read variables from a file of NAME=VALUE lines (can be repeated)
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,

    /// Pass the whole environment of the caller
    #[arg(long)]
    env_host: bool,

    /// Declare a port, or a range of them (can be repeated)
    #[arg(long, value_name = "PORT[/PROTOCOL]")]
    expose: Vec<String>,

    /// Add the process to a group, by name or number, or `keep-groups` (can be repeated)
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,

    /// Host name inside
    #[arg(short = 'h', long, value_name = "NAME")]
    hostname: Option<String>,

    /// Do not pass the caller's proxy variables (which happens only for proxies without a password)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    http_proxy: bool,

    /// Volumes that the image declares: anonymous (also called bind), tmpfs or ignore
    #[arg(long, value_name = "MODE", default_value = "anonymous")]
    image_volume: String,

    /// Run a small init as process 1 that forwards signals and reaps
    #[arg(long)]
    init: bool,

    /// Keep standard input open, and pass it on if attached
    #[arg(short, long)]
    pub(crate) interactive: bool,

    /// IPC namespace: private, host, shareable, container:NAME or ns:PATH
    #[arg(long, value_name = "MODE")]
    ipc: Option<String>,

    /// Set a label (KEY=VALUE; can be repeated)
    #[arg(short, long, value_name = "KEY=VALUE")]
    label: Vec<String>,

    /// Read labels from a file of KEY=VALUE lines (can be repeated)
    #[arg(long, value_name = "FILE")]
    label_file: Vec<PathBuf>,

    /// Where output is kept: k8s-file, json-file or none
    #[arg(long, value_name = "DRIVER")]
    log_driver: Option<String>,

    /// Set an option of the log: max-size, max-file, path, tag (can be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    log_opt: Vec<String>,

    /// Mount something: type=bind|volume|tmpfs|image|devpts|mqueue,source=…,target=…,… (can be repeated)
    #[arg(long, value_name = "MOUNT")]
    mount: Vec<String>,

    /// Name of the container
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// IPv4 address on the network
    #[arg(long, value_name = "IP")]
    ip: Option<String>,

    /// IPv6 address on the network
    #[arg(long, value_name = "IP")]
    ip6: Option<String>,

    /// Know another container by a name of its own (NAME[:ALIAS]; can be repeated)
    #[arg(long, value_name = "CONTAINER")]
    link: Vec<String>,

    /// Hardware address on the network
    #[arg(long, value_name = "MAC")]
    mac_address: Option<String>,

    /// Network: a name, none, host, container:NAME or ns:PATH (names can be repeated)
    ///
    /// A name may bring options: NAME:ip=IP,ip6=IP,mac=MAC,alias=NAME,interface_name=NAME.
    #[arg(long, visible_alias = "net", value_name = "NETWORK")]
    network: Vec<String>,

    /// A further name on the container's networks (can be repeated)
    #[arg(long, visible_alias = "net-alias", value_name = "NAME")]
    network_alias: Vec<String>,

    /// Leave /etc/hosts to the image
    #[arg(long)]
    no_hosts: bool,

    /// Adjust the place in the list of the out-of-memory killer (-1000 to 1000)
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    oom_score_adj: Option<i32>,

    /// PID namespace: private, host, container:NAME or ns:PATH
    #[arg(long, value_name = "MODE")]
    pid: Option<String>,

    /// Write the number of process 1 to this file at each start
    #[arg(long, value_name = "FILE")]
    pidfile: Option<PathBuf>,

    /// Confine the container as little as possible
    #[arg(long)]
    privileged: bool,

    /// Publish a port: [[IP:]HOST-PORT:]CONTAINER-PORT[/tcp|udp], ports may be ranges (can be repeated)
    #[arg(short, long, value_name = "PORT")]
    publish: Vec<String>,

    /// Publish every exposed port on some port of the host
    #[arg(short = 'P', long)]
    publish_all: bool,

    /// Mount the root file system read-only
    #[arg(long)]
    read_only: bool,

    /// With --read-only: mount writable tmpfs on /run, /tmp and /var/tmp
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    read_only_tmpfs: bool,

    /// Remove the container that has this name already
    #[arg(long)]
    pub(crate) replace: bool,

    /// When to start it again: no, always, unless-stopped, on-failure[:TIMES]
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,

    /// Remove it, with its anonymous volumes, when it has ended
    #[arg(long)]
    pub(crate) rm: bool,

    /// Use a directory as the root file system instead of an image; PATH:O keeps it unchanged
    #[arg(long)]
    rootfs: bool,

    /// Set a security option: no-new-privileges, seccomp=FILE|unconfined, mask=PATH, unmask=PATH|ALL (can be repeated)
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,

    /// Size of /dev/shm, like 64m
    #[arg(long, value_name = "SIZE")]
    shm_size: Option<String>,

    /// Signal that asks it to end
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<Signal>,

    /// Seconds between that signal and SIGKILL
    #[arg(long, value_name = "SECONDS")]
    stop_timeout: Option<u32>,

    /// Set a kernel parameter of the container's namespaces (NAME=VALUE; can be repeated)
    #[arg(long, value_name = "NAME=VALUE")]
    sysctl: Vec<String>,

    /// Mount a tmpfs (PATH[:OPTIONS]; can be repeated)
    #[arg(long, value_name = "PATH")]
    tmpfs: Vec<String>,

    /// Give it a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,

    /// Set a resource limit (NAME=SOFT[:HARD], or host; can be repeated)
    #[arg(long, value_name = "LIMIT")]
    ulimit: Vec<String>,

    /// File mode creation mask, in octal
    #[arg(long, value_name = "MASK")]
    umask: Option<String>,

    /// When to pull the image: always, missing, never, newer
    #[arg(long, default_value = "missing", value_name = "POLICY", value_parser = parse_policy)]
    pull: PullPolicy,

    /// Do not show how the image is pulled
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    platform: PlatformArgs,

    #[command(flatten)]
    registry: RegistryArgs,

    /// Leave out a variable of the image (can be repeated)
    #[arg(long, value_name = "NAME")]
    unsetenv: Vec<String>,

    /// Leave out all variables of the image
    #[arg(long)]
    unsetenv_all: bool,

    /// User and group of the process, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,

    /// User namespace: host, keep-id[:uid=N,gid=N] or nomap
    #[arg(long, value_name = "MODE")]
    userns: Option<String>,

    /// UTS namespace: private, host, container:NAME or ns:PATH
    #[arg(long, value_name = "MODE")]
    uts: Option<String>,

    /// Mount a directory, file or volume: [SOURCE:]TARGET[:OPTIONS] (can be repeated)
    #[arg(short, long, value_name = "VOLUME")]
    volume: Vec<OsString>,

    /// Mount the volumes of another container (NAME[:ro]; can be repeated)
    #[arg(long, value_name = "CONTAINER", value_delimiter = ',')]
    volumes_from: Vec<String>,

    /// Working directory
    #[arg(short, long, value_name = "DIRECTORY")]
    workdir: Option<OsString>,

    /// Image, or directory with --rootfs
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) image: OsString,

    /// Command and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl ContainerFlags {
    /// Gets the image, as `--pull` says; the built-in one is made. Returns the name it has here if that
    /// is not what was typed: an alias of registries.conf, say.
    ///
    /// # Errors
    ///
    /// Those of pulling.
    pub(crate) fn obtain_image(&self, engine: &Engine) -> Result<Option<String>> {
        let Some(image) = self.image.to_str().filter(|_| !self.rootfs) else { return Ok(None) };
        if engine.obtain_builtin(image)? {
            return Ok(None);
        }
        // The usual case costs nothing more than the look-up.
        if self.pull == PullPolicy::Missing && self.platform.wanted().is_none() && engine.image(image).is_ok()
        {
            return Ok(None);
        }
        let request = self.registry.request(self.pull, self.platform.wanted());
        let progress = Progress::new(self.quiet);
        let events = |event: &pull::PullEvent<'_>| progress.show(event);
        let pulled = pull::pull(engine, image, &request, &events)?;
        Ok(Some(pulled.name.map_or_else(|| pulled.id.hex(), |name| name.to_string())))
    }

    /// The request that the flags make. `attached`: a client is there from the start.
    ///
    /// # Errors
    ///
    /// Values that mean nothing; files that cannot be read.
    pub(crate) fn request(&self, attached: bool) -> Result<ContainerRequest> {
        let image = self.image.to_str().filter(|_| !self.rootfs).unwrap_or_default().to_owned();
        if image.is_empty() && !self.rootfs {
            return Err(Error::invalid(format!("{:?} is no name of an image", self.image)));
        }
        Ok(ContainerRequest {
            image,
            rootfs: self.rootfs.then(|| rootfs(&self.image)),
            command: self.command.iter().map(|word| word.as_os_str().into()).collect(),
            entrypoint: self.entrypoint.as_deref().map(entrypoint),
            name: self.name.clone(),
            replace: self.replace,
            env: environment(self.env_host, &self.env_file, &self.env)?,
            unset_env: self.unsetenv.clone(),
            unset_all_env: self.unsetenv_all,
            user: self.user.clone(),
            groups: self.group_add.clone(),
            workdir: self.workdir.as_deref().map(Bytes::from),
            hostname: self.hostname.clone(),
            domainname: self.domainname.clone(),
            terminal: self.tty,
            interactive: self.interactive,
            to_be_started: false,
            attached,
            auto_remove: self.rm,
            init: self.init,
            read_only: self.read_only,
            read_only_tmpfs: self.read_only_tmpfs,
            privileged: self.privileged,
            cap_add: self.cap_add.clone(),
            cap_drop: self.cap_drop.clone(),
            seccomp_profile: seccomp_profile(&self.security_opt)?,
            security_options: self.security_opt.clone(),
            mounts: self.mounts()?,
            binds: self.volume.iter().map(|text| text.to_string_lossy().into_owned()).collect(),
            volumes_from: self.volumes_from.clone(),
            image_volumes: self.image_volumes()?,
            devices: self.device.iter().map(|text| device(text)).collect::<Result<_>>()?,
            ulimits: ulimits(&self.ulimit)?,
            sysctls: pairs(&self.sysctl, "sysctl")?,
            shm_size_bytes: self.shm_size.as_deref().map(bytes).transpose()?,
            labels: self.labels()?,
            annotations: pairs(&self.annotation, "annotation")?,
            networks: self.network.clone(),
            ip: self.ip.clone(),
            ip6: self.ip6.clone(),
            mac: self.mac_address.clone(),
            network_aliases: self.network_alias.clone(),
            links: self.link.clone(),
            publish: self.publish.clone(),
            publish_all: self.publish_all,
            userns: self.userns.clone().unwrap_or_default(),
            pid: self.pid.clone().unwrap_or_default(),
            ipc: self.ipc.clone().unwrap_or_default(),
            uts: self.uts.clone().unwrap_or_default(),
            cgroupns: self.cgroupns.clone().unwrap_or_default(),
            add_hosts: self.add_host.clone(),
            dns: self.dns.clone(),
            dns_search: self.dns_search.clone(),
            dns_options: self.dns_option.clone(),
            no_hosts: self.no_hosts,
            expose: self.expose.clone(),
            stop_signal: self.stop_signal.map(Signal::number),
            stop_timeout_s: self.stop_timeout,
            restart: self.restart.as_deref().map(|text| restart(text, self.rm)).transpose()?,
            log_driver: self.log_driver.clone(),
            log_options: self.log_opt.clone(),
            oom_score_adj: self.oom_score_adj.map(oom_score).transpose()?,
            umask: self.umask.as_deref().map(umask).transpose()?,
            pid_file: self.pidfile.clone(),
            cid_file: self.cidfile.clone(),
            proxies: if self.http_proxy { config::proxies() } else { Vec::new() },
            hello: None,
            create_command: std::env::args_os().map(Bytes::from).collect(),
        })
    }

    fn mounts(&self) -> Result<Vec<mount_syntax::MountRequest>> {
        let invalid = |err: mount_syntax::MountSyntaxError| Error::invalid(err.to_string());
        let volumes = self.volume.iter().map(|text| mount_syntax::parse_volume(text));
        let mounts = self.mount.iter().map(|text| mount_syntax::parse_mount(text));
        let tmpfs = self.tmpfs.iter().map(|text| mount_syntax::parse_tmpfs(text));
        volumes.chain(mounts).chain(tmpfs).map(|mount| mount.map_err(invalid)).collect()
    }

    fn image_volumes(&self) -> Result<ImageVolumes> {
        match self.image_volume.as_str() {
            "anonymous" | "bind" => Ok(ImageVolumes::Anonymous),
            "tmpfs" => Ok(ImageVolumes::Tmpfs),
            "ignore" => Ok(ImageVolumes::Ignore),
            other => Err(Error::invalid(format!("invalid --image-volume {other:?}"))
                .hint("known are anonymous, bind, tmpfs and ignore")),
        }
    }

    fn labels(&self) -> Result<BTreeMap<String, String>> {
        let mut labels = BTreeMap::new();
        for file in &self.label_file {
            let text = String::from_utf8_lossy(&read(file)?).into_owned();
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            labels.extend(lines.map(label));
        }
        labels.extend(self.label.iter().map(|text| label(text)));
        Ok(labels)
    }
}

/// The variables that flags ask for: the caller's environment, then files, then single variables; later
/// ones win.
pub(crate) fn environment(env_host: bool, files: &[PathBuf], single: &[OsString]) -> Result<Vec<Bytes>> {
    let mut env = if env_host { config::environment_of_caller() } else { Vec::new() };
    for file in files {
        let text = read(file)?;
        for line in text.split(|&b| b == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let start = line.iter().position(|b| !b.is_ascii_whitespace()).unwrap_or(line.len());
            let line = &line[start..];
            if !line.is_empty() && line[0] != b'#' {
                variable(OsStr::from_bytes(line), &mut env)?;
            }
        }
    }
    for text in single {
        variable(text, &mut env)?;
    }
    Ok(env)
}

/// `NAME=VALUE` as it is; `NAME` and `NAME*` from the caller's environment, if they are there.
fn variable(text: &OsStr, env: &mut Vec<Bytes>) -> Result<()> {
    let bytes = text.as_bytes();
    if bytes.is_empty() || bytes[0] == b'=' {
        return Err(Error::invalid(format!("invalid variable {text:?}: it has no name")));
    }
    if bytes.contains(&b'=') {
        env.push(text.into());
    } else if let Some(prefix) = bytes.strip_suffix(b"*") {
        env.extend(config::environment_of_caller().into_iter().filter(|e| e.as_bytes().starts_with(prefix)));
    } else if let Some(value) = config::variable_of_caller(text) {
        env.push([bytes, b"=", value.as_bytes()].concat().into());
    }
    Ok(())
}

fn label(text: &str) -> (String, String) {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    (key.to_owned(), value.to_owned())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|err| {
        let mut error = Error::system(format!("open {}", path.display()), err);
        error.kind = crate::engine::Kind::Invalid;
        error
    })
}

/// `PATH` or `PATH:O`.
fn rootfs(text: &OsStr) -> (PathBuf, bool) {
    match text.as_bytes().strip_suffix(b":O") {
        Some(path) => (PathBuf::from(OsString::from_vec(path.to_vec())), true),
        None => (PathBuf::from(text), false),
    }
}

/// A JSON list of words, or one word; an empty text is no entrypoint.
fn entrypoint(text: &OsStr) -> Vec<Bytes> {
    let list = text.to_str().and_then(|text| serde_json::from_str::<Vec<String>>(text).ok());
    match list {
        Some(words) => words.into_iter().map(Bytes::from).collect(),
        None if text.is_empty() => Vec::new(),
        None => vec![text.into()],
    }
}

/// The text of the file that the last `seccomp=FILE` names.
fn seccomp_profile(options: &[String]) -> Result<Option<String>> {
    let file = options.iter().rev().find_map(|option| {
        option
            .strip_prefix("seccomp=")
            .or_else(|| option.strip_prefix("seccomp:"))
            .filter(|value| !matches!(*value, "unconfined" | "builtin" | "default"))
    });
    let Some(file) = file else { return Ok(None) };
    String::from_utf8(read(Path::new(file))?)
        .map(Some)
        .map_err(|_| Error::invalid(format!("the seccomp profile {file} is not UTF-8")))
}

/// `HOST[:CONTAINER][:rwm]`.
fn device(text: &str) -> Result<Device> {
    let bad = || Error::invalid(format!("invalid device {text:?}: write HOST[:CONTAINER][:rwm]"));
    let is_access = |part: &str| !part.is_empty() && part.bytes().all(|b| b"rwm".contains(&b));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, access) = match parts[..] {
        [source] => (source, source, "rwm"),
        [source, access] if is_access(access) => (source, source, access),
        [source, target] => (source, target, "rwm"),
        [source, target, access] if is_access(access) => (source, target, access),
        _ => return Err(bad()),
    };
    if !source.starts_with('/') || !target.starts_with('/') {
        return Err(bad());
    }
    Ok(Device { source: source.into(), target: target.into(), access: access.to_owned() })
}

/// The limits asked for; `host` is all of the caller's.
fn ulimits(texts: &[String]) -> Result<Vec<Rlimit>> {
    let mut limits: Vec<Rlimit> = Vec::new();
    for text in texts {
        match rlimit::parse(text).map_err(|err| Error::invalid(err.to_string()))? {
            Ulimit::Host => {
                for (name, _) in rlimit::all() {
                    if let Some((soft, hard)) = crate::engine::config::limit_of_caller(name) {
                        limits.push(Rlimit { name: name.to_owned(), soft, hard });
                    }
                }
            }
            Ulimit::Limit(limit) => {
                limits.retain(|known| known.name != limit.name);
                limits.push(limit);
            }
        }
    }
    Ok(limits)
}

fn pairs(texts: &[String], what: &str) -> Result<BTreeMap<String, String>> {
    texts
        .iter()
        .map(|text| {
            let (key, value) = text
                .split_once('=')
                .filter(|(key, _)| !key.is_empty())
                .ok_or_else(|| Error::invalid(format!("invalid {what} {text:?}: write KEY=VALUE")))?;
            Ok((key.to_owned(), value.to_owned()))
        })
        .collect()
}

fn bytes(text: &str) -> Result<u64> {
    size::parse(text).map_err(|err| Error::invalid(err.to_string()))
}

fn umask(text: &str) -> Result<u32> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mask| *mask <= 0o777)
        .ok_or_else(|| Error::invalid(format!("invalid umask {text:?}: write an octal number up to 0777")))
}

fn oom_score(score: i32) -> Result<i32> {
    if (-1000..=1000).contains(&score) {
        return Ok(score);
    }
    Err(Error::invalid(format!("invalid --oom-score-adj {score}: it is a number from -1000 to 1000")))
}

fn restart(text: &str, auto_remove: bool) -> Result<RestartPolicy> {
    let bad = || {
        Error::invalid(format!("{text:?} is not a valid restart policy"))
            .hint("known are no, always, unless-stopped and on-failure[:TIMES]")
    };
    let policy = match text.split_once(':') {
        None => match text {
            "no" | "never" | "" => RestartPolicy::No,
            "always" => RestartPolicy::Always,
            "unless-stopped" => RestartPolicy::UnlessStopped,
            "on-failure" => RestartPolicy::OnFailure { max: 0 },
            _ => return Err(bad()),
        },
        Some(("on-failure", max)) => RestartPolicy::OnFailure { max: max.parse().map_err(|_| bad())? },
        Some(_) => return Err(bad()),
    };
    if auto_remove && matches!(policy, RestartPolicy::Always | RestartPolicy::UnlessStopped) {
        return Err(Error::invalid(
            "the --rm option conflicts with --restart, when the restartPolicy is not \"\" and \"no\"",
        ));
    }
    Ok(policy)
}
