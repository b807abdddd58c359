//! The pull's side of the worker that unpacks layers: what was ordered, what came back.
//!
//! A layer is ordered when its download begins and counts when two things are right: its blob's
//! digest (checked by the download) and its diff ID (checked by the worker). Only when all layers
//! count do they get their places, together.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::base::digest::Digest;
use crate::base::image_ref::ImageRef;
use crate::base::order::InOrder as _;
use crate::base::size;
use crate::engine::pull::{PullEvent, Puller};
use crate::engine::remote::error::{from_failure, from_store};
use crate::engine::unpack::squashed;
use crate::engine::{Error, Kind, Result};
use crate::registry::blob::Blob;
use crate::runtime::launch::Caller;
use crate::runtime::worker::{self, Feed, Unpacker};
use crate::store::Store;
use crate::store::layers::{LayerRecord, StagedLayer};
use crate::store::unpack::{self, Limits, Report};
use crate::sys::poll::{Interest, PollSet};

/// A layer that is not unpacked yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Missing {
    /// Its place in the image, 0 being the lowest.
    pub(super) index: usize,
    pub(super) chain_id: Digest,
    pub(super) diff_id: Digest,
    /// The layer below.
    pub(super) parent: Option<Digest>,
    pub(super) blob: Blob,
}

/// The unpacking of one image's layers.
pub(super) struct Unpacking<'a> {
    store: &'a Store,
    events: &'a dyn Fn(&PullEvent<'_>),
    image: &'a ImageRef,
    caller: Caller,
    worker: Unpacker,
    /// Ordered and not done, by index.
    running: RefCell<HashMap<usize, (Missing, StagedLayer)>>,
    done: RefCell<Vec<(usize, StagedLayer, LayerRecord)>>,
    /// What withdrawn orders have made, or make yet.
    useless: RefCell<Vec<StagedLayer>>,
    /// How many reports of an index belong to orders that were withdrawn.
    withdrawn: RefCell<HashMap<usize, usize>>,
}

impl<'a> Unpacking<'a> {
    /// Starts the worker, for an image of so many layers.
    pub(super) fn start(puller: &Puller<'a>, image: &'a ImageRef, layers: usize) -> Result<Self> {
        let (store, caller) = (puller.engine.store(), puller.engine.caller());
        let worker = Unpacker::start(&caller, store, layers).map_err(|err| from_failure(image, err))?;
        Ok(Self {
            store,
            events: puller.events,
            image,
            caller,
            worker,
            running: RefCell::default(),
            done: RefCell::default(),
            withdrawn: RefCell::default(),
            useless: RefCell::default(),
        })
    }

    /// Tells the worker of a layer that is unpacked already.
    pub(super) fn below(&self, index: usize, chain_id: &Digest) -> Result<()> {
        let dir = self.store.layers().open_fs(chain_id).map_err(|err| from_store("pull", self.image, err))?;
        self.worker.below(index, dir).map_err(|err| from_failure(self.image, err))
    }

    /// Has a layer unpacked from a blob that is complete.
    pub(super) fn order(&self, layer: &Missing, blob: &File) -> Result<()> {
        self.order_with(layer, blob, None)
    }

    /// Has a layer unpacked from a blob that grows; the [`Feed`] tells of that.
    pub(super) fn order_growing(&self, layer: &Missing, blob: &File) -> Result<Feed> {
        let (feed, wake) =
            worker::feed().map_err(|err| Error::system(format!("pull {}: make a pipe", self.image), err))?;
        self.order_with(layer, blob, Some(wake))?;
        Ok(feed)
    }

    fn order_with(&self, layer: &Missing, blob: &File, wake: Option<std::os::fd::OwnedFd>) -> Result<()> {
        let failed = |err| from_failure(self.image, err);
        let staged = self.store.layers().stage().map_err(|err| from_store("pull", self.image, err))?;
        let root = staged.open_fs().map_err(|err| from_store("pull", self.image, err))?;
        let order = Unpacker::order(&self.caller, self.store, layer.diff_id).map_err(failed)?;
        self.worker.unpack(layer.index, order, root, blob, wake).map_err(failed)?;
        self.running.borrow_mut().insert(layer.index, (*layer, staged));
        Ok(())
    }

    /// Forgets an order whose blob turned out to be damaged; its report will not count.
    pub(super) fn withdraw(&self, layer: &Missing) {
        let running = self.running.borrow_mut().remove(&layer.index);
        let done: Vec<_> =
            self.done.borrow_mut().extract_if(.., |(index, ..)| *index == layer.index).collect();
        if running.is_some() && done.is_empty() {
            *self.withdrawn.borrow_mut().entry(layer.index).or_default() += 1;
        }
        // Removed when the worker has ended, which may be writing there yet.
        let staged = running
            .map(|(_, staged)| staged)
            .into_iter()
            .chain(done.into_iter().map(|(_, staged, _)| staged));
        self.useless.borrow_mut().extend(staged);
    }

