//! Standard streams and terminals between the caller and the container.

mod common;

use common::Sandbox;
use rustix::process::Signal;

#[test]
fn input_is_connected_only_when_asked_for() {
    let sandbox = Sandbox::new();
    let without = sandbox.command(["run", "--rm", "--net=none", "bb", "cat"]).stdin("typed\n").run();
    assert_eq!(without.ok(), "");
    let with = sandbox.command(["run", "--rm", "-i", "--net=none", "bb", "cat"]).stdin("typed\n").run();
    assert_eq!(with.ok(), "typed");
}

#[test]
fn every_byte_goes_through_in_both_directions() {
    let sandbox = Sandbox::new();
    let data = common::noise(5_000_000);
    let output = sandbox.command(["run", "--rm", "-i", "--net=none", "bb", "cat"]).stdin(data.clone()).run();
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(output.bytes == data, "{} of {} bytes, or others", output.bytes.len(), data.len());
}

#[test]
fn the_two_outputs_stay_apart_and_lose_nothing() {
    let sandbox = Sandbox::new();
    let output = sandbox
        .sh(&[], "i=0; while [ $i -lt 2000 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done; exit 3");
    assert_eq!(output.code, 3);
    for (stream, word) in [(&output.stdout, "out"), (&output.stderr, "err")] {
        let lines: Vec<&str> = stream.lines().collect();
        assert_eq!(lines.len(), 2000, "{word}");
        assert!(lines.iter().enumerate().all(|(n, line)| *line == format!("{word} {n}")), "{word} in order");
    }
}

#[test]
fn output_into_a_file_goes_where_the_shell_goes_on() {
    let sandbox = Sandbox::new();
    let script = "{ echo before; \"$1\" run --rm --net=none bb seq 1 20000; echo after; } > out; \
        \"$1\" run --rm --net=none bb sh -c 'echo problem >&2' >> out 2>&1; \"$1\" run --rm --net=none bb echo appended >> out; cat out";
    let output = sandbox.program("sh", ["-c", script, "sh", "ketch"]).run();
    let counted: Vec<String> = (1..=20_000).map(|n| n.to_string()).collect();
    let want = ["before", &counted.join("\n"), "after", "problem", "appended"].join("\n");
    assert!(output.ok() == want, "{} bytes of {}", output.stdout.len(), want.len());
}

#[test]
fn the_last_words_always_arrive() {
    let sandbox = Sandbox::new();
    for n in 0..15 {
        let output = sandbox.sh(&[], "head -c 100000 /dev/zero | tr '\\0' x; echo; echo last");
        assert_eq!(output.ok().len(), 100_000 + 1 + 4, "turn {n}");
        assert!(output.stdout.ends_with("\nlast\n"), "turn {n}");
    }
}

#[test]
fn the_end_of_input_reaches_the_container_while_it_still_writes() {
    let sandbox = Sandbox::new();
    let mut cat =
        sandbox.command(["run", "--rm", "-i", "--net=none", "bb", "sh", "-c", "cat; echo after"]).spawn();
    cat.send("first\n");
    cat.expect("first");
    cat.close_stdin();
    assert_eq!(cat.wait().ok(), "first\nafter");
}

#[test]
fn a_background_process_does_not_hold_the_caller() {
    let sandbox = Sandbox::new();
    let output = sandbox.sh(&[], "sleep 100 & echo done");
    assert_eq!(output.ok(), "done");
    assert!(output.took.as_secs() < 30, "{:?}", output.took);
}

#[test]
fn a_reader_that_goes_away_is_no_panic_and_no_hang() {
    let sandbox = Sandbox::new();
    let output = sandbox.program("sh", ["-c", "ketch run --rm --net=none bb yes | head -n 1"]).run();
    assert_eq!(output.ok(), "y");
    assert!(!output.stderr.contains("panicked"), "{}", output.stderr);
}

/// As with podman: one that was to be removed and whose output is lost has nobody left. It gets its stop signal.
#[test]
fn a_lost_reader_is_the_end_of_what_was_to_be_removed() {
    let sandbox = Sandbox::new();
    let script =
        "ketch run --rm --net=none bb sh -c 'trap \"exit 0\" TERM; while :; do echo y; done' | head -n 1";
    let output = sandbox.program("sh", ["-c", script]).run();
    assert_eq!(output.ok(), "y");
    common::wait_for("the container to be removed", || match sandbox.names() {
        names if names.is_empty() => Ok(()),
        names => Err(format!("{names:?}")),
    });
    let full = sandbox.program("sh", ["-c", "ketch run --rm --net=none bb echo y > /dev/full"]).run();
    let message = full.fails(125);
    assert!(message.contains("write the container's output: no space left on device"), "{message}");
}

