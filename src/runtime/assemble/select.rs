//! From the patterns of a COPY to files: what there is, without what is ignored.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use rustix::fs::OFlags;

use crate::base::dockerfile::ignore::{Glob, Ignore};
use crate::base::order::InOrder as _;
use crate::runtime::assemble::{Choice, Result};
use crate::runtime::failure::{Failure, FailureKind};
use crate::runtime::rootfs::{RootDir, shown};
use crate::sys::fs::{self, FileType, Stat};

/// How deep a tree may be.
pub(super) const MAX_DEPTH: usize = 1000;

/// One source as it was found.
#[derive(Debug)]
pub(crate) struct Top {
    /// Relative to the tree's root; empty for the root itself.
    pub(crate) path: Vec<u8>,
    /// Where `--parents` begins to keep directories: bytes of `path` before `/./`.
    pub(crate) pivot: usize,
    /// O_PATH; links are followed.
    pub(crate) fd: OwnedFd,
    pub(crate) stat: Stat,
}

/// What of a tree is left out.
#[derive(Debug, Default)]
pub(crate) struct Sieve {
    /// Relative to the tree's root.
    ignore: Ignore,
    /// Relative to what is copied.
    exclude: Ignore,
}

impl Sieve {
    pub(crate) fn new(choice: &Choice) -> Result<Self> {
        let invalid = |message: String| Failure::new(FailureKind::Invalid, message);
        let ignore = Ignore::parse(choice.ignore.as_bytes())
            .map_err(|line| invalid(format!("line {line} of the ignore file is a malformed pattern")))?;
        let mut exclude = Ignore::default();
        for pattern in &choice.exclude {
            exclude
                .add(pattern.as_bytes())
                .map_err(|()| invalid(format!("--exclude={pattern:?}: malformed pattern")))?;
        }
        Ok(Self { ignore, exclude })
    }

    /// True if nothing is left out.
    fn is_open(&self) -> bool {
        self.ignore.is_empty() && self.exclude.is_empty()
    }

    /// Is a file that a wildcard has found excluded, by its name or its path?
    fn leaves_out(&self, path: &[u8]) -> bool {
        let name = path.rsplit(|&b| b == b'/').next().unwrap_or_default();
        self.exclude.excludes(name) || self.exclude.excludes(path)
    }

    /// Is a file that a wildcard has found wanted?
    fn wants(&self, path: &[u8]) -> bool {
        !self.leaves_out(path) && self.passes(path, b"", false) == Some(true)
    }

    /// Is `path` (from the root; `below` the source it is `inside`) left out? `None`: it is, but
    /// something below it may not be.
    pub(crate) fn passes(&self, path: &[u8], inside: &[u8], is_directory: bool) -> Option<bool> {
        if self.is_open() {
            return Some(true);
        }
        let ignored = self.ignore.excludes(path);
        let excluded = !inside.is_empty() && self.exclude.excludes(inside);
        if !ignored && !excluded {
            return Some(true);
        }
        let may = (!ignored || self.ignore.may_take_back_below(path))
            && (!excluded || self.exclude.may_take_back_below(inside));
        if is_directory && may { None } else { Some(false) }
    }
}

/// The sources that the patterns mean, in the order of the patterns, those of one sorted.
///
/// # Errors
///
/// If one without wildcards is not there. A pattern that matches nothing is no mistake, as with BuildKit.
pub(crate) fn select(root: &RootDir, choice: &Choice, sieve: &Sieve) -> Result<Vec<Top>> {
    let mut found = Vec::new();
    for pattern in &choice.patterns {
        one_pattern(root, choice, pattern.as_bytes(), sieve, &mut found)?;
    }
    Ok(found)
}

/// The components of a pattern as they count, `..` resolved within the root.
fn clean(pattern: &[u8]) -> Vec<&[u8]> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in pattern.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts
}

