//! Docker's API: containers, their files, and events.

mod common;

use std::io::{BufReader, Read as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::api::{Api, read_chunk, read_head, send};
use common::image::Layer;
use common::{Sandbox, wait_for};
use serde_json::{Value, json};

/// Creates a container from `bb`, and answers with its ID.
#[track_caller]
fn create(api: &Api, name: &str, document: &Value) -> String {
    let made = api.post(&format!("/v1.45/containers/create?name={name}"), document).expect(201).json();
    assert_eq!(made["Warnings"], json!([]));
    made["Id"].as_str().expect("an ID").to_owned()
}

/// A container without a network that does this.
fn plain(words: &[&str]) -> Value {
    json!({"Image": "bb", "Cmd": words, "HostConfig": {"NetworkMode": "none"}})
}

#[track_caller]
fn message(api: &Api, path: &str, document: &Value, status: u16) -> String {
    api.post(path, document).expect(status).json()["message"].as_str().expect("a message").to_owned()
}

#[test]
fn what_is_asked_for_is_what_is_there() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    let (source, made) = (sandbox.path("source"), sandbox.path("made"));
    std::fs::create_dir(&source).unwrap();
    let id = create(
        &api,
        "%2Fweb",
        &json!({
            "Image": "bb", "Hostname": "host", "User": "1:1", "Env": ["A=1"], "Labels": {"a": "b"}, "WorkingDir": "/w",
            "Entrypoint": ["sh", "-c"], "Cmd": ["sleep 100"], "StopSignal": "SIGKILL", "StopTimeout": 7,
            "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/anonymous": {}},
            "Healthcheck": {"Test": ["CMD", "true"], "Interval": 60_000_000_000_i64},
            "HostConfig": {
                "Binds": [format!("{}:/made:ro", made.display())], "Tmpfs": {"/t": "size=64k"},
                "Mounts": [{"Type": "bind", "Source": source, "Target": "/source"},
                    {"Type": "volume", "Source": "data", "Target": "/data", "VolumeOptions": {"Labels": {"x": "y"}}}],
                "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]},
                "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2}, "Memory": 0, "PidsLimit": null,
                "CapAdd": ["NET_ADMIN"], "Ulimits": [{"Name": "nofile", "Soft": 64, "Hard": 64}], "Dns": ["192.0.2.1"],
                "ExtraHosts": ["other:192.0.2.2"], "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}},
                "Init": true, "ShmSize": 33554432, "OomScoreAdj": 0, "MaskedPaths": null,
            },
            "NetworkingConfig": {"EndpointsConfig": {"bridge": null}},
        }),
    );
    assert!(made.is_dir(), "what Binds names is made");
    api.post("/containers/web/start", &Value::Null).expect(204);
    api.post("/containers/web/start", &Value::Null).expect(304);

    let shown = api.get("/containers/web/json?size=1").expect(200).json();
    assert_eq!((&shown["Id"], &shown["Name"]), (&json!(id), &json!("/web")));
    assert_eq!(shown["State"]["Status"], "running");
    assert!(shown["SizeRw"].is_number());
    let (config, host) = (&shown["Config"], &shown["HostConfig"]);
    assert_eq!(
        (&config["Hostname"], &config["User"], &config["WorkingDir"], &config["Labels"]["a"]),
        (&json!("host"), &json!("1:1"), &json!("/w"), &json!("b"))
    );
    assert_eq!(config["Healthcheck"]["Interval"], 60_000_000_000_i64);
    assert_eq!(host["RestartPolicy"], json!({"Name": "on-failure", "MaximumRetryCount": 2}));
    assert_eq!((&host["ShmSize"], &host["Init"]), (&json!(33_554_432), &json!(true)));
    assert_eq!(host["Ulimits"], json!([{"Name": "nofile", "Soft": 64, "Hard": 64}]));
    let script =
        "echo $A $(hostname) $(id -u) $(pwd); grep -c other /etc/hosts; touch /made/x 2>/dev/null || echo ro";
    assert_eq!(sandbox.ok(["exec", "web", "sh", "-c", script]), "1 host 1 /w\n1\nro");

    let listed = api.get("/containers/json?filters=%7B%22label%22%3A%5B%22a%3Db%22%5D%7D").expect(200).json();
    let entry = &listed[0];
    assert_eq!((&entry["Names"], &entry["Image"]), (&json!(["/web"]), &json!("bb")));
    assert_eq!(entry["Command"], "sh -c 'sleep 100'");
    assert_eq!((&entry["State"], &entry["HostConfig"]["NetworkMode"]), (&json!("running"), &json!("bridge")));
    let port = &entry["Ports"][0];
    assert_eq!(
        (&port["IP"], &port["PrivatePort"], &port["Type"]),
        (&json!("127.0.0.1"), &json!(80), &json!("tcp"))
    );
    assert!(port["PublicPort"].as_u64().unwrap() > 0);
    assert!(entry["NetworkSettings"]["Networks"]["bridge"]["IPAddress"].as_str().unwrap().contains('.'));
    assert_eq!(entry["Mounts"].as_array().unwrap().len(), 4);

    api.delete("/containers/web").expect(409);
    api.delete("/containers/web?force=1&v=1").expect(204);
    api.get("/containers/web/json").expect(404);
    // The anonymous one has gone with it.
    assert_eq!(sandbox.ok(["volume", "ls", "-q"]), "data");
}

