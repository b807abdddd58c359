//! What a service's container has mounted: volumes, tmpfs, secrets and configs.

use std::path::PathBuf;

use crate::base::bytes::Bytes;
use crate::base::etc::SecretUse;
use crate::base::image_ref::NameRule;
use crate::base::mount_syntax::{self, MountKindRequest, MountRequest};
use crate::compose::node::Node;
use crate::compose::project::Project;
use crate::compose::translate::{Files, int, list, pairs, texts};
use crate::engine::request::ContainerRequest;
use crate::engine::{Error, Kind, Result, config};

pub(super) fn mounts(
    project: &Project,
    service: &Node,
    files: &Files,
    request: &mut ContainerRequest,
) -> Result<()> {
    for volume in list(service, "volumes") {
        let mount = mount(project, volume)?;
        if let Some(source) = bind_text(project, volume) {
            request.binds.push(source);
        }
        request.mounts.push(mount);
    }
    for tmpfs in texts(service, "tmpfs") {
        let (target, options) = mount_syntax::split_tmpfs(&tmpfs);
        request.tmpfs.insert(target.to_owned(), options.to_owned());
        let tmpfs = mount_syntax::parse_tmpfs(&tmpfs).map_err(|err| Error::invalid(err.to_string()))?;
        request.mounts.push(tmpfs);
    }
    for (section, inside) in [("secrets", "/run/secrets/"), ("configs", "/")] {
        for entry in list(service, section) {
            let key = entry.str_at("source").unwrap_or_default().to_owned();
            let target = entry.str_at("target").unwrap_or(&key).to_owned();
            let target = if target.starts_with('/') { target } else { format!("{inside}{target}") };
            let Some(source) = files.get(&(section, key.clone())) else {
                // One that is not the project's: it is in ketch's own store.
                if section == "secrets" {
                    let name = project.full_name(section, &key);
                    let copy = copied(project, entry, &key, &target)?;
                    request.secrets.push(format!(
                        "{name},type=mount,target={target},uid={},gid={},mode={:o}",
                        copy.uid, copy.gid, copy.mode
                    ));
                    continue;
                }
                return Err(Error::invalid(format!(
                    "unsupported external {} {key}",
                    &section[..section.len() - 1]
                ))
                .hint("give it a file, an environment variable or (a config) a content"));
            };
            if is_copied(entry) {
                request.copies.push((source.clone(), copied(project, entry, &key, &target)?));
                continue;
            }
            request.mounts.push(bound(source.clone(), &target, true));
        }
    }
    Ok(())
}

/// A file of the host at a path inside.
fn bound(source: PathBuf, target: &str, read_only: bool) -> MountRequest {
    MountRequest {
        kind: MountKindRequest::Bind { source, recursive: true, chown: false, glob: false },
        target: target.into(),
        read_only,
        options: Vec::new(),
        propagation: None,
        overlay: None,
        idmap: None,
    }
}

/// Mounts the socket that `system service` listens at, and the credentials for registries, where docker mounts its own.
///
/// # Errors
///
/// If nothing listens.
pub(super) fn api_socket(service: &str, request: &mut ContainerRequest, rule: NameRule) -> Result<()> {
    let socket = config::service_socket();
    if !socket.exists() {
        let message = format!("service {service}: use_api_socket: nothing listens at {}", socket.display());
        return Err(Error::new(Kind::Unsupported, message).hint("start it: ketch system service --time 0 &"));
    }
    request.mounts.push(bound(socket, "/var/run/docker.sock", false));
    let credentials = config::registries::credentials_to_write(None, rule).map(|(file, _)| file);
    if let Some(file) = credentials.filter(|file| file.is_file()) {
        request.mounts.push(bound(file, "/run/secrets/docker/config.json", true));
        request.env.push(Bytes::from("DOCKER_CONFIG=/run/secrets/docker"));
    }
    Ok(())
}

/// Whether a service wants a secret or config with an owner or a mode of its own, and so a copy of it.
pub(super) fn is_copied(entry: &Node) -> bool {
    ["uid", "gid", "mode"].iter().any(|key| entry.get(key).is_some())
}

/// How a container gets a secret or config of its own.
fn copied(project: &Project, entry: &Node, key: &str, target: &str) -> Result<SecretUse> {
    let id = |field: &str| match entry.str_at(field).map(str::parse::<u32>) {
        None => Ok(0),
        Some(Ok(id)) => Ok(id),
        Some(Err(_)) => {
            Err(project.files.error(entry.at, format!("{field} of {key:?} must be the number of an ID")))
        }
    };
    let mode = int(entry.get("mode")).and_then(|mode| u32::try_from(mode).ok()).unwrap_or(0o444);
    Ok(SecretUse {
        id: String::new(),
        name: key.to_owned(),
        variable: None,
        target: target.into(),
        mode: mode & 0o7777,
        uid: id("uid")?,
        gid: id("gid")?,
    })
}

/// A volume in the words of `-v`, for `inspect`.
fn bind_text(project: &Project, volume: &Node) -> Option<String> {
    let source = volume.str_at("source")?;
    let source = match volume.str_at("type") {
        Some("volume") => project.full_name("volumes", source),
        _ => source.to_owned(),
    };
    let mode = if volume.flag("read_only") { "ro" } else { "rw" };
    Some(format!("{source}:{}:{mode}", volume.str_at("target")?))
}

fn mount(project: &Project, volume: &Node) -> Result<MountRequest> {
    let source = volume.str_at("source").unwrap_or_default();
    let part = |section: &str, key: &str| volume.get(section).and_then(|node| node.get(key));
    let kind = match volume.str_at("type") {
        Some("bind") => MountKindRequest::Bind {
            source: source.into(),
            recursive: part("bind", "recursive").and_then(Node::as_str) != Some("disabled"),
            chown: false,
            glob: false,
        },
        Some("tmpfs") => {
            let size = part("tmpfs", "size").and_then(Node::scalar_text).map(|size| format!("size={size}"));
            let mode = int(part("tmpfs", "mode")).map(|mode| format!("mode={mode:o}"));
            let data = size.into_iter().chain(mode).collect();
            MountKindRequest::Tmpfs { data, copy_up: false, chown: false, ramfs: false }
        }
        Some("image") => MountKindRequest::Image {
            reference: source.to_owned(),
            subpath: part("image", "subpath").and_then(Node::as_str).map(Bytes::from),
            writable: false,
        },
        Some("volume") => MountKindRequest::Volume {
            name: (!source.is_empty()).then(|| project.full_name("volumes", source)),
            copy_up: !volume.get("volume").is_some_and(|options| options.flag("nocopy")),
            chown: false,
            subpath: part("volume", "subpath").and_then(Node::as_str).map(Bytes::from),
            driver_options: Vec::new(),
            labels: pairs(part("volume", "labels"))
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect(),
        },
        other => {
            let other = other.unwrap_or_default();
            return Err(Error::invalid(format!("mounts of type {other:?} are not for Linux")));
        }
    };
    Ok(MountRequest {
        kind,
        target: volume.str_at("target").unwrap_or_default().into(),
        read_only: volume.flag("read_only"),
        options: Vec::new(),
        propagation: part("bind", "propagation").and_then(Node::as_str).map(str::to_owned),
        overlay: None,
        idmap: None,
    })
}
