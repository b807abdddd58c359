//! Hostile layers and faithful layers: tables over archives made here byte by byte.

mod broken;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::*;
use crate::base::idmap::{IdExtent, IdMap};
use crate::sys::fs;

/// Writes archives, honest or not.
#[derive(Clone, Default)]
pub(super) struct Tar(Vec<u8>);

/// A header's fields, with defaults that do no harm.
#[derive(Clone)]
struct Fields {
    mode: u64,
    uid: u64,
    gid: u64,
    mtime: u64,
    device: (u32, u32),
}

const PLAIN: Fields = Fields { mode: 0o644, uid: 0, gid: 0, mtime: 1_600_000_000, device: (0, 0) };

impl Tar {
    fn header(mut self, kind: u8, path: &[u8], link: &[u8], size: u64, fields: &Fields) -> Self {
        let mut header = tar::Header::new_ustar();
        let raw = header.as_mut_bytes();
        raw[..path.len().min(100)].copy_from_slice(&path[..path.len().min(100)]);
        raw[157..157 + link.len().min(100)].copy_from_slice(&link[..link.len().min(100)]);
        header.set_mode(u32::try_from(fields.mode).unwrap());
        header.set_uid(fields.uid);
        header.set_gid(fields.gid);
        header.set_mtime(fields.mtime);
        header.set_size(size);
        header.set_device_major(fields.device.0).unwrap();
        header.set_device_minor(fields.device.1).unwrap();
        header.as_mut_bytes()[156] = kind;
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self
    }

    fn data(mut self, content: &[u8]) -> Self {
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut text = Vec::new();
        for (key, value) in records {
            let bare = key.len() + value.len() + 3;
            let length = (bare + 1..).find(|n| bare + n.to_string().len() == *n).unwrap();
            text.extend_from_slice(format!("{length} {key}=").as_bytes());
            text.extend_from_slice(value);
            text.push(b'\n');
        }
        self.header(b'x', b"PaxHeaders/x", b"", text.len() as u64, &PLAIN).data(&text)
    }

    fn with(self, kind: u8, path: &[u8], link: &[u8], content: &[u8], fields: &Fields) -> Self {
        let long = path.len() > 100 || link.len() > 100;
        let named = if long { self.pax(&[("path", path), ("linkpath", link)]) } else { self };
        named.header(kind, path, link, content.len() as u64, fields).data(content)
    }

    fn file(self, path: &str, content: &str) -> Self {
        self.with(b'0', path.as_bytes(), b"", content.as_bytes(), &PLAIN)
    }

    fn dir(self, path: &str, mode: u64) -> Self {
        self.with(b'5', path.as_bytes(), b"", b"", &Fields { mode, ..PLAIN })
    }

    fn symlink(self, path: &str, target: &str) -> Self {
        self.with(b'2', path.as_bytes(), target.as_bytes(), b"", &PLAIN)
    }

    fn hardlink(self, path: &str, target: &str) -> Self {
        self.with(b'1', path.as_bytes(), target.as_bytes(), b"", &PLAIN)
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

/// A directory with a layer in it, and beside it something that must never change.
struct Ground {
    dir: tempfile::TempDir,
}

impl Ground {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("layer")).unwrap();
        std::fs::create_dir(dir.path().join("outside")).unwrap();
        std::fs::write(dir.path().join("outside/file"), "untouched").unwrap();
        Self { dir }
    }

    fn layer(&self) -> std::path::PathBuf {
        self.dir.path().join("layer")
    }

    fn root(&self) -> OwnedFd {
        fs::open_dir(fs::here(), self.layer()).unwrap()
    }

    fn outside(&self) -> BTreeMap<String, String> {
        snapshot(&self.dir.path().join("outside"))
    }
}

fn order(archive: &[u8]) -> Order {
    Order {
        diff_id: Digest::of(archive),
        ids: Ids::Single,
        limits: Limits { bytes: 1 << 30, entries: 100_000 },
        make_devices: false,
        no_umask: false,
        squash_ids: false,
        verified: false,
    }
}

