//! `container clone`: another container like one that there is.

use std::os::fd::OwnedFd;

use crate::base::bytes::Bytes;
use crate::base::etc::SecretUse;
use crate::base::id::ContainerId;
use crate::base::limits::Limits;
use crate::base::spec::{ContainerSpec, MountKind, Root};
use crate::engine::create::{Draft, random};
use crate::engine::remove::Removing;
use crate::engine::request::ContainerRequest;
use crate::engine::resolve::{limits, rename_log};
use crate::engine::userns::is_auto;
use crate::engine::{Engine, Error, Kind, Result};
use crate::runtime::monitor::secret_file;
use crate::store::volumes::VolumeRecord;

/// How many names are tried for a clone that was given none.
const NAMES: u32 = 1000;

/// What is to be different about the clone.
#[derive(Debug, Default)]
pub(crate) struct CloneRequest {
    /// `None`: `<name>-clone`, with a number if that is taken.
    pub(crate) name: Option<String>,
    /// Another image.
    pub(crate) image: Option<String>,
    /// A pod that it is to be of, by name or ID; else it is where its original is.
    pub(crate) pod: Option<String>,
    /// Limits beside those of the original.
    pub(crate) limits: Limits,
    /// Remove the original afterwards.
    pub(crate) destroy: bool,
    /// Even if it runs.
    pub(crate) force: bool,
}

impl Engine {
    /// Makes a container like container `id`, which is not touched unless it is to be destroyed.
    ///
    /// # Errors
    ///
    /// Conflict for a name in use, or an original that runs and is to be destroyed without `force`; NotFound for
    /// an image or a secret that is not there.
    pub(crate) fn clone_container(&self, id: &ContainerId, request: &CloneRequest) -> Result<ContainerId> {
        self.sweep();
        let original = self.container_spec(id)?;
        if original.pod.as_ref().is_some_and(|pod| pod.infra) {
            return Err(Error::invalid(format!(
                "container {id} is the infra container of a pod: cannot be cloned"
            )));
        }
        let how = Removing { force: request.force, ..Removing::default() };
        if request.destroy {
            self.assert_removable(id, &how)?;
        }
        let new = ContainerId::from_random(random()?);
        let mut spec = renewed(original, &new);
        if let Some(pod) = &request.pod {
            self.settle(&mut spec, pod, true)?;
        }
        let own = spec.image.as_ref().map(|image| image.id.to_string());
        let is_auto = is_auto(&spec.as_typed.userns);
        let image = request.image.clone().or(own.filter(|_| is_auto));
        let _ranges = match &image {
            Some(image) if is_auto => self.choose_ids_anew(&mut spec, image)?,
            _ => None,
        };
        if let Some(image) = image {
            let facts = self.image_facts(&image, &spec.userns)?;
            if request.image.is_some() {
                spec.image = Some(facts.origin);
            }
            spec.root = Root::Layers(facts.layers);
        }
        spec.cgroup.limits = limits::updated(&spec.cgroup, &request.limits)?;
        let mut records = Vec::new();
        for mount in &mut spec.mounts {
            if let MountKind::Volume { name, anonymous: true, .. } = &mut mount.kind {
                let old = self.store().volumes().get(name).ok();
                *name = ContainerId::from_random(random()?).to_string();
                let mut record = VolumeRecord::new(name, true);
                if let Some(old) = old {
                    (record.options, record.labels) = (old.options, old.labels);
                }
                records.push(record);
            }
        }
        let volumes = || {
            records.iter().try_for_each(|record| {
                self.store().volumes().create(record)?;
                self.record_volume("create", &record.name);
                Ok(())
            })
        };
        let created = volumes().and_then(|()| self.write_clone(&spec, id, request.name.as_deref(), &records));
        if created.is_err() {
            self.discard_anonymous_volumes(&spec);
        }
        created?;
        if request.destroy {
            self.remove_container(id, &how)?;
        }
        Ok(new)
    }

