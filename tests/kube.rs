//! `kube play`, `kube down` and `kube generate`: pods of Kubernetes manifests, and manifests of pods.

mod common;

use common::kube::{manifest, play, sleeping};
use common::{Sandbox, json};

#[test]
fn a_pod_runs_with_what_its_manifest_says() {
    let sandbox = Sandbox::new();
    let file = manifest(
        &sandbox,
        "all.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cm}\ndata: {ck: cv, file.txt: \"hello\\n\"}\n---\n\
         apiVersion: v1\nkind: Secret\nmetadata: {name: sec}\ndata: {sk: c3Y=}\nstringData: {st: plain}\n---\n\
         apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: pvc, labels: {l: m}}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {name: ignored}\n---\n\
         apiVersion: v1\nkind: Pod\nmetadata: {name: p, labels: {app: x}, annotations: {a1: v1}}\nspec:\n  hostname: myhost\n  \
         terminationGracePeriodSeconds: 3\n  restartPolicy: Never\n  hostAliases: [{ip: 1.2.3.4, hostnames: [foo, bar]}]\n  \
         securityContext: {runAsUser: 5, runAsGroup: 6, supplementalGroups: [77]}\n  initContainers:\n  \
         - {name: i, image: bb, command: [sh, -c, 'echo begun > /e/begun'], securityContext: {runAsUser: 0}, volumeMounts: [{name: e, mountPath: /e}]}\n  containers:\n  \
         - name: c\n    image: bb\n    command: [sh, -c]\n    args: ['echo $(ck) \"$K\" $P_sk; id -u; id -g; id -G; cat /e/begun; trap \"exit 0\" TERM; while :; do sleep 0.1; done']\n    \
         env:\n    - {name: K, value: 'k-$(ck)-$(nope)'}\n    - {name: N, valueFrom: {fieldRef: {fieldPath: metadata.name}}}\n    \
         - {name: U, valueFrom: {fieldRef: {fieldPath: metadata.uid}}}\n    - {name: S, valueFrom: {secretKeyRef: {name: sec, key: sk}}}\n    \
         envFrom: [{configMapRef: {name: cm}}, {secretRef: {name: sec}, prefix: P_}]\n    \
         volumeMounts:\n    - {name: e, mountPath: /e}\n    - {name: m, mountPath: /m}\n    - {name: c, mountPath: /c}\n    - {name: s, mountPath: /s}\n    - {name: v, mountPath: /v}\n    \
         livenessProbe: {exec: {command: ['true']}, periodSeconds: 7}\n  \
         - name: d\n    image: bb\n    command: [sleep, '1000']\n    workingDir: /tmp\n    \
         securityContext: {runAsUser: 0, capabilities: {add: [NET_ADMIN], drop: [CHOWN]}, readOnlyRootFilesystem: true, allowPrivilegeEscalation: false}\n    \
         volumeMounts: [{name: e, mountPath: /shared}, {name: m, mountPath: /m}]\n  \
         volumes:\n  - {name: e, emptyDir: {}}\n  - {name: m, emptyDir: {medium: Memory, sizeLimit: 1Mi}}\n  - {name: c, configMap: {name: cm, items: [{key: file.txt, path: sub/f}]}}\n  \
         - {name: s, secret: {secretName: sec, defaultMode: 0444}}\n  - {name: v, persistentVolumeClaim: {claimName: pvc}}\n",
    );
    let played = play(&sandbox, &file, &[]);
    let lines: Vec<&str> = played.ok().lines().collect();
    let [volumes, pvc, secrets, secret, pod, id, containers, one, two] = lines[..] else {
        panic!("{lines:?}")
    };
    assert_eq!(
        (volumes, pvc, secrets, pod, containers),
        ("Volumes:", "pvc", "Secrets:", "Pod:", "Containers:")
    );
    assert_eq!((secret.len(), id.len(), one.len(), two.len()), (25, 64, 64, 64));
    assert_eq!(sandbox.inspect("p-c", ".Id"), one);

    sandbox.wait_until(&["logs", "p-c"], "begun");
    let said = sandbox.ok(["logs", "p-c"]);
    assert_eq!(said, "cv k-cv-$(nope) sv\n5\n6\n6 77\nbegun");
    assert_eq!(
        sandbox.ketch(["container", "exists", "p-i"]).code,
        1,
        "what only begins is gone after its one run"
    );
    let env = sandbox.ok(["exec", "p-c", "env"]);
    for line in ["N=p", "S=sv", "ck=cv", "P_st=plain", &format!("U={id}")] {
        assert!(env.lines().any(|found| found == line), "{line} in {env}");
    }
    assert_eq!(sandbox.ok(["exec", "p-c", "hostname"]), "myhost");
    assert!(sandbox.ok(["exec", "p-d", "cat", "/etc/hosts"]).contains("1.2.3.4\tfoo"));
    assert_eq!(sandbox.ok(["exec", "p-c", "cat", "/c/sub/f", "/s/sk"]), "hello\nsv");
    assert_eq!(sandbox.ok(["exec", "p-c", "ls", "/c"]), "sub");
    // An emptyDir is one for all, in memory as well.
    assert_eq!(sandbox.ok(["exec", "p-d", "cat", "/shared/begun"]), "begun");
    sandbox.ok(["exec", "p-d", "sh", "-c", "echo there > /m/x"]);
    assert_eq!(sandbox.ok(["exec", "p-c", "cat", "/m/x"]), "there");
    assert!(sandbox.ok(["exec", "p-c", "df", "-k", "/m"]).contains("1024"));

    let c: serde_json::Value = json(&sandbox.ok(["inspect", "p-c"]));
    let config = &c[0]["Config"];
    assert_eq!(config["StopTimeout"], 3);
    assert_eq!(config["Healthcheck"]["Test"], serde_json::json!(["CMD", "true"]));
    assert_eq!(config["Healthcheck"]["Interval"], 7_000_000_000_i64);
    assert_eq!(config["Annotations"]["a1"], "v1");
    assert_eq!(config["Labels"]["app"], "x");
    let d: serde_json::Value = json(&sandbox.ok(["inspect", "p-d"]));
    assert_eq!(d[0]["HostConfig"]["CapAdd"], serde_json::json!(["CAP_NET_ADMIN"]));
    assert_eq!(d[0]["HostConfig"]["ReadonlyRootfs"], true);
    assert_eq!(d[0]["HostConfig"]["SecurityOpt"], serde_json::json!(["no-new-privileges"]));
    assert_eq!(sandbox.ok(["exec", "p-d", "pwd"]), "/tmp");
    assert_eq!(sandbox.ok(["volume", "inspect", "pvc", "--format={{.Labels.l}}"]), "m");

    // The name is taken; --replace takes down what has it.
    assert!(play(&sandbox, &file, &[]).fails(125).contains("name \"p\" is in use: pod already exists"));
    let again = play(&sandbox, &file, &["--replace"]);
    assert!(
        again.ok().starts_with(&format!("Pods stopped:\n{id}\nPods removed:\n{id}\nSecrets removed:\n")),
        "{}",
        again.stdout
    );
    let down = sandbox.ok(["kube", "down", &file]);
    assert!(down.contains("Pods removed:\n") && down.ends_with("Volumes removed:"), "{down}");
    assert_eq!(sandbox.ok(["ps", "-aq"]), "");
    assert_eq!(sandbox.ok(["secret", "ls", "-q"]), "");
    assert_eq!(sandbox.ok(["volume", "ls", "-q"]), "cm\npvc\nsec", "emptyDirs go with their pod");
    let down = sandbox.ok(["kube", "down", "--force", &file]);
    assert_eq!(down, "Pods stopped:\nPods removed:\nSecrets removed:\nVolumes removed:\npvc\ncm\nsec");
    assert_eq!(sandbox.ok(["volume", "ls", "-q"]), "");
    sandbox.ok(["kube", "down", "--force", &file]);
}

