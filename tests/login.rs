//! `ketch login` and `logout` against a real registry with a password (Debian's docker-registry).

mod common;

use std::os::unix::fs::PermissionsExt;

use common::image::{Compression, Image, Layer};
use common::registry::{Access, PASSWORD, Registry, USER};
use common::{Sandbox, have, wait_for};
use serde_json::{Value, json};

/// base64 of `alice:wonder land`.
const AUTH: &str = "YWxpY2U6d29uZGVyIGxhbmQ=";

fn guarded() -> Registry {
    Registry::shared().guarded(Access::Password)
}

fn auth_file(sandbox: &Sandbox) -> Value {
    serde_json::from_str(&sandbox.read("run/containers/auth.json")).expect("JSON")
}

#[test]
fn a_password_is_tried_out_kept_used_and_forgotten() {
    if !have("docker-registry") {
        return;
    }
    let (registry, sandbox) = (guarded(), Sandbox::empty());
    let address = registry.address();
    let image = Image::new().layer(Layer::new().file("a", 0o644, "login"), Compression::Gzip).build();
    Registry::shared().push("private", "1", &image);
    let name = registry.reference("private", "1");

    let wrong = sandbox.ketch(["login", "-u", USER, "-p", "wrong", &address]);
    assert_eq!((wrong.code, wrong.stdout.as_str()), (125, ""), "{}", wrong.stderr);
    assert!(wrong.stderr.contains("denies access"), "{}", wrong.stderr);
    assert!(wrong.stderr.contains("invalid username/password"), "{}", wrong.stderr);
    assert!(wrong.stderr.contains("Warning: a password on the command line"), "{}", wrong.stderr);
    assert!(!sandbox.path("run/containers/auth.json").exists());
    sandbox.ketch(["login", "--get-login", &address]).fails(125);

    let from_stdin = sandbox.command(["login", "-v", "--username", USER, "--password-stdin", &address]);
    let output = from_stdin.stdin(format!("{PASSWORD}\n")).run();
    let file = sandbox.path("run/containers/auth.json");
    assert_eq!(output.ok(), format!("Used:  {}\nLogin Succeeded!", file.display()));
    assert_eq!(auth_file(&sandbox), json!({"auths": {address.clone(): {"auth": AUTH}}}));
    assert_eq!(file.metadata().expect("the file").permissions().mode() & 0o777, 0o600);
    assert_eq!(sandbox.ok(["login", "--get-login", &address]), USER);
    sandbox.ok(["pull", "-q", &name]);
    sandbox.ok(["push", "-q", &name, &registry.reference("private-copy", "1")]);

    // A secret is a password, and its name that of the user if no other is said.
    for (secret, flags) in [("pw", &["--username", USER][..]), (USER, &[])] {
        sandbox.command(["secret", "create", secret, "-"]).stdin(PASSWORD).run().ok();
        sandbox.ok(["logout", &address]);
        let args = [&["login", "--secret", secret], flags, &[&*address]].concat();
        assert_eq!(sandbox.ok(args), "Login Succeeded!");
        assert_eq!(auth_file(&sandbox), json!({"auths": {address.clone(): {"auth": AUTH}}}));
    }
    let missing = sandbox.ketch(["login", "--secret=nope", &address]);
    assert!(missing.fails(125).contains("nope"), "{}", missing.stderr);

    let again = sandbox.ok(["login", &format!("https://{address}/")]);
    let valid = format!("Existing credentials are valid. Already logged in to {address}");
    assert_eq!(again, format!("Authenticating with existing credentials for {address}\n{valid}"));

    let out = sandbox.ok(["logout", &address]);
    assert_eq!(out, format!("Removed login credentials for {address}"));
    // In docker's words, through a link of that name.
    let docker = sandbox.path("docker");
    std::os::unix::fs::symlink(common::ketch_binary(), &docker).expect("make a link");
    let words = ["login", "-u", USER, "--password-stdin", &address];
    let said = sandbox.program(&docker, words).stdin(PASSWORD).run();
    assert_eq!(said.ok(), "Login Succeeded");
    let file = sandbox.path("home/.docker/config.json");
    let warning = format!(
        "\nWARNING! Your credentials are stored unencrypted in '{}'.\n\
         Configure a credential helper to remove this warning. See\n\
         https://docs.docker.com/go/credential-store/\n\n",
        file.display()
    );
    assert_eq!(said.stderr, warning);
    let kept: Value = serde_json::from_str(&sandbox.read("home/.docker/config.json")).expect("JSON");
    assert_eq!(kept["auths"][&address]["auth"], AUTH);
    assert_eq!(auth_file(&sandbox), json!({"auths": {}}));
    let wrong = sandbox.program(&docker, ["login", "-u", USER, "-p", "no", &address]).run();
    assert_eq!(
        wrong.fails(1),
        format!(
            "WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n\
             Error response from daemon: login attempt to https://{address}/v2/ failed with status: 401 Unauthorized\n"
        )
    );
    let out = sandbox.program(&docker, ["logout", &address]).run();
    assert_eq!(out.ok(), format!("Removing login credentials for {address}"));
    let left: Value = serde_json::from_str(&sandbox.read("home/.docker/config.json")).expect("JSON");
    assert_eq!(left["auths"], json!({}));
    let twice = sandbox.ketch(["logout", &address]);
    assert!(twice.fails(125).contains(&format!("not logged into {address}")), "{}", twice.stderr);
    assert_eq!(sandbox.ketch(["pull", "-q", &name]).code, 125);
    let nobody = sandbox.program(&docker, ["login", &address]).run();
    assert!(
        nobody.fails(1).starts_with("Error: Cannot perform an interactive login from a non TTY device\n")
    );
}

