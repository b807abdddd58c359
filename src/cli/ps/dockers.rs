//! What docker's listings of containers say otherwise than podman's: `docker ps`, and Compose's tables.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::base::digest::Digest;
use crate::base::image_ref::NameRule;
use crate::base::spec::{MountKind, NetworkMode};
use crate::base::time;
use crate::engine::list::Container;
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
    pub(super) fn image(&self, container: &Container, no_trunc: bool) -> String {
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

/// The state in Docker's words: one that is paused is up all the same.
pub(crate) fn status(container: &Container, now: Timestamp) -> String {
    let ended = container.status.record.as_ref().and_then(|record| record.ended.as_ref());
    if let Some(end) = ended.filter(|_| container.will_restart()) {
        return format!("Restarting ({}) {}", end.exit_code, time::human_ago(end.at, now));
    }
    if !container.status.paused {
        let status = super::status(container, now);
        return if status == "Initialized" {
            "Created".to_owned()
        } else {
            status.replace(" (starting)", " (health: starting)")
        };
    }
    let since = container.status.record.as_ref().map_or(now, |record| record.started);
    format!("Up {} (Paused)", time::human(now.duration_since(since)))
}

/// Its networks; those that are none are called by their mode.
pub(super) fn networks(container: &Container) -> Vec<String> {
    match container.summary.network.mode {
        NetworkMode::None => vec!["none".to_owned()],
        NetworkMode::Host => vec!["host".to_owned()],
        _ => {
            let names = container.network_names();
            names.iter().map(|name| crate::documents::network::names::name(name).to_owned()).collect()
        }
    }
}

/// The volumes and places of the host that it uses.
pub(super) fn mounts(container: &Container, no_trunc: bool) -> String {
    let source = |kind: &MountKind| match kind {
        MountKind::Volume { name, .. } => Some(name.clone()),
        MountKind::Bind { source, .. } => Some(source.display().to_string()),
        _ => None,
    };
    let sources = container.summary.mounts.iter().filter_map(|mount| source(&mount.kind));
    let shown = sources.map(|source| if no_trunc { source } else { shortened(&source, 15) });
    shown.collect::<Vec<_>>().join(",")
}
