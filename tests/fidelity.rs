//! REL-45: what is in a layer stays as it is, through load, run, commit, save and load again.

mod common;

use std::io::Write as _;

use common::Sandbox;
use common::image::{Compression, Format, Image, Layer, write_layout};

/// An access control list for user 7 (version 2 of Linux's binary form).
fn acl() -> Vec<u8> {
    let entry = |tag: u16, perm: u16, id: u32| {
        [&tag.to_le_bytes()[..], &perm.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    [
        vec![2, 0, 0, 0],
        entry(1, 6, u32::MAX),
        entry(2, 4, 7),
        entry(4, 4, u32::MAX),
        entry(16, 4, u32::MAX),
        entry(32, 0, u32::MAX),
    ]
    .concat()
}

const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// The name of an entry, and its extended headers.
type Entry = (String, Vec<(String, Vec<u8>)>);

/// All headers, records and data of a tar archive that say anything, entry by entry.
fn entries(archive: &[u8]) -> Vec<Entry> {
    let mut read = tar::Archive::new(archive);
    let mut all = Vec::new();
    for entry in read.entries().expect("an archive") {
        let mut entry = entry.expect("an entry");
        let header = entry.header();
        let shown = format!(
            "{} {:?} {:o} {:?}:{:?} {} -> {}",
            String::from_utf8_lossy(&entry.path_bytes()).trim_end_matches('/'),
            header.entry_type(),
            header.mode().expect("a mode") & 0o7777,
            header.uid().ok(),
            header.gid().ok(),
            header.size().expect("a size"),
            String::from_utf8_lossy(&entry.link_name_bytes().unwrap_or_default()),
        );
        let extensions = entry.pax_extensions().expect("records");
        let records = extensions.into_iter().flatten().map(|record| {
            let record = record.expect("a record");
            (record.key().expect("a key").to_owned(), record.value_bytes().to_vec())
        });
        let mut records: Vec<_> = records.filter(|(key, _)| key.starts_with("SCHILY.xattr.")).collect();
        records.sort();
        all.push((shown, records));
    }
    all.sort();
    all
}

#[test]
fn a_layer_is_the_same_after_a_round() {
    let sandbox = Sandbox::new();
    let acl = acl();
    let layer = Layer::new()
        .dir("d", 0o755)
        .owner(5, 6)
        .file("d/file", 0o4755, "content")
        .hardlink("d/hard", "d/file")
        .dir("e", 0o700)
        .hardlink("e/across", "d/file")
        .xattrs(&[("user.mine", b"\0value"), ("security.capability", CAPABILITY)])
        .file("d/cap", 0o755, "caps")
        .xattrs(&[("system.posix_acl_access", &acl)])
        .file("d/acl", 0o640, "acl")
        .symlink("d/link", "file")
        .fifo("d/fifo", 0o640)
        .file("d/".to_owned() + &"n".repeat(200), 0o644, "long")
        .file("x".repeat(120) + "/" + &"y".repeat(130), 0o644, "deep");
    let image = Image::new()
        .layer(common::bb::root_layer(), Compression::Gzip)
        .layer(layer, Compression::Zstd)
        .cmd(["sh"])
        .build();
    write_layout(&sandbox, "l", &[&image], &image.manifest, "all:1");
    sandbox.ok(["load", "-q", "-i", "l"]);
    // Every file is touched so that it is copied up, and comes back with all it had.
    let script = "chmod 4755 /d/file; for f in /d/cap /d/acl /d/n* /x*/y* /d/fifo /d /e; do chmod $(stat -c %a $f) $f; done";
    sandbox.ok(["run", "--name=c", "--net=none", "all:1", "sh", "-c", script]);
    sandbox.ok(["commit", "-q", "c", "again:1"]);
    sandbox.ok(["save", "--format=docker-archive", "-o", "a.tar", "again:1"]);
    let all = std::fs::read(sandbox.path("a.tar")).expect("read");
    let mut read = tar::Archive::new(&all[..]);
    let mut layers = Vec::new();
    for entry in read.entries().expect("an archive") {
        let mut entry = entry.expect("an entry");
        if entry.path_bytes().ends_with(b".tar") {
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).expect("a layer");
            layers.push(content);
        }
    }
    assert_eq!(layers.len(), 3);
    let (before, after) = (entries(&layers[1]), entries(&layers[2]));
    let find = |all: &[Entry], name: &str| {
        let found = all.iter().find(|(shown, _)| shown.starts_with(&format!("{name} ")));
        found.unwrap_or_else(|| panic!("{name}: {all:?}")).clone()
    };
    for name in ["d/cap", "d/acl", "d/fifo", "d/file"] {
        assert_eq!(find(&after, name), find(&before, name));
    }
    let long = "d/".to_owned() + &"n".repeat(200);
    assert_eq!(find(&after, &long), find(&before, &long));

    // And once more: the same container makes the same layer after load.
    let other = Sandbox::empty();
    other.ok(["load", "-q", "-i", sandbox.path("a.tar").to_str().expect("UTF-8")]);
    let layers =
        |sandbox: &Sandbox| sandbox.ok(["image", "inspect", "--format={{json .RootFS.Layers}}", "again:1"]);
    assert_eq!(layers(&sandbox), layers(&other));
}

#[test]
fn unusual_compression_and_many_layers() {
    let sandbox = Sandbox::empty();
    // Several gzip members and several zstd frames in one blob, an empty layer, and 130 layers.
    let mut image =
        Image::new().layer(common::bb::root_layer(), Compression::None).format(Format::Oci).cmd(["sh"]);
    for n in 0..130 {
        let how = if n % 2 == 0 { Compression::Gzip } else { Compression::Zstd };
        let layer =
            if n == 7 { Layer::new() } else { Layer::new().file(format!("f/{n}"), 0o644, format!("{n}\n")) };
        image = image.layer(layer, how);
    }
    let mut built = image.build();
    for (index, blob) in built.layers.iter_mut().enumerate().filter(|(index, _)| [1, 2].contains(index)) {
        let raw = match index {
            1 => {
                let mut out = Vec::new();
                std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&blob.bytes[..]), &mut out)
                    .expect("gzip");
                out
            }
            _ => zstd::decode_all(&blob.bytes[..]).expect("zstd"),
        };
        let mut pieces = Vec::new();
        for piece in raw.chunks(700) {
            if index == 1 {
                let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                gzip.write_all(piece).expect("write to memory");
                pieces.extend(gzip.finish().expect("write to memory"));
            } else {
                pieces.extend(zstd::encode_all(piece, 1).expect("write to memory"));
            }
        }
        blob.bytes = pieces;
    }
    let manifest = common::image::manifest(&built.manifest.media_type, &built.config, &built.layers);
    built.manifest = manifest;
    write_layout(&sandbox, "l", &[&built], &built.manifest, "many:1");
    sandbox.ok(["load", "-q", "-i", "l"]);
    let count = ["run", "--rm", "--net=none", "many:1", "sh", "-c", "ls /f | wc -l; cat /f/0 /f/129"];
    assert_eq!(sandbox.ok(count), "129\n0\n129");
    assert_eq!(sandbox.ok(["image", "inspect", "--format={{.Digest}}", "many:1"]), built.manifest.digest());
    for (format, path) in [("docker-archive", "d.tar"), ("oci-archive", "o.tar")] {
        sandbox.ok(["save", "--format", format, "--uncompressed", "-o", path, "many:1"]);
        let other = Sandbox::empty();
        other.ok(["load", "-q", "-i", sandbox.path(path).to_str().expect("UTF-8")]);
        assert_eq!(other.ok(count), "129\n0\n129");
        if format == "oci-archive" {
            assert_eq!(
                other.ok(["image", "inspect", "--format={{.Digest}}", "many:1"]),
                built.manifest.digest()
            );
        }
    }
    sandbox.ok(["run", "--name=c", "--net=none", "many:1", "rm", "/f/0"]);
    sandbox.ok(["commit", "-q", "c", "more:1"]);
    assert_eq!(sandbox.ok(["run", "--rm", "--net=none", "more:1", "ls", "/f"]).lines().count(), 128);
}

