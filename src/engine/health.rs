//! How containers are: what their monitors have found, and asking them to look again.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use crate::attach::client;
use crate::base::health::{HEALTH_FILE, Health, HealthState};
use crate::base::id::ContainerId;
use crate::engine::lifecycle::{connect, is_absent};
use crate::engine::state::{self, Phase};
use crate::engine::{Engine, Error, Kind, Result};
use crate::sys::fs;

/// The longest state that is read, in bytes: its log may be without limit.
const MAX_STATE: usize = 64 << 20;

/// What the monitor of the container whose directory is `dir` has found; `None` before its first look.
///
/// # Errors
///
/// If it cannot be read or understood.
pub(crate) fn read(dir: BorrowedFd<'_>, id: &ContainerId) -> Result<Option<HealthState>> {
    let failed = |err: io::Error| Error::system(format!("read the health of container {}", id.short()), err);
    match fs::read_at(dir, HEALTH_FILE, MAX_STATE) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|err| failed(err.into())),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(failed(err)),
    }
}

impl Engine {
    /// Has the monitor check a container's health now, and answers how it went, as podman: healthy if the check
    /// succeeded (that of the start-up, too), starting if that of the start-up failed, unhealthy if the other one did.
    ///
    /// # Errors
    ///
    /// [`Kind::Conflict`] if the container does not run; [`Kind::Invalid`] if it has no check.
    pub(crate) fn check_health(&self, id: &ContainerId) -> Result<Health> {
        let dir = self.store().containers().open(id)?;
        let stopped = || Error::new(Kind::Conflict, format!("container {id} is not running"));
        let status = self.status_with_monitor(dir.as_fd(), id)?;
        match status.phase {
            // Nothing in it could answer.
            _ if status.paused => return Err(stopped()),
            Phase::Up => {}
            Phase::Unmonitored => {
                let message = format!("container {} has lost its monitor, which would check it", id.short());
                return Err(Error::new(Kind::Conflict, message)
                    .hint(format!("stop and start it: `restart {}`", id.short())));
            }
            _ => return Err(stopped()),
        }
        let Some(plan) = state::read_spec(dir.as_fd(), id)?.health else {
            return Err(Error::invalid(format!("container {id} has no defined healthcheck")));
        };
        let asked = connect(dir.as_fd()).and_then(|socket| client::check_health(socket.as_fd()));
        let code = match asked {
            Ok(code) => code.ok_or_else(stopped)?,
            Err(err) if is_absent(&err) => return Err(stopped()),
            Err(err) => return Err(Error::system(format!("ask the monitor of {}", id.short()), err)),
        };
        if code == 0 {
            return Ok(Health::Healthy);
        }
        let now = read(dir.as_fd(), id)?.unwrap_or_default();
        let in_startup = plan.startup.is_some() && now.status == Health::Starting && now.failing_streak == 0;
        Ok(if in_startup { Health::Starting } else { Health::Unhealthy })
    }
}
