//! Compose: containers that start again, and containers that live in the namespaces of others.

#![allow(clippy::unwrap_used)]

mod common;

use common::compose::{Compose, SERVE, project, serve_saying, serving};
use common::image::{Compression, Image};
use common::registry::Registry;
use common::{Running, Sandbox, json, wait_for};
use rustix::process::Signal;

/// Waits until it has written `text` so often on standard output.
fn writes(running: &Running, text: &str, times: usize) {
    wait_for(text, || {
        let said = running.stdout_so_far();
        if said.matches(text).count() >= times { Ok(()) } else { Err(said) }
    });
}

/// A service that fails again and again, and one that talks.
fn failing_and_talking() -> Sandbox {
    project(
        "services:
  bad: {image: bb, command: [sh, -c, 'echo try; exit 3'], restart: always, network_mode: none}
  good: {image: bb, command: [sh, -c, 'trap exit TERM; while :; do echo word; sleep 0.1; done'], network_mode: none}
",
    )
}

#[test]
fn others_are_heard_while_one_waits_for_its_next_life() {
    let sandbox = failing_and_talking();
    let up = sandbox.compose_command(&["up", "-t", "20"]).spawn();
    // After the fifth end the pause is longer than a second.
    writes(&up, "bad-1 exited with code 3\n", 5);
    writes(&up, "good-1  | word\n", up.stdout_so_far().matches("good-1  | word\n").count() + 5);
    up.signal(Signal::INT);
    let up = up.wait();
    assert_eq!(up.code, 130, "{}", up.stderr);
    assert_eq!(sandbox.inspect("p-bad-1", ".State.Status"), "exited");
    sandbox.compose(&["down", "-t", "0"]).ok();
}

#[test]
fn the_first_end_aborts_whatever_the_restart_policy_says() {
    let sandbox = failing_and_talking();
    let up = sandbox.compose_command(&["up", "-t", "20", "--abort-on-container-exit"]).run();
    assert_eq!(up.code, 3, "{}", up.stderr);
    assert!(up.stdout.contains("bad-1 exited with code 3\n"), "{}", up.stdout);
    assert_eq!(sandbox.inspect("p-good-1", ".State.Status"), "exited");
    sandbox.compose(&["down", "-t", "0"]).ok();
}

#[test]
fn one_that_waits_for_its_next_life_is_restarting() {
    let sandbox = project(
        "services:
  bad: {image: bb, entrypoint: [sh, -c], command: ['exit 3'], restart: always, network_mode: none}
",
    );
    sandbox.compose(&["up", "-d"]).ok();
    let row = wait_for("the state restarting", || {
        let ps = sandbox.compose(&["ps", "--format", "json"]);
        let row = json(ps.ok());
        if row["State"] == "restarting" { Ok(row) } else { Err(row.to_string()) }
    });
    assert!(row["Status"].as_str().unwrap().starts_with("Restarting (3) "), "{row}");
    assert_eq!(row["Command"], "\"sh -c 'exit 3'\"");
    wait_for("it among those that restart", || {
        let ps = sandbox.compose(&["ps", "-q", "--status", "restarting"]);
        if ps.ok().is_empty() { Err(String::new()) } else { Ok(()) }
    });
    sandbox.compose(&["down", "-t", "0"]).ok();
}

#[test]
fn a_dependency_may_need_several_lives() {
    let sandbox = project(
        "services:
  job: {image: bb, command: [sh, -c, 'test -e /v/there || { touch /v/there; exit 4; }'], restart: on-failure, network_mode: none, volumes: ['v:/v']}
  next: {image: bb, command: 'echo after', network_mode: none, depends_on: {job: {condition: service_completed_successfully}}}
volumes: {v: }
",
    );
    let up = sandbox.compose(&["up", "--no-color"]);
    up.ok();
    assert!(up.stdout.contains("next-1  | after\n"), "{}", up.stdout);
    sandbox.compose(&["down", "-v", "-t", "0"]).ok();
}

