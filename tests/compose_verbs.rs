//! Compose: what is seen of a project's containers and taken out of them, hooks, devices, and what is said
//! about keys that have no effect.

mod common;

use common::compose::{Compose, SERVE, project, serving};

#[test]
fn a_project_s_containers_are_looked_into() {
    let sandbox = serving("");
    sandbox.compose(&["up", "-d"]).ok();
    let top = sandbox.compose(&["top"]);
    let lines: Vec<&str> = top.ok().lines().collect();
    assert_eq!(lines[0], "p-a-1");
    assert!(lines[1].starts_with("UID ") && lines[1].trim_end().ends_with("CMD"), "{}", top.stdout);
    assert!(lines[2].contains("sh -c"), "{}", top.stdout);
    let stats = sandbox.compose(&["stats", "--no-stream", "--format", "json", "a"]);
    let row: serde_json::Value = serde_json::from_str(stats.ok()).expect("one JSON object");
    assert_eq!(row["Name"], "p-a-1");
    assert!(row["PIDs"].as_str().is_some_and(|pids| pids.parse::<u32>().is_ok_and(|pids| pids > 0)), "{row}");
    assert!(sandbox.compose(&["stats", "--no-stream"]).ok().contains("p-a-1"));
    sandbox.compose(&["exec", "-T", "a", "sh", "-c", "echo taken > /taken"]).ok();
    sandbox.compose(&["commit", "-m", "why", "a", "taken:1"]).ok();
    assert_eq!(sandbox.ok(["run", "--rm", "taken:1", "cat", "/taken"]), "taken");
    sandbox.compose(&["export", "-o", "out.tar", "a"]).ok();
    let archive = std::fs::read(sandbox.path("p/out.tar")).expect("read the archive");
    assert!(archive.windows(5).any(|bytes| bytes == b"taken"));
    sandbox.write("p/file", "linked");
    std::os::unix::fs::symlink("file", sandbox.path("p/link")).expect("make a link");
    sandbox.compose(&["cp", "-L", "link", "a:/copied"]).ok();
    assert_eq!(sandbox.compose(&["exec", "-T", "a", "cat", "/copied"]).ok(), "linked");
    sandbox.compose(&["stop", "-t", "0"]).ok();
    let events = sandbox.compose(&["events", "--json", "--since", "10m", "--until", "0s"]);
    let actions: Vec<String> = events
        .ok()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a JSON object"))
        .inspect(|event| assert_eq!((&event["service"], &event["type"]), (&"a".into(), &"container".into())))
        .map(|event| event["action"].as_str().expect("an action").to_owned())
        .collect();
    for wanted in ["create", "start", "die"] {
        assert!(actions.iter().any(|action| action == wanted), "{actions:?}");
    }
    let plain = sandbox.compose(&["events", "--since", "10m", "--until", "0s", "nosuch"]);
    plain.fails(125);
    sandbox.compose(&["down"]).ok();
}

#[test]
fn hooks_run_after_the_start_and_before_the_stop() {
    let sandbox = serving(
        ", volumes: ['./out:/out'], post_start: [{command: [sh, -c, 'echo $$W in $$PWD > /out/started'], environment: {W: after}, working_dir: /tmp}], pre_stop: [{command: 'sh -c \"echo bye >> /out/stopped\"'}]",
    );
    sandbox.compose(&["up", "-d"]).ok();
    assert_eq!(sandbox.read("p/out/started"), "after in /tmp\n");
    sandbox.compose(&["restart", "-t", "20"]).ok();
    assert_eq!(sandbox.read("p/out/stopped"), "bye\n");
    sandbox.compose(&["down", "-t", "20"]).ok();
    assert_eq!(sandbox.read("p/out/stopped"), "bye\nbye\n");
    let failing = serving(", post_start: [{command: [sh, -c, 'echo no luck; exit 3']}]");
    let up = failing.compose(&["up", "-d"]);
    let message = up.fails(125);
    assert!(message.contains("a: post_start hook exited with status 3: no luck"), "{message}");
    failing.compose(&["down", "-t", "0"]).ok();
}

