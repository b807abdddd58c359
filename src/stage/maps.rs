//! ID maps of a new user namespace: written by the kernel's rules, or by newuidmap and newgidmap.
//!
//! The process that is mapped waits at a [`gate`] for both helpers to end, so that nobody else has to be there when they do.

use std::ffi::{CStr, CString};
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use rustix::fs::{Mode, OFlags};
use rustix::pipe::PipeFlags;

use crate::base::idmap::IdMap;
use crate::stage::idranges::Mapping;
use crate::stage::spawn::StageError;
use crate::sys::clone::{self, Cloned};
use crate::sys::{pidfd, process};

/// Where a process waits for its maps: what it reads from, and what opens it by being closed everywhere. The caller has one
/// thread: two processes that are cloned at once would each hold the other's gate shut.
pub(crate) fn gate() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?)
}

/// Waits until the other end is closed. Whether there are maps then shows in what is done next.
pub(crate) fn pass(gate: &OwnedFd) -> io::Result<()> {
    while rustix::io::retry_on_intr(|| rustix::io::read(gate, &mut [0_u8; 64]))? > 0 {}
    Ok(())
}

/// Maps the IDs of process `pid` by the caller's own right. Who may map one ID alone has to give up setgroups(2) for that process
/// (user_namespaces(7)): `denies_groups`.
pub(crate) fn write(pid: i32, uids: &IdMap, gids: &IdMap, denies_groups: bool) -> io::Result<()> {
    if denies_groups {
        std::fs::write(format!("/proc/{pid}/setgroups"), "deny")?;
    }
    std::fs::write(format!("/proc/{pid}/uid_map"), uids.to_kernel())?;
    std::fs::write(format!("/proc/{pid}/gid_map"), gids.to_kernel())
}

/// A helper that runs, and what it says if it cannot do its work.
#[derive(Debug)]
struct Helper {
    pidfd: OwnedFd,
    errors: OwnedFd,
}

impl Helper {
    /// Starts `program` for process `pid`. The caller goes on at once: std's way waits until the program is loaded, and then for
    /// the processor that this one has, so that one helper would run after the other.
    fn start(program: &Path, pid: i32, map: &IdMap, gate: BorrowedFd<'_>) -> io::Result<Self> {
        let path = CString::new(program.as_os_str().as_bytes())?;
        let numbers = format!("{pid} {}", map.to_kernel());
        let words = numbers.split_ascii_whitespace().map(CString::new).collect::<Result<Vec<_>, _>>()?;
        let args: Vec<&CStr> = std::iter::once(&path).chain(&words).map(CString::as_c_str).collect();
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        let (errors, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        match clone::clone3(0)? {
            Cloned::Child => {
                // It says nothing on its standard output, which only keeps the gate shut.
                let places = [null.as_fd(), gate, theirs.as_fd()];
                let placed =
                    places.into_iter().zip(0..).try_for_each(|(fd, number)| process::place_at(fd, number));
                let errno = placed.err().unwrap_or_else(|| process::execve(&path, &args, &[]));
                rustix::io::write(&theirs, errno.desc().as_bytes()).ok();
                process::exit_now(127)
            }
            Cloned::Parent { pidfd, .. } => Ok(Self { pidfd, errors }),
        }
    }

    /// Waits for its end; what it has said, if it failed.
    fn finish(self) -> io::Result<Option<String>> {
        let mut said = Vec::new();
        std::fs::File::from(self.errors).read_to_end(&mut said)?;
        let failed = pidfd::wait(self.pidfd.as_fd())?.shell_code() != 0;
        Ok(failed.then(|| String::from_utf8_lossy(&said).trim().to_owned()))
    }
}

/// Maps on their way.
#[derive(Debug)]
pub(crate) struct Maps(Vec<(PathBuf, io::Result<Helper>)>);

impl Maps {
    /// Of a process that needs none.
    pub(crate) fn none() -> Self {
        Self(Vec::new())
    }

    /// Lets the kernel, or the setuid helpers, map the IDs of process `pid`, and opens its gate when that is done, well or not.
    pub(crate) fn begin(pid: i32, mapping: &Mapping, gate: OwnedFd) -> Result<Self, StageError> {
        let Some((newuidmap, newgidmap)) = &mapping.helpers else {
            write(pid, &mapping.uids, &mapping.gids, true)?;
            return Ok(Self::none());
        };
        // Both at once: each takes over a millisecond, most of it in execve and PAM-free setuid checks.
        let jobs = [(newuidmap, &mapping.uids), (newgidmap, &mapping.gids)]
            .map(|(program, map)| (program.clone(), Helper::start(program, pid, map, gate.as_fd())));
        Ok(Self(jobs.into()))
    }

    /// Waits until they are there.
    ///
    /// # Errors
    ///
    /// What a helper says.
    pub(crate) fn finish(self) -> Result<(), StageError> {
        let mut result = Ok(());
        for (program, running) in self.0 {
            let message = match running.and_then(Helper::finish) {
                Ok(None) => continue,
                Ok(Some(message)) => message,
                // The limit of processes, not the helper, has refused.
                Err(err) if err.raw_os_error() == Some(libc::EAGAIN) => {
                    let what = format!("run {}", program.display());
                    result = Err(StageError::Setup { what, source: Errno::EAGAIN });
                    continue;
                }
                Err(err) => err.to_string(),
            };
            result = Err(StageError::IdMap { program: program.display().to_string(), message });
        }
        result
    }
}