fn blob(content: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    file.rewind().unwrap();
    file
}

fn unpack(ground: &Ground, archive: &[u8]) -> Result<Unpacked, Failure> {
    extract(&order(archive), ground.root(), blob(archive), None)
}

/// Every path below `dir` with what it is.
fn snapshot(dir: &Path) -> BTreeMap<String, String> {
    fn walk(dir: &Path, base: &Path, all: &mut BTreeMap<String, String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let kind = meta.mode() & 0o170_000;
            let what = match kind {
                0o100_000 => format!("file {}", String::from_utf8_lossy(&std::fs::read(&path).unwrap())),
                0o120_000 => format!("link {}", std::fs::read_link(&path).unwrap().display()),
                0o040_000 => "dir".to_owned(),
                0o010_000 => "fifo".to_owned(),
                0o020_000 => format!("char {}", meta.rdev()),
                _ => format!("{kind:o}"),
            };
            let name = path.strip_prefix(base).unwrap().as_os_str().as_bytes();
            all.insert(String::from_utf8_lossy(name).into_owned(), what);
            if meta.is_dir() {
                walk(&path, base, all);
            }
        }
    }
    let mut all = BTreeMap::new();
    walk(dir, dir, &mut all);
    all
}

fn list(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(path, what)| ((*path).to_owned(), (*what).to_owned())).collect()
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    fs::xattr(File::open(path).unwrap(), name).unwrap()
}

#[test]
fn hostile_entries_are_refused_by_name_and_nothing_leaves() {
    let t = Tar::default;
    let opq_dir = t().dir(".wh..wh..opq/", 0o755);
    let long_name = "n".repeat(256);
    for (archive, entry, problem) in [
        (t().file("../../f", "x"), "../../f", "leads out of the layer"),
        (t().file("a/../../outside/f", "x"), "a/../../outside/f", "leads out of the layer"),
        (t().symlink("x", "../outside").file("x/f", "x"), "x/f", "to nowhere in this layer"),
        (t().symlink("x", "/etc").file("x/passwd", "x"), "x/passwd", "to nowhere in this layer"),
        (t().symlink("a", "b").symlink("b", "a").file("a/f", "x"), "a/f", "open its parent"),
        (t().hardlink("passwd", "/etc/passwd"), "passwd", "is not in this layer"),
        (t().hardlink("h", "../outside/file"), "h", "is not in this layer"),
        (t().symlink("x", "../outside").hardlink("h", "x/file"), "h", "is not in this layer"),
        (t().symlink("x", "/etc").hardlink("h", "x/passwd"), "h", "is not in this layer"),
        (t().dir("d", 0o755).hardlink("h", "d"), "h", "is a directory"),
        (t().hardlink("h", "/"), "h", "is not in this layer"),
        (t().hardlink("h", "h"), "h", "is not in this layer"),
        (t().hardlink("h", ".wh..wh.plnk/1.2"), "h", "is not in this layer"),
        (t().file(".wh.a", "").hardlink("h", "a"), "h", "is not in this layer"),
        (t().symlink(".", "/etc"), ".", "must be a directory"),
        (t().symlink("./", "/etc"), "./", "must be a directory"),
        (t().file("/", "x"), "/", "must be a directory"),
        (t().file(".wh.", ""), ".wh.", "must name a file"),
        (t().file(".wh..", ""), ".wh..", "must name a file"),
        (t().file("a/.wh...", ""), "a/.wh...", "must name a file"),
        (opq_dir, ".wh..wh..opq/", "must be a regular file"),
        (t().symlink(".wh.a", "b"), ".wh.a", "must be a regular file"),
        (t().file(".wh.a/f", "x"), ".wh.a/f", "cannot be a directory"),
        (t().file("a/.wh.b/c/f", "x"), "a/.wh.b/c/f", "cannot be a directory"),
        (t().file("f", "x").file("f/g", "x"), "f/g", "is not a directory"),
        (t().symlink("s", ""), "s", "needs a target"),
        (t().file(&long_name, "x"), &long_name, "longer than 255 bytes"),
        (t().dir(&format!("a/{long_name}/b"), 0o755), &format!("a/{long_name}/b"), "long"),
        (t().with(b'V', b"volume", b"", b"", &PLAIN), "volume", "type 'V'"),
        (t().pax(&[("path", b"a/../..")]).file("x", ""), "a/../..", "leads out of the layer"),
    ] {
        let ground = Ground::new();
        let before = ground.outside();
        match unpack(&ground, &archive.end()) {
            Err(Failure::Entry { entry: got, problem: why }) => {
                assert_eq!(got.as_bytes(), entry.as_bytes(), "{why}");
                assert!(why.contains(problem), "{entry}: {why:?}, not {problem:?}");
            }
            other => panic!("{entry}: {other:?}"),
        }
        assert_eq!(ground.outside(), before, "{entry}");
        assert_eq!(std::fs::read_dir(ground.dir.path()).unwrap().count(), 2, "{entry}");
    }
}

