//! `ketch stats`: what containers use, once or again and again.

use std::collections::HashMap;
use std::io::Write as _;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use crate::base::id::ContainerId;
use crate::base::size;
use crate::base::time::go_duration;
use crate::cli::format::{self, Format, Shape, docker, json, table::Table};
use crate::cli::session::Session;
use crate::cli::targets::{Latest, Selection};
use crate::cli::usage::UsageError;
use crate::engine::stats::Sample;

/// Show what containers use
///
/// CPU time is a share of one processor since the last look; at the first look since the container started.
/// Without cgroup v2 the numbers are added up from /proc, and block I/O is not counted.
#[derive(Args, Debug)]
pub(crate) struct StatsArgs {
    /// Containers, by name or ID (can be repeated); otherwise those that run
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,

    /// Show all containers, also those that do not run
    #[arg(short, long)]
    all: bool,

    /// Print in this form: json, or a Go template, after the word "table" with headings
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,

    /// Seconds between two looks
    #[arg(short, long, value_name = "SECONDS", default_value_t = 5)]
    interval: u64,

    #[command(flatten)]
    latest: Latest,

    /// Do not clear the screen between two looks
    #[arg(long)]
    no_reset: bool,

    /// Look once
    #[arg(long)]
    no_stream: bool,

    /// Show IDs in full
    #[arg(long)]
    no_trunc: bool,
}