#[test]
fn sparse_files_of_pax_archives() {
    let sandbox = Sandbox::new();
    let script = "dd if=/dev/zero of=/s bs=1 count=1 seek=67108863 2> /dev/null; printf x | dd of=/s bs=1 seek=33554432 conv=notrunc 2> /dev/null; sha256sum /s";
    let sum = sandbox.ok(["run", "--name=c", "--net=none", "bb", "sh", "-c", script]);
    sandbox.ok(["commit", "-q", "c", "sparse"]);
    let shown =
        sandbox.ok(["run", "--rm", "--net=none", "sparse", "sh", "-c", "sha256sum /s; stat -c %b /s"]);
    let (again, blocks) = shown.split_once('\n').expect("two lines");
    assert_eq!(again, sum);
    assert!(blocks.parse::<u64>().expect("a number") < 1000, "{blocks} blocks");
    // Its archive is small too, and others expand it to the same.
    sandbox.ok(["save", "-o", "s.tar", "sparse"]);
    assert!(std::fs::metadata(sandbox.path("s.tar")).expect("stat").len() < 16 << 20);
    sandbox.ok(["--root=e", "load", "-q", "-i", "s.tar"]);
    assert_eq!(sandbox.ok(["--root=e", "run", "--rm", "--net=none", "sparse", "sha256sum", "/s"]), sum);
}
