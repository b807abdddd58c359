//! `ketch pull` from a real registry (Debian's docker-registry).

mod common;

use common::image::{Built, Compression, Format, Image, Layer};
use common::process::Output;
use common::registry::{Access, PASSWORD, Registry, USER};
use common::{Sandbox, have};

fn image(mark: &str) -> Built {
    Image::new()
        .layer(Layer::new().dir("etc", 0o755).file("etc/mark", 0o644, mark), Compression::Gzip)
        .layer(Layer::new().file("etc/second", 0o644, "2"), Compression::Zstd)
        .layer(Layer::new().file("third", 0o600, "3"), Compression::None)
        .build()
}

#[track_caller]
fn is(output: &Output, image: &Built) {
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert_eq!(format!("sha256:{}", output.stdout.trim_end()), image.id());
}

#[test]
fn lines_are_podmans_and_the_second_time_nothing_is_fetched() {
    if !have("docker-registry") {
        return;
    }
    let (sandbox, image) = (Sandbox::empty(), image("lines"));
    let name = Registry::shared().push("lines", "1", &image);
    let first = sandbox.ketch(["pull", &name]);
    is(&first, &image);
    let lines: Vec<&str> = first.stderr.lines().collect();
    assert_eq!(lines[0], format!("Trying to pull {name}..."));
    assert_eq!(lines[1], "Getting image source signatures");
    for (line, layer) in lines[2..5].iter().zip(&image.layers) {
        assert_eq!(*line, format!("Copying blob {}", layer.digest()));
    }
    assert_eq!(
        lines[5..],
        [&format!("Copying config {}", image.id()), "Writing manifest to image destination"]
    );
    let second = sandbox.ketch(["pull", &name]);
    is(&second, &image);
    assert_eq!(second.stderr.matches("skipped: already exists").count(), 3);
    let quiet = sandbox.ketch(["image", "pull", "-q", &name]);
    is(&quiet, &image);
    assert_eq!(quiet.stderr, "");
}

#[test]
fn the_layers_are_unpacked_and_the_blobs_are_exact() {
    if !have("docker-registry") {
        return;
    }
    for format in [Format::Oci, Format::Docker] {
        let sandbox = Sandbox::empty();
        let image = Image::new()
            .format(format)
            .layer(Layer::new().file("one", 0o644, "1").dir("d", 0o700), Compression::Gzip)
            .layer(Layer::new().file("d/two", 0o755, "2"), Compression::Zstd)
            .build();
        let name = Registry::shared().push(&format!("{format:?}").to_lowercase(), "1", &image);
        is(&sandbox.ketch(["pull", &name]), &image);
        for blob in image.layers.iter().chain([&image.config, &image.manifest]) {
            let hex = blob.digest().replace("sha256:", "");
            let stored = std::fs::read(sandbox.store().join("blobs/sha256").join(hex)).expect("the blob");
            assert_eq!(stored, blob.bytes, "{}", blob.media_type);
        }
        let layers = sandbox.store().join("layers");
        let files: Vec<String> = layers
            .read_dir()
            .expect("layers")
            .flatten()
            .filter_map(|layer| std::fs::read_to_string(layer.path().join("fs/one")).ok())
            .collect();
        assert_eq!(files, ["1"]);
    }
}

#[test]
fn an_image_without_layers() {
    if !have("docker-registry") {
        return;
    }
    let (sandbox, image) = (Sandbox::empty(), Image::new().label("a", "b").build());
    let name = Registry::shared().push("empty", "1", &image);
    is(&sandbox.ketch(["pull", &name]), &image);
}

#[test]
fn the_same_layer_twice() {
    if !have("docker-registry") {
        return;
    }
    let layer = || Layer::new().file("same", 0o644, "same");
    let image = Image::new().layer(layer(), Compression::Gzip).layer(layer(), Compression::Gzip).build();
    let name = Registry::shared().push("twice", "1", &image);
    is(&Sandbox::empty().ketch(["pull", &name]), &image);
}