#[test]
fn what_cannot_be_made_is_named_and_leaves_no_pod() {
    let sandbox = Sandbox::new();
    for (text, message) in [
        (String::new(), "YAML document does not contain any supported kube kind"),
        ("kind: Service\n".to_owned(), "YAML document does not contain any supported kube kind"),
        ("a: [1\n".to_owned(), "x.yaml:"),
        ("kind: Pod\nmetadata: {}\n".to_owned(), "x.yaml:1:1: pod does not have a name"),
        ("kind: ConfigMap\nmetadata: {name: a}\n".to_owned(), "ConfigMaps are not standalone objects"),
        (sleeping("    env: x\n", ""), "x.yaml:11:10: spec.containers[0].env: must be a list, not text"),
        (
            sleeping("  - {name: c, image: bb}\n", ""),
            "the pod \"p\" is invalid; duplicate container name \"c\" detected",
        ),
        (sleeping("    envFrom: [{configMapRef: {name: no}}]\n", ""), "configmap no not found"),
        (
            sleeping("    env: [{name: A, valueFrom: {secretKeyRef: {name: no, key: a}}}]\n", ""),
            "cannot set env A: no secret with name or id \"no\": no such secret",
        ),
        (
            sleeping("    volumeMounts: [{name: v, mountPath: /v}]\n", ""),
            "volume mount v specified for container but not configured in volumes",
        ),
        (
            sleeping("", "  volumes: [{name: v, hostPath: {path: /nonexistent}}]\n"),
            "failed to create volume \"v\": hostPath /nonexistent: no such file or directory",
        ),
        (sleeping("", "  volumes: [{name: v, nfs: {server: a}}]\n"), "failed to create volume \"v\": nfs"),
        (
            sleeping("    imagePullPolicy: Foo\n", ""),
            "imagePullPolicy: \"Foo\" is none of Always, IfNotPresent, Never",
        ),
        (
            sleeping("    resources: {limits: {cpu: abc}}\n", ""),
            "resources.limits.cpu: \"abc\" is no quantity",
        ),
        (
            sleeping("  - {name: d, image: localhost/nope, imagePullPolicy: Never}\n", ""),
            "localhost/nope: image not known",
        ),
    ] {
        let file = manifest(&sandbox, "x.yaml", &text);
        let failed = play(&sandbox, &file, &[]);
        assert!(failed.fails(125).contains(message), "{message}: {}", failed.stderr);
        assert_eq!(
            (sandbox.ok(["ps", "-aq"]), sandbox.ok(["pod", "ps", "-q"])),
            (String::new(), String::new()),
            "{text}"
        );
    }
    assert!(sandbox.ketch(["kube", "play", "/nonexistent"]).fails(125).contains("/nonexistent"));
    let file = manifest(&sandbox, "x.yaml", &sleeping("", ""));
    assert!(play(&sandbox, &file, &["--annotation=x"]).fails(125).contains("must include an '=' sign"));
    assert!(play(&sandbox, &file, &["--configmap", &file]).fails(125).contains("it has other objects"));
    assert!(play(&sandbox, &file, &["--context-dir=/"]).fails(125).contains("--build"));
}

