//! `volume`: what scripts about volumes see and rely on.

mod common;

use common::{Sandbox, wait_for};

#[test]
fn a_new_volume_is_filled_and_owned_before_it_is_read_only() {
    let sandbox = Sandbox::new();
    for (options, script) in [
        (&["--volume=new:/etc:ro"][..], "grep -c ^root: /etc/passwd; touch /etc/x || echo refused"),
        (
            &["--mount=type=volume,src=new2,dst=/d,readonly", "--user=77"],
            "echo 1; touch /d/x || echo refused",
        ),
        (&["--mount=type=tmpfs,dst=/bin,ro"], "ls /bin/sh | wc -l; touch /bin/x || echo refused"),
        (&["--volume=new3:/d:ro,U", "--user=77"], "stat -c %u /d | grep -c 77; touch /d/x || echo refused"),
    ] {
        let run = sandbox.sh(options, script);
        assert_eq!((run.code, run.stdout.as_str()), (0, "1\nrefused\n"), "{options:?}: {}", run.stderr);
    }
    let empty = sandbox.sh(
        &["--volume=new4:/tmp:nocopy", "--volume=new5:/etc:nocopy"],
        "stat -c %a /tmp /etc; ls /etc | grep -c group",
    );
    assert_eq!(empty.stdout, "1777\n755\n0\n", "only what the directory is like: {}", empty.stderr);
    let owner = sandbox.sh(&["--volume=new3:/d"], "touch /d/x; stat -c %u /d");
    assert_eq!(owner.ok(), "77");
}

#[test]
fn volumes_are_made_listed_inspected_and_removed() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.ketch(["volume", "ls"]).ok(), "", "not even headings");
    assert_eq!(sandbox.ok(["volume", "create", "v1", "--label", "a=b", "-l", "c"]), "v1");
    let again = sandbox.ketch(["volume", "create", "v1"]);
    assert!(again.fails(125).contains("volume with name v1 already exists"), "{}", again.stderr);
    assert_eq!(sandbox.ok(["volume", "create", "--ignore", "v1"]), "v1");
    assert!(sandbox.ketch(["volume", "create", "/x"]).fails(125).contains("names must match"));
    assert!(sandbox.ketch(["volume", "create", "-d", "nope", "x"]).fails(125).contains("plugin"));

    assert_eq!(sandbox.ok(["volume", "ls"]), "DRIVER      VOLUME NAME\nlocal       v1");
    assert_eq!(sandbox.ok(["volume", "ls", "-n"]), "local       v1");
    let format = "--format={{.Name}} {{.Labels}} {{.Scope}}";
    assert_eq!(sandbox.ok(["volume", "ls", format]), "v1 map[a:b c:] local");
    let shown: serde_json::Value =
        serde_json::from_str(&sandbox.ok(["volume", "inspect", "v1"])).expect("JSON");
    assert_eq!(shown[0]["Labels"]["a"], "b");
    assert!(shown[0].get("Anonymous").is_none());
    let data = shown[0]["Mountpoint"].as_str().expect("a path");
    assert!(std::path::Path::new(data).is_dir(), "{data}");

    let missing = sandbox.ketch(["volume", "inspect", "nope"]);
    assert_eq!((missing.code, missing.stdout.as_str()), (125, "[]\n"));
    assert!(missing.stderr.contains("no such volume nope"), "{}", missing.stderr);
    assert_eq!(sandbox.ketch(["volume", "exists", "v1"]).code, 0);
    assert_eq!(sandbox.ketch(["volume", "exists", "nope"]).code, 1);
    assert!(sandbox.ketch(["volume", "rm", "nope"]).fails(1).contains("no such volume"));
    assert_eq!(sandbox.ketch(["volume", "rm", "-f", "nope"]).ok(), "");
    assert_eq!(sandbox.ok(["volume", "rm", "v1"]), "v1");
    assert_eq!(sandbox.ketch(["volume", "exists", "v1"]).code, 1);
    assert!(sandbox.ketch(["volume", "rm"]).fails(125).contains("choose either"));
}

