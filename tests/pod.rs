//! Pods: containers that share namespaces. What `pod` shows and does; what `--pod` means.

mod common;

use common::{Sandbox, json};

/// The namespace `kind` of a running container.
fn namespace(sandbox: &Sandbox, container: &str, kind: &str) -> String {
    let pid = sandbox.inspect(container, ".State.Pid");
    let link = std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("a running container");
    link.to_string_lossy().into_owned()
}

/// Puts a container that sleeps into a pod, and starts it.
fn member(sandbox: &Sandbox, pod: &str, name: &str) -> String {
    sandbox.ok(["run", "-d", "--name", name, "--stop-timeout=1", "--pod", pod, "bb", "sleep", "1000"])
}

fn pod_state(sandbox: &Sandbox, pod: &str) -> String {
    sandbox.ok(["pod", "inspect", pod, "--format", "{{.State}}"])
}

/// The name of the infra container of a pod that was not given one.
fn infra(id: &str) -> String {
    format!("{}-infra", &id[..12])
}

#[test]
fn the_containers_of_a_pod_share_what_it_says() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok(["pod", "create", "--network=none", "p"]);
    assert_eq!(id.len(), 64);
    assert_eq!(pod_state(&sandbox, "p"), "Created");
    let infra = infra(&id);
    assert_eq!(sandbox.names(), [infra.as_str()]);

    // A member starts the infra container first.
    member(&sandbox, "p", "a");
    member(&sandbox, "p", "b");
    assert_eq!(pod_state(&sandbox, "p"), "Running");
    for kind in ["net", "ipc", "uts", "user"] {
        assert_eq!(namespace(&sandbox, "a", kind), namespace(&sandbox, &infra, kind), "{kind}");
        assert_eq!(namespace(&sandbox, "a", kind), namespace(&sandbox, "b", kind), "{kind}");
    }
    for kind in ["pid", "mnt"] {
        assert_ne!(namespace(&sandbox, "a", kind), namespace(&sandbox, &infra, kind), "{kind}");
    }
    assert_eq!(
        sandbox.ok(["exec", "a", "sh", "-c", "hostname; cat /etc/hostname; echo $HOSTNAME"]),
        "p\np\np"
    );
    // They know each other's names, the earlier the later one's as well.
    for (one, other) in [("a", "b"), ("b", "a")] {
        sandbox.ok(["exec", one, "grep", "-w", other, "/etc/hosts"]);
    }
    sandbox.ok(["exec", "-d", "a", "nc", "-l", "-p", "700", "-e", "echo", "heard"]);
    sandbox.wait_until(&["exec", "b", "nc", "127.0.0.1", "700"], "heard");
    sandbox.ok(["exec", "a", "sh", "-c", "echo said > /dev/shm/x"]);
    assert_eq!(sandbox.ok(["exec", "b", "cat", "/dev/shm/x"]), "said");

    // Its process 1 is ketch itself, without rights and without files that it could write.
    let pid = sandbox.inspect(&infra, ".State.Pid");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        assert!(status.contains(&format!("{set}:\t0000000000000000")), "{status}");
    }
    assert!(sandbox.ketch(["exec", &infra, "true"]).code == 127, "there is nothing in it");
}

