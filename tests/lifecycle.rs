//! A container's life: created, started, stopped, killed, restarted, waited for, renamed, removed; and what is seen of it meanwhile.

mod common;

use common::{Sandbox, wait_for};

const FOR_EVER: &str = "exec sleep 1000";

#[test]
fn a_created_container_runs_when_it_is_started() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok(["create", "--name=c", "--net=none", "bb", "sh", "-c", "echo hi; exit 4"]);
    assert_eq!(
        sandbox.ok(["ps", "-a", "--format={{.ID}} {{.Names}} {{.Status}} {{.Image}}"]),
        format!("{} c Created localhost/bb:latest", &id[..12])
    );
    assert_eq!(sandbox.ok(["ps", "-q"]), "");

    let start = sandbox.ketch(["start", "-a", "c"]);

    assert_eq!((start.code, start.stdout.as_str()), (4, "hi\n"), "{}", start.stderr);
    assert!(sandbox.ok(["ps", "-a", "--format={{.Status}}"]).starts_with("Exited (4) "));
    assert_eq!(sandbox.ok(["start", "c"]), "c");
    assert_eq!(sandbox.ok(["wait", "c"]), "4");
    assert_eq!(sandbox.ok(["logs", "c"]), "hi\nhi", "the log of both runs");
}

#[test]
fn what_is_written_stays_from_start_to_start() {
    let sandbox = Sandbox::new();
    sandbox.ok(["create", "--name=c", "--net=none", "bb", "sh", "-c", "echo x >> /count; wc -l < /count"]);
    for n in 1..=3 {
        assert_eq!(sandbox.ok(["start", "-a", "c"]), n.to_string());
    }
}

#[test]
fn stop_escalates_to_sigkill_after_the_grace_period() {
    let sandbox = Sandbox::new();
    sandbox.start("deaf", &["--stop-timeout=1000"], "trap '' TERM; echo ready; while :; do sleep 1; done");
    sandbox.wait_until(&["logs", "deaf"], "ready");

    let stop = sandbox.ketch(["stop", "--time=1", "deaf"]);

    assert_eq!(stop.ok(), "deaf");
    assert!(stop.took.as_secs() >= 1, "{:?}", stop.took);
    assert_eq!(sandbox.inspect("deaf", ".State.Status"), "exited");
    assert_eq!(sandbox.inspect("deaf", ".State.ExitCode"), "137");
    assert_eq!(sandbox.ok(["stop", "deaf"]), "deaf", "stopping what has stopped is a success");
}

#[test]
fn stop_names_the_missing_container_and_still_stops_the_other() {
    let sandbox = Sandbox::new();
    sandbox.start("here", &[], FOR_EVER);
    let stop = sandbox.ketch(["stop", "--time=0", "gone", "here"]);
    assert!(stop.fails(125).contains("gone"), "{}", stop.stderr);
    assert_eq!(stop.stdout, "here\n");
    assert_eq!(sandbox.inspect("here", ".State.Running"), "false");
}

#[test]
fn kill_sends_the_signal_named() {
    let sandbox = Sandbox::new();
    sandbox.start(
        "k",
        &[],
        "trap 'echo usr1' USR1; trap 'exit 5' HUP; echo ready; while :; do sleep 0.05; done",
    );
    sandbox.wait_until(&["logs", "k"], "ready");
    for signal in ["USR1", "SIGUSR1", "10"] {
        assert_eq!(sandbox.ok(["kill", "--signal", signal, "k"]), "k");
    }
    sandbox.wait_until(&["logs", "k"], "usr1");
    sandbox.ok(["kill", "-s=HUP", "k"]);
    assert_eq!(sandbox.ok(["wait", "k"]), "5");
}

#[test]
fn restart_starts_a_new_process() {
    let sandbox = Sandbox::new();
    sandbox.start("r", &[], FOR_EVER);
    let before = sandbox.inspect("r", ".State.Pid");
    assert_eq!(sandbox.ok(["restart", "-t0", "r"]), "r");
    assert_ne!(sandbox.inspect("r", ".State.Pid"), before);
    assert_eq!(sandbox.inspect("r", ".State.Running"), "true");
    sandbox.ok(["stop", "-t0", "r"]);
    sandbox.ok(["restart", "r"]);
    assert_eq!(sandbox.inspect("r", ".State.Running"), "true", "also of what has stopped");
}

