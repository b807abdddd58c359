//! Files into a layer that is being built: COPY, ADD and WORKDIR.
//!
//! ```text
//! builder ──Order{target, sources, tasks}──▶ assemble (in U, read-only clone of ketch)
//!                                             ├─ target: layers + upper as an overlay, or a directory
//!                                             ├─ sources: directories of the host; layers, read-only
//!                                             └─ select ─▶ copy        (no link of a source leaves its root)
//!         ◀──────────Report──────────────────
//! ```
//!
//! A path that a Dockerfile names is resolved by openat2 with its tree as `/`; from there on everything
//! happens on descriptors and no link is followed (SEC-14, SEC-20). The stage lives as long as the build,
//! and so holds U for the build's containers; it serves one order after the other and executes nothing.

mod copy;
pub(crate) mod digest;
pub(crate) mod select;

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::base::bytes::Bytes;
use crate::runtime::failure::{Failure, FailureKind};
use crate::runtime::init;
use crate::runtime::init::mounts::mount_overlay;
use crate::runtime::launch::{Caller, stage_failure};
use crate::runtime::rootfs::{RootDir, Shape};
use crate::runtime::step::OverlayPlan;
use crate::stage::spawn::{self, Child, Stage};
use crate::stage::{holders, wire};
use crate::sys::{fs, mount, process};

type Result<T> = std::result::Result<T, Failure>;

/// Where files go.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// On top of layers (the topmost first), into `upper` of the directory, which has `work` as well.
    Overlay { lowers: Vec<Bytes>, directory: Bytes },
    /// A directory by itself.
    Directory(Bytes),
}

/// Where files come from.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Tree {
    Directory(Bytes),
    /// Layers, the topmost first; `over` is an empty directory that they may be mounted on.
    Layers {
        lowers: Vec<Bytes>,
        over: Bytes,
    },
}

/// Which files of a tree.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Choice {
    /// Number of the tree in the order.
    pub(crate) tree: usize,
    /// Paths, which may have wildcards.
    pub(crate) patterns: Vec<Bytes>,
    /// Text of the ignore file of the tree.
    pub(crate) ignore: Bytes,
    /// `--exclude`: patterns relative to what is copied.
    pub(crate) exclude: Vec<Bytes>,
    /// `--parents`: directories above are copied too, and `**` means any number of them.
    pub(crate) parents: bool,
    /// Wildcards are ordinary characters.
    pub(crate) literal: bool,
}

/// One COPY.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CopyTask {
    pub(crate) choice: Choice,
    /// Absolute; with a slash at the end it is a directory.
    pub(crate) target: Bytes,
    /// Files keep their owners; otherwise they belong to root, or to `owner`.
    pub(crate) keep_owner: bool,
    /// `user[:group]`, looked up in the target.
    pub(crate) owner: Option<String>,
    /// `--chmod`, as typed.
    pub(crate) mode: Option<String>,
    /// Archives are unpacked.
    pub(crate) unpack: bool,
    /// More sources than these exist, so the target must be a directory.
    pub(crate) several: bool,
}

/// What to do, in order.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Task {
    Copy(CopyTask),
    /// A working directory, with those above it; what is new belongs to `user[:group]`, or to root.
    MakeDirectory {
        path: Bytes,
        owner: Option<String>,
    },
    /// The target's root gets the owner `user[:group]`.
    Give(String),
    /// Nothing is written: the report has a digest of the files.
    Digest(Choice),
}

/// One order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) target: Option<Target>,
    pub(crate) trees: Vec<Tree>,
    pub(crate) tasks: Vec<Task>,
    /// Only one ID is mapped: everything belongs to the user.
    pub(crate) single: bool,
}

/// What was done.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Of each [`Task::Digest`].
    pub(crate) digests: Vec<String>,
    pub(crate) failure: Option<Failure>,
}

/// The first message: where the store is and whose U this is.
#[derive(Debug, Serialize, Deserialize)]
struct Opening {
    #[serde(with = "crate::base::bytes::path")]
    store: PathBuf,
    fingerprint: String,
}

/// A stage that serves orders. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Assembler {
    child: Child,
}

