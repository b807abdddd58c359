//! What it may use: for `create` and for `update`.

use crate::api::containers::create::document::{HostConfig, Resources, ThrottleDevice};
use crate::base::limits::{self, Cgroup, DeviceRate, LimitError, Limits, UNLIMITED};
use crate::base::rlimit;
use crate::base::spec::Rlimit;
use crate::engine::request::ContainerRequest;
use crate::engine::{Error, Kind, Result, config};

/// Puts this part into a request.
///
/// # Errors
///
/// Values that mean nothing, and limits that there are not.
pub(super) fn fill(host: &HostConfig, resources: &Resources, request: &mut ContainerRequest) -> Result<()> {
    let parent = resources.cgroup_parent.clone();
    request.cgroup = Cgroup { parent, limits: limits(resources)?, ..Cgroup::default() };
    request.ulimits = ulimits(resources)?.into_iter().map(config::as_far_as_the_caller_may).collect();
    request.oom_score_adj = match host.oom_score_adj {
        0 => None,
        score @ -1000..=1000 => Some(score),
        score => {
            let range = "must be in range [-1000, 1000]";
            return Err(Error::invalid(format!("Invalid value {score}, range for oom score adj {range}")));
        }
    };
    Ok(())
}

/// The limits that are asked for; 0 is none.
///
/// # Errors
///
/// Values that mean nothing, and limits that there are not.
pub(in crate::api::containers) fn limits(resources: &Resources) -> Result<Limits> {
    refuse(resources)?;
    check_range(resources)?;
    let checked = read(resources).and_then(|limits| limits::check_cpu_times(&limits).map(|()| limits));
    checked.map_err(|err| Error::invalid(err.to_string()))
}

fn read(asked: &Resources) -> std::result::Result<Limits, LimitError> {
    let some = |value: i64| Some(value).filter(|value| *value != 0);
    let count = |value: i64| u64::try_from(value).ok().filter(|value| *value != 0);
    let list = |flag, text: &String| {
        Some(text).filter(|text| !text.is_empty()).map(|text| limits::cpu_list(flag, text)).transpose()
    };
    let weights = asked.blkio_weight_device.iter().map(|device| {
        limits::blkio_weight("BlkioWeightDevice", device.weight)?;
        Ok(DeviceRate { path: device.path.as_str().into(), rate: device.weight })
    });
    #[allow(clippy::cast_precision_loss, reason = "a few processors")]
    let cpus = some(asked.nano_cpus).map(|nano| limits::cpu_quota_us(nano as f64 / 1e9)).transpose()?;
    let quota = cpus.flatten();
    Ok(Limits {
        memory: some(asked.memory),
        memory_reservation: some(asked.memory_reservation),
        memory_swap: some(asked.memory_swap),
        cpu_shares: count(asked.cpu_shares),
        cpu_quota_us: quota.or(some(asked.cpu_quota)),
        cpu_period_us: quota.map(|_| limits::CPU_PERIOD_US).or(count(asked.cpu_period)),
        cpuset_cpus: list("CpusetCpus", &asked.cpuset_cpus)?,
        cpuset_mems: list("CpusetMems", &asked.cpuset_mems)?,
        pids: asked.pids_limit.and_then(some).map(limits::pids),
        blkio_weight: limits::blkio_weight("BlkioWeight", asked.blkio_weight)?,
        blkio_weight_device: weights.collect::<std::result::Result<_, LimitError>>()?,
        device_read_bps: rates(&asked.blkio_device_read_bps),
        device_write_bps: rates(&asked.blkio_device_write_bps),
        device_read_iops: rates(&asked.blkio_device_read_iops),
        device_write_iops: rates(&asked.blkio_device_write_iops),
        unified: std::collections::BTreeMap::new(),
    })
}

fn rates(devices: &[ThrottleDevice]) -> Vec<DeviceRate> {
    devices.iter().map(|device| DeviceRate { path: device.path.as_str().into(), rate: device.rate }).collect()
}