/// Go's clients, and what is written after them, know a field by its name in any case; keys that users choose are theirs.
#[test]
fn fields_have_their_names_in_any_case() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    let id = create(
        &api,
        "c",
        &json!({
            "image": "bb", "CMD": ["true"], "labels": {"Key": "a", "key": "b", "Image": "c"}, "env": ["a=1", "A=2"],
            "hostconfig": {"networkmode": "none", "restartPolicy": {"name": "on-failure", "maximumretrycount": 3},
                "nanocpus": 0, "mounts": [{"type": "tmpfs", "target": "/T", "tmpfsoptions": {"sizebytes": 65536}}]},
        }),
    );
    let shown = api.get(&format!("/containers/{id}/json")).expect(200).json();
    assert_eq!(shown["Config"]["Labels"], json!({"Key": "a", "key": "b", "Image": "c"}));
    assert_eq!(
        (&shown["Config"]["Cmd"], &shown["HostConfig"]["NetworkMode"]),
        (&json!(["true"]), &json!("none"))
    );
    let variables = shown["Config"]["Env"].as_array().unwrap();
    assert!(variables.contains(&json!("a=1")) && variables.contains(&json!("A=2")), "{variables:?}");
    assert_eq!(shown["HostConfig"]["RestartPolicy"], json!({"Name": "on-failure", "MaximumRetryCount": 3}));
    assert_eq!(shown["HostConfig"]["Mounts"][0]["Target"], "/T");
    let made = api.post("/volumes/create", &json!({"name": "V", "labels": {"L": "1"}})).expect(201).json();
    assert_eq!((&made["Name"], &made["Labels"]), (&json!("V"), &json!({"L": "1"})));
}

