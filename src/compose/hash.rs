//! The hash of a service's configuration: a container whose label differs from it is made anew.

use serde_json::Value;

use crate::base::digest::Digest;
use crate::base::order::InOrder as _;
use crate::compose::node::Node;
use crate::compose::normal::uses;

/// Fields that change nothing about a container: how many there are, when they start, how the image is made.
const IGNORED: [&str; 6] = ["build", "pull_policy", "scale", "depends_on", "profiles", "develop"];

/// SHA-256, in lower-case hexadecimal, of the service as JSON and of what it uses: networks, volumes, secrets and
/// configs, as far as `file` says more about them than that they are there.
pub(crate) fn of(service: &Node, file: &Node) -> String {
    let mut json = service.to_json();
    if let Some(fields) = json.as_object_mut() {
        for key in IGNORED {
            fields.shift_remove(key);
        }
        if let Some(deploy) = fields.get_mut("deploy").and_then(|deploy| deploy.as_object_mut()) {
            deploy.shift_remove("replicas");
        }
    }
    let mut text = json.to_string();
    for section in ["networks", "volumes", "secrets", "configs"] {
        let mut used = uses(service, section);
        used.order();
        used.dedup();
        for key in used {
            if let Some(said) = said(file, section, &key) {
                text.push_str(&format!("\n{section}.{key}: {said}"));
            }
        }
    }
    Digest::of(text.as_bytes()).hex()
}

/// What a file says about a resource beyond its being the project's own; labels change no container.
fn said(file: &Node, section: &str, key: &str) -> Option<String> {
    let mut json = file.get(section)?.get(key)?.to_json();
    let project = file.str_at("name").unwrap_or_default();
    let fields = json.as_object_mut()?;
    if fields.get("name") == Some(&Value::String(format!("{project}_{key}"))) {
        fields.shift_remove("name");
    }
    fields.shift_remove("labels");
    if section == "secrets" || section == "configs" {
        fields.shift_remove("name");
    }
    (!fields.is_empty()).then(|| json.to_string())
}

/// SHA-256 of a resource's definition, in lower-case hexadecimal.
pub(crate) fn of_resource(node: &Node) -> String {
    Digest::of(node.to_json().to_string().as_bytes()).hex()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::node::Files;

    fn hash(text: &str) -> String {
        let mut files = Files::default();
        let file = files.add("compose.yaml".to_owned());
        let document = files.documents(text, file).unwrap().remove(0);
        of(document.get("services").unwrap().get("a").unwrap(), &document)
    }

    #[test]
    fn what_a_service_uses_belongs_to_it() {
        let with = |service: &str, more: &str| {
            hash(&format!("name: p\nservices: {{a: {{image: x, {service}}}}}\n{more}"))
        };
        let networks = "networks: {n: null}";
        let plain = with(networks, "networks: {n: {name: p_n}}");
        for (same, service, more) in [
            (true, networks, "networks: {n: {name: p_n, labels: {x: y}}}"),
            (true, "networks: {n: null}, scale: 3", "networks: {n: {name: p_n}}"),
            (true, networks, "networks: {n: {name: p_n}, other: {name: x, internal: true}}"),
            (false, networks, "networks: {n: {name: p_n, internal: true}}"),
            (false, networks, "networks: {n: {name: other}}"),
            (false, "networks: {n: {aliases: [x]}}", "networks: {n: {name: p_n}}"),
        ] {
            assert_eq!(with(service, more) == plain, same, "{service} {more}");
        }
        let config = |content: &str| {
            with("configs: [{source: c}]", &format!("configs: {{c: {{name: p_c, {content}}}}}"))
        };
        assert_ne!(config("content: one"), config("content: two"));
        assert_ne!(config("file: /a"), config("file: /b"));
    }
}
