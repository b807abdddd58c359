//! Through a link named docker: what its pages on containers promise, where podman's verbs do otherwise.

mod common;

use common::docker::Docker;
use serde_json::{Value, json};

/// docs.docker.com, `docker container ls`.
#[test]
fn listings_begin_with_the_newest_and_show_labels_as_a_text() {
    let docker = Docker::new();
    docker.ok("run -d --name one --net none -l a=b -l com.example.some-key=d bb sleep 1000");
    docker.ok("create --name two --net none bb true");
    for (words, want) in [
        ("ps -a --format {{.Names}}", "two\none"),
        ("ps -n 2 --format {{.Names}}", "two\none"),
        ("ps -l --format {{.Names}}", "two"),
        ("ps -a --sort=created --format {{.Names}}", "one\ntwo"),
        ("ps --format {{.Labels}}", "a=b,com.example.some-key=d"),
        ("ps --format {{.Label\u{a0}\"a\"}}", "b"),
        (
            "ps --format table\u{a0}{{.Names}}:\u{a0}{{.Label\u{a0}\"com.example.some-key\"}}",
            "NAMES: some key\none: d",
        ),
        ("ps --format table\u{a0}{{.RunningFor}}", "CREATED"),
    ] {
        let words: Vec<String> = words.split(' ').map(|word| word.replace('\u{a0}', " ")).collect();
        let said = docker.sandbox.program(&docker.link, &words).run();
        assert!(said.ok().starts_with(want), "{words:?}: {}", said.stdout);
    }
    // Podman's rows keep their order and their types.
    assert_eq!(docker.sandbox.ok(["ps", "-a", "--format", "{{.Names}}"]), "one\ntwo");
    assert!(docker.sandbox.ok(["ps", "--format", "{{.Labels}}"]).starts_with("map["));
    let quiet = docker.run("ps -q --format table");
    assert_eq!((quiet.ok().len(), quiet.stderr.as_str()), (12, ""));
    let quiet = docker.run("ps -q --format {{.Names}}");
    assert_eq!(quiet.ok().len(), 12);
    assert!(quiet.stderr.starts_with("WARNING: Ignoring custom format"), "{}", quiet.stderr);
    assert!(docker.ok("ps --format table").starts_with("CONTAINER ID   IMAGE"));
    let line: Value = serde_json::from_str(
        docker.sandbox.program(&docker.link, ["ps", "--format", "{{json .}}"]).run().ok(),
    )
    .expect("a line of JSON");
    assert!(line["Size"].as_str().is_some_and(|size| size.contains("virtual")), "{line}");
}

