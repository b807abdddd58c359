//! Compose: what is seen of a project's containers and taken out of them, hooks, devices, and what is said
//! about keys that have no effect.

mod common;

use common::Sandbox;
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
    plain.fails(1);
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
    let message = up.fails(1);
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
        assert!(up.fails(1).contains(message), "{}", up.stderr);
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
  a: {{image: bb, command: [sh, -c, 'cat /v/page; grep \" /m \" /proc/mounts; until test -e /m/there; do sleep 0.05; done'], network_mode: none, volumes: ['vol:/v', 'mem:/m']}}
  b: {{image: bb, command: [sh, -c, 'touch /m/there; until test -e /v/done; do sleep 0.05; done'], network_mode: none, volumes: ['vol:/v', 'mem:/m']}}
volumes:
  vol: {{driver_opts: {options}}}
  mem: {{driver_opts: {{type: tmpfs, device: tmpfs, o: 'size=1m'}}}}
"
        )
    };
    let sandbox = project(&file("{type: none, o: bind, device: ./pages}"));
    sandbox.write("p/pages/page", "bound\n");
    // What one writes into memory the other one sees.
    let up = sandbox.compose_command(&["up", "--no-log-prefix"]).spawn();
    up.expect("bound\n");
    up.expect("a-1 exited with code 0");
    sandbox.write("p/pages/done", "");
    let up = up.wait();
    assert!(up.ok().contains(" /m tmpfs") && up.stdout.contains("size=1024k"), "{}", up.stdout);
    assert_eq!(sandbox.ok(["volume", "ls", "-q"]), "p_mem\np_vol");
    let options = sandbox.ok(["volume", "inspect", "p_mem", "--format", "{{.Options.type}} {{.Options.o}}"]);
    assert_eq!(options, "tmpfs size=1m");
    sandbox.compose(&["down", "-v"]).ok();
    assert_eq!(sandbox.ok(["volume", "ls", "-q"]), "");
    assert!(sandbox.path("p/pages/page").exists());
    sandbox.write("p/compose.yaml", file("{type: nfs, o: addr=x, device: ':/x'}"));
    let up = sandbox.compose(&["up"]);
    let message = up.fails(1);
    assert!(message.contains("compose.yaml:5:8: volume vol: "), "{message}");
}

/// Two services that publish and print, and one that has ended.
fn listed() -> (Sandbox, String) {
    let port = common::free_port().to_string();
    let sandbox = project(&format!(
        "services:
  web: {{image: bb, command: [sh, -c, 'echo up; {SERVE}'], ports: ['127.0.0.1:{port}:80'], expose: [443], healthcheck: {{test: 'true', interval: 100ms}}}}
  db: {{image: bb, command: [sh, -c, '{SERVE}'], container_name: database, volumes: ['/anonymous']}}
  job: {{image: bb, command: [sh, -c, 'exit 3']}}
"
    ));
    sandbox.compose(&["up", "-d"]).ok();
    sandbox.wait_until(&["ps", "-a", "--format", "{{.Names}} {{.Status}}"], "p-job-1 Exited (3)");
    sandbox.wait_until(&["ps", "--format", "{{.Names}} {{.Status}}"], "(healthy)");
    (sandbox, port)
}

/// The lines of a table, and that its columns stand where docker compose puts them: each as wide as its widest cell
/// and `padding` blanks, and no narrower than `min_width`. All but the last column.
#[track_caller]
fn columns(text: &str, min_width: usize, padding: usize) -> Vec<Vec<String>> {
    let lines: Vec<&str> = text.lines().collect();
    let heading = lines[0];
    // Headings are parted by two blanks at least.
    let starts: Vec<usize> = heading
        .char_indices()
        .filter(|(at, c)| *c != ' ' && (*at == 0 || heading[..*at].ends_with("  ")))
        .map(|(at, _)| at)
        .collect();
    let rows: Vec<Vec<String>> = lines
        .iter()
        .map(|line| {
            let chars: Vec<char> = line.chars().collect();
            let end = |place: usize| starts.get(place + 1).copied().unwrap_or(chars.len());
            (0..starts.len())
                .map(|place| {
                    let cell: String = chars[starts[place]..end(place).max(starts[place])].iter().collect();
                    cell.trim_end().to_owned()
                })
                .collect()
        })
        .collect();
    for (place, two) in starts.windows(2).enumerate() {
        let widest = rows.iter().map(|row| row[place].chars().count()).max().unwrap_or(0);
        assert_eq!(two[1] - two[0], (widest + padding).max(min_width), "column {place} of\n{text}");
    }
    rows
}

