//! `logs`: what was written, and what is being written.

mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::Sandbox;

/// The full ID of a container.
fn id_of(sandbox: &Sandbox, name: &str) -> String {
    sandbox.ok(["ps", "-aq", "--no-trunc", "--filter", &format!("name=^{name}$")])
}

#[test]
fn logs_are_what_was_written_byte_for_byte() {
    let sandbox = Sandbox::new();
    let script = "printf 'plain\\n\\377\\000\\033[1m no end'; head -c 50000 /dev/zero | tr '\\000' y; printf '\\nerr\\n' >&2; printf last";
    let run = sandbox.ketch(["run", "--name=l", "--net=none", "bb", "sh", "-c", script]);

    let logs = sandbox.ketch(["logs", "l"]);

    assert_eq!(logs.code, 0, "{}", logs.stderr);
    assert!(logs.bytes == run.bytes, "standard output");
    assert_eq!(logs.stderr, run.stderr);
    let file = fs::read(
        sandbox.store().join("containers").join(sandbox.ok(["ps", "-aq", "--no-trunc"])).join("log"),
    );
    let file = String::from_utf8_lossy(&file.expect("read the log")).into_owned();
    let first = file.lines().next().expect("a line");
    assert!(first.ends_with(" stdout F plain") && first.as_bytes()[10] == b'T', "{first}");
    assert!(file.lines().all(|line| line.len() <= 16 * 1024 + 64), "long lines are split");
}

/// `-n` is podman's for names and docker's for a number of lines.
#[test]
fn a_number_behind_n_is_a_number_of_lines() {
    let sandbox = Sandbox::new();
    sandbox.ok(["run", "--name=l", "--net=none", "bb", "seq", "9"]);
    for args in [&["-n", "2", "l"][..], &["l", "-n", "2"], &["-fn", "2", "l"], &["-n", "00002", "l"]] {
        assert_eq!(sandbox.ok([&["logs"], args].concat()), "8\n9", "{args:?}");
    }
    for args in [&["-n2", "l"][..], &["l", "-n=2"], &["-fn2", "l"]] {
        assert_eq!(sandbox.ok([&["logs"], args].concat()), "8\n9", "{args:?}");
    }
    assert_eq!(sandbox.ok(["logs", "-n", "all", "l"]).lines().count(), 9);
    assert_eq!(sandbox.ok(["logs", "-n", "l"]).lines().count(), 9);
    sandbox.ok(["run", "--name=2", "--net=none", "bb", "echo", "two"]);
    assert!(sandbox.ok(["logs", "-n", "2", "l"]).starts_with("2 two\nl 1\n"));
}

#[test]
fn tail_since_until_and_timestamps_choose() {
    let sandbox = Sandbox::new();
    // Each line has a time of its own: it is said when the one before has been seen.
    let script = "for i in 1 2 3; do echo line $i; read seen; done; seq 1 2000";
    let mut run = sandbox.command(["run", "-i", "--name=l", "--net=none", "bb", "sh", "-c", script]).spawn();
    for line in 1..=3 {
        run.expect(&format!("line {line}\n"));
        run.send("\n");
    }
    run.wait().ok();
    let logs = |options: &[&str]| sandbox.ok([&["logs"], options, &["l"]].concat());

    assert_eq!(logs(&["--tail=2"]), "1999\n2000");
    assert_eq!(logs(&["--tail", "0"]), "");
    assert_eq!(logs(&["--tail=-1"]).lines().count(), 2003);
    assert_eq!(logs(&["--tail=all"]), logs(&[]));
    let stamped = logs(&["--timestamps"]);
    let times: Vec<&str> = stamped.lines().map(|line| line.split(' ').next().expect("a time")).collect();
    let from_second = logs(&["--since", times[1]]);
    assert!(from_second.starts_with("line 2\nline 3\n1\n"), "{from_second}");
    assert_eq!(logs(&["--until", times[1]]), "line 1\nline 2");
    assert_eq!(logs(&["--since", times[1], "--until", times[1], "-t"]), format!("{} line 2", times[1]));
    assert_eq!(logs(&["--since=1h"]), logs(&[]));
    assert_eq!(logs(&["--until=1h"]), "");
    assert!(sandbox.ketch(["logs", "--since=yesterday-ish", "l"]).fails(125).contains("yesterday-ish"));
    assert!(sandbox.ketch(["logs", "--tail=some", "l"]).fails(125).contains("some"));
}

