//! What a container wrote: recorded, rotated, read, followed.
//!
//! ```text
//! <directory>/log      the newest entries
//! <directory>/log.1    older; made by rename when `log` would grow beyond the limit
//! <directory>/log.2    the oldest that is kept (three files of 10 MiB unless told otherwise)
//! ```
//!
//! An entry is one line of the file. Output that has no newline yet, or none for 16 KiB, becomes a
//! *partial* entry; joining the texts of all entries, with a newline after each that is not partial,
//! gives exactly the bytes that were written.

mod clock;
pub(crate) mod entry;
mod files;
pub(crate) mod journal;
pub(crate) mod reader;
pub(crate) mod watch;
pub(crate) mod writer;

pub(crate) use files::LogFiles;

/// How entries are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// `k8s-file`, the format of podman and CRI.
    K8s,
    /// `json-file`, the format of docker.
    Json,
}