#[test]
fn logs_follow_what_is_started_meanwhile() {
    let file = |more: &str| {
        format!(
            "services:\n  a: {{image: bb, command: [sh, -c, '{}'], network_mode: none}}\n{more}",
            serve_saying("here is a")
        )
    };
    let sandbox = project(&file(""));
    sandbox.compose(&["up", "-d"]).ok();
    let logs = sandbox.compose_command(&["logs", "-f"]).spawn();
    writes(&logs, "a-1  | here is a\n", 1);
    sandbox.write(
        "p/compose.yaml",
        file(&format!(
            "  b: {{image: bb, command: [sh, -c, '{}'], network_mode: none}}\n",
            serve_saying("here is b")
        )),
    );
    sandbox.compose(&["up", "-d"]).ok();
    writes(&logs, "b-1  | here is b\n", 1);
    // It ends, and another life of it begins, while the other one runs.
    sandbox.compose(&["restart", "-t", "20", "a"]).ok();
    writes(&logs, "here is a\n", 2);
    sandbox.compose(&["down", "-t", "20"]).ok();
    let logs = logs.wait();
    assert_eq!(logs.code, 0, "{}", logs.stderr);
    assert_eq!(logs.stdout.matches("b-1 exited with code ").count(), 1, "{}", logs.stdout);
    assert_eq!(logs.stdout.matches("here is b\n").count(), 1, "{}", logs.stdout);
}

#[test]
fn who_lives_in_another_s_namespaces_is_made_anew_with_it() {
    let file = |word: &str| {
        format!(
            "services:
  a: {{image: bb, command: [sh, -c, '{SERVE}'], environment: {{WORD: {word}}}}}
  b: {{image: bb, command: [sh, -c, '{SERVE}'], network_mode: 'service:a', volumes: [/data]}}
  c: {{image: bb, command: [sh, -c, '{SERVE}'], pid: 'service:b', network_mode: none}}
  d: {{image: bb, command: [sh, -c, '{SERVE}'], network_mode: none}}
"
        )
    };
    let sandbox = project(&file("one"));
    let id = |name: &str| sandbox.inspect(name, ".Id");
    let all = || ["p-a-1", "p-b-1", "p-c-1", "p-d-1"].map(id);
    let are_all_up = || {
        let ps = sandbox.compose(&["ps", "--services"]);
        assert_eq!(ps.ok(), "a\nb\nc\nd");
    };
    sandbox.compose(&["up", "-d"]).ok();
    sandbox.compose(&["exec", "-T", "b", "touch", "/data/kept"]).ok();
    let first = all();
    sandbox.write("p/compose.yaml", file("two"));
    sandbox.compose(&["up", "-d", "-t", "0"]).ok();
    let second = all();
    are_all_up();
    assert!(first[..3].iter().zip(&second).all(|(old, new)| old != new), "{first:?} {second:?}");
    assert_eq!(first[3], second[3], "it has nothing to do with that");
    assert!(sandbox.inspect("p-b-1", ".HostConfig.NetworkMode").contains(&second[0]), "the new one's");
    sandbox.compose(&["exec", "-T", "b", "test", "-e", "/data/kept"]).ok();
    // Also where only the other one is named.
    sandbox.compose(&["up", "-d", "-t", "0", "--force-recreate", "a"]).ok();
    let third = all();
    are_all_up();
    assert!(second[..3].iter().zip(&third).all(|(old, new)| old != new), "{second:?} {third:?}");
    sandbox.compose(&["down", "-v", "-t", "0"]).ok();
}

#[test]
fn namespaces_are_shared_with_who_has_an_init_and_a_user() {
    let sandbox = project(&format!(
        "services:
  a: {{image: bb, command: [sh, -c, '{SERVE}'], init: true, user: '1000', cap_drop: [ALL]}}
  net: {{image: bb, command: [sh, -c, '{SERVE}'], network_mode: 'service:a'}}
  pid: {{image: bb, command: [sh, -c, '{SERVE}'], pid: 'service:a'}}
  ipc: {{image: bb, command: [sh, -c, '{SERVE}'], ipc: 'service:a', hostname: box, domainname: example.org}}
"
    ));
    sandbox.compose(&["up", "-d"]).ok();
    let namespace = |service: &str, kind: &str| {
        let link = format!("/proc/self/ns/{kind}");
        sandbox.compose(&["exec", "-T", service, "readlink", &link]).ok().to_owned()
    };
    for kind in ["net", "pid", "ipc"] {
        for other in ["net", "pid", "ipc"] {
            assert_eq!(namespace("a", kind) == namespace(other, kind), kind == other, "{kind} of {other}");
        }
    }
    // It has a network of its own, and is found there.
    sandbox.wait_until(&["exec", "p-ipc-1", "nslookup", "pid"], "Address");
    assert_eq!(sandbox.compose(&["exec", "-T", "ipc", "hostname", "-f"]).ok(), "box.example.org");
    sandbox.compose(&["down", "-t", "0"]).ok();
}

