//! The logs of containers: what was recorded, and what is being recorded.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use crate::attach::client;
use crate::base::id::ContainerId;
use crate::base::spec::Log;
use crate::engine::journal::JournalLog;
use crate::engine::lifecycle::{connect, is_absent};
use crate::engine::state::{self, Phase};
use crate::engine::{Engine, Error, Kind, Result};
use crate::logs::entry::Entry;
use crate::logs::reader::{Query, Reader};
use crate::logs::watch::Watch;
use crate::logs::{Format, LogFiles};
use crate::sys::fs::{self, OFlags};
use crate::sys::poll::{Interest, PollSet};

/// How often to look for the next life of a container whose monitor cannot be reached meanwhile.
const NEXT_LIFE: Duration = Duration::from_millis(10);
/// How often to look where the kernel cannot report changes.
const LOOK: Duration = Duration::from_millis(50);
/// A journal that tells nothing new for so long, of a container that has ended, has told all.
const SILENCE: Duration = Duration::from_millis(500);
/// The longest spec that is read, in bytes.
const MAX_SPEC: usize = 16 << 20;

/// The part of a spec that says where the log is. Reading only this is several times as fast.
#[derive(Deserialize)]
struct LogPart {
    log: Log,
}

/// The log of one container.
#[derive(Debug)]
pub(crate) struct ContainerLog {
    pub(crate) id: ContainerId,
    source: Source,
    /// The container's directory.
    dir: OwnedFd,
    /// Becomes readable when the container ends; `None` if it does not run, or is between two lives.
    end: Option<OwnedFd>,
    /// It has a monitor that is not listening now: between two lives, or before the first one.
    between: bool,
    /// A life has ended with this code, and another one follows.
    life_ended: Option<i32>,
    finished: bool,
}

/// Where the entries are.
#[derive(Debug)]
enum Source {
    Files(Reader),
    Journal(JournalLog),
}

impl Engine {
    /// Opens the log of a container; to follow it, if `follow` is true.
    ///
    /// # Errors
    ///
    /// [`Kind::Unsupported`] if its driver keeps no log that could be read.
    pub(crate) fn log(&self, id: &ContainerId, query: Query, follow: bool) -> Result<ContainerLog> {
        let dir = self.store().containers().open(id)?;
        // What it writes from now on is to be recorded again. A log of what cannot be examined can be read.
        let phase = self.status_with_monitor(dir.as_fd(), id).map(|status| status.phase);
        let failed = |action: &str, err: io::Error| {
            Error::system(format!("{action} of container {}", id.short()), err)
        };
        let text = fs::read_at(&dir, "spec.json", MAX_SPEC).map_err(|err| failed("read the spec", err))?;
        let LogPart { log } =
            serde_json::from_slice(&text).map_err(|err| failed("understand the spec", err.into()))?;
        let format = match log.driver.as_str() {
            "k8s-file" => Format::K8s,
            "json-file" => Format::Json,
            "journald" => {
                // What the journal has of one that has ended is all there, however long it takes to be read.
                let goes_on = !matches!(phase, Ok(Phase::Created | Phase::Exited(_)));
                let source = Source::Journal(JournalLog::open(id, &query, follow && goes_on)?);
                return Ok(ContainerLog::new(id, source, dir));
            }
            other => return Err(unreadable(other)),
        };
        let files = match &log.path {
            None => dir.try_clone().map(|dir| readable(&dir, OsStr::new("."), OsStr::new("log"))),
            Some(path) => Ok(readable(
                fs::here(),
                path.parent().unwrap_or(path).as_os_str(),
                path.file_name().unwrap_or_default(),
            )),
        };
        let reader = files.and_then(|files| Reader::open(files?, format, query));
        let reader = reader.map_err(|err| failed("open the log", err))?;
        Ok(ContainerLog::new(id, Source::Files(reader), dir))
    }
}

/// The log `name` in the directory `path`, which can be watched.
fn readable(dir: impl AsFd, path: &OsStr, name: &OsStr) -> io::Result<LogFiles> {
    let directory = fs::open_at(dir, path, OFlags::RDONLY | OFlags::DIRECTORY, 0)?;
    Ok(LogFiles::new(directory, name))
}

