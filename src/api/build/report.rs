//! How a build is told of: the classic builder's lines.

use serde_json::{Value, json};

use crate::api::fault::Fault;
use crate::api::images::progress;
use crate::base::digest::Digest;
use crate::base::image_ref::ImageRef;
use crate::base::stream::Stream;
use crate::engine::build::fault::Fault as BuildFault;
use crate::engine::build::request::BuildEvent;

/// Makes documents of the events of a build.
#[derive(Debug, Default)]
pub(super) struct Reporter {
    quiet: bool,
    pull: progress::Reporter,
    /// Of standard output and standard error: the beginning of a character whose rest is still to come.
    partial: [Vec<u8>; 2],
    /// What has failed, in docker's words.
    failure: Option<String>,
}

impl Reporter {
    /// A quiet one tells of nothing but the result.
    pub(super) fn new(quiet: bool) -> Self {
        Self { quiet, ..Self::default() }
    }

    /// What is to be told of an event.
    pub(super) fn documents(&mut self, event: &BuildEvent<'_>) -> Vec<Value> {
        if let BuildEvent::Failed { process, code, .. } = event {
            self.failure = Some(format!("The command '{process}' returned a non-zero code: {code}"));
        }
        if self.quiet {
            return vec![];
        }
        match event {
            BuildEvent::Pull(event) => self.pull.documents(event),
            BuildEvent::Step(step) => {
                vec![stream(&format!("Step {}/{} : {}\n", step.serial, step.total, step.text))]
            }
            BuildEvent::Cached(_) => vec![stream(" ---> Using cache\n")],
            BuildEvent::Output(_, from, bytes) => self.output(*from, bytes),
            BuildEvent::Done(_, layer) => {
                let mut documents = self.rest();
                documents.extend(layer.map(|layer| stream(&format!(" ---> {}\n", &layer.hex()[..12]))));
                documents
            }
            BuildEvent::Failed { .. } => self.rest(),
            BuildEvent::Warning(text) => vec![stream(&format!("[Warning] {text}\n"))],
            BuildEvent::Committing(_) | BuildEvent::Made(..) | BuildEvent::Remarks(_) => vec![],
        }
    }

    /// The last lines of a build that went well.
    pub(super) fn end(self, id: Option<&Digest>, names: &[ImageRef]) -> Vec<Value> {
        let Some(id) = id else { return vec![] };
        if self.quiet {
            return vec![stream(&format!("{id}\n"))];
        }
        let mut documents = vec![
            json!({"aux": {"ID": id.to_string()}}),
            stream(&format!("Successfully built {}\n", &id.hex()[..12])),
        ];
        documents
            .extend(names.iter().map(|name| stream(&format!("Successfully tagged {}\n", name.familiar()))));
        documents
    }

    /// What has failed, if it was a command.
    pub(super) fn failure(self) -> Option<String> {
        self.failure
    }

    fn output(&mut self, from: Stream, bytes: &[u8]) -> Vec<Value> {
        let partial = &mut self.partial[usize::from(from == Stream::Stderr)];
        partial.extend_from_slice(bytes);
        let end = match std::str::from_utf8(partial) {
            Err(err) if err.error_len().is_none() => err.valid_up_to(),
            _ => partial.len(),
        };
        let whole: Vec<u8> = partial.drain(..end).collect();
        printed(from, &whole).into_iter().collect()
    }

    /// What is left of output that ends within a character.
    fn rest(&mut self) -> Vec<Value> {
        let [out, err] = std::mem::take(&mut self.partial);
        [(Stream::Stdout, out), (Stream::Stderr, err)]
            .iter()
            .filter_map(|(from, rest)| printed(*from, rest))
            .collect()
    }
}

/// A piece of a command's output. The classic builder has standard error in red, and clients go by that.
fn printed(from: Stream, bytes: &[u8]) -> Option<Value> {
    let text = String::from_utf8_lossy(bytes);
    match from {
        _ if bytes.is_empty() => None,
        Stream::Stdout => Some(stream(&text)),
        Stream::Stderr => Some(stream(&format!("\x1b[91m{text}\x1b[0m"))),
    }
}

fn stream(text: &str) -> Value {
    json!({"stream": text})
}

/// The answer about a build that failed, and the exit code of the step that did; `command` says which, in docker's words.
pub(super) fn failed(fault: BuildFault, command: Option<String>) -> (Fault, Option<i32>) {
    let code = fault.exit;
    let mut fault = Fault::from(fault.error);
    if let Some(message) = command {
        fault.message = message;
    }
    (fault, code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::build::request::StepName;

    fn told(documents: &[Value]) -> Vec<&str> {
        documents.iter().filter_map(|document| document["stream"].as_str()).collect()
    }

    #[test]
    fn a_build() {
        let id = Digest::of(b"");
        let step = StepName { serial: 2, total: 3, text: "RUN x".to_owned(), ..StepName::default() };
        let mut reporter = Reporter::new(false);
        let mut all = Vec::new();
        for event in [
            BuildEvent::Step(&step),
            BuildEvent::Output(&step, Stream::Stdout, "ä\n".as_bytes()),
            BuildEvent::Output(&step, Stream::Stdout, &"ö".as_bytes()[..1]),
            BuildEvent::Output(&step, Stream::Stderr, "e\nü".as_bytes().split_last().unwrap().1),
            BuildEvent::Output(&step, Stream::Stdout, &"ö".as_bytes()[1..]),
            BuildEvent::Output(&step, Stream::Stderr, &"ü".as_bytes()[1..]),
            BuildEvent::Output(&step, Stream::Stdout, &[0xff, b'x', 0xc3]),
            BuildEvent::Done(&step, Some(id)),
            BuildEvent::Cached(&step),
            BuildEvent::Warning("w"),
        ] {
            all.extend(reporter.documents(&event));
        }
        let short = &id.hex()[..12];
        let layer = format!(" ---> {short}\n");
        assert_eq!(
            told(&all),
            [
                "Step 2/3 : RUN x\n",
                "ä\n",
                "\u{1b}[91me\n\u{1b}[0m",
                "ö",
                "\u{1b}[91mü\u{1b}[0m",
                "\u{fffd}x\u{fffd}",
                &layer,
                " ---> Using cache\n",
                "[Warning] w\n"
            ]
        );
        let names = ["docker.io/library/a:1".parse().unwrap()];
        let end = reporter.end(Some(&id), &names);
        assert_eq!(end[0]["aux"]["ID"], id.to_string());
        let built = format!("Successfully built {short}\n");
        assert_eq!(told(&end), [built.as_str(), "Successfully tagged a:1\n"]);
    }

    #[test]
    fn a_quiet_build() {
        let id = Digest::of(b"");
        let step = StepName::default();
        let mut reporter = Reporter::new(true);
        assert!(reporter.documents(&BuildEvent::Step(&step)).is_empty());
        let failed = BuildEvent::Failed { step: &step, process: "/bin/sh -c false", code: 1 };
        assert!(reporter.documents(&failed).is_empty());
        assert_eq!(told(&Reporter::new(true).end(Some(&id), &[])), [format!("{id}\n")]);
        let message = "The command '/bin/sh -c false' returned a non-zero code: 1";
        assert_eq!(reporter.failure().as_deref(), Some(message));
    }
}
