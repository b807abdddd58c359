//! `save`: images as archives and directories that others can read.
//!
//! ```text
//! ImageRecord ─▶ Saved: manifest, configuration, layers
//!                  ├─ docker-archive   layers inflated, manifest.json            (any Docker and podman)
//!                  ├─ oci-archive      blobs as they are, index.json, in a tar
//!                  ├─ oci-dir          the same as a directory
//!                  ╰─ docker-dir       blobs by their hex names, manifest.json   (skopeo's dir:)
//! ```
//!
//! Bytes that need not change do not: in OCI forms every digest of a pulled OCI image stays. Times and
//! owners in archives are zero, so that the same image makes the same archive.

mod docker;
pub(in crate::engine) mod oci;
mod sink;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use crate::base::digest::Digest;
use crate::base::image_document;
use crate::base::image_ref::{ImageRef, Purpose};
use crate::base::manifest::{Compression, Descriptor, Form, Manifest};
use crate::base::platform::Platform;
use crate::engine::layer::NewLayer;
use crate::engine::register::MAX_DOCUMENT;
use crate::engine::{Engine, Error, Result};
use crate::store::compress::How;
use crate::store::images::ImageRecord;
use crate::store::unpack::decoder;

pub(crate) use sink::Output;

/// The form of an archive or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SaveFormat {
    DockerArchive,
    OciArchive,
    OciDir,
    DockerDir,
}

/// How to save.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Save {
    pub(crate) format: SaveFormat,
    /// In a docker-dir: compress layers that are not.
    pub(crate) compress: bool,
    /// In OCI forms: leave layers uncompressed that are.
    pub(crate) uncompressed: bool,
}

/// One image to save, and its names there.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    record: ImageRecord,
    names: Vec<ImageRef>,
}

impl Chosen {
    /// An image with just these names.
    pub(in crate::engine) fn named(record: ImageRecord, names: Vec<ImageRef>) -> Self {
        Self { record, names }
    }
}

/// An image as it is written.
#[derive(Debug)]
struct Saved {
    config: Vec<u8>,
    /// Byte for byte.
    manifest_text: Vec<u8>,
    manifest: Manifest,
    names: Vec<ImageRef>,
    record: ImageRecord,
    /// Layers that were compressed for this; their blobs stay as long as this lives.
    _made: Vec<NewLayer>,
}

impl Engine {
    /// Finds images to save. One that was typed by several of its names is one image with all of them.
    ///
    /// # Errors
    ///
    /// As [`choose_to_save`](Self::choose_to_save).
    pub(crate) fn choose_several(
        &self,
        typed: &[String],
        platform: Option<&Platform>,
    ) -> Result<Vec<Chosen>> {
        let mut all: Vec<Chosen> = Vec::new();
        for typed in typed {
            let chosen = self.choose_to_save(typed, &[], platform)?;
            match all.iter_mut().find(|known| known.record.id == chosen.record.id) {
                None => all.push(chosen),
                Some(known) => {
                    let new: Vec<_> = chosen.names.into_iter().filter(|n| !known.names.contains(n)).collect();
                    known.names.extend(new);
                }
            }
        }
        Ok(all)
    }

