//! Attached commands: bytes both ways, terminals, detach keys, signals, several clients.

mod common;

use common::Sandbox;
use common::docker::Docker;
use rustix::process::Signal;

/// Two streams, input, an exit code.
#[test]
fn run_passes_bytes_both_ways_and_the_exit_code() {
    let sandbox = Sandbox::new();
    let all: Vec<u8> = (0..=255).cycle().take(300_000).collect();

    let cat = sandbox.command(["run", "--rm", "-i", "--net=none", "bb", "cat"]).stdin(all.clone()).run();
    let both = sandbox.sh(&[], "echo out; echo err >&2; exit 42");

    assert_eq!(cat.code, 0, "{}", cat.stderr);
    assert!(cat.bytes == all, "{} bytes came back", cat.bytes.len());
    assert_eq!((both.code, both.stdout.as_str(), both.stderr.as_str()), (42, "out\n", "err\n"));
}

#[test]
fn without_interactive_nothing_is_read() {
    let sandbox = Sandbox::new();
    let run =
        sandbox.command(["run", "--rm", "--net=none", "bb", "cat"]).stdin("not for the container").run();
    assert_eq!(run.ok(), "");
}

#[test]
fn large_output_is_neither_lost_nor_reordered() {
    let sandbox = Sandbox::new();
    let run = sandbox.sh(&[], "seq 1 400000");
    let want: String = (1..=400_000).map(|n| format!("{n}\n")).collect();
    assert!(run.stdout == want, "{} of {} bytes", run.stdout.len(), want.len());
    assert_eq!(run.code, 0);
}

/// The reader goes away: the command ends quietly, the container goes on.
#[test]
fn a_lost_reader_ends_the_command_and_not_the_container() {
    let sandbox = Sandbox::new();
    let script = "\"$1\" run --name=writer --net=none bb sh -c 'seq 1 300000; echo end >&2; exit 5' | head -n 1; exit 0";
    let binary = common::ketch_binary();
    let run = sandbox.program("sh", ["-c", script, "sh", binary.to_str().expect("UTF-8")]).run();

    assert_eq!((run.code, run.stdout.as_str()), (0, "1\n"), "{}", run.stderr);
    assert!(!run.stderr.contains("panicked") && !run.stderr.contains("Error"), "{}", run.stderr);
    assert_eq!(sandbox.ok(["wait", "writer"]), "5");
    assert_eq!(sandbox.ketch(["logs", "writer"]).stdout.lines().count(), 300_000);
}

#[test]
fn a_terminal_has_the_size_of_the_local_one_and_follows_it() {
    let sandbox = Sandbox::new();
    let script = "stty size; trap 'stty size; exit 3' WINCH; echo ready; while :; do sleep 0.05; done";
    let run =
        sandbox.command(["run", "--rm", "-it", "--net=none", "bb", "sh", "-c", script]).on_terminal(33, 111);
    run.expect("33 111");
    run.expect("ready");

    run.resize(44, 122);

    run.expect("44 122");
    assert_eq!(run.wait().code, 3);
}

#[test]
fn a_terminal_is_raw_while_attached_and_ctrl_c_is_the_containers() {
    let sandbox = Sandbox::new();
    let script = "trap 'echo caught; exit 6' INT; echo ready; while :; do sleep 0.05; done";
    let mut run =
        sandbox.command(["run", "--rm", "-it", "--net=none", "bb", "sh", "-c", script]).on_terminal(24, 80);
    run.expect("ready");
    run.send("\x03");
    run.expect("caught");
    assert_eq!(run.wait().code, 6);
}

#[test]
fn detach_keys_leave_the_container_running_and_attach_comes_back() {
    let sandbox = Sandbox::new();
    let script = "while read line; do echo got $line; done";
    let mut run = sandbox
        .command(["run", "--name=t", "-it", "--net=none", "bb", "sh", "-c", script])
        .on_terminal(24, 80);
    run.send("one\n");
    run.expect("got one");
    run.send("\x10\x11");
    assert_eq!(run.wait().code, 0);

    let mut attach = sandbox.command(["attach", "--detach-keys=ctrl-a,x", "t"]).on_terminal(24, 80);
    attach.send("\x10\x11two\n");
    attach.expect("got");
    attach.send("\x01x");
    assert_eq!(attach.wait().code, 0);

    let mut again = sandbox.command(["attach", "--detach-keys=", "--latest"]).on_terminal(24, 80);
    again.send("\x10\x11three\n");
    again.expect("got");
    again.send("\x04");
    assert_eq!(again.wait().code, 0, "the shell has ended");
    assert!(sandbox.ketch(["attach", "t"]).fails(125).contains("you can only attach to running containers"));
    assert!(sandbox.ketch(["attach", "--detach-keys=abc", "t"]).fails(125).contains("abc"));
}

