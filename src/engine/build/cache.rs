//! Caches of elsewhere: in a registry, in a directory, or within an image.
//!
//! ```text
//! OCI manifest ─▶ configuration: {"steps": [CachedStep …]}      `type=registry`, `type=local`
//!              ╰▶ layers: the blobs that the steps made
//! image ─▶ configuration: … "ketch.buildcache.v1": [CachedStep …]    `type=inline`, and images that are here
//! ```
//!
//! Only the list is read when a build begins; a blob is fetched when a step is found whose layer is not
//! here. The keys of steps are those of the own cache (`key.rs`), so other builders' caches have none of them.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::base::digest::Digest;
use crate::base::image_ref::{DOCKER_HUB, ImageName, ImageRef};
use crate::base::manifest::{Document, Form, IndexEntry};
use crate::base::order::InOrder as _;
use crate::base::platform::Platform;
use crate::engine::artifact::{self, Fetching};
use crate::engine::build::request::BuildEvent;
use crate::engine::build::state::State;
use crate::engine::build::{Builder, Lane, Result};
use crate::engine::push::{self, PushRequest};
use crate::engine::register::MAX_DOCUMENT;
use crate::engine::remote::{Remote, RemoteOptions, Trouble};
use crate::engine::save::oci;
use crate::engine::trust::Trust;
use crate::engine::unpack::Wanted;
use crate::engine::{Engine, Error, Kind, config};
use crate::registry::blob::Blob;
use crate::registry::client::Client;
use crate::store::build_cache::{CachedLayer, CachedStep};
use crate::store::images::chain_ids;
use crate::store::staging;

/// Media type of the configuration of a cache.
const CONFIG_TYPE: &str = "application/vnd.ketch.buildcache.config.v1+json";

/// Where an image's configuration has the steps it was made by.
const INLINE: &str = "ketch.buildcache.v1";

/// Where a cache is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CachePlace {
    /// An image or a cache in a registry.
    Registry(String),
    /// An OCI layout.
    Directory(PathBuf),
    /// An image that is here, as docker's classic builder has it: nothing is fetched, and one that is not here is no cache.
    Image(String),
}

/// Where to keep the steps of a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CacheTarget {
    /// `None`: in the image itself.
    pub(crate) place: Option<CachePlace>,
    /// `mode=max`: steps of all stages, and not only of the one that becomes the image.
    pub(crate) all_stages: bool,
    /// A cache that cannot be written is no failure.
    pub(crate) may_fail: bool,
}

/// A cache whose list was read.
#[derive(Debug)]
pub(super) struct Imported {
    steps: HashMap<Digest, CachedStep>,
    place: CachePlace,
}

