//! Docker's words for what goes wrong: scripts and clients look for them.

use crate::base::image_ref::{DOCKER_HUB, ImageName, ImageRef, NameRule};

/// A message in docker's words, as far as scripts look for them.
pub(crate) fn dockers(message: &str) -> String {
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
            ("anything else", "anything else"),
        ] {
            assert_eq!(dockers(message), want);
        }
    }
}