impl Assembler {
    /// Starts one. The caller has one thread.
    pub(crate) fn start(caller: &Caller, store: &Path) -> Result<Self> {
        let stage = Stage { name: c"assemble", args: &[], detached: false };
        let (child, turn) = caller.spawn_holder(store, &stage).map_err(|err| stage_failure(&err))?;
        let opening = Opening { store: store.to_owned(), fingerprint: caller.fingerprint() };
        child.send(&opening, &[]).map_err(|err| Failure::system("start building", &err))?;
        // Its first word says that it holds U, for those who come next.
        child.receive::<Report>().map_err(|err| stage_failure(&err))?;
        drop(turn);
        Ok(Self { child })
    }

    /// Gives an order; [`Assembler::report`] follows.
    pub(crate) fn order(&self, order: &Order) -> Result<()> {
        self.child.send(order, &[]).map_err(|err| Failure::system("order files", &err))
    }

    /// Readable when there is a report.
    pub(crate) fn socket(&self) -> std::os::fd::BorrowedFd<'_> {
        self.child.socket.as_fd()
    }

    /// Waits for the outcome of an order.
    pub(crate) fn report(&self) -> Result<Report> {
        let report = self.child.receive::<Report>().map_err(|err| stage_failure(&err))?.0;
        match report.failure {
            Some(failure) => Err(failure),
            None => Ok(report),
        }
    }
}

/// The stage `assemble`.
pub(crate) fn main() -> ! {
    let Ok(command) = spawn::begin() else { process::exit_now(125) };
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).ok();
    // Modes are those of the sources; many descriptors are open in deep trees.
    rustix::process::umask(Mode::empty());
    crate::sys::rlimit::raise_open_files().ok();
    let Ok((opening, _)) = wire::receive::<Opening>(command.as_fd()) else { process::exit_now(125) };
    let own_pid = std::process::id().cast_signed();
    if !opening.fingerprint.is_empty() {
        // Failing to announce only costs others time.
        holders::announce(&opening.store, own_pid, &opening.fingerprint).ok();
    }
    wire::send(command.as_fd(), &Report::default(), &[]).ok();
    while let Ok((order, _)) = wire::receive::<Order>(command.as_fd()) {
        let report = carry_out(&order)
            .unwrap_or_else(|failure| Report { failure: Some(failure), ..Report::default() });
        if wire::send(command.as_fd(), &report, &[]).is_err() {
            break;
        }
    }
    holders::withdraw(&opening.store, own_pid);
    process::exit_now(0)
}

/// Mounts of one order, taken away at its end.
#[derive(Default)]
struct Mounts(Vec<PathBuf>);

impl Mounts {
    /// Mounts an overlay over `over` and opens its root.
    fn overlay(&mut self, plan: &OverlayPlan) -> Result<RootDir> {
        let mounted = mount_overlay(plan)?;
        let over = open_directory(&plan.over)?;
        mount::attach(mounted.as_fd(), over.as_fd(), "a directory of the build")?;
        self.0.push(plan.over.clone());
        open_directory(&plan.over).map(RootDir::new)
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        for path in self.0.iter().rev() {
            // Whatever is left goes with the mount namespace.
            nix::mount::umount2(path, nix::mount::MntFlags::MNT_DETACH).ok();
        }
    }
}

