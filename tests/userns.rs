//! `ketch run --userns`: whose files are whose.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use common::Sandbox;

#[test]
fn the_user_namespace_maps_as_asked() {
    let sandbox = Sandbox::new();
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let data = sandbox.path("data");
    fs::create_dir(&data).expect("make a directory");
    let volume = format!("-v={}:/data", data.display());
    for (mode, want, owner) in [
        ("host", "0:0".to_owned(), uid),
        ("", "0:0".to_owned(), uid),
        ("keep-id", format!("{uid}:{gid}"), uid),
        ("keep-id:uid=5,gid=6", "5:6".to_owned(), uid),
    ] {
        let option = format!("--userns={mode}");
        let options: Vec<&str> = if mode.is_empty() { vec![&volume] } else { vec![&volume, &option] };
        let output = sandbox.sh(&options, "echo $(id -u):$(id -g); rm -f /data/f; touch /data/f");
        assert_eq!(output.ok(), want, "--userns={mode}");
        assert_eq!(fs::metadata(data.join("f")).expect("made").uid(), owner, "--userns={mode}");
    }
    let nomap = sandbox.sh(
        &["--userns=nomap"],
        "id -u; touch /f; stat -c %u /f /bin/busybox; awk '{print $1, $2}' /proc/self/uid_map",
    );
    assert_eq!(nomap.ok(), "0\n0\n0\n0 1", "root is the first of the subordinate range, not the caller");
    let bad = sandbox.sh(&["--userns=bogus"], "true");
    assert!(bad.fails(125).contains("bogus"), "{}", bad.stderr);
}

/// As podman has it: the caller's numbers are the user's only where neither the image nor `--user` names
/// one, but their group is everybody's.
#[test]
fn keep_id_leaves_the_images_user_in_force() {
    let sandbox = Sandbox::new();
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    sandbox.ok(["create", "--name=c", "bb"]);
    for (image, user) in [("app", "1000:1000"), ("root", "root")] {
        sandbox.ok(["commit", "-q", &format!("--change=USER {user}"), "c", image]);
    }
    let run = |image: &str, options: &[&str]| {
        let mut args = vec!["run", "--rm", "--userns=keep-id"];
        args.extend(options);
        args.extend([image, "sh", "-c", "id -u; id -g; id -G | tr ' ' '\n' | sort -n | tr '\n' ' '"]);
        sandbox.ok(args)
    };
    let groups = |more: u32| {
        let (low, high) = (gid.min(more), gid.max(more));
        if low == high { format!("{low} ") } else { format!("{low} {high} ") }
    };
    assert_eq!(run("bb", &[]), format!("{uid}\n{gid}\n{gid} "));
    assert_eq!(run("app", &[]), format!("1000\n1000\n{}", groups(1000)));
    assert_eq!(run("root", &[]), format!("0\n0\n{}", groups(0)));
    assert_eq!(run("app", &["--user=root:root"]), format!("0\n0\n{}", groups(0)));
    assert_eq!(run("app", &["--user=33:44"]), format!("33\n44\n{}", groups(44)));
}

#[test]
fn keep_id_sees_the_images_files_with_their_owners() {
    let sandbox = Sandbox::new();
    let output = sandbox.sh(&["--userns=keep-id:uid=1000,gid=1000"], "id -un; stat -c %u:%g /home/app/mine /bin/busybox; cat /home/app/mine; echo x > /home/app/new; stat -c %u /home/app/new");
    assert_eq!(output.ok(), "app\n1000:1000\n0:0\nof app\n1000");
}

/// As podman has it: what the image has at the target decides, else the user that the container runs as;
/// and only once, when the volume is new.
#[test]
fn a_new_volume_belongs_to_the_containers_user() {
    let sandbox = Sandbox::new();
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let own = format!("{uid}:{gid}");
    for (n, (options, top)) in [
        (&[][..], "0:0"),
        (&["--user=33"], "33:0"),
        (&["--userns=keep-id"], own.as_str()),
        (&["--userns=keep-id:uid=5,gid=6"], "5:6"),
        (&["--userns=keep-id", "--user=33"], "33:0"),
        (&["--userns=nomap"], "0:0"),
        (&["--userns=nomap", "--user=33"], "33:0"),
        (&["--userns=host", "--user=33"], "33:0"),
    ]
    .into_iter()
    .enumerate()
    {
        let (new, filled) = (format!("-v=new{n}:/new"), format!("-v=filled{n}:/home/app"));
        let options: Vec<&str> = options.iter().copied().chain([new.as_str(), filled.as_str()]).collect();
        let seen = sandbox.sh(&options, "touch /new/x; stat -c %u:%g /new /home/app; ls /new /home/app");
        assert_eq!(seen.ok(), format!("{top}\n1000:1000\n/home/app:\nmine\n\n/new:\nx"), "{options:?}");
        let again = sandbox.sh(&[&new, "--user=44"], "stat -c %u /new; rm /new/x 2>&1 || true");
        assert!(!again.ok().starts_with("44"), "{options:?}: it is not new any more: {}", again.stdout);
    }
}

