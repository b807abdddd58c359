//! Removes directories in processes of their own.
//!
//! - What a container wrote as another user than root belongs to IDs that only root of U may remove. The
//!   store moves such a tree to `staging/`; the stage `clean` inside U removes it there.
//! - What is large is left to the stage `sweep`, for which nobody waits:
//!
//! ```text
//! start ──store's root, the lock that others wait for──▶ sweep
//!       ◀────────────── its own name ──────────────────
//! rename to staging/<its name>-<n>, end ──end of file──▶ removes what has its name
//! ```
//!
//! Killed at any point, it leaves entries of a dead process, as any other does.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::id::ContainerId;
use crate::base::spec::ContainerSpec;
use crate::runtime::launch::Caller;
use crate::stage::spawn::{self, Child, Stage};
use crate::stage::wire;
use crate::store::owner::Owner;
use crate::store::{Store, staging};
use crate::sys::{fs, process};

/// The trees to remove.
#[derive(Debug, Serialize, Deserialize)]
struct CleanOrder {
    paths: Vec<Vec<u8>>,
}

/// Removes the trees at `paths`, which are under the `staging/` of the store `root`.
///
/// # Errors
///
/// If the stage cannot be started, or not all could be removed; what is left is swept later.
pub(crate) fn clean(caller: &Caller, root: &Path, paths: &[PathBuf]) -> io::Result<()> {
    if paths.is_empty() {
        return Ok(());
    }
    let bytes = |path: &PathBuf| path.as_os_str().as_encoded_bytes().to_vec();
    let order = CleanOrder { paths: paths.iter().map(bytes).collect() };
    let stage = Stage { name: c"clean", args: &[], detached: false };
    let child = caller.spawn(root, &stage).map_err(io::Error::other)?;
    child.send(&order, &[]).map_err(io::Error::other)?;
    let (failure, _) = child.receive::<Option<String>>().map_err(io::Error::other)?;
    child.wait()?;
    failure.map_or(Ok(()), |failure| Err(io::Error::other(failure)))
}

/// Removes the files that a container's ID and the number of its process were written to. One with another ID has
/// become another container's, or was never this one's. The user may have removed them already.
pub(crate) fn remove_files(spec: &ContainerSpec) {
    let id_file = spec.cid_file.iter().filter(|file| !spec.keeps_cid_file && holds(file, &spec.id));
    for file in id_file.chain(&spec.pid_file) {
        fs::remove_regular(file).ok();
    }
}

fn holds(file: &Path, id: &ContainerId) -> bool {
    // With a line's end, if somebody has written it by hand; and no FIFO, which would be waited for.
    let is_short = |found: std::fs::Metadata| found.is_file() && found.len() <= id.as_str().len() as u64 + 2;
    file.symlink_metadata().is_ok_and(is_short)
        && std::fs::read(file).is_ok_and(|text| text.trim_ascii_end() == id.as_str().as_bytes())
}

/// What a sweeper is told.
#[derive(Debug, Serialize, Deserialize)]
struct SweepOrder {
    /// The store.
    root: Vec<u8>,
}

/// A process that removes what was left to it, once this is dropped. It has nothing of the caller's open.
#[derive(Debug)]
pub(crate) struct Sweeper {
    owner: Owner,
    _child: Child,
}

impl Sweeper {
    /// Starts it. The caller has one thread.
    ///
    /// # Errors
    ///
    /// If the stage cannot be started; then everything is to be removed in place.
    pub(crate) fn start(caller: &Caller, store: &Store) -> io::Result<Self> {
        let lock = store.lock_for_sweeper().map_err(io::Error::other)?;
        let stage = Stage { name: c"sweep", args: &[], detached: true };
        let child = caller.spawn(store.root(), &stage).map_err(io::Error::other)?;
        let order = SweepOrder { root: store.root().as_os_str().as_encoded_bytes().to_vec() };
        child.send(&order, &[lock.as_fd()]).map_err(io::Error::other)?;
        let (name, _) = child.receive::<String>().map_err(io::Error::other)?;
        let owner = Owner::parse(&name).ok_or_else(|| io::Error::other("a sweeper without a name"))?;
        Ok(Self { owner, _child: child })
    }

    /// Whose entries of `staging/` it removes.
    pub(crate) fn owner(&self) -> &Owner {
        &self.owner
    }
}

/// The stage `sweep`.
pub(crate) fn sweep() -> ! {
    let swept = spawn::begin().is_ok_and(|command| sweep_for(command).is_ok());
    process::exit_now(if swept { 0 } else { 125 })
}

fn sweep_for(command: OwnedFd) -> io::Result<()> {
    use std::os::unix::ffi::OsStringExt as _;
    // The lock is held until this process ends.
    let (order, _lock) = wire::receive::<SweepOrder>(command.as_fd()).map_err(io::Error::other)?;
    let store = Store::open(&PathBuf::from(std::ffi::OsString::from_vec(order.root)));
    let store = store.map_err(io::Error::other)?;
    let owner = Owner::current().map_err(io::Error::other)?;
    wire::send(command.as_fd(), &owner.entry(0), &[]).map_err(io::Error::other)?;
    // Nothing more is said: the end of the other side is the sign to begin.
    wire::receive::<()>(command.as_fd()).ok();
    drop(command);
    process::become_unimportant();
    let mut failure = Ok(());
    for name in staging::left_to(&store, &owner).map_err(io::Error::other)? {
        let removed = staging::remove_foreign(&store.root().join("staging").join(name));
        failure = failure.and(removed.map_err(io::Error::other));
    }
    failure
}

/// An error and its cause in one line.
fn with_cause(err: &dyn std::error::Error) -> String {
    err.source().map_or_else(|| err.to_string(), |cause| format!("{err}: {cause}"))
}

/// The stage `clean`: one order, and what went wrong.
pub(crate) fn main() -> ! {
    let answered = spawn::begin().is_ok_and(|command| {
        wire::receive::<CleanOrder>(command.as_fd()).is_ok_and(|(order, _)| {
            let mut failure = None;
            for path in order.paths {
                use std::os::unix::ffi::OsStringExt as _;
                let path = PathBuf::from(std::ffi::OsString::from_vec(path));
                failure = failure.or(staging::remove_foreign(&path).err().map(|err| with_cause(&err)));
            }
            wire::send(command.as_fd(), &failure, &[]).is_ok()
        })
    });
    process::exit_now(if answered { 0 } else { 125 })
}
