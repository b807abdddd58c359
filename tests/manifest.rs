//! `manifest` and `artifact`: put together here, pushed to a real registry, read by others.

mod common;

use std::fs;

use common::image::{of_architecture, write_layout};
use common::registry::Registry;
use common::{Sandbox, have, json};

#[test]
fn a_list_is_put_together_and_pushed() {
    if !have("docker-registry") {
        return;
    }
    let (from, to) = (Registry::private(), Registry::private());
    let images = ["amd64", "arm64", "s390x"].map(of_architecture);
    let names: Vec<String> =
        images.iter().zip(["x", "a", "z"]).map(|(image, tag)| from.push("m", tag, image)).collect();
    let index = from.push_index("m", "all", &[&images[0], &images[1], &images[2]]);
    let sandbox = Sandbox::empty();
    let list = |args: &[&str]| sandbox.ok(["manifest"].iter().chain(args).copied().collect::<Vec<_>>());
    let inspect = |name: &str| json(&list(&["inspect", name]));

    let id = list(&["create", "--annotation=of=list", "multi", &names[0]]);
    assert_eq!(list(&["add", "--arch=arm64", "--variant=v8", "--annotation", "k=v", "multi", &names[1]]), id);
    let found = inspect("multi");
    assert_eq!(found["mediaType"], "application/vnd.oci.image.index.v1+json");
    assert_eq!(found["annotations"]["of"], "list");
    assert_eq!(found["manifests"][0]["digest"], images[0].manifest.digest());
    let second = &found["manifests"][1];
    assert_eq!(
        second["platform"],
        serde_json::json!({"architecture": "arm64", "os": "linux", "variant": "v8"})
    );
    assert_eq!(
        (second["annotations"]["k"].as_str(), second["size"].as_u64()),
        (Some("v"), Some(images[1].manifest.bytes.len() as u64))
    );

    list(&["annotate", "--os-version=1.2", "--os-features=f", "multi", &images[1].manifest.digest()]);
    list(&["annotate", "--index", "--annotation=more=yes", "multi"]);
    let found = inspect("multi");
    assert_eq!(found["manifests"][1]["platform"]["os.version"], "1.2");
    assert_eq!(found["annotations"], serde_json::json!({"of": "list", "more": "yes"}));

    // The images themselves may go: the list keeps what it needs.
    sandbox.ok(["rmi", &names[0], &names[1]]);
    let target = to.reference("out", "v1");
    let pushed = list(&["push", "-q", "--digestfile=digest", "multi", &format!("docker://{target}")]);
    assert_eq!(sandbox.read("digest"), pushed);
    let response = to.request("GET", "/v2/out/manifests/v1", "", &[]);
    assert_eq!(json(&response.body), found);
    let other = Sandbox::empty();
    other.ok(["pull", "-q", "--platform=linux/arm64/v8", &target]);
    assert_eq!(
        other.ok(["image", "inspect", "--format={{.Architecture}} sha256:{{.Id}}", &target]),
        format!("arm64 {}", images[1].id())
    );

    assert_eq!(list(&["remove", "multi", &images[1].manifest.digest()]), id);
    assert_eq!(inspect("multi")["manifests"].as_array().map(Vec::len), Some(1));
    // All of an index, and amending.
    let refused = sandbox.ketch(["manifest", "create", "multi"]);
    assert!(refused.fails(125).contains("already in use"), "{}", refused.stderr);
    list(&["create", "--amend", "--all", "multi", &index]);
    assert_eq!(inspect("multi")["manifests"].as_array().map(Vec::len), Some(3));
    assert_eq!(
        json(&list(&["inspect", &format!("docker://{index}")]))["manifests"].as_array().map(Vec::len),
        Some(3)
    );

    assert_eq!(sandbox.ketch(["manifest", "exists", "multi"]).code, 0);
    assert_eq!(list(&["rm", "multi"]), format!("Untagged: localhost/multi:latest\nDeleted: {id}"));
    assert_eq!(sandbox.ketch(["manifest", "exists", "multi"]).code, 1);
    assert_eq!(sandbox.ketch(["manifest", "rm", "multi"]).code, 1);
    list(&["rm", "--ignore", "multi"]);
    for args in [&["add", "nosuch", "x"][..], &["annotate", "nosuch", "x"], &["remove", "nosuch", "x"]] {
        let args: Vec<_> = ["manifest"].iter().chain(args).copied().collect();
        sandbox.ketch(args).fails(125);
    }
    sandbox.ok(["rmi", "-a"]);
    assert_eq!(
        fs::read_dir(sandbox.store().join("blobs/sha256")).expect("list").count(),
        0,
        "nothing is kept"
    );
}

