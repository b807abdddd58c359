//! Use case: bring an image of the store to a registry, or into an archive or directory.
//!
//! ```text
//! name ─▶ record, manifest ─gather─▶ Outgoing ─convert─▶ Outgoing ─upload─▶ blobs, then manifests
//!                                       │        only if another format or compression is wanted
//!                                       ╰ bytes as they were pulled or built: digests stay
//! ```

mod chunked;
mod convert;
mod local;
pub(crate) mod others;
mod outgoing;
mod relist;
mod remote;
mod sign;

use std::sync::Arc;

use crate::base::digest::Digest;
use crate::base::image_ref::{ImageName, ImageRef, Purpose, RefError};
use crate::base::manifest::Document;
use crate::base::order::InOrder as _;
use crate::engine::config::containers_conf::EngineConf;
use crate::engine::pull::PullEvent;
use crate::engine::push::outgoing::{Outgoing, gather, read_manifest};
use crate::engine::remote::RemoteOptions;
use crate::engine::transport::Place;
use crate::engine::{Engine, Error, Kind, Result};
use crate::registry::sigstore::PrivateKey;
use crate::store::images::{ImageRecord, StoredManifest};
use crate::store::resolve::Resolved;

/// The form of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ManifestFormat {
    /// OCI image-spec 1.
    Oci,
    /// Docker's "Image Manifest V 2, Schema 2".
    DockerV2,
}

/// How layers are compressed on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LayerFormat {
    Gzip,
    Zstd,
    /// zstd with a table of contents.
    ZstdChunked,
}

/// How what is pushed may differ from what is here.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) format: Option<ManifestFormat>,
    pub(crate) compression: Option<LayerFormat>,
    pub(crate) level: Option<i32>,
    /// Compress anew what has the wanted compression already.
    pub(crate) force: bool,
    /// Compress layers that are not, also for `dir:`, which keeps them as they are.
    pub(crate) compress: bool,
}

/// What to push, where to, and how.
#[derive(Clone, Debug, Default)]
pub(crate) struct PushRequest {
    /// A local image.
    pub(crate) image: String,
    /// Where to; the image's own name if nothing was said.
    pub(crate) destination: Option<String>,
    /// Under its digest alone: no tag of the repository changes.
    pub(crate) by_digest: bool,
    pub(crate) wishes: Wishes,
    /// All images of the index that the name was pulled by.
    pub(crate) all: bool,
    /// Of a list: its images in these compressions, too.
    pub(crate) further: Vec<LayerFormat>,
    /// Signs what was pushed.
    pub(crate) sign: Option<PrivateKey>,
    pub(crate) remote: RemoteOptions,
}

/// Every local name of the repository that `typed` names (`push --all-tags`), sorted.
///
/// # Errors
///
/// [`Kind::Invalid`] if `typed` has a tag or a digest, NotFound if no image has such a name.
pub(crate) fn names_of_repository(engine: &Engine, typed: &str) -> Result<Vec<String>> {
    let wanted: ImageName = typed.parse().map_err(|err: RefError| Error::invalid(err.to_string()))?;
    if wanted.tag().is_some() || wanted.digest().is_some() {
        return Err(Error::invalid("tag can't be used with --all-tags/-a"));
    }
    let known = engine.store().refs().list()?.items;
    for candidate in wanted.local_candidates(engine.name_rule(), Purpose::Act) {
        let here = known.iter().filter(|record| record.name.name() == candidate.name());
        // What was typed, not what it is called here, says where to: `app` is Docker Hub's.
        let named = |full: &ImageRef| match full.tag().filter(|_| wanted.is_short()) {
            Some(tag) => format!("{wanted}:{tag}"),
            None => full.to_string(),
        };
        let mut names: Vec<String> = here.map(|record| named(&record.name)).collect();
        if !names.is_empty() {
            names.order();
            return Ok(names);
        }
    }
    Err(Error::new(Kind::NotFound, format!("{typed}: image not known")))
}

/// What is there now.
#[derive(Clone, Debug)]
pub(crate) struct Pushed {
    /// Of the manifest, or of the index.
    pub(crate) digest: Digest,
    /// At a registry: the name it has there, and the length of that document.
    pub(crate) there: Option<(ImageRef, usize)>,
}

/// One command's worth of pushing.
struct Pusher<'a> {
    engine: &'a Engine,
    request: &'a PushRequest,
    events: &'a dyn Fn(&PullEvent<'_>),
}

/// Everything that one push brings to its destination.
struct Cargo {
    images: Vec<Outgoing>,
    /// The index over them: its digest, media type and bytes.
    index: Option<outgoing::OutManifest>,
}

impl LayerFormat {
    /// The format of this name.
    pub(crate) fn named(text: &str) -> Option<Self> {
        match text {
            "gzip" => Some(Self::Gzip),
            "zstd" => Some(Self::Zstd),
            "zstd:chunked" => Some(Self::ZstdChunked),
            _ => None,
        }
    }

