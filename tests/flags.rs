//! Flags of `run` and `create`: what each of them brings about in the container.

mod common;

use common::Sandbox;

/// The name of the user that runs the tests.
fn me() -> String {
    let output = std::process::Command::new("id").arg("-un").output().expect("run id");
    String::from_utf8(output.stdout).expect("a name").trim().to_owned()
}

/// The name that the image has for the caller's number already, if it has one: that stays, as with podman.
fn name_in_the_image() -> Option<&'static str> {
    (rustix::process::getuid().as_raw() == 1000).then_some("app")
}

#[test]
fn users_that_the_image_does_not_know_get_a_line() {
    let sandbox = Sandbox::new();
    let both = "grep 1234 /etc/passwd; grep ^55 /etc/group";
    let output = sandbox.sh(&["-u", "1234:55", "-w", "/tmp"], both);
    assert_eq!(output.ok(), "1234:*:1234:55:container user:/tmp:/bin/sh\n55:x:55:1234");
    assert_eq!(sandbox.sh(&["-u", "1234", "--passwd=false"], "grep -c 1234 /etc/passwd; true").ok(), "0");
    let entries =
        ["-u=1234:55", "--passwd-entry=x$UID:*:$UID:$GID:$NAME:/h:/bin/sh", "--group-entry=g$GID:x:$GID:"];
    let output = sandbox.sh(&entries, "grep ^x1234 /etc/passwd; grep ^g55 /etc/group; echo $HOME");
    assert_eq!(output.ok(), "x1234:*:1234:55:container user:/h:/bin/sh\ng55:x:55:\n/h");
    let me = me();
    let output = sandbox.sh(&["--hostuser=root", &format!("--hostuser={me}")], "cat /etc/passwd");
    let line = format!("{me}:*:{}:", rustix::process::getuid().as_raw());
    let is_added = output.ok().lines().any(|of| of.starts_with(&line));
    assert_eq!(is_added, name_in_the_image().is_none(), "{}", output.stdout);
    let output = sandbox.sh(&["--hostuser=nobody-of-that-name"], "true");
    assert!(output.fails(125).contains("nobody-of-that-name"), "{}", output.stderr);
}

#[test]
fn empty_and_repeated_values_are_what_podman_and_docker_make_of_them() {
    let sandbox = Sandbox::new();
    for (options, script, stdout) in [
        (&["--workdir="][..], "pwd", "/"),
        (&["--hostname="], "hostname | tr -d '\n' | wc -c", "12"),
        (&["--umask=7777"], "umask", "0777"),
        (&["--platform="], "echo mine", "mine"),
        (&["--health-cmd=", "--health-startup-cmd="], "echo unchecked", "unchecked"),
        (
            &["--security-opt=proc-opts=nosuid,exec"],
            "grep ' /proc ' /proc/mounts | grep -c noexec || true",
            "0",
        ),
        (&["-u=1234:55", "--passwd-entry="], "tail -n 1 /etc/passwd | cut -d: -f1,3", "1234:1234"),
        (&["--tmpfs=/t:size=1m", "--tmpfs=/t:size=2m"], "df -k /t | grep -c ' 2048 '", "1"),
        (&["--volume=v:/t", "--mount=type=volume,src=v,dst=/t"], "echo once", "once"),
    ] {
        let run = sandbox.sh(options, script);
        assert_eq!((run.code, run.stdout.trim_end()), (0, stdout), "{options:?}: {}", run.stderr);
    }
    sandbox.start("up", &[], "exec sleep 1000");
    assert_eq!(sandbox.ok(["exec", "-w", "", "up", "pwd"]), "/");
    let refused = sandbox.sh(&["--volume=v:/t", "--tmpfs=/t"], "true");
    assert!(refused.fails(125).contains("/t: duplicate mount destination"), "{}", refused.stderr);
}

