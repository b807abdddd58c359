//! What a cgroup has used.

use std::path::Path;

/// The counters of one cgroup; `None` where its controller is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// CPU time in µs, of which `cpu_system_us` in the kernel.
    pub(crate) cpu_us: Option<u64>,
    pub(crate) cpu_system_us: Option<u64>,
    /// Memory in bytes without what the page cache could give back at once.
    pub(crate) memory_bytes: Option<u64>,
    /// What the page cache could give back at once.
    pub(crate) inactive_file_bytes: Option<u64>,
    /// The limit, if there is one.
    pub(crate) memory_limit_bytes: Option<u64>,
    /// Bytes read from and written to block devices.
    pub(crate) read_bytes: Option<u64>,
    pub(crate) written_bytes: Option<u64>,
    pub(crate) pids: Option<u64>,
    /// How many there may be, if that is limited.
    pub(crate) pids_limit: Option<u64>,
    /// Periods of the CPU quota, those in which it was used up, and µs of waiting for the next.
    pub(crate) throttled: Option<(u64, u64, u64)>,
}

/// Reads the counters of `leaf`.
pub(crate) fn usage(leaf: &Path) -> Usage {
    let read = |file: &str| std::fs::read_to_string(leaf.join(file)).ok();
    let number = |file: &str| read(file).and_then(|text| text.trim().parse::<u64>().ok());
    let cpu = read("cpu.stat").unwrap_or_default();
    let io = read("io.stat");
    let inactive = read("memory.stat").and_then(|text| keyed(&text, "inactive_file"));
    Usage {
        cpu_us: keyed(&cpu, "usage_usec"),
        cpu_system_us: keyed(&cpu, "system_usec"),
        memory_bytes: number("memory.current")
            .map(|bytes| bytes.saturating_sub(inactive.unwrap_or_default())),
        inactive_file_bytes: inactive,
        memory_limit_bytes: number("memory.max"),
        read_bytes: io.as_deref().map(|text| sum(text, "rbytes=")),
        written_bytes: io.as_deref().map(|text| sum(text, "wbytes=")),
        pids: number("pids.current"),
        pids_limit: number("pids.max"),
        throttled: keyed(&cpu, "nr_periods")
            .zip(keyed(&cpu, "nr_throttled"))
            .zip(keyed(&cpu, "throttled_usec"))
            .map(|((periods, throttled), us)| (periods, throttled, us)),
    }
}

/// How many processes of `leaf` and below the out-of-memory killer has killed.
pub(crate) fn oom_kills(leaf: &Path) -> u64 {
    let events = std::fs::read_to_string(leaf.join("memory.events")).unwrap_or_default();
    keyed(&events, "oom_kill").unwrap_or_default()
}

/// The number of a line `key number`.
fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.parse().ok())
}

/// The sum of `key=number` over all devices.
fn sum(text: &str, key: &str) -> u64 {
    text.split_ascii_whitespace().filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_files() {
        let dir = tempfile::tempdir().unwrap();
        for (file, text) in [
            (
                "cpu.stat",
                "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\nnr_periods 4\nnr_throttled 2\nthrottled_usec 70\n",
            ),
            ("memory.current", "1000\n"),
            ("memory.max", "max\n"),
            ("memory.stat", "anon 1\ninactive_file 300\nactive_file 5\n"),
            ("io.stat", "8:0 rbytes=10 wbytes=20 rios=1\n8:16 rbytes=1 wbytes=2 rios=1\n7:0 \n"),
            ("pids.current", "3\n"),
            ("pids.max", "9\n"),
            ("memory.events", "low 0\noom 2\noom_kill 1\noom_group_kill 0\n"),
        ] {
            std::fs::write(dir.path().join(file), text).unwrap();
        }
        let want = Usage {
            cpu_us: Some(1500),
            cpu_system_us: Some(500),
            memory_bytes: Some(700),
            inactive_file_bytes: Some(300),
            memory_limit_bytes: None,
            read_bytes: Some(11),
            written_bytes: Some(22),
            pids: Some(3),
            pids_limit: Some(9),
            throttled: Some((4, 2, 70)),
        };
        assert_eq!(usage(dir.path()), want);
        assert_eq!(oom_kills(dir.path()), 1);
        assert_eq!(usage(Path::new("/nowhere")), Usage::default());
    }
}