    /// Takes the reports that have come, without waiting.
    ///
    /// # Errors
    ///
    /// If a layer cannot be unpacked: then downloading the others is of no use.
    pub(super) fn poll(&self) -> Result<()> {
        while self.worker.socket().is_some_and(is_readable) {
            self.take_report()?;
        }
        Ok(())
    }

    /// Waits for all layers and gives them their places.
    pub(super) fn finish(self) -> Result<()> {
        while !self.running.borrow().is_empty() {
            self.take_report()?;
        }
        let mut done = self.done.take();
        done.order_by_key(|(index, ..)| *index);
        self.warn(&done);
        let layers = done.into_iter().map(|(_, staged, record)| (staged, record)).collect();
        self.store.layers().publish(layers).map_err(|err| from_store("pull", self.image, err))
    }

    fn take_report(&self) -> Result<()> {
        let (index, result) = self.worker.report().map_err(|err| from_failure(self.image, err))?;
        if let Some(count) = self.withdrawn.borrow_mut().get_mut(&index).filter(|count| **count > 0) {
            *count -= 1;
            return Ok(());
        }
        let running = self.running.borrow_mut().remove(&index);
        let report = match result {
            Ok(report) => report,
            Err(err) => {
                let error = self.layer_error(running.as_ref().map(|(layer, _)| layer), err);
                // What it wrote is removed with the rest, when the worker has ended.
                self.running.borrow_mut().extend(running.map(|running| (index, running)));
                return Err(error);
            }
        };
        if let Some(first) = &report.squashed {
            (self.events)(&PullEvent::Warning(&squashed(&first.to_string_lossy())));
        }
        if let Some((layer, staged)) = running {
            (self.events)(&PullEvent::Unpacked { digest: &layer.blob.digest });
            self.done.borrow_mut().push((index, staged, record(&layer, &report)));
        }
        Ok(())
    }

    fn layer_error(&self, layer: Option<&Missing>, err: unpack::Failure) -> Error {
        let which = layer.map_or_else(String::new, |layer| format!(" {}", layer.blob.digest));
        let hint = worker::hint(&err, &self.caller);
        let error = match err {
            unpack::Failure::Space { .. }
                if self.store.space().is_ok_and(|space| space.free_files < FEW_FILES) =>
            {
                let place = self.store.root().display();
                let text = format!(
                    "pull {}: layer{which} needs more files: no inodes are left in {place}",
                    self.image
                );
                Error::new(Kind::System, text)
            }
            unpack::Failure::Space { needed, .. } => {
                let room = room(self.store);
                let needed = size::human(needed, 3);
                Error::new(
                    Kind::System,
                    format!("pull {}: layer{which} needs more than {needed}; {room}", self.image),
                )
            }
            err => Error::system(format!("pull {}: layer{which}", self.image), err),
        };
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }

    /// Tells once what could not be unpacked as it is.
    fn warn(&self, done: &[(usize, StagedLayer, LayerRecord)]) {
        let devices: Vec<&str> =
            done.iter().flat_map(|(.., record)| record.skipped_devices.iter().map(String::as_str)).collect();
        if let Some(first) = devices.first() {
            let text = format!(
                "{}: left out device nodes, which only root can make: {first}{}",
                self.image,
                if devices.len() > 1 { " and others" } else { "" }
            );
            (self.events)(&PullEvent::Warning(&text));
        }
    }
}

impl Drop for Unpacking<'_> {
    /// After a failure: ends the worker and removes what it wrote.
    fn drop(&mut self) {
        self.worker.stop();
        let running = self.running.take().into_values().map(|(_, staged)| staged);
        let done = self.done.take().into_iter().map(|(_, staged, _)| staged);
        worker::discard(&self.caller, self.store, running.chain(done).chain(self.useless.take()));
    }
}

/// Fewer inodes than this that are free mean that it was they that were missing: what a failed unpacking made is
/// still there when this is asked.
const FEW_FILES: u64 = 64;

/// How much may be written to the store, and where that is.
pub(super) fn room(store: &Store) -> String {
    let usable = store.space().map_or(0, |space| Limits::within(&space).bytes);
    format!("{} free to use in {}", size::human(usable, 3), store.root().display())
}

fn is_readable(socket: BorrowedFd<'_>) -> bool {
    let mut set = PollSet::default();
    set.add(Some(socket), Interest::READ);
    set.wait(Some(Duration::ZERO)).unwrap_or(false)
}

fn record(layer: &Missing, report: &Report) -> LayerRecord {
    LayerRecord {
        version: 1,
        chain_id: layer.chain_id,
        parent: layer.parent,
        diff_id: layer.diff_id,
        blob: layer.blob.digest,
        blob_bytes: layer.blob.size,
        archive_bytes: report.archive_bytes,
        size_bytes: report.size_bytes,
        entries: report.entries,
        skipped_devices: report.device_names.iter().map(|name| name.to_string_lossy().into_owned()).collect(),
        rest: serde_json::Map::new(),
    }
}
