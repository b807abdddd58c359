//! Compose: how projects come up, stay as their files say, and end.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::Sandbox;
use common::compose::{Compose, SERVE, project, says, serve_saying, serving};
use common::image::{Compression, Image, Layer};
use common::registry::Registry;
use rustix::process::Signal;

/// A service of `bb` without a network that runs `script`, with further keys in YAML's flow form.
fn service(name: &str, script: &str, keys: &str) -> String {
    format!("  {name}: {{image: bb, command: [sh, -c, '{script}'], network_mode: none{keys}}}\n")
}

/// A sandbox with a project of these services.
fn services(list: &[String]) -> Sandbox {
    project(&format!("services:\n{}", list.concat()))
}

/// What a store holds that commands could change.
fn state(sandbox: &Sandbox) -> String {
    let mut told = String::new();
    for args in [
        &["ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.Names}} {{.State}}"][..],
        &["network", "ls", "-q"],
        &["volume", "ls", "-q"],
        &["images", "--format", "{{.Repository}}"],
    ] {
        told.push_str(&sandbox.ok(args));
        told.push('\n');
    }
    for dir in ["compose", "compose/p", "staging"] {
        told.push_str(&format!("{:?}\n", common::entries(&sandbox.store(), dir)));
    }
    told
}

#[test]
fn only_a_failure_ends_all_if_that_is_asked_for() {
    let sandbox = services(&[
        service("lasting", SERVE, ""),
        service("good", "echo done; exit 0", ""),
        service("bad", "sleep 1; exit 7", ""),
    ]);
    let up = sandbox.compose(&["up", "--abort-on-container-failure", "-t", "20"]);
    assert_eq!(up.code, 7, "{}", up.stderr);
    // It is told once, when it ends, and not again and again until another one fails.
    assert_eq!(up.stdout.matches("good-1 exited with code 0\n").count(), 1, "{}", up.stdout);
    assert_eq!(up.stdout.matches("bad-1 exited with code 7\n").count(), 1, "{}", up.stdout);
    assert_eq!(sandbox.inspect("p-lasting-1", ".State.Status"), "exited");
    sandbox.compose(&["down", "-t", "0"]).ok();
}

/// As with docker compose; a service without it in its image did not start.
#[test]
fn a_working_directory_that_is_missing_is_made() {
    let sandbox = services(&[service("placed", "pwd > here; cat here", ", working_dir: /new/place")]);
    let up = sandbox.compose(&["up", "--no-log-prefix"]);
    assert!(up.ok().contains("/new/place\n"), "{}", up.stdout);
    assert_eq!(sandbox.compose(&["run", "--rm", "-w", "/other", "placed", "pwd"]).ok(), "/other");
    sandbox.compose(&["down", "-t", "0"]).ok();
}

#[test]
fn each_end_is_told_when_it_comes() {
    let sandbox = services(&[service("short", "exit 3", ""), service("long", &serve_saying("there"), "")]);
    // A project's name may hold what separates it from the service.
    let up = sandbox.compose_command(&["-p", "my-app", "up"]).spawn();
    up.expect("there");
    up.expect("short-1 exited with code 3");
    let running = sandbox.compose(&["-p", "my-app", "ps", "--services"]);
    assert_eq!(running.ok(), "long");
    up.signal(Signal::INT);
    let output = up.wait();
    assert_eq!(output.code, 130, "{}", output.stderr);
    assert!(output.stdout.contains("\nlong-1 exited with code 0\n"), "{}", output.stdout);
    sandbox.compose(&["-p", "my-app", "down", "-t", "0"]).ok();
    let up = sandbox.compose(&["-p", "my-app", "up", "short"]);
    assert_eq!(
        (up.code, up.stdout.as_str()),
        (0, "Attaching to short-1\nshort-1 exited with code 3\n"),
        "{}",
        up.stderr
    );
    sandbox.compose(&["-p", "my-app", "down", "-t", "0"]).ok();
}

