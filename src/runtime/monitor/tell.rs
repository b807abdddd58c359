//! What a monitor tells of its container's life: the events.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::spec::{ContainerSpec, MountKind, NetworkMode};
use crate::events::{self, Backend, Event, Only};
use crate::runtime::launch::LaunchOrder;
use crate::runtime::monitor::wiring;

/// Notes events of one container.
#[derive(Clone, Debug)]
pub(super) struct Teller {
    root: PathBuf,
    backend: Backend,
    /// What all events of the container share.
    about: Event,
    /// Its volumes: name, target, whether it writes there.
    volumes: Vec<(String, String, bool)>,
    network: NetworkMode,
}

impl Teller {
    pub(super) fn new(order: &LaunchOrder, spec: &ContainerSpec) -> Self {
        let mut about = Event::new("container", "");
        about.id = spec.id.to_string();
        about.name.clone_from(&order.name);
        about.image = spec.image.as_ref().map_or(String::new(), |image| image.name.clone());
        about.image_typed.clone_from(&spec.as_typed.image);
        about.attributes.clone_from(&spec.labels);
        let volumes = spec.mounts.iter().filter_map(|mount| match &mount.kind {
            MountKind::Volume { name, .. } => {
                Some((name.clone(), mount.target.to_string_lossy().into_owned(), !mount.read_only))
            }
            _ => None,
        });
        Self {
            root: order.root.clone(),
            backend: order.events.clone(),
            about,
            volumes: volumes.collect(),
            network: spec.network.mode.clone(),
        }
    }

    /// Tells that a life has begun, by events of these words.
    pub(super) fn tell_beginning(&self, directory: &Path, words: &[&str]) {
        if !words.is_empty() {
            let begun = words.iter().map(|word| self.event(word));
            self.tell(&Vec::from_iter(self.takes(directory).into_iter().chain(begun)));
        }
    }

    /// Tells that it has ended.
    pub(super) fn tell_end(&self, directory: &Path, exit_code: i32, lasted: Duration) {
        let died = self.event("died").with("execDuration", lasted.as_secs());
        let mut ending = vec![Event { container_exit_code: Some(exit_code), ..died }];
        ending.extend(self.gives_back(directory));
        ending.push(self.event("cleanup"));
        self.tell(&ending);
    }

    /// What docker tells of before a start: the volumes and networks that the container takes.
    fn takes(&self, directory: &Path) -> Vec<Event> {
        let mounted = self.volumes.iter().map(|(name, target, writes)| {
            let event = self.of_volume("mount", name).with("destination", target);
            event.with("propagation", "").with("read/write", writes)
        });
        let networks = self.networks(directory);
        let joined = networks.iter().map(|network| self.of_network("connect", network));
        mounted.chain(joined).collect()
    }

    /// The same behind an end: those that it gives back.
    fn gives_back(&self, directory: &Path) -> Vec<Event> {
        let networks = self.networks(directory);
        let left = networks.iter().map(|network| self.of_network("disconnect", network));
        let unmounted = self.volumes.iter().map(|(name, ..)| self.of_volume("unmount", name));
        left.chain(unmounted).collect()
    }

    /// The networks that it is on now.
    fn networks(&self, directory: &Path) -> Vec<String> {
        match &self.network {
            NetworkMode::None => vec!["none".to_owned()],
            NetworkMode::Host => vec!["host".to_owned()],
            NetworkMode::Bridge(attachments) => {
                // What cannot be read is nothing new.
                let changed = wiring::changed_attachments(directory).ok().flatten();
                let now = changed.as_ref().unwrap_or(attachments);
                now.iter().map(|attachment| attachment.name.clone()).collect()
            }
            _ => Vec::new(),
        }
    }

    fn of_volume(&self, status: &str, name: &str) -> Event {
        let event = Event { name: name.to_owned(), ..Event::new("volume", status) };
        event.with("container", &self.about.id).dockers_alone()
    }

    fn of_network(&self, status: &str, network: &str) -> Event {
        let event =
            Event { id: self.about.id.clone(), network: network.to_owned(), ..Event::new("network", status) };
        event.dockers_alone()
    }

    /// The container's name.
    pub(super) fn name(&self) -> &str {
        &self.about.name
    }

    /// An event of this moment.
    pub(super) fn event(&self, status: &str) -> Event {
        // That a policy has started it docker tells by the start alone.
        let only = (status == "restart").then_some(Only::Podman);
        Event { time: jiff::Timestamp::now(), status: status.to_owned(), only, ..self.about.clone() }
    }

    /// Notes events, all at once.
    pub(super) fn tell(&self, events: &[Event]) {
        events::record(&self.root, &self.backend, events);
    }

    /// The container may have been given another name meanwhile.
    pub(super) fn look_for_name(&mut self) {
        let is_ours = |name: &str| {
            let target = std::fs::read_link(self.root.join("names").join(name));
            target.is_ok_and(|target| target == Path::new(&self.about.id))
        };
        if self.about.name.is_empty() || is_ours(&self.about.name) {
            return;
        }
        let names = std::fs::read_dir(self.root.join("names")).into_iter().flatten().flatten();
        let name = names.filter_map(|entry| entry.file_name().into_string().ok()).find(|name| is_ours(name));
        if let Some(name) = name {
            self.about.name = name;
        }
    }
}
