//! `commit` and `diff`: a container's changes, all of them and nothing else, as a layer that runs.

mod common;

use common::Sandbox;

/// Changes of every kind.
const CHANGES: &str = "set -e
mkdir -p /new/dir; echo hi > /new/dir/file; ln /new/dir/file /new/hard; ln -s dir/file /new/link; mkfifo /new/fifo
chown 1000:50 /new/hard; chmod 4755 /new/dir/file; touch -d @1000000000 /new/dir/file
echo more >> /etc/passwd; rm /etc/group; rm -r /home/app; mkdir /home/app; echo x > /home/app/fresh
chmod 700 /root; rm -r /var; ln -s tmp /var
n=$(printf '%0200d' 0); mkdir -p /long/$n; touch /long/$n/$n
printf 'a' > \"$(printf '/new/\\377\\376')\"
dd if=/dev/zero of=/new/sparse bs=1 count=1 seek=8388607 2> /dev/null";

/// What an image or container is to look like afterwards, as a script shows it.
const SHOW: &str = "cd /; find etc home long new root var ! -name 'host*' ! -name resolv.conf -exec stat -c '%n %F %a %u:%g %s' {} + | sort
stat -c %h /new/hard
stat -c %Y /new/dir/file; cat /new/hard /home/app/*; readlink /new/link /var
tail -n1 /etc/passwd; ls -a /home/app; stat -c '%a %b' /new/sparse; ls /new | od -c";

fn shown(sandbox: &Sandbox, image: &str) -> String {
    sandbox.ok(["run", "--rm", "--net=none", image, "sh", "-c", SHOW])
}

#[test]
fn an_image_of_a_container_has_what_the_container_had() {
    let sandbox = Sandbox::new();
    sandbox.start("c", &[], &format!("{CHANGES}\necho done; exec sleep 1000"));
    sandbox.wait_until(&["logs", "c"], "done");
    let want = sandbox.ok(["exec", "c", "sh", "-c", SHOW]);
    // Running, then stopped.
    let id = sandbox.ok(["commit", "-q", "c", "running"]);
    assert_eq!(shown(&sandbox, "running"), want);
    sandbox.ok(["stop", "-t0", "c"]);
    sandbox.ok(["commit", "c", "stopped:v1"]);
    assert_eq!(shown(&sandbox, "localhost/stopped:v1"), want);
    let layers = |image: &str| sandbox.ok(["image", "inspect", "--format={{json .RootFS.Layers}}", image]);
    assert_eq!(layers("running"), layers("stopped:v1"), "the same files make the same layer");
    assert_eq!(sandbox.ok(["image", "inspect", "--format={{.Id}}", "running"]), id);

    sandbox.ok(["commit", "-s", "c", "squashed"]);
    assert_eq!(shown(&sandbox, "squashed"), want);
    assert_eq!(layers("squashed").matches("sha256:").count(), 1);

    // An image of an image.
    let script = format!("{SHOW}; rm -r /new /long");
    sandbox.ok(["run", "--name=d", "--net=none", "running", "sh", "-c", &script]);
    assert_eq!(sandbox.ok(["diff", "d"]), "D /long\nD /new");
    sandbox.ok(["commit", "d", "less"]);
    assert_eq!(sandbox.ok(["image", "diff", "less"]), "D /long\nD /new");
    assert_eq!(
        sandbox.ok([
            "run",
            "--rm",
            "--net=none",
            "less",
            "sh",
            "-c",
            "ls -d /new /long 2>&1 | wc -l; ls /home/app"
        ]),
        "2\nfresh"
    );
    sandbox.ok(["rm", "-fa"]);
    sandbox.ok(["rmi", "-fa"]);
    assert_eq!(sandbox.ok(["images", "-aq"]), "");
}

#[test]
fn other_user_mappings_and_single_id() {
    let sandbox = Sandbox::new();
    let script =
        "set -e; mkdir /n; touch /n/root /n/app; chown 1000:50 /n/app; chown 7:7 /root; rm /etc/group";
    let show = "stat -c '%n %u:%g' /n /n/* /root; ls /etc";
    let want = "/n 0:0\n/n/app 1000:50\n/n/root 0:0\n/root 7:7\npasswd";
    sandbox.ok(["run", "--name=k", "--net=none", "--user=0", "--userns=keep-id", "bb", "sh", "-c", script]);
    sandbox.ok(["commit", "k", "kept"]);
    for userns in ["", "keep-id"] {
        let got = sandbox.ok([
            "run",
            "--rm",
            "--net=none",
            "--user=0",
            "--passwd=false",
            &format!("--userns={userns}"),
            "kept",
            "sh",
            "-c",
            show,
        ]);
        let got: Vec<_> = got
            .lines()
            .filter(|line| !matches!(*line, "hostname" | "hosts" | "mtab" | "resolv.conf"))
            .collect();
        assert_eq!(got.join("\n"), want, "{userns}");
    }
}

#[test]
fn nothing_was_changed() {
    let sandbox = Sandbox::new();
    sandbox.ok(["run", "--name=c", "--net=none", "-v", "vol:/etc/vol", "bb", "true"]);
    assert_eq!(sandbox.ok(["diff", "c"]), "C /etc\nA /etc/vol");
    sandbox.ok(["run", "--name=d", "--net=none", "bb", "true"]);
    assert_eq!(sandbox.ok(["diff", "d"]), "", "mount points of ketch are no changes");
    assert_eq!(sandbox.ok(["diff", "--format=json", "d"]), "{}");
    sandbox.ok(["create", "--name=e", "--net=none", "bb", "true"]);
    sandbox.ok(["commit", "-q", "e", "same"]);
    assert_eq!(sandbox.ok(["run", "--rm", "--net=none", "same", "cat", "/etc/group"]).lines().count(), 6);
    sandbox.ketch(["diff", "nosuch"]).fails(125);
}

#[test]
fn what_diff_says() {
    let sandbox = Sandbox::new();
    let script = "mkdir -p /a/b; touch /a/b/c; rm /bin/ls; rm -r /home; mkdir /home; echo >> /etc/passwd; mkdir /root/d";
    sandbox.ok(["run", "--name=c", "--net=none", "bb", "sh", "-c", script]);
    let want = "A /a\nA /a/b\nA /a/b/c\nC /bin\nD /bin/ls\nC /etc\nC /etc/passwd\nC /home\nD /home/app\nC /root\nA /root/d";
    assert_eq!(sandbox.ok(["diff", "c"]), want);
    assert_eq!(sandbox.ok(["container", "diff", "-l"]), want);
    let json: serde_json::Value =
        serde_json::from_str(&sandbox.ok(["diff", "--format", "json", "c"])).expect("JSON");
    assert_eq!(json["deleted"], serde_json::json!(["/bin/ls", "/home/app"]));
    assert_eq!(json["changed"][0], "/bin");
    sandbox.ok(["commit", "c", "i"]);
    assert_eq!(sandbox.ok(["image", "diff", "i"]), want);
    assert_eq!(sandbox.ok(["diff", "i"]), want);
}

#[test]
fn settings_of_the_image() {
    let sandbox = Sandbox::new();
    sandbox.write("extra.json", r#"{"Labels":{"from":"file"},"StopSignal":"SIGQUIT"}"#);
    let create = [
        "create",
        "--name=c",
        "--env=GIVEN=1",
        "--label=l=1",
        "--user=app",
        "--workdir=/tmp",
        "--entrypoint=[\"echo\"]",
        "-v",
        "data:/data",
        "--net=none",
        "bb",
        "word",
    ];
    sandbox.ok(create);
    let commit = sandbox.ketch([
        "commit",
        "-a",
        "me <me@example.org>",
        "-f=docker",
        "-m",
        "why",
        "--config=extra.json",
        "--iidfile=id",
        "--include-volumes",
        "-c",
        "ENV A=b C=\"d e\"",
        "--change=EXPOSE 80/tcp",
        "-cLABEL x=y",
        "-c",
        "ONBUILD RUN true",
        "-c",
        "STOPSIGNAL SIGINT",
        "-c",
        "VOLUME /v",
        "-c",
        "HEALTHCHECK --retries=3 CMD true",
        "c",
        "set",
    ]);
    let id = commit.ok().to_owned();
    assert_eq!(sandbox.read("id"), id);
    let field =
        |field: &str| sandbox.ok(["image", "inspect", &format!("--format={{{{json {field}}}}}"), "set"]);
    assert_eq!(field(".Author"), "\"me <me@example.org>\"");
    assert_eq!(field(".Comment"), "\"why\"");
    assert_eq!(field(".ManifestType"), "\"application/vnd.docker.distribution.manifest.v2+json\"");
    let config: serde_json::Value = serde_json::from_str(&field(".Config")).expect("JSON");
    assert_eq!(config["Entrypoint"], serde_json::json!(["echo"]));
    assert_eq!((config["Cmd"][0].as_str(), config["User"].as_str()), (Some("word"), Some("app")));
    assert_eq!(
        (config["WorkingDir"].as_str(), config["StopSignal"].as_str()),
        (Some("/tmp"), Some("SIGINT"))
    );
    assert_eq!(config["Labels"], serde_json::json!({"l": "1", "from": "file", "x": "y"}));
    assert_eq!(config["Volumes"], serde_json::json!({"/data": {}, "/v": {}}));
    assert_eq!(config["OnBuild"], serde_json::json!(["RUN true"]));
    let env = config["Env"].as_array().expect("a list").iter().filter_map(|v| v.as_str()).collect::<Vec<_>>();
    assert!(["GIVEN=1", "A=b", "C=d e"].iter().all(|v| env.contains(v)), "{env:?}");
    assert!(!env.iter().any(|v| v.starts_with("HOSTNAME=") || v.starts_with("container=")), "{env:?}");
    assert_eq!(sandbox.ok(["run", "--rm", "--net=none", "set"]), "word");

    sandbox.ok(["create", "--name=published", "-p=127.0.0.1::90", "--expose=91/udp", "bb"]);
    sandbox.ok(["commit", "-q", "published", "exposed"]);
    let ports = sandbox.ok(["image", "inspect", "--format={{json .Config.ExposedPorts}}", "exposed"]);
    assert_eq!(ports, r#"{"90/tcp":{},"91/udp":{}}"#);

    sandbox.ok(["commit", "-m", "as docker's tutorials do", "c", "told"]);
    let history = sandbox.ok(["history", "--format={{.Comment}}", "told"]);
    assert_eq!(history.lines().next(), Some("as docker's tutorials do"));
    let refused = sandbox.ketch(["commit", "-f=oci", "-m", "why", "c"]);
    assert!(refused.fails(125).contains("only compatible with the docker image format"));
    assert!(sandbox.ketch(["commit", "-c", "RUN x", "c"]).fails(125).contains("unknown instruction RUN"));
    sandbox.ketch(["commit", "nosuch"]).fails(125);
    let nameless = sandbox.ok(["commit", "-q", "c"]);
    assert!(sandbox.ok(["images", "--no-trunc", "-q", "--filter=dangling=true"]).contains(&nameless));
}
