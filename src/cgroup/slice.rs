//! Limits as properties of a slice of systemd: its cgroup is systemd's own, who would set back what others write there.

use crate::base::limits::{CPU_PERIOD_US, Limits, UNLIMITED};
use crate::cgroup::dbus::Value;
use crate::cgroup::settings::{cpu_weight, io_weight};
use crate::cgroup::{CgroupError, Result};

/// What systemd takes for no limit.
const INFINITY: u64 = u64::MAX;

/// The properties that `limits` ask for.
///
/// # Errors
///
/// [`CgroupError::Invalid`] for limits that are not given to systemd in this way.
///
/// # Source
///
/// systemd.resource-control(5); org.freedesktop.systemd1(5).
pub(super) fn properties(limits: &Limits) -> Result<Vec<(&'static str, Value)>> {
    let devices = [
        &limits.blkio_weight_device,
        &limits.device_read_bps,
        &limits.device_write_bps,
        &limits.device_read_iops,
        &limits.device_write_iops,
    ];
    let others = limits.cpuset_cpus.is_some() || limits.cpuset_mems.is_some() || !limits.unified.is_empty();
    if others || devices.iter().any(|rates| !rates.is_empty()) {
        let message =
            "limits of a pod by CPU or by device need the cgroup manager cgroupfs (--cgroup-manager)";
        return Err(CgroupError::Invalid(message.to_owned()));
    }
    let number = |value: i64| u64::try_from(value).unwrap_or(INFINITY);
    let mut found = Vec::new();
    let mut put = |name, value: Option<u64>| found.extend(value.map(|value| (name, Value::U64(value))));
    put("MemoryMax", limits.memory.map(number));
    put("MemoryLow", limits.memory_reservation.map(number));
    put(
        "MemorySwapMax",
        limits.memory_swap.map(|both| match both {
            UNLIMITED => INFINITY,
            both => number(both.saturating_sub(limits.memory.unwrap_or(0)).max(0)),
        }),
    );
    if limits.cpu_quota_us.is_some() || limits.cpu_period_us.is_some() {
        let period = limits.cpu_period_us.filter(|period| *period != 0).unwrap_or(CPU_PERIOD_US);
        let quota =
            limits.cpu_quota_us.and_then(|quota| u64::try_from(quota).ok()).filter(|quota| *quota != 0);
        put("CPUQuotaPeriodUSec", Some(period));
        put(
            "CPUQuotaPerSecUSec",
            Some(quota.map_or(INFINITY, |quota| quota.saturating_mul(1_000_000) / period)),
        );
    }
    put("CPUWeight", limits.cpu_shares.filter(|shares| *shares != 0).map(cpu_weight));
    put("TasksMax", limits.pids.map(number));
    put("IOWeight", limits.blkio_weight.map(io_weight));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_become_properties() {
        let limits = Limits {
            memory: Some(64 << 20),
            memory_swap: Some(96 << 20),
            cpu_quota_us: Some(50_000),
            pids: Some(UNLIMITED),
            ..Limits::default()
        };
        let want = [
            ("MemoryMax", 64 << 20),
            ("MemorySwapMax", 32 << 20),
            ("CPUQuotaPeriodUSec", 100_000),
            ("CPUQuotaPerSecUSec", 500_000),
            ("TasksMax", INFINITY),
        ];
        assert_eq!(properties(&limits).unwrap(), want.map(|(name, value)| (name, Value::U64(value))));
        assert!(properties(&Limits::default()).unwrap().is_empty());
        let of_cpus = Limits { cpuset_cpus: Some("0".to_owned()), ..Limits::default() };
        assert!(matches!(properties(&of_cpus), Err(CgroupError::Invalid(_))));
    }
}
