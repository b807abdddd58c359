//! Limits, pausing, `stats` and `top`. What needs controllers or systemd is in tests/vm.

mod common;

use common::{Sandbox, wait_for};

/// A container that works a little all the time.
const BUSY: &str = "while :; do i=0; while [ $i -lt 2000 ]; do i=$((i+1)); done; echo . >> /tmp/beat; done";

fn beats(sandbox: &Sandbox, name: &str) -> usize {
    let output = sandbox.ketch(["cp", &format!("{name}:/tmp/beat"), "-"]);
    if output.code == 0 { output.bytes.iter().filter(|byte| **byte == b'.').count() } else { 0 }
}

#[test]
fn limits_that_mean_nothing_are_refused() {
    let sandbox = Sandbox::new();
    for (options, message) in [
        (&["--memory=x"][..], "--memory"),
        (
            &["--memory=64m", "--memory-swap=32m"],
            "minimum memoryswap limit should be larger than memory limit",
        ),
        (&["--memory-swap=32m"], "you should always set a memory limit"),
        (&["--cpus=1", "--cpu-quota=5000"], "--cpu-quota and --cpus cannot be set together"),
        (&["--cpus=1", "--cpu-period=5000"], "--cpu-period and --cpus cannot be set together"),
        (&["--cpuset-cpus=a"], "--cpuset-cpus"),
        (&["--blkio-weight=5"], "from 10 to 1000"),
        (&["--device-read-bps=/dev/x"], "--device-read-bps"),
        (&["--memory-swappiness=50"], "needs cgroup v1"),
        (&["--cpu-rt-runtime=5"], "needs cgroup v1"),
        (&["--oom-kill-disable"], "needs cgroup v1"),
        (&["--device-cgroup-rule=c 1:3 rwm"], "device cgroup rules are not supported"),
        (&["--device-cgroup-rule=c 1:3 x"], "invalid device cgroup rule \"c 1:3 x\""),
        (&["--cgroups=disabled", "-m=64m"], "--cgroups=disabled"),
        (&["--cgroups=what"], "no-conmon"),
        (&["--cgroup-conf=cgroup.procs=1"], "--cgroup-conf"),
    ] {
        let output = sandbox.sh(options, "true");
        assert!(output.fails(125).contains(message), "{options:?}: {}", output.stderr);
    }
}

#[test]
fn a_limit_holds_or_says_how_it_could() {
    let sandbox = Sandbox::new();
    let output = sandbox.sh(&["--memory=64m"], "true");
    // Here a controller may be there or not; a limit that is silently forgotten is what must not be.
    if output.code == 0 {
        let limit = sandbox.sh(&["--memory=64m"], "cat /sys/fs/cgroup/memory.max");
        assert_eq!(limit.ok(), "67108864");
    } else {
        assert!(output.stderr.contains("--memory cannot be applied"), "{}", output.stderr);
        assert!(output.stderr.contains("Delegate=cpu cpuset io memory pids"), "{}", output.stderr);
    }
}

#[test]
fn inspect_shows_limits_under_podmans_names() {
    let sandbox = Sandbox::new();
    sandbox.ok([
        "create",
        "--name=a",
        "--net=none",
        "-m=64m",
        "--memory-reservation=32m",
        "--cpus=0.5",
        "-c=512",
        "--cpuset-cpus=0",
        "--pids-limit=50",
        "--blkio-weight=100",
        "--device-read-bps=/dev/null:1mb",
        "--cgroup-conf=memory.high=1000",
        "--cgroup-parent=/x",
        "--cgroups=no-conmon",
        "bb",
    ]);
    for (field, value) in [
        ("Memory", "67108864"),
        ("MemorySwap", "134217728"),
        ("MemoryReservation", "33554432"),
        ("NanoCpus", "500000000"),
        ("CpuQuota", "50000"),
        ("CpuPeriod", "100000"),
        ("CpuShares", "512"),
        ("CpusetCpus", "0"),
        ("PidsLimit", "50"),
        ("BlkioWeight", "100"),
        ("CgroupParent", "/x"),
        ("Cgroups", "no-conmon"),
    ] {
        assert_eq!(sandbox.inspect("a", &format!(".HostConfig.{field}")), value, "{field}");
    }
    assert_eq!(sandbox.inspect("a", "(index .HostConfig.BlkioDeviceReadBps 0).Rate"), "1048576");
}

