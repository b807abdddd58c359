//! Namespaces.

use std::path::{Path, PathBuf};

use crate::base::id::ContainerId;
use crate::base::mount_syntax::MountKindRequest;
use crate::base::spec::{Namespace, Namespaces, Network, NetworkMode, UserNamespace};
use crate::engine::error::{Error, Result};
use crate::engine::request::ContainerRequest;
use crate::engine::resolve::Facts;

/// PID, IPC, UTS and cgroup namespace.
pub(super) fn namespaces(request: &ContainerRequest, facts: &Facts<'_>) -> Result<Namespaces> {
    let namespaces = Namespaces {
        pid: namespace("pid", &request.pid, facts)?,
        ipc: namespace("ipc", &request.ipc, facts)?,
        uts: namespace("uts", &request.uts, facts)?,
        cgroup: namespace("cgroupns", &request.cgroupns, facts)?,
    };
    if request.hostname.is_some() && namespaces.uts != Namespace::Private {
        let whose = if namespaces.uts == Namespace::Host { "the host" } else { "another" };
        return Err(Error::invalid(format!("cannot set hostname when running in {whose} UTS namespace"))
            .hint("leave out --uts or --hostname"));
    }
    Ok(namespaces)
}

fn namespace(flag: &str, text: &str, facts: &Facts<'_>) -> Result<Namespace> {
    match text.split_once(':') {
        None if matches!(text, "" | "private") => Ok(Namespace::Private),
        None if text == "host" => Ok(Namespace::Host),
        // Docker's other words for IPC: every private one of ketch can be joined.
        None if flag == "ipc" && matches!(text, "shareable" | "none") => Ok(Namespace::Private),
        Some(("container", name)) => Ok(Namespace::Container(shared(facts, flag, name)?)),
        Some(("ns", path)) if path.starts_with('/') => Ok(Namespace::Path(PathBuf::from(path))),
        _ => {
            Err(Error::invalid(format!("invalid --{flag} value: unrecognized namespace mode {text} passed"))
                .hint("known are private, host, container:NAME and ns:PATH"))
        }
    }
}

/// The container of `container:NAME`, whose namespace of this kind is joined.
pub(super) fn shared(facts: &Facts<'_>, kind: &str, name: &str) -> Result<ContainerId> {
    (facts.find_container)(name).map_err(|mut err| {
        err.message = format!("looking up container to share {kind} namespace with: {}", err.message);
        err
    })
}

/// The name of the container's host: its short ID, unless the network or the request has another.
pub(super) fn hostname(
    request: &ContainerRequest,
    facts: &Facts<'_>,
    namespaces: &Namespaces,
    network: &Network,
) -> String {
    match (&request.hostname, &namespaces.uts, &network.mode) {
        (Some(name), ..) => name.clone(),
        (None, Namespace::Private, NetworkMode::Host) => facts.host_name.clone(),
        (None, Namespace::Private, _) => facts.id.short().to_owned(),
        (None, Namespace::Host, _) => facts.host_name.clone(),
        (None, Namespace::Container(other), _) => (facts.hostname_of)(other).unwrap_or_default(),
        (None, ..) => String::new(),
    }
}

/// `--userns`.
pub(crate) fn userns(text: &str, caller: (u32, u32)) -> Result<UserNamespace> {
    let bad = || {
        Error::invalid(format!("invalid --userns value: unrecognized namespace mode {text} passed"))
            .hint("known are host, auto, keep-id[:uid=N,gid=N,size=N], nomap, container:NAME and ns:PATH")
    };
    let (word, options) = text.split_once(':').unwrap_or((text, ""));
    match word {
        "" | "private" if options.is_empty() => Ok(UserNamespace::Default),
        "host" if options.is_empty() => Ok(UserNamespace::Host),
        "nomap" if options.is_empty() => Ok(UserNamespace::NoMap),
        "keep-id" => {
            let ((mut uid, mut gid), mut size) = (caller, 0);
            for option in options.split(',').filter(|option| !option.is_empty()) {
                let (key, value) = option.split_once('=').ok_or_else(bad)?;
                let value: u32 = value.parse().ok().filter(|id| *id < u32::MAX).ok_or_else(bad)?;
                match key {
                    "uid" => uid = value,
                    "gid" => gid = value,
                    "size" if value > 0 => size = value,
                    _ => return Err(bad()),
                }
            }
            Ok(UserNamespace::KeepId { uid, gid, size })
        }
        _ => Err(bad()),
    }
}

