//! Images as archives: out of the store and into it.

use std::io::Read;

use serde_json::json;

use crate::api::fault::Fault;
use crate::api::http::exchange::{Answer, Exchange};
use crate::api::images::lines::{Late, Lines};
use crate::api::images::names::platform_of;
use crate::base::image_ref::NameRule;
use crate::base::platform::Platform;
use crate::engine::load::{Loaded, Origin};
use crate::engine::save::{Output, Save, SaveFormat};

/// `GET /images/get`.
pub(crate) fn save_several(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    // Some clients send one list with commas.
    let names =
        exchange.query_all("names").flat_map(|names| names.split(',')).filter(|name| !name.is_empty());
    let names: Vec<String> = names.map(str::to_owned).collect();
    if names.is_empty() {
        return Err(Fault::new(400, "no image was named: names is missing"));
    }
    save(exchange, &names)
}

/// `GET /images/{*}/get`.
pub(crate) fn save_one(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let name = exchange.param(0).to_owned();
    save(exchange, &[name])
}

fn save(exchange: &mut Exchange<'_>, names: &[String]) -> Result<Answer, Fault> {
    let platform = platform(exchange)?;
    let engine = exchange.engine()?;
    let chosen = engine.choose_several(names, platform.as_ref())?;
    let how = Save { format: SaveFormat::DockerArchive, compress: false, uncompressed: false };
    let mut answer = Late::new(exchange, "application/x-tar");
    let saved = engine.save_archive(&chosen, &how, &mut Output::streaming(&mut answer));
    match saved {
        Ok(()) => answer.finish()?,
        Err(err) if answer.is_silent() => return Err(err.into()),
        // The head has gone: who reads sees an archive that breaks off.
        Err(_) => return Ok(Answer::Sent),
    }
    for name in names {
        // It may have been removed meanwhile.
        if let Ok(found) = engine.image(name) {
            engine.record_image("save", &found.image.id.hex(), "");
        }
    }
    Ok(Answer::Sent)
}

/// `POST /images/load`.
pub(crate) fn load(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let platform = platform(exchange)?;
    let engine = exchange.engine()?;
    let mut body = exchange.body();
    let archive: Box<dyn Read + Send + '_> = Box::new(&mut body);
    let loaded = engine.load(Origin::Archive(archive, None), None, platform.as_ref())?;
    let mut lines = Lines::new(exchange);
    for image in loaded {
        engine.record_image("loadfromarchive", &image.id.hex(), "");
        for line in told(&image) {
            lines.send(&json!({"stream": line}));
        }
    }
    lines.finish(Ok(()))
}

fn told(image: &Loaded) -> Vec<String> {
    if image.names.is_empty() {
        return vec![format!("Loaded image ID: {}\n", image.id)];
    }
    image.names.iter().map(|name| format!("Loaded image: {}\n", NameRule::Docker.shown(name))).collect()
}

/// The platform that was asked for.
fn platform(exchange: &Exchange<'_>) -> Result<Option<Platform>, Fault> {
    exchange.query("platform").filter(|text| !text.is_empty()).map(platform_of).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::digest::Digest;

    #[test]
    fn what_was_loaded() {
        let id = Digest::of(b"");
        let names = vec!["docker.io/library/a:1".parse().unwrap(), "r.io/b:2".parse().unwrap()];
        assert_eq!(told(&Loaded { id, names }), ["Loaded image: a:1\n", "Loaded image: r.io/b:2\n"]);
        assert_eq!(told(&Loaded { id, names: vec![] }), [format!("Loaded image ID: {id}\n")]);
    }
}
