//! Exit codes and their one line of explanation, as scripts written for podman expect them.

mod common;

use common::Sandbox;

#[test]
fn the_containers_own_code_passes_through() {
    let sandbox = Sandbox::new();
    for (script, code) in [
        ("true", 0),
        ("false", 1),
        ("exit 42", 42),
        ("exit 300", 44),
        ("sh -c 'kill -9 $$'; exit $?", 137),
        ("sh -c 'kill -TERM $$'; exit $?", 143),
    ] {
        assert_eq!(sandbox.sh(&[], script).code, code, "{script}");
    }
    // Killed from outside, itself.
    sandbox.start("k", &[], "exec sleep 100");
    sandbox.ok(["kill", "k"]);
    assert_eq!(sandbox.ok(["wait", "k"]), "137");
}

#[test]
fn a_command_that_cannot_run_is_126_or_127() {
    let sandbox = Sandbox::new();
    sandbox.start("up", &[], "exec sleep 100");
    let run = ["run", "--rm", "--net=none", "bb"].as_slice();
    let exec = ["exec", "up"].as_slice();
    for verb in [run, exec] {
        for (command, code) in [("nosuch", 127), ("/nosuch/prog", 127), ("/etc", 126), ("/etc/passwd", 126)] {
            let output = sandbox.ketch([verb, &[command]].concat());
            assert!(output.fails(code).contains(command), "{verb:?} {command}: {}", output.stderr);
            assert!(output.stderr.starts_with("Error: "), "{}", output.stderr);
            assert!(output.stderr.lines().count() <= 2, "one line, perhaps a hint: {}", output.stderr);
        }
    }
}

#[test]
fn the_engines_own_failures_are_125() {
    let sandbox = Sandbox::new();
    for args in [
        vec!["run", "--rm", "--net=none", "--nosuchflag", "bb", "true"],
        vec!["run", "--rm", "--net=none", "Not A Reference", "true"],
        vec!["run", "--rm", "--net=none", "--pull=never", "nosuch.example/image", "true"],
        vec!["run"],
        vec!["nosuchcommand"],
        vec!["container", "nosuchcommand"],
        vec!["exec", "nosuch", "true"],
        vec!["start", "nosuch"],
        vec!["stop", "nosuch"],
        vec!["kill", "nosuch"],
        vec!["wait", "nosuch"],
        vec!["logs", "nosuch"],
        vec!["attach", "nosuch"],
        vec!["restart", "nosuch"],
        vec!["rename", "nosuch", "x"],
        vec!["inspect", "nosuch"],
        vec!["container", "inspect", "nosuch"],
        vec!["image", "inspect", "nosuch"],
        vec!["tag", "nosuch", "x"],
    ] {
        let output = sandbox.ketch(&args);
        assert!(output.fails(125).starts_with("Error: "), "{args:?}: {}", output.stderr);
        let missing = args.iter().find(|arg| arg.starts_with("nosuch") || arg.starts_with("--nosuch"));
        assert!(missing.is_none_or(|name| output.stderr.contains(name)), "{args:?}: {}", output.stderr);
    }
}

#[test]
fn an_unknown_flag_or_command_says_where_to_look() {
    let sandbox = Sandbox::empty();
    let flag = sandbox.ketch(["run", "--nosuchflag", "bb"]);
    assert!(
        flag.fails(125).contains("unknown flag: --nosuchflag") && flag.stderr.contains("run --help"),
        "{}",
        flag.stderr
    );
    let command = sandbox.ketch(["imagse"]);
    assert!(command.fails(125).contains("images"), "the nearest command: {}", command.stderr);
}

#[test]
fn removing_what_is_missing_is_1_and_forced_0() {
    let sandbox = Sandbox::new();
    for args in [["rm", "nosuch"], ["rmi", "nosuch"]] {
        let output = sandbox.ketch(args);
        assert!(output.fails(1).contains("nosuch"), "{args:?}: {}", output.stderr);
    }
    assert_eq!(sandbox.ok(["rm", "-f", "nosuch"]), "");
    assert_eq!(sandbox.ok(["rm", "--ignore", "nosuch"]), "");
}

