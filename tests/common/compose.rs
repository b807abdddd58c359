//! Projects: a Compose file in a sandbox, and what is done with it.

use super::{Invocation, Output, Running, Sandbox, wait_for};

/// Runs until it is asked to end.
pub(crate) const SERVE: &str = "trap exit TERM; while :; do sleep 0.05; done";

/// The same, and says `text` first: who sees that can ask it to end.
pub(crate) fn serve_saying(text: &str) -> String {
    SERVE.replacen(';', &format!("; echo {text};"), 1)
}

/// A sandbox with a project `p` whose file is `text`.
pub(crate) fn project(text: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("p/compose.yaml", text);
    sandbox
}

/// A project of one service `a` that serves, with further keys in YAML's flow form.
pub(crate) fn serving(keys: &str) -> Sandbox {
    project(&format!(
        "services:\n  a: {{image: bb, command: [sh, -c, '{SERVE}'], network_mode: none{keys}}}\n"
    ))
}

/// Waits until it has said `text` on standard error.
pub(crate) fn says(running: &Running, text: &str) {
    wait_for(text, || {
        let said = running.stderr_so_far();
        if said.contains(text) { Ok(()) } else { Err(said) }
    });
}

pub(crate) trait Compose {
    /// `ketch compose ARGS` in the project's directory, to be given more before it runs.
    fn compose_command(&self, args: &[&str]) -> Invocation;

    /// `ketch compose ARGS` in the project's directory.
    fn compose(&self, args: &[&str]) -> Output {
        self.compose_command(args).run()
    }
}

impl Compose for Sandbox {
    fn compose_command(&self, args: &[&str]) -> Invocation {
        let args = ["compose"].iter().chain(args);
        self.command(args).env("KETCH_NETWORK_LINGER", "0").current_dir(self.path("p"))
    }
}