#[test]
fn filters_choose_volumes() {
    let sandbox = Sandbox::new();
    for (name, label) in [("one", "k=1"), ("two", "k=2"), ("used", "k=1")] {
        sandbox.ok(["volume", "create", name, "--label", label]);
    }
    sandbox.ok(["create", "--net=none", "-v", "used:/data", "bb"]);
    let anonymous = sandbox.ok(["volume", "create"]);
    assert_eq!(anonymous.len(), 64);
    let list = |filters: &[&str]| {
        let mut args = vec!["volume", "ls", "-q"];
        filters.iter().for_each(|filter| args.extend(["--filter", filter]));
        let mut names: Vec<_> = sandbox.ok(args).lines().map(str::to_owned).collect();
        names.retain(|name| *name != anonymous);
        names.join(" ")
    };
    for (filters, want) in [
        (&["label=k=1"][..], "one used"),
        (&["label!=k=1"], "two"),
        (&["dangling=true"], "one two"),
        (&["dangling=false"], "used"),
        (&["name=^t"], "two"),
        (&["name=one", "name=two"], "one two"),
        (&["since=one", "label=k"], "two used"),
        (&["until=1h"], ""),
        (&["driver=local", "label=k=2"], "two"),
        (&["anonymous=false"], "one two used"),
    ] {
        assert_eq!(list(filters), want, "{filters:?}");
    }
    assert!(sandbox.ketch(["volume", "ls", "-f", "foo=1"]).fails(125).contains("invalid filter"));

    let prune = |filter: &str| sandbox.ok(["volume", "prune", "-f", "--filter", filter]);
    assert_eq!(prune("dangling=false"), "", "what is in use is never meant");
    assert_eq!(prune("all=false"), anonymous, "what has a name stays");
    assert_eq!(prune("since=one"), "two");
    assert_eq!(prune("after=used"), "");
    assert_eq!(list(&[]), "one used");
    assert!(sandbox.ketch(["volume", "prune", "-f", "--filter=all=maybe"]).code == 125);
}

#[test]
fn one_in_use_is_kept_and_its_users_are_named() {
    let sandbox = Sandbox::new();
    let id = sandbox.start("user", &["-v", "data:/data"], "echo kept > /data/f; exec sleep 1000");
    sandbox.wait_until(&["exec", "user", "cat", "/data/f"], "kept");
    let refused = sandbox.ketch(["volume", "rm", "data"]);
    assert!(refused.fails(2).contains(&id), "{}", refused.stderr);
    sandbox.ok(["volume", "create", "idle"]);
    assert_eq!(sandbox.ok(["volume", "prune", "--all", "--force"]), "idle");
    assert_eq!(
        sandbox.sh(&["-v", "data:/data"], "cat /data/f").ok(),
        "kept",
        "the data outlives a container"
    );

    assert_eq!(sandbox.ok(["volume", "rm", "--force", "--time=0", "data"]), "data");
    assert_eq!(sandbox.names(), Vec::<String>::new(), "its user went with it");
    assert_eq!(sandbox.ok(["volume", "ls", "-q"]), "");
}

#[test]
fn files_of_other_users_are_removed_too() {
    let sandbox = Sandbox::new();
    let script = "mkdir -m 700 /data/d; touch /data/d/f; chown -R 1000:1000 /data/d";
    sandbox.sh(&["-v", "data:/data"], script).ok();
    assert_eq!(sandbox.ok(["volume", "rm", "data"]), "data");
    assert!(!sandbox.store().join("volumes/data").exists());
    // The monitor of the container deletes its files after it has sent the exit code.
    wait_for("staging to be empty", || {
        match std::fs::read_dir(sandbox.store().join("staging")).expect("read staging").count() {
            0 => Ok(()),
            left => Err(left.to_string()),
        }
    });
}

