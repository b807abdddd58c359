//! What the monitors of a pod's containers do for each other.
//!
//! At its start a container gets to know the others by name, as these do it, until it ends. After the end of the last
//! one, or its start that failed, the infra container ends, if the exit policy is `stop`: each monitor looks when its own
//! container's lock is free again, so that of two that end at the same time the later one finds the other's free.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::attach::client;
use crate::attach::packet::Hello;
use crate::base::id::ContainerId;
use crate::base::pod::{ExitPolicy, Membership};
use crate::base::spec::{ContainerSpec, NetworkMode};
use crate::runtime::monitor::record::{self, STOP_REQUESTED};
use crate::runtime::monitor::{Monitor, etcfiles};
use crate::runtime::pod_lock::PodLock;
use crate::store::Store;
use crate::sys::fs::{self, OFlags, Share};
use crate::sys::poll::{Interest, PollSet};

/// How long the end of an infra container after that of another waits for containers of its pod that are being started.
pub(super) const END_PATIENCE: Duration = Duration::from_secs(60);

/// How long to wait for others who write into the containers' /etc/hosts.
const PATIENCE: Duration = Duration::from_secs(2);

/// An infra container that is to end when nothing else of its pod runs: its life at the time that was looked.
#[derive(Debug)]
pub(crate) struct EndsWithLast {
    place: Membership,
    infra: PathBuf,
    /// As [`record::pause_mark`] says.
    life: String,
}

impl EndsWithLast {
    /// The running infra container of the pod that a container is of, if the pod wishes its end after that container's. To
    /// be looked for before others see that end: whoever has seen it may start the infra container anew, for another use.
    pub(crate) fn of(root: &Path, place: Option<&Membership>) -> Option<Self> {
        // After an init container others are to come.
        let place = place.filter(|place| !place.infra && place.init.is_none())?;
        let store = Store::open(root).ok()?;
        if store.pods().get(&place.id).ok()?.exit_policy != ExitPolicy::Stop {
            return None;
        }
        let is_infra = |spec: &ContainerSpec| spec.pod.as_ref().is_some_and(|pod| pod.infra);
        let (infra, _) = members(&store, place).ok()?.into_iter().find(|(_, spec)| is_infra(spec))?;
        let life = record::pause_mark(&record::of_running(&infra)?);
        Some(Self { place: place.clone(), infra, life })
    }

    /// Ends it, if nothing else of the pod runs. What cannot be done now, `pod stop` does. `patience` is how long to wait
    /// for those who start containers of the pod: if they cannot, they do this themselves.
    pub(crate) fn end(&self, root: &Path, patience: Duration) {
        let Ok(store) = Store::open(root) else { return };
        let Ok(Some(alone)) = PodLock::to_end(root, &self.place.id, patience) else { return };
        let lives = record::of_running(&self.infra).is_some_and(|now| record::pause_mark(&now) == self.life);
        if lives && self.is_idle(&store).unwrap_or(false) {
            stop(&self.infra, alone).ok();
        }
    }

