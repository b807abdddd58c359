//! Where output goes: files, the journal, the command's own streams, nowhere; and reading it from there.

mod common;

use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use common::Sandbox;

#[test]
fn options_are_checked() {
    let sandbox = Sandbox::new();
    for (options, message) in [
        (&["--log-driver=paper"][..], "log driver \"paper\" is not known"),
        (&["--log-opt=max-size"], "write KEY=VALUE"),
        (&["--log-opt=max-size=ten"], "invalid log option max-size=ten"),
        (&["--log-opt=max-file=0"], "a number of at least 1"),
        (&["--log-opt=colour=red"], "log option \"colour\" is not known to k8s-file"),
        (&["--log-driver=none", "--log-opt=tag=x"], "log option \"tag\" is not known to none"),
        (&["--log-driver=journald", "--log-opt=max-size=1m"], "not known to journald"),
        (&["--log-driver=json-file", "--log-opt=tag={{.Nose}}"], "field \".Nose\" is not known"),
        (&["--log-driver=none", "--log-opt=path=/x"], "not known to none"),
        (&["--log-driver=passthrough", "-t"], "cannot be used with --tty"),
    ] {
        let create = sandbox.ketch([&["create"], options, &["bb", "true"]].concat());
        assert!(create.fails(125).contains(message), "{options:?}: {}", create.stderr);
    }
    assert_eq!(sandbox.names().len(), 0);
}

#[test]
fn a_json_file_keeps_tag_labels_and_variables() {
    let sandbox = Sandbox::new();
    let options = [
        "--name=j",
        "--net=none",
        "--label=colour=red",
        "--env=MODE=fast",
        "--log-driver=json-file",
        "--log-opt=tag={{.Name}}-{{.ImageName}}",
        "--log-opt=labels=colour",
        "--log-opt=env=MODE",
    ];
    sandbox.ok([&["run"], &options[..], &["bb", "echo", "hello"]].concat());

    assert_eq!(sandbox.ok(["logs", "j"]), "hello");
    let details = sandbox.ok(["logs", "--details", "j"]);
    assert!(details.starts_with("MODE=fast,colour=red,tag=j-") && details.ends_with(" hello"), "{details}");
    let log = sandbox.store().join("containers").join(sandbox.inspect("j", ".Id")).join("log");
    let line: serde_json::Value =
        serde_json::from_slice(&fs::read(log).expect("read the log")).expect("one JSON object");
    assert_eq!((line["attrs"]["colour"].as_str(), line["log"].as_str()), (Some("red"), Some("hello\n")));
}

#[test]
fn output_goes_to_the_journal_with_the_container_s_names() {
    let sandbox = Sandbox::new();
    let journal = UnixDatagram::bind(sandbox.path("journal")).expect("make a socket");
    journal.set_read_timeout(Some(Duration::from_secs(60))).expect("set a time limit");
    let script = "echo out; echo err >&2; printf end";
    let args = ["run", "--name=j", "--net=none", "--log-driver=journald", "--log-opt=tag=t/{{.Name}}", "bb"];
    let run = sandbox
        .command([&args[..], &["sh", "-c", script]].concat())
        .env("KETCH_JOURNAL_SOCKET", sandbox.path("journal"))
        .run();
    assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (0, "out\nend", "err\n"));

    let id = sandbox.inspect("j", ".Id");
    let mut entries = Vec::new();
    while entries.len() < 3 {
        let mut buffer = [0; 4096];
        let length = journal.recv(&mut buffer).expect("an entry");
        entries.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
    }
    let with = |message: &str| {
        let field = format!("MESSAGE={message}\n");
        entries.iter().find(|entry| entry.starts_with(&field)).unwrap_or_else(|| panic!("{entries:?}"))
    };
    assert!(with("err").contains("PRIORITY=3\n"));
    assert!(with("end").contains("CONTAINER_PARTIAL_MESSAGE=true\n"));
    for field in
        [format!("CONTAINER_ID_FULL={id}\n"), "CONTAINER_NAME=j\n".into(), "CONTAINER_TAG=t/j\n".into()]
    {
        assert!(with("out").contains(&field) && with("out").contains("PRIORITY=6\n"), "{entries:?}");
    }

    let absent =
        sandbox.command(["start", "-a", "j"]).env("KETCH_JOURNAL_SOCKET", sandbox.path("none")).run();
    assert!(absent.fails(125).contains("open the journal"), "{}", absent.stderr);
}

