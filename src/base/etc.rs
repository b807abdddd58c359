//! What of a container's files ketch writes itself: those of its /etc, and secrets.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::base::bytes::Bytes;

/// How /etc/hosts, /etc/hostname and /etc/localtime of a container come about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EtcFiles {
    /// What /etc/hosts begins with.
    #[serde(default)]
    pub(crate) hosts_base: HostsBase,
    /// Leave /etc/hostname to the image.
    #[serde(default)]
    pub(crate) no_hostname: bool,
    /// The file with the rules of the time zone.
    #[serde(default, with = "crate::base::bytes::optional_path")]
    pub(crate) zone_file: Option<PathBuf>,
    /// Directories inside that see the generated files as well (`--chrootdirs`).
    #[serde(default)]
    pub(crate) chroot_dirs: Vec<Bytes>,
}

/// What a container's /etc/hosts begins with (`--hosts-file`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HostsBase {
    /// The host's file in the host's network; elsewhere nothing.
    #[default]
    Usual,
    /// Nothing.
    None,
    /// The image's file.
    Image,
    /// A file of the host.
    File(#[serde(with = "crate::base::bytes::path")] PathBuf),
}

/// A secret of the store, as a container gets it (`--secret`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SecretUse {
    pub(crate) id: String,
    pub(crate) name: String,
    /// The variable that holds it; `None` for a file.
    pub(crate) variable: Option<String>,
    /// Absolute path of the file inside.
    pub(crate) target: Bytes,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl SecretUse {
    /// True for a variable with the value of a secret of the store: the container has no copy.
    pub(crate) fn is_read_at_start(&self) -> bool {
        self.variable.is_some() && !self.id.is_empty()
    }
}
