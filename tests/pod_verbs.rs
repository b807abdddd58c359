//! Verbs about what the containers of a pod do: restart, pause, logs, top, stats, prune. Containers that come and go meanwhile.

mod common;

use common::{Sandbox, json, wait_for};

/// A pod without a network, and a container of it that says something and sleeps.
fn pod_with(sandbox: &Sandbox, flags: &[&str], member: &str, says: &str) -> String {
    let id = sandbox.ok([&["pod", "create", "--network=none"], flags, &["p"]].concat());
    run(sandbox, member, says);
    id
}

fn run(sandbox: &Sandbox, member: &str, says: &str) {
    let script = format!("echo {says}; echo {says}-err >&2; exec sleep 1000");
    sandbox.ok(["run", "-d", "--name", member, "--stop-timeout=0", "--pod=p", "bb", "sh", "-c", &script]);
    sandbox.wait_until(&["logs", member], &format!("{says}-err"));
    sandbox.wait_until(&["logs", member], &format!("{says}\n"));
}

/// The names and words of all containers.
fn states(sandbox: &Sandbox) -> String {
    let all = sandbox.ok(["ps", "-a", "--filter=pod=p", "--format={{.State}}", "--sort=created"]);
    all.replace('\n', " ")
}

#[test]
fn a_pod_is_restarted_paused_and_goes_on_with_all_its_containers() {
    let sandbox = Sandbox::new();
    let id = pod_with(&sandbox, &["--exit-policy=stop"], "a", "one");
    sandbox.ok(["run", "-d", "--rm", "--name=b", "--stop-timeout=0", "--pod=p", "bb", "sleep", "1000"]);
    let started = |name: &str| sandbox.inspect(name, ".State.StartedAt");
    let infra = format!("{}-infra", &id[..12]);
    let before = [&infra, "a", "b"].map(started);
    assert_eq!(sandbox.ok(["pod", "restart", "p"]), id);
    // What removes itself at its end is kept for this one, and the infra container does not end with the last one.
    assert_eq!(states(&sandbox), "running running running");
    let after = [&infra, "a", "b"].map(started);
    assert!(before.iter().zip(&after).all(|(before, after)| before != after), "{before:?} {after:?}");

    assert_eq!(sandbox.ok(["pod", "unpause", "p"]), "", "nothing is paused");
    assert_eq!(sandbox.ok(["pod", "pause", "-a"]), id);
    assert_eq!(states(&sandbox), "paused paused paused");
    sandbox.ok(["unpause", "b"]);
    let refused = sandbox.ketch(["pod", "restart", "p"]);
    assert!(refused.fails(125).contains("is paused: container state improper"), "{}", refused.stderr);
    assert_eq!(states(&sandbox), "paused paused running", "nothing was touched");
    assert_eq!(sandbox.ok(["pod", "pause", "-l"]), id, "nothing is left to pause");
    sandbox.ok(["unpause", "a"]);
    assert_eq!(sandbox.ok(["pod", "unpause", "p"]), id);
    assert_eq!(states(&sandbox), "running running running");
    let events = sandbox.ok(["events", "--stream=false", "--filter=type=pod", "--format={{.Status}}"]);
    assert!(events.contains("restart") && events.contains("pause\n"), "{events}");

    for verb in ["restart", "pause", "unpause"] {
        let refused = sandbox.ketch(["pod", verb, "nosuch"]);
        assert_eq!(refused.code, 125);
        assert!(refused.stderr.contains("no pod with name or ID nosuch found: no such pod"), "{refused:?}");
    }
    // One that has ended is started, and so is what it needs.
    sandbox.ok(["pod", "stop", "-t0", "p"]);
    sandbox.ok(["pod", "restart", "-a"]);
    assert_eq!(states(&sandbox), "running running");
}