#[test]
fn exists_answers_by_its_code_alone() {
    let sandbox = Sandbox::new();
    sandbox.ok(["create", "--name=here", "bb", "true"]);
    for (args, code) in [
        (["container", "exists", "here"], 0),
        (["container", "exists", "gone"], 1),
        (["image", "exists", "bb"], 0),
        (["image", "exists", "gone"], 1),
    ] {
        let output = sandbox.ketch(args);
        assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (code, "", ""), "{args:?}");
    }
}

#[test]
fn inspecting_what_is_missing_prints_an_empty_list_first() {
    let sandbox = Sandbox::new();
    let output = sandbox.ketch(["inspect", "nosuch"]);
    assert_eq!((output.code, output.stdout.as_str()), (125, "[]\n"), "{}", output.stderr);
    assert!(output.stderr.contains("nosuch"), "{}", output.stderr);
}

#[test]
fn states_that_forbid_it_are_named() {
    let sandbox = Sandbox::new();
    sandbox.ok(["create", "--name=made", "--net=none", "bb", "true"]);
    sandbox.start("up", &[], "exec sleep 100");

    let kill = sandbox.ketch(["kill", "made"]);
    assert!(kill.fails(125).contains("running"), "{}", kill.stderr);
    let exec = sandbox.ketch(["exec", "made", "true"]);
    assert!(exec.fails(255).contains("running"), "{}", exec.stderr);
    let rm = sandbox.ketch(["rm", "up"]);
    assert!(rm.fails(2).contains("running"), "{}", rm.stderr);
    let signal = sandbox.ketch(["kill", "-s", "BOGUS", "up"]);
    assert!(signal.fails(125).contains("BOGUS"), "{}", signal.stderr);
    let rmi = sandbox.ketch(["rmi", "bb"]);
    assert!(rmi.fails(2).contains("in use") || rmi.stderr.contains("used by"), "{}", rmi.stderr);
}

#[test]
fn one_failure_does_not_spare_the_others() {
    let sandbox = Sandbox::new();
    for name in ["a", "b"] {
        sandbox.ok(["create", "--name", name, "--net=none", "bb", "true"]);
    }
    let rm = sandbox.ketch(["rm", "a", "nosuch", "b"]);
    assert_eq!((rm.code, rm.stdout.as_str()), (1, "a\nb\n"), "{}", rm.stderr);
    assert!(sandbox.names().is_empty());
}

#[test]
fn a_working_directory_that_is_none() {
    let sandbox = Sandbox::new();
    let id = sandbox.start("up", &[], "exec sleep 100");
    for (dir, run, exec, words) in [
        ("/nosuch", 126, 127, "does not exist on container"),
        ("/etc/passwd", 126, 126, "is not a directory"),
    ] {
        let output = sandbox.ketch(["run", "--rm", "--net=none", "-w", dir, "bb", "true"]);
        assert!(output.fails(run).contains(words), "{dir}: {}", output.stderr);
        assert!(output.stderr.contains(&format!("workdir \"{dir}\"")), "{dir}: {}", output.stderr);
        let output = sandbox.ketch(["exec", "-w", dir, &id, "true"]);
        assert!(output.fails(exec).contains(&format!("chdir to `{dir}`")), "{dir}: {}", output.stderr);
    }
}

#[test]
fn what_is_so_already_or_gone_is_no_failure() {
    let sandbox = Sandbox::new();
    sandbox.ok(["create", "--name=c", "--net=none", "bb", "true"]);
    assert_eq!(sandbox.ok(["rename", "c", "c"]), "");
    assert_eq!(sandbox.names(), ["c"]);
    assert_eq!(sandbox.ok(["container", "cleanup", "nosuch"]), "");
}
