//! `ketch run`: what each option does to the process in the container.

mod common;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use common::Sandbox;

#[test]
fn the_user_is_looked_up_in_the_images_files() {
    let sandbox = Sandbox::new();
    let ids = "id -u; id -g; id -G | tr ' ' '\\n' | sort -n | tr '\\n' ' '; echo; echo $HOME";
    for (user, want) in [
        ("", "0\n0\n0 \n/root"),
        ("app", "1000\n1000\n44 50 1000 \n/home/app"),
        ("1000", "1000\n1000\n44 50 1000 \n/home/app"),
        ("1000:50", "1000\n50\n50 \n/home/app"),
        ("app:staff", "1000\n50\n50 \n/home/app"),
        ("4711", "4711\n0\n0 \n/"),
        ("4711:4712", "4711\n4712\n4712 \n/"),
    ] {
        let output = sandbox.sh(&["--user", user], ids);
        assert_eq!(output.ok(), want, "--user {user:?}");
    }
}

#[test]
fn an_unknown_user_or_group_is_named() {
    let sandbox = Sandbox::new();
    let user = sandbox.sh(&["--user=nosuch"], "true");
    assert!(user.fails(126).contains("nosuch"), "{}", user.stderr);
    let group = sandbox.sh(&["--user=app:nogrp"], "true");
    assert!(group.fails(126).contains("nogrp"), "{}", group.stderr);
    assert!(sandbox.names().is_empty(), "nothing is left of them");
}

#[test]
fn further_groups_are_added_by_name_and_number() {
    let sandbox = Sandbox::new();
    let output =
        sandbox.sh(&["--group-add=44", "--group-add=bin"], "id -G | tr ' ' '\\n' | sort -n | tr '\\n' ' '");
    for group in ["1 ", "44 "] {
        assert!(output.ok().contains(group), "{}", output.stdout);
    }
}

#[test]
fn the_working_directory_is_the_one_asked_for() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.sh(&[], "pwd").ok(), "/");
    assert_eq!(sandbox.sh(&["-w", "/usr/bin"], "pwd; ls sort").ok(), "/usr/bin\nsort");
    for (dir, said) in [("/nosuch", "/nosuch"), ("/etc/passwd", "/etc/passwd")] {
        let output = sandbox.sh(&["--workdir", dir], "pwd");
        assert!(output.fails(126).contains(said), "{}", output.stderr);
    }
}

#[test]
fn the_environment_is_the_images_plus_what_is_asked_for() {
    let sandbox = Sandbox::new();
    let output = sandbox
        .command([
            "run",
            "--rm",
            "--net=none",
            "--hostname=h",
            "-e",
            "A=1 2",
            "-e",
            "FROM_HOST",
            "--env=UNSET_ON_HOST",
            "--env=EMPTY=",
            "bb",
            "env",
        ])
        .env("FROM_HOST", "yes")
        .env("NOT_ASKED_FOR", "no")
        .run();
    let mut lines: Vec<&str> =
        output.ok().lines().filter(|line| !line.starts_with("SHLVL") && !line.starts_with("PWD")).collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "A=1 2",
            "EMPTY=",
            "FROM_HOST=yes",
            "HOME=/root",
            "HOSTNAME=h",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "container=podman",
        ]
    );
}

#[test]
fn an_environment_file_is_read_line_by_line() {
    let sandbox = Sandbox::new();
    let file = sandbox.write("env", "# comment\nA=1\n\n  B=2 \nFROM_HOST\nEMPTY=\nQUOTED=\"q\"\n");
    let output = sandbox
        .command([
            "run",
            "--rm",
            "--net=none",
            "--env-file",
            file.to_str().expect("UTF-8"),
            "-e",
            "A=wins",
            "bb",
            "env",
        ])
        .env("FROM_HOST", "yes")
        .run();
    for line in ["A=wins", "B=2 ", "FROM_HOST=yes", "EMPTY=", "QUOTED=\"q\""] {
        assert!(output.ok().lines().any(|l| l == line), "{line:?} in {}", output.stdout);
    }
    let missing = sandbox.sh(&["--env-file=/nosuch/env"], "true");
    assert!(missing.fails(125).contains("/nosuch/env"), "{}", missing.stderr);
}

