//! What a layer changes: as an archive (`commit`, `build`) or as a list (`diff`).
//!
//! ```text
//! command ──LayerOrder, pipe──▶ layer (in U, read-only clone of ketch)
//!                                 ├─ upper directory ────┐
//!                                 ├─ lower directories   ├─ walk ──▶ pack: tar ──▶ pipe ──▶ hash, gzip, blob
//!                                 │    as one read-only  │    ╰───▶ list: A/C/D ─▶ pipe
//!                                 ╰─── overlay ──────────┘
//!                                 take: upper ──rename──▶ staging/…/fs    (when nobody needs the container)
//! ```
//!
//! The upper directory is read as it is on disk and not through a mount, because only there whiteouts and
//! opaque directories show. It may belong to a container that runs: everything happens on
//! descriptors, no link is followed, and what vanishes meanwhile is left out. The layers below are mounted
//! as one read-only overlay in this stage's own mount namespace, so that "was it there before?" is one lookup.
//!
//! Should / mustn't: the archive is the same for the same files (names sorted, no names of users, no
//! access times); it holds container IDs, not those of U; nothing of how overlay works is in it.

mod compare;
mod list;
mod pack;
mod walk;

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::base::bytes::Bytes;
use crate::base::idmap::IdMap;
use crate::runtime::failure::{Failure, FailureKind};
use crate::runtime::init::mounts::mount_overlay;
use crate::runtime::launch::{Caller, stage_failure};
use crate::runtime::rootfs::MOUNT_TABLE;
use crate::runtime::step::OverlayPlan;
use crate::stage::spawn::{self, Child, Stage};
use crate::stage::wire;
use crate::sys::{fs, process};

pub(crate) use list::{Change, ChangeKind};

type Result<T, E = Failure> = std::result::Result<T, E>;

/// Mount points that ketch itself makes in a container, and the link to the mount table. Those that are empty
/// and were not in the image are no change that anybody made.
pub(crate) const PLACEHOLDERS: [&str; 10] = [
    "dev",
    "etc",
    "etc/hostname",
    "etc/hosts",
    MOUNT_TABLE.0,
    "etc/resolv.conf",
    "proc",
    "run",
    "run/.containerenv",
    "sys",
];

/// Where a layer is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Source {
    /// The directory with the changes; absolute.
    #[serde(with = "crate::base::bytes::path")]
    pub(crate) upper: PathBuf,
    /// The directories that it lies on, the topmost first; absolute.
    #[serde(with = "crate::base::bytes::paths")]
    pub(crate) lowers: Vec<PathBuf>,
    /// Everything that `lowers` show together, and not what `upper` changes of them.
    pub(crate) merged: bool,
    /// The container's maps of users and groups from IDs inside to those of U, if they are not the same.
    pub(crate) id_maps: Option<(IdMap, IdMap)>,
    /// Empty files and directories that do not count, relative to the root: mount points, and the link to
    /// the mount table.
    pub(crate) placeholders: Vec<Bytes>,
}

/// What to make of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Job {
    /// An archive, as layers of images are.
    Pack {
        /// No file is younger than this, in seconds since 1970 (SOURCE_DATE_EPOCH).
        clamp: Option<i64>,
        /// Afterwards move the upper directory here, over an empty directory, less what is not in the
        /// archive. Its container is of no use then.
        #[serde(default, with = "crate::base::bytes::optional_path")]
        take_to: Option<PathBuf>,
    },
    /// `Change`s, as [`list::read`] reads them.
    List,
    /// The same, of a [merged](Source::merged) source compared with what these directories show together,
    /// the topmost first.
    Compare {
        #[serde(with = "crate::base::bytes::paths")]
        with: Vec<PathBuf>,
    },
}

/// One order. Descriptor: the pipe to write to.
#[derive(Debug, Serialize, Deserialize)]
struct LayerOrder {
    source: Source,
    job: Job,
}

/// What was packed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Packed {
    /// How many entries the archive has.
    pub(crate) entries: u64,
    /// Bytes of all its files.
    pub(crate) size_bytes: u64,
    /// The upper directory was moved to where [`Job::Pack`] said.
    pub(crate) taken: bool,
}

/// A stage at work.
#[derive(Debug)]
pub(crate) struct Reading(Child);

impl Reading {
    /// Waits for the end. The caller has read the pipe to its end.
    ///
    /// # Errors
    ///
    /// What went wrong; then what came through the pipe is worth nothing.
    pub(crate) fn finish(self) -> Result<Packed> {
        let report = self.0.receive::<std::result::Result<Packed, Failure>>();
        report.map_err(|err| stage_failure(&err))?.0
    }
}

/// Starts reading a layer; returns the end of the pipe to read from. The caller has one thread.
///
/// # Errors
///
/// If the stage cannot be started.
pub(crate) fn start(caller: &Caller, store: &Path, source: Source, job: Job) -> Result<(Reading, File)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|errno| Failure::errno("make a pipe", errno))?;
    // A larger pipe means fewer switches between the two processes; it is no loss if it is refused.
    rustix::pipe::fcntl_setpipe_size(&write, 1 << 20).ok();
    let stage = Stage { name: c"layer", args: &[], detached: false };
    let child = caller.spawn(store, &stage).map_err(|err| stage_failure(&err))?;
    let order = LayerOrder { source, job };
    child.send(&order, &[write.as_fd()]).map_err(|err| Failure::system("order a layer", &err))?;
    Ok((Reading(child), File::from(read)))
}

