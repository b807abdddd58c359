//! The records of networks, `networks/<name>.json`.

use std::io;
use std::path::{Path, PathBuf};

use crate::base::order::InOrder as _;
use crate::net::network::Network;
use crate::sys::fs;

/// The longest record that is read, in bytes.
const MAX_BYTES: usize = 16 << 20;

/// Where the record of a network is.
pub(crate) fn path(root: &Path, name: &str) -> PathBuf {
    root.join("networks").join(format!("{name}.json"))
}

/// Whether a text can be the name of a network, and so of a file: `[a-zA-Z0-9][a-zA-Z0-9_.-]*`.
pub(crate) fn is_name(name: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    name.len() <= 200
        && name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
        && name.bytes().all(word)
}

/// Reads a record; `None` if there is no such network.
///
/// # Errors
///
/// If it cannot be read, or says something else.
pub(crate) fn load(root: &Path, name: &str) -> io::Result<Option<Network>> {
    if !is_name(name) {
        return Ok(None);
    }
    match fs::read_at(rustix::fs::CWD, path(root, name), MAX_BYTES) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err),
    }
}

/// All records, by name, and the names of those that cannot be read.
///
/// # Errors
///
/// If the directory cannot be read.
pub(crate) fn list(root: &Path) -> io::Result<(Vec<Network>, Vec<String>)> {
    let (mut networks, mut damaged) = (Vec::new(), Vec::new());
    let entries = match std::fs::read_dir(root.join("networks")) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok((networks, damaged)),
        entries => entries?,
    };
    for entry in entries {
        let file = entry?.file_name();
        let name = file.to_str().and_then(|file| file.strip_suffix(".json"));
        let Some(name) = name.filter(|name| is_name(name)) else { continue };
        match load(root, name) {
            Ok(Some(network)) if network.name == name => networks.push(network),
            _ => damaged.push(name.to_owned()),
        }
    }
    networks.order_by(|a, b| a.name.cmp(&b.name));
    Ok((networks, damaged))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_no_paths() {
        for good in ["ketch", "a", "My_net.1-2"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "-a", "_a", "a b", "ä", "a\n"] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_damaged_record_hurts_itself_only() {
        let root = tempfile::tempdir().unwrap();
        assert!(list(root.path()).unwrap().0.is_empty(), "no directory yet");
        std::fs::create_dir(root.path().join("networks")).unwrap();
        let network = Network::bridge("a", "0".repeat(64), "ketch1".into(), jiff::Timestamp::UNIX_EPOCH, &[]);
        std::fs::write(path(root.path(), "a"), serde_json::to_vec(&network).unwrap()).unwrap();
        std::fs::write(path(root.path(), "b"), "{").unwrap();
        std::fs::write(path(root.path(), "c"), serde_json::to_vec(&network).unwrap()).unwrap();
        let (networks, damaged) = list(root.path()).unwrap();
        assert_eq!((networks.len(), damaged.len()), (1, 2), "c says that it is a");
    }
}
