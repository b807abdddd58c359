//! Row 4: from a [`ContainerSpec`](crate::base::spec::ContainerSpec) to a running process.

pub(crate) mod assemble;
pub(crate) mod clean;
pub(crate) mod copy;
pub(crate) mod defaults;
pub(crate) mod enter;
mod errand;
pub(crate) mod failure;
pub(crate) mod foreign_mount;
pub(crate) mod identity;
pub(crate) mod idmaps;
pub(crate) mod image_mount;
pub(crate) mod init;
pub(crate) mod launch;
pub(crate) mod layer;
pub(crate) mod monitor;
pub(crate) mod netcheck;
pub(crate) mod netd;
pub(crate) mod networks;
pub(crate) mod plan;
pub(crate) mod rootfs;
pub(crate) mod seccomp;
pub(crate) mod send_signal;
pub(crate) mod step;
pub(crate) mod suspend;
pub(crate) mod unshare;
pub(crate) mod updates;
pub(crate) mod worker;
