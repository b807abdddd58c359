//! Layers through the binary: hostile ones are refused and leave nothing, honest ones arrive as they were made.
//!
//! The tables of single entries are beside the code (`src/store/unpack/tests.rs`); here the whole way is meant, with the worker in its user
//! namespace: SEC-20, SEC-21, SEC-24, REL-17, REL-45 … REL-48.

mod common;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use common::faults::{Faults, How};
use common::image::{Blob, Built, Compression, Image, Layer, digest, manifest};
use common::process::Output;
use common::{Sandbox, bb, entries, have, wait_for};
use rustix::process::Signal;
use serde_json::json;

/// Serves an image as `a/b:1`.
fn serve(image: &Built) -> Faults {
    Faults::start(image.content(), |_, answer| answer)
}

fn name(server: &Faults) -> String {
    format!("{}/a/b:1", server.address())
}

fn pull(sandbox: &Sandbox, image: &Built) -> Output {
    sandbox.ketch(["pull", "--retry=0", &name(&serve(image))])
}

fn one_layer(layer: Layer) -> Built {
    Image::new().layer(layer, Compression::Gzip).build()
}

/// An image whose only layer is this blob, of whatever content; `tar` is what it is to hold.
fn of_blob(blob: Vec<u8>, tar: &[u8]) -> Built {
    let mut built = one_layer(Layer::new().file("f", 0o644, "x"));
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {}, "history": [],
        "rootfs": {"type": "layers", "diff_ids": [digest(tar)]},
    });
    built.config.bytes = config.to_string().into_bytes();
    built.layers = vec![Blob { media_type: built.layers[0].media_type.clone(), bytes: blob }];
    built.manifest = manifest(&built.manifest.media_type, &built.config, &built.layers);
    built
}

/// Fails unless nothing of an image is there.
#[track_caller]
fn nothing_is_left(store: &Path) {
    let left: Vec<String> = ["images", "refs", "layers", "staging", "containers"]
        .iter()
        .flat_map(|dir| entries(store, dir))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

/// Names, sizes and times of everything below `dir` but the store.
fn host_state(dir: &Path) -> Vec<(PathBuf, u64, std::time::SystemTime)> {
    let mut all = Vec::new();
    let mut pending = vec![dir.to_owned()];
    while let Some(dir) = pending.pop() {
        for entry in dir.read_dir().into_iter().flatten().flatten() {
            let meta = entry.path().symlink_metadata().expect("an entry");
            if entry.file_name() == "store" {
                continue;
            }
            if meta.is_dir() {
                pending.push(entry.path());
            }
            all.push((entry.path(), meta.len(), meta.modified().expect("a time")));
        }
    }
    all.sort();
    all
}

#[test]
fn sec_20_hostile_layers_are_refused_by_name_and_leave_nothing() {
    let new = Layer::new;
    let outside = "../../../../../home/pwned";
    let long = "n".repeat(256);
    for (layer, entry, why) in [
        (new().file(outside, 0o644, "x"), outside, "leads out of the layer"),
        (new().file("a/../../f", 0o644, "x"), "a/../../f", "leads out of the layer"),
        (
            new().symlink("x", "../../../../home").file("x/pwned", 0o644, "x"),
            "x/pwned",
            "symbolic link to nowhere",
        ),
        (new().symlink("x", "/etc").file("x/passwd", 0o644, "x"), "x/passwd", "symbolic link to nowhere"),
        (new().hardlink("h", "/etc/passwd"), "h", "not in this layer"),
        (new().symlink("x", "/etc").hardlink("h", "x/passwd"), "h", "not in this layer"),
        (new().symlink(".", "/"), ".", "root must be a directory"),
        (new().file(".wh..", 0o644, ""), ".wh..", "must name a file"),
        (new().file(".wh...", 0o644, ""), ".wh...", "must name a file"),
        (new().dir(".wh..wh..opq", 0o755), ".wh..wh..opq", "must be a regular file"),
        (new().file(&long, 0o644, ""), &long, "longer than 255 bytes"),
        (
            new().file("esc\x1b[31m\x07", 0o644, "").file("esc\x1b[31m\x07/f", 0o644, ""),
            "esc\\u{1b}[31m\\u{7}/f",
            "not a directory",
        ),
    ] {
        let sandbox = Sandbox::empty();
        sandbox.write("home/file", "untouched");
        let before = host_state(&sandbox.path(""));
        let output = pull(&sandbox, &one_layer(layer));
        let stderr = output.fails(125);
        let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("Error: ")).collect();
        assert_eq!(errors.len(), 1, "{stderr}");
        assert!(errors[0].contains(&format!("\"{entry}\"")) && errors[0].contains(why), "{entry}: {stderr}");
        assert!(!stderr.contains('\x1b'), "{stderr:?}");
        assert_eq!(host_state(&sandbox.path("")), before, "{entry}");
        nothing_is_left(&sandbox.store());
    }
}

