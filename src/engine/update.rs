//! Changing limits, the restart policy and health checks of a container that exists: at once, and for its next start.

use std::os::fd::{AsFd, OwnedFd};

use crate::attach::client;
use crate::base::id::ContainerId;
use crate::base::limits::Limits;
use crate::base::network::NetworkAttachment;
use crate::base::spec::RestartPolicy;
use crate::cgroup::settings;
use crate::engine::lifecycle::{connect, is_absent};
use crate::engine::request::HealthRequest;
use crate::engine::resolve::{health, limits};
use crate::engine::{Engine, Error, Kind, Result, config, state};
use crate::runtime::updates::{self, FILE, Updates};
use crate::sys::fs;

impl Engine {
    /// Changes what is given; everything else stays.
    ///
    /// # Errors
    ///
    /// Limits that contradict each other, or that cannot be applied to the running container: then nothing
    /// is kept.
    pub(crate) fn update_container(
        &self,
        id: &ContainerId,
        newer: &Limits,
        restart: Option<RestartPolicy>,
        checks: &HealthRequest,
    ) -> Result<()> {
        let dir = self.store().containers().open(id)?;
        let _alone = self.lock_changes(id)?;
        let spec = state::read_spec(dir.as_fd(), id)?;
        let path = self.store().containers().path(id);
        if restart.is_some_and(|policy| policy != RestartPolicy::No) && spec.auto_remove {
            return Err(Error::new(
                Kind::Conflict,
                "a container that is removed at its end is not restarted",
            ));
        }
        let mut updates = Updates::read(&path);
        if *checks != HealthRequest::default() {
            updates.health = health::update(spec.health.as_ref(), checks, &config::directory()?)?;
            updates.no_health = updates.health.is_none();
        }
        if !newer.is_empty() {
            let merged = limits::updated(&spec.cgroup, newer)?;
            let status = state::examine(dir.as_fd(), id)?;
            if let Some(record) = status.record.as_ref().filter(|_| status.pid() != 0) {
                apply(record.cgroup.as_deref(), &merged)?;
            }
            updates.limits = Some(merged);
        }
        updates.restart = restart.or(updates.restart);
        write(&dir, &updates)?;
        self.record_container("update", id);
        if *checks != HealthRequest::default() {
            // One that does not run reads it at its start.
            match connect(dir.as_fd()).and_then(|socket| client::reload(socket.as_fd())) {
                Err(err) if !is_absent(&err) => {
                    return Err(Error::system(format!("tell the monitor of {}", id.short()), err));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes a link between containers away, typed as `CONTAINER/ALIAS`. A running container knows it until its next start.
    ///
    /// # Errors
    ///
    /// NotFound for a container or a link that is not there; Conflict for the name of a container.
    pub(crate) fn remove_link(&self, typed: &str) -> Result<()> {
        let Some((container, alias)) = typed.trim_start_matches('/').rsplit_once('/') else {
            let message = "Conflict, cannot remove the default link name of the container";
            return Err(Error::new(Kind::Conflict, message).hint("a link is written as CONTAINER/ALIAS"));
        };
        let id = self.container(container)?;
        let _alone = self.lock_changes(&id)?;
        let mut attachments = self.attachments_of(&id)?;
        let dir = self.store().containers().open(&id)?;
        let was_created =
            state::read_spec(dir.as_fd(), &id)?.network.links.iter().any(|(known, _)| known == alias);
        let is_on = |attachment: &NetworkAttachment| attachment.links.iter().any(|(known, _)| known == alias);
        let was_connected = attachments.iter().any(is_on);
        if !was_created && !was_connected {
            return Err(Error::not_found(format!(
                "container {container} has no link named {alias}: no such link"
            )));
        }
        if was_connected {
            for attachment in &mut attachments {
                attachment.links.retain(|(known, _)| known != alias);
            }
            self.write_attachments(&id, &attachments)?;
        }
        if was_created {
            let mut updates = state::read_updates(dir.as_fd(), &id)?;
            updates.unlinked.push(alias.to_owned());
            write(&dir, &updates)?;
        }
        Ok(())
    }
}

impl Engine {
    /// Keeps others from changing a container until it is dropped.
    pub(super) fn lock_changes(&self, id: &ContainerId) -> Result<OwnedFd> {
        updates::lock(&self.store().containers().path(id))
            .map_err(|err| Error::system(format!("lock what is known of container {}", id.short()), err))
    }
}

/// Applies limits to the cgroup of a running container.
fn apply(leaf: Option<&std::path::Path>, limits: &Limits) -> Result<()> {
    let Some(leaf) = leaf else {
        let message = "limits cannot be applied: the container runs without a cgroup of its own";
        return Err(Error::invalid(message).hint(crate::cgroup::HOW_TO_DELEGATE));
    };
    settings::apply(leaf, limits).map_err(|err| {
        let source = std::error::Error::source(&err).map(ToString::to_string);
        let message = source.map_or_else(|| err.to_string(), |source| format!("{err}: {source}"));
        Error::invalid(message).hinted(err.hint())
    })
}

/// Puts what has changed beside the spec of the container in `dir`.
fn write(dir: impl AsFd, updates: &Updates) -> Result<()> {
    let failed = |err| Error::system(format!("write {FILE} of the container"), err);
    let text = serde_json::to_vec(updates).map_err(|err| failed(std::io::Error::from(err)))?;
    fs::replace(&dir, FILE, &text, 0o644, true).map_err(failed)
}
