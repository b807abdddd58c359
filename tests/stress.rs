//! Much at once and often: nothing fails, and nothing is left behind. No timing is tested here.

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{Running, Sandbox, entries, wait_for};

/// For one of a hundred processes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(900);

#[test]
fn a_hundred_run_at_once() {
    let sandbox = Sandbox::new();
    let all: Vec<Running> = (0..100)
        .map(|n| {
            let n = n.to_string();
            sandbox.command(["run", "--rm", "--net=none", "bb", "echo", &n]).deadline(PATIENCE).spawn()
        })
        .collect();
    for (n, output) in all.into_iter().map(Running::wait).enumerate() {
        assert_eq!(output.ok(), n.to_string());
    }
    assert_eq!(sandbox.names(), Vec::<String>::new());
    wait_for("the files to go", || match files(&sandbox.store().join("staging")) {
        left if left.is_empty() => Ok(()),
        left => Err(format!("{left:?}")),
    });
}

/// Joining a container takes several steps, and it may end before each of them.
#[test]
fn commands_in_containers_that_end_meanwhile_say_so() {
    let sandbox = Sandbox::new();
    let names: Vec<String> = (0..16).map(|n| format!("c{n}")).collect();
    for _ in 0..2 {
        for name in &names {
            sandbox.start(name, &[], "exec sleep 1000");
        }
        let exec = |name: &String| sandbox.command(["exec", name, "true"]).deadline(PATIENCE).spawn();
        let stop = |name: &String| sandbox.command(["kill", name]).deadline(PATIENCE).spawn();
        let all: Vec<(Running, Running)> = names.iter().map(|name| (exec(name), stop(name))).collect();
        for (exec, stop) in all {
            stop.wait();
            let output = exec.wait();
            let is_told = output.stderr.contains("can only create exec sessions on running containers");
            assert!(
                matches!(output.code, 0 | 137) || output.code == 255 && is_told,
                "{}: {}",
                output.code,
                output.stderr
            );
        }
        sandbox.ok(["rm", "--force", "--all", "--time=0"]);
    }
}

#[test]
fn a_hundred_are_removed_by_one_command() {
    let sandbox = Sandbox::new();
    let ids: Vec<String> =
        (0..100).map(|_| sandbox.ok(["create", "--net=none", "bb", "sleep", "1000"])).collect();
    // Some of them run.
    let running = sandbox.command(["start"].into_iter().chain(ids.iter().step_by(3).map(String::as_str)));
    running.deadline(PATIENCE).run().ok();
    let remove =
        sandbox.command(["rm", "--force", "--time=0"].into_iter().chain(ids.iter().map(String::as_str)));
    assert_eq!(remove.deadline(PATIENCE).run().ok().lines().collect::<Vec<_>>(), ids);
    assert_eq!(sandbox.names(), Vec::<String>::new());
    for below in ["containers", "names", "staging", "holders"] {
        wait_for(below, || match files(&sandbox.store().join(below)) {
            left if left.is_empty() => Ok(()),
            left => Err(format!("{left:?}")),
        });
    }
}

/// The paths below a directory.
fn files(directory: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(next) = pending.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten().flatten() {
            found.insert(entry.path().display().to_string());
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                pending.push(entry.path());
            }
        }
    }
    found
}

/// What the processes of a sandbox hold: how many they are and in how many network namespaces, and of each of `pids` the descriptors
/// (without the numbers of pipes and sockets) and the number of its mounts.
///
/// Asked as root of their user namespace: nobody else may look into a process that is not dumpable, and root there into no other one.
fn census(sandbox: &Sandbox, pids: &[String]) -> Vec<String> {
    let script = "for p in /proc/[0-9]*; do readlink $p/ns/net; done 2> /dev/null
        for pid in $*; do echo of $pid; readlink /proc/$pid/fd/*; wc -l < /proc/$pid/mountinfo; done";
    let args = ["unshare", "sh", "-c", script, "sh"].into_iter().chain(pids.iter().map(String::as_str));
    let output = sandbox.ok(args);
    let (processes, held) = output.split_once("of ").expect("processes, then descriptors");
    let namespaces: BTreeSet<&str> = processes.lines().collect();
    let mut all = vec![format!("{} processes in {} networks", processes.lines().count(), namespaces.len())];
    for of in held.split("of ") {
        let mut held: Vec<&str> = of.lines().map(|line| line.split(':').next().unwrap_or_default()).collect();
        assert!(held.len() > 4, "descriptors of a process can be seen: {of}");
        held[1..].sort_unstable();
        all.extend(held.into_iter().map(str::to_owned));
    }
    all
}

/// REL-72
#[test]
fn rel_72_hundreds_of_starts_leave_nothing_behind() {
    let sandbox = Sandbox::new();
    sandbox.start("long", &["--network=bridge"], "exec sleep 100000");
    sandbox.ok(["create", "--name=often", "--network=bridge", "-v", "data:/data", "bb", "sleep", "1000"]);
    let cycle = || {
        sandbox.ok(["start", "often"]);
        sandbox.ok(["stop", "--time=0", "often"]);
    };
    // What the first ones make stays, but for the last one's monitor.
    (0..5).for_each(|_| cycle());
    sandbox.ok(["start", "often"]);
    let monitor = PathBuf::from("/proc").join(sandbox.inspect("often", ".State.ConmonPid"));
    sandbox.ok(["stop", "--time=0", "often"]);
    wait_for("its monitor to end", || if monitor.exists() { Err(String::new()) } else { Ok(()) });
    // The network helper is the one process that sees them all.
    let watched = [sandbox.inspect("long", ".State.ConmonPid"), sandbox.netd().to_string()];
    let state = || {
        let files = files(&sandbox.store());
        files.into_iter().filter(|path| !path.contains("/events/")).collect::<BTreeSet<_>>()
    };
    let held = || (census(&sandbox, &watched), state());
    let before = held();
    // A thousand by hand: KETCH_TEST_CYCLES=1000.
    let cycles = std::env::var("KETCH_TEST_CYCLES").ok().and_then(|n| n.parse().ok()).unwrap_or(200);
    (0..cycles).for_each(|_| cycle());
    wait_for("as little as before", || {
        let now = held();
        let files: Vec<_> = now.1.symmetric_difference(&before.1).collect();
        if now == before { Ok(()) } else { Err(format!("{:?}\nnow {:?}\nand {files:?}", before.0, now.0)) }
    });
}

/// Of several that start when nothing runs, one makes the user namespace that all of them are in: the network helper
/// could not serve containers of another.
#[test]
fn first_starts_at_once_share_a_user_namespace() {
    let sandbox = Sandbox::new();
    sandbox.ok(["network", "create", "n"]);
    for round in 0..5 {
        let starts: Vec<_> = (0..4)
            .map(|_| {
                let run = sandbox.command(["run", "--rm", "--network=n", "bb", "echo", "fine"]);
                run.env("KETCH_NETWORK_LINGER", "0").spawn()
            })
            .collect();
        for start in starts {
            assert_eq!(start.wait().ok(), "fine", "round {round}");
        }
        wait_for("everything to end", || {
            let left = entries(&sandbox.store(), "holders");
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        });
    }
}
