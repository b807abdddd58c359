//! Services that a provider has ready: programs that Compose calls, and what they say to it.

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
    assert_eq!(run.ok(), "url=new key=before own=mine\n");
    assert_eq!(compose(&sandbox, &["run", "--rm", "other"]).ok(), "other=\n");
    compose(&sandbox, &["up", "-d", "--dry-run"]).ok();
    assert_eq!(calls(&sandbox).len(), 1);
    let pull = compose(&sandbox, &["pull", "--policy", "missing"]);
    assert!(!pull.stderr.contains("db"), "{}", pull.stderr);
    assert_eq!(compose(&sandbox, &["ps", "-a", "--services"]).ok(), "app\nother\n");

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
