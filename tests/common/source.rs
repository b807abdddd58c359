//! The project's own sources, for the tests that hold them to the rules of the house.

use std::fs;
use std::path::{Path, PathBuf};

/// One file below `src/`.
#[derive(Debug)]
pub(crate) struct Source {
    /// Path below `src/`.
    pub(crate) path: PathBuf,
    /// The top-level module it belongs to.
    pub(crate) module: String,
    /// How many modules lie between the crate's root and its items; 0 for the root itself.
    pub(crate) depth: usize,
    /// What the file holds.
    pub(crate) text: String,
    /// The same lines without their comments.
    pub(crate) code: String,
    /// Whether it is compiled for unit tests only, by its name.
    pub(crate) for_tests: bool,
}

impl Source {
    /// A file at `path` below `src/` with the contents `text`.
    pub(crate) fn parse(path: &str, text: &str) -> Self {
        let path = PathBuf::from(path);
        let mut modules: Vec<String> =
            path.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if ["mod", "lib", "main"].contains(&modules.last().map_or("", String::as_str)) {
            modules.pop();
        }
        let code: String = text.lines().map(|line| format!("{}\n", without_comment(line))).collect();
        let module = modules.first().cloned().unwrap_or_default();
        let for_tests = path.with_extension("").iter().any(|part| {
            let part = part.to_string_lossy();
            part == "tests" || part == "testing" || part.ends_with("_tests")
        });
        Source { path, module, depth: modules.len(), text: text.to_owned(), code, for_tests }
    }

    /// The code before the unit tests at the file's end.
    pub(crate) fn production(&self) -> &str {
        if self.for_tests {
            ""
        } else {
            self.code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default()
        }
    }
}

/// The part of a line before `//`, unless that is part of an address (`https://`).
fn without_comment(line: &str) -> &str {
    let mut from = 0;
    while let Some(at) = line[from..].find("//").map(|at| at + from) {
        if !line[..at].ends_with(':') {
            return &line[..at];
        }
        from = at + 2;
    }
    line
}

/// Where the project lies: the tests may run from a copy, as a user who cannot read the original.
pub(crate) fn project() -> PathBuf {
    std::env::var_os("KETCH_SOURCE").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from)
}

/// All Rust files below `src/`.
pub(crate) fn sources() -> Vec<Source> {
    let src = project().join("src");
    let mut paths = Vec::new();
    rust_files(&src, &mut paths);
    assert!(paths.len() > 5, "no sources below {}", src.display());
    paths
        .iter()
        .map(|path| {
            let below = path.strip_prefix(&src).expect("listed below src");
            Source::parse(&below.to_string_lossy(), &fs::read_to_string(path).expect("read a source file"))
        })
        .collect()
}

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("list src") {
        let path = entry.expect("list src").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}