#[test]
fn a_paused_container_stands_still() {
    let sandbox = Sandbox::new();
    sandbox.start("a", &[], BUSY);
    wait_for("a first beat", || if beats(&sandbox, "a") > 0 { Ok(()) } else { Err(String::new()) });
    assert_eq!(sandbox.ok(["pause", "a"]), "a");
    assert_eq!(sandbox.inspect("a", ".State.Status"), "paused");
    assert_eq!(sandbox.inspect("a", ".State.Paused"), "true");
    assert_eq!(sandbox.ok(["ps", "-a", "--format={{.Status}}"]), "Paused");
    assert_eq!(sandbox.ok(["ps", "-aq", "--filter=status=paused"]).lines().count(), 1);

    assert_eq!(sandbox.ok(["wait", "--condition=paused", "a"]), "-1");
    let counts = "{{.Store.ContainerStore.Running}} {{.Store.ContainerStore.Paused}} {{.Store.ContainerStore.Stopped}}";
    assert_eq!(sandbox.ok(["info", "--format", counts]), "0 1 0");

    assert!(sandbox.ketch(["start", "a"]).fails(125).contains("is paused: container state improper"));
    assert!(sandbox.ketch(["pause", "a"]).fails(125).contains("is already paused"));
    assert!(sandbox.ketch(["stop", "a"]).fails(125).contains("is in state paused"));
    assert!(sandbox.ketch(["exec", "a", "true"]).fails(255).contains("only create exec sessions on running"));
    assert!(sandbox.ketch(["rm", "a"]).fails(2).contains("as it is paused"));

    assert_eq!(sandbox.ok(["unpause", "--all"]).len(), 64);
    assert_eq!(sandbox.inspect("a", ".State.Status"), "running");
    let before = beats(&sandbox, "a");
    wait_for("a further beat", || if beats(&sandbox, "a") > before { Ok(()) } else { Err(String::new()) });
    assert!(sandbox.ketch(["unpause", "a"]).fails(125).contains("is not paused, can't unpause"));
}

#[test]
fn a_refused_restart_changes_nothing() {
    let sandbox = Sandbox::new();
    sandbox.start("a", &["--rm"], "sleep 1000");
    sandbox.ok(["pause", "a"]);
    assert!(sandbox.ketch(["restart", "-t0", "a"]).fails(125).contains("is in state paused"));
    sandbox.ok(["unpause", "a"]);
    sandbox.ok(["stop", "-t0", "a"]);
    // As --rm has it: that it was to be started again is forgotten.
    wait_for("the container to be removed", || match sandbox.ketch(["container", "exists", "a"]).code {
        1 => Ok(()),
        code => Err(code.to_string()),
    });
}

#[test]
fn every_process_of_a_paused_container_is_held() {
    let sandbox = Sandbox::new();
    sandbox.start("a", &[], "(while :; do :; done) & echo ready; exec sleep 1000");
    sandbox.wait_until(&["logs", "a"], "ready");
    sandbox.ok(["pause", "a"]);
    let used = || sandbox.ok(["top", "a", "hpid,time"]);
    let (before, at) = (used(), std::time::Instant::now());
    // Longer than the 10 ms in which CPU time is counted: a process that ran would show it.
    while at.elapsed() < std::time::Duration::from_millis(300) {
        assert_eq!(used(), before);
    }
    sandbox.ok(["unpause", "a"]);
    wait_for("CPU time to be used again", || if used() == before { Err(String::new()) } else { Ok(()) });
}

