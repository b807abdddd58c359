//! What is mounted, and devices.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::api::containers::create::document::{
    DeviceRequest, DriverConfig, HostConfig, Mount, Resources, Set, Texts, texts,
};
use crate::base::bytes::Bytes;
use crate::base::device;
use crate::base::mount_syntax::{self, MountKindRequest, MountRequest, MountSyntaxError};
use crate::base::spec::Device;
use crate::engine::cdi;
use crate::engine::request::ContainerRequest;
use crate::engine::{Error, Kind, Result};

/// Puts this part into a request. Returns the directories of the host that are made if they are not there.
///
/// # Errors
///
/// Values that mean nothing, and those that mean what there is not.
pub(super) fn fill(
    volumes: &Set,
    host: &HostConfig,
    resources: &Resources,
    request: &mut ContainerRequest,
) -> Result<Vec<PathBuf>> {
    check_driver(&host.volume_driver)?;
    if !host.storage_opt.is_empty() {
        let message = "StorageOpt: quotas of the container's own files are for root of the host only";
        return Err(Error::new(Kind::Unsupported, message));
    }
    let mut sources = Vec::new();
    for bind in &host.binds {
        let mount = mount_syntax::parse_volume(OsStr::new(bind)).map_err(invalid)?;
        if let MountKindRequest::Bind { source, .. } = &mount.kind {
            check_source(source)?;
            sources.push(source.clone());
        }
        request.mounts.push(mount);
    }
    request.binds.clone_from(&host.binds);
    for wanted in &host.mounts {
        if wanted.r#type == "bind" && wanted.bind_options.as_ref().is_some_and(|how| how.create_mountpoint) {
            sources.push(PathBuf::from(&wanted.source));
        }
        request.mounts.push(mount(wanted)?);
    }
    for (target, options) in texts(&host.tmpfs) {
        // Unlike podman's, docker's are empty at first.
        let options = format!("notmpcopyup,{options}");
        request.mounts.push(mount_syntax::tmpfs_at(&target, &options).map_err(invalid)?);
    }
    request.tmpfs = texts(&host.tmpfs);
    for mount in &mut request.mounts {
        mount.target = mount_syntax::clean_target(mount.target.as_bytes()).into();
    }
    for target in volumes.keys() {
        let mut mount = mount_syntax::parse_volume(OsStr::new(target)).map_err(invalid)?;
        mount.target = mount_syntax::clean_target(mount.target.as_bytes()).into();
        // What is mounted there otherwise wins.
        if !request.mounts.iter().any(|other| other.target == mount.target) {
            request.mounts.push(mount);
        }
    }
    request.volumes_from.clone_from(&host.volumes_from);
    request.shm_size_bytes = match u64::try_from(host.shm_size) {
        Ok(0) => None,
        Ok(bytes) => Some(bytes),
        Err(_) => return Err(Error::invalid("SHM size can not be less than 0")),
    };
    request.read_only = host.readonly_rootfs;
    request.writable_dev = true;
    devices(resources, request)?;
    Ok(sources)
}

fn invalid(err: MountSyntaxError) -> Error {
    Error::invalid(err.to_string())
}

fn check_driver(name: &str) -> Result<()> {
    match name {
        "" | "local" => Ok(()),
        _ => Err(Error::not_found(format!(
            "error looking up volume plugin {name}: plugin \"{name}\" not found"
        ))),
    }
}

/// The service's own directory is nothing that a client could mean.
fn check_source(source: &Path) -> Result<()> {
    match source.is_absolute() {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "invalid mount config for type \"bind\": invalid mount path: '{}' mount path must be absolute",
            source.display()
        ))),
    }
}

