//! Further commands that run in a container: what `exec -d` prints and `inspect` lists, and what Docker's API makes in one
//! request, starts in another and asks about in a third.
//!
//! ```text
//! containers/<id>/exec/<session ID>        symbolic link to <pid>:<start ticks>:<boot ID>: it was started
//!                      <session ID>.json   what is to run, if it was made by the API; whoever awaits its end holds a flock
//!                      <session ID>.end    symbolic link to the exit code
//!                      <session ID>.sock   where its terminal's size is told
//! ```
//!
//! A link is made in one call and needs no cleaning up after a crash: a session whose process is gone runs no more.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::attach::client;
use crate::attach::packet::Hello;
use crate::base::id::ContainerId;
use crate::base::order::InOrder as _;
use crate::engine::exec::{Entering, ExecRequest};
use crate::engine::start::Start;
use crate::engine::state::Phase;
use crate::engine::{Engine, Error, Kind, Result};
use crate::runtime::enter::Entered;
use crate::sys::fs::{self, OFlags, Share};
use crate::sys::tty::WindowSize;
use crate::sys::{pidfd, socket, waiting};

const DIRECTORY: &str = "exec";
/// What belongs to a session beside its link.
const PARTS: [&str; 3] = ["json", "end", "sock"];
/// A session's exit code can be asked for this long.
const MEMORY: Duration = Duration::from_secs(10 * 60);
/// One that nobody starts is kept this long.
const UNSTARTED_MEMORY: Duration = Duration::from_secs(24 * 60 * 60);
/// Most ended sessions that are kept.
const MOST_ENDED: usize = 256;
/// How long those may hold a session who only look, or who are about to start it.
const GLANCE: Duration = Duration::from_secs(5);
/// The longest request that is read, in bytes.
const MAX_JSON: usize = 16 << 20;
/// The exit code of a command that could not start for a reason of ours, and that of one whose end nobody saw.
const FAILED: i32 = 126;
const UNKNOWN: i32 = -1;

/// What is to run, and what its clients are told of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SessionRequest {
    pub(crate) exec: ExecRequest,
    pub(crate) attach_stdout: bool,
    pub(crate) attach_stderr: bool,
    pub(crate) detach_keys: Option<String>,
    /// Rows and columns that its terminal begins with, unless the start says others.
    pub(crate) window: Option<[u16; 2]>,
}

/// What is known of a session.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) container: ContainerId,
    pub(crate) request: SessionRequest,
    /// Of the host; 0 if it does not run.
    pub(crate) pid: i32,
    pub(crate) runs: bool,
    /// Once it has ended.
    pub(crate) exit_code: Option<i32>,
}

/// A session that was started by this process.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) container: ContainerId,
    id: String,
    dir: OwnedFd,
    /// As long as it is held, somebody will tell the exit code.
    lock: OwnedFd,
    entered: Entered,
}

impl Engine {
    /// Makes a session, which runs nothing yet; its ID.
    ///
    /// # Errors
    ///
    /// Conflict if the container does not run; Invalid without a command.
    pub(crate) fn create_exec(&self, id: &ContainerId, request: &SessionRequest) -> Result<String> {
        let dir = self.store().containers().open(id)?;
        self.check_for_exec(dir.as_fd(), id)?;
        if request.exec.command.is_empty() {
            return Err(Error::invalid("no exec command specified"));
        }
        prepare(dir.as_fd())?;
        let session = new_id()?;
        let text = serde_json::to_vec(request).map_err(|err| Error::system("write the exec session", err))?;
        fs::write_new(&dir, &part(&session, "json"), &text, 0o600, false).map_err(noting)?;
        self.exec_created(id, &session, &request.exec.command);
        Ok(session)
    }

    /// In docker's words.
    fn check_for_exec(&self, dir: BorrowedFd<'_>, id: &ContainerId) -> Result<()> {
        let status = self.status_with_monitor(dir, id)?;
        let why = match status.phase {
            _ if status.paused => "is paused, unpause the container before exec",
            Phase::Up | Phase::Unmonitored => return Ok(()),
            _ => "is not running",
        };
        Err(Error::new(Kind::Conflict, format!("container {id} {why}")))
    }

