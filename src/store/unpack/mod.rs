//! Unpacking: from a layer's blob to a directory that overlay can mount.
//!
//! ```text
//! Order, root directory, blob ──▶ extract ──▶ Unpacked ──settle(directories of the layers below)──▶ Report
//!                                   │  source.rs   blob → gzip, zstd, xz, bzip2, plain → pieces, hashed (diff ID)
//!                                   │  archive.rs  pieces → entries (pax.rs: extended headers)
//!                                   │  extract.rs  entries → files, by descriptors only
//!                                   ╰─ dirs.rs     directories kept open; what is to be set on them
//! ```
//!
//! This is a library: `engine::unpack` runs it in the worker process, inside the user namespace and
//! confined to the staging directory, and feeds it from there. Layers of one image can be extracted at
//! the same time; [`Unpacked::settle`] comes when the layers below are extracted, because a directory
//! that a layer needs but does not list takes its owner and mode from them.
//!
//! Should / mustn't:
//!
//! - Everything that an archive can say is hostile. No path of it is ever joined to a path of ours:
//!   parents are opened by openat2 within the layer's directory, and last components are created
//!   with O_EXCL or removed, never followed.
//! - An entry that would leave the directory, or that no reader could agree on, fails the layer with
//!   its name. Nothing is repaired silently except what Docker does too: a leading `/` is dropped.
//! - Memory is bounded whatever the archive says: pieces, 32 open directories, one extended header.
//!
//! # Source
//!
//! OCI image-spec, layer.md; Linux `Documentation/filesystems/overlayfs.rst` ("whiteouts and opaque
//! directories", "user.overlay").

pub(crate) mod archive;
mod dirs;
mod extract;
mod ids;
mod pax;
mod settle;
mod source;
#[cfg(test)]
mod tests;
mod xattrs;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use crate::base::bytes::Bytes;
use crate::base::digest::Digest;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use crate::store::unpack::extract::hidden_by;
pub(crate) use crate::store::unpack::ids::{IdKind, Ids, NOBODY, line_to_add};
use crate::store::unpack::settle::Implicit;
pub(crate) use crate::store::unpack::source::decoder;
use crate::sys::fs::Space;

/// Bytes that an archive may have behind its end. GNU tar pads to 10 KiB.
const TRAILING_MAX: u64 = 16 << 20;

/// Most entries of one layer.
const ENTRIES_MAX: u64 = 4_000_000;

/// How much a layer may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// Bytes of disk, counted in blocks of 4 KiB, one more for each entry.
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
}

impl Limits {
    /// All that is free but a tenth of it.
    pub(crate) fn within(space: &Space) -> Self {
        let bytes = space.free_bytes - space.free_bytes / 10;
        Self { bytes, entries: ENTRIES_MAX.min(space.free_files) }
    }
}

/// What to do with one layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    /// Digest that the uncompressed archive must have.
    pub(crate) diff_id: Digest,
    pub(crate) ids: Ids,
    pub(crate) limits: Limits,
    /// Make device nodes, which only the machine's root may; otherwise they are left out and counted.
    pub(crate) make_devices: bool,
    /// The process has umask 0, so that modes need not be set a second time.
    pub(crate) no_umask: bool,
    /// Files of owners that have no place in the map belong to nobody instead of being an error.
    #[serde(default)]
    pub(crate) squash_ids: bool,
    /// The blob's own digest is the diff ID, and whoever gives the order has just hashed it: an archive that is not
    /// compressed needs no second look.
    #[serde(default)]
    pub(crate) verified: bool,
}

/// What a layer turned out to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Length of the uncompressed archive.
    pub(crate) archive_bytes: u64,
    /// Sum of the lengths of its files.
    pub(crate) size_bytes: u64,
    pub(crate) entries: u64,
    /// How many device nodes were left out.
    pub(crate) skipped_devices: u64,
    /// The first of them.
    pub(crate) device_names: Vec<Bytes>,
    /// Extended attributes that this file system or this user cannot have.
    pub(crate) skipped_xattrs: u64,
    /// The first entry that belongs to nobody because its owner is not mapped.
    #[serde(default)]
    pub(crate) squashed: Option<Bytes>,
}