#[test]
fn odd_entries_end_where_docker_puts_them() {
    let t = Tar::default;
    let device = Fields { device: (1, 3), ..PLAIN };
    let overlay_whiteout = Fields { device: (0, 0), ..PLAIN };
    for (what, archive, want) in [
        ("absolute", t().file("/abs/f", "x"), list(&[("abs", "dir"), ("abs/f", "file x")])),
        ("dots inside", t().file("a/b/../c", "x"), list(&[("a", "dir"), ("a/c", "file x")])),
        (
            "a link inside is followed inside",
            t().dir("usr/lib", 0o755).symlink("lib", "/usr/lib").file("lib/f", "x"),
            list(&[("usr", "dir"), ("usr/lib", "dir"), ("lib", "link /usr/lib"), ("usr/lib/f", "file x")]),
        ),
        (
            "a link to above stays inside",
            t().dir("d", 0o755).symlink("up", "../../../d").file("up/f", "x"),
            list(&[("d", "dir"), ("up", "link ../../../d"), ("d/f", "file x")]),
        ),
        (
            "dir, then link, then file",
            t().dir("a", 0o755).file("a/f", "1").symlink("a", "b").dir("b", 0o755).file("a/g", "2"),
            list(&[("a", "link b"), ("b", "dir"), ("b/g", "file 2")]),
        ),
        (
            "link, then dir",
            t().dir("b", 0o755).symlink("a", "b").dir("a", 0o755).file("a/f", "x"),
            list(&[("a", "dir"), ("b", "dir"), ("a/f", "file x")]),
        ),
        ("file, then dir", t().file("a", "1").dir("a", 0o700), list(&[("a", "dir")])),
        ("dir, then file", t().file("a/b/c", "1").file("a", "2"), list(&[("a", "file 2")])),
        ("twice", t().file("a", "1").file("a", "2"), list(&[("a", "file 2")])),
        (
            "a file over a link does not write through it",
            t().file("a", "1").symlink("l", "a").file("l", "2"),
            list(&[("a", "file 1"), ("l", "file 2")]),
        ),
        (
            "a file over a hard link does not write through it",
            t().file("a", "1").hardlink("l", "a").file("l", "2"),
            list(&[("a", "file 1"), ("l", "file 2")]),
        ),
        (
            "hard link twice",
            t().file("a", "1").hardlink("l", "./a").hardlink("l", "a"),
            list(&[("a", "file 1"), ("l", "file 1")]),
        ),
        (
            "hard link to a symbolic one",
            t().symlink("s", "/etc/passwd").hardlink("h", "s"),
            list(&[("s", "link /etc/passwd"), ("h", "link /etc/passwd")]),
        ),
        ("case", t().file("A", "1").file("a", "2"), list(&[("A", "file 1"), ("a", "file 2")])),
        ("device", t().with(b'3', b"null", b"", b"", &device).file("f", "x"), list(&[("f", "file x")])),
        ("block device", t().with(b'4', b"sda", b"", b"", &device), list(&[])),
        ("whiteout as a device", t().with(b'3', b"gone", b"", b"", &overlay_whiteout), list(&[])),
        ("fifo", t().with(b'6', b"p", b"", b"", &PLAIN), list(&[("p", "fifo")])),
        ("whiteout", t().file("d/.wh.a", ""), list(&[("d", "dir"), ("d/a", "char 0")])),
        ("whiteout, then file", t().file(".wh.a", "").file("a", "x"), list(&[("a", "file x")])),
        ("file, then whiteout", t().file("a", "x").file(".wh.a", ""), list(&[("a", "file x")])),
        ("notes of AUFS", t().file(".wh..wh.plnk", "").file("f", "x"), list(&[("f", "file x")])),
        (
            "more notes of AUFS",
            t().dir(".wh..wh.orph", 0o700)
                .file(".wh..wh.orph/a/b", "x")
                .symlink(".wh..wh.aufs", "x")
                .file("d/.wh..wh.plnk/1.2", "x")
                .dir(".wh..wh.plnk", 0o700)
                .file(".wh..wh.plnk/.wh.x", "x"),
            list(&[]),
        ),
        (
            "links of AUFS",
            t().file(".wh..wh.plnk/12.34", "x")
                .hardlink("a/f", ".wh..wh.plnk/12.34")
                .hardlink("g", "/.wh..wh.plnk/12.34"),
            list(&[("a", "dir"), ("a/f", "file x"), ("g", "file x")]),
        ),
        ("continuous file", t().with(b'7', b"f", b"", b"x", &PLAIN), list(&[("f", "file x")])),
        ("old directory", t().with(0, b"d/", b"", b"", &PLAIN), list(&[("d", "dir")])),
        ("old file", t().with(0, b"f", b"", b"x", &PLAIN), list(&[("f", "file x")])),
        (
            "global header",
            t().header(b'g', b"pax_global_header", b"", 20, &PLAIN)
                .data(b"12 path=evil\n8 a=b\n\n")
                .file("f", "x"),
            list(&[("f", "file x")]),
        ),
    ] {
        let ground = Ground::new();
        let before = ground.outside();
        unpack(&ground, &archive.end()).unwrap_or_else(|err| panic!("{what}: {err}"));
        assert_eq!(snapshot(&ground.layer()), want, "{what}");
        assert_eq!(ground.outside(), before, "{what}");
    }
}

