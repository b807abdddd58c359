//! inspect: podman's fields, templates, what is missing.

mod common;

use common::Sandbox;
use serde_json::{Value, json};

fn document(text: &str) -> Value {
    let all: Value = serde_json::from_str(text).expect("inspect prints JSON");
    all[0].clone()
}

#[test]
fn sizes_are_told_to_who_asks_though_they_are_nothing() {
    let sandbox = Sandbox::new();
    sandbox.ok(["create", "--name=c", "bb", "true"]);
    let document =
        |args: &[&str]| common::json(&sandbox.ok([&["container", "inspect", "c"], args].concat()))[0].clone();
    assert_eq!(document(&["--size"])["SizeRw"], 0);
    assert!(document(&["--size"])["SizeRootFs"].as_u64() > Some(0));
    assert_eq!(document(&[]).get("SizeRw"), None);
}

#[test]
fn a_container_tells_what_was_asked_for() {
    let sandbox = Sandbox::new();
    let host_dir = sandbox.path("home");
    let bind = format!("{}:/mnt:ro", host_dir.display());
    #[rustfmt::skip]
    let id = sandbox.ok([
        "create", "--name=box", "--hostname=inner", "--user=app", "--workdir=/tmp", "--env=A=b c", "--label=k=v",
        "--network=none", "--read-only", "--cap-add=NET_ADMIN", "--cap-drop=CHOWN", "--ulimit=nofile=10:20",
        "--stop-signal=INT", "--stop-timeout=3", "--shm-size=1m", "--tmpfs=/t", "-v", &bind, "--restart=on-failure:2",
        "--security-opt=no-new-privileges", "-it", "--entrypoint=[\"sh\",\"-c\"]", "bb", "sleep 5",
    ]);

    let doc = document(&sandbox.ok(["inspect", "box"]));

    for (pointer, want) in [
        ("/Id", json!(id)),
        ("/Name", json!("box")),
        ("/Path", json!("sh")),
        ("/Args", json!(["-c", "sleep 5"])),
        ("/State/Status", json!("created")),
        ("/State/Running", json!(false)),
        ("/State/StartedAt", json!("0001-01-01T00:00:00Z")),
        ("/ImageName", json!("localhost/bb:latest")),
        ("/Config/Hostname", json!("inner")),
        ("/Config/User", json!("app")),
        ("/Config/WorkingDir", json!("/tmp")),
        ("/Config/Tty", json!(true)),
        ("/Config/OpenStdin", json!(true)),
        ("/Config/Cmd", json!(["sleep 5"])),
        ("/Config/Entrypoint", json!(["sh", "-c"])),
        ("/Config/Labels/k", json!("v")),
        ("/Config/StopSignal", json!("SIGINT")),
        ("/Config/StopTimeout", json!(3)),
        ("/HostConfig/NetworkMode", json!("none")),
        ("/HostConfig/ReadonlyRootfs", json!(true)),
        ("/HostConfig/CapAdd", json!(["CAP_NET_ADMIN"])),
        ("/HostConfig/CapDrop", json!(["CAP_CHOWN"])),
        ("/HostConfig/Ulimits/0", json!({"Name": "RLIMIT_NOFILE", "Soft": 10, "Hard": 20})),
        ("/HostConfig/ShmSize", json!(1 << 20)),
        ("/HostConfig/RestartPolicy", json!({"Name": "on-failure", "MaximumRetryCount": 2})),
        ("/HostConfig/LogConfig/Type", json!("k8s-file")),
        ("/Mounts/0/Destination", json!("/mnt")),
        ("/Mounts/0/RW", json!(false)),
        ("/Mounts/0/Source", json!(host_dir.to_str())),
        ("/NetworkSettings/Networks/none/NetworkID", json!("none")),
    ] {
        assert_eq!(doc.pointer(pointer), Some(&want), "{pointer}: {doc:#}");
    }
    assert!(doc["Config"]["Env"].as_array().expect("a list").contains(&json!("A=b c")));
    assert!(!doc["BoundingCaps"].as_array().expect("a list").contains(&json!("CAP_CHOWN")));
    assert!(doc["HostConfig"]["Tmpfs"]["/t"].is_string(), "{doc:#}");
    assert_eq!(document(&sandbox.ok(["inspect", "--format=", "box"])), doc, "no template is the usual form");

    let labelled = ["create", "--name=z", "--net=none", "--stop-timeout=-1", "-v=data:/data:ro,Z", "bb"];
    sandbox.ok(labelled);
    assert_eq!(sandbox.inspect("z", "(index .Mounts 0).Mode"), "Z");
    assert_eq!(sandbox.inspect("z", ".Config.StopTimeout"), "-1");
}

