//! `ketch compose logs`, and the output of `up`.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::base::id::ContainerId;
use crate::base::stream::Stream;
use crate::base::time::parse_when;
use crate::cli::compose::open;
use crate::cli::session::Session;
use crate::cli::usage::UsageError;
use crate::compose::observe;
use crate::compose::plan::Actual;
use crate::compose::project::Project;
use crate::engine::Engine;
use crate::engine::logs::{ContainerLog, FollowError, Limits, Stopped};
use crate::logs::entry::Entry;
use crate::logs::reader::Query;
use crate::logs::watch::Watch;
use crate::sys::inotify::AnyOf;
use crate::sys::signal::SignalFd;

/// How lines are printed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub(super) colour: bool,
    /// The container's name before each line.
    pub(super) prefix: bool,
    pub(super) timestamps: bool,
    /// Nothing at all.
    pub(super) silent: bool,
    /// What containers write to their standard error goes to this command's.
    pub(super) split: bool,
    /// How wide the names are at least: those that are shown later, or not any more, count as well.
    pub(super) width: usize,
}

impl Style {
    /// With room for the names of all these containers.
    pub(super) fn wide_enough(self, containers: &[Actual], project: &str) -> Self {
        let widths = containers.iter().map(|container| short_name(&container.name, project).len());
        Self { width: widths.max().unwrap_or(0).max(self.width), ..self }
    }
}

/// Why following paused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Followed {
    /// Nothing is left to follow.
    All,
    Interrupted,
    /// A container has ended with this code, and is no longer followed.
    Ended(ContainerId, i32),
    /// A container has ended with this code, and its restart policy starts it again.
    Restarts(i32),
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
        silent: false,
        split: false,
        width: 0,
    };
    session.out.flush()?;
    if args.follow {
        return follow_all(session, &project, &args, query, style);
    }
    let containers = chosen(session, &project, &args)?;
    let engine = session.engine()?;
    let mut logs: Vec<ContainerLog> = containers
        .iter()
        .map(|container| engine.log(&container.id, query, false))
        .collect::<Result<_, _>>()?;
    let printer = RefCell::new(Printer::new(&containers, &project.name, style));
    for (index, log) in logs.iter_mut().enumerate() {
        log.read(|entry| printer.borrow_mut().print(index, entry))?;
    }
    printer.borrow_mut().finish()?;
    Ok(())
}

/// The containers that `logs` is about, as they are now.
fn chosen(session: &Session<'_>, project: &Project, args: &LogsArgs) -> anyhow::Result<Vec<Actual>> {
    let mut containers = open::containers(session, project, &args.services, false)?;
    containers.retain(|container| args.index.is_none_or(|index| index == container.number));
    Ok(containers)
}

/// Shows what there is and what comes, also of containers that are started meanwhile, until none runs any more.
fn follow_all(
    session: &Session<'_>,
    project: &Project,
    args: &LogsArgs,
    query: Query,
    style: Style,
) -> anyhow::Result<()> {
    let news = session.engine()?.watch_events();
    let mut shown = ShownUntil::new();
    let mut over: BTreeSet<ContainerId> = BTreeSet::new();
    let mut queried = Some(query);
    loop {
        let mut containers = chosen(session, project, args)?;
        containers.retain(|container| container.running || !over.contains(&container.id));
        let mut followed: BTreeSet<ContainerId> = containers.iter().map(|c| c.id.clone()).collect();
        over.retain(|id| !followed.contains(id));
        let mut following = Following::new(session, project, &containers, style, &shown, queried.take())?;
        following.until = query.until;
        loop {
            match following.follow(None, news.as_ref().map(AsFd::as_fd))? {
                Followed::Ended(id, _) => {
                    followed.remove(&id);
                    over.insert(id);
                }
                Followed::Restarts(_) => {}
                Followed::All | Followed::Interrupted => return Ok(()),
                Followed::Awaited => {
                    news.as_ref().map_or(Ok(()), Watch::clear)?;
                    let now = chosen(session, project, args)?;
                    if now.iter().any(|container| container.running && !followed.contains(&container.id)) {
                        break;
                    }
                }
            }
        }
        following.close(&mut shown)?;
    }
}

fn failed(err: FollowError) -> anyhow::Error {
    match err {
        FollowError::Io(err) => err.into(),
        FollowError::Engine(err) => err.into(),
    }
}

/// The output of containers, from their start or from where it was shown on.
pub(super) struct Following<'a> {
    engine: &'a Engine,
    printer: RefCell<Printer>,
    /// Those that have not ended, and their places among the containers.
    logs: Vec<ContainerLog>,
    places: Vec<usize>,
    ids: Vec<ContainerId>,
    /// Nothing recorded after this is waited for.
    until: Option<Timestamp>,
}

