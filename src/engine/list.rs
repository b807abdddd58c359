//! Containers as listings need them: a part of each spec, its state, its name.

mod look;
mod summaries;

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::base::bytes::Bytes;
use crate::base::digest::Digest;
use crate::base::health::Health;
use crate::base::id::ContainerId;
use crate::base::image_ref::Purpose;
use crate::base::network::{PortMapping, Protocol};
use crate::base::order::InOrder as _;
use crate::base::pattern::Regex;
use crate::base::pod::{Membership, PodId};
use crate::base::spec::{ImageOrigin, MountKind, NetworkMode, RestartPolicy};
use crate::base::time;
use crate::engine::filter::{Filters, Tests, boolean, has_label};
use crate::engine::list::look::{Seen, look_at};
use crate::engine::list::summaries::Summaries;
use crate::engine::state::{Phase, Status};
use crate::engine::{Engine, Error, Result};
use crate::runtime::monitor;
use crate::store::StoreError;
use crate::sys::fs;

/// One container, as far as listings show it.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    pub(crate) id: ContainerId,
    pub(crate) name: String,
    pub(crate) summary: Summary,
    pub(crate) status: Status,
    /// What its monitor has found, if its health is checked.
    pub(crate) health: Option<Health>,
}

/// The part of a [`ContainerSpec`](crate::base::spec::ContainerSpec) that listings show. Reading only
/// this is what makes `ps` of hundreds of containers fast.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(crate) created: Timestamp,
    pub(crate) image: Option<ImageOrigin>,
    pub(crate) network: NetworkSummary,
    pub(crate) mounts: Vec<MountSummary>,
    pub(crate) restart: RestartPolicy,
    pub(crate) auto_remove: bool,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) exposed_ports: Vec<String>,
    #[serde(default, with = "crate::base::bytes::optional_path")]
    pub(crate) cid_file: Option<PathBuf>,
    pub(crate) as_typed: TypedSummary,
    /// The pod that it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<Membership>,
    /// There if its health is checked.
    #[serde(default)]
    health: Option<There>,
}

/// That something is there, whatever it is.
#[derive(Clone, Copy, Debug)]
struct There;

impl<'de> Deserialize<'de> for There {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

impl Serialize for There {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_bool(true)
    }
}

/// The part of the network that listings show.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct NetworkSummary {
    pub(crate) mode: NetworkMode,
    #[serde(default)]
    pub(crate) ports: Vec<PortMapping>,
}

/// The part of a mount that listings show.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct MountSummary {
    pub(crate) target: Bytes,
    pub(crate) kind: MountKind,
}

/// The part of the options as typed that listings show.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TypedSummary {
    #[serde(default)]
    pub(crate) entrypoint: Vec<Bytes>,
    pub(crate) command: Vec<Bytes>,
    #[serde(default)]
    pub(crate) image: String,
}

/// What a listing is about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    /// Those that do not run too.
    pub(crate) all: bool,
    /// Only the last so many that were created, whatever their state.
    pub(crate) last: Option<usize>,
    pub(crate) filters: Filters,
    /// Look for networks that were connected later, too: a file more for each container.
    pub(crate) connections: bool,
}

/// A listing, and what could not be read.
#[derive(Debug, Default)]
pub(crate) struct Containers {
    pub(crate) items: Vec<Container>,
    /// Those that cannot be read: ID, name, and why.
    pub(crate) damaged: Vec<(ContainerId, String, Error)>,
}

impl Engine {
    /// The containers that `query` asks for, the oldest first.
    ///
    /// # Errors
    ///
    /// For a filter that means nothing. What cannot be read is in [`Containers::damaged`].
    pub(crate) fn containers(&self, query: &Query) -> Result<Containers> {
        let tests = query.filters.tests(|key, value| self.container_test(key, value))?;
        let any_state = query.all || query.last.is_some() || query.filters.values("status").next().is_some();
        let mut found = self.all_containers(any_state)?;
        share_ports(&mut found.items);
        if query.connections || query.filters.values("network").next().is_some() {
            found.items.iter_mut().for_each(|container| self.read_connections(container));
        }
        let mut items = Vec::with_capacity(found.items.len());
        for container in found.items {
            if container.passes(&tests)? {
                items.push(container);
            }
        }
        items.order_by(|a, b| (a.summary.created, &a.id).cmp(&(b.summary.created, &b.id)));
        if let Some(last) = query.last {
            items.drain(..items.len().saturating_sub(last));
        }
        found.items = items;
        Ok(found)
    }

