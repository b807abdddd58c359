//! What the parts of an archive say about images.
//!
//! # Source
//!
//! OCI image-spec, image-layout.md; Docker's "Image Specification v1.2" (`manifest.json`); skopeo's
//! `dir:` transport (containers-transports(5)).

use serde::Deserialize;
use serde_json::Value;

use crate::base::digest::Digest;
use crate::base::image_document;
use crate::base::image_ref::{DOCKER_HUB, ImageName, ImageRef, NameRule, Purpose};
use crate::base::manifest::{Descriptor, Document, Form, ImageConfig, IndexEntry, Manifest};
use crate::base::platform::Platform;
use crate::engine::load::parts::Parts;
use crate::engine::load::{compression_of, shown};
use crate::engine::trust::MAX_SIGNATURES;
use crate::engine::{Error, Result};
use crate::registry::sigstore;

/// One image of an archive.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) config: Vec<u8>,
    pub(super) manifest: Vec<u8>,
    /// The index it was found through, if there was one in between.
    pub(super) index: Option<Vec<u8>>,
    /// The parts that its layers are in, the lowest first.
    pub(super) layers: Vec<Vec<u8>>,
    pub(super) diff_ids: Vec<Digest>,
    pub(super) names: Vec<ImageRef>,
    /// Names as the archive has them.
    said: Vec<String>,
}

/// What an archive or directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// OCI's image layout.
    Layout,
    /// What `docker save` writes.
    DockerArchive,
    /// skopeo's `dir:`.
    Dir,
}

impl Found {
    /// Of the manifest, and of the index it was found through.
    pub(super) fn digests(&self) -> Vec<Digest> {
        [&self.manifest].into_iter().chain(&self.index).map(|text| Digest::of(text)).collect()
    }

    /// Payloads and signatures that lie beside an image in `dir:`; others than sigstore's are left out.
    pub(super) fn signatures(&self, parts: &mut Parts<'_>) -> Result<Vec<(Vec<u8>, String)>> {
        let mut found = Vec::new();
        let of_entry = format!("{}.", Digest::of(&self.manifest).hex());
        for prefix in ["", &of_entry] {
            for number in 1..=MAX_SIGNATURES {
                let name = format!("{prefix}{}", sigstore::file_name(number));
                let Some(text) = parts.document(name.as_bytes())? else { break };
                found.extend(sigstore::from_file(&text));
            }
        }
        Ok(found)
    }

    /// Refuses an image that is not for the platform that was asked for.
    pub(super) fn must_be_for(&self, wanted: &Platform) -> Result<()> {
        let is =
            ImageConfig::parse(&self.config).map_err(|err| malformed("the configuration", err))?.platform();
        if wanted.runs(&is) {
            return Ok(());
        }
        Err(Error::not_found(format!("the image is for {is}, not for {wanted}")))
    }

    /// True if the archive, or what ketch makes of it, calls it so.
    pub(super) fn is_called(&self, name: &str, rule: NameRule) -> bool {
        self.said.iter().any(|said| said == name)
            || self.names.iter().any(|known| {
                known.to_string() == name
                    || name
                        .parse::<ImageName>()
                        .is_ok_and(|name| name.local_candidates(rule, Purpose::Read).contains(known))
            })
    }
}

/// All images; of an index the one for `wanted`, or for this machine. By `rule` short names of a layout get their home.
pub(super) fn find(
    parts: &mut Parts<'_>,
    wanted: Option<&Platform>,
    rule: NameRule,
) -> Result<(Kind, Vec<Found>)> {
    let host = Platform::host();
    let wanted = wanted.unwrap_or(&host);
    if let Some(index) = parts.document(b"index.json")? {
        return Ok((Kind::Layout, layout(parts, &index, wanted, rule.home())?));
    }
    let unknown = || {
        Error::invalid("payload does not match any of the supported image formats").hint(
            "it has neither index.json (oci) nor manifest.json (docker); for a root file system use import",
        )
    };
    let text = parts.document(b"manifest.json")?.ok_or_else(unknown)?;
    match serde_json::from_slice::<Value>(&text) {
        Ok(Value::Array(_)) => Ok((Kind::DockerArchive, docker_archive(parts, &text)?)),
        Ok(Value::Object(_)) => Ok((Kind::Dir, vec![directory(parts, text, wanted)?])),
        _ => Err(unknown()),
    }
}

fn malformed(what: &str, err: impl std::fmt::Display) -> Error {
    Error::invalid(format!("{what}: {err}"))
}

/// The path of a blob in an OCI layout.
fn in_layout(digest: &Digest) -> Vec<u8> {
    format!("blobs/sha256/{}", digest.hex()).into_bytes()
}

