//! kill -9 at any moment, and many at once: the next command works, nothing is lost and nothing is left (tests/README.md, REL-nn).

mod common;

use std::time::Duration;

use common::image::{Compression, Layer};
use common::registry::Registry;
use common::{Running, Sandbox, entries, wait_for};
use rustix::process::{Pid, Signal};

const FOR_EVER: &str = "exec sleep 1000";

fn kill(pid: &str) {
    let pid = pid.parse().ok().and_then(Pid::from_raw).unwrap_or_else(|| panic!("a process ID: {pid:?}"));
    rustix::process::kill_process(pid, Signal::KILL).expect("kill a process of this test");
}

/// Kills the program `n` sevenths of a millisecond-scale delay after its start; a spread of moments, the same in each run.
fn kill_after(running: Running, n: u32, step: Duration) -> i32 {
    std::thread::sleep(step * n);
    running.signal(Signal::KILL);
    running.wait().code
}

#[test]
fn rel_01_a_killed_client_leaves_the_container_its_code_and_its_log() {
    let sandbox = Sandbox::new();
    let script = "i=0; while [ $i -lt 20 ]; do echo line $i; i=$((i+1)); sleep 0.03; done; exit 7";
    let client = sandbox.command(["run", "--net=none", "--name=c", "bb", "sh", "-c", script]).spawn();
    client.expect("line 3");
    client.signal(Signal::KILL);
    assert_eq!(client.wait().code, -9);

    assert_eq!(sandbox.ok(["wait", "c"]), "7");
    let log = sandbox.ok(["logs", "c"]);
    assert_eq!(log.lines().count(), 20, "{log}");

    let client = sandbox
        .command(["run", "--rm", "--net=none", "--name=r", "bb", "sh", "-c", "echo up; sleep 0.3"])
        .spawn();
    client.expect("up");
    client.signal(Signal::KILL);
    client.wait();
    wait_for("--rm to be done by the monitor", || {
        let names = sandbox.names();
        if names == ["c"] { Ok(()) } else { Err(format!("{names:?}")) }
    });
}

