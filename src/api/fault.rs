//! What goes wrong, as clients are told: a status and a sentence.

use std::io;

use serde_json::json;

use super::http::exchange::Answer;
use crate::documents::words;
use crate::engine::{Error, Kind};

/// A request that failed.
#[derive(Debug)]
pub(crate) struct Fault {
    /// HTTP's.
    pub(crate) status: u16,
    pub(crate) message: String,
}

impl Fault {
    pub(crate) fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// The answer that tells of it.
    pub(crate) fn into_answer(self) -> Answer {
        Answer::Json(self.status, json!({"message": self.message}))
    }
}

impl From<Error> for Fault {
    fn from(err: Error) -> Self {
        let status = match err.kind {
            Kind::NotFound => 404,
            Kind::Conflict => 409,
            Kind::Invalid | Kind::CommandNotFound | Kind::NotExecutable => 400,
            Kind::Unauthorized => 401,
            Kind::Unsupported => 501,
            Kind::System => 500,
        };
        let own = err.whole();
        let dockers = words::dockers(&own);
        match err.hint.as_ref().filter(|_| dockers == own) {
            Some(hint) => Self::new(status, format!("{own} ({hint})")),
            None => Self::new(status, dockers),
        }
    }
}

/// Bytes that did not come, or could not be sent: the client's doing, as a rule.
impl From<io::Error> for Fault {
    fn from(err: io::Error) -> Self {
        Self::new(400, err.to_string())
    }
}