#[test]
fn containers_are_listed_as_docker_compose_lists_them() {
    let (sandbox, port) = listed();
    // Widths as docker compose 2.26 prints them, seen with an engine that answers what these containers are.
    let ps = sandbox.compose(&["ps"]);
    let rows = columns(ps.ok(), 10, 3);
    assert_eq!(rows[0], ["NAME", "IMAGE", "COMMAND", "SERVICE", "CREATED", "STATUS", "PORTS"]);
    let names = |rows: &[Vec<String>]| rows.iter().skip(1).map(|row| row[0].clone()).collect::<Vec<_>>();
    assert_eq!(names(&rows), ["database", "p-web-1"]);
    assert_eq!(rows[2][2], "\"sh -c 'echo up; tra…\"");
    assert!(rows[2][5].starts_with("Up ") && rows[2][5].ends_with("(healthy)"), "{rows:?}");
    assert!(rows[2][6].contains(&format!("127.0.0.1:{port}->80/tcp")), "{rows:?}");
    let all = |args: &[&str]| names(&columns(sandbox.compose(&[&["ps"], args].concat()).ok(), 10, 3));
    assert_eq!(all(&["-a"]), ["database", "p-job-1", "p-web-1"]);
    assert_eq!(all(&["--status", "exited"]), ["p-job-1"]);
    assert_eq!(all(&["--filter", "status=running", "web"]), ["p-web-1"]);
    assert_eq!(all(&["--status=exited", "--status=running"]), ["database", "p-job-1", "p-web-1"]);
    assert_eq!(sandbox.compose(&["ps", "--services"]).ok(), "db\nweb");
    assert_eq!(sandbox.compose(&["ps", "-a", "--services", "--status", "exited"]).ok(), "job");
    let ids = sandbox.compose(&["ps", "-q", "web"]).ok().to_owned();
    assert_eq!(ids, sandbox.inspect("p-web-1", ".Id"));
    assert!(sandbox.compose(&["ps", "nosuch"]).fails(1).contains("no such service: nosuch"));
    assert!(sandbox.compose(&["ps", "--filter", "x=y"]).fails(1).contains("unknown filter"));
    let lines = sandbox.compose(&["ps", "-a", "--format", "json"]);
    let rows: Vec<serde_json::Value> = lines.ok().lines().map(common::json).collect();
    assert_eq!(rows.len(), 3);
    let (job, web) = (&rows[1], &rows[2]);
    assert_eq!(
        (&job["State"], &job["ExitCode"], &job["Service"]),
        (&"exited".into(), &3.into(), &"job".into())
    );
    assert_eq!((&web["Health"], &web["Project"]), (&"healthy".into(), &"p".into()));
    let published = web["Publishers"].as_array().expect("a list of publishers");
    let port: u16 = port.parse().expect("a port");
    assert!(
        published.contains(&serde_json::json!({"URL": "127.0.0.1", "TargetPort": 80, "PublishedPort": port, "Protocol": "tcp"})),
        "{published:?}"
    );
    assert!(job["Publishers"].is_null(), "{job}");
    assert_eq!(
        sandbox.compose(&["ps", "--format", "{{.Name}}:{{.Service}}"]).ok(),
        "database:db\np-web-1:web"
    );
    let labels = "{{.Label \"com.docker.compose.service\"}} {{.LocalVolumes}} {{.Label \"none\"}}";
    assert_eq!(sandbox.compose(&["ps", "--format", labels]).ok(), "db 1 \nweb 0 ");
    assert_eq!(sandbox.compose(&["port", "web", "80"]).ok(), format!("127.0.0.1:{port}"));
    sandbox.compose(&["port", "web", "81"]).fails(1);
    let not_running = sandbox.compose(&["exec", "-T", "job", "true"]);
    assert!(not_running.fails(1).contains("service \"job\" is not running"), "{}", not_running.stderr);
    sandbox.compose(&["down", "-t", "0"]).ok();
    let empty = sandbox.compose(&["ps"]);
    assert_eq!(empty.ok(), "NAME      IMAGE     COMMAND   SERVICE   CREATED   STATUS    PORTS");
}

