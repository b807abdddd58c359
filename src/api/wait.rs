//! `POST /containers/{}/wait`.

use std::io::Write as _;
use std::os::fd::AsFd as _;

use serde_json::json;

use super::fault::Fault;
use super::http::exchange::{Answer, Exchange};
use super::named;
use crate::engine::next_end::Until;

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
            let code = exchange.engine()?.recent_exit_code(exchange.param(0)).ok_or(fault)?;
            return Ok(Answer::ok(json!({"StatusCode": code})));
        }
        found => found?,
    };
    let wait = engine.begin_wait(&id, until)?;
    let mut stream = exchange.stream(200, "application/json", &[])?;
    let client = stream.client().try_clone_to_owned()?;
    let document = match wait.finish(&engine, client.as_fd()) {
        Ok(Some(code)) => json!({"StatusCode": code}),
        Ok(None) => return Ok(Answer::Sent),
        Err(err) => json!({"StatusCode": -1, "Error": {"Message": err.whole()}}),
    };
    stream.write_all(format!("{document}\n").as_bytes())?;
    stream.finish()?;
    Ok(Answer::Sent)
}
