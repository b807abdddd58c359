//! Files into and out of containers and volumes: `cp`, `export`, `volume export` and `volume import`.
//!
//! ```text
//! command ──CopyOrder, pipe──▶ copy (in U, read-only clone of ketch)
//!                                └─ opens the root: joins a running container's namespaces,
//!                                   mounts a stopped one's, or takes a volume's directory
//!                                   └─ pack: tree ──tar──▶ pipe     unpack: pipe ──tar──▶ tree
//! ```
//!
//! What the user names is resolved once, by openat2 with the container's root as `/`; from there on
//! everything happens on descriptors and no link is followed. So a container that swaps its
//! directories for links meanwhile can spoil its own copy and nothing else (SEC-13). The stage executes
//! nothing, and is not dumpable.

mod land;
mod pack;
mod root;
mod unpack;

use std::fs::File;
use std::io::{self, BufWriter, Read, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{FileType, OFlags};
use serde::{Deserialize, Serialize};

use crate::base::bytes::Bytes;
use crate::base::idmap::IdMap;
use crate::base::spec::{ContainerSpec, Record};
use crate::runtime::enter;
use crate::runtime::failure::{Failure, FailureKind};
use crate::runtime::launch::{self, Caller};
use crate::runtime::rootfs::RootDir;
use crate::stage::spawn::{self, Child, Stage};
use crate::stage::wire;
use crate::store::unpack::decoder;
use crate::sys::{pidfd, process};

type Result<T> = std::result::Result<T, Failure>;

/// Whose files.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Place {
    /// A directory of the host: the data of a volume.
    Directory(#[serde(with = "crate::base::bytes::path")] PathBuf),
    /// A running container, by process 1. Its pidfd is the second descriptor.
    Running { pid: i32 },
    /// A container that does not run and that nobody can start meanwhile.
    Stopped {
        spec: Box<ContainerSpec>,
        /// `containers/<id>`.
        #[serde(with = "crate::base::bytes::path")]
        container: PathBuf,
        /// The store.
        #[serde(with = "crate::base::bytes::path")]
        store: PathBuf,
        /// Its maps of users and groups from IDs inside to those of U, if they are not the same.
        id_maps: Option<(IdMap, IdMap)>,
    },
}

/// What to pack.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pack {
    /// Absolute path in the container, or relative to the volume.
    pub(crate) path: Bytes,
    /// Name of the topmost entry in the archive; `.` or empty packs what is in a directory.
    pub(crate) name: Bytes,
    /// Leave out what is mounted into the root: what lies below a mount comes along in its place.
    pub(crate) one_file_system: bool,
    /// A link that the path ends in is followed, and not packed itself.
    pub(crate) follow: bool,
}

/// What a path leads to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Found {
    /// As stat(2) has it, with the kind of the file.
    pub(crate) mode: u32,
    /// In bytes.
    pub(crate) size: i64,
    /// Seconds and nanoseconds since 1970.
    pub(crate) mtime: (i64, i64),
    /// Of a link that was not followed: where it leads.
    pub(crate) link: Bytes,
}

impl Found {
    pub(crate) fn is_directory(&self) -> bool {
        FileType::from_raw_mode(self.mode) == FileType::Directory
    }
}

/// What is in an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Content {
    /// Anything, to be unpacked into a directory that exists.
    Stream,
    /// One tree whose topmost entry is a directory called `.`.
    Directory {
        /// Its content only, not the directory itself, was meant (`dir/.`).
        content_only: bool,
    },
    /// One entry called `.`.
    File,
}

/// Whom unpacked files belong to.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Owner {
    /// The one the archive names.
    Archive,
    /// The one who unpacks.
    Caller,
    /// The container's user, as `user[:group]`.
    User(String),
}

/// Where to unpack, and how.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Unpack {
    pub(crate) path: Bytes,
    /// Name of the source, for a target that is a directory.
    pub(crate) name: Bytes,
    pub(crate) content: Content,
    pub(crate) owner: Owner,
    /// A directory may take the place of something else, and the other way round.
    pub(crate) overwrite: bool,
}

/// What the stage does.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Job {
    Pack(Pack),
    Unpack(Unpack),
    /// Nothing but to look at a path, without following a link that it ends in.
    Look(Bytes),
    /// Nothing but to find the files, by which the volumes of a container that has never run are filled.
    Mount,
}

/// One order. Descriptors: the file or pipe with the archive, then a pidfd for [`Place::Running`].
#[derive(Debug, Serialize, Deserialize)]
struct CopyOrder {
    place: Place,
    job: Job,
}

/// What the stage tells: that it has found the root and begins, and the outcome.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum CopyReport {
    /// With the source of a pack.
    Begun(Option<Found>),
    Done,
    Failed(Failure),
}

/// A copy under way.
#[derive(Debug)]
pub(crate) struct Copying(Child);

