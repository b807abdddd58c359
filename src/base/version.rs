//! The versions that ketch has, and keeps to.

/// The version of this build.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The podman that ketch keeps to; its interface has the same number.
pub(crate) const PODMAN: &str = "5.4.2";

/// The docker that ketch keeps to.
pub(crate) const DOCKER: &str = "28.3.3";

/// The version of that docker's interface.
pub(crate) const DOCKER_API: &str = "1.51";

/// The oldest interface that docker still speaks.
pub(crate) const DOCKER_OLDEST_API: &str = "1.24";
