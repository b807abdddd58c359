//! Every registered point of failure × {kill -9, EIO, ENOSPC}: a command that fails or dies there leaves a store that
//! is whole, and the next command works (`make failpoints`; the binary is built with the feature `failpoints`).

mod common;

use std::collections::BTreeMap;

use common::image::{Compression, Layer};
use common::registry::Registry;
use common::source::sources;
use common::{Sandbox, entries, wait_for};

/// The points that the sources name.
fn points() -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for source in sources().iter().filter(|source| !source.path.ends_with("failpoint.rs")) {
        let calls = source.text.split("failpoint::reach(\"").skip(1);
        found.extend(calls.filter_map(|rest| Some(rest.split('"').next()?.to_owned())));
    }
    found.sort();
    found.dedup();
    assert!(found.len() >= 10, "{found:?}");
    found
}

const ACTIONS: [(&str, &str); 3] = [("kill", "kill"), ("EIO", "err:5"), ("ENOSPC", "err:28")];

/// What is done at each point, in this order, and what undoes it; the undoing may fail where there is nothing to undo.
fn steps(image: &str) -> Vec<(Vec<&str>, Vec<&str>)> {
    vec![
        (vec!["pull", "-q", "--retry=0", image], vec!["rmi", "-f", image]),
        (vec!["tag", "bb", "other"], vec!["untag", "bb", "localhost/other"]),
        (vec!["create", "--name=c", "--net=none", "bb", "true"], vec!["rm", "-f", "c"]),
        (vec!["run", "--rm", "--net=none", "--name=r", "bb", "true"], vec!["rm", "-f", "r"]),
        (vec!["volume", "create", "v"], vec!["volume", "rm", "-f", "v"]),
        (vec!["network", "create", "n"], vec!["network", "rm", "-f", "n"]),
    ]
}

#[test]
fn whatever_fails_or_dies_anywhere_leaves_a_whole_store() {
    // A layer that no sandbox has, so that there is something to download.
    let layer = Layer::new().file("new", 0o644, "x".repeat(100_000));
    let image = common::bb::image().layer(layer, Compression::Gzip).env("A=b").build();
    let image = Registry::shared().push("failpoints", "v1", &image);
    let mut reached: BTreeMap<String, usize> = BTreeMap::new();
    for point in points() {
        for (name, action) in ACTIONS {
            let sandbox = Sandbox::new();
            let armed = |args: &[&str]| {
                sandbox.command(args).env("KETCH_FAILPOINTS", format!("{point}={action}")).run()
            };
            for (step, undo) in steps(&image) {
                let what = format!("{point} {name}: {}", step.join(" "));
                for (command, again) in [(&step, true), (&undo, false)] {
                    let output = armed(command);
                    match output.code {
                        0 => {}
                        -9 if action == "kill" => *reached.entry(point.clone()).or_default() += 1,
                        1 | 125 if action != "kill" => {
                            *reached.entry(point.clone()).or_default() += 1;
                            let errors =
                                output.stderr.lines().filter(|line| line.starts_with("Error: ")).count();
                            assert_eq!(errors, 1, "{what}: {}", output.stderr);
                        }
                        code => panic!("{what}: {code}: {}", output.stderr),
                    }
                    sandbox.ok(["system", "check"]);
                    // The same command once more does what the first was to do, or says that it is done already.
                    let next = sandbox.ketch(command);
                    let done = ["already", "in use", "not known", "no such", "not found"];
                    assert!(
                        next.code == 0 || done.iter().any(|word| next.stderr.contains(word)),
                        "{what}, again ({again}): {}: {}",
                        next.code,
                        next.stderr
                    );
                }
            }
            assert_eq!(sandbox.ok(["run", "--rm", "--net=none", "bb", "echo", "fine"]), "fine");
            sandbox.ok(["system", "prune", "-f"]);
            wait_for("nothing to be left", || {
                let all =
                    ["staging", "containers", "names"].map(|dir| entries(&sandbox.store(), dir)).concat();
                if all.is_empty() { Ok(()) } else { Err(format!("{point} {name}: {all:?}")) }
            });
        }
    }
    let never: Vec<String> = points().into_iter().filter(|point| !reached.contains_key(point)).collect();
    assert!(never.is_empty(), "never reached: {never:?}");
}
