//! How docker words and ends a failure: what scripts look for in its messages, and its exit codes.

use clap::{ArgMatches, Id};

use super::{FAILED, of_engine_anywhere, plain, use_lines};
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

/// Whether a verb is `create`, by any of its names.
fn is_create(verb: &str) -> bool {
    matches!(verb, "create" | "container create")
}

/// Whether a verb is `build`, by any of its names.
fn is_build(verb: &str) -> bool {
    matches!(verb, "build" | "image build" | "builder build" | "buildx build")
}

/// How messages begin that docker's command line says by itself.
const ITS_OWN: [&str; 20] = [
    "An image does not exist ",
    "Conflicting options",
    "Error parsing reference: ",
    "Error: ",
    "No such manifest: ",
    "bad format ",
    "context \"",
    "destination \"",
    "every ip-range ",
    "failed to parse ",
    "invalid output path: ",
    "invalid reference format",
    "invalid value for ",
    "must specify ",
    "no matching ",
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
    if is_of_flags(message) {
        return "";
    }
    if message.starts_with(DAEMON) {
        return if is_run(verb) { "docker: " } else { "" };
    }
    let is_own = ITS_OWN.iter().any(|it| message.starts_with(it));
    let makes = is_run(verb) || is_create(verb);
    if is_own && !is_build(verb) && !makes {
        return "";
    }
    let passed_on = !makes && PASSED_ON.iter().any(|beginning| verb.starts_with(beginning));
    let is_typed = err.is_none_or(|err| err.kind == Kind::Invalid && (is_own || !reworded) && !passed_on);
    match verb {
        _ if is_build(verb)
            && ["unable to prepare ", "invalid tag "].iter().any(|it| message.starts_with(it)) =>
        {
            "ERROR: "
        }
        _ if makes && is_typed => "docker: ",
        _ if is_run(verb) => "docker: Error response from daemon: ",
        _ if is_build(verb) && err.is_some() => "ERROR: failed to solve: ",
        _ if is_typed => "",
        _ => "Error response from daemon: ",
    }
}

/// How begins what docker's daemon says.
const DAEMON: &str = "Error response from daemon: ";

/// How verbs begin whose values docker's command line passes on unread.
const PASSED_ON: [&str; 21] = [
    "attach",
    "commit",
    "container ",
    "events",
    "exec",
    "image import",
    "image load",
    "image ls",
    "image prune",
    "images",
    "import",
    "load",
    "network ",
    "pause",
    "ps",
    "system ",
    "top",
    "unpause",
    "update",
    "volume ",
    "wait",
];

/// Whether a message is about a flag, and not about what its value means: docker finds it while it reads the command line.
pub(super) fn is_of_flags(message: &str) -> bool {
    let beginnings = ["unknown flag", "unknown shorthand flag", "flag needs an argument"];
    beginnings.iter().any(|beginning| message.starts_with(beginning))
        || message.starts_with("invalid argument \"") && message.contains("\" flag: ")
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
    ("diff", 1, Some(1)),
    ("import", 1, None),
    ("logs", 1, Some(1)),
    ("manifest annotate", 2, Some(2)),
    ("manifest create", 2, None),
    ("manifest push", 1, Some(1)),
    ("pull", 1, Some(1)),
    ("push", 1, Some(1)),
    ("tag", 2, Some(2)),
];