#[test]
fn projects_images_and_processes_are_listed() {
    let (sandbox, _) = listed();
    let file = sandbox.path("p/compose.yaml").display().to_string();
    let ls = sandbox.compose(&["ls"]);
    let rows = columns(ls.ok(), 20, 3);
    assert_eq!(rows, [["NAME", "STATUS", "CONFIG FILES"], ["p", "running(2)", &file]]);
    let json = sandbox.compose(&["ls", "--format", "json"]);
    let want = serde_json::json!([{"Name": "p", "Status": "running(2)", "ConfigFiles": file}]);
    assert_eq!(common::json(json.ok()), want);
    assert_eq!(sandbox.compose(&["ls", "-q", "--filter", "name=other"]).ok(), "");
    let images = sandbox.compose(&["images"]);
    let rows = columns(images.ok(), 20, 3);
    assert_eq!(rows[0], ["CONTAINER", "REPOSITORY", "TAG", "IMAGE ID", "SIZE"]);
    assert_eq!(
        rows.iter().skip(1).map(|row| row[0].as_str()).collect::<Vec<_>>(),
        ["database", "p-job-1", "p-web-1"]
    );
    assert_eq!((rows[1][2].as_str(), rows[1][3].len()), ("latest", 12));
    let id = sandbox.ok(["inspect", "-t", "image", "bb", "--format", "{{.Id}}"]);
    assert_eq!(sandbox.compose(&["images", "-q"]).ok(), id.trim_start_matches("sha256:"));
    let images = common::json(sandbox.compose(&["images", "--format", "json", "web"]).ok());
    assert_eq!((&images[0]["ContainerName"], images.as_array().map(Vec::len)), (&"p-web-1".into(), Some(1)));
    assert!(images[0]["Size"].as_u64().is_some_and(|size| size > 0), "{images}");
    let top = sandbox.compose(&["top", "db"]);
    let lines: Vec<&str> = top.ok().lines().collect();
    assert_eq!(lines[0], "database");
    // The last column has its blanks in all lines but the first.
    assert!(lines[1].starts_with("UID    PID   PPID   ") && lines[1].ends_with("   CMD"), "{}", top.stdout);
    assert!(lines[2].ends_with("   "), "{}", top.stdout);
    let hash = sandbox.compose(&["config", "--hash", "db,web"]);
    let label = "index .Config.Labels \"com.docker.compose.config-hash\"";
    let of = |name: &str| sandbox.ok(["inspect", name, "--format", &format!("{{{{{label}}}}}")]);
    assert_eq!(hash.ok(), format!("db {}\nweb {}", of("database"), of("p-web-1")));
    sandbox.compose(&["stop", "-t", "0"]).ok();
    assert_eq!(sandbox.compose(&["ls", "-q"]).ok(), "");
    assert_eq!(sandbox.compose(&["ls", "-aq", "--filter", "name=p"]).ok(), "p");
    assert!(sandbox.compose(&["ls", "-a"]).ok().contains("exited(3)"));
    sandbox.compose(&["down"]).ok();
}

