//! What a container has changed, as a layer of a new image.
//!
//! ```text
//! upper ──runtime::layer──▶ archive ──store::compress──▶ blob        (pinned until something refers to it)
//!   │                                                      │ add_layer: chain ID of what lies below
//!   ├─ take: renamed ─────────────────────────────────▶ layers/<chain ID>
//!   ╰─ else: the blob is unpacked ────────────────────▶ layers/<chain ID>
//! ```
//!
//! For `commit` and `build`: [`Engine::commit_upper`], then [`Engine::add_layer`] on top of what the image
//! has, then [`Engine::register_image`](crate::engine::register).

use std::io::Read;

use crate::base::bytes::Bytes;
use crate::base::digest::Digest;
use crate::base::id::ContainerId;
use crate::base::manifest::{Compression, Descriptor, Form};
use crate::base::spec::Root;
use crate::engine::inspect::ContainerDetails;
use crate::engine::start::failed;
use crate::engine::unpack::Wanted;
use crate::engine::{Engine, Error, Kind, Result, state};
use crate::runtime::failure::Failure;
use crate::runtime::layer::{self, Change, ChangeKind, Job, PLACEHOLDERS, Packed, Source};
use crate::store::blobs::BlobWriter;
use crate::store::compress::{self, Archived, How};
use crate::store::images;
use crate::store::layers::{LayerRecord, StagedLayer};
use crate::store::staging::{self, Staged};

/// How a layer is made.
#[derive(Clone, Debug)]
pub(crate) struct LayerOptions {
    pub(crate) how: How,
    /// No file is younger than this, in seconds since 1970 (SOURCE_DATE_EPOCH).
    pub(crate) clamp: Option<i64>,
    /// The container is of no use afterwards: its files may become those of the layer. It must not run.
    pub(crate) take: bool,
    /// The whole root file system in one layer, and not only what was changed.
    pub(crate) squash: bool,
    /// Leave it to the caller to sync ([`Layers::settle`](crate::store::layers::Layers::settle)).
    pub(crate) unsynced: bool,
    /// Mount points that were made for this container and do not count while they are empty, beside
    /// [`PLACEHOLDERS`]; relative to the root.
    pub(crate) placeholders: Vec<Bytes>,
}

impl Default for LayerOptions {
    fn default() -> Self {
        Self {
            how: How::new(Compression::Gzip),
            clamp: None,
            take: false,
            squash: false,
            unsynced: false,
            placeholders: Vec::new(),
        }
    }
}

/// A layer that is in the store as a blob, and perhaps unpacked, but of no image yet. While this lives,
/// garbage collection spares it.
#[derive(Debug)]
pub(crate) struct NewLayer {
    /// Digest of the uncompressed archive.
    pub(crate) diff_id: Digest,
    /// The blob, with OCI's media type.
    pub(crate) descriptor: Descriptor,
    /// Length of the uncompressed archive.
    pub(crate) archive_bytes: u64,
    /// What is in it; zeros for an archive that others made.
    pub(crate) packed: Packed,
    /// The files, if they could be taken.
    taken: Option<StagedLayer>,
    unsynced: bool,
    pins: Staged,
}

impl NewLayer {
    /// True if nothing was changed.
    pub(crate) fn is_empty(&self) -> bool {
        self.packed.entries == 0
    }
}

impl Engine {
    /// Makes a layer of what a container has changed. It may run, unless its files are to be taken.
    ///
    /// # Errors
    ///
    /// [`Kind::Invalid`] for a container without layers (`--rootfs`), [`Kind::Conflict`] if it is to be
    /// taken and runs; what cannot be read or written.
    pub(crate) fn commit_upper(&self, id: &ContainerId, options: &LayerOptions) -> Result<NewLayer> {
        let (details, _still) = self.hold_container(id)?;
        if options.take && details.status.phase.is_running() {
            return Err(Error::new(Kind::Conflict, format!("container {} is running", id.short())));
        }
        let source = self.layer_source(&details, options)?;
        let layer = self.layer_of_source(source, options, &|err| failed(err, id));
        // Nothing keeps one that runs: what was read while it was removed is not all that it had.
        if self.store().containers().exists(id) { layer } else { Err(state::gone(id)) }
    }