/// A port without an address is open on those of both families.
#[test]
fn ports_are_shown_for_both_families_and_bindings_as_they_were_asked_for() {
    let docker = Docker::new();
    docker.ok("run -d --name web -p 80 -p 127.0.0.1::81 bb sleep 1000");
    let bound = &docker.json("inspect web")[0]["HostConfig"]["PortBindings"];
    assert_eq!(
        *bound,
        json!({"80/tcp": [{"HostIp": "", "HostPort": ""}], "81/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]})
    );
    let said = docker.ok("port web 80");
    let port =
        said.lines().next().and_then(|line| line.strip_prefix("0.0.0.0:")).expect("its address").to_owned();
    let has_v6 = std::path::Path::new("/proc/net/if_inet6").exists();
    assert_eq!(said.contains(&format!("\n[::]:{port}")), has_v6, "{said}");
    let listed = docker.ok("ps --format {{.Ports}}");
    assert!(listed.starts_with(&format!("0.0.0.0:{port}->80/tcp")), "{listed}");
    assert_eq!(listed.contains(&format!(", [::]:{port}->80/tcp")), has_v6, "{listed}");
    for wanted in ["99", "80/udp"] {
        let said = docker.run(&format!("port web {wanted}"));
        assert_eq!(said.fails(1), format!("Error: No public port '{wanted}' published for web\n"));
    }
    docker.ok("run -d --name plain --net none bb sleep 1000");
    docker.run("port plain 80").fails(1);
}

/// docs.docker.com, `docker container cp`: a link is copied itself, unless -L asks for what it leads to.
#[test]
fn links_are_copied_themselves() {
    let docker = Docker::new();
    docker.ok("run --name box --net none bb sh -c mkdir${IFS}/d;echo${IFS}text>/d/file;ln${IFS}-s${IFS}file${IFS}/d/link");
    let here = |name: &str| docker.sandbox.path(name);
    docker.ok(&format!("cp box:/d/link {}", here("link").display()));
    assert_eq!(std::fs::read_link(here("link")).expect("a link"), std::path::Path::new("file"));
    docker.ok(&format!("cp -L box:/d/link {}", here("followed").display()));
    assert_eq!(std::fs::read_to_string(here("followed")).expect("a file"), "text\n");
    docker.ok(&format!("cp {} box:/back", here("link").display()));
    let archive = docker.sandbox.program(&docker.link, ["cp", "box:/back", "-"]).run();
    archive.ok();
    assert!(archive.stdout.contains("file"), "the name of its target is in the header");
    // podman follows.
    docker.sandbox.ok(["cp", "box:/d/link", here("podmans").to_str().expect("text")]);
    assert!(here("podmans").symlink_metadata().expect("it is there").is_file());
    for (words, said) in [
        (
            "cp box:/nosuch x",
            "Error response from daemon: Could not find the file /nosuch in container box\n",
        ),
        (
            "cp /etc/passwd box:/nosuch/x",
            "Error response from daemon: Could not find the file /nosuch in container box\n",
        ),
        ("cp /nosuch box:/tmp", "lstat /nosuch: no such file or directory\n"),
        ("cp box:/d box:/e", "copying between containers is not supported\n"),
        ("cp /a /b", "must specify at least one container source\n"),
        ("cp box:/d/file /nosuch/x", "invalid output path: directory \"/nosuch\" does not exist\n"),
    ] {
        assert_eq!(docker.run(words).fails(1), said, "{words}");
    }
}

/// docs.docker.com, "Runtime options with Memory, CPUs, and GPUs"; `docker run` reference.
#[test]
fn what_the_kernel_cannot_limit_is_discarded_aloud() {
    let docker = Docker::new();
    let said = docker.run(
        "create --name box --net none --memory-swappiness 0 --kernel-memory 50m --oom-kill-disable --runtime runc bb true",
    );
    said.ok();
    for word in ["memory swappiness", "kernel memory limit", "OomKillDisable"] {
        assert!(said.stderr.contains(word), "{}", said.stderr);
    }
    docker.sandbox.ketch(["create", "--memory-swappiness=0", "bb", "true"]).fails(125);
    for (words, code, said) in [
        ("run --rm --net none -m 1m bb true", 125, "Minimum memory limit allowed is 6MB"),
        ("run --rm --net none --runtime other bb true", 125, "--runtime"),
        ("run --rm --restart always bb true", 125, "Conflicting options: --restart and --rm"),
        ("run -d -a stdout bb true", 125, "Conflicting options: -a and -d"),
        ("run --rm -v rel/path:/x bb true", 125, "includes invalid characters for a local volume name"),
        ("run --rm -u nosuch --net none bb true", 125, "unable to find user nosuch"),
        ("run --rm --net none bb nosuch", 127, "exec: \"nosuch\": executable file not found in $PATH"),
        ("run --rm --net none bb /etc/passwd", 126, "exec: \"/etc/passwd\": permission denied"),
        (
            "run --rm --mount type=bind,src=/nosuch,dst=/x bb true",
            125,
            "invalid mount config for type \"bind\": bind source path does not exist: /nosuch",
        ),
        ("create --log-driver other bb true", 1, "logger: no log driver named 'other' is registered"),
        (
            "create --name a:b bb true",
            1,
            "Invalid container name (a:b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
        ),
        ("rename box box", 1, "Renaming a container with the same name as its current name"),
        ("update box", 1, "you must provide one or more flags when using this command"),
        ("kill -s NONE box", 1, "Error response from daemon: invalid signal: NONE"),
        ("ps --filter a=b", 1, "invalid filter 'a'"),
        ("attach box", 1, "You cannot attach to a stopped container, start it first"),
        ("diff nosuch", 1, "Error response from daemon: No such container: nosuch"),
        ("start nosuch", 1, "Error: failed to start containers: nosuch"),
        ("exec box", 1, "docker: 'docker exec' requires at least 2 arguments"),
        (
            "inspect -f {{.Foo}} box",
            1,
            "template parsing error: template: :1:2: executing \"\" at <.Foo>: map has no entry for key \"Foo\"",
        ),
        ("inspect -f {{ box", 64, "template parsing error: template: :"),
    ] {
        let output = docker.run(words);
        assert!(output.fails(code).contains(said), "{words}: {}", output.stderr);
    }
    let id_file = docker.sandbox.path("id");
    let words = format!("run --rm --net none --cidfile {} bb true", id_file.display());
    docker.ok(&words);
    assert!(docker.run(&words).fails(125).contains("container ID file found"));
    for group in ["container", "system", "image"] {
        let said = docker.run(group);
        assert!(said.ok().is_empty() && said.stderr.contains("Commands:"), "{group}");
    }
}

#[test]
fn verbs_print_what_docker_s_print() {
    let docker = Docker::new();
    docker.ok("run -d --name up --net none --stop-timeout 0 bb sleep 1000");
    docker.ok("create --name other --net none bb true");
    assert_eq!(docker.ok("exec -d up true"), "");
    assert_eq!(docker.ok("update --restart no up"), "up");
    assert_eq!(docker.ok("inspect -f {{.Config.StopTimeout}} up"), "0");
    let documents = docker.json("inspect up other");
    assert_eq!(documents[0]["Config"]["StopTimeout"], 0);
    assert!(documents[1]["Config"].get("StopTimeout").is_none());
    assert_eq!(documents[1]["HostConfig"]["ShmSize"], 64 << 20);
    assert!(
        documents[0]["LogPath"].as_str().is_some_and(|path| docker.ok("inspect -f {{.LogPath}} up") == path)
    );
    let said = docker.run("rm up");
    assert_eq!(
        said.fails(1),
        "Error response from daemon: cannot remove container \"/up\": container is running: stop the container before \
         removing or force remove\n"
    );
    let top = docker.ok("top up -o pid,args");
    assert!(top.starts_with("PID                 COMMAND"), "{top}");
    let stats: Value = docker.json("stats --no-stream --format json other");
    assert_eq!((&stats["Container"], &stats["MemUsage"]), (&json!("other"), &json!("0B / 0B")));
    assert_eq!(docker.run("commit -m text up made").stderr, "");
    let df = docker.ok("system df -v");
    assert!(df.contains("\"sleep 1000\"") && df.contains("Build cache usage: "), "{df}");
    let stop = docker.run("stop -t 0 up");
    assert_eq!((stop.ok(), stop.stderr.as_str()), ("up", ""));
    let missing = docker.run("rm -f nosuch");
    assert_eq!(
        (missing.ok(), missing.stderr.as_str()),
        ("", "Error response from daemon: No such container: nosuch\n")
    );
}
