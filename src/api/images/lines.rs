//! Answers that are a JSON document per line, which tell how something goes on.

use std::io::Write as _;
use std::os::fd::{BorrowedFd, OwnedFd};

use serde_json::{Value, json};

use crate::api::fault::Fault;
use crate::api::http::exchange::{Answer, Exchange, Stream};
use crate::sys::process;

/// An answer whose head is sent with its first line: until then a failure can have a status of its own.
#[derive(Debug)]
pub(crate) struct Lines<'e, 'c> {
    state: State<'e, 'c>,
}

#[derive(Debug)]
enum State<'e, 'c> {
    Silent(&'e mut Exchange<'c>),
    Open(Stream<'e>),
    /// Only between the two.
    Opening,
}

impl<'e, 'c> Lines<'e, 'c> {
    pub(crate) fn new(exchange: &'e mut Exchange<'c>) -> Self {
        Self { state: State::Silent(exchange) }
    }

    /// The client's socket, to learn of its hang-up.
    ///
    /// # Errors
    ///
    /// EMFILE.
    pub(crate) fn client(&self) -> std::io::Result<Option<OwnedFd>> {
        let fd: BorrowedFd<'_> = match &self.state {
            State::Silent(exchange) => exchange.client(),
            State::Open(stream) => stream.client(),
            State::Opening => return Ok(None),
        };
        fd.try_clone_to_owned().map(Some)
    }

    /// Sends one document.
    pub(crate) fn send(&mut self, document: &Value) {
        if self.open().and_then(|stream| stream.document(document)).is_err() {
            // Nobody waits for the rest. What this process leaves half-made is garbage, and what depends on it ends with it.
            process::exit_now(0);
        }
    }

    fn open(&mut self) -> std::io::Result<&mut Stream<'e>> {
        self.state = match std::mem::replace(&mut self.state, State::Opening) {
            State::Silent(exchange) => State::Open(exchange.stream(200, "application/json", &[])?),
            other => other,
        };
        match &mut self.state {
            State::Open(stream) => Ok(stream),
            _ => Err(std::io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Ends the answer: with a line about what failed, if anything was sent before.
    ///
    /// # Errors
    ///
    /// What failed, if nothing was sent.
    pub(crate) fn finish(self, outcome: Result<(), Fault>) -> Result<Answer, Fault> {
        if let Err(fault) = outcome {
            return self.fail(fault, None);
        }
        self.end()
    }

    /// Ends the answer with a line about what failed, if anything was sent before. `code` is the exit code of a step of a build.
    ///
    /// # Errors
    ///
    /// What failed, if nothing was sent.
    pub(crate) fn fail(mut self, fault: Fault, code: Option<i32>) -> Result<Answer, Fault> {
        if matches!(self.state, State::Silent(_)) {
            return Err(fault);
        }
        self.send(&failure(&fault.message, code));
        self.end()
    }

    fn end(mut self) -> Result<Answer, Fault> {
        self.open()?.flush()?;
        if let State::Open(stream) = self.state {
            stream.finish()?;
        }
        Ok(Answer::Sent)
    }
}

fn failure(message: &str, code: Option<i32>) -> Value {
    let detail = match code {
        Some(code) => json!({"code": code, "message": message}),
        None => json!({"message": message}),
    };
    json!({"errorDetail": detail, "error": message})
}
