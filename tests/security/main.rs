//! Attacks on ketch from inside a container, from an image, and from the caller's surroundings; each has to fail.
//!
//! The numbers (SEC-nn) are those of the project's list of threats. What only a program can try (system calls, races)
//! is tried by this very binary: it is static, so it runs in any container it is mounted into (see `inside`).
#![allow(unsafe_code)] // for the system calls that `inside` makes: the standard library has none of them

#[path = "../common/mod.rs"]
mod common;

mod builds;
mod confinement;
mod host;
mod inside;
mod races;
mod surroundings;
mod terminal;

use common::image::Built;
use common::registry::Registry;
use common::{Output, Sandbox};

/// Runs the attack `what` of [`inside`] in a container of `bb`, with these options of `run`.
#[track_caller]
fn attack(sandbox: &Sandbox, options: &[&str], what: &str) -> Output {
    let mut args = vec!["run".to_owned(), "--rm".to_owned()];
    args.extend(inside::mounted(what));
    args.extend(options.iter().map(|option| (*option).to_owned()));
    args.push("bb".to_owned());
    args.extend(inside::command());
    sandbox.ketch(args)
}

/// What an attack has found out: its lines, without the test harness around them.
fn findings(output: &Output) -> Vec<&str> {
    output.stdout.lines().filter_map(|line| line.trim_end_matches('\r').strip_prefix(inside::MARK)).collect()
}

/// Puts an image into the sandbox's store by way of the registry, and gives its name.
#[track_caller]
fn pulled(sandbox: &Sandbox, tag: &str, image: &Built) -> String {
    let name = Registry::shared().push("security", tag, image);
    sandbox.ok(["pull", "--quiet", &name]);
    name
}
