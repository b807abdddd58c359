//! What a container may use, as it was asked for; the kernel's own terms are the business of `cgroup`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::base::size;

/// Resource limits. `None` and empty are "not asked for", which is not the same as "unlimited": `update`
/// leaves what is not asked for as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Limits {
    /// Memory in bytes; [`UNLIMITED`] for no limit.
    pub(crate) memory: Option<i64>,
    /// Memory in bytes that is left alone while others can be asked first; [`UNLIMITED`] for all.
    pub(crate) memory_reservation: Option<i64>,
    /// Memory and swap together, in bytes; [`UNLIMITED`] for no limit of swap.
    pub(crate) memory_swap: Option<i64>,
    /// Weight of the CPU, 2 to 262144, in the terms of cgroup v1.
    pub(crate) cpu_shares: Option<u64>,
    /// CPU time in µs that may be used in each period; [`UNLIMITED`] for no limit.
    pub(crate) cpu_quota_us: Option<i64>,
    /// Length of the period in µs.
    pub(crate) cpu_period_us: Option<u64>,
    /// CPUs to run on, like `0-2,5`.
    pub(crate) cpuset_cpus: Option<String>,
    /// NUMA nodes to take memory from.
    pub(crate) cpuset_mems: Option<String>,
    /// Processes and threads; [`UNLIMITED`] for no limit.
    pub(crate) pids: Option<i64>,
    /// Weight of block I/O, 10 to 1000, in the terms of cgroup v1.
    pub(crate) blkio_weight: Option<u64>,
    /// The same for single devices.
    pub(crate) blkio_weight_device: Vec<DeviceRate>,
    /// Bytes per second read.
    pub(crate) device_read_bps: Vec<DeviceRate>,
    /// Bytes per second written.
    pub(crate) device_write_bps: Vec<DeviceRate>,
    /// Operations per second read.
    pub(crate) device_read_iops: Vec<DeviceRate>,
    /// Operations per second written.
    pub(crate) device_write_iops: Vec<DeviceRate>,
    /// Files of cgroup v2 and what to write into them (`--cgroup-conf`).
    pub(crate) unified: BTreeMap<String, String>,
}

/// The value that stands for "no limit".
pub(crate) const UNLIMITED: i64 = -1;

/// How many processes a container may have where nothing else was asked for and the kernel can count:
/// podman's default, which no honest program reaches and no fork bomb passes.
pub(crate) const DEFAULT_PIDS: i64 = 2048;

/// The period of the CPU quota if none is given, in µs: the kernel's default.
pub(crate) const CPU_PERIOD_US: u64 = 100_000;

/// A number for one block device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeviceRate {
    /// The device node on the host.
    #[serde(with = "crate::base::bytes::path")]
    pub(crate) path: PathBuf,
    /// A weight, or bytes or operations per second.
    pub(crate) rate: u64,
}

/// Who makes cgroups for the container, and which.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CgroupMode {
    /// One for the container and one for its monitor.
    #[default]
    Enabled,
    /// None: the container stays where the caller is.
    Disabled,
    /// One for the container; the monitor stays where the caller is.
    NoMonitor,
    /// Both below the cgroup that the caller is in (a systemd service with `Delegate=yes`).
    Split,
}

/// The cgroup a container gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Cgroup {
    pub(crate) mode: CgroupMode,
    /// Below which cgroup, or slice of systemd, it is made; empty for the default.
    pub(crate) parent: String,
    /// One that it has in common with others, between that and its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) group: Option<CgroupGroup>,
    pub(crate) limits: Limits,
}

/// A cgroup for several containers: those of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CgroupGroup {
    /// A name without dashes, of which systemd would make slices within slices.
    pub(crate) name: String,
    /// What they may use together.
    pub(crate) limits: Limits,
}

/// Why a limit means nothing.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum LimitError {
    #[error("invalid value {value:?} for {flag}: {want}")]
    Value { flag: &'static str, value: String, want: &'static str },
    #[error("{0}")]
    Contradiction(&'static str),
}

fn bad(flag: &'static str, value: impl Into<String>, want: &'static str) -> LimitError {
    LimitError::Value { flag, value: value.into(), want }
}

