//! `ketch run --userns`: whose files are whose.

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;

use common::Sandbox;

#[test]
fn the_user_namespace_maps_as_asked() {
    let sandbox = Sandbox::new();
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let data = sandbox.path("data");
    fs::create_dir(&data).expect("make a directory");
    let volume = format!("-v={}:/data", data.display());
    for (mode, want, owner) in [
        ("host", "0:0".to_owned(), uid),
        ("", "0:0".to_owned(), uid),
        ("keep-id", format!("{uid}:{gid}"), uid),
        ("keep-id:uid=5,gid=6", "5:6".to_owned(), uid),
    ] {
        let option = format!("--userns={mode}");
        let options: Vec<&str> = if mode.is_empty() { vec![&volume] } else { vec![&volume, &option] };
        let output = sandbox.sh(&options, "echo $(id -u):$(id -g); rm -f /data/f; touch /data/f");
        assert_eq!(output.ok(), want, "--userns={mode}");
        assert_eq!(fs::metadata(data.join("f")).expect("made").uid(), owner, "--userns={mode}");
    }
    let nomap = sandbox.sh(
        &["--userns=nomap"],
        "id -u; touch /f; stat -c %u /f /bin/busybox; awk '{print $1, $2}' /proc/self/uid_map",
    );
    assert_eq!(nomap.ok(), "0\n0\n0\n0 1", "root is the first of the subordinate range, not the caller");
    let bad = sandbox.sh(&["--userns=bogus"], "true");
    assert!(bad.fails(125).contains("bogus"), "{}", bad.stderr);
}

#[test]
fn keep_id_sees_the_images_files_with_their_owners() {
    let sandbox = Sandbox::new();
    let output = sandbox.sh(&["--userns=keep-id:uid=1000,gid=1000"], "id -un; stat -c %u:%g /home/app/mine /bin/busybox; cat /home/app/mine; echo x > /home/app/new; stat -c %u /home/app/new");
    assert_eq!(output.ok(), "app\n1000:1000\n0:0\nof app\n1000");
}
