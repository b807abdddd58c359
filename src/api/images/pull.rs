//! `POST /images/create`: images from registries, archives and addresses.

use std::cell::RefCell;
use std::io::Read;

use serde_json::json;

use crate::api::fault::Fault;
use crate::api::http::exchange::{Answer, Exchange};
use crate::api::images::commit::instructions;
use crate::api::images::credentials;
use crate::api::images::lines::Lines;
use crate::api::images::names::{full_name, platform_of};
use crate::api::images::progress::Reporter;
use crate::base::image_ref::{ImageName, ImageRef};
use crate::base::platform::Platform;
use crate::engine::image::new_name;
use crate::engine::import::Import;
use crate::engine::pull::{self, PullPolicy, PullRequest, Pulled};
use crate::engine::{Engine, Error, Kind};

/// Answers the request.
pub(crate) fn create(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let platform = exchange.query("platform").filter(|text| !text.is_empty()).map(platform_of).transpose()?;
    let tag = exchange.query("tag").unwrap_or_default().to_owned();
    if let Some(source) = exchange.query("fromSrc").filter(|text| !text.is_empty()) {
        let source = source.to_owned();
        return import(exchange, &source, &tag, platform);
    }
    let image = match exchange.query("fromImage") {
        None | Some("") => return Err(Fault::new(400, "fromImage and fromSrc are both missing")),
        Some(image) => image.to_owned(),
    };
    let request = PullRequest {
        policy: PullPolicy::Always,
        platform,
        remote: credentials::remote(exchange)?,
        choose: None,
    };
    let engine = exchange.engine()?;
    let name: ImageName = full_name(&image, &tag).parse().map_err(|err| Fault::new(400, format!("{err}")))?;
    let known = engine.named_images()?;
    let lines = RefCell::new(Lines::new(exchange));
    let reporter = RefCell::new(Reporter::default());
    let events = |event: &pull::PullEvent<'_>| {
        let documents = reporter.borrow_mut().documents(event);
        documents.iter().for_each(|document| lines.borrow_mut().send(document));
    };
    let tell = |pulled: &Pulled| {
        let Some(name) = &pulled.name else { return Ok(()) };
        let was_here = known.iter().any(|(other, image)| other == name && *image == pulled.id);
        let mut documents = reporter.borrow_mut().end(was_here);
        documents.extend(closing(&engine, pulled, name, was_here)?);
        documents.iter().for_each(|document| lines.borrow_mut().send(document));
        Ok::<(), Error>(())
    };
    // As docker's daemon: without a tag all of them are meant. Its command line never leaves it out.
    let pulled = match name.tag().is_none() && name.digest().is_none() {
        true => {
            let mut told = Ok(());
            pull::pull_all_tags(&engine, &name.to_string(), &request, &events, &mut |pulled| {
                if told.is_ok() {
                    told = tell(&pulled);
                }
            })
            .and(told)
        }
        false => pull::pull(&engine, &name.to_string(), &request, &events).and_then(|pulled| tell(&pulled)),
    };
    lines.into_inner().finish(pulled.map_err(refused))
}

/// The last lines about an image.
fn closing(
    engine: &Engine,
    pulled: &Pulled,
    name: &ImageRef,
    was_here: bool,
) -> Result<Vec<serde_json::Value>, Error> {
    let mut lines = Vec::new();
    if let Some(digest) = pulled.digest_of(engine, name)? {
        lines.push(json!({"status": format!("Digest: {digest}")}));
    }
    let status = if was_here { "Image is up to date" } else { "Downloaded newer image" };
    lines.push(json!({"status": format!("Status: {status} for {}", name.familiar())}));
    Ok(lines)
}

/// A registry that denies access does not tell whether there is such an image: to docker's clients there is none.
fn refused(err: Error) -> Fault {
    let is_denied = err.kind == Kind::Unauthorized;
    let mut fault = Fault::from(err);
    if is_denied {
        fault.status = 404;
    }
    fault
}

/// Makes an image of an archive: of the body, or of what lies at an address.
fn import(
    exchange: &mut Exchange<'_>,
    source: &str,
    tag: &str,
    platform: Option<Platform>,
) -> Result<Answer, Fault> {
    let engine = exchange.engine()?;
    let repository = exchange.query("repo").unwrap_or_default();
    let names = match full_name(repository, tag).as_str() {
        "" => vec![],
        _ if repository.is_empty() => {
            return Err(Fault::new(400, "a tag needs a repository: repo is missing"));
        }
        name => vec![new_name(name, engine.name_rule())?],
    };
    let import = Import {
        names,
        changes: instructions(exchange.query_all("changes")),
        message: exchange.query("message").unwrap_or_default().to_owned(),
        platform: platform.unwrap_or_else(Platform::host),
    };
    let id = match source {
        "-" => engine.import_image(&mut exchange.body() as &mut (dyn Read + Send), &import)?,
        // As docker: a host without a scheme.
        address if !address.contains("://") => engine.import_url(&format!("http://{address}"), &import)?,
        address => engine.import_url(address, &import)?,
    };
    let mut lines = Lines::new(exchange);
    lines.send(&json!({"status": id.to_string()}));
    lines.finish(Ok(()))
}