/// Reads what [`Job::List`] writes.
///
/// # Errors
///
/// If it cannot be read.
pub(crate) fn read_changes(pipe: File) -> std::io::Result<Vec<Change>> {
    list::read(pipe)
}

/// The stage `layer`.
pub(crate) fn main() -> ! {
    let Ok(command) = spawn::begin() else { process::exit_now(125) };
    let Ok((order, descriptors)) = wire::receive::<LayerOrder>(command.as_fd()) else {
        process::exit_now(125)
    };
    let report = carry_out(order, descriptors);
    wire::send(command.as_fd(), &report, &[]).ok();
    process::exit_now(0)
}

fn carry_out(order: LayerOrder, descriptors: Vec<OwnedFd>) -> Result<Packed> {
    // Nothing goes on when nobody is left to hear of it.
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
        .map_err(|errno| Failure::errno("watch the command", errno))?;
    let [pipe] = wire::take::<1>(descriptors).map_err(|err| Failure::system("take an order", &err))?;
    open_many_files();
    let LayerOrder { source, job } = order;
    let (upper, lower) = match mount_lowers(&source.lowers)? {
        Some(all) if source.merged => (all, None),
        lower => (open_directory(fs::here(), &source.upper)?, lower),
    };
    let mut out = BufWriter::with_capacity(256 << 10, File::from(pipe));
    let placeholders = source.placeholders;
    match job {
        Job::List => {
            let mut list = list::List::new(&mut out);
            walk::walk(upper, lower, placeholders, &mut list)?;
            out.flush().map_err(written)?;
            Ok(Packed::default())
        }
        Job::Compare { with } => {
            let mut list = list::List::new(&mut out);
            match mount_lowers(&with)? {
                Some(old) => compare::compare(&upper, &old, &mut list)?,
                None => drop(walk::walk(upper, None, vec![], &mut list)?),
            }
            out.flush().map_err(written)?;
            Ok(Packed::default())
        }
        Job::Pack { clamp, take_to } => {
            let mut packer = pack::Packer::new(&mut out, source.id_maps, clamp);
            let left_out = walk::walk(upper, lower, placeholders, &mut packer)?;
            let mut packed = packer.finish()?;
            out.flush().map_err(written)?;
            if let Some(to) = take_to {
                packed.taken = take(&source.upper, left_out, &to)?;
            }
            Ok(packed)
        }
    }
}

/// Two descriptors are open for each level of a tree, which may be deep.
fn open_many_files() {
    if let Ok((_, hard)) = crate::sys::rlimit::get(libc::RLIMIT_NOFILE) {
        // Where it is refused, deep trees are too.
        crate::sys::rlimit::set(libc::RLIMIT_NOFILE, hard, hard).ok();
    }
}

/// Layers as one directory; `None` if there are none.
fn mount_lowers(lowers: &[PathBuf]) -> Result<Option<OwnedFd>> {
    if lowers.is_empty() {
        return Ok(None);
    }
    let (over, lowers) = ("/".into(), lowers.to_vec());
    let plan = OverlayPlan { over, lowers, upper: None, volatile: false, device_nodes: false };
    let mounted = mount_overlay(&plan)?;
    open_directory(mounted.as_fd(), Path::new(".")).map(Some)
}

fn open_directory(at: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(at, path, flags, Mode::empty())
        .map_err(|errno| Failure::errno(format!("open {}", path.display()), errno))
}

/// Moves the upper directory away; false if the file system says no.
fn take(upper: &Path, left_out: Vec<Vec<u8>>, to: &Path) -> Result<bool> {
    let root = open_directory(fs::here(), upper)?;
    // Those below come before those above.
    for path in left_out.iter().rev() {
        let (dir, name) = match path.iter().rposition(|&b| b == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&b"."[..], &path[..]),
        };
        let removed = fs::open_within(&root, dir, fs::Within::Beneath, OFlags::RDONLY | OFlags::DIRECTORY, 0)
            .and_then(|dir| match fs::unlink(&dir, name) {
                Err(err) if err.raw_os_error() == Some(libc::EISDIR) => fs::rmdir(&dir, name),
                other => other,
            });
        if removed.is_err() {
            return Ok(false);
        }
    }
    Ok(fs::rename(fs::here(), upper, fs::here(), to).is_ok())
}

/// The pipe could not be written to.
fn written(err: std::io::Error) -> Failure {
    // Whoever reads it has stopped, and knows why.
    Failure::errno("write the layer", err)
}

/// A file of the layer could not be read.
fn unreadable(path: &[u8], err: impl Into<std::io::Error>) -> Failure {
    let err = err.into();
    let shown = crate::runtime::rootfs::shown(path);
    if matches!(err.raw_os_error(), Some(libc::EMFILE)) {
        let message = format!("read /{shown}: the directories are nested too deep for the open-files limit");
        return Failure {
            hint: Some("raise it: ulimit -n".into()),
            ..Failure::new(FailureKind::System, message)
        };
    }
    Failure::errno(format!("read /{shown}"), err)
}
