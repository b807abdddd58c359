//! `init`, `mount`, `container cleanup`, `container clone`, `container runlabel`, `generate spec`; descriptors for the
//! command.

mod common;

use common::{Sandbox, json, wait_for};
use serde_json::Value;

#[test]
fn short_flags_have_their_values_beside_them() {
    let sandbox = Sandbox::new();
    sandbox.start("up", &[], "exec sleep 1000");
    for (args, stdout) in [
        (&["exec", "-eA=1", "-e", "B=-2", "up", "sh", "-c", "echo $A$B"][..], "1-2"),
        (&["exec", "-w/etc", "up", "pwd"], "/etc"),
        (&["exec", "-u77:88", "up", "id", "-u"], "77"),
        (&["exec", "-u=77", "up", "id", "-u"], "77"),
        (&["exec", "-lw/etc", "pwd"], "/etc"),
        (&["exec", "up", "echo", "-w/etc", "--", "-e"], "-w/etc -- -e"),
        (&["exec", "--", "up", "echo", "-e", "x"], "x"),
        (&["top", "up", "pid"], "PID"),
    ] {
        let done = sandbox.ketch(args);
        assert_eq!((done.code, done.stdout.lines().next()), (0, Some(stdout)), "{args:?}: {}", done.stderr);
    }
    let unknown = sandbox.ketch(["exec", "--nosuch", "up", "true"]);
    assert!(unknown.fails(125).contains("unknown flag: --nosuch"), "{}", unknown.stderr);
}

#[test]
fn what_podmans_scripts_see_of_changes() {
    let sandbox = Sandbox::new();
    sandbox.ok([
        "create",
        "--name=c",
        "--net=none",
        "--health-cmd=true",
        "--health-interval=90s",
        "bb",
        "sleep",
        "1000",
    ]);
    assert_eq!(sandbox.inspect("c", ".Config.Healthcheck.Interval"), "1m30s");
    assert_eq!(sandbox.inspect("c", "json .Config.Healthcheck.Interval"), "90000000000");
    sandbox.ok(["commit", "-q", "c", "made"]);
    let commits = ["events", "--stream=false", "--since=1h", "--filter=event=commit", "--format={{.Name}}"];
    assert_eq!(sandbox.ok(commits), "c");
    let id = sandbox.inspect("c", ".Id");
    assert_eq!(sandbox.ok(["stop", "--filter=name=c"]), id, "as one that is named and does not run");
    assert!(
        sandbox.ketch(["stop", "--filter=name=c", "c"]).fails(125).contains("--filter takes no arguments")
    );
}

#[test]
fn one_that_is_initialized_has_all_but_its_command() {
    let sandbox = Sandbox::new();
    let dir = sandbox.path("d").display().to_string();
    std::fs::create_dir(sandbox.path("d")).expect("make a directory");
    let bind = format!("{dir}:/d");
    let id = sandbox.ok([
        "create",
        "--name=c",
        "--net=none",
        "-v",
        &bind,
        "bb",
        "sh",
        "-c",
        "touch /d/ran; exec sleep 1000",
    ]);
    assert_eq!(sandbox.ok(["init", "c"]), "c");
    assert_eq!(sandbox.inspect("c", ".State.Status"), "initialized");
    assert_eq!(sandbox.inspect("c", ".State.Running"), "false");
    let pid = sandbox.inspect("c", ".State.Pid");
    assert_ne!(pid, "0");
    assert!(std::path::Path::new(&format!("/proc/{pid}/root")).exists() || cfg!(not(target_os = "linux")));
    assert_eq!(sandbox.ok(["ps", "-a", "--format={{.Status}}"]), "Initialized");
    assert_eq!(sandbox.ok(["ps", "-q"]), "", "it does not run");
    assert!(!sandbox.path("d/ran").exists());
    let again = sandbox.ketch(["container", "init", "c"]);
    assert!(
        again.fails(125).contains(&format!("{id} has already been created in runtime")),
        "{}",
        again.stderr
    );
    assert!(sandbox.ketch(["exec", "c", "true"]).stderr.contains("running containers"));

    assert_eq!(sandbox.ok(["start", "c"]), "c");
    wait_for("the command", || sandbox.path("d/ran").exists().then_some(()).ok_or_else(String::new));
    assert_eq!(sandbox.inspect("c", ".State.Status"), "running");
    assert_eq!(sandbox.inspect("c", ".State.Pid"), pid, "the same process");
    assert_eq!(sandbox.ok(["exec", "c", "echo", "in"]), "in");
    sandbox.ok(["stop", "--time=0", "c"]);
    assert_eq!(sandbox.ok(["wait", "c"]), "137");
    // Once more, from its end.
    sandbox.ok(["container", "init", "--latest"]);
    assert_eq!(sandbox.inspect("c", ".State.Status"), "initialized");
    sandbox.ok(["start", "c"]);
    sandbox.ok(["rm", "-f", "--time=0", "c"]);
}

