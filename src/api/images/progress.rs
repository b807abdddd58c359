//! How pulls and pushes are told of: docker's documents out of the engine's events.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::base::digest::Digest;
use crate::base::image_ref::ImageRef;
use crate::base::size;
use crate::engine::pull::PullEvent;

/// A layer is told of anew when it has come so much further, as a part of the whole.
const STEP: u64 = 50;

/// Columns of a bar.
const BAR: usize = 50;

/// Makes documents of the events of one transfer after the other.
#[derive(Debug, Default)]
pub(crate) struct Reporter {
    /// The image goes out.
    outwards: bool,
    layers: HashMap<Digest, Layer>,
    /// What is only told if anything else follows: nobody wants to hear of the layers of an image that was here.
    held: Vec<Value>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Layer {
    size: u64,
    told: u64,
    complete: bool,
}

impl Reporter {
    /// What is to be told of an event.
    pub(crate) fn documents(&mut self, event: &PullEvent<'_>) -> Vec<Value> {
        match event {
            PullEvent::Pushing => {
                self.outwards = true;
                vec![]
            }
            PullEvent::Trying(image) => {
                self.layers.clear();
                self.held = vec![pulling_from(image)];
                vec![]
            }
            PullEvent::Layer { digest, size, present: false } => {
                self.layers.insert(**digest, Layer { size: *size, ..Layer::default() });
                let status = if self.outwards { "Preparing" } else { "Pulling fs layer" };
                self.with_held(plain(digest, status))
            }
            PullEvent::Layer { digest, present: true, .. } if self.outwards => {
                vec![plain(digest, "Layer already exists")]
            }
            PullEvent::Layer { digest, present: true, .. } => {
                let document = plain(digest, "Already exists");
                // Another layer was told of already: the order is the image's.
                match self.layers.is_empty() {
                    true => self.held.push(document),
                    false => return vec![document],
                }
                vec![]
            }
            PullEvent::Progress { digest, bytes } => self.progress(digest, *bytes),
            PullEvent::Unpacked { digest } => {
                vec![plain(digest, if self.outwards { "Pushed" } else { "Pull complete" })]
            }
            PullEvent::Waiting { what, reason, left, first: true } => {
                let seconds = left.as_millis().div_ceil(1000);
                self.with_held(json!({"status": format!("Retrying {what} in {seconds} s: {reason}")}))
            }
            PullEvent::Busy { digest } => self.with_held(plain(digest, "Waiting")),
            PullEvent::Warning(text) => self.with_held(json!({"status": format!("Warning: {text}")})),
            PullEvent::Resolved(_)
            | PullEvent::Layers { .. }
            | PullEvent::Registering { .. }
            | PullEvent::Waiting { .. } => vec![],
        }
    }

    /// What is to be told when the image is here: all that was held back, unless it was here before.
    pub(crate) fn end(&mut self, was_here: bool) -> Vec<Value> {
        let mut held = std::mem::take(&mut self.held);
        if was_here {
            held.truncate(1);
        }
        held
    }

    fn with_held(&mut self, document: Value) -> Vec<Value> {
        let mut all = std::mem::take(&mut self.held);
        all.push(document);
        all
    }

