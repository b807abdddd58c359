//! What a build shows while it goes on.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::base::digest::Digest;
use crate::base::dockerfile::check::Warning;
use crate::base::stream::Stream;
use crate::cli::NAME;
use crate::cli::error::shown;
use crate::cli::progress::Progress;
use crate::engine::build::request::{BuildEvent, StepName};
use crate::engine::{Error, Result};

/// Lines of output that are shown of a step that has failed, where its output was not shown before.
const TAIL: usize = 40;

/// Lines that are shown of a step that runs, and how much of each.
const LINES: usize = 6;
const LINE: usize = 72;

/// The form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Quiet,
    /// podman's lines.
    Plain,
    /// BuildKit's lines.
    BuildKit,
    /// Running steps at the bottom of the terminal.
    Live,
    /// A JSON object per line.
    Json,
}

/// Shows one build.
pub(super) struct Show {
    mode: Mode,
    pull: Progress,
    log: Option<File>,
    running: HashMap<usize, Running>,
    bars: Option<MultiProgress>,
    /// The line above the steps, and how many of them it counts.
    head: Option<ProgressBar>,
    begun: usize,
    done: usize,
    /// BuildKit's lines: the number that the last step got.
    number: usize,
    /// What could be written better, to be said at the end.
    /// The last stage among several, until it is told that the image is written.
    of_last: String,
    remarks: Vec<String>,
    /// The step that has failed: its serial, and what has happened to its process.
    failure: Option<(usize, String)>,
}

/// A step that has begun.
struct Running {
    /// What BuildKit's lines call it.
    number: usize,
    begun: Instant,
    started: Timestamp,
    bar: Option<ProgressBar>,
    title: String,
    /// The end of its output.
    tail: Vec<u8>,
    /// The end of a line that is still being written.
    rest: Vec<u8>,
}

impl Show {
    /// Shows a build that `builder` does, in a log file if one is named.
    pub(super) fn new(mode: Mode, log: Option<&Path>, builder: &str) -> Result<Self> {
        // Several builds share a log.
        let create = |path: &Path| {
            let file = File::options().append(true).create(true).open(path);
            file.map_err(|err| Error::system(format!("open {}", path.display()), err))
        };
        let bars =
            (mode == Mode::Live).then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        let head = bars.as_ref().map(|all| {
            let bar = all.add(spinner("[+] Building {elapsed} {msg}"));
            bar.set_message("(0/0)");
            bar
        });
        let pull = Progress::new(matches!(mode, Mode::Quiet | Mode::Json));
        let mut show = Self {
            mode,
            pull,
            log: log.map(create).transpose()?,
            running: HashMap::new(),
            bars,
            head,
            begun: 0,
            done: 0,
            number: 0,
            of_last: String::new(),
            remarks: vec![],
            failure: None,
        };
        if mode == Mode::BuildKit {
            show.note(&format!("#0 building with {builder:?} instance using {NAME} driver"));
        }
        Ok(show)
    }

    pub(super) fn event(&mut self, event: &BuildEvent<'_>) {
        if let BuildEvent::Pull(event) = event {
            return self.pull.show(event);
        }
        if let BuildEvent::Remarks(remarks) = event {
            self.remarks = remarks.iter().map(Warning::short).collect();
        }
        if let BuildEvent::Step(step) = event {
            // Elsewhere than in podman's lines only what has to do with files is a step.
            if self.mode != Mode::Plain && step.file_place.is_none() {
                return;
            }
            let bar = self.bars.as_ref().map(|all| {
                let bar = all.add(spinner(" => {prefix} {elapsed}{msg}"));
                bar.set_prefix(shown(&title(step)));
                bar.enable_steady_tick(Duration::from_millis(100));
                bar
            });
            self.begun += 1;
            self.number += 1;
            let running = Running {
                number: self.number,
                begun: Instant::now(),
                started: Timestamp::now(),
                bar,
                title: title(step),
                tail: vec![],
                rest: vec![],
            };
            self.running.insert(step.serial, running);
        }
        if let BuildEvent::Done(step, _) | BuildEvent::Cached(step) = event
            && !self.running.contains_key(&step.serial)
        {
            return;
        }
        if let BuildEvent::Failed { step, process, code } = event {
            self.failure = Some((step.serial, unsuccessful(process, *code)));
        }
        match self.mode {
            Mode::Quiet => self.remember(event),
            Mode::Plain => self.plain(event),
            Mode::BuildKit => self.buildkit(event),
            Mode::Live => self.live(event),
            Mode::Json => self.json(event),
        }
        if let BuildEvent::Done(step, _) | BuildEvent::Cached(step) = event {
            self.running.remove(&step.serial);
            self.done += 1;
        }
        if let Some(head) = &self.head {
            head.set_message(format!("({}/{})", self.done, self.begun));
        }
    }

