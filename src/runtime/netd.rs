//! The stage `netd`: net::netd as a process of its own, in U and in the host's network namespace.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::cgroup::unit::{self, Surroundings};
use crate::net::netd::{self, Start};
use crate::stage::spawn::{self, Stage, UserNamespace};
use crate::stage::{holders, wire};
use crate::sys::process;

/// What netd is told. Descriptors: the connection of whoever starts it, and G if there is one.
#[derive(Debug, Serialize, Deserialize)]
struct NetdOrder {
    directory: PathBuf,
    linger_ms: u64,
    /// Of U's maps: netd holds U for others to join, or it could not serve them.
    fingerprint: String,
    cgroups: Surroundings,
}

/// The directory of netd's socket, made if it is not there.
pub(crate) fn directory(root: &Path) -> io::Result<OwnedFd> {
    use std::os::unix::fs::DirBuilderExt;
    let path = root.join("net");
    match std::fs::DirBuilder::new().mode(0o700).create(&path) {
        Err(err) if err.kind() != io::ErrorKind::AlreadyExists => return Err(err),
        _ => {}
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Starts netd. The caller is in U, as a monitor is, or needs none.
pub(crate) fn start(
    root: &Path,
    (linger, fingerprint, cgroups): (Duration, &str, &Surroundings),
    first: OwnedFd,
    gateway: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let stage = Stage { name: c"netd", args: &[], detached: true };
    let child = spawn::spawn(&stage, &UserNamespace::None).map_err(io::Error::other)?;
    let linger_ms = u64::try_from(linger.as_millis()).unwrap_or(u64::MAX);
    let cgroups = cgroups.clone();
    let order =
        NetdOrder { directory: root.join("net"), linger_ms, fingerprint: fingerprint.into(), cgroups };
    let mut descriptors = vec![first.as_fd()];
    descriptors.extend(gateway);
    child.send(&order, &descriptors).map_err(io::Error::other)
}

/// The stage.
pub(crate) fn main() -> ! {
    // Whoever started it hears of a failure through its first connection.
    run().ok();
    process::exit_now(0)
}

fn run() -> io::Result<()> {
    let command = spawn::begin()?;
    let (order, descriptors) = wire::receive::<NetdOrder>(command.as_fd()).map_err(io::Error::other)?;
    drop(command);
    // Where it cannot, the first container's cgroup stays as long as the network does.
    unit::stand_alone("netd", &order.cgroups).ok();
    let own_pid = std::process::id().cast_signed();
    let root = order.directory.parent().unwrap_or(Path::new("/")).to_owned();
    // Failing to announce costs others their network; they say so.
    holders::announce(&root, own_pid, &order.fingerprint).ok();
    let mut descriptors = descriptors.into_iter();
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let start = Start {
        directory: rustix::fs::open(&order.directory, flags, Mode::empty())?,
        first: descriptors.next(),
        gateway: descriptors.next(),
        linger: Duration::from_millis(order.linger_ms),
        resolv_conf: PathBuf::from("/etc/resolv.conf"),
    };
    let outcome = netd::netd_main(start).map_err(io::Error::other);
    holders::withdraw(&root, own_pid);
    outcome
}
