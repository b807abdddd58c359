//! Each file of the state emptied, cut off, changed, or replaced by something else: the damage stays with its object,
//! every listing shows the others and says which one is damaged, and there is a way out without touching files by hand.

mod common;

use std::fs;
use std::path::Path;

use common::process::lives;
use common::{Output, Sandbox, wait_for};
use rustix::fs::{CWD, FileType, mknodat};
use rustix::process::Pid;

/// What can happen to a file.
const WAYS: [&str; 7] = ["emptied", "cut off", "a bit flipped", "all NUL", "a directory", "a FIFO", "gone"];

fn hurt(path: &Path, how: &str) {
    let text = fs::read(path).unwrap_or_else(|err| panic!("read {}: {err}", path.display()));
    let replaced = match how {
        "emptied" => Some(Vec::new()),
        "cut off" => Some(text[..text.len() / 2].to_vec()),
        // Of the first brace: a flip within a text would be another text.
        "a bit flipped" => Some([&[text[0] ^ 4], &text[1..]].concat()),
        "all NUL" => Some(vec![0; text.len()]),
        _ => None,
    };
    fs::remove_file(path).expect("remove a file");
    match (replaced, how) {
        (Some(text), _) => fs::write(path, text).expect("write a file"),
        (None, "a directory") => fs::create_dir(path).expect("make a directory"),
        (None, "a FIFO") => mknodat(CWD, path, FileType::Fifo, 0o600.into(), 0).expect("make a FIFO"),
        _ => {}
    }
}

/// A command that has to come to its end in an orderly way, whatever its answer.
#[track_caller]
fn orderly(sandbox: &Sandbox, args: &[&str], what: &str) -> Output {
    let output = sandbox.ketch(args);
    let code = output.code;
    assert!([0, 1, 2, 125, 126, 127, 255].contains(&code), "{what}: {args:?}: {code}: {}", output.stderr);
    assert!(!output.stderr.contains("panicked"), "{what}: {args:?}: {}", output.stderr);
    if code != 0 && code != 1 {
        assert!(output.stderr.contains("Error: "), "{what}: {args:?}: {code} without a word");
    }
    output
}

/// A sandbox with an unharmed object of each kind, all named `good`.
fn world() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.ok(["create", "--name=good", "--net=none", "bb", "true"]);
    sandbox.ok(["volume", "create", "good"]);
    sandbox.ok(["network", "create", "good"]);
    sandbox.command(["secret", "create", "good", "-"]).stdin("x").run().ok();
    sandbox
}

/// Every listing still shows what is not damaged.
#[track_caller]
fn listings_show_the_others(sandbox: &Sandbox, what: &str) {
    for args in [
        &["ps", "-a", "--format={{.Names}}"][..],
        &["volume", "ls", "-q"],
        &["network", "ls", "--format={{.Name}}"],
        &["secret", "ls", "--format={{.Name}}"],
    ] {
        let output = orderly(sandbox, args, what);
        assert_eq!(output.code, 0, "{what}: {args:?}: {}", output.stderr);
        assert!(output.stdout.lines().any(|line| line == "good"), "{what}: {args:?}: {}", output.stdout);
    }
    assert!(sandbox.ok(["images", "--format={{.Repository}}"]).contains("localhost/bb"), "{what}");
    orderly(sandbox, &["system", "df"], what);
}

#[test]
fn damaged_files_of_a_container_hurt_that_container_only() {
    let sandbox = world();
    for file in ["spec.json", "record.json", "updated.json", "networks.json"] {
        for how in WAYS {
            let what = format!("{file} {how}");
            sandbox.ok(["run", "--name=bad", "--network=good", "bb", "true"]);
            let id = sandbox.inspect("bad", ".Id");
            sandbox.ok(["update", "--restart=no", "bad"]);
            sandbox.ok(["network", "connect", "ketch", "bad"]);
            hurt(&sandbox.store().join("containers").join(&id).join(file), how);

            listings_show_the_others(&sandbox, &what);
            let listed = sandbox.ketch(["ps", "-a"]);
            assert!(listed.ok().contains(&id[..12]), "{what}: it is still listed: {}", listed.stdout);
            if listed.stdout.contains("<damaged>") {
                assert!(listed.stderr.contains("Warning: "), "{what}: {}", listed.stderr);
                let start = sandbox.ketch(["start", "bad"]);
                assert!(
                    start.fails(125).contains(&format!("hint: it is damaged; ketch rm -f {}", &id[..12])),
                    "{what}: {start:?}"
                );
                assert_eq!(sandbox.ketch(["system", "check", "--quick"]).code, 125, "{what}");
            }
            for args in [
                &["inspect", "bad"][..],
                &["logs", "bad"],
                &["stop", "bad"],
                &["kill", "bad"],
                &["exec", "bad", "true"],
                &["cp", "bad:/etc", "x"],
                &["rename", "bad", "bad"],
            ] {
                orderly(&sandbox, args, &what);
            }
            assert_eq!(sandbox.ok(["rm", "-f", "bad"]), "bad", "{what}");
            sandbox.ok(["system", "check", "--quick"]);
        }
    }
}

