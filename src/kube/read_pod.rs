//! The specification of a pod.

use std::collections::BTreeMap;

use crate::base::order;
use crate::kube::fields::{Field, Result};
use crate::kube::quantity::Quantity;
use crate::kube::read_container::container;
use crate::kube::types::{
    Dns, Files, HostKind, Meta, Pod, Pull, Restart, Seccomp, Security, Volume, VolumeSource,
};

/// Words of `imagePullPolicy`.
pub(super) const PULLS: [(&str, Pull); 3] =
    [("Always", Pull::Always), ("IfNotPresent", Pull::IfNotPresent), ("Never", Pull::Never)];
const RESTARTS: [(&str, Restart); 3] =
    [("Always", Restart::Always), ("OnFailure", Restart::OnFailure), ("Never", Restart::Never)];
const HOST_KINDS: [(&str, HostKind); 7] = [
    ("DirectoryOrCreate", HostKind::DirectoryOrCreate),
    ("Directory", HostKind::Directory),
    ("FileOrCreate", HostKind::FileOrCreate),
    ("File", HostKind::File),
    ("Socket", HostKind::Socket),
    ("CharDevice", HostKind::CharDevice),
    ("BlockDevice", HostKind::BlockDevice),
];

/// Reads `spec` of a pod.
pub(super) fn pod(meta: Meta, spec: &Field<'_>) -> Result<Pod> {
    let context = spec.get("securityContext");
    let supplemental = context.get("supplementalGroups").items()?;
    Ok(Pod {
        meta,
        replicas: 1,
        hostname: spec.get("hostname").text()?.filter(|name| !name.is_empty()),
        host_network: spec.get("hostNetwork").is_true()?,
        host_pid: spec.get("hostPID").is_true()?,
        host_ipc: spec.get("hostIPC").is_true()?,
        host_users: spec.get("hostUsers").flag()?,
        share_pid: spec.get("shareProcessNamespace").is_true()?,
        host_aliases: spec
            .get("hostAliases")
            .each(|alias| Ok((alias.get("ip").string()?, alias.get("hostnames").texts()?)))?,
        dns: dns(&spec.get("dnsConfig"))?,
        restart: spec.get("restartPolicy").word(&RESTARTS)?.unwrap_or_default(),
        grace_s: spec.get("terminationGracePeriodSeconds").number()?,
        security: security(&context)?,
        supplemental_groups: supplemental
            .iter()
            .filter_map(|group| group.number().transpose())
            .collect::<Result<_>>()?,
        sysctls: order::map(
            context
                .get("sysctls")
                .each(|entry| Ok((entry.get("name").string()?, entry.get("value").string()?)))?,
        ),
        volumes: spec.get("volumes").each(volume)?,
        init_containers: spec.get("initContainers").each(container)?,
        containers: spec.get("containers").each(container)?,
    })
}

fn dns(config: &Field<'_>) -> Result<Dns> {
    Ok(Dns {
        servers: config.get("nameservers").texts()?,
        searches: config.get("searches").texts()?,
        options: config.get("options").each(|option| {
            let name = option.get("name").string()?;
            let value = option.get("value").text()?.filter(|value| !value.is_empty());
            Ok(value.map_or(name.clone(), |value| format!("{name}:{value}")))
        })?,
    })
}

/// Reads `securityContext`, of a pod or a container.
pub(super) fn security(context: &Field<'_>) -> Result<Security> {
    let capabilities = context.get("capabilities");
    let selinux = context.get("seLinuxOptions");
    let mut labels = Vec::new();
    for key in ["user", "role", "type", "level"] {
        labels.extend(
            selinux.get(key).text()?.filter(|text| !text.is_empty()).map(|text| format!("{key}:{text}")),
        );
    }
    Ok(Security {
        user: context.get("runAsUser").number()?,
        group: context.get("runAsGroup").number()?,
        privileged: context.get("privileged").flag()?,
        escalation: context.get("allowPrivilegeEscalation").flag()?,
        read_only_root: context.get("readOnlyRootFilesystem").flag()?,
        cap_add: capabilities.get("add").texts()?,
        cap_drop: capabilities.get("drop").texts()?,
        selinux: labels,
        unmasked: context.get("procMount").word(&[("Default", false), ("Unmasked", true)])?.unwrap_or(false),
        seccomp: seccomp(&context.get("seccompProfile"))?,
    })
}

