//! How docker words and ends a failure: what scripts look for in its messages, and its exit codes.

use clap::{ArgMatches, Id};

use super::use_lines;
use crate::base::phrase::{Phrase, holes, translated};
use crate::cli::NAME;
use crate::cli::usage::UsageError;
use crate::cli::verbs;
use crate::documents::words;
use crate::engine::{self, Kind};

/// Whether a verb is `run`, whose failures are told apart from its command's.
pub(crate) fn is_run(verb: &str) -> bool {
    matches!(verb, "run" | "container run")
}

/// Whether a verb is `build`, by any of its names.
fn is_build(verb: &str) -> bool {
    matches!(verb, "build" | "image build" | "builder build" | "buildx build")
}

/// How messages begin that docker's command line says by itself.
const ITS_OWN: [&str; 11] = [
    "An image does not exist ",
    "Error parsing reference: ",
    "Error: ",
    "No such manifest: ",
    "invalid output path: ",
    "invalid reference format",
    "no such manifest: ",
    "open ",
    "refusing to ",
    "tag ",
    "template parsing error: ",
];

/// How a message about a failure of `verb` begins, `message` in docker's words; `reworded` is one that docker's engine has other words for.
pub(super) fn beginning(
    verb: &str,
    err: Option<&engine::Error>,
    message: &str,
    reworded: bool,
) -> &'static str {
    let is_own = ITS_OWN.iter().any(|it| message.starts_with(it));
    if is_own && !is_build(verb) && !is_run(verb) {
        return "";
    }
    let is_typed = err.is_none_or(|err| err.kind == Kind::Invalid && (is_own || !reworded));
    match verb {
        _ if is_build(verb)
            && ["unable to prepare ", "invalid tag "].iter().any(|it| message.starts_with(it)) =>
        {
            "ERROR: "
        }
        _ if is_run(verb) && is_typed => "docker: ",
        _ if is_run(verb) => "docker: Error response from daemon: ",
        _ if is_build(verb) && err.is_some() => "ERROR: failed to solve: ",
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

/// How many arguments docker takes where podman takes others: the least and the most.
const ARGUMENTS: &[(&str, usize, Option<usize>)] = &[
    ("build", 1, Some(1)),
    ("import", 1, None),
    ("manifest annotate", 2, Some(2)),
    ("manifest create", 2, None),
    ("manifest push", 1, Some(1)),
    ("pull", 1, Some(1)),
    ("push", 1, Some(1)),
    ("tag", 2, Some(2)),
];

/// How many arguments docker takes, where podman takes others.
pub(in crate::cli) fn arguments(verb: &str) -> Option<(usize, Option<usize>)> {
    let plain = ["image ", "builder ", "buildx "].iter().find_map(|group| verb.strip_prefix(group));
    let found = ARGUMENTS.iter().find(|(known, ..)| *known == plain.unwrap_or(verb));
    found.map(|(_, least, most)| (*least, *most))
}

/// Whether docker takes as many arguments as were given. `named`: the verb's own, which are no flags.
pub(in crate::cli) fn takes(verb: &str, named: &[Id], matches: &ArgMatches) -> bool {
    let Some((least, most)) = arguments(verb) else { return true };
    let given = named.iter().filter_map(|id| matches.get_raw(id.as_str())).map(Iterator::count);
    let given: usize = given.sum();
    given >= least && most.is_none_or(|most| given <= most)
}

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
    let known = || arguments(verb).or_else(|| verbs::arguments(verb));
    let (least, most) = Some(()).filter(|()| is_about_number(&message)).and_then(|()| known())?;
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

/// A message of `verb` in docker's words, as far as scripts look for them.
pub(super) fn worded(verb: &str, message: &str) -> String {
    if let Some(words) = of_verb(verb, message) {
        return words;
    }
    match message.strip_prefix("unrecognized command `ketch ").and_then(|rest| rest.strip_suffix('`')) {
        Some(words) => format!("docker: unknown command: docker {words}"),
        None if message.starts_with("template: ") => format!("template parsing error: {message}"),
        None => words::dockers(message),
    }
}

/// What docker says otherwise in a verb than anywhere else.
const PHRASES: &[(&str, &[Phrase])] = &[
    ("diff", NOTHING_TO_COMPARE),
    ("container diff", NOTHING_TO_COMPARE),
    (
        "login",
        &[
            (
                "log into docker.io: invalid username/password{}",
                "unauthorized: incorrect username or password",
            ),
            (
                "log into {}: invalid username/password{}",
                "login attempt to https://{0}/v2/ failed with status: 401 Unauthorized",
            ),
            ("a username is needed", NO_TERMINAL),
            ("cannot ask for a password: {}", NO_TERMINAL),
        ],
    ),
    (
        "manifest create",
        &[
            ("pull {}: {} not found on {}", "no such manifest: {0}"),
            (
                "{} is already associated with image {}",
                "refusing to amend an existing manifest list with no --amend flag",
            ),
        ],
    ),
    ("manifest inspect", &[("inspect {}: {} not found on {}", "no such manifest: {0}")]),
    ("manifest rm", &[("{}: image not known", "No such manifest: {0}")]),
    ("pull", &[("{}: a tag cannot be used with --all-tags", "tag can't be used with --all-tags/-a")]),
    ("tag", &[("{}: tag by digest not supported", "refusing to create a tag with a digest reference")]),
];
const NOTHING_TO_COMPARE: &[Phrase] =
    &[("{} not found: no such container or image", "No such container: {0}")];
const NO_TERMINAL: &str = "Error: Cannot perform an interactive login from a non TTY device";

/// What BuildKit and buildx say.
const OF_BUILD: &[Phrase] = &[
    ("context directory {}: not found", "unable to prepare context: path \"{0}\" not found"),
    (
        "no Containerfile or Dockerfile found in {}",
        "failed to read dockerfile: open Dockerfile: no such file or directory",
    ),
    ("the target {} was not found in the provided Dockerfile", "target stage \"{0}\" could not be found"),
    ("\"/{}\": not found{}", "failed to compute cache key: failed to calculate checksum of ref: {*}"),
];

/// A message in the words that docker has in a verb alone.
fn of_verb(verb: &str, message: &str) -> Option<String> {
    let plain = verb.strip_prefix("image ").unwrap_or(verb);
    let book = PHRASES.iter().find(|(known, _)| *known == plain).map_or(&[][..], |(_, book)| book);
    let name = || holes("image name \"{}\": {}", message)?.first().copied();
    match plain {
        _ if is_build(verb) => of_build(message, name()),
        "tag" => translated(book, message).or_else(|| {
            let general = words::dockers(message);
            let name = name()?;
            Some(format!("Error parsing reference: \"{name}\" is not a valid repository/tag: {general}"))
        }),
        "save" | "export" | "container export" => {
            let path = message.strip_prefix("create ")?.strip_suffix(": no such file or directory")?;
            let (directory, _) = path.rsplit_once('/')?;
            Some(format!("invalid output path: directory \"{directory}\" does not exist"))
        }
        _ => translated(book, message),
    }
}

/// What BuildKit and buildx say; `name` is that of an image if the message is about it.
fn of_build(message: &str, name: Option<&str>) -> Option<String> {
    if let Some(words) = translated(OF_BUILD, message) {
        return Some(words);
    }
    if let Some(path) = message.strip_prefix("the specified Containerfile or Dockerfile does not exist: ") {
        let file = path.rsplit('/').next().unwrap_or(path);
        return Some(format!("failed to read dockerfile: open {file}: no such file or directory"));
    }
    if let Some(name) = name {
        return Some(format!("failed to parse stage name \"{name}\": {}", words::dockers(message)));
    }
    let (name, why) = message.strip_prefix("pull ")?.split_once(": ")?;
    let why = match why {
        _ if why.contains(" not found on ") => format!("{name}: not found"),
        _ if why.contains(" denies access") => {
            format!("pull access denied, repository does not exist or may require authorization: {why}")
        }
        _ => why.to_owned(),
    };
    Some(format!("{name}: failed to resolve source metadata for {name}: {why}"))
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
            assert_eq!(worded("ps", message), want);
        }
        for (verb, message, want) in [
            ("build", "context directory x: not found", "unable to prepare context: path \"x\" not found"),
            (
                "image build",
                "the target \"x\" was not found in the provided Dockerfile",
                "target stage \"x\" could not be found",
            ),
            (
                "buildx build",
                "pull r.io/x:1: manifest 1 not found on r.io",
                "r.io/x:1: failed to resolve source metadata for r.io/x:1: r.io/x:1: not found",
            ),
            (
                "tag",
                "image name \"X\": invalid reference format: repository name must be lowercase",
                "Error parsing reference: \"X\" is not a valid repository/tag: invalid reference format: repository name (library/X) must be lowercase",
            ),
            ("image tag", "x: image not known", "No such image: x:latest"),
            ("manifest create", "pull r.io/x:1: manifest 1 not found on r.io", "no such manifest: r.io/x:1"),
        ] {
            assert_eq!(worded(verb, message), want, "{verb}");
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
            ("image tag", "missing argument: NAME", Some("docker: 'docker image tag' requires 2 arguments")),
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