#[test]
fn pods_share_a_pid_namespace_on_request_and_nothing_without_an_infra_container() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok(["pod", "create", "--network=none", "--share=+pid", "p"]);
    member(&sandbox, "p", "a");
    assert_eq!(namespace(&sandbox, "a", "pid"), namespace(&sandbox, &infra(&id), "pid"));
    assert_ne!(sandbox.ok(["exec", "a", "pidof", "sleep"]), "1");
    // What loses its parent is reaped by the infra container.
    let script = "sh -c 'sleep 0.1 & echo $!; exit'";
    let orphan = sandbox.ok(["exec", "a", "sh", "-c", script]);
    common::wait_for("its end", || {
        match sandbox.ketch(["exec", "a", "test", "-e", &format!("/proc/{orphan}")]).code {
            1 => Ok(()),
            code => Err(code.to_string()),
        }
    });

    for none in ["--infra=false", "--share=none"] {
        sandbox.ok(["pod", "create", none, "--replace", "--name=bare"]);
        let shown = sandbox.ok(["pod", "inspect", "bare", "-f", "{{.CreateInfra}} {{.NumContainers}}"]);
        assert_eq!(shown, "false 0");
    }
    sandbox.ok(["run", "-d", "--name=x", "--network=none", "--pod=bare", "bb", "sleep", "1000"]);
    sandbox.ok(["run", "-d", "--name=y", "--network=none", "--pod=bare", "bb", "sleep", "1000"]);
    assert_ne!(namespace(&sandbox, "x", "ipc"), namespace(&sandbox, "y", "ipc"));
    for (flags, said) in [
        (&["-p", "80:80"][..], "you must have an infra container to publish port bindings"),
        (&["--share=net"], "cannot set share(net) namespaces without an infra container"),
        (&["--infra-name=x"], "mutually exclusive pod options"),
        (&["--network=none"], "NoInfra and network modes cannot be used together"),
        (&["-v", "/tmp:/x"], "without an infra container"),
        (&["--dns=1.2.3.4"], "without an infra container"),
    ] {
        let args = ["pod", "create", "--infra=false"].iter().chain(flags);
        assert!(sandbox.ketch(args).fails(125).contains(said), "{flags:?}");
    }
}

#[test]
fn members_may_not_ask_for_what_the_pod_decides() {
    let sandbox = Sandbox::new();
    sandbox.ok(["pod", "create", "--network=none", "p"]);
    for (flag, said) in [
        ("-p=80:80", "published or exposed ports must be defined when the pod is created"),
        ("--hostname=x", "cannot set hostname when joining the pod UTS namespace"),
        ("--ip=10.88.0.9", "networks must be defined when the pod is created"),
        ("--mac-address=92:d0:c6:0a:29:33", "networks must be defined when the pod is created"),
        ("--network-alias=x", "networks must be defined when the pod is created"),
        ("--add-host=a:1.2.3.4", "extra host entries must be specified on the pod"),
        ("--userns=keep-id", "--userns and --pod cannot be set together"),
        ("--pod-id-file=/nowhere", "cannot specify both --pod and --pod-id-file"),
    ] {
        let refused = sandbox.ketch(["run", "--rm", "--pod=p", flag, "bb", "true"]);
        assert!(refused.fails(125).contains(said), "{flag}: {}", refused.stderr);
    }
    let missing = sandbox.ketch(["run", "--pod=nothing", "bb", "true"]);
    assert!(missing.fails(125).contains("no pod with name or ID nothing found: no such pod"));
    // What they say of a namespace themselves counts.
    let own = sandbox.ok(["run", "--rm", "--pod=p", "--uts=private", "--hostname=mine", "bb", "hostname"]);
    assert_eq!(own, "mine");
    // And so does a network of its own.
    let own = "run --rm --pod=p --network=private --expose=80 --add-host=a:1.2.3.4 bb cat /etc/hosts";
    assert!(sandbox.ok(own.split(' ')).contains("1.2.3.4\ta"));
}

#[test]
fn a_pod_may_be_made_for_its_first_container() {
    let sandbox = Sandbox::new();
    sandbox.ok([
        "run",
        "-d",
        "--name=a",
        "--pod=new:p",
        "--network=none",
        "--hostname=h",
        "--stop-timeout=1",
        "bb",
        "sleep",
        "1000",
    ]);
    assert_eq!(sandbox.ok(["exec", "a", "hostname"]), "h");
    assert_eq!(sandbox.ok(["pod", "inspect", "p", "-f", "{{.NumContainers}} {{.Hostname}}"]), "2 h");
    assert!(sandbox.ketch(["run", "--pod=new:", "bb", "true"]).fails(125).contains("at least one character"));
    assert!(sandbox.ketch(["run", "--pod=new:p", "bb", "true"]).fails(125).contains("pod already exists"));
    // One whose container cannot be made is not left behind.
    let refused =
        sandbox.ketch(["create", "--pod=new:q", "--network=none", "--user=x", "-v", "/nowhere:/x", "bb"]);
    refused.fails(125);
    assert_eq!(sandbox.ketch(["pod", "exists", "q"]).code, 1);

    let file = sandbox.path("id");
    let option = format!("--pod-id-file={}", file.display());
    let id = sandbox.ok(["pod", "create", "--network=none", &option, "byfile"]);
    assert_eq!(sandbox.read("id"), id);
    let made = sandbox.ok(["create", &option, "bb", "true"]);
    assert_eq!(sandbox.inspect(&made, ".Pod"), id);
    assert_eq!(sandbox.ok(["pod", "rm", &option]), id);
    assert!(!file.exists(), "it names nothing any more");
}

