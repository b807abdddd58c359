//! `POST /build`: docker's classic way to build. BuildKit's is a protocol of its own, which is not served.

mod report;
mod request;

use std::cell::RefCell;
use std::io::Read as _;
use std::sync::Arc;

use crate::api::fault::Fault;
use crate::api::http::exchange::{Answer, Exchange};
use crate::api::images::credentials;
use crate::api::images::lines::Lines;
use crate::engine::build::request::BuildRequest;
use crate::engine::build::{self, keep_context};
use report::{Reporter, failed};

/// Answers the request.
pub(crate) fn build(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let engine = exchange.engine()?;
    let mut request = request::read(&|key| exchange.query_all(key).map(str::to_owned).collect())?;
    request.form = engine.conf().engine.default_form()?;
    request.pull.remote.credentials = credentials::of_build(exchange);
    let quiet = exchange.flag("q");
    let kept = match request.context.as_bytes() {
        b"" => {
            let kept = keep_context(&engine, exchange.body().by_ref())?;
            request.context = kept.path().as_path().into();
            Some(kept)
        }
        _ => None,
    };
    let mut lines = Lines::new(exchange);
    request.hang_up = lines.client()?.map(Arc::new);
    request.pull.remote.hang_up.clone_from(&request.hang_up);
    let outcome = run(&engine, &request, quiet, &mut lines);
    drop(kept);
    match outcome {
        Ok(()) => lines.finish(Ok(())),
        Err((fault, code)) => lines.fail(fault, code),
    }
}

/// Builds, and tells how it goes. A failure comes with the exit code of the step that has failed.
fn run(
    engine: &crate::engine::Engine,
    request: &BuildRequest,
    quiet: bool,
    lines: &mut Lines<'_, '_>,
) -> Result<(), (Fault, Option<i32>)> {
    let reporter = RefCell::new(Reporter::new(quiet));
    let built = build::build(engine, request, &mut |event| {
        for document in reporter.borrow_mut().documents(event) {
            lines.send(&document);
        }
    });
    match built {
        Ok(built) => {
            for document in reporter.into_inner().end(built.id.as_ref(), &request.names) {
                lines.send(&document);
            }
            Ok(())
        }
        Err(fault) => Err(failed(fault, reporter.into_inner().failure())),
    }
}

/// `POST /session` and `/grpc`: what only BuildKit's clients want.
pub(crate) fn without_buildkit(_: &mut Exchange<'_>) -> Result<Answer, Fault> {
    Err(Fault::new(501, request::NO_BUILDKIT))
}
