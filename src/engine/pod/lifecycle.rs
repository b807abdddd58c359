//! Starting, stopping, signalling and removing all containers of a pod.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

use crate::base::id::ContainerId;
use crate::base::limits::Cgroup;
use crate::base::pod::{InitKind, Membership, PodId};
use crate::base::signal::Signal;
use crate::base::spec::ContainerSpec;
use crate::cgroup::unit;
use crate::engine::filter::Filters;
use crate::engine::lifecycle::{Grace, StopOrder};
use crate::engine::list::Container;
use crate::engine::pod::Pod;
use crate::engine::prune::Pruned;
use crate::engine::remove::Removing;
use crate::engine::start::Start;
use crate::engine::state::{self, Phase, Status};
use crate::engine::{Engine, Error, Kind, Result};
use crate::runtime::monitor::pod::EndsWithLast;
use crate::store::lock::Exclusive;
use crate::store::staging::Staged;
use crate::sys::waiting;

/// How often to look whether an init container has ended.
const LOOK: Duration = Duration::from_millis(5);

/// How often to remove what has come to a pod while it was being removed.
const ROUNDS: u32 = 10;

impl Engine {
    /// Starts the containers of a pod that do not run: the infra container, then init containers one after the other to
    /// their ends, then the others. Answers with what went wrong with some of them.
    ///
    /// # Errors
    ///
    /// If there is no such pod; what is wrong with the infra container, or an init container.
    pub(crate) fn start_pod(&self, id: &PodId) -> Result<Vec<Error>> {
        self.start_pod_unless(id, &|| false)
    }

    /// The same, unless no more are to be started any longer, as `interrupted` says: what was is left as it is.
    ///
    /// # Errors
    ///
    /// As there; Conflict if it was interrupted.
    pub(crate) fn start_pod_unless(&self, id: &PodId, interrupted: &dyn Fn() -> bool) -> Result<Vec<Error>> {
        // Until the others run, it may look as if nobody needed the infra container.
        let held = self.hold_pod(id);
        let started = self.start_members(id, interrupted);
        drop(held);
        if !matches!(&started, Ok(failed) if failed.is_empty()) {
            self.end_pod_without(&Membership::of(id.clone()));
        }
        started
    }

    fn start_members(&self, id: &PodId, interrupted: &dyn Fn() -> bool) -> Result<Vec<Error>> {
        let pod = self.pod_details(id)?;
        let go_on = || match interrupted() {
            true => Err(Error::new(Kind::Conflict, "interrupted")),
            false => Ok(()),
        };
        if let Some(infra) = pod.infra() {
            self.settled(&infra.id)?;
            self.start_member(&infra.id)?;
        }
        for container in &pod.containers {
            if let Some(kind) = container.summary.pod.as_ref().and_then(|place| place.init) {
                self.run_init_container(container, kind, &go_on)?;
            }
        }
        let rest = pod.containers.iter().filter(|container| !container.is_infra() && !is_init(container));
        let mut failed = Vec::new();
        for container in rest {
            go_on()?;
            failed.extend(self.start_member(&container.id).err());
        }
        self.record_pod("start", &pod.record);
        Ok(failed)
    }

