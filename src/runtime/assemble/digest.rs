//! What a COPY would copy, as one number: names, kinds, modes, owners, links, attributes, contents. Not
//! times: a fresh checkout of the same files is the same.

use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{Mode, OFlags};
use sha2::{Digest as _, Sha256};

use crate::base::digest::Digest;
use crate::runtime::assemble::select::{self, MAX_DEPTH, Sieve};
use crate::runtime::assemble::{Choice, Result};
use crate::runtime::failure::Failure;
use crate::runtime::rootfs::{RootDir, shown};
use crate::sys::fs::{self, FileType, Stat};

/// Gives the digest of a regular file (O_PATH descriptor), which may be known already.
pub(crate) type FileDigest<'a> = dyn FnMut(&OwnedFd, &Stat) -> std::io::Result<Digest> + 'a;

/// Reads a file and digests it.
pub(crate) fn hash_file(fd: &OwnedFd, stat: &Stat) -> std::io::Result<Digest> {
    let mut file = std::fs::File::from(select::open_file(fd)?);
    let mut hash = Sha256::new();
    // Most files are small, and a large buffer takes longer to clear than such a file to read.
    let mut buffer = vec![0; usize::try_from(stat.st_size).unwrap_or(0).clamp(1 << 10, 128 << 10)];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Digest::from_hash(hash)),
            got => hash.update(&buffer[..got]),
        }
    }
}

struct Hasher<'a> {
    hash: Sha256,
    sieve: &'a Sieve,
    with_owner: bool,
    file: &'a mut FileDigest<'a>,
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
    let mut hasher = Hasher { hash: Sha256::new(), sieve: &sieve, with_owner, file };
    for top in tops {
        hasher.field(b"top", &top.path);
        hasher.field(b"pivot", top.pivot.to_string().as_bytes());
        hasher.node(&top.fd, &top.stat, &top.path, b"", 0)?;
    }
    Ok(Digest::from_hash(hasher.hash).hex())
}

impl Hasher<'_> {
    /// Lengths keep what follows one another apart.
    fn field(&mut self, name: &[u8], value: &[u8]) {
        self.hash.update(name);
        self.hash.update((value.len() as u64).to_le_bytes());
        self.hash.update(value);
    }

    fn node(&mut self, fd: &OwnedFd, stat: &Stat, path: &[u8], inside: &[u8], depth: usize) -> Result<()> {
        let failed = |err: std::io::Error| Failure::errno(format!("read {:?}", shown(path)), err);
        let kind = fs::kind(stat);
        self.field(b"inside", inside);
        self.field(b"mode", &stat.st_mode.to_le_bytes());
        if self.with_owner {
            self.field(b"owner", &[stat.st_uid.to_le_bytes(), stat.st_gid.to_le_bytes()].concat());
        }
        match kind {
            FileType::Directory if depth > MAX_DEPTH => {
                return Err(failed(std::io::Error::from_raw_os_error(libc::ENAMETOOLONG)));
            }
            FileType::Directory => {
                let dir = select::open_directory(fd).map_err(failed)?;
                let mut names = fs::names(&dir, ".").map_err(failed)?;
                names.sort();
                for name in names {
                    let join = |to: &[u8]| {
                        if to.is_empty() {
                            name.as_bytes().to_vec()
                        } else {
                            [to, b"/", name.as_bytes()].concat()
                        }
                    };
                    let (path, inside) = (join(path), join(inside));
                    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let Ok(child) = rustix::fs::openat(&dir, &name, flags, Mode::empty()) else { continue };
                    let stat = fs::stat(&child).map_err(failed)?;
                    let is_directory = fs::kind(&stat) == FileType::Directory;
                    if self.sieve.passes(&path, &inside, is_directory) != Some(false) {
                        self.node(&child, &stat, &path, &inside, depth + 1)?;
                    }
                }
            }
            FileType::RegularFile => {
                let digest = (self.file)(fd, stat).map_err(failed)?;
                self.field(b"content", digest.hex().as_bytes());
                self.attributes(fd);
            }
            FileType::Symlink => {
                let link =
                    rustix::fs::readlinkat(fd, "", Vec::new()).map_err(|errno| failed(errno.into()))?;
                self.field(b"link", link.as_bytes());
            }
            _ => self.field(b"device", &stat.st_rdev.to_le_bytes()),
        }
        Ok(())
    }

    fn attributes(&mut self, fd: &OwnedFd) {
        for (name, value) in attributes(fd) {
            self.field(b"attribute", name.as_bytes());
            self.field(b"value", &value);
        }
    }
}

/// The extended attributes that are copied: file capabilities and the user's own. Where they cannot be
/// read there are none to copy. `fd` is O_PATH, which the calls refuse, so they go by its name.
pub(super) fn attributes(fd: &OwnedFd) -> Vec<(String, Vec<u8>)> {
    use std::os::fd::AsRawFd as _;
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    // One call for the many files that have none.
    let mut buffer = [0; 4096];
    let Ok(length) = rustix::fs::listxattr(&path, &mut buffer) else { return vec![] };
    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
    let travels = |name: &&str| {
        *name == "security.capability" || name.starts_with("user.") && !name.starts_with("user.overlay.")
    };
    let mut found: Vec<(String, Vec<u8>)> = text
        .split('\0')
        .filter(travels)
        .filter_map(|name| {
            let mut value = vec![0; 65_536];
            let length = rustix::fs::getxattr(&path, name, &mut value).ok()?;
            value.truncate(length);
            Some((name.to_owned(), value))
        })
        .collect();
    found.sort();
    found
}
