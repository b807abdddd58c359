//! Another form for an image that goes out: other compression of its layers, another kind of manifest.
//!
//! ```text
//! layer ─inflate─▶ archive ─deflate─▶ staging/…/<n>      for those that need it
//! manifest ─media types, digests, sizes─▶ manifest       the configuration stays: so does the image ID
//! ```

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::base::digest::Digest;
use crate::base::manifest::{Compression, Descriptor, Form, ImageConfig};
use crate::engine::push::outgoing::{OutBlob, OutManifest, Outgoing};
use crate::engine::push::{LayerFormat, ManifestFormat, Wishes, chunked};
use crate::engine::{Error, Kind, Result};
use crate::store::Store;
use crate::store::compress::{self, How};
use crate::store::staging::{self, Staged};
use crate::store::unpack::decoder;

/// What is to be done to an image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) wishes: Wishes,
    /// Layers that are not compressed at all get gzip, if nothing else is wished.
    pub(super) compress_plain: bool,
}

impl Plan {
    /// The form of the manifest that goes out.
    fn manifest(&self, now: &str) -> ManifestFormat {
        let own = if is_docker(now) { ManifestFormat::DockerV2 } else { ManifestFormat::Oci };
        self.wishes.format.unwrap_or(own)
    }

    /// How a layer has to be compressed anew, if it has to.
    fn layer(
        &self,
        now: Option<Compression>,
        is_chunked: bool,
        manifest: ManifestFormat,
    ) -> Option<LayerFormat> {
        let (now, wanted) = (now?, self.wishes.compression);
        let zstd_in_docker = now == Compression::Zstd && manifest == ManifestFormat::DockerV2;
        match (now, wanted) {
            (Compression::None, None) if self.compress_plain => Some(LayerFormat::Gzip),
            (_, None) => zstd_in_docker.then_some(LayerFormat::Gzip),
            (Compression::Gzip, Some(LayerFormat::Gzip)) | (Compression::Zstd, Some(LayerFormat::Zstd)) => {
                self.wishes.force.then_some(wanted?)
            }
            (Compression::Zstd, Some(LayerFormat::ZstdChunked)) if is_chunked => {
                self.wishes.force.then_some(wanted?)
            }
            (_, wanted) => wanted,
        }
    }
}

/// A layer in its new form.
struct Made {
    descriptor: Descriptor,
    file: File,
    /// Where its table of contents is.
    annotations: Vec<(String, String)>,
}

/// Brings an image into the form that is wanted; the same image if it has that already.
///
/// # Errors
///
/// [`Kind::Invalid`] for wishes that exclude each other; if a layer cannot be read or the disk is full.
pub(super) fn convert(store: &Store, image: Outgoing, plan: &Plan) -> Result<Outgoing> {
    let format = plan.manifest(&image.manifest.media_type);
    let zstd = matches!(plan.wishes.compression, Some(LayerFormat::Zstd | LayerFormat::ZstdChunked));
    if format == ManifestFormat::DockerV2 && zstd {
        // podman's way out: what was asked for explicitly is the compression.
        if plan.wishes.format.is_some() {
            let message = "manifests of the format v2s2 cannot have layers compressed with zstd";
            return Err(Error::new(Kind::Invalid, message).hint("leave --format out, or take --format oci"));
        }
        let wishes = Wishes { format: Some(ManifestFormat::Oci), ..plan.wishes };
        return convert(store, image, &Plan { wishes, ..*plan });
    }
    let mut document: Value = serde_json::from_slice(&image.manifest.bytes)
        .map_err(|err| Error::new(Kind::System, format!("read manifest {}: {err}", image.manifest.digest)))?;
    let diff_ids = diff_ids(&image)?;
    let mut staged = Vec::new();
    let mut layers = Vec::with_capacity(image.layers.len());
    let mut changed = is_docker(&image.manifest.media_type) != (format == ManifestFormat::DockerV2);
    for (at, layer) in image.layers.iter().enumerate() {
        let now = Compression::of_layer(&layer.descriptor.media_type);
        let is_chunked = document["layers"][at]["annotations"]
            .as_object()
            .is_some_and(|all| all.keys().any(|key| key.starts_with(chunked::ANNOTATION)));
        let Some(target) = plan.layer(now, is_chunked, format) else {
            layers.push(layer.clone());
            continue;
        };
        let place = staging::dir(store)?;
        let made = compress(layer, diff_ids.get(at), target, plan.wishes.level, &place)?;
        set_layer(&mut document["layers"][at], &made);
        layers.push(OutBlob { descriptor: made.descriptor, file: Arc::new(made.file) });
        staged.push(place);
        changed = true;
    }
    if !changed {
        return Ok(image);
    }
    let manifest = rewrite(document, format);
    Ok(Outgoing { manifest, layers, _staged: staged, ..image })
}