#[test]
fn what_does_not_start_is_told_and_stays_to_be_looked_at() {
    let sandbox = Sandbox::new();
    let text = sleeping("  - {name: bad, image: bb, command: [nonono]}\n", "");
    let file = manifest(&sandbox, "p.yaml", &text);
    let played = play(&sandbox, &file, &[]);
    let said = played.fails(125);
    assert!(
        said.contains("starting container")
            && said.contains("nonono")
            && said.contains("failed to start 1 containers"),
        "{said}"
    );
    assert!(played.stdout.starts_with("Pod:\n"), "{}", played.stdout);
    assert_eq!(sandbox.inspect("p-c", ".State.Status"), "running");
    sandbox.ok(["kube", "play", "--down", &file]);

    let text =
        sleeping("", "  initContainers: [{name: i, image: bb, command: [sh, -c, 'echo why; exit 7']}]\n");
    let file = manifest(&sandbox, "p.yaml", &text);
    assert!(play(&sandbox, &file, &[]).fails(125).contains('7'));
    assert_eq!(sandbox.ok(["logs", "p-i"]), "why");
    sandbox.ok(["kube", "down", &file]);
    assert_eq!(sandbox.ok(["ps", "-aq"]), "");
}

#[test]
fn flags_of_play() {
    let sandbox = Sandbox::new();
    let file = manifest(&sandbox, "p.yaml", &sleeping("    envFrom: [{configMapRef: {name: more}}]\n", ""));
    let maps = manifest(&sandbox, "maps.yaml", "kind: ConfigMap\nmetadata: {name: more}\ndata: {A: b}\n");
    // From standard input, with one more ConfigMap, and without starting.
    let made = sandbox
        .command([
            "play",
            "kube",
            "--network=none",
            "--start=false",
            "--configmap",
            &maps,
            "--annotation=x=y",
            "--no-hosts",
            "--log-driver=json-file",
            "--log-opt=max-size=10m",
            "-",
        ])
        .stdin(sleeping("    envFrom: [{configMapRef: {name: more}}]\n", "").as_str())
        .run();
    made.ok();
    assert_eq!(sandbox.ok(["pod", "inspect", "p", "--format={{.State}}"]), "Created");
    assert_eq!(sandbox.inspect("p-c", ".HostConfig.LogConfig.Type"), "json-file");
    assert_eq!(sandbox.inspect("p-c", "index .Config.Annotations \"x\""), "y");
    sandbox.ok(["pod", "start", "p"]);
    assert_eq!(sandbox.ok(["exec", "p-c", "sh", "-c", "echo $A"]), "b");
    sandbox.ok(["kube", "down", &file]);
    sandbox.ok(["kube", "down", &file]);

    // A Deployment is one pod.
    let text = "kind: Deployment\nmetadata: {name: web}\nspec:\n  replicas: 3\n  template:\n    metadata: {labels: {a: b}}\n    \
        spec: {containers: [{name: c, image: bb, command: [sleep, '1000']}]}\n";
    let file = manifest(&sandbox, "d.yaml", text);
    let played = play(&sandbox, &file, &["--start=false"]);
    played.ok();
    assert!(played.stderr.contains("Limiting replica count to 1"), "{}", played.stderr);
    assert_eq!(sandbox.ok(["pod", "ps", "--format={{.Name}}"]), "web-pod");
    assert_eq!(sandbox.inspect("web-pod-c", "index .Config.Labels \"a\""), "b");
    sandbox.ok(["kube", "down", &file]);
}