#[test]
fn devices_are_counted_and_named() {
    let device = Fields { device: (1, 3), ..PLAIN };
    let archive = Tar::default().with(b'3', b"dev/null", b"", b"", &device).file("f", "xyz").end();
    let ground = Ground::new();
    let report = unpack(&ground, &archive).unwrap().settle(&[]).unwrap();
    assert_eq!((report.skipped_devices, report.entries, report.size_bytes), (1, 2, 3));
    assert_eq!(report.device_names, [Bytes::from("dev/null")]);
    assert_eq!(report.archive_bytes, archive.len() as u64);
}

#[test]
fn whiteouts_and_opaque_directories_are_overlays() {
    let archive = Tar::default()
        .dir("opaque", 0o755)
        .file("opaque/.wh..wh..opq", "")
        .file(".wh.replaced", "")
        .dir("replaced", 0o755)
        .file(".wh.implied", "")
        .file("implied/f", "x")
        .dir("later", 0o755)
        .file(".wh.later", "")
        .dir("plain", 0o755)
        .end();
    let ground = Ground::new();
    unpack(&ground, &archive).unwrap().settle(&[]).unwrap();
    for name in ["opaque", "replaced", "implied", "later"] {
        assert_eq!(
            xattr(&ground.layer().join(name), "user.overlay.opaque").as_deref(),
            Some(&b"y"[..]),
            "{name}"
        );
    }
    assert_eq!(xattr(&ground.layer().join("plain"), "user.overlay.opaque"), None);
}