/// The error for a driver without a log of ours, in podman's words.
fn unreadable(driver: &str) -> Error {
    let why = match driver {
        "none" => "this container is not logging output",
        "passthrough" | "passthrough-tty" => "its output went to whoever started it",
        _ => "read it where that driver writes",
    };
    let message = format!("this container is using the '{driver}' log driver, cannot read logs: {why}");
    Error::new(Kind::Unsupported, message)
}

impl ContainerLog {
    fn new(id: &ContainerId, source: Source, dir: OwnedFd) -> Self {
        let id = id.clone();
        Self { id, source, dir, end: None, between: false, life_ended: None, finished: false }
    }

    /// Gives each entry recorded so far to `sink`.
    ///
    /// # Errors
    ///
    /// Reading, and what `sink` answers.
    pub(crate) fn read(&mut self, mut sink: impl FnMut(&Entry<'_>) -> io::Result<()>) -> io::Result<()> {
        match &mut self.source {
            Source::Files(reader) => reader.read_present(sink),
            Source::Journal(journal) => {
                while !journal.has_ended() {
                    journal.read_some(&mut sink)?;
                }
                Ok(())
            }
        }
    }

    /// The directory of the files, if it is files.
    fn watched(&self) -> Option<BorrowedFd<'_>> {
        match &self.source {
            Source::Files(reader) => Some(reader.dir()),
            Source::Journal(_) => None,
        }
    }

    /// Readable when there is more, if that can be told.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match &self.source {
            Source::Journal(journal) if !journal.has_ended() => Some(journal.as_fd()),
            _ => None,
        }
    }

    /// Gives what has come to `sink`; what comes from a journal, only if it is `ready`.
    fn read_new(&mut self, ready: bool, sink: impl FnMut(&Entry<'_>) -> io::Result<()>) -> io::Result<()> {
        match &mut self.source {
            Source::Files(reader) => reader.read_new(sink),
            Source::Journal(journal) if ready => journal.read_some(sink),
            Source::Journal(_) => Ok(()),
        }
    }

    /// True if nothing more is to be awaited.
    fn is_done(&self) -> bool {
        match &self.source {
            Source::Files(reader) => self.finished || reader.is_finished(),
            Source::Journal(journal) => journal.has_ended(),
        }
    }

    /// Connects to the monitor, so that the end is heard of, unless it is connected already. Never waits: between two
    /// lives others have something to say.
    fn listen_for_end(&mut self) -> Result<()> {
        if self.end.is_some() {
            return Ok(());
        }
        let phase = state::examine(self.dir.as_fd(), &self.id)?.phase;
        // A monitor that is between two lives will start the container again, or go away.
        self.finished = matches!(phase, Phase::Created | Phase::Exited(_) | Phase::Unmonitored);
        self.between = false;
        if self.finished {
            return Ok(());
        }
        match connect(self.dir.as_fd()) {
            Ok(socket) => self.end = Some(socket),
            Err(err) if is_absent(&err) => self.between = true,
            Err(err) => {
                let what = format!("connect to the monitor of container {}", self.id.short());
                return Err(Error::system(what, err));
            }
        }
        Ok(())
    }
}

/// When following stops, beside at the end of all containers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits<'a> {
    /// Nothing recorded after this is waited for.
    pub(crate) until: Option<Timestamp>,
    /// As soon as this is readable.
    pub(crate) interrupt: Option<BorrowedFd<'a>>,
    /// As soon as nobody reads this any more, which is what entries are written to: that is a broken pipe.
    pub(crate) outlet: Option<BorrowedFd<'a>>,
    /// When the first container has ended, or one of its lives that another one follows.
    pub(crate) first_end: bool,
}

/// Why following stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// All containers have ended, or the time is over.
    Done,
    Interrupted,
    /// This container has ended.
    Ended(usize),
    /// A life of this container has ended with this code; its restart policy gives it another one.
    LifeEnded(usize, i32),
}