#[test]
fn platforms_of_an_index() {
    if !have("docker-registry") {
        return;
    }
    let for_platform = |os: &str, arch: &str, variant: Option<&str>, mark: &str| {
        let layer = Layer::new().file("mark", 0o644, mark);
        Image::new().platform(os, arch, variant).layer(layer, Compression::Gzip).build()
    };
    let images = [
        for_platform("linux", "arm64", None, "arm64"),
        for_platform("linux", "amd64", None, "amd64"),
        for_platform("linux", "s390x", None, "s390x"),
    ];
    let name = Registry::shared().push_index("index", "1", &images.each_ref());
    for (flags, want) in [
        (vec![], Some(1)),
        (vec!["--platform=linux/arm64"], Some(0)),
        (vec!["--platform=linux/arm64/v8"], Some(0)),
        (vec!["--arch=aarch64"], Some(0)),
        (vec!["--arch=s390x", "--os=linux"], Some(2)),
        (vec!["--platform=linux/riscv64"], None),
        (vec!["--os=windows"], None),
    ] {
        let sandbox = Sandbox::empty();
        let output = sandbox.ketch(["pull"].iter().chain(&flags).copied().chain([name.as_str()]));
        match want {
            Some(at) => is(&output, &images[at]),
            None => {
                assert_eq!(output.code, 125);
                assert!(
                    output
                        .stderr
                        .contains("hint: there are images for linux/amd64, linux/arm64, linux/s390x")
                );
            }
        }
    }
    let single = Registry::shared().push("single", "1", &images[0]);
    let sandbox = Sandbox::empty();
    let implicit = sandbox.ketch(["pull", &single]);
    is(&implicit, &images[0]);
    assert!(implicit.stderr.contains("Warning: "), "{}", implicit.stderr);
    let insisting = sandbox.ketch(["pull", "--platform=linux/amd64", &single]);
    is(&insisting, &images[0]);
    let warning = "Warning: image platform (linux/arm64) does not match the expected platform (linux/amd64)";
    assert!(insisting.stderr.contains(warning), "{}", insisting.stderr);
    let both = sandbox.ketch(["pull", "--platform=linux/amd64", "--arch=amd64", &single]);
    assert_eq!(both.code, 125);
}