/// An entry of `Mounts`.
fn mount(wanted: &Mount) -> Result<MountRequest> {
    let kind = wanted.r#type.as_str();
    let refuse = |why: String| Error::invalid(format!("invalid mount config for type \"{kind}\": {why}"));
    if wanted.target.is_empty() {
        return Err(refuse("field Target must not be empty".to_owned()));
    }
    if !wanted.target.starts_with('/') {
        let target = &wanted.target;
        return Err(refuse(format!("invalid mount path: '{target}' mount path must be absolute")));
    }
    for (is_given, of, field) in [
        (wanted.bind_options.is_some(), "bind", "BindOptions"),
        (wanted.volume_options.is_some(), "volume", "VolumeOptions"),
        (wanted.tmpfs_options.is_some(), "tmpfs", "TmpfsOptions"),
        (wanted.image_options.is_some(), "image", "ImageOptions"),
    ] {
        if is_given && kind != of {
            return Err(refuse(format!("field {field} must not be specified")));
        }
    }
    let mut request = MountRequest {
        kind: MountKindRequest::Mqueue,
        target: wanted.target.as_str().into(),
        read_only: wanted.read_only,
        options: Vec::new(),
        propagation: None,
        overlay: None,
        idmap: None,
    };
    let subpath = |path: &String| Some(Bytes::from(path.as_str())).filter(|path| !path.as_bytes().is_empty());
    request.kind = match kind {
        "bind" => {
            let options = wanted.bind_options.clone().unwrap_or_default();
            if wanted.source.is_empty() {
                return Err(refuse("field Source must not be empty".to_owned()));
            }
            check_source(Path::new(&wanted.source))?;
            if options.read_only_non_recursive {
                let message =
                    "ReadOnlyNonRecursive: what is mounted below a read-only mount is read-only, too";
                return Err(Error::new(Kind::Unsupported, message));
            }
            if !options.propagation.is_empty() && !mount_syntax::is_propagation(&options.propagation) {
                return Err(refuse(format!("invalid propagation mode: {}", options.propagation)));
            }
            request.propagation = Some(options.propagation).filter(|word| !word.is_empty());
            MountKindRequest::Bind {
                source: PathBuf::from(&wanted.source),
                recursive: !options.non_recursive,
                chown: false,
                glob: false,
            }
        }
        "volume" => {
            let options = wanted.volume_options.clone().unwrap_or_default();
            let driver = options.driver_config.unwrap_or_default();
            MountKindRequest::Volume {
                name: Some(wanted.source.clone()).filter(|name| !name.is_empty()),
                copy_up: !options.no_copy,
                chown: false,
                subpath: subpath(&options.subpath),
                driver_options: driver_options(&driver)?,
                labels: pairs(&options.labels),
            }
        }
        "tmpfs" if !wanted.source.is_empty() => {
            return Err(refuse("field Source must not be specified".to_owned()));
        }
        "tmpfs" => {
            let options = wanted.tmpfs_options.clone().unwrap_or_default();
            let flags = options.options.iter().map(|option| option.join("=")).collect::<Vec<_>>();
            let mut parsed = mount_syntax::tmpfs_at(&wanted.target, &flags.join(",")).map_err(invalid)?;
            parsed.read_only |= wanted.read_only;
            if let MountKindRequest::Tmpfs { data, copy_up, .. } = &mut parsed.kind {
                *copy_up = false;
                data.extend((options.size_bytes > 0).then(|| format!("size={}", options.size_bytes)));
                data.extend((options.mode != 0).then(|| format!("mode={:o}", options.mode)));
            }
            return Ok(parsed);
        }
        "image" => MountKindRequest::Image {
            reference: wanted.source.clone(),
            subpath: wanted.image_options.as_ref().and_then(|options| subpath(&options.subpath)),
            writable: false,
        },
        _ => return Err(Error::invalid(format!("mount type unknown: {kind:?}"))),
    };
    Ok(request)
}

fn driver_options(driver: &DriverConfig) -> Result<Vec<String>> {
    check_driver(&driver.name)?;
    Ok(pairs(&driver.options))
}