#[test]
fn a_second_interrupt_kills() {
    let deaf = "trap \"\" TERM; echo deaf; while :; do sleep 0.05; done";
    let sandbox = services(&[service("a", deaf, ", stop_grace_period: 10m")]);
    let up = sandbox.compose_command(&["up"]).spawn();
    up.expect("a-1  | deaf");
    up.signal(Signal::INT);
    says(&up, "Gracefully stopping... (press Ctrl+C again to force)");
    assert_eq!(sandbox.inspect("p-a-1", ".State.Status"), "running");
    up.signal(Signal::INT);
    let output = up.wait();
    assert_eq!(output.code, 130, "{}", output.stderr);
    assert!(output.stdout.contains("a-1 exited with code 137"), "{}", output.stdout);
    assert_eq!(sandbox.inspect("p-a-1", ".State.ExitCode"), "137");
    sandbox.compose(&["down"]).ok();
}

#[test]
fn output_is_shown_while_others_wait() {
    let keys = ", healthcheck: {test: \"test -e /go/on\", interval: 100ms, retries: 100000}, volumes: [\"./go:/go\"]";
    let once =
        ", depends_on: {job: {condition: service_completed_successfully}, db: {condition: service_healthy}}";
    let sandbox = services(&[
        service("db", &serve_saying("initialising"), keys),
        service("job", "echo migrated", ""),
        service("web", &serve_saying("serving"), once),
    ]);
    // What came first is shown although the last one has not been started; and an interrupt ends it all.
    let up = sandbox.compose_command(&["up"]).spawn();
    up.expect("db-1   | initialising");
    up.expect("job-1 exited with code 0");
    assert_eq!(sandbox.inspect("p-web-1", ".State.Status"), "created");
    up.signal(Signal::INT);
    let output = up.wait();
    assert_eq!(output.code, 130, "{}", output.stderr);
    assert!(output.stdout.starts_with("Attaching to db-1, job-1, web-1\n"), "{}", output.stdout);
    assert!(output.stderr.contains("Gracefully stopping..."), "{}", output.stderr);
    assert!(output.stdout.ends_with("db-1 exited with code 0\n"), "{}", output.stdout);
    assert!(!output.stdout.contains("web-1 exited"), "{}", output.stdout);
    assert_eq!(sandbox.inspect("p-db-1", ".State.Status"), "exited");
    // Each line is shown once, also those from before everything had started.
    let up = sandbox.compose_command(&["up"]).spawn();
    up.expect("initialising");
    up.expect("migrated");
    sandbox.write("p/go/on", "");
    up.expect("serving");
    up.signal(Signal::INT);
    let output = up.wait();
    assert_eq!(output.code, 130, "{}", output.stderr);
    for line in [
        "initialising\n",
        "migrated\n",
        "serving\n",
        "job-1 exited with code 0\n",
        "web-1 exited with code 0\n",
    ] {
        assert_eq!(output.stdout.matches(line).count(), 1, "{line}: {}", output.stdout);
    }
    sandbox.compose(&["down", "-t", "0"]).ok();
}

#[test]
fn what_a_failed_dependency_has_said_is_shown() {
    let sandbox = services(&[
        service("a", SERVE, ", depends_on: {b: {condition: service_completed_successfully}}"),
        service("b", "echo no such table; exit 1", ""),
    ]);
    let up = sandbox.compose(&["up"]);
    assert!(up.fails(1).contains("service \"b\" didn't complete successfully: exit 1"), "{}", up.stderr);
    assert_eq!(
        up.stdout, "Attaching to a-1, b-1\nb-1  | no such table\nb-1 exited with code 1\n",
        "{}",
        up.stderr
    );
    sandbox.compose(&["down"]).ok();
}