/// How many arguments docker takes, where podman takes others.
pub(in crate::cli) fn arguments(verb: &str) -> Option<(usize, Option<usize>)> {
    let plain =
        ["image ", "builder ", "buildx ", "container "].iter().find_map(|group| verb.strip_prefix(group));
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

/// The exit code of a failed verb whose own is `code`, `message` in docker's words: 125 means docker's own failure with `run`
/// alone, and what it reads of a command line itself; a removal that is refused has no code of its own.
pub(crate) fn code(verb: &str, err: &anyhow::Error, code: u8) -> u8 {
    let (worded, reworded) = worded(verb, &plain(&format!("{err:#}")));
    let usage = err.downcast_ref::<UsageError>();
    let is_typed = || beginning(verb, of_engine_anywhere(err), &worded, reworded) == "docker: ";
    match (verb, code) {
        // These tell what their command has said.
        ("exec" | "container exec", _) if code != 125 => code,
        _ if usage.is_some_and(|usage| is_about_number(&usage.to_string())) => 1,
        (verb, _) if is_run(verb) => code,
        _ if is_of_flags(&worded) => FAILED,
        // What a signal or a reader that left has ended, and a template that cannot be read.
        (_, 64 | 130 | 141 | 143) => code,
        (verb, _) if is_create(verb) && is_typed() => FAILED,
        _ => 1,
    }
}

/// A message of `verb` in docker's words, as far as scripts look for them, and whether its engine has other words.
pub(super) fn worded(verb: &str, message: &str) -> (String, bool) {
    if let Some(words) = of_verb(verb, message) {
        return (words, true);
    }
    if let Some(words) = translated(OF_FLAGS, message) {
        return (words, false);
    }
    let command =
        message.strip_prefix("unrecognized command `ketch ").and_then(|rest| rest.strip_suffix('`'));
    let words = match command.map(|words| (words, words.split(' ').find(|word| word.starts_with('-')))) {
        Some((_, Some(flag))) => UsageError::unknown_flag(flag).to_string(),
        Some((words, None)) => format!("docker: unknown command: docker {words}"),
        None if message.starts_with("template: ") => format!("template parsing error: {message}"),
        None => words::dockers(message),
    };
    let is_other = words != message;
    (words, is_other)
}

/// What docker says of values of flags: what its command line finds while it reads them, and what it leaves to its daemon.
const OF_FLAGS: &[Phrase] = &[
    (
        "invalid argument \"{}\" for {} flag: invalid signal: {}",
        "Error response from daemon: invalid signal: {2}",
    ),
    (
        "invalid filter \"{}\"",
        "invalid argument \"{0}\" for \"-f, --filter\" flag: bad format of filter (expected name=value)",
    ),
    (
        "invalid value \"{}\" for {}: a size{}",
        "invalid argument \"{0}\" for \"{1}\" flag: invalid size: '{0}'",
    ),
    ("invalid value \"{}\" for {}: DEVICE:{}", "invalid argument \"{0}\" for \"{1}\" flag: bad format: {0}"),
    ("invalid value \"{}\" for {}", "Error response from daemon: {*}"),
    ("invalid size: '{}'", "invalid argument \"{0}\" for \"--shm-size\" flag: {*}"),
    (
        "invalid variable: \"{}\"",
        "invalid argument \"{0}\" for \"-e, --env\" flag: invalid environment variable: {0}",
    ),
    (
        "invalid ulimit \"{}\": {}",
        "invalid argument \"{0}\" for \"--ulimit\" flag: invalid ulimit argument: {0}",
    ),
    ("invalid ulimit {}", "invalid argument for \"--ulimit\" flag: {*}"),
    (
        "\"{}\": unknown mount option \"{}\"{}",
        "invalid argument \"{0}\" for \"--mount\" flag: unexpected key '{1}' in '{0}'",
    ),
    ("invalid device \"{}\": write {}", "bad format for path: {0}"),
    ("invalid label format: {}", "invalid argument \"\" for \"-l, --label\" flag: invalid label: empty name"),
    (
        "bad format for add-host: \"{}\"{}",
        "invalid argument \"{0}\" for \"--add-host\" flag: bad format for add-host: \"{0}\"",
    ),
    (
        "invalid IP address in add-host: \"{}\"{}",
        "invalid argument \"{0}\" for \"--add-host\" flag: invalid IP address in add-host: \"{0}\"",
    ),
    (
        "\"{}\" is not an ip address",
        "invalid argument \"{0}\" for \"--ip\" flag: failed to parse IP: \"{0}\"",
    ),
    (
        "{} is not an ip address",
        "invalid argument \"{0}\" for \"--dns\" flag: IP address is not correctly formatted: {0}",
    ),
    ("address {}: invalid MAC address: {}", "{0} is not a valid mac address"),
    ("sysctl \"{}\": {}", "invalid argument \"{0}\" for \"--sysctl\" flag: sysctl '{0}' is not allowed"),
    ("invalid port \"{}\": port numbers must be between 1 and 65535{}", "invalid containerPort: {0}"),
    (
        "invalid --oom-score-adj {}: {}",
        "Error response from daemon: Invalid value {0}, range for oom score adj must be in range [-1000, 1000]",
    ),
    ("name \"{}\" has white spaces{}", "variable '{0}' contains whitespaces"),
    ("invalid mount config{}", "Error response from daemon: {*}"),
    ("invalid log option \"{}\"{}", "Error response from daemon: {*}"),
    (
        "\"{}\": unknown capability",
        "Error response from daemon: invalid capability: unknown capability: \"{0}\"",
    ),
    (
        "the working directory \"{}\" is invalid{}",
        "Error response from daemon: the working directory '{0}' is invalid, it needs to be an absolute path",
    ),
    ("cannot specify both --no-healthcheck and {}", "--no-healthcheck conflicts with --health-* options"),
    ("invalid --pid value: {}", "--pid: invalid PID mode"),
    ("invalid --userns value: {}", "--userns: invalid USER mode"),
    ("invalid --uts value: {}", "--uts: invalid UTS mode"),
    ("invalid --cgroupns value: {}", "--cgroupns: invalid CGROUP mode"),
    ("invalid --ipc value: {}", "Error response from daemon: invalid IPC mode"),
    ("cannot set multiple networks {}", "Error response from daemon: conflicting options: {*}"),
    ("invalid container path \"{}\"{}", "Error response from daemon: {*}"),
    (
        "setting up CDI devices: unresolvable CDI devices nvidia.com/gpu={}",
        "Error response from daemon: could not select device driver \"\" with capabilities: [[gpu]]",
    ),
    ("unknown container state: {}: {}", "invalid filter 'status={0}'"),
    ("unknown health status: {}: {}", "invalid filter 'health={0}'"),
];

/// What docker says otherwise in a verb than anywhere else.
const PHRASES: &[(&str, &[Phrase])] = &[
    (
        "cp",
        &[
            (
                "invalid argument \"{}\": you must specify paths",
                "must specify at least one container source or destination path",
            ),
            (
                "copy to \"{}\": destination must be a directory when copying from a stream",
                "destination \"{0}\" must be a directory",
            ),
        ],
    ),
    ("diff", NOTHING_TO_COMPARE),
    ("events", &[("invalid time \"{}\": {}", "failed to parse value as time or duration: \"{0}\"")]),
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
    (
        "logs",
        &[(
            "invalid time \"{}\": {}",
            "invalid value for \"since\": failed to parse value as time or duration: \"{0}\"",
        )],
    ),
    (
        "network create",
        &[
            ("gateway {} not in subnet {}", "no matching subnet for gateway {0}"),
            ("lease range {} not in subnet {}", "no matching subnet for range {0}"),
            (
                "cannot set gateway or range without subnet{}",
                "every ip-range or gateway must have a corresponding subnet",
            ),
        ],
    ),
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
    let plain = verb.strip_prefix("image ").or_else(|| verb.strip_prefix("container ")).unwrap_or(verb);
    let book = PHRASES.iter().find(|(known, _)| *known == plain).map_or(&[][..], |(_, book)| book);
    let name = || holes("image name \"{}\": {}", message)?.first().copied();
    match plain {
        _ if is_build(verb) => of_build(message, name()),
        "tag" => translated(book, message).or_else(|| {
            let general = words::dockers(message);
            let name = name()?;
            Some(format!("Error parsing reference: \"{name}\" is not a valid repository/tag: {general}"))
        }),
        "save" | "export" => {
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
            ("unrecognized command `ketch container --x`", "unknown flag: --x"),
            (
                "invalid filter \"x\"",
                "invalid argument \"x\" for \"-f, --filter\" flag: bad format of filter (expected name=value)",
            ),
        ] {
            assert_eq!(worded("ps", message).0, want);
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
            assert_eq!(worded(verb, message).0, want, "{verb}");
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
            assert_eq!(
                code(verb, &engine::Error::new(Kind::Conflict, "x").into(), own),
                want,
                "{verb} {own}"
            );
        }
        let usage = |message: &str| UsageError::new(message).into();
        for (verb, err, want) in [
            ("ps", usage("unknown flag: --x"), 125),
            ("ps", usage("missing argument: X"), 1),
            ("run", usage("missing argument: X"), 1),
            ("run", usage("invalid port"), 125),
            ("create", usage("invalid port"), 125),
            ("create", engine::Error::invalid("invalid port").into(), 125),
            ("create", engine::Error::invalid("invalid --ipc value: x").into(), 1),
            ("update", engine::Error::invalid("invalid value \"x\" for --memory: a size like 1").into(), 125),
            ("ps", engine::Error::invalid("invalid filter \"x\"").into(), 125),
        ] {
            assert_eq!(code(verb, &err, 125), want, "{verb} {err}");
        }
    }
}
