//! `ketch pod stats`: what the containers of pods use, once or again and again.

use std::collections::HashMap;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use crate::base::id::ContainerId;
use crate::base::pod::PodId;
use crate::cli::format::{self, Format, Shape, json, table::Table};
use crate::cli::pod::LatestPod;
use crate::cli::session::Session;
use crate::cli::stats::{self, Before, Looks};
use crate::cli::usage::UsageError;
use crate::engine::filter::Filters;
use crate::engine::stats::Sample;
use crate::engine::{Engine, Error, Kind};

/// Show what the running containers of pods use
///
/// The numbers are those of `stats`, and looked at once in a second.
#[derive(Args, Debug)]
pub(crate) struct StatsArgs {
    /// Pods, by name or ID (can be repeated); otherwise all
    #[arg(value_name = "POD")]
    pods: Vec<String>,

    /// Show all pods, as without names
    #[arg(short, long)]
    all: bool,

    /// Print in this form: json, or a Go template, after the word "table" with headings
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,

    #[command(flatten)]
    latest: LatestPod,

    /// Do not clear the screen between two looks
    #[arg(long)]
    no_reset: bool,

    /// Look once
    #[arg(long)]
    no_stream: bool,
}

const SHAPE: Shape = Shape {
    command: "pod stats",
    type_name: "entities.PodStatsReport",
    headers: &[
        ("CPU", "CPU %"),
        ("MemUsage", "MEM USAGE/ LIMIT"),
        ("MemUsageBytes", "MEM USAGE/ LIMIT"),
        ("Mem", "MEM %"),
        ("NetIO", "NET IO"),
        ("BlockIO", "BLOCK IO"),
        ("PIDS", "PIDS"),
        ("Pod", "POD"),
        ("CID", "CID"),
        ("Name", "NAME"),
    ],
    omit: &[],
    heading: true,
};

/// Columns of the table, and their headings.
const COLUMNS: [(&str, &str); 9] = [
    ("Pod", "POD"),
    ("CID", "CID"),
    ("Name", "NAME"),
    ("CPU", "CPU %"),
    ("MemUsage", "MEM USAGE/ LIMIT"),
    ("Mem", "MEM %"),
    ("NetIO", "NET IO"),
    ("BlockIO", "BLOCK IO"),
    ("PIDS", "PIDS"),
];

/// Runs the verb.
pub(crate) fn run(session: &mut Session<'_>, args: StatsArgs) -> anyhow::Result<()> {
    let format = args.format.as_deref().map(|text| Format::parse(text, &SHAPE)).transpose()?;
    if [args.all, args.latest.latest, !args.pods.is_empty()].iter().filter(|said| **said).count() > 1 {
        return Err(UsageError::new("--all, --latest and arguments cannot be used together").into());
    }
    let looks = Looks {
        once: args.no_stream,
        clear: !args.no_reset && !matches!(format, Some(Format::Json)),
        interval: Duration::from_secs(1),
    };
    stats::look(session, looks, |session, before| {
        let engine = session.engine()?;
        let members = members(engine, &args)?;
        let ids: Vec<ContainerId> = members.iter().map(|(id, _)| id.clone()).collect();
        // To ask for none means all.
        let samples = if ids.is_empty() { Vec::new() } else { engine.stats(&ids, false)? };
        let pods: HashMap<ContainerId, PodId> = members.into_iter().collect();
        let rows: Vec<Value> = samples.iter().map(|sample| row(sample, before, &pods)).collect();
        stats::clear(session, looks)?;
        show(session, format.as_ref(), &rows)?;
        Ok(samples)
    })
}

/// The containers that run of the pods meant, and the pod of each.
fn members(engine: &Engine, args: &StatsArgs) -> anyhow::Result<Vec<(ContainerId, PodId)>> {
    let pods = if args.latest.latest {
        vec![engine.pod_details(&engine.latest_pod()?)?]
    } else if args.pods.is_empty() {
        engine.pods(&Filters::default())?.items
    } else {
        let found = args.pods.iter().map(|name| engine.pod(name).and_then(|id| engine.pod_details(&id)));
        found.collect::<Result<_, _>>().map_err(|err| match err.kind {
            Kind::NotFound => Error::not_found(format!("unable to get list of pods: {err}")),
            _ => err,
        })?
    };
    let of_pod = |pod: crate::engine::pod::Pod| {
        let up = pod.containers.into_iter().filter(|one| one.is_up());
        up.map(move |one| (one.id, pod.record.id.clone()))
    };
    Ok(pods.into_iter().flat_map(of_pod).collect())
}

/// Everything that templates know.
fn row(sample: &Sample, before: &Before, pods: &HashMap<ContainerId, PodId>) -> Value {
    let of = stats::row(sample, before.get(&sample.id), false);
    json!({
        "CPU": of["CPUPerc"], "MemUsage": of["MemUsage"], "MemUsageBytes": of["MemUsageBytes"],
        "Mem": of["MemPerc"], "NetIO": of["NetIO"], "BlockIO": of["BlockIO"], "PIDS": of["PIDS"],
        "Pod": pods.get(&sample.id).map_or("", |pod| pod.short()), "CID": of["ID"], "Name": of["Name"],
    })
}

fn show(session: &mut Session<'_>, format: Option<&Format>, rows: &[Value]) -> anyhow::Result<()> {
    match format {
        None => {
            let mut table = Table::new(session, &COLUMNS.map(|(_, heading)| heading));
            if rows.is_empty() {
                table.push(COLUMNS.map(|_| "--".to_owned()));
            }
            for row in rows {
                table.push(COLUMNS.map(|(key, _)| row[key].as_str().unwrap_or_default().to_owned()));
            }
            table.print(session)
        }
        Some(Format::Json) => json::print_list(session, rows, &[], "     "),
        Some(template) => format::print_rows(session, &SHAPE, template, rows),
    }
}