#[test]
fn one_that_is_initialized_is_started_with_a_client_stopped_and_removed() {
    let sandbox = Sandbox::new();
    sandbox.ok([
        "create",
        "--name=said",
        "--net=none",
        "-i",
        "bb",
        "sh",
        "-c",
        "read line; echo got $line; exit 7",
    ]);
    sandbox.ok(["init", "said"]);
    let attached = sandbox.command(["start", "--attach", "--interactive", "said"]).stdin("it\n").run();
    assert_eq!((attached.code, attached.stdout.as_str()), (7, "got it\n"), "{}", attached.stderr);

    sandbox.ok(["create", "--name=missing", "--net=none", "bb", "no-such-program"]);
    sandbox.ok(["init", "missing"]);
    let failed = sandbox.ketch(["start", "--attach", "missing"]);
    assert!(failed.fails(127).contains("no-such-program"), "{}", failed.stderr);

    sandbox.ok(["create", "--name=stopped", "--net=none", "bb", "true"]);
    sandbox.ok(["create", "--name=removed", "--net=none", "bb", "true"]);
    assert_eq!(sandbox.ok(["init", "--all"]).lines().count(), 4);
    assert!(sandbox.ketch(["kill", "stopped"]).fails(125).contains("can only kill running containers"));
    sandbox.ok(["stop", "stopped"]);
    assert_eq!(sandbox.inspect("stopped", ".State.Status"), "exited");
    sandbox.ok(["rm", "removed"]);
    assert!(!sandbox.names().contains(&"removed".to_owned()));
    let events = sandbox.ok(["events", "--stream=false", "--filter=container=said", "--format={{.Status}}"]);
    assert_eq!(events, "create\ninit\nstart\nattach\ndied\ncleanup\ninit");
}

/// The script of `unshare`, in which everything sees the same mounts.
fn unshared(sandbox: &Sandbox, script: &str) -> common::Output {
    sandbox.ketch(["unshare", "sh", "-ec", script])
}

#[test]
fn roots_are_mounted_and_unmounted_in_unshare() {
    let sandbox = Sandbox::new();
    sandbox.ok(["create", "--name=c", "--net=none", "bb", "true"]);
    sandbox.start("up", &["--tmpfs=/t"], "echo new > /file; echo hidden > /t/f; exec sleep 1000");
    sandbox.wait_until(&["exec", "up", "cat", "/t/f"], "hidden");
    let outside = sandbox.ketch(["mount", "c"]);
    assert!(outside.fails(125).contains("must execute `ketch unshare` first"), "{}", outside.stderr);
    assert_eq!(sandbox.ok(["umount", "c"]), "c", "nothing to take away");

    let told = unshared(
        &sandbox,
        "m=$(ketch mount c); echo written > $m/written; test -x $m/bin/busybox
         test \"$(ketch container mount c)\" = $m
         ketch mount; ketch mount --no-trunc | cut -c1-64 | wc -c; ketch mount --format=json
         u=$(ketch mount up); cat $u/file; ls $u/t | wc -l
         ketch unmount c; ketch container umount c; ketch mount | wc -l; ketch umount --all; ketch mount",
    );
    let told = told.ok();
    let id = sandbox.inspect("c", ".Id");
    let lines: Vec<_> = told.lines().collect();
    assert!(lines[0].starts_with(&id[..12]) && lines[0].ends_with("/merged"), "{told}");
    assert_eq!(lines[1], "65", "{told}");
    let (start, end) = (told.find('[').expect("JSON"), told.find(']').expect("JSON"));
    // The names are a list of their own.
    let end = told[end + 1..].find(']').map_or(end, |next| end + 1 + next);
    let listed = json(&told[start..=end]);
    assert_eq!((&listed[0]["id"], &listed[0]["Names"][0]), (&Value::from(id.clone()), &Value::from("c")));
    let rest: Vec<_> = told[end + 1..].split_whitespace().collect();
    assert_eq!(rest[..5], ["new", "0", "c", "c", "1"], "the tmpfs is not the root's: {told}");
    assert_eq!(rest.len(), 6, "only what was mounted: {told}");
    let copied = sandbox.path("out").display().to_string();
    sandbox.ok(["cp", "c:/written", &copied]);
    assert_eq!(sandbox.read("out"), "written\n", "the mount was the container's own root");
    let events =
        sandbox.ok(["events", "--stream=false", &format!("--filter=container={id}"), "--format={{.Status}}"]);
    assert_eq!(
        events.lines().filter(|line| line.contains("mount")).collect::<Vec<_>>(),
        ["mount", "unmount"]
    );
}

