//! What there is: `GET /images/json`.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::api::fault::Fault;
use crate::api::http::exchange::{Answer, Exchange};
use crate::base::digest::Digest;
use crate::base::image_ref::{ImageRef, NameRule};
use crate::engine::df::Usage;
use crate::engine::filter::{self, Filters};
use crate::engine::image::Image;

/// The version of the API that no longer has `VirtualSize`.
const WITHOUT_VIRTUAL_SIZE: (u32, u32) = (1, 44);

/// The version of the API from which on an image without a name has none; before, it is called `<none>:<none>`.
const WITHOUT_NONE: (u32, u32) = (1, 43);

/// The version of the API that may list manifests.
const WITH_MANIFESTS: (u32, u32) = (1, 47);

/// What a listing shows beside what every listing does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown {
    version: (u32, u32),
    manifests: bool,
}

impl Shown {
    /// What a client gets that asks for nothing more.
    pub(crate) fn of(exchange: &Exchange<'_>) -> Self {
        Self { version: exchange.version(), manifests: false }
    }
}

/// `GET /images/json`.
pub(crate) fn list(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let engine = exchange.engine()?;
    let manifests = exchange.flag("manifests") && exchange.version() >= WITH_MANIFESTS;
    let shown = Shown { manifests, ..Shown::of(exchange) };
    let mut filters: Vec<String> =
        exchange.filters()?.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    // Of versions before 1.41.
    filters.extend(
        exchange.query("filter").filter(|name| !name.is_empty()).map(|name| format!("reference={name}")),
    );
    if !exchange.flag("all") {
        filters.push("intermediate=false".to_owned());
    }
    let filters = Filters::parse(&filters, filter::IMAGE)?;
    let found = engine.images_and_lists(&filters, true)?;
    let shared = match exchange.flag("shared-size") {
        true => shared_sizes(&engine.disk_usage()?),
        false => HashMap::new(),
    };
    let documents = found.items.iter().map(|image| {
        let mut document = document(image, shown);
        if shown.manifests {
            document["Manifests"] =
                manifests_of(image, &|blob| engine.store().blobs().length(blob).ok().flatten());
        }
        if let Some(bytes) = shared.get(&image.record.id) {
            document["SharedSize"] = (*bytes).into();
        }
        document
    });
    Ok(Answer::ok(documents.collect::<Vec<_>>()))
}

fn shared_sizes(usage: &Usage) -> HashMap<Digest, u64> {
    usage.images.iter().map(|used| (used.image.record.id, used.shared_bytes)).collect()
}

/// An image as docker lists it.
pub(crate) fn document(image: &Image, shown: Shown) -> Value {
    let record = &image.record;
    let names =
        |names: &[ImageRef]| names.iter().map(|name| NameRule::Docker.shown(name)).collect::<Vec<_>>();
    let (mut tags, mut digests) = (names(&image.names), names(&image.repo_digests(NameRule::Docker)));
    if shown.version < WITHOUT_NONE && tags.is_empty() && digests.is_empty() {
        tags.push("<none>:<none>".to_owned());
        digests.push("<none>@<none>".to_owned());
    }
    let mut document = json!({
        "Containers": -1,
        "Created": image.created().as_second(),
        "Id": record.id.to_string(),
        "Labels": if record.labels.is_empty() { Value::Null } else { json!(record.labels) },
        "ParentId": image.parent.map_or(String::new(), |parent| parent.to_string()),
        "RepoDigests": digests,
        "RepoTags": tags,
        "SharedSize": -1,
        "Size": record.size_bytes,
    });
    if shown.version < WITHOUT_VIRTUAL_SIZE {
        document["VirtualSize"] = record.size_bytes.into();
    }
    document
}

/// Each manifest of the image. `length` says how long a blob is that is here.
fn manifests_of(image: &Image, length: &dyn Fn(&Digest) -> Option<u64>) -> Value {
    let record = &image.record;
    let platform = &record.platform;
    let manifests = record.manifests.iter().map(|manifest| {
        let content = manifest.size_bytes + manifest.layers.iter().filter_map(length).sum::<u64>();
        json!({
            "ID": manifest.digest.to_string(),
            "Descriptor": {
                "mediaType": manifest.media_type,
                "digest": manifest.digest.to_string(),
                "size": manifest.size_bytes,
            },
            "Available": true,
            "Kind": "image",
            "Size": {"Content": content, "Total": content + record.size_bytes},
            "ImageData": {
                "Platform": {"os": platform.os, "architecture": platform.arch, "variant": platform.variant},
                "Containers": [],
                "Size": {"Unpacked": record.size_bytes},
            },
        })
    });
    manifests.collect()
}
