//! Row 4: from a container's specification to a running process.

pub(crate) mod defaults;
pub(crate) mod monitor;
pub(crate) mod seccomp;
