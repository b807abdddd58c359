//! Compose files: what they mean, and projects made of them.

mod common;

use common::Sandbox;
use common::compose::{Compose, SERVE, project};

/// One case of tests/compose/config.txt.
#[derive(Default)]
struct Case {
    name: String,
    args: Vec<String>,
    flags: Vec<String>,
    env: Vec<(String, String)>,
    files: Vec<(String, String)>,
    /// `None` where docker compose refuses.
    expected: Option<String>,
}

fn cases() -> Vec<Case> {
    let text = include_str!("compose/config.txt");
    text.split("\n==== ").skip(1).map(case).collect()
}

fn case(text: &str) -> Case {
    let (head, rest) = text.split_once("\n---- ").expect("a case has files");
    let mut lines = head.lines();
    let mut case = Case { name: lines.next().expect("a case has a name").to_owned(), ..Case::default() };
    for line in lines {
        if let Some(args) = line.strip_prefix("args: ") {
            case.args = args.split(' ').map(str::to_owned).collect();
        } else if let Some(flags) = line.strip_prefix("flags: ") {
            case.flags = flags.split(' ').map(str::to_owned).collect();
        } else if let Some((name, value)) = line.strip_prefix("env: ").and_then(|pair| pair.split_once('=')) {
            case.env.push((name.to_owned(), value.to_owned()));
        }
    }
    for part in rest.split("\n---- ") {
        let (name, body) = part.split_once('\n').unwrap_or((part, ""));
        match name {
            "fails" => case.expected = None,
            "expected" => case.expected = Some(format!("{}\n", body.trim_end_matches('\n'))),
            name => case
                .files
                .push((name.to_owned(), if body.is_empty() { String::new() } else { format!("{body}\n") })),
        }
    }
    case
}

