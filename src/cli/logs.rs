//! `ketch logs`: shows what containers have written.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::base::id::ContainerId;
use crate::base::stream::Stream;
use crate::base::time::{parse_when, parse_when_ahead};
use crate::cli::session::Session;
use crate::cli::targets::{Latest, Selection};
use crate::cli::usage::UsageError;
use crate::engine;
use crate::engine::logs::{Limits, follow};
use crate::logs::entry::Entry;
use crate::logs::reader::Query;

/// Fetch the logs of one or more containers
///
/// Standard output and standard error of a container go to those of this command, byte for byte. With
/// several containers each line begins with the container's ID or name.
#[derive(Args, Debug)]
pub(crate) struct LogsArgs {
    /// Containers to show, by name or ID (can be repeated)
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,

    /// Show each of several containers in a colour of its own
    #[arg(long)]
    color: bool,

    /// Begin each line with what `--log-opt tag`, labels and env have put into the log
    #[arg(long)]
    details: bool,

    /// Go on showing what is written, until the containers have ended
    #[arg(short, long)]
    follow: bool,

    #[command(flatten)]
    latest: Latest,

    /// Begin lines of several containers with their names instead of their IDs
    ///
    /// With a number behind it, as docker has it: show this many lines from the end.
    #[arg(short, long)]
    names: bool,

    /// Begin each line with the time it was written
    #[arg(short, long)]
    timestamps: bool,

    #[command(flatten)]
    when: When,
}

/// Which part of a log.
#[derive(Args, Debug)]
pub(crate) struct When {
    /// Show what was written since a time or a duration ago (2026-01-02T15:04:05Z, 1795239720, 10m)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// Show this many lines from the end; all, or a negative number, shows everything
    #[arg(long, value_name = "LINES", default_value = "-1", allow_hyphen_values = true)]
    tail: String,

    /// Show what was written until a time or a duration ago
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

/// How logs are shown.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) query: Query,
    /// Go on until the containers have ended.
    pub(crate) follow: bool,
    /// Lines begin with the container they are of.
    pub(crate) labelled: bool,
    /// By its name, not its ID.
    pub(crate) names: bool,
    pub(crate) color: bool,
    pub(crate) timestamps: bool,
    pub(crate) details: bool,
}

/// Runs the verb.
pub(crate) fn run(session: &mut Session<'_>, args: LogsArgs) -> anyhow::Result<()> {
    let args = with_dockers_tail(session, args)?;
    let query = args.when.query(args.follow)?;
    let targets = Selection::of_names(&args.containers, &args.latest).targets(session)?;
    let ids = targets.into_iter().map(|target| target.id).collect::<engine::Result<Vec<_>>>()?;
    let several = ids.len() > 1;
    let view = View {
        query,
        follow: args.follow,
        labelled: several,
        names: args.names,
        color: args.color && several,
        timestamps: args.timestamps,
        details: args.details,
    };
    show(session, &ids, &view)
}

/// Shows the logs of containers.
///
/// # Errors
///
/// For a log that cannot be read; if what is read cannot be written.
pub(crate) fn show(session: &mut Session<'_>, ids: &[ContainerId], view: &View) -> anyhow::Result<()> {
    let query = view.query;
    let mut logs = Vec::new();
    let mut labels = Vec::new();
    for id in ids {
        let engine = session.engine()?;
        labels.push(match (view.labelled, view.names) {
            (false, _) => String::new(),
            (true, true) => engine.container_name(id)?,
            (true, false) => id.short().to_owned(),
        });
        logs.push(engine.log(id, query, view.follow)?);
    }
    session.out.flush()?;
    let decoration =
        Decoration { labels, color: view.color, timestamps: view.timestamps, details: view.details };
    let mut printer = Printer::new(decoration)?;
    if view.follow {
        let printer = std::cell::RefCell::new(printer);
        let stdout = io::stdout();
        follow(
            &mut logs,
            Limits { until: query.until, outlet: Some(stdout.as_fd()), ..Limits::default() },
            |index, entry| printer.borrow_mut().print(index, entry),
            || printer.borrow_mut().flush(),
        )
        .map_err(|err| match err {
            crate::engine::logs::FollowError::Io(err) => anyhow::Error::from(err),
            crate::engine::logs::FollowError::Engine(err) => err.into(),
        })?;
        return Ok(printer.into_inner().finish()?);
    }
    for (index, log) in logs.iter_mut().enumerate() {
        log.read(|entry| printer.print(index, entry))?;
    }
    Ok(printer.finish()?)
}

