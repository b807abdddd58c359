//! netd as a whole, between real namespaces: the semantics a container sees.

mod lifecycle;
mod names;
mod outward;
mod published;