#[test]
fn rel_45_what_a_layer_says_is_what_a_container_sees() {
    if !have("docker-registry") {
        return;
    }
    let odd = OsStr::from_bytes(b"odd/nu\xff");
    let image = bb::image()
        .layer(
            Layer::new()
                .dir("odd", 0o1777)
                .file(odd, 0o640, "bytes")
                .file("odd/setuid", 0o4755, "s")
                .hardlink("usr/hard", "odd/setuid")
                .symlink("odd/link", "../usr/hard")
                .fifo("odd/fifo", 0o622)
                .owner(33, 44)
                .file("odd/owned", 0o600, "o")
                .owner(0, 0)
                .dir("closed", 0o700)
                .file("closed/below", 0o644, "gone soon")
                .dir("gone", 0o755)
                .file("gone/file", 0o644, "")
                .file("gone-file", 0o644, "")
                .dir("private", 0o750)
                .dir("private/deep", 0o711),
            Compression::Zstd,
        )
        .layer(
            Layer::new()
                .whiteout("gone")
                .whiteout("gone-file")
                .opaque("closed")
                .file("closed/above", 0o644, "new")
                .file("private/deep/implied", 0o644, "")
                .symlink("here", "odd")
                .file("/absolute", 0o644, ""),
            Compression::Gzip,
        )
        .build();
    let sandbox = Sandbox::empty();
    let reference = common::registry::Registry::shared().push("faithful", "1", &image);
    sandbox.ok(["pull", "-q", &reference]);
    let script = r#"
        cd /odd
        stat -c '%n %f %u:%g %Y' . setuid link fifo owned
        for f in nu*; do printf '%s' "$f" | od -An -tx1; done
        [ setuid -ef ../usr/hard ] && echo same
        cat link; echo
        ls /closed /gone* /absolute 2>&1
        stat -c '%n %f' /private /private/deep /here/setuid
    "#;
    let output = sandbox.ketch(["run", "--rm", "--net=none", &reference, "sh", "-c", script]);
    assert_eq!(
        output.ok().lines().map(str::trim).collect::<Vec<_>>(),
        [
            ". 43ff 0:0 1700000000",
            "setuid 89ed 0:0 1700000000",
            "link a1ff 0:0 1700000000",
            "fifo 1192 0:0 1700000000",
            "owned 8180 33:44 1700000000",
            "6e 75 ff",
            "same",
            "s",
            "ls: /gone*: No such file or directory",
            "/absolute",
            "",
            "/closed:",
            "above",
            "/private 41e8",
            "/private/deep 41c9",
            "/here/setuid 89ed",
        ],
        "{}",
        output.stdout
    );
}

