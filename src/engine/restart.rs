//! Ending containers and starting them again: for each, a mark says meanwhile that its end is not for good.

use std::os::fd::AsFd;

use crate::base::id::ContainerId;
use crate::engine::lifecycle::{StopOrder, mark};
use crate::engine::start::Start;
use crate::engine::{Engine, Kind, Result, state};
use crate::runtime::monitor::record::RESTART_REQUESTED;
use crate::sys::fs;

impl Engine {
    /// Stops containers, all at once, and starts them again, one after the other. One that does not run is
    /// just started.
    pub(crate) fn restart(&self, orders: &[StopOrder]) -> Vec<Result<()>> {
        let marked = orders.iter().map(|order| self.mark_restart(&order.id));
        let marked: Vec<Result<()>> = marked.collect();
        let stopped = self.stop(orders);
        marked
            .into_iter()
            .zip(stopped)
            .zip(orders)
            .map(|((marked, stopped), order)| {
                marked?;
                if let Err(err) = stopped {
                    self.unmark_restart(&order.id);
                    return Err(err);
                }
                match self.start_container(&order.id, Start::default()) {
                    // Somebody else restarts it at the same time: it runs, as both have wished.
                    Err(err) if err.kind == Kind::Conflict && self.runs(&order.id)? => {}
                    other => drop(other?),
                }
                self.record_container("restart", &order.id);
                Ok(())
            })
            .collect()
    }

    /// Says that a container is to stay at its end, for it is started again. Not to one that is paused and not resumed: that
    /// is not going to be stopped, and whoever stops it later does not mean this.
    pub(in crate::engine) fn mark_restart(&self, id: &ContainerId) -> Result<()> {
        let dir = self.store().containers().open(id)?;
        match state::examine(dir.as_fd(), id)?.paused && !self.resumes() {
            true => Ok(()),
            false => mark(dir.as_fd(), RESTART_REQUESTED, id),
        }
    }

    /// It was not stopped: its end is what it was before.
    pub(in crate::engine) fn unmark_restart(&self, id: &ContainerId) {
        if let Ok(dir) = self.store().containers().open(id) {
            fs::unlink(&dir, RESTART_REQUESTED).ok();
        }
    }
}
