//! Why a container could not start, as it travels from init to the monitor and on to the command.

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

/// What kind of failure: decides the exit code of the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FailureKind {
    /// The container's command does not exist (127).
    CommandNotFound,
    /// The container's command cannot be executed (126).
    NotExecutable,
    /// The request cannot be met as it is: an unknown user, a mount target that is a link.
    Invalid,
    /// The container runs already.
    Conflict,
    /// The container was removed meanwhile.
    Gone,
    /// The machine refused.
    System,
}

/// One failure, told once: at the edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    /// Verb and object and, after a colon, the cause.
    pub(crate) message: String,
    /// What the user can do about it.
    pub(crate) hint: Option<String>,
    /// A port of the host that a process unknown to ketch has. The command may find out which: the monitor
    /// sees only what is in its user namespace.
    #[serde(default)]
    pub(crate) taken_port: Option<(u16, crate::base::network::Protocol)>,
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, taken_port: None }
    }

    /// What a command ends with that could not start because of this.
    pub(crate) fn exit_code(&self) -> i32 {
        match self.kind {
            FailureKind::CommandNotFound => 127,
            FailureKind::NotExecutable => 126,
            FailureKind::Invalid | FailureKind::Conflict | FailureKind::Gone | FailureKind::System => 125,
        }
    }

    /// A refusal of the machine: `what`, a colon and the error with its causes.
    pub(crate) fn system(what: impl std::fmt::Display, err: &dyn std::error::Error) -> Self {
        let mut message = format!("{what}: {err}");
        let mut cause = err.source();
        while let Some(err) = cause {
            message.push_str(&format!(": {err}"));
            cause = err.source();
        }
        Self::new(FailureKind::System, message)
    }

    /// A system call that failed: `what`, a colon and the meaning of `errno`.
    pub(crate) fn errno(what: impl std::fmt::Display, errno: impl Into<std::io::Error>) -> Self {
        let err: std::io::Error = errno.into();
        let meaning =
            err.raw_os_error().map(Errno::from_raw).map_or_else(|| err.to_string(), |e| e.desc().to_owned());
        Self::new(FailureKind::System, format!("{what}: {meaning}"))
    }
}

impl From<crate::sys::mount::MountError> for Failure {
    fn from(err: crate::sys::mount::MountError) -> Self {
        Self::errno(&err, err.source)
    }
}
