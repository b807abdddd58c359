//! Row 7: pods from Kubernetes manifests, and manifests from pods.
//!
//! ```text
//! text ──read──▶ Object ──plan──▶ PodRequest, ContainerRequests ──apply──▶ engine
//! spec.json, pod.json, volume.json ──generate──▶ text
//! ```
//!
//! All but [`apply`] is pure. Source: the Kubernetes API reference (core/v1, apps/v1, batch/v1), podman-kube-play(1),
//! and podman 5.4 where these are silent.

pub(crate) mod apply;
pub(crate) mod cluster;

mod fields;
pub(crate) mod files;
pub(crate) mod generate;
mod host;
pub(crate) mod plan;
mod ports;
mod probes;
pub(crate) mod quantity;
pub(crate) mod read;
mod read_container;
mod read_pod;
pub(crate) mod types;
mod variables;
pub(crate) mod volumes;
