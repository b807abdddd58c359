//! Starting a stage.
//!
//! Order of things in the child, each for a reason:
//!
//! 1. the user namespace: joined by descriptor, or created and mapped by the parent;
//! 2. a mount namespace of its own, needed for 3 and private to what the stage mounts;
//! 3. a detached, read-only clone of the mount that holds the binary: whoever gets at the program
//!    through `/proc/PID/exe` cannot write it (security.md A.0). Where the kernel refuses the clone,
//!    a sealed copy in memory does the same for about 3 ms;
//! 4. `execveat` with an empty environment, descriptor 3 a socket to the parent, nothing else open.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sched::CloneFlags;
use rustix::fs::{Mode, OFlags};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::stage::idranges::Mapping;
use crate::stage::maps::{self, Maps};
use crate::stage::wire::{self, WireError};
use crate::sys::clone::{self, Cloned};
use crate::sys::{mount, pidfd, process};

/// The descriptor on which a stage finds its socket.
pub(crate) const SOCKET: i32 = 3;

/// How a stage comes into the user namespace U.
#[derive(Debug)]
pub(crate) enum UserNamespace {
    /// There is no U: the caller is root and maps nothing.
    None,
    /// U exists; this is its `/proc/PID/ns/user`.
    Join(OwnedFd),
    /// U is created with these maps.
    Create(Mapping),
}

/// What to start.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    /// The name, as `ketch --stage NAME` has it.
    pub(crate) name: &'a CStr,
    /// Further arguments; only shown by ps(1).
    pub(crate) args: &'a [CString],
    /// In a session of its own, so that no terminal signal reaches it and it outlives its parent.
    pub(crate) detached: bool,
}

/// A running stage.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    /// The parent's end of the socket.
    pub(crate) socket: OwnedFd,
}