#[test]
fn keep_id_knows_the_caller_by_name() {
    let sandbox = Sandbox::new();
    let name = name_in_the_image().map_or_else(me, str::to_owned);
    assert_eq!(sandbox.sh(&["--userns=keep-id"], "id -un").ok(), name);
    assert_eq!(sandbox.sh(&["--userns=keep-id:uid=5,gid=6"], "id -u; id -g").ok(), "5\n6");
    let map = sandbox.sh(&["--userns=keep-id:uid=1000,gid=1000,size=3000"], "cat /proc/self/uid_map");
    let total: u64 =
        map.ok().lines().map(|line| line.split_whitespace().nth(2).unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(total, 3000);
}

/// The lines of a map file, each with single blanks.
fn lines(text: &str) -> Vec<String> {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn id_maps_are_as_written() {
    let sandbox = Sandbox::new();
    let map = |options: &[&str]| {
        lines(sandbox.sh(options, "cat /proc/self/uid_map; echo; cat /proc/self/gid_map").ok())
    };
    assert_eq!(map(&["--uidmap=0:1:2000"]), ["0 1 2000", "", "0 1 2000"]);
    assert_eq!(map(&["--uidmap=0:1:2000", "--gidmap=0:5:3000"]), ["0 1 2000", "", "0 5 3000"]);
    assert_eq!(
        map(&["--uidmap=0:1:5", "--uidmap=5:0:1", "--uidmap=6:6:2000"])[..3],
        ["0 1 5", "5 0 1", "6 6 2000"]
    );
    let uid = rustix::process::getuid().as_raw();
    assert_eq!(map(&[&format!("--uidmap=+5:@{uid}")])[..3], ["0 1 5", "5 0 1", "6 6 65531"]);
    let written = sandbox.path("home").join("f");
    let volume = format!("{}:/h", sandbox.path("home").display());
    sandbox.sh(&[&format!("--uidmap=+0:@{uid}"), "-v", &volume], "touch /h/f").ok();
    let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(written).expect("made"));
    assert_eq!(owner, uid, "+0:@ME makes the container's root me");
    for (options, said) in [
        (&["--uidmap=5:0:1"][..], "ID 0"),
        (&["--uidmap=0:@1:1"], "not among those"),
        (&["--uidmap=zero:1"], "invalid mapping"),
        (&["--uidmap=0:1:1", "--userns=keep-id"], "mutually exclusive"),
    ] {
        let output = sandbox.sh(options, "true");
        assert!(output.fails(125).contains(said), "{options:?}: {}", output.stderr);
    }
}

#[test]
fn auto_gives_each_container_ids_of_its_own() {
    let sandbox = Sandbox::new();
    let mut starts = Vec::new();
    for name in ["a", "b"] {
        sandbox.start(name, &["--userns=auto:size=2000"], "sleep 300");
        let map = lines(&sandbox.ok(["exec", name, "cat", "/proc/self/uid_map"]));
        let [_, outside, length] = map[0].split(' ').collect::<Vec<_>>()[..] else { panic!("{map:?}") };
        assert_eq!(length, "2000");
        starts.push(outside.parse::<u32>().expect("a number"));
    }
    assert!(starts[0].abs_diff(starts[1]) >= 2000, "{starts:?}");
    let shared = sandbox.sh(&["--userns=container:a"], "cat /proc/self/uid_map");
    assert_eq!(lines(shared.ok())[0].split(' ').nth(1), Some(starts[0].to_string().as_str()));
    let output = sandbox.sh(&["--userns=auto:size=9999999"], "true");
    assert!(output.fails(125).contains("no 9999999 IDs"), "{}", output.stderr);
}

#[test]
fn subordinate_ranges_by_name() {
    let sandbox = Sandbox::new();
    let output = sandbox.sh(&[&format!("--subuidname={}", me())], "cat /proc/self/uid_map");
    assert_eq!(lines(output.ok())[0].split(' ').take(2).collect::<Vec<_>>(), ["0", "1"]);
    assert_eq!(sandbox.sh(&["--subuidname=nobody-of-that-name"], "true").code, 125);
}

#[test]
fn variables_are_merged_with_those_of_the_image() {
    let sandbox = Sandbox::new();
    let output =
        sandbox.sh(&["--env-merge=PATH=${PATH}:/more", "--env-merge=N=$NONE-x"], "echo $PATH; echo $N");
    let first = output.ok().lines().next().expect("a line").to_owned();
    assert!(first.ends_with("/bin:/more"), "{first}");
    assert!(output.stdout.ends_with("\n-x\n"), "{}", output.stdout);
}

#[test]
fn time_zone_personality_and_init_program() {
    let sandbox = Sandbox::new();
    if std::path::Path::new("/usr/share/zoneinfo/Asia/Kolkata").exists() {
        assert_eq!(sandbox.sh(&["--tz=Asia/Kolkata"], "date +%Z").ok(), "IST");
    }
    for bad in ["Nowhere/None", "../passwd", "/etc/passwd"] {
        let output = sandbox.sh(&[&format!("--tz={bad}")], "true");
        assert!(output.fails(125).contains("unknown time zone"), "{}", output.stderr);
    }
    if std::env::consts::ARCH == "x86_64" {
        assert_eq!(sandbox.sh(&["--personality=LINUX32"], "uname -m").ok(), "i686");
    }
    assert!(sandbox.sh(&["--personality=WINDOWS"], "true").fails(125).contains("WINDOWS"));
    // A script is started with the words of an init: `-- COMMAND…`.
    let init = sandbox.write_program("init", "#!/bin/sh\necho \"$1 as $$\"; shift; exec \"$@\"\n");
    let path = format!("--init-path={}", init.display());
    let output = sandbox.sh(&["--init", &path], "echo command");
    assert_eq!(output.ok(), "-- as 1\ncommand");
    // It says which one, and not that there is to be one.
    assert_eq!(sandbox.sh(&[&path], "echo command").ok(), "command");
}

#[test]
fn systemd_gets_what_it_needs() {
    let sandbox = Sandbox::new();
    let look = "mount | grep -E ' on (/run|/run/lock|/tmp|/var/log/journal) ' | sort | cut -d' ' -f3,5; \
                test -f /run/.containerenv && env | grep -c container_uuid";
    let output = sandbox.sh(&["--systemd=always", "--shm-size-systemd=3m"], look);
    assert_eq!(output.ok(), "/run tmpfs\n/run/lock tmpfs\n/tmp tmpfs\n/var/log/journal tmpfs\n1");
    sandbox.ok(["create", "--net=none", "--name=s", "--systemd=always", "bb", "true"]);
    assert_eq!(sandbox.inspect("s", ".Config.StopSignal"), "SIGRTMIN+3");
    sandbox.ok(["create", "--net=none", "--name=n", "bb", "true"]);
    assert_eq!(sandbox.inspect("n", ".Config.StopSignal"), "SIGTERM");
    let size = sandbox
        .sh(&["--systemd=always", "--shm-size-systemd=3m"], "df -k /run | tail -n 1 | awk '{print $2}'");
    assert_eq!(size.ok(), "3072");
    assert!(sandbox.sh(&["--systemd=maybe"], "true").fails(125).contains("maybe"));
}

#[test]
fn hosts_and_hostname_files() {
    let sandbox = Sandbox::new();
    let base = sandbox.write("hosts", "10.9.8.7 elsewhere\n");
    let option = format!("--hosts-file={}", base.display());
    let output = sandbox.sh(&[&option, "--add-host=db:1.2.3.4"], "cat /etc/hosts");
    assert!(
        output.ok().contains("10.9.8.7\telsewhere") && output.stdout.contains("1.2.3.4\tdb"),
        "{}",
        output.stdout
    );
    let mounted = |options: &[&str]| {
        sandbox.sh(options, "mount | grep -c -e /etc/hosts -e /etc/hostname; true").ok().to_owned()
    };
    assert_eq!(mounted(&[]), "2");
    assert_eq!(mounted(&["--no-hostname"]), "1");
    assert_eq!(mounted(&["--hosts-file=image"]), "2");
    sandbox.ok(["run", "--name=with", "--no-hosts", "bb", "sh", "-c", "echo 10.9.8.6 of-image > /etc/hosts"]);
    sandbox.ok(["commit", "-q", "with", "with"]);
    let said = sandbox.ok([
        "run",
        "--rm",
        "--hosts-file=image",
        "--add-host=db:1.2.3.4",
        "with",
        "cat",
        "/etc/hosts",
    ]);
    assert!(said.contains("10.9.8.6\tof-image") && said.contains("1.2.3.4\tdb"), "{said}");
    assert_eq!(mounted(&["--hosts-file=none"]), "2");
    let output = sandbox.sh(&["--no-hosts", "--add-host=a:1.2.3.4"], "true");
    assert!(output.fails(125).contains("cannot be set together"), "{}", output.stderr);
    assert!(sandbox.sh(&["--hosts-file=/no/such/file"], "true").fails(125).contains("/no/such/file"));
    let output = sandbox.sh(&["--chrootdirs=/jail"], "cat /jail/etc/hostname; ls /jail/etc");
    assert!(output.ok().ends_with("hostname\nhosts\nresolv.conf"), "{}", output.stdout);
}

#[test]
fn a_time_limit_ends_the_container() {
    let sandbox = Sandbox::new();
    let output = sandbox.sh(&["--timeout=1"], "trap '' TERM; sleep 300");
    assert_eq!(output.code, 137, "{}", output.stderr);
}

#[test]
fn required_containers_start_first() {
    let sandbox = Sandbox::new();
    sandbox.ok(["create", "--net=none", "--name=first", "bb", "sleep", "300"]);
    sandbox.ok(["run", "-d", "--net=none", "--name=second", "--requires=first", "bb", "sleep", "300"]);
    assert_eq!(sandbox.inspect("first", ".State.Status"), "running");
    let output = sandbox.sh(&["--requires=nobody"], "true");
    assert!(output.fails(125).contains("nobody"), "{}", output.stderr);
}

#[test]
fn the_monitors_number_is_written_down() {
    let sandbox = Sandbox::new();
    let file = sandbox.path("monitor.pid");
    sandbox.start("c", &[&format!("--conmon-pidfile={}", file.display())], "sleep 300");
    let pid = sandbox.read("monitor.pid");
    let status = std::fs::read_to_string(format!("/proc/{pid}/comm")).expect("it runs");
    assert!(status.starts_with("ketch") || !status.is_empty());
    assert_eq!(sandbox.inspect("c", ".State.ConmonPid"), pid);
    assert_eq!(sandbox.inspect("c", ".ConmonPidFile"), file.display().to_string());
}

#[test]
fn rmi_takes_the_image_along() {
    let sandbox = Sandbox::new();
    sandbox.ok(["tag", "bb", "other"]);
    sandbox.ok(["run", "--net=none", "--rmi", "other", "true"]);
    assert_eq!(sandbox.ketch(["image", "exists", "other"]).code, 1);
    assert_eq!(sandbox.ketch(["image", "exists", "bb"]).code, 0, "the image has another name");
    assert!(sandbox.names().is_empty());
}

#[test]
fn flags_that_cannot_work_say_so() {
    let sandbox = Sandbox::new();
    for (option, said) in [
        ("--device-cgroup-rule=c 1:3 r", "not supported in rootless mode"),
        ("--rdt-class=x", "resctrl"),
        ("--pod=p", "no such pod"),
        ("--pod-id-file=/x", "reading pod ID file: open /x: no such file or directory"),
        ("--init-ctr=always", "must specify pod value with init-ctr"),
        ("--runtime=runc", "no other runtime"),
        ("--storage-opt=size=1G", "root of the host"),
        ("--isolation=hyperv", "default"),
        ("--decryption-key=k", "decrypt"),
        ("--volume-driver=nfs", "local"),
        ("--use-api-socket", "no engine that listens"),
        ("--seccomp-policy=image", "no seccomp policy defined by image"),
        ("--seccomp-policy=what", "valid policies"),
        ("--gpus=all", "unresolvable CDI devices nvidia.com/gpu=all"),
        ("--security-opt=apparmor=mine", "apparmor"),
    ] {
        let output = sandbox.sh(&[option], "true");
        let stderr = output.fails(125);
        assert!(stderr.contains(said), "{option}: {stderr}");
    }
    for fine in
        ["--isolation=default", "--runtime=ketch", "--volume-driver=local", "--security-opt=label=disable"]
    {
        assert_eq!(sandbox.sh(&[fine], "echo ran").ok(), "ran", "{fine}");
    }
}

#[test]
fn options_of_proc_reach_it() {
    let sandbox = Sandbox::new();
    let output =
        sandbox.sh(&["--security-opt=proc-opts=hidepid=2"], "grep ' /proc ' /proc/mounts | head -n 1");
    assert!(output.ok().contains("hidepid="), "{}", output.stdout);
}

#[test]
fn a_profile_in_the_images_label_counts() {
    let sandbox = Sandbox::new();
    let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}"#;
    // A seccomp profile by file has the same effect as one in a label; the label is the image's.
    let file = sandbox.write("profile.json", profile);
    let output = sandbox.sh(&[&format!("--security-opt=seccomp={}", file.display())], "mkdir /x; echo $?");
    assert_eq!(output.ok(), "1");
}