#[test]
fn rel_45_attributes_of_files_are_kept_and_those_of_overlay_escaped() {
    // A file capability (cap_net_raw, permitted and effective) as version 2 of the attribute.
    let capability: &[u8] = &[1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let layer = Layer::new()
        .xattrs(&[("user.mine", b"\0v"), ("user.overlay.opaque", b"y"), ("security.capability", capability)])
        .file("file", 0o755, "x")
        .xattrs(&[("trusted.overlay.redirect", b"/etc"), ("security.selinux", b"x")])
        .dir("dir", 0o755);
    let sandbox = Sandbox::empty();
    pull(&sandbox, &one_layer(layer)).ok();
    let layers = entries(&sandbox.store(), "layers");
    let file = sandbox.store().join(&layers[0]).join("fs/file");
    let get = |name: &str| {
        let mut value = [0; 64];
        rustix::fs::getxattr(&file, name, &mut value[..]).map(|length| value[..length].to_vec()).ok()
    };
    assert_eq!(get("user.mine").as_deref(), Some(&b"\0v"[..]));
    assert_eq!(get("user.overlay.overlay.opaque").as_deref(), Some(&b"y"[..]));
    assert_eq!(get("user.overlay.opaque"), None);
    // From outside the namespace the kernel shows whose root may use it.
    let kept = get("security.capability").expect("the capability is kept");
    assert_eq!(kept[4..8], capability[4..8]);
}

#[test]
fn rel_46_an_owner_without_a_place_is_named_with_the_line_to_add() {
    let sandbox = Sandbox::empty();
    let output = pull(&sandbox, &one_layer(Layer::new().owner(100_000, 0).file("far", 0o644, "")));
    let stderr = output.fails(125);
    assert!(
        stderr.contains("layer entry \"far\" belongs to user ID 100000, which is not mapped"),
        "{stderr}"
    );
    let hint = stderr.lines().find(|line| line.starts_with("hint: add the line ")).expect("a hint");
    assert!(hint.contains(" to /etc/subuid"), "{hint}");
    nothing_is_left(&sandbox.store());
}

/// REL-46, the way out: such files belong to nobody, and that is said.
#[test]
fn rel_46_owners_without_a_place_may_be_squashed() {
    let image = Image::new()
        .layer(common::bb::root_layer(), Compression::Gzip)
        .layer(
            Layer::new()
                .owner(100_000, 7)
                .file("far", 0o4755, "x")
                .dir("d", 0o750)
                .owner(3, 4_000_000_000)
                .file("d/group", 0o644, ""),
            Compression::Gzip,
        )
        .build();
    let server = serve(&image);
    let name = name(&server);
    let sandbox = Sandbox::empty();
    let output = sandbox.ketch(["pull", "--squash-ids", &name]);
    output.ok();
    assert_eq!(
        output.stderr.matches("are not mapped belong to nobody now, among them far").count(),
        1,
        "{}",
        output.stderr
    );
    let script = "stat -c '%n %u:%g %a' /far /d /d/group";
    let shown = sandbox.ok(["run", "--rm", "--net=none", &name, "sh", "-c", script]);
    assert_eq!(shown, "/far 65534:7 4755\n/d 65534:7 750\n/d/group 3:65534 644");
    sandbox.ok(["save", "-q", "-o", "far.tar", &name]);
    let other = Sandbox::empty();
    let archive = sandbox.path("far.tar").display().to_string();
    other.ketch(["load", "-i", &archive]).fails(125);
    let output = other.ketch(["load", "--squash-ids", "-i", &archive]);
    output.ok();
    assert!(output.stderr.contains("belong to nobody now"), "{}", output.stderr);
}

#[test]
fn rel_48_devices_are_left_out_and_named_once() {
    let sandbox = Sandbox::empty();
    let layer = Layer::new().dir("dev", 0o755).device("dev/null", 0o666).device("dev/zero", 0o666);
    let output = pull(&sandbox, &one_layer(layer));
    output.ok();
    assert_eq!(output.stderr.matches("left out device nodes").count(), 1, "{}", output.stderr);
    assert!(output.stderr.contains("dev/null and others"), "{}", output.stderr);
}

/// REL-47.
#[test]
fn deep_and_long_paths_come_and_go() {
    let deep = "d/".repeat(2_500);
    let layer =
        Layer::new().file(format!("{deep}{}", "n".repeat(255)), 0o644, "x").owner(5, 5).dir("of-five", 0o700);
    let image = one_layer(layer);
    let sandbox = Sandbox::empty();
    pull(&sandbox, &image).ok();
    sandbox.ok(["rmi", &image.id()]);
    nothing_is_left(&sandbox.store());

    let too_long = one_layer(Layer::new().file("n".repeat(256), 0o644, "x"));
    let output = pull(&sandbox, &too_long);
    assert!(output.fails(125).contains("nnnn"), "{}", output.stderr);
    nothing_is_left(&sandbox.store());
}

#[test]
fn sec_21_bombs_are_stopped_within_64_mib_of_memory() {
    let gzip = |content: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, content).expect("write to memory");
        encoder.finish().expect("write to memory")
    };
    let tar = Layer::new().file("f", 0o644, "x").finish();
    let trailing = [&tar[..], &vec![0; 100 << 20]].concat();
    // One header that promises 2^60 bytes, in the binary form of the size field.
    let mut petabytes = tar.clone();
    petabytes[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0]);
    petabytes[148..156].copy_from_slice(b"        ");
    let sum: u32 = petabytes[..512].iter().map(|&byte| u32::from(byte)).sum();
    petabytes[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let window = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00];
    // A stream without a check, and one block of LZMA2 with a dictionary of 4 GiB.
    let dictionary = [
        0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, 0x00, 0x00, 0xff, 0x12, 0xd9, 0x41, // stream
        0x02, 0x00, 0x21, 0x01, 0x28, 0x00, 0x00, 0x00, 0xe6, 0xa0, 0x11, 0xb3, // block
        0x01, 0x00, 0x00, 0x00, 0x00,
    ];
    let members: Vec<u8> = tar.chunks(3).flat_map(gzip).collect();
    for (what, blob, tar, refused) in [
        ("zeros behind the end", gzip(&trailing), &trailing, Some("behind the end of the archive")),
        ("a promise of 2^60 bytes", gzip(&petabytes), &petabytes, Some("needs more than 1.15EB; ")),
        ("a zstd window of 2 GiB", window, &tar, Some("corrupt")),
        ("xz cut off", b"\xfd7zXZ\0\0".to_vec(), &tar, Some("corrupt")),
        ("an xz dictionary of 4 GiB", dictionary.to_vec(), &tar, Some("memory")),
        ("gzip cut off", gzip(&tar)[..20].to_vec(), &tar, Some("corrupt")),
        ("another archive", gzip(b"other"), &tar, Some("")),
        ("hundreds of gzip members", members, &tar, None),
        ("garbage behind gzip", [gzip(&tar), b"garbage".to_vec()].concat(), &tar, None),
    ] {
        let sandbox = Sandbox::empty();
        let server = serve(&of_blob(blob, tar));
        let limits = ["prlimit", "--data=67108864"];
        let output = sandbox.command(["pull", "--retry=0", &name(&server)]).through(limits).run();
        match refused {
            Some(why) => {
                assert!(output.fails(125).contains(why), "{what}: {}", output.stderr);
                nothing_is_left(&sandbox.store());
            }
            None => drop(output.ok()),
        }
    }
}