/// ketch as root of a user namespace that holds all of U, which it takes for the machine's root; `file` is what
/// /etc/subuid and /etc/subgid say there.
fn as_root(sandbox: &Sandbox, file: &str, setpriv: &str, args: &[&str]) -> common::Output {
    let file = sandbox.write("ranges", file);
    let script = format!(
        "mount --bind {0} /etc/subuid && mount --bind {0} /etc/subgid && exec setpriv {setpriv} ketch \"$@\"",
        file.display()
    );
    let words = ["--user", "--map-root-user", "--map-auto", "--mount", "sh", "-c", &script, "sh"];
    sandbox.program("unshare", [&words, args].concat()).run()
}

#[test]
fn a_container_of_root_with_ids_of_its_own_owns_its_files() {
    let sandbox = Sandbox::new();
    let run = |ranges: &str, options: &[&str], script: &str| {
        let args = [&["run", "--rm", "--net=none"], options, &["bb", "sh", "-c", script]].concat();
        as_root(&sandbox, ranges, "--", &args)
    };
    let script = "cat /proc/self/uid_map | tr -s ' '; touch /etc/new && stat -c %u:%g /etc /etc/new";
    let maps = ["--uidmap=0:1000:2000", "--gidmap=0:2000:2000"];
    assert_eq!(run("", &maps, script).ok(), " 0 1000 2000\n0:0\n0:0");
    assert_eq!(run("containers:3000:2000\n", &["--userns=auto"], script).ok(), " 0 3000 1024\n0:0\n0:0");

    let none = run("", &["--userns=auto"], script);
    let message = none.fails(125);
    assert!(message.contains("no range for \"containers\" in /etc/subuid"), "{message}");
    assert!(message.contains("hint: as root give it some"), "{message}");
}

/// Root of another container lacks some, and `--privileged` means all that there are.
#[test]
fn root_without_all_capabilities_gives_what_it_has() {
    let sandbox = Sandbox::new();
    let run = |options: &[&str]| {
        let args = [&["run", "--rm", "--net=none"], options, &["bb", "grep", "CapEff", "/proc/self/status"]];
        as_root(&sandbox, "", "--bounding-set=-sys_resource", &args.concat())
    };
    let has = |output: &common::Output| {
        let hex = output.ok().split_whitespace().nth(1).expect("a set").to_owned();
        u64::from_str_radix(&hex, 16).expect("a set")
    };
    const MISSING: u64 = 1 << 24;
    const SYS_ADMIN: u64 = 1 << 21;
    for options in [&["--privileged"][..], &["--cap-add=all"]] {
        let set = has(&run(options));
        assert_eq!(set & (MISSING | SYS_ADMIN), SYS_ADMIN, "{options:?}: {set:#x}");
    }
    assert_eq!(has(&run(&[])) & (MISSING | SYS_ADMIN), 0);
}

#[test]
fn the_containers_root_may_change_its_hosts() {
    let sandbox = Sandbox::new();
    let script = "stat -c %u:%g /etc/hosts /etc/resolv.conf /etc/hostname /run/.containerenv | uniq
                  echo 1.2.3.4 added >> /etc/hosts && tail -n 1 /etc/hosts";
    for network in ["none", "bridge"] {
        let network = format!("--network={network}");
        for mode in ["auto", "nomap", "keep-id", "host"] {
            let output = sandbox.sh(&[&network, &format!("--userns={mode}"), "--user=0"], script);
            assert_eq!(output.ok(), "0:0\n1.2.3.4 added", "{network} --userns={mode}");
        }
    }
    // One that joins the user namespace of another, and its second life.
    sandbox.start("first", &["--userns=auto"], "exec sleep 1000");
    sandbox.ok([
        "create",
        "--name=second",
        "--net=none",
        "--userns=container:first",
        "bb",
        "sh",
        "-c",
        script,
    ]);
    for _life in 0..2 {
        assert_eq!(sandbox.ok(["start", "--attach", "second"]), "0:0\n1.2.3.4 added");
    }
}

