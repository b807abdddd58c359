//! mounts.conf: files of the host that every container gets copies of, as RHEL hands its subscriptions on.
//!
//! ```text
//! # lines of ~/.config/containers/mounts.conf (not for root), /etc/containers/mounts.conf, /usr/share/containers/mounts.conf
//! /usr/share/rhel/secrets:/run/secrets       a directory, or a file, and where it is to be
//! /etc/issue                                 in the same place
//! ```
//!
//! All three files count; of two copies in one place the first one stays. What is not there, or may not be read, is left out.
//!
//! # Source
//!
//! containers-mounts.conf(5).

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::base::etc::SecretUse;
use crate::engine::config::xdg;
use crate::engine::{Error, Result};

/// No deeper than this, and no more files: links may lead in circles, or to the whole host.
const MAX_DEPTH: u32 = 8;
const MAX_FILES: usize = 512;

/// The files to copy, each with its place inside. `instead` is a file in place of all others.
///
/// # Errors
///
/// If `instead` cannot be read.
pub(super) fn copies(instead: Option<&Path>) -> Result<Vec<(PathBuf, SecretUse)>> {
    let of_user = xdg("XDG_CONFIG_HOME", ".config").filter(|_| !rustix::process::geteuid().is_root());
    let directories = of_user.map(|config| config.join("containers"));
    let directories =
        directories.into_iter().chain(["/etc/containers", "/usr/share/containers"].map(PathBuf::from));
    let files: Vec<PathBuf> = match instead {
        Some(file) => vec![file.to_owned()],
        None => directories.map(|directory| directory.join("mounts.conf")).collect(),
    };
    let mut found = Vec::new();
    for file in files {
        let text = match crate::sys::fs::read_named_text(&file) {
            Err(err) if instead.is_some() => {
                return Err(Error::system(format!("read {}", file.display()), err));
            }
            Err(_) => continue,
            Ok(text) => text,
        };
        for (source, target) in text.lines().filter_map(entry) {
            gather(source, target, MAX_DEPTH, &mut found);
        }
    }
    Ok(found)
}

/// A line: what to copy, and to where; `None` if it says nothing.
fn entry(line: &str) -> Option<(&Path, &Path)> {
    let line = line.trim();
    let (source, target) = line.split_once(':').unwrap_or((line, line));
    (source.starts_with('/') && target.starts_with('/')).then(|| (Path::new(source), Path::new(target)))
}

fn gather(source: &Path, target: &Path, depth: u32, found: &mut Vec<(PathBuf, SecretUse)>) {
    let Ok(metadata) = source.metadata() else { return };
    if metadata.is_dir() && depth > 0 {
        let Ok(entries) = source.read_dir() else { return };
        for entry in entries.flatten() {
            gather(&entry.path(), &target.join(entry.file_name()), depth - 1, found);
        }
    }
    let place = target.as_os_str().as_bytes();
    let is_taken = || found.iter().any(|(_, other)| other.target.as_bytes() == place);
    if !metadata.is_file() || found.len() >= MAX_FILES || is_taken() || std::fs::File::open(source).is_err() {
        return;
    }
    let copy = SecretUse {
        id: String::new(),
        name: source.display().to_string(),
        variable: None,
        target: place.into(),
        mode: metadata.permissions().mode() & 0o777,
        uid: 0,
        gid: 0,
    };
    found.push((source.to_owned(), copy));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let pair = |source, target| Some((Path::new(source), Path::new(target)));
        for (line, want) in [
            ("/a:/b", pair("/a", "/b")),
            ("  /a  ", pair("/a", "/a")),
            ("# /a:/b", None),
            ("", None),
            ("/a:b", None),
            ("a:/b", None),
        ] {
            assert_eq!(entry(line), want, "{line:?}");
        }
    }

    #[test]
    fn directories_are_walked_and_circles_end() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        std::fs::write(dir.path().join("sub/key"), "k").unwrap();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("sub/again")).unwrap();
        let mut found = Vec::new();
        gather(dir.path(), Path::new("/run/secrets"), 2, &mut found);
        let targets: Vec<_> =
            found.iter().map(|(_, used)| used.target.to_string_lossy().into_owned()).collect();
        assert_eq!(targets, ["/run/secrets/sub/key"]);
        gather(dir.path(), Path::new("/run/secrets"), 2, &mut found);
        assert_eq!(found.len(), 1, "what is there stays");
    }
}
