//! Starting a container that was created.

use std::os::fd::OwnedFd;

use crate::base::id::ContainerId;
use crate::engine::{Engine, Error, Kind, Result, config};
use crate::runtime::failure::{Failure, FailureKind};
use crate::runtime::launch::{self, Caller, LaunchOrder};
use crate::sys::tty::WindowSize;

/// How a start is accompanied.
#[derive(Debug, Default)]
pub(crate) struct Start {
    /// The monitor's end of the socket of a client that is attached from the first byte on.
    pub(crate) client: Option<OwnedFd>,
    /// The client's terminal, if it has one.
    pub(crate) window: Option<WindowSize>,
}

impl Engine {
    /// Starts a container, and returns its process 1 once the command runs.
    ///
    /// # Errors
    ///
    /// Conflict if it runs; CommandNotFound and NotExecutable for the command; Invalid and System with
    /// what init or the monitor could not do.
    pub(crate) fn start_container(&self, id: &ContainerId, start: Start) -> Result<i32> {
        let caller = Caller::current(config::path().as_deref());
        if let Some(why) = caller.mapping.as_ref().and_then(|mapping| mapping.single.as_deref()) {
            self.tell(why);
        }
        let order = LaunchOrder {
            root: self.store().root().to_owned(),
            id: id.clone(),
            fingerprint: caller.fingerprint(),
            window: start.window.map(|size| (size.rows, size.cols)),
            restarts: 0,
        };
        launch::launch(&caller, &order, start.client).map_err(|failure| failed(failure, id))
    }
}

/// A failure of the runtime as the engine tells it.
pub(crate) fn failed(failure: Failure, id: &ContainerId) -> Error {
    let kind = match failure.kind {
        FailureKind::CommandNotFound => Kind::CommandNotFound,
        FailureKind::NotExecutable => Kind::NotExecutable,
        FailureKind::Invalid => Kind::Invalid,
        FailureKind::Conflict => Kind::Conflict,
        FailureKind::System => Kind::System,
    };
    let message = match failure.kind {
        FailureKind::Conflict => format!("container {}: {}", id.short(), failure.message),
        _ => failure.message,
    };
    let err = Error::new(kind, message);
    match failure.hint {
        Some(hint) => err.hint(hint),
        None => err,
    }
}
