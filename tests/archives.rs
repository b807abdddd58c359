//! `save`, `load` and `import`: every form there and back, what others wrote, and what is hostile.

mod common;

use std::fs;

use common::Sandbox;
use common::image::{Compression, Image, Layer};
use serde_json::Value;

fn field(sandbox: &Sandbox, image: &str, field: &str) -> String {
    sandbox.ok(["image", "inspect", &format!("--format={{{{{field}}}}}"), image])
}

/// Whether a tool is there that not every machine has; says aloud if it is not.
fn installed(name: &str) -> bool {
    use std::io::Write as _;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|dir| dir.join(name).exists());
    if !found {
        writeln!(std::io::stderr(), "SKIPPED: comparing with {name}, which is not installed")
            .expect("write to standard error");
    }
    found
}

/// Runs a program of the machine in the sandbox's directory, which has to succeed.
#[track_caller]
fn program(sandbox: &Sandbox, name: &str, args: &[&str]) -> String {
    sandbox.program(name, args).run().ok().to_owned()
}

#[test]
fn every_form_there_and_back() {
    let sandbox = Sandbox::new();
    sandbox.ok([
        "run",
        "--name=c",
        "--net=none",
        "bb",
        "sh",
        "-c",
        "rm -r /home; echo hi > /new; chown 7:8 /new",
    ]);
    sandbox.ok(["commit", "-q", "-f=docker", "c", "app:v1"]);
    let (id, digest) = (field(&sandbox, "app:v1", ".Id"), field(&sandbox, "app:v1", ".Digest"));
    let bb = field(&sandbox, "bb", ".Id");
    for (format, path) in
        [("docker-archive", "a.tar"), ("oci-archive", "o.tar"), ("oci-dir", "od"), ("docker-dir", "dd")]
    {
        sandbox.ok(["save", "-q", "--format", format, "-o", path, "app:v1"]);
        // Into an empty store, and with the layers of another image there.
        for base in [Sandbox::empty(), Sandbox::new()] {
            let input = sandbox.path(path);
            let loaded = base.ok(["load", "-i", input.to_str().expect("UTF-8")]);
            let name =
                if format == "docker-dir" { format!("sha256:{id}") } else { "localhost/app:v1".to_owned() };
            assert_eq!(loaded, format!("Loaded image: {name}"), "{format}");
            assert_eq!(field(&base, &id, ".Id"), id, "{format}");
            if format == "docker-dir" {
                assert_eq!(field(&base, &id, ".Digest"), digest, "its manifest is Docker's already");
            }
            let ran = base.ok([
                "run",
                "--rm",
                "--net=none",
                &id,
                "sh",
                "-c",
                "cat /new; stat -c %u:%g /new; ls -d /home 2>&1 || true",
            ]);
            assert!(ran.starts_with("hi\n7:8\nls: /home"), "{format}: {ran}");
        }
    }
    // The same bytes each time, and an OCI image keeps its digests.
    sandbox.ok(["save", "-o", "a2.tar", "app:v1"]);
    assert!(
        fs::read(sandbox.path("a.tar")).expect("read") == fs::read(sandbox.path("a2.tar")).expect("read")
    );
    sandbox.ok(["commit", "-q", "c", "oci"]);
    let digest = field(&sandbox, "oci", ".Digest");
    sandbox.ok(["save", "--format=oci-archive", "-o", "oci.tar", "oci"]);
    let other = Sandbox::empty();
    other.ok(["load", "-i", sandbox.path("oci.tar").to_str().expect("UTF-8")]);
    assert_eq!(field(&other, "oci", ".Digest"), digest);

    // Several at once, through pipes.
    let all = sandbox.program("sh", ["-c", "ketch save -m app:v1 bb | ketch --root=other load"]).run();
    assert_eq!(all.ok().lines().count(), 2, "{}", all.stdout);
    let listed = sandbox.ok(["--root=other", "images", "--no-trunc", "-q"]);
    assert!(listed.contains(&id) && listed.contains(&bb), "{listed}");
    // Further names of one.
    sandbox.ok(["save", "-o", "names.tar", "app:v1", "more:1", "r.io/app:2"]);
    let loaded = sandbox.ok(["--root=third", "load", "-q", "-i", "names.tar"]);
    assert_eq!(
        loaded,
        "Loaded image: localhost/more:1\nLoaded image: r.io/app:2\nLoaded image: localhost/app:v1"
    );
}

