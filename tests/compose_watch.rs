//! Compose: containers that follow the files they are made from, the variables that compose goes by, and what
//! is seen of an attached `up`.

mod common;

use rustix::process::Signal;

use common::compose::{Compose, SERVE, project, says, serving};
use common::{Running, Sandbox};

/// Waits until it says on standard error that it watches.
fn watches(running: &Running) {
    says(running, "watching ");
}

/// What it has said when it has ended of an interrupt. It listens: it has told that it watches, or shown output.
fn interrupted(running: Running) -> common::Output {
    running.signal(Signal::INT);
    running.wait()
}

fn wait_in(sandbox: &Sandbox, file: &str, text: &str) {
    sandbox.wait_until(&["exec", "p-a-1", "sh", "-c", &format!("cat {file} 2>&1; true")], text);
}

#[test]
fn files_are_copied_into_a_running_container() {
    let sandbox = serving(
        ", develop: {watch: [{path: ./src, action: sync, target: /app, ignore: [skipped]}, {path: ./conf, action: sync+restart, target: /conf}]}",
    );
    sandbox.write("p/src/old", "1");
    sandbox.write("p/conf", "1");
    let watch = sandbox.compose_command(&["watch"]).spawn();
    watches(&watch);
    let first = sandbox.inspect("p-a-1", ".State.StartedAt");
    sandbox.write("p/src/skipped", "no");
    sandbox.write("p/src/new/deep/file", "synced");
    wait_in(&sandbox, "/app/new/deep/file", "synced");
    sandbox.write("p/src/old", "edited");
    wait_in(&sandbox, "/app/old", "edited");
    assert!(!sandbox.ok(["exec", "p-a-1", "ls", "/app"]).contains("skipped"));
    assert_eq!(sandbox.inspect("p-a-1", ".State.StartedAt"), first);
    std::fs::remove_file(sandbox.path("p/src/old")).expect("remove a file");
    wait_in(&sandbox, "/app/old", "No such file");
    // Replaced by rename, as editors do.
    sandbox.write("p/conf.new", "two");
    std::fs::rename(sandbox.path("p/conf.new"), sandbox.path("p/conf")).expect("rename");
    wait_in(&sandbox, "/conf", "two");
    let output = interrupted(watch);
    assert_eq!(output.code, 130, "{}", output.stderr);
    assert!(output.stderr.contains("Syncing service \"a\" after"), "{}", output.stderr);
    assert_ne!(sandbox.inspect("p-a-1", ".State.StartedAt"), first);
    sandbox.compose(&["down", "-t", "0"]).ok();
}

#[test]
fn an_image_is_rebuilt_and_its_container_made_anew() {
    let sandbox = project(&format!(
        "services:
  a:
    build: .
    network_mode: none
    command: [sh, -c, 'cat /page; {SERVE}']
    stop_grace_period: 0s
    develop: {{watch: [{{path: ./page, action: rebuild}}]}}
"
    ));
    sandbox.write("p/Dockerfile", "FROM bb\nCOPY page /page\n");
    sandbox.write("p/page", "page one\n");
    let up = sandbox.compose_command(&["up", "--watch", "--menu=false"]).spawn();
    up.expect("page one");
    watches(&up);
    sandbox.write("p/page", "page two\n");
    up.expect("page two");
    let output = interrupted(up);
    assert_eq!(output.code, 130, "{}", output.stderr);
    assert_eq!(output.stdout.matches("page one").count(), 1, "{}", output.stdout);
    assert_eq!(sandbox.inspect("p-a-1", ".State.Status"), "exited");
    let none = serving("");
    none.compose(&["watch", "--no-up"]).fails(1);
    assert!(serving("").compose(&["watch"]).fails(1).contains("configured for watch"));
    assert!(none.compose(&["up", "--menu"]).fails(1).contains("there is no menu"));
    sandbox.compose(&["down", "-t", "0", "--rmi", "local"]).ok();
}