impl Copying {
    /// Waits until it begins; for a pack, tells what the source is. Nothing of the archive was read or
    /// written before.
    ///
    /// # Errors
    ///
    /// If the container has ended; if the source is not there or may not be read.
    pub(crate) fn begun(&self) -> Result<Option<Found>> {
        match self.0.receive::<CopyReport>().map_err(|err| launch::stage_failure(&err))?.0 {
            CopyReport::Begun(found) => Ok(found),
            CopyReport::Failed(failure) => Err(failure),
            CopyReport::Done => Err(Failure::new(FailureKind::System, "a copy ended before it began")),
        }
    }

    /// Waits for the end.
    ///
    /// # Errors
    ///
    /// What went wrong.
    pub(crate) fn finish(self) -> Result<()> {
        loop {
            match self.0.receive::<CopyReport>().map_err(|err| launch::stage_failure(&err))?.0 {
                CopyReport::Begun(_) => {}
                CopyReport::Failed(failure) => return Err(failure),
                CopyReport::Done => {
                    return self.0.wait().map_err(|err| Failure::errno("wait for a copy", err));
                }
            }
        }
    }
}

/// Starts a copy. `archive` is what it writes to or reads from; `record` is that of a running container.
///
/// # Errors
///
/// If the stage cannot be started, or the container has ended.
pub(crate) fn start(
    caller: &Caller,
    store: &std::path::Path,
    place: Place,
    record: Option<&Record>,
    job: Job,
    archive: BorrowedFd<'_>,
) -> Result<Copying> {
    let stage = Stage { name: c"copy", args: &[], detached: false };
    let (child, first) = match record {
        None => (caller.spawn(store, &stage), None),
        Some(record) => {
            let first = pidfd::open_verified(record.pid, record.pid_start_ticks, &record.boot_id)
                .map_err(|err| Failure::errno("find process 1", err))?
                .ok_or_else(|| Failure::new(FailureKind::Conflict, "the container is not running"))?;
            (spawn::spawn(&stage, &enter::user_namespace(caller, record)?), Some(first))
        }
    };
    let child = child.map_err(|err| launch::stage_failure(&err))?;
    let mut descriptors = vec![archive];
    descriptors.extend(first.iter().map(AsFd::as_fd));
    child
        .send(&CopyOrder { place, job }, &descriptors)
        .map_err(|err| Failure::system("order a copy", &err))?;
    Ok(Copying(child))
}

/// Packs a tree of the host, with this process's rights.
///
/// # Errors
///
/// If something cannot be read, or the archive not be written.
pub(crate) fn pack_here(path: &Bytes, follow: bool, archive: File, ids: pack::Ids) -> Result<()> {
    let root = root::host()?;
    let source = open_source(&root, path, follow)?;
    pack::pack(source, path.as_bytes(), b".", false, ids, BufWriter::with_capacity(64 << 10, archive))
}

/// Unpacks to a place of the host, with this process's rights.
///
/// # Errors
///
/// If the target cannot be meant or written.
pub(crate) fn unpack_here(archive: impl Read + Send, job: &Unpack) -> Result<()> {
    let root = root::host()?;
    let owner = match job.owner {
        Owner::Archive => unpack::Owning::Archive(None),
        Owner::Caller | Owner::User(_) => unpack::Owning::Caller,
    };
    unpack(&root, job, owner, archive)
}

/// Unpacks an archive into a directory, which keeps its own mode only if the archive does not name it. All files are
/// this user's.
///
/// # Errors
///
/// If the archive is broken or leads out of the directory.
pub(crate) fn unpack_into(dir: OwnedFd, archive: impl Read) -> Result<()> {
    unpack::unpack(archive, land::Landing { dir, name: None }, unpack::Owning::Caller, true)
}

/// Unpacks an archive into `dir`, which is `path` of `root`, and follows the root's links on the way to an entry. Its
/// files belong to whom it says, or to this user if only one ID is mapped (`single`).
///
/// # Errors
///
/// As [`unpack_into`].
pub(crate) fn unpack_within(
    archive: impl Read,
    dir: OwnedFd,
    (root, path): (&RootDir, &[u8]),
    single: bool,
) -> Result<()> {
    let owner = if single { unpack::Owning::Caller } else { unpack::Owning::Archive(None) };
    unpack::unpack_within(archive, dir, owner, root, path)
}

pub(crate) use pack::Ids;

/// The stage `copy`.
pub(crate) fn main() -> ! {
    let Ok(command) = spawn::begin() else { process::exit_now(125) };
    let Ok((order, descriptors)) = wire::receive::<CopyOrder>(command.as_fd()) else {
        process::exit_now(125)
    };
    let report = match carry_out(order, descriptors, &command) {
        Ok(()) => CopyReport::Done,
        Err(failure) => CopyReport::Failed(failure),
    };
    wire::send(command.as_fd(), &report, &[]).ok();
    process::exit_now(0)
}