#[test]
fn waiting_takes_everything_down() {
    let sandbox = Sandbox::new();
    let text = "kind: Job\nmetadata: {name: j}\nspec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: bb, command: [sh, -c, 'exit 3']}]}}}\n\
        ---\nkind: PersistentVolumeClaim\nmetadata: {name: v}\n";
    let file = manifest(&sandbox, "j.yaml", text);
    let waited = play(&sandbox, &file, &["--wait"]);
    let said = waited.ok();
    assert!(
        said.starts_with("Use ctrl+c to clean up or wait for pods to exit\nVolumes:\nv\nPod:\n"),
        "{said}"
    );
    assert!(said.contains("Cleaning up containers, pods, and volumes...\nPods stopped:\n"), "{said}");
    assert!(said.ends_with("Volumes removed:\nv"), "{said}");
    assert_eq!(
        (sandbox.ok(["ps", "-aq"]), sandbox.ok(["volume", "ls", "-q"])),
        (String::new(), String::new())
    );
}

#[test]
fn what_a_failed_play_has_not_made_stays() {
    let sandbox = Sandbox::new();
    let claim = "---\nkind: PersistentVolumeClaim\nmetadata: {name: v}\n";
    let secret = "---\nkind: Secret\nmetadata: {name: s}\nstringData: {a: b}\n";
    let first = manifest(&sandbox, "first.yaml", &format!("{}{claim}{secret}", sleeping("", "")));
    play(&sandbox, &first, &[]).ok();
    // The same pod again, with one before it and a volume and a secret that are new.
    let text = format!(
        "kind: Pod\nmetadata: {{name: new}}\nspec: {{containers: [{{name: c, image: bb, command: [sleep, '1000']}}]}}\n---\n{}{claim}{secret}\
        ---\nkind: PersistentVolumeClaim\nmetadata: {{name: w}}\n---\nkind: Secret\nmetadata: {{name: t}}\nstringData: {{a: b}}\n",
        sleeping("", "")
    );
    let again = play(&sandbox, &manifest(&sandbox, "again.yaml", &text), &["--wait"]);
    assert!(again.fails(125).contains("name \"p\" is in use"), "{}", again.stderr);
    assert!(again.stdout.ends_with("Volumes removed:\nw\n"), "{}", again.stdout);
    assert_eq!(sandbox.inspect("p-c", ".State.Status"), "running");
    assert_eq!(sandbox.ok(["pod", "ps", "--format={{.Name}}"]), "p");
    assert_eq!(sandbox.ok(["volume", "ls", "-q"]), "v");
    assert_eq!(sandbox.ok(["secret", "ls", "--format={{.Name}}"]), "s");
    sandbox.ok(["kube", "down", "--force", &first]);
}

#[test]
fn names_of_manifests_are_no_abbreviations() {
    let sandbox = Sandbox::new();
    let pod = sandbox.ok(["pod", "create", "--network=none", "--name=mine"]);
    let secret = sandbox.command(["secret", "create", "mine", "-"]).stdin("x").run().ok().to_owned();
    sandbox.ok(["volume", "create", "db-backup"]);
    let text = format!(
        "kind: Pod\nmetadata: {{name: '{}'}}\nspec: {{containers: [{{name: c, image: bb}}]}}\n---\n\
        kind: Secret\nmetadata: {{name: '{}'}}\nstringData: {{a: b}}\n---\nkind: PersistentVolumeClaim\nmetadata: {{name: db}}\n",
        &pod[..12],
        &secret[..6],
    );
    let file = manifest(&sandbox, "x.yaml", &text);
    let down = sandbox.ok(["kube", "down", "--force", &file]);
    assert_eq!(down, "Pods stopped:\nPods removed:\nSecrets removed:\nVolumes removed:");
    assert_eq!(sandbox.ok(["pod", "ps", "--format={{.Name}}"]), "mine");
    assert_eq!(sandbox.ok(["secret", "ls", "--format={{.Name}}"]), "mine");
    assert_eq!(sandbox.ok(["volume", "ls", "-q"]), "db-backup");
}

