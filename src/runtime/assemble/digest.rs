//! What a COPY would copy, as one number: names, kinds, modes, owners, links, attributes, contents. Not
//! times: a fresh checkout of the same files is the same.
//!
//! ```text
//! a directory's names, sorted ─▶ one stat each ─▶ known by device, inode, length, times?  yes: its digest
//!                                                                                         no: it is read
//! ```
//!
//! A build looks at every file of its context each time, so a file that is known costs one system call and
//! no allocation but its name.

use std::ffi::{CStr, CString};
use std::io::{self, Read as _, Seek as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use crate::base::digest::Digest;
use crate::base::order::InOrder as _;
use crate::runtime::assemble::select::{self, MAX_DEPTH, Sieve};
use crate::runtime::assemble::{Choice, Result};
use crate::runtime::failure::Failure;
use crate::runtime::rootfs::{RootDir, shown};
use crate::runtime::sparse;
use crate::sys::fs::{self, FileType, Stat};

/// Room for the names of the attributes that nearly every file has, and for the longest list there is.
const FEW_NAMES: usize = 256;
const MOST_NAMES: usize = 64 << 10;

/// Where a file is: an entry of a directory, or, without a name, what `dir` (O_PATH) is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    dir: BorrowedFd<'a>,
    name: &'a CStr,
}

impl Place<'_> {
    /// Opens it for reading; nothing that blocks, and no link.
    fn open(&self) -> io::Result<OwnedFd> {
        if self.name.is_empty() {
            return select::open_file(self.dir);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(self.dir, self.name, flags, Mode::empty())?)
    }
}

/// Gives the digest of a regular file, as [`hash_file`] takes it; it may be known already, by what `Stat` says.
pub(crate) type FileDigest<'a> = dyn FnMut(Place<'_>, &Stat) -> io::Result<Digest> + 'a;

/// Reads a file and digests its content and its attributes; and says which file that was.
pub(crate) fn hash_file(place: Place<'_>) -> io::Result<(Digest, Stat)> {
    let file = place.open()?;
    let stat = fs::stat(&file)?;
    let attributes = attributes(&file);
    let mut file = std::fs::File::from(file);
    let mut hash = Sha256::new();
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    let holes = sparse::pieces(&file, &stat, size)?;
    if let Some(pieces) = &holes {
        // Where the data is, and the data: what is not stored is not read.
        field(&mut hash, b"size", &size.to_le_bytes());
        for &(start, length) in pieces {
            field(&mut hash, b"at", &start.to_le_bytes());
            hash.update(length.to_le_bytes());
            file.seek(io::SeekFrom::Start(start))?;
            io::copy(&mut (&file).take(length), &mut Hashing(&mut hash))?;
        }
        file.seek(io::SeekFrom::End(0))?;
    }
    // Most files are small, and a large buffer takes longer to clear than such a file to read.
    let mut buffer = vec![0; usize::try_from(stat.st_size).unwrap_or(0).clamp(1 << 10, 128 << 10)];
    let content = loop {
        match file.read(&mut buffer)? {
            0 => break Digest::from_hash(hash),
            got => hash.update(&buffer[..got]),
        }
    };
    if attributes.is_empty() {
        return Ok((content, stat));
    }
    let mut both = Sha256::new();
    field(&mut both, b"content", content.as_bytes());
    for (name, value) in attributes {
        field(&mut both, b"attribute", name.as_bytes());
        field(&mut both, b"value", &value);
    }
    Ok((Digest::from_hash(both), stat))
}

/// Lets a hash be written to.
struct Hashing<'a>(&'a mut Sha256);

impl io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lengths keep what follows one another apart.
fn field(hash: &mut Sha256, name: &[u8], value: &[u8]) {
    hash.update(name);
    hash.update((value.len() as u64).to_le_bytes());
    hash.update(value);
}

struct Hasher<'a> {
    hash: Sha256,
    sieve: &'a Sieve,
    with_owner: bool,
    file: &'a mut FileDigest<'a>,
    /// From the tree's root to where we are, and the same from what is copied.
    path: Vec<u8>,
    inside: Vec<u8>,
}

/// The digest of all that `choice` means in `root`.
pub(crate) fn of_choice<'a>(
    root: &RootDir,
    choice: &Choice,
    with_owner: bool,
    file: &'a mut FileDigest<'a>,
) -> Result<String> {
    let sieve = Sieve::new(choice)?;
    let tops = select::select(root, choice, &sieve)?;
    let mut hasher =
        Hasher { hash: Sha256::new(), sieve: &sieve, with_owner, file, path: vec![], inside: vec![] };
    for top in tops {
        field(&mut hasher.hash, b"top", &top.path);
        field(&mut hasher.hash, b"pivot", top.pivot.to_string().as_bytes());
        hasher.path.clone_from(&top.path);
        hasher.inside.clear();
        hasher.node(Place { dir: top.fd.as_fd(), name: c"" }, &top.stat, 0)?;
    }
    Ok(Digest::from_hash(hasher.hash).hex())
}