#[test]
fn passwords_from_the_command_line_and_from_files() {
    if !have("docker-registry") {
        return;
    }
    let image = image("password");
    Registry::shared().push("locked", "1", &image);
    let locked = Registry::shared().guarded(Access::Password);
    let name = locked.reference("locked", "1");
    let sandbox = Sandbox::empty();
    let without = sandbox.ketch(["pull", &name]);
    assert_eq!(without.code, 125);
    assert!(
        without.stderr.contains("denies access") && without.stderr.contains("hint: "),
        "{}",
        without.stderr
    );
    // The file that the environment names is made by `login`; until then there are no credentials.
    let later = sandbox.command(["pull", &name]).env("REGISTRY_AUTH_FILE", sandbox.path("later.json")).run();
    assert!(later.fails(125).contains("denies access: authentication required"), "{}", later.stderr);
    let named = sandbox.ketch(["pull", "--authfile=nosuch.json", &name]);
    assert!(named.fails(125).contains("credential file is not accessible"), "{}", named.stderr);
    let wrong = sandbox.ketch(["pull", "--creds=alice:wrong", &name]);
    assert_eq!(wrong.code, 125, "{}", wrong.stderr);
    is(&sandbox.ketch(["pull", &format!("--creds={USER}:{PASSWORD}"), &name]), &image);

    // "alice:wonder land" in base64.
    let auth = format!(r#"{{"auths":{{"{}":{{"auth":"YWxpY2U6d29uZGVyIGxhbmQ="}}}}}}"#, locked.address());
    for file in ["run/containers/auth.json", "home/.config/containers/auth.json", "home/.docker/config.json"]
    {
        let sandbox = Sandbox::empty();
        sandbox.write(file, &auth);
        is(&sandbox.ketch(["pull", &name]), &image);
    }
    let sandbox = Sandbox::empty();
    let named = sandbox.write("elsewhere.json", &auth);
    is(&sandbox.ketch(["pull", "--authfile", &named.display().to_string(), &name]), &image);
    is(&sandbox.command(["pull", &name]).env("REGISTRY_AUTH_FILE", &named).run(), &image);
    let missing = sandbox.ketch(["pull", "--authfile=/nonexistent", &name]);
    assert_eq!(missing.code, 125);
    assert!(missing.stderr.contains("/nonexistent"), "{}", missing.stderr);
}

#[test]
fn a_credential_helper_is_asked() {
    if !have("docker-registry") {
        return;
    }
    let image = image("helper");
    Registry::shared().push("helper", "1", &image);
    let locked = Registry::shared().guarded(Access::Password);
    let sandbox = Sandbox::empty();
    let helper = format!(
        "#!/bin/sh\n[ \"$1\" = get ] && [ \"$(cat)\" = {} ] || {{ echo credentials not found; exit 1; }}\n\
         echo '{{\"Username\":\"{USER}\",\"Secret\":\"{PASSWORD}\"}}'\n",
        locked.address()
    );
    sandbox.write_program("bin/docker-credential-test", helper);
    sandbox.write("home/.docker/config.json", r#"{"credsStore":"test"}"#);
    let path = format!("{}:/usr/bin:/bin", sandbox.path("bin").display());
    let output = sandbox.command(["pull", &locked.reference("helper", "1")]).env("PATH", path).run();
    is(&output, &image);
}

#[test]
fn tls_is_verified() {
    if !(have("docker-registry") && have("openssl")) {
        return;
    }
    let image = image("tls");
    Registry::shared().push("tls", "1", &image);
    let server = Registry::shared().guarded(Access::Tls);
    let name = server.reference("tls", "1");
    let certificate = std::fs::read(server.certificate()).expect("the certificate");

    let untrusted = Sandbox::empty().ketch(["pull", "--tls-verify=true", &name]);
    assert_eq!(untrusted.code, 125);
    assert!(untrusted.stderr.contains("certificate"), "{}", untrusted.stderr);
    assert!(untrusted.stderr.contains("hint: put the CA's certificate into"), "{}", untrusted.stderr);
    is(&Sandbox::empty().ketch(["pull", "--tls-verify=false", &name]), &image);

    let sandbox = Sandbox::empty();
    sandbox.write(format!("home/.config/containers/certs.d/{}/ca.crt", server.address()), &certificate);
    is(&sandbox.ketch(["pull", &name]), &image);

    let sandbox = Sandbox::empty();
    sandbox.write("certs/any.crt", &certificate);
    is(&sandbox.ketch(["pull", "--cert-dir", &sandbox.path("certs").display().to_string(), &name]), &image);
    let bundle = sandbox.path("certs/any.crt");
    let sandbox = Sandbox::empty();
    is(&sandbox.command(["pull", &name]).env("SSL_CERT_FILE", bundle).run(), &image);
}

#[test]
fn all_tags_and_several_images() {
    if !have("docker-registry") {
        return;
    }
    let (one, two) = (image("one"), image("two"));
    Registry::shared().push("tags", "1", &one);
    let second = Registry::shared().push("tags", "2", &two);
    let repository = second.trim_end_matches(":2");
    let sandbox = Sandbox::empty();
    let hex = |image: &Built| image.id().replace("sha256:", "");
    let mut all: Vec<String> =
        sandbox.ok(["pull", "--all-tags", repository]).lines().map(str::to_owned).collect();
    all.sort();
    let mut want = [hex(&one), hex(&two)];
    want.sort();
    assert_eq!(all, want);
    assert_eq!(sandbox.ketch(["pull", "--all-tags", &second]).code, 125);

    let output = sandbox.ketch(["pull", "-q", &format!("{repository}:nope"), &second]);
    assert_eq!((output.code, output.stdout.trim_end()), (125, hex(&two).as_str()));
}

#[test]
fn policies() {
    if !have("docker-registry") {
        return;
    }
    let (old, new) = (image("old"), image("new"));
    let name = Registry::shared().push("policy", "1", &old);
    let sandbox = Sandbox::empty();
    let never = sandbox.ketch(["pull", "--policy=never", &name]);
    assert_eq!(never.code, 125, "{}", never.stderr);
    is(&sandbox.ketch(["pull", "--policy=missing", &name]), &old);
    Registry::shared().push("policy", "1", &new);
    is(&sandbox.ketch(["pull", "--policy=missing", &name]), &old);
    is(&sandbox.ketch(["pull", "--policy=never", &name]), &old);
    is(&sandbox.ketch(["pull", "--policy=newer", &name]), &new);
    assert_eq!(sandbox.ketch(["pull", "--policy=sometimes", &name]).code, 125);
}

#[test]
fn short_names_and_digests() {
    if !have("docker-registry") {
        return;
    }
    let image = image("short");
    let name = Registry::shared().push("team/short", "1", &image);
    let address = Registry::shared().address();
    let sandbox = Sandbox::empty();
    let conf = sandbox.write("r.conf", format!("unqualified-search-registries=['{address}']"));
    let by_digest = format!("team/short@{}", image.manifest.digest());
    for typed in ["team/short:1", by_digest.as_str()] {
        let output = sandbox.command(["pull", typed]).env("CONTAINERS_REGISTRIES_CONF", &conf).run();
        is(&output, &image);
    }
    is(&sandbox.ketch(["pull", &format!("docker://{name}")]), &image);
    let empty = sandbox.write("empty.conf", "");
    let lost = sandbox.command(["pull", "team/short:1"]).env("CONTAINERS_REGISTRIES_CONF", &empty).run();
    assert_eq!(lost.code, 125);
    assert!(lost.stderr.contains("did not resolve to an alias"), "{}", lost.stderr);
    let blocked = sandbox.write("blocked.conf", format!("[[registry]]\nlocation='{address}'\nblocked=true"));
    let output = sandbox.command(["pull", &name]).env("CONTAINERS_REGISTRIES_CONF", &blocked).run();
    assert_eq!(output.code, 125);
    assert!(output.stderr.contains("is blocked in"), "{}", output.stderr);
}

/// What an alias leads to is run under its own name, and pulled once.
#[test]
fn run_pulls_what_an_alias_means() {
    if !have("docker-registry") {
        return;
    }
    let name = Registry::shared().push("team/busybox", "1", &common::bb::image().build());
    let repository = name.trim_end_matches(":1");
    let sandbox = Sandbox::empty();
    let conf = sandbox.write("r.conf", format!("[aliases]\n'short'='{repository}'"));
    for pulls in [true, false] {
        let args = ["run", "--rm", "--network=none", "short:1", "echo", "it runs"];
        let output = sandbox.command(args).env("CONTAINERS_REGISTRIES_CONF", &conf).run();
        assert_eq!((output.code, output.stdout.as_str()), (0, "it runs\n"), "{}", output.stderr);
        assert_eq!(output.stderr.contains("Trying to pull"), pulls, "{}", output.stderr);
    }
    let create = ["create", "--name=made", &format!("docker://{name}"), "true"];
    assert_eq!(sandbox.ketch(create).code, 0);
    assert_eq!(sandbox.inspect("made", ".ImageName"), name);
}

#[test]
fn bars_on_a_terminal() {
    if !have("docker-registry") {
        return;
    }
    let (sandbox, image) = (Sandbox::empty(), image("bars"));
    let name = Registry::shared().push("bars", "1", &image);
    let digest = &image.layers[0].digest()["sha256:".len()..];
    for (term, draws) in [("xterm", true), ("dumb", false)] {
        let output = sandbox.command(["pull", &name]).env("TERM", term).on_terminal(40, 120).wait();
        assert_eq!(output.code, 0);
        assert!(
            output.stdout.contains("Copying blob ") && output.stdout.contains(&digest[..12]),
            "{term}: {}",
            output.stdout
        );
        assert!(output.stdout.contains(&image.id()["sha256:".len()..]), "{term}: {}", output.stdout);
        assert_eq!(output.stdout.contains('\x1b'), draws, "{term}: {:?}", output.stdout);
        sandbox.ok(["rmi", &name]);
    }
}
