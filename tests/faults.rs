//! Faults and threats that concern a container: clients that are killed or stopped, records of another boot, stores that
//! cannot be written, images that lie in wait.

mod common;

use std::os::unix::fs::symlink;

use common::{Sandbox, bb, wait_for};
use rustix::process::Signal;

/// REL-11
#[test]
fn rel_11_the_command_of_a_killed_exec_is_killed() {
    let sandbox = Sandbox::new();
    sandbox.start("c", &[], "exec sleep 1000");
    let client = sandbox.command(["exec", "c", "sleep", "4321"]).spawn();
    sandbox.wait_until(&["top", "c", "args"], "sleep 4321");
    client.signal(Signal::KILL);
    client.wait();
    wait_for("the end of the command", || {
        let processes = sandbox.ok(["top", "c", "args"]);
        if processes.contains("4321") { Err(processes) } else { Ok(()) }
    });
    assert_eq!(sandbox.inspect("c", ".State.Status"), "running");
}

/// REL-12
#[test]
fn rel_12_a_stop_that_is_held_still_hinders_nobody() {
    let sandbox = Sandbox::new();
    sandbox.start("c", &[], "trap '' TERM; echo ready; while :; do sleep 0.1; done");
    sandbox.wait_until(&["logs", "c"], "ready");
    let stop = sandbox.command(["stop", "--time=1000", "c"]).spawn();
    wait_for("the stop to begin", || {
        let id = sandbox.inspect("c", ".Id");
        let mark = sandbox.store().join("containers").join(id).join("stop-requested");
        if mark.exists() { Ok(()) } else { Err("no mark".to_owned()) }
    });
    stop.signal(Signal::STOP);
    sandbox.ok(["run", "--rm", "--net=none", "bb", "true"]);
    assert_eq!(sandbox.ok(["rm", "--force", "--time=0", "c"]), "c");
    stop.signal(Signal::CONT);
    let ended = stop.wait();
    assert!([0, 125].contains(&ended.code), "{}: {}", ended.code, ended.stderr);
}

/// REL-22
#[test]
fn rel_22_a_read_only_store_can_be_looked_at() {
    let sandbox = Sandbox::new();
    sandbox.ok(["run", "--name=c", "--net=none", "bb", "echo", "said"]);
    let script =
        "mount --bind $KETCH_ROOT $KETCH_ROOT; mount -o remount,bind,ro $KETCH_ROOT; ! touch $KETCH_ROOT/x
        ketch ps -a --format='{{.Names}}'; ketch images --format='{{.Repository}}'; ketch logs c
        ketch inspect --format='{{.State.ExitCode}}' c; ketch volume ls -q";
    let output = sandbox.ketch(["unshare", "sh", "-c", script]);
    assert_eq!(output.ok(), "c\nlocalhost/bb\nsaid\n0", "{}", output.stderr);
    let script = "mount --bind $KETCH_ROOT $KETCH_ROOT; mount -o remount,bind,ro $KETCH_ROOT; ketch rm c";
    let refused = sandbox.ketch(["unshare", "sh", "-c", script]);
    assert!(refused.code != 0 && refused.stderr.to_lowercase().contains("read-only"), "{}", refused.stderr);
}

