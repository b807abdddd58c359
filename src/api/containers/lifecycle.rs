//! What is done with containers that are there, up to their removal.

use serde_json::{Value, json};

use crate::api::containers::create::document::{Limited, Update};
use crate::api::containers::create::{limits, process};
use crate::api::fault::{Fault, start_fault};
use crate::api::http::exchange::{Answer, Exchange};
use crate::api::named;
use crate::base::id::ContainerId;
use crate::base::limits::Limits;
use crate::base::signal::Signal;
use crate::documents::container;
use crate::engine::filter;
use crate::engine::lifecycle::{Grace, StopOrder, Stopped};
use crate::engine::remove::Removing;
use crate::engine::request::HealthRequest;
use crate::engine::start::Start;
use crate::engine::{Error, Kind};
use crate::runtime::layer::ChangeKind;
use crate::sys::tty::WindowSize;

type Result<T> = std::result::Result<T, Fault>;

/// `GET /containers/{}/json`.
pub(crate) fn inspect(exchange: &mut Exchange<'_>) -> Result<Answer> {
    let (engine, id) = named::container(exchange)?;
    Ok(Answer::ok(container::docker(&engine, &id, exchange.param(0), exchange.flag("size"))?))
}

/// `POST /containers/{}/start`.
pub(crate) fn start(exchange: &mut Exchange<'_>) -> Result<Answer> {
    let (engine, id) = named::container(exchange)?;
    if exchange.query("checkpoint").is_some_and(|name| !name.is_empty()) {
        return Err(Fault::new(501, "there are no checkpoints"));
    }
    let size = engine.container_spec(&id)?.process.console_size;
    let window = size.map(|(rows, cols)| WindowSize { rows, cols });
    match engine.start_container(&id, Start { window, ..Start::default() }) {
        Ok(_) => Ok(Answer::Empty(204)),
        Err(err) if err.kind == Kind::Conflict && engine.runs(&id).unwrap_or(false) => Ok(Answer::Empty(304)),
        Err(_) if engine.is_paused(&id).unwrap_or(false) => {
            Err(Fault::new(409, "cannot start a paused container, try unpause instead"))
        }
        Err(err) => {
            // One that was to be removed at its end does not stay behind.
            if engine.container_spec(&id).is_ok_and(|spec| spec.auto_remove) {
                engine.discard_container(&id);
            }
            Err(not_started(err))
        }
    }
}

/// Why a container has not started.
fn not_started(err: Error) -> Fault {
    let is_command = matches!(err.kind, Kind::CommandNotFound | Kind::NotExecutable);
    let fault = start_fault(err);
    match is_command {
        true => Fault::new(fault.status, format!("failed to create task for container: {}", fault.message)),
        false => fault,
    }
}

/// `POST /containers/{}/stop`.
pub(crate) fn stop(exchange: &mut Exchange<'_>) -> Result<Answer> {
    let (engine, id) = named::container(exchange)?;
    let order = order(exchange, id)?;
    let stopped = engine.stop(&[order]).pop();
    match stopped.transpose()? {
        Some(Stopped::Idle) | None => Ok(Answer::Empty(304)),
        Some(_) => Ok(Answer::Empty(204)),
    }
}

/// `POST /containers/{}/restart`.
pub(crate) fn restart(exchange: &mut Exchange<'_>) -> Result<Answer> {
    let (engine, id) = named::container(exchange)?;
    let order = order(exchange, id)?;
    engine.restart(&[order]).pop().transpose().map_err(not_started)?;
    Ok(Answer::Empty(204))
}

/// The query's `t` and `signal`.
fn order(exchange: &Exchange<'_>, id: ContainerId) -> Result<StopOrder> {
    let grace = match exchange.query("t").filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => {
            let seconds = text.parse().map_err(|_| Fault::new(400, format!("invalid time {text:?}")))?;
            Some(Grace::from_seconds(seconds))
        }
    };
    Ok(StopOrder { id, grace, signal: signal(exchange)? })
}

fn signal(exchange: &Exchange<'_>) -> Result<Option<Signal>> {
    let text = exchange.query("signal").filter(|text| !text.is_empty());
    let signal = text.map(|text| text.parse::<Signal>().map_err(|_| text));
    signal.transpose().map_err(|text| Fault::new(400, format!("invalid signal: {text}")))
}

/// `POST /containers/{}/kill`.
pub(crate) fn kill(exchange: &mut Exchange<'_>) -> Result<Answer> {
    let (engine, id) = named::container(exchange)?;
    let signal = signal(exchange)?.or(Signal::from_number(libc::SIGKILL));
    let signal = signal.ok_or_else(|| Fault::new(500, "there is no SIGKILL"))?;
    engine.kill(&id, signal)?;
    Ok(Answer::Empty(204))
}

