//! Images that are odd but right: what they hold arrives, and goes out again, as it is.

mod common;

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use common::faults::{Content, Faults};
use common::image::{Built, Compression, Image, Layer};
use common::registry::Registry;
use common::{Sandbox, have, json};
use serde_json::Value;

fn serve(image: &Built) -> Faults {
    Faults::start(image.content(), |_, answer| answer)
}

#[test]
fn rel_68_variables_that_are_none_are_left_out() {
    let image = Image::new()
        .layer(common::bb::root_layer(), Compression::Gzip)
        .env("=x")
        .env("NOEQ")
        .env("LINES=one\ntwo")
        .env("EMPTY=")
        .env("LAST=a=b")
        .build();
    let server = serve(&image);
    let name = format!("{}/a/b:1", server.address());
    let sandbox = Sandbox::empty();
    sandbox.ok(["pull", "-q", &name]);
    let script = "env; printf '[%s]' \"$LINES\" \"$EMPTY\" \"$LAST\"";
    let shown = sandbox.ok(["run", "--rm", "--net=none", &name, "sh", "-c", script]);
    assert!(shown.ends_with("[one\ntwo][][a=b]"), "{shown}");
    assert!(!shown.contains("NOEQ") && !shown.lines().any(|line| line.starts_with('=')), "{shown}");
    // The image itself says what its author wrote.
    let env = sandbox.ok(["image", "inspect", "--format={{json .Config.Env}}", &name]);
    let env: Vec<String> = serde_json::from_str(&env).expect("JSON");
    assert_eq!(env, ["=x", "NOEQ", "LINES=one\ntwo", "EMPTY=", "LAST=a=b"]);
}

/// REL-44: names of files are bytes, in layers too.
#[test]
fn names_that_are_no_utf_8_make_the_round() {
    let odd = |name: &[u8]| Path::new(std::ffi::OsStr::from_bytes(name)).to_owned();
    let layer = Layer::new()
        .dir(odd(b"d\xff"), 0o755)
        .file(odd(b"d\xff/f\xfe"), 0o644, "odd")
        .symlink(odd(b"l\xc3"), odd(b"d\xff/f\xfe"))
        .hardlink(odd(b"h\x80"), odd(b"d\xff/f\xfe"));
    let image = Image::new()
        .layer(common::bb::root_layer(), Compression::Gzip)
        .layer(layer, Compression::Zstd)
        .build();
    let server = serve(&image);
    let name = format!("{}/a/b:1", server.address());
    let sandbox = Sandbox::empty();
    sandbox.ok(["pull", "-q", &name]);
    let script =
        r"cat $(printf '/d\377/f\376') $(printf '/l\303') $(printf '/h\200'); : > $(printf '/new\377')";
    assert_eq!(sandbox.ok(["run", "--name=c", "--net=none", &name, "sh", "-c", script]), "oddoddodd");
    sandbox.ok(["commit", "-q", "c", "more"]);
    sandbox.ok(["save", "--format=oci-archive", "-o", "more.tar", "more"]);
    let other = Sandbox::empty();
    other.ok(["load", "-q", "-i", &sandbox.path("more.tar").display().to_string()]);
    let script = r"test -f $(printf '/new\377') && cat $(printf '/l\303')";
    assert_eq!(other.ok(["run", "--rm", "--net=none", "more", "sh", "-c", script]), "odd");
}

