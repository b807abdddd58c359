//! `cp` and `export`: what lands where, whose it is, and that nothing gets out of the container's root.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use common::Sandbox;

/// A file and a directory with something in it, on the host.
fn host_files(sandbox: &Sandbox) {
    sandbox.write("f", "file");
    sandbox.write("d/in", "inner");
    sandbox.write_program("d/sub/prog", "#!/bin/sh");
    symlink("in", sandbox.path("d/link")).expect("make a link");
}

/// What find(1) shows below `dir` of the container.
fn tree(sandbox: &Sandbox, name: &str, dir: &str) -> String {
    let listed = sandbox.ok(["exec", name, "find", dir]);
    let mut lines: Vec<_> = listed.lines().collect();
    lines.sort_unstable();
    lines.join(" ")
}

#[test]
fn what_lands_where_in_a_container() {
    let sandbox = Sandbox::new();
    host_files(&sandbox);
    sandbox.start("c", &[], "mkdir /t /e; ln -s /t /to-t; exec sleep 1000");
    sandbox.wait_until(&["exec", "c", "ls", "-d", "/to-t"], "/to-t");
    for (source, target, lands) in [
        ("f", "c:/t/new", "/t /t/new"),
        ("f", "c:/t", "/t /t/f"),
        ("f", "c:/t/", "/t /t/f"),
        ("f", "c:to-t", "/t /t/f"),
        ("d", "c:/t", "/t /t/d /t/d/in /t/d/link /t/d/sub /t/d/sub/prog"),
        ("d/", "c:/t", "/t /t/d /t/d/in /t/d/link /t/d/sub /t/d/sub/prog"),
        ("d/.", "c:/t", "/t /t/in /t/link /t/sub /t/sub/prog"),
        ("d", "c:/t/new", "/t /t/new /t/new/in /t/new/link /t/new/sub /t/new/sub/prog"),
        ("d/.", "c:/t/new", "/t /t/new /t/new/in /t/new/link /t/new/sub /t/new/sub/prog"),
        ("d/link", "c:/t", "/t /t/link"),
    ] {
        assert_eq!(sandbox.ketch(["cp", source, target]).ok(), "", "{source} {target}");
        assert_eq!(tree(&sandbox, "c", "/t"), lands, "{source} {target}");
        sandbox.ok(["exec", "c", "sh", "-c", "rm -rf /t/*"]);
    }
    sandbox.ok(["cp", "d/.", "c:/t"]);
    let shown =
        sandbox.ok(["exec", "c", "sh", "-c", "cat /t/in; readlink /t/link; stat -c %a:%u /t/sub/prog"]);
    assert_eq!(shown, "innerin\n755:0");
    sandbox.ok(["cp", "f", "c:/t/in"]);
    assert_eq!(sandbox.ok(["exec", "c", "cat", "/t/in"]), "file", "an existing file is replaced");
    for (source, target, why) in [
        ("f", "c:/nosuch/x", "\"/nosuch/x\" could not be found on container c: no such file or directory"),
        ("f", "c:/nosuch/", "\"/nosuch/\" could not be found on container c: no such file or directory"),
        ("d", "c:/t/in", "destination must be a directory when copying a directory"),
        ("nosuch", "c:/t", "\"nosuch\" could not be found on the host: no such file or directory"),
        ("c:/nosuch", "x", "\"/nosuch\" could not be found on container c: no such file or directory"),
        ("c:/t/in", "nosuch/x", "\"nosuch/x\" could not be found on the host: no such file or directory"),
        ("-", "c:/t/in", "destination must be a directory when copying from stdin"),
        ("f", "nosuch:/t", "nosuch"),
        ("f", "x", "CONTAINER:PATH"),
    ] {
        let refused = sandbox.ketch(["cp", source, target]);
        assert!(
            refused.fails(125).to_lowercase().contains(&why.to_lowercase()),
            "{source}: {}",
            refused.stderr
        );
    }
}

