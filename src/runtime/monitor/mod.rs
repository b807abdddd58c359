//! The process that watches one container.

pub(crate) mod serve;
