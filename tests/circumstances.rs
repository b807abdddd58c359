//! Containers whose caller or whose flags are unusual: a lower limit than at their creation, a directory that is gone,
//! files without an end; and what flags do that seldom stand on a command line.

mod common;

use common::Sandbox;

const SLEEP: &str = "exec sleep 1000";

#[test]
fn limits_that_nobody_asked_for_are_those_of_who_starts() {
    let sandbox = Sandbox::new();
    let both = "ulimit -n; ulimit -Hn";
    sandbox.ok(["create", "--name=c", "--net=none", "bb", "sh", "-c", both]);
    sandbox.start("up", &[], SLEEP);
    let lowered = |args: &[&str]| sandbox.command(args).through(["prlimit", "--nofile=900:900"]).run();
    assert_eq!(lowered(&["start", "-a", "c"]).ok(), "900\n900");
    assert_eq!(lowered(&["exec", "up", "sh", "-c", both]).ok(), "900\n900");
    // What somebody asked for is not made less without a word.
    let asked = ["run", "--rm", "--net=none", "--ulimit=nofile=5000:5000", "bb", "true"];
    let output = lowered(&asked);
    assert!(output.fails(126).contains("nofile"), "{}", output.stderr);
    sandbox.ok(asked);
}

#[test]
fn a_working_directory_that_is_gone_is_not_needed() {
    let sandbox = Sandbox::new();
    let from_nowhere = |command: &str| {
        let script = format!("mkdir gone && cd gone && rmdir ../gone && {command}");
        sandbox.program("sh", ["-c", &script]).run()
    };
    for options in ["", "-v /usr:/u:ro"] {
        let run = format!("ketch run --rm --net=none {options} bb echo fine");
        assert_eq!(from_nowhere(&run).ok(), "fine", "{options}");
    }
    assert_eq!(
        from_nowhere("ketch create --name=made --net=none bb true; ketch ps -aq | wc -l").ok().len(),
        66
    );
    let build = "printf 'FROM bb\\n' | ketch build -q - > /dev/null && echo built";
    assert_eq!(from_nowhere(build).ok(), "built");
    let relative = from_nowhere("ketch run --rm --net=none -v ./x:/x bb true");
    let told = "gone (deleted)/x: no such file or directory";
    assert!(relative.fails(125).contains(told), "{}", relative.stderr);
    let context = from_nowhere("ketch build .");
    assert!(context.stderr.contains("context directory .: not found"), "{}", context.stderr);
}

