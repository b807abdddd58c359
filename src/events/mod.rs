//! What has happened to a user's containers, images, volumes and networks: an append-only file.
//!
//! ```text
//! <store>/events/log      one JSON object per line; whoever does something appends what it did
//! <store>/events/log.1    what came before; made by rename when `log` has grown beyond its limit
//! ```
//!
//! `events_logfile_path` of containers.conf puts them elsewhere.
//!
//! Appending is one write(2) and needs no lock: the kernel orders appends to a file. Only the rename is
//! done under a lock; a writer that had the file open then adds to the older one, which readers read first.
//! Nothing is synced: after a power cut the last events may be missing, as what they tell of may be.

pub(crate) mod journal;
pub(crate) mod reader;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags};
use serde::{Deserialize, Serialize};

/// A file grows to this many bytes; two are kept.
const MAX_BYTES: i64 = 8 << 20;

/// Where events go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Backend {
    /// The file of the store.
    #[default]
    File,
    /// Another file.
    FileAt(#[serde(with = "crate::base::bytes::path")] PathBuf),
    /// Nowhere.
    None,
    /// The system's journal, which listens on this socket.
    Journald(#[serde(with = "crate::base::bytes::path")] PathBuf),
}

/// One thing that has happened. The names are those of podman's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Event {
    pub(crate) time: Timestamp,
    /// `container`, `image`, `volume`, `network`, `system` …
    #[serde(rename = "Type")]
    pub(crate) kind: String,
    /// `create`, `start`, `died` …
    pub(crate) status: String,
    #[serde(rename = "ID", default, skip_serializing_if = "String::is_empty")]
    pub(crate) id: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    /// The image of a container.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) image: String,
    /// The same as it was typed, for docker.
    #[serde(rename = "image_typed", default, skip_serializing_if = "String::is_empty")]
    pub(crate) image_typed: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) container_exit_code: Option<i32>,
    #[serde(rename = "health_status", default, skip_serializing_if = "String::is_empty")]
    pub(crate) health_status: String,
    /// With `health_status`: failures in a row, and what the check has printed if that is kept nowhere else.
    #[serde(rename = "health_failing_streak", default, skip_serializing_if = "Option::is_none")]
    pub(crate) health_failing_streak: Option<u32>,
    #[serde(rename = "health_log", default, skip_serializing_if = "String::is_empty")]
    pub(crate) health_log: String,
    #[serde(rename = "network", default, skip_serializing_if = "String::is_empty")]
    pub(crate) network: String,
    /// Why it went wrong.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) error: String,
    /// The labels of a container, and what else there is to say.
    #[serde(default)]
    pub(crate) attributes: BTreeMap<String, String>,
    /// What docker says besides: `signal`, `execID` …
    #[serde(rename = "dockers", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) dockers: BTreeMap<String, String>,
    /// The words of a further command, for docker.
    #[serde(rename = "command", default, skip_serializing_if = "String::is_empty")]
    pub(crate) command: String,
    /// Whose users hear of it, where the other one has no such event.
    #[serde(rename = "only", default, skip_serializing_if = "Option::is_none")]
    pub(crate) only: Option<Only>,
}

/// Who has an event that the other one has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Only {
    Docker,
    Podman,
}

impl Event {
    /// Something that happens now.
    pub(crate) fn new(kind: &str, status: &str) -> Self {
        Self {
            time: Timestamp::now(),
            kind: kind.to_owned(),
            status: status.to_owned(),
            id: String::new(),
            name: String::new(),
            image: String::new(),
            image_typed: String::new(),
            container_exit_code: None,
            health_status: String::new(),
            health_failing_streak: None,
            health_log: String::new(),
            network: String::new(),
            error: String::new(),
            attributes: BTreeMap::new(),
            dockers: BTreeMap::new(),
            command: String::new(),
            only: None,
        }
    }

    /// The same as something that docker alone has.
    pub(crate) fn dockers_alone(self) -> Self {
        Self { only: Some(Only::Docker), ..self }
    }

    /// The same with something that docker says besides.
    pub(crate) fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.dockers.insert(key.to_owned(), value.to_string());
        self
    }

    /// The same as that of a further command of this session, which has ended with this code.
    pub(crate) fn of_session(self, session: &str, exit_code: i32) -> Self {
        Self { container_exit_code: Some(exit_code), ..self.with(SESSION, session) }
    }
}

/// What docker's events of further commands have the session's ID in.
pub(crate) const SESSION: &str = "execID";

/// The directory of the files.
pub(crate) fn directory(root: &Path) -> PathBuf {
    root.join("events")
}