#[test]
fn a_dry_run_does_nothing() {
    let file = format!(
        "services:
  a: {{image: bb, command: [sh, -c, '{SERVE}'], volumes: ['v:/v', './made:/made'], secrets: [s], depends_on: [b]}}
  b: {{build: {{dockerfile_inline: 'FROM bb'}}, command: [sh, -c, '{SERVE}']}}
volumes: {{v: }}
secrets: {{s: {{environment: SECRET}}}}
"
    );
    let sandbox = project(&file);
    let dry = |args: &[&str]| {
        let args = [&["--dry-run"], args].concat();
        sandbox.compose_command(&args).env("SECRET", "hush").run()
    };
    let before = state(&sandbox);
    for args in [
        &["up", "-d"][..],
        &["up", "--wait"],
        &["create"],
        &["run", "--rm", "a", "true"],
        &["run", "-d", "--build", "b", "true"],
        &["build"],
        &["pull"],
        &["scale", "a=2"],
        &["down", "-v", "--rmi", "all"],
    ] {
        let output = dry(args);
        output.ok();
        assert_eq!(state(&sandbox), before, "{args:?}");
        assert!(!sandbox.path("p/made").exists(), "{args:?}");
    }
    let up = dry(&["up", "-d", "b"]);
    for line in ["Network p_default  Created", "Container p-b-1  Created", "Container p-b-1  Started"] {
        assert!(up.stderr.contains(&format!(" DRY-RUN MODE -  {line}\n")), "{}", up.stderr);
    }
    sandbox.compose_command(&["up", "-d"]).env("SECRET", "hush").run().ok();
    sandbox.write("p/file", "x");
    let before = state(&sandbox);
    for args in [
        &["up", "-d", "--force-recreate"][..],
        &["up", "-d", "--scale", "a=0"],
        &["up", "-d", "--build", "--wait", "--wait-timeout", "1"],
        &["stop"],
        &["restart"],
        &["kill"],
        &["pause"],
        &["rm", "-sf"],
        &["exec", "-T", "a", "touch", "/x"],
        &["cp", "file", "a:/x"],
        &["commit", "a", "taken"],
        &["run", "--rm", "a", "true"],
        &["down", "-v", "--rmi", "all"],
    ] {
        let output = dry(args);
        output.ok();
        assert!(output.stderr.contains(" DRY-RUN MODE -  "), "{args:?}: {}", output.stderr);
        assert_eq!(state(&sandbox), before, "{args:?}");
    }
    assert_eq!(sandbox.ok(["exec", "p-a-1", "sh", "-c", "ls /x 2>/dev/null; true"]), "");
    sandbox.compose_command(&["down", "-v", "-t", "0", "--rmi", "local"]).env("SECRET", "").run().ok();
}

#[test]
fn containers_start_in_parallel_unless_there_is_a_limit() {
    let names = ["a", "b", "c"];
    let list: Vec<String> = ["z", "a", "b", "c"].iter().map(|name| service(name, SERVE, "")).collect();
    let sandbox = services(&list);
    // One that runs already holds the namespace that all are in.
    sandbox.compose(&["up", "-d", "z"]).ok();
    let places = |stderr: &str, state: &str| -> Vec<usize> {
        let place = |name: &&str| stderr.find(&format!("p-{name}-1  {state}"));
        names
            .iter()
            .map(|name| place(name).unwrap_or_else(|| panic!("no {name} {state}: {stderr}")))
            .collect()
    };
    let together = sandbox.compose(&["up", "-d"]);
    together.ok();
    let (starting, started) = (places(&together.stderr, "Starting"), places(&together.stderr, "Started"));
    assert!(starting.iter().max() < started.iter().min(), "{}", together.stderr);
    for flags in [&["--parallel", "1"][..], &["--parallel=1"]] {
        sandbox.compose(&["stop", "-t", "0", "a", "b", "c"]).ok();
        let single = sandbox.compose(&[flags, &["up", "-d"]].concat());
        single.ok();
        let (starting, started) = (places(&single.stderr, "Starting"), places(&single.stderr, "Started"));
        assert!(started[0] < starting[1] && started[1] < starting[2], "{}", single.stderr);
    }
    sandbox.compose(&["down", "-t", "0"]).ok();
}