    /// Replaces the networks that a container was created on by those that it is on now.
    fn read_connections(&self, container: &mut Container) {
        if let NetworkMode::Bridge(networks) = &mut container.summary.network.mode
            && let Some(changed) = self.changed_attachments(&container.id)
        {
            *networks = changed;
        }
    }

    /// Every container, or every one that runs, in no order.
    fn all_containers(&self, any_state: bool) -> Result<Containers> {
        let store = self.store();
        let ids = store.containers().list()?;
        let known = Summaries::read(store, ids.len());
        let mut found = Containers::default();
        for (id, seen) in ids.iter().zip(look::in_lanes(&ids, |id| look_at(store, &known, id, any_state))) {
            match seen {
                Seen::Nothing => {}
                Seen::Container(container) => found.items.push(*container),
                Seen::HalfMade => self.discard_container(id),
                Seen::Damaged(err) => found.damaged.push((id.clone(), String::new(), err)),
            }
        }
        if any_state {
            known.keep(store, found.items.iter().map(|container| (&container.id, &container.summary)));
        }
        if !found.items.is_empty() || !found.damaged.is_empty() {
            self.read_names(&mut found)?;
        }
        Ok(found)
    }

    /// Says what the containers are called.
    fn read_names(&self, found: &mut Containers) -> Result<()> {
        let names = self.store().names().open()?;
        let owners = look::in_lanes(names.files(), |name| names.owner(name));
        // Of two names, in the middle of a rename, the same one each time.
        let mut names: Vec<(ContainerId, &str)> = owners
            .into_iter()
            .zip(names.files())
            .filter_map(|(id, name)| Some((id?, name.as_str())))
            .collect();
        names.order();
        let name_of = |id: &ContainerId| {
            let at = names.partition_point(|(owner, _)| owner < id);
            names
                .get(at)
                .filter(|(owner, _)| owner == id)
                .map_or(String::new(), |(_, name)| (*name).to_owned())
        };
        found.items.iter_mut().for_each(|container| container.name = name_of(&container.id));
        found.damaged.iter_mut().for_each(|(id, name, _)| *name = name_of(id));
        Ok(())
    }

    /// One container, as listings show it.
    ///
    /// # Errors
    ///
    /// If there is none, or it cannot be read.
    pub(crate) fn container_summary(&self, id: &ContainerId) -> Result<Container> {
        let dir = self.store().containers().open(id)?;
        let container = look::read_container(self.store(), &Summaries::default(), &dir, id, true)?;
        Ok(Container { name: self.container_name(id)?, ..container.expect("any state was asked for") })
    }

    /// The name of a container; empty if it has none.
    ///
    /// # Errors
    ///
    /// If names cannot be read.
    pub(crate) fn container_name(&self, id: &ContainerId) -> Result<String> {
        Ok(self.store().names().of(id)?.into_iter().next().unwrap_or_default())
    }

    /// Gives a container another name.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::engine::Kind::NotFound); Conflict if another has the name, Invalid if it is none.
    pub(crate) fn rename_container(&self, typed: &str, new: &str) -> Result<()> {
        let new = new.strip_prefix('/').unwrap_or(new);
        let lock = self.lock()?;
        let id = self.container(typed)?;
        let old = self.container_name(&id)?;
        if new == old {
            return Ok(());
        }
        match old.as_str() {
            "" => self.store().names().reserve(new, &id, &lock)?,
            old => self.store().names().rename(old, new, &id, &lock)?,
        }
        drop(lock);
        self.rename_on_networks(&id, new);
        if let Some(spec) = self.container_spec(&id).ok().filter(|spec| spec.pod.is_some()) {
            monitor::pod::rename(self.store().root(), &spec, &old, new);
        }
        self.remember_name(&id, new);
        self.record_container("rename", &id);
        Ok(())
    }

