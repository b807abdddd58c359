//! `pod clone`: another pod like one that there is; and putting the clone of a container into a pod.
//!
//! ```text
//! record ─▶ renewed                          infra container ─▶ renewed, with what was asked for
//! each other container ─▶ renewed, its references renamed ─▶ settled: what it has of its pod is that of the new one
//! ```

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use jiff::Timestamp;

use crate::base::id::ContainerId;
use crate::base::limits::{Cgroup, Limits};
use crate::base::pod::{Membership, PodId, Share};
use crate::base::spec::{
    ContainerSpec, Mount, MountKind, Namespace, NetworkMode, RestartPolicy, Root, Seccomp, UserNamespace,
};
use crate::engine::clone::{free_names, rename_host, renewed};
use crate::engine::create::{random, volumes_of};
use crate::engine::list::Container;
use crate::engine::pod::create::{infra_of, usual_infra_name};
use crate::engine::pod::{Pod, PodRequest};
use crate::engine::remove::Removing;
use crate::engine::request::ContainerRequest;
use crate::engine::resolve::limits;
use crate::engine::userns::is_auto;
use crate::engine::{Engine, Error, Result, expand};
use crate::store::pods::PodRecord;
use crate::store::volumes::VolumeRecord;

/// What is to be different about the clone of a pod.
#[derive(Debug, Default)]
pub(crate) struct PodCloneRequest {
    /// Name (`None`: `<name>-clone`, with a number if that is taken), further labels, restart policy, cgroup, and what the
    /// infra container is asked to have besides. The rest is as with the original.
    pub(crate) pod: PodRequest,
    /// Remove the original afterwards, also if it runs.
    pub(crate) destroy: bool,
}

/// What the containers of a clone call each other.
#[derive(Default)]
struct Renamed {
    containers: BTreeMap<ContainerId, ContainerId>,
    /// Anonymous volumes.
    volumes: BTreeMap<String, String>,
}

impl Engine {
    /// Makes a pod like pod `id`, with clones of all its containers. Nothing of it runs yet.
    ///
    /// # Errors
    ///
    /// Conflict for a name in use; what cannot be cloned. Nothing is left behind then.
    pub(crate) fn clone_pod(&self, id: &PodId, request: &PodCloneRequest) -> Result<PodId> {
        self.sweep();
        let original = self.pod_details(id)?;
        let record = self.clone_record(&original.record, &request.pod)?;
        if let Err(err) = self.clone_members(&original, &record, &request.pod) {
            let how = Removing { force: true, ..Removing::default() };
            self.remove_pod(&record.id, &how).ok();
            return Err(err);
        }
        self.record_pod("create", &record);
        if request.destroy {
            let how = Removing { force: true, ..Removing::default() };
            self.remove_pod(id, &how)?.into_iter().next().map_or(Ok(()), Err)?;
        }
        Ok(record.id)
    }

    fn clone_record(&self, original: &PodRecord, request: &PodRequest) -> Result<PodRecord> {
        let above = Cgroup { limits: original.limits.clone(), ..Cgroup::default() };
        let mut labels = original.labels.clone();
        labels.extend(request.labels.clone());
        let record = PodRecord {
            id: PodId::from_random(random()?),
            created: Timestamp::now(),
            labels,
            hostname: request.hostname.clone().unwrap_or_else(|| original.hostname.clone()),
            restart: request.restart.or(original.restart),
            cgroup_parent: match request.cgroup_parent.as_str() {
                "" => original.cgroup_parent.clone(),
                parent => parent.to_owned(),
            },
            systemd_size_bytes: request.systemd_size_bytes.or(original.systemd_size_bytes),
            limits: match request.limits == Limits::default() {
                true => original.limits.clone(),
                false => limits::updated(&above, &request.limits)?,
            },
            create_command: request.create_command.clone(),
            ..original.clone()
        };
        let names: Vec<String> = match &request.name {
            Some(name) => vec![name.clone()],
            None => free_names(&original.name).collect(),
        };
        self.write_pod_record(record, names.into_iter())
    }

