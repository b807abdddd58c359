//! `ketch compose logs`, and the output of `up`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::base::id::ContainerId;
use crate::base::time::parse_when;
use crate::cli::compose::open;
use crate::cli::session::Session;
use crate::cli::usage::UsageError;
use crate::compose::plan::Actual;
use crate::engine::logs::{ContainerLog, FollowError, Limits, Stopped};
use crate::logs::entry::Entry;
use crate::logs::reader::Query;
use crate::sys::inotify::AnyOf;
use crate::sys::signal::{SignalFd, SignalSet};

/// How lines are printed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub(super) colour: bool,
    /// The container's name before each line.
    pub(super) prefix: bool,
    pub(super) timestamps: bool,
}

/// Why following ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Followed {
    All,
    Interrupted,
    Ended(usize),
    /// What was awaited beside has come.
    Awaited,
}

/// How far the output of containers was shown: what comes after this moment is new.
pub(super) type ShownUntil = HashMap<ContainerId, Timestamp>;

/// Colours of names, one after the other, as docker compose has them.
const COLOURS: [&str; 12] = [
    "\x1b[36m", "\x1b[33m", "\x1b[32m", "\x1b[35m", "\x1b[34m", "\x1b[96m", "\x1b[93m", "\x1b[92m",
    "\x1b[95m", "\x1b[94m", "\x1b[31m", "\x1b[91m",
];

/// Show the output of a project's containers
#[derive(Args, Debug)]
pub(crate) struct LogsArgs {
    /// Go on with what comes
    #[arg(short, long)]
    follow: bool,

    /// The container of the service with this number
    #[arg(long, value_name = "NUMBER")]
    index: Option<u32>,

    /// Print without colours
    #[arg(long)]
    no_color: bool,

    /// Print without the names of containers
    #[arg(long)]
    no_log_prefix: bool,

    /// Lines since this time, or so long ago, like 42m
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// The last so many lines of each container, or all
    #[arg(short = 'n', long, value_name = "LINES", default_value = "all")]
    tail: String,

    /// Print times
    #[arg(short, long)]
    timestamps: bool,

    /// Lines until this time, or until so long ago
    #[arg(long, value_name = "TIME")]
    until: Option<String>,

