//! Removing containers, and giving back what nothing uses any more.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::base::id::ContainerId;
use crate::base::image_ref::NameRule;
use crate::base::signal::Signal;
use crate::base::spec::{Namespace, NetworkMode};
use crate::engine::cleanup::{sweep_cgroup, sweep_unnoted};
use crate::engine::events::Event;
use crate::engine::lifecycle::{Grace, StopOrder, Stopped};
use crate::engine::state::{self, Phase, Status};
use crate::engine::{Engine, Error, Kind, Result};
use crate::runtime::clean::{self, Sweeper};
use crate::runtime::still::Still;
use crate::store::StoreError;
use crate::store::staging::{self, Removal, Staged};
use crate::sys::fs::{self, OFlags, Share};
use crate::sys::waiting;

/// How long somebody else may need to let go of a container that is to be removed.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(10);

/// How containers are removed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Removing {
    /// Stop those that run.
    pub(crate) force: bool,
    /// How long a stop may take; `None` for the container's own setting.
    pub(crate) grace: Option<Grace>,
    /// Remove their anonymous volumes too.
    pub(crate) volumes: bool,
    /// Remove the containers that depend on them first.
    pub(crate) depend: bool,
    /// Remove infra containers too, and their pods with them, as `depend` does.
    pub(crate) with_pods: bool,
}

/// For each container that others depend on: those others.
pub(crate) type Dependents = HashMap<ContainerId, Vec<ContainerId>>;

/// The longest spec that is read, in bytes.
pub(super) const MAX_SPEC_BYTES: usize = 16 << 20;

/// With so much room nobody waits for the space of what was removed.
const PLENTY_BYTES: u64 = 2 << 30;
const PLENTY_FILES: u64 = 100_000;

/// What was given back.
#[derive(Debug, Default)]
pub(crate) struct Freed {
    /// Bytes of removed layers and blobs.
    pub(crate) bytes: u64,
    /// Why less than everything was removed.
    pub(crate) damaged: Vec<Error>,
}

/// What a container needs of others, their namespaces or that they run: a part of its spec.
#[derive(Deserialize)]
struct SpecDependencies {
    network: NetworkDependency,
    namespaces: Namespaces,
    #[serde(default)]
    requires: Vec<ContainerId>,
}

#[derive(Deserialize)]
struct NetworkDependency {
    mode: NetworkMode,
}

#[derive(Deserialize)]
struct Namespaces {
    pid: Namespace,
    ipc: Namespace,
    uts: Namespace,
    cgroup: Namespace,
}

impl Engine {
    /// Removes a container. One that is gone already is a success.
    ///
    /// # Errors
    ///
    /// As [`Engine::remove_with_dependents`].
    pub(crate) fn remove_container(&self, id: &ContainerId, how: &Removing) -> Result<()> {
        self.remove_with_dependents(id, how).map(drop)
    }

    /// Removes a container; answers with those that were removed before it because they depend on it (`depend`).
    ///
    /// # Errors
    ///
    /// [`Kind::Conflict`] if it runs (and `force` is not given); Invalid if another container depends on it, unless it is
    /// docker's rules that hold.
    pub(crate) fn remove_with_dependents(
        &self,
        id: &ContainerId,
        how: &Removing,
    ) -> Result<Vec<ContainerId>> {
        if !how.depend && !how.with_pods {
            self.refuse_infra(id)?;
        }
        let mut removed = Vec::new();
        let dependents = match self.name_rule() {
            // Those fail at their next start, as with docker.
            NameRule::Docker if !how.depend => Vec::new(),
            _ => self.dependents(id)?,
        };
        if !dependents.is_empty() {
            if !how.depend {
                self.assert_removable(id, how)?;
                let ids: Vec<_> = dependents.iter().map(ContainerId::as_str).collect();
                return Err(Error::invalid(format!(
                    "container {id} has dependent containers which must be removed before it: {}: container already exists",
                    ids.join(", ")
                ))
                .hint("use --depend to remove them too"));
            }
            let how = Removing { force: true, ..*how };
            for dependent in dependents {
                removed.extend(self.remove_with_dependents(&dependent, &how)?);
                removed.push(dependent);
            }
        }
        let Ok(dir) = self.store().containers().open(id) else { return Ok(removed) };
        self.bring_to_rest(&dir, id, how)?;
        let leftover = self.take_container(&dir, id, how)?;
        self.discard(leftover)?;
        Ok(removed)
    }

