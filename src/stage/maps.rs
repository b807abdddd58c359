//! ID maps of a new user namespace: written by the kernel's rules, or by newuidmap and newgidmap.
//!
//! The process that is mapped waits at a [`gate`] for both helpers to end, so that nobody else has to be there when they do.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::errno::Errno;
use rustix::pipe::PipeFlags;

use crate::stage::idranges::Mapping;
use crate::stage::spawn::StageError;

/// Where a process waits for its maps: what it reads from, and what opens it by being closed everywhere.
pub(crate) fn gate() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?)
}

/// Waits until the other end is closed. Whether there are maps then shows in what is done next.
pub(crate) fn pass(gate: &OwnedFd) -> io::Result<()> {
    while rustix::io::retry_on_intr(|| rustix::io::read(gate, &mut [0_u8; 64]))? > 0 {}
    Ok(())
}

/// Maps on their way.
#[derive(Debug)]
pub(crate) struct Maps(Vec<(PathBuf, io::Result<Child>)>);

impl Maps {
    /// Of a process that needs none.
    pub(crate) fn none() -> Self {
        Self(Vec::new())
    }

    /// Lets the kernel, or the setuid helpers, map the IDs of process `pid`, and opens its gate when that is done, well or not.
    pub(crate) fn begin(pid: i32, mapping: &Mapping, gate: OwnedFd) -> Result<Self, StageError> {
        let Some((newuidmap, newgidmap)) = &mapping.helpers else {
            std::fs::write(format!("/proc/{pid}/setgroups"), "deny")?;
            std::fs::write(format!("/proc/{pid}/uid_map"), mapping.uids.to_kernel())?;
            std::fs::write(format!("/proc/{pid}/gid_map"), mapping.gids.to_kernel())?;
            return Ok(Self::none());
        };
        // Both at once: each takes over a millisecond, most of it in execve and PAM-free setuid checks.
        let jobs = [(newuidmap, &mapping.uids), (newgidmap, &mapping.gids)].map(|(program, map)| {
            // They say nothing there.
            let stdout = gate.as_fd().try_clone_to_owned().map(Stdio::from);
            let running = stdout.and_then(|stdout| {
                Command::new(program)
                    .arg(pid.to_string())
                    .args(map.to_kernel().split_ascii_whitespace())
                    .stdin(Stdio::null())
                    .stdout(stdout)
                    .stderr(Stdio::piped())
                    .spawn()
            });
            (program.clone(), running)
        });
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
            let output = running.and_then(Child::wait_with_output);
            let message = match output {
                Ok(output) if output.status.success() => continue,
                Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
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