#[test]
fn wait_prints_a_code_for_each_in_order() {
    let sandbox = Sandbox::new();
    sandbox.start("slow", &[], "sleep 0.5; exit 3");
    sandbox.start("quick", &[], "exit 5");
    assert_eq!(sandbox.ok(["wait", "slow", "quick"]), "3\n5");
    assert_eq!(sandbox.ok(["wait", "slow"]), "3", "again, at once");
}

#[test]
fn rename_moves_the_name_to_the_same_container() {
    let sandbox = Sandbox::new();
    let id = sandbox.start("old", &[], FOR_EVER);
    sandbox.ok(["create", "--name=taken", "bb", "true"]);
    assert!(sandbox.ketch(["rename", "old", "taken"]).fails(125).contains("taken"));
    sandbox.ok(["rename", "old", "new"]);
    assert_eq!(sandbox.inspect("new", ".Id"), id);
    assert_eq!(sandbox.ketch(["container", "exists", "old"]).code, 1);
    assert_eq!(sandbox.ok(["exec", "new", "echo", "still up"]), "still up");
}

#[test]
fn ids_can_be_shortened_as_long_as_they_mean_one() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok(["create", "--name=one", "bb", "true"]);
    for length in [64, 12, 6] {
        assert_eq!(sandbox.inspect(&id[..length], ".Name"), "one");
    }
    // Twenty containers share at least one first digit of sixteen.
    let ids: Vec<String> = (0..20).map(|_| sandbox.ok(["create", "bb", "true"])).collect();
    let shared =
        ids.iter().find(|a| ids.iter().filter(|b| a[..1] == b[..1]).count() > 1).expect("two of twenty");
    assert_eq!(
        sandbox.ketch(["container", "inspect", &shared[..1]]).code,
        125,
        "more than one begins with {}",
        &shared[..1]
    );
}

#[test]
fn ps_lists_what_is_asked_for() {
    let sandbox = Sandbox::new();
    let up = sandbox.start("up", &["--label=kind=web"], FOR_EVER);
    sandbox.ketch(["run", "--net=none", "--name=done", "bb", "sh", "-c", "exit 3"]).fails(3);
    sandbox.ok(["create", "--name=made", "--net=none", "bb", "true"]);
    let names = |filter: &str| {
        let mut names: Vec<String> = sandbox
            .ok(["ps", "-a", "--filter", filter, "--format={{.Names}}"])
            .lines()
            .map(str::to_owned)
            .collect();
        names.sort();
        names.join(" ")
    };
    for (filter, want) in [
        ("status=running", "up"),
        ("status=exited", "done"),
        ("status=created", "made"),
        ("name=o", "done"),
        ("name=^up$", "up"),
        ("label=kind", "up"),
        ("label=kind=web", "up"),
        ("exited=3", "done"),
        ("ancestor=bb", "done made up"),
        ("before=done", "up"),
        ("since=done", "made"),
        ("network=none", "done made up"),
    ] {
        assert_eq!(names(filter), want, "{filter}");
    }
    assert_eq!(names(&format!("id={}", &up[..8])), "up");
    assert_eq!(sandbox.ok(["ps", "-q"]), up[..12]);
    assert_eq!(sandbox.ok(["ps", "-q", "--no-trunc"]), up);
    assert_eq!(sandbox.ok(["ps", "--latest", "--format={{.Names}}"]), "made");
    let header = sandbox.ok(["ps"]);
    let words: Vec<&str> = header
        .lines()
        .next()
        .expect("a header")
        .split("  ")
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .collect();
    assert_eq!(words, ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]);
    assert!(
        header.lines().nth(1).expect("a row").contains("sh -c exec sleep ..."),
        "commands are cut at 17: {header}"
    );
    let json: serde_json::Value =
        serde_json::from_str(&sandbox.ok(["ps", "-a", "--format=json"])).expect("JSON");
    assert_eq!(json.as_array().map(Vec::len), Some(3));
    let bad = sandbox.ketch(["ps", "--filter=bogus=1"]);
    assert!(bad.fails(125).contains("bogus"), "{}", bad.stderr);
}

