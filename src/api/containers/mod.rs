//! Containers.

pub(crate) mod archive;
pub(crate) mod create;
pub(crate) mod lifecycle;
pub(crate) mod list;
pub(crate) mod stats;
