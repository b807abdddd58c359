//! What users and scripts of docker and podman write differently, and mean alike.

mod common;

use common::Sandbox;

#[test]
fn names_may_have_docker_s_slash() {
    let sandbox = Sandbox::new();
    sandbox.ok(["create", "--name=/web", "--net=none", "bb", "true"]);
    assert_eq!(sandbox.names(), ["web"]);
    assert_eq!(sandbox.ok(["inspect", "--format={{.Name}}", "/web"]), "web");
    for (filter, count) in [
        ("^/web$", 1),
        ("^(/web|/db)$", 1),
        ("(?i)^WEB$", 1),
        ("^w[[:alpha:]]{2}$", 1),
        ("/web", 1),
        ("^web$", 1),
        ("^/we$", 0),
    ] {
        let found = sandbox.ok(["ps", "-aq", &format!("--filter=name={filter}")]);
        assert_eq!(found.lines().count(), count, "{filter}");
    }
    sandbox.ok(["rename", "/web", "/app"]);
    assert_eq!(sandbox.names(), ["app"]);
    assert!(sandbox.ketch(["create", "--name=a/b", "bb"]).fails(125).contains("names must match"));
    assert_eq!(sandbox.ok(["rm", "/app"]), "/app");
}

#[test]
fn containers_are_found_by_their_ports() {
    let sandbox = Sandbox::new();
    let create = |name: &str, more: &str| {
        let name = format!("--name={name}");
        sandbox.ok(["create", &name, "--net=private", more, "bb", "true"]);
    };
    create("tcp", "--publish=18190-18192:80-82");
    create("udp", "--publish=18191:53/udp");
    create("exposed", "--expose=90-91");
    for (filter, want) in [
        ("publish=18191", "tcp"),
        ("publish=18000-18190/tcp", "tcp"),
        ("publish=18191/udp", "udp"),
        ("publish=80", ""),
        ("expose=82", "tcp"),
        ("expose=91", "exposed"),
        ("expose=53/udp", "udp"),
        ("expose=53", ""),
    ] {
        let found = sandbox.ok(["ps", "-a", "--format={{.Names}}", &format!("--filter={filter}")]);
        assert_eq!(found, want, "{filter}");
    }
    assert!(sandbox.ketch(["ps", "--filter=publish=90-80"]).fails(125).contains("invalid port"));
}

#[test]
fn events_are_told_in_the_words_of_both() {
    let sandbox = Sandbox::new();
    let failing =
        sandbox.ketch(["run", "--rm", "--name=e", "--net=none", "--label=k=v", "bb", "sh", "-c", "exit 17"]);
    assert_eq!(failing.code, 17);
    let told = |filter: &str, format: &str| {
        let (filter, format) = (format!("--filter={filter}"), format!("--format={format}"));
        sandbox.ok(["events", "--stream=false", "--filter=container=e", &filter, &format])
    };
    assert_eq!(told("status=died", "{{.Status}} {{.ContainerExitCode}} {{.Attributes.k}}"), "died 17 v");
    let docker = "{{.Action}} {{.Actor.Attributes.name}} {{.Actor.Attributes.exitCode}} {{.Actor.Attributes.k}} {{.Scope}}";
    assert_eq!(told("event=die", docker), "die e 17 v local");
    assert_eq!(told("event=destroy", "{{.Action}} {{.Status}}"), "destroy remove");
    assert_eq!(told("event=start", "{{.Status}} {{.ContainerExitCode}}"), "start <nil>");
    let none = sandbox.ketch(["--events-backend=none", "events"]);
    assert!(none.fails(125).contains("cannot read events with the \"none\" backend"));
}

#[test]
fn following_a_log_until_looks_ahead() {
    let sandbox = Sandbox::new();
    sandbox.start("c", &[], "echo first; exec sleep 1000");
    sandbox.wait_until(&["logs", "c"], "first");
    // Two seconds from now: what is there is shown, and the command ends by itself.
    assert_eq!(sandbox.ok(["logs", "--follow", "--until=2s", "c"]), "first");
    // A day ago there was nothing.
    assert_eq!(sandbox.ok(["logs", "--until=24h", "c"]), "");
}