#[test]
fn files_come_back_out_of_running_and_stopped_containers() {
    let sandbox = Sandbox::new();
    let script = "mkdir -p /w/d; echo inner > /w/d/in; chmod 640 /w/d/in; echo v > /vol/v; ln -s /w/d/in /w/abs; exec sleep 1000";
    sandbox.start("c", &["-v", "data:/vol"], script);
    sandbox.wait_until(&["exec", "c", "ls", "/w"], "abs");
    for state in ["running", "stopped"] {
        let out = |name: &str| format!("{state}-{name}");
        sandbox.ok(["cp", "c:/w/d", &out("dir")]);
        assert_eq!(sandbox.read(out("dir/in")), "inner\n");
        let meta = fs::metadata(sandbox.path(out("dir/in"))).expect("it is there");
        assert_eq!(meta.permissions().mode() & 0o7777, 0o640);
        sandbox.ok(["cp", "c:/w/abs", &out("followed")]);
        assert_eq!(sandbox.read(out("followed")), "inner\n", "a link is followed inside the root");
        sandbox.ok(["cp", "c:/vol/v", &out("volume")]);
        assert_eq!(sandbox.read(out("volume")), "v\n");
        sandbox.write("into", state);
        sandbox.ok(["cp", "into", "c:/w/into"]);
        sandbox.ok(["cp", "c:/w/into", &out("back")]);
        assert_eq!(sandbox.read(out("back")), state);
        if state == "running" {
            sandbox.ok(["stop", "--time=0", "c"]);
        }
    }
    sandbox.ok(["start", "c"]);
    sandbox.wait_until(&["exec", "c", "cat", "/w/into"], "stopped");
    let created = sandbox.ok(["create", "--net=none", "bb", "cat", "/etc/greeting"]);
    sandbox.ok(["cp", "into", &format!("{created}:/etc/greeting")]);
    assert_eq!(sandbox.ok(["start", "-a", &created]), "stopped", "a container that never ran");
    sandbox.ok(["cp", "c:/w/d/in", &format!("{created}:/from-c")]);
    sandbox.ok(["cp", &format!("{created}:/from-c"), "between"]);
    assert_eq!(sandbox.read("between"), "inner\n");
    sandbox.ok(["cp", &format!("{created}:/from-c"), &format!("{created}:/tmp/within")]);
    sandbox.ok(["cp", &format!("{created}:/tmp/within"), "within"]);
    assert_eq!(sandbox.read("within"), "inner\n", "within one that does not run");
}

#[test]
fn archives_go_both_ways_and_files_belong_to_the_containers_user() {
    let sandbox = Sandbox::new();
    host_files(&sandbox);
    sandbox.start("c", &["--user=app"], "exec sleep 1000");
    let tar = sandbox.program("tar", ["-c", "-f", "d.tar", "d"]).run();
    tar.ok();
    let archive = fs::read(sandbox.path("d.tar")).expect("read the archive");
    sandbox.command(["cp", "-", "c:/home/app"]).stdin(archive.clone()).run().ok();
    sandbox.ok(["cp", "f", "c:/tmp/mine"]);
    sandbox.ok(["cp", "--archive=false", "f", "c:/tmp/roots"]);
    let owners = "stat -c %u:%g /home/app/d/in /tmp/mine /tmp/roots; stat -c %a /tmp";
    assert_eq!(sandbox.ok(["exec", "c", "sh", "-c", owners]), "1000:1000\n1000:1000\n0:0\n1777");
    let refused = sandbox.command(["cp", "-", "c:/home/app/d/in"]).stdin(archive).run();
    assert!(refused.fails(125).contains("must be a directory"), "{}", refused.stderr);

    let script = "\"$0\" cp c:/home/app/d - | tar -t -f - | sort";
    let listed = sandbox.program("sh", ["-c", script, &common::ketch_binary().display().to_string()]).run();
    assert_eq!(listed.ok(), "d/\nd/in\nd/link\nd/sub/\nd/sub/prog");
}