/// skopeo's `dir:`: one image, or an index whose manifests lie beside it.
fn directory(parts: &mut Parts<'_>, text: Vec<u8>, wanted: &Platform) -> Result<Found> {
    let beside = |digest: &Digest| digest.hex().into_bytes();
    let Ok(Document::Index { entries, .. }) = Document::parse(&text, "") else {
        return image_of(parts, text, None, &beside);
    };
    let digest = choose(&entries, wanted, "manifest.json")?;
    let at = format!("{}.manifest.json", digest.hex()).into_bytes();
    let lacks = || Error::invalid(format!("the directory lacks {:?}", shown(&at)));
    let manifest = parts.document(&at)?.ok_or_else(lacks)?;
    check(&digest, &manifest)?;
    image_of(parts, manifest, Some(text), &beside)
}

/// The entry of an index that is for `wanted`.
fn choose(entries: &[IndexEntry], wanted: &Platform, of: &str) -> Result<Digest> {
    match IndexEntry::choose(entries, wanted) {
        Some(best) => Ok(best.descriptor.digest),
        None => Err(Error::not_found(format!("no image in {of} is for {wanted}"))),
    }
}

/// An OCI layout.
fn layout(parts: &mut Parts<'_>, text: &[u8], platform: &Platform, home: &str) -> Result<Vec<Found>> {
    let index_type = Form::Oci.index();
    let Document::Index { entries, .. } =
        Document::parse(text, index_type).map_err(|err| malformed("index.json", err))?
    else {
        return Err(Error::invalid("index.json is no index"));
    };
    let json: Value = serde_json::from_slice(text).map_err(|err| malformed("index.json", err))?;
    let mut found: Vec<Found> = Vec::new();
    let mut wanted: Vec<(IndexEntry, Vec<String>)> = Vec::new();
    for entry in entries {
        let names = annotated_names(&json, &entry.descriptor.digest);
        if !wanted.iter().any(|(known, _)| known.descriptor.digest == entry.descriptor.digest) {
            wanted.push((entry, names));
        }
    }
    // One image for several machines, without an index of its own.
    if wanted.len() > 1 && wanted.iter().all(|(_, names)| names.is_empty()) {
        let platforms: Vec<_> = wanted.iter().map(|(entry, _)| entry.platform.clone()).collect();
        if let Some(best) = platform.choose(&platforms) {
            wanted = vec![wanted.swap_remove(best)];
        }
    }
    for (entry, said) in wanted {
        let digest = entry.descriptor.digest;
        let text = document_of(parts, &digest)?;
        let document = Document::parse(&text, &entry.descriptor.media_type);
        let mut image = match document.map_err(|err| malformed(&digest.to_string(), err))? {
            Document::Manifest(_) => image_of(parts, text, None, &in_layout)?,
            Document::Index { entries, .. } => {
                let chosen = choose(&entries, platform, &digest.to_string())?;
                let manifest = document_of(parts, &chosen)?;
                image_of(parts, manifest, Some(text), &in_layout)?
            }
        };
        image.names = names(&said, home);
        image.said = said;
        found.push(image);
    }
    if found.is_empty() {
        return Err(Error::invalid("index.json lists no image"));
    }
    Ok(found)
}

fn document_of(parts: &mut Parts<'_>, digest: &Digest) -> Result<Vec<u8>> {
    let path = in_layout(digest);
    let text = parts
        .document(&path)?
        .ok_or_else(|| Error::invalid(format!("the archive lacks {:?}", shown(&path))))?;
    check(digest, &text)?;
    Ok(text)
}

fn check(digest: &Digest, text: &[u8]) -> Result<()> {
    let got = Digest::of(text);
    if got == *digest {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "blob {digest} has digest {got}: the archive is damaged or was tampered with"
    )))
}

/// The names that annotations of an index give to a manifest.
fn annotated_names(index: &Value, digest: &Digest) -> Vec<String> {
    let digest = digest.to_string();
    let entries = index["manifests"].as_array().into_iter().flatten();
    let mut names = Vec::new();
    for entry in entries.filter(|entry| entry["digest"].as_str() == Some(&digest)) {
        let annotation = |key: &str| entry["annotations"][key].as_str().map(str::to_owned);
        // containerd and Docker write the whole name here, and in the other one the tag alone.
        let name = annotation("io.containerd.image.name")
            .or_else(|| annotation("org.opencontainers.image.ref.name"));
        names.extend(name.filter(|name| !name.is_empty() && !names.contains(name)));
    }
    names
}

/// Full names; short ones are put on `home`, and what is none is left out.
fn names(said: &[String], home: &str) -> Vec<ImageRef> {
    let full = |text: &String| {
        let name: ImageName = text.parse().ok()?;
        name.digest().is_none().then(|| name.on(home).with_default_tag())
    };
    said.iter().filter_map(full).collect()
}