    /// Gives the clone of a container with `--userns=auto` IDs of its own; they are its own once it is written down, and
    /// until then the lock is held.
    fn choose_ids_anew(&self, spec: &mut ContainerSpec, image: &str) -> Result<Option<OwnedFd>> {
        let wanted = ContainerRequest {
            userns: spec.as_typed.userns.clone(),
            image: image.to_owned(),
            user: Some(spec.process.user.clone()).filter(|user| !user.is_empty()),
            groups: spec.process.groups.clone(),
            ..ContainerRequest::default()
        };
        let lock = self.lock_ranges(&wanted)?;
        spec.userns = self.user_namespace(&wanted)?;
        Ok(lock)
    }

    /// The content of a file that a container has a copy of.
    fn copied_file(&self, of: &ContainerId, index: usize) -> Result<Vec<u8>> {
        let path = self.store().containers().path(of).join(secret_file(index));
        std::fs::read(&path).map_err(|err| Error::system(format!("read {}", path.display()), err))
    }

    /// Gives the clone of container `of` its name and place; without a name one of [`free_names`].
    pub(super) fn write_clone(
        &self,
        spec: &ContainerSpec,
        of: &ContainerId,
        name: Option<&str>,
        volumes: &[VolumeRecord],
    ) -> Result<()> {
        let secret = |(index, used): (usize, &SecretUse)| match used.id.is_empty() {
            false => Ok(self.store().secrets().data(&used.name)?),
            // A copy of a file, which only the container has.
            true => self.copied_file(of, index),
        };
        let secrets = spec.secrets.iter().enumerate().map(secret).collect::<Result<Vec<_>>>()?;
        let draft = Draft { spec, secrets: &secrets, volumes, to_be_started: false };
        if name.is_some() {
            return self.write_container(&draft, name);
        }
        let original = self.container_name(of)?;
        for name in free_names(&original) {
            match self.write_container(&draft, Some(&name)) {
                Err(err) if err.kind == Kind::Conflict => {}
                other => return other,
            }
        }
        Err(Error::new(
            Kind::Conflict,
            format!("every name from {original}-clone to {original}-clone{NAMES} is in use"),
        )
        .hint("give one with --name"))
    }
}

/// Names of clones of what is called `original`, to be tried one after the other. The clone of a clone is another one of
/// the first original.
pub(super) fn free_names(original: &str) -> impl Iterator<Item = String> {
    let first = match original.rsplit_once("-clone") {
        Some((first, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => first,
        _ => original,
    };
    (0..NAMES).map(move |number| match number {
        0 => format!("{first}-clone"),
        number => format!("{first}-clone{number}"),
    })
}

/// The description of an original as that of container `id`: what names the one names the other, and files that only
/// one of them can write are not written.
pub(super) fn renewed(original: ContainerSpec, id: &ContainerId) -> ContainerSpec {
    let old = original.id.clone();
    let mut spec = ContainerSpec {
        id: id.clone(),
        created: jiff::Timestamp::now(),
        pid_file: None,
        cid_file: None,
        monitor_pid_file: None,
        ..original
    };
    rename_log(&mut spec, &old);
    if spec.hostname == old.short() {
        rename_host(&mut spec, id.short());
    }
    spec
}

/// Gives a container another host name, also in its variables.
pub(super) fn rename_host(spec: &mut ContainerSpec, name: &str) {
    let (named, new) = (format!("HOSTNAME={}", spec.hostname), format!("HOSTNAME={name}"));
    name.clone_into(&mut spec.hostname);
    for entry in &mut spec.process.env {
        if entry.as_bytes() == named.as_bytes() {
            *entry = Bytes::from(new.as_str());
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_of_clones() {
        for (original, want) in [
            ("a", ["a-clone", "a-clone1"]),
            ("a-clone", ["a-clone", "a-clone1"]),
            ("a-clone12", ["a-clone", "a-clone1"]),
            ("a-clone-b", ["a-clone-b-clone", "a-clone-b-clone1"]),
            ("a-cloned", ["a-cloned-clone", "a-cloned-clone1"]),
        ] {
            assert_eq!(super::free_names(original).take(2).collect::<Vec<_>>(), want, "{original}");
        }
    }
}