    /// The same containers, each behind those among them that depend on it; otherwise in the order given.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub(crate) fn dependents_first<T>(
        &self,
        targets: Vec<(ContainerId, T)>,
    ) -> Result<Vec<(ContainerId, T)>> {
        let mut waiting = targets;
        let mut ordered = Vec::with_capacity(waiting.len());
        while !waiting.is_empty() {
            let ids: HashSet<ContainerId> = waiting.iter().map(|(id, _)| id.clone()).collect();
            let mut held = Vec::new();
            for (id, target) in waiting {
                let is_used = self.dependents(&id)?.iter().any(|user| ids.contains(user));
                if is_used { held.push((id, target)) } else { ordered.push((id, target)) }
            }
            if held.len() == ids.len() {
                // A circle, which only a changed spec can make.
                ordered.append(&mut held);
            }
            waiting = held;
        }
        Ok(ordered)
    }

    /// Finds out whether a container could be removed as `how` says.
    ///
    /// # Errors
    ///
    /// Why it could not, as [`Engine::remove_container`] would say it.
    pub(super) fn assert_removable(&self, id: &ContainerId, how: &Removing) -> Result<()> {
        let dir = self.store().containers().open(id)?;
        assert_at_rest(&state::examine(dir.as_fd(), id)?, id, how)
    }

    /// Makes sure that nothing of a container runs.
    fn bring_to_rest(&self, dir: &OwnedFd, id: &ContainerId, how: &Removing) -> Result<()> {
        let status = match self.status_with_monitor(dir.as_fd(), id) {
            Ok(status) if status.phase == Phase::Starting && !how.force => {
                match self.past_its_start(dir, id)? {
                    Some(status) => status,
                    None => return Ok(()),
                }
            }
            Ok(status) => status,
            // One that cannot be read runs if it is locked.
            Err(_) if how.force => return self.unless_gone(id, self.kill_damaged(dir.as_fd(), id)),
            // Its lock is what stops the removal below.
            Err(_) => return Ok(()),
        };
        assert_at_rest(&status, id, how)?;
        if status.phase.is_running() && state::read_spec(dir.as_fd(), id).is_err() {
            return self.unless_gone(id, self.kill_damaged(dir.as_fd(), id));
        }
        if matches!(status.phase, Phase::Created | Phase::Exited(_)) {
            self.end_pod_after(dir.as_fd(), id, &status);
            return Ok(());
        }
        // Nothing but SIGKILL gets through to one that is paused, and docker sends nothing else.
        if status.paused || self.name_rule() == NameRule::Docker {
            self.kill(id, Signal::KILL).ok();
        }
        let order = StopOrder { id: id.clone(), grace: how.grace, signal: None };
        self.unless_gone(id, self.stop(&[order]).pop().unwrap_or(Ok(Stopped::Idle)))
    }

    /// Waits until a container that seems to start does not any more: so it looks, too, while another command removes
    /// it. `None` if it is gone.
    fn past_its_start(&self, dir: &OwnedFd, id: &ContainerId) -> Result<Option<Status>> {
        let seen = waiting::until(PATIENCE, LOOK, || {
            if !self.store().containers().exists(id) {
                return Ok(Some(None));
            }
            // Its record may be gone a moment before it.
            let status = state::examine(dir.as_fd(), id).ok();
            Ok::<_, Error>(status.filter(|status| status.phase != Phase::Starting).map(Some))
        })?;
        seen.map_or_else(|| state::examine(dir.as_fd(), id).map(Some), Ok)
    }

    /// What has failed for a container that somebody else has removed meanwhile has not failed.
    fn unless_gone<T>(&self, id: &ContainerId, done: Result<T>) -> Result<()> {
        match done {
            Err(err) if err.kind != Kind::NotFound && self.store().containers().exists(id) => Err(err),
            _ => Ok(()),
        }
    }

    /// Takes a container out of the store, with its name and its anonymous volumes.
    fn take_container(&self, dir: &OwnedFd, id: &ContainerId, how: &Removing) -> Result<Vec<Staged>> {
        // Before its lock is held, by which it would seem to run.
        let status = state::examine(dir.as_fd(), id).ok();
        let exit_code = status.as_ref().map_or(0, Status::exit_code);
        // Held until it is taken away: nobody can start it meanwhile.
        let _still = match fs::open_at(dir, "lock", OFlags::RDWR | OFlags::CREATE, 0o600) {
            Ok(file) => Some(self.lock_for_removal(file, id)?),
            // A full disk or a read-only file system: the lock was never made, so nothing runs.
            Err(_) => None,
        };
        // Before the lock was held, another command might have started it there.
        match &status {
            Some(status) => sweep_cgroup(dir.as_fd(), status, id),
            None => sweep_unnoted(dir.as_fd()),
        }
        // A damaged spec names no volumes and no files.
        let spec = state::read_spec(dir.as_fd(), id).ok();
        let lock = self.lock()?;
        if let Some(spec) = &spec {
            self.refuse_infra_of_others(spec, &lock)?;
        }
        let event = match &spec {
            Some(spec) => self.event_of("remove", spec),
            None => self.container_event("remove", id),
        };
        let taken = self.store().with_reserve(|| self.store().containers().take(id, &lock))?;
        if taken.is_some() {
            self.record(Event { container_exit_code: Some(exit_code), ..event });
        }
        let mut leftovers: Vec<Staged> = taken.into_iter().collect();
        let Some(spec) = spec else { return Ok(leftovers) };
        leftovers.extend(self.take_pod_of(&spec, &lock)?);
        if how.volumes || spec.auto_remove {
            for (volume, taken) in self.store().take_unused_volumes(spec.anonymous_volumes())? {
                leftovers.push(taken);
                self.record_volume("remove", volume);
            }
        }
        clean::remove_files(&spec);
        Ok(leftovers)
    }

    /// Takes a container's own lock, which its monitor may hold for a moment yet, and waits for those who use its files.
    fn lock_for_removal(&self, file: OwnedFd, id: &ContainerId) -> Result<(OwnedFd, Option<Still>)> {
        let path = self.store().containers().path(id);
        let failed = |err| Error::system(format!("lock container {}", id.short()), err);
        let mut is_at_rest = false;
        let held = waiting::until(PATIENCE, LOOK, || {
            is_at_rest = is_at_rest || fs::try_lock(&file, Share::Exclusive).map_err(failed)?;
            if !is_at_rest {
                return Ok(None);
            }
            // Another command has removed it, or nobody can hold it.
            Ok::<_, Error>(Still::try_take(&path).map_or(Some(None), |still| still.map(Some)))
        })?;
        if let Some(still) = held {
            return Ok((file, still));
        }
        let why = if is_at_rest { "its files are being copied" } else { "it is running" };
        let message = format!("cannot remove container {id} as {why}: container state improper");
        Err(Error::new(Kind::Conflict, message))
    }

    /// Removes what was taken out of the store, in U where it belongs to other IDs.
    pub(crate) fn discard(&self, leftovers: Vec<Staged>) -> Result<()> {
        let mut foreign = Vec::new();
        for leftover in leftovers {
            match leftover.remove() {
                Ok(Removal::Done) => {}
                Ok(Removal::Foreign(left)) => foreign.push(left.leave()),
                // Another command had it open and wrote into it meanwhile. What is left is garbage,
                // which the next writer sweeps.
                Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                Err(err) => return Err(err.into()),
            }
        }
        self.clean(&foreign)?;
        // There is room again.
        self.store().renew_reserve();
        Ok(())
    }

    /// Removes what killed processes left under `staging/`. What cannot be removed now waits for the next time.
    pub(crate) fn sweep(&self) {
        if let Ok(foreign) = self.sweep_staging() {
            self.clean(&foreign).ok();
        }
    }

    /// The same but for what is returned, which only a process in U can remove.
    fn sweep_staging(&self) -> std::result::Result<Vec<PathBuf>, StoreError> {
        // The steps of a build that was killed.
        staging::sweep(self.store(), sweep_unnoted)
    }

    /// Removes trees of the subordinate IDs.
    fn clean(&self, paths: &[PathBuf]) -> Result<()> {
        clean::clean(&self.caller(), self.store().root(), paths)
            .map_err(|err| Error::system("remove files of other users", err))
    }

    /// Removes layers and blobs that nothing refers to, and what killed commands left.
    ///
    /// # Errors
    ///
    /// If the store cannot be read or changed.
    pub(crate) fn collect_garbage(&self) -> Result<Freed> {
        self.collect(false)
    }

    /// As [`collect_garbage`](Self::collect_garbage), but does not wait for what is large to be unlinked: it is
    /// out of the way, and a process of its own removes it. Where space is scarce, it is waited for.
    ///
    /// # Errors
    ///
    /// As there.
    pub(crate) fn collect_garbage_later(&self) -> Result<Freed> {
        self.collect(true)
    }

    fn collect(&self, later: bool) -> Result<Freed> {
        let foreign = self.store().with_reserve(|| self.sweep_staging())?;
        let mut sweeper = None;
        let freed = {
            let lock = self.lock()?;
            self.store().with_reserve(|| {
                let garbage = self.store().garbage(&lock)?;
                if later && sweeper.is_none() && garbage.is_large() && self.has_plenty(garbage.bytes) {
                    sweeper = Sweeper::start(&self.caller(), self.store()).ok();
                }
                self.store().take_garbage(garbage, sweeper.as_ref().map(Sweeper::owner), &lock)
            })?
        };
        // That is what it waits for.
        drop(sweeper);
        self.clean(&foreign)?;
        self.discard(freed.taken)?;
        Ok(Freed { bytes: freed.bytes, damaged: freed.damaged.into_iter().map(Error::from).collect() })
    }

    /// True if `bytes` more or less do not matter on this file system for now.
    fn has_plenty(&self, bytes: u64) -> bool {
        self.store().space().is_ok_and(|space| {
            space.free_bytes >= PLENTY_BYTES.max(bytes) && space.free_files >= PLENTY_FILES
        })
    }

    /// The containers that depend on container `id`.
    fn dependents(&self, id: &ContainerId) -> Result<Vec<ContainerId>> {
        // Read once for a command that removes hundreds.
        let all = match self.dependents.get() {
            Some(all) => all,
            None => {
                let all = self.dependencies()?;
                self.dependents.get_or_init(|| all)
            }
        };
        let users = all.get(id).into_iter().flatten();
        Ok(users.filter(|user| self.store().containers().exists(user)).cloned().collect())
    }

    /// Reads who depends on whom.
    fn dependencies(&self) -> Result<Dependents> {
        let mut dependents = Dependents::new();
        for user in self.store().containers().list()? {
            let path = PathBuf::from("containers").join(user.as_str()).join("spec.json");
            // One that cannot be read depends on nobody whom it could keep alive.
            let Ok(text) = fs::read_at(self.store().dir(), &path, MAX_SPEC_BYTES) else { continue };
            // Few do: most specs need no parsing.
            let says = |what: &[u8]| memchr::memmem::find(&text, what).is_some();
            if !says(b"{\"container\":") && !says(b"\"requires\":[\"") {
                continue;
            }
            let Ok(spec) = serde_json::from_slice::<SpecDependencies>(&text) else { continue };
            for used in spec.used() {
                let users = dependents.entry(used.clone()).or_default();
                if *used != user && !users.contains(&user) {
                    users.push(user.clone());
                }
            }
        }
        Ok(dependents)
    }
}

