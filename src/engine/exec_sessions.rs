//! Further commands that run in a container: what `exec -d` prints and `inspect` lists.
//!
//! `containers/<id>/exec/<session ID>` is a symbolic link to `<pid>:<start ticks>:<boot ID>`; made in one
//! call, it needs no cleaning up after a crash: a session whose process is gone is no session.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use crate::base::id::ContainerId;
use crate::engine::{Error, Kind, Result};
use crate::sys::{fs, pidfd};

const DIRECTORY: &str = "exec";

/// Notes that process `pid` of the host runs in the container whose directory is `dir`, and returns the new
/// session's ID.
pub(super) fn note(dir: BorrowedFd<'_>, pid: i32) -> Result<String> {
    let failed = |err: std::io::Error| Error::system("note the exec session", err);
    match fs::mkdir(dir, DIRECTORY, 0o700) {
        Err(err) if err.kind() == std::io::ErrorKind::AlreadyExists => remove_ended(dir),
        other => other.map_err(failed)?,
    }
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|err| Error::system("make up a session ID", err.to_string()))?;
    let session = ContainerId::from_random(bytes).to_string();
    // One that has ended already is noted, too: it had an ID, and is not listed.
    let start = pidfd::start_ticks(pid).map_err(failed)?.unwrap_or_default();
    let process = format!("{pid}:{start}:{}", pidfd::boot_id().map_err(failed)?);
    fs::symlink(process.as_str(), dir, PathBuf::from(DIRECTORY).join(&session)).map_err(failed)?;
    Ok(session)
}

/// The sessions that run, sorted. What cannot be read does not.
pub(super) fn running(dir: BorrowedFd<'_>) -> Vec<String> {
    let mut sessions: Vec<String> =
        all(dir).into_iter().filter(|(_, runs)| *runs).map(|(session, _)| session).collect();
    sessions.sort_unstable();
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
            // Another command may have removed it.
            fs::unlink(dir, PathBuf::from(DIRECTORY).join(known)).ok();
            Ok(())
        }
    }
}

/// Forgets the sessions that have ended.
pub(super) fn remove_ended(dir: BorrowedFd<'_>) {
    for (session, _) in all(dir).into_iter().filter(|(_, runs)| !runs) {
        // Another command may have removed it.
        fs::unlink(dir, PathBuf::from(DIRECTORY).join(session)).ok();
    }
}

/// Every session that was noted, and whether it runs.
fn all(dir: BorrowedFd<'_>) -> Vec<(String, bool)> {
    let names = fs::names(dir, DIRECTORY).unwrap_or_default();
    let session = |name: std::ffi::OsString| {
        let name = name.into_string().ok()?;
        let target = fs::readlink(dir, PathBuf::from(DIRECTORY).join(&name)).ok()?;
        let mut parts = target.to_str()?.splitn(3, ':');
        let (pid, start, boot) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?);
        let process = pidfd::open_verified(pid, start, boot).ok()?;
        let runs = process.is_some_and(|process| matches!(pidfd::has_ended(&process), Ok(false)));
        Some((name, runs))
    };
    names.into_iter().filter_map(session).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;

    #[test]
    fn a_session_is_there_as_long_as_its_process() {
        let dir = tempfile::tempdir().unwrap();
        let opened = std::fs::File::open(dir.path()).unwrap();
        assert_eq!(running(opened.as_fd()), Vec::<String>::new());
        let own = note(opened.as_fd(), std::process::id().cast_signed()).unwrap();
        let ended = note(opened.as_fd(), i32::MAX).unwrap();
        assert_eq!((own.len(), running(opened.as_fd())), (64, vec![own.clone()]));
        note(opened.as_fd(), i32::MAX).unwrap();
        assert!(!dir.path().join(DIRECTORY).join(ended).is_symlink(), "removed by the next one");
    }
}
