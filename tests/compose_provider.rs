//! What docker compose has had since 2.26: services that a provider has ready, models, the socket of the API, builds as a
//! bake file; and where output goes.

mod common;

use std::os::unix::fs::PermissionsExt as _;

use common::Sandbox;
use common::compose::{Compose, project};

/// A provider: it notes how it was called, and says what files beside it hold.
const PROVIDER: &str = r#"#!/bin/sh
case "$*" in
    "compose metadata") cat "$HOME/metadata" 2>/dev/null; exit ;;
esac
echo "$*" >> "$HOME/calls"
echo "waits for $3" >&2
cat "$HOME/says-$3" 2>/dev/null
exit $(cat "$HOME/code" 2>/dev/null || echo 0)
"#;

const FILE: &str = "services:
  app:
    image: bb
    command: [sh, -c, 'echo url=$$DB_URL key=$$KEY own=$$OWN']
    network_mode: none
    environment: {OWN: mine, KEY: before}
    depends_on: [db]
  other: {image: bb, command: [sh, -c, 'echo other=$$DB_URL'], network_mode: none}
  db:
    provider:
      type: cloud
      options: {type: mysql, size: 256, tags: [a, b]}
";

fn provided(path: &str) -> Sandbox {
    let sandbox = project(FILE);
    sandbox.write(path, PROVIDER);
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(sandbox.path(path), mode).expect("make it a program");
    sandbox.write(
        "home/says-up",
        "{\"type\": \"info\", \"message\": \"preparing\"}\n{\"type\": \"debug\", \"message\": \"hidden\"}\n\
         {\"type\": \"setenv\", \"message\": \"URL=http://db?a=b\"}\n{\"type\": \"rawsetenv\", \"message\": \"KEY=k\"}\n",
    );
    sandbox
}

/// `ketch compose ARGS` with the provider's directory among those that are searched.
fn compose(sandbox: &Sandbox, args: &[&str]) -> common::Output {
    let path = format!("{}:{}", sandbox.path("bin").display(), std::env::var("PATH").unwrap_or_default());
    sandbox.compose_command(args).env("PATH", path).env("HOME", sandbox.path("home")).run()
}

