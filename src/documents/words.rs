//! Docker's words for what goes wrong: scripts and clients look for them.

use crate::base::image_ref::{DOCKER_HUB, ImageName, ImageRef, NameRule};

/// A message in docker's words, as far as scripts look for them.
pub(crate) fn dockers(message: &str) -> String {
    let quoted = |text: &str, before: &str, after: &str| -> Option<String> {
        let inside = text.strip_prefix(before)?.strip_suffix(after)?;
        Some(inside.trim_matches('"').to_owned())
    };
    let missing = "found: no such container";
    // Whatever it was looked up for.
    if let Some(at) = message.find(": no container with name or ID ")
        && let Some(name) =
            quoted(&message[at + 2..], "no container with name or ID ", &format!(" {missing}"))
    {
        return format!("No such container: {name}");
    }
    for before in ["no container with name or ID ", "no container with ID or name "] {
        if let Some(name) = quoted(message, before, &format!(" {missing}")) {
            return format!("No such container: {name}");
        }
    }
    if let Some(name) = quoted(message, "no such container ", "") {
        return format!("No such container: {name}");
    }
    if let Some(told) = of_images(message) {
        return told;
    }
    let message = match message.strip_prefix("could not find local image for filter ") {
        Some(rest) => rest.split_once(": ").map_or(message, |(_, missing)| missing),
        None => message,
    };
    if let Some(name) = quoted(message, "", ": image not known") {
        return format!("No such image: {}", with_tag(&name));
    }
    if let Some(name) = quoted(message, "no volume with name ", " found: no such volume")
        .or_else(|| quoted(message, "no such volume ", ""))
    {
        return format!("get {name}: no such volume");
    }
    if let Some(name) = quoted(message, "unable to find network with name or ID ", ": network not found") {
        return format!("network {name} not found");
    }
    if let Some(name) = quoted(message, "no such object: ", "") {
        return format!("Error: No such object: {name}");
    }
    if let Some(told) = of_networks(message).or_else(|| of_mounts(message)) {
        return told;
    }
    if let Some(rest) = message.strip_prefix("volume ")
        && let Some((name, users)) = rest.split_once(" is being used by the following container(s): ")
        && let Some(users) = users.strip_suffix(": volume is being used")
    {
        return format!("remove {name}: volume is in use - [{users}]");
    }
    if let Some(rest) = message.strip_prefix("the container name ")
        && let Some((name, rest)) = rest.split_once(" is already in use by ")
        && let Some((id, _)) = rest.split_once(". ")
    {
        let name = name.trim_matches('"');
        return format!(
            "Conflict. The container name \"/{name}\" is already in use by container \"{id}\". You have to remove (or \
             rename) that container to be able to reuse that name."
        );
    }
    if let Some(rest) = message.strip_prefix("can only kill running containers. ")
        && let Some((id, _)) = rest.split_once(' ')
    {
        return format!("cannot kill container: {id}: container {id} is not running");
    }
    if let Some(why) = not_started(message) {
        return format!("unable to start container process: {why}");
    }
    if message.starts_with("no command or entrypoint provided") {
        return "no command specified".to_owned();
    }
    if let Some(key) = message.strip_suffix(" is an invalid filter") {
        return format!("invalid filter '{key}'");
    }
    if let Some((name, _)) =
        message.strip_prefix("invalid container name ").and_then(|rest| rest.split_once(": names must match"))
    {
        let name = name.trim_matches('"');
        return format!("Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed");
    }
    if let Some(rest) = message.strip_prefix("log driver ")
        && let Some((driver, _)) = rest.split_once(" is not known")
    {
        let driver = driver.trim_matches('"');
        return format!("logger: no log driver named '{driver}' is registered");
    }
    if message.starts_with("the --rm option conflicts with --restart") {
        return "Conflicting options: --restart and --rm".to_owned();
    }
    if let Some(name) = quoted(message, "", " is not a valid restart policy") {
        return format!(
            "invalid restart policy: unknown policy '{name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        );
    }
    message.to_owned()
}

/// What lies between the beginning and the end of a message.
fn between<'m>(message: &'m str, before: &str, after: &str) -> Option<&'m str> {
    message.strip_prefix(before)?.strip_suffix(after)
}