/// Reads a size; `-1` is [`UNLIMITED`], and so is 0.
pub(crate) fn memory(flag: &'static str, text: &str) -> Result<i64, LimitError> {
    if text == "-1" {
        return Ok(UNLIMITED);
    }
    let bytes = size::parse(text).ok().and_then(|bytes| i64::try_from(bytes).ok());
    match bytes.ok_or_else(|| bad(flag, text, "a size like 512m, or -1 for no limit"))? {
        0 => Ok(UNLIMITED),
        bytes => Ok(bytes),
    }
}

/// Less is refused by docker: nothing would run.
const MIN_MEMORY_BYTES: i64 = 6 << 20;

/// Whether docker takes these limits of memory, in bytes; 0 is none.
///
/// # Errors
///
/// In docker's words.
pub(crate) fn check_least(memory: Option<i64>, reservation: Option<i64>) -> Result<(), LimitError> {
    let is_little = |limit: Option<i64>| {
        limit.is_some_and(|bytes| bytes < MIN_MEMORY_BYTES && !matches!(bytes, 0 | UNLIMITED))
    };
    if is_little(memory) {
        return Err(LimitError::Contradiction("Minimum memory limit allowed is 6MB"));
    }
    if is_little(reservation) {
        return Err(LimitError::Contradiction("Minimum memory reservation allowed is 6MB"));
    }
    Ok(())
}

/// Which limits are asked for that only cgroup v1 has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OfVersion1 {
    pub(crate) swappiness: bool,
    pub(crate) kernel: bool,
    pub(crate) kernel_tcp: bool,
    pub(crate) oom_kill_disable: bool,
}

/// What docker says of limits that only cgroup v1 has: it goes on without them.
///
/// # Source
///
/// moby, `daemon/daemon_unix.go`: `verifyPlatformContainerResources`.
pub(crate) fn discarded(asked: &OfVersion1) -> Vec<&'static str> {
    let of_version_1 = [
        (
            asked.swappiness,
            "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness \
             discarded.",
        ),
        (
            asked.kernel,
            "Your kernel does not support kernel memory limit capabilities or the cgroup is not mounted. Limitation \
             discarded.",
        ),
        (
            asked.kernel_tcp,
            "Your kernel does not support kernel memory TCP limit capabilities or the cgroup is not mounted. Limitation \
             discarded.",
        ),
        (asked.oom_kill_disable, "Your kernel does not support OomKillDisable. OomKillDisable discarded."),
    ];
    of_version_1.into_iter().filter_map(|(is_asked, warning)| is_asked.then_some(warning)).collect()
}

/// Reads a number of processes; 0 and negative numbers are [`UNLIMITED`].
pub(crate) fn pids(count: i64) -> i64 {
    if count <= 0 { UNLIMITED } else { count }
}

/// Whether the kernel takes these times of processors. 0 is none.
///
/// # Errors
///
/// In docker's words.
///
/// # Source
///
/// Linux `Documentation/scheduler/sched-bwc.rst`; moby, `daemon/daemon_unix.go`: `verifyPlatformContainerResources`.
pub(crate) fn check_cpu_times(limits: &Limits) -> Result<(), LimitError> {
    if limits.cpu_period_us.is_some_and(|period| period != 0 && !(1_000..=1_000_000).contains(&period)) {
        let message = "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)";
        return Err(LimitError::Contradiction(message));
    }
    if limits.cpu_quota_us.is_some_and(|quota| (1..1_000).contains(&quota)) {
        return Err(LimitError::Contradiction("CPU cfs quota can not be less than 1ms (i.e. 1000)"));
    }
    Ok(())
}

/// Converts `--cpus` to a quota in µs for each [`CPU_PERIOD_US`]; `None` for no limit (0).
///
/// # Errors
///
/// If the quota would be under 1 ms, which the kernel refuses; also for negative numbers and NaN.
///
/// # Source
///
/// Linux `Documentation/admin-guide/cgroup-v2.rst`, "CPU Interface Files".
pub(crate) fn cpu_quota_us(cpus: f64) -> Result<Option<i64>, LimitError> {
    const QUOTA_MIN_US: f64 = 1_000.0;
    const CPUS_MAX: f64 = 1e6;
    let quota = cpus * CPU_PERIOD_US as f64;
    if cpus == 0.0 {
        return Ok(None);
    }
    if !(quota >= QUOTA_MIN_US && cpus <= CPUS_MAX) {
        return Err(bad("--cpus", cpus.to_string(), "a number of processors of at least 0.01"));
    }
    // In range, as was just checked; fractions of a microsecond are dropped.
    #[allow(clippy::cast_possible_truncation)]
    Ok(Some(quota as i64))
}