    fn clone_members(&self, original: &Pod, record: &PodRecord, request: &PodRequest) -> Result<()> {
        let mut renamed = Renamed::default();
        let mut members = Vec::new();
        for one in
            original.infra().into_iter().chain(original.containers.iter().filter(|one| !one.is_infra()))
        {
            let spec = self.container_spec(&one.id)?;
            renamed.containers.insert(one.id.clone(), ContainerId::from_random(random()?));
            for volume in spec.anonymous_volumes() {
                renamed.volumes.insert(volume.to_owned(), ContainerId::from_random(random()?).to_string());
            }
            members.push((one, spec));
        }
        for (one, spec) in members {
            let volumes = self.volumes_like(&spec, &renamed)?;
            let mut spec = renamed.of(spec);
            if one.is_infra() {
                let (_ranges, more) = self.renew_infra(&mut spec, &original.record, record, request)?;
                let usual = one.name == usual_infra_name(&original.record.id);
                let wanted = request.infra.as_ref().and_then(|infra| infra.name.clone());
                let name = wanted.or_else(|| usual.then(|| usual_infra_name(&record.id)));
                self.write_clone(&spec, &one.id, name.as_deref(), &[volumes, more].concat())?;
                continue;
            }
            let had = original.record.restart.unwrap_or(RestartPolicy::No);
            if let Some(policy) = request.restart.filter(|_| spec.restart == had && takes_restart(&spec)) {
                spec.restart = policy;
            }
            if let Some(bytes) = request.systemd_size_bytes.filter(|_| spec.systemd) {
                spec.mounts.iter_mut().for_each(|mount| give_size(mount, bytes));
            }
            self.settle(&mut spec, record.id.as_str(), false)?;
            self.write_clone(&spec, &one.id, None, &volumes)?;
        }
        Ok(())
    }

    /// The anonymous volumes of a container under their new names.
    fn volumes_like(&self, spec: &ContainerSpec, renamed: &Renamed) -> Result<Vec<VolumeRecord>> {
        let like = |name: &str| {
            let new = VolumeRecord::new(&renamed.volumes[name], true);
            Ok(match self.store().volumes().get(name) {
                Ok(old) => VolumeRecord { labels: old.labels, options: old.options, ..new },
                Err(err) if err.is_not_found() => new,
                Err(err) => return Err(err.into()),
            })
        };
        spec.anonymous_volumes().map(like).collect()
    }

    /// Makes of the description of an infra container that of its clone, with what was asked for. Answers with a lock that is
    /// to be held until it is written down, and new volumes.
    fn renew_infra(
        &self,
        spec: &mut ContainerSpec,
        original: &PodRecord,
        record: &PodRecord,
        request: &PodRequest,
    ) -> Result<(Option<OwnedFd>, Vec<VolumeRecord>)> {
        spec.pod = Some(Membership { infra: true, ..Membership::of(record.id.clone()) });
        spec.cgroup.parent.clone_from(&record.cgroup_parent);
        spec.cgroup.group = record.cgroup_group();
        spec.create_command.clone_from(&record.create_command);
        if spec.labels == original.labels {
            spec.labels.clone_from(&record.labels);
        }
        if let NetworkMode::Bridge(attachments) = &mut spec.network.mode {
            for alias in attachments.iter_mut().flat_map(|attachment| &mut attachment.aliases) {
                if *alias == original.name {
                    alias.clone_from(&record.name);
                }
            }
        }
        let mut asked = request.infra.clone().unwrap_or_default();
        if is_auto(&spec.as_typed.userns) && !says_userns(&asked) {
            // IDs of its own.
            asked.userns.clone_from(&spec.as_typed.userns);
        }
        if spec.hostname == original.name && asked.hostname.is_none() {
            rename_host(spec, &record.name);
        }
        let mut wanted = infra_of(&asked, record);
        wanted.image = spec.image.as_ref().map(|image| image.id.to_string()).unwrap_or_default();
        if asked.entrypoint.is_some() && wanted.image.is_empty() {
            return Err(Error::invalid("--infra-command needs an image that has the command")
                .hint("the pod was made without --infra-image"));
        }
        self.add_cdi_devices(&mut wanted)?;
        expand::expand(&mut wanted)?;
        let ranges = self.lock_ranges(&wanted)?;
        let resolved = self.resolve_request(&wanted, &spec.id)?;
        let is_asked_for =
            |mount: &&Mount| matches!(mount.kind, MountKind::Bind { .. } | MountKind::Volume { .. });
        let mounts: Vec<Mount> = resolved.mounts.iter().filter(is_asked_for).cloned().collect();
        let volumes = volumes_of(&ContainerSpec { mounts: mounts.clone(), ..resolved.clone() }, &wanted)?;
        spec.mounts.retain(|mount| !mounts.iter().any(|new| new.target == mount.target));
        spec.mounts.extend(mounts);
        take_asked(spec, &asked, resolved);
        Ok((ranges, volumes))
    }