    /// Finds an image to save by what was typed. It gets `further` names, and keeps the one it was found by:
    /// last, so that whoever loads the archive sees it first, as it is with podman.
    ///
    /// `platform` chooses among images of one name.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`](crate::engine::Kind::NotFound); for a further name that is none.
    pub(crate) fn choose_to_save(
        &self,
        typed: &str,
        further: &[String],
        platform: Option<&Platform>,
    ) -> Result<Chosen> {
        let found = self.image(typed)?;
        // The image for another platform goes out under the name that was typed.
        let record = match platform {
            None => found.image,
            Some(_) => self.image(&self.on_platform(typed, platform, Purpose::Read)?)?.image,
        };
        let mut names: Vec<ImageRef> = Vec::new();
        for name in further {
            let name = crate::engine::image::new_name(name, self.name_rule())?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let own = found.name.filter(|name| name.digest().is_none() && !names.contains(name));
        names.extend(own);
        Ok(Chosen { record, names })
    }

    /// Writes images as one archive to `output`. The caller has one thread.
    ///
    /// # Errors
    ///
    /// If a blob of an image is not kept, or `output` does not take it.
    pub(crate) fn save_archive(&self, images: &[Chosen], how: &Save, output: &mut Output<'_>) -> Result<()> {
        let saved = self.prepare(images, how)?;
        match how.format {
            SaveFormat::DockerArchive => docker::archive(self, &saved, output),
            _ => oci::archive(self, &saved, output),
        }?;
        output.flush().map_err(|err| Error::system("write the archive", err))
    }

    /// Writes images into the directory `path`.
    ///
    /// # Errors
    ///
    /// As [`save_archive`](Self::save_archive).
    pub(crate) fn save_directory(&self, images: &[Chosen], how: &Save, path: &Path) -> Result<()> {
        let saved = self.prepare(images, how)?;
        match (how.format, &saved[..]) {
            (SaveFormat::DockerDir, [one]) => docker::directory(self, one, path),
            (SaveFormat::DockerDir, _) => Err(Error::invalid("a docker-dir holds one image only")),
            _ => oci::directory(self, &saved, path),
        }
    }

    fn prepare(&self, images: &[Chosen], how: &Save) -> Result<Vec<Saved>> {
        images.iter().map(|image| self.prepare_one(image, how)).collect()
    }

    fn prepare_one(&self, image: &Chosen, how: &Save) -> Result<Saved> {
        let record = &image.record;
        let mut manifest = self.read_manifest(record)?;
        let stored = record.manifest().map(|stored| stored.digest).unwrap_or(record.id);
        let mut manifest_text = self.store().blobs().read_small(&stored, MAX_DOCUMENT)?;
        let config = self.store().blobs().read_small(&record.id, MAX_DOCUMENT)?;
        let (form, squeeze) = match how.format {
            // Its layers are written without compression, and its manifest not at all.
            SaveFormat::DockerArchive => (Form::of(&manifest.media_type), false),
            SaveFormat::OciArchive | SaveFormat::OciDir => (Form::Oci, !how.uncompressed),
            SaveFormat::DockerDir => (Form::Docker, how.compress),
        };
        let mut made = Vec::new();
        if squeeze {
            for layer in &mut manifest.layers {
                if Compression::of_layer(&layer.media_type) == Some(Compression::None) {
                    let compressed = self.compress_blob(layer)?;
                    *layer = compressed.descriptor.clone();
                    made.push(compressed);
                }
            }
        }
        if Form::of(&manifest.media_type) != form || !made.is_empty() {
            let descriptor = Descriptor {
                media_type: form.config().to_owned(),
                digest: record.id,
                size: config.len() as u64,
            };
            manifest_text = image_document::manifest(form, &descriptor, &manifest.layers, &BTreeMap::new());
            form.manifest().clone_into(&mut manifest.media_type);
        }
        let (names, record) = (image.names.clone(), record.clone());
        Ok(Saved { config, manifest_text, manifest, names, record, _made: made })
    }

    fn compress_blob(&self, layer: &Descriptor) -> Result<NewLayer> {
        // What its media type calls an archive may be a compressed one.
        let archive = decoder(self.open_layer(layer)?);
        let archive = archive.map_err(|err| Error::system(format!("read layer {}", layer.digest), err))?;
        self.layer_of_archive(archive, How::new(Compression::Gzip))
    }

    /// Opens the blob of a layer.
    fn open_layer(&self, layer: &Descriptor) -> Result<std::fs::File> {
        self.store().blobs().open(&layer.digest).map_err(|err| {
            let missing = err.is_not_found();
            let error = Error::from(err);
            if missing { error.hint("the image's layers are not kept; pull it again") } else { error }
        })
    }

    /// The diff IDs of an image, the lowest first.
    fn diff_ids(saved: &Saved) -> impl Iterator<Item = Digest> + '_ {
        saved.record.layers.iter().map(|layer| layer.diff_id)
    }
}
