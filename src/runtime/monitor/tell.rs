//! What a monitor tells of its container's life: the events.

use std::path::{Path, PathBuf};

use crate::base::spec::ContainerSpec;
use crate::events::{self, Backend, Event};
use crate::runtime::launch::LaunchOrder;

/// Notes events of one container.
#[derive(Clone, Debug)]
pub(super) struct Teller {
    root: PathBuf,
    backend: Backend,
    /// What all events of the container share.
    about: Event,
}

impl Teller {
    pub(super) fn new(order: &LaunchOrder, spec: &ContainerSpec) -> Self {
        let mut about = Event::new("container", "");
        about.id = spec.id.to_string();
        about.name.clone_from(&order.name);
        about.image = spec.image.as_ref().map_or(String::new(), |image| image.name.clone());
        about.image_typed.clone_from(&spec.as_typed.image);
        about.attributes.clone_from(&spec.labels);
        Self { root: order.root.clone(), backend: order.events.clone(), about }
    }

    /// The container's name.
    pub(super) fn name(&self) -> &str {
        &self.about.name
    }

    /// An event of this moment.
    pub(super) fn event(&self, status: &str) -> Event {
        Event { time: jiff::Timestamp::now(), status: status.to_owned(), ..self.about.clone() }
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
