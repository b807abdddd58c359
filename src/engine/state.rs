//! What a container is doing, derived from its lock and its record: it is not stored as a word.
//!
//! ```text
//! lock   record.json                 phase
//! held   none                        Starting
//! held   no end                      Up; Initialized if process 1 waits for its start
//! held   an end, by this monitor     Ending: its monitor will go away or start it again
//! held   an end, by another one      Starting once more
//! free   none                        Created
//! free   of a start that failed      Created, if it has never run; else as of its last life
//! free   an empty file, or NULs      Exited (-1): what a power cut leaves of a record that was just written
//! free   no end, process 1 alive     Unmonitored
//! free   no end, process 1 gone      Exited (-1): lost with the machine or the monitor
//! free   an end                      Exited (code)
//! ```

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use crate::base::id::ContainerId;
use crate::base::spec::{ContainerSpec, Ended, Record};
use crate::engine::error::{Error, Kind, Result};
use crate::engine::pause;
use crate::runtime::updates::{self, Updates};
use crate::store::{Store, StoreError};
use crate::sys::fs::{self, OFlags, Share};
use crate::sys::pidfd;

/// The longest record or spec that is read, in bytes.
const MAX_JSON: usize = 16 << 20;

/// What a container is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It has never run.
    Created,
    /// Its monitor is there, its process 1 not yet.
    Starting,
    /// Its process 1 is there, with all that it needs, and waits for the start.
    Initialized,
    Up,
    /// It runs, and its monitor is gone: nobody records its output and its end.
    Unmonitored,
    /// It has ended with this code; its monitor is still at work, or will start it again.
    Ending(i32),
    /// It has ended with this code; -1 if nobody saw it end.
    Exited(i32),
}

impl Phase {
    /// True if process 1 is there, or about to be.
    pub(crate) fn is_running(self) -> bool {
        matches!(self, Self::Starting | Self::Initialized | Self::Up | Self::Unmonitored)
    }

    fn exit_code(self) -> i32 {
        match self {
            Self::Ending(code) | Self::Exited(code) => code,
            _ => 0,
        }
    }

    /// The word of `ps` and `inspect`. Whoever has seen a container end sees it exited, whatever its
    /// monitor still does.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Starting | Self::Initialized => "initialized",
            Self::Up | Self::Unmonitored => "running",
            Self::Ending(_) | Self::Exited(_) => "exited",
        }
    }
}

/// A container's phase, and the record that it was derived from.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    pub(crate) phase: Phase,
    /// What happened in its present or last life; of an earlier one while it is starting.
    pub(crate) record: Option<Record>,
    /// It runs, and its processes are held still.
    pub(crate) paused: bool,
    /// It has never run, because its start failed.
    pub(crate) failed_start: Option<Ended>,
}

impl Status {
    /// Nothing but a phase is known.
    pub(crate) fn of(phase: Phase) -> Self {
        Self { phase, record: None, paused: false, failed_start: None }
    }

    /// The word of `ps` and `inspect`.
    pub(crate) fn word(&self) -> &'static str {
        if self.paused { "paused" } else { self.phase.word() }
    }

    /// The exit code, once it has ended, or its start has failed; else 0.
    pub(crate) fn exit_code(&self) -> i32 {
        self.failed_start.as_ref().map_or_else(|| self.phase.exit_code(), |failed| failed.exit_code)
    }

    /// What went wrong with its last start, or with recording its life; may be empty.
    pub(crate) fn error(&self) -> &str {
        let ended = self.record.as_ref().and_then(|record| record.ended.as_ref());
        self.failed_start.as_ref().or(ended).map_or("", |ended| &ended.error)
    }

    /// Process 1 in the host's numbers, while it runs; else 0.
    pub(crate) fn pid(&self) -> i32 {
        match (&self.record, self.phase) {
            (Some(record), Phase::Initialized | Phase::Up | Phase::Unmonitored) => record.pid,
            _ => 0,
        }
    }

    /// Process 1, if it runs: a descriptor that cannot come to mean another process.
    ///
    /// # Errors
    ///
    /// Reading `/proc`.
    pub(crate) fn process(&self) -> io::Result<Option<OwnedFd>> {
        match &self.record {
            Some(record) if self.phase.is_running() => process_of(record),
            _ => Ok(None),
        }
    }
}