/// No specification knows them; docker and podman take them.
#[test]
fn layers_may_be_compressed_with_xz_and_bzip2() {
    let tar = Layer::new().file("f", 0o644, "x".repeat(100_000)).finish();
    for tool in ["xz", "bzip2"].into_iter().filter(|tool| common::have(tool)) {
        let sandbox = Sandbox::empty();
        sandbox.write("layer", &tar);
        let blob = sandbox.program(tool, ["-c", "layer"]).run();
        assert_eq!(blob.code, 0, "{}", blob.stderr);
        let server = serve(&of_blob(blob.bytes, &tar));
        sandbox.ok(["pull", "-q", &name(&server)]);
        sandbox.ok(["save", "-q", "-o", "image.tar", &name(&server)]);
        sandbox.ok(["--root=other", "load", "-q", "-i", "image.tar"]);
        let format = ["--root=other", "image", "inspect", "--format={{.RootFS.Layers}}", &name(&server)];
        assert_eq!(sandbox.ok(format), format!("[{}]", digest(&tar)), "{tool}");
    }
}

#[test]
fn a_killed_unpacker_fails_the_pull_and_the_next_one_works() {
    let noise: Vec<u8> =
        (0..1_000_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let image = one_layer(Layer::new().owner(7, 7).dir("d", 0o700).file("d/noise", 0o600, noise));
    let path = format!("/v2/a/b/blobs/{}", image.layers[0].digest());
    let server = Faults::start(image.content(), move |request, answer| {
        if request.path == path && request.before == 0 {
            answer.how(How::SilentAt(1_000_000))
        } else {
            answer
        }
    });
    let sandbox = Sandbox::empty();
    let running = sandbox.command(["pull", &name(&server)]).spawn();
    let worker = wait_for("the worker to write", || {
        let written = entries(&sandbox.store(), "staging").iter().any(|staged| {
            // The directory belongs to the layer's user: it can be seen, not read.
            sandbox.store().join(staged).join("fs/d").symlink_metadata().is_ok()
        });
        let worker = worker_of(running.pid());
        worker.filter(|_| written).ok_or_else(|| "not yet".to_owned())
    });
    rustix::process::kill_process(worker, Signal::KILL).expect("kill the worker");
    let output = running.wait();
    assert!(output.fails(125).contains("Error: "), "{}", output.stderr);
    nothing_is_left(&sandbox.store());
    assert_eq!(sandbox.ok(["pull", "-q", &name(&server)]), image.id().replace("sha256:", ""));
}

/// The child of process `parent` that unpacks.
fn worker_of(parent: u32) -> Option<rustix::process::Pid> {
    let processes = Path::new("/proc").read_dir().ok()?.flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()).find_map(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        let is_child = stat.rsplit(')').next()?.split(' ').nth(2) == Some(&parent.to_string());
        (is_child && line.contains("unpack")).then(|| rustix::process::Pid::from_raw(pid)).flatten()
    })
}

