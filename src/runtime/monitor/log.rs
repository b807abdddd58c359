//! Where a monitor puts its container's output: a file, the journal, or nowhere.

use std::io;
use std::path::Path;

use jiff::Timestamp;
use rustix::fs::{Mode, OFlags};

use crate::base::log_tag::{self, TagFacts};
use crate::base::spec::ContainerSpec;
use crate::base::stream::Stream;
use crate::logs::journal::{JournalWriter, field_name};
use crate::logs::writer::{Limits, Writer};
use crate::logs::{Format, LogFiles};
use crate::runtime::failure::{Failure, FailureKind};

/// A container's log.
#[derive(Debug)]
pub(crate) enum Log {
    File(Box<Writer>),
    Journal(JournalWriter),
}

impl Log {
    /// Opens the log of a container called `name`; `None` if its driver keeps none. `journal` is where the
    /// system's journal listens.
    pub(super) fn open(
        directory: &Path,
        spec: &ContainerSpec,
        name: &str,
        journal: &Path,
    ) -> Result<Option<Self>, Failure> {
        match spec.log.driver.as_str() {
            "k8s-file" => open_file(directory, spec, Format::K8s, String::new()).map(Some),
            "json-file" => open_file(directory, spec, Format::Json, attributes(spec, name)).map(Some),
            "journald" => {
                let failed = |err| {
                    let mut failure = Failure::errno(format!("open the journal {}", journal.display()), err);
                    failure.hint = Some("choose another --log-driver where there is no journald".into());
                    failure
                };
                let log = JournalWriter::open(journal, fields(spec, name)).map_err(failed)?;
                Ok(Some(Self::Journal(log)))
            }
            _ => Ok(None),
        }
    }

    /// Records `chunk`, just read from `stream`.
    ///
    /// # Errors
    ///
    /// What is missing then is counted ([`Self::lost_bytes`]).
    pub(super) fn write(&mut self, stream: Stream, chunk: &[u8], now: Timestamp) -> io::Result<()> {
        match self {
            Self::File(writer) => writer.write(stream, chunk, now),
            Self::Journal(journal) => journal.write(stream, chunk),
        }
    }

    /// How much could not be recorded, in bytes.
    pub(super) fn lost_bytes(&self) -> u64 {
        match self {
            Self::File(writer) => writer.lost_bytes(),
            Self::Journal(journal) => journal.lost_bytes(),
        }
    }

    /// Gives memory back that only writing needs.
    pub(super) fn release(&mut self) {
        if let Self::File(writer) = self {
            writer.release();
        }
    }
}

fn open_file(
    directory: &Path,
    spec: &ContainerSpec,
    format: Format,
    attributes: String,
) -> Result<Log, Failure> {
    let default = directory.join("log");
    let path = spec.log.path.as_deref().unwrap_or(&default);
    let failed = |err| Failure::errno(format!("open the log {}", path.display()), err);
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Failure::new(FailureKind::Invalid, format!("{} is no place for a log", path.display())));
    };
    let parent = rustix::fs::open(parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| failed(io::Error::from(errno)))?;
    let limits = Limits { max_size_bytes: spec.log.max_size_bytes, max_files: spec.log.max_files };
    let writer = Writer::open(LogFiles::new(parent, name), format, limits).map_err(failed)?;
    Ok(Log::File(Box::new(writer.with_attributes(attributes))))
}

/// The tag that was asked for, with the container's fields in it.
fn tag(spec: &ContainerSpec, name: &str) -> Option<String> {
    let image = spec.image.as_ref();
    let image_id = image.map_or(String::new(), |image| image.id.hex());
    let command = spec.process.args.first().map(|word| word.to_string_lossy()).unwrap_or_default();
    let facts = TagFacts {
        id: spec.id.as_str(),
        name,
        image_id: &image_id,
        image_name: image.map_or("", |image| image.name.as_str()),
        command: &command,
    };
    log_tag::render(spec.log.options.get("tag")?, &facts).ok()
}

/// The labels and variables that were asked for.
fn chosen(spec: &ContainerSpec) -> Vec<(String, String)> {
    let wanted = |option: &str| {
        let list = spec.log.options.get(option).cloned().unwrap_or_default();
        list.split(',').filter(|key| !key.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    let label = |key: String| spec.labels.get(&key).map(|value| (key.clone(), value.clone()));
    let variable = |key: String| {
        let prefix = format!("{key}=");
        let found = spec.process.env.iter().find_map(|entry| entry.as_str()?.strip_prefix(&prefix));
        found.map(|value| (key.clone(), value.to_owned()))
    };
    let labels = wanted("labels").into_iter().filter_map(label);
    labels.chain(wanted("env").into_iter().filter_map(variable)).collect()
}

/// What each entry of a json-file says beside its text: a JSON object, or nothing.
fn attributes(spec: &ContainerSpec, name: &str) -> String {
    let mut all = serde_json::Map::new();
    if let Some(tag) = tag(spec, name) {
        all.insert("tag".to_owned(), tag.into());
    }
    all.extend(chosen(spec).into_iter().map(|(key, value)| (key, value.into())));
    if all.is_empty() { String::new() } else { serde_json::Value::Object(all).to_string() }
}

/// The fields of each entry in the journal.
fn fields(spec: &ContainerSpec, name: &str) -> Vec<(String, Vec<u8>)> {
    let tag = tag(spec, name);
    let identifier = tag.clone().unwrap_or_else(|| spec.id.short().to_owned());
    let mut fields = vec![
        ("CONTAINER_ID_FULL".to_owned(), spec.id.to_string()),
        ("CONTAINER_ID".to_owned(), spec.id.short().to_owned()),
        ("CONTAINER_NAME".to_owned(), name.to_owned()),
        ("SYSLOG_IDENTIFIER".to_owned(), identifier),
    ];
    fields.extend(tag.map(|tag| ("CONTAINER_TAG".to_owned(), tag)));
    fields.extend(chosen(spec).into_iter().map(|(key, value)| (field_name(&key), value)));
    fields.into_iter().map(|(key, value)| (key, value.into_bytes())).collect()
}
