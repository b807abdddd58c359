//! Pausing containers, and letting them go on.
//!
//! With a cgroup of its own a container is frozen; without one its processes are stopped by SIGSTOP. A file
//! `paused` in the container's directory tells the life that is paused.

use std::os::fd::{AsFd, BorrowedFd};

use crate::base::id::ContainerId;
use crate::base::spec::{Namespace, Record};
use crate::cgroup::control;
use crate::engine::state::{self, Phase, Status};
use crate::engine::{Engine, Error, Kind, Result};
use crate::runtime::monitor::record::{PAUSED, pause_mark};
use crate::runtime::suspend;
use crate::sys::fs::{self, OFlags};

/// Is the life that `record` tells of paused? Only asked of one that runs.
pub(super) fn is_paused(dir: BorrowedFd<'_>, record: &Record) -> bool {
    fs::read_at(dir, PAUSED, 64).is_ok_and(|text| text == pause_mark(record).as_bytes())
}

impl Engine {
    /// Pauses a running container.
    ///
    /// # Errors
    ///
    /// Conflict if it does not run or is paused; what the system refuses.
    pub(crate) fn pause(&self, id: &ContainerId) -> Result<()> {
        let dir = self.store().containers().open(id)?;
        let status = state::examine(dir.as_fd(), id)?;
        let (record, name) = match &status {
            Status { paused: true, .. } => return Err(improper(id, "is already paused")),
            Status { phase: Phase::Up | Phase::Unmonitored, record: Some(record), .. } => {
                (record, self.container_name(id)?)
            }
            _ => return Err(improper(id, "is not running, can't pause")),
        };
        // First the mark: who is killed in between leaves a container that can be unpaused.
        fs::open_at(dir.as_fd(), PAUSED, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC, 0o600)
            .and_then(|file| Ok(rustix::io::write(&file, pause_mark(record).as_bytes())?))
            .map_err(|err| Error::system(format!("note that container {name} is paused"), err))?;
        let halted = self.halt(dir.as_fd(), id, record, true);
        if halted.is_err() {
            forget(dir.as_fd());
            if !state::goes_on(record) {
                // It has ended meanwhile.
                return Err(improper(id, "is not running, can't pause"));
            }
        } else {
            self.record_container("pause", id);
        }
        halted
    }

    /// Lets a paused container go on.
    ///
    /// # Errors
    ///
    /// Conflict if it is not paused; what the system refuses.
    pub(crate) fn unpause(&self, id: &ContainerId) -> Result<()> {
        let dir = self.store().containers().open(id)?;
        let status = state::examine(dir.as_fd(), id)?;
        let Status { paused: true, record: Some(record), .. } = &status else {
            return Err(improper(id, "is not paused, can't unpause"));
        };
        match self.halt(dir.as_fd(), id, record, false) {
            // It was killed meanwhile.
            Err(_) if !state::goes_on(record) => return Err(improper(id, "is not paused, can't unpause")),
            other => other?,
        }
        forget(dir.as_fd());
        self.record_container("unpause", id);
        Ok(())
    }

    /// Does `work` while a running container is paused.
    ///
    /// # Errors
    ///
    /// Those of pausing, of the work, and of letting it go on; the first of them.
    pub(super) fn while_paused<T>(&self, id: &ContainerId, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.pause(id)?;
        let done = work();
        match self.unpause(id) {
            // Somebody else has unpaused it, or killed it: neither is a failure of what was wanted.
            Err(err) if err.kind == Kind::Conflict => done,
            other => done.and_then(|done| other.map(|()| done)),
        }
    }

    /// Is the container paused?
    ///
    /// # Errors
    ///
    /// If its state cannot be read.
    pub(crate) fn is_paused(&self, id: &ContainerId) -> Result<bool> {
        let dir = self.store().containers().open(id)?;
        Ok(state::examine(dir.as_fd(), id)?.paused)
    }

    fn halt(&self, dir: BorrowedFd<'_>, id: &ContainerId, record: &Record, stop: bool) -> Result<()> {
        let verb = if stop { "pause" } else { "unpause" };
        let what = || format!("{verb} container {}", id.short());
        if let Some(leaf) = &record.cgroup {
            let done = if stop { control::freeze(leaf) } else { control::thaw(leaf) };
            return done.map_err(|err| Error::system(what(), err));
        }
        if state::read_spec(dir, id)?.namespaces.pid != Namespace::Private {
            let message = format!("{}: it has neither a cgroup nor a PID namespace of its own", what());
            return Err(Error::new(Kind::Unsupported, message).hint(crate::cgroup::HOW_TO_DELEGATE));
        }
        suspend::suspend(&self.caller(), record, stop).map_err(|err| Error::system(what(), err))
    }
}

fn forget(dir: BorrowedFd<'_>) {
    // A mark that stays means nothing once the container has ended.
    fs::unlink(dir, PAUSED).ok();
}

fn improper(id: &ContainerId, what: &str) -> Error {
    Error::new(Kind::Conflict, format!("\"{id}\" {what}: container state improper"))
}
