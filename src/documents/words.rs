//! Docker's words for what goes wrong: scripts and clients look for them.

use crate::base::image_ref::{DOCKER_HUB, ImageName, ImageRef, NameRule};
use crate::base::phrase::{Phrase, holes, translated};

/// Messages that scripts look for, and docker's words for them. The first that fits counts.
const PHRASES: &[Phrase] = &[
    // Whatever it was looked up for.
    ("{}: no container with name or ID {} found: no such container", "No such container: {1}"),
    ("no container with name or ID {} found: no such container", "No such container: {0}"),
    ("no container with ID or name {} found: no such container", "No such container: {0}"),
    ("no such container {}", "No such container: {0}"),
    ("no volume with name {} found: no such volume", "get {0}: no such volume"),
    ("no such volume {}", "get {0}: no such volume"),
    ("unable to find network with name or ID {}: network not found", "network {0} not found"),
    ("no such object: {}", "Error: No such object: {0}"),
    ("network name {} already used: network already exists", "network with name {0} already exists"),
    ("default network {} cannot be removed", "{0} is a pre-defined network and cannot be removed"),
    (
        "container {} is already connected to network {}: network is already connected",
        "endpoint with name {0} already exists in network {1}",
    ),
    (
        "subnet {} is already used on the host or by another config{}",
        "invalid pool request: Pool overlaps with other one on this address space: {*}",
    ),
    (
        "cannot create network with name \"{}\" because it conflicts with a valid network mode",
        "operation is not permitted on predefined {0} network",
    ),
    ("invalid mount option {} for driver 'local': invalid argument", "invalid option: \"{0}\""),
    ("a volume that is a directory of the host needs device=PATH{}", "missing required option: \"device\""),
    (
        "volume {} uses volume plugin {} but it could not be retrieved: {}",
        "error looking up volume plugin {1}: plugin \"{1}\" not found",
    ),
    (
        "statfs {}: no such file or directory",
        "invalid mount config for type \"bind\": bind source path does not exist: {0}",
    ),
    ("{}: duplicate mount destination", "Duplicate mount point: {0}"),
    (
        "\"{}-{}\" option not supported for \"{}\" mount types",
        "cannot mix '{0}-*' options with mount type '{2}'",
    ),
    (
        "invalid volume name \"{}\"{}",
        "create {0}: \"{0}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are \
         allowed. If you intended to pass a host directory, use absolute path",
    ),
    (
        "volume {} is being used by the following container(s): {}: volume is being used",
        "remove {0}: volume is in use - [{1}]",
    ),
    (
        "the container name {} is already in use by {}. {}",
        "Conflict. The container name \"/{0}\" is already in use by container \"{1}\". You have to remove (or rename) \
         that container to be able to reuse that name.",
    ),
    ("can only kill running containers. {} {}", "cannot kill container: {0}: container {0} is not running"),
    ("no command or entrypoint provided{}", "no command specified"),
    ("{} is an invalid filter", "invalid filter '{0}'"),
    (
        "invalid container name {}: names must match{}",
        "Invalid container name ({0}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
    ),
    ("log driver {} is not known{}", "logger: no log driver named '{0}' is registered"),
    ("the --rm option conflicts with --restart{}", "Conflicting options: --restart and --rm"),
    (
        "{} is not a valid restart policy",
        "invalid restart policy: unknown policy '{0}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'",
    ),
];

/// A message in docker's words, as far as scripts look for them.
pub(crate) fn dockers(message: &str) -> String {
    of_images(message)
        .or_else(|| of_network_users(message))
        .or_else(|| not_started(message))
        .or_else(|| translated(PHRASES, message))
        .unwrap_or_else(|| message.to_owned())
}

/// What docker says of names of images, and of what is not here or what registries do not have or give.
fn of_images(message: &str) -> Option<String> {
    if let Some([name, why]) = holes("image name \"{}\": invalid reference format{}", message).as_deref() {
        return Some(match why.ends_with(" must be lowercase") {
            true => {
                format!("invalid reference format: repository name ({}) must be lowercase", path_of(name))
            }
            false => "invalid reference format".to_owned(),
        });
    }
    let of_filter = holes("could not find local image for filter {}: {}: image not known", message);
    let missing = of_filter.or_else(|| holes("{}: image not known", message));
    if let Some(name) = missing.as_deref().and_then(<[_]>::last) {
        return Some(format!("No such image: {}", with_tag(name.trim_matches('"'))));
    }
    let (name, why) = message.strip_prefix("pull ")?.split_once(": ")?;
    let image: ImageRef = name.parse().ok()?;
    if why.contains(" not found on ") {
        return Some(format!("manifest for {} not found: manifest unknown: {why}", image.familiar()));
    }
    let repository = image.without_reference().familiar();
    why.contains(" denies access").then(|| {
        format!("pull access denied for {repository}, repository does not exist or may require 'docker login': {why}")
    })
}

/// What docker says of a network that containers are on.
fn of_network_users(message: &str) -> Option<String> {
    let (name, rest) = message.split_once(" has associated containers with it")?;
    let name = name.trim_start_matches("network ").trim_matches('"');
    let ids = rest.strip_prefix(": ").and_then(|rest| rest.split_once(". ")).map(|(ids, _)| ids);
    let ids: Vec<_> =
        ids.into_iter().flat_map(|ids| ids.split(", ")).map(|id| format!("id:{id:?}")).collect();
    let users = if ids.is_empty() { String::new() } else { format!(" ({})", ids.join(", ")) };
    Some(format!("error while removing network: network {name} has active endpoints{users}"))
}