#[test]
fn a_paused_container_can_be_killed_and_removed() {
    let sandbox = Sandbox::new();
    for name in ["a", "b"] {
        sandbox.start(name, &[], "sleep 1000");
    }
    assert_eq!(sandbox.ok(["pause", "--all"]).lines().count(), 2);
    sandbox.ok(["kill", "a"]);
    assert_eq!(sandbox.ok(["wait", "a"]), "137");
    assert_eq!(sandbox.inspect("a", ".State.Status"), "exited");
    sandbox.ok(["rm", "-f", "b"]);
    // The next life is not paused.
    sandbox.ok(["start", "a"]);
    assert_eq!(sandbox.inspect("a", ".State.Status"), "running");
    assert!(sandbox.ketch(["pause", "nosuch"]).fails(125).contains("no such container"));
}

#[test]
fn stats_count_what_is_used() {
    let sandbox = Sandbox::new();
    sandbox.start("a", &[], BUSY);
    sandbox.start("idle", &[], "sleep 1000");
    let field = |name: &str, field: &str| {
        sandbox.ok(["stats", "--no-stream", &format!("--format={{{{{field}}}}}"), name])
    };
    wait_for("CPU time", || match field("a", ".CPUNano").parse::<u64>() {
        Ok(used) if used > 50_000_000 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert!(field("a", ".MemUsage").contains(" / "));
    assert!(field("a", ".ContainerStats.MemUsage").parse::<u64>().is_ok_and(|bytes| bytes > 10_000));
    assert!(field("a", ".PIDS").parse::<u64>().is_ok_and(|pids| pids >= 1));
    assert!(field("a", ".CPUPerc").ends_with('%'));
    let table = sandbox.ok(["stats", "--no-stream"]);
    let heading = table.lines().next().expect("a heading");
    let words = heading.split("  ").map(str::trim).filter(|word| !word.is_empty()).collect::<Vec<_>>();
    let want = [
        "ID",
        "NAME",
        "CPU %",
        "MEM USAGE / LIMIT",
        "MEM %",
        "NET IO",
        "BLOCK IO",
        "PIDS",
        "CPU TIME",
        "AVG CPU %",
    ];
    assert_eq!(words, want);
    assert_eq!(table.lines().count(), 3);
    let json: serde_json::Value =
        serde_json::from_str(&sandbox.ok(["stats", "--no-stream", "--format=json", "a"])).expect("JSON");
    assert_eq!(json[0]["name"], "a");
    for key in
        ["id", "cpu_time", "cpu_percent", "avg_cpu", "mem_usage", "mem_percent", "net_io", "block_io", "pids"]
    {
        assert!(json[0][key].is_string(), "{key}: {json}");
    }
    sandbox.ok(["kill", "idle"]);
    assert_eq!(sandbox.ok(["stats", "--no-stream", "--format={{.Name}}"]), "a");
    let all = sandbox.ok(["stats", "--no-stream", "--all", "--format={{.Name}}"]);
    assert_eq!(all.lines().count(), 2);
    let id = sandbox.ok(["stats", "--no-stream", "--no-trunc", "--format={{.ID}}", "a"]);
    assert_eq!(id.len(), 64);
}

#[test]
fn top_shows_the_containers_numbers_and_names() {
    let sandbox = Sandbox::new();
    sandbox.start("a", &["--user=app"], "echo ready; sleep 1000; true");
    sandbox.wait_until(&["logs", "a"], "ready");
    wait_for("the child", || {
        let top = sandbox.ok(["top", "a", "user,pid,ppid,args"]);
        let rows: Vec<Vec<&str>> = top.lines().map(|line| line.split_ascii_whitespace().collect()).collect();
        match &rows[..] {
            [heading, first, second] if second[3] == "sleep" => {
                assert_eq!(heading[..], ["USER", "PID", "PPID", "COMMAND"]);
                assert_eq!(first[..3], ["app", "1", "0"]);
                assert_eq!((second[0], second[2]), ("app", "1"));
                Ok(())
            }
            _ => Err(top.clone()),
        }
    });
    let heading = sandbox.ok(["top", "a"]).lines().next().expect("a heading").to_owned();
    let words: Vec<&str> = heading.split_ascii_whitespace().collect();
    assert_eq!(words, ["USER", "PID", "PPID", "%CPU", "ELAPSED", "TTY", "TIME", "COMMAND"]);
    let hpid = sandbox.ok(["top", "a", "hpid"]);
    assert_eq!(hpid.lines().nth(1), Some(sandbox.inspect("a", ".State.Pid").as_str()));
    assert_eq!(sandbox.ok(["top", "a", "capeff"]).lines().nth(1), Some("none"));
    if common::have("ps") {
        assert!(sandbox.ok(["top", "a", "-eo", "pid,comm"]).contains("sleep"));
    }
    assert!(sandbox.ketch(["top", "a", "nonsense"]).fails(125).contains("unknown descriptor"));
    sandbox.ok(["kill", "a"]);
    assert!(sandbox.ketch(["top", "a"]).fails(125).contains("only be used on running containers"));
}

#[test]
fn an_update_is_kept_for_the_next_start() {
    let sandbox = Sandbox::new();
    sandbox.ok(["create", "--name=a", "--net=none", "--restart=on-failure:3", "bb", "sleep", "1000"]);
    // podman prints the ID, whatever was typed.
    assert_eq!(sandbox.ok(["update", "--memory=64m", "--cpus=0.5", "a"]), sandbox.inspect("a", ".Id"));
    assert_eq!(sandbox.inspect("a", ".HostConfig.Memory"), "67108864");
    assert_eq!(sandbox.inspect("a", ".HostConfig.MemorySwap"), "134217728");
    sandbox.ok(["update", "--pids-limit=77", "--restart=always", "a"]);
    assert_eq!(sandbox.inspect("a", ".HostConfig.Memory"), "67108864");
    assert_eq!(sandbox.inspect("a", ".HostConfig.PidsLimit"), "77");
    assert_eq!(sandbox.inspect("a", ".HostConfig.RestartPolicy.Name"), "always");
    assert_eq!(sandbox.ok(["ps", "-aq", "--filter=restart-policy=always"]).lines().count(), 1);
    assert!(
        sandbox.ketch(["update", "--memory-swap=32m", "a"]).fails(125).contains("minimum memoryswap limit")
    );
    assert!(sandbox.ketch(["update", "a"]).fails(125).contains("nothing to change"));
    // The limit that was kept is asked for at the start.
    let start = sandbox.ketch(["start", "a"]);
    assert!(start.code == 0 || start.stderr.contains("cannot be applied"), "{}", start.stderr);
}

#[test]
fn updates_at_the_same_time_lose_nothing_of_each_other() {
    let sandbox = Sandbox::new();
    for n in 0..8 {
        let name = format!("u{n}");
        sandbox.ok(["create", "--name", &name, "--net=none", "bb", "true"]);
        let changes = ["--restart=always", "--health-cmd=true", "--pids-limit=77", "--memory=64m"];
        let updates = changes.map(|change| sandbox.command(["update", change, &name]).spawn());
        updates.into_iter().for_each(|update| drop(update.wait().ok().to_owned()));
        let seen = "{{.HostConfig.RestartPolicy.Name}} {{len .Config.Healthcheck.Test}} {{.HostConfig.PidsLimit}} {{.HostConfig.Memory}}";
        assert_eq!(sandbox.ok(["inspect", "--format", seen, &name]), "always 2 77 67108864");
    }
}

#[test]
fn an_update_of_the_restart_policy_holds_at_once() {
    let sandbox = Sandbox::new();
    sandbox.start("a", &[], "sleep 1000");
    sandbox.ok(["update", "--restart=always", "a"]);
    let first = sandbox.inspect("a", ".State.Pid");
    let killed = std::process::Command::new("kill").args(["-KILL", &first]).status().expect("run kill");
    assert!(killed.success());
    wait_for("its second life", || {
        let (status, pid) = (sandbox.inspect("a", ".State.Status"), sandbox.inspect("a", ".State.Pid"));
        if status == "running" && pid != first { Ok(()) } else { Err(format!("{status} {pid}")) }
    });
}