/// The monitor of a container that runs needs none of these files to end it.
#[test]
fn a_running_container_whose_files_are_damaged_is_removed_by_force() {
    let sandbox = world();
    for file in ["spec.json", "record.json"] {
        for how in ["emptied", "a bit flipped", "a FIFO", "gone"] {
            let what = format!("{file} {how}");
            let options = ["--restart=always", "--stop-timeout=0"];
            let id = sandbox.start("bad", &options, "exec sleep 1000");
            let process: i32 = sandbox.inspect("bad", ".State.Pid").parse().expect("a process ID");
            let dir = sandbox.store().join("containers").join(&id);
            hurt(&dir.join(file), how);
            listings_show_the_others(&sandbox, &what);

            assert_eq!(sandbox.ok(["rm", "-f", "-t0", "bad"]), "bad", "{what}");
            assert!(!dir.exists(), "{what}");
            let process = Pid::from_raw(process).expect("a process ID");
            wait_for("its process to be gone", || match rustix::process::test_kill_process(process) {
                Err(_) => Ok(()),
                Ok(()) => Err(what.clone()),
            });
        }
    }
    // Without its monitor, too, as long as the record says who it is.
    let id = sandbox.start("bad", &[], "exec sleep 1000");
    let [monitor, process] = ["ConmonPid", "Pid"].map(|key| sandbox.inspect("bad", &format!(".State.{key}")));
    sandbox.program("kill", ["-9", &monitor]).run().ok();
    hurt(&sandbox.store().join("containers").join(&id).join("spec.json"), "emptied");
    assert_eq!(sandbox.ok(["rm", "-f", "-t0", "bad"]), "bad");
    assert!(!lives(process.parse().expect("a process ID")), "its process lives on");
}

/// REL-33: what a power cut leaves of a record whose content had not come to the disk yet.
#[test]
fn rel_33_a_record_that_a_power_cut_has_emptied_is_an_end_that_nobody_saw() {
    let sandbox = Sandbox::new();
    for how in ["emptied", "all NUL"] {
        sandbox.ok(["run", "--name=c", "--net=none", "bb", "echo", "said"]);
        let id = sandbox.inspect("c", ".Id");
        hurt(&sandbox.store().join("containers").join(&id).join("record.json"), how);
        assert_eq!(sandbox.ok(["ps", "-a", "--format={{.Names}} {{.Status}}"]), "c Exited (-1)", "{how}");
        assert_eq!(sandbox.inspect("c", ".State.ExitCode"), "-1", "no code is made up");
        assert_eq!(sandbox.ok(["logs", "c"]), "said");
        sandbox.ok(["start", "--attach", "c"]);
        assert_eq!(sandbox.inspect("c", ".State.ExitCode"), "0", "it starts again without a repair");
        sandbox.ok(["rm", "c"]);
    }
}

#[test]
fn damaged_volumes_keep_their_data_and_are_mended() {
    let sandbox = world();
    for how in WAYS {
        sandbox.sh(&["-v", "bad:/v"], "echo kept > /v/file").ok();
        hurt(&sandbox.store().join("volumes/bad/volume.json"), how);
        listings_show_the_others(&sandbox, how);
        assert!(sandbox.ketch(["volume", "ls"]).stderr.contains("volume bad is damaged"), "{how}");
        for args in [
            &["volume", "create", "bad"][..],
            &["run", "--rm", "--net=none", "-v=bad:/v", "bb", "true"],
            &["volume", "inspect", "bad"],
        ] {
            assert_eq!(
                orderly(&sandbox, args, how).code,
                125,
                "{how}: nothing is made anew without a word: {args:?}"
            );
        }
        assert!(sandbox.ketch(["system", "check", "--quick"]).fails(125).contains("--repair"), "{how}");
        let mended = sandbox.ok(["system", "check", "--quick", "--repair"]);
        assert!(
            mended.contains("mended, without labels and options: volume bad is damaged"),
            "{how}: {mended}"
        );
        assert_eq!(sandbox.sh(&["-v", "bad:/v"], "cat /v/file").ok(), "kept", "{how}");
        hurt(&sandbox.store().join("volumes/bad/volume.json"), how);
        assert_eq!(sandbox.ok(["volume", "rm", "bad"]), "bad", "{how}: it can be removed as it is");
        assert!(sandbox.ok(["volume", "ls", "-q"]).lines().eq(["good"]), "{how}");
    }
}