/// Why a command did not start, as runc has it.
fn not_started(message: &str) -> Option<String> {
    let told = |why: String| format!("unable to start container process: {why}");
    if let Some([name, _]) = holes("executable file `{}` not found in $PATH{}", message).as_deref() {
        return Some(told(format!("exec: {name:?}: executable file not found in $PATH")));
    }
    let (program, why) = message.strip_prefix("execute `")?.split_once("`: ")?;
    let why = why.to_ascii_lowercase();
    let missing = "no such file or directory";
    if why.starts_with(missing) {
        return Some(told(format!("exec: {program:?}: stat {program}: {missing}")));
    }
    let known = ["permission denied", "exec format error", "is a directory"];
    known
        .iter()
        .find(|known| why.starts_with(**known))
        .map(|known| told(format!("exec: {program:?}: {known}")))
}

/// The path of a name that was typed, on its registry.
fn path_of(typed: &str) -> String {
    let (first, rest) = typed.split_once('/').unwrap_or(("", typed));
    let is_registry = first.contains(['.', ':']) || first == "localhost";
    let path = if is_registry { rest } else { typed };
    let path = path.split([':', '@']).next().unwrap_or_default();
    if is_registry || path.contains('/') { path.to_owned() } else { format!("library/{path}") }
}

/// A name as docker shows it where it asks for one with its tag.
fn with_tag(typed: &str) -> String {
    match typed.parse::<ImageName>() {
        Ok(name) => NameRule::Docker.shown(&name.on(DOCKER_HUB).with_default_tag()),
        Err(_) => typed.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_scripts_look_for() {
        for (message, want) in [
            ("no container with name or ID \"x\" found: no such container", "No such container: x"),
            ("no container with ID or name \"x\" found: no such container", "No such container: x"),
            ("no such container x", "No such container: x"),
            ("x: image not known", "No such image: x:latest"),
            ("quay.io/a/b:1: image not known", "No such image: quay.io/a/b:1"),
            ("no volume with name \"x\" found: no such volume", "get x: no such volume"),
            ("unable to find network with name or ID x: network not found", "network x not found"),
            ("no such object: \"x\"", "Error: No such object: x"),
            (
                "can only kill running containers. x is in state exited: container state improper",
                "cannot kill container: x: container x is not running",
            ),
            (
                "the container name \"x\" is already in use by 123. You have to remove that container to be able to reuse that name: that name is already in use",
                "Conflict. The container name \"/x\" is already in use by container \"123\". You have to remove (or rename) that container to be able to reuse that name.",
            ),
            (
                "volume x is being used by the following container(s): 12, 34: volume is being used",
                "remove x: volume is in use - [12, 34]",
            ),
            (
                "pull docker.io/library/x:1: manifest 1 not found on registry-1.docker.io",
                "manifest for x:1 not found: manifest unknown: manifest 1 not found on registry-1.docker.io",
            ),
            (
                "pull docker.io/me/x:latest: docker.io denies access: no",
                "pull access denied for me/x, repository does not exist or may require 'docker login': docker.io denies access: no",
            ),
            ("network name x already used: network already exists", "network with name x already exists"),
            (
                "default network bridge cannot be removed",
                "bridge is a pre-defined network and cannot be removed",
            ),
            (
                "\"x\" has associated containers with it: 12, 34. Use -f to forcibly delete containers and pods: network is being used",
                "error while removing network: network x has active endpoints (id:\"12\", id:\"34\")",
            ),
            (
                "network \"x\" has associated containers with it: network is being used",
                "error while removing network: network x has active endpoints",
            ),
            (
                "container c is already connected to network x: network is already connected",
                "endpoint with name c already exists in network x",
            ),
            (
                "cannot create network with name \"host\" because it conflicts with a valid network mode",
                "operation is not permitted on predefined host network",
            ),
            (
                "statfs /x: no such file or directory",
                "invalid mount config for type \"bind\": bind source path does not exist: /x",
            ),
            ("/x: duplicate mount destination", "Duplicate mount point: /x"),
            (
                "\"volume-nocopy\" option not supported for \"bind\" mount types",
                "cannot mix 'volume-*' options with mount type 'bind'",
            ),
            (
                "looking up x: no container with name or ID \"x\" found: no such container",
                "No such container: x",
            ),
            (
                "image name \"X:1\": invalid reference format: repository name must be lowercase",
                "invalid reference format: repository name (library/X) must be lowercase",
            ),
            (
                "image name \"r.io/A/b\": invalid reference format: repository name must be lowercase",
                "invalid reference format: repository name (A/b) must be lowercase",
            ),
            (
                "image name \"a:b:c\": invalid reference format: invalid tag \"b:c\"",
                "invalid reference format",
            ),
            ("x is an invalid filter", "invalid filter 'x'"),
            (
                "could not find local image for filter \"before\"=\"x\": x: image not known",
                "No such image: x:latest",
            ),
            ("anything else", "anything else"),
        ] {
            assert_eq!(dockers(message), want);
        }
    }
}