#[test]
fn files_that_are_named() {
    if !have("docker-registry") {
        return;
    }
    let (registry, sandbox) = (guarded(), Sandbox::empty());
    let address = registry.address();
    let login = |flags: &[&str]| {
        let args = ["login", "-u", USER, "--password-stdin"].iter().chain(flags).copied().chain([&*address]);
        sandbox.command(args).stdin(PASSWORD)
    };
    let named = sandbox.path("named.json");
    let flag = format!("--authfile={}", named.display());
    login(&[&flag]).run().ok();
    login(&[]).env("REGISTRY_AUTH_FILE", sandbox.path("by-variable.json")).run().ok();
    let compat = sandbox.write("config.json", r#"{"HttpHeaders":{"X":"y"},"auths":{}}"#);
    let compat_flag = format!("--compat-auth-file={}", compat.display());
    login(&[&compat_flag]).run().ok();
    let entry = json!({address.clone(): {"auth": AUTH}});
    for file in ["named.json", "by-variable.json", "config.json"] {
        let document: Value = serde_json::from_str(&sandbox.read(file)).expect("JSON");
        assert_eq!(document["auths"], entry, "{file}");
        assert_eq!(document["HttpHeaders"].is_object(), file == "config.json");
    }
    // DOCKER_CONFIG names a directory that need not be there, and stands in the place of all other files.
    let docker = sandbox.path("docker");
    login(&[]).env("DOCKER_CONFIG", &docker).run().ok();
    let document: Value = serde_json::from_str(&sandbox.read("docker/config.json")).expect("JSON");
    assert_eq!(document["auths"], entry);
    let known = |dir| sandbox.command(["login", "--get-login", &address]).env("DOCKER_CONFIG", dir).run();
    assert_eq!(known(docker).ok(), USER);
    known(sandbox.path("empty")).fails(125);
    assert!(!sandbox.path("run/containers").exists());
    for args in [&["logout", "--authfile=nosuch", &address][..], &["logout", "--authfile=nosuch", "--all"]] {
        let refused = sandbox.ketch(args);
        assert!(refused.fails(125).contains("credential file is not accessible"), "{}", refused.stderr);
    }
    assert_eq!(sandbox.ok(["login", "--get-login", &flag, &address]), USER);
    sandbox.ok(["logout", &flag, "--all"]);
    sandbox.ketch(["login", "--get-login", &flag, &address]).fails(125);
    // A path on the registry is a key of its own, and the most specific one counts.
    let scoped = format!("{address}/team/app");
    sandbox.command(["login", "-u", USER, "--password-stdin", &flag, &scoped]).stdin(PASSWORD).run().ok();
    sandbox.ketch(["login", "--get-login", &flag, &address]).fails(125);
    assert_eq!(sandbox.ok(["login", "--get-login", &flag, &scoped]), USER);
    assert_eq!(sandbox.ok(["logout", &flag, &scoped]), format!("Removed login credentials for {scoped}"));
}

/// docker's `--config DIR` and podman's are the directory of config.json, for this command alone.
#[test]
fn a_directory_of_docker_s_is_named_before_the_verb() {
    let sandbox = Sandbox::empty();
    sandbox.write("x/config.json", json!({"auths": {"r.example": {"auth": AUTH}}}).to_string());
    let login = ["login", "--get-login", "r.example"];
    assert_eq!(sandbox.ok([&["--config", "x"], &login[..]].concat()), USER);
    assert_eq!(sandbox.ok([&["--config=x", "-l", "error"], &login[..]].concat()), USER);
    let over = sandbox.command([&["--config", "x"], &login[..]].concat()).env("DOCKER_CONFIG", "none");
    assert_eq!(over.run().ok(), USER);
    sandbox.ketch(login).fails(125);
    sandbox.ok(["--config", "x", "logout", "r.example"]);
    let left: Value = serde_json::from_str(&sandbox.read("x/config.json")).expect("JSON");
    assert!(left["auths"].as_object().is_none_or(|auths| auths.is_empty()), "{left}");
}

/// SEC-30: a file of credentials is the user's alone, whatever it was before, and no password is seen elsewhere.
#[test]
fn passwords_stay_secret() {
    if !have("docker-registry") {
        return;
    }
    let (registry, sandbox) = (guarded(), Sandbox::empty());
    let address = registry.address();
    let file = sandbox.write("open/auth.json", r#"{"auths":{"other.example":{"auth":"eDp5"}}}"#);
    let mode = |path: &std::path::Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("set the mode");
    };
    mode(&file, 0o644);
    mode(file.parent().expect("a directory"), 0o755);
    let before = std::os::unix::fs::MetadataExt::ino(&file.metadata().expect("the file"));
    let flag = format!("--authfile={}", file.display());
    let argv = sandbox.ketch(["login", &flag, "-u", USER, "-p", PASSWORD, &address]);
    argv.ok();
    assert!(argv.stderr.contains("can be seen by all of this machine"), "{}", argv.stderr);
    let meta = file.metadata().expect("the file");
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    assert_ne!(std::os::unix::fs::MetadataExt::ino(&meta), before, "it is replaced, never half written");
    let image = Image::new().layer(Layer::new().file("a", 0o644, "secret"), Compression::Gzip).build();
    Registry::shared().push("sec-30", "1", &image);
    let name = registry.reference("sec-30", "1");
    let creds = format!("--creds={USER}:{PASSWORD}");
    let pulled = sandbox.ketch(["--log-level=debug", "pull", &creds, &name]);
    pulled.ok();
    sandbox.ok(["push", "-q", &flag, &name, &registry.reference("sec-30-copy", "1")]);
    let wrong = sandbox.ketch(["pull", "--retry=0", "--creds=alice:wrong password", &name]);
    let events = sandbox.ok(["events", "--stream=false", "--format=json"]);
    let inspect = sandbox.ok(["image", "inspect", &name]);
    for shown in [&argv.stdout, &argv.stderr, &pulled.stderr, &wrong.stderr, &events, &inspect] {
        for secret in [PASSWORD, AUTH, "wrong password"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}

/// What docker-credential-helpers' protocol says, with a helper that keeps its secrets in a file.
#[test]
fn helpers_keep_what_they_are_given() {
    if !have("docker-registry") {
        return;
    }
    let (registry, sandbox) = (guarded(), Sandbox::empty());
    let address = registry.address();
    let kept = sandbox.path("kept");
    let script = format!(
        r#"#!/bin/sh
kept={}
case $1 in
store) cat > "$kept" ;;
get) read -r server; if [ -s "$kept" ]; then cat "$kept"; else echo "credentials not found in native keychain"; exit 1; fi ;;
erase) read -r server; if [ -s "$kept" ]; then : > "$kept"; else echo "credentials not found in native keychain"; exit 1; fi ;;
list) if [ -s "$kept" ]; then echo '{{"{address}":"alice"}}'; else echo '{{}}'; fi ;;
esac
"#,
        kept.display()
    );
    sandbox.write_program("bin/docker-credential-test", script);
    let path = format!("{}:/usr/bin:/bin", sandbox.path("bin").display());
    for (file, conf) in [
        (json!({"credHelpers": {address.clone(): "test"}}), ""),
        (json!({"credsStore": "test"}), ""),
        (json!({}), "credential-helpers = ['test']"),
    ] {
        sandbox.write("run/containers/auth.json", file.to_string());
        let conf = sandbox.write("registries.conf", conf);
        let ketch = |args: &[&str]| {
            let command = sandbox.command(args.iter().copied());
            command.env("PATH", &path).env("CONTAINERS_REGISTRIES_CONF", &conf)
        };
        ketch(&["login", "-u", USER, "--password-stdin", &address]).stdin(PASSWORD).run().ok();
        let secret: Value = serde_json::from_str(&sandbox.read("kept")).expect("JSON");
        assert_eq!(secret, json!({"ServerURL": address, "Username": USER, "Secret": PASSWORD}));
        assert!(!auth_file(&sandbox).to_string().contains(AUTH), "the file holds no password");
        assert_eq!(ketch(&["login", "--get-login", &address]).run().ok(), USER);
        ketch(&["logout", &address]).run().ok();
        assert_eq!(sandbox.read("kept"), "");
        ketch(&["logout", &address]).run().fails(125);
        ketch(&["login", "-u", USER, "--password-stdin", &address]).stdin(PASSWORD).run().ok();
        ketch(&["logout", "--all"]).run().ok();
        assert_eq!(sandbox.read("kept"), "");
    }
}

