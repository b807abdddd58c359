//! What a pull or push shows while it goes on: bars on a terminal, podman's plain lines elsewhere, or
//! for programs one JSON document per line.
//!
//! Everything goes to standard error; results belong to standard output.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::base::digest::Digest;
use crate::cli::error::shown;
use crate::cli::format::json;
use crate::engine::pull::PullEvent;

/// Shows the events of pulls, one image after the other.
pub(crate) struct Progress {
    mode: Mode,
}

enum Mode {
    Quiet,
    Plain,
    Json,
    Bars(RefCell<Bars>),
}

/// What `--progress` asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Look {
    /// Bars if standard error is a terminal, lines if not.
    #[default]
    Auto,
    Plain,
    Json,
    None,
}

/// Reads a [`Look`].
pub(crate) fn parse_look(text: &str) -> Result<Look, String> {
    match text {
        "auto" | "tty" => Ok(Look::Auto),
        "plain" => Ok(Look::Plain),
        "json" | "rawjson" => Ok(Look::Json),
        "none" | "quiet" => Ok(Look::None),
        _ => Err("choose from: auto, plain, json, none".to_owned()),
    }
}

/// The bars of one image.
#[derive(Default)]
struct Bars {
    all: Option<MultiProgress>,
    total: Option<ProgressBar>,
    layers: HashMap<Digest, ProgressBar>,
    /// The image goes out, so nothing is unpacked.
    outwards: bool,
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.mode {
            Mode::Quiet => "Quiet",
            Mode::Plain => "Plain",
            Mode::Json => "Json",
            Mode::Bars(_) => "Bars",
        })
    }
}

/// Can lines of the terminal be drawn over?
pub(crate) fn can_draw() -> bool {
    std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb")
}

impl Progress {
    /// Bars if standard error is a terminal, lines if not, neither if `quiet`.
    pub(crate) fn new(quiet: bool) -> Self {
        Self::with(if quiet { Look::None } else { Look::Auto })
    }

    /// As the user wants it.
    pub(crate) fn with(look: Look) -> Self {
        let mode = match look {
            Look::None => Mode::Quiet,
            Look::Json => Mode::Json,
            Look::Auto if io::stderr().is_terminal() && can_draw() => Mode::Bars(RefCell::default()),
            Look::Auto | Look::Plain => Mode::Plain,
        };
        Self { mode }
    }

    /// Shows one event. Warnings are shown even to the quiet.
    pub(crate) fn show(&self, event: &PullEvent<'_>) {
        match (&self.mode, event) {
            (Mode::Bars(bars), PullEvent::Warning(text)) => bars.borrow().line(&format!("Warning: {text}")),
            (Mode::Json, event) => {
                // A document has escapes of its own for what a terminal must not see.
                let text = json::escape(&document(event).to_string());
                io::stderr().write_all(format!("{text}\n").as_bytes()).ok();
            }
            (_, PullEvent::Warning(text)) => line(&format!("Warning: {text}")),
            (Mode::Quiet, _) => {}
            (Mode::Plain, event) => plain(event).into_iter().for_each(|text| line(&text)),
            (Mode::Bars(bars), event) => bars.borrow_mut().show(event),
        }
    }
}

impl Drop for Progress {
    /// A failure may have left bars, which would be drawn over.
    fn drop(&mut self) {
        if let Mode::Bars(bars) = &self.mode {
            bars.borrow_mut().finish();
        }
    }
}

/// An event for a program: `event` says which, `blob` is a digest, sizes are in bytes.
fn document(event: &PullEvent<'_>) -> Value {
    match event {
        PullEvent::Pushing => json!({"event": "pushing"}),
        PullEvent::Resolved(text) => json!({"event": "resolved", "text": text}),
        PullEvent::Trying(image) => json!({"event": "trying", "image": image.to_string()}),
        PullEvent::Layers { count } => json!({"event": "layers", "count": count}),
        PullEvent::Layer { digest, size, present } => {
            json!({"event": "layer", "blob": digest, "size": size, "present": present})
        }
        PullEvent::Progress { digest, bytes } => json!({"event": "progress", "blob": digest, "bytes": bytes}),
        PullEvent::Unpacked { digest } => json!({"event": "done", "blob": digest}),
        PullEvent::Registering { config } => json!({"event": "registering", "config": config}),
        PullEvent::Waiting { what, reason, left, .. } => {
            json!({"event": "waiting", "what": what, "reason": reason, "seconds": left.as_secs_f64()})
        }
        PullEvent::Busy { digest } => json!({"event": "busy", "blob": digest}),
        PullEvent::Warning(text) => json!({"event": "warning", "text": text}),
    }
}

/// podman's line for an event.
fn plain(event: &PullEvent<'_>) -> Option<String> {
    Some(match event {
        PullEvent::Resolved(text) => (*text).to_owned(),
        PullEvent::Trying(image) => format!("Trying to pull {image}..."),
        PullEvent::Layers { .. } => "Getting image source signatures".to_owned(),
        PullEvent::Layer { digest, present: false, .. } => format!("Copying blob {digest}"),
        PullEvent::Layer { digest, present: true, .. } => {
            format!("Copying blob {digest} skipped: already exists")
        }
        PullEvent::Registering { config } => {
            format!("Copying config {config}\nWriting manifest to image destination")
        }
        PullEvent::Waiting { what, reason, left, first: true } => waiting(what, reason, *left),
        PullEvent::Busy { .. }
        | PullEvent::Pushing
        | PullEvent::Progress { .. }
        | PullEvent::Unpacked { .. }
        | PullEvent::Waiting { .. }
        | PullEvent::Warning(_) => return None,
    })
}