/// Layers that may not be given on: fetched from the registry like others, and pushed as they are.
#[test]
fn foreign_layers_keep_what_they_are_called() {
    if !have("docker-registry") {
        return;
    }
    let mut image = Image::new()
        .layer(Layer::new().file("one", 0o644, "1"), Compression::Gzip)
        .layer(Layer::new().file("two", 0o644, "2"), Compression::Gzip)
        .build();
    image.layers[0].media_type = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip".into();
    image.manifest = common::image::manifest(&image.manifest.media_type, &image.config, &image.layers);
    let registry = Registry::private();
    let name = registry.push("foreign", "1", &image);
    let sandbox = Sandbox::empty();
    sandbox.ok(["pull", "-q", &name]);
    let to = registry.reference("copy", "1");
    sandbox.ok(["push", "-q", &name, &to]);
    let pushed = registry.request("GET", "/v2/copy/manifests/1", "", &[]);
    assert_eq!(pushed.body.as_bytes(), image.manifest.bytes);
    // A registry that has not the layer says so.
    let mut bare = Content::default();
    bare.blob("a/b", &image.config.bytes);
    bare.blob("a/b", &image.layers[1].bytes);
    bare.manifest("a/b", "1", &image.manifest.media_type, &image.manifest.bytes);
    let server = Faults::start(bare, |_, answer| answer);
    let output = Sandbox::empty().ketch(["pull", "--retry=0", &format!("{}/a/b:1", server.address())]);
    assert!(output.fails(125).contains(&image.layers[0].digest()), "{}", output.stderr);
    assert!(output.stderr.contains("not found"), "{}", output.stderr);
}

/// zstd:chunked is zstd to everybody who knows no better, and says where its table is.
#[test]
fn layers_with_a_table_of_contents() {
    if !have("docker-registry") {
        return;
    }
    let layer = Layer::new()
        .dir("d", 0o755)
        .file("d/one", 0o4755, "first")
        .hardlink("d/hard", "d/one")
        .symlink("d/link", "one")
        .file("empty", 0o600, "")
        .xattrs(&[("user.mine", b"\0value")])
        .file("d/".to_owned() + &"n".repeat(200), 0o644, "x".repeat(300_000));
    let image = Image::new().layer(layer, Compression::Gzip).build();
    let registry = Registry::private();
    let name = registry.push("plain", "1", &image);
    let sandbox = Sandbox::empty();
    sandbox.ok(["pull", "-q", &name]);
    let to = registry.reference("chunked", "1");
    sandbox.ok(["push", "-q", "--compression-format=zstd:chunked", &name, &to]);
    let document = || json(&registry.request("GET", "/v2/chunked/manifests/1", "", &[]).body);
    let first = document();
    let layer = &first["layers"][0];
    assert!(layer["mediaType"].as_str().expect("text").ends_with("tar+zstd"));
    assert_eq!(first["config"]["digest"], image.id(), "the image stays what it is");
    let said = |key: &str| {
        let key = format!("io.github.containers.zstd-chunked.{key}");
        layer["annotations"][&key].as_str().unwrap_or_else(|| panic!("{key}: {layer}")).to_owned()
    };
    let blob =
        std::fs::read(registry.blob_file(layer["digest"].as_str().expect("a digest"))).expect("the blob");
    let numbers: Vec<usize> =
        said("manifest-position").split(':').map(|n| n.parse().expect("a number")).collect();
    let table = &blob[numbers[0]..numbers[0] + numbers[1]];
    assert_eq!(common::image::digest(table), said("manifest-checksum"));
    let table = zstd::decode_all(table).expect("zstd");
    assert_eq!(table.len(), numbers[2]);
    let table: Value = serde_json::from_slice(&table).expect("JSON");
    let types: Vec<&str> = table["entries"]
        .as_array()
        .expect("entries")
        .iter()
        .filter_map(|entry| entry["type"].as_str())
        .collect();
    assert_eq!(types, ["dir", "reg", "hardlink", "symlink", "reg", "reg"]);
    assert!(table["entries"].to_string().contains("\"user.mine\""));

    let other = Sandbox::empty();
    other.ok(["pull", "-q", &to]);
    assert_eq!(other.ok(["images", "-q", "--no-trunc"]), image.id());
    // What has a table keeps it; plain zstd takes it away.
    other.ok(["push", "-q", "--compression-format=zstd:chunked", &to, &to]);
    assert_eq!(document(), first);
    other.ok(["push", "-q", "--compression-format=zstd", "--force-compression", &to, &to]);
    assert!(!document()["layers"][0].to_string().contains("zstd-chunked"), "{}", document());
}

