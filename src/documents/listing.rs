//! What listings of containers say: state and health in words, and what docker's say otherwise than podman's.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::base::digest::Digest;
use crate::base::image_ref::NameRule;
use crate::base::spec::{MountKind, NetworkMode};
use crate::base::time;
use crate::documents::network::names;
use crate::engine::list::Container;
use crate::engine::state::Phase;
use crate::engine::{Engine, Result};

/// The images that names mean now.
#[derive(Debug, Default)]
pub(crate) struct Named(HashMap<String, Digest>);

impl Named {
    /// # Errors
    ///
    /// If the store cannot be read.
    pub(crate) fn read(engine: &Engine) -> Result<Self> {
        let all = engine.named_images()?.into_iter();
        Ok(Self(all.map(|(name, image)| (name.to_string(), image)).collect()))
    }

    /// The image of a container as it was typed; its ID where that name means another one by now.
    pub(crate) fn image(&self, container: &Container, no_trunc: bool) -> String {
        let summary = &container.summary;
        let Some(image) = &summary.image else { return String::new() };
        let id = || if no_trunc { image.id.to_string() } else { image.id.hex()[..12].to_owned() };
        let has_name = image.name.contains('/') && !image.name.contains('@');
        if has_name && self.0.get(&image.name) != Some(&image.id) {
            return id();
        }
        let typed = match summary.as_typed.image.as_str() {
            "" => &NameRule::Docker.shown_text(&image.name),
            typed => typed,
        };
        let hex = typed.strip_prefix("sha256:").unwrap_or(typed);
        let is_id = hex.len() >= 12 && image.id.hex().starts_with(hex);
        match typed.split_once('@') {
            _ if no_trunc => typed.to_owned(),
            _ if is_id => id(),
            Some((name, _)) => name.to_owned(),
            None => typed.to_owned(),
        }
    }
}

/// Entrypoint and command in one line, the parts quoted as Docker quotes them: those with blanks.
pub(crate) fn command(container: &Container) -> String {
    let mut line = String::new();
    let typed = &container.summary.as_typed;
    for (place, word) in typed.entrypoint.iter().chain(&typed.command).enumerate() {
        let word = word.to_string_lossy();
        match place {
            0 => line.push_str(&word),
            _ if word.contains(' ') => line.push_str(&format!(" '{}'", word.replace('\'', "\\'"))),
            _ => line.push_str(&format!(" {word}")),
        }
    }
    line
}

/// The same between quotes, and not longer than a column.
pub(crate) fn short_command(container: &Container, no_trunc: bool) -> String {
    let command = command(container);
    let command = if no_trunc { command } else { shortened(&command, 20) };
    format!("{command:?}")
}

/// A text of at most so many characters, the last of which says that there were more.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most - 1).chain(['…']).collect(),
    }
}

/// The state in podman's words: `Up 2 seconds`, `Exited (0) 3 minutes ago`, `Created`.
pub(crate) fn podmans_status(container: &Container, now: Timestamp) -> String {
    let record = container.status.record.as_ref();
    if container.status.paused {
        return "Paused".to_owned();
    }
    match container.status.phase {
        Phase::Created => "Created".to_owned(),
        Phase::Starting | Phase::Initialized => "Initialized".to_owned(),
        phase @ (Phase::Up | Phase::Unmonitored) => {
            let since = record.map_or(now, |record| record.started);
            let lost = if phase == Phase::Unmonitored { " (unmonitored)" } else { "" };
            let health = container.health.map_or(String::new(), |health| format!(" ({})", health.word()));
            format!("Up {}{health}{lost}", time::human(now.duration_since(since)))
        }
        Phase::Ending(code) | Phase::Exited(code) => match record.and_then(|record| record.ended.as_ref()) {
            Some(end) => format!("Exited ({code}) {}", time::human_ago(end.at, now)),
            // Lost with the machine or its monitor: nobody knows when.
            None => format!("Exited ({code})"),
        },
    }
}

/// The state in Docker's words: one that is paused is up all the same.
pub(crate) fn status(container: &Container, now: Timestamp) -> String {
    let ended = container.status.record.as_ref().and_then(|record| record.ended.as_ref());
    if let Some(end) = ended.filter(|_| container.will_restart()) {
        return format!("Restarting ({}) {}", end.exit_code, time::human_ago(end.at, now));
    }
    if !container.status.paused {
        let status = podmans_status(container, now);
        return if status == "Initialized" {
            "Created".to_owned()
        } else {
            status.replace(" (starting)", " (health: starting)")
        };
    }
    let since = container.status.record.as_ref().map_or(now, |record| record.started);
    format!("Up {} (Paused)", time::human(now.duration_since(since)))
}

/// The state in one word, as Docker has it.
pub(crate) fn state(container: &Container) -> &'static str {
    match container.status.phase {
        _ if container.status.paused => "paused",
        _ if container.will_restart() => "restarting",
        Phase::Starting | Phase::Initialized => "created",
        phase => phase.word(),
    }
}

/// Its networks; those that are none are called by their mode.
pub(crate) fn networks(container: &Container) -> Vec<String> {
    match container.summary.network.mode {
        NetworkMode::None => vec!["none".to_owned()],
        NetworkMode::Host => vec!["host".to_owned()],
        _ => {
            let names = container.network_names();
            names.iter().map(|name| names::name(name).to_owned()).collect()
        }
    }
}

/// The volumes and places of the host that it uses.
pub(crate) fn mounts(container: &Container, no_trunc: bool) -> String {
    let source = |kind: &MountKind| match kind {
        MountKind::Volume { name, .. } => Some(name.clone()),
        MountKind::Bind { source, .. } => Some(source.display().to_string()),
        _ => None,
    };
    let sources = container.summary.mounts.iter().filter_map(|mount| source(&mount.kind));
    let shown = sources.map(|source| if no_trunc { source } else { shortened(&source, 15) });
    shown.collect::<Vec<_>>().join(",")
}