#[test]
fn listings_show_pods_and_their_containers() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok(["pod", "create", "--network=none", "--label=k=v", "--infra-name=holder", "p"]);
    let other = sandbox.ok(["pod", "create", "--infra=false", "--name=empty"]);
    let a = member(&sandbox, "p", "a");
    let table = sandbox.ok(["pod", "ps"]);
    let lines: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
        .collect();
    assert_eq!(lines[0], ["POD ID", "NAME", "STATUS", "CREATED", "INFRA ID", "# OF CONTAINERS"]);
    assert_eq!((lines[1][1], lines[2][1]), ("empty", "p"), "the newest first");
    assert_eq!((lines[2][0], lines[2][2], lines[2][5]), (&id[..12], "Running", "2"));
    let listed = json(&sandbox.ok(["pod", "ps", "--format=json", "--filter=name=^p$"]));
    assert_eq!(listed[0]["Containers"][1]["Id"], a.as_str());
    assert_eq!((&listed[0]["Status"], &listed[0]["Labels"]["k"]), (&"Running".into(), &"v".into()));
    let format = "{{.Name}} {{.NumberOfContainers}} {{.ContainerNames}} {{.ContainerStatuses}} {{.Label \"k\"}} {{.Restarts}}";
    assert_eq!(
        sandbox.ok(["pod", "ls", "--filter=label=k", "--format", format]),
        "p 2 holder,a running,running v 0"
    );
    let columns =
        sandbox.ok(["pod", "ps", "--ctr-names", "--ctr-ids", "--ctr-status", "-n", "-f", "name=p$"]);
    assert!(columns.contains("holder,a    running,running"), "{columns}");
    for (filter, want) in [
        ("status=running", &id),
        ("status=created", &other),
        ("ctr-names=holder", &id),
        ("ctr-number=0", &other),
        ("ctr-status=running", &id),
        (&format!("ctr-ids={}", &a[..9]), &id),
        (&format!("id={}", &id[..9]), &id),
    ] {
        assert_eq!(sandbox.ok(["pod", "ps", "-q", "--filter", filter]), *want, "{filter}");
    }
    for (args, said) in [
        (&["--filter=status=what"][..], "what is not a valid pod status"),
        (&["--filter=foo=bar"], "foo is an invalid filter"),
        (&["--sort=what"], "invalid option for --sort, options are: created, id, name, number, or status"),
        (&["-q", "--format={{.Name}}"], "quiet and format cannot be used together"),
    ] {
        let args = ["pod", "ps"].iter().chain(args);
        assert!(sandbox.ketch(args).fails(125).contains(said), "{said}");
    }
    assert_eq!(sandbox.ok(["pod", "ps", "--sort=name", "--format={{.Name}}"]), "empty\np");
    assert_eq!(sandbox.ok(["pod", "ps", "--latest", "--format={{.Name}}"]), "empty");

    // Containers tell of their pod, and the infra container is one of them.
    let row = "{{.Names}} {{.Pod}} {{.PodName}} {{.IsInfra}}";
    let short = &id[..12];
    assert_eq!(
        sandbox.ok(["ps", "-a", "--sort=names", "--filter=pod=p", "--format", row]),
        format!("a {short} p false\nholder {short} p true")
    );
    assert!(sandbox.ok(["ps", "--pod"]).lines().all(|line| line.contains("PODNAME") || line.ends_with(" p")));
    assert_eq!(sandbox.ok(["ps", "-aq", "--filter=pod=nothing"]), "");
    assert_eq!(sandbox.inspect("a", ".Pod"), id);
    assert_eq!(sandbox.inspect("holder", ".IsInfra"), "true");
}

