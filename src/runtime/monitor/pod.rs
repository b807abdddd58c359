//! What the monitors of a pod's containers do for each other.
//!
//! At its start a container gets to know the others by name, as these do it. After the end of the last one the infra
//! container ends, if the exit policy is `stop`: each monitor looks when its own container's lock is free again, so that
//! of two that end at the same time the later one finds the other's free.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::attach::client;
use crate::attach::packet::Hello;
use crate::base::pod::{ExitPolicy, Membership};
use crate::base::spec::{ContainerSpec, NetworkMode};
use crate::runtime::monitor::record::{self, STOP_REQUESTED};
use crate::runtime::monitor::{Monitor, etcfiles};
use crate::store::Store;
use crate::sys::fs::{self, OFlags, Share};
use crate::sys::poll::{Interest, PollSet};

/// Ends the infra container of the pod that a container is of which has just ended, if that was the last one and the pod
/// wishes it. What cannot be done now, `pod stop` does.
pub(super) fn end_with_last(root: &Path, spec: &ContainerSpec) {
    let Some(place) = spec.pod.as_ref().filter(|place| !place.infra) else { return };
    let Ok(store) = Store::open(root) else { return };
    if store.pods().get(&place.id).is_ok_and(|pod| pod.exit_policy == ExitPolicy::Stop)
        && let Ok(Some(infra)) = idle_infra(&store, place)
    {
        stop(&infra).ok();
    }
}

/// The directory of the pod's infra container, if nothing else of the pod runs.
fn idle_infra(store: &Store, place: &Membership) -> io::Result<Option<PathBuf>> {
    let mut infra = None;
    for (directory, spec) in members(store, place)? {
        match spec.pod {
            Some(pod) if pod.infra => infra = Some(directory),
            _ if runs(&directory)? => return Ok(None),
            _ => {}
        }
    }
    Ok(infra)
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

/// Has a container that shares the network of its pod and the others that do know each other's names. What cannot be
/// written there keeps nobody from starting.
pub(super) fn introduce(monitor: &Monitor) {
    let spec = &monitor.spec;
    let Some(place) = spec.pod.as_ref().filter(|place| !place.infra) else { return };
    let NetworkMode::Container(infra) = &spec.network.mode else { return };
    let Ok(store) = Store::open(&monitor.order.root) else { return };
    let own = monitor.name();
    for (directory, other) in members(&store, place).unwrap_or_default() {
        let shares = other.network.mode == NetworkMode::Container(infra.clone()) || other.id == *infra;
        if other.id == spec.id || !shares {
            continue;
        }
        etcfiles::add_neighbour(&directory, &own).ok();
        let names = store.names().of(&other.id).unwrap_or_default();
        names.iter().for_each(|name| drop(etcfiles::add_neighbour(&monitor.directory, name)));
    }
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

/// Stops a container as `stop` does.
fn stop(directory: &Path) -> io::Result<()> {
    let Some(spec) = record::spec(directory) else { return Ok(()) };
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let dir = fs::open_at(fs::here(), directory, flags, 0)?;
    fs::open_at(&dir, STOP_REQUESTED, OFlags::WRONLY | OFlags::CREATE, 0o600)?;
    let monitor = client::connect(dir.as_fd())?;
    client::greet(monitor.as_fd(), Hello::default())?;
    client::send_signal(monitor.as_fd(), spec.stop.signal)?;
    if spec.stop.timeout_s == u32::MAX {
        return Ok(());
    }
    let deadline = Instant::now() + Duration::from_secs(spec.stop.timeout_s.into());
    let mut set = PollSet::default();
    set.add(Some(monitor.as_fd()), Interest::READ);
    match set.wait(Some(deadline.saturating_duration_since(Instant::now())))? {
        true => Ok(()),
        false => client::send_signal(monitor.as_fd(), libc::SIGKILL),
    }
}
