//! Containers with a restart policy, after the machine was started again.

mod common;

use common::Sandbox;

const SLEEP: &str = "trap 'exit 0' TERM; while :; do sleep 0.1; done";

/// Names of the containers that run, sorted.
fn running(sandbox: &Sandbox) -> Vec<String> {
    let names = sandbox.ok(["ps", "--format={{.Names}}"]);
    let mut names: Vec<_> = names.lines().map(str::to_owned).collect();
    names.sort();
    names
}

#[test]
fn the_command_of_the_unit_starts_those_that_are_to_run() {
    let sandbox = Sandbox::new();
    for (name, policy) in
        [("always", "always"), ("unless", "unless-stopped"), ("stopped", "unless-stopped"), ("no", "no")]
    {
        let policy = format!("--restart={policy}");
        sandbox.ok(["create", "--net=none", &format!("--name={name}"), &policy, "bb", "sh", "-c", SLEEP]);
    }
    sandbox.ok(["start", "stopped"]);
    sandbox.ok(["stop", "-t0", "stopped"]);

    let unit = sandbox.ok(["system", "autostart", "--print"]);
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("a command");
    let mut words = line.split(' ');
    let program = words.next().expect("a program");
    let start = sandbox.program(program, words).run();
    assert_eq!(start.code, 0, "{}", start.stderr);
    assert_eq!(running(&sandbox), ["always", "unless"]);

    let again = sandbox.ok(["start", "--filter=name=^always$"]);
    assert_eq!(again.len(), 64, "one that runs already is a success");
    sandbox.ok(["stop", "-t0", "--filter=restart-policy=always"]);
    assert_eq!(running(&sandbox), ["unless"]);
    sandbox.ok(["start", "--all"]);
    assert_eq!(running(&sandbox), ["always", "no", "stopped", "unless"]);
    let none = sandbox.ketch(["start"]);
    none.fails(125);
}

#[test]
fn the_unit_is_installed_enabled_and_removed() {
    let sandbox = Sandbox::new();
    let installed = sandbox.ketch(["system", "autostart"]);
    assert_eq!(installed.code, 0, "{}", installed.stderr);
    let unit = "home/.config/systemd/user/ketch-autostart.service";
    assert_eq!(installed.stdout.trim_end(), sandbox.path(unit).display().to_string());
    let text = sandbox.read(unit);
    assert!(text.contains("start --all --filter should-start-on-boot=true\n"), "{text}");
    assert!(text.contains(&format!("--root {}", sandbox.store().display())), "{text}");
    let link = "home/.config/systemd/user/default.target.wants/ketch-autostart.service";
    assert_eq!(sandbox.read(link), text, "enabled");
    sandbox.ok(["system", "autostart"]);

    sandbox.ok(["system", "autostart", "--remove"]);
    assert!(!sandbox.path(unit).exists() && !sandbox.path(link).is_symlink());
    sandbox.ok(["system", "autostart", "--remove"]);
}

#[test]
fn a_user_at_a_terminal_is_told_once() {
    let sandbox = Sandbox::new();
    let run = |name: &str| {
        let args = ["run", "-d", "--net=none", "--restart=always", "bb", "sh", "-c", SLEEP];
        let name = format!("--name={name}");
        sandbox.command([&args[..2], &[&name], &args[2..]].concat()).on_terminal(24, 200).wait().stdout
    };
    assert!(run("one").contains("system autostart"));
    assert!(!run("two").contains("system autostart"));
    let piped = sandbox.ketch(["run", "-d", "--net=none", "bb", "true"]);
    assert_eq!(piped.stderr, "", "a program is not");
}
