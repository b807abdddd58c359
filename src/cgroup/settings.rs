//! From limits to the files of cgroup v2: the conversions of runc and crun, and writing the result.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use crate::base::limits::{CPU_PERIOD_US, DEFAULT_PIDS, DeviceRate, Limits, UNLIMITED};
use crate::cgroup::{CgroupError, Result, tree};

/// One file and what is written into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    /// The flag that asks for it, for messages.
    pub(crate) flag: &'static str,
    pub(crate) file: String,
    pub(crate) value: String,
    /// Written where the kernel has no `file`.
    pub(crate) otherwise: Option<(String, String)>,
    /// That the kernel does not have the file is no failure.
    pub(crate) optional: bool,
}

impl Setting {
    fn new(flag: &'static str, file: &str, value: impl ToString) -> Self {
        Self { flag, file: file.to_owned(), value: value.to_string(), otherwise: None, optional: false }
    }

    /// That there shall be no limit, which holds as well where nothing can be limited.
    pub(super) fn limits_nothing(&self) -> bool {
        self.value == "max" || self.value.starts_with("max ") || self.value.ends_with("=max")
    }

    /// The controller: the file's name up to its first dot.
    fn controller(&self) -> &str {
        self.file.split('.').next().unwrap_or(&self.file)
    }
}

/// The settings that `limits` ask for. `number` tells the numbers of a block device.
///
/// # Errors
///
/// [`CgroupError::NoDevice`].
///
/// # Source
///
/// OCI runtime-spec config-linux.md; the conversions from version 1 are those of crun 1.21
/// (crun.1, "cgroup v2") and runc 1.1.
pub(crate) fn settings(
    limits: &Limits,
    number: &dyn Fn(&Path) -> Option<(u64, u64)>,
) -> Result<Vec<Setting>> {
    let mut found = memory(limits);
    found.extend(cpu(limits));
    if let Some(pids) = limits.pids {
        found.push(Setting::new("--pids-limit", "pids.max", or_max(pids)));
    }
    if let Some(weight) = limits.blkio_weight {
        let mut setting = Setting::new("--blkio-weight", "io.bfq.weight", weight);
        setting.otherwise = Some(("io.weight".to_owned(), format!("default {}", io_weight(weight))));
        found.push(setting);
    }
    for device in &limits.blkio_weight_device {
        let name = device_number("--blkio-weight-device", device, number)?;
        let value = format!("{name} {}", device.rate);
        let mut setting = Setting::new("--blkio-weight-device", "io.bfq.weight", value);
        setting.otherwise = Some(("io.weight".to_owned(), format!("{name} {}", io_weight(device.rate))));
        found.push(setting);
    }
    for (flag, key, devices) in [
        ("--device-read-bps", "rbps", &limits.device_read_bps),
        ("--device-write-bps", "wbps", &limits.device_write_bps),
        ("--device-read-iops", "riops", &limits.device_read_iops),
        ("--device-write-iops", "wiops", &limits.device_write_iops),
    ] {
        for device in devices {
            let name = device_number(flag, device, number)?;
            let rate = if device.rate == 0 { "max".to_owned() } else { device.rate.to_string() };
            found.push(Setting::new(flag, "io.max", format!("{name} {key}={rate}")));
        }
    }
    found.extend(limits.unified.iter().map(|(file, value)| Setting::new("--cgroup-conf", file, value)));
    Ok(found)
}

fn memory(limits: &Limits) -> Vec<Setting> {
    let mut found = Vec::new();
    if let Some(memory) = limits.memory {
        found.push(Setting::new("--memory", "memory.max", or_max(memory)));
    }
    if let Some(reserved) = limits.memory_reservation {
        found.push(Setting::new("--memory-reservation", "memory.low", or_max(reserved)));
    }
    if let Some(both) = limits.memory_swap {
        let memory = limits.memory.filter(|memory| *memory != UNLIMITED).unwrap_or(0);
        let swap = if both == UNLIMITED { UNLIMITED } else { both.saturating_sub(memory).max(0) };
        let mut setting = Setting::new("--memory-swap", "memory.swap.max", or_max(swap));
        // Nobody asked for the default, twice the memory; without swap it holds anyway.
        setting.optional = both == memory.saturating_mul(2);
        found.push(setting);
    }
    found
}