/// Reads `PATH:NUMBER`; the number is a size with `sizes`.
///
/// # Errors
///
/// No path below /dev, no number.
pub(crate) fn device_rate(flag: &'static str, text: &str, sizes: bool) -> Result<DeviceRate, LimitError> {
    let want = if sizes { "DEVICE:SIZE, like /dev/sda:10mb" } else { "DEVICE:NUMBER, like /dev/sda:100" };
    let (path, number) = text.rsplit_once(':').ok_or_else(|| bad(flag, text, want))?;
    let rate = if sizes { size::parse(number).ok() } else { number.parse().ok() };
    match rate {
        Some(rate) if path.starts_with("/dev/") => Ok(DeviceRate { path: path.into(), rate }),
        _ => Err(bad(flag, text, want)),
    }
}

/// Checks a weight of block I/O; 0 is "none".
pub(crate) fn blkio_weight(flag: &'static str, weight: u64) -> Result<Option<u64>, LimitError> {
    match weight {
        0 => Ok(None),
        10..=1000 => Ok(Some(weight)),
        _ => Err(bad(flag, weight.to_string(), "a number from 10 to 1000")),
    }
}

/// Checks a list of CPUs or memory nodes like `0-2,5`.
pub(crate) fn cpu_list(flag: &'static str, text: &str) -> Result<String, LimitError> {
    let is_number = |text: &str| text.parse::<u16>().is_ok();
    let is_part = |part: &str| match part.split_once('-') {
        Some((first, last)) => is_number(first) && is_number(last),
        None => is_number(part),
    };
    if text.split(',').all(is_part) {
        return Ok(text.to_owned());
    }
    Err(bad(flag, text, "a list like 0-3,5"))
}

/// Reads `FILE=VALUE` for a file of the container's cgroup.
pub(crate) fn cgroup_conf(text: &str) -> Result<(String, String), LimitError> {
    let want = "FILE=VALUE, like memory.high=1073741824";
    let pair =
        text.split_once('=').filter(|(file, value)| is_file_of_a_controller(file) && !value.is_empty());
    pair.map(|(file, value)| (file.to_owned(), value.to_owned()))
        .ok_or_else(|| bad("--cgroup-conf", text, want))
}

/// Not a path, and not the files by which processes are moved and power is handed on.
fn is_file_of_a_controller(file: &str) -> bool {
    let plain = file.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    plain && file.contains('.') && !file.starts_with('.') && !file.starts_with("cgroup.")
}

impl Limits {
    /// True if nothing was asked for.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// These limits, with those of `newer` in their place where it has any.
    #[must_use]
    pub(crate) fn updated(&self, newer: &Self) -> Self {
        fn list(old: &[DeviceRate], newer: &[DeviceRate]) -> Vec<DeviceRate> {
            let kept = old.iter().filter(|old| !newer.iter().any(|newer| newer.path == old.path));
            kept.chain(newer).cloned().collect()
        }
        let mut unified = self.unified.clone();
        unified.extend(newer.unified.clone());
        Self {
            memory: newer.memory.or(self.memory),
            memory_reservation: newer.memory_reservation.or(self.memory_reservation),
            memory_swap: newer.memory_swap.or(self.memory_swap),
            cpu_shares: newer.cpu_shares.or(self.cpu_shares),
            cpu_quota_us: newer.cpu_quota_us.or(self.cpu_quota_us),
            cpu_period_us: newer.cpu_period_us.or(self.cpu_period_us),
            cpuset_cpus: newer.cpuset_cpus.clone().or_else(|| self.cpuset_cpus.clone()),
            cpuset_mems: newer.cpuset_mems.clone().or_else(|| self.cpuset_mems.clone()),
            pids: newer.pids.or(self.pids),
            blkio_weight: newer.blkio_weight.or(self.blkio_weight),
            blkio_weight_device: list(&self.blkio_weight_device, &newer.blkio_weight_device),
            device_read_bps: list(&self.device_read_bps, &newer.device_read_bps),
            device_write_bps: list(&self.device_write_bps, &newer.device_write_bps),
            device_read_iops: list(&self.device_read_iops, &newer.device_read_iops),
            device_write_iops: list(&self.device_write_iops, &newer.device_write_iops),
            unified,
        }
    }

