//! What a container's directory needs before a start: upper directories of mounts with `:O`, the owners of
//! secrets, the file of the time zone.

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::base::bytes::Bytes;
use crate::base::etc::SecretUse;
use crate::base::idmap::IdMap;
use crate::base::spec::{ContainerSpec, MountKind};
use crate::runtime::failure::Failure;
use crate::runtime::plan::{self, ZONE_FILE};
use crate::store::secrets::{self, MAX_BYTES};
use crate::sys::fs;

/// Prepares the container's `directory`, and answers with the secrets that are variables, as `KEY=value`.
///
/// `maps` are those of its user namespace, if it gets one of its own.
pub(super) fn prepare(
    spec: &ContainerSpec,
    directory: &Path,
    store: &Path,
    maps: Option<&(IdMap, IdMap)>,
) -> Result<Vec<Bytes>, Failure> {
    for (index, mount) in spec.mounts.iter().enumerate() {
        let Some(overlay) = &mount.overlay else { continue };
        if overlay.upper.is_none() {
            let source = match &mount.kind {
                MountKind::Bind { source, .. } => Some(source.clone()),
                MountKind::Volume { name, .. } => Some(store.join("volumes").join(name).join("data")),
                _ => None,
            };
            let place = directory.join(plan::overlay_directory(index));
            new_overlay(&place, source.as_deref())
                .map_err(|err| Failure::errno(format!("make {}", place.display()), err))?;
        }
    }
    if let Some(zone) = &spec.etc.zone_file {
        std::fs::copy(zone, directory.join(ZONE_FILE.0))
            .map_err(|err| Failure::errno(format!("copy the time zone {}", zone.display()), err))?;
    }
    secrets(spec, directory, store, maps)
}

/// New, empty directories for the changes above `source`, whose owner and mode the upper one takes.
fn new_overlay(place: &Path, source: Option<&Path>) -> io::Result<()> {
    match std::fs::remove_dir_all(place) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
        _ => {}
    }
    let upper = place.join("upper");
    std::fs::create_dir_all(&upper)?;
    std::fs::create_dir(place.join("work"))?;
    let (mode, owner) = match source.map(std::fs::metadata).transpose()? {
        Some(found) => (found.mode() & 0o7777, Some((found.uid(), found.gid()))),
        None => (0o755, None),
    };
    if let Some((uid, gid)) = owner {
        // The owner may be nobody of ours; the directory is then root's.
        std::os::unix::fs::chown(&upper, Some(uid), Some(gid)).ok();
    }
    std::fs::set_permissions(&upper, std::fs::Permissions::from_mode(mode))
}

/// Gives the secrets that are files to their owners, and reads those that are variables.
fn secrets(
    spec: &ContainerSpec,
    directory: &Path,
    store: &Path,
    maps: Option<&(IdMap, IdMap)>,
) -> Result<Vec<Bytes>, Failure> {
    let failed_to = |name: &str, err: io::Error| Failure::errno(format!("prepare secret {name}"), err);
    for (index, secret) in spec.secrets.iter().enumerate() {
        if secret.variable.is_some() {
            continue;
        }
        let path = directory.join(plan::secret_file(index));
        let failed = |err| failed_to(&secret.name, err);
        let outside = |map: fn(&(IdMap, IdMap)) -> &IdMap, id| match maps {
            Some(maps) => map(maps).to_outside(id),
            None => Some(id),
        };
        let owner = outside(|maps| &maps.0, secret.uid).zip(outside(|maps| &maps.1, secret.gid));
        let (uid, gid) = owner.ok_or_else(|| {
            failed(io::Error::other(format!("{}:{} is nobody inside", secret.uid, secret.gid)))
        })?;
        std::os::unix::fs::chown(&path, Some(uid), Some(gid)).map_err(failed)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(secret.mode)).map_err(failed)?;
    }
    secret_variables(spec, directory, store).map_err(|(name, err)| failed_to(&name, err))
}

/// The secrets of the container in `directory` that are variables, as `KEY=value`. Those of the store have the values that
/// they have there now, as with podman: who replaces one gives it to the next start.
///
/// # Errors
///
/// The name of the secret that cannot be read, and why.
pub(crate) fn secret_variables(
    spec: &ContainerSpec,
    directory: &Path,
    store: &Path,
) -> Result<Vec<Bytes>, (String, io::Error)> {
    let variable = |(index, secret): (usize, &SecretUse)| {
        let name = secret.variable.as_ref()?;
        let value = match secret.is_read_at_start() {
            true => secrets::read_data(store, &secret.name),
            false => fs::read_at(rustix::fs::CWD, directory.join(plan::secret_file(index)), MAX_BYTES),
        };
        let value = value.map_err(|err| match err.kind() {
            io::ErrorKind::NotFound => io::Error::other("no such secret"),
            _ => err,
        });
        let line = value.map(|value| Bytes::from([name.as_bytes(), b"=", &value].concat()));
        Some(line.map_err(|err| (secret.name.clone(), err)))
    };
    spec.secrets.iter().enumerate().filter_map(variable).collect()
}