/// Why a stage could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StageError {
    /// The kernel refused the namespaces.
    #[error("create a user namespace")]
    Namespace { source: Errno },
    #[error("{program} refused the ID map: {message}")]
    IdMap { program: String, message: String },
    #[error("{what}")]
    Setup { what: String, source: Errno },
    #[error("start a stage: {0}")]
    Io(#[from] io::Error),
    #[error("talk to a stage: {0}")]
    Wire(#[from] WireError),
}

/// What a child sends instead of its stage's first message if it never became the stage.
#[derive(Debug, Serialize, Deserialize)]
struct StillBorn {
    still_born: String,
    errno: i32,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum First<T> {
    StillBorn(StillBorn),
    Message(T),
}

impl Child {
    /// Sends the stage a message.
    pub(crate) fn send<T: Serialize>(
        &self,
        message: &T,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), WireError> {
        wire::send(self.socket.as_fd(), message, descriptors)
    }

    /// Receives the stage's next message.
    ///
    /// # Errors
    ///
    /// [`StageError::Setup`] if the child failed before it was the stage.
    pub(crate) fn receive<T: DeserializeOwned>(&self) -> Result<(T, Vec<OwnedFd>), StageError> {
        match wire::receive(self.socket.as_fd())? {
            (First::Message(message), descriptors) => Ok((message, descriptors)),
            (First::StillBorn(StillBorn { still_born, errno }), _) => {
                Err(StageError::Setup { what: still_born, source: Errno::from_raw(errno) })
            }
        }
    }

    /// Waits until the process has ended, and reaps it.
    pub(crate) fn wait(self) -> io::Result<()> {
        pidfd::wait(self.pidfd.as_fd()).map(drop)
    }
}

/// A stage that comes up while its caller does something else. Dropped, it ends without having done anything.
#[derive(Debug)]
pub(crate) struct Starting {
    child: Child,
    maps: Maps,
}

impl Starting {
    /// Waits for the stage's ID maps; whether it became the stage shows in its first message.
    ///
    /// # Errors
    ///
    /// [`StageError::IdMap`].
    pub(crate) fn finish(self) -> Result<Child, StageError> {
        self.maps.finish()?;
        Ok(self.child)
    }

    /// Ends it, and waits for that.
    pub(crate) fn abandon(self) {
        self.maps.finish().ok();
        let Child { pidfd, socket, .. } = self.child;
        // What it reads is the end.
        drop(socket);
        pidfd::wait(pidfd.as_fd()).ok();
    }
}

/// Starts `stage` in the user namespace `namespace`. The caller should have one thread.
///
/// # Errors
///
/// What the kernel refuses; what a helper refuses shows in [`Starting::finish`].
pub(crate) fn begin_spawn(stage: &Stage<'_>, namespace: &UserNamespace) -> Result<Starting, StageError> {
    let (ours, theirs) = wire::pair()?;
    let (closed, gate) = maps::gate()?;
    let binary = Binary::of_this_process()?;
    let flags = match namespace {
        UserNamespace::Create(_) => clone::flags::USER,
        _ => 0,
    };
    match clone::clone3(flags).map_err(|source| StageError::Namespace { source })? {
        Cloned::Child => {
            drop((ours, gate));
            let failed = become_stage(stage, namespace, &closed, &theirs, &binary);
            let report = StillBorn { still_born: failed.what, errno: failed.errno as i32 };
            wire::send(theirs.as_fd(), &report, &[]).ok();
            process::exit_now(125)
        }
        Cloned::Parent { pid, pidfd } => {
            let maps = match namespace {
                UserNamespace::Create(mapping) => Maps::begin(pid, mapping, gate)?,
                _ => Maps::none(),
            };
            Ok(Starting { child: Child { pid, pidfd, socket: ours }, maps })
        }
    }
}

/// Starts `stage`, and waits until it has its ID maps.
///
/// # Errors
///
/// As [`begin_spawn`] and [`Starting::finish`].
pub(crate) fn spawn(stage: &Stage<'_>, namespace: &UserNamespace) -> Result<Child, StageError> {
    begin_spawn(stage, namespace)?.finish()
}

/// What stopped a child on its way.
struct Failed {
    what: String,
    errno: Errno,
}

fn failed<E: Into<io::Error>>(what: &str) -> impl FnOnce(E) -> Failed {
    let what = what.to_owned();
    move |err| {
        let errno = err.into().raw_os_error().map_or(Errno::EIO, Errno::from_raw);
        Failed { what, errno }
    }
}

/// The child's way to `execveat`. Returns only what went wrong.
fn become_stage(
    stage: &Stage<'_>,
    ns: &UserNamespace,
    gate: &OwnedFd,
    socket: &OwnedFd,
    binary: &Binary,
) -> Failed {
    let Err(failed) = enter_namespaces(ns, gate).and_then(|()| {
        if stage.detached {
            rustix::process::setsid().map_err(failed("start a session"))?;
        }
        let program = binary.protected()?;
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map_err(failed("open /dev/null"))?;
        for number in 0..=2 {
            process::place_at(null.as_fd(), number).map_err(failed("redirect standard streams"))?;
        }
        // What is open from 3 on belongs to the parent's copy and is closed by the exec. The program
        // must stay clear of the number that the socket takes.
        let program =
            rustix::io::fcntl_dupfd_cloexec(&program, SOCKET + 1).map_err(failed("copy a descriptor"))?;
        let socket =
            rustix::io::fcntl_dupfd_cloexec(socket, SOCKET + 1).map_err(failed("copy a descriptor"))?;
        process::close_on_exec_from(SOCKET as u32).map_err(failed("mark descriptors"))?;
        process::place_at(socket.as_fd(), SOCKET).map_err(failed("place the socket"))?;
        rustix::process::chdir("/").map_err(failed("chdir /"))?;
        let mut args: Vec<&CStr> = vec![c"ketch", c"--stage", stage.name];
        args.extend(stage.args.iter().map(CString::as_c_str));
        Err::<(), _>(Failed {
            what: "run ketch again".into(),
            errno: process::execve_fd(program.as_fd(), &args, &[]),
        })
    }) else {
        unreachable!("the closure never succeeds: execveat does not return then")
    };
    failed
}

/// Enters U and a mount namespace of its own. Where U is new, its maps are waited for at `gate`.
pub(crate) fn enter_namespaces_of(ns: &UserNamespace, gate: &OwnedFd) -> io::Result<()> {
    enter_namespaces(ns, gate).map_err(|failed| io::Error::from_raw_os_error(failed.errno as i32))
}

fn enter_namespaces(ns: &UserNamespace, gate: &OwnedFd) -> Result<(), Failed> {
    match ns {
        UserNamespace::None => {
            nix::sched::unshare(CloneFlags::CLONE_NEWNS).map_err(failed("create a mount namespace"))?;
            // Without a change of the owning user namespace the kernel leaves mounts shared.
            return mount::set_propagation_of_all(libc::MS_SLAVE)
                .map_err(|err| Failed { what: err.to_string(), errno: err.source });
        }
        UserNamespace::Join(user) => {
            nix::sched::setns(user, CloneFlags::CLONE_NEWUSER).map_err(failed("join the user namespace"))?;
        }
        UserNamespace::Create(_) => maps::pass(gate).map_err(failed("wait for the ID maps"))?,
    }
    process::set_gid(0).map_err(failed("become group 0 of the user namespace"))?;
    process::set_uid(0).map_err(failed("become user 0 of the user namespace"))?;
    nix::sched::unshare(CloneFlags::CLONE_NEWNS).map_err(failed("create a mount namespace"))
}

/// The file this process runs from.
#[derive(Debug)]
struct Binary {
    path: PathBuf,
    /// Device and inode, to see that `path` still means that file.
    identity: (u64, u64),
}

impl Binary {
    fn of_this_process() -> io::Result<Self> {
        let path = std::fs::read_link("/proc/self/exe")?;
        let stat = rustix::fs::stat("/proc/self/exe")?;
        Ok(Self { path, identity: (stat.st_dev, stat.st_ino) })
    }

    /// The same program where nobody can write it.
    fn protected(&self) -> Result<OwnedFd, Failed> {
        self.read_only_clone().or_else(|_| own_protected()).or_else(|_| sealed_copy())
    }

    fn read_only_clone(&self) -> Result<OwnedFd, Failed> {
        let errno = |err: mount::MountError| Failed { what: err.to_string(), errno: err.source };
        let clone = mount::clone_tree(rustix::fs::CWD, &self.path, false).map_err(errno)?;
        let stat = rustix::fs::fstat(&clone).map_err(failed("stat the program"))?;
        if (stat.st_dev, stat.st_ino) != self.identity {
            return Err(Failed { what: "find the program".into(), errno: Errno::ENOENT });
        }
        mount::set_attributes(clone.as_fd(), false, mount::attr::RDONLY, 0, 0).map_err(errno)?;
        Ok(clone)
    }
}

/// The running program itself, if its mount is read-only: a stage that starts a stage runs from a clone
/// already, which no path leads to any more.
fn own_protected() -> Result<OwnedFd, Failed> {
    let program = rustix::fs::open("/proc/self/exe", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed("open the program"))?;
    let mount = rustix::fs::fstatvfs(&program).map_err(failed("look at the program's mount"))?;
    if mount.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        Ok(program)
    } else {
        Err(Failed { what: "find the program where nobody can write it".into(), errno: Errno::EROFS })
    }
}

/// A copy of the running program in memory that nobody can change.
fn sealed_copy() -> Result<OwnedFd, Failed> {
    use rustix::fs::{MemfdFlags, SealFlags};
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // MFD_EXEC is known from Linux 6.3 on; before, every memfd may be executed.
    let copy = rustix::fs::memfd_create("ketch", flags | MemfdFlags::EXEC)
        .or_else(|_| rustix::fs::memfd_create("ketch", flags))
        .map_err(failed("create a file in memory"))?;
    let program = rustix::fs::open("/proc/self/exe", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed("open the program"))?;
    while rustix::fs::sendfile(&copy, &program, None, 1 << 30).map_err(failed("copy the program"))? > 0 {}
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&copy, seals).map_err(failed("seal the copy of the program"))?;
    Ok(copy)
}

/// For a stage that has just started: takes its socket and protects the process.
pub(crate) fn begin() -> io::Result<OwnedFd> {
    nix::sys::prctl::set_dumpable(false)?;
    // Others read what a stage makes, /etc/hosts of a container for one, and nobody else writes it: whatever the
    // caller's files are to be like.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let socket = process::inherited(SOCKET)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    Ok(socket)
}

/// The path of this program, for messages that must name it.
pub(crate) fn own_path() -> PathBuf {
    std::fs::read_link("/proc/self/exe").unwrap_or_else(|_| PathBuf::from("ketch"))
}
