//! rm, rmi, prune, rename, tag and exists: what goes, what stays, and the exit codes.

mod common;

use std::fs;

use common::faults::Faults;
use common::image::{Compression, Image, Layer};
use common::{Sandbox, wait_for};

fn entries(sandbox: &Sandbox, below: &str) -> usize {
    fs::read_dir(sandbox.store().join(below)).map_or(0, Iterator::count)
}

#[test]
fn rm_takes_what_it_is_told_once() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok(["create", "--name=one", "bb"]);
    sandbox.ok(["create", "--name=two", "bb"]);

    assert_eq!(sandbox.ketch(["rm", "--latest", "one"]).code, 125);
    assert_eq!(sandbox.names().len(), 2, "nothing was removed");
    assert_eq!(sandbox.ketch(["rm", "one", &id, "one"]).ok(), "one");
    assert_eq!(sandbox.names(), ["two"]);
}

#[test]
fn rm_removes_what_does_not_run() {
    let sandbox = Sandbox::new();
    sandbox.ok(["create", "--name=one", "bb"]);
    sandbox.start("two", &[], "sleep 1000");

    let output = sandbox.ketch(["rm", "nosuch", "one", "two"]);

    assert_eq!((output.code, output.stdout.as_str()), (1, "one\n"), "{}", output.stderr);
    assert!(
        output.stderr.contains("Error: no container with ID or name \"nosuch\" found: no such container\n")
    );
    assert!(
        output
            .stderr
            .contains("as it is running - running or paused containers cannot be removed without force")
    );
    assert_eq!(sandbox.ketch(["rm", "nosuch"]).code, 1);
    for args in [vec!["rm", "-f", "nosuch"], vec!["rm", "--ignore", "nosuch"]] {
        let output = sandbox.ketch(&args);
        assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (0, "", ""), "{args:?}");
    }
    assert_eq!(sandbox.ok(["rm", "--force", "--time=0", "two"]), "two");
    assert_eq!(sandbox.names(), Vec::<String>::new());
    assert_eq!(
        (entries(&sandbox, "containers"), entries(&sandbox, "names"), entries(&sandbox, "staging")),
        (0, 0, 0)
    );
}

#[test]
fn rm_takes_files_of_other_users_and_anonymous_volumes_along() {
    let sandbox = Sandbox::new();
    let cidfile = sandbox.path("cid");
    let cidfile_option = format!("--cidfile={}", cidfile.display());
    let script = "mkdir -m 700 /d /data/d && echo x > /d/f && chown -R app /d /data/d";
    let words =
        ["run", "--name=box", "-v", "/data", "-v", "kept:/kept", &cidfile_option, "bb", "sh", "-c", script];
    let run = sandbox.ketch(words);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(entries(&sandbox, "volumes"), 2);

    sandbox.ok(["rm", "--volumes", "box"]);

    assert_eq!((entries(&sandbox, "containers"), entries(&sandbox, "staging")), (0, 0));
    assert_eq!(entries(&sandbox, "volumes"), 1, "the named volume stays");
    assert!(!cidfile.exists());
    // One that another container has left is overwritten, and kept while nothing takes its place.
    std::fs::write(&cidfile, "x".repeat(80)).expect("write");
    sandbox.ketch(["create", &cidfile_option, "--name=bad name", "bb"]).fails(125);
    assert_eq!(std::fs::read(&cidfile).expect("read").len(), 80);
    let id = sandbox.ok(["create", &cidfile_option, "bb"]);
    assert_eq!(std::fs::read_to_string(&cidfile).expect("read"), id.trim());
    // What has become another's is not removed with this one.
    std::fs::write(&cidfile, "0".repeat(64)).expect("write");
    sandbox.ok(["rm", &id]);
    assert!(cidfile.exists());
}