#[test]
fn a_terminal_session_works_as_typed() {
    let sandbox = Sandbox::new();
    let mut shell = sandbox
        .command(["run", "--rm", "-it", "--net=none", "--hostname=h1", "bb", "sh"])
        .on_terminal(33, 101);
    shell.expect("# ");
    shell.send("stty size; tty; hostname\n");
    shell.expect("33 101");
    shell.expect("/dev/pts/0");
    shell.resize(44, 111);
    // The signal goes through two processes on its way.
    shell.send("until stty size | grep '44 111'; do sleep 0.05; done\n");
    shell.expect("\r\n44 111");
    // The child itself tells: it has the terminal then, and ctrl-C is for it.
    shell.send("sh -c 'echo started; exec sleep 100'\n");
    shell.expect("started\r\n");
    shell.send("\x03");
    shell.send("echo code $?\n");
    shell.expect("code 130");
    shell.send("exit 9\n");
    assert_eq!(shell.wait().code, 9);
}

#[test]
fn a_terminal_is_given_also_without_one_outside() {
    let sandbox = Sandbox::new();
    let output = sandbox.sh(&["-t"], "tty; echo $TERM; echo err >&2");
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (0, "/dev/pts/0\r\nxterm\r\nerr\r\n"),
        "{}",
        output.stderr
    );
    let warned = sandbox.command(["run", "--rm", "-it", "--net=none", "bb", "tty"]).run();
    assert_eq!(warned.stdout, "/dev/pts/0\r\n");
    assert!(warned.stderr.contains("not a TTY"), "{}", warned.stderr);
}

#[test]
fn detaching_leaves_it_running_and_attaching_comes_back() {
    let sandbox = Sandbox::new();
    let mut first = sandbox.command(["run", "-it", "--net=none", "--name=d", "bb", "sh"]).on_terminal(24, 80);
    first.expect("# ");
    first.send("x=remembered\n");
    first.expect("remembered");
    first.send("\x10\x11");
    let left = first.wait();
    assert_eq!(left.code, 0, "{}", left.stdout);
    assert!(left.stdout.ends_with("read escape sequence\r\n"), "{:?}", left.stdout);
    assert_eq!(sandbox.inspect("d", ".State.Status"), "running");

    let mut second = sandbox.command(["attach", "d"]).on_terminal(24, 80);
    second.send("echo again $x\n");
    second.expect("again remembered");
    second.send("exit 4\n");
    assert_eq!(second.wait().code, 4);
    assert_eq!(sandbox.inspect("d", ".State.ExitCode"), "4");
}

#[test]
fn other_detach_keys_can_be_chosen() {
    let sandbox = Sandbox::new();
    let mut shell = sandbox
        .command(["run", "-it", "--detach-keys=ctrl-x,q", "--net=none", "--name=k", "bb", "sh"])
        .on_terminal(24, 80);
    shell.expect("# ");
    shell.send("\x18q");
    assert_eq!(shell.wait().code, 0);
    assert_eq!(sandbox.inspect("k", ".State.Status"), "running");
}

#[test]
fn signals_to_the_caller_reach_the_container() {
    let sandbox = Sandbox::new();
    let script = "trap 'echo got term; exit 3' TERM; trap 'echo got usr1' USR1; echo ready; while :; do sleep 0.05; done";
    let run = sandbox.command(["run", "--rm", "--net=none", "bb", "sh", "-c", script]).spawn();
    run.expect("ready");
    run.signal(Signal::USR1);
    run.expect("got usr1");
    run.signal(Signal::TERM);
    let output = run.wait();
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (3, "ready\ngot usr1\ngot term\n"),
        "{}",
        output.stderr
    );
}

#[test]
fn several_clients_see_the_same() {
    let sandbox = Sandbox::new();
    sandbox.start("many", &["-i"], "while read line; do echo got $line; done");
    let mut clients: Vec<_> = (0..3).map(|_| sandbox.command(["attach", "many"]).spawn()).collect();
    // What is said before one is attached it does not see: it is said until all are.
    common::wait_for("all clients", || {
        clients[0].send("words\n");
        let missing = clients.iter().filter(|client| !client.stdout_so_far().contains("got words")).count();
        if missing == 0 { Ok(()) } else { Err(format!("{missing} do not see it")) }
    });
    clients[2].send("more\n");
    for client in &clients {
        client.expect("got more");
    }
    sandbox.ok(["rm", "-f", "-t0", "many"]);
    for client in clients {
        assert_eq!(client.wait().code, 137);
    }
}

#[test]
fn exec_has_streams_and_a_terminal_of_its_own() {
    let sandbox = Sandbox::new();
    sandbox.start("e", &[], "exec sleep 100");
    let piped =
        sandbox.command(["exec", "-i", "e", "sh", "-c", "cat; echo err >&2; exit 6"]).stdin("in\n").run();
    assert_eq!((piped.code, piped.stdout.as_str(), piped.stderr.as_str()), (6, "in\n", "err\n"));
    let unread = sandbox.command(["exec", "e", "cat"]).stdin("in\n").run();
    assert_eq!(unread.ok(), "");

    let mut shell = sandbox.command(["exec", "-it", "e", "sh"]).on_terminal(31, 90);
    shell.expect("# ");
    shell.send("stty size\n");
    shell.expect("31 90");
    // The child itself tells: it has the terminal then, and ctrl-C is for it.
    shell.send("sh -c 'echo started; exec sleep 100'\n");
    shell.expect("started\r\n");
    shell.send("\x03");
    shell.send("echo code $?\n");
    shell.expect("code 130");
    shell.send("exit 8\n");
    assert_eq!(shell.wait().code, 8);
}
