//! What has happened: noting it, and telling of it.
//!
//! Whatever changes a container, an image, a volume or a network says so by one of the `record…` functions,
//! after it has succeeded. A container's monitor does the same for what happens in it.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use crate::base::id::ContainerId;
use crate::base::image_ref::NameRule;
use crate::base::spec::{ContainerSpec, ImageOrigin};
use crate::engine::filter::{Filters, Tests, has_label};
use crate::engine::journal::{self, Journal};
use crate::engine::{Engine, Error, Kind, Result};
use crate::events::{self, reader::Reader};
pub(crate) use crate::events::{Backend, Event, Only};
use crate::logs::watch::Watch;
use crate::store::pods::PodRecord;
use crate::sys::fs;
use crate::sys::poll::{Interest, PollSet};

/// Keys of `events --filter`.
pub(crate) const FILTERS: &[&str] = &[
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "pod",
    "scope",
    "service",
    "status",
    "type",
    "volume",
];

/// How often to look where the kernel cannot report changes.
const LOOK: Duration = Duration::from_millis(100);
/// The longest spec that is read, in bytes.
const MAX_SPEC: usize = 16 << 20;

/// The part of a spec that events tell.
#[derive(Deserialize)]
struct Told {
    image: Option<ImageOrigin>,
    labels: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    as_typed: ToldAsTyped,
}

/// What docker calls that something was pruned.
pub(crate) const PRUNE: &str = "prune";

/// What events tell of how a container was asked for.
#[derive(Default, Deserialize)]
struct ToldAsTyped {
    #[serde(default)]
    image: String,
}

