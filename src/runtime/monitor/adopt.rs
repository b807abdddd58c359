//! A new monitor for a container that has lost its own: it takes the running process 1 over (REL-06).
//!
//! ```text
//! record.json: pid, start ticks, boot ─▶ pidfd            its end, and from Linux 6.15 on its exit status
//!              inodes of the pipes    ─▶ /proc/PID/fd/N   opened again: log and clients go on
//!              network.json           ─▶ the same addresses asked for again; ports are listened on again
//! ```
//!
//! The pipes are readers of themselves (`StreamPairs::lasting`), so output waited in them meanwhile. A
//! terminal is gone with its master, and standard input has seen its end: those do not come back.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};

use crate::base::spec::Record;
use crate::runtime::failure::{Failure, FailureKind};
use crate::sys::pidfd;

use super::birth::{Living, Streams};
use super::{Monitor, record};

/// Takes over the process 1 that `record.json` names.
///
/// # Errors
///
/// Conflict if it has ended, or runs no more than that.
pub(super) fn adopt(monitor: &Monitor, own_pid: i32) -> Result<Living, Failure> {
    let gone = || Failure::new(FailureKind::Conflict, "the container is not running");
    let record = record::read(&monitor.directory).filter(|record| record.ended.is_none()).ok_or_else(gone)?;
    let pidfd = pidfd::open_verified(record.pid, record.pid_start_ticks, &record.boot_id)
        .map_err(|err| Failure::errno("find process 1", err))?
        .ok_or_else(gone)?;
    let streams = streams(&record)?;
    let record = Record { monitor_pid: own_pid, ..record };
    record::write(&monitor.directory, &record)
        .map_err(|err| Failure::errno("write the container's record", err))?;
    Ok(Living { pidfd, streams, record, held: None })
}

/// The monitor's ends of the streams, as far as there are any left. What is lost is /dev/null.
fn streams(record: &Record) -> Result<Streams, Failure> {
    let [stdin, stdout, stderr] = record.pipes;
    let null = || {
        rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| Failure::errno("open /dev/null", errno))
    };
    let output = |inode| open_again(record.pid, inode, OFlags::RDONLY).map_or_else(null, Ok);
    Ok(Streams::Pipes {
        stdin: open_again(record.pid, stdin, OFlags::WRONLY),
        stdout: output(stdout)?,
        stderr: output(stderr)?,
    })
}

/// Opens the pipe `inode` again, if process 1 still holds it under whatever number.
fn open_again(pid: i32, inode: u64, flags: OFlags) -> Option<OwnedFd> {
    if inode == 0 {
        return None;
    }
    let wanted = format!("pipe:[{inode}]");
    let mut entries = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
    let held = entries.find(|entry| {
        std::fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == wanted.as_str())
    })?;
    // What lies behind the number may have changed since: what was opened counts.
    let flags = flags | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(held.path(), flags, Mode::empty()).ok()?;
    rustix::fs::fstat(&opened).is_ok_and(|stat| stat.st_ino == inode).then_some(opened)
}
