//! containers.conf and the environment: what they change for containers and commands.

mod common;

use common::{Invocation, Output, Sandbox};

/// Runs a script in a container, with a configuration file of this text.
fn sh(sandbox: &Sandbox, conf: &str, options: &[&str], script: &str) -> Output {
    let mut args = vec!["run", "--rm"];
    args.extend(options);
    args.extend(["bb", "sh", "-c", script]);
    configured(sandbox, conf, args).run()
}

/// ketch with a configuration file of this text in place of the machine's.
fn configured<'a>(sandbox: &Sandbox, conf: &str, args: impl IntoIterator<Item = &'a str>) -> Invocation {
    let file = sandbox.write("containers.conf", conf);
    sandbox.command(args).env("CONTAINERS_CONF", file)
}

#[test]
fn defaults_of_containers() {
    let sandbox = Sandbox::new();
    sandbox.write("data/in", "seen\n");
    let data = sandbox.path("data");
    let conf = format!(
        "[containers]\nnetns='none'\nenv=['FROM=conf','PATH=/bin:/conf']\ninit=true\numask='0077'\nshm_size='1m'\n\
         volumes=['{0}:/data:ro']\nmounts=['type=tmpfs,destination=/t']\ndefault_ulimits=['nofile=100:200']\n\
         default_sysctls=['net.ipv4.ping_group_range=0 0']\noom_score_adj=500\nannotations=['a=b']\n\
         utsns='private'\ncontainer_name_as_hostname=true\ndns_servers=['192.0.2.1']\ndns_searches=['conf.test']\n\
         read_only=true\nlog_size_max=100000\ndefault_capabilities=['CHOWN']\n[engine]\nstop_timeout=3\n",
        data.display()
    );
    let script = "echo $FROM; cat /proc/1/comm; umask; ls /data; ulimit -n; cat /proc/self/oom_score_adj; hostname; \
                  grep -c 192.0.2.1 /etc/resolv.conf; touch /x 2>/dev/null || echo ro; \
                  grep CapBnd /proc/self/status | cut -f2; df -k /dev/shm | tail -n 1 | awk '{print $2}'";
    let output = sh(&sandbox, &conf, &["--name=named"], script);
    let lines: Vec<&str> = output.ok().lines().collect();
    let want = ["conf", "ketch", "0077", "in", "100", "500", "named", "1", "ro", "0000000000000001", "1024"];
    assert_eq!(lines[0], want[0], "{}", output.stdout);
    assert_eq!(lines[2..], want[2..], "{}", output.stdout);
    configured(&sandbox, &conf, ["create", "--name=c", "bb", "true"]).run().ok();
    let field = |field: &str| sandbox.inspect("c", field);
    assert_eq!(field(".Config.StopTimeout"), "3");
    assert_eq!(field("index .Config.Annotations \"a\""), "b");
    // What is asked for wins.
    let options =
        ["--env=FROM=me", "--umask=0022", "--stop-timeout=9", "--ulimit=nofile=50", "--hostname=mine"];
    let output = sh(&sandbox, &conf, &options, "echo $FROM; umask; ulimit -n; hostname");
    assert_eq!(output.ok(), "me\n0022\n50\nmine");
}

#[test]
fn user_namespaces_and_networks_of_the_configuration() {
    let sandbox = Sandbox::new();
    let uid = rustix::process::getuid().to_string();
    let conf = "[containers]\nnetns='none'\nuserns='keep-id'\n";
    assert_eq!(sh(&sandbox, conf, &[], "id -u; ls /sys/class/net").ok(), format!("{uid}\nlo"));
    assert_eq!(sh(&sandbox, conf, &["--userns=host"], "id -u").ok(), "0");
    let plain = "[containers]\nnetns='none'\n";
    let environment =
        configured(&sandbox, plain, ["run", "--rm", "bb", "id", "-u"]).env("PODMAN_USERNS", "keep-id").run();
    assert_eq!(environment.ok(), uid);
    sandbox.ok(["network", "create", "mynet"]);
    let conf = "[network]\ndefault_network='mynet'\n";
    configured(&sandbox, conf, ["create", "--name=c", "bb", "true"]).run().ok();
    assert!(sandbox.ok(["inspect", "c"]).contains("\"mynet\""));
}