    /// Makes a layer of a directory with changes.
    ///
    /// # Errors
    ///
    /// What cannot be read or written; `failed` says whose it was.
    pub(crate) fn layer_of_source(
        &self,
        source: Source,
        options: &LayerOptions,
        failed: &dyn Fn(Failure) -> Error,
    ) -> Result<NewLayer> {
        // What was unpacked for another map, or has other times, is not what the archive would give.
        let own_ids = source.id_maps.is_none();
        let take = options.take && own_ids && options.clamp.is_none() && !options.squash;
        let staged = if take { Some(self.store().layers().stage()?) } else { None };
        let job = Job::Pack { clamp: options.clamp, take_to: staged.as_ref().map(StagedLayer::fs_path) };
        let (reading, pipe) =
            layer::start(&self.caller(), self.store().root(), source, job).map_err(failed)?;
        let mut blob = self.store().blobs().writer()?;
        let archived = compress::store(pipe, &mut blob, options.how);
        let packed = reading.finish().map_err(failed);
        // What the store does not take is why the one who writes the archive meets a broken pipe; why it ends too early is
        // told better by that one.
        let (packed, archived) = match archived {
            Ok(Err(err)) => return Err(err.into()),
            Ok(Ok(archived)) => (packed?, archived),
            Err(err) => return Err(packed.err().unwrap_or_else(|| Error::system("read the layer", err))),
        };
        let taken = staged.filter(|_| packed.taken);
        self.pin_layer(blob, archived, options.how, packed, (taken, options.unsynced))
    }

    /// Stores an archive that others made as a layer: `import`, `ADD` of an archive as it is.
    ///
    /// # Errors
    ///
    /// If it cannot be read or stored. What is in it is seen only when it is unpacked.
    pub(crate) fn layer_of_archive(&self, archive: impl Read, how: How) -> Result<NewLayer> {
        let mut blob = self.store().blobs().writer()?;
        let archived = compress::store(archive, &mut blob, how);
        let archived = archived.map_err(|err| Error::system("read the archive", err))??;
        self.pin_layer(blob, archived, how, Packed::default(), (None, false))
    }

    fn pin_layer(
        &self,
        blob: BlobWriter,
        archived: Archived,
        how: How,
        packed: Packed,
        (taken, unsynced): (Option<StagedLayer>, bool),
    ) -> Result<NewLayer> {
        if !unsynced {
            blob.sync()?;
        }
        let pins = staging::dir(self.store())?;
        // Without the lock, a collection could take the blob away before it is pinned.
        let lock = self.store().lock_shared(&mut |_, _| {})?;
        let (digest, size) = blob.finish()?;
        pins.pin_blob(&digest)?;
        drop(lock);
        let media_type = how.compression.layer_media_type(Form::Oci).to_owned();
        let descriptor = Descriptor { media_type, digest, size };
        Ok(NewLayer {
            diff_id: archived.diff_id,
            descriptor,
            archive_bytes: archived.archive_bytes,
            packed,
            taken,
            unsynced,
            pins,
        })
    }

    /// Puts a new layer on top of `below`, the lowest first, which are all there: afterwards containers
    /// can be made from it. Returns what it is called there.
    ///
    /// # Errors
    ///
    /// If it cannot be unpacked.
    pub(crate) fn add_layer(&self, below: &[Wanted], layer: &mut NewLayer) -> Result<Wanted> {
        let store = self.store();
        let mut diff_ids: Vec<Digest> = below.iter().map(|layer| layer.diff_id).collect();
        diff_ids.push(layer.diff_id);
        let Some(name) = images::chain_ids(&diff_ids).pop() else {
            return Err(Error::invalid("an image without layers"));
        };
        let wanted = Wanted { name, diff_id: layer.diff_id, blob: layer.descriptor.digest };
        {
            let _lock = store.lock_shared(&mut |_, _| {})?;
            layer.pins.pin_layer(&name)?;
        }
        match layer.taken.take() {
            Some(_) if store.layers().has(&name) => {}
            Some(taken) => {
                let record = LayerRecord {
                    version: 1,
                    chain_id: name,
                    parent: below.last().map(|below| below.name),
                    diff_id: layer.diff_id,
                    blob: layer.descriptor.digest,
                    blob_bytes: layer.descriptor.size,
                    archive_bytes: layer.archive_bytes,
                    size_bytes: layer.packed.size_bytes,
                    entries: layer.packed.entries,
                    skipped_devices: vec![],
                    rest: serde_json::Map::new(),
                };
                if layer.unsynced {
                    store.layers().publish_unsynced(taken, record)?;
                } else {
                    store.layers().publish(vec![(taken, record)])?;
                }
            }
            None => {
                let mut all = below.to_vec();
                all.push(wanted);
                self.unpack(&all, None)?;
            }
        }
        Ok(wanted)
    }

    /// What a container has changed.
    ///
    /// # Errors
    ///
    /// As [`commit_upper`](Self::commit_upper).
    pub(crate) fn container_changes(&self, id: &ContainerId) -> Result<Vec<Change>> {
        let (details, _still) = self.hold_container(id)?;
        let source = self.layer_source(&details, &LayerOptions::default())?;
        self.changes(source, Job::List).map_err(|err| failed(err, id))
    }

