//! Health checks, run by the monitor; and telling a service manager that a container is ready.

mod common;

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use common::image::Image;
use common::{Sandbox, wait_for};

/// A container that is healthy while /ok exists.
const BY_FILE: &str = "--health-cmd=test -e /ok";
const SLEEP: &str = "trap 'exit 3' TERM; echo ready; while :; do sleep 0.1; done";

fn status(sandbox: &Sandbox, name: &str) -> String {
    sandbox.ok(["ps", "-a", "--filter", &format!("name=^{name}$"), "--format={{.Status}}"])
}

fn health(sandbox: &Sandbox, name: &str) -> String {
    sandbox.inspect(name, ".State.Health.Status")
}

#[test]
fn a_check_says_how_a_container_is() {
    let sandbox = Sandbox::new();
    let options = [BY_FILE, "--health-interval=200ms", "--health-retries=2", "--health-start-period=1h"];
    sandbox.start("h", &options, SLEEP);

    assert_eq!(health(&sandbox, "h"), "starting", "failures in the start period do not count");
    assert!(status(&sandbox, "h").contains("(starting)"), "{}", status(&sandbox, "h"));
    sandbox.ok(["exec", "h", "touch", "/ok"]);
    assert_eq!(sandbox.ok(["wait", "--condition=healthy", "h"]), "-1");
    assert!(status(&sandbox, "h").ends_with("(healthy)"), "{}", status(&sandbox, "h"));
    assert_eq!(sandbox.ok(["ps", "-q", "--filter=health=healthy", "--no-trunc"]).len(), 64);
    assert_eq!(sandbox.ok(["ps", "-q", "--filter=health=unhealthy"]), "");
    sandbox.ok(["exec", "h", "rm", "/ok"]);
    assert_eq!(sandbox.ok(["wait", "--condition=unhealthy,exited", "h"]), "-1");
    assert!(status(&sandbox, "h").ends_with("(unhealthy)"), "{}", status(&sandbox, "h"));
    let streak: u32 = sandbox.inspect("h", ".State.Health.FailingStreak").parse().expect("a number");
    assert!(streak >= 2, "{streak}");

    // Its name of old.
    assert_eq!(
        sandbox.inspect("h", ".State.Healthcheck.Status"),
        sandbox.inspect("h", ".State.Health.Status")
    );
    let log = sandbox.inspect("h", "json .State.Health.Log");
    let log: serde_json::Value = serde_json::from_str(&log).expect("the log is JSON");
    let last = log.as_array().and_then(|log| log.last()).expect("a check");
    assert_eq!(last["ExitCode"], 1, "{last}");
    assert!(log.as_array().expect("a list").len() <= 5, "{log}");
    assert_eq!(sandbox.inspect("h", "json .Config.Healthcheck.Test"), r#"["CMD-SHELL","test -e /ok"]"#);
}

#[test]
fn the_start_period_has_a_pause_of_its_own() {
    let sandbox = Sandbox::new();
    let options =
        [BY_FILE, "--health-interval=1h", "--health-start-period=1h", "--health-start-interval=200ms"];
    sandbox.start("h", &options, SLEEP);
    // With the pause of an hour alone, the second check would never come.
    sandbox.ok(["exec", "h", "touch", "/ok"]);
    assert_eq!(sandbox.ok(["wait", "--condition=healthy", "h"]), "-1");
    assert_eq!(sandbox.inspect("h", ".Config.Healthcheck.StartInterval"), "200ms");
}

#[test]
fn a_check_on_request() {
    let sandbox = Sandbox::new();
    let options =
        ["--health-cmd=cat /state; test -e /ok", "--health-interval=disable", "--health-max-log-size=4"];
    sandbox.start("h", &options, SLEEP);
    sandbox.start("plain", &[], SLEEP);

    let run = sandbox.ketch(["healthcheck", "run", "h"]);
    assert_eq!((run.code, run.stdout.as_str()), (1, "unhealthy\n"), "{}", run.stderr);
    sandbox.ok(["exec", "h", "sh", "-c", "echo fine all the day > /state; touch /ok"]);
    let run = sandbox.ketch(["healthcheck", "run", "h"]);
    assert_eq!((run.code, run.stdout.as_str()), (0, ""), "{}", run.stderr);
    assert_eq!(health(&sandbox, "h"), "healthy");
    assert_eq!(sandbox.inspect("h", "(index .State.Health.Log 1).Output"), "fine", "cut to four characters");

    let none = sandbox.ketch(["healthcheck", "run", "plain"]);
    assert!(none.fails(125).contains("has no defined healthcheck"), "{}", none.stderr);
    sandbox.ok(["kill", "h"]);
    assert!(sandbox.ketch(["healthcheck", "run", "h"]).fails(125).contains("is not running"));
    let wait = sandbox.ketch(["wait", "--condition=healthy", "h"]);
    assert!(wait.fails(125).contains("is not running"), "{}", wait.stderr);
}

#[test]
fn a_check_that_takes_too_long_is_killed() {
    let sandbox = Sandbox::new();
    let options = [
        "--health-cmd=[\"sleep\", \"1000\"]",
        "--health-timeout=1s",
        "--health-retries=1",
        "--health-interval=1h",
    ];
    sandbox.start("h", &options, SLEEP);

    sandbox.ok(["wait", "--condition=unhealthy", "h"]);
    assert_eq!(sandbox.inspect("h", "(index .State.Health.Log 0).ExitCode"), "-1");
    let output = sandbox.inspect("h", "(index .State.Health.Log 0).Output");
    assert!(output.contains("exceeded timeout of 1s"), "{output}");
    let processes = sandbox.ok(["exec", "h", "ps"]);
    assert!(!processes.contains("sleep 1000"), "{processes}");
}

#[test]
fn a_command_that_cannot_run_is_a_failure() {
    let sandbox = Sandbox::new();
    let options = ["--health-cmd=[\"/nowhere\", \"x\"]", "--health-retries=1"];
    sandbox.start("h", &options, SLEEP);

    sandbox.ok(["wait", "--condition=unhealthy", "h"]);
    assert_eq!(sandbox.inspect("h", "(index .State.Health.Log 0).ExitCode"), "127");
}

#[test]
fn an_unhealthy_container_is_dealt_with() {
    let sandbox = Sandbox::new();
    let unhealthy = ["--health-cmd=false", "--health-retries=1", "--health-interval=100ms"];
    let start = |name: &str, more: &[&str], script: &str| {
        sandbox.start(name, &[&unhealthy[..], more].concat(), script);
    };
    start("kill", &["--health-on-failure=kill"], SLEEP);
    start("stop", &["--health-on-failure=stop"], "trap 'exit 3' TERM; while :; do sleep 0.1; done");
    assert_eq!(sandbox.ok(["wait", "kill"]), "137");
    let code = sandbox.ok(["wait", "stop"]);
    assert!(code == "3" || code == "137" || code == "143", "{code}");

    start("restart", &["--health-on-failure=restart", "--stop-timeout=0"], SLEEP);
    wait_for("a restart", || {
        let count = sandbox.inspect("restart", ".RestartCount");
        if count.parse::<u32>().is_ok_and(|count| count > 0) { Ok(()) } else { Err(count) }
    });
    sandbox.ok(["rm", "-f", "-t0", "restart"]);
}

#[test]
fn a_paused_container_is_not_checked() {
    let sandbox = Sandbox::new();
    let options =
        ["--health-cmd=true", "--health-interval=100ms", "--health-timeout=1s", "--health-retries=1000"];
    sandbox.start("h", &options, SLEEP);
    sandbox.ok(["wait", "--condition=healthy", "h"]);
    sandbox.ok(["pause", "h"]);
    assert!(sandbox.ketch(["healthcheck", "run", "h"]).fails(125).contains("is not running"));
    let streak = || sandbox.inspect("h", ".State.Health.FailingStreak").parse::<u32>().expect("a number");
    let (before, at) = (streak(), std::time::Instant::now());
    // A check that stood still with the container would be given up after one second, and ended after five more.
    while at.elapsed() < Duration::from_secs(8) {
        assert!(streak() <= before, "checks fail while it is paused");
        std::thread::sleep(Duration::from_millis(200));
    }
    sandbox.ok(["unpause", "h"]);
    assert_eq!(sandbox.ok(["wait", "--condition=healthy", "h"]), "-1");
    assert_eq!(sandbox.inspect("h", ".State.Status"), "running");
}

#[test]
fn the_start_up_has_a_check_of_its_own() {
    let sandbox = Sandbox::new();
    let options = [
        BY_FILE,
        "--health-interval=100ms",
        "--health-retries=1",
        "--health-startup-cmd=test -e /started",
        "--health-startup-interval=100ms",
        "--health-startup-success=2",
    ];
    sandbox.start("h", &options, SLEEP);

    wait_for("checks of the start-up", || {
        let log = sandbox.inspect("h", "len .State.Health.Log");
        if log.parse::<u32>().is_ok_and(|count| count >= 3) { Ok(()) } else { Err(log) }
    });
    assert_eq!(health(&sandbox, "h"), "starting", "the other check has not begun");
    let run = sandbox.ketch(["healthcheck", "run", "h"]);
    assert_eq!((run.code, run.stdout.as_str()), (1, "starting\n"), "{}", run.stderr);
    sandbox.start(
        "by-hand",
        &[
            BY_FILE,
            "--health-interval=disable",
            "--health-startup-cmd=true",
            "--health-startup-interval=1h",
            "--health-startup-success=9",
        ],
        SLEEP,
    );
    let run = sandbox.ketch(["healthcheck", "run", "by-hand"]);
    assert_eq!(
        (run.code, run.stdout.as_str()),
        (0, ""),
        "a check of the start-up that succeeds: {}",
        run.stderr
    );
    sandbox.ok(["exec", "h", "touch", "/started"]);
    sandbox.ok(["wait", "--condition=unhealthy", "h"]);
    sandbox.ok(["exec", "h", "touch", "/ok"]);
    sandbox.ok(["wait", "--condition=healthy", "h"]);
    assert_eq!(sandbox.inspect("h", ".Config.StartupHealthCheck.Successes"), "2");

    let options =
        ["--health-cmd=true", "--health-startup-cmd=false", "--health-startup-retries=1", "--stop-timeout=0"];
    sandbox.start("again", &options, SLEEP);
    wait_for("a restart", || {
        let count = sandbox.inspect("again", ".RestartCount");
        if count.parse::<u32>().is_ok_and(|count| count > 0) { Ok(()) } else { Err(count) }
    });
    sandbox.ok(["rm", "-f", "-t0", "again"]);
}

#[test]
fn an_image_brings_its_check() {
    let sandbox = Sandbox::new();
    let registry = common::registry::Registry::shared();
    let check =
        serde_json::json!({"Test": ["CMD-SHELL", "test -e /ok"], "Interval": 100_000_000, "Retries": 1});
    let image: Image = common::bb::image().set("Healthcheck", check);
    let name = registry.push("health/checked", "1", &image.build());
    sandbox.ok(["pull", "-q", "--tls-verify=false", &name]);
    let run = |container: &str, options: &[&str]| {
        let name_option = format!("--name={container}");
        let all = [&["run", "-d", "--net=none", &name_option], options, &[&name, "sh", "-c", SLEEP]].concat();
        sandbox.ok(all);
    };

    run("h", &[]);
    sandbox.ok(["wait", "--condition=unhealthy", "h"]);
    sandbox.ok(["exec", "h", "touch", "/ok"]);
    sandbox.ok(["wait", "--condition=healthy", "h"]);
    run("without", &["--no-healthcheck"]);
    assert!(!status(&sandbox, "without").contains('('), "{}", status(&sandbox, "without"));
    assert_eq!(sandbox.ok(["ps", "--filter=health=none", "--format={{.Names}}"]), "without");
}

#[test]
fn the_log_may_be_elsewhere() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("logs")).expect("make a directory");
    let place = format!("--health-log-destination={}", sandbox.path("logs").display());
    let options = ["--health-cmd=echo here", "--health-max-log-count=2", "--health-interval=50ms", &place];
    let id = sandbox.start("h", &options, SLEEP);

    let path = format!("logs/{id}-healthcheck.log");
    wait_for("two checks in the log", || {
        let text = std::fs::read_to_string(sandbox.path(&path)).unwrap_or_default();
        let log: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let count = log["Log"].as_array().map_or(0, Vec::len);
        if count == 2 && log["Log"][1]["Output"] == "here\n" { Ok(()) } else { Err(text) }
    });
}

