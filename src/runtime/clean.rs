//! Removes directories whose files belong to IDs of the subordinate range.
//!
//! What a container wrote as another user than root belongs to IDs that only root of U may remove. The
//! store moves such a tree to `staging/`; a stage inside U removes it there.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::runtime::launch::Caller;
use crate::stage::spawn::{self, Stage};
use crate::stage::wire;
use crate::store::staging;
use crate::sys::process;

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
    let child = spawn::spawn(&stage, &caller.namespace(root)).map_err(io::Error::other)?;
    child.send(&order, &[]).map_err(io::Error::other)?;
    let (failure, _) = child.receive::<Option<String>>().map_err(io::Error::other)?;
    child.wait()?;
    failure.map_or(Ok(()), |failure| Err(io::Error::other(failure)))
}

/// The stage `clean`: one order, and what went wrong.
pub(crate) fn main() -> ! {
    let answered = spawn::begin().is_ok_and(|command| {
        wire::receive::<CleanOrder>(command.as_fd()).is_ok_and(|(order, _)| {
            let mut failure = None;
            for path in order.paths {
                use std::os::unix::ffi::OsStringExt as _;
                let path = PathBuf::from(std::ffi::OsString::from_vec(path));
                failure = failure.or(staging::remove_foreign(&path).err().map(|err| err.to_string()));
            }
            wire::send(command.as_fd(), &failure, &[]).is_ok()
        })
    });
    process::exit_now(if answered { 0 } else { 125 })
}
