//! `load`: images out of archives and directories that ketch, Docker, podman, skopeo or umoci wrote.
//!
//! ```text
//! archive ──one pass──▶ Parts: small files in memory, large ones as blobs (pinned)
//! directory ──────────▶ Parts: read when asked for
//!                          │ formats: index.json (OCI) │ manifest.json (docker-archive, dir)
//!                          ▼
//!                        Found: configuration, manifest, layers ──▶ unpack ──▶ register_image
//! ```
//!
//! An archive may have its parts in any order, so it is read once and kept as it comes; nothing of it is
//! believed: blobs are hashed by this process, layers must have their diff IDs, links lead only
//! to other parts.

mod formats;
mod parts;

use std::io::Read;
use std::path::Path;

use crate::base::digest::Digest;
use crate::base::image_ref::{ImageRef, NameRule};
use crate::base::manifest::Compression;
use crate::base::platform::Platform;
use crate::engine::load::formats::{Found, Kind};
use crate::engine::load::parts::Parts;
use crate::engine::register::NewImage;
use crate::engine::trust::{self, Offered};
use crate::engine::unpack::Wanted;
use crate::engine::{Engine, Error, Result};
use crate::store::images::chain_ids;

/// Where images come from.
pub(crate) enum Origin<'a> {
    /// A directory: an OCI layout, or what skopeo calls `dir`.
    Directory(&'a Path),
    /// A tar archive, compressed or not, and where it lies if it is a file.
    Archive(Box<dyn Read + Send + 'a>, Option<&'a Path>),
}

impl std::fmt::Debug for Origin<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Directory(path) => f.debug_tuple("Directory").field(path).finish(),
            Self::Archive(_, path) => f.debug_tuple("Archive").field(path).finish(),
        }
    }
}

/// An image that is here now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Loaded {
    pub(crate) id: Digest,
    /// The names it was given.
    pub(crate) names: Vec<ImageRef>,
}

impl Engine {
    /// Loads all images of an archive or a directory. `select`, if given, takes the one of that name
    /// only; `wanted` is the platform to choose from an index, and which all others must have. The caller
    /// has one thread.
    ///
    /// # Errors
    ///
    /// [`Kind::Invalid`](crate::engine::Kind::Invalid) for what holds no image in any form that is known;
    /// if a part is missing or is not what its digest says.
    pub(crate) fn load(
        &self,
        origin: Origin<'_>,
        select: Option<&str>,
        wanted: Option<&Platform>,
    ) -> Result<Vec<Loaded>> {
        self.sweep();
        let (mut parts, path, is_directory) = match origin {
            Origin::Directory(path) => (Parts::of_directory(self, path)?, Some(path), true),
            Origin::Archive(archive, path) => (Parts::of_archive(self, archive)?, path, false),
        };
        let (kind, mut found) = formats::find(&mut parts, wanted, self.name_rule())?;
        if let Some(wanted) = select {
            found = chosen(found, wanted, self.name_rule())?;
        }
        if let Some(wanted) = wanted {
            found.iter().try_for_each(|image| image.must_be_for(wanted))?;
        }
        let transport = match (kind, is_directory) {
            (Kind::Layout, true) => "oci",
            (Kind::Layout, false) => "oci-archive",
            (Kind::DockerArchive, _) => "docker-archive",
            (Kind::Dir, _) => "dir",
        };
        check_trust(&mut parts, transport, path, &found)?;
        found.into_iter().map(|image| self.load_one(&mut parts, image)).collect()
    }

    fn load_one(&self, parts: &mut Parts<'_>, found: Found) -> Result<Loaded> {
        let mut layers = Vec::with_capacity(found.layers.len());
        for (index, layer) in found.layers.iter().enumerate() {
            let blob = parts.blob(layer)?;
            layers.push((found.diff_ids[index], blob));
        }
        let chain = chain_ids(&found.diff_ids);
        let layers: Vec<Wanted> = chain
            .iter()
            .zip(&layers)
            .map(|(&name, &(diff_id, (blob, _)))| Wanted { name, diff_id, blob })
            .collect();
        parts.pin_layers(&chain)?;
        // The disk writes the blobs while they are unpacked; one wait is for all.
        let on_disk = self.unpack_from(&layers, None, &|layer| parts.source(&layer.blob))?;
        parts.settle(on_disk)?;
        let names = found.names.clone();
        let image = NewImage {
            config: found.config,
            manifest: found.manifest,
            index: found.index,
            names: found.names,
            parent: None,
            repo_digests: vec![],
        };
        Ok(Loaded { id: self.register_image(&image)?, names })
    }
}

/// The images of an archive that `wanted` names; `@1` is the second one, as in skopeo's `docker-archive:FILE:@1`.
fn chosen(mut found: Vec<Found>, wanted: &str, rule: NameRule) -> Result<Vec<Found>> {
    if let Some(number) = wanted.strip_prefix('@').and_then(|digits| digits.parse::<usize>().ok()) {
        let count = found.len();
        if number >= count {
            let message = format!("invalid source index @{number}, only {count} manifest items available");
            return Err(Error::not_found(message));
        }
        return Ok(vec![found.swap_remove(number)]);
    }
    let digest: Option<Digest> = wanted.parse().ok();
    found.retain(|image| {
        image.is_called(wanted, rule) || digest.is_some_and(|digest| image.digests().contains(&digest))
    });
    if found.is_empty() {
        return Err(Error::not_found(format!("no image {wanted:?} in it")));
    }
    Ok(found)
}

/// Asks policy.json about all images that were found.
fn check_trust(parts: &mut Parts<'_>, transport: &str, path: Option<&Path>, found: &[Found]) -> Result<()> {
    let mut signatures = Vec::new();
    for image in found {
        signatures.push(if transport == "dir" { image.signatures(parts)? } else { vec![] });
    }
    let offered: Vec<Offered<'_>> = found
        .iter()
        .zip(&signatures)
        .map(|(image, signatures)| Offered { digests: image.digests(), signatures })
        .collect();
    trust::check_place(transport, path, Some(&offered))
}

/// How the blob of a part is compressed, as its first bytes tell.
fn compression_of(start: &[u8]) -> Compression {
    match start {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        _ => Compression::None,
    }
}

/// For messages: what a part is called.
fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(&path[..path.len().min(200)]).into_owned()
}