    /// Starts what was made by [`create_exec`](Self::create_exec).
    ///
    /// # Errors
    ///
    /// NotFound; Conflict if it was started already or the container does not run; what the command cannot be started for,
    /// which is noted.
    pub(crate) fn start_exec(&self, session: &str, start: Start) -> Result<Started> {
        let (id, dir) = self.find_session(session)?;
        let failed = |err| Error::system(format!("start exec session {session}"), err);
        let flags = OFlags::RDWR | OFlags::NOFOLLOW;
        let lock = fs::open_at(&dir, part(session, "json"), flags, 0).map_err(failed)?;
        let has_begun = || fs::readlink(&dir, link(session)).is_ok();
        // Those who ask whether somebody holds it hold it for an instant themselves.
        let is_ours = || match fs::try_lock(&lock, Share::Exclusive) {
            Ok(false) => Ok(has_begun().then_some(false)),
            other => other.map(Some),
        };
        if waiting::until(GLANCE, Duration::from_millis(1), is_ours).map_err(failed)? != Some(true) {
            let message = format!("exec command {session} is already running");
            return Err(Error::new(Kind::Conflict, message));
        }
        if has_begun() || fs::readlink(&dir, part(session, "end")).is_ok() {
            return Err(Error::new(Kind::Conflict, format!("exec command {session} has already run")));
        }
        let request = read_request(dir.as_fd(), session)?;
        self.check_for_exec(dir.as_fd(), &id)?;
        let name = part(session, "sock");
        let listener =
            socket::listen_at(dir.as_fd(), name.as_os_str(), socket::Kind::Packet).map_err(failed)?;
        let entering = Entering { request: &request.exec, session, is_known: true };
        let entered = match self.enter(dir.as_fd(), &id, entering, Some(listener), start) {
            Ok(entered) => entered,
            Err(err) => {
                let code = if err.kind == Kind::CommandNotFound { 127 } else { FAILED };
                note_end(dir.as_fd(), session, code)?;
                return Err(err);
            }
        };
        note_process(dir.as_fd(), session, entered.pid)?;
        // It goes on whatever becomes of this process.
        entered.release().map_err(failed)?;
        Ok(Started { container: id, id: session.to_owned(), dir, lock, entered })
    }

    /// What is known of a session.
    ///
    /// # Errors
    ///
    /// NotFound.
    pub(crate) fn exec_session(&self, session: &str) -> Result<Session> {
        let (container, dir) = self.find_session(session)?;
        let known = process(dir.as_fd(), session);
        // Asked in this order: whoever awaits the end notes it before they let go.
        let awaited = is_awaited(dir.as_fd(), session);
        let runs = known.is_some_and(|(_, runs)| runs) || awaited;
        let noted = fs::readlink(&dir, part(session, "end")).ok();
        let noted = noted.and_then(|code| code.to_str()?.parse().ok());
        let exit_code = noted.or_else(|| (known.is_some() && !runs).then_some(UNKNOWN));
        let runs = runs && exit_code.is_none();
        let request = match read_request(dir.as_fd(), session) {
            // Of `ketch exec`, which notes no more than the process.
            Err(err) if err.kind == Kind::NotFound => SessionRequest::default(),
            other => other?,
        };
        let pid = known.filter(|_| runs).map_or(0, |(pid, _)| pid);
        Ok(Session { container, request, pid, runs, exit_code })
    }

    /// Gives the terminal of a session another size.
    ///
    /// # Errors
    ///
    /// NotFound; Conflict if it does not run.
    pub(crate) fn resize_exec(&self, session: &str, size: WindowSize) -> Result<()> {
        let (_, dir) = self.find_session(session)?;
        let name = part(session, "sock");
        let connected = socket::connect_at(dir.as_fd(), name.as_os_str(), socket::Kind::Packet);
        let sent = connected.and_then(|socket| {
            client::greet(socket.as_fd(), Hello::default())?;
            client::resize(socket.as_fd(), size)
        });
        sent.map_err(|err| {
            Error::new(Kind::Conflict, format!("exec process {session} is not running")).because(err)
        })
    }

    /// The container of a session, and its directory.
    fn find_session(&self, session: &str) -> Result<(ContainerId, OwnedFd)> {
        let missing = || Error::not_found(format!("No such exec instance: {session}"));
        if !session.bytes().all(|byte| byte.is_ascii_hexdigit()) || session.is_empty() {
            return Err(missing());
        }
        let containers = self.store().containers();
        let holds = |dir: &OwnedFd| {
            [part(session, "json"), link(session)].iter().any(|name| fs::stat_at(dir, name).is_ok())
        };
        for id in containers.list()? {
            // One may be removed meanwhile.
            if let Some(dir) = containers.open(&id).ok().filter(holds) {
                return Ok((id, dir));
            }
        }
        Err(missing())
    }
}