impl Builder<'_> {
    /// Reads the lists of the caches that the build may use. One that cannot be read is told and left out.
    pub(super) fn import_caches(&mut self) {
        if self.request.no_cache {
            return;
        }
        let request = self.request;
        for place in &request.cache_from {
            match read(self.engine, place, &request.pull.remote) {
                Ok(steps) => {
                    let steps = steps.into_iter().map(|step| (step.key, step)).collect();
                    self.imported.push(Imported { steps, place: place.clone() });
                }
                Err(err) => {
                    let text = format!("the cache {} is left out: {}", shown(place), err.whole());
                    self.event(&BuildEvent::Warning(&text));
                }
            }
        }
    }

    /// A step that a cache of elsewhere has.
    pub(super) fn imported_step(&self, key: &Digest) -> Option<&CachedStep> {
        self.imported.iter().find_map(|cache| cache.steps.get(key))
    }

    /// A step that was done before, here or elsewhere; its layer is here afterwards.
    pub(super) fn known_step(&mut self, lane: &Lane, key: &Digest) -> Result<Option<CachedStep>> {
        let store = self.engine.store();
        if let Some(step) = store.build_cache().step(key)
            && !self.is_stale(step.created)
            && step.layer.as_ref().map_or(Ok(true), |layer| is_here(self.engine, layer))?
        {
            return Ok(Some(step));
        }
        let Some(found) = self.imported.iter().position(|cache| cache.steps.contains_key(key)) else {
            return Ok(None);
        };
        let step = self.imported[found].steps[key].clone();
        if self.is_stale(step.created) {
            return Ok(None);
        }
        if let Some(layer) = &step.layer
            && let Err(err) = self.bring(lane, layer, &self.imported[found].place)
        {
            let text =
                format!("a step of the cache {} is done anew: {err}", shown(&self.imported[found].place));
            self.event(&BuildEvent::Warning(&text));
            return Ok(None);
        }
        self.engine.store().build_cache().keep(&step)?;
        Ok(Some(step))
    }

    /// Fetches and unpacks a layer on top of what the lane has.
    fn bring(&self, lane: &Lane, layer: &CachedLayer, place: &CachePlace) -> Result<(), Error> {
        let store = self.engine.store();
        let mut all = lane.state.wanted();
        all.push(Wanted { name: layer.chain_id, diff_id: layer.diff_id, blob: layer.blob });
        let diff_ids: Vec<Digest> = all.iter().map(|layer| layer.diff_id).collect();
        if chain_ids(&diff_ids).last() != Some(&layer.chain_id) {
            return Err(Error::invalid("it lies on other layers"));
        }
        {
            let _lock = store.lock_shared(&mut |_, _| {})?;
            self.pins.pin_blob(&layer.blob)?;
            self.pins.pin_layer(&layer.chain_id)?;
        }
        if store.blobs().length(&layer.blob)? != Some(layer.blob_bytes) {
            fetch(self.engine, place, layer, &self.request.pull.remote)?;
        }
        self.engine.unpack(&all, None)
    }

    /// With `type=inline`: the image says by which steps it was made.
    pub(super) fn put_cache_inline(&self, state: &mut State) {
        if self.request.cache_to.iter().any(|target| target.place.is_none()) {
            let steps: Vec<&CachedStep> = self.used_by(state, false);
            state.document.set(INLINE, json!(steps));
        }
    }

    /// The steps of this build, each once; without `all`, those of the image.
    fn used_by(&self, state: &State, all: bool) -> Vec<&CachedStep> {
        let of_image = |step: &CachedStep| {
            let layer = step.layer.as_ref();
            layer.is_none_or(|layer| state.layers.iter().any(|(wanted, _)| wanted.name == layer.chain_id))
        };
        let mut steps: Vec<&CachedStep> = self.used.iter().filter(|step| all || of_image(step)).collect();
        steps.order_by_key(|step| step.key);
        steps.dedup_by_key(|step| step.key);
        steps
    }

    /// Writes the caches that were asked for.
    pub(super) fn export_caches(&mut self, state: &State) -> Result<()> {
        let request = self.request;
        for target in &request.cache_to {
            let Some(place) = &target.place else { continue };
            if let Err(err) = self.export_to(state, place, target.all_stages) {
                if !target.may_fail {
                    return Err(err.into());
                }
                let text = format!("the cache {} was not written: {err}", shown(place));
                self.event(&BuildEvent::Warning(&text));
            }
        }
        Ok(())
    }

    fn export_to(&mut self, state: &State, place: &CachePlace, all: bool) -> Result<(), Error> {
        let steps = self.used_by(state, all);
        let mut layers: Vec<Value> = Vec::new();
        for layer in steps.iter().filter_map(|step| step.layer.as_ref()) {
            let digest = layer.blob.to_string();
            if !layers.iter().any(|known| known["digest"] == digest.as_str()) {
                layers
                    .push(json!({"mediaType": layer.media_type, "digest": digest, "size": layer.blob_bytes}));
            }
        }
        let blobs: Vec<Digest> =
            steps.iter().filter_map(|step| step.layer.as_ref().map(|layer| layer.blob)).collect();
        let text = json!({ "steps": steps }).to_string();
        let pins = staging::dir(self.engine.store())?;
        let config = artifact::pinned(self.engine.store(), &pins, text.as_bytes())?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": Form::Oci.manifest(),
            "config": {"mediaType": CONFIG_TYPE, "digest": config.to_string(), "size": text.len()},
            "layers": layers,
        });
        let manifest = manifest.to_string();
        let digest = artifact::pinned(self.engine.store(), &pins, manifest.as_bytes())?;
        match place {
            CachePlace::Registry(name) => {
                let request = PushRequest {
                    image: name.clone(),
                    destination: Some(name.clone()),
                    remote: self.request.pull.remote.clone(),
                    ..PushRequest::default()
                };
                let events = std::cell::RefCell::new(&mut *self.events);
                push::others::push_artifact(self.engine, name, &digest, &request, &|event| {
                    (events.borrow_mut())(&BuildEvent::Pull(event));
                })?;
                Ok(())
            }
            CachePlace::Directory(path) => {
                let all = blobs.iter().chain([&config, &digest]);
                write_layout(self.engine, path, all, (&digest, manifest.len()))
            }
            CachePlace::Image(_) => Err(Error::invalid("an image is no place to write a cache to")),
        }
    }
}