#[test]
fn damaged_networks_and_secrets_are_told_of_and_can_be_made_again() {
    let sandbox = world();
    for how in WAYS.iter().copied().filter(|how| *how != "gone") {
        sandbox.ok(["network", "create", "bad"]);
        let record = sandbox.store().join("networks/bad.json");
        hurt(&record, how);
        listings_show_the_others(&sandbox, how);
        assert!(sandbox.ketch(["network", "ls"]).stderr.contains("network bad is damaged"), "{how}");
        let again = sandbox.ketch(["network", "create", "bad"]);
        assert!(again.fails(125).contains("network bad is damaged"), "{how}: {}", again.stderr);
        orderly(&sandbox, &["run", "--rm", "--network=bad", "bb", "true"], how);
        sandbox.ok(["network", "create", "another"]);
        sandbox.ok(["network", "rm", "another"]);
        assert_eq!(sandbox.ok(["network", "rm", "bad"]), "bad", "{how}");
        sandbox.ok(["network", "create", "bad"]);
        hurt(&record, how);
        assert!(
            sandbox
                .ok(["system", "check", "--quick", "--repair"])
                .contains("removed: network bad is damaged"),
            "{how}"
        );

        sandbox.command(["secret", "create", "bad", "-"]).stdin("y").run().ok();
        let record = sandbox.store().join("secrets/bad/secret.json");
        hurt(&record, how);
        listings_show_the_others(&sandbox, how);
        assert!(sandbox.ketch(["secret", "ls"]).stderr.contains("secret bad is damaged"), "{how}");
        assert_eq!(
            sandbox.ketch(["system", "check", "--quick", "--repair"]).code,
            125,
            "{how}: only a value it has"
        );
        assert_eq!(sandbox.ok(["secret", "rm", "bad"]), "bad", "{how}");
        sandbox.command(["secret", "create", "bad", "-"]).stdin("y").run().ok();
        hurt(&record, how);
        assert!(
            sandbox.ok(["system", "check", "--quick", "--force"]).contains("removed: secret bad is damaged"),
            "{how}"
        );
    }
}

#[test]
fn damaged_notes_of_a_containers_networks_are_told_of_and_forgotten() {
    let sandbox = Sandbox::new();
    sandbox.ok(["network", "create", "further"]);
    sandbox.ok(["create", "--name=c", "--network=bridge", "bb", "true"]);
    let id = sandbox.inspect("c", ".Id");
    for how in WAYS.into_iter().filter(|how| *how != "gone") {
        sandbox.ok(["network", "connect", "further", "c"]);
        hurt(&sandbox.store().join("containers").join(&id).join("networks.json"), how);
        let start = sandbox.ketch(["start", "-a", "c"]);
        let told = "what was noted of its networks is damaged";
        assert!(start.code == 0 && start.stderr.contains(told), "{how}: {}", start.stderr);
        let check = sandbox.ketch(["system", "check", "--quick"]);
        assert!(check.code == 125 && check.stdout.contains(told), "{how}: {} {}", check.stdout, check.stderr);
        assert!(sandbox.ok(["system", "check", "--quick", "--repair"]).contains("mended"), "{how}");
        sandbox.ok(["system", "check", "--quick"]);
        assert_eq!(sandbox.ketch(["start", "-a", "c"]).stderr, "", "{how}");
    }
}

/// REL-23, REL-24, REL-25, REL-27: an image or a name that is damaged is told of, and pulled or loaded again.
#[test]
fn damaged_images_and_names_are_told_of_and_loaded_again() {
    let sandbox = world();
    sandbox.ok(["rm", "good"]);
    sandbox.ok(["create", "--name=good", "--net=none", "bb", "true"]);
    sandbox.ok(["save", "-q", "-o", "bb.tar", "bb"]);
    let only = |dir: &str| {
        let mut entries = fs::read_dir(sandbox.store().join(dir)).expect("list").flatten();
        entries.next().expect("one").path()
    };
    for (dir, file) in [("images", None), ("refs", None), ("layers", Some("layer.json"))] {
        // A directory in the place of an image's record is nothing that a fault makes.
        for how in WAYS.into_iter().filter(|how| *how != "a directory") {
            let what = format!("{dir} {how}");
            let path = only(dir);
            hurt(&file.map_or(path.clone(), |file| path.join(file)), how);
            for args in [
                &["images"][..],
                &["images", "-a", "--format=json"],
                &["image", "inspect", "bb"],
                &["history", "bb"],
                &["ps", "-a"],
                &["system", "df"],
                &["run", "--rm", "--net=none", "--pull=never", "bb", "true"],
            ] {
                orderly(&sandbox, args, &what);
            }
            assert_eq!(sandbox.ketch(["volume", "ls", "-q"]).ok(), "good", "{what}");
            orderly(&sandbox, &["system", "check", "--repair"], &what);
            sandbox.ok(["load", "-q", "-i", "bb.tar"]);
            assert_eq!(sandbox.ok(["run", "--rm", "--net=none", "bb", "echo", "fine"]), "fine", "{what}");
            sandbox.ok(["system", "check"]);
        }
    }
}
