//! Through a link named docker: messages, exit codes, columns and documents that scripts read.

#![allow(clippy::unwrap_used)]

mod common;

use std::os::unix::fs::MetadataExt as _;

use common::docker::Docker;
use serde_json::Value;

#[test]
fn failures_have_docker_s_words_and_codes() {
    let docker = Docker::new();
    docker.ok("run --name box --net none localhost/bb true");
    docker.ok("run -d --name up --net none localhost/bb sleep 1000");
    let up = docker.ok("inspect -f {{.Id}} up");
    let stopped = docker.ok("inspect -f {{.Id}} box");
    for (words, code, said) in [
        ("rm nosuch", 1, "Error response from daemon: No such container: nosuch"),
        ("stop nosuch", 1, "Error response from daemon: No such container: nosuch"),
        ("logs nosuch", 1, "Error response from daemon: No such container: nosuch"),
        ("exec nosuch true", 1, "Error response from daemon: No such container: nosuch"),
        ("container inspect nosuch", 1, "Error response from daemon: No such container: nosuch"),
        ("inspect nosuch", 1, "Error: No such object: nosuch"),
        ("image inspect nosuch", 1, "Error response from daemon: No such image: nosuch:latest"),
        ("rmi reg.example/nosuch:1", 1, "Error response from daemon: No such image: reg.example/nosuch:1"),
        ("volume inspect nosuch", 1, "Error response from daemon: get nosuch: no such volume"),
        ("volume rm nosuch", 1, "Error response from daemon: get nosuch: no such volume"),
        ("network inspect nosuch", 1, "Error response from daemon: network nosuch not found"),
        ("exec box true", 1, &format!("Error response from daemon: container {stopped} is not running")),
        ("kill box", 1, "Error response from daemon: cannot kill container: "),
        (
            "create --name up localhost/bb",
            1,
            &format!(
                "Error response from daemon: Conflict. The container name \"/up\" is already in use by container \"{up}\". \
                 You have to remove (or rename) that container to be able to reuse that name."
            ),
        ),
        ("run --rm --net none localhost/bb nosuch", 127, "docker: Error response from daemon: "),
        ("run --name up localhost/bb", 125, "docker: Error response from daemon: Conflict. "),
        ("run --bogus localhost/bb", 125, "unknown flag: --bogus"),
        ("ps --bogus", 125, "unknown flag: --bogus"),
        ("bogus", 1, "docker: unknown command: docker bogus"),
        ("run", 1, "docker: 'docker run' requires at least 1 argument"),
        ("ps x", 1, "docker: 'docker ps' accepts no arguments"),
        ("rename x", 1, "docker: 'docker rename' requires 2 arguments"),
        ("rm", 1, "docker: 'docker rm' requires at least 1 argument"),
        ("rmi", 1, "docker: 'docker rmi' requires at least 1 argument"),
    ] {
        let output = docker.run(words);
        let first = output.fails(code).lines().next().unwrap_or_default();
        assert!(first.starts_with(said), "{words}: {}", output.stderr);
    }
    assert_eq!(docker.run("exec up sh -c exit${IFS}3").stderr, "");
    for (words, page) in [
        (
            "ps --bogus",
            "unknown flag: --bogus\n\nUsage:  docker ps [OPTIONS]\n\nRun 'docker ps --help' for more information\n",
        ),
        (
            "ps x",
            "docker: 'docker ps' accepts no arguments\n\nUsage:  docker ps [OPTIONS]\n\nRun 'docker ps --help' for more \
             information\n",
        ),
        (
            "rm",
            "docker: 'docker rm' requires at least 1 argument\n\nUsage:  docker rm [OPTIONS] CONTAINER [CONTAINER...]\n\n\
             See 'docker rm --help' for more information\n",
        ),
        (
            "container run",
            "docker: 'docker container run' requires at least 1 argument\n\n\
             Usage:  docker container run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\n\
             See 'docker container run --help' for more information\n",
        ),
    ] {
        assert_eq!(docker.run(words).stderr, page, "{words}");
    }
    // podman's and its own name keep theirs.
    assert!(docker.sandbox.ketch(["exec", "box", "true"]).fails(255).starts_with("Error: can only create"));
    let pulled = docker.run("run --rm --retry 0 reg.invalid/nosuch:1");
    assert!(
        pulled.fails(125).starts_with("Unable to find image 'reg.invalid/nosuch:1' locally\n"),
        "{}",
        pulled.stderr
    );
    docker.ok("rm -f -t 0 up");
}

