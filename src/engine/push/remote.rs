//! To a registry: blobs several at once, then manifests, the index last.

use std::collections::{BTreeMap, HashMap};

use crate::base::digest::Digest;
use crate::base::image_ref::{DOCKER_HUB, ImageName, ImageRef, NameRule};
use crate::base::order::InOrder as _;
use crate::engine::Result;
use crate::engine::pull::PullEvent;
use crate::engine::push::outgoing::Outgoing;
use crate::engine::push::{Cargo, Pushed, Pusher, sign};
use crate::engine::remote::Remote;
use crate::engine::remote::error::from_registry;
use crate::registry::blob::Blob;
use crate::registry::client::{Client, Notice, Purpose};
use crate::registry::error::Error as RegistryError;
use crate::registry::upload::{Event, Outcome, Upload};
use crate::store::Store;
use crate::store::images::ImageRecord;

/// How many blobs are sent at once.
const LANES: usize = 4;

/// From this many bytes on it is worth while to go on with a blob that an earlier command has begun to send.
const WORTH_NOTING: u64 = 4 << 20;

/// Most repositories of the registry that a token is asked for beside the own one.
const MAX_OTHERS: usize = 4;

/// Which repositories of one registry may have which blobs.
type Homes = HashMap<Digest, Vec<String>>;

/// Pushes all of `cargo` under `name`.
pub(super) fn push(
    pusher: &Pusher<'_>,
    record: Option<&ImageRecord>,
    cargo: &Cargo,
    name: &ImageName,
) -> Result<Pushed> {
    let image = name.on(DOCKER_HUB).with_default_tag();
    let failed = |err| from_registry("push", &image, err);
    let remote = Remote::new(&pusher.request.remote, pusher.engine.conf())?;
    if pusher.request.sign.is_some() {
        sign::allowed(&image)?;
    }
    // Mirrors are for reading.
    let endpoint = remote.own_endpoint("push", &image)?;
    let homes = homes(pusher, &image)?;
    let others = others(&homes, cargo);
    let notices = |notice: &Notice<'_>| (pusher.events)(&PullEvent::from(notice));
    let purpose = Purpose::Push { from: &others };
    let client = Client::new(&endpoint, purpose, &remote.options, &notices).map_err(failed)?;
    (pusher.events)(&PullEvent::Pushing);
    let top = send(pusher, &client, cargo, &homes).map_err(failed)?;
    if let Some(key) = &pusher.request.sign {
        sign::sign(pusher, &client, &image, cargo, key)?;
    }
    if let Some(record) = record {
        remember(pusher, record, &image, cargo);
    }
    let bytes = cargo.top().map_or(0, |top| top.bytes.len());
    Ok(Pushed { digest: top, there: Some((image, bytes)) })
}

/// Sends what the registry does not have.
fn send(
    pusher: &Pusher<'_>,
    client: &Client<'_>,
    cargo: &Cargo,
    homes: &Homes,
) -> std::result::Result<Digest, RegistryError> {
    let notes = Notes { store: pusher.engine.store(), repository: client.image().name() };
    for image in &cargo.images {
        let (mut jobs, sizes) = jobs(image, homes);
        jobs.iter_mut().for_each(|job| job.resume = notes.of(&job.blob));
        (pusher.events)(&PullEvent::Layers { count: image.layers.len() });
        let config = image.config.descriptor.digest;
        client.upload(jobs, LANES, &|digest, event| {
            notes.hear(digest, sizes.get(digest).copied().unwrap_or(0), event);
            // The configuration has a line of its own, below.
            if *digest != config {
                tell(pusher, digest, sizes.get(digest).copied().unwrap_or(0), event);
            }
        })?;
        (pusher.events)(&PullEvent::Registering { config: &config });
    }
    let top = cargo.top().map_or_else(|| Digest::of(b""), |top| top.digest);
    let tag = match pusher.request.by_digest {
        true => top.to_string(),
        false => client.image().tag().unwrap_or("latest").to_owned(),
    };
    let single = cargo.index.is_none();
    for image in cargo.images.iter().map(|image| &image.manifest) {
        let reference = if single { tag.clone() } else { image.digest.to_string() };
        client.put_manifest(&reference, &image.media_type, &image.bytes)?;
    }
    if let Some(index) = &cargo.index {
        client.put_manifest(&tag, &index.media_type, &index.bytes)?;
    }
    Ok(top)
}

/// Where uploads of large blobs go on, kept for a later command.
struct Notes<'a> {
    store: &'a Store,
    repository: String,
}

