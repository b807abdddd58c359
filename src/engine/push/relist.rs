//! A manifest list that goes out in another form: its images converted, or once more in another compression.
//!
//! ```text
//! index, images ─convert─▶ images' ─┐
//!          └──── once more in zstd ─┴▶ index': digests, sizes, media types, what is zstd marked and last
//! ```
//!
//! # Source
//!
//! The annotation is that of containers/image: older clients, which do not know it, take the first entry that
//! fits their platform, and that is one that they can read.

use serde_json::{Value, json};

use crate::base::digest::Digest;
use crate::base::manifest::{Compression, Form};
use crate::base::order::InOrder as _;
use crate::engine::push::outgoing::{OutManifest, Outgoing};
use crate::engine::push::{LayerFormat, ManifestFormat, Wishes, convert};
use crate::engine::{Error, Kind, Result};
use crate::store::Store;

/// Marks an image whose layers are zstd's.
const ZSTD: &str = "io.github.containers.compression.zstd";

/// One image of a list.
pub(super) struct Listed {
    /// Its entry in the index.
    pub(super) entry: Value,
    pub(super) image: Outgoing,
    /// An artifact has no layers to compress.
    pub(super) is_artifact: bool,
}

/// Converts a list and its images as wished, and adds the images in `further` compressions, where they are not
/// in them already. `again` gives an image once more.
///
/// # Errors
///
/// [`Kind::Invalid`] for wishes that exclude each other; if a layer cannot be read or the disk is full.
pub(super) fn relist(
    store: &Store,
    index: &OutManifest,
    listed: Vec<Listed>,
    (wishes, further): (Wishes, &[LayerFormat]),
    again: impl Fn(&Digest) -> Result<Outgoing>,
) -> Result<(OutManifest, Vec<Outgoing>)> {
    if wishes.format == Some(ManifestFormat::DockerV2) && !further.is_empty() {
        return Err(Error::new(Kind::Invalid, "a list of the format v2s2 has no further compressions")
            .hint("leave --format out, or take --format oci"));
    }
    let plan = |wishes| convert::Plan { wishes, compress_plain: false };
    let (mut entries, mut images) = (Vec::new(), Vec::new());
    let mut present: Vec<(Value, Option<Compression>)> = Vec::new();
    let mut sources = Vec::new();
    for Listed { entry, image, is_artifact } in listed {
        let source = image.manifest.digest;
        let image = if is_artifact { image } else { convert::convert(store, image, &plan(wishes))? };
        present.push((entry["platform"].clone(), compression(&image)));
        entries.push(entry_of(entry.clone(), &image));
        images.push(image);
        if !is_artifact {
            sources.push((entry, source));
        }
    }
    for format in further {
        let wanted = match format {
            LayerFormat::Gzip => Compression::Gzip,
            LayerFormat::Zstd | LayerFormat::ZstdChunked => Compression::Zstd,
        };
        for (entry, source) in &sources {
            let platform = &entry["platform"];
            if present.iter().any(|(known, now)| known == platform && *now == Some(wanted)) {
                continue;
            }
            let wishes = Wishes { compression: Some(*format), force: false, ..wishes };
            let image = convert::convert(store, again(source)?, &plan(wishes))?;
            present.push((platform.clone(), Some(wanted)));
            entries.push(entry_of(entry.clone(), &image));
            images.push(image);
        }
    }
    entries.order_by_key(|entry| entry["annotations"][ZSTD] == "true");
    Ok((write(index, entries, wishes.format)?, images))
}

/// How all layers of an image are compressed; `None` if they differ, or if there are none.
fn compression(image: &Outgoing) -> Option<Compression> {
    let mut kinds = image.layers.iter().map(|layer| Compression::of_layer(&layer.descriptor.media_type));
    let first = kinds.next()??;
    kinds.all(|kind| kind == Some(first)).then_some(first)
}

/// The entry of an image as it goes out.
fn entry_of(mut entry: Value, image: &Outgoing) -> Value {
    entry["mediaType"] = json!(image.manifest.media_type);
    entry["digest"] = json!(image.manifest.digest);
    entry["size"] = json!(image.manifest.bytes.len());
    if let Some(all) = entry.get_mut("annotations").and_then(Value::as_object_mut) {
        all.shift_remove(ZSTD);
    }
    if compression(image) == Some(Compression::Zstd) {
        entry["annotations"][ZSTD] = json!("true");
    } else if entry["annotations"].as_object().is_some_and(serde_json::Map::is_empty)
        && let Some(entry) = entry.as_object_mut()
    {
        entry.shift_remove("annotations");
    }
    entry
}

/// The index with other entries, as OCI's or Docker's.
fn write(index: &OutManifest, entries: Vec<Value>, format: Option<ManifestFormat>) -> Result<OutManifest> {
    let mut document: Value = serde_json::from_slice(&index.bytes)
        .map_err(|err| Error::new(Kind::System, format!("read index {}: {err}", index.digest)))?;
    let entries = Value::from(entries);
    let unchanged = document["manifests"] == entries;
    document["manifests"] = entries;
    let media_type = match format {
        None => index.media_type.clone(),
        Some(ManifestFormat::Oci) => Form::Oci.index().to_owned(),
        Some(ManifestFormat::DockerV2) => Form::Docker.index().to_owned(),
    };
    if unchanged && media_type == index.media_type {
        return Ok(index.clone());
    }
    document["mediaType"] = json!(media_type);
    if format == Some(ManifestFormat::DockerV2) {
        // Docker's form knows neither of these.
        let entries = document["manifests"].as_array_mut().into_iter().flatten().collect::<Vec<_>>();
        for entry in entries.into_iter().filter_map(Value::as_object_mut) {
            entry.shift_remove("annotations");
            entry.shift_remove("artifactType");
        }
        if let Some(document) = document.as_object_mut() {
            for key in ["annotations", "artifactType", "subject"] {
                document.shift_remove(key);
            }
        }
    }
    let bytes = document.to_string().into_bytes();
    Ok(OutManifest { digest: Digest::of(&bytes), media_type, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_in_the_words_of_docker() {
        let index = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "subject": {"digest": "x"},
            "manifests": [], "annotations": {"a": "b"},
        });
        let bytes = index.to_string().into_bytes();
        let index = OutManifest {
            digest: Digest::of(&bytes),
            media_type: "application/vnd.oci.image.index.v1+json".into(),
            bytes,
        };
        let entry = json!({"digest": "d", "annotations": {"k": "v"}, "platform": {"os": "linux"}});
        let docker = write(&index, vec![entry.clone()], Some(ManifestFormat::DockerV2)).unwrap();
        let text: Value = serde_json::from_slice(&docker.bytes).unwrap();
        assert_eq!(text["manifests"], json!([{"digest": "d", "platform": {"os": "linux"}}]));
        assert!(
            docker.media_type.contains("docker")
                && text["annotations"].is_null()
                && text["subject"].is_null()
        );
        let same = write(&index, vec![entry], None).unwrap();
        let text: Value = serde_json::from_slice(&same.bytes).unwrap();
        assert_eq!(
            (same.media_type == index.media_type, text["annotations"]["a"].as_str()),
            (true, Some("b"))
        );
    }
}