fn pairs(from: &Texts) -> Vec<String> {
    texts(from).into_iter().map(|(key, value)| format!("{key}={value}")).collect()
}

fn devices(resources: &Resources, request: &mut ContainerRequest) -> Result<()> {
    for wanted in &resources.devices {
        if device::is_cdi_name(&wanted.path_on_host) && wanted.path_in_container.is_empty() {
            request.cdi_devices.push(wanted.path_on_host.clone());
            continue;
        }
        let or = |text: &String, other: &str| if text.is_empty() { other.to_owned() } else { text.clone() };
        let access = or(&wanted.cgroup_permissions, "rwm");
        if wanted.path_on_host.is_empty() || device::Access::parse(&access).is_none() {
            return Err(Error::invalid(format!(
                "error gathering device information while adding custom device {:?}: invalid device or mode {access:?}",
                wanted.path_on_host
            )));
        }
        request.devices.push(Device {
            source: PathBuf::from(&wanted.path_on_host),
            target: or(&wanted.path_in_container, &wanted.path_on_host).into(),
            access,
        });
    }
    for wanted in &resources.device_requests {
        let DeviceRequest { driver, count, device_ids, capabilities } = wanted;
        let capabilities: Vec<&str> = capabilities.iter().flatten().map(String::as_str).collect();
        request.cdi_devices.extend(cdi::names(driver, Some(*count), device_ids, &capabilities)?);
    }
    let rules = resources.device_cgroup_rules.iter().map(|rule| rule.parse().map_err(Error::invalid));
    request.device_rules = rules.collect::<Result<_>>()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::containers::create::document::Wanted;
    use crate::api::document;

    fn filled(document: Value) -> Result<(ContainerRequest, Vec<PathBuf>)> {
        let wanted: Wanted = document::of_value(document).unwrap();
        let mut request = ContainerRequest::default();
        let host = &wanted.host_config;
        let sources = fill(&wanted.volumes, &host.own, &host.resources, &mut request)?;
        Ok((request, sources))
    }

    #[test]
    fn binds_and_volumes() {
        let (request, sources) = filled(json!({
            "Volumes": {"/v": {}, "/b": {}},
            "HostConfig": {"Binds": ["/a:/b:ro,z", "data:/c:nocopy"], "Tmpfs": {"/t": "size=1m"}},
        }))
        .unwrap();
        let targets: Vec<_> = request.mounts.iter().map(|mount| mount.target.to_string_lossy()).collect();
        assert_eq!(targets, ["/b", "/c", "/t", "/v"]);
        assert!(request.mounts[0].read_only && request.binds.len() == 2);
        assert_eq!(sources, [PathBuf::from("/a")]);
        // The same place, however it is written.
        let (request, _) = filled(json!({
            "Volumes": {"/data/": {}, "//x/../b": {}, "/v/./w": {}},
            "HostConfig": {"Binds": ["/a:/b/"], "Tmpfs": {"/t:u/": "size=1m"},
                "Mounts": [{"Type": "volume", "Source": "d", "Target": "/./data"}]},
        }))
        .unwrap();
        let targets: Vec<_> = request.mounts.iter().map(|mount| mount.target.to_string_lossy()).collect();
        assert_eq!(targets, ["/b", "/data", "/t:u", "/v/w"]);
        for bad in ["./a:/b", "~/a:/b", "/a:b", "/a:/b:huh"] {
            assert!(filled(json!({"HostConfig": {"Binds": [bad]}})).is_err(), "{bad}");
        }
    }

    #[test]
    fn mounts() {
        let asked = |mount: Value| filled(json!({"HostConfig": {"Mounts": [mount]}}));
        let (request, sources) = asked(json!({
            "Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": true, "Consistency": "cached",
            "BindOptions": {"Propagation": "rslave", "NonRecursive": true, "CreateMountpoint": true},
        }))
        .unwrap();
        let mount = &request.mounts[0];
        assert!(mount.read_only && mount.propagation.as_deref() == Some("rslave"));
        assert!(matches!(&mount.kind, MountKindRequest::Bind { recursive: false, .. }));
        assert_eq!(sources, [PathBuf::from("/a")]);
        let (request, sources) = asked(json!({
            "Type": "volume", "Source": "data", "Target": "/b",
            "VolumeOptions": {"NoCopy": true, "Labels": {"a": "b"}, "Subpath": "x",
                "DriverConfig": {"Name": "local", "Options": {"type": "tmpfs"}}},
        }))
        .unwrap();
        let want = MountKindRequest::Volume {
            name: Some("data".to_owned()),
            copy_up: false,
            chown: false,
            subpath: Some("x".into()),
            driver_options: vec!["type=tmpfs".to_owned()],
            labels: vec!["a=b".to_owned()],
        };
        assert_eq!((&request.mounts[0].kind, sources), (&want, Vec::new()));
        let tmpfs =
            json!({"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 65536, "Mode": 448}});
        let data = vec!["size=65536".to_owned(), "mode=700".to_owned()];
        let want = MountKindRequest::Tmpfs { data, copy_up: false, chown: false, ramfs: false };
        assert_eq!(asked(tmpfs).unwrap().0.mounts[0].kind, want);
        let colon = json!({"Type": "tmpfs", "Target": "/t:ro", "TmpfsOptions": {"Options": [["exec"]]}});
        let mount = asked(colon).unwrap().0.mounts.remove(0);
        assert_eq!((&*mount.target.to_string_lossy(), mount.read_only), ("/t:ro", false));
        assert_eq!(mount.options, ["exec"]);
        for bad in [
            json!({"Type": "bind", "Source": "/a", "Target": "/b", "BindOptions": {"Propagation": "huh"}}),
            json!({"Type": "bind", "Source": "a", "Target": "/b"}),
            json!({"Type": "bind", "Source": "/a", "Target": "b"}),
            json!({"Type": "bind", "Target": "/b"}),
            json!({"Type": "volume", "Target": "/b", "BindOptions": {}}),
            json!({"Type": "volume", "Target": "/b", "VolumeOptions": {"DriverConfig": {"Name": "nfs"}}}),
            json!({"Type": "tmpfs", "Source": "/a", "Target": "/b"}),
            json!({"Type": "npipe", "Source": "/a", "Target": "/b"}),
        ] {
            assert!(asked(bad.clone()).is_err(), "{bad}");
        }
        assert!(filled(json!({"HostConfig": {"VolumeDriver": "nfs"}})).is_err());
        let quota = filled(json!({"HostConfig": {"StorageOpt": {"size": "1G"}}})).unwrap_err();
        assert_eq!(quota.kind, Kind::Unsupported);
    }

    #[test]
    fn devices() {
        let host = json!({"HostConfig": {
            "Devices": [{"PathOnHost": "/dev/fuse", "PathInContainer": "/dev/x", "CgroupPermissions": "rw"}],
            "DeviceRequests": [{"Driver": "cdi", "DeviceIDs": ["v.com/c=1"]}, {"Count": -1, "Capabilities": [["gpu"]]}],
            "DeviceCgroupRules": ["c 189:* rmw"],
        }});
        let (request, _) = filled(host).unwrap();
        assert_eq!(request.devices[0].access, "rw");
        assert_eq!(request.cdi_devices, ["v.com/c=1", "nvidia.com/gpu=all"]);
        assert_eq!(request.device_rules.len(), 1);
        for bad in [
            json!({"DeviceCgroupRules": ["x"]}),
            json!({"Devices": [{"PathOnHost": ""}]}),
            json!({"Devices": [{"PathOnHost": "/dev/fuse", "CgroupPermissions": "x"}]}),
            json!({"DeviceRequests": [{"Driver": "other"}]}),
        ] {
            assert!(filled(json!({"HostConfig": bad})).is_err(), "{bad}");
        }
    }
}