#[test]
fn keys_without_effect_are_told_with_their_place() {
    let sandbox = project(&format!(
        "services:
  a:
    image: bb
    network_mode: none
    command: [sh, -c, '{SERVE}']
    mem_swappiness: 10
    deploy:
      placement: {{constraints: [node.role == manager]}}
"
    ));
    let up = sandbox.compose(&["up", "-d"]);
    up.ok();
    for warning in [
        "compose.yaml:6:21: service a: mem_swappiness has no effect: cgroup v2 has no such setting",
        "compose.yaml:8:18: service a: deploy.placement has no effect: it is for a swarm",
    ] {
        assert!(up.stderr.contains(warning), "{}", up.stderr);
    }
    sandbox.compose(&["down", "-t", "0"]).ok();
}

#[test]
fn gpus_are_asked_for_by_cdi() {
    for (keys, message) in [
        (", gpus: all", "unresolvable CDI devices nvidia.com/gpu=all"),
        (
            ", deploy: {resources: {reservations: {devices: [{driver: cdi, device_ids: ['x.com/y=z']}]}}}",
            "unresolvable CDI devices x.com/y=z",
        ),
        (", gpus: [{driver: amd}]", "service a: could not select a device driver of the name \"amd\""),
    ] {
        let sandbox = serving(keys);
        let up = sandbox.compose(&["up", "-d"]);
        assert!(up.fails(125).contains(message), "{}", up.stderr);
        sandbox.compose(&["down"]).ok();
    }
}

#[test]
fn an_external_secret_is_ketch_s_own() {
    let sandbox = project(
        "services:
  a: {image: bb, command: [cat, /run/secrets/inside], network_mode: none, secrets: [{source: s, target: inside}]}
secrets: {s: {external: true, name: outside}}
",
    );
    sandbox.command(["secret", "create", "outside", "-"]).stdin("hush").run().ok();
    let up = sandbox.compose(&["up", "--no-log-prefix"]);
    assert!(up.ok().contains("hush"), "{}", up.stdout);
    sandbox.compose(&["down"]).ok();
}

#[test]
fn config_lists_variables() {
    let sandbox = project("services:\n  a: {image: \"x:${TAG:-1}\", command: \"${B?no} $C\"}\n");
    let row = |name: &str, required: &str, default: &str| format!("{name:<20}{required:<20}{default:<20}\n");
    let want = format!(
        "{:<20}{:<20}{:<20}ALTERNATE VALUE\n{}{}{}",
        "NAME",
        "REQUIRED",
        "DEFAULT VALUE",
        row("B", "true", ""),
        row("C", "false", ""),
        row("TAG", "false", "1")
    );
    assert_eq!(sandbox.compose(&["config", "--variables"]).stdout, want);
}

#[test]
fn options_of_the_local_driver_say_what_a_volume_is() {
    let file = |options: &str| {
        format!(
            "services:
  a: {{image: bb, command: [sh, -c, 'cat /v/page; grep \" /m \" /proc/mounts'], network_mode: none, volumes: ['v:/v', 'm:/m']}}
volumes:
  v: {{driver_opts: {options}}}
  m: {{driver_opts: {{type: tmpfs, device: tmpfs, o: 'size=1m'}}}}
"
        )
    };
    let sandbox = project(&file("{type: none, o: bind, device: ./pages}"));
    sandbox.write("p/pages/page", "bound\n");
    let up = sandbox.compose(&["up", "--no-log-prefix"]);
    assert!(up.ok().contains("bound\n"), "{}", up.stdout);
    assert!(up.stdout.contains("tmpfs /m tmpfs") && up.stdout.contains("size=1024k"), "{}", up.stdout);
    assert_eq!(sandbox.ok(["volume", "ls", "-q"]), "");
    sandbox.compose(&["down"]).ok();
    sandbox.write("p/compose.yaml", file("{type: nfs, o: addr=x, device: ':/x'}"));
    let up = sandbox.compose(&["up"]);
    let message = up.fails(125);
    assert!(message.contains("compose.yaml:4:6: volume v: driver_opts: only root can mount"), "{message}");
}