#[test]
fn a_file_that_an_annotation_names_stays() {
    let sandbox = Sandbox::new();
    let precious = sandbox.write("precious", "kept");
    let text = format!(
        "kind: Pod\nmetadata:\n  name: p\n  annotations: {{io.podman.annotations.cid-file/c: '{}'}}\n\
        spec: {{containers: [{{name: c, image: bb}}]}}\n",
        precious.display()
    );
    let file = manifest(&sandbox, "p.yaml", &text);
    play(&sandbox, &file, &["--start=false"]).ok();
    assert_eq!(sandbox.inspect("p-c", ".HostConfig.ContainerIDFile"), "");
    sandbox.ok(["kube", "down", &file]);
    assert_eq!(sandbox.read("precious"), "kept");
}

#[test]
fn containers_of_units_can_be_updated() {
    let sandbox = Sandbox::new();
    let text = "kind: Pod\nmetadata: {name: p, annotations: {io.containers.autoupdate: local}}\n\
        spec: {containers: [{name: c, image: bb, command: [sleep, '1000']}]}\n";
    let file = manifest(&sandbox, "p.yaml", text);
    let args = ["kube", "play", "--network=none", &file];
    sandbox.command(args).env("PODMAN_SYSTEMD_UNIT", "app.service").run().ok();
    assert_eq!(sandbox.inspect("p-c", "index .Config.Labels \"PODMAN_SYSTEMD_UNIT\""), "app.service");
    let found = sandbox.ok(["auto-update", "--dry-run", "--format={{.Unit}} {{.ContainerName}} {{.Policy}}"]);
    assert_eq!(found, "app.service p-c local");
    sandbox.ok(["kube", "down", &file]);
}

#[test]
fn files_of_one_name_do_not_mix() {
    let sandbox = Sandbox::new();
    let text = |items: &str| {
        let mounts = "    volumeMounts: [{name: a, mountPath: /a}, {name: b, mountPath: /b}, {name: c, mountPath: /c}]\n";
        let volumes = format!(
            "  volumes: [{{name: a, configMap: {{name: x, items: [{items}]}}}}, {{name: b, secret: {{secretName: x}}}}, {{name: c, configMap: {{name: x}}}}]\n"
        );
        format!(
            "kind: ConfigMap\nmetadata: {{name: x}}\ndata: {{k: one, l: two}}\n---\nkind: Secret\nmetadata: {{name: x}}\nstringData: {{s: three}}\n---\n{}",
            sleeping(mounts, &volumes)
        )
    };
    let file = manifest(&sandbox, "p.yaml", &text("{key: k, path: k}"));
    play(&sandbox, &file, &[]).ok();
    let seen = ["exec", "p-c", "sh", "-c", "cd /a; echo *; cd /b; echo *; cd /c; echo *"];
    assert_eq!(sandbox.ok(seen), "k\ns\nk l");
    sandbox.ok(["kube", "down", &file]);
    // What it was filled with before is gone.
    let file = manifest(&sandbox, "p.yaml", &text("{key: l, path: m}"));
    play(&sandbox, &file, &[]).ok();
    assert_eq!(sandbox.ok(seen), "m\ns\nk l");
    assert_eq!(sandbox.ok(["volume", "ls", "-q"]), "x\nx-b\nx-c");
    sandbox.ok(["kube", "down", "--force", &file]);
    assert_eq!(sandbox.ok(["volume", "ls", "-q"]), "");

    // The user's own.
    sandbox.ok(["volume", "create", "x"]);
    let refused = play(&sandbox, &file, &[]);
    assert!(refused.fails(125).contains("was not made for ConfigMap/x"), "{}", refused.stderr);
    sandbox.ok(["kube", "down", "--force", &file]);
    assert_eq!(sandbox.ok(["volume", "ls", "-q"]), "x");
}