#[test]
fn several_clients_see_the_same_and_share_the_input() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok([
        "run",
        "-di",
        "--net=none",
        "bb",
        "sh",
        "-c",
        "while read l; do echo got $l; done; exit 4",
    ]);
    let mut one = sandbox.command(["attach", &id]).spawn();
    let two = sandbox.command(["attach", "--no-stdin", &id[..12]]).spawn();
    one.send("a\n");
    one.expect("got a");
    // The second may have come too late for the first line.
    common::wait_for("the second client", || {
        one.send("again\n");
        let seen = two.stdout_so_far();
        if seen.contains("got") { Ok(()) } else { Err(seen) }
    });
    one.send("last\n");
    one.expect("got last");
    two.expect("got last");

    sandbox.ok(["kill", "--signal=KILL", &id]);

    assert_eq!((one.wait().code, two.wait().code), (137, 137));
}

/// The input of a detached interactive container stays open while nobody is attached.
#[test]
fn input_stays_open_without_clients_and_ends_with_the_starting_one() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok(["run", "-di", "--net=none", "bb", "cat"]);
    let echoed = |text: &str| {
        let mut attach = sandbox.command(["attach", &id]).spawn();
        attach.send(format!("{text}\n"));
        attach.expect(text);
        // Dropping it kills it.
    };
    echoed("first");
    echoed("second");
    assert_eq!(sandbox.ok(["logs", &id]), "first\nsecond");

    let run = sandbox
        .command(["run", "--rm", "-i", "--net=none", "bb", "sh", "-c", "cat; exit 9"])
        .stdin("x")
        .run();
    assert_eq!((run.code, run.stdout.as_str()), (9, "x"));
}

#[test]
fn signals_are_passed_on_unless_told_otherwise() {
    let sandbox = Sandbox::new();
    let script = "trap 'exit 11' TERM; trap 'exit 12' HUP; echo ready; while :; do sleep 0.05; done";
    let run = |options: &[&str]| {
        let args = [&["run", "--net=none"], options, &["bb", "sh", "-c", script]].concat();
        let run = sandbox.command(args).spawn();
        run.expect("ready");
        run
    };
    let first = run(&["--rm"]);
    first.signal(Signal::HUP);
    assert_eq!(first.wait().code, 12);

    let kept = run(&["--sig-proxy=false", "--name=kept"]);
    kept.signal(Signal::TERM);
    assert_eq!(kept.wait().code, -15, "the command dies of it");
    let attach = sandbox.command(["attach", "kept"]).spawn();
    assert_eq!(sandbox.ok(["wait", "--condition=running", "kept"]), "-1");
    attach.signal(Signal::TERM);
    assert!([11, -15].contains(&attach.wait().code), "it may not have attached yet");
}

/// Where Docker refuses and podman waits for ever.
#[test]
fn input_from_a_pipe_ends_at_a_terminal_too() {
    let sandbox = Sandbox::new();
    for input in ["typed\n", "typed"] {
        let run = sandbox.command(["run", "--rm", "-it", "--net=none", "bb", "cat"]).stdin(input).run();
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert!(run.stdout.matches("typed").count() == 2, "echo and cat: {:?}", run.stdout);
        assert!(run.stderr.contains("The input device is not a TTY"), "{}", run.stderr);
    }
}