#[test]
fn export_writes_the_root_file_system_without_mounts() {
    let sandbox = Sandbox::new();
    let script = "echo new > /made; rm /etc/group; ln /made /twice; echo v > /vol/v; exec sleep 1000";
    sandbox.start("c", &["-v", "data:/vol"], script);
    sandbox.wait_until(&["exec", "c", "ls", "/vol"], "v");
    for output in ["running.tar", "stopped.tar"] {
        sandbox.ok(["export", "-o", output, "c"]);
        sandbox.ok(["stop", "--time=0", "c"]);
        let listed = sandbox.program("tar", ["-t", "-v", "--numeric-owner", "-f", output]).run();
        let listed = listed.ok();
        for there in [" made", " twice link to made", " bin/busybox", " home/app/mine", " proc/"] {
            assert!(listed.contains(there), "{output}: {there}: {listed}");
        }
        for gone in ["etc/group", "vol/v", "proc/1", "dev/null"] {
            assert!(!listed.contains(gone), "{output}: {gone}");
        }
        assert!(listed.lines().any(|line| line.contains("1000/1000") && line.ends_with("home/app/mine")));
    }
}

/// What the image has where a volume is mounted lies below it and is a part of the root file system.
#[test]
fn export_has_the_images_files_below_volumes() {
    let sandbox = Sandbox::new();
    let has_mine = |state: &str| {
        sandbox.ok(["export", "-o", "out.tar", "c"]);
        let listed = sandbox.program("tar", ["-t", "-f", "out.tar"]).run();
        assert_eq!(
            listed.ok().lines().filter(|line| *line == "home/app/mine").count(),
            1,
            "{state}: {}",
            listed.stdout
        );
        assert!(!listed.stdout.contains("home/app/new"), "{state}: {}", listed.stdout);
    };
    sandbox.ok(["create", "--name=c", "--net=none", "-v", "data:/home/app", "bb", "sleep", "1000"]);
    has_mine("never started");
    sandbox.ok(["start", "c"]);
    sandbox.ok(["exec", "c", "touch", "/home/app/new"]);
    has_mine("running");
    sandbox.ok(["stop", "--time=0", "c"]);
    has_mine("stopped");
}

#[test]
fn files_go_to_and_from_a_part_of_a_volume_of_a_container_that_never_ran() {
    let sandbox = Sandbox::new();
    sandbox.write("f", "seen\n");
    sandbox.ok(["volume", "create", "data"]);
    sandbox.ok([
        "run",
        "--rm",
        "--net=none",
        "-v",
        "data:/d",
        "bb",
        "sh",
        "-c",
        "mkdir /d/part; echo old > /d/part/old",
    ]);
    let mount = "--mount=type=volume,src=data,dst=/part,subpath=part";
    sandbox.ok(["create", "--name=c", "--net=none", mount, "bb", "cat", "/part/f"]);
    sandbox.ok(["cp", "c:/part/old", "out"]);
    assert_eq!(sandbox.read("out"), "old\n");
    sandbox.ok(["cp", "f", "c:/part/f"]);
    assert_eq!(sandbox.ok(["start", "-a", "c"]), "seen");
    assert_eq!(sandbox.ok(["run", "--rm", "--net=none", "-v", "data:/d", "bb", "cat", "/d/part/f"]), "seen");
}

#[test]
fn a_device_alone_is_no_file_to_copy() {
    let sandbox = Sandbox::new();
    sandbox.start("c", &[], "exec sleep 1000");
    let refused = sandbox.ketch(["cp", "c:/dev/null", "out"]);
    assert!(refused.fails(125).contains("a device cannot be copied"), "{}", refused.stderr);
    let refused = sandbox.ketch(["cp", "/dev/null", "c:/out"]);
    assert!(refused.fails(125).contains("a device cannot be copied"), "{}", refused.stderr);
    // Among others it is left out.
    sandbox.ok(["cp", "c:/dev", "dev"]);
    assert!(!sandbox.path("dev/null").exists());
}

