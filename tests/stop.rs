//! stop, kill, restart and wait, against real containers; and what becomes of a container whose command
//! or monitor is killed (REL-01, 02, 06, 07).

mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::{Sandbox, wait_for};

/// Ends when it is told to, with a code of its own.
const POLITE: &str = "trap 'echo bye; exit 9' TERM; echo ready; while :; do sleep 0.05; done";
/// Does not.
const DEAF: &str = "trap '' TERM; echo ready; while :; do sleep 0.05; done";

fn started(sandbox: &Sandbox, name: &str, options: &[&str], script: &str) -> String {
    let id = sandbox.start(name, options, script);
    sandbox.wait_until(&["logs", name], "ready");
    id
}

fn record(sandbox: &Sandbox, id: &str) -> serde_json::Value {
    let path = sandbox.store().join("containers").join(id).join("record.json");
    serde_json::from_slice(&fs::read(path).expect("read the record")).expect("the record is JSON")
}

/// Kills a process of the sandbox and waits until it is gone.
fn kill_pid(record: &serde_json::Value, which: &str) {
    let pid = i32::try_from(record[which].as_i64().expect("a number")).expect("a pid");
    let process = rustix::process::Pid::from_raw(pid).expect("a pid");
    rustix::process::kill_process(process, rustix::process::Signal::KILL).expect("kill it");
    wait_for(&format!("the end of {pid}"), || {
        let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let gone = state.is_empty() || state.contains(") Z ");
        if gone { Ok(()) } else { Err(state) }
    });
}

fn status(sandbox: &Sandbox, name: &str) -> String {
    sandbox.ok(["ps", "-a", "--filter", &format!("name=^{name}$"), "--format={{.Status}}"])
}

#[test]
fn stop_lets_the_container_end_by_itself() {
    let sandbox = Sandbox::new();
    started(&sandbox, "polite", &[], POLITE);

    let stop = sandbox.ketch(["stop", "--time=60", "polite"]);

    assert_eq!((stop.code, stop.stdout.as_str(), stop.stderr.as_str()), (0, "polite\n", ""));
    assert!(stop.took < Duration::from_secs(30), "no grace period is waited out: {:?}", stop.took);
    assert_eq!(sandbox.ok(["wait", "polite"]), "9");
    assert_eq!(sandbox.ok(["logs", "polite"]), "ready\nbye");
    assert_eq!(sandbox.ok(["stop", "polite"]), "polite", "stopping what does not run is a success");
}

#[test]
fn stop_escalates_to_sigkill_after_the_grace_period() {
    let sandbox = Sandbox::new();
    let names = ["one", "two", "three", "four", "five", "six"];
    for name in names {
        started(&sandbox, name, &[], DEAF);
    }
    let began = Instant::now();

    let stop = sandbox.ketch(["stop", "--time=5"].iter().chain(&names));

    assert_eq!(
        (stop.code, stop.stdout),
        (0, names.map(|name| format!("{name}\n")).concat()),
        "{}",
        stop.stderr
    );
    // One after the other they would take 30 seconds.
    assert!(began.elapsed() < Duration::from_secs(29), "all at once: {:?}", began.elapsed());
    assert!(began.elapsed() >= Duration::from_secs(5));
    assert_eq!(sandbox.ok(["wait", "one", "two"]), "137\n137", "128 + SIGKILL");
}

#[test]
fn stop_names_the_missing_container_and_still_stops_the_other() {
    let sandbox = Sandbox::new();
    started(&sandbox, "here", &[], POLITE);

    let stop = sandbox.ketch(["stop", "--time=5", "gone", "here"]);

    assert_eq!((stop.code, stop.stdout.as_str()), (125, "here\n"));
    assert_eq!(stop.stderr, "Error: no container with name or ID \"gone\" found: no such container\n");
    assert_eq!(sandbox.ok(["stop", "--ignore", "gone"]), "");
    assert!(sandbox.ketch(["stop"]).fails(125).contains("at least one name or id"));
}

#[test]
fn stop_takes_all_the_latest_an_id_file_and_filters() {
    let sandbox = Sandbox::new();
    let ids: Vec<String> = ["a", "b", "c", "d"]
        .iter()
        .map(|name| started(&sandbox, name, &["--label=of=test"], POLITE))
        .collect();
    let file = sandbox.write("id", &ids[1]);

    assert_eq!(sandbox.ok(["stop", "--latest"]), ids[3]);
    assert_eq!(sandbox.ok(["stop", "--cidfile", file.to_str().expect("UTF-8")]), ids[1]);
    assert_eq!(sandbox.ok(["stop", "--filter=name=a"]), ids[0]);
    assert_eq!(sandbox.ok(["stop", "--all"]), ids[2], "the only one that still runs");
    assert_eq!(sandbox.ok(["ps", "-q"]), "");
    assert_eq!(sandbox.ok(["restart", "--filter=label=of=test"]).lines().count(), 4);
    assert_eq!(sandbox.ok(["ps", "-q"]).lines().count(), 4);
}

