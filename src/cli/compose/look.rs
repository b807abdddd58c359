//! `ketch compose top`, `stats` and `events`: what goes on in a project's containers.

use std::cell::RefCell;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;

use crate::base::order::InOrder as _;
use crate::base::time::parse_when;
use crate::cli::compose::open;
use crate::cli::error::{of_printing, shown};
use crate::cli::format::table::Table;
use crate::cli::session::{Exit, Session};
use crate::compose::project::label;
use crate::documents::event::action;
use crate::engine::events::{self, Event, EventQuery};
use crate::engine::filter::Filters;

/// Show the processes of a project's containers
///
/// Process numbers are those inside the containers.
#[derive(Args, Debug)]
pub(crate) struct TopArgs {
    /// Services; all if none is named
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

/// Columns of `top`: docker compose's heading, and the descriptor that fills it.
const TOP: [(&str, &str); 8] = [
    ("UID", "user"),
    ("PID", "pid"),
    ("PPID", "ppid"),
    ("C", "pcpu"),
    ("STIME", "stime"),
    ("TTY", "tty"),
    ("TIME", "time"),
    ("CMD", "args"),
];

pub(crate) fn top(session: &mut Session<'_>, args: TopArgs) -> anyhow::Result<()> {
    let project = open::project_or_containers(session, &[])?;
    let mut found = open::containers(session, &project, &args.services, true)?;
    found.retain(|container| container.running);
    found.order_by(|a, b| a.name.cmp(&b.name));
    let descriptors: Vec<String> = TOP.iter().map(|(_, descriptor)| (*descriptor).to_owned()).collect();
    for container in &found {
        let rows = session.engine()?.top(&container.id, &descriptors)?;
        writeln!(session.out, "{}", container.name)?;
        let mut table = Table::new(session, &TOP.map(|(heading, _)| heading)).columns(5, 3);
        // Each cell is a column's, the last one too: what docker compose prints ends in blanks.
        for row in rows.into_iter().skip(1) {
            let cells = row.into_iter().zip(TOP).map(|(cell, (heading, _))| as_ps(heading, cell));
            table.push(cells.chain([String::new()]));
        }
        table.print(session)?;
        writeln!(session.out)?;
    }
    Ok(())
}

/// A cell as ps(1) prints it, which docker compose shows: use of the processor in whole per cent, and its time as a
/// clock has it.
fn as_ps(heading: &str, cell: String) -> String {
    match heading {
        "C" => cell.split('.').next().unwrap_or_default().to_owned(),
        // Hours and minutes, or the day.
        "STIME" => cell.get(..5).filter(|_| cell.len() == 8).map(str::to_owned).unwrap_or(cell),
        "TIME" => clock(&cell).unwrap_or(cell),
        _ => cell,
    }
}

/// `1h2m3.5s` as `01:02:03`.
fn clock(span: &str) -> Option<String> {
    let (hours, rest) = span.split_once('h').unwrap_or(("0", span));
    let (minutes, rest) = rest.split_once('m').unwrap_or(("0", rest));
    let seconds = rest.strip_suffix('s')?.split('.').next()?;
    let [hours, minutes, seconds] = [hours, minutes, seconds].map(|part| part.parse::<u64>().ok());
    Some(format!("{:02}:{:02}:{:02}", hours?, minutes?, seconds?))
}

/// Show what a project's containers use
#[derive(Args, Debug)]
pub(crate) struct StatsArgs {
    /// Show all containers, also those that do not run
    #[arg(short, long)]
    all: bool,

    /// Print in this form: table, json, or a Go template, after the word "table" with headings
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: String,

    /// Look once
    #[arg(long)]
    no_stream: bool,

    /// Show IDs in full
    #[arg(long)]
    no_trunc: bool,

    /// The service; all if none is named
    #[arg(value_name = "SERVICE")]
    service: Option<String>,
}

/// What docker shows by default, and as JSON.
const STATS_TABLE: &str = "table {{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDS}}";
const STATS_JSON: &str = "{\"BlockIO\":{{json .BlockIO}},\"CPUPerc\":{{json .CPUPerc}},\"Container\":{{json .ID}},\"ID\":{{json .ID}},\"MemPerc\":{{json .MemPerc}},\"MemUsage\":{{json .MemUsage}},\"Name\":{{json .Name}},\"NetIO\":{{json .NetIO}},\"PIDs\":{{json .PIDS}}}";

pub(crate) fn stats(session: &mut Session<'_>, args: StatsArgs) -> anyhow::Result<Exit> {
    let services: Vec<String> = args.service.into_iter().collect();
    let project = open::project_or_containers(session, &services)?;
    let mut found = open::containers(session, &project, &services, false)?;
    found.retain(|container| args.all || container.running);
    let format = match args.format.as_str() {
        "" | "table" => STATS_TABLE.to_owned(),
        "json" => STATS_JSON.to_owned(),
        other => other.replace(".PIDs", ".PIDS").replace(".Container", ".ID"),
    };
    if found.is_empty() {
        // Without names `stats` would show the containers of everybody.
        session.note(format!("no containers of project {} to show", project.name));
        return Ok(Exit::OK);
    }
    let mut words = vec!["stats".to_owned(), "--format".to_owned(), format];
    for (flag, wanted) in [("--no-stream", args.no_stream), ("--no-trunc", args.no_trunc)] {
        if wanted {
            words.push(flag.to_owned());
        }
    }
    words.extend(found.iter().map(|container| container.id.to_string()));
    open::delegate_reading(session, words)
}

/// Show what happens to a project's containers
///
/// Goes on until it is interrupted, or until the time of --until.
#[derive(Args, Debug)]
pub(crate) struct EventsArgs {
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,

