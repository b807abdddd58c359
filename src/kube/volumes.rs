//! A pod's volumes: what has to be there for them, and how a container has them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use crate::base::bytes::Bytes;
use crate::base::mount_syntax::{self, MountKindRequest, MountRequest};
use crate::base::spec::Device;
use crate::engine::{Error, Kind, Result};
use crate::kube::files;
use crate::kube::plan::Facts;
use crate::kube::types::{Data, Files, HostKind, Pod, Pull, Volume, VolumeMount, VolumeSource};
use crate::kube::variables::no_secret;

/// The mode of files of ConfigMaps and Secrets.
const MODE: u32 = 0o644;

/// What a pod's volumes need before a container can have them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// A file of the host.
    Host { volume: String, path: PathBuf, kind: HostKind },
    /// A volume with just these files: path, content and mode; and what they are of.
    Filled { name: String, origin: String, files: Vec<(String, Vec<u8>, u32)> },
    /// An image that is mounted.
    Image { reference: String, pull: Option<Pull> },
}

/// How a container has a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Had {
    Mount(Box<MountRequest>),
    Device(Device),
}

fn failed(volume: &str, why: impl std::fmt::Display) -> Error {
    Error::invalid(format!("failed to create volume {volume:?}: {why}"))
}

/// What the volumes of a pod need, whether or not a container has them.
///
/// # Errors
///
/// Volumes of kinds that there are not here; ConfigMaps and Secrets that are missing, and their keys.
pub(crate) fn needs(pod: &Pod, facts: &Facts<'_>) -> Result<Vec<Need>> {
    let mut needs = Vec::new();
    for volume in &pod.volumes {
        let name = &volume.name;
        match &volume.source {
            VolumeSource::HostPath { path, kind } if path.contains('/') => {
                needs.push(Need::Host { volume: name.clone(), path: path.into(), kind: *kind });
            }
            VolumeSource::HostPath { .. } | VolumeSource::EmptyDir { .. } | VolumeSource::Claim { .. } => {}
            VolumeSource::ConfigMap(files) => {
                let data = facts.config_maps.get(&files.name).cloned();
                let missing = || format!("no such ConfigMap {:?}", files.name);
                needs.extend(filled(pod, volume, files, (data, facts.earlier), missing)?);
            }
            VolumeSource::Secret(files) => {
                let data = (facts.secret)(&files.name);
                let missing = || no_secret(&files.name);
                needs.extend(filled(pod, volume, files, (data, facts.earlier), missing)?);
            }
            VolumeSource::Image { reference, pull } => {
                needs.push(Need::Image { reference: reference.clone(), pull: *pull });
            }
            VolumeSource::Other(kind) => {
                let why = format!(
                    "{kind}: HostPath, ConfigMap, EmptyDir, Secret, Image and PersistentVolumeClaim are the supported kinds of volumes"
                );
                return Err(Error::new(Kind::Unsupported, failed(name, why).to_string()));
            }
        }
    }
    Ok(needs)
}

/// The files of a ConfigMap or Secret; `None` if it may be missing and is.
fn filled(
    pod: &Pod,
    had: &Volume,
    wanted: &Files,
    (data, earlier): (Option<Data>, &[&Pod]),
    missing: impl Fn() -> String,
) -> Result<Option<Need>> {
    let volume = &had.name;
    let Some(data) = data else {
        return if wanted.optional { Ok(None) } else { Err(failed(volume, missing())) };
    };
    let mode = wanted.mode.unwrap_or(MODE);
    let mut files = Vec::new();
    if wanted.items.is_empty() {
        files.extend(data.into_iter().map(|(key, content)| (key, content, mode)));
    } else {
        for (key, path, own) in &wanted.items {
            match data.get(key) {
                Some(content) => files.push((path.clone(), content.clone(), own.unwrap_or(mode))),
                None if wanted.optional => {}
                None => return Err(failed(volume, format!("{} has no key {key:?}", wanted.name))),
            }
        }
    }
    if let Some((path, ..)) = files.iter().find(|(path, ..)| !stays_inside(path)) {
        return Err(failed(volume, format!("{path:?} must be a path below the volume, without ..")));
    }
    let origin = files::origin(&had.source).unwrap_or_default();
    Ok(Some(Need::Filled { name: files::stored_name(earlier, pod, had, wanted), origin, files }))
}

