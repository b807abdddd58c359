//! Containers that have lost their monitor: whoever deals with one next starts another (REL-06).
//!
//! Listings and `inspect` only look, and show `Up (unmonitored)`.

use std::os::fd::BorrowedFd;

use crate::base::id::ContainerId;
use crate::engine::state::{self, Phase, Status};
use crate::engine::{Engine, Result};
use crate::runtime::launch::{self, LaunchOrder};

impl Engine {
    /// Derives the status of the container whose directory is `dir`, as [`state::examine`] does; but if it
    /// has lost its monitor it is given a new one first, if that can be done.
    ///
    /// # Errors
    ///
    /// As [`state::examine`].
    pub(super) fn status_with_monitor(&self, dir: BorrowedFd<'_>, id: &ContainerId) -> Result<Status> {
        let status = state::examine(dir, id)?;
        if status.phase != Phase::Unmonitored {
            return Ok(status);
        }
        let caller = self.caller();
        let order = LaunchOrder { adopt: true, ..self.launch_order(&caller, id) };
        // If not: another command was first, or the container has ended, or it has to do without; what can be
        // done without a monitor still is.
        if launch::adopt(&caller, &order, status.pid()).is_ok() {
            self.tell(&format!("container {} had lost its monitor; a new one has taken it over", id.short()));
        }
        state::examine(dir, id)
    }
}
