//! Mounts: of the command line, of other containers, of the image; each target once.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::base::bytes::Bytes;
use crate::base::idmap::{IdExtent, IdMap};
use crate::base::idmap_syntax::ShownIds;
use crate::base::manifest::ContainerDefaults;
use crate::base::mount_syntax::{self, MountKindRequest, MountRequest};
use crate::base::order::InOrder as _;
use crate::base::spec::{Mount, MountKind, MountOverlay, UserNamespace};
use crate::engine::error::{Error, Kind, Result};
use crate::engine::request::{ContainerRequest, ImageVolumes};
use crate::engine::resolve::Facts;

/// Where systemd wants a tmpfs.
const SYSTEMD_TMPFS: [&str; 4] = ["/run", "/run/lock", "/tmp", "/var/log/journal"];

/// All mounts, parents before children. What is asked for wins over what the image declares.
pub(super) fn mounts(
    request: &ContainerRequest,
    defaults: &ContainerDefaults,
    facts: &Facts<'_>,
    systemd: bool,
) -> Result<Vec<Mount>> {
    let mut mounts: Vec<Mount> = Vec::new();
    for wish in &request.mounts {
        let mut mount = mount(wish, facts)?;
        if let MountKind::Volume { name, anonymous, .. } = &mut mount.kind {
            *anonymous |= request.passing_volumes.contains(name);
        }
        match mounts.iter_mut().find(|other| other.target == mount.target) {
            None => mounts.push(mount),
            // The same once more, and the last of several `--tmpfs`, as with podman and docker.
            Some(other) if *other == mount || is_tmpfs(other) && is_tmpfs(&mount) => *other = mount,
            Some(_) => {
                return Err(Error::invalid(format!(
                    "{}: duplicate mount destination",
                    mount.target.to_string_lossy()
                )));
            }
        }
    }
    let mut add_if_free = |mount: Mount| {
        if !mounts.iter().any(|other| other.target == mount.target) {
            mounts.push(mount);
        }
    };
    facts.volumes_from.iter().cloned().for_each(&mut add_if_free);
    for target in &defaults.volumes {
        if let Some(mount) = image_volume(target, request.image_volumes.unwrap_or_default(), facts)? {
            add_if_free(mount);
        }
    }
    if systemd {
        for target in SYSTEMD_TMPFS {
            let size = request.systemd_size_bytes.filter(|_| target.starts_with("/run"));
            add_if_free(tmpfs(target.into(), size.map(|size| format!("size={size}")).into_iter().collect()));
        }
    }
    if request.read_only && request.read_only_tmpfs {
        for target in ["/run", "/tmp", "/var/tmp"] {
            add_if_free(tmpfs(target.into(), Vec::new()));
        }
    }
    mounts.order_by_key(|a| depth(&a.target));
    Ok(mounts)
}

fn depth(target: &Bytes) -> usize {
    target.as_bytes().iter().filter(|&&b| b == b'/').count()
}

fn is_tmpfs(mount: &Mount) -> bool {
    matches!(mount.kind, MountKind::Tmpfs { .. })
}

fn tmpfs(target: Bytes, data: Vec<String>) -> Mount {
    Mount::plain(target, MountKind::Tmpfs { data, copy_up: true, chown: false, ramfs: false })
}

/// Targets of tmpfs that `--tmpfs` did not ask for, but `--mount`.
pub(super) fn mounted_tmpfs(request: &ContainerRequest) -> Vec<Bytes> {
    let of_flag = |target: &Bytes| {
        let is_target = |typed: &String| {
            mount_syntax::clean_target(typed.as_bytes()) == mount_syntax::clean_target(target.as_bytes())
        };
        request.tmpfs.keys().any(is_target)
    };
    let asked = request.mounts.iter().filter(|mount| matches!(mount.kind, MountKindRequest::Tmpfs { .. }));
    asked.map(|mount| mount.target.clone()).filter(|target| !of_flag(target)).collect()
}