fn carry_out(order: &Order) -> Result<Report> {
    let mut mounts = Mounts::default();
    let mut trees = Vec::with_capacity(order.trees.len());
    for tree in &order.trees {
        trees.push(match tree {
            Tree::Directory(path) => open_directory(path.as_path()).map(RootDir::new)?,
            Tree::Layers { lowers, over } => mounts.overlay(&OverlayPlan {
                over: over.as_path().to_owned(),
                lowers: paths(lowers),
                upper: None,
                volatile: false,
                device_nodes: false,
            })?,
        });
    }
    let target = match &order.target {
        None => None,
        Some(Target::Directory(path)) => Some(open_directory(path.as_path()).map(RootDir::new)?),
        Some(Target::Overlay { lowers, directory }) if lowers.is_empty() => {
            Some(open_directory(&directory.as_path().join("upper")).map(RootDir::new)?)
        }
        Some(Target::Overlay { lowers, directory }) => {
            // An earlier step of one layer has left its mark. What it has written is all there: the machine has not
            // been down meanwhile.
            crate::runtime::init::mounts::forget_volatile(&directory.as_path().join("work"));
            Some(mounts.overlay(&OverlayPlan {
                over: directory.as_path().join("over"),
                lowers: paths(lowers),
                upper: Some((directory.as_path().join("upper"), directory.as_path().join("work"))),
                // What a crash leaves of it is never used.
                volatile: true,
                device_nodes: false,
            })?)
        }
    };
    let mut report = Report::default();
    for task in &order.tasks {
        match task {
            Task::Digest(choice) => {
                let tree = tree(&trees, choice)?;
                let mut read = |place: digest::Place<'_>, _: &_| Ok(digest::hash_file(place)?.0);
                report.digests.push(digest::of_choice(tree, choice, true, &mut read)?);
            }
            Task::Give(owner) => {
                let target = target.as_ref().ok_or_else(no_target)?;
                let (uid, gid) = identity(target, owner)?;
                fs::chown_at(target.as_fd(), ".", uid, gid)
                    .map_err(|err| Failure::errno("give a directory away", err))?;
            }
            Task::MakeDirectory { path, owner } => {
                let target = target.as_ref().ok_or_else(no_target)?;
                let owner = owner.as_ref().filter(|_| !order.single);
                let new = owner.map_or_else(Vec::new, |_| absent(target, path));
                let made = target.target(path.as_bytes(), Shape::Directory, false);
                let made = made.map_err(|err| Failure::errno(format!("make the directory {path:?}"), err))?;
                let stat = fs::stat(&made).map_err(|err| Failure::errno("look at the directory", err))?;
                if fs::kind(&stat) != fs::FileType::Directory {
                    let message = format!("{path:?} is there and is no directory");
                    return Err(Failure::new(FailureKind::Invalid, message));
                }
                if let Some(owner) = owner {
                    give(target, &new, owner)?;
                }
            }
            Task::Copy(task) => {
                let target = target.as_ref().ok_or_else(no_target)?;
                copy::copy(tree(&trees, &task.choice)?, target, task, order.single)?;
            }
        }
    }
    Ok(report)
}

/// The directories of `path` that are not there yet, the highest first.
fn absent(target: &RootDir, path: &Bytes) -> Vec<Bytes> {
    let bytes = path.as_bytes();
    let ends = (1..=bytes.len()).filter(|end| *end == bytes.len() || bytes[*end] == b'/');
    let prefixes = ends.map(|end| Bytes::from(&bytes[..end]));
    prefixes.filter(|prefix| target.open(prefix.as_bytes(), OFlags::PATH).is_err()).collect()
}

/// Gives directories to `user[:group]`.
fn give(target: &RootDir, paths: &[Bytes], owner: &str) -> Result<()> {
    let (uid, gid) = identity(target, owner)?;
    for path in paths {
        let failed = |err: std::io::Error| Failure::errno(format!("give {path:?} away"), err);
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let made = target.open(path.as_bytes(), flags).map_err(failed)?;
        fs::chown_at(made.as_fd(), ".", uid, gid).map_err(failed)?;
    }
    Ok(())
}

fn tree<'a>(trees: &'a [RootDir], choice: &Choice) -> Result<&'a RootDir> {
    trees.get(choice.tree).ok_or_else(|| Failure::new(FailureKind::System, "an order without its tree"))
}

fn paths(lowers: &[Bytes]) -> Vec<PathBuf> {
    lowers.iter().map(|lower| lower.as_path().to_owned()).collect()
}

fn no_target() -> Failure {
    Failure::new(FailureKind::System, "an order without a target")
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
        .map_err(|errno| Failure::errno(format!("open {}", path.display()), errno))
}

/// Who `user[:group]` is in the target. A number without a group is its own group, as in Docker.
fn identity(target: &RootDir, owner: &str) -> Result<(u32, u32)> {
    if let Ok(id) = owner.parse::<u32>()
        && id != u32::MAX
    {
        return Ok((id, id));
    }
    let found =
        init::identity_of(target, owner, &[]).map_err(|err| Failure { kind: FailureKind::Invalid, ..err })?;
    Ok((found.uid, found.gid))
}