/// Gives the entries of several logs to `sink` as they are recorded, each with the place of its log in
/// `logs`, until all containers have ended or one of `limits` is met. `flush` is called before each pause.
///
/// # Errors
///
/// Reading, and what `sink` and `flush` answer, as [`io::Error`] in the source.
pub(crate) fn follow(
    logs: &mut [ContainerLog],
    limits: Limits<'_>,
    mut sink: impl FnMut(usize, &Entry<'_>) -> io::Result<()>,
    mut flush: impl FnMut() -> io::Result<()>,
) -> std::result::Result<Stopped, FollowError> {
    let until = limits.until;
    // Without a watch (the user has too many) looking again and again does it.
    let watch = Watch::new().ok();
    let watch =
        watch.filter(|watch| logs.iter().filter_map(ContainerLog::watched).all(|dir| watch.add(dir).is_ok()));
    for log in logs.iter_mut() {
        log.listen_for_end()?;
    }
    let mut set = PollSet::default();
    let mut quiet = false;
    loop {
        if let Some(watch) = &watch {
            watch.clear()?;
        }
        let now = Timestamp::now();
        let over = until.is_some_and(|until| now > until);
        for (index, log) in logs.iter_mut().enumerate() {
            let ready = set.ready(2 + 2 * index).read;
            log.read_new(ready, |entry| sink(index, entry))?;
        }
        flush()?;
        // What it has written in that life was given to `sink` just now.
        if limits.first_end
            && let Some((index, code)) = take_ended_life(logs)
        {
            return Ok(Stopped::LifeEnded(index, code));
        }
        // A journal does not say that it has told all of a container that has ended: silence does.
        let ended = |log: &ContainerLog| log.is_done() || log.finished && quiet;
        if limits.first_end
            && let Some(first) = logs.iter().position(ended)
        {
            return Ok(Stopped::Ended(first));
        }
        if over || logs.iter().all(ended) {
            return Ok(Stopped::Done);
        }
        set.clear();
        set.add(watch.as_ref().map(AsFd::as_fd), Interest::READ);
        for log in logs.iter() {
            set.add(log.end.as_ref().map(AsFd::as_fd), Interest::READ);
            set.add(log.descriptor(), Interest::READ);
        }
        let interrupt = set.add(limits.interrupt, Interest::READ);
        let outlet = set.add_for_hang_up(limits.outlet);
        let silence = logs.iter().all(|log| log.finished || log.is_done()).then_some(SILENCE);
        let pause = pause_of(watch.is_some(), until, now);
        let next_life = logs.iter().any(|log| log.between).then_some(NEXT_LIFE);
        let woken = set.wait(pause.into_iter().chain(silence).chain(next_life).min())?;
        quiet = !woken && next_life.is_none();
        if set.ready(outlet).hung_up {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
        }
        if set.ready(interrupt).read {
            return Ok(Stopped::Interrupted);
        }
        for (index, log) in logs.iter_mut().enumerate() {
            if set.ready(1 + 2 * index).read {
                log.take_end()?;
            } else if log.between {
                log.listen_for_end()?;
            }
        }
    }
}

fn take_ended_life(logs: &mut [ContainerLog]) -> Option<(usize, i32)> {
    logs.iter_mut().enumerate().find_map(|(index, log)| Some((index, log.life_ended.take()?)))
}

/// How long to wait at most.
fn pause_of(watched: bool, until: Option<Timestamp>, now: Timestamp) -> Option<Duration> {
    let rest = until.map(|until| Duration::try_from(until.duration_since(now)).unwrap_or_default());
    // One millisecond more, so that `until` itself is over then.
    let rest = rest.map(|rest| rest + Duration::from_millis(1));
    if watched { rest } else { Some(rest.map_or(LOOK, |rest| rest.min(LOOK))) }
}

impl ContainerLog {
    /// The monitor has said something: the end of a life. All of its output is in the log now.
    fn take_end(&mut self) -> std::result::Result<(), FollowError> {
        let code = match self.end.take() {
            Some(socket) => client::wait_for_exit(socket.as_fd())?,
            None => None,
        };
        self.listen_for_end()?;
        self.life_ended = code.filter(|_| !self.finished);
        Ok(())
    }
}

/// Why following ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FollowError {
    /// Reading, or printing: a closed standard output is among these.
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Engine(#[from] Error),
}