#[test]
fn variables_that_compose_goes_by() {
    let sandbox = project("services: {y: {image: 'y:${V:-none}'}}\n");
    sandbox.write("p/sub/x.yaml", "services: {x: {image: 'x:${V:-none}'}}\n");
    sandbox.write("p/.env", "COMPOSE_FILE=sub/x.yaml,compose.yaml\nCOMPOSE_PATH_SEPARATOR=,\nV=dot\n");
    sandbox.write("p/sub/.env", "V=sub\n");
    // Found by asking docker compose 2.26: the file where it is called wins.
    assert_eq!(sandbox.compose(&["config", "--images"]).ok(), "x:dot\ny:dot");
    assert_eq!(sandbox.compose(&["config"]).ok().lines().next(), Some("name: sub"));
    assert_eq!(sandbox.compose(&["-f", "sub/x.yaml", "config", "--images"]).ok(), "x:sub");
    let with = |name: &str, value: &str, args: &[&str]| sandbox.compose_command(args).env(name, value).run();
    assert!(
        with("COMPOSE_PARALLEL_LIMIT", "x", &["config"])
            .fails(1)
            .contains("COMPOSE_PARALLEL_LIMIT must be an integer (found: \"x\")")
    );
    assert!(with("COMPOSE_ANSI", "bad", &["ps"]).fails(1).contains("bad"));
    assert_eq!(with("COMPOSE_FILE", "compose.yaml", &["config", "--services"]).ok(), "y");
}

#[test]
fn orphans_can_be_ignored_and_removed_by_a_variable() {
    let sandbox = serving("");
    sandbox.compose(&["up", "-d"]).ok();
    sandbox.write(
        "p/compose.yaml",
        format!("services:\n  b: {{image: bb, command: [sh, -c, '{SERVE}'], network_mode: none}}\n"),
    );
    let up = |name: &str| sandbox.compose_command(&["up", "-d"]).env(name, "true").run();
    let ignored = up("COMPOSE_IGNORE_ORPHANS");
    ignored.ok();
    assert!(!ignored.stderr.contains("orphan"), "{}", ignored.stderr);
    assert_eq!(sandbox.names().len(), 2);
    up("COMPOSE_REMOVE_ORPHANS").ok();
    assert_eq!(sandbox.names(), ["p-b-1"]);
    sandbox.compose(&["down", "-t", "0"]).ok();
}

#[test]
fn an_attached_up_ends_as_it_is_asked_to() {
    let sandbox = project(&format!(
        "services:
  a: {{image: bb, command: [sh, -c, 'trap \"echo a ends; exit 0\" TERM; echo from a; while :; do sleep 0.05; done'], network_mode: none}}
  quiet: {{image: bb, command: [sh, -c, 'echo secret; {SERVE}'], network_mode: none, attach: false}}
  bad: {{image: bb, command: [sh, -c, 'exit 7'], network_mode: none, profiles: [bad]}}
  good: {{image: bb, command: 'true', network_mode: none, profiles: [bad]}}
"
    ));
    let up = sandbox.compose_command(&["up"]).spawn();
    up.expect("a-1  | from a");
    let output = interrupted(up);
    assert_eq!(output.code, 130, "{}", output.stderr);
    assert!(
        output.stderr.contains("Gracefully stopping... (press Ctrl+C again to force)"),
        "{}",
        output.stderr
    );
    assert!(output.stderr.contains(" Container p-a-1  Stopped"), "{}", output.stderr);
    assert!(!output.stdout.contains("secret"), "{}", output.stdout);
    assert_eq!(sandbox.inspect("p-a-1", ".State.ExitCode"), "0");
    let failed = sandbox.compose(&["up", "--abort-on-container-failure", "-t", "20", "a", "good", "bad"]);
    assert_eq!(failed.code, 7, "{}", failed.stderr);
    assert_eq!(sandbox.inspect("p-a-1", ".State.Status"), "exited");
    let first = sandbox.compose(&["up", "--abort-on-container-exit", "-t", "20", "a", "good"]);
    assert_eq!(first.code, 0, "{}", first.stderr);
    assert!(first.stderr.contains("Aborting on container exit..."), "{}", first.stderr);
    sandbox.compose(&["--profile", "bad", "down", "-t", "0"]).ok();
}