#[test]
fn the_stop_signal_is_the_containers_own() {
    let sandbox = Sandbox::new();
    let script =
        "trap 'exit 4' USR1; trap 'exit 5' TERM; trap 'exit 6' HUP; echo ready; while :; do sleep 0.05; done";
    started(&sandbox, "own", &["--stop-signal=USR1"], script);
    started(&sandbox, "other", &["--stop-signal=USR1"], script);

    sandbox.ok(["stop", "own"]);
    sandbox.ok(["stop", "--signal=HUP", "other"]);

    assert_eq!(sandbox.ok(["wait", "own", "other"]), "4\n6");
}

#[test]
fn kill_sends_one_signal() {
    let sandbox = Sandbox::new();
    let script = "trap 'echo hup' HUP; trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done";
    let id = started(&sandbox, "k", &[], script);

    assert_eq!(sandbox.ok(["kill", "--signal=hup", "k"]), "k");
    sandbox.wait_until(&["logs", "k"], "hup");
    assert_eq!(sandbox.ok(["kill", "k"]), "k");
    assert_eq!(sandbox.ok(["wait", "k"]), "137");
    let again = sandbox.ketch(["kill", "k"]);
    let want = format!(
        "Error: can only kill running containers. {id} is in state exited: container state improper\n"
    );
    assert_eq!((again.code, again.stderr), (125, want));
    assert!(sandbox.ketch(["kill", "--signal=NOPE", "k"]).fails(125).contains("NOPE"));
}

#[test]
fn a_container_of_another_user_inside_is_signalled_too() {
    let sandbox = Sandbox::new();
    started(&sandbox, "app", &["--user=1000"], POLITE);
    let attached =
        sandbox.command(["run", "--rm", "--net=none", "--user=1000", "bb", "sh", "-c", POLITE]).spawn();
    attached.expect("ready");

    attached.signal(rustix::process::Signal::TERM);

    assert_eq!(attached.wait().code, 9, "--sig-proxy");
    assert_eq!(sandbox.ok(["stop", "app"]), "app");
    assert_eq!(sandbox.ok(["wait", "app"]), "9");
}

#[test]
fn wait_prints_the_code_of_a_container_that_is_removed_at_its_end() {
    let sandbox = Sandbox::new();
    started(&sandbox, "brief", &["--rm"], "trap 'exit 21' USR1; echo ready; while :; do sleep 0.05; done");
    let wait = sandbox.command(["wait", "brief"]).spawn();
    // It has to have found the container before that is gone: then it has something of it open.
    let directory = sandbox.store().join("containers");
    wait_for("wait to have found its container", || {
        let open = fs::read_dir(format!("/proc/{}/fd", wait.pid())).into_iter().flatten().flatten();
        let mut targets = open.filter_map(|entry| fs::read_link(entry.path()).ok());
        let found = targets.any(|target| target.starts_with(&directory) && target != directory);
        if found { Ok(()) } else { Err(wait.stderr_so_far()) }
    });
    let running = sandbox.command(["wait", "--condition=running", "brief"]).run();
    sandbox.ok(["kill", "--signal=USR1", "brief"]);

    assert_eq!(running.ok(), "-1");
    assert_eq!(wait.wait().ok(), "21");
    assert_eq!(sandbox.names(), [""; 0]);
    assert_eq!(sandbox.ok(["wait", "--ignore", "brief"]), "-1");
    assert!(sandbox.ketch(["wait", "brief"]).fails(125).contains("no such container"));
}

#[test]
fn a_container_that_never_started_does_not_run() {
    let sandbox = Sandbox::new();
    sandbox.ok(["create", "--name=later", "--net=none", "bb", "sh", "-c", "exit 8"]);
    assert_eq!(sandbox.ok(["wait", "later"]), "0", "as with podman and docker, at once");
    assert_eq!(sandbox.ok(["wait", "--condition=created", "later"]), "-1");
    sandbox.ketch(["start", "--attach", "later"]).fails(8);
    assert_eq!(sandbox.ok(["wait", "later"]), "8");
}

