//! What a step has made: taken from the cache, or made a layer and kept there.

use crate::base::bytes::Bytes;
use crate::base::digest::Digest;
use crate::base::manifest::{Compression, Descriptor};
use crate::engine::Error;
use crate::engine::build::cache::is_here;
use crate::engine::build::request::BuildEvent;
use crate::engine::build::{Builder, Lane, Result};
use crate::engine::layer::LayerOptions;
use crate::engine::unpack::Wanted;
use crate::runtime::layer::Source;
use crate::store::build_cache::{CachedLayer, CachedStep};
use crate::store::compress::How;
use crate::store::staging::{self, Staged};

impl Builder<'_> {
    /// Takes a step from the cache; false if it is not there, or not wanted from there.
    pub(super) fn take_cached(&mut self, lane: &mut Lane, key: Digest, created_by: &str) -> Result<bool> {
        let stage = &self.plan.stages[lane.stage];
        let filtered =
            |name: &String| name.eq_ignore_ascii_case(&stage.name) || *name == stage.number.to_string();
        if self.request.no_cache || lane.open.is_some() || self.request.no_cache_filter.iter().any(filtered) {
            return Ok(false);
        }
        let store = self.engine.store();
        let Some(step) = self.known_step(lane, &key)? else { return Ok(false) };
        if let Some(layer) = &step.layer {
            // Under the lock it cannot be collected between the look and the pin.
            let _lock = store.lock_shared(&mut |_, _| {})?;
            if !is_here(self.engine, layer)? {
                return Ok(false);
            }
            self.pins.pin_layer(&layer.chain_id)?;
            self.pins.pin_blob(&layer.blob)?;
        }
        store.build_cache().touch(&key);
        self.used.push(step.clone());
        let created = step.layer.as_ref().map(|_| step.created);
        if let Some(layer) = step.layer {
            let wanted = Wanted { name: layer.chain_id, diff_id: layer.diff_id, blob: layer.blob };
            let descriptor =
                Descriptor { media_type: layer.media_type, digest: layer.blob, size: layer.blob_bytes };
            lane.state.push((wanted, descriptor));
        }
        lane.state.note(created_by.to_owned(), created);
        let name = lane.name.clone();
        self.event(&BuildEvent::Cached(&name));
        Ok(true)
    }

    /// Makes a layer of what a step has changed, and keeps it for later builds. `placeholders` are mount points that
    /// the step had: empty ones are no change.
    pub(super) fn finish_step(
        &mut self,
        lane: &mut Lane,
        key: Digest,
        created_by: String,
        directory: Staged,
        placeholders: Vec<Bytes>,
        link: bool,
    ) -> Result<()> {
        let created = self.now();
        if lane.open.is_some() || self.request.single_layer {
            lane.open = Some(directory);
            lane.placeholders.extend(placeholders);
            lane.state.note(created_by, None);
            let name = lane.name.clone();
            self.event(&BuildEvent::Done(&name, None));
            return Ok(());
        }
        let lowers = if link { vec![] } else { lane.base_names() };
        let layer = self.layer(lane, &directory, &lowers, placeholders)?;
        self.scratch.push(directory);
        let cached = layer.map(|(layer, cached)| {
            lane.state.push(layer);
            cached
        });
        let chain = cached.as_ref().map(|layer| layer.chain_id);
        lane.state.note(created_by, cached.as_ref().map(|_| created));
        let description = lane.name.text.clone();
        let step = CachedStep::new(key, created, description, cached);
        self.engine.store().build_cache().keep(&step)?;
        self.used.push(step);
        let name = lane.name.clone();
        self.event(&BuildEvent::Done(&name, chain));
        Ok(())
    }

    /// The layer of an upper directory, on top of what the stage has; `None` if nothing was changed.
    fn layer(
        &mut self,
        lane: &Lane,
        directory: &Staged,
        lowers: &[Digest],
        placeholders: Vec<Bytes>,
    ) -> Result<Option<((Wanted, Descriptor), CachedLayer)>> {
        let source = Source {
            upper: directory.path().join("upper"),
            lowers: lowers.iter().rev().map(|layer| self.engine.store().layers().fs_path(layer)).collect(),
            merged: false,
            id_maps: None,
            placeholders,
        };
        let options = LayerOptions {
            clamp: self.request.times.epoch,
            take: true,
            unsynced: true,
            ..LayerOptions::default()
        };
        let options = match self.request.uncompressed {
            true => LayerOptions { how: How::new(Compression::None), ..options },
            false => options,
        };
        let failed = |failure: crate::runtime::failure::Failure| Error::system("make a layer", failure);
        let mut layer = self.engine.layer_of_source(source, &options, &failed)?;
        if layer.is_empty() {
            return Ok(None);
        }
        let size_bytes = layer.packed.size_bytes;
        let wanted = self.engine.add_layer(&lane.state.wanted(), &mut layer)?;
        let descriptor = layer.descriptor.clone();
        self.held.push(layer);
        let cached = CachedLayer {
            chain_id: wanted.name,
            diff_id: wanted.diff_id,
            blob: descriptor.digest,
            blob_bytes: descriptor.size,
            media_type: descriptor.media_type.clone(),
            size_bytes,
        };
        Ok(Some(((wanted, descriptor), cached)))
    }

    /// The end of a stage that is one layer.
    pub(super) fn close(&mut self, lane: &mut Lane, open: Staged) -> Result<()> {
        let lowers = lane.below.clone();
        let placeholders = std::mem::take(&mut lane.placeholders);
        let layer = self.layer(lane, &open, &lowers, placeholders)?;
        self.scratch.push(open);
        let created = self.now();
        if let Some((layer, _)) = layer {
            lane.state.push(layer);
            if let Some(last) = lane.state.past.last_mut() {
                last.layer = Some(created);
            } else {
                lane.state.note("squashed".to_owned(), Some(created));
            }
        }
        lane.below.clear();
        Ok(())
    }

    /// The directory that the next step of a lane works in.
    pub(super) fn directory_of(&mut self, lane: &mut Lane) -> Result<Staged> {
        match lane.open.take() {
            Some(open) => Ok(open),
            None => self.step_directory(&lane.base_names()),
        }
    }

    /// A directory with `upper`, `work` and `over`; the upper one looks like the root below it.
    pub(super) fn step_directory(&self, below: &[Digest]) -> Result<Staged> {
        use std::os::unix::fs::PermissionsExt as _;
        let staged = staging::dir(self.engine.store())?;
        for name in ["upper", "work", "over"] {
            drop(staged.subdir(name)?);
        }
        let top = below.last().map(|top| self.engine.store().layers().fs_path(top));
        let mode = top
            .and_then(|top| std::fs::metadata(top).ok())
            .map_or(0o755, |top| top.permissions().mode() & 0o7777);
        std::fs::set_permissions(staged.path().join("upper"), std::fs::Permissions::from_mode(mode))
            .map_err(|err| Error::system("prepare the upper directory", err))?;
        Ok(staged)
    }
}