fn mount(wish: &MountRequest, facts: &Facts<'_>) -> Result<Mount> {
    let is_bind = matches!(wish.kind, MountKindRequest::Bind { .. } | MountKindRequest::Below { .. });
    let target = target(wish.target.as_bytes(), "mount", is_bind)?;
    let kind = match &wish.kind {
        MountKindRequest::Bind { source, recursive, chown, glob: _ } => {
            let source = host_path(source, facts)?;
            MountKind::Bind { source, recursive: *recursive, chown: *chown, within: None }
        }
        MountKindRequest::Below { directory, path, chown } => {
            let directory = host_path(directory, facts)?;
            let source = directory.join(path.as_path()).components().collect();
            MountKind::Bind { source, recursive: true, chown: *chown, within: Some(directory) }
        }
        MountKindRequest::Volume { name, copy_up, chown, subpath, .. } => MountKind::Volume {
            anonymous: name.is_none(),
            name: name.clone().unwrap_or_else(facts.new_volume_name),
            copy_up: *copy_up,
            subpath: subpath.clone(),
            chown: *chown,
        },
        MountKindRequest::Tmpfs { data, copy_up, chown, ramfs } => {
            MountKind::Tmpfs { data: data.clone(), copy_up: *copy_up, chown: *chown, ramfs: *ramfs }
        }
        MountKindRequest::Devpts { data } => MountKind::Devpts { data: data.clone() },
        MountKindRequest::Mqueue => MountKind::Mqueue,
        MountKindRequest::Image { reference, subpath, .. } => MountKind::Image {
            layers: (facts.find_image_layers)(reference)?,
            subpath: subpath.clone(),
            reference: reference.clone(),
        },
    };
    let writable_image = matches!(wish.kind, MountKindRequest::Image { writable: true, .. });
    let overlay = match &wish.overlay {
        Some(wanted) => Some(MountOverlay {
            upper: wanted.upper.as_deref().map(|path| host_path(path, facts)).transpose()?,
            work: wanted.work.as_deref().map(|path| host_path(path, facts)).transpose()?,
        }),
        None => writable_image.then(MountOverlay::default),
    };
    if overlay.as_ref().is_some_and(|overlay| overlay.upper.is_some() != overlay.work.is_some()) {
        return Err(Error::invalid("upperdir and workdir must be specified together for an overlay volume"));
    }
    let (idmap, shown_ids) = idmap(wish, facts)?;
    Ok(Mount {
        target,
        kind,
        read_only: wish.read_only,
        options: wish.options.clone(),
        propagation: wish.propagation.clone(),
        overlay,
        idmap,
        shown_ids,
    })
}

/// Whether the mount is to show the owners on the disk as other IDs, and as which if not as the container's. Only files of the
/// host have others.
fn idmap(wish: &MountRequest, facts: &Facts<'_>) -> Result<(bool, Option<(IdMap, IdMap)>)> {
    let is_of_the_host = matches!(
        wish.kind,
        MountKindRequest::Bind { .. } | MountKindRequest::Below { .. } | MountKindRequest::Volume { .. }
    );
    let has_same_ids = matches!(facts.userns, UserNamespace::Default | UserNamespace::Host);
    let Some(wanted) = wish.idmap.as_ref().filter(|_| is_of_the_host) else { return Ok((false, None)) };
    let is_own = wanted.uids.is_some() || wanted.gids.is_some();
    if has_same_ids && !is_own {
        return Ok((false, None));
    }
    if !facts.is_root {
        let message = "idmapped mounts are for root of the host: the kernel refuses them to users";
        return Err(Error::new(Kind::Unsupported, message)
            .hint("leave out idmap; with --userns=keep-id your files are yours inside"));
    }
    let all = || IdMap(vec![IdExtent { inside: 0, outside: 0, len: u32::MAX }]);
    let containers = match &facts.userns {
        UserNamespace::Maps { uids, gids } => Some((uids.clone(), gids.clone())),
        UserNamespace::Container { .. } | UserNamespace::Path(_) => None,
        _ => Some((all(), all())),
    };
    if !is_own && containers.is_some() {
        return Ok((true, None));
    }
    let half = |ids: &Option<Vec<ShownIds>>, container: Option<IdMap>| {
        let needs_container = ids.as_ref().is_none_or(|ids| ids.iter().any(|ids| ids.of_container));
        if needs_container && container.is_none() {
            let message = "idmap needs a user namespace of the container's own";
            return Err(
                Error::new(Kind::Unsupported, message).hint("--userns=auto, --uidmap and --gidmap make one")
            );
        }
        let container = container.unwrap_or_default();
        Ok(match ids {
            Some(ids) => IdMap(ids.iter().flat_map(|ids| ids.extents(&container)).collect()),
            None if has_same_ids => IdMap::default(),
            None => container,
        })
    };
    let (uids, gids) = containers.unzip();
    let (uids, gids) = (half(&wanted.uids, uids)?, half(&wanted.gids, gids)?);
    if uids.size() == 0 || gids.size() == 0 {
        let target = wish.target.to_string_lossy();
        return Err(Error::invalid(format!("invalid mappings specified for the mount on `{target}`"))
            .hint("write idmap=uids=ON_DISK-SHOWN-COUNT;gids=ON_DISK-SHOWN-COUNT"));
    }
    Ok((true, Some((uids, gids))))
}