/// Commands that a message tells to type begin with the name that was called.
#[test]
fn networks_and_volumes_are_told_of_in_docker_s_words() {
    let docker = Docker::new();
    docker.ok("network create --subnet 10.231.0.0/24 net");
    docker.ok("create --name on --net net localhost/bb true");
    for (words, code, said) in [
        ("network create net", 1, "Error response from daemon: network with name net already exists"),
        (
            "network create host",
            1,
            "Error response from daemon: operation is not permitted on predefined host network",
        ),
        (
            "network create --subnet 10.231.0.0/25 other",
            1,
            "Error response from daemon: invalid pool request: Pool overlaps",
        ),
        ("network create", 1, "docker: 'docker network create' requires 1 argument"),
        (
            "network rm bridge",
            1,
            "Error response from daemon: bridge is a pre-defined network and cannot be removed",
        ),
        (
            "network rm net",
            1,
            "Error response from daemon: error while removing network: network net has active endpoints",
        ),
        (
            "network connect net on",
            1,
            "Error response from daemon: endpoint with name on already exists in network net",
        ),
        (
            "volume create a/b",
            1,
            "Error response from daemon: create a/b: \"a/b\" includes invalid characters for a local",
        ),
        (
            "run --mount type=bind,src=/nosuch/x,dst=/x localhost/bb",
            125,
            "docker: Error response from daemon: invalid mount config for type \"bind\": bind source path does not exist: /nosuch/x",
        ),
        (
            "run -v a/b:/x localhost/bb true",
            125,
            "docker: Error response from daemon: create a/b: \"a/b\" includes invalid characters",
        ),
        (
            "run --mount type=bind,src=/tmp,dst=/x,volume-nocopy localhost/bb true",
            125,
            "docker: Error response from daemon: cannot mix 'volume-*' options with mount type 'bind'",
        ),
        (
            "run --volumes-from nosuch localhost/bb true",
            125,
            "docker: Error response from daemon: No such container: nosuch",
        ),
        (
            "run -v a1:/x -v a2:/x localhost/bb",
            125,
            "docker: Error response from daemon: Duplicate mount point: /x",
        ),
    ] {
        let output = docker.run(words);
        let first = output.fails(code).lines().next().unwrap_or_default();
        assert!(first.starts_with(said), "{words}: {}", output.stderr);
    }
    assert_eq!(docker.ok("volume ls"), "DRIVER    VOLUME NAME");
    docker.ok("volume create -o type=tmpfs -o device=tmpfs -o o=uid=5 -l a=b mem");
    let templates = |words: &[&str]| docker.sandbox.program(&docker.link, words).run().ok().to_owned();
    let shown = templates(&["volume", "ls", "--format", "{{.Name}} {{.Size}} {{.Labels}} {{.Label \"a\"}}"]);
    assert_eq!(shown, "mem N/A a=b b");
    assert_eq!(templates(&["volume", "inspect", "-f", "{{len .Options}}", "mem"]), "3");
}

