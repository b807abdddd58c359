//! Where the configuration of registries, credentials and certificates lies, by the environment.
//!
//! # Source
//!
//! containers-registries.conf(5), containers-auth.json(5), containers-certs.d(5), containers-policy.json(5), containers-registries.d(5); Docker's
//! DOCKER_CONFIG; OpenSSL's SSL_CERT_FILE.

use std::path::PathBuf;

use crate::engine::config::containers_conf::ContainersConf;
use crate::engine::config::{variable, xdg};
use crate::registry::auth::Stores;
use crate::registry::config::Paths;

/// `registries.conf` and what belongs to it: the file of `--registries-conf`, of the environment, or those in
/// the usual places.
pub(crate) fn registries(conf: &ContainersConf) -> Paths {
    let (config, cache) = (xdg("XDG_CONFIG_HOME", ".config"), xdg("XDG_CACHE_HOME", ".cache"));
    let instead = conf.registries_conf.clone().or_else(|| variable("CONTAINERS_REGISTRIES_CONF"));
    Paths::usual(instead, config.as_deref(), cache.as_deref())
}

/// Where credentials are: in `named` (`--authfile`), or where the environment says, or in the usual
/// places.
pub(crate) fn credentials(named: Option<PathBuf>) -> Stores {
    if let Some(file) = named.or_else(|| variable("REGISTRY_AUTH_FILE")) {
        return Stores::only(file);
    }
    let (runtime, docker) = (variable("XDG_RUNTIME_DIR"), variable("DOCKER_CONFIG"));
    let (config, home) = (xdg("XDG_CONFIG_HOME", ".config"), super::home().ok());
    Stores::usual(runtime.as_deref(), config.as_deref(), home.as_deref(), docker.as_deref())
}

/// The file that `login` writes: the one that `named` or REGISTRY_AUTH_FILE says, that of the session,
/// or where there is none, the user's. `None` without a home.
pub(crate) fn credentials_to_write(named: Option<PathBuf>) -> Option<PathBuf> {
    let session = || variable("XDG_RUNTIME_DIR").or_else(|| xdg("XDG_CONFIG_HOME", ".config"));
    let usual = || session().map(|dir| dir.join("containers/auth.json"));
    named.or_else(|| variable("REGISTRY_AUTH_FILE")).or_else(usual)
}

/// The `certs.d` directories, the strongest first.
pub(crate) fn certificates() -> Vec<PathBuf> {
    let user = xdg("XDG_CONFIG_HOME", ".config").map(|dir| dir.join("containers/certs.d"));
    let system = ["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from);
    user.into_iter().chain(system).collect()
}

/// Where registries.d may be; the first that exists counts.
pub(crate) fn attachments() -> Vec<PathBuf> {
    let user = xdg("XDG_CONFIG_HOME", ".config").map(|dir| dir.join("containers/registries.d"));
    user.into_iter().chain([PathBuf::from("/etc/containers/registries.d")]).collect()
}

/// Where policy.json may be, the strongest first.
pub(crate) fn policies() -> Vec<PathBuf> {
    policy_to_write().into_iter().chain([PathBuf::from("/etc/containers/policy.json")]).collect()
}

/// The user's own policy.json.
pub(crate) fn policy_to_write() -> Option<PathBuf> {
    xdg("XDG_CONFIG_HOME", ".config").map(|dir| dir.join("containers/policy.json"))
}

/// The bundle of trusted roots that the user names instead of the system's.
pub(crate) fn ca_bundle() -> Option<PathBuf> {
    variable("SSL_CERT_FILE")
}
