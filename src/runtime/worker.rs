//! Unpacking layers: a process in the user namespace U that is trusted with nothing else.
//!
//! ```text
//! puller ──Job{layers}──────────▶ worker          confines itself
//!        ──Below{index}─────────▶                 layer 0, 1 …: there already
//!        ──Unpack{index, order}─▶  thread         layer 2 …: extract, wait for those below, settle
//!        ◀──Done{index, report}──
//! ```
//!
//! Unpacking reads what strangers wrote. So before the first byte of it the worker gives up what it
//! does not need: it changes its root to `staging/`, Landlock leaves it `staging/` to write and
//! `layers/` to read, all capabilities go but those to make files of any owner, and it never had an
//! environment, credentials or the network configuration. It ends when its parent does, or when the
//! parent's end of the socket closes.
//!
//! For the puller: [`Unpacker::start`] before any thread; then for each layer of the image, in any
//! order, [`Unpacker::below`] if it is there or [`Unpacker::unpack`] as soon as its download begins;
//! [`Feed::grown`] after each append and drop the [`Feed`] at the end; [`Unpacker::report`] when
//! [`Unpacker::socket`] is readable. A layer is good when its report is and its blob was verified.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::base::digest::Digest;
use crate::base::idmap::{IdExtent, IdMap};
use crate::runtime::clean;
use crate::runtime::failure::{Failure, FailureKind};
use crate::runtime::launch::{Caller, stage_failure};
use crate::stage::idranges;
use crate::stage::spawn::{self, Child, Stage, StageError};
use crate::stage::wire::{self, WireError};
use crate::store::Store;
use crate::store::layers::StagedLayer;
use crate::store::staging::Removal;
use crate::store::unpack::{self, Ids, Limits, Order, Report};
use crate::sys::{fs, landlock, pidfd, process};

/// Most memory that a worker can have, in bytes: many times what it needs.
const DATA_MAX: u64 = 1 << 30;

/// What a worker is started for. Descriptors: `staging/`, `layers/`.
#[derive(Debug, Serialize, Deserialize)]
struct Job {
    /// How many layers the image has.
    layers: usize,
    make_devices: bool,
}

/// One layer of the image, 0 being the lowest.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Message {
    /// It is unpacked already. Descriptor: its directory.
    Below { index: usize },
    /// Unpack it. Descriptors: an empty directory, the blob, and the socket that wakes if it still grows.
    Unpack { index: usize, order: Order },
}

/// What became of one layer.
#[derive(Debug, Serialize, Deserialize)]
struct Done {
    index: usize,
    result: Result<Report, unpack::Failure>,
}

/// A worker that unpacks layers. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Unpacker {
    child: Option<Child>,
}

/// The writing end of what tells a worker that a blob has grown. Dropping it says that it is complete.
#[derive(Debug)]
pub(crate) struct Feed {
    socket: OwnedFd,
}

/// Makes a [`Feed`] and its other end, for [`Unpacker::unpack`].
pub(crate) fn feed() -> io::Result<(Feed, OwnedFd)> {
    let (socket, reader) = wire::pair()?;
    Ok((Feed { socket }, reader))
}

impl Feed {
    /// Tells that bytes were appended. Never waits.
    pub(crate) fn grown(&self) {
        use rustix::net::SendFlags;
        // A full socket wakes the worker anyhow; a worker that is gone is noticed by its report. Not a
        // pipe, whose writer would be killed by SIGPIPE then.
        rustix::net::send(&self.socket, b"+", SendFlags::DONTWAIT | SendFlags::NOSIGNAL).ok();
    }
}

impl Unpacker {
    /// Starts a worker for an image of so many layers. The caller has one thread.
    pub(crate) fn start(caller: &Caller, store: &Store, layers: usize) -> Result<Self, Failure> {
        let open = |name: &str| {
            fs::open_dir(store.dir(), name).map_err(|err| Failure::errno(format!("open {name}"), err))
        };
        let (staging, finished) = (open("staging")?, open("layers")?);
        let child = start(caller, store.root())?;
        let job = Job { layers, make_devices: makes_devices(caller) };
        child.send(&job, &[staging.as_fd(), finished.as_fd()]).map_err(|err| talk(&err))?;
        Ok(Self { child: Some(child) })
    }