impl Hasher<'_> {
    fn failed(&self, err: impl Into<io::Error>) -> Failure {
        Failure::errno(format!("read {:?}", shown(&self.path)), err.into())
    }

    fn node(&mut self, place: Place<'_>, stat: &Stat, depth: usize) -> Result<()> {
        field(&mut self.hash, b"inside", &self.inside);
        field(&mut self.hash, b"mode", &stat.st_mode.to_le_bytes());
        if self.with_owner {
            let owner = u64::from(stat.st_uid) << 32 | u64::from(stat.st_gid);
            field(&mut self.hash, b"owner", &owner.to_le_bytes());
        }
        match fs::kind(stat) {
            FileType::Directory if depth > MAX_DEPTH => return Err(self.failed(Errno::NAMETOOLONG)),
            FileType::Directory => self.directory(place, depth)?,
            FileType::RegularFile => {
                let digest = (self.file)(place, stat).map_err(|err| self.failed(err))?;
                field(&mut self.hash, b"content", digest.as_bytes());
            }
            FileType::Symlink => {
                let link = rustix::fs::readlinkat(place.dir, place.name, Vec::new());
                let link = link.map_err(|errno| self.failed(errno))?;
                field(&mut self.hash, b"link", link.as_bytes());
            }
            _ => field(&mut self.hash, b"device", &stat.st_rdev.to_le_bytes()),
        }
        Ok(())
    }

    fn directory(&mut self, place: Place<'_>, depth: usize) -> Result<()> {
        let name = if place.name.is_empty() { c"." } else { place.name };
        let dir = fs::open_dir(place.dir, name).map_err(|err| self.failed(err))?;
        for (name, value) in attributes(&dir) {
            field(&mut self.hash, b"attribute", name.as_bytes());
            field(&mut self.hash, b"value", &value);
        }
        let names = names(&dir).map_err(|err| self.failed(err))?;
        let lengths = (self.path.len(), self.inside.len());
        for name in &names {
            // Removed meanwhile: it is not there to be copied.
            let Ok(stat) = rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            for to in [&mut self.path, &mut self.inside] {
                select::push(to, name.to_bytes());
            }
            let is_directory = fs::kind(&stat) == FileType::Directory;
            if self.sieve.passes(&self.path, &self.inside, is_directory) != Some(false) {
                self.node(Place { dir: dir.as_fd(), name }, &stat, depth + 1)?;
            }
            self.path.truncate(lengths.0);
            self.inside.truncate(lengths.1);
        }
        Ok(())
    }
}

/// The names in a directory, sorted by their bytes.
fn names(dir: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    fs::for_each_entry(dir, |name, _| {
        names.push(CString::new(name.as_bytes())?);
        Ok(())
    })?;
    names.order();
    Ok(names)
}

/// The extended attributes that are copied: file capabilities and the user's own. Where they cannot be
/// read there are none to copy.
fn attributes(file: &OwnedFd) -> Vec<(String, Vec<u8>)> {
    travelling(&|buffer| rustix::fs::flistxattr(file, buffer), &|name, buffer| {
        rustix::fs::fgetxattr(file, name, buffer)
    })
}

/// The same of an O_PATH descriptor, which those calls refuse, so they go by its name.
pub(super) fn attributes_of_path(fd: &OwnedFd) -> Vec<(String, Vec<u8>)> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    travelling(&|buffer| rustix::fs::listxattr(&path, buffer), &|name, buffer| {
        rustix::fs::getxattr(&path, name, buffer)
    })
}

fn travelling(
    list: &dyn Fn(&mut [u8]) -> rustix::io::Result<usize>,
    get: &dyn Fn(&str, &mut [u8]) -> rustix::io::Result<usize>,
) -> Vec<(String, Vec<u8>)> {
    // One call for the many files that have none.
    let mut few = [0; FEW_NAMES];
    let names = match list(&mut few) {
        Ok(length) => few[..length].to_vec(),
        Err(Errno::RANGE) => {
            let mut most = vec![0; MOST_NAMES];
            let length = list(&mut most).unwrap_or(0);
            most.truncate(length);
            most
        }
        Err(_) => return vec![],
    };
    let text = String::from_utf8_lossy(&names).into_owned();
    let travels = |name: &&str| {
        *name == "security.capability" || name.starts_with("user.") && !name.starts_with("user.overlay.")
    };
    let mut found: Vec<(String, Vec<u8>)> = text
        .split('\0')
        .filter(travels)
        .filter_map(|name| {
            let mut value = vec![0; 65_536];
            let length = get(name, &mut value).ok()?;
            value.truncate(length);
            Some((name.to_owned(), value))
        })
        .collect();
    found.order();
    found
}
