//! `GET /containers/{}/stats`.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::api::fault::Fault;
use crate::api::http::exchange::{Answer, Exchange};
use crate::api::named;
use crate::base::id::ContainerId;
use crate::base::time::go_zero;
use crate::engine::stats::{Interface, Sample};
use crate::engine::{Engine, Kind};
use crate::sys::poll::PollSet;

/// Between two samples, as with Docker.
const INTERVAL: Duration = Duration::from_secs(1);

/// One look at a container, and at the machine at the same time.
struct Look {
    sample: Sample,
    /// The text of /proc/stat.
    machine: String,
}

/// Tells what a container uses: once, or each second until it is removed.
///
/// # Errors
///
/// 404.
pub(crate) fn stats(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let (engine, id) = named::container(exchange)?;
    let first = Look::at(&engine, &id)?;
    let is_stream = exchange.query("stream").is_none_or(|_| exchange.flag("stream"));
    if !is_stream {
        if exchange.flag("one-shot") || !first.sample.is_up {
            return Ok(Answer::ok(first.document(None)));
        }
        std::thread::sleep(INTERVAL);
        return Ok(Answer::ok(Look::at(&engine, &id)?.document(Some(&first))));
    }
    let mut stream = exchange.stream(200, "application/json", &[])?;
    let (mut before, mut now) = (None, first);
    loop {
        stream.document(&now.document(before.as_ref()))?;
        let mut set = PollSet::default();
        let client = set.add_for_hang_up(Some(stream.client()));
        set.wait(Some(INTERVAL))?;
        if set.ready(client).hung_up {
            return Ok(Answer::Sent);
        }
        before = Some(now);
        now = match Look::at(&engine, &id) {
            Ok(look) => look,
            Err(err) => {
                if err.status == 404 {
                    stream.finish()?;
                }
                return Ok(Answer::Sent);
            }
        };
    }
}

impl Look {
    fn at(engine: &Engine, id: &ContainerId) -> Result<Self, Fault> {
        let samples = engine.stats(std::slice::from_ref(id), true).map_err(|err| match err.kind {
            Kind::NotFound => Fault::new(404, format!("No such container: {id}")),
            _ => err.into(),
        })?;
        let sample = samples.into_iter().next();
        let sample = sample.ok_or_else(|| Fault::new(404, format!("No such container: {id}")))?;
        let machine = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        Ok(Self { sample, machine })
    }

    /// Docker's document; `before` is the look before this one.
    fn document(&self, before: Option<&Self>) -> Value {
        let sample = &self.sample;
        let time = |look: Option<&Self>| match look.filter(|look| look.sample.is_up) {
            Some(look) => look.sample.at.to_string(),
            None => go_zero().to_string(),
        };
        let mut document = json!({
            "name": format!("/{}", sample.name),
            "id": sample.id.as_str(),
            "read": time(Some(self)),
            "preread": time(before),
            "num_procs": 0,
            "pids_stats": {},
            "blkio_stats": self.blocks(),
            "storage_stats": {},
            "cpu_stats": self.cpu(),
            "precpu_stats": before.map_or_else(Self::no_cpu, Self::cpu),
            "memory_stats": {},
        });
        if !sample.is_up {
            return document;
        }
        // All of them, where nobody limits them.
        let limit = sample.pids_limit.unwrap_or(u64::MAX);
        document["pids_stats"] = json!({"current": sample.pids, "limit": limit});
        // Clients take the part of the cache that could be given back away themselves.
        let cache = sample.inactive_file_bytes;
        document["memory_stats"] = json!({
            "usage": sample.memory_bytes + cache,
            "stats": {"inactive_file": cache},
            "limit": sample.memory_limit_bytes,
        });
        if !sample.interfaces.is_empty() {
            let networks = sample.interfaces.iter().map(|each| (each.name.clone(), network(each)));
            document["networks"] = Value::Object(networks.collect::<Map<_, _>>());
        }
        document
    }

    fn no_cpu() -> Value {
        json!({
            "cpu_usage": {"total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0},
            "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
        })
    }

    fn cpu(&self) -> Value {
        let sample = &self.sample;
        if !sample.is_up {
            return Self::no_cpu();
        }
        let (periods, throttled, waited_us) = sample.throttled;
        json!({
            "cpu_usage": {
                "total_usage": sample.cpu_ns,
                "usage_in_kernelmode": sample.cpu_system_ns,
                "usage_in_usermode": sample.cpu_ns.saturating_sub(sample.cpu_system_ns),
            },
            "system_cpu_usage": machine_ns(&self.machine),
            "online_cpus": processors(&self.machine),
            "throttling_data": {
                "periods": periods, "throttled_periods": throttled, "throttled_time": waited_us * 1_000,
            },
        })
    }

    fn blocks(&self) -> Value {
        let bytes = self.sample.block_bytes.map(|(read, written)| {
            let entry = |op: &str, value: u64| json!({"major": 0, "minor": 0, "op": op, "value": value});
            json!([entry("read", read), entry("write", written)])
        });
        json!({
            "io_service_bytes_recursive": bytes,
            "io_serviced_recursive": null,
            "io_queue_recursive": null,
            "io_service_time_recursive": null,
            "io_wait_time_recursive": null,
            "io_merged_recursive": null,
            "io_time_recursive": null,
            "sectors_recursive": null,
        })
    }
}

fn network(interface: &Interface) -> Value {
    let mut counters = Map::new();
    for (prefix, values) in [("rx", &interface.received), ("tx", &interface.sent)] {
        for (name, value) in ["bytes", "packets", "errors", "dropped"].iter().zip(values) {
            counters.insert(format!("{prefix}_{name}"), (*value).into());
        }
    }
    Value::Object(counters)
}

/// Time that all processors have spent, in nanoseconds, of the text of /proc/stat. As with Docker, that of guests is not counted
/// twice.
fn machine_ns(text: &str) -> u64 {
    const TICK_NS: u64 = 10_000_000;
    const COUNTED: usize = 7;
    let all = text.lines().find_map(|line| line.strip_prefix("cpu "));
    let ticks = all.into_iter().flat_map(str::split_ascii_whitespace).take(COUNTED);
    ticks.filter_map(|number| number.parse::<u64>().ok()).sum::<u64>() * TICK_NS
}

/// How many processors that is of.
fn processors(text: &str) -> usize {
    text.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu ")).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_of_the_machine() {
        assert_eq!(machine_ns("cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 1 1\n"), 280_000_000);
        assert_eq!(processors("cpu  1\ncpu0 1\ncpu1 1\nintr 5\n"), 2);
        assert_eq!(machine_ns(""), 0);
    }
}
