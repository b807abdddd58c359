//! Containers that `run` has created and never started, because it was killed in between.
//!
//! Nobody asked for such a container: its name is free again and the next command removes it. `run`
//! leaves a file that names its own process; `create` does not.

use std::os::fd::{AsFd, BorrowedFd};

use crate::attach::client;
use crate::base::id::ContainerId;
use crate::engine::state::{self, Phase, Status};
use crate::engine::{Engine, Result};
use crate::store::lock::Exclusive;
use crate::store::owner::Owner;
use crate::sys::fs;

/// The file in a container's directory that names who is about to start it.
pub(crate) const STARTER: &str = "starter";

/// Longest content of that file.
const MAX_STARTER: usize = 256;

/// True for a container, by its directory and its status, that is waiting for a process that is dead.
pub(super) fn is_half_made(dir: BorrowedFd<'_>, status: &Status) -> bool {
    // A monitor that has come so far as to listen has started it: its record may have been lost since then, by a
    // power cut or damage, and what the container has written is still there.
    starter(dir, status)
        .is_some_and(|starter| starter.is_of_this_boot() && matches!(starter.is_alive(), Ok(false)))
        && fs::stat_at(dir, client::SOCKET_NAME).is_err()
}

/// Who is to start a container that was never started.
fn starter(dir: BorrowedFd<'_>, status: &Status) -> Option<Owner> {
    if status.phase != Phase::Created || status.failed_start.is_some() {
        return None;
    }
    let text = fs::read_at(dir, STARTER, MAX_STARTER).ok()?;
    std::str::from_utf8(&text).ok().and_then(Owner::parse)
}

impl Engine {
    /// True for a container that was made to be started by a command that has not come to that yet.
    pub(super) fn is_awaited(&self, id: &ContainerId, status: &Status) -> bool {
        let Ok(dir) = self.store().containers().open(id) else { return false };
        starter(dir.as_fd(), status).is_some_and(|starter| starter.is_alive().unwrap_or(false))
    }

    /// Frees `name` if it belongs to a half-made container; false if it does not. The lock is given back
    /// first: discarding takes it anew.
    ///
    /// # Errors
    ///
    /// If names cannot be read.
    pub(crate) fn discard_half_made(&self, name: &str, lock: Exclusive) -> Result<bool> {
        drop(lock);
        let Some(id) = self.store().names().get(name)? else { return Ok(false) };
        let Ok(dir) = self.store().containers().open(&id) else { return Ok(false) };
        if !state::examine(dir.as_fd(), &id).is_ok_and(|status| is_half_made(dir.as_fd(), &status)) {
            return Ok(false);
        }
        self.discard_container(&id);
        Ok(true)
    }
}