/// What is asked for and only cgroup v1 has, where docker goes on without it: its words about that.
pub(in crate::api::containers) fn discarded(asked: &Resources) -> Vec<&'static str> {
    limits::discarded(&limits::OfVersion1 {
        swappiness: asked.memory_swappiness.is_some_and(|value| value != -1),
        kernel: asked.kernel_memory != 0,
        kernel_tcp: asked.kernel_memory_tcp != 0,
        oom_kill_disable: asked.oom_kill_disable == Some(true),
    })
}

/// Numbers that no limit can have; -1 is none.
fn check_range(asked: &Resources) -> Result<()> {
    limits::check_least(Some(asked.memory), Some(asked.memory_reservation))
        .map_err(|err| Error::invalid(err.to_string()))?;
    if asked.memory_swap < UNLIMITED {
        return Err(Error::invalid(format!("invalid MemorySwap: {}", asked.memory_swap)));
    }
    if asked.cpu_shares < 0 {
        let shares = asked.cpu_shares;
        return Err(Error::invalid(format!(
            "invalid CPU shares ({shares}): value must be a positive integer"
        )));
    }
    if asked.cpu_period < 0 {
        let message = "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)";
        return Err(Error::invalid(message));
    }
    Ok(())
}

/// Better no container than one that only seems to be limited.
fn refuse(asked: &Resources) -> Result<()> {
    let of_version_1 = [
        ("CpuRealtimePeriod", asked.cpu_realtime_period != 0),
        ("CpuRealtimeRuntime", asked.cpu_realtime_runtime != 0),
    ];
    if let Some((field, _)) = of_version_1.into_iter().find(|(_, is_asked)| *is_asked) {
        return Err(Error::needs_cgroup_v1(field));
    }
    let of_windows = [
        ("CpuCount", asked.cpu_count),
        ("CpuPercent", asked.cpu_percent),
        ("IOMaximumIOps", asked.io_maximum_iops),
        ("IOMaximumBandwidth", asked.io_maximum_bandwidth),
    ];
    if let Some((field, _)) = of_windows.into_iter().find(|(_, value)| *value != 0) {
        return Err(Error::new(Kind::Unsupported, format!("{field} is for containers of Windows only")));
    }
    for (field, is_given) in [("CPU Period", asked.cpu_period != 0), ("CPU Quota", asked.cpu_quota != 0)] {
        if asked.nano_cpus != 0 && is_given {
            let message = format!("Conflicting options: Nano CPUs and {field} cannot both be set");
            return Err(Error::invalid(message));
        }
    }
    Ok(())
}

