//! `ketch push` to a real registry (Debian's docker-registry), and what skopeo finds there.

mod common;

use std::path::Path;

use common::image::{Built, Compression, Format, Image, Layer, digest};
use common::process::Output;
use common::registry::{Access, PASSWORD, Registry, USER};
use common::{Sandbox, have};
use serde_json::Value;

fn image(mark: &str) -> Built {
    Image::new()
        .layer(Layer::new().dir("etc", 0o755).file("etc/mark", 0o644, mark), Compression::Gzip)
        .layer(Layer::new().file("etc/second", 0o644, format!("2 {mark}")), Compression::Zstd)
        .layer(Layer::new().file("third", 0o600, format!("3 {mark}")), Compression::None)
        .build()
}

/// Pulls an image into a fresh sandbox.
#[track_caller]
fn pulled(name: &str) -> Sandbox {
    let sandbox = Sandbox::empty();
    sandbox.ok(["pull", "-q", name]);
    sandbox
}

#[track_caller]
fn well(output: &Output) -> &Output {
    assert_eq!(output.code, 0, "{}", output.stderr);
    output
}

/// The manifest that a registry has under a tag: its media type, its document and its bytes.
fn manifest(registry: &Registry, repository: &str, reference: &str) -> (String, Value, String) {
    let response = registry.request("GET", &format!("/v2/{repository}/manifests/{reference}"), "", &[]);
    assert_eq!(response.status, 200, "{}", response.body);
    let media_type = response.header("content-type").expect("a content type");
    let document = serde_json::from_str(&response.body).expect("JSON");
    (media_type, document, response.body)
}

#[test]
fn all_tags_of_a_repository_go_out() {
    if !have("docker-registry") {
        return;
    }
    let (from, to) = (Registry::private(), Registry::private());
    let sandbox = pulled(&from.push("any", "1", &image("all")));
    let repository = format!("{}/team/app", to.address());
    for tag in ["1", "2", "latest"] {
        sandbox.ok(["tag", &from.reference("any", "1"), &format!("{repository}:{tag}")]);
    }
    sandbox.ok(["tag", &from.reference("any", "1"), &format!("{}/team/app2:3", to.address())]);
    let bad = sandbox.ketch(["push", "--all-tags", &format!("{repository}:1")]);
    assert_eq!((bad.code, bad.stderr.contains("tag can't be used")), (125, true), "{}", bad.stderr);

    sandbox.ok(["push", "-q", "-a", &repository]);
    let listed = to.request("GET", "/v2/team/app/tags/list", "", &[]).body;
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    let mut tags: Vec<&str> =
        listed["tags"].as_array().expect("tags").iter().filter_map(Value::as_str).collect();
    tags.sort_unstable();
    assert_eq!(tags, ["1", "2", "latest"]);
    assert_eq!(to.request("GET", "/v2/team/app2/tags/list", "", &[]).status, 404, "another repository");
}

#[test]
fn what_was_pulled_goes_out_bit_for_bit() {
    if !have("docker-registry") {
        return;
    }
    for format in [Format::Oci, Format::Docker] {
        let from = Registry::private();
        let to = Registry::private();
        let image = Image::new()
            .format(format)
            .label("of", "push")
            .layer(Layer::new().file("one", 0o644, "1").dir("d", 0o700), Compression::Gzip)
            .layer(Layer::new().file("d/two", 0o755, "2"), Compression::Gzip)
            .build();
        let name = from.push("exact", "1", &image);
        let sandbox = pulled(&name);
        let file = sandbox.path("digest");
        let destination = to.reference("team/exact", "2");
        let flag = format!("--digestfile={}", file.display());
        let output = sandbox.ketch(["push", &flag, &name, &destination]);
        well(&output);
        assert_eq!(output.stdout, "");
        assert_eq!(sandbox.read("digest"), image.manifest.digest());
        let lines: Vec<&str> = output.stderr.lines().collect();
        assert_eq!(lines[0], "Getting image source signatures");
        assert_eq!(output.stderr.matches("Copying blob sha256:").count(), 2);
        assert_eq!(
            lines[3..],
            [&format!("Copying config {}", image.id()), "Writing manifest to image destination"]
        );
        let (media_type, _, body) = manifest(&to, "team/exact", "2");
        assert_eq!(
            (media_type.as_str(), body.as_bytes()),
            (image.manifest.media_type.as_str(), &*image.manifest.bytes)
        );
        for blob in image.layers.iter().chain([&image.config]) {
            assert_eq!(std::fs::read(to.blob_file(&blob.digest())).expect("the blob"), blob.bytes);
        }
        let again = sandbox.ketch(["push", &name, &format!("docker://{destination}")]);
        assert_eq!(well(&again).stderr.matches("skipped: already exists").count(), 2, "{}", again.stderr);
        let quiet = sandbox.ketch(["image", "push", "-q", &name, &destination]);
        assert_eq!(well(&quiet).stderr, "");
        let elsewhere = pulled(&destination);
        assert_eq!(elsewhere.ok(["images", "-q", "--no-trunc"]), image.id());
    }
}