    /// The build has failed at a place that `picture` shows.
    pub(super) fn failed(&mut self, picture: Option<&str>) {
        if let Some(bars) = &self.bars {
            bars.clear().ok();
        }
        match (self.mode, &self.failure) {
            (Mode::Quiet | Mode::Live, _) => self.running.values().for_each(|running| self.end_of(running)),
            // Its last lines again: others may have written since.
            (Mode::BuildKit, Some((serial, _))) => {
                if let Some(running) = self.running.get(serial) {
                    self.error_line(&format!("------\n > {}:", running.title));
                    self.end_of(running);
                    self.error_line("------");
                }
            }
            _ => {}
        }
        self.say_remarks();
        if let Some(picture) = picture {
            picture.lines().for_each(|line| self.error_line(line));
        }
    }

    /// What has happened to the process that a failed step has run, in BuildKit's words.
    pub(super) fn unsuccessful(&self) -> Option<&str> {
        self.failure.as_ref().map(|(_, what)| what.as_str())
    }

    /// The last lines that a step has written.
    fn end_of(&self, running: &Running) {
        let text = String::from_utf8_lossy(&running.tail).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(TAIL)..];
        last.iter().for_each(|line| self.error_line(line));
    }

    pub(super) fn finish(&mut self) {
        if let Some(bars) = self.bars.take() {
            bars.clear().ok();
        }
        self.say_remarks();
    }

    /// What could be written better, as buildx says it; podman says nothing.
    fn say_remarks(&mut self) {
        let remarks = std::mem::take(&mut self.remarks);
        if remarks.is_empty() || !matches!(self.mode, Mode::BuildKit | Mode::Live) {
            return;
        }
        let count =
            if remarks.len() == 1 { "1 warning".to_owned() } else { format!("{} warnings", remarks.len()) };
        self.note(&format!("\n {count} found (use --check to expand):"));
        remarks.iter().for_each(|remark| self.note(&format!(" - {remark}")));
    }

    /// Writes where output goes: the log file, or standard output.
    fn write(&mut self, stream: Stream, bytes: &[u8]) {
        let written = match (&mut self.log, stream) {
            (Some(log), _) => log.write_all(bytes),
            (None, Stream::Stdout) => {
                io::stdout().lock().write_all(bytes).and_then(|()| io::stdout().flush())
            }
            (None, Stream::Stderr) => io::stderr().write_all(bytes),
        };
        // With nobody to read it, it is lost; the build goes on.
        written.ok();
    }

    fn line(&mut self, text: &str) {
        self.write(Stream::Stdout, format!("{text}\n").as_bytes());
    }

    /// A line beside the result: in the log, or on standard error.
    fn note(&mut self, text: &str) {
        self.write(Stream::Stderr, format!("{}\n", shown(text)).as_bytes());
    }

    fn error_line(&self, text: &str) {
        io::stderr().write_all(format!("{}\n", shown(text)).as_bytes()).ok();
    }

    fn remember(&mut self, event: &BuildEvent<'_>) {
        match event {
            BuildEvent::Output(step, _, bytes) => {
                if let Some(running) = self.running.get_mut(&step.serial) {
                    running.tail.extend_from_slice(bytes);
                    let excess = running.tail.len().saturating_sub(64 << 10);
                    running.tail.drain(..excess);
                }
            }
            BuildEvent::Warning(text) => self.error_line(&format!("Warning: {text}")),
            _ => {}
        }
    }

    fn plain(&mut self, event: &BuildEvent<'_>) {
        match event {
            BuildEvent::Step(step) => {
                let (at, of) = step.stages;
                let prefix = if of > 1 { format!("[{at}/{of}] ") } else { String::new() };
                self.of_last = if of > 1 { format!("[{of}/{of}] ") } else { String::new() };
                self.line(&format!("{prefix}STEP {}/{}: {}", step.place.0, step.place.1, step.text));
            }
            BuildEvent::Cached(_) => self.line("--> Using cache"),
            BuildEvent::Output(_, stream, bytes) => self.write(*stream, bytes),
            BuildEvent::Done(_, Some(layer)) => self.line(&format!("--> {}", &layer.hex()[..12])),
            BuildEvent::Committing(names) => {
                let name = names.first().map(|name| format!(" {}", name.familiar())).unwrap_or_default();
                let prefix = std::mem::take(&mut self.of_last);
                self.line(&format!("{prefix}COMMIT{name}"));
            }
            BuildEvent::Made(id, ..) => self.line(&format!("--> {}", &id.hex()[..12])),
            BuildEvent::Warning(text) => self.error_line(&format!("[Warning] {text}")),
            BuildEvent::Done(_, None)
            | BuildEvent::Failed { .. }
            | BuildEvent::Remarks(_)
            | BuildEvent::Pull(_) => {}
        }
    }

    /// BuildKit's lines, as scripts look for them: `#5 [2/3] RUN …`, `#5 0.123 output`, `#5 CACHED`, `#5 DONE 0.1s`.
    fn buildkit(&mut self, event: &BuildEvent<'_>) {
        match event {
            BuildEvent::Step(step) => {
                let number = self.number;
                self.note(&format!("\n#{number} {}", title(step)));
            }
            BuildEvent::Cached(step) => {
                let number = self.step(step).0;
                self.note(&format!("#{number} CACHED"));
            }
            BuildEvent::Done(step, _) => {
                self.end_of_line(step);
                let (number, seconds) = self.step(step);
                self.note(&format!("#{number} DONE {seconds:.1}s"));
            }
            BuildEvent::Failed { step, process, code } => {
                self.end_of_line(step);
                let (number, _) = self.step(step);
                self.note(&format!("#{number} ERROR: {}", unsuccessful(process, *code)));
            }
            BuildEvent::Output(step, _, bytes) => {
                self.remember(event);
                let (number, seconds) = self.step(step);
                for line in self.whole_lines(step, bytes) {
                    self.note(&format!("#{number} {seconds:.3} {line}"));
                }
            }
            BuildEvent::Committing(_) => {
                self.number += 1;
                let number = self.number;
                self.note(&format!("\n#{number} exporting to image"));
            }
            BuildEvent::Made(id, manifest, names) => {
                let number = self.number;
                self.note(&format!("#{number} exporting manifest {manifest} done"));
                self.note(&format!("#{number} writing image {id} done"));
                names.iter().for_each(|name| self.note(&format!("#{number} naming to {name} done")));
                self.note(&format!("#{number} DONE 0.0s"));
            }
            BuildEvent::Warning(text) => self.note(&format!("WARNING: {text}")),
            BuildEvent::Pull(_) | BuildEvent::Remarks(_) => {}
        }
    }

    /// A step's number, and the seconds since it began.
    fn step(&self, step: &StepName) -> (usize, f64) {
        self.running.get(&step.serial).map_or((0, 0.0), |r| (r.number, r.begun.elapsed().as_secs_f64()))
    }

    /// Shows a last line that was not ended.
    fn end_of_line(&mut self, step: &StepName) {
        let (number, seconds) = self.step(step);
        for line in self.whole_lines(step, b"\n").into_iter().filter(|line| !line.is_empty()) {
            self.note(&format!("#{number} {seconds:.3} {line}"));
        }
    }

    /// The lines of a step's output that are complete now.
    fn whole_lines(&mut self, step: &StepName, bytes: &[u8]) -> Vec<String> {
        let Some(running) = self.running.get_mut(&step.serial) else { return vec![] };
        running.rest.extend_from_slice(bytes);
        let Some(end) = running.rest.iter().rposition(|&b| b == b'\n') else { return vec![] };
        let whole: Vec<u8> = running.rest.drain(..=end).collect();
        String::from_utf8_lossy(&whole).lines().map(str::to_owned).collect()
    }

    fn live(&mut self, event: &BuildEvent<'_>) {
        match event {
            BuildEvent::Warning(_) => self.remember(event),
            BuildEvent::Output(step, _, bytes) => {
                self.remember(event);
                if let Some(running) = self.running.get(&step.serial)
                    && let Some(bar) = &running.bar
                    && bytes.contains(&b'\n')
                {
                    bar.set_message(last_lines(&running.tail));
                }
            }
            BuildEvent::Cached(step) => self.live_end(step, "CACHED "),
            BuildEvent::Done(step, _) => self.live_end(step, ""),
            BuildEvent::Failed { step, .. } => self.live_end(step, "ERROR "),
            _ => {}
        }
    }

    fn live_end(&mut self, step: &StepName, word: &str) {
        let Some(running) = self.running.get(&step.serial) else { return };
        if let Some(bar) = &running.bar {
            bar.finish_and_clear();
        }
        if let Some(all) = &self.bars {
            let seconds = running.begun.elapsed().as_secs_f64();
            all.println(shown(&format!(" => {word}{} {seconds:.1}s", title(step)))).ok();
        }
    }

    /// BuildKit's `SolveStatus`, an object per line: what tools that show builds of their own read.
    fn json(&mut self, event: &BuildEvent<'_>) {
        let now = Timestamp::now().to_string();
        let vertex = |show: &Self, step: &StepName| {
            let started =
                show.running.get(&step.serial).map_or_else(|| now.clone(), |r| r.started.to_string());
            json!({"digest": vertex_digest(step), "name": title(step), "started": started})
        };
        let ended = |show: &Self, step: &StepName, key: &str, value: Value| {
            let mut vertex = vertex(show, step);
            vertex["completed"] = now.clone().into();
            if !key.is_empty() {
                vertex[key] = value;
            }
            json!({ "vertexes": [vertex] })
        };
        let bytes = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
        let document = match event {
            BuildEvent::Step(step) => json!({ "vertexes": [vertex(self, step)] }),
            BuildEvent::Cached(step) => ended(self, step, "cached", true.into()),
            BuildEvent::Done(step, _) => ended(self, step, "", Value::Null),
            BuildEvent::Failed { step, process, code } => {
                ended(self, step, "error", unsuccessful(process, *code).into())
            }
            BuildEvent::Output(step, stream, text) => json!({"logs": [{
                "vertex": vertex_digest(step),
                "stream": if *stream == Stream::Stdout { 1 } else { 2 },
                "data": bytes(text),
                "timestamp": now,
            }]}),
            BuildEvent::Committing(names) => {
                let statuses = names.iter().map(|name| {
                    json!({"id": format!("naming to {name}"), "vertex": vertex_digest(&StepName::default()),
                        "name": "", "total": 0, "current": 0, "timestamp": now, "completed": now})
                });
                let vertex = json!({"digest": vertex_digest(&StepName::default()),
                    "name": "exporting to image", "started": now, "completed": now});
                json!({"vertexes": [vertex], "statuses": statuses.collect::<Vec<_>>()})
            }
            BuildEvent::Warning(text) => {
                json!({"warnings": [{"vertex": vertex_digest(&StepName::default()), "level": 1, "short": bytes(text.as_bytes())}]})
            }
            BuildEvent::Remarks(remarks) => {
                let warning = |remark: &Warning| {
                    let (start, end) = remark.lines;
                    json!({"vertex": vertex_digest(&StepName::default()), "level": 1,
                        "short": bytes(remark.short().as_bytes()), "detail": [bytes(remark.rule.description.as_bytes())],
                        "url": remark.rule.url(), "range": [{"start": {"line": start}, "end": {"line": end}}]})
                };
                json!({ "warnings": remarks.iter().map(warning).collect::<Vec<_>>() })
            }
            BuildEvent::Pull(_) | BuildEvent::Made(..) => return,
        };
        io::stderr().write_all(format!("{document}\n").as_bytes()).ok();
    }
}

