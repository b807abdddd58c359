//! A look at each container's directory, for listings: as few system calls as will do, and for hundreds on several
//! processors, for what it costs is the kernel's time.

use std::os::fd::{AsFd as _, OwnedFd};

use crate::base::health::Health;
use crate::base::id::ContainerId;
use crate::engine::half_made::is_half_made;
use crate::engine::health;
use crate::engine::list::summaries::Summaries;
use crate::engine::list::{Container, Summary};
use crate::engine::state::{self, Phase};
use crate::engine::{Error, Result};
use crate::store::{Store, record};
use crate::sys::fs;

/// The longest spec that is read, in bytes.
const MAX_SPEC_BYTES: usize = 16 << 20;

/// As many containers as are worth a thread of their own.
const LANE: usize = 64;

/// What a look at one container's directory found.
pub(super) enum Seen {
    /// Nothing that is listed: it does not run, or it was removed in the meantime.
    Nothing,
    /// Without its name.
    Container(Box<Container>),
    /// What a killed `run` left.
    HalfMade,
    Damaged(Error),
}

/// Does the same with each item, in their order; hundreds are parted among the processors.
pub(super) fn in_lanes<T: Sync, R: Send>(items: &[T], each: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let lanes = match items.len() / LANE {
        0 | 1 => 1,
        full => full.min(processors()).min(4),
    };
    let each = |part: &[T]| part.iter().map(&each).collect::<Vec<R>>();
    if lanes == 1 {
        return each(items);
    }
    let mut parts = items.chunks(items.len().div_ceil(lanes));
    let own = parts.next().unwrap_or_default();
    std::thread::scope(|scope| {
        let others: Vec<_> = parts.map(|part| scope.spawn(move || each(part))).collect();
        let mut done = each(own);
        for lane in others {
            done.extend(lane.join().expect("a panic ends the process"));
        }
        done
    })
}

/// Those that this process may run on. (The standard library reads quotas of control groups, too: twenty calls.)
fn processors() -> usize {
    rustix::thread::sched_getaffinity(None).map_or(1, |set| set.count() as usize)
}

/// Looks at a container; `any_state` wants those, too, that do not run.
pub(super) fn look_at(store: &Store, known: &Summaries, id: &ContainerId, any_state: bool) -> Seen {
    let containers = store.containers();
    let dir = match containers.open_base(id) {
        Ok(dir) => dir,
        // Removed since it was listed.
        Err(err) if err.is_not_found() => return Seen::Nothing,
        Err(err) => return Seen::Damaged(err.into()),
    };
    match read_container(store, known, &dir, id, any_state) {
        Ok(None) => Seen::Nothing,
        Ok(Some(container)) if is_half_made(dir.as_fd(), &container.status) => Seen::HalfMade,
        Ok(Some(container)) => Seen::Container(Box::new(container)),
        // Removed since it was listed.
        Err(_) if !containers.exists(id) => Seen::Nothing,
        Err(err) => Seen::Damaged(err),
    }
}

/// Reads a container, but for its name; `None` for one that does not run, unless `any_state`. (Then its spec is
/// not even opened.)
pub(super) fn read_container(
    store: &Store,
    known: &Summaries,
    dir: &OwnedFd,
    id: &ContainerId,
    any_state: bool,
) -> Result<Option<Container>> {
    let status = state::examine(dir.as_fd(), id)?;
    if !any_state && !matches!(status.phase, Phase::Up | Phase::Unmonitored) {
        return Ok(None);
    }
    let mut summary = match known.get(id) {
        Some(summary) => summary,
        None => read_summary(store, dir, id)?,
    };
    let updates = state::read_updates(dir.as_fd(), id)?;
    let health = match updates.checks_health(summary.health.is_some()) {
        true => health::read(dir.as_fd(), id)?.map(|state| state.status).or(Some(Health::Starting)),
        false => None,
    };
    if let Some(restart) = updates.restart {
        summary.restart = restart;
    }
    Ok(Some(Container { id: id.clone(), name: String::new(), summary, status, health }))
}

fn read_summary(store: &Store, dir: &OwnedFd, id: &ContainerId) -> Result<Summary> {
    let path = store.containers().path(id).join("spec.json");
    let text = fs::read_at(dir, "spec.json", MAX_SPEC_BYTES)
        .map_err(|err| Error::system(format!("read {}", path.display()), err))?;
    Ok(record::parse(&text, "container", id.short(), &path)?)
}
