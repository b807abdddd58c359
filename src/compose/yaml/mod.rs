//! YAML: text to [`Node`](crate::compose::node::Node) and back.

pub(crate) mod read;
pub(crate) mod scalar;
pub(crate) mod write;