fn is_docker(media_type: &str) -> bool {
    media_type.contains("docker")
}

fn diff_ids(image: &Outgoing) -> Result<Vec<Digest>> {
    let mut bytes = Vec::new();
    let read = (&*image.config.file).rewind().and_then(|()| (&*image.config.file).read_to_end(&mut bytes));
    let digest = image.config.descriptor.digest;
    read.map_err(|err| Error::system(format!("read configuration {digest}"), err))?;
    let config = ImageConfig::parse(&bytes)
        .map_err(|err| Error::new(Kind::System, format!("configuration {digest}: {err}")))?;
    Ok(config.rootfs.diff_ids)
}

/// Compresses one layer anew, and checks on the way that its archive is the right one.
fn compress(
    layer: &OutBlob,
    diff_id: Option<&Digest>,
    target: LayerFormat,
    level: Option<i32>,
    place: &Staged,
) -> Result<Made> {
    let digest = layer.descriptor.digest;
    let failed = |err| Error::system(format!("compress layer {digest}"), err);
    let path = place.path().join("layer");
    let mut input = layer.file.try_clone().map_err(failed)?;
    input.rewind().map_err(failed)?;
    let mut archive = Hashing::new(decoder(input).map_err(failed)?);
    let output = File::options().read(true).write(true).create_new(true).open(&path).map_err(failed)?;
    let mut output = Hashing::new(BufWriter::with_capacity(256 << 10, output));
    let compression = match target {
        LayerFormat::Gzip => Compression::Gzip,
        LayerFormat::Zstd | LayerFormat::ZstdChunked => Compression::Zstd,
    };
    let annotations = match target {
        LayerFormat::ZstdChunked => {
            let level = level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
            chunked::compress(BufReader::with_capacity(64 << 10, &mut archive), &mut output, level)
        }
        _ => {
            let how = How { level, ..How::new(compression) };
            compress::each(&mut archive, how, |piece| output.write_all(piece))
                .and_then(|written| written.map(|_| Vec::new()))
        }
    }
    .map_err(failed)?;
    output.flush().map_err(failed)?;
    if let Some(want) = diff_id.filter(|want| **want != archive.digest()) {
        let message = format!("layer {digest} has the diff ID {}, its image says {want}", archive.digest());
        return Err(Error::new(Kind::System, message).hint("pull the image again"));
    }
    let media_type = compression.layer_media_type(Form::Oci).to_owned();
    let descriptor = Descriptor { media_type, digest: output.digest(), size: output.length };
    let file = output.inner.into_inner().map_err(|err| failed(err.into_error()))?;
    Ok(Made { descriptor, file, annotations })
}

/// Puts a layer's new digest and size into its place in the manifest.
fn set_layer(entry: &mut Value, made: &Made) {
    entry["mediaType"] = json!(made.descriptor.media_type);
    entry["digest"] = json!(made.descriptor.digest);
    entry["size"] = json!(made.descriptor.size);
    // What was said of the old bytes (a table of contents) is not true of the new ones.
    if let Some(old) = entry.get_mut("annotations").and_then(Value::as_object_mut) {
        old.retain(|key, _| !key.starts_with(chunked::ANNOTATION));
    }
    for (key, value) in &made.annotations {
        entry["annotations"][key.as_str()] = json!(value);
    }
}