/// SEC-13: a container that swaps a directory for a link to `/` gets and gives nothing of the host.
#[test]
fn swapped_links_do_not_escape() {
    let sandbox = Sandbox::new();
    let secret = sandbox.write("host/secret", "of the host");
    let dir = sandbox.path("host");
    let script = format!(
        "mkdir -p /a{0} /good; echo inside > /good/secret; \
         while :; do rm -rf /x; ln -s {0} /x; ln -sfn ../../../../../../../../../..{0} /y; rm /x; cp -r /good /x; done",
        dir.display()
    );
    sandbox.start("c", &[], &script);
    sandbox.wait_until(&["exec", "c", "ls", "/good"], "secret");
    sandbox.write("payload/planted", "planted");
    for round in 0..25 {
        sandbox.ketch(["cp", "c:/x/secret", "got"]);
        sandbox.ketch(["cp", "c:/y/secret", "got-y"]);
        sandbox.ketch(["cp", "c:/x", &format!("tree-{round}")]);
        sandbox.ketch(["cp", "payload/.", "c:/x"]);
        sandbox.ketch(["cp", "payload/.", "c:/y"]);
        for got in ["got", "got-y", &format!("tree-{round}/secret")] {
            let text = fs::read_to_string(sandbox.path(got)).unwrap_or_default();
            assert!(!text.contains("of the host"), "{got} in round {round}");
        }
        let entries = fs::read_dir(&dir).expect("read the directory").count();
        assert_eq!(entries, 1, "round {round}");
    }
    assert_eq!(fs::metadata(&secret).expect("it is there").size(), 11);
}

#[test]
fn volumes_are_exported_and_imported() {
    let sandbox = Sandbox::new();
    let fill = "echo text > /data/f; mkdir -m 700 /data/d; echo deep > /data/d/g; chown -R 1000:1000 /data/d; \
                chown 1000:50 /data; ln -s f /data/l";
    sandbox.sh(&["-v", "one:/data"], fill).ok();
    sandbox.ok(["volume", "export", "-o", "one.tar", "one"]);
    sandbox.ok(["volume", "create", "two"]);
    sandbox.ok(["volume", "import", "two", "one.tar"]);
    let show = "cat /data/l /data/d/g; stat -c %u:%g:%a /data /data/d /data/d/g";
    let want = "text\ndeep\n1000:50:755\n1000:1000:700\n1000:1000:644";
    assert_eq!(sandbox.sh(&["-v", "two:/data:nocopy"], show).ok(), want);

    let script = "\"$0\" volume export one | gzip | \"$0\" volume import three -";
    sandbox.ok(["volume", "create", "three"]);
    let ketch = common::ketch_binary().display().to_string();
    sandbox.program("sh", ["-c", script, &ketch]).run().ok();
    assert_eq!(sandbox.sh(&["-v", "three:/data:nocopy"], show).ok(), want);
    for args in [["volume", "export", "nope"], ["volume", "import", "nope"]] {
        assert!(sandbox.ketch(args).fails(125).contains("nope"));
    }
    let hostile =
        sandbox.program("sh", ["-c", "echo x > h; tar -c -P -f h.tar --transform=s,h,../../h, h"]).run();
    hostile.ok();
    let refused = sandbox.ketch(["volume", "import", "two", "h.tar"]);
    assert!(refused.fails(125).contains("leads out of it"), "{}", refused.stderr);
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    let sandbox = Sandbox::new();
    sandbox.ok(["create", "--net=none", "--name=c", "bb", "true"]);
    std::fs::create_dir(sandbox.path("closed")).expect("make a directory");
    sandbox.program("chmod", ["555", "closed"]).run().ok();
    let message = sandbox.ketch(["cp", "c:/etc/passwd", "closed/"]).fails(125).to_owned();
    sandbox.program("chmod", ["755", "closed"]).run().ok();
    assert_eq!(message, "Error: write passwd: Permission denied\n");
}