#[test]
fn what_was_asked_for_is_shown_as_it_was_typed() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    let document = json!({
        "Image": "bb", "Cmd": ["sleep", "1000"], "AttachStdout": true, "StopTimeout": 10,
        "HostConfig": {
            "NetworkMode": "none", "Tmpfs": {"/t": "size=64k,mode=700", "/u": ""},
            "Mounts": [{"Type": "tmpfs", "Target": "/m", "TmpfsOptions": {"SizeBytes": 65536, "Mode": 448}}],
        },
    });
    create(&api, "c", &document);
    let shown = api.get("/containers/c/json").expect(200).json();
    let (config, host) = (&shown["Config"], &shown["HostConfig"]);
    assert_eq!(host["Tmpfs"], document["HostConfig"]["Tmpfs"]);
    assert_eq!(host["Mounts"], document["HostConfig"]["Mounts"]);
    let mount = json!({"Type": "tmpfs", "Source": "", "Destination": "/m", "Mode": "", "RW": true, "Propagation": ""});
    assert_eq!(shown["Mounts"], json!([mount]));
    assert_eq!(config["StopTimeout"], 10);
    assert_eq!((&config["AttachStdin"], &config["AttachStdout"]), (&json!(false), &json!(true)));
    assert!(shown["GraphDriver"]["Data"]["MergedDir"].is_null());
    api.post("/containers/c/start", &Value::Null).expect(204);
    let shown = api.get("/containers/c/json").expect(200).json();
    let merged = shown["GraphDriver"]["Data"]["MergedDir"].as_str().unwrap();
    sandbox.ok(["exec", "c", "touch", "/seen"]);
    assert!(std::path::Path::new(merged).join("seen").exists(), "{merged}");
    let listed = api.get("/containers/json").expect(200).json();
    for part in ["Mounts", "NetworkSettings/Networks", "HostConfig/NetworkMode"] {
        let part = format!("/{part}");
        assert_eq!(listed[0].pointer(&part), shown.pointer(&part), "{part}");
    }
    create(&api, "plain", &plain(&["true"]));
    assert!(api.get("/containers/plain/json").expect(200).json()["Config"]["StopTimeout"].is_null());
    for resources in [json!({"CpuPeriod": 999}), json!({"CpuPeriod": 1_000_001}), json!({"CpuQuota": 999})] {
        let document = json!({"Image": "bb", "HostConfig": resources});
        let said = message(&api, "/containers/create", &document, 400);
        assert!(said.starts_with("CPU cfs "), "{said}");
    }
}

/// Clients decide by statuses and words what they do next.
/// Ansible's docker_container compares what `inspect` says with what it wants, and makes the container again if that differs.
#[test]
fn a_container_says_what_it_was_made_with() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    let asked = json!({
        "NetworkMode": "bridge", "CapAdd": ["NET_ADMIN"], "CapDrop": ["mknod"],
        "PortBindings": {
            "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "18081"}], "81/tcp": [{"HostIp": "", "HostPort": "18082"}],
            "82/udp": [{"HostIp": "127.0.0.1", "HostPort": "18083"}],
        },
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2", "compress": "true"}},
        "Sysctls": {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ip_forward": "0"},
        "Tmpfs": {"/t": "size=10m,mode=700", "/u": ""}, "ReadonlyRootfs": true,
        "Mounts": [{"Type": "tmpfs", "Target": "/m", "TmpfsOptions": {"SizeBytes": 1_048_576, "Mode": 0o700}},
            {"Type": "tmpfs", "Target": "/n"}],
    });
    sandbox.ok(["create", "--name=raw", "bb"]);
    sandbox.ok(["export", "-o", "raw.tar", "raw"]);
    sandbox.ok(["import", "-q", "raw.tar", "raw"]);
    create(&api, "box", &json!({"Image": "localhost/raw", "Cmd": ["true"], "HostConfig": asked}));
    let host = api.get("/containers/box/json").expect(200).json()["HostConfig"].take();
    for (key, value) in asked.as_object().unwrap() {
        assert_eq!(&host[key], value, "{key}");
    }
    let config =
        |name: &str| api.get(&format!("/containers/{name}/json")).expect(200).json()["Config"].take();
    assert_eq!(config("box")["Env"], json!([]), "neither the image nor the request says what PATH is");
    create(&api, "own", &json!({"Image": "bb", "Env": ["A=b", "PATH=/bin"]}));
    let mut env: Vec<_> = serde_json::from_value::<Vec<String>>(config("own")["Env"].take()).unwrap();
    env.sort();
    assert_eq!(env, ["A=b", "PATH=/bin"]);
    // podman's words are the other names of the same.
    assert_eq!(sandbox.inspect("box", ".HostConfig.CapDrop"), "[CAP_MKNOD]");

    // The client has written the file, and keeps it.
    let file = sandbox.path("cid");
    let mut document = plain(&["true"]);
    document["HostConfig"]["ContainerIDFile"] = json!(file);
    std::fs::write(&file, create(&api, "named", &document)).unwrap();
    api.delete("/containers/named").expect(204);
    assert!(file.exists());
}