    /// The ID of the container that was created last.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::engine::Kind::NotFound) if there is none.
    pub(crate) fn latest_container(&self) -> Result<ContainerId> {
        let query = Query { last: Some(1), ..Query::default() };
        let latest = self.containers(&query)?.items.pop();
        latest
            .map(|container| container.id)
            .ok_or_else(|| Error::not_found("no containers: no such container"))
    }

    /// Bytes of the files a container has changed or made.
    ///
    /// Files in directories that belong to other IDs and are closed to the user are not counted.
    pub(crate) fn container_size(&self, id: &ContainerId) -> Result<u64> {
        let dir = self.store().containers().open(id)?;
        match fs::tree::usage(&dir, "upper".as_ref()) {
            Ok(usage) => Ok(usage.bytes),
            // A container with a root file system of the user's own has none.
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(0),
            Err(err) => Err(Error::system(format!("measure the files of container {}", id.short()), err)),
        }
    }

    /// Makes ready what is the same for all containers.
    fn container_test(&self, key: &str, value: &str) -> Result<ContainerTest> {
        let text = || value.to_owned();
        Ok(match key {
            "ancestor" => self.ancestor_test(value)?,
            "before" => ContainerTest::Before(self.created_of(value)?),
            "since" => ContainerTest::Since(self.created_of(value)?),
            "until" => {
                let when = time::parse_when(value, Timestamp::now(), &TimeZone::system());
                ContainerTest::Before(when.map_err(|err| Error::invalid(err.to_string()))?)
            }
            "exited" => match value.parse() {
                Ok(code) => ContainerTest::Exited(code),
                Err(_) => {
                    return Err(Error::invalid(format!(
                        "exited code out of range {value:?}: invalid syntax"
                    )));
                }
            },
            "status" if value == "restarting" => ContainerTest::Restarting,
            "status" => ContainerTest::Word(status_word(value)?),
            "id" if value.bytes().all(|c| c.is_ascii_hexdigit()) => {
                ContainerTest::Id(value.to_ascii_lowercase())
            }
            "id" => ContainerTest::IdLike(Regex::new(value).map_err(|err| Error::invalid(err.to_string()))?),
            "name" => {
                // Docker's names begin with a slash, and its filters often say so: `^/web$`, `^(/a|/b)$`. No name has one.
                let pattern = Regex::new(&value.replace('/', ""));
                ContainerTest::Name(pattern.map_err(|err| Error::invalid(err.to_string()))?)
            }
            "label" => ContainerTest::Label(text()),
            "label!" => ContainerTest::NoLabel(text()),
            "volume" => ContainerTest::Volume(text()),
            // By name or ID; what is no network may be the word that a container was given.
            "network" => {
                ContainerTest::Network(self.network(value).map_or_else(|_| text(), |network| network.name))
            }
            "expose" => ContainerTest::Expose(PortRange::read(value)?),
            "publish" => ContainerTest::Publish(PortRange::read(value)?),
            "restart-policy" => ContainerTest::Restart(restart(value)?),
            "command" => ContainerTest::Command(text()),
            "should-start-on-boot" => ContainerTest::StartsOnBoot(boolean(key, value)?),
            "health" => match value {
                "starting" => ContainerTest::Health(Some(Health::Starting)),
                "healthy" => ContainerTest::Health(Some(Health::Healthy)),
                "unhealthy" => ContainerTest::Health(Some(Health::Unhealthy)),
                "none" => ContainerTest::Health(None),
                _ => return Err(Error::invalid(format!("unknown health status: {value}: invalid argument"))),
            },
            // By name, or the beginning of the ID.
            _ => self.pod(value).map_or(ContainerTest::Never, ContainerTest::Pod),
        })
    }

    fn created_of(&self, typed: &str) -> Result<Timestamp> {
        let id = self.container(typed)?;
        Ok(self.container_summary(&id)?.summary.created)
    }

    /// Containers of an image, or of one that is made from it.
    fn ancestor_test(&self, value: &str) -> Result<ContainerTest> {
        let image = match self.store().resolve_image(value, Purpose::Read) {
            Ok(found) => found.image,
            Err(StoreError::NotFound { .. }) => return Ok(ContainerTest::ImageName(value.to_owned())),
            Err(err) => return Err(err.into()),
        };
        let chain = image.chain_ids();
        let top = chain.last();
        let others = self.store().images().list()?.items.into_iter();
        let below: Vec<Digest> = others
            .filter(|other| top.is_some_and(|top| other.chain_ids().contains(top)))
            .map(|o| o.id)
            .collect();
        Ok(ContainerTest::Image(below.into_iter().chain([image.id]).collect()))
    }
}