#[test]
fn a_start_that_fails_leaves_the_state_as_it_was() {
    let sandbox = Sandbox::new();
    let state = |name: &str| {
        sandbox.ok([
            "inspect",
            name,
            "--format",
            "{{.State.Status}} {{.State.ExitCode}} {{.State.StartedAt}} {{.State.Error}}",
        ])
    };
    sandbox.ketch(["run", "--name=never", "--net=none", "bb", "nosuch"]).fails(127);
    let row = sandbox.ok(["ps", "-a", "--format", "{{.Names}} {{.Status}} {{.State}}"]);
    assert_eq!(row, "never Created created");
    assert!(
        state("never")
            .starts_with("created 127 0001-01-01 00:00:00 +0000 UTC executable file `nosuch` not found"),
        "{}",
        state("never")
    );
    assert_eq!(sandbox.ok(["wait", "never"]), "127");
    assert_eq!(sandbox.ok(["ps", "-aq", "--filter=status=created"]).lines().count(), 1);
    sandbox.ok(["stop", "never"]);
    assert!(sandbox.ketch(["start", "never"]).fails(125).contains("nosuch"));
    assert_eq!(sandbox.names(), ["never"], "it is not taken for one whose `run` was killed");

    sandbox.ketch(["run", "--name=once", "--net=none", "bb", "sh", "-c", "rm /bin/sh; exit 4"]).fails(4);
    let before = state("once");
    assert!(before.starts_with("exited 4 2"), "{before}");
    sandbox.ketch(["start", "once"]).fails(125);
    let after = state("once");
    assert!(after.starts_with(before.trim_end()) && after.contains("not found"), "{before}: {after}");
    sandbox.ok(["rm", "never", "once"]);
}

#[test]
fn restart_keeps_the_container_and_what_it_wrote() {
    let sandbox = Sandbox::new();
    let script =
        "echo x >> /count; cat /count | wc -l; trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done";
    let first = started(&sandbox, "r", &["--rm"], script);
    let before = record(&sandbox, &first);

    assert_eq!(sandbox.ok(["restart", "r"]), "r");

    sandbox.wait_until(&["logs", "r"], "2\nready");
    assert_ne!(record(&sandbox, &first)["pid"], before["pid"]);
    sandbox.ok(["stop", "r"]);
    assert_eq!(sandbox.names(), [""; 0], "--rm holds for the second life");
}

/// As systemd stops a service (KillMode=mixed), and everybody when the machine goes down.
#[test]
fn a_monitor_that_is_told_to_end_stops_its_container_for_good() {
    let sandbox = Sandbox::new();
    let tell = |id: &str| {
        let pid =
            i32::try_from(record(&sandbox, id)["monitor_pid"].as_i64().expect("a number")).expect("a pid");
        let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("tell the monitor");
    };
    let ended = |name: &str| {
        wait_for("the end of the container", || {
            let state = sandbox.inspect(name, ".State.Status");
            if state == "exited" { Ok(()) } else { Err(state) }
        });
        sandbox.inspect(name, ".State.ExitCode")
    };
    let polite = started(
        &sandbox,
        "polite",
        &["--restart=always", "--stop-signal=USR1"],
        &POLITE.replace("TERM", "USR1"),
    );
    tell(&polite);
    assert_eq!((ended("polite"), sandbox.inspect("polite", ".RestartCount")), ("9".into(), "0".into()));
    assert!(sandbox.ok(["logs", "polite"]).ends_with("bye"), "by its own signal, and not started again");
    let on_boot = sandbox.ok(["ps", "-a", "--filter=should-start-on-boot=true", "--format={{.Names}}"]);
    assert_eq!(on_boot, "polite", "the machine's end is not the user's wish");

    let deaf = started(&sandbox, "deaf", &["--restart=always", "--stop-timeout=1"], DEAF);
    tell(&deaf);
    assert_eq!((ended("deaf"), sandbox.inspect("deaf", ".RestartCount")), ("137".into(), "0".into()));
}

#[test]
fn a_restart_policy_obeys_stop() {
    let sandbox = Sandbox::new();
    sandbox.start("again", &["--restart=always"], "echo life; sleep 0.1; exit 1");
    sandbox.wait_until(&["logs", "again"], "life\nlife\n");

    sandbox.ok(["stop", "--time=0", "again"]);

    let lives = sandbox.ok(["logs", "again"]).lines().count();
    std::thread::sleep(Duration::from_millis(600));
    assert!(status(&sandbox, "again").starts_with("Exited"));
    assert_eq!(sandbox.ok(["logs", "again"]).lines().count(), lives);
}