    /// What the topmost layer of an image changes.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`].
    pub(crate) fn image_changes(&self, typed: &str) -> Result<Vec<Change>> {
        let image = self.image(typed)?.image;
        let mut lowers: Vec<_> =
            image.chain_ids().iter().rev().map(|chain| self.store().layers().fs_path(chain)).collect();
        if lowers.is_empty() {
            return Ok(vec![]);
        }
        let upper = lowers.remove(0);
        let source = Source { upper, lowers, merged: false, id_maps: None, placeholders: vec![] };
        self.changes(source, Job::List).map_err(|err| Error::system(format!("read image {typed}"), err))
    }

    /// What image `typed` has, or has otherwise, compared with image `other`.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`].
    pub(crate) fn compare_images(&self, typed: &str, other: &str) -> Result<Vec<Change>> {
        self.compare(typed, self.image_tree(typed)?, self.image_tree(other)?)
    }

    /// As [`compare_images`](Self::compare_images); a container of either name goes before an image.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`].
    pub(crate) fn compare_either(&self, typed: &str, other: &str) -> Result<Vec<Change>> {
        let tree = |typed: &str| match self.container(typed) {
            Ok(id) => {
                let details = self.inspect_container(&id, typed)?;
                let mut tree = self.layer_source(&details, &LayerOptions::default())?;
                tree.lowers.insert(0, tree.upper.clone());
                tree.merged = true;
                Ok(tree)
            }
            Err(err) if err.kind == Kind::NotFound => self.image_tree(typed),
            Err(err) => Err(err),
        };
        self.compare(typed, tree(typed)?, tree(other)?)
    }

    /// The layers of an image, the topmost first, as one tree.
    fn image_tree(&self, typed: &str) -> Result<Source> {
        let chain = self.image(typed)?.image.chain_ids();
        let lowers: Vec<_> = chain.iter().rev().map(|chain| self.store().layers().fs_path(chain)).collect();
        let upper = lowers.first().cloned().unwrap_or_default();
        Ok(Source { upper, lowers, merged: true, id_maps: None, placeholders: vec![] })
    }

    fn compare(&self, typed: &str, mut source: Source, with: Source) -> Result<Vec<Change>> {
        if source.lowers.is_empty() {
            return Ok(vec![]);
        }
        let placeholders: Vec<Bytes> = source.placeholders.drain(..).chain(with.placeholders).collect();
        let mut changes = self
            .changes(source, Job::Compare { with: with.lowers })
            .map_err(|err| Error::system(format!("compare {typed}"), err))?;
        // What ketch puts into a container is no difference on either side.
        changes.retain(|change| {
            let path = change.path.as_bytes().strip_prefix(b"/").unwrap_or_default();
            change.kind == ChangeKind::Changed || !placeholders.iter().any(|known| known.as_bytes() == path)
        });
        Ok(changes)
    }

    fn changes(
        &self,
        source: Source,
        job: Job,
    ) -> std::result::Result<Vec<Change>, crate::runtime::failure::Failure> {
        let (reading, pipe) = layer::start(&self.caller(), self.store().root(), source, job)?;
        let changes = layer::read_changes(pipe);
        reading.finish()?;
        changes.map_err(|err| crate::runtime::failure::Failure::errno("read the changes", err))
    }

    fn layer_source(&self, details: &ContainerDetails, options: &LayerOptions) -> Result<Source> {
        let Root::Layers(layers) = &details.spec.root else {
            return Err(Error::invalid("cannot commit a container that uses an exploded rootfs"));
        };
        let mut lowers: Vec<_> =
            layers.iter().rev().map(|layer| self.store().layers().fs_path(layer)).collect();
        let upper = details.dir.join("upper");
        let mut placeholders: Vec<Bytes> = PLACEHOLDERS.iter().map(|path| Bytes::from(*path)).collect();
        placeholders.extend(options.placeholders.iter().cloned());
        if options.squash {
            // The image's own empty directories count.
            placeholders.clear();
            lowers.insert(0, upper.clone());
        }
        Ok(Source { upper, lowers, merged: options.squash, id_maps: details.id_maps.clone(), placeholders })
    }

    /// The layers of a local image as [`add_layer`](Self::add_layer) takes them, with the descriptors of
    /// their blobs.
    ///
    /// # Errors
    ///
    /// If its manifest or the blobs of its layers are not kept.
    pub(crate) fn image_layers(&self, image: &images::ImageRecord) -> Result<Vec<(Wanted, Descriptor)>> {
        let manifest = self.read_manifest(image)?;
        let pairs = image.layers.iter().zip(manifest.layers);
        Ok(pairs
            .map(|(layer, descriptor)| {
                let wanted = Wanted { name: layer.chain_id, diff_id: layer.diff_id, blob: descriptor.digest };
                (wanted, descriptor)
            })
            .collect())
    }
}
