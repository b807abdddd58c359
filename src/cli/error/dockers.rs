//! How docker words and ends a failure: what scripts look for in its messages, and its exit codes.

use crate::cli::usage::UsageError;
use crate::documents::words;
use crate::engine::{self, Kind};

/// Whether a verb is `run`, whose failures are told apart from its command's.
pub(super) fn is_run(verb: &str) -> bool {
    matches!(verb, "run" | "container run")
}

/// How a message about a failure of `verb` begins.
pub(super) fn beginning(verb: &str, err: Option<&engine::Error>) -> &'static str {
    let is_typed = err.is_none_or(|err| err.kind == Kind::Invalid);
    match verb {
        _ if is_run(verb) && is_typed => "docker: ",
        _ if is_run(verb) => "docker: Error response from daemon: ",
        "build" | "image build" | "builder build" | "buildx build" if err.is_some() => {
            "ERROR: failed to solve: "
        }
        _ if is_typed => "",
        _ => "Error response from daemon: ",
    }
}

/// The exit code of a failed verb whose own is `code`: 125 means docker's own failure with `run` alone, and a removal
/// that is refused has no code of its own.
pub(crate) fn code(verb: &str, usage: Option<&UsageError>, code: u8) -> u8 {
    match (verb, code) {
        // These tell what their command has said.
        ("exec" | "container exec", _) if code != 125 => code,
        (verb, _) if is_run(verb) => code,
        _ if usage.is_some_and(UsageError::is_about_a_flag) => code,
        // What a signal or a reader that left has ended.
        (_, 130 | 141 | 143) => code,
        _ => 1,
    }
}

/// A message in docker's words, as far as scripts look for them.
pub(super) fn worded(message: &str) -> String {
    match message.strip_prefix("unrecognized command `ketch ").and_then(|rest| rest.strip_suffix('`')) {
        Some(words) => format!("docker: unknown command: docker {words}"),
        None => words::dockers(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_scripts_look_for() {
        for (message, want) in [
            ("no such container x", "No such container: x"),
            ("unrecognized command `ketch container x`", "docker: unknown command: docker container x"),
        ] {
            assert_eq!(worded(message), want);
        }
    }

    #[test]
    fn codes() {
        for (verb, own, want) in [
            ("run", 125, 125),
            ("run", 127, 127),
            ("exec", 125, 1),
            ("exec", 126, 126),
            ("exec", 3, 3),
            ("create", 125, 1),
            ("rmi", 2, 1),
            ("start", 127, 1),
            ("build", 7, 1),
        ] {
            assert_eq!(code(verb, None, own), want, "{verb} {own}");
        }
        let usage = UsageError::unknown_flag("--x");
        assert_eq!(code("ps", Some(&usage), 125), 125);
        assert_eq!(code("ps", Some(&UsageError::new("missing argument: X")), 125), 1);
    }
}