#[test]
fn cleanup_takes_away_what_a_killed_monitor_has_left() {
    let sandbox = Sandbox::new();
    let id = sandbox.start("c", &[], "exec sleep 1000");
    let session = sandbox.ok(["exec", "-d", "c", "true"]);
    assert_eq!(sandbox.ok(["container", "cleanup", "c"]), "c", "one that runs is left alone");
    assert_eq!(sandbox.inspect("c", ".State.Status"), "running");
    wait_for("the end of the session", || match sandbox.inspect("c", ".ExecIDs").as_str() {
        "[]" => Ok(()),
        some => Err(some.to_owned()),
    });
    assert_eq!(sandbox.ok(["container", "cleanup", "--exec", &session, "c"]), "c");
    let gone = sandbox.ketch(["container", "cleanup", "--exec", &session, "c"]);
    assert!(gone.fails(125).contains("no exec session"), "{}", gone.stderr);

    let (monitor, first) = (sandbox.inspect("c", ".State.ConmonPid"), sandbox.inspect("c", ".State.Pid"));
    for pid in [&monitor, &first] {
        sandbox.program("kill", ["-KILL", pid.as_str()]).run();
    }
    let directory = format!("store/containers/{id}");
    assert!(sandbox.path(&directory).join("attach.sock").exists());
    sandbox.wait_until(&["inspect", "--format={{.State.Status}}", "c"], "exited");
    wait_for("cleaning up", || {
        sandbox.ok(["container", "cleanup", "--all"]);
        match sandbox.path(&directory).join("attach.sock").exists() {
            true => Err("attach.sock is there".to_owned()),
            false => Ok(()),
        }
    });
    assert_eq!(sandbox.names(), ["c"]);
    sandbox.ok(["tag", "bb", "other"]);
    sandbox.ok(["create", "--name=d", "--net=none", "-v", "/data", "other", "true"]);
    assert_eq!(sandbox.ok(["container", "cleanup", "--rm", "c"]), "c");
    assert_eq!(sandbox.ok(["container", "cleanup", "--rmi", "d"]), "d");
    assert_eq!(sandbox.names(), Vec::<String>::new());
    assert_eq!(sandbox.ketch(["image", "exists", "localhost/other"]).code, 1);
    assert_eq!(sandbox.ok(["volume", "ls", "-q"]), "", "its anonymous volume went along");
}