#[test]
fn options_make_a_tmpfs_that_containers_share() {
    let sandbox = Sandbox::new();
    let options = ["-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m,uid=1000,noexec"];
    assert_eq!(sandbox.ok(["volume", "create"].iter().chain(&options).chain(&["vt"])), "vt");
    let shown: serde_json::Value =
        serde_json::from_str(&sandbox.ok(["volume", "inspect", "vt"])).expect("JSON");
    assert_eq!((&shown[0]["UID"], &shown[0]["Options"]["type"]), (&1000.into(), &"tmpfs".into()));
    let look =
        "df -k /x | tail -1 | awk '{print $2}'; stat -c '%u %a' /x; grep -c ' /x .*noexec' /proc/mounts";
    assert_eq!(sandbox.sh(&["-v", "vt:/x"], look).ok(), "1024\n1000 1777\n1");

    sandbox.start("one", &["-v", "vt:/x"], "echo shared > /x/f; exec sleep 1000");
    sandbox.wait_until(&["exec", "one", "cat", "/x/f"], "shared");
    assert_eq!(
        sandbox.sh(&["-v", "vt:/elsewhere"], "cat /elsewhere/f; echo back > /elsewhere/g").ok(),
        "shared"
    );
    assert_eq!(sandbox.ok(["exec", "one", "cat", "/x/g"]), "back");
    sandbox.ok(["rm", "-f", "--time=0", "one"]);
    assert_eq!(sandbox.sh(&["-v", "vt:/x"], "ls /x").ok(), "", "it is gone with its last user");
    assert_eq!(sandbox.ok(["volume", "rm", "vt"]), "vt");
}

#[test]
fn options_show_a_directory_of_the_host() {
    let sandbox = Sandbox::new();
    let file = sandbox.write("data/f", "of the host\n");
    let device = format!("device={}", file.parent().expect("a directory").display());
    sandbox.ok(["volume", "create", "-o", "type=none", "-o", "o=bind", "-o", &device, "vb"]);
    sandbox.ok(["volume", "create", "-o", "o=bind,ro", "-o", &device, "ro"]);
    assert_eq!(sandbox.sh(&["-v", "vb:/x"], "cat /x/f; echo new > /x/g").ok(), "of the host");
    assert_eq!(sandbox.read("data/g"), "new\n");
    assert_ne!(sandbox.sh(&["-v", "ro:/x"], "touch /x/h").code, 0);
    sandbox.ok(["create", "--name=c", "--net=none", "-v", "vb:/x", "bb"]);
    sandbox.ok(["volume", "export", "-o", "out.tar", "vb"]);
    assert!(sandbox.program("tar", ["tf", "out.tar"]).run().ok().contains("g"));
    sandbox.ok(["rm", "c"]);
    sandbox.ok(["volume", "rm", "vb", "ro"]);
    assert_eq!(sandbox.read("data/f"), "of the host\n", "what it showed stays");

    let place = sandbox.path("gone");
    std::fs::create_dir(&place).expect("make a directory");
    let device = format!("device={}", place.display());
    sandbox.ok(["volume", "create", "-o", "o=bind", "-o", &device, "nowhere"]);
    std::fs::remove_dir(&place).expect("remove it");
    let failed = sandbox.sh(&["-v", "nowhere:/x"], "true");
    let why = format!("mount volume nowhere: {} does not exist", place.display());
    assert!(failed.stderr.contains(&why), "{}", failed.stderr);
    for (options, why) in [
        (&["-o", "type=nfs", "-o", "device=host:/x"][..], "can be mounted by root of the host only"),
        (&["-o", "type=ext4", "-o", "device=/dev/sda1"], "can be mounted by root of the host only"),
        (&["-o", "o=size=1m"], "project quotas"),
        (&["-o", "foo=bar"], "invalid mount option foo for driver 'local'"),
        (&["-o", "o=uid=me"], "IDs are numbers"),
    ] {
        let refused = sandbox.ketch(["volume", "create"].iter().chain(options));
        assert!(refused.fails(125).contains(why), "{options:?}: {}", refused.stderr);
    }
    let refused = sandbox.ketch(["create", "--mount=type=volume,src=n,dst=/x,volume-opt=type=nfs", "bb"]);
    assert!(refused.fails(125).contains("root of the host only"), "{}", refused.stderr);
}

