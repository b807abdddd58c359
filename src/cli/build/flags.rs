//! Flags of `build`, by group, and what they mean.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::base::csv;
use crate::base::image_ref::NameRule;
use crate::base::mount_syntax;
use crate::cli::container_flags::bytes;
use crate::cli::container_flags::limits::LimitFlags;
use crate::cli::container_flags::mounts::device;
use crate::cli::container_flags::security::seccomp_profile;
use crate::documents::words;
use crate::engine::build::request::{BuildRequest, Secret};
use crate::engine::request::ContainerRequest;
use crate::engine::{Error, Kind, Result, config};

/// Where files come from.
#[derive(Args, Debug)]
#[command(next_help_heading = "Source")]
pub(crate) struct SourceFlags {
    /// Set an ARG (NAME=VALUE; NAME alone takes the caller's variable; can be repeated)
    #[arg(long, value_name = "NAME=VALUE")]
    build_arg: Vec<String>,

    /// Read ARGs from a file, NAME=VALUE per line (can be repeated)
    #[arg(long, value_name = "FILE")]
    build_arg_file: Vec<PathBuf>,

    /// A further context: NAME=DIRECTORY, =ADDRESS, =docker-image://IMAGE or =oci-layout://DIRECTORY[:NAME|@DIGEST] (can be repeated)
    #[arg(long, value_name = "NAME=SOURCE")]
    build_context: Vec<String>,

    /// The Containerfile or Dockerfile: a path, an address or `-` (can be repeated)
    #[arg(short, long, value_name = "FILE")]
    file: Vec<OsString>,

    /// Argument for the C preprocessor, which reads Dockerfiles whose name ends in `.in` (can be repeated)
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    cpp_flag: Vec<String>,

    /// An image in place of the first FROM's
    #[arg(long, value_name = "IMAGE")]
    from: Option<String>,

    /// File with patterns of what is left out of the context
    #[arg(long, value_name = "FILE")]
    ignorefile: Option<PathBuf>,

    /// A secret for RUN --mount=type=secret: id=ID,src=FILE or id=ID,env=NAME (can be repeated)
    #[arg(long, value_name = "SECRET")]
    secret: Vec<String>,

    /// An SSH agent's socket for RUN --mount=type=ssh: default, or ID[=SOCKET] (can be repeated)
    #[arg(long, value_name = "ID[=SOCKET]")]
    ssh: Vec<String>,

    /// Build this stage and what it uses
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
}

/// The image.
#[derive(Args, Debug)]
#[command(next_help_heading = "Image")]
pub(crate) struct ImageFlags {
    /// Add an annotation to the manifest, or with index: before the key to the list of several (can be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    annotation: Vec<String>,

    /// Keep layers as they are (=true) or compressed, which is ketch's way
    #[arg(short = 'D', long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    disable_compression: Option<bool>,

    /// Set a variable of the image (can be repeated)
    #[arg(long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,

    /// Say by a label, io.ketch.version, what has built the image; left out unless it is asked for
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    identity_label: Option<bool>,

    /// Set a label of the image (can be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,

    /// Leave the history out
    #[arg(long)]
    omit_history: bool,

    /// Set a feature that the image needs of its operating system (can be repeated)
    #[arg(long, value_name = "FEATURE")]
    os_feature: Vec<String>,

    /// Set the version of its operating system that the image needs
    #[arg(long, value_name = "VERSION")]
    os_version: Option<String>,

    /// Make the image as old as this, in seconds since 1970, and no file of new layers younger
    #[arg(long, value_name = "SECONDS")]
    source_date_epoch: Option<i64>,

    /// Make one layer of all that is new
    #[arg(long)]
    squash: bool,

    /// Make one layer of everything, the base image included
    #[arg(long)]
    squash_all: bool,

    /// Name the image (can be repeated)
    #[arg(short, long, value_name = "NAME")]
    tag: Vec<String>,

    /// The same as --source-date-epoch
    #[arg(long, value_name = "SECONDS")]
    timestamp: Option<i64>,

    /// Take a variable of the base image away (can be repeated)
    #[arg(long, value_name = "NAME")]
    unsetenv: Vec<String>,

    /// Take a label of the base image away (can be repeated)
    #[arg(long, value_name = "KEY")]
    unsetlabel: Vec<String>,
}

