//! Manifests of pods, and playing them.

use std::path::PathBuf;

use super::{Output, Sandbox};

/// Writes a manifest, and returns its path.
pub(crate) fn manifest(sandbox: &Sandbox, name: &str, text: &str) -> String {
    let path: PathBuf = sandbox.write(name, text);
    path.to_str().expect("a path").to_owned()
}

/// A pod `p` on no network, with one container `c` that sleeps until it is told to end; `more` is further YAML of the
/// container, indented by four.
pub(crate) fn sleeping(more: &str, spec: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  labels: {{app: x}}\nspec:\n{spec}  containers:\n  - name: c\n    image: bb\n    \
         command: [sh, -c, 'trap \"exit 0\" TERM; while :; do sleep 0.1; done']\n{more}"
    )
}

/// `kube play` of a file, on no network.
pub(crate) fn play(sandbox: &Sandbox, file: &str, flags: &[&str]) -> Output {
    let mut args = vec!["kube", "play", "--network=none"];
    args.extend(flags);
    args.push(file);
    sandbox.ketch(args)
}