#[test]
fn a_directory_that_is_opened_again_hands_no_access_down() {
    let acl = |own: u32| {
        let entry = |tag: u16, id: u32| [&tag.to_le_bytes()[..], &[7, 0], &id.to_le_bytes()].concat();
        let none = u32::MAX;
        [vec![2, 0, 0, 0], entry(1, none), entry(2, own), entry(4, none), entry(16, none), entry(32, none)]
            .concat()
    };
    let acl = acl(rustix::process::geteuid().as_raw());
    let mut archive = Tar::default().pax(&[("SCHILY.xattr.system.posix_acl_default", &acl)]).dir("a", 0o755);
    // More directories than stay open.
    for number in 0..40 {
        archive = archive.file(&format!("d{number}/f"), "");
    }
    let archive = archive.file("a/late", "").dir("a/dir", 0o755).end();
    let ground = Ground::new();
    let report = unpack(&ground, &archive).unwrap().settle(&[]).unwrap();
    if report.skipped_xattrs > 0 {
        return; // This file system has no access control lists.
    }
    let at = |name: &str| ground.layer().join(name);
    assert_eq!(xattr(&at("a"), "system.posix_acl_default"), Some(acl));
    assert_eq!(xattr(&at("a/late"), "system.posix_acl_access"), None);
    assert_eq!(xattr(&at("a/dir"), "system.posix_acl_default"), None);
    assert_eq!(std::fs::metadata(at("a/late")).unwrap().mode() & 0o7777, 0o644);
    assert_eq!(std::fs::metadata(at("a")).unwrap().mtime(), 1_600_000_000);
}

#[test]
fn an_opaque_root_hides_every_name_below() {
    let lower = Ground::new();
    for name in ["gone", "both"] {
        std::fs::create_dir(lower.layer().join(name)).unwrap();
    }
    let archive = Tar::default().dir("./", 0o750).dir("both", 0o755).file(".wh..wh..opq", "").end();
    let ground = Ground::new();
    let unpacked = unpack(&ground, &archive).unwrap();
    assert!(unpacked.needs_lowers());
    unpacked.settle(&[lower.root()]).unwrap();
    assert_eq!(snapshot(&ground.layer()), list(&[("both", "dir"), ("gone", "char 0")]));
    assert_eq!(xattr(&ground.layer().join("both"), "user.overlay.opaque").as_deref(), Some(&b"y"[..]));
    let root = std::fs::metadata(ground.layer()).unwrap();
    // Everybody may enter the root, whatever its entry says.
    assert_eq!((root.mode() & 0o7777, root.mtime()), (0o755, 1_600_000_000));
}