    /// Starts a container unless it runs.
    fn start_member(&self, id: &ContainerId) -> Result<()> {
        match self.start_container(id, Start::default()) {
            Err(err) if err.kind == Kind::Conflict && self.runs(id).unwrap_or(false) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Runs an init container to its end, as long as `go_on` is no error.
    fn run_init_container(
        &self,
        container: &Container,
        kind: InitKind,
        go_on: &dyn Fn() -> Result<()>,
    ) -> Result<()> {
        let id = &container.id;
        go_on()?;
        let dir = self.store().containers().open(id)?;
        self.start_member(id)?;
        let code = waiting::until(Duration::MAX, LOOK, || {
            go_on()?;
            Ok::<_, Error>(match self.status_with_monitor(dir.as_fd(), id)?.phase {
                Phase::Ending(code) | Phase::Exited(code) => Some(code),
                // It was removed at its end.
                Phase::Created => Some(self.recent_exit_code(id.as_str()).unwrap_or(-1)),
                _ => None,
            })
        });
        let code = code?.unwrap_or(-1);
        if code != 0 {
            return Err(Error::new(
                Kind::Conflict,
                format!("init container {} of the pod has failed: exit code {code}", container.name),
            )
            .hint(format!("what it says: logs {}", container.name)));
        }
        match kind {
            InitKind::Always => Ok(()),
            InitKind::Once => self.remove_container(id, &Removing { volumes: true, ..Removing::default() }),
        }
    }

    /// Stops the containers of a pod, the infra container last. Answers with what went wrong with some of them.
    ///
    /// # Errors
    ///
    /// If there is no such pod.
    pub(crate) fn stop_pod(&self, id: &PodId, grace: Option<Grace>) -> Result<Vec<Error>> {
        let pod = self.pod_details(id)?;
        let failed = self.stop_members(&pod, grace);
        self.record_pod("stop", &pod.record);
        Ok(failed)
    }

    pub(super) fn stop_members(&self, pod: &Pod, grace: Option<Grace>) -> Vec<Error> {
        let (infra, others): (Vec<_>, Vec<_>) = pod.containers.iter().partition(|one| one.is_infra());
        let mut failed = Vec::new();
        for part in [others, infra] {
            let order = |one: &&Container| StopOrder { id: one.id.clone(), grace, signal: None };
            let orders: Vec<_> = part.iter().map(order).collect();
            let stopped = self.stop(&orders);
            // One that was removed at its end is not missing.
            failed.extend(stopped.into_iter().filter_map(Result::err).filter(|e| e.kind != Kind::NotFound));
        }
        failed
    }

    /// Ends the infra container of a pod one of whose containers could not be started, if it is to end and none runs.
    pub(in crate::engine) fn end_pod_without(&self, place: &Membership) {
        let root = self.store().root();
        if let Some(infra) = EndsWithLast::of(root, Some(place)) {
            infra.end(root, Duration::ZERO);
        }
    }

    /// Does for the pod of a container that has ended what its monitor would have done, had that not been killed before.
    pub(in crate::engine) fn end_pod_after(&self, dir: BorrowedFd<'_>, id: &ContainerId, status: &Status) {
        let nobody_saw = status.record.as_ref().is_some_and(|record| record.ended.is_none());
        if matches!(status.phase, Phase::Exited(_))
            && nobody_saw
            && let Ok(spec) = state::read_spec(dir, id)
        {
            spec.pod.iter().for_each(|place| self.end_pod_without(place));
        }
    }

    /// Sends `signal` to the containers of a pod that run. Answers with what went wrong with some of them.
    ///
    /// # Errors
    ///
    /// If there is no such pod.
    pub(crate) fn kill_pod(&self, id: &PodId, signal: Signal) -> Result<Vec<Error>> {
        let pod = self.pod_details(id)?;
        let (infra, others): (Vec<_>, Vec<_>) =
            pod.containers.iter().filter(|one| one.is_up()).partition(|one| one.is_infra());
        let mut failed = Vec::new();
        for one in others.into_iter().chain(infra) {
            match self.kill(&one.id, signal) {
                // It has ended meanwhile.
                Err(err) if matches!(err.kind, Kind::Conflict | Kind::NotFound) => {}
                other => failed.extend(other.err()),
            }
        }
        self.record_pod("kill", &pod.record);
        Ok(failed)
    }

    /// Removes a pod with its containers and their anonymous volumes; with `force` those that run are stopped. Answers
    /// with what is in the way: then the pod stays, with what is left.
    ///
    /// # Errors
    ///
    /// If there is no such pod, or the store cannot be changed.
    pub(crate) fn remove_pod(&self, id: &PodId, how: &Removing) -> Result<Vec<Error>> {
        let mut failed = Vec::new();
        for round in 0..ROUNDS {
            let pod = match self.pod_details(id) {
                // A damaged record names nothing that would have to be kept.
                Err(err) if err.kind == Kind::System && how.force => {
                    self.remove_members(id, &self.pod_containers(id)?, how)?;
                    return self.forget_pod(id).map(|()| Vec::new());
                }
                // Another command was faster.
                Err(err) if err.kind == Kind::NotFound && round > 0 => return Ok(Vec::new()),
                found => found?,
            };
            failed = self.remove_pod_with(&pod, how)?;
            if failed.is_empty() || !how.force || !self.has_late_member(&pod)? {
                break;
            }
        }
        if !failed.is_empty() {
            let message =
                format!("not all containers could be removed from pod {id}: removing pod containers");
            failed.insert(0, Error::new(Kind::Conflict, message));
        }
        Ok(failed)
    }

    /// Removes a pod with the containers that are known of it. Answers with what is in the way.
    fn remove_pod_with(&self, pod: &Pod, how: &Removing) -> Result<Vec<Error>> {
        let id = &pod.record.id;
        if how.force {
            drop(self.stop_members(pod, how.grace));
        }
        let mut failed = self.unremovable(pod, how);
        if failed.is_empty() {
            failed = self.remove_members(id, &pod.containers, how)?;
        }
        if failed.is_empty() {
            // With its infra container, if it had one.
            let lock = self.lock()?;
            match self.refuse_others_of_pod(id, None, &lock) {
                Ok(()) => self.forget_pod_locked(id, lock)?,
                Err(err) => failed.push(err),
            }
        }
        Ok(failed)
    }

    /// Whether a pod has a container that was not known of it.
    fn has_late_member(&self, pod: &Pod) -> Result<bool> {
        let is_known = |one: &Container| pod.containers.iter().any(|known| known.id == one.id);
        Ok(!self.pod_containers(&pod.record.id)?.iter().all(is_known))
    }

    /// Refuses to remove a pod that has containers besides `infra`: they may have come since it was looked at. Under the
    /// lock none come.
    fn refuse_others_of_pod(&self, id: &PodId, infra: Option<&ContainerId>, _lock: &Exclusive) -> Result<()> {
        let is_member = |one: &ContainerId| {
            let spec = self.container_spec(one);
            Some(one) != infra && spec.is_ok_and(|spec| spec.pod.is_some_and(|pod| pod.id == *id))
        };
        match self.store().containers().list()?.into_iter().find(is_member) {
            Some(other) => {
                let message = format!("pod {id} has got another container meanwhile: {other}");
                Err(Error::new(Kind::Conflict, message))
            }
            None => Ok(()),
        }
    }

    /// The same before an infra container is taken away: with it goes the pod.
    pub(in crate::engine) fn refuse_infra_of_others(
        &self,
        spec: &ContainerSpec,
        lock: &Exclusive,
    ) -> Result<()> {
        match spec.pod.as_ref().filter(|pod| pod.infra) {
            Some(pod) => self.refuse_others_of_pod(&pod.id, Some(&spec.id), lock),
            None => Ok(()),
        }
    }

    /// Removes every pod whose containers have run and do not run, and that passes `filters` (label, label!, until).
    ///
    /// # Errors
    ///
    /// For a filter that means nothing; if the store cannot be read.
    pub(crate) fn prune_pods(&self, filters: &Filters) -> Result<Pruned<PodId>> {
        let mut pruned = Pruned::default();
        for pod in self.pods(filters)?.items {
            if !matches!(pod.state(), "Exited" | "Stopped") {
                continue;
            }
            let id = pod.record.id;
            let bytes: u64 = pod.containers.iter().map(|one| self.container_size(&one.id).unwrap_or(0)).sum();
            match self.remove_pod(&id, &Removing::default()) {
                Ok(failed) if failed.is_empty() => {
                    pruned.bytes += bytes;
                    pruned.removed.push(id);
                }
                Ok(failed) => pruned.failed.extend(failed),
                // Another command was faster.
                Err(err) if err.kind == Kind::NotFound => {}
                Err(err) => pruned.failed.push(err),
            }
        }
        Ok(pruned)
    }

    /// What keeps containers of a pod from being removed: then none is.
    fn unremovable(&self, pod: &Pod, how: &Removing) -> Vec<Error> {
        let in_the_way = |one: &Container| match self.assert_removable(&one.id, how) {
            Err(err) if err.kind != Kind::NotFound => Some(not_removed(&one.id, &pod.record.id, err)),
            _ => None,
        };
        pod.containers.iter().filter_map(in_the_way).collect()
    }

    fn remove_members(&self, id: &PodId, containers: &[Container], how: &Removing) -> Result<Vec<Error>> {
        let how = Removing { volumes: true, with_pods: true, ..*how };
        // The infra container last, also if somebody does not know yet who depends on it.
        let (infra, others): (Vec<_>, Vec<_>) = containers.iter().partition(|one| one.is_infra());
        let members = others.into_iter().chain(infra).map(|one| (one.id.clone(), ())).collect();
        let mut failed = Vec::new();
        for (member, ()) in self.dependents_first(members)? {
            match self.remove_container(&member, &how) {
                Err(err) if err.kind != Kind::NotFound => failed.push(not_removed(&member, id, err)),
                _ => {}
            }
        }
        Ok(failed)
    }

    /// Refuses to remove an infra container by itself.
    pub(crate) fn refuse_infra(&self, id: &ContainerId) -> Result<()> {
        // A damaged spec says of no pod.
        let Ok(ContainerSpec { pod: Some(pod), .. }) = self.container_spec(id) else { return Ok(()) };
        if !pod.infra || self.store().pods().get(&pod.id).is_err() {
            return Ok(());
        }
        let message = format!(
            "container {id} is the infra container of pod {} and cannot be removed without removing the pod",
            pod.id
        );
        Err(Error::invalid(message).hint(format!("remove the pod: pod rm {}", pod.id.short())))
    }

    /// With its infra container goes the pod.
    pub(in crate::engine) fn take_pod_of(
        &self,
        spec: &ContainerSpec,
        lock: &Exclusive,
    ) -> Result<Option<Staged>> {
        spec.pod.as_ref().filter(|pod| pod.infra).map_or(Ok(None), |pod| self.take_pod(&pod.id, lock))
    }

    /// Takes the record of a pod away, and what was made for its containers together.
    fn take_pod(&self, id: &PodId, lock: &Exclusive) -> Result<Option<Staged>> {
        let record = self.store().pods().get(id);
        let taken = self.store().pods().take(id, lock)?;
        if let (Some(_), Ok(record)) = (&taken, record) {
            self.record_pod("remove", &record);
            let cgroup = Cgroup {
                parent: record.cgroup_parent.clone(),
                group: record.cgroup_group(),
                ..Cgroup::default()
            };
            if let Err(err) = unit::end_group(&self.cgroups(&self.caller()), &cgroup) {
                self.tell(&format!("Warning: the slice of pod {id} stays: {err}"));
            }
        }
        Ok(taken)
    }

    /// Removes the record of a pod, if it is still there.
    pub(in crate::engine) fn forget_pod(&self, id: &PodId) -> Result<()> {
        let lock = self.lock()?;
        self.forget_pod_locked(id, lock)
    }

    fn forget_pod_locked(&self, id: &PodId, lock: Exclusive) -> Result<()> {
        let taken = self.take_pod(id, &lock)?;
        drop(lock);
        self.discard(taken.into_iter().collect())
    }

    /// Removes the records of all pods, whose containers are gone.
    pub(in crate::engine) fn forget_pods(&self) -> Result<()> {
        self.store().pods().ids()?.iter().try_for_each(|id| self.forget_pod(id))
    }
}

/// Why a pod keeps a container that was to be removed.
fn not_removed(container: &ContainerId, pod: &PodId, err: Error) -> Error {
    let message = format!("error removing container {container} from pod {pod}: {}", err.whole());
    Error::new(err.kind, message).hinted(err.hint)
}

fn is_init(container: &Container) -> bool {
    container.summary.pod.as_ref().is_some_and(|place| place.init.is_some())
}
