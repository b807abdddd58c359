//! `auto-update`: newer images for containers of systemd's units. systemctl is a program of the test's.

mod common;

use common::process::Output;
use common::registry::Registry;
use common::{Sandbox, bb, have};

/// A sandbox in whose PATH systemctl writes down what it is asked for, and fails as often as the file `fails` has lines.
fn with_systemctl() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("asked", "");
    sandbox.write("fails", "");
    let dir = sandbox.path("");
    let script = format!(
        "#!/bin/sh\ncd '{}'\necho \"$*\" >> asked\n[ -s fails ] || exit 0\nsed -i 1d fails\necho 'Job failed.' >&2\nexit 1\n",
        dir.display()
    );
    sandbox.write_program("bin/systemctl", script);
    sandbox
}

fn update(sandbox: &Sandbox, flags: &[&str]) -> Output {
    let path = format!("{}:{}", sandbox.path("bin").display(), std::env::var("PATH").unwrap_or_default());
    sandbox.command([&["auto-update"], flags].concat()).env("PATH", path).run()
}

/// A running container with the labels that Quadlet gives it.
fn run(sandbox: &Sandbox, name: &str, policy: &str, image: &str) -> String {
    let policy = format!("io.containers.autoupdate={policy}");
    let unit = format!("PODMAN_SYSTEMD_UNIT={name}.service");
    let flags = ["run", "-d", "--net=none", "--name", name, "--label", &policy, "--label", &unit];
    sandbox.ok([&flags[..], &[image, "sleep", "1000"]].concat())
}

const SHORT: &str = "--format={{.Unit}} {{.ContainerName}} {{.Image}} {{.Policy}} {{.Updated}}";

#[test]
fn an_image_names_no_unit() {
    let sandbox = with_systemctl();
    let labels = "io.containers.autoupdate=local PODMAN_SYSTEMD_UNIT=sshd.service io.containers.autoupdate.authfile=/a";
    let labels = labels.split(' ').flat_map(|label| ["--change".to_owned(), format!("LABEL {label}")]);
    sandbox.ok(["create", "--name=made", "--net=none", "bb", "true"]);
    let change: Vec<String> = labels.collect();
    let command: Vec<&str> = ["commit", "-q"]
        .into_iter()
        .chain(change.iter().map(String::as_str))
        .chain(["made", "localhost/app:1"])
        .collect();
    sandbox.ok(command);
    sandbox.ok(["run", "-d", "--net=none", "--name=app", "localhost/app:1", "sleep", "1000"]);
    let kept = sandbox.ok(["inspect", "--format={{json .Config.Labels}}", "app"]);
    assert!(
        kept.contains("autoupdate\":\"local") && !kept.contains("sshd") && !kept.contains("authfile"),
        "{kept}"
    );
    assert!(update(&sandbox, &[]).fails(125).contains("no PODMAN_SYSTEMD_UNIT label found"));
    assert_eq!(sandbox.read("asked"), "");
}

