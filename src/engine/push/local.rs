//! Without a registry: into directories and archives.
//!
//! ```text
//! oci:          oci-layout, index.json, blobs/sha256/<hex>      images that are there stay
//! oci-archive:  the same in a tar file
//! dir:          manifest.json, version, <hex>, signature-<n>; of a list <hex>.manifest.json for each image
//! ```

use std::fs::File;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::base::digest::Digest;
use crate::engine::pull::PullEvent;
use crate::engine::push::outgoing::{OutBlob, OutManifest, Outgoing};
use crate::engine::push::{Cargo, Pushed, Pusher};
use crate::engine::save::oci::{LAYOUT, NAME, copy_blob, index};
use crate::engine::save::{Chosen, Output, Save, SaveFormat};
use crate::engine::transport::Place;
use crate::engine::{Error, Result};
use crate::registry::sigstore;
use crate::store::resolve::Resolved;

/// Writes all of `cargo` to a place that is no registry.
pub(super) fn push(
    pusher: &Pusher<'_>,
    found: Option<&Resolved>,
    cargo: &Cargo,
    place: &Place,
) -> Result<Pushed> {
    let top = cargo.top().ok_or_else(|| Error::invalid("there is nothing to push"))?;
    tell(pusher, cargo);
    match place {
        Place::Dir(path) => {
            let signature = signature(pusher, found, &top.digest)?;
            directory(cargo, &top.bytes, path, signature.as_deref())?;
        }
        Place::OciDir { path, name } => {
            let old = old_entries(path)?;
            let mut target = Target::Directory(path.clone());
            layout(cargo, top, name.as_deref(), old, &mut target)?;
        }
        Place::OciArchive { path, name } => replace(path, |file| {
            let mut target = Target::Archive(Output::new(file));
            layout(cargo, top, name.as_deref(), Vec::new(), &mut target)?;
            target.finish()
        })?,
        Place::DockerArchive { path, name } => {
            let found =
                found.ok_or_else(|| Error::invalid("docker-archive: holds images, and no lists of them"))?;
            // Without a name of its own, the archive has the one that the image was found by.
            let names = match name {
                Some(name) => vec![crate::engine::image::new_name(name, pusher.engine.name_rule())?],
                None => found.name.iter().filter(|name| name.digest().is_none()).cloned().collect(),
            };
            let chosen = Chosen::named(found.image.clone(), names);
            let how = Save { format: SaveFormat::DockerArchive, compress: false, uncompressed: false };
            replace(path, |file| pusher.engine.save_archive(&[chosen], &how, &mut Output::new(file)))?;
        }
        Place::Registry(_) | Place::Storage(_) => {
            return Err(Error::invalid("neither an archive nor a directory"));
        }
    }
    Ok(Pushed { digest: top.digest, there: None })
}

fn tell(pusher: &Pusher<'_>, cargo: &Cargo) {
    (pusher.events)(&PullEvent::Pushing);
    for image in &cargo.images {
        (pusher.events)(&PullEvent::Layers { count: image.layers.len() });
        for layer in &image.layers {
            let (digest, size) = (&layer.descriptor.digest, layer.descriptor.size);
            (pusher.events)(&PullEvent::Layer { digest, size, present: false });
        }
        (pusher.events)(&PullEvent::Registering { config: &image.config.descriptor.digest });
    }
}

/// Where the parts of a layout go.
enum Target {
    Directory(PathBuf),
    Archive(Output<'static>),
}

impl Target {
    fn document(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Directory(dir) => write(&dir.join(name), bytes),
            Self::Archive(out) => match out.is_new(name) {
                true => out.add(name, bytes),
                false => Ok(()),
            },
        }
    }

    fn blob(&mut self, blob: &OutBlob) -> Result<()> {
        let name = path_of(&blob.descriptor.digest);
        match self {
            Self::Directory(dir) => copy_blob(&fresh(blob)?, &dir.join(name)),
            Self::Archive(out) => match out.is_new(&name) {
                true => out.add_file(&name, &fresh(blob)?, blob.descriptor.size),
                false => Ok(()),
            },
        }
    }

    fn finish(&mut self) -> Result<()> {
        match self {
            Self::Directory(_) => Ok(()),
            Self::Archive(out) => out.finish(),
        }
    }
}

/// The blob's file, read from its start: other readers share the place in it.
fn fresh(blob: &OutBlob) -> Result<File> {
    use std::io::Seek;
    let file = blob.file.try_clone().and_then(|mut file| file.rewind().map(|()| file));
    file.map_err(|err| Error::system(format!("read blob {}", blob.descriptor.digest), err))
}

