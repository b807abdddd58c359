//! Processes that live in the user namespace U and whose namespace others may join.
//!
//! Joining costs microseconds where creating costs two setuid programs (2.7 ms). Each monitor
//! leaves a symbolic link `holders/<pid>` → `<start ticks> <fingerprint of the maps>`; a link whose
//! process is gone, or whose number belongs to another process now, is ignored and removed.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::sys::poll::{Interest, PollSet};
use crate::sys::{namespace, pidfd};

/// Between two looks for an announcement, which mostly comes at once; on a busy machine it may take seconds.
const SHORT: Duration = Duration::from_micros(100);
const LONG: Duration = Duration::from_millis(2);
/// No turn takes longer: something hangs, and a second U is better than nothing at all.
const LONGEST_TURN: Duration = Duration::from_secs(20);

/// Whose turn it is to look for U and to announce a process in it: many at once where all join, one alone where U is
/// made. Without that, several started at once would each have a U of their own, and the network helper serves only
/// containers of the one that it is in itself. Ends when it is dropped.
pub(crate) fn turn(root: &Path, alone: bool) -> io::Result<OwnedFd> {
    let dir = root.join("holders");
    let open = || rustix::fs::open(&dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let file = match open() {
        Err(rustix::io::Errno::NOENT) => {
            std::fs::create_dir_all(&dir)?;
            open()?
        }
        opened => opened?,
    };
    let operation = if alone { FlockOperation::LockExclusive } else { FlockOperation::LockShared };
    rustix::io::retry_on_intr(|| rustix::fs::flock(&file, operation))?;
    Ok(file)
}

/// Waits for process `pid` to announce itself. Not for one that cannot: `report`, the socket on which it tells what
/// became of it, is readable before then, be it by its end.
pub(crate) fn await_announced(root: &Path, pid: i32, report: BorrowedFd<'_>) {
    let link = root.join("holders").join(pid.to_string());
    let begun = Instant::now();
    while !is_announced(&link, pid) && begun.elapsed() < LONGEST_TURN {
        let is_late = begun.elapsed() > Duration::from_millis(20);
        std::thread::sleep(if is_late { LONG } else { SHORT });
        if is_late && has_word(report) {
            return;
        }
    }
}

/// Whether there is something to read, without waiting for it.
fn has_word(socket: BorrowedFd<'_>) -> bool {
    let mut set = PollSet::default();
    set.add(Some(socket), Interest::READ);
    set.wait(Some(Duration::ZERO)).unwrap_or(true)
}

/// Whether the link is there, and not left by an earlier process of the same number.
fn is_announced(link: &Path, pid: i32) -> bool {
    let Ok(target) = std::fs::read_link(link) else { return false };
    announced(target.as_os_str())
        .is_some_and(|(ticks, _)| pidfd::start_ticks(pid).is_ok_and(|now| now == Some(ticks)))
}

/// What a link says: when its process started, in ticks, and the fingerprint of its maps.
fn announced(target: &OsStr) -> Option<(u64, &str)> {
    let (ticks, maps) = target.to_str()?.split_once(' ')?;
    Some((ticks.parse().ok()?, maps))
}

/// Announces the calling process, which is in U, as a holder.
pub(crate) fn announce(root: &Path, pid: i32, fingerprint: &str) -> io::Result<()> {
    let dir = root.join("holders");
    let ticks = pidfd::start_ticks(pid)?.ok_or(io::ErrorKind::NotFound)?;
    let link = dir.join(pid.to_string());
    let target = format!("{ticks} {fingerprint}");
    match std::os::unix::fs::symlink(&target, &link) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            std::fs::create_dir_all(&dir)?;
            std::os::unix::fs::symlink(&target, &link)
        }
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {
            // Left by an earlier process of the same number.
            std::fs::remove_file(&link)?;
            std::os::unix::fs::symlink(&target, &link)
        }
        other => other,
    }
}

/// Takes the announcement back. It is no error if there is none.
pub(crate) fn withdraw(root: &Path, pid: i32) {
    std::fs::remove_file(root.join("holders").join(pid.to_string())).ok();
}

/// The user namespace of a live holder with these maps.
pub(crate) fn find(root: &Path, fingerprint: &str) -> Option<OwnedFd> {
    std::fs::read_dir(root.join("holders")).ok()?.flatten().find_map(|entry| {
        let pid = std::str::from_utf8(entry.file_name().as_bytes()).ok()?.parse().ok()?;
        let target = std::fs::read_link(entry.path()).ok()?;
        let joined = join(pid, target.as_os_str(), fingerprint);
        if matches!(joined, Err(Stale)) {
            std::fs::remove_file(entry.path()).ok();
        }
        joined.ok().flatten()
    })
}

/// Removes the links of processes that are gone: those that were killed could not.
pub(crate) fn sweep(root: &Path) {
    for entry in std::fs::read_dir(root.join("holders")).into_iter().flatten().flatten() {
        let Some(pid) =
            std::str::from_utf8(entry.file_name().as_bytes()).ok().and_then(|pid| pid.parse().ok())
        else {
            continue;
        };
        let Ok(target) = std::fs::read_link(entry.path()) else { continue };
        let began = announced(target.as_os_str()).map(|(ticks, _)| ticks);
        // One that cannot be asked about counts as there.
        if pidfd::start_ticks_if_alive(pid).is_ok_and(|now| now.is_none() || now != began) {
            std::fs::remove_file(entry.path()).ok();
        }
    }
}

/// The process that left a link is gone.
struct Stale;

fn join(pid: i32, target: &OsStr, fingerprint: &str) -> Result<Option<OwnedFd>, Stale> {
    let (ticks, maps) = announced(target).ok_or(Stale)?;
    if maps != fingerprint {
        return Ok(None);
    }
    let namespace = namespace::open(pid, "user");
    // Compared after opening: the number cannot have changed hands in between and back.
    match pidfd::start_ticks(pid) {
        Ok(Some(now)) if now == ticks => Ok(namespace.ok()),
        _ => Err(Stale),
    }
}
