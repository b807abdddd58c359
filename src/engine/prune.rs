//! Removing what is not used.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::base::digest::Digest;
use crate::base::id::ContainerId;
use crate::base::order::InOrder as _;
use crate::base::time;
use crate::engine::filter::{self, Filters, has_label};
use crate::engine::image::Removed;
use crate::engine::list::Query;
use crate::engine::remove::Removing;
use crate::engine::{Engine, Error, Kind, Result};
use crate::stage::holders;
use crate::store::volumes::VolumeRecord;
use crate::sys::fs;

/// What a prune removed.
#[derive(Debug)]
pub(crate) struct Pruned<T> {
    pub(crate) removed: Vec<T>,
    /// Bytes of what was removed, as far as they are known.
    pub(crate) bytes: u64,
    /// What could not be removed, and why.
    pub(crate) failed: Vec<Error>,
}

impl<T> Default for Pruned<T> {
    fn default() -> Self {
        Self { removed: Vec::new(), bytes: 0, failed: Vec::new() }
    }
}

impl Pruned<Removed> {
    /// The images that are gone.
    pub(crate) fn images(&self) -> Vec<Digest> {
        self.removed.iter().flat_map(|gone| gone.deleted.iter().copied()).collect()
    }
}

impl Engine {
    /// Removes every container that does not run and passes `filters` (label, label!, until). Those of pods go with these.
    ///
    /// # Errors
    ///
    /// For a filter that means nothing; if the store cannot be read.
    pub(crate) fn prune_containers(&self, filters: &Filters) -> Result<Pruned<ContainerId>> {
        let query = Query { all: true, filters: filters.clone(), ..Query::default() };
        let mut pruned = Pruned::default();
        let idle =
            self.containers(&query)?.items.into_iter().filter(|found| !found.status.phase.is_running());
        // Nor what `run` has made and is about to start.
        let idle =
            idle.filter(|found| found.summary.pod.is_none() && !self.is_awaited(&found.id, &found.status));
        let idle = self.dependents_first(idle.map(|found| (found.id.clone(), found)).collect())?;
        for (_, container) in idle {
            let size = self.container_size(&container.id).unwrap_or(0);
            match self.remove_container(&container.id, &Removing::default()) {
                Ok(()) => {
                    pruned.bytes += size;
                    pruned.removed.push(container.id);
                }
                // It was started meanwhile, or another command removes it.
                Err(err) if matches!(err.kind, Kind::NotFound | Kind::Conflict) => {}
                Err(err) => pruned.failed.push(err),
            }
        }
        self.record_prune("container", pruned.bytes);
        Ok(pruned)
    }

    /// Removes images that no container uses: those without a name that nothing is made from or, with `all`, all of them.
    ///
    /// # Errors
    ///
    /// For a filter that means nothing; if the store cannot be read or changed.
    pub(crate) fn prune_images(&self, all: bool, filters: &Filters) -> Result<Pruned<Removed>> {
        let mut pruned = Pruned::<Removed>::default();
        let mut images = self.images_and_lists(filters, true)?.items;
        images.order_by_key(|image| image.record.stored);
        for image in images {
            let id = image.record.id;
            let is_unused = image.containers == Some(0) && (all || image.is_dangling());
            // The last child of a parent without a name takes that along.
            if !is_unused || pruned.removed.iter().any(|gone| gone.deleted.contains(&id)) {
                continue;
            }
            match self.remove_image(&id.to_string(), true) {
                Ok(Removed { untagged, deleted }) => {
                    let others = deleted.into_iter().filter(|other| *other != id);
                    let deleted = std::iter::once(id).chain(others).collect();
                    pruned.removed.push(Removed { untagged, deleted });
                }
                // Another command was faster.
                Err(err) if err.kind == Kind::NotFound => {}
                Err(err) => pruned.failed.push(err),
            }
        }
        let freed = self.collect_garbage()?;
        pruned.bytes = freed.bytes;
        pruned.failed.extend(freed.damaged);
        self.record_prune("image", pruned.bytes);
        Ok(pruned)
    }