/// Docker's `-n LINES`, which is podman's `-n` and a container: a short number beside the container is a number of
/// lines unless a container has that name.
fn with_dockers_tail(session: &mut Session<'_>, mut args: LogsArgs) -> anyhow::Result<LogsArgs> {
    const DIGITS: usize = 9; // with more it may be the beginning of an ID
    if !args.names || args.containers.len() < 2 {
        return Ok(args);
    }
    let is_number =
        |word: &String| word == "all" || word.len() <= DIGITS && word.bytes().all(|c| c.is_ascii_digit());
    let Some(at) = args.containers.iter().position(is_number) else { return Ok(args) };
    let word = &args.containers[at];
    let engine = session.engine()?;
    let is_name =
        engine.container(word).is_ok_and(|id| engine.container_name(&id).is_ok_and(|name| name == *word));
    if !is_name {
        args.when.tail = args.containers.remove(at);
        args.names = false;
    }
    Ok(args)
}

/// Docker's `-nLINES` and `-n=LINES`, also behind other letters (`-fn100`), as `--tail`; where docker was called, `-n LINES`, too.
pub(super) fn split_tail(args: &[OsString], is_docker: bool) -> Vec<OsString> {
    let mut split = Vec::with_capacity(args.len() + 1);
    let mut words = args.iter().enumerate();
    while let Some((at, arg)) = words.next() {
        if arg == "--" {
            split.extend_from_slice(&args[at..]);
            break;
        }
        let letters = arg.to_str().and_then(|word| word.strip_prefix('-')?.strip_suffix('n'));
        if let Some(letters) = letters.filter(|letters| is_docker && are_switches(letters))
            && let Some((_, lines)) = words.next()
        {
            split.extend((!letters.is_empty()).then(|| format!("-{letters}").into()));
            split.extend(["--tail".into(), lines.clone()]);
            continue;
        }
        match arg.to_str().and_then(joined_tail) {
            Some((letters, lines)) => {
                split.extend((!letters.is_empty()).then(|| format!("-{letters}").into()));
                split.push(format!("--tail={lines}").into());
            }
            None => split.push(arg.clone()),
        }
    }
    split
}

/// The letters before the `n`, and the number behind it.
fn joined_tail(word: &str) -> Option<(&str, &str)> {
    let (letters, lines) = word.strip_prefix('-')?.split_once('n')?;
    let lines = lines.strip_prefix('=').unwrap_or(lines);
    let is_lines = lines == "all" || lines.parse::<i64>().is_ok();
    (is_lines && are_switches(letters)).then_some((letters, lines))
}

/// Letters that take no value.
fn are_switches(letters: &str) -> bool {
    letters.bytes().all(|letter| matches!(letter, b'f' | b'l' | b't'))
}

impl When {
    /// The part of the log of one who follows it, or not.
    ///
    /// # Errors
    ///
    /// For what is no time, or no number.
    pub(crate) fn query(&self, follow: bool) -> anyhow::Result<Query> {
        let (now, zone) = (Timestamp::now(), TimeZone::system());
        // Whoever follows means what is still to come, as podman does and docker's manual shows.
        let parse_until = if follow { parse_when_ahead } else { parse_when };
        let since = self.since.as_ref().map(|text| parse_when(text, now, &zone)).transpose()?;
        let until = self.until.as_ref().map(|text| parse_until(text, now, &zone)).transpose()?;
        Ok(Query { tail: tail(&self.tail)?, since, until })
    }
}

/// Reads `--tail`; `None` means everything.
fn tail(text: &str) -> Result<Option<u64>, UsageError> {
    if text == "all" {
        return Ok(None);
    }
    match text.parse::<i64>() {
        Ok(count) => Ok(u64::try_from(count).ok()),
        Err(_) => Err(UsageError::new(format!("invalid number of lines {text:?}: give a number or all"))),
    }
}

/// What lines begin with.
#[derive(Debug)]
struct Decoration {
    /// One for each log; empty for none.
    labels: Vec<String>,
    color: bool,
    timestamps: bool,
    details: bool,
}

/// Colours of labels, one after the other.
const COLORS: [&str; 7] =
    ["\x1b[37m", "\x1b[31m", "\x1b[33m", "\x1b[34m", "\x1b[35m", "\x1b[36m", "\x1b[32m"];
/// Output is written when this much has gathered.
const BUFFER: usize = 256 * 1024;
/// A line that is longer than this is not kept together with others' lines any more.
const MAX_LINE: usize = 1 << 20;

/// Writes entries to standard output and standard error, in order and in large pieces.
struct Printer {
    decoration: Decoration,
    /// True if lines are printed as they are.
    plain: bool,
    files: [File; 2],
    /// What waits to be written, all for the stream `current`.
    buffer: Vec<u8>,
    current: Stream,
    /// Lines of which the end has not come, for each log and stream; unused if lines are plain.
    partial: Vec<[Vec<u8>; 2]>,
}