fn cpu(limits: &Limits) -> Vec<Setting> {
    let mut found = Vec::new();
    if let Some(shares) = limits.cpu_shares.filter(|shares| *shares != 0) {
        found.push(Setting::new("--cpu-shares", "cpu.weight", cpu_weight(shares)));
    }
    if limits.cpu_quota_us.is_some() || limits.cpu_period_us.is_some() {
        let quota = limits.cpu_quota_us.filter(|quota| *quota > 0).unwrap_or(UNLIMITED);
        let period = limits.cpu_period_us.filter(|period| *period != 0).unwrap_or(CPU_PERIOD_US);
        let flag = if limits.cpu_quota_us.is_some() { "--cpus or --cpu-quota" } else { "--cpu-period" };
        found.push(Setting::new(flag, "cpu.max", format!("{} {period}", or_max(quota))));
    }
    for (flag, file, list) in [
        ("--cpuset-cpus", "cpuset.cpus", &limits.cpuset_cpus),
        ("--cpuset-mems", "cpuset.mems", &limits.cpuset_mems),
    ] {
        found.extend(list.iter().map(|list| Setting::new(flag, file, list)));
    }
    found
}

/// A number, or `max` for no limit.
fn or_max(number: i64) -> String {
    if number < 0 { "max".to_owned() } else { number.to_string() }
}

/// CPU shares of version 1 (2 … 262144) as a weight of version 2 (1 … 10000).
pub(super) fn cpu_weight(shares: u64) -> u64 {
    1 + ((shares.clamp(2, 262_144) - 2) * 9_999) / 262_142
}

/// A weight of block I/O of version 1 (10 … 1000) as one of version 2 (1 … 10000).
pub(super) fn io_weight(weight: u64) -> u64 {
    1 + (weight.clamp(10, 1_000) - 10) * 9_999 / 990
}

fn device_number(
    flag: &'static str,
    device: &DeviceRate,
    number: &dyn Fn(&Path) -> Option<(u64, u64)>,
) -> Result<String> {
    let (major, minor) =
        number(&device.path).ok_or_else(|| CgroupError::NoDevice { flag, path: device.path.clone() })?;
    Ok(format!("{major}:{minor}"))
}

/// Major and minor number of the block device at `path`.
pub(crate) fn block_device(path: &Path) -> Option<(u64, u64)> {
    let found = std::fs::metadata(path).ok().filter(|found| found.file_type().is_block_device())?;
    let number = found.rdev();
    Some((u64::from(rustix::fs::major(number)), u64::from(rustix::fs::minor(number))))
}

/// Applies `limits` to the cgroup `leaf`, whose parent hands on what it has.
///
/// # Errors
///
/// The first limit that cannot be applied; those before it stay.
pub(crate) fn apply(leaf: &Path, limits: &Limits) -> Result<()> {
    let wanted = settings(limits, &block_device)?;
    if wanted.is_empty() {
        return Ok(());
    }
    let has = tree::words(&leaf.join("cgroup.controllers"));
    for setting in wanted {
        if !has.iter().any(|name| name == setting.controller()) {
            if setting.limits_nothing() {
                continue;
            }
            let controller = setting.controller().to_owned();
            return Err(CgroupError::NoController { flag: setting.flag, controller });
        }
        write(leaf, setting)?;
    }
    Ok(())
}

/// Limits the number of processes to the default, where the kernel can count them.
pub(crate) fn apply_default_pids(leaf: &Path) {
    tree::write_file(leaf, "pids.max", &DEFAULT_PIDS.to_string()).ok();
}

fn write(leaf: &Path, setting: Setting) -> Result<()> {
    let Setting { flag, file, value, otherwise, optional } = setting;
    match (tree::write_file(leaf, &file, &value), otherwise) {
        (Ok(()), _) => Ok(()),
        (Err(err), Some((file, value))) if is_absent(&err) => {
            write(leaf, Setting { flag, file, value, otherwise: None, optional })
        }
        (Err(err), _) if is_absent(&err) && optional => Ok(()),
        (Err(err), _) if is_absent(&err) => Err(CgroupError::NoFile { flag, file }),
        (Err(source), _) => Err(CgroupError::Refused { flag, file, value, source }),
    }
}