    /// Begin with the events since a time or a duration ago (2026-01-02T15:04:05Z, 1795239720, 10m)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// End with the events until a time or a duration ago
    #[arg(long, value_name = "TIME")]
    until: Option<String>,

    /// Services; all if none is named
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

pub(crate) fn events(session: &mut Session<'_>, args: EventsArgs) -> anyhow::Result<()> {
    let project = open::project_or_containers(session, &args.services)?;
    let (now, zone) = (Timestamp::now(), TimeZone::system());
    let when = |text: &Option<String>| text.as_ref().map(|text| parse_when(text, now, &zone)).transpose();
    let filters = ["type=container".to_owned(), format!("label={}={}", label::PROJECT, project.name)];
    let stdout = io::stdout();
    let query = EventQuery {
        since: when(&args.since)?,
        until: when(&args.until)?,
        filters: Filters::parse(&filters, events::FILTERS)?,
        follow: true,
        outlet: Some(stdout.as_fd()),
    };
    session.engine()?;
    let escape = session.out_is_tty;
    let nothing = io::BufWriter::with_capacity(0, Box::new(io::sink()) as Box<dyn io::Write>);
    let out = RefCell::new(std::mem::replace(&mut session.out, nothing));
    let print = |event: &Event| {
        let service = event.attributes.get(label::SERVICE).cloned().unwrap_or_default();
        let is_one_off = event.attributes.get(label::ONE_OFF).is_some_and(|value| value == "True");
        if is_one_off
            || OF_PODMAN.contains(&event.status.as_str())
            || !args.services.is_empty() && !args.services.contains(&service)
        {
            return Ok(());
        }
        let line = if args.json { document(event, &service) } else { sentence(event, &zone) };
        writeln!(out.borrow_mut(), "{}", if escape { shown(&line) } else { line })
    };
    let result = session.engine()?.events(&query, print, || out.borrow_mut().flush());
    session.out = out.into_inner();
    result.map_err(of_printing)
}

/// What Docker's engine does not tell of.
const OF_PODMAN: [&str; 3] = ["init", "cleanup", "sync"];

/// What is told of a container: all but compose's own labels.
fn attributes(event: &Event) -> impl Iterator<Item = (&str, String)> {
    let code = event.container_exit_code.map(|code| ("exitCode", code.to_string()));
    let labels = event.attributes.iter().filter(|(key, _)| !key.starts_with("com.docker.compose."));
    let own = [("image", event.image.clone()), ("name", event.name.clone())];
    let more = labels.chain(&event.dockers).map(|(key, value)| (key.as_str(), value.clone()));
    code.into_iter().chain(own).chain(more)
}

/// `2026-11-21 08:58:56.359537 container die ID (image=…, name=…)`.
fn sentence(event: &Event, zone: &TimeZone) -> String {
    let time = event.time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S.%6f").to_string();
    let told: Vec<String> = attributes(event).map(|(key, value)| format!("{key}={value}")).collect();
    format!("{time} container {} {} ({})", action(event), event.id, told.join(", "))
}

fn document(event: &Event, service: &str) -> String {
    let attributes: serde_json::Map<_, _> =
        attributes(event).map(|(key, value)| (key.to_owned(), json!(value))).collect();
    json!({
        "action": action(event),
        "attributes": attributes,
        "id": event.id,
        "service": service,
        "time": event.time,
        "type": "container",
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_a_clock_s() {
        for (span, want) in [("0s", "00:00:00"), ("1m2.5s", "00:01:02"), ("12h0m59s", "12:00:59")] {
            assert_eq!(clock(span).as_deref(), Some(want));
        }
        assert_eq!(as_ps("C", "12.345".into()), "12");
    }

    #[test]
    fn events_are_told_in_docker_s_words() {
        let labels = [(label::SERVICE, "web"), ("own", "label")];
        let event = Event {
            time: "2026-11-21T08:58:56.35953797Z".parse().unwrap(),
            id: "155b".into(),
            name: "p-web-1".into(),
            image: "nginx".into(),
            attributes: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            ..Event::new("container", "died")
        };
        assert_eq!(
            sentence(&event, &TimeZone::UTC),
            "2026-11-21 08:58:56.359537 container die 155b (image=nginx, name=p-web-1, own=label)"
        );
        let told: serde_json::Value = serde_json::from_str(&document(&event, "web")).unwrap();
        assert_eq!(
            (&told["action"], &told["service"], &told["attributes"]["own"]),
            (&json!("die"), &json!("web"), &json!("label"))
        );
        let died = Event { container_exit_code: Some(3), ..event.clone() };
        assert!(sentence(&died, &TimeZone::UTC).contains("(exitCode=3, image=nginx"), "{died:?}");
        let health = Event { health_status: "healthy".into(), ..Event::new("container", "health_status") };
        assert_eq!(action(&health), "health_status: healthy");
        assert_eq!(action(&Event::new("container", "remove")), "destroy");
    }
}