/// REL-63: a store on a file system in memory works like any other.
#[test]
fn rel_63_a_store_in_memory() {
    let image = Image::new().layer(common::bb::root_layer(), Compression::Gzip).build();
    let server = serve(&image);
    let sandbox = Sandbox::empty();
    std::fs::create_dir(sandbox.store()).expect("a directory to mount on");
    let script = format!(
        "mount -t tmpfs -o size=60m,mode=700 none \"$KETCH_ROOT\" || exit 99
         ketch pull -q {0}/a/b:1 > id && ketch image inspect --format '{{{{.Os}}}}' {0}/a/b:1 && ketch rmi -f {0}/a/b:1 > gone && ls \"$KETCH_ROOT/layers\" | wc -l",
        server.address()
    );
    let wrapped = ["--user", "--map-root-user", "--mount", "sh", "-c", &script];
    let output = sandbox.program("unshare", wrapped).run();
    if output.code == 99 {
        common::skip("no file system of its own in a user namespace");
        return;
    }
    assert_eq!(output.ok(), "linux\n0");
}

/// getmntent(3) reads /etc/mtab: an image without one has it in its containers, and nowhere else.
#[test]
fn the_mount_table_is_where_programs_look_for_it() {
    let sandbox = Sandbox::new();
    let look = "readlink /etc/mtab; grep -c ' / ' /etc/mtab";
    assert_eq!(sandbox.sh(&["--read-only"], look).ok(), "/proc/mounts\n1");
    sandbox.ok(["run", "--net=none", "--name=c", "bb", "sh", "-c", "grep -q proc /etc/mtab; touch /new"]);
    assert_eq!(sandbox.ok(["diff", "c"]), "A /new");
    sandbox.ok(["commit", "-q", "c", "made"]);
    sandbox.write(
        "Dockerfile",
        "FROM bb\nRUN test -L /etc/mtab && touch /new\nFROM bb\nRUN rm /etc/mtab && ln -s other /etc/mtab\n",
    );
    sandbox.ok(["build", "-q", "--network=none", "-t", "own", "."]);
    sandbox.ok(["build", "-q", "--network=none", "--target=0", "-t", "built", "."]);
    for image in ["made", "built"] {
        assert_eq!(sandbox.ok(["image", "diff", image]), "A /new", "{image}");
    }
    assert_eq!(sandbox.ok(["run", "--rm", "--net=none", "own", "readlink", "/etc/mtab"]), "other");
    assert!(sandbox.ok(["image", "diff", "own"]).contains("A /etc/mtab"));
}

/// Root file systems packed from a directory of mktemp(1) say that nobody else may enter.
#[test]
fn everybody_may_enter_the_root_of_an_image() {
    let sandbox = Sandbox::new();
    let archive = common::bb::root_layer().dir("./", 0o700).finish();
    sandbox.write("root.tar", &archive);
    sandbox.ok(["import", "-q", "root.tar", "imported"]);
    sandbox.write("Dockerfile", "FROM scratch\nADD root.tar /\nUSER 1000\nRUN id -u\n");
    sandbox.ok(["build", "-q", "--network=none", "-t", "added", "."]);
    for image in ["imported", "added"] {
        let run = ["run", "--name", image, "--user=1000", "--passwd=false", "--net=none"];
        let look = [&run[..], &[image, "stat", "-c", "%a %u", "/"]].concat();
        assert_eq!(sandbox.ok(look), "755 0", "{image}");
        assert_eq!(sandbox.ok(["diff", image]), "", "{image}");
    }
}

#[test]
fn an_entrypoint_of_an_empty_word_is_none() {
    let image = common::bb::image().set("Entrypoint", serde_json::json!([""])).build();
    let server = serve(&image);
    let name = format!("{}/a/b:1", server.address());
    assert_eq!(Sandbox::empty().ok(["run", "-q", "--rm", "--net=none", &name, "echo", "fine"]), "fine");
}
