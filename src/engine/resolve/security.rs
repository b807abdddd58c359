//! Capabilities, filters, hidden paths and kernel parameters.

use std::collections::BTreeMap;

use crate::base::bytes::Bytes;
use crate::base::caps;
use crate::base::manifest::ContainerDefaults;
use crate::base::spec::{Namespace, Namespaces, Network, NetworkMode, Seccomp, Security};
use crate::engine::error::{Error, Kind, Result};
use crate::engine::request::ContainerRequest;
use crate::runtime::defaults;

/// Where an image may carry its profile.
const SECCOMP_LABEL: &str = "io.containers.seccomp.profile";

/// What confines the container. Of capabilities that nobody has named those are left out that are out of reach
/// (`reachable`), as podman does it: `--privileged` is all that there is.
pub(super) fn security(
    request: &ContainerRequest,
    defaults: &ContainerDefaults,
    reachable: u64,
) -> Result<Security> {
    let invalid = |err: caps::CapsError| Error::invalid(err.to_string());
    let base = match &request.base_capabilities {
        _ if request.privileged => caps::ALL,
        Some(names) => caps::resolve(0, names, &[] as &[String]).map_err(invalid)?,
        None => caps::DEFAULT,
    };
    let capabilities = caps::resolve(base, &request.cap_add, &request.cap_drop).map_err(invalid)?;
    let capabilities = capabilities & (reachable | caps::named(&request.cap_add).map_err(invalid)?);
    // A process that is not root has just what was asked for by name.
    let ambient = caps::resolve(0, &request.cap_add, &[] as &[String]).map_err(invalid)? & capabilities;
    let mut security = Security {
        capabilities,
        ambient,
        no_new_privileges: false,
        seccomp: if request.privileged { Seccomp::Unconfined } else { Seccomp::Default },
        masked_paths: if request.privileged { Vec::new() } else { defaults::masked_paths() },
        read_only_paths: if request.privileged { Vec::new() } else { defaults::read_only_paths() },
        privileged: request.privileged,
        proc_options: Vec::new(),
        options: request.security_options.clone(),
    };
    if request.seccomp_of_image {
        let profile = defaults
            .labels
            .get(SECCOMP_LABEL)
            .ok_or_else(|| Error::invalid("no seccomp policy defined by image"))?;
        security.seccomp = Seccomp::Profile(profile.clone());
    }
    for option in &request.security_options {
        take_option(&mut security, option, request.seccomp_profile.as_deref())?;
    }
    Ok(security)
}

/// Takes one `--security-opt`, in podman's (`key=value`) or Docker's old (`key:value`) form.
fn take_option(security: &mut Security, option: &str, profile: Option<&str>) -> Result<()> {
    let (key, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
    match (key, value) {
        ("no-new-privileges", "" | "true") => security.no_new_privileges = true,
        ("no-new-privileges", "false") => security.no_new_privileges = false,
        ("seccomp", "unconfined") => security.seccomp = Seccomp::Unconfined,
        ("seccomp", "builtin" | "default") => security.seccomp = Seccomp::Default,
        ("seccomp", _) => {
            let text =
                profile.ok_or_else(|| Error::invalid(format!("seccomp profile {value:?} was not read")))?;
            security.seccomp = Seccomp::Profile(text.to_owned());
        }
        ("mask", paths) => security.masked_paths.extend(split_paths(paths)),
        ("unmask", "ALL" | "all") => {
            security.masked_paths.clear();
            security.read_only_paths.clear();
        }
        ("unmask", paths) => {
            let unmask: Vec<Bytes> = split_paths(paths).collect();
            let kept = |path: &Bytes| !unmask.iter().any(|pattern| matches(pattern, path));
            security.masked_paths.retain(kept);
            security.read_only_paths.retain(kept);
        }
        // Without SELinux there are no labels to set or to disable.
        ("label", _) if !selinux_is_on() => {}
        ("label", "disable" | "nested") => {}
        ("label", _) => {
            return Err(Error::new(Kind::Unsupported, "SELinux labels are not supported"));
        }
        ("apparmor", "unconfined" | "") => {}
        ("apparmor", name) => {
            return Err(Error::new(
                Kind::Unsupported,
                format!("apparmor profile {name:?} specified, but only root of the host can set one"),
            ));
        }
        ("proc-opts", options) if !options.is_empty() => {
            security.proc_options.extend(options.split(',').map(str::to_owned));
        }
        ("systempaths", "unconfined") => {
            security.masked_paths.clear();
            security.read_only_paths.clear();
        }
        _ => return Err(Error::invalid(format!("invalid --security-opt {option:?}"))),
    }
    Ok(())
}

fn split_paths(paths: &str) -> impl Iterator<Item = Bytes> {
    paths.split(':').filter(|path| !path.is_empty()).map(Bytes::from)
}

/// A path, or a pattern that ends in `*` (`/proc/*`).
fn matches(pattern: &Bytes, path: &Bytes) -> bool {
    match pattern.as_bytes().strip_suffix(b"*") {
        Some(prefix) => path.as_bytes().starts_with(prefix),
        None => pattern == path,
    }
}

fn selinux_is_on() -> bool {
    std::path::Path::new("/sys/fs/selinux/enforce").exists()
}

/// A kernel parameter as records have it: slashes and dots may be exchanged, as in sysctl(8).
pub(super) fn sysctl_name(name: &str) -> String {
    if name.contains('/') { name.replace('/', ".") } else { name.to_owned() }
}

/// Kernel parameters: only those of a namespace that is the container's own.
pub(super) fn sysctls(
    request: &ContainerRequest,
    namespaces: &Namespaces,
    network: &Network,
) -> Result<BTreeMap<String, String>> {
    let own_network =
        matches!(network.mode, NetworkMode::None | NetworkMode::Bridge(_) | NetworkMode::Private(_));
    let mut sysctls = BTreeMap::new();
    if own_network && namespaces.pid == Namespace::Private {
        sysctls.extend(defaults::NETWORK_SYSCTLS.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }
    for (name, value) in &request.sysctls {
        let name = sysctl_name(name);
        let (namespace, is_own) = if name.starts_with("net.") {
            ("network", own_network)
        } else if name.starts_with("fs.mqueue.")
            || name.starts_with("kernel.shm")
            || name.starts_with("kernel.msg")
            || name == "kernel.sem"
        {
            ("IPC", namespaces.ipc == Namespace::Private)
        } else if matches!(name.as_str(), "kernel.hostname" | "kernel.domainname") {
            ("UTS", namespaces.uts == Namespace::Private)
        } else {
            return Err(Error::invalid(format!(
                "sysctl {name:?} is not of a namespace: it would change the host"
            )));
        };
        if !is_own {
            return Err(Error::invalid(format!(
                "sysctl {name:?} is not allowed: the {namespace} namespace is not the container's own"
            )));
        }
        sysctls.insert(name, value.clone());
    }
    Ok(sysctls)
}