fn calls(sandbox: &Sandbox) -> Vec<String> {
    let path = sandbox.path("home/calls");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    std::fs::remove_file(path).ok();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_provider_has_a_service_ready_and_sets_variables_of_what_depends_on_it() {
    let sandbox = provided("bin/cloud");
    let up = compose(&sandbox, &["up", "--no-log-prefix"]);
    assert!(up.ok().contains("url=http://db?a=b key=k own=mine\n"), "{}{}", up.stdout, up.stderr);
    assert!(up.stdout.contains("other=\n"), "{}", up.stdout);
    let said = ["\n db Creating\n", " db preparing\n db Created\n", "waits for up\n"];
    let stderr = format!("\n{}", up.stderr);
    assert!(said.iter().all(|said| stderr.contains(said)) && !stderr.contains("hidden"), "{stderr}");
    let options = "--size=256 --tags=a --tags=b --type=mysql db";
    assert_eq!(calls(&sandbox), [format!("compose --project-name=p up {options}")]);
    let id = sandbox.inspect("p-app-1", ".Id");
    // Every command asks again; the same answer makes nothing anew, another one does.
    assert!(compose(&sandbox, &["up", "-d"]).stderr.contains("p-app-1  Created"));
    assert_eq!(sandbox.inspect("p-app-1", ".Id"), id);
    sandbox.write("home/says-up", "{\"type\": \"setenv\", \"message\": \"URL=new\"}\n");
    compose(&sandbox, &["up", "-d"]).ok();
    assert_ne!(sandbox.inspect("p-app-1", ".Id"), id);
    assert_eq!(calls(&sandbox).len(), 2);
    // Also for a container of `run`; a service alone that depends on nothing asks nobody.
    let run = compose(&sandbox, &["run", "--rm", "app"]);
    assert_eq!(run.ok(), "url=new key=before own=mine");
    assert_eq!(compose(&sandbox, &["run", "--rm", "other"]).ok(), "other=");
    compose(&sandbox, &["up", "-d", "--dry-run"]).ok();
    assert_eq!(calls(&sandbox).len(), 1);
    let pull = compose(&sandbox, &["pull", "--policy", "missing"]);
    assert!(!pull.stderr.contains("db"), "{}", pull.stderr);
    assert_eq!(compose(&sandbox, &["ps", "-a", "--services"]).ok(), "app\nother");

    // It stops what it says it can stop.
    compose(&sandbox, &["stop", "-t0"]).ok();
    assert!(calls(&sandbox).is_empty());
    sandbox.write(
        "home/metadata",
        r#"{"up": {"parameters": [{"name": "type", "required": true}]}, "down": {"parameters": []}, "stop": {}}"#,
    );
    assert!(compose(&sandbox, &["stop", "-t0"]).stderr.contains(" db Stopped\n"));
    let down = compose(&sandbox, &["down", "-t0"]);
    down.ok();
    assert!(
        down.stderr.contains(" db Removing\n") && down.stderr.contains(" db Removed\n"),
        "{}",
        down.stderr
    );
    // Where it tells its options, it gets those alone.
    assert_eq!(calls(&sandbox), ["compose --project-name=p stop db", "compose --project-name=p down db"]);
    compose(&sandbox, &["up", "-d"]).ok();
    assert_eq!(calls(&sandbox), ["compose --project-name=p up --type=mysql db"]);
    sandbox.write("p/compose.yaml", FILE.replace("type: mysql, ", ""));
    let why = r#"required parameter "type" is missing from provider "cloud" definition"#;
    assert!(compose(&sandbox, &["up", "-d"]).fails(1).contains(why));
    compose(&sandbox, &["down", "-t0"]).ok();
}

#[test]
fn a_provider_that_fails_or_is_missing_ends_the_command() {
    // As docker's plugin.
    let sandbox = provided("home/.docker/cli-plugins/docker-cloud");
    for (says, code, why) in [
        ("{\"type\": \"error\", \"message\": \"no room\"}\n", "0", "no room"),
        ("", "3", "failed to create service provider: exit status 3"),
        ("no JSON\n", "0", "invalid response from provider: no JSON"),
    ] {
        sandbox.write("home/says-up", says);
        sandbox.write("home/code", code);
        let up = compose(&sandbox, &["up", "-d"]);
        assert!(up.fails(1).contains(why), "{}", up.stderr);
        assert!(up.stderr.contains(&format!(" db Error {why}\n")), "{}", up.stderr);
        assert!(sandbox.names().is_empty());
    }
    std::fs::remove_file(sandbox.path("home/.docker/cli-plugins/docker-cloud")).expect("remove it");
    let missing = compose(&sandbox, &["up", "-d"]);
    assert!(missing.fails(1).contains(r#"exec: "cloud": executable file not found in $PATH"#));
    let config = compose(&sandbox, &["config"]);
    assert!(config.ok().contains("    provider:\n      type: cloud\n"), "{}", config.stdout);
    sandbox.write("p/compose.yaml", "services: {a: {provider: {type: compose}}}\n");
    assert!(compose(&sandbox, &["up"]).fails(1).contains("'compose' is not a valid provider type"));
}

#[test]
fn the_socket_of_the_api_is_mounted_if_something_listens() {
    let file = "services: {a: {image: bb, command: [sh, -c, 'test -S /var/run/docker.sock && cat $$DOCKER_CONFIG/config.json'], network_mode: none, use_api_socket: true}}\n";
    let sandbox = project(file);
    let run = |args: &[&str]| sandbox.compose_command(args).env("XDG_RUNTIME_DIR", sandbox.path("run")).run();
    let why = "use_api_socket: nothing listens at";
    assert!(run(&["run", "--rm", "a"]).fails(1).contains(why));
    sandbox.write("run/ketch/x", "");
    let _socket =
        std::os::unix::net::UnixListener::bind(sandbox.path("run/ketch/ketch.sock")).expect("listen");
    sandbox.write("run/containers/auth.json", "{\"auths\": {}}\n");
    assert_eq!(run(&["run", "--rm", "a"]).ok(), "{\"auths\": {}}");
}

#[test]
fn models_are_known_and_need_docker_s_plugin() {
    let file = |model: &str| {
        format!(
            "services: {{a: {{image: bb, models: [{model}]}}}}\nmodels: {{llm: {{model: ai/smollm2, context_size: 1024}}}}\n"
        )
    };
    let sandbox = project(&file("llm"));
    assert_eq!(sandbox.compose(&["config", "--models"]).ok(), "ai/smollm2");
    assert!(
        sandbox
            .compose(&["config"])
            .ok()
            .contains("models:\n  llm:\n    model: ai/smollm2\n    context_size: 1024")
    );
    assert!(sandbox.compose(&["up"]).fails(1).contains("'models' support requires Docker Model plugin"));
    sandbox.write("p/compose.yaml", file("other"));
    assert!(sandbox.compose(&["config"]).fails(15).contains("refers to undefined model other"));
}

#[test]
fn builds_are_printed_or_silent_and_say_whose_they_are() {
    let sandbox = project(
        "services:
  a:
    image: a:1
    build:
      dockerfile_inline: FROM bb
      args: {X: y}
      cache_from: [c]
      no_cache: true
      extra_hosts: [h=127.0.0.1]
      secrets: [s]
      additional_contexts: {other: 'service:b'}
  b: {build: {context: sub, target: t, tags: [more]}}
  c: {image: bb}
secrets: {s: {environment: S}}
",
    );
    let print = sandbox.compose(&["build", "--print"]);
    let told: serde_json::Value = serde_json::from_str(print.ok()).expect("JSON");
    let dir = sandbox.path("p").display().to_string();
    assert_eq!(
        told,
        serde_json::json!({
            "group": {"default": {"targets": ["a", "b"]}},
            "target": {
                "a": {
                    "context": dir, "contexts": {"other": "target:b"}, "args": {"X": "y"}, "cache-from": ["c"],
                    "dockerfile-inline": "FROM bb", "no-cache": true, "tags": ["a:1"], "extra-hosts": {"h": "127.0.0.1"},
                    "secret": ["id=s,type=env,env=S"], "output": ["type=docker"],
                },
                "b": {
                    "context": format!("{dir}/sub"), "dockerfile": format!("{dir}/sub/Dockerfile"), "target": "t",
                    "tags": ["p-b", "more"], "output": ["type=docker"],
                },
            },
        })
    );
    sandbox.write("p/compose.yaml", "services: {a: {build: {dockerfile_inline: FROM bb, labels: {l: m}}}, b: {build: {dockerfile_inline: FROM bb}}}\n");
    for services in [&["a"][..], &[]] {
        let quiet = sandbox.compose(&[&["build", "-q"], services].concat());
        assert_eq!((quiet.ok(), quiet.stderr.as_str()), ("", ""));
    }
    let labels = sandbox.ok(["image", "inspect", "--format={{json .Labels}}", "p-a"]);
    let labels: serde_json::Value = serde_json::from_str(&labels).expect("JSON");
    assert_eq!(labels["com.docker.compose.project"], "p");
    assert_eq!((&labels["com.docker.compose.service"], &labels["l"]), (&"a".into(), &"m".into()));
}

#[test]
fn what_is_written_to_standard_error_goes_there() {
    let sandbox = project(
        "services: {a: {image: bb, command: [sh, -c, 'echo out; echo err >&2'], network_mode: none}}\n",
    );
    let up = sandbox.compose(&["up"]);
    assert!(up.ok().contains("a-1  | out\n") && !up.stdout.contains("| err"), "{}", up.stdout);
    assert!(up.stderr.contains("a-1  | err\n"), "{}", up.stderr);
    // `logs` prints both.
    assert!(sandbox.compose(&["logs"]).ok().contains("| err"));
    // A project that does not run is not listed, nor are its containers counted.
    assert!(!sandbox.compose(&["ls"]).ok().contains("exited"));
    assert!(sandbox.compose(&["ls", "-a"]).ok().contains("exited(1)"));
    sandbox.compose(&["down"]).ok();
}