const SHAPE: Shape = Shape {
    command: "stats",
    type_name: "containers.containerStats",
    headers: &[
        ("ID", "ID"),
        ("CPUPerc", "CPU %"),
        ("AVGCPU", "AVG CPU %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("MemUsageBytes", "MEM USAGE / LIMIT"),
        ("MemPerc", "MEM %"),
        ("NetIO", "NET IO"),
        ("BlockIO", "BLOCK IO"),
        ("PIDS", "PIDS"),
        ("Up", "CPU TIME"),
        ("UpTime", "CPU TIME"),
    ],
    omit: &[],
    heading: true,
};

/// Docker's headings.
const DOCKERS_HEADERS: &[(&str, &str)] = &[
    ("ID", "CONTAINER ID"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
];

fn shape(is_docker: bool) -> Shape {
    if is_docker { Shape { headers: DOCKERS_HEADERS, ..SHAPE } } else { SHAPE }
}

/// Runs the verb.
pub(crate) fn run(session: &mut Session<'_>, args: StatsArgs) -> anyhow::Result<()> {
    let shape = shape(session.globals.called.is_docker());
    let format = session.format(args.format.as_deref(), &shape)?;
    if args.all && (args.latest.latest || !args.containers.is_empty()) {
        return Err(UsageError::new("--all, --latest and containers cannot be used together").into());
    }
    if args.interval == 0 {
        return Err(UsageError::new("invalid interval, must be a positive number greater zero").into());
    }
    let mut ids = Vec::new();
    let mut typed = HashMap::new();
    if args.latest.latest || !args.containers.is_empty() {
        for target in Selection::of_names(&args.containers, &args.latest).targets(session)? {
            let id = target.id?;
            typed.insert(id.clone(), target.shown);
            ids.push(id);
        }
    }
    let looks = Looks {
        once: args.no_stream,
        clear: !args.no_reset && !matches!(format, Some(Format::Json)),
        interval: Duration::from_secs(args.interval),
    };
    look(session, looks, |session, before| {
        let samples = session.engine()?.stats(&ids, args.all)?;
        clear(session, looks)?;
        show(session, &args, format.as_ref(), (&samples, &typed), before)?;
        Ok(samples)
    })
}

/// The samples of the last look.
pub(crate) type Before = HashMap<ContainerId, Sample>;

/// How often to look, and whether a screen is cleared before each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Looks {
    pub(crate) once: bool,
    pub(crate) clear: bool,
    pub(crate) interval: Duration,
}

/// Takes and shows samples once, or again and again.
///
/// # Errors
///
/// Those of `sample`; if standard output cannot be written.
pub(crate) fn look(
    session: &mut Session<'_>,
    looks: Looks,
    mut sample: impl FnMut(&mut Session<'_>, &Before) -> anyhow::Result<Vec<Sample>>,
) -> anyhow::Result<()> {
    let mut before = Before::new();
    loop {
        let samples = sample(session, &before)?;
        session.out.flush()?;
        if looks.once {
            return Ok(());
        }
        before = samples.into_iter().map(|sample| (sample.id.clone(), sample)).collect();
        std::thread::sleep(looks.interval);
    }
}

/// Clears a terminal that is written to more than once.
pub(crate) fn clear(session: &mut Session<'_>, looks: Looks) -> std::io::Result<()> {
    if !looks.once && looks.clear && session.out_is_tty {
        // Home, and clear the screen: what the terminal itself understands.
        write!(session.out, "\x1b[H\x1b[2J")?;
    }
    Ok(())
}

fn show(
    session: &mut Session<'_>,
    args: &StatsArgs,
    format: Option<&Format>,
    (samples, typed): (&[Sample], &HashMap<ContainerId, String>),
    before: &Before,
) -> anyhow::Result<()> {
    let mut rows: Vec<Value> =
        samples.iter().map(|sample| row(sample, before.get(&sample.id), args.no_trunc)).collect();
    if session.globals.called.is_docker() {
        for (row, sample) in rows.iter_mut().zip(samples) {
            in_dockers_units(row, sample);
            if let Some(typed) = typed.get(&sample.id) {
                row["Container"] = typed.as_str().into();
            }
        }
    }
    if session.lists_as_docker(format)? {
        return json::print_dockers_lines(session, rows, docker::STATS);
    }
    match format {
        None => {
            let is_docker = session.globals.called.is_docker();
            let (heading, columns) =
                if is_docker { (&DOCKERS_HEADING[..], &COLUMNS[..8]) } else { (&HEADING[..], &COLUMNS[..]) };
            let mut table = Table::new(session, heading);
            for row in &rows {
                table.push(columns.iter().map(|key| row[*key].as_str().unwrap_or_default().to_owned()));
            }
            table.print(session)
        }
        Some(Format::Json) => {
            let documents: Vec<Value> = rows.iter().map(document).collect();
            json::print_list(session, &documents, &[], " ")
        }
        Some(template) => {
            let shape = shape(session.globals.called.is_docker());
            format::print_rows(session, &shape, template, &rows)
        }
    }
}

/// docker's, which lacks the last two.
const DOCKERS_HEADING: [&str; 8] =
    ["CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS"];
const HEADING: [&str; 10] = [
    "ID",
    "NAME",
    "CPU %",
    "MEM USAGE / LIMIT",
    "MEM %",
    "NET IO",
    "BLOCK IO",
    "PIDS",
    "CPU TIME",
    "AVG CPU %",
];
const COLUMNS: [&str; 10] =
    ["ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDS", "Up", "AVGCPU"];

/// podman's fields for `--format json`.
fn document(row: &Value) -> Value {
    json!({
        "id": row["ID"], "name": row["Name"], "cpu_time": row["Up"], "cpu_percent": row["CPUPerc"],
        "avg_cpu": row["AVGCPU"], "mem_usage": row["MemUsage"], "mem_percent": row["MemPerc"],
        "net_io": row["NetIO"], "block_io": row["BlockIO"], "pids": row["PIDS"],
    })
}

/// docker counts memory in binary units, all else with three digits, and what is not known as nothing.
fn in_dockers_units(row: &mut Value, sample: &Sample) {
    let pair = |(one, other)| format!("{} / {}", size::human(one, 3), size::human(other, 3));
    row["MemUsage"] = row["MemUsageBytes"].clone();
    row["NetIO"] = pair(sample.network_bytes.unwrap_or_default()).into();
    row["BlockIO"] = pair(sample.block_bytes.unwrap_or_default()).into();
    if !sample.is_up {
        row["CPUPerc"] = "0.00%".into();
        row["MemPerc"] = "0.00%".into();
        row["MemUsage"] = "0B / 0B".into();
        row["PIDS"] = "0".into();
    }
}

/// Everything that templates know.
pub(crate) fn row(sample: &Sample, before: Option<&Sample>, no_trunc: bool) -> Value {
    let percent = |value: f64| if sample.is_up { format!("{value:.2}%") } else { "--".to_owned() };
    let pair = |numbers: Option<(u64, u64)>| match numbers {
        Some((one, other)) => format!("{} / {}", size::human(one, 4), size::human(other, 4)),
        None => "-- / --".to_owned(),
    };
    let (cpu, average) = (sample.cpu_percent(before), sample.cpu_percent(None));
    let id = if no_trunc { sample.id.as_str() } else { sample.id.short() };
    let (received, sent) = sample.network_bytes.unwrap_or_default();
    let (read, written) = sample.block_bytes.unwrap_or_default();
    let memory = (sample.memory_bytes, sample.memory_limit_bytes);
    let up_ns = u64::try_from(sample.at.duration_since(sample.started).as_nanos()).unwrap_or(0);
    let all = json!({
        "AvgCPU": average, "ContainerID": sample.id.as_str(), "Name": sample.name, "PerCPU": Value::Null,
        "CPU": cpu, "CPUNano": sample.cpu_ns, "CPUSystemNano": sample.cpu_system_ns,
        "SystemNano": u64::try_from(sample.at.as_nanosecond()).unwrap_or(0),
        "MemUsage": sample.memory_bytes, "MemLimit": sample.memory_limit_bytes,
        "MemPerc": sample.memory_percent(),
        "Network": {"eth0": {"RxBytes": received, "TxBytes": sent}},
        "BlockInput": read, "BlockOutput": written, "PIDs": sample.pids,
        "UpTime": sample.cpu_ns, "Duration": up_ns,
    });
    let mut row = all.clone();
    row["ContainerStats"] = all;
    for (key, value) in [
        ("ID", id.to_owned()),
        ("Container", id.to_owned()),
        ("CPUPerc", percent(cpu)),
        ("AVGCPU", percent(average)),
        ("MemUsage", pair(Some(memory))),
        ("MemUsageBytes", format!("{} / {}", size::binary(memory.0), size::binary(memory.1))),
        ("MemPerc", percent(sample.memory_percent())),
        ("NetIO", pair(sample.network_bytes)),
        ("BlockIO", pair(sample.block_bytes)),
        ("PIDS", if sample.is_up { sample.pids.to_string() } else { "--".to_owned() }),
        ("Up", go_duration(i64::try_from(sample.cpu_ns).unwrap_or(i64::MAX))),
        ("UpTime", go_duration(i64::try_from(sample.cpu_ns).unwrap_or(i64::MAX))),
    ] {
        row[key] = value.into();
    }
    row
}
