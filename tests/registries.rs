//! registries.conf, policy.json and containers.conf hold for every command that talks to a registry, and not for
//! `pull` alone.

mod common;

use std::path::Path;

use common::faults::{Answer, Content, Faults};
use common::image::{Layer, marked, of_architecture, write_layout};
use common::process::Output;
use common::registry::Registry;
use common::{Sandbox, have, json};

/// A registry that has images, an artifact and a cache, and a sandbox for which `example.invalid/a` leads to it by
/// mirrors alone: the first is empty, the registry itself does not exist.
fn behind_mirrors() -> Option<(Registry, Faults, Sandbox)> {
    if !have("docker-registry") {
        return None;
    }
    let registry = Registry::private();
    let images = ["amd64", "arm64"].map(of_architecture);
    registry.push_index("a/m", "all", &images.each_ref());
    registry.push("a/m", "one", &images[0]);
    let maker = Sandbox::new();
    maker.write("notes.txt", "some text\n");
    let name = registry.reference("a/files", "v1");
    maker.ok(["artifact", "add", &name, "notes.txt"]);
    maker.ok(["artifact", "push", "-q", &name]);
    maker.write("ctx/Dockerfile", CACHED);
    let cache = format!("type=registry,ref={}", registry.reference("a/cache", "1"));
    maker.ok(["build", "-q", "--network=none", "--cache-to", &cache, "ctx"]);
    let empty = Faults::start(Content::default(), |_, answer| answer);
    let sandbox = Sandbox::new();
    let conf = format!(
        "[[registry]]\nlocation='example.invalid/a'\n[[registry.mirror]]\nlocation='{}/a'\n\
         [[registry.mirror]]\nlocation='{}/a'\n",
        empty.address(),
        registry.address()
    );
    sandbox.write("mirrors.conf", conf);
    sandbox.write("ctx/Dockerfile", CACHED);
    sandbox.write("all/Dockerfile", "FROM example.invalid/a/m:all\nLABEL a=b\n");
    Some((registry, empty, sandbox))
}

const CACHED: &str = "FROM bb\nRUN echo work > /one\n";

/// ketch with the mirrors, by the flag that names a configuration.
fn mirrored(sandbox: &Sandbox, args: &[&str]) -> Output {
    sandbox.ketch(["--registries-conf=mirrors.conf"].iter().chain(args).copied())
}

#[test]
fn every_command_that_reads_uses_mirrors() {
    let Some((_registry, empty, sandbox)) = behind_mirrors() else { return };
    mirrored(&sandbox, &["artifact", "pull", "-q", "example.invalid/a/files:v1"]).ok();
    let listed = sandbox.ok(["artifact", "ls", "--noheading", "--format={{.Repository}} {{.Tag}}"]);
    assert_eq!(listed, "example.invalid/a/files v1");
    let output = mirrored(&sandbox, &["manifest", "inspect", "docker://example.invalid/a/m:all"]);
    assert_eq!(json(output.ok())["manifests"].as_array().map(Vec::len), Some(2));
    let output = mirrored(&sandbox, &["search", "--list-tags", "--format={{.Tag}}", "example.invalid/a/m"]);
    let mut tags: Vec<&str> = output.ok().lines().collect();
    tags.sort_unstable();
    assert_eq!(tags, ["all", "one"]);
    mirrored(&sandbox, &["build", "-q", "--all-platforms", "--manifest", "mine", "all"]).ok();
    assert_eq!(sandbox.ok(["manifest", "inspect", "mine"]).matches("\"architecture\"").count(), 2);
    let build =
        ["build", "--network=none", "--cache-from", "type=registry,ref=example.invalid/a/cache:1", "ctx"];
    let output = mirrored(&sandbox, &build);
    assert!(output.ok().contains("Using cache"), "{}\n{}", output.stdout, output.stderr);
    for part in ["/a/files/manifests/v1", "/a/m/manifests/all", "/a/m/tags/list", "/a/cache/manifests/1"] {
        assert!(!empty.asked(part).is_empty(), "the first mirror was asked for {part}");
    }
    // The file stands in the place of the usual ones, after the verb, too.
    let output = sandbox.ketch(["pull", "-q", "--registries-conf=mirrors.conf", "example.invalid/a/m:one"]);
    output.ok();
    sandbox.ketch(["--registries-conf=nosuch/file.conf", "pull", "-q", "short"]).fails(125);
}

