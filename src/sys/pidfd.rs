//! Processes that cannot be mistaken for others.
//!
//! A number names a process only as long as it lives; then the kernel gives the number away again. A
//! pidfd names one process for ever, and a number together with the start time and the boot does so
//! on disk:
//!
//! ```text
//! record.json: pid 4711, start ticks 889120, boot 6f0c…  ──open_verified──▶  pidfd, or None: it is gone
//! ```

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions};

/// The longest `/proc/PID/stat` that the kernel writes is far below this.
const STAT_MAX_BYTES: usize = 2048;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExitStatus {
    /// It called exit with this status (0…255).
    Code(i32),
    /// This signal killed it.
    Signal(i32),
    /// It was not our child, and the kernel does not tell.
    Unknown,
}

impl ExitStatus {
    /// The status as a shell reports it: the exit status, or 128 + the signal's number; -1 if unknown.
    pub(crate) fn shell_code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
            Self::Unknown => -1,
        }
    }
}

/// Opens a pidfd for the process that has the number `pid` at this moment.
///
/// # Errors
///
/// ESRCH if there is none; EINVAL if `pid` is not positive.
pub(crate) fn open(pid: i32) -> io::Result<OwnedFd> {
    let pid = Pid::from_raw(pid).filter(|_| pid > 0).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

/// Opens a pidfd for the process that had number `pid` and started at `start_ticks` in the boot
/// `boot`; `None` if that process is gone. A zombie counts as gone.
///
/// # Errors
///
/// What pidfd_open(2) and reading `/proc` answer beyond "no such process".
pub(crate) fn open_verified(pid: i32, start_ticks: u64, boot: &str) -> io::Result<Option<OwnedFd>> {
    if pid <= 0 || boot_id()? != boot {
        return Ok(None);
    }
    // Opened before the start time is read: if that then fits, the pidfd cannot be of a predecessor.
    let pidfd = match open(pid) {
        Ok(pidfd) => pidfd,
        Err(err) if err.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
        Err(err) => return Err(err),
    };
    let same = self::start_ticks(pid)? == Some(start_ticks);
    Ok((same && !has_ended(&pidfd)?).then_some(pidfd))
}

/// True once the process is a zombie or gone.
///
/// # Errors
///
/// EBADF, ENOMEM.
pub(crate) fn has_ended(pidfd: &OwnedFd) -> io::Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    Ok(rustix::io::retry_on_intr(|| poll(&mut fds, Some(&now)))? > 0)
}

/// Sends signal number `signal`; 0 only asks whether it would be allowed.
///
/// # Errors
///
/// ESRCH if the process is gone, EPERM, EINVAL for no signal.
pub(crate) fn send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let nothing: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: the null pointer tells the kernel to fill in the siginfo itself; the rest are numbers.
    let ret = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, nothing, 0) };
    if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Waits for a child to end and reaps it.
///
/// # Errors
///
/// ECHILD if it is not a child of this process.
pub(crate) fn wait(pidfd: BorrowedFd<'_>) -> io::Result<ExitStatus> {
    let status = loop {
        let found = rustix::io::retry_on_intr(|| {
            rustix::process::waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED)
        })?;
        if let Some(status) = found {
            break status;
        }
    };
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Ok(ExitStatus::Code(code)),
        (None, Some(signal)) => Ok(ExitStatus::Signal(signal)),
        (None, None) => Err(io::Error::other("waitid answered neither a status nor a signal")),
    }
}

/// Kills a child and reaps it, in whatever state it is.
pub(crate) fn end(pidfd: BorrowedFd<'_>) {
    send_signal(pidfd, libc::SIGKILL).ok();
    wait(pidfd).ok();
}

/// How a process ended: reaps a child; of another process, which has ended, the kernel tells from Linux
/// 6.15 on, once its parent has reaped it. For that we wait a while.
///
/// # Errors
///
/// As [`wait`], but for ECHILD.
pub(crate) fn wait_or_ask(pidfd: BorrowedFd<'_>) -> io::Result<ExitStatus> {
    match wait(pidfd) {
        Err(err) if err.raw_os_error() == Some(libc::ECHILD) => {}
        other => return other,
    }
    let told = super::waiting::until(REAPING, std::time::Duration::from_millis(2), || exit_info(pidfd));
    Ok(told.ok().flatten().unwrap_or(ExitStatus::Unknown))
}

/// How long the parent of a process may take to reap it.
const REAPING: std::time::Duration = std::time::Duration::from_millis(500);

/// `PIDFD_GET_INFO`: `_IOWR(0xff, 11, struct pidfd_info)` with the structure's first size, 64 bytes.
const PIDFD_GET_INFO: libc::Ioctl = 0xc040_ff0b_u32 as libc::Ioctl;
/// The bit of `pidfd_info.mask` that asks for, and answers with, the exit status.
const PIDFD_INFO_EXIT: u64 = 1 << 3;

/// The exit status of a process that was reaped; `None` before.
///
/// # Source
///
/// Linux `include/uapi/linux/pidfd.h`: mask and cgroup ID (u64 each), eleven u32, `__s32 exit_code`.
fn exit_info(pidfd: BorrowedFd<'_>) -> io::Result<Option<ExitStatus>> {
    let mut info = [0_u64; 8];
    info[0] = PIDFD_INFO_EXIT;
    // SAFETY: the request reads and writes the 64 bytes of `info`, whose size is part of its number.
    let ret = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO, info.as_mut_ptr()) };
    if ret < 0 {
        let err = io::Error::last_os_error();
        // Not reaped yet, or reaped and nothing known: older kernels answer ENOTTY or EINVAL.
        return if err.raw_os_error() == Some(libc::ESRCH) { Ok(None) } else { Err(err) };
    }
    if info[0] & PIDFD_INFO_EXIT == 0 {
        return Ok(None);
    }
    // As wait(2) has it: the low seven bits are a signal, the next byte the exit status.
    let status = (info[7] >> 32) as i32;
    Ok(Some(if libc::WIFSIGNALED(status) {
        ExitStatus::Signal(libc::WTERMSIG(status))
    } else {
        ExitStatus::Code(libc::WEXITSTATUS(status))
    }))
}