    /// The format that `key` of containers.conf names.
    ///
    /// # Errors
    ///
    /// For a name of none.
    pub(crate) fn configured(key: &str, text: &str) -> Result<Self> {
        Self::named(text).ok_or_else(|| {
            Error::invalid(format!("containers.conf: {key}: {text:?} means nothing"))
                .hint("choose from gzip, zstd, zstd:chunked")
        })
    }
}

impl Wishes {
    /// The wishes, and where they leave the compression open, that of containers.conf.
    ///
    /// # Errors
    ///
    /// If that means nothing.
    pub(crate) fn or_configured(mut self, conf: &EngineConf) -> Result<Self> {
        let configured = conf.compression_format.as_deref().filter(|text| !text.is_empty());
        if let (None, Some(text)) = (self.compression, configured) {
            self.compression = Some(LayerFormat::configured("compression_format", text)?);
        }
        self.level = self.level.or(conf.compression_level);
        Ok(self)
    }

    /// True if something is to be other than it is here.
    fn any(&self) -> bool {
        self.format.is_some() || self.compression.is_some() || self.force || self.compress
    }
}

impl Cargo {
    /// What the name at the destination will mean.
    fn top(&self) -> Option<&outgoing::OutManifest> {
        self.index.as_ref().or_else(|| self.images.first().map(|image| &image.manifest))
    }
}

