//! What a monitor writes down of its container's life.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One life of a container, from start to end. Written by its monitor alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) version: u32,
    /// Process 1, in the host's numbers; [`Self::NEVER_RAN`] if it could not be started.
    pub(crate) pid: i32,
    /// Field 22 of `/proc/PID/stat`, which with `boot_id` tells a reused pid apart.
    pub(crate) pid_start_ticks: u64,
    /// The monitor.
    pub(crate) monitor_pid: i32,
    /// `/proc/sys/kernel/random/boot_id` of the boot it ran in.
    pub(crate) boot_id: String,
    pub(crate) started: Timestamp,
    /// How it ended; `None` while it runs, and for ever if the machine died with it.
    pub(crate) ended: Option<Ended>,
    /// When the life before it ended, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ended_before: Option<Timestamp>,
    /// How many times the restart policy started it again.
    pub(crate) restarts: u32,
    /// Process 1 waits for its start, with everything around it in place (`container init`).
    #[serde(default)]
    pub(crate) initialized: bool,
    /// Inode numbers of the pipes that are its standard streams, by which a new monitor finds them; 0 for none.
    #[serde(default)]
    pub(crate) pipes: [u64; 3],
    /// The directory of its cgroup, if it has one of its own.
    #[serde(default, with = "crate::base::bytes::optional_path")]
    pub(crate) cgroup: Option<PathBuf>,
}

impl Record {
    /// In place of process 1: there was none, its start failed.
    pub(crate) const NEVER_RAN: i32 = 0;

    /// Whether there was ever a process 1.
    pub(crate) fn has_run(&self) -> bool {
        self.pid != Self::NEVER_RAN
    }

    /// When the container ended last, in this life or in the one before.
    pub(crate) fn last_end(&self) -> Option<Timestamp> {
        self.ended.as_ref().filter(|_| self.has_run()).map(|ended| ended.at).or(self.ended_before)
    }
}

/// The end of one life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) at: Timestamp,
    /// Exit status, or 128 + the signal's number.
    pub(crate) exit_code: i32,
    pub(crate) oom_killed: bool,
    /// Why it could not start, if it could not.
    pub(crate) error: String,
    /// The user asked for it (`stop`, `kill`), so `unless-stopped` does not start it again.
    pub(crate) stopped_by_user: bool,
}
