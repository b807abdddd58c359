//! Looking at a container's files: one that runs is left to run, one that does not is kept from it meanwhile.

use std::os::fd::AsFd as _;
use std::time::Duration;

use crate::base::id::ContainerId;
use crate::engine::inspect::ContainerDetails;
use crate::engine::state::{self, Phase, Status};
use crate::engine::{Engine, Error, Kind, Result};
use crate::runtime::still::Still;
use crate::sys::waiting;

/// How long a container is waited for that starts, or whose files somebody else uses.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at it.
pub(super) const LOOK: Duration = Duration::from_millis(5);

impl Engine {
    /// What a container is doing. One that has no process 1 starts no further life as long as what comes along is held;
    /// one that has comes without.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`]; [`Kind::Conflict`] if it is busy for a long time.
    pub(super) fn hold_still(&self, id: &ContainerId) -> Result<(Status, Option<Still>)> {
        let containers = self.store().containers();
        let dir = containers.open(id)?;
        let found = waiting::until(PATIENCE, LOOK, || {
            let status = state::examine(dir.as_fd(), id)?;
            if status.pid() != 0 {
                return Ok(Some((status, None)));
            }
            if status.phase == Phase::Starting {
                return Ok(None);
            }
            let still = Still::try_take(&containers.path(id));
            let still = still.map_err(|err| match err.kind() {
                std::io::ErrorKind::NotFound => state::gone(id),
                _ => Error::system(format!("lock container {}", id.short()), err),
            })?;
            // It may have begun a life since the first look.
            let status = state::examine(dir.as_fd(), id)?;
            let rests = match status.phase {
                Phase::Created | Phase::Exited(_) => true,
                // One that is removed at its end is about to go.
                Phase::Ending(_) => !state::read_spec(dir.as_fd(), id)?.auto_remove,
                _ => false,
            };
            Ok::<_, Error>((rests && still.is_some()).then_some((status, still)))
        })?;
        found.ok_or_else(|| Error::new(Kind::Conflict, format!("container {} is busy", id.short())))
    }

    /// Looks at a container, and keeps one that does not run from being started.
    ///
    /// # Errors
    ///
    /// As [`hold_still`](Self::hold_still).
    pub(super) fn hold_container(&self, id: &ContainerId) -> Result<(ContainerDetails, Option<Still>)> {
        let (status, still) = self.hold_still(id)?;
        Ok((ContainerDetails { status, ..self.inspect_container(id, id.as_str())? }, still))
    }
}