#[test]
fn flags_that_make_no_sense_are_refused() {
    let sandbox = Sandbox::new();
    for (options, message) in [
        (&["--no-healthcheck", "--health-cmd=true"][..], "cannot specify both"),
        (&["--health-cmd=true", "--health-retries=0"], "must be greater than 0"),
        (&["--health-cmd=true", "--health-timeout=0s"], "at least 1 second"),
        (&["--health-on-failure=kill"], "without a health check"),
        (&["--health-cmd=true", "--health-on-failure=dance"], "invalid on-failure action"),
        (&["--sdnotify=healthy"], "requires a healthcheck"),
        (&["--sdnotify=loud"], "invalid sdnotify value"),
    ] {
        let create = sandbox.ketch([&["create"], options, &["bb", "true"]].concat());
        assert!(create.fails(125).contains(message), "{options:?}: {}", create.stderr);
    }
    assert_eq!(sandbox.names().len(), 0);
}

/// A socket as systemd gives it to a service.
fn manager(sandbox: &Sandbox, name: &str) -> UnixDatagram {
    let socket = UnixDatagram::bind(sandbox.path(name)).expect("make a socket");
    socket.set_read_timeout(Some(Duration::from_secs(60))).expect("set a time limit");
    socket
}

fn heard(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).expect("be told within a minute");
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