#[test]
fn logs_of_a_pod_name_their_container_unless_one_is_chosen() {
    let sandbox = Sandbox::new();
    pod_with(&sandbox, &[], "a", "one");
    let id = sandbox.inspect("a", ".Id");
    // Also if there is only one.
    assert_eq!(sandbox.ok(["pod", "logs", "p"]), format!("{} one", &id[..12]));
    run(&sandbox, "b", "two");
    let mut lines: Vec<_> = sandbox.ok(["pod", "logs", "-n", "-l"]).lines().map(str::to_owned).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["a one", "b two"]);
    let shown = sandbox.ketch(["pod", "logs", "-c", "a", "p"]);
    assert_eq!((shown.stdout.as_str(), shown.stderr.as_str()), ("one\n", "one-err\n"));
    let coloured = sandbox.ok(["pod", "logs", "-n", "--color", "p"]);
    assert!(coloured.contains("ma one\x1b[0m") && coloured.contains("mb two\x1b[0m"), "{coloured:?}");
    let times = sandbox.ok(["pod", "logs", "-t", "-c=b", "--tail=2", "--since=1h", "p"]);
    assert!(times.starts_with("20") && times.ends_with("Z two"), "{times}");
    assert_eq!(sandbox.ok(["pod", "logs", "--until=1h", "p"]), "");
    // Whoever follows stops with the containers.
    sandbox.ok(["pod", "stop", "-t0", "p"]);
    assert_eq!(sandbox.ok(["pod", "logs", "-f", "-c=b", "p"]), "two");

    for (args, want) in [
        (&["-c", "nosuch", "p"][..], "container nosuch is not in pod p: no such container"),
        (&["nosuch"], "no pod with name or ID nosuch found: no such pod"),
        (&[], "specify at least one pod name or ID to log"),
        (&["p", "q"], "requires exactly 1 arg"),
        (&["-l", "p"], "--latest and pods cannot be used together"),
    ] {
        let refused = sandbox.ketch([&["pod", "logs"], args].concat());
        assert_eq!(refused.code, 125, "{args:?}");
        assert!(refused.stderr.contains(want), "{refused:?}");
    }
}

#[test]
fn top_and_stats_of_a_pod_show_what_runs_in_it() {
    let sandbox = Sandbox::new();
    for share in ["ipc", "+pid"] {
        let flags = ["--share", share, "--replace", "--name"];
        let id = pod_with(&sandbox, &flags, "a", "one");
        let shown = sandbox.ok(["pod", "top", "p", "comm", "args"]);
        let rows: Vec<_> = shown.lines().collect();
        assert_eq!(rows.len(), 3, "a heading, the infra container's and this one, each once: {shown}");
        assert_eq!(rows.iter().filter(|row| row.contains("sleep 1000")).count(), 1, "{shown}");
        assert!(sandbox.ok(["pod", "top", "-l"]).starts_with("USER"), "{share}");

        let shown = sandbox.ok(["pod", "stats", "--no-stream"]);
        let mut rows = shown.lines();
        let heading = "POD CID NAME CPU % MEM USAGE/ LIMIT MEM % NET IO BLOCK IO PIDS";
        let words: Vec<_> = rows.next().unwrap().split_whitespace().collect();
        assert_eq!(words.join(" "), heading);
        assert!(rows.all(|row| row.starts_with(&id[..12])), "{shown}");
        let format = "--format={{.Pod}} {{.Name}}";
        let named = sandbox.ok(["pod", "stats", "--no-stream", format, "p"]);
        assert_eq!(named, format!("{0} {0}-infra\n{0} a", &id[..12]));
        let rows = json(&sandbox.ok(["pod", "stats", "-a", "--no-stream", "--format=json"]));
        assert_eq!(rows.as_array().map(Vec::len), Some(2));
        assert_eq!(rows[1]["CID"], sandbox.inspect("a", ".Id")[..12]);
    }
    // Of what does not run nothing is shown.
    sandbox.ok(["pod", "stop", "-t0", "p"]);
    assert!(sandbox.ok(["pod", "stats", "--no-stream", "p"]).contains("--"));
    assert_eq!(sandbox.ok(["pod", "stats", "--no-stream", "--format={{.Name}}", "p"]), "");
    assert_eq!(sandbox.ok(["pod", "top", "p", "pid"]), "PID");
    for (args, want) in [
        (&["top"][..], "you must provide the name or id of a running pod"),
        (&["top", "nosuch"], "no pod with name or ID nosuch found: no such pod"),
        (
            &["stats", "nosuch"],
            "unable to get list of pods: no pod with name or ID nosuch found: no such pod",
        ),
        (&["stats", "-a", "p"], "--all, --latest and arguments cannot be used together"),
    ] {
        let refused = sandbox.ketch([&["pod"], args].concat());
        assert_eq!(refused.code, 125, "{args:?}");
        assert!(refused.stderr.contains(want), "{refused:?}");
    }
}