#[test]
fn messages_name_the_program_that_was_called() {
    let docker = Docker::new();
    docker.ok("create --name box --net none localhost/bb true");
    let said = docker.run("exec box true");
    assert!(said.stderr.contains("docker start ") && !said.stderr.contains("ketch"), "{}", said.stderr);
    assert!(docker.ok("ps --help").contains("Usage: docker ps"));
    assert!(docker.sandbox.ok(["ps", "--help"]).contains("Usage: ketch ps"));
    for word in ["swarm init", "node ls", "service ls", "stack ls", "config ls"] {
        let said = docker.run(word);
        let first = "Error response from daemon: This node is not a swarm manager";
        assert!(said.fails(1).starts_with(first), "{word}: {}", said.stderr);
    }
    for word in ["plugin ls", "trust sign x", "checkpoint ls x"] {
        let said = docker.run(word);
        assert_eq!(said.fails(1).trim_end().lines().count(), 1, "{word}: {}", said.stderr);
        assert!(said.stderr.contains("ketch"), "{word}: {}", said.stderr);
    }
    assert!(docker.sandbox.ketch(["swarm", "init"]).fails(125).contains("unrecognized command"));
}

/// BuildKit has the steps on standard error, and `-q` the ID on standard output.
#[test]
fn a_build_leaves_standard_output_alone() {
    let docker = Docker::new();
    docker.sandbox.write("ctx/Dockerfile", "FROM localhost/bb\nRUN echo from-the-step\n");
    let context = docker.sandbox.path("ctx").display().to_string();
    let id_file = docker.sandbox.path("id").display().to_string();
    let built = docker.run(&format!("build --network none --iidfile {id_file} -t app {context}"));
    assert_eq!(built.ok(), "");
    for line in ["from-the-step", "naming to docker.io/library/app", "writing image sha256:"] {
        assert!(built.stderr.contains(line), "{line}: {}", built.stderr);
    }
    let id = docker.ok(&format!("build --network none -q {context}"));
    assert_eq!(id, docker.sandbox.read("id"));
    assert_eq!(docker.ok("images --no-trunc -q app"), id);
    docker.sandbox.write("ctx/Dockerfile", "FROM localhost/bb\nRUN exit 7\n");
    let failed = docker.run(&format!("build --network none {context}"));
    assert!(failed.fails(1).contains("ERROR: failed to solve: "), "{}", failed.stderr);
    assert_eq!(failed.stdout, "");
    // As podman has it under its own name.
    assert!(docker.sandbox.ketch(["build", "--network=none", &context]).fails(7).contains("Error: "));
}

#[test]
fn listings_have_docker_s_columns() {
    let docker = Docker::new();
    docker.ok("volume create data");
    docker.ok("run -d --name box -v data:/d --net none --expose 80 localhost/bb sleep 1000");
    let head = |words: &str| docker.ok(words).lines().next().unwrap_or_default().to_owned();
    for (words, want) in [
        ("ps", "CONTAINER ID   IMAGE          COMMAND        CREATED"),
        ("top box", "UID         PID         PPID"),
        ("top box -ef", "UID         PID         PPID"),
        ("images", "REPOSITORY     TAG       IMAGE ID"),
        ("history localhost/bb", "IMAGE "),
        ("stats --no-stream", "CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT"),
        ("network ls", "NETWORK ID     NAME      DRIVER    SCOPE"),
        ("volume ls", "DRIVER    VOLUME NAME"),
    ] {
        let said = head(words);
        let (said_words, want_words): (Vec<_>, Vec<_>) =
            (said.split_whitespace().collect(), want.split_whitespace().collect());
        assert!(said_words.starts_with(&want_words), "{words}: {said}");
    }
    assert!(
        head("network ls").starts_with("NETWORK ID     NAME      DRIVER    SCOPE"),
        "three blanks between"
    );
    let top = docker.ok("top box");
    let process: Vec<&str> = top.lines().nth(1).expect("a process").split_whitespace().collect();
    assert_eq!(process[7..], ["sleep", "1000"], "{top}");
    assert!(process[1] == docker.ok("inspect -f {{.State.Pid}} box"), "the host's number: {top}");
    assert_eq!(
        docker.ok("ps --format {{.Command}};{{.Networks}};{{.Mounts}};{{.State}};{{.Ports}}"),
        "\"sleep 1000\";none;data;running;80/tcp"
    );
    docker.ok("rm -f -t 0 box");
    let usage = docker.ok("system df");
    assert_eq!(usage.lines().count(), 5, "{usage}");

    // Networks: docker's three are there.
    assert_eq!(docker.ok("network ls --format {{.Name}}:{{.Driver}}"), "bridge:bridge\nhost:host\nnone:null");
    let id = docker.ok("network create net");
    assert_eq!(id.len(), 64, "{id}");
    assert_eq!(docker.ok("network ls -q --filter name=^net$"), id[..12]);
    assert_eq!(docker.ok("network ls -q --filter type=custom"), id[..12]);
    assert_eq!(docker.ok("network ls -q --filter name=nosuch"), "");
    for (name, driver) in [("bridge", "bridge"), ("host", "host"), ("none", "null"), ("net", "bridge")] {
        let network = &docker.json(&format!("network inspect {name}"))[0];
        assert_eq!((&network["Name"], &network["Driver"]), (&name.into(), &driver.into()));
    }
    assert_eq!(docker.ok("network inspect -f {{.Name}} bridge"), "bridge");
    docker.ok("network rm net");
}