fn waiting(what: &str, reason: &str, left: Duration) -> String {
    // What the user reads counts down in whole seconds, the last of them being 1.
    format!("Retrying {what} in {} s: {reason}", left.as_millis().div_ceil(1000))
}

/// Writes a line to standard error; with nobody there to read it, it is lost.
fn line(text: &str) {
    let lines: Vec<_> = text.lines().map(shown).collect();
    io::stderr().write_all(format!("{}\n", lines.join("\n")).as_bytes()).ok();
}

impl Bars {
    fn show(&mut self, event: &PullEvent<'_>) {
        match event {
            PullEvent::Pushing => {
                self.finish();
                self.outwards = true;
            }
            PullEvent::Resolved(_) | PullEvent::Trying(_) => {
                self.finish();
                self.outwards = false;
                plain(event).into_iter().for_each(|text| line(&text));
            }
            PullEvent::Layers { count } => self.begin(*count),
            PullEvent::Layer { digest, size, present } => self.add(**digest, *size, *present),
            PullEvent::Progress { digest, bytes } => self.advance(digest, *bytes),
            PullEvent::Unpacked { digest } => {
                if let Some(bar) = self.layers.get(digest) {
                    bar.finish_with_message("done");
                }
            }
            PullEvent::Registering { .. } => {
                self.finish();
                plain(event).into_iter().for_each(|text| line(&text));
            }
            PullEvent::Waiting { what, reason, left, .. } => {
                let text = shown(&waiting(what, reason, *left));
                match &self.total {
                    Some(total) => total.set_message(text),
                    None => line(&text),
                }
            }
            PullEvent::Busy { digest } => {
                if let Some(bar) = self.layers.get(*digest) {
                    bar.set_message("another ketch downloads it");
                }
            }
            PullEvent::Warning(_) => {}
        }
    }

    fn begin(&mut self, count: usize) {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        if count > 1 {
            let total = ProgressBar::new(0).with_style(style("{prefix:.bold}", true)).with_prefix("Total");
            self.total = Some(all.add(total));
        }
        self.all = Some(all);
    }

    fn add(&mut self, digest: Digest, size: u64, present: bool) {
        let Some(all) = &self.all else { return };
        let bar = ProgressBar::new(size)
            .with_style(style("Copying blob {prefix}", !present))
            .with_prefix(digest.hex()[..12].to_owned());
        let bar = match &self.total {
            Some(total) => all.insert_before(total, bar),
            None => all.add(bar),
        };
        if present {
            bar.finish_with_message("skipped: already exists");
        } else if let Some(total) = &self.total {
            total.inc_length(size);
        }
        // A layer may stand in an image twice; both lines mean the same blob.
        self.layers.insert(digest, bar);
    }

    fn advance(&self, digest: &Digest, bytes: u64) {
        let Some(bar) = self.layers.get(digest) else { return };
        let before = bar.position();
        bar.set_position(bytes);
        if let Some(total) = &self.total {
            // A download that began anew goes back.
            total.set_position((total.position() + bytes).saturating_sub(before));
            total.set_message("");
        }
        if bar.length() == Some(bytes) && !self.outwards {
            bar.set_message("unpacking");
        }
    }

    /// A line above the bars.
    fn line(&self, text: &str) {
        match &self.all {
            Some(all) => all.suspend(|| line(text)),
            None => line(text),
        }
    }

    fn finish(&mut self) {
        if let Some(total) = self.total.take() {
            total.finish_and_clear();
        }
        for (_, bar) in self.layers.drain() {
            if !bar.is_finished() {
                bar.abandon();
            }
        }
        self.all = None;
    }
}

/// The look of a bar: with its progress, or with a word only.
fn style(head: &str, moving: bool) -> ProgressStyle {
    let rest = if moving {
        " [{bar:30}] {bytes} / {total_bytes} | {bytes_per_sec} {eta} {wide_msg}"
    } else {
        " {wide_msg}"
    };
    let style = ProgressStyle::with_template(&format!("{head}{rest}"));
    style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=>-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_lines_are_podmans() {
        let digest = Digest::of(b"");
        let image = "docker.io/library/x:1".parse().unwrap();
        for (event, want) in [
            (PullEvent::Trying(&image), Some("Trying to pull docker.io/library/x:1...".to_owned())),
            (PullEvent::Layers { count: 2 }, Some("Getting image source signatures".to_owned())),
            (
                PullEvent::Layer { digest: &digest, size: 1, present: false },
                Some(format!("Copying blob {digest}")),
            ),
            (
                PullEvent::Registering { config: &digest },
                Some(format!("Copying config {digest}\nWriting manifest to image destination")),
            ),
            (
                PullEvent::Waiting {
                    what: "blob x",
                    reason: "r",
                    left: Duration::from_millis(1500),
                    first: true,
                },
                Some("Retrying blob x in 2 s: r".to_owned()),
            ),
            (PullEvent::Progress { digest: &digest, bytes: 1 }, None),
        ] {
            assert_eq!(plain(&event), want);
        }
    }
}
