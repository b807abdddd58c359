//! Docker's archive, and skopeo's directory.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::base::digest::Digest;
use crate::base::manifest::{Compression, Descriptor};
use crate::engine::save::oci::copy_blob;
use crate::engine::save::sink::Gap;
use crate::engine::save::{Output, Saved};
use crate::engine::{Engine, Error, Result};
use crate::store::unpack::decoder;

/// Writes `<diff ID>.tar`, `<image ID>.json`, `manifest.json` and, for old readers, `repositories`.
pub(super) fn archive(engine: &Engine, images: &[Saved], out: &mut Output<'_>) -> Result<()> {
    let (mut list, mut gaps) = (Vec::new(), Vec::new());
    let mut repositories: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for image in images {
        let mut layers = Vec::new();
        for (layer, diff_id) in image.manifest.layers.iter().zip(Engine::diff_ids(image)) {
            let name = format!("{}.tar", diff_id.hex());
            if out.is_new(&name) {
                gaps.extend(inflated(engine, layer, &diff_id, &name, out)?);
            }
            layers.push(name);
        }
        let config = format!("{}.json", image.record.id.hex());
        if out.is_new(&config) {
            out.add(&config, &image.config)?;
        }
        let rule = engine.name_rule();
        let names: Vec<String> = image.names.iter().map(|name| rule.shown(name)).collect();
        let top = Engine::diff_ids(image).last().unwrap_or(image.record.id).hex();
        for name in &image.names {
            let tags = repositories.entry(rule.shown(&name.without_reference())).or_default();
            tags.insert(name.tag().unwrap_or("latest").to_owned(), top.clone().into());
        }
        list.push(json!({"Config": config, "RepoTags": names, "Layers": layers}));
    }
    out.add("manifest.json", &serde_json::to_vec(&list).map_err(unwritten)?)?;
    if !repositories.is_empty() {
        out.add("repositories", &serde_json::to_vec(&repositories).map_err(unwritten)?)?;
    }
    out.finish()?;
    let store = engine.store();
    out.fill(gaps, |digest| {
        let blob = store.blobs().open(digest)?;
        Ok(Box::new(decoder(blob).map_err(|err| Error::system(format!("read layer {digest}"), err))?))
    })
}

fn unwritten(err: serde_json::Error) -> Error {
    Error::system("write down the manifest", err)
}

/// Adds a layer's archive, or the gap that is to be filled with it. Its header wants the length first: known
/// from unpacking, or found by inflating it twice.
fn inflated(
    engine: &Engine,
    layer: &Descriptor,
    diff_id: &Digest,
    name: &str,
    out: &mut Output<'_>,
) -> Result<Option<Gap>> {
    let system = |err| Error::system(format!("read layer {}", layer.digest), err);
    let open = || engine.open_layer(layer);
    if Compression::of_layer(&layer.media_type) == Some(Compression::None) && layer.digest == *diff_id {
        return out.add_file(name, &open()?, layer.size).map(|()| None);
    }
    let store = engine.store();
    let known = store.layers().list()?.items.into_iter().find(|known| known.diff_id == *diff_id);
    let length = match known.map_or(0, |known| known.archive_bytes) {
        0 => {
            let mut decoder = decoder(open()?).map_err(system)?;
            let mut buffer = vec![0; 256 << 10];
            let mut length = 0;
            loop {
                match decoder.read(&mut buffer).map_err(system)? {
                    0 => break length,
                    got => length += got as u64,
                }
            }
        }
        known => known,
    };
    // Opened here in any case: that it is missing is told before anything is written of it.
    let mut content = decoder(open()?).map_err(system)?;
    if out.is_seekable() {
        let at = out.reserve(name, length)?;
        return Ok(Some(Gap { name: name.to_owned(), at, length, blob: layer.digest }));
    }
    out.add_from(name, length, &mut content).map(|()| None)
}

/// Writes the blobs under their hex names, `manifest.json` and `version`.
pub(super) fn directory(engine: &Engine, image: &Saved, path: &Path) -> Result<()> {
    let system = |what: &str| {
        let what = format!("{what} {}", path.display());
        move |err: std::io::Error| Error::system(what, err)
    };
    std::fs::create_dir_all(path).map_err(system("create"))?;
    for layer in &image.manifest.layers {
        copy_blob(&engine.open_layer(layer)?, &path.join(layer.digest.hex()))?;
    }
    let write =
        |name: &str, content: &[u8]| std::fs::write(path.join(name), content).map_err(system("write to"));
    write(&image.record.id.hex(), &image.config)?;
    write("manifest.json", &image.manifest_text)?;
    write("version", b"Directory Transport Version: 1.1\n")
}