#[test]
fn refusals_have_dockers_words() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    let path = "/containers/create?name=one";
    assert_eq!(message(&api, path, &json!({"Image": "nosuch:1"}), 404), "No such image: nosuch:1");
    assert_eq!(message(&api, path, &json!({"Image": "nosuch"}), 404), "No such image: nosuch:latest");
    let other = message(&api, "/containers/create?platform=linux/s390x", &plain(&["true"]), 404);
    assert!(other.contains("does not match the specified platform"), "{other}");
    let id = create(&api, "one", &plain(&["true"]));
    let conflict = message(&api, path, &plain(&["true"]), 409);
    assert_eq!(
        conflict,
        format!(
            "Conflict. The container name \"/one\" is already in use by container \"{id}\". You have to remove (or rename) that \
             container to be able to reuse that name."
        )
    );
    for (host, status, word) in [
        (json!({"Binds": ["relative/path:/x"]}), 400, "absolute"),
        (
            json!({"Mounts": [{"Type": "bind", "Source": "/nope", "Target": "/x"}]}),
            400,
            "bind source path does not exist",
        ),
        (json!({"Mounts": [{"Type": "npipe", "Source": "/x", "Target": "/x"}]}), 400, "npipe"),
        (json!({"Runtime": "kata"}), 400, "kata"),
        (json!({"StorageOpt": {"size": "1G"}}), 501, "StorageOpt"),
        (json!({"CpuRealtimeRuntime": 5}), 501, "cgroup v1"),
        (json!({"Memory": 4096}), 400, "Minimum memory limit allowed is 6MB"),
        (json!({"CpuShares": -5}), 400, "invalid CPU shares"),
        (
            json!({"Mounts": [{"Type": "bind", "Source": "/", "Target": "/x", "BindOptions": {"Propagation": "huh"}}]}),
            400,
            "invalid propagation mode",
        ),
        (json!({"RestartPolicy": {"Name": "sometimes"}}), 400, "sometimes"),
        (json!({"AutoRemove": true, "RestartPolicy": {"Name": "always"}}), 400, "AutoRemove"),
        (json!({"VolumeDriver": "nfs"}), 404, "plugin \"nfs\" not found"),
        (json!({"Memory": "much"}), 400, "invalid"),
        (json!({"Binds": ["/a\0b:/x"]}), 400, "NUL"),
        (json!({"PortBindings": {"1-65535/tcp": [{}]}}), 400, "invalid port specification: \"1-65535\""),
        (json!({"NetworkMode": "nosuch"}), 400, "network nosuch not found"),
        (json!({"NetworkMode": "container:nosuch"}), 400, "No such container: nosuch"),
        (json!({"VolumesFrom": ["nosuch"]}), 400, "No such container: nosuch"),
        (json!({"Links": ["nosuch:x"]}), 400, "No such container: nosuch"),
    ] {
        let said = message(&api, "/containers/create", &json!({"Image": "bb", "HostConfig": host}), status);
        assert!(said.contains(word), "{host}: {said}");
    }
    assert_eq!(sandbox.names(), ["one"], "nothing is left behind");

    for action in ["start", "stop", "kill", "restart", "pause", "rename?name=x"] {
        let said = message(&api, &format!("/containers/nosuch/{action}"), &Value::Null, 404);
        assert_eq!(said, "No such container: nosuch", "{action}");
    }
    create(&api, "missing", &plain(&["/nope"]));
    let said = message(&api, "/containers/missing/start", &Value::Null, 400);
    assert!(said.contains("executable file not found"), "{said}");
    let passing =
        json!({"Image": "bb", "Cmd": ["/nope"], "HostConfig": {"NetworkMode": "none", "AutoRemove": true}});
    create(&api, "passing", &passing);
    api.post("/containers/passing/start", &Value::Null).expect(400);
    assert_eq!(sandbox.names(), ["one", "missing"]);
    let said = message(&api, "/containers/one/rename?name=missing", &Value::Null, 409);
    assert!(said.starts_with("Conflict. The container name \"/missing\" is already in use"), "{said}");
    let said = message(&api, "/containers/one/rename?name=one", &Value::Null, 400);
    assert!(said.contains("same name"), "{said}");
    let grouped = json!({"Image": "bb", "Cmd": ["true"], "HostConfig": {"NetworkMode": "none", "GroupAdd": ["nosuch"]}});
    create(&api, "grouped", &grouped);
    let said = message(&api, "/containers/grouped/start", &Value::Null, 400);
    assert!(said.contains("nosuch") && !said.contains("permission denied"), "{said}");
    assert!(message(&api, "/containers/one/kill", &Value::Null, 409).contains("is not running"));
}

