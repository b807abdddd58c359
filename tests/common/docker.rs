//! ketch under docker's name.

use std::path::PathBuf;

use serde_json::Value;

use super::{Output, Sandbox, ketch_binary};

/// A sandbox in which ketch is called docker, too.
pub(crate) struct Docker {
    pub(crate) sandbox: Sandbox,
    pub(crate) link: PathBuf,
}

impl Docker {
    pub(crate) fn new() -> Self {
        let sandbox = Sandbox::new();
        let link = sandbox.path("docker");
        std::os::unix::fs::symlink(ketch_binary(), &link).expect("make a link");
        Self { sandbox, link }
    }

    pub(crate) fn run(&self, words: &str) -> Output {
        self.sandbox.program(&self.link, words.split(' ')).run()
    }

    #[track_caller]
    pub(crate) fn ok(&self, words: &str) -> String {
        self.run(words).ok().to_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self, words: &str) -> Value {
        serde_json::from_str(&self.ok(words)).expect("it is JSON")
    }

    /// The objects of a listing, one on each line.
    #[track_caller]
    pub(crate) fn lines(&self, words: &str) -> Vec<Value> {
        let lines = self.ok(words);
        lines.lines().map(|line| serde_json::from_str(line).expect("an object on a line")).collect()
    }
}