#[test]
fn a_terminal_is_asked_and_does_not_show_the_password() {
    if !have("docker-registry") {
        return;
    }
    let (registry, sandbox) = (guarded(), Sandbox::empty());
    let address = registry.address();
    let mut login = sandbox.command(["login", &address]).on_terminal(24, 80);
    login.expect("Username: ");
    login.send(format!("{USER}\n"));
    // The question is written after the echo is off.
    login.expect("Password: ");
    login.send(format!("{PASSWORD}\n"));
    let output = login.wait();
    assert_eq!(output.code, 0, "{}", output.stdout);
    assert!(output.stdout.contains("Login Succeeded!"), "{}", output.stdout);
    assert!(!output.stdout.contains(PASSWORD), "{}", output.stdout);
    assert_eq!(auth_file(&sandbox)["auths"][&address]["auth"], AUTH);
}

/// A shell alone would not do so: what runs next could not be seen either.
#[test]
fn a_cancelled_question_leaves_the_terminal_as_it_was() {
    let sandbox = Sandbox::empty();
    let script = "trap : INT; ketch login -u me localhost:1; echo code $?; stty -a";
    let mut shell = sandbox.program("sh", ["-c", script]).on_terminal(24, 80);
    shell.expect("Password: ");
    shell.send([3]);
    let output = shell.wait();
    assert!(output.stdout.contains("code 130"), "{}", output.stdout);
    assert!(output.stdout.contains(" echo "), "{}", output.stdout);
    assert!(!output.stdout.contains("-echo "), "{}", output.stdout);
}