fn seccomp(profile: &Field<'_>) -> Result<Option<Seccomp>> {
    let known = [("RuntimeDefault", 0), ("Unconfined", 1), ("Localhost", 2)];
    Ok(match profile.get("type").word(&known)? {
        None => None,
        Some(0) => Some(Seccomp::RuntimeDefault),
        Some(1) => Some(Seccomp::Unconfined),
        Some(_) => Some(Seccomp::Localhost(profile.get("localhostProfile").string()?)),
    })
}

fn volume(volume: &Field<'_>) -> Result<Volume> {
    Ok(Volume { name: volume.get("name").string()?, source: source(volume)? })
}

fn source(volume: &Field<'_>) -> Result<VolumeSource> {
    // An empty mapping is one: `emptyDir: {}`; and so is nothing: `emptyDir:`.
    let Some((key, of)) = volume.entries()?.into_iter().find(|(key, _)| *key != "name") else {
        return Ok(VolumeSource::EmptyDir { memory: false, limit: None });
    };
    Ok(match key {
        "hostPath" => VolumeSource::HostPath {
            path: of.get("path").string()?,
            kind: of.get("type").word(&HOST_KINDS)?.unwrap_or_default(),
        },
        "emptyDir" => VolumeSource::EmptyDir {
            memory: of.get("medium").string()? == "Memory",
            limit: of
                .get("sizeLimit")
                .text()?
                .map(|text| quantity(&of.get("sizeLimit"), &text))
                .transpose()?,
        },
        "configMap" => VolumeSource::ConfigMap(files(&of, "name")?),
        "secret" => VolumeSource::Secret(files(&of, "secretName")?),
        "persistentVolumeClaim" => VolumeSource::Claim {
            name: of.get("claimName").string()?,
            read_only: of.get("readOnly").is_true()?,
        },
        "image" => VolumeSource::Image {
            reference: of.get("reference").string()?,
            pull: of.get("pullPolicy").word(&PULLS)?,
        },
        other => VolumeSource::Other(other.to_owned()),
    })
}

fn files(of: &Field<'_>, name: &str) -> Result<Files> {
    Ok(Files {
        name: of.get(name).string()?,
        items: of.get("items").each(|item| {
            Ok((item.get("key").string()?, item.get("path").string()?, mode(&item.get("mode"))?))
        })?,
        mode: mode(&of.get("defaultMode"))?,
        optional: of.get("optional").is_true()?,
    })
}

/// The bits of a mode. `0644` is a number to base 8 only in YAML 1.1, which is what manifests are written in.
fn mode(field: &Field<'_>) -> Result<Option<u32>> {
    match field.number::<u32>()? {
        Some(mode) if mode > 0o777 => Err(field.fault(format_args!("{mode} is no mode, from 0 to 0777"))),
        mode => Ok(mode),
    }
}

/// The quantity that `text`, which stands at `field`, means.
pub(super) fn quantity(field: &Field<'_>, text: &str) -> Result<Quantity> {
    Quantity::parse(text)
        .ok_or_else(|| field.fault(format_args!("{text:?} is no quantity like 500m or 128Mi")))
}

/// Names and quantities.
pub(super) fn quantities(field: &Field<'_>) -> Result<BTreeMap<String, Quantity>> {
    let entries = field.entries()?.into_iter();
    order::try_map(entries.map(|(name, field)| Ok((name.to_owned(), quantity(&field, &field.string()?)?))))
}