fn carry_out(order: CopyOrder, descriptors: Vec<OwnedFd>, command: &OwnedFd) -> Result<()> {
    // Nothing goes on when nobody is left to hear of it.
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
        .map_err(|errno| Failure::errno("watch the command", errno))?;
    // Modes are those of the archive.
    rustix::process::umask(rustix::fs::Mode::empty());
    let mut descriptors = descriptors.into_iter();
    let archive = descriptors.next().ok_or_else(|| Failure::new(FailureKind::System, "no archive given"))?;
    let id_maps = match &order.place {
        Place::Stopped { id_maps, .. } => id_maps.clone(),
        _ => None,
    };
    let alone = matches!(&order.job, Job::Pack(Pack { one_file_system: true, .. }));
    let root = root::open(order.place, descriptors.next(), alone)?;
    let begin = |found| {
        wire::send(command.as_fd(), &CopyReport::Begun(found), &[])
            .map_err(|err| Failure::system("report", &err))
    };
    match order.job {
        Job::Pack(job) => {
            let source = open_source(&root, &job.path, job.follow)?;
            begin(Some(source.found.clone()))?;
            let ids = id_maps.map_or(Ids::Same, |(uids, gids)| Ids::Inside { uids, gids });
            let archive = BufWriter::with_capacity(64 << 10, File::from(archive));
            pack::pack(source, job.path.as_bytes(), job.name.as_bytes(), job.one_file_system, ids, archive)
        }
        Job::Unpack(job) => {
            begin(None)?;
            let owner = match &job.owner {
                Owner::Archive => unpack::Owning::Archive(id_maps),
                Owner::Caller => unpack::Owning::Caller,
                Owner::User(user) => root::identity(&root, user, id_maps.as_ref())?,
            };
            unpack(&root, &job, owner, File::from(archive))
        }
        Job::Look(path) => begin(Some(open_source(&root, &path, false)?.found)),
        Job::Mount => begin(None),
    }
}

/// Is it a tar archive, possibly compressed? Its first header's checksum tells.
pub(crate) fn is_archive(file: File) -> bool {
    let Ok(mut decoded) = decoder(file) else { return false };
    let mut header = [0; 512];
    if decoded.read_exact(&mut header).is_err() {
        return false;
    }
    let field = std::str::from_utf8(&header[148..156]).unwrap_or_default();
    let Ok(want) = u32::from_str_radix(field.trim_matches(['\0', ' ']), 8) else { return false };
    header[148..156].fill(b' ');
    want != 256 && header.iter().map(|&b| u32::from(b)).sum::<u32>() == want
}

fn unpack(root: &RootDir, job: &Unpack, owner: unpack::Owning, archive: impl Read + Send) -> Result<()> {
    let landing = land::land(root, job)?;
    match job.content {
        Content::Stream => {
            let archive = decoder(archive).map_err(|err| Failure::errno("read the archive", err))?;
            unpack::unpack(archive, landing, owner, job.overwrite)
        }
        _ => unpack::unpack(archive, landing, owner, job.overwrite),
    }
}

/// What is to be packed.
struct Source {
    /// A descriptor that can be read: a directory or a regular file; else O_PATH.
    fd: OwnedFd,
    found: Found,
}

/// Opens a source: links are followed, within the root; one that the path ends in only with `follow`.
fn open_source(root: &RootDir, path: &Bytes, follow: bool) -> Result<Source> {
    let failed = |err: io::Error| {
        let kind =
            if err.kind() == io::ErrorKind::NotFound { FailureKind::Invalid } else { FailureKind::System };
        let shown = crate::runtime::rootfs::shown(path.as_bytes());
        Failure { kind, ..Failure::errno(format!("{shown:?} could not be found"), err) }
    };
    let last = if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
    let at = root.open(path.as_bytes(), OFlags::PATH | last).map_err(failed)?;
    let stat = rustix::fs::fstat(&at).map_err(|errno| failed(errno.into()))?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    let link = match kind {
        FileType::Symlink => link_of(&at).map_err(failed)?,
        _ => Bytes::default(),
    };
    let found = Found {
        mode: stat.st_mode,
        size: stat.st_size,
        mtime: (stat.st_mtime, stat.st_mtime_nsec as i64),
        link,
    };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | last;
    let fd = match kind {
        FileType::Directory => root.open(path.as_bytes(), flags | OFlags::DIRECTORY),
        // Opened again, it may be something else by now; packing looks at what it has.
        FileType::RegularFile => root.open(path.as_bytes(), flags),
        _ => Ok(at),
    };
    Ok(Source { fd: fd.map_err(failed)?, found })
}

/// Where a link leads that was opened itself.
fn link_of(link: &OwnedFd) -> io::Result<Bytes> {
    Ok(Bytes::from(rustix::fs::readlinkat(link, "", Vec::new())?.as_bytes()))
}

/// Flushes what was packed.
fn finish(mut archive: BufWriter<File>) -> Result<()> {
    archive.write_all(&[0; 1024]).and_then(|()| archive.flush()).map_err(pack::written)
}