#[test]
fn clones_are_like_their_originals() {
    let sandbox = Sandbox::new();
    sandbox.command(["secret", "create", "s", "-"]).stdin("hidden").run().ok();
    let script =
        "echo $A; cat /run/secrets/s; hostname; cat /named/f; ls /anonymous | wc -l; stat -f -c %T /memory";
    let args = [
        "create",
        "--name=c",
        "--net=none",
        "-e",
        "A=b",
        "--secret=s",
        "-v",
        "named:/named",
        "-v",
        "/anonymous",
        "--mount=type=volume,dst=/memory,volume-opt=type=tmpfs,volume-opt=device=tmpfs,volume-opt=o=size=1m",
    ];
    let original = sandbox.ok(args.iter().chain(&["--label=x=y", "bb", "sh", "-c", script]));
    sandbox.sh(&["-v", "named:/named"], "echo shared > /named/f").ok();
    let clone = sandbox.ok(["container", "clone", "c"]);
    assert_ne!(clone, original);
    assert_eq!(sandbox.inspect(&clone, ".Name"), "c-clone");
    assert_eq!(sandbox.inspect(&clone, ".Config.Labels.x"), "y");
    let said = sandbox.ok(["start", "--attach", &clone]);
    assert_eq!(said, format!("b\nhidden{}\nshared\n0\ntmpfs", &clone[..12]));
    let anonymous = |id: &str| sandbox.inspect(id, "range .Mounts}}{{.Name}} {{end").replace("named", "");
    assert_ne!(anonymous(&clone), anonymous(&original), "an anonymous volume of its own");

    sandbox.ok(["container", "clone", "c"]);
    sandbox.ok(["container", "clone", "--name=unused", "c", "given"]);
    let names = sandbox.names();
    assert!(names.contains(&"c-clone1".into()) && names.contains(&"given".into()), "{names:?}");
    assert!(sandbox.ketch(["container", "clone", "c", "given"]).fails(125).contains("in use"));
    let limited = sandbox.ok(["container", "clone", "--memory=64m", "--cpus=0.5", "c", "limited"]);
    let shown =
        sandbox.inspect(&limited, ".HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.CpuQuota");
    assert_eq!(shown, "67108864 134217728 50000");

    sandbox.ok(["tag", "bb", "other"]);
    let other = sandbox.ok(["container", "clone", "c", "renewed", "other"]);
    assert_eq!(sandbox.inspect(&other, ".ImageName"), "localhost/other:latest");
    assert!(sandbox.ketch(["container", "clone", "-f", "c"]).fails(125).contains("without --destroy"));

    sandbox.start("runs", &[], "exec sleep 1000");
    let refused = sandbox.ketch(["container", "clone", "--destroy", "runs"]);
    assert!(refused.fails(125).contains("cannot remove container"), "{}", refused.stderr);
    let run = sandbox.ok(["container", "clone", "--destroy", "--force", "--run", "runs"]);
    assert_eq!(sandbox.inspect(&run, ".State.Status"), "running");
    assert_eq!(sandbox.ketch(["container", "exists", "runs"]).code, 1);
}

#[test]
fn labels_are_run() {
    let sandbox = Sandbox::new();
    let file = sandbox.write(
        "Containerfile",
        "FROM bb\nLABEL RUN=\"/usr/bin/podman run --rm --net=none --name NAME IMAGE echo from\" \
         DIR=\"podman run --rm --net=none -v ${PWD}:/here IMAGE ls /here/Containerfile\" BAD=\"no-such-program x\"\n",
    );
    let file = file.display().to_string();
    sandbox.ok(["build", "-q", "-t", "web", "-f", &file, "."]);
    let display = sandbox.ok(["container", "runlabel", "--display", "--name=w", "RUN", "web", "more"]);
    assert_eq!(display, "command: ketch run --rm --net=none --name w localhost/web:latest echo from more");
    let ran = sandbox.ok(["container", "runlabel", "RUN", "web", "here"]);
    assert_eq!(
        ran,
        "command: ketch run --rm --net=none --name web localhost/web:latest echo from here\nfrom here"
    );
    sandbox.ok(["create", "--name=web", "bb"]);
    assert_eq!(sandbox.ok(["container", "runlabel", "--quiet", "--replace", "RUN", "web"]), "from");
    assert_eq!(sandbox.names(), Vec::<String>::new());
    let missing = sandbox.ketch(["container", "runlabel", "NOPE", "web"]);
    assert!(missing.fails(125).contains("cannot find the value of label: NOPE in image: web"));
    let bad = sandbox.ketch(["container", "runlabel", "-q", "BAD", "web"]);
    assert!(bad.fails(125).contains("`no-such-program x` failed"), "{}", bad.stderr);
}