#[test]
fn retries_of_containers_conf_hold_for_every_command() {
    let sandbox = Sandbox::empty();
    let server = Faults::start(Content::default(), |_, _| Answer::status(503));
    sandbox.write("conf", "[engine]\nretry=2\nretry_delay='10ms'\n");
    let name = format!("{}/a/b", server.address());
    let docker = format!("docker://{name}:1");
    let (tag, address) = (format!("{name}:1"), server.address());
    for (args, part) in [
        (&["search", "--list-tags", &name][..], "/tags/list"),
        (&["manifest", "inspect", &docker], "/manifests/1"),
        (&["artifact", "pull", &tag], "/manifests/1"),
        (&["pull", &tag], "/manifests/1"),
        (&["login", "-u", "me", "-p", "secret", &address], "/v2/"),
        (&["search", &format!("{address}/word")], "search"),
    ] {
        let before = server.asked(part).len();
        let began = std::time::Instant::now();
        sandbox.command(args).env("CONTAINERS_CONF", sandbox.path("conf")).run().fails(125);
        let asked = server.asked(part).len() - before;
        assert!((3..=7).contains(&asked), "{args:?}: asked {asked} times");
        // The usual patience is 31 s.
        assert!(began.elapsed().as_secs() < 25, "{args:?} took {:?}", began.elapsed());
    }
    sandbox.write("conf", "[engine]\nretry_delay='soon'\n");
    let output = sandbox.command(["search", &name]).env("CONTAINERS_CONF", sandbox.path("conf")).run();
    assert!(output.fails(125).contains("retry_delay"), "{}", output.stderr);
}

