//! The stage `netd`: net::netd as a process of its own, in U and in the host's network namespace.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::base::spec::Seccomp;
use crate::cgroup::unit::{self, Surroundings};
use crate::net::netd::{self, Confinement, Start};
use crate::runtime::seccomp;
use crate::stage::spawn::{self, Stage, UserNamespace};
use crate::stage::{holders, wire};
use crate::sys::signal::{self, SignalSet};
use crate::sys::{pidfd, process};

/// What netd is told. Descriptors: the connection of whoever starts it, and G if there is one.
#[derive(Debug, Serialize, Deserialize)]
struct NetdOrder {
    #[serde(with = "crate::base::bytes::path")]
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

/// Those that this process has started and that nobody has waited for: one that finds another there, or is killed, ends
/// long before a monitor does.
static STARTED: Mutex<Vec<OwnedFd>> = Mutex::new(Vec::new());

/// Lets the kernel forget those of them that have ended.
pub(crate) fn reap() {
    let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    started.retain(|child| {
        let ended = pidfd::has_ended(child).unwrap_or(true);
        if ended {
            pidfd::wait(child.as_fd()).ok();
        }
        !ended
    });
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
    let sent = child.send(&order, &descriptors).map_err(io::Error::other);
    STARTED.lock().unwrap_or_else(PoisonError::into_inner).push(child.pidfd);
    sent
}

/// The stage.
pub(crate) fn main() -> ! {
    // Whoever started it hears of a failure through its first connection.
    run().ok();
    process::exit_now(0)
}

fn run() -> io::Result<()> {
    let command = spawn::begin()?;
    // The monitor that started it has blocked what it reads from a descriptor; netd shall end as anything else does.
    signal::set_mask(&SignalSet::empty())?;
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
        resolv_conf: PathBuf::from(RESOLV_CONF),
        confinement: Some({
            let (root, directory) = (root.clone(), order.directory.clone());
            Box::new(move || confinement(&root, &directory))
        }),
    };
    let outcome = netd::netd_main(start).map_err(io::Error::other);
    holders::withdraw(&root, own_pid);
    outcome
}

const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Where resolv.conf may lead: systemd-resolved, NetworkManager, resolvconf, ConnMan, netconfig, WSL.
const RESOLVERS: [&str; 7] = [
    "/etc",
    "/run/systemd/resolve",
    "/run/NetworkManager",
    "/run/resolvconf",
    "/run/connman",
    "/run/netconfig",
    "/mnt/wsl",
];

/// The calls of netd's loop and its two threads, as strace(1) counts them, and those that the C library
/// makes for memory, locks and threads.
const CALLS: [&str; 74] = [
    "accept4",
    "bind",
    "brk",
    "clock_gettime",
    "clock_getres",
    "clock_nanosleep",
    "close",
    "connect",
    "dup",
    "epoll_create1",
    "epoll_ctl",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_wait",
    "eventfd2",
    "exit",
    "exit_group",
    "fcntl",
    "fstat",
    "fstatfs",
    "futex",
    "getpeername",
    "getpid",
    "getrandom",
    "getsockname",
    "getsockopt",
    "gettid",
    "gettimeofday",
    "geteuid",
    "getuid",
    "ioctl",
    "listen",
    "lseek",
    "madvise",
    "membarrier",
    "mmap",
    "mprotect",
    "mremap",
    "munmap",
    "nanosleep",
    "newfstatat",
    "openat",
    "pipe2",
    "poll",
    "ppoll",
    "prctl",
    "prlimit64",
    "read",
    "readlink",
    "readlinkat",
    "readv",
    "recvfrom",
    "recvmmsg",
    "recvmsg",
    "restart_syscall",
    "rseq",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sched_getaffinity",
    "sched_yield",
    "sendmmsg",
    "sendmsg",
    "sendto",
    "set_robust_list",
    "setns",
    "setsockopt",
    "shutdown",
    "sigaltstack",
    "splice",
    "statx",
    "unlink",
    "unlinkat",
    "write",
];
/// Families of sockets: Unix, IPv4, IPv6, netlink, packet.
const FAMILIES: [u32; 5] = [1, 2, 10, 16, 17];
/// `CLONE_THREAD`: a thread, not a process.
const CLONE_THREAD: u32 = 0x1_0000;

/// What is left of netd's rights once it has built G.
fn confinement(root: &Path, directory: &Path) -> io::Result<Confinement> {
    let open = |path: &Path| {
        rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    };
    let mut readable: Vec<OwnedFd> = RESOLVERS.iter().filter_map(|path| open(Path::new(path)).ok()).collect();
    // Wherever else the file is now.
    let target = std::fs::canonicalize(RESOLV_CONF).ok();
    readable.extend(target.as_deref().and_then(Path::parent).and_then(|parent| open(parent).ok()));
    let writable = vec![open(directory)?, open(&root.join("holders"))?];
    let filter = seccomp::compile(&Seccomp::Profile(profile()), 0).map_err(io::Error::other)?;
    Ok(Confinement { filter, writable, readable })
}

/// The filter, in the form that containers' profiles have.
fn profile() -> String {
    use serde_json::json;
    let allow = |names: &[&str], args: serde_json::Value| json!({"names": names, "action": "SCMP_ACT_ALLOW", "args": args});
    let mut rules = vec![allow(&CALLS, json!([]))];
    rules.extend(
        FAMILIES
            .map(|family| allow(&["socket"], json!([{"index": 0, "value": family, "op": "SCMP_CMP_EQ"}]))),
    );
    let thread = json!([{
        "index": 0, "value": CLONE_THREAD, "valueTwo": CLONE_THREAD, "op": "SCMP_CMP_MASKED_EQ"
    }]);
    rules.push(allow(&["clone"], thread));
    // Its flags are out of a filter's sight: the C library falls back to clone.
    rules.push(json!({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::ENOSYS}));
    json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": libc::EPERM, "syscalls": rules}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_compiles_and_is_short() {
        let filter = seccomp::compile(&Seccomp::Profile(profile()), 0).unwrap();
        assert!((50..600).contains(&filter.len()), "{} instructions", filter.len());
        let mut sorted = CALLS;
        sorted.sort_unstable();
        assert!(sorted.windows(2).all(|pair| pair[0] != pair[1]), "each is named once");
    }
}