#[test]
fn old_containers_end_together() {
    let deaf = "trap \"\" TERM; touch /ready; while :; do sleep 0.05; done";
    let file = |word: &str| {
        let keys = format!(", environment: {{W: {word}}}, stop_grace_period: 3s");
        let list: Vec<String> = (0..4).map(|n| service(&format!("s{n}"), deaf, &keys)).collect();
        format!("services:\n{}", list.concat())
    };
    let sandbox = project(&file("one"));
    sandbox.compose(&["up", "-d"]).ok();
    for n in 0..4 {
        sandbox.wait_until(&["exec", &format!("p-s{n}-1"), "ls", "/ready"], "ready");
    }
    sandbox.write("p/compose.yaml", file("two"));
    sandbox.compose(&["up", "-d"]).ok();
    // Each has got its stop signal before the first one was killed at the end of its grace.
    let events = sandbox.ok(["events", "--stream=false", "--filter=event=died", "--format={{.Time}}"]);
    let times: Vec<&str> = events.lines().collect();
    assert_eq!(times.len(), 4, "{events}");
    assert!(sandbox.names().iter().all(|name| name.starts_with("p-s")), "{:?}", sandbox.names());
    let created = sandbox.ok(["events", "--stream=false", "--filter=event=create", "--format={{.Name}}"]);
    assert_eq!(created.lines().count(), 8, "{created}");
    let all = sandbox.ok(["events", "--stream=false", "--filter=type=container", "--format={{.Status}}"]);
    let all: Vec<&str> = all.lines().filter(|word| ["died", "remove", "start"].contains(word)).collect();
    // All of them end before the first one is removed.
    let first_removed = all.iter().position(|word| *word == "remove").expect("one is removed");
    assert_eq!(all[..first_removed].iter().filter(|word| **word == "died").count(), 4, "{all:?}");
    sandbox.compose(&["down", "-t", "0"]).ok();
}

#[test]
fn a_wait_ends_when_all_are_ready_or_never_will_be() {
    let check = |test: &str| format!(", healthcheck: {{test: '{test}', interval: 100ms, retries: 2}}");
    let sandbox = services(&[
        service(
            "good",
            &format!("sleep 0.5; touch /ready; {SERVE}"),
            &check("test -e /ready").replace("retries: 2", "retries: 600"),
        ),
        service("plain", SERVE, ""),
        service("sick", SERVE, &format!("{}, profiles: [sick]", check("false"))),
        service(
            "slow",
            SERVE,
            ", profiles: [slow], healthcheck: {test: 'false', interval: 100ms, retries: 100000}",
        ),
    ]);
    let up = sandbox.compose(&["up", "--wait"]);
    up.ok();
    assert!(up.stdout.is_empty() && up.stderr.contains(" Container p-good-1  Healthy"), "{}", up.stderr);
    assert_eq!(sandbox.inspect("p-good-1", ".State.Health.Status"), "healthy");
    let sick = sandbox.compose(&["up", "--wait", "sick"]);
    assert!(sick.fails(1).contains("container p-sick-1 is unhealthy"), "{}", sick.stderr);
    let slow = sandbox.compose(&["up", "--wait", "--wait-timeout", "1", "slow"]);
    assert!(slow.fails(1).contains("application not healthy after 1s"), "{}", slow.stderr);
    assert_eq!(sandbox.inspect("p-slow-1", ".State.Status"), "running");
    sandbox.compose(&["--profile", "*", "down", "-t", "0"]).ok();
    assert!(sandbox.names().is_empty());
    // A job that others wait for is ready when it has ended well.
    let after = ", depends_on: {job: {condition: service_completed_successfully}}";
    let jobs = |code: u8| {
        format!("services:\n{}{}", service("job", &format!("exit {code}"), ""), service("web", SERVE, after))
    };
    sandbox.write("p/compose.yaml", jobs(0));
    let up = sandbox.compose(&["up", "-d", "--wait"]);
    up.ok();
    assert!(up.stderr.contains(" Container p-job-1  Exited"), "{}", up.stderr);
    sandbox.write("p/compose.yaml", jobs(3));
    sandbox.compose(&["up", "--wait"]).fails(1);
    sandbox.compose(&["down", "-t", "0"]).ok();
}

