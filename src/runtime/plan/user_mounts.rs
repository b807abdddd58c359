//! The mounts that the user and the image ask for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::base::bytes::Bytes;
use crate::base::idmap::IdMap;
use crate::base::spec::{ContainerSpec, Mount, MountKind};
use crate::runtime::step::{MountPlan, MountSource};
use crate::sys::mount::attr;

use super::{Places, SAFE, VolumePlan, file_system, key_values, layer_paths, overlay_directory};

/// A mount of something of the host's, as the monitor needs it that prepares it.
#[derive(Debug)]
pub(crate) struct OfTheHost {
    /// Its number in the spec.
    pub(crate) index: usize,
    pub(crate) plan: MountPlan,
    /// It shows the owners on the disk as other IDs.
    pub(crate) idmap: bool,
    /// As which, if not as the container's.
    pub(crate) shown_ids: Option<(IdMap, IdMap)>,
    /// The volume that it shows.
    pub(crate) volume: Option<String>,
}

/// The mounts that show files and directories of the host as they are, volumes among them.
pub(crate) fn of_the_host(
    spec: &ContainerSpec,
    places: &Places,
    volumes: &BTreeMap<String, VolumePlan>,
) -> Vec<OfTheHost> {
    let mounts = spec.mounts.iter().enumerate();
    let plans = mounts.map(|(index, mount)| OfTheHost {
        index,
        plan: user_mount(mount, index, places, volumes),
        idmap: mount.idmap,
        shown_ids: mount.shown_ids.clone(),
        volume: match &mount.kind {
            MountKind::Volume { name, .. } => Some(name.clone()),
            _ => None,
        },
    });
    plans.filter(|mount| mount.plan.source.is_of_the_host()).collect()
}

/// A volume that is no directory is one mount. Where the container has it at several places, it is made for the first of
/// them, and the others get what is there.
pub(super) fn shared_among_themselves<'a>(
    mounts: impl Iterator<Item = (&'a Mount, MountPlan)>,
) -> Vec<MountPlan> {
    let mut first_targets: BTreeMap<&'a str, Bytes> = BTreeMap::new();
    let share = |(mount, plan): (&'a Mount, MountPlan)| {
        let MountKind::Volume { name, .. } = &mount.kind else { return plan };
        if !matches!(plan.source, MountSource::FileSystem { .. } | MountSource::Detached(_)) {
            return plan;
        }
        match first_targets.get(name.as_str()) {
            Some(first) => MountPlan { source: MountSource::Earlier(first.clone()), copy_up: false, ..plan },
            None => {
                first_targets.insert(name, plan.target.clone());
                plan
            }
        }
    };
    mounts.map(share).collect()
}

/// What a bind shows. A source that has to lie `within` a directory is looked up below that one at each start: links that
/// a container has planted there since lead nowhere else (CVE-2017-1002101).
fn bound(source: &Path, within: Option<&Path>, recursive: bool) -> MountSource {
    match within {
        None => MountSource::Host { path: source.to_owned(), recursive },
        Some(base) => MountSource::Below {
            base: base.to_owned(),
            path: Bytes::from(source.strip_prefix(base).unwrap_or(source)),
            recursive,
        },
    }
}

