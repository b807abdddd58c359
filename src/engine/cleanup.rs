//! `container cleanup`: what a container has left behind that its monitor could not take away.
//!
//! A monitor cleans up itself. One that was killed leaves a cgroup, sockets and marks; they do no harm, and the
//! next start replaces them, but they can be taken away before.

use std::os::fd::{AsFd as _, BorrowedFd};

use serde::Deserialize;

use crate::attach::client;
use crate::base::id::ContainerId;
use crate::base::limits::Cgroup;
use crate::cgroup::unit;
use crate::engine::remove::MAX_SPEC_BYTES;
use crate::engine::state::{Phase, Status};
use crate::engine::{Engine, Result, exec_sessions};
use crate::runtime::launch::START_SOCKET;
use crate::runtime::monitor::record::{PAUSED, RESTART_REQUESTED, STOP_REQUESTED};
use crate::runtime::monitor::wiring;
use crate::sys::fs::{self, OFlags, Share};

/// Files that mean something only while a container runs.
const OF_A_LIFE: [&str; 6] =
    [client::SOCKET_NAME, START_SOCKET, wiring::STATE_FILE, PAUSED, STOP_REQUESTED, RESTART_REQUESTED];

/// The part of a spec that says where its cgroup is.
#[derive(Deserialize)]
struct SpecCgroup {
    id: ContainerId,
    #[serde(default)]
    cgroup: Cgroup,
}

impl Engine {
    /// Takes away what a container has left that does not run. One that runs is left alone, which is a success.
    ///
    /// # Errors
    ///
    /// If its state cannot be read.
    pub(crate) fn cleanup_container(&self, id: &ContainerId) -> Result<()> {
        let dir = self.store().containers().open(id)?;
        let status = self.status_with_monitor(dir.as_fd(), id)?;
        if !matches!(status.phase, Phase::Created | Phase::Exited(_)) {
            return Ok(());
        }
        // Held until all is done: nobody can start it meanwhile.
        let Ok(lock) = fs::open_at(&dir, "lock", OFlags::RDWR | OFlags::CREATE, 0o600) else { return Ok(()) };
        if !fs::try_lock(&lock, Share::Exclusive).unwrap_or(false) {
            return Ok(());
        }
        sweep_cgroup(dir.as_fd(), &status, id);
        for file in OF_A_LIFE {
            // Most are not there.
            fs::unlink(&dir, file).ok();
        }
        exec_sessions::remove_ended(dir.as_fd());
        self.record_container("cleanup", id);
        Ok(())
    }

    /// Forgets a command that ran in the background of a container and has ended.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`](crate::engine::Kind::NotFound); Conflict if it runs.
    pub(crate) fn cleanup_exec(&self, id: &ContainerId, session: &str) -> Result<()> {
        let dir = self.store().containers().open(id)?;
        exec_sessions::remove(dir.as_fd(), session)
    }
}

/// Takes away the cgroup that a monitor has left that was killed.
pub(super) fn sweep_cgroup(dir: BorrowedFd<'_>, status: &Status, id: &ContainerId) {
    match status.record.as_ref().and_then(|record| record.cgroup.as_ref()) {
        Some(leaf) => unit::sweep(leaf, id.as_str()),
        None => sweep_unnoted(dir),
    }
}

/// The same for one of whose life nothing is written down, by the spec in its directory.
pub(super) fn sweep_unnoted(dir: BorrowedFd<'_>) {
    let text = fs::read_at(dir, "spec.json", MAX_SPEC_BYTES).unwrap_or_default();
    if let Ok(SpecCgroup { id, cgroup }) = serde_json::from_slice(&text) {
        unit::sweep_unnoted(id.as_str(), &cgroup);
    }
}