/// What docker says of names of images, and of what registries do not have or give.
fn of_images(message: &str) -> Option<String> {
    if let Some(rest) = message.strip_prefix("image name \"")
        && let Some((name, why)) = rest.split_once("\": invalid reference format")
    {
        return Some(match why.ends_with(" must be lowercase") {
            true => {
                format!("invalid reference format: repository name ({}) must be lowercase", path_of(name))
            }
            false => "invalid reference format".to_owned(),
        });
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

/// What docker says of networks.
fn of_networks(message: &str) -> Option<String> {
    if let Some(name) = between(message, "network name ", " already used: network already exists") {
        return Some(format!("network with name {name} already exists"));
    }
    if let Some(name) = between(message, "default network ", " cannot be removed") {
        return Some(format!("{name} is a pre-defined network and cannot be removed"));
    }
    if let Some((name, rest)) = message.split_once(" has associated containers with it") {
        let name = name.trim_start_matches("network ").trim_matches('"');
        let ids = rest.strip_prefix(": ").and_then(|rest| rest.split_once(". ")).map(|(ids, _)| ids);
        let ids: Vec<_> =
            ids.into_iter().flat_map(|ids| ids.split(", ")).map(|id| format!("id:{id:?}")).collect();
        let users = if ids.is_empty() { String::new() } else { format!(" ({})", ids.join(", ")) };
        return Some(format!("error while removing network: network {name} has active endpoints{users}"));
    }
    if let Some((container, network)) = message.split_once(" is already connected to network ") {
        let container = container.trim_start_matches("container ");
        let network = network.strip_suffix(": network is already connected")?;
        return Some(format!("endpoint with name {container} already exists in network {network}"));
    }
    if message.starts_with("subnet ") && message.contains(" is already used on the host or by another config")
    {
        return Some(format!(
            "invalid pool request: Pool overlaps with other one on this address space: {message}"
        ));
    }
    let fixed = between(
        message,
        "cannot create network with name \"",
        "\" because it conflicts with a valid network mode",
    );
    fixed
        .filter(|name| ["bridge", "host", "none"].contains(name))
        .map(|name| format!("operation is not permitted on predefined {name} network"))
}

/// What docker says of volumes and mounts.
fn of_mounts(message: &str) -> Option<String> {
    if let Some(source) = between(message, "statfs ", ": no such file or directory") {
        return Some(format!(
            "invalid mount config for type \"bind\": bind source path does not exist: {source}"
        ));
    }
    if let Some(target) = message.strip_suffix(": duplicate mount destination") {
        return Some(format!("Duplicate mount point: {target}"));
    }
    if let Some((key, rest)) = message.split_once(" option not supported for ")
        && let Some(kind) = rest.strip_suffix(" mount types")
        && let Some((group, _)) = key.trim_matches('"').split_once('-')
    {
        return Some(format!("cannot mix '{group}-*' options with mount type '{}'", kind.trim_matches('"')));
    }
    let name = message.strip_prefix("invalid volume name \"")?.split_once('"')?.0;
    Some(format!(
        "create {name}: {name:?} includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are \
         allowed. If you intended to pass a host directory, use absolute path"
    ))
}

/// Why a command did not start, as runc has it.
fn not_started(message: &str) -> Option<String> {
    if let Some((name, why)) =
        message.strip_prefix("executable file `").and_then(|rest| rest.split_once("` not found"))
        && why.starts_with(" in $PATH")
    {
        return Some(format!("exec: {name:?}: executable file not found in $PATH"));
    }
    let (program, why) = message.strip_prefix("execute `")?.split_once("`: ")?;
    let why = why.to_ascii_lowercase();
    let missing = "no such file or directory";
    if why.starts_with(missing) {
        return Some(format!("exec: {program:?}: stat {program}: {missing}"));
    }
    let known = ["permission denied", "exec format error", "is a directory"];
    known.iter().find(|known| why.starts_with(**known)).map(|known| format!("exec: {program:?}: {known}"))
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