#[test]
fn start_attaches_too() {
    let sandbox = Sandbox::new();
    sandbox.ok(["create", "--name=s", "-i", "--net=none", "bb", "sh", "-c", "cat; echo end >&2; exit 13"]);
    for _ in 0..2 {
        let start = sandbox.command(["start", "-ai", "s"]).stdin("typed").run();
        assert_eq!((start.code, start.stdout.as_str(), start.stderr.as_str()), (13, "typed", "end\n"));
    }
    // To one that runs already, too.
    sandbox.ok(["start", "s"]);
    let start = sandbox.command(["start", "-ai", "s"]).stdin("typed").run();
    assert_eq!((start.code, start.stdout.as_str(), start.stderr.as_str()), (13, "typed", "end\n"));
}

/// SEC-32: the container never holds the terminal of the one who started it.
#[test]
fn a_container_cannot_type_into_the_callers_terminal() {
    let sandbox = Sandbox::new();
    for options in [&["-i"][..], &["-it"], &[]] {
        let args = [
            &["run", "--rm", "--net=none"],
            options,
            &["bb", "sh", "-c", "for fd in 0 1 2; do readlink /proc/self/fd/$fd; done; tty; exit 0"],
        ]
        .concat();
        let outer = sandbox.command(args).on_terminal(24, 80);
        let shown = outer.wait();
        let own = match options.contains(&"-it") {
            // Its own terminal, of its own devpts.
            true => shown.stdout.contains("/dev/pts/0") || shown.stdout.contains("/dev/console"),
            false => !shown.stdout.contains("/dev/pts/") && shown.stdout.contains("not a tty"),
        };
        assert!(own && shown.code == 0, "{options:?}: {}", shown.stdout);
    }
}

#[test]
fn a_detached_exec_is_a_session_as_long_as_it_runs() {
    let sandbox = Sandbox::new();
    sandbox.start("c", &[], "exec sleep 1000");
    let session = sandbox.ok(["exec", "-d", "c", "sh", "-c", "echo $$ > /pid; exec sleep 1000"]);
    assert_eq!(session.len(), 64, "{session}");
    assert_eq!(sandbox.inspect("c", ".ExecIDs"), format!("[{session}]"));
    sandbox.wait_until(&["exec", "c", "cat", "/pid"], "\n");
    sandbox.ok(["exec", "c", "sh", "-c", "kill -9 $(cat /pid)"]);
    common::wait_for("the end of the session", || {
        let ids = sandbox.inspect("c", ".ExecIDs");
        if ids == "[]" { Ok(()) } else { Err(ids) }
    });
}

#[test]
fn the_end_of_a_detached_exec_is_told_with_its_code_and_session() {
    let docker = Docker::new();
    let sandbox = &docker.sandbox;
    sandbox.start("c", &[], "exec sleep 1000");
    // One that has ended before anybody could look, one that takes a while, one with a terminal.
    for (number, command) in [
        ("3", &["exec", "-d", "c", "sh", "-c", "exit 3"][..]),
        ("4", &["exec", "-d", "c", "sh", "-c", "sleep 0.3; exit 4"]),
        ("5", &["exec", "-dt", "c", "sh", "-c", "exit 5"]),
    ] {
        let session = sandbox.ok(command);
        let told = || {
            let format = "--format={{.Status}} {{.ContainerExitCode}}";
            sandbox.ok(["events", "--stream=false", "--filter=container=c", format])
        };
        common::wait_for("the end", || {
            let told = told();
            if told.ends_with(&format!("exec <nil>\nexec_died {number}")) { Ok(()) } else { Err(told) }
        });
        let dockers = docker.ok("events --since 1h --until 0s --filter event=exec_die");
        let (exit_code, id) = (format!("exitCode={number}"), format!("execID={session}"));
        assert!(dockers.lines().any(|line| line.contains(&exit_code) && line.contains(&id)), "{dockers}");
    }
}

#[test]
fn an_attached_session_is_listed_while_it_runs() {
    let sandbox = Sandbox::new();
    sandbox.start("c", &[], "exec sleep 1000");
    let script = "while [ ! -e /stop ]; do sleep 0.05; done";
    let session = sandbox.command(["exec", "c", "sh", "-c", script]).spawn();
    common::wait_for("the session", || {
        match sandbox.ok(["inspect", "c", "--format={{len .ExecIDs}}"]).as_str() {
            "1" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
    sandbox.ok(["exec", "c", "touch", "/stop"]);
    session.wait().ok();
    assert_eq!(sandbox.inspect("c", ".ExecIDs"), "[]");
}