/// The containers of RUN.
#[derive(Args, Debug)]
#[command(next_help_heading = "Containers of RUN")]
pub(crate) struct RunFlags {
    /// Add a custom host-to-IP mapping (NAME:IP; can be repeated)
    #[arg(long, value_name = "NAME:IP")]
    add_host: Vec<String>,

    /// Add a capability (can be repeated)
    #[arg(long, value_name = "CAPABILITY", value_delimiter = ',')]
    cap_add: Vec<String>,

    /// Drop a capability (can be repeated)
    #[arg(long, value_name = "CAPABILITY", value_delimiter = ',')]
    cap_drop: Vec<String>,

    /// The cgroup namespace: private or host
    #[arg(long, value_name = "NAMESPACE", default_value = "", hide_default_value = true)]
    cgroupns: String,

    /// Let what RUN changes in directories of VOLUME be lost
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(super) compat_volumes: Option<bool>,

    /// Give them a device of the host (HOST[:CONTAINER][:rwm]; can be repeated)
    #[arg(long, value_name = "DEVICE")]
    device: Vec<String>,

    /// Use this name server instead of the host's (can be repeated)
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    dns: Vec<String>,

    /// Set a resolver option (can be repeated)
    #[arg(long, value_name = "OPTION")]
    dns_option: Vec<String>,

    /// Set a search domain; `.` for none (can be repeated)
    #[arg(long, value_name = "DOMAIN", value_delimiter = ',')]
    dns_search: Vec<String>,

    /// Add a group (can be repeated)
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,

    /// Give them the caller's proxies
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    http_proxy: bool,

    /// The IPC namespace: private, host or shareable
    #[arg(long, value_name = "NAMESPACE", default_value = "", hide_default_value = true)]
    ipc: String,

    /// How they are isolated: ketch has one way, called oci, rootless or default; chroot gets that too
    #[arg(long, value_name = "WAY", env = "BUILDAH_ISOLATION", default_value = "default", value_parser = ["default", "oci", "rootless", "chroot"])]
    isolation: String,

    /// Network: a name, default, none or host
    #[arg(long, visible_alias = "net", value_name = "NETWORK")]
    network: Vec<String>,

    /// Leave /etc/hostname to the image
    #[arg(long)]
    no_hostname: bool,

    /// Leave /etc/hosts to the image
    #[arg(long)]
    no_hosts: bool,

    /// The PID namespace: private or host
    #[arg(long, value_name = "NAMESPACE", default_value = "", hide_default_value = true)]
    pid: String,

    /// Security options, as for run (can be repeated)
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,

    /// Size of /dev/shm, like 64m
    #[arg(long, value_name = "SIZE")]
    shm_size: Option<String>,

    /// Let RUN read the command's standard input
    #[arg(long)]
    stdin: bool,

    /// The user namespace: private or host
    #[arg(long, value_name = "NAMESPACE", default_value = "", hide_default_value = true, value_parser = ["", "private", "host"], hide_possible_values = true)]
    userns: String,

    /// The UTS namespace: private or host
    #[arg(long, value_name = "NAMESPACE", default_value = "", hide_default_value = true)]
    uts: String,

    /// Mount a directory or file of the host: SOURCE:TARGET[:OPTIONS] (can be repeated)
    #[arg(short, long, value_name = "VOLUME")]
    volume: Vec<OsString>,

    #[command(flatten)]
    limits: LimitFlags,
}

impl SourceFlags {
    /// Puts these flags' part into a request.
    pub(super) fn fill(&self, request: &mut BuildRequest) -> Result<()> {
        for path in &self.build_arg_file {
            for line in
                read(path)?.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
            {
                argument(line, &mut request.args);
            }
        }
        self.build_arg.iter().for_each(|text| argument(text, &mut request.args));
        for text in &self.build_context {
            let (name, source) = pair(text, "--build-context", "NAME=SOURCE")?;
            request.contexts.insert(name, source);
        }
        request.files = self.file.iter().map(|file| file.clone().into()).collect();
        request.base.clone_from(&self.from);
        request.ignore_file.clone_from(&self.ignorefile);
        request.target.clone_from(&self.target);
        request.preprocessor.clone_from(&self.cpp_flag);
        for text in &self.secret {
            let (id, secret) = secret(text)?;
            request.secrets.insert(id, secret);
        }
        for text in &self.ssh {
            let (id, socket) = text.split_once('=').unwrap_or((text, ""));
            let socket = match socket {
                "" => config::variable_of_caller("SSH_AUTH_SOCK".as_ref()).map(PathBuf::from).ok_or_else(
                    || {
                        Error::invalid(format!("--ssh {id}: no agent: SSH_AUTH_SOCK is not set"))
                            .hint("start one: eval $(ssh-agent); ssh-add")
                    },
                )?,
                path => PathBuf::from(path),
            };
            request.agents.insert(
                if id.is_empty() { "default" } else { id }.to_owned(),
                config::directory()?.join(socket),
            );
        }
        Ok(())
    }
}