/// Whoever shares another's network has its ports, as far as that one is listed.
fn share_ports(containers: &mut [Container]) {
    let shares = |one: &Container| match &one.summary.network.mode {
        NetworkMode::Container(id) => Some(id.clone()),
        _ => None,
    };
    for at in 0..containers.len() {
        if let Some(id) = shares(&containers[at])
            && let Some(other) = containers.iter().find(|other| other.id == id)
        {
            containers[at].summary.network.ports = other.summary.network.ports.clone();
        }
    }
}

/// A filter made ready.
#[derive(Debug)]
enum ContainerTest {
    Never,
    Health(Option<Health>),
    Image(Vec<Digest>),
    ImageName(String),
    Before(Timestamp),
    Since(Timestamp),
    Exited(i32),
    Word(&'static str),
    /// It has ended, and is started again after a pause.
    Restarting,
    Id(String),
    IdLike(Regex),
    Name(Regex),
    Label(String),
    NoLabel(String),
    Volume(String),
    Network(String),
    Restart(RestartPolicy),
    Command(String),
    Expose(PortRange),
    Publish(PortRange),
    StartsOnBoot(bool),
    Pod(PodId),
}

/// What docker's filters of ports take: `80`, `8000-8100/udp`; TCP if it does not say.
#[derive(Debug)]
struct PortRange {
    first: u16,
    last: u16,
    protocol: Protocol,
}

impl PortRange {
    fn read(text: &str) -> Result<Self> {
        let invalid = || Error::invalid(format!("invalid port {text:?}: write 80, 80/udp or 8000-8100"));
        let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let read = |port: &str| port.parse().map_err(|_| invalid());
        let protocol = protocol.parse().map_err(|()| invalid())?;
        let range = Self { first: read(first)?, last: read(last)?, protocol };
        if range.first <= range.last { Ok(range) } else { Err(invalid()) }
    }

    /// Whether one of `count` ports from `first` on is in it.
    fn meets(&self, first: u16, count: u16, protocol: Protocol) -> bool {
        let last = first.saturating_add(count.saturating_sub(1));
        protocol == self.protocol && first <= self.last && self.first <= last
    }
}

/// The word that [`Phase::word`] has for a state's name.
fn status_word(name: &str) -> Result<&'static str> {
    match name {
        "created" | "configured" => Ok("created"),
        "initialized" => Ok("initialized"),
        "running" => Ok("running"),
        "exited" | "stopped" => Ok("exited"),
        "paused" => Ok("paused"),
        // ketch's containers are never in these.
        "stopping" | "removing" | "unknown" | "dead" => Ok("unknown"),
        _ => Err(Error::invalid(format!("unknown container state: {name}: invalid argument"))),
    }
}

fn restart(name: &str) -> Result<RestartPolicy> {
    match name {
        "no" | "none" | "" => Ok(RestartPolicy::No),
        "always" => Ok(RestartPolicy::Always),
        "unless-stopped" => Ok(RestartPolicy::UnlessStopped),
        "on-failure" => Ok(RestartPolicy::OnFailure { max: 0 }),
        _ => Err(Error::invalid(format!("unknown restart policy {name:?}"))),
    }
}

/// Whether a container has ended, and its monitor starts it again after a pause.
pub(crate) fn will_restart(status: &Status, policy: RestartPolicy) -> bool {
    let Phase::Ending(code) = status.phase else { return false };
    let record = status.record.as_ref();
    if record.and_then(|record| record.ended.as_ref()).is_some_and(|end| end.stopped_by_user) {
        return false;
    }
    match policy {
        RestartPolicy::No => false,
        RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
        RestartPolicy::OnFailure { max } => {
            code != 0 && (max == 0 || record.is_some_and(|record| record.restarts < max))
        }
    }
}