/// A second repository of the same registry gets its layers from the first.
#[test]
fn layers_are_taken_over_between_repositories() {
    if !have("docker-registry") {
        return;
    }
    let (registry, image) = (Registry::private(), image("mounted"));
    let name = registry.push("first", "1", &image);
    let sandbox = pulled(&name);
    let output = sandbox.ketch(["push", &name, &registry.reference("second", "1")]);
    assert_eq!(well(&output).stderr.matches("skipped: already exists").count(), 3, "{}", output.stderr);
    assert_eq!(manifest(&registry, "second", "1").2.as_bytes(), image.manifest.bytes);
    // What was pushed is known to be there, too.
    let built = Registry::private();
    sandbox.ok(["push", "-q", &name, &built.reference("a", "1")]);
    let output = sandbox.ketch(["push", &name, &built.reference("b", "1")]);
    assert_eq!(well(&output).stderr.matches("skipped: already exists").count(), 3, "{}", output.stderr);
}

#[test]
fn passwords_and_certificates() {
    if !have("docker-registry") || !have("openssl") {
        return;
    }
    let (open, image) = (Registry::private(), image("guarded"));
    let sandbox = pulled(&open.push("source", "1", &image));
    for access in [Access::Password, Access::Tls, Access::TlsPassword] {
        let guarded = open.guarded(access);
        let to = guarded.reference("guarded", "1");
        let source = open.reference("source", "1");
        let plain = sandbox.ketch(["push", &source, &to]);
        assert_eq!(plain.code, 125, "{access:?}: {}", plain.stderr);
        assert!(plain.stderr.contains("hint: "), "{access:?}: {}", plain.stderr);
        let creds = format!("--creds={USER}:{PASSWORD}");
        let mut flags = Vec::new();
        if access != Access::Tls {
            let wrong = sandbox.ketch(["push", "--creds=alice:wrong", "--tls-verify=false", &source, &to]);
            assert_eq!(wrong.code, 125);
            assert!(wrong.stderr.contains("denies access"), "{}", wrong.stderr);
            flags.push(creds.as_str());
        }
        let certificates = sandbox.path("certs");
        std::fs::create_dir_all(&certificates).expect("make a directory");
        std::fs::copy(open.certificate(), certificates.join("ca.crt")).ok();
        let cert_dir = format!("--cert-dir={}", certificates.display());
        if access != Access::Password {
            flags.push(&cert_dir);
        }
        let args = ["push", "-q"].iter().chain(&flags).copied().chain([source.as_str(), to.as_str()]);
        well(&sandbox.ketch(args));
        assert_eq!(manifest(&open, "guarded", "1").2.as_bytes(), image.manifest.bytes);
    }
}