/// `POST /containers/{}/pause`.
pub(crate) fn pause(exchange: &mut Exchange<'_>) -> Result<Answer> {
    let (engine, id) = named::container(exchange)?;
    engine.pause(&id)?;
    Ok(Answer::Empty(204))
}

/// `POST /containers/{}/unpause`.
pub(crate) fn unpause(exchange: &mut Exchange<'_>) -> Result<Answer> {
    let (engine, id) = named::container(exchange)?;
    engine.unpause(&id)?;
    Ok(Answer::Empty(204))
}

/// `POST /containers/{}/rename`.
pub(crate) fn rename(exchange: &mut Exchange<'_>) -> Result<Answer> {
    let (engine, id) = named::container(exchange)?;
    let new = exchange.query("name").unwrap_or_default().trim_start_matches('/');
    if new.is_empty() {
        return Err(Fault::new(400, "Neither old nor new names may be empty"));
    }
    if engine.container_name(&id)? == new {
        return Err(Fault::new(400, "Renaming a container with the same name as its current name"));
    }
    engine.rename_container(id.as_str(), new)?;
    Ok(Answer::Empty(204))
}

/// `POST /containers/{}/update`.
pub(crate) fn update(exchange: &mut Exchange<'_>) -> Result<Answer> {
    let (engine, id) = named::container(exchange)?;
    let Limited { own, resources }: Limited<Update> = exchange.json()?;
    let limits = limits::limits(&resources)?;
    let policy = process::restart(&own.restart_policy.name, own.restart_policy.maximum_retry_count)?;
    if limits != Limits::default() || policy.is_some() {
        engine.update_container(&id, &limits, policy, &HealthRequest::default())?;
    }
    Ok(Answer::ok(json!({"Warnings": limits::discarded(&resources)})))
}

/// `DELETE /containers/{}`.
pub(crate) fn remove(exchange: &mut Exchange<'_>) -> Result<Answer> {
    if exchange.flag("link") {
        exchange.engine()?.remove_link(exchange.param(0))?;
        return Ok(Answer::Empty(204));
    }
    let (engine, id) = named::container(exchange)?;
    let force = exchange.flag("force");
    if force {
        engine.refuse_infra(&id).map_err(|err| Fault::new(409, err.whole()))?;
    }
    let how = Removing { force, volumes: exchange.flag("v"), ..Removing::default() };
    engine.remove_container(&id, &how).map_err(|err| match err.kind {
        Kind::Conflict if !force => {
            let name = engine.container_name(&id).unwrap_or_default();
            let state = if engine.is_paused(&id).unwrap_or(false) { "paused" } else { "running" };
            let advice = "stop the container before removing or force remove";
            Fault::new(409, format!("cannot remove container \"/{name}\": container is {state}: {advice}"))
        }
        Kind::Invalid => Fault::new(409, err.whole()),
        _ => err.into(),
    })?;
    Ok(Answer::Empty(204))
}

/// `POST /containers/prune`.
pub(crate) fn prune(exchange: &mut Exchange<'_>) -> Result<Answer> {
    let filters = exchange.filters_of(filter::PRUNE)?;
    let pruned = exchange.engine()?.prune_containers(&filters)?;
    let removed: Vec<&str> = pruned.removed.iter().map(ContainerId::as_str).collect();
    let removed = if removed.is_empty() { Value::Null } else { json!(removed) };
    Ok(Answer::ok(json!({"ContainersDeleted": removed, "SpaceReclaimed": pruned.bytes})))
}

/// `GET /containers/{}/top`.
pub(crate) fn top(exchange: &mut Exchange<'_>) -> Result<Answer> {
    let (engine, id) = named::container(exchange)?;
    let words: Vec<String> =
        exchange.query("ps_args").unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect();
    let rows = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] | ["-ef"] => engine.dockers_top(&id),
        _ => engine.ps(&id, &words),
    };
    let mut rows = rows.map_err(|err| match err.kind {
        Kind::Conflict => Fault::new(409, format!("container {id} is not running")),
        _ => err.into(),
    })?;
    let titles = if rows.is_empty() { Vec::new() } else { rows.remove(0) };
    Ok(Answer::ok(json!({"Titles": titles, "Processes": rows})))
}

/// `GET /containers/{}/changes`.
pub(crate) fn changes(exchange: &mut Exchange<'_>) -> Result<Answer> {
    let (engine, id) = named::container(exchange)?;
    let changes = engine.container_changes(&id)?;
    let changes = changes.iter().map(|change| {
        let kind = match change.kind {
            ChangeKind::Changed => 0,
            ChangeKind::Added => 1,
            ChangeKind::Deleted => 2,
        };
        json!({"Path": change.path.to_string_lossy(), "Kind": kind})
    });
    Ok(Answer::ok(changes.collect::<Vec<_>>()))
}
