//! What confines the container: namespaces, capabilities, filters, hidden paths, kernel parameters.

use crate::api::containers::create::document::{HostConfig, texts};
use crate::base::bytes::Bytes;
use crate::engine::request::ContainerRequest;
use crate::engine::{Error, Kind, Result};
use crate::runtime::defaults;

/// Puts this part into a request.
///
/// # Errors
///
/// Values that mean nothing, and those that mean what there is not.
pub(super) fn fill(host: &HostConfig, request: &mut ContainerRequest) -> Result<()> {
    refuse(host)?;
    request.privileged = host.privileged;
    request.cap_add.clone_from(&host.cap_add);
    request.cap_drop.clone_from(&host.cap_drop);
    request.pid.clone_from(&host.pid_mode);
    request.ipc.clone_from(&host.ipc_mode);
    request.uts.clone_from(&host.uts_mode);
    request.userns.clone_from(&host.userns_mode);
    request.cgroupns.clone_from(&host.cgroupns_mode);
    request.sysctls.extend(texts(&host.sysctls));
    for option in &host.security_opt {
        match profile(option) {
            // The client has read the file, and sends what was in it.
            Some(text) => {
                request.seccomp_profile = Some(text.to_owned());
                request.security_options.push("seccomp=profile.json".to_owned());
            }
            None => request.security_options.push(option.clone()),
        }
    }
    let (masked, read_only) = (defaults::masked_paths(), defaults::read_only_paths());
    let paths = (host.masked_paths.as_deref(), host.readonly_paths.as_deref());
    request.security_options.extend(hidden(paths, (&masked, &read_only))?);
    Ok(())
}

/// The text of a seccomp profile, if an option is one.
fn profile(option: &str) -> Option<&str> {
    let value = option.strip_prefix("seccomp=").or_else(|| option.strip_prefix("seccomp:"))?;
    value.trim_start().starts_with('{').then_some(value)
}

/// Security options for paths that are to be hidden or read-only in place of the usual ones; none where nothing is said.
fn hidden(
    (masked, read_only): (Option<&[String]>, Option<&[String]>),
    (usually_masked, usually_read_only): (&[Bytes], &[Bytes]),
) -> Result<Vec<String>> {
    // Docker's client sends this for `systempaths=unconfined`.
    if masked.is_some_and(<[_]>::is_empty) && read_only.is_some_and(<[_]>::is_empty) {
        return Ok(vec!["systempaths=unconfined".to_owned()]);
    }
    let has = |list: &[Bytes], path: &String| list.iter().any(|known| known.as_bytes() == path.as_bytes());
    if let Some(path) = read_only.unwrap_or_default().iter().find(|path| !has(usually_read_only, path)) {
        let message = format!("ReadonlyPaths: {path}: only paths that usually are read-only can be");
        return Err(Error::new(Kind::Unsupported, message));
    }
    let left_out = |asked: Option<&[String]>, usual: &[Bytes]| -> Vec<String> {
        let Some(asked) = asked else { return Vec::new() };
        let usual = usual.iter().map(|path| path.to_string_lossy().into_owned());
        usual.filter(|path| !asked.contains(path)).collect()
    };
    let mut unmasked = left_out(masked, usually_masked);
    unmasked.extend(left_out(read_only, usually_read_only));
    let further = masked.unwrap_or_default().iter().filter(|path| !has(usually_masked, path));
    let further: Vec<&str> = further.map(String::as_str).collect();
    let mut options = Vec::new();
    if !unmasked.is_empty() {
        options.push(format!("unmask={}", unmasked.join(":")));
    }
    if !further.is_empty() {
        options.push(format!("mask={}", further.join(":")));
    }
    Ok(options)
}

fn refuse(host: &HostConfig) -> Result<()> {
    let unsupported = |message: String| Err(Error::new(Kind::Unsupported, message));
    if !matches!(host.runtime.as_str(), "" | "ketch" | "oci" | "runc" | "io.containerd.runc.v2") {
        return Err(Error::invalid(format!("unknown or invalid runtime name: {}", host.runtime)));
    }
    if !matches!(host.isolation.as_str(), "" | "default") {
        let message = "invalid isolation: \"default\" is the only isolation on Linux";
        return Err(Error::invalid(format!("{message}, and not {:?}", host.isolation)));
    }
    if !host.cgroup.is_empty() {
        return unsupported(format!("Cgroup: {:?}: a container has a cgroup of its own", host.cgroup));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::document;

    fn filled(document: Value) -> Result<ContainerRequest> {
        let mut request = ContainerRequest::default();
        fill(&document::of_value(document).unwrap(), &mut request)?;
        Ok(request)
    }

    #[test]
    fn options() {
        let request = filled(json!({
            "Privileged": true, "CapAdd": ["NET_ADMIN"], "CapDrop": null, "PidMode": "host",
            "SecurityOpt": ["no-new-privileges", "seccomp={\"defaultAction\":\"SCMP_ACT_ALLOW\"}"],
            "MaskedPaths": null, "Runtime": "runc", "Isolation": "", "Sysctls": {"net.ipv4.ip_forward": "1"},
        }))
        .unwrap();
        assert!(request.privileged && request.pid == "host" && request.cap_add == ["NET_ADMIN"]);
        assert_eq!(request.security_options, ["no-new-privileges", "seccomp=profile.json"]);
        assert_eq!(request.seccomp_profile.as_deref(), Some("{\"defaultAction\":\"SCMP_ACT_ALLOW\"}"));
        let plain = filled(json!({"SecurityOpt": ["seccomp=unconfined"]})).unwrap();
        assert_eq!((plain.security_options[0].as_str(), plain.seccomp_profile), ("seccomp=unconfined", None));
        for bad in [json!({"Runtime": "kata"}), json!({"Isolation": "hyperv"}), json!({"Cgroup": "x"})] {
            assert!(filled(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths() {
        let usual = (&[Bytes::from("/proc/a"), Bytes::from("/proc/b")][..], &[Bytes::from("/proc/c")][..]);
        let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        for (masked, read_only, want) in [
            (None, None, &[][..]),
            (Some(list(&["/proc/a", "/proc/b"])), Some(list(&["/proc/c"])), &[]),
            (Some(list(&[])), Some(list(&[])), &["systempaths=unconfined"]),
            (Some(list(&["/proc/b", "/proc/x"])), None, &["unmask=/proc/a", "mask=/proc/x"]),
        ] {
            assert_eq!(hidden((masked.as_deref(), read_only.as_deref()), usual).unwrap(), want);
        }
        let other = list(&["/etc"]);
        assert!(hidden((None, Some(&other)), usual).is_err());
    }
}