/// A mount that the user or the image asks for.
pub(super) fn user_mount(
    mount: &Mount,
    index: usize,
    places: &Places,
    volumes: &BTreeMap<String, VolumePlan>,
) -> MountPlan {
    let volume = match &mount.kind {
        MountKind::Volume { name, .. } => volumes.get(name),
        _ => None,
    };
    let (source, defaults, chown, copy_up) = match &mount.kind {
        MountKind::Bind { source, recursive, chown, within } => {
            let source = bound(source, within.as_deref(), *recursive);
            // What it is on the host it is inside, as with podman and docker: devices can be used, unless the kernel is told
            // which (`monitor::cgroups`). What is written above an overlay is the container's.
            let defaults = if mount.overlay.is_some() { attr::NOSUID | attr::NODEV } else { 0 };
            (source, defaults, *chown, false)
        }
        MountKind::Volume { name, copy_up, subpath, chown, .. } => {
            let whole = volume.and_then(|volume| volume.source.clone()).unwrap_or_else(|| {
                MountSource::Host { path: places.volumes.join(name).join("data"), recursive: false }
            });
            let source = match (subpath, whole) {
                (Some(path), MountSource::Host { path: base, .. }) => {
                    MountSource::Below { base, path: path.clone(), recursive: false }
                }
                (_, whole) => whole,
            };
            let is_shared = matches!(source, MountSource::Detached(_));
            let copy_up = *copy_up && !is_shared && volume.is_none_or(|volume| !volume.no_copy);
            (source, attr::NOSUID | attr::NODEV, *chown, copy_up)
        }
        MountKind::Tmpfs { data, copy_up, chown, ramfs } => {
            let kind = if *ramfs { "ramfs" } else { "tmpfs" };
            // What `df` and `mount` show first.
            let mut options = vec![("source", kind)];
            options.extend(key_values(data));
            (file_system(kind, &options), attr::NOSUID | attr::NODEV, *chown, *copy_up)
        }
        MountKind::Devpts { data } => {
            let own = [("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620")];
            let wanted = key_values(data);
            let kept = own.into_iter().filter(|(key, _)| !wanted.iter().any(|(other, _)| other == key));
            let options: Vec<_> = kept.chain(wanted.iter().copied()).collect();
            (file_system("devpts", &options), attr::NOSUID | attr::NOEXEC, false, false)
        }
        MountKind::Mqueue => (file_system("mqueue", &[]), SAFE, false, false),
        MountKind::Image { layers, subpath, .. } => {
            let lowers = layer_paths(layers, places);
            let read_only = if mount.overlay.is_some() { 0 } else { attr::RDONLY };
            let source = MountSource::Image { lowers, subpath: subpath.clone() };
            (source, attr::NOSUID | attr::NODEV | read_only, false, false)
        }
        MountKind::Tree { lowers, path, scratch } => {
            let lowers = lowers.iter().map(|lower| lower.as_path().to_owned()).collect();
            let (path, scratch) = (path.clone(), scratch.clone());
            (MountSource::Tree { lowers, path, scratch }, attr::NOSUID | attr::NODEV, false, false)
        }
    };
    let source = match &mount.overlay {
        None => source,
        Some(overlay) => {
            let own = places.container.join(overlay_directory(index));
            let place = |named: &Option<PathBuf>, name| named.clone().unwrap_or_else(|| own.join(name));
            let (upper, work) = (place(&overlay.upper, "upper"), place(&overlay.work, "work"));
            MountSource::Overlay { below: Box::new(source), upper, work }
        }
    };
    let own_flags = volume.map_or(&[][..], |volume| &volume.flags);
    let (set, clear) = flags(&[own_flags, &mount.options[..]].concat());
    let read_only = mount.read_only || own_flags.iter().any(|flag| flag == "ro");
    let read_only = if read_only { attr::RDONLY } else { 0 };
    MountPlan {
        target: mount.target.clone(),
        recursive: matches!(mount.kind, MountKind::Bind { recursive: true, .. }) && mount.overlay.is_none(),
        source,
        attributes: (defaults & !clear) | set | read_only,
        clear: clear & attr::ATIME_MASK,
        propagation: mount.propagation.as_deref().map_or(0, propagation),
        no_symlinks: false,
        optional: false,
        copy_up,
        chown,
        adopt: matches!(&mount.kind, MountKind::Volume { subpath: None, .. })
            && volume.is_some_and(|volume| {
                volume.is_new && matches!(volume.source, None | Some(MountSource::Host { .. }))
            }),
        owner: volume.and_then(|volume| volume.owner),
    }
}

/// The attributes that mount options set, and those that they clear.
fn flags(options: &[String]) -> (u64, u64) {
    options.iter().fold((0, 0), |(set, clear), option| match option.as_str() {
        "nosuid" => (set | attr::NOSUID, clear),
        "suid" => (set, clear | attr::NOSUID),
        "nodev" => (set | attr::NODEV, clear),
        "dev" => (set, clear | attr::NODEV),
        "noexec" => (set | attr::NOEXEC, clear),
        "exec" => (set, clear | attr::NOEXEC),
        "noatime" => (set | attr::NOATIME, clear | attr::ATIME_MASK),
        "strictatime" => (set | attr::STRICTATIME, clear | attr::ATIME_MASK),
        "nodiratime" => (set | attr::NODIRATIME, clear),
        _ => (set, clear),
    })
}

/// The `MS_*` flag of a propagation by name; the `r` of a recursive one is in the mount's `recursive`.
fn propagation(name: &str) -> u64 {
    match name.trim_start_matches('r') {
        "slave" => libc::MS_SLAVE,
        "shared" => libc::MS_SHARED,
        "unbindable" => libc::MS_UNBINDABLE,
        _ => libc::MS_PRIVATE,
    }
}
