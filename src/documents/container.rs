//! The document about a container.

mod docker;
mod limits;
mod network;
mod podman;

use serde_json::Value;

use super::pruned::prune;
use crate::base::id::ContainerId;
use crate::engine::inspect::ContainerDetails;
use crate::engine::list::Container;
use crate::engine::{Engine, Result};

pub(crate) use docker::{OMIT as DOCKERS_OMIT, OMIT_BUT_SIZES as DOCKERS_OMIT_BUT_SIZES};
pub(crate) use network::port_bindings;
pub(crate) use podman::{OMIT, OMIT_BUT_SIZES, document, shown_mount, sizes};

/// Docker's document about a container, which was found by the text `typed`; with `size` its files are measured.
///
/// # Errors
///
/// If it is gone or damaged.
pub(crate) fn docker(engine: &Engine, id: &ContainerId, typed: &str, size: bool) -> Result<Value> {
    let details = engine.inspect_container(id, typed)?;
    let sizes = if size { Some(sizes(engine, &details)?) } else { None };
    let whole = whole_docker(engine, &details, sizes);
    Ok(prune(&whole, if size { DOCKERS_OMIT_BUT_SIZES } else { DOCKERS_OMIT }))
}

/// The parts of that document that docker's listing has: the mode of the network, the networks, the mounts.
///
/// # Errors
///
/// If it is gone or damaged.
pub(crate) fn docker_listed(engine: &Engine, found: &Container) -> Result<Value> {
    let details = ContainerDetails {
        id: found.id.clone(),
        name: found.name.clone(),
        spec: engine.container_spec(&found.id)?,
        status: found.status.clone(),
        health: None,
        dir: engine.store().containers().path(&found.id),
        id_maps: None,
        exec_ids: Vec::new(),
    };
    Ok(prune(&docker::listed(engine, &details), DOCKERS_OMIT))
}

/// Docker's document, with the fields that JSON leaves out when they are empty.
pub(crate) fn whole_docker(engine: &Engine, details: &ContainerDetails, sizes: Option<(u64, u64)>) -> Value {
    docker::of_podman(engine, details, document(engine, details, sizes))
}
