//! Finding what a path names.

use std::rc::Rc;

use super::fault::Fault;
use super::http::exchange::Exchange;
use crate::base::id::ContainerId;
use crate::engine::{Engine, Error, Kind};

/// The engine, and the container that the first place of the path names.
///
/// # Errors
///
/// 404 if there is none; 400 if it could be several.
pub(crate) fn container(exchange: &Exchange<'_>) -> Result<(Rc<Engine>, ContainerId), Fault> {
    let engine = exchange.engine()?;
    let typed = exchange.param(0);
    // Docker shows names with a slash before them, and takes them so.
    let found = engine.container(typed.strip_prefix('/').unwrap_or(typed));
    let id = found.map_err(|err| match err.kind {
        Kind::Conflict => Error { kind: Kind::Invalid, ..err },
        _ => err,
    })?;
    Ok((engine, id))
}