/// Derives the status of the container whose directory is `dir`.
///
/// # Errors
///
/// If its record cannot be read or understood: other containers are not affected.
pub(crate) fn examine(dir: BorrowedFd<'_>, id: &ContainerId) -> Result<Status> {
    loop {
        let Some(held) = lock_held(dir).map_err(|err| system("look at the lock", id, err))? else {
            // The lock is made before anything else is at the first start.
            return Ok(Status::of(Phase::Created));
        };
        let record = match read_record(dir, id) {
            Err(_) if !held && is_lost_record(dir) => {
                return Ok(Status::of(Phase::Exited(-1)));
            }
            other => other?,
        };
        if let Some(Record { ended: Some(ended), .. }) = record.as_ref().filter(|record| !record.has_run()) {
            return Ok(match held {
                true => Status::of(Phase::Starting),
                false => Status { failed_start: Some(ended.clone()), ..Status::of(Phase::Created) },
            });
        }
        let phase = match (held, &record) {
            (true, None) => Phase::Starting,
            (true, Some(record)) => match &record.ended {
                None if record.initialized => Phase::Initialized,
                None => Phase::Up,
                Some(ended) if is_alive(record.monitor_pid) => Phase::Ending(ended.exit_code),
                Some(_) => Phase::Starting,
            },
            (false, None) => Phase::Created,
            (false, Some(record)) => match &record.ended {
                Some(ended) => Phase::Exited(ended.exit_code),
                // Rare, so worth a second look: it may have been started after the first one.
                None if lock_held(dir).map_err(|err| system("look at the lock", id, err))? == Some(true) => {
                    continue;
                }
                None => {
                    let process = process_of(record).map_err(|err| system("find process 1", id, err))?;
                    if process.is_some() { Phase::Unmonitored } else { Phase::Exited(-1) }
                }
            },
        };
        let runs = matches!(phase, Phase::Up | Phase::Unmonitored);
        let paused = record.as_ref().is_some_and(|record| runs && pause::is_paused(dir, record));
        return Ok(Status { record, paused, ..Status::of(phase) });
    }
}

/// Reads a container's specification.
///
/// # Errors
///
/// If it is missing or damaged.
pub(crate) fn read_spec(dir: BorrowedFd<'_>, id: &ContainerId) -> Result<ContainerSpec> {
    let text = fs::read_at(dir, "spec.json", MAX_JSON).map_err(|err| damaged("read the spec", id, err))?;
    let mut spec: ContainerSpec =
        serde_json::from_slice(&text).map_err(|err| damaged("understand the spec", id, err))?;
    read_updates(dir, id)?.apply(&mut spec);
    Ok(spec)
}

/// What `update` has changed.
///
/// # Errors
///
/// If it is damaged: a limit that was set is not forgotten.
pub(crate) fn read_updates(dir: BorrowedFd<'_>, id: &ContainerId) -> Result<Updates> {
    match fs::read_at(dir, updates::FILE, MAX_JSON) {
        Ok(text) => serde_json::from_slice(&text).map_err(|err| damaged("understand the update", id, err)),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Updates::default()),
        Err(err) => Err(damaged("read the update", id, err)),
    }
}

/// True if the record is what a power cut leaves of a file that was renamed before its content had come to
/// the disk: nothing, or NULs. The machine has stopped since then, and the container with it.
fn is_lost_record(dir: BorrowedFd<'_>) -> bool {
    fs::read_at(dir, "record.json", MAX_JSON).is_ok_and(|text| text.iter().all(|byte| *byte == 0))
}

fn read_record(dir: BorrowedFd<'_>, id: &ContainerId) -> Result<Option<Record>> {
    match fs::read_at(dir, "record.json", MAX_JSON) {
        Ok(text) => {
            serde_json::from_slice(&text).map(Some).map_err(|err| damaged("understand the record", id, err))
        }
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(damaged("read the record", id, err)),
    }
}

/// Whether a monitor holds the container's lock; `None` if there is none, as with one that was never started. Asking
/// takes the lock beside others who ask, for an instant; a monitor that starts in that instant tries again.
fn lock_held(dir: BorrowedFd<'_>) -> io::Result<Option<bool>> {
    match fs::open_at(dir, "lock", OFlags::RDONLY | OFlags::NONBLOCK, 0) {
        Ok(file) => fs::try_lock(&file, Share::Shared).map(|free| Some(!free)),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err),
    }
}

fn process_of(record: &Record) -> io::Result<Option<OwnedFd>> {
    pidfd::open_verified(record.pid, record.pid_start_ticks, &record.boot_id)
}

fn is_alive(pid: i32) -> bool {
    pidfd::open(pid).and_then(|process| pidfd::has_ended(&process)).is_ok_and(|ended| !ended)
}

/// Whether process 1 of a life is still there, and not on its way out.
pub(super) fn goes_on(record: &Record) -> bool {
    process_of(record).is_ok_and(|first| first.is_some() && !pidfd::is_ending(record.pid))
}

