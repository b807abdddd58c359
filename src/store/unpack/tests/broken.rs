//! Archives that are not what they say, or more than anybody wants: sparse maps, bombs, cut and flipped bytes.

use super::*;

#[test]
fn sparse_files_in_every_form() {
    let content = {
        let mut content = vec![0; 1 << 20];
        content[4096..4099].copy_from_slice(b"abc");
        content[1 << 19..(1 << 19) + 2].copy_from_slice(b"de");
        content
    };
    let sizes = (1 << 20).to_string();
    let size = sizes.as_bytes();
    let old = {
        let mut header = tar::Header::new_gnu();
        header.set_path("f").unwrap();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        header.set_entry_type(tar::EntryType::GNUSparse);
        header.set_size(5);
        let gnu = header.as_gnu_mut().unwrap();
        gnu.set_real_size(1 << 20);
        gnu.sparse[0].set_offset(4096);
        gnu.sparse[0].set_length(3);
        gnu.set_is_extended(true);
        header.set_cksum();
        let mut more = tar::GnuExtSparseHeader::new();
        more.sparse[0].set_offset(1 << 19);
        more.sparse[0].set_length(2);
        more.sparse[1].set_offset(1 << 20);
        more.sparse[1].set_length(0);
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(more.as_bytes());
        Tar(bytes).data(b"abcde")
    };
    let v0 = Tar::default()
        .pax(&[
            ("GNU.sparse.size", size),
            ("GNU.sparse.numblocks", b"2"),
            ("GNU.sparse.offset", b"4096"),
            ("GNU.sparse.numbytes", b"3"),
            ("GNU.sparse.offset", b"524288"),
            ("GNU.sparse.numbytes", b"2"),
        ])
        .with(b'0', b"f", b"", b"abcde", &PLAIN);
    let v01 = Tar::default()
        .pax(&[("GNU.sparse.size", size), ("GNU.sparse.name", b"f"), ("GNU.sparse.map", b"4096,3,524288,2")])
        .with(b'0', b"GNUSparseFile.1/f", b"", b"abcde", &PLAIN);
    let mut map = b"3\n4096\n3\n524288\n2\n1048576\n0\n".to_vec();
    map.resize(512, 0);
    map.extend_from_slice(b"abcde");
    let v1 = Tar::default()
        .pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"f"),
            ("GNU.sparse.realsize", size),
        ])
        .with(b'0', b"GNUSparseFile.1/f", b"", &map, &PLAIN);
    for (what, archive) in [("old GNU", old), ("PAX 0.0", v0), ("PAX 0.1", v01), ("PAX 1.0", v1)] {
        let ground = Ground::new();
        let archive = archive.file("after", "x").end();
        let report =
            unpack(&ground, &archive).unwrap_or_else(|err| panic!("{what}: {err}")).settle(&[]).unwrap();
        assert!(std::fs::read(ground.layer().join("f")).unwrap() == content, "{what}");
        assert_eq!(std::fs::read(ground.layer().join("after")).unwrap(), b"x", "{what}");
        assert_eq!(report.size_bytes, (1 << 20) + 1, "{what}");
        let meta = std::fs::metadata(ground.layer().join("f")).unwrap();
        assert!(meta.blocks() * 512 < 1 << 16, "{what} has holes: {} blocks", meta.blocks());
    }
}