    /// Puts the description of a container into a pod: what it has of its pod is that of this one. With `all` it has all that
    /// the pod shares, else only that which it has of an infra container already.
    ///
    /// # Errors
    ///
    /// If there is no such pod, or it has lost its infra container; if its image is gone and other IDs need its layers anew.
    pub(in crate::engine) fn settle(&self, spec: &mut ContainerSpec, pod: &str, all: bool) -> Result<()> {
        let mut wanted = ContainerRequest {
            pod: Some(pod.to_owned()),
            init_container: spec.pod.as_ref().and_then(|place| place.init),
            // Nothing of an image is asked for here, nor what it runs.
            rootfs: Some(("/".into(), false)),
            command: vec!["/".into()],
            ..ContainerRequest::default()
        };
        let before = match spec.pod.as_ref().map(|place| self.pod_containers(&place.id)).transpose()? {
            Some(containers) => containers.into_iter().find(Container::is_infra).map(|infra| infra.id),
            None => None,
        };
        self.join_pod(&mut wanted)?;
        let infra = wanted.inherits_from.clone();
        let joined = self.resolve_request(&wanted, &spec.id)?;
        let shared = self.store().pods().get(&self.pod(pod)?)?.share;
        spec.pod.clone_from(&joined.pod);
        spec.cgroup.parent.clone_from(&joined.cgroup.parent);
        spec.cgroup.group.clone_from(&joined.cgroup.group);
        if spec.restart == RestartPolicy::No && takes_restart(spec) {
            spec.restart = joined.restart;
        }
        let is_infra = |id: &ContainerId| Some(id) == infra.as_ref() || Some(id) == before.as_ref();
        let takes = |share: Share, of: Option<&ContainerId>| {
            of.is_some_and(is_infra) || (all && shared.contains(&share))
        };
        fn of(namespace: &Namespace) -> Option<&ContainerId> {
            if let Namespace::Container(id) = namespace { Some(id) } else { None }
        }
        let of_network = match &spec.network.mode {
            NetworkMode::Container(id) => Some(id),
            _ => None,
        };
        if takes(Share::Net, of_network) {
            spec.network = joined.network;
            spec.as_typed.network = joined.as_typed.network;
        }
        let (own, its) = (&mut spec.namespaces, joined.namespaces);
        if takes(Share::Ipc, of(&own.ipc)) {
            (own.ipc, spec.as_typed.ipc) = (its.ipc, joined.as_typed.ipc);
        }
        if takes(Share::Pid, of(&own.pid)) {
            (own.pid, spec.as_typed.pid) = (its.pid, joined.as_typed.pid);
        }
        if takes(Share::Cgroup, of(&own.cgroup)) {
            (own.cgroup, spec.as_typed.cgroupns) = (its.cgroup, joined.as_typed.cgroupns);
        }
        if takes(Share::Uts, of(&own.uts)) {
            (own.uts, spec.as_typed.uts) = (its.uts, joined.as_typed.uts);
            rename_host(spec, &joined.hostname);
        }
        if ids_of(&spec.userns) != ids_of(&joined.userns) {
            if let (Some(image), Root::Layers(_)) = (&spec.image, &spec.root) {
                let image = image.id.to_string();
                spec.root = Root::Layers(self.image_facts(&image, &joined.userns)?.layers);
            }
            if spec.process.user.is_empty() {
                // With `keep-id` the user's own.
                spec.process.user = joined.process.user;
                spec.accounts = joined.accounts;
            }
        }
        (spec.userns, spec.as_typed.userns) = (joined.userns, joined.as_typed.userns);
        spec.requires.retain(|id| !is_infra(id));
        spec.requires.extend(joined.requires);
        for device in joined.devices {
            if !spec.devices.iter().any(|own| own.target == device.target) {
                spec.devices.push(device);
            }
        }
        for mount in joined.mounts {
            let is_inherited = matches!(mount.kind, MountKind::Bind { .. } | MountKind::Volume { .. });
            if is_inherited && !spec.mounts.iter().any(|own| own.target == mount.target) {
                spec.mounts.push(mount);
            }
        }
        let options = joined.security.options;
        if options.iter().any(|option| !spec.security.options.contains(option)) {
            let security = &mut spec.security;
            security.no_new_privileges |= joined.security.no_new_privileges;
            if security.seccomp == Seccomp::Default {
                security.seccomp = joined.security.seccomp;
            }
            if security.options.is_empty() {
                security.masked_paths = joined.security.masked_paths;
                security.read_only_paths = joined.security.read_only_paths;
                security.proc_options = joined.security.proc_options;
            }
            let own = std::mem::take(&mut security.options);
            security.options =
                options.iter().cloned().chain(own.into_iter().filter(|one| !options.contains(one))).collect();
        }
        Ok(())
    }
}

