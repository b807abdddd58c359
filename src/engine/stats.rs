//! What containers use.
//!
//! From the container's cgroup where it has one; what that does not count (no controller, no cgroup at all) is
//! added up from /proc over the container's processes.

use jiff::Timestamp;

use crate::base::id::ContainerId;
use crate::base::spec::{NetworkMode, Record};
use crate::cgroup::stat::{self, Usage};
use crate::engine::list::{Container, Query};
use crate::engine::{Engine, Result, info, processes};

/// One look at one container. Counters grow from the start of its present life on.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) id: ContainerId,
    pub(crate) name: String,
    /// It runs; otherwise all numbers are 0.
    pub(crate) is_up: bool,
    pub(crate) at: Timestamp,
    pub(crate) started: Timestamp,
    pub(crate) cpu_ns: u64,
    pub(crate) cpu_system_ns: u64,
    pub(crate) memory_bytes: u64,
    /// The container's limit, or what the machine has.
    pub(crate) memory_limit_bytes: u64,
    /// Received and sent on its own networks; `None` where it has none of its own.
    pub(crate) network_bytes: Option<(u64, u64)>,
    /// Read and written; `None` where nobody counts.
    pub(crate) block_bytes: Option<(u64, u64)>,
    pub(crate) pids: u64,
    /// How many there may be, if that is limited.
    pub(crate) pids_limit: Option<u64>,
    /// What the page cache could give back at once; not in `memory_bytes`.
    pub(crate) inactive_file_bytes: u64,
    /// Periods of the CPU quota, those in which it was used up, and µs of waiting for the next.
    pub(crate) throttled: (u64, u64, u64),
    /// Its own networks' interfaces.
    pub(crate) interfaces: Vec<Interface>,
}

/// What has passed an interface: bytes, packets, errors, dropped packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) received: [u64; 4],
    pub(crate) sent: [u64; 4],
}

impl Engine {
    /// A sample of each of `ids`, or of each container that runs if there are none, or with `all` of each.
    ///
    /// # Errors
    ///
    /// If a container cannot be read.
    pub(crate) fn stats(&self, ids: &[ContainerId], all: bool) -> Result<Vec<Sample>> {
        let containers = match ids {
            [] => self.containers(&Query { all, ..Query::default() })?.items,
            ids => ids.iter().map(|id| self.container_summary(id)).collect::<Result<_>>()?,
        };
        let up: Vec<&Record> = containers.iter().filter_map(record).collect();
        let usages: Vec<Option<Usage>> =
            up.iter().map(|record| record.cgroup.as_deref().map(stat::usage)).collect();
        // One walk through /proc for all that need it.
        let incomplete = |usage: &Option<Usage>| {
            usage.is_none_or(|u| u.cpu_us.is_none() || u.memory_bytes.is_none() || u.pids.is_none())
        };
        let processes = match usages.iter().any(incomplete) {
            true => processes::of_containers(&up),
            false => vec![Vec::new(); up.len()],
        };
        let memory = info::memory_field(&info::read("/proc/meminfo"), "MemTotal");
        let mut measured = usages.into_iter().zip(processes);
        let now = Timestamp::now();
        Ok(containers
            .iter()
            .map(|container| match record(container) {
                None => Sample::idle(container, now, memory),
                Some(record) => {
                    let (usage, pids) = measured.next().unwrap_or_default();
                    Sample::of(container, record, now, memory, usage, &pids)
                }
            })
            .collect())
    }
}

/// The present life of a container that runs.
fn record(container: &Container) -> Option<&Record> {
    container.status.record.as_ref().filter(|_| container.status.pid() != 0)
}

impl Sample {
    fn idle(container: &Container, at: Timestamp, memory: u64) -> Self {
        Self {
            id: container.id.clone(),
            name: container.name.clone(),
            is_up: false,
            at,
            started: at,
            cpu_ns: 0,
            cpu_system_ns: 0,
            memory_bytes: 0,
            memory_limit_bytes: memory,
            network_bytes: None,
            block_bytes: None,
            pids: 0,
            pids_limit: None,
            inactive_file_bytes: 0,
            throttled: (0, 0, 0),
            interfaces: Vec::new(),
        }
    }