#[test]
fn a_check_of_one_word_is_a_program() {
    let sandbox = project(&format!(
        "services:
  a: {{image: bb, command: [sh, -c, '{SERVE}'], network_mode: none, healthcheck: {{test: [CMD, /bin/true], interval: 1h}}}}
"
    ));
    sandbox.compose(&["up", "-d", "--wait"]).ok();
    assert_eq!(sandbox.inspect("p-a-1", "json .Config.Healthcheck.Test"), "[\"CMD\",\"/bin/true\"]");
    let port = sandbox.compose(&["port", "a", "80"]);
    assert!(port.fails(1).contains("no port 80/tcp for container p-a-1"), "{}", port.stderr);
    sandbox.compose(&["down", "-t", "0"]).ok();
}

#[test]
fn how_an_image_is_built_is_no_output_of_the_command() {
    let sandbox = project(
        "services:\n  a: {build: {dockerfile_inline: \"FROM bb\\nENV A=1\\n\"}, network_mode: none}\n",
    );
    let run = sandbox.compose(&["run", "--rm", "-T", "a", "echo", "out"]);
    assert_eq!(run.ok(), "out", "{}", run.stderr);
    assert!(run.stderr.contains("FROM bb"), "{}", run.stderr);
    sandbox.compose(&["down"]).ok();
}

#[test]
fn down_removes_what_the_project_has_as_it_was_loaded() {
    let service = |name: &str, volume: &str, more: &str| {
        format!(
            "  {name}: {{image: bb, command: [sh, -c, '{SERVE}'], network_mode: none, volumes: ['{volume}:/d']{more}}}\n"
        )
    };
    let first = service("a", "mine", "");
    let both = format!(
        "services:\n{first}{}volumes: {{mine: , theirs: }}\n",
        service("b", "theirs", ", profiles: [extra]")
    );
    let sandbox = project(&both);
    let there = || (sandbox.names().join(" "), sandbox.ok(["volume", "ls", "-q"]).replace('\n', " "));
    let is = |names: &str, volumes: &str| (names.to_owned(), volumes.to_owned());
    sandbox.compose(&["--profile", "extra", "up", "-d"]).ok();
    // A profile that is not active keeps its containers and volumes.
    sandbox.compose(&["down", "-v", "-t", "0", "--remove-orphans"]).ok();
    assert_eq!(there(), is("p-b-1", "p_theirs"));
    sandbox.compose(&["up", "-d"]).ok();
    // What the file has no more stays, its containers unless they are asked for.
    sandbox.write("p/compose.yaml", format!("services:\n{first}volumes: {{mine: }}\n"));
    sandbox.compose(&["down", "-v", "-t", "0"]).ok();
    assert_eq!(there(), is("p-b-1", "p_theirs"));
    sandbox.compose(&["down", "-v", "-t", "0", "--remove-orphans"]).ok();
    assert_eq!(there(), is("", "p_theirs"));
    // Named ones go whatever their profile, and all goes where there are no files.
    sandbox.write("p/compose.yaml", &both);
    sandbox.compose(&["--profile", "extra", "up", "-d"]).ok();
    sandbox.compose(&["down", "-t", "0", "b"]).ok();
    assert_eq!(there(), is("p-a-1", "p_mine p_theirs"));
    sandbox.ok(["compose", "-p", "p", "down", "-v", "-t", "0"]);
    assert_eq!(there(), is("", ""));
}