impl ImageFlags {
    /// Puts these flags' part into a request.
    pub(super) fn fill(&self, request: &mut BuildRequest, rule: NameRule) -> Result<()> {
        for text in &self.annotation {
            let (key, value) = pair(text, "--annotation", "KEY=VALUE")?;
            annotate(request, &key, &value)?;
        }
        for text in &self.env {
            request.env.push(match text.contains('=') {
                true => text.clone(),
                false => format!("{text}={}", of_caller(text).unwrap_or_default()),
            });
        }
        for text in &self.label {
            let (key, value) = text.split_once('=').unwrap_or((text, ""));
            request.labels.insert(key.to_owned(), value.to_owned());
        }
        if self.identity_label == Some(true) {
            request.labels.insert("io.ketch.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        }
        request.os_features.clone_from(&self.os_feature);
        request.os_version.clone_from(&self.os_version);
        request.uncompressed = self.disable_compression == Some(true);
        request.unset_env.clone_from(&self.unsetenv);
        request.unset_labels.clone_from(&self.unsetlabel);
        request.omit_history = self.omit_history;
        request.single_layer |= self.squash;
        request.squash_all = self.squash_all;
        let of_args =
            request.args.get("SOURCE_DATE_EPOCH").cloned().or_else(|| of_caller("SOURCE_DATE_EPOCH"));
        let of_args = of_args.map(|text| {
            text.parse()
                .map_err(|_| Error::invalid(format!("SOURCE_DATE_EPOCH={text}: not a number of seconds")))
        });
        request.times.epoch = self.timestamp.or(self.source_date_epoch).or(of_args.transpose()?);
        for name in &self.tag {
            let full = crate::engine::image::new_name(name, rule).map_err(|err| match rule {
                NameRule::Docker => Error {
                    message: format!("invalid tag {name:?}: {}", words::dockers(&err.message)),
                    ..err
                },
                NameRule::Podman => err,
            })?;
            request.names.push(full);
        }
        Ok(())
    }
}

impl RunFlags {
    /// What the containers of RUN have in common.
    pub(super) fn request(&self) -> Result<ContainerRequest> {
        let mut request = ContainerRequest::default();
        request.add_hosts.clone_from(&self.add_host);
        request.cap_add.clone_from(&self.cap_add);
        request.cap_drop.clone_from(&self.cap_drop);
        request.cgroupns.clone_from(&self.cgroupns);
        request.devices = self.device.iter().map(|text| device(text)).collect::<Result<_>>()?;
        request.dns.clone_from(&self.dns);
        request.dns_options.clone_from(&self.dns_option);
        request.dns_search.clone_from(&self.dns_search);
        request.groups.clone_from(&self.group_add);
        request.ipc.clone_from(&self.ipc);
        request.networks = self.network.iter().filter(|name| *name != "default").cloned().collect();
        request.no_hosts = self.no_hosts;
        request.no_hostname = self.no_hostname;
        request.interactive = self.stdin;
        request.pid.clone_from(&self.pid);
        request.seccomp_profile = seccomp_profile(&self.security_opt)?;
        request.security_options.clone_from(&self.security_opt);
        request.shm_size_bytes = self.shm_size.as_deref().map(bytes).transpose()?;
        // Another map would give the files of the layers to other IDs.
        request.userns = if self.userns == "host" { self.userns.clone() } else { String::new() };
        request.uts.clone_from(&self.uts);
        let volume =
            |text: &OsString| mount_syntax::parse_volume(text).map_err(|err| Error::invalid(err.to_string()));
        request.mounts = self.volume.iter().map(volume).collect::<Result<_>>()?;
        request.binds = self.volume.iter().map(|text| text.to_string_lossy().into_owned()).collect();
        if self.http_proxy {
            request.proxies = config::proxies();
        }
        self.limits.fill(&mut request)?;
        Ok(request)
    }
}

/// An ARG: its value, or the caller's variable of that name.
fn argument(text: &str, args: &mut BTreeMap<String, String>) {
    match text.split_once('=') {
        Some((name, value)) => drop(args.insert(name.to_owned(), value.to_owned())),
        None => match of_caller(text) {
            Some(value) => drop(args.insert(text.to_owned(), value)),
            None => drop(args.remove(text)),
        },
    }
}

/// An annotation: of the image's manifest, or with Docker's prefix `index:` of the list of several.
pub(super) fn annotate(request: &mut BuildRequest, key: &str, value: &str) -> Result<()> {
    let (of, rest) = key.split_once(':').unwrap_or(("", key));
    let (of, rest) = match of {
        "manifest" | "index" => (of, rest),
        _ if of.contains('[') || of.ends_with("-descriptor") => {
            let message = format!("annotation {key:?}: ketch annotates manifests and indexes as a whole");
            return Err(
                Error::new(Kind::Unsupported, message).hint("write manifest:KEY=VALUE or index:KEY=VALUE")
            );
        }
        // A key may have a colon.
        _ => ("manifest", key),
    };
    if rest.is_empty() {
        return Err(Error::invalid(format!("annotation {key:?}: it needs a key")));
    }
    if of == "index" {
        request.index_annotations.push((rest.to_owned(), value.to_owned()));
    } else {
        request.annotations.insert(rest.to_owned(), value.to_owned());
    }
    Ok(())
}

fn of_caller(name: &str) -> Option<String> {
    config::variable_of_caller(name.as_ref()).and_then(|value| value.into_string().ok())
}

fn pair(text: &str, flag: &str, form: &str) -> Result<(String, String)> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Error::invalid(format!("{flag} {text:?}: write {form}"))),
    }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path)
        .map_err(|err| Error::invalid(format!("read {}", path.display())).because(err))
}