#[test]
fn rm_all_and_prune() {
    let sandbox = Sandbox::new();
    for name in ["a", "b", "c"] {
        sandbox.ok(["create", "--name", name, "--label", &format!("name={name}"), "bb"]);
    }
    sandbox.start("up", &[], "sleep 1000");

    assert_eq!(sandbox.ok(["container", "prune", "--force", "--filter=label=name=a"]).len(), 64);
    let asked = sandbox.command(["container", "prune"]).stdin("n\n").run();
    assert!(asked.stdout.ends_with("[y/N] "), "{}", asked.stdout);
    assert_eq!(sandbox.names(), ["b", "c", "up"]);
    assert_eq!(sandbox.ok(["container", "prune", "-f"]).lines().count(), 2);
    assert_eq!(sandbox.names(), ["up"]);
    assert!(
        sandbox
            .ketch(["container", "prune", "-f", "--filter=x=1"])
            .fails(125)
            .contains("x is an invalid filter")
    );
    sandbox.ok(["rm", "-fat0"]);
    assert_eq!(sandbox.names(), Vec::<String>::new());
}

/// REL-15: everyone who removes the same container succeeds.
#[test]
fn many_remove_one() {
    let sandbox = Sandbox::new();
    sandbox.start("box", &[], "sleep 1000");
    let removers: Vec<_> = (0..20).map(|_| sandbox.command(["rm", "-f", "-t", "0", "box"]).spawn()).collect();
    for remover in removers {
        let output = remover.wait();
        assert_eq!(output.code, 0, "{}", output.stderr);
    }
    assert_eq!(entries(&sandbox, "containers") + entries(&sandbox, "names"), 0);
}

#[test]
fn names_move_and_are_taken_once() {
    let sandbox = Sandbox::new();
    sandbox.ok(["create", "--name=one", "bb"]);
    sandbox.ok(["create", "--name=two", "bb"]);

    sandbox.ok(["rename", "one", "uno"]);

    assert_eq!(sandbox.names(), ["uno", "two"]);
    for (args, message) in [
        (["rename", "uno", "two"], "the container name \"two\" is already in use"),
        (["rename", "nosuch", "x"], "no container with name or ID \"nosuch\" found: no such container"),
        (["rename", "uno", "bad name!"], "names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*"),
    ] {
        let output = sandbox.ketch(args);
        assert!(output.fails(125).contains(message), "{}", output.stderr);
    }
    for (args, code) in [
        (["container", "exists", "uno"], 0),
        (["container", "exists", "one"], 1),
        (["image", "exists", "bb"], 0),
        (["image", "exists", "nosuch"], 1),
    ] {
        let output = sandbox.ketch(args);
        assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (code, "", ""), "{args:?}");
    }
    assert_eq!(sandbox.ok(["port", "uno"]), "");
    assert_eq!(sandbox.ketch(["port", "nosuch"]).code, 125);
}

#[test]
fn rmi_takes_names_first_and_the_image_last() {
    let sandbox = Sandbox::new();
    sandbox.ok(["tag", "bb", "quay.io/a/b:1"]);
    let id = sandbox.ok(["image", "inspect", "-f", "{{.Id}}", "bb"]);

    assert_eq!(sandbox.ok(["rmi", "quay.io/a/b:1"]), "Untagged: quay.io/a/b:1");
    sandbox.ok(["tag", "bb", "again"]);
    let by_id = sandbox.ketch(["rmi", &id]);
    assert_eq!(by_id.code, 125, "as podman: only one that is in use is 2");
    assert!(
        by_id.stderr.contains("with more than one tag ([localhost/again:latest localhost/bb:latest])"),
        "{}",
        by_id.stderr
    );
    sandbox.ok(["untag", "again"]);
    assert_eq!(sandbox.ok(["images", "--format={{.Tag}} {{.Dangling}}"]), "<none> true");
    sandbox.ok(["tag", &id, "bb"]);
    sandbox.ok(["create", "--name=user", "bb"]);
    let used = sandbox.ketch(["rmi", "bb"]);
    assert_eq!(used.code, 2);
    assert!(used.stderr.contains("image is in use by a container"), "{}", used.stderr);

    let gone = sandbox.ok(["rmi", "--force", "bb"]);

    assert_eq!(gone, format!("Untagged: localhost/bb:latest\nDeleted: {id}"));
    assert_eq!(sandbox.names(), Vec::<String>::new());
    for below in ["images", "refs", "layers", "blobs/sha256", "staging"] {
        assert_eq!(entries(&sandbox, below), 0, "{below}");
    }
    assert_eq!(sandbox.ketch(["rmi", "bb"]).code, 1);
    assert_eq!(sandbox.ketch(["rmi", "--force", "bb"]).code, 0);
    assert_eq!(sandbox.ketch(["tag", "nosuch", "x"]).fails(125), "Error: nosuch: image not known\n");
}

