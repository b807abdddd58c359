//! What can go wrong with the store.

use std::io;
use std::path::PathBuf;

use crate::base::id::ContainerId;

/// What the store's functions return.
pub(crate) type Result<T> = std::result::Result<T, StoreError>;

/// A failed operation on the store.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The kernel refused something.
    #[error("{action} {path:?}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// The store was written by a newer ketch.
    #[error("the store {root:?} has format {found}, this ketch knows format 1; use a newer ketch")]
    Format { root: PathBuf, found: u32 },
    /// The directory holds something else.
    #[error("{root:?} is not a store of ketch and not empty: there is {entry:?}")]
    Foreign { root: PathBuf, entry: String },
    /// A file of an object cannot be understood. Other objects are not affected.
    #[error("{what} {name} is damaged: {path:?}: {reason}")]
    Damaged { what: &'static str, name: String, path: PathBuf, reason: String },
    /// A blob has not the length its descriptor promised.
    #[error("blob {digest} is {got} bytes long, its descriptor says {want}")]
    BlobSize { digest: String, want: u64, got: u64 },
    /// A blob has not the digest it was asked for by.
    #[error("blob {want} has digest {got}: corrupted in transit or tampered with")]
    BlobDigest { want: String, got: String },
    /// A blob that must be small is not.
    #[error("blob {digest} is larger than {max} bytes")]
    BlobTooLarge { digest: String, max: usize },
    /// There is no such object.
    #[error("no {what} named {name}")]
    NotFound { what: &'static str, name: String },
    /// Several objects have an ID that begins so, or a repository that ends so.
    #[error("{name:?} means several {what}: {}", candidates.join(", "))]
    Ambiguous { what: &'static str, name: String, candidates: Vec<String> },
    /// The name of a container is taken.
    #[error(
        "the container name {name:?} is already in use by {by}. You have to remove that container to be able to reuse that \
         name: that name is already in use"
    )]
    NameInUse { name: String, by: ContainerId },
    /// An object of that name is there already.
    #[error("a {what} named {name:?} exists already")]
    Exists { what: &'static str, name: String },
    /// A text is no name of such an object.
    #[error("invalid {what} name {name:?}: names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*: invalid argument")]
    InvalidName { what: &'static str, name: String },
}

impl StoreError {
    /// True if the file system is full, or the user's quota.
    pub(crate) fn is_disk_full(&self) -> bool {
        let Self::Io { source, .. } = self else { return false };
        matches!(source.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT))
    }

    /// True if there is no such object.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}

/// For `map_err`: what was done to which path.
pub(crate) fn io_error(
    action: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.into();
    move |source| StoreError::Io { action, path, source }
}