#[test]
fn devices_by_directory_and_by_description() {
    let sandbox = Sandbox::new();
    let output = sandbox.sh(&["--device=/dev/nonsense"], "true");
    assert_eq!(output.code, 125);
    if std::path::Path::new("/dev/net/tun").exists() {
        assert_eq!(sandbox.sh(&["--device=/dev/net"], "ls /dev/net").ok(), "tun");
        assert_eq!(sandbox.sh(&["--device=/dev/net:/dev/mine"], "ls /dev/mine").ok(), "tun");
    }
}

#[test]
fn mounts_with_changes_of_their_own() {
    let sandbox = Sandbox::new();
    sandbox.write("data/in", "below\n");
    let data = sandbox.path("data");
    let volume = format!("{}:/d:O", data.display());
    let script = "cat /d/in; echo changed > /d/in; echo new > /d/out; cat /d/in";
    assert_eq!(sandbox.sh(&["-v", &volume], script).ok(), "below\nchanged");
    assert_eq!(sandbox.read("data/in"), "below\n");
    assert!(!data.join("out").exists());
    // The changes of a life end with it, unless they have a place of their own.
    sandbox.ok(["create", "--net=none", "--name=c", "-v", &volume, "bb", "sh", "-c", "ls /d; touch /d/out"]);
    for _ in 0..2 {
        assert_eq!(sandbox.ok(["start", "-a", "c"]), "in");
    }
    for name in ["upper", "work"] {
        std::fs::create_dir(sandbox.path(name)).expect("make it");
    }
    let kept = format!(
        "{volume},upperdir={},workdir={}",
        sandbox.path("upper").display(),
        sandbox.path("work").display()
    );
    sandbox.sh(&["-v", &kept], "touch /d/out").ok();
    assert!(sandbox.path("upper/out").exists());
    assert_eq!(sandbox.sh(&["-v", &kept], "ls /d").ok(), "in\nout");
    for (options, said) in [
        ("O,ro", "can't use 'O'"),
        ("ro,rw", "can only specify 1"),
        ("shared,private", "can only specify 1"),
        ("O,upperdir=/tmp", "together"),
    ] {
        let output = sandbox.sh(&["-v", &format!("{}:/d:{options}", data.display())], "true");
        assert!(output.fails(125).contains(said), "{options}: {}", output.stderr);
    }
    // With the IDs of the host there is nothing to map, as with podman.
    let idmapped = format!("{}:/d:idmap", data.display());
    assert_eq!(sandbox.sh(&["-v", &idmapped], "stat -c %u /d/in").ok(), "0");
    let output = sandbox.sh(&["--userns=auto", "-v", &idmapped], "true");
    assert!(output.fails(125).contains("idmapped mounts"), "{}", output.stderr);
}