#[test]
fn image_prune_keeps_what_is_used() {
    let sandbox = Sandbox::new();
    sandbox.ok(["image", "prune", "--force"]);
    assert_eq!(sandbox.ketch(["image", "exists", "bb"]).code, 0, "it has a name");
    sandbox.ok(["create", "--name=user", "bb"]);
    sandbox.ok(["image", "prune", "--all", "--force"]);
    assert_eq!(sandbox.ketch(["image", "exists", "bb"]).code, 0, "it is used");
    sandbox.ok(["rm", "user"]);
    assert_eq!(sandbox.ok(["image", "prune", "--all", "--force"]).len(), 64);
    assert_eq!(entries(&sandbox, "layers"), 0);
}

/// What is large is out of the way at once, and removed by a process that holds nothing of the caller's.
#[test]
fn a_large_image_is_removed_behind_the_callers_back() {
    let sandbox = Sandbox::empty();
    let many = (0..2100).fold(Layer::new().owner(1, 1), |layer, n| layer.file(format!("f{n}"), 0o600, "x"));
    let image = Image::new().layer(many, Compression::Gzip).build();
    let server = Faults::start(image.content(), |_, answer| answer);
    let name = format!("{}/a/b:1", server.address());
    let left =
        || entries(&sandbox, "layers") + entries(&sandbox, "blobs/sha256") + entries(&sandbox, "images");
    sandbox.ok(["pull", "-q", &name]);
    let removed = sandbox.ok(["rmi", &name]);
    assert!(removed.contains("Deleted: "), "{removed}");
    assert_eq!(left(), 0, "nothing of it can be seen");
    // It can be pulled again at once; who wants to know that the space is free waits for it.
    sandbox.ok(["pull", "-q", &name]);
    sandbox.ok(["rmi", &name]);
    sandbox.ok(["system", "prune", "-f"]);
    assert_eq!(entries(&sandbox, "staging"), 0, "owners of other IDs, too");
    sandbox.ok(["pull", "-q", &name]);
    sandbox.ok(["rmi", &name]);
    sandbox.ok(["system", "reset", "-f"]);
    assert_eq!(entries(&sandbox, "staging"), 0);
    // One that was killed leaves what the next command sweeps.
    sandbox.ok(["pull", "-q", &name]);
    let layer =
        fs::read_dir(sandbox.store().join("layers")).expect("list").next().expect("a layer").expect("list");
    let trash = sandbox.store().join("staging/00000000-0000-0000-0000-000000000000-1-2-3");
    fs::rename(layer.path(), trash).expect("move the layer away");
    sandbox.ok(["rmi", "-f", &name]);
    wait_for("an empty staging directory", || match entries(&sandbox, "staging") {
        0 => Ok(()),
        left => Err(format!("{left} entries")),
    });
}

/// A sandbox with `bb`, `two` made from that, and `three` made from that; and the IDs of all.
fn family() -> (Sandbox, [String; 3]) {
    let sandbox = Sandbox::new();
    for (base, image) in [("bb", "two"), ("two", "three")] {
        sandbox.ok(["create", "--name=c", base]);
        sandbox.ok(["commit", "-q", "c", image]);
        sandbox.ok(["rm", "c"]);
    }
    let ids = ["bb", "two", "three"].map(|image| sandbox.ok(["image", "inspect", "-f", "{{.Id}}", image]));
    (sandbox, ids)
}

