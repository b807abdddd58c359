//! Answers whose head is sent with the first bytes of their body: until then a failure can have a status of its own.

use std::io::{self, Write};
use std::os::fd::{BorrowedFd, OwnedFd};

use serde_json::{Value, json};

use crate::api::fault::Fault;
use crate::api::http::exchange::{Answer, Exchange, Stream};
use crate::sys::process;

/// An answer of this kind, with bytes of one type.
#[derive(Debug)]
pub(crate) struct Late<'e, 'c> {
    state: State<'e, 'c>,
    content_type: &'static str,
}

#[derive(Debug)]
enum State<'e, 'c> {
    Silent(&'e mut Exchange<'c>),
    Open(Stream<'e>),
    /// Only between the two.
    Opening,
}

impl<'e, 'c> Late<'e, 'c> {
    pub(crate) fn new(exchange: &'e mut Exchange<'c>, content_type: &'static str) -> Self {
        Self { state: State::Silent(exchange), content_type }
    }

    /// Nothing was sent yet.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self.state, State::Silent(_))
    }

    fn open(&mut self) -> io::Result<&mut Stream<'e>> {
        self.state = match std::mem::replace(&mut self.state, State::Opening) {
            State::Silent(exchange) => State::Open(exchange.stream(200, self.content_type, &[])?),
            other => other,
        };
        match &mut self.state {
            State::Open(stream) => Ok(stream),
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// The answer is complete.
    ///
    /// # Errors
    ///
    /// If the client has gone.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.open()?;
        match self.state {
            State::Open(stream) => stream.finish(),
            _ => Ok(()),
        }
    }
}

impl Write for Late<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.open()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An answer that is a JSON document per line, which tell how something goes on.
#[derive(Debug)]
pub(crate) struct Lines<'e, 'c>(Late<'e, 'c>);

impl<'e, 'c> Lines<'e, 'c> {
    pub(crate) fn new(exchange: &'e mut Exchange<'c>) -> Self {
        Self(Late::new(exchange, "application/json"))
    }

    /// The client's socket, to learn of its hang-up.
    ///
    /// # Errors
    ///
    /// EMFILE.
    pub(crate) fn client(&self) -> io::Result<Option<OwnedFd>> {
        let fd: BorrowedFd<'_> = match &self.0.state {
            State::Silent(exchange) => exchange.client(),
            State::Open(stream) => stream.client(),
            State::Opening => return Ok(None),
        };
        fd.try_clone_to_owned().map(Some)
    }

    /// Sends one document.
    pub(crate) fn send(&mut self, document: &Value) {
        if self.0.open().and_then(|stream| stream.document(document)).is_err() {
            // Nobody waits for the rest. What this process leaves half-made is garbage, and what depends on it ends with it.
            process::exit_now(0);
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
        self.0.finish()?;
        Ok(Answer::Sent)
    }

    /// Ends the answer with a line about what failed, if anything was sent before. `code` is the exit code of a step of a build.
    ///
    /// # Errors
    ///
    /// What failed, if nothing was sent.
    pub(crate) fn fail(mut self, fault: Fault, code: Option<i32>) -> Result<Answer, Fault> {
        if self.0.is_silent() {
            return Err(fault);
        }
        self.send(&failure(&fault.message, code));
        self.0.finish()?;
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