#[test]
fn the_entrypoint_is_replaced_by_a_word_or_a_list_or_nothing() {
    let sandbox = Sandbox::new();
    for (entrypoint, command, want) in [
        ("echo", vec!["a", "b"], "a b"),
        (r#"["echo","a  b"]"#, vec!["c"], "a  b c"),
        ("", vec!["echo", "plain"], "plain"),
    ] {
        let mut args = vec!["run", "--rm", "--net=none", "--entrypoint", entrypoint, "bb"];
        args.extend(&command);
        assert_eq!(sandbox.ok(&args), want, "--entrypoint {entrypoint:?}");
    }
    assert_eq!(
        sandbox.ok(["run", "--rm", "--net=none", "--entrypoint=id", "bb"]).split(' ').next(),
        Some("uid=0(root)"),
        "the image's command goes with its entrypoint"
    );
}

#[test]
fn the_hostname_is_set_and_resolves() {
    let sandbox = Sandbox::new();
    let output =
        sandbox.sh(&["--hostname=h1", "--name=n1"], "hostname; cat /etc/hostname; grep -cw h1 /etc/hosts");
    assert_eq!(output.ok(), "h1\nh1\n1");
    let own = sandbox.sh(&["--name=n2"], "hostname; echo $HOSTNAME");
    let name = own.ok().lines().next().expect("a line").to_owned();
    assert!(name.len() == 12 && name.chars().all(|c| c.is_ascii_hexdigit()), "the short ID: {name}");
    assert_eq!(own.ok(), format!("{name}\n{name}"));
}

#[test]
fn a_container_has_the_name_it_is_given_and_only_one_has_it() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok(["create", "--name=mine", "bb", "true"]);
    assert_eq!(id.len(), 64, "{id}");
    assert_eq!(sandbox.inspect("mine", ".Id"), id);
    assert_eq!(sandbox.inspect(&id[..12], ".Name"), "mine");

    let again = sandbox.ketch(["create", "--name=mine", "bb", "true"]);
    assert!(again.fails(125).contains("mine"), "{}", again.stderr);
    for bad in ["a/b", "ü", "-x", "a b"] {
        let output = sandbox.ketch(["create", &format!("--name={bad}"), "bb", "true"]);
        assert!(output.fails(125).contains("[a-zA-Z0-9]"), "{bad}: {}", output.stderr);
    }
    let replaced = sandbox.ok(["create", "--replace", "--name=mine", "bb", "true"]);
    assert_ne!(replaced, id);
    assert_eq!(sandbox.inspect("mine", ".Id"), replaced);
}

#[test]
fn without_a_name_it_gets_a_speaking_one() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok(["create", "bb", "true"]);
    let name = sandbox.inspect(&id, ".Name");
    let (left, right) = name.split_once('_').expect("adjective_surname");
    assert!(
        [left, right].iter().all(|word| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase())),
        "{name}"
    );
}

#[test]
fn labels_come_from_the_image_the_options_and_files() {
    let sandbox = Sandbox::new();
    let file = sandbox.write("labels", "# comment\nfrom.file=1\na=lost\n");
    let file = format!("--label-file={}", file.display());
    sandbox.ok(["create", "--name=l", "--label", "a=b=c", "--label=bare", &file, "bb", "true"]);
    assert_eq!(sandbox.inspect("l", "index .Config.Labels \"a\""), "b=c");
    assert_eq!(sandbox.inspect("l", "index .Config.Labels \"bare\""), "");
    assert_eq!(sandbox.inspect("l", "index .Config.Labels \"from.file\""), "1");
    assert_eq!(sandbox.ok(["ps", "-a", "--filter=label=a=b=c", "--format={{.Names}}"]), "l");
    assert_eq!(sandbox.ok(["ps", "-a", "--filter=label=a=other", "--format={{.Names}}"]), "");
}

#[test]
fn files_tell_the_id_and_the_process() {
    let sandbox = Sandbox::new();
    let (cid, pid) = (sandbox.path("c.id"), sandbox.path("c.pid"));
    let options = [format!("--cidfile={}", cid.display()), format!("--pidfile={}", pid.display())];
    let id = sandbox.start("files", &[&options[0], &options[1]], "exec sleep 100");

    assert_eq!(sandbox.read("c.id"), id);
    let process = sandbox.read("c.pid");
    assert_eq!(process.trim(), sandbox.inspect("files", ".State.Pid"));
    let command = std::fs::read(format!("/proc/{}/cmdline", process.trim())).expect("the process runs");
    assert_eq!(command, b"sleep\x00100\0");

    sandbox.ok(["rm", "-f", "-t0", "files"]);
    assert!(!cid.exists(), "the ID file goes with the container");
}

#[test]
fn detached_it_prints_its_id_and_goes_on() {
    let sandbox = Sandbox::new();
    let id = sandbox.start("back", &[], "echo out; echo err >&2; exec sleep 100");
    assert!(id.len() == 64 && id.chars().all(|c| c.is_ascii_hexdigit()), "{id}");
    assert_eq!(sandbox.inspect("back", ".State.Status"), "running");
    assert!(sandbox.ok(["ps", "--format={{.Names}} {{.Status}}"]).starts_with("back Up "));
    sandbox.wait_until(&["logs", "back"], "err");
    sandbox.wait_until(&["logs", "back"], "out");
    let logs = sandbox.ketch(["logs", "back"]);
    assert_eq!((logs.stdout.as_str(), logs.stderr.as_str()), ("out\n", "err\n"));
}