#[test]
fn images_are_built_from_directories_of_their_names() {
    let sandbox = Sandbox::new();
    let write = |word: &str| {
        let text = format!("FROM bb\nENV WORD={word}\nCMD [\"sh\", \"-c\", \"echo $WORD\"]\n");
        sandbox.write("own/Containerfile", text);
    };
    let text =
        "kind: Pod\nmetadata: {name: p}\nspec: {restartPolicy: Never, containers: [{name: c, image: own}]}\n";
    let file = manifest(&sandbox, "p.yaml", text);
    let said = |flags: &[&str]| {
        let mut args = vec!["kube", "play", "--network=none", "--quiet", "--replace"];
        args.extend(flags);
        args.push(&file);
        sandbox.command(args).current_dir(sandbox.path("")).run().ok();
        sandbox.ok(["wait", "p-c"]);
        sandbox.ok(["logs", "p-c"])
    };
    write("one");
    assert!(
        sandbox
            .command(["kube", "play", "--network=none", "--build=false", &file])
            .current_dir(sandbox.path(""))
            .run()
            .code
            != 0
    );
    assert_eq!(said(&[]), "one");
    write("two");
    assert_eq!(said(&[]), "one", "what is here is not built again");
    assert_eq!(said(&["--build"]), "two");
}

#[test]
fn a_manifest_of_a_pod_makes_the_same_again() {
    let sandbox = Sandbox::new();
    sandbox.ok([
        "create",
        "--name=g",
        "-v=/anonymous",
        "--network=none",
        "-e=A=b",
        "-e=C=d e",
        "-v=gv:/gv",
        "-v=/tmp:/hosttmp:ro",
        "--tmpfs=/tf:size=1m",
        "--cap-add=NET_ADMIN",
        "--cap-drop=chown",
        "--read-only",
        "--user=1:2",
        "-w=/tmp",
        "-t",
        "-i",
        "--restart=always",
        "--annotation=an=no",
        "--stop-timeout=4",
        "--security-opt=no-new-privileges",
        "bb",
        "sh",
        "-c",
        "sleep 1000",
    ]);
    let text = sandbox.ok(["kube", "generate", "g"]);
    assert!(text.starts_with("# Save the output of this file and use kubectl create -f to import\n# it into Kubernetes.\n#\n# Created with ketch-"), "{text}");
    for part in [
        "apiVersion: v1\nkind: Pod\nmetadata:\n  annotations:\n    an/g: \"no\"\n",
        "  labels:\n    app: g-pod\n  name: g-pod\nspec:\n  containers:\n  - command:\n    - sh\n    - -c\n    - sleep 1000\n    \
         env:\n    - name: A\n      value: b\n    - name: C\n      value: d e\n",
        "    name: g\n    securityContext:\n      allowPrivilegeEscalation: false\n      capabilities:\n        add:\n        - CAP_NET_ADMIN\n        drop:\n        - CAP_CHOWN\n      \
         readOnlyRootFilesystem: true\n      runAsGroup: 2\n      runAsUser: 1\n    stdin: true\n    tty: true\n",
        "    workingDir: /tmp\n  restartPolicy: Always\n  terminationGracePeriodSeconds: 4\n  volumes:\n",
        "    persistentVolumeClaim:\n      claimName: gv\n",
        "  - emptyDir: {}\n    name: ",
        "  - hostPath:\n      path: /tmp\n      type: Directory\n    name: tmp-host-",
        "  - emptyDir:\n      medium: Memory\n      sizeLimit: 1Mi\n",
    ] {
        assert!(text.contains(part), "{part}\nin\n{text}");
    }
    let file = manifest(&sandbox, "g.yaml", &text);
    play(&sandbox, &file, &["--start=false"]).ok();
    let of = |name: &str| {
        let found: serde_json::Value = json(&sandbox.ok(["inspect", name]));
        let one = &found[0];
        let mut mounts: Vec<String> = one["Mounts"]
            .as_array()
            .expect("mounts")
            .iter()
            .map(|mount| format!("{} {} {}", mount["Type"], mount["Destination"], mount["RW"]))
            .collect();
        mounts.sort();
        (
            one["Config"]["User"].clone(),
            one["Config"]["WorkingDir"].clone(),
            one["HostConfig"]["CapAdd"].clone(),
            one["HostConfig"]["CapDrop"].clone(),
            one["HostConfig"]["ReadonlyRootfs"].clone(),
            one["Config"]["StopTimeout"].clone(),
            one["HostConfig"]["RestartPolicy"]["Name"].clone(),
            one["Config"]["Tty"].clone(),
            // An emptyDir in memory is a volume here.
            mounts.into_iter().filter(|mount| !mount.contains("\"/tf\"")).collect::<Vec<_>>(),
        )
    };
    let (before, after) = (of("g"), of("g-pod-g"));
    assert_eq!(before, after);
    assert!(
        before.8.iter().any(|mount| mount == "\"bind\" \"/hosttmp\" false") && before.8.len() >= 3,
        "{:?}",
        before.8
    );

    // What was made of a manifest, as one.
    let text = sandbox.ok(["kube", "generate", "g-pod"]);
    assert!(text.contains("  name: g-pod\n") && text.contains("    name: g-pod-g\n"), "{text}");
    let refused = sandbox.ketch(["kube", "generate", "g-pod-g"]);
    assert!(refused.fails(125).contains("use generate on the pod itself"), "{}", refused.stderr);
}

