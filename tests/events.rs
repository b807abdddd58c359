//! `events`: what has happened is told, in order, by whoever did it.

mod common;

use common::Sandbox;

/// A sandbox in whose store nothing has happened yet.
fn fresh() -> Sandbox {
    let sandbox = Sandbox::new();
    std::fs::remove_dir_all(sandbox.store().join("events")).expect("its image was pulled");
    sandbox
}

/// Kind, status and name of every event so far, a line for each.
fn told(sandbox: &Sandbox, filters: &[&str]) -> Vec<String> {
    let mut args = vec!["events", "--stream=false", "--format={{.Type}} {{.Status}} {{.Name}}{{.Network}}"];
    args.extend(filters);
    sandbox.ok(args).lines().map(str::to_owned).collect()
}

#[test]
fn the_life_of_a_container_is_told_in_order() {
    let sandbox = fresh();
    sandbox.start(
        "c",
        &["--label=colour=red"],
        "trap 'exit 3' TERM; echo ready; while :; do sleep 0.1; done",
    );
    sandbox.wait_until(&["logs", "c"], "ready");
    sandbox.ok(["exec", "c", "true"]);
    sandbox.ok(["rename", "c", "d"]);
    sandbox.ok(["stop", "d"]);
    sandbox.ok(["start", "d"]);
    sandbox.ok(["kill", "d"]);
    sandbox.ok(["rm", "d"]);
    sandbox.ok(["run", "--rm", "--net=none", "--name=x", "bb", "true"]);

    let events = told(&sandbox, &["--filter=type=container"]);
    let status = |line: &String| line.split(' ').nth(1).map(str::to_owned);
    let of = |name: &str| -> Vec<String> {
        events.iter().filter(|line| line.ends_with(&format!(" {name}"))).filter_map(status).collect()
    };
    assert_eq!(of("c"), ["create", "init", "start", "exec", "exec_died"]);
    let later = of("d");
    for part in [
        &["rename", "died", "cleanup", "stop", "init", "start"][..],
        &["kill"],
        &["died", "cleanup", "remove"],
    ] {
        let mut rest = later.iter();
        assert!(part.iter().all(|wanted| rest.any(|found| found == wanted)), "{part:?} in {later:?}");
    }
    assert_eq!(of("x"), ["create", "init", "start", "attach", "died", "cleanup", "remove"]);

    let died = sandbox.ok([
        "events",
        "--stream=false",
        "--filter=event=die",
        "--filter=label=colour=red",
        "--format={{.ContainerExitCode}} {{.Attributes.colour}} {{.Image}}",
    ]);
    let of_create = |filter: &str, template: &str| {
        let filters = ["events", "--stream=false", "--filter=label=colour=red", filter, "--format", template];
        sandbox.ok(filters)
    };
    assert_eq!(of_create("--filter=event=remove", "{{.ContainerExitCode}}"), "137");
    // Labels are a map: what is not among them is no mistake.
    assert_eq!(
        of_create("--filter=EVENT=create", "{{.Attributes.nosuch}} {{.Attributes.colour}}"),
        "<no value> red"
    );
    assert_eq!(of_create("--filter=scope=swarm", "{{.Name}}"), "");
    assert_eq!(of_create("--filter=daemon=x", "{{.Name}}"), "");
    let codes: Vec<_> = died.lines().map(|line| line.split(' ').next().unwrap_or_default()).collect();
    assert_eq!(codes, ["3", "137"], "{died}");
    assert!(died.lines().all(|line| line.contains(" red ") && line.contains("bb")), "{died}");
    let json = sandbox.ok(["events", "--stream=false", "--filter=container=x", "--format=json"]);
    let first: serde_json::Value =
        serde_json::from_str(json.lines().next().expect("an event")).expect("JSON");
    assert_eq!((first["Status"].as_str(), first["Type"].as_str()), (Some("create"), Some("container")));
    assert!(first["timeNano"].as_i64() > first["time"].as_i64());
    let plain = sandbox.ok(["events", "--stream=false", "--filter=container=x", "--no-trunc=false"]);
    let line = plain.lines().next().expect("an event");
    assert!(line.contains(" UTC container create ") && line.ends_with("name=x)"), "{line}");
}

