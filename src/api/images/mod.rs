//! Images: what there is, where it comes from and where it goes.

pub(crate) mod archive;
pub(crate) mod commit;
pub(crate) mod credentials;
pub(crate) mod inspect;
pub(crate) mod lines;
pub(crate) mod list;
pub(crate) mod names;
pub(crate) mod progress;
pub(crate) mod prune;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod registry;