#[test]
fn logs_can_be_followed_cut_and_dated() {
    let sandbox = Sandbox::new();
    sandbox.start("l", &[], "for i in 1 2 3 4 5; do echo line $i; done; while [ ! -e /go ]; do sleep 0.05; done; echo late; printf 'no newline'");
    sandbox.wait_until(&["logs", "l"], "line 5");
    assert_eq!(sandbox.ok(["logs", "--tail=2", "l"]), "line 4\nline 5");
    assert_eq!(sandbox.ok(["logs", "--tail", "0", "l"]), "");
    let dated = sandbox.ok(["logs", "-t", "--tail=1", "l"]);
    assert!(dated.starts_with("20") && dated.ends_with(" line 5") && dated.contains('T'), "{dated}");
    assert_eq!(sandbox.ok(["logs", "--since=1h", "l"]).lines().count(), 5);
    assert_eq!(sandbox.ok(["logs", "--until=1h", "l"]), "");

    let follow = sandbox.command(["logs", "-f", "l"]).spawn();
    follow.expect("line 5");
    sandbox.ok(["exec", "l", "touch", "/go"]);
    let all = follow.wait();
    assert_eq!(all.stdout, "line 1\nline 2\nline 3\nline 4\nline 5\nlate\nno newline");
}

#[test]
fn exec_runs_in_the_containers_world() {
    let sandbox = Sandbox::new();
    sandbox.start(
        "e",
        &["-e", "OF=container", "--hostname=inside", "-w", "/usr"],
        "echo mark > /tmp/mark; exec sleep 1000",
    );
    wait_for("the mark", || {
        let cat = sandbox.ketch(["exec", "e", "cat", "/tmp/mark"]);
        if cat.code == 0 { Ok(()) } else { Err(cat.stderr) }
    });
    assert_eq!(
        sandbox.ok(["exec", "e", "sh", "-c", "hostname; pwd; echo $OF; cat /proc/1/comm"]),
        "inside\n/usr\ncontainer\nsleep"
    );
    assert_eq!(
        sandbox.ok([
            "exec",
            "-u",
            "app",
            "-w",
            "/tmp",
            "-e",
            "X=1",
            "e",
            "sh",
            "-c",
            "id -un; id -G | tr ' ' '\\n' | sort -n | tr '\\n' ' '; pwd; echo $X $HOME"
        ]),
        "app\n44 50 1000 /tmp\n1 /home/app"
    );
    assert_eq!(sandbox.ketch(["exec", "e", "sh", "-c", "exit 7"]).code, 7);
    assert_eq!(sandbox.ketch(["exec", "e", "sh", "-c", "kill -9 $$"]).code, 137);
    let caps = "sed -n 's/^Cap\\(Eff\\|Bnd\\):\\t//p;s/^Seccomp:\\t//p' /proc/self/status";
    assert_eq!(
        sandbox.ok(["exec", "e", "sh", "-c", caps]),
        "00000000800405fb\n00000000800405fb\n2",
        "confined as the container is"
    );
    assert_eq!(
        sandbox.ok(["exec", "--privileged", "e", "sh", "-c", caps]).lines().next(),
        Some("000001ffffffffff")
    );

    sandbox.ok(["exec", "-d", "e", "sh", "-c", "sleep 0.2; touch /tmp/detached"]);
    wait_for("what the detached exec makes", || {
        let ls = sandbox.ketch(["exec", "e", "ls", "/tmp/detached"]);
        if ls.code == 0 { Ok(()) } else { Err(ls.stderr) }
    });
}

