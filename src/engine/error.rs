//! The one error type that leaves the engine.
//!
//! Lower rows have enums of their own, where code branches on them. Here they become a [`Kind`],
//! which decides the exit code (cli) or the HTTP status (api), a sentence, and what to type next.

use std::borrow::Cow;
use std::fmt;

use crate::store::StoreError;

/// What the engine's functions return.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// What went wrong, in the few ways callers tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The named container, image or volume is not there.
    NotFound,
    /// It is there, but its state or another object forbids this (name in use, image in use).
    Conflict,
    /// The request makes no sense.
    Invalid,
    /// The container's command exists and cannot be executed (exit code 126).
    NotExecutable,
    /// The container's command does not exist (exit code 127).
    CommandNotFound,
    /// containers.conf cannot be read or understood: nothing can be done (exit code 1).
    Misconfigured,
    /// A registry wants credentials, or others.
    Unauthorized,
    /// This kernel or this version of ketch cannot do it.
    Unsupported,
    /// A system call, a file or the network.
    System,
}

/// A failed use case: one sentence, its cause, and what to do about it.
#[derive(Debug)]
pub(crate) struct Error {
    /// What callers branch on.
    pub(crate) kind: Kind,
    /// Verb and object, lower case, no full stop.
    pub(crate) message: String,
    /// Why.
    pub(crate) source: Option<Box<dyn std::error::Error + Send + Sync>>,
    /// What the user can type or change next.
    pub(crate) hint: Option<Cow<'static, str>>,
}

impl Error {
    /// An error without cause and hint.
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None, hint: None }
    }

    /// The error for a missing object.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    /// The error for a request that cannot be meant.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    /// The error for what only cgroup v1 could do.
    pub(crate) fn needs_cgroup_v1(what: &str) -> Self {
        Self::new(Kind::Unsupported, format!("{what} needs cgroup v1: version 2 has no such limit"))
    }

    /// The error for something of the system that failed while `message` was tried.
    pub(crate) fn system(
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::new(Kind::System, message).because(source)
    }

    /// Adds the cause.
    #[must_use]
    pub(crate) fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The sentence with all its causes, for where several failures make one.
    pub(crate) fn whole(&self) -> String {
        let mut text = self.message.clone();
        let mut cause = std::error::Error::source(self);
        while let Some(err) = cause {
            text.push_str(&format!(": {err}"));
            cause = err.source();
        }
        text
    }

    /// Adds what to type or change next.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds what to type or change next, if there is something.
    #[must_use]
    pub(crate) fn hinted(self, hint: Option<impl Into<Cow<'static, str>>>) -> Self {
        match hint {
            Some(hint) => self.hint(hint),
            None => self,
        }
    }
}

impl From<StoreError> for Error {
    fn from(err: StoreError) -> Self {
        let (kind, hint) = match &err {
            StoreError::NotFound { .. } => (Kind::NotFound, None),
            StoreError::NameInUse { name, .. } => {
                (Kind::Conflict, Some(format!("remove that container (rm {name}), or use --replace")))
            }
            StoreError::Exists { .. } => (Kind::Conflict, None),
            StoreError::Ambiguous { .. } => (Kind::Invalid, Some("type more of it".to_owned())),
            StoreError::InvalidName { .. } => (Kind::Invalid, None),
            StoreError::Format { .. } | StoreError::Foreign { .. } => (Kind::Unsupported, None),
            StoreError::Damaged { what: "image", .. } => (Kind::System, Some("pull it again".to_owned())),
            StoreError::Io { .. } if err.is_disk_full() => {
                (Kind::System, Some("free some space: system prune, or rm and rmi".to_owned()))
            }
            _ => (Kind::System, None),
        };
        let message = match &err {
            StoreError::NotFound { what: "container", name } => {
                format!("no container with name or ID {name:?} found: no such container")
            }
            _ => err.to_string(),
        };
        // The sentence is the message now; what lies below it stays the cause.
        let source = match err {
            StoreError::Io { source, .. } => Some(Box::new(source) as _),
            _ => None,
        };
        Self { kind, message, source, hint: hint.map(Cow::Owned) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
