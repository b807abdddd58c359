//! How docker words and ends a failure: what scripts look for in its messages, and its exit codes.

use crate::base::image_ref::{ImageName, ImageRef, NameRule};
use crate::cli::usage::UsageError;
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
    let quoted = |text: &str, before: &str, after: &str| -> Option<String> {
        let inside = text.strip_prefix(before)?.strip_suffix(after)?;
        Some(inside.trim_matches('"').to_owned())
    };
    let missing = "found: no such container";
    for before in ["no container with name or ID ", "no container with ID or name "] {
        if let Some(name) = quoted(message, before, &format!(" {missing}")) {
            return format!("No such container: {name}");
        }
    }
    if let Some(name) = quoted(message, "no such container ", "") {
        return format!("No such container: {name}");
    }
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
    if let Some(words) = quoted(message, "unrecognized command `ketch ", "`") {
        return format!("docker: unknown command: docker {words}");
    }
    if let Some((name, why)) = message.strip_prefix("pull ").and_then(|rest| rest.split_once(": "))
        && let Ok(image) = name.parse::<ImageRef>()
    {
        if why.contains(" not found on ") {
            return format!("manifest for {} not found: manifest unknown: {why}", image.familiar());
        }
        if why.contains(" denies access") {
            let repository = image.without_reference().familiar();
            return format!(
                "pull access denied for {repository}, repository does not exist or may require 'docker login': {why}"
            );
        }
    }
    message.to_owned()
}

/// A name as docker shows it where it asks for one with its tag.
fn with_tag(typed: &str) -> String {
    match typed.parse::<ImageName>() {
        Ok(name) => NameRule::Docker.shown(&name.on(crate::base::image_ref::DOCKER_HUB).with_default_tag()),
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
            ("unrecognized command `ketch container x`", "docker: unknown command: docker container x"),
            (
                "pull docker.io/library/x:1: manifest 1 not found on registry-1.docker.io",
                "manifest for x:1 not found: manifest unknown: manifest 1 not found on registry-1.docker.io",
            ),
            (
                "pull docker.io/me/x:latest: docker.io denies access: no",
                "pull access denied for me/x, repository does not exist or may require 'docker login': docker.io denies access: no",
            ),
            ("anything else", "anything else"),
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