/// The outer ends of a container's map of users.
fn range(sandbox: &Sandbox, name: &str) -> String {
    sandbox.ok(["exec", name, "awk", "{print $2, $3}", "/proc/self/uid_map"])
}

#[test]
fn no_two_containers_with_auto_have_an_id_in_common() {
    let sandbox = Sandbox::new();
    let names: Vec<String> = (0..6).map(|n| format!("a{n}")).collect();
    let begun: Vec<_> = names
        .iter()
        .map(|name| {
            sandbox
                .command(["run", "-d", "--name", name, "--net=none", "--userns=auto", "bb", "sleep", "1000"])
                .spawn()
        })
        .collect();
    begun.into_iter().for_each(|run| drop(run.wait().ok().to_owned()));
    let ranges: std::collections::BTreeSet<String> = names.iter().map(|name| range(&sandbox, name)).collect();
    assert_eq!(ranges.len(), names.len(), "{ranges:?}");
}

#[test]
fn auto_is_large_enough_for_who_is_asked_for() {
    let sandbox = Sandbox::new();
    let run = |options: &[&str], script: &str| sandbox.sh(options, script).ok().to_owned();
    assert_eq!(run(&["--userns=auto", "--user=3000:4000"], "id -u; id -g"), "3000\n4000");
    assert_eq!(run(&["--userns=auto", "--group-add=2500"], "id -G | tr ' ' '\n' | grep 2500"), "2500");
    let uid = rustix::process::getuid().as_raw();
    let own = format!("--userns=auto:uidmapping=3:@{uid}:1");
    assert_eq!(run(&[&own], "awk '$1 == 3 {print $2, $3}' /proc/self/uid_map"), "0 1");
    let whole = run(&["--userns=auto:size=0"], "awk '{print $3}' /proc/self/uid_map");
    assert!(whole.parse::<u32>().unwrap() >= 1024, "{whole}");
}

#[test]
fn files_whose_owner_is_not_mapped_belong_to_nobody() {
    let sandbox = Sandbox::new();
    sandbox.ok(["run", "--name=c", "--net=none", "bb", "sh", "-c", "touch /far; chown 5000:7 /far"]);
    sandbox.ok(["commit", "-q", "c", "far"]);
    for mode in ["auto:size=500", "keep-id:uid=5,gid=6,size=100", "keep-id:uid=900,gid=901,size=100"] {
        let owner = sandbox.ok([
            "run",
            "--rm",
            "--net=none",
            &format!("--userns={mode}"),
            "far",
            "stat",
            "-c",
            "%u:%g",
            "/far",
        ]);
        assert_eq!(owner, "65534:7", "{mode}");
    }
}

#[test]
fn files_are_copied_into_a_container_that_has_none_of_ones_ids() {
    let sandbox = Sandbox::new();
    let file = sandbox.path("file");
    fs::write(&file, "text").unwrap();
    for mode in ["nomap", "auto", "keep-id"] {
        sandbox.ok([
            "run",
            "-d",
            "--name=c",
            "--net=none",
            &format!("--userns={mode}"),
            "bb",
            "sleep",
            "1000",
        ]);
        sandbox.ok(["cp", file.to_str().unwrap(), "c:/tmp"]);
        assert_eq!(sandbox.ok(["exec", "c", "cat", "/tmp/file"]), "text", "{mode}");
        let owner = sandbox.ok(["exec", "c", "stat", "-c", "%u:%g", "/tmp/file"]);
        let user = sandbox.ok(["exec", "c", "sh", "-c", "echo $(id -u):$(id -g)"]);
        assert_eq!(owner, user, "{mode}");
        sandbox.ok(["rm", "-f", "-t0", "c"]);
    }
}

