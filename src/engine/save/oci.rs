//! OCI layouts, in a tar or a directory.

use std::fs::File;
use std::path::Path;

use serde_json::{Value, json};

use crate::base::digest::Digest;
use crate::base::manifest::Form;
use crate::engine::save::{Output, Saved};
use crate::engine::{Engine, Error, Result};

/// The annotation that holds an image's name.
pub(in crate::engine) const NAME: &str = "org.opencontainers.image.ref.name";

/// What says that a directory is an OCI layout.
pub(in crate::engine) const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// The entries of `index.json` for an image: one for each name, or one without.
fn entries(image: &Saved) -> Vec<Value> {
    let entry = || {
        json!({
            "mediaType": image.manifest.media_type,
            "digest": Digest::of(&image.manifest_text).to_string(),
            "size": image.manifest_text.len(),
        })
    };
    if image.names.is_empty() {
        return vec![entry()];
    }
    let named = |name: &crate::base::image_ref::ImageRef| {
        let mut entry = entry();
        entry["annotations"] = json!({NAME: name.to_string()});
        entry
    };
    image.names.iter().map(named).collect()
}

/// The text of `index.json`.
pub(in crate::engine) fn index(entries: &[Value]) -> Result<Vec<u8>> {
    let index = json!({"schemaVersion": 2, "mediaType": Form::Oci.index(), "manifests": entries});
    serde_json::to_vec(&index).map_err(|err| Error::system("write down the index", err))
}

/// The documents of an image, by digest.
fn documents(image: &Saved) -> [(Digest, &[u8]); 2] {
    [(image.record.id, &image.config), (Digest::of(&image.manifest_text), &image.manifest_text)]
}

/// Where a layout has a blob.
pub(super) fn blob(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Writes an archive.
pub(super) fn archive(engine: &Engine, images: &[Saved], out: &mut Output<'_>) -> Result<()> {
    out.add("oci-layout", LAYOUT)?;
    out.add_directory("blobs/")?;
    out.add_directory("blobs/sha256/")?;
    for image in images {
        for layer in &image.manifest.layers {
            let name = blob(&layer.digest);
            if out.is_new(&name) {
                out.add_file(&name, &engine.open_layer(layer)?, layer.size)?;
            }
        }
        for (digest, text) in documents(image) {
            let name = blob(&digest);
            if out.is_new(&name) {
                out.add(&name, text)?;
            }
        }
    }
    let all: Vec<Value> = images.iter().flat_map(entries).collect();
    out.add("index.json", &index(&all)?)?;
    out.finish()
}

/// Writes into a directory. Images that are in it stay, unless they have the same name.
pub(super) fn directory(engine: &Engine, images: &[Saved], path: &Path) -> Result<()> {
    let system = |what: &str| {
        let what = format!("{what} {}", path.display());
        move |err: std::io::Error| Error::system(what, err)
    };
    let blobs = path.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).map_err(system("create"))?;
    let mut all: Vec<Value> = match std::fs::read(path.join("index.json")) {
        Ok(text) => {
            let old: Value = serde_json::from_slice(&text)
                .map_err(|err| Error::invalid(format!("{}: index.json", path.display())).because(err))?;
            old["manifests"].as_array().cloned().unwrap_or_default()
        }
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => vec![],
        Err(err) => return Err(system("read the index of")(err)),
    };
    for image in images {
        for layer in &image.manifest.layers {
            copy_blob(&engine.open_layer(layer)?, &blobs.join(layer.digest.hex()))?;
        }
        for (digest, text) in documents(image) {
            std::fs::write(blobs.join(digest.hex()), text).map_err(system("write to"))?;
        }
        for entry in entries(image) {
            let same = |old: &Value| match entry["annotations"][NAME].as_str() {
                Some(name) => old["annotations"][NAME].as_str() == Some(name),
                None => old["digest"] == entry["digest"],
            };
            all.retain(|old| !same(old));
            all.push(entry);
        }
    }
    std::fs::write(path.join("oci-layout"), LAYOUT).map_err(system("write to"))?;
    let staged = path.join(".index.json.new");
    std::fs::write(&staged, index(&all)?).map_err(system("write to"))?;
    std::fs::rename(&staged, path.join("index.json")).map_err(system("write to"))
}

/// Copies a blob to a file of the user's, unless it is there with the same length: its name is its digest.
pub(in crate::engine) fn copy_blob(blob: &File, to: &Path) -> Result<()> {
    let failed = |err: std::io::Error| Error::system(format!("write {}", to.display()), err);
    let length = blob.metadata().map_err(failed)?.len();
    if std::fs::metadata(to).is_ok_and(|there| there.len() == length) {
        return Ok(());
    }
    let staged = to.with_extension("new");
    let mut file = File::create(&staged).map_err(failed)?;
    std::io::copy(&mut &*blob, &mut file).map_err(failed)?;
    std::fs::rename(&staged, to).map_err(failed)
}