#[test]
fn what_cannot_be_done_is_said() {
    let sandbox = Sandbox::empty();
    let empty = sandbox.write("empty.conf", "");
    for (args, word) in [
        (&["login", "--password-stdin", "r.io"][..], "must provide --username with --password-stdin"),
        (&["login", "-u", "me", "r.io"], "standard input is not a terminal"),
        (&["login", "-u", "me", "-p", "x", "not a registry"], "is not the name of a registry"),
        (&["login"], "no registry was named"),
        (&["logout", "r.io"], "not logged into r.io"),
        (&["login", "--get-login", "r.io"], "not logged into r.io"),
        (&["login", "-u", "me", "-p", "x", "127.0.0.1:1"], "log into 127.0.0.1:1"),
        (&["logout", "--all", "r.io"], "cannot be used together"),
    ] {
        let output = sandbox.command(args).env("CONTAINERS_REGISTRIES_CONF", &empty).run();
        assert!(output.fails(125).contains(word), "{args:?}: {}", output.stderr);
    }
    sandbox.write("run/containers/auth.json", "{");
    let damaged = sandbox.ketch(["logout", "r.io"]);
    assert!(damaged.fails(125).contains("auth.json"), "{}", damaged.stderr);
    assert_eq!(sandbox.read("run/containers/auth.json"), "{");
}

/// Several logins at the same moment: none is lost.
#[test]
fn logins_at_the_same_time() {
    if !have("docker-registry") {
        return;
    }
    let (registry, sandbox) = (guarded(), Sandbox::empty());
    let keys: Vec<String> = (0..6).map(|n| format!("{}/team{n}", registry.address())).collect();
    let running: Vec<_> = keys
        .iter()
        .map(|key| {
            let mut login = sandbox.command(["login", "-u", USER, "--password-stdin", key]).spawn();
            login.send(PASSWORD);
            login.close_stdin();
            login
        })
        .collect();
    for login in running {
        login.wait().ok();
    }
    wait_for("all six", || {
        let known = auth_file(&sandbox)["auths"].as_object().map_or(0, serde_json::Map::len);
        if known == keys.len() { Ok(()) } else { Err(known.to_string()) }
    });
}
