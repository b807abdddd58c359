//! The layers of an image: downloaded several at once, and unpacked while they come.
//!
//! ```text
//! claim ─▶ Present ─────────────────────▶ order(blob)
//!   │  ╰─▶ Partial ─▶ order(reader, feed) ─ append ─ grown ─ append ─ … ─ commit, end of the feed
//!   ╰────▶ Busy: ask again                      ╰─ damaged part: withdraw … commit, order(blob)
//! ```
//!
//! A layer that another image has brought may have come in another blob: then this image's own is downloaded
//! as well, and not unpacked. Without it the image could not be saved, pushed or unpacked for other owners.

use std::io;

use crate::base::digest::Digest;
use crate::base::image_ref::ImageRef;
use crate::base::size;
use crate::engine::pull::fetch::Found;
use crate::engine::pull::unpacking::{Missing, Unpacking, room};
use crate::engine::pull::{PullEvent, Puller};
use crate::engine::remote::Trouble;
use crate::engine::remote::error::{DISK_FULL, from_store};
use crate::engine::{Error, Kind, Result};
use crate::registry::blob::{Blob, Opened, Sink};
use crate::registry::client::Client;
use crate::runtime::worker::Feed;
use crate::store::blobs::{Claim, Partial};
use crate::store::images::chain_ids;
use crate::store::{Store, StoreError};

/// How many layers are downloaded at once.
const LANES: usize = 6;

/// The worker is told of growth, and asked how it goes, when so many bytes have come.
const WAKE_BYTES: usize = 256 << 10;

/// Sees to it that all layers of an image are in the store.
pub(super) fn layers(
    puller: &Puller<'_>,
    client: &Client<'_>,
    image: &ImageRef,
    found: &Found,
) -> std::result::Result<(), Trouble> {
    let store = puller.engine.store();
    let wanted = wanted(store, layers_of(found)).map_err(|err| from_store("pull", image, err))?;
    report(puller, found, &wanted.blobs);
    if wanted.blobs.is_empty() {
        return Ok(());
    }
    check_room(store, image, &wanted.blobs)?;
    let unpacking = Unpacking::start(puller, image, found.manifest.layers.len())?;
    wanted.unpacked.iter().try_for_each(|layer| unpacking.below(layer.index, &layer.chain_id))?;
    let jobs = wanted.blobs.into_iter().map(|(blob, layers)| {
        let (events, unpacking) = (puller.events, &unpacking);
        (blob, BlobSink { store, image, events, unpacking, blob, layers, open: None })
    });
    let configured = puller.engine.conf().engine.image_parallel_copies.filter(|lanes| *lanes > 0);
    client.blobs(jobs.collect(), configured.unwrap_or(LANES))?;
    Ok(unpacking.finish()?)
}

/// What is to be done for an image's layers.
struct Wanted {
    /// The layers that are unpacked already.
    unpacked: Vec<Missing>,
    /// The blobs to have, each with those layers to unpack from it: none if all are.
    blobs: Vec<(Blob, Vec<Missing>)>,
}

fn wanted(store: &Store, layers: Vec<Missing>) -> std::result::Result<Wanted, StoreError> {
    let mut wanted = Wanted { unpacked: Vec::new(), blobs: Vec::new() };
    for layer in layers {
        let is_unpacked = store.layers().has(&layer.chain_id);
        if is_unpacked {
            wanted.unpacked.push(layer);
            if store.blobs().has(&layer.blob.digest)? {
                continue;
            }
        }
        let to_unpack = (!is_unpacked).then_some(layer);
        match wanted.blobs.iter_mut().find(|(blob, _)| blob.digest == layer.blob.digest) {
            Some((_, layers)) => layers.extend(to_unpack),
            None => wanted.blobs.push((layer.blob, Vec::from_iter(to_unpack))),
        }
    }
    Ok(wanted)
}

/// Refuses to begin what certainly does not fit: the compressed layers alone need more than there is.
fn check_room(
    store: &Store,
    image: &ImageRef,
    blobs: &[(Blob, Vec<Missing>)],
) -> std::result::Result<(), Trouble> {
    let to_come =
        blobs.iter().map(|(blob, _)| blob.size.saturating_sub(store.blobs().length_so_far(&blob.digest)));
    let to_come = to_come.fold(0, u64::saturating_add);
    let fits = || store.space().map_or(true, |space| to_come <= space.free_bytes);
    if fits() {
        return Ok(());
    }
    // What an rmi has removed a moment ago may not be free yet.
    store.wait_for_sweepers();
    if fits() {
        return Ok(());
    }
    let message =
        format!("pull {image}: its layers need {} at least; {}", size::human(to_come, 3), room(store));
    Err(Trouble::Image(Error::new(Kind::System, message).hint(DISK_FULL)))
}

/// All layers, the lowest first.
fn layers_of(found: &Found) -> Vec<Missing> {
    let diff_ids = &found.config.rootfs.diff_ids;
    let chain = chain_ids(diff_ids);
    let mut parent = None;
    let mut layers = Vec::with_capacity(chain.len());
    for (index, (layer, &chain_id)) in found.manifest.layers.iter().zip(&chain).enumerate() {
        let blob = Blob { digest: layer.digest, size: layer.size };
        layers.push(Missing { index, chain_id, diff_id: diff_ids[index], parent, blob });
        parent = Some(chain_id);
    }
    layers
}