#[test]
fn images_volumes_and_networks_are_told_of() {
    let sandbox = fresh();
    sandbox.ok(["tag", "bb", "other"]);
    sandbox.ok(["untag", "other", "localhost/other:latest"]);
    sandbox.ok(["volume", "create", "v"]);
    sandbox.ok(["volume", "rm", "v"]);
    sandbox.ok(["network", "create", "n"]);
    sandbox.ok(["network", "rm", "n"]);
    sandbox.ok(["run", "--rm", "--net=none", "-v", "/anonymous", "bb", "true"]);

    sandbox.write("context/Dockerfile", "FROM localhost/bb\nLABEL x=1\n");
    let built = sandbox.ok(["build", "-q", "--no-cache", "context"]);
    assert_eq!(
        told(&sandbox, &["--filter=type=image"]),
        [
            "image tag localhost/other:latest",
            "image untag localhost/other:latest",
            &format!("image build {built}")
        ]
    );
    let volumes = told(&sandbox, &["--filter=type=volume"]);
    assert_eq!(volumes[..2], ["volume create v", "volume remove v"]);
    assert!(volumes[2].starts_with("volume create "), "{volumes:?}");
    assert_eq!(told(&sandbox, &["--filter=volume=v"]).len(), 2, "by name");
    assert_eq!(told(&sandbox, &["--filter=type=network"]), ["network create n", "network remove n"]);
}

#[test]
fn events_are_followed_until_a_time_and_filters_choose() {
    let sandbox = fresh();
    let follower = sandbox
        .command(["events", "--filter=event=create", "--filter=type=volume", "--format={{.Name}}"])
        .spawn();
    // Nothing says that it listens: make volumes until it has seen one.
    let mut count = 0;
    common::wait_for("the first event", || {
        count += 1;
        sandbox.ok(["volume", "create", &format!("v{count}")]);
        let seen = follower.stdout_so_far();
        if seen.is_empty() { Err(seen) } else { Ok(()) }
    });
    sandbox.ok(["volume", "create", "last"]);
    follower.expect("last\n");
    follower.signal(rustix::process::Signal::TERM);
    follower.wait();

    let past = sandbox.ketch(["events", "--until=1s", "--since=1h"]);
    assert_eq!(past.code, 0, "{}", past.stderr);
    let begun = std::time::Instant::now();
    let ahead = sandbox.ketch(["events", "--until=1s"]);
    assert!(begun.elapsed() >= std::time::Duration::from_secs(1), "{}", ahead.stderr);
    let now = sandbox.ok(["events", "--stream=false", "--since=0s"]);
    assert_eq!(now, "", "nothing since now");
    let soon = sandbox.ketch(["events", "--since=1h", "--until=-300ms", "--filter=volume=last"]);
    assert_eq!(soon.stdout.lines().count(), 1, "{}", soon.stderr);
    let bad = sandbox.ketch(["events", "--filter=foo=bar"]);
    assert!(bad.fails(125).contains("foo is an invalid filter"), "{}", bad.stderr);
}

#[test]
fn a_check_of_health_is_told() {
    let sandbox = fresh();
    let options =
        ["--health-cmd=echo well", "--health-interval=1h", "--health-log-destination=events_logger"];
    sandbox.start("h", &options, "sleep 1000");
    sandbox.ok(["wait", "--condition=healthy", "h"]);
    let line = sandbox.wait_until(&["events", "--stream=false", "--filter=event=health_status"], "name=h");
    assert!(line.contains("health_status=healthy, health_failing_streak=0, health_log=well"), "{line}");
    assert_eq!(sandbox.inspect("h", "json .State.Health.Log"), "null");
}