    fn of(
        container: &Container,
        record: &Record,
        at: Timestamp,
        memory: u64,
        usage: Option<Usage>,
        pids: &[i32],
    ) -> Self {
        let counted = usage.unwrap_or_default();
        let looked: Vec<_> = pids.iter().filter_map(|pid| processes::look_short(*pid)).collect();
        let ticks = |of: &dyn Fn(&processes::Process) -> u64| {
            looked.iter().map(of).sum::<u64>() * (1_000_000_000 / processes::TICKS)
        };
        let own_network =
            matches!(container.summary.network.mode, NetworkMode::Bridge(_) | NetworkMode::None);
        let interfaces = if own_network { interfaces_of(record.pid) } else { Vec::new() };
        Self {
            is_up: true,
            started: record.started,
            cpu_ns: counted.cpu_us.map_or_else(|| ticks(&|p| p.user_ticks + p.system_ticks), |us| us * 1_000),
            cpu_system_ns: counted.cpu_system_us.map_or_else(|| ticks(&|p| p.system_ticks), |us| us * 1_000),
            memory_bytes: counted
                .memory_bytes
                .unwrap_or_else(|| looked.iter().map(|process| process.resident_bytes).sum()),
            memory_limit_bytes: counted.memory_limit_bytes.map_or(memory, |limit| limit.min(memory)),
            network_bytes: own_network.then(|| sum(&interfaces)),
            block_bytes: counted.read_bytes.zip(counted.written_bytes),
            pids: counted.pids.unwrap_or_else(|| looked.iter().map(|process| process.threads).sum()),
            pids_limit: counted.pids_limit,
            inactive_file_bytes: counted.inactive_file_bytes.unwrap_or(0),
            throttled: counted.throttled.unwrap_or_default(),
            interfaces,
            ..Self::idle(container, at, memory)
        }
    }

    /// Per cent of one CPU, since `before` or since the start.
    pub(crate) fn cpu_percent(&self, before: Option<&Self>) -> f64 {
        let (cpu, at) = before.map_or((0, self.started), |before| (before.cpu_ns, before.at));
        let wall = self.at.duration_since(at).as_nanos();
        let used = self.cpu_ns.saturating_sub(cpu);
        if wall <= 0 { 0.0 } else { used as f64 / wall as f64 * 100.0 }
    }

    /// Per cent of the limit.
    pub(crate) fn memory_percent(&self) -> f64 {
        match self.memory_limit_bytes {
            0 => 0.0,
            limit => self.memory_bytes as f64 / limit as f64 * 100.0,
        }
    }
}

/// All interfaces but loopback in the network namespace of `pid`.
fn interfaces_of(pid: i32) -> Vec<Interface> {
    interfaces(&std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default())
}

/// The same, of the text of `/proc/PID/net/dev`.
fn interfaces(text: &str) -> Vec<Interface> {
    let each = text.lines().filter_map(|line| {
        let (name, numbers) = line.split_once(':')?;
        let numbers: Vec<u64> = numbers.split_ascii_whitespace().filter_map(|n| n.parse().ok()).collect();
        let received = numbers.get(..4)?.try_into().ok()?;
        let sent = numbers.get(8..12)?.try_into().ok()?;
        let name = name.trim();
        (name != "lo").then(|| Interface { name: name.to_owned(), received, sent })
    });
    each.collect()
}

/// Bytes received and sent.
fn sum(interfaces: &[Interface]) -> (u64, u64) {
    interfaces.iter().fold((0, 0), |sum, each| (sum.0 + each.received[0], sum.1 + each.sent[0]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_interfaces() {
        let text = "Inter-|   Receive                                                |  Transmit\n\
                    \x20face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop\n\
                    \x20   lo:  100       1    0    0    0     0          0         0      100       1    0    0 0 0 0 0\n\
                    \x20 eth0: 1000      10    1    2    0     0          0         0     2000      20    3    4 0 0 0 0\n";
        let eth0 = Interface { name: "eth0".to_owned(), received: [1000, 10, 1, 2], sent: [2000, 20, 3, 4] };
        assert_eq!(interfaces(text), [eth0]);
        assert_eq!(sum(&interfaces(text)), (1000, 2000));
    }
}