#[test]
fn follow_shows_what_comes_and_ends_with_the_container() {
    let sandbox = Sandbox::new();
    sandbox.start("f", &[], "echo before; sleep 60; echo after; exit 3");
    let follow = sandbox.command(["logs", "--follow", "f"]).spawn();
    follow.expect("before");
    sandbox.ok(["stop", "--time=0", "f"]);
    assert_eq!(follow.wait().ok(), "before");

    sandbox.start("g", &[], "for i in 1 2 3 4 5; do echo line $i; sleep 0.1; done");
    let follow = sandbox.ketch(["logs", "-f", "--tail=100", "g"]);
    assert_eq!(follow.ok().lines().count(), 5, "{}", follow.stdout);
    assert_eq!(sandbox.ketch(["logs", "-f", "--tail=1", "g"]).ok(), "line 5", "one that has ended");
    sandbox.start("h", &[], "while :; do echo tick; sleep 0.05; done");
    sandbox.wait_until(&["logs", "h"], "tick");
    let began = Instant::now();
    let until = (jiff::Timestamp::now() + Duration::from_millis(500)).to_string();
    assert!(sandbox.ketch(["logs", "-f", "--until", &until, "h"]).ok().contains("tick"));
    assert!(began.elapsed() < Duration::from_secs(30), "the container goes on for ever");
}

/// REL-39: a flood is bounded by default, and following it loses nothing across rotation.
#[test]
fn a_flood_is_bounded_and_followed_across_rotation() {
    let sandbox = Sandbox::new();
    sandbox.start("flood", &[], "sleep 0.2; seq 1 900000");
    let follow = sandbox.ketch(["logs", "--follow", "flood"]);
    let log = sandbox.ketch(["logs", "flood"]);

    let numbers =
        |text: &str| text.lines().map(|line| line.parse::<u32>().expect("a number")).collect::<Vec<_>>();
    let followed = numbers(&follow.stdout);
    assert_eq!(followed.last(), Some(&900_000));
    assert!(followed.windows(2).all(|pair| pair[1] == pair[0] + 1), "no gap");
    let kept = numbers(&log.stdout);
    assert!(kept.windows(2).all(|pair| pair[1] == pair[0] + 1) && kept.last() == Some(&900_000));
    let id = sandbox.ok(["ps", "-aq", "--no-trunc"]);
    let dir = sandbox.store().join("containers").join(id);
    let sizes: Vec<u64> = ["log", "log.1", "log.2"]
        .iter()
        .map(|name| fs::metadata(dir.join(name)).expect("a file of the log").len())
        .collect();
    assert!(sizes.iter().all(|size| *size <= 10 << 20), "{sizes:?}");
    assert!(!dir.join("log.3").exists());
}

/// REL-40.
#[test]
fn the_end_of_a_large_log_is_found_at_once() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok(["create", "--name=big", "--net=none", "bb", "true"]);
    let path = sandbox.store().join("containers").join(id).join("log");
    // Sparse: forty gigabytes, of which only the end was ever written.
    let file = fs::File::create(&path).expect("make the log");
    let end = "\n2026-01-01T00:00:00.000000000+00:00 stdout F old\n2026-06-01T00:00:00.000000000+00:00 stdout F new\n";
    std::os::unix::fs::FileExt::write_all_at(&file, end.as_bytes(), 40 << 30).expect("write the end");

    // On a machine that does much else, one of them may take longer; not each.
    let best = (0..10).map(|_| {
        let logs = sandbox.ketch(["logs", "--tail=1", "big"]);
        assert_eq!(logs.ok(), "new");
        logs.took
    });
    let best = best.min().expect("ten times");
    assert!(best < Duration::from_secs(2), "{best:?}");
}