#[test]
fn files_are_found_and_merged() {
    let sandbox = Sandbox::new();
    let env = |args: &[&str], more: &[(&str, String)]| {
        let mut invocation = sandbox.command(args).env("XDG_CONFIG_HOME", sandbox.path("home/.config"));
        for (key, value) in more {
            invocation = invocation.env(key, value);
        }
        invocation.run()
    };
    let look = ["run", "--rm", "--net=none", "bb", "sh", "-c", "echo $A $B"];
    sandbox.write("home/.config/containers/containers.conf", "[containers]\nenv=['A=user','B=user']\n");
    assert_eq!(env(&look, &[]).ok(), "user user");
    sandbox.write(
        "home/.config/containers/containers.conf.d/9.conf",
        "[containers]\nenv=['B=late',{append=true}]\n",
    );
    assert_eq!(env(&look, &[]).ok(), "user late");
    sandbox
        .write("home/.config/containers/containers.conf.modules/m.conf", "[containers]\nenv=['A=module']\n");
    let mut with_module = vec!["--module=m.conf"];
    with_module.extend(look);
    assert_eq!(env(&with_module, &[]).ok(), "module");
    let last = sandbox.write("last", "[containers]\nenv=['A=override']\n").display().to_string();
    assert_eq!(env(&look, &[("CONTAINERS_CONF_OVERRIDE", last)]).ok(), "override");
    let missing = env(&["--module=none.conf", "ps"], &[]);
    assert!(missing.fails(1).contains("could not resolve module none.conf"), "{}", missing.stderr);
    let broken = configured(&sandbox, "[containers\n", ["ps"]).run();
    assert!(broken.fails(1).contains("containers.conf"), "{}", broken.stderr);
    let nonsense = sh(&sandbox, "[containers]\numask='x'\n", &["--net=none"], "true");
    assert!(nonsense.fails(125).contains("umask"), "{}", nonsense.stderr);
    let wrong = configured(&sandbox, "[containers]\nenv=5\n", ["ps"]).run();
    assert!(wrong.fails(1).contains("containers.env"), "{}", wrong.stderr);
    let helper = "[network]\ndefault_rootless_network_cmd='other'\n";
    let helper = configured(&sandbox, helper, ["create", "bb", "true"]).run();
    assert!(
        helper.fails(125).contains("invalid default_rootless_network_cmd option \"other\""),
        "{}",
        helper.stderr
    );
}

#[test]
fn keys_of_the_engine() {
    let sandbox = Sandbox::new();
    let output = configured(
        &sandbox,
        "[engine]\npull_policy='never'\n",
        ["run", "--rm", "--net=none", "localhost:1/none", "true"],
    )
    .run();
    assert_eq!(output.code, 125);
    assert!(!output.stderr.contains("localhost:1/v2"), "nothing was asked: {}", output.stderr);
    let wrong = configured(&sandbox, "[engine]\npull_policy='maybe'\n", ["run", "--rm", "bb", "true"]).run();
    assert!(wrong.fails(125).contains("pull_policy"), "{}", wrong.stderr);
    let wrong = configured(&sandbox, "[engine]\ndetach_keys='ctrl-!'\n", ["run", "--rm", "bb", "true"]).run();
    assert_eq!(wrong.code, 125, "{}", wrong.stderr);
    for name in ["one", "two"] {
        sandbox.ok(["volume", "create", name]);
    }
    let lines = configured(&sandbox, "[ketch]\njson_lines=true\n", ["volume", "ls", "--format=json"]).run();
    assert_eq!(lines.ok().lines().filter(|line| line.starts_with('{') && line.ends_with('}')).count(), 2);
    assert!(sandbox.ok(["volume", "ls", "--format=json"]).starts_with('['));
    sandbox.write("file", "text");
    let file = sandbox.path("file");
    for name in ["localhost/a:1", "localhost/b:1"] {
        sandbox.ok(["artifact", "add", name, file.to_str().expect("UTF-8")]);
    }
    for verb in [&["artifact", "ls", "--format=json"][..], &["image", "trust", "show", "--json"]] {
        let lines = configured(&sandbox, "[ketch]\njson_lines=true\n", verb.iter().copied()).run();
        let count = lines.ok().lines().filter(|line| line.starts_with('{') && line.ends_with('}')).count();
        assert_eq!(
            (count, lines.ok().lines().count()),
            (if verb[0] == "artifact" { 2 } else { 1 }, count),
            "{verb:?}"
        );
    }
    for verb in [&["mount", "--format=json"][..], &["image", "mount", "--format=json"]] {
        // Both need the rights to mount.
        let verb = [&["unshare", "ketch"], verb].concat();
        let lines = configured(&sandbox, "[ketch]\njson_lines=true\n", verb.iter().copied()).run();
        assert_eq!(lines.ok(), "", "{verb:?}");
    }
}