#[test]
fn volumes_of_a_container_that_never_ran_take_and_give_files() {
    let sandbox = Sandbox::new();
    sandbox.write("new", "x\n");
    std::fs::create_dir(sandbox.path("bound")).expect("make a directory");
    let bind = format!("{}:/bound/deep", sandbox.path("bound").display());
    let read = "cat /not/there/new /etc/new; ls /bound/deep";
    sandbox.ok([
        "create",
        "--net=none",
        "--name=c",
        "-v",
        "named:/not/there",
        "-v",
        "filled:/etc",
        "-v",
        &bind,
        "bb",
        "sh",
        "-c",
        read,
    ]);
    // What the image has there is the new volume's, as it would be after a start.
    sandbox.ok(["cp", "c:/etc/passwd", &sandbox.path("out").display().to_string()]);
    assert!(std::fs::read_to_string(sandbox.path("out")).expect("read").contains("root:"));
    for target in ["c:/not/there", "c:/etc/", "c:/bound/deep/"] {
        sandbox.ok(["cp", &sandbox.path("new").display().to_string(), target]);
    }
    assert!(sandbox.path("bound/new").exists());
    assert_eq!(sandbox.ok(["run", "--rm", "--net=none", "-v", "named:/d", "bb", "cat", "/d/new"]), "x");
    assert_eq!(sandbox.ok(["start", "-a", "c"]), "x\nx\nnew");
    let unnamed = sandbox.ketch(["cp", "c:", "out"]);
    assert!(unnamed.fails(125).contains("you must specify paths"), "{}", unnamed.stderr);
}

#[test]
fn a_container_between_two_lives_is_read_at_once() {
    let sandbox = Sandbox::new();
    sandbox.start("e", &["--restart=always"], "echo data > /f; exit 1");
    // The pause after this life is one of several seconds.
    sandbox.wait_until(&["inspect", "--format={{.RestartCount}} {{.State.Status}}", "e"], "6 exited");
    let out = sandbox.path("f").display().to_string();
    sandbox.ok(["cp", "e:/f", &out]);
    assert_eq!(sandbox.inspect("e", ".RestartCount"), "6", "it was not waited for the next life");
    assert_eq!(sandbox.read("f"), "data\n");
    assert_eq!(sandbox.ok(["diff", "e"]), "A /f");
    sandbox.ok(["commit", "-q", "e", "core"]);
    sandbox.ok(["export", "e", "-o", "/dev/null"]);
    assert_eq!(sandbox.ok(["run", "--rm", "--net=none", "core", "cat", "/f"]), "data");
    sandbox.wait_until(&["inspect", "--format={{.RestartCount}}", "e"], "7");
    sandbox.ok(["stop", "--time=0", "e"]);
}

#[test]
fn a_container_that_ends_at_that_moment_is_read_all_the_same() {
    let sandbox = Sandbox::new();
    for n in 0..24 {
        let name = format!("r{n}");
        sandbox.start(&name, &[], &format!("echo data > /f; sleep 0.0{}", n % 6));
        sandbox.ketch(["export", &name, "-o", "/dev/null"]).ok();
        sandbox.ketch(["commit", "-q", "--pause", &name]).ok();
        sandbox.wait_until(&["diff", &name], "A /f");
        sandbox.ketch(["cp", &format!("{name}:/f"), &sandbox.path("f").display().to_string()]).ok();
    }
}

#[test]
fn a_start_waits_for_a_copy_of_the_files() {
    let sandbox = Sandbox::new();
    sandbox.ok(["create", "--name=c", "--net=none", "bb", "sleep", "1000"]);
    sandbox.write("big", vec![1; 8 << 20]);
    sandbox.ok(["cp", &sandbox.path("big").display().to_string(), "c:/big"]);
    let copy = sandbox.program("sh", ["-c", "ketch cp c:/big - | (echo begun >&2; sleep 2; wc -c)"]).spawn();
    common::wait_for("the copy", || match copy.stderr_so_far().is_empty() {
        true => Err("nothing yet".to_owned()),
        false => Ok(()),
    });
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(sandbox.inspect("c", ".State.Status"), "created", "a copy is no start");
    sandbox.ok(["start", "c"]);
    assert_eq!(sandbox.inspect("c", ".State.Status"), "running");
    assert!(copy.wait().ok().trim().parse::<u64>().is_ok_and(|length| length > 8 << 20));
}
