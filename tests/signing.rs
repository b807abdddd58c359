//! Signatures by sigstore keys: made by ketch and checked by skopeo and openssl, and the other way round.

mod common;

use std::path::Path;

use common::image::marked;
use common::registry::Registry;
use common::{Sandbox, have};
use serde_json::{Value, json};

/// Puts a key pair of tests/keys into the sandbox: `NAME.private`, `NAME.pub` and the passphrase in `NAME.pass`.
fn make_key(sandbox: &Sandbox, name: &str) -> [String; 2] {
    for extension in ["private", "pub", "pass"] {
        let file = format!("{name}.{extension}");
        let text =
            std::fs::read(common::source::project().join("tests/keys").join(&file)).expect("read a key");
        sandbox.write(file, text);
    }
    ["private", "pass"].map(|extension| sandbox.path(format!("{name}.{extension}")).display().to_string())
}

/// The policy that only what `key` signed may be taken.
fn policy(key: &Path) -> String {
    json!({"default": [{"type": "sigstoreSigned", "keyPath": key, "signedIdentity": {"type": "matchRepository"}}]})
        .to_string()
}

#[test]
fn what_ketch_signs_skopeo_takes_and_the_other_way_round() {
    if !have("docker-registry") || !have("skopeo") || !have("openssl") {
        return;
    }
    let registry = Registry::private();
    let sandbox = Sandbox::empty();
    let [private, pass] = make_key(&sandbox, "good");
    let bad = make_key(&sandbox, "bad");
    let made = marked("signed");
    let source = registry.push("source", "1", &made);
    sandbox.ok(["pull", "-q", &source]);
    let to = registry.reference("team/signed", "1");
    let key = [format!("--sign-by-sigstore-private-key={private}"), format!("--sign-passphrase-file={pass}")];
    let push = || sandbox.ok(["push", "-q", &key[0], &key[1], &source, &to]);
    push();
    push();
    let tag = made.manifest.digest().replace(':', "-");
    let path = format!("/v2/team/signed/manifests/{tag}.sig");
    let signatures = || {
        let response = registry.request("GET", &path, "", &[]);
        let document: Value = serde_json::from_str(&response.body).expect("JSON");
        document["layers"].as_array().map_or(0, Vec::len)
    };
    assert_eq!(signatures(), 1, "the same signature is not added twice");

    // skopeo, with the right and with another key.
    let attachments = sandbox.write("d/a.yaml", "default-docker:\n  use-sigstore-attachments: true\n");
    let directory = attachments.parent().expect("a directory").display().to_string();
    let skopeo = |key: &str, args: &[&str]| {
        let file = sandbox.write(format!("{key}.json"), policy(&sandbox.path(format!("{key}.pub"))));
        let fixed =
            ["--policy", &file.display().to_string(), "--registries.d", &directory].map(str::to_owned);
        let args = fixed.iter().map(String::as_str).chain(args.iter().copied());
        sandbox.program("skopeo", args).run()
    };
    let copy = |key: &str| {
        let from = format!("docker://{to}");
        let to = format!("dir:{}", sandbox.path(format!("copy-{key}")).display());
        skopeo(key, &["copy", "--remove-signatures", "--src-tls-verify=false", &from, &to])
    };
    // Debian 12 has taken sigstore out of its skopeo; openssl can check a signature too.
    let output = copy("good");
    let has_sigstore = !output.stderr.contains("sigstore disabled");
    if has_sigstore {
        assert_eq!(output.code, 0, "{}", output.stderr);
        assert_ne!(copy("bad").code, 0);
    }
    let response = registry.request("GET", &path, "", &[]);
    let document: Value = serde_json::from_str(&response.body).expect("JSON");
    let layer = &document["layers"][0];
    let payload = registry.blob_file(layer["digest"].as_str().expect("a digest"));
    let payload =
        sandbox.write("payload", std::fs::read(payload).expect("the payload")).display().to_string();
    let signature = layer["annotations"]["dev.cosignproject.cosign/signature"].as_str().expect("a signature");
    let encoded = sandbox.write("encoded", signature).display().to_string();
    let decoded = sandbox.path("decoded").display().to_string();
    sandbox.program("openssl", ["base64", "-d", "-A", "-in", &encoded, "-out", &decoded]).run().ok();
    for (key, code) in [("good", 0), ("bad", 1)] {
        let public = sandbox.path(format!("{key}.pub")).display().to_string();
        let args = ["dgst", "-sha256", "-verify", &public, "-signature", &decoded, &payload];
        let checked = sandbox.program("openssl", args).run();
        assert_eq!(checked.code, code, "{key}: {}{}", checked.stdout, checked.stderr);
    }

    // ketch, with the right and with another key.
    let pull = |key: &str, name: &str| {
        let other = Sandbox::empty();
        other.write("home/.config/containers/policy.json", policy(&sandbox.path(format!("{key}.pub"))));
        other.ketch(["pull", "-q", name])
    };
    assert_eq!(pull("good", &to).code, 0, "{}", pull("good", &to).stderr);
    assert!(pull("bad", &to).fails(125).contains("by another key"));
    assert!(pull("good", &source).fails(125).contains("there is none"));

    // A signature of skopeo's (or where it makes none, by the other key), beside ours.
    let accept = sandbox.write("accept.json", r#"{"default":[{"type":"insecureAcceptAnything"}]}"#);
    let flags = [
        "--policy",
        &accept.display().to_string(),
        "--registries.d",
        &directory,
        "copy",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        "--sign-by-sigstore-private-key",
        &bad[0],
        "--sign-passphrase-file",
        &bad[1],
        &format!("docker://{source}"),
        &format!("docker://{to}"),
    ]
    .map(str::to_owned);
    if has_sigstore {
        let output = sandbox.program("skopeo", &flags).run();
        assert_eq!(output.code, 0, "{}", output.stderr);
    } else {
        let key = format!("--sign-by-sigstore-private-key={}", bad[0]);
        sandbox.ok(["push", "-q", &key, &format!("--sign-passphrase-file={}", bad[1]), &source, &to]);
    }
    assert_eq!(signatures(), 2);
    for key in ["good", "bad"] {
        assert_eq!(pull(key, &to).code, 0, "{key}: {}", pull(key, &to).stderr);
    }
    push();
    assert_eq!(signatures(), 2);
}

#[test]
fn what_is_no_signature_of_ours_is_refused() {
    if !have("docker-registry") || !have("skopeo") || !have("openssl") {
        return;
    }
    let registry = Registry::private();
    let sandbox = Sandbox::empty();
    let [private, pass] = make_key(&sandbox, "good");
    let source = registry.push("source", "1", &marked("refused"));
    sandbox.ok(["pull", "-q", &source]);
    let to = registry.reference("to", "1");
    let key = format!("--sign-by-sigstore-private-key={private}");
    let passphrase = format!("--sign-passphrase-file={pass}");
    let wrong = sandbox.write("wrong", "something else\n");
    let wrong = format!("--sign-passphrase-file={}", wrong.display());
    let fulcio = sandbox.write("fulcio.yaml", "fulcio:\n  fulcioURL: https://x\n");
    let fulcio = format!("--sign-by-sigstore={}", fulcio.display());
    let public = sandbox.path("good.pub").display().to_string();
    let place = format!("oci:{}", sandbox.path("layout").display());
    let as_key = format!("--sign-by-sigstore-private-key={public}");
    let (key, passphrase, wrong, fulcio) =
        (key.as_str(), passphrase.as_str(), wrong.as_str(), fulcio.as_str());
    let (source, to, place, as_key) = (source.as_str(), to.as_str(), place.as_str(), as_key.as_str());
    for (args, word) in [
        (&["--sign-by=me@example.org", source, to][..], "--sign-by: signing with GPG keys is not supported"),
        (&["--encryption-key=jwe:x", source, to], "--encryption-key: encrypted images are not supported"),
        (&["--encrypt-layer=-1", source, to], "--encrypt-layer: encrypted images are not supported"),
        (&[key, wrong, source, to], "the passphrase is wrong"),
        (&[key, source, to], "not a terminal"),
        (&[key, passphrase, source, place], "only be written to a registry"),
        (&[fulcio, source, to], "fulcio and rekor are not supported"),
        (&[as_key, passphrase, source, to], "not a sealed key"),
        (&[passphrase, source, to], "--sign-by-sigstore-private-key"),
    ] {
        let output = sandbox.ketch(["push", "-q"].iter().chain(args).copied());
        assert!(output.fails(125).contains(word), "{args:?}: {}", output.stderr);
    }
    assert!(sandbox.ketch(["pull", "--decryption-key=x", source]).fails(125).contains("not supported"));
    assert_eq!(registry.request("GET", "/v2/to/manifests/1", "", &[]).status, 404, "nothing was pushed");
    sandbox.write("home/.config/containers/registries.d/x.yaml", "docker:\n  127.0.0.1: {use-sigstore-attachments: true}\ndefault-docker:\n  use-sigstore-attachments: false\n");
    let output = sandbox.ketch(["push", key, passphrase, source, to]);
    assert!(output.fails(125).contains("registries.d forbids"), "{}", output.stderr);

    // The same key by a parameter file, with a list: its images and the index are signed.
    std::fs::remove_dir_all(sandbox.path("home/.config/containers/registries.d")).expect("remove");
    let parameters = format!("privateKeyFile: {private}\nprivateKeyPassphraseFile: {pass}\n");
    let parameters = sandbox.write("sign.yaml", parameters);
    sandbox.ok(["manifest", "create", "list", source]);
    let flag = format!("--sign-by-sigstore={}", parameters.display());
    let digest = sandbox.ok(["manifest", "push", "-q", &flag, "list", &format!("docker://{to}")]);
    let tag = format!("/v2/to/manifests/{}.sig", digest.replace(':', "-"));
    assert_eq!(registry.request("GET", &tag, "", &[]).status, 200);
    let other = Sandbox::empty();
    other.write("home/.config/containers/policy.json", policy(&sandbox.path("good.pub")));
    other.ok(["pull", "-q", to]);
}

/// What skopeo calls `dir:` keeps signatures as files, and they count when it is pulled again.
#[test]
fn signatures_in_directories() {
    let sandbox = Sandbox::new();
    let [private, pass] = make_key(&sandbox, "good");
    make_key(&sandbox, "bad");
    let key = [format!("--sign-by-sigstore-private-key={private}"), format!("--sign-passphrase-file={pass}")];
    sandbox.ok(["tag", "bb", "r.io/team/app:1"]);
    let place = format!("dir:{}", sandbox.path("signed").display());
    sandbox.ok(["push", "-q", &key[0], &key[1], "r.io/team/app:1", &place]);
    let file = std::fs::read(sandbox.path("signed/signature-1")).expect("a signature");
    let start = b"\0sigstore-json\n";
    assert!(file.starts_with(start), "{}", String::from_utf8_lossy(&file));
    let document: Value = serde_json::from_slice(&file[start.len()..]).expect("JSON");
    assert_eq!(document["mimeType"], "application/vnd.dev.cosign.simplesigning.v1+json");

    let pull = |key: &str, identity: Value| {
        let other = Sandbox::empty();
        let key = sandbox.path(format!("{key}.pub"));
        let policy =
            json!({"default": [{"type": "sigstoreSigned", "keyPath": key, "signedIdentity": identity}]});
        other.write("home/.config/containers/policy.json", policy.to_string());
        other.ketch(["pull", "-q", &place])
    };
    let named = |name: &str| json!({"type": "exactRepository", "dockerRepository": name});
    assert_eq!(
        pull("good", named("r.io/team/app")).code,
        0,
        "{}",
        pull("good", named("r.io/team/app")).stderr
    );
    // A directory has no name of its own that could be the right one.
    for (key, identity, word) in [
        ("good", named("r.io/team/other"), "a signature for the name"),
        ("good", json!({"type": "matchRepository"}), "a signature for the name"),
        ("bad", named("r.io/team/app"), "by another key"),
    ] {
        let output = pull(key, identity);
        assert!(output.fails(125).contains(word), "{}", output.stderr);
    }
    // skopeo, which carries it to another directory, changes nothing.
    if have("skopeo") {
        let policy = sandbox.write("any.json", r#"{"default":[{"type":"insecureAcceptAnything"}]}"#);
        let (policy, copy) = (policy.display().to_string(), sandbox.path("copy").display().to_string());
        let args = ["--policy", &policy, "copy", &place, &format!("dir:{copy}")];
        let output = sandbox.program("skopeo", args).run();
        if output.code == 0 {
            assert_eq!(std::fs::read(sandbox.path("copy/signature-1")).expect("the signature"), file);
        } else {
            assert!(output.stderr.contains("sigstore"), "{}", output.stderr);
        }
    }
    // Another image in its place does not inherit it; archives have no place for one.
    sandbox.ok(["push", "-q", "bb", &place]);
    assert!(!sandbox.path("signed/signature-1").exists());
    assert!(pull("good", named("r.io/team/app")).fails(125).contains("there is none"));
    let layout = format!("oci:{}", sandbox.path("layout").display());
    let output = sandbox.ketch(["push", "-q", &key[0], &key[1], "bb", &layout]);
    assert!(output.fails(125).contains("only be written to a registry or to dir:"), "{}", output.stderr);
}

#[test]
fn artifacts_are_signed_and_checked() {
    if !have("docker-registry") {
        return;
    }
    let (registry, sandbox) = (Registry::private(), Sandbox::empty());
    let [private, pass] = make_key(&sandbox, "good");
    make_key(&sandbox, "bad");
    sandbox.write("notes.txt", "some text\n");
    let (signed, bare) = (registry.reference("team/signed", "1"), registry.reference("team/bare", "1"));
    for name in [&signed, &bare] {
        sandbox.ok(["artifact", "add", name, "notes.txt"]);
    }
    let key = [format!("--sign-by-sigstore-private-key={private}"), format!("--sign-passphrase-file={pass}")];
    sandbox.ok(["artifact", "push", "-q", &key[0], &key[1], &signed]);
    sandbox.ok(["artifact", "push", "-q", &bare]);
    let pull = |key: &str, name: &str| {
        let other = Sandbox::empty();
        other.write("home/.config/containers/policy.json", policy(&sandbox.path(format!("{key}.pub"))));
        (other.ketch(["artifact", "pull", "-q", name]), other.ok(["artifact", "ls", "--noheading"]))
    };
    let (output, listed) = pull("good", &signed);
    assert_eq!((output.code, listed.lines().count()), (0, 1), "{}", output.stderr);
    for (key, name, word) in [("bad", &signed, "by another key"), ("good", &bare, "there is none")] {
        let (output, listed) = pull(key, name);
        assert!(output.fails(125).contains(word), "{}", output.stderr);
        assert_eq!(listed, "", "nothing of it is kept");
    }
}
