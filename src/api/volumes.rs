//! Volumes.

use serde_json::{Value, json};

use super::document::{Texts, documents, texts};
use super::fault::Fault;
use super::http::exchange::{Answer, Exchange};
use crate::documents;
use crate::engine::filter;
use crate::engine::volume::{self, VolumeRequest};

documents! {
    /// The body of `POST /volumes/create`.
    Create {
        name: String,
        driver: String,
        driver_opts: Texts,
        labels: Texts,
        cluster_volume_spec: Value,
    }
}

/// `GET /volumes`.
pub(crate) fn list(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let engine = exchange.engine()?;
    let found = engine.volumes(&exchange.filters_of(volume::FILTERS)?)?;
    let volumes: Vec<Value> =
        found.items.iter().map(|volume| documents::volume::docker(&engine, volume)).collect();
    let warnings: Vec<String> = found.damaged.iter().map(ToString::to_string).collect();
    let warnings = if warnings.is_empty() { Value::Null } else { warnings.into() };
    Ok(Answer::ok(json!({"Volumes": volumes, "Warnings": warnings})))
}

/// `POST /volumes/create`: one that is there already is the answer.
pub(crate) fn create(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let asked: Create = exchange.json()?;
    let driver = &asked.driver;
    if !matches!(driver.as_str(), "" | "local") {
        let message = format!("error looking up volume plugin {driver}: plugin \"{driver}\" not found");
        return Err(Fault::new(404, message));
    }
    if !asked.cluster_volume_spec.is_null() {
        return Err(Fault::new(400, "cluster volumes need a swarm"));
    }
    let engine = exchange.engine()?;
    let name = engine.create_volume(VolumeRequest {
        name: Some(asked.name).filter(|name| !name.is_empty()),
        labels: texts(&asked.labels),
        options: texts(&asked.driver_opts),
        ignore: true,
    })?;
    Ok(Answer::Json(201, documents::volume::docker(&engine, &engine.inspect_volume(&name)?.0)))
}

/// `GET /volumes/NAME`.
pub(crate) fn inspect(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let engine = exchange.engine()?;
    let (volume, _) = engine.inspect_volume(exchange.param(0))?;
    Ok(Answer::ok(documents::volume::docker(&engine, &volume)))
}

/// `DELETE /volumes/NAME`: with `force` one that is not there is no fault.
pub(crate) fn remove(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    match exchange.engine()?.remove_volume_named(exchange.param(0)) {
        Err(err) if err.kind == crate::engine::Kind::NotFound && exchange.flag("force") => {}
        other => other?,
    }
    Ok(Answer::Empty(204))
}

/// `POST /volumes/prune`: those without a name of their own; with the filter `all`, and before 1.42, all that are not used.
pub(crate) fn prune(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let filters = exchange.filters_of(filter::PRUNE_VOLUMES)?;
    let all =
        filters.values("all").any(|value| matches!(value, "1" | "true")) || exchange.version() < (1, 42);
    let engine = exchange.engine()?;
    let pruned = engine.prune_volumes(all, &filters)?;
    pruned.failed.iter().for_each(|err| engine.tell(&err.whole()));
    Ok(Answer::ok(json!({"VolumesDeleted": pruned.removed, "SpaceReclaimed": pruned.bytes})))
}