impl Started {
    /// Waits for the end of the command by `socket`, whose client takes no more output, and notes the exit code.
    pub(crate) fn await_end(self, engine: &Engine, socket: BorrowedFd<'_>) {
        let waited = socket::set_nonblocking(socket, false).and_then(|()| {
            let mut buffer = vec![0; crate::attach::packet::MAX_PACKET];
            loop {
                match client::receive(socket, &mut buffer)? {
                    None => return Ok(None),
                    Some(crate::attach::packet::FromMonitor::Exit(code)) => return Ok(Some(code)),
                    Some(_) => {}
                }
            }
        });
        self.ended(engine, waited.ok().flatten().unwrap_or(UNKNOWN));
    }

    /// Notes how the command has ended. A container that is removed meanwhile takes that with it.
    pub(crate) fn ended(self, engine: &Engine, code: i32) {
        note_end(self.dir.as_fd(), &self.id, code).ok();
        engine.exec_ended(&self.container, &self.id, code);
    }

    /// What a process needs that does nothing but await the end.
    pub(crate) fn descriptors(&self) -> [BorrowedFd<'_>; 3] {
        [self.dir.as_fd(), self.lock.as_fd(), self.entered.as_fd()]
    }
}

fn noting(err: std::io::Error) -> Error {
    Error::system("note the exec session", err)
}

fn link(session: &str) -> PathBuf {
    Path::new(DIRECTORY).join(session)
}

fn part(session: &str, part: &str) -> PathBuf {
    Path::new(DIRECTORY).join(format!("{session}.{part}"))
}

/// An ID for a session.
pub(super) fn new_id() -> Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|err| Error::system("make up a session ID", err.to_string()))?;
    Ok(ContainerId::from_random(bytes).to_string())
}

/// Makes the directory, or what has had its time leave it.
fn prepare(dir: BorrowedFd<'_>) -> Result<()> {
    match fs::mkdir(dir, DIRECTORY, 0o700) {
        Err(err) if err.kind() == std::io::ErrorKind::AlreadyExists => forget_old(dir),
        other => other.map_err(noting)?,
    }
    Ok(())
}

fn read_request(dir: BorrowedFd<'_>, session: &str) -> Result<SessionRequest> {
    let what = || format!("read exec session {session}");
    let text = fs::read_at(dir, part(session, "json"), MAX_JSON).map_err(|err| match err.kind() {
        std::io::ErrorKind::NotFound => Error::not_found(format!("No such exec instance: {session}")),
        _ => Error::system(what(), err),
    })?;
    serde_json::from_slice(&text).map_err(|err| Error::system(what(), err))
}

/// Notes that process `pid` of the host runs in the container whose directory is `dir`, and returns the new
/// session's ID.
pub(super) fn note(dir: BorrowedFd<'_>, session: &str, pid: i32) -> Result<()> {
    prepare(dir)?;
    note_process(dir, session, pid)
}

fn note_process(dir: BorrowedFd<'_>, session: &str, pid: i32) -> Result<()> {
    // One that has ended already is noted, too: it had an ID, and is not listed.
    let start = pidfd::start_ticks(pid).map_err(noting)?.unwrap_or_default();
    let process = format!("{pid}:{start}:{}", pidfd::boot_id().map_err(noting)?);
    fs::symlink(process.as_str(), dir, link(session)).map_err(noting)
}

fn note_end(dir: BorrowedFd<'_>, session: &str, code: i32) -> Result<()> {
    fs::unlink(dir, part(session, "sock")).ok();
    fs::symlink(code.to_string().as_str(), dir, part(session, "end")).map_err(noting)
}

/// The sessions that run, sorted. What cannot be read does not.
pub(super) fn running(dir: BorrowedFd<'_>) -> Vec<String> {
    let mut sessions: Vec<String> =
        all(dir).into_iter().filter(|(_, runs)| *runs).map(|(session, _)| session).collect();
    sessions.order();
    sessions
}

/// Forgets one session.
///
/// # Errors
///
/// If there is none, or it runs.
pub(super) fn remove(dir: BorrowedFd<'_>, session: &str) -> Result<()> {
    match all(dir).into_iter().find(|(known, _)| known == session) {
        None => {
            Err(Error::not_found(format!("no exec session with ID {session} found: no such exec session")))
        }
        Some((_, true)) => Err(Error::new(
            Kind::Conflict,
            format!("exec session {session} is running: exec session state improper"),
        )),
        Some((known, false)) => {
            forget(dir, &known);
            Ok(())
        }
    }
}

/// Forgets the sessions that have ended.
pub(super) fn remove_ended(dir: BorrowedFd<'_>) {
    all(dir).iter().filter(|(_, runs)| !runs).for_each(|(session, _)| forget(dir, session));
}