/// Scripts read what went, and the space, below docker's titles.
#[test]
fn what_was_pruned_is_told_below_titles() {
    let docker = Docker::new();
    docker.ok("create --name box --net none localhost/bb true");
    let id = docker.ok("inspect -f {{.Id}} box");
    assert_eq!(
        docker.ok("container prune -f"),
        format!("Deleted Containers:\n{id}\n\nTotal reclaimed space: 0B")
    );
    assert_eq!(docker.ok("container prune -f"), "Total reclaimed space: 0B");
    docker.ok("volume create");
    assert!(docker.ok("volume prune -f").starts_with("Deleted Volumes:\n"));
    docker.ok("network create net");
    assert_eq!(docker.ok("network prune -f"), "Deleted Networks:\nnet\n");
    docker.ok("create --name box --net none localhost/bb true");
    let image = docker.ok("commit box");
    assert!(image.starts_with("sha256:"), "{image}");
    assert!(docker.ok("image prune -f").starts_with(&format!("Deleted Images:\ndeleted: {image}\n\nTotal")));
    let named = docker.ok("commit box named");
    let said = docker.ok("image prune -a -f");
    assert!(said.contains(&format!("untagged: named:latest\ndeleted: {named}\n")), "{said}");
    let image = docker.ok("commit box made");
    assert_eq!(docker.ok("rmi made"), format!("Untagged: made:latest\nDeleted: {image}"));
    docker.sandbox.ok(["rm", "box"]);
    docker.sandbox.ok(["create", "--name=box", "--net=none", "bb", "true"]);
    assert!(!docker.sandbox.ok(["container", "prune", "-f"]).contains("Deleted"));
}

