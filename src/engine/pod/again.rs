//! Restarting all containers of a pod, pausing them and letting them go on.

use crate::base::id::ContainerId;
use crate::base::pod::PodId;
use crate::engine::list::Container;
use crate::engine::{Engine, Error, Kind, Result};

impl Engine {
    /// Stops the containers of a pod, the infra container last, and starts them as [`start_pod`](Self::start_pod) does:
    /// none is removed at this end. Answers with what went wrong with some of them.
    ///
    /// # Errors
    ///
    /// If there is no such pod; those of starting it.
    pub(crate) fn restart_pod(&self, id: &PodId) -> Result<Vec<Error>> {
        let pod = self.pod_details(id)?;
        // It could not be stopped when the others already are.
        if let Some(paused) = pod.containers.iter().find(|one| is_in("paused")(one)) {
            let message = format!("container {} of the pod is paused: container state improper", paused.id);
            return Err(Error::new(Kind::Conflict, message).hint("let it go on first: pod unpause"));
        }
        let containers = pod.containers.iter().filter(|one| one.is_up());
        let marked: Vec<&ContainerId> = containers.map(|one| &one.id).collect();
        for one in &marked {
            match self.mark_restart(one) {
                Err(err) if err.kind == Kind::NotFound => {}
                other => other?,
            }
        }
        let failed = self.stop_members(&pod, None);
        if !failed.is_empty() {
            marked.into_iter().for_each(|one| self.unmark_restart(one));
            return Ok(failed);
        }
        let failed = self.start_pod(id)?;
        self.record_pod("restart", &pod.record);
        Ok(failed)
    }

    /// Pauses the containers of a pod that run. Answers with what went wrong with some of them.
    ///
    /// # Errors
    ///
    /// If there is no such pod.
    pub(crate) fn pause_pod(&self, id: &PodId) -> Result<Vec<Error>> {
        let failed = self.halt_members(id, "running", |one| self.pause(one))?;
        self.record_pod("pause", &self.store().pods().get(id)?);
        Ok(failed)
    }

    /// Lets the containers of a pod go on that are paused. Answers with what went wrong with some of them.
    ///
    /// # Errors
    ///
    /// If there is no such pod.
    pub(crate) fn unpause_pod(&self, id: &PodId) -> Result<Vec<Error>> {
        let failed = self.halt_members(id, "paused", |one| self.unpause(one))?;
        self.record_pod("unpause", &self.store().pods().get(id)?);
        Ok(failed)
    }

    /// Whether any container of a pod is paused.
    ///
    /// # Errors
    ///
    /// If there is no such pod.
    pub(crate) fn is_pod_paused(&self, id: &PodId) -> Result<bool> {
        Ok(self.pod_details(id)?.containers.iter().any(is_in("paused")))
    }

    /// Does `action` to the containers of a pod that are in a state.
    fn halt_members(
        &self,
        id: &PodId,
        state: &'static str,
        action: impl Fn(&ContainerId) -> Result<()>,
    ) -> Result<Vec<Error>> {
        let pod = self.pod_details(id)?;
        let done = pod.containers.iter().filter(|one| is_in(state)(one)).map(|one| action(&one.id));
        // It has ended meanwhile, or somebody else was faster.
        let counts = |err: &Error| !matches!(err.kind, Kind::Conflict | Kind::NotFound);
        Ok(done.filter_map(Result::err).filter(counts).collect())
    }
}

fn is_in(state: &'static str) -> impl Fn(&Container) -> bool {
    move |container| container.status.word() == state
}
