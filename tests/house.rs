//! House rules that no lint checks, read from the sources.

mod common;

use common::source::{Source, sources};

/// `path:line: text` for each line of production code outside `except` that holds one of `words`.
fn lines_with(words: &[&str], except: impl Fn(&Source) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| !except(source)) {
        for (number, line) in source.production().lines().enumerate() {
            if words.iter().any(|word| line.contains(word)) {
                found.push(format!("{}:{}: {}", source.path.display(), number + 1, line.trim()));
            }
        }
    }
    found
}

/// How often `word` stands in `text`.
fn count(text: &str, word: &str) -> usize {
    text.matches(word).count()
}

#[test]
fn unsafe_code_is_in_sys_only() {
    let found = lines_with(
        &["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "allow(unsafe_code)"],
        |source| source.module == "sys" || source.path.ends_with("lib.rs"),
    );
    assert!(found.is_empty(), "unsafe outside src/sys:\n{}", found.join("\n"));
}

#[test]
fn every_unsafe_block_has_its_proof() {
    let mut unproved = Vec::new();
    for source in sources() {
        let blocks = count(&source.code, "unsafe {") + count(&source.code, "unsafe impl");
        let proofs = count(&source.text, "SAFETY:");
        if proofs < blocks {
            unproved
                .push(format!("{}: {blocks} unsafe blocks, {proofs} SAFETY comments", source.path.display()));
        }
    }
    assert!(unproved.is_empty(), "{}", unproved.join("\n"));
}

#[test]
fn certificates_are_left_unchecked_in_one_place_only() {
    let found = lines_with(&["danger_accept_invalid_certs", "danger_accept_invalid_hostnames"], |_| false);
    assert!(found.len() <= 1, "--tls-verify=false belongs in one place:\n{}", found.join("\n"));
}

#[test]
fn the_environment_is_read_in_cli_and_engine_config_only() {
    let words = [
        "env::var",
        "env::vars",
        "env::set_var",
        "env::remove_var",
        "env::current_dir",
        "env::home_dir",
        "env::temp_dir",
    ];
    let found = lines_with(&words, |source| {
        source.module == "cli"
            || source.path.starts_with("engine/config.rs")
            || source.path.starts_with("engine/config")
    });
    assert!(found.is_empty(), "std::env outside cli and engine::config:\n{}", found.join("\n"));
}

#[test]
fn only_the_cli_prints() {
    let found = lines_with(&["println!(", "print!(", "eprint!("], |source| source.module == "cli");
    assert!(found.is_empty(), "printing outside cli:\n{}", found.join("\n"));
}

/// Static glibc must never reach NSS: it would load the machine's libraries of another version.
#[test]
fn nothing_resolves_names_through_nss() {
    let words = [
        "getaddrinfo",
        "getpwnam",
        "getpwuid",
        "getgrnam",
        "getgrgid",
        "getgrouplist",
        "ToSocketAddrs",
        "User::from_",
        "Group::from_",
    ];
    let found = lines_with(&words, |_| false);
    assert!(found.is_empty(), "use of NSS:\n{}", found.join("\n"));
}

#[test]
fn every_module_says_why_it_exists() {
    let silent: Vec<_> = sources()
        .iter()
        .filter(|source| !source.for_tests && !source.text.starts_with("//!"))
        .map(|source| source.path.display().to_string())
        .collect();
    assert!(silent.is_empty(), "no module documentation: {}", silent.join(", "));
}