#[test]
fn other_compressions_and_formats() {
    if !have("docker-registry") {
        return;
    }
    let (registry, image) = (Registry::private(), image("changed"));
    let name = registry.push("source", "1", &image);
    let sandbox = pulled(&name);
    for (tag, flags, kinds) in [
        ("gzip", &["--compression-format=gzip"][..], ["tar+gzip", "tar+gzip", "tar+gzip"]),
        (
            "zstd",
            &["--compression-format=zstd", "--compression-level=9"],
            ["tar+zstd", "tar+zstd", "tar+zstd"],
        ),
        ("v2s2", &["--format=v2s2"], ["diff.tar.gzip", "diff.tar.gzip", "diff.tar"]),
        ("oci", &["--format=oci"], ["tar+gzip", "tar+zstd", "tar"]),
        (
            "force",
            &["--compression-format=gzip", "--force-compression", "--compression-level=1"],
            ["tar+gzip"; 3],
        ),
    ] {
        let to = registry.reference("changed", tag);
        let file = format!("--digestfile={}", sandbox.path("digest").display());
        let fixed = ["push", "-q", &file];
        let args = fixed.iter().chain(flags).copied().chain([name.as_str(), to.as_str()]);
        well(&sandbox.ketch(args));
        let (media_type, document, body) = manifest(&registry, "changed", tag);
        assert_eq!(document["mediaType"], media_type);
        assert_eq!(sandbox.read("digest"), digest(body.as_bytes()));
        assert_eq!(body.as_bytes() == image.manifest.bytes, tag == "oci", "{tag}");
        let layers = document["layers"].as_array().expect("layers");
        for (layer, kind) in layers.iter().zip(kinds) {
            let is = layer["mediaType"].as_str().expect("text");
            assert!(is.ends_with(kind), "{tag}: {is}");
        }
        assert_eq!(document["config"]["digest"], image.id(), "the image stays what it is");
        assert_eq!(pulled(&to).ok(["images", "-q", "--no-trunc"]), image.id());
    }
    let both = sandbox.ketch(["push", "--format=v2s2", "--compression-format=zstd", &name, &name]);
    assert_eq!(both.code, 125);
    assert!(both.stderr.contains("zstd"), "{}", both.stderr);
}

#[test]
fn an_index_with_all_its_images() {
    if !have("docker-registry") {
        return;
    }
    let registry = Registry::private();
    let for_arch = |arch: &str| {
        let layer = Layer::new().file("arch", 0o644, arch);
        Image::new().platform("linux", arch, None).layer(layer, Compression::Gzip).build()
    };
    let images = [for_arch("amd64"), for_arch("arm64")];
    let name = registry.push_index("many", "1", &images.each_ref());
    let sandbox = Sandbox::empty();
    sandbox.ok(["pull", "-q", "--platform=linux/amd64", &name]);
    let to = registry.reference("copy", "1");
    let half = sandbox.ketch(["push", "--all", &name, &to]);
    assert_eq!(half.code, 125);
    assert!(half.stderr.contains("hint: pull it first: pull --platform linux/arm64"), "{}", half.stderr);
    let one = registry.reference("one", "1");
    well(&sandbox.ketch(["push", "-q", &name, &one]));
    assert_eq!(manifest(&registry, "one", "1").2.as_bytes(), images[0].manifest.bytes);
    sandbox.ok(["pull", "-q", "--platform=linux/arm64", &name]);
    well(&sandbox.ketch(["push", "-q", "--all", &name, &to]));
    let (_, document, body) = manifest(&registry, "copy", "1");
    assert_eq!(body, manifest(&registry, "many", "1").2);
    for entry in document["manifests"].as_array().expect("entries") {
        manifest(&registry, "copy", entry["digest"].as_str().expect("a digest"));
    }
}

#[test]
fn what_cannot_be_pushed_is_said() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok(["images", "-q"]);
    for (args, word) in [
        (&["push", "nosuch"][..], "nosuch: image not known"),
        (&["push", &id], "say where to"),
        (&["push", "bb", "UPPER/case"], "UPPER"),
        (&["push", "bb", "127.0.0.1:1/x"], "127.0.0.1:1"),
        (&["push", "--format=v1", "bb"], "choose from: oci, v2s2"),
        (&["push"], "IMAGE"),
    ] {
        let output = sandbox.ketch(args);
        assert_eq!(output.code, 125, "{args:?}: {}", output.stderr);
        assert!(output.stderr.contains(word), "{args:?}: {}", output.stderr);
    }
}

/// A name shows the manifest that it stands for, not another one of the same image.
#[test]
fn a_digest_is_that_of_the_name() {
    if !have("docker-registry") {
        return;
    }
    let (registry, sandbox) = (Registry::private(), Sandbox::new());
    let name = registry.reference("digest", "1");
    sandbox.ok(["push", "-q", "--digestfile=digest", "--compression-format=zstd", "bb", &name]);
    let pushed = sandbox.read("digest");
    let digest = |name: &str| sandbox.ok(["image", "inspect", "--format={{.Digest}}", name]);
    let own = digest("bb");
    assert_ne!(own, pushed, "another compression is another manifest");
    sandbox.ok(["pull", "-q", &name]);
    assert_eq!((digest(&name), digest("bb")), (pushed, own.clone()));
    // The tag is pushed anew, with other compression.
    sandbox.ok(["push", "-q", "--digestfile=digest", "bb", &name]);
    sandbox.ok(["pull", "-q", &name]);
    assert_eq!((digest(&name), sandbox.read("digest")), (own.clone(), own));
}