#[test]
fn the_output_of_a_time_is_shown() {
    let sandbox = project(
        "services:
  a: {image: bb, command: [sh, -c, 'echo first; sleep 2; echo second; sleep 2; echo third'], network_mode: none}
  b: {image: bb, command: [sh, -c, 'echo other'], network_mode: none}
",
    );
    sandbox.compose(&["up", "-d"]).ok();
    let follow = sandbox.compose(&["logs", "-f", "--no-log-prefix", "a"]);
    // As with docker compose, who follows is told of the end.
    assert_eq!(follow.ok(), "first\nsecond\nthird\na-1 exited with code 0");
    let lines = sandbox.compose(&["logs", "-t", "--no-log-prefix", "a"]);
    let times: Vec<String> =
        lines.ok().lines().map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect();
    assert_eq!(times.len(), 3, "{}", lines.stdout);
    let logs =
        |args: &[&str]| sandbox.compose(&[&["logs", "--no-log-prefix"], args].concat()).ok().to_owned();
    assert_eq!(logs(&["--since", &times[1], "a"]), "second\nthird");
    assert_eq!(logs(&["--until", &times[1], "a"]), "first\nsecond");
    assert_eq!(logs(&["--since", &times[1], "--until", &times[1], "a"]), "second");
    assert_eq!(logs(&["--since", "1h", "--until", "1h", "a"]), "");
    assert_eq!(logs(&["-n", "1", "a"]), "third");
    assert_eq!(logs(&["--tail=0"]), "");
    let all = sandbox.compose(&["logs", "--tail", "1"]);
    let mut lines: Vec<&str> = all.ok().lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["a-1  | third", "b-1  | other"]);
    sandbox.compose(&["logs", "--tail", "x"]).fails(1);
    sandbox.compose(&["down"]).ok();
}

#[test]
fn a_command_is_run_in_a_new_container() {
    let port = common::free_port().to_string();
    let sandbox = project(&format!(
        "services:
  a:
    image: bb
    command: [sh, -c, '{SERVE}']
    ports: ['127.0.0.1:{port}:80']
    volumes: [/anon]
    environment: {{W: file, KEPT: kept}}
    networks: {{default: {{aliases: [ab, other]}}}}
    depends_on: [b]
    stop_grace_period: 0s
  b: {{image: bb, command: [sh, -c, '{SERVE}'], stop_grace_period: 0s}}
"
    ));
    sandbox.write("p/dir/file", "mounted");
    let run = sandbox.compose(&[
        "run",
        "--rm",
        "-T",
        "-e",
        "W=given",
        "-v",
        "./dir:/dir:ro",
        "--name",
        "mine",
        "-w",
        "/dir",
        "-u",
        "app",
        "-l",
        "x=y",
        "a",
        "sh",
        "-c",
        "echo $W $KEPT $(cat file) $(id -un) $PWD; exit 5",
    ]);
    assert_eq!((run.code, run.stdout.as_str()), (5, "given kept mounted app /dir\n"), "{}", run.stderr);
    assert_eq!(sandbox.names(), ["p-b-1"], "what it depends on runs");
    assert_eq!(sandbox.ok(["volume", "ls", "-q"]), "", "anonymous volumes go with it");
    let publishing = [
        "run",
        "-d",
        "--no-deps",
        "--service-ports",
        "--name",
        "served",
        "a",
        "sh",
        "-c",
        "while :; do echo hi | nc -l -p 80; done",
    ];
    assert_eq!(sandbox.compose(&publishing).ok(), sandbox.inspect("served", ".Id"));
    assert_eq!(sandbox.ok(["port", "served"]), format!("80/tcp -> 127.0.0.1:{port}"));
    let other = common::free_port().to_string();
    let publish = format!("127.0.0.1:{other}:81");
    let printed = sandbox.compose(&["run", "-d", "--name", "aliased", "--use-aliases", "-p", &publish, "a"]);
    assert_eq!(printed.ok(), sandbox.inspect("aliased", ".Id"));
    assert_eq!(sandbox.ok(["port", "aliased"]), format!("81/tcp -> 127.0.0.1:{other}"));
    // Only the one that was asked to is known by the service's names.
    let aliases = |name: &str| {
        let document = common::json(&sandbox.ok(["inspect", name]));
        document[0]["NetworkSettings"]["Networks"]["p_default"]["Aliases"].to_string()
    };
    assert!(
        aliases("aliased").contains("\"a\"") && aliases("aliased").contains("\"ab\""),
        "{}",
        aliases("aliased")
    );
    for alias in ["\"a\"", "\"ab\"", "\"b\"", "\"other\""] {
        assert!(!aliases("served").contains(alias), "{}", aliases("served"));
    }
    assert_eq!(sandbox.compose(&["ps", "--services"]).ok(), "b");
    assert!(sandbox.compose(&["ps", "-a"]).ok().contains("served"));
    let entrypoint =
        sandbox.compose(&["run", "--rm", "-T", "--no-deps", "--entrypoint", "echo 'a b'", "a", "c"]);
    assert_eq!(entrypoint.ok(), "a b c");
    let input = sandbox.compose_command(&["run", "--rm", "-T", "--no-deps", "a", "cat"]).stdin("typed").run();
    assert_eq!(input.ok(), "typed");
    sandbox.compose(&["down", "-v"]).ok();
    assert!(sandbox.names().is_empty());
}