#[test]
fn a_privileged_container_knows_itself() {
    let sandbox = Sandbox::new();
    let script = ". /run/.containerenv; echo $name $image ${#id} ${#imageid} $rootless; echo ${engine%%-*}";
    let known =
        sandbox.ok(["run", "--rm", "--privileged", "--name=me", "--net=none", "bb", "sh", "-c", script]);
    let rootless = u8::from(!rustix::process::geteuid().is_root());
    assert_eq!(known, format!("me localhost/bb:latest 64 64 {rootless}\nketch"));
    let plain = sandbox.ok(["run", "--rm", "--net=none", "bb", "sh", "-c", "wc -c < /run/.containerenv"]);
    assert_eq!(plain, "0");
}

#[test]
fn what_was_said_to_be_false_is_false() {
    let sandbox = Sandbox::new();
    let contradiction = sandbox.ketch(["run", "--rmi", "--rm=false", "--net=none", "bb", "true"]);
    assert!(contradiction.fails(125).contains("the --rmi option does not work without --rm"));
    let conf = sandbox.write("c.conf", "[containers]\nread_only=true\nlog_size_max=100000\n");
    let run = |flag: &str| {
        let args = ["run", "--rm", flag, "--net=none", "--log-driver=none", "bb", "touch", "/x"];
        sandbox.command(args).env("CONTAINERS_CONF", &conf).run()
    };
    assert_eq!(run("--read-only=false").code, 0);
    assert_eq!(run("--rm").code, 1);
}

#[test]
fn an_order_that_cannot_be_had_is_clamped_or_told() {
    let sandbox = Sandbox::new();
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").expect("read");
    let least =
        ["run", "--rm", "--net=none", "--oom-score-adj=-1000", "bb", "cat", "/proc/self/oom_score_adj"];
    let want = if rustix::process::geteuid().is_root() { "-1000" } else { own.trim() };
    assert_eq!(sandbox.ok(least), want);
    for good in ["compress=true", "mode=non-blocking", "max-buffer-size=4m"] {
        sandbox.ok(["run", "--rm", "--net=none", "--log-driver=json-file", "--log-opt", good, "bb", "true"]);
    }
    let bad = sandbox.ketch(["run", "--rm", "--net=none", "--log-opt=mode=fast", "bb", "true"]);
    assert!(bad.fails(125).contains("blocking or non-blocking"), "{}", bad.stderr);
    sandbox.start("c", &[], "exec sleep 1000");
    for (word, code) in [("--detach", 125), ("--tty=false", 127)] {
        let lost = sandbox.ketch(["exec", word, "c", "no-such-program"]);
        assert!(lost.fails(code).contains("no-such-program"), "{}", lost.stderr);
    }
}

#[test]
fn output_goes_where_the_hidden_flags_say() {
    let sandbox = Sandbox::new();
    let file = sandbox.path("out").display().to_string();
    assert_eq!(sandbox.ok(["--out", &file, "create", "--name=c", "--net=none", "bb"]), "");
    let id = std::fs::read_to_string(&file).expect("read");
    assert_eq!(id.trim(), sandbox.inspect("c", ".Id"));
    assert_eq!(sandbox.ok(["--noout", "rm", "c"]), "");
    assert!(sandbox.names().is_empty());
}

#[test]
fn volumes_that_would_go_are_named_before() {
    let sandbox = Sandbox::new();
    let ask = |answer: &str| sandbox.command(["volume", "prune"]).stdin(answer).run();
    assert_eq!(ask("y\n").ok(), "No dangling volumes found");
    for name in ["one", "two"] {
        sandbox.ok(["volume", "create", name]);
    }
    sandbox.ok(["create", "--name=c", "--net=none", "-v", "two:/d", "bb"]);
    let asked = ask("n\n");
    assert!(asked.ok().contains("volumes will be removed:\none\nAre you sure"), "{}", asked.stdout);
    assert_eq!(sandbox.ok(["volume", "ls", "-q"]), "one\ntwo");
    assert!(ask("y\n").ok().ends_with("[y/N] one"));
    let missing =
        sandbox.ketch(["volume", "create", "-o", "type=none", "-o", "o=bind", "-o", "device=/no/such", "b"]);
    assert!(
        missing.fails(125).contains("invalid volume option device for driver 'local'"),
        "{}",
        missing.stderr
    );
}

