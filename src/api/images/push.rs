//! `POST /images/{*}/push`.

use std::cell::RefCell;

use serde_json::json;

use crate::api::fault::Fault;
use crate::api::http::exchange::{Answer, Exchange};
use crate::api::images::credentials;
use crate::api::images::lines::Lines;
use crate::api::images::names::{full_name, platform_of};
use crate::api::images::progress::Reporter;
use crate::base::image_ref::{DOCKER_HUB, ImageName, Purpose};
use crate::engine::pull::PullEvent;
use crate::engine::push::{self, PushRequest, Pushed, Wishes};
use crate::engine::{Engine, Error};

/// Answers the request.
pub(crate) fn push(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let platform = exchange.query("platform").filter(|text| !text.is_empty()).map(platform_of).transpose()?;
    let typed = full_name(exchange.param(0), exchange.query("tag").unwrap_or_default());
    let name: ImageName = typed.parse().map_err(|err| Fault::new(400, format!("{err}")))?;
    let engine = exchange.engine()?;
    let names = names(&engine, &name)?;
    let request = PushRequest {
        wishes: Wishes::default().or_configured(&engine.conf().engine)?,
        remote: credentials::remote(exchange)?,
        ..PushRequest::default()
    };
    let lines = RefCell::new(Lines::new(exchange));
    let repository = name.on(DOCKER_HUB).name();
    lines.borrow_mut().send(&json!({"status": format!("The push refers to repository [{repository}]")}));
    let reporter = RefCell::new(Reporter::default());
    let events = |event: &PullEvent<'_>| {
        let documents = reporter.borrow_mut().documents(event);
        documents.iter().for_each(|document| lines.borrow_mut().send(document));
    };
    let push_one = |name: &String| {
        let image = engine.on_platform(name, platform.as_ref(), Purpose::Act)?;
        let destination = if image == *name { None } else { Some(engine.full_name(name)?) };
        let pushed = push::push(&engine, &PushRequest { image, destination, ..request.clone() }, &events)?;
        for document in closing(&pushed) {
            lines.borrow_mut().send(&document);
        }
        Ok::<(), Error>(())
    };
    let pushed = names.iter().try_for_each(push_one);
    lines.into_inner().finish(pushed.map_err(Fault::from))
}

/// What is pushed: the name, or without a tag all of its repository.
fn names(engine: &Engine, name: &ImageName) -> Result<Vec<String>, Fault> {
    let unknown = || {
        let shown = name.on(DOCKER_HUB).without_reference().familiar();
        Fault::new(404, format!("An image does not exist locally with the tag: {shown}"))
    };
    if name.tag().is_none() && name.digest().is_none() {
        return push::names_of_repository(engine, &name.to_string()).map_err(|_| unknown());
    }
    let typed = name.to_string();
    match engine.store().find_list(&typed, Purpose::Act) {
        Ok(Some(_)) => {}
        _ => drop(engine.image_for(&typed, Purpose::Act).map_err(|_| unknown())?),
    }
    Ok(vec![typed])
}

/// The last lines about what was pushed.
fn closing(pushed: &Pushed) -> Vec<serde_json::Value> {
    let Some((name, bytes)) = &pushed.there else { return vec![] };
    let Some(tag) = name.tag() else { return vec![] };
    let digest = pushed.digest;
    vec![
        json!({"status": format!("{tag}: digest: {digest} size: {bytes}")}),
        json!({"progressDetail": {}, "aux": {"Tag": tag, "Digest": digest.to_string(), "Size": bytes}}),
    ]
}
