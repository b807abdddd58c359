//! Docker's API: events, in docker's order and with what docker says of them; podman's users see podman's.

mod common;

use std::io::{BufReader, Read as _};

use common::Sandbox;
use common::api::{Api, read_head, send};
use common::docker::Docker;
use serde_json::{Value, json};

/// Kind and action of each event so far, without those of images.
#[track_caller]
fn told(api: &Api) -> Vec<(String, Value)> {
    let all = api.get("/events?since=0.5&until=0s").expect(200).documents();
    let word = |event: &Value| {
        format!(
            "{} {}",
            event["Type"].as_str().unwrap_or_default(),
            event["Action"].as_str().unwrap_or_default()
        )
    };
    let all = all.into_iter().filter(|event| event["Type"] != "image");
    all.map(|event| (word(&event), event["Actor"].clone())).collect()
}

/// What podman's users see, in podman's words.
fn podmans(sandbox: &Sandbox) -> Vec<String> {
    let args = ["events", "--stream=false", "--filter=type=container", "--format={{.Status}}"];
    sandbox.ok(args).lines().map(str::to_owned).collect()
}

#[test]
fn a_life_is_told_in_dockers_order() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    let document = json!({
        "Image": "bb", "Cmd": ["sh", "-c", "trap 'exit 3' TERM; echo ready; while :; do sleep 0.1; done"],
        "HostConfig": {"Binds": ["data:/data:ro"]},
    });
    let id = api.post("/containers/create?name=c", &document).expect(201).json()["Id"].clone();
    // Who waits is not attached; who attaches is, before the container starts.
    let mut waiting = api.connect();
    send(&mut waiting, "POST", "/containers/c/wait?condition=next-exit", &[], b"");
    let mut waiting = BufReader::new(waiting);
    read_head(&mut waiting);
    let mut attached = api.connect();
    send(
        &mut attached,
        "POST",
        "/containers/c/attach?stream=1&stdout=1",
        &[("Upgrade", "tcp"), ("Connection", "Upgrade")],
        b"",
    );
    let mut attached = BufReader::new(attached);
    read_head(&mut attached);
    api.post("/containers/c/start", &Value::Null).expect(204);
    sandbox.wait_until(&["logs", "c"], "ready");
    let exec = json!({"AttachStdout": true, "Cmd": ["sh", "-c", "exit 4"]});
    let session = api.post("/containers/c/exec", &exec).expect(201).json()["Id"].clone();
    api.post(&format!("/exec/{}/start", session.as_str().unwrap()), &json!({}));
    api.post("/containers/c/stop", &Value::Null).expect(204);
    api.delete("/containers/c").expect(204);
    attached.read_to_end(&mut Vec::new()).unwrap();

    let told = told(&api);
    let words: Vec<_> = told.iter().map(|(word, _)| word.as_str()).collect();
    assert_eq!(
        words,
        [
            "volume create",
            "container create",
            "container attach",
            "volume mount",
            "network connect",
            "container start",
            "container exec_create: sh -c exit 4",
            "container exec_start: sh -c exit 4",
            "container exec_die",
            "container kill",
            "container die",
            "network disconnect",
            "volume unmount",
            "container stop",
            "container destroy",
        ]
    );
    let of = |word: &str, key: &str| {
        let (_, actor) = told.iter().find(|(known, _)| known == word).unwrap();
        actor["Attributes"][key].clone()
    };
    for word in ["exec_create: sh -c exit 4", "exec_start: sh -c exit 4", "exec_die"] {
        assert_eq!(of(&format!("container {word}"), "execID"), session, "{word}");
    }
    let bridge = api.get("/networks/bridge").expect(200).json();
    let connected = &told.iter().find(|(word, _)| word == "network connect").unwrap().1;
    assert_eq!((&connected["ID"], &connected["Attributes"]["type"]), (&bridge["Id"], &json!("bridge")));
    for (word, key, want) in [
        ("container exec_die", "exitCode", json!("4")),
        ("container kill", "signal", json!("15")),
        ("container die", "exitCode", json!("3")),
        ("network connect", "container", id.clone()),
        ("network disconnect", "name", json!("bridge")),
        ("volume mount", "destination", json!("/data")),
        ("volume mount", "read/write", json!("false")),
        ("volume unmount", "container", id),
    ] {
        assert_eq!(of(word, key), want, "{word}");
    }
    assert!(of("container die", "execDuration").is_string());
    let filters = "%7B%22event%22%3A%5B%22exec_start%22%5D%7D";
    let starts = api.get(&format!("/events?since=0.5&until=0s&filters={filters}")).expect(200).documents();
    assert_eq!(starts.len(), 1);

    // podman has neither the signal of a stop nor an exec that is made, and attaches by whoever does so.
    let podmans = podmans(&sandbox);
    assert_eq!(
        podmans,
        ["create", "attach", "init", "start", "exec", "exec_died", "died", "cleanup", "stop", "remove"]
    );
    let all = sandbox.ok(["events", "--stream=false", "--filter=type=network", "--filter=type=volume"]);
    assert_eq!(all.lines().count(), 1, "{all}");
}