    /// The order for a layer, as the caller's rights and the free space allow.
    pub(crate) fn order(caller: &Caller, store: &Store, diff_id: Digest) -> Result<Order, Failure> {
        let space = store.space().map_err(|err| Failure::system("unpack a layer", &err))?;
        let ids = match &caller.mapping {
            None => own_ids().map_err(|err| Failure::errno("read the ID map", err))?,
            Some(mapping) if mapping.single.is_some() => Ids::Single,
            Some(mapping) => Ids::Mapped { uids: mapping.uids.clone(), gids: mapping.gids.clone() },
        };
        let make_devices = makes_devices(caller);
        if let Some(kind) = unsuitable(space.magic) {
            let message = format!(
                "the store {} is on {kind}, which keeps no owners of containers",
                store.root().display()
            );
            let hint = "name a directory on a local disk: --root DIRECTORY, or KETCH_ROOT".to_owned();
            return Err(Failure { hint: Some(hint), ..Failure::new(FailureKind::System, message) });
        }
        let (limits, squash_ids) = (Limits::within(&space), caller.squash_ids);
        Ok(Order { diff_id, ids, limits, make_devices, no_umask: true, squash_ids, verified: false })
    }

    /// Tells of a layer that is unpacked already, by its directory.
    pub(crate) fn below(&self, index: usize, dir: impl AsFd) -> Result<(), Failure> {
        self.send(&Message::Below { index }, &[dir.as_fd()])
    }

    /// Has layer `index` unpacked from `blob` into the empty directory `root`.
    ///
    /// `wake` is the other end of the [`Feed`] of a blob that still grows.
    pub(crate) fn unpack(
        &self,
        index: usize,
        order: Order,
        root: impl AsFd,
        blob: &File,
        wake: Option<OwnedFd>,
    ) -> Result<(), Failure> {
        let mut descriptors = vec![root.as_fd(), blob.as_fd()];
        descriptors.extend(wake.as_ref().map(AsFd::as_fd));
        self.send(&Message::Unpack { index, order }, &descriptors)
    }

    fn send(&self, message: &Message, descriptors: &[BorrowedFd<'_>]) -> Result<(), Failure> {
        match &self.child {
            Some(child) => child.send(message, descriptors).map_err(|err| talk(&err)),
            None => Err(talk(&WireError::Closed)),
        }
    }

    /// The socket on which reports come: readable when [`Unpacker::report`] will not wait.
    pub(crate) fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.child.as_ref().map(|child| child.socket.as_fd())
    }

    /// The next layer that is done, well or not. Waits for it.
    ///
    /// # Errors
    ///
    /// The outer failure: the worker itself is gone.
    pub(crate) fn report(&self) -> Result<(usize, Result<Report, unpack::Failure>), Failure> {
        let Some(child) = &self.child else { return Err(talk(&WireError::Closed)) };
        let (done, _) = child.receive::<Done>().map_err(|err| match err {
            StageError::Wire(WireError::Closed) => {
                Failure::new(FailureKind::System, "the worker that unpacks layers was killed")
            }
            err => stage_failure(&err),
        })?;
        Ok((done.index, done.result))
    }
}

impl Unpacker {
    /// Ends the worker, if it still runs.
    pub(crate) fn stop(&mut self) {
        if let Some(child) = self.child.take() {
            // It has nothing to save; and nothing may write to staging any more when this returns.
            pidfd::end(child.pidfd.as_fd());
        }
    }
}

impl Drop for Unpacker {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Removes what was unpacked in vain, files of other IDs too. What cannot be removed is swept later.
///
/// The worker that wrote there has ended.
pub(crate) fn discard(caller: &Caller, store: &Store, layers: impl IntoIterator<Item = StagedLayer>) {
    let foreign = layers.into_iter().filter_map(|layer| match layer.discard() {
        Ok(Removal::Foreign(left)) => Some(left.leave()),
        Ok(Removal::Done) | Err(_) => None,
    });
    let foreign: Vec<PathBuf> = foreign.collect();
    clean::clean(caller, store.root(), &foreign).ok();
}

/// What the user can do about a layer that could not be unpacked.
pub(crate) fn hint(failure: &unpack::Failure, caller: &Caller) -> Option<String> {
    match failure {
        unpack::Failure::Owner { kind, id, .. } => {
            let passwd = std::fs::read("/etc/passwd").unwrap_or_default();
            let name = idranges::user_name(&passwd, caller.uid);
            let user = name
                .map_or_else(|| caller.uid.to_string(), |name| String::from_utf8_lossy(&name).into_owned());
            let text = std::fs::read_to_string(kind.file()).unwrap_or_default();
            let line = unpack::line_to_add(&text, &user, caller.uid, *id)?;
            Some(format!("add the line {line} to {} and stop all containers", kind.file()))
        }
        unpack::Failure::Space { .. } => Some("free some space: system prune, or rm and rmi".to_owned()),
        _ => None,
    }
}

/// What a file system is called on which no root file system can lie: the server decides there who owns what.
///
/// # Source
///
/// statfs(2) and linux/magic.h.
fn unsuitable(magic: u64) -> Option<&'static str> {
    match magic {
        0x6969 => Some("NFS"),
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => Some("SMB"),
        0x5346_414f | 0x6b41_4653 => Some("AFS"),
        0x7375_7245 => Some("Coda"),
        _ => None,
    }
}