#[test]
fn flags_say_what_is_made_anew() {
    let sandbox = serving(", volumes: [/anon], environment: {W: one}");
    sandbox.compose(&["up", "-d"]).ok();
    let id = || sandbox.inspect("p-a-1", ".Id");
    let first = id();
    sandbox.compose(&["exec", "-T", "a", "touch", "/anon/kept"]).ok();
    let files = || sandbox.compose(&["exec", "-T", "a", "sh", "-c", "ls /anon; echo $W"]).ok().to_owned();
    sandbox.write("p/compose.yaml", sandbox.read("p/compose.yaml").replace("W: one", "W: two"));
    sandbox.compose(&["up", "-d", "--no-recreate"]).ok();
    assert_eq!((id(), files().as_str()), (first.clone(), "kept\none"));
    sandbox.compose(&["up", "-d", "-t", "0"]).ok();
    let second = id();
    assert_ne!(second, first);
    assert_eq!(files(), "kept\ntwo");
    sandbox.compose(&["up", "-d", "-t", "0", "--force-recreate", "--renew-anon-volumes"]).ok();
    assert_ne!(id(), second);
    assert_eq!(files(), "two");
    assert_eq!(sandbox.ok(["volume", "ls", "-q"]).lines().count(), 1, "the old one is gone");
    sandbox.compose(&["up", "-d", "--force-recreate", "--no-recreate"]).fails(1);
    sandbox.compose(&["down", "-v", "-t", "0"]).ok();
    assert_eq!(sandbox.ok(["volume", "ls", "-q"]), "");
}

#[test]
fn what_a_service_uses_makes_it_anew_when_it_changes() {
    let file = |network: &str, content: &str| {
        format!(
            "services:
  a: {{image: bb, command: [sh, -c, '{SERVE}'], networks: [n], configs: [{{source: c, target: /c}}], stop_grace_period: 0s}}
  b: {{image: bb, command: [sh, -c, '{SERVE}'], stop_grace_period: 0s}}
networks: {{n: {{{network}}}}}
configs: {{c: {{content: {content}}}}}
"
        )
    };
    let sandbox = project(&file("labels: {x: y}", "one"));
    sandbox.compose(&["up", "-d"]).ok();
    let id = |name: &str| sandbox.inspect(name, ".Id");
    let (a, b) = (id("p-a-1"), id("p-b-1"));
    let network = sandbox.ok(["network", "inspect", "p_n", "--format", "{{.Id}}"]);
    sandbox.write("p/compose.yaml", file("labels: {x: y}", "two"));
    sandbox.compose(&["up", "-d"]).ok();
    let anew = id("p-a-1");
    assert_ne!(anew, a);
    assert_eq!(sandbox.compose(&["exec", "-T", "a", "cat", "/c"]).ok(), "two");
    sandbox.write("p/compose.yaml", file("ipam: {config: [{subnet: 10.213.7.0/24}]}", "two"));
    let up = sandbox.compose(&["up", "-d"]);
    up.ok();
    assert!(up.stderr.contains(" Network p_n  Removed"), "{}", up.stderr);
    assert_ne!(sandbox.ok(["network", "inspect", "p_n", "--format", "{{.Id}}"]), network);
    assert_ne!(id("p-a-1"), anew);
    let address = sandbox.compose(&["exec", "-T", "a", "ip", "-4", "addr"]);
    assert!(address.ok().contains("10.213.7."), "{}", address.stdout);
    assert_eq!(id("p-b-1"), b, "it uses neither");
    let again = sandbox.compose(&["up", "-d"]);
    assert!(again.ok().is_empty() && !again.stderr.contains("Creat"), "{}", again.stderr);
    sandbox.compose(&["down"]).ok();
}