impl Engine {
    /// Where events go, in podman's word.
    pub(crate) fn events_backend_name(&self) -> &'static str {
        match self.events {
            Backend::File | Backend::FileAt(_) => "file",
            Backend::None => "none",
            Backend::Journald(_) => "journald",
        }
    }

    /// Notes what has happened.
    pub(crate) fn record(&self, event: Event) {
        events::record(self.store().root(), &self.events, &[event]);
    }

    /// Notes several things, all at once.
    pub(super) fn record_all(&self, all: &[Event]) {
        events::record(self.store().root(), &self.events, all);
    }

    /// Notes something about a container that is there.
    pub(crate) fn record_container(&self, status: &str, id: &ContainerId) {
        if self.events != Backend::None {
            self.record(self.container_event(status, id));
        }
    }

    /// Notes what docker alone tells of a container; nothing where podman's users ask.
    pub(crate) fn record_for_docker(&self, status: &str, id: &ContainerId, more: &[(&str, String)]) {
        if self.name_rule() == NameRule::Docker && self.events != Backend::None {
            let event = self.container_event(status, id).dockers_alone();
            self.record(more.iter().fold(event, |event, (key, value)| event.with(key, value)));
        }
    }

    /// Notes for docker's users that everything of a kind that is not used is gone, and how many bytes that were.
    pub(crate) fn record_prune(&self, kind: &str, bytes: u64) {
        if self.name_rule() == NameRule::Docker {
            self.record(Event::new(kind, PRUNE).dockers_alone().with("reclaimed", bytes));
        }
    }

    /// Something about a container that is there; for [`Engine::record`], once it has happened. What cannot
    /// be read of it is left out.
    pub(crate) fn container_event(&self, status: &str, id: &ContainerId) -> Event {
        let mut event = Event::new("container", status);
        event.id = id.to_string();
        event.name = self.known_name(id);
        let dir = self.store().containers().open(id);
        let text = dir.ok().and_then(|dir| fs::read_at(&dir, "spec.json", MAX_SPEC).ok());
        if let Some(told) = text.and_then(|text| serde_json::from_slice::<Told>(&text).ok()) {
            event.image = told.image.map(|image| image.name).unwrap_or_default();
            event.image_typed = told.as_typed.image;
            event.attributes = told.labels;
        }
        event
    }

    /// As [`Engine::container_event`], where the spec is at hand.
    pub(crate) fn event_of(&self, status: &str, spec: &ContainerSpec) -> Event {
        let mut event = Event::new("container", status);
        event.id = spec.id.to_string();
        event.name = self.known_name(&spec.id);
        event.image = spec.image.as_ref().map_or(String::new(), |image| image.name.clone());
        event.image_typed.clone_from(&spec.as_typed.image);
        event.attributes.clone_from(&spec.labels);
        event
    }

    /// Notes something about an image: its ID in hexadecimal, and the name it was meant by.
    pub(crate) fn record_image(&self, status: &str, id: &str, name: &str) {
        self.record(Event { id: id.to_owned(), name: name.to_owned(), ..Event::new("image", status) });
    }

    /// Notes for podman's users that an image was built; docker tells of builds otherwise.
    pub(crate) fn record_build(&self, id: &str) {
        let event = Event { id: id.to_owned(), name: id.to_owned(), ..Event::new("image", "build") };
        self.record(Event { only: Some(Only::Podman), ..event });
    }

    /// Notes something about a volume.
    pub(crate) fn record_volume(&self, status: &str, name: &str) {
        self.record(Event { name: name.to_owned(), ..Event::new("volume", status) });
    }

    /// Notes something about a pod.
    pub(crate) fn record_pod(&self, status: &str, pod: &PodRecord) {
        let (id, name) = (pod.id.to_string(), pod.name.clone());
        self.record(Event { id, name, ..Event::new("pod", status) });
    }

    /// Notes something about a network: its creation and removal, with its driver.
    pub(crate) fn record_network(&self, status: &str, id: &str, name: &str, driver: &str) {
        let attributes = [("driver".to_owned(), driver.to_owned())].into();
        let (id, network) = (id.to_owned(), name.to_owned());
        self.record(Event { id, network, attributes, ..Event::new("network", status) });
    }

    /// Notes that a container has come to a network, or left it.
    pub(crate) fn record_connection(&self, status: &str, id: &ContainerId, network: &str) {
        let (id, network) = (id.to_string(), network.to_owned());
        self.record(Event { id, network, ..Event::new("network", status) });
    }

    /// Notes something about ketch itself: `prune`, `refresh` …
    pub(crate) fn record_system(&self, status: &str) {
        self.record(Event::new("system", status));
    }

    /// The name of a container, from one look at all names; empty if it has none.
    pub(crate) fn known_name(&self, id: &ContainerId) -> String {
        let names = self.store().names();
        let is_right = |name: &String| matches!(names.get(name), Ok(Some(found)) if found == *id);
        if let Some(name) = self.names.borrow().get(id).filter(|name| is_right(name)) {
            return name.clone();
        }
        if let Ok(all) = names.list() {
            *self.names.borrow_mut() = all.into_iter().rev().map(|(name, id)| (id, name)).collect();
        }
        self.names.borrow().get(id).cloned().unwrap_or_default()
    }

    /// Remembers a name that was just given.
    pub(crate) fn remember_name(&self, id: &ContainerId, name: &str) {
        self.names.borrow_mut().insert(id.clone(), name.to_owned());
    }

    /// Gives the events that `query` asks for to `sink`, in the order in which they happened; `flush` is
    /// called before each pause. Those that docker alone has come where names are docker's.
    ///
    /// # Errors
    ///
    /// For a filter that means nothing; where no events are kept; reading; what `sink` and `flush` answer.
    pub(crate) fn events(
        &self,
        query: &EventQuery<'_>,
        mut sink: impl FnMut(&Event) -> io::Result<()>,
        mut flush: impl FnMut() -> io::Result<()>,
    ) -> Result<()> {
        let tests = query.filters.tests(|key, value| Ok((key.to_owned(), value.to_owned())))?;
        // Two words for one thing, whose values are alternatives.
        let tests = tests.joined("status", "event");
        let failed = |err: io::Error| Error::system("read the events", err);
        let without = if self.name_rule() == NameRule::Docker { Only::Podman } else { Only::Docker };
        let mut sink = |event: &Event| if event.only == Some(without) { Ok(()) } else { sink(event) };
        let Some(file) = events::file(self.store().root(), &self.events) else {
            return match self.events {
                Backend::Journald(_) => journal_events(query, &tests, &mut sink, &mut flush),
                _ => Err(Error::invalid("cannot read events with the \"none\" backend")),
            };
        };
        let only_new = query.follow && query.since.is_none() && query.until.is_none();
        let watch = self.watch_events();
        let mut reader = Reader::open(&file, only_new).map_err(failed)?;
        loop {
            if let Some(watch) = &watch {
                watch.clear().map_err(failed)?;
            }
            let now = Timestamp::now();
            let mut outcome = Ok(());
            let read = reader.read(|event| {
                if outcome.is_ok() && query.covers(&event) && passes(&tests, &event) {
                    outcome = sink(&event);
                }
            });
            read.and(outcome).and_then(|()| flush()).map_err(failed)?;
            if !query.follow || query.until.is_some_and(|until| now > until) {
                return Ok(());
            }
            let rest =
                query.until.map(|until| Duration::try_from(until.duration_since(now)).unwrap_or_default());
            let rest = rest.map(|rest| rest + Duration::from_millis(1));
            let look = if watch.is_some() { None } else { Some(LOOK) };
            let mut set = PollSet::default();
            set.add(watch.as_ref().map(|watch| watch.as_fd()), Interest::READ);
            let outlet = set.add_for_hang_up(query.outlet);
            set.wait(rest.into_iter().chain(look).min()).map_err(failed)?;
            if set.ready(outlet).hung_up {
                return Err(failed(io::ErrorKind::BrokenPipe.into()));
            }
        }
    }

    /// Notices new events; `None` where the user watches too much already: then looking now and then does it.
    pub(crate) fn watch_events(&self) -> Option<Watch> {
        // A store that cannot be written has no new events, but may have old ones.
        fs::mkdir(self.store().dir(), "events", 0o700).ok();
        let file = events::file(self.store().root(), &self.events)?;
        let directory = fs::open_base(file.parent()?).ok()?;
        let watch = Watch::new().ok()?;
        watch.add(directory.as_fd()).ok()?;
        Some(watch)
    }
}

