//! Finding what a path names.

use std::rc::Rc;

use super::fault::Fault;
use super::http::exchange::Exchange;
use crate::base::id::ContainerId;
use crate::engine::Engine;

/// The engine, and the container that the first place of the path names.
///
/// # Errors
///
/// 404 if there is none.
pub(crate) fn container(exchange: &Exchange<'_>) -> Result<(Rc<Engine>, ContainerId), Fault> {
    let engine = exchange.engine()?;
    let id = engine.container(exchange.param(0))?;
    Ok((engine, id))
}