/// What was built as `me/app` is `localhost/me/app` here, and is pushed to where docker and podman push it.
#[test]
fn a_short_name_is_pushed_to_docker_hub() {
    let sandbox = Sandbox::new();
    let conf =
        sandbox.write("conf", "[[registry]]\nprefix='docker.io'\nlocation='127.0.0.1:1'\nblocked=true");
    sandbox.ok(["tag", "bb", "me/app:1"]);
    sandbox.ok(["manifest", "create", "me/list", "bb"]);
    for (args, name) in [
        (&["push", "me/app:1"][..], "docker.io/me/app:1"),
        (&["push", "-a", "me/app"], "docker.io/me/app:1"),
        (&["push", "bb"], "docker.io/library/bb:latest"),
        (&["push", "me/list"], "docker.io/me/list:latest"),
        (&["manifest", "push", "me/list"], "docker.io/me/list:latest"),
    ] {
        let refused = sandbox.command(args).env("CONTAINERS_REGISTRIES_CONF", &conf).run();
        let want = format!("push {name}: registry docker.io is blocked");
        assert!(refused.fails(125).contains(&want), "{args:?}: {}", refused.stderr);
    }
}

/// skopeo reads what ketch pushed, and ketch pulls what skopeo pushed: the digests agree.
#[test]
fn skopeo_agrees() {
    if !have("docker-registry") || !have("skopeo") {
        return;
    }
    let (registry, image) = (Registry::private(), image("skopeo"));
    let sandbox = pulled(&registry.push("source", "1", &image));
    let to = registry.reference("by-ketch", "1");
    well(&sandbox.ketch(["push", "-q", &registry.reference("source", "1"), &to]));
    let copied = sandbox.path("copied");
    let skopeo = |args: &[&str]| {
        let policy = sandbox.write("policy.json", r#"{"default":[{"type":"insecureAcceptAnything"}]}"#);
        let fixed = ["--policy".to_owned(), policy.display().to_string()];
        let args = fixed.iter().map(String::as_str).chain(args.iter().copied());
        well(&sandbox.program("skopeo", args).run()).stdout.clone()
    };
    let docker = |name: &str| format!("docker://{name}");
    skopeo(&["copy", "--src-tls-verify=false", &docker(&to), &format!("dir:{}", copied.display())]);
    for blob in image.layers.iter().chain([&image.config]) {
        let hex = blob.digest().replace("sha256:", "");
        assert_eq!(std::fs::read(copied.join(hex)).expect("the blob"), blob.bytes);
    }
    assert_eq!(std::fs::read(copied.join("manifest.json")).expect("the manifest"), image.manifest.bytes);
    let back = registry.reference("by-skopeo", "1");
    skopeo(&["copy", "--dest-tls-verify=false", &format!("dir:{}", copied.display()), &docker(&back)]);
    let (_, _, body) = manifest(&registry, "by-skopeo", "1");
    assert_eq!(body.as_bytes(), image.manifest.bytes);
    assert_eq!(pulled(&back).ok(["images", "-q", "--no-trunc"]), image.id());
    let seen = skopeo(&["inspect", "--tls-verify=false", "--format={{.Digest}}", &docker(&to)]);
    assert_eq!(seen.trim_end(), image.manifest.digest());
    assert!(Path::new(&copied).exists());
}

/// ketch and skopeo read what the other wrote into directories and archives.
#[test]
fn directories_and_archives() {
    if !have("docker-registry") || !have("skopeo") {
        return;
    }
    let (registry, image) = (Registry::private(), image("places"));
    let name = registry.push("places", "1", &image);
    let sandbox = pulled(&name);
    let policy = sandbox.write("policy.json", r#"{"default":[{"type":"insecureAcceptAnything"}]}"#);
    let digest_at = |place: &str| {
        let policy = format!("--policy={}", policy.display());
        let output = sandbox.program("skopeo", [&policy, "inspect", "--format={{.Digest}}", place]).run();
        well(&output).stdout.trim_end().to_owned()
    };
    let at =
        |transport: &str, name: &str, tag: &str| format!("{transport}:{}{tag}", sandbox.path(name).display());
    for (place, exact) in [
        (at("oci", "layout", ":r.io/x:1"), true),
        (at("oci", "layout", ":second"), true),
        (at("oci-archive", "layout.tar", ":r.io/x:1"), true),
        (at("dir", "flat", ""), true),
        (at("docker-archive", "docker.tar", ":r.io/x:1"), false),
    ] {
        well(&sandbox.ketch(["push", "-q", &name, &place]));
        if exact {
            assert_eq!(digest_at(&place), image.manifest.digest(), "{place}");
        }
        let other = Sandbox::empty();
        let output = other.ketch(["pull", &place]);
        assert_eq!(format!("sha256:{}", well(&output).stdout.trim_end()), image.id(), "{place}");
        let named = other.ok(["images", "--format={{.Repository}}:{{.Tag}}"]);
        let want = if place.contains("r.io") { "r.io/x:1" } else { "localhost/" };
        assert!(named.starts_with(want), "{place}: {named}");
    }
    // The second image went into the same layout, and both are there.
    assert_eq!(digest_at(&at("oci", "layout", ":r.io/x:1")), image.manifest.digest());
    let local = sandbox.ok(["pull", &format!("containers-storage:{name}")]);
    assert_eq!(format!("sha256:{local}"), image.id());
    for (args, word) in [
        (["pull", "docker-daemon:x:1"], "docker-daemon: images of this kind are not supported"),
        (["pull", "oci:/nonexistent/layout"], "/nonexistent/layout"),
        (["pull", "containers-storage:nosuch"], "nosuch: image not known"),
    ] {
        let output = sandbox.ketch(args);
        assert!(output.fails(125).contains(word), "{args:?}: {}", output.stderr);
    }
}

/// An archive that was given no name has the image's own.
#[test]
fn an_archive_keeps_the_name() {
    let sandbox = Sandbox::new();
    sandbox.ok(["tag", "bb", "r.io/team/app:1"]);
    sandbox.ok(["push", "-q", "r.io/team/app:1", "docker-archive:a.tar"]);
    let other = Sandbox::empty();
    let archive = sandbox.path("a.tar");
    assert_eq!(
        other.ok(["load", "-q", "-i", archive.to_str().expect("UTF-8")]),
        "Loaded image: r.io/team/app:1"
    );
}

/// `--compress` is for `dir:`, which else keeps layers as they are.
#[test]
fn a_directory_with_compressed_layers() {
    let sandbox = Sandbox::empty();
    let archive = Layer::new().file("text", 0o644, "many words ".repeat(20_000)).finish();
    sandbox.command(["import", "-q", "-", "made:1"]).stdin(archive.clone()).run().ok();
    let id = sandbox.ok(["image", "inspect", "--format={{.Id}}", "made:1"]);
    for (flags, media_type) in [
        (&[][..], "application/vnd.oci.image.layer.v1.tar"),
        (&["--compress"], "application/vnd.oci.image.layer.v1.tar+gzip"),
        (
            &["--compress", "--compression-format=zstd", "--compression-level=-5"],
            "application/vnd.oci.image.layer.v1.tar+zstd",
        ),
    ] {
        let dir = format!("dir{}", flags.len());
        let place = format!("dir:{}", sandbox.path(&dir).display());
        sandbox.ok(["push", "-q"].iter().chain(flags).copied().chain(["made:1", &place]));
        let manifest: Value =
            serde_json::from_str(&sandbox.read(format!("{dir}/manifest.json"))).expect("JSON");
        let layer = &manifest["layers"][0];
        assert_eq!(layer["mediaType"], media_type, "{flags:?}");
        let blob = std::fs::read(sandbox.path(&dir).join(&layer["digest"].as_str().expect("a digest")[7..]));
        let blob = blob.expect("the layer");
        assert_eq!(
            (layer["size"].as_u64(), digest(&blob)),
            (Some(blob.len() as u64), layer["digest"].as_str().expect("a digest").to_owned())
        );
        assert_eq!(blob == archive, flags.is_empty());
        let other = Sandbox::empty();
        assert_eq!(other.ok(["pull", "-q", &place]), id, "{flags:?}");
    }
}