#[test]
fn a_umask_that_takes_everything_is_no_hindrance() {
    let sandbox = Sandbox::new();
    let done = sandbox.program("sh", ["-c", "umask 0777
        ketch run -d --name=c --net=none -v made:/v bb sleep 1000 > /dev/null && ketch exec c sh -c 'umask; echo x > /v/f' &&
        ketch stop -t 0 c && ketch logs c && ketch cp c:/etc/passwd out && head -n 1 out | cut -d: -f1 && echo v | ketch secret create s - > /dev/null &&
        ketch secret rm s > /dev/null && ketch rm c && ketch volume rm made"]);
    assert_eq!(done.run().ok(), "0022\nc\nroot\nc\nmade");
}

/// The process in U that ends before it has heard what it is to do says why, however long the command takes to tell it.
#[test]
fn a_limit_of_namespaces_is_told() {
    let sandbox = Sandbox::empty();
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let ketch = common::ketch_binary().display().to_string();
    sandbox.write("fs/x", "");
    // Without newuidmap, which could not map anything there.
    let script = format!(
        "mount --bind /dev/null $(command -v newuidmap) && echo 0 > /proc/sys/user/max_mnt_namespaces && \
         exec unshare --user --map-user={uid} --map-group={gid} {ketch} run --rm --net=none --rootfs fs /x"
    );
    let words = ["--user", "--map-root-user", "--mount", "sh", "-c", &script];
    let run = sandbox.program("unshare", words).run();
    assert!(run.fails(125).contains("create a mount namespace: ENOSPC"), "{}", run.stderr);
    assert!(run.stderr.contains("user.max_user_namespaces"), "{}", run.stderr);
    assert_eq!(sandbox.ok(["ps", "-aq"]), "");
}

#[test]
fn a_stack_that_is_too_small_is_told() {
    let sandbox = Sandbox::new();
    let run = sandbox
        .command(["run", "--rm", "--net=none", "bb", "true"])
        .through(["prlimit", "--stack=65536:65536"])
        .run();
    assert!(
        run.fails(125).contains("Error: the stack may have 64 KiB here (ulimit -s), ketch needs 512"),
        "{}",
        run.stderr
    );
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
}

/// Nothing is lost, and containers run on without what their log cannot take.
#[test]
fn files_that_may_not_grow_are_told() {
    let sandbox = Sandbox::new();
    sandbox.ok(["create", "--name=c", "--net=none", "bb", "sleep", "1000"]);
    let limited = |bytes: &str, args: &[&str]| {
        sandbox.command(args).through(["prlimit", &format!("--fsize={bytes}:{bytes}")]).run()
    };
    for args in [
        &["run", "--rm", "--net=none", "bb", "true"][..],
        &["volume", "create", "v"],
        &["tag", "bb", "other"],
        &["start", "c"],
    ] {
        let done = limited("0", args);
        assert!(
            done.code != 0 && done.stderr.to_lowercase().contains("file too large"),
            "{args:?}: {} {}",
            done.code,
            done.stderr
        );
    }
    assert_eq!(sandbox.names(), ["c"]);
    assert_eq!(sandbox.ok(["volume", "ls", "-q"]), "");
    assert_eq!(sandbox.ok(["images", "-q"]).lines().count(), 1);
    sandbox.ok(["start", "c"]);
    assert_eq!(sandbox.ok(["exec", "c", "echo", "well"]), "well");

    let talk = "while :; do echo 0123456789012345678901234567890123456789 || exit 5; done";
    assert_eq!(
        limited("16384", &["run", "-d", "--name=talks", "--net=none", "bb", "sh", "-c", talk]).code,
        0
    );
    common::wait_for("a full log", || match sandbox.ok(["logs", "talks"]).len() {
        length if length > 4000 => Ok(()),
        length => Err(length.to_string()),
    });
    let status = sandbox.ok(["ps", "--format={{.Status}}", "--filter=name=talks"]);
    assert!(!status.contains("unmonitored"), "{status}");
    assert_eq!(sandbox.inspect("talks", ".State.Status"), "running");
    assert_eq!(sandbox.ok(["stop", "-t0", "talks"]), "talks");
    sandbox.ok(["system", "check"]);
}

#[test]
fn files_without_an_end_are_refused() {
    let sandbox = Sandbox::new();
    for flag in ["--env-file=/dev/zero", "--label-file=/dev/zero", "--security-opt=seccomp=/dev/zero"] {
        let output = sandbox.ketch(["create", flag, "bb"]);
        assert!(
            output.fails(125).contains("/dev/zero: it has more than 16 MiB"),
            "{flag}: {}",
            output.stderr
        );
    }
    let conf = sandbox.command(["create", "bb"]).env("CONTAINERS_CONF", "/dev/zero").run();
    assert!(conf.fails(1).contains("/dev/zero: it has more than 16 MiB"), "{}", conf.stderr);
    let rm = sandbox.ketch(["rm", "--cidfile=/dev/zero"]);
    assert!(rm.fails(125).contains("more than 16 MiB"), "{}", rm.stderr);
    sandbox.write("profile.conf", "[containers]\nseccomp_profile = \"/dev/zero\"\n");
    let profile =
        sandbox.command(["create", "bb"]).env("CONTAINERS_CONF", sandbox.path("profile.conf")).run();
    assert!(profile.fails(125).contains("more than 16 MiB"), "{}", profile.stderr);
    assert!(sandbox.names().is_empty());
}

#[test]
fn restart_may_be_of_those_that_run() {
    let sandbox = Sandbox::new();
    let up = sandbox.start("up", &[], SLEEP);
    sandbox.ok(["create", "--name=made", "--net=none", "bb", "true"]);
    let began = sandbox.inspect("up", ".State.StartedAt");
    assert_eq!(sandbox.ok(["restart", "--running", "-t0"]), up);
    assert_ne!(sandbox.inspect("up", ".State.StartedAt"), began);
    assert_eq!(sandbox.inspect("made", ".State.Status"), "created");
}

#[test]
fn containers_that_others_depend_on_stay() {
    let sandbox = Sandbox::new();
    let ids: Vec<String> =
        [("first", ""), ("second", "--network=container:first"), ("third", "--pid=container:second")]
            .into_iter()
            .map(|(name, option)| {
                let options: Vec<&str> = [option].into_iter().filter(|option| !option.is_empty()).collect();
                sandbox.start(name, &options, SLEEP)
            })
            .collect();
    sandbox.ok(["create", "--name=fourth", "--net=none", "--requires=third", "bb", "true"]);
    for (name, dependent) in [("first", Some(&ids[1])), ("second", Some(&ids[2])), ("third", None)] {
        let rm = sandbox.ketch(["rm", "-f", "-t0", name]);
        let told = rm.fails(125).contains("has dependent containers which must be removed before it");
        assert!(told && dependent.is_none_or(|id| rm.stderr.contains(id)), "{name}: {}", rm.stderr);
    }
    assert!(sandbox.ketch(["rm", "first"]).fails(2).contains("running"), "that comes first");
    assert_eq!(sandbox.names().len(), 4, "nothing went with them");
    // Named together they go in the order in which they can.
    assert_eq!(sandbox.ok(["rm", "-f", "-t0", "third", "fourth"]), "fourth\nthird");
    assert_eq!(sandbox.ok(["rm", "-f", "-t0", "--depend", "first"]), format!("first\n{}", ids[1]));
    assert!(sandbox.names().is_empty());
    sandbox.ok(["create", "--name=a", "--net=none", "bb", "true"]);
    sandbox.ok(["create", "--name=b", "--network=container:a", "bb", "true"]);
    assert_eq!(sandbox.ok(["container", "prune", "-f"]).lines().count(), 2);
    sandbox.ok(["create", "--name=a", "--net=none", "bb", "true"]);
    sandbox.ok(["create", "--name=b", "--network=container:a", "bb", "true"]);
    assert_eq!(sandbox.ok(["rm", "-a"]).lines().count(), 2);
}

#[test]
fn the_callers_environment_comes_along_if_asked() {
    let sandbox = Sandbox::new();
    let run = |flags: &[&str]| {
        let args = [&["run", "--rm", "--net=none"], flags, &["bb", "sh", "-c", "echo $FROM_CALLER"]].concat();
        sandbox.command(args).env("FROM_CALLER", "x y").run().ok().to_owned()
    };
    assert_eq!(run(&[]), "");
    assert_eq!(run(&["--env-host"]), "x y");
    assert_eq!(run(&["--env-host", "-e", "FROM_CALLER=z"]), "z");
}

#[test]
fn flags_that_change_nothing_of_an_answer() {
    let sandbox = Sandbox::new();
    let id = sandbox.start("c", &[], SLEEP);
    assert_eq!(sandbox.ok(["ps", "-q", "--no-trunc", "--sync"]), id);
    assert_eq!(sandbox.ketch(["container", "exists", "--external", "c"]).code, 0);
    assert_eq!(sandbox.ketch(["container", "exists", "--external", "nosuch"]).code, 1);
    assert_eq!(sandbox.ok(["stats", "--no-stream", "--no-reset", "--format={{.Name}}"]), "c");
    sandbox.command(["secret", "create", "--driver-opts=a=b", "s", "-"]).stdin("x").run().ok();
    assert_eq!(sandbox.ok(["secret", "inspect", "--format={{.Spec.Driver.Options.a}}", "s"]), "b");
}

#[test]
fn a_new_store_is_not_made_by_a_look_at_it() {
    let sandbox = Sandbox::empty();
    let root = sandbox.path("nowhere/store");
    let look = |args: &[&str]| sandbox.command(args).env("KETCH_ROOT", &root).run();
    for args in [
        &["ps", "-aq"][..],
        &["images", "-q"],
        &["volume", "ls", "-q"],
        &["secret", "ls", "-q"],
        &["container", "ls", "--format={{.ID}}"],
    ] {
        assert_eq!(look(args).ok(), "", "{args:?}");
        assert!(!root.exists(), "{args:?}");
    }
    assert_eq!(look(&["container", "exists", "c"]).code, 1);
    assert!(look(&["logs", "c"]).fails(125).contains("no such container"));
    assert!(!root.exists(), "questions about what is not there make nothing either");
    look(&["volume", "create", "v"]).ok();
    assert!(root.join("volumes/v").exists());
}

#[test]
fn links_are_removed_one_by_one() {
    let sandbox = Sandbox::new();
    sandbox.start("db", &["--network=bridge"], SLEEP);
    let links = ["--network=bridge", "--link=db:one", "--link=db:two"];
    sandbox.start("web", &links, "grep -ow -e one -e two /etc/hosts | sort | tr '\\n' ' '; exec sleep 1000");
    sandbox.wait_until(&["logs", "web"], "one two");
    assert_eq!(sandbox.ok(["rm", "--link", "/web/one"]), "/web/one");
    sandbox.ok(["restart", "-t0", "web"]);
    sandbox.wait_until(&["logs", "web"], "one two two ");
    assert_eq!(sandbox.ok(["exec", "web", "grep", "-cw", "two", "/etc/hosts"]), "1");
    for (wrong, code, words) in [
        ("web/one", 1, "no such link"),
        ("nosuch/one", 1, "no such container"),
        ("web", 2, "cannot remove the default link name"),
    ] {
        let output = sandbox.ketch(["rm", "--link", wrong]);
        assert!(output.fails(code).contains(words), "{wrong}: {}", output.stderr);
    }
    assert_eq!(sandbox.names().len(), 2, "no container is removed");
}

#[test]
fn update_looks_for_the_container_first() {
    let sandbox = Sandbox::new();
    sandbox.ok(["create", "--name=c", "--net=none", "bb", "true"]);
    assert!(sandbox.ketch(["update", "c"]).fails(125).contains("nothing to change"));
    assert!(sandbox.ketch(["update", "nosuch"]).fails(125).contains("no such container"));
}

/// As process 1 of a container that ketch runs in, like `sleep infinity`: whoever loses their parent becomes a child of
/// this process, which waits for nobody.
#[test]
fn where_nobody_reaps_orphans_containers_end_all_the_same() {
    nix::sys::prctl::set_child_subreaper(true).expect("take orphans");
    let sandbox = Sandbox::new();
    sandbox.start("c", &["--net=none"], SLEEP);
    sandbox.ok(["exec", "-d", "c", "sh", "-c", "sleep 1000 & exec true"]);
    common::wait_for("the end of the session", || {
        let ids = sandbox.inspect("c", ".ExecIDs");
        if ids == "[]" { Ok(()) } else { Err(ids) }
    });
    sandbox.ok(["exec", "-d", "c", "sleep", "1000"]);
    sandbox.ok(["stop", "-t0", "c"]);
    assert_eq!(sandbox.inspect("c", ".State.Status"), "exited");

    sandbox.ok(["start", "c"]);
    let monitor = sandbox.inspect("c", ".State.ConmonPid").parse().expect("a process");
    let monitor = rustix::process::Pid::from_raw(monitor).expect("a process");
    rustix::process::kill_process(monitor, rustix::process::Signal::KILL).expect("kill the monitor");
    sandbox.ok(["kill", "c"]);
    sandbox.wait_until(&["inspect", "c", "--format={{.State.Running}}"], "false");
    sandbox.ok(["start", "c"]);
    sandbox.ok(["rm", "-ft0", "c"]);
    nix::sys::prctl::set_child_subreaper(false).expect("take none any more");
}