#[test]
fn an_up_that_is_killed_at_any_moment_can_be_repeated() {
    let file = |word: &str| {
        let body = format!(
            "command: [sh, -c, '{SERVE}'], environment: {{W: {word}}}, stop_grace_period: 0s, volumes: [/anon, 'v:/v']"
        );
        format!(
            "services:
  a: {{image: bb, {body}, networks: [n], depends_on: [b]}}
  b: {{image: bb, {body}, networks: [n, default], scale: 2}}
networks: {{n: {{labels: {{w: {word}}}}}}}
volumes: {{v: }}
"
        )
    };
    let sandbox = project(&file("start"));
    sandbox.compose(&["up", "-d"]).ok();
    for name in ["a-1", "b-1", "b-2"] {
        sandbox.ok(["exec", &format!("p-{name}"), "touch", &format!("/anon/{name}")]);
    }
    for round in 0..8_u64 {
        let word = format!("w{round}");
        sandbox.write("p/compose.yaml", file(&word));
        let mut up = sandbox.compose_command(&["up", "-d"]).spawn();
        std::thread::sleep(Duration::from_millis(round * 37));
        up.signal(Signal::KILL);
        up.close_stdin();
        up.wait();
        sandbox.compose(&["up", "-d"]).ok();
        let mut names = sandbox.names();
        names.sort();
        assert_eq!(names, ["p-a-1", "p-b-1", "p-b-2"], "round {round}");
        for name in ["a-1", "b-1", "b-2"] {
            let told = sandbox.ok(["exec", &format!("p-{name}"), "sh", "-c", "echo $W; ls /anon"]);
            assert_eq!(told, format!("{word}\n{name}"), "round {round}: {name}");
        }
        let label = sandbox.ok(["network", "inspect", "p_n", "--format", "{{.Labels}}"]);
        assert!(label.contains(&word), "round {round}: {label}");
    }
    sandbox.compose(&["down", "-v"]).ok();
    assert!(sandbox.names().is_empty());
    assert_eq!(sandbox.ok(["volume", "ls", "-q"]), "");
}

#[test]
fn of_two_ups_at_once_one_waits_and_says_for_whom() {
    let sandbox = services(&[
        service("a", SERVE, ", depends_on: {slow: {condition: service_completed_successfully}}"),
        service("slow", "until test -e /go/on; do sleep 0.05; done", ", volumes: [\"./go:/go\"]"),
    ]);
    let first = sandbox.compose_command(&["up", "-d"]).spawn();
    says(&first, "p-slow-1  Started");
    let second = sandbox.compose_command(&["up", "-d"]).spawn();
    says(&second, "project p is being changed by process ");
    says(&second, "compose up -d); waiting");
    sandbox.write("p/go/on", "");
    let (first, second) = (first.wait(), second.wait());
    first.ok();
    second.ok();
    assert!(second.stderr.contains("p-a-1  Running"), "{}", second.stderr);
    let mut names = sandbox.names();
    names.sort();
    assert_eq!(names, ["p-a-1", "p-slow-1"]);
    sandbox.compose(&["down", "-t", "0"]).ok();
}

#[test]
fn a_dependency_that_is_restarted_restarts_what_depends_on_it() {
    let sandbox = services(&[
        service("a", SERVE, ", depends_on: {b: {condition: service_started, restart: true}}"),
        service("b", SERVE, ", environment: {W: one}"),
        service("c", SERVE, ", depends_on: [b]"),
    ]);
    sandbox.compose(&["up", "-d"]).ok();
    let started = |name: &str| sandbox.inspect(name, ".State.StartedAt");
    let (a, c) = (started("p-a-1"), started("p-c-1"));
    sandbox.write("p/compose.yaml", sandbox.read("p/compose.yaml").replace("W: one", "W: two"));
    sandbox.compose(&["up", "-d", "-t", "20"]).ok();
    let second = started("p-a-1");
    assert_ne!(second, a);
    assert_eq!(started("p-c-1"), c);
    sandbox.compose(&["restart", "-t", "20", "b"]).ok();
    assert_ne!(started("p-a-1"), second);
    assert_eq!(started("p-c-1"), c);
    sandbox.compose(&["down", "-t", "0"]).ok();
}

#[test]
fn a_range_of_ports_has_one_for_each_container() {
    let first = common::free_port();
    let range = format!("{first}-{}", first + 9);
    let sandbox = serving("");
    sandbox.write(
        "p/compose.yaml",
        format!(
            "services:
  a: {{image: bb, command: [sh, -c, '{SERVE}'], scale: 2, ports: ['127.0.0.1:{range}:80'], stop_grace_period: 0s}}
"
        ),
    );
    let ports = || -> Vec<String> {
        ["p-a-1", "p-a-2"]
            .iter()
            .map(|name| sandbox.ok(["port", name, "80"]).trim_start_matches("127.0.0.1:").to_owned())
            .collect()
    };
    sandbox.compose(&["up", "-d"]).ok();
    let chosen = ports();
    assert_ne!(chosen[0], chosen[1]);
    let in_range = |port: &String| port.parse::<u16>().is_ok_and(|port| (first..=first + 9).contains(&port));
    assert!(chosen.iter().all(in_range), "{chosen:?}");
    sandbox.compose(&["up", "-d", "--force-recreate"]).ok();
    assert_eq!(ports(), chosen, "who takes another's place takes its port");
    sandbox.compose(&["down"]).ok();
}