fn has_wildcard(part: &[u8]) -> bool {
    part.iter().any(|b| matches!(b, b'*' | b'?' | b'[' | b'\\'))
}

fn one_pattern(
    root: &RootDir,
    choice: &Choice,
    pattern: &[u8],
    sieve: &Sieve,
    found: &mut Vec<Top>,
) -> Result<()> {
    let malformed = || Failure::new(FailureKind::Invalid, format!("malformed pattern {:?}", shown(pattern)));
    // `a/./b`: with --parents only what follows the dot is kept.
    let pivot = pattern.windows(3).position(|window| window == b"/./").filter(|_| choice.parents);
    let before = pivot.map_or(0, |at| clean(&pattern[..at]).len());
    let parts = clean(pattern);
    let wild = !choice.literal && parts.iter().any(|part| has_wildcard(part));
    let mut paths: Vec<Vec<u8>> = vec![vec![]];
    for part in &parts {
        if choice.literal || !has_wildcard(part) {
            paths.iter_mut().for_each(|path| push(path, part));
            continue;
        }
        let mut next = Vec::new();
        for path in paths {
            if *part == b"**" && choice.parents {
                any_depth(root, &path, &mut next, 0);
                continue;
            }
            let glob = Glob::parse(part).map_err(|()| malformed())?;
            if let Some(literal) = glob.literal() {
                let mut path = path;
                push(&mut path, &literal);
                next.push(path);
                continue;
            }
            for name in names(root, &path) {
                if glob.is_match(name.as_bytes()) {
                    let mut path = path.clone();
                    push(&mut path, name.as_bytes());
                    next.push(path);
                }
            }
        }
        next.order();
        next.dedup();
        paths = next;
    }
    for path in paths {
        let opened = root.open(if path.is_empty() { b"." } else { &path }, OFlags::PATH);
        let top = opened.and_then(|fd| Ok((fs::stat(&fd)?, fd)));
        let (stat, fd) = match top {
            Ok((stat, fd)) => (stat, fd),
            // A link to nothing can no more be copied than a name without a file; what is left out is not missed.
            Err(_) if wild && (!is_link(root, &path) || !sieve.wants(&path)) => continue,
            Err(err) => return Err(not_there(&path, &err)),
        };
        let is_directory = fs::kind(&stat) == FileType::Directory;
        // `--exclude=*.txt hom*`: what wildcards have found is left out by its name, too.
        if wild && !is_directory && sieve.leaves_out(&path) {
            continue;
        }
        if sieve.passes(&path, b"", is_directory) == Some(false) && !path.is_empty() {
            if wild {
                continue;
            }
            let message = format!("{:?}: not found: an ignore file excludes it", rooted(&path));
            return Err(Failure::new(FailureKind::Invalid, message));
        }
        let pivot = path.split(|&b| b == b'/').take(before).map(|part| part.len() + 1).sum::<usize>();
        found.push(Top { pivot: pivot.min(path.len()), path, fd, stat });
    }
    Ok(())
}

fn is_link(root: &RootDir, path: &[u8]) -> bool {
    let opened = root.open(path, OFlags::PATH | OFlags::NOFOLLOW);
    opened.and_then(fs::stat).is_ok_and(|stat| fs::kind(&stat) == FileType::Symlink)
}

/// Adds a component to a path.
pub(super) fn push(path: &mut Vec<u8>, part: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(part);
}

/// A path as Docker shows it: from the root of its tree.
fn rooted(path: &[u8]) -> String {
    format!("/{}", shown(path))
}

fn not_there(path: &[u8], err: &io::Error) -> Failure {
    let mut failure = Failure::new(FailureKind::Invalid, format!("{:?}: not found", rooted(path)));
    if err.kind() != io::ErrorKind::NotFound {
        failure = Failure::errno(
            format!("open {:?}", shown(path)),
            io::Error::from_raw_os_error(err.raw_os_error().unwrap_or(libc::EIO)),
        );
        failure.kind = FailureKind::Invalid;
    }
    failure
}