#[test]
fn what_has_moved_here() {
    let sandbox = with_systemctl();
    assert_eq!(update(&sandbox, &[]).ok(), "", "nothing to do");
    sandbox.ok(["tag", "bb", "localhost/app:1"]);
    let id = run(&sandbox, "app", "local", "localhost/app:1");
    run(&sandbox, "off", "disabled", "localhost/app:1");
    sandbox.ok(["create", "--name=stopped", "--label=io.containers.autoupdate=local", "localhost/app:1"]);
    assert_eq!(update(&sandbox, &[SHORT]).ok(), "app.service app localhost/app:1 local false");
    let old = sandbox.ok(["image", "inspect", "--format={{.Id}}", "localhost/app:1"]);

    sandbox.ok(["commit", "-q", "app", "localhost/app:1"]);
    assert_eq!(update(&sandbox, &["--dry-run", SHORT]).ok(), "app.service app localhost/app:1 local pending");
    assert_eq!(sandbox.read("asked"), "", "nothing is restarted");
    let done = update(&sandbox, &[]);
    let lines: Vec<Vec<&str>> = done.ok().lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["UNIT", "CONTAINER", "IMAGE", "POLICY", "UPDATED"]);
    assert_eq!(lines[1], ["app.service", &id[..12], "(app)", "localhost/app:1", "local", "true"]);
    assert_eq!(sandbox.read("asked"), "--user restart -- app.service\n");
    let json = common::json(update(&sandbox, &["--dry-run", "--format=json"]).ok());
    assert_eq!(json[0]["ContainerID"], id.as_str());

    // The unit does not start with the new image, and starts with the old one.
    sandbox.write("fails", "once\n");
    assert_eq!(update(&sandbox, &[SHORT]).ok(), "app.service app localhost/app:1 local rolled back");
    assert_eq!(sandbox.ok(["image", "inspect", "--format={{.Id}}", "localhost/app:1"]), old);
    assert_eq!(sandbox.read("asked").lines().count(), 3);

    // Nor with the old one; and without going back.
    for flag in ["--rollback", "--rollback=false"] {
        sandbox.ok(["commit", "-q", "app", "localhost/app:1"]);
        sandbox.write("fails", "once\ntwice\n");
        let done = update(&sandbox, &[flag, SHORT]);
        assert_eq!(
            (done.code, done.stdout.trim_end()),
            (125, "app.service app localhost/app:1 local failed")
        );
        assert!(
            done.stderr.contains("restarting unit app.service during ")
                && done.stderr.contains("Job failed.")
        );
    }
}

#[test]
fn what_a_registry_has() {
    if !have("docker-registry") {
        return;
    }
    let registry = Registry::private();
    let sandbox = with_systemctl();
    let name = registry.push("app", "1", &bb::image().label("version", "1").build());
    run(&sandbox, "app", "registry", &name);
    let line = |updated: &str| format!("app.service app {name} registry {updated}");
    assert_eq!(update(&sandbox, &[SHORT]).ok(), line("false"));

    let newer = bb::image().label("version", "2").build();
    registry.push("app", "1", &newer);
    assert_eq!(update(&sandbox, &["--dry-run", SHORT]).ok(), line("pending"));
    let version = || sandbox.ok(["image", "inspect", "--format={{.Labels.version}}", &name]);
    assert_eq!(version(), "1", "nothing was pulled");
    assert_eq!(update(&sandbox, &[SHORT]).ok(), line("true"));
    assert_eq!(version(), "2");
    assert_eq!(sandbox.read("asked"), "--user restart -- app.service\n");
    // The unit did not make the container anew: it still runs the image before.
    sandbox.write("fails", "once\n");
    assert_eq!(update(&sandbox, &[SHORT]).ok(), line("rolled back"));
    assert_eq!(version(), "1");
}

/// What is wrong with one container is told of, and the others are updated.
#[test]
fn containers_that_cannot_be_updated() {
    let sandbox = with_systemctl();
    run(&sandbox, "good", "local", "bb");
    run(&sandbox, "odd", "sometimes", "bb");
    let id = sandbox.ok(["image", "inspect", "--format={{.Id}}", "bb"]);
    sandbox.ok([
        "run",
        "-d",
        "--net=none",
        "--name=unitless",
        "--label=io.containers.autoupdate=local",
        "bb",
        "sleep",
        "1000",
    ]);
    run(&sandbox, "by-id", "registry", &id);
    let done = update(&sandbox, &["--format={{.ContainerName}} {{.Updated}}"]);
    assert_eq!((done.code, done.stdout.trim_end()), (125, "good false"));
    for words in [
        "invalid auto-update policy \"sometimes\": valid policies are [\"disabled\" \"image\" \"local\" \"registry\"]",
        "no PODMAN_SYSTEMD_UNIT label found",
        "auto updates require fully-qualified image reference",
    ] {
        assert!(done.stderr.contains(words), "{}", done.stderr);
    }
}