/// Tells what is there and what is to come.
fn report(puller: &Puller<'_>, found: &Found, blobs: &[(Blob, Vec<Missing>)]) {
    (puller.events)(&PullEvent::Layers { count: found.manifest.layers.len() });
    for layer in &found.manifest.layers {
        let present = !blobs.iter().any(|(blob, _)| blob.digest == layer.digest);
        (puller.events)(&PullEvent::Layer { digest: &layer.digest, size: layer.size, present });
    }
}

/// Takes the bytes of one blob to the store and tells the worker.
struct BlobSink<'a> {
    store: &'a Store,
    image: &'a ImageRef,
    events: &'a dyn Fn(&PullEvent<'_>),
    unpacking: &'a Unpacking<'a>,
    blob: Blob,
    /// What to unpack from it: usually one; an image may have the same layer twice, or have it unpacked already.
    layers: Vec<Missing>,
    /// What is being written.
    open: Option<Open>,
}

/// A blob that grows.
struct Open {
    partial: Partial,
    /// One per layer; none after a restart.
    feeds: Vec<Feed>,
    /// Bytes since the worker was last told.
    untold: usize,
}

impl<'a> BlobSink<'a> {
    fn progress(&self, bytes: u64) {
        (self.events)(&PullEvent::Progress { digest: &self.blob.digest, bytes });
    }

    /// Tells that a blob is done with from which nothing is to be unpacked.
    fn unpacked_already(&self) {
        if self.layers.is_empty() {
            (self.events)(&PullEvent::Unpacked { digest: &self.blob.digest });
        }
    }

    fn store_error(&self) -> impl Fn(StoreError) -> Error + use<'a> {
        let (store, image, blob) = (self.store, self.image, self.blob);
        move |err| match err.is_disk_full() {
            true => {
                let needed = size::human(blob.size, 3);
                let message = format!("pull {image}: layer {} needs {needed}; {}", blob.digest, room(store));
                Error::new(Kind::System, message).hint(DISK_FULL)
            }
            false => from_store("pull", image, err),
        }
    }

    fn opened(&self) -> io::Result<&Open> {
        self.open.as_ref().ok_or_else(|| io::Error::other("the blob is not open"))
    }

    fn try_open(&mut self) -> Result<Opened> {
        let failed = self.store_error();
        let partial = match self.store.blobs().claim(&self.blob.digest).map_err(&failed)? {
            Claim::Busy => return Ok(Opened::Busy),
            Claim::Present(file, length) if length == self.blob.size => {
                for layer in &self.layers {
                    // Another process may have unpacked it while we waited for its download.
                    if self.store.layers().has(&layer.chain_id) {
                        self.unpacking.below(layer.index, &layer.chain_id)?;
                        (self.events)(&PullEvent::Unpacked { digest: &self.blob.digest });
                    } else {
                        self.unpacking.order(layer, &file)?;
                    }
                }
                self.progress(length);
                self.unpacked_already();
                return Ok(Opened::Complete);
            }
            Claim::Present(_, length) => {
                let message = format!(
                    "pull {}: blob {} is {length} bytes long, its descriptor says {}: size mismatch",
                    self.image, self.blob.digest, self.blob.size
                );
                return Err(Error::new(crate::engine::Kind::System, message));
            }
            Claim::Partial(partial) => partial,
        };
        let mut feeds = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let reader = partial.reader().map_err(&failed)?;
            feeds.push(self.unpacking.order_growing(layer, &reader)?);
        }
        let at = partial.length();
        self.progress(at);
        self.open = Some(Open { partial, feeds, untold: 0 });
        Ok(Opened::At(at))
    }

    fn try_write(&mut self, bytes: &[u8]) -> Result<()> {
        let failed = self.store_error();
        let Some(open) = &mut self.open else { return Ok(()) };
        open.partial.append(bytes).map_err(failed)?;
        open.untold += bytes.len();
        if open.untold >= WAKE_BYTES {
            open.untold = 0;
            open.feeds.iter().for_each(Feed::grown);
            self.unpacking.poll()?;
        }
        let at = self.open.as_ref().map_or(0, |open| open.partial.length());
        self.progress(at);
        Ok(())
    }

    fn try_restart(&mut self) -> Result<()> {
        let failed = self.store_error();
        let Some(open) = &mut self.open else { return Ok(()) };
        if !std::mem::take(&mut open.feeds).is_empty() {
            // The worker has read bytes that do not count.
            self.layers.iter().for_each(|layer| self.unpacking.withdraw(layer));
        }
        open.partial.restart().map_err(failed)?;
        self.progress(0);
        Ok(())
    }

    fn try_finish(&mut self) -> Result<()> {
        let failed = self.store_error();
        let Some(Open { partial, feeds, .. }) = self.open.take() else { return Ok(()) };
        self.store.blobs().commit(partial, self.blob.size).map_err(&failed)?;
        self.unpacked_already();
        if feeds.is_empty() {
            let file = self.store.blobs().open(&self.blob.digest).map_err(&failed)?;
            for layer in &self.layers {
                self.unpacking.order(layer, &file)?;
            }
        }
        self.unpacking.poll()
    }
}

impl Sink for BlobSink<'_> {
    fn open(&mut self) -> io::Result<Opened> {
        self.try_open().map_err(io::Error::other)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.try_write(bytes).map_err(io::Error::other)
    }

    fn digest(&self) -> Digest {
        self.opened().map_or_else(|_| Digest::of(b""), |open| open.partial.content_digest())
    }

    fn restart(&mut self) -> io::Result<()> {
        self.try_restart().map_err(io::Error::other)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.try_finish().map_err(io::Error::other)
    }
}