#[test]
fn config_prints_what_docker_compose_prints() {
    let sandbox = Sandbox::empty();
    let cases = cases();
    assert!(cases.len() >= 375, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let dir = sandbox.path(format!("{}/proj", case.name));
        for (name, body) in &case.files {
            sandbox.write(format!("{}/proj/{name}", case.name), body);
        }
        let mut command = sandbox
            .command(
                ["compose"]
                    .into_iter()
                    .chain(case.args.iter().map(String::as_str))
                    .chain(["config"])
                    .chain(case.flags.iter().map(String::as_str)),
            )
            .env("HOME", "/home/u")
            .current_dir(&dir);
        for (name, value) in &case.env {
            command = command.env(name, value);
        }
        let output = command.run();
        let dir_text = dir.display().to_string();
        let parent = dir.parent().expect("a parent").display().to_string();
        let expected =
            case.expected.as_ref().map(|text| text.replace("@DIR@", &dir_text).replace("@PARENT@", &parent));
        match expected {
            Some(expected) if output.code == 0 && output.stdout == expected => {}
            None if output.code != 0 && output.stderr.starts_with("Error: ") => {}
            expected => wrong.push(format!(
                "==== {}: exit code {}\n{}\n---- got\n{}\n---- expected\n{}",
                case.name,
                output.code,
                output.stderr,
                output.stdout,
                expected.unwrap_or_else(|| "a failure".to_owned())
            )),
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn a_link_named_docker_compose_is_compose() {
    let sandbox = Sandbox::empty();
    let link = sandbox.path("docker-compose");
    std::os::unix::fs::symlink(common::ketch_binary(), &link).expect("make a link");
    let run = |args: &[&str]| sandbox.program(&link, args).run();
    assert_eq!(run(&["version", "--short"]).ok(), "2.26.1");
    assert_eq!(run(&["compose", "version", "--short"]).ok(), "2.26.1");
    assert!(run(&["-p", "x", "exec", "a", "true"]).fails(1).starts_with("service \"a\" is not running"));
    assert!(run(&["docker-cli-plugin-metadata"]).ok().contains("\"SchemaVersion\":\"0.1.0\""));
}

#[test]
fn errors_name_the_place_and_the_nearest_word() {
    let sandbox = Sandbox::empty();
    for (text, message) in [
        (
            "services:\n  a:\n    imgae: x\n",
            "compose.yaml:3:12: services.a Additional property imgae is not allowed\nhint: did you mean image?",
        ),
        (
            "services:\n  a:\n    image: x\n    ports: [\"x:1:2\"]\n",
            "compose.yaml:4:13: services.a.ports.0 Invalid ip address: x",
        ),
        (
            "services:\n  a:\n    image: ${A:?set A}\n",
            "compose.yaml:3:12: error while interpolating services.a.image: required variable A is missing a value: set A",
        ),
        (
            "services:\n  a: {image: x, depends_on: [b]}\n",
            "compose.yaml:2:6: service \"a\" depends on undefined service \"b\": invalid compose project",
        ),
    ] {
        sandbox.write("p/compose.yaml", text);
        let output = sandbox.command(["compose", "config"]).current_dir(sandbox.path("p")).run();
        assert!(output.fails(15).contains(message), "{}", output.stderr);
    }
}

#[test]
fn a_web_server_and_its_database_come_up_in_order_and_go_down() {
    let sandbox = project(&format!(
        "services:
  web:
    image: bb
    command: [sh, -c, 'until cat /www/page | nc -l -p 80; do :; done; {SERVE}']
    volumes: ['./html:/www:ro']
    environment: {{GREETING: '${{WORD:-hi}}'}}
    depends_on: {{db: {{condition: service_healthy}}}}
  db:
    image: bb
    command: [sh, -c, 'sleep 0.3; touch /ready; echo database ready; {SERVE}']
    healthcheck: {{test: 'test -e /ready', interval: 100ms, retries: 600}}
    volumes: [data:/data]
    configs: [{{source: c, target: /etc/c}}]
    secrets: [s]
volumes: {{data: }}
configs: {{c: {{content: 'a $$b'}}}}
secrets: {{s: {{file: ./secret.txt}}}}
"
    ));
    sandbox.write("p/html/page", "edited page");
    sandbox.write("p/secret.txt", "hush");
    let up = sandbox.compose(&["up", "-d"]);
    up.ok();
    // The server is started once the database is healthy, not before.
    let place = |text: &str| up.stderr.find(text).unwrap_or_else(|| panic!("no {text:?} in {}", up.stderr));
    assert!(place("p-db-1  Healthy") < place("p-web-1  Starting"), "{}", up.stderr);
    assert_eq!(sandbox.compose(&["ps", "--services"]).ok(), "db\nweb");
    assert_eq!(sandbox.compose(&["exec", "-T", "db", "cat", "/etc/c", "/run/secrets/s"]).ok(), "a $bhush");
    assert_eq!(sandbox.compose(&["exec", "-T", "web", "sh", "-c", "echo $GREETING"]).ok(), "hi");
    let got = sandbox.compose(&["exec", "-T", "db", "sh", "-c", "until nc web 80; do sleep 0.05; done"]);
    assert_eq!(got.ok(), "edited page");
    assert!(sandbox.compose(&["logs", "--no-log-prefix", "db"]).ok().contains("database ready"));
    assert!(sandbox.compose(&["logs"]).ok().contains("db-1   | database ready"));
    let list = sandbox.compose(&["ls"]);
    assert!(list.ok().contains("p      "), "{}", list.stdout);
    sandbox.compose(&["down"]).ok();
    assert!(sandbox.names().is_empty());
    assert!(sandbox.ok(["volume", "ls", "-q"]).contains("p_data"));
    assert!(!sandbox.ok(["network", "ls", "-q"]).contains("p_default"));
    sandbox.compose(&["down", "-v"]).ok();
    assert!(!sandbox.ok(["volume", "ls", "-q"]).contains("p_data"));
}

#[test]
fn only_what_changed_is_made_anew() {
    let file = |word: &str, more: &str| {
        format!(
            "services:
  a: {{image: bb, command: [sh, -c, '{SERVE}'], environment: {{W: {word}}}, volumes: [/anon], network_mode: none}}
  b: {{image: bb, command: [sh, -c, '{SERVE}'], network_mode: none}}
{more}"
        )
    };
    let sandbox = project(&file("one", ""));
    sandbox.compose(&["up", "-d"]).ok();
    sandbox.compose(&["exec", "-T", "a", "touch", "/anon/kept"]).ok();
    let ids = |sandbox: &Sandbox| (sandbox.inspect("p-a-1", ".Id"), sandbox.inspect("p-b-1", ".Id"));
    let first = ids(&sandbox);
    // Nothing to do.
    sandbox.compose(&["up", "-d"]).ok();
    assert_eq!(ids(&sandbox), first);
    // One service changes, and its anonymous volume goes on.
    sandbox.write("p/compose.yaml", file("two", ""));
    sandbox.compose(&["up", "-d"]).ok();
    let second = ids(&sandbox);
    assert_ne!(second.0, first.0);
    assert_eq!(second.1, first.1);
    assert_eq!(sandbox.compose(&["exec", "-T", "a", "sh", "-c", "echo $W; ls /anon"]).ok(), "two\nkept");
    // More of one service, then fewer.
    sandbox.compose(&["up", "-d", "--scale", "b=3"]).ok();
    let mut names = sandbox.names();
    names.sort();
    assert_eq!(names, ["p-a-1", "p-b-1", "p-b-2", "p-b-3"]);
    assert_eq!(ids(&sandbox), second);
    sandbox.compose(&["scale", "b=1"]).ok();
    assert_eq!(sandbox.names().len(), 2);
    // A service that the file has no more is an orphan until it is removed.
    sandbox.write(
        "p/compose.yaml",
        format!("services:\n  a: {{image: bb, command: [sh, -c, '{SERVE}'], network_mode: none}}\n"),
    );
    let up = sandbox.compose(&["up", "-d"]);
    up.ok();
    assert!(up.stderr.contains("Found orphan containers ([p-b-1])"), "{}", up.stderr);
    sandbox.compose(&["up", "-d", "--remove-orphans"]).ok();
    assert_eq!(sandbox.names(), ["p-a-1"]);
    sandbox.compose(&["up", "-d", "--force-recreate"]).ok();
    assert_ne!(sandbox.inspect("p-a-1", ".Id"), second.0);
    sandbox.compose(&["down", "-v", "-t", "0"]).ok();
    assert!(sandbox.names().is_empty());
    assert_eq!(sandbox.ok(["volume", "ls", "-q"]), "");
}

#[test]
fn containers_are_stopped_started_and_run_by_their_service() {
    let sandbox = project(&format!(
        "services:
  a: {{image: bb, command: [sh, -c, '{SERVE}'], network_mode: none}}
  job: {{image: bb, command: [sh, -c, 'echo worked; exit 3'], network_mode: none, profiles: [jobs]}}
"
    ));
    sandbox.compose(&["up", "-d"]).ok();
    assert_eq!(sandbox.names(), ["p-a-1"]);
    sandbox.compose(&["stop", "-t", "20"]).ok();
    assert_eq!(sandbox.inspect("p-a-1", ".State.Status"), "exited");
    sandbox.compose(&["start"]).ok();
    sandbox.compose(&["restart", "-t", "20", "a"]).ok();
    assert_eq!(sandbox.inspect("p-a-1", ".State.Status"), "running");
    let run =
        sandbox.compose(&["run", "--rm", "-T", "-e", "X=1", "a", "sh", "-c", "echo one-off $X; exit 4"]);
    assert_eq!((run.code, run.stdout.as_str()), (4, "one-off 1\n"), "{}", run.stderr);
    let job = sandbox.compose(&["up", "--no-log-prefix", "--exit-code-from", "job", "job"]);
    assert_eq!(job.code, 3, "{}", job.stderr);
    assert!(job.stdout.contains("worked"), "{}", job.stdout);
    sandbox.compose(&["kill", "a"]).ok();
    sandbox.compose(&["rm", "-f"]).ok();
    assert!(!sandbox.names().contains(&"p-a-1".to_owned()));
    sandbox.compose(&["--profile", "jobs", "down"]).ok();
    assert!(sandbox.names().is_empty());
    assert!(sandbox.compose(&["logs", "nosuch"]).fails(1).contains("no such service: nosuch"));
}

#[test]
fn a_dependency_that_fails_keeps_others_from_starting() {
    let sandbox = project(
        "services:
  a: {image: bb, command: 'true', network_mode: none, depends_on: {b: {condition: service_completed_successfully}}}
  b: {image: bb, command: 'false', network_mode: none}
",
    );
    let up = sandbox.compose(&["up", "-d"]);
    assert!(up.fails(1).contains("service \"b\" didn't complete successfully: exit 1"), "{}", up.stderr);
    assert_eq!(sandbox.inspect("p-a-1", ".State.Status"), "created");
    sandbox.compose(&["down"]).ok();
}

#[test]
fn an_up_that_is_killed_can_be_repeated() {
    let services: String = (0..5)
        .map(|n| format!("  s{n}: {{image: bb, command: [sh, -c, '{SERVE}'], network_mode: none}}\n"))
        .collect();
    let sandbox = project(&format!("services:\n{services}"));
    for round in 0..6_u64 {
        let mut up = sandbox.compose_command(&["up", "-d", "--force-recreate", "-t", "0"]).spawn();
        std::thread::sleep(std::time::Duration::from_millis(round * 25));
        up.signal(rustix::process::Signal::KILL);
        up.close_stdin();
        up.wait();
        sandbox.compose(&["up", "-d", "-t", "0"]).ok();
        let mut names = sandbox.names();
        names.sort();
        assert_eq!(names, ["p-s0-1", "p-s1-1", "p-s2-1", "p-s3-1", "p-s4-1"]);
        assert_eq!(sandbox.compose(&["ps", "-q"]).ok().lines().count(), 5);
    }
    sandbox.compose(&["down", "-t", "0"]).ok();
    assert!(sandbox.names().is_empty());
}

#[test]
fn an_external_network_joins_two_projects() {
    let sandbox = project(
        "services:
  server: {image: bb, command: [sh, -c, 'while :; do echo joined | nc -l -p 80; done'], stop_grace_period: 0s, networks: [shared]}
networks: {shared: {external: true}}
",
    );
    sandbox.write(
        "q/compose.yaml",
        "services:
  client: {image: bb, command: [sh, -c, 'until nc server 80; do sleep 0.05; done'], networks: [default, shared]}
networks: {shared: {external: true}}
",
    );
    let missing = sandbox.compose(&["up", "-d"]);
    assert!(missing.fails(1).contains("network shared declared as external, but could not be found"));
    sandbox.ok(["network", "create", "shared"]);
    sandbox.compose(&["up", "-d"]).ok();
    let up = sandbox
        .command(["compose", "up", "--no-log-prefix"])
        .env("KETCH_NETWORK_LINGER", "0")
        .current_dir(sandbox.path("q"))
        .run();
    assert!(up.ok().contains("joined"), "{}", up.stdout);
    for project in ["p", "q"] {
        sandbox.command(["compose", "down"]).current_dir(sandbox.path(project)).run().ok();
    }
    sandbox.ok(["network", "rm", "shared"]);
}

#[test]
fn services_are_built_from_their_dockerfiles() {
    let sandbox = project(
        "services:
  a: {build: {context: ./a, args: {WORD: built}}, network_mode: none}
  b: {build: {dockerfile_inline: \"FROM bb\\nCMD echo inline\"}, image: bimage, network_mode: none}
",
    );
    sandbox
        .write("p/a/Dockerfile", "FROM bb\nARG WORD\nCOPY page /page\nENV W=$WORD\nCMD cat /page; echo $W\n");
    sandbox.write("p/a/page", "page\n");
    let up = sandbox.compose(&["up", "--no-log-prefix"]);
    let out = up.ok();
    assert!(["page", "built", "inline"].iter().all(|word| out.contains(word)), "{out}");
    assert!(sandbox.ok(["images", "--format", "{{.Repository}}"]).contains("p-a"));
    // Another build is asked for, and finds nothing to do.
    sandbox.write("p/a/page", "another\n");
    sandbox.compose(&["build", "a"]).ok();
    let up = sandbox.compose(&["up", "--no-log-prefix", "a"]);
    assert!(up.ok().contains("another"), "{}", up.stdout);
    sandbox.compose(&["down", "--rmi", "all"]).ok();
    assert!(!sandbox.ok(["images", "--format", "{{.Repository}}"]).contains("p-a"));
}

#[test]
fn a_service_that_is_named_alone_forgets_what_is_not_active() {
    let sandbox = project(
        "name: p
services:
  web: {image: nginx, depends_on: {db: {condition: service_started, required: false}}}
  db: {image: postgres, profiles: [x]}
  other: {image: busybox}
",
    );
    let web = "name: p
services:
  web:
    image: nginx
    networks:
      default: null
networks:
  default:
    name: p_default";
    // What docker compose 2.26 prints.
    assert_eq!(sandbox.compose(&["config", "web"]).ok(), web);
    let both = sandbox.compose(&["config", "web", "db"]);
    assert!(both.ok().contains("  web:\n    depends_on:\n      db:\n"), "{}", both.stdout);
    assert!(sandbox.compose(&["config", "nosuch"]).fails(1).contains("no such service: nosuch"));
}

#[test]
fn a_later_env_file_that_says_nothing_changes_nothing() {
    let sandbox = project("services: {y: {image: y}}\n");
    sandbox.write("p/other.yaml", "services: {other: {image: x}}\n");
    sandbox.write("p/one.env", "COMPOSE_FILE=other.yaml\n");
    sandbox.write("p/two.env", "# COMPOSE_FILE is set elsewhere\nX=1\n");
    let flags = ["--env-file", "one.env", "--env-file", "two.env", "config", "--services"];
    assert_eq!(sandbox.compose(&flags).ok(), "other");
    sandbox.write("p/two.env", "COMPOSE_FILE=compose.yaml\n");
    assert_eq!(sandbox.compose(&flags).ok(), "y", "the later one wins");
}

#[test]
fn secrets_and_configs_have_owners_and_modes() {
    let text = |mode: &str| {
        format!(
            "services:
  a:
    image: bb
    command: [sh, -c, '{SERVE}']
    network_mode: none
    secrets: [{{source: s, target: t, uid: '1000', gid: '50', mode: {mode}}}, plain]
    configs: [{{source: c, target: /etc/c.conf, mode: 0400}}]
secrets: {{s: {{file: ./s}}, plain: {{file: ./s}}}}
configs: {{c: {{content: conf}}}}
"
        )
    };
    let sandbox = project(&text("0440"));
    sandbox.write("p/s", "hush");
    let up = sandbox.compose(&["up", "-d"]);
    up.ok();
    assert!(!up.stderr.contains("no effect"), "{}", up.stderr);
    let look = || {
        let script = "stat -c '%u:%g %a' /run/secrets/t /run/secrets/plain /etc/c.conf; cat /run/secrets/t /etc/c.conf";
        sandbox.compose(&["exec", "-T", "a", "sh", "-c", script]).ok().to_owned()
    };
    let seen = look();
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!((lines[0], lines[2], lines[3]), ("1000:50 440", "0:0 400", "hushconf"), "{seen}");
    // The copy follows its file and what is said of it.
    sandbox.write("p/s", "other");
    sandbox.compose(&["up", "-d"]).ok();
    assert!(look().ends_with("otherconf"), "{}", look());
    sandbox.write("p/compose.yaml", text("0o444"));
    sandbox.compose(&["up", "-d"]).ok();
    assert!(look().starts_with("1000:50 444\n"), "{}", look());
    assert!(sandbox.compose(&["up", "-d"]).stderr.contains("Container p-a-1  Running"));
    sandbox.write("p/compose.yaml", text("0440, uid: me").replace("uid: '1000', ", ""));
    assert!(sandbox.compose(&["up", "-d"]).fails(1).contains("must be the number of an ID"));
    sandbox.compose(&["down", "-t0"]).ok();
}

#[test]
fn exit_codes_are_those_of_docker_compose() {
    let sandbox = project("services:\n  a: {image: bb, network_mode: none}\n");
    sandbox.write("p/bad.yaml", "services:\n  a: {image: bb, nosuch: 1}\n");
    sandbox.write("p/fails.yaml", "services:\n  a:\n    build: {dockerfile_inline: \"FROM bb\\nRUN exit 3\", network: none}\n  b:\n    build: {dockerfile_inline: \"FROM bb\"}\n");
    sandbox.write("empty/x", "");
    sandbox.write("p/none.yaml", "services: {}\n");
    sandbox.write("p/pull.yaml", "services: {a: {image: 'localhost:1/none/a'}}\n");
    for (args, code) in [
        (&["config", "nosuch"][..], 1),
        (&["-p", "A b", "config"], 1),
        (&["up", "--scale", "x"], 1),
        (&["config", "--format", "xml"], 1),
        (&["exec", "a"], 1),
        (&["--env-file", "nosuch", "config"], 1),
        (&["-f", "none.yaml", "up"], 1),
        (&["-f", "none.yaml", "create"], 1),
        (&["cp", "a", "b"], 1),
        (&["top", "nosuch"], 0),
        (&["images", "nosuch"], 0),
        (&["-f", "pull.yaml", "run", "a"], 18),
        (&["-f", "pull.yaml", "create"], 18),
        (&["rm", "--all", "-f"], 0),
        (&["build", "--compress", "--force-rm", "--no-rm", "--parallel"], 0),
        (&["pull", "--parallel", "--no-parallel", "--policy", "never"], 0),
        (&["--project-directory", "../empty", "-f", "nosuch.yaml", "config"], 14),
        (&["-f", "bad.yaml", "up"], 15),
        (&["config", "--nosuch"], 16),
        (&["nosuch"], 16),
        (&["--nosuch"], 16),
        (&["-f", "fails.yaml", "build"], 17),
        (&["-f", "fails.yaml", "build", "a"], 17),
        (&["-f", "fails.yaml", "build", "b"], 0),
        (&[], 0),
    ] {
        let output = sandbox.compose(args);
        assert_eq!(output.code, code, "{args:?}: {}{}", output.stdout, output.stderr);
    }
    let nothing = sandbox.command(["compose", "ps"]).current_dir(sandbox.path("empty")).run();
    assert!(nothing.fails(14).contains("no configuration file provided: not found"));
}

#[test]
fn a_volume_that_has_changed_is_asked_about() {
    let text = |more: &str| {
        format!(
            "services:
  a: {{image: bb, command: [sh, -c, '{SERVE}'], network_mode: none, volumes: ['data:/d']}}
volumes: {{data: {{{more}}}}}
"
        )
    };
    let sandbox = project(&text("labels: {a: one}"));
    sandbox.compose(&["up", "-d"]).ok();
    sandbox.compose(&["exec", "-T", "a", "touch", "/d/kept"]).ok();
    let has_file = || sandbox.compose(&["exec", "-T", "a", "test", "-e", "/d/kept"]).code == 0;
    let label = || sandbox.ok(["volume", "inspect", "--format={{index .Labels \"a\"}}", "p_data"]);
    assert_eq!((has_file(), label().as_str()), (true, "one"));
    // Nobody confirms it: it stays.
    sandbox.write("p/compose.yaml", text("labels: {a: two}"));
    let up = sandbox.compose(&["up", "-d"]);
    up.ok();
    let question = "Volume \"p_data\" exists but doesn't match configuration in compose file.";
    assert!(up.stderr.contains(&format!("{question} Recreate (data will be lost)?")), "{}", up.stderr);
    assert_eq!((has_file(), label().as_str()), (true, "one"));
    sandbox.compose(&["up", "-d", "--yes"]).ok();
    assert_eq!((has_file(), label().as_str()), (false, "two"));
    assert!(!sandbox.compose(&["up", "-d"]).stderr.contains("doesn't match"));
    // One that is somebody else's is left alone, and that is told.
    sandbox.compose(&["down", "-v", "-t0"]).ok();
    sandbox.ok(["volume", "create", "p_data"]);
    let up = sandbox.compose(&["up", "-d", "--yes"]);
    up.ok();
    assert!(up.stderr.contains("was not created by Docker Compose"), "{}", up.stderr);
    sandbox.compose(&["down", "-t0"]).ok();
}