#[test]
fn specifications_are_printed() {
    let sandbox = Sandbox::new();
    let args = [
        "create",
        "--name=c",
        "--net=none",
        "-e",
        "A=b",
        "-v",
        "vol:/data:ro",
        "--tmpfs=/t:size=1m",
        "--memory=100m",
        "--cap-add=NET_ADMIN",
        "--label=x=y",
        "--restart=on-failure:3",
        "--userns=keep-id",
        "--entrypoint=[\"sh\",\"-c\"]",
        "--ulimit=nofile=10:20",
        "--health-cmd=true",
        "--init",
        "bb",
        "true",
    ];
    sandbox.ok(args);
    let spec = json(&sandbox.ok(["generate", "spec", "c"]));
    assert_eq!(spec["name"], "c-clone");
    assert_eq!(spec["entrypoint"], serde_json::json!(["sh", "-c"]));
    assert_eq!(spec["command"], serde_json::json!(["true"]));
    assert_eq!(spec["env"]["A"], "b");
    assert_eq!(spec["labels"]["x"], "y");
    assert_eq!((&spec["restart_policy"], &spec["restart_tries"]), (&"on-failure".into(), &3.into()));
    assert_eq!(spec["netns"]["nsmode"], "none");
    assert_eq!(spec["userns"]["nsmode"], "keep-id");
    assert_eq!(spec["resource_limits"]["memory"]["limit"], 104_857_600);
    assert_eq!(spec["volumes"][0]["Dest"], "/data");
    assert_eq!(spec["volumes"][0]["Options"][0], "ro");
    assert_eq!(spec["mounts"][0]["options"][0], "size=1m");
    assert_eq!(spec["r_limits"][0], serde_json::json!({"type": "nofile", "hard": 20, "soft": 10}));
    assert_eq!(spec["healthconfig"]["Test"], serde_json::json!(["CMD-SHELL", "true"]));
    assert_eq!(spec["cap_add"][0], "NET_ADMIN");
    assert!(spec.get("dns_server").is_none(), "what is empty is left out");
    let one_line = sandbox.ok(["generate", "spec", "--compact", "--name=false", "c"]);
    assert_eq!((one_line.lines().count(), &json(&one_line)["name"]), (1, &"c".into()));
    assert_eq!(sandbox.ok(["generate", "spec", "-f", "spec.json", "c"]), "spec.json");
    assert_eq!(json(&sandbox.read("spec.json")), spec);
}

#[test]
fn the_command_gets_the_descriptors_it_is_to_have() {
    let sandbox = Sandbox::new();
    sandbox.write("three", "third\n");
    sandbox.write("nine", "ninth\n");
    let open = |command: &str| {
        sandbox.program("sh", ["-c", &format!("exec 3< three 4< /dev/null 9< nine; exec {command}")])
    };
    let run = "ketch run --rm --net=none";
    for (command, want) in [
        (
            format!("{run} --preserve-fds=2 bb sh -c 'cat <&3; ls /proc/self/fd | grep -c 9'"),
            (1, "third\n0\n"),
        ),
        (format!("{run} --preserve-fd=9 bb sh -c 'cat <&9; cat <&3'"), (1, "ninth\n")),
        (format!("{run} --preserve-fd=3,9 --init bb sh -c 'cat <&9; cat <&3'"), (0, "ninth\nthird\n")),
        (format!("{run} bb sh -c 'cat <&3'"), (1, "")),
        (
            format!(
                "{run} --preserve-fds=2 --ulimit=nofile=4 bb sh -c 'test -e /proc/self/fd/4 && ulimit -n'"
            ),
            (0, "4\n"),
        ),
    ] {
        let output = open(&command).run();
        // The shell ends with 1 or 2 where there is no such descriptor.
        assert_eq!((output.code.min(1), output.stdout.as_str()), want, "{command}: {}", output.stderr);
    }
    let both = sandbox.ketch(["run", "--preserve-fds=1", "--preserve-fd=3", "bb", "true"]);
    assert!(
        both.fails(125).contains("cannot specify both --preserve-fds and --preserve-fd"),
        "{}",
        both.stderr
    );
    let missing = sandbox.ketch(["run", "--rm", "--net=none", "--preserve-fds=1", "bb", "true"]);
    assert!(missing.fails(125).contains("file descriptor 3 is not available"), "{}", missing.stderr);
    assert!(sandbox.ketch(["run", "--preserve-fd=1", "bb", "true"]).fails(125).contains("standard stream"));

    sandbox.ok(["run", "-d", "--name=c", "--net=none", "--cidfile=id", "bb", "sleep", "1000"]);
    let exec = open("ketch exec --preserve-fd=9 --preserve-fd=3 c sh -c 'cat <&9; cat <&3'").run();
    assert_eq!(exec.ok(), "ninth\nthird");
    assert_eq!(sandbox.ok(["exec", "--cidfile=id", "echo", "by file"]), "by file");
    assert!(sandbox.ketch(["exec", "--cidfile=none", "true"]).fails(125).contains("none"));
}