/// `[engine] env` is for the command itself, what is set goes before it; a name alone in `[containers] env` is the caller's.
#[test]
fn variables_of_the_configuration() {
    let sandbox = Sandbox::new();
    let run = |conf: &str, script: &str| {
        let args = ["run", "--rm", "--net=none", "bb", "sh", "-c", script];
        configured(&sandbox, conf, args).env("OF_CALLER", "yes").env("HTTPS_PROXY", "http://set.test:1").run()
    };
    let conf = "[engine]\nenv=['HTTP_PROXY=http://conf.test:3128', 'HTTPS_PROXY=http://conf.test:1']\n";
    assert_eq!(run(conf, "echo $HTTP_PROXY $HTTPS_PROXY").ok(), "http://conf.test:3128 http://set.test:1");
    assert!(run("[engine]\nenv=['X']\n", "true").fails(125).contains("\"X\" is no variable"));
    let conf = "[containers]\nenv=['OF_CALLER', 'OF_NOBODY', 'A=1']\n";
    assert_eq!(run(conf, "echo $OF_CALLER ${OF_NOBODY-unset} $A").ok(), "yes unset 1");
    // A name without a value has none to merge.
    let merge =
        configured(&sandbox, conf, ["create", "--net=none", "--env-merge=B=<$OF_NOBODY>", "bb"]).run();
    assert_eq!(merge.code, 0, "{}", merge.stderr);
}

#[test]
fn what_the_configuration_asks_in_vain_is_told() {
    let sandbox = Sandbox::new();
    let conf = "[containers]\ninterface_name='lan'\n[engine]\nstatic_dir='/s'\nvolume_path='/v'\n";
    let output = configured(&sandbox, conf, ["volume", "ls"]).run();
    for key in ["interface_name", "static_dir", "volume_path"] {
        let told = output.stderr.lines().filter(|line| line.starts_with("Warning: ") && line.contains(key));
        assert_eq!(told.count(), 1, "{}", output.stderr);
    }
    assert_eq!(output.ok(), "");
}

/// Logs lie below a directory of the configuration, each in one of its container's own; an option goes before that.
#[test]
fn logs_lie_where_the_configuration_says() {
    let sandbox = Sandbox::new();
    let logs = sandbox.path("logs");
    let conf = format!("[containers]\nlog_path='{}'\n", logs.display());
    let run = |more: &[&str], name: &str| {
        let args = [&["run", "-d", "--net=none", "--name", name][..], more, &["bb", "echo", "said"]].concat();
        let id = configured(&sandbox, &conf, args).run().ok().to_owned();
        sandbox.ok(["wait", name]);
        assert_eq!(sandbox.ok(["logs", name]), "said", "{name}");
        id
    };
    for (name, driver) in [("files", "k8s-file"), ("json", "json-file")] {
        let id = run(&["--log-driver", driver], name);
        let file = logs.join(&id).join("ctr.log");
        assert!(std::fs::read_to_string(&file).expect("the log").contains("said"), "{name}");
        assert_eq!(sandbox.inspect(name, ".HostConfig.LogConfig.Path"), file.display().to_string());
    }
    let elsewhere = format!("path={}", sandbox.path("own.log").display());
    let id = run(&["--log-opt", &elsewhere], "own");
    assert!(!logs.join(&id).exists() && sandbox.read("own.log").contains("said"));

    let clone = sandbox.ok(["container", "clone", "files"]);
    sandbox.ok(["start", "-a", &clone]);
    assert!(logs.join(&clone).join("ctr.log").exists(), "a log of its own");
    assert_eq!(sandbox.ok(["logs", "files"]), "said");

    let before = std::fs::read_dir(&logs).expect("the directory").count();
    let taken = configured(&sandbox, &conf, ["create", "--name=files", "bb", "true"]).run();
    assert_eq!(taken.code, 125);
    assert_eq!(std::fs::read_dir(&logs).expect("the directory").count(), before, "nothing is left behind");
    let bad = configured(&sandbox, "[containers]\nlog_path='/proc/none'\n", ["create", "bb", "true"]).run();
    assert!(bad.fails(125).contains("/proc/none"), "{}", bad.stderr);
}