#[test]
fn every_kind_of_mount() {
    let sandbox = Sandbox::new();
    sandbox.write("g/one.txt", "1\n");
    sandbox.write("g/two.txt", "2\n");
    sandbox.write("g/other", "3\n");
    let glob = format!("--mount=type=glob,src={}/*.txt,dst=/g", sandbox.path("g").display());
    assert_eq!(sandbox.sh(&[&glob], "ls /g; cat /g/two.txt").ok(), "one.txt\ntwo.txt\n2");
    let nothing = format!("--mount=type=glob,src={}/*.none,dst=/g", sandbox.path("g").display());
    assert!(sandbox.sh(&[&nothing], "true").fails(125).contains("no file paths matching glob"));
    let kind =
        |option: &str| sandbox.sh(&[option], "grep ' /x ' /proc/mounts | cut -d' ' -f3").ok().to_owned();
    assert_eq!(kind("--mount=type=ramfs,dst=/x"), "ramfs");
    assert_eq!(kind("--mount=type=devpts,dst=/x"), "devpts");
    assert_eq!(kind("--mount=type=mqueue,dst=/x"), "mqueue");
    let output =
        sandbox.sh(&["-u=5:6", "--mount=type=tmpfs,dst=/x,chown=true"], "stat -c %u:%g /x; touch /x/y");
    assert_eq!(output.ok(), "5:6");
    let output = sandbox.sh(&["-u=5:6", "--tmpfs=/x:U,size=1m"], "stat -c %u:%g /x");
    assert_eq!(output.ok(), "5:6");
    let image = "--mount=type=image,src=bb,dst=/x";
    assert_ne!(sandbox.sh(&[image], "test -e /x/bin/sh && touch /x/y").code, 0);
    assert_eq!(sandbox.sh(&[&format!("{image},rw=true")], "touch /x/y && ls /x/y").ok(), "/x/y");
    let output = sandbox.sh(&[&format!("{image},subpath=/etc")], "test -e /x/passwd && touch /x/y");
    assert_ne!(output.code, 0);
    assert!(output.stderr.contains("Read-only"), "{}", output.stderr);
    assert!(sandbox.sh(&[&format!("{image},subpath=/none")], "true").fails(125).contains("/none"));
    let labelled = "--mount=type=volume,src=v,dst=/x,volume-label=a=b,volume-opt=o=nodev";
    sandbox.sh(&[labelled], "true").ok();
    assert_eq!(sandbox.ok(["volume", "inspect", "--format={{.Labels.a}} {{.Options.o}}", "v"]), "b nodev");
    assert!(sandbox.sh(&["--mount=type=what,dst=/x"], "true").fails(125).contains("what"));
}

