//! policy.json: what may be pulled, and signatures that openssl made.

mod common;

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::image::{Blob, digest, marked};
use common::registry::Registry;
use common::{Sandbox, have};
use serde_json::{Value, json};

/// A key pair of P-256 below the sandbox: `NAME.key` and `NAME.pub`.
fn make_key(sandbox: &Sandbox, name: &str) {
    let (key, public) = (sandbox.path(format!("{name}.key")), sandbox.path(format!("{name}.pub")));
    let run = |command: &mut Command| assert!(command.output().expect("start openssl").status.success());
    run(Command::new("openssl")
        .args(["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out"])
        .arg(&key));
    run(Command::new("openssl").args(["ec", "-pubout", "-in"]).arg(&key).arg("-out").arg(&public));
}

/// Signs an image as cosign does, with the key NAME, and puts the signature beside it.
fn sign(sandbox: &Sandbox, registry: &Registry, repository: &str, of: &str, key: &str) {
    let name = format!("{}/{repository}", registry.address());
    let payload = json!({
        "critical": {
            "identity": {"docker-reference": name},
            "image": {"docker-manifest-digest": of},
            "type": "cosign container image signature",
        },
        "optional": null,
    })
    .to_string();
    let file = sandbox.write("payload", &payload);
    let key = sandbox.path(format!("{key}.key"));
    let signed = Command::new("openssl").args(["dgst", "-sha256", "-sign"]).arg(&key).arg(&file).output();
    let signature = STANDARD.encode(signed.expect("start openssl").stdout);
    let payload = Blob {
        media_type: "application/vnd.dev.cosign.simplesigning.v1+json".into(),
        bytes: payload.into_bytes(),
    };
    let config =
        Blob { media_type: "application/vnd.oci.image.config.v1+json".into(), bytes: b"{}".to_vec() };
    for blob in [&payload, &config] {
        registry.put_blob(repository, blob);
    }
    let mut layer = payload.descriptor();
    layer["annotations"] = json!({"dev.cosignproject.cosign/signature": signature});
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media_type, "config": config.descriptor(), "layers": [layer],
    });
    let manifest = Blob { media_type: media_type.into(), bytes: manifest.to_string().into_bytes() };
    registry.put_manifest(repository, &format!("{}.sig", of.replace(':', "-")), &manifest);
}

#[test]
fn only_what_the_right_key_signed_is_taken() {
    if !have("docker-registry") || !have("openssl") {
        return;
    }
    let (registry, sandbox) = (Registry::private(), Sandbox::empty());
    make_key(&sandbox, "good");
    make_key(&sandbox, "bad");
    let address = registry.address();
    for (repository, by) in [("signed", Some("good")), ("forged", Some("bad")), ("bare", None)] {
        let image = marked(repository);
        registry.push(repository, "1", &image);
        if let Some(key) = by {
            sign(&sandbox, &registry, repository, &image.manifest.digest(), key);
        }
    }
    let other = marked("other image");
    registry.push("moved", "1", &other);
    // A good signature, but of another image.
    sign(&sandbox, &registry, "signed", &digest(b"something else"), "good");
    let set = |args: &[&str]| sandbox.ok(["image", "trust", "set"].iter().chain(args).copied());
    let key = sandbox.path("good.pub").display().to_string();
    set(&["--type=sigstoreSigned", "--pubkeysfile", &key, &address]);
    let pull = |repository: &str| sandbox.ketch(["pull", "-q", &registry.reference(repository, "1")]);
    assert_eq!(pull("signed").code, 0, "{}", pull("signed").stderr);
    for (repository, word) in
        [("forged", "by another key"), ("bare", "there is none"), ("moved", "there is none")]
    {
        let output = pull(repository);
        assert!(output.fails(125).contains(word), "{repository}: {}", output.stderr);
        assert!(output.stderr.contains("policy.json"), "{}", output.stderr);
    }
    set(&["-t", "accept", &format!("{address}/bare")]);
    assert_eq!(pull("bare").code, 0);
    set(&["-t", "reject", &address]);
    assert!(pull("forged").fails(125).contains("rejected by policy"));
    set(&["-t", "reject", "default"]);
    let layout = sandbox.path("layout");
    let place = format!("oci:{}", layout.display());
    sandbox.ok(["push", "-q", &registry.reference("bare", "1"), &place]);
    assert!(sandbox.ketch(["pull", &place]).fails(125).contains("rejected by policy"));

    let shown = sandbox.ok(["image", "trust", "show"]);
    let lines: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["TRANSPORT", "NAME", "TYPE", "ID", "STORE"]);
    assert_eq!(lines[1], ["all", "default", "reject"]);
    let bare = format!("{address}/bare");
    assert!(lines.contains(&vec!["repository", &bare, "accept"]), "{shown}");
    let document: Value =
        serde_json::from_str(&sandbox.ok(["image", "trust", "show", "--json"])).expect("JSON");
    assert_eq!(document[0]["type"], "reject");
}

#[test]
fn what_cannot_be_checked_is_not_taken_as_checked() {
    let sandbox = Sandbox::empty();
    for (policy, word) in [
        (r#"{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"/k"}]}"#, "signedBy"),
        (r#"{"default":[{"type":"sigstoreSigned","fulcio":{},"keyData":"AA=="}]}"#, "fulcio"),
        (r#"{"default":[{"type":"sigstoreSigned","keyPath":"/nonexistent"}]}"#, "/nonexistent"),
        (r#"{"default":[{"type":"magic"}]}"#, "magic"),
        (r#"{"default":[]}"#, "must not be empty"),
        ("{", "policy.json"),
    ] {
        sandbox.write("home/.config/containers/policy.json", policy);
        let output = sandbox.ketch(["pull", "oci:/tmp"]);
        assert!(output.fails(125).contains(word), "{policy}: {}", output.stderr);
    }
    for (args, word) in [
        (&["image", "trust", "set"][..], "set needs a registry"),
        (&["image", "trust", "set", "r.io"], "needs a public key"),
        (&["image", "trust", "set", "-t", "signedBy", "r.io"], "GPG"),
        (&["image", "trust", "forget"], "forget"),
    ] {
        let output = sandbox.ketch(args);
        assert!(output.fails(125).contains(word), "{args:?}: {}", output.stderr);
    }
}

#[test]
fn flags_of_the_other_action_are_refused() {
    let sandbox = Sandbox::new();
    for (args, flag) in [
        (&["set", "--json", "--type=reject", "x.test"][..], "--json"),
        (&["set", "--raw", "--type=reject", "x.test"], "--raw"),
        (&["show", "--type=reject"], "--type"),
        (&["show", "--pubkeysfile=/k"], "--pubkeysfile"),
    ] {
        let refused = sandbox.ketch(["image", "trust"].iter().chain(args));
        assert!(refused.fails(125).contains(&format!("{flag} means nothing")), "{}", refused.stderr);
    }
    let refused = sandbox.ketch(["manifest", "add", "--artifact", "--all", "list", "file"]);
    assert!(refused.fails(125).contains("--all"), "{}", refused.stderr);
}