/// An entrypoint of no words leaves the image's command, as with docker; one empty word leaves nothing.
#[test]
fn an_entrypoint_of_nothing() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    sandbox.write(
        "context/Dockerfile",
        "FROM bb\nENTRYPOINT [\"/bin/false\"]\nCMD [\"sh\", \"-c\", \"exit 3\"]\n",
    );
    sandbox.ok(["build", "-q", "-t", "both", sandbox.path("context").to_str().unwrap()]);
    let none = json!({"NetworkMode": "none"});
    create(&api, "kept", &json!({"Image": "both", "Entrypoint": [], "HostConfig": none}));
    let shown = api.get("/containers/kept/json").expect(200).json();
    assert_eq!((&shown["Path"], &shown["Args"]), (&json!("sh"), &json!(["-c", "exit 3"])));
    let nothing = json!({"Image": "both", "Entrypoint": [""], "HostConfig": none});
    assert!(message(&api, "/containers/create", &nothing, 400).contains("no command"));
}

#[test]
fn a_life_from_start_to_prune() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    create(&api, "one", &plain(&["sh", "-c", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.1; done"]));
    let act = |action: &str, status| {
        api.post(&format!("/containers/one/{action}"), &Value::Null).expect(status);
    };
    let state = || api.get("/containers/one/json").expect(200).json()["State"]["Status"].clone();
    act("stop", 304);
    act("start", 204);
    act("pause", 204);
    assert_eq!(state(), "paused");
    act("unpause", 204);
    sandbox.wait_until(&["logs", "one"], "ready");
    act("restart?t=0", 204);
    assert_eq!(state(), "running");
    sandbox.wait_until(&["logs", "one"], "ready\nready");
    act("rename?name=two", 204);
    let top = api.get("/containers/two/top").expect(200).json();
    assert_eq!((&top["Titles"][0], &top["Titles"][7]), (&json!("UID"), &json!("CMD")));
    assert!(top["Processes"][0][7].as_str().unwrap().contains("trap"), "{top}");
    let updated = json!({"RestartPolicy": {"Name": "unless-stopped"}, "Memory": 0});
    assert_eq!(api.post("/containers/two/update", &updated).expect(200).json(), json!({"Warnings": []}));
    api.post("/containers/two/kill?signal=HUH", &Value::Null).expect(400);
    api.post("/containers/two/stop?t=20", &Value::Null).expect(204);
    let shown = api.get("/containers/two/json").expect(200).json();
    assert_eq!((&shown["State"]["ExitCode"], &shown["State"]["Status"]), (&json!(5), &json!("exited")));
    assert_eq!(shown["HostConfig"]["RestartPolicy"]["Name"], "unless-stopped");
    api.get("/containers/two/top").expect(409);

    assert_eq!(api.get("/containers/json").expect(200).json(), json!([]));
    assert_eq!(api.get("/containers/json?limit=1").expect(200).json().as_array().unwrap().len(), 1);
    let sizes = api.get("/containers/json?all=true&size=1").expect(200).json();
    assert!(
        sizes[0]["SizeRootFs"].as_u64().unwrap() > 0
            && sizes[0]["Status"].as_str().unwrap().starts_with("Exited (5)")
    );
    let pruned = api.post("/containers/prune", &Value::Null).expect(200).json();
    assert_eq!(pruned["ContainersDeleted"].as_array().unwrap().len(), 1);
    assert_eq!(
        api.post("/containers/prune", &Value::Null).expect(200).json()["ContainersDeleted"],
        Value::Null
    );
}

/// What is paused is told to end, and goes on for that.
#[test]
fn what_is_paused_can_be_ended() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    let gentle = ["sh", "-c", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.1; done"];
    create(&api, "one", &plain(&gentle));
    let act = |name: &str, action: &str, status| {
        api.post(&format!("/containers/{name}/{action}"), &Value::Null).expect(status);
    };
    act("one", "start", 204);
    sandbox.wait_until(&["logs", "one"], "ready");
    act("one", "pause", 204);
    act("one", "restart?t=20", 204);
    assert_eq!(sandbox.inspect("one", ".State.Status"), "running");
    sandbox.wait_until(&["logs", "one"], "ready\nready");
    act("one", "pause", 204);
    act("one", "stop?t=20", 204);
    assert_eq!(sandbox.inspect("one", ".State.ExitCode"), "5");

    // A start of one that is paused is refused, and takes nothing away.
    let host = json!({"NetworkMode": "none", "AutoRemove": true});
    create(&api, "passing", &json!({"Image": "bb", "Cmd": ["sleep", "1000"], "HostConfig": host}));
    act("passing", "start", 204);
    act("passing", "pause", 204);
    let said = message(&api, "/containers/passing/start", &Value::Null, 409);
    assert_eq!(said, "cannot start a paused container, try unpause instead");
    assert_eq!(sandbox.inspect("passing", ".State.Status"), "paused");
    act("passing", "restart?t=0", 204);
    assert_eq!(sandbox.inspect("passing", ".State.Status"), "running");
    api.delete("/containers/passing?force=1").expect(204);
}

/// Docker does not ask who uses the namespaces of what is removed.
#[test]
fn one_whose_network_others_use_can_be_removed() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    create(&api, "owner", &plain(&["sleep", "1000"]));
    let host = json!({"NetworkMode": "container:owner"});
    create(&api, "user", &json!({"Image": "bb", "Cmd": ["sleep", "1000"], "HostConfig": host}));
    for name in ["owner", "user"] {
        api.post(&format!("/containers/{name}/start"), &Value::Null).expect(204);
    }
    api.delete("/containers/owner?force=1").expect(204);
    let listed = api.get("/containers/json?all=1").expect(200).json();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["State"]), (1, &json!("running")));
    api.get("/containers/user/json").expect(200);
    api.post("/containers/user/stop?t=0", &Value::Null).expect(204);
    message(&api, "/containers/user/start", &Value::Null, 404);
    api.delete("/containers/user?force=1").expect(204);
}