/// A cache as messages call it.
fn shown(place: &CachePlace) -> String {
    match place {
        CachePlace::Registry(name) | CachePlace::Image(name) => name.clone(),
        CachePlace::Directory(path) => path.display().to_string(),
    }
}

/// Whether a layer is in the store, with its blob.
pub(super) fn is_here(engine: &Engine, layer: &CachedLayer) -> Result<bool> {
    let store = engine.store();
    Ok(store.layers().has(&layer.chain_id) && store.blobs().has(&layer.blob)?)
}

/// Reads the list of a cache.
fn read(engine: &Engine, place: &CachePlace, options: &RemoteOptions) -> Result<Vec<CachedStep>, Error> {
    let config = match place {
        CachePlace::Image(name) => return of_image(engine, name),
        CachePlace::Directory(path) => read_layout(&config::directory()?.join(path))?,
        // An image that is here, which an earlier build has made.
        CachePlace::Registry(name) => match engine.image(name) {
            Ok(found) => engine.store().blobs().read_small(&found.image.id, MAX_DOCUMENT)?,
            Err(_) => reading(engine, name, options, config_of)?,
        },
    };
    steps_in(&config)
}

/// The steps that a configuration lists.
fn steps_in(config: &[u8]) -> Result<Vec<CachedStep>, Error> {
    let unusable = |err: serde_json::Error| Error::invalid("it is no cache of this program").because(err);
    let mut config: Value = serde_json::from_slice(config).map_err(unusable)?;
    let key = if config.get(INLINE).is_some() { INLINE } else { "steps" };
    match config.get_mut(key).map(Value::take) {
        Some(steps) => serde_json::from_value(steps).map_err(unusable),
        None => Ok(vec![]),
    }
}

/// The steps of an image that is here, with the blobs that its layers have here: on its way they may have been compressed anew.
fn of_image(engine: &Engine, name: &str) -> Result<Vec<CachedStep>, Error> {
    let image = match engine.image(name) {
        Err(err) if err.kind == Kind::NotFound => return Ok(vec![]),
        found => found?.image,
    };
    let layers = engine.image_layers(&image)?;
    let mut steps = steps_in(&engine.store().blobs().read_small(&image.id, MAX_DOCUMENT)?)?;
    steps.retain_mut(|step| {
        let Some(layer) = &mut step.layer else { return true };
        let Some((_, here)) = layers.iter().find(|(wanted, _)| wanted.name == layer.chain_id) else {
            return false;
        };
        (layer.blob, layer.blob_bytes, layer.media_type) = (here.digest, here.size, here.media_type.clone());
        true
    });
    Ok(steps)
}