/// REL-17 and SEC-21: a file system of 24 MB, in a namespace where root may mount one.
#[test]
fn a_full_disk_is_said_in_one_line_and_nothing_stays() {
    let noise = vec![7; 40 << 20];
    let server = serve(&one_layer(Layer::new().file("big", 0o644, noise)));
    let sandbox = Sandbox::empty();
    let script = "mkdir small && mount -t tmpfs -o size=24m tmpfs small && export KETCH_ROOT=$PWD/small/store \
                  && ketch pull --retry=0 \"$1\"; echo code $?; df -k small | tail -n 1; ls small/store/staging small/store/layers";
    let shell =
        ["--user", "--map-root-user", "--map-auto", "--mount", "sh", "-c", script, "sh", &name(&server)];
    let output = sandbox.program("unshare", shell).run();
    assert!(output.stdout.starts_with("code 125\n"), "{}\n{}", output.stdout, output.stderr);
    let errors: Vec<&str> = output.stderr.lines().filter(|line| line.starts_with("Error: ")).collect();
    assert!(errors.len() == 1 && errors[0].contains("needs more than"), "{}", output.stderr);
    assert!(output.stderr.contains("hint: free some space"), "{}", output.stderr);
    let used: u64 = output
        .stdout
        .lines()
        .nth(1)
        .and_then(|line| line.split_whitespace().nth(2)?.parse().ok())
        .expect("df");
    assert!(used < 4096, "{used} KiB are used");
    assert!(output.stdout.ends_with("small/store/layers:\n\nsmall/store/staging:\n"), "{}", output.stdout);
}
