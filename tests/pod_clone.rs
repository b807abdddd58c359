//! `pod clone`, and `container clone --pod`.

mod common;

use common::Sandbox;

/// The namespace `kind` of a running container.
fn namespace(sandbox: &Sandbox, container: &str, kind: &str) -> String {
    let pid = sandbox.inspect(container, ".State.Pid");
    let link = std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("a running container");
    link.to_string_lossy().into_owned()
}

/// The name of the infra container of a pod that was not given one.
fn infra(id: &str) -> String {
    format!("{}-infra", &id[..12])
}

#[test]
fn a_clone_of_a_pod_is_like_it_and_stands_by_itself() {
    let sandbox = Sandbox::new();
    let flags = ["--network=none", "--label=a=b", "--exit-policy=stop", "-v", "shared:/s", "p"];
    sandbox.ok([&["pod", "create"], &flags[..]].concat());
    let script = "hostname > /an/name; exec sleep 1000";
    let member = ["run", "-d", "--pod=p", "--name=m", "--stop-timeout=0", "-e", "X=y", "-v", "/an"];
    sandbox.ok([&member[..], &["bb", "sh", "-c", script]].concat());
    let second = ["create", "--pod=p", "--name=n", "--volumes-from=m", "--requires=m", "--hostname=own"];
    sandbox.ok([&second[..], &["--uts=private", "bb", "sleep", "1000"]].concat());
    let id = sandbox.ok(["pod", "clone", "p"]);
    assert_eq!(sandbox.ok(["pod", "inspect", "p-clone", "-f", "{{.ID}}"]), id);
    let known = |pod: &str| {
        let format = "{{.State}} {{.ExitPolicy}} {{.Labels}} {{.NumContainers}}";
        sandbox.ok(["pod", "inspect", pod, "-f", format])
    };
    assert_eq!(known("p-clone"), "Created stop map[a:b] 3");
    let names = ["ps", "-a", "--filter=pod=p-clone", "--sort=created", "--format={{.Names}} {{.Image}}"];
    let bb = "localhost/bb:latest";
    assert_eq!(
        sandbox.ok(names).lines().skip(1).collect::<Vec<_>>(),
        [format!("m-clone {bb}"), format!("n-clone {bb}")]
    );
    assert!(sandbox.ok(names).starts_with(&infra(&id)));

    sandbox.ok(["pod", "start", "p-clone"]);
    assert_eq!(known("p"), "Degraded stop map[a:b] 3");
    for kind in ["net", "ipc", "uts"] {
        let of = |container: &str| namespace(&sandbox, container, kind);
        assert_eq!(of("m-clone"), of(&infra(&id)), "{kind}");
        assert_ne!(of("m-clone"), of("m"), "{kind}");
        assert_eq!(of("n-clone") == of("m-clone"), kind != "uts", "{kind}");
    }
    // The host name is the pod's, and what others have of it; anonymous volumes are new, and shared as they were.
    assert_eq!(
        sandbox.ok(["exec", "m-clone", "sh", "-c", "hostname; echo $HOSTNAME $X"]),
        "p-clone\np-clone y"
    );
    assert_eq!(sandbox.ok(["exec", "n-clone", "sh", "-c", "hostname; cat /an/name"]), "own\np-clone");
    assert_eq!(sandbox.ok(["exec", "m", "cat", "/an/name"]), "p");
    sandbox.ok(["exec", "m", "touch", "/s/here"]);
    assert_eq!(sandbox.ok(["exec", "n-clone", "ls", "/s"]), "here");
    sandbox.ok(["pod", "rm", "-f", "-t0", "p-clone"]);
    assert_eq!(known("p"), "Degraded stop map[a:b] 3");
    assert_eq!(sandbox.ok(["exec", "m", "cat", "/an/name"]), "p");

    let id = sandbox.ok(["pod", "clone", "--destroy", "--start", "--name=other", "p", "q"]);
    assert_eq!(known("q"), "Running stop map[a:b] 3");
    assert_eq!(sandbox.ok(["pod", "ps", "--no-trunc", "--format={{.ID}}"]), id);
    sandbox.ok(["pod", "rm", "-f", "-t0", "q"]);
    assert_eq!(sandbox.ok(["volume", "ls", "-q"]), "shared");
}