/// Whether a path is one of names only.
fn stays_inside(path: &str) -> bool {
    !path.is_empty()
        && Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

/// How a container has what an entry of its `volumeMounts` names; `sub_path` is the entry's, with variables replaced.
/// `None` for a volume that may be missing and is.
///
/// # Errors
///
/// A volume that the pod has not; paths that are none.
pub(super) fn had(pod: &Pod, wanted: &VolumeMount, sub_path: &str, facts: &Facts<'_>) -> Result<Option<Had>> {
    let Some(volume) = pod.volumes.iter().find(|volume| volume.name == wanted.name) else {
        return Err(Error::invalid(format!(
            "volume mount {} specified for container but not configured in volumes",
            wanted.name
        )));
    };
    // podman takes the options of `-v` behind a colon.
    let typed = format!("v:{}", wanted.path);
    let mut mount = mount_syntax::parse_volume(OsStr::new(&typed)).map_err(|err| match err {
        mount_syntax::MountSyntaxError::Relative(path) => Error::invalid(format!(
            "parsing MountPath: invalid container path {path:?}, must be an absolute path"
        )),
        err => Error::invalid(format!("parsing MountPath: {err}")),
    })?;
    if !sub_path.is_empty() && !stays_inside(sub_path) {
        return Err(Error::invalid(format!(
            "subPath {sub_path:?} must be a path below the volume, without .."
        )));
    }
    let (chown, copy_up) = match &mount.kind {
        MountKindRequest::Volume { chown, copy_up, .. } => (*chown, *copy_up),
        _ => (false, true),
    };
    let subpath = (!sub_path.is_empty()).then(|| Bytes::from(sub_path));
    let named = |name: &str, copy_up: bool, options: Vec<String>| MountKindRequest::Volume {
        name: Some(name.to_owned()),
        copy_up,
        chown,
        subpath: subpath.clone(),
        driver_options: options,
        labels: Vec::new(),
    };
    mount.read_only |= wanted.read_only;
    mount.propagation = wanted.propagation.map(str::to_owned).or(mount.propagation);
    mount.kind = match &volume.source {
        VolumeSource::HostPath { path, kind: HostKind::CharDevice | HostKind::BlockDevice } => {
            let access = if mount.read_only { "r" } else { "rwm" };
            let device = Device { source: path.into(), target: mount.target, access: access.to_owned() };
            return Ok(Some(Had::Device(device)));
        }
        VolumeSource::HostPath { path, .. } if path.contains('/') => match subpath {
            None => MountKindRequest::Bind { source: path.into(), recursive: true, chown, glob: false },
            Some(below) => MountKindRequest::Below { directory: path.into(), path: below, chown },
        },
        VolumeSource::HostPath { path, .. } => named(path, copy_up, Vec::new()),
        VolumeSource::EmptyDir { .. } => {
            let (name, options) = passing(volume, facts.passing);
            named(&name, copy_up, options)
        }
        VolumeSource::Claim { name, read_only } => {
            mount.read_only |= read_only;
            named(name, copy_up, Vec::new())
        }
        // What a manifest says is all that is in these.
        VolumeSource::ConfigMap(files) => match facts.config_maps.contains_key(&files.name) {
            true => named(&files::stored_name(facts.earlier, pod, volume, files), false, Vec::new()),
            false => return Ok(None),
        },
        VolumeSource::Secret(files) => match (facts.secret)(&files.name) {
            Some(_) => named(&files::stored_name(facts.earlier, pod, volume, files), false, Vec::new()),
            None => return Ok(None),
        },
        VolumeSource::Image { reference, .. } => {
            mount.read_only = true;
            MountKindRequest::Image { reference: reference.clone(), subpath, writable: false }
        }
        VolumeSource::Other(kind) => return Err(failed(&volume.name, kind)),
    };
    Ok(Some(Had::Mount(Box::new(mount))))
}

/// The name and the options of the volume that an `emptyDir` is: one of the pod, which goes with it.
fn passing(volume: &Volume, names: &BTreeMap<String, String>) -> (String, Vec<String>) {
    let name = names.get(&volume.name).cloned().unwrap_or_else(|| volume.name.clone());
    let VolumeSource::EmptyDir { memory: true, limit } = &volume.source else { return (name, Vec::new()) };
    let mut options = vec!["type=tmpfs".to_owned(), "device=tmpfs".to_owned()];
    options.extend(limit.map(|limit| format!("o=size={}", limit.value())));
    (name, options)
}

/// The volumes of a pod that go with it: they get names of their own.
pub(crate) fn empty_dirs(pod: &Pod) -> impl Iterator<Item = &str> {
    let is_empty = |volume: &&Volume| matches!(volume.source, VolumeSource::EmptyDir { .. });
    pod.volumes.iter().filter(is_empty).map(|volume| volume.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::plan::tests::{facts, pod};

    fn of(volumes: &str, mount: &str) -> (Pod, VolumeMount) {
        let text = format!(
            "metadata: {{name: p}}\nspec: {{volumes: [{volumes}], containers: [{{name: c, volumeMounts: [{mount}]}}]}}\n"
        );
        let pod = pod(&text);
        let mount = pod.containers[0].mounts[0].clone();
        (pod, mount)
    }

    fn shown(volumes: &str, mount: &str) -> std::result::Result<String, String> {
        let (pod, wanted) = of(volumes, mount);
        let maps = BTreeMap::from([("cm".to_owned(), Data::new())]);
        let passing = BTreeMap::from([("e".to_owned(), "feed-e".to_owned())]);
        let facts = Facts { config_maps: &maps, passing: &passing, ..facts() };
        let had = had(&pod, &wanted, &wanted.sub_path, &facts).map_err(|err| err.to_string())?;
        Ok(match had {
            None => "nothing".to_owned(),
            Some(Had::Device(device)) => format!("device {} {}", device.source.display(), device.access),
            Some(Had::Mount(mount)) => {
                let what = match &mount.kind {
                    MountKindRequest::Bind { source, .. } => format!("bind {}", source.display()),
                    MountKindRequest::Below { directory, path, .. } => {
                        format!("bind {} below {}", path.to_string_lossy(), directory.display())
                    }
                    MountKindRequest::Volume { name, subpath, driver_options, copy_up, .. } => format!(
                        "volume {}{}{}{}",
                        name.as_deref().unwrap_or("-"),
                        subpath.as_ref().map_or(String::new(), |path| format!("/{}", path.to_string_lossy())),
                        if *copy_up { "" } else { " as it is" },
                        driver_options.iter().map(|option| format!(" {option}")).collect::<String>(),
                    ),
                    MountKindRequest::Image { reference, .. } => format!("image {reference}"),
                    other => format!("{other:?}"),
                };
                let mode = if mount.read_only { " ro" } else { "" };
                let propagation = mount.propagation.as_ref().map_or(String::new(), |text| format!(" {text}"));
                format!("{what} at {}{mode}{propagation}", mount.target.to_string_lossy())
            }
        })
    }

    #[test]
    fn volumes_are_had() {
        for (volume, mount, want) in [
            (
                "{name: v, hostPath: {path: /h}}",
                "{name: v, mountPath: /m, readOnly: true}",
                "bind /h at /m ro",
            ),
            (
                "{name: v, hostPath: {path: /h}}",
                "{name: v, mountPath: /m, subPath: a/b, mountPropagation: Bidirectional}",
                "bind a/b below /h at /m rshared",
            ),
            ("{name: v, hostPath: {path: nv}}", "{name: v, mountPath: /m}", "volume nv at /m"),
            (
                "{name: v, hostPath: {path: /dev/x, type: CharDevice}}",
                "{name: v, mountPath: /m}",
                "device /dev/x rwm",
            ),
            ("{name: e, emptyDir: {}}", "{name: e, mountPath: /m}", "volume feed-e at /m"),
            ("{name: e}", "{name: e, mountPath: '/m:ro'}", "volume feed-e at /m ro"),
            (
                "{name: e, emptyDir: {medium: Memory, sizeLimit: 1Mi}}",
                "{name: e, mountPath: /m}",
                "volume feed-e type=tmpfs device=tmpfs o=size=1048576 at /m",
            ),
            (
                "{name: v, persistentVolumeClaim: {claimName: pv, readOnly: true}}",
                "{name: v, mountPath: /m, subPath: s}",
                "volume pv/s at /m ro",
            ),
            ("{name: v, configMap: {name: cm}}", "{name: v, mountPath: /m}", "volume cm as it is at /m"),
            ("{name: v, configMap: {name: no, optional: true}}", "{name: v, mountPath: /m}", "nothing"),
            (
                "{name: v, secret: {secretName: sec}}",
                "{name: v, mountPath: /m, mountPropagation: HostToContainer}",
                "volume sec as it is at /m rslave",
            ),
            ("{name: v, image: {reference: i}}", "{name: v, mountPath: /m}", "image i at /m ro"),
        ] {
            assert_eq!(shown(volume, mount).unwrap(), want, "{volume}");
        }
        for (volume, mount, message) in [
            (
                "",
                "{name: v, mountPath: /m}",
                "volume mount v specified for container but not configured in volumes",
            ),
            (
                "{name: e}",
                "{name: e, mountPath: m}",
                "parsing MountPath: invalid container path \"m\", must be an absolute path",
            ),
            (
                "{name: e}",
                "{name: e, mountPath: /m, subPath: ../x}",
                "subPath \"../x\" must be a path below the volume, without ..",
            ),
        ] {
            assert_eq!(shown(volume, mount).unwrap_err(), message);
        }
    }

    #[test]
    fn needs_of_volumes() {
        let wanted = |volumes: &str| {
            let (pod, _) = of(volumes, "{name: x, mountPath: /m}");
            needs(&pod, &facts()).map_err(|err| err.to_string())
        };
        let files = |files: &[(&str, &[u8], u32)]| Need::Filled {
            name: "sec".to_owned(),
            origin: "Secret/sec".to_owned(),
            files: files
                .iter()
                .map(|(path, data, mode)| ((*path).to_owned(), data.to_vec(), *mode))
                .collect(),
        };
        assert_eq!(wanted("{name: v, secret: {secretName: sec}}").unwrap(), [files(&[("sk", b"sv", 0o644)])]);
        assert_eq!(
            wanted("{name: v, secret: {secretName: sec, defaultMode: 0400, items: [{key: sk, path: a/b}, {key: sk, path: c, mode: 0600}]}}").unwrap(),
            [files(&[("a/b", b"sv", 0o400), ("c", b"sv", 0o600)])]
        );
        assert_eq!(wanted("{name: v, secret: {secretName: no, optional: true}}").unwrap(), []);
        for (volumes, message) in [
            (
                "{name: v, secret: {secretName: no}}",
                "failed to create volume \"v\": no secret with name or id \"no\": no such secret",
            ),
            ("{name: v, configMap: {name: no}}", "failed to create volume \"v\": no such ConfigMap \"no\""),
            (
                "{name: v, secret: {secretName: sec, items: [{key: no, path: a}]}}",
                "failed to create volume \"v\": sec has no key \"no\"",
            ),
            (
                "{name: v, secret: {secretName: sec, items: [{key: sk, path: ../a}]}}",
                "failed to create volume \"v\": \"../a\" must be a path below the volume, without ..",
            ),
        ] {
            assert_eq!(wanted(volumes).unwrap_err(), message);
        }
        assert!(
            wanted("{name: v, nfs: {server: a}}")
                .unwrap_err()
                .starts_with("failed to create volume \"v\": nfs: ")
        );
    }
}
