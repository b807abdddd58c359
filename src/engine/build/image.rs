//! The end of a build: the target's state becomes an image, a directory or an archive.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use jiff::Timestamp;

use crate::base::digest::Digest;
use crate::base::manifest::Descriptor;
use crate::engine::build::fault::Fault;
use crate::engine::build::key::Key;
use crate::engine::build::provenance::Facts;
use crate::engine::build::request::{BuildEvent, Output};
use crate::engine::build::state::State;
use crate::engine::build::{Builder, Built, Result, inline_file};
use crate::engine::layer::LayerOptions;
use crate::engine::register::NewImage;
use crate::engine::save::{self, Save, SaveFormat};
use crate::engine::{Error, config};
use crate::runtime::copy;
use crate::runtime::failure::Failure;
use crate::runtime::layer::{self, Job, Source};
use crate::store::build_cache::CachedStep;

impl Builder<'_> {
    /// Makes what was asked for of the target stage.
    pub(super) fn finish(&mut self) -> Result<Built> {
        let state = self.done[self.plan.target].take();
        let state = state.ok_or_else(|| Fault::plain("the target stage was not built"))?;
        let request = self.request;
        for output in &request.outputs {
            match output {
                Output::Local(path) => self.export(&state, |archive| {
                    let path = config::directory()?.join(path);
                    std::fs::create_dir_all(&path)
                        .map_err(|err| Error::system(format!("make {}", path.display()), err))?;
                    let dir = open_directory(&path)?;
                    copy::unpack_into(dir, archive)
                        .map_err(|failure| Error::system("write the files", failure))
                })?,
                Output::Tar(path) => self.export(&state, |mut archive| {
                    let path = config::directory()?.join(path);
                    let written =
                        File::create(&path).and_then(|mut file| std::io::copy(&mut archive, &mut file));
                    written.map(drop).map_err(|err| Error::system("write the archive", err))
                })?,
                Output::Image | Output::Saved(..) | Output::Discard => {}
            }
        }
        if !request.makes_image() {
            self.export_caches(&state)?;
            return Ok(Built { id: None, manifest: None, facts: Facts::default() });
        }
        let built = self.image(state)?;
        for output in &request.outputs {
            if let Output::Saved(path, format) = output {
                self.save(&built, path, *format)?;
            }
        }
        Ok(built)
    }

    fn image(&mut self, mut state: State) -> Result<Built> {
        let request = self.request;
        for name in &request.unset_env {
            let prefix = format!("{name}=");
            state.document.config.env.retain(|entry| !entry.starts_with(&prefix));
        }
        for name in &request.unset_labels {
            state.document.config.labels.remove(name);
        }
        state.document.config.labels.extend(request.labels.clone());
        if request.squash_all {
            self.squash(&mut state)?;
        }
        if let Some(author) = &state.author {
            state.document.set_author(author);
        }
        if let Some(platform) = &request.platform {
            state.document.set_platform(platform);
        }
        if let Some(version) = &request.os_version {
            state.document.set("os.version", version.as_str());
        }
        if !request.os_features.is_empty() {
            state.document.set("os.features", request.os_features.clone());
        }
        let layers: Vec<Descriptor> = state.layers.iter().map(|(_, descriptor)| descriptor.clone()).collect();
        let added: Vec<Digest> =
            state.layers[state.base_layers..].iter().map(|(wanted, _)| wanted.diff_id).collect();
        for diff_id in &added {
            state.document.push_layer(diff_id);
        }
        let created = self.created(&state)?;
        let base = state.created.unwrap_or(created).min(created);
        if request.omit_history {
            state.document.set("history", serde_json::json!([]));
        } else {
            state.write_history(created, base);
        }
        state.document.set_created(created);
        self.put_cache_inline(&mut state);
        let mut image = NewImage::of(state.document.to_bytes(), &layers, request.form, &request.annotations);
        image.names.clone_from(&request.names);
        image.parent = state.base;
        self.event(&BuildEvent::Committing(&request.names));
        let manifest = Descriptor {
            media_type: request.form.manifest().to_owned(),
            digest: Digest::of(&image.manifest),
            size: image.manifest.len() as u64,
        };
        let names: Vec<Digest> = state.layers.iter().map(|(wanted, _)| wanted.name).collect();
        self.engine.store().layers().settle(&names)?;
        let id = self.engine.register_image(&image)?;
        self.engine.record_build(&id.hex());
        self.event(&BuildEvent::Made(&id, &manifest.digest, &request.names));
        self.export_caches(&state)?;
        Ok(Built { id: Some(id), manifest: Some(manifest), facts: Facts::default() })
    }

    /// When the image was made. One that an earlier build has made just so keeps its time, and so its ID.
    fn created(&mut self, state: &State) -> Result<Timestamp> {
        if self.request.times.epoch.is_some() {
            return Ok(self.now());
        }
        let mut key = Key::new("image");
        key.field("config", state.document.to_bytes());
        key.list("history", state.past.iter().map(|past| past.created_by.as_bytes()));
        key.field("form", self.request.form.manifest());
        let key = key.finish();
        let cache = self.engine.store().build_cache();
        let known = cache.step(&key).or_else(|| self.imported_step(&key).cloned());
        let step = match known.filter(|step| !self.request.no_cache && !self.is_stale(step.created)) {
            Some(known) => known,
            None => CachedStep::new(key, Timestamp::now(), "image".to_owned(), None),
        };
        cache.keep(&step)?;
        let created = step.created;
        self.used.push(step);
        Ok(created)
    }

    /// Writes a copy of the image to where `--output` says.
    fn save(&self, built: &Built, path: &Path, format: SaveFormat) -> Result<()> {
        let Some(id) = &built.id else { return Ok(()) };
        let names: Vec<String> = self.request.names.iter().map(ToString::to_string).collect();
        let chosen = [self.engine.choose_to_save(&id.to_string(), &names, None)?];
        let how = Save { format, compress: false, uncompressed: false };
        let path = config::directory()?.join(path);
        if format == SaveFormat::OciDir {
            return Ok(self.engine.save_directory(&chosen, &how, &path)?);
        }
        let file =
            File::create(&path).map_err(|err| Error::system(format!("create {}", path.display()), err))?;
        Ok(self.engine.save_archive(&chosen, &how, &mut save::Output::new(file))?)
    }

    /// Makes one layer of all.
    fn squash(&mut self, state: &mut State) -> Result<()> {
        let Some(source) = self.merged(state) else { return Ok(()) };
        let options =
            LayerOptions { clamp: self.request.times.epoch, squash: true, ..LayerOptions::default() };
        let failed = |failure: Failure| Error::system("squash the layers", failure);
        let mut layer = self.engine.layer_of_source(source, &options, &failed)?;
        let wanted = self.engine.add_layer(&[], &mut layer)?;
        state.document.clear_layers();
        state.layers = vec![(wanted, layer.descriptor.clone())];
        state.base_layers = 0;
        let now = self.now();
        let mut past = std::mem::take(&mut state.past);
        past.iter_mut().for_each(|past| past.layer = None);
        if past.is_empty() {
            state.note("squashed".to_owned(), Some(now));
        } else {
            if let Some(last) = past.last_mut() {
                last.layer = Some(now);
            }
            state.past = past;
        }
        self.held.push(layer);
        Ok(())
    }

    /// All files of a stage, as the source of one layer; `None` if there are none.
    fn merged(&self, state: &State) -> Option<Source> {
        let store = self.engine.store();
        let lowers: Vec<_> =
            state.layers.iter().rev().map(|(wanted, _)| store.layers().fs_path(&wanted.name)).collect();
        let upper = lowers.first()?.clone();
        Some(Source { upper, lowers, merged: true, id_maps: None, placeholders: vec![] })
    }

    /// Gives all files of a stage as an archive to `take`.
    fn export(&self, state: &State, take: impl FnOnce(File) -> crate::engine::Result<()>) -> Result<()> {
        let Some(source) = self.merged(state) else {
            // No layer: an archive with nothing in it.
            let empty = inline_file(&"\0".repeat(1024))?;
            let opened = File::open(empty.path()).map_err(|err| Error::system("read the files", err))?;
            return Ok(take(opened)?);
        };
        let failed = |failure: Failure| Fault::from(Error::system("read the files", failure));
        let job = Job::Pack { clamp: self.request.times.epoch, take_to: None };
        let (reading, pipe) =
            layer::start(&self.caller, self.engine.store().root(), source, job).map_err(failed)?;
        let taken = take(pipe);
        // Why nothing more comes is told better by the one who writes.
        reading.finish().map_err(failed)?;
        Ok(taken?)
    }
}

fn open_directory(path: &Path) -> crate::engine::Result<OwnedFd> {
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open(path, flags, rustix::fs::Mode::empty())
        .map_err(|errno| Error::system(format!("open {}", path.display()), std::io::Error::from(errno)))
}
