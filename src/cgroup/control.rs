//! What is done to a container's cgroup as a whole: freeze, thaw, kill, remove.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::cgroup::{CgroupError, Result, io_error, tree};

/// How long the kernel may take to freeze or kill: a process in uninterruptible sleep does neither.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause between two looks: the files of this file system do report changes, but a change takes well
/// under a millisecond.
const LOOK: Duration = Duration::from_micros(500);

/// Freezes every process in `leaf` and below, and waits until they stand still.
///
/// # Errors
///
/// If the kernel has no freezer (before 5.2), or a process does not come to rest: then nothing stays frozen.
pub(crate) fn freeze(leaf: &Path) -> Result<()> {
    std::fs::write(leaf.join("cgroup.freeze"), "1").map_err(io_error("freeze", leaf))?;
    if await_event(leaf, "frozen 1") {
        return Ok(());
    }
    thaw(leaf)?;
    Err(CgroupError::Invalid(
        "a process cannot be frozen: the kernel waits for a device or a file system".into(),
    ))
}

/// Lets the processes in `leaf` go on.
pub(crate) fn thaw(leaf: &Path) -> Result<()> {
    std::fs::write(leaf.join("cgroup.freeze"), "0").map_err(io_error("thaw", leaf))?;
    await_event(leaf, "frozen 0");
    Ok(())
}

/// Waits until `cgroup.events` has the line `wanted`; false if it does not come to that.
fn await_event(leaf: &Path, wanted: &str) -> bool {
    let file = leaf.join("cgroup.events");
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Gone: nothing is left that could be frozen or not.
        let Ok(text) = std::fs::read_to_string(&file) else { return true };
        if text.lines().any(|line| line == wanted) {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(LOOK);
    }
}

/// Kills every process in `leaf` and below, and removes both. That there is no such cgroup is a success.
///
/// # Errors
///
/// If processes do not die of SIGKILL.
pub(crate) fn remove(leaf: &Path) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match remove_tree(leaf) {
            Err(err) if err.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline => {
                kill(leaf);
                std::thread::sleep(LOOK);
            }
            other => return other.map_err(io_error("remove the cgroup", leaf)),
        }
    }
}

/// Sends SIGKILL to every process in `leaf` and below.
pub(crate) fn kill(leaf: &Path) {
    if tree::write_file(leaf, "cgroup.kill", "1").is_ok() {
        return;
    }
    // Before Linux 5.14. Freezing keeps a fork bomb from being faster than this loop; SIGKILL gets through.
    std::fs::write(leaf.join("cgroup.freeze"), "1").ok();
    kill_each(leaf);
    std::fs::write(leaf.join("cgroup.freeze"), "0").ok();
}

fn kill_each(directory: &Path) {
    for pid in tree::processes(directory) {
        if let Some(pid) = rustix::process::Pid::from_raw(pid) {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
        }
    }
    for child in children(directory).unwrap_or_default() {
        kill_each(&child);
    }
}

fn children(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory)?.flatten();
    Ok(entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.path()).collect())
}

/// Removes the directory of an empty cgroup and those that its processes made in it.
fn remove_tree(directory: &Path) -> io::Result<()> {
    match std::fs::remove_dir(directory) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(err) if err.raw_os_error() == Some(libc::EBUSY) => {}
        other => return other,
    }
    for child in children(directory)? {
        remove_tree(&child)?;
    }
    match std::fs::remove_dir(directory) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