/// Docker makes a container without what only cgroup v1 has, and says so.
#[test]
fn what_cgroup_v2_has_not_is_left_out() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    let limits = json!({"OomKillDisable": true, "MemorySwappiness": 0, "NetworkMode": "none"});
    let asked = json!({"Image": "bb", "Cmd": ["true"], "HostConfig": limits, "Volumes": {"/data/": {}}});
    let made = api.post("/containers/create?name=one", &asked).expect(201).json();
    let said: Vec<_> = made["Warnings"].as_array().unwrap().iter().map(Value::to_string).collect();
    assert!(said.len() == 2 && said[1].contains("OomKillDisable discarded"), "{said:?}");
    let updated = api.post("/containers/one/update", &json!({"OomKillDisable": true})).expect(200).json();
    assert_eq!(updated["Warnings"].as_array().unwrap().len(), 1);
}

#[test]
fn one_that_waits_for_its_next_life_is_found_by_that() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    let host = json!({"NetworkMode": "none", "RestartPolicy": {"Name": "always"}});
    create(&api, "one", &json!({"Image": "bb", "Cmd": ["false"], "HostConfig": host}));
    api.post("/containers/one/start", &Value::Null).expect(204);
    let found = wait_for("the filter", || {
        let found = api
            .get("/containers/json?filters=%7B%22status%22%3A%5B%22restarting%22%5D%7D")
            .expect(200)
            .json();
        if found[0]["State"] == "restarting" { Ok(found) } else { Err(found.to_string()) }
    });
    assert_eq!(found[0]["Names"], json!(["/one"]));
    api.delete("/containers/one?force=1").expect(204);
}