#[test]
fn a_service_manager_is_told() {
    let sandbox = Sandbox::new();
    let start = |name: &str, options: &[&str], script: &str| {
        let socket = manager(&sandbox, &format!("{name}.sock"));
        let name_option = format!("--name={name}");
        let all = [&["run", "-d", "--net=none", &name_option], options, &["bb", "sh", "-c", script]].concat();
        let run = sandbox.command(all).env("NOTIFY_SOCKET", sandbox.path(format!("{name}.sock"))).run();
        assert_eq!(run.code, 0, "{}", run.stderr);
        socket
    };

    let socket = start("conmon", &["--sdnotify=conmon"], SLEEP);
    let main = format!("MAINPID={}", sandbox.inspect("conmon", ".State.ConmonPid"));
    assert_eq!(heard(&socket), format!("{main}\nREADY=1"));
    assert_eq!(heard(&socket), format!("{main}\nREADY=1"), "from the monitor, and from the command");

    let socket = start("healthy", &["--sdnotify=healthy", "--health-interval=100ms", BY_FILE], SLEEP);
    let main = format!("MAINPID={}", sandbox.inspect("healthy", ".State.ConmonPid"));
    assert_eq!((heard(&socket), heard(&socket)), (main.clone(), main));
    sandbox.ok(["exec", "healthy", "touch", "/ok"]);
    assert_eq!(heard(&socket), "READY=1");

    let socket =
        start("container", &[], "echo $NOTIFY_SOCKET; test -S $NOTIFY_SOCKET && echo there; sleep 1000");
    assert!(heard(&socket).starts_with("MAINPID=") && heard(&socket).starts_with("MAINPID="));
    sandbox.wait_until(&["logs", "container"], "/run/notify/notify.sock\nthere");
    let inside = sandbox.store().join("containers").join(sandbox.inspect("container", ".Id")).join("notify");
    let link = sandbox.path("n");
    std::os::unix::fs::symlink(inside, &link).expect("link the directory");
    let from_container = UnixDatagram::unbound().expect("make a socket");
    from_container.send_to(b"STATUS=x\nREADY=1\nMAINPID=1", link.join("notify.sock")).expect("notify");
    assert_eq!(heard(&socket), "READY=1", "and nothing else of what the container says");

    let socket = start("ignore", &["--sdnotify=ignore"], SLEEP);
    socket.set_nonblocking(true).expect("do not wait");
    assert!(socket.recv(&mut [0; 64]).is_err(), "nobody is told");
}

