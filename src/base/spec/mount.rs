//! What is mounted over the root file system of a container.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::base::bytes::Bytes;
use crate::base::digest::Digest;
use crate::base::idmap::IdMap;

/// One mount over the root file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mount {
    /// Absolute path inside, cleaned of `.` and `..`.
    pub(crate) target: Bytes,
    pub(crate) kind: MountKind,
    pub(crate) read_only: bool,
    /// Mount flags set beyond the defaults (`noexec`, `nosuid`, `nodev` …) as mount(8) spells them.
    pub(crate) options: Vec<String>,
    /// `private` (the default), `rprivate`, `slave`, `rslave`, `shared`, `rshared`, `unbindable` ….
    pub(crate) propagation: Option<String>,
    /// Changes go above the source and not into it (`:O`).
    #[serde(default)]
    pub(crate) overlay: Option<MountOverlay>,
    /// Show the owners on the disk as other IDs (`:idmap`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) idmap: bool,
    /// As which, if not as the container's: users and groups, from IDs on the disk to IDs of U.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) shown_ids: Option<(IdMap, IdMap)>,
}

impl Mount {
    /// A mount that can be written to, without any options.
    pub(crate) fn plain(target: Bytes, kind: MountKind) -> Self {
        Self {
            target,
            kind,
            read_only: false,
            options: Vec::new(),
            propagation: None,
            overlay: None,
            idmap: false,
            shown_ids: None,
        }
    }
}

/// Where the changes of a mount with `:O` go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MountOverlay {
    /// `None`: a directory of the container, empty at each start.
    #[serde(default, with = "crate::base::bytes::optional_path")]
    pub(crate) upper: Option<PathBuf>,
    #[serde(default, with = "crate::base::bytes::optional_path")]
    pub(crate) work: Option<PathBuf>,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MountKind {
    /// A host file or directory.
    Bind {
        #[serde(with = "crate::base::bytes::path")]
        source: PathBuf,
        /// With everything mounted below it.
        recursive: bool,
        /// Change the owner of the source to the container's user (`:U`).
        chown: bool,
        /// The directory above the source that no link on the way from it may lead out of.
        #[serde(
            default,
            skip_serializing_if = "Option::is_none",
            with = "crate::base::bytes::optional_path"
        )]
        within: Option<PathBuf>,
    },
    /// A named or anonymous volume of the store, below it a subpath.
    Volume {
        name: String,
        /// Made for this container alone; removed with `rm -v` and by `--rm`.
        anonymous: bool,
        /// Fill it from the image when it is empty (not `:nocopy`).
        copy_up: bool,
        subpath: Option<Bytes>,
        chown: bool,
    },
    /// A new tmpfs.
    Tmpfs {
        /// `size=`, `mode=`, `uid=` …, as tmpfs(5) spells them.
        data: Vec<String>,
        /// Start with what the image has at the target.
        copy_up: bool,
        /// It belongs to the container's user.
        #[serde(default)]
        chown: bool,
        /// A ramfs, without a limit.
        #[serde(default)]
        ramfs: bool,
    },
    /// A new devpts instance.
    Devpts {
        /// Options that replace ketch's own.
        #[serde(default)]
        data: Vec<String>,
    },
    /// A new POSIX message queue file system.
    Mqueue,
    /// Another image, read-only, by the chain IDs of its layers, the lowest first.
    Image {
        layers: Vec<Digest>,
        /// Only what lies below this path.
        #[serde(default)]
        subpath: Option<Bytes>,
        /// As typed, for `inspect`.
        #[serde(default)]
        reference: String,
    },
    /// A file or directory of a build: of its context, of another stage, of a cache.
    Tree {
        /// Directories of the host, the topmost first; one is used as it is.
        lowers: Vec<Bytes>,
        /// What of it, resolved so that it cannot leave it.
        path: Bytes,
        /// A directory with `upper`, `work` and `over`: writes go there, to be thrown away.
        #[serde(default, with = "crate::base::bytes::optional_path")]
        scratch: Option<PathBuf>,
    },
}