#[test]
fn inspect_tells_everything() {
    let sandbox = Sandbox::new();
    let port = common::free_port();
    sandbox.ok(["network", "create", "n"]);
    let id = sandbox.ok([
        "pod",
        "create",
        "--name=p",
        "--network=n",
        "-p",
        &format!("127.0.0.1:{port}:80"),
        "--dns=1.1.1.1",
        "--add-host=x:1.2.3.4",
        "--restart=on-failure",
        "--exit-policy=stop",
        "-l",
        "a=b",
        "--volume=/tmp:/t",
    ]);
    let shown = json(&sandbox.ok(["pod", "inspect", "p"]));
    let pod = &shown[0];
    assert_eq!(pod["Id"], id.as_str());
    assert_eq!((&pod["ExitPolicy"], &pod["State"]), (&"stop".into(), &"Created".into()));
    assert_eq!(pod["SharedNamespaces"], serde_json::json!(["ipc", "net", "uts"]));
    assert_eq!(pod["RestartPolicy"], "on-failure");
    assert_eq!(pod["InfraConfig"]["PortBindings"]["80/tcp"][0]["HostPort"], port.to_string());
    assert_eq!(pod["InfraConfig"]["Networks"], serde_json::json!(["n"]));
    assert_eq!(pod["InfraConfig"]["DNSServer"], serde_json::json!(["1.1.1.1"]));
    assert_eq!(pod["InfraConfig"]["HostAdd"], serde_json::json!(["x:1.2.3.4"]));
    assert_eq!(pod["mounts"][0]["Destination"], "/t");
    assert_eq!(pod["Containers"][0]["Name"], infra(&id));
    assert!(pod["CreateCommand"].as_array().is_some_and(|words| words.len() > 5));
    let fields =
        "{{.ID}} {{.Name}} {{.Labels}} {{.InfraConfig.HostNetwork}} {{.MemoryLimit}} {{.CgroupParent}}";
    assert_eq!(sandbox.ok(["pod", "inspect", &id[..10], "-f", fields]), format!("{id} p map[a:b] false 0 "));
    assert_eq!(sandbox.ok(["inspect", "--type=pod", "p", "-f", "{{.Name}}"]), "p");
    assert_eq!(sandbox.ok(["inspect", "p", "-f", "{{.State}}"]), "Created");
    assert_eq!(sandbox.ok(["pod", "inspect", "--latest", "-f", "{{.Name}}"]), "p");
    let missing = sandbox.ketch(["pod", "inspect", "nothing"]);
    assert!(missing.fails(125).contains("no such pod nothing"));
    assert_eq!(missing.stdout.trim(), "[]");
}

#[test]
fn pods_are_started_stopped_signalled_and_removed_as_one() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok(["pod", "create", "--network=none", "p"]);
    sandbox.ok(["create", "--name=a", "--pod=p", "--stop-timeout=1", "bb", "sleep", "1000"]);
    sandbox.ok(["create", "--name=b", "--pod=p", "--stop-timeout=1", "bb", "sleep", "1000"]);
    assert_eq!(sandbox.ok(["pod", "start", "p"]), "p");
    assert_eq!(pod_state(&sandbox, "p"), "Running");
    assert_eq!(sandbox.ok(["pod", "start", "p"]), "p", "what runs is as it should be");
    sandbox.ok(["stop", "-t0", "a"]);
    assert_eq!(pod_state(&sandbox, "p"), "Degraded");
    let refused = sandbox.ketch(["pod", "rm", "p"]);
    let said = refused.fails(125);
    assert!(said.contains(&format!("not all containers could be removed from pod {id}")), "{said}");
    assert!(said.contains("as it is running"), "{said}");
    assert_eq!(sandbox.ok(["pod", "stop", "-t0", "p"]), "p");
    assert_eq!(
        (sandbox.names().len(), pod_state(&sandbox, "p").as_str()),
        (3, "Exited"),
        "nothing was removed"
    );
    sandbox.ok(["pod", "start", "--all"]);
    assert_eq!(sandbox.ok(["pod", "kill", "p"]), id);
    assert_eq!(pod_state(&sandbox, "p"), "Exited");
    assert_eq!(sandbox.ok(["pod", "kill", "p"]), id, "there is nothing to signal");

    for (verb, code) in [("start", 125), ("stop", 125), ("kill", 125), ("rm", 1)] {
        let missing = sandbox.ketch(["pod", verb, "nothing"]);
        assert!(missing.fails(code).contains("no pod with name or ID nothing found: no such pod"), "{verb}");
        assert!(sandbox.ketch(["pod", verb]).fails(125).contains("you must provide at least one name or id"));
    }
    assert_eq!(sandbox.ok(["pod", "rm", "-i", "nothing"]), "");
    assert_eq!(sandbox.ok(["pod", "stop", "-i", "nothing"]), "");
    assert_eq!(sandbox.ok(["pod", "rm", "p"]), id);
    assert!(sandbox.names().is_empty());
    assert_eq!(sandbox.ketch(["pod", "exists", "p"]).code, 1);

    sandbox.ok(["pod", "create", "--network=none", "p"]);
    let a = member(&sandbox, "p", "a");
    let replaced = sandbox.ok(["pod", "create", "--network=none", "--replace", "--name=p"]);
    assert_eq!(sandbox.ketch(["container", "exists", &a]).code, 1);
    assert!(
        sandbox.ketch(["pod", "create", "p"]).fails(125).contains("name \"p\" is in use: pod already exists")
    );
    assert!(sandbox.ketch(["pod", "create", "a/b"]).fails(125).contains("names must match"));
    assert!(sandbox.ketch(["pod", "create", "--replace"]).fails(125).contains("without --name"));
    assert_eq!(sandbox.ok(["pod", "rm", "--force", "--all"]), replaced);
    let happened = sandbox.ok([
        "events",
        "--until=0s",
        "--since=1h",
        "--filter=type=pod",
        "--filter=pod=p",
        "--format={{.Status}}",
    ]);
    assert!(happened.starts_with("create\nstart\nstart\nstop\nstart\nkill\n"), "{happened}");
    assert_eq!(happened.matches("remove").count(), 3, "{happened}");
}

