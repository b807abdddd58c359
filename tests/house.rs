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
            // Sets a switch of the standard library and takes it back: the environment stays what it was.
            || source.path.starts_with("sys/backtrace.rs")
    });
    assert!(found.is_empty(), "std::env outside cli and engine::config:\n{}", found.join("\n"));
}

#[test]
fn only_the_cli_prints() {
    let found = lines_with(&["println!(", "print!(", "eprint!("], |source| source.module == "cli");
    assert!(found.is_empty(), "printing outside cli:\n{}", found.join("\n"));
}

#[test]
fn lists_are_put_in_order_by_the_one_copy_of_sort() {
    let words = [".sort(", ".sort_by(", ".sort_by_key(", ".sort_by_cached_key(", ".sort_unstable"];
    let found = lines_with(&words, |source| source.path.ends_with("base/order.rs"));
    assert!(found.is_empty(), "std's sort outside base::order, 5 kB a copy:\n{}", found.join("\n"));
}

/// Static glibc must never reach NSS: it would load the machine's libraries of another version. (build.rs leaves out what dependencies would ask.)
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
        "home_dir",
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

/// The threats and faults that a test must hold; tests/README.md names it.
const ROWS: [(&str, &[std::ops::RangeInclusive<u32>]); 2] =
    [("SEC", &[1..=40]), ("REL", &[1..=25, 27..=28, 33..=61, 63..=65, 68..=68, 70..=72])];

/// The `SEC-nn` and `REL-nn` that a test's name and comments say.
fn rows_of(comments: &str, name: &str) -> Vec<String> {
    let said = comments.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let in_name = name.split_once('_').and_then(|(kind, rest)| {
        let number = rest.split('_').next()?;
        Some(format!("{}-{number}", kind.to_ascii_uppercase()))
    });
    let is_row = |word: &String| matches!(word.split_once('-'), Some(("SEC" | "REL", number)) if number.len() == 2 && number.parse::<u8>().is_ok());
    said.map(str::to_owned).chain(in_name).filter(is_row).collect()
}

/// `path::test` by row, as the sources have them.
fn tests_by_row(root: &std::path::Path) -> std::collections::BTreeMap<String, Vec<String>> {
    let mut found: std::collections::BTreeMap<String, Vec<String>> = std::collections::BTreeMap::new();
    let mut pending = vec![root.join("tests"), root.join("src")];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).expect("list the sources");
            pending.extend(entries.map(|entry| entry.expect("list the sources").path()));
            continue;
        }
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("read a source");
        let shown = path.strip_prefix(root).expect("below the root").display().to_string();
        let mut head = String::new();
        for line in text.lines().map(str::trim_start) {
            if line.starts_with("///") || line.starts_with("#[") {
                head.push_str(line);
                head.push('\n');
            } else {
                if let Some((name, _)) = line.strip_prefix("fn ").and_then(|rest| rest.split_once('('))
                    && head.contains("#[test]")
                {
                    for row in rows_of(&head, name) {
                        found.entry(row).or_default().push(format!("{shown}::{name}"));
                    }
                }
                head.clear();
            }
        }
    }
    found
}

#[test]
fn every_threat_and_fault_has_its_test_and_the_table_names_it() {
    let root = common::source::project();
    let found = tests_by_row(&root);
    let table = std::fs::read_to_string(root.join("tests/README.md")).expect("read tests/README.md");
    let mut faults = Vec::new();
    for (kind, ranges) in ROWS {
        for number in ranges.iter().cloned().flatten() {
            let row = format!("{kind}-{number:02}");
            if !found.contains_key(&row) {
                faults.push(format!("{row} has no test"));
            }
            if !table.lines().any(|line| line.starts_with(&format!("| {row} |"))) {
                faults.push(format!("tests/README.md has no row {row}"));
            }
        }
    }
    for (row, tests) in &found {
        let named = table.lines().find(|line| line.starts_with(&format!("| {row} |"))).unwrap_or_default();
        let missing = tests.iter().filter(|test| !named.contains(&format!("`{test}`")));
        faults.extend(missing.map(|test| format!("tests/README.md does not name {test} in a row {row}")));
    }
    let machine = std::fs::read_to_string(root.join("tests/vm")).expect("read tests/vm");
    for line in table.lines() {
        let row = line.strip_prefix("| ").and_then(|line| line.split(' ').next()).unwrap_or_default();
        for part in line.split('`').filter_map(|word| word.strip_prefix("tests/vm::")) {
            if !machine.contains(&format!("\n{part}() {{")) || !machine.contains(row) {
                faults.push(format!("tests/vm has no part {part} that says {row}"));
            }
        }
    }
    for line in table.lines() {
        let Some(row) = line.strip_prefix("| ").and_then(|line| line.split(' ').next()) else { continue };
        for test in line.split('`').filter(|word| word.contains(".rs::")) {
            if !found.get(row).is_some_and(|tests| tests.iter().any(|known| known == test)) {
                faults.push(format!(
                    "tests/README.md names {test} in the row {row}, but there is no such test"
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn cargo_fuzz_has_the_targets_that_the_parsers_have() {
    let root = common::source::project();
    let text = std::fs::read_to_string(root.join("src/fuzzing.rs")).expect("read src/fuzzing.rs");
    let table = text.split("TARGETS: ").nth(1).and_then(|rest| rest.split("];").next()).expect("the table");
    let mut named: Vec<String> =
        table.split('"').skip(1).step_by(2).map(|name| format!("{name}.rs")).collect();
    let entries = std::fs::read_dir(root.join("fuzz/fuzz_targets")).expect("list the targets");
    let name = |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let mut files: Vec<String> = entries.map(|entry| name(entry.expect("list the targets"))).collect();
    named.sort();
    files.sort();
    assert_eq!(named, files);
    let manifest = std::fs::read_to_string(root.join("fuzz/Cargo.toml")).expect("read fuzz/Cargo.toml");
    for file in files {
        assert!(
            manifest.contains(&format!("path = \"fuzz_targets/{file}\"")),
            "{file} is not in fuzz/Cargo.toml"
        );
    }
}