/// Reads `id=ID[,src=FILE|,env=NAME][,type=file|env]`.
fn secret(text: &str) -> Result<(String, Secret)> {
    let (mut id, mut file, mut variable, mut is_env) = (None, None, None, false);
    for field in csv::fields(text) {
        let bad = || {
            Error::invalid(format!("--secret {text:?}: {field:?} is not known"))
                .hint("write id=ID,src=FILE or id=ID,env=NAME")
        };
        let (key, value) = field.split_once('=').ok_or_else(bad)?;
        match key {
            "id" => id = Some(value.to_owned()),
            "src" | "source" => file = Some(PathBuf::from(value)),
            "env" => variable = Some(value.to_owned()),
            "type" if value == "env" => is_env = true,
            "type" if value == "file" => {}
            _ => return Err(bad()),
        }
    }
    let id = id.ok_or_else(|| Error::invalid(format!("--secret {text:?}: it needs an id")))?;
    let secret = match (file, variable) {
        (_, Some(variable)) => Secret::Variable(variable),
        (Some(file), None) if is_env => Secret::Variable(file.to_string_lossy().into_owned()),
        (Some(file), None) => Secret::File(file),
        (None, None) if is_env || of_caller(&id).is_some() => Secret::Variable(id.clone()),
        (None, None) => Secret::File(PathBuf::from(&id)),
    };
    if let Secret::File(path) = &secret {
        std::fs::metadata(path)
            .map_err(|err| Error::invalid(format!("--secret {id}: {}", path.display())).because(err))?;
    }
    Ok((id, secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations() {
        let mut request = BuildRequest::default();
        for (key, value) in [("a", "1"), ("manifest:b", "2"), ("index:c", "3"), ("x:d", "4")] {
            annotate(&mut request, key, value).unwrap();
        }
        let said: Vec<_> = request.annotations.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(said, [("a", "1"), ("b", "2"), ("x:d", "4")]);
        assert_eq!(request.index_annotations, [("c".to_owned(), "3".to_owned())]);
        for key in ["index:", "manifest[linux/amd64]:a", "manifest-descriptor:a", "index-descriptor:a"] {
            assert!(annotate(&mut request, key, "1").is_err(), "{key}");
        }
    }

    #[test]
    fn secrets() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        std::fs::write(&file, "x").unwrap();
        let text = format!("id=a,src={}", file.display());
        assert_eq!(secret(&text).unwrap(), ("a".to_owned(), Secret::File(file)));
        assert_eq!(secret("id=a,env=B").unwrap(), ("a".to_owned(), Secret::Variable("B".to_owned())));
        for text in ["src=x", "id=a,src=/does/not/exist", "id=a,wrong=1", "a"] {
            assert!(secret(text).is_err(), "{text}");
        }
    }
}