#[test]
fn files_go_both_ways_and_commands_into_the_right_container() {
    let sandbox = serving(", scale: 2");
    sandbox.compose(&["up", "-d"]).ok();
    sandbox.write("p/here/file", "from here");
    let cp = sandbox.compose(&["cp", "here", "a:/there"]);
    cp.ok();
    // All containers of the service get it.
    let told = |number| format!(" p-a-{number} copy here to p-a-{number}:/there Copy");
    let are_told = [1, 2].iter().all(|number| {
        ["ing", "ed"]
            .iter()
            .all(|end| cp.stderr.contains(&format!("{}{end}\n", told(*number)).replace("Copyed", "Copied")))
    });
    assert!(are_told, "{}", cp.stderr);
    sandbox.compose(&["cp", "--index", "2", "here/file", "a:/second"]).ok();
    let exec = |args: &[&str]| sandbox.compose(&[&["exec", "-T"], args].concat());
    assert_eq!(exec(&["a", "cat", "/there/file"]).ok(), "from here");
    assert_eq!(exec(&["--index=2", "a", "cat", "/there/file"]).ok(), "from here");
    assert_ne!(exec(&["a", "cat", "/second"]).code, 0);
    assert_eq!(exec(&["--index=2", "a", "cat", "/second"]).ok(), "from here");
    exec(&["a", "sh", "-c", "echo changed > /there/file"]).ok();
    sandbox.compose(&["cp", "a:/there/file", "back"]).ok();
    assert_eq!(sandbox.read("p/back"), "changed\n");
    let missing = exec(&["--index", "3", "a", "true"]);
    assert!(missing.fails(1).contains("service \"a\" is not running container #3"), "{}", missing.stderr);
    let told =
        exec(&["-e", "W=x", "-u", "app", "-w", "/tmp", "a", "sh", "-c", "echo $W $(id -un) $PWD; exit 6"]);
    assert_eq!((told.code, told.stdout.as_str()), (6, "x app /tmp\n"), "{}", told.stderr);
    let input = sandbox.compose_command(&["exec", "-T", "a", "cat"]).stdin("typed").run();
    assert_eq!(input.ok(), "typed");
    assert!(
        sandbox
            .compose(&["cp", "a:/second", "a:/third"])
            .fails(1)
            .contains("copying between services is not")
    );
    // Where the service has none of its own, one of `run` will do; it is not among those that `kill` and `rm` mean.
    sandbox.compose(&["run", "-d", "--name", "extra", "a"]).ok();
    sandbox.compose(&["cp", "--all", "here/file", "a:/all"]).ok();
    assert_eq!(sandbox.ok(["exec", "extra", "cat", "/all"]), "from here");
    sandbox.compose(&["kill"]).ok();
    let rm = sandbox.compose(&["rm", "-f"]);
    rm.ok();
    assert!(!rm.stderr.contains("Stopp"), "{}", rm.stderr);
    assert_eq!(sandbox.names(), ["extra"]);
    assert_eq!(exec(&["a", "cat", "/all"]).ok(), "from here");
    sandbox.compose(&["down", "-t", "0"]).ok();
}

