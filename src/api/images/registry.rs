//! What registries are asked about: images by a word, an image's platforms, a credential.

use serde_json::{Value, json};

use crate::api::fault::Fault;
use crate::api::http::exchange::{Answer, Exchange};
use crate::api::images::credentials::{self, AuthConfig};
use crate::base::image_ref::{DOCKER_HUB, NameRule};
use crate::engine::filter::Filters;
use crate::engine::login::{AuthFile, Login};
use crate::engine::remote::RemoteOptions;
use crate::engine::search::{self, FILTERS, FoundImage, SearchRequest};

/// Results of a search, if nobody says how many, and the most.
const LIMIT: (usize, usize) = (25, 100);

/// `GET /images/search`.
pub(crate) fn search(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let term = exchange.query("term").unwrap_or_default();
    if term.is_empty() {
        return Err(Fault::new(400, "no word to look for: term is missing"));
    }
    let limit = match exchange.query("limit") {
        None | Some("" | "0") => LIMIT.0,
        Some(text) => text.parse().ok().filter(|limit| (1..=LIMIT.1).contains(limit)).ok_or_else(|| {
            Fault::new(400, format!("limit {text} is outside the range of [1, {}]", LIMIT.1))
        })?,
    };
    let filters: Vec<_> =
        exchange.filters()?.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    let request = SearchRequest {
        term: term.to_owned(),
        limit,
        filters: Filters::parse(&filters, FILTERS)?,
        remote: credentials::remote(exchange)?,
    };
    let mut found = search::search(exchange.engine()?.conf(), &request)?;
    if let (Some(failure), true) = (found.failures.pop(), found.images.is_empty()) {
        return Err(failure.into());
    }
    Ok(Answer::ok(found.images.iter().map(hit).collect::<Vec<_>>()))
}

fn hit(found: &FoundImage) -> Value {
    let hit = &found.hit;
    json!({
        "star_count": hit.stars,
        "is_official": hit.official,
        "name": NameRule::Docker.shown_text(&found.name),
        "is_automated": hit.automated,
        "description": hit.description,
    })
}

/// `GET /distribution/{*}/json`.
pub(crate) fn offered(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let remote = credentials::remote(exchange)?;
    let offered = exchange.engine()?.offered(exchange.param(0), &remote)?;
    let descriptor = &offered.descriptor;
    let platforms = offered.platforms.iter().map(|platform| {
        let mut document = json!({"architecture": platform.arch, "os": platform.os});
        if !platform.variant.is_empty() {
            document["variant"] = platform.variant.as_str().into();
        }
        document
    });
    Ok(Answer::ok(json!({
        "Descriptor": {
            "mediaType": descriptor.media_type,
            "digest": descriptor.digest.to_string(),
            "size": descriptor.size,
        },
        "Platforms": platforms.collect::<Vec<_>>(),
    })))
}

/// `POST /auth`: whether a credential is good. It is not kept: that is the client's business.
pub(crate) fn auth(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let auth: AuthConfig = exchange.json()?;
    let server = if auth.serveraddress.is_empty() { DOCKER_HUB } else { auth.serveraddress.as_str() };
    let credential = auth.credential()?.ok_or_else(|| Fault::new(400, "no name and no token was sent"))?;
    let engine = exchange.engine()?;
    let remote = RemoteOptions { credential: None, ..credentials::remote(exchange)? };
    let login = Login::new(Some(server), &remote, AuthFile::default(), engine.conf())?;
    login.check(&credential)?;
    Ok(Answer::ok(json!({"Status": "Login Succeeded", "IdentityToken": ""})))
}