/// The IDs of the namespace that this process is in: all of them, unless the machine is itself a
/// container.
fn own_ids() -> io::Result<Ids> {
    let read = |file: &str| Ok::<_, io::Error>(kernel_map(&std::fs::read_to_string(file)?));
    Ok(Ids::Mapped { uids: read("/proc/self/uid_map")?, gids: read("/proc/self/gid_map")? })
}

/// The text of a `uid_map`.
fn kernel_map(text: &str) -> IdMap {
    let extents = text.lines().filter_map(|line| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(IdExtent { inside: next()?, outside: next()?, len: next()? })
    });
    IdMap(extents.collect())
}

/// Only the machine's root may make device nodes.
fn makes_devices(caller: &Caller) -> bool {
    caller.mapping.is_none()
}

fn start(caller: &Caller, root: &Path) -> Result<Child, Failure> {
    // Several are open in the worker for each of what may be hundreds of layers, and those under way count against the sender's limit.
    crate::sys::rlimit::raise_open_files().ok();
    let stage = Stage { name: c"unpack", args: &[], detached: false };
    caller.spawn(root, &stage).map_err(|err| stage_failure(&err))
}

fn talk(err: &WireError) -> Failure {
    Failure::system("talk to the worker", err)
}

/// The stage `unpack`.
pub(crate) fn main() -> ! {
    let served = spawn::begin().is_ok_and(|command| {
        // It must not outlive its parent, whose staging directories others take for garbage then.
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).ok();
        let job = wire::receive::<Job>(command.as_fd());
        job.is_ok_and(|(job, descriptors)| unpack_all(command, &job, descriptors))
    });
    process::exit_now(if served { 0 } else { 125 })
}

/// What the threads of an unpacking worker share.
struct Shared {
    /// The directories of the layers that are unpacked.
    layers: Mutex<HashMap<usize, OwnedFd>>,
    changed: Condvar,
    reports: Mutex<OwnedFd>,
}

fn unpack_all(command: OwnedFd, job: &Job, descriptors: Vec<OwnedFd>) -> bool {
    let prepared = wire::take::<2>(descriptors).map_err(io::Error::other).and_then(|[staging, finished]| {
        confine(&staging, &finished, job.make_devices)?;
        command.try_clone()
    });
    let reports = match prepared {
        Ok(reports) => reports,
        Err(err) => {
            let errno = err.raw_os_error().unwrap_or(libc::EIO);
            let failure = unpack::Failure::System { what: "confine the worker".to_owned(), errno };
            return wire::send(command.as_fd(), &Done { index: 0, result: Err(failure) }, &[]).is_ok();
        }
    };
    let shared =
        Arc::new(Shared { layers: Mutex::default(), changed: Condvar::new(), reports: Mutex::new(reports) });
    loop {
        // A closed socket: the parent has what it wants, or is gone. Threads end with the process.
        let Ok((message, mut descriptors)) = wire::receive::<Message>(command.as_fd()) else { return true };
        match message {
            Message::Below { index } if descriptors.len() == 1 && index < job.layers => {
                shared.finished(index, descriptors.remove(0));
            }
            Message::Unpack { index, order } if descriptors.len() >= 2 && index < job.layers => {
                let thread = std::thread::Builder::new().name(format!("layer {index}")).stack_size(1 << 20);
                let shared = shared.clone();
                let running = thread.spawn(move || shared.unpack(index, &order, descriptors));
                if running.is_err() {
                    return false;
                }
            }
            _ => return false,
        }
    }
}