#[test]
fn infra_containers_go_with_their_pods_only() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok(["pod", "create", "--network=none", "p"]);
    let infra = infra(&id);
    let a = member(&sandbox, "p", "a");
    for flags in [&["rm"][..], &["rm", "-f"]] {
        let refused = sandbox.ketch(flags.iter().copied().chain([infra.as_str()]));
        let said = refused.fails(125);
        assert!(
            said.contains(&format!("is the infra container of pod {id} and cannot be removed")),
            "{said}"
        );
    }
    // A member goes as any other container, and prune leaves those of pods alone.
    sandbox.ok(["rm", "-f", "-t0", "a"]);
    sandbox.ok(["stop", "-t0", &infra]);
    assert_eq!(sandbox.ok(["container", "prune", "-f"]), "");
    assert_eq!(sandbox.names(), [infra.as_str()]);
    sandbox.ok(["rename", &infra, "holder"]);
    assert_ne!(member(&sandbox, "p", "a"), a);
    sandbox.ok(["rm", "-f", "-a", "-t0"]);
    assert_eq!(sandbox.ok(["pod", "ps", "-q"]), "");

    sandbox.ok(["network", "create", "n"]);
    sandbox.ok(["pod", "create", "--network=n", "q"]);
    member(&sandbox, "q", "b");
    assert!(sandbox.ketch(["network", "disconnect", "n", "b"]).code != 0);
    assert!(sandbox.ketch(["network", "rm", "n"]).code == 2);
    sandbox.ok(["network", "rm", "-f", "-t0", "n"]);
    assert!(sandbox.names().is_empty(), "with the network goes the pod");
    assert_eq!(sandbox.ok(["pod", "ps", "-q"]), "");

    for command in ["sleep 1000", r#"["sh", "-c", "exec sleep 1000"]"#] {
        let made =
            ["pod", "create", "--network=none", "--replace", "--infra-image=bb", "--infra-command", command];
        sandbox.ok([&made[..], &["--infra-name=own", "i"]].concat());
        sandbox.ok(["pod", "start", "i"]);
        assert!(sandbox.ok(["top", "own", "args"]).contains("sleep 1000"), "{command}");
        sandbox.ok(["kill", "own"]);
    }

    sandbox.ok(["pod", "create", "--network=none", "r"]);
    member(&sandbox, "r", "c");
    sandbox.ok(["pod", "create", "--infra=false", "--name=bare"]);
    sandbox.ok(["system", "reset", "-f"]);
    assert_eq!(sandbox.ok(["pod", "ps", "-q"]), "");
}

