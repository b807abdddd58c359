//! Docker's archive, and skopeo's directory.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::base::digest::Digest;
use crate::base::image_document;
use crate::base::image_ref::{ImageRef, NameRule};
use crate::base::manifest::{Compression, Descriptor, Form};
use crate::engine::save::oci::{self, copy_blob};
use crate::engine::save::sink::Gap;
use crate::engine::save::{Output, Saved};
use crate::engine::{Engine, Error, Result};
use crate::store::unpack::decoder;

/// The annotation in which docker has an image's whole name; that of OCI then holds the tag alone.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// Writes `<diff ID>.tar`, `<image ID>.json`, `manifest.json` and, for old readers, `repositories`. By docker's rule
/// layers and configurations are blobs of an OCI layout, as docker has them since its version 25: programs that take
/// archives apart look for either form.
pub(super) fn archive(engine: &Engine, images: &[Saved], out: &mut Output<'_>) -> Result<()> {
    let rule = engine.name_rule();
    let is_layout = rule == NameRule::Docker;
    let place = |digest: &Digest, suffix: &str| match is_layout {
        true => oci::blob(digest),
        false => format!("{}{suffix}", digest.hex()),
    };
    let (mut list, mut gaps, mut entries) = (Vec::new(), Vec::new(), Vec::new());
    let mut lengths: BTreeMap<Digest, u64> = BTreeMap::new();
    let mut repositories: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for image in images {
        let mut layers = Vec::new();
        for (layer, diff_id) in image.manifest.layers.iter().zip(Engine::diff_ids(image)) {
            let name = place(&diff_id, ".tar");
            if out.is_new(&name) {
                let (length, gap) = inflated(engine, layer, &diff_id, &name, out)?;
                lengths.insert(diff_id, length);
                gaps.extend(gap);
            }
            layers.push(name);
        }
        let config = place(&image.record.id, ".json");
        if out.is_new(&config) {
            out.add(&config, &image.config)?;
        }
        if is_layout {
            entries.extend(in_layout(image, &lengths, out)?);
        }
        let names: Vec<String> = image.names.iter().map(|name| rule.shown(name)).collect();
        let top = Engine::diff_ids(image).last().unwrap_or(image.record.id).hex();
        for name in &image.names {
            let tags = repositories.entry(rule.shown(&name.without_reference())).or_default();
            tags.insert(name.tag().unwrap_or("latest").to_owned(), top.clone().into());
        }
        list.push(json!({"Config": config, "RepoTags": names, "Layers": layers}));
    }
    if is_layout {
        // Behind the layers: that one is missing is told before anything is written.
        out.add("oci-layout", oci::LAYOUT)?;
        out.add("index.json", &oci::index(&entries)?)?;
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

/// Adds an image's manifest to the layout. Returns what the index says of it.
fn in_layout(image: &Saved, lengths: &BTreeMap<Digest, u64>, out: &mut Output<'_>) -> Result<Vec<Value>> {
    let described = |digest: Digest, media_type: &str, size| Descriptor {
        media_type: media_type.to_owned(),
        digest,
        size,
    };
    let plain = Compression::None.layer_media_type(Form::Oci);
    let layers: Vec<_> = Engine::diff_ids(image)
        .map(|diff_id| described(diff_id, plain, lengths.get(&diff_id).copied().unwrap_or_default()))
        .collect();
    let config = described(image.record.id, Form::Oci.config(), image.config.len() as u64);
    let text = image_document::manifest(Form::Oci, &config, &layers, &BTreeMap::new());
    let digest = Digest::of(&text);
    let name = oci::blob(&digest);
    if out.is_new(&name) {
        out.add(&name, &text)?;
    }
    let entry = json!({"mediaType": Form::Oci.manifest(), "digest": digest.to_string(), "size": text.len()});
    let named = |name: &ImageRef| {
        let mut entry = entry.clone();
        entry["annotations"] =
            json!({CONTAINERD_NAME: name.to_string(), oci::NAME: name.tag().unwrap_or("latest")});
        entry
    };
    let named: Vec<Value> = image.names.iter().map(named).collect();
    Ok(if named.is_empty() { vec![entry] } else { named })
}

fn unwritten(err: serde_json::Error) -> Error {
    Error::system("write down the manifest", err)
}

/// Adds a layer's archive, or the gap that is to be filled with it. Its header wants the length first: known
/// from unpacking, or found by inflating it twice. Returns that length as well.
fn inflated(
    engine: &Engine,
    layer: &Descriptor,
    diff_id: &Digest,
    name: &str,
    out: &mut Output<'_>,
) -> Result<(u64, Option<Gap>)> {
    let system = |err| Error::system(format!("read layer {}", layer.digest), err);
    let open = || engine.open_layer(layer);
    if Compression::of_layer(&layer.media_type) == Some(Compression::None) && layer.digest == *diff_id {
        return out.add_file(name, &open()?, layer.size).map(|()| (layer.size, None));
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
        return Ok((length, Some(Gap { name: name.to_owned(), at, length, blob: layer.digest })));
    }
    out.add_from(name, length, &mut content).map(|()| (length, None))
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
