//! What takes how much space: `GET /system/df`.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::containers::list as containers;
use super::fault::Fault;
use super::http::exchange::{Answer, Exchange};
use super::images::list as images;
use crate::documents;
use crate::engine::build::prune::KeptBuild;

/// What `type` may ask for; nothing asks for everything.
const KINDS: [&str; 4] = ["container", "image", "volume", "build-cache"];

/// The version of the API that no longer has `BuilderSize`.
const WITHOUT_BUILDER_SIZE: (u32, u32) = (1, 42);

/// `GET /system/df`.
pub(crate) fn usage(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let asked: Vec<&str> = exchange.query_all("type").collect();
    if let Some(unknown) = asked.iter().find(|kind| !KINDS.contains(kind)) {
        return Err(Fault::new(400, format!("unknown object type: {unknown}")));
    }
    let wants = |kind: &str| asked.is_empty() || asked.contains(&kind);
    let engine = exchange.engine()?;
    let usage = engine.disk_usage()?;
    let mut document = Map::new();
    let mut put = |key: &str, value: Value| drop(document.insert(key.to_owned(), value));
    if wants("image") {
        put("LayersSize", usage.layers_bytes.into());
        let rows = usage.images.iter().map(|used| {
            let mut row = images::document(&used.image, images::Shown::of(exchange));
            row["SharedSize"] = used.shared_bytes.into();
            row["Containers"] = used.image.containers.unwrap_or(0).into();
            row
        });
        put("Images", rows.collect());
    }
    if wants("container") {
        let found: Vec<_> = usage.containers.iter().map(|used| &used.container).collect();
        put("Containers", containers::documents(&engine, &found, true)?.into());
    }
    if wants("volume") {
        let rows = usage.volumes.iter().map(|used| {
            let mut row = documents::volume::docker(&engine, &used.volume);
            row["UsageData"] = json!({"RefCount": used.links, "Size": used.bytes});
            row
        });
        put("Volumes", rows.collect());
    }
    if wants("build-cache") {
        put("BuildCache", usage.builds.iter().map(kept).collect());
        if exchange.version() < WITHOUT_BUILDER_SIZE {
            put("BuilderSize", usage.builds.iter().map(|kept| kept.bytes).sum::<u64>().into());
        }
    }
    Ok(Answer::ok(document))
}

/// A step of a build, or a cache mount.
fn kept(build: &KeptBuild) -> Value {
    let when = |time: Timestamp| time.to_string();
    json!({
        "ID": build.cached.id,
        "Parents": [],
        "Type": build.kind(),
        "Description": build.cached.description,
        "InUse": false,
        "Shared": build.shared,
        "Size": build.bytes,
        "CreatedAt": when(build.cached.created),
        "LastUsedAt": when(build.cached.last_used),
        // Nobody counts.
        "UsageCount": 1,
    })
}