#[test]
fn run_waits_for_what_the_service_depends_on() {
    let sandbox = project(
        "services:
  first: {image: bb, command: [sh, -c, 'sleep 1; touch /out/done'], network_mode: none, volumes: ['./out:/out']}
  bad: {image: bb, command: [sh, -c, 'exit 3'], network_mode: none}
  a:
    image: bb
    network_mode: none
    volumes: ['./out:/out']
    depends_on: {first: {condition: service_completed_successfully}}
  b:
    image: bb
    network_mode: none
    depends_on: {bad: {condition: service_completed_successfully}}
",
    );
    let script = "test -e /out/done && echo \"$WORD\" && ! env | grep NOSUCH";
    let args = ["run", "--rm", "-T", "-e", "WORD", "-e", "NOSUCH", "a", "sh", "-c", script];
    let run = sandbox.compose_command(&args).env("WORD", "the caller's").run();
    assert_eq!(run.ok(), "the caller's", "{}", run.stderr);
    let refused = sandbox.compose(&["run", "--rm", "-T", "b", "true"]);
    assert!(
        refused.fails(1).contains("service \"bad\" didn't complete successfully: exit 3"),
        "{}",
        refused.stderr
    );
    assert_eq!(sandbox.compose(&["run", "--rm", "-T", "--no-deps", "b", "echo", "alone"]).ok(), "alone");
    sandbox.compose(&["down", "-t", "0"]).ok();
}

#[test]
fn pull_heeds_the_policy_of_each_service() {
    let sandbox = project(
        "services:
  a: {image: 'localhost:1/none/a', pull_policy: never}
  b: {image: bb, pull_policy: if_not_present}
  c: {image: 'localhost:1/none/c', pull_policy: build}
",
    );
    let pull = sandbox.compose(&["pull"]);
    pull.ok();
    assert!(!pull.stderr.contains("Pulling"), "{}", pull.stderr);
    assert_eq!(pull.stderr, " a Skipped\n b Skipped - Image is already present locally\n c Skipped\n");
    // What is asked for comes first.
    let pull = sandbox.compose(&["pull", "--policy", "always", "a"]);
    assert!(
        pull.code == 18 && pull.stderr.starts_with(" a Pulling\n a Error pull localhost"),
        "{}",
        pull.stderr
    );
    let quiet = sandbox.compose(&["pull", "-q", "--policy", "always", "a"]);
    assert!(quiet.fails(18).starts_with("Error: pull localhost:1/none/a"), "{}", quiet.stderr);
    // One pull for all services of an image; what can be built is no failure.
    sandbox.write(
        "p/compose.yaml",
        "services:
  a: {image: 'localhost:1/none/a', build: .}
  b: {image: 'localhost:1/none/a'}
  c: {build: .}
",
    );
    let pull = sandbox.compose(&["pull"]);
    pull.ok();
    for said in [
        " b Skipped - Image is already being pulled by a\n",
        " c Skipped - No image to be pulled\n",
        " a Warning pull localhost:1/none/a",
        "WARNING: Some service image(s) must be built from source by running:\n    ketch compose build a\n",
    ] {
        assert!(pull.stderr.contains(said), "{}", pull.stderr);
    }
    let pull = sandbox.compose(&["pull", "--ignore-buildable", "a", "c"]);
    pull.ok();
    assert_eq!(pull.stderr, " a Skipped - Image can be built\n c Skipped - No image to be pulled\n");
}

