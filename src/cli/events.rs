//! `ketch events`: tells what has happened, and what happens.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::base::image_ref::NameRule;
use crate::base::order::InOrder as _;
use crate::base::time::{go_string, parse_when, parse_when_ahead};
use crate::cli::error::{of_printing, shown};
use crate::cli::format::{Format, Shape, render_row};
use crate::cli::session::Session;
use crate::documents::event;
use crate::engine::events::{self, Event, EventQuery};
use crate::engine::filter::Filters;

/// Show what happens to containers, images, volumes and networks
///
/// Goes on until it is interrupted, or until the time of --until; with --stream=false only the past is shown.
#[derive(Args, Debug)]
pub(crate) struct EventsArgs {
    /// Show only events for which this holds (can be repeated)
    ///
    /// Keys: container, event (also called status), image, label, network, pod, type, volume.
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,

    /// Print in this form: json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,

    /// Print whole IDs
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    no_trunc: bool,

    /// Begin with the events since a time or a duration ago (2026-01-02T15:04:05Z, 1795239720, 10m)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// Wait for further events
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    stream: bool,

    /// End with the events until a time or a duration ago; without --since, in a duration from now
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

const SHAPE: Shape =
    Shape { command: "events", type_name: "*events.Event", headers: &[], omit: &["Details"], heading: false };

/// A filter whose key may be written in any case, as with podman.
fn key_in_small(filter: &str) -> String {
    match filter.split_once('=') {
        Some((key, value)) => format!("{}={value}", key.to_ascii_lowercase()),
        None => filter.to_owned(),
    }
}

/// Runs the verb.
pub(crate) fn run(session: &mut Session<'_>, args: EventsArgs) -> anyhow::Result<()> {
    let format = args.format.as_deref().map(|text| Format::parse(text, &SHAPE)).transpose()?;
    let (now, zone) = (Timestamp::now(), TimeZone::system());
    // Who waits for events, and asks for none of the past, means what is still to come, as with `logs --follow`.
    let ahead = args.stream && args.since.is_none();
    let parse_until = if ahead { parse_when_ahead } else { parse_when };
    let stdout = io::stdout();
    let query = EventQuery {
        outlet: Some(stdout.as_fd()),
        since: args.since.as_ref().map(|text| parse_when(text, now, &zone)).transpose()?,
        until: args.until.as_ref().map(|text| parse_until(text, now, &zone)).transpose()?,
        filters: Filters::parse(
            &args.filter.iter().map(|text| key_in_small(text)).collect::<Vec<_>>(),
            events::FILTERS,
        )?,
        follow: args.stream,
    };
    session.engine()?;
    let (escape, names) = (session.out_is_tty, session.name_rule());
    let as_docker = session.lists_as_docker(format.as_ref())?;
    let out = std::cell::RefCell::new(std::mem::replace(
        &mut session.out,
        io::BufWriter::with_capacity(0, Box::new(io::sink())),
    ));
    let engine = session.engine()?;
    let is_docker = names == NameRule::Docker;
    let mut dockers = event::Dockers::default();
    let print = |event: &Event| {
        if is_docker && !dockers.tell(event) {
            return Ok(());
        }
        let fields = || match is_docker {
            true => event::dockers_fields(engine, event),
            false => event::fields(event, names),
        };
        let line = match &format {
            None if is_docker => dockers_line(&fields(), event.time, &zone),
            None => human(event, args.no_trunc, &zone),
            Some(_) if as_docker => event::document(&fields()).to_string(),
            Some(Format::Json) => document(event).to_string(),
            Some(template) => {
                let text = render_row(template, &fields(), &SHAPE, escape).map_err(io::Error::other)?;
                return out.borrow_mut().write_all(text.as_bytes());
            }
        };
        let line = if escape { shown(&line) } else { line };
        writeln!(out.borrow_mut(), "{line}")
    };
    let outcome = engine.events(&query, print, || out.borrow_mut().flush());
    session.out = out.into_inner();
    outcome.map_err(of_printing)
}

/// One line in docker's form: `TIME TYPE ACTION ID (KEY=VALUE, …)`.
fn dockers_line(row: &Value, time: Timestamp, zone: &TimeZone) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let attributes = row["Actor"]["Attributes"].as_object();
    let mut attributes: Vec<String> =
        attributes.into_iter().flatten().map(|(key, value)| format!("{key}={}", text(value))).collect();
    attributes.order();
    let attributes =
        if attributes.is_empty() { String::new() } else { format!(" ({})", attributes.join(", ")) };
    let time = time.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S.%9f%:z");
    format!(
        "{time} {} {} {}{attributes}",
        text(&row["Type"]),
        text(&row["Action"]),
        text(&row["Actor"]["ID"])
    )
}