    /// Services; all if none is named
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

pub(crate) fn run(session: &mut Session<'_>, args: LogsArgs) -> anyhow::Result<()> {
    let project = open::project_or_containers(session, &args.services)?;
    let mut containers = open::containers(session, &project, &args.services, false)?;
    containers.retain(|container| args.index.is_none_or(|index| index == container.number));
    let (now, zone) = (Timestamp::now(), TimeZone::system());
    let when = |text: &Option<String>| text.as_ref().map(|text| parse_when(text, now, &zone)).transpose();
    let tail =
        match args.tail.as_str() {
            "all" => None,
            text => Some(text.parse::<u64>().map_err(|_| {
                UsageError::new(format!("invalid number of lines {text:?}")).see("compose logs")
            })?),
        };
    let query = Query { tail, since: when(&args.since)?, until: when(&args.until)? };
    let style = Style {
        colour: session.out_is_tty && !args.no_color && !session.globals.project.no_colour,
        prefix: !args.no_log_prefix,
        timestamps: args.timestamps,
    };
    session.out.flush()?;
    let engine = session.engine()?;
    let mut logs: Vec<ContainerLog> = containers
        .iter()
        .map(|container| engine.log(&container.id, query, args.follow))
        .collect::<Result<_, _>>()?;
    let printer = RefCell::new(Printer::new(&containers, &project.name, style));
    if args.follow {
        let limits = Limits { until: query.until, ..Limits::default() };
        let sink = |index: usize, entry: &Entry<'_>| printer.borrow_mut().print(index, entry);
        crate::engine::logs::follow(&mut logs, limits, sink, || printer.borrow_mut().flush())
            .map_err(failed)?;
        printer.borrow_mut().finish()?;
        return Ok(());
    }
    for (index, log) in logs.iter_mut().enumerate() {
        log.read(|entry| printer.borrow_mut().print(index, entry))?;
    }
    printer.borrow_mut().finish()?;
    Ok(())
}

fn failed(err: FollowError) -> anyhow::Error {
    match err {
        FollowError::Io(err) => err.into(),
        FollowError::Engine(err) => err.into(),
    }
}

/// Shows the output of containers, from their start or from where it was `shown` on, until all have ended, or
/// one with `first_end`, or the user interrupts, or `beside` is readable.
///
/// # Errors
///
/// Reading, and writing to standard output.
pub(super) fn follow(
    session: &Session<'_>,
    containers: &[Actual],
    style: Style,
    first_end: bool,
    beside: Option<BorrowedFd<'_>>,
    shown: &mut ShownUntil,
) -> anyhow::Result<Followed> {
    let signals = SignalFd::new(&SignalSet::of(&[libc::SIGINT, libc::SIGTERM, libc::SIGHUP]))?;
    let awaited: Vec<BorrowedFd<'_>> = [Some(signals.as_fd()), beside].into_iter().flatten().collect();
    let awaited = AnyOf::new(&awaited)?;
    let engine = session.engine()?;
    let mut logs: Vec<ContainerLog> = Vec::new();
    for container in containers {
        // Only what this start has brought: an older life of the container is not of interest.
        let started = engine.container_summary(&container.id)?.status.record.map(|record| record.started);
        let since = shown.get(&container.id).copied().or(started);
        logs.push(engine.log(&container.id, Query { since, ..Query::default() }, true)?);
    }
    let project = containers.first().map(|container| container.name.as_str()).unwrap_or_default();
    let project = project.split('-').next().unwrap_or_default();
    let printer = RefCell::new(Printer::new(containers, project, style));
    let limits = Limits { until: None, interrupt: Some(awaited.as_fd()), first_end };
    let sink = |index: usize, entry: &Entry<'_>| printer.borrow_mut().print(index, entry);
    let stopped = crate::engine::logs::follow(&mut logs, limits, sink, || printer.borrow_mut().flush())
        .map_err(failed)?;
    let mut printer = printer.into_inner();
    printer.finish()?;
    for (container, last) in containers.iter().zip(&printer.last) {
        if let Some(last) = std::str::from_utf8(last).ok().and_then(|last| last.parse::<Timestamp>().ok()) {
            shown.insert(container.id.clone(), last + Duration::from_nanos(1));
        }
    }
    let followed = match stopped {
        Stopped::Done => Followed::All,
        Stopped::Interrupted if signals.read()?.is_some() => Followed::Interrupted,
        Stopped::Interrupted => Followed::Awaited,
        Stopped::Ended(index) => Followed::Ended(index),
    };
    for (index, container) in containers.iter().enumerate() {
        let ended = followed == Followed::All || followed == Followed::Ended(index);
        let phase = engine.container_summary(&container.id).map(|found| found.status.phase);
        if let Ok(phase) = phase
            && ended
            && !phase.is_running()
        {
            printer.note(index, &format!("exited with code {}", phase.exit_code()))?;
        }
    }
    Ok(followed)
}

/// Prints whole lines, each behind the name of its container.
struct Printer {
    prefixes: Vec<String>,
    style: Style,
    buffer: Vec<u8>,
    /// Lines of which the end has not come.
    partial: Vec<Vec<u8>>,
    /// The time of the last entry of each container.
    last: Vec<Vec<u8>>,
}

impl Printer {
    fn new(containers: &[Actual], project: &str, style: Style) -> Self {
        let short = |container: &Actual| {
            let start = format!("{project}-");
            container.name.strip_prefix(&start).unwrap_or(&container.name).to_owned()
        };
        let names: Vec<String> = containers.iter().map(short).collect();
        let width = names.iter().map(String::len).max().unwrap_or(0);
        let prefixes = names
            .iter()
            .enumerate()
            .map(|(index, name)| {
                let colour = COLOURS[index % COLOURS.len()];
                match (style.prefix, style.colour) {
                    (false, _) => String::new(),
                    (true, false) => format!("{name:width$}  | "),
                    (true, true) => format!("{colour}{name:width$}  | \x1b[0m"),
                }
            })
            .collect();
        let none = vec![Vec::new(); names.len()];
        Self { prefixes, style, buffer: Vec::new(), partial: none.clone(), last: none }
    }

    fn print(&mut self, index: usize, entry: &Entry<'_>) -> io::Result<()> {
        self.last[index].clear();
        self.last[index].extend_from_slice(&entry.time);
        let line = &mut self.partial[index];
        if line.is_empty() {
            line.extend_from_slice(self.prefixes[index].as_bytes());
            if self.style.timestamps {
                line.extend_from_slice(&entry.time);
                line.push(b' ');
            }
        }
        line.extend_from_slice(&entry.text);
        if entry.full {
            line.push(b'\n');
            self.buffer.append(line);
        }
        if self.buffer.len() > 64 << 10 { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(&self.buffer)?;
        out.flush()?;
        self.buffer.clear();
        Ok(())
    }

    /// Ends lines that nobody will end any more: output need not end with a line's end.
    fn finish(&mut self) -> io::Result<()> {
        for line in self.partial.iter_mut().filter(|line| !line.is_empty()) {
            line.push(b'\n');
            self.buffer.append(line);
        }
        self.flush()
    }

    /// A line of ketch's own about a container.
    fn note(&mut self, index: usize, text: &str) -> io::Result<()> {
        let name = self.prefixes[index].clone();
        let line = match name.rsplit_once("  | ") {
            Some((name, _)) => format!("{} {text}\n", name.trim_end()),
            None => return Ok(()),
        };
        let line = if self.style.colour { line.replace('\n', "\x1b[0m\n") } else { line };
        self.buffer.extend_from_slice(line.as_bytes());
        self.flush()
    }
}