/// Whether the container's user is the caller, without `--userns=keep-id`: they ask for their own number and bind files
/// of their own (`docker run -u $(id -u):$(id -g) -v $PWD:/w`), which with docker they then own inside.
///
/// What lies in named volumes keeps the numbers that all other containers see, so nothing changes for who has some;
/// nor for who shares namespaces, or brings a root file system.
pub(crate) fn keeps_caller(request: &ContainerRequest, caller: u32, is_own: impl Fn(&Path) -> bool) -> bool {
    let user = request.user.as_deref().unwrap_or_default();
    let asked = user.split(':').next().and_then(|uid| uid.parse().ok());
    let brings_files = request.membership.is_some() || request.rootfs.is_some();
    let has_volumes = !request.volumes_from.is_empty()
        || request
            .mounts
            .iter()
            .any(|mount| matches!(mount.kind, MountKindRequest::Volume { name: Some(_), .. }));
    let binds_own = || {
        request.mounts.iter().any(|mount| match &mount.kind {
            MountKindRequest::Bind { source, .. } => is_own(source),
            _ => false,
        })
    };
    request.keeps_caller
        && caller != 0
        && asked == Some(caller)
        && request.shares_with().is_none()
        && !brings_files
        && !has_volumes
        && binds_own()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::mount_syntax;

    #[test]
    fn whoever_asks_for_their_own_number_and_files_keeps_it() {
        let bind = |source: &str| mount_syntax::parse_volume(format!("{source}:/w").as_ref()).unwrap();
        let keeps = |change: &dyn Fn(&mut ContainerRequest)| {
            let mut request = ContainerRequest {
                keeps_caller: true,
                user: Some("1000:1000".into()),
                mounts: vec![bind("/own")],
                ..ContainerRequest::default()
            };
            change(&mut request);
            keeps_caller(&request, 1000, |path| path == Path::new("/own"))
        };
        assert!(keeps(&|_| ()));
        assert!(keeps(&|request| request.user = Some("1000".into())));
        assert!(keeps(&|request| request.mounts.push(bind("/etc"))));
        for change in [
            &|request: &mut ContainerRequest| request.keeps_caller = false,
            &|request| request.user = None,
            &|request| request.user = Some("1001".into()),
            &|request| request.user = Some("me".into()),
            &|request| request.mounts = vec![bind("/etc")],
            &|request| request.mounts.push(bind("data")),
            &|request| request.volumes_from = vec!["box".into()],
            &|request| request.networks = vec!["container:box".into()],
            &|request| request.pid = "container:box".into(),
            &|request| request.rootfs = Some(("/".into(), false)),
        ] as [&dyn Fn(&mut ContainerRequest); 10]
        {
            assert!(!keeps(change));
        }
    }

    #[test]
    fn user_namespaces() {
        let of = |text| userns(text, (1000, 100)).ok();
        assert_eq!(of(""), Some(UserNamespace::Default));
        assert_eq!(of("keep-id"), Some(UserNamespace::KeepId { uid: 1000, gid: 100, size: 0 }));
        assert_eq!(of("keep-id:uid=5,gid=6"), Some(UserNamespace::KeepId { uid: 5, gid: 6, size: 0 }));
        assert_eq!(of("keep-id:gid=6"), Some(UserNamespace::KeepId { uid: 1000, gid: 6, size: 0 }));
        for bad in ["keep-id:uid", "keep-id:uid=x", "keep-id:uid=4294967295", "what", "host:x"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
