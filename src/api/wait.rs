//! `POST /containers/{}/wait`.

use std::io::Write as _;

use serde_json::{Value, json};

use super::fault::Fault;
use super::http::exchange::{Answer, Exchange};
use super::named;
use crate::engine::next_end::{Ending, Until};

/// The version of the API from which on there is more to wait for than that a container does not run.
const HAS_CONDITIONS: (u32, u32) = (1, 30);

/// Answers the request. Its head comes when nothing is missed any more.
pub(crate) fn wait(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let until = match exchange.query("condition").unwrap_or_default() {
        _ if exchange.version() < HAS_CONDITIONS => Until::NotRunning,
        "" | "not-running" => Until::NotRunning,
        "next-exit" => Until::NextEnd,
        "removed" => Until::Removed,
        other => return Err(Fault::new(400, format!("invalid condition: {other:?}"))),
    };
    let (engine, id) = match named::container(exchange) {
        // It was faster, and removed with its end.
        Err(fault) if fault.status == 404 => {
            let ending = exchange.engine()?.recent_ending(exchange.param(0)).ok_or(fault)?;
            return Ok(Answer::ok(document(&ending)));
        }
        found => found?,
    };
    let wait = engine.begin_wait(&id, until)?;
    let mut stream = exchange.stream(200, "application/json", &[])?;
    let client = stream.client().try_clone_to_owned()?;
    let ending = match wait.finish(&engine, std::os::fd::AsFd::as_fd(&client)) {
        Ok(Some(ending)) => ending,
        Ok(None) => return Ok(Answer::Sent),
        Err(err) => Ending { code: -1, error: err.whole() },
    };
    stream.write_all(format!("{}\n", document(&ending)).as_bytes())?;
    stream.finish()?;
    Ok(Answer::Sent)
}

fn document(ending: &Ending) -> Value {
    match ending.error.as_str() {
        "" => json!({"StatusCode": ending.code}),
        error => json!({"StatusCode": ending.code, "Error": {"Message": error}}),
    }
}