#[test]
fn broken_sparse_files_and_headers_are_refused() {
    let sparse = |map: &[u8], data: &[u8]| {
        Tar::default()
            .pax(&[("GNU.sparse.size", b"100"), ("GNU.sparse.map", map)])
            .with(b'0', b"f", b"", data, &PLAIN)
            .end()
    };
    let v1 = |data: &[u8]| {
        let words: [(&str, &[u8]); 3] =
            [("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"100")];
        Tar::default().pax(&words).with(b'0', b"f", b"", data, &PLAIN).end()
    };
    let endless = (0..40).fold(Tar::default(), |tar, _| tar.pax(&[("comment", b"x")])).file("f", "x").end();
    let huge = Tar::default().header(b'x', b"x", b"", 1 << 30, &PLAIN).end();
    for (what, archive) in [
        ("overlap", sparse(b"0,5,3,5", b"0123456789")),
        ("beyond the end", sparse(b"99,2", b"ab")),
        ("less data", sparse(b"0,5", b"0123")),
        ("odd map", sparse(b"0,5,7", b"01234")),
        ("no newline", v1(&[b'1'; 600])),
        ("endless count", v1(b"999999999\n")),
        ("map cut off", v1(b"2\n0\n5\n")),
        ("no newline at all", v1(b"")),
        ("unknown format", Tar::default().pax(&[("GNU.sparse.major", b"2")]).file("f", "x").end()),
        ("extended headers without end", endless),
        ("huge extended header", huge),
        ("negative size", {
            let mut archive = Tar::default().file("f", "x").end();
            archive[124..136].copy_from_slice(&[0xff; 12]);
            archive
        }),
    ] {
        let failed = unpack(&Ground::new(), &archive).expect_err(what);
        assert!(matches!(failed, Failure::Corrupt { .. }), "{what}: {failed}");
    }
}

#[test]
fn bombs_stop_at_the_limit() {
    let zeros = |length: u64| std::io::repeat(0).take(length);
    let big = Tar::default().header(b'0', b"big", b"", 10 << 30, &PLAIN).0;
    let small_limit =
        |archive: &[u8]| Order { limits: Limits { bytes: 1 << 20, entries: 50 }, ..order(archive) };
    let many = (0..60).fold(Tar::default(), |tar, n| tar.file(&format!("f{n}"), "")).end();
    let trailing = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&Tar::default().file("f", "x").end()).unwrap();
        std::io::copy(&mut zeros(64 << 20), &mut encoder).unwrap();
        encoder.finish().unwrap()
    };
    type Is = fn(&Failure) -> bool;
    let cases: [(&str, Vec<u8>, Is); 4] = [
        ("10 GiB declared", big, |f| matches!(f, Failure::Space { .. })),
        ("entries", many.clone(), |f| matches!(f, Failure::Entries { max: 50 })),
        ("zeros behind the end", trailing, |f| matches!(f, Failure::Corrupt { .. })),
        (
            "small files",
            (0..40).fold(Tar::default(), |t, n| t.file(&format!("{n}"), &"x".repeat(60_000))).end(),
            |f| matches!(f, Failure::Space { .. }),
        ),
    ];
    for (what, archive, is) in cases {
        let ground = Ground::new();
        let failed = extract(&small_limit(&archive), ground.root(), blob(&archive), None).expect_err(what);
        assert!(is(&failed), "{what}: {failed}");
        let size: u64 = fs::tree::usage(fs::here(), ground.layer().as_os_str()).unwrap().allocated_bytes;
        assert!(size <= 2 << 20, "{what}: {size} bytes were written");
    }
}

#[test]
fn another_archive_than_the_promised_one_is_refused() {
    let archive = Tar::default().file("f", "x").end();
    let wrong = Order { diff_id: Digest::of(b"other"), ..order(&archive) };
    let failed = extract(&wrong, Ground::new().root(), blob(&archive), None).unwrap_err();
    assert_eq!(failed, Failure::DiffId { want: Digest::of(b"other"), got: Digest::of(&archive) });
    // Bytes behind the end of the archive belong to it.
    let padded = [&archive[..], &[0; 10_240]].concat();
    unpack(&Ground::new(), &padded).unwrap();
    assert!(matches!(
        extract(&order(&archive), Ground::new().root(), blob(&padded), None),
        Err(Failure::DiffId { .. })
    ));
    // What was hashed before is not hashed again, unless what is hashed here is another thing: what comes out of a gzip.
    let known = Order { verified: true, ..wrong };
    assert!(extract(&known, Ground::new().root(), blob(&archive), None).is_ok());
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&archive).unwrap();
    let gzip = gzip.finish().unwrap();
    let known = Order { diff_id: Digest::of(&gzip), verified: true, ..order(&archive) };
    let failed = extract(&known, Ground::new().root(), blob(&gzip), None).unwrap_err();
    assert_eq!(failed, Failure::DiffId { want: Digest::of(&gzip), got: Digest::of(&archive) });
}

#[test]
fn a_cut_or_flipped_archive_never_hangs_or_panics() {
    let archive = Tar::default()
        .dir("d", 0o755)
        .pax(&[("mtime", b"1.5"), ("SCHILY.xattr.user.a", b"x")])
        .file("d/f", &"data".repeat(300))
        .hardlink("h", "d/f")
        .symlink("s", "d")
        .end();
    let mut seed = 1_u32;
    for round in 0..300 {
        let mut broken = archive.clone();
        // A linear congruential generator: the same bytes on every run.
        let mut next = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed as usize >> 8
        };
        if round % 3 == 0 {
            broken.truncate(next() % archive.len());
        } else {
            let at = next() % archive.len();
            broken[at] ^= 1 << (next() % 8);
        }
        let ground = Ground::new();
        let before = ground.outside();
        let failed = extract(&order(&archive), ground.root(), blob(&broken), None);
        assert!(failed.is_err() || broken == archive, "round {round}");
        assert_eq!(ground.outside(), before);
    }
}