#[test]
fn files_go_in_and_out() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    create(&api, "one", &plain(&["true"]));
    let archive = Layer::new()
        .dir("below", 0o755)
        .file("below/file", 0o640, "hello")
        .symlink("below/link", "file")
        .finish();
    let put = |path: &str| api.send("PUT", &format!("/containers/one/archive?{path}"), &[], &archive);
    put("path=/srv").expect(404);
    put("path=/etc/passwd").expect(400);
    put("").expect(400);
    put("path=/root%00").expect(400);
    let fixed = json!({"Image": "bb", "Cmd": ["true"], "HostConfig": {
        "NetworkMode": "none", "ReadonlyRootfs": true, "Binds": ["free:/free", "fixed:/free/fixed:ro"],
    }});
    create(&api, "fixed", &fixed);
    for (path, status, want) in [
        ("/root", 400, "container rootfs is marked read-only"),
        ("/free/../root", 400, "container rootfs is marked read-only"),
        ("/free/fixed", 400, "mounted volume is marked read-only"),
        ("/free", 200, ""),
    ] {
        let path = format!("/containers/fixed/archive?path={path}");
        let said = api.send("PUT", &path, &[], &archive).expect(status).text();
        assert!(said.contains(want), "{path}: {said}");
    }
    put("path=/root").expect(200);
    put("path=/root&noOverwriteDirNonDir=true&copyUIDGID=1").expect(200);

    let stat = |path: &str| -> Value {
        let head = api.send("HEAD", &format!("/containers/one/archive?path={path}"), &[], b"").expect(200);
        let text = STANDARD.decode(head.header("x-docker-container-path-stat").unwrap()).unwrap();
        serde_json::from_slice(&text).unwrap()
    };
    let file = stat("/root/below/file");
    assert_eq!((&file["name"], &file["size"], &file["mode"]), (&json!("file"), &json!(5), &json!(0o640)));
    assert_eq!(stat("root/below")["mode"], 0o755 | 1_u32 << 31);
    let link = stat("/root/below/link");
    assert_eq!((&link["mode"], &link["linkTarget"]), (&json!(0o777 | 1 << 27), &json!("file")));
    assert_eq!(api.send("HEAD", "/containers/one/archive?path=/nope", &[], b"").status, 404);

    let got = api.get("/containers/one/archive?path=/root/below").expect(200);
    assert_eq!(got.header("content-type"), Some("application/x-tar"));
    assert!(got.header("x-docker-container-path-stat").is_some());
    let mut names = Vec::new();
    for entry in tar::Archive::new(&got.body[..]).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        names.push((entry.path().unwrap().display().to_string(), text));
    }
    let want = [("below/", ""), ("below/file", "hello"), ("below/link", "")];
    assert_eq!(names, want.map(|(name, text)| (name.to_owned(), text.to_owned())));
    // A link that is named is a link, and not what it leads to.
    let got = api.get("/containers/one/archive?path=/root/below/link").expect(200);
    let mut link = tar::Archive::new(&got.body[..]);
    let link = link.entries().unwrap().next().unwrap().unwrap();
    assert_eq!(link.link_name().unwrap().unwrap().to_str(), Some("file"));
    let missing = api.get("/containers/one/archive?path=/nope").expect(404).json();
    assert_eq!(missing["message"], "Could not find the file /nope in container one");

    let exported = api.get("/containers/one/export").expect(200);
    let all = tar::Archive::new(&exported.body[..]).entries().unwrap().count();
    assert!(all > 3, "{all} entries");
    let changes = api.get("/containers/one/changes").expect(200).json();
    assert!(
        changes.as_array().unwrap().contains(&json!({"Path": "/root/below/file", "Kind": 1})),
        "{changes}"
    );
}

