//! Where a copy lands: the rules of `docker cp`.
//!
//! | source | target | lands as |
//! |---|---|---|
//! | file | is missing | the target; its parent must be there, and it must not end in `/` |
//! | file | file | the target, which is replaced |
//! | file | directory | an entry of the target |
//! | directory | is missing | the target |
//! | directory | file | refused |
//! | directory | directory | an entry of the target; with `dir/.` merged into it |
//! | stream | directory | entries of the target |

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;

use rustix::fs::{FileType, OFlags};

use crate::runtime::copy::{Content, Result, Unpack};
use crate::runtime::failure::{Failure, FailureKind};
use crate::runtime::rootfs::{self, RootDir};

/// Links that one target may go through.
const MAX_LINKS: u32 = 40;

/// A place for the entry called `.` of an archive.
#[derive(Debug)]
pub(super) struct Landing {
    /// O_PATH.
    pub(super) dir: OwnedFd,
    /// The entry's name in `dir`; `None` if the entry is `dir` itself.
    pub(super) name: Option<OsString>,
}

/// Finds the place. The descriptor keeps it, whatever becomes of the path.
pub(super) fn land(root: &RootDir, job: &Unpack) -> Result<Landing> {
    let path = job.path.as_bytes();
    let refuse = |why: &str| {
        Err(Failure::new(FailureKind::Invalid, format!("copy to {:?}: {why}", rootfs::shown(path))))
    };
    let (found, path) = resolve(root, path.to_vec())?;
    let wants_directory = path.ends_with(b"/") || path.ends_with(b"/.");
    let kind = match &found {
        None => None,
        Some(found) => {
            let stat =
                rustix::fs::fstat(found).map_err(|errno| Failure::errno("look at the target", errno))?;
            Some(FileType::from_raw_mode(stat.st_mode))
        }
    };
    match (found, kind, job.content) {
        (
            Some(dir),
            Some(FileType::Directory),
            Content::Stream | Content::Directory { content_only: true },
        ) => Ok(Landing { dir, name: None }),
        (Some(dir), Some(FileType::Directory), _) => {
            Ok(Landing { dir, name: Some(OsString::from_vec(job.name.as_bytes().to_vec())) })
        }
        (_, _, Content::Stream) => refuse("destination must be a directory when copying from a stream"),
        (Some(_), _, Content::Directory { .. }) if !job.overwrite => {
            refuse("cannot copy a directory to a file")
        }
        (Some(_), _, _) if wants_directory => refuse("not a directory"),
        (None, _, Content::File) if wants_directory => refuse("the destination directory must exist"),
        _ => {
            let (parent, name) = split(&path);
            let Some(name) = name else { return refuse("it names no file") };
            let dir = root.open(parent, OFlags::PATH | OFlags::DIRECTORY).map_err(|err| {
                let what = format!("copy to {:?}", rootfs::shown(&path));
                Failure { kind: FailureKind::Invalid, ..Failure::errno(what, err) }
            })?;
            Ok(Landing { dir, name: Some(name) })
        }
    }
}

/// Follows links in the last component too, so that what is written is their target inside the root.
fn resolve(root: &RootDir, mut path: Vec<u8>) -> Result<(Option<OwnedFd>, Vec<u8>)> {
    for _ in 0..MAX_LINKS {
        let failed = |err: io::Error| Failure::errno(format!("open {:?}", rootfs::shown(&path)), err);
        let ends = path.ends_with(b"/") || path.ends_with(b"/.");
        let link = match root.open(trimmed(&path), OFlags::PATH | OFlags::NOFOLLOW) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok((None, path)),
            other => other.map_err(failed)?,
        };
        let stat = rustix::fs::fstat(&link).map_err(|errno| failed(errno.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            return Ok((Some(link), path));
        }
        let to = rustix::fs::readlinkat(&link, "", Vec::new()).map_err(|errno| failed(errno.into()))?;
        let mut next = Vec::new();
        if !to.as_bytes().starts_with(b"/") {
            next.extend_from_slice(split(trimmed(&path)).0);
            next.push(b'/');
        }
        next.extend_from_slice(to.as_bytes());
        if ends {
            next.push(b'/');
        }
        path = next;
    }
    Err(Failure::errno(format!("open {:?}", rootfs::shown(&path)), rustix::io::Errno::LOOP))
}

/// Without the `/` and `/.` at the end.
fn trimmed(path: &[u8]) -> &[u8] {
    let mut path = path;
    while let Some(shorter) = path.strip_suffix(b"/.").or_else(|| path.strip_suffix(b"/")) {
        path = shorter;
    }
    if path.is_empty() { b"/" } else { path }
}

/// Parent and name; no name for `/` and what ends in `..`.
fn split(path: &[u8]) -> (&[u8], Option<OsString>) {
    let path = trimmed(path);
    let at = path.iter().rposition(|&b| b == b'/');
    let (parent, name) = match at {
        Some(0) => (&b"/"[..], &path[1..]),
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&b"."[..], path),
    };
    let named = !matches!(name, b"" | b"." | b"..");
    (parent, named.then(|| OsString::from_vec(name.to_vec())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_split() {
        for (path, parent, name) in [
            ("/a/b", "/a", Some("b")),
            ("/a/b/", "/a", Some("b")),
            ("/a/b/.", "/a", Some("b")),
            ("/a", "/", Some("a")),
            ("a", ".", Some("a")),
            ("/", "/", None),
            ("/a/..", "/a", None),
        ] {
            let got = split(path.as_bytes());
            assert_eq!(got, (parent.as_bytes(), name.map(OsString::from)), "{path}");
        }
    }
}