#[test]
fn it_is_removed_afterwards_if_and_only_if_asked() {
    let sandbox = Sandbox::new();
    sandbox.ok(["run", "--net=none", "--name=stays", "bb", "true"]);
    sandbox.ok(["run", "--rm", "--net=none", "--name=goes", "bb", "true"]);
    sandbox.ketch(["run", "--rm", "--net=none", "--name=fails", "bb", "false"]).fails(1);
    sandbox.ketch(["run", "--rm", "--net=none", "--name=cannot", "bb", "nosuch"]).fails(127);
    assert_eq!(sandbox.names(), ["stays"]);
    sandbox.ok(["run", "-d", "--rm", "--net=none", "--name=later", "bb", "true"]);
    common::wait_for("the detached one to be removed", || {
        let names = sandbox.names();
        if names == ["stays"] { Ok(()) } else { Err(format!("{names:?}")) }
    });
    assert_eq!(
        std::fs::read_dir(sandbox.store().join("containers")).expect("list").count(),
        1,
        "no directory is left"
    );
}

#[test]
fn init_is_process_1_reaps_and_passes_signals_on() {
    let sandbox = Sandbox::new();
    // One that nobody reaps stays for ever.
    let dead = "ps -o stat,comm | grep -c '^Z'";
    let script = format!(
        "echo $$; (sleep 0.05 & ) ; sleep 0.3; n=0; until [ $({dead}) = 0 ] || [ $n = 200 ]; do n=$((n+1)); sleep 0.1; done; {dead}"
    );
    let output = sandbox.sh(&["--init"], &script);
    assert_eq!(output.stdout, "2\n0\n", "{}", output.stderr);
    assert_eq!(sandbox.sh(&["--init"], "exit 5").code, 5);
    // Without a handler process 1 would ignore the signal; as the child of an init it dies of it.
    sandbox.start("i", &["--init"], "exec sleep 100");
    // What is process 1 there lets nobody look into it, and still others can be put beside it.
    assert_eq!(sandbox.ok(["exec", "i", "echo", "beside"]).trim(), "beside");
    let stop = sandbox.ketch(["stop", "-t", "30", "i"]);
    assert_eq!(stop.ok(), "i");
    assert!(stop.took.as_secs() < 20, "{:?}", stop.took);
    assert_eq!(sandbox.inspect("i", ".State.ExitCode"), "143");
}

#[test]
fn resource_limits_are_set() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.sh(&["--ulimit=nofile=100:200"], "ulimit -n; ulimit -Hn").ok(), "100\n200");
    assert_eq!(sandbox.sh(&["--ulimit", "core=0"], "ulimit -c; ulimit -Hc").ok(), "0\n0");
    for (bad, said) in
        [("nosuch=1", "nosuch"), ("nofile", "nofile"), ("nofile=200:100", "200"), ("nofile=x", "x")]
    {
        let output = sandbox.sh(&["--ulimit", bad], "true");
        assert!(output.fails(125).contains(said), "{bad}: {}", output.stderr);
    }
}

#[test]
fn kernel_parameters_of_own_namespaces_can_be_set_and_no_others() {
    let sandbox = Sandbox::new();
    let output = sandbox.sh(
        &["--sysctl=net.ipv4.ip_forward=1", "--sysctl", "kernel.msgmax=4096"],
        "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax",
    );
    assert_eq!(output.ok(), "1\n4096");
    for bad in ["kernel.panic=1", "nosuch.x=1", "vm.swappiness=1", "kernel.core_pattern=|/x"] {
        let output = sandbox.sh(&["--sysctl", bad], "true");
        assert!(output.fails(125).contains(bad.split('=').next().unwrap_or("")), "{bad}: {}", output.stderr);
    }
    let host = sandbox.ketch(["run", "--rm", "--net=host", "--sysctl=net.ipv4.ip_forward=1", "bb", "true"]);
    assert!(host.fails(125).contains("net.ipv4.ip_forward"), "{}", host.stderr);
}

