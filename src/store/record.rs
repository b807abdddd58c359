//! Small JSON files, one per object, and lists of them.
//!
//! Each record carries `version`. Fields that this ketch does not know are kept and written back
//! (`#[serde(flatten)] rest`), so that a newer ketch loses nothing to an older one.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::base::order::InOrder as _;
use crate::store::Store;
use crate::store::error::{Result, StoreError, io_error};
use crate::store::staging;
use crate::sys::{failpoint, fs};

/// The longest record that is read, in bytes.
const RECORD_MAX_BYTES: usize = 16 << 20;

/// The objects of one kind: those that can be read, and the damage of those that cannot.
#[derive(Debug)]
pub(crate) struct Listing<T> {
    pub(crate) items: Vec<T>,
    /// One [`StoreError::Damaged`] (or `Io`) for each object that could not be read.
    pub(crate) damaged: Vec<StoreError>,
}

impl<T> Default for Listing<T> {
    fn default() -> Self {
        Self { items: Vec::new(), damaged: Vec::new() }
    }
}

impl<T> Listing<T> {
    /// Adds one object, or its damage. One that has vanished meanwhile is neither.
    pub(crate) fn add(&mut self, read: Result<T>) {
        match read {
            Ok(item) => self.items.push(item),
            Err(err) if err.is_not_found() => {}
            Err(err) => self.damaged.push(err),
        }
    }
}

/// Reads the record `path` (relative to the store) of the `what` called `name`.
///
/// # Errors
///
/// [`StoreError::NotFound`], [`StoreError::Damaged`]: also for an empty file, which a crash may leave.
pub(crate) fn read<T: DeserializeOwned>(
    store: &Store,
    path: &Path,
    what: &'static str,
    name: &str,
) -> Result<T> {
    let full = || store.root().join(path);
    let text = fs::read_at(store.dir(), path, RECORD_MAX_BYTES).map_err(|err| match err.kind() {
        io::ErrorKind::NotFound => StoreError::NotFound { what, name: name.to_owned() },
        // Something else than a file.
        io::ErrorKind::IsADirectory => {
            StoreError::Damaged { what, name: name.to_owned(), path: full(), reason: err.to_string() }
        }
        _ => io_error("read", full())(err),
    })?;
    parse(&text, what, name, &full())
}

/// Parses the text of a record.
///
/// # Errors
///
/// [`StoreError::Damaged`].
pub(crate) fn parse<T: DeserializeOwned>(
    text: &[u8],
    what: &'static str,
    name: &str,
    path: &Path,
) -> Result<T> {
    serde_json::from_slice(text).map_err(|err| StoreError::Damaged {
        what,
        name: name.to_owned(),
        path: path.to_owned(),
        reason: if text.is_empty() { "the file is empty".to_owned() } else { err.to_string() },
    })
}

/// The text of a record: JSON and a newline.
pub(crate) fn to_text<T: Serialize>(record: &T) -> Vec<u8> {
    let mut text = serde_json::to_vec(record).expect("records have string keys and finite numbers");
    text.push(b'\n');
    text
}

/// Writes the record `path` (relative to the store), whole or not at all, and durably.
pub(crate) fn write<T: Serialize>(store: &Store, path: &Path, record: &T) -> Result<()> {
    let staged = staging::file(store, &to_text(record), true)?;
    let full = store.root().join(path);
    failpoint::reach("record.rename")
        .and_then(|()| fs::rename(store.dir(), &staged, store.dir(), path))
        .map_err(io_error("rename to", &full))?;
    failpoint::reach("record.renamed").map_err(io_error("finish", &full))?;
    sync_parent(store, path)
}

/// Makes the entry of `path` in its directory durable.
pub(crate) fn sync_parent(store: &Store, path: &Path) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new(""));
    sync_dir(store, if parent.as_os_str().is_empty() { Path::new(".") } else { parent })
}

/// Makes the entries of directory `path` (relative to the store) durable.
pub(crate) fn sync_dir(store: &Store, path: &Path) -> Result<()> {
    let flags = fs::OFlags::RDONLY | fs::OFlags::DIRECTORY;
    fs::open_at(store.dir(), path, flags, 0)
        .and_then(|dir| fs::sync(dir.as_fd()))
        .map_err(io_error("sync", store.root().join(path)))
}

/// The entries of directory `path` of the store that are valid UTF-8 and not hidden, sorted.
///
/// Names that are neither were not written by ketch and are no object.
pub(crate) fn names(store: &Store, path: &str) -> Result<Vec<String>> {
    let found = fs::names(store.dir(), path).map_err(io_error("list", store.root().join(path)))?;
    let mut names: Vec<String> = found
        .into_iter()
        .filter_map(|name| name.into_string().ok())
        .filter(|n| !n.starts_with('.'))
        .collect();
    names.order();
    Ok(names)
}

/// Whether a text can be the name of a container or a volume: `[a-zA-Z0-9][a-zA-Z0-9_.-]*`, at most
/// 255 bytes.
pub(crate) fn is_name(text: &str) -> bool {
    text.len() <= 255
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_and_torn_records_are_damage() {
        for text in [&b""[..], b"\0\0\0", b"{\"version\":1", b"[]", b"{\"a\":\"\xff\"}"] {
            let read: Result<std::collections::BTreeMap<String, String>> =
                parse(text, "image", "x", Path::new("p"));
            assert!(matches!(read, Err(StoreError::Damaged { .. })), "{text:?}");
        }
    }

    #[test]
    fn names_follow_docker() {
        for (text, good) in [
            ("a", true),
            ("A.b-c_1", true),
            ("", false),
            ("-x", false),
            ("a/b", false),
            ("ü", false),
            (".a", false),
        ] {
            assert_eq!(is_name(text), good, "{text:?}");
        }
        assert!(is_name(&"a".repeat(255)) && !is_name(&"a".repeat(256)));
    }
}
