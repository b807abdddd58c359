//! What the integration tests share: a world of their own for each, real images, a real registry.
//!
//! ```text
//! $KETCH_TEST_DIR/          of one run of tests/setup, owned by the user that runs the tests
//!   cache/bb-store/         a store that holds the image `bb`, pulled once; sandboxes start as copies of it
//!   box-<n>/                one Sandbox: home/ run/ store/ and what its test writes; gone when it is dropped
//!   registry-<n>/           storage and logs of a test binary's registry
//! ```
//!
//! Each test binary compiles this module anew and uses a part of it, hence the allowance below.
#![allow(dead_code)]

pub(crate) mod api;
pub(crate) mod bb;
pub(crate) mod compose;
pub(crate) mod docker;
pub(crate) mod faults;
pub(crate) mod image;
pub(crate) mod kube;
pub(crate) mod process;
pub(crate) mod registry;
mod sandbox;
pub(crate) mod source;

#[allow(unused_imports)]
pub(crate) use process::{Invocation, Output, Running};
#[allow(unused_imports)]
pub(crate) use sandbox::Sandbox;

use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long anything may take before a test calls it hung. The machine may be busy with other things.
///
/// An emulated machine (tests/vm) is many times slower: `KETCH_TEST_PATIENCE` is how many.
pub(crate) fn deadline() -> Duration {
    static PATIENCE: LazyLock<u32> = LazyLock::new(|| {
        std::env::var("KETCH_TEST_PATIENCE").ok().and_then(|times| times.parse().ok()).unwrap_or(1)
    });
    Duration::from_secs(60) * *PATIENCE
}

/// The binary under test; `tests/setup` runs a copy that the test user owns.
pub(crate) fn ketch_binary() -> PathBuf {
    std::env::var_os("KETCH_BIN").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_ketch")), PathBuf::from)
}

/// The directory of this run of the tests. Without tests/setup it is one of this process, removed when the process has ended.
pub(crate) fn test_dir() -> &'static Path {
    static DIR: LazyLock<PathBuf> = LazyLock::new(|| {
        if let Some(dir) = std::env::var_os("KETCH_TEST_DIR") {
            return PathBuf::from(dir);
        }
        let dir = std::env::temp_dir().join(format!("ketch-test-{}", std::process::id()));
        std::fs::create_dir(&dir).expect("make the directory of the tests");
        process::when_this_process_ends(
            "rm -rf \"$1\" 2>/dev/null || unshare --user --map-root-user --map-auto rm -rf \"$1\"",
            &dir,
        );
        dir
    });
    &DIR
}

/// A new directory (0700) of this run, `<what>-<n>`.
///
/// Process IDs would not tell the test binaries apart: each runs in a process namespace of its own.
pub(crate) fn new_directory(what: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let dir = test_dir().join(format!("{what}-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        match std::fs::DirBuilder::new().mode(0o700).create(&dir) {
            Err(err) if err.kind() == std::io::ErrorKind::AlreadyExists => {}
            made => return made.map(|()| dir).expect("make a directory of the tests"),
        }
    }
}

/// Whether the program `name` is there. If not: a failure with KETCH_TEST_STRICT=1, else a loud line, and the test is to return.
pub(crate) fn have(name: &str) -> bool {
    let found = std::env::var_os("PATH")
        .iter()
        .flat_map(std::env::split_paths)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|dir| dir.join(name).exists());
    found || skip(&format!("needs {name}"))
}

/// Says aloud that the current test cannot run here and gives `false`; fails it instead with KETCH_TEST_STRICT=1.
pub(crate) fn skip(why: &str) -> bool {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    assert!(std::env::var_os("KETCH_TEST_STRICT").is_none_or(|strict| strict != "1"), "{test}: {why}");
    say_skipped(&test, why);
    false
}

/// As [`skip`], for what even CI may lack without fault: it comes from a mirror that may be out of reach.
#[allow(dead_code, reason = "of few tests")]
pub(crate) fn skip_anywhere(why: &str) {
    say_skipped(std::thread::current().name().unwrap_or("a test"), why);
}

fn say_skipped(test: &str, why: &str) {
    // Not eprintln!, which the test harness swallows for a test that passes.
    writeln!(std::io::stderr(), "SKIPPED: {test}: {why}").expect("write to standard error");
}

/// Calls `look` until it gives something, at most until [`deadline`].
///
/// # Panics
///
/// With what `look` answered last when the time is over.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + deadline();
    loop {
        match look() {
            Ok(found) => return found,
            Err(last) => assert!(Instant::now() < end, "waited {:?} for {what}; last: {last}", deadline()),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a command has printed as JSON.
pub(crate) fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|err| panic!("{err}: {text}"))
}

/// The last line of a text, without what is empty behind it.
pub(crate) fn last_line(text: &str) -> &str {
    text.trim_end().lines().last().unwrap_or_default()
}

/// `DIR/NAME` of all that a store's directory holds; nothing if it is not there.
pub(crate) fn entries(store: &Path, dir: &str) -> Vec<String> {
    let entries = store.join(dir).read_dir().into_iter().flatten().flatten();
    entries.map(|entry| format!("{dir}/{}", entry.file_name().display())).collect()
}

/// So many ports in a row are free.
const PORTS_IN_A_ROW: u16 = 20;

/// A port of the host that nobody uses now, nor the next ones. They are none of those that the kernel hands out to
/// clients, who could have got them meanwhile, and each call answers others.
pub(crate) fn free_port() -> u16 {
    static NEXT: LazyLock<AtomicU32> = LazyLock::new(|| {
        AtomicU32::new(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.subsec_micros()))
    });
    let (lowest, rows) = (10_000, (32_760 - 10_000) / u32::from(PORTS_IN_A_ROW));
    let first = NEXT.fetch_add(1, Ordering::Relaxed);
    let ports = (0..rows).map(|row| lowest + (first + row) % rows * u32::from(PORTS_IN_A_ROW));
    let mut ports = ports.map(|port| u16::try_from(port).expect("below 32,768"));
    let is_free =
        |port: u16| TcpListener::bind(("0.0.0.0", port)).and(UdpSocket::bind(("0.0.0.0", port))).is_ok();
    ports.find(|port| (*port..port + PORTS_IN_A_ROW).all(is_free)).expect("free ports")
}

/// Bytes that no compressor makes smaller, the same each time.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