#[test]
fn a_volume_belongs_to_whom_it_is_made_for() {
    let sandbox = Sandbox::new();
    sandbox.ok(["volume", "create", "--uid=5", "--gid=6", "flags"]);
    sandbox.ok(["volume", "create", "-o", "o=uid=7", "option"]);
    assert_eq!(sandbox.sh(&["-v", "flags:/x", "-v", "option:/y"], "stat -c '%u %g' /x /y").ok(), "5 6\n7 0");
    assert_eq!(sandbox.ok(["volume", "inspect", "--format={{.UID}} {{.GID}}", "flags"]), "5 6");
    sandbox.sh(&["-v", "flags:/x"], "chown 8 /x").ok();
    assert_eq!(sandbox.sh(&["-v", "flags:/x"], "stat -c %u /x").ok(), "8", "only of a new one");
    sandbox.ok(["volume", "create", "-o", "nocopy=", "empty"]);
    assert_eq!(
        sandbox.sh(&["-v", "empty:/bin2", "-v", "full:/etc"], "ls /bin2 | wc -l; test -e /etc/passwd").ok(),
        "0"
    );
}

#[test]
fn volumes_are_mounted_in_unshare() {
    let sandbox = Sandbox::new();
    sandbox.ok(["volume", "create", "plain"]);
    sandbox.ok(["volume", "create", "-o", "type=tmpfs", "-o", "o=size=1m", "vt"]);
    let outside = sandbox.ketch(["volume", "mount", "vt"]);
    assert!(outside.fails(125).contains("must execute `ketch unshare` first"), "{}", outside.stderr);
    let script = "p=$(ketch volume mount plain); echo kept > $p/f
        t=$(ketch volume mount vt); test \"$(ketch volume mount vt)\" = $t; df -k $t | tail -1 | awk '{print $2}'
        ketch volume unmount vt; df -k $t | tail -1 | awk '{print ($2 != 1024)}'; ketch volume unmount plain";
    assert_eq!(sandbox.ketch(["unshare", "sh", "-ec", script]).ok(), "1024\nvt\n1\nplain");
    assert_eq!(sandbox.sh(&["-v", "plain:/x"], "cat /x/f").ok(), "kept");
    assert!(sandbox.ketch(["volume", "unmount", "nope"]).fails(125).contains("no such volume"));
    assert_eq!(sandbox.ok(["volume", "reload"]), "");
}

/// A container that is not made in the end leaves none of its anonymous volumes.
#[test]
fn a_container_that_cannot_be_made_leaves_no_volumes() {
    let sandbox = Sandbox::new();
    let bad = "--mount=type=volume,src=named,dst=/z,volume-opt=o=nonsense,volume-opt=what=x";
    let refused = sandbox.ketch(["create", "--net=none", "-v", "/anonymous", bad, "bb", "true"]);
    assert_eq!(refused.code, 125, "{}", refused.stdout);
    assert_eq!(sandbox.ok(["volume", "ls", "-q"]), "");
}

/// What was typed is looked up once: import takes the beginning of a name as export does.
#[test]
fn import_takes_the_beginning_of_a_name() {
    let sandbox = Sandbox::new();
    for name in ["abcdef", "xyz"] {
        sandbox.ok(["volume", "create", name]);
    }
    sandbox.sh(&["--volume=xyz:/v"], "echo in > /v/file").ok();
    let archive = sandbox.path("v.tar");
    sandbox.ok(["volume", "export", "-o", archive.to_str().expect("UTF-8"), "xyz"]);
    sandbox.ok(["volume", "import", "abc", archive.to_str().expect("UTF-8")]);
    assert_eq!(sandbox.sh(&["--volume=abcdef:/v"], "cat /v/file").ok(), "in");
}