#[test]
fn a_volume_is_given_away_once() {
    let sandbox = Sandbox::new();
    sandbox.write("d/file", "x");
    let bind = format!("{}:/d:U", sandbox.path("d").display());
    let script = "stat -c %u /d /d/file; chown 7 /d/file";
    sandbox.ok([
        "create",
        "--name=c",
        "--net=none",
        "--user=5:6",
        "--cap-add=CHOWN",
        "-v",
        &bind,
        "bb",
        "stat",
        "-c",
        "%u",
        "/d",
        "/d/file",
    ]);
    assert_eq!(sandbox.ok(["start", "-a", "c"]), "5\n5");
    // What the container has given to others since then stays theirs.
    let other = bind.trim_end_matches(":U").to_owned();
    sandbox.ok(["run", "--rm", "--net=none", "-v", &other, "bb", "sh", "-c", script]);
    assert_eq!(sandbox.ok(["start", "-a", "c"]), "5\n7");
    sandbox.ok(["run", "--rm", "--net=none", "-v", &other, "bb", "sh", "-c", "chown 0 /d"]);
    assert_eq!(sandbox.ok(["start", "-a", "c"]), "5\n5");
    sandbox.ok(["run", "--rm", "--net=none", "-v", &other, "bb", "chown", "-R", "0:0", "/d"]);
}

#[test]
fn who_runs_is_not_started_again_and_ids_may_be_patterns() {
    let sandbox = Sandbox::new();
    sandbox.start("up", &[], "exec sleep 1000");
    let id = sandbox.ok(["create", "--name=new", "--net=none", "bb", "sleep", "1000"]);
    assert_eq!(sandbox.ok(["start", "--all"]), id);
    assert_eq!(sandbox.ok(["start", "--all"]), "");
    for (filter, want) in [
        (id[..5].to_uppercase(), 1),
        (format!("^{}", &id[..9]), 1),
        ("[0-9a-f]".into(), 2),
        ("[^0-9a-f]".into(), 0),
    ] {
        let found = sandbox.ok(["ps", "-aq", &format!("--filter=id={filter}")]);
        assert_eq!(found.lines().count(), want, "{filter}");
    }
}

