//! Names in the store, for shells that complete them. A name is known as such by what the value is called in the help.

use crate::engine::Engine;
use crate::engine::config::Config;

/// The names of one kind that may begin as what was typed.
pub(super) type KnownNames = fn(&str) -> Vec<String>;

/// The store, unless there is none: a press of a key must not make one.
fn present_store() -> Option<Engine> {
    let config = Config::default();
    config.data_root().ok().filter(|root| root.join("format").exists())?;
    Engine::open(&config, |_| {}).ok()
}

pub(super) fn container_names(_: &str) -> Vec<String> {
    let names = present_store().and_then(|engine| engine.store().names().list().ok()).unwrap_or_default();
    names.into_iter().map(|(name, _)| name).collect()
}

pub(super) fn container_roots(typed: &str) -> Vec<String> {
    container_names(typed).into_iter().map(|name| name + ":").collect()
}

/// Images by their whole names, or from behind the part that was left out: `bb:latest`.
pub(super) fn image_names(typed: &str) -> Vec<String> {
    let refs = present_store().and_then(|engine| engine.store().refs().list().ok()).unwrap_or_default();
    let as_typed = |name: String| {
        let ends = name.match_indices('/').map(|(at, _)| at + 1);
        let found = std::iter::once(0).chain(ends).find(|start| name[*start..].starts_with(typed));
        found.map(|start| name[start..].to_owned())
    };
    refs.items.into_iter().filter_map(|known| as_typed(known.name.to_string())).collect()
}

pub(super) fn volume_names(_: &str) -> Vec<String> {
    let volumes = present_store().and_then(|engine| engine.store().volumes().list().ok()).unwrap_or_default();
    volumes.items.into_iter().map(|volume| volume.name).collect()
}

/// `NAME:` of volumes, for what is mounted from them.
pub(super) fn volume_roots(typed: &str) -> Vec<String> {
    volume_names(typed).into_iter().map(|name| name + ":").collect()
}

pub(super) fn network_names(_: &str) -> Vec<String> {
    let root = present_store().map(|engine| engine.store().root().join("networks"));
    let files = root.and_then(|root| std::fs::read_dir(root).ok()).into_iter().flatten().flatten();
    let name = |file: std::fs::DirEntry| Some(file.file_name().to_str()?.strip_suffix(".json")?.to_owned());
    files.filter_map(name).collect()
}

pub(super) fn secret_names(_: &str) -> Vec<String> {
    let found = present_store().and_then(|engine| engine.store().secrets().list().ok()).unwrap_or_default();
    found.items.into_iter().map(|secret| secret.name).collect()
}

pub(super) fn pod_names(_: &str) -> Vec<String> {
    let names = present_store().and_then(|engine| engine.pod_names().ok()).unwrap_or_default();
    names.into_values().collect()
}

/// Networks, and what may stand in their place.
pub(super) fn networks_and_modes(typed: &str) -> Vec<String> {
    let modes = ["bridge", "host", "none", "pasta", "private", "slirp4netns"].map(str::to_owned);
    modes.into_iter().chain(of_container(typed)).chain(network_names(typed)).collect()
}

/// `container:NAME`: one word until the colon is typed.
pub(super) fn of_container(typed: &str) -> Vec<String> {
    const MODE: &str = "container:";
    match typed.starts_with(MODE) {
        true => container_names(typed).into_iter().map(|name| format!("{MODE}{name}")).collect(),
        false => vec![MODE.to_owned()],
    }
}