/// Which events somebody wants.
#[derive(Clone, Debug, Default)]
pub(crate) struct EventQuery<'a> {
    pub(crate) since: Option<Timestamp>,
    pub(crate) until: Option<Timestamp>,
    pub(crate) filters: Filters,
    /// Those that come, too, up to `until`.
    pub(crate) follow: bool,
    /// What the events are written to: when nobody reads it any more, that is a broken pipe.
    pub(crate) outlet: Option<BorrowedFd<'a>>,
}

impl EventQuery<'_> {
    fn covers(&self, event: &Event) -> bool {
        self.since.is_none_or(|since| event.time >= since)
            && self.until.is_none_or(|until| event.time <= until)
    }
}

/// True if an event passes filters made ready.
fn passes(tests: &Tests<(String, String)>, event: &Event) -> bool {
    tests.pass(|(key, value)| Ok(passes_one(key, value, event))).unwrap_or(false)
}

fn passes_one(key: &str, value: &str, event: &Event) -> bool {
    let begins = |text: &str| !value.is_empty() && text.starts_with(value);
    match key {
        "container" => event.kind == "container" && (event.name == value || begins(&event.id)),
        "event" | "status" => event.status == podmans_word(value),
        "image" => {
            let of_container = event.kind == "container" && is_image(&event.image, value);
            of_container || event.kind == "image" && (is_image(&event.name, value) || begins(&event.id))
        }
        "label" => has_label(&event.attributes, value),
        "network" => event.kind == "network" && (event.network == value || begins(&event.id)),
        "type" => event.kind == value,
        "volume" => event.kind == "volume" && begins(&event.name),
        // Nothing is known beyond this machine.
        "scope" => value == "local",
        "pod" => event.kind == "pod" && (event.name == value || begins(&event.id)),
        // Nothing of a swarm.
        _ => false,
    }
}

/// Docker's word for what has happened to something of this kind: the other way round.
pub(crate) fn dockers_word<'s>(kind: &str, status: &'s str) -> &'s str {
    match (kind, status) {
        (_, "died") => "die",
        (_, "exec_died") => "exec_die",
        ("container", "exec") => "exec_start",
        ("container" | "network" | "volume", "remove") => "destroy",
        ("image", "remove") => "delete",
        (_, other) => other,
    }
}

/// podman's word for what docker calls otherwise.
fn podmans_word(status: &str) -> &str {
    match status {
        "die" => "died",
        "destroy" | "delete" => "remove",
        "exec_die" => "exec_died",
        "exec_start" => "exec",
        other => other,
    }
}