/// Brings an image to where the request says.
///
/// # Errors
///
/// [`Kind::NotFound`] for an image or a part of it that is not here, [`Kind::Invalid`] for a
/// destination that is none, [`Kind::Unauthorized`], [`Kind::System`] for network and disk.
pub(crate) fn push(
    engine: &Engine,
    request: &PushRequest,
    events: &dyn Fn(&PullEvent<'_>),
) -> Result<Pushed> {
    if let Some(list) = engine.store().find_list(&request.image, Purpose::Act)? {
        return others::push_list(engine, &list, &PushRequest { all: true, ..request.clone() }, events);
    }
    let found = engine.image_for(&request.image, Purpose::Act)?;
    let pusher = Pusher { engine, request, events };
    let pushed = match pusher.place(&found)? {
        Place::Registry(typed) => {
            let destination = destination(&typed)?;
            let cargo = pusher.load(&found, request.wishes, true)?;
            remote::push(&pusher, Some(&found.image), &cargo, &destination)?
        }
        Place::Storage(name) => {
            pusher.refuse_to_sign(&Place::Storage(name.clone()))?;
            let digest = stored_manifest(&found, &request.image)?.digest;
            engine.tag_image(&found.image.id.to_string(), &name)?;
            Pushed { digest, there: None }
        }
        place => {
            pusher.refuse_to_sign(&place)?;
            let compress_plain = request.wishes.compress || !matches!(place, Place::Dir(_));
            let cargo = pusher.load(&found, wishes_for(&place, request.wishes)?, compress_plain)?;
            local::push(&pusher, Some(&found), &cargo, &place)?
        }
    };
    engine.record_image("push", &found.image.id.hex(), &request.image);
    Ok(pushed)
}

/// What a place that is no registry makes of the wishes.
fn wishes_for(place: &Place, wishes: Wishes) -> Result<Wishes> {
    let is_layout = matches!(place, Place::OciDir { .. } | Place::OciArchive { .. });
    match wishes.format {
        Some(ManifestFormat::DockerV2) if is_layout => {
            Err(Error::invalid("an OCI layout holds no manifests of the format v2s2"))
        }
        _ if is_layout => Ok(Wishes { format: Some(ManifestFormat::Oci), ..wishes }),
        _ => Ok(wishes),
    }
}

/// Reads the name to push under.
fn destination(typed: &str) -> Result<ImageName> {
    let name: ImageName = typed.parse().map_err(|err| Error::invalid(format!("{err}")))?;
    if name.digest().is_some() {
        return Err(Error::invalid(format!("{typed}: a digest follows from the image, it cannot be chosen")));
    }
    Ok(name)
}

/// The registry that a name stands for that was `typed`, where the object is called `full` here.
fn named_place(typed: &str, full: String) -> Place {
    match typed.parse::<ImageName>() {
        Ok(name) if name.is_short() => Place::Registry(typed.to_owned()),
        _ => Place::Registry(full),
    }
}

impl Pusher<'_> {
    /// Where to: what was said, or the image's own name as it was typed. A short one means Docker Hub, wherever it
    /// is kept here (`localhost/me/app` for what was built as `me/app`).
    fn place(&self, found: &Resolved) -> Result<Place> {
        match (&self.request.destination, &found.name) {
            (Some(typed), _) => Place::parse(typed),
            (None, Some(name)) if name.tag().is_some() => {
                Ok(named_place(&self.request.image, name.to_string()))
            }
            (None, _) => {
                let message = format!("{}: it was not found by a name, so say where to", self.request.image);
                Err(Error::invalid(message).hint("push IMAGE docker://REGISTRY/NAME:TAG"))
            }
        }
    }

    /// Gathers what is to go out, in the form that is wanted.
    fn load(&self, found: &Resolved, wishes: Wishes, compress_plain: bool) -> Result<Cargo> {
        let (record, store) = (&found.image, self.engine.store());
        let stored = stored_manifest(found, &self.request.image)?;
        if self.request.all
            && let Some(index) = stored.index
        {
            return self.load_all(&index);
        }
        let image = gather(store, &stored.digest).map_err(|err| self.missing(err))?;
        let image = convert::convert(store, image, &plan(record, stored, wishes, compress_plain))?;
        Ok(Cargo { images: vec![image], index: None })
    }

    /// All images of an index, which must be here, under that index.
    fn load_all(&self, index: &Digest) -> Result<Cargo> {
        let store = self.engine.store();
        let index = read_manifest(store, index).map_err(|err| self.missing(err))?;
        let document = Document::parse(&index.bytes, &index.media_type);
        let Ok(Document::Index { entries, .. }) = document else {
            return Err(Error::new(Kind::System, format!("{} is no index", index.digest)));
        };
        let mut images = Vec::with_capacity(entries.len());
        for entry in entries {
            let gathered = gather(store, &entry.descriptor.digest);
            images.push(gathered.map_err(|err| {
                let platform = entry.platform.map_or_else(String::new, |p| p.to_string());
                let error = self.missing(err);
                error.hint(format!("pull it first: pull --platform {platform} {}", self.request.image))
            })?);
        }
        self.listed(index, images.into_iter().map(|image| (image, false)).collect())
    }

    /// A list with its images, each an artifact or not, in the form that is wanted.
    fn listed(&self, index: outgoing::OutManifest, images: Vec<(Outgoing, bool)>) -> Result<Cargo> {
        let (wishes, further) = (self.request.wishes, &self.request.further[..]);
        if !wishes.any() && further.is_empty() {
            return Ok(Cargo {
                images: images.into_iter().map(|(image, _)| image).collect(),
                index: Some(index),
            });
        }
        let document: serde_json::Value = serde_json::from_slice(&index.bytes)
            .map_err(|err| Error::new(Kind::System, format!("read index {}: {err}", index.digest)))?;
        let entries = document["manifests"].as_array().cloned().unwrap_or_default();
        if images.len() != entries.len() {
            let message = "a list can only be changed on its way if its images go with it";
            return Err(Error::invalid(message).hint("leave --all=false out"));
        }
        let listed = entries
            .into_iter()
            .zip(images)
            .map(|(entry, (image, is_artifact))| relist::Listed { entry, image, is_artifact })
            .collect();
        let store = self.engine.store();
        let again = |digest: &Digest| gather(store, digest).map_err(|err| self.missing(err));
        let (index, images) = relist::relist(store, &index, listed, (wishes, further), again)?;
        Ok(Cargo { images, index: Some(index) })
    }

    /// Signatures lie beside images of registries and in `dir:`; archives and layouts have no place for them.
    fn refuse_to_sign(&self, place: &Place) -> Result<()> {
        match (&self.request.sign, place) {
            (None, _) | (_, Place::Dir(_)) => Ok(()),
            _ => Err(Error::invalid("signatures can only be written to a registry or to dir:")),
        }
    }

    /// The failure of reading a part of the image.
    fn missing(&self, err: Error) -> Error {
        Error { message: format!("push {}: {}", self.request.image, err.message), ..err }
    }
}

/// What was wished, and the usual compression for what no registry has seen yet: nothing that was
/// pulled is changed unasked.
fn plan(
    record: &ImageRecord,
    stored: &StoredManifest,
    wishes: Wishes,
    compress_plain: bool,
) -> convert::Plan {
    let mut known = record.repo_digests.iter().filter_map(|name| name.digest());
    let pulled = known.any(|digest| *digest == stored.digest || Some(*digest) == stored.index);
    convert::Plan { wishes, compress_plain: wishes.compress || (compress_plain && !pulled) }
}

/// The manifest that the name of the image stands for.
fn stored_manifest<'a>(found: &'a Resolved, typed: &str) -> Result<&'a StoredManifest> {
    let record = &found.image;
    let named =
        found.manifest.and_then(|wanted| record.manifests.iter().find(|known| known.digest == wanted));
    named
        .or_else(|| record.manifest())
        .ok_or_else(|| Error::new(Kind::Unsupported, format!("push {typed}: the image has no manifest")))
}

/// A file that several uploads read.
type SharedFile = Arc<std::fs::File>;
