//! `volume`: what scripts about volumes see and rely on.

mod common;

use common::Sandbox;

#[test]
fn volumes_are_made_listed_inspected_and_removed() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.ketch(["volume", "ls"]).ok(), "", "not even headings");
    assert_eq!(sandbox.ok(["volume", "create", "v1", "--label", "a=b", "-l", "c"]), "v1");
    let again = sandbox.ketch(["volume", "create", "v1"]);
    assert!(again.fails(125).contains("volume with name v1 already exists"), "{}", again.stderr);
    assert_eq!(sandbox.ok(["volume", "create", "--ignore", "v1"]), "v1");
    assert!(sandbox.ketch(["volume", "create", "/x"]).fails(125).contains("names match"));
    assert!(sandbox.ketch(["volume", "create", "-d", "nope", "x"]).fails(125).contains("plugin"));

    assert_eq!(sandbox.ok(["volume", "ls"]), "DRIVER      VOLUME NAME\nlocal       v1");
    assert_eq!(sandbox.ok(["volume", "ls", "-n"]), "local       v1");
    let format = "--format={{.Name}} {{.Labels}} {{.Scope}}";
    assert_eq!(sandbox.ok(["volume", "ls", format]), "v1 map[a:b c:] local");
    let shown: serde_json::Value =
        serde_json::from_str(&sandbox.ok(["volume", "inspect", "v1"])).expect("JSON");
    assert_eq!(shown[0]["Labels"]["a"], "b");
    assert!(shown[0].get("Anonymous").is_none());
    let data = shown[0]["Mountpoint"].as_str().expect("a path");
    assert!(std::path::Path::new(data).is_dir(), "{data}");

    let missing = sandbox.ketch(["volume", "inspect", "nope"]);
    assert_eq!((missing.code, missing.stdout.as_str()), (125, "[]\n"));
    assert!(missing.stderr.contains("no such volume nope"), "{}", missing.stderr);
    assert_eq!(sandbox.ketch(["volume", "exists", "v1"]).code, 0);
    assert_eq!(sandbox.ketch(["volume", "exists", "nope"]).code, 1);
    assert!(sandbox.ketch(["volume", "rm", "nope"]).fails(1).contains("no such volume"));
    assert_eq!(sandbox.ketch(["volume", "rm", "-f", "nope"]).ok(), "");
    assert_eq!(sandbox.ok(["volume", "rm", "v1"]), "v1");
    assert_eq!(sandbox.ketch(["volume", "exists", "v1"]).code, 1);
    assert!(sandbox.ketch(["volume", "rm"]).fails(125).contains("choose either"));
}

#[test]
fn filters_choose_volumes() {
    let sandbox = Sandbox::new();
    for (name, label) in [("one", "k=1"), ("two", "k=2"), ("used", "k=1")] {
        sandbox.ok(["volume", "create", name, "--label", label]);
    }
    sandbox.ok(["create", "--net=none", "-v", "used:/data", "bb"]);
    let anonymous = sandbox.ok(["volume", "create"]);
    assert_eq!(anonymous.len(), 64);
    let list = |filters: &[&str]| {
        let mut args = vec!["volume", "ls", "-q"];
        filters.iter().for_each(|filter| args.extend(["--filter", filter]));
        let mut names: Vec<_> = sandbox.ok(args).lines().map(str::to_owned).collect();
        names.retain(|name| *name != anonymous);
        names.join(" ")
    };
    for (filters, want) in [
        (&["label=k=1"][..], "one used"),
        (&["label!=k=1"], "two"),
        (&["dangling=true"], "one two"),
        (&["dangling=false"], "used"),
        (&["name=^t"], "two"),
        (&["name=one", "name=two"], "one two"),
        (&["since=one", "label=k"], "two used"),
        (&["until=1h"], ""),
        (&["driver=local", "label=k=2"], "two"),
        (&["anonymous=false"], "one two used"),
    ] {
        assert_eq!(list(filters), want, "{filters:?}");
    }
    assert!(sandbox.ketch(["volume", "ls", "-f", "foo=1"]).fails(125).contains("invalid filter"));
}

#[test]
fn one_in_use_is_kept_and_its_users_are_named() {
    let sandbox = Sandbox::new();
    let id = sandbox.start("user", &["-v", "data:/data"], "echo kept > /data/f; exec sleep 1000");
    let refused = sandbox.ketch(["volume", "rm", "data"]);
    assert!(refused.fails(2).contains(&id), "{}", refused.stderr);
    sandbox.ok(["volume", "create", "idle"]);
    assert_eq!(sandbox.ok(["volume", "prune", "--force"]), "idle");
    assert_eq!(
        sandbox.sh(&["-v", "data:/data"], "cat /data/f").ok(),
        "kept",
        "the data outlives a container"
    );

    assert_eq!(sandbox.ok(["volume", "rm", "--force", "--time=0", "data"]), "data");
    assert_eq!(sandbox.names(), Vec::<String>::new(), "its user went with it");
    assert_eq!(sandbox.ok(["volume", "ls", "-q"]), "");
}

#[test]
fn files_of_other_users_are_removed_too() {
    let sandbox = Sandbox::new();
    let script = "mkdir -m 700 /data/d; touch /data/d/f; chown -R 1000:1000 /data/d";
    sandbox.sh(&["-v", "data:/data"], script).ok();
    assert_eq!(sandbox.ok(["volume", "rm", "data"]), "data");
    assert!(!sandbox.store().join("volumes/data").exists());
    // The monitor of the container deletes its files after it has sent the exit code.
    let left = || std::fs::read_dir(sandbox.store().join("staging")).expect("read staging").count();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while left() > 0 && std::time::Instant::now() < end {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(left(), 0);
}