#[test]
fn created_with_streams_shows_them() {
    let sandbox = Sandbox::new();
    sandbox.ok(["create", "--name=c", "-a", "stdout", "-a", "STDERR", "--net=none", "bb", "true"]);
    let shown = sandbox.inspect("c", ".Config.AttachStdin}} {{.Config.AttachStdout}} {{.Config.AttachStderr");
    assert_eq!(shown, "false true true");
    assert!(sandbox.ketch(["create", "-a", "bogus", "bb"]).fails(125).contains("invalid stream"));
}

/// Only that it runs already is no failure of `start`.
#[test]
fn start_tells_what_is_in_the_way() {
    let sandbox = Sandbox::new();
    sandbox.ok(["create", "--name=first", "--net=none", "bb", "sleep", "1000"]);
    sandbox.ok(["create", "--name=second", "--net=container:first", "bb", "sleep", "1000"]);
    sandbox.ok(["start", "first"]);
    assert_eq!(sandbox.ok(["start", "first"]), "first", "it runs already");
    sandbox.ok(["create", "--name=third", "--net=none", "--pid=container:second", "bb", "sleep", "1000"]);
    sandbox.ok(["start", "second"]);
    sandbox.ok(["stop", "--time=0", "second"]);
    sandbox.ok(["rm", "-f", "--time=0", "third"]);
    sandbox.ok(["create", "--name=shares", "--net=none", "--pid=container:second", "bb", "sleep", "1000"]);
    let refused = sandbox.ketch(["start", "shares"]);
    assert!(refused.fails(125).contains("not running"), "{}", refused.stderr);
    assert_eq!(refused.stdout, "");
}

#[test]
fn commit_pauses_if_asked() {
    let sandbox = Sandbox::new();
    sandbox.start("c", &[], "touch /made; sleep 1000");
    let said = |sandbox: &Sandbox| {
        sandbox.ok(["events", "--stream=false", "--since=1h", "--filter=container=c", "--format={{.Status}}"])
    };
    let id = sandbox.ok(["commit", "-q", "--pause", "c", "paused"]);
    assert_eq!(sandbox.inspect("c", ".State.Status"), "running");
    let events = said(&sandbox);
    let lines: Vec<&str> = events.lines().collect();
    assert!(lines.contains(&"pause") && lines.contains(&"unpause"), "{events}");
    assert_eq!(sandbox.ok(["image", "inspect", "--format={{.Id}}", "paused"]), id);
    // One that is paused stays so.
    sandbox.ok(["pause", "c"]);
    sandbox.ok(["commit", "-q", "--pause", "c"]);
    assert_eq!(sandbox.inspect("c", ".State.Status"), "paused");
    sandbox.ok(["unpause", "c"]);
}

/// The image that --rmi would remove may be gone by then.
#[test]
fn rmi_of_an_image_that_has_lost_its_name() {
    let sandbox = Sandbox::new();
    sandbox.ok(["tag", "bb", "once"]);
    let script = "until test -e /go; do sleep 0.05; done; exit 3";
    let run = sandbox.command(["run", "--rmi", "--name=r", "--net=none", "once", "sh", "-c", script]).spawn();
    wait_for("the container", || {
        let made = sandbox.ketch(["exec", "r", "true"]);
        if made.code == 0 { Ok(()) } else { Err(made.stderr) }
    });
    sandbox.ok(["untag", "once"]);
    sandbox.ok(["exec", "r", "touch", "/go"]);
    let output = run.wait();
    assert_eq!(output.code, 3, "{}", output.stderr);
}

/// Without somebody at the other end of its terminal it would be sent SIGHUP.
#[test]
fn a_detached_command_with_a_terminal_lives_on() {
    let sandbox = Sandbox::new();
    sandbox.start("c", &[], "exec sleep 1000");
    sandbox.ok([
        "exec",
        "-d",
        "-t",
        "c",
        "sh",
        "-c",
        "tty > /tty; usleep 300000; echo much; echo yes > /ended",
    ]);
    wait_for("its end", || match sandbox.ketch(["exec", "c", "cat", "/ended"]) {
        output if output.stdout == "yes\n" => Ok(()),
        output => Err(output.stderr),
    });
    assert!(sandbox.ok(["exec", "c", "cat", "/tty"]).starts_with("/dev/pts/"));
}