#[test]
fn secrets_are_files_or_variables() {
    let sandbox = Sandbox::new();
    let file = sandbox.write("s", "hush\n");
    let id = sandbox.ok(["secret", "create", "-l", "a=b", "pw", file.to_str().expect("text")]);
    assert_eq!(id.len(), 25);
    let again = sandbox.ketch(["secret", "create", "pw", file.to_str().expect("text")]);
    assert!(again.fails(125).contains("secret name in use"), "{}", again.stderr);
    assert_eq!(
        sandbox.sh(&["--secret=pw"], "cat /run/secrets/pw; stat -c %a /run/secrets/pw").ok(),
        "hush\n444"
    );
    let placed = "--secret=pw,target=/etc/deep/pw,mode=0400,uid=3,gid=4";
    let output =
        sandbox.sh(&[placed], "cat /etc/deep/pw; stat -c %a:%u:%g /etc/deep/pw; echo x > /etc/deep/pw");
    assert!(output.stdout.starts_with("hush\n400:3:4"), "{}{}", output.stdout, output.stderr);
    assert_ne!(output.code, 0, "a secret cannot be written to");
    assert_eq!(sandbox.sh(&["--secret=pw,type=env,target=PW"], "echo \"<$PW>\"").ok(), "<hush\n>");
    // Only those that are files are listed, as with podman.
    sandbox.ok([
        "create",
        "--name=two",
        "--net=none",
        "--secret=pw,type=env",
        "--secret=pw,target=/pw",
        "bb",
    ]);
    assert_eq!(sandbox.inspect("two", "len .Config.Secrets"), "1");
    sandbox.ok(["rm", "two"]);
    let by_id = format!("--secret={},type=env", &id[..10]);
    assert_eq!(sandbox.sh(&[&by_id], "printf %s \"$pw\"").ok(), "hush");
    for (bad, said) in
        [("nosuch", "no secret with name or id \"nosuch\""), ("pw,mode=x", "octal"), ("pw,type=x", "type")]
    {
        let output = sandbox.sh(&[&format!("--secret={bad}")], "true");
        assert!(output.fails(125).contains(said), "{bad}: {}", output.stderr);
    }
    // A container that has it keeps it.
    sandbox.ok(["create", "--net=none", "--name=c", "--secret=pw", "bb", "cat", "/run/secrets/pw"]);
    assert_eq!(sandbox.ok(["secret", "rm", "pw"]), id);
    assert_eq!(sandbox.ok(["start", "-a", "c"]), "hush");
    let all = sandbox.ok(["inspect", "c"]);
    assert!(all.contains("\"pw\"") && !all.contains("hush"), "{all}");
}