#[test]
fn containers_of_a_pod_keep_their_own_volumes_and_ports() {
    let sandbox = Sandbox::new();
    let (one, two) = (sandbox.write("x.y/f", "one"), sandbox.write("x_y/f", "two"));
    let bind = |file: &std::path::Path| format!("-v={}:/f", file.parent().expect("a directory").display());
    let (one, two) = (bind(&one), bind(&two));
    sandbox.ok(["pod", "create", "--name=q", "-p=18080:80"]);
    sandbox.ok(["create", "--pod=q", "--name=i", "--init-ctr=always", "bb", "true"]);
    sandbox.ok(["create", "--pod=q", "--name=a", &one, "--tmpfs=/t:size=1m", "bb", "true"]);
    sandbox.ok(["create", "--pod=q", "--name=b", &two, "--tmpfs=/t:size=2m", "bb", "true"]);
    let text = sandbox.ok(["kube", "generate", "q"]);
    let (rest, init) = text.split_once("  initContainers:\n").expect("an init container");
    assert!(rest.contains("hostPort: 18080\n") && !init.contains("hostPort"), "{text}");
    for part in ["sizeLimit: 1Mi\n", "sizeLimit: 2Mi\n", "/x.y\n", "/x_y\n"] {
        assert_eq!(init.matches(part).count(), 1, "{part} in\n{text}");
    }
}

#[test]
fn manifests_of_other_kinds() {
    let sandbox = Sandbox::new();
    sandbox.ok(["create", "--name=g", "--network=none", "-v=gv:/gv", "--restart=always", "bb", "true"]);
    let file = manifest(&sandbox, "there.yaml", "");
    let claim = sandbox.ok(["generate", "kube", "gv"]);
    assert!(
        claim.contains("kind: PersistentVolumeClaim\n")
            && claim.contains("  name: gv\nspec:\n  accessModes:\n  - ReadWriteOnce\n"),
        "{claim}"
    );
    let all = sandbox.ok(["kube", "generate", "-t=deployment", "-r=3", "g"]);
    assert!(
        all.contains("kind: Deployment\n")
            && all.contains("  name: g-pod-deployment\nspec:\n  replicas: 3\n"),
        "{all}"
    );
    for (flags, message) in [
        (&["-t=job", "g"][..], "k8s Jobs can not have restartPolicy set to Always"),
        (&["-t=foo", "g"], "invalid generation type"),
        (&["-r=2", "g"], "--replicas can only be set when --type is set to deployment"),
        (&["nope"], "name or ID \"nope\" not found"),
        (&["-f", &file, "g"], "file exists"),
    ] {
        let mut args = vec!["kube", "generate"];
        args.extend(flags);
        let failed = sandbox.ketch(args);
        assert!(failed.fails(125).contains(message), "{message}: {}", failed.stderr);
    }
    let out = sandbox.path("new.yaml");
    sandbox.ok(["kube", "generate", "-f", out.to_str().expect("a path"), "g"]);
    assert!(std::fs::read_to_string(out).expect("the file").contains("claimName: gv\n"));
}

