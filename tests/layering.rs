//! Holds `src/` to the rows of ARCHITECTURE.md: a module uses only modules of strictly lower rows.
//!
//! It reads the text, not the compiler's tree: `crate::module`, `crate::{module, …}`, and `super::` chains that
//! climb to the root of the crate. Comments do not count.

mod common;

use common::source::{Source, sources};

/// From the bottom up. Modules in one row do not know each other either.
const ROWS: [&[&str]; 9] = [
    &["base"],
    &["sys"],
    &["attach", "cgroup", "events", "logs", "net", "registry", "stage", "store"],
    &["runtime"],
    &["engine"],
    &["documents"],
    &["api", "compose", "kube", "quadlet"],
    &["cli"],
    &["fuzzing"],
];

/// The row of a top-level module, from 0, or none for what is not a module of the house.
fn row(module: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&module))
}

/// The top-level modules that one file names, each with its line.
fn modules_used(source: &Source) -> Vec<(usize, String)> {
    let mut used = Vec::new();
    let code = &source.code;
    for (at, _) in code.match_indices("crate::") {
        let line = code[..at].matches('\n').count() + 1;
        let rest = &code[at + "crate::".len()..];
        let names = if let Some(group) = rest.strip_prefix('{') {
            first_names(group)
        } else {
            vec![first_name(rest)]
        };
        used.extend(names.into_iter().map(|name| (line, name)));
    }
    // Below `mod tests` a chain starts one module deeper; tests are held to the `crate::` rule only.
    let production = source.production();
    let chain = "super::".repeat(source.depth);
    for (at, _) in production.match_indices(&chain) {
        let line = production[..at].matches('\n').count() + 1;
        used.push((line, first_name(&production[at + chain.len()..])));
    }
    used
}

/// The identifier `text` starts with.
fn first_name(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The first identifier of each path in `a::b, c::{d, e}, f}`.
fn first_names(group: &str) -> Vec<String> {
    let (mut depth, mut names, mut start) = (0, Vec::new(), 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                names.push(first_name(group[start..at].trim_start()));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

#[test]
fn modules_use_only_lower_rows() {
    let mut broken = Vec::new();
    for source in sources().iter().filter(|source| source.depth > 0) {
        let own = &source.module;
        let own_row =
            row(own).unwrap_or_else(|| panic!("{own} has no row: add it to ARCHITECTURE.md and here"));
        for (line, used) in modules_used(source) {
            if used != *own && row(&used).is_none_or(|row| row >= own_row) {
                broken.push(format!("{}:{line}: {own} uses {used}", source.path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "upward or sideways use:\n{}", broken.join("\n"));
}

#[test]
fn the_reader_of_uses_sees_groups_chains_and_no_comments() {
    let source = Source::parse(
        "store/layers.rs",
        "use crate::{base::{digest, id}, sys::fs as f};\n// crate::cli\nuse crate::engine::x;\nuse super::super::net;\nuse super::blobs;\n",
    );

    let names: Vec<_> =
        modules_used(&source).into_iter().map(|(line, name)| format!("{line} {name}")).collect();

    assert_eq!(names, ["1 base", "1 sys", "3 engine", "4 net"]);
}