/// A sidecar of a development container.
#[test]
fn who_shares_a_network_has_the_ids_of_its_files_and_can_be_stopped() {
    let sandbox = Sandbox::new();
    for mode in ["keep-id", "nomap"] {
        sandbox.ok([
            "run",
            "-d",
            "--name=x",
            "--net=none",
            &format!("--userns={mode}"),
            "bb",
            "sleep",
            "1000",
        ]);
        let script = "stat -c %u:%g /bin; touch /mine; stat -c %u /mine; id -u; exec sleep 1000";
        sandbox.ok(["run", "-d", "--name=y", "--net=container:x", "--user=0", "bb", "sh", "-c", script]);
        sandbox.wait_until(&["logs", "y"], "0:0\n0\n0\n");
        sandbox.ok(["exec", "y", "true"]);
        sandbox.ok(["stop", "-t0", "y"]);
        assert!(!sandbox.inspect("y", ".State.Running").contains("true"), "{mode}");
        sandbox.ok(["start", "y"]);
        sandbox.ok(["rm", "-f", "-t0", "y", "x"]);
    }
}

#[test]
fn a_clone_has_ids_of_its_own() {
    let sandbox = Sandbox::new();
    sandbox.ok([
        "create",
        "--name=one",
        "--net=none",
        "--userns=auto",
        "bb",
        "sh",
        "-c",
        "stat -c %u /bin; awk '{print $2}' /proc/self/uid_map",
    ]);
    sandbox.ok(["container", "clone", "one", "two"]);
    let (one, two) = (sandbox.ok(["start", "-a", "one"]), sandbox.ok(["start", "-a", "two"]));
    assert!(one.starts_with("0\n") && two.starts_with("0\n") && one != two, "{one}, {two}");
}

#[test]
fn an_image_without_users_gets_those_that_it_needs() {
    let sandbox = Sandbox::new();
    sandbox.ok(["run", "--name=c", "--net=none", "bb", "rm", "-f", "/etc/passwd", "/etc/group"]);
    sandbox.ok(["commit", "-q", "c", "bare"]);
    let run = |options: &[&str]| {
        sandbox
            .ok([&["run", "--rm", "--net=none"][..], options, &["bare", "sh", "-c", "cat /etc/passwd"]]
                .concat())
    };
    assert!(run(&["--user=77"]).starts_with("77:*:77:"), "{}", run(&["--user=77"]));
    let uid = rustix::process::getuid().as_raw();
    assert!(run(&["--userns=keep-id"]).contains(&format!(":*:{uid}:")), "{}", run(&["--userns=keep-id"]));
    let none =
        ["run", "--rm", "--net=none", "--passwd=false", "--user=77", "bare", "test", "-e", "/etc/passwd"];
    sandbox.ketch(none).fails(1);
}

/// What is given away belongs to the user or to others of U, none of whom the container has.
#[test]
fn a_directory_of_ids_that_the_container_lacks_is_given_to_its_user() {
    let sandbox = Sandbox::new();
    sandbox.write("home/d/sub/file", "x");
    std::os::unix::fs::symlink("/etc/passwd", sandbox.path("home/d/link")).unwrap();
    fs::set_permissions(sandbox.path("home"), fs::Permissions::from_mode(0o700)).unwrap();
    let bind = format!("{}:/d", sandbox.path("home/d").display());
    let names = ["/d", "/d/sub", "/d/sub/file", "/d/link"];
    let look = format!("stat -c %u:%g {}", names.join(" "));
    for (mode, users) in [
        ("--userns=auto", &[("0:0", "0:0"), ("app", "1000:1000"), ("5:6", "5:6")][..]),
        ("--userns=nomap", &[("app", "1000:1000")]),
        ("--uidmap=0:100:2000", &[("5:6", "5:6")]),
        ("--userns=keep-id:uid=5,gid=6,size=9", &[("0:0", "0:0")]),
    ] {
        for (user, want) in users {
            let user = format!("--user={user}");
            let seen = sandbox.sh(&[mode, &user, "-v", &format!("{bind}:U")], &look);
            assert_eq!(seen.ok(), [*want; 4].join("\n"), "{mode} {user}");
            // A volume that another container has filled, by way of the other spelling, and a part of it.
            sandbox.sh(&["-v=v:/v"], "mkdir -p /v/sub; touch /v/f /v/sub/f; chown 7 /v/f").ok();
            let volume = "--mount=type=volume,src=v,dst=/v,U=true";
            let seen = sandbox.sh(&[mode, &user, volume], "stat -c %u:%g /v /v/f");
            assert_eq!(seen.ok(), [*want; 2].join("\n"), "{mode} {user}");
            sandbox.sh(&["-v=v:/v", "-v", &bind], "chown -hR 3000 /v /d").ok();
            let part = "--mount=type=volume,src=v,dst=/v,U=true,volume-subpath=sub";
            let seen = sandbox.sh(&[mode, &user, part], "stat -c %u:%g /v /v/f");
            assert_eq!(seen.ok(), [*want; 2].join("\n"), "{mode} {user}");
            assert_eq!(sandbox.sh(&["-v=v:/v"], "stat -c %u /v /v/f").ok(), "3000\n3000", "the rest stays");
            sandbox.sh(&["-v=v:/v", "-v", &bind], "chown -hR 0:0 /v /d").ok();
        }
    }
    // In the user namespace of another container, and once only.
    sandbox.start("x", &["--userns=auto"], "exec sleep 1000");
    sandbox.ok([
        "create",
        "--name=y",
        "--net=none",
        "--userns=container:x",
        "-u=5:6",
        "-v",
        &format!("{bind}:U"),
        "bb",
        "sh",
        "-c",
        &look,
    ]);
    for _life in 0..2 {
        assert_eq!(sandbox.ok(["start", "-a", "y"]), ["5:6"; 4].join("\n"));
    }
    sandbox.sh(&["-v", &bind], "chown -hR 0:0 /d").ok();
}