/// A terminal has its size before anybody is there to set it.
#[test]
fn terminals_begin_with_the_size_that_was_asked_for() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    let host = json!({"NetworkMode": "none", "ConsoleSize": [33, 77]});
    create(&api, "one", &json!({"Image": "bb", "Tty": true, "Cmd": ["stty", "size"], "HostConfig": host}));
    api.post("/containers/one/start", &Value::Null).expect(204);
    sandbox.ok(["wait", "one"]);
    assert_eq!(sandbox.ok(["logs", "one"]).trim(), "33 77");
    let shown = api.get("/containers/one/json").expect(200).json();
    assert_eq!(shown["HostConfig"]["ConsoleSize"], json!([33, 77]));
}

#[test]
fn what_a_container_uses() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    let id = create(&api, "one", &plain(&["sh", "-c", "while :; do :; done"]));
    let idle = api.get("/containers/one/stats?stream=0").expect(200).json();
    assert_eq!((&idle["id"], &idle["read"]), (&json!(id), &json!("0001-01-01T00:00:00Z")));
    api.post("/containers/one/start", &Value::Null).expect(204);
    let stats = api.get("/containers/one/stats?stream=false").expect(200).json();
    let used = |stats: &Value, cpu: &str| stats[cpu]["cpu_usage"]["total_usage"].as_u64().unwrap();
    let of_machine = |cpu: &str| stats[cpu]["system_cpu_usage"].as_u64().unwrap();
    assert!(used(&stats, "cpu_stats") > used(&stats, "precpu_stats"), "{stats}");
    assert!(of_machine("cpu_stats") > of_machine("precpu_stats"));
    assert!(stats["memory_stats"]["usage"].as_u64().unwrap() > 0);
    assert!(stats["pids_stats"]["current"].as_u64().unwrap() >= 1);
    assert!(stats["cpu_stats"]["online_cpus"].as_u64().unwrap() >= 1);
    let once = api.get("/containers/one/stats?stream=false&one-shot=true").expect(200).json();
    assert_eq!(used(&once, "precpu_stats"), 0);
    api.delete("/containers/one?force=true").expect(204);
    api.get("/containers/one/stats").expect(404);
}

/// Who has seen the head of the answer misses nothing that happens from then on.
#[test]
fn events_are_told_as_they_happen() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    let mut socket = api.connect();
    let filters = "%7B%22type%22%3A%7B%22container%22%3Atrue%7D%7D";
    send(&mut socket, "GET", &format!("/events?filters={filters}"), &[], b"");
    let mut answer = BufReader::new(socket);
    assert_eq!(read_head(&mut answer).0, 200);
    let id = create(&api, "one", &plain(&["sh", "-c", "exit 3"]));
    api.post("/containers/one/start", &Value::Null).expect(204);
    sandbox.ok(["wait", "one"]);
    api.delete("/containers/one").expect(204);
    let mut told = Vec::new();
    while told.last().is_none_or(|event: &Value| event["Action"] != "destroy") {
        told.push(serde_json::from_slice(&read_chunk(&mut answer)).unwrap());
    }
    let actions: Vec<_> = told.iter().map(|event| event["Action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["create", "start", "die", "destroy"]);
    let die = &told[2];
    assert_eq!((&die["Actor"]["ID"], &die["id"], &die["status"]), (&json!(id), &json!(id), &json!("die")));
    assert_eq!(die["Actor"]["Attributes"]["exitCode"], "3");
    assert_eq!((&die["Actor"]["Attributes"]["name"], &die["from"]), (&json!("one"), &json!("bb")));
    for event in &told {
        assert_eq!(event["Actor"]["Attributes"]["image"], "bb", "{event}");
    }
    assert_eq!((&die["Type"], &die["scope"]), (&json!("container"), &json!("local")));

    api.post("/volumes/create", &json!({"Name": "data"})).expect(201);
    let past =
        api.get("/events?since=0.5&until=0s&filters=%7B%22type%22%3A%5B%22volume%22%5D%7D").expect(200);
    let past = past.documents();
    assert_eq!((&past[0]["Action"], &past[0]["Actor"]["ID"]), (&json!("create"), &json!("data")));
    assert_eq!(api.get("/events?since=yesterday").status, 400);
    assert_eq!(api.get("/events?filters=x").status, 400);
}
