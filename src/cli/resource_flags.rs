//! The flags that limit what a container may use: shared by `run`, `create`, `update` and `container clone`.

use clap::Args;

use crate::base::limits::{self, DeviceRate, LimitError, Limits, OfVersion1};
use crate::base::size;
use crate::engine::{Error, Result};

/// What may be used of the machine.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Limits")]
pub(crate) struct ResourceFlags {
    /// Weight of block I/O, 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    blkio_weight: Option<u64>,

    /// Weight of block I/O on one device (DEVICE:WEIGHT; can be repeated)
    #[arg(long, value_name = "DEVICE:WEIGHT", value_delimiter = ',')]
    blkio_weight_device: Vec<String>,

    /// Length of a period of the CPU quota, in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_period: Option<u64>,

    /// CPU time in each period, in microseconds; -1 for no limit
    #[arg(long, value_name = "MICROSECONDS", allow_negative_numbers = true)]
    cpu_quota: Option<i64>,

    /// Length of a real-time period (cgroup v1 only: refused)
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_rt_period: Option<u64>,

    /// Real-time CPU time in each period (cgroup v1 only: refused)
    #[arg(long, value_name = "MICROSECONDS", allow_negative_numbers = true)]
    cpu_rt_runtime: Option<i64>,

    /// Weight of the CPU, 2 to 262144; 1024 is what others have
    #[arg(short = 'c', long, value_name = "SHARES")]
    cpu_shares: Option<u64>,

    /// Number of CPUs it may keep busy, like 1.5; 0 for no limit
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    cpus: Option<f64>,

    /// CPUs to run on, like 0-2,5
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,

    /// NUMA nodes to take memory from, like 0
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,

    /// Bytes per second read from a device (DEVICE:SIZE; can be repeated)
    #[arg(long, value_name = "DEVICE:SIZE", value_delimiter = ',')]
    device_read_bps: Vec<String>,

    /// Operations per second reading from a device (DEVICE:NUMBER; can be repeated)
    #[arg(long, value_name = "DEVICE:NUMBER", value_delimiter = ',')]
    device_read_iops: Vec<String>,

    /// Bytes per second written to a device (DEVICE:SIZE; can be repeated)
    #[arg(long, value_name = "DEVICE:SIZE", value_delimiter = ',')]
    device_write_bps: Vec<String>,

    /// Operations per second writing to a device (DEVICE:NUMBER; can be repeated)
    #[arg(long, value_name = "DEVICE:NUMBER", value_delimiter = ',')]
    device_write_iops: Vec<String>,

    /// Limit of kernel memory (cgroup v1 only: refused)
    #[arg(long, value_name = "SIZE", hide = true)]
    kernel_memory: Option<String>,

    /// Limit of memory, like 512m; -1 for no limit
    #[arg(short, long, value_name = "SIZE", allow_negative_numbers = true)]
    memory: Option<String>,

    /// Memory that is left to it when others can be asked first
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true)]
    memory_reservation: Option<String>,

    /// Limit of memory and swap together; -1 for unlimited swap. Twice the memory if not given
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true)]
    memory_swap: Option<String>,

    /// How readily memory is swapped, 0 to 100 (cgroup v1 only: refused)
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    memory_swappiness: Option<i64>,

    /// Number of processes and threads; 0 or -1 for no limit
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pids_limit: Option<i64>,
}

impl ResourceFlags {
    /// The limits that were asked for, each by itself: what they mean together is not looked at.
    ///
    /// # Errors
    ///
    /// Values that mean nothing; limits that only cgroup v1 had.
    pub(crate) fn limits(&self) -> Result<Limits> {
        self.refuse_version_1()?;
        if self.cpus.is_some() && self.cpu_period.is_some() {
            return Err(Error::invalid("--cpu-period and --cpus cannot be set together"));
        }
        if self.cpus.is_some() && self.cpu_quota.is_some() {
            return Err(Error::invalid("--cpu-quota and --cpus cannot be set together"));
        }
        let checked = self.read().and_then(|limits| limits::check_cpu_times(&limits).map(|()| limits));
        checked.map_err(|err| Error::invalid(err.to_string()))
    }

