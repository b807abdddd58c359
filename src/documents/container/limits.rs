//! Limits as `inspect` shows them, in podman's names and terms.

use serde_json::{Value, json};

use crate::base::limits::{Cgroup, CgroupMode, DEFAULT_PIDS, DeviceRate, Limits, UNLIMITED};
use crate::base::spec::Record;
use crate::engine::inspect::ContainerDetails;

/// `CgroupPath`: the cgroup it runs in, from the root of the tree.
pub(super) fn path(details: &ContainerDetails) -> String {
    let path = record(details).and_then(|record| record.cgroup.as_ref());
    let text = path.map(|path| path.display().to_string()).unwrap_or_default();
    let below = text.strip_prefix("/sys/fs/cgroup").unwrap_or(&text);
    below.strip_prefix("/unified").unwrap_or(below).to_owned()
}

/// `CgroupManager`: who made its cgroup, or the one that asks nobody.
pub(super) fn manager(details: &ContainerDetails) -> &'static str {
    let scope = path(details).split('/').any(|part| part.ends_with(".scope") && part.starts_with("ketch-"));
    if scope { "systemd" } else { "cgroupfs" }
}

fn record(details: &ContainerDetails) -> Option<&Record> {
    details.status.record.as_ref().filter(|_| details.status.pid() != 0)
}

/// `Cgroups`.
pub(super) fn mode(mode: CgroupMode) -> &'static str {
    match mode {
        CgroupMode::Enabled => "default",
        CgroupMode::Disabled => "disabled",
        CgroupMode::NoMonitor => "no-conmon",
        CgroupMode::Split => "split",
    }
}

/// A size, 0 for none.
pub(super) fn bytes(size: Option<i64>) -> i64 {
    size.filter(|size| *size != UNLIMITED).unwrap_or(0)
}

/// Billionths of a CPU, if both parts of the quota are given.
pub(super) fn nano_cpus(limits: &Limits) -> i64 {
    match (limits.cpu_quota_us, limits.cpu_period_us) {
        (Some(quota), Some(period)) if quota > 0 && period > 0 => {
            let nano = i128::from(quota) * 1_000_000_000 / i128::from(period);
            i64::try_from(nano).unwrap_or(i64::MAX)
        }
        _ => 0,
    }
}

/// `PidsLimit`: 0 is no limit.
pub(super) fn pids(cgroup: &Cgroup) -> i64 {
    match cgroup.limits.pids {
        Some(UNLIMITED) => 0,
        Some(count) => count,
        None if cgroup.mode == CgroupMode::Disabled => 0,
        None => DEFAULT_PIDS,
    }
}

/// One entry for each device, its number under `key`.
pub(super) fn devices(rates: &[DeviceRate], key: &str) -> Value {
    if rates.is_empty() {
        return Value::Null;
    }
    rates.iter().map(|device| json!({"Path": device.path.display().to_string(), key: device.rate})).collect()
}

/// `CgroupConf`.
pub(super) fn unified(limits: &Limits) -> Value {
    if limits.unified.is_empty() { Value::Null } else { json!(limits.unified) }
}