impl<'a> Following<'a> {
    /// Of what was recorded before, what `query` says; without one, what comes after what was `shown`.
    ///
    /// # Errors
    ///
    /// Logs that cannot be read.
    pub(super) fn new(
        session: &'a Session<'_>,
        project: &Project,
        containers: &[Actual],
        style: Style,
        shown: &ShownUntil,
        query: Option<Query>,
    ) -> anyhow::Result<Self> {
        let engine = session.engine()?;
        let mut logs: Vec<ContainerLog> = Vec::new();
        for container in containers {
            // Only what this start has brought: an older life of the container is not of interest.
            let started = engine.container_summary(&container.id)?.status.record.map(|record| record.started);
            let since = shown.get(&container.id).copied().or(started);
            let query = query.unwrap_or(Query { since, ..Query::default() });
            logs.push(engine.log(&container.id, query, true)?);
        }
        let printer = RefCell::new(Printer::new(containers, &project.name, style));
        let ids = containers.iter().map(|container| container.id.clone()).collect();
        Ok(Self { engine, printer, logs, places: (0..containers.len()).collect(), ids, until: None })
    }

    /// Shows the output until a container has ended, or a signal or what is awaited `beside` has come.
    ///
    /// # Errors
    ///
    /// Reading, and writing to standard output.
    pub(super) fn follow(
        &mut self,
        signals: Option<&SignalFd>,
        beside: Option<BorrowedFd<'_>>,
    ) -> anyhow::Result<Followed> {
        let awaited: Vec<BorrowedFd<'_>> = [signals.map(AsFd::as_fd), beside].into_iter().flatten().collect();
        let awaited = AnyOf::new(&awaited)?;
        let limits =
            Limits { until: self.until, interrupt: Some(awaited.as_fd()), first_end: true, outlet: None };
        loop {
            if self.logs.is_empty() {
                self.printer.borrow_mut().finish()?;
                return Ok(Followed::All);
            }
            match self.read(limits)? {
                Stopped::Interrupted if signals.map_or(Ok(None), SignalFd::read)?.is_some() => {
                    return Ok(Followed::Interrupted);
                }
                Stopped::Interrupted => return Ok(Followed::Awaited),
                Stopped::Ended(at) => {
                    let (id, code) = self.ended(at)?;
                    return Ok(Followed::Ended(id, code));
                }
                Stopped::LifeEnded(at, code) if self.lives_on(at, code)? => {
                    return Ok(Followed::Restarts(code));
                }
                Stopped::LifeEnded(..) => {}
                Stopped::Done => {
                    self.printer.borrow_mut().finish()?;
                    return Ok(Followed::All);
                }
            }
        }
    }

    /// Tells of the end of a life, if another one follows; the end of the last one is told as that of the container.
    fn lives_on(&mut self, at: usize, code: i32) -> io::Result<bool> {
        let place = self.places[at];
        let now = self.engine.container_summary(&self.ids[place]);
        let lives_on = now.is_ok_and(|now| now.will_restart() || now.status.phase.is_running());
        if lives_on {
            self.printer.borrow_mut().end(place, &format!("exited with code {code}"))?;
        }
        Ok(lives_on)
    }

    fn read(&mut self, limits: Limits<'_>) -> anyhow::Result<Stopped> {
        let (printer, places) = (&self.printer, &self.places);
        let sink = |at: usize, entry: &Entry<'_>| printer.borrow_mut().print(places[at], entry);
        let stdout = io::stdout();
        let limits = Limits { outlet: Some(stdout.as_fd()), ..limits };
        crate::engine::logs::follow(&mut self.logs, limits, sink, || printer.borrow_mut().flush())
            .map_err(failed)
    }

    fn ended(&mut self, at: usize) -> io::Result<(ContainerId, i32)> {
        self.logs.remove(at);
        let place = self.places.remove(at);
        let id = self.ids[place].clone();
        // One that is removed at its end has nobody who knows its code any more.
        let found = self.engine.container_summary(&id);
        let code = found.map_or(0, |found| found.status.exit_code());
        self.printer.borrow_mut().end(place, &format!("exited with code {code}"))?;
        Ok((id, code))
    }

    /// Shows what the containers have still written, which have been stopped.
    ///
    /// # Errors
    ///
    /// Reading, and writing to standard output.
    pub(super) fn rest(&mut self) -> anyhow::Result<()> {
        let engine = self.engine;
        let is_over =
            |id: &ContainerId| engine.container_summary(id).is_ok_and(|found| !observe::is_running(&found));
        while !self.logs.is_empty() && self.places.iter().all(|place| is_over(&self.ids[*place])) {
            let limits = Limits { until: None, interrupt: None, first_end: true, outlet: None };
            match self.read(limits)? {
                Stopped::Ended(at) => drop(self.ended(at)?),
                Stopped::LifeEnded(..) => {}
                Stopped::Interrupted | Stopped::Done => break,
            }
        }
        Ok(self.printer.borrow_mut().finish()?)
    }

    /// Shows what there is now, and what comes within a time, or until a container ends: its exit code then.
    ///
    /// # Errors
    ///
    /// Reading, and writing to standard output.
    pub(super) fn glance(&mut self, time: Duration) -> anyhow::Result<Option<(ContainerId, i32)>> {
        if self.logs.is_empty() {
            std::thread::sleep(time);
            return Ok(None);
        }
        let limits =
            Limits { until: Some(Timestamp::now() + time), interrupt: None, first_end: true, outlet: None };
        match self.read(limits)? {
            Stopped::Ended(at) => Ok(Some(self.ended(at)?)),
            Stopped::LifeEnded(at, code) => self.lives_on(at, code).map(|_| None).map_err(Into::into),
            Stopped::Interrupted | Stopped::Done => Ok(None),
        }
    }

