//! `record.json`: what became of a container. Only its monitor writes it.

use std::io;
use std::path::Path;

use jiff::Timestamp;

use crate::base::spec::{ContainerSpec, Ended, Record, SPEC_VERSION};
use crate::runtime::failure::Failure;
use crate::sys::pidfd;

/// The file that `stop` and `kill` leave behind to say that the end is wanted.
pub(crate) const STOP_REQUESTED: &str = "stop-requested";

/// The file that `restart` leaves behind: the container is to stay even if it is removed at its end.
pub(crate) const RESTART_REQUESTED: &str = "restart-requested";

/// The file that says that a container is paused.
pub(crate) const PAUSED: &str = "paused";

/// What that file says: process 1 and its start, so that it means this life only.
pub(crate) fn pause_mark(record: &Record) -> String {
    format!("{} {}\n", record.pid, record.pid_start_ticks)
}

/// Replaces the record in one step.
pub(super) fn write(directory: &Path, record: &Record) -> io::Result<()> {
    let text = serde_json::to_vec(record)?;
    let new = directory.join("record.json.new");
    std::fs::write(&new, text)?;
    std::fs::rename(&new, directory.join("record.json"))
}

/// The record of a container, if it ever ran and the record is whole.
pub(super) fn read(directory: &Path) -> Option<Record> {
    serde_json::from_slice(&std::fs::read(directory.join("record.json")).ok()?).ok()
}

/// The record of a container whose process 1 runs: the one that it tells of, and not another that has its number now.
pub(super) fn of_running(directory: &Path) -> Option<Record> {
    let record = read(directory).filter(|record| record.ended.is_none())?;
    pidfd::open_verified(record.pid, record.pid_start_ticks, &record.boot_id).ok().flatten()?;
    Some(record)
}

/// The spec of a container as it was created, if it can be read.
pub(super) fn spec(directory: &Path) -> Option<ContainerSpec> {
    serde_json::from_slice(&std::fs::read(directory.join("spec.json")).ok()?).ok()
}

/// Notes how a life ended, and what went wrong with recording it.
pub(super) fn end(
    directory: &Path,
    record: &Record,
    at: Timestamp,
    exit_code: i32,
    oom_killed: bool,
    error: &str,
) -> io::Result<Record> {
    let stopped_by_user = directory.join(STOP_REQUESTED).exists();
    let ended = Ended { at, exit_code, oom_killed, error: error.to_owned(), stopped_by_user };
    let record = Record { ended: Some(ended), ..record.clone() };
    write(directory, &record).map(|()| record)
}

/// Notes that a start failed, so that `inspect` can say why. What is known of an earlier life stays.
pub(super) fn could_not_start(directory: &Path, failure: &Failure, exit_code: i32, restarts: u32) {
    let now = Timestamp::now();
    let error = failure.to_string();
    let end = |exit_code| Ended {
        at: now,
        exit_code,
        oom_killed: false,
        error: String::new(),
        stopped_by_user: false,
    };
    if let Some(earlier) = read(directory).filter(Record::has_run) {
        let ended =
            Ended { error, stopped_by_user: false, ..earlier.ended.clone().unwrap_or_else(|| end(-1)) };
        write(directory, &Record { ended: Some(ended), ..earlier }).ok();
        return;
    }
    let record = Record {
        version: SPEC_VERSION,
        pid: Record::NEVER_RAN,
        pid_start_ticks: 0,
        monitor_pid: std::process::id().cast_signed(),
        boot_id: pidfd::boot_id().unwrap_or_default(),
        started: now,
        ended: Some(Ended { error, ..end(exit_code) }),
        ended_before: None,
        restarts,
        initialized: false,
        pipes: [0; 3],
        cgroup: None,
    };
    // The failure itself is on its way to the user; a record that cannot be written adds nothing.
    write(directory, &record).ok();
}