fn set_policy(sandbox: &Sandbox, transports: &str) {
    let text =
        format!(r#"{{"default":[{{"type":"insecureAcceptAnything"}}],"transports":{{{transports}}}}}"#);
    sandbox.write("home/.config/containers/policy.json", text.replace("REJECT", r#"[{"type":"reject"}]"#));
}

#[test]
fn policy_json_is_asked_before_anything_is_taken_from_a_registry() {
    let Some((_registry, _empty, sandbox)) = behind_mirrors() else { return };
    // The name that was typed counts, not the mirror's; the port does not count for a wildcard.
    set_policy(&sandbox, r#""docker":{"*.invalid":REJECT}"#);
    let refused = |conf: &str, args: &[&str]| {
        let flag = format!("--registries-conf={conf}");
        let output = sandbox.ketch([flag.as_str()].iter().chain(args).copied());
        assert!(output.fails(125).contains("rejected by policy"), "{args:?}: {}", output.stderr);
    };
    refused("mirrors.conf", &["artifact", "pull", "-q", "example.invalid/a/files:v1"]);
    refused("mirrors.conf", &["pull", "-q", "example.invalid/a/m:one"]);
    let port = sandbox.read("mirrors.conf").replace("'example.invalid/a'", "'example.invalid:5000/a'");
    sandbox.write("port.conf", port);
    refused("port.conf", &["artifact", "pull", "-q", "example.invalid:5000/a/files:v1"]);
    assert_eq!(sandbox.ok(["artifact", "ls", "--noheading"]), "");
    let build =
        ["build", "--network=none", "--cache-from", "type=registry,ref=example.invalid/a/cache:1", "ctx"];
    let output = mirrored(&sandbox, &build);
    assert!(!output.ok().contains("Using cache"), "{}", output.stdout);
    assert!(output.stderr.contains("rejected by policy"), "{}", output.stderr);
    set_policy(
        &sandbox,
        r#""docker":{"*.invalid":REJECT,"example.invalid/a":[{"type":"insecureAcceptAnything"}]}"#,
    );
    mirrored(&sandbox, &["artifact", "pull", "-q", "example.invalid/a/files:v1"]).ok();
}

#[test]
fn policy_json_knows_the_places_of_archives_and_directories() {
    let sandbox = Sandbox::new();
    let made = marked("policy");
    write_layout(&sandbox, "in/layout", &[&made], &made.manifest, "r.io/x:1");
    for (format, path) in
        [("docker-archive", "in/d.tar"), ("oci-archive", "in/o.tar"), ("docker-dir", "in/dir")]
    {
        sandbox.ok(["save", "-q", "--format", format, "-o", path, "bb"]);
    }
    sandbox.program("ln", ["-s", "in", "link"]).run().ok();
    let inside = sandbox.path("in").canonicalize().expect("a directory").display().to_string();
    let load = |path: &str| sandbox.ketch(["load", "-q", "-i", path]);
    let pull = |place: &str| sandbox.ketch(["pull", "-q", place]);
    let archive = std::fs::read(sandbox.path("in/d.tar")).expect("the archive");
    let piped = || sandbox.command(["load", "-q"]).stdin(archive.clone()).run();
    let refused = |output: &Output| {
        assert!(output.fails(125).contains("rejected by policy"), "{}", output.stderr);
    };

    // A transport as a whole, whatever the archive is called; standard input has no path.
    set_policy(&sandbox, r#""docker-archive":{"":REJECT}"#);
    refused(&load("in/d.tar"));
    refused(&pull("docker-archive:in/d.tar"));
    refused(&piped());
    refused(&pull("oci-archive:in/d.tar"));
    load("in/o.tar").ok();
    // A path, also by a link to it, and what lies below it; others are free.
    set_policy(
        &sandbox,
        &format!(
            r#""oci-archive":{{"{inside}/o.tar":REJECT}},"dir":{{"{inside}":REJECT}},"oci":{{"{inside}/layout":REJECT}}"#
        ),
    );
    for output in [
        load("in/o.tar"),
        load("link/o.tar"),
        pull("oci-archive:link/o.tar"),
        load("in/dir"),
        pull("dir:link/dir"),
        load("in/layout"),
        pull("oci:in/layout"),
    ] {
        refused(&output);
    }
    load("in/d.tar").ok();
    piped().ok();
    sandbox.program("cp", ["in/o.tar", "in/other.tar"]).run().ok();
    load("in/other.tar").ok();
    // More specific ones come first, and what is imported has its own kind.
    set_policy(
        &sandbox,
        &format!(
            r#""dir":{{"{inside}/dir":[{{"type":"insecureAcceptAnything"}}],"{inside}":REJECT}},"tarball":{{"":REJECT}}"#
        ),
    );
    load("in/dir").ok();
    refused(&sandbox.command(["import", "-"]).stdin(Layer::new().finish()).run());
}

/// ketch with `args` on a machine without any registries.conf, where only the first of `ways` to a network is there.
fn on_a_fresh_machine(sandbox: &Sandbox, ways: &str, args: &[&str]) -> Output {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let script = format!(
        "for dir in /etc/containers /usr/share/containers; do [ ! -d $dir ] || mount -t tmpfs none $dir; done; {ways} && \
         exec unshare --user --map-user={uid} --map-group={gid} ketch \"$@\""
    );
    let words =
        [&["--user", "--map-root-user", "--mount", "--net", "sh", "-c", &script, "sh"], args].concat();
    sandbox.program("unshare", words).run()
}

#[test]
fn without_any_configuration_short_names_are_asked_for_at_docker_hub() {
    let sandbox = Sandbox::empty();
    let why = "hint: short-name \"NAME\" did not resolve to an alias and no unqualified-search registries are defined \
               in \"/etc/containers/registries.conf\", so docker.io was asked";
    for (args, name, full) in [
        (&["pull", "x:zz"][..], "x:zz", "docker.io/library/x:zz"),
        (&["run", "--rm", "--net=none", "team/app"], "team/app", "docker.io/team/app:latest"),
        (&["pull", "--all-tags", "x"], "x", "docker.io/library/x:latest"),
        (&["search", "--list-tags", "x"], "x", "docker.io/library/x"),
    ] {
        let output = on_a_fresh_machine(&sandbox, "true", args);
        let message = output.fails(125);
        assert!(message.contains(&why.replace("NAME", name)), "{args:?}: {message}");
        assert!(message.contains(full), "{args:?}: {message}");
    }
    // A file that is named says all there is to say; what has a registry is none of it.
    let output =
        on_a_fresh_machine(&sandbox, "export CONTAINERS_REGISTRIES_CONF=/dev/null", &["pull", "x:zz"]);
    assert!(output.fails(125).contains("Error: short-name \"x:zz\" did not resolve"), "{}", output.stderr);
    let output = on_a_fresh_machine(&sandbox, "true", &["pull", "docker.io/x:zz"]);
    assert!(!output.fails(125).contains("short-name"), "{}", output.stderr);
}

#[test]
fn where_there_is_no_network_a_lookup_fails_at_once() {
    let sandbox = Sandbox::empty();
    let over = |file: &str| {
        format!(
            "to=$(readlink -f /etc/resolv.conf) && {{ [ ! -f \"$to\" ] || mount --bind {file} \"$to\"; }}"
        )
    };
    let servers = "nameserver 192.0.2.1\nnameserver 127.0.0.1\nnameserver 2001:db8::1\n";
    let servers = over(&sandbox.write("servers", servers).display().to_string());
    for ways in ["true", &servers, &over("/dev/null")] {
        // A busy machine may be slow now and then; waiting for an answer that cannot come is slow each time.
        let at_once = (0..10).any(|_| {
            let began = std::time::Instant::now();
            on_a_fresh_machine(&sandbox, ways, &["pull", "-q", "x:zz"]).fails(125);
            began.elapsed().as_secs() < 2
        });
        assert!(at_once, "{ways}");
    }
}

/// The user's registries.conf takes the place of the machine's directory of further files, too; a named file does not.
#[test]
fn the_users_own_registries_conf_is_not_mixed_with_the_machines() {
    let sandbox = Sandbox::empty();
    let machine = "if [ -d /etc/containers ]; then mkdir /etc/containers/registries.conf.d && \
                   printf \"[aliases]\\n'app'='example.invalid/machine/app'\\n\" > /etc/containers/registries.conf.d/a.conf; fi";
    let conf = "unqualified-search-registries=['localhost:1']\n";
    let named = sandbox.write("named.conf", conf);
    let named = format!("{machine}; export CONTAINERS_REGISTRIES_CONF={}", named.display());
    let refused = |ways: &str| on_a_fresh_machine(&sandbox, ways, &["pull", "app"]).fails(125).to_owned();
    if Path::new("/etc/containers").exists() {
        for ways in [machine, &named] {
            assert!(refused(ways).contains("example.invalid/machine/app"), "{ways}");
        }
    }
    sandbox.write("home/.config/containers/registries.conf", conf);
    let said = refused(machine);
    assert!(said.contains("localhost:1/app") && !said.contains("machine"), "{said}");
    sandbox.write(
        "home/.config/containers/registries.conf.d/mine.conf",
        "[aliases]\n'app'='localhost:1/mine/app'\n",
    );
    assert!(refused(machine).contains("localhost:1/mine/app"));
}
