//! How docker words and ends a failure: what scripts look for in its messages, and its exit codes.

use super::use_lines;
use crate::cli::NAME;
use crate::cli::usage::UsageError;
use crate::cli::verbs;
use crate::documents::words;
use crate::engine::{self, Kind};

/// Whether a verb is `run`, whose failures are told apart from its command's.
pub(crate) fn is_run(verb: &str) -> bool {
    matches!(verb, "run" | "container run")
}

/// How a message about a failure of `verb` begins; `reworded` is one that docker's engine has other words for.
pub(super) fn beginning(verb: &str, err: Option<&engine::Error>, reworded: bool) -> &'static str {
    let is_typed = err.is_none_or(|err| err.kind == Kind::Invalid && !reworded);
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

/// What podman says where a verb has no object, and others take one.
const NOTHING_NAMED: [&str; 5] = [
    "you must provide at least one name or id",
    "image name or ID must be specified",
    "choose either one or more volumes or all",
    "provide one or more volume names or use --all",
    "no names or ids specified",
];

/// Whether a mistake is about how many words there are beside the flags.
fn is_about_number(message: &str) -> bool {
    message.starts_with("missing argument: ")
        || message.contains(" does not take the argument ")
        || NOTHING_NAMED.contains(&message)
}

/// What docker's daemon says of a flag's value that its command line passes on as it is.
pub(super) fn of_daemon(message: &str) -> Option<&str> {
    message.split_once("\" flag: ").map(|(_, why)| why).filter(|why| why.starts_with("invalid signal: "))
}

/// Docker's words for too many or too few arguments of a verb.
pub(super) fn number(verb: &str, usage: &UsageError) -> Option<String> {
    let message = usage.to_string();
    let (least, most) = verbs::arguments(verb).filter(|_| is_about_number(&message))?;
    let least = if NOTHING_NAMED.contains(&message.as_str()) { least.max(1) } else { least };
    let some = |number: usize| format!("{number} argument{}", if number == 1 { "" } else { "s" });
    let wanted = match most {
        Some(0) => "accepts no arguments".to_owned(),
        Some(most) if most == least => format!("requires {}", some(most)),
        Some(most) if least == 0 => format!("requires at most {}", some(most)),
        Some(most) => format!("requires at least {least} and at most {}", some(most)),
        None => format!("requires at least {}", some(least)),
    };
    Some(format!("docker: 'docker {verb}' {wanted}"))
}

/// What stands below a mistake in a command line: how the verb is used, and where more is said. `message` is what is wrong.
pub(super) fn usage(verb: &str, message: &str) -> String {
    let line =
        use_lines::of(verb).map_or_else(String::new, |line| format!("\nUsage:  {NAME} {verb} {line}\n"));
    // Docker has it so.
    let see =
        if message.contains(" requires at least ") && !message.contains(" at most ") { "See" } else { "Run" };
    let called = if verb.is_empty() { NAME.to_owned() } else { format!("{NAME} {verb}") };
    format!("{line}\n{see} '{called} --help' for more information\n")
}

/// The exit code of a failed verb whose own is `code`: 125 means docker's own failure with `run` alone, and a removal
/// that is refused has no code of its own.
pub(crate) fn code(verb: &str, usage: Option<&UsageError>, code: u8) -> u8 {
    match (verb, code) {
        // These tell what their command has said.
        ("exec" | "container exec", _) if code != 125 => code,
        _ if usage.is_some_and(|usage| is_about_number(&usage.to_string())) => 1,
        (verb, _) if is_run(verb) => code,
        _ if usage.is_some_and(|usage| of_daemon(&usage.to_string()).is_some()) => 1,
        _ if usage.is_some_and(UsageError::is_about_a_flag) => code,
        // What a signal or a reader that left has ended, and a template that cannot be read.
        (_, 64 | 130 | 141 | 143) => code,
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
    fn numbers_of_arguments() {
        for (verb, message, want) in [
            ("run", "missing argument: IMAGE", Some("docker: 'docker run' requires at least 1 argument")),
            (
                "ps",
                "`ketch ps` does not take the argument \"x\"",
                Some("docker: 'docker ps' accepts no arguments"),
            ),
            ("rename", "missing argument: NAME", Some("docker: 'docker rename' requires 2 arguments")),
            ("rm", NOTHING_NAMED[0], Some("docker: 'docker rm' requires at least 1 argument")),
            ("volume rm", NOTHING_NAMED[2], Some("docker: 'docker volume rm' requires at least 1 argument")),
            ("run", "unknown flag: --x", None),
        ] {
            assert_eq!(number(verb, &UsageError::new(message)).as_deref(), want, "{verb}");
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
        assert_eq!(code("run", Some(&UsageError::new("missing argument: X")), 125), 1);
        assert_eq!(code("run", Some(&UsageError::new("invalid port")), 125), 125);
    }
}