/// An image whose manifest is a part: configuration and layers are where `path` says.
fn image_of(
    parts: &mut Parts<'_>,
    text: Vec<u8>,
    index: Option<Vec<u8>>,
    path: &dyn Fn(&Digest) -> Vec<u8>,
) -> Result<Found> {
    let manifest = match Document::parse(&text, "").map_err(|err| malformed("the manifest", err))? {
        Document::Manifest(manifest) => manifest,
        Document::Index { .. } => return Err(Error::invalid("an index lies where a manifest should be")),
    };
    let at = path(&manifest.config.digest);
    let config =
        parts.document(&at)?.ok_or_else(|| Error::invalid(format!("the archive lacks {:?}", shown(&at))))?;
    check(&manifest.config.digest, &config)?;
    let diff_ids = diff_ids(&config, &manifest)?;
    let mut layers = Vec::with_capacity(manifest.layers.len());
    for layer in &manifest.layers {
        let at = path(&layer.digest);
        let (digest, size) = parts.digest(&at)?;
        if digest != layer.digest {
            return Err(Error::invalid(format!(
                "blob {} has digest {digest}: the archive is damaged or was tampered with",
                layer.digest
            )));
        }
        if size != layer.size {
            return Err(Error::invalid(format!(
                "blob {digest} is {size} bytes long, its descriptor says {}",
                layer.size
            )));
        }
        layers.push(at);
    }
    Ok(Found { config, manifest: text, index, layers, diff_ids, names: vec![], said: vec![] })
}

fn diff_ids(config: &[u8], manifest: &Manifest) -> Result<Vec<Digest>> {
    let read = ImageConfig::parse(config).map_err(|err| malformed("the configuration", err))?;
    let diff_ids = read.diff_ids(manifest).map_err(|err| Error::invalid(err.to_string()))?;
    Ok(diff_ids.to_vec())
}

/// An image of Docker's `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// What `docker save` wrote before it wrote OCI layouts, and podman writes by default.
fn docker_archive(parts: &mut Parts<'_>, text: &[u8]) -> Result<Vec<Found>> {
    let images: Vec<DockerImage> =
        serde_json::from_slice(text).map_err(|err| malformed("manifest.json", err))?;
    if images.is_empty() {
        return Err(Error::invalid("manifest.json lists no image"));
    }
    images.into_iter().map(|image| docker_image(parts, image)).collect()
}

fn docker_image(parts: &mut Parts<'_>, image: DockerImage) -> Result<Found> {
    let lacks = || Error::invalid(format!("the archive lacks {:?}", shown(image.config.as_bytes())));
    let config = parts.document(image.config.as_bytes())?.ok_or_else(lacks)?;
    let paths: Vec<Vec<u8>> = image.layers.unwrap_or_default().into_iter().map(String::into_bytes).collect();
    let mut layers = Vec::with_capacity(paths.len());
    for path in &paths {
        let compression = compression_of(&parts.start(path)?);
        let (digest, size) = parts.digest(path)?;
        let media_type = compression.layer_media_type(Form::Docker).to_owned();
        layers.push(Descriptor { media_type, digest, size });
    }
    // There is no manifest in such an archive: this is the one that podman makes of it too.
    let descriptor = Descriptor {
        media_type: Form::Docker.config().to_owned(),
        digest: Digest::of(&config),
        size: config.len() as u64,
    };
    let text =
        image_document::manifest(Form::Docker, &descriptor, &layers, &std::collections::BTreeMap::new());
    let manifest = Manifest { media_type: Form::Docker.manifest().to_owned(), config: descriptor, layers };
    let diff_ids = diff_ids(&config, &manifest)?;
    let said = image.repo_tags.unwrap_or_default();
    Ok(Found {
        config,
        manifest: text,
        index: None,
        layers: paths,
        diff_ids,
        names: names(&said, DOCKER_HUB),
        said,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::image_ref::LOCALHOST;

    #[test]
    fn names_of_archives() {
        let said: Vec<String> =
            ["a", "r.io/b:1", "not a name", "c@sha256:x", "localhost/d"].map(str::to_owned).to_vec();
        let shown = |home| names(&said, home).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(shown(LOCALHOST), ["localhost/a:latest", "r.io/b:1", "localhost/d:latest"]);
        assert_eq!(shown(DOCKER_HUB)[0], "docker.io/library/a:latest");
    }

    #[test]
    fn the_whole_name_wins() {
        let digest = Digest::of(b"x");
        let index = serde_json::json!({"manifests": [
            {"digest": digest.to_string(), "annotations": {
                "io.containerd.image.name": "docker.io/library/a:1", "org.opencontainers.image.ref.name": "1"}},
            {"digest": digest.to_string(), "annotations": {"org.opencontainers.image.ref.name": "b:2"}},
            {"digest": digest.to_string(), "annotations": null},
            {"digest": Digest::of(b"y").to_string(), "annotations": {"org.opencontainers.image.ref.name": "no"}}]});
        assert_eq!(annotated_names(&index, &digest), ["docker.io/library/a:1", "b:2"]);
    }
}