#[test]
fn prune_removes_pods_that_have_ended() {
    let sandbox = Sandbox::new();
    let id = pod_with(&sandbox, &[], "a", "one");
    sandbox.ok(["pod", "create", "--network=none", "fresh"]);
    assert_eq!(sandbox.ok(["pod", "prune", "-f"]), "", "one runs, the other never did");
    sandbox.ok(["pod", "stop", "-t0", "p"]);
    let asked = sandbox.ok(["pod", "prune"]);
    assert!(asked.starts_with("WARNING! This will remove all stopped/exited pods..\n"), "{asked}");
    assert_eq!(sandbox.ok(["pod", "ps", "-q"]).lines().count(), 2, "the answer was no");
    assert_eq!(sandbox.ok(["pod", "prune", "-f"]), id);
    assert_eq!(sandbox.ok(["pod", "ps", "--format={{.Name}}"]), "fresh");
}

#[test]
fn a_container_waits_for_the_end_of_what_it_needs() {
    let sandbox = Sandbox::new();
    sandbox.ok(["pod", "create", "--network=none", "--exit-policy=stop", "p"]);
    for _ in 0..15 {
        sandbox.ok(["run", "--rm", "--pod=p", "bb", "true"]);
    }
    sandbox.wait_until(&["pod", "inspect", "p", "-f", "{{.State}}"], "Exited");
}

#[test]
fn a_pod_does_not_end_while_it_is_being_started() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok(["pod", "create", "--network=none", "--exit-policy=stop", "p"]);
    let infra = format!("{}-infra", &id[..12]);
    for name in ["m1", "m2", "m3", "m4", "m5"] {
        sandbox.ok(["create", "--name", name, "--pod=p", "bb", "true"]);
    }
    sandbox.ok(["create", "--name=last", "--stop-timeout=0", "--pod=p", "bb", "sleep", "1000"]);
    for _ in 0..3 {
        sandbox.ok(["pod", "start", "p"]);
        assert_eq!(sandbox.inspect("last", ".State.Status"), "running");
        let started = |name: &str| sandbox.inspect(name, ".State.StartedAt");
        // As one member after the other ended, none of the rest ran yet.
        assert!(started(&infra) < started("m1"), "{} {}", started(&infra), started("m1"));
        sandbox.ok(["stop", "last"]);
        sandbox.wait_until(&["pod", "inspect", "p", "-f", "{{.State}}"], "Exited");
    }
}

#[test]
fn an_infra_container_that_was_started_anew_does_not_end_with_what_ended_before() {
    let sandbox = Sandbox::new();
    let id = pod_with(&sandbox, &["--exit-policy=stop"], "a", "one");
    let infra = format!("{}-infra", &id[..12]);
    let monitor = std::path::PathBuf::from(format!("/proc/{}", sandbox.inspect("a", ".State.ConmonPid")));
    // Someone is starting a container of the pod: its end waits.
    let directory = std::fs::File::open(sandbox.store().join("pods").join(&id)).unwrap();
    rustix::fs::flock(&directory, rustix::fs::FlockOperation::LockShared).unwrap();
    sandbox.ok(["pod", "stop", "-t0", "p"]);
    sandbox.ok(["start", &infra]);
    let started = sandbox.inspect(&infra, ".State.StartedAt");
    assert!(monitor.exists(), "it waits");
    drop(directory);
    wait_for("the late monitor to end", || {
        if monitor.exists() { Err(monitor.display().to_string()) } else { Ok(()) }
    });
    assert_eq!(sandbox.inspect(&infra, ".State.Status}} {{.State.StartedAt"), format!("running {started}"));
}

#[test]
fn a_pod_ends_with_a_last_container_that_does_not_start() {
    let sandbox = Sandbox::new();
    sandbox.ok(["pod", "create", "--network=none", "--exit-policy=stop", "p"]);
    let state = ["pod", "inspect", "p", "-f", "{{.State}}"];
    sandbox.ketch(["run", "--name=a", "--pod=p", "bb", "/nothing"]).fails(127);
    // It is there, created; the infra container has exited.
    sandbox.wait_until(&state, "Stopped");
    sandbox.ok(["rm", "a"]);
    sandbox.ketch(["run", "--rm", "--pod=p", "bb", "/nothing"]).fails(127);
    sandbox.wait_until(&state, "Exited");
    // One that runs keeps it.
    run(&sandbox, "stays", "one");
    sandbox.ketch(["run", "--rm", "--pod=p", "bb", "/nothing"]).fails(127);
    assert_eq!(sandbox.ok(state), "Running");
}