#[test]
fn a_clone_of_a_pod_may_differ() {
    let sandbox = Sandbox::new();
    sandbox.ok(["pod", "create", "--network=none", "--label=a=b", "--infra-name=holds", "p"]);
    sandbox.ok(["create", "--pod=p", "--name=m", "--stop-timeout=0", "bb", "sleep", "1000"]);
    let bind = format!("{}:/given:ro", sandbox.path("").display());
    let id = sandbox.ok([
        "pod",
        "clone",
        "--start",
        "--label=c=d",
        "--hostname=h",
        "--restart=always",
        "--infra-name=keeps",
        "--sysctl=kernel.msgmax=4097",
        "--device=/dev/null:/dev/nothing",
        "--security-opt=no-new-privileges",
        "--shm-size=1m",
        "--pid=private",
        "--userns=keep-id",
        "-v",
        &bind,
        "-v=fresh:/fresh",
        "p",
        "q",
    ]);
    let shown =
        ["pod", "inspect", "q", "-f", "{{.Labels}} {{.RestartPolicy}} {{.Hostname}} {{.SecurityOpts}}"];
    assert_eq!(sandbox.ok(shown), "map[a:b c:d] always h [no-new-privileges]");
    assert_eq!(sandbox.inspect("keeps", ".Pod"), id);
    let script = "hostname; cat /proc/sys/kernel/msgmax; ls /dev/nothing; grep NoNewPrivs /proc/self/status; \
        grep -c ' /given [a-z0-9]* ro' /proc/mounts; grep -c ' /fresh ' /proc/mounts; df -k /dev/shm | tail -1; id -u";
    let said = sandbox.ok(["exec", "m-clone", "sh", "-c", script]);
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[..6], ["h", "4097", "/dev/nothing", "NoNewPrivs:\t1", "1", "1"], "{said}");
    assert!(lines[6].contains(" 1024 "), "{said}");
    assert_ne!(lines[7], "0", "{said}");
    assert_eq!(sandbox.inspect("m-clone", ".HostConfig.RestartPolicy.Name"), "always");
    assert_eq!(sandbox.inspect("m", ".HostConfig.RestartPolicy.Name"), "no");
    sandbox.ok(["pod", "rm", "-f", "-t0", "q"]);

    for (args, want) in [
        (&["nosuch"][..], "no pod with name or ID nosuch found: no such pod"),
        (&["p", "p"], "name \"p\" is in use: pod already exists"),
        (&["--infra-command=/x", "p"], "--infra-command needs an image"),
        (&["--infra-name=holds", "p", "z"], "holds"),
    ] {
        let refused = sandbox.ketch([&["pod", "clone"], args].concat());
        assert!(refused.fails(125).contains(want), "{args:?}: {}", refused.stderr);
        assert_eq!(sandbox.ok(["pod", "ps", "--format={{.Name}}"]), "p", "nothing is left: {args:?}");
        assert_eq!(sandbox.names().len(), 2, "{args:?}");
    }
    // One whose containers share nothing.
    sandbox.ok(["pod", "create", "--infra=false", "--name=bare"]);
    sandbox.ok(["create", "--pod=bare", "--network=none", "--name=b", "bb", "sleep", "1000"]);
    sandbox.ok(["pod", "clone", "bare"]);
    assert_eq!(sandbox.ok(["pod", "inspect", "bare-clone", "-f", "{{.NumContainers}}"]), "1");
}

#[test]
fn the_clone_of_a_container_may_join_a_pod() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok(["pod", "create", "--network=none", "--restart=always", "-v=of-pod:/v", "p"]);
    sandbox.start("lone", &["-e", "X=y", "-p", "127.0.0.1::80", "--add-host=a:1.2.3.4"], "exec sleep 1000");
    let clone = sandbox.ok(["container", "clone", "--pod=p", "--run", "lone", "joined"]);
    assert_eq!(sandbox.inspect("joined", ".Pod"), id);
    for kind in ["net", "ipc", "uts"] {
        assert_eq!(namespace(&sandbox, &clone, kind), namespace(&sandbox, &infra(&id), kind), "{kind}");
    }
    assert_eq!(
        sandbox.ok(["exec", "joined", "sh", "-c", "hostname; echo $HOSTNAME $X; ls -d /v"]),
        "p\np y\n/v"
    );
    assert_eq!(sandbox.inspect("joined", ".HostConfig.RestartPolicy.Name"), "always");
    assert_eq!(sandbox.ok(["port", "joined"]), "");
    let refused = sandbox.ketch(["container", "clone", "--pod=nosuch", "lone"]);
    assert!(refused.fails(125).contains("no pod with name or ID nosuch found"), "{}", refused.stderr);
    // From one pod into another.
    let other = sandbox.ok(["pod", "create", "--network=none", "q"]);
    sandbox.ok(["container", "clone", "--pod=q", "--run", "joined", "moved"]);
    assert_eq!(namespace(&sandbox, "moved", "net"), namespace(&sandbox, &infra(&other), "net"));
    assert_eq!(sandbox.ok(["exec", "moved", "hostname"]), "q");
    sandbox.ok(["pod", "rm", "-f", "-t0", "p"]);
    assert_eq!(sandbox.inspect("moved", ".State.Status"), "running");
    sandbox.ok(["pod", "rm", "-f", "-t0", "q"]);
    sandbox.ok(["rm", "-f", "-t0", "lone"]);
}
