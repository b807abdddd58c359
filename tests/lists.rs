//! Manifest lists where images are listed, named and removed; platforms of directories and archives; `import` from an address.

mod common;

use std::io::Write as _;

use common::faults::{Answer, Content, Faults};
use common::image::{Built, Layer, of_architecture};
use common::registry::Registry;
use common::{Sandbox, have, json};

/// `repository:tag id` of each row that `images` shows.
fn rows(sandbox: &Sandbox, flags: &[&str]) -> Vec<String> {
    let fixed = ["images", "--no-trunc", "--sort=repository", "--format={{.Repository}}:{{.Tag}} {{.Id}}"];
    let shown = sandbox.ok(fixed.iter().chain(flags).copied());
    shown.lines().map(str::to_owned).collect()
}

#[test]
fn lists_are_among_images() {
    let sandbox = Sandbox::new();
    let image = sandbox.ok(["image", "inspect", "--format={{.Id}}", "bb"]);
    let bb = sandbox.ok(["images", "--format={{.Repository}}:{{.Tag}}"]);
    let list = sandbox.ok(["manifest", "create", "multi", "bb"]);
    assert_eq!(rows(&sandbox, &["-f", "manifest=true"]), [format!("localhost/multi:latest {list}")]);
    assert_eq!(rows(&sandbox, &["-f", "manifest=false"]), [format!("{bb} {image}")]);
    assert_eq!(rows(&sandbox, &[]).len(), 2);
    let document = json(&sandbox.ok(["images", "--format=json", "-f", "manifest=true"]));
    assert_eq!((&document[0]["Id"], &document[0]["IsManifestList"]), (&list.clone().into(), &true.into()));
    assert_eq!(document[0]["Names"][0], "localhost/multi:latest");

    // It stands for the image of this machine.
    assert_eq!(sandbox.ok(["image", "inspect", "--format={{.Id}}", "multi"]), image);
    assert_eq!(sandbox.ketch(["image", "exists", "multi"]).code, 0);
    assert_eq!(sandbox.ok(["run", "--rm", "--net=none", "multi", "echo", "well"]), "well");
    assert!(sandbox.ok(["history", "-q", "multi"]).starts_with(&image[..12]));

    // Its names come and go as those of an image.
    sandbox.ok(["tag", "multi", "second", "r.io/third:1"]);
    assert_eq!(rows(&sandbox, &["-f", "manifest=true"]).len(), 3);
    sandbox.ok(["manifest", "annotate", "--index", "--annotation=a=b", "second"]);
    assert_eq!(json(&sandbox.ok(["manifest", "inspect", "multi"]))["annotations"]["a"], "b");
    assert!(sandbox.ketch(["rmi", &list]).fails(125).contains("more than one tag"));
    sandbox.ok(["untag", "multi", "r.io/third:1"]);
    assert_eq!(sandbox.ok(["rmi", "second"]), "Untagged: localhost/second:latest");
    assert!(sandbox.ketch(["untag", "multi"]).fails(125).contains("cannot be without a name"));
    assert!(sandbox.ketch(["manifest", "create", "bb"]).fails(125).contains("already in use"));
    assert_eq!(
        sandbox.ok(["rmi", "multi"]),
        format!("Untagged: localhost/multi:latest\nDeleted: {list}"),
        "the list goes, its image stays"
    );
    assert_eq!(rows(&sandbox, &[]), [format!("{bb} {image}")]);

    // A name moves between the two.
    sandbox.ok(["manifest", "create", "name", "bb"]);
    sandbox.ok(["tag", "bb", "name"]);
    assert_eq!(rows(&sandbox, &["-f", "manifest=true"]), [""; 0]);
    sandbox.ok(["manifest", "create", "other", "bb"]);
    sandbox.ok(["tag", "other", "name"]);
    assert_eq!(rows(&sandbox, &["-f", "manifest=true"]).len(), 2);
    sandbox.ok(["image", "prune", "-f"]);
    assert_eq!(rows(&sandbox, &["-f", "manifest=true"]).len(), 2, "what has a name is not pruned");
    sandbox.ok(["image", "prune", "-af"]);
    assert_eq!(rows(&sandbox, &[]), [""; 0]);
}