#[test]
fn prune_spares_a_volume_that_has_come_into_use() {
    let sandbox = Sandbox::new();
    for name in ["a", "z"] {
        sandbox.ok(["volume", "create", name]);
    }
    // So much that others come in between while the first volume is removed.
    let data = sandbox.store().join("volumes/a/data");
    for number in 0..20_000 {
        std::fs::write(data.join(number.to_string()), "").expect("write a file");
    }
    let prune = sandbox.command(["volume", "prune", "-af"]).spawn();
    wait_for("the first volume to go", || if data.exists() { Err("it is there".to_owned()) } else { Ok(()) });
    sandbox.ok(["create", "--name=c", "--net=none", "-v=z:/d", "bb", "cat", "/d/f"]);
    let pruned = prune.wait();
    assert!(pruned.ok().contains('a'), "{}", pruned.stdout);
    assert_eq!(sandbox.ok(["volume", "ls", "-q"]), "z");
    std::fs::write(sandbox.store().join("volumes/z/data/f"), "kept").expect("write a file");
    assert_eq!(sandbox.ok(["start", "-a", "c"]), "kept");
    sandbox.ok(["rm", "c"]);
}

/// Those of a container that is removed at its end, too.
#[test]
fn an_anonymous_volume_stays_as_long_as_another_container_uses_it() {
    let sandbox = Sandbox::new();
    sandbox.start("first", &["--rm", "--volume=/data"], "echo kept > /data/f; exec sleep 1000");
    sandbox.start("second", &["--volumes-from=first"], "exec sleep 1000");
    let volume = sandbox.inspect("first", "(index .Mounts 0).Name");
    wait_for("the file", || match sandbox.ketch(["exec", "second", "cat", "/data/f"]) {
        output if output.stdout == "kept\n" => Ok(()),
        output => Err(output.stdout + &output.stderr),
    });
    sandbox.ok(["stop", "--time=0", "first"]);
    assert_eq!(sandbox.ketch(["container", "exists", "first"]).code, 1);
    assert_eq!(sandbox.ok(["exec", "second", "cat", "/data/f"]), "kept");
    sandbox.ok(["rm", "--force", "--time=0", "--volumes", "second"]);
    assert_eq!(sandbox.ketch(["volume", "exists", &volume]).code, 0, "it was not made for the second one");
}

#[test]
fn a_container_in_place_of_another_leaves_that_ones_anonymous_volume() {
    let sandbox = Sandbox::new();
    sandbox.start("db", &["--volume=/data"], "exec sleep 1000");
    let volume = sandbox.inspect("db", "(index .Mounts 0).Name");
    sandbox.start("db", &["--replace", "--volume=/data"], "exec sleep 1000");
    assert_eq!(sandbox.ketch(["volume", "exists", &volume]).code, 0);
}

#[test]
fn a_tmpfs_volume_may_be_at_two_places_of_a_container() {
    let sandbox = Sandbox::new();
    sandbox.ok(["volume", "create", "--opt=type=tmpfs", "--opt=device=tmpfs", "t"]);
    let run = sandbox
        .sh(&["--volume=t:/a", "--volume=t:/b:ro"], "echo one > /a/f; cat /b/f; touch /b/x || echo refused");
    assert_eq!((run.code, run.stdout.as_str()), (0, "one\nrefused\n"), "{}", run.stderr);
    sandbox.start("c", &["--volume=t:/a"], "echo two > /a/f; exec sleep 1000");
    wait_for("the file", || match sandbox.ketch(["exec", "c", "cat", "/a/f"]) {
        output if output.stdout == "two\n" => Ok(()),
        output => Err(output.stdout + &output.stderr),
    });
    let shared = sandbox.sh(&["--volume=t:/b", "--volume=t:/c"], "cat /b/f /c/f");
    assert_eq!((shared.code, shared.stdout.as_str()), (0, "two\ntwo\n"), "{}", shared.stderr);
}