fn is_absent(err: &io::Error) -> bool {
    err.kind() == io::ErrorKind::NotFound
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(limits: &Limits) -> Vec<(String, String)> {
        let number = |path: &Path| (path == Path::new("/dev/sda")).then_some((8, 0));
        settings(limits, &number).unwrap().into_iter().map(|s| (s.file, s.value)).collect()
    }

    fn one(limits: Limits) -> (String, String) {
        let mut found = files(&limits);
        assert_eq!(found.len(), 1, "{limits:?}");
        found.remove(0)
    }

    fn pair(file: &str, value: &str) -> (String, String) {
        (file.to_owned(), value.to_owned())
    }

    #[test]
    fn weights() {
        for (shares, weight) in [(2, 1), (1024, 39), (262_144, 10_000), (0, 1), (1 << 40, 10_000)] {
            assert_eq!(cpu_weight(shares), weight, "{shares}");
        }
        for (v1, v2) in [(10, 1), (500, 4950), (1000, 10_000)] {
            assert_eq!(io_weight(v1), v2, "{v1}");
        }
    }

    #[test]
    fn memory_and_swap() {
        let limits =
            |memory, swap| Limits { memory: Some(memory), memory_swap: Some(swap), ..Limits::default() };
        for (given, max, swap) in [
            (limits(64, 128), "64", "64"),
            (limits(64, 64), "64", "0"),
            (limits(64, -1), "64", "max"),
            (limits(-1, -1), "max", "max"),
        ] {
            assert_eq!(files(&given), [pair("memory.max", max), pair("memory.swap.max", swap)]);
        }
        let reserved = Limits { memory_reservation: Some(9), ..Limits::default() };
        assert_eq!(one(reserved), pair("memory.low", "9"));
    }

    #[test]
    fn cpu_time() {
        let limits =
            |quota, period| Limits { cpu_quota_us: quota, cpu_period_us: period, ..Limits::default() };
        assert_eq!(one(limits(Some(50_000), None)), pair("cpu.max", "50000 100000"));
        assert_eq!(one(limits(None, Some(20_000))), pair("cpu.max", "max 20000"));
        assert_eq!(one(limits(Some(-1), Some(20_000))), pair("cpu.max", "max 20000"));
        assert_eq!(one(Limits { cpu_shares: Some(512), ..Limits::default() }), pair("cpu.weight", "20"));
        assert!(files(&Limits { cpu_shares: Some(0), ..Limits::default() }).is_empty());
    }

    #[test]
    fn no_limit_needs_no_controller() {
        for (limits, nothing) in [
            (Limits { pids: Some(-1), ..Limits::default() }, true),
            (Limits { pids: Some(5), ..Limits::default() }, false),
            (Limits { cpu_quota_us: Some(-1), ..Limits::default() }, true),
            (Limits { cpu_quota_us: Some(5000), ..Limits::default() }, false),
            (Limits { memory: Some(-1), memory_swap: Some(-1), ..Limits::default() }, true),
        ] {
            let found = settings(&limits, &|_| None).unwrap();
            assert_eq!(found.iter().all(Setting::limits_nothing), nothing, "{limits:?}");
        }
        let leaf = tempfile::tempdir().unwrap();
        std::fs::write(leaf.path().join("cgroup.controllers"), "memory\n").unwrap();
        apply(leaf.path(), &Limits { pids: Some(-1), ..Limits::default() }).unwrap();
        assert!(apply(leaf.path(), &Limits { pids: Some(5), ..Limits::default() }).is_err());
    }

    /// SEC-36: a crowd of processes stops at 2048, if nobody says otherwise.
    #[test]
    fn processes_are_limited_by_default() {
        let leaf = tempfile::tempdir().unwrap();
        std::fs::write(leaf.path().join("pids.max"), "max\n").unwrap();
        apply_default_pids(leaf.path());
        assert_eq!(std::fs::read_to_string(leaf.path().join("pids.max")).unwrap().trim_end(), "2048");
    }

    #[test]
    fn block_devices() {
        let sda = |rate| vec![DeviceRate { path: "/dev/sda".into(), rate }];
        let read = Limits { device_read_bps: sda(1024), device_write_iops: sda(7), ..Limits::default() };
        assert_eq!(files(&read), [pair("io.max", "8:0 rbps=1024"), pair("io.max", "8:0 wiops=7")]);
        let weight = Limits { blkio_weight_device: sda(100), ..Limits::default() };
        assert_eq!(one(weight), pair("io.bfq.weight", "8:0 100"));
        let none = Limits {
            device_read_bps: vec![DeviceRate { path: "/dev/none".into(), rate: 1 }],
            ..Limits::default()
        };
        assert!(matches!(settings(&none, &|_| None), Err(CgroupError::NoDevice { .. })));
    }
}