impl Printer {
    fn new(decoration: Decoration) -> io::Result<Self> {
        let plain = !decoration.timestamps
            && !decoration.details
            && !decoration.color
            && decoration.labels.iter().all(String::is_empty);
        let files = [
            File::from(io::stdout().as_fd().try_clone_to_owned()?),
            File::from(io::stderr().as_fd().try_clone_to_owned()?),
        ];
        let partial = decoration.labels.iter().map(|_| Default::default()).collect();
        Ok(Self {
            decoration,
            plain,
            files,
            buffer: Vec::with_capacity(BUFFER + (64 << 10)),
            current: Stream::Stdout,
            partial,
        })
    }

    fn print(&mut self, log: usize, entry: &Entry<'_>) -> io::Result<()> {
        if entry.stream != self.current {
            self.flush()?;
            self.current = entry.stream;
        }
        if self.plain {
            self.buffer.extend_from_slice(&entry.text);
            if entry.full {
                self.buffer.push(b'\n');
            }
        } else {
            self.print_decorated(log, entry);
        }
        if self.buffer.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    fn print_decorated(&mut self, log: usize, entry: &Entry<'_>) {
        let line = &mut self.partial[log][entry.stream as usize];
        if line.is_empty() {
            self.decoration.begin(log, entry, line);
        }
        line.extend_from_slice(&entry.text);
        if entry.full || line.len() > MAX_LINE {
            self.decoration.end(line);
            self.buffer.append(line);
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.files[self.current as usize].write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    /// Writes everything, lines without an end as well.
    fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        for mut lines in std::mem::take(&mut self.partial) {
            for (stream, line) in [Stream::Stdout, Stream::Stderr].into_iter().zip(&mut lines) {
                if !line.is_empty() {
                    self.decoration.end(line);
                    self.files[stream as usize].write_all(line)?;
                }
            }
        }
        Ok(())
    }
}

impl Decoration {
    fn begin(&self, log: usize, entry: &Entry<'_>, line: &mut Vec<u8>) {
        let time = &*entry.time;
        if self.color {
            line.extend_from_slice(COLORS[log % COLORS.len()].as_bytes());
        }
        if !self.labels[log].is_empty() {
            line.extend_from_slice(self.labels[log].as_bytes());
            line.push(b' ');
        }
        if self.timestamps {
            // As Go prints it: UTC is Z.
            match time.strip_suffix(b"+00:00") {
                Some(utc) => line.extend_from_slice(&[utc, b"Z"].concat()),
                None => line.extend_from_slice(time),
            }
            line.push(b' ');
        }
        if self.details && !entry.details.is_empty() {
            line.extend_from_slice(&entry.details);
            line.push(b' ');
        }
    }

    fn end(&self, line: &mut Vec<u8>) {
        line.extend_from_slice(if self.color { b"\x1b[0m\n" } else { b"\n" });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails() {
        for (text, want) in [
            ("-1", Some(None)),
            ("all", Some(None)),
            ("0", Some(Some(0))),
            ("12", Some(Some(12))),
            ("x", None),
        ] {
            assert_eq!(tail(text).ok(), want, "{text}");
        }
    }

    #[test]
    fn joined_tails() {
        for (typed, want) in [
            ("-n1 web", "--tail=1 web"),
            ("web -n=20", "web --tail=20"),
            ("-fn100 web", "-f --tail=100 web"),
            ("-tfnall", "-tf --tail=all"),
            ("-n 1 web", "-n 1 web"),
            ("-fn web", "-fn web"),
            ("-nf --names -- -n1", "-nf --names -- -n1"),
        ] {
            let words: Vec<OsString> = typed.split(' ').map(OsString::from).collect();
            assert_eq!(split_tail(&words, false).join(" ".as_ref()), want, "{typed}");
        }
    }

    #[test]
    fn decorations() {
        let entry = Entry {
            time: b"2026-01-01T00:00:00.000000000+00:00".into(),
            stream: Stream::Stdout,
            full: true,
            text: b"text".into(),
            details: b"tag=x".into(),
        };
        for (label, color, timestamps, want) in [
            ("web", false, false, "web text\n"),
            ("web", false, true, "web 2026-01-01T00:00:00.000000000Z text\n"),
            ("", false, true, "2026-01-01T00:00:00.000000000Z text\n"),
            ("web", true, false, "\x1b[37mweb text\x1b[0m\n"),
        ] {
            let decoration = Decoration { labels: vec![label.to_owned()], color, timestamps, details: false };
            let mut line = Vec::new();
            decoration.begin(0, &entry, &mut line);
            line.extend_from_slice(b"text");
            decoration.end(&mut line);
            assert_eq!(String::from_utf8(line).unwrap(), want);
        }
    }
}