    fn progress(&mut self, digest: &Digest, bytes: u64) -> Vec<Value> {
        let Some(layer) = self.layers.get_mut(digest) else { return vec![] };
        let is_complete = bytes >= layer.size;
        // A download that began anew goes back.
        let is_far = bytes < layer.told || bytes - layer.told >= layer.size.div_ceil(STEP).max(1);
        if !is_far && !is_complete || layer.complete {
            return vec![];
        }
        layer.told = bytes;
        let size = layer.size;
        layer.complete = is_complete;
        match (self.outwards, is_complete) {
            (true, _) => vec![moving(digest, "Pushing", bytes, size)],
            (false, false) => vec![moving(digest, "Downloading", bytes, size)],
            (false, true) => vec![
                moving(digest, "Downloading", bytes, size),
                plain(digest, "Download complete"),
                moving(digest, "Extracting", bytes, size),
            ],
        }
    }
}

/// `Pulling from library/nginx`, with the tag or digest as its ID.
fn pulling_from(image: &ImageRef) -> Value {
    json!({"status": format!("Pulling from {}", image.repository()), "id": image.manifest_reference()})
}

fn plain(digest: &Digest, status: &str) -> Value {
    json!({"status": status, "progressDetail": {}, "id": &digest.hex()[..12]})
}

fn moving(digest: &Digest, status: &str, current: u64, total: u64) -> Value {
    json!({
        "status": status,
        "progressDetail": {"current": current, "total": total},
        "progress": bar(current, total),
        "id": &digest.hex()[..12],
    })
}

/// `[=====>     ]  1.2MB/10MB`.
fn bar(current: u64, total: u64) -> String {
    let done = match total {
        0 => BAR,
        _ => {
            let columns = u128::from(current.min(total)) * BAR as u128 / u128::from(total);
            usize::try_from(columns).unwrap_or(BAR)
        }
    };
    let rest = match BAR - done {
        0 => String::new(),
        rest => format!(">{}", " ".repeat(rest - 1)),
    };
    format!("[{}{rest}]  {:>5}/{}", "=".repeat(done), size::human(current, 4), size::human(total, 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `status id current` of each document.
    fn told(documents: &[Value]) -> Vec<String> {
        let text = |document: &Value| {
            let id = document["id"].as_str().unwrap_or_default();
            let current = &document["progressDetail"]["current"];
            format!("{} {id} {current}", document["status"].as_str().unwrap_or_default())
        };
        documents.iter().map(text).collect()
    }

    #[test]
    fn a_pull_that_brings_layers() {
        let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
        let (o, n) = (&old.hex()[..12], &new.hex()[..12]);
        let image = "docker.io/library/x:1".parse().unwrap();
        let mut reporter = Reporter::default();
        let mut all = Vec::new();
        for event in [
            PullEvent::Trying(&image),
            PullEvent::Layers { count: 2 },
            PullEvent::Layer { digest: &old, size: 10, present: true },
            PullEvent::Layer { digest: &new, size: 1000, present: false },
            PullEvent::Progress { digest: &new, bytes: 500 },
            PullEvent::Progress { digest: &new, bytes: 501 },
            PullEvent::Progress { digest: &new, bytes: 1000 },
            PullEvent::Progress { digest: &new, bytes: 1000 },
            PullEvent::Unpacked { digest: &new },
            PullEvent::Registering { config: &old },
        ] {
            all.extend(reporter.documents(&event));
        }
        all.extend(reporter.end(false));
        assert_eq!(
            told(&all),
            [
                "Pulling from library/x 1 null".to_owned(),
                format!("Already exists {o} null"),
                format!("Pulling fs layer {n} null"),
                format!("Downloading {n} 500"),
                format!("Downloading {n} 1000"),
                format!("Download complete {n} null"),
                format!("Extracting {n} 1000"),
                format!("Pull complete {n} null"),
            ]
        );
    }

    #[test]
    fn a_pull_of_what_is_here() {
        let layer = Digest::of(b"");
        let image = "r.io:5000/a/b".parse().unwrap();
        let mut reporter = Reporter::default();
        let present = PullEvent::Layer { digest: &layer, size: 1, present: true };
        assert_eq!(reporter.documents(&PullEvent::Trying(&image)), Vec::<Value>::new());
        assert_eq!(reporter.documents(&present), Vec::<Value>::new());
        assert_eq!(told(&reporter.end(true)), ["Pulling from a/b latest null"]);
        reporter.documents(&PullEvent::Trying(&image));
        reporter.documents(&present);
        assert_eq!(reporter.end(false).len(), 2);
    }

    #[test]
    fn a_push() {
        let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
        let (o, n) = (&old.hex()[..12], &new.hex()[..12]);
        let mut reporter = Reporter::default();
        let mut all = Vec::new();
        for event in [
            PullEvent::Pushing,
            PullEvent::Layer { digest: &new, size: 4, present: false },
            PullEvent::Layer { digest: &old, size: 4, present: true },
            PullEvent::Progress { digest: &new, bytes: 4 },
            PullEvent::Unpacked { digest: &new },
        ] {
            all.extend(reporter.documents(&event));
        }
        assert_eq!(
            told(&all),
            [
                format!("Preparing {n} null"),
                format!("Layer already exists {o} null"),
                format!("Pushing {n} 4"),
                format!("Pushed {n} null"),
            ]
        );
    }

    #[test]
    fn bars() {
        for (current, total, want) in [
            (0, 100, format!("[>{}]     0B/100B", " ".repeat(49))),
            (50, 100, format!("[{}>{}]    50B/100B", "=".repeat(25), " ".repeat(24))),
            (100, 100, format!("[{}]   100B/100B", "=".repeat(50))),
            (0, 0, format!("[{}]     0B/0B", "=".repeat(50))),
        ] {
            assert_eq!(bar(current, total), want);
        }
    }
}