#[test]
fn a_pod_ends_with_its_last_container_if_it_is_to() {
    let sandbox = Sandbox::new();
    sandbox.ok(["pod", "create", "--network=none", "--exit-policy=stop", "p"]);
    sandbox.ok(["create", "--name=short", "--pod=p", "bb", "true"]);
    sandbox.ok(["create", "--name=long", "--pod=p", "--stop-timeout=1", "bb", "sleep", "1000"]);
    // What has yet to be started needs the infra container, too.
    sandbox.ok(["start", "short"]);
    sandbox.ok(["wait", "short"]);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(pod_state(&sandbox, "p"), "Degraded", "one is to come");
    sandbox.ok(["pod", "start", "p"]);
    sandbox.ok(["wait", "short"]);
    assert_eq!(pod_state(&sandbox, "p"), "Degraded", "one still runs");
    sandbox.ok(["stop", "-t0", "long"]);
    sandbox.wait_until(&["pod", "inspect", "p", "-f", "{{.State}}"], "Exited");
    sandbox.ok(["pod", "create", "--network=none", "q"]);
    sandbox.ok(["run", "--rm", "--pod=q", "bb", "true"]);
    assert_eq!(pod_state(&sandbox, "q"), "Running", "it goes on by itself");
    let refused = sandbox.ketch(["pod", "create", "--exit-policy=what"]);
    assert!(refused.fails(125).contains("invalid pod exit policy: \"what\""));
}

#[test]
fn init_containers_run_before_the_others() {
    let sandbox = Sandbox::new();
    let shared = sandbox.path("shared");
    std::fs::create_dir(&shared).expect("make a directory");
    let volume = format!("{}:/s", shared.display());
    let id = sandbox.ok(["pod", "create", "--network=none", "--exit-policy=stop", "-v", &volume, "p"]);
    let infra_started = || sandbox.inspect(&infra(&id), ".State.StartedAt");
    let say = |word: &str| format!("sleep 0.2; echo {word} >> /s/log");
    sandbox.ok([
        "create",
        "--name=main",
        "--pod=p",
        "--stop-timeout=1",
        "bb",
        "sh",
        "-c",
        &format!("{}; sleep 1000", say("main")),
    ]);
    sandbox.ok(["create", "--name=once", "--pod=p", "--init-ctr=once", "bb", "sh", "-c", &say("once")]);
    sandbox.ok(["create", "--name=always", "--pod=p", "--init-ctr=always", "bb", "sh", "-c", &say("always")]);
    let log = || sandbox.wait_until(&["exec", "main", "sh", "-c", "tail -n 1 /s/log"], "main");
    sandbox.ok(["pod", "start", "p"]);
    log();
    assert_eq!(sandbox.read("shared/log"), "once\nalways\nmain\n");
    assert_eq!(sandbox.ketch(["container", "exists", "once"]).code, 1);
    sandbox.ok(["pod", "stop", "-t0", "p"]);
    sandbox.ok(["start", &infra(&id)]);
    let before = infra_started();
    sandbox.ok(["pod", "start", "p"]);
    sandbox.wait_until(&["exec", "main", "sh", "-c", "tail -n 2 /s/log"], "always\nmain");
    assert_eq!(infra_started(), before, "it does not end with an init container");

    sandbox.ok(["pod", "create", "--network=none", "q"]);
    sandbox.ok(["create", "--name=fails", "--pod=q", "--init-ctr=always", "bb", "false"]);
    sandbox.ok(["create", "--name=never", "--pod=q", "bb", "true"]);
    assert!(
        sandbox
            .ketch(["pod", "start", "q"])
            .fails(125)
            .contains("init container fails of the pod has failed")
    );
    assert_eq!(sandbox.inspect("never", ".State.Status"), "created");
    for (flag, said) in [("--init-ctr=what", "'always' or 'once'"), ("--init-ctr=once", "must specify pod")] {
        assert!(sandbox.ketch(["create", flag, "bb"]).fails(125).contains(said), "{flag}");
    }
}

#[test]
fn a_pod_may_have_ids_of_its_own() {
    let sandbox = Sandbox::new();
    let made = sandbox.ketch(["pod", "create", "--network=none", "--userns=auto", "p"]);
    if made.code != 0 {
        assert!(!made.stderr.contains("image not known"), "{}", made.stderr);
        common::skip_anywhere("no IDs to share out");
        return;
    }
    let own = sandbox.ok(["run", "--rm", "--pod=p", "bb", "cat", "/proc/self/uid_map"]);
    assert_eq!(own.split_whitespace().skip(2).collect::<Vec<_>>(), ["1024"], "{own}");
}

