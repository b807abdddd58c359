//! `GET /containers/json`.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::fault::Fault;
use crate::api::http::exchange::{Answer, Exchange};
use crate::documents::container;
use crate::documents::listing::{self, Named};
use crate::documents::ports;
use crate::engine::Engine;
use crate::engine::filter;
use crate::engine::list::{Container, Query};

/// Lists containers, the newest first.
///
/// # Errors
///
/// For a filter that means nothing; if the store cannot be read.
pub(crate) fn list(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let engine = exchange.engine()?;
    let last = match exchange.query("limit").filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => {
            let limit: i64 = text.parse().map_err(|_| Fault::new(400, format!("invalid limit {text:?}")))?;
            usize::try_from(limit).ok().filter(|limit| *limit > 0)
        }
    };
    let filters = exchange.filters_of(filter::CONTAINER)?;
    let query = Query { all: exchange.flag("all"), last, filters, connections: true };
    let found = engine.containers(&query)?;
    let found: Vec<_> = found.items.iter().rev().collect();
    Ok(Answer::ok(documents(&engine, &found, exchange.flag("size"))?))
}

/// These containers as docker lists them.
///
/// # Errors
///
/// If the store cannot be read.
pub(crate) fn documents(engine: &Engine, containers: &[&Container], size: bool) -> Result<Vec<Value>, Fault> {
    let (named, now) = (Named::read(engine)?, Timestamp::now());
    let entries = containers.iter().filter_map(|found| {
        // What was removed meanwhile is not there.
        let document = container::docker_listed(engine, found).ok()?;
        Some(entry(engine, found, &named, &document, now, size))
    });
    Ok(entries.collect())
}

/// One container, of which `document` is the part that `inspect` says, too.
fn entry(
    engine: &Engine,
    found: &Container,
    named: &Named,
    document: &Value,
    now: Timestamp,
    size: bool,
) -> Value {
    let image = found.summary.image.as_ref().map_or(String::new(), |image| image.id.to_string());
    let mut entry = json!({
        "Id": found.id.as_str(),
        "Names": [format!("/{}", found.name)],
        "Image": named.image(found, true),
        "ImageID": image,
        "Command": listing::command(found),
        "Created": found.summary.created.as_second(),
        "Ports": ports::of(found).iter().map(port).collect::<Vec<_>>(),
        "Labels": found.summary.labels,
        "State": listing::state(found),
        "Status": listing::status(found, now),
        "HostConfig": {"NetworkMode": document["HostConfig"]["NetworkMode"]},
        "NetworkSettings": {"Networks": document["NetworkSettings"]["Networks"]},
        "Mounts": document["Mounts"],
    });
    if size {
        // What cannot be measured counts as nothing.
        let changed = engine.container_size(&found.id).unwrap_or(0);
        let image = found.summary.image.as_ref();
        let image = image.and_then(|image| engine.store().images().get(&image.id).ok());
        entry["SizeRw"] = changed.into();
        entry["SizeRootFs"] = (changed + image.map_or(0, |image| image.size_bytes)).into();
    }
    entry
}

fn port(port: &ports::Port) -> Value {
    let mut shown = json!({"PrivatePort": port.private, "Type": port.protocol});
    if port.public != 0 {
        shown["IP"] = port.ip.as_str().into();
        shown["PublicPort"] = port.public.into();
    }
    shown
}