/// REL-01.
#[test]
fn a_killed_command_takes_nothing_with_it() {
    let sandbox = Sandbox::new();
    let script = "for i in 1 2 3 4 5 6 7 8 9 10; do echo line $i; sleep 0.05; done; exit 7";
    let kept = sandbox.command(["run", "--name=kept", "--net=none", "bb", "sh", "-c", script]).spawn();
    let removed =
        sandbox.command(["run", "--rm", "--name=removed", "--net=none", "bb", "sh", "-c", script]).spawn();
    kept.expect("line 2");
    removed.expect("line 2");

    drop(kept);
    drop(removed);

    assert_eq!(sandbox.ok(["wait", "kept"]), "7");
    assert_eq!(sandbox.ok(["logs", "kept"]).lines().count(), 10, "nothing is lost");
    wait_for("the end of the other", || match sandbox.names() {
        names if names == ["kept"] => Ok(()),
        names => Err(names.join(" ")),
    });
}

/// REL-02.
#[test]
fn a_command_killed_at_any_moment_leaves_nothing_hidden() {
    let sandbox = Sandbox::new();
    for delay_us in [0_u64, 500, 1_000, 2_000, 4_000, 6_000, 8_000, 10_000, 13_000, 17_000, 25_000, 40_000] {
        let run = sandbox.command(["run", "-d", "--name=same", "--net=none", "bb", "sleep", "30"]).spawn();
        std::thread::sleep(Duration::from_micros(delay_us));
        drop(run);
        let names = sandbox.names();
        assert!(names.is_empty() || names == ["same"], "{names:?}");
        // The next command finds a name that is free or a container that can be removed.
        sandbox.ok(["rm", "--force", "--ignore", "--time=0", "same"]);
        sandbox.ok(["run", "--rm", "--name=same", "--net=none", "bb", "true"]);
    }
    assert_eq!(sandbox.names(), [""; 0]);
}

/// REL-06.
#[test]
fn a_container_without_its_monitor_is_seen_and_stopped() {
    let sandbox = Sandbox::new();
    for (name, options) in [("root", &[][..]), ("user", &["--user=1000"])] {
        let id = started(&sandbox, name, options, POLITE);
        kill_pid(&record(&sandbox, &id), "monitor_pid");

        assert!(status(&sandbox, name).starts_with("Up"), "{}", status(&sandbox, name));
        let stop = sandbox.ketch(["stop", "--time=60", name]);

        assert_eq!((stop.code, stop.stdout), (0, format!("{name}\n")), "{}", stop.stderr);
        assert!(stop.took < Duration::from_secs(30), "{:?}", stop.took);
        assert!(status(&sandbox, name).starts_with("Exited"));
        sandbox.ok(["start", name]);
        assert!(status(&sandbox, name).starts_with("Up"));
        sandbox.ok(["rm", "--force", "--time=0", name]);
    }
}

/// REL-07.
#[test]
fn a_container_that_died_with_its_monitor_starts_again() {
    let sandbox = Sandbox::new();
    let id = started(&sandbox, "both", &[], POLITE);
    let record = record(&sandbox, &id);
    kill_pid(&record, "monitor_pid");
    kill_pid(&record, "pid");

    assert!(status(&sandbox, "both").starts_with("Exited (-1)"), "{}", status(&sandbox, "both"));
    assert_eq!(sandbox.ok(["wait", "both"]), "-1");
    sandbox.ok(["start", "both"]);
    assert!(status(&sandbox, "both").starts_with("Up"));
    assert_eq!(sandbox.ok(["rm", "--force", "--time=0", "both"]), "both");
}

/// `start --filter` chooses among the names; the others take a filter in place of names.
#[test]
fn filters_and_names() {
    let sandbox = Sandbox::new();
    for (name, label) in [("one", "k=1"), ("two", "k=2")] {
        sandbox.ok(["create", "--name", name, "--net=none", "-l", label, "bb", "true"]);
    }
    assert_eq!(sandbox.ok(["start", "--filter=label=k=2", "one", "two"]), "two");
    assert_eq!(sandbox.ok(["start", "--filter=label=k=9", "one"]), "");
    assert_eq!(sandbox.inspect("one", ".State.Status"), "created");
    for verb in ["stop", "restart", "pause", "unpause", "rm"] {
        let refused = sandbox.ketch([verb, "--filter=label=k=1", "two"]);
        assert!(refused.fails(125).contains("--filter takes no arguments"), "{verb}: {}", refused.stderr);
    }
}
