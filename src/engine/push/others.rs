//! Pushing what is no single image: manifest lists and artifacts.

use std::sync::Arc;

use serde_json::Value;

use crate::base::digest::Digest;
use crate::base::image_ref::ImageName;
use crate::base::manifest::{Descriptor, Document};
use crate::engine::pull::PullEvent;
use crate::engine::push::outgoing::{OutBlob, OutManifest, Outgoing, gather, read_manifest};
use crate::engine::push::{Cargo, PushRequest, Pushed, Pusher, local, named_place, remote};
use crate::engine::register::MAX_DOCUMENT;
use crate::engine::transport::Place;
use crate::engine::{Engine, Error, Kind, Result};
use crate::store::shelf::Item;

/// Pushes a manifest list, with its images unless `request.all` is false.
///
/// # Errors
///
/// As [`push`](super::push); if an image of the list is not here.
pub(crate) fn push_list(
    engine: &Engine,
    list: &Item,
    request: &PushRequest,
    events: &dyn Fn(&PullEvent<'_>),
) -> Result<Pushed> {
    let pusher = Pusher { engine, request, events };
    let store = engine.store();
    let index = read_manifest(store, &list.document)?;
    let Ok(Document::Index { entries, .. }) = Document::parse(&index.bytes, &index.media_type) else {
        return Err(Error::system(format!("push {}", list.name), "it is no index"));
    };
    let mut images = Vec::new();
    if request.all {
        for entry in &entries {
            images.push(match gather(store, &entry.descriptor.digest) {
                Err(err) if err.kind == Kind::Unsupported => {
                    (artifact(engine, &list.name, &entry.descriptor.digest)?, true)
                }
                other => (other?, false),
            });
        }
    }
    let cargo = pusher.listed(index, images)?;
    let to = match &request.destination {
        Some(typed) => Place::parse(typed)?,
        None => named_place(&request.image, list.name.clone()),
    };
    match to {
        Place::Registry(name) => remote::push(&pusher, None, &cargo, &destination(&name)?),
        place => {
            pusher.refuse_to_sign(&place)?;
            local::push(&pusher, None, &cargo, &place)
        }
    }
}

/// Pushes an artifact by the digest of its manifest.
///
/// # Errors
///
/// As [`push`](super::push).
pub(crate) fn push_artifact(
    engine: &Engine,
    name: &str,
    digest: &Digest,
    request: &PushRequest,
    events: &dyn Fn(&PullEvent<'_>),
) -> Result<Pushed> {
    let pusher = Pusher { engine, request, events };
    let cargo = Cargo { images: vec![artifact(engine, name, digest)?], index: None };
    remote::push(&pusher, None, &cargo, &destination(request.destination.as_deref().unwrap_or(name))?)
}

/// Opens everything that an artifact consists of.
fn artifact(engine: &Engine, name: &str, digest: &Digest) -> Result<Outgoing> {
    let bytes = engine.store().blobs().read_small(digest, MAX_DOCUMENT)?;
    let json: Value =
        serde_json::from_slice(&bytes).map_err(|err| Error::system("read the manifest", err))?;
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let open = |value: &Value| -> Result<OutBlob> {
        let broken = || Error::invalid(format!("push {name}: its manifest is malformed"));
        let digest = text(value, "digest").parse::<Digest>().map_err(|_| broken())?;
        let size = value["size"].as_u64().ok_or_else(broken)?;
        let file = Arc::new(engine.store().blobs().open(&digest)?);
        Ok(OutBlob { descriptor: Descriptor { media_type: text(value, "mediaType"), digest, size }, file })
    };
    let config = open(&json["config"])?;
    let layers = json["layers"].as_array().into_iter().flatten().map(open).collect::<Result<_>>()?;
    let manifest = OutManifest { digest: *digest, media_type: text(&json, "mediaType"), bytes };
    Ok(Outgoing { manifest, config, layers, _staged: vec![] })
}

/// Reads the name to push under.
fn destination(typed: &str) -> Result<ImageName> {
    let text = typed.strip_prefix("docker://").unwrap_or(typed);
    text.parse().map_err(|err| Error::invalid(format!("{err}")))
}