fn ulimits(asked: &Resources) -> Result<Vec<Rlimit>> {
    let limit = |value: i64| u64::try_from(value).unwrap_or(rlimit::UNLIMITED);
    asked
        .ulimits
        .iter()
        .map(|wanted| {
            let (soft, hard) = (limit(wanted.soft), limit(wanted.hard));
            if rlimit::resource(&wanted.name).is_none() {
                return Err(Error::invalid(format!("invalid ulimit type: {}", wanted.name)));
            }
            if soft > hard {
                let message = "ulimit soft limit must be less than or equal to hard limit";
                return Err(Error::invalid(format!("{message}: {soft} > {hard}")));
            }
            Ok(Rlimit { name: wanted.name.clone(), soft, hard, is_default: false })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::document;

    fn read_limits(document: Value) -> Result<Limits> {
        limits(&document::of_value(document).unwrap())
    }

    #[test]
    fn nothing_is_no_limit() {
        let of_the_cli = json!({
            "CpuShares": 0, "Memory": 0, "NanoCpus": 0, "CgroupParent": "", "BlkioWeight": 0,
            "BlkioWeightDevice": [], "BlkioDeviceReadBps": [], "BlkioDeviceReadIOps": null, "CpuPeriod": 0,
            "CpuQuota": 0, "CpuRealtimePeriod": 0, "CpusetCpus": "", "MemorySwap": 0, "MemorySwappiness": -1,
            "OomKillDisable": false, "PidsLimit": 0, "Ulimits": [], "CpuCount": 0, "IOMaximumIOps": 0,
        });
        assert!(read_limits(of_the_cli).unwrap().is_empty());
    }

    #[test]
    fn values() {
        let limits = read_limits(json!({
            "Memory": 67108864, "MemorySwap": -1, "NanoCpus": 1500000000, "PidsLimit": -1, "CpusetCpus": "0-1",
            "BlkioDeviceReadBps": [{"Path": "/dev/sda", "Rate": 1048576}],
            "BlkioDeviceWriteIOps": [{"Path": "/dev/sda", "Rate": 5}], "BlkioWeight": 300,
        }))
        .unwrap();
        assert_eq!((limits.memory, limits.memory_swap), (Some(64 << 20), Some(UNLIMITED)));
        assert_eq!((limits.cpu_quota_us, limits.cpu_period_us), (Some(150_000), Some(100_000)));
        assert_eq!((limits.pids, limits.blkio_weight), (Some(UNLIMITED), Some(300)));
        assert_eq!((limits.device_read_bps[0].rate, limits.device_write_iops[0].rate), (1 << 20, 5));
    }

    #[test]
    fn what_there_is_not_is_refused() {
        for document in
            [json!({"CpuRealtimePeriod": 1}), json!({"CpuRealtimeRuntime": 1}), json!({"CpuCount": 1})]
        {
            assert_eq!(read_limits(document.clone()).unwrap_err().kind, Kind::Unsupported, "{document}");
        }
        for document in [
            json!({"NanoCpus": 1000000000, "CpuQuota": 1}),
            json!({"NanoCpus": 1}),
            json!({"CpusetCpus": "x"}),
            json!({"BlkioWeight": 5}),
            json!({"Memory": 4096}),
            json!({"Memory": -2}),
            json!({"MemoryReservation": 1}),
            json!({"MemorySwap": -2}),
            json!({"CpuShares": -5}),
            json!({"CpuPeriod": -1}),
            json!({"CpuPeriod": 999}),
            json!({"CpuPeriod": 1_000_001}),
            json!({"CpuQuota": 999}),
        ] {
            assert_eq!(read_limits(document.clone()).unwrap_err().kind, Kind::Invalid, "{document}");
        }
    }

    #[test]
    fn what_docker_goes_on_without() {
        for (document, word) in [
            (json!({"MemorySwappiness": 0}), Some("Memory swappiness discarded")),
            (json!({"OomKillDisable": true}), Some("OomKillDisable discarded")),
            (json!({"KernelMemory": 1}), Some("kernel memory limit")),
            (json!({"KernelMemoryTCP": 1}), Some("kernel memory TCP limit")),
            (json!({"MemorySwappiness": -1, "OomKillDisable": false, "KernelMemory": 0}), None),
        ] {
            let asked = document::of_value(document.clone()).unwrap();
            assert!(limits(&asked).unwrap().is_empty(), "{document}");
            let said = discarded(&asked);
            assert_eq!(said.len(), usize::from(word.is_some()), "{document}");
            assert!(word.is_none_or(|word| said[0].contains(word)), "{said:?}");
        }
    }

    #[test]
    fn limits_of_processes() {
        let read = |limit: Value| ulimits(&document::of_value(json!({"Ulimits": [limit]})).unwrap());
        let limit = &read(json!({"Name": "nofile", "Soft": 10, "Hard": -1})).unwrap()[0];
        assert_eq!((limit.soft, limit.hard), (10, rlimit::UNLIMITED));
        assert!(read(json!({"Name": "huh", "Soft": 1, "Hard": 1})).is_err());
        assert!(read(json!({"Name": "nofile", "Soft": 2, "Hard": 1})).is_err());
    }
}