#[test]
fn rel_02_a_killed_detached_start_leaves_nothing_half_made() {
    let sandbox = Sandbox::new();
    // `sleep` as process 1 hears no SIGTERM: without a grace period of 0, replacing it would wait for ten seconds.
    for n in 0..20 {
        let run = sandbox
            .command(["run", "-d", "--stop-timeout=0", "--net=none", "--name=c", "bb", "sleep", "1000"])
            .spawn();
        kill_after(run, n, Duration::from_millis(3));
        let seen = sandbox.ok(["ps", "-a", "--format={{.Names}} {{.Status}}"]);
        assert!(seen.is_empty() || seen.starts_with("c "), "turn {n}: {seen}");
        let again = sandbox.ketch([
            "run",
            "-d",
            "--replace",
            "--stop-timeout=0",
            "--net=none",
            "--name=c",
            "bb",
            "sleep",
            "1000",
        ]);
        assert_eq!(again.code, 0, "turn {n}: {}", again.stderr);
        sandbox.ok(["rm", "-f", "-t0", "c"]);
        assert!(sandbox.names().is_empty());
    }
    // What the killed ones left in staging is nobody's any more; a command that writes has taken it away.
    sandbox.sh(&[], "true").ok();
    wait_for("the garbage to be gone", || {
        let left = [
            entries(&sandbox.store(), "staging"),
            entries(&sandbox.store(), "containers"),
            entries(&sandbox.store(), "names"),
        ]
        .concat();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}

#[test]
fn rel_03_a_killed_rm_can_be_repeated() {
    let sandbox = Sandbox::new();
    for n in 0..12 {
        sandbox.start("c", &[], FOR_EVER);
        let rm = sandbox.command(["rm", "-f", "-t0", "c"]).spawn();
        kill_after(rm, n, Duration::from_millis(2));
        sandbox.ok(["rm", "-f", "-t0", "c"]);
        assert!(sandbox.names().is_empty(), "turn {n}");
    }
    sandbox.sh(&[], "true").ok();
    assert_eq!(entries(&sandbox.store(), "containers"), Vec::<String>::new());
}

#[test]
fn rel_04_a_killed_pull_harms_nothing_and_leaves_no_garbage() {
    let sandbox = Sandbox::new();
    let noise: Vec<u8> =
        (0u32..3_000_000).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let mut image = common::bb::image();
    for n in 0..4 {
        image = image.layer(Layer::new().file(format!("noise-{n}"), 0o644, &noise[n..]), Compression::Gzip);
    }
    let name = Registry::shared().push("crash/pull", "v1", &image.build());
    for n in 0..20 {
        let pull = sandbox.command(["pull", "-q", &name]).spawn();
        let code = kill_after(pull, n, Duration::from_millis(40));
        assert_eq!(sandbox.ok(["run", "--rm", "--net=none", "bb", "echo", "fine"]), "fine", "turn {n}");
        assert!(sandbox.ok(["images", "--format={{.Repository}}"]).contains("localhost/bb"), "turn {n}");
        if code == 0 {
            sandbox.ok(["rmi", &name]);
        }
    }
    sandbox.ok(["pull", "-q", &name]);
    assert_eq!(
        sandbox.ok(["run", "--rm", "--net=none", &name, "sh", "-c", "cat /noise-3 | wc -c"]),
        (noise.len() - 3).to_string()
    );
    wait_for("the garbage to be gone", || {
        let left =
            [entries(&sandbox.store(), "staging"), entries(&sandbox.store(), "blobs/partial")].concat();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    sandbox.ok(["system", "check"]);
}

/// Processes of this machine whose command line holds `word`.
fn processes_with(word: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").expect("read /proc").flatten();
    let commands = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    commands
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(word))
        .collect()
}

#[test]
fn rel_05_a_killed_build_takes_its_children_along_and_hides_nothing() {
    let sandbox = Sandbox::new();
    let seconds = "86399";
    let file = format!("FROM localhost/bb\nRUN echo done > /first\nRUN sleep {seconds}\n");
    sandbox.write("context/Containerfile", file);
    let context = sandbox.path("context");
    let context = context.to_str().expect("UTF-8");
    let build = sandbox.command(["build", "--network=none", "-t", "made", context]).spawn();
    let runs = format!("sleep {seconds}");
    wait_for("the second RUN", || match processes_with(&runs).len() {
        0 => Err(format!("{} {}", build.stdout_so_far(), build.stderr_so_far())),
        _ => Ok(()),
    });
    build.signal(Signal::KILL);
    assert_eq!(build.wait().code, -9);

    wait_for("its children to end", || {
        let left = processes_with(&runs);
        if left.is_empty() { Ok(()) } else { Err(left.join("; ")) }
    });
    assert!(sandbox.names().is_empty());
    sandbox.ok(["rmi", "localhost/bb"]);
    sandbox.ok(["system", "prune", "-f"]);
    sandbox.ok(["system", "check"]);
    wait_for("the garbage to be gone", || {
        let left = [entries(&sandbox.store(), "staging"), entries(&sandbox.store(), "containers")].concat();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}

/// Kills a container's monitor and waits until that is seen.
fn kill_monitor(sandbox: &Sandbox, name: &str) -> String {
    let monitor = sandbox.inspect(name, ".State.ConmonPid");
    kill(&monitor);
    let filter = format!("--filter=name={name}");
    sandbox.wait_until(&["ps", &filter, "--format={{.Status}}"], "unmonitored");
    monitor
}

/// REL-06: one whose monitor is killed while a command ends it through that: the container ends all the same.
#[test]
fn rel_06_ending_does_not_end_with_the_monitor() {
    let sandbox = Sandbox::new();
    let endings: [(&[&str], bool); 5] = [
        (&["rm", "-f", "-t0", "c"], false),
        (&["rm", "-f", "-t0", "c"], true),
        (&["rm", "-f", "-t=30", "c"], false),
        (&["stop", "-t0", "c"], false),
        (&["kill", "c"], false),
    ];
    for (args, damaged) in endings {
        let id = sandbox.start("c", &[], "trap exit TERM; while :; do sleep 0.05; done");
        let [monitor, process] = ["ConmonPid", "Pid"].map(|key| {
            let pid = sandbox.inspect("c", &format!(".State.{key}"));
            pid.parse().ok().and_then(Pid::from_raw).expect("a process ID")
        });
        let dir = sandbox.store().join("containers").join(&id);
        if damaged {
            std::fs::write(dir.join("spec.json"), "").expect("damage the spec");
        }
        rustix::process::kill_process(monitor, Signal::STOP).expect("hold the monitor still");
        let ending = sandbox.command(args).spawn();
        let stat = format!("/proc/{}/stat", ending.pid());
        wait_for("it to wait for the monitor", || {
            let marked = dir.join("stop-requested").exists();
            let stat = std::fs::read_to_string(&stat).unwrap_or_default();
            if marked && stat.contains(") S ") { Ok(()) } else { Err(stat) }
        });
        rustix::process::kill_process(monitor, Signal::KILL).expect("kill the monitor");

        ending.wait().ok();
        // A moment may pass until it has died of its signal, and until the machine's process 1 has noticed.
        wait_for(&format!("{args:?}, spec damaged: {damaged}: its process to end"), || {
            rustix::process::test_kill_process(process).map_or(Ok(()), |()| Err("it lives on".to_owned()))
        });
        sandbox.ketch(["rm", "-f", "-t0", "c"]);
        assert!(!dir.exists(), "{args:?}");
    }
}

const COUNTS: &str = "trap 'exit 5' TERM; i=0; while :; do echo tick $i; i=$((i+1)); sleep 0.05; done";

#[test]
fn rel_06_the_next_command_gives_a_container_a_new_monitor() {
    let sandbox = Sandbox::new();
    sandbox.start("c", &["-i"], COUNTS);
    sandbox.wait_until(&["logs", "c"], "tick 2\n");
    let first = kill_monitor(&sandbox, "c");

    let said = sandbox.ketch(["exec", "c", "echo", "fine"]);
    assert_eq!(said.ok(), "fine");
    assert!(said.stderr.contains("had lost its monitor"), "{}", said.stderr);
    let status = sandbox.ok(["ps", "--format={{.Status}}"]);
    assert!(status.starts_with("Up") && !status.contains("unmonitored"), "{status}");
    assert_ne!(sandbox.inspect("c", ".State.ConmonPid"), first);

    // Nothing is missing in the log, neither before nor after.
    let ticks =
        |log: &str| log.lines().filter_map(|l| l.strip_prefix("tick ")?.parse().ok()).collect::<Vec<usize>>();
    let so_far = ticks(&sandbox.ok(["logs", "c"])).len();
    sandbox.wait_until(&["logs", "c"], &format!("tick {}\n", so_far + 5));
    let client = sandbox.command(["attach", "--no-stdin", "c"]).spawn();
    client.expect("tick");
    let stop = sandbox.ketch(["stop", "-t", "30", "c"]);
    assert_eq!(stop.ok(), "c");
    assert!(stop.took < Duration::from_secs(30), "{:?}", stop.took);
    let numbers = ticks(&sandbox.ok(["logs", "c"]));
    assert_eq!(numbers, (0..numbers.len()).collect::<Vec<_>>());
    let code = sandbox.inspect("c", ".State.ExitCode");
    assert!(code == "5" || code == "-1", "known from Linux 6.15 on, never invented: {code}");
    assert_eq!(client.wait().code, if code == "5" { 5 } else { 255 });
    sandbox.ok(["start", "c"]);
    assert_eq!(sandbox.inspect("c", ".State.Running"), "true");
}

#[test]
fn rel_06_any_command_will_do_and_many_at_once() {
    let sandbox = Sandbox::new();
    sandbox.start("c", &["--user=33"], FOR_EVER);
    sandbox.start("t", &["-t"], FOR_EVER);
    for command in [&["logs", "c"][..], &["start", "c"], &["kill", "-s", "USR1", "t"]] {
        let name = command[command.len() - 1];
        kill_monitor(&sandbox, name);
        let process = sandbox.inspect(name, ".State.Pid");
        sandbox.ok(command);
        assert_eq!(sandbox.inspect(name, ".State.Pid"), process, "{command:?}: it is the same process");
        let status = sandbox.ok(["ps", "--format={{.Status}}"]);
        assert!(!status.contains("unmonitored"), "{command:?}: {status}");
    }
    kill_monitor(&sandbox, "c");
    let all: Vec<Running> = (0..8).map(|_| sandbox.command(["exec", "c", "echo", "here"]).spawn()).collect();
    for output in all.into_iter().map(Running::wait) {
        assert_eq!(output.ok(), "here");
    }
    kill_monitor(&sandbox, "c");
    let waiter = sandbox.command(["wait", "c"]).spawn();
    sandbox.wait_until(&["ps", "--filter=name=c", "--format={{.Status}}"], "Up");
    sandbox.ok(["rm", "-f", "-t0", "c"]);
    let code = waiter.wait();
    assert!(["137\n", "-1\n"].contains(&code.stdout.as_str()) || code.code == 125, "{code:?}");
}

#[test]
fn rel_06_the_new_monitor_honours_the_restart_policy_and_rm() {
    let sandbox = Sandbox::new();
    sandbox.start("always", &["--restart=always"], "echo life >> /lives; exec sleep 1000");
    sandbox.ok(["run", "-d", "--rm", "--name=gone", "--net=none", "bb", "sleep", "1000"]);
    for name in ["always", "gone"] {
        kill_monitor(&sandbox, name);
        sandbox.ok(["exec", name, "true"]);
        kill(&sandbox.inspect(name, ".State.Pid"));
    }
    sandbox.wait_until(&["exec", "always", "cat", "/lives"], "life\nlife");
    assert_eq!(sandbox.inspect("always", ".RestartCount"), "1");
    wait_for("--rm to be done by the new monitor", || {
        let names = sandbox.names();
        if names == ["always"] { Ok(()) } else { Err(format!("{names:?}")) }
    });
}

#[test]
fn rel_07_monitor_and_process_1_killed_together() {
    let sandbox = Sandbox::new();
    for name in ["started", "removed"] {
        sandbox.start(name, &[], FOR_EVER);
        let (monitor, process) =
            (sandbox.inspect(name, ".State.ConmonPid"), sandbox.inspect(name, ".State.Pid"));
        kill(&monitor);
        kill(&process);
    }
    wait_for("both to be seen as gone", || {
        let status = sandbox.ok(["ps", "-a", "--format={{.Status}}"]);
        if status.lines().all(|line| line.starts_with("Exited")) { Ok(()) } else { Err(status) }
    });
    assert_eq!(sandbox.ok(["ps", "-q"]), "");
    sandbox.ok(["start", "started"]);
    assert_eq!(sandbox.ok(["exec", "started", "echo", "really"]), "really");
    assert_eq!(sandbox.ok(["rm", "-f", "removed"]), "removed", "at the first try");
}

#[test]
fn rel_13_of_many_with_one_name_one_wins() {
    let sandbox = Sandbox::new();
    let all: Vec<Running> = (0..30)
        .map(|_| sandbox.command(["run", "-d", "--net=none", "--name=same", "bb", "sleep", "1000"]).spawn())
        .collect();
    let outputs: Vec<_> = all.into_iter().map(Running::wait).collect();
    let winners = outputs.iter().filter(|output| output.code == 0).count();
    let refused =
        outputs.iter().filter(|output| output.code == 125 && output.stderr.contains("same")).count();
    assert_eq!(
        (winners, refused),
        (1, 29),
        "{:?}",
        outputs.iter().map(|o| (o.code, &o.stderr)).collect::<Vec<_>>()
    );
    assert_eq!(sandbox.names(), ["same"]);
    assert_eq!(entries(&sandbox.store(), "containers").len(), 1);
}

#[test]
fn rel_14_of_many_replacing_the_last_one_stays() {
    let sandbox = Sandbox::new();
    let all: Vec<Running> = (0..10)
        .map(|_| {
            sandbox
                .command(["run", "-d", "--replace", "--net=none", "--name=rp", "bb", "sleep", "1000"])
                .spawn()
        })
        .collect();
    for output in all.into_iter().map(Running::wait) {
        assert!(output.code == 0 || output.stderr.contains("replaced"), "{}: {}", output.code, output.stderr);
    }
    assert_eq!(sandbox.ok(["ps", "--format={{.Names}}"]), "rp", "one runs");
    assert_eq!(sandbox.names(), ["rp"], "and nothing else is left");
}

#[test]
fn rel_15_many_may_remove_one() {
    let sandbox = Sandbox::new();
    sandbox.start("c", &[], FOR_EVER);
    let all: Vec<Running> = (0..20).map(|_| sandbox.command(["rm", "-f", "-t0", "c"]).spawn()).collect();
    for output in all.into_iter().map(Running::wait) {
        assert_eq!(output.code, 0, "{}", output.stderr);
    }
    assert!(sandbox.names().is_empty());
}

#[test]
fn rel_16_many_may_run_at_once() {
    let sandbox = Sandbox::new();
    for _ in 0..3 {
        let all: Vec<Running> = (0..20)
            .map(|n| sandbox.command(["run", "--rm", "--net=none", "bb", "echo", &n.to_string()]).spawn())
            .collect();
        for (n, output) in all.into_iter().map(Running::wait).enumerate() {
            assert_eq!(output.ok(), n.to_string());
        }
    }
    assert!(sandbox.names().is_empty());
}

/// The first commands of all, while there is no store.
#[test]
fn many_may_make_the_store() {
    for _ in 0..10 {
        let sandbox = Sandbox::empty();
        let all: Vec<Running> =
            (0..8).map(|n| sandbox.command(["volume", "create", &format!("v{n}")]).spawn()).collect();
        all.into_iter().map(Running::wait).for_each(|output| drop(output.ok().to_owned()));
        assert_eq!(sandbox.ok(["volume", "ls", "-q"]).lines().count(), 8);
    }
}

/// What one prune has removed is nothing that another one failed at.
#[test]
fn many_may_prune() {
    let sandbox = Sandbox::new();
    for _ in 0..5 {
        sandbox.ok(["create", "--net=none", "--name=one", "bb", "true"]);
        let all: Vec<Running> = (0..4).map(|_| sandbox.command(["rm", "one"]).spawn()).collect();
        for output in all.into_iter().map(Running::wait) {
            assert!(output.code == 0 || output.stderr.contains("no such container"), "{}", output.stderr);
        }
    }
    let dockerfile = sandbox.write("Dockerfile", "FROM bb\nARG n\nLABEL n=$n\n");
    for n in 0..8 {
        let (argument, tag) = (format!("--build-arg=n={n}"), format!("t{n}"));
        sandbox.ok([
            "build",
            "-q",
            "--network=none",
            &argument,
            "-t",
            &tag,
            "-f",
            dockerfile.to_str().expect("text"),
            ".",
        ]);
        sandbox.ok(["create", "--net=none", "bb", "true"]);
    }
    for args in [&["container", "prune", "-f"][..], &["image", "prune", "-af"]] {
        let all: Vec<Running> = (0..4).map(|_| sandbox.command(args).spawn()).collect();
        for output in all.into_iter().map(Running::wait) {
            output.ok();
        }
    }
    assert!(sandbox.names().is_empty());
    assert_eq!(sandbox.ok(["images", "-q"]), "");
}

#[test]
fn many_may_replace_a_secret() {
    let sandbox = Sandbox::empty();
    sandbox.write("value", "x");
    let all: Vec<Running> =
        (0..8).map(|_| sandbox.command(["secret", "create", "--replace", "s", "value"]).spawn()).collect();
    all.into_iter().map(Running::wait).for_each(|output| drop(output.ok().to_owned()));
    assert_eq!(sandbox.ok(["secret", "ls", "-q"]).lines().count(), 1);
}

#[test]
fn two_pulls_of_one_image_are_both_right() {
    let sandbox = Sandbox::new();
    let image = common::bb::image()
        .layer(Layer::new().file("big", 0o644, vec![7; 3_000_000]), Compression::Zstd)
        .build();
    let name = Registry::shared().push("crash/twice", "v1", &image);
    let all: Vec<Running> = (0..4).map(|_| sandbox.command(["pull", "-q", &name]).spawn()).collect();
    for output in all.into_iter().map(Running::wait) {
        assert_eq!(output.ok(), image.id().trim_start_matches("sha256:"));
    }
    assert_eq!(sandbox.ok(["run", "--rm", "--net=none", &name, "stat", "-c", "%s", "/big"]), "3000000");
}

/// A store on a file system of its own size, made in namespaces that an ordinary user may make.
fn on_a_small_disk(sandbox: &Sandbox, size: &str, script: &str) -> common::Output {
    let prepare = format!(
        "mkdir -p \"$KETCH_ROOT\" && mount -t tmpfs -o size={size} small \"$KETCH_ROOT\" && {script}"
    );
    sandbox
        .program("unshare", ["--user", "--map-root-user", "--map-auto", "--mount", "sh", "-c", &prepare])
        .run()
}

#[test]
fn rel_17_a_full_disk_during_a_pull_is_rolled_back_and_named() {
    let sandbox = Sandbox::empty();
    let noise: Vec<u8> =
        (0u32..3_000_000).flat_map(|n| n.wrapping_mul(2_246_822_519).to_le_bytes()).collect();
    let big = common::bb::image().layer(Layer::new().file("noise", 0o644, &noise), Compression::Gzip).build();
    let registry = Registry::shared();
    let big = registry.push("crash/big", "v1", &big);
    let small = registry.push("crash/small", "v1", &common::bb::image().build());

    let script = format!(
        "used() {{ df -k \"$KETCH_ROOT\" | awk 'NR == 2 {{print $3}}'; }}; ketch pull -q {small} > /dev/null; before=$(used)
         ketch pull -q {big}; echo code $?; echo more $(($(used) - before)); ketch run --rm --net=none {small} echo fine"
    );
    let output = on_a_small_disk(&sandbox, "20m", &script);

    assert!(output.stdout.contains("code 125\n") && output.stdout.ends_with("fine\n"), "{output:?}");
    assert_eq!(
        output.stderr.lines().filter(|line| line.starts_with("Error: ")).count(),
        1,
        "{}",
        output.stderr
    );
    let error = output.stderr.lines().find(|line| line.starts_with("Error: ")).expect("counted");
    assert!(error.contains(" needs ") && error.contains(" free to use in "), "{error}");
    let more: i64 =
        output.stdout.lines().find_map(|line| line.strip_prefix("more ")?.parse().ok()).expect("a number");
    assert!(more < 14_000, "{more} KiB more than before: at most what a later pull resumes from");
}

#[test]
fn rel_18_a_full_store_can_be_cleaned() {
    let sandbox = Sandbox::empty();
    let image = Registry::shared().push("crash/small", "v2", &common::bb::image().build());
    let script = format!(
        "ketch pull -q {image} > /dev/null; ketch run --name fill --net=none {image} sh -c 'cat /dev/zero > /full'; echo run $?
         ketch ps -a --format '{{{{.Names}}}} {{{{.Status}}}}'; ketch rm -f fill; echo rm $?; ketch run --rm --net=none {image} echo fine"
    );
    let output = on_a_small_disk(&sandbox, "16m", &script);
    assert!(output.stdout.contains("fill Exited (1)"), "{output:?}");
    assert!(output.stdout.contains("rm 0\n") && output.stdout.ends_with("fine\n"), "{output:?}");
}

#[test]
fn rel_18_the_exit_code_of_every_container_that_fills_the_disk_is_kept() {
    let sandbox = Sandbox::empty();
    let image = Registry::shared().push("crash/small", "v3", &common::bb::image().build());
    let script = format!(
        "ketch pull -q {image} > /dev/null
         for n in 1 2 3; do
           ketch run --name fill --net=none {image} sh -c 'cat /dev/zero > /full; exit 5' 2> /dev/null
           ketch ps -a --format '{{{{.Names}}}} {{{{.Status}}}}'; ketch rm -f fill > /dev/null
         done"
    );
    let output = on_a_small_disk(&sandbox, "40m", &script);
    assert_eq!(output.stdout.matches("fill Exited (5)").count(), 3, "{output:?}");
}

#[test]
fn a_copy_that_does_not_fit_says_so() {
    let sandbox = Sandbox::empty();
    let image = Registry::shared().push("crash/small", "v4", &common::bb::image().build());
    let script = format!(
        "ketch pull -q {image} > /dev/null; ketch create --name c --net=none {image} true > /dev/null
         head -c 60000000 /dev/zero > \"$HOME/big\"; ketch cp \"$HOME/big\" c:/big; echo cp $?
         ketch commit -q c; echo commit $?"
    );
    let output = on_a_small_disk(&sandbox, "24m", &script);
    assert!(output.stdout.starts_with("cp 125\ncommit 125\n"), "{output:?}");
    assert_eq!(output.stderr.to_lowercase().matches("no space left on device").count(), 2, "{output:?}");
}