#[test]
fn images_go_with_the_project_if_that_is_asked_for() {
    let file = format!(
        "services:
  built: {{build: {{dockerfile_inline: \"FROM bb\\nLABEL n=1\"}}, command: [sh, -c, '{SERVE}'], network_mode: none}}
  named: {{build: {{dockerfile_inline: \"FROM bb\\nLABEL n=2\"}}, image: named:1, command: [sh, -c, '{SERVE}'], network_mode: none, volumes: ['v:/v', /anon]}}
volumes: {{v: }}
"
    );
    let sandbox = project(&file);
    let images = || sandbox.ok(["images", "--format", "{{.Repository}}"]);
    sandbox.compose(&["up", "-d"]).ok();
    let down = sandbox.compose(&["down", "-t", "0", "--rmi", "local"]);
    down.ok();
    assert!(
        down.stderr.contains(" Image p-built  Removed")
            || down.stderr.contains("Image p-built:latest  Removed"),
        "{}",
        down.stderr
    );
    assert!(!images().contains("p-built") && images().contains("named"), "{}", images());
    assert_eq!(sandbox.ok(["volume", "ls", "-q"]).lines().count(), 2, "volumes stay");
    sandbox.compose(&["up", "-d"]).ok();
    sandbox.compose(&["down", "-t", "0", "--rmi", "all", "-v"]).ok();
    assert!(!images().contains("p-built") && !images().contains("named"), "{}", images());
    assert!(!sandbox.ok(["volume", "ls", "-q"]).contains("p_v"));
    assert!(sandbox.compose(&["down", "--rmi", "some"]).fails(1).contains("--rmi"));
}

#[test]
fn what_is_done_is_told_unless_nothing_is_to_be_told() {
    let sandbox = serving("");
    sandbox.compose(&["up", "-d"]).ok();
    // The words, and where they are printed, were seen from docker compose 2.26.
    for (verb, told) in [
        (&["pause"][..], " Container p-a-1  Paused\n"),
        (&["unpause"], " Container p-a-1  Unpaused\n"),
        (&["kill", "-s", "WINCH"], " Container p-a-1  Killing\n Container p-a-1  Killed\n"),
        (&["stop", "-t", "0"], " Container p-a-1  Stopping\n Container p-a-1  Stopped\n"),
        (&["start"], " Container p-a-1  Starting\n Container p-a-1  Started\n"),
    ] {
        let output = sandbox.compose(verb);
        assert_eq!((output.ok(), output.stderr.as_str()), ("", told), "{verb:?}");
        if verb[0] == "pause" {
            assert_eq!(sandbox.inspect("p-a-1", ".State.Status"), "paused");
        }
    }
    for verb in ["pause", "unpause", "kill", "start", "stop"] {
        let output = sandbox.compose(&["--progress", "quiet", verb]);
        assert_eq!((output.ok(), output.stderr.as_str()), ("", ""), "{verb}");
    }
    assert_eq!(sandbox.inspect("p-a-1", ".State.Status"), "exited");
    sandbox.compose(&["kill", "-s", "NOSUCH"]).fails(1);
    sandbox.compose(&["down"]).ok();
}

#[test]
fn colours_are_for_terminals_and_who_wants_them() {
    let sandbox = project("services:\n  a: {image: bb, command: [echo, tick], network_mode: none}\n");
    sandbox.compose(&["up", "-d"]).ok();
    sandbox.ok(["wait", "p-a-1"]);
    for (variables, coloured) in [
        (&[][..], true),
        (&[("NO_COLOR", "1")], false),
        (&[("NO_COLOR", "")], true),
        (&[("NO_COLOR", "1"), ("COMPOSE_ANSI", "always")], true),
    ] {
        let mut logs = sandbox.compose_command(&["logs"]).env("TERM", "xterm");
        for (name, value) in variables {
            logs = logs.env(name, value);
        }
        let output = logs.on_terminal(24, 80).wait();
        assert!(output.stdout.contains("tick"), "{}", output.stdout);
        assert_eq!(output.stdout.contains("\x1b["), coloured, "{variables:?}: {:?}", output.stdout);
    }
}
