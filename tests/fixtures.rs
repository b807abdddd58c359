//! The fixtures themselves, so that a failure of another test is ketch's and not theirs.

mod common;

use std::fs;

use common::image::{Compression, Format, Image, Layer};
use common::process::Invocation;
use common::registry::{Access, Registry};
use common::{Sandbox, bb};

#[test]
fn the_registry_keeps_what_is_pushed() {
    let registry = Registry::shared();
    let image = Image::new()
        .layer(Layer::new().file("hello", 0o644, "hello\n"), Compression::Gzip)
        .layer(Layer::new().whiteout("hello"), Compression::Zstd)
        .format(Format::Docker)
        .build();
    registry.push("fixtures/one", "v1", &image);

    let manifest = registry.request("GET", "/v2/fixtures/one/manifests/v1", "", &[]);
    let blob = registry.request("GET", &format!("/v2/fixtures/one/blobs/{}", image.config.digest()), "", &[]);

    assert_eq!(manifest.header("docker-content-digest"), Some(image.manifest.digest()));
    assert_eq!((blob.status, blob.body.as_bytes()), (200, image.config.bytes.as_slice()));
}

#[test]
fn a_guarded_registry_wants_the_password() {
    let registry = Registry::shared().guarded(Access::Password);

    let refused = registry.request("GET", "/v2/", "", &[]);

    assert_eq!(refused.status, 401);
    assert!(
        refused.header("www-authenticate").is_some_and(|asked| asked.starts_with("Basic")),
        "{refused:?}"
    );
}

#[test]
fn the_tls_registry_is_vouched_for_by_its_certificate_only() {
    let registry = Registry::shared().guarded(Access::Tls);
    let verify = |trust: &[&str]| {
        let address = registry.address();
        let mut args = vec!["s_client", "-verify_return_error", "-connect", &address];
        args.extend(trust);
        Invocation::new("openssl", args).env("PATH", "/usr/bin:/bin").run().code
    };
    let certificate = registry.certificate();

    assert_eq!(verify(&["-CAfile", certificate.to_str().expect("UTF-8")]), 0);
    assert_ne!(verify(&[]), 0);
}

/// The builder's tar streams are what the machine's tar makes of them, long names and attributes included.
#[test]
fn layers_are_tar_streams() {
    let sandbox = Sandbox::empty();
    let long = format!("{}/{}", "d".repeat(90), "f".repeat(90));
    let layer = Layer::new()
        .dir("d".repeat(90), 0o755)
        .file(&long, 0o640, "long\n")
        .hardlink("same", &long)
        .symlink("link", "d/e")
        .xattrs(&[("user.k", b"v")])
        .file("with-xattr", 0o600, "x");
    layer.unpack_plainly(&sandbox.path(""));

    assert_eq!(fs::read_to_string(sandbox.path("same")).expect("hard link"), "long\n");
    assert_eq!(fs::read_link(sandbox.path("link")).expect("symbolic link").to_str(), Some("d/e"));
    assert_eq!(sandbox.read("with-xattr"), "x");
}

#[test]
fn a_terminal_shows_prompts_and_takes_input_and_sizes() {
    let sandbox = Sandbox::empty();
    let mut shell = sandbox
        .program("sh", ["-c", "stty size; read line; echo got $line; stty size; exit 3"])
        .on_terminal(30, 100);

    shell.expect("30 100");
    shell.resize(40, 120);
    shell.send("words\n");
    shell.expect("got words");
    let output = shell.wait();

    assert!(output.stdout.contains("40 120"), "{}", output.stdout);
    assert_eq!(output.code, 3);
}

#[test]
fn busybox_runs_from_its_root_file_system() {
    let sandbox = Sandbox::empty();
    bb::extract_to(&sandbox.path("root"));

    let output = sandbox
        .program(
            "unshare",
            [
                "--user",
                "--map-root-user",
                "--root",
                "root",
                "/bin/sh",
                "-c",
                "cat /etc/passwd | head -n 1; ls /bin/ls",
            ],
        )
        .run();

    assert_eq!(output.ok(), "root:x:0:0:root:/root:/bin/sh\n/bin/ls");
}