#[test]
fn what_is_in_the_archive_is_on_the_disk() {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let own = |mode| Fields { mode, uid: uid.into(), gid: gid.into(), ..PLAIN };
    let archive = Tar::default()
        .with(b'5', b"./", b"", b"", &own(0o751))
        .with(b'5', b"closed", b"", b"", &own(0o1555))
        .pax(&[
            ("mtime", b"1600000001.5"),
            ("SCHILY.xattr.user.a", b"\0v\n"),
            ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ])
        .with(b'0', b"closed/setuid", b"", b"data", &own(0o4755))
        .with(b'0', b"closed/nu\xff", b"", b"", &own(0o444))
        .pax(&[
            ("mtime", b"-5.25"),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
            ("SCHILY.xattr.security.selinux", b"x"),
        ])
        .with(b'0', b"old", b"", b"", &own(0o600))
        .with(b'1', b"other/link", b"closed/setuid", b"", &own(0o644))
        .with(b'2', b"sym", b"\xfftarget", b"", &own(0o777))
        .with(b'6', b"fifo", b"", b"", &own(0o622))
        .pax(&[("SCHILY.xattr.user.d", b"1")])
        .with(b'5', b"group", b"", b"", &own(0o2775))
        .with(b'0', b"closed/later", b"", b"late", &own(0o640))
        .end();
    let ground = Ground::new();
    let one = |id| IdMap(vec![IdExtent { inside: id, outside: id, len: 1 }]);
    let order = Order { ids: Ids::Mapped { uids: one(uid), gids: one(gid) }, ..order(&archive) };
    let report = extract(&order, ground.root(), blob(&archive), None).unwrap().settle(&[]).unwrap();
    assert_eq!(report.skipped_xattrs, 2);

    let at = |name: &[u8]| ground.layer().join(OsStr::from_bytes(name));
    let meta = |name: &[u8]| at(name).symlink_metadata().unwrap();
    for (name, mode, seconds, nanos) in [
        (&b""[..], 0o755, 1_600_000_000, 0),
        (b"closed", 0o1555, 1_600_000_000, 0),
        (b"closed/setuid", 0o4755, 1_600_000_001, 500_000_000),
        (b"closed/nu\xff", 0o444, 1_600_000_000, 0),
        (b"closed/later", 0o640, 1_600_000_000, 0),
        (b"old", 0o600, -6, 750_000_000),
        (b"sym", 0o777, 1_600_000_000, 0),
        (b"fifo", 0o622, 1_600_000_000, 0),
        (b"group", 0o2775, 1_600_000_000, 0),
        (b"other", 0o755, 0, 0),
    ] {
        let found = meta(name);
        let got = (found.mode() & 0o7777, found.mtime(), found.mtime_nsec());
        assert_eq!(got, (mode, seconds, nanos), "{}", String::from_utf8_lossy(name));
    }
    assert_eq!(meta(b"closed/setuid").ino(), meta(b"other/link").ino());
    assert_eq!(meta(b"closed/setuid").nlink(), 2);
    assert_eq!(std::fs::read_link(at(b"sym")).unwrap().as_os_str().as_bytes(), b"\xfftarget");
    assert_eq!(xattr(&at(b"closed/setuid"), "user.a").as_deref(), Some(&b"\0v\n"[..]));
    assert_eq!(xattr(&at(b"closed/setuid"), "user.overlay.overlay.opaque").as_deref(), Some(&b"y"[..]));
    assert_eq!(xattr(&at(b"closed/setuid"), "user.overlay.opaque"), None);
    assert_eq!(xattr(&at(b"group"), "user.d").as_deref(), Some(&b"1"[..]));
}

#[test]
fn owners_outside_the_map_are_named() {
    let map = IdMap(vec![IdExtent { inside: 0, outside: 0, len: 65_537 }]);
    for (fields, kind, id) in [
        (Fields { uid: 100_000, ..PLAIN }, IdKind::User, 100_000),
        (Fields { gid: 70_000, ..PLAIN }, IdKind::Group, 70_000),
        (Fields { uid: 1 << 32, ..PLAIN }, IdKind::User, 1 << 32),
    ] {
        let archive = Tar::default().with(b'0', b"f", b"", b"x", &fields).end();
        let ids = Ids::Mapped { uids: map.clone(), gids: map.clone() };
        let ground = Ground::new();
        let failed =
            extract(&Order { ids, ..order(&archive) }, ground.root(), blob(&archive), None).unwrap_err();
        assert_eq!(failed, Failure::Owner { entry: Bytes::from("f"), kind, id });
        // With a single ID everything is the user's.
        unpack(&Ground::new(), &archive).unwrap();
    }
}

