//! The service itself: whether it is there, what it is, what it holds.

use serde_json::json;

use super::fault::Fault;
use super::http::exchange::{Answer, Exchange};
use crate::documents;

/// `GET /_ping`: `OK`, with what a client asks of a server in the headers.
pub(crate) fn ping(_: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let headers = vec![
        // The classic way to build; BuildKit's is a protocol of its own.
        ("Builder-Version", "1".to_owned()),
        ("Swarm", "inactive".to_owned()),
        ("Cache-Control", "no-cache, no-store, must-revalidate".to_owned()),
        ("Pragma", "no-cache".to_owned()),
    ];
    Ok(Answer::Text(200, "OK".to_owned(), headers))
}

/// `GET /version`.
pub(crate) fn version(_: &mut Exchange<'_>) -> Result<Answer, Fault> {
    Ok(Answer::ok(documents::version::docker()))
}

/// `GET /info`.
pub(crate) fn info(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    Ok(Answer::ok(documents::info::docker(&*exchange.engine()?)?))
}

/// `GET /plugins`: there are none.
pub(crate) fn plugins(_: &mut Exchange<'_>) -> Result<Answer, Fault> {
    Ok(Answer::ok(json!([])))
}

/// What several machines are needed for.
pub(crate) fn swarm(_: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let message = "This node is not a swarm manager. ketch runs containers of one machine, and has no swarm.";
    Err(Fault::new(503, message))
}