    /// Ends lines that have not ended, and notes how far the output was shown.
    ///
    /// # Errors
    ///
    /// Writing to standard output.
    pub(super) fn close(self, shown: &mut ShownUntil) -> io::Result<()> {
        let mut printer = self.printer.into_inner();
        printer.finish()?;
        for (id, last) in self.ids.into_iter().zip(&printer.last) {
            let last = std::str::from_utf8(last).ok().and_then(|last| last.parse::<Timestamp>().ok());
            shown.extend(last.map(|last| (id, last + Duration::from_nanos(1))));
        }
        Ok(())
    }
}

/// Prints whole lines, each behind the name of its container.
struct Printer {
    names: Vec<String>,
    prefixes: Vec<String>,
    style: Style,
    buffer: Vec<u8>,
    /// What goes to standard error; at most one of both holds something.
    errors: Vec<u8>,
    /// Lines of which the end has not come, of either stream.
    partial: Vec<[Vec<u8>; 2]>,
    /// The time of the last entry of each container.
    last: Vec<Vec<u8>>,
}

impl Printer {
    fn new(containers: &[Actual], project: &str, style: Style) -> Self {
        let names: Vec<String> =
            containers.iter().map(|container| short_name(&container.name, project).to_owned()).collect();
        let width = style.wide_enough(containers, project).width;
        let prefixes = names
            .iter()
            .enumerate()
            .map(|(index, name)| match (style.prefix, style.colour) {
                (false, _) => String::new(),
                (true, false) => format!("{name:width$}  | "),
                (true, true) => format!("{}{name:width$}  | \x1b[0m", colour(index)),
            })
            .collect();
        let partial = vec![Default::default(); names.len()];
        let last = vec![Vec::new(); names.len()];
        Self { names, prefixes, style, buffer: Vec::new(), errors: Vec::new(), partial, last }
    }

    fn print(&mut self, index: usize, entry: &Entry<'_>) -> io::Result<()> {
        self.last[index].clear();
        self.last[index].extend_from_slice(&entry.time);
        if self.style.silent {
            return Ok(());
        }
        let is_error = self.style.split && entry.stream == Stream::Stderr;
        let line = &mut self.partial[index][usize::from(is_error)];
        if line.is_empty() {
            line.extend_from_slice(self.prefixes[index].as_bytes());
            if self.style.timestamps {
                line.extend_from_slice(&entry.time);
                line.push(b' ');
            }
        }
        line.extend_from_slice(&entry.text);
        if entry.full {
            let line = std::mem::take(line);
            self.add(is_error, &line)?;
        }
        if self.buffer.len() + self.errors.len() > 64 << 10 { self.flush() } else { Ok(()) }
    }

    /// Adds a line to one of both outputs; what the other one holds came before it.
    fn add(&mut self, is_error: bool, line: &[u8]) -> io::Result<()> {
        let other = if is_error { &self.buffer } else { &self.errors };
        if !other.is_empty() {
            self.flush()?;
        }
        let own = if is_error { &mut self.errors } else { &mut self.buffer };
        own.extend_from_slice(line);
        if !line.ends_with(b"\n") {
            own.push(b'\n');
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(&self.buffer)?;
        out.flush()?;
        io::stderr().write_all(&self.errors).ok();
        self.buffer.clear();
        self.errors.clear();
        Ok(())
    }

    /// Ends lines that nobody will end any more: output need not end with a line's end.
    fn finish(&mut self) -> io::Result<()> {
        (0..self.partial.len()).try_for_each(|index| self.end_lines(index))?;
        self.flush()
    }

    fn end_lines(&mut self, index: usize) -> io::Result<()> {
        let [out, errors] = std::mem::take(&mut self.partial[index]);
        for (is_error, line) in [(false, out), (true, errors)] {
            if !line.is_empty() {
                self.add(is_error, &line)?;
            }
        }
        Ok(())
    }

    /// The end of a container, told in a line of ketch's own.
    fn end(&mut self, index: usize, text: &str) -> io::Result<()> {
        if self.style.silent {
            return Ok(());
        }
        self.end_lines(index)?;
        let (colour, plain) = if self.style.colour { (colour(index), "\x1b[0m") } else { ("", "") };
        let line = format!("{colour}{} {text}{plain}\n", self.names[index]);
        self.add(false, line.as_bytes())?;
        self.flush()
    }
}

/// The name of a container without its project's.
pub(super) fn short_name<'a>(name: &'a str, project: &str) -> &'a str {
    name.strip_prefix(project).and_then(|rest| rest.strip_prefix('-')).unwrap_or(name)
}

/// The colour of a container's name.
fn colour(index: usize) -> &'static str {
    COLOURS[index % COLOURS.len()]
}
