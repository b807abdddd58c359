//! Other users of the machine.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::common::{Output, Sandbox, skip};

/// Runs a shell script as another user of this machine: one of the subordinate range, in a user namespace without the
/// caller in it.
fn as_stranger(sandbox: &Sandbox, script: &str, argument: &Path) -> Output {
    let become_stranger = "exec setpriv --reuid=1000 --regid=1000 --clear-groups sh -c \"$1\" sh \"$2\"";
    let argument = argument.to_str().expect("UTF-8");
    let unshare =
        ["--user", "--map-root-user", "--map-auto", "sh", "-c", become_stranger, "sh", script, argument];
    sandbox.program("unshare", unshare).run()
}

/// Everything below `dir`.
fn below(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.flat_map(|entry| [vec![entry.path()], below(&entry.path())].concat()).collect()
}

#[test]
fn sec_34_other_users_reach_neither_store_nor_sockets() {
    let sandbox = Sandbox::new();
    sandbox.ok(["run", "-d", "--name=c", "bb", "sleep", "600"]);
    // What protects must be ketch's own modes, not those of the directories around it.
    for dir in ["", "run", "home"] {
        fs::set_permissions(sandbox.path(dir), fs::Permissions::from_mode(0o755)).expect("open the way");
    }
    let reachable = as_stranger(&sandbox, "ls \"$1\"", &sandbox.path(""));
    if reachable.code != 0 {
        skip("needs a temporary directory that other users can reach");
        return;
    }
    assert!(reachable.stdout.contains("store"), "{}", reachable.stdout);

    for script in ["ls \"$1\"", "cat \"$1\"/format", "ls \"$1\"/containers", "ls \"$1\"/blobs"] {
        let output = as_stranger(&sandbox, script, &sandbox.store());
        assert_ne!(output.code, 0, "{script}: {}", output.stdout);
        assert!(output.stderr.contains("denied"), "{script}: {}", output.stderr);
    }
    let mode = fs::metadata(sandbox.store()).expect("look at the store").permissions().mode();
    assert_eq!(mode & 0o7777, 0o700);

    let places = [sandbox.store(), sandbox.path("run")].map(|dir| below(&dir)).concat();
    let is_socket =
        |path: &&PathBuf| fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    let sockets: Vec<_> = places.iter().filter(is_socket).collect();
    assert!(!sockets.is_empty(), "a running container has a socket");
    for socket in sockets {
        let output = as_stranger(&sandbox, "echo x >> \"$1\" || ls \"$1\"", socket);
        assert_ne!(output.code, 0, "{}: {}", socket.display(), output.stdout);
        assert!(output.stderr.contains("denied"), "{}: {}", socket.display(), output.stderr);
    }
}

#[test]
fn sec_34_no_secret_is_on_a_command_line() {
    let sandbox = Sandbox::new();
    sandbox.ok([
        "run",
        "-d",
        "--name=c",
        "--env=PASSWORD=hunter2",
        "--label=x=hunter2",
        "bb",
        "sleep",
        "600",
    ]);

    let seen = sandbox.program("sh", ["-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"]).run();

    assert!(seen.stdout.contains("sleep 600"), "the container's command is there: {}", seen.stdout);
    // The test's own command line would be the only one to hold it.
    assert!(!seen.stdout.contains("hunter2"), "{}", seen.stdout);
}

#[test]
fn sec_34_no_socket_without_a_path() {
    let sandbox = Sandbox::new();
    let before = abstract_sockets();
    sandbox.ok(["run", "-d", "--name=c", "bb", "sleep", "600"]);

    let new: Vec<_> = abstract_sockets().into_iter().filter(|name| !before.contains(name)).collect();

    assert!(!new.iter().any(|name| name.contains("ketch") || name.contains("attach")), "{new:?}");
}

/// Names of the sockets of this network namespace that have a name but no file.
fn abstract_sockets() -> Vec<String> {
    let table = fs::read_to_string("/proc/net/unix").expect("read the table of sockets");
    table
        .lines()
        .filter_map(|line| line.split_whitespace().nth(7))
        .filter(|name| name.starts_with('@'))
        .map(str::to_owned)
        .collect()
}