#[test]
fn the_stop_signal_and_time_are_kept() {
    let sandbox = Sandbox::new();
    sandbox.start(
        "s",
        &["--stop-signal=USR1", "--stop-timeout=50"],
        "trap 'echo usr1; exit 3' USR1; echo ready; while :; do sleep 0.05; done",
    );
    sandbox.wait_until(&["logs", "s"], "ready");
    assert_eq!(sandbox.inspect("s", ".Config.StopSignal"), "SIGUSR1");
    sandbox.ok(["stop", "s"]);
    assert_eq!(sandbox.inspect("s", ".State.ExitCode"), "3");
    assert!(sandbox.ok(["logs", "s"]).contains("usr1"));

    // What it would be without the option does not end within this test.
    sandbox.write("conf", "[engine]\nstop_timeout = 1000\n");
    let deaf = "trap '' TERM; echo ready; while :; do sleep 0.1; done";
    let args = ["run", "-d", "--name=deaf", "--net=none", "--stop-timeout=1", "bb", "sh", "-c", deaf];
    sandbox.command(args).env("CONTAINERS_CONF", sandbox.path("conf")).run().ok();
    sandbox.wait_until(&["logs", "deaf"], "ready");
    let stop = sandbox.ketch(["stop", "deaf"]);
    assert_eq!(stop.ok(), "deaf");
    assert!(stop.took.as_secs() >= 1, "{:?}", stop.took);
    assert_eq!(sandbox.inspect("deaf", ".State.ExitCode"), "137");

    let bad = sandbox.sh(&["--stop-signal=NOSUCH"], "true");
    assert!(bad.fails(125).contains("NOSUCH"), "{}", bad.stderr);
}

#[test]
fn pulling_follows_the_policy() {
    let sandbox = Sandbox::new();
    let registry = common::registry::Registry::shared();
    let image = common::bb::image().label("for", "pull policy").build();
    let name = registry.push("run/policy", "v1", &image);

    let never = sandbox.ketch(["run", "--rm", "--net=none", "--pull=never", &name, "true"]);
    assert!(never.fails(125).contains(&name), "{}", never.stderr);
    sandbox.ok(["run", "--rm", "--net=none", &name, "true"]);
    assert_eq!(
        sandbox.ok(["image", "inspect", "--format={{.Id}}", &name]),
        image.id().trim_start_matches("sha256:")
    );

    let newer = common::bb::image().label("for", "a newer one").build();
    registry.push("run/policy", "v1", &newer);
    sandbox.ok(["run", "--rm", "--net=none", "--pull=missing", &name, "true"]);
    assert_eq!(
        sandbox.ok(["image", "inspect", "--format={{.Id}}", &name]),
        image.id().trim_start_matches("sha256:")
    );
    sandbox.ok(["run", "--rm", "--net=none", "--pull=always", &name, "true"]);
    assert_eq!(
        sandbox.ok(["image", "inspect", "--format={{.Id}}", &name]),
        newer.id().trim_start_matches("sha256:")
    );

    let bad = sandbox.sh(&["--pull=bogus"], "true");
    assert!(bad.fails(125).contains("bogus"), "{}", bad.stderr);
}

#[test]
fn a_directory_can_be_the_root_file_system() {
    let sandbox = Sandbox::empty();
    let root = sandbox.path("root");
    common::bb::extract_to(&root);
    let root = root.to_str().expect("UTF-8");

    let written = sandbox.ok([
        "run",
        "--rm",
        "--net=none",
        "--rootfs",
        root,
        "sh",
        "-c",
        "id -u; echo x > /made; cat /made",
    ]);
    assert_eq!(written, "0\nx");
    assert_eq!(sandbox.read("root/made"), "x\n");

    let overlay = format!("{root}:O");
    sandbox.ok([
        "run",
        "--rm",
        "--net=none",
        "--rootfs",
        &overlay,
        "sh",
        "-c",
        "cat /made; echo y > /made; echo z > /other",
    ]);
    assert_eq!(sandbox.read("root/made"), "x\n", "an overlay keeps the directory as it was");
    assert!(!sandbox.path("root/other").exists());

    let missing = sandbox.ketch(["run", "--rm", "--net=none", "--rootfs", "/nosuch/root", "true"]);
    assert!(missing.fails(125).contains("/nosuch/root"), "{}", missing.stderr);
}

/// REL-44: Linux's strings are bytes.
#[test]
fn arguments_and_environment_are_bytes() {
    let sandbox = Sandbox::new();
    let raw = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let mut args: Vec<OsString> = ["run", "--rm", "--net=none", "-e"].iter().map(OsString::from).collect();
    args.extend([raw(b"V=\xff\xfe"), "bb".into(), "printf".into(), "%s|".into(), raw(b"arg\xff")]);
    assert_eq!(sandbox.command(&args).run().bytes, b"arg\xff|");
    args.truncate(6);
    args.extend(["sh", "-c", "printf %s \"$V\""].iter().map(OsString::from));
    assert_eq!(sandbox.command(&args).run().bytes, b"\xff\xfe");
}
