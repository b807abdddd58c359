//! What is known of one image.

use serde_json::{Value, json};

use crate::api::fault::Fault;
use crate::api::http::exchange::{Answer, Exchange};
use crate::api::images::names::platform_of;
use crate::base::image_ref::Purpose;
use crate::documents;
use crate::engine::history::Step;

/// `GET /images/{*}/json`.
pub(crate) fn inspect(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let image = named(exchange)?;
    Ok(Answer::ok(documents::image::docker(&*exchange.engine()?, &image)?))
}

/// `GET /images/{*}/history`.
pub(crate) fn history(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let image = named(exchange)?;
    let steps = exchange.engine()?.image_history(&image)?;
    Ok(Answer::ok(steps.iter().map(step).collect::<Vec<_>>()))
}

/// The image that the path names, of the platform that was asked for.
fn named(exchange: &Exchange<'_>) -> Result<String, Fault> {
    let platform = exchange.query("platform").filter(|text| !text.is_empty()).map(platform_of).transpose()?;
    Ok(exchange.engine()?.on_platform(exchange.param(0), platform.as_ref(), Purpose::Read)?)
}

/// A step as docker tells of it.
fn step(step: &Step) -> Value {
    json!({
        "Comment": step.comment,
        "Created": step.created.map_or(0, jiff::Timestamp::as_second),
        "CreatedBy": step.created_by,
        "Id": step.id.map_or("<missing>".to_owned(), |id| id.to_string()),
        "Size": step.bytes,
        "Tags": if step.tags.is_empty() { Value::Null } else { json!(step.tags) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_that_are_no_image() {
        let missing = Step {
            id: None,
            created: None,
            created_by: "RUN x".to_owned(),
            bytes: 7,
            comment: String::new(),
            tags: vec![],
        };
        let want = json!({
            "Comment": "", "Created": 0, "CreatedBy": "RUN x", "Id": "<missing>", "Size": 7, "Tags": null,
        });
        assert_eq!(step(&missing), want);
    }
}