/// One service builds the image that others use; where it is found in a registry it comes from there.
#[test]
fn an_image_is_built_where_it_cannot_be_pulled() {
    let file = |image: &str, more: &str| {
        format!(
            "services:
  a: {{image: '{image}', command: [cat, /mark], network_mode: none{more}}}
  web: {{image: '{image}', build: {{dockerfile_inline: \"FROM bb\\nRUN echo built > /mark\", network: none}}, command: [cat, /mark], network_mode: none}}
"
        )
    };
    let sandbox = project(&file("localhost:1/none/app", ""));
    let shown = |args: &[&str]| {
        let up = sandbox.compose(args);
        assert_eq!(up.code, 0, "{}", up.stderr);
        sandbox.compose(&["down", "-t", "0"]).ok();
        (up.stdout, up.stderr)
    };
    let (out, err) = shown(&["up"]);
    assert_eq!(out.matches("| built\n").count(), 2, "{out}{err}");
    assert!(err.contains(" a Warning pull localhost:1/none/app"), "{err}");
    // The second one is not needed to have it built.
    sandbox.ok(["rmi", "localhost:1/none/app"]);
    assert!(shown(&["up", "a"]).0.contains("| built\n"));
    sandbox.ok(["rmi", "localhost:1/none/app"]);
    let (_, err) = shown(&["up", "--build"]);
    assert!(!err.contains("Pulling"), "{err}");
    sandbox.ok(["rmi", "localhost:1/none/app"]);
    let up = sandbox.compose(&["up", "--no-build"]);
    assert!(up.fails(18).contains("localhost:1/none/app"), "{}", up.stderr);

    sandbox.write("p/compose.yaml", file("localhost:1/none/app", ", pull_policy: alwyas"));
    let up = sandbox.compose(&["up"]);
    assert!(up.fails(15).contains("pull_policy must be always, missing"), "{}", up.stderr);
    if !common::have("docker-registry") {
        return;
    }
    let layer = common::bb::root_layer().file("mark", 0o644, "pulled\n");
    let image =
        Registry::shared().push("compose-app", "1", &Image::new().layer(layer, Compression::Gzip).build());
    let file = |more: &str| file(&image, more);
    sandbox.write("p/compose.yaml", file(""));
    assert_eq!(shown(&["up"]).0.matches("| pulled\n").count(), 2);
    assert_eq!(shown(&["up", "--build"]).0.matches("| built\n").count(), 2);
    sandbox.write("p/compose.yaml", file(", pull_policy: daily"));
    assert!(!shown(&["up"]).1.contains("Pulling"));
    sandbox.write("p/compose.yaml", file(", pull_policy: every_0s"));
    assert_eq!(shown(&["up", "a"]).0.matches("| pulled\n").count(), 1);
}

#[test]
fn the_name_of_a_project_is_seen_in_every_form_of_a_file() {
    let sandbox = project("services: {}\n");
    let json = "{\n  \"services\": {\"a\": {\"image\": \"bb\"}},\n  \"name\": \"json\"\n}\n";
    sandbox.write("p/p.json", json);
    sandbox.write("p/flow.yaml", "# made by a program\n{services: {a: {image: bb}}, name: flow}\n");
    for (file, name) in [("p.json", "json"), ("flow.yaml", "flow")] {
        let config = sandbox.compose(&["-f", file, "config"]);
        assert!(config.ok().starts_with(&format!("name: {name}\n")), "{file}: {}", config.stdout);
    }
    let config = sandbox
        .compose_command(&["-f", "-", "config"])
        .stdin("name: yaml\nservices: {a: {image: bb}}\n")
        .run();
    assert!(config.ok().starts_with("name: yaml\nservices:\n  a:\n"), "{}", config.stdout);
}

#[test]
fn raw_env_files_are_read_as_those_of_run() {
    let sandbox = project(
        "services:\n  a: {image: bb, network_mode: none, env_file: [{path: raw.env, format: raw}]}\n",
    );
    sandbox.write("p/raw.env", "#HASH=1\n  A='$B' # c\nJUSTNAME\nMISSING\n");
    let config = sandbox.compose_command(&["config"]).env("JUSTNAME", "said").run();
    let wanted = "    environment:\n      A: '''$$B'' # c'\n      JUSTNAME: said\n    image: bb\n";
    assert!(config.ok().contains(wanted), "{}", config.stdout);
}

/// As with docker: what is not of the image stays writable, and nothing is added.
#[test]
fn a_read_only_service_may_write_to_shared_memory() {
    let sandbox = project("services:\n  a: {image: bb, read_only: true, network_mode: none}\n");
    let run = |script: &str| sandbox.compose(&["run", "--rm", "-T", "a", "sh", "-c", script]);
    run("touch /dev/shm/x && mkdir /dev/mqueue 2> /dev/null; touch /dev/x").ok();
    for place in ["/x", "/tmp/x", "/run/x"] {
        assert_ne!(run(&format!("touch {place}")).code, 0, "{place}");
    }
}

#[test]
fn a_dry_run_may_be_asked_for_behind_the_verb() {
    let sandbox = serving("");
    for args in [&["up", "-d", "--dry-run"][..], &["up", "--detach", "--quiet-pull", "--dry-run", "--"]] {
        let up = sandbox.compose(args);
        up.ok();
        assert!(up.stderr.contains("DRY-RUN MODE -  Container p-a-1  Started"), "{}", up.stderr);
        assert!(sandbox.names().is_empty());
    }
    sandbox.compose(&["up", "-d", "--dry-run=false"]).ok();
    sandbox.compose(&["down", "--dry-run"]).ok();
    assert_eq!(sandbox.names(), ["p-a-1"]);
    sandbox.compose(&["down", "-t", "0"]).ok();
}

#[test]
fn a_file_that_a_power_cut_has_emptied_is_written_again() {
    let sandbox = project(&format!(
        "services:
  a:
    build: {{dockerfile_inline: \"FROM bb\\nENV A=1\\n\"}}
    command: [sh, -c, '{SERVE}']
    network_mode: none
    configs: [c]
configs: {{c: {{content: 'all of it'}}}}
"
    ));
    let named = |kind: &str| {
        let files = common::entries(&sandbox.store(), "compose/p");
        let found = files.iter().find(|name| name.contains(kind));
        sandbox.store().join(found.unwrap_or_else(|| panic!("no {kind} among {files:?}")))
    };
    sandbox.compose(&["up", "-d"]).ok();
    for kind in ["/configs-", "/dockerfile-"] {
        let file = named(kind);
        let mode = std::fs::metadata(&file).unwrap().permissions();
        std::fs::remove_file(&file).unwrap();
        // Before and after its name came: both are to be replaced.
        for file in [file.with_extension("new"), file] {
            std::fs::write(&file, "").unwrap();
            std::fs::set_permissions(&file, mode.clone()).unwrap();
        }
    }
    sandbox.compose(&["up", "-d", "--build", "--force-recreate", "-t", "0"]).ok();
    assert_eq!(sandbox.compose(&["exec", "-T", "a", "cat", "/c"]).ok(), "all of it");
    assert_eq!(std::fs::read_to_string(named("/dockerfile-")).unwrap(), "FROM bb\nENV A=1\n");
    sandbox.compose(&["down", "-t", "0"]).ok();
}

#[test]
fn commands_that_run_at_once_make_a_network_and_a_volume_once() {
    let sandbox = project(&format!(
        "services:
  a: {{image: bb, command: [sh, -c, '{SERVE}'], volumes: ['data:/data']}}
  b: {{image: bb, command: 'true', volumes: ['data:/data']}}
volumes: {{data: {{}}}}
"
    ));
    for _ in 0..3 {
        let once = [&["run", "--rm", "-T", "b"][..], &["run", "--rm", "-T", "b"], &["up", "-d", "a"]];
        let all: Vec<Running> = once.iter().map(|args| sandbox.compose_command(args).spawn()).collect();
        all.into_iter().for_each(|one| drop(one.wait().ok().to_owned()));
        sandbox.compose(&["down", "-v", "-t", "0"]).ok();
    }
}

#[test]
fn what_is_waited_for_is_told() {
    let sandbox = project(&format!(
        "services:
  db: {{image: bb, command: [sh, -c, '{SERVE}'], network_mode: none, healthcheck: {{test: 'true', interval: 50ms}}}}
  job: {{image: bb, command: 'true', network_mode: none}}
  web:
    image: bb
    command: [sh, -c, '{SERVE}']
    network_mode: none
    depends_on: {{db: {{condition: service_healthy}}, job: {{condition: service_completed_successfully}}}}
"
    ));
    let up = sandbox.compose(&["up", "-d", "--wait"]);
    up.ok();
    for said in [
        " Container p-db-1  Waiting\n Container p-db-1  Healthy\n",
        " Container p-job-1  Exited\n",
        " Container p-web-1  Waiting\n",
        " Container p-web-1  Healthy\n",
    ] {
        assert!(up.stderr.contains(said), "{said}: {}", up.stderr);
    }
    sandbox.write("p/fails.yaml", "services: {a: {image: bb, command: nosuchprogram, network_mode: none}}");
    // 127 is for what `run` and `exec` were asked to do.
    sandbox.compose(&["-f", "fails.yaml", "up", "-d"]).fails(1);
    assert_eq!(sandbox.compose(&["-f", "fails.yaml", "run", "--rm", "-T", "a"]).code, 127);
    sandbox.compose(&["down", "-t", "0", "--remove-orphans"]).ok();
}

#[test]
fn verbs_say_that_there_is_nothing_for_them() {
    let sandbox = project("services: {a: {image: bb, command: 'true', network_mode: none}}");
    assert!(sandbox.compose(&["start"]).fails(1).contains("service \"a\" has no container to start"));
    assert!(sandbox.compose(&["wait", "a"]).fails(1).contains("no containers for project \"p\""));
    let kill = sandbox.compose(&["kill"]);
    kill.ok();
    assert_eq!(kill.stderr, "no container to kill\n");
    sandbox.compose(&["create"]).ok();
    assert_eq!(sandbox.compose(&["rm", "-f"]).ok(), "Going to remove p-a-1");
    assert!(sandbox.compose(&["ls", "--format", "xml"]).fails(1).contains("could not be parsed"));
    sandbox.write(
        "p/compose.yaml",
        "version: '3'\nservices: {a: {image: bb, healthcheck: {test: [curl, localhost]}}}",
    );
    let config = sandbox.compose(&["config"]);
    assert!(config.fails(15).contains(r#"must start either by "CMD", "CMD-SHELL" or "NONE""#));
    sandbox.write("p/compose.yaml", "version: '3'\nservices: {a: {image: bb}}");
    let config = sandbox.compose(&["config", "-q"]);
    config.ok();
    assert!(config.stderr.contains("compose.yaml: the attribute `version` is obsolete"), "{}", config.stderr);
}

#[test]
fn dependencies_are_made_anew_only_if_that_is_asked_for() {
    let sandbox = project(&format!(
        "services:
  a: {{image: bb, command: [sh, -c, '{SERVE}'], network_mode: none}}
  b: {{image: bb, command: [sh, -c, '{SERVE}'], network_mode: none, depends_on: [a]}}
"
    ));
    sandbox.compose(&["up", "-d"]).ok();
    let ids = || ["p-a-1", "p-b-1"].map(|name| sandbox.inspect(name, ".Id"));
    let before = ids();
    sandbox.compose(&["up", "-d", "--always-recreate-deps", "-t", "0", "b"]).ok();
    let after = ids();
    assert!(before[0] != after[0] && before[1] == after[1], "{before:?} {after:?}");
    let file = std::fs::read_to_string(sandbox.path("p/compose.yaml")).expect("a file");
    let changed = file.replace("network_mode: none", "network_mode: none, init: true");
    sandbox.write("p/compose.yaml", changed);
    sandbox.compose(&["up", "-d", "--no-recreate", "b"]).ok();
    assert_eq!(ids(), after);
    let both = sandbox.compose(&["up", "--always-recreate-deps", "--no-recreate"]);
    assert!(both.fails(1).contains("--always-recreate-deps and --no-recreate cannot be used together"));
    sandbox.compose(&["down", "-t", "0"]).ok();
}

#[test]
fn an_image_that_cannot_be_built_is_told_once() {
    let sandbox = project(
        "services:
  a:
    network_mode: none
    build: {context: ., network: none, provenance: false, dockerfile_inline: 'FROM bb\n\nRUN exit 3'}
",
    );
    let up = sandbox.compose(&["up", "-d"]);
    assert!(!up.fails(17).contains("already reported"), "{}", up.stderr);
    sandbox.compose(&["run", "--rm", "a"]).fails(17);
    sandbox.write(
        "p/compose.yaml",
        "services:
  a:
    network_mode: none
    image: bb
    volumes: [{type: volume, target: /v, volume: {labels: {of: me}}}]
",
    );
    sandbox.write("p/vars", "ONE=1\nTWO=2\n");
    let args = ["run", "-T", "--env-from-file", "vars", "-e", "TWO=3", "a", "sh", "-c", "echo $ONE $TWO"];
    assert_eq!(sandbox.compose(&args).ok(), "1 3");
    assert_eq!(sandbox.ok(["volume", "ls", "-q", "--filter", "label=of=me"]).lines().count(), 1);
    sandbox.compose(&["down", "-v"]).ok();
}