/// `docker rm -f` kills, and a stop that is not heard ends so, too.
#[test]
fn signals_are_told_by_their_numbers() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    for name in ["deaf", "short", "forced"] {
        sandbox.start(name, &["--net=none"], "trap '' TERM; echo ready; while :; do sleep 0.1; done");
        sandbox.wait_until(&["logs", name], "ready");
    }
    api.post("/containers/deaf/stop?t=1", &Value::Null).expect(204);
    api.post("/containers/short/kill?signal=9", &Value::Null).expect(204);
    sandbox.ok(["wait", "short"]);
    api.delete("/containers/forced?force=1").expect(204);
    let told = told(&api);
    let of = |name: &str| -> Vec<String> {
        let own = told
            .iter()
            .filter(|(word, actor)| word.starts_with("container ") && actor["Attributes"]["name"] == name);
        own.map(|(word, actor)| {
            let signal = actor["Attributes"]["signal"].as_str().unwrap_or_default();
            format!("{}{signal}", word.trim_start_matches("container "))
        })
        .collect()
    };
    assert_eq!(of("deaf")[2..], ["kill15", "kill9", "die", "stop"]);
    assert_eq!(of("short")[2..], ["kill9", "die"]);
    assert_eq!(of("forced")[2..], ["kill9", "die", "destroy"]);
    sandbox.ok(["rm", "deaf", "short"]);
}

/// The same through a link named docker, whose foreground is attached before the start.
#[test]
fn the_command_line_tells_the_same() {
    let docker = Docker::new();
    docker.ok("run --name c --net none bb true");
    docker.ok("rm c");
    docker.ok("run -d --name d --net none bb sleep 1000");
    docker.ok("exec d echo x");
    let begun = std::time::Instant::now();
    docker.ok("rm -f d");
    assert!(begun.elapsed() < std::time::Duration::from_secs(8), "it is killed");
    let format = "{{.Type}} {{.Action}} {{.Actor.Attributes.name}}";
    let args = ["events", "--stream=false", "--since=0.5", "--format", format];
    let said = docker.sandbox.program(&docker.link, args).run().ok().to_owned();
    let said: Vec<_> = said.lines().filter(|line| !line.starts_with("image ")).collect();
    assert_eq!(
        said,
        [
            "container create c",
            "container attach c",
            "network connect none",
            "container start c",
            "container die c",
            "network disconnect none",
            "container destroy c",
            "container create d",
            "network connect none",
            "container start d",
            "container exec_create: echo x d",
            "container exec_start: echo x d",
            "container exec_die d",
            "container kill d",
            "container die d",
            "network disconnect none",
            "container destroy d",
        ]
    );
}

/// What docker has events for and podman has not.
#[test]
fn looks_copies_and_prunes_are_told_to_docker_s_users() {
    let docker = Docker::new();
    docker.ok("run -d --name box --net none bb sleep 1000");
    docker.ok("top box");
    docker.ok("cp box:/etc/passwd -");
    docker.ok("cp /etc/hostname box:/tmp/x");
    docker.ok(&format!("export -o {} box", docker.sandbox.path("archive").display()));
    docker.ok("container prune -f");
    docker.ok("volume prune -f");
    let said = docker.ok("events --since 1h --until 0s --filter type=container --format {{.Action}}");
    let of: Vec<&str> = said.lines().skip_while(|word| *word != "top").collect();
    assert_eq!(of, ["top", "archive-path", "extract-to-dir", "export", "prune"]);
    let pruned = docker.lines("events --since 1h --until 0s --filter event=prune --format json");
    let kinds: Vec<_> = pruned.iter().map(|event| &event["Type"]).collect();
    assert_eq!(kinds, [&json!("container"), &json!("volume")]);
    assert_eq!(pruned[0]["Actor"], json!({"ID": "", "Attributes": {"reclaimed": "0"}}));
    assert_eq!(podmans(&docker.sandbox), ["create", "init", "start"]);
}
