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
            Kind::System | Kind::Misconfigured => 500,
        };
        let own = err.whole();
        let dockers = words::dockers(&own);
        match err.hint.as_ref().filter(|_| dockers == own) {
            Some(hint) => Self::new(status, format!("{own} ({hint})")),
            None => Self::new(status, dockers),
        }
    }
}

/// Why a command did not start, with the words by which docker's clients tell its exit code: 127 by "executable file not
/// found" or "no such file or directory", 126 by "permission denied" or "is a directory".
///
/// # Source
///
/// docker/cli, `cli/command/container/run.go`: `toStatusError`.
pub(crate) fn start_fault(err: Error) -> Fault {
    let kind = err.kind;
    let mut fault = Fault::from(err);
    let lacks = |words: &[&str]| !words.iter().any(|words| fault.message.contains(words));
    match kind {
        Kind::CommandNotFound if lacks(&["executable file not found", "no such file or directory"]) => {
            fault.message.push_str(": executable file not found in $PATH");
        }
        // Not what fails before its turn: an unknown group, a limit, the working directory.
        Kind::NotExecutable
            if (fault.message.contains("execute `") || fault.message.contains("exec: "))
                && lacks(&["permission denied", "is a directory"]) =>
        {
            fault.message.push_str(": permission denied");
        }
        _ => {}
    }
    fault
}

/// Bytes that did not come, or could not be sent: the client's doing, as a rule.
impl From<io::Error> for Fault {
    fn from(err: io::Error) -> Self {
        Self::new(400, err.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kept_a_command_from_starting() {
        for (kind, message, want) in [
            (
                Kind::CommandNotFound,
                "executable file `x` not found",
                "executable file `x` not found: executable file not found in $PATH",
            ),
            (
                Kind::NotExecutable,
                "execute `x`: Exec format error",
                "unable to start container process: exec: \"x\": exec format error: permission denied",
            ),
            (Kind::NotExecutable, "unable to find group x", "unable to find group x"),
            (
                Kind::NotExecutable,
                "change to the working directory \"/x\": Not a directory",
                "change to the working directory \"/x\": Not a directory",
            ),
        ] {
            assert_eq!(start_fault(Error::new(kind, message.to_owned())).message, want);
        }
    }
}