#[test]
fn a_pod_ends_with_what_was_killed_together_with_its_monitor() {
    let sandbox = Sandbox::new();
    let state = ["pod", "inspect", "p", "-f", "{{.State}}"];
    for verb in [&["stop", "a"][..], &["rm", "a"]] {
        pod_with(&sandbox, &["--exit-policy=stop", "--replace", "--name"], "a", "one");
        let pids = sandbox.inspect("a", ".State.ConmonPid}} {{.State.Pid");
        let kill = std::process::Command::new("kill").arg("-9").args(pids.split(' ')).status();
        assert!(kill.unwrap().success());
        sandbox.wait_until(&["inspect", "a", "-f", "{{.State.Status}}"], "exited");
        assert_eq!(sandbox.ok(state), "Degraded", "nobody has seen it yet");
        sandbox.ok(verb);
        sandbox.wait_until(&state, "Exited");
    }
}

#[test]
fn what_has_ended_is_not_known_by_name_any_more() {
    let sandbox = Sandbox::new();
    sandbox.ok(["pod", "create", "--network=none", "p"]);
    run(&sandbox, "stays", "one");
    for name in ["first-one", "second-one"] {
        sandbox.ok(["run", "--rm", "--name", name, "--pod=p", "bb", "true"]);
    }
    sandbox.ketch(["run", "--rm", "--name=failed-one", "--pod=p", "bb", "/nothing"]).fails(127);
    let hosts = sandbox.ok(["run", "--rm", "--name=own", "--pod=p", "bb", "cat", "/etc/hosts"]);
    assert!(hosts.contains("127.0.1.1\town") && hosts.contains("127.0.1.1\tstays"), "{hosts}");
    assert!(!hosts.contains("-one"), "{hosts}");
    let hosts = sandbox.ok(["exec", "stays", "cat", "/etc/hosts"]);
    assert!(!hosts.contains("-one") && !hosts.contains("\town"), "{hosts}");

    run(&sandbox, "other", "one");
    sandbox.ok(["rename", "other", "renamed"]);
    for name in ["stays", "renamed"] {
        let hosts = sandbox.ok(["exec", name, "cat", "/etc/hosts"]);
        assert!(hosts.contains("127.0.1.1\trenamed") && !hosts.contains("other"), "{hosts}");
    }
    sandbox.ok(["rm", "-f", "renamed"]);
    let hosts = sandbox.ok(["exec", "stays", "cat", "/etc/hosts"]);
    assert!(!hosts.contains("renamed"), "{hosts}");
}

#[test]
fn a_pod_goes_with_what_comes_to_it_meanwhile() {
    let sandbox = Sandbox::new();
    for flag in ["--network=none", "--infra=false"] {
        let id = sandbox.ok(["pod", "create", flag, "--name=p"]);
        std::thread::scope(|scope| {
            // Some come too late, and are told so.
            scope.spawn(|| {
                for _ in 0..6 {
                    sandbox.ketch(["create", "--network=none", "--pod=p", "bb", "true"]);
                }
            });
            sandbox.wait_until(&["pod", "inspect", "p", "-f", "{{gt .NumContainers 1}}"], "true");
            assert_eq!(sandbox.ok(["pod", "rm", "-f", "-t0", "p"]), id);
        });
        assert_eq!(sandbox.names(), Vec::<String>::new(), "{flag}");
    }
}

#[test]
fn what_cannot_be_of_a_pod_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.ok(["pod", "create", "--network=none", "p"]);
    sandbox.ok(["create", "--pod=p", "--init-ctr=once", "--name=first", "bb", "true"]);
    sandbox.ok(["run", "-d", "--pod=p", "bb", "sleep", "1000"]);
    let late = sandbox.ketch(["create", "--pod=p", "--init-ctr=always", "bb", "true"]);
    assert!(late.fails(125).contains("cannot add init-ctr to a running pod"), "{}", late.stderr);
    for mode in ["host", "none"] {
        let ports = sandbox.ketch(["pod", "create", "--network", mode, "-p", "8080:80"]);
        assert!(ports.fails(125).contains("PortMappings can only be used with Bridge"), "{}", ports.stderr);
    }
    sandbox.ok(["pod", "rm", "-f", "-t0", "p"]);
}
