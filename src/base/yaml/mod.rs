//! YAML text as a tree of [`node::Node`]s, and back.
//!
//! Read from the parser's events instead of by a typed deserializer, because Compose files need what those
//! throw away: tags, merges, the place of each value. Whoever needs none of it takes [`node::Node::to_json`].

pub(crate) mod node;
pub(crate) mod read;
pub(crate) mod scalar;
pub(crate) mod write;