/// New volumes have the image's files when a container was created, where the configuration says so.
#[test]
fn volumes_are_filled_at_creation_where_the_configuration_says_so() {
    let sandbox = Sandbox::new();
    let conf = "[containers]\nprepare_volume_on_create=true\n";
    let files = |conf: &str, volume: &str, more: &[&str]| {
        let mount = format!("--volume={volume}:/etc");
        let args =
            [&["create", "--net=none", mount.as_str()][..], more, &["bb", "cat", "/etc/passwd"]].concat();
        let id = configured(&sandbox, conf, args).run().ok().to_owned();
        let mountpoint = sandbox.ok(["volume", "inspect", "--format={{.Mountpoint}}", volume]);
        (std::path::Path::new(&mountpoint).join("passwd").exists(), id)
    };
    assert!(!files("", "late", &[]).0);
    let (filled, id) = files(conf, "early", &[]);
    assert!(filled);
    assert!(sandbox.ok(["start", "-a", &id]).starts_with("root:"));
    let (filled, id) = files(conf, "others", &["--userns=auto"]);
    assert!(filled);
    assert!(sandbox.ok(["start", "-a", &id]).starts_with("root:"));
}

/// A hook that adds its word and the state that it is told to the file `told`.
fn telling_hook(sandbox: &Sandbox, file: &str, word: &str, when: &str, stages: &str) {
    let script = format!("echo {word} $(cat) >> {}", sandbox.path("told").display());
    let hook =
        serde_json::json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]});
    let text = format!("{{\"version\":\"1.0.0\",\"hook\":{hook},\"when\":{when},\"stages\":[{stages}]}}");
    sandbox.write(file, &text);
}

/// What hooks have told since the last time: the word and the state of each.
fn told(sandbox: &Sandbox) -> Vec<(String, serde_json::Value)> {
    let text = std::fs::read_to_string(sandbox.path("told")).unwrap_or_default();
    std::fs::remove_file(sandbox.path("told")).ok();
    let line = |line: &str| {
        let (word, state) = line.split_once(' ').expect("a word");
        (word.to_owned(), serde_json::from_str(state).expect("JSON"))
    };
    text.lines().map(line).collect()
}