impl Renamed {
    /// The description of an original as that of its clone: what it says of others of its pod, it says of their clones.
    fn of(&self, original: ContainerSpec) -> ContainerSpec {
        let Some(id) = self.containers.get(&original.id) else { return original };
        let mut spec = renewed(original, id);
        let rename = |id: &mut ContainerId| {
            if let Some(new) = self.containers.get(id) {
                id.clone_from(new);
            }
        };
        let namespaces = &mut spec.namespaces;
        for namespace in
            [&mut namespaces.ipc, &mut namespaces.pid, &mut namespaces.uts, &mut namespaces.cgroup]
        {
            if let Namespace::Container(id) = namespace {
                rename(id);
            }
        }
        match &mut spec.network.mode {
            NetworkMode::Container(id) => rename(id),
            NetworkMode::Bridge(attachments) => {
                attachments.iter_mut().flat_map(|one| &mut one.links).for_each(|(_, id)| rename(id));
            }
            _ => {}
        }
        spec.network.links.iter_mut().for_each(|(_, id)| rename(id));
        if let UserNamespace::Container { id, .. } = &mut spec.userns {
            rename(id);
        }
        spec.requires.iter_mut().for_each(rename);
        let typed = &mut spec.as_typed;
        let words = [
            &mut typed.userns,
            &mut typed.network,
            &mut typed.pid,
            &mut typed.ipc,
            &mut typed.uts,
            &mut typed.cgroupns,
        ];
        for text in words.into_iter().chain(spec.annotations.values_mut()) {
            let named = text.strip_prefix("container:").unwrap_or(text);
            if let Some((old, new)) = self.containers.iter().find(|(old, _)| old.as_str() == named) {
                *text = text.replace(old.as_str(), new.as_str());
            }
        }
        for mount in &mut spec.mounts {
            if let MountKind::Volume { name, .. } = &mut mount.kind
                && let Some(new) = self.volumes.get(name)
            {
                name.clone_from(new);
            }
        }
        spec
    }
}

/// What was asked for of the clone of an infra container, but for its mounts.
fn take_asked(spec: &mut ContainerSpec, asked: &ContainerRequest, resolved: ContainerSpec) {
    if asked.hostname.is_some() {
        rename_host(spec, &resolved.hostname);
    }
    if asked.entrypoint.is_some() {
        spec.process.args = resolved.process.args;
        spec.as_typed.entrypoint = resolved.as_typed.entrypoint;
        spec.as_typed.command = resolved.as_typed.command;
    }
    if asked.monitor_pid_file.is_some() {
        spec.monitor_pid_file = resolved.monitor_pid_file;
    }
    if says_userns(asked) {
        spec.userns = resolved.userns;
        spec.root = resolved.root;
        spec.as_typed.userns = resolved.as_typed.userns;
    }
    if !asked.pid.is_empty() {
        (spec.namespaces.pid, spec.as_typed.pid) = (resolved.namespaces.pid, resolved.as_typed.pid);
    }
    if !asked.uts.is_empty() {
        (spec.namespaces.uts, spec.as_typed.uts) = (resolved.namespaces.uts, resolved.as_typed.uts);
        rename_host(spec, &resolved.hostname);
    }
    if !asked.security_options.is_empty() {
        spec.security = resolved.security;
    }
    if asked.shm_size_bytes.is_some() {
        spec.shm_size_bytes = resolved.shm_size_bytes;
    }
    spec.sysctls.extend(asked.sysctls.clone());
    spec.devices.retain(|device| !resolved.devices.iter().any(|new| new.target == device.target));
    spec.devices.extend(resolved.devices);
}

/// Whether something is asked for as to whose IDs a container has.
fn says_userns(asked: &ContainerRequest) -> bool {
    let maps = !asked.uid_maps.is_empty() || !asked.gid_maps.is_empty();
    !asked.userns.is_empty() || maps || asked.subuid_name.is_some() || asked.subgid_name.is_some()
}

/// Whether a container has the restart policy of its pod if it has none of its own.
fn takes_restart(spec: &ContainerSpec) -> bool {
    !spec.auto_remove && spec.pod.as_ref().is_none_or(|place| place.init.is_none())
}

/// Whose IDs the files of a container have.
fn ids_of(userns: &UserNamespace) -> &UserNamespace {
    match userns {
        UserNamespace::Container { ids, .. } => ids_of(ids),
        UserNamespace::Host => &UserNamespace::Default,
        own => own,
    }
}

/// Gives a tmpfs that systemd has its size.
fn give_size(mount: &mut Mount, bytes: u64) {
    if let MountKind::Tmpfs { data, .. } = &mut mount.kind
        && mount.target.as_bytes().starts_with(b"/run")
    {
        data.retain(|option| !option.starts_with("size="));
        data.push(format!("size={bytes}"));
    }
}
