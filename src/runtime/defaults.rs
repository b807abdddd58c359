//! What every container gets unless told otherwise, as tables: hidden and read-only paths, kernel
//! parameters, limits, environment.
//!
//! # Source
//!
//! The OCI runtime's customary lists (podman 5.4.2, measured), and the additions that security.md §B marks
//! as harmless to images.

use crate::base::bytes::Bytes;
use crate::base::order::InOrder as _;

/// Files and directories that are hidden: they tell of the host, or act on it.
#[rustfmt::skip]
const MASKED: [&str; 20] = [
    // The customary ones.
    "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi",
    "/proc/timer_list", "/proc/timer_stats",
    "/sys/devices/virtual/powercap", "/sys/firmware", "/sys/fs/selinux",
    // Interrupt counts tell keystrokes of the host apart.
    "/proc/interrupts",
    // Further keys, and what the kernel shows to its developers only.
    "/proc/key-users", "/proc/kpagecount", "/proc/kpageflags",
    "/sys/fs/bpf", "/sys/fs/pstore", "/sys/kernel/debug", "/sys/kernel/security", "/sys/kernel/tracing",
];

/// What exists once for each processor, and on some machines only.
const MASKED_PER_CPU: &str = "thermal_throttle";

/// Paths below mounts that are writable otherwise.
const READ_ONLY: [&str; 6] =
    ["/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Kernel parameters of a network namespace that ketch makes for a container: a user other than root may
/// serve port 80, as Docker has it.
pub(crate) const NETWORK_SYSCTLS: [(&str, &str); 1] = [("net.ipv4.ip_unprivileged_port_start", "0")];

/// The soft limit of open files is at most this, however high the host's hard limit: programs that walk
/// through all possible descriptors take seconds with a million.
pub(crate) const NOFILE_SOFT_MAX: u64 = 524_288;

/// All paths to hide on this machine; those that do not exist need no hiding.
pub(crate) fn masked_paths() -> Vec<Bytes> {
    let mut paths: Vec<Bytes> = MASKED.into_iter().map(Bytes::from).collect();
    paths.extend(per_cpu("/sys/devices/system/cpu"));
    paths
}

/// Paths to make read-only.
pub(crate) fn read_only_paths() -> Vec<Bytes> {
    READ_ONLY.into_iter().map(Bytes::from).collect()
}

/// `cpuN/thermal_throttle` for each processor that has it. Where the first has none, none has: most virtual
/// machines, and there this is one system call.
fn per_cpu(cpus: &str) -> Vec<Bytes> {
    let path = |number: u32| format!("{cpus}/cpu{number}/{MASKED_PER_CPU}");
    let exists = |path: &String| std::fs::symlink_metadata(path).is_ok();
    if !exists(&path(0)) {
        return Vec::new();
    }
    // Numbers may have gaps where a processor is off-line.
    let present = std::fs::read_dir(cpus).into_iter().flatten().flatten();
    let numbers = present.filter_map(|entry| entry.file_name().to_str()?.strip_prefix("cpu")?.parse().ok());
    let mut numbers: Vec<u32> = numbers.collect();
    numbers.order();
    numbers.into_iter().map(path).filter(exists).map(|path| Bytes::from(path.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_name_each_path_once() {
        let mut all = masked_paths();
        all.extend(read_only_paths());
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
        assert!(
            all.iter()
                .all(|path| path.as_bytes().starts_with(b"/proc/") || path.as_bytes().starts_with(b"/sys/"))
        );
    }

    #[test]
    fn hides_what_each_processor_has() {
        let dir = tempfile::tempdir().unwrap();
        let cpus = dir.path().to_str().unwrap();
        assert_eq!(per_cpu(cpus), []);
        for cpu in ["cpu0", "cpu2"] {
            std::fs::create_dir_all(dir.path().join(cpu).join(MASKED_PER_CPU)).unwrap();
        }
        std::fs::create_dir_all(dir.path().join("cpuidle")).unwrap();
        let want = ["cpu0", "cpu2"].map(|cpu| Bytes::from(format!("{cpus}/{cpu}/thermal_throttle").as_str()));
        assert_eq!(per_cpu(cpus), want);
    }
}