#[test]
fn an_image_knows_what_it_is_made_from() {
    let (sandbox, [bb, two, three]) = family();
    sandbox.write("ctx/Dockerfile", "FROM two\nRUN true\nLABEL a=b\n");
    sandbox.ok(["build", "-q", "--network=none", "-t", "built", "ctx"]);
    let parent = |image: &str| sandbox.ok(["image", "inspect", "-f", "{{.Parent}}", image]);
    assert_eq!([parent("bb"), parent("two"), parent("three"), parent("built")], ["", &bb, &two, &two]);
    let listed = sandbox.ok(["images", "--format={{.Repository}} {{.ParentId}}", "--sort=created"]);
    assert!(listed.ends_with(&format!("/three {two}\nlocalhost/two {bb}\nlocalhost/bb ")), "{listed}");
    let history = sandbox.ok(["history", "--no-trunc", "-q", "three"]);
    assert!(history.starts_with(&format!("{three}\n{two}\n{bb}")), "{history}");
    // Whoever gets them from elsewhere finds out by their histories, where they tell.
    sandbox.ok(["save", "-q", "-m", "-o", "all.tar", "bb", "two", "three"]);
    sandbox.ok(["rmi", "-a"]);
    sandbox.ok(["load", "-q", "-i", "all.tar"]);
    assert_eq!([parent("bb"), parent("two"), parent("three")], ["", &bb, &two]);
    sandbox.ok(["rmi", "two"]);
    assert_eq!(parent("three"), "");
}

#[test]
fn parents_without_a_name_stay_while_something_is_made_from_them() {
    let (sandbox, [_, two, three]) = family();
    let ids = |args: &[&str]| sandbox.ok([&["images", "-q", "--no-trunc", "--filter"], args].concat());
    let all = || sandbox.ok(["images", "-aq"]).lines().count();
    sandbox.ok(["untag", "two"]);
    assert_eq!(sandbox.ok(["images", "-q"]).lines().count(), 2);
    assert_eq!(ids(&["intermediate=true"]), format!("sha256:{two}"));
    assert_eq!(ids(&["dangling=true"]), "");
    assert_eq!(sandbox.ok(["image", "prune", "-f"]), "");
    assert_eq!(all(), 3);
    // What others are made from is gone without being told of: most of its bytes stay.
    assert_eq!(sandbox.ok(["rmi", "bb"]), "Untagged: localhost/bb:latest");
    let gone = format!("Untagged: localhost/three:latest\nDeleted: {three}");
    assert_eq!(sandbox.ok(["rmi", "--no-prune", "three"]), gone);
    assert_eq!(ids(&["dangling=true"]), format!("sha256:{two}"));
    assert_eq!(sandbox.ok(["rmi", &two]), format!("Deleted: {two}"));

    let (sandbox, [_, two, three]) = family();
    sandbox.ok(["untag", "two"]);
    let output = sandbox.ok(["rmi", "three"]);
    assert_eq!(output, format!("Untagged: localhost/three:latest\nDeleted: {three}\nDeleted: {two}"));
    assert_eq!(sandbox.ok(["images", "-a", "--format={{.Repository}}"]), "localhost/bb");

    let (sandbox, [_, two, three]) = family();
    sandbox.ok(["untag", "two"]);
    sandbox.ok(["untag", "three"]);
    assert_eq!(sandbox.ok(["image", "prune", "-f"]), format!("{three}\n{two}"));

    let (sandbox, [_, _, three]) = family();
    sandbox.ok(["tag", "bb", "more"]);
    let output = sandbox.ok(["rmi", "-a"]);
    let names =
        "Untagged: localhost/more:latest\nUntagged: localhost/bb:latest\nUntagged: localhost/two:latest\n";
    assert_eq!(output, format!("{names}Untagged: localhost/three:latest\nDeleted: {three}"));

    let (sandbox, [bb, two, three]) = family();
    let sorted = sandbox.ok(["images", "--sort=tag", "--format={{.Repository}}"]);
    assert_eq!(
        sorted, "localhost/bb\nlocalhost/two\nlocalhost/three",
        "the oldest first where all are the same"
    );
    assert_eq!(sandbox.ok(["image", "prune", "-af"]), format!("{bb}\n{two}\n{three}"));
    assert_eq!(sandbox.ok(["images", "-aq"]), "");
}