/// Links that a container has planted in a `hostPath` do not lead a `subPath` out of it (CVE-2017-1002101).
#[test]
fn a_sub_path_of_a_host_path_stays_below_it() {
    let sandbox = Sandbox::new();
    sandbox.write("outside/secret", "stolen");
    sandbox.write("h/a/b/file", "below");
    std::os::unix::fs::symlink("/a", sandbox.path("h/in")).unwrap();
    std::fs::create_dir(sandbox.path("h/later")).unwrap();
    let base = sandbox.path("h").display().to_string();
    let text = |name: &str, sub: &str| {
        format!(
            "kind: Pod\nmetadata: {{name: {name}}}\nspec:\n  restartPolicy: Never\n  volumes: [{{name: v, hostPath: {{path: {base}}}}}]\n  \
             containers: [{{name: c, image: bb, command: [sh, -c, 'ls /v; cat /v/*'], volumeMounts: [{{name: v, mountPath: /v, subPath: {sub}}}]}}]\n"
        )
    };
    let file = manifest(&sandbox, "ok.yaml", &text("ok", "a/b"));
    play(&sandbox, &file, &["--wait"]).ok();
    play(&sandbox, &file, &[]).ok();
    sandbox.ok(["wait", "ok-c"]);
    assert_eq!(sandbox.ok(["logs", "ok-c"]), "file\nbelow");
    let generated = sandbox.ok(["kube", "generate", "ok"]);
    assert!(
        generated.contains("subPath: a/b\n") && generated.contains(&format!("path: {base}\n")),
        "{generated}"
    );

    // Planted after the first start, as a container can do it that has the whole.
    let file = manifest(&sandbox, "p.yaml", &text("p", "later"));
    play(&sandbox, &file, &[]).ok();
    sandbox.ok(["wait", "p-c"]);
    std::fs::remove_dir(sandbox.path("h/later")).unwrap();
    for target in [sandbox.path("outside"), "../outside".into(), "/proc/self/root".into()] {
        std::os::unix::fs::symlink(&target, sandbox.path("h/later")).unwrap();
        assert!(sandbox.ketch(["start", "p-c"]).fails(125).contains("later"), "{}", target.display());
        assert!(!sandbox.ok(["logs", "p-c"]).contains("secret"));
        std::fs::remove_file(sandbox.path("h/later")).unwrap();
    }
    // One that stays inside is followed.
    std::os::unix::fs::symlink("/a/b", sandbox.path("h/later")).unwrap();
    sandbox.ok(["start", "p-c"]);
    sandbox.ok(["wait", "p-c"]);
    assert!(sandbox.ok(["logs", "p-c"]).ends_with("file\nbelow"));
}

#[test]
fn what_is_hostile_in_a_manifest_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.write("evil/data", r#"{"data": {"a": "c3RvbGVu"}}"#);
    let up = "../".repeat(sandbox.store().components().count() + 2);
    let outside = format!("{up}{}", sandbox.path("evil").display());
    for name in [outside, sandbox.path("evil").display().to_string()] {
        let text = sleeping(
            &format!("    env: [{{name: A, valueFrom: {{secretKeyRef: {{name: '{name}', key: a}}}}}}]\n"),
            "",
        );
        let file = manifest(&sandbox, "s.yaml", &text);
        assert!(play(&sandbox, &file, &[]).fails(125).contains("no such secret"), "{name}");
    }
    let bomb: String = (0..10)
        .map(|n| format!("{{name: A{}, value: {}}}, ", n + 1, format!("$(A{n})").repeat(10)))
        .collect();
    let text = sleeping(&format!("    env: [{{name: A0, value: xxxxxxxxxx}}, {bomb}]\n"), "");
    let file = manifest(&sandbox, "b.yaml", &text);
    assert!(play(&sandbox, &file, &[]).fails(125).contains("env A6: its value has more than 1 MiB"));
    let text = format!("a: &a {}\nb: [{}]\n", "x".repeat(2 << 20), vec!["*a"; 2000].join(","));
    let file = manifest(&sandbox, "y.yaml", &text);
    let failed = play(&sandbox, &file, &[]);
    assert!(failed.fails(125).contains("y.yaml:2:98: this document is too large"), "{}", failed.stderr);
    assert_eq!(sandbox.ok(["pod", "ps", "-q"]), "");
}

#[test]
fn a_manifest_from_elsewhere_has_a_limit() {
    let sandbox = Sandbox::new();
    let long = |limit: usize| {
        let mut text = sleeping("", "").into_bytes();
        text.push(b'#');
        text.resize(limit, b'x');
        text
    };
    let typed = |text: Vec<u8>| sandbox.command(["kube", "down", "-"]).stdin(text).run();
    let failed = typed(long((64 << 20) + 1));
    assert!(failed.fails(125).contains("read standard input: it has more than 64 MiB"), "{}", failed.stderr);

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/p.yaml", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = listener.accept().unwrap();
        let _asked = stream.read(&mut [0; 4096]).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").unwrap();
        // It never ends by itself.
        let mut sent = 0_u64;
        while stream.write_all(&[b'#'; 65536]).is_ok() {
            sent += 65536;
        }
        sent
    });
    let failed = sandbox.ketch(["kube", "down", &address]);
    assert!(failed.fails(125).contains("it has more than 64 MiB"), "{}", failed.stderr);
    assert!(server.join().unwrap() < 256 << 20);
}