#[test]
fn artifacts_travel() {
    if !have("docker-registry") {
        return;
    }
    let registry = Registry::private();
    let sandbox = Sandbox::empty();
    sandbox.write("notes.txt", "some text\n");
    sandbox.write("data.bin", [vec![0; 3000], (0..=255).collect()].concat());
    let name = registry.reference("files", "v1");
    let digest = sandbox.ok([
        "artifact",
        "add",
        "--type=application/x.mine",
        "--annotation",
        "a=b",
        &name,
        "notes.txt",
        "data.bin",
    ]);
    let found = json(&sandbox.ok(["artifact", "inspect", &name]));
    assert_eq!(found["Digest"], format!("sha256:{digest}"));
    assert_eq!(found["Manifest"]["artifactType"], "application/x.mine");
    let layers = &found["Manifest"]["layers"];
    assert_eq!(layers[0]["mediaType"], "text/plain; charset=utf-8");
    assert_eq!(layers[1]["mediaType"], "application/octet-stream");
    assert_eq!(
        layers[0]["annotations"],
        serde_json::json!({"a": "b", "org.opencontainers.image.title": "notes.txt"})
    );
    let listed = sandbox.ok([
        "artifact",
        "ls",
        "--noheading",
        "--format={{.Repository}} {{.Tag}} {{.Digest}} {{.Size}}",
    ]);
    assert_eq!(listed, format!("{} v1 {} 3.266kB", name.strip_suffix(":v1").expect("a tag"), &digest[..12]));
    assert!(sandbox.ok(["artifact", "ls"]).starts_with("REPOSITORY"));
    assert!(sandbox.ketch(["artifact", "add", &name, "notes.txt"]).fails(125).contains("already exists"));
    sandbox.ketch(["artifact", "add", "other", "nosuch"]).fails(125);

    assert_eq!(sandbox.ok(["artifact", "push", "-q", &name]), digest);
    let other = Sandbox::empty();
    assert_eq!(other.ok(["artifact", "pull", "-q", &name]), digest);
    assert_eq!(json(&other.ok(["artifact", "inspect", &digest])), found);
    let blob = layers[0]["digest"].as_str().expect("a digest")[7..].to_owned();
    assert_eq!(other.read(format!("store/blobs/sha256/{blob}")), "some text\n");
    // Garbage collection spares it, and takes it when it is gone.
    other.ok(["image", "prune", "-f"]);
    assert_eq!(other.read(format!("store/blobs/sha256/{blob}")), "some text\n");
    assert_eq!(other.ok(["artifact", "rm", &name]), digest);
    assert!(!other.path(format!("store/blobs/sha256/{blob}")).exists());
    other.ketch(["artifact", "inspect", &name]).fails(125);
    other.ketch(["artifact", "pull", "-q", &registry.reference("nosuch", "1")]).fails(125);
}

#[test]
fn images_are_mounted_in_unshare_and_compared() {
    let sandbox = Sandbox::new();
    assert!(sandbox.ketch(["image", "mount", "bb"]).fails(125).contains("ketch unshare"));
    let script = "set -e; p=$(ketch image mount bb); cat $p/etc/passwd | head -n1; ! touch $p/x 2> /dev/null
        ketch image mount; ketch image unmount bb; ketch image mount | wc -l; ketch image mount -a > /dev/null; ketch image unmount -a | wc -l";
    let said = sandbox.ok(["unshare", "sh", "-c", script]);
    let lines: Vec<_> = said.lines().collect();
    assert!(lines[0].starts_with("root:x:0:0"), "{said}");
    assert!(lines[1].contains("bb") && lines[1].contains("/mounts/"), "{said}");
    assert_eq!((lines[2].len(), &lines[3..]), (64, &["0", "1"][..]), "{said}");

    sandbox.ok([
        "run",
        "--name=c",
        "--net=none",
        "bb",
        "sh",
        "-c",
        "rm /etc/group; echo > /new; rm -r /home; mkdir -p /d/e; chmod 700 /root",
    ]);
    sandbox.ok(["commit", "-q", "c", "app"]);
    assert_eq!(
        sandbox.ok(["image", "diff", "app", "bb"]),
        "A /d\nA /d/e\nC /etc\nD /etc/group\nD /home\nA /new\nC /root"
    );
    assert_eq!(sandbox.ok(["image", "diff", "bb", "bb"]), "");
}

#[test]
fn lists_that_are_changed_at_once_lose_nothing() {
    let sandbox = Sandbox::empty();
    let names = ["386", "amd64", "arm", "arm64", "mips64le", "ppc64le", "riscv64", "s390x"];
    for name in names {
        let image = of_architecture(name);
        write_layout(&sandbox, name, &[&image], &image.manifest, &format!("{name}:1"));
        sandbox.ok(["pull", "-q", &format!("oci:{name}:{name}:1")]);
    }
    let ids = sandbox.ok(["images", "-q", "--no-trunc"]);
    let ids: Vec<&str> = ids.lines().collect();
    assert_eq!(ids.len(), names.len());
    sandbox.ok(["manifest", "create", "multi"]);
    let entries = || {
        let found = json(&sandbox.ok(["manifest", "inspect", "multi"]));
        found["manifests"].as_array().expect("a list").clone()
    };
    let at_once = |commands: Vec<Vec<&str>>| {
        let running: Vec<_> = commands.into_iter().map(|args| sandbox.command(args).spawn()).collect();
        for output in running.into_iter().map(common::Running::wait) {
            output.ok();
        }
    };
    at_once(ids.iter().map(|id| vec!["manifest", "add", "multi", id]).collect());
    assert_eq!(entries().len(), names.len());
    let digests = entries();
    let digests: Vec<&str> = digests.iter().filter_map(|entry| entry["digest"].as_str()).collect();
    let annotate = |digest| vec!["manifest", "annotate", "--annotation=a=b", "multi", digest];
    at_once(digests.iter().copied().map(annotate).collect());
    assert!(entries().iter().all(|entry| entry["annotations"]["a"] == "b"), "{:?}", entries());
    at_once(digests[1..].iter().map(|digest| vec!["manifest", "remove", "multi", digest]).collect());
    assert_eq!(entries().len(), 1);
    let create = |id| vec!["manifest", "create", "--amend", "other", id];
    at_once(ids.iter().copied().map(create).collect());
    let other = json(&sandbox.ok(["manifest", "inspect", "other"]));
    assert_eq!(other["manifests"].as_array().map(Vec::len), Some(names.len()));
}