/// REL-34, REL-35
#[test]
fn rel_34_a_record_of_another_boot_means_no_process_of_this_one() {
    let sandbox = Sandbox::new();
    let bystander = sandbox.program("sleep", ["10000"]).spawn();
    for (name, boot) in [("rebooted", Some("00000000-0000-0000-0000-000000000000")), ("reused", None)] {
        sandbox.ok(["run", "--name", name, "--net=none", "bb", "true"]);
        let id = sandbox.inspect(name, ".Id");
        let path = format!("store/containers/{id}/record.json");
        let mut record: serde_json::Value = serde_json::from_str(&sandbox.read(&path)).expect("JSON");
        record["ended"] = serde_json::Value::Null;
        record["pid"] = bystander.pid().into();
        if let Some(boot) = boot {
            record["boot_id"] = boot.into();
        }
        sandbox.write(&path, record.to_string());

        assert_eq!(sandbox.inspect(name, ".State.Status"), "exited", "{name}");
        let status = sandbox.ok(["ps", "-a", "--filter", &format!("name={name}"), "--format={{.Status}}"]);
        assert_eq!(status, "Exited (-1)", "no time is made up");
        assert!(sandbox.ketch(["kill", name]).fails(125).contains("can only kill running containers"));
        sandbox.ok(["stop", name]);
        assert_eq!(sandbox.ok(["start", "--attach", name]), "", "it starts again");
        assert_eq!(sandbox.inspect(name, ".State.ExitCode"), "0");
        sandbox.ok(["rm", "--force", name]);
    }
    let alive = std::fs::read_to_string(format!("/proc/{}/stat", bystander.pid())).expect("it lives");
    assert!(!alive.contains(") Z "), "{alive}");
    bystander.signal(Signal::KILL);
    bystander.wait();
}

/// SEC-12
#[test]
fn sec_12_programs_of_an_image_are_not_used_by_ketch() {
    let sandbox = Sandbox::new();
    let programs = "ps tar cp gzip nsenter newuidmap newgidmap mount sh2 ls";
    let script = format!(
        "mkdir -p /usr/bin /usr/local/bin; printf '#!/bin/busybox sh\\ntouch /pwn /d/pwn\\n' > /evil; chmod 755 /evil
         for p in {programs}; do for d in /usr/bin /usr/local/bin; do busybox cp /evil $d/$p; done; done
         echo ready; exec busybox sleep 1000"
    );
    std::fs::create_dir(sandbox.path("d")).expect("make a directory");
    let bind = format!("{}:/d", sandbox.path("d").display());
    sandbox.start("c", &["-v", &bind, "-e", "PATH=/usr/local/bin:/usr/bin:/bin"], &script);
    sandbox.wait_until(&["logs", "c"], "ready");
    let archive = sandbox.path("out.tar").display().to_string();
    let file = sandbox.write("file", "x").display().to_string();
    for args in [
        &["top", "c"][..],
        &["top", "c", "pid", "args"],
        &["diff", "c"],
        &["stats", "--no-stream", "c"],
        &["export", "-o", &archive, "c"],
        &["cp", &file, "c:/copied"],
        &["cp", "c:/evil", &archive],
        &["commit", "c", "evil"],
    ] {
        sandbox.ok(args);
    }
    for pwned in ["/pwn", "/d/pwn"] {
        assert_eq!(sandbox.ketch(["exec", "c", "busybox", "test", "-e", pwned]).code, 1, "{pwned}");
    }
    assert_eq!(std::fs::read_dir(sandbox.path("d")).expect("list").count(), 0);
}

/// Puts something at a path.
type Make<'a> = &'a dyn Fn(&std::path::Path);