#[test]
fn inspect_has_docker_s_shapes() {
    let docker = Docker::new();
    docker.ok("volume create data");
    docker.ok("create --name box -v data:/d:ro --ulimit nofile=100:200 --log-opt tag=seen localhost/bb true");
    docker.ok("network create net");
    docker.ok("create --name other --network net localhost/bb true");
    let document = &docker.json("inspect box")[0];
    let host = &document["HostConfig"];
    assert_eq!(document["State"]["Status"], "created");
    assert_eq!(document["Config"]["Image"], "localhost/bb");
    assert_eq!(host["Binds"], serde_json::json!(["data:/d:ro"]));
    assert_eq!(host["NetworkMode"], "bridge");
    assert_eq!(
        (&host["IpcMode"], &host["PidMode"], &host["UTSMode"]),
        (&"private".into(), &"".into(), &"".into())
    );
    assert_eq!((&host["CapAdd"], &host["CgroupnsMode"]), (&Value::Null, &"private".into()));
    assert_eq!(host["Ulimits"], serde_json::json!([{"Name": "nofile", "Soft": 100, "Hard": 200}]));
    assert_eq!(host["LogConfig"]["Config"]["tag"], "seen");
    let mount = &document["Mounts"][0];
    assert_eq!(
        (&mount["Name"], &mount["Driver"], &mount["RW"]),
        (&"data".into(), &"local".into(), &false.into())
    );
    assert_eq!(mount.get("Options"), None);
    assert!(document["NetworkSettings"]["Networks"]["bridge"].is_object(), "{document}");
    assert_eq!(docker.ok("inspect -f {{.HostConfig.NetworkMode}} other"), "net");
    let volume = &docker.json("volume inspect data")[0];
    assert_eq!(volume.as_object().expect("an object").len(), 7, "{volume}");
    let image = &docker.json("image inspect localhost/bb")[0];
    assert!(image["Metadata"]["LastTagTime"].is_string());
    assert_eq!(docker.ok("inspect -f {{.Name}} data"), "data");
    docker.ok("rm box other");
    docker.ok("network rm net");
}

/// podman refuses both.
#[test]
fn what_is_paused_stops_and_what_is_used_goes() {
    let docker = Docker::new();
    docker.ok("run -d --name owner --net none localhost/bb sleep 1000");
    docker.ok("run -d --name user --net container:owner localhost/bb sleep 1000");
    docker.ok("pause user");
    docker.ok("stop -t 0 user");
    assert_eq!(docker.ok("inspect -f {{.State.Status}} user"), "exited");
    assert_eq!(docker.ok("rm -f owner"), "owner");
    assert_eq!(docker.ok("ps -a --format {{.Names}}"), "user");
    docker.run("start user").fails(1);
    docker.ok("rm user");
}

/// `docker run -u $(id -u):$(id -g) -v $PWD:/w`, which with docker's daemon of root writes as oneself. What lies in
/// volumes keeps its numbers.
#[test]
fn one_s_own_number_writes_into_one_s_own_directory() {
    let docker = Docker::new();
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let own = docker.sandbox.path("own").display().to_string();
    let made = |flags: &str| {
        docker.run(&format!("run --rm --network none -u {uid}:{gid} {flags} localhost/bb touch /w/made"))
    };
    // It is made, as with docker, and is the caller's then.
    made(&format!("-v {own}:/w")).ok();
    let owner = std::fs::metadata(docker.sandbox.path("own/made")).unwrap();
    assert_eq!((owner.uid(), owner.gid()), (uid, gid));
    let root = "--rm --network none localhost/bb id -u";
    let say = |flags: &str| docker.ok(&format!("run {flags} {root}"));
    assert_eq!(say(&format!("-u {uid} -v {own}:/w")), uid.to_string());
    // The image's files have their owners; the container's root is another.
    let rooted =
        docker.ok(&format!("run --rm --network none -u {uid} -v {own}:/w localhost/bb stat -c %u /bin /w"));
    assert_eq!(rooted, format!("0\n{uid}"));
    docker
        .ok(&format!("run -d --name box --network none -u {uid}:{gid} -v {own}:/w localhost/bb sleep 1000"));
    assert_eq!(docker.ok("inspect -f ={{.HostConfig.UsernsMode}}= box"), "==");
    // To docker, `host` is what containers have anyway.
    assert_eq!(say(&format!("--userns host -u {uid} -v {own}:/w")), uid.to_string());
    assert_eq!(docker.ok("exec box stat -c %u /w/made"), uid.to_string());
    docker.ok("rm -f box");

    // podman's users say --userns=keep-id.
    docker
        .sandbox
        .ketch([
            "run",
            "--rm",
            "--network=none",
            &format!("-u{uid}"),
            &format!("-v{own}:/w"),
            "bb",
            "touch",
            "/w/no",
        ])
        .fails(1);
    docker
        .run(&format!("run --rm --network none -u {uid} -v data:/data -v {own}:/w localhost/bb touch /w/no"))
        .fails(1);
    docker.ok("volume rm data");
}