/// When the process `pid` started, in clock ticks since boot (field 22 of `/proc/PID/stat`); `None`
/// if there is no such process.
///
/// # Errors
///
/// Reading `/proc`.
pub(crate) fn start_ticks(pid: i32) -> io::Result<Option<u64>> {
    read_stat(pid, |stat| {
        parse_start_ticks(stat)
            .map(Some)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat")))
    })
}

/// [`start_ticks`] of a process that still does something: `None` for one that has ended and only waits to be reaped.
///
/// # Errors
///
/// As [`start_ticks`].
pub(crate) fn start_ticks_if_alive(pid: i32) -> io::Result<Option<u64>> {
    let has_ended = read_stat(pid, |stat| Ok(Some(is_zombie(stat))))?;
    if has_ended == Some(false) { start_ticks(pid) } else { Ok(None) }
}

/// Gives the line `/proc/PID/stat` to `parse`; `None` if there is no such process.
fn read_stat<T>(pid: i32, parse: impl FnOnce(&[u8]) -> io::Result<Option<T>>) -> io::Result<Option<T>> {
    use std::io::Read as _;
    let mut stat = [0; STAT_MAX_BYTES];
    let read = std::fs::File::open(format!("/proc/{pid}/stat")).and_then(|mut file| file.read(&mut stat));
    match read {
        Ok(length) => parse(&stat[..length]),
        Err(err) if matches!(err.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => Ok(None),
        Err(err) => Err(err),
    }
}

/// True for the states Z and X in field 3.
fn is_zombie(stat: &[u8]) -> bool {
    let state = stat.iter().rposition(|&byte| byte == b')').and_then(|at| stat.get(at + 2));
    matches!(state, Some(b'Z' | b'X'))
}

/// True if there is no process `pid` any more, or if it is about to end: its namespaces can be gone already, or take
/// no further process.
pub(crate) fn is_ending(pid: i32) -> bool {
    /// Of the flags in field 9 (`include/linux/sched.h`).
    const PF_EXITING: u64 = 4;
    let flags = read_stat(pid, |stat| Ok(parse_field(stat, 9)));
    flags.is_ok_and(|flags| flags.is_none_or(|flags| flags & PF_EXITING != 0))
}

/// Field 22 of a line of `/proc/PID/stat`.
fn parse_start_ticks(stat: &[u8]) -> Option<u64> {
    parse_field(stat, 22)
}

/// Field `number`, a number itself, of a line of `/proc/PID/stat`. Field 2, the name, may hold spaces and parentheses,
/// so fields are counted from the last `)`.
fn parse_field(stat: &[u8], number: usize) -> Option<u64> {
    let after_name = stat.iter().rposition(|&byte| byte == b')')? + 1;
    let mut fields = stat[after_name..].split(|&byte| byte == b' ').filter(|field| !field.is_empty());
    std::str::from_utf8(fields.nth(number.checked_sub(3)?)?).ok()?.parse().ok()
}

/// How long a process has been there that was started at `start_ticks` ([`start_ticks`]); time that the machine slept counts.
pub(crate) fn age(start_ticks: u64) -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let since_boot =
        Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs().try_into().unwrap_or(0));
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    let start = Duration::from_secs(start_ticks / per_second);
    since_boot.saturating_sub(start)
}

/// The random ID of this boot, as a UUID in text.
///
/// # Errors
///
/// Reading `/proc/sys/kernel/random/boot_id`.
pub(crate) fn boot_id() -> io::Result<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(text.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;
    use std::process::Command;

    #[test]
    fn start_ticks_of_a_name_with_parentheses() {
        let stat = b"7 (a) b ) (c) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 889120 9 9";
        assert_eq!(parse_start_ticks(stat), Some(889_120));
        assert_eq!(parse_start_ticks(b"7 (x) S 1"), None);
        assert_eq!(parse_field(stat, 9), Some(4_194_560));
        assert!(!is_ending(std::process::id().cast_signed()) && is_ending(i32::MAX));
        assert!(is_zombie(b"7 (a) S) Z 1") && !is_zombie(b"7 (Z) Z) S 1"));
    }

    #[test]
    fn a_process_is_recognised_and_its_end_noticed() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let ticks = start_ticks(pid).unwrap().expect("it runs");
        let boot = boot_id().unwrap();

        assert!(open_verified(pid, ticks + 1, &boot).unwrap().is_none(), "another start time");
        assert!(open_verified(pid, ticks, "another boot").unwrap().is_none());
        let pidfd = open_verified(pid, ticks, &boot).unwrap().expect("the same");
        send_signal(pidfd.as_fd(), libc::SIGTERM).unwrap();
        assert_eq!(wait(pidfd.as_fd()).unwrap(), ExitStatus::Signal(libc::SIGTERM));
        assert!(open_verified(pid, ticks, &boot).unwrap().is_none(), "reaped");
        child.wait().unwrap_err();
    }
}