    /// Settles what memory and swap mean together: with a limit of memory and none of swap, there is as
    /// much swap as memory.
    ///
    /// # Errors
    ///
    /// Less memory and swap than memory alone; a limit of swap without one of memory.
    pub(crate) fn settle_swap(&mut self) -> Result<(), LimitError> {
        match (self.memory.filter(|memory| *memory != UNLIMITED), self.memory_swap) {
            (Some(memory), None) => self.memory_swap = Some(memory.saturating_mul(2)),
            (Some(memory), Some(both)) if both != UNLIMITED && both < memory => {
                return Err(LimitError::Contradiction(
                    "minimum memoryswap limit should be larger than memory limit",
                ));
            }
            (None, Some(both)) if both != UNLIMITED => {
                return Err(LimitError::Contradiction(
                    "you should always set a memory limit when using a memory swap limit",
                ));
            }
            _ => {}
        }
        match (self.memory, self.memory_reservation) {
            (Some(memory), Some(reserved)) if memory != UNLIMITED && reserved > memory => {
                Err(LimitError::Contradiction(
                    "minimum memory limit should be larger than memory reservation limit",
                ))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_quota() {
        for (cpus, want) in [
            (0.0, Some(None)),
            (0.01, Some(Some(1_000))),
            (1.5, Some(Some(150_000))),
            (0.009, None),
            (-1.0, None),
        ] {
            assert_eq!(cpu_quota_us(cpus).ok(), want, "--cpus {cpus}");
        }
        assert!(cpu_quota_us(f64::NAN).is_err() && cpu_quota_us(f64::INFINITY).is_err());
    }

    #[test]
    fn memory_sizes() {
        for (text, want) in
            [("64m", Some(64 << 20)), ("0", Some(-1)), ("-1", Some(-1)), ("-2", None), ("x", None)]
        {
            assert_eq!(memory("--memory", text).ok(), want, "{text}");
        }
    }

    #[test]
    fn device_rates() {
        let rate = |text, sizes| device_rate("--device-read-bps", text, sizes).ok().map(|rate| rate.rate);
        assert_eq!(rate("/dev/sda:1mb", true), Some(1 << 20));
        assert_eq!(rate("/dev/sda:100", false), Some(100));
        for wrong in ["/dev/sda", "/dev/sda:", "/dev/sda:x", "sda:5"] {
            assert_eq!(rate(wrong, true), None, "{wrong}");
        }
    }

    #[test]
    fn lists_of_cpus() {
        for (text, good) in
            [("0", true), ("0-3,5", true), ("", false), ("0-", false), ("a", false), ("0,,1", false)]
        {
            assert_eq!(cpu_list("--cpuset-cpus", text).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn files_of_the_cgroup() {
        for (text, good) in [
            ("memory.high=1", true),
            ("io.max=8:0 rbps=1", true),
            ("memory.high", false),
            ("memory.high=", false),
            ("../memory.high=1", false),
            ("cgroup.procs=1", false),
            ("x=1", false),
        ] {
            assert_eq!(cgroup_conf(text).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn swap_goes_with_memory() {
        let settled = |memory, swap| {
            let mut limits = Limits { memory, memory_swap: swap, ..Limits::default() };
            limits.settle_swap().ok().map(|()| limits.memory_swap)
        };
        assert_eq!(settled(Some(64), None), Some(Some(128)));
        assert_eq!(settled(Some(64), Some(-1)), Some(Some(-1)));
        assert_eq!(settled(Some(64), Some(64)), Some(Some(64)));
        assert_eq!(settled(Some(64), Some(63)), None);
        assert_eq!(settled(None, Some(63)), None);
        assert_eq!(settled(Some(-1), None), Some(None));
    }

    #[test]
    fn an_update_keeps_what_it_does_not_name() {
        let rate = |path: &str, rate| DeviceRate { path: path.into(), rate };
        let old = Limits {
            memory: Some(5),
            pids: Some(7),
            device_read_bps: vec![rate("/dev/a", 1), rate("/dev/b", 2)],
            ..Limits::default()
        };
        let newer = Limits { pids: Some(-1), device_read_bps: vec![rate("/dev/b", 3)], ..Limits::default() };
        let updated = old.updated(&newer);
        assert_eq!((updated.memory, updated.pids), (Some(5), Some(-1)));
        assert_eq!(updated.device_read_bps, [rate("/dev/a", 1), rate("/dev/b", 3)]);
        assert_eq!(old.updated(&Limits::default()), old);
    }
}