/// One line for people, in podman's words.
fn human(event: &Event, whole: bool, zone: &TimeZone) -> String {
    let Event { kind, status, name, image, .. } = event;
    let id = if whole { event.id.as_str() } else { event.id.get(..12).unwrap_or(&event.id) };
    let mut line = format!("{} {kind} {status}", go_string(event.time, zone));
    // Writing to a String cannot fail.
    let mut add = |part: std::fmt::Arguments<'_>| line.write_fmt(part).unwrap_or_default();
    match kind.as_str() {
        "container" => {
            add(format_args!(" {id} (image={image}, name={name}"));
            if !event.health_status.is_empty() {
                let streak = event.health_failing_streak.unwrap_or_default();
                add(format_args!(", health_status={}, health_failing_streak={streak}", event.health_status));
                add(format_args!(", health_log={}", event.health_log));
            }
            for (key, value) in &event.attributes {
                add(format_args!(", {key}={value}"));
            }
            add(format_args!(")"));
        }
        "network" if matches!(status.as_str(), "create" | "remove") => {
            let driver = event.attributes.get("driver").map_or("", String::as_str);
            add(format_args!(" {id} (name={}, type={driver})", event.network));
        }
        "network" => add(format_args!(" {id} (container={id}, name={})", event.network)),
        "image" => add(format_args!(" {id} {name}")),
        "system" if name.is_empty() => {}
        "secret" => add(format_args!(" {id}")),
        _ => add(format_args!(" {name}")),
    }
    if !event.error.is_empty() {
        add(format_args!(" {}", event.error));
    }
    line
}

/// The object of `--format json`, with podman's names.
fn document(event: &Event) -> Value {
    let mut document = json!({});
    let texts = [
        ("ID", &event.id),
        ("Image", &event.image),
        ("Name", &event.name),
        ("Status", &event.status),
        ("Type", &event.kind),
        ("health_status", &event.health_status),
        ("network", &event.network),
        ("Error", &event.error),
    ];
    if let Some(code) = event.container_exit_code {
        document["ContainerExitCode"] = json!(code);
    }
    for (key, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        document[key] = json!(text);
    }
    document["time"] = json!(event.time.as_second());
    document["timeNano"] = json!(event::nanoseconds(event));
    document["Attributes"] = match event.attributes.is_empty() && event.kind != "container" {
        true => Value::Null,
        false => json!(event.attributes),
    };
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, status: &str) -> Event {
        Event {
            time: "2026-11-21T08:58:56.35953797Z".parse().unwrap(),
            id: "155b2fe73cda8ea9c0b2b03bf3ae30e4".into(),
            ..Event::new(kind, status)
        }
    }

    #[test]
    fn lines_for_people() {
        let container = Event {
            name: "a".into(),
            image: "localhost/bb:latest".into(),
            attributes: [("k".to_owned(), "v".to_owned())].into(),
            ..event("container", "attach")
        };
        let sick = Event {
            health_status: "unhealthy".into(),
            health_failing_streak: Some(3),
            attributes: [].into(),
            ..container.clone()
        };
        let network = Event {
            network: "n".into(),
            attributes: [("driver".to_owned(), "bridge".to_owned())].into(),
            ..event("network", "create")
        };
        let volume = Event { name: "v".into(), ..event("volume", "remove") };
        for (event, want) in [
            (container, "container attach 155b2fe73cda (image=localhost/bb:latest, name=a, k=v)"),
            (
                sick,
                "container attach 155b2fe73cda (image=localhost/bb:latest, name=a, health_status=unhealthy, \
                 health_failing_streak=3, health_log=)",
            ),
            (network, "network create 155b2fe73cda (name=n, type=bridge)"),
            (volume, "volume remove v"),
            (event("system", "refresh"), "system refresh"),
        ] {
            let time = "2026-11-21 08:58:56.35953797 +0000 UTC";
            assert_eq!(human(&event, false, &TimeZone::UTC), format!("{time} {want}"));
        }
    }

    #[test]
    fn documents_have_podman_s_keys() {
        let died = Event { container_exit_code: Some(0), ..event("container", "died") };
        let document = document(&died);
        assert_eq!(document["ContainerExitCode"], 0);
        assert_eq!(document["timeNano"], 1_795_251_536_359_537_970_i64);
        assert_eq!(document["Attributes"], json!({}));
        assert!(document.get("Name").is_none());
    }
}