/// The file that `backend` appends to, if it is one that does.
pub(crate) fn file(root: &Path, backend: &Backend) -> Option<PathBuf> {
    match backend {
        Backend::File => Some(directory(root).join("log")),
        Backend::FileAt(path) => Some(path.clone()),
        Backend::None | Backend::Journald(_) => None,
    }
}

/// The file beside the file of events at `path` whose name goes on with `more`.
fn beside(path: &Path, more: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(more);
    name.into()
}

/// Notes what has happened, all at once. That it could not be noted is nobody's failure: the disk may be
/// full or read-only, and what was done is done.
pub(crate) fn record(root: &Path, backend: &Backend, events: &[Event]) {
    let noted = match (backend, file(root, backend)) {
        (Backend::Journald(socket), _) => journal::send(socket, events),
        (_, Some(path)) => append(&path, matches!(backend, Backend::FileAt(_)), events, MAX_BYTES),
        (_, None) => Ok(()),
    };
    noted.ok();
}

/// Appends to the file at `path`, and makes its directory; those above that as well only where they are `anywhere`: a store that is
/// gone comes back with all that belongs to it, or not at all.
fn append(path: &Path, anywhere: bool, events: &[Event], limit: i64) -> io::Result<()> {
    let mut text = Vec::with_capacity(256 * events.len());
    for event in events {
        serde_json::to_writer(&mut text, event)?;
        text.push(b'\n');
    }
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let file = match rustix::fs::open(path, flags, mode) {
        Err(rustix::io::Errno::NOENT) => {
            make(path.parent().unwrap_or(path), anywhere)?;
            rustix::fs::open(path, flags, mode)?
        }
        other => other?,
    };
    rustix::io::write(&file, &text)?;
    if rustix::fs::fstat(&file)?.st_size > limit {
        rotate(path, limit)?;
    }
    Ok(())
}

fn make(directory: &Path, with_parents: bool) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    match std::fs::DirBuilder::new().mode(0o700).recursive(with_parents).create(directory) {
        Err(err) if err.kind() != io::ErrorKind::AlreadyExists => Err(err),
        _ => Ok(()),
    }
}

/// Makes the file at `path` the older one, unless another has just done so.
fn rotate(path: &Path, limit: i64) -> io::Result<()> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
    let lock = rustix::fs::open(beside(path, ".lock"), flags, Mode::RUSR | Mode::WUSR)?;
    rustix::fs::flock(lock.as_fd(), FlockOperation::LockExclusive)?;
    if rustix::fs::statat(CWD, path, AtFlags::empty())?.st_size > limit {
        rustix::fs::rename(path, beside(path, ".1"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::reader::Reader;

    fn event(n: usize) -> Event {
        Event { id: format!("{n:04}"), ..Event::new("container", "start") }
    }

    #[test]
    fn events_come_back_in_order_across_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events/log");
        let mut reader = Reader::open(&path, false).unwrap();
        let mut seen = Vec::new();
        for n in 0..100 {
            append(&path, false, &[event(n)], 1000).unwrap();
            if n % 7 == 0 {
                reader.read(|event| seen.push(event.id)).unwrap();
            }
        }
        reader.read(|event| seen.push(event.id)).unwrap();
        let all: Vec<_> = (0..100).map(|n| format!("{n:04}")).collect();
        assert_eq!(seen, all, "one who follows misses nothing");
        let names = std::fs::read_dir(dir.path().join("events")).unwrap().count();
        assert!(names <= 3, "log, log.1 and log.lock: {names}");
        let mut late = Vec::new();
        Reader::open(&path, false).unwrap().read(|event| late.push(event.id)).unwrap();
        assert!(all.ends_with(&late) && !late.is_empty(), "{late:?}");
    }

    #[test]
    fn many_writers_do_not_disturb_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = &dir.path().join("log");
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    for n in 0..50 {
                        append(path, false, &[event(thread * 100 + n)], 1 << 20).unwrap();
                    }
                });
            }
        });
        let mut seen = Vec::new();
        Reader::open(path, false).unwrap().read(|event| seen.push(event.id)).unwrap();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 200);
    }

    #[test]
    fn a_store_that_is_gone_is_not_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        record(&root, &Backend::File, &[Event::new("container", "start")]);
        assert!(!root.exists());
        let elsewhere = dir.path().join("a/b/log");
        record(&root, &Backend::FileAt(elsewhere.clone()), &[Event::new("container", "start")]);
        assert!(elsewhere.exists() && !root.exists());
    }
}