/// What podman and docker users type without a thought (tests/peer holds the whole table).
#[test]
fn everyday_spellings() {
    let sandbox = Sandbox::new();
    let run = |args: &[&str]| sandbox.ketch(["run", "--rm", "--net=none"].iter().chain(args));
    assert_eq!(run(&["--name=", "bb", "echo", "unnamed"]).ok(), "unnamed");
    assert_eq!(run(&["--group-add=55,66", "bb", "id", "-G"]).ok(), "0 55 66");
    // What follows the image is the command's, however much it looks like a flag.
    let entrypoint = r#"--entrypoint=["sh", "-c", "for word; do printf '%s ' \"$word\"; done", "sh"]"#;
    for words in ["-c x", "--help", "-n --rm x", "-e A=b", "--nosuch", "-it", "--", "-- x --", "-"] {
        let words: Vec<&str> = words.split(' ').collect();
        assert_eq!(run(&[&[entrypoint, "bb"], &words[..]].concat()).ok().trim_end(), words.join(" "));
    }
    assert_eq!(run(&["--entrypoint", "sh", "bb", "-c", "echo of the shell"]).ok(), "of the shell");
    // A `--` after the image belongs to the command, one before it does not.
    let script = "echo $0 $@";
    assert_eq!(run(&["--", "bb", "sh", "-c", script, "a", "--", "b"]).ok(), "a -- b");
    assert_eq!(run(&["--entrypoint=echo", "bb", "--", "x"]).ok(), "-- x");
    assert_eq!(run(&["--entrypoint=echo", "--", "bb", "--", "x"]).ok(), "-- x");
    assert!(run(&["bb", "--", "true"]).fails(127).contains("`--` not found"));
    assert!(run(&["bb", ""]).fails(127).contains("`` not found in $PATH"));
    let tmpfs = |option: &str| run(&[&format!("--mount=type=tmpfs,dst=/etc{option}"), "bb", "ls", "/etc"]);
    assert!(tmpfs("").ok().contains("passwd"), "what the image has there is copied up");
    assert!(!tmpfs(",notmpcopyup").ok().contains("passwd"));
    let made = ["create", "--name=i", "--net=none", "--ipc=private", "--volumes-from=v", "bb", "true"];
    sandbox.ok(["create", "--name=v", "--net=none", "bb", "true"]);
    sandbox.ok(made);
    assert_eq!(sandbox.inspect("i", ".HostConfig.IpcMode"), "private");
    assert_eq!(sandbox.inspect("i", ".HostConfig.VolumesFrom"), "[v]");
    assert_eq!(sandbox.inspect("v", ".HostConfig.IpcMode"), "shareable");
    #[rustfmt::skip]
    sandbox.ok([
        "create", "--name=commas", "-p=127.0.0.1:18001:80,127.0.0.1:18002:81", "--expose=90,91/udp",
        "--add-host=a:1.2.3.4,b:1.2.3.5", "--ulimit=nofile=100:200,nproc=50:60", "--dns-option=ndots:1,rotate",
        "--sysctl=net.ipv4.ip_default_ttl=61,net.ipv4.tcp_syncookies=1", "-a=stdout,stderr", "bb",
    ]);
    for (field, want) in [
        (
            "json .HostConfig.PortBindings",
            r#"{"80/tcp":[{"HostIp":"127.0.0.1","HostPort":"18001"}],"81/tcp":[{"HostIp":"127.0.0.1","HostPort":"18002"}]}"#,
        ),
        ("json .Config.ExposedPorts", r#"{"80/tcp":{},"81/tcp":{},"90/tcp":{},"91/udp":{}}"#),
        (".HostConfig.ExtraHosts", "[a:1.2.3.4 b:1.2.3.5]"),
        ("(index .HostConfig.Ulimits 1).Name", "RLIMIT_NPROC"),
        (".HostConfig.DnsOptions", "[ndots:1 rotate]"),
        (".Config.AttachStdout", "true"),
        (".Config.AttachStderr", "true"),
    ] {
        assert_eq!(sandbox.inspect("commas", field), want, "{field}");
    }
    // As for anybody who may not raise them: no limit is as much as there is.
    assert_eq!(run(&["--ulimit=nofile=1024:-1", "bb", "sh", "-c", "ulimit -Sn"]).ok(), "1024");
    assert_eq!(run(&["--ulimit=memlock=-1:-1", "bb", "echo", "ran"]).ok(), "ran");
    assert_eq!(run(&["--log-opt=tag={{.Name}}", "bb", "echo", "tagged"]).ok(), "tagged");
    let told = run(&["-p", "1:1", "bb", "true"]);
    assert!(told.stderr.contains("Port mappings have been discarded"), "{}", told.stderr);
    assert_eq!(told.code, 0);
    sandbox.ok(["create", "--name=p", "--net=none", "bb", "sleep", "1000"]);
    sandbox.ok(["start", "p"]);
    assert_eq!(sandbox.ok(["port", "p", "80"]), "", "it publishes nothing at all");
    assert_eq!(
        sandbox.ok(["inspect", "p", "--format={{json .Name}}{{\"\\n\"}}{{.State.Status}}"]),
        "\"p\"\nrunning"
    );
}

#[test]
fn exec_has_the_secrets_that_are_variables() {
    let sandbox = Sandbox::new();
    let value = sandbox.write("value", "of the secret");
    sandbox.ok(["secret", "create", "s", value.to_str().expect("UTF-8")]);
    sandbox.start("c", &["--secret=s,type=env,target=TOKEN"], "exec sleep 1000");
    assert_eq!(sandbox.ok(["exec", "c", "sh", "-c", "echo $TOKEN"]), "of the secret");
    assert_eq!(sandbox.ok(["exec", "-e", "TOKEN=mine", "c", "sh", "-c", "echo $TOKEN"]), "mine");
    assert!(!sandbox.ok(["inspect", "c"]).contains("of the secret"));
}

#[test]
fn a_secret_that_is_a_variable_has_its_new_value_at_the_next_start() {
    let sandbox = Sandbox::new();
    let set = |value: &str| {
        sandbox.command(["secret", "create", "--replace", "s", "-"]).stdin(value).run().ok().to_owned()
    };
    set("old");
    sandbox.ok([
        "create",
        "--name=c",
        "--net=none",
        "--secret=s,type=env,target=S",
        "bb",
        "sh",
        "-c",
        "echo $S",
    ]);
    assert_eq!(sandbox.ok(["start", "-a", "c"]), "old");
    set("new");
    assert_eq!(sandbox.ok(["start", "-a", "c"]), "new");
    sandbox.ok(["secret", "rm", "s"]);
    let start = sandbox.ketch(["start", "-a", "c"]);
    assert!(start.fails(125).contains("secret s: no such secret"), "{}", start.stderr);
}

#[test]
fn a_unit_of_systemd_is_a_label_of_its_containers() {
    let sandbox = Sandbox::new();
    let create = ["create", "--name=c", "--net=none", "--label=PODMAN_SYSTEMD_UNIT=mine", "bb", "true"];
    sandbox.command(create).env("PODMAN_SYSTEMD_UNIT", "web.service").run().ok();
    let label = "--format={{index .Config.Labels \"PODMAN_SYSTEMD_UNIT\"}}";
    assert_eq!(sandbox.ok(["inspect", label, "c"]), "web.service");
}

/// ketch itself needs more descriptors than that before the command is executed.
#[test]
fn a_limit_of_descriptors_may_be_small() {
    let sandbox = Sandbox::new();
    for (most, init) in [("4", "--init=false"), ("10", "--init=false"), ("4", "--init"), ("14", "--init")] {
        let limit = format!("--ulimit=nofile={most}:{most}");
        let run = ["run", "--rm", "--net=none", init, &limit, "bb", "sh", "-c", "ulimit -n"];
        assert_eq!(sandbox.ok(run), most);
    }
    sandbox.write("ctx/Dockerfile", "FROM bb\nRUN test $(ulimit -n) = 10\n");
    sandbox.ok(["build", "-q", "--network=none", "--ulimit=nofile=10:10", "ctx"]);
}
