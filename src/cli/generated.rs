//! Holds `man/` and `completions/` to the definitions of the verbs.
//!
//! `KETCH_BLESS=1 cargo test generated` writes them anew.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Command;

use super::{completion, help};

/// The files as they are to be, by their path below the project.
fn generated() -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut tree = help::tree();
    tree.build();
    manual(&tree, "ketch", &mut files);
    for (shell, file) in [("bash", "ketch.bash"), ("zsh", "_ketch"), ("fish", "ketch.fish")] {
        let script = completion::registration(shell, "ketch", true).expect("a known shell");
        files.insert(Path::new("completions").join(file), script);
    }
    files
}

/// Adds the page of a command and of all below it.
fn manual(command: &Command, name: &str, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    let visible =
        command.get_subcommands().filter(|below| !below.is_hide_set() && below.get_name() != "help");
    for below in visible {
        manual(below, &format!("{name}-{}", below.get_name()), files);
    }
    let page = clap_mangen::Man::new(command.clone().name(name.to_owned()))
        .title(name.to_uppercase())
        .source("ketch")
        .manual("Containers");
    let mut text = Vec::new();
    page.render(&mut text).expect("memory takes any text");
    files.insert(Path::new("man").join(format!("{name}.1")), text);
}

#[test]
fn manual_and_completions_match_the_definitions() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let wanted = generated();
    if std::env::var_os("KETCH_BLESS").is_some() {
        for dir in ["man", "completions"] {
            std::fs::remove_dir_all(root.join(dir)).ok();
            std::fs::create_dir(root.join(dir)).expect("make the directory");
        }
        for (path, text) in &wanted {
            std::fs::write(root.join(path), text).expect("write a page");
        }
    }
    let mut wrong = Vec::new();
    for (path, text) in &wanted {
        if std::fs::read(root.join(path)).ok().as_ref() != Some(text) {
            wrong.push(path.clone());
        }
    }
    for dir in ["man", "completions"] {
        for entry in std::fs::read_dir(root.join(dir)).into_iter().flatten() {
            let path = Path::new(dir).join(entry.expect("list").file_name());
            if !wanted.contains_key(&path) {
                wrong.push(path);
            }
        }
    }
    assert!(wrong.is_empty(), "run KETCH_BLESS=1 cargo test generated; out of date: {wrong:?}");
}