/// Where a blob lies in a layout.
fn path_of(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn layout(
    cargo: &Cargo,
    top: &OutManifest,
    name: Option<&str>,
    mut entries: Vec<Value>,
    target: &mut Target,
) -> Result<()> {
    match target {
        Target::Directory(dir) => {
            let blobs = dir.join("blobs/sha256");
            std::fs::create_dir_all(&blobs)
                .map_err(|err| Error::system(format!("create {}", blobs.display()), err))?;
        }
        // Without entries of their own skopeo wants to give them to root.
        Target::Archive(out) => {
            out.add_directory("blobs/")?;
            out.add_directory("blobs/sha256/")?;
        }
    }
    target.document("oci-layout", LAYOUT)?;
    for image in &cargo.images {
        image.layers.iter().chain([&image.config]).try_for_each(|blob| target.blob(blob))?;
        target.document(&path_of(&image.manifest.digest), &image.manifest.bytes)?;
    }
    if let Some(index) = &cargo.index {
        target.document(&path_of(&index.digest), &index.bytes)?;
    }
    let mut entry = json!({"mediaType": top.media_type, "digest": top.digest, "size": top.bytes.len()});
    if let Some(name) = name {
        entry["annotations"] = json!({NAME: name});
    }
    let same = |old: &Value| match name {
        Some(name) => old["annotations"][NAME].as_str() == Some(name),
        None => old["digest"] == entry["digest"] && old["annotations"][NAME].is_null(),
    };
    entries.retain(|old| !same(old));
    entries.push(entry);
    target.document("index.json", &index(&entries)?)
}

/// What the index of a layout lists already.
fn old_entries(dir: &Path) -> Result<Vec<Value>> {
    let path = dir.join("index.json");
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(err) => return Err(Error::system(format!("read {}", path.display()), err)),
    };
    let old: Value = serde_json::from_slice(&text)
        .map_err(|err| Error::invalid(path.display().to_string()).because(err))?;
    Ok(old["manifests"].as_array().cloned().unwrap_or_default())
}

/// The file with a signature, if one is wanted: it says that the image has the name it was found by.
fn signature(pusher: &Pusher<'_>, found: Option<&Resolved>, digest: &Digest) -> Result<Option<Vec<u8>>> {
    let Some(key) = &pusher.request.sign else { return Ok(None) };
    let name = found.and_then(|found| found.name.as_ref()).filter(|name| name.tag().is_some());
    let name = name.ok_or_else(|| {
        Error::invalid(format!("{}: a signature needs a name to sign", pusher.request.image))
            .hint("push it by its name")
    })?;
    let payload = sigstore::payload(name, digest);
    let signature = key.sign(&payload).map_err(|why| Error::system("sign the image", why))?;
    Ok(Some(sigstore::to_file(&payload, &signature)))
}

fn directory(cargo: &Cargo, top: &[u8], dir: &Path, signature: Option<&[u8]>) -> Result<()> {
    std::fs::create_dir_all(dir).map_err(|err| Error::system(format!("create {}", dir.display()), err))?;
    for Outgoing { manifest, config, layers, .. } in &cargo.images {
        for blob in layers.iter().chain([config]) {
            copy_blob(&fresh(blob)?, &dir.join(blob.descriptor.digest.hex()))?;
        }
        if cargo.index.is_some() {
            write(&dir.join(format!("{}.manifest.json", manifest.digest.hex())), &manifest.bytes)?;
        }
    }
    // Those of an image that was there before.
    for number in 1.. {
        match std::fs::remove_file(dir.join(sigstore::file_name(number))) {
            Ok(()) => {}
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => break,
            Err(err) => return Err(Error::system(format!("remove a signature in {}", dir.display()), err)),
        }
    }
    if let Some(signature) = signature {
        write(&dir.join(sigstore::file_name(1)), signature)?;
    }
    write(&dir.join("version"), b"Directory Transport Version: 1.1\n")?;
    write(&dir.join("manifest.json"), top)
}

/// Replaces a file of the user's by a new one, whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write;
    replace(path, |mut file| {
        file.write_all(bytes).map_err(|err| Error::system(format!("write {}", path.display()), err))
    })
}

fn replace(path: &Path, fill: impl FnOnce(File) -> Result<()>) -> Result<()> {
    let failed = |err| Error::system(format!("write {}", path.display()), err);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let staged = path.with_file_name(name);
    let filled = File::create(&staged).map_err(failed).and_then(fill);
    match filled {
        Ok(()) => std::fs::rename(&staged, path).map_err(failed),
        Err(err) => {
            // The first failure is the one to report.
            std::fs::remove_file(&staged).ok();
            Err(err)
        }
    }
}
