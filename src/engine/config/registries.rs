//! Where the configuration of registries, credentials and certificates lies, by the environment.
//!
//! # Source
//!
//! containers-registries.conf(5), containers-auth.json(5), containers-certs.d(5), containers-policy.json(5), containers-registries.d(5); Docker's
//! DOCKER_CONFIG; OpenSSL's SSL_CERT_FILE.

use std::path::PathBuf;

use crate::base::image_ref::NameRule;
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
pub(crate) fn credentials(named: Option<PathBuf>, rule: NameRule) -> Stores {
    if let Some(file) = named {
        return Stores::only(file);
    }
    // Of a file that is only meant to be the one, nothing is demanded before `login` has made it.
    if let Some(file) = variable("REGISTRY_AUTH_FILE").or_else(dockers_credentials) {
        return Stores::only(file).lenient();
    }
    let runtime: Option<PathBuf> = variable("XDG_RUNTIME_DIR");
    let (config, home) = (xdg("XDG_CONFIG_HOME", ".config"), super::home().ok());
    let stores = Stores::usual(runtime.as_deref(), config.as_deref(), home.as_deref());
    if rule == NameRule::Docker { stores.with_dockers_first() } else { stores }
}

/// The file of the directory that DOCKER_CONFIG names, which stands in the place of all others, as with podman.
fn dockers_credentials() -> Option<PathBuf> {
    variable("DOCKER_CONFIG").map(|dir: PathBuf| dir.join("config.json"))
}

/// The file that `login` writes, and whether it is of Docker's kind: the one that `named`, REGISTRY_AUTH_FILE or
/// DOCKER_CONFIG says, that of the session, or where there is none, the user's; for who calls docker, Docker's. `None` without a home.
pub(crate) fn credentials_to_write(named: Option<PathBuf>, rule: NameRule) -> Option<(PathBuf, bool)> {
    if let Some(file) = named.or_else(|| variable("REGISTRY_AUTH_FILE")) {
        return Some((file, false));
    }
    if let Some(file) = dockers_credentials() {
        return Some((file, true));
    }
    if rule == NameRule::Docker {
        return super::home().ok().map(|home| (home.join(".docker/config.json"), true));
    }
    let session = variable("XDG_RUNTIME_DIR").or_else(|| xdg("XDG_CONFIG_HOME", ".config"));
    session.map(|dir| (dir.join("containers/auth.json"), false))
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