#[test]
fn a_check_is_whole_in_templates() {
    let sandbox = Sandbox::new();
    sandbox.ok([
        "create",
        "--name=c",
        "--net=none",
        "--health-cmd=true",
        "--health-interval=disable",
        "--health-timeout=500ms",
        "--health-on-failure=restart",
        "--restart=always",
        "bb",
    ]);
    let check = "{{.Interval}} {{.Timeout}} {{.StartPeriod}} {{.Retries}}";
    assert_eq!(
        sandbox.ok([
            "inspect",
            "--format",
            &format!("{{{{with .Config.Healthcheck}}}}{check}{{{{end}}}}"),
            "c"
        ]),
        "0s 500ms 0s 3"
    );
    let json = sandbox.inspect("c", "json .Config.Healthcheck");
    assert_eq!(json, r#"{"Test":["CMD-SHELL","true"],"Timeout":500000000,"Retries":3}"#);
}

#[test]
fn volumes_of_others_take_several_options() {
    let sandbox = Sandbox::new();
    sandbox.ok(["create", "--name=c", "--net=none", "-v", "v:/v", "bb"]);
    let run = |from: &str, code: i32| {
        let done =
            sandbox.ketch(["run", "--rm", "--net=none", "--volumes-from", from, "bb", "touch", "/v/f"]);
        assert_eq!(done.code, code, "{from}: {}", done.stderr);
    };
    run("c:ro,z", 1);
    run("c:rw,z", 0);
    run("c:rw,what", 125);
    let wrong = sandbox.ketch([
        "run",
        "--rm",
        "--net=none",
        "-v",
        &format!("{}:/etc/passwd", sandbox.path("").display()),
        "bb",
        "true",
    ]);
    assert!(wrong.fails(125).contains("a directory cannot be mounted over a file"), "{}", wrong.stderr);
    assert_eq!(sandbox.ok(["volume", "create", "--name", "old"]), "old");
}

#[test]
fn json_of_everything_is_one_line_for_each() {
    let sandbox = Sandbox::new();
    for name in ["a", "b"] {
        sandbox.ok([
            "create",
            "--name",
            name,
            "--net=none",
            "--ipc=none",
            "bb",
            "sh",
            "-c",
            "test -e /dev/shm; echo $?",
        ]);
    }
    sandbox.ok(["volume", "create", "v"]);
    let names = |args: &[&str], field: &str| -> Vec<String> {
        let text = sandbox.ok(args.iter().copied().chain(["--format", "{{json .}}"]));
        let name = |line: &str| common::json(line)[field].as_str().unwrap_or_default().to_owned();
        text.lines().map(name).collect()
    };
    assert_eq!(names(&["inspect", "a", "b"], "Name"), ["a", "b"]);
    assert_eq!(names(&["volume", "inspect", "v"], "Name"), ["v"]);
    assert_eq!(names(&["network", "inspect", "ketch"], "driver"), ["bridge"]);
    // docker's names beside podman's.
    assert_eq!(names(&["info"], "OSType"), ["linux"]);
    assert_eq!(sandbox.inspect("a", ".HostConfig.IpcMode"), "none");
    assert_eq!(sandbox.ok(["start", "-a", "a"]), "1", "nothing is shared, nothing is there");
    for verb in ["migrate", "renumber"] {
        assert_eq!(sandbox.ok(["system", verb]), "");
    }
}

/// podman's normal forms of older names, which ansible's podman_container still writes; docker's `secret remove`.
#[test]
fn flags_have_podman_s_older_names() {
    let sandbox = Sandbox::new();
    let checks = "--healthcheck-command=true --healthcheck-interval=30s --healthcheck-retries=4 \
                  --healthcheck-start-period=5s --healthcheck-timeout=6s --override-arch=amd64 --override-os=linux";
    // Truth values as Go reads them: ansible writes Python's.
    let truths = "--read-only=True --read-only-tmpfs=True --tty=False --passwd=T --rm=F --no-healthcheck=0";
    let words = checks.split_whitespace().chain(truths.split_whitespace());
    let args = ["create", "--name=c", "--net=none"].into_iter().chain(words);
    sandbox.ok(args.chain(["bb", "true"]));
    let check = common::json(&sandbox.inspect("c", "json .Config.Healthcheck"));
    assert_eq!((&check["Test"][1], &check["Retries"]), (&"true".into(), &4.into()));
    for (field, seconds) in [("Interval", 30), ("StartPeriod", 5), ("Timeout", 6)] {
        assert_eq!(check[field], seconds * 1_000_000_000_u64, "{field}");
    }
    let id = sandbox.ok(["ps", "-a", "--notruncate", "--storage", "--format={{.ID}}"]);
    assert_eq!(id.len(), 64, "{id}");
    assert!(sandbox.ok(["ps", "-a", "--namespace"]).contains("CGROUPNS"));
    let ids = sandbox.ok(["history", "--notruncate", "--format={{.ID}}", "bb"]);
    assert_eq!(ids.lines().map(str::len).max(), Some(64), "{ids}");
    let file = sandbox.path("value");
    std::fs::write(&file, "x").expect("write a file");
    sandbox.ok(["secret", "create", "s", file.to_str().expect("UTF-8")]);
    sandbox.ok(["secret", "remove", "s"]);
    assert_eq!(sandbox.ok(["secret", "ls", "-q"]), "");
}