/// SEC-17
#[test]
fn sec_17_files_of_users_that_are_none_are_not_read() {
    let sandbox = Sandbox::new();
    let root = sandbox.path("root");
    std::fs::create_dir(&root).expect("make a directory");
    bb::extract_to(&root);
    let etc = root.join("etc");
    std::fs::create_dir_all(&etc).expect("make a directory");
    let host = sandbox.write("passwd-of-the-host", "somebody:x:0:0::/:/bin/sh\n");
    let make: [(&str, Make<'_>); 4] = [
        ("a fifo", &|path| {
            let kind = rustix::fs::FileType::Fifo;
            rustix::fs::mknodat(rustix::fs::CWD, path, kind, 0o644.into(), 0).expect("make a fifo");
        }),
        ("a directory", &|path| std::fs::create_dir(path).expect("make a directory")),
        ("a giant", &|path| {
            std::fs::File::create(path).and_then(|file| file.set_len(2 << 30)).expect("make a sparse file");
        }),
        ("a link out", &|path| symlink(&host, path).expect("make a link")),
    ];
    for (what, make) in make {
        for name in ["passwd", "group"] {
            let path = etc.join(name);
            std::fs::remove_dir(&path).or_else(|_| std::fs::remove_file(&path)).ok();
            make(&path);
        }
        let root = root.display().to_string();
        let args =
            ["run", "--rm", "--net=none", "--user=somebody", "--rootfs", &root, "/bin/busybox", "true"];
        let output = sandbox.ketch(args);
        assert_eq!(output.code, 126, "{what}: {}", output.stderr);
        assert!(output.stderr.contains("somebody"), "{what}: {}", output.stderr);
    }
}

/// SEC-39. A bind mount is what it is on the host (podman, docker), and no device can be made there either.
#[test]
fn sec_39_devices_are_bound_and_never_made() {
    let sandbox = Sandbox::new();
    let dir = sandbox.path("d").display().to_string();
    std::fs::create_dir(&dir).expect("make a directory");
    let bind = format!("{dir}:/d");
    let script =
        "for where in /tmp /d /v /t /dev/shm; do mknod $where/n c 1 3 2>/dev/null && echo made $where; done
        while read -r _ where kind options _; do case $where,$kind in
            /dev/pts,*|/dev,*|/dev/*,devtmpfs|/proc/*|/sys/*) ;;
            /dev/shm,*|/v,*|/t,*|/,*) case ,$options, in *,nodev,*) ;; *) echo $where: $options ;; esac ;;
        esac; done < /proc/mounts; echo x > /dev/foo && echo written";
    let options = ["-v", &bind, "-v", "v:/v", "--tmpfs=/t", "--device=/dev/null:/dev/foo", "--cap-add=ALL"];
    assert_eq!(sandbox.sh(&options, script).ok(), "written");
}

/// SEC-40
#[test]
fn sec_40_nonsense_is_refused_without_a_crash() {
    let sandbox = Sandbox::new();
    for args in [
        &["run", "--rm", "--rootfs", "no/such/root", "true"][..],
        &["run", "--rm", "--rootfs", "/", ""],
        &["run", "--rm", "--net=none", "bb", ""],
        &["run", "--rm", "--net=none", "--ulimit=nofile=99999999999999999999", "bb", "true"],
        &["run", "--rm", "--net=none", "--ulimit=nofile=4294967296:2", "bb", "true"],
        &["run", "--rm", "--net=none", "--uidmap=0:0:10", "--uidmap=5:100:10", "bb", "true"],
        &["run", "--rm", "--net=none", "--uidmap=0:0:4294967296", "bb", "true"],
        &["run", "--rm", "--net=none", "--shm-size=-1", "bb", "true"],
        &["run", "--rm", "--net=none", "--entrypoint=[]", "--workdir=../..", "bb"],
    ] {
        let output = sandbox.ketch(args);
        assert!([125, 126, 127].contains(&output.code), "{args:?}: {}: {}", output.code, output.stderr);
        assert!(output.stderr.contains("Error: "), "{args:?}: {}", output.stderr);
        assert!(!output.stderr.contains("panicked"), "{args:?}: {}", output.stderr);
    }
    assert_eq!(sandbox.names(), Vec::<String>::new());
}

/// A start that fails at its last step leaves no process behind that nobody knows of.
#[test]
fn a_start_that_cannot_be_noted_ends_its_command() {
    let sandbox = Sandbox::new();
    let mark = sandbox.path("alive").display().to_string();
    std::fs::create_dir(sandbox.path("d")).expect("make a directory");
    for flag in ["--pidfile", "--conmon-pidfile"] {
        let bind = format!("{}:/d", sandbox.path("d").display());
        let script = "while :; do touch /d/alive; usleep 20000; done";
        let missing = format!("{flag}=/nonexistent/pid");
        let run = sandbox.ketch([
            "run",
            "-d",
            "--name=c",
            "--net=none",
            "-v",
            &bind,
            &missing,
            "bb",
            "sh",
            "-c",
            script,
        ]);
        assert!(run.fails(125).contains("/nonexistent/pid"), "{flag}: {} {mark}", run.stderr);
        assert_eq!(sandbox.ok(["ps", "--quiet"]), "");
        // It has ended when the failure is told: nothing makes the file again.
        std::fs::remove_file(sandbox.path("d/alive")).ok();
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert!(!sandbox.path("d/alive").exists(), "{flag}: the command lives on");
        sandbox.ok(["rm", "--force", "c"]);
    }
}

/// Whose number another process has now is not joined.
#[test]
fn namespaces_of_a_process_that_has_only_the_number_are_not_joined() {
    let sandbox = Sandbox::new();
    sandbox.start("other", &[], "exec sleep 1000");
    sandbox.ok(["run", "--name=a", "--net=none", "bb", "true"]);
    sandbox.ok(["create", "--name=b", "--net=container:a", "bb", "true"]);
    let id = sandbox.inspect("a", ".Id");
    let path = format!("store/containers/{id}/record.json");
    let mut record: serde_json::Value = serde_json::from_str(&sandbox.read(&path)).expect("JSON");
    record["ended"] = serde_json::Value::Null;
    for (key, field) in [("pid", ".State.Pid"), ("monitor_pid", ".State.ConmonPid")] {
        record[key] = sandbox.inspect("other", field).parse::<u64>().expect("a number").into();
    }
    sandbox.write(&path, record.to_string());
    let start = sandbox.ketch(["start", "--attach", "b"]);
    // As podman: what it needs is started first, or the start is refused. It never runs in the other one.
    let joined = sandbox.inspect("b", ".State.Status");
    assert!(start.code == 0 || start.stderr.contains("is not running"), "{} {joined}", start.stderr);
    if start.code == 0 {
        assert_ne!(sandbox.inspect("a", ".State.Pid"), sandbox.inspect("other", ".State.Pid"));
    }
}

/// A monitor that is held up (here by SIGSTOP, else by a file server that is gone) keeps nobody from ending its container.
#[test]
fn a_monitor_that_does_not_answer_is_passed_by() {
    let sandbox = Sandbox::new();
    sandbox.start("c", &[], "exec sleep 1000");
    let [monitor, first] = ["ConmonPid", "Pid"]
        .map(|key| sandbox.inspect("c", &format!(".State.{key}")).parse::<i32>().expect("a number"));
    let pid = rustix::process::Pid::from_raw(monitor).expect("a process");
    rustix::process::kill_process(pid, Signal::STOP).expect("stop the monitor");
    let kill = sandbox.ketch(["kill", "c"]);
    assert!(kill.fails(125).contains("does not answer"), "{}", kill.stderr);
    assert!(!common::process::lives(first), "process 1 has ended");
    rustix::process::kill_process(pid, Signal::CONT).expect("let the monitor go on");
    assert_eq!(sandbox.ok(["wait", "c"]), "137");
}

/// /etc/hosts of a container is written by its own processes, and read for those that share its network.
#[test]
fn an_endless_hosts_file_of_a_container_is_not_read() {
    let sandbox = Sandbox::new();
    sandbox.start(
        "c",
        &[],
        "dd if=/dev/zero of=/etc/hosts bs=1M count=64 2>/dev/null; echo done; exec sleep 1000",
    );
    sandbox.wait_until(&["logs", "c"], "done");
    let run = sandbox.sh(&["--net=container:c"], "wc -c < /etc/hosts");
    assert_eq!(run.code, 0, "{}", run.stderr);
    let length: u64 = run.stdout.trim().parse().expect("a number");
    assert!(length < 1 << 20, "{length}");
}

/// SIGHUP tells a monitor nothing, also of a container that is only initialized.
#[test]
fn an_initialized_container_outlives_sighup() {
    let sandbox = Sandbox::new();
    sandbox.ok(["create", "--name=c", "--net=none", "bb", "echo", "ran"]);
    sandbox.ok(["init", "c"]);
    let monitor: i32 = sandbox.inspect("c", ".State.ConmonPid").parse().expect("a number");
    let pid = rustix::process::Pid::from_raw(monitor).expect("a process");
    rustix::process::kill_process(pid, Signal::HUP).expect("hang up");
    assert_eq!(sandbox.ok(["start", "--attach", "c"]), "ran");
}