/// Mistakes in the values of flags: what docker's command line finds ends with 125, what it leaves to its daemon with 1.
#[test]
fn mistakes_in_flags_end_as_docker_s_do() {
    let docker = Docker::new();
    docker.sandbox.write("env", "A B=c\n");
    let env = docker.sandbox.path("env").display().to_string();
    let flag = |value: &str, name: &str, why: &str| {
        format!("invalid argument \"{value}\" for \"{name}\" flag: {why}")
    };
    let daemon = |why: &str| format!("Error response from daemon: {why}");
    for (words, code, said) in [
        ("create -p 99999 bb", 125, "docker: invalid containerPort: 99999".to_owned()),
        ("create -m x bb", 125, flag("x", "--memory", "invalid size: 'x'")),
        ("update -m x bb", 125, flag("x", "--memory", "invalid size: 'x'")),
        ("create --mount x bb", 125, flag("x", "--mount", "unexpected key 'x' in 'x'")),
        ("create --add-host x bb", 125, flag("x", "--add-host", "bad format for add-host: \"x\"")),
        (
            &format!("create --env-file {env} bb"),
            125,
            "docker: variable 'A B' contains whitespaces".to_owned(),
        ),
        ("create --userns x bb", 125, "docker: --userns: invalid USER mode".to_owned()),
        ("create --network-alias x bb", 125, "docker: network-scoped aliases are only".to_owned()),
        ("create --cap-add x bb true", 1, daemon("invalid capability: unknown capability")),
        ("create -w x bb true", 1, daemon("the working directory 'x' is invalid")),
        ("create --ipc x bb true", 1, daemon("invalid IPC mode")),
        (
            "create --gpus all bb true",
            1,
            daemon("could not select device driver \"\" with capabilities: [[gpu]]"),
        ),
        (
            "create --mount type=bind,src=x,dst=/x bb true",
            1,
            daemon("invalid mount config for type \"bind\""),
        ),
        ("run --gpus all bb true", 125, format!("docker: {}", daemon("could not select device driver"))),
        ("ps -f x", 125, flag("x", "-f, --filter", "bad format of filter")),
        ("ps -f status=x", 1, daemon("invalid filter 'status=x'")),
        ("container --x", 125, "unknown flag: --x".to_owned()),
        ("logs a b", 1, "docker: 'docker logs' requires 1 argument".to_owned()),
        ("container diff a b", 1, "docker: 'docker container diff' requires 1 argument".to_owned()),
        ("volume create -o x=y v", 1, daemon("invalid option: \"x\"")),
        ("volume create -d x v", 1, daemon("error looking up volume plugin x")),
        ("network create default", 1, daemon("operation is not permitted on predefined default network")),
        ("network create --gateway 10.1.1.1 n", 1, "every ip-range or gateway must have".to_owned()),
        ("events --since x", 1, "failed to parse value as time or duration: \"x\"".to_owned()),
        ("update nosuch", 1, "you must provide one or more flags when using this command".to_owned()),
        ("load -i /etc/passwd", 1, daemon("payload does not match any of the supported image formats")),
        ("context use nosuch", 1, "context \"nosuch\": context not found".to_owned()),
        ("image prune -f --filter dangling=x", 1, daemon("non-boolean value")),
    ] {
        let output = docker.run(words);
        assert!(output.fails(code).starts_with(&said), "{words}: {}", output.stderr);
    }
    let said = docker.run("create -m x bb").stderr;
    assert!(said.ends_with("\nRun 'docker create --help' for more information\n"), "{said}");
    assert_eq!(docker.ok("image prune -f --filter dangling=true"), "Total reclaimed space: 0B");
    assert_eq!(docker.ok("volume create --label a=b").len(), 64);
    assert_eq!(docker.run("volume create ").ok().len(), 64, "an empty name is none");
    // What podman's users write.
    let refused = docker.sandbox.ketch(["create", "--env-file", &env, "bb"]);
    assert!(refused.fails(125).contains("name \"A B\" has white spaces, poorly formatted name"));
}