/// Talks to the registry of `name`, or a mirror of it.
fn reading<T>(
    engine: &Engine,
    name: &str,
    options: &RemoteOptions,
    mut talk: impl FnMut(&Client<'_>, &ImageRef) -> Result<T, Trouble>,
) -> Result<T, Error> {
    let parsed: ImageName = name.parse().map_err(|err| Error::invalid(format!("{err}")))?;
    let image = parsed.on(DOCKER_HUB).with_default_tag();
    let remote = Remote::new(options, engine.conf())?;
    remote.reading("read", &image, &|_| {}, &|_| {}, |client| talk(client, &image))
}

/// The configuration of a cache or an image that policy.json allows; of several platforms, this machine's.
fn config_of(client: &Client<'_>, image: &ImageRef) -> Result<Vec<u8>, Trouble> {
    let mut fetched = client.manifest(&client.image().manifest_reference())?;
    let mut digests = vec![fetched.digest];
    if let Ok(Document::Index { entries, .. }) = Document::parse(&fetched.bytes, "")
        && let Some(best) = IndexEntry::choose(&entries, &Platform::host())
    {
        fetched = client.manifest(&best.descriptor.digest.to_string())?;
        digests.push(fetched.digest);
    }
    Trust::load()?.check(client, image, &digests)?;
    match config_blob(&fetched.bytes) {
        Some(blob) => Ok(client.small_blob(blob)?),
        None => Ok(b"{}".to_vec()),
    }
}

/// The configuration that a manifest names.
fn config_blob(manifest: &[u8]) -> Option<Blob> {
    let json: Value = serde_json::from_slice(manifest).ok()?;
    let digest = json["config"]["digest"].as_str()?.parse().ok()?;
    Some(Blob { digest, size: json["config"]["size"].as_u64()? })
}

/// Fetches the blob of a layer.
fn fetch(
    engine: &Engine,
    place: &CachePlace,
    layer: &CachedLayer,
    options: &RemoteOptions,
) -> Result<(), Error> {
    match place {
        CachePlace::Registry(name) => reading(engine, name, options, |client, _| {
            let blob = Blob { digest: layer.blob, size: layer.blob_bytes };
            Ok(client.blobs(vec![(blob, Fetching::new(engine.store(), layer.blob, &|_| {}))], 1)?)
        }),
        CachePlace::Directory(path) => {
            let path = blob_path(&config::directory()?.join(path), &layer.blob);
            let system = |err| Error::system(format!("read {}", path.display()), err);
            let mut file = fs::File::open(&path).map_err(system)?;
            let mut blob = engine.store().blobs().writer()?;
            let mut buffer = vec![0; 256 << 10];
            loop {
                let got = std::io::Read::read(&mut file, &mut buffer).map_err(system)?;
                if got == 0 {
                    break;
                }
                blob.append(&buffer[..got])?;
            }
            if blob.content_digest() != layer.blob {
                return Err(Error::invalid(format!("{} is not what its name says", path.display())));
            }
            blob.finish()?;
            Ok(())
        }
        CachePlace::Image(name) => Err(Error::not_found(format!("image {name} has lost a layer"))),
    }
}

fn blob_path(layout: &Path, digest: &Digest) -> PathBuf {
    layout.join("blobs/sha256").join(digest.hex())
}

/// Reads the configuration of the cache in an OCI layout.
fn read_layout(path: &Path) -> Result<Vec<u8>, Error> {
    let read = |path: PathBuf| -> Result<Vec<u8>, Error> {
        let file =
            fs::File::open(&path).map_err(|err| Error::system(format!("open {}", path.display()), err))?;
        super::context::read_file(file, &path)
    };
    let none = || Error::new(Kind::NotFound, format!("there is no cache in {}", path.display()));
    let index: Value = serde_json::from_slice(&read(path.join("index.json"))?).map_err(|_| none())?;
    let entry = index["manifests"].as_array().and_then(|entries| entries.last()).ok_or_else(none)?;
    let digest: Digest = entry["digest"].as_str().and_then(|d| d.parse().ok()).ok_or_else(none)?;
    let config = config_blob(&read(blob_path(path, &digest))?).ok_or_else(none)?;
    read(blob_path(path, &config.digest))
}

/// Writes an OCI layout with blobs of the store.
fn write_layout<'d>(
    engine: &Engine,
    path: &Path,
    blobs: impl Iterator<Item = &'d Digest>,
    (manifest, size): (&Digest, usize),
) -> Result<(), Error> {
    let path = config::directory()?.join(path);
    let written = |err| Error::system(format!("write {}", path.display()), err);
    fs::create_dir_all(path.join("blobs/sha256")).map_err(written)?;
    for blob in blobs {
        oci::copy_blob(&engine.store().blobs().open(blob)?, &blob_path(&path, blob))?;
    }
    let entry = json!({"mediaType": Form::Oci.manifest(), "digest": manifest.to_string(), "size": size});
    let index = oci::index(&[entry])?;
    fs::write(path.join("oci-layout"), oci::LAYOUT)
        .and_then(|()| fs::write(path.join("index.json"), index))
        .map_err(written)
}