impl Shared {
    fn finished(&self, index: usize, dir: OwnedFd) {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner).insert(index, dir);
        self.changed.notify_all();
    }

    /// The work of one thread.
    fn unpack(&self, index: usize, order: &Order, descriptors: Vec<OwnedFd>) {
        let result = self.extract(index, order, descriptors);
        let done = Done { index, result };
        let socket = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        // A parent that is gone wants no report, and ends this process through the other end.
        wire::send(socket.as_fd(), &done, &[]).ok();
    }

    fn extract(
        &self,
        index: usize,
        order: &Order,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Report, unpack::Failure> {
        let mut descriptors = descriptors.into_iter();
        let (Some(root), Some(blob)) = (descriptors.next(), descriptors.next()) else {
            return Err(unpack::Failure::System { what: "take an order".to_owned(), errno: libc::EPROTO });
        };
        let system = |what: &'static str| {
            move |err: io::Error| unpack::Failure::System {
                what: what.to_owned(),
                errno: err.raw_os_error().unwrap_or(libc::EIO),
            }
        };
        let dir = root.try_clone().map_err(system("copy a descriptor"))?;
        let unpacked = unpack::extract(order, root, File::from(blob), descriptors.next())?;
        // Those below have settled too when they count as unpacked.
        let lowers = if unpacked.needs_lowers() { self.below(index) } else { Ok(vec![]) };
        let lowers = lowers.map_err(system("copy a descriptor"))?;
        let report = unpacked.settle(&lowers)?;
        self.finished(index, dir);
        Ok(report)
    }

    /// The directories of all layers below `index`, the topmost first, once they are all unpacked.
    fn below(&self, index: usize) -> io::Result<Vec<OwnedFd>> {
        let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        while !(0..index).all(|below| layers.contains_key(&below)) {
            layers = self.changed.wait(layers).unwrap_or_else(PoisonError::into_inner);
        }
        (0..index).rev().filter_map(|below| layers.get(&below)).map(OwnedFd::try_clone).collect()
    }
}

/// Gives up everything that unpacking does not need.
fn confine(staging: &OwnedFd, finished: &OwnedFd, make_devices: bool) -> io::Result<()> {
    use rustix::thread::{CapabilitySet, CapabilitySets};
    rustix::process::umask(rustix::fs::Mode::empty());
    // Against what a decompressor could be tricked into asking for.
    let most = rustix::process::getrlimit(rustix::process::Resource::Data).maximum;
    let most = most.map_or(DATA_MAX, |most| most.min(DATA_MAX));
    crate::sys::rlimit::set(libc::RLIMIT_DATA, most, most)?;
    crate::sys::rlimit::set(libc::RLIMIT_CORE, 0, 0)?;
    rustix::process::fchdir(staging)?;
    rustix::process::chroot(".")?;
    rustix::thread::set_no_new_privs(true)?;
    landlock::restrict(&[staging.as_fd()], &[finished.as_fd()])?;
    let mut needed = CapabilitySet::CHOWN
        | CapabilitySet::DAC_OVERRIDE
        | CapabilitySet::FOWNER
        | CapabilitySet::FSETID
        | CapabilitySet::SETFCAP;
    if make_devices {
        needed |= CapabilitySet::MKNOD;
    }
    let needed = needed & rustix::thread::capabilities(None)?.permitted;
    let sets = CapabilitySets { effective: needed, permitted: needed, inheritable: CapabilitySet::empty() };
    Ok(rustix::thread::set_capabilities(None, sets)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// REL-63.
    #[test]
    fn stores_on_servers_are_refused_by_name() {
        for (magic, want) in [
            (0x6969, Some("NFS")),
            (0xff53_4d42, Some("SMB")),
            (0xef53, None),
            (0x0102_1994, None),
            (0x9123_683e, None),
            (0x5846_5342, None),
        ] {
            assert_eq!(unsuitable(magic), want, "{magic:#x}");
        }
    }

    #[test]
    fn a_feed_never_waits() {
        let (feed, wake) = feed().unwrap();
        for _ in 0..100_000 {
            feed.grown();
        }
        let mut bytes = [0; 4096];
        assert!(rustix::io::read(&wake, &mut bytes).unwrap() > 0);
        drop(feed);
        while rustix::io::read(&wake, &mut bytes).unwrap() > 0 {}
        // Nor does it mind that nobody listens.
        let (feed, wake) = super::feed().unwrap();
        drop(wake);
        feed.grown();
    }

    #[test]
    fn reads_id_maps() {
        let map = kernel_map("         0       1000          1\n         1     100000      65536\n");
        assert_eq!(map.to_kernel(), "0 1000 1\n1 100000 65536\n");
        assert_eq!(map.to_outside(65_536), Some(165_535));
    }
}
