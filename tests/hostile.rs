//! Callers whose surroundings are odd, and many commands at one container: no panic, no hang, nothing left, and the same at the end.

mod common;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::image::{Compression, Layer};
use common::registry::Registry;
use common::{Output, Running, Sandbox, entries, wait_for};
use rustix::fs::{CWD, FileType, mknodat};

/// The caller's home has a name that is no UTF-8, and everything is below it (REL-44).
#[test]
fn a_home_whose_name_is_no_text_is_as_good_as_any() {
    let sandbox = Sandbox::empty();
    let image = Registry::shared().push("hostile/home", "v1", &common::bb::image().build());
    let home = sandbox.path(PathBuf::from(OsString::from_vec(b"a \xff\n'home".to_vec())));
    std::fs::create_dir(&home).expect("make a directory");
    let ketch = |args: &[&str]| {
        sandbox
            .command(args)
            .env("HOME", &home)
            .env_remove("KETCH_ROOT")
            .env_remove("XDG_RUNTIME_DIR")
            .current_dir(&home)
            .run()
    };
    ketch(&["pull", "-q", &image]).ok();
    ketch(&[
        "run",
        "-d",
        "--name=c",
        "-v=v:/v",
        "--stop-timeout=0",
        "--cidfile=id",
        "--pidfile=pid",
        &image,
        "sleep",
        "1000",
    ])
    .ok();
    assert_eq!(ketch(&["ps", "--format={{.Names}} {{.State}}"]).ok(), "c running");
    assert_eq!(ketch(&["exec", "c", "sh", "-c", "echo x > /new; cat /new"]).ok(), "x");
    std::fs::write(home.join("file"), "content").expect("write a file");
    for args in [
        &["inspect", "c"][..],
        &["cp", "file", "c:/file"],
        &["cp", "c:/etc/passwd", "passwd"],
        &["diff", "c"],
        &["commit", "-q", "c", "made"],
        &["export", "-o", "c.tar", "c"],
        &["logs", "c"],
        &["top", "c"],
        &["stats", "--no-stream", "c"],
        &["run", "--rm", "--net=none", "--userns=keep-id", &image, "true"],
        &["network", "check"],
        &["save", "-q", "-o", "made.tar", "made"],
        &["system", "df"],
        &["system", "check"],
        &["unshare", "--rootless-netns", "true"],
        &["rm", "-f", "-t0", "c"],
        &["volume", "export", "-o", "v.tar", "v"],
        &["system", "prune", "-af", "--volumes"],
    ] {
        let output = ketch(args);
        assert_eq!(output.code, 0, "{args:?}: {}{}", output.stdout, output.stderr);
    }
    std::fs::write(
        home.join("Dockerfile"),
        format!("FROM {image}\nRUN --mount=type=cache,target=/c echo x > /made\nCOPY file /file\n"),
    )
    .expect("write a file");
    let built = ketch(&["build", "--network=none", "-t", "built", "."]);
    assert_eq!(built.code, 0, "{}{}", built.stdout, built.stderr);
    assert_eq!(ketch(&["run", "--rm", "--net=none", "built", "cat", "/made", "/file"]).ok(), "x\ncontent");
    assert_eq!(ketch(&["rm", "-fa"]).code, 0);
}