    /// Removes volumes that no container uses: anonymous ones or, with `all`, named ones too.
    ///
    /// # Errors
    ///
    /// For a filter that means nothing; if the store cannot be read or changed.
    pub(crate) fn prune_volumes(&self, all: bool, filters: &Filters) -> Result<Pruned<String>> {
        let mut pruned = Pruned::default();
        let doomed = match self.prunable_volumes(all, filters) {
            Ok(doomed) => doomed,
            Err(err) if err.kind == Kind::Invalid => return Err(err),
            Err(err) => {
                pruned.failed.push(err);
                return Ok(pruned);
            }
        };
        let sizes: Vec<u64> = doomed.iter().map(|volume| self.volume_size(&volume.name)).collect();
        let mut leftovers = Vec::new();
        {
            // A container may have come to use one of them since the look above; under the lock none can.
            let _lock = self.lock()?;
            let unused = self.prunable_volumes(all, filters)?;
            for (volume, bytes) in doomed.into_iter().zip(sizes) {
                if !unused.iter().any(|other| other.name == volume.name) {
                    continue;
                }
                match self.store().volumes().take(&volume.name) {
                    Ok(None) => {}
                    Ok(Some(taken)) => {
                        leftovers.push(taken);
                        pruned.bytes += bytes;
                        pruned.removed.push(volume.name);
                    }
                    Err(err) => pruned.failed.push(err.into()),
                }
            }
        }
        pruned.removed.iter().for_each(|name| self.record_volume("remove", name));
        self.discard(leftovers)?;
        self.record_prune("volume", pruned.bytes);
        Ok(pruned)
    }

    /// The volumes that `prune` would remove.
    ///
    /// # Errors
    ///
    /// For a filter that means nothing; if the store, or a container that may use any of them, cannot be read.
    pub(crate) fn prunable_volumes(&self, all: bool, filters: &Filters) -> Result<Vec<VolumeRecord>> {
        let uses = self.store().containers().uses()?;
        if let Some(damaged) = uses.damaged.into_iter().next() {
            return Err(damaged.into());
        }
        let (since, until) = (self.since_volume(filters)?, until(filters)?);
        let truths = |key: &'static str| filters.values(key).map(move |value| filter::boolean(key, value));
        // Docker's: `all=false` leaves those that have names, `all=true` takes them. What is in use is never meant.
        let asked = truths("all").collect::<Result<Vec<_>>>()?;
        let all = if asked.is_empty() { all } else { asked.into_iter().all(|wanted| wanted) };
        let dangling = truths("dangling").collect::<Result<Vec<_>>>()?;
        let any = dangling.is_empty() || dangling.contains(&true);
        let mut volumes = self.store().volumes().list()?.items;
        volumes.retain(|volume| {
            let is_used = uses.items.iter().any(|user| user.volumes.contains(&volume.name));
            let passes = filters.values("label").all(|filter| has_label(&volume.labels, filter))
                && !filters.values("label!").any(|filter| has_label(&volume.labels, filter))
                && until.is_none_or(|until| volume.created < until)
                && since.is_none_or(|since| volume.created > since);
            any && !is_used && passes && (all || volume.anonymous)
        });
        Ok(volumes)
    }

    /// When the earliest of the volumes was made that `after` and `since` name.
    fn since_volume(&self, filters: &Filters) -> Result<Option<Timestamp>> {
        let names = filters.values("after").chain(filters.values("since"));
        let created = |name: &str| Ok(self.store().volumes().get(name)?.created);
        Ok(names.map(created).collect::<Result<Vec<_>>>()?.into_iter().min())
    }

    /// Removes what killed commands left in the store: unfinished writes and downloads that nobody goes on
    /// with. Returns their bytes.
    ///
    /// # Errors
    ///
    /// If the store cannot be read or changed.
    pub(crate) fn prune_leftovers(&self) -> Result<u64> {
        let staging =
            || fs::tree::usage(self.store().dir(), "staging".as_ref()).map_or(0, |usage| usage.bytes);
        // What was left to others is not this command's.
        self.store().wait_for_sweepers();
        let before = staging();
        self.sweep();
        holders::sweep(self.store().root());
        self.store().forget_old_uploads();
        let partial = self.store().blobs().remove_abandoned()?;
        Ok(before.saturating_sub(staging()) + partial)
    }

    /// Bytes of a volume's files, as far as they can be seen.
    pub(crate) fn volume_size(&self, name: &str) -> u64 {
        let path = self.store().volumes().data_path(name);
        fs::tree::usage(fs::here(), path.as_os_str()).map_or(0, |usage| usage.bytes)
    }
}

/// The earliest `until` of the filters.
fn until(filters: &Filters) -> Result<Option<Timestamp>> {
    let parse = |text| {
        let when = time::parse_when(text, Timestamp::now(), &TimeZone::system());
        when.map_err(|err| Error::invalid(err.to_string()))
    };
    let times: Vec<_> = filters.values("until").map(parse).collect::<Result<_>>()?;
    Ok(times.into_iter().min())
}