/// A file of the container that cannot be read: it affects this container only.
fn damaged(
    action: &str,
    id: &ContainerId,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    system(action, id, source).hint(format!("it is damaged; ketch rm -f {} removes it", id.short()))
}

fn system(
    action: &str,
    id: &ContainerId,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::system(format!("{action} of container {}", id.short()), source)
}

/// What is said of a container that another command has removed meanwhile.
pub(crate) fn gone(id: &ContainerId) -> Error {
    Error::not_found(format!("no container with name or ID \"{id}\" found: no such container"))
}

/// Finds the container that `typed` means: its name, its ID, or the beginning of its ID.
///
/// # Errors
///
/// [`Kind::NotFound`], in podman's words; [`Kind::Conflict`] if several IDs begin so.
pub(crate) fn find(store: &Store, typed: &str) -> Result<ContainerId> {
    store.containers().find(typed).map_err(|err| match err {
        StoreError::NotFound { .. } => {
            Error::not_found(format!("no container with name or ID {typed:?} found: no such container"))
        }
        StoreError::Ambiguous { candidates, .. } => Error::new(
            Kind::Conflict,
            format!("more than one result to container name or ID {typed:?}: {}", candidates.join(", ")),
        ),
        other => Error::system(format!("look for container {typed}"), other),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use std::os::fd::AsFd as _;

    /// A container's directory with what the table of the module's text distinguishes.
    struct World {
        dir: tempfile::TempDir,
        lock: OwnedFd,
    }

    impl World {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let lock = fs::open_at(
                std::fs::File::open(dir.path()).unwrap().as_fd(),
                "lock",
                OFlags::RDWR | OFlags::CREATE,
                0o600,
            )
            .unwrap();
            Self { dir, lock }
        }

        fn hold(&self) {
            assert!(fs::try_lock(&self.lock, Share::Exclusive).unwrap());
        }

        fn record(&self, pid: i32, monitor_pid: i32, exit_code: Option<i32>) {
            let ended = exit_code.map(|exit_code| {
                serde_json::json!({"at": Timestamp::now(), "exit_code": exit_code, "oom_killed": false,
                    "error": "", "stopped_by_user": false})
            });
            let record = serde_json::json!({"version": 1, "pid": pid,
                "pid_start_ticks": pidfd::start_ticks(pid).unwrap().unwrap_or(1), "monitor_pid": monitor_pid,
                "boot_id": pidfd::boot_id().unwrap(), "started": Timestamp::now(), "ended": ended, "restarts": 0});
            std::fs::write(self.dir.path().join("record.json"), record.to_string()).unwrap();
        }

        fn phase(&self) -> Result<Phase> {
            let dir = std::fs::File::open(self.dir.path()).unwrap();
            examine(dir.as_fd(), &ContainerId::from_random([7; 32])).map(|status| status.phase)
        }
    }

    #[test]
    fn phases() {
        let own = std::process::id().cast_signed();
        let gone = i32::MAX;
        for (held, record, want) in [
            (true, None, Phase::Starting),
            (true, Some((own, own, None)), Phase::Up),
            (true, Some((gone, own, Some(3))), Phase::Ending(3)),
            (true, Some((gone, gone, Some(3))), Phase::Starting),
            (false, None, Phase::Created),
            (false, Some((own, gone, None)), Phase::Unmonitored),
            (false, Some((gone, gone, None)), Phase::Exited(-1)),
            (false, Some((gone, gone, Some(137))), Phase::Exited(137)),
        ] {
            let world = World::new();
            if held {
                world.hold();
            }
            if let Some((pid, monitor_pid, code)) = record {
                world.record(pid, monitor_pid, code);
            }
            assert_eq!(world.phase().unwrap(), want, "{held} {record:?}");
        }
    }

    #[test]
    fn a_damaged_record_is_an_error_and_not_a_state() {
        let world = World::new();
        for text in ["{", "null", "\0{}", "{\"version\": 1}"] {
            std::fs::write(world.dir.path().join("record.json"), text).unwrap();
            let err = world.phase().unwrap_err();
            assert!(err.message.starts_with("understand the record of container 0707"), "{text}: {err}");
        }
        world.hold();
        std::fs::write(world.dir.path().join("record.json"), "").unwrap();
        world.phase().unwrap_err();
    }

    /// REL-33
    #[test]
    fn a_record_that_a_power_cut_has_emptied_means_an_end_that_nobody_saw() {
        let world = World::new();
        for text in ["", "\0", "\0\0\0"] {
            std::fs::write(world.dir.path().join("record.json"), text).unwrap();
            assert_eq!(world.phase().unwrap(), Phase::Exited(-1));
        }
    }
}