/// What names a step for those who read JSON.
fn vertex_digest(step: &StepName) -> String {
    Digest::of(format!("{} {}", step.serial, title(step)).as_bytes()).to_string()
}

fn spinner(template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template);
    ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}

/// The last lines of a running step's output, as they are drawn below its title.
fn last_lines(tail: &[u8]) -> String {
    let text = String::from_utf8_lossy(tail);
    let lines: Vec<&str> = text.lines().collect();
    let cut = |line: &&str| -> String {
        let line: String = line.rsplit('\r').next().unwrap_or_default().chars().take(LINE).collect();
        format!("\n => => # {}", shown(&line))
    };
    lines[lines.len().saturating_sub(LINES)..].iter().map(cut).collect()
}

/// What has happened to a RUN that failed, in BuildKit's words.
fn unsuccessful(process: &str, code: i32) -> String {
    format!("process {process:?} did not complete successfully: exit code: {code}")
}

/// A step as BuildKit titles it.
fn title(step: &StepName) -> String {
    let (at, of) = step.file_place.unwrap_or(step.place);
    let name = if step.stage_name.is_empty() { String::new() } else { format!("{} ", step.stage_name) };
    let width = of.to_string().len();
    format!("[{name}{at:>width$}/{of}] {}", step.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_output_is_cut_into_lines() {
        assert_eq!(last_lines(b""), "");
        assert_eq!(last_lines(b"a\nb\rc\n"), "\n => => # a\n => => # c");
        let many: String = (0..20).map(|n| format!("{n}\n")).collect();
        assert_eq!(last_lines(many.as_bytes()).lines().count(), LINES + 1);
        assert!(last_lines(&[b'x'; 500]).len() < 100);
    }

    #[test]
    fn steps_are_titled_by_their_place() {
        let step =
            StepName { place: (2, 3), stages: (1, 1), text: "RUN x".to_owned(), ..StepName::default() };
        assert_eq!(title(&step), "[2/3] RUN x");
        let named = StepName { stage_name: "stage-4".to_owned(), ..step.clone() };
        assert_eq!(title(&named), "[stage-4 2/3] RUN x");
        let of_many = StepName { file_place: Some((2, 10)), ..step.clone() };
        assert_eq!(title(&of_many), "[ 2/10] RUN x");
        assert_ne!(vertex_digest(&step), vertex_digest(&of_many));
    }
}