#[test]
fn several_containers_are_told_apart() {
    let sandbox = Sandbox::new();
    for name in ["one", "two"] {
        sandbox.ok([
            "run",
            &format!("--name={name}"),
            "--net=none",
            "bb",
            "sh",
            "-c",
            &format!("printf 'of '; echo {name}"),
        ]);
    }
    let ids: Vec<String> = ["one", "two"].map(|name| id_of(&sandbox, name)).to_vec();

    assert_eq!(sandbox.ok(["logs", "--names", "one", "two"]), "one of one\ntwo of two");
    assert_eq!(
        sandbox.ok(["logs", "one", "two"]),
        format!("{} of one\n{} of two", &ids[0][..12], &ids[1][..12])
    );
    assert_eq!(
        sandbox.ok(["logs", "--color", "-n", "one", "two"]),
        "\x1b[37mone of one\x1b[0m\n\x1b[31mtwo of two\x1b[0m"
    );
    assert_eq!(sandbox.ok(["logs", "--names", "one"]), "of one", "one container needs no name");
    assert_eq!(sandbox.ok(["logs", "--latest"]), "of two");
    assert_eq!(sandbox.ok(["logs", "-f", "--names", "one", "two"]), "one of one\ntwo of two");
    assert!(sandbox.ketch(["logs", "one", "gone"]).fails(125).contains("gone"));
}

#[test]
fn other_drivers() {
    let sandbox = Sandbox::new();
    sandbox.ok([
        "run",
        "--name=json",
        "--net=none",
        "--log-driver=json-file",
        "bb",
        "sh",
        "-c",
        "echo 'a \"b\"'; printf c",
    ]);
    sandbox.ok(["run", "--name=none", "--net=none", "--log-driver=none", "bb", "echo", "x"]);

    assert_eq!(sandbox.ok(["logs", "json"]), "a \"b\"\nc");
    let none = sandbox.ketch(["logs", "none"]);
    assert!(none.fails(125).contains("this container is using the 'none' log driver, cannot read logs"));
    let file = sandbox.store().join("containers").join(id_of(&sandbox, "json")).join("log");
    let first = fs::read_to_string(file).expect("read the log");
    assert!(first.starts_with("{\"log\":\"a \\\"b\\\"\\n\",\"stream\":\"stdout\",\"time\":\"2"), "{first}");
}

/// REL-70.
#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    let sandbox = Sandbox::new();
    sandbox.ketch(["run", "--name=l", "--net=none", "bb", "seq", "1", "300000"]);
    let binary = common::ketch_binary();
    let script = "\"$1\" logs l | head -n 2; \"$1\" logs l > /dev/full; echo $?";
    let run = sandbox.program("sh", ["-c", script, "sh", binary.to_str().expect("UTF-8")]).run();
    assert_eq!(run.stdout, "1\n2\n125\n", "{}", run.stderr);
    assert!(
        run.stderr.contains("no space left on device") && !run.stderr.contains("panicked"),
        "{}",
        run.stderr
    );
}

/// The reader leaves while nothing more comes: `logs -f | grep -m 1 ready` and `events | head -n 1` end then, and do not
/// wait for a next line.
#[test]
fn following_ends_with_its_reader() {
    let sandbox = Sandbox::new();
    sandbox.start("l", &[], "echo one; echo ready; exec sleep 1000");
    sandbox.wait_until(&["logs", "l"], "ready");
    let binary = common::ketch_binary();
    for (script, want) in [
        ("timeout 60 \"$1\" logs -f l | grep -m 1 ready", "ready\n"),
        ("timeout 60 \"$1\" logs -ft l l | grep -m 1 -o ready", "ready\n"),
        ("timeout 60 \"$1\" events --since 1h --filter event=start --format '{{.Name}}' | head -n 1", "l\n"),
    ] {
        let script = format!("set -o pipefail; {script}; test $? = 141");
        let began = std::time::Instant::now();
        let run = sandbox.program("bash", ["-c", &script, "sh", binary.to_str().expect("UTF-8")]).run();
        assert_eq!((run.stdout.as_str(), run.stderr.as_str(), run.code), (want, "", 0), "{script}");
        assert!(began.elapsed().as_secs() < 50, "{script}");
    }
}