#[test]
fn update_changes_checks_of_a_container_that_runs() {
    let sandbox = Sandbox::new();
    sandbox.start("u", &[], SLEEP);
    let id = sandbox.inspect("u", ".Id");
    let none = sandbox.ketch(["update", "--health-retries=2", "u"]);
    assert!(none.fails(125).contains("define one with --health-cmd"), "{}", none.stderr);

    // One where there was none, checked by the monitor that is there.
    sandbox.ok(["update", BY_FILE, "--health-interval=200ms", "--health-retries=1", "u"]);
    sandbox.ok(["wait", "--condition=unhealthy", "u"]);
    sandbox.ok(["exec", "u", "touch", "/ok"]);
    sandbox.ok(["wait", "--condition=healthy", "u"]);

    // Another command; the rest stays.
    sandbox.ok(["update", "--health-cmd=echo changed; exit 1", "--health-timeout=5s", "u"]);
    sandbox.ok(["wait", "--condition=unhealthy", "u"]);
    assert!(sandbox.inspect("u", "json .State.Health.Log").contains("changed"));
    let check = serde_json::from_str::<serde_json::Value>(&sandbox.inspect("u", "json .Config.Healthcheck"));
    let check = check.expect("JSON");
    assert_eq!((&check["Interval"], &check["Retries"]), (&200_000_000.into(), &1.into()), "{check}");
    assert_eq!(check["Timeout"], 5_000_000_000_u64);

    // Where the log goes, and how much of it is kept.
    let logs = sandbox.path("logs");
    std::fs::create_dir(&logs).expect("make a directory");
    let destination = format!("--health-log-destination={}", logs.display());
    sandbox.ok(["update", &destination, "--health-max-log-count=1", "--health-max-log-size=3", "u"]);
    let file = logs.join(format!("{id}-healthcheck.log"));
    wait_for("the log", || {
        let text = std::fs::read_to_string(&file).map_err(|err| err.to_string())?;
        let log: serde_json::Value = serde_json::from_str(&text).map_err(|err| err.to_string())?;
        let entries = log["Log"].as_array().ok_or("no log")?;
        let right = entries.len() == 1 && entries[0]["Output"] == "cha";
        if right { Ok(()) } else { Err(text) }
    });

    sandbox.ok(["update", "--no-healthcheck", "u"]);
    let gone = sandbox.ketch(["healthcheck", "run", "u"]);
    assert!(gone.fails(125).contains("no defined healthcheck"), "{}", gone.stderr);
    assert!(!status(&sandbox, "u").contains("healthy"), "{}", status(&sandbox, "u"));
    let listed =
        |health: &str| sandbox.ok(["ps", "-a", "--format={{.Names}}", &format!("--filter=health={health}")]);
    assert_eq!(listed("none"), "u", "listings know what was updated");
    sandbox.ok(["create", "--name=v", "--net=none", "bb", "true"]);
    sandbox.ok(["update", "--health-cmd=true", "v"]);
    assert_eq!(listed("starting"), "v");
    for (flags, why) in [
        (&["--no-healthcheck", "--health-retries=1"][..], "cannot be combined"),
        (&["--health-cmd=true", "--health-startup-retries=1"], "health-startup-cmd"),
        (&["--health-cmd=true", "--health-retries=0"], "greater than 0"),
        (&["--health-cmd=true", "--health-on-failure=fly"], "on-failure"),
    ] {
        let refused = sandbox.ketch(["update"].iter().chain(flags).chain(&["u"]));
        assert!(refused.fails(125).contains(why), "{flags:?}: {}", refused.stderr);
    }

    // What is to happen, and when, of the one that comes now.
    sandbox.ok([
        "update",
        "--health-cmd=false",
        "--health-interval=200ms",
        "--health-start-period=0s",
        "--health-retries=1",
        "--health-on-failure=kill",
        "u",
    ]);
    assert_eq!(sandbox.ok(["wait", "u"]), "137");
    assert_eq!(sandbox.inspect("u", ".Config.HealthcheckOnFailureAction"), "kill");
}