#[test]
fn hooks_are_run_at_each_point_of_a_containers_life() {
    let sandbox = Sandbox::new();
    let stages = r#""prestart","createRuntime","createContainer","poststart","poststop""#;
    telling_hook(&sandbox, "hooks/a.json", "a", r#"{"always":true}"#, stages);
    let inside = r#"{"path":"/bin/sh","args":["sh","-c","cat > /tmp/state; id -u > /tmp/user"]}"#;
    let file = format!(
        r#"{{"version":"1.0.0","hook":{inside},"when":{{"always":true}},"stages":["startContainer"]}}"#
    );
    sandbox.write("hooks/b.json", &file);
    let hooks = sandbox.path("hooks");
    let hooks = hooks.to_str().expect("UTF-8");
    for network in ["none", "ketch"] {
        let args = ["--hooks-dir", hooks, "run", "-d", "--name=x", "--annotation=k=v", "--user=77"];
        let script = "cat /tmp/user /tmp/state; exec sleep 1000";
        let id = sandbox.ok([&args[..], &["--network", network, "bb", "sh", "-c", script]].concat());
        let pid: i64 = sandbox.inspect("x", ".State.Pid").parse().expect("a number");
        let early = told(&sandbox);
        let of = |key: &str| early.iter().map(|(_, state)| state[key].clone()).collect::<Vec<_>>();
        assert_eq!(of("status"), ["created", "created", "created", "running"], "{network}");
        assert_eq!(of("pid"), [pid, pid, 0, pid], "{network}");
        assert!(
            early.iter().all(|(_, state)| state["id"] == *id && state["annotations"]["k"] == "v"),
            "{early:?}"
        );
        let log = sandbox.wait_until(&["logs", "x"], "ociVersion");
        assert!(log.starts_with("77\n{"), "{log}");
        sandbox.ok(["stop", "-t0", "x"]);
        let late = told(&sandbox);
        assert!(late.len() == 1 && late[0].1["status"] == "stopped", "{late:?}");
        sandbox.ok(["start", "x"]);
        assert_eq!(told(&sandbox).len(), 4, "each life has them");
        sandbox.ok(["rm", "-f", "-t0", "x"]);
        told(&sandbox);
    }
}

#[test]
fn hooks_are_for_containers_that_they_match() {
    let sandbox = Sandbox::new();
    for (word, when) in [
        ("none", "{}"),
        ("never", r#"{"always":false}"#),
        ("mark", r#"{"annotations":{"^mark$":"^(a|b)$"}}"#),
        ("true", r#"{"commands":["/?true$"]}"#),
        ("mounts", r#"{"hasBindMounts":true}"#),
        ("both", r#"{"hasBindMounts":true,"annotations":{"mark":""}}"#),
    ] {
        telling_hook(&sandbox, &format!("hooks/{word}.json"), word, when, r#""prestart""#);
    }
    let conf = format!(
        "[engine]\nhooks_dir=['{}', '{}', '/no/such']\n",
        sandbox.path("hooks").display(),
        sandbox.path("more").display()
    );
    let words = |options: &[&str], command: &str| {
        let args = [&["run", "--rm", "--net=none"][..], options, &["bb", command]].concat();
        configured(&sandbox, &conf, args).run().ok();
        told(&sandbox).into_iter().map(|(word, _)| word).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(words(&[], "id"), "");
    assert_eq!(words(&[], "true"), "true");
    assert_eq!(words(&["--annotation=mark=b"], "id"), "mark");
    assert_eq!(words(&["--annotation=mark=c", "-v=/tmp:/t"], "id"), "both mounts");
    telling_hook(&sandbox, "more/MARK.json", "other", r#"{"always":true}"#, r#""prestart""#);
    assert_eq!(words(&["--annotation=mark=a"], "id"), "other", "of one name the last");
}

#[test]
fn hooks_that_fail_or_mean_nothing_are_told() {
    let sandbox = Sandbox::new();
    let run = |hook: &str, version: &str, stage: &str| {
        let text = format!(
            r#"{{"version":"{version}","hook":{hook},"when":{{"always":true}},"stages":["{stage}"]}}"#
        );
        let file = sandbox.write("hooks/a.json", &text);
        let dir = file.parent().and_then(|dir| dir.to_str()).expect("UTF-8").to_owned();
        sandbox.ketch(["run", "--hooks-dir", &dir, "--rm", "--net=none", "bb", "echo", "ran"])
    };
    for stage in ["prestart", "createRuntime", "createContainer", "startContainer"] {
        let failed = run(r#"{"path":"/bin/sh","args":["sh","-c","exit 3"]}"#, "1.0.0", stage);
        assert_eq!(failed.stdout, "", "{stage}");
        assert!(
            failed.fails(126).contains("error executing hook `/bin/sh` (exit code: 3)"),
            "{}",
            failed.stderr
        );
    }
    for stage in ["poststart", "poststop"] {
        assert_eq!(run(r#"{"path":"/bin/false"}"#, "1.0.0", stage).ok(), "ran", "too late for {stage}");
    }
    assert_eq!(run(r#"{"path":"/no/such"}"#, "1.0.0", "prestart").ok(), "ran", "as with podman");
    let slow = run(r#"{"path":"/bin/sleep","args":["sleep","100"],"timeout":1}"#, "1.0.0", "prestart");
    assert!(slow.fails(126).contains("timeout expired"), "{}", slow.stderr);
    for (hook, version, stage, said) in [
        (r#"{"path":"/bin/true"}"#, "1.0.0", "precreate", "precreate"),
        (r#"{"path":"/bin/true"}"#, "1.0.0", "nosuch", "unknown stage \"nosuch\""),
        (r#"{"path":"/bin/true"}"#, "0.1.0", "prestart", "unrecognized hook version"),
        (r#"{"path":"bin/true"}"#, "1.0.0", "prestart", "absolute"),
        (r#"{}"#, "1.0.0", "prestart", "path"),
    ] {
        let refused = run(hook, version, stage);
        assert!(refused.fails(125).contains(said), "{}", refused.stderr);
    }
    assert_eq!(sandbox.ok(["ps", "-aq"]), "");
}

/// Its end can be seen before its monitor has done with it.
#[test]
fn a_start_waits_for_the_rest_of_the_life_before() {
    let sandbox = Sandbox::new();
    let slow = r#"{"path":"/bin/sleep","args":["sleep","2"]}"#;
    let file =
        format!(r#"{{"version":"1.0.0","hook":{slow},"when":{{"always":true}},"stages":["poststop"]}}"#);
    let hooks = sandbox.write("hooks/slow.json", file);
    let hooks = hooks.parent().and_then(|dir| dir.to_str()).expect("UTF-8").to_owned();
    sandbox.ok(["--hooks-dir", &hooks, "create", "--name=c", "--net=none", "bb", "sh", "-c", "exit 3"]);
    for again in [&["start", "--attach", "c"][..], &["init", "c"]] {
        sandbox.ok(["start", "c"]);
        sandbox.wait_until(&["inspect", "--format={{.State.Status}}", "c"], "exited");
        let output = sandbox.ketch(again);
        assert_eq!(output.code, if again[0] == "start" { 3 } else { 0 }, "{again:?}: {}", output.stderr);
    }
}

/// Keys that the command line has flags for: what they change is what the flag changes.
#[test]
fn keys_in_place_of_flags() {
    let sandbox = Sandbox::new();
    let size = |conf: &str, userns: &str| {
        let output = sh(&sandbox, conf, &["--net=none", userns], "cat /proc/self/uid_map");
        output.ok().split_whitespace().nth(2).map(str::to_owned)
    };
    let conf = "[containers]\nuserns_size=2000\n";
    assert_eq!(size(conf, "--userns=auto").as_deref(), Some("2000"));
    assert_eq!(size(conf, "--userns=auto:size=1500").as_deref(), Some("1500"));

    let layer = |conf: &str, more: &[&str]| {
        let args = [&["push", "-q"][..], more, &["bb", "dir:out"]].concat();
        configured(&sandbox, conf, args).run().ok();
        let manifest = sandbox.read("out/manifest.json");
        ["tar+gzip", "tar+zstd"].into_iter().find(|kind| manifest.contains(kind)).map(str::to_owned)
    };
    let conf = "[engine]\ncompression_format='zstd'\ncompression_level=3\n";
    assert_eq!(layer(conf, &[]).as_deref(), Some("tar+zstd"));
    assert_eq!(layer(conf, &["--compression-format=gzip"]).as_deref(), Some("tar+gzip"));
    let wrong = configured(&sandbox, "[engine]\ncompression_format='rar'\n", ["push", "bb", "dir:out"]).run();
    assert!(wrong.fails(125).contains("compression_format"), "{}", wrong.stderr);

    sandbox.ok(["tag", "bb", "other:1"]);
    let conf = "[engine]\nmulti_image_archive=true\n";
    configured(&sandbox, conf, ["save", "-q", "-o", "both.tar", "bb", "other:1"]).run().ok();

    let mode = |conf: &str| {
        configured(&sandbox, conf, ["create", "--name=n", "--replace", "bb", "true"]).run().ok();
        sandbox.inspect("n", ".HostConfig.NetworkMode")
    };
    assert_eq!(mode("[network]\ndefault_rootless_network_cmd='slirp4netns'\n"), "slirp4netns");
    assert_eq!(mode("[network]\npasta_options=['-m','1400']\n"), "pasta");
}

/// Every container gets copies of what mounts.conf names; the host's own files stay as they are.
#[test]
fn files_of_mounts_conf_are_copied() {
    let sandbox = Sandbox::new();
    sandbox.write("secrets/deep/key", "of the host\n");
    let line = format!("/no/such:/nowhere\n{}:/run/secrets\n", sandbox.path("secrets").display());
    sandbox.write("home/.config/containers/mounts.conf", &line);
    let script = "cat /run/secrets/deep/key; echo changed 2>/dev/null > /run/secrets/deep/key || echo kept";
    let invocation = sandbox.command(["run", "--net=none", "--name=c", "bb", "sh", "-c", script]);
    let output = invocation.env("XDG_CONFIG_HOME", sandbox.path("home/.config")).run();
    assert_eq!(output.ok(), "of the host\nkept");
    assert_eq!(sandbox.read("secrets/deep/key"), "of the host\n");
    assert_eq!(sandbox.inspect("c", "len .Config.Secrets"), "0");

    // Another file in its place.
    sandbox.write("other/key", "of another\n");
    let file = sandbox.write("mounts", format!("{}:/run/other\n", sandbox.path("other").display()));
    let file = file.to_str().expect("UTF-8");
    let script = "cat /run/other/key; ls /run/secrets 2>/dev/null || echo none";
    let args = ["--default-mounts-file", file, "run", "--rm", "--net=none", "bb", "sh", "-c", script];
    let output = sandbox.command(args).env("XDG_CONFIG_HOME", sandbox.path("home/.config")).run();
    assert_eq!(output.ok(), "of another\nnone");
    let missing = sandbox.ketch(["run", "--default-mounts-file=/no/such", "--net=none", "bb", "true"]);
    assert!(missing.fails(125).contains("/no/such"), "{}", missing.stderr);
}

#[test]
fn events_may_go_to_another_file() {
    let sandbox = Sandbox::new();
    let file = sandbox.path("elsewhere/deep/events");
    let conf = format!("[engine]\nevents_logfile_path='{}'\n", file.display());
    configured(&sandbox, &conf, ["volume", "create", "v"]).run().ok();
    configured(&sandbox, &conf, ["run", "--rm", "--net=none", "bb", "true"]).run().ok();
    let args = ["events", "--stream=false", "--format={{.Type}} {{.Status}}"];
    let told = configured(&sandbox, &conf, args).run();
    for event in ["volume create", "container start", "container died"] {
        assert!(told.ok().contains(event), "{event}: {}", told.stdout);
    }
    assert!(sandbox.read("elsewhere/deep/events").contains("\"volume\""));
    assert!(!sandbox.ok(args).contains("volume create"), "the store's own file knows nothing of it");
    let relative = configured(&sandbox, "[engine]\nevents_logfile_path='events'\n", ["ps"]).run();
    assert!(relative.fails(125).contains("no absolute path"), "{}", relative.stderr);
}

/// The name of a host's device, which is what podman means by this, is for kinds of networks without a bridge.
#[test]
fn interfaces_named_by_the_device_need_no_word() {
    let sandbox = Sandbox::new();
    let output = configured(&sandbox, "[containers]\ninterface_name='device'\n", ["volume", "ls"]).run();
    assert_eq!(output.stderr, "");
}

#[test]
fn checks_are_no_events_where_the_configuration_says_so() {
    let sandbox = Sandbox::new();
    for (name, conf) in [("told", "[engine]\n"), ("silent", "[engine]\nhealthcheck_events=false\n")] {
        let args = [
            "run",
            "-d",
            "--net=none",
            "--name",
            name,
            "--health-cmd=true",
            "--health-interval=0",
            "bb",
            "sleep",
            "1000",
        ];
        configured(&sandbox, conf, args).run().ok();
        sandbox.ok(["healthcheck", "run", name]);
        let filter = format!("--filter=container={name}");
        let events = sandbox.ok([
            "events",
            "--stream=false",
            &filter,
            "--filter=event=health_status",
            "--format={{.Name}}",
        ]);
        assert_eq!(events.contains(name), name == "told", "{events}");
    }
}

#[test]
fn keys_that_detach_are_those_of_the_configuration_for_attach_too() {
    let sandbox = Sandbox::new();
    sandbox.start("c", &[], "sleep 1000");
    let wrong = configured(&sandbox, "[engine]\ndetach_keys='ctrl-!'\n", ["attach", "c"]).run();
    assert!(wrong.fails(125).contains("ctrl-!"), "{}", wrong.stderr);
}

#[test]
fn networks_take_their_subnets_from_the_configuration() {
    let sandbox = Sandbox::new();
    let conf = "[network]\ndefault_subnet='10.77.0.0/16'\n\
                default_subnet_pools=[{base='10.78.4.0/24', size=26}, {base='10.79.0.0/16', size=24}]\n";
    let subnet = |name: &str| {
        sandbox.ok(["network", "inspect", name, "--format={{range .Subnets}}{{.Subnet}}{{end}}"])
    };
    for name in ["one", "two"] {
        configured(&sandbox, conf, ["network", "create", name]).run().ok();
    }
    assert_eq!((subnet("one").trim(), subnet("two").trim()), ("10.78.4.0/26", "10.78.4.64/26"));
    configured(&sandbox, conf, ["network", "ls"]).run().ok();
    assert_eq!(subnet("ketch").trim(), "10.77.0.0/16");
    let wrong = "[network]\ndefault_subnet_pools=[{base='10.78.4.0/24', size=16}]\n";
    let output = configured(&sandbox, wrong, ["network", "create", "three"]).run();
    assert!(output.fails(125).contains("default_subnet_pools"), "{}", output.stderr);
}

#[test]
fn misspelled_keys_and_forms_are_told() {
    let sandbox = Sandbox::new();
    let output =
        configured(&sandbox, "[containers]\nenvs=['A=1']\n[engine]\nnum_locks=7\n", ["ps", "-q"]).run();
    assert_eq!((output.code, output.stdout.as_str()), (0, ""));
    assert!(output.stderr.contains("unknown key \"envs\" in [containers]"), "{}", output.stderr);
    assert!(!output.stderr.contains("num_locks"), "{}", output.stderr);
    sandbox.ok(["create", "--name=c", "bb", "true"]);
    configured(&sandbox, "[engine]\nimage_default_format='v2s2'\n", ["commit", "-q", "c", "d:1"]).run().ok();
    let manifest = |name: &str| sandbox.ok(["image", "inspect", name, "--format={{.ManifestType}}"]);
    assert!(manifest("d:1").contains("docker"), "{}", manifest("d:1"));
    let output =
        configured(&sandbox, "[engine]\nimage_default_format='tar'\n", ["commit", "-q", "c", "d:2"]).run();
    assert!(output.fails(125).contains("image_default_format"), "{}", output.stderr);
    let hosts = sh(
        &sandbox,
        "[containers]\nhost_containers_internal_ip='192.0.2.9'\n",
        &["--net=none"],
        "cat /etc/hosts",
    );
    assert!(hosts.ok().contains("192.0.2.9\thost.containers.internal"), "{}", hosts.stdout);
    let conf = "[containers]\nhost_containers_internal_ip='none'\ncontainer_name_as_hostname=true\n";
    let said =
        sh(&sandbox, conf, &["--net=host", "--uts=private", "--name=a_b.c-d"], "hostname; cat /etc/hosts");
    assert!(said.ok().starts_with("ab.c-d\n"), "{}", said.stdout);
    assert!(!said.stdout.contains("host.containers.internal"), "{}", said.stdout);
    let conf = "[engine]\nkube_generate_type='deployment'\n";
    let manifest = configured(&sandbox, conf, ["kube", "generate", "c"]).run();
    assert!(manifest.ok().contains("kind: Deployment"), "{}", manifest.stdout);
    assert_eq!(manifest.stderr, "");
    let pod = configured(&sandbox, conf, ["kube", "generate", "--type=pod", "c"]).run();
    assert!(pod.ok().contains("kind: Pod"), "{}", pod.stdout);
}

#[test]
fn global_flags_that_cannot_work_say_why() {
    let sandbox = Sandbox::new();
    for (flag, said) in [
        ("--url=unix:///x", "no daemon"),
        ("--remote", "no daemon"),
        ("--connection=x", "no daemon"),
        ("--storage-driver=vfs", "one kind of store"),
        ("--runroot=/x", "one kind of store"),
        ("--conmon=/x", "no other program"),
    ] {
        let output = sandbox.ketch([flag, "ps"]);
        assert!(output.fails(125).contains(said), "{flag}: {}", output.stderr);
    }
    assert_eq!(sandbox.ketch(["--debug", "ps"]).code, 0);
}

#[test]
fn cdi_devices_of_a_configured_directory() {
    let sandbox = Sandbox::new();
    let spec = "cdiVersion: 0.6.0\nkind: test.example/thing\ndevices:\n- name: one\n  containerEdits:\n    env: [THING=one]\n    deviceNodes:\n    - {path: /dev/thing, hostPath: /dev/null}\ncontainerEdits:\n  mounts:\n  - {hostPath: /etc/hostname, containerPath: /thing, options: [ro]}\n";
    sandbox.write("cdi/thing.yaml", spec);
    let conf = format!("[engine]\ncdi_spec_dirs=['{}']\n", sandbox.path("cdi").display());
    let script = "echo $THING; test -c /dev/thing && test -s /thing && echo there";
    let output = sh(&sandbox, &conf, &["--net=none", "--device=test.example/thing=one"], script);
    assert_eq!(output.ok(), "one\nthere");
    // As vendors' hooks do: from the state to the root, which is mounted by then, but not at `/` yet.
    let script = r#"root=$(sed 's/.*"root":"\([^"]*\)".*/\1/') && echo linked > "$root/tmp/linked""#;
    let hook =
        serde_json::json!({"hookName": "createContainer", "path": "/bin/sh", "args": ["sh", "-c", script]});
    let hook = format!(
        "{{cdiVersion: 0.6.0, kind: x.com/h, devices: [{{name: one, containerEdits: {{hooks: [{hook}]}}}}]}}"
    );
    sandbox.write("cdi/hook.yaml", &hook);
    let output = sh(&sandbox, &conf, &["--net=none", "--device=x.com/h=one"], "cat /tmp/linked");
    assert_eq!(output.ok(), "linked");
    let output = sh(&sandbox, &conf, &["--net=none", "--device=test.example/thing=two"], "true");
    assert!(output.fails(125).contains("unresolvable CDI devices"), "{}", output.stderr);
}

#[test]
fn what_the_configuration_switches_on_is_switched_off_by_flags() {
    let sandbox = Sandbox::new();
    let conf = "[containers]\nnetns='none'\ninit=true\nprivileged=true\nenv_host=true\nno_hosts=true\n";
    let script =
        "cat /proc/1/comm; grep CapEff /proc/self/status | cut -f2; echo \"$KETCH_ROOT\"; wc -l < /etc/hosts";
    let output = sh(
        &sandbox,
        conf,
        &["--init=false", "--privileged=false", "--env-host=false", "--no-hosts=false"],
        script,
    );
    let lines: Vec<&str> = output.ok().lines().collect();
    assert!(
        matches!(lines[..], ["sh", caps, "", hosts] if caps != "000001ffffffffff" && hosts != "0"),
        "{lines:?}"
    );
    let output = sh(&sandbox, conf, &[], "cat /proc/1/comm; echo \"$KETCH_ROOT\"");
    assert!(output.ok().starts_with("ketch\n/"), "{}", output.stdout);
}