fn forget(dir: BorrowedFd<'_>, session: &str) {
    // Another command may have removed it.
    fs::unlink(dir, link(session)).ok();
    PARTS.iter().for_each(|name| drop(fs::unlink(dir, part(session, name))));
}

/// Forgets the ended sessions that nobody will ask for, and those that nobody will start.
fn forget_old(dir: BorrowedFd<'_>) {
    let age = |name: &Path| {
        let seconds = fs::stat_at(dir, name).ok()?.st_mtime;
        let since = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).ok()?);
        SystemTime::now().duration_since(since).ok()
    };
    for (session, _) in all(dir).into_iter().filter(|(_, runs)| !runs) {
        // Only the API's are asked for.
        if fs::stat_at(dir, part(&session, "json")).is_err() {
            forget(dir, &session);
        }
    }
    let mut ended = Vec::new();
    for name in fs::names(dir, DIRECTORY).unwrap_or_default() {
        let Some(session) = name.to_str().and_then(|name| name.strip_suffix(".json")) else { continue };
        let end = age(&part(session, "end"));
        match (end, age(&part(session, "json"))) {
            (Some(end), _) if end > MEMORY => forget(dir, session),
            (Some(end), _) => ended.push((end, session.to_owned())),
            (None, Some(made)) if made > UNSTARTED_MEMORY && !is_awaited(dir, session) => {
                forget(dir, session);
            }
            _ => {}
        }
    }
    ended.order();
    ended.iter().skip(MOST_ENDED).for_each(|(_, session)| forget(dir, session));
}

/// Whether somebody will tell the end of a session.
fn is_awaited(dir: BorrowedFd<'_>, session: &str) -> bool {
    let Ok(file) = fs::open_at(dir, part(session, "json"), OFlags::RDONLY | OFlags::NOFOLLOW, 0) else {
        return false;
    };
    matches!(fs::try_lock(&file, Share::Shared), Ok(false))
}

/// Every session that was started, and whether it runs.
fn all(dir: BorrowedFd<'_>) -> Vec<(String, bool)> {
    let names = fs::names(dir, DIRECTORY).unwrap_or_default();
    let session = |name: std::ffi::OsString| {
        let name = name.into_string().ok().filter(|name| !name.contains('.'))?;
        let (_, runs) = process(dir, &name)?;
        Some((name, runs))
    };
    names.into_iter().filter_map(session).collect()
}

/// The process of a session that was started, and whether it runs.
fn process(dir: BorrowedFd<'_>, session: &str) -> Option<(i32, bool)> {
    let target = fs::readlink(dir, link(session)).ok()?;
    let mut parts = target.to_str()?.splitn(3, ':');
    let (pid, start, boot) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?);
    let process = pidfd::open_verified(pid, start, boot).ok()?;
    Some((pid, process.is_some_and(|process| matches!(pidfd::has_ended(&process), Ok(false)))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_there_as_long_as_its_process() {
        let dir = tempfile::tempdir().unwrap();
        let opened = std::fs::File::open(dir.path()).unwrap();
        assert_eq!(running(opened.as_fd()), Vec::<String>::new());
        let [own, ended, another] = [(); 3].map(|()| new_id().unwrap());
        note(opened.as_fd(), &own, std::process::id().cast_signed()).unwrap();
        note(opened.as_fd(), &ended, i32::MAX).unwrap();
        assert_eq!((own.len(), running(opened.as_fd())), (64, vec![own.clone()]));
        note(opened.as_fd(), &another, i32::MAX).unwrap();
        assert!(!dir.path().join(DIRECTORY).join(ended).is_symlink(), "removed by the next one");
    }

    #[test]
    fn ended_sessions_of_the_api_are_kept_but_not_all() {
        let dir = tempfile::tempdir().unwrap();
        let opened = std::fs::File::open(dir.path()).unwrap();
        prepare(opened.as_fd()).unwrap();
        for number in 0..MOST_ENDED + 3 {
            let session = format!("{number:064x}");
            fs::write_new(&opened, &part(&session, "json"), b"{}", 0o600, false).unwrap();
            note_process(opened.as_fd(), &session, i32::MAX).unwrap();
            note_end(opened.as_fd(), &session, 3).unwrap();
        }
        let unstarted = "f".repeat(64);
        fs::write_new(&opened, &part(&unstarted, "json"), b"{}", 0o600, false).unwrap();
        prepare(opened.as_fd()).unwrap();
        let left = std::fs::read_dir(dir.path().join(DIRECTORY)).unwrap().count();
        assert_eq!(left, 3 * MOST_ENDED + 1, "link, request and code of each, and one request");
        assert_eq!(read_request(opened.as_fd(), &unstarted).unwrap(), SessionRequest::default());
    }
}