#[test]
fn compressed_archives() {
    let sandbox = Sandbox::new();
    sandbox.ok(["save", "-o", "a.tar", "bb"]);
    let id = field(&sandbox, "bb", ".Id");
    for tool in ["gzip", "zstd", "xz", "bzip2"] {
        if !installed(tool) {
            continue;
        }
        let script = format!("{tool} -c1 a.tar > a.z && ketch --root=s-{tool} load < a.z");
        assert!(sandbox.program("sh", ["-c", &script]).run().ok().starts_with("Loaded image: "), "{tool}");
        assert_eq!(
            sandbox.ok([&format!("--root=s-{tool}"), "images", "--no-trunc", "-q"]),
            format!("sha256:{id}")
        );
    }
}

#[test]
fn refusals() {
    let sandbox = Sandbox::new();
    let say = |args: &[&str]| sandbox.ketch(args).fails(125).to_owned();
    sandbox.write("text", "no archive at all, but long enough to have a header".repeat(40));
    sandbox.write("empty", "");
    fs::create_dir(sandbox.path("dir")).expect("make a directory");
    for path in ["text", "empty", "dir"] {
        assert!(
            say(&["load", "-i", path]).contains("does not match any of the supported image formats"),
            "{path}"
        );
    }
    assert!(say(&["load", "-i", "nosuch"]).contains("nosuch"));
    assert!(say(&["save", "nosuch"]).contains("image not known"));
    say(&["save", "--format=oci-dir", "bb"]);
    say(&["save", "--compress", "-o", "x", "bb"]);
    sandbox.command(["save", "bb"]).on_terminal(24, 80).expect("refusing to save to terminal");
    let full = sandbox.program("sh", ["-c", "ketch save bb > /dev/full"]).run();
    assert!(full.fails(125).contains("no space left on device"), "{}", full.stderr);
    // A whole archive whose layer is not what its configuration says.
    fs::create_dir_all(sandbox.path("x")).expect("make a directory");
    sandbox.ok(["save", "-o", "a.tar", "bb"]);
    let script = "cd x && tar xf ../a.tar && for f in *.tar; do echo damage >> $f; done && tar cf ../bad.tar * && rm manifest.json && tar cf ../none.tar *";
    program(&sandbox, "sh", &["-c", script]);
    assert!(say(&["--root=e", "load", "-i", "bad.tar"]).contains("diff ID"));
    assert!(say(&["--root=e", "load", "-i", "none.tar"]).contains("supported image formats"));
    assert_eq!(sandbox.ok(["--root=e", "images", "-aq"]), "");
    // Truncated in the middle.
    let text = fs::read(sandbox.path("a.tar")).expect("read");
    sandbox.write("half.tar", &text[..text.len() / 2]);
    say(&["--root=e", "load", "-i", "half.tar"]);
    assert_eq!(sandbox.ok(["--root=e", "images", "-aq"]), "");
}

/// Old Docker's archives have a directory for each layer, links between them, and the manifest at their end.
/// SEC-25: what is no digest is refused, and never becomes a path.
#[test]
fn digests_that_are_none() {
    let image = common::image::marked("digests");
    let hex = &image.layers[0].digest()[7..];
    let bad = [
        "sha256:../../x",
        &format!("sha256:{}", hex.to_uppercase()),
        "sha256:abc",
        "sha512:abc",
        "",
        "sha256:",
    ];
    for digest in bad {
        for at in ["index", "config", "layer"] {
            let sandbox = Sandbox::empty();
            let mut text = String::from_utf8(image.manifest.bytes.clone()).expect("UTF-8");
            match at {
                "config" => text = text.replace(&image.config.digest(), digest),
                "layer" => text = text.replace(&image.layers[0].digest(), digest),
                _ => {}
            }
            let mut manifest = image.manifest.clone();
            manifest.bytes = text.into_bytes();
            common::image::write_layout(&sandbox, "layout", &[&image], &manifest, "x:1");
            if at == "index" {
                let index = sandbox.read("layout/index.json").replace(&manifest.digest(), digest);
                sandbox.write("layout/index.json", index);
            }
            // What a path made of it would lead to.
            sandbox.write("layout/x", &image.config.bytes);
            let output = sandbox.ketch(["load", "-q", "-i", "layout"]);
            // Entries of an index that are for others (sha512) are passed over.
            let said = output.fails(125);
            assert!(said.contains("digest") || at == "index", "{digest:?} {at}: {}", output.stderr);
            assert_eq!(sandbox.ok(["images", "-q"]), "");
        }
    }
    let sandbox = Sandbox::new();
    for typed in bad.into_iter().chain(["a@sha256:../../x", "../../format", "@sha256:abc"]) {
        let output = sandbox.ketch(["image", "inspect", "--format={{.Id}}", typed]);
        assert_eq!((output.code, output.stdout.trim()), (125, ""), "{typed:?}: {}", output.stderr);
        assert_ne!(sandbox.ketch(["rmi", typed]).code, 0, "{typed:?}");
        assert_ne!(sandbox.ketch(["pull", "-q", &format!("127.0.0.1:1/a@{typed}")]).code, 0, "{typed:?}");
    }
    assert_eq!(sandbox.ok(["images", "-q"]).lines().count(), 1, "nothing was removed");
}

