//! The hash of a service's configuration: a container whose label differs from it is made anew.

use crate::base::digest::Digest;
use crate::compose::node::Node;

/// Fields that change nothing about a container: how many there are, when they start, how the image is made.
const IGNORED: [&str; 6] = ["build", "pull_policy", "scale", "depends_on", "profiles", "develop"];

/// SHA-256 of the service as JSON, in lower-case hexadecimal.
pub(crate) fn of(service: &Node) -> String {
    let mut json = service.to_json();
    if let Some(fields) = json.as_object_mut() {
        for key in IGNORED {
            fields.shift_remove(key);
        }
        if let Some(deploy) = fields.get_mut("deploy").and_then(|deploy| deploy.as_object_mut()) {
            deploy.shift_remove("replicas");
        }
    }
    Digest::of(json.to_string().as_bytes()).hex()
}