    fn read(&self) -> std::result::Result<Limits, LimitError> {
        let memory =
            |flag, text: &Option<String>| text.as_deref().map(|t| limits::memory(flag, t)).transpose();
        let list = |flag, text: &Option<String>| {
            // An empty one is none, as scripts have it that pass a variable on.
            let text = text.as_deref().filter(|text| !text.is_empty());
            text.map(|t| limits::cpu_list(flag, t)).transpose()
        };
        let rates = |flag, texts: &[String], sizes| -> std::result::Result<Vec<DeviceRate>, LimitError> {
            texts.iter().map(|text| limits::device_rate(flag, text, sizes)).collect()
        };
        let weights = rates("--blkio-weight-device", &self.blkio_weight_device, false)?;
        for weight in &weights {
            limits::blkio_weight("--blkio-weight-device", weight.rate)?;
        }
        let weight = self.blkio_weight.map(|weight| limits::blkio_weight("--blkio-weight", weight));
        let of_cpus = self.cpus.map(limits::cpu_quota_us).transpose()?;
        Ok(Limits {
            memory: memory("--memory", &self.memory)?,
            memory_reservation: memory("--memory-reservation", &self.memory_reservation)?,
            // Unlike the others: 0 is as if it was not given, which leaves as much swap as memory.
            memory_swap: match self.memory_swap.as_deref().map(size::parse) {
                Some(Ok(0)) => None,
                _ => memory("--memory-swap", &self.memory_swap)?,
            },
            cpu_shares: self.cpu_shares,
            // `--cpus 0` takes a limit away, which matters to `update`.
            cpu_quota_us: of_cpus.map(|quota| quota.unwrap_or(limits::UNLIMITED)).or(self.cpu_quota),
            cpu_period_us: of_cpus.map(|_| limits::CPU_PERIOD_US).or(self.cpu_period),
            cpuset_cpus: list("--cpuset-cpus", &self.cpuset_cpus)?,
            cpuset_mems: list("--cpuset-mems", &self.cpuset_mems)?,
            pids: self.pids_limit.map(limits::pids),
            blkio_weight: weight.transpose()?.flatten(),
            blkio_weight_device: weights,
            device_read_bps: rates("--device-read-bps", &self.device_read_bps, true)?,
            device_write_bps: rates("--device-write-bps", &self.device_write_bps, true)?,
            device_read_iops: rates("--device-read-iops", &self.device_read_iops, false)?,
            device_write_iops: rates("--device-write-iops", &self.device_write_iops, false)?,
            unified: std::collections::BTreeMap::new(),
        })
    }

    /// Takes away the limits that only version 1 had and docker does without.
    pub(crate) fn discard_as_docker(&mut self) -> OfVersion1 {
        OfVersion1 {
            swappiness: self.memory_swappiness.take().is_some_and(|number| number >= 0),
            kernel: self.kernel_memory.take().is_some_and(|size| size != "0"),
            ..OfVersion1::default()
        }
    }

    /// Limits that version 2 has not: better no container than one that only seems to be limited.
    fn refuse_version_1(&self) -> Result<()> {
        let asked = [
            ("--cpu-rt-period", self.cpu_rt_period.is_some_and(|period| period != 0)),
            ("--cpu-rt-runtime", self.cpu_rt_runtime.is_some_and(|runtime| runtime != 0)),
            ("--kernel-memory", self.kernel_memory.as_deref().is_some_and(|size| size != "0")),
            ("--memory-swappiness", self.memory_swappiness.is_some_and(|number| number >= 0)),
        ];
        let refused = asked.into_iter().find(|(_, asked)| *asked);
        refused.map_or(Ok(()), |(flag, _)| Err(Error::needs_cgroup_v1(flag)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Kind;

    #[test]
    fn cpus_become_a_quota() {
        let flags = |cpus| ResourceFlags { cpus: Some(cpus), ..ResourceFlags::default() };
        let limits = flags(0.5).limits().unwrap();
        assert_eq!((limits.cpu_quota_us, limits.cpu_period_us), (Some(50_000), Some(100_000)));
        assert_eq!(flags(0.0).limits().unwrap().cpu_quota_us, Some(limits::UNLIMITED));
        assert!(flags(-1.0).limits().is_err());
        let both = ResourceFlags { cpu_quota: Some(1), ..flags(1.0) };
        assert!(both.limits().is_err());
    }

    #[test]
    fn what_says_nothing_is_unset() {
        let flags = |swap: &str, cpus: &str| ResourceFlags {
            memory_swap: Some(swap.into()),
            cpuset_cpus: Some(cpus.into()),
            cpuset_mems: Some(cpus.into()),
            ..ResourceFlags::default()
        };
        assert!(flags("0", "").limits().unwrap().is_empty());
        assert!(flags("0b", "").limits().unwrap().is_empty());
        let limits = flags("-1", "0-1").limits().unwrap();
        assert_eq!(
            (limits.memory_swap, limits.cpuset_cpus),
            (Some(limits::UNLIMITED), Some("0-1".to_owned()))
        );
        assert!(flags("x", "").limits().is_err() && flags("", "").limits().is_err());
    }

    #[test]
    fn what_only_version_1_had_is_refused() {
        let refused = |flags: ResourceFlags| flags.limits().unwrap_err().kind == Kind::Unsupported;
        assert!(refused(ResourceFlags { memory_swappiness: Some(0), ..ResourceFlags::default() }));
        assert!(refused(ResourceFlags { cpu_rt_runtime: Some(5), ..ResourceFlags::default() }));
        assert!(refused(ResourceFlags { kernel_memory: Some("1m".into()), ..ResourceFlags::default() }));
        let unset = ResourceFlags { memory_swappiness: Some(-1), ..ResourceFlags::default() };
        assert!(unset.limits().unwrap().is_empty());
    }
}