#[test]
fn platforms_of_directories_and_archives() {
    if !have("docker-registry") || !have("skopeo") {
        return;
    }
    let registry = Registry::private();
    let images = ["amd64", "arm64"].map(of_architecture);
    let name = registry.push_index("m", "all", &images.each_ref());
    let maker = Sandbox::empty();
    let policy = maker.write("policy.json", r#"{"default":[{"type":"insecureAcceptAnything"}]}"#);
    let policy = format!("--policy={}", policy.display());
    let at = |transport: &str, name: &str| format!("{transport}:{}", maker.path(name).display());
    let all = [at("oci", "layout"), at("dir", "flat"), at("oci-archive", "a.tar")];
    for place in &all {
        let from = format!("docker://{name}");
        maker
            .program("skopeo", [&policy, "copy", "--all", "--src-tls-verify=false", &from, place])
            .run()
            .ok();
    }
    let sandbox = Sandbox::empty();
    let pulled =
        |flags: &[&str], place: &str| sandbox.ok(["pull", "-q"].iter().chain(flags).copied().chain([place]));
    let [amd, arm] = images.each_ref().map(|image| image.id().replace("sha256:", ""));
    let host = if cfg!(target_arch = "aarch64") { &arm } else { &amd };
    for place in &all {
        assert_eq!(pulled(&["--arch=arm64"], place), arm, "{place}");
        assert_eq!(pulled(&["--platform=linux/amd64"], place), amd, "{place}");
        assert_eq!(pulled(&[], place), *host, "{place}");
        let refused = sandbox.ketch(["pull", "--platform=linux/s390x", place]);
        assert!(refused.fails(125).contains("is for linux/s390x"), "{place}: {}", refused.stderr);
    }
    // One image says itself what it is for.
    let docker = at("docker-archive", "d.tar");
    sandbox.ok(["pull", "-q", "--arch=arm64", &all[0]]);
    sandbox.ok(["push", "-q", &arm, &docker]);
    assert_eq!(pulled(&["--arch=arm64"], &docker), arm);
    let refused = sandbox.ketch(["pull", "--os=linux", "--arch=amd64", &docker]);
    assert!(refused.fails(125).contains("is for linux/arm64, not for linux/amd64"), "{}", refused.stderr);
    let refused = sandbox.ketch(["pull", "--platform=linux/s390x", &format!("containers-storage:{arm}")]);
    assert!(refused.fails(125).contains("not for linux/s390x"), "{}", refused.stderr);
}

/// A list `both` of images for two processors that a registry has, in a sandbox, and the images.
fn both() -> (Registry, Sandbox, [Built; 2]) {
    let registry = Registry::private();
    let images = ["amd64", "arm64"].map(of_architecture);
    let sandbox = Sandbox::empty();
    for (image, tag) in images.iter().zip(["x", "a"]) {
        registry.push("m", tag, image);
    }
    sandbox.ok(["manifest", "create", "both", &registry.reference("m", "x"), &registry.reference("m", "a")]);
    (registry, sandbox, images)
}

#[test]
fn a_list_goes_out_with_its_images() {
    if !have("docker-registry") || !have("skopeo") {
        return;
    }
    let (registry, sandbox, images) = both();
    let layout = format!("oci:{}", sandbox.path("layout").display());
    sandbox.ok(["push", "-q", "both", &layout]);
    sandbox.ok(["push", "-q", "both", &registry.reference("out", "1")]);
    let index = sandbox.ok(["manifest", "inspect", &format!("docker://{}", registry.reference("out", "1"))]);
    assert_eq!(json(&index), json(&sandbox.ok(["manifest", "inspect", "both"])));
    let other = Sandbox::empty();
    for (image, arch) in images.iter().zip(["amd64", "arm64"]) {
        let id = other.ok(["pull", "-q", &format!("--arch={arch}"), &layout]);
        assert_eq!(format!("sha256:{id}"), image.id());
    }
    let refused = sandbox.ketch(["push", "both", &format!("docker-archive:{}", sandbox.path("x").display())]);
    assert!(refused.fails(125).contains("no lists"), "{}", refused.stderr);
    // In dir:, as podman and skopeo write it: the manifest of each image beside the index.
    let flat = format!("dir:{}", sandbox.path("flat").display());
    sandbox.ok(["manifest", "push", "-q", "--all", "both", &flat]);
    for (image, arch) in images.iter().zip(["amd64", "arm64"]) {
        let hex = &image.manifest.digest()[7..];
        assert_eq!(sandbox.read(format!("flat/{hex}.manifest.json")).as_bytes(), image.manifest.bytes);
        let id = Sandbox::empty().ok(["pull", "-q", &format!("--arch={arch}"), &flat]);
        assert_eq!(format!("sha256:{id}"), image.id());
    }
}

/// What older clients can read stays first; what is there already is not made twice.
#[test]
fn a_list_in_further_compressions_and_other_forms() {
    if !have("docker-registry") {
        return;
    }
    let (registry, sandbox, images) = both();
    let original = sandbox.ok(["manifest", "inspect", "both"]);
    let push = |tag: &str, flags: &[&str]| {
        let to = registry.reference("out", tag);
        sandbox.ok(["manifest", "push", "-q"].iter().chain(flags).copied().chain(["both", &to]));
        json(&sandbox.ok(["manifest", "inspect", &format!("docker://{to}")]))
    };
    let zstd =
        |entry: &serde_json::Value| entry["annotations"]["io.github.containers.compression.zstd"] == "true";

    let list = push("more", &["--add-compression=zstd", "--add-compression=gzip"]);
    let entries = list["manifests"].as_array().expect("entries");
    assert_eq!(entries.iter().map(zstd).collect::<Vec<_>>(), [false, false, true, true], "{list}");
    for (entry, image) in entries.iter().zip(&images) {
        assert_eq!(entry["digest"], image.manifest.digest(), "what was there is as it was");
    }
    for (at, arch) in [(2, "amd64"), (3, "arm64")] {
        assert_eq!(entries[at]["platform"]["architecture"], arch);
        let by_digest = format!(
            "{}@{}",
            registry.reference("out", "more").strip_suffix(":more").expect("a tag"),
            entries[at]["digest"].as_str().expect("a digest")
        );
        let manifest = json(&sandbox.ok(["manifest", "inspect", &format!("docker://{by_digest}")]));
        assert_eq!(manifest["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar+zstd");
        let other = Sandbox::empty();
        other.ok(["pull", "-q", &format!("--arch={arch}"), &by_digest]);
        assert_eq!(
            other.ok(["image", "inspect", "--format=sha256:{{.Id}}", &by_digest]),
            images[at - 2].id()
        );
    }
    // Of all platforms, each client finds its own.
    let other = Sandbox::empty();
    let id = other.ok(["pull", "-q", "--arch=arm64", &registry.reference("out", "more")]);
    assert_eq!(format!("sha256:{id}"), images[1].id());

    let list = push("zstd", &["--compression-format=zstd"]);
    assert_eq!(list["manifests"].as_array().expect("entries").iter().filter(|entry| zstd(entry)).count(), 2);
    let list = push("docker", &["--format=v2s2"]);
    assert_eq!(list["mediaType"], "application/vnd.docker.distribution.manifest.list.v2+json");
    assert!(list["manifests"][0]["mediaType"].as_str().expect("text").contains("docker"), "{list}");
    let id = Sandbox::empty().ok(["pull", "-q", "--arch=amd64", &registry.reference("out", "docker")]);
    assert_eq!(format!("sha256:{id}"), images[0].id());
    // The list here has stayed what it was, and goes out so.
    assert_eq!(sandbox.ok(["manifest", "inspect", "both"]), original);
    assert_eq!(push("same", &["--format=oci"]), json(&original));
    for (flags, word) in [
        (&["--format=v2s2", "--add-compression=zstd"][..], "no further compressions"),
        (&["--add-compression=lzma"], "choose from: gzip, zstd"),
        (&["--all=false", "--compression-format=zstd"], "its images go with it"),
    ] {
        let to = registry.reference("bad", "1");
        let output =
            sandbox.ketch(["manifest", "push", "-q"].iter().chain(flags).copied().chain(["both", &to]));
        assert!(output.fails(125).contains(word), "{flags:?}: {}", output.stderr);
    }
}

#[test]
fn import_from_an_address() {
    let archive = Layer::new().dir("etc", 0o755).file("etc/mark", 0o644, "imported").finish();
    let whole = archive.len();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&archive).expect("write to memory");
    let gzip = gzip.finish().expect("write to memory");
    let server = Faults::start(Content::default(), move |request, answer| match request.path.as_str() {
        "/root.tar.gz" => Answer::ok(gzip.clone()),
        "/moved" => Answer::status(302).header("Location", "/root.tar.gz"),
        "/local" => Answer::status(302).header("Location", "file:///etc/passwd"),
        "/text" => Answer::ok("this is no archive, but some text of a certain length ".repeat(20)),
        _ => answer,
    });
    let address = |path: &str| format!("http://{}/{path}", server.address());
    let sandbox = Sandbox::empty();
    let changes = [
        r#"CMD ["/bin/x", "y"]"#,
        "ENTRYPOINT /bin/entry",
        "ENV A=b C=\"d e\"",
        "EXPOSE 80/tcp 53/udp",
        "LABEL k=v",
        "USER 1:2",
        "VOLUME /data",
        "WORKDIR /w",
        "STOPSIGNAL SIGQUIT",
        "ONBUILD RUN true",
        "HEALTHCHECK --interval=5s CMD true",
        r#"SHELL ["/bin/sh", "-e", "-c"]"#,
    ];
    let mut args = vec!["import".to_owned(), "--message=from afar".into()];
    args.extend(changes.iter().map(|change| format!("--change={change}")));
    args.extend(
        ["--os=linux", "--arch=arm64", "--variant=v8", &address("moved"), "r.io/far:1"].map(str::to_owned),
    );
    let id = sandbox.ok(args).replace("sha256:", "");
    let found = &json(&sandbox.ok(["image", "inspect", "r.io/far:1"]))[0];
    assert_eq!(found["Id"], id);
    let config = &found["Config"];
    for (key, want) in [
        ("Cmd", serde_json::json!(["/bin/x", "y"])),
        ("Entrypoint", serde_json::json!(["/bin/sh", "-c", "/bin/entry"])),
        ("Env", serde_json::json!(["A=b", "C=d e"])),
        ("Labels", serde_json::json!({"k": "v"})),
        ("ExposedPorts", serde_json::json!({"53/udp": {}, "80/tcp": {}})),
        ("Volumes", serde_json::json!({"/data": {}})),
        ("WorkingDir", "/w".into()),
        ("StopSignal", "SIGQUIT".into()),
        ("OnBuild", serde_json::json!(["RUN true"])),
    ] {
        assert_eq!(config[key], want, "{key}");
    }
    assert_eq!((found["User"].as_str(), found["Architecture"].as_str()), (Some("1:2"), Some("arm64")));
    assert_eq!(found["Comment"], "from afar");
    let saved = sandbox.path("saved");
    sandbox.ok(["save", "--format=oci-dir", "--uncompressed", "-o", &saved.display().to_string(), &id]);
    let blobs = std::fs::read_dir(saved.join("blobs/sha256")).expect("list").flatten();
    let sizes: Vec<u64> = blobs.map(|blob| blob.metadata().expect("stat").len()).collect();
    assert!(sizes.contains(&(whole as u64)), "the archive is kept as it is: {sizes:?}");

    for (path, word) in [("nosuch", "404"), ("local", "file"), ("text", "corrupt")] {
        let output = sandbox.ketch(["import", &address(path)]);
        assert!(output.fails(125).contains(word), "{path}: {}", output.stderr);
    }
    assert!(
        sandbox.ketch(["import", "--change=FROM x", &address("root.tar.gz")]).fails(125).contains("FROM")
    );
    assert_eq!(server.asked("root.tar.gz").len(), 1, "a wrong change is said before anything is downloaded");
    assert_eq!(std::fs::read_dir(sandbox.store().join("staging")).expect("list").count(), 0);
}