fn tmpfs_maps_ids() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("the kernel's release");
    let numbers: Vec<u32> = release.split('.').take(2).filter_map(|part| part.parse().ok()).collect();
    numbers >= vec![6, 3]
}

/// `idmap=uids=…;gids=…`: what lies on the disk is shown as other IDs of the host, or with `@` of the container.
#[test]
fn an_idmapped_mount_shows_the_owners_as_written() {
    let sandbox = Sandbox::new();
    let refused =
        sandbox.ketch(["run", "--rm", "--net=none", "-v=/tmp:/d:idmap=uids=0-1-1;gids=0-1-1", "bb", "true"]);
    assert!(refused.fails(125).contains("idmapped mounts are for root of the host"), "{}", refused.stderr);
    for mount in [
        "-v=/tmp:/d:idmap=foo",
        "-v=/tmp:/d:idmap=uids=0-1",
        "--mount=type=bind,src=/tmp,dst=/d,idmap=uids=x",
    ] {
        let nonsense = sandbox.ketch(["run", "--rm", "--net=none", mount, "bb", "true"]);
        assert!(nonsense.fails(125).contains("invalid idmap="), "{}", nonsense.stderr);
    }
    if !tmpfs_maps_ids() {
        return;
    }
    let disk = sandbox.path("disk");
    fs::create_dir(&disk).unwrap();
    let disk = disk.to_str().unwrap();
    let script = format!(
        "mount -t tmpfs t {disk} && touch {disk}/f && chown 5:6 {disk}/f || exit 9
         run() {{ ketch run --rm --net=none \"$@\" bb stat -c %u:%g /d/f; }}
         maps='--uidmap=0:1000:2000 --gidmap=0:2000:2000'
         run -v {disk}:/d:'idmap=uids=0-1-10;gids=0-100-3#6-7-1'
         run --mount type=bind,src={disk},dst=/d,'idmap=uids=0-1-5;gids=0-100-10'
         run $maps -v {disk}:/d:'idmap=uids=0-1000-10;gids=0-2000-10'
         run $maps -v {disk}:/d:'idmap=uids=@0-1-10;gids=@0-2-10'
         run $maps -v {disk}:/d:idmap=uids=@0-1-10
         run -v {disk}:/d:idmap=uids=0-1-10 2>&1 | head -n 1"
    );
    let output = sandbox
        .program("unshare", ["--user", "--map-root-user", "--map-auto", "--mount", "sh", "-c", &script])
        .run();
    let lines: Vec<&str> = output.ok().lines().collect();
    let wrong = "Error: invalid mappings specified for the mount on `/d`";
    assert_eq!(lines, ["6:7", "65534:106", "5:6", "6:8", "6:6", wrong], "{}", output.stderr);
}

/// tmpfs can be idmapped by whoever is root where it was mounted.
#[test]
fn an_idmapped_mount_shows_the_owners_on_the_disk() {
    let sandbox = Sandbox::new();
    if !tmpfs_maps_ids() {
        return;
    }
    let disk = sandbox.path("disk");
    fs::create_dir(&disk).unwrap();
    let disk = disk.to_str().unwrap();
    let script = format!(
        "mount -t tmpfs t {disk} && touch {disk}/f && chown 5:6 {disk}/f || exit 9
         run() {{ ketch run --rm --net=none --uidmap=0:1000:2000 --gidmap=0:2000:2000 \"$@\"; }}
         for option in idmap idmap,U; do
             run -u 7:8 -v {disk}:/d:$option bb sh -c 'stat -c %u:%g /d /d/f; touch /d/new'
             stat -c %u:%g {disk}/new
         done
         run -v {disk}/f:/file:idmap bb stat -c %u:%g /file
         run --mount type=tmpfs,dst=/d,idmap bb stat -c %u:%g /d
         stat -c %u:%g {disk} {disk}/f"
    );
    let output = sandbox
        .program("unshare", ["--user", "--map-root-user", "--map-auto", "--mount", "sh", "-c", &script])
        .run();
    let lines: Vec<&str> = output.ok().lines().collect();
    let want = ["0:0", "5:6", "7:8", "7:8", "7:8", "7:8", "7:8", "0:0", "7:8", "7:8"];
    assert_eq!(lines, want, "{}", output.stderr);
}

#[test]
fn namespaces_of_a_container_with_other_ids_can_be_shared() {
    let sandbox = Sandbox::new();
    let uid = rustix::process::getuid().as_raw();
    for own in ["", "--userns=auto"] {
        let options: Vec<&str> = [own].into_iter().filter(|option| !option.is_empty()).collect();
        sandbox.start("x", &options, "exec sleep 1234");
        let run = |options: &[&str], script: &str| {
            let options = [&["--userns=keep-id"], options].concat();
            sandbox.sh(&options, script).ok().to_owned()
        };
        let seen =
            run(&["--pid=container:x"], "id -u; ps -o args | grep -c '[s]leep 1234'; cat /proc/keys | wc -c");
        assert_eq!(seen, format!("{uid}\n1\n0"), "{own}");
        sandbox.ok(["exec", "x", "touch", "/dev/shm/here"]);
        let script = "ls /dev/shm; grep -c ' /dev/mqueue mqueue ' /proc/mounts; readlink /proc/self/ns/ipc";
        let inside = sandbox.ok(["exec", "x", "readlink", "/proc/self/ns/ipc"]);
        assert_eq!(run(&["--ipc=container:x"], script), format!("here\n1\n{inside}"), "{own}");
        let all = ["--pid=container:x", "--ipc=container:x", "--uts=container:x", "--net=container:x"];
        assert_eq!(
            run(&all, "hostname; ls /proc/1/comm"),
            format!("{}\n/proc/1/comm", sandbox.ok(["exec", "x", "hostname"]))
        );
        sandbox.ok(["rm", "-f", "-t0", "x"]);
    }
}

#[test]
fn a_commit_has_the_owners_that_the_container_sees() {
    let sandbox = Sandbox::new();
    for mode in ["keep-id", "auto", "nomap", ""] {
        sandbox.start("x", &[&format!("--userns={mode}")], "exec sleep 1000");
        sandbox.ok([
            "run",
            "--name=y",
            "--net=none",
            "--userns=container:x",
            "-u=0",
            "bb",
            "sh",
            "-c",
            "touch /a /b; chown 5:6 /b",
        ]);
        sandbox.ok(["commit", "-q", "y", "new"]);
        let seen = sandbox.ok(["run", "--rm", "--net=none", "new", "stat", "-c", "%u:%g", "/a", "/b"]);
        assert_eq!(seen, "0:0\n5:6", "{mode}");
        let id = sandbox.inspect("x", ".Id");
        assert_eq!(sandbox.inspect("y", ".HostConfig.UsernsMode"), format!("container:{id}"));
        sandbox.ok(["rm", "-f", "-t0", "y", "x"]);
    }
}

/// Makes a file in a home that is closed to others, and gives the flag that mounts it.
fn file_below_closed_home(sandbox: &Sandbox, below: &str) -> String {
    let file = sandbox.write(below, "x");
    fs::set_permissions(sandbox.path("home"), fs::Permissions::from_mode(0o700)).expect("close the home");
    format!("-v={}:/file:ro", file.display())
}

#[test]
fn who_shares_a_user_namespace_is_started_again_by_its_policy() {
    let sandbox = Sandbox::new();
    let file = file_below_closed_home(&sandbox, "home/d/file");
    let given = format!("-v={}:/d:U", sandbox.path("home/d").display());
    for mode in ["auto", "nomap", "keep-id", ""] {
        sandbox.start("x", &[&format!("--userns={mode}")], "exec sleep 1000");
        let script = "stat -c %u:%g /d/file; cat /file; echo; touch /v/f /d/f /here; exit 3";
        let policy = ["--restart=on-failure:2", "--net=container:x", "-u=0", "-v=v:/v", &given, &file];
        sandbox.ok([&["run", "-d", "--name=y"], &policy[..], &["bb", "sh", "-c", script]].concat());
        sandbox.wait_until(&["logs", "y"], "0:0\nx\n0:0\nx\n0:0\nx\n");
        sandbox.ok(["wait", "y"]);
        assert_eq!(sandbox.inspect("y", ".State.ExitCode"), "3", "{mode}");
        assert_eq!(sandbox.inspect("y", ".State.Error"), "", "{mode}");
        sandbox.ok(["rm", "-f", "-t0", "y", "x"]);
        sandbox.ok(["volume", "rm", "v"]);
        sandbox.sh(&[given.trim_end_matches(":U")], "chown -R 0:0 /d").ok();
    }
}

/// Namespaces are joined anew for each life: those of a container that was started anew are others.
#[test]
fn who_shares_namespaces_follows_a_container_into_its_next_life() {
    let sandbox = Sandbox::new();
    for mode in ["", "auto", "keep-id"] {
        sandbox.start("x", &[&format!("--userns={mode}")], "exec sleep 1000");
        let script = "trap 'exit 1' TERM; while :; do sleep 0.1; done";
        let own = ["--restart=always", "--net=container:x", "--ipc=container:x"];
        sandbox.ok([&["run", "-d", "--name=y"], &own[..], &["bb", "sh", "-c", script]].concat());
        for (life, again) in
            [("1", &[&["restart", "-t0", "x"][..]][..]), ("2", &[&["stop", "-t0", "x"], &["start", "x"]])]
        {
            again.iter().for_each(|words| drop(sandbox.ok(*words)));
            // It may be killed along with process 1.
            sandbox.ketch(["exec", "-u0", "y", "kill", "-TERM", "1"]);
            sandbox.wait_until(
                &["inspect", "--format={{.RestartCount}} {{.State.Status}}", "y"],
                &format!("{life} running"),
            );
            for kind in ["user", "net", "ipc"] {
                let namespace =
                    |name| sandbox.ok(["exec", name, "readlink", &format!("/proc/self/ns/{kind}")]);
                assert_eq!(namespace("y"), namespace("x"), "{mode} {kind}");
            }
        }
        sandbox.ok(["stop", "-t0", "x"]);
        sandbox.ketch(["exec", "-u0", "y", "kill", "-TERM", "1"]);
        sandbox.wait_until(&["inspect", "--format={{.State.Error}}", "y"], "is not running");
        sandbox.ok(["rm", "-f", "-t0", "y", "x"]);
    }
}

/// A published port takes a descriptor; so many of them must not be in the way of those that init needs.
#[test]
fn descriptors_of_many_published_ports_are_in_nobodys_way() {
    let sandbox = Sandbox::new();
    let file = file_below_closed_home(&sandbox, "home/file");
    for count in [84, 86, 88, 90, 150, 1000] {
        // Each the kernel's choice: nobody has a thousand in a row.
        let ports = (0..count).map(|port| format!("-p=127.0.0.1::{}", 1000 + port));
        for userns in ["auto", "nomap"] {
            let mut words: Vec<String> =
                ["run", "--rm", "-v=v:/v", &file, &format!("--userns={userns}")].map(str::to_owned).into();
            words.extend(ports.clone());
            words.extend(["bb", "sh", "-c", "cat /file; touch /v/f"].map(str::to_owned));
            let run = sandbox.ketch(&words);
            assert_eq!(run.ok(), "x", "{count} {userns}: {}", run.stderr);
        }
    }
}
