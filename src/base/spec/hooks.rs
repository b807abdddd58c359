//! Programs that are run at points of a container's life.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// When a hook is run, and where: all but two by the monitor, outside of the container.
///
/// # Source
///
/// OCI runtime specification, config.md, "POSIX-platform Hooks".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HookStage {
    /// The namespaces are there.
    Prestart,
    /// Likewise, after those.
    CreateRuntime,
    /// In the container's namespaces, but with the host's files.
    CreateContainer,
    /// In the container, as its user, before its command.
    StartContainer,
    /// The command runs.
    Poststart,
    /// It has ended.
    Poststop,
}

/// A program to be run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hook {
    pub(crate) stage: HookStage,
    #[serde(with = "crate::base::bytes::path")]
    pub(crate) path: PathBuf,
    /// The name it is called by, and its arguments.
    pub(crate) args: Vec<String>,
    /// `KEY=value`; `None` for what the one who runs it has.
    pub(crate) env: Option<Vec<String>>,
    /// It is killed when it takes longer.
    pub(crate) timeout_s: Option<u32>,
}