/// Gives all media types of a manifest their names in `format`, and the document its digest.
fn rewrite(mut document: Value, format: ManifestFormat) -> OutManifest {
    let media_type = match format {
        ManifestFormat::Oci => "application/vnd.oci.image.manifest.v1+json",
        ManifestFormat::DockerV2 => "application/vnd.docker.distribution.manifest.v2+json",
    };
    document["schemaVersion"] = json!(2);
    document["mediaType"] = json!(media_type);
    let docker = format == ManifestFormat::DockerV2;
    document["config"]["mediaType"] = json!(match format {
        ManifestFormat::Oci => "application/vnd.oci.image.config.v1+json",
        ManifestFormat::DockerV2 => "application/vnd.docker.container.image.v1+json",
    });
    for layer in document["layers"].as_array_mut().into_iter().flatten() {
        let now = layer["mediaType"].as_str().and_then(Compression::of_layer);
        layer["mediaType"] = json!(match (docker, now) {
            (true, Some(Compression::None)) => "application/vnd.docker.image.rootfs.diff.tar",
            (true, _) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
            (false, Some(Compression::None)) => "application/vnd.oci.image.layer.v1.tar",
            (false, Some(Compression::Zstd)) => "application/vnd.oci.image.layer.v1.tar+zstd",
            (false, _) => "application/vnd.oci.image.layer.v1.tar+gzip",
        });
        // Docker's form knows no annotations.
        if let Some(layer) = layer.as_object_mut().filter(|_| docker) {
            layer.shift_remove("annotations");
        }
    }
    if let Some(all) = document.as_object_mut().filter(|_| docker) {
        all.shift_remove("annotations");
    }
    let bytes = document.to_string().into_bytes();
    OutManifest { digest: Digest::of(&bytes), media_type: media_type.to_owned(), bytes }
}

/// Counts and hashes what passes.
struct Hashing<T> {
    inner: T,
    hash: Sha256,
    length: u64,
}

impl<T> Hashing<T> {
    fn new(inner: T) -> Self {
        Self { inner, hash: Sha256::new(), length: 0 }
    }

    /// The digest of what has passed.
    fn digest(&self) -> Digest {
        Digest::from_hash(self.hash.clone())
    }

    fn pass(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.pass(&buffer[..got]);
        Ok(got)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.pass(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compressed_anew() {
        use Compression as C;
        use LayerFormat as L;
        let plan = |compression, force, compress_plain| Plan {
            wishes: Wishes { compression, force, ..Wishes::default() },
            compress_plain,
        };
        for (now, wanted, force, plain, format, want) in [
            (C::Gzip, None, false, true, ManifestFormat::Oci, None),
            (C::None, None, false, false, ManifestFormat::Oci, None),
            (C::None, None, false, true, ManifestFormat::Oci, Some(L::Gzip)),
            (C::Zstd, None, false, false, ManifestFormat::Oci, None),
            (C::Zstd, None, false, false, ManifestFormat::DockerV2, Some(L::Gzip)),
            (C::Gzip, Some(L::Gzip), false, false, ManifestFormat::Oci, None),
            (C::Gzip, Some(L::Gzip), true, false, ManifestFormat::Oci, Some(L::Gzip)),
            (C::Gzip, Some(L::Zstd), false, false, ManifestFormat::Oci, Some(L::Zstd)),
            (C::Zstd, Some(L::Zstd), false, false, ManifestFormat::Oci, None),
        ] {
            assert_eq!(
                plan(wanted, force, plain).layer(Some(now), false, format),
                want,
                "{now:?} {wanted:?}"
            );
        }
        assert_eq!(plan(Some(L::Zstd), true, true).layer(None, false, ManifestFormat::Oci), None);
        let chunked = plan(Some(L::ZstdChunked), false, true);
        assert_eq!(chunked.layer(Some(C::Zstd), false, ManifestFormat::Oci), Some(L::ZstdChunked));
        assert_eq!(chunked.layer(Some(C::Zstd), true, ManifestFormat::Oci), None);
    }

    #[test]
    fn manifests_change_their_words() {
        let oci = json!({
            "schemaVersion": 2,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "d", "size": 1},
            "layers": [
                {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": "l", "size": 2, "annotations": {"a": "b"}},
                {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": "m", "size": 3},
            ],
            "annotations": {"x": "y"},
        });
        let docker = rewrite(oci.clone(), ManifestFormat::DockerV2);
        let text = String::from_utf8(docker.bytes.clone()).unwrap();
        assert!(!text.contains("oci") && !text.contains("annotations"), "{text}");
        assert!(text.contains("rootfs.diff.tar.gzip") && text.contains(r#"rootfs.diff.tar""#), "{text}");
        assert_eq!(docker.digest, Digest::of(&docker.bytes));
        let back = rewrite(serde_json::from_slice(&docker.bytes).unwrap(), ManifestFormat::Oci);
        assert!(!String::from_utf8(back.bytes).unwrap().contains("docker"));
    }
}