/// A container that runs is removed only by force.
fn assert_at_rest(status: &Status, id: &ContainerId, how: &Removing) -> Result<()> {
    if !status.phase.is_running() || status.phase == Phase::Initialized || how.force {
        return Ok(());
    }
    let message = format!(
        "cannot remove container {id} as it is {} - running or paused containers cannot be removed \
         without force: container state improper",
        status.word()
    );
    Err(Error::new(Kind::Conflict, message).hint("stop it first, or use --force"))
}

impl SpecDependencies {
    /// The containers that it depends on.
    fn used(&self) -> impl Iterator<Item = &ContainerId> {
        let network = match &self.network.mode {
            NetworkMode::Container(used) => Some(used),
            _ => None,
        };
        let Namespaces { pid, ipc, uts, cgroup } = &self.namespaces;
        let others = [pid, ipc, uts, cgroup].into_iter().filter_map(|namespace| match namespace {
            Namespace::Container(used) => Some(used),
            _ => None,
        });
        network.into_iter().chain(others).chain(&self.requires)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_read_from_the_text_of_a_spec() {
        let id = ContainerId::from_random([7; 32]);
        let private = serde_json::to_value(Namespace::Private).unwrap();
        let other = serde_json::to_value(Namespace::Container(id.clone())).unwrap();
        let spec = serde_json::json!({
            "network": {"mode": NetworkMode::Container(id.clone())},
            "namespaces": {"pid": other, "ipc": private, "uts": private, "cgroup": private},
            "requires": [id],
        });
        let text = spec.to_string();
        for part in ["{\"container\":", "\"requires\":[\""] {
            assert!(text.contains(part), "{text}");
        }
        let spec: SpecDependencies = serde_json::from_str(&text).unwrap();
        assert_eq!(spec.used().collect::<Vec<_>>(), [&id, &id, &id]);
    }
}