/// True if `name`, a full name of an image, is what `typed` means.
fn is_image(name: &str, typed: &str) -> bool {
    let strip = |text: &str| text.strip_suffix(":latest").unwrap_or(text).to_owned();
    let (name, typed) = (strip(name), strip(typed));
    name == typed || name.strip_suffix(&typed).is_some_and(|before| before.ends_with('/'))
}

/// Reads events from the system's journal, by its own program: its files are read by no other.
fn journal_events(
    query: &EventQuery<'_>,
    tests: &Tests<(String, String)>,
    sink: &mut impl FnMut(&Event) -> io::Result<()>,
    flush: &mut impl FnMut() -> io::Result<()>,
) -> Result<()> {
    let failed = |err: io::Error| Error::system("read the events from the journal", err);
    let follow = query.follow && query.until.is_none_or(|until| until > Timestamp::now());
    let mut what = vec!["SYSLOG_IDENTIFIER=ketch".to_owned()];
    what.extend(journal::times(query.since, query.until, follow));
    if follow {
        // As from the file: all that there was if it is to end some time, else what is new.
        let only_new = query.since.is_none() && query.until.is_none();
        what.push(if only_new { "--lines=0" } else { "--no-tail" }.to_owned());
    }
    let mut journal = Journal::open(&what).map_err(|err| match err.kind() {
        io::ErrorKind::NotFound => {
            Error::new(Kind::Unsupported, "the journal cannot be read: journalctl is missing")
                .hint("use --events-backend=file, or install systemd's journalctl")
        }
        _ => failed(err),
    })?;
    while !journal.has_ended() {
        let rest = query.until.filter(|_| follow).map(|until| until.duration_since(Timestamp::now()));
        if rest.is_some_and(|rest| rest.is_negative()) {
            break;
        }
        let rest = rest.map(|rest| Duration::try_from(rest).unwrap_or_default() + Duration::from_millis(1));
        let mut set = PollSet::default();
        let readable = set.add(Some(journal.as_fd()), Interest::READ);
        let outlet = set.add_for_hang_up(query.outlet);
        set.wait(rest).map_err(failed)?;
        if set.ready(outlet).hung_up {
            return Err(failed(io::ErrorKind::BrokenPipe.into()));
        }
        if set.ready(readable).read {
            let taken = journal.read_some(|line| match events::journal::parse(line) {
                Some(event) if query.covers(&event) && passes(tests, &event) => sink(&event),
                _ => Ok(()),
            });
            taken.and_then(|()| flush()).map_err(failed)?;
        }
    }
    Ok(())
}

/// Reads `--events-backend`, or the configuration's word; `journal` is where the journal listens, `file` the one to append to
/// in place of the store's.
///
/// # Errors
///
/// For an unknown word, in podman's words.
pub(crate) fn backend(word: &str, journal: PathBuf, file: Option<PathBuf>) -> Result<Backend> {
    match word {
        "file" => Ok(file.map_or(Backend::File, Backend::FileAt)),
        "none" => Ok(Backend::None),
        "journald" => Ok(Backend::Journald(journal)),
        _ => Err(Error::invalid(format!("unknown events backend {word:?}: choose file, journald or none"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters() {
        let container = Event {
            id: "abcdef".into(),
            name: "web".into(),
            image: "docker.io/library/nginx:latest".into(),
            attributes: [("a".to_owned(), "b".to_owned())].into(),
            ..Event::new("container", "died")
        };
        for (key, value, want) in [
            ("container", "web", true),
            ("container", "abc", true),
            ("container", "we", false),
            ("container", "", false),
            ("event", "died", true),
            ("event", "die", true),
            ("event", "start", false),
            ("image", "nginx", true),
            ("image", "docker.io/library/nginx:latest", true),
            ("image", "inx", false),
            ("label", "a=b", true),
            ("label", "c", false),
            ("type", "container", true),
            ("type", "image", false),
            ("volume", "web", false),
            ("pod", "x", false),
            ("scope", "local", true),
            ("scope", "swarm", false),
            ("daemon", "x", false),
        ] {
            assert_eq!(passes_one(key, value, &container), want, "{key}={value}");
        }
    }
}