#[test]
fn update_changes_start_up_checks_for_the_next_start() {
    let sandbox = Sandbox::new();
    sandbox.start("s", &["--health-cmd=true", "--health-interval=200ms"], SLEEP);
    sandbox.ok(["wait", "--condition=healthy", "s"]);
    sandbox.ok([
        "update",
        "--health-startup-cmd=echo x >> /starts; test $(wc -l < /starts) -ge 3",
        "--health-startup-interval=200ms",
        "--health-startup-timeout=5s",
        "--health-startup-retries=20",
        "--health-startup-success=2",
        "s",
    ]);
    sandbox.ok(["wait", "--condition=healthy", "s"]);
    assert_eq!(sandbox.ketch(["exec", "s", "cat", "/starts"]).code, 1, "its start was over");
    sandbox.ok(["restart", "--time=0", "s"]);
    sandbox.ok(["wait", "--condition=healthy", "s"]);
    assert_eq!(sandbox.ok(["exec", "s", "wc", "-l", "/starts"]), "4 /starts", "two failures, two successes");
    let shown = sandbox.inspect("s", "json .Config.StartupHealthCheck");
    for part in ["\"Successes\":2", "\"Retries\":20", "\"Timeout\":5000000000", "\"Interval\":200000000"] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
}

/// The health of the life before is none of the one that begins, from the first moment on at which that is seen.
#[test]
fn a_life_begins_without_the_health_of_the_one_before() {
    let sandbox = Sandbox::new();
    let hook = r#"{"path":"/bin/sleep","args":["sleep","1"]}"#;
    let file =
        format!(r#"{{"version":"1.0.0","hook":{hook},"when":{{"always":true}},"stages":["poststart"]}}"#);
    let hooks = sandbox.write("hooks/slow.json", file);
    let hooks = hooks.parent().and_then(|dir| dir.to_str()).expect("UTF-8").to_owned();
    // It never fails so that it counts, and succeeds in the first life alone.
    let checks =
        ["--health-cmd=test -e /t/ok", "--tmpfs=/t", "--health-start-period=1h", "--health-interval=100ms"];
    let all = [
        &["--hooks-dir", &hooks, "run", "-d", "--name=h", "--net=none"][..],
        &checks,
        &["bb", "sleep", "1000"],
    ];
    sandbox.ok(all.concat());
    sandbox.ok(["exec", "h", "touch", "/t/ok"]);
    sandbox.ok(["wait", "--condition=healthy", "h"]);
    sandbox.ok(["stop", "-t0", "h"]);
    let start = sandbox.command(["start", "h"]).spawn();
    let seen = sandbox
        .wait_until(&["inspect", "--format={{.State.Status}} {{.State.Health.Status}}", "h"], "running");
    assert_eq!(seen.trim(), "running starting");
    start.wait().ok();
}

#[test]
fn a_check_that_is_switched_off_is_seen() {
    let sandbox = Sandbox::new();
    let test = |name: &str| sandbox.inspect(name, "json .Config.Healthcheck");
    sandbox.ok(["create", "--name=off", "--no-healthcheck", "bb", "true"]);
    sandbox.ok(["create", "--name=none", "--health-cmd=none", "bb", "true"]);
    sandbox.ok(["create", "--name=plain", "bb", "true"]);
    assert_eq!(test("off"), r#"{"Test":["NONE"]}"#);
    assert_eq!(test("none"), r#"{"Test":["NONE"]}"#);
    assert_eq!(test("plain"), "null");
    sandbox.ok(["update", "--health-cmd=true", "off"]);
    assert_eq!(sandbox.inspect("off", "json .Config.Healthcheck.Test"), r#"["CMD-SHELL","true"]"#);
    sandbox.ok(["update", "--no-healthcheck", "off"]);
    assert_eq!(test("off"), r#"{"Test":["NONE"]}"#);
}

#[test]
fn a_check_has_the_variables_of_process_1() {
    let sandbox = Sandbox::new();
    sandbox.command(["secret", "create", "word", "-"]).stdin("open sesame").run().ok();
    sandbox.start("other", &["--network=bridge", "-e", "OF_OTHER=1"], SLEEP);
    let options = [
        "--network=bridge",
        "--link=other:o",
        "--secret=word,type=env,target=WORD",
        "--health-cmd=echo $WORD $O_ENV_OF_OTHER $MINE; test \"$WORD\" = 'open sesame'",
        "--health-interval=disable",
        "-e",
        "MINE=2",
    ];
    sandbox.start("h", &options, SLEEP);
    let run = sandbox.ketch(["healthcheck", "run", "h"]);
    let log = sandbox.inspect("h", "(index .State.Health.Log 0).Output");
    assert_eq!((run.code, log.trim_end()), (0, "open sesame 1 2"), "{}", run.stderr);
}