impl Notes<'_> {
    /// Where an earlier command had come to.
    fn of(&self, blob: &Blob) -> Option<String> {
        (blob.size >= WORTH_NOTING).then(|| self.store.upload_note(&self.repository, &blob.digest))?
    }

    fn hear(&self, digest: &Digest, size: u64, event: &Event<'_>) {
        match event {
            // Without the note a later push begins anew.
            Event::At(address) if size >= WORTH_NOTING => {
                self.store.set_upload_note(&self.repository, digest, address).ok();
            }
            Event::Done(_) if size >= WORTH_NOTING => self.store.forget_upload(&self.repository, digest),
            _ => {}
        }
    }
}

/// One job per blob, and the sizes by digest.
fn jobs(image: &Outgoing, homes: &Homes) -> (Vec<Upload>, BTreeMap<Digest, u64>) {
    let (mut jobs, mut sizes) = (Vec::new(), BTreeMap::new());
    for blob in image.layers.iter().chain([&image.config]) {
        let (digest, size) = (blob.descriptor.digest, blob.descriptor.size);
        // An image may have the same layer twice.
        if sizes.insert(digest, size).is_none() {
            let mount_from = homes.get(&digest).cloned().unwrap_or_default();
            jobs.push(Upload {
                blob: Blob { digest, size },
                file: blob.file.clone(),
                mount_from,
                resume: None,
            });
        }
    }
    (jobs, sizes)
}

fn tell(pusher: &Pusher<'_>, digest: &Digest, size: u64, event: &Event<'_>) {
    let event = match event {
        Event::Begins => PullEvent::Layer { digest, size, present: false },
        Event::Progress(bytes) => PullEvent::Progress { digest, bytes: *bytes },
        Event::Done(Outcome::Sent) => PullEvent::Unpacked { digest },
        Event::Done(_) => PullEvent::Layer { digest, size, present: true },
        Event::At(_) => return,
    };
    (pusher.events)(&event);
}

/// The other repositories of the registry that images of this store came from, by blob.
fn homes(pusher: &Pusher<'_>, image: &ImageRef) -> Result<Homes> {
    let mut homes = Homes::new();
    for record in pusher.engine.store().images().list()?.items {
        let repositories = record
            .repo_digests
            .iter()
            .filter(|name| name.registry() == image.registry() && name.repository() != image.repository());
        for repository in repositories.map(ImageRef::repository) {
            let blobs = record.manifests.iter().flat_map(|manifest| manifest.layers.iter().copied());
            for blob in blobs.chain([record.id]) {
                let known = homes.entry(blob).or_default();
                if !known.iter().any(|home| home == repository) {
                    known.push(repository.to_owned());
                }
            }
        }
    }
    Ok(homes)
}

/// The repositories that the token has to be good for.
fn others(homes: &Homes, cargo: &Cargo) -> Vec<String> {
    let blobs = cargo.images.iter().flat_map(|image| image.layers.iter().chain([&image.config]));
    let mut others: Vec<String> =
        blobs.filter_map(|blob| homes.get(&blob.descriptor.digest)?.first().cloned()).collect();
    others.order();
    others.dedup();
    others.truncate(MAX_OTHERS);
    others
}

/// Writes down that the image is known by its digest there, so that a later push can have its layers
/// taken over. Its absence costs nothing but that.
fn remember(pusher: &Pusher<'_>, record: &ImageRecord, image: &ImageRef, cargo: &Cargo) {
    let pushed = cargo.images.iter().map(|image| image.manifest.digest);
    let known: Vec<Digest> =
        pushed.filter(|digest| record.manifests.iter().any(|manifest| manifest.digest == *digest)).collect();
    // Docker's users look there for what they have pushed, which may be compressed and so have another digest.
    let top = cargo.top().filter(|_| pusher.engine.name_rule() == NameRule::Docker).map(|top| top.digest);
    let names = known.into_iter().chain(top).map(|digest| image.with_digest(digest));
    let mut fresh: Vec<ImageRef> = names.filter(|name| !record.repo_digests.contains(name)).collect();
    fresh.dedup();
    if fresh.is_empty() {
        return;
    }
    if let Ok(lock) = pusher.engine.lock() {
        let mut record = record.clone();
        record.repo_digests.extend(fresh);
        let written = pusher.engine.store().images().register(record, &lock);
        if let Err(err) = written {
            (pusher.events)(&PullEvent::Warning(&format!("the push was not written down: {err}")));
        }
    }
}