#[test]
fn a_life_is_told_from_start_to_end() {
    let sandbox = Sandbox::new();
    sandbox.start("box", &[], "sleep 1000");

    let pid: i32 = sandbox.inspect("box", ".State.Pid").parse().expect("a number");
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists(), "{pid} is the container's process");
    assert_eq!(sandbox.inspect("box", ".State.Status"), "running");
    assert_ne!(sandbox.inspect("box", ".State.ConmonPid"), "0");
    assert!(sandbox.inspect("box", ".HostsPath").ends_with("/hosts"));

    sandbox.ok(["stop", "--time=0", "box"]);

    let state = "{{.State.Status}} {{.State.Running}} {{.State.Pid}} {{.State.ExitCode}} {{.State.FinishedAt.IsZero}}";
    assert_eq!(sandbox.ok(["inspect", "-f", state, "box"]), "exited false 0 137 false");
    // The last end is known in the next lives, too.
    let end = sandbox.inspect("box", ".State.FinishedAt");
    sandbox.ok(["start", "box"]);
    assert_eq!(sandbox.inspect("box", ".State.FinishedAt"), end);
    sandbox.ok(["kill", "box"]);
    assert_ne!(sandbox.inspect("box", ".State.FinishedAt"), end);
}

#[test]
fn an_image_tells_what_is_in_it() {
    let sandbox = Sandbox::new();

    let doc = document(&sandbox.ok(["image", "inspect", "bb"]));

    assert_eq!(doc["RepoTags"], json!(["localhost/bb:latest"]));
    assert_eq!((&doc["Architecture"], &doc["Os"]), (&json!("amd64"), &json!("linux")));
    assert_eq!(doc["Config"]["Cmd"], json!(["sh"]));
    assert_eq!(doc["RootFS"]["Layers"].as_array().map(Vec::len), Some(2));
    assert_eq!(doc["Size"], doc["VirtualSize"]);
    // An ID, its beginning, and the name all mean it.
    let id = doc["Id"].as_str().expect("a text");
    for name in [id, &id[..12], "localhost/bb", "bb:latest"] {
        assert_eq!(sandbox.ok(["inspect", "-f", "{{.Id}}", name]), id, "{name}");
    }
    assert_eq!(
        sandbox.ok(["image", "inspect", "-f", "{{.Config.User}}|{{.Labels}}|{{.Author}}", "bb"]),
        "|map[]|"
    );
}

#[test]
fn what_is_missing_is_reported_after_what_is_there() {
    let sandbox = Sandbox::new();
    sandbox.ok(["create", "--name=box", "bb"]);
    for (args, stdout, stderr) in [
        (vec!["inspect", "nosuch"], "[]\n", "Error: no such object: \"nosuch\"\n"),
        (vec!["container", "inspect", "nosuch"], "[]\n", "Error: no such container nosuch\n"),
        (vec!["image", "inspect", "nosuch"], "[]\n", "Error: nosuch: image not known\n"),
        (vec!["inspect", "--type=image", "box"], "[]\n", "Error: box: image not known\n"),
        (vec!["inspect", "-f", "{{.Name}}", "nosuch", "box"], "box\n", "Error: no such object: \"nosuch\"\n"),
        (
            vec!["inspect", "-f", "{{.Config.Nope}}", "box"],
            "",
            "Error: template: inspect:1:9: executing \"inspect\" at <.Config.Nope>: can't evaluate field Nope in type *define.InspectContainerConfig\n",
        ),
    ] {
        let output = sandbox.ketch(&args);
        assert_eq!(
            (output.code, output.stdout.as_str(), output.stderr.as_str()),
            (125, stdout, stderr),
            "{args:?}"
        );
    }
    assert!(sandbox.ketch(["inspect", "--type=bogus", "box"]).fails(125).contains("invalid type \"bogus\""));
}