impl Container {
    /// True if its process 1 runs.
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.status.phase, Phase::Up | Phase::Unmonitored)
    }

    /// Whether it has ended, and its monitor starts it again after a pause.
    pub(crate) fn will_restart(&self) -> bool {
        will_restart(&self.status, self.summary.restart)
    }

    fn passes(&self, tests: &Tests<ContainerTest>) -> Result<bool> {
        tests.pass(|test| Ok(self.passes_one(test)))
    }

    fn passes_one(&self, test: &ContainerTest) -> bool {
        let Summary { created, labels, image, .. } = &self.summary;
        match test {
            ContainerTest::Health(health) => self.health == *health,
            ContainerTest::Never => false,
            ContainerTest::Pod(id) => self.summary.pod.as_ref().is_some_and(|pod| pod.id == *id),
            ContainerTest::Image(ids) => image.as_ref().is_some_and(|image| ids.contains(&image.id)),
            ContainerTest::ImageName(name) => image.as_ref().is_some_and(|image| image.name == *name),
            ContainerTest::Before(time) => created < time,
            ContainerTest::Since(time) => created > time,
            ContainerTest::Exited(code) => match self.status.phase {
                Phase::Ending(found) | Phase::Exited(found) => found == *code,
                _ => false,
            },
            ContainerTest::Restarting => self.will_restart(),
            ContainerTest::Word(word) => self.status.word() == *word,
            ContainerTest::Id(start) => self.id.as_str().starts_with(start.as_str()),
            ContainerTest::IdLike(pattern) => pattern.is_match(self.id.as_str()),
            ContainerTest::Name(pattern) => pattern.is_match(&self.name),
            ContainerTest::Label(filter) => has_label(labels, filter),
            ContainerTest::NoLabel(filter) => !has_label(labels, filter),
            ContainerTest::Volume(volume) => self.uses_volume(volume),
            ContainerTest::Network(name) => self.network_names().contains(name),
            ContainerTest::Restart(RestartPolicy::OnFailure { .. }) => {
                matches!(self.summary.restart, RestartPolicy::OnFailure { .. })
            }
            ContainerTest::Restart(policy) => self.summary.restart == *policy,
            ContainerTest::Command(word) => {
                self.summary.as_typed.command.first().is_some_and(|first| first.as_bytes() == word.as_bytes())
            }
            ContainerTest::Publish(ports) => self
                .summary
                .network
                .ports
                .iter()
                .any(|map| ports.meets(map.host_port, map.range, map.protocol)),
            ContainerTest::Expose(ports) => {
                let mut published = self.summary.network.ports.iter();
                let exposed =
                    || self.summary.exposed_ports.iter().filter_map(|port| PortRange::read(port).ok());
                published.any(|map| ports.meets(map.container_port, map.range, map.protocol))
                    || exposed().any(|own| {
                        ports.meets(own.first, (own.last - own.first).saturating_add(1), own.protocol)
                    })
            }
            ContainerTest::StartsOnBoot(wanted) => self.starts_on_boot() == *wanted,
        }
    }

    /// True if a mount has this source, target or volume name.
    fn uses_volume(&self, text: &str) -> bool {
        let bytes = text.as_bytes();
        self.summary.mounts.iter().any(|mount| {
            mount.target.as_bytes() == bytes
                || match &mount.kind {
                    MountKind::Bind { source, .. } => source.as_os_str().as_encoded_bytes() == bytes,
                    MountKind::Volume { name, .. } => name == text,
                    _ => false,
                }
        })
    }

    /// The networks that the container is in, by name.
    pub(crate) fn network_names(&self) -> Vec<String> {
        match &self.summary.network.mode {
            NetworkMode::Host => vec!["host".to_owned()],
            NetworkMode::None => vec!["none".to_owned()],
            NetworkMode::Bridge(networks) => networks.iter().map(|on| on.name.clone()).collect(),
            NetworkMode::Private(network) => vec![network.word.clone()],
            _ => Vec::new(),
        }
    }

    /// True if it is to run again after the machine was started.
    fn starts_on_boot(&self) -> bool {
        let ended = self.status.record.as_ref().and_then(|record| record.ended.as_ref());
        match self.summary.restart {
            RestartPolicy::Always => true,
            RestartPolicy::UnlessStopped => !ended.is_some_and(|end| end.stopped_by_user),
            _ => false,
        }
    }
}
