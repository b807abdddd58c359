use super::*;
use crate::base::stream::Stream;
use crate::logs::writer::{Limits, Writer};
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::Path;

fn files(dir: &Path) -> LogFiles {
    LogFiles::new(OwnedFd::from(File::open(dir).unwrap()), OsStr::new("log"))
}

fn read(dir: &Path, query: Query) -> String {
    let mut text = Vec::new();
    Reader::open(files(dir), Format::K8s, query)
        .unwrap()
        .read_present(|entry| append(&mut text, entry))
        .unwrap();
    String::from_utf8(text).unwrap()
}

fn append(text: &mut Vec<u8>, entry: &Entry<'_>) -> io::Result<()> {
    text.extend_from_slice(&entry.text);
    text.extend_from_slice(if entry.full { b"\n" } else { b"" });
    Ok(())
}

fn numbers(range: std::ops::Range<u64>) -> String {
    range.map(|n| format!("line {n}\n")).collect()
}

/// A log of one entry a second, `count` of them, from the epoch on.
fn write(dir: &Path, count: u64, limits: Limits) {
    let mut log = Writer::open(files(dir), Format::K8s, limits).unwrap();
    for n in 0..count {
        let time = second(n);
        log.write(Stream::Stdout, format!("line {n}\n").as_bytes(), time).unwrap();
    }
}

fn second(n: u64) -> Timestamp {
    Timestamp::from_second(i64::try_from(n).unwrap()).unwrap()
}

#[test]
fn spans_of_one_and_of_several_files() {
    for limits in
        [Limits { max_size_bytes: 0, max_files: 1 }, Limits { max_size_bytes: 40_000, max_files: 20 }]
    {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 10_000, limits);
        for (tail, since, until, want) in [
            (None, None, None, 0..10_000),
            (Some(0), None, None, 10_000..10_000),
            (Some(1), None, None, 9_999..10_000),
            (Some(3_000), None, None, 7_000..10_000),
            (Some(10_000), None, None, 0..10_000),
            (Some(u64::MAX), None, None, 0..10_000),
            (None, Some(0), None, 0..10_000),
            (None, Some(1), None, 1..10_000),
            (None, Some(4_321), None, 4_321..10_000),
            (None, Some(9_999), None, 9_999..10_000),
            (None, Some(10_001), None, 10_000..10_000),
            (None, None, Some(99), 0..100),
            (None, Some(50), Some(4_000), 50..4_001),
            (Some(10), Some(9_995), None, 9_995..10_000),
            (Some(3), Some(9_995), None, 9_997..10_000),
        ] {
            let query = Query { tail, since: since.map(second), until: until.map(second) };
            assert_eq!(read(dir.path(), query), numbers(want), "{query:?} {limits:?}");
        }
    }
}

#[test]
fn parts_of_lines_are_joined_and_count_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut log =
        Writer::open(files(dir.path()), Format::K8s, Limits { max_size_bytes: 0, max_files: 1 }).unwrap();
    let long = "x".repeat(50_000);
    for part in ["first\n", &long, "end\n", "no newline"] {
        log.write(Stream::Stdout, part.as_bytes(), second(0)).unwrap();
    }
    let tail = |count| read(dir.path(), Query { tail: Some(count), ..Query::default() });
    assert_eq!(tail(1), "no newline");
    assert_eq!(tail(2), format!("{long}end\nno newline"));
    assert_eq!(tail(3), format!("first\n{long}end\nno newline"));
}

#[test]
fn no_log_is_empty_and_a_torn_end_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(read(dir.path(), Query::default()), "");
    std::fs::write(dir.path().join("log"), "2026-01-01T00:00:00Z stdout F good\n2026-01-01T00:00:01Z std")
        .unwrap();
    assert_eq!(read(dir.path(), Query::default()), "good\n2026-01-01T00:00:01Z std\n");
}

#[test]
fn following_crosses_rotation() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { max_size_bytes: 500, max_files: 50 };
    let mut reader = Reader::open(files(dir.path()), Format::K8s, Query::default()).unwrap();
    let mut text = Vec::new();
    reader.read_new(|entry| append(&mut text, entry)).unwrap();
    let mut log = Writer::open(files(dir.path()), Format::K8s, limits).unwrap();
    for n in 0..300_u64 {
        log.write(Stream::Stderr, format!("line {n}\n").as_bytes(), second(n)).unwrap();
        if n % 37 == 0 {
            reader.read_new(|entry| append(&mut text, entry)).unwrap();
        }
    }
    reader.read_new(|entry| append(&mut text, entry)).unwrap();
    assert_eq!(String::from_utf8(text).unwrap(), numbers(0..300));
}

#[test]
fn the_end_of_a_large_log_is_near() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    // Sparse: ten gigabytes of which only the last lines exist.
    let file = File::create(&path).unwrap();
    let end = b"\n1970-01-01T00:00:00Z stdout F one\n1970-01-01T00:00:02Z stdout F two\n";
    file.write_all_at(end, 10 << 30).unwrap();
    // On a machine that does much else, one of them may take longer; not each.
    let best = (0..20).map(|_| {
        let started = std::time::Instant::now();
        assert_eq!(read(dir.path(), Query { tail: Some(1), ..Query::default() }), "two\n");
        started.elapsed()
    });
    let best = best.min().unwrap();
    assert!(best.as_millis() < 100, "{best:?}");
}
