//! What the options of a volume say about it: `volume create -o type=tmpfs -o device=tmpfs -o o=size=1m,uid=5`.
//!
//! ```text
//! none of type and device      a directory of the store
//! type=tmpfs                   a tmpfs, made when a container first uses it, gone when none does any more
//! device=PATH and o=bind       a directory of the host
//! ```
//!
//! # Source
//!
//! podman-volume-create(1), `--opt`; mount(8).

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::base::order::InOrder as _;

/// What a volume consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum VolumeKind {
    /// A directory of the store.
    Directory,
    /// A tmpfs with these options.
    Tmpfs(Vec<String>),
    /// A directory of the host, with all that is mounted below it if `recursive`.
    Bind { source: PathBuf, recursive: bool },
}

/// What the options say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VolumeOptions {
    pub(crate) kind: VolumeKind,
    /// Mount flags as mount(8) spells them: `noexec`, `ro` …
    pub(crate) flags: Vec<String>,
    /// Whom it belongs to when it is used first, in the numbers of containers.
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    /// It is not filled from the image.
    pub(crate) no_copy: bool,
}

/// Why options mean nothing, or cannot be had.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum VolumeOptionError {
    #[error("invalid mount option {0} for driver 'local': invalid argument")]
    Unknown(String),
    #[error("volume option {0:?}: IDs are numbers")]
    Id(String),
    #[error(
        "volume options size and inodes not supported for directories: project quotas are for root of the host"
    )]
    Quota,
    #[error("a volume of type {0:?} can be mounted by root of the host only")]
    Type(String),
    #[error("a volume that is a directory of the host needs device=PATH, absolute")]
    Device,
}

/// Flags of mount(2) that a volume may have.
const FLAGS: [&str; 14] = [
    "ro",
    "rw",
    "nosuid",
    "suid",
    "nodev",
    "dev",
    "noexec",
    "exec",
    "noatime",
    "nodiratime",
    "relatime",
    "strictatime",
    "sync",
    "async",
];

impl VolumeOptions {
    /// Reads the options of a volume.
    ///
    /// # Errors
    ///
    /// For what means nothing, and for what a user cannot mount.
    pub(crate) fn parse(options: &BTreeMap<String, String>) -> Result<Self, VolumeOptionError> {
        let mut found =
            Self { kind: VolumeKind::Directory, flags: Vec::new(), uid: None, gid: None, no_copy: false };
        let (mut kind, mut device) = ("", "");
        let (mut data, mut bind) = (Vec::new(), None);
        let mut take = |key: &str, value: &str| -> Result<bool, VolumeOptionError> {
            match key {
                "uid" | "UID" => found.uid = Some(id(key, value)?),
                "gid" | "GID" => found.gid = Some(id(key, value)?),
                "size" | "SIZE" => data.push(format!("size={value}")),
                "inodes" | "INODES" | "nr_inodes" => data.push(format!("nr_inodes={value}")),
                "mode" => data.push(format!("mode={value}")),
                "bind" => bind = Some(false),
                "rbind" => bind = Some(true),
                "nocopy" => found.no_copy = true,
                "copy" => found.no_copy = false,
                "noquota" | "defaults" => {}
                flag if FLAGS.contains(&flag) => found.flags.push(flag.to_owned()),
                _ => return Ok(false),
            }
            Ok(true)
        };
        for (key, value) in options {
            match key.as_str() {
                "type" => kind = value,
                "device" => device = value,
                "o" => {
                    for option in value.split(',').filter(|option| !option.is_empty()) {
                        let (key, value) = option.split_once('=').unwrap_or((option, ""));
                        if !take(key, value)? {
                            return Err(VolumeOptionError::Unknown(option.to_owned()));
                        }
                    }
                }
                other => {
                    let known =
                        ["uid", "gid", "UID", "GID", "size", "SIZE", "inodes", "INODES", "copy", "nocopy"];
                    if !known.contains(&other) || !take(other, value)? {
                        return Err(VolumeOptionError::Unknown(other.to_owned()));
                    }
                }
            }
        }
        data.dedup();
        found.kind = match kind {
            "tmpfs" => {
                data.extend(found.uid.map(|uid| format!("uid={uid}")));
                data.extend(found.gid.map(|gid| format!("gid={gid}")));
                data.order();
                data.dedup();
                VolumeKind::Tmpfs(data)
            }
            "" | "none" | "bind" if bind.is_some() || kind == "bind" => match device.starts_with('/') {
                true => VolumeKind::Bind { source: device.into(), recursive: bind.unwrap_or(kind == "bind") },
                false => return Err(VolumeOptionError::Device),
            },
            "" if !data.is_empty() => return Err(VolumeOptionError::Quota),
            "" if device.is_empty() => VolumeKind::Directory,
            "" | "none" => return Err(VolumeOptionError::Device),
            other => return Err(VolumeOptionError::Type(other.to_owned())),
        };
        Ok(found)
    }
}

fn id(key: &str, value: &str) -> Result<u32, VolumeOptionError> {
    value.parse().map_err(|_| VolumeOptionError::Id(format!("{key}={value}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[(&str, &str)]) -> Result<VolumeOptions, VolumeOptionError> {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        VolumeOptions::parse(&options.iter().map(own).collect())
    }

    #[test]
    fn kinds() {
        assert_eq!(parse(&[]).unwrap().kind, VolumeKind::Directory);
        let tmpfs = parse(&[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m,uid=5,nodev")]).unwrap();
        assert_eq!(tmpfs.kind, VolumeKind::Tmpfs(vec!["size=1m".into(), "uid=5".into()]));
        assert_eq!((tmpfs.flags, tmpfs.uid), (vec!["nodev".to_owned()], Some(5)));
        let bind = |recursive| VolumeKind::Bind { source: "/srv".into(), recursive };
        assert_eq!(
            parse(&[("type", "none"), ("device", "/srv"), ("o", "bind,ro")]).unwrap().kind,
            bind(false)
        );
        assert_eq!(parse(&[("device", "/srv"), ("o", "rbind")]).unwrap().kind, bind(true));
        let owned = parse(&[("o", "uid=5,gid=6")]).unwrap();
        assert_eq!((owned.kind, owned.uid, owned.gid), (VolumeKind::Directory, Some(5), Some(6)));
        assert!(parse(&[("nocopy", "")]).unwrap().no_copy);
    }

    #[test]
    fn what_means_nothing_or_cannot_be_had_is_refused() {
        for (options, want) in [
            (&[("foo", "bar")][..], VolumeOptionError::Unknown("foo".into())),
            (&[("o", "foo")], VolumeOptionError::Unknown("foo".into())),
            (&[("o", "uid=x")], VolumeOptionError::Id("uid=x".into())),
            (&[("o", "size=1m")], VolumeOptionError::Quota),
            (&[("type", "nfs"), ("device", "host:/x")], VolumeOptionError::Type("nfs".into())),
            (&[("type", "none"), ("o", "bind"), ("device", "relative")], VolumeOptionError::Device),
            (&[("device", "/dev/sda1")], VolumeOptionError::Device),
        ] {
            assert_eq!(parse(options), Err(want), "{options:?}");
        }
    }
}