/// A source as an absolute path of the host; `~` is the caller's home.
fn host_path(source: &Path, facts: &Facts<'_>) -> Result<PathBuf> {
    let bytes = source.as_os_str().as_bytes();
    match (bytes.strip_prefix(b"~"), &facts.home) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with(b"/") => {
            let rest = rest.strip_prefix(b"/").unwrap_or(rest);
            Ok(home.join(OsStr::from_bytes(rest)))
        }
        // Without `.` and doubled slashes, as `inspect` shows it.
        _ => Ok(facts.directory.join(source).components().collect()),
    }
}

/// The target of a mount: absolute, without `.` and `..`, and not one of the trees that ketch makes. What the host
/// shows of its kernel may be shown instead of the container's own (`-v /dev:/dev`, distrobox and toolbox do so).
fn target(path: &[u8], what: &str, is_bind: bool) -> Result<Bytes> {
    let shown = String::from_utf8_lossy(path).into_owned();
    if !path.starts_with(b"/") {
        return Err(Error::invalid(format!("{what} on {shown:?}: the path must be absolute")));
    }
    let clean = mount_syntax::clean_target(path);
    let refused = clean == Path::new("/")
        || clean == Path::new("/proc")
        || !is_bind && (clean == Path::new("/sys") || clean == Path::new("/dev"))
        || clean.starts_with("/proc/");
    if refused {
        return Err(Error::invalid(format!(
            "{what} on {shown:?} is not allowed: it would hide what confines the container"
        )));
    }
    Ok(clean.into())
}

/// A volume that the image declares.
fn image_volume(declared: &str, how: ImageVolumes, facts: &Facts<'_>) -> Result<Option<Mount>> {
    let target = || {
        let has_control = declared.chars().any(char::is_control);
        let has_parent = Path::new(declared).components().any(|c| c == Component::ParentDir);
        if has_control || has_parent {
            return Err(Error::invalid(format!(
                "image declares volume {declared:?}, which is no clean path"
            )));
        }
        target(declared.as_bytes(), "image declares volume, mount", false)
            .map_err(|err| Error::invalid(format!("image declares volume {declared:?}: {}", err.message)))
    };
    Ok(match how {
        ImageVolumes::Ignore => None,
        ImageVolumes::Tmpfs => Some(tmpfs(target()?, Vec::new())),
        ImageVolumes::Anonymous => {
            let kind = MountKind::Volume {
                name: (facts.new_volume_name)(),
                anonymous: true,
                copy_up: true,
                subpath: None,
                chown: false,
            };
            Some(Mount::plain(target()?, kind))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        for (path, want) in [
            ("/a", Some("/a")),
            ("/a/./b/../c/", Some("/a/c")),
            ("/dev/shm", Some("/dev/shm")),
            ("/sys/fs/x", Some("/sys/fs/x")),
        ] {
            assert_eq!(
                target(path.as_bytes(), "mount", false).ok().as_ref().and_then(Bytes::as_str),
                want,
                "{path}"
            );
        }
        for bad in ["/", "/..", "/proc", "/proc/self/attr", "/a/../proc/sys", "/sys", "/dev", "a", ""] {
            assert!(target(bad.as_bytes(), "mount", false).is_err(), "{bad}");
            let is_shown = ["/sys", "/dev"].contains(&bad);
            assert_eq!(target(bad.as_bytes(), "mount", true).is_ok(), is_shown, "{bad}");
        }
    }
}