/// What files the caller makes is not what the container's files are like: others read /etc/hosts and nobody else writes it.
#[test]
fn the_callers_umask_is_not_the_containers() {
    let look = "umask; stat -c '%a %n' / /etc/hosts /etc/resolv.conf /etc/hostname /home/app/mine; su app -s /bin/sh -c 'cat /etc/hosts > /dev/null && ls / > /dev/null && echo read'";
    let mut seen: Vec<String> = Vec::new();
    let image = Registry::shared().push(
        "hostile/umask",
        "v1",
        &common::bb::image()
            .layer(Layer::new().dir("d", 0o755).file("d/f", 0o644, "f"), Compression::Gzip)
            .build(),
    );
    for umask in ["022", "077", "000", "027"] {
        let sandbox = Sandbox::empty();
        let script = format!(
            "umask {umask}; ketch pull -q {image} > /dev/null; ketch run --rm --net=none -v v:/v {image} sh -c \"$1\"; ketch run --name=c --net=none {image} true"
        );
        let output = sandbox.program("sh", ["-c", &script, "sh", look]).run();
        assert!(output.ok().ends_with("read"), "{umask}: {output:?}");
        seen.push(output.ok().to_owned());
        // And in the store nothing is open to others, whatever the caller allows.
        let dir = sandbox.store().join("containers").join(sandbox.inspect("c", ".Id"));
        use std::os::unix::fs::PermissionsExt;
        for entry in std::fs::read_dir(dir).expect("list").flatten() {
            let mode = entry.metadata().expect("look").permissions().mode();
            assert_eq!(mode & 0o022, 0, "{umask}: {}: {mode:o}", entry.path().display());
        }
    }
    assert!(seen.iter().all(|look| *look == seen[0]), "{seen:?}");
}