/// Why a layer cannot be unpacked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Failure {
    /// An entry is hostile, impossible or could not be written.
    #[error("layer entry {entry:?}: {problem}")]
    Entry { entry: Bytes, problem: String },
    /// The stream or the archive is broken.
    #[error("layer is corrupt: {problem}")]
    Corrupt { problem: String },
    /// The archive is not the one that the image's configuration means.
    #[error("layer has diff ID {got}, the image's configuration says {want}")]
    DiffId { want: Digest, got: Digest },
    /// Not enough room, by the limit or by what the kernel said.
    #[error("layer needs more than {needed} bytes, and {free} are free to use")]
    Space { needed: u64, free: u64 },
    /// More entries than any image has, or than the file system has room for.
    #[error("layer has more than {max} entries")]
    Entries { max: u64 },
    /// A file belongs to someone who is not mapped.
    #[error("layer entry {entry:?} belongs to {} ID {id}, which is not mapped", kind.word())]
    Owner { entry: Bytes, kind: IdKind, id: u64 },
    /// A system call that concerns no entry.
    #[error("{what}: {}", io::Error::from_raw_os_error(*errno))]
    System { what: String, errno: i32 },
}

impl Failure {
    fn entry(path: &[u8], problem: impl Into<String>) -> Self {
        // A hostile name may be a megabyte long.
        Self::Entry { entry: Bytes::from(&path[..path.len().min(1024)]), problem: problem.into() }
    }

    /// The decompression or the reading of the blob failed.
    #[expect(clippy::needless_pass_by_value, reason = "for map_err")]
    fn stream(err: io::Error) -> Self {
        match err.raw_os_error() {
            Some(errno) => Self::System { what: "read the blob".to_owned(), errno },
            None => Self::Corrupt { problem: err.to_string() },
        }
    }

    /// For `map_err`: what was tried.
    fn system(what: &str) -> impl FnOnce(io::Error) -> Self {
        let what = what.to_owned();
        move |err| Self::System { what, errno: err.raw_os_error().unwrap_or(libc::EIO) }
    }
}

/// A layer whose entries are all there.
#[derive(Debug)]
pub(crate) struct Unpacked {
    root: OwnedFd,
    report: Report,
    implicit: Vec<Implicit>,
    opaque_root: bool,
}

/// Unpacks `blob` into the empty directory `root`.
///
/// `wake` is readable whenever the blob has grown and closed when it is complete; `None` if it is
/// complete. When this returns, the archive had the diff ID of the order. The caller checks the blob's
/// own digest.
///
/// # Errors
///
/// A [`Failure`]; the directory then holds garbage.
pub(crate) fn extract(
    order: &Order,
    root: OwnedFd,
    blob: File,
    wake: Option<OwnedFd>,
) -> Result<Unpacked, Failure> {
    let is_known = order.verified && wake.is_none() && source::is_plain(&blob).map_err(Failure::stream)?;
    let pieces = source::Pieces::start(source::Follow::new(blob, wake), !is_known);
    let pieces = pieces.map_err(Failure::system("start a thread"))?;
    let mut extractor = extract::Extractor::new(order, root)?;
    let mut archive = archive::Archive::new(pieces);
    while let Some(entry) = archive.next()? {
        extractor.add(&entry, &mut archive)?;
    }
    let mut pieces = archive.into_inner();
    drain(&mut pieces)?;
    let archive_bytes = pieces.length();
    if let Some(got) = pieces.digest()
        && got != order.diff_id
    {
        return Err(Failure::DiffId { want: order.diff_id, got });
    }
    let mut unpacked = extractor.finish()?;
    unpacked.report.archive_bytes = archive_bytes;
    Ok(unpacked)
}

impl Unpacked {
    /// Gives directories that the layer does not list the owner and mode they have below, and hides what
    /// an opaque root directory must hide. `lowers` are the directories of the layers below, the topmost
    /// first.
    pub(crate) fn settle(self, lowers: &[OwnedFd]) -> Result<Report, Failure> {
        settle::implicit(&self.root, &self.implicit, lowers)?;
        if self.opaque_root {
            settle::hide_all(&self.root, lowers)?;
        }
        Ok(self.report)
    }

    /// True if [`Unpacked::settle`] has anything to do, so that the layers below must be there.
    pub(crate) fn needs_lowers(&self) -> bool {
        self.opaque_root || !self.implicit.is_empty()
    }
}

/// Reads what is behind the end of the archive: it belongs to the diff ID.
fn drain(pieces: &mut source::Pieces) -> Result<(), Failure> {
    use io::BufRead as _;
    let mut trailing = 0;
    loop {
        let length = pieces.fill_buf().map_err(Failure::stream)?.len();
        if length == 0 {
            return Ok(());
        }
        pieces.consume(length);
        trailing += length as u64;
        if trailing > TRAILING_MAX {
            let problem = format!("more than {TRAILING_MAX} bytes behind the end of the archive");
            return Err(Failure::Corrupt { problem });
        }
    }
}