#[test]
fn restart_policies_are_followed_by_the_monitor() {
    let sandbox = Sandbox::new();
    let script = "echo x >> /count; exit 1";
    sandbox.start("failing", &["--restart=on-failure:2"], script);
    assert_eq!(sandbox.ok(["wait", "failing"]), "1");
    wait_for("two restarts", || {
        let count = sandbox.inspect("failing", ".RestartCount");
        let status = sandbox.inspect("failing", ".State.Status");
        if count == "2" && status == "exited" { Ok(()) } else { Err(format!("{count} {status}")) }
    });
    sandbox.start("fine", &["--restart=on-failure"], "exit 0");
    assert_eq!(sandbox.ok(["wait", "fine"]), "0");
    assert_eq!(sandbox.inspect("fine", ".RestartCount"), "0");

    sandbox.start("always", &["--restart=always"], "echo run; sleep 0.05");
    wait_for("a third run", || {
        let logs = sandbox.ok(["logs", "always"]);
        if logs.lines().count() >= 3 { Ok(()) } else { Err(logs) }
    });
    sandbox.ok(["stop", "-t0", "always"]);
    let count = sandbox.inspect("always", ".RestartCount");
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(sandbox.inspect("always", ".RestartCount"), count, "stopped by hand, it stays so");
    assert_eq!(sandbox.inspect("always", ".State.Running"), "false");
}

#[test]
fn prune_removes_what_has_ended_only() {
    let sandbox = Sandbox::new();
    let done = sandbox.ok(["create", "--name=done", "--net=none", "bb", "true"]);
    sandbox.ok(["start", "-a", "done"]);
    sandbox.start("up", &[], FOR_EVER);
    assert_eq!(sandbox.ok(["container", "prune", "-f"]), done);
    assert_eq!(sandbox.names(), ["up"]);
}

#[test]
fn rm_takes_many_and_all() {
    let sandbox = Sandbox::new();
    for name in ["a", "b", "c"] {
        sandbox.start(name, &[], FOR_EVER);
    }
    assert_eq!(sandbox.ok(["rm", "-f", "-t", "0", "a"]), "a");
    let all = sandbox.program("sh", ["-c", "ketch rm -f -t0 $(ketch ps -aq)"]).run();
    assert_eq!(all.ok().lines().count(), 2);
    assert!(sandbox.names().is_empty());
    let containers = std::fs::read_dir(sandbox.store().join("containers")).expect("list").count();
    assert_eq!(containers, 0, "no directory is left");
}

#[test]
fn inspect_tells_how_it_was_made_and_what_became_of_it() {
    let sandbox = Sandbox::new();
    sandbox
        .ketch([
            "run",
            "--net=none",
            "--name=i",
            "--hostname=h",
            "-e=A=b",
            "-w",
            "/tmp",
            "-v",
            "/tmp:/host:ro",
            "--user=app",
            "bb",
            "sh",
            "-c",
            "exit 3",
        ])
        .fails(3);
    let all: serde_json::Value = serde_json::from_str(&sandbox.ok(["inspect", "i"])).expect("JSON");
    let one = &all[0];
    assert_eq!(one["Name"], "i");
    assert_eq!(one["Path"], "sh");
    assert_eq!(one["Args"], serde_json::json!(["-c", "exit 3"]));
    assert_eq!(one["State"]["Status"], "exited");
    assert_eq!(one["State"]["ExitCode"], 3);
    assert_eq!(one["State"]["Running"], false);
    assert_eq!(one["Config"]["Hostname"], "h");
    assert_eq!(one["Config"]["User"], "app");
    assert_eq!(one["Config"]["WorkingDir"], "/tmp");
    assert!(one["Config"]["Env"].as_array().expect("a list").contains(&"A=b".into()));
    assert_eq!(one["ImageName"], "localhost/bb:latest");
    let mount = &one["Mounts"][0];
    assert_eq!(
        (mount["Source"].as_str(), mount["Destination"].as_str(), mount["RW"].as_bool()),
        (Some("/tmp"), Some("/host"), Some(false))
    );
    assert!(one["State"]["FinishedAt"].as_str() > one["State"]["StartedAt"].as_str());
}