    /// Whether nothing else of the pod runs or is still to be started for the first time.
    fn is_idle(&self, store: &Store) -> io::Result<bool> {
        for (directory, _) in members(store, &self.place)? {
            if directory != self.infra && (runs(&directory)? || is_to_run(&directory)) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The containers of a pod: their directories, and what can be read of them.
fn members(store: &Store, place: &Membership) -> io::Result<Vec<(PathBuf, ContainerSpec)>> {
    let mut members = Vec::new();
    for id in store.containers().list().map_err(io::Error::other)? {
        let directory = store.containers().path(&id);
        let Ok(text) = std::fs::read(directory.join("spec.json")) else { continue };
        // Few are of this pod: most specs need no parsing.
        if memchr::memmem::find(&text, place.id.as_str().as_bytes()).is_none() {
            continue;
        }
        let spec = serde_json::from_slice::<ContainerSpec>(&text).ok();
        let is_member = |spec: &ContainerSpec| spec.pod.as_ref().is_some_and(|pod| pod.id == place.id);
        members.extend(spec.filter(is_member).map(|spec| (directory, spec)));
    }
    Ok(members)
}

/// The containers of its pod that share the network with a container that shares it: directories and IDs.
fn neighbours(store: &Store, spec: &ContainerSpec) -> Vec<(PathBuf, ContainerId)> {
    let Some(place) = spec.pod.as_ref().filter(|place| !place.infra) else { return Vec::new() };
    let NetworkMode::Container(infra) = &spec.network.mode else { return Vec::new() };
    let shares = |other: &ContainerSpec| other.network.mode == spec.network.mode || other.id == *infra;
    let others = members(store, place).unwrap_or_default().into_iter();
    let others = others.filter(|(_, other)| other.id != spec.id && shares(other));
    others.map(|(directory, other)| (directory, other.id)).collect()
}

/// Has a container that shares the network of its pod and the others that do know each other's names. What cannot be
/// written there keeps nobody from starting.
pub(super) fn introduce(monitor: &Monitor) {
    if monitor.spec.pod.is_none() {
        return;
    }
    let Ok(store) = Store::open(&monitor.order.root) else { return };
    let own = monitor.name();
    for (directory, id) in neighbours(&store, &monitor.spec) {
        etcfiles::add_neighbour(&directory, &own).ok();
        let names = store.names().of(&id).unwrap_or_default();
        names.iter().for_each(|name| drop(etcfiles::add_neighbour(&monitor.directory, name)));
    }
}

/// Has the others of its pod forget a container that has ended.
pub(super) fn take_leave(monitor: &Monitor) {
    if monitor.spec.pod.is_none() {
        return;
    }
    let Ok(store) = Store::open(&monitor.order.root) else { return };
    let own = monitor.name();
    let _locked = lock_hosts(&monitor.order.root, &monitor.spec);
    for (directory, _) in neighbours(&store, &monitor.spec) {
        etcfiles::remove_neighbour(&directory, &own).ok();
    }
}

/// Has the containers of its pod that know a container by the name `old` know it by `new`, as it does itself. What cannot be
/// written there keeps nobody from having a name.
pub(crate) fn rename(root: &Path, spec: &ContainerSpec, old: &str, new: &str) {
    let Ok(store) = Store::open(root) else { return };
    let _locked = lock_hosts(root, spec);
    let own = store.containers().path(&spec.id);
    for directory in neighbours(&store, spec).into_iter().map(|(directory, _)| directory).chain([own]) {
        etcfiles::rename_neighbour(&directory, old, new).ok();
    }
}

/// Keeps the other monitors of the pod from reading and writing its containers' /etc/hosts. `None` without a pod, or where
/// others take too long.
pub(super) fn lock_hosts(root: &Path, spec: &ContainerSpec) -> Option<File> {
    let place = spec.pod.as_ref()?;
    let file = File::open(root.join("pods").join(place.id.as_str()).join("pod.json")).ok()?;
    let taken = fs::lock_within(&file, Share::Exclusive, PATIENCE, Duration::from_millis(1));
    taken.is_ok_and(|taken| taken).then_some(file)
}

/// Whether a container has a monitor, or has lost it and lives on.
fn runs(directory: &Path) -> io::Result<bool> {
    let is_locked = match File::open(directory.join("lock")) {
        Ok(file) => !fs::try_lock(&file, Share::Shared)?,
        // It never ran, or was removed.
        Err(err) if err.kind() == ErrorKind::NotFound => false,
        Err(err) => return Err(err),
    };
    Ok(is_locked || record::of_running(directory).is_some())
}

/// Whether a container has yet to be started for the first time. One that was removed has not, nor one that could not start.
fn is_to_run(directory: &Path) -> bool {
    record::read(directory).is_none() && directory.join("spec.json").exists()
}

/// Stops a container as `stop` does; once it is marked, those who need it see that, and wait for its end: they are kept from
/// looking until then.
fn stop(directory: &Path, alone: PodLock) -> io::Result<()> {
    let Some(spec) = record::spec(directory) else { return Ok(()) };
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let dir = fs::open_at(fs::here(), directory, flags, 0)?;
    let monitor = client::connect(dir.as_fd())?;
    client::greet(monitor.as_fd(), Hello::default())?;
    let is_own =
        match fs::open_at(&dir, STOP_REQUESTED, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL, 0o600) {
            Err(err) if err.kind() == ErrorKind::AlreadyExists => false,
            other => other.map(|_| true)?,
        };
    if let Err(err) = client::send_signal(monitor.as_fd(), spec.stop.signal) {
        if is_own {
            fs::unlink(&dir, STOP_REQUESTED)?;
        }
        return Err(err);
    }
    drop(alone);
    kill_after_grace(monitor.as_fd(), &spec)
}

/// Sends SIGKILL to a container that is still there after its grace.
fn kill_after_grace(monitor: BorrowedFd<'_>, spec: &ContainerSpec) -> io::Result<()> {
    if spec.stop.timeout_s == u32::MAX {
        return Ok(());
    }
    let deadline = Instant::now() + Duration::from_secs(spec.stop.timeout_s.into());
    let mut set = PollSet::default();
    set.add(Some(monitor), Interest::READ);
    if !set.wait(Some(deadline.saturating_duration_since(Instant::now())))? {
        client::send_signal(monitor, libc::SIGKILL)?;
    }
    Ok(())
}