#[test]
fn members_have_the_pods_volumes_options_and_restart_policy() {
    let sandbox = Sandbox::new();
    sandbox.ok([
        "pod",
        "create",
        "--network=none",
        "-v",
        "data:/d",
        "-v",
        "other:/o",
        "--restart=on-failure",
        "--shm-size=1m",
        "--security-opt=no-new-privileges",
        "--sysctl=kernel.shmmni=77",
        "--device=/dev/null:/dev/nothing",
        "p",
    ]);
    let script = "echo x > /d/x; cat /proc/sys/kernel/shmmni; grep NoNewPrivs /proc/self/status; ls /dev/nothing; df -k /dev/shm | tail -n 1 | awk '{print $2}'";
    let seen = sandbox.ok(["run", "--rm", "--pod=p", "-v", "mine:/o", "bb", "sh", "-c", script]);
    assert_eq!(seen, "77\nNoNewPrivs:\t1\n/dev/nothing\n1024");
    sandbox.ok(["create", "--name=c", "--pod=p", "-v", "mine:/o", "bb", "true"]);
    assert_eq!(sandbox.inspect("c", ".HostConfig.RestartPolicy.Name"), "on-failure");
    let mounts =
        sandbox.ok(["inspect", "c", "--format", "{{range .Mounts}}{{.Name}}={{.Destination}} {{end}}"]);
    let mut mounts: Vec<_> = mounts.split_whitespace().collect();
    mounts.sort_unstable();
    assert_eq!(mounts, ["data=/d", "mine=/o"], "its own wins");
    sandbox.ok(["create", "--name=own", "--pod=p", "--restart=no", "bb", "true"]);
    assert_eq!(sandbox.inspect("own", ".HostConfig.RestartPolicy.Name"), "no");
}

#[test]
fn a_pod_with_keep_id_makes_its_callers_of_all() {
    let sandbox = Sandbox::new();
    sandbox.ok(["pod", "create", "--network=none", "--userns=keep-id", "p"]);
    let uid = rustix::process::getuid().as_raw();
    assert_eq!(sandbox.ok(["run", "--rm", "--pod=p", "bb", "id", "-u"]), uid.to_string());
    let words = sandbox.ok(["pod", "inspect", "p", "-f", "{{.SharedNamespaces}} {{.InfraConfig.UserNS}}"]);
    assert_eq!(words, "[ipc net uts user] private");
    sandbox.ok(["pod", "create", "--network=none", "--userns=keep-id", "--share=uts", "q"]);
    assert_eq!(sandbox.ok(["run", "--rm", "--network=none", "--pod=q", "bb", "id", "-u"]), uid.to_string());
}

#[test]
fn the_network_of_a_pod_is_that_of_its_containers() {
    let sandbox = Sandbox::new();
    let port = common::free_port();
    sandbox.ok(["network", "create", "n"]);
    sandbox.ok(["pod", "create", "--network=n", "-p", &format!("127.0.0.1:{port}:80"), "web"]);
    sandbox.ok([
        "run",
        "-d",
        "--name=server",
        "--pod=web",
        "--stop-timeout=1",
        "bb",
        "sh",
        "-c",
        "while true; do echo 'HTTP/1.0 200 OK\n\nfrom the pod' | nc -l -p 80; done",
    ]);
    let answer = common::wait_for("the server", || {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).map_err(|err| err.to_string())?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").map_err(|err| err.to_string())?;
        let mut text = String::new();
        stream.read_to_string(&mut text).map_err(|err| err.to_string())?;
        if text.contains("from the pod") { Ok(text) } else { Err(text) }
    });
    assert!(answer.starts_with("HTTP/1.0 200 OK"));
    let published = format!("127.0.0.1:{port}->80/tcp");
    assert_eq!(sandbox.ok(["ps", "--filter=name=server", "--format={{.Ports}}"]), published);
    assert_eq!(sandbox.ok(["port", "server"]), format!("80/tcp -> 127.0.0.1:{port}"));
    let address = sandbox.inspect("server", ".NetworkSettings.Networks.n.IPAddress");
    assert!(!address.is_empty());
    // Others on the network know it by its name; those within it by theirs.
    let known = sandbox.ok(["run", "--rm", "--network=n", "bb", "nslookup", "web"]);
    assert!(known.contains(&address), "{known}");
    let hosts = sandbox.ok(["exec", "server", "cat", "/etc/hosts"]);
    assert!(hosts.contains(&format!("{address}\tweb")) && hosts.contains("\tserver"), "{hosts}");
    assert_eq!(sandbox.ok(["pod", "ps", "--format={{.Networks}}", "--filter=network=n"]), "n");
}