#[test]
fn archives_of_old_docker() {
    let sandbox = Sandbox::new();
    sandbox.ok(["save", "-o", "a.tar", "bb"]);
    let script = "mkdir x y && cd x && tar xf ../a.tar && n=0 && for f in $(grep -o '[0-9a-f]*\\.tar' manifest.json); do
        n=$((n+1)); mkdir ../y/$n; mv $f ../y/$n/layer.tar; sed -i \"s/$f/l$n\\/layer.tar/\" manifest.json
        mkdir ../y/l$n; ln -s ../$n/layer.tar ../y/l$n/layer.tar; done; mv *.json ../y; cd ../y && tar cf ../old.tar l1 l2 1 2 $(ls *.json | sort -r)";
    program(&sandbox, "sh", &["-c", script]);
    let loaded = sandbox.ok(["--root=e", "load", "-i", "old.tar"]);
    assert!(loaded.starts_with("Loaded image: "), "{loaded}");
    let ids = |root: &str| sandbox.ok([root, "images", "--no-trunc", "-q"]);
    assert_eq!(ids("--root=e"), ids("--root=store"));
}

#[test]
fn layouts_with_an_index_choose_this_machines_image() {
    let sandbox = Sandbox::new();
    let built = |arch: &str| {
        Image::new()
            .layer(Layer::new().file("arch", 0o644, arch), Compression::Gzip)
            .platform("linux", arch, None)
            .build()
    };
    let images = [built("s390x"), built(if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" })];
    let index = common::image::index(&[&images[0], &images[1]]);
    common::image::write_layout(&sandbox, "l", &images.each_ref(), &index, "multi:1");
    assert_eq!(sandbox.ok(["load", "-i", "l"]), "Loaded image: localhost/multi:1");
    assert_eq!(format!("sha256:{}", field(&sandbox, "multi:1", ".Id")), images[1].id());
    // A blob that is not what it is called.
    let layer = format!("l/blobs/sha256/{}", &images[1].layers[0].digest()[7..]);
    sandbox.write(&layer, "other");
    assert!(sandbox.ketch(["--root=e", "load", "-i", "l"]).fails(125).contains("has digest"));
}

#[test]
fn imports() {
    let sandbox = Sandbox::new();
    sandbox.ok(["create", "--name=c", "--net=none", "bb"]);
    sandbox.ok(["export", "-o", "root.tar", "c"]);
    let imported = sandbox.ok([
        "import",
        "-q",
        "-m",
        "why",
        "-c",
        "CMD [\"cat\", \"/etc/passwd\"]",
        "--change=ENV A=b",
        "--arch=amd64",
        "--os=linux",
        "root.tar",
        "flat:1",
    ]);
    assert_eq!(imported, format!("sha256:{}", field(&sandbox, "flat:1", ".Id")));
    assert!(sandbox.ok(["run", "--rm", "--net=none", "flat:1"]).contains("app:x:1000"));
    let history: Value =
        serde_json::from_str(&sandbox.ok(["history", "--format=json", "flat:1"])).expect("JSON");
    assert_eq!(history[0]["comment"], "why");
    assert!(history[0]["CreatedBy"].as_str().is_some_and(|by| by.starts_with("/bin/sh -c #(nop) ADD file:")));
    sandbox.ok(["import", "-q", "--platform=linux/arm64/v8", "root.tar", "flat:arm"]);
    assert_eq!(field(&sandbox, "flat:arm", ".Architecture"), "arm64");
    // From a pipe, compressed.
    let id = sandbox.program("sh", ["-c", "gzip -1 < root.tar | ketch import -q -"]).run().ok().to_owned();
    assert_eq!(sandbox.ok(["run", "--rm", "--net=none", &id, "id", "-u"]), "0");
    sandbox.write("text", "no archive at all");
    sandbox.ketch(["import", "text"]).fails(125);
    sandbox.ketch(["import", "-c", "RUN x", "root.tar"]).fails(125);
    // And saved, where an uncompressed layer is compressed for OCI's forms.
    sandbox.ok(["save", "--format=oci-dir", "-o=od", "flat:1"]);
    sandbox.ok(["save", "--format=oci-dir", "--uncompressed", "-o=od2", "flat:1"]);
    let size = |dir: &str| {
        let entries = fs::read_dir(sandbox.path(dir).join("blobs/sha256")).expect("list");
        entries.map(|entry| entry.expect("list").metadata().expect("stat").len()).sum::<u64>()
    };
    assert!(size("od") * 3 < size("od2") * 2, "{} {}", size("od"), size("od2"));
    for dir in ["od", "od2"] {
        assert_eq!(sandbox.ok(["--root=e", "load", "-i", dir]), "Loaded image: localhost/flat:1");
        assert_eq!(
            sandbox.ok(["--root=e", "image", "inspect", "--format=sha256:{{.Id}}", "flat:1"]),
            imported
        );
    }
}

#[test]
fn skopeo_and_umoci_read_and_write_the_same() {
    let sandbox = Sandbox::new();
    if !installed("skopeo") {
        return;
    }
    sandbox.ok([
        "run",
        "--name=c",
        "--net=none",
        "bb",
        "sh",
        "-c",
        "rm -r /home; ln /bin/busybox /hard; mkfifo /fifo",
    ]);
    sandbox.ok(["commit", "-q", "c", "app:v1"]);
    let (id, digest) = (field(&sandbox, "app:v1", ".Id"), field(&sandbox, "app:v1", ".Digest"));
    sandbox.ok(["save", "--format=oci-dir", "-o=od", "app:v1"]);
    sandbox.ok(["save", "--format=oci-archive", "-o=o.tar", "app:v1"]);
    sandbox.ok(["save", "-o=a.tar", "app:v1"]);
    let skopeo = |from: &str, to: &str| {
        let args = ["--insecure-policy", "--tmpdir=tmp", "copy", "-q", from, to];
        program(&sandbox, "skopeo", &args);
    };
    let inspect =
        |of: &str| program(&sandbox, "skopeo", &["--tmpdir=tmp", "inspect", "--format={{.Digest}}", of]);
    assert_eq!(inspect("oci:od:localhost/app:v1"), digest);
    assert_eq!(inspect("oci-archive:o.tar:localhost/app:v1"), digest);
    for (n, (from, to, path)) in [
        ("oci:od:localhost/app:v1", "oci:s1:again:v1", "s1"),
        ("oci-archive:o.tar:localhost/app:v1", "docker-archive:s2:again:v1", "s2"),
        ("docker-archive:a.tar", "oci-archive:s3:again:v1", "s3"),
        ("oci:od:localhost/app:v1", "dir:s4", "s4"),
    ]
    .into_iter()
    .enumerate()
    {
        skopeo(from, to);
        let root = format!("--root=r{n}");
        sandbox.ok([&root, "load", "-i", path]);
        let loaded = sandbox.ok([&root, "images", "--no-trunc", "-q"]);
        // From Docker's form to OCI's skopeo writes the configuration anew, and with it the ID.
        if !from.starts_with("docker-archive:") {
            assert_eq!(loaded, format!("sha256:{id}"), "{from} {to}");
        }
        let script = "ls -d /home; stat -c '%F %h' /hard /fifo";
        let ran = sandbox.ketch([&root, "run", "--rm", "--net=none", &loaded, "sh", "-c", script]);
        assert_eq!(ran.stdout.trim_end(), "regular file 2\nfifo 1", "{from}");
    }
    if !installed("umoci") {
        return;
    }
    program(&sandbox, "umoci", &["unpack", "--rootless", "--image=od:localhost/app:v1", "bundle"]);
    assert!(!sandbox.path("bundle/rootfs/home").exists() && sandbox.path("bundle/rootfs/hard").exists());
}

/// A file is filled by several threads, a pipe is not: the bytes are the same.
#[test]
fn a_file_and_a_pipe_get_the_same_archive() {
    let sandbox = Sandbox::empty();
    let layer = |name: &str, bytes: usize| Layer::new().file(name, 0o644, common::noise(bytes));
    let image = Image::new()
        .layer(layer("a", 3_000_001), Compression::Gzip)
        .layer(layer("b", 10), Compression::Zstd)
        .layer(layer("c", 2_000_000), Compression::None)
        .layer(layer("d", 1_500_000), Compression::Gzip)
        .layer(layer("b", 10), Compression::Gzip)
        .build();
    let server = common::faults::Faults::start(image.content(), |_, answer| answer);
    let name = format!("{}/a/b:1", server.address());
    sandbox.ok(["pull", "-q", &name]);
    let script = format!(
        "set -e; ketch save -q {name} | cat > pipe.tar; ketch save -q -o file.tar {name}; \
         echo head > behind.tar; ketch save -q {name} >> behind.tar; \
         {{ echo head; ketch save -q {name}; }} > within.tar; head -c 9000000 /dev/urandom > over.tar; \
         ketch save -q {name} 1<> over.tar; head -c $(stat -c %s pipe.tar) over.tar > cut.tar; \
         cmp pipe.tar file.tar; cmp pipe.tar cut.tar; cmp behind.tar within.tar; tail -c +6 within.tar | cmp - pipe.tar"
    );
    sandbox.program("sh", ["-c", &script]).run().ok();
    let other = Sandbox::empty();
    other.ok(["load", "-q", "-i", sandbox.path("file.tar").to_str().expect("UTF-8")]);
    assert_eq!(other.ok(["images", "-q", "--no-trunc"]), image.id());
    // A blob that is damaged, or gone, is told, and leaves no file.
    let damaged = sandbox.store().join("blobs/sha256").join(&image.layers[3].digest()[7..]);
    let bytes = fs::read(&damaged).expect("the blob");
    fs::write(&damaged, &bytes[..bytes.len() / 2]).expect("damage it");
    sandbox.ketch(["save", "-q", "-o", "bad.tar", &name]).fails(125);
    fs::remove_file(&damaged).expect("remove it");
    assert!(sandbox.ketch(["save", "-q", "-o", "bad.tar", &name]).fails(125).contains("pull it again"));
    let left = fs::read_dir(sandbox.path("")).expect("list").flatten();
    assert!(!left.into_iter().any(|entry| entry.file_name().to_string_lossy().contains("bad.tar")));
}

/// A layer that a build has just made and not synced yet becomes part of a loaded image only when it is on the disk.
#[test]
fn layers_that_are_there_are_on_the_disk_before_an_image_is() {
    let sandbox = Sandbox::new();
    sandbox.ok(["save", "-q", "-o", "bb.tar", "bb"]);
    let layers = || {
        let entries = fs::read_dir(sandbox.store().join("layers")).expect("list").flatten();
        entries.map(|entry| entry.path().join("layer.json")).collect::<Vec<_>>()
    };
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("the boot ID");
    for file in layers() {
        let mut record: Value = serde_json::from_slice(&fs::read(&file).expect("read")).expect("JSON");
        record["unsynced"] = boot.trim().into();
        fs::write(&file, record.to_string()).expect("write");
    }
    sandbox.ok(["load", "-q", "-i", "bb.tar"]);
    for file in layers() {
        let text = fs::read_to_string(&file).expect("read");
        assert!(!text.contains("unsynced"), "{text}");
    }
}

/// docker's words are images, podman's further ones names of the first: who meant images is told.
#[test]
fn docker_saves_each_image_that_is_named() {
    let sandbox = Sandbox::new();
    sandbox.write("ctx/Dockerfile", "FROM bb\nLABEL other=yes\n");
    sandbox.ok(["build", "-q", "-t", "other", "ctx"]);
    let docker = sandbox.path("docker");
    std::os::unix::fs::symlink(common::ketch_binary(), &docker).expect("make a link");
    let ids = |sandbox: &Sandbox| ["bb", "other"].map(|name| field(sandbox, name, ".Id"));
    let before = ids(&sandbox);
    sandbox.program(&docker, ["save", "-o", "both.tar", "bb", "other"]).run().ok();
    let saved = sandbox.ketch(["save", "-q", "-o", "one.tar", "bb", "other"]);
    saved.ok();
    assert!(saved.stderr.contains("Warning: other is not saved"), "{}", saved.stderr);
    let named = sandbox.ketch(["save", "-q", "-o", "named.tar", "bb", "new:1"]);
    assert!(named.ok().is_empty() && named.stderr.is_empty(), "{}", named.stderr);
    sandbox.ok(["rmi", "-f", "other", "bb"]);
    sandbox.ok(["load", "-i", "both.tar"]);
    assert_eq!(ids(&sandbox), before);
}