/// The names in a directory, sorted; none if it is no directory.
fn names(root: &RootDir, path: &[u8]) -> Vec<OsString> {
    let path = if path.is_empty() { b"." } else { path };
    let Ok(dir) = root.open(path, OFlags::RDONLY | OFlags::DIRECTORY) else { return vec![] };
    let mut names = fs::names(&dir, ".").unwrap_or_default();
    names.order();
    names
}

/// The directory itself and all directories below it: `**`.
fn any_depth(root: &RootDir, path: &[u8], found: &mut Vec<Vec<u8>>, depth: usize) {
    found.push(path.to_vec());
    if depth > MAX_DEPTH {
        return;
    }
    for name in names(root, path) {
        let mut below = path.to_vec();
        push(&mut below, name.as_bytes());
        let opened = root.open(&below, OFlags::PATH | OFlags::NOFOLLOW);
        let is_directory = opened.and_then(fs::stat).is_ok_and(|stat| fs::kind(&stat) == FileType::Directory);
        if is_directory {
            any_depth(root, &below, found, depth + 1);
        }
    }
}

/// Opens the directory that `fd` (O_PATH) is, for reading.
pub(super) fn open_directory(fd: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(fd, ".", flags, rustix::fs::Mode::empty())?)
}

/// Opens the regular file that `fd` (O_PATH) is, for reading: through our own descriptor, so that it is
/// that very file.
pub(super) fn open_file(fd: impl AsFd) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, rustix::fs::Mode::empty())?)
}

/// The name of the last component.
pub(super) fn base_name(path: &[u8]) -> OsString {
    OsString::from_vec(path.rsplit(|&b| b == b'/').next().unwrap_or_default().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::bytes::Bytes;

    fn found(dir: &std::path::Path, choice: &Choice) -> Result<Vec<String>> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let root = RootDir::new(rustix::fs::open(dir, flags, rustix::fs::Mode::empty()).unwrap());
        let sieve = Sieve::new(choice)?;
        let tops = select(&root, choice, &sieve)?;
        Ok(tops.iter().map(|top| format!("{}|{}", top.pivot, shown(&top.path))).collect())
    }

    #[test]
    fn patterns_find_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["a/x.c", "a/y.c", "a/z.h", "b/x.c", "b/deep/w.c", "[o]"] {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        std::os::unix::fs::symlink("/etc", dir.path().join("out")).unwrap();
        let choice = |pattern: &str, ignore: &str, parents| Choice {
            patterns: vec![pattern.into()],
            ignore: Bytes::from(ignore),
            exclude: vec!["*.h".into()],
            parents,
            ..Choice::default()
        };
        for (pattern, ignore, parents, want) in [
            (".", "", false, Some("0|")),
            ("/a/x.c", "", false, Some("0|a/x.c")),
            ("../../a", "", false, Some("0|a")),
            ("*/x.c", "", false, Some("0|a/x.c 0|b/x.c")),
            ("a/*.c", "a/y*", false, Some("0|a/x.c")),
            ("a/y.c", "a/y*", false, None),
            ("a/nothing", "", false, None),
            ("a/noth*", "", false, Some("")),
            ("\\[o\\]", "", false, Some("0|[o]")),
            ("**/*.c", "", true, Some("0|a/x.c 0|a/y.c 0|b/deep/w.c 0|b/x.c")),
            ("b/./deep/w.c", "", true, Some("2|b/deep/w.c")),
            ("out/passwd", "", false, None),
            ("a/*", "", false, Some("0|a/x.c 0|a/y.c")),
            ("a/z.h", "", false, Some("0|a/z.h")),
        ] {
            let got = found(dir.path(), &choice(pattern, ignore, parents)).ok().map(|tops| tops.join(" "));
            assert_eq!(got.as_deref(), want, "{pattern} without {ignore:?}");
        }
    }
}