#[test]
fn events_can_go_elsewhere() {
    let sandbox = fresh();
    sandbox.ok(["--events-backend=none", "run", "--rm", "--net=none", "bb", "true"]);
    assert_eq!(sandbox.ok(["events", "--stream=false"]), "");

    let journal = std::os::unix::net::UnixDatagram::bind(sandbox.path("journal")).expect("make a socket");
    journal.set_read_timeout(Some(std::time::Duration::from_secs(60))).expect("set a time limit");
    let run = sandbox
        .command(["--events-backend=journald", "volume", "create", "v"])
        .env("KETCH_JOURNAL_SOCKET", sandbox.path("journal"))
        .run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let mut buffer = [0; 4096];
    let length = journal.recv(&mut buffer).expect("an entry of the journal");
    let entry = String::from_utf8_lossy(&buffer[..length]).into_owned();
    for field in
        ["PODMAN_EVENT=create\n", "PODMAN_TYPE=volume\n", "PODMAN_NAME=v\n", "SYSLOG_IDENTIFIER=ketch\n"]
    {
        assert!(entry.contains(field), "{entry}");
    }
    // In place of systemd's program, which goes on for ever when it follows.
    let line = r#"{"SYSLOG_IDENTIFIER":"ketch","PODMAN_EVENT":"create","PODMAN_TYPE":"volume","PODMAN_NAME":"v","PODMAN_TIME":"2026-11-21T08:58:56Z"}"#;
    let program = format!("#!/bin/sh\necho '{line}'\ncase \"$*\" in *--follow*) exec sleep 600;; esac\n");
    sandbox.write_program("bin/journalctl", program);
    let bin = sandbox.path("bin").display().to_string();
    for script in ["--since=1 --until=1m", "--until=1s", "--stream=false", "| head -n 1"] {
        let script = format!("PATH={bin}:$PATH; ketch --events-backend=journald events {script}");
        let events = sandbox.program("sh", ["-c", &script]).run();
        assert_eq!((events.code, events.stdout.lines().count()), (0, 1), "{script}: {events:?}");
    }
    let bad = sandbox.ketch(["--events-backend=paper", "ps"]);
    assert!(bad.fails(125).contains("unknown events backend"), "{}", bad.stderr);
}

#[test]
fn a_store_that_cannot_be_written_is_no_reason_to_fail() {
    let sandbox = fresh();
    sandbox.write("store/events", "in the way");
    sandbox.ok(["run", "--rm", "--net=none", "bb", "true"]);
    sandbox.ok(["volume", "create", "v"]);
}

#[test]
fn what_happens_beside_a_containers_life_is_told_as_podman_tells_it() {
    let sandbox = fresh();
    sandbox.start("c", &[], "exec sleep 1000");
    sandbox.ok(["exec", "-d", "c", "sh", "-c", "exit 3"]);
    sandbox.wait_until(&["events", "--stream=false", "--filter=event=exec_died"], "exec_died");
    sandbox.ok(["update", "--restart=always", "c"]);
    let archive = sandbox.path("a.tar").display().to_string();
    sandbox.ok(["save", "-o", &archive, "bb"]);
    sandbox.ok(["load", "-i", &archive]);
    sandbox.ketch(["unshare", "sh", "-ec", "ketch mount c; ketch umount c"]).ok();
    sandbox.ok(["stop", "--time=0", "c"]);
    sandbox.ok(["init", "c"]);
    sandbox.ok(["rm", "--force", "--time=0", "c"]);
    let events = told(&sandbox, &[]);
    let mut rest = events.iter();
    for wanted in [
        "container create c",
        "container start c",
        "container exec c",
        "container exec_died c",
        "container update c",
        &format!("image save {archive}"),
        &format!("image loadfromarchive {archive}"),
        "container mount c",
        "container unmount c",
        "container died c",
        "container cleanup c",
        "container init c",
        "container remove c",
    ] {
        assert!(rest.any(|event| event == wanted), "{wanted} in {events:#?}");
    }
    assert_eq!(events.iter().filter(|event| *event == "container start c").count(), 1, "{events:#?}");
}