#[test]
fn implicit_directories_are_those_of_the_layers_below() {
    let (bottom, middle) = (Ground::new(), Ground::new());
    let base = Tar::default()
        .dir("./", 0o711)
        .pax(&[("SCHILY.xattr.user.x", b"kept")])
        .dir("etc", 0o700)
        .dir("etc/deep", 0o1777)
        .dir("gone", 0o700)
        .dir("hidden", 0o755)
        .dir("hidden/sub", 0o700)
        .end();
    let over = Tar::default().file(".wh.gone", "").dir("hidden", 0o755).file("hidden/.wh..wh..opq", "").end();
    unpack(&bottom, &base).unwrap().settle(&[]).unwrap();
    unpack(&middle, &over).unwrap().settle(&[bottom.root()]).unwrap();
    let top = Ground::new();
    let archive = Tar::default()
        .file("etc/deep/new/f", "x")
        .file("gone/f", "x")
        .file("hidden/sub/f", "x")
        .file("listed/f", "x")
        .dir("listed", 0o750)
        .end();
    let unpacked = unpack(&top, &archive).unwrap();
    unpacked.settle(&[middle.root(), bottom.root()]).unwrap();
    for (name, mode, time) in [
        ("", 0o755, 1_600_000_000),
        ("etc", 0o700, 1_600_000_000),
        ("etc/deep", 0o1777, 1_600_000_000),
        ("etc/deep/new", 0o755, 0),
        ("gone", 0o755, 0),
        ("hidden", 0o755, 1_600_000_000),
        ("hidden/sub", 0o755, 0),
        ("listed", 0o750, 1_600_000_000),
    ] {
        let found = std::fs::metadata(top.layer().join(name)).unwrap();
        assert_eq!((found.mode() & 0o7777, found.mtime()), (mode, time), "{name}");
    }
    assert_eq!(xattr(&top.layer().join("etc"), "user.x").as_deref(), Some(&b"kept"[..]));
    assert_eq!(xattr(&top.layer().join("hidden"), "user.overlay.opaque"), None);
}

#[test]
fn paths_of_10000_levels_and_names_of_255_bytes() {
    let deep = "d/".repeat(10_000);
    let name = "n".repeat(255);
    for (what, archive) in [
        ("implicit", Tar::default().file(&format!("{deep}{name}"), "x")),
        (
            "listed",
            (1..=10_000)
                .step_by(50)
                .fold(Tar::default(), |tar, n| tar.dir(&deep[..2 * n], 0o700))
                .file(&format!("{deep}f"), "x"),
        ),
    ] {
        let ground = Ground::new();
        let unpacked = unpack(&ground, &archive.end()).unwrap_or_else(|err| panic!("{what}: {err}"));
        unpacked.settle(&[]).unwrap();
        let mut at = ground.root();
        for _ in 0..10_000 {
            at = fs::open_dir(&at, "d").unwrap();
        }
        assert_eq!(fs::names(&at, ".").unwrap().len(), 1, "{what}");
        let removed = fs::tree::remove(fs::here(), ground.layer().as_os_str()).unwrap();
        assert_eq!(removed, fs::tree::Removed::All);
    }
}

#[test]
fn directories_keep_their_times_in_any_order_of_entries() {
    let mut tar = Tar::default();
    for n in 0..100 {
        tar = tar.dir(&format!("d{n}"), 0o755);
    }
    for n in 0..100 {
        tar = tar.file(&format!("d{n}/f"), "x");
    }
    tar = tar.dir("real", 0o755).symlink("alias", "real").file("alias/a", "x").file("real/b", "x");
    let ground = Ground::new();
    unpack(&ground, &tar.end()).unwrap().settle(&[]).unwrap();
    for n in 0..100 {
        let found = std::fs::metadata(ground.layer().join(format!("d{n}"))).unwrap();
        assert_eq!(found.mtime(), 1_600_000_000, "d{n}");
    }
    assert_eq!(std::fs::metadata(ground.layer().join("real")).unwrap().mtime(), 1_600_000_000);
}