#[test]
fn a_pod_outlives_the_monitor_of_its_infra_container() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok(["pod", "create", "--network=none", "p"]);
    member(&sandbox, "p", "a");
    let infra = infra(&id);
    let monitor = sandbox.inspect(&infra, ".State.ConmonPid");
    assert!(std::process::Command::new("kill").args(["-9", &monitor]).status().expect("run kill").success());
    common::wait_for("the monitor's end", || {
        if std::path::Path::new("/proc").join(&monitor).exists() { Err(monitor.clone()) } else { Ok(()) }
    });
    member(&sandbox, "p", "b");
    assert_eq!(namespace(&sandbox, "a", "net"), namespace(&sandbox, "b", "net"));
    sandbox.ok(["pod", "stop", "-t0", "p"]);
    assert_eq!(pod_state(&sandbox, "p"), "Exited");
    // A member alone starts the infra container, after an end as before the first start.
    sandbox.ok(["start", "b"]);
    assert_eq!(pod_state(&sandbox, "p"), "Degraded");
    sandbox.ok(["restart", "-t0", "b"]);
    sandbox.ok(["exec", "b", "true"]);
}

#[test]
fn limits_of_a_pod_hold_or_say_how_they_could() {
    let sandbox = Sandbox::new();
    sandbox.ok(["pod", "create", "--network=none", "--memory=64m", "--cpus=0.5", "p"]);
    let shown = sandbox.ok([
        "pod",
        "inspect",
        "p",
        "-f",
        "{{.MemoryLimit}} {{.MemorySwap}} {{.CPUQuota}} {{.CPUPeriod}}",
    ]);
    assert_eq!(shown, "67108864 134217728 50000 100000");
    let output =
        sandbox.ketch(["run", "-d", "--name=a", "--stop-timeout=1", "--pod=p", "bb", "sleep", "1000"]);
    if output.code == 0 {
        let pid = sandbox.inspect("a", ".State.Pid");
        let own = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("its cgroup");
        let above = own.lines().find_map(|line| line.strip_prefix("0::")).expect("cgroups v2");
        let is_group = |path: &&std::path::Path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().contains("ketchpod_"))
        };
        let group = std::path::Path::new(above.trim_start_matches('/')).ancestors().find(is_group);
        let limit = std::path::Path::new("/sys/fs/cgroup").join(group.expect(&own)).join("memory.max");
        assert_eq!(std::fs::read_to_string(limit).expect("its limit").trim(), "67108864");
    } else {
        let said = output.fails(125);
        assert!(said.contains("cannot be applied"), "{said}");
    }
    let refused = sandbox.ketch(["pod", "create", "--memory=64m", "--memory-swap=32m"]);
    assert!(refused.fails(125).contains("minimum memoryswap limit"), "{}", refused.stderr);
}

#[test]
fn a_damaged_pod_is_told_of_and_can_be_removed() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok(["pod", "create", "--network=none", "p"]);
    let good = sandbox.ok(["pod", "create", "--network=none", "good"]);
    std::fs::write(sandbox.store().join("pods").join(&id).join("pod.json"), "").expect("damage it");
    let listed = sandbox.ketch(["pod", "ps", "-q"]);
    assert_eq!(listed.ok(), good);
    assert!(listed.stderr.contains("is damaged"), "{}", listed.stderr);
    assert_eq!(sandbox.ketch(["system", "check", "--quick"]).code, 125);
    assert!(sandbox.ok(["system", "check", "--quick", "--force"]).contains("removed: pod"));
    assert_eq!(sandbox.names(), [infra(&good)]);
}