#[test]
fn images_have_a_line_and_a_digest_for_each_name() {
    let docker = Docker::new();
    for name in ["two:1", "one:1", "three:1"] {
        docker.ok(&format!("tag localhost/bb {name}"));
    }
    assert_eq!(docker.ok("images --format {{.Repository}}"), "localhost/bb\none\nthree\ntwo");
    assert_eq!(docker.ok("images -q").lines().count(), 4);
    assert_eq!(docker.sandbox.ok(["images", "-q"]).lines().count(), 1);
    let id = docker.ok("images -q --no-trunc one");
    assert_eq!(docker.ok("history -q --no-trunc one:1").lines().next(), Some(id.as_str()));
    let digest = docker.ok("images --digests --format {{.Digest}} two");
    assert_eq!(docker.ok(&format!("rmi two@{digest}")), format!("Untagged: two@{digest}"));
    assert_eq!(docker.ok("images -q").lines().count(), 4);

    docker.ok("rmi two:1 one:1 three:1");
    let only = format!("localhost/bb@{}", docker.ok("images --digests --format {{.Digest}} localhost/bb"));
    docker.ok(&format!("rmi {only}"));
    assert_eq!(docker.ok("images -q").lines().count(), 1, "docker keeps what has a name");
    docker.sandbox.ok(["rmi", &only]);
    assert_eq!(docker.ok("images -q"), "", "podman does not");
}

#[test]
fn containers_are_made_and_committed_as_docker_does() {
    let docker = Docker::new();
    docker.ok("create --name box --net none -p published=0,target=80 -p target=81,protocol=udp -v data:/d -v /tmp:/t bb true");
    let ports = &docker.json("inspect box")[0]["HostConfig"]["PortBindings"];
    assert!(ports.get("80/tcp").is_some() && ports.get("81/udp").is_some(), "{ports}");
    let mounts = docker.sandbox.program(&docker.link, ["inspect", "-f", "{{json .Mounts}}", "box"]).run();
    let mounts: Vec<Value> = serde_json::from_str(mounts.ok()).expect("a list");
    let driver = |kind: &str| {
        mounts.iter().find(|mount| mount["Type"] == kind).map(|mount| mount.get("Driver").is_some())
    };
    assert_eq!((driver("volume"), driver("bind")), (Some(true), Some(false)));
    docker.ok("run -d --name up --net none bb sleep 1000");
    let all = docker.json("system df -v --format json");
    let of = |kind: &str, key: &str| all[kind].as_array().unwrap()[0][key].as_str().unwrap().to_owned();
    assert_eq!(
        [of("Images", "Repository"), of("Volumes", "Links"), of("Volumes", "Name")],
        ["localhost/bb", "1", "data"]
    );
    assert!(
        ["up", "box"].contains(&of("Containers", "Names").as_str())
            && all["BuildCache"] == Value::Array(vec![])
    );
    docker.sandbox.ketch(["system", "df", "-v", "--format", "json"]).fails(125);
    docker.ok("logs -n 5 up");
    docker.ok("commit up made");
    let events = docker.ok("events --since 1m --until 0s --filter container=up --format {{.Action}}");
    assert!(events.ends_with("pause\nunpause\ncommit"), "{events}");
    docker.ok("commit --pause=false up made");
    let events = docker.ok("events --since 1m --until 0s --filter container=up --format {{.Action}}");
    assert!(events.ends_with("pause\nunpause\ncommit\ncommit"), "{events}");
    docker.ok("rm -f up");
}
