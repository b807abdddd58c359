//! Row 1: types and pure functions, without any input or output.

pub(crate) mod bytes;
pub(crate) mod caps;
pub(crate) mod digest;
pub(crate) mod dockerfile;
pub(crate) mod escape;
pub(crate) mod health;
pub(crate) mod id;
pub(crate) mod idmap;
pub(crate) mod image_document;
pub(crate) mod image_ref;
pub(crate) mod limits;
pub(crate) mod manifest;
pub(crate) mod mount_syntax;
pub(crate) mod names;
pub(crate) mod network;
pub(crate) mod pattern;
pub(crate) mod platform;
pub(crate) mod rlimit;
pub(crate) mod signal;
pub(crate) mod size;
pub(crate) mod spec;
pub(crate) mod stream;
pub(crate) mod tar;
pub(crate) mod time;