#[test]
fn a_secret_may_be_in_the_project_s_env_file() {
    let file = "services:
  a:
    build: {dockerfile_inline: \"FROM bb\\nRUN --mount=type=secret,id=token cat /run/secrets/token > /built\", secrets: [token]}
    command: [sh, -c, 'cat /built; echo; cat /run/secrets/token']
    network_mode: none
    secrets: [token]
secrets: {token: {environment: TOKEN}}
";
    let sandbox = project(file);
    assert!(sandbox.compose(&["up"]).code != 0, "nobody says what it is");
    sandbox.write("p/.env", "TOKEN=hush\n");
    let up = sandbox.compose(&["up", "--no-log-prefix"]);
    assert!(up.ok().contains("hush\nhush\n"), "{}", up.stdout);
    let id = sandbox.inspect("p-a-1", ".Id");
    sandbox.write("p/.env", "TOKEN=other\n");
    let up = sandbox.compose(&["up", "--no-log-prefix"]);
    assert!(up.ok().contains("hush\nother\n"), "{}", up.stdout);
    assert_ne!(sandbox.inspect("p-a-1", ".Id"), id, "what it was made from has changed");
    sandbox.compose(&["down", "--rmi", "local"]).ok();
}

#[test]
fn images_are_pulled_in_parallel_or_one_by_one() {
    let sandbox = project(
        "services:
  a: {image: 'localhost:1/none/a'}
  b: {image: 'localhost:1/none/b'}
  c: {image: bb, network_mode: none, command: 'true'}
",
    );
    for flags in [&[][..], &["--parallel", "1"]] {
        let pull =
            sandbox.compose(&[flags, &["pull", "--ignore-pull-failures", "--policy", "missing"]].concat());
        pull.ok();
        for image in ["a", "b"] {
            let told = format!(" {image} Error pull localhost:1/none/{image}");
            assert!(pull.stderr.contains(&told), "{}", pull.stderr);
        }
    }
    let up = sandbox.compose(&["up", "-d"]);
    assert!(up.fails(18).contains("pull localhost:1/none/a"), "{}", up.stderr);
    assert_eq!(up.stderr.matches("Error: ").count(), 1, "{}", up.stderr);
    assert!(sandbox.names().is_empty());
    if !common::have("docker-registry") {
        return;
    }
    let pushed = ["a", "b"].map(|name| {
        let layer = Layer::new().file("mark", 0o644, name);
        Registry::shared().push(
            &format!("compose-{name}"),
            "1",
            &Image::new().layer(layer, Compression::Gzip).build(),
        )
    });
    let [a, b] = &pushed;
    sandbox.write("p/compose.yaml", format!("services:\n  a: {{image: '{a}'}}\n  b: {{image: '{b}'}}\n"));
    for flags in [&["--parallel=1"][..], &[]] {
        let pull = sandbox.compose(&[flags, &["pull"]].concat());
        pull.ok();
        assert!(
            pull.stderr.contains(" a Pulling\n b Pulling\n")
                && ["a", "b"].iter().all(|name| pull.stderr.contains(&format!(" {name} Pulled\n"))),
            "{}",
            pull.stderr
        );
        for image in &pushed {
            sandbox.ok(["rmi", image]);
        }
    }
}

#[test]
fn an_interrupt_before_the_first_start_ends_it() {
    let sandbox = project(
        "services:
  a:
    build: {dockerfile_inline: \"FROM bb\\nRUN echo waits; sleep 1000\", network: none}
    network_mode: none
",
    );
    for signal in [Signal::INT, Signal::TERM] {
        let up = sandbox.compose_command(&["up"]).spawn();
        says(&up, "waits\n");
        up.signal(signal);
        let output = up.wait();
        assert_eq!(output.code, 130, "{}", output.stderr);
        assert!(sandbox.names().is_empty());
    }
}