#[test]
fn logs_come_from_the_journal_by_its_own_program() {
    let sandbox = Sandbox::new();
    let journal = UnixDatagram::bind(sandbox.path("journal")).expect("make a socket");
    let run = sandbox
        .command(["run", "--name=j", "--net=none", "--log-driver=journald", "bb", "true"])
        .env("KETCH_JOURNAL_SOCKET", sandbox.path("journal"))
        .run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    drop(journal);
    let id = sandbox.inspect("j", ".Id");
    // In place of systemd's program, which prints entries like these.
    let lines = r#"{"MESSAGE":"one","PRIORITY":"6","__REALTIME_TIMESTAMP":"1795251536000000"}
{"MESSAGE":[116,119,111,255],"PRIORITY":"6","__REALTIME_TIMESTAMP":"1795251537000000"}
{"MESSAGE":"bad","PRIORITY":"3","__REALTIME_TIMESTAMP":"1795251538000000"}"#;
    let program = format!("#!/bin/sh\necho \"$@\" > \"$HOME/asked\"\ncat <<'EOF'\n{lines}\nEOF\n");
    sandbox.write_program("bin/journalctl", program);
    let path = format!("{}:/usr/bin:/bin", sandbox.path("bin").display());

    let logs = sandbox.command(["logs", "--tail=7", "j"]).env("PATH", &path).run();
    assert_eq!(
        (logs.code, logs.bytes.as_slice(), logs.stderr.as_str()),
        (0, &b"one\ntwo\xff\n"[..], "bad\n")
    );
    let asked = sandbox.read("home/asked");
    assert!(asked.contains(&format!("CONTAINER_ID_FULL={id}")) && asked.contains("--lines=7"), "{asked}");
    let stamped = sandbox.command(["logs", "-t", "j"]).env("PATH", &path).run();
    assert!(stamped.stdout.starts_with("2026-11-21T08:58:56.000000000Z one\n"), "{}", stamped.stdout);
    let follow = sandbox.command(["logs", "-f", "j"]).env("PATH", &path).run();
    assert_eq!(follow.code, 0, "following ends with the container: {}", follow.stderr);

    let missing = sandbox.command(["logs", "j"]).env("PATH", "/nowhere").run();
    assert!(missing.fails(125).contains("journalctl is not installed"), "{}", missing.stderr);
}

#[test]
fn a_container_can_have_the_command_s_own_streams() {
    let sandbox = Sandbox::new();
    let args = ["run", "--name=p", "--net=none", "--log-driver=passthrough", "bb", "sh", "-c"];
    let script = "read line; echo got $line; echo err >&2; exit 4";
    let run = sandbox.command([&args[..], &[script]].concat()).stdin("input\n").run();
    assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (4, "got input\n", "err\n"));

    let logs = sandbox.ketch(["logs", "p"]);
    assert!(logs.fails(125).contains("using the 'passthrough' log driver"), "{}", logs.stderr);
    let tty = sandbox
        .command(["run", "--rm", "--net=none", "--log-driver=passthrough", "bb", "true"])
        .on_terminal(24, 80)
        .wait();
    assert_eq!(tty.code, 125, "a terminal is not given away unasked");
}

#[test]
fn no_log_is_no_log() {
    let sandbox = Sandbox::new();
    let run = sandbox.ketch(["run", "--name=n", "--net=none", "--log-driver=none", "bb", "echo", "hello"]);
    assert_eq!(run.stdout, "hello\n");
    let logs = sandbox.ketch(["logs", "n"]);
    assert!(logs.fails(125).contains("using the 'none' log driver"), "{}", logs.stderr);
}

#[test]
fn the_end_of_a_large_log_is_found_at_once() {
    let sandbox = Sandbox::new();
    sandbox.ok(["run", "--name=big", "--net=none", "--log-opt=max-size=-1", "bb", "true"]);
    let path = sandbox.store().join("containers").join(sandbox.inspect("big", ".Id")).join("log");
    // A hole of 10 GB, and lines at its end: only a reader that begins there is done soon.
    let mut log = fs::OpenOptions::new().write(true).open(path).expect("open the log");
    log.set_len(10 << 30).expect("make it large");
    std::io::Seek::seek(&mut log, std::io::SeekFrom::End(0)).expect("go to its end");
    let line = |n: u32| format!("2026-11-21T08:58:{:02}.000000000+00:00 stdout F line {n}\n", n % 60);
    let text: String = std::iter::once("\n".to_owned()).chain((0..1000).map(line)).collect();
    log.write_all(text.as_bytes()).expect("write lines");

    let best = (0..5).map(|_| {
        let began = Instant::now();
        let tail = sandbox.ok(["logs", "--tail=10", "big"]);
        assert_eq!(tail.lines().count(), 10);
        assert!(tail.starts_with("line 990\n") && tail.ends_with("line 999"), "{tail}");
        began.elapsed()
    });
    let best = best.min().expect("five times");
    assert!(
        best < Duration::from_secs(2),
        "promised: 0.1 s of the optimised program on an idle machine: {best:?}"
    );
}