/// A FIFO that nobody reads holds nobody up, and what is no file of ours is not removed.
#[test]
fn files_that_are_fifos_and_devices_are_errors() {
    let sandbox = Sandbox::new();
    let fifo = sandbox.path("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, 0o600.into(), 0).expect("make a FIFO");
    for option in [
        "--cidfile=fifo",
        "--pidfile=fifo",
        "--conmon-pidfile=fifo",
        "--cidfile=/dev/full",
        "--cidfile=/nonexistent/x",
        "--cidfile=.",
    ] {
        for detached in ["--rm", "-d"] {
            let output = sandbox.ketch(["run", detached, "--net=none", option, "bb", "true"]);
            assert!([125, 126].contains(&output.code), "{option}: {}: {}", output.code, output.stderr);
            let place = option.split('=').nth(1).expect("a path");
            let said = output.stderr.lines().find(|line| line.starts_with("Error: ")).unwrap_or_default();
            assert!(said.contains(place) || place == ".", "{option}: {}", output.stderr);
            sandbox.ok(["rm", "-fa", "-t0"]);
        }
    }
    assert!(fifo.exists() && std::path::Path::new("/dev/full").exists());
    sandbox.ok(["run", "--name=c", "--net=none", "--cidfile=/dev/null", "--pidfile=/dev/null", "bb", "true"]);
    sandbox.ok(["rm", "c"]);
    assert_eq!(entries(&sandbox.store(), "containers"), Vec::<String>::new());
    // Files with variables may come out of a pipe, as shells make them.
    let script = "ketch run --rm --net=none --env-file=/dev/stdin bb sh -c 'echo $A'";
    assert_eq!(sandbox.program("sh", ["-c", &format!("echo A=piped | {script}")]).run().ok(), "piped");
}

/// Descriptors that are closed, signals that are ignored, limits that are small.
#[test]
fn callers_of_any_kind_are_served() {
    let sandbox = Sandbox::new();
    for (script, expected) in [
        ("ketch run --rm --net=none bb echo said <&-", "said"),
        ("ketch run --rm --net=none bb sh -c 'echo said; echo err >&2' 2>&-", "said"),
        ("ketch run --rm --net=none bb sh -c 'ls /proc/self/fd | wc -l' <&- 2>&-", "4"),
        (
            "ketch run -d --name=c --stop-timeout=0 --net=none bb sleep 1000 <&- >&- 2>&-; ketch ps --format '{{.Names}}'; ketch rm -f c > /dev/null",
            "c",
        ),
        ("ketch run -t --rm --net=none bb echo said <&- | tr -d '\\r'", "said"),
        (
            "trap '' PIPE HUP INT TERM QUIT USR1 CHLD ALRM; ketch run --rm --net=none bb grep -E 'SigIgn|SigBlk' /proc/1/status",
            "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000",
        ),
        ("ulimit -n 64; ketch run --rm --net=none bb sh -c 'echo said'", "said"),
        ("ulimit -v 4000000; ketch run --rm --net=none bb sh -c 'echo said'", "said"),
        ("ulimit -c 0; ulimit -l 0; ketch run --rm --net=none bb sh -c 'echo said'", "said"),
        ("cd /; ketch run --rm --net=none bb pwd", "/"),
        ("exec 3</ 4</etc 9</dev/null; ketch run --rm --net=none bb sh -c 'ls /proc/self/fd | wc -l'", "4"),
    ] {
        let output = sandbox.program("sh", ["-c", script]).run();
        assert_eq!(output.ok(), expected, "{script}: {}", output.stderr);
        assert!(!output.stderr.contains("panicked"), "{script}: {}", output.stderr);
    }
    assert_eq!(sandbox.names(), Vec::<String>::new());
}

/// A home that cannot be written: with the store elsewhere nothing is missing, else the directory is named.
#[test]
fn a_home_that_cannot_be_written_is_said_or_not_needed() {
    let sandbox = Sandbox::new();
    let script = "mount --bind \"$HOME\" \"$HOME\" && mount -o remount,bind,ro \"$HOME\" && ! touch \"$HOME/x\" 2> /dev/null && exec \"$@\"";
    let read_only = |store: bool, args: &[&str]| {
        let words = [
            &["--user", "--map-root-user", "--map-auto", "--mount", "sh", "-c", script, "sh", "ketch"],
            args,
        ]
        .concat();
        let program = sandbox.program("unshare", words);
        if store { program.run() } else { program.env_remove("KETCH_ROOT").run() }
    };
    assert_eq!(read_only(true, &["run", "--rm", "--net=none", "bb", "echo", "fine"]).ok(), "fine");
    let refused = read_only(false, &["run", "--rm", "--net=none", "bb", "true"]);
    let said = refused.fails(125);
    assert!(said.contains("/home/.local/share/ketch") && said.to_lowercase().contains("read-only"), "{said}");
    // Nothing is there, and that is what is listed.
    let listed = read_only(false, &["ps", "-aq"]);
    assert!(listed.code == 0 || listed.stderr.contains("ead-only"), "{listed:?}");
}

/// Processes of a container that fork and end as fast as they can, and write as fast as they can, while it is looked at and stopped.
#[test]
fn a_container_that_forks_and_writes_without_end_is_looked_at_and_stopped() {
    let sandbox = Sandbox::new();
    let script = "while :; do (true) & (echo flood; echo more >&2); done";
    sandbox.start("c", &["--stop-timeout=0", "--log-opt=max-size=1m"], script);
    sandbox.wait_until(&["logs", "--tail=1", "c"], "o");
    for _ in 0..10 {
        for args in [
            &["top", "c"][..],
            &["top", "c", "pid", "user", "args"],
            &["stats", "--no-stream", "c"],
            &["exec", "c", "true"],
            &["inspect", "c"],
            &["logs", "--tail=3", "c"],
            &["ps"],
        ] {
            let output = sandbox.ketch(args);
            assert_eq!(output.code, 0, "{args:?}: {}", output.stderr);
        }
    }
    sandbox.ok(["pause", "c"]);
    sandbox.ok(["unpause", "c"]);
    sandbox.ok(["stop", "c"]);
    let log = entries(&sandbox.store(), &format!("containers/{}", sandbox.inspect("c", ".Id")));
    assert!(log.iter().filter(|name| name.contains("/log")).count() < 8, "{log:?}");
}

/// Files of a container that the user, or somebody, puts in the way of its own: the log, the socket, the marks.
#[test]
fn files_beside_the_state_that_are_something_else_hold_nobody_up() {
    let sandbox = Sandbox::new();
    for name in
        ["log", "attach.sock", "stop-requested", "starter", "health.json", "network.json", "hosts", "paused"]
    {
        for kind in ["fifo", "directory", "dangling"] {
            let id = sandbox.ok(["create", "--name=c", "--net=none", "bb", "echo", "said"]);
            let path = sandbox.store().join("containers").join(&id).join(name);
            std::fs::remove_file(&path).ok();
            match kind {
                "fifo" => mknodat(CWD, &path, FileType::Fifo, 0o600.into(), 0).expect("make a FIFO"),
                "directory" => std::fs::create_dir(&path).expect("make a directory"),
                _ => std::os::unix::fs::symlink("/nonexistent/target", &path).expect("make a link"),
            }
            for args in [
                &["start", "c"][..],
                &["ps", "-a"],
                &["inspect", "c"],
                &["logs", "c"],
                &["stop", "-t0", "c"],
                &["start", "-a", "c"],
                &["system", "check", "--quick"],
            ] {
                let output = sandbox.ketch(args);
                assert!(
                    [0, 1, 125, 126].contains(&output.code),
                    "{name}, {kind}: {args:?}: {}: {}",
                    output.code,
                    output.stderr
                );
                assert!(!output.stderr.contains("panicked"), "{name}, {kind}: {args:?}: {}", output.stderr);
            }
            assert_eq!(sandbox.ok(["rm", "-f", "-t0", "c"]), "c", "{name}, {kind}");
        }
    }
}

#[test]
fn a_directory_for_a_mark_is_a_mark() {
    let sandbox = Sandbox::new();
    let id = sandbox.start("c", &["--restart=always", "--stop-timeout=0"], "sleep 1000");
    for mark in ["stop-requested", "restart-requested"] {
        std::fs::create_dir(sandbox.store().join("containers").join(&id).join(mark))
            .expect("make a directory");
    }
    sandbox.ok(["stop", "c"]);
    assert_eq!(sandbox.inspect("c", ".State.Running"), "false");
    sandbox.ok(["start", "c"]);
    assert_eq!(sandbox.ok(["rm", "-f", "-t0", "c"]), "c");
}

/// How long the crowd works.
const WHILE: Duration = Duration::from_secs(20);

/// Eight processes start, stop, kill, restart, remove and make the same two containers, each in an order of its own.
#[test]
fn many_commands_at_one_container_end_in_one_state() {
    let sandbox = Sandbox::new();
    let commands: [&[&str]; 12] = [
        &["start", "a"],
        &["stop", "-t0", "a"],
        &["kill", "a"],
        &["restart", "-t0", "a"],
        &["rm", "-f", "-t0", "a"],
        &["create", "--name=a", "--net=none", "bb", "sleep", "1000"],
        &[
            "run",
            "-d",
            "--replace",
            "--name=b",
            "--restart=always",
            "--net=none",
            "--stop-timeout=0",
            "bb",
            "sleep",
            "0.05",
        ],
        &["rm", "-f", "-t0", "b"],
        &["exec", "a", "true"],
        &["pause", "a"],
        &["unpause", "a"],
        &["run", "-d", "--replace", "--name=a", "--net=none", "--stop-timeout=0", "bb", "sleep", "1000"],
    ];
    let end = Instant::now() + WHILE;
    std::thread::scope(|scope| {
        for lane in 0..8_usize {
            let (sandbox, commands) = (&sandbox, &commands);
            scope.spawn(move || {
                let mut state = lane * 7919 + 17;
                while Instant::now() < end {
                    state =
                        state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let args = commands[(state >> 33) % commands.len()];
                    let output = sandbox.ketch(args);
                    assert!(
                        [0, 1, 2, 125, 126, 127, 137, 255].contains(&output.code),
                        "{args:?}: {output:?}"
                    );
                    assert!(!output.stderr.contains("panicked"), "{args:?}: {}", output.stderr);
                    assert!(
                        output.code == 0 || output.stderr.contains("Error: ") || args[0] == "exec",
                        "{args:?}: {output:?}"
                    );
                }
            });
        }
    });
    // Whatever came last, it is one of the states that there are.
    let listed = sandbox.ketch(["ps", "-a", "--format={{.Names}} {{.State}}"]);
    assert_eq!(listed.stderr, "", "nothing is damaged");
    for line in listed.ok().lines() {
        let (name, state) = line.split_once(' ').expect("a name and a state");
        assert!(
            ["a", "b"].contains(&name)
                && ["running", "exited", "created", "paused", "stopping"].contains(&state),
            "{line}"
        );
        // In one look: one that is started again and again is something else at the next.
        let seen = sandbox.inspect(name, ".State.Running}} {{.State.Status");
        let (running, status) = seen.split_once(' ').expect("two words");
        assert_eq!(running == "true", ["running", "paused"].contains(&status), "{line}: {seen}");
    }
    sandbox.ok(["rm", "-f", "-a", "-t0"]);
    sandbox.ok(["run", "--rm", "--net=none", "bb", "true"]);
    wait_for("nothing to be left", || {
        let left: Vec<String> = ["containers", "names", "staging", "holders"]
            .iter()
            .flat_map(|dir| entries(&sandbox.store(), dir))
            .collect();
        let running = processes_of(&sandbox);
        if left.is_empty() && running.is_empty() { Ok(()) } else { Err(format!("{left:?} {running:?}")) }
    });
    sandbox.ok(["system", "check"]);
}

/// Command lines of the processes that sleep as this test's containers do, and of monitors of its store.
fn processes_of(sandbox: &Sandbox) -> Vec<String> {
    let store = sandbox.store();
    let entries = std::fs::read_dir("/proc").expect("read /proc").flatten();
    let in_store = |entry: &std::fs::DirEntry| {
        let files = std::fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten();
        files.filter_map(|file| std::fs::read_link(file.path()).ok()).any(|target| target.starts_with(&store))
    };
    let line = |entry: std::fs::DirEntry| {
        String::from_utf8_lossy(&std::fs::read(entry.path().join("cmdline")).unwrap_or_default())
            .replace('\0', " ")
    };
    entries.filter(in_store).map(line).collect()
}

/// Two engines that make and remove the same volume, network and image name at a time.
#[test]
fn many_commands_at_one_volume_network_and_name() {
    let sandbox = Sandbox::new();
    let scripts = [
        "ketch volume create v; ketch run --rm --net=none -v v:/v bb sh -c 'echo x >> /v/f'; ketch volume rm -f -t0 v",
        "ketch network create n; ketch run --rm --network=n bb true; ketch network rm -f -t0 n",
        "ketch tag bb other:v1; ketch run --rm --net=none other:v1 true; ketch untag bb localhost/other:v1; ketch image prune -f",
        "printf x | ketch secret create s -; ketch run --rm --net=none --secret s bb true; ketch secret rm s; ketch system prune -f",
    ];
    let all: Vec<Running> = scripts
        .iter()
        .flat_map(|script| [script, script])
        .map(|script| {
            sandbox
                .program("sh", ["-c", &format!("for i in 1 2 3 4 5 6; do {script}; done; true")])
                .deadline(Duration::from_secs(600))
                .spawn()
        })
        .collect();
    for output in all.into_iter().map(Running::wait) {
        assert!(
            !output.stderr.contains("panicked") && !output.stderr.contains("damaged"),
            "{}",
            output.stderr
        );
    }
    let check: Output = sandbox.ketch(["system", "check"]);
    assert_eq!(check.code, 0, "{check:?}");
    assert_eq!(sandbox.ok(["run", "--rm", "--net=none", "bb", "echo", "fine"]), "fine");
    assert_eq!(sandbox.ketch(["ps", "-a"]).stderr, "");
}
